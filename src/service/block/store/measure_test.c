// SPDX-License-Identifier: BSD-3-Clause
/* Tests of STORE_MEASURE: what it says that a deletion would give back is what that gives back. */
#include <stdio.h>
#include "device/block/ram.h"
#include "service/block/store/faulty.h"
#include "service/block/store/recorder.h"
#include "service/block/store/store_assert.h"
#include "service/block/store/store_priv.h"

static struct store_volume_info info_of(struct store *store, uint64_t volume)
{
	struct store_volume_info info;

	store_info(store_device(store, volume), &info);
	return info;
}

static void measure(struct store *store)
{
	struct store_command command = { .op = STORE_MEASURE };

	assert_int_equal(rig_command(store, &command), DPU_OK);
	assert_int_equal(command.progress, command.total);
}

static void assert_own(struct store *store, uint64_t volume, uint64_t own, uint64_t shared)
{
	struct store_volume_info info = info_of(store, volume);

	assert_int_equal(info.exclusive_bytes / STORE_BLOCK, own);
	assert_int_equal(info.shared_bytes / STORE_BLOCK, shared);
	assert_int_not_equal(info.measured_s, 0);
}

static void assert_gives_back(struct store *store, uint64_t volume)
{
	uint64_t before = free_blocks(store), own = info_of(store, volume).exclusive_bytes;

	assert_int_equal(pool_run(store, STORE_DELETE, volume, 0), DPU_OK);
	assert_int_equal((free_blocks(store) - before) * STORE_BLOCK, own);
}

/* Two levels of nodes: subtrees, leaves and blocks that are shared. */
static void a_copy_shares_until_it_changes(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 900 * MIB);

	assert_int_equal(info_of(store, volume).measured_s, 0);
	write_blocks(store, volume, 0, 2000, 1);
	write_blocks(store, volume, 200000, 7, 1);
	measure(store);
	assert_own(store, volume, 2007, 0);
	uint64_t snapshot = rig_copy(store, STORE_SNAPSHOT, volume, "s");
	measure(store);
	assert_own(store, volume, 0, 2007);
	assert_own(store, snapshot, 0, 2007);
	write_blocks(store, volume, 500, 300, 1);
	uint64_t second = rig_copy(store, STORE_SNAPSHOT, volume, "t");
	write_blocks(store, volume, 150000, 5, 1);
	rig_io(store, volume, DPU_BLOCK_DISCARD, 700 * STORE_BLOCK, NULL, 50 * STORE_BLOCK, 0);
	measure(store);
	assert_own(store, snapshot, 300, 1707);
	assert_own(store, second, 50, 1957);
	assert_own(store, volume, 5, 1957);
	assert_gives_back(store, second);
	assert_gives_back(store, snapshot);
	measure(store);
	assert_own(store, volume, 1962, 0);
	assert_gives_back(store, volume);
	assert_sound(store);
	pool_finish(store, device);
}

/* A family of volumes that changes as it likes, in a cache that holds a part of its maps. */
static void what_it_says_comes_back(void **state)
{
	enum { FAMILY = 8, ROUNDS = 60 };
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	uint64_t seed = 3, family[FAMILY] = { 0 };
	unsigned deleted = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned at = (unsigned)random_below(&seed, FAMILY), from = (unsigned)random_below(&seed, FAMILY);
		char name[16];

		snprintf(name, sizeof(name), "v%u", round);
		if (family[at] && random_below(&seed, 3) == 0) {
			measure(store);
			assert_gives_back(store, family[at]);
			family[at] = 0;
			deleted++;
		} else if (!family[at]) {
			family[at] = family[from] ? rig_copy(store, STORE_CLONE, family[from], name)
						  : rig_create(store, name, 4096 * STORE_BLOCK);
		}
		for (unsigned i = 0; family[at] && i < 8; i++) {
			uint64_t first = random_below(&seed, 4000);
			if (i % 4 == 3)
				rig_io(store, family[at], DPU_BLOCK_DISCARD, first * STORE_BLOCK, NULL,
				       90 * STORE_BLOCK, 0);
			else
				write_blocks(store, family[at], first, 30, 1);
		}
	}
	assert_true(deleted > 10);
	assert_sound(store);
	pool_finish(store, device);
}

