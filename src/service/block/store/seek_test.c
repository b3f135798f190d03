// SPDX-License-Identifier: BSD-3-Clause
/* Tests of STORE_SEEK: what it says is mapped next is what was written, whatever shares the pages that say so. */
#include <stdlib.h>
#include <string.h>
#include "device/block/ram.h"
#include "service/block/store/faulty.h"
#include "service/block/store/recorder.h"
#include "service/block/store/store_assert.h"
#include "service/block/store/store_priv.h"

enum { FRAMES = 24 };
static const uint64_t LARGEST = UINT64_C(128) << 40;

static uint64_t seek(struct store *store, uint64_t volume, uint64_t offset)
{
	struct store_command command = { .op = STORE_SEEK, .volume = volume, .bytes = offset };

	assert_int_equal(rig_command(store, &command), DPU_OK);
	return command.ret_offset;
}

/* Fewer than any pool has, so that maps are evicted and read again. */
static void few_frames(struct store *store)
{
	store->frame_limit = FRAMES;
	store->op_pages = FRAMES / 3;
}

static void assert_fails(struct store *store, uint64_t volume, enum dpu_error_code code, const char *words)
{
	struct store_command command = { .op = STORE_SEEK, .volume = volume };

	assert_int_equal(rig_command(store, &command), code);
	if (!strstr(command.error.message, words))
		print_error("%s\n", command.error.message);
	assert_non_null(strstr(command.error.message, words));
}

/* In a tree of any height; each is found from each side of it, and within it. */
static void what_is_far_apart(void **state)
{
	static const uint64_t sizes[] = { 5 * MIB, 300 * MIB, UINT64_C(1) << 40, LARGEST };
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t bytes = sizes[i], middle = bytes / 2 + 3 * STORE_BLOCK, last = bytes - STORE_BLOCK;
		uint64_t volume = rig_create(store, "a", bytes);

		write_blocks(store, volume, 2, 1, 1);
		write_blocks(store, volume, middle / STORE_BLOCK, 2, 1);
		write_blocks(store, volume, last / STORE_BLOCK, 1, 1);
		assert_int_equal(seek(store, volume, 0), 2 * STORE_BLOCK);
		assert_int_equal(seek(store, volume, 2 * STORE_BLOCK - 1), 2 * STORE_BLOCK);
		assert_int_equal(seek(store, volume, 2 * STORE_BLOCK), 2 * STORE_BLOCK);
		assert_int_equal(seek(store, volume, 2 * STORE_BLOCK + 513), 2 * STORE_BLOCK + 513);
		assert_int_equal(seek(store, volume, 3 * STORE_BLOCK), middle);
		assert_int_equal(seek(store, volume, middle + STORE_BLOCK), middle + STORE_BLOCK);
		assert_int_equal(seek(store, volume, middle + 2 * STORE_BLOCK), last);
		assert_int_equal(seek(store, volume, last + 512), last + 512);
		assert_int_equal(seek(store, volume, bytes), bytes);
		assert_int_equal(seek(store, volume, UINT64_MAX), bytes);
		assert_int_equal(pool_run(store, STORE_DELETE, volume, 0), DPU_OK);
	}
	assert_sound(store);
	pool_finish(store, device);
}

