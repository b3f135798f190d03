// SPDX-License-Identifier: BSD-3-Clause
/* The filter over a device that checks what it is given, at once and again when it completes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "device/block/block_queue.h"
#include "engine/crc32c/crc32c.h"
#include "service/block/ingress/ingress.h"

enum { DEVICE_BYTES = 32 << 20 };

struct below {
	struct dpu_block_device device; /* first */
	struct block_queue waiting;
	uint8_t *data;
	unsigned with_crc, without_crc, submitted;
	const void *last_base;
	const struct dpu_block_request *cancelled;
	unsigned cancels;
};

static void crcs_check(const struct dpu_block_request *request)
{
	if (!(request->flags & DPU_BLOCK_CRC))
		return;
	for (uint64_t at = 0; at < request->length; at += DPU_BLOCK_BYTES)
		assert_int_equal(request->crc[at / DPU_BLOCK_BYTES], crc32c_iov(0, request->iov, at, DPU_BLOCK_BYTES));
}

static void below_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct below *below = (struct below *)device;

	assert_int_equal(dpu_block_check(device, request), DPU_BLOCK_OK);
	crcs_check(request);
	below->submitted++;
	below->last_base = request->segments ? request->iov->iov_base : NULL;
	*(request->flags & DPU_BLOCK_CRC ? &below->with_crc : &below->without_crc) += 1;
	block_queue_add(&below->waiting, request);
}

/* Completes one: what the medium gets is what it finds now. */
static bool below_complete(struct below *below)
{
	struct dpu_block_request *request = block_queue_take(&below->waiting);
	uint64_t at;

	if (!request)
		return false;
	crcs_check(request);
	at = request->offset;
	for (unsigned i = 0; i < request->segments; i++) {
		const struct iovec *iov = &request->iov[i];
		if (request->op == DPU_BLOCK_WRITE)
			memcpy(below->data + at, iov->iov_base, iov->iov_len);
		else
			memcpy(iov->iov_base, below->data + at, iov->iov_len);
		at += iov->iov_len;
	}
	dpu_block_complete(request, DPU_BLOCK_OK);
	return true;
}

static void below_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct below *below = (struct below *)device;

	below->cancelled = request;
	below->cancels++;
}

static const struct dpu_block_ops below_ops = { .submit = below_submit, .cancel = below_cancel };

struct world {
	struct below below;
	struct ingress_arena *arena;
	struct ingress_account *account;
	struct dpu_block_device *device;
	bool closed;
};

static void set(void *arg)
{
	*(bool *)arg = true;
}

static void world_new(struct world *world, uint32_t features, uint64_t limit)
{
	memset(world, 0, sizeof(*world));
	block_queue_init(&world->below.waiting);
	world->below.data = calloc(1, DEVICE_BYTES);
	world->below.device = (struct dpu_block_device){ .ops = &below_ops,
							 .name = "below",
							 .bytes = DEVICE_BYTES,
							 .sector = 512,
							 .features = features,
							 .max_bytes = DPU_BLOCK_MAX_BYTES,
							 .alignment = 1 };
	assert_int_equal(ingress_arena_new(INGRESS_MIN_ARENA_BYTES, &world->arena), 0);
	assert_int_equal(ingress_account_new(world->arena, limit, &world->account), 0);
	assert_int_equal(ingress_new(&world->below.device, world->account, &world->device), 0);
	ingress_start(world->device);
}

static void world_free(struct world *world)
{
	world->device->ops->close(world->device, set, &world->closed);
	assert_true(world->closed);
	assert_int_equal(ingress_account_stats(world->account)->used_bytes, 0);
	assert_null(world->below.device.changed);
	ingress_account_free(world->account);
	ingress_arena_free(world->arena);
	free(world->below.data);
}

struct io {
	struct dpu_block_request request;
	struct iovec iov[3];
	uint8_t *data;
	bool done;
	uint8_t status; /* that it must end with */
};

static unsigned order;

static void io_done(struct dpu_block_request *request)
{
	struct io *io = (struct io *)request;

	assert_false(io->done);
	io->done = true;
	assert_int_equal(request->status, io->status);
	request->tag = ++order;
}

/* In three segments of odd sizes. */
static void io_start(struct world *world, struct io *io, enum dpu_block_op op, uint64_t offset, uint64_t length)
{
	uint64_t first = length / 3, second = length / 7;

	io->data = io->data ? io->data : malloc(length);
	io->iov[0] = (struct iovec){ io->data, first };
	io->iov[1] = (struct iovec){ io->data + first, second };
	io->iov[2] = (struct iovec){ io->data + first + second, length - first - second };
	io->done = false;
	io->request = (struct dpu_block_request){
		.op = (uint8_t)op, .segments = 3, .offset = offset, .length = length, .iov = io->iov, .done = io_done
	};
	world->device->ops->submit(world->device, &io->request);
}

static void fill(uint8_t *data, uint64_t length, unsigned seed)
{
	for (uint64_t i = 0; i < length; i++)
		data[i] = (uint8_t)(i * 31 + seed + (i >> 12));
}

