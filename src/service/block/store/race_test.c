// SPDX-License-Identifier: BSD-3-Clause
/* What happens while a request is under way: it takes long, others write, discard, read and copy the same blocks; each
 * of the rules by which blocks are handed out again, and a random model of it all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "device/block/ram.h"
#include "service/block/store/faulty.h"
#include "service/block/store/recorder.h"
#include "service/block/store/store_priv.h"
#include "service/block/store/store_rig.h"

enum { MIB = 1 << 20, BLOCKS = 800, DEPTH = 24, MAX_RUN = 70, OPS = 6000, HISTORY = 512 };

struct waited {
	struct dpu_block_request request;
	struct iovec iov;
	bool done;
	uint8_t data[STORE_BLOCK] __attribute__((aligned(8)));
};

static void waited_done(struct dpu_block_request *request)
{
	((struct waited *)request)->done = true;
}

static void start(struct store *store, uint64_t volume, struct waited *waited, enum dpu_block_op op, uint64_t block)
{
	struct dpu_block_device *device = store_device(store, volume);

	waited->done = false;
	waited->iov = (struct iovec){ waited->data, STORE_BLOCK };
	waited->request = (struct dpu_block_request){
		.op = (uint8_t)op,
		.segments = 1,
		.offset = block * STORE_BLOCK,
		.length = STORE_BLOCK,
		.iov = &waited->iov,
		.done = waited_done,
	};
	device->ops->submit(device, &waited->request);
	rig_settle(store);
}

static void write_block(struct store *store, uint64_t volume, uint64_t block, uint64_t version)
{
	uint8_t data[STORE_BLOCK];

	rig_fill(data, version, STORE_BLOCK);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_WRITE, block * STORE_BLOCK, data, STORE_BLOCK, 0),
			 DPU_BLOCK_OK);
}

static void assert_block(struct store *store, uint64_t volume, uint64_t block, uint64_t version)
{
	uint8_t data[STORE_BLOCK], expected[STORE_BLOCK];

	rig_fill(expected, version, STORE_BLOCK);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_READ, block * STORE_BLOCK, data, STORE_BLOCK, 0),
			 DPU_BLOCK_OK);
	assert_memory_equal(data, expected, STORE_BLOCK);
}

static uint64_t place_of(struct store *store, uint64_t block)
{
	struct page_leaf *leaf;

	assert_int_equal(leaf_find(store, store->volume[0], block, &leaf), 0);
	return leaf_place(leaf, block % LEAF_BLOCKS) - 1;
}

/* Every block of the pool that may be handed out is, more than once, or writes wait because none may be; but not that
 * one. */
static void churn(struct store *store, uint64_t volume, struct waited *last, uint64_t taken)
{
	struct store_stats stats;

	store_stats(store, &stats);
	last->done = true;
	for (uint64_t i = 0; i < 2 * stats.blocks && last->done; i++) {
		rig_fill(last->data, i + 1, STORE_BLOCK);
		start(store, volume, last, i % 100 ? DPU_BLOCK_WRITE : DPU_BLOCK_FLUSH, 300 + i % 100);
		if (last->done && i % 100)
			assert_int_not_equal(place_of(store, 300 + i % 100), taken);
	}
	assert_int_equal(last->request.status, DPU_BLOCK_OK);
}

struct pool {
	struct dpu_block_device *ram;
	struct faulty *faulty;
	struct store *store;
	uint64_t volume;
};

static void pool_make(struct pool *pool)
{
	struct dpu_block_device *device;
	struct dpu_error error;

	assert_int_equal(block_ram_new("ram", 12 * MIB, 512, &pool->ram), 0);
	pool->faulty = faulty_new(pool->ram);
	device = faulty_device(pool->faulty);
	pool->store = rig_open(&(struct store_options){ .name = "p" }, &device, 1, STORE_FORMAT, &error);
	assert_non_null(pool->store);
	pool->volume = rig_create(pool->store, "a", BLOCKS * STORE_BLOCK);
}

static void pool_free(struct pool *pool)
{
	struct dpu_error error = { 0 };

	rig_settle(pool->store);
	if (store_check(pool->store, &error) < 0)
		print_error("%s\n", error.message);
	assert_int_equal(error.code, DPU_OK);
	store_free(pool->store);
	faulty_free(pool->faulty);
	pool->ram->ops->close(pool->ram, NULL, NULL);
}

