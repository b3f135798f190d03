// SPDX-License-Identifier: BSD-3-Clause
/* Tests of the store: what each request and command does, damage, shortage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/clock.h"
#include "device/block/ram.h"
#include "engine/crc32c/crc32c.h"
#include "service/block/store/recorder.h"
#include "service/block/store/store_priv.h"
#include "service/block/store/store_rig.h"

enum { MIB = 1 << 20 };

static struct dpu_block_device *ram(uint64_t bytes)
{
	struct dpu_block_device *device;

	assert_int_equal(block_ram_new("ram", bytes, 512, &device), 0);
	return device;
}

static struct store *made(struct dpu_block_device *device)
{
	struct dpu_error error;
	struct store *store = rig_open(&(struct store_options){ .name = "p" }, &device, 1, STORE_FORMAT, &error);

	if (!store)
		print_error("%s\n", error.message);
	assert_non_null(store);
	return store;
}

static struct store *opened(struct dpu_block_device *device)
{
	struct dpu_error error;
	struct store *store = rig_open(&(struct store_options){ .name = "p" }, &device, 1, STORE_OPEN, &error);

	if (!store)
		print_error("%s\n", error.message);
	assert_non_null(store);
	return store;
}

static void assert_sound(struct store *store)
{
	struct dpu_error error = { 0 };

	rig_settle(store);
	int rc = store_check(store, &error);
	if (rc < 0)
		print_error("%s\n", error.message);
	assert_int_equal(rc, 0);
}

/* What the medium has must not come back to a store that is no more. */
static void finish(struct store *store, struct dpu_block_device *device)
{
	while (!store_drained(store))
		assert_true(store_poll(store) > 0);
	store_free(store);
	device->ops->close(device, NULL, NULL);
}

static enum dpu_error_code run(struct store *store, enum store_op op, uint64_t volume, uint64_t bytes)
{
	struct store_command command = { .op = (uint8_t)op, .volume = volume, .bytes = bytes };

	return rig_command(store, &command);
}

static void write_blocks(struct store *store, uint64_t volume, uint64_t first, unsigned count, uint64_t version)
{
	uint8_t *data = malloc((size_t)count * STORE_BLOCK);

	for (unsigned i = 0; i < count; i++)
		rig_fill(data + (size_t)i * STORE_BLOCK, version + i, STORE_BLOCK);
	assert_int_equal(
		rig_io(store, volume, DPU_BLOCK_WRITE, first * STORE_BLOCK, data, (size_t)count * STORE_BLOCK, 0),
		DPU_BLOCK_OK);
	free(data);
}

/* version 0: zeroes; else block i has version + i. */
static void assert_blocks(struct store *store, uint64_t volume, uint64_t first, unsigned count, uint64_t version)
{
	uint8_t *data = malloc((size_t)count * STORE_BLOCK), expected[STORE_BLOCK];

	assert_int_equal(
		rig_io(store, volume, DPU_BLOCK_READ, first * STORE_BLOCK, data, (size_t)count * STORE_BLOCK, 0),
		DPU_BLOCK_OK);
	for (unsigned i = 0; i < count; i++) {
		rig_fill(expected, version ? version + i : 0, STORE_BLOCK);
		assert_memory_equal(data + (size_t)i * STORE_BLOCK, expected, STORE_BLOCK);
	}
	free(data);
}

static void what_is_written_is_read_also_after_a_restart(void **state)
{
	struct dpu_block_device *device = ram(64 * MIB);
	struct store *store = made(device);
	uint64_t volume = rig_create(store, "a", 16 * MIB);

	assert_blocks(store, volume, 0, 300, 0);
	write_blocks(store, volume, 100, 700, 1000);
	write_blocks(store, volume, 4095, 1, 5);
	assert_blocks(store, volume, 100, 700, 1000);
	assert_blocks(store, volume, 0, 100, 0);
	assert_sound(store);
	assert_int_equal(run(store, STORE_CLOSE, 0, 0), DPU_OK);
	store_free(store);
	store = opened(device);
	assert_blocks(store, volume, 100, 700, 1000);
	assert_blocks(store, volume, 4095, 1, 5);
	assert_blocks(store, volume, 800, 100, 0);
	assert_sound(store);
	finish(store, device);
}

