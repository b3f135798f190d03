// SPDX-License-Identifier: BSD-3-Clause
/* Requests that are cancelled while a medium is away: they end, in whatever they wait; what the store needs for itself
 * stays at the medium; and when that is back, nothing was lost and nothing is damaged. */
#include <stdlib.h>
#include <string.h>
#include "device/block/ram.h"
#include "service/block/store/faulty.h"
#include "service/block/store/store_assert.h"
#include "service/block/store/store_priv.h"

enum { LEAVES = 40, CACHED = 10, MANY = 2 * STORE_IOS, OLD = 1, NEW = 1000000, SECTOR = DPU_BLOCK_SECTOR };
#define ALL_OPS ((1u << DPU_BLOCK_OPS) - 1)

struct waited {
	struct dpu_block_request request;
	struct iovec iov;
	unsigned ended;
	uint8_t data[STORE_BLOCK] __attribute__((aligned(8)));
};

struct world {
	struct dpu_block_device *ram;
	struct faulty *faulty;
	struct store *store;
	struct dpu_block_device *device;
	uint64_t volume, free;
	struct waited *waited;
	unsigned count;
};

/* The first blocks of each leaf are written; a few of the leaves are in memory. */
static void world_new(struct world *world)
{
	struct store *store;

	memset(world, 0, sizeof(*world));
	world->ram = ram_new(64 * MIB);
	world->ram->features |= DPU_BLOCK_F_FLUSH;
	store = pool_made(world->ram);
	world->free = free_blocks(store);
	world->volume = rig_create(store, "a", LEAVES * MIB);
	for (unsigned i = 0; i < LEAVES; i++)
		write_blocks(store, world->volume, i * LEAF_BLOCKS, 16, OLD + i * LEAF_BLOCKS);
	world->faulty = faulty_new(world->ram);
	world->store = pool_reopened(store, faulty_device(world->faulty));
	world->device = store_device(world->store, world->volume);
	for (unsigned i = 0; i < CACHED; i++)
		assert_blocks(world->store, world->volume, i * LEAF_BLOCKS, 16, OLD + i * LEAF_BLOCKS);
	world->waited = aligned_alloc(8, MANY * sizeof(*world->waited));
	assert_non_null(world->waited);
}

static void on_done(struct dpu_block_request *request)
{
	((struct waited *)request)->ended++;
}

static struct waited *start(struct world *world, enum dpu_block_op op, uint64_t block, unsigned bytes, unsigned flags)
{
	struct waited *waited = &world->waited[world->count++];
	bool data = op == DPU_BLOCK_READ || op == DPU_BLOCK_WRITE || op == DPU_BLOCK_COMPARE;

	assert_true(world->count <= MANY);
	waited->ended = 0;
	waited->iov = (struct iovec){ waited->data, bytes };
	waited->request = (struct dpu_block_request){ .op = (uint8_t)op,
						      .flags = (uint8_t)flags,
						      .segments = data,
						      .offset = block * STORE_BLOCK,
						      .length = bytes,
						      .iov = &waited->iov,
						      .done = on_done };
	rig_fill(waited->data, op == DPU_BLOCK_WRITE ? NEW + block : OLD + block, STORE_BLOCK);
	world->device->ops->submit(world->device, &waited->request);
	return waited;
}

static void cancel_all(struct world *world)
{
	for (unsigned i = 0; i < world->count; i++)
		if (!world->waited[i].ended)
			world->device->ops->cancel(world->device, &world->waited[i].request);
}

static void hold(struct world *world, unsigned ops, uint64_t skip, bool deaf)
{
	faulty_plan(world->faulty,
		    &(struct faulty_plan){ .ops = ops, .skip = skip, .fails = 1 << 30, .holds = true, .deaf = deaf });
}

static void all_end(const struct world *world)
{
	for (unsigned i = 0; i < world->count; i++) {
		const struct waited *waited = &world->waited[i];

		assert_int_equal(waited->ended, 1);
		assert_true(waited->request.status == DPU_BLOCK_OK || waited->request.status == DPU_BLOCK_GONE);
	}
}

