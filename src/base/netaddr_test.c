/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of network addresses and their text forms. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/netaddr.h"

#define COUNT(array_) (sizeof(array_) / sizeof((array_)[0]))

static void mac_texts(void **state)
{
	static const char *const bad[] = { "",
					   "0",
					   "00:11:22:33:44",
					   "00:11:22:33:44:5",
					   "00:11:22:33:44:55:",
					   "00:11:22:33:44:55 ",
					   "00:11:22:33:44:5g",
					   "00:11-22:33:44:55",
					   "001122334455",
					   "0:11:22:33:44:55",
					   " 00:11:22:33:44:55" };
	struct mac_addr mac = { { 9 } };
	char text[MAC_TEXT];

	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(mac_parse(bad[i], &mac), -EINVAL);
	assert_int_equal(mac.bytes[0], 9);
	assert_int_equal(mac_parse("02:aB:00:Ff:7e:01", &mac), 0);
	assert_string_equal(mac_format(&mac, text), "02:ab:00:ff:7e:01");
	assert_int_equal(mac_parse("03-ab-00-ff-7e-01", &mac), 0);
	assert_true(mac_is_multicast(&mac));
	assert_false(mac_is_zero(&mac));
	assert_true(mac_is_zero(&(struct mac_addr){ 0 }));
}