/* Neither reads a page nor takes more than a turn. */
static void empty(void **state)
{
	struct dpu_block_device *device = ram_new(16 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", LARGEST), odd = rig_create(store, "b", 10 * STORE_BLOCK + 512);
	struct store_command command = { .op = STORE_SEEK, .volume = volume };

	rig_settle(store);
	rig_start(store, &command);
	store_poll(store);
	assert_ptr_equal(command.ctx, &command);
	assert_int_equal(command.error.code, DPU_OK);
	assert_int_equal(command.ret_offset, LARGEST);
	write_blocks(store, volume, 70000, 1, 1);
	rig_io(store, volume, DPU_BLOCK_DISCARD, 0, NULL, 70001 * STORE_BLOCK, 0);
	assert_int_equal(seek(store, volume, 0), LARGEST);
	/* A last block that is not whole. */
	assert_int_equal(seek(store, odd, 0), 10 * STORE_BLOCK + 512);
	rig_io(store, odd, DPU_BLOCK_WRITE, 10 * STORE_BLOCK, &(uint8_t[512]){ 1 }, 512, 0);
	assert_int_equal(seek(store, odd, 0), 10 * STORE_BLOCK);
	pool_finish(store, device);
}

/* ---- against what was written ---- */

enum { BLOCKS = 3000, FAMILY = 5, STRIDE = 97 };

struct member {
	uint64_t volume;
	bool mapped[BLOCKS]; /* the block STRIDE * i: leaves and nodes with gaps between */
};

static void assert_member(struct store *store, const struct member *member, unsigned step)
{
	uint64_t next = BLOCKS;

	for (unsigned i = BLOCKS; i-- > 0;) {
		if (member->mapped[i])
			next = i;
		if (i % step == 0)
			assert_int_equal(seek(store, member->volume, (uint64_t)i * STRIDE * STORE_BLOCK),
					 next * STRIDE * STORE_BLOCK);
	}
}

static void change(struct store *store, struct member *member, uint64_t *seed)
{
	uint64_t first = random_below(seed, BLOCKS), count = 1 + random_below(seed, 40);

	if (random_below(seed, 3) == 0) {
		if (count > BLOCKS - first)
			count = BLOCKS - first;
		rig_io(store, member->volume, DPU_BLOCK_DISCARD, first * STRIDE * STORE_BLOCK, NULL,
		       count * STRIDE * STORE_BLOCK, 0);
		memset(member->mapped + first, false, count);
	} else {
		write_blocks(store, member->volume, first * STRIDE, 1, 1);
		member->mapped[first] = true;
	}
}

/* Copies of copies, in a cache that holds a part of their maps; before and after a start. */
static void a_family(void **state)
{
	static struct member family[FAMILY];
	struct dpu_block_device *device = ram_new(256 * MIB);
	struct store *store = pool_made(device);
	struct store_stats stats;
	uint64_t seed = 5;

	few_frames(store);
	family[0].volume = rig_create(store, "0", (uint64_t)BLOCKS * STRIDE * STORE_BLOCK);
	for (unsigned i = 0; i < 1500; i++)
		change(store, &family[0], &seed);
	for (unsigned i = 1; i < FAMILY; i++) {
		family[i] = family[i / 2];
		family[i].volume = rig_copy(store, i == 2 ? STORE_SNAPSHOT : STORE_CLONE, family[i / 2].volume,
					    (char[]){ (char)('0' + i), 0 });
		for (unsigned j = 0; j < 200; j++)
			change(store, &family[i == 2 ? 0 : i], &seed);
	}
	for (unsigned life = 0; life < 2; life++) {
		for (unsigned i = 0; i < FAMILY; i++)
			assert_member(store, &family[i], 7);
		store_stats(store, &stats);
		assert_true(stats.page_evictions > 500);
		assert_sound(store);
		store = pool_reopened(store, device);
		few_frames(store);
	}
	pool_finish(store, device);
}

/* ---- beside writes ---- */

enum { SPOTS = 48, SPOT_STRIDE = 20011, CHANGES = 4, SEEKS = 4000 };

enum spot { SPOT_EMPTY, SPOT_MAPPED, SPOT_CHANGING };

struct race {
	struct store *store;
	uint64_t volume;
	enum spot spot[SPOTS];    /* the block SPOT_STRIDE * i */
	bool possible[SPOTS + 1]; /* was the answer at some time since the command began */
	struct changing {
		struct dpu_block_request request; /* first */
		struct iovec iov;
		struct race *race;
		unsigned spot;
		bool busy;
	} changing[CHANGES];
	uint8_t data[STORE_BLOCK] __attribute__((aligned(8)));
};

static void changed(struct dpu_block_request *request)
{
	struct changing *changing = (struct changing *)request;

	assert_int_equal(request->status, DPU_BLOCK_OK);
	changing->busy = false;
	changing->race->spot[changing->spot] = request->op == DPU_BLOCK_WRITE ? SPOT_MAPPED : SPOT_EMPTY;
}

static void change_one(struct race *race, uint64_t *seed)
{
	struct changing *changing = &race->changing[random_below(seed, CHANGES)];
	unsigned spot = (unsigned)random_below(seed, SPOTS);
	struct dpu_block_device *device = store_device(race->store, race->volume);

	if (changing->busy || race->spot[spot] == SPOT_CHANGING)
		return;
	bool write = race->spot[spot] == SPOT_EMPTY;
	*changing = (struct changing){ .race = race, .spot = spot, .busy = true, .iov = { race->data, STORE_BLOCK } };
	changing->request = (struct dpu_block_request){
		.op = write ? DPU_BLOCK_WRITE : DPU_BLOCK_DISCARD,
		.segments = write,
		.offset = (uint64_t)spot * SPOT_STRIDE * STORE_BLOCK,
		.length = STORE_BLOCK,
		.iov = &changing->iov,
		.done = changed,
	};
	race->spot[spot] = SPOT_CHANGING;
	device->ops->submit(device, &changing->request);
}

static void note_possible(struct race *race, unsigned from)
{
	unsigned i = from;

	for (; i < SPOTS && race->spot[i] != SPOT_MAPPED; i++)
		race->possible[i] |= race->spot[i] == SPOT_CHANGING;
	race->possible[i] = true;
}

/* A few blocks come and go, and pages are read again and again. */
static void beside_writes(void **state)
{
	struct race *race = calloc(1, sizeof(*race));
	struct recorder_clock clock = { .seed = 9 };
	struct recorder *medium = recorder_new(32 * MIB, NULL, &clock);
	struct dpu_block_device *device = recorder_device(medium);
	struct dpu_error error;
	struct store_stats stats;
	uint64_t seed = 3;

	recorder_forget(medium);
	race->store = rig_open(&(struct store_options){ .name = "p" }, &device, 1, STORE_FORMAT, &error);
	assert_non_null(race->store);
	few_frames(race->store);
	race->volume = rig_create(race->store, "a", (uint64_t)SPOTS * SPOT_STRIDE * STORE_BLOCK);
	for (unsigned i = 0; i < SEEKS; i++) {
		unsigned from = (unsigned)random_below(&seed, SPOTS);
		struct store_command command = { .op = STORE_SEEK,
						 .volume = race->volume,
						 .bytes = (uint64_t)from * SPOT_STRIDE * STORE_BLOCK };
		memset(race->possible, false, sizeof(race->possible));
		rig_start(race->store, &command);
		while (!command.ctx) {
			change_one(race, &seed);
			note_possible(race, from);
			store_poll(race->store);
		}
		assert_int_equal(command.error.code, DPU_OK);
		assert_int_equal(command.ret_offset % ((uint64_t)SPOT_STRIDE * STORE_BLOCK), 0);
		assert_true(race->possible[command.ret_offset / STORE_BLOCK / SPOT_STRIDE]);
	}
	store_stats(race->store, &stats);
	assert_true(stats.page_loads > SEEKS / 2);
	pool_run(race->store, STORE_CLOSE, 0, 0);
	store_free(race->store);
	recorder_free(medium);
	free(race);
}

static uint32_t leaf_page(struct store *store, uint64_t block)
{
	struct frame *frame;
	bool exclusive;

	assert_int_equal(tree_find(store, store->volume[0]->entry, block, &frame, &exclusive), 0);
	return frame->page;
}

/* While a page comes, a block is written where it has looked already, and then one where it has not: the second was
 * never the next one. */
static void true_as_a_whole(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct faulty *faulty = faulty_new(device);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 900 * MIB);
	struct store_command command = { .op = STORE_SEEK, .volume = volume, .bytes = STORE_BLOCK };
	struct faulty_plan plan = { .ops = 1 << DPU_BLOCK_READ, .fails = UINT64_MAX, .holds = true };
	uint32_t leaf;

	write_blocks(store, volume, 0, 1, 1);
	write_blocks(store, volume, 9 * LEAF_BLOCKS, 1, 1);
	pool_run(store, STORE_CHECKPOINT, 0, 0);
	leaf = leaf_page(store, 9 * LEAF_BLOCKS);
	plan.first = page_offset(medium_of_page(store, leaf), leaf, map_get(store->map, leaf));
	plan.end = plan.first + STORE_BLOCK;
	store = pool_reopened(store, faulty_device(faulty));
	faulty_plan(faulty, &plan);
	rig_start(store, &command);
	rig_settle(store);
	assert_null(command.ctx);
	write_blocks(store, volume, 20, 1, 1);
	write_blocks(store, volume, LEAF_BLOCKS + 5, 1, 1);
	faulty_release(faulty);
	assert_int_equal(rig_end(store, &command), DPU_OK);
	assert_int_equal(command.ret_offset, 20 * STORE_BLOCK);
	pool_finish(store, device);
	faulty_free(faulty);
}

