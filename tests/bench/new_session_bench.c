/* SPDX-License-Identifier: BSD-3-Clause */
/* What a new flow costs: TSC cycles per session from the frame at a vNIC through the whole policy path to the
 * encapsulated frame, at a steady million of sessions, as many of which expire as are created. One line of JSON per
 * result, with the options of datapath_bench.
 *
 * A vNIC opens TCP connections to 16,384 mapped addresses behind 62 VTEPs; its hundred egress rules are looked through
 * to the last, the VPC has routes of 16 prefix lengths. The clock of the path is set: a tick of 1/16 s passes with each
 * round, so that every connection attempt expires 30 s, 480 rounds, after it was made. Ageing is in the figure. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include "base/clock.h"
#include "bench_packets.h"
#include "service/vswitch/testbed.h"

enum {
	TICKS = 30 * SESSION_TICKS_PER_SECOND, /* of a connection attempt */
	BURSTS = 69,                           /* in a round */
	ROUND = BURSTS * PATH_BURST,           /* × TICKS = 1.06 million */
	ROTATION = 4 * ROUND,
	MAPPINGS = 16384,
	VTEPS = 62,
	RULES = 100,
	MIN_ROUNDS = 40,
};

struct bench {
	struct bed bed;
	bool v6;
	uint16_t iface;
	struct frame frame;
	struct rte_mbuf *packets[ROTATION];
	uint64_t flows, sent, now_ns;
	unsigned at;
};

/* ---- the switch ---- */

/* Frames stay in rotation. */
static unsigned port_tx(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned count,
			struct port_tx_result *ret)
{
	for (unsigned i = 0; i < count; i++)
		ret->bytes += packets[i]->pkt_len;
	ret->packets += count;
	*(uint64_t *)port->ctx += count;
	return count;
}

static const struct port_ops port_ops = { .kind = "bench", .tx = port_tx };

static void add_mappings(struct bench *b, struct dp_vpc *vpc)
{
	for (unsigned i = 0; i < MAPPINGS; i++) {
		char address[40], vtep[20];
		snprintf(address, sizeof(address), b->v6 ? "fd00:b::%x:%x" : "10.1.%u.%u", i >> 8 | (b->v6 ? 0x100 : 0),
			 i & 255);
		snprintf(vtep, sizeof(vtep), "192.0.2.%u", 2 + i % VTEPS);
		bed_mapping(&b->bed, vpc, address, vtep, "02:01:00:00:00:21");
	}
}

static void add_routes(struct bench *b, struct dp_vpc *vpc)
{
	for (unsigned i = 0; i < 16; i++) {
		char prefix[40];
		snprintf(prefix, sizeof(prefix), b->v6 ? "fd%x::/%u" : "172.%u.0.0/%u", 16 + i, 16 + i);
		bed_route(&b->bed, vpc, prefix, DP_ROUTE_VTEP, "192.0.2.2");
	}
}

static void add_rules(struct bench *b, struct dp_vnic *vnic)
{
	static char texts[RULES][16];
	const char *rules[RULES + 1] = { 0 };

	for (unsigned i = 0; i < RULES; i++) {
		snprintf(texts[i], sizeof(texts[i]), i + 1 < RULES ? "tcp %u" : "tcp 443", 10000 + i);
		rules[i] = texts[i];
	}
	bed_rules(&b->bed, vnic, true, 1, rules);
	bed_rules(&b->bed, vnic, false, 1, rules);
}

static void bench_start(struct bench *b)
{
	struct frame_spec spec = { .proto = IPPROTO_TCP, .tcp_flags = 2 /* SYN */, .dst_port = 443, .payload = 6 };

	bed_init(&b->bed);
	b->bed.max_sessions = 2 * ROUND * TICKS / PATH_SLOTS;
	b->bed.huge_pages = bench_options.huge_dir != NULL;
	bed_tenant(&b->bed, 1);
	struct dp_vpc *vpc = bed_vpc(&b->bed, 1, 100);
	struct dp_subnet *near = bed_subnet(&b->bed, vpc, "10.0.0.0/24", "fd00:a::/64");
	bed_subnet(&b->bed, vpc, "10.1.0.0/16", "fd00:b::/64");
	struct dp_vnic *vnic = bed_vnic(&b->bed, near, 1, "10.0.0.11", "fd00:a::11");
	b->iface = vnic->iface.id;
	add_mappings(b, vpc);
	add_routes(b, vpc);
	add_rules(b, vnic);
	b->bed.ports[BED_UPLINK].port.ops = &port_ops;
	b->bed.ports[BED_UPLINK].port.ctx = &b->sent;
	bed_start(&b->bed);
	b->bed.dp.worker_states[0]->advertise_ns = UINT64_MAX;
	spec.src_mac = "02:00:00:00:01:01";
	spec.src = b->v6 ? "fd00:a::11" : "10.0.0.11";
	spec.dst = b->v6 ? "fd00:b::100:0" : "10.1.0.0";
	frame_build(&b->frame, &spec);
	b->now_ns = clock_ns();
	if (rte_pktmbuf_alloc_bulk(test_pool(), b->packets, ROTATION))
		bench_fail("too few buffers");
}

