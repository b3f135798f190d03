/* SPDX-License-Identifier: BSD-3-Clause */
/* Micro-benchmark of the packet path: TSC cycles per packet inside path_input(), without port I/O. One line of JSON per
 * result.
 *
 * 8,192 buffers are in rotation. For each round a generator writes a random flow's headers into all of them, which
 * costs nothing here, then the path takes them in bursts of 32. Counters and ageing are on. The figure is the median
 * over rounds. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include "base/clock.h"
#include "bench_packets.h"
#include "device/packet/path.h"
#include "device/packet/testlib.h"

enum {
	ROTATION = 8192,
	MIN_ROUNDS = 20,
	UPLINK = 1,
	VNIC_A = PATH_FIRST_VNIC,
	VNIC_B,
	VPC = 1,
	VNI = 5000,
	TUNNEL = 1,
};

enum work { WORK_L3, WORK_ENCAP, WORK_DECAP };

struct test {
	const char *id;
	enum work work;
	bool v6, outer_v6;
};

static const struct test tests[] = {
	{ "hit-l3-v4", WORK_L3, false, false },
	{ "hit-l3-v6", WORK_L3, true, false },
	{ "hit-encap-v4", WORK_ENCAP, false, false },
	{ "hit-encap-v6", WORK_ENCAP, true, false },
	{ "hit-encap-v6-over-v6", WORK_ENCAP, true, true },
	{ "hit-decap-v4", WORK_DECAP, false, false },
	{ "hit-decap-v6", WORK_DECAP, true, false },
	{ "hit-decap-v6-over-v6", WORK_DECAP, true, true },
};
static const struct {
	const char *name;
	uint32_t flows;
} sizes[] = { { "1", 1 }, { "10k", 10000 }, { "1m", 1000000 } };

struct bench {
	const struct test *test;
	uint32_t flows;
	struct path_config *config;
	struct path *path;
	struct path_iface ifaces[3];
	struct path_vpc vpc;
	struct path_tunnel tunnel;
	struct frame frame; /* of flow 0; the others differ in address and port */
	uint32_t l3;        /* of the inner IP header */
	struct rte_mbuf *packets[ROTATION];
	uint64_t sent, missed, random;
};

/* ---- the service: nothing should get here but output ---- */

static void miss(void *ctx, struct path *path, struct rte_mbuf *m, struct packet_info *info)
{
	((struct bench *)ctx)->missed++;
}

static void output(void *ctx, struct path *path, uint16_t iface, struct rte_mbuf **packets, unsigned count)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < count; i++)
		bytes += packets[i]->pkt_len;
	path_count_sent(path, iface, count, bytes);
	((struct bench *)ctx)->sent += count;
}

/* ---- set-up ---- */

static void set_iface(struct bench *b, unsigned i, uint16_t id, const char *mac)
{
	b->ifaces[i] = (struct path_iface){ .id = id,
					    .kind = id < PATH_FIRST_VNIC ? PATH_IFACE_UPLINK : PATH_IFACE_VNIC,
					    .check_mac = true,
					    .vpc = id < PATH_FIRST_VNIC ? 0 : VPC,
					    .mtu = 1500,
					    .mac = test_mac(mac) };
	atomic_store(&b->config->ifaces[id], &b->ifaces[i]);
}

static void set_tunnel(struct bench *b)
{
	static struct frame outer, inner;
	bool v6 = b->test->outer_v6;
	struct tunnel_spec spec = { .src = v6 ? "2001:db8::2" : "192.0.2.2", .dst = v6 ? "2001:db8::1" : "192.0.2.1" };

	inner.length = 0;
	frame_tunnel(&outer, &spec, &inner);
	b->tunnel = (struct path_tunnel){ .index = TUNNEL,
					  .kind = TUNNEL_VXLAN,
					  .v6 = v6,
					  .resolved = true,
					  .length = (uint8_t)outer.length,
					  .l3_offset = 14,
					  .out_iface = UPLINK };
	memset(outer.bytes + (v6 ? 18 : 16), 0, 2);
	memset(outer.bytes + (v6 ? 58 : 38), 0, 2);
	if (!v6) {
		memset(outer.bytes + 24, 0, 2);
		uint16_t sum = rte_cpu_to_be_16(reference_checksum(outer.bytes + 14, 20, 0));
		memcpy(outer.bytes + 24, &sum, 2);
	}
	memcpy(b->tunnel.header, outer.bytes, outer.length);
	atomic_store(&b->config->tunnels[TUNNEL], &b->tunnel);
}

