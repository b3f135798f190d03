// SPDX-License-Identifier: BSD-3-Clause
/* Counts that are damaged or wrong are made again from the trees, whatever is under way and wherever a crash comes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "engine/crc32c/crc32c.h"
#include "service/block/store/faulty.h"
#include "service/block/store/recorder.h"
#include "service/block/store/store_assert.h"
#include "service/block/store/store_priv.h"

enum { BYTES = 24 << 20, COUNT = 1500, POINTS = 60 };

struct world {
	struct recorder_clock clock;
	struct recorder *medium;
	struct store *store;
	uint64_t volume, copy, other;
};

static struct store *open_on(struct recorder *medium, enum store_op op)
{
	struct dpu_block_device *device = recorder_device(medium);
	struct dpu_error error = { 0 };
	struct store *store =
		rig_open(&(struct store_options){ .name = "p", .cache_pages = 1 }, &device, 1, op, &error);

	if (!store)
		print_error("%s\n", error.message);
	assert_non_null(store);
	return store;
}

static void fill(struct store *store, uint64_t volume, uint64_t first, unsigned count, uint64_t version)
{
	static uint8_t data[COUNT * STORE_BLOCK];

	for (unsigned i = 0; i < count; i++)
		rig_fill(data + (size_t)i * STORE_BLOCK, version + i, STORE_BLOCK);
	assert_int_equal(
		rig_io(store, volume, DPU_BLOCK_WRITE, first * STORE_BLOCK, data, (uint64_t)count * STORE_BLOCK, 0),
		DPU_BLOCK_OK);
}

static void assert_filled(struct store *store, uint64_t volume, uint64_t first, unsigned count, uint64_t version)
{
	static uint8_t data[COUNT * STORE_BLOCK], expected[STORE_BLOCK];

	assert_int_equal(
		rig_io(store, volume, DPU_BLOCK_READ, first * STORE_BLOCK, data, (uint64_t)count * STORE_BLOCK, 0),
		DPU_BLOCK_OK);
	for (unsigned i = 0; i < count; i++) {
		rig_fill(expected, version + i, STORE_BLOCK);
		assert_memory_equal(data + (size_t)i * STORE_BLOCK, expected, STORE_BLOCK);
	}
}

/* A volume, a clone that shares most of it, and another one; 40 volumes, so that the directory has two pages. */
static struct world *world_new(void)
{
	struct world *world = calloc(1, sizeof(*world));
	char name[16];

	world->clock.seed = 3;
	world->medium = recorder_new(BYTES, NULL, &world->clock);
	recorder_stop(world->medium);
	world->store = open_on(world->medium, STORE_FORMAT);
	world->volume = rig_create(world->store, "a", 4000 * STORE_BLOCK);
	fill(world->store, world->volume, 0, COUNT, 1000);
	world->copy = rig_copy(world->store, STORE_CLONE, world->volume, "c");
	fill(world->store, world->copy, 200, 100, 5000);
	for (unsigned i = 0; i < 38; i++) {
		snprintf(name, sizeof(name), "v%u", i);
		world->other = rig_create(world->store, name, 600 * STORE_BLOCK);
	}
	fill(world->store, world->other, 0, 400, 9000);
	return world;
}

static void world_free(struct world *world)
{
	store_free(world->store);
	recorder_free(world->medium);
	free(world);
}

static void reopen(struct world *world)
{
	struct store_command close = { .op = STORE_CLOSE };

	assert_int_equal(rig_command(world->store, &close), DPU_OK);
	store_free(world->store);
	world->store = NULL;
}

static void damage(struct world *world, uint64_t offset)
{
	recorder_data(world->medium)[offset + 300] ^= 1;
}

static uint64_t offset_of(struct world *world, uint32_t page)
{
	return page_offset(&world->store->medium[0], page, map_get(world->store->map, page));
}

static enum dpu_error_code repair(struct world *world, bool force, struct dpu_error *ret)
{
	struct store_command command = { .op = STORE_REPAIR, .force = force };
	enum dpu_error_code code = rig_command(world->store, &command);

	if (ret)
		*ret = command.error;
	return code;
}

static void assert_contents(struct world *world)
{
	assert_filled(world->store, world->volume, 0, COUNT, 1000);
	assert_filled(world->store, world->copy, 0, 200, 1000);
	assert_filled(world->store, world->copy, 200, 100, 5000);
	assert_filled(world->store, world->other, 0, 400, 9000);
}

