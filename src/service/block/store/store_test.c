// SPDX-License-Identifier: BSD-3-Clause
/* Tests of the store: what each request and command does, shortage. */
#include <stdlib.h>
#include <string.h>
#include "device/block/ram.h"
#include "engine/crc32c/crc32c.h"
#include "service/block/store/recorder.h"
#include "service/block/store/store_assert.h"
#include "service/block/store/store_priv.h"

static void what_is_written_is_read_also_after_a_restart(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 16 * MIB);

	assert_blocks(store, volume, 0, 300, 0);
	write_blocks(store, volume, 100, 700, 1000);
	write_blocks(store, volume, 4095, 1, 5);
	assert_blocks(store, volume, 100, 700, 1000);
	assert_blocks(store, volume, 0, 100, 0);
	assert_sound(store);
	store = pool_reopened(store, device);
	assert_blocks(store, volume, 100, 700, 1000);
	assert_blocks(store, volume, 4095, 1, 5);
	assert_blocks(store, volume, 800, 100, 0);
	assert_sound(store);
	pool_finish(store, device);
}

static void the_log_is_replayed_after_a_crash(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	struct store_stats stats;
	uint64_t volume = rig_create(store, "a", 16 * MIB);

	write_blocks(store, volume, 7, 1000, 50);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0), DPU_BLOCK_OK);
	store_free(store);
	store = pool_opened(device);
	store_stats(store, &stats);
	assert_true(stats.replayed_records > 10);
	assert_blocks(store, volume, 7, 1000, 50);
	assert_sound(store);
	pool_finish(store, device);
}

static void parts_of_blocks_are_merged(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", MIB + 512), seed = 1;
	uint8_t *model = calloc(1, MIB + 512), *data = calloc(1, MIB + 512);

	for (unsigned i = 0; i < 400; i++) {
		uint64_t offset = random_below(&seed, (MIB + 512) / 512) * 512;
		uint64_t length = (1 + random_below(&seed, 40)) * 512;
		if (length > MIB + 512 - offset)
			length = MIB + 512 - offset;
		memset(data, 0, length);
		unsigned kind = (unsigned)random_below(&seed, 4);
		for (uint64_t at = 0; kind < 2 && at < length; at++)
			data[at] = (uint8_t)random_next(&seed);
		memcpy(model + offset, data, length);
		enum dpu_block_op op = kind < 2    ? DPU_BLOCK_WRITE
				       : kind == 2 ? DPU_BLOCK_DISCARD
						   : DPU_BLOCK_WRITE_ZEROES;
		assert_int_equal(rig_io(store, volume, op, offset, kind < 2 ? data : NULL, length, 0), DPU_BLOCK_OK);
	}
	for (uint64_t at = 0; at < MIB + 512; at += 3 * 512) {
		uint64_t length = MIB + 512 - at < 5 * 512 ? MIB + 512 - at : 5 * 512;
		assert_int_equal(rig_io(store, volume, DPU_BLOCK_READ, at, data, length, 0), DPU_BLOCK_OK);
		assert_memory_equal(data, model + at, length);
		assert_int_equal(rig_io(store, volume, DPU_BLOCK_COMPARE, at, data, length, 0), DPU_BLOCK_OK);
		data[length - 1] ^= 1;
		assert_int_equal(rig_io(store, volume, DPU_BLOCK_COMPARE, at, data, length, 0), DPU_BLOCK_MISCOMPARE);
	}
	assert_sound(store);
	free(model);
	free(data);
	pool_finish(store, device);
}

