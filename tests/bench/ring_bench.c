/* SPDX-License-Identifier: BSD-3-Clause */
/* What `./run bench ring` runs: a thread that sends and one that receives, each on a core of its own, by the packet
 * rings of a representor in either direction, and by DPDK's memif driver, with frames of several lengths.
 *
 * The sender has its buffers from a pool in bursts, as a switch has them from its receive queue; the receiver reads the
 * headers and gives its buffers back. dpud's end of a ring is its port, with all that it checks; the driver's is what
 * the driver calls. Cycles are those of bursts that moved a frame. */
#include <float.h>
#include <inttypes.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include "base/loop.h"
#include "base/multiversion.h"
#include "dpu/eswitch_ring.h"
#include "operating/port_priv.h"
#include "operating/port_representor.h"

enum {
	BURST = 32,
	SLOTS = 1024,
	POOL = 16384 - 1,
	ROUNDS = 15, /* unless said otherwise */
	ROUNDS_MAX = 256,
	MEMIF_SERVER = 0,
	MEMIF_CLIENT = 1,
	MEMIF_LINK_MS = 5000
};

/* One end of one way: how many of count frames it has sent, and now owns; or how many of at most count it has received.
 */
typedef unsigned burst_fn(struct rte_mbuf **packets, unsigned count);

/* What one thread writes and the other does not need has lines of its own. */
static struct rte_mempool *pool;
static struct port *port;
static alignas(2 * RTE_CACHE_LINE_SIZE) struct eswitch_ring_end driver_takes;
static alignas(2 * RTE_CACHE_LINE_SIZE) struct eswitch_ring_end driver_puts;

static void fail(const char *what)
{
	fprintf(stderr, "ring_bench: %s\n", what);
	exit(1);
}

/* ---- the ways ---- */

static unsigned dpud_send(struct rte_mbuf **packets, unsigned count)
{
	struct port_tx_result result;

	return port->ops->tx(port, 0, packets, count, &result);
}

static unsigned dpud_receive(struct rte_mbuf **packets, unsigned count)
{
	return port->ops->rx(port, 0, packets, count);
}

MULTIVERSION_LINES static unsigned driver_send(struct rte_mbuf **packets, unsigned count)
{
	struct eswitch_meta metas[BURST];
	struct eswitch_ring_sent sent = { 0 };

	for (unsigned i = 0; i < count; i++)
		metas[i].slot = (struct eswitch_slot){ 0 };
	unsigned taken = eswitch_ring_put_burst(&driver_puts, packets, metas, count, &sent);
	eswitch_ring_free(packets, taken);
	eswitch_ring_publish(&driver_puts);
	return taken;
}

MULTIVERSION_LINES static unsigned driver_receive(struct rte_mbuf **packets, unsigned count)
{
	struct eswitch_meta metas[BURST];
	unsigned taken = eswitch_ring_take(&driver_takes, pool, packets, metas, count);

	eswitch_ring_publish(&driver_takes);
	return taken;
}

static unsigned memif_send(struct rte_mbuf **packets, unsigned count)
{
	return rte_eth_tx_burst(MEMIF_CLIENT, 0, packets, (uint16_t)count);
}

static unsigned memif_receive(struct rte_mbuf **packets, unsigned count)
{
	return rte_eth_rx_burst(MEMIF_SERVER, 0, packets, (uint16_t)count);
}

static const struct way {
	const char *id;
	burst_fn *send, *receive;
} ways[] = {
	{ "up", dpud_send, driver_receive },
	{ "down", driver_send, dpud_receive },
	{ "memif", memif_send, memif_receive },
};
enum { WAYS = RTE_DIM(ways), MEMIF = WAYS - 1 };

/* ---- a measurement ---- */

struct options {
	double seconds; /* of a way in a round */
	unsigned rounds;
	const char *only;
};

struct result {
	double send_cycles, receive_cycles, mpps;
};

static struct {
	const struct way *way;
	uint16_t bytes;
	_Atomic bool stop;
	alignas(2 * RTE_CACHE_LINE_SIZE) uint64_t sent;
	uint64_t send_cycles;
} run;

