// SPDX-License-Identifier: BSD-3-Clause
/* TCP streams: pairs that send, take, pause and stop at random, with everything the kernel has and without; thousands
 * of idle ones; a worker that sleeps. */
#include "operating/stream_rig.h"
#include "operating/uring_needed.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* ---- random traffic ---- */

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
		stream_close(ends[2 * i].stream, end_closed);
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
		stream_close(ends[2 * i].stream, end_closed);
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

	end_check(&house->server, bytes, count);
	piece_send(&house->server, count);
	return count;
}

static const struct stream_ops echo_ops = { NULL, on_echo, end_ended };

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
		cmocka_unit_test(test_thousand),
		cmocka_unit_test(test_buffers_grow),
		cmocka_unit_test(test_sleeping_worker),
	};

	uring_needed();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
