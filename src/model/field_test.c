/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of field codecs: every type through JSON and text, limits, copies, comparison. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "model/field_codec.h"
#include "model/test_classes.h"

static const char *const colours[] = { "red", "green", NULL };

struct all {
	bool boolean;
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;
	uint8_t colour;
	char *string;
	struct mac_addr mac;
	struct ip_addr ip;
	struct ip_prefix prefix;
	struct uuid uuid;
	struct string_list strings;
	struct ip_list ips;
	struct prefix_list prefixes;
};

static const struct field table[] = {
	FIELD(struct all, boolean, .def = "yes"),
	FIELD(struct all, u8),
	FIELD(struct all, u16, .min = 10, .max = 1000, .def = "77"),
	FIELD(struct all, u32),
	FIELD(struct all, u64),
	FIELD_ENUM_ROW(struct all, colour, colours, .def = "green"),
	FIELD(struct all, string, .min = 2, .max = 10, .def = "text"),
	FIELD(struct all, mac, .def = "02:00:00:00:00:01"),
	FIELD(struct all, ip, .def = "::1"),
	FIELD(struct all, prefix, .def = "10.0.0.0/8"),
	FIELD(struct all, uuid, .def = "550e8400-e29b-41d4-a716-446655440000"),
	FIELD(struct all, strings, .def = "a,b", .max = 3),
	FIELD(struct all, ips, .def = "10.0.0.1,fd00::1"),
	FIELD(struct all, prefixes, .def = "10.0.0.0/8"),
	{ 0 },
};

static const struct field_scope nowhere;

/* JSON of one field of a struct, compared with text. */
static void shows(const struct all *all, const char *name, const char *text)
{
	json_t *value = field_to_json(field_find(table, name), all, NULL);
	char *dump = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

	assert_string_equal(dump, text);
	free(dump);
	json_decref(value);
}

static int set_json(struct all *all, const char *name, const char *text, struct dpu_error *err)
{
	static const struct all zero;
	json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

	assert_non_null(value);
	int status = field_from_json(field_find(table, name), value, all, &zero, &nowhere, err);
	json_decref(value);
	return status;
}

static void defaults(void **state)
{
	struct all all = { 0 };
	struct dpu_error err = { 0 };

	assert_int_equal(field_table_defaults(table, &all, &err), 0);
	shows(&all, "boolean", "true");
	shows(&all, "u16", "77");
	shows(&all, "colour", "\"green\"");
	shows(&all, "string", "\"text\"");
	shows(&all, "mac", "\"02:00:00:00:00:01\"");
	shows(&all, "ip", "\"::1\"");
	shows(&all, "prefix", "\"10.0.0.0/8\"");
	shows(&all, "uuid", "\"550e8400-e29b-41d4-a716-446655440000\"");
	shows(&all, "strings", "[\"a\",\"b\"]");
	shows(&all, "ips", "[\"10.0.0.1\",\"fd00::1\"]");
	shows(&all, "prefixes", "[\"10.0.0.0/8\"]");
	field_table_clear(table, &all);
	shows(&all, "boolean", "false");
	shows(&all, "string", "null");
	shows(&all, "mac", "null");
	shows(&all, "ip", "null");
	shows(&all, "prefix", "null");
	shows(&all, "uuid", "null");
	shows(&all, "strings", "[]");
	shows(&all, "colour", "\"red\"");
}