static void snapshots_and_clones_keep_what_was(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 8 * MIB);

	write_blocks(store, volume, 0, 600, 1000);
	uint64_t snapshot = rig_copy(store, STORE_SNAPSHOT, volume, "s");
	write_blocks(store, volume, 10, 100, 5000);
	uint64_t clone = rig_copy(store, STORE_CLONE, snapshot, "c");
	write_blocks(store, clone, 300, 10, 9000);
	uint64_t deeper = rig_copy(store, STORE_CLONE, clone, "d");
	write_blocks(store, deeper, 305, 10, 7000);
	assert_blocks(store, snapshot, 0, 600, 1000);
	assert_blocks(store, volume, 10, 100, 5000);
	assert_blocks(store, volume, 110, 100, 1110);
	assert_blocks(store, clone, 300, 10, 9000);
	assert_blocks(store, clone, 0, 300, 1000);
	assert_blocks(store, deeper, 300, 5, 9000);
	assert_blocks(store, deeper, 305, 10, 7000);
	uint8_t block[STORE_BLOCK] = { 0 };
	assert_int_equal(rig_io(store, snapshot, DPU_BLOCK_WRITE, 0, block, sizeof(block), 0), DPU_BLOCK_READ_ONLY);
	assert_sound(store);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0), DPU_BLOCK_OK);
	store_free(store);
	store = pool_opened(device);
	assert_blocks(store, snapshot, 0, 600, 1000);
	assert_blocks(store, deeper, 305, 10, 7000);
	assert_sound(store);
	pool_finish(store, device);
}

static uint64_t allocated(struct store *store, uint64_t volume)
{
	struct store_volume_info info;

	assert_true(store_next(store, volume - 1, &info));
	assert_int_equal(info.id, volume);
	return info.allocated_bytes / STORE_BLOCK;
}

/* Each way in which a volume comes to map more or less; also in recovery, and for pages that are shared. */
static void a_volume_knows_what_it_has(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 900 * MIB), copy;

	write_blocks(store, volume, 0, 2000, 1);
	write_blocks(store, volume, 1500, 1000, 1);
	write_blocks(store, volume, 200000, 7, 1);
	assert_int_equal(allocated(store, volume), 2507);
	rig_io(store, volume, DPU_BLOCK_DISCARD, 10 * STORE_BLOCK, NULL, 300 * STORE_BLOCK, 0);
	assert_int_equal(allocated(store, volume), 2207);
	copy = rig_copy(store, STORE_CLONE, volume, "c");
	assert_int_equal(allocated(store, copy), 2207);
	/* A shared node, shared leaves, a part of a shared leaf. */
	rig_io(store, copy, DPU_BLOCK_DISCARD, 131072 * STORE_BLOCK, NULL, 98304ull * STORE_BLOCK, 0);
	assert_int_equal(allocated(store, copy), 2200);
	rig_io(store, copy, DPU_BLOCK_DISCARD, 0, NULL, 520 * STORE_BLOCK, 0);
	assert_int_equal(allocated(store, copy), 1980);
	assert_int_equal(pool_run(store, STORE_RESIZE, copy, 1000 * STORE_BLOCK), DPU_OK);
	assert_int_equal(pool_run(store, STORE_RESIZE, copy, 900 * MIB), DPU_OK);
	write_blocks(store, copy, 200000, 1, 1);
	assert_int_equal(allocated(store, copy), 481);
	assert_int_equal(allocated(store, volume), 2207);
	assert_sound(store);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0), DPU_BLOCK_OK);
	for (unsigned life = 0; life < 2; life++) {
		store_free(store);
		store = pool_opened(device);
		assert_int_equal(allocated(store, copy), 481);
		assert_int_equal(allocated(store, volume), 2207);
		assert_sound(store);
	}
	pool_finish(store, device);
}