static int sender(void *arg)
{
	struct rte_mbuf *packets[BURST];

	run.sent = run.send_cycles = 0;
	while (!atomic_load_explicit(&run.stop, memory_order_relaxed)) {
		uint64_t start = rte_rdtsc();
		if (rte_pktmbuf_alloc_bulk(pool, packets, BURST) != 0)
			continue;
		for (unsigned i = 0; i < BURST; i++)
			packets[i]->data_len = run.bytes, packets[i]->pkt_len = run.bytes;
		unsigned sent = run.way->send(packets, BURST);
		if (sent < BURST)
			rte_pktmbuf_free_bulk(packets + sent, BURST - sent);
		if (sent == BURST) { /* a ring that is full is no work */
			run.send_cycles += rte_rdtsc() - start;
			run.sent += sent;
		}
	}
	return 0;
}

static alignas(2 * RTE_CACHE_LINE_SIZE) uint32_t headers; /* read, lest they be not */

static unsigned receive_burst(const struct way *way, uint64_t *cycles)
{
	struct rte_mbuf *packets[BURST];
	uint64_t start = rte_rdtsc();
	unsigned count = way->receive(packets, BURST);

	if (count == 0)
		return 0;
	for (unsigned i = 0; i < count; i++)
		headers += *rte_pktmbuf_mtod(packets[i], uint32_t *);
	rte_pktmbuf_free_bulk(packets, count);
	*cycles += rte_rdtsc() - start;
	return count;
}

static struct result measure(const struct way *way, uint16_t bytes, double seconds)
{
	uint64_t received = 0, cycles = 0, start, hz = rte_get_tsc_hz(), end;

	run.way = way;
	run.bytes = bytes;
	atomic_store(&run.stop, false);
	rte_eal_remote_launch(sender, NULL, rte_get_next_lcore(-1, 1, 0));
	for (end = rte_rdtsc() + hz / 10; rte_rdtsc() < end;)
		receive_burst(way, &cycles);
	cycles = 0;
	start = rte_rdtsc();
	for (end = start + (uint64_t)(seconds * (double)hz); rte_rdtsc() < end;)
		received += receive_burst(way, &cycles);
	double took = (double)(rte_rdtsc() - start) / (double)hz;
	atomic_store(&run.stop, true);
	rte_eal_mp_wait_lcore();
	uint64_t rest = 0;
	while (receive_burst(way, &rest) > 0)
		;
	if (received == 0 || run.sent == 0)
		fail("nothing arrives");
	return (struct result){
		.send_cycles = (double)run.send_cycles / (double)run.sent,
		.receive_cycles = (double)cycles / (double)received,
		.mpps = (double)received / took / 1e6,
	};
}

static int by_value(const void *one, const void *other)
{
	double a = *(const double *)one, b = *(const double *)other;

	return (a > b) - (a < b);
}

/* Of all rounds. */
struct summary {
	struct result median;
	double sum, best; /* send and receive: of medians, and of the quickest round */
};

static double median(const struct result *results, unsigned rounds, size_t field)
{
	double values[ROUNDS_MAX];

	for (unsigned i = 0; i < rounds; i++)
		memcpy(&values[i], (const uint8_t *)&results[i] + field, sizeof(double));
	qsort(values, rounds, sizeof(values[0]), by_value);
	return values[rounds / 2];
}

static struct summary summarize(const struct result *results, unsigned rounds)
{
	struct summary summary = {
		.median = {
			.send_cycles = median(results, rounds, offsetof(struct result, send_cycles)),
			.receive_cycles = median(results, rounds, offsetof(struct result, receive_cycles)),
			.mpps = median(results, rounds, offsetof(struct result, mpps)),
		},
		.best = DBL_MAX,
	};

	summary.sum = summary.median.send_cycles + summary.median.receive_cycles;
	for (unsigned i = 0; i < rounds; i++)
		summary.best = RTE_MIN(summary.best, results[i].send_cycles + results[i].receive_cycles);
	return summary;
}

static void show(const char *id, const struct summary *ours, const struct summary *theirs)
{
	printf("{\"id\":\"%s\",\"unit\":\"cycles/packet\",\"ours\":%.1f,\"send\":%.1f,\"receive\":%.1f,"
	       "\"peer\":\"DPDK memif\",\"theirs\":%.1f,\"theirs_send\":%.1f,\"theirs_receive\":%.1f,\"ratio\":%.2f,"
	       "\"ours_best\":%.1f,\"theirs_best\":%.1f,\"ratio_best\":%.2f,\"mpps\":%.2f,\"theirs_mpps\":%.2f}\n",
	       id, ours->sum, ours->median.send_cycles, ours->median.receive_cycles, theirs->sum,
	       theirs->median.send_cycles, theirs->median.receive_cycles, theirs->sum / ours->sum, ours->best,
	       theirs->best, theirs->best / ours->best, ours->median.mpps, theirs->median.mpps);
}

