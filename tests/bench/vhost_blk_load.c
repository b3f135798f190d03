// SPDX-License-Identifier: BSD-3-Clause
/* Load for a vhost-user-blk back end, or a test of one that dies; prints one line of JSON.
 *
 * vhost_blk_load SOCKET [listen] [packed] [chained] [no-event-index] [write|mixed] [queues=1] [depth=32] [bytes=4096]
 *                [span=BYTES] [seconds=5] [warm_up=1] [idle]
 *   depth requests are under way in each queue, all the time; offsets are random within span (all by default).
 *   idle: nothing is; for what an idle disk costs. fill: span is written from end to end before; virtual machines get
 *   their memory at the first touch, 70 us a page here, which is not to be measured.
 * vhost_blk_load SOCKET survive [kill=PIDFILE] [kills=5] …
 *   reads, writes and flushes with an in-flight region; kills the process named in the file again and again and goes on
 *   with its successor. Fails when a request is lost or completed twice, or data is not what was written last; in the
 *   end all that was written is read again. SIGTERM ends it before its time.
 * vhost_blk_load SOCKET bad …
 *   requests whose descriptors make no sense among others in the same queues: each fails alone.
 * vhost_blk_load SOCKET hostile …
 *   rings full of nonsense, then memory that is taken away: the back end is to survive. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/cycles.h"
#include "base/histogram.h"
#include "tests/lib/blk_client.h"

enum { LOST_AFTER_S = 20, ROUND_LOOKS = 4096, MOST_BYTES = 32 << 20 };

static struct {
	struct blk_client_options client;
	bool survive, idle, bad, hostile, fill;
	unsigned write_percent;
	uint64_t span;
	double seconds, warm_up;
	const char *pid_file;
	unsigned kills;
} want = { .client = { .queues = 1, .depth = 32, .bytes = 4096, .event_index = true },
	   .seconds = 5,
	   .warm_up = 1,
	   .kills = 5 };

static struct blk_client client;
static uint64_t blocks, random_state = 88172645463325252;
static uint64_t completed, submitted, errors;
static struct histogram latency;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void fail(const char *fmt, uint64_t a, uint64_t b)
{
	fprintf(stderr, "vhost_blk_load: ");
	fprintf(stderr, fmt, a, b);
	fputc('\n', stderr);
	exit(1);
}

static unsigned requests_count(void)
{
	return want.client.queues * want.client.depth;
}

/* ---- load ---- */

static void load_offer(struct blk_request *request)
{
	bool write = want.write_percent > 0 && random_next() % 100 < want.write_percent;

	blk_client_offer(&client, request, write ? BLK_WRITE : BLK_READ, random_next() % blocks * want.client.bytes);
}

/* The time of a request is that from before it is offered to when we have found it done. */
static void load_round(uint64_t scale, bool measure)
{
	for (unsigned queue = 0; queue < want.client.queues; queue++) {
		struct blk_request *request;

		for (unsigned n = 0; n < want.client.depth && (request = blk_client_take(&client, queue)); n++) {
			if (measure)
				histogram_add(&latency, cycles_ns(cycles_now() - request->began, scale));
			if (blk_client_status(&client, request) != 0)
				errors++;
			completed++;
			load_offer(request);
		}
		blk_client_kick(&client, queue);
	}
}

static void load_until(uint64_t end_ns, uint64_t scale, bool measure)
{
	for (unsigned round = 1; round % 64 || clock_ns() < end_ns; round++) {
		load_round(scale, measure);
		if (round % ROUND_LOOKS == 0 && blk_client_lost(&client))
			fail("the back end has hung up after %" PRIu64 " requests", completed, 0);
	}
}

static void fill(void)
{
	uint64_t next = 0, done = 0;

	while (done < blocks) {
		for (unsigned i = 0; i < requests_count() && next < blocks; i++)
			if (!client.requests[i].busy)
				blk_client_offer(&client, &client.requests[i], BLK_WRITE, next++ * want.client.bytes);
		for (unsigned queue = 0; queue < want.client.queues; queue++) {
			blk_client_kick(&client, queue);
			while (blk_client_take(&client, queue))
				done++;
		}
	}
}

