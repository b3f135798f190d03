/* SPDX-License-Identifier: BSD-3-Clause */
/* What control sees of the engine: rules by state, what they have counted and when, command rings and how long commands
 * took, and what would become of a frame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <netinet/in.h>
#include "base/clock.h"
#include "device/flow/flow_world.h"

static struct flow_world *w;
static uint32_t generation;

static int setup(void **state)
{
	w = flow_world_new();
	return 0;
}

static int teardown(void **state)
{
	flow_world_free(w);
	assert_int_equal(test_pool_used(), 0);
	return 0;
}

/* All IPv4 of port 1 to port 2. */
static struct eswitch_rule rule_at(uint32_t index)
{
	struct eswitch_rule rule = { .index = index, .generation = ++generation, .op_count = 1 };

	rule.match.in_port = 1;
	rule.match.eth_type = RTE_BE16(0x0800);
	rule.mask.eth_type = UINT16_MAX;
	rule.ops[0] = (struct eswitch_op){ .code = ESWITCH_OP_OUTPUT, .port = 2 };
	return rule;
}

static void input(unsigned count)
{
	struct frame frame;

	frame_build(&frame, &(struct frame_spec){ .payload = 100 });
	for (unsigned i = 0; i < count; i++)
		flow_world_input(w, 1, &frame);
	flow_world_clear(w);
}

struct seen {
	struct flow_rule_info rule;
	unsigned count;
};

static void keep(void *arg, const struct flow_rule_info *rule)
{
	struct seen *seen = arg;

	seen->rule = *rule;
	seen->count++;
}

static struct seen list(unsigned states)
{
	struct seen seen = { .count = 0 };
	uint64_t cursor = 0;

	while (flow_rules_list(w->sw, states, &cursor, 7, keep, &seen))
		;
	return seen;
}

static void former_rules_of_an_index_do_not_count(void **state)
{
	struct eswitch_rule rule = rule_at(9);

	assert_int_equal(flow_world_install(w, &rule), ESWITCH_RULE_ACTIVE);
	input(5);
	assert_int_equal(list(FLOW_LIST_ACTIVE).rule.packets, 5);
	flow_world_command(w, ESWITCH_DESTROY, &rule);
	rule = rule_at(9);
	assert_int_equal(flow_world_install(w, &rule), ESWITCH_RULE_ACTIVE);
	assert_int_equal(list(FLOW_LIST_ACTIVE).rule.packets, 0);
	assert_int_equal(list(FLOW_LIST_ACTIVE).rule.bytes, 0);
	input(2);
	assert_int_equal(list(FLOW_LIST_ACTIVE).rule.packets, 2);
}

static void states(void **state)
{
	struct eswitch_rule rule = rule_at(3), bad = rule_at(1000);
	struct flow_stats stats;

	bad.match.in_port = 77;
	assert_int_equal(flow_world_install(w, &rule), ESWITCH_RULE_ACTIVE);
	assert_int_equal(flow_world_install(w, &bad), ESWITCH_RULE_REFUSED + ESWITCH_REFUSED_PORT);
	assert_int_equal(list(FLOW_LIST_ACTIVE).count, 1);
	struct seen refused = list(FLOW_LIST_REFUSED);
	assert_int_equal(refused.count, 1);
	assert_int_equal(refused.rule.index, 1000);
	assert_int_equal(refused.rule.generation, bad.generation);
	assert_int_equal(refused.rule.refusal, ESWITCH_REFUSED_PORT);
	flow_switch_stats(w->sw, &stats);
	assert_int_equal(stats.refused_now, 1);
	assert_true(stats.rule_bytes > 0 && stats.max_entries > 0);
	/* Destroyed: one poll unlinks; until the grace period is over it is leaving. */
	flow_world_command(w, ESWITCH_DESTROY, &bad);
	flow_world_command(w, ESWITCH_DESTROY, &rule);
	assert_int_equal(list(FLOW_LIST_ACTIVE | FLOW_LIST_REFUSED | FLOW_LIST_LEAVING).count, 0);
	flow_switch_stats(w->sw, &stats);
	assert_int_equal(stats.refused_now + stats.leaving + stats.rules, 0);
}