static void lost_counts_are_made_again(void **state)
{
	struct world *world = world_new();
	uint64_t before = free_blocks(world->store), offset[2];

	assert_int_equal(rig_command(world->store, &(struct store_command){ .op = STORE_CHECKPOINT }), DPU_OK);
	offset[0] = offset_of(world, 0);
	offset[1] = offset_of(world, 1);
	reopen(world);
	damage(world, offset[0]);
	damage(world, offset[1]);
	world->store = open_on(world->medium, STORE_OPEN);
	fill(world->store, world->volume, 0, 10, 1000); /* finds it */
	fill(world->store, world->volume, 1400, 100, 2400);
	assert_true(free_blocks(world->store) < before);
	assert_int_equal(repair(world, false, NULL), DPU_OK);
	assert_counted(world->store);
	assert_int_equal(free_blocks(world->store), before - 110);
	assert_contents(world);
	for (unsigned i = 0; i < 20; i++)
		fill(world->store, world->other, 0, 400, 9000);
	assert_contents(world);
	reopen(world);
	world->store = open_on(world->medium, STORE_OPEN);
	assert_counted(world->store);
	world_free(world);
}

/* With CRCs that are right: too many, too few, of what is not used at all. */
static void make_wrong(struct world *world)
{
	struct store *store = world->store;
	struct page_leaf *leaf;

	assert_int_equal(leaf_find(store, store->volume[0], 0, &leaf), 0);
	for (unsigned i = 0; i < 30; i++)
		space_set(store, leaf_place(leaf, i) - 1, i % 3 ? i % 3 + 3 : 0);
	space_set(store, leaf_place(leaf, 0) - 1 + 500, 7);
	pageref_set(store, leaf->header.id, 1);
	pageref_set(store, store->pages - 3, 2);
	space_sum(store, 0);
	pages_begin(store);
}

static void wrong_counts_are_made_right(void **state)
{
	struct world *world = world_new();
	struct dpu_error error = { 0 };
	struct store_command command = { .op = STORE_REPAIR };

	make_wrong(world);
	assert_int_not_equal(store_check(world->store, &error), 0);
	assert_int_equal(rig_command(world->store, &command), DPU_OK);
	assert_true(command.damaged >= 30);
	assert_counted(world->store);
	assert_contents(world);
	assert_int_equal(rig_command(world->store, &command), DPU_OK);
	assert_int_equal(command.damaged, 0);
	world_free(world);
}

/* Blocks are counted in several walks, and where one ends and the next begins is within a group. */
static void counts_between_two_walks_are_made_right(void **state)
{
	struct dpu_block_device *device = ram_new(UINT64_C(72) << 30);
	struct store *store = pool_made(device);
	struct store_command command = { .op = STORE_REPAIR };
	uint32_t group = group_of(store, WALK_PLACES);
	unsigned blocks;
	uint64_t first = group_first(store, group, &blocks);

	assert_true(first < WALK_PLACES && WALK_PLACES < first + blocks && first + blocks < store->places);
	store->space.allocator.rotor = group;
	write_blocks(store, rig_create(store, "a", 600 * STORE_BLOCK), 0, 600, 1000);
	assert_int_equal(space_get(store, first), 1);
	for (unsigned i = 0; i < blocks; i++)
		space_set(store, first + i, i < 600 ? 0 : 1);
	space_sum(store, group);
	assert_int_equal(rig_command(store, &command), DPU_OK);
	assert_int_equal(command.damaged, blocks);
	assert_counted(store);
	pool_finish(store, device);
}

