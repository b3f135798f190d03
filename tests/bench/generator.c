/* SPDX-License-Identifier: BSD-3-Clause */
/* Traffic generator and receiver of `./run bench switch`: sends prebuilt UDP frames of many flows, in random order, out
 * of one DPDK port and counts what arrives on another, from one core.
 *
 * usage: generator EAL-ARGUMENTS -- KEY=VALUE…
 *   flows=N size=BYTES seconds=S warmup=S dst_mac=M src_mac=M src_ip=A dst_ip=A rate=PPS (0 = as fast as it goes)
 *   queues=N            per port; sends on the first, receives on all
 *   out=PORT in=PORT    port numbers (vdevs in order of the command line)
 *   vtep=A vtep_mac=M   ARP requests for this address are answered on the receiving port
 *   tuples=FILE         a line "SRC-IP DST-IP SRC-PORT DST-PORT" for each flow
 *   disk=SOCKET         a vhost-user-blk back end, loaded beside the packets with disk_depth=N requests (128)
 *   stamp=1             a frame of each burst says when it was sent: latency_ns in the JSON object
 *   silent=1            sends nothing
 *   doze_us=N           with a rate: sleeps so long whenever it is ahead, and catches up behind; leaves its core to
 * others warm_rate=PPS       during the warm-up; hold=1: the warm-up goes on until a line comes on the standard input
 * Without tuples flow i has source port 1024 + i mod 60000 and destination port 5000 + i / 60000.
 * Prints "running" when its ports are up, "warm" after the warm-up, in which every flow becomes known, then one JSON
 * object: sent, received (of what was sent in the measured time), seconds, tx_mpps, rx_mpps. Ends with its standard
 * input. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_arp.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_udp.h>

#include "base/cycles.h"
#include "base/histogram.h"
#include "tests/bench/generator_disk.h"

enum {
	BURST = 32,
	PREFETCH = 8,
	PORTS_PER_FLOW_BLOCK = 60000,
	RING_SIZE = 1024,
	SLEEP_LEAST_NS = 50000,
	BACKLOGS_PER_S = 50, /* at a rate: how far it catches up, as part of a second */
	FRAME_ROOM = 256,
	STAMP_AT = sizeof(struct rte_ether_hdr) + sizeof(struct rte_ipv4_hdr) + sizeof(struct rte_udp_hdr),
};

struct tuple {
	rte_be32_t src_ip, dst_ip;
	uint16_t src_port, dst_port;
};

struct plan {
	uint32_t flows, size, seconds, warmup, out, in, queues, hold, doze_us, stamp, silent, disk_depth;
	uint64_t rate, warm_rate, stamp_scale;
	const char *tuples_file, *disk;
	struct tuple *tuples;
	struct rte_ether_addr dst_mac, src_mac, vtep_mac;
	rte_be32_t src_ip, dst_ip, vtep;
};

struct tally {
	uint64_t sent, received;
	double seconds;
	struct histogram latency;
};

static void fail(const char *what)
{
	fprintf(stderr, "generator: %s\n", what);
	exit(1);
}

static void plan_set(struct plan *plan, const char *key, const char *value)
{
	const struct {
		const char *key;
		uint32_t *number;
	} numbers[] = { { "flows", &plan->flows },   { "size", &plan->size },     { "seconds", &plan->seconds },
			{ "warmup", &plan->warmup }, { "out", &plan->out },       { "in", &plan->in },
			{ "queues", &plan->queues }, { "hold", &plan->hold },     { "doze_us", &plan->doze_us },
			{ "stamp", &plan->stamp },   { "silent", &plan->silent }, { "disk_depth", &plan->disk_depth } };

	for (size_t i = 0; i < RTE_DIM(numbers); i++)
		if (strcmp(key, numbers[i].key) == 0) {
			*numbers[i].number = strtoul(value, NULL, 0);
			return;
		}
	if (strcmp(key, "rate") == 0)
		plan->rate = strtoull(value, NULL, 0);
	else if (strcmp(key, "warm_rate") == 0)
		plan->warm_rate = strtoull(value, NULL, 0);
	else if (strcmp(key, "disk") == 0)
		plan->disk = value;
	else if (strcmp(key, "tuples") == 0)
		plan->tuples_file = value;
	else if (strcmp(key, "dst_mac") == 0)
		rte_ether_unformat_addr(value, &plan->dst_mac);
	else if (strcmp(key, "src_mac") == 0)
		rte_ether_unformat_addr(value, &plan->src_mac);
	else if (strcmp(key, "src_ip") == 0)
		plan->src_ip = inet_addr(value);
	else if (strcmp(key, "dst_ip") == 0)
		plan->dst_ip = inet_addr(value);
	else if (strcmp(key, "vtep") == 0)
		plan->vtep = inet_addr(value);
	else if (strcmp(key, "vtep_mac") == 0)
		rte_ether_unformat_addr(value, &plan->vtep_mac);
	else
		fail("unknown key");
}