static void load(void)
{
	uint64_t scale = cycles_scale(), from;

	if (want.idle) {
		usleep((useconds_t)(want.seconds * 1e6));
		return;
	}
	if (want.fill)
		fill();
	for (unsigned i = 0; i < requests_count(); i++)
		load_offer(&client.requests[i]);
	load_until(clock_ns() + (uint64_t)(want.warm_up * 1e9), scale, false);
	completed = errors = 0;
	from = clock_ns();
	load_until(from + (uint64_t)(want.seconds * 1e9), scale, true);
	double seconds = (double)(clock_ns() - from) / 1e9;
	uint64_t count = histogram_count(&latency);

	printf("{\"iops\": %.0f, \"requests\": %" PRIu64 ", \"errors\": %" PRIu64
	       ", \"seconds\": %.3f, \"queues\": %u, \"depth\": %u, \"bytes\": %u, \"latency_ns\": {\"mean\": %" PRIu64,
	       (double)completed / seconds, completed, errors, seconds, want.client.queues, want.client.depth,
	       want.client.bytes, count ? latency.sum_ns / count : 0);
	printf(", \"p50\": %" PRIu64 ", \"p90\": %" PRIu64 ", \"p99\": %" PRIu64 ", \"p999\": %" PRIu64
	       ", \"max\": %" PRIu64 "}}\n",
	       histogram_quantile(&latency, 500000), histogram_quantile(&latency, 900000),
	       histogram_quantile(&latency, 990000), histogram_quantile(&latency, 999000),
	       histogram_quantile(&latency, 1000000));
}

/* ---- a back end that dies ---- */

/* Each request has its own blocks, so that it knows what they hold: the number of a write, or UNKNOWN when none was
 * made or the last has failed. */
enum { UNKNOWN = 0 };
static uint32_t *holds;
static uint32_t stamp;

static void pattern(uint64_t *words, uint64_t block, uint32_t number)
{
	for (unsigned i = 0; i < want.client.bytes / 8; i++)
		words[i] = (block << 40) ^ ((uint64_t)number << 8) ^ i * UINT64_C(0x9e3779b97f4a7c15);
}

static void survive_read(struct blk_request *request, uint64_t block)
{
	request->user[0] = block;
	memset(blk_client_data(&client, request), 0xee, want.client.bytes);
	submitted++;
	blk_client_offer(&client, request, BLK_READ, block * want.client.bytes);
}

static void survive_offer(struct blk_request *request)
{
	uint64_t own = (uint64_t)(request - client.requests);
	uint64_t block = own + random_next() % (blocks / requests_count()) * requests_count();
	unsigned dice = (unsigned)(random_next() % 100);
	uint8_t op = dice < 50 ? BLK_WRITE : dice < 97 ? BLK_READ : BLK_FLUSH;

	if (op == BLK_READ) {
		survive_read(request, block);
		return;
	}
	request->user[0] = block;
	if (op == BLK_WRITE) {
		request->user[1] = ++stamp;
		pattern(blk_client_data(&client, request), block, stamp);
	}
	submitted++;
	blk_client_offer(&client, request, op, op == BLK_FLUSH ? 0 : block * want.client.bytes);
}

static void survive_check(struct blk_request *request)
{
	static uint64_t expected[MOST_BYTES / 8];
	uint64_t block = request->user[0];
	uint8_t status = blk_client_status(&client, request);

	completed++;
	if (status != 0) {
		errors++;
		if (request->op == BLK_WRITE)
			holds[block] = UNKNOWN;
	} else if (request->op == BLK_WRITE) {
		holds[block] = (uint32_t)request->user[1];
	} else if (request->op == BLK_READ && holds[block] != UNKNOWN) {
		pattern(expected, block, holds[block]);
		if (memcmp(expected, blk_client_data(&client, request), want.client.bytes) != 0)
			fail("block %" PRIu64 " does not hold what was written last, by write %" PRIu64, block,
			     holds[block]);
	}
}

static bool kill_it(void)
{
	FILE *file = want.pid_file ? fopen(want.pid_file, "r") : NULL;
	int pid = 0;
	bool done = file && fscanf(file, "%d", &pid) == 1 && pid > 1 && kill(pid, SIGKILL) == 0;

	if (file)
		fclose(file);
	return done;
}

/* Takes what is done until nothing is under way or the back end is gone; true in the first case. */
static bool survive_round(bool more, uint64_t *last_ns)
{
	unsigned busy = 0;

	for (unsigned queue = 0; queue < want.client.queues; queue++) {
		struct blk_request *request;
		while ((request = blk_client_take(&client, queue))) {
			survive_check(request);
			*last_ns = clock_ns();
			if (more)
				survive_offer(request);
		}
		blk_client_kick(&client, queue);
	}
	for (unsigned i = 0; i < requests_count(); i++)
		busy += client.requests[i].busy;
	if (busy > 0 && clock_ns() - *last_ns > LOST_AFTER_S * CLOCK_NS_PER_S)
		fail("%" PRIu64 " requests are lost of %" PRIu64, busy, submitted);
	return busy == 0;
}