/* Of each sector of what was written, the new or the old: what was acknowledged the new, and none of the rest. */
static void check_block(struct world *world, const struct waited *waited)
{
	uint64_t block = waited->request.offset / STORE_BLOCK;
	bool writes = waited->request.op == DPU_BLOCK_WRITE;
	uint8_t data[STORE_BLOCK], old[STORE_BLOCK], new[STORE_BLOCK];

	rig_fill(old, OLD + block, STORE_BLOCK);
	rig_fill(new, NEW + block, STORE_BLOCK);
	if (waited->request.op == DPU_BLOCK_DISCARD || waited->request.op == DPU_BLOCK_WRITE_ZEROES)
		memset(new, 0, STORE_BLOCK);
	memcpy(new + waited->request.length, old + waited->request.length, STORE_BLOCK - waited->request.length);
	assert_int_equal(rig_io(world->store, world->volume, DPU_BLOCK_READ, block * STORE_BLOCK, data, STORE_BLOCK, 0),
			 DPU_BLOCK_OK);
	if (memcmp(data, new, STORE_BLOCK) == 0)
		return;
	assert_memory_equal(data, old, STORE_BLOCK);
	assert_true(!writes || waited->request.status != DPU_BLOCK_OK);
}

/* The medium is back. */
static void world_check_and_free(struct world *world)
{
	struct store_stats stats;

	faulty_plan(world->faulty, NULL);
	faulty_release(world->faulty);
	rig_settle(world->store);
	for (unsigned i = 0; i < world->count; i++)
		if (world->waited[i].request.op != DPU_BLOCK_FLUSH)
			check_block(world, &world->waited[i]);
	store_stats(world->store, &stats);
	assert_int_equal(stats.medium_errors + stats.integrity_errors, 0);
	assert_false(stats.failed);
	assert_counted(world->store);
	world->store = pool_reopened(world->store, faulty_device(world->faulty));
	for (unsigned i = 0; i < world->count; i++)
		if (world->waited[i].request.op != DPU_BLOCK_FLUSH)
			check_block(world, &world->waited[i]);
	assert_int_equal(pool_run(world->store, STORE_DELETE, world->volume, 0), DPU_OK);
	world->store = pool_reopened(world->store, faulty_device(world->faulty));
	assert_int_equal(free_blocks(world->store), world->free);
	pool_finish(world->store, world->ram);
	faulty_free(world->faulty);
	free(world->waited);
}

/* ---- tests ---- */

/* For the medium, for a page, for a piece, for their turn. */
static void what_waits_ends(void **state)
{
	struct world world;

	world_new(&world);
	hold(&world, ALL_OPS, 0, false);
	for (unsigned i = 0; i < LEAVES; i++)
		start(&world, (enum dpu_block_op)(i % DPU_BLOCK_OPS),
		      i % DPU_BLOCK_OPS == DPU_BLOCK_FLUSH ? 0 : i * LEAF_BLOCKS,
		      i % DPU_BLOCK_OPS == DPU_BLOCK_FLUSH ? 0 : STORE_BLOCK, 0);
	for (unsigned i = 0; i < LEAVES; i++)
		start(&world, i % 2 ? DPU_BLOCK_WRITE : DPU_BLOCK_READ, i * LEAF_BLOCKS + 1, SECTOR * (1 + i % 7), 0);
	rig_settle(world.store);
	while (world.count < MANY)
		start(&world, world.count % 2 ? DPU_BLOCK_WRITE : DPU_BLOCK_READ, world.count % 8 + 2, STORE_BLOCK,
		      DPU_BLOCK_FUA);
	rig_settle(world.store);
	assert_non_null(world.store->incoming.first);
	assert_non_null(world.store->waiting_io);
	unsigned held = faulty_held(world.faulty);
	cancel_all(&world);
	for (unsigned i = 0; i < world.count; i++)
		assert_true(world.waited[i].ended == 0 || world.waited[i].request.status == DPU_BLOCK_OK);
	rig_settle(world.store);
	all_end(&world);
	assert_true(faulty_held(world.faulty) > 0 && faulty_held(world.faulty) < held); /* pages */
	world.count -= MANY - 2 * LEAVES; /* several wrote the same blocks */
	world_check_and_free(&world);
}