static void accepted_and_refused(void **state)
{
	static const struct {
		const char *field, *json, *words; /* words NULL: accepted and shown as it was given */
	} cases[] = {
		{ "boolean", "true", NULL },
		{ "boolean", "\"true\"", "expected true or false, got a string" },
		{ "u8", "255", NULL },
		{ "u8", "256", "give 0 to 255" },
		{ "u16", "10", NULL },
		{ "u16", "9", "give 10 to 1000" },
		{ "u16", "1001", "give 10 to 1000" },
		{ "u32", "4294967295", NULL },
		{ "u32", "4294967296", "out of range" },
		{ "u64", "9223372036854775807", NULL },
		{ "u64", "-1", "out of range" },
		{ "u64", "1e3", "got a fraction" },
		{ "u64", "[1]", "got a list" },
		{ "u64", "{}", "got an object" },
		{ "colour", "\"red\"", NULL },
		{ "colour", "\"blue\"", "give one of red, green" },
		{ "string", "\"ab\"", NULL },
		{ "string", "\"a\"", "at least 2" },
		{ "string", "\"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\"", NULL },
		{ "string", "\"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\"", "12 bytes: at most 10" },
		{ "string", "\"a\\u0000b\"", "zero byte" },
		{ "string", "\"a\\u0007b\"", "control character 0x07" },
		{ "string", "\"a\\u007fb\"", "control character 0x7f" },
		{ "string", "\"a\\u009bb\"", "control character 0x9b" },
		{ "string", "7", "expected a string, got a number" },
		{ "mac", "\"ff:ff:ff:ff:ff:ff\"", NULL },
		{ "mac", "\"\"", "not a MAC address" },
		{ "ip", "\"fe80::1\"", NULL },
		{ "ip", "\"fe80::1%eth0\"", "not an IP address" },
		{ "prefix", "\"fe80::/10\"", NULL },
		{ "prefix", "\"fe80::1/10\"", "beyond its length" },
		{ "prefix", "\"fe80::/129\"", "not a prefix" },
		{ "uuid", "\"00000000-0000-0000-0000-000000000001\"", NULL },
		{ "uuid", "\"1\"", "not a UUID" },
		{ "strings", "[\"x\",\"y\",\"z\"]", NULL },
		{ "strings", "[]", NULL },
		{ "strings", "[\"x\",\"y\",\"z\",\"w\"]", "4 items: give 0 to 3" },
		{ "strings", "[\"x\",\"y\",\"x\"]", "twice" },
		{ "strings", "[\"x\",null]", "expected a string, got null" },
		{ "strings", "[\"\"]", "empty" },
		{ "ips", "[\"10.0.0.2\",\"10.0.0.1\"]", NULL },
		{ "ips", "[\"::ffff:10.0.0.1\",\"10.0.0.1\"]", NULL },
		{ "ips", "[\"fd00::1\",\"fd00:0::1\"]", "twice" },
		{ "prefixes", "[\"0.0.0.0/0\",\"::/0\"]", NULL },
		{ "prefixes", "[\"0.0.0.0/0\",[]]", "got a list" },
	};
	struct all all = { 0 };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct dpu_error err = { 0 };
		int status = set_json(&all, cases[i].field, cases[i].json, &err);
		if (cases[i].words) {
			assert_int_equal(status, -EINVAL);
			assert_memory_equal(err.path, cases[i].field, strlen(cases[i].field));
			if (!strstr(err.message, cases[i].words))
				fail_msg("%s: %s", cases[i].json, err.message);
		} else {
			if (status != 0)
				fail_msg("%s: %s", cases[i].json, err.message);
			shows(&all, cases[i].field, cases[i].json);
		}
	}
	field_table_clear(table, &all);
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes; /* 0: refused */
	} cases[] = {
		{ "1K", 1024 },
		{ "300M", 300 << 20 },
		{ "300MiB", 300 << 20 },
		{ "2G", UINT64_C(2) << 30 },
		{ "1T", UINT64_C(1) << 40 },
		{ "1PiB", UINT64_C(1) << 50 },
		{ "1", 0 },
		{ "1k", 0 },
		{ "1KB", 0 },
		{ "-1K", 0 },
		{ "K", 0 },
		{ " 1K", 0 },
		{ "1KiBs", 0 },
		{ "1.5G", 0 },
		{ "10000P", 0 },
		{ "99999999999999999999K", 0 },
		{ "1E", 0 },
	};
	struct {
		uint64_t size, count;
	} value = { 0 }, zero = { 0 };
	const struct field size = { .name = "size", .type = FIELD_U64, .unit = "bytes" };
	const struct field count = { .name = "count", .type = FIELD_U64, .unit = "packets", .offset = 8 };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct dpu_error err = { 0 };
		json_t *json = json_string(cases[i].text);
		int status = field_from_json(&size, json, &value, &zero, &nowhere, &err);
		if (cases[i].bytes ? status != 0 || value.size != cases[i].bytes : status == 0)
			fail_msg("%s: %llu, %s", cases[i].text, (unsigned long long)value.size, err.message);
		assert_int_not_equal(field_from_json(&count, json, &value, &zero, &nowhere, &err), 0);
		json_decref(json);
	}
}

/* What is taken is said where there is room for it: not of a packet's size. */
static void sizes_are_explained(void **state)
{
	static const struct {
		uint64_t max;
		const char *unit, *message;
	} cases[] = {
		{ 0, "bytes",
		  "\"64MB\" is not a whole number, alone or with K, M, G, T or P (powers of 1024: 64K, 10GiB): "
		  "give 0 to 9223372036854775807 bytes" },
		{ 256 << 20, "bytes_per_second",
		  "\"64MB\" is not a whole number, alone or with K, M, G, T or P (powers of 1024: 64K, 10GiB): "
		  "give 0 to 268435456 bytes_per_second" },
		{ 9216, "bytes", "\"64MB\" is not a whole number: give 0 to 9216 bytes" },
		{ 0, "packets", "\"64MB\" is not a whole number: give 0 to 9223372036854775807 packets" },
	};
	json_t *json = json_string("64MB");

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct field size = {
			.name = "size", .type = FIELD_U64, .unit = cases[i].unit, .max = cases[i].max
		};
		uint64_t value = 0, zero = 0;
		struct dpu_error err = { 0 };

		assert_true(field_from_json(&size, json, &value, &zero, &nowhere, &err) < 0);
		assert_string_equal(err.message, cases[i].message);
	}
	json_decref(json);
}

