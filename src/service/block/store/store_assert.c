// SPDX-License-Identifier: BSD-3-Clause
/* What the tests of a store begin with and assert. */
#include "service/block/store/store_assert.h"

#include <stdlib.h>
#include <string.h>
#include "device/block/ram.h"
#include "service/block/store/store_priv.h"

struct dpu_block_device *ram_new(uint64_t bytes)
{
	struct dpu_block_device *device;

	assert_int_equal(block_ram_new("ram", bytes, 512, &device), 0);
	return device;
}

struct store *pool_made(struct dpu_block_device *device)
{
	struct dpu_error error;
	struct store *store = rig_open(&(struct store_options){ .name = "p" }, &device, 1, STORE_FORMAT, &error);

	if (!store)
		print_error("%s\n", error.message);
	assert_non_null(store);
	return store;
}

struct store *pool_opened(struct dpu_block_device *device)
{
	struct dpu_error error;
	struct store *store = rig_open(&(struct store_options){ .name = "p" }, &device, 1, STORE_OPEN, &error);

	if (!store)
		print_error("%s\n", error.message);
	assert_non_null(store);
	return store;
}

struct store *pool_reopened(struct store *store, struct dpu_block_device *device)
{
	assert_int_equal(pool_run(store, STORE_CLOSE, 0, 0), DPU_OK);
	store_free(store);
	return pool_opened(device);
}

struct store *pool_reopened_damaged(struct store *store, struct dpu_block_device *device, uint32_t page)
{
	assert_int_equal(pool_run(store, STORE_CHECKPOINT, 0, 0), DPU_OK);
	uint64_t offset = page_offset(medium_of_page(store, page), page, map_get(store->map, page));
	((uint8_t *)block_ram_data(device))[offset + 2000] ^= 1;
	return pool_reopened(store, device);
}

void assert_sound(struct store *store)
{
	struct dpu_error error = { 0 };

	rig_settle(store);
	int rc = store_check(store, &error);
	if (rc < 0)
		print_error("%s\n", error.message);
	assert_int_equal(rc, 0);
}

void assert_counted(struct store *store)
{
	assert_sound(store);
	for (uint64_t place = 0; place < store->places; place += COUNTS) {
		while (space_need(store, place) == -EAGAIN)
			store_poll(store);
		assert_int_not_equal(space_get(store, place), COUNT_LOST);
	}
}

uint64_t free_blocks(struct store *store)
{
	struct store_stats stats;

	rig_settle(store);
	store_stats(store, &stats);
	return stats.free_blocks;
}

void pool_finish(struct store *store, struct dpu_block_device *device)
{
	while (!store_drained(store))
		assert_true(store_poll(store) > 0);
	store_free(store);
	device->ops->close(device, NULL, NULL);
}

enum dpu_error_code pool_run(struct store *store, enum store_op op, uint64_t volume, uint64_t bytes)
{
	struct store_command command = { .op = (uint8_t)op, .volume = volume, .bytes = bytes };

	return rig_command(store, &command);
}

void write_blocks(struct store *store, uint64_t volume, uint64_t first, unsigned count, uint64_t version)
{
	uint8_t *data = malloc((size_t)count * STORE_BLOCK);

	for (unsigned i = 0; i < count; i++)
		rig_fill(data + (size_t)i * STORE_BLOCK, version + i, STORE_BLOCK);
	assert_int_equal(
		rig_io(store, volume, DPU_BLOCK_WRITE, first * STORE_BLOCK, data, (size_t)count * STORE_BLOCK, 0),
		DPU_BLOCK_OK);
	free(data);
}

void assert_blocks(struct store *store, uint64_t volume, uint64_t first, unsigned count, uint64_t version)
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

void assert_refused(struct dpu_block_device **media, unsigned count, const char *text)
{
	struct dpu_error error = { 0 };

	assert_null(rig_open(&(struct store_options){ .name = "p" }, media, count, STORE_OPEN, &error));
	if (!strstr(error.message, text))
		print_error("%s\n", error.message);
	assert_non_null(strstr(error.message, text));
}
