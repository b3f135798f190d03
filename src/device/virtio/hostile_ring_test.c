/* SPDX-License-Identifier: BSD-3-Clause */
/* Guests that break their rings: each case breaks its own queue, with a reason, and nothing else. */
#include <stdlib.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include "device/virtio/test_device.h"
#include "tests/lib/emulated_kernel.h"

#define MODERN   (VHOST_BIT(32) | VHOST_BIT(30))
#define PACKED   (MODERN | VHOST_BIT(34))
#define INDIRECT VHOST_BIT(28)

enum { NEXT = 1, WRITE = 2, TABLE = 4, AVAIL = 1 << 7, SIZE = 8 };

struct desc {
	uint64_t address;
	uint32_t length;
	uint16_t a, b; /* flags, next (split); id, flags (packed) */
};

/* Eight descriptors in the ring and eight in a table elsewhere; the first is made available. */
struct hostile {
	const char *name, *reason; /* a part of it */
	uint64_t features;
	uint16_t head;      /* split: in the available ring */
	uint16_t available; /* split: how many; 0 = 1 */
	struct desc ring[SIZE], table[SIZE];
};

#define GPA      FRONTEND_GPA
#define FINE     (GPA + 0x10000), 64
#define TABLE_AT (GPA + 0x20000)

static const struct hostile cases[] = {
	{ "head outside", "index is outside", MODERN, 8, 0, { { 0 } }, { { 0 } } },
	{ "head far outside", "index is outside", MODERN, 65535, 0, { { 0 } }, { { 0 } } },
	{ "more available than slots", "runs ahead", MODERN, 0, 9, { { FINE, 0, 0 } }, { { 0 } } },
	{ "index goes backwards", "runs ahead", MODERN, 0, 65535, { { FINE, 0, 0 } }, { { 0 } } },
	{ "next outside", "index is outside", MODERN, 0, 0, { { FINE, NEXT, 8 } }, { { 0 } } },
	{ "loop of one", "loops", MODERN, 0, 0, { { FINE, NEXT, 0 } }, { { 0 } } },
	{ "loop of two", "loops", MODERN, 0, 0, { { FINE, NEXT, 1 }, { FINE, NEXT, 0 } }, { { 0 } } },
	{ "loop of empty buffers", "loops", MODERN, 0, 0, { { GPA, 0, NEXT, 0 } }, { { 0 } } },
	{ "address outside", "outside the guest's memory", MODERN, 0, 0, { { 0x1000, 64, 0, 0 } }, { { 0 } } },
	{ "address at the end",
	  "outside the guest's memory",
	  MODERN,
	  0,
	  0,
	  { { GPA + (1 << 20) - 32, 64, 0, 0 } },
	  { { 0 } } },
	{ "address wraps", "outside the guest's memory", MODERN, 0, 0, { { UINT64_MAX - 10, 64, 0, 0 } }, { { 0 } } },
	{ "length of 4 GiB", "outside the guest's memory", MODERN, 0, 0, { { GPA, UINT32_MAX, 0, 0 } }, { { 0 } } },
	{ "chain of more than 4 GiB",
	  "outside the guest's memory",
	  MODERN,
	  0,
	  0,
	  { { GPA, UINT32_MAX, NEXT, 1 }, { GPA, 2, 0, 0 } },
	  { { 0 } } },
	{ "readable after writable",
	  "follows a writable",
	  MODERN,
	  0,
	  0,
	  { { FINE, NEXT | WRITE, 1 }, { FINE, 0, 0 } },
	  { { 0 } } },
	{ "table without the feature",
	  "without the feature",
	  MODERN,
	  0,
	  0,
	  { { TABLE_AT, 16, TABLE, 0 } },
	  { { FINE, 0, 0 } } },
	{ "table and next",
	  "has a successor",
	  MODERN | INDIRECT,
	  0,
	  0,
	  { { TABLE_AT, 16, TABLE | NEXT, 1 } },
	  { { FINE, 0, 0 } } },
	{ "table of no length",
	  "impossible length",
	  MODERN | INDIRECT,
	  0,
	  0,
	  { { TABLE_AT, 0, TABLE, 0 } },
	  { { 0 } } },
	{ "table of odd length",
	  "impossible length",
	  MODERN | INDIRECT,
	  0,
	  0,
	  { { TABLE_AT, 17, TABLE, 0 } },
	  { { 0 } } },
	{ "table of 1 MiB",
	  "impossible length",
	  MODERN | INDIRECT,
	  0,
	  0,
	  { { TABLE_AT, 1 << 20, TABLE, 0 } },
	  { { 0 } } },
	{ "table outside", "table is outside", MODERN | INDIRECT, 0, 0, { { 0x1000, 16, TABLE, 0 } }, { { 0 } } },
	{ "table half outside",
	  "table is outside",
	  MODERN | INDIRECT,
	  0,
	  0,
	  { { GPA + (1 << 20) - 8, 16, TABLE, 0 } },
	  { { 0 } } },
	{ "table in a table",
	  "within an indirect",
	  MODERN | INDIRECT,
	  0,
	  0,
	  { { TABLE_AT, 32, TABLE, 0 } },
	  { { TABLE_AT, 16, TABLE, 0 } } },
	{ "table's next outside",
	  "outside its table",
	  MODERN | INDIRECT,
	  0,
	  0,
	  { { TABLE_AT, 32, TABLE, 0 } },
	  { { FINE, NEXT, 2 } } },
	{ "loop in a table",
	  "loops",
	  MODERN | INDIRECT,
	  0,
	  0,
	  { { TABLE_AT, 32, TABLE, 0 } },
	  { { FINE, NEXT, 1 }, { FINE, NEXT, 0 } } },
	{ "readable after writable in a table",
	  "follows a writable",
	  MODERN | INDIRECT,
	  0,
	  0,
	  { { TABLE_AT, 32, TABLE, 0 } },
	  { { FINE, WRITE | NEXT, 1 }, { FINE, 0, 0 } } },

	{ "packed: address outside",
	  "outside the guest's memory",
	  PACKED,
	  0,
	  0,
	  { { 0x1000, 64, 0, AVAIL } },
	  { { 0 } } },
	{ "packed: chain round the ring",
	  "longer than the ring",
	  PACKED,
	  0,
	  0,
	  { { FINE, 0, AVAIL | NEXT },
	    { FINE, 0, NEXT },
	    { FINE, 0, NEXT },
	    { FINE, 0, NEXT },
	    { FINE, 0, NEXT },
	    { FINE, 0, NEXT },
	    { FINE, 0, NEXT },
	    { FINE, 0, NEXT } },
	  { { 0 } } },
	{ "packed: chain of empty buffers round the ring",
	  "longer than the ring",
	  PACKED,
	  0,
	  0,
	  { { 0, 0, 0, AVAIL | NEXT },
	    { 0, 0, 0, NEXT },
	    { 0, 0, 0, NEXT },
	    { 0, 0, 0, NEXT },
	    { 0, 0, 0, NEXT },
	    { 0, 0, 0, NEXT },
	    { 0, 0, 0, NEXT },
	    { 0, 0, 0, NEXT } },
	  { { 0 } } },
	{ "packed: readable after writable",
	  "follows a writable",
	  PACKED,
	  0,
	  0,
	  { { FINE, 0, AVAIL | NEXT | WRITE }, { FINE, 0, 0 } },
	  { { 0 } } },
	{ "packed: table without the feature",
	  "without the feature",
	  PACKED,
	  0,
	  0,
	  { { TABLE_AT, 16, 0, AVAIL | TABLE } },
	  { { FINE, 0, 0 } } },
	{ "packed: table and next",
	  "has a successor",
	  PACKED | INDIRECT,
	  0,
	  0,
	  { { TABLE_AT, 16, 0, AVAIL | TABLE | NEXT } },
	  { { FINE, 0, 0 } } },
	{ "packed: table of odd length",
	  "impossible length",
	  PACKED | INDIRECT,
	  0,
	  0,
	  { { TABLE_AT, 24, 0, AVAIL | TABLE } },
	  { { FINE, 0, 0 } } },
	{ "packed: table outside",
	  "table is outside",
	  PACKED | INDIRECT,
	  0,
	  0,
	  { { 0, 16, 0, AVAIL | TABLE } },
	  { { FINE, 0, 0 } } },
	{ "packed: table's buffer outside",
	  "outside the guest's memory",
	  PACKED | INDIRECT,
	  0,
	  0,
	  { { TABLE_AT, 32, 0, AVAIL | TABLE } },
	  { { FINE, 0, 0 }, { 0, 1, 0, 0 } } },
};

