// SPDX-License-Identifier: BSD-3-Clause
/* What streams cost in the kernel, over loopback: sends copied and in place, by size; requests of 72 bytes and long
 * data received multishot, singly, and by poll and recv(2).
 *
 *   stream_bench [SECONDS]       of each point; prints lines of JSON. The stream runs on CPU 1, its peer on CPU 0 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/stage.h"
#include "operating/stream_priv.h"

enum { SENDS = 8, REQUEST_BYTES = 72, LONG_BYTES = 256 << 10, PEER_BYTES = 1 << 20 };

enum peer_work { PEER_READS, PEER_ASKS, PEER_WRITES };

struct peer {
	int fd;
	enum peer_work work;
	pthread_t thread;
};

struct bench {
	struct uring *uring;
	struct stream_group *group;
	struct stream *stream;
	struct stream_send sends[SENDS];
	struct iovec iov;
	bool stop, answers, closed, gone;
	uint64_t count, bytes;
};

static void require(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "stream_bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set); /* one CPU only: it runs, and says little */
}

/* ---- the peer: plain system calls ---- */

static void *peer_run(void *arg)
{
	struct peer *peer = arg;
	static uint8_t memory[PEER_BYTES];
	ssize_t n = 1;

	pin(0);
	while (n > 0) {
		if (peer->work != PEER_READS)
			n = send(peer->fd, memory, peer->work == PEER_ASKS ? REQUEST_BYTES : LONG_BYTES, MSG_NOSIGNAL);
		if (n > 0 && peer->work != PEER_WRITES)
			n = recv(peer->fd, memory, sizeof(memory), 0);
	}
	close(peer->fd);
	return NULL;
}

/* Two ends of a connection over loopback. */
static void dial(int fds[2])
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	require(bind(listener, (struct sockaddr *)&address, bytes) == 0 && listen(listener, 1) == 0 &&
			getsockname(listener, (struct sockaddr *)&address, &bytes) == 0,
		"listen");
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	require(connect(fds[0], (struct sockaddr *)&address, bytes) == 0, "connect");
	fds[1] = accept(listener, NULL, NULL);
	require(fds[1] >= 0, "accept");
	close(listener);
}

/* ---- the stream's end ---- */

static struct bench bench;

static void sent(struct stream_send *send, int error)
{
	if (error || bench.stop)
		return;
	bench.count += !bench.answers;
	bench.bytes += bench.answers ? 0 : bench.iov.iov_len;
	if (!bench.answers)
		stream_send(bench.stream, send);
}

static size_t received(void *ctx, const uint8_t *bytes, size_t count)
{
	bench.count++;
	bench.bytes += count;
	if (bench.answers && !bench.stop)
		stream_send(bench.stream, &bench.sends[bench.count % SENDS]);
	return count;
}

static void ended(void *ctx, int error)
{
	bench.gone = true;
}

static void closed(void *ctx)
{
	bench.closed = true;
}

static const struct stream_ops ops = { .received = received, .ended = ended };

static void measure(const char *name, double seconds)
{
	struct stage_clock clock;
	struct stream_stats stats;
	uint64_t end = clock_ns() + (uint64_t)(seconds * (double)CLOCK_NS_PER_S);

	bench.count = bench.bytes = 0;
	stage_clock_begin(&clock);
	while (clock_ns() < end && !bench.gone)
		for (unsigned i = 0; i < 64; i++)
			uring_poll(bench.uring);
	stage_clock_end();
	stream_group_stats(bench.group, &stats);
	printf("{\"id\": \"%s\", \"kernel_cycles\": %.0f, \"kernel_cycles_per_kib\": %.0f, \"mib_per_s\": %.0f, "
	       "\"flush_kib\": %.0f, \"in_place\": %lu}\n",
	       name, (double)clock.cycles[STAGE_KERNEL] / (double)(bench.count ? bench.count : 1),
	       (double)clock.cycles[STAGE_KERNEL] * 1024 / (double)(bench.bytes ? bench.bytes : 1),
	       (double)bench.bytes / seconds / (1 << 20),
	       (double)stats.sent_bytes / 1024 / (double)(stats.flushes ? stats.flushes : 1), stats.zero_copy);
	fflush(stdout);
}

static void point(const char *name, double seconds, enum peer_work work, const struct stream_group_options *options,
		  size_t bytes)
{
	static uint8_t memory[PEER_BYTES];
	struct stream_group_options used = *options;
	struct dpu_error err = { 0 };
	struct peer peer = { .work = work };
	int fds[2];

	dial(fds);
	peer.fd = fds[0];
	bench = (struct bench){ .iov = { memory, bytes }, .answers = work == PEER_ASKS };
	require(uring_new(256, &bench.uring, &err) == 0, "io_uring");
	used.uring = bench.uring;
	require(stream_group_new(&used, &bench.group, &err) == 0, "streams");
	bench.group->report_copied = false; /* else it would be given up: here it is to be measured */
	require(stream_adopt(bench.group, fds[1], NULL, &ops, NULL, &bench.stream) == 0, "adopt");
	for (unsigned i = 0; i < SENDS; i++) {
		bench.sends[i] = (struct stream_send){ .iov = &bench.iov, .segments = 1, .done = sent };
		if (work == PEER_READS)
			stream_send(bench.stream, &bench.sends[i]);
	}
	require(pthread_create(&peer.thread, NULL, peer_run, &peer) == 0, "a thread");
	measure(name, seconds);
	bench.stop = true;
	stream_close(bench.stream, closed);
	while (!bench.closed)
		uring_poll(bench.uring);
	pthread_join(peer.thread, NULL);
	stream_group_free(bench.group);
	uring_free(bench.uring);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		unsigned without;
	} receives[] = { { "multishot", 0 },
			 { "single", STREAM_MULTISHOT },
			 { "poll", STREAM_MULTISHOT | STREAM_BUFFER_RING } };
	double seconds = argc > 1 ? atof(argv[1]) : 0.3;
	char name[64];

	pin(1);
	for (size_t bytes = 4 << 10; bytes <= 1 << 20; bytes *= 4) {
		snprintf(name, sizeof(name), "send-%zuk-copied", bytes >> 10);
		point(name, seconds, PEER_READS, &(struct stream_group_options){ .zero_copy_bytes = UINT_MAX }, bytes);
		snprintf(name, sizeof(name), "send-%zuk-in-place", bytes >> 10);
		point(name, seconds, PEER_READS, &(struct stream_group_options){ .zero_copy_bytes = 1 }, bytes);
	}
	for (unsigned i = 0; i < sizeof(receives) / sizeof(receives[0]); i++) {
		struct stream_group_options options = { .zero_copy_bytes = UINT_MAX, .without = receives[i].without };

		snprintf(name, sizeof(name), "receive-72-%s", receives[i].name);
		point(name, seconds, PEER_ASKS, &options, REQUEST_BYTES);
		snprintf(name, sizeof(name), "receive-long-%s", receives[i].name);
		point(name, seconds, PEER_WRITES, &options, REQUEST_BYTES);
	}
	return 0;
}