static void bench_stop(struct bench *b)
{
	rte_pktmbuf_free_bulk(b->packets, ROTATION);
	bed_fini(&b->bed);
}

/* ---- measuring ---- */

/* The next new flow's first packet. Checksums are not looked at. */
static void write_frame(struct bench *b, struct rte_mbuf *m)
{
	uint64_t flow = b->flows++;
	uint16_t mapping = rte_cpu_to_be_16((uint16_t)(flow * 10007 % MAPPINGS));
	uint16_t port = rte_cpu_to_be_16((uint16_t)(1024 + flow / MAPPINGS % 60000));

	m->data_off = RTE_PKTMBUF_HEADROOM;
	m->data_len = (uint16_t)b->frame.length;
	m->pkt_len = b->frame.length;
	m->ol_flags = 0;
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *), *ip = frame + 14;
	memcpy(frame, b->frame.bytes, b->frame.length);
	if (b->v6) {
		ip[37] = ((const uint8_t *)&mapping)[0];
		ip[39] = ((const uint8_t *)&mapping)[1];
		memcpy(ip + 40, &port, 2);
		return;
	}
	memcpy(ip + 18, &mapping, 2);
	memcpy(ip + 20, &port, 2);
	memset(ip + 10, 0, 2);
	uint16_t sum = rte_cpu_to_be_16(reference_checksum(ip, 20, 0));
	memcpy(ip + 10, &sum, 2);
}

/* Cycles per session of one round. */
static double run_round(void *arg)
{
	struct bench *b = arg;
	struct rte_mbuf **packets = b->packets + b->at * ROUND;
	struct worker_source *source = dp_worker_source(b->bed.dp.worker_states[0]);
	struct path *path = b->bed.dp.paths[0];

	b->at = (b->at + 1) % (ROTATION / ROUND);
	for (unsigned i = 0; i < ROUND; i++)
		write_frame(b, packets[i]);
	b->now_ns += CLOCK_NS_PER_S / SESSION_TICKS_PER_SECOND;
	uint64_t start = rte_rdtsc_precise();
	source->tick(source, NULL, b->now_ns);
	for (unsigned i = 0; i < ROUND; i += PATH_BURST)
		path_input(path, b->iface, packets + i, PATH_BURST);
	return (double)(rte_rdtsc_precise() - start) / ROUND;
}

static void check(const struct bench *b, const char *id)
{
	unsigned sessions = bed_sessions(&b->bed), steady = ROUND * TICKS;
	uint64_t created = path_vpc_counters(b->bed.dp.paths[0], 1)->sessions_created;

	if (b->sent == b->flows && created == b->flows && sessions > steady * 9 / 10 && sessions < steady * 11 / 10)
		return;
	fprintf(stderr, "new_session_bench: %s: %lu flows, %lu sessions made, %lu packets sent, %u sessions live\n", id,
		b->flows, created, b->sent, sessions);
	exit(1);
}

static void measure(bool v6)
{
	static double cycles[BENCH_MAX_ROUNDS];
	static struct bench b;
	unsigned rounds;
	char id[64];

	snprintf(id, sizeof(id), "new-session-%s-1m%s", v6 ? "v6" : "v4", bench_options.suffix);
	if (!bench_wants(id))
		return;
	memset(&b, 0, sizeof(b));
	b.v6 = v6;
	bench_start(&b);
	for (unsigned i = 0; i < TICKS + TICKS / 4; i++)
		run_round(&b);
	rounds = bench_rounds(run_round, &b, MIN_ROUNDS, cycles);
	check(&b, id);
	printf("{\"id\":\"%s\",\"unit\":\"cycles/session\",\"ours\":%.1f,\"best\":%.1f,\"rounds\":%u,"
	       "\"sessions_per_second\":%.0f,\"tsc_mhz\":%.0f}\n",
	       id, cycles[rounds / 2], cycles[0], rounds, rte_get_tsc_hz() / cycles[rounds / 2],
	       rte_get_tsc_hz() / 1e6);
	fflush(stdout);
	bench_stop(&b);
}

int main(int argc, char **argv)
{
	test_pool_use(bench_begin(argc, argv, 2 * ROTATION));
	measure(false);
	measure(true);
	rte_eal_cleanup();
	return 0;
}