static void test_hostile_rings(void **state)
{
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct hostile *c = &cases[i];
		struct test_device device;
		struct frontend frontend;
		eventfd_t value;

		test_device_open(&device, VHOST_SERVER, false);
		frontend_init(&frontend, 1 << 20, test_device_pump, &device);
		frontend_connect(&frontend, device.path);
		frontend_negotiate(&frontend, c->features, TEST_PROTOCOL);
		frontend_share_memory(&frontend);
		struct frontend_queue *queue = frontend_queue_new(&frontend, 0, SIZE);
		struct frontend_queue *other = frontend_queue_new(&frontend, 1, SIZE);
		frontend_queue_start(queue, frontend_queue_base(queue));
		frontend_queue_start(other, frontend_queue_base(other));
		memcpy(frontend_at(&frontend, 0x20000), c->table, sizeof(c->table));
		memcpy(frontend_at(&frontend, queue->desc), c->ring, sizeof(c->ring));
		if (!queue->packed) {
			uint16_t *avail = frontend_at(&frontend, queue->driver);
			avail[2] = c->head;
			avail[1] = c->available ? c->available : 1;
		}
		if (test_device_echo(&device, 0) != -EPIPE)
			fail_msg("%s: accepted", c->name);
		assert_true(virtqueue_broken(device.queues[0]));
		if (!strstr(virtqueue_broken_reason(device.queues[0]), c->reason))
			fail_msg("%s: %s", c->name, virtqueue_broken_reason(device.queues[0]));
		/* It stays so, control is told and tells the front end, and the other queue works. */
		assert_int_equal(test_device_echo(&device, 0), -EPIPE);
		test_device_expect(&device, "queue-broken");
		assert_non_null(strstr(device.sentence, c->reason));
		assert_false(device.running[0]);
		assert_int_equal(eventfd_read(queue->err_fd, &value), 0);
		struct frontend_buffer fine = { 0x30000, 10, false };
		assert_true(frontend_offer(other, &fine, 1, false) >= 0);
		assert_int_equal(test_device_echo(&device, 1), 1);

		/* Set up again it works. */
		frontend_queue_stop(queue);
		queue = frontend_queue_new(&frontend, 0, SIZE);
		frontend_queue_start(queue, frontend_queue_base(queue));
		assert_true(frontend_offer(queue, &fine, 1, false) >= 0);
		assert_int_equal(test_device_echo(&device, 0), 1);
		frontend_fini(&frontend);
		test_device_close(&device);
	}
}