/* The block that it reads was replaced long ago, but nobody may have its place. */
static void a_read_takes_long(void **state)
{
	struct faulty_plan plan = { .ops = 1 << DPU_BLOCK_READ, .fails = 1, .holds = true };
	static struct waited read, last;
	struct pool pool;
	uint8_t expected[STORE_BLOCK];

	pool_make(&pool);
	write_block(pool.store, pool.volume, 7, 77);
	uint64_t place = place_of(pool.store, 7);
	faulty_plan(pool.faulty, &plan);
	start(pool.store, pool.volume, &read, DPU_BLOCK_READ, 7);
	write_block(pool.store, pool.volume, 7, 78);
	churn(pool.store, pool.volume, &last, place);
	assert_false(read.done);
	faulty_release(pool.faulty);
	rig_settle(pool.store);
	assert_true(read.done && last.done);
	assert_int_equal(read.request.status, DPU_BLOCK_OK);
	rig_fill(expected, 77, STORE_BLOCK);
	assert_memory_equal(read.data, expected, STORE_BLOCK);
	assert_block(pool.store, pool.volume, 7, 78);
	pool_free(&pool);
}

/* What was replaced before it began is free only when it has ended: until then a power failure brings it back. */
static void a_flush_takes_long(void **state)
{
	struct faulty_plan plan = { .ops = 1 << DPU_BLOCK_FLUSH, .fails = 1, .holds = true };
	static struct waited flush, last;
	struct store_stats stats;
	struct pool pool;

	pool_make(&pool);
	write_block(pool.store, pool.volume, 7, 77);
	rig_io(pool.store, pool.volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0);
	write_block(pool.store, pool.volume, 7, 78);
	store_stats(pool.store, &stats);
	uint64_t other = rig_create(pool.store, "b", 2 * stats.blocks * STORE_BLOCK);
	write_block(pool.store, pool.volume, 7, 79);
	faulty_device(pool.faulty)->features |= DPU_BLOCK_F_FLUSH;
	faulty_plan(pool.faulty, &plan);
	start(pool.store, pool.volume, &flush, DPU_BLOCK_FLUSH, 0);
	assert_int_equal(faulty_held(pool.faulty), 1);
	last.done = true;
	for (uint64_t i = 0; i < 2 * stats.blocks && last.done; i++)
		start(pool.store, other, &last, DPU_BLOCK_WRITE, i);
	assert_false(flush.done || last.done);
	store_stats(pool.store, &stats);
	assert_true(stats.free_blocks > 0);
	faulty_release(pool.faulty);
	rig_settle(pool.store);
	assert_true(flush.done && last.done);
	assert_int_equal(last.request.status, DPU_BLOCK_OK);
	assert_block(pool.store, pool.volume, 7, 79);
	pool_free(&pool);
}

/* Its place is in no record, and must not be handed out a second time. */
static void a_write_takes_long(void **state)
{
	struct faulty_plan plan = { .ops = 1 << DPU_BLOCK_WRITE, .fails = 1, .holds = true };
	static struct waited write, last;
	struct pool pool;

	pool_make(&pool);
	write_block(pool.store, pool.volume, 7, 77);
	faulty_plan(pool.faulty, &plan);
	rig_fill(write.data, 99, STORE_BLOCK);
	start(pool.store, pool.volume, &write, DPU_BLOCK_WRITE, 7);
	uint64_t place = UINT64_MAX;
	for (unsigned i = 0; i < STORE_IOS; i++)
		if (pool.store->io[i].placed)
			place = (uint64_t)pool.store->io[i].target;
	assert_int_not_equal(place, UINT64_MAX);
	churn(pool.store, pool.volume, &last, place);
	assert_false(write.done);
	faulty_release(pool.faulty);
	rig_settle(pool.store);
	assert_true(write.done && last.done);
	assert_int_equal(write.request.status, DPU_BLOCK_OK);
	assert_block(pool.store, pool.volume, 7, 99);
	for (unsigned i = 0; i < 100; i++) {
		uint8_t data[STORE_BLOCK];
		assert_int_equal(
			rig_io(pool.store, pool.volume, DPU_BLOCK_READ, (300 + i) * STORE_BLOCK, data, STORE_BLOCK, 0),
			DPU_BLOCK_OK);
	}
	pool_free(&pool);
}

