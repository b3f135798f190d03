// SPDX-License-Identifier: BSD-3-Clause
/* Tests of a store that ends while its media still have requests of it: they come back to a store that is there, and it
 * begins nothing more. */
#include "device/block/ram.h"
#include "service/block/store/faulty.h"
#include "service/block/store/store_assert.h"
#include "service/block/store/store_priv.h"

enum { LEAVES = 40 };

static const struct faulty_plan hold_reads = {
	.ops = 1 << DPU_BLOCK_READ, .fails = 1 << 30, .status = DPU_BLOCK_IO_ERROR, .holds = true
};
static const struct faulty_plan hold_writes = {
	.ops = 1 << DPU_BLOCK_WRITE, .fails = 1 << 30, .status = DPU_BLOCK_IO_ERROR, .holds = true
};

/* A pool with a volume of so many leaves, none of which is in memory, on a medium that will hold requests back. */
struct world {
	struct dpu_block_device *ram;
	struct faulty *faulty;
	struct store *store;
	uint64_t volume;
};

static void world_new(struct world *world)
{
	struct store *store;

	world->ram = ram_new(64 * MIB);
	store = pool_made(world->ram);
	world->volume = rig_create(store, "a", LEAVES * MIB);
	for (unsigned i = 0; i < LEAVES; i++)
		write_blocks(store, world->volume, i * LEAF_BLOCKS, 1, i + 1);
	world->faulty = faulty_new(world->ram);
	world->store = pool_reopened(store, faulty_device(world->faulty));
}

/* Something is at the medium. The store waits for it, and for nothing else. */
static void end(struct world *world)
{
	unsigned held = faulty_held(world->faulty);

	assert_true(held > 0);
	assert_false(store_drained(world->store));
	assert_int_equal(store_due_ns(world->store), UINT64_MAX);
	for (unsigned i = 0; i < 20; i++)
		store_poll(world->store);
	assert_int_equal(faulty_held(world->faulty), held);
	faulty_release(world->faulty);
	pool_finish(world->store, world->ram);
	faulty_free(world->faulty);
}

/* Its data is as it was. */
static void a_trim_is_under_way(void **state)
{
	struct world world;

	world_new(&world);
	faulty_plan(world.faulty, &hold_reads);
	assert_int_equal(pool_run(world.store, STORE_DELETE, world.volume, 0), DPU_OK);
	assert_int_equal(pool_run(world.store, STORE_CLOSE, 0, 0), DPU_OK);
	end(&world);
}

static void the_closing_checkpoint_fails(void **state)
{
	struct store_command close = { .op = STORE_CLOSE };
	struct world world;

	world_new(&world);
	for (unsigned i = 0; i < LEAVES; i++)
		write_blocks(world.store, world.volume, i * LEAF_BLOCKS, 1, i + 100);
	faulty_plan(world.faulty, &hold_writes);
	rig_start(world.store, &close);
	while (faulty_held(world.faulty) < 10) {
		store_poll(world.store);
		if (faulty_held(world.faulty) == 1) /* the log's last section */
			faulty_release(world.faulty);
	}
	faulty_fail_held(world.faulty);
	assert_int_equal(rig_end(world.store, &close), DPU_E_IO);
	end(&world);
}

/* Recovery reads ahead when one of its reads fails. */
static void an_opening_fails(void **state)
{
	struct store_options options = { .name = "p" };
	struct store_command open = { .op = STORE_OPEN };
	struct dpu_block_device *device;
	struct dpu_error error;
	struct world world;

	world_new(&world);
	for (unsigned i = 0; i < LEAVES; i++)
		write_blocks(world.store, world.volume, i * LEAF_BLOCKS, 1, i + 100);
	assert_int_equal(rig_io(world.store, world.volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0), DPU_BLOCK_OK);
	store_free(world.store);
	device = faulty_device(world.faulty);
	assert_int_equal(store_new(&options, &device, 1, &world.store, &error), 0);
	rig_start(world.store, &open);
	faulty_plan(world.faulty, &hold_reads);
	for (unsigned held; (held = faulty_held(world.faulty)) < 10;) {
		store_poll(world.store);
		if (held == faulty_held(world.faulty))
			faulty_release(world.faulty);
	}
	faulty_fail_held(world.faulty);
	assert_int_equal(rig_end(world.store, &open), DPU_E_IO);
	end(&world);
}

/* Long work is cut short, what else came before ends, what comes after finds the pool closed. */
static void commands_are_under_way(void **state)
{
	enum { SCRUB, MEASURE, MAKE, CLOSE, LATE, COMMANDS };
	struct world world;

	world_new(&world);
	struct store_command command[COMMANDS] = {
		[SCRUB] = { .op = STORE_SCRUB },
		[MEASURE] = { .op = STORE_MEASURE },
		[MAKE] = { .op = STORE_CREATE, .name = "made", .bytes = MIB },
		[CLOSE] = { .op = STORE_CLOSE },
		[LATE] = { .op = STORE_CREATE, .name = "late", .bytes = MIB },
	};
	faulty_plan(world.faulty, &hold_reads);
	for (unsigned i = 0; i < CLOSE; i++)
		rig_start(world.store, &command[i]);
	while (faulty_held(world.faulty) < 2)
		store_poll(world.store);
	rig_start(world.store, &command[CLOSE]);
	rig_start(world.store, &command[LATE]);
	for (unsigned i = 0; i < 1000; i++)
		store_poll(world.store);
	/* A read of the scrub is at the medium, and says there what it has found. */
	assert_null(command[SCRUB].ctx);
	assert_null(command[CLOSE].ctx);
	faulty_plan(world.faulty, NULL);
	faulty_release(world.faulty);
	assert_int_equal(rig_end(world.store, &command[CLOSE]), DPU_OK);
	assert_int_equal(rig_end(world.store, &command[LATE]), DPU_E_CONFLICT);
	assert_string_equal(command[SCRUB].error.message, "the pool is being closed");
	assert_string_equal(command[MEASURE].error.message, "the pool is being closed");
	assert_int_equal(command[MAKE].error.code, DPU_OK);
	pool_finish(world.store, world.ram);
	faulty_free(world.faulty);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_trim_is_under_way),
		cmocka_unit_test(the_closing_checkpoint_fails),
		cmocka_unit_test(an_opening_fails),
		cmocka_unit_test(commands_are_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
