// SPDX-License-Identifier: BSD-3-Clause
/* Tests of what the log has room for: what the durable root needs stays in the ring, what is not in the ring yet stays
 * in the tail file; and of whose tail counts. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "device/block/ram.h"
#include "service/block/store/faulty.h"
#include "service/block/store/store_assert.h"
#include "service/block/store/store_priv.h"

enum { RING_BYTES = 512 << 10, POLLS = 300, TAIL_BYTES = STORE_BLOCK + TAIL_SECTIONS * SECTION_BYTES };

/* A pool that is killed: what is on its medium then, and in its tail file. */
struct world {
	struct dpu_block_device *ram;
	struct faulty *faulty;
	struct store *store;
	uint64_t volume;
	char tail[64], killed_tail[80];
};

static void world_new(struct world *world, uint64_t bytes, uint64_t log_bytes)
{
	struct store_options options = { .name = "p", .tail_path = world->tail };
	struct store_command format = { .op = STORE_FORMAT, .log_bytes = log_bytes };
	struct dpu_block_device *device;
	struct dpu_error error;

	snprintf(world->tail, sizeof(world->tail), "/dev/shm/store-log-%d", getpid());
	snprintf(world->killed_tail, sizeof(world->killed_tail), "%s-killed", world->tail);
	world->ram = ram_new(bytes);
	world->faulty = faulty_new(world->ram);
	device = faulty_device(world->faulty);
	assert_int_equal(store_new(&options, &device, 1, &world->store, &error), 0);
	assert_int_equal(rig_command(world->store, &format), DPU_OK);
	world->volume = rig_create(world->store, "a", bytes);
	assert_int_equal(rig_io(world->store, world->volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0), DPU_BLOCK_OK);
}

static void world_free(struct world *world)
{
	faulty_release(world->faulty);
	pool_finish(world->store, world->ram);
	faulty_free(world->faulty);
	unlink(world->tail);
	unlink(world->killed_tail);
}

/* From here on writes between two blocks of the medium do not end. */
static void hold(struct world *world, uint64_t first, uint64_t end)
{
	faulty_plan(world->faulty, &(struct faulty_plan){ .ops = 1 << DPU_BLOCK_WRITE,
							  .first = first * STORE_BLOCK,
							  .end = end * STORE_BLOCK,
							  .fails = UINT64_MAX,
							  .holds = true });
}