static void configure(struct bench *b)
{
	struct ip_addr v4 = test_ip("192.0.2.2"), v6 = test_ip("2001:db8::2");

	if (path_config_new(&b->config) || path_local_set(b->config, &v4, 0, NULL, NULL) ||
	    path_local_set(b->config, &v6, 0, NULL, NULL) ||
	    path_vni_set(b->config, TUNNEL_VXLAN, VNI, VPC, NULL, NULL))
		exit(1);
	set_iface(b, 0, UPLINK, "02:00:00:00:01:02");
	set_iface(b, 1, VNIC_A, "02:00:00:00:00:01");
	set_iface(b, 2, VNIC_B, "02:00:00:00:00:02");
	b->vpc = (struct path_vpc){ .slot = VPC, .tunnel = TUNNEL_VXLAN, .vni = VNI };
	atomic_store(&b->vpc.epoch, 1);
	atomic_store(&b->config->vpcs[VPC], &b->vpc);
	set_tunnel(b);
}

static void make_frame(struct bench *b)
{
	static struct frame inner;
	bool v6 = b->test->outer_v6;
	struct frame_spec spec = { .proto = IPPROTO_TCP, .payload = 6 };

	if (b->test->v6) {
		spec.src = "fd00::1:0:0";
		spec.dst = "fd00::2:0:0";
	}
	frame_build(&inner, &spec);
	b->l3 = 14;
	if (b->test->work != WORK_DECAP) {
		b->frame = inner;
		return;
	}
	struct tunnel_spec tunnel = { .dst_mac = "02:00:00:00:01:02",
				      .vni = VNI,
				      .src = v6 ? "2001:db8::1" : NULL,
				      .dst = v6 ? "2001:db8::2" : NULL };
	frame_tunnel(&b->frame, &tunnel, &inner);
	b->l3 = b->frame.length - inner.length + 14;
}

/* What sets flow n apart: the low 32 bits of the source address, and the source port. */
static inline uint32_t flow_address(uint32_t n)
{
	return 0x0a000000 + n / 16;
}

static inline uint16_t flow_port(uint32_t n)
{
	return (uint16_t)(1024 + n % 16 * 3001);
}

/* Writes flow n's frame into m: as a port would have left it. */
static inline void write_frame(const struct bench *b, struct rte_mbuf *m, uint32_t n)
{
	m->data_off = RTE_PKTMBUF_HEADROOM;
	m->data_len = (uint16_t)b->frame.length;
	m->pkt_len = b->frame.length;
	m->ol_flags = 0;
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	memcpy(frame, b->frame.bytes, b->frame.length);
	uint8_t *ip = frame + b->l3;
	uint32_t address = rte_cpu_to_be_32(flow_address(n));
	uint16_t port = rte_cpu_to_be_16(flow_port(n));
	if (b->test->v6) {
		memcpy(ip + 20, &address, 4);
		memcpy(ip + 40, &port, 2);
		return;
	}
	memcpy(ip + 12, &address, 4);
	memcpy(ip + 20, &port, 2);
	uint32_t sum = 0;
	memset(ip + 10, 0, 2);
	for (unsigned i = 0; i < 20; i += 2) {
		uint16_t word;
		memcpy(&word, ip + i, 2);
		sum += word;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	uint16_t checksum = (uint16_t) ~(sum + (sum >> 16));
	memcpy(ip + 10, &checksum, 2);
}

static struct session_dir make_action(const struct bench *b)
{
	static const uint8_t macs[12] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0xfe };
	struct session_dir action = { .in_iface = b->test->work == WORK_DECAP ? UPLINK : VNIC_A,
				      .out_iface = b->test->work == WORK_ENCAP ? UPLINK : VNIC_B,
				      .ops = SESSION_OP_SET_MACS | SESSION_OP_DEC_TTL,
				      .mtu = 1450,
				      .tunnel = TUNNEL,
				      .epoch = 1 };
	if (b->test->work == WORK_ENCAP) {
		action.ops |= SESSION_OP_ENCAP;
	} else if (b->test->work == WORK_DECAP) {
		struct ip_addr vtep = test_ip(b->test->outer_v6 ? "2001:db8::1" : "192.0.2.1");
		action.tunnel = path_vtep_tag(b->config, vtep.bytes, vtep.family == IP_V6);
	}
	memcpy(action.dst_mac, macs, 6);
	memcpy(action.src_mac, macs + 6, 6);
	return action;
}

