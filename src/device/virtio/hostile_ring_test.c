/* SPDX-License-Identifier: BSD-3-Clause */
/* Guests that leave no way to tell an element: each case breaks its own queue, with a reason, and nothing else.
 * Elements that are only bad in themselves: bad_element_test.c. */
#include <stdlib.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include "device/virtio/test_device.h"
#include "tests/lib/emulated_kernel.h"

#define MODERN   (VHOST_BIT(32) | VHOST_BIT(30))
#define PACKED   (MODERN | VHOST_BIT(34))
#define INDIRECT VHOST_BIT(28)
#define GPA      FRONTEND_GPA
#define FINE     (GPA + 0x10000), 64
#define NOWHERE  0x1000, 64

enum { NEXT = 1, AVAIL = 1 << 7, SIZE = 8, MEMORY = 1 << 20 };

struct desc {
	uint64_t address;
	uint32_t length;
	uint16_t a, b; /* flags, next (split); id, flags (packed) */
};

static const struct {
	const char *name, *reason; /* a part of it */
	uint64_t features;
	uint16_t head, available; /* split */
	struct desc ring[SIZE];
} breaking[] = {
	{ "head outside", "head is outside", MODERN, 8, 1, { { 0 } } },
	{ "head far outside", "head is outside", MODERN, 65535, 1, { { 0 } } },
	{ "more available than slots", "runs ahead", MODERN, 0, 9, { { FINE, 0, 0 } } },
	{ "index goes backwards", "runs ahead", MODERN, 0, 65535, { { FINE, 0, 0 } } },
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
	    { FINE, 0, NEXT } } },
	{ "packed: chain of what makes no sense round the ring",
	  "longer than the ring",
	  PACKED,
	  0,
	  0,
	  { { NOWHERE, 0, AVAIL | NEXT },
	    { 0, 0, 0, NEXT },
	    { 0, 0, 0, NEXT },
	    { 0, 0, 0, NEXT },
	    { 0, 0, 0, NEXT },
	    { 0, 0, 0, NEXT },
	    { 0, 0, 0, NEXT },
	    { 0, 0, 0, NEXT } } },
};

static void test_hostile_rings(void **state)
{
	for (unsigned i = 0; i < sizeof(breaking) / sizeof(breaking[0]); i++) {
		const char *name = breaking[i].name, *reason = breaking[i].reason;
		struct test_rings h;
		eventfd_t value;

		test_rings_open(&h, breaking[i].features, SIZE, MEMORY);
		memcpy(frontend_at(&h.frontend, h.queue->desc), breaking[i].ring, sizeof(breaking[i].ring));
		if (!h.queue->packed) {
			uint16_t *avail = frontend_at(&h.frontend, h.queue->driver);
			avail[2] = breaking[i].head;
			avail[1] = breaking[i].available;
		}
		if (test_device_echo(&h.device, 0) != -EPIPE)
			fail_msg("%s: accepted", name);
		assert_true(virtqueue_broken(h.device.queues[0]));
		if (!strstr(virtqueue_broken_reason(h.device.queues[0]), reason))
			fail_msg("%s: %s", name, virtqueue_broken_reason(h.device.queues[0]));
		/* It stays so, control is told and tells the front end, and the other queue works. */
		assert_int_equal(test_device_echo(&h.device, 0), -EPIPE);
		test_device_expect(&h.device, "queue-broken");
		assert_non_null(strstr(h.device.sentence, reason));
		assert_false(h.device.running[0]);
		assert_int_equal(eventfd_read(h.queue->err_fd, &value), 0);
		test_device_serves(&h.device, h.other);

		/* Set up again it works. */
		frontend_queue_stop(h.queue);
		h.queue = frontend_queue_new(&h.frontend, 0, SIZE);
		frontend_queue_start(h.queue, frontend_queue_base(h.queue));
		test_device_serves(&h.device, h.queue);
		test_rings_close(&h);
	}
}

/* Descriptors that the device has not given back are offered again: what is under way stays within the queue's size. */
static void test_more_than_the_ring(void **state)
{
	struct virtq_element elements[SIZE];
	struct iovec iov[VIRTQ_MAX_SEGMENTS];
	const uint32_t written[SIZE] = { 0 };
	struct test_rings h;

	test_rings_open(&h, MODERN, SIZE, MEMORY);
	struct virtqueue *queue = h.device.queues[0];
	uint16_t *avail = frontend_at(&h.frontend, h.queue->driver);
	struct desc fine = { FINE, 0, 0 };
	memcpy(frontend_at(&h.frontend, h.queue->desc), &fine, sizeof(fine));
	memset(avail, 0, (2 + SIZE) * sizeof(*avail));
	avail[1] = SIZE;
	assert_int_equal(virtqueue_pop(queue, elements, SIZE, iov, VIRTQ_MAX_SEGMENTS), SIZE);
	assert_int_equal(virtqueue_pop(queue, elements, SIZE, iov, VIRTQ_MAX_SEGMENTS), 0);
	virtqueue_push(queue, elements, written, 3);
	avail[1] += 3;
	assert_int_equal(virtqueue_pop(queue, elements, SIZE, iov, VIRTQ_MAX_SEGMENTS), 3);
	avail[1]++;
	assert_int_equal(virtqueue_pop(queue, elements, SIZE, iov, VIRTQ_MAX_SEGMENTS), -EPIPE);
	assert_non_null(strstr(virtqueue_broken_reason(queue), "runs ahead"));
	test_device_expect(&h.device, "queue-broken");
	test_rings_close(&h);
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
		cmocka_unit_test(test_more_than_the_ring),
		cmocka_unit_test(test_event_descriptors_that_wait),
		cmocka_unit_test(test_random_rings),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