static void copy_tail(const struct world *world)
{
	static uint8_t data[TAIL_BYTES];
	int in = open(world->tail, O_RDONLY), out = open(world->killed_tail, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(in >= 0 && out >= 0);
	assert_int_equal(read(in, data, sizeof(data)), sizeof(data));
	assert_int_equal(write(out, data, sizeof(data)), sizeof(data));
	close(in);
	close(out);
}

static struct dpu_block_device *copy_ram(const struct world *world)
{
	struct dpu_block_device *ram = ram_new(world->ram->bytes);

	memcpy(block_ram_data(ram), block_ram_data(world->ram), world->ram->bytes);
	return ram;
}

/* What the next process finds. */
static struct store *recovered(const struct world *world, struct dpu_block_device *ram)
{
	struct store_options options = { .name = "p", .tail_path = world->killed_tail };
	struct dpu_error error;
	struct store *store = rig_open(&options, &ram, 1, STORE_OPEN, &error);

	if (!store)
		print_error("%s\n", error.message);
	assert_non_null(store);
	return store;
}

struct waited {
	struct dpu_block_request request;
	struct iovec iov;
	bool done;
	uint8_t block[STORE_BLOCK] __attribute__((aligned(8)));
};

static void waited_done(struct dpu_block_request *request)
{
	((struct waited *)request)->done = true;
}

/* Whether it is done soon; if not, it stays under way. */
static bool soon(struct world *world, struct waited *waited, enum dpu_block_op op, uint64_t block, uint64_t version)
{
	struct dpu_block_device *device = store_device(world->store, world->volume);
	bool writes = op == DPU_BLOCK_WRITE;

	rig_fill(waited->block, version, STORE_BLOCK);
	waited->iov = (struct iovec){ waited->block, STORE_BLOCK };
	waited->done = false;
	waited->request = (struct dpu_block_request){ .op = (uint8_t)op,
						      .segments = writes,
						      .offset = writes ? block * STORE_BLOCK : 0,
						      .length = writes ? STORE_BLOCK : 0,
						      .iov = &waited->iov,
						      .done = waited_done };
	device->ops->submit(device, &waited->request);
	for (unsigned i = 0; i < POLLS && !waited->done; i++)
		store_poll(world->store);
	return waited->done;
}

/* ---- the ring ---- */

enum { RING_BLOCKS_WRITTEN = 1000 };

/* A checkpoint does not end. Blocks are written until no more is taken: then all that was can be recovered. */
static void fill_ring(unsigned flush_every)
{
	static uint64_t version[RING_BLOCKS_WRITTEN];
	static struct waited write, flush;
	struct world world;
	uint64_t writes = 0;

	memset(version, 0, sizeof(version));
	world_new(&world, 32 * MIB, RING_BYTES);
	const struct store_super *super = &world.store->medium[0].super;
	hold(&world, super->page_block, super->data_block);
	for (bool taken = true; taken;) {
		uint64_t block = writes % RING_BLOCKS_WRITTEN;
		taken = soon(&world, &write, DPU_BLOCK_WRITE, block, ++writes);
		if (taken)
			version[block] = writes;
		if (taken && writes % flush_every == 0)
			taken = soon(&world, &flush, DPU_BLOCK_FLUSH, 0, 0);
		assert_true(writes < 100000);
	}
	assert_int_equal(world.store->checkpoint.state, CHECKPOINT_PAGES);
	copy_tail(&world);
	struct dpu_block_device *ram = copy_ram(&world);
	struct store *store = recovered(&world, ram);
	for (uint64_t block = 0; block < RING_BLOCKS_WRITTEN; block++)
		assert_blocks(store, world.volume, block, 1, version[block]);
	assert_sound(store);
	pool_finish(store, ram);
	world_free(&world);
}

static void the_ring_keeps_what_the_durable_root_needs(void **state)
{
	static const unsigned flush_every[] = { 1, 3, 50, 120, 333, 1500, 1 << 30 };

	for (unsigned i = 0; i < sizeof(flush_every) / sizeof(flush_every[0]); i++)
		fill_ring(flush_every[i]);
}

/* ---- the tail ---- */

/* No section reaches the medium. */
static void the_tail_keeps_what_the_ring_has_not(void **state)
{
	static struct waited write;
	struct world world;
	uint64_t writes = 0;

	world_new(&world, 160 * MIB, 4 * MIB);
	const struct store_super *super = &world.store->medium[0].super;
	hold(&world, super->log_block, super->log_block + super->log_blocks);
	while (soon(&world, &write, DPU_BLOCK_WRITE, writes, writes + 1))
		writes++;
	assert_true(writes > (TAIL_SECTIONS - 1) * SECTION_BYTES / 64);
	copy_tail(&world);
	struct dpu_block_device *ram = copy_ram(&world);
	struct store *store = recovered(&world, ram);
	for (uint64_t block = 0; block < writes; block += 256)
		assert_blocks(store, world.volume, block, (unsigned)(writes - block < 256 ? writes - block : 256),
			      block + 1);
	assert_sound(store);
	pool_finish(store, ram);
	world_free(&world);
}

/* Whether what is in the tail alone is there when that byte of it is another. 0: as it was. */
static bool tail_counts(const struct world *world, uint64_t damage)
{
	struct dpu_block_device *ram = copy_ram(world);
	uint8_t block[STORE_BLOCK], byte;

	copy_tail(world);
	int fd = open(world->killed_tail, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, (off_t)damage), 1);
	byte ^= damage != 0;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)damage), 1);
	close(fd);
	struct store *store = recovered(world, ram);
	assert_int_equal(rig_io(store, world->volume, DPU_BLOCK_READ, 0, block, STORE_BLOCK, 0), DPU_BLOCK_OK);
	pool_finish(store, ram);
	return block[0] != 0;
}

/* Of another start of the machine, pool or session: what it speaks of may never have been on these media. */
static void the_tail_of_another_life_does_not_count(void **state)
{
	struct world world;

	world_new(&world, 32 * MIB, RING_BYTES);
	uint64_t section = tail_offset(world.store->log.sequence);
	write_blocks(world.store, world.volume, 0, 1, 77);
	assert_true(tail_counts(&world, 0));
	assert_false(tail_counts(&world, offsetof(struct tail_header, magic) + 1));
	assert_false(tail_counts(&world, offsetof(struct tail_header, version)));
	assert_false(tail_counts(&world, offsetof(struct tail_header, boot)));
	assert_false(tail_counts(&world, offsetof(struct tail_header, pool)));
	assert_false(tail_counts(&world, section + offsetof(struct section_header, session)));
	assert_false(tail_counts(&world, section + offsetof(struct section_header, sequence)));
	world_free(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_ring_keeps_what_the_durable_root_needs),
		cmocka_unit_test(the_tail_keeps_what_the_ring_has_not),
		cmocka_unit_test(the_tail_of_another_life_does_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
