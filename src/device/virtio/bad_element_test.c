/* SPDX-License-Identifier: BSD-3-Clause */
/* Elements whose descriptors make no sense, on both kinds of rings: each is popped with its fault and what can be told
 * of it, returned, and the queue goes on. */
#include <errno.h>
#include "device/virtio/test_device.h"

#define MODERN   (VHOST_BIT(32) | VHOST_BIT(30))
#define PACKED   (MODERN | VHOST_BIT(34))
#define INDIRECT VHOST_BIT(28)

enum { NEXT = 1, WRITE = 2, TABLE = 4, AVAIL = 1 << 7, USED = 1 << 15, SIZE = 8 };

struct desc {
	uint64_t address;
	uint32_t length;
	uint16_t a, b; /* flags, next (split); id, flags (packed) */
};

#define GPA      FRONTEND_GPA
#define FINE_AT  0x10000
#define FINE     (GPA + FINE_AT), 64
#define LAST_AT  0x18000
#define LAST     (GPA + LAST_AT), 1
#define TABLE_AT 0x20000
#define IN_TABLE (GPA + TABLE_AT)
#define NOWHERE  0x1000, 64
#define MEMORY   (1 << 20)

/* Descriptors in the ring, the first of which is made available, and in a table elsewhere. */
struct bad_element {
	const char *name;
	enum virtq_fault fault;
	uint64_t features;
	uint64_t tail;  /* the last byte that the device may write; 0 = it cannot be told */
	uint16_t slots; /* packed: of the ring; 0 = 1 */
	struct desc ring[SIZE], table[4];
};