static void the_log_is_replayed_after_a_crash(void **state)
{
	struct dpu_block_device *device = ram(64 * MIB);
	struct store *store = made(device);
	struct store_stats stats;
	uint64_t volume = rig_create(store, "a", 16 * MIB);

	write_blocks(store, volume, 7, 1000, 50);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0), DPU_BLOCK_OK);
	store_free(store);
	store = opened(device);
	store_stats(store, &stats);
	assert_true(stats.replayed_records > 10);
	assert_blocks(store, volume, 7, 1000, 50);
	assert_sound(store);
	finish(store, device);
}

static void parts_of_blocks_are_merged(void **state)
{
	struct dpu_block_device *device = ram(64 * MIB);
	struct store *store = made(device);
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
	finish(store, device);
}

static void snapshots_and_clones_keep_what_was(void **state)
{
	struct dpu_block_device *device = ram(64 * MIB);
	struct store *store = made(device);
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
	store = opened(device);
	assert_blocks(store, snapshot, 0, 600, 1000);
	assert_blocks(store, deeper, 305, 10, 7000);
	assert_sound(store);
	finish(store, device);
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
	struct dpu_block_device *device = ram(64 * MIB);
	struct store *store = made(device);
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
	assert_int_equal(run(store, STORE_RESIZE, copy, 1000 * STORE_BLOCK), DPU_OK);
	assert_int_equal(run(store, STORE_RESIZE, copy, 900 * MIB), DPU_OK);
	write_blocks(store, copy, 200000, 1, 1);
	assert_int_equal(allocated(store, copy), 481);
	assert_int_equal(allocated(store, volume), 2207);
	assert_sound(store);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0), DPU_BLOCK_OK);
	for (unsigned life = 0; life < 2; life++) {
		store_free(store);
		store = opened(device);
		assert_int_equal(allocated(store, copy), 481);
		assert_int_equal(allocated(store, volume), 2207);
		assert_sound(store);
	}
	finish(store, device);
}

static void space_comes_back(void **state)
{
	struct dpu_block_device *device = ram(64 * MIB);
	struct store *store = made(device);
	struct store_stats before, after;
	uint64_t volume = rig_create(store, "a", 8 * MIB);

	run(store, STORE_CHECKPOINT, 0, 0);
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
	assert_int_equal(run(store, STORE_RESIZE, volume, 1500 * STORE_BLOCK), DPU_OK);
	assert_int_equal(store_device(store, volume)->bytes, 1500 * STORE_BLOCK);
	assert_int_equal(run(store, STORE_RESIZE, volume, 900 * MIB), DPU_OK);
	assert_blocks(store, volume, 1000, 500, 2000);
	assert_blocks(store, volume, 1500, 600, 0);
	assert_blocks(store, clone, 1500, 500, 2500);
	write_blocks(store, volume, 200000, 3, 77);
	assert_sound(store);
	assert_int_equal(run(store, STORE_DELETE, volume, 0), DPU_OK);
	assert_null(store_device(store, volume));
	assert_int_equal(run(store, STORE_DELETE, clone, 0), DPU_OK);
	assert_sound(store);
	store_stats(store, &after);
	assert_int_equal(before.free_blocks, after.free_blocks);
	assert_int_equal(before.free_pages, after.free_pages);
	finish(store, device);
}

static void a_full_pool_fails_writes_only(void **state)
{
	struct dpu_block_device *device = ram(16 * MIB);
	struct store *store = made(device);
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
	assert_int_equal(run(store, STORE_DELETE, volume, 0), DPU_OK);
	assert_sound(store);
	/* All of it is there again. */
	volume = rig_create(store, "b", 64 * MIB);
	write_blocks(store, volume, 0, (unsigned)first, 1);
	assert_blocks(store, volume, 0, (unsigned)first, 1);
	/* A repair and a scrub that nobody waits for are done away with, too. */
	struct store_command left[2] = { { .op = STORE_SCRUB, .rate = MIB }, { .op = STORE_REPAIR } };
	for (unsigned i = 0; i < 2; i++) {
		store_submit(store, &left[i]);
		store_poll(store);
	}
	finish(store, device);
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
	struct dpu_block_device *device = ram(64 * MIB);
	struct store *store = made(device);
	uint64_t volume = rig_create(store, "a", 32 * MIB), first, all;

	run(store, STORE_CHECKPOINT, 0, 0);
	uint64_t lost = (store->medium[0].super.log_block + store->root.log_block) * STORE_BLOCK;
	all = write_sections(store, volume, 2, 100000);
	store_free(store);
	memset((uint8_t *)block_ram_data(device) + lost, 0, STORE_BLOCK);
	store = opened(device);
	assert_blocks(store, volume, 0, (unsigned)all, 0);
	first = write_sections(store, volume, 1, 500000);
	store_free(store);
	store = opened(device);
	assert_blocks(store, volume, 0, (unsigned)first - 1, 500000);
	assert_blocks(store, volume, first, (unsigned)(all - first), 0);
	assert_sound(store);
	finish(store, device);
}