/* An element of more segments than fit: with little room it waits, with all room it is the guest's fault. */
static void test_too_many_segments(void **state)
{
	struct test_device device;
	struct frontend frontend;
	struct virtq_element element;
	struct iovec iov[VIRTQ_MAX_SEGMENTS];
	static struct frontend_buffer buffers[VIRTQ_MAX_SEGMENTS + 1];

	for (unsigned packed = 0; packed < 2; packed++) {
		test_device_open(&device, VHOST_SERVER, false);
		frontend_init(&frontend, 1 << 20, test_device_pump, &device);
		frontend_connect(&frontend, device.path);
		frontend_negotiate(&frontend, (packed ? PACKED : MODERN) | INDIRECT, TEST_PROTOCOL);
		frontend_share_memory(&frontend);
		struct frontend_queue *queue = frontend_queue_new(&frontend, 0, SIZE);
		frontend_queue_start(queue, frontend_queue_base(queue));
		for (unsigned i = 0; i <= VIRTQ_MAX_SEGMENTS; i++)
			buffers[i] = (struct frontend_buffer){ 0x30000 + i, 1, true };
		frontend_offer(queue, buffers, VIRTQ_MAX_SEGMENTS, true);
		assert_int_equal(virtqueue_pop(device.queues[0], &element, 1, iov, 100), -ENOSPC);
		assert_int_equal(virtqueue_pop(device.queues[0], &element, 1, iov, VIRTQ_MAX_SEGMENTS), 1);
		assert_int_equal(element.writable, VIRTQ_MAX_SEGMENTS);
		frontend_offer(queue, buffers, VIRTQ_MAX_SEGMENTS + 1, true);
		assert_int_equal(virtqueue_pop(device.queues[0], &element, 1, iov, VIRTQ_MAX_SEGMENTS), -EPIPE);
		frontend_fini(&frontend);
		test_device_close(&device);
	}
}

