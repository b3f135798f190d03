// SPDX-License-Identifier: BSD-3-Clause
/* Reads into memory that is not what it seems: one page several times in a list, pages that somebody else writes to.
 * And what a read costs in a long chain of clones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "device/block/ram.h"
#include "engine/crc32c/crc32c.h"
#include "service/block/store/store_priv.h"
#include "service/block/store/store_rig.h"

enum { MIB = 1 << 20, BLOCKS = 600, CHAIN = 50 };

struct world {
	struct dpu_block_device *device;
	struct store *store;
	uint64_t volume;
	unsigned reports;
};

static void reported(void *ctx, const struct store_report *report)
{
	(void)report;
	((struct world *)ctx)->reports++;
}

static void open_again(struct world *world)
{
	struct store_options options = { .name = "p", .report = reported, .ctx = world };
	struct store_command close = { .op = STORE_CLOSE };
	struct dpu_error error;

	assert_int_equal(rig_command(world->store, &close), DPU_OK);
	store_free(world->store);
	world->store = rig_open(&options, &world->device, 1, STORE_OPEN, &error);
	assert_non_null(world->store);
}

/* Block i has version i + 1. Its map is cached, or not any more. */
static void world_new(struct world *world, bool cached)
{
	struct store_options options = { .name = "p", .report = reported, .ctx = world };
	uint8_t *data = malloc((size_t)BLOCKS * STORE_BLOCK);
	struct dpu_error error;

	memset(world, 0, sizeof(*world));
	assert_int_equal(block_ram_new("ram", 32 * MIB, 512, &world->device), 0);
	world->store = rig_open(&options, &world->device, 1, STORE_FORMAT, &error);
	assert_non_null(world->store);
	world->volume = rig_create(world->store, "a", 8 * MIB);
	for (unsigned i = 0; i < BLOCKS; i++)
		rig_fill(data + (size_t)i * STORE_BLOCK, i + 1, STORE_BLOCK);
	assert_int_equal(
		rig_io(world->store, world->volume, DPU_BLOCK_WRITE, 0, data, (uint64_t)BLOCKS * STORE_BLOCK, 0),
		DPU_BLOCK_OK);
	free(data);
	if (!cached)
		open_again(world);
}

static void world_free(struct world *world)
{
	rig_settle(world->store);
	store_free(world->store);
	world->device->ops->close(world->device, NULL, NULL);
}

static void assert_version(const uint8_t *block, uint64_t version)
{
	uint8_t wanted[STORE_BLOCK];

	rig_fill(wanted, version, STORE_BLOCK);
	assert_memory_equal(block, wanted, STORE_BLOCK);
}

/* The second, fourth and fifth of five blocks are not wanted: they go to one page. */
static void dummy_page(struct world *world, uint64_t first, unsigned flags)
{
	static uint8_t wanted[2][STORE_BLOCK], dummy[STORE_BLOCK];
	struct iovec iov[] = { { wanted[0], STORE_BLOCK },
			       { dummy, STORE_BLOCK },
			       { wanted[1], STORE_BLOCK },
			       { dummy, STORE_BLOCK },
			       { dummy, STORE_BLOCK } };
	uint32_t crc[5] = { 0 };
	uint8_t block[STORE_BLOCK];
	uint64_t before = world->store->stats.second_reads;
	struct store_volume_info info;

	memset(wanted, 0, sizeof(wanted));
	assert_int_equal(rig_iov(world->store, world->volume, DPU_BLOCK_READ, first * STORE_BLOCK, iov, 5, flags, crc),
			 DPU_BLOCK_OK);
	assert_version(wanted[0], first + 1);
	assert_version(wanted[1], first + 3);
	for (unsigned i = 0; i < 5 && flags; i++) {
		rig_fill(block, first + i + 1, STORE_BLOCK);
		assert_int_equal(crc[i], crc32c(0, block, STORE_BLOCK));
	}
	/* Each page has one block in it when the CRCs are looked at, the last one or another. */
	store_info(store_device(world->store, world->volume), &info);
	assert_in_range(info.second_reads - before, 2, 3);
	assert_int_equal(world->store->stats.second_reads, info.second_reads);
	assert_int_equal(world->reports, 0);
	assert_int_equal(world->store->stats.integrity_errors, 0);
}