/* A leaf was not empty when the log was written; in recovery it is, for a moment, because a block was lost. */
static void a_leaf_is_empty_only_in_recovery(void **state)
{
	struct pool pool;
	struct page_leaf *leaf;
	struct dpu_error error = { 0 };
	uint64_t offset;

	pool_make(&pool);
	write_block(pool.store, pool.volume, 1, 11);
	assert_int_equal(rig_io(pool.store, pool.volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0), DPU_BLOCK_OK);
	write_block(pool.store, pool.volume, 2, 22);
	assert_int_equal(leaf_find(pool.store, pool.store->volume[0], 2, &leaf), 0);
	medium_of_place(pool.store, leaf_place(leaf, 2) - 1, &offset);
	rig_io(pool.store, pool.volume, DPU_BLOCK_DISCARD, STORE_BLOCK, NULL, STORE_BLOCK, 0);
	write_block(pool.store, pool.volume, 3, 33);
	log_seal(pool.store);
	rig_settle(pool.store);
	store_free(pool.store);
	memset((uint8_t *)block_ram_data(pool.ram) + offset, 0, STORE_BLOCK);
	struct dpu_block_device *device = faulty_device(pool.faulty);
	pool.store = rig_open(&(struct store_options){ .name = "p" }, &device, 1, STORE_OPEN, &error);
	assert_non_null(pool.store);
	assert_block(pool.store, pool.volume, 1, 0);
	assert_block(pool.store, pool.volume, 2, 0);
	assert_block(pool.store, pool.volume, 3, 33);
	pool_free(&pool);
}

/* ---- a random model ---- */

/* What was written to a block, in any order of what was under way together. */
struct written {
	uint32_t version;
	bool gone;           /* it was cancelled: a part of it, or nothing, may be there */
	uint64_t begin, end; /* 0: not yet */
};

struct history {
	struct written written[HISTORY];
	unsigned count;
};

struct op {
	struct dpu_block_request request;
	struct iovec iov[3];
	struct model *model;
	bool busy, cancelled;
	unsigned volume, first, count;
	uint64_t begin;
	uint32_t version;
	uint8_t data[MAX_RUN * STORE_BLOCK] __attribute__((aligned(8)));
};

struct model {
	struct recorder_clock clock;
	struct store *store;
	uint64_t volume[2];
	struct history history[2][BLOCKS];
	struct op op[DEPTH];
	uint64_t seed;
	uint32_t version;
	unsigned reads, checked, gone;
};

/* A read that began at `begin` and ends now may find it, unless another write came wholly between the two. */
static bool may_find(const struct history *history, const struct written *found, uint64_t begin)
{
	for (unsigned i = 0; i < history->count; i++) {
		const struct written *other = &history->written[i];
		if (!other->gone && other->end && other->end < begin && found->end && other->begin > found->end)
			return false;
	}
	return true;
}

static bool is_version(const uint8_t *data, uint32_t version)
{
	uint8_t expected[STORE_BLOCK];

	rig_fill(expected, version, STORE_BLOCK);
	return memcmp(data, expected, STORE_BLOCK) == 0;
}

static void check_block(const struct history *history, const uint8_t *data, uint64_t begin)
{
	for (unsigned i = history->count; i-- > 0;)
		if (is_version(data, history->written[i].version) && may_find(history, &history->written[i], begin))
			return;
	fail_msg("a block has what it cannot have");
}

static void op_done(struct dpu_block_request *request)
{
	struct op *op = (struct op *)request;
	struct model *model = op->model;
	uint64_t now = ++model->clock.now;

	bool gone = request->status == DPU_BLOCK_GONE;

	assert_true(op->busy);
	op->busy = false;
	assert_true(request->status == DPU_BLOCK_OK || (gone && op->cancelled));
	model->gone += gone;
	for (unsigned i = 0; i < op->count; i++) {
		struct history *history = &model->history[op->volume][op->first + i];
		if (request->op == DPU_BLOCK_READ && !gone)
			check_block(history, op->data + (size_t)i * STORE_BLOCK, op->begin);
		for (unsigned j = 0; request->op != DPU_BLOCK_READ && j < history->count; j++)
			if (history->written[j].version == op->version && history->written[j].begin == op->begin) {
				history->written[j].end = now;
				history->written[j].gone = gone;
			}
	}
	model->reads += request->op == DPU_BLOCK_READ;
}

