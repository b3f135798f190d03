// SPDX-License-Identifier: BSD-3-Clause
/* TCP streams: pairs that send, take, pause and stop at random, with everything the kernel has and without; what fails;
 * peers that are slow or killed; thousands of idle ones; a worker that sleeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "operating/stream.h"

enum { PIECE_MAX = 200000, QUEUE_MAX = 8 };

static struct uring *uring;
static struct stream_group *group;
static uint64_t seed;

static unsigned roll(unsigned below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed % below);
}

/* What stands at a place of every byte stream here. */
static uint8_t byte_at(uint64_t place)
{
	return (uint8_t)(place * 0x9e3779b1u >> 24 ^ place >> 8);
}

static void group_open(unsigned without, unsigned zero_copy_bytes, unsigned buffers, unsigned buffer_bytes)
{
	struct stream_group_options options = { .buffers = buffers, .buffer_bytes = buffer_bytes };

	seed = 88172645463325252ull + without;
	assert_int_equal(uring_new(64, &uring, NULL), 0);
	options.uring = uring;
	options.without = without;
	options.zero_copy_bytes = zero_copy_bytes;
	assert_int_equal(stream_group_new(&options, &group, NULL), 0);
}

static void group_close(void)
{
	stream_group_free(group);
	assert_int_equal(uring_under_way(uring), 0);
	uring_free(uring);
}

#define wait_for(condition)                                                                                            \
	do {                                                                                                           \
		for (uint64_t end_ = clock_ns() + 20 * CLOCK_NS_PER_S; !(condition) && clock_ns() < end_;)             \
			uring_poll(uring);                                                                             \
		assert_true(condition);                                                                                \
	} while (0)

/* ---- an end of a connection, which checks all that it gets ---- */

struct end;

struct piece {
	struct stream_send send; /* first */
	struct end *end;
	struct iovec iov[3];
	uint8_t *memory;
};

struct end {
	struct stream *stream;
	uint64_t sent, to_send, got; /* places in the two byte streams */
	unsigned queued, connected, ended, closed, sends_failed;
	int error;
	bool random, paused, stuck;
	struct stream_take take;
	struct iovec take_iov[2];
	uint8_t *take_memory;
	uint64_t take_at;
	bool take_lent;
	unsigned takes, takes_failed;
};

static void check_bytes(struct end *end, const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i] != byte_at(end->got + i))
			fail_msg("byte %zu is wrong", (size_t)(end->got + i));
	end->got += count;
}

static void take_start(struct end *end);

static void on_take(struct stream_take *take, int error)
{
	struct end *end = (struct end *)((char *)take - offsetof(struct end, take));

	end->take_lent = false;
	end->takes++;
	end->takes_failed += error != 0;
	if (error == 0) {
		check_bytes(end, end->take_memory, end->take_iov[0].iov_len);
		check_bytes(end, end->take_memory + end->take_iov[0].iov_len, take->bytes - end->take_iov[0].iov_len);
	}
	free(end->take_memory);
	if (error == 0 && roll(4) == 0)
		take_start(end);
}

static void take_start(struct end *end)
{
	size_t bytes = 2 + roll(roll(3) ? PIECE_MAX : 300), split = 1 + roll((unsigned)bytes - 1);

	end->take_memory = malloc(bytes);
	end->take_iov[0] = (struct iovec){ end->take_memory, split };
	end->take_iov[1] = (struct iovec){ end->take_memory + split, bytes - split };
	end->take = (struct stream_take){ .iov = end->take_iov, .segments = 2, .bytes = bytes, .done = on_take };
	end->take_lent = true;
	stream_take(end->stream, &end->take);
}

static size_t on_received(void *ctx, const uint8_t *bytes, size_t count)
{
	struct end *end = ctx;

	assert_int_equal(end->closed, 0);
	assert_int_equal(end->ended, 0);
	assert_false(end->take_lent);
	size_t used = end->random && roll(3) == 0 ? roll((unsigned)count + 1) : count;
	check_bytes(end, bytes, used);
	if (end->random && roll(4) == 0)
		take_start(end);
	else if (used < count)
		end->stuck = true;
	else if (end->random && roll(5) == 0) {
		end->paused = true;
		stream_pause(end->stream);
	}
	return used;
}

