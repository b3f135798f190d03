/* SPDX-License-Identifier: BSD-3-Clause */
/* Micro-benchmark of the flow engine: TSC cycles per packet inside path_input(), without port I/O, for frames that have
 * an entry (hit) and for those that are searched (miss), and rules installed and destroyed per second. One line of JSON
 * per result; options as bench_packets.h has them. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include "base/clock.h"
#include "bench_packets.h"
#include "device/flow/flow_world.h"

enum {
	ROTATION = 2048,
	MIN_ROUNDS = 20,
	MEGAFLOWS = 10000,
	PORT_SRC = 34, /* offset in a frame */
	IP_SRC = 26,
};

struct bench {
	struct flow_world *w;
	struct rte_mbuf *packets[ROTATION];
	struct rte_mbuf *burst[ROTATION];
	const struct frame *frame;
	uint32_t rules, tuples;
	unsigned masks; /* of the rules that match */
	bool skewed;    /* one mask has half of the frames, the next a quarter … */
	uint64_t random;
	uint32_t generation, index;
};

static uint32_t random_below(uint64_t *state, uint32_t n)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((*state >> 32) * n >> 32);
}

/* Rule n is for the source address n; its mask, one of `masks`, looks at more of what all frames have in common. The
 * last mask is that of a five-tuple, and its one rule is nobody's. */
static void rule_make(struct eswitch_rule *rule, uint32_t n, uint32_t index, uint32_t generation, unsigned masks)
{
	unsigned mask = n % masks;

	memset(rule, 0, offsetof(struct eswitch_rule, ops));
	rule->index = index;
	rule->generation = generation;
	rule->match.in_port = 1;
	rule->match.eth_type = RTE_BE16(0x0800);
	rule->mask.eth_type = UINT16_MAX;
	rule->match.ip4_src = rte_cpu_to_be_32(n);
	rule->mask.ip4_src = UINT32_MAX;
	memcpy(rule->match.eth_src, "\x02\0\0\0\0\x01", 6);
	memcpy(rule->match.eth_dst, "\x02\0\0\0\0\x02", 6);
	rule->match.ip_ttl = 64;
	rule->match.ip_proto = IPPROTO_UDP;
	rule->match.ip4_dst = RTE_BE32(0x0a000002);
	memset(rule->mask.eth_src, mask & 1 ? 0xff : 0, 6);
	memset(rule->mask.eth_dst, mask & 2 ? 0xff : 0, 6);
	rule->mask.ip_ttl = mask & 4 ? 0xff : 0;
	rule->mask.ip_proto = mask & 8 ? 0xff : 0;
	rule->mask.ip_tos = mask & 16 ? 0xfc : 0;
	rule->mask.ip4_dst = rte_cpu_to_be_32(UINT32_C(0xffffffff) << (mask / 32));
	rule->op_count = 1;
	rule->ops[0] = (struct eswitch_op){ .code = ESWITCH_OP_OUTPUT, .port = 2 };
}

static void install(struct bench *b, struct eswitch_rule *rule)
{
	if (flow_world_install(b->w, rule) != ESWITCH_RULE_ACTIVE)
		bench_fail("a rule was refused");
}

static void install_all(struct bench *b, unsigned masks)
{
	struct eswitch_rule rule;

	for (uint32_t i = 0; i < b->rules; i++) {
		rule_make(&rule, i, i, 1, masks - 1);
		install(b, &rule);
	}
	rule_make(&rule, UINT32_MAX, b->rules, 1, 1);
	rule.mask.ip_proto = UINT8_MAX;
	rule.mask.l4_src = rule.mask.l4_dst = UINT16_MAX;
	install(b, &rule);
}

/* Of the rules whose mask is the last one, or with half the chance the one before, and so on. */
static uint32_t skewed_rule(struct bench *b)
{
	uint32_t tosses = random_below(&b->random, UINT32_C(1) << 31) | UINT32_C(1) << 31;
	unsigned mask = b->masks - 1 - (unsigned)__builtin_ctz(tosses) % b->masks;

	return random_below(&b->random, b->rules / b->masks) * b->masks + mask;
}

static void write_frame(struct bench *b, struct rte_mbuf *m)
{
	uint32_t tuple = b->skewed ? skewed_rule(b) : random_below(&b->random, b->tuples);
	uint32_t address = rte_cpu_to_be_32(tuple % b->rules);
	uint16_t port = (uint16_t)(tuple / b->rules);
	uint8_t *bytes = rte_pktmbuf_mtod(m, uint8_t *);

	memcpy(bytes + IP_SRC, &address, 4);
	memcpy(bytes + PORT_SRC, &port, 2);
}

