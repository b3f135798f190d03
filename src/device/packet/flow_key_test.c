/* SPDX-License-Identifier: BSD-3-Clause */
/* Flow keys: the hash is symmetric, keyed and well spread; directions flip; text says what the key is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <netinet/in.h>
#include <cmocka.h>
#include "device/packet/flow_key.h"

static uint64_t random_state = 88172645463325252;

static uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static struct flow_key random_key(bool v6)
{
	struct flow_key key;
	uint64_t words[5];

	for (unsigned i = 0; i < 5; i++)
		words[i] = random64();
	memcpy(&key, words, sizeof(key));
	key.flags = v6 ? FLOW_KEY_F_V6 : 0;
	return key;
}

static struct flow_key v4_key(uint32_t src, uint16_t src_port, uint32_t dst, uint16_t dst_port)
{
	struct flow_key key = { .v4 = { rte_cpu_to_be_32(src), rte_cpu_to_be_32(dst) } };

	key.src_port = rte_cpu_to_be_16(src_port);
	key.dst_port = rte_cpu_to_be_16(dst_port);
	key.vpc = 3;
	key.proto = IPPROTO_TCP;
	return key;
}

static void reverse_hashes_alike_and_flips(void **state)
{
	for (unsigned i = 0; i < 20000; i++) {
		struct flow_key key = random_key(i & 1), reverse, again;
		uint64_t seed = random64();

		/* Equal addresses, equal ports: the order must fall back to the other. */
		if (i % 5 == 0)
			memcpy(key.v6.dst, key.v6.src, 16);
		if (i % 10 == 0 && !(i & 1))
			key.v4.dst = key.v4.src;
		if (i % 7 == 0)
			key.dst_port = key.src_port;
		flow_key_reverse(&key, &reverse);
		flow_key_reverse(&reverse, &again);
		assert_true(flow_key_equal(&key, &again));
		assert_int_equal(flow_key_hash(&key, seed), flow_key_hash(&reverse, seed));
		if (flow_key_equal(&key, &reverse)) {
			assert_int_equal(flow_key_direction(&key), 0);
		} else {
			assert_int_equal(flow_key_direction(&key) + flow_key_direction(&reverse), 1);
		}
		flow_key_reverse(&key, &key);
		assert_true(flow_key_equal(&key, &reverse));
	}
}

static void flow_to_itself_has_direction_0(void **state)
{
	struct flow_key key = v4_key(0x0a000001, 80, 0x0a000001, 80);
	struct flow_key v6 = { .v6 = { { 0xfd, 1 }, { 0xfd, 1 } } };

	v6.flags = FLOW_KEY_F_V6;
	assert_int_equal(flow_key_direction(&key), 0);
	assert_int_equal(flow_key_direction(&v6), 0);
}

static void bytes_behind_an_ipv4_key_do_not_matter(void **state)
{
	struct flow_key a = v4_key(1, 2, 3, 4), b = a;

	memset((uint8_t *)&b + 8, 0xa5, 24);
	assert_true(flow_key_equal(&a, &b));
	assert_int_equal(flow_key_hash(&a, 7), flow_key_hash(&b, 7));
}

static void every_bit_counts(void **state)
{
	for (unsigned v6 = 0; v6 < 2; v6++) {
		unsigned collisions = 0, ones = 0, pairs = 0;

		for (unsigned i = 0; i < 200; i++) {
			struct flow_key key = random_key(v6);
			uint32_t hash = flow_key_hash(&key, 42);

			for (unsigned bit = 0; bit < sizeof(key) * 8; bit++) {
				struct flow_key other = key;

				if ((!v6 && bit >= 64 && bit < 256) || bit == 256 + 48) /* unused; the v6 flag */
					continue;
				((uint8_t *)&other)[bit / 8] ^= 1 << bit % 8;
				assert_false(flow_key_equal(&key, &other));
				uint32_t changed = hash ^ flow_key_hash(&other, 42);
				collisions += changed == 0;
				ones += __builtin_popcount(changed);
				pairs++;
			}
			collisions += hash == flow_key_hash(&key, 43);
		}
		assert_int_equal(collisions, 0);
		/* On average half of the 32 bits flip. */
		assert_in_range(ones / (pairs / 100), 1560, 1640);
	}
}