static void on_connected(void *ctx)
{
	((struct end *)ctx)->connected++;
}

static void on_ended(void *ctx, int error)
{
	struct end *end = ctx;

	assert_int_equal(end->ended++, 0);
	end->error = error;
}

static void on_closed(void *ctx)
{
	struct end *end = ctx;

	assert_int_equal(end->closed++, 0);
	assert_int_equal(end->queued, 0);
	assert_false(end->take_lent);
}

static const struct stream_ops end_ops = { on_connected, on_received, on_ended };

static void on_sent(struct stream_send *send, int error)
{
	struct piece *piece = (struct piece *)send;

	piece->end->queued--;
	piece->end->sends_failed += error != 0;
	memset(piece->memory, 0xee, 16); /* nobody looks at it any more */
	free(piece->memory);
	free(piece);
}

static void piece_send(struct end *end, size_t bytes)
{
	struct piece *piece = calloc(1, sizeof(*piece));
	size_t first = bytes / 3;

	piece->memory = malloc(bytes < 16 ? 16 : bytes);
	for (size_t i = 0; i < bytes; i++)
		piece->memory[i] = byte_at(end->sent + i);
	piece->end = end;
	piece->iov[0] = (struct iovec){ piece->memory, first };
	piece->iov[2] = (struct iovec){ piece->memory + first, bytes - first };
	piece->send = (struct stream_send){ .iov = piece->iov, .segments = 3, .done = on_sent };
	end->sent += bytes;
	end->queued++;
	stream_send(end->stream, &piece->send);
}

static void end_close(struct end *end)
{
	stream_close(end->stream, on_closed);
	wait_for(end->closed);
}

/* ---- a listener ---- */

struct door {
	struct stream_listener *listener;
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} address;
	socklen_t bytes;
	int last_fd;
	unsigned accepted;
	bool closed;
};

static void on_accepted(void *ctx, int fd)
{
	struct door *door = ctx;

	if (door->last_fd >= 0)
		close(door->last_fd);
	door->last_fd = fd;
	door->accepted++;
}

static void on_door_closed(void *ctx)
{
	((struct door *)ctx)->closed = true;
}

static void door_open(struct door *door, int family, int backlog)
{
	struct dpu_error err = { 0 };

	*door = (struct door){ .last_fd = -1 };
	if (family == AF_INET6) {
		door->address.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
		door->bytes = sizeof(door->address.v6);
	} else {
		door->address.v4 = (struct sockaddr_in){ .sin_family = AF_INET };
		door->address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		door->bytes = sizeof(door->address.v4);
	}
	if (stream_listen(group, &door->address.any, door->bytes, backlog, on_accepted, door, &door->listener, &err) <
	    0)
		fail_msg("%s", err.message);
	getsockname(stream_listener_fd(door->listener), &door->address.any, &door->bytes);
}

static void door_close(struct door *door)
{
	stream_listener_close(door->listener, on_door_closed);
	wait_for(door->closed);
	if (door->last_fd >= 0)
		close(door->last_fd);
}

static void pair_connect(struct door *door, struct end *client, struct end *server,
			 const struct stream_options *options)
{
	memset(client, 0, sizeof(*client));
	memset(server, 0, sizeof(*server));
	assert_int_equal(
		stream_connect(group, &door->address.any, door->bytes, options, &end_ops, client, &client->stream), 0);
	wait_for(client->connected && door->last_fd >= 0);
	assert_int_equal(stream_adopt(group, door->last_fd, options, &end_ops, server, &server->stream), 0);
	door->last_fd = -1;
}

/* ---- random traffic ---- */

static void end_step(struct end *end)
{
	if (end->sent < end->to_send && end->queued < QUEUE_MAX && roll(3) == 0) {
		size_t bytes = 1 + roll(roll(3) ? 200 : PIECE_MAX);

		piece_send(end, bytes < end->to_send - end->sent ? bytes : end->to_send - end->sent);
		if (end->sent == end->to_send)
			stream_shutdown(end->stream);
	}
	if ((end->paused || end->stuck) && roll(3) == 0) {
		end->paused = end->stuck = false;
		stream_resume(end->stream);
	}
}