static double run_round(void *arg)
{
	struct bench *b = arg;

	for (unsigned i = 0; i < ROTATION; i++)
		write_frame(b, b->packets[i]);
	memcpy(b->burst, b->packets, sizeof(b->burst));
	path_tick(b->w->path, clock_ns());
	uint64_t start = rte_rdtsc_precise();
	for (unsigned i = 0; i < ROTATION; i += PATH_BURST)
		path_input(b->w->path, flow_world_member(1), b->burst + i, PATH_BURST);
	return (double)(rte_rdtsc_precise() - start) / ROTATION;
}

/* Time passes quickly for the switch, so that it learns which masks are looked for. */
static void learn(struct bench *b)
{
	uint64_t now = clock_ns();

	for (unsigned i = 0; i < 4; i++) {
		run_round(b);
		flow_tick(b->w->flow, now + i * UINT64_C(1100000000));
	}
}

static void frames(const char *id, uint32_t rules, uint32_t tuples, unsigned masks, uint32_t entries, bool skewed)
{
	static double cycles[BENCH_MAX_ROUNDS];
	static struct bench b;
	static struct frame frame;
	char name[64];

	snprintf(name, sizeof(name), "%s%s", id, bench_options.suffix);
	if (!bench_wants(name))
		return;
	b = (struct bench){ .rules = rules, .tuples = tuples, .masks = masks - 1, .skewed = skewed, .random = 1 };
	b.w = flow_world_new_sized(rules + 1, entries, bench_options.huge_dir != NULL);
	b.w->count_only = true;
	install_all(&b, masks);
	frame_build(&frame, &(struct frame_spec){ .payload = 18 });
	for (unsigned i = 0; i < ROTATION; i++)
		b.packets[i] = frame_mbuf(&frame);
	unsigned warm = 1 + 8 * tuples / ROTATION;
	for (unsigned i = 0; i < warm; i++)
		run_round(&b);
	if (entries == 1) {
		learn(&b);
		b.w->sent = 0;
		warm = 0;
	}
	struct flow_stats before, stats;
	flow_switch_stats(b.w->sw, &before);
	unsigned rounds = bench_rounds(run_round, &b, MIN_ROUNDS, cycles);
	flow_switch_stats(b.w->sw, &stats);
	if (b.w->sent != (uint64_t)(rounds + warm) * ROTATION || stats.upcalls)
		bench_fail("frames got lost, or went up");
	uint64_t lookups = stats.lookups - before.lookups,
		 searched = stats.subtables_searched - before.subtables_searched;
	printf("{\"id\":\"%s\",\"unit\":\"cycles/packet\",\"ours\":%.1f,\"best\":%.1f,\"rounds\":%u,\"hits\":%.3f,"
	       "\"masks_per_lookup\":%.1f}\n",
	       name, cycles[rounds / 2], cycles[0], rounds, (double)stats.hits / (double)(stats.hits + stats.lookups),
	       lookups ? (double)searched / (double)lookups : 0);
	fflush(stdout);
	rte_pktmbuf_free_bulk(b.packets, ROTATION);
	flow_world_free(b.w);
}

/* Cycles per frame of that many bytes, in a chain if need be, that a rule sends to two ports. */
static double copies_round(void *arg)
{
	enum { FRAMES = 256, COPIED = 8 };
	struct bench *b = arg;
	uint64_t cycles = 0;

	for (unsigned i = 0; i < FRAMES; i += COPIED) {
		for (unsigned k = 0; k < COPIED; k++)
			b->burst[k] = frame_mbuf(b->frame);
		for (unsigned k = 0; k < COPIED; k++)
			b->burst[k]->ol_flags |= RTE_MBUF_F_TX_TCP_SEG, b->burst[k]->tso_segsz = 1000;
		uint64_t start = rte_rdtsc_precise();
		path_input(b->w->path, flow_world_member(1), b->burst, COPIED);
		flow_world_clear(b->w);
		cycles += rte_rdtsc_precise() - start;
	}
	return (double)cycles / FRAMES;
}

