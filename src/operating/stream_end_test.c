// SPDX-License-Identifier: BSD-3-Clause
/* TCP streams that fail or end: connections that are not to be had, no descriptors, peers that are slow or killed,
 * sends that change under way, memory that goes under a take, a close at any time. */
#include "operating/stream_rig.h"
#include "operating/stream_priv.h"

#include <limits.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "device/virtio/memory_fault.h"
#include "operating/uring_needed.h"

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
	assert_true(stream_listen(group, &door.address.any, door.bytes, 0, door_accepted, NULL, &listener, &err) < 0);
	assert_int_equal(err.code, DPU_E_IN_USE);
	other.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1 */
	assert_true(stream_listen(group, (struct sockaddr *)&other, sizeof(other), 0, door_accepted, NULL, &listener,
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
		setsockopt(fds[0], IPPROTO_TCP, TCP_MAXSEG, &(int){ 1000 }, sizeof(int)); /* fits: nothing stalls */
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

/* What has come before a send failed, more than a round brings, is not given to whoever has been told of the end. */
static void test_nothing_after_end(void **state)
{
	static uint8_t bytes[256 << 10], changed[200];
	struct end client, server;
	struct iovec iov[2] = { { changed, 100 }, { changed + 100, 100 } };
	struct piece piece = { .end = &client };
	struct door door;

	group_open(0, UINT_MAX, 256, 1024);
	door_open(&door, AF_INET, 4);
	pair_connect(&door, &client, &server, NULL);
	piece_send(&server, 1000);
	wait_for(client.got == 1000);
	stream_buffers_more(group, 256); /* as after a time of much load */
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = byte_at(client.got + i);
	for (unsigned i = 0; i < sizeof(changed); i++)
		changed[i] = byte_at(i);
	assert_true(send(stream_fd(server.stream), bytes, sizeof(bytes), MSG_DONTWAIT) > 100 << 10);
	piece.send = (struct stream_send){ .iov = iov, .segments = 2, .done = on_changed_sent };
	client.queued++;
	stream_send(client.stream, &piece.send);
	iov[1].iov_len = 0;
	wait_for(client.ended == 1 && client.queued == 0);
	uint64_t got = client.got;
	for (unsigned i = 0; i < 20; i++)
		uring_poll(uring);
	assert_int_equal(client.got, got);
	end_close(&client);
	end_close(&server);
	door_close(&door);
	group_close();
}

/* A peer that no longer reads and is killed; one that is merely left: what is lent comes back. */
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
		end_take(&end);
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
		stream_close(client.stream, end_closed);
		if (roll(2))
			stream_close(server.stream, end_closed);
		else
			wait_for((server.paused || server.stuck ? (stream_resume(server.stream), true) : true) &&
				 server.ended && !server.take_lent);
		wait_for(client.closed);
		if (server.ended)
			stream_close(server.stream, end_closed);
		wait_for(server.closed);
		door_close(&door);
		group_close();
	}
}

/* ---- a guest that takes its memory away under a take ---- */

static void gone_done(struct stream_take *take, int error)
{
	struct end *end = (struct end *)((char *)take - offsetof(struct end, take));

	end->takes++;
	end->takes_failed += error != 0;
	end->got += take->bytes;
	stream_resume(end->stream);
}

/* It gets what is no memory of the guest any more, and who else is on the connection goes on. */
static void test_memory_taken_away(void **state)
{
	struct end client, server;
	_Atomic bool faulted = false;
	struct stream_stats stats;
	struct door door;
	int fd = memfd_create("guest", MFD_CLOEXEC);

	group_open(0, UINT_MAX, 0, 0);
	door_open(&door, AF_INET, 0);
	pair_connect(&door, &client, &server, NULL);
	assert_int_equal(ftruncate(fd, PIECE_MAX), 0);
	uint8_t *memory = mmap(NULL, PIECE_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	int watch = memory_fault_watch(memory, PIECE_MAX, &faulted);
	assert_true(watch >= 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	server.take_iov[0] = (struct iovec){ memory, PIECE_MAX };
	server.take = (struct stream_take){ server.take_iov, 1, PIECE_MAX, gone_done, 0 };
	stream_pause(server.stream);
	stream_take(server.stream, &server.take);
	for (unsigned i = 0; i < 100; i++)
		uring_poll(uring);
	piece_send(&client, PIECE_MAX);
	piece_send(&client, PIECE_MAX);
	wait_for(server.got == 2 * PIECE_MAX || server.ended);
	assert_int_equal(server.ended, 0);
	assert_int_equal(server.takes, 1);
	assert_int_equal(server.takes_failed, 0);
	assert_true(faulted);
	stream_group_stats(group, &stats);
	assert_int_equal(stats.received_bytes, 2 * PIECE_MAX);
	end_close(&client);
	end_close(&server);
	memory_fault_unwatch(watch);
	munmap(memory, PIECE_MAX);
	close(fd);
	door_close(&door);
	group_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connect),           cmocka_unit_test(test_connect_timeout),
		cmocka_unit_test(test_listen_errors),     cmocka_unit_test(test_no_descriptors),
		cmocka_unit_test(test_slow_peer),         cmocka_unit_test(test_changed_send),
		cmocka_unit_test(test_nothing_after_end), cmocka_unit_test(test_killed_peer),
		cmocka_unit_test(test_silent_peer),       cmocka_unit_test(test_close_any_time),
		cmocka_unit_test(test_memory_taken_away),
	};

	uring_needed();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