/* ---- volumes that are not well, or not there ---- */

/* A step beyond what one poll does. */
static void leaves_that_are_empty(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 900 * MIB);
	struct frame *frame;
	bool exclusive;

	for (unsigned leaf = 0; leaf < 100; leaf++)
		write_blocks(store, volume, leaf * LEAF_BLOCKS + 255, 1, 1);
	for (unsigned leaf = 1; leaf < 99; leaf++) {
		assert_int_equal(tree_find(store, store->volume[0]->entry, leaf * LEAF_BLOCKS, &frame, &exclusive), 0);
		memset(((struct page_leaf *)frame->data)->block, 0, sizeof(((struct page_leaf *)frame->data)->block));
	}
	rig_settle(store);
	assert_int_equal(seek(store, volume, 0), 255 * STORE_BLOCK);
	assert_int_equal(seek(store, volume, 256 * STORE_BLOCK), (99 * LEAF_BLOCKS + 255) * STORE_BLOCK);
	assert_int_equal(seek(store, volume, (99 * LEAF_BLOCKS + 256) * STORE_BLOCK), 900 * MIB);
	pool_finish(store, device);
}

static void what_goes(void **state)
{
	struct dpu_block_device *device = ram_new(256 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 900 * MIB);
	struct store_command seek_command = { .op = STORE_SEEK, .volume = volume };
	struct store_command delete = { .op = STORE_DELETE, .volume = volume };
	struct store_command resize = { .op = STORE_RESIZE, .volume = volume, .bytes = 100 * MIB };

	for (unsigned i = 0; i < 800; i++) /* to be trimmed for some polls */
		write_blocks(store, volume, i * LEAF_BLOCKS + 90, 1, 1);
	rig_io(store, volume, DPU_BLOCK_DISCARD, 0, NULL, 600 * LEAF_BLOCKS * STORE_BLOCK, 0);
	assert_int_equal(seek(store, volume, 0), (600 * LEAF_BLOCKS + 90) * STORE_BLOCK);
	rig_start(store, &resize);
	while (store->volume[0]->entry->bytes != 100 * MIB)
		store_poll(store);
	assert_true(store->volume[0]->entry->mapped * STORE_BLOCK > 100 * MIB);
	assert_int_equal(seek(store, volume, 0), 100 * MIB);
	assert_int_equal(seek(store, volume, 101 * MIB), 100 * MIB);
	assert_int_equal(rig_end(store, &resize), DPU_OK);
	assert_int_equal(pool_run(store, STORE_RESIZE, volume, 900 * MIB), DPU_OK);
	assert_int_equal(seek(store, volume, 0), 900 * MIB);
	rig_start(store, &delete);
	rig_start(store, &seek_command);
	assert_int_equal(rig_end(store, &seek_command), DPU_E_NOT_FOUND);
	assert_int_equal(rig_end(store, &delete), DPU_OK);
	assert_fails(store, volume + 1, DPU_E_NOT_FOUND, "no volume");
	pool_finish(store, device);
}

