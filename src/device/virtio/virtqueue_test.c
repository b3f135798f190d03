/* SPDX-License-Identifier: BSD-3-Clause */
/* Rings of both formats through the endpoint: an echo device against the test front end. */
#include <unistd.h>
#include "device/virtio/test_device.h"

/* Every shape of ring that the tests run over. */
struct shape {
	uint64_t features;
	bool indirect;
	unsigned regions;
};

#define BIT(n)   (UINT64_C(1) << (n))
#define MODERN   (BIT(32) | BIT(30))
#define PACKED   (MODERN | BIT(34))
#define EVENT    BIT(29)
#define INDIRECT BIT(28)

static const struct shape shapes[] = {
	{ MODERN, false, 1 },
	{ MODERN | EVENT, false, 1 },
	{ MODERN | EVENT | INDIRECT, true, 2 },
	{ BIT(30), false, 1 },
	{ PACKED, false, 1 },
	{ PACKED | EVENT, false, 2 },
	{ PACKED | EVENT | INDIRECT, true, 1 },
};

static struct frontend_queue *ready(struct test_device *device, struct frontend *frontend, const struct shape *shape,
				    unsigned size)
{
	test_device_open(device, VHOST_SERVER, false);
	frontend_init(frontend, 1 << 20, test_device_pump, device);
	frontend->regions = shape->regions;
	frontend_connect(frontend, device->path);
	frontend_negotiate(frontend, shape->features, TEST_PROTOCOL);
	frontend_share_memory(frontend);
	struct frontend_queue *queue = frontend_queue_new(frontend, 0, size);
	frontend_queue_start(queue, frontend_queue_base(queue));
	assert_true(device->running[0]);
	return queue;
}

static void done(struct test_device *device, struct frontend *frontend)
{
	frontend_fini(frontend);
	test_device_close(device);
}

/* One element: "read" bytes in two pieces, "write" bytes in one; the device echoes. */
static void echo_rounds(struct test_device *device, struct frontend_queue *queue, const struct shape *shape,
			unsigned rounds)
{
	struct frontend *frontend = queue->frontend;
	uint64_t place = frontend_alloc(frontend, 4096, 4096);
	uint16_t id;
	uint32_t length;

	for (unsigned i = 0; i < rounds; i++) {
		uint32_t bytes = 1 + i % 1000, first = bytes / 3;
		struct frontend_buffer buffers[3] = { { place, first, false },
						      { place + first, bytes - first, false },
						      { place + 2048, bytes, true } };
		uint8_t *in = frontend_at(frontend, place), *out = frontend_at(frontend, place + 2048);
		for (uint32_t b = 0; b < bytes; b++)
			in[b] = (uint8_t)(i + b);
		memset(out, 0xee, bytes + 1);
		if (shape->indirect && frontend->allocated + 64 > frontend->bytes)
			frontend->allocated = place + 4096; /* tables may be reused */
		int offered = frontend_offer(queue, buffers, 3, shape->indirect);
		assert_true(offered >= 0);
		assert_int_equal(test_device_echo(device, 0), 1);
		assert_true(frontend_take(queue, &id, &length));
		assert_int_equal(id, offered);
		assert_int_equal(length, bytes);
		assert_memory_equal(in, out, bytes);
		assert_int_equal(out[bytes], 0xee);
		assert_false(frontend_take(queue, &id, &length));
	}
}

static void test_echo(void **state)
{
	for (unsigned s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
		struct test_device device;
		struct frontend frontend;
		struct frontend_queue *queue = ready(&device, &frontend, &shapes[s], 16);
		/* Several times round the ring, which is no multiple of the chain's length. */
		echo_rounds(&device, queue, &shapes[s], 300);
		done(&device, &frontend);
	}
}

/* A buffer over the border of two memory regions becomes two segments. */
static void test_region_border(void **state)
{
	const struct shape shape = { MODERN, false, 2 };
	struct test_device device;
	struct frontend frontend;
	struct frontend_queue *queue = ready(&device, &frontend, &shape, 8);
	uint64_t border = frontend.bytes / 2;
	struct frontend_buffer buffer = { border - 100, 300, true };
	struct virtq_element element;
	struct iovec iov[VIRTQ_MAX_SEGMENTS];

	frontend_offer(queue, &buffer, 1, false);
	assert_int_equal(virtqueue_pop(device.queues[0], &element, 1, iov, VIRTQ_MAX_SEGMENTS), 1);
	assert_int_equal(element.writable, 2);
	assert_int_equal(element.writable_bytes, 300);
	assert_int_equal(iov[0].iov_len, 100);
	assert_int_equal(iov[1].iov_len, 200);
	memset(iov[0].iov_base, 1, 100);
	memset(iov[1].iov_base, 2, 200);
	assert_int_equal(((uint8_t *)frontend_at(&frontend, border - 1))[0], 1);
	assert_int_equal(((uint8_t *)frontend_at(&frontend, border))[0], 2);
	done(&device, &frontend);
}