static void space_comes_back(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	struct store_stats before, after;
	uint64_t volume = rig_create(store, "a", 8 * MIB);

	pool_run(store, STORE_CHECKPOINT, 0, 0);
	store_stats(store, &before);
	write_blocks(store, volume, 0, 2000, 1000);
	uint64_t clone = rig_copy(store, STORE_CLONE, volume, "c");
	write_blocks(store, clone, 0, 1000, 9000);
	store_stats(store, &after);
	assert_int_equal(before.free_blocks - after.free_blocks, 3000);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_DISCARD, 0, NULL, 1000 * STORE_BLOCK, 0), DPU_BLOCK_OK);
	store_stats(store, &after);
	assert_int_equal(before.free_blocks - after.free_blocks, 2000);
	assert_blocks(store, volume, 0, 1000, 0);
	assert_blocks(store, volume, 1000, 1000, 2000);
	assert_sound(store);
	assert_int_equal(pool_run(store, STORE_RESIZE, volume, 1500 * STORE_BLOCK), DPU_OK);
	assert_int_equal(store_device(store, volume)->bytes, 1500 * STORE_BLOCK);
	assert_int_equal(pool_run(store, STORE_RESIZE, volume, 900 * MIB), DPU_OK);
	assert_blocks(store, volume, 1000, 500, 2000);
	assert_blocks(store, volume, 1500, 600, 0);
	assert_blocks(store, clone, 1500, 500, 2500);
	write_blocks(store, volume, 200000, 3, 77);
	assert_sound(store);
	assert_int_equal(pool_run(store, STORE_DELETE, volume, 0), DPU_OK);
	assert_null(store_device(store, volume));
	assert_int_equal(pool_run(store, STORE_DELETE, clone, 0), DPU_OK);
	assert_sound(store);
	store_stats(store, &after);
	assert_int_equal(before.free_blocks, after.free_blocks);
	assert_int_equal(before.free_pages, after.free_pages);
	pool_finish(store, device);
}

/* … also of a block that is cut in two, whoever grows: the volume, a copy of it, after a crash. */
static void what_is_cut_off_does_not_come_back(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 2 * STORE_BLOCK);
	uint8_t block[STORE_BLOCK], expected[STORE_BLOCK] = { 0 };

	write_blocks(store, volume, 0, 2, 1000);
	assert_int_equal(pool_run(store, STORE_RESIZE, volume, STORE_BLOCK + 512), DPU_OK);
	uint64_t copy = rig_copy(store, STORE_CLONE, volume, "c");
	rig_fill(block, 1001, STORE_BLOCK);
	memcpy(expected, block, 512);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t id = i ? copy : volume;
		assert_int_equal(pool_run(store, STORE_RESIZE, id, STORE_BLOCK + 1024), DPU_OK);
		assert_int_equal(pool_run(store, STORE_RESIZE, id, 2 * STORE_BLOCK), DPU_OK);
	}
	for (unsigned life = 0; life < 2; life++) {
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(
				rig_io(store, i ? copy : volume, DPU_BLOCK_READ, STORE_BLOCK, block, STORE_BLOCK, 0),
				DPU_BLOCK_OK);
			assert_memory_equal(block, expected, STORE_BLOCK);
		}
		assert_sound(store);
		store_free(store);
		store = pool_opened(device);
	}
	pool_finish(store, device);
}

static void a_full_pool_fails_writes_only(void **state)
{
	struct dpu_block_device *device = ram_new(16 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 64 * MIB), first = 0;
	uint8_t block[STORE_BLOCK];
	enum dpu_block_status status;

	do {
		rig_fill(block, first + 1, STORE_BLOCK);
		status = rig_io(store, volume, DPU_BLOCK_WRITE, first * STORE_BLOCK, block, STORE_BLOCK, 0);
		first += status == DPU_BLOCK_OK;
	} while (status == DPU_BLOCK_OK);
	assert_int_equal(status, DPU_BLOCK_NO_SPACE);
	assert_true(first > 2000);
	assert_blocks(store, volume, 0, (unsigned)first, 1);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_WRITE, 0, block, STORE_BLOCK, 0), DPU_BLOCK_NO_SPACE);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_DISCARD, 0, NULL, 100 * STORE_BLOCK, 0), DPU_BLOCK_OK);
	write_blocks(store, volume, 0, 100, 900000);
	assert_blocks(store, volume, 0, 100, 900000);
	assert_sound(store);
	assert_int_equal(pool_run(store, STORE_DELETE, volume, 0), DPU_OK);
	assert_sound(store);
	/* All of it is there again. */
	volume = rig_create(store, "b", 64 * MIB);
	write_blocks(store, volume, 0, (unsigned)first, 1);
	assert_blocks(store, volume, 0, (unsigned)first, 1);
	/* A repair that nobody waits for is done away with, too. */
	struct store_command left = { .op = STORE_REPAIR };
	store_submit(store, &left);
	store_poll(store);
	pool_finish(store, device);
}

