// SPDX-License-Identifier: BSD-3-Clause
/* Tests of a store whose medium has turns of its own, before the store's or after: the worker sleeps after a round in
 * which neither did anything, and then nobody may be waiting. */
#include <stdlib.h>
#include "service/block/store/store_assert.h"
#include "service/block/store/store_format.h"

enum { STEPS = 12 };

struct world {
	struct dpu_block_device medium; /* the store's: does not poll */
	struct dpu_block_ops ops;
	struct dpu_block_device *ram;
	struct store *store;
	bool store_first;
	unsigned turn;
};

static void submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct world *world = (struct world *)device;

	world->ram->ops->submit(world->ram, request);
}

static unsigned turn(struct world *world)
{
	bool of_store = (world->turn++ % 2 == 0) == world->store_first;

	return of_store ? store_poll(world->store) : world->ram->ops->poll(world->ram);
}

/* Until the worker would sleep. */
static void work(struct world *world)
{
	unsigned done;

	world->turn = 0;
	do {
		done = turn(world);
		done += turn(world);
	} while (done > 0);
}

static void command_done(struct store_command *command)
{
	command->ctx = command;
}

static void command_run(struct world *world, struct store_command *command)
{
	command->done = command_done;
	store_submit(world->store, command);
	work(world);
	assert_ptr_equal(command->ctx, command);
	assert_int_equal(command->error.code, DPU_OK);
}

static void world_new(struct world *world, bool store_first)
{
	struct store_options options = { .name = "p" };
	struct store_command format = { .op = STORE_FORMAT };
	struct dpu_block_device *device = &world->medium;
	struct dpu_error error;

	*world = (struct world){ .ram = ram_new(64 * MIB), .store_first = store_first };
	world->ops.submit = submit;
	world->medium = *world->ram;
	world->medium.ops = &world->ops;
	assert_int_equal(store_new(&options, &device, 1, &world->store, &error), 0);
	command_run(world, &format);
}

static void world_free(struct world *world)
{
	struct store_command close = { .op = STORE_CLOSE };

	command_run(world, &close);
	assert_true(store_drained(world->store));
	store_free(world->store);
	world->ram->ops->close(world->ram, NULL, NULL);
}

static void commands(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct store_command create = { .op = STORE_CREATE, .name = "a", .bytes = MIB };
		struct world world;

		world_new(&world, i);
		command_run(&world, &create);
		struct store_command copy = { .op = STORE_SNAPSHOT, .name = "b", .volume = create.ret_volume };
		command_run(&world, &copy);
		struct store_command resize = { .op = STORE_RESIZE, .volume = create.ret_volume, .bytes = 1536 };
		command_run(&world, &resize);
		resize.bytes = 2 * MIB;
		command_run(&world, &resize);
		struct store_command delete = { .op = STORE_DELETE, .volume = create.ret_volume };
		command_run(&world, &delete);
		world_free(&world);
	}
}

/* ---- a flush comes while a write is at any of its steps ---- */

static unsigned ended;

static void request_done(struct dpu_block_request *request)
{
	assert_int_equal(request->status, DPU_BLOCK_OK);
	ended++;
}

static void flush_after(struct world *world, struct dpu_block_device *device, unsigned steps)
{
	static uint8_t block[STORE_BLOCK];
	struct iovec iov = { block, sizeof(block) };
	struct dpu_block_request write = {
		.op = DPU_BLOCK_WRITE,
		.flags = DPU_BLOCK_FUA,
		.segments = 1,
		.offset = steps * STORE_BLOCK,
		.length = sizeof(block),
		.iov = &iov,
		.done = request_done,
	};
	struct dpu_block_request flush = { .op = DPU_BLOCK_FLUSH, .done = request_done };

	ended = 0;
	world->turn = 0;
	device->ops->submit(device, &write);
	for (unsigned i = 0; i < steps; i++)
		turn(world);
	device->ops->submit(device, &flush);
	work(world);
	assert_int_equal(ended, 2);
}

static void flushes(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct store_command create = { .op = STORE_CREATE, .name = "a", .bytes = MIB };
		struct world world;

		world_new(&world, i);
		command_run(&world, &create);
		for (unsigned steps = 0; steps < STEPS; steps++)
			flush_after(&world, store_device(world.store, create.ret_volume), steps);
		world_free(&world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands),
		cmocka_unit_test(flushes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