/* A copy is made and the volume is written to while it is under way: it ends, and the next one is right. */
static void changes_meanwhile(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 32 * MIB);
	struct store_command command = { .op = STORE_MEASURE };

	write_blocks(store, volume, 0, 2000, 1);
	write_blocks(store, volume, 2000, 2000, 1);
	write_blocks(store, volume, 4000, 2000, 1);
	rig_start(store, &command);
	store_poll(store);
	uint64_t snapshot = rig_copy(store, STORE_SNAPSHOT, volume, "s");
	write_blocks(store, volume, 5000, 10, 1);
	assert_int_equal(rig_end(store, &command), DPU_OK);
	assert_in_range(info_of(store, volume).exclusive_bytes / STORE_BLOCK, 0, 6000);
	measure(store);
	assert_own(store, volume, 10, 5990);
	assert_own(store, snapshot, 10, 5990);
	rig_start(store, &command);
	command.cancel = true;
	assert_int_equal(rig_end(store, &command), DPU_E_CONFLICT);
	pool_finish(store, device);
}

/* What was counted already is discarded: nobody has more than there is. */
static void discarded_meanwhile(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 32 * MIB);
	struct store_command command = { .op = STORE_MEASURE };

	for (unsigned i = 0; i < 4; i++)
		write_blocks(store, volume, i * 2000, 2000, 1);
	rig_start(store, &command);
	while (command.progress < 3000 * STORE_BLOCK)
		store_poll(store);
	assert_true(command.progress < command.total);
	rig_io(store, volume, DPU_BLOCK_DISCARD, 0, NULL, 7900 * STORE_BLOCK, 0);
	assert_int_equal(rig_end(store, &command), DPU_OK);
	assert_int_equal(info_of(store, volume).exclusive_bytes / STORE_BLOCK, 100);
	assert_int_equal(info_of(store, volume).shared_bytes, 0);
	pool_finish(store, device);
}

/* A medium that fails for a while: measured as far as that, and no volume is damaged by it. */
static void a_medium_fails(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct faulty *faulty = faulty_new(device);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 32 * MIB);
	struct store_command command = { .op = STORE_MEASURE };

	write_blocks(store, volume, 0, 2000, 1);
	store = pool_reopened(store, faulty_device(faulty));
	faulty_plan(faulty, &(struct faulty_plan){
				    .ops = 1 << DPU_BLOCK_READ, .fails = UINT64_MAX, .status = DPU_BLOCK_IO_ERROR });
	assert_int_equal(rig_command(store, &command), DPU_E_IO);
	assert_non_null(strstr(command.error.message, "a medium fails"));
	assert_false(info_of(store, volume).quarantined);
	pool_finish(store, device);
	faulty_free(faulty);
}

/* That volume is quarantined, and the others have their figures. */
static void a_damaged_map(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 32 * MIB), other = rig_create(store, "b", 32 * MIB);

	write_blocks(store, volume, 0, 1000, 1);
	write_blocks(store, other, 0, 700, 1);
	store = pool_reopened_damaged(store, device, store->volume[0]->entry->root);
	measure(store);
	assert_true(info_of(store, volume).quarantined);
	assert_int_equal(info_of(store, volume).measured_s, 0);
	assert_own(store, other, 700, 0);
	pool_finish(store, device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_copy_shares_until_it_changes),
		cmocka_unit_test(what_it_says_comes_back),
		cmocka_unit_test(changes_meanwhile),
		cmocka_unit_test(discarded_meanwhile),
		cmocka_unit_test(a_medium_fails),
		cmocka_unit_test(a_damaged_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