static void ip_texts(void **state)
{
	/* What goes in, what comes out: RFC 5952 section 4. */
	static const char *const good[][2] = {
		{ "10.0.0.1", "10.0.0.1" },
		{ "255.255.255.255", "255.255.255.255" },
		{ "::", "::" },
		{ "::1", "::1" },
		{ "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1" },
		{ "2001:DB8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1" },
		{ "2001:db8:0:0:0:0:2:1", "2001:db8::2:1" },
		{ "fe80:0:0:0:0:0:0:0", "fe80::" },
		{ "::ffff:10.1.2.3", "::ffff:10.1.2.3" },
		{ "::1:2", "::1:2" },
		{ "2001:0:0:1:0:0:0:1", "2001:0:0:1::1" },
		{ "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
		{ "64:ff9b::192.0.2.33", "64:ff9b::c000:221" },
	};
	static const char *const bad[] = { "",         "1",   "1.2.3",   "1.2.3.4.5", "1.2.3.256", "01.2.3.4",
					   "1.2.3.4 ", ":::", "1::2::3", "12345::",   "::1%eth0",  "10.0.0.1/8" };
	struct ip_addr ip;
	char text[IP_TEXT];

	for (size_t i = 0; i < COUNT(good); i++) {
		assert_int_equal(ip_parse(good[i][0], &ip), 0);
		assert_string_equal(ip_format(&ip, text), good[i][1]);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(ip_parse(bad[i], &ip), -EINVAL);
	assert_string_equal(ip_format(&(struct ip_addr){ 0 }, text), "");
}

static struct ip_prefix prefix_of(const char *text)
{
	struct ip_prefix prefix;

	assert_int_equal(ip_prefix_parse(text, &prefix), 0);
	return prefix;
}

static struct ip_addr ip_of(const char *text)
{
	struct ip_addr ip;

	assert_int_equal(ip_parse(text, &ip), 0);
	return ip;
}

static void prefix_texts(void **state)
{
	static const char *const bad[] = {
		"",       "10.0.0.0", "10.0.0.0/", "10.0.0.0/33",   "10.0.0.0/08", "10.0.0.0/-1", "10.0.0.0/8x",
		"::/129", "/8",       "x/8",       "::/4294967297", "10.0.0.0/ 8"
	};
	static const char *const good[] = {
		"0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "2001:db8::/33", "::1/128"
	};
	struct ip_prefix prefix;
	char text[PREFIX_TEXT], longer[300];

	for (size_t i = 0; i < COUNT(good); i++) {
		prefix = prefix_of(good[i]);
		assert_string_equal(ip_prefix_format(&prefix, text), good[i]);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(ip_prefix_parse(bad[i], &prefix), -EINVAL);
	assert_int_equal(ip_prefix_parse("10.0.0.1/8", &prefix), -ERANGE);
	assert_int_equal(ip_prefix_parse("2001:db8::/31", &prefix), 0);
	assert_int_equal(ip_prefix_parse("2001:db9::/31", &prefix), -ERANGE);
	memset(longer, '1', sizeof(longer));
	strcpy(longer + sizeof(longer) - 3, "/8");
	assert_int_equal(ip_prefix_parse(longer, &prefix), -EINVAL);
	assert_string_equal(ip_prefix_format(&(struct ip_prefix){ 0 }, text), "");
}

static void prefixes_contain(void **state)
{
	struct ip_prefix ten = prefix_of("10.0.0.0/8"), eleven = prefix_of("11.0.0.0/8"),
			 sub = prefix_of("10.2.0.0/15");
	struct ip_prefix any = prefix_of("0.0.0.0/0"), any6 = prefix_of("::/0"), odd = prefix_of("2001:db8:8000::/33");
	struct ip_addr a = ip_of("10.3.255.255"), b = ip_of("10.4.0.0"), c = ip_of("2001:db8:8000::1");
	struct ip_addr d = ip_of("2001:db8:7fff::1");

	assert_true(ip_prefix_contains(&ten, &a));
	assert_true(ip_prefix_contains(&sub, &a));
	assert_false(ip_prefix_contains(&sub, &b));
	assert_false(ip_prefix_contains(&eleven, &a));
	assert_true(ip_prefix_contains(&any, &a));
	assert_false(ip_prefix_contains(&any6, &a));
	assert_false(ip_prefix_contains(&any, &c));
	assert_true(ip_prefix_contains(&odd, &c));
	assert_false(ip_prefix_contains(&odd, &d));
	assert_false(ip_prefix_contains(&any, &(struct ip_addr){ 0 }));
	assert_true(ip_prefix_overlaps(&ten, &sub));
	assert_true(ip_prefix_overlaps(&sub, &ten));
	assert_false(ip_prefix_overlaps(&ten, &eleven));
	assert_false(ip_prefix_overlaps(&any, &any6));
	assert_true(ip_prefix_equal(&ten, &ten));
	assert_false(ip_prefix_equal(&ten, &eleven));
	assert_true(ip_is_multicast(&(struct ip_addr){ .family = IP_V4, .bytes = { 224 } }));
	assert_false(ip_is_multicast(&(struct ip_addr){ .family = IP_V4, .bytes = { 255 } }));
	assert_true(ip_is_multicast(&(struct ip_addr){ .family = IP_V6, .bytes = { 255 } }));
}

static void link_local(void **state)
{
	static const char *const yes[] = { "fe80::", "fe80::1", "febf:ffff::1" };
	static const char *const no[] = { "fec0::1", "fe7f::1", "fd00::1", "254.128.0.1" };
	struct mac_addr mac = { { 0x52, 0x74, 0xf2, 0xb1, 0xa8, 0x7f } };
	struct ip_addr derived = ip_link_local(&mac), wanted = ip_of("fe80::5074:f2ff:feb1:a87f");

	for (size_t i = 0; i < COUNT(yes); i++)
		assert_true(ip_is_link_local(&(struct ip_addr[1]){ ip_of(yes[i]) }[0]));
	for (size_t i = 0; i < COUNT(no); i++)
		assert_false(ip_is_link_local(&(struct ip_addr[]){ ip_of(no[i]) }[0]));
	assert_false(ip_is_link_local(&(struct ip_addr){ 0 }));
	assert_true(ip_equal(&derived, &wanted));
}

static void uuids(void **state)
{
	static const char *const bad[] = { "", "550e8400-e29b-41d4-a716-44665544000",
					   "550e8400-e29b-41d4-a716-4466554400000", "550e8400e29b41d4a716446655440000",
					   "g50e8400-e29b-41d4-a716-446655440000" };
	struct uuid a, b, many[UUID_GENERATE_MAX];
	char text[UUID_TEXT];

	assert_int_equal(uuid_parse("550E8400-e29b-41d4-a716-446655440000", &a), 0);
	assert_string_equal(uuid_format(&a, text), "550e8400-e29b-41d4-a716-446655440000");
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(uuid_parse(bad[i], &a), -EINVAL);
	uuid_generate(&a, 1);
	uuid_generate(&b, 1);
	assert_false(uuid_equal(&a, &b));
	assert_false(uuid_is_zero(&a));
	assert_true(uuid_is_zero(&(struct uuid){ 0 }));
	uuid_format(&a, text);
	assert_int_equal(text[14], '4');
	assert_non_null(strchr("89ab", text[19]));
	uuid_generate(many, UUID_GENERATE_MAX);
	for (unsigned i = 0; i < UUID_GENERATE_MAX; i++) {
		uuid_format(&many[i], text);
		assert_int_equal(text[14], '4');
		assert_non_null(strchr("89ab", text[19]));
		assert_true(i == 0 || !uuid_equal(&many[i], &many[i - 1]));
	}
}

static void clock_runs(void **state)
{
	uint64_t before = clock_ns();
	struct uuid first = { 0 }, second = { 0 };

	assert_true(before > 0);
	assert_true(clock_ns() >= before);
	assert_int_equal(clock_boot_id(&first), 0);
	assert_int_equal(clock_boot_id(&second), 0);
	assert_false(uuid_is_zero(&first));
	assert_true(uuid_equal(&first, &second));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mac_texts),        cmocka_unit_test(ip_texts),   cmocka_unit_test(prefix_texts),
		cmocka_unit_test(prefixes_contain), cmocka_unit_test(link_local), cmocka_unit_test(uuids),
		cmocka_unit_test(clock_runs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