static void plan_read(struct plan *plan, int count, char **words)
{
	*plan = (struct plan){
		.flows = 1000, .size = 64, .seconds = 3, .warmup = 1, .in = 1, .queues = 1, .disk_depth = 128
	};
	for (int i = 0; i < count; i++) {
		char *equals = strchr(words[i], '=');

		if (!equals)
			fail("arguments are KEY=VALUE");
		*equals = '\0';
		plan_set(plan, words[i], equals + 1);
	}
	if (plan->size < 60 || plan->size > RTE_ETHER_MAX_LEN)
		fail("size is 60 to 1518 bytes");
}

/* As many flows as the file has lines, if there is one. */
static void tuples_read(struct plan *plan)
{
	char src[INET_ADDRSTRLEN], dst[INET_ADDRSTRLEN];
	unsigned src_port, dst_port, count = 0;

	if (!plan->tuples_file)
		return;
	FILE *file = fopen(plan->tuples_file, "r");
	if (!file)
		fail("the file of tuples cannot be read");
	while (fscanf(file, "%15s %15s %u %u", src, dst, &src_port, &dst_port) == 4) {
		if (count % 1024 == 0)
			plan->tuples = realloc(plan->tuples, (count + 1024) * sizeof(*plan->tuples));
		if (!plan->tuples)
			fail("there is no memory for the tuples");
		plan->tuples[count++] = (struct tuple){
			.src_ip = inet_addr(src),
			.dst_ip = inet_addr(dst),
			.src_port = (uint16_t)src_port,
			.dst_port = (uint16_t)dst_port,
		};
	}
	if (count == 0 || !feof(file))
		fail("the file of tuples is not as it should be");
	fclose(file);
	plan->flows = count;
}

static struct tuple tuple_of(const struct plan *plan, uint32_t flow)
{
	if (plan->tuples)
		return plan->tuples[flow];
	return (struct tuple){
		.src_ip = plan->src_ip,
		.dst_ip = plan->dst_ip,
		.src_port = (uint16_t)(1024 + flow % PORTS_PER_FLOW_BLOCK),
		.dst_port = (uint16_t)(5000 + flow / PORTS_PER_FLOW_BLOCK),
	};
}

static void port_open(uint16_t port, unsigned queues, struct rte_mempool *pool)
{
	struct rte_eth_conf conf = { 0 };

	if (rte_eth_dev_configure(port, queues, queues, &conf) != 0)
		fail("a port does not take its configuration");
	for (unsigned i = 0; i < queues; i++)
		if (rte_eth_rx_queue_setup(port, i, RING_SIZE, SOCKET_ID_ANY, NULL, pool) != 0 ||
		    rte_eth_tx_queue_setup(port, i, RING_SIZE, SOCKET_ID_ANY, NULL) != 0)
			fail("a port does not take its queues");
	if (rte_eth_dev_start(port) != 0)
		fail("a port does not start");
}

static struct rte_mbuf *frame_new(const struct plan *plan, struct rte_mempool *pool, uint32_t flow)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	/* Ethernet size without the frame check sequence. */
	uint16_t bytes = plan->size - RTE_ETHER_CRC_LEN, l3 = bytes - sizeof(struct rte_ether_hdr);
	struct tuple tuple = tuple_of(plan, flow);

	if (!m)
		fail("too few buffers for the flows");
	char *data = rte_pktmbuf_append(m, bytes);
	struct rte_ether_hdr *ether = (struct rte_ether_hdr *)data;
	struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(ether + 1);
	struct rte_udp_hdr *udp = (struct rte_udp_hdr *)(ip + 1);

	memset(data, 0, bytes);
	*ether = (struct rte_ether_hdr){ .dst_addr = plan->dst_mac,
					 .src_addr = plan->src_mac,
					 .ether_type = htons(RTE_ETHER_TYPE_IPV4) };
	*ip = (struct rte_ipv4_hdr){ .version_ihl = 0x45,
				     .total_length = htons(l3),
				     .time_to_live = 64,
				     .next_proto_id = IPPROTO_UDP,
				     .src_addr = tuple.src_ip,
				     .dst_addr = tuple.dst_ip };
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	*udp = (struct rte_udp_hdr){ .src_port = htons(tuple.src_port),
				     .dst_port = htons(tuple.dst_port),
				     .dgram_len = htons(l3 - sizeof(*ip)) };
	if (!plan->stamp) /* with it the payload changes */
		udp->dgram_cksum = rte_ipv4_udptcp_cksum(ip, udp);
	return m;
}