/* Those that nobody can find any more: another one came wholly between them and all that is under way. */
static void forget(const struct model *model, struct history *history)
{
	struct written *written = history->written;
	uint64_t oldest = UINT64_MAX, newest = 0;
	unsigned kept = 0;

	for (unsigned i = 0; i < DEPTH; i++)
		if (model->op[i].busy && model->op[i].begin < oldest)
			oldest = model->op[i].begin;
	for (unsigned i = 0; i < history->count; i++)
		if (!written[i].gone && written[i].end && written[i].end < oldest && written[i].begin > newest)
			newest = written[i].begin;
	for (unsigned i = 0; i < history->count; i++)
		if (!written[i].end || written[i].end >= newest)
			written[kept++] = written[i];
	history->count = kept;
}

static void op_start(struct model *model, struct op *op)
{
	unsigned kind = (unsigned)random_below(&model->seed, 10);
	enum dpu_block_op what = kind < 5 ? DPU_BLOCK_WRITE : kind < 9 ? DPU_BLOCK_READ : DPU_BLOCK_DISCARD;

	op->model = model;
	op->busy = true;
	op->cancelled = false;
	op->volume = (unsigned)random_below(&model->seed, 2);
	op->count = 1 + (unsigned)random_below(&model->seed, MAX_RUN);
	op->first = (unsigned)random_below(&model->seed, kind % 2 ? BLOCKS - op->count : 100);
	op->begin = ++model->clock.now;
	op->version = what == DPU_BLOCK_WRITE ? ++model->version : 0;
	uint64_t bytes = (uint64_t)op->count * STORE_BLOCK, cut = random_below(&model->seed, bytes / 512) * 512;
	for (unsigned i = 0; what != DPU_BLOCK_READ && i < op->count; i++) {
		struct history *history = &model->history[op->volume][op->first + i];
		if (history->count > HISTORY / 2)
			forget(model, history);
		assert_true(history->count < HISTORY);
		history->written[history->count++] = (struct written){ .version = op->version, .begin = op->begin };
		rig_fill(op->data + (size_t)i * STORE_BLOCK, op->version, STORE_BLOCK);
	}
	op->iov[0] = (struct iovec){ op->data, cut };
	op->iov[1] = (struct iovec){ op->data + cut, bytes - cut };
	op->request = (struct dpu_block_request){
		.op = (uint8_t)what,
		.flags = kind == 0 ? DPU_BLOCK_FUA : 0,
		.segments = what == DPU_BLOCK_DISCARD ? 0 : 2,
		.offset = (uint64_t)op->first * STORE_BLOCK,
		.length = bytes,
		.iov = op->iov,
		.done = op_done,
	};
	struct dpu_block_device *device = store_device(model->store, model->volume[op->volume]);
	device->ops->submit(device, &op->request);
}

/* One or all: twice, too. */
static void cancel(struct model *model)
{
	struct dpu_block_device *device = store_device(model->store, model->volume[0]);
	uint64_t which = random_below(&model->seed, 2 * DEPTH);

	for (unsigned i = 0; i < DEPTH; i++) {
		struct op *op = &model->op[i];
		if (!op->busy || (which < DEPTH && which != i))
			continue;
		op->cancelled = true;
		device->ops->cancel(device, &op->request);
	}
}

static bool any_busy(const struct model *model)
{
	for (unsigned i = 0; i < DEPTH; i++)
		if (model->op[i].busy)
			return true;
	return false;
}

static void quiesce(struct model *model)
{
	while (any_busy(model))
		store_poll(model->store);
}

/* With all at rest: each block is one thing, and a copy has just that, whatever comes later. */
static uint64_t copy_checked(struct model *model, uint8_t *data)
{
	char name[16];

	snprintf(name, sizeof(name), "s%u", ++model->checked);
	uint64_t copy = rig_copy(model->store, STORE_SNAPSHOT, model->volume[0], name);
	assert_int_equal(rig_io(model->store, copy, DPU_BLOCK_READ, 0, data, BLOCKS * STORE_BLOCK, 0), DPU_BLOCK_OK);
	for (unsigned i = 0; i < BLOCKS; i++)
		check_block(&model->history[0][i], data + (size_t)i * STORE_BLOCK, model->clock.now);
	return copy;
}