/* When the back end has hung up: goes on with its successor. */
static bool survive_again(uint64_t *last_ns)
{
	if (!blk_client_lost(&client))
		return false;
	blk_client_reconnect(&client);
	*last_ns = clock_ns();
	return true;
}

/* Each block that is known to hold something, read by the request that it belongs to. */
static void survive_sweep(void)
{
	uint64_t last = clock_ns();

	for (uint64_t block = 0; block < blocks; block++) {
		struct blk_request *request = &client.requests[block % requests_count()];

		while (request->busy) {
			survive_round(false, &last);
			survive_again(&last);
		}
		if (holds[block] != UNKNOWN)
			survive_read(request, block);
	}
	while (!survive_round(false, &last))
		survive_again(&last);
}

static volatile sig_atomic_t terminated;

static void on_term(int number)
{
	terminated = 1;
}

static void survive(void)
{
	uint64_t last = clock_ns(), end = last + (uint64_t)(want.seconds * 1e9), next_kill = last + CLOCK_NS_PER_S / 5;
	unsigned killed = 0;
	bool more = true;

	holds = calloc(blocks, sizeof(*holds));
	if (!holds)
		fail("no memory for %" PRIu64 " blocks", blocks, 0);
	signal(SIGTERM, on_term);
	for (unsigned i = 0; i < requests_count(); i++)
		survive_offer(&client.requests[i]);
	for (;;) {
		if (survive_round(more, &last) && !more)
			break;
		uint64_t now = clock_ns();
		if (now > next_kill && killed < want.kills && kill_it()) {
			killed++;
			next_kill = UINT64_MAX; /* until its successor is there */
		}
		if (survive_again(&last))
			next_kill = last + random_next() % (CLOCK_NS_PER_S / 4);
		more = (now < end && !terminated) || (want.pid_file && killed < want.kills);
	}
	survive_sweep();
	printf("{\"submitted\": %" PRIu64 ", \"completed\": %" PRIu64 ", \"errors\": %" PRIu64
	       ", \"kills\": %u, \"connections\": %u}\n",
	       submitted, completed, errors, killed, client.connections);
	if (completed != submitted)
		fail("%" PRIu64 " completions of %" PRIu64 " requests", completed, submitted);
	free(holds);
}

/* ---- malice ---- */

enum { NONSENSE_ROUNDS = 300 };

/* Half of it plausible, so that it gets further in. */
static void scribble(uint64_t at, uint64_t bytes)
{
	uint64_t *words = frontend_at(&client.frontend, at & ~UINT64_C(7));

	for (uint64_t i = 0; i < bytes / 8; i++)
		if (random_next() % 2)
			words[i] = random_next() % 4 ? random_next() : FRONTEND_GPA + random_next() % (1 << 20);
		else
			words[i] ^= (random_next() & 7) << random_next() % 64;
}

static void hostile(void)
{
	for (unsigned round = 0; round < NONSENSE_ROUNDS; round++) {
		for (unsigned i = 0; i < want.client.queues; i++) {
			struct frontend_queue *queue = &client.frontend.queues[i];
			load_offer(&client.requests[i * want.client.depth]);
			scribble(queue->desc, queue->size * 16);
			scribble(client.requests[i * want.client.depth].table, 48);
			if (!queue->packed)
				scribble(queue->driver, 4 + queue->size * 2);
			frontend_kick(queue);
		}
		usleep(500);
		blk_client_close(&client);
		blk_client_open(&client, &want.client);
	}
	for (unsigned i = 0; i < requests_count(); i++)
		load_offer(&client.requests[i]);
	if (ftruncate(client.frontend.memory_fd, 0) < 0)
		fail("memory cannot be taken away", 0, 0);
	for (unsigned i = 0; i < want.client.queues; i++)
		frontend_kick(&client.frontend.queues[i]);
	usleep(200000);
	printf("{\"rounds\": %d}\n", NONSENSE_ROUNDS);
	exit(0); /* our own mapping is gone, too */
}

/* ---- descriptors that make no sense ---- */

enum { BAD_ROUNDS = 600 };

/* Takes one that has completed, whose status must be as expected. */
static bool bad_take(unsigned queue, const uint8_t *expected)
{
	const struct blk_request *request = blk_client_take(&client, queue);

	if (!request)
		return false;
	uint8_t status = blk_client_status(&client, request), wanted = expected[request - client.requests];
	if (status != wanted)
		fail("a request has status %" PRIu64 " instead of %" PRIu64, status, wanted);
	completed++;
	return true;
}