/* Random bytes over rings and tables: any end but a crash. */
static void test_random_rings(void **state)
{
	struct test_device device;
	struct frontend frontend;
	unsigned seed = 7;

	for (unsigned packed = 0; packed < 2; packed++) {
		test_device_open(&device, VHOST_SERVER, false);
		frontend_init(&frontend, 1 << 16, test_device_pump, &device);
		frontend_connect(&frontend, device.path);
		frontend_negotiate(&frontend, (packed ? PACKED : MODERN) | INDIRECT | VHOST_BIT(29), TEST_PROTOCOL);
		frontend_share_memory(&frontend);
		for (unsigned round = 0; round < 200; round++) {
			frontend.allocated = 0;
			struct frontend_queue *queue = frontend_queue_new(&frontend, 0, 64);
			frontend_queue_start(queue, frontend_queue_base(queue));
			for (uint64_t at = 0; at < frontend.bytes; at += 8) {
				uint64_t word = (uint64_t)rand_r(&seed) << 32 | (uint64_t)rand_r(&seed);
				/* Mostly addresses and lengths that could be. */
				if (at % 16 == 0 && rand_r(&seed) % 8)
					word = GPA + word % frontend.bytes;
				else if (rand_r(&seed) % 8)
					word &= UINT64_C(0x003f80870000ffff);
				memcpy(frontend_at(&frontend, at), &word, sizeof(word));
			}
			for (unsigned i = 0; i < 8 && test_device_echo(&device, 0) >= 0; i++)
				;
			frontend_queue_stop(queue);
		}
		frontend_fini(&frontend);
		test_device_close(&device);
	}
}

/* Descriptors whose counters are full, or empty, and that make whoever uses them wait: we do not. */
static void test_event_descriptors_that_wait(void **state)
{
	struct test_device device;
	struct frontend frontend;
	const uint64_t full = UINT64_MAX - 1;
	uint64_t count;

	test_device_open(&device, VHOST_SERVER, false);
	frontend_init(&frontend, 1 << 20, test_device_pump, &device);
	frontend_connect(&frontend, device.path);
	frontend_negotiate(&frontend, MODERN, TEST_PROTOCOL);
	frontend_share_memory(&frontend);
	struct frontend_queue *queue = frontend_queue_new(&frontend, 0, SIZE);
	frontend_queue_start(queue, frontend_queue_base(queue));
	const int fds[] = { queue->call_fd, queue->err_fd, queue->kick_fd };
	for (unsigned i = 0; i < 3; i++) {
		while (read(fds[i], &count, sizeof(count)) > 0)
			;
		assert_int_equal(fcntl(fds[i], F_SETFL, 0), 0);
		if (fds[i] != queue->kick_fd)
			assert_int_equal(write(fds[i], &full, sizeof(full)), sizeof(full));
	}
	alarm(60); /* whoever waits here waits for ever */
	struct frontend_buffer fine = { 0x30000, 10, false };
	for (unsigned i = 0; i < 100; i++) {
		uint16_t id;
		uint32_t length;
		assert_true(frontend_offer(queue, &fine, 1, false) >= 0);
		assert_int_equal(test_device_echo(&device, 0), 1);
		virtqueue_notify(device.queues[0]);
		assert_true(frontend_take(queue, &id, &length));
	}
	virtqueue_disarm(device.queues[0]);
	assert_int_equal(read(queue->call_fd, &count, sizeof(count)), sizeof(count));
	/* Without asynchronous I/O the flag was set again, and a full counter stays as it is. */
	assert_true(count == (kernel_has_aio() ? UINT64_MAX : full));
	uint16_t *avail = frontend_at(&frontend, queue->driver);
	avail[1] += SIZE + 1;
	assert_int_equal(test_device_echo(&device, 0), -EPIPE);
	test_device_expect(&device, "queue-broken");
	alarm(0);
	frontend_fini(&frontend);
	test_device_close(&device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_rings),
		cmocka_unit_test(test_too_many_segments),
		cmocka_unit_test(test_event_descriptors_that_wait),
		cmocka_unit_test(test_random_rings),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