static void soak(unsigned without, unsigned zero_copy_bytes, unsigned buffers, unsigned buffer_bytes)
{
	static const struct stream_options small = { .send_buffer_bytes = 100000, .receive_buffer_bytes = 200000 };
	struct end ends[12];
	struct stream_stats stats;
	struct door door;
	bool open = true;

	group_open(without, zero_copy_bytes, buffers, buffer_bytes);
	door_open(&door, AF_INET, 0);
	for (unsigned i = 0; i < 12; i += 2) {
		pair_connect(&door, &ends[i], &ends[i + 1], i < 6 ? NULL : &small);
		for (unsigned j = i; j < i + 2; j++) {
			ends[j].random = true;
			ends[j].to_send = 1500000 + roll(1000000);
		}
	}
	for (uint64_t limit = clock_ns() + 60 * CLOCK_NS_PER_S; open;) {
		open = false;
		for (unsigned i = 0; i < 12; i++) {
			end_step(&ends[i]);
			open |= !ends[i].ended || ends[i].queued;
		}
		uring_poll(uring);
		assert_true(clock_ns() < limit);
	}
	for (unsigned i = 0; i < 12; i++) {
		assert_int_equal(ends[i].error, 0);
		assert_int_equal(ends[i].sends_failed, 0);
		/* A take that the end has cut short has got the rest. */
		assert_true(ends[i].got == ends[i ^ 1].to_send ||
			    (ends[i].takes_failed == 1 && ends[i].got + ends[i].take.moved == ends[i ^ 1].to_send));
		end_close(&ends[i]);
	}
	stream_group_stats(group, &stats);
	assert_true(stats.sent_bytes == stats.received_bytes && stats.sent_bytes > 12 * 1500000);
	assert_true(stats.taken_bytes > 0);
	assert_true(zero_copy_bytes == UINT_MAX || (without & STREAM_ZERO_COPY) || stats.zero_copy > 0);
	door_close(&door);
	group_close();
}

static void test_soak(void **state)
{
	soak(0, UINT_MAX, 0, 0);
}

static void test_soak_in_place(void **state)
{
	soak(0, 1, 0, 0);
}

static void test_soak_few_buffers(void **state)
{
	soak(0, 5000, 2, 512);
}

static void test_soak_single(void **state)
{
	soak(STREAM_MULTISHOT, 0, 0, 0);
}

static void test_soak_old_kernel(void **state)
{
	soak(STREAM_MULTISHOT | STREAM_ZERO_COPY | STREAM_BUFFER_RING, 0, 0, 0);
}

/* ---- what fails ---- */

static int connect_error(const struct sockaddr *peer, socklen_t bytes, unsigned timeout_ms)
{
	struct stream_options options = { .connect_timeout_ms = timeout_ms };
	struct end end = { 0 };

	assert_int_equal(stream_connect(group, peer, bytes, &options, &end_ops, &end, &end.stream), 0);
	wait_for(end.ended);
	assert_int_equal(end.connected, 0);
	piece_send(&end, 100); /* fails, too */
	end_close(&end);
	assert_int_equal(end.sends_failed, 1);
	return end.error;
}

static void test_connect(void **state)
{
	static const int families[] = { AF_INET, AF_INET6 };
	struct end client, server;
	struct door door;

	group_open(0, 0, 0, 0);
	for (unsigned i = 0; i < 2; i++) {
		door_open(&door, families[i], 0);
		pair_connect(&door, &client, &server,
			     &(struct stream_options){ .keepalive_s = 5, .user_timeout_ms = 3000 });
		piece_send(&client, 100);
		wait_for(server.got == 100);
		end_close(&client);
		wait_for(server.ended);
		assert_int_equal(server.error, 0);
		end_close(&server);
		door_close(&door);
		assert_int_equal(connect_error(&door.address.any, door.bytes, 0), -ECONNREFUSED);
	}
	group_close();
}