static void test_guest_changes_its_buffer(void **state)
{
	static const uint64_t lengths[] = { 4096, 16384, 20480, 65536, 69632, 1 << 20, 16 << 20 };
	struct world world;

	world_new(&world, DPU_BLOCK_F_CRC, 64 << 20);
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct io io = { .data = malloc(lengths[i]) };
		uint8_t *before = malloc(lengths[i]);
		fill(io.data, lengths[i], i);
		memcpy(before, io.data, lengths[i]);
		io_start(&world, &io, DPU_BLOCK_WRITE, 8192, lengths[i]);
		fill(io.data, lengths[i], i + 100); /* while it is under way */
		assert_false(io.done);
		assert_true(below_complete(&world.below));
		assert_true(io.done);
		assert_memory_equal(world.below.data + 8192, before, lengths[i]);
		free(io.data);
		free(before);
	}
	assert_int_equal(world.below.with_crc, 7);
	world_free(&world);
}

static void test_parts_of_blocks_have_no_crc(void **state)
{
	struct world world;
	struct io io = { 0 };

	world_new(&world, DPU_BLOCK_F_CRC, 64 << 20);
	io_start(&world, &io, DPU_BLOCK_WRITE, 512, 4096);
	assert_int_equal(world.below.without_crc, 1);
	assert_ptr_not_equal(world.below.last_base, io.data); /* copied nevertheless: it is looked at twice */
	assert_true(below_complete(&world.below));
	io_start(&world, &io, DPU_BLOCK_COMPARE, 4096, 4096);
	assert_int_equal(world.below.with_crc, 1);
	assert_true(below_complete(&world.below));
	free(io.data);
	world_free(&world);
}

static void test_passes(void **state)
{
	struct world world;
	struct io io = { 0 };

	world_new(&world, DPU_BLOCK_F_CRC, 64 << 20);
	io_start(&world, &io, DPU_BLOCK_READ, 0, 8192);
	assert_ptr_equal(world.below.last_base, io.data);
	assert_int_equal(ingress_account_stats(world.account)->used_bytes, 0);
	assert_true(below_complete(&world.below));
	world_free(&world);
	free(io.data);
	world_new(&world, 0, 64 << 20); /* nobody looks twice */
	io.data = NULL;
	io_start(&world, &io, DPU_BLOCK_WRITE, 0, 8192);
	assert_ptr_equal(world.below.last_base, io.data);
	assert_true(below_complete(&world.below));
	free(io.data);
	world_free(&world);
}

/* Everything waits in line for its tenant's account; another tenant is not held up. */
static void test_shortage_queues(void **state)
{
	enum { COUNT = 40, LENGTH = 64 << 10 };
	static struct io ios[COUNT];
	struct ingress_account *other;
	struct dpu_block_device *second;
	struct world world;
	struct io io = { 0 };
	bool closed = false;

	world_new(&world, DPU_BLOCK_F_CRC, 4 * LENGTH);
	assert_int_equal(ingress_account_new(world.arena, 64 << 20, &other), 0);
	assert_int_equal(ingress_new(&world.below.device, other, &second), 0);
	order = 0;
	for (unsigned i = 0; i < COUNT; i++) {
		ios[i].data = malloc(LENGTH);
		memset(ios[i].data, (int)i + 1, LENGTH);
		io_start(&world, &ios[i], DPU_BLOCK_WRITE, (uint64_t)i * LENGTH, LENGTH);
	}
	assert_int_equal(world.below.submitted, 4);
	assert_int_equal(ingress_account_stats(world.account)->waited, COUNT - 4);
	world.device->ops->close(world.device, set, &closed);
	assert_false(closed); /* not before all are done */

	struct dpu_block_device *mine = world.device;
	world.device = second;
	io_start(&world, &io, DPU_BLOCK_WRITE, DEVICE_BYTES - 4096, 4096);
	assert_int_equal(world.below.submitted, 5);
	world.device = mine;
	while (below_complete(&world.below))
		;
	for (unsigned i = 0; i < COUNT; i++) {
		assert_true(ios[i].done);
		assert_int_equal(ios[i].request.tag, i < 4 ? i + 1 : i + 2); /* in order, but for the other's */
		assert_int_equal(world.below.data[(uint64_t)i * LENGTH], i + 1);
		free(ios[i].data);
	}
	assert_true(closed && io.done);
	assert_int_equal(ingress_account_stats(world.account)->most_bytes, 4 * LENGTH);
	free(io.data);
	world.device = second;
	world_free(&world);
	ingress_account_free(other);
}

/* A request that is larger than the whole account goes alone. */
static void test_larger_than_the_account(void **state)
{
	struct world world;
	struct io large = { 0 }, small = { 0 };

	world_new(&world, DPU_BLOCK_F_CRC, 64 << 10);
	io_start(&world, &small, DPU_BLOCK_WRITE, 0, 4096);
	io_start(&world, &large, DPU_BLOCK_WRITE, 0, 8 << 20);
	assert_int_equal(world.below.submitted, 1);
	assert_true(below_complete(&world.below));
	assert_int_equal(world.below.submitted, 2);
	assert_true(below_complete(&world.below));
	assert_true(small.done && large.done);
	free(small.data);
	free(large.data);
	world_free(&world);
}

