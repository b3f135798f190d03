// SPDX-License-Identifier: BSD-3-Clause
/* Tests of a pool that gets a further medium. */
#include <string.h>
#include "device/block/ram.h"
#include "service/block/store/faulty.h"
#include "service/block/store/store_assert.h"
#include "service/block/store/store_priv.h"

static void a_pool_grows_by_a_medium(void **state)
{
	struct dpu_block_device *media[] = { ram_new(16 * MIB), ram_new(32 * MIB) };
	struct store *store = pool_made(media[0]);
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
	pool_run(store, STORE_CLOSE, 0, 0);
	store_free(store);
	assert_refused(media, 1, "the pool has 2 media; medium 1 of it is not among the 1 that are here");
	struct dpu_block_device *turned[] = { media[1], media[0] };
	store = rig_open(&(struct store_options){ .name = "p" }, turned, 2, STORE_OPEN, &error);
	assert_non_null(store);
	assert_blocks(store, volume, 0, 4000, 1);
	assert_blocks(store, volume, 4000, 4000, 4001);
	assert_sound(store);
	pool_finish(store, media[0]);
	media[1]->ops->close(media[1], NULL, NULL);
}

static void count_change(void *ctx)
{
	++*(unsigned *)ctx;
}

/* Its users find out that their buffers may come to be on a medium that wants more. */
static void a_pool_is_as_particular_as_its_media(void **state)
{
	struct dpu_block_device *media[] = { ram_new(16 * MIB), ram_new(16 * MIB) };
	struct store *store = pool_made(media[0]);
	struct dpu_block_device *device = store_device(store, rig_create(store, "a", MIB));
	struct store_command grow = { .op = STORE_GROW, .medium = media[1] };
	unsigned changes = 0;

	assert_int_equal(device->alignment, 1);
	device->changed = count_change;
	device->changed_ctx = &changes;
	media[1]->alignment = STORE_BLOCK;
	assert_int_equal(rig_command(store, &grow), DPU_OK);
	assert_int_equal(device->alignment, STORE_BLOCK);
	assert_int_equal(changes, 1);
	pool_finish(store, media[0]);
	media[1]->ops->close(media[1], NULL, NULL);
}

/* ---- what holds a pool already ---- */

static void a_medium_of_another_pool_is_refused(void **state)
{
	struct dpu_block_device *media[] = { ram_new(16 * MIB), ram_new(32 * MIB) };
	struct store *other = pool_made(media[1]);
	uint64_t theirs = rig_create(other, "theirs", MIB);
	struct store_command grow = { .op = STORE_GROW, .medium = media[1] };

	write_blocks(other, theirs, 0, 10, 7);
	assert_int_equal(pool_run(other, STORE_CLOSE, 0, 0), DPU_OK);
	store_free(other);
	struct store *store = pool_made(media[0]);
	assert_int_equal(rig_command(store, &grow), DPU_E_EXISTS);
	assert_non_null(strstr(grow.error.message, "holds another pool"));
	/* Either superblock says so. */
	memset(block_ram_data(media[1]), 0, STORE_BLOCK);
	assert_int_equal(rig_command(store, &grow), DPU_E_EXISTS);
	other = pool_opened(media[1]);
	assert_blocks(other, theirs, 0, 10, 7);
	store_free(other);
	grow.force = true;
	assert_int_equal(rig_command(store, &grow), DPU_OK);
	assert_true(store_has(store, media[1]));
	assert_int_equal(rig_command(store, &grow), DPU_E_EXISTS);
	grow.medium = media[0];
	assert_int_equal(rig_command(store, &grow), DPU_E_EXISTS);
	assert_sound(store);
	pool_finish(store, media[0]);
	media[1]->ops->close(media[1], NULL, NULL);
}

/* ---- growth that comes to nothing ---- */

static struct store *opened_both(struct dpu_block_device **media)
{
	struct dpu_error error = { 0 };
	struct store *store = rig_open(&(struct store_options){ .name = "p" }, media, 2, STORE_OPEN, &error);

	if (!store)
		print_error("%s\n", error.message);
	assert_non_null(store);
	return store;
}

/* The pool is as it was, whatever the medium got of it, and grows the next time. */
static void assert_grows_at_last(struct dpu_block_device **media, uint64_t volume)
{
	struct dpu_block_device *turned[] = { media[1], media[0] };
	struct store *store = opened_both(turned);
	struct store_command grow = { .op = STORE_GROW, .medium = media[1] };

	assert_true(store_has(store, media[0]) && !store_has(store, media[1]));
	assert_blocks(store, volume, 0, 100, 1);
	assert_int_equal(rig_command(store, &grow), DPU_OK);
	write_blocks(store, volume, 100, 4000, 101);
	assert_sound(store);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0), DPU_BLOCK_OK);
	store_free(store);
	store = opened_both(turned);
	assert_true(store_has(store, media[0]) && store_has(store, media[1]));
	assert_blocks(store, volume, 0, 4000, 1);
	assert_sound(store);
	pool_finish(store, media[0]);
	media[1]->ops->close(media[1], NULL, NULL);
}