/* One block of each leaf, until there is no page for a further leaf. */
static void use_up_pages(struct store *store, uint64_t volume)
{
	uint8_t block[STORE_BLOCK];

	for (uint64_t leaf = 0;; leaf++) {
		rig_fill(block, leaf + 1, STORE_BLOCK);
		uint64_t offset = leaf * LEAF_BLOCKS * STORE_BLOCK;
		enum dpu_block_status status = rig_io(store, volume, DPU_BLOCK_WRITE, offset, block, STORE_BLOCK, 0);
		if (status == DPU_BLOCK_OK)
			continue;
		assert_int_equal(status, DPU_BLOCK_NO_SPACE);
		return;
	}
}

/* A discard has used some of the pages that are kept for it. What needs none goes on: blocks that are there are
 * replaced, volumes shrink and grow. */
static void a_pool_without_pages_fails_what_needs_one(void **state)
{
	struct dpu_block_device *device = ram_new(16 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", (uint64_t)100 * MIB);
	struct store_stats stats;

	write_blocks(store, volume, 0, 10, 5000);
	rig_copy(store, STORE_SNAPSHOT, volume, "s");
	use_up_pages(store, rig_create(store, "b", (uint64_t)512 * MIB));
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_DISCARD, 0, NULL, STORE_BLOCK, 0), DPU_BLOCK_OK);
	store_stats(store, &stats);
	assert_true(stats.free_pages < DISCARD_PAGES && stats.free_blocks > 1000 && stats.full);
	write_blocks(store, volume, 1, 9, 6001);
	write_blocks(store, volume, 20, 1, 7000);
	assert_int_equal(pool_run(store, STORE_RESIZE, volume, (uint64_t)1024 * MIB), DPU_E_LIMIT);
	assert_int_equal(pool_run(store, STORE_RESIZE, volume, (uint64_t)50 * MIB), DPU_OK);
	assert_int_equal(pool_run(store, STORE_RESIZE, volume, (uint64_t)60 * MIB), DPU_OK);
	assert_blocks(store, volume, 0, 1, 0);
	assert_blocks(store, volume, 1, 9, 6001);
	assert_blocks(store, volume, 20, 1, 7000);
	assert_sound(store);
	pool_finish(store, device);
}

/* Single blocks in unflushed records, until so many sections are in the ring. Returns how many blocks. */
static uint64_t write_sections(struct store *store, uint64_t volume, uint64_t sections, uint64_t version)
{
	struct store_stats stats;
	uint64_t block = 0, before;

	store_stats(store, &stats);
	for (before = stats.sections; stats.sections < before + sections; store_stats(store, &stats)) {
		write_blocks(store, volume, block, 1, version + block);
		block++;
	}
	rig_settle(store);
	return block;
}

/* A section is lost, the one behind it is not; the log goes on in the place of the lost one. */
static void a_section_of_an_earlier_life_does_not_count(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 32 * MIB), first, all;

	pool_run(store, STORE_CHECKPOINT, 0, 0);
	uint64_t lost = (store->medium[0].super.log_block + store->root.log_block) * STORE_BLOCK;
	all = write_sections(store, volume, 2, 100000);
	store_free(store);
	memset((uint8_t *)block_ram_data(device) + lost, 0, STORE_BLOCK);
	store = pool_opened(device);
	assert_blocks(store, volume, 0, (unsigned)all, 0);
	first = write_sections(store, volume, 1, 500000);
	store_free(store);
	store = pool_opened(device);
	assert_blocks(store, volume, 0, (unsigned)first - 1, 500000);
	assert_blocks(store, volume, first, (unsigned)(all - first), 0);
	assert_sound(store);
	pool_finish(store, device);
}