/* A full backlog does not answer. */
static void test_connect_timeout(void **state)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0), fill[4];
	struct end end = { 0 };

	assert_int_equal(bind(fd, (struct sockaddr *)&address, bytes), 0);
	assert_int_equal(listen(fd, 0), 0);
	getsockname(fd, (struct sockaddr *)&address, &bytes);
	for (unsigned i = 0; i < 4; i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fill[i], (struct sockaddr *)&address, bytes);
	}
	group_open(0, 0, 0, 0);
	uint64_t start = clock_ns();
	assert_int_equal(connect_error((struct sockaddr *)&address, bytes, 200), -ETIMEDOUT);
	assert_in_range((clock_ns() - start) / CLOCK_NS_PER_MS, 190, 2000);
	/* Closed while it still tries, once under way and once before. */
	for (unsigned i = 0; i < 2; i++) {
		memset(&end, 0, sizeof(end));
		assert_int_equal(
			stream_connect(group, (struct sockaddr *)&address, bytes, NULL, &end_ops, &end, &end.stream),
			0);
		for (unsigned j = 0; j < 10 * i; j++)
			uring_poll(uring);
		end_close(&end);
		assert_int_equal(end.ended + end.connected, 0);
	}
	group_close();
	for (unsigned i = 0; i < 4; i++)
		close(fill[i]);
	close(fd);
}

static void test_listen_errors(void **state)
{
	struct sockaddr_in other = { .sin_family = AF_INET };
	struct stream_listener *listener;
	struct dpu_error err = { 0 };
	struct door door;

	group_open(0, 0, 0, 0);
	door_open(&door, AF_INET, 0);
	assert_true(stream_listen(group, &door.address.any, door.bytes, 0, on_accepted, NULL, &listener, &err) < 0);
	assert_int_equal(err.code, DPU_E_IN_USE);
	other.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1 */
	assert_true(stream_listen(group, (struct sockaddr *)&other, sizeof(other), 0, on_accepted, NULL, &listener,
				  &err) < 0);
	assert_int_equal(err.code, DPU_E_NOT_FOUND);
	door_close(&door);
	struct stream_group_options options = { .uring = uring, .buffers = 3 };
	struct stream_group *wrong;
	assert_true(stream_group_new(&options, &wrong, &err) < 0);
	assert_string_equal(err.path, "buffers");
	group_close();
}

/* Without descriptors accepting pauses, and goes on when there are some. */
static void test_no_descriptors(void **state)
{
	struct rlimit old, none;
	struct stream_stats stats;
	struct door door;
	int fds[3];

	for (unsigned i = 0; i < 3; i++)
		fds[i] = socket(AF_INET, SOCK_STREAM, 0);
	group_open(0, 0, 0, 0);
	door_open(&door, AF_INET, 0);
	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &none); /* of the time when the accept is sent */
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(connect(fds[i], &door.address.any, door.bytes), 0);
	for (unsigned i = 0; i < 3; i++) {
		uring_poll(uring);
		usleep(1000);
	}
	stream_group_stats(group, &stats);
	assert_int_equal(stats.accept_failed, 1);
	setrlimit(RLIMIT_NOFILE, &old);
	wait_for(door.accepted == 2);
	door_close(&door);
	/* Closed while it pauses, too. */
	door_open(&door, AF_INET, 0);
	setrlimit(RLIMIT_NOFILE, &none);
	connect(fds[2], &door.address.any, door.bytes);
	for (unsigned i = 0; i < 3; i++) {
		uring_poll(uring);
		usleep(1000);
	}
	setrlimit(RLIMIT_NOFILE, &old);
	stream_group_stats(group, &stats);
	assert_int_equal(stats.accept_failed, 2);
	door_close(&door);
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
	group_close();
}

/* ---- peers ---- */