/* More pages than the cache has, with a model of what was written. */
static void a_small_cache_evicts_and_loads(void **state)
{
	struct dpu_block_device *device = ram(UINT64_C(1) << 30);
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
	finish(store, device);
}

/* ---- damage ---- */

static struct store_report last_report;
static unsigned reports;

static void reported(void *ctx, const struct store_report *report)
{
	last_report = *report;
	reports++;
}

static struct store *opened_reporting(struct dpu_block_device *device)
{
	struct dpu_error error;
	struct store_options options = { .name = "p", .report = reported };
	struct store *store = rig_open(&options, &device, 1, STORE_OPEN, &error);

	reports = 0;
	assert_non_null(store);
	return store;
}

static void scrub_done(struct store_command *command)
{
	*(bool *)command->ctx = true;
}

static void a_damaged_block_fails_its_read_and_is_found_by_scrub(void **state)
{
	struct dpu_block_device *device = ram(32 * MIB);
	struct store *store = made(device);
	uint64_t volume = rig_create(store, "a", 8 * MIB), offset;
	uint8_t block[STORE_BLOCK];
	struct page_leaf *leaf;

	write_blocks(store, volume, 0, 500, 1000);
	run(store, STORE_CLOSE, 0, 0);
	store_free(store);
	store = opened_reporting(device);
	assert_blocks(store, volume, 0, 500, 1000);
	assert_int_equal(leaf_find(store, store->volume[0], 321, &leaf), 0);
	medium_of_place(store, leaf_place(leaf, 321 % LEAF_BLOCKS) - 1, &offset);
	((uint8_t *)block_ram_data(device))[offset + 99] ^= 4;
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_READ, 321 * STORE_BLOCK, block, STORE_BLOCK, 0),
			 DPU_BLOCK_INTEGRITY);
	assert_int_equal(last_report.block, 321);
	assert_int_equal(last_report.offset, offset);
	struct store_command scrub = { .op = STORE_SCRUB };
	assert_int_equal(rig_command(store, &scrub), DPU_OK);
	assert_int_equal(scrub.damaged, 1);
	assert_int_equal(scrub.progress, scrub.total);
	assert_int_equal(last_report.block, 321);
	assert_blocks(store, volume, 0, 321, 1000);
	finish(store, device);
}

/* Not faster than it may, a few reads in each poll, and requests go on meanwhile. */
static void a_scrub_takes_its_time(void **state)
{
	struct dpu_block_device *device = ram(64 * MIB);
	struct store *store = made(device);
	uint64_t volume = rig_create(store, "a", 16 * MIB), begin = clock_ns();
	struct store_command scrub = { .op = STORE_SCRUB, .rate = 20 * MIB, .done = scrub_done };
	bool finished = false, waited = false;
	unsigned requests = 0;

	write_blocks(store, volume, 0, 1000, 1);
	scrub.ctx = &finished;
	store_submit(store, &scrub);
	while (!finished) {
		store_poll(store);
		waited |= store_due_ns(store) != UINT64_MAX;
		if (++requests % 100 == 0)
			write_blocks(store, volume, requests % 1000, 1, 1);
	}
	assert_int_equal(scrub.error.code, DPU_OK);
	assert_int_equal(scrub.damaged, 0);
	assert_true(waited && requests > 1000);
	/* 1000 blocks and some pages at 20 MiB a second. */
	assert_in_range(clock_ns() - begin, 180 * CLOCK_NS_PER_MS, 20 * CLOCK_NS_PER_S);
	finish(store, device);
}