/* The arena itself is full, of small and of large requests. */
static void test_full_arena(void **state)
{
	enum { SMALL = 4000 };
	static struct io small[SMALL];
	struct io large[3] = { 0 };
	struct world world;

	world_new(&world, DPU_BLOCK_F_CRC, UINT64_MAX / 2);
	for (unsigned i = 0; i < SMALL; i++)
		io_start(&world, &small[i], DPU_BLOCK_WRITE, (uint64_t)i * 4096, 4096);
	assert_int_equal(world.below.submitted, INGRESS_MIN_ARENA_BYTES / 4 / 4096);
	while (below_complete(&world.below))
		;
	world.below.submitted = 0;
	for (unsigned i = 0; i < 3; i++)
		io_start(&world, &large[i], DPU_BLOCK_WRITE, 0, 16 << 20);
	assert_int_equal(world.below.submitted, 1);
	while (below_complete(&world.below))
		;
	for (unsigned i = 0; i < SMALL; i++) {
		assert_true(small[i].done);
		free(small[i].data);
		small[i].data = NULL;
	}
	for (unsigned i = 0; i < 3; i++) {
		assert_true(large[i].done);
		free(large[i].data);
	}
	world_free(&world);
}

static void count_one(void *ctx)
{
	++*(unsigned *)ctx;
}

static void test_resize(void **state)
{
	struct world world;
	unsigned changes = 0;

	world_new(&world, DPU_BLOCK_F_CRC, 64 << 20);
	world.device->changed_ctx = &changes;
	world.device->changed = count_one;
	world.below.device.bytes /= 2;
	world.below.device.changed(world.below.device.changed_ctx);
	assert_int_equal(changes, 1);
	assert_int_equal(world.device->bytes, DEVICE_BYTES / 2);
	world_free(&world);
}

static void cancel(struct world *world, struct io *io)
{
	world->device->ops->cancel(world->device, &io->request);
}

/* What is below is cancelled there, as the request that is below; what waits for room ends when the device is polled.
 */
static void test_cancel(void **state)
{
	struct world world;
	struct io write = { 0 }, read = { 0 }, waits = { .status = DPU_BLOCK_GONE }, behind = { 0 };

	world_new(&world, DPU_BLOCK_F_CRC, 8192);
	io_start(&world, &write, DPU_BLOCK_WRITE, 0, 8192);
	io_start(&world, &read, DPU_BLOCK_READ, 0, 8192);
	io_start(&world, &waits, DPU_BLOCK_WRITE, 8192, 8192);
	io_start(&world, &behind, DPU_BLOCK_WRITE, 16384, 8192);
	cancel(&world, &read);
	assert_ptr_equal(world.below.cancelled, &read.request);
	cancel(&world, &write);
	assert_ptr_equal(world.below.cancelled, world.below.waiting.first);
	assert_null(world.device->ops->poll);
	cancel(&world, &waits);
	cancel(&world, &waits);
	assert_false(waits.done);
	assert_int_equal(world.device->ops->poll(world.device), 1);
	assert_true(waits.done && !write.done && !read.done && !behind.done);
	assert_null(world.device->ops->poll);
	while (below_complete(&world.below))
		;
	assert_true(write.done && read.done && behind.done);
	assert_int_equal(world.below.cancels, 2);
	free(write.data);
	free(read.data);
	free(waits.data);
	free(behind.data);
	world_free(&world);
}

/* Its turn comes before anybody polls. */
static void test_cancel_and_turn(void **state)
{
	struct world world;
	struct io write = { 0 }, waits = { 0 };

	world_new(&world, DPU_BLOCK_F_CRC, 8192);
	io_start(&world, &write, DPU_BLOCK_WRITE, 0, 8192);
	io_start(&world, &waits, DPU_BLOCK_WRITE, 8192, 8192);
	cancel(&world, &waits);
	assert_true(below_complete(&world.below));
	assert_ptr_equal(world.below.cancelled, world.below.waiting.first);
	assert_int_equal(world.device->ops->poll(world.device), 0);
	assert_true(below_complete(&world.below));
	assert_true(write.done && waits.done);
	free(write.data);
	free(waits.data);
	world_free(&world);
}

static void test_sizes(void **state)
{
	struct ingress_arena *arena;

	assert_int_equal(ingress_arena_new(INGRESS_MIN_ARENA_BYTES - 1, &arena), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guest_changes_its_buffer),
		cmocka_unit_test(test_parts_of_blocks_have_no_crc),
		cmocka_unit_test(test_passes),
		cmocka_unit_test(test_shortage_queues),
		cmocka_unit_test(test_larger_than_the_account),
		cmocka_unit_test(test_full_arena),
		cmocka_unit_test(test_resize),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_cancel_and_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