static void assert_same(struct model *model, uint64_t copy, const uint8_t *data)
{
	uint8_t *now = malloc(BLOCKS * STORE_BLOCK);

	assert_int_equal(rig_io(model->store, copy, DPU_BLOCK_READ, 0, now, BLOCKS * STORE_BLOCK, 0), DPU_BLOCK_OK);
	assert_memory_equal(now, data, BLOCKS * STORE_BLOCK);
	free(now);
}

/* Nothing counts as damage or as a failure of the medium, and when the volumes are deleted all of the pool is free,
 * also as the next process finds it. */
static void assert_nothing_lost(struct model *model, struct dpu_block_device *medium)
{
	struct store_volume_info info;
	struct store_stats stats;
	struct dpu_error error;

	store_stats(model->store, &stats);
	assert_int_equal(stats.medium_errors, 0);
	assert_int_equal(stats.integrity_errors, 0);
	assert_false(stats.failed);
	while (store_next(model->store, 0, &info)) {
		struct store_command delete = { .op = STORE_DELETE, .volume = info.id };
		assert_int_equal(rig_command(model->store, &delete), DPU_OK);
		rig_settle(model->store);
	}
	struct store_command close = { .op = STORE_CLOSE };
	assert_int_equal(rig_command(model->store, &close), DPU_OK);
	store_free(model->store);
	model->store = rig_open(&(struct store_options){ .name = "p" }, &medium, 1, STORE_OPEN, &error);
	assert_non_null(model->store);
	store_stats(model->store, &stats);
	assert_int_equal(stats.free_blocks, stats.blocks);
	store_free(model->store);
}

/* Requests of many blocks, across leaves, over each other, and copies in between. */
static void overlap(bool cancels)
{
	struct model *model = calloc(1, sizeof(*model));
	uint8_t *data = malloc(BLOCKS * STORE_BLOCK);
	struct dpu_error error = { 0 };
	const char *seed = getenv("STORE_RACE_SEED");

	model->seed = model->clock.seed = seed ? strtoull(seed, NULL, 0) : 5;
	struct recorder *medium = recorder_new(24 * MIB, NULL, &model->clock);
	struct dpu_block_device *device = recorder_device(medium);
	recorder_forget(medium);
	model->store = rig_open(&(struct store_options){ .name = "p" }, &device, 1, STORE_FORMAT, &error);
	assert_non_null(model->store);
	for (unsigned i = 0; i < 2; i++)
		model->volume[i] = rig_create(model->store, i ? "b" : "a", BLOCKS * STORE_BLOCK);
	for (unsigned i = 0; i < 2 * BLOCKS; i++) /* zeroes */
		model->history[i / BLOCKS][i % BLOCKS] = (struct history){ .written = { { 0, 1, 1 } }, .count = 1 };
	uint64_t copy = 0;
	for (unsigned done = 0; done < OPS;) {
		struct op *op = &model->op[random_below(&model->seed, DEPTH)];
		if (!op->busy && random_below(&model->seed, 4) == 0) {
			op_start(model, op);
			if (++done % 500 == 0) {
				quiesce(model);
				if (copy) {
					struct store_command delete = { .op = STORE_DELETE, .volume = copy };
					assert_same(model, copy, data);
					assert_int_equal(rig_command(model->store, &delete), DPU_OK);
				}
				copy = copy_checked(model, data);
			}
		}
		if (cancels && random_below(&model->seed, 16) == 0)
			cancel(model);
		store_poll(model->store);
	}
	quiesce(model);
	assert_same(model, copy, data);
	rig_settle(model->store);
	assert_int_equal(store_check(model->store, &error), 0);
	assert_true(model->reads > OPS / 4 && model->checked == OPS / 500);
	assert_true(cancels ? model->gone > OPS / 20 && recorder_cancelled(medium) > OPS / 20 : model->gone == 0);
	assert_nothing_lost(model, device);
	recorder_free(medium);
	free(data);
	free(model);
}

static void requests_overlap(void **state)
{
	overlap(false);
}

static void requests_overlap_and_are_cancelled(void **state)
{
	overlap(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_read_takes_long),  cmocka_unit_test(a_flush_takes_long),
		cmocka_unit_test(a_write_takes_long), cmocka_unit_test(a_leaf_is_empty_only_in_recovery),
		cmocka_unit_test(requests_overlap),   cmocka_unit_test(requests_overlap_and_are_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