static const struct bad_element bad_elements[] = {
	{ .name = "next outside", .fault = VIRTQ_FAULT_NEXT, .features = MODERN, .ring = { { FINE, NEXT, 8 } } },
	{ .name = "next outside behind a writable one",
	  .fault = VIRTQ_FAULT_NEXT,
	  .features = MODERN,
	  .ring = { { FINE, NEXT, 1 }, { LAST, WRITE | NEXT, 65535 } } },
	{ .name = "loop of one", .fault = VIRTQ_FAULT_LOOP, .features = MODERN, .ring = { { FINE, NEXT, 0 } } },
	{ .name = "loop of two",
	  .fault = VIRTQ_FAULT_LOOP,
	  .features = MODERN,
	  .ring = { { FINE, NEXT, 1 }, { FINE, NEXT, 0 } } },
	{ .name = "loop of writable ones",
	  .fault = VIRTQ_FAULT_LOOP,
	  .features = MODERN,
	  .ring = { { LAST, WRITE | NEXT, 0 } } },
	{ .name = "loop of empty buffers",
	  .fault = VIRTQ_FAULT_LOOP,
	  .features = MODERN,
	  .ring = { { GPA, 0, NEXT, 0 } } },
	{ .name = "address outside", .fault = VIRTQ_FAULT_OUTSIDE, .features = MODERN, .ring = { { NOWHERE, 0, 0 } } },
	{ .name = "address outside, and a status",
	  .fault = VIRTQ_FAULT_OUTSIDE,
	  .features = MODERN,
	  .tail = LAST_AT,
	  .ring = { { FINE, NEXT, 3 }, { LAST, WRITE, 0 }, { 0 }, { NOWHERE, WRITE | NEXT, 1 } } },
	{ .name = "status outside",
	  .fault = VIRTQ_FAULT_OUTSIDE,
	  .features = MODERN,
	  .ring = { { FINE, NEXT, 1 }, { FINE, WRITE | NEXT, 2 }, { NOWHERE, WRITE, 0 } } },
	{ .name = "address at the end",
	  .fault = VIRTQ_FAULT_OUTSIDE,
	  .features = MODERN,
	  .ring = { { GPA + MEMORY - 32, 64, 0, 0 } } },
	{ .name = "address wraps",
	  .fault = VIRTQ_FAULT_OUTSIDE,
	  .features = MODERN,
	  .ring = { { UINT64_MAX - 10, 64, WRITE, 0 } } },
	{ .name = "length of 4 GiB",
	  .fault = VIRTQ_FAULT_OUTSIDE,
	  .features = MODERN,
	  .ring = { { GPA, UINT32_MAX, WRITE, 0 } } },
	{ .name = "readable after writable",
	  .fault = VIRTQ_FAULT_ORDER,
	  .features = MODERN,
	  .tail = FINE_AT + 63,
	  .ring = { { FINE, NEXT | WRITE, 1 }, { FINE, 0, 0 } } },
	{ .name = "readable between writable ones",
	  .fault = VIRTQ_FAULT_ORDER,
	  .features = MODERN,
	  .tail = LAST_AT,
	  .ring = { { FINE, WRITE | NEXT, 1 }, { FINE, NEXT, 2 }, { LAST, WRITE, 0 } } },
	{ .name = "table without the feature",
	  .fault = VIRTQ_FAULT_NO_TABLES,
	  .features = MODERN,
	  .ring = { { IN_TABLE, 16, TABLE, 0 } },
	  .table = { { LAST, WRITE, 0 } } },
	{ .name = "table and next",
	  .fault = VIRTQ_FAULT_TABLE_SUCCESSOR,
	  .features = MODERN | INDIRECT,
	  .ring = { { IN_TABLE, 16, TABLE | NEXT, 1 }, { LAST, WRITE, 0 } },
	  .table = { { FINE, WRITE, 0 } } },
	{ .name = "table of no length",
	  .fault = VIRTQ_FAULT_TABLE_LENGTH,
	  .features = MODERN | INDIRECT,
	  .ring = { { IN_TABLE, 0, TABLE, 0 } } },
	{ .name = "table of odd length",
	  .fault = VIRTQ_FAULT_TABLE_LENGTH,
	  .features = MODERN | INDIRECT,
	  .ring = { { IN_TABLE, 17, TABLE, 0 } },
	  .table = { { LAST, WRITE, 0 } } },
	{ .name = "table of 1 MiB",
	  .fault = VIRTQ_FAULT_TABLE_LENGTH,
	  .features = MODERN | INDIRECT,
	  .ring = { { IN_TABLE, 1 << 20, TABLE, 0 } } },
	{ .name = "table outside",
	  .fault = VIRTQ_FAULT_TABLE_OUTSIDE,
	  .features = MODERN | INDIRECT,
	  .ring = { { 0x1000, 16, TABLE, 0 } } },
	{ .name = "table half outside",
	  .fault = VIRTQ_FAULT_TABLE_OUTSIDE,
	  .features = MODERN | INDIRECT,
	  .ring = { { GPA + MEMORY - 8, 16, TABLE, 0 } } },
	{ .name = "table in a table",
	  .fault = VIRTQ_FAULT_TABLE_NESTED,
	  .features = MODERN | INDIRECT,
	  .ring = { { IN_TABLE, 32, TABLE, 0 } },
	  .table = { { IN_TABLE, 16, TABLE, 0 } } },
	{ .name = "table in a table, and a status",
	  .fault = VIRTQ_FAULT_TABLE_NESTED,
	  .features = MODERN | INDIRECT,
	  .tail = LAST_AT,
	  .ring = { { IN_TABLE, 32, TABLE, 0 } },
	  .table = { { IN_TABLE, 16, TABLE | NEXT, 1 }, { LAST, WRITE, 0 } } },
	{ .name = "table's next outside",
	  .fault = VIRTQ_FAULT_TABLE_NEXT,
	  .features = MODERN | INDIRECT,
	  .ring = { { IN_TABLE, 32, TABLE, 0 } },
	  .table = { { LAST, WRITE | NEXT, 2 } } },
	{ .name = "loop in a table",
	  .fault = VIRTQ_FAULT_LOOP,
	  .features = MODERN | INDIRECT,
	  .ring = { { IN_TABLE, 32, TABLE, 0 } },
	  .table = { { FINE, NEXT, 1 }, { LAST, WRITE | NEXT, 1 } } },
	{ .name = "long loop of empty buffers in a table",
	  .fault = VIRTQ_FAULT_SEGMENTS,
	  .features = MODERN | INDIRECT,
	  .ring = { { IN_TABLE, 1 << 19, TABLE, 0 } },
	  .table = { { GPA, 0, NEXT, 0 } } },
	{ .name = "readable after writable in a table",
	  .fault = VIRTQ_FAULT_ORDER,
	  .features = MODERN | INDIRECT,
	  .tail = FINE_AT + 63,
	  .ring = { { FINE, NEXT, 1 }, { IN_TABLE, 32, TABLE, 0 } },
	  .table = { { FINE, WRITE | NEXT, 1 }, { FINE, 0, 0 } } },

	{ .name = "packed: address outside",
	  .fault = VIRTQ_FAULT_OUTSIDE,
	  .features = PACKED,
	  .ring = { { NOWHERE, 5, 0 } } },
	{ .name = "packed: address outside, and a status",
	  .fault = VIRTQ_FAULT_OUTSIDE,
	  .features = PACKED,
	  .tail = LAST_AT,
	  .slots = 3,
	  .ring = { { FINE, 1, NEXT }, { NOWHERE, 2, NEXT | WRITE }, { LAST, 3, WRITE } } },
	{ .name = "packed: status outside",
	  .fault = VIRTQ_FAULT_OUTSIDE,
	  .features = PACKED,
	  .slots = 2,
	  .ring = { { FINE, 1, NEXT }, { NOWHERE, 7, WRITE } } },
	{ .name = "packed: readable after writable",
	  .fault = VIRTQ_FAULT_ORDER,
	  .features = PACKED,
	  .tail = FINE_AT + 63,
	  .slots = 2,
	  .ring = { { FINE, 1, NEXT | WRITE }, { FINE, 4, 0 } } },
	{ .name = "packed: a chain of all the ring",
	  .fault = VIRTQ_FAULT_OUTSIDE,
	  .features = PACKED,
	  .tail = LAST_AT,
	  .slots = 8,
	  .ring = { { NOWHERE, 0, NEXT },
		    { 0, 0, 0, NEXT },
		    { 0, 0, 0, NEXT },
		    { 0, 0, 0, NEXT },
		    { 0, 0, 0, NEXT },
		    { 0, 0, 0, NEXT },
		    { 0, 0, 0, NEXT },
		    { LAST, 6, WRITE } } },
	{ .name = "packed: table without the feature",
	  .fault = VIRTQ_FAULT_NO_TABLES,
	  .features = PACKED,
	  .ring = { { IN_TABLE, 16, 2, TABLE } },
	  .table = { { LAST, 0, WRITE } } },
	{ .name = "packed: table and next",
	  .fault = VIRTQ_FAULT_TABLE_SUCCESSOR,
	  .features = PACKED | INDIRECT,
	  .slots = 2,
	  .ring = { { IN_TABLE, 16, 1, TABLE | NEXT }, { LAST, 6, WRITE } },
	  .table = { { FINE, 0, WRITE } } },
	{ .name = "packed: table of no length",
	  .fault = VIRTQ_FAULT_TABLE_LENGTH,
	  .features = PACKED | INDIRECT,
	  .ring = { { IN_TABLE, 0, 3, TABLE } } },
	{ .name = "packed: table of odd length",
	  .fault = VIRTQ_FAULT_TABLE_LENGTH,
	  .features = PACKED | INDIRECT,
	  .ring = { { IN_TABLE, 24, 0, TABLE } },
	  .table = { { LAST, 0, WRITE } } },
	{ .name = "packed: table outside",
	  .fault = VIRTQ_FAULT_TABLE_OUTSIDE,
	  .features = PACKED | INDIRECT,
	  .ring = { { 0, 16, 1, TABLE } } },
	{ .name = "packed: table half outside",
	  .fault = VIRTQ_FAULT_TABLE_OUTSIDE,
	  .features = PACKED | INDIRECT,
	  .ring = { { GPA + MEMORY - 16, 32, 1, TABLE } } },
	{ .name = "packed: table's buffer outside",
	  .fault = VIRTQ_FAULT_OUTSIDE,
	  .features = PACKED | INDIRECT,
	  .tail = LAST_AT,
	  .ring = { { IN_TABLE, 48, 2, TABLE } },
	  .table = { { FINE, 0, 0 }, { NOWHERE, 0, 0 }, { LAST, 0, WRITE } } },
	{ .name = "packed: readable after writable in a table",
	  .fault = VIRTQ_FAULT_ORDER,
	  .features = PACKED | INDIRECT,
	  .tail = LAST_AT,
	  .slots = 2,
	  .ring = { { FINE, 1, NEXT }, { IN_TABLE, 32, 5, TABLE } },
	  .table = { { LAST, 0, WRITE }, { FINE, 0, 0 } } },
	{ .name = "packed: table of too many",
	  .fault = VIRTQ_FAULT_SEGMENTS,
	  .features = PACKED | INDIRECT,
	  .ring = { { IN_TABLE, (VIRTQ_MAX_SEGMENTS + 1) * 16, 2, TABLE } },
	  .table = { { LAST, 0, WRITE } } },
};

