/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of growing text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/str.h"

static void grows(void **state)
{
	struct text text = { 0 };
	CLEANUP(free_pointer) char *expected = calloc(1, 6001);

	for (int i = 0; i < 1000; i++) {
		text_add(&text, "ab");
		text_printf(&text, "%03d", i);
		text_add_bytes(&text, "-x", 1);
		sprintf(expected + strlen(expected), "ab%03d-", i);
	}
	assert_int_equal(text.length, 6000);
	CLEANUP(free_pointer) char *taken = text_take(&text);
	assert_string_equal(taken, expected);
	assert_null(text.data);
}

static void empty_is_a_string(void **state)
{
	struct text text = { 0 };
	CLEANUP(free_pointer) char *taken = text_take(&text);

	assert_string_equal(taken, "");
}

static void failure_sticks(void **state)
{
	struct text text = { 0 };

	text_add(&text, "a");
	text_add_bytes(&text, "", SIZE_MAX);
	assert_true(text.failed);
	text_add(&text, "b");
	assert_null(text_take(&text));
	assert_false(text.failed);
}

/* Whatever the room, what is there is whole characters, as many as fit. */
static void cuts_between_characters(void **state)
{
	static const char text[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7z";             /* 1, 2, 3, 4 bytes and 1 */
	static const size_t lengths[] = { 0, 0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11 }; /* by room */
	char buf[16];

	for (size_t room = 1; room < sizeof(lengths) / sizeof(lengths[0]); room++) {
		memset(buf, 'x', sizeof(buf));
		str_format(buf, room, "%s", text);
		assert_int_equal(strlen(buf), lengths[room]);
		assert_memory_equal(buf, text, lengths[room]);
	}
}

static void articles_as_spoken(void **state)
{
	static const struct {
		const char *word, *article;
	} cases[] = {
		{ "volume", "a" },
		{ "eswitch", "an" },
		{ "underlay", "an" },
		{ "nvmf_namespace", "an" },
		{ "nvmf_remote", "an" },
		{ "vpc", "a" },
		{ "vnic", "a" },
		{ "qos_policy", "a" },
		{ "security_group_rule", "a" },
		{ "mapping", "a" },
		{ "nqn", "an" },
		{ "", "a" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(str_article(cases[i].word), cases[i].article);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows),
		cmocka_unit_test(empty_is_a_string),
		cmocka_unit_test(failure_sticks),
		cmocka_unit_test(cuts_between_characters),
		cmocka_unit_test(articles_as_spoken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