static void when_it_was_used(void **state)
{
	struct eswitch_rule rule = rule_at(2);
	const uint64_t second = 1000000000;

	assert_int_equal(flow_world_install(w, &rule), ESWITCH_RULE_ACTIVE);
	assert_int_equal(flow_uses_look(w->sw, 100, 1 * second), false);
	assert_int_equal(list(FLOW_LIST_ACTIVE).rule.used_ns, 0);
	input(1);
	assert_int_equal(flow_uses_look(w->sw, 100, 2 * second), false);
	assert_int_equal(list(FLOW_LIST_ACTIVE).rule.used_ns, 2 * second);
	assert_int_equal(flow_uses_look(w->sw, 100, 3 * second), false);
	assert_int_equal(list(FLOW_LIST_ACTIVE).rule.used_ns, 2 * second);
	/* Another rule of the index is another rule. */
	flow_world_command(w, ESWITCH_DESTROY, &rule);
	rule = rule_at(2);
	assert_int_equal(flow_world_install(w, &rule), ESWITCH_RULE_ACTIVE);
	flow_uses_look(w->sw, 100, 4 * second);
	assert_int_equal(list(FLOW_LIST_ACTIVE).rule.used_ns, 0);
	/* In portions: three indices have been used. */
	assert_int_equal(flow_uses_look(w->sw, 2, 5 * second), true);
	assert_int_equal(flow_uses_look(w->sw, 2, 5 * second), false);
}

static uint64_t counted(const struct flow_latency *latency)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < FLOW_LATENCY_BUCKETS; i++)
		count += latency->counts[i];
	return count;
}

static void install_that_was_sent(struct eswitch_rule *rule, uint32_t sent_ns)
{
	struct eswitch_command_ring *ring = &w->region->rings[0];
	struct eswitch_command *commands = (void *)((uint8_t *)w->region + ring->commands_offset);

	flow_world_push(w, ESWITCH_INSTALL, rule);
	commands[(ring->head - 1) & (ring->slots - 1)].sent_ns = sent_ns;
	while (flow_client_poll(w->client, w->flow))
		;
}

static void how_long_commands_take(void **state)
{
	struct eswitch_rule rule = rule_at(0);
	struct flow_latency latency;
	uint64_t below = 0;

	install_that_was_sent(&rule, (uint32_t)clock_ns() - 3000000); /* 3 ms ago */
	flow_switch_latency(w->sw, &latency);
	assert_int_equal(counted(&latency), 1);
	assert_in_range(latency.sum_ns, 3000000, 2000000000);
	for (unsigned i = 0; i < FLOW_LATENCY_BUCKETS && flow_latency_bound_ns(i) < 3000000; i++)
		below += latency.counts[i];
	assert_int_equal(below, 0);
	/* What was not said, and what cannot be. */
	flow_world_command(w, ESWITCH_DESTROY, &rule);
	rule = rule_at(0);
	install_that_was_sent(&rule, 0);
	flow_world_command(w, ESWITCH_DESTROY, &rule);
	rule = rule_at(0);
	install_that_was_sent(&rule, (uint32_t)clock_ns() + 1000000000);
	flow_switch_latency(w->sw, &latency);
	assert_int_equal(counted(&latency), 1);
	/* Bounds grow, and a bucket is a fifth of its time wide at most. */
	for (unsigned i = 1; i < FLOW_LATENCY_BUCKETS; i++) {
		uint64_t bound = flow_latency_bound_ns(i), before = flow_latency_bound_ns(i - 1);
		assert_true(bound > before && (bound - before) * 4 <= before + 1);
	}
	assert_true(flow_latency_bound_ns(FLOW_LATENCY_BUCKETS - 1) == UINT32_MAX);
}