/* In each queue one that makes no sense among others, all of which complete. */
static void bad(void)
{
	uint8_t *expected = calloc(requests_count(), 1);
	uint64_t allocated = client.frontend.allocated, refused = 0, told = 0;

	if (!expected)
		fail("no memory", 0, 0);
	for (unsigned round = 0; round < BAD_ROUNDS; round++) {
		uint64_t end = clock_ns() + LOST_AFTER_S * CLOCK_NS_PER_S,
			 want_completed = completed + requests_count();

		for (unsigned i = 0; i < requests_count(); i++) {
			expected[i] = 0;
			if (i % want.client.depth != round % want.client.depth) {
				load_offer(&client.requests[i]);
				continue;
			}
			bool status = blk_client_offer_bad(&client, &client.requests[i], round % BLK_BAD_KINDS);
			expected[i] = status ? 1 : BLK_STATUS_NONE;
			told += status;
			refused++;
		}
		for (unsigned queue = 0; queue < want.client.queues; queue++)
			blk_client_kick(&client, queue);
		while (completed < want_completed) {
			for (unsigned queue = 0; queue < want.client.queues; queue++)
				while (bad_take(queue, expected))
					;
			if (clock_ns() > end)
				fail("requests are lost behind %" PRIu64 " bad ones, in round %" PRIu64, refused,
				     round);
		}
		client.frontend.allocated = allocated;
	}
	printf("{\"completed\": %" PRIu64 ", \"bad\": %" PRIu64 ", \"told\": %" PRIu64 "}\n", completed, refused, told);
	free(expected);
}

/* ---- arguments ---- */

static bool flag(const char *text)
{
	const struct {
		const char *name;
		bool *value;
		bool to;
	} flags[] = {
		{ "listen", &want.client.listen, true },
		{ "packed", &want.client.packed, true },
		{ "chained", &want.client.chained, true },
		{ "no-event-index", &want.client.event_index, false },
		{ "idle", &want.idle, true },
		{ "survive", &want.survive, true },
		{ "bad", &want.bad, true },
		{ "hostile", &want.hostile, true },
		{ "fill", &want.fill, true },
	};

	for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (strcmp(text, flags[i].name) == 0) {
			*flags[i].value = flags[i].to;
			return true;
		}
	}
	return false;
}

static bool argument(const char *text)
{
	const char *value = strchr(text, '=');

	if (strcmp(text, "write") == 0 || strcmp(text, "mixed") == 0) {
		want.write_percent = text[0] == 'w' ? 100 : 30;
		return true;
	}
	if (!value)
		return flag(text);
	value++;
	double number = strtod(value, NULL);
	if (strncmp(text, "queues=", 7) == 0)
		want.client.queues = (unsigned)number;
	else if (strncmp(text, "depth=", 6) == 0)
		want.client.depth = (unsigned)number;
	else if (strncmp(text, "bytes=", 6) == 0)
		want.client.bytes = (unsigned)number;
	else if (strncmp(text, "span=", 5) == 0)
		want.span = (uint64_t)number;
	else if (strncmp(text, "seconds=", 8) == 0)
		want.seconds = number;
	else if (strncmp(text, "warm_up=", 8) == 0)
		want.warm_up = number;
	else if (strncmp(text, "kills=", 6) == 0)
		want.kills = (unsigned)number;
	else if (strncmp(text, "kill=", 5) == 0)
		want.pid_file = value;
	else
		return false;
	return true;
}

int main(int argc, char **argv)
{
	for (int i = 2; i < argc; i++)
		if (!argument(argv[i]))
			fail("argument %" PRIu64 " is not known; see the head of the source", (uint64_t)i, 0);
	if (argc < 2 || want.client.bytes % 512 || want.client.bytes == 0 || want.client.bytes > MOST_BYTES)
		fail("SOCKET first; bytes is a multiple of 512, at most %" PRIu64, MOST_BYTES, 0);
	want.client.path = argv[1];
	want.client.inflight = want.survive;
	signal(SIGPIPE, SIG_IGN);
	blk_client_open(&client, &want.client);
	blocks = (want.span && want.span < client.capacity ? want.span : client.capacity) / want.client.bytes;
	if (blocks < requests_count())
		fail("the disk has %" PRIu64 " blocks, which is less than %" PRIu64 " requests", blocks,
		     requests_count());
	if (want.hostile)
		hostile();
	else if (want.bad)
		bad();
	else if (want.survive)
		survive();
	else
		load();
	blk_client_close(&client);
	return 0;
}
