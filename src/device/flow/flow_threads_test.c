/* SPDX-License-Identifier: BSD-3-Clause */
/* Two workers forward while a third installs and destroys rules: every frame is counted by exactly one rule, or went
 * up, and an index is free only when nobody counts any more. Under ThreadSanitizer as well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>
#include "device/flow/flow_world.h"

enum { RULES = 16, LANES = WORLD_WORKERS - 1, BURSTS = 20000, TURNS = 3000 };

/* A worker with a path of its own. */
struct lane {
	pthread_t thread;
	struct flow_world *w;
	struct path *path;
	struct flow *flow;
	struct rte_mbuf *packets[PATH_BURST];
	uint64_t up, forwarded;
};
static struct lane lanes[LANES];
static uint32_t generations[RULES];
static uint64_t now_ns;
static uint64_t seen[RULES]; /* packets, when the rule was last gone */

static void member(void *ctx, struct path *path, const struct path_iface *iface, struct rte_mbuf **packets,
		   unsigned count)
{
	struct lane *lane = ctx;

	(void)path;
	flow_input(lane->flow, iface, packets, count);
}

/* Frames stay the lane's. */
static void output(void *ctx, struct path *path, uint16_t iface, struct rte_mbuf **packets, unsigned count)
{
	struct lane *lane = ctx;

	(void)path;
	(void)packets;
	if (iface == flow_world_representor(1))
		lane->up += count;
	else if (iface == flow_world_member(2))
		lane->forwarded += count;
}

static void lane_open(struct lane *lane, struct flow_world *w, unsigned worker)
{
	static struct frame frame;
	struct path_service service = { .member = member, .output = output, .ctx = lane };
	struct path_options options = {
		.config = w->config, .service = &service, .max_sessions = 64, .seed = 1, .worker = worker
	};
	struct dpu_error err;

	lane->w = w;
	assert_int_equal(path_new(&options, &lane->path, &err), 0);
	assert_int_equal(flow_new(w->sw, lane->path, test_pool(), worker, &lane->flow, &err), 0);
	for (unsigned i = 0; i < PATH_BURST; i++) {
		char source[16];
		snprintf(source, sizeof(source), "10.0.0.%u", i % RULES);
		frame_build(&frame, &(struct frame_spec){ .src = source });
		lane->packets[i] = frame_mbuf(&frame);
	}
}

static void *lane_run(void *arg)
{
	struct lane *lane = arg;

	for (unsigned i = 0; i < BURSTS; i++) {
		struct rte_mbuf *burst[PATH_BURST];
		memcpy(burst, lane->packets, sizeof(burst));
		path_input(lane->path, flow_world_member(1), burst, PATH_BURST);
	}
	return NULL;
}

static struct eswitch_rule rule_of(uint32_t index)
{
	struct eswitch_rule rule = { .index = index, .generation = generations[index], .op_count = 1 };

	rule.match.in_port = 1;
	rule.match.eth_type = RTE_BE16(0x0800);
	rule.mask.eth_type = UINT16_MAX;
	rule.match.ip4_src = rte_cpu_to_be_32(0x0a000000 + index);
	/* Masks come and go with the rules. */
	rule.mask.ip4_src = UINT32_MAX;
	rule.mask.ip_ttl = index & 1 ? UINT8_MAX : 0;
	rule.match.ip_ttl = 64;
	rule.ops[0] = (struct eswitch_op){ .code = ESWITCH_OP_OUTPUT, .port = 2 };
	return rule;
}

static uint64_t counted(const struct flow_world *w, uint32_t index)
{
	const struct eswitch_counter *counters = (void *)((uint8_t *)w->region + w->region->counters_offset);
	uint64_t packets = 0;

	for (unsigned i = 0; i < WORLD_WORKERS; i++)
		packets += atomic_load(&counters[i * w->region->max_rules + index].packets);
	return packets;
}

static void toggle(struct flow_world *w, uint32_t index, bool *live)
{
	struct eswitch_rule rule;

	if (!live[index])
		generations[index]++;
	rule = rule_of(index);
	if (!live[index]) {
		assert_int_equal(counted(w, index), seen[index]); /* nobody has counted since it was free */
		assert_int_equal(flow_world_install(w, &rule), ESWITCH_RULE_ACTIVE);
	} else {
		_Atomic uint32_t *states = (void *)((uint8_t *)w->region + w->region->states_offset);
		flow_world_push(w, ESWITCH_DESTROY, &rule);
		while ((atomic_load(&states[index]) & 0xff) != ESWITCH_RULE_FREE)
			flow_client_poll(w->client, w->flow);
		seen[index] = counted(w, index);
	}
	live[index] = !live[index];
	/* Time flies for the switch, so that it ranks its masks all the time. */
	now_ns += UINT64_C(1000000001);
	flow_tick(w->flow, now_ns);
}

static void exact(void **state)
{
	struct flow_world *w = flow_world_new();
	bool live[RULES] = { false };
	uint64_t up = 0, forwarded = 0, packets = 0;

	for (unsigned i = 0; i < LANES; i++)
		lane_open(&lanes[i], w, i + 1);
	for (unsigned i = 0; i < LANES; i++)
		assert_int_equal(pthread_create(&lanes[i].thread, NULL, lane_run, &lanes[i]), 0);
	for (unsigned i = 0; i < TURNS; i++)
		toggle(w, (i * 7) % RULES, live);
	for (unsigned i = 0; i < LANES; i++) {
		pthread_join(lanes[i].thread, NULL);
		up += lanes[i].up;
		forwarded += lanes[i].forwarded;
	}
	for (uint32_t i = 0; i < RULES; i++)
		packets += counted(w, i);
	assert_int_equal(up + forwarded, (uint64_t)LANES * BURSTS * PATH_BURST);
	assert_int_equal(packets, forwarded);
	assert_true(forwarded > 0);
	for (unsigned i = 0; i < LANES; i++) {
		rte_pktmbuf_free_bulk(lanes[i].packets, PATH_BURST);
		flow_free(lanes[i].flow);
		path_free(lanes[i].path);
	}
	flow_world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(exact) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