/* Reads slowly, in small pieces, what is sent in large ones. */
static void test_slow_peer(void **state)
{
	static const struct stream_options small = { .send_buffer_bytes = 4096 };
	struct end end = { 0 };
	uint8_t bytes[1000];
	uint64_t got = 0;
	int fds[2];

	for (unsigned in_place = 0; in_place < 2; in_place++, got = 0) {
		struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		struct door door;

		group_open(0, in_place ? 1 : UINT_MAX, 0, 0);
		door_open(&door, AF_INET, 0);
		fds[0] = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(fds[0], SOL_SOCKET, SO_RCVBUF, &(int){ 4096 }, sizeof(int));
		address = door.address.v4;
		assert_int_equal(connect(fds[0], (struct sockaddr *)&address, sizeof(address)), 0);
		wait_for(door.last_fd >= 0);
		memset(&end, 0, sizeof(end));
		assert_int_equal(stream_adopt(group, door.last_fd, &small, &end_ops, &end, &end.stream), 0);
		door.last_fd = -1;
		for (unsigned i = 0; i < QUEUE_MAX; i++)
			piece_send(&end, 40000);
		uring_poll(uring);
		assert_true(stream_unsent(end.stream) > 0);
		while (got < end.sent) {
			uring_poll(uring);
			ssize_t r = recv(fds[0], bytes, 1 + roll(sizeof(bytes)), MSG_DONTWAIT);
			for (ssize_t i = 0; i < r; i++)
				assert_int_equal(bytes[i], byte_at(got + (uint64_t)i));
			got += r > 0 ? (uint64_t)r : 0;
		}
		wait_for(end.queued == 0);
		assert_int_equal(stream_unsent(end.stream), 0);
		close(fds[0]);
		wait_for(end.ended);
		end_close(&end);
		door_close(&door);
		group_close();
	}
}

/* A peer that no longer reads and is killed; one that is merely left: what is lent comes back. */
static void on_changed_sent(struct stream_send *send, int error)
{
	struct end *client = ((struct piece *)send)->end;

	client->queued--;
	client->sends_failed += error != 0;
}

/* A send that its owner changes while it is under way ends the stream; nothing beyond its segments is looked at. */
static void test_changed_send(void **state)
{
	struct end client = { 0 }, server = { 0 };
	struct iovec *iov = malloc(2 * sizeof(*iov));
	struct piece piece = { .end = &client };
	uint8_t bytes[200];
	struct door door;

	group_open(0, UINT_MAX, 16, 4096);
	door_open(&door, AF_INET, 4);
	pair_connect(&door, &client, &server, NULL);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = byte_at(i);
	iov[0] = (struct iovec){ bytes, 100 };
	iov[1] = (struct iovec){ bytes + 100, 100 };
	piece.send = (struct stream_send){ .iov = iov, .segments = 2, .done = on_changed_sent };
	client.queued++;
	stream_send(client.stream, &piece.send);
	iov[1].iov_len = 0;
	wait_for(client.ended == 1 && client.queued == 0);
	assert_int_equal(client.error, -EFAULT);
	assert_int_equal(client.sends_failed, 1);
	end_close(&client);
	end_close(&server);
	door_close(&door);
	group_close();
	free(iov);
}

static void dead_peer(bool kill_it, unsigned zero_copy_bytes)
{
	struct end end = { 0 };
	struct door door;

	group_open(0, zero_copy_bytes, 0, 0);
	door_open(&door, AF_INET, 0);
	pid_t child = fork();
	if (child == 0) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(fd, &door.address.any, door.bytes) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	wait_for(door.last_fd >= 0);
	assert_int_equal(stream_adopt(group, door.last_fd, NULL, &end_ops, &end, &end.stream), 0);
	door.last_fd = -1;
	for (unsigned i = 0; i < 100; i++)
		piece_send(&end, PIECE_MAX);
	for (unsigned i = 0; i < 1000; i++)
		uring_poll(uring);
	assert_true(end.queued > 0);
	if (kill_it) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		wait_for(end.ended && end.queued == 0);
		assert_true(end.error == -ECONNRESET || end.error == -EPIPE);
		assert_true(end.sends_failed > 0);
	} else {
		take_start(&end);
	}
	end_close(&end);
	if (!kill_it) {
		assert_int_equal(end.ended, 0);
		assert_true(end.sends_failed > 0 && end.takes_failed == 1);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	door_close(&door);
	group_close();
}

static void test_killed_peer(void **state)
{
	dead_peer(true, UINT_MAX);
	dead_peer(true, 1);
}