/* All ways in turns; each of ours against memif. */
static void compare(uint16_t bytes, const struct options *options)
{
	static struct result found[WAYS][ROUNDS_MAX];
	struct summary summaries[WAYS];
	char ids[MEMIF][32];
	bool wanted = false;

	for (unsigned way = 0; way < MEMIF; way++) {
		snprintf(ids[way], sizeof(ids[way]), "ring-%s-%u", ways[way].id, bytes);
		wanted |= !options->only || strstr(ids[way], options->only);
	}
	if (!wanted)
		return;
	for (unsigned round = 0; round < options->rounds; round++)
		for (unsigned way = 0; way < WAYS; way++)
			found[way][round] = measure(&ways[way], bytes, options->seconds);
	for (unsigned way = 0; way < WAYS; way++)
		summaries[way] = summarize(found[way], options->rounds);
	for (unsigned way = 0; way < MEMIF; way++)
		if (!options->only || strstr(ids[way], options->only))
			show(ids[way], &summaries[way], &summaries[MEMIF]);
}

/* ---- both kinds of rings ---- */

static void ring_open(void)
{
	const struct port_representor_options options = { .queue_pairs = 1, .slots = SLOTS, .mtu = 1500 };
	static const struct port_callbacks none;
	struct port_representor_share share;
	struct dpu_error err = { 0 };
	struct loop *loop;

	if (loop_new(&loop) < 0 || port_representor_open(&options, "bench", loop, pool, &none, &port, &err) < 0)
		fail(err.message);
	port_representor_share(port, &share);
	void *region = mmap(NULL, share.region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, share.region_fd, 0);
	if (region == MAP_FAILED)
		fail("no memory for the rings");
	eswitch_ring_end_init(&driver_takes, region, 2, 0, SLOTS, false);
	eswitch_ring_end_init(&driver_puts, region, 2, 1, SLOTS, true);
}

static void memif_open(void)
{
	struct rte_eth_conf conf = { 0 };
	struct rte_eth_link link = { 0 };

	for (uint16_t i = 0; i < 2; i++)
		if (rte_eth_dev_configure(i, 1, 1, &conf) != 0 ||
		    rte_eth_rx_queue_setup(i, 0, SLOTS, SOCKET_ID_ANY, NULL, pool) != 0 ||
		    rte_eth_tx_queue_setup(i, 0, SLOTS, SOCKET_ID_ANY, NULL) != 0 || rte_eth_dev_start(i) != 0)
			fail("memif does not start");
	for (unsigned i = 0;
	     i < MEMIF_LINK_MS && rte_eth_link_get_nowait(MEMIF_CLIENT, &link) == 0 && !link.link_status; i++)
		usleep(1000);
	if (!link.link_status)
		fail("memif's ends do not find each other");
}

static bool option_read(struct options *options, const char *key, const char *value)
{
	if (strcmp(key, "--seconds") == 0)
		options->seconds = strtod(value, NULL);
	else if (strcmp(key, "--rounds") == 0)
		options->rounds = (unsigned)strtoul(value, NULL, 10);
	else if (strcmp(key, "--only") == 0)
		options->only = value;
	else
		return false;
	return options->seconds > 0 && options->rounds >= 1 && options->rounds <= ROUNDS_MAX;
}

int main(int argc, char **argv)
{
	static const uint16_t lengths[] = { 60, 510, 1514 };
	struct options options = { .seconds = 0.1, .rounds = ROUNDS };
	int used = rte_eal_init(argc, argv);

	if (used < 0)
		fail("no EAL");
	for (int i = used + 1; i < argc; i += 2)
		if (i + 1 == argc || !option_read(&options, argv[i], argv[i + 1]))
			fail("the options are --seconds N, --rounds N (1 to 256) and --only ID");
	if (rte_lcore_count() < 2 || rte_eth_dev_count_avail() != 2)
		fail("two cores and two memif devices are needed");
	pool = rte_pktmbuf_pool_create("bench", POOL, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (!pool)
		fail("no buffers");
	ring_open();
	memif_open();
	for (unsigned i = 0; i < RTE_DIM(lengths); i++)
		compare(lengths[i], &options);
	return 0;
}
