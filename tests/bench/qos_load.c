// SPDX-License-Identifier: BSD-3-Clause
/* Two tenants' loads from one thread, so that they share a core by turns of ours and not by the kernel's: one that asks
 * for single blocks at even times, and beside it one that always has so much under way. Prints one line of JSON.
 *
 * qos_load quiet=TARGET [rate=20000] [noisy=TARGET] [queues=4] [depth=32] [seconds=2] [warm_up=0.5]
 *   TARGET: vhost:SOCKET, a vhost-user-blk back end; nvmf:ADDRESS:PORT:NQN, a subsystem's namespace 1. Random reads of
 *   4 KiB; queues and depth are the noisy one's.
 *
 * A request of the quiet one begins when it is due, however late we are, and it is looked after between any few of the
 * other's. turn_ns says how long it was not: so much of its latency may be ours.
 *
 * Whatever else runs on the machine takes a core away for milliseconds now and then, which is in the percentiles of the
 * whole (all_ns). So latency_ns is the median of those of slices of 50 ms each: of what happens all the time. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/cycles.h"
#include "base/histogram.h"
#include "tests/lib/blk_client.h"
#include "tests/lib/nvme_client.h"

enum {
	QUEUES_MAX = 8,
	SLOTS_MAX = 1024,
	QUIET_DEPTH = 64,
	FEW = 4,
	BLOCK_BYTES = NVME_CLIENT_BYTES,
	SLICES_MAX = 4096
};
static const uint64_t SLICE_NS = 50 * CLOCK_NS_PER_MS;

struct side {
	struct blk_client blk;
	struct nvme_client nvme;
	struct nvme_queue queue[QUEUES_MAX];
	bool over_tcp;
	unsigned queues, depth;
	uint64_t blocks;
	uint64_t due[SLOTS_MAX]; /* cycles */
	unsigned free[SLOTS_MAX], free_count;
	uint64_t done;
};

struct taking {
	struct side *side;
	unsigned first; /* slot of its queue */
	void (*done)(struct side *side, unsigned slot);
};

static struct {
	const char *quiet, *noisy;
	double rate, seconds, warm_up;
	unsigned queues, depth;
} want = { .rate = 20000, .seconds = 2, .warm_up = 0.5, .queues = 4, .depth = 32 };

/* Of the quiet one. */
static struct {
	struct histogram all, slice;
	uint64_t p50[SLICES_MAX], p99[SLICES_MAX];
	unsigned slices;
} latency;

static struct side quiet = { .queues = 1, .depth = QUIET_DEPTH }, noisy;
static uint64_t random_state = 88172645463325252, scale;

static void require(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "qos_load: %s\n", what);
	exit(1);
}

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* ---- one side, over whichever front end ---- */

static void side_open(struct side *side, const char *target)
{
	static char words[2][512];
	char *text = words[side == &noisy], *address, *port, *nqn;
	struct blk_client_options options = { .path = text + 6,
					      .event_index = true,
					      .queues = side->queues,
					      .depth = side->depth,
					      .bytes = BLOCK_BYTES };

	snprintf(text, sizeof(words[0]), "%s", target);
	require(strncmp(text, "vhost:", 6) == 0 || strncmp(text, "nvmf:", 5) == 0, "no such kind of target");
	if (text[0] == 'v') {
		blk_client_open(&side->blk, &options);
		side->blocks = side->blk.capacity / BLOCK_BYTES;
		return;
	}
	strtok(text, ":");
	require((address = strtok(NULL, ":")) && (port = strtok(NULL, ":")) && (nqn = strtok(NULL, "")),
		"nvmf:ADDRESS:PORT:NQN");
	side->over_tcp = true;
	side->nvme.depth = side->depth;
	nvme_client_open(&side->nvme, address, port, nqn);
	for (unsigned i = 0; i < side->queues; i++)
		nvme_queue_open(&side->queue[i], &side->nvme);
	side->blocks = side->nvme.blocks;
}

static void side_close(struct side *side)
{
	if (!side->over_tcp) {
		blk_client_close(&side->blk);
		return;
	}
	for (unsigned i = 0; i < side->queues; i++)
		nvme_queue_close(&side->queue[i]);
	nvme_client_close(&side->nvme);
}

static void side_ask(struct side *side, unsigned slot)
{
	uint64_t block = random_next() % side->blocks;

	if (side->over_tcp)
		nvme_queue_add(&side->queue[slot / side->depth], (uint16_t)(slot % side->depth), false, block);
	else
		blk_client_offer(&side->blk, &side->blk.requests[slot], BLK_READ, block * BLOCK_BYTES);
}

static void side_send(struct side *side, unsigned queue)
{
	if (side->over_tcp)
		nvme_queue_send(&side->queue[queue]);
	else
		blk_client_kick(&side->blk, queue);
}

static void answered(void *ctx, uint16_t cid)
{
	struct taking *taking = ctx;

	taking->done(taking->side, taking->first + cid);
}

static void side_take(struct side *side, unsigned queue, unsigned most, void (*done)(struct side *side, unsigned slot))
{
	struct taking taking = { side, queue * side->depth, done };
	struct blk_request *request;

	if (side->over_tcp) {
		nvme_queue_receive(&side->queue[queue], (size_t)most * NVME_CLIENT_ANSWER_BYTES, answered, &taking);
		return;
	}
	for (unsigned i = 0; i < most && (request = blk_client_take(&side->blk, queue)); i++) {
		require(blk_client_status(&side->blk, request) == 0, "a request failed");
		done(side, (unsigned)(request - side->blk.requests));
	}
}

/* ---- the quiet one ---- */