/* The driver's notion of the ring, as if it had offered the element itself. */
static int bad_offer(struct frontend_queue *queue, const struct bad_element *c)
{
	struct desc *ring = frontend_at(queue->frontend, queue->desc);
	uint16_t slots = c->slots ? c->slots : 1;

	memcpy(frontend_at(queue->frontend, TABLE_AT), c->table, sizeof(c->table));
	queue->free_count -= slots;
	if (!queue->packed) {
		uint16_t *avail = frontend_at(queue->frontend, queue->driver);
		memcpy(ring, c->ring, sizeof(c->ring));
		for (unsigned i = 0; i < SIZE; i++)
			queue->next[i] = (uint16_t)(i + 1);
		queue->free_head = 1;
		queue->slots[0] = 1;
		avail[2 + queue->avail_idx % SIZE] = 0;
		avail[1] = ++queue->avail_idx;
		return 0;
	}
	uint16_t id = c->ring[slots - 1].a;
	for (unsigned i = 0; i < slots; i++) {
		ring[queue->at] = c->ring[i];
		ring[queue->at].b |= queue->wrap ? AVAIL : USED;
		queue->at = (uint16_t)((queue->at + 1) % SIZE);
		queue->wrap ^= queue->at == 0;
	}
	queue->slots[id] = slots;
	return id;
}