static void test_silent_peer(void **state)
{
	dead_peer(false, UINT_MAX);
	dead_peer(false, 1);
}

/* Closed at any time, by either side, in the middle of everything. */
static void test_close_any_time(void **state)
{
	struct end client, server;
	struct door door;

	for (unsigned round = 0; round < 300; round++) {
		group_open(round % 2 ? STREAM_MULTISHOT : 0, round % 3 ? 1 : UINT_MAX, 4, 4096);
		seed += round;
		door_open(&door, AF_INET, 0);
		pair_connect(&door, &client, &server, NULL);
		client.random = server.random = true;
		client.to_send = server.to_send = UINT64_MAX;
		for (unsigned i = roll(60); i > 0; i--) {
			end_step(&client);
			end_step(&server);
			uring_poll(uring);
		}
		stream_close(client.stream, on_closed);
		if (roll(2))
			stream_close(server.stream, on_closed);
		else
			wait_for((server.paused || server.stuck ? (stream_resume(server.stream), true) : true) &&
				 server.ended && !server.take_lent);
		wait_for(client.closed);
		if (server.ended)
			stream_close(server.stream, on_closed);
		wait_for(server.closed);
		door_close(&door);
		group_close();
	}
}

/* ---- many ---- */

static void test_thousand(void **state)
{
	enum { COUNT = 1000 };
	struct rlimit limit;
	struct end *ends = calloc(2 * COUNT, sizeof(*ends));
	struct stream_stats stats;
	struct door door;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
	setrlimit(RLIMIT_NOFILE, &limit);
	group_open(0, UINT_MAX, 16, 4096);
	door_open(&door, AF_INET6, 0);
	for (unsigned i = 0; i < COUNT; i++)
		pair_connect(&door, &ends[2 * i], &ends[2 * i + 1], NULL);
	/* All at once: far more than there are buffers. */
	for (unsigned i = 0; i < 2 * COUNT; i++)
		piece_send(&ends[i], 5000);
	for (unsigned i = 0; i < 2 * COUNT; i++)
		wait_for(ends[i ^ 1].got == 5000 && ends[i].queued == 0);
	for (unsigned i = 0; i < COUNT; i++)
		stream_close(ends[2 * i].stream, on_closed);
	for (unsigned i = 0; i < COUNT; i++)
		wait_for(ends[2 * i].closed && ends[2 * i + 1].ended);
	for (unsigned i = 0; i < COUNT; i++)
		end_close(&ends[2 * i + 1]);
	stream_group_stats(group, &stats);
	assert_int_equal(stats.accepted, COUNT);
	assert_int_equal(stats.ended, COUNT);
	door_close(&door);
	group_close();
	free(ends);
}

/* Few buffers are provided at first; more when more streams have something at once, and once only. */
static void test_buffers_grow(void **state)
{
	enum { COUNT = 100, WAVES = 10, BUFFERS = 256 };
	static struct end ends[2 * COUNT];
	struct stream_stats stats;
	struct door door;

	memset(ends, 0, sizeof(ends));
	group_open(0, UINT_MAX, BUFFERS, 16 << 10);
	door_open(&door, AF_INET6, 0);
	for (unsigned i = 0; i < COUNT; i++)
		pair_connect(&door, &ends[2 * i], &ends[2 * i + 1], NULL);
	for (unsigned wave = 1; wave <= WAVES; wave++) {
		for (unsigned i = 0; i < 2 * COUNT; i++)
			piece_send(&ends[i], 5000);
		for (unsigned i = 0; i < 2 * COUNT; i++)
			wait_for(ends[i ^ 1].got == wave * 5000 && ends[i].queued == 0);
	}
	stream_group_stats(group, &stats);
	if (stream_group_features(group) & STREAM_BUFFER_RING)
		assert_in_range(stats.no_buffers, 1, BUFFERS);
	for (unsigned i = 0; i < COUNT; i++)
		stream_close(ends[2 * i].stream, on_closed);
	for (unsigned i = 0; i < COUNT; i++)
		wait_for(ends[2 * i].closed && ends[2 * i + 1].ended);
	for (unsigned i = 0; i < COUNT; i++)
		end_close(&ends[2 * i + 1]);
	door_close(&door);
	group_close();
}