static void quiet_done(struct side *side, unsigned slot)
{
	histogram_add(&latency.slice, cycles_ns(cycles_now() - side->due[slot], scale));
	side->free[side->free_count++] = slot;
	side->done++;
}

/* Whatever is under way, it asks when it is time: all of its slots taken would be a rate that was not kept. */
static void quiet_turn(uint64_t *due, uint64_t interval)
{
	bool asked = false;

	side_take(&quiet, 0, QUIET_DEPTH, quiet_done);
	while (*due <= cycles_now() && quiet.free_count > 0) {
		unsigned slot = quiet.free[--quiet.free_count];
		quiet.due[slot] = *due;
		side_ask(&quiet, slot);
		*due += interval;
		asked = true;
	}
	if (asked)
		side_send(&quiet, 0);
}

static void slice_end(void)
{
	if (latency.slices < SLICES_MAX && histogram_count(&latency.slice) > 0) {
		latency.p50[latency.slices] = histogram_quantile(&latency.slice, 500000);
		latency.p99[latency.slices++] = histogram_quantile(&latency.slice, 990000);
	}
	histogram_merge(&latency.all, &latency.slice);
	memset(&latency.slice, 0, sizeof(latency.slice));
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t median(uint64_t *values)
{
	qsort(values, latency.slices, sizeof(*values), by_size);
	return latency.slices ? values[latency.slices / 2] : 0;
}

/* ---- both ---- */

static void noisy_done(struct side *side, unsigned slot)
{
	side->done++;
	side_ask(side, slot);
}

static void noisy_turn(unsigned queue)
{
	side_take(&noisy, queue, FEW, noisy_done);
	side_send(&noisy, queue);
}

static void run(double seconds, struct histogram *turns)
{
	double per_second = (double)CLOCK_NS_PER_S * 4294967296.0 / (double)scale;
	uint64_t now = cycles_now(), end = now + (uint64_t)(seconds * per_second), due = now, last = now;
	uint64_t slice = (uint64_t)((double)SLICE_NS / CLOCK_NS_PER_S * per_second), next = now + slice;
	uint64_t interval = (uint64_t)(per_second / want.rate);
	unsigned queue = 0;

	while ((now = cycles_now()) < end) {
		histogram_add(turns, cycles_ns(now - last, scale));
		last = now;
		if (now >= next) {
			slice_end();
			next = now + slice;
		}
		quiet_turn(&due, interval);
		if (want.noisy)
			noisy_turn(queue++ % noisy.queues);
	}
}

static void noisy_begin(void)
{
	for (unsigned i = 0; i < noisy.queues * noisy.depth; i++)
		side_ask(&noisy, i);
	for (unsigned i = 0; i < noisy.queues; i++)
		side_send(&noisy, i);
}

/* ---- begin ---- */

static void argument(const char *text)
{
	const char *value = strchr(text, '=');
	double number = value ? strtod(value + 1, NULL) : 0;

	require(value, "arguments are KEY=VALUE; see the head of the source");
	if (strncmp(text, "quiet=", 6) == 0)
		want.quiet = value + 1;
	else if (strncmp(text, "noisy=", 6) == 0)
		want.noisy = value + 1;
	else if (strncmp(text, "rate=", 5) == 0)
		want.rate = number;
	else if (strncmp(text, "queues=", 7) == 0)
		want.queues = (unsigned)number;
	else if (strncmp(text, "depth=", 6) == 0)
		want.depth = (unsigned)number;
	else if (strncmp(text, "seconds=", 8) == 0)
		want.seconds = number;
	else if (strncmp(text, "warm_up=", 8) == 0)
		want.warm_up = number;
	else
		require(false, "an argument is not known; see the head of the source");
}

static void report(const struct histogram *turns)
{
	printf("{\"rate\": %.0f, \"noisy_iops\": %.0f, \"latency_ns\": {\"p50\": %" PRIu64 ", \"p99\": %" PRIu64 "}",
	       (double)quiet.done / want.seconds, (double)noisy.done / want.seconds, median(latency.p50),
	       median(latency.p99));
	printf(", \"all_ns\": {\"p50\": %" PRIu64 ", \"p99\": %" PRIu64 "}, \"turn_ns\": {\"p50\": %" PRIu64
	       ", \"p99\": %" PRIu64 "}}\n",
	       histogram_quantile(&latency.all, 500000), histogram_quantile(&latency.all, 990000),
	       histogram_quantile(turns, 500000), histogram_quantile(turns, 990000));
}

int main(int argc, char **argv)
{
	static struct histogram turns;

	for (int i = 1; i < argc; i++)
		argument(argv[i]);
	require(want.quiet && want.rate >= 1, "who is quiet, and a rate of 1 at least");
	require(want.queues >= 1 && want.queues <= QUEUES_MAX && want.depth >= 1 &&
			want.queues * want.depth <= SLOTS_MAX,
		"1 to 8 queues, at most 1024 requests");
	signal(SIGPIPE, SIG_IGN);
	scale = cycles_scale();
	side_open(&quiet, want.quiet);
	while (quiet.free_count < QUIET_DEPTH) {
		quiet.free[quiet.free_count] = quiet.free_count;
		quiet.free_count++;
	}
	noisy.queues = want.queues;
	noisy.depth = want.depth;
	if (want.noisy) {
		side_open(&noisy, want.noisy);
		noisy_begin();
	}
	run(want.warm_up, &turns);
	memset(&turns, 0, sizeof(turns));
	memset(&latency, 0, sizeof(latency));
	quiet.done = noisy.done = 0;
	run(want.seconds, &turns);
	report(&turns);
	side_close(&quiet);
	if (want.noisy)
		side_close(&noisy);
	return 0;
}