/* It is popped with its fault and what can be told of it, answered, and the queue goes on. */
static void bad_pop(struct test_rings *h, const struct bad_element *c)
{
	struct virtqueue *virtqueue = h->device.queues[0];
	uint8_t *tail = c->tail ? frontend_at(&h->frontend, c->tail) : NULL;
	struct virtq_element element;
	struct iovec iov[VIRTQ_MAX_SEGMENTS];
	uint32_t length, written = c->tail != 0;
	uint16_t id;

	int offered = bad_offer(h->queue, c);
	int popped = virtqueue_pop(virtqueue, &element, 1, iov, VIRTQ_MAX_SEGMENTS);
	if (popped != 1 || element.fault != c->fault || element.id != offered)
		fail_msg("%s: popped %d, id %u, fault %u: %s", c->name, popped, element.id, element.fault,
			 virtq_fault_sentence(element.fault));
	assert_int_equal(virtqueue_last_fault(virtqueue), c->fault);
	assert_int_equal(element.readable + element.readable_bytes, 0);
	if (element.writable != written || element.writable_bytes != written)
		fail_msg("%s: %u bytes are writable", c->name, element.writable_bytes);
	if (tail) {
		*tail = 0;
		*(uint8_t *)element.segments[0].iov_base = 0xab;
		assert_int_equal(*tail, 0xab);
	}
	virtqueue_push(virtqueue, &element, &written, 1);
	if (!frontend_take(h->queue, &id, &length) || id != offered || length != written)
		fail_msg("%s: not returned as it was offered", c->name);
	assert_false(virtqueue_broken(virtqueue));
}

static void test_bad_elements(void **state)
{
	for (unsigned i = 0; i < sizeof(bad_elements) / sizeof(bad_elements[0]); i++) {
		const struct bad_element *c = &bad_elements[i];
		struct test_rings h;
		test_rings_open(&h, c->features, SIZE, MEMORY);
		for (unsigned round = 0; round < 5; round++) {
			bad_pop(&h, c);
			/* So many that the next is over the ring's end, too. */
			for (unsigned good = 0; good < 1 + round; good++)
				test_device_serves(&h.device, h.queue);
		}
		assert_int_equal(h.device.notices, 0);
		test_rings_close(&h);
	}
}

/* One that is put back comes again; one within a burst takes nothing of its neighbours. */
static void bad_among_good(uint64_t features)
{
	const struct frontend_buffer good[2] = { { 0x30000, 10, false }, { 0x31000, 10, true } };
	const struct frontend_buffer bad[2] = { { 0x30000, 10, true }, { UINT64_C(1) << 40, 10, true } };
	struct test_rings h;
	struct virtq_element elements[4];
	struct iovec iov[VIRTQ_MAX_SEGMENTS];
	const uint32_t written[3] = { 10, 0, 10 };
	uint32_t length;
	uint16_t id;
	int ids[3];

	test_rings_open(&h, features, SIZE, MEMORY);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 3; i++)
			ids[i] = frontend_offer(h.queue, i == 1 ? bad : good, 2, features & INDIRECT);
		assert_int_equal(virtqueue_pop(h.device.queues[0], elements, 4, iov, VIRTQ_MAX_SEGMENTS), 3);
		virtqueue_unpop(h.device.queues[0], elements + 1, 2);
		assert_int_equal(virtqueue_pop(h.device.queues[0], elements + 1, 3, iov + 2, VIRTQ_MAX_SEGMENTS - 2),
				 2);
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(elements[i].id, ids[i]);
			assert_int_equal(elements[i].fault, i == 1 ? VIRTQ_FAULT_OUTSIDE : VIRTQ_FAULT_NONE);
			assert_int_equal(elements[i].readable_bytes, i == 1 ? 0 : 10);
		}
		virtqueue_push(h.device.queues[0], elements, written, 3);
		for (unsigned i = 0; i < 3; i++) {
			assert_true(frontend_take(h.queue, &id, &length));
			assert_int_equal(id, ids[i]);
			assert_int_equal(length, written[i]);
		}
		h.frontend.allocated = 0x40000;
	}
	test_rings_close(&h);
}