/* Elements that were popped and put back come again, also over the ring's end. */
static void test_unpop(void **state)
{
	for (unsigned s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
		struct test_device device;
		struct frontend frontend;
		struct frontend_queue *queue = ready(&device, &frontend, &shapes[s], 8);
		struct virtq_element elements[4], again[4];
		struct iovec iov[VIRTQ_MAX_SEGMENTS];
		uint32_t written[4] = { 0 }, length;
		uint16_t id;

		for (unsigned round = 0; round < 20; round++) {
			struct frontend_buffer buffers[2] = { { 4096, 10, false }, { 8192, 20, true } };
			int ids[3];
			for (unsigned i = 0; i < 3; i++)
				ids[i] = frontend_offer(queue, buffers, 2, shapes[s].indirect);
			assert_int_equal(virtqueue_pop(device.queues[0], elements, 4, iov, VIRTQ_MAX_SEGMENTS), 3);
			virtqueue_unpop(device.queues[0], elements + 1, 2);
			assert_int_equal(virtqueue_pop(device.queues[0], again, 4, iov, VIRTQ_MAX_SEGMENTS), 2);
			assert_int_equal(again[0].id, ids[1]);
			assert_int_equal(again[1].id, ids[2]);
			virtqueue_push(device.queues[0], elements, written, 1);
			virtqueue_push(device.queues[0], again, written, 2);
			for (unsigned i = 0; i < 3; i++) {
				assert_true(frontend_take(queue, &id, &length));
				assert_int_equal(id, ids[i]);
			}
		}
		done(&device, &frontend);
	}
}

/* A guest is interrupted when it asks, once per burst; it kicks when we ask. */
static void test_notifications(void **state)
{
	for (unsigned s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
		struct test_device device;
		struct frontend frontend;
		struct frontend_queue *queue = ready(&device, &frontend, &shapes[s], 16);
		struct frontend_buffer buffer = { 4096, 10, false };
		uint16_t id;
		uint32_t length;

		/* The first burst after set-up interrupts in any case: a predecessor may have owed it. */
		frontend_want_interrupt(queue, false, 0);
		virtqueue_notify(device.queues[0]);
		assert_true(frontend_interrupted(queue));
		for (unsigned round = 0; round < 40; round++) {
			bool wanted = round % 2;
			frontend_want_interrupt(queue, wanted, 0);
			frontend_offer(queue, &buffer, 1, false);
			assert_int_equal(test_device_echo(&device, 0), 1);
			assert_int_equal(frontend_interrupted(queue), wanted);
			assert_true(frontend_take(queue, &id, &length));

			assert_false(virtqueue_arm(device.queues[0]));
			frontend_offer(queue, &buffer, 1, false);
			assert_true(frontend_wants_kick(queue, 1));
			virtqueue_disarm(device.queues[0]);
			frontend_offer(queue, &buffer, 1, false);
			assert_false(frontend_wants_kick(queue, 1));
			assert_true(virtqueue_arm(device.queues[0]));
			frontend_want_interrupt(queue, false, 0);
			assert_int_equal(test_device_echo(&device, 0), 2);
			assert_true(frontend_take(queue, &id, &length));
			assert_true(frontend_take(queue, &id, &length));
			assert_false(frontend_interrupted(queue));
		}
		done(&device, &frontend);
	}
}

/* With event indices, a driver may ask for an interrupt some elements ahead. */
static void test_event_index(void **state)
{
	const struct shape with_events[] = { { MODERN | EVENT, false, 1 }, { PACKED | EVENT, false, 1 } };

	for (unsigned s = 0; s < 2; s++) {
		struct test_device device;
		struct frontend frontend;
		struct frontend_queue *queue = ready(&device, &frontend, &with_events[s], 8);
		struct frontend_buffer buffer = { 4096, 10, false };
		uint16_t id;
		uint32_t length;

		virtqueue_notify(device.queues[0]);
		frontend_interrupted(queue);
		for (unsigned round = 0; round < 50; round++) {
			frontend_want_interrupt(queue, true, 2);
			for (unsigned i = 0; i < 5; i++) {
				frontend_offer(queue, &buffer, 1, false);
				test_device_echo(&device, 0);
				assert_int_equal(frontend_interrupted(queue), i == 2);
			}
			while (frontend_take(queue, &id, &length))
				;
		}
		done(&device, &frontend);
	}
}

/* Stop and start again at the position told: nothing is lost or repeated. */
static void test_stop_and_start(void **state)
{
	for (unsigned s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
		struct test_device device;
		struct frontend frontend;
		struct frontend_queue *queue = ready(&device, &frontend, &shapes[s], 16);

		for (unsigned round = 0; round < 5; round++) {
			echo_rounds(&device, queue, &shapes[s], 13);
			uint32_t base = frontend_queue_stop(queue);
			assert_false(device.running[0]);
			frontend_queue_start(queue, base);
			assert_true(device.running[0]);
		}
		done(&device, &frontend);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_echo),        cmocka_unit_test(test_region_border),
		cmocka_unit_test(test_unpop),       cmocka_unit_test(test_notifications),
		cmocka_unit_test(test_event_index), cmocka_unit_test(test_stop_and_start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
