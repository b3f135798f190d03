/* SPDX-License-Identifier: BSD-3-Clause */
/* The vectorised rule scan against a naive reading of the same rules, and its limits. */
#include "service/vswitch/dp.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static uint64_t state = 88172645463325252u;

static uint32_t draw(uint32_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 20) % below;
}

/* Addresses from a small space, so that prefixes hit often. */
static struct ip_addr draw_address(uint8_t family)
{
	struct ip_addr address = { .family = family };
	unsigned bytes = family == IP_V4 ? 4 : 16;
	for (unsigned i = 0; i < bytes; i++)
		address.bytes[i] = (uint8_t)(draw(4) << (i % 2 ? 6 : 0));
	return address;
}

static void mask_host_bits(struct ip_prefix *prefix)
{
	for (unsigned bit = prefix->length; bit < 128; bit++)
		prefix->addr.bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

static bool naive_prefix(const struct ip_prefix *prefix, const struct ip_addr *address)
{
	for (unsigned bit = 0; bit < prefix->length; bit++)
		if ((prefix->addr.bytes[bit / 8] ^ address->bytes[bit / 8]) & (0x80 >> bit % 8))
			return false;
	return true;
}

static bool naive_match(const struct dp_rule_input *rule, uint8_t proto, uint16_t port, const struct ip_addr *remote,
			const uint32_t *groups, unsigned group_count)
{
	if (rule->proto && rule->proto != proto)
		return false;
	if (rule->proto && rule->proto != IPPROTO_GRE && (port < rule->port_min || port > rule->port_max))
		return false;
	if (!naive_prefix(&rule->remote, remote))
		return false;
	bool member = !rule->remote_group;
	for (unsigned i = 0; i < group_count; i++)
		member |= groups[i] == rule->remote_group;
	return member;
}

static struct dp_rule_input draw_rule(uint8_t family, uint32_t slot)
{
	static const uint8_t protos[] = { 0, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_GRE };
	struct dp_rule_input rule = { .rule_slot = slot, .family = family, .proto = protos[draw(4)] };
	uint16_t a = (uint16_t)draw(65536), b = (uint16_t)draw(65536);
	rule.port_min = a < b ? a : b;
	rule.port_max = a < b ? b : a;
	if (draw(2)) {
		rule.remote.addr = draw_address(family);
		rule.remote.length = (uint8_t)(1 + draw(family == IP_V4 ? 32 : 128));
		mask_host_bits(&rule.remote);
	}
	if (!draw(3))
		rule.remote_group = 1 + draw(5);
	return rule;
}

static void matches_naive_model(void **unused)
{
	struct dp_rule_input input[200];
	unsigned hits = 0, misses = 0;
	for (unsigned round = 0; round < 400; round++) {
		uint8_t family = round % 2 ? IP_V6 : IP_V4;
		unsigned count = draw(round % 10 ? 40 : 200);
		for (unsigned i = 0; i < count; i++)
			input[i] = draw_rule(family, 1000 + i);
		struct dp_rules *rules;
		assert_int_equal(dp_rules_new(input, count, &rules), 0);
		for (unsigned probe = 0; probe < 200; probe++) {
			static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_GRE, IPPROTO_ESP };
			uint8_t proto = protos[draw(4)];
			uint16_t port = (uint16_t)draw(65536);
			struct ip_addr remote = draw_address(family);
			uint32_t groups[2] = { 1 + draw(5), 1 + draw(5) };
			unsigned group_count = draw(3);
			uint32_t expected = 0;
			for (unsigned i = 0; i < count && !expected; i++)
				if (naive_match(&input[i], proto, port, &remote, groups, group_count))
					expected = 1000 + i;
			assert_int_equal(dp_rules_match(rules, proto, port, &remote, groups, group_count), expected);
			expected ? hits++ : misses++;
		}
		dp_rules_free(rules);
	}
	assert_true(hits > 1000 && misses > 1000);
}

static void icmp_types(void **unused)
{
	struct dp_rule_input input[] = {
		{ .rule_slot = 7,
		  .family = IP_V6,
		  .proto = IPPROTO_ICMP,
		  .port_min = 128 << 8,
		  .port_max = 128 << 8 | 255 },
	};
	struct dp_rules *rules;
	assert_int_equal(dp_rules_new(input, 1, &rules), 0);
	struct ip_addr remote = { .family = IP_V6, .bytes = { 0xfd } };
	assert_int_equal(dp_rules_match(rules, IPPROTO_ICMPV6, 128 << 8, &remote, NULL, 0), 7);
	assert_int_equal(dp_rules_match(rules, IPPROTO_ICMPV6, 129 << 8, &remote, NULL, 0), 0);
	assert_int_equal(dp_rules_match(rules, IPPROTO_ICMP, 128 << 8, &remote, NULL, 0), 0);
	struct ip_addr other = { .family = IP_V4, .bytes = { 0xfd } };
	assert_int_equal(dp_rules_match(rules, IPPROTO_ICMPV6, 128 << 8, &other, NULL, 0), 0);
	dp_rules_free(rules);
}

static void no_rules_allow_nothing(void **unused)
{
	struct ip_addr remote = { .family = IP_V4, .bytes = { 10 } };
	struct dp_rules *rules;
	assert_int_equal(dp_rules_match(NULL, IPPROTO_TCP, 80, &remote, NULL, 0), 0);
	assert_int_equal(dp_rules_new(NULL, 0, &rules), 0);
	assert_int_equal(dp_rules_match(rules, IPPROTO_TCP, 80, &remote, NULL, 0), 0);
	dp_rules_free(rules);
	dp_rules_free(NULL);
}

static void bad_input_is_refused(void **unused)
{
	struct dp_rule_input good = { .rule_slot = 1, .family = IP_V4, .proto = IPPROTO_TCP, .port_max = 65535 };
	struct dp_rule_input bad[8];
	for (unsigned i = 0; i < 8; i++)
		bad[i] = good;
	bad[0].rule_slot = 0;
	bad[1].family = 5;
	bad[2].port_min = 2, bad[2].port_max = 1;
	bad[3].remote = (struct ip_prefix){ .addr.family = IP_V6, .length = 8 };
	bad[4].remote = (struct ip_prefix){ .addr.family = IP_V4, .length = 33 };
	struct dp_rules *rules;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(dp_rules_new(&bad[i], 1, &rules), -EINVAL);
	struct dp_rule_input mixed[2] = { good, good };
	mixed[1].family = IP_V6;
	assert_int_equal(dp_rules_new(mixed, 2, &rules), -EINVAL);
	assert_int_equal(dp_rules_new(&good, DP_MAX_RULES + 1, &rules), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matches_naive_model),
		cmocka_unit_test(icmp_types),
		cmocka_unit_test(no_rules_allow_nothing),
		cmocka_unit_test(bad_input_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