/* A random order: neighbours in time share neither buckets nor sessions. */
static void shuffle(struct rte_mbuf **frames, uint32_t count)
{
	srand48(1);
	for (uint32_t i = count - 1; i > 0; i--) {
		uint32_t j = lrand48() % (i + 1);
		struct rte_mbuf *other = frames[j];

		frames[j] = frames[i];
		frames[i] = other;
	}
}

/* A request for the far end's address becomes the answer. */
static void answer_arp(const struct plan *plan, unsigned queue, struct rte_mbuf *m)
{
	struct rte_ether_hdr *ether = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	struct rte_arp_hdr *arp = (struct rte_arp_hdr *)(ether + 1);

	if (m->data_len >= sizeof(*ether) + sizeof(*arp) && arp->arp_opcode == htons(RTE_ARP_OP_REQUEST) &&
	    plan->vtep && arp->arp_data.arp_tip == plan->vtep) {
		rte_be32_t asker = arp->arp_data.arp_sip;

		ether->dst_addr = arp->arp_data.arp_tha = arp->arp_data.arp_sha;
		ether->src_addr = arp->arp_data.arp_sha = plan->vtep_mac;
		arp->arp_opcode = htons(RTE_ARP_OP_REPLY);
		arp->arp_data.arp_sip = plan->vtep;
		arp->arp_data.arp_tip = asker;
		if (rte_eth_tx_burst(plan->in, queue, &m, 1) == 1)
			return;
	}
	rte_pktmbuf_free(m);
}

/* When it was sent; 0: it does not say. The packet goes as it came, but for its headers. */
static void *stamp_of(struct rte_mbuf *m)
{
	return rte_pktmbuf_mtod_offset(m, void *, STAMP_AT);
}

static void stamp_note(struct rte_mbuf *m, uint64_t scale, struct tally *tally)
{
	uint64_t sent;

	memcpy(&sent, stamp_of(m), sizeof(sent));
	if (sent)
		histogram_add(&tally->latency, cycles_ns(rte_rdtsc() - sent, scale));
}

/* Only IPv4 is ours: there are neighbour discovery and the like as well. */
static unsigned receive_burst(const struct plan *plan, struct tally *tally)
{
	struct rte_mbuf *got[BURST];
	unsigned total = 0;

	for (unsigned queue = 0; queue < plan->queues; queue++) {
		uint16_t count = rte_eth_rx_burst(plan->in, queue, got, BURST), ours = 0;

		for (uint16_t i = 0; i < count; i++) {
			rte_be16_t type = rte_pktmbuf_mtod(got[i], struct rte_ether_hdr *)->ether_type;

			if (type == htons(RTE_ETHER_TYPE_ARP))
				answer_arp(plan, queue, got[i]);
			else
				got[ours++] = got[i];
			tally->received += type == htons(RTE_ETHER_TYPE_IPV4);
			if (plan->stamp && type == htons(RTE_ETHER_TYPE_IPV4))
				stamp_note(got[i], plan->stamp_scale, tally);
		}
		rte_pktmbuf_free_bulk(got, ours);
		total += count;
	}
	return total;
}

/* At a given rate the generator is a far machine: it must not take the core from the switch while it has nothing to do.
 */
static void sleep_cycles(uint64_t cycles)
{
	uint64_t ns = cycles * 1000000000 / rte_get_tsc_hz();
	const struct timespec time = { .tv_nsec = (long)ns };

	if (ns >= SLEEP_LEAST_NS && ns < 1000000000)
		nanosleep(&time, NULL);
}

static uint16_t send_burst(const struct plan *plan, struct rte_mbuf **frames, uint32_t frame_count, uint32_t *at)
{
	struct rte_mbuf *burst[BURST];

	for (unsigned i = 0; i < BURST; i++) {
		rte_prefetch0(frames[*at + PREFETCH < frame_count ? *at + PREFETCH : 0]);
		burst[i] = frames[*at];
		rte_mbuf_refcnt_update(burst[i], 1); /* the driver's free takes it back */
		*at = *at + 1 < frame_count ? *at + 1 : 0;
	}
	struct rte_mbuf *stamped = burst[0];
	uint64_t now = rte_rdtsc();

	if (plan->stamp)
		memcpy(stamp_of(stamped), &now, sizeof(now));
	uint16_t sent = rte_eth_tx_burst(plan->out, 0, burst, BURST);

	if (plan->stamp)
		memset(stamp_of(stamped), 0, sizeof(now));
	rte_pktmbuf_free_bulk(burst + sent, BURST - sent);
	return sent;
}