/* Its space comes back when it is deleted and the counts are made again. */
static void a_quarantined_volume_can_be_done_away_with(void **state)
{
	struct world *world = world_new();
	struct dpu_error error;
	struct page_leaf *leaf;
	uint8_t block[STORE_BLOCK];
	uint64_t all = free_blocks(world->store);

	assert_int_equal(leaf_find(world->store, world->store->volume[world->other - 1], 0, &leaf), 0);
	uint32_t page = leaf->header.id;
	assert_int_equal(rig_command(world->store, &(struct store_command){ .op = STORE_CHECKPOINT }), DPU_OK);
	uint64_t offset = offset_of(world, page);
	reopen(world);
	damage(world, offset);
	world->store = open_on(world->medium, STORE_OPEN);
	assert_int_equal(rig_io(world->store, world->other, DPU_BLOCK_READ, 0, block, STORE_BLOCK, 0), DPU_BLOCK_GONE);
	assert_int_equal(repair(world, false, &error), DPU_E_IO);
	assert_non_null(strstr(error.message, "volume 'v37'"));
	assert_int_equal(free_blocks(world->store), all);
	struct store_command delete = { .op = STORE_DELETE, .volume = world->other };
	assert_int_equal(rig_command(world->store, &delete), DPU_OK);
	assert_int_equal(free_blocks(world->store), all);
	assert_int_equal(repair(world, false, NULL), DPU_OK);
	assert_int_equal(free_blocks(world->store), all + 400);
	assert_counted(world->store);
	assert_filled(world->store, world->volume, 0, COUNT, 1000);
	world_free(world);
}

static void a_lost_page_of_the_directory_is_given_up_with_force(void **state)
{
	struct world *world = world_new();
	const struct store_super *super = &world->store->medium[0].super;
	uint32_t directory = super->space_pages + super->summary_pages + super->count_pages;
	struct dpu_error error;
	uint64_t all = free_blocks(world->store);

	assert_int_equal(rig_command(world->store, &(struct store_command){ .op = STORE_CHECKPOINT }), DPU_OK);
	uint64_t offset = offset_of(world, directory + 1); /* with `other` in it */
	reopen(world);
	damage(world, offset);
	world->store = open_on(world->medium, STORE_OPEN);
	assert_null(store_device(world->store, world->other));
	assert_int_equal(repair(world, false, &error), DPU_E_IO);
	assert_non_null(strstr(error.message, "directory"));
	assert_int_equal(free_blocks(world->store), all);
	assert_int_equal(repair(world, true, NULL), DPU_OK);
	assert_int_equal(free_blocks(world->store), all + 400);
	assert_counted(world->store);
	for (unsigned i = 0; i < 20; i++) {
		char name[16];
		snprintf(name, sizeof(name), "n%u", i);
		rig_create(world->store, name, STORE_BLOCK);
	}
	assert_filled(world->store, world->volume, 0, COUNT, 1000);
	world_free(world);
}

struct waited {
	struct dpu_block_request request;
	bool done;
};

static void waited_done(struct dpu_block_request *request)
{
	((struct waited *)request)->done = true;
}

static void repair_done(struct store_command *command)
{
	*(bool *)command->ctx = true;
}

/* Requests that were under way end first; those that come wait; a cancelled one leaves all as it is. */
static void requests_wait_for_it(void **state)
{
	struct world *world = world_new();
	static uint8_t data[2][STORE_BLOCK];
	struct iovec iov[2] = { { data[0], STORE_BLOCK }, { data[1], STORE_BLOCK } };
	struct dpu_block_device *device = store_device(world->store, world->other);
	bool repaired = false;
	struct store_command command = { .op = STORE_REPAIR, .done = repair_done, .ctx = &repaired };
	struct waited waited[2];

	make_wrong(world);
	for (unsigned i = 0; i < 2; i++) {
		waited[i] = (struct waited){ .request = { .op = DPU_BLOCK_WRITE,
							  .segments = 1,
							  .offset = (500 + i) * STORE_BLOCK,
							  .length = STORE_BLOCK,
							  .iov = &iov[i],
							  .done = waited_done } };
		device->ops->submit(device, &waited[i].request);
		if (i == 0)
			store_submit(world->store, &command);
		store_poll(world->store);
	}
	while (!repaired)
		store_poll(world->store);
	assert_int_equal(command.error.code, DPU_OK);
	while (!waited[1].done)
		store_poll(world->store);
	assert_true(waited[0].done);
	assert_counted(world->store);
	make_wrong(world);
	command = (struct store_command){ .op = STORE_REPAIR, .cancel = true };
	assert_int_equal(rig_command(world->store, &command), DPU_E_CONFLICT);
	assert_int_equal(repair(world, false, NULL), DPU_OK);
	assert_counted(world->store);
	assert_contents(world);
	world_free(world);
}

static void hold_reads(struct faulty *faulty)
{
	faulty_plan(faulty, &(struct faulty_plan){ .ops = 1 << DPU_BLOCK_READ, .fails = 1 << 30, .holds = true });
}