static void a_damaged_page_quarantines_its_volume(void **state)
{
	struct dpu_block_device *device = ram(32 * MIB);
	struct store *store = made(device);
	uint64_t volume = rig_create(store, "a", 8 * MIB), other = rig_create(store, "b", 8 * MIB);
	uint8_t block[STORE_BLOCK];
	struct page_leaf *leaf;

	write_blocks(store, volume, 0, 500, 1000);
	write_blocks(store, other, 0, 500, 3000);
	assert_int_equal(leaf_find(store, store->volume[0], 0, &leaf), 0);
	uint32_t page = leaf->header.id;
	run(store, STORE_CLOSE, 0, 0);
	uint64_t offset = page_offset(&store->medium[0], page, map_get(store->map, page));
	store_free(store);
	((uint8_t *)block_ram_data(device))[offset + 2000] ^= 1;
	store = opened_reporting(device);
	struct store_command scrub = { .op = STORE_SCRUB };
	assert_int_equal(rig_command(store, &scrub), DPU_OK);
	assert_int_equal(scrub.damaged, 1);
	assert_int_equal(last_report.offset, offset);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_READ, 0, block, STORE_BLOCK, 0), DPU_BLOCK_GONE);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_WRITE, MIB, block, STORE_BLOCK, 0), DPU_BLOCK_GONE);
	assert_blocks(store, other, 0, 500, 3000);
	write_blocks(store, other, 0, 500, 4000);
	assert_int_equal(rig_io(store, other, DPU_BLOCK_FLUSH, 0, NULL, 0, 0), DPU_BLOCK_OK);
	store_free(store);
	store = opened(device);
	assert_blocks(store, other, 0, 500, 4000);
	assert_int_equal(run(store, STORE_DELETE, volume, 0), DPU_OK);
	finish(store, device);
}

static void a_damaged_page_of_counts_gives_nothing_away(void **state)
{
	struct dpu_block_device *device = ram(32 * MIB);
	struct store *store = made(device);
	uint64_t volume = rig_create(store, "a", 8 * MIB);

	write_blocks(store, volume, 0, 1500, 1000);
	run(store, STORE_CLOSE, 0, 0);
	uint64_t offset = page_offset(&store->medium[0], 0, map_get(store->map, 0));
	uint32_t counts = store->medium[0].super.space_pages + store->medium[0].super.summary_pages;
	uint64_t pages_offset = page_offset(&store->medium[0], counts, map_get(store->map, counts));
	store_free(store);
	((uint8_t *)block_ram_data(device))[offset + 200] ^= 1;
	store = opened(device);
	assert_blocks(store, volume, 0, 1500, 1000);
	write_blocks(store, volume, 3, 1200, 7000);
	assert_blocks(store, volume, 3, 1200, 7000);
	assert_blocks(store, volume, 1203, 297, 2203);
	assert_sound(store);
	run(store, STORE_CLOSE, 0, 0);
	store_free(store);
	/* Of pages: made again from the trees, because a log could not be applied without. */
	((uint8_t *)block_ram_data(device))[pages_offset + 200] ^= 1;
	store = opened(device);
	assert_sound(store);
	for (uint32_t page = 0; page < store->pages; page++)
		assert_true(!page_is_tree(store, page) || pageref_get(store, page) != COUNT_LOST);
	write_blocks(store, volume, 0, 1300, 9000);
	assert_blocks(store, volume, 0, 1300, 9000);
	finish(store, device);
}

static void refuses(struct dpu_block_device **media, unsigned count, const char *text)
{
	struct dpu_error error = { 0 };

	assert_null(rig_open(&(struct store_options){ .name = "p" }, media, count, STORE_OPEN, &error));
	if (!strstr(error.message, text))
		print_error("%s\n", error.message);
	assert_non_null(strstr(error.message, text));
}