static void copies(const char *id, uint32_t bytes)
{
	static double cycles[BENCH_MAX_ROUNDS];
	static struct frame frame;
	static struct bench b;
	struct eswitch_rule rule;
	char name[64];

	snprintf(name, sizeof(name), "%s%s", id, bench_options.suffix);
	if (!bench_wants(name))
		return;
	b = (struct bench){ .frame = &frame };
	b.w = flow_world_new_sized(1, 0, bench_options.huge_dir != NULL);
	rule_make(&rule, 0, 0, 1, 1);
	rule.mask.ip4_src = 0;
	rule.ops[rule.op_count++] = (struct eswitch_op){ .code = ESWITCH_OP_OUTPUT, .port = 3 };
	install(&b, &rule);
	frame_build(&frame, &(struct frame_spec){ .proto = IPPROTO_TCP, .payload = bytes - 54 });
	unsigned rounds = bench_rounds(copies_round, &b, MIN_ROUNDS, cycles);
	printf("{\"id\":\"%s\",\"unit\":\"cycles/packet\",\"ours\":%.0f,\"best\":%.0f,\"rounds\":%u}\n", name,
	       cycles[rounds / 2], cycles[0], rounds);
	fflush(stdout);
	flow_world_free(b.w);
}

/* Cycles per command: the oldest rule goes, a new one comes. */
static double churn_round(void *arg)
{
	enum { PAIRS = 64, ROUNDS = 16 };
	struct bench *b = arg;
	static struct eswitch_rule rules[2 * PAIRS];
	uint64_t cycles = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < PAIRS; i++) {
			uint32_t index = (b->index + i) % b->rules;
			rule_make(&rules[2 * i], index, index, b->generation, 20);
			rule_make(&rules[2 * i + 1], index, index, b->generation + 1, 20);
		}
		uint64_t start = rte_rdtsc_precise();
		for (unsigned i = 0; i < PAIRS; i++)
			flow_world_push(b->w, ESWITCH_DESTROY, &rules[2 * i]);
		while (flow_client_poll(b->w->client, b->w->flow))
			;
		for (unsigned i = 0; i < PAIRS; i++)
			flow_world_push(b->w, ESWITCH_INSTALL, &rules[2 * i + 1]);
		while (flow_client_poll(b->w->client, b->w->flow))
			;
		cycles += rte_rdtsc_precise() - start;
		b->index += PAIRS;
		if (b->index >= b->rules) {
			b->index = 0;
			b->generation++;
		}
	}
	return (double)cycles / (2 * PAIRS * ROUNDS);
}

static void churn(const char *id, uint32_t rules)
{
	static double cycles[BENCH_MAX_ROUNDS];
	static struct bench b;
	struct eswitch_rule rule;
	struct flow_stats stats;
	char name[64];

	snprintf(name, sizeof(name), "%s%s", id, bench_options.suffix);
	if (!bench_wants(name))
		return;
	b = (struct bench){ .rules = rules, .generation = 1 };
	b.w = flow_world_new_sized(rules, 0, bench_options.huge_dir != NULL);
	for (uint32_t i = 0; i < rules; i++) {
		rule_make(&rule, i, i, 1, 20);
		install(&b, &rule);
	}
	unsigned rounds = bench_rounds(churn_round, &b, MIN_ROUNDS, cycles);
	flow_switch_stats(b.w->sw, &stats);
	if (stats.refused || stats.rules != rules)
		bench_fail("rules were refused, or stayed");
	double hz = (double)rte_get_tsc_hz();
	printf("{\"id\":\"%s\",\"unit\":\"rules/s\",\"ours\":%.0f,\"best\":%.0f,\"rounds\":%u}\n", name,
	       hz / cycles[rounds / 2], hz / cycles[0], rounds);
	fflush(stdout);
	flow_world_free(b.w);
}

int main(int argc, char **argv)
{
	test_pool_use(bench_begin(argc, argv, 2 * ROTATION - 1));
	frames("flow-hit-10k", MEGAFLOWS, 10000, 20, 0, false);
	frames("flow-hit-100k", MEGAFLOWS, 100000, 20, 0, false);
	frames("flow-miss-2", 1000, 10000, 2, 1, false);
	frames("flow-miss-20", MEGAFLOWS, 100000, 20, 1, false);
	frames("flow-miss-100", MEGAFLOWS, 100000, 100, 1, false);
	frames("flow-miss-20-skewed", MEGAFLOWS, 100000, 20, 1, true);
	frames("flow-miss-100-skewed", MEGAFLOWS, 100000, 100, 1, true);
	copies("flow-copies-60", 60);
	copies("flow-copies-1514", 1514);
	copies("flow-copies-64k", 64000);
	churn("flow-install-200k", 200000 / 64 * 64);
	churn("flow-install-1m", 1 << 20);
	rte_eal_cleanup();
	return 0;
}