static bool ends_when_cancelled(struct store *store, struct store_command *command)
{
	for (unsigned i = 0; i < 1000; i++)
		store_poll(store);
	assert_null(command->ctx);
	command->cancel = true;
	for (unsigned i = 0; i < 1000; i++)
		store_poll(store);
	return command->ctx && command->error.code == DPU_E_CONFLICT;
}

/* It waits for what is under way, which takes as long as a medium takes; and for a scrub, without holding up others. */
static void one_that_waits_can_be_cancelled(void **state)
{
	struct dpu_block_device *ram = ram_new(64 * MIB);
	struct faulty *faulty = faulty_new(ram);
	struct store *store = pool_made(faulty_device(faulty));
	uint64_t volume = rig_create(store, "a", MIB);
	struct dpu_block_device *device = store_device(store, volume);
	uint8_t block[STORE_BLOCK];
	struct iovec iov = { block, STORE_BLOCK };
	struct waited read = { .request = { .op = DPU_BLOCK_READ,
					    .segments = 1,
					    .length = STORE_BLOCK,
					    .iov = &iov,
					    .done = waited_done } };
	struct store_command repair = { .op = STORE_REPAIR }, scrub = { .op = STORE_SCRUB, .rate = 1 };

	write_blocks(store, volume, 0, 1, 1);
	hold_reads(faulty);
	device->ops->submit(device, &read.request);
	store_poll(store);
	assert_int_equal(faulty_held(faulty), 1);
	rig_start(store, &repair);
	assert_true(ends_when_cancelled(store, &repair));
	write_blocks(store, volume, 0, 1, 2);
	faulty_plan(faulty, NULL);
	faulty_release(faulty);
	while (!read.done)
		store_poll(store);
	rig_start(store, &scrub);
	repair = (struct store_command){ .op = STORE_REPAIR };
	rig_start(store, &repair);
	write_blocks(store, volume, 0, 1, 3);
	assert_true(ends_when_cancelled(store, &repair));
	assert_true(ends_when_cancelled(store, &scrub));
	assert_sound(store);
	pool_finish(store, ram);
	faulty_free(faulty);
}

/* A power failure at any time of a repair: what is recovered is whole, and the next repair makes all right. */
static void a_crash_interrupts_it(void **state)
{
	struct world *world = world_new();
	uint8_t *image = calloc(1, BYTES);
	struct recorder *first = world->medium;
	uint64_t seed = 9;

	make_wrong(world);
	assert_int_equal(rig_command(world->store, &(struct store_command){ .op = STORE_CHECKPOINT }), DPU_OK);
	store_free(world->store);
	world->medium = recorder_new(BYTES, recorder_data(first), &world->clock);
	recorder_free(first);
	world->store = open_on(world->medium, STORE_OPEN);
	uint64_t begin = world->clock.now;
	assert_int_equal(repair(world, false, NULL), DPU_OK);
	uint64_t end = world->clock.now;
	assert_true(end > begin + 10);
	for (unsigned i = 0; i < POINTS; i++) {
		struct world crashed = *world;
		crashed.clock = (struct recorder_clock){ .now = 1, .seed = i };
		recorder_crash(world->medium, begin + (end - begin) * i / POINTS, (enum recorder_loss)(i % LOSSES),
			       &seed, image);
		crashed.medium = recorder_new(BYTES, image, &crashed.clock);
		recorder_stop(crashed.medium);
		crashed.store = open_on(crashed.medium, STORE_OPEN);
		assert_contents(&crashed);
		assert_int_equal(repair(&crashed, false, NULL), DPU_OK);
		assert_counted(crashed.store);
		assert_contents(&crashed);
		store_free(crashed.store);
		recorder_free(crashed.medium);
	}
	free(image);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lost_counts_are_made_again),
		cmocka_unit_test(wrong_counts_are_made_right),
		cmocka_unit_test(counts_between_two_walks_are_made_right),
		cmocka_unit_test(a_quarantined_volume_can_be_done_away_with),
		cmocka_unit_test(a_lost_page_of_the_directory_is_given_up_with_force),
		cmocka_unit_test(requests_wait_for_it),
		cmocka_unit_test(one_that_waits_can_be_cancelled),
		cmocka_unit_test(a_crash_interrupts_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