static void what_is_no_pool_is_refused(void **state)
{
	struct dpu_block_device *device = ram(32 * MIB), *other = ram(32 * MIB);
	struct dpu_block_device *both[] = { device, other };

	refuses(&device, 1, "there is no pool here");
	store_free(made(device));
	uint8_t *data = block_ram_data(device);
	struct store_super *super = (struct store_super *)data;
	super->version = 9;
	super->crc = crc32c(0, &super->magic, STORE_BLOCK - 4);
	data[device->bytes - 100] ^= 1;
	refuses(&device, 1, "offset 0: the pool has a newer format");
	super->version = 1;
	super->crc = crc32c(0, &super->magic, STORE_BLOCK - 4);
	store_free(opened(device));
	store_free(made(other));
	refuses(both, 2, "the medium is of another pool");
	memcpy(block_ram_data(other), data, 32 * MIB);
	refuses(both, 2, "medium 1 of the pool is not here");
	/* Either superblock is enough, either root. */
	data[device->bytes - 100] ^= 1;
	data[100] ^= 1;
	store_free(opened(device));
	data[100] ^= 1;
	data[super->root_block[0] * STORE_BLOCK + 5000] ^= 1;
	data[super->root_block[1] * STORE_BLOCK + 5000] ^= 1;
	refuses(&device, 1, "the root contradicts its CRC");
	device->ops->close(device, NULL, NULL);
	other->ops->close(other, NULL, NULL);
}

static void a_damaged_newest_root_is_not_passed_over(void **state)
{
	struct dpu_block_device *device = ram(32 * MIB);
	struct store *store = made(device);
	uint64_t volume = rig_create(store, "a", 8 * MIB);

	write_blocks(store, volume, 0, 10, 1000);
	run(store, STORE_CHECKPOINT, 0, 0);
	uint64_t root = store->medium[0].super.root_block[store->root.generation % 2] * STORE_BLOCK;
	write_blocks(store, volume, 0, 10, 2000);
	rig_io(store, volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0);
	store_free(store);
	((uint8_t *)block_ram_data(device))[root + 5000] ^= 1;
	refuses(&device, 1, "newer root");
	device->ops->close(device, NULL, NULL);
}

static void a_pool_grows_by_a_medium(void **state)
{
	struct dpu_block_device *media[] = { ram(16 * MIB), ram(32 * MIB) };
	struct store *store = made(media[0]);
	struct store_stats before, after;
	struct dpu_error error;
	uint64_t volume = rig_create(store, "a", 64 * MIB);
	struct store_command grow = { .op = STORE_GROW, .medium = media[1] };

	write_blocks(store, volume, 0, 2000, 1);
	store_stats(store, &before);
	assert_int_equal(rig_command(store, &grow), DPU_OK);
	store_stats(store, &after);
	assert_true(after.free_blocks > before.free_blocks + 7000);
	write_blocks(store, volume, 2000, 4000, 2001);
	write_blocks(store, volume, 6000, 2000, 6001);
	assert_blocks(store, volume, 0, 4000, 1);
	assert_sound(store);
	run(store, STORE_CLOSE, 0, 0);
	store_free(store);
	refuses(media, 1, "the pool has 2 media, of which 1 are here");
	struct dpu_block_device *turned[] = { media[1], media[0] };
	store = rig_open(&(struct store_options){ .name = "p" }, turned, 2, STORE_OPEN, &error);
	assert_non_null(store);
	assert_blocks(store, volume, 0, 4000, 1);
	assert_blocks(store, volume, 4000, 4000, 4001);
	assert_sound(store);
	finish(store, media[0]);
	media[1]->ops->close(media[1], NULL, NULL);
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
	assert_string_equal(location.medium, "here");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_locate),
		cmocka_unit_test(what_is_written_is_read_also_after_a_restart),
		cmocka_unit_test(the_log_is_replayed_after_a_crash),
		cmocka_unit_test(parts_of_blocks_are_merged),
		cmocka_unit_test(snapshots_and_clones_keep_what_was),
		cmocka_unit_test(a_volume_knows_what_it_has),
		cmocka_unit_test(space_comes_back),
		cmocka_unit_test(a_full_pool_fails_writes_only),
		cmocka_unit_test(a_section_of_an_earlier_life_does_not_count),
		cmocka_unit_test(a_small_cache_evicts_and_loads),
		cmocka_unit_test(a_damaged_block_fails_its_read_and_is_found_by_scrub),
		cmocka_unit_test(a_scrub_takes_its_time),
		cmocka_unit_test(a_damaged_page_quarantines_its_volume),
		cmocka_unit_test(a_damaged_page_of_counts_gives_nothing_away),
		cmocka_unit_test(what_is_no_pool_is_refused),
		cmocka_unit_test(a_damaged_newest_root_is_not_passed_over),
		cmocka_unit_test(a_pool_grows_by_a_medium),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