/* Ordinary traffic: neighbouring addresses and ports. The low bits must spread like random ones. */
static void regular_flows_spread_evenly(void **state)
{
	enum { BUCKETS = 4096, FLOWS = BUCKETS * 16 };
	unsigned *count = calloc(BUCKETS, sizeof(*count));

	for (unsigned shift = 0; shift <= 16; shift += 8) {
		double chi2 = 0;

		memset(count, 0, BUCKETS * sizeof(*count));
		for (unsigned i = 0; i < FLOWS; i++) {
			struct flow_key key =
				v4_key(0x0a000000 + (i & 0xff), 1024 + (i >> 8 & 0xf), 0x0a010000 + (i >> 12), 443);
			count[(flow_key_hash(&key, 99) >> shift) % BUCKETS]++;
		}
		for (unsigned i = 0; i < BUCKETS; i++)
			chi2 += (count[i] - 16.0) * (count[i] - 16.0) / 16.0;
		/* Expected 4095, standard deviation 90. */
		assert_true(chi2 > 4095 - 6 * 90 && chi2 < 4095 + 6 * 90);
	}
	free(count);
}

static void swapped_ports_are_another_flow(void **state)
{
	struct flow_key a = v4_key(0x0a000001, 1000, 0x0a000002, 2000);
	struct flow_key b = v4_key(0x0a000001, 2000, 0x0a000002, 1000);

	assert_int_not_equal(flow_key_hash(&a, 1), flow_key_hash(&b, 1));
}

static void text(void **state)
{
	char buf[FLOW_KEY_TEXT];
	struct flow_key key = v4_key(0x0a000001, 80, 0x0a000002, 4242);
	struct flow_key v6 = { 0 };

	assert_string_equal(flow_key_format(&key, buf), "tcp 10.0.0.1:80 > 10.0.0.2:4242 vpc 3");
	key.proto = 89;
	assert_string_equal(flow_key_format(&key, buf), "proto 89 10.0.0.1 > 10.0.0.2 vpc 3");
	key.proto = IPPROTO_ICMP;
	key.src_port = rte_cpu_to_be_16(7);
	key.dst_port = rte_cpu_to_be_16(0x0800);
	assert_string_equal(flow_key_format(&key, buf), "icmp 10.0.0.1 > 10.0.0.2 echo request id 7 vpc 3");
	flow_key_reverse(&key, &key);
	assert_string_equal(flow_key_format(&key, buf), "icmp 10.0.0.2 > 10.0.0.1 echo reply id 7 vpc 3");
	key.src_port = 0;
	key.dst_port = rte_cpu_to_be_16(0x0304);
	assert_string_equal(flow_key_format(&key, buf), "icmp 10.0.0.2 > 10.0.0.1 type 3 code 4 vpc 3");
	key.flags = FLOW_KEY_F_FRAGMENT;
	key.proto = IPPROTO_UDP;
	assert_string_equal(flow_key_format(&key, buf), "udp 10.0.0.2 > 10.0.0.1 fragment id 772 vpc 3");

	v6.v6.src[15] = 1;
	v6.v6.dst[0] = 0xfd;
	v6.flags = FLOW_KEY_F_V6;
	v6.proto = IPPROTO_UDP;
	v6.src_port = rte_cpu_to_be_16(53);
	assert_string_equal(flow_key_format(&v6, buf), "udp [::1]:53 > [fd00::]:0 vpc 0");
}

static void longest_text_fits(void **state)
{
	char buf[FLOW_KEY_TEXT + 8];
	struct flow_key key;

	memset(&key, 0xff, sizeof(key));
	for (unsigned proto = 0; proto < 256; proto++) {
		key.proto = proto;
		key.flags = FLOW_KEY_F_V6 | (proto & 1 ? FLOW_KEY_F_FRAGMENT : 0);
		memset(buf, 'x', sizeof(buf));
		flow_key_format(&key, buf);
		assert_true(strlen(buf) < FLOW_KEY_TEXT - 1);
		assert_string_equal(strstr(buf, " vpc "), " vpc 65535");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reverse_hashes_alike_and_flips),
		cmocka_unit_test(flow_to_itself_has_direction_0),
		cmocka_unit_test(bytes_behind_an_ipv4_key_do_not_matter),
		cmocka_unit_test(every_bit_counts),
		cmocka_unit_test(regular_flows_spread_evenly),
		cmocka_unit_test(swapped_ports_are_another_flow),
		cmocka_unit_test(text),
		cmocka_unit_test(longest_text_fits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