static void failure_keeps_value(void **state)
{
	struct all all = { 0 };
	struct dpu_error err;

	set_json(&all, "strings", "[\"keep\"]", &err);
	set_json(&all, "string", "\"keep\"", &err);
	assert_true(set_json(&all, "strings", "[\"x\", 5]", &err) < 0);
	assert_string_equal(err.path, "strings[1]");
	assert_true(set_json(&all, "string", "5", &err) < 0);
	shows(&all, "strings", "[\"keep\"]");
	shows(&all, "string", "\"keep\"");
	assert_int_equal(set_json(&all, "string", "\"\"", &err), 0);
	shows(&all, "string", "null");
	field_table_clear(table, &all);
}

/* A message never holds half a character, which could not be sent on. */
static void quotes_whole_characters(void **state)
{
	char text[400] = "\"x", buf[FIELD_QUOTE];
	struct all all = { 0 };
	struct dpu_error err;

	while (strlen(text) < 300)
		strcat(text, "\xe2\x82\xac");
	for (int i = 0; i < 3; i++) {
		memmove(text + 2, text + 1, strlen(text));
		text[1] = 'y';
		assert_true(strlen(field_quote(text + 1, buf)) < FIELD_QUOTE);
		strcat(text, "\"");
		assert_true(set_json(&all, "mac", text, &err) < 0);
		json_t *message = json_string(err.message);
		assert_non_null(message);
		json_decref(message);
		text[strlen(text) - 1] = 0;
	}
}

static void copies_and_compares(void **state)
{
	struct all a = { 0 }, b = { 0 };
	struct dpu_error err;

	field_table_defaults(table, &a, &err);
	for (const struct field *field = table; field->name; field++) {
		if (!field->def)
			continue;
		assert_false(field_is_zero(field, &a));
		assert_true(field_is_zero(field, &b));
		assert_false(field_equal(field, &a, &b));
		assert_int_equal(field_copy(field, &a, &b), 0);
		assert_true(field_equal(field, &a, &b));
		assert_int_equal(field_hash(field, &a, 5), field_hash(field, &b, 5));
		field_clear(field, &b);
	}
	const struct field *strings = field_find(table, "strings");
	field_copy(strings, &a, &b);
	set_json(&b, "strings", "[\"b\",\"a\"]", &err);
	assert_false(field_equal(strings, &a, &b));
	assert_int_not_equal(field_hash(strings, &a, 5), field_hash(strings, &b, 5));
	field_table_clear(table, &a);
	field_table_clear(table, &b);
}

static void from_text(void **state)
{
	static const struct {
		const char *field, *text, *json; /* json NULL: refused */
	} cases[] = {
		{ "boolean", "off", "false" },
		{ "boolean", "yes", "true" },
		{ "boolean", "1", NULL },
		{ "u8", "7", "7" },
		{ "u8", "300", "300" },
		{ "u8", "-1", NULL },
		{ "u8", " 1", NULL },
		{ "u8", "0x10", NULL },
		{ "u8", "1 ", NULL },
		{ "u64", "99999999999999999999", NULL },
		{ "string", "a b", "\"a b\"" },
		{ "string", "", "null" },
		{ "strings", "a,b", "[\"a\",\"b\"]" },
		{ "strings", "a", "[\"a\"]" },
		{ "string", "\xff", NULL },
		{ "ips", "10.0.0.1,x", "[\"10.0.0.1\",\"x\"]" },
		{ "strings", "\xff", NULL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct dpu_error err;
		json_t *value = NULL;
		int status = field_json_from_text(field_find(table, cases[i].field), cases[i].text, &value, &err);
		if (!cases[i].json) {
			assert_int_equal(status, -EINVAL);
			continue;
		}
		assert_int_equal(status, 0);
		char *dump = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
		assert_string_equal(dump, cases[i].json);
		free(dump);
		json_decref(value);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(accepted_and_refused),
		cmocka_unit_test(sizes),
		cmocka_unit_test(sizes_are_explained),
		cmocka_unit_test(failure_keeps_value),
		cmocka_unit_test(quotes_whole_characters),
		cmocka_unit_test(copies_and_compares),
		cmocka_unit_test(from_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