enum { LEAVES = 300, LATER = 70, ROOT_BYTES = 2 * STORE_BLOCK };

struct waited {
	struct dpu_block_request request;
	struct iovec iov;
	bool done;
	_Alignas(uint64_t) uint8_t block[STORE_BLOCK];
};

static void waited_done(struct dpu_block_request *request)
{
	((struct waited *)request)->done = true;
}

/* One block of each of some leaves, all at once, and durably. */
static void write_leaves(struct store *store, uint64_t volume, unsigned first, unsigned count, uint64_t version)
{
	struct dpu_block_device *device = store_device(store, volume);
	struct waited *waited = calloc(count, sizeof(*waited));

	for (unsigned i = 0; i < count; i++) {
		struct waited *one = &waited[i];
		rig_fill(one->block, version + first + i, STORE_BLOCK);
		one->iov = (struct iovec){ one->block, STORE_BLOCK };
		one->request = (struct dpu_block_request){ .op = DPU_BLOCK_WRITE,
							   .segments = 1,
							   .offset = (uint64_t)(first + i) * LEAF_BLOCKS * STORE_BLOCK,
							   .length = STORE_BLOCK,
							   .iov = &one->iov,
							   .done = waited_done };
		device->ops->submit(device, &one->request);
	}
	for (unsigned i = 0; i < count; i++)
		while (!waited[i].done)
			store_poll(store);
	free(waited);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0), DPU_BLOCK_OK);
}

/* Killed when a root was written and not yet flushed; behind it are sections that were. */
static uint64_t killed_before_a_flush(struct dpu_block_device *device, uint8_t *former)
{
	struct store *store = pool_made(device);
	struct store_command checkpoint = { .op = STORE_CHECKPOINT };
	uint64_t volume = rig_create(store, "a", LEAVES * MIB);

	write_leaves(store, volume, 0, LEAVES, 1000);
	assert_int_equal(pool_run(store, STORE_CHECKPOINT, 0, 0), DPU_OK);
	write_leaves(store, volume, 0, LEAVES, 2000);
	uint64_t root = store->medium[0].super.root_block[(store->root.generation + 1) % 2] * STORE_BLOCK;
	memcpy(former, (uint8_t *)block_ram_data(device) + root, ROOT_BYTES);
	rig_start(store, &checkpoint);
	store_poll(store);
	write_leaves(store, volume, 0, LATER, 3000);
	write_leaves(store, volume, LATER, LATER, 3000);
	assert_int_equal(store->checkpoint.state, CHECKPOINT_PAGES);
	while (store->checkpoint.state != CHECKPOINT_LAST)
		store_poll(store);
	while (!store_drained(store))
		store_poll(store);
	store_free(store);
	return volume;
}

/* Until something was flushed again that root may be lost, and the one before needs what it needs. */
static void a_root_that_was_not_flushed_may_be_lost(void **state)
{
	enum { FRAMES = 400 };
	struct dpu_block_device *device = ram_new(96 * MIB);
	static uint8_t former[ROOT_BYTES];
	struct store_command open = { .op = STORE_OPEN };
	struct dpu_error error;
	struct store *store;
	bool lost = false;

	device->features |= DPU_BLOCK_F_FLUSH;
	uint64_t volume = killed_before_a_flush(device, former);
	assert_int_equal(store_new(&(struct store_options){ .name = "p" }, &device, 1, &store, &error), 0);
	rig_start(store, &open);
	while (!open.ctx && !lost) {
		store_poll(store);
		store->frame_limit = store->frame_limit ? FRAMES : 0; /* so it writes roots on its way */
		lost = store->checkpoint.state == CHECKPOINT_FLUSH && store->stats.flushes == 0;
	}
	assert_true(lost || store->stats.checkpoints > 1);
	uint64_t root = store->medium[0].super.root_block[store->root.generation % 2] * STORE_BLOCK;
	while (!store_drained(store))
		store_poll(store);
	store_free(store);
	if (lost)
		memcpy((uint8_t *)block_ram_data(device) + root, former, ROOT_BYTES);
	store = pool_opened(device);
	for (unsigned i = 0; i < LEAVES; i++)
		assert_blocks(store, volume, i * LEAF_BLOCKS, 1, (i < 2 * LATER ? 3000 : 2000) + i);
	assert_sound(store);
	pool_finish(store, device);
}