/* While a page comes. */
static void it_goes_meanwhile(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct faulty *faulty = faulty_new(device);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 900 * MIB);
	struct store_command command = { .op = STORE_SEEK, .volume = volume };
	struct store_command delete = { .op = STORE_DELETE, .volume = volume };

	write_blocks(store, volume, 100000, 1, 1);
	store = pool_reopened(store, faulty_device(faulty));
	faulty_plan(faulty, &(struct faulty_plan){ .ops = 1 << DPU_BLOCK_READ, .fails = UINT64_MAX, .holds = true });
	rig_start(store, &command);
	rig_settle(store);
	assert_null(command.ctx);
	assert_int_equal(faulty_held(faulty), 1);
	rig_start(store, &delete);
	assert_int_equal(rig_end(store, &command), DPU_E_NOT_FOUND);
	faulty_plan(faulty, NULL);
	faulty_release(faulty);
	assert_int_equal(rig_end(store, &delete), DPU_OK);
	assert_sound(store);
	pool_finish(store, device);
	faulty_free(faulty);
}

static void a_damaged_map(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 32 * MIB), other = rig_create(store, "b", 32 * MIB);
	struct store_volume_info info;

	write_blocks(store, volume, 5, 1, 1);
	write_blocks(store, other, 7, 1, 1);
	store = pool_reopened_damaged(store, device, leaf_page(store, 5));
	assert_fails(store, volume, DPU_E_IO, "a page of the volume's map is damaged");
	store_info(store_device(store, volume), &info);
	assert_true(info.quarantined);
	assert_fails(store, volume, DPU_E_IO, "the volume is quarantined");
	assert_int_equal(seek(store, other, 0), 7 * STORE_BLOCK);
	pool_finish(store, device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_far_apart), cmocka_unit_test(empty),
		cmocka_unit_test(a_family),          cmocka_unit_test(beside_writes),
		cmocka_unit_test(true_as_a_whole),   cmocka_unit_test(leaves_that_are_empty),
		cmocka_unit_test(what_goes),         cmocka_unit_test(it_goes_meanwhile),
		cmocka_unit_test(a_damaged_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