static void one_page_for_what_is_not_wanted(void **state)
{
	struct world world;

	for (unsigned cached = 0; cached < 2; cached++) {
		world_new(&world, cached);
		dummy_page(&world, 0, 0);
		dummy_page(&world, 100, DPU_BLOCK_CRC);
		dummy_page(&world, LEAF_BLOCKS - 2, DPU_BLOCK_CRC); /* two runs */
		dummy_page(&world, LEAF_BLOCKS - 4, 0);
		world_free(&world);
	}
}

/* Behind such a page damage is still damage, and said once. */
static void damage_behind_it(void **state)
{
	static uint8_t wanted[STORE_BLOCK], dummy[STORE_BLOCK];
	struct iovec iov[] = { { dummy, STORE_BLOCK }, { dummy, STORE_BLOCK }, { wanted, STORE_BLOCK } };
	struct page_leaf *leaf;
	struct world world;
	uint64_t offset;

	for (unsigned damaged = 0; damaged < 3; damaged++) {
		world_new(&world, true);
		assert_int_equal(leaf_find(world.store, world.store->volume[0], damaged, &leaf), 0);
		medium_of_place(world.store, leaf_place(leaf, damaged) - 1, &offset);
		((uint8_t *)block_ram_data(world.device))[offset + 99] ^= 4;
		assert_int_equal(rig_iov(world.store, world.volume, DPU_BLOCK_READ, 0, iov, 3, 0, NULL),
				 DPU_BLOCK_INTEGRITY);
		assert_int_equal(world.reports, 1);
		assert_int_equal(world.store->stats.integrity_errors, 1);
		assert_int_not_equal(world.store->stats.second_reads, 0);
		world_free(&world);
	}
}

/* With nothing in memory: pages of maps that reading a volume brings in. So many blocks at its beginning are the
 * chain's. */
static uint64_t pages_read(struct world *world, uint64_t volume, unsigned own)
{
	uint8_t block[STORE_BLOCK];

	open_again(world);
	uint64_t before = world->store->stats.page_loads;
	for (unsigned i = 0; i < BLOCKS; i++) {
		assert_int_equal(
			rig_io(world->store, volume, DPU_BLOCK_READ, (uint64_t)i * STORE_BLOCK, block, STORE_BLOCK, 0),
			DPU_BLOCK_OK);
		assert_version(block, i < own ? CHAIN * BLOCKS + i : i + 1);
	}
	return world->store->stats.page_loads - before;
}

/* Each clone is of the one before and writes a block of its own: the last reads as the volume does. */
static void long_chain(void **state)
{
	struct world world;
	uint64_t volume;
	char name[16];
	uint8_t block[STORE_BLOCK];

	world_new(&world, true);
	volume = world.volume;
	uint64_t pages = pages_read(&world, volume, 0);
	for (unsigned i = 0; i < CHAIN; i++) {
		snprintf(name, sizeof(name), "c%u", i);
		volume = rig_copy(world.store, STORE_CLONE, volume, name);
		rig_fill(block, CHAIN * BLOCKS + i, STORE_BLOCK);
		assert_int_equal(
			rig_io(world.store, volume, DPU_BLOCK_WRITE, (uint64_t)i * STORE_BLOCK, block, STORE_BLOCK, 0),
			DPU_BLOCK_OK);
	}
	assert_in_range(pages, 3, 5); /* leaves, and nodes above */
	assert_int_equal(pages_read(&world, volume, CHAIN), pages);
	world_free(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_page_for_what_is_not_wanted),
		cmocka_unit_test(damage_behind_it),
		cmocka_unit_test(long_chain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