/* More pages than the cache has, with a model of what was written. */
static void a_small_cache_evicts_and_loads(void **state)
{
	struct dpu_block_device *device = ram_new(UINT64_C(1) << 30);
	struct store_options options = { .name = "p", .cache_pages = 1 };
	struct store_stats stats;
	struct dpu_error error;
	struct store *store = rig_open(&options, &device, 1, STORE_FORMAT, &error);
	uint64_t seed = 5, leaves = 1700, volume[2];
	uint32_t *version = calloc(leaves * 2, sizeof(*version));

	assert_non_null(store);
	volume[0] = rig_create(store, "a", leaves * LEAF_BLOCKS * STORE_BLOCK);
	for (unsigned i = 0; i < 12000; i++) {
		uint64_t leaf = random_below(&seed, leaves), which = i > 6000 ? random_below(&seed, 2) : 0;
		if (i == 6000) {
			volume[1] = rig_copy(store, STORE_CLONE, volume[0], "c");
			memcpy(version + leaves, version, leaves * sizeof(*version));
		}
		write_blocks(store, volume[which], leaf * LEAF_BLOCKS + leaf % 200, 1, i + 1);
		version[which * leaves + leaf] = i + 1;
	}
	rig_io(store, volume[0], DPU_BLOCK_FLUSH, 0, NULL, 0, 0);
	for (unsigned life = 0; life < 2; life++) {
		for (uint64_t i = 0; i < 2 * leaves; i++)
			assert_blocks(store, volume[i / leaves], i % leaves * LEAF_BLOCKS + i % leaves % 200, 1,
				      version[i]);
		store_stats(store, &stats);
		assert_true(stats.page_evictions > 300 && stats.page_loads > 300);
		assert_sound(store);
		store_free(store);
		store = rig_open(&options, &device, 1, STORE_OPEN, &error);
		assert_non_null(store);
	}
	free(version);
	pool_finish(store, device);
}

/* Where a block is: the bytes are there, and who shares it is known. */
static void test_locate(void **state)
{
	struct dpu_block_device *medium;
	struct dpu_error error;
	static uint8_t data[DPU_BLOCK_BYTES];

	assert_int_equal(block_ram_new("here", 64 << 20, 512, &medium), 0);
	struct store *store = rig_open(&(struct store_options){ .name = "p" }, &medium, 1, STORE_FORMAT, &error);
	uint64_t volume = rig_create(store, "v", 16 << 20);
	struct store_location location;
	struct store_command locate = { .op = STORE_LOCATE, .volume = volume, .bytes = 8192, .location = &location };

	assert_int_equal(rig_command(store, &locate), DPU_OK);
	assert_false(location.mapped);
	rig_fill(data, 7, sizeof(data));
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_WRITE, 8192, data, sizeof(data), 0), DPU_BLOCK_OK);
	locate.bytes = 8192 + 512;
	assert_int_equal(rig_command(store, &locate), DPU_OK);
	assert_true(location.mapped && !location.shared && location.references == 1);
	assert_string_equal(location.medium->name, "here");
	assert_memory_equal((uint8_t *)block_ram_data(medium) + location.offset, data, sizeof(data));
	assert_int_equal(location.crc, crc32c(0, data, sizeof(data)));
	uint64_t before = location.offset;
	rig_copy(store, STORE_SNAPSHOT, volume, "s");
	assert_int_equal(rig_command(store, &locate), DPU_OK);
	assert_true(location.shared && location.offset == before);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_WRITE, 8192, data, sizeof(data), 0), DPU_BLOCK_OK);
	assert_int_equal(rig_command(store, &locate), DPU_OK);
	assert_true(!location.shared && location.offset != before);
	locate.bytes = 16 << 20;
	assert_int_equal(rig_command(store, &locate), DPU_E_INVALID);
	locate.volume = 12345;
	assert_int_not_equal(rig_command(store, &locate), DPU_OK);
	store_free(store);
	medium->ops->close(medium, NULL, NULL);
}

