/* SPDX-License-Identifier: BSD-3-Clause */
/* The order in which subtables are searched follows what is found; that it changes, and masks come and go, never hides
 * a rule. */
#include "device/flow/flow_test_util.h"
#include <stdio.h>

enum { MASKS = 40, FRONT = 4 /* searched at once, at least */ };

static struct frame frame;
static uint64_t now_ns = UINT64_C(1000000000);

/* One entry, and frames that differ in what some rule reads: every frame is searched for. */
static int setup(void **state)
{
	w = flow_world_new_sized(WORLD_RULES, 1, false);
	struct eswitch_rule rule = rule_for(WORLD_RULES - 1, false);
	rule.match.in_port = 4;
	match_proto(&rule, IPPROTO_UDP);
	rule.mask.l4_src = UINT16_MAX;
	must_install(&rule);
	return 0;
}

/* Rule n is for the source 10.0.n.1; its mask is its own. */
static struct eswitch_rule rule_of_mask(unsigned n, uint16_t in_port)
{
	struct eswitch_rule rule = rule_for(n + (in_port - 1) * MASKS, false);

	rule.match.in_port = in_port;
	rule.match.ip4_src = rte_cpu_to_be_32(0x0a000001 + (n << 8));
	rule.mask.ip4_src = UINT32_MAX;
	rule.match.ip_ttl = 64;
	rule.mask.ip_ttl = (uint8_t)(n & 0x3f);
	add(&rule, ESWITCH_OP_OUTPUT, 3);
	return rule;
}

static void send_frame(unsigned n, uint16_t in_port, uint16_t to)
{
	static uint16_t src_port;
	char source[16];

	snprintf(source, sizeof(source), "10.0.%u.1", n);
	frame_build(&frame, &(struct frame_spec){ .src = source, .src_port = (uint16_t)(1 + ++src_port % 60000) });
	flow_world_input(w, in_port, &frame);
	expect_frame(0, to, &frame);
	flow_world_clear(w);
}

static void second_passes(void)
{
	now_ns += UINT64_C(1000000001);
	flow_tick(w->flow, now_ns);
}

/* How many subtables a frame of rule n is searched in. */
static unsigned searched(unsigned n, uint16_t in_port)
{
	struct flow_stats before, after;

	flow_switch_stats(w->sw, &before);
	send_frame(n, in_port, flow_world_member(3));
	flow_switch_stats(w->sw, &after);
	return (unsigned)(after.subtables_searched - before.subtables_searched);
}

static void follows(void **state)
{
	static const unsigned favourites[] = { MASKS - 1, 20, 3 };
	struct eswitch_rule rule;

	for (uint16_t port = 1; port <= 2; port++) {
		for (unsigned n = 0; n < MASKS; n++) {
			rule = rule_of_mask(n, port);
			must_install(&rule);
		}
	}
	assert_true(searched(MASKS - 1, 1) > FRONT);
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned turn = 0; turn < 4; turn++) {
			for (unsigned k = 0; k < 100; k++)
				send_frame(favourites[i], 1, flow_world_member(3));
			second_passes();
		}
		assert_in_range(searched(favourites[i], 1), 1, FRONT);
		for (unsigned n = 0; n < MASKS; n++)
			send_frame(n, 1, flow_world_member(3));
	}
	/* In-ports are ranked each for itself. */
	assert_true(searched(MASKS - 1, 2) > FRONT);
	send_frame(MASKS, 1, flow_world_representor(1));
}

/* Masks come and go while popularity changes: every rule that there is is found, and no other. */
static void comes_and_goes(void **state)
{
	static struct eswitch_rule rules[MASKS];
	bool live[MASKS] = { false };
	uint64_t random = 5;

	for (unsigned step = 0; step < 4000; step++) {
		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
		unsigned n = (unsigned)(random >> 33) % MASKS, what = (unsigned)(random >> 50) % 8;
		if (what == 0) {
			second_passes();
		} else if (what > 1) {
			send_frame(n, 1, live[n] ? flow_world_member(3) : flow_world_representor(1));
		} else if (!live[n]) {
			rules[n] = rule_of_mask(n, 1);
			must_install(&rules[n]);
		} else {
			flow_world_command(w, ESWITCH_DESTROY, &rules[n]);
		}
		live[n] ^= what == 1;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(follows, setup, flow_test_teardown),
		cmocka_unit_test_setup_teardown(comes_and_goes, setup, flow_test_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