/* Data is written and its record is made: what waits is that it is durable, and that goes on. */
static void a_flush_is_not_waited_for(void **state)
{
	struct world world;

	world_new(&world);
	for (unsigned round = 0; round < 2; round++) { /* one flush is under way, the other has not begun */
		hold(&world, 1 << DPU_BLOCK_FLUSH, 0, false);
		for (unsigned i = 0; i <= round; i++) {
			start(&world, DPU_BLOCK_WRITE, 2 * round + i, STORE_BLOCK, DPU_BLOCK_FUA);
			rig_settle(world.store);
			start(&world, DPU_BLOCK_FLUSH, 0, 0, 0);
			rig_settle(world.store);
		}
		assert_int_equal(faulty_held(world.faulty), 1);
		assert_int_equal(world.waited[world.count - 1].ended, 0);
		cancel_all(&world);
		rig_settle(world.store);
		all_end(&world);
		assert_int_equal(world.waited[world.count - 1].request.status, DPU_BLOCK_GONE);
		assert_int_equal(faulty_held(world.faulty), 1);
		faulty_release(world.faulty);
		rig_settle(world.store);
	}
	world_check_and_free(&world);
}

static uint64_t place_of(struct world *world, uint64_t block)
{
	struct page_leaf *leaf;

	assert_int_equal(leaf_find(world->store, world->store->volume[0], block, &leaf), 0);
	return leaf_place(leaf, block % LEAF_BLOCKS) - 1;
}

static uint64_t place_at_medium(const struct world *world)
{
	const struct store_io *io = world->store->io;

	while (!io->medium_done)
		io++;
	return (uint64_t)io->place;
}

/* Through all that is free, more than once, but not there. */
static void churn(struct world *world, uint64_t taken)
{
	uint64_t rounds = world->free / 16 * 2;

	for (uint64_t round = 1; round <= rounds; round++) {
		write_blocks(world->store, world->volume, 300, 16, round);
		for (unsigned i = 0; i < 16; i++)
			assert_int_not_equal(place_of(world, 300 + i), taken);
	}
	assert_blocks(world->store, world->volume, 300, 16, rounds);
}

/* As long as the medium has a write its place is nobody else's, and its memory is in use. */
static void a_medium_does_not_let_go(void **state)
{
	struct world world;
	struct waited *write;

	world_new(&world);
	hold(&world, 1 << DPU_BLOCK_WRITE, 0, true);
	write = start(&world, DPU_BLOCK_WRITE, 0, STORE_BLOCK, 0);
	rig_settle(world.store);
	cancel_all(&world);
	rig_settle(world.store);
	faulty_plan(world.faulty, NULL);
	churn(&world, place_at_medium(&world));
	assert_int_equal(write->ended, 0);
	faulty_release(world.faulty);
	rig_settle(world.store);
	assert_int_equal(write->ended, 1);
	assert_int_equal(write->request.status, DPU_BLOCK_GONE);
	assert_blocks(world.store, world.volume, 0, 16, OLD);
	world_check_and_free(&world);
}

/* The medium is away from any request on, those of a checkpoint among them. */
static void it_goes_at_any_time(void **state)
{
	unsigned skip = 0, gone = 0;

	for (bool away = true; away; skip++) {
		struct store_command checkpoint = { .op = STORE_CHECKPOINT };
		struct world world;

		world_new(&world);
		hold(&world, ALL_OPS, skip, false);
		for (unsigned i = 0; i < 12; i++) {
			enum dpu_block_op op = i % 4 == 3 ? DPU_BLOCK_DISCARD : DPU_BLOCK_WRITE;
			start(&world, op, (CACHED - 2 + i / 2) * LEAF_BLOCKS + i,
			      op == DPU_BLOCK_WRITE && i % 4 == 1 ? SECTOR : STORE_BLOCK, i % 3 ? 0 : DPU_BLOCK_FUA);
			if (i == 4)
				rig_start(world.store, &checkpoint);
			if (i % 4 == 0)
				start(&world, DPU_BLOCK_FLUSH, 0, 0, 0);
			rig_settle(world.store);
		}
		away = faulty_held(world.faulty) > 0;
		cancel_all(&world);
		rig_settle(world.store);
		all_end(&world);
		for (unsigned i = 0; i < world.count; i++)
			gone += world.waited[i].request.status == DPU_BLOCK_GONE;
		faulty_plan(world.faulty, NULL);
		faulty_release(world.faulty);
		assert_int_equal(rig_end(world.store, &checkpoint), DPU_OK);
		world_check_and_free(&world);
	}
	assert_true(skip > 20 && gone > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_waits_ends),
		cmocka_unit_test(a_flush_is_not_waited_for),
		cmocka_unit_test(a_medium_does_not_let_go),
		cmocka_unit_test(it_goes_at_any_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