static void test_bad_among_good(void **state)
{
	bad_among_good(MODERN);
	bad_among_good(MODERN | INDIRECT);
	bad_among_good(PACKED);
	bad_among_good(PACKED | INDIRECT);
}

/* An element of more segments than fit: with little room it waits, with all room it is the guest's fault. */
static void test_too_many_segments(void **state)
{
	struct test_rings h;
	struct virtq_element element;
	struct iovec iov[VIRTQ_MAX_SEGMENTS];
	static struct frontend_buffer buffers[VIRTQ_MAX_SEGMENTS + 1];
	uint32_t written = 1;

	for (unsigned i = 0; i <= VIRTQ_MAX_SEGMENTS; i++)
		buffers[i] = (struct frontend_buffer){ 0x30000 + i, 1, true };
	for (unsigned packed = 0; packed < 2; packed++) {
		test_rings_open(&h, (packed ? PACKED : MODERN) | INDIRECT, SIZE, MEMORY);
		struct virtqueue *virtqueue = h.device.queues[0];
		frontend_offer(h.queue, buffers, VIRTQ_MAX_SEGMENTS, true);
		assert_int_equal(virtqueue_pop(virtqueue, &element, 1, iov, 100), -ENOSPC);
		assert_int_equal(virtqueue_pop(virtqueue, &element, 1, iov, VIRTQ_MAX_SEGMENTS), 1);
		assert_int_equal(element.writable, VIRTQ_MAX_SEGMENTS);
		virtqueue_push(virtqueue, &element, &written, 1);
		frontend_offer(h.queue, buffers, VIRTQ_MAX_SEGMENTS + 1, true);
		assert_int_equal(virtqueue_pop(virtqueue, &element, 1, iov, VIRTQ_MAX_SEGMENTS), 1);
		assert_int_equal(element.fault, VIRTQ_FAULT_SEGMENTS);
		virtqueue_push(virtqueue, &element, &written, 1);
		frontend_offer(h.queue, buffers, 1, true);
		assert_int_equal(virtqueue_pop(virtqueue, &element, 1, iov, VIRTQ_MAX_SEGMENTS), 1);
		assert_int_equal(element.fault, VIRTQ_FAULT_NONE);
		test_rings_close(&h);
	}
}

/* The same buffer again and again, until the sum is more than its field holds; a status behind it. */
static void test_too_many_bytes(void **state)
{
	enum { LARGE = 16 << 20, COUNT = 257 };
	struct test_rings h;
	struct virtq_element element;
	struct iovec iov[VIRTQ_MAX_SEGMENTS];
	static struct frontend_buffer buffers[COUNT];
	uint32_t written = 1;

	for (unsigned i = 0; i < COUNT; i++)
		buffers[i] = (struct frontend_buffer){ 0, LARGE, true };
	buffers[COUNT - 1] = (struct frontend_buffer){ LAST_AT, 1, true };
	for (unsigned packed = 0; packed < 2; packed++) {
		test_rings_open(&h, (packed ? PACKED : MODERN) | INDIRECT, SIZE, LARGE);
		frontend_offer(h.queue, buffers, COUNT, true);
		assert_int_equal(virtqueue_pop(h.device.queues[0], &element, 1, iov, VIRTQ_MAX_SEGMENTS), 1);
		assert_int_equal(element.fault, VIRTQ_FAULT_BYTES);
		*(uint8_t *)element.segments[0].iov_base = 0xcd;
		assert_int_equal(*(uint8_t *)frontend_at(&h.frontend, LAST_AT), 0xcd);
		virtqueue_push(h.device.queues[0], &element, &written, 1);
		frontend_take(h.queue, &(uint16_t){ 0 }, &written);
		test_device_serves(&h.device, h.queue);
		test_rings_close(&h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_elements),
		cmocka_unit_test(test_bad_among_good),
		cmocka_unit_test(test_too_many_segments),
		cmocka_unit_test(test_too_many_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
