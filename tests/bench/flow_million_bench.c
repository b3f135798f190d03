/* SPDX-License-Identifier: BSD-3-Clause */
/* A million rules: memory of each, and commands per second while another worker forwards by them all the time. In the
 * end the counters of all rules, former ones too, add up to what was forwarded. One line of JSON. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include "bench_packets.h"
#include "device/flow/flow_world.h"

enum { RULES = 1 << 20, COMMANDS = 1 << 20, AT_ONCE = 64, LAG = 64 * AT_ONCE, IP_SRC = 26, WORKER = 1 };

/* The other worker, with a path of its own. */
struct lane {
	pthread_t thread;
	struct path *path;
	struct flow *flow;
	struct rte_mbuf *packets[PATH_BURST];
	_Atomic bool stop;
	uint64_t up, forwarded;
};

static void member(void *ctx, struct path *path, const struct path_iface *iface, struct rte_mbuf **packets,
		   unsigned count)
{
	flow_input(((struct lane *)ctx)->flow, iface, packets, count);
}

/* Frames stay the lane's. */
static void output(void *ctx, struct path *path, uint16_t iface, struct rte_mbuf **packets, unsigned count)
{
	struct lane *lane = ctx;

	if (iface == flow_world_member(2))
		lane->forwarded += count;
	else
		lane->up += count;
}

static void lane_open(struct lane *lane, struct flow_world *w)
{
	static struct frame frame;
	struct path_service service = { .member = member, .output = output, .ctx = lane };
	struct path_options options = {
		.config = w->config, .service = &service, .max_sessions = 64, .seed = 1, .worker = WORKER
	};
	struct dpu_error err;

	if (path_new(&options, &lane->path, &err) ||
	    flow_new(w->sw, lane->path, test_pool(), WORKER, &lane->flow, &err))
		bench_fail("no second worker");
	frame_build(&frame, &(struct frame_spec){ .payload = 18 });
	for (unsigned i = 0; i < PATH_BURST; i++)
		lane->packets[i] = frame_mbuf(&frame);
}

static void *lane_run(void *arg)
{
	struct lane *lane = arg;
	uint64_t random = 1;

	while (!lane->stop) {
		struct rte_mbuf *burst[PATH_BURST];
		for (unsigned i = 0; i < PATH_BURST; i++) {
			random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
			uint32_t source = rte_cpu_to_be_32((uint32_t)(random >> 40) % RULES);
			memcpy(rte_pktmbuf_mtod_offset(lane->packets[i], uint8_t *, IP_SRC), &source, 4);
		}
		memcpy(burst, lane->packets, sizeof(burst));
		path_input(lane->path, flow_world_member(1), burst, PATH_BURST);
	}
	return NULL;
}

static struct eswitch_rule rule_of(uint32_t index, uint32_t generation)
{
	struct eswitch_rule rule = { .index = index, .generation = generation, .op_count = 1 };

	rule.match.in_port = 1;
	rule.match.eth_type = RTE_BE16(0x0800);
	rule.mask.eth_type = UINT16_MAX;
	rule.match.ip4_src = rte_cpu_to_be_32(index);
	rule.mask.ip4_src = UINT32_MAX;
	rule.match.ip_ttl = 64;
	rule.mask.ip_ttl = index & 1 ? UINT8_MAX : 0;
	rule.ops[0] = (struct eswitch_op){ .code = ESWITCH_OP_OUTPUT, .port = 2 };
	return rule;
}

static void push_many(struct flow_world *w, enum eswitch_command_code code, uint32_t first, uint32_t generation)
{
	for (uint32_t i = first; i < first + AT_ONCE; i++) {
		struct eswitch_rule rule = rule_of(i, generation);
		flow_world_push(w, code, &rule);
	}
	while (atomic_load(&w->region->rings[0].tail) != atomic_load(&w->region->rings[0].head))
		flow_client_poll(w->client, w->flow);
}

/* Until no worker can count for the rules that were destroyed. */
static void wait_free(struct flow_world *w, uint32_t first)
{
	_Atomic uint32_t *states = (void *)((uint8_t *)w->region + w->region->states_offset);

	for (uint32_t i = first; i < first + AT_ONCE; i++)
		while ((atomic_load(&states[i]) & 0xff) != ESWITCH_RULE_FREE)
			flow_client_poll(w->client, w->flow);
}

/* Each rule is destroyed and, a while later, installed again, as a client does that has many at work. */
static void churn(struct flow_world *w)
{
	for (uint32_t i = 0; i < COMMANDS / 2 + LAG; i += AT_ONCE) {
		if (i < COMMANDS / 2)
			push_many(w, ESWITCH_DESTROY, i, 1);
		if (i < LAG)
			continue;
		wait_free(w, i - LAG);
		push_many(w, ESWITCH_INSTALL, i - LAG, 2);
	}
}

static uint64_t counted(const struct flow_world *w)
{
	const struct eswitch_counter *counters = (void *)((uint8_t *)w->region + w->region->counters_offset);
	uint64_t packets = 0;

	for (uint32_t i = 0; i < RULES; i++)
		packets += atomic_load(&counters[(size_t)WORKER * w->region->max_rules + i].packets);
	return packets;
}

int main(int argc, char **argv)
{
	static struct lane lane;
	struct flow_stats stats;

	test_pool_use(bench_begin(argc, argv, 1023));
	if (!bench_wants("flow-million"))
		return 0;
	struct flow_world *w = flow_world_new_sized(RULES, 1 << 21, false);
	for (uint32_t i = 0; i < RULES; i += AT_ONCE)
		push_many(w, ESWITCH_INSTALL, i, 1);
	flow_switch_stats(w->sw, &stats);
	lane_open(&lane, w);
	if (pthread_create(&lane.thread, NULL, lane_run, &lane))
		bench_fail("no thread");
	uint64_t start = rte_rdtsc_precise();
	churn(w);
	double seconds = (double)(rte_rdtsc_precise() - start) / (double)rte_get_tsc_hz();
	lane.stop = true;
	pthread_join(lane.thread, NULL);
	flow_switch_stats(w->sw, &stats);
	if (stats.rules != RULES || stats.refused)
		bench_fail("rules were refused, or stayed");
	if (counted(w) != lane.forwarded || lane.forwarded == 0)
		bench_fail("counters and frames differ");
	printf("{\"id\":\"flow-million%s\",\"unit\":\"rules/s\",\"ours\":%.0f,\"bytes_per_rule\":%.1f,"
	       "\"forwarded\":%" PRIu64 ",\"sent_up\":%" PRIu64 ",\"forwarded_per_s\":%.0f}\n",
	       bench_options.suffix, COMMANDS / seconds, (double)stats.rule_bytes / RULES, lane.forwarded, lane.up,
	       (double)lane.forwarded / seconds);
	rte_pktmbuf_free_bulk(lane.packets, PATH_BURST);
	flow_free(lane.flow);
	path_free(lane.path);
	flow_world_free(w);
	rte_eal_cleanup();
	return 0;
}