/* Its superblocks are there, and no root that names it. */
static void a_checkpoint_fails_in_the_middle_of_it(void **state)
{
	struct dpu_block_device *media[] = { ram_new(16 * MIB), ram_new(32 * MIB) };
	struct faulty *faulty = faulty_new(media[0]);
	struct faulty_plan plan = { .ops = 1 << DPU_BLOCK_WRITE, .fails = 1 << 30, .status = DPU_BLOCK_IO_ERROR };
	struct store *store = pool_made(faulty_device(faulty));
	uint64_t volume = rig_create(store, "a", 64 * MIB);
	struct store_command grow = { .op = STORE_GROW, .medium = media[1] };

	write_blocks(store, volume, 0, 100, 1);
	assert_int_equal(pool_run(store, STORE_CHECKPOINT, 0, 0), DPU_OK);
	faulty_plan(faulty, &plan);
	assert_int_equal(rig_command(store, &grow), DPU_E_IO);
	assert_non_null(strstr(grow.error.message, "read-only"));
	store_free(store);
	faulty_free(faulty);
	assert_grows_at_last(media, volume);
}

static void a_superblock_cannot_be_written(void **state)
{
	for (unsigned which = 0; which < 2; which++) {
		struct dpu_block_device *media[] = { ram_new(16 * MIB), ram_new(32 * MIB) };
		struct faulty *faulty = faulty_new(media[1]);
		struct faulty_plan plan = {
			.ops = 1 << DPU_BLOCK_WRITE, .skip = which, .fails = 1, .status = DPU_BLOCK_IO_ERROR
		};
		struct store *store = pool_made(media[0]);
		uint64_t volume = rig_create(store, "a", 64 * MIB);
		struct store_command grow = { .op = STORE_GROW, .medium = faulty_device(faulty) };

		faulty_plan(faulty, &plan);
		assert_int_equal(rig_command(store, &grow), DPU_E_IO);
		assert_non_null(strstr(grow.error.message, "'faulty'"));
		write_blocks(store, volume, 0, 100, 1);
		assert_int_equal(pool_run(store, STORE_CLOSE, 0, 0), DPU_OK);
		store_free(store);
		faulty_free(faulty);
		assert_grows_at_last(media, volume);
	}
}

/* A power failure left the first sector of each. */
static void superblocks_are_torn(void **state)
{
	struct dpu_block_device *media[] = { ram_new(16 * MIB), ram_new(32 * MIB) };
	uint8_t *data = block_ram_data(media[1]);
	struct store *store = pool_made(media[0]);
	uint64_t volume = rig_create(store, "a", 64 * MIB);
	struct store_super super = store->medium[0].super;

	write_blocks(store, volume, 0, 100, 1);
	assert_int_equal(pool_run(store, STORE_CLOSE, 0, 0), DPU_OK);
	store_free(store);
	super.medium = 1;
	memcpy(data, &super, sizeof(super));
	memcpy(data + 32 * MIB - STORE_BLOCK, &super, sizeof(super));
	assert_grows_at_last(media, volume);
}

/* Whoever serves the medium may know the pool, and say any number of a medium. */
static void an_impossible_number_is_refused(void **state)
{
	struct dpu_block_device *media[] = { ram_new(16 * MIB), ram_new(32 * MIB) };
	struct store *store = pool_made(media[0]);
	struct store_super super = store->medium[0].super;
	struct store_command grow = { .op = STORE_GROW, .medium = media[1] };

	super.medium = 0xffffffff;
	memcpy(block_ram_data(media[1]), &super, sizeof(super));
	assert_int_equal(rig_command(store, &grow), DPU_E_EXISTS);
	pool_finish(store, media[0]);
	media[1]->ops->close(media[1], NULL, NULL);
}

static void nothing_is_written_to_a_medium_that_is_too_large(void **state)
{
	struct dpu_block_device *media[] = { ram_new(16 * MIB), ram_new(512 * MIB) };
	struct store_options options = { .name = "p", .cache_pages = 300 };
	struct dpu_error error;
	struct store *store = rig_open(&options, media, 1, STORE_FORMAT, &error);
	struct store_command grow = { .op = STORE_GROW, .medium = media[1], .force = true };
	static const uint8_t zeroes[STORE_BLOCK];

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(rig_command(store, &grow), DPU_E_LIMIT);
		assert_non_null(strstr(grow.error.message, i ? "max_bytes" : "cache_pages"));
		assert_memory_equal(block_ram_data(media[1]), zeroes, STORE_BLOCK);
		assert_memory_equal((uint8_t *)block_ram_data(media[1]) + media[1]->bytes - STORE_BLOCK, zeroes,
				    STORE_BLOCK);
		media[1]->ops->close(media[1], NULL, NULL);
		media[1] = grow.medium = ram_new(i ? 17 * MIB : UINT64_C(4) << 30);
	}
	/* Neither attempt has left anything. */
	assert_int_equal(rig_command(store, &grow), DPU_OK);
	assert_sound(store);
	pool_finish(store, media[0]);
	media[1]->ops->close(media[1], NULL, NULL);
}