/* ---- in a worker that sleeps ---- */

struct house {
	struct door door;
	struct end server;
	_Atomic unsigned got;
};

static size_t on_echo(void *ctx, const uint8_t *bytes, size_t count)
{
	struct house *house = ctx;

	check_bytes(&house->server, bytes, count);
	piece_send(&house->server, count);
	return count;
}

static const struct stream_ops echo_ops = { NULL, on_echo, on_ended };

static void on_visitor(void *ctx, int fd)
{
	struct house *house = ctx;

	if (stream_adopt(group, fd, NULL, &echo_ops, house, &house->server.stream) < 0)
		close(fd);
}

static void on_house_closed(void *ctx)
{
	struct house *house = ctx;

	house->got = 1;
}

static void house_close(void *arg, struct worker *worker)
{
	struct house *house = arg;

	stream_close(house->server.stream, on_house_closed);
	stream_listener_close(house->door.listener, NULL);
}

static void on_flag(void *arg)
{
	*(bool *)arg = true;
}

static void test_sleeping_worker(void **state)
{
	struct house house = { 0 };
	struct workers *workers;
	struct worker_stats stats;
	struct loop *loop;
	bool removed = false;
	uint8_t bytes[64], back[64];

	group_open(0, 0, 0, 0);
	loop_new(&loop);
	struct workers_options options = { .loop = loop, .count = 1, .policy = WORKER_BALANCED };
	assert_int_equal(workers_new(&options, &workers, NULL), 0);
	door_open(&house.door, AF_INET, 0);
	stream_listener_close(house.door.listener, NULL);
	for (unsigned i = 0; i < 10; i++)
		uring_poll(uring);
	group_close();
	/* Now one whose io_uring the worker polls first. */
	group_open(0, 0, 0, 0);
	assert_int_equal(stream_listen(group, &house.door.address.any, house.door.bytes, 0, on_visitor, &house,
				       &house.door.listener, NULL),
			 0);
	assert_int_equal(worker_add_source(workers_get(workers, 0), uring_source(uring)), 0);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, &house.door.address.any, house.door.bytes), 0);
	for (uint64_t place = 0; place < 64 * 20; place += 64) {
		for (unsigned i = 0; i < 64; i++)
			bytes[i] = byte_at(place + i);
		assert_int_equal(send(fd, bytes, 64, 0), 64);
		assert_int_equal(recv(fd, back, 64, MSG_WAITALL), 64);
		assert_memory_equal(bytes, back, 64);
		usleep(5000);
	}
	worker_stats(workers_get(workers, 0), &stats);
	assert_true(stats.sleeps >= 10);
	worker_call(workers_get(workers, 0), house_close, &house, NULL);
	for (uint64_t limit = clock_ns() + 10 * CLOCK_NS_PER_S; !house.got && clock_ns() < limit;)
		loop_once(loop, 1);
	assert_int_equal(house.got, 1);
	usleep(10000);
	worker_remove_source(workers_get(workers, 0), uring_source(uring), on_flag, &removed);
	while (!removed)
		loop_once(loop, 10);
	workers_free(workers);
	loop_free(loop);
	close(fd);
	group_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_soak),
		cmocka_unit_test(test_soak_in_place),
		cmocka_unit_test(test_soak_few_buffers),
		cmocka_unit_test(test_soak_single),
		cmocka_unit_test(test_soak_old_kernel),
		cmocka_unit_test(test_connect),
		cmocka_unit_test(test_connect_timeout),
		cmocka_unit_test(test_listen_errors),
		cmocka_unit_test(test_no_descriptors),
		cmocka_unit_test(test_slow_peer),
		cmocka_unit_test(test_changed_send),
		cmocka_unit_test(test_killed_peer),
		cmocka_unit_test(test_silent_peer),
		cmocka_unit_test(test_close_any_time),
		cmocka_unit_test(test_thousand),
		cmocka_unit_test(test_buffers_grow),
		cmocka_unit_test(test_sleeping_worker),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