static void open_sessions(struct bench *b, struct rte_mempool *pool)
{
	struct session_dir action = make_action(b);
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

	for (uint32_t n = 0; n < b->flows; n++) {
		struct packet_info info = { 0 };
		write_frame(b, m, n);
		if (b->test->work == WORK_DECAP)
			rte_pktmbuf_adj(m, (uint16_t)(b->l3 - 14));
		if (packet_parse(m, VPC, &info))
			exit(1);
		uint32_t hash = flow_key_hash(&info.key, path_seed(b->path));
		struct session_table *table = path_table(b->path, &info.key, hash);
		struct session *session = session_new(table, &info.key, hash, path_now(b->path));
		if (!session) {
			fprintf(stderr, "datapath_bench: no room for session %u\n", n);
			exit(1);
		}
		session->tcp_state = TCP_ESTABLISHED;
		session_publish(table, session, 3600 * SESSION_TICKS_PER_SECOND);
		session_set_action(session, session->initiator, &action);
		if (n % 4096 == 0)
			path_tick(b->path, clock_ns());
	}
	rte_pktmbuf_free(m);
}

static void bench_start(struct bench *b, struct rte_mempool *pool)
{
	struct path_service service = { .miss = miss, .output = output, .ctx = b };
	struct dpu_error err;

	configure(b);
	make_frame(b);
	struct path_options path = { .config = b->config,
				     .service = &service,
				     .huge_pages = bench_options.huge_dir != NULL,
				     .max_sessions = b->flows / 8 + 1024,
				     .seed = 0x5eed };
	if (path_new(&path, &b->path, &err)) {
		fprintf(stderr, "datapath_bench: %s %s\n", err.path, err.message);
		exit(1);
	}
	open_sessions(b, pool);
	if (rte_pktmbuf_alloc_bulk(pool, b->packets, ROTATION))
		exit(1);
}

static void bench_stop(struct bench *b)
{
	rte_pktmbuf_free_bulk(b->packets, ROTATION);
	path_free(b->path);
	path_config_free(b->config);
}

/* ---- measuring ---- */

static inline uint32_t random_below(uint64_t *state, uint32_t n)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((*state >> 32) * n >> 32);
}

/* Cycles per packet of one round. */
static double run_round(void *arg)
{
	struct bench *b = arg;
	uint16_t iface = b->test->work == WORK_DECAP ? UPLINK : VNIC_A;

	for (unsigned i = 0; i < ROTATION; i++)
		write_frame(b, b->packets[i], random_below(&b->random, b->flows));
	path_tick(b->path, clock_ns());
	uint64_t start = rte_rdtsc_precise();
	for (unsigned i = 0; i < ROTATION; i += PATH_BURST)
		path_input(b->path, iface, b->packets + i, PATH_BURST);
	return (double)(rte_rdtsc_precise() - start) / ROTATION;
}

static void measure(const struct test *test, unsigned size, struct rte_mempool *pool)
{
	static double cycles[BENCH_MAX_ROUNDS];
	static struct bench b;
	unsigned rounds;
	char id[64];

	snprintf(id, sizeof(id), "%s-%s%s", test->id, sizes[size].name, bench_options.suffix);
	if (!bench_wants(id))
		return;
	memset(&b, 0, sizeof(b));
	b.test = test;
	b.flows = sizes[size].flows;
	b.random = 1;
	bench_start(&b, pool);
	run_round(&b); /* warm up */
	rounds = bench_rounds(run_round, &b, MIN_ROUNDS, cycles);
	if (b.missed || b.sent != (uint64_t)(rounds + 1) * ROTATION) {
		fprintf(stderr, "datapath_bench: %s: %lu of %lu packets came out, %lu missed\n", id, b.sent,
			(uint64_t)(rounds + 1) * ROTATION, b.missed);
		exit(1);
	}
	printf("{\"id\":\"%s\",\"unit\":\"cycles/packet\",\"ours\":%.1f,\"best\":%.1f,\"rounds\":%u}\n", id,
	       cycles[rounds / 2], cycles[0], rounds);
	fflush(stdout);
	bench_stop(&b);
}

int main(int argc, char **argv)
{
	struct rte_mempool *pool = bench_begin(argc, argv, 2 * ROTATION - 1);

	for (unsigned size = 0; size < RTE_DIM(sizes); size++)
		for (unsigned i = 0; i < RTE_DIM(tests); i++)
			measure(&tests[i], size, pool);
	rte_eal_cleanup();
	return 0;
}