static void rings(void **state)
{
	struct flow_ring_stats ring;
	struct eswitch_rule rule = rule_at(0), bad = rule_at(1);

	assert_false(flow_client_ring(w->client, 1, &ring));
	assert_true(flow_client_ring(w->client, 0, &ring));
	assert_int_equal(ring.pending + ring.installed + ring.last_ns, 0);
	bad.match.in_port = 77;
	flow_world_push(w, ESWITCH_INSTALL, &rule);
	flow_world_push(w, ESWITCH_INSTALL, &bad);
	flow_client_ring(w->client, 0, &ring);
	assert_int_equal(ring.pending, 2);
	uint64_t before = clock_ns();
	flow_world_command(w, ESWITCH_DESTROY, &rule);
	flow_client_ring(w->client, 0, &ring);
	assert_int_equal(ring.pending, 0);
	assert_int_equal(ring.installed, 1);
	assert_int_equal(ring.refused, 1);
	assert_int_equal(ring.destroyed, 1);
	assert_in_range(ring.last_ns, before, clock_ns());
	/* A head that cannot be. */
	w->region->rings[0].head += 5000;
	flow_client_ring(w->client, 0, &ring);
	assert_true(ring.impossible && ring.pending == 0);
	w->region->rings[0].head -= 5000;
}

static struct flow_explanation explain(uint16_t number, const struct frame_spec *spec)
{
	struct flow_explanation answer;
	struct frame frame;

	frame_build(&frame, spec);
	struct rte_mbuf *m = frame_mbuf(&frame);
	flow_explain(w->sw, number, &m, &answer);
	rte_pktmbuf_free(m);
	return answer;
}

static void what_would_become_of_a_frame(void **state)
{
	const struct frame_spec spec = { .payload = 10 };
	struct eswitch_rule rule = rule_at(4);
	struct flow_explanation answer = explain(1, &spec);

	assert_int_equal(answer.fate, FLOW_FATE_NO_RULE);
	assert_int_equal(answer.masks_searched, 0);
	assert_ptr_equal(answer.client, w->client);
	assert_int_equal(answer.fields.in_port, 1);
	assert_int_equal(answer.fields.ip_proto, IPPROTO_UDP);
	assert_int_equal(explain(77, &spec).fate, FLOW_FATE_UNBOUND);
	assert_int_equal(explain(0, &spec).fate, FLOW_FATE_UNBOUND);
	rule.ops[1] = rule.ops[0];
	rule.ops[0] = (struct eswitch_op){ .code = ESWITCH_OP_DEC_TTL };
	rule.op_count = 2;
	assert_int_equal(flow_world_install(w, &rule), ESWITCH_RULE_ACTIVE);
	answer = explain(1, &spec);
	assert_int_equal(answer.fate, FLOW_FATE_RULE);
	assert_int_equal(answer.masks_searched, 1);
	assert_int_equal(answer.rule.index, 4);
	assert_int_equal(answer.rule.ops[answer.rule.op_count - 1].port, 2);
	assert_int_equal(explain(1, &(struct frame_spec){ .ttl = 1 }).fate, FLOW_FATE_NEEDS);
	assert_int_equal(explain(2, &spec).fate, FLOW_FATE_NO_RULE);
	flow_switch_set_bypass(w->sw, true);
	assert_int_equal(explain(1, &spec).fate, FLOW_FATE_BYPASS);
	flow_switch_set_bypass(w->sw, false);
	flow_port_close(w->sw, 1);
	assert_int_equal(explain(1, &spec).fate, FLOW_FATE_NO_CLIENT);
	/* Nothing was counted, nobody saw a frame. */
	assert_int_equal(w->out_count, 0);
	struct flow_stats stats;
	flow_switch_stats(w->sw, &stats);
	assert_int_equal(stats.hits + stats.lookups + stats.upcalls, 0);
}

static void misses_are_counted(void **state)
{
	struct flow_stats stats;

	input(3); /* the first is searched for in vain, the others find the entry that says so */
	flow_switch_stats(w->sw, &stats);
	assert_int_equal(stats.lookups, 1);
	assert_int_equal(stats.misses, 1);
	assert_int_equal(stats.hits, 2);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		test(former_rules_of_an_index_do_not_count),
		test(states),
		test(when_it_was_used),
		test(how_long_commands_take),
		test(rings),
		test(what_would_become_of_a_frame),
		test(misses_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