static void run_burst_loop(const struct plan *plan, struct rte_mbuf **frames, uint32_t frame_count, double seconds,
			   uint64_t rate, struct tally *ret)
{
	uint64_t start = rte_rdtsc(), length = seconds * rte_get_tsc_hz();
	uint64_t doze = plan->doze_us * rte_get_tsc_hz() / 1000000;
	uint64_t backlog = rte_get_tsc_hz() / BACKLOGS_PER_S;
	uint64_t pace = rate ? rte_get_tsc_hz() * BURST / rate : 0, next = start, now;
	uint32_t at = 0;

	*ret = (struct tally){ 0 };
	while ((now = rte_rdtsc()) - start < length) {
		unsigned got = receive_burst(plan, ret);
		if (plan->disk)
			disk_load_turn();
		if (pace && now < next) {
			if (got == 0 && !plan->disk)
				sleep_cycles(RTE_MAX(next - now, doze));
			continue;
		}
		next += pace;
		if (pace && now > next + backlog)
			next = now - backlog;
		if (!plan->silent)
			ret->sent += send_burst(plan, frames, frame_count, &at);
	}
	ret->seconds = (double)(rte_rdtsc() - start) / rte_get_tsc_hz();
	/* What is still on its way, also through a switch that has to wait for a core. */
	for (uint64_t end = rte_rdtsc() + rte_get_tsc_hz() / 5; rte_rdtsc() < end;)
		receive_burst(plan, ret);
}

static void warm_up(const struct plan *plan, struct rte_mbuf **frames, uint32_t frame_count)
{
	struct pollfd told = { .fd = STDIN_FILENO, .events = POLLIN };
	static struct tally tally;
	char line[64];

	puts("running");
	fflush(stdout);
	do
		run_burst_loop(plan, frames, frame_count, plan->warmup, plan->warm_rate ? plan->warm_rate : plan->rate,
			       &tally);
	while (plan->hold && poll(&told, 1, 0) == 0);
	if (plan->hold && !fgets(line, sizeof(line), stdin))
		exit(1);
	puts("warm");
	fflush(stdout);
}

static void wait_for_links(const struct plan *plan)
{
	for (unsigned i = 0; i < 100; i++) { /* up to 10 s */
		struct rte_eth_link a, b;

		if (rte_eth_link_get_nowait(plan->out, &a) == 0 && rte_eth_link_get_nowait(plan->in, &b) == 0 &&
		    a.link_status && b.link_status)
			break;
		rte_delay_ms(100);
	}
}

static void report(const struct plan *plan, const struct tally *tally)
{
	printf("{\"flows\": %u, \"sent\": %" PRIu64 ", \"received\": %" PRIu64
	       ", \"seconds\": %.3f, \"tx_mpps\": %.3f, \"rx_mpps\": %.3f",
	       plan->flows, tally->sent, tally->received, tally->seconds, tally->sent / tally->seconds / 1e6,
	       tally->received / tally->seconds / 1e6);
	if (plan->stamp)
		printf(", \"latency_ns\": {\"p50\": %" PRIu64 ", \"p99\": %" PRIu64 "}",
		       histogram_quantile(&tally->latency, 500000), histogram_quantile(&tally->latency, 990000));
	if (plan->disk)
		disk_load_report(stdout, tally->seconds);
	puts("}");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv);
	struct plan plan;
	static struct tally tally;

	if (used < 0)
		fail("EAL does not start");
	plan_read(&plan, argc - used - 1, argv + used + 1);
	tuples_read(&plan);
	plan.stamp_scale = cycles_scale();
	if (plan.disk)
		disk_load_open(plan.disk, plan.disk_depth);
	/* At least as many frames as a real generator would have in flight, whole rounds of the flows. */
	uint32_t frame_count = plan.flows >= 8192 ? plan.flows : plan.flows * ((8192 + plan.flows - 1) / plan.flows);
	struct rte_mempool *frames_pool =
		rte_pktmbuf_pool_create("frames", frame_count + 1, 0, 0,
					RTE_PKTMBUF_HEADROOM + RTE_MAX(plan.size, (uint32_t)FRAME_ROOM), SOCKET_ID_ANY);
	struct rte_mempool *pool = rte_pktmbuf_pool_create("receive", 8191, 256, 0, 2176, SOCKET_ID_ANY);
	struct rte_mbuf **frames = rte_malloc(NULL, sizeof(*frames) * frame_count, 0);

	if (!frames_pool || !pool || !frames)
		fail("not enough memory: give the EAL more");
	for (uint32_t i = 0; i < frame_count; i++)
		frames[i] = frame_new(&plan, frames_pool, i % plan.flows);
	shuffle(frames, frame_count);
	port_open(plan.out, plan.queues, pool);
	if (plan.in != plan.out)
		port_open(plan.in, plan.queues, pool);
	wait_for_links(&plan);
	warm_up(&plan, frames, frame_count);
	disk_load_begin();
	run_burst_loop(&plan, frames, frame_count, plan.seconds, plan.rate, &tally);
	report(&plan, &tally);
	getchar(); /* some switches forget what they counted when the other side goes */
	return 0;
}