/* The data of `blocks` blocks with their CRCs; that of the last contradicts it. */
static enum dpu_block_status contradict(struct store *store, uint64_t volume, enum dpu_block_op op, uint64_t first,
					unsigned blocks, uint64_t version)
{
	static uint8_t data[4 * STORE_BLOCK];
	uint32_t crc[4];
	/* Two segments, cut within a block. */
	struct iovec iov[] = { { data, 512 }, { data + 512, (size_t)blocks * STORE_BLOCK - 512 } };

	for (unsigned i = 0; i < blocks; i++) {
		rig_fill(data + (size_t)i * STORE_BLOCK, version + i, STORE_BLOCK);
		crc[i] = crc32c(0, data + (size_t)i * STORE_BLOCK, STORE_BLOCK);
	}
	crc[blocks - 1] ^= 1;
	enum dpu_block_status status = rig_iov(store, volume, op, first * STORE_BLOCK, iov, 2, DPU_BLOCK_CRC, crc);
	crc[blocks - 1] ^= 1;
	/* With the right ones nothing is wrong with it. */
	if (op == DPU_BLOCK_COMPARE)
		assert_int_equal(rig_iov(store, volume, op, first * STORE_BLOCK, iov, 2, DPU_BLOCK_CRC, crc),
				 DPU_BLOCK_OK);
	return status;
}

/* One run of a leaf (which goes the short way), more than one leaf, and where nothing was written. */
static void a_wrong_crc_is_refused(void **state)
{
	static const struct {
		uint64_t first;
		unsigned blocks;
	} cases[] = { { 7, 1 }, { 20, 4 }, { LEAF_BLOCKS - 2, 4 } };
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 16 * MIB), first;

	write_blocks(store, volume, 0, 2 * LEAF_BLOCKS, 1000);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		first = cases[i].first;
		assert_int_equal(contradict(store, volume, DPU_BLOCK_WRITE, first, cases[i].blocks, 5000),
				 DPU_BLOCK_INTEGRITY);
		assert_blocks(store, volume, first, cases[i].blocks, 1000 + first);
		assert_int_equal(contradict(store, volume, DPU_BLOCK_COMPARE, first, cases[i].blocks, 1000 + first),
				 DPU_BLOCK_INTEGRITY);
	}
	assert_int_equal(contradict(store, volume, DPU_BLOCK_WRITE, 1000, 2, 5000), DPU_BLOCK_INTEGRITY);
	assert_blocks(store, volume, 1000, 2, 0);
	assert_int_equal(allocated(store, volume), 2 * LEAF_BLOCKS);
	assert_int_equal(store->stats.integrity_errors, 0); /* the medium has done nothing wrong */
	assert_sound(store);
	pool_finish(store, device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_also_after_a_restart),
		cmocka_unit_test(the_log_is_replayed_after_a_crash),
		cmocka_unit_test(parts_of_blocks_are_merged),
		cmocka_unit_test(a_wrong_crc_is_refused),
		cmocka_unit_test(snapshots_and_clones_keep_what_was),
		cmocka_unit_test(a_volume_knows_what_it_has),
		cmocka_unit_test(space_comes_back),
		cmocka_unit_test(what_is_cut_off_does_not_come_back),
		cmocka_unit_test(a_full_pool_fails_writes_only),
		cmocka_unit_test(a_pool_without_pages_fails_what_needs_one),
		cmocka_unit_test(a_section_of_an_earlier_life_does_not_count),
		cmocka_unit_test(a_root_that_was_not_flushed_may_be_lost),
		cmocka_unit_test(a_small_cache_evicts_and_loads),
		cmocka_unit_test(test_locate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