/* ---- in the middle of requests ---- */

/* A leaf is wanted so many polls after the growth began, and the page that would be taken next is the first of the new
 * medium. */
static void a_page_is_taken_after(unsigned polls)
{
	struct dpu_block_device *media[] = { ram_new(16 * MIB), ram_new(32 * MIB) };
	struct store *store = pool_made(media[0]);
	uint64_t volume = rig_create(store, "a", UINT64_C(1) << 40), leaf = 0;
	struct store_command grow = { .op = STORE_GROW, .medium = media[1] };
	uint8_t block[STORE_BLOCK];

	rig_fill(block, 1, STORE_BLOCK);
	for (; leaf < 20; leaf++)
		rig_io(store, volume, DPU_BLOCK_WRITE, leaf * MIB, block, STORE_BLOCK, 0);
	store->page_space.rotor = store->pages;
	rig_start(store, &grow);
	for (unsigned i = 0; i < polls; i++)
		store_poll(store);
	for (; leaf < 40; leaf++)
		assert_int_equal(rig_io(store, volume, DPU_BLOCK_WRITE, leaf * MIB, block, STORE_BLOCK, 0),
				 DPU_BLOCK_OK);
	assert_int_equal(rig_end(store, &grow), DPU_OK);
	assert_sound(store);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0), DPU_BLOCK_OK);
	store_free(store);
	store = opened_both(media);
	assert_sound(store);
	for (leaf = 0; leaf < 40; leaf++)
		assert_blocks(store, volume, leaf * (MIB / STORE_BLOCK), 1, 1);
	pool_finish(store, media[0]);
	media[1]->ops->close(media[1], NULL, NULL);
}

static void pages_come_with_their_counts(void **state)
{
	for (unsigned polls = 0; polls < 10; polls++)
		a_page_is_taken_after(polls);
}

/* Power fails so many polls after it began, and after a block was made durable wherever there is room. */
static bool power_fails_after(unsigned polls)
{
	struct dpu_block_device *media[] = { ram_new(16 * MIB), ram_new(32 * MIB) }, *left[2];
	struct store *store = pool_made(media[0]);
	uint64_t volume = rig_create(store, "a", 64 * MIB);
	struct store_command grow = { .op = STORE_GROW, .medium = media[1] };
	uint8_t block[STORE_BLOCK];

	write_blocks(store, volume, 0, 100, 1);
	rig_start(store, &grow);
	for (unsigned i = 0; i < polls; i++)
		store_poll(store);
	store->space.allocator.group = NO_PLACE;
	store->space.allocator.rotor = store->medium[0].super.space_pages;
	rig_fill(block, 101, STORE_BLOCK);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_WRITE, 100 * STORE_BLOCK, block, STORE_BLOCK, DPU_BLOCK_FUA),
			 DPU_BLOCK_OK);
	for (unsigned i = 0; i < 2; i++) {
		left[i] = ram_new(media[i]->bytes);
		memcpy(block_ram_data(left[i]), block_ram_data(media[i]), media[i]->bytes);
	}
	bool ended = grow.ctx;
	pool_finish(store, media[0]);
	media[1]->ops->close(media[1], NULL, NULL);
	store = opened_both(left);
	assert_blocks(store, volume, 0, 101, 1);
	assert_sound(store);
	pool_finish(store, left[0]);
	left[1]->ops->close(left[1], NULL, NULL);
	return ended;
}

static void nothing_of_it_is_used_before_the_root_has_it(void **state)
{
	unsigned polls = 0;

	while (!power_fails_after(polls))
		polls++;
	assert_true(polls > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pool_grows_by_a_medium),
		cmocka_unit_test(a_pool_is_as_particular_as_its_media),
		cmocka_unit_test(a_medium_of_another_pool_is_refused),
		cmocka_unit_test(a_checkpoint_fails_in_the_middle_of_it),
		cmocka_unit_test(a_superblock_cannot_be_written),
		cmocka_unit_test(superblocks_are_torn),
		cmocka_unit_test(an_impossible_number_is_refused),
		cmocka_unit_test(nothing_is_written_to_a_medium_that_is_too_large),
		cmocka_unit_test(pages_come_with_their_counts),
		cmocka_unit_test(nothing_of_it_is_used_before_the_root_has_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
