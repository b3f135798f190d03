// SPDX-License-Identifier: BSD-3-Clause
/* Tests of a medium that is replaced by an older copy of itself: it is refused by name, and nothing else is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <malloc.h>
#include "base/sanitized.h"
#include "device/block/ram.h"
#include "engine/crc32c/crc32c.h"
#include "service/block/store/faulty.h"
#include "service/block/store/recorder.h"
#include "service/block/store/store_assert.h"
#include "service/block/store/store_priv.h"

enum {
	MEDIA = 3,
	MEDIUM_BYTES = 4 * MIB,
	GROWN_BYTES = MEDIUM_BYTES + 64 * STORE_BLOCK,
	BLOCKS = 900, /* more than one medium has room for */
	FEW_BLOCKS = 300,
	AGES = 3,
	TORN = LOSSES, /* superblocks that were not flushed are part old, part new */
	KINDS,
};

static const struct store_options options = { .name = "p", .cache_pages = 256 };

/* What the media hold at some time. */
struct images {
	uint8_t *data[MEDIA];
};

struct world {
	struct dpu_block_device *media[MEDIA];
	unsigned count, blocks;
	uint64_t volume;
	struct images age[AGES], work;
};

static struct images images_new(void)
{
	struct images images;

	for (unsigned i = 0; i < MEDIA; i++)
		images.data[i] = calloc(1, GROWN_BYTES);
	return images;
}

static void images_free(struct images *images)
{
	for (unsigned i = 0; i < MEDIA; i++)
		free(images->data[i]);
}

static void keep_one(struct world *world, unsigned i, struct images *images)
{
	memcpy(images->data[i], block_ram_data(world->media[i]), world->media[i]->bytes);
}

static void put_one(struct world *world, unsigned i, const struct images *images)
{
	memcpy(block_ram_data(world->media[i]), images->data[i], world->media[i]->bytes);
}

static void keep(struct world *world, struct images *images)
{
	for (unsigned i = 0; i < world->count; i++)
		keep_one(world, i, images);
}

static void put(struct world *world, const struct images *images)
{
	for (unsigned i = 0; i < world->count; i++)
		put_one(world, i, images);
}

static struct store *opened(struct world *world)
{
	struct dpu_error error = { 0 };
	struct store *store = rig_open(&options, world->media, world->count, STORE_OPEN, &error);

	if (!store)
		fail_msg("%s", error.message);
	return store;
}

/* What a session leaves; killed: some of it in the log alone, so that recovery changes pages of each medium. */
static void use(struct world *world, struct store *store, unsigned age, bool killed)
{
	unsigned first = world->blocks * 2 / 3;

	write_blocks(store, world->volume, 0, world->blocks, 1000 * (age + 1));
	assert_int_equal(pool_run(store, killed ? STORE_CHECKPOINT : STORE_CLOSE, 0, 0), DPU_OK);
	if (killed) {
		write_blocks(store, world->volume, first, world->blocks - first, 1000 * (age + 1) + first);
		rig_io(store, world->volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0);
	}
	store_free(store);
}

static void assert_age(struct world *world, unsigned age)
{
	struct store *store = opened(world);

	assert_blocks(store, world->volume, 0, world->blocks, 1000 * (age + 1));
	assert_counted(store);
	store_free(store);
}

static void session(struct world *world, unsigned age, bool killed)
{
	use(world, opened(world), age, killed);
	keep(world, &world->age[age]);
}

/* In its first session. grown: the media have become longer since it was made. */
static void world_new(struct world *world, unsigned count, bool killed, bool grown)
{
	struct store_command format = { .op = STORE_FORMAT, .log_bytes = 512 << 10, .max_volumes = 31 };
	struct dpu_error error;
	struct store *store;
	char name[4];

	*world = (struct world){ .count = count, .blocks = count > 1 ? BLOCKS : FEW_BLOCKS };
	for (unsigned i = 0; i < MEDIA; i++) {
		snprintf(name, sizeof(name), "m%u", i);
		assert_int_equal(block_ram_new(name, GROWN_BYTES, 512, &world->media[i]), 0);
		world->media[i]->bytes = MEDIUM_BYTES;
	}
	assert_int_equal(store_new(&options, world->media, count, &store, &error), 0);
	assert_int_equal(rig_command(store, &format), DPU_OK);
	for (unsigned i = 0; i < MEDIA; i++)
		world->media[i]->bytes = grown ? GROWN_BYTES : MEDIUM_BYTES;
	world->volume = rig_create(store, "v", BLOCKS * STORE_BLOCK);
	for (unsigned i = 0; i < AGES; i++)
		world->age[i] = images_new();
	world->work = images_new();
	use(world, store, 0, killed);
	keep(world, &world->age[0]);
}

static void world_free(struct world *world)
{
	for (unsigned i = 0; i < AGES; i++)
		images_free(&world->age[i]);
	images_free(&world->work);
	for (unsigned i = 0; i < MEDIA; i++)
		world->media[i]->ops->close(world->media[i], NULL, NULL);
}

static void assert_older(struct world *world, unsigned medium, uint64_t session, uint64_t now)
{
	char expected[128];

	snprintf(expected, sizeof(expected),
		 "medium 'm%u', offset 0: it is an older copy, of session %llu, and the pool has been in session %llu:",
		 medium, (unsigned long long)session, (unsigned long long)now);
	assert_refused(world->media, world->count, expected);
}

/* ---- copies of earlier sessions ---- */

static void one_is_replaced(unsigned count, bool killed)
{
	struct world world;

	world_new(&world, count, killed, false);
	session(&world, 1, killed);
	session(&world, 2, killed);
	for (unsigned age = 0; age < 2; age++) {
		for (unsigned i = 0; i < count; i++) {
			put(&world, &world.age[2]);
			put_one(&world, i, &world.age[age]);
			assert_older(&world, i, age + 1, 3);
			struct store_command force = { .op = STORE_OPEN, .force = true };
			struct dpu_error error;
			struct store *store;
			assert_int_equal(store_new(&options, world.media, count, &store, &error), 0);
			assert_int_equal(rig_command(store, &force), DPU_E_IO);
			store_free(store);
			put_one(&world, i, &world.age[2]); /* nothing was written */
			assert_age(&world, 2);
		}
		put(&world, &world.age[age]);
		assert_age(&world, age);
	}
	world_free(&world);
}

static void an_older_copy_is_refused(void **state)
{
	for (unsigned count = 2; count <= MEDIA; count++)
		for (unsigned killed = 0; killed < 2; killed++)
			one_is_replaced(count, killed);
}

/* This is what numbers of sessions do not tell. */
static void a_copy_of_the_same_session_is_not_noticed(void **state)
{
	struct world world;

	world_new(&world, 2, true, false);
	struct store *store = opened(&world);
	write_blocks(store, world.volume, 0, BLOCKS, 5000);
	assert_int_equal(pool_run(store, STORE_CHECKPOINT, 0, 0), DPU_OK);
	keep(&world, &world.work);
	use(&world, store, 1, true);
	put_one(&world, 1, &world.work);
	store_free(opened(&world));
	world_free(&world);
}

/* ---- openings that are cut short ---- */

/* The process dies then; whether it has ended before. frames: fewer than there are. */
static bool opening_ends_after(struct dpu_block_device *const *media, unsigned count, unsigned polls, uint32_t frames)
{
	struct store_command open = { .op = STORE_OPEN };
	struct dpu_error error;
	struct store *store;

	assert_int_equal(store_new(&options, media, count, &store, &error), 0);
	rig_start(store, &open);
	while (polls-- && !open.ctx) {
		store_poll(store);
		if (store->frame_limit > frames)
			store->frame_limit = frames;
	}
	bool ended = open.ctx;
	while (!store_drained(store))
		store_poll(store);
	store_free(store);
	return ended;
}

/* Also if it was made between an opening that was cut short and the next. */
static void a_copy_from_between_two_openings_is_refused(void **state)
{
	struct world world;
	bool ended = false;

	world_new(&world, 2, true, false);
	for (unsigned polls = 0; !ended; polls++) {
		put(&world, &world.age[0]);
		ended = opening_ends_after(world.media, 2, polls, UINT32_MAX);
		keep(&world, &world.work);
		assert_age(&world, 0);
		for (unsigned i = 0; i < 2; i++) {
			keep(&world, &world.age[1]);
			put_one(&world, i, &world.work);
			assert_refused(world.media, 2,
				       i ? "'m1', offset 0: it is an older copy"
					 : "'m0', offset 0: it is an older copy");
			put(&world, &world.age[1]);
		}
	}
	world_free(&world);
}

static void tear(uint8_t *image, const uint8_t *old, uint64_t offset)
{
	if (memcmp(image + offset, old + offset, STORE_BLOCK) != 0)
		memcpy(image + offset + 100, old + offset + 100, STORE_BLOCK - 100);
}

static void power_fails(struct world *world, struct recorder **recorders, uint64_t time, unsigned kind, uint64_t *seed,
			struct images *ret)
{
	static uint8_t old[GROWN_BYTES];

	for (unsigned i = 0; i < world->count; i++) {
		enum recorder_loss loss = kind == TORN ? LOSE_NOTHING : (enum recorder_loss)kind;
		recorder_crash(recorders[i], time, loss, seed, ret->data[i]);
		if (kind != TORN)
			continue;
		recorder_crash(recorders[i], time, LOSE_ALL, seed, old);
		tear(ret->data[i], old, 0);
		tear(ret->data[i], old, MEDIUM_BYTES - STORE_BLOCK);
	}
}

/* Opens what the images hold, after an opening that was killed after so many polls. */
static void record(struct world *world, const struct images *from, unsigned polls, struct recorder_clock *clock,
		   struct recorder **ret)
{
	struct dpu_block_device *devices[MEDIA];
	struct dpu_error error = { 0 };

	for (unsigned i = 0; i < world->count; i++) {
		ret[i] = recorder_new(world->media[i]->bytes, from->data[i], clock);
		devices[i] = recorder_device(ret[i]);
	}
	if (polls)
		opening_ends_after(devices, world->count, polls, UINT32_MAX);
	struct store *store = rig_open(&options, devices, world->count, STORE_OPEN, &error);
	if (!store)
		fail_msg("%s", error.message);
	store_free(store);
}

static void recorders_free(struct world *world, struct recorder **recorders)
{
	for (unsigned i = 0; i < world->count; i++)
		recorder_free(recorders[i]);
}

/* Power fails again in the next opening. */
static void fails_again(struct world *world, unsigned kind, uint64_t *seed)
{
	struct recorder_clock clock = { .now = 1, .seed = random_next(seed) };
	struct recorder *recorders[MEDIA];

	record(world, &world->work, 0, &clock, recorders);
	power_fails(world, recorders, 1 + random_below(seed, clock.now), kind, seed, &world->work);
	recorders_free(world, recorders);
	put(world, &world->work);
	assert_age(world, 0);
}

/* A medium as it was before the opening is noticed as soon as that matters. */
static unsigned one_is_as_before(struct world *world, unsigned medium)
{
	struct dpu_error error = { 0 };

	put(world, &world->work);
	put_one(world, medium, &world->age[0]);
	struct store *store = rig_open(&options, world->media, world->count, STORE_OPEN, &error);
	if (!store) {
		assert_non_null(strstr(error.message, "it is an older copy"));
		return 1;
	}
	assert_blocks(store, world->volume, 0, BLOCKS, 1000);
	assert_counted(store);
	store_free(store);
	return 0;
}

/* With one in `every` of the kinds of loss, in turns; under sanitizers with one at each tick. */
static void cut_at_each_tick(struct world *world, unsigned every)
{
	struct recorder_clock clock = { .now = 1, .seed = 7 };
	struct recorder *recorders[MEDIA];
	uint64_t seed = 11;
	unsigned noticed = 0, accepted = 0;

	every = SANITIZED ? KINDS : every;
	record(world, &world->age[0], 0, &clock, recorders);
	for (uint64_t time = 1, end = clock.now; time <= end; time++) {
		for (unsigned kind = time % every; kind < KINDS; kind += every) {
			unsigned medium = (unsigned)random_below(&seed, world->count);
			power_fails(world, recorders, time, kind, &seed, &world->work);
			unsigned refused = one_is_as_before(world, medium);
			noticed += refused;
			accepted += !refused;
			assert_true(refused || time < end);
			put(world, &world->work);
			assert_age(world, 0);
			if (kind == time % KINDS)
				fails_again(world, random_below(&seed, 2) ? kind : TORN, &seed);
		}
	}
	print_message("%llu ticks: an older medium was noticed %u times, was as good %u times\n",
		      (unsigned long long)clock.now, noticed, accepted);
	assert_true(noticed > 10 && accepted > 10);
	recorders_free(world, recorders);
}

static void an_opening_may_be_cut_short(void **state)
{
	struct world world;

	world_new(&world, 2, true, false);
	cut_at_each_tick(&world, 1);
	world_free(&world);
}

static void also_on_media_that_have_grown(void **state)
{
	struct world world;

	world_new(&world, 3, false, true);
	cut_at_each_tick(&world, 3);
	world_free(&world);
}

/* What the killed process wrote last is not durable yet, so it must not be relied on while the other is written. */
static void also_after_one_that_was_killed(void **state)
{
	enum { LAST = 600, EVERY = 8 };
	struct recorder *recorders[MEDIA];
	struct world world;
	uint64_t seed = 13;

	world_new(&world, 2, false, false);
	for (unsigned polls = 1; polls < LAST; polls += EVERY) {
		struct recorder_clock clock = { .now = 1, .seed = polls };
		record(&world, &world.age[0], polls, &clock, recorders);
		for (uint64_t time = 1; time <= clock.now; time += 1 + random_below(&seed, 30)) {
			power_fails(&world, recorders, time, TORN, &seed, &world.work);
			put(&world, &world.work);
			store_free(opened(&world));
		}
		recorders_free(&world, recorders);
	}
	world_free(&world);
}

/* ---- pools of before there were such numbers ---- */

static void seal(uint8_t *at, size_t bytes)
{
	uint32_t crc = crc32c(0, at + sizeof(crc), bytes - sizeof(crc));

	memcpy(at, &crc, sizeof(crc));
}

static const struct store_super *super_of(struct world *world, unsigned i)
{
	return block_ram_data(world->media[i]);
}

static struct store_root *root_of(struct world *world, unsigned which)
{
	return (struct store_root *)((uint8_t *)block_ram_data(world->media[0]) +
				     super_of(world, 0)->root_block[which] * STORE_BLOCK);
}

static struct store_root *newest_root(struct world *world)
{
	struct store_root *a = root_of(world, 0), *b = root_of(world, 1);

	return a->generation > b->generation ? a : b;
}

static void root_seal(struct store_root *root)
{
	seal((uint8_t *)root, root_bytes(root->pages));
}

static void make_old(struct world *world)
{
	for (unsigned i = 0; i < world->count; i++) {
		for (unsigned j = 0; j < SUPERS; j++) {
			uint8_t *block = block_ram_data(world->media[i]);
			block += j ? MEDIUM_BYTES - STORE_BLOCK : 0;
			struct store_super *super = (struct store_super *)block;
			super->opening = super->confirmed = 0;
			seal(block, STORE_BLOCK);
		}
	}
	for (unsigned i = 0; i < 2; i++) {
		root_of(world, i)->flags = 0;
		root_seal(root_of(world, i));
	}
	keep(world, &world->age[0]);
}

static void a_pool_from_before_is_opened(void **state)
{
	struct world world;

	world_new(&world, 2, true, false);
	make_old(&world);
	cut_at_each_tick(&world, 3);
	put(&world, &world.age[0]);
	assert_age(&world, 0);
	keep(&world, &world.age[1]);
	for (unsigned i = 0; i < 2; i++) {
		put(&world, &world.age[1]);
		put_one(&world, i, &world.age[0]);
		assert_older(&world, i, 0, 2);
	}
	world_free(&world);
}

/* More leaves than recovery has memory for: it writes roots of the old session on its way, and those know nothing. */
static void recovery_writes_roots_of_the_session_before(void **state)
{
	enum { LEAVES = 100, EVERY = 10, FRAMES = 200 };
	unsigned older = 0;
	struct world world;
	bool ended = false;

	world_new(&world, 2, false, false);
	struct store *store = opened(&world);
	uint64_t sparse = rig_create(store, "sparse", LEAVES * MIB);
	for (unsigned i = 0; i < LEAVES; i++) {
		write_blocks(store, sparse, i * LEAF_BLOCKS, 1, 1);
		if (i % EVERY == 0)
			rig_io(store, sparse, DPU_BLOCK_FLUSH, 0, NULL, 0, 0);
	}
	assert_int_equal(rig_io(store, sparse, DPU_BLOCK_FLUSH, 0, NULL, 0, 0), DPU_BLOCK_OK);
	store_free(store);
	make_old(&world);
	uint64_t generation = newest_root(&world)->generation;
	for (unsigned polls = 1; !ended; polls++) {
		put(&world, &world.age[0]);
		ended = opening_ends_after(world.media, 2, polls, FRAMES);
		older += newest_root(&world)->generation > generation && newest_root(&world)->session == 2;
		assert_age(&world, 0);
	}
	assert_true(older > 0);
	world_free(&world);
}

/* Software from before opens it meanwhile: its root has a later session, of which the superblocks know nothing. */
static void older_software_may_come_between(void **state)
{
	struct world world;

	world_new(&world, 2, false, false);
	session(&world, 1, false);
	for (unsigned i = 0; i < 2; i++) {
		struct store_root *root = root_of(&world, i);
		root->session += 5;
		root->flags = 0;
		root_seal(root);
	}
	assert_age(&world, 1);
	put_one(&world, 1, &world.age[1]);
	assert_older(&world, 1, 2, 8);
	world_free(&world);
}

/* ---- a root that is missed ---- */

/* What is in the tail file alone would be lost without a word. */
static void a_damaged_root_of_a_new_session_is_missed(void **state)
{
	struct store_options tailed = options;
	struct store_command force = { .op = STORE_OPEN, .force = true };
	struct dpu_error error = { 0 };
	char tail[64], expected[128];
	struct world world;

	snprintf(tail, sizeof(tail), "/dev/shm/store-session-%d", (int)getpid());
	tailed.tail_path = tail;
	world_new(&world, 2, false, false);
	struct store *store = rig_open(&tailed, world.media, 2, STORE_OPEN, &error);
	write_blocks(store, world.volume, 0, 1, 7000);
	store_free(store);
	struct store_root *root = newest_root(&world);
	uint64_t offset = (uint64_t)((uint8_t *)root - (uint8_t *)block_ram_data(world.media[0]));
	root->log_block++;
	assert_null(rig_open(&tailed, world.media, 2, STORE_OPEN, &error));
	snprintf(expected, sizeof(expected),
		 "medium 'm0', offset %llu: a newer root, of a session that the superblocks know, is damaged",
		 (unsigned long long)offset);
	assert_string_equal(error.message, expected);
	assert_int_equal(store_new(&tailed, world.media, 2, &store, &error), 0);
	assert_int_equal(rig_command(store, &force), DPU_OK);
	assert_int_equal(store->session, 3);
	assert_blocks(store, world.volume, 0, BLOCKS, 1000);
	store_free(store);
	unlink(tail);
	world_free(&world);
}

/* ---- growth ---- */

static void grow(struct world *world, struct store *store)
{
	struct store_command command = { .op = STORE_GROW, .medium = world->media[world->count] };

	assert_int_equal(rig_command(store, &command), DPU_OK);
	world->count++;
}

static void a_medium_that_was_added_has_sessions(void **state)
{
	struct world world;

	world_new(&world, 1, false, false);
	struct store *store = opened(&world);
	keep_one(&world, 0, &world.work);
	grow(&world, store);
	use(&world, store, 1, false);
	keep(&world, &world.age[1]);
	assert_age(&world, 1);
	keep(&world, &world.age[2]);
	put_one(&world, 1, &world.age[1]);
	assert_older(&world, 1, 2, 3);
	/* The first medium from before the growth does not even name the other. */
	put(&world, &world.age[2]);
	put_one(&world, 0, &world.work);
	assert_older(&world, 0, 2, 3);
	put_one(&world, 0, &world.age[0]);
	assert_older(&world, 0, 1, 3);
	put(&world, &world.age[1]);
	put_one(&world, 0, &world.age[0]);
	assert_older(&world, 0, 1, 2);
	world_free(&world);
}

/* What a growth that came to nothing has left is no copy of anything. */
static void what_is_left_of_a_growth_may_be_older(void **state)
{
	struct world world;

	world_new(&world, 1, false, false);
	struct store *store = opened(&world);
	keep_one(&world, 0, &world.work);
	grow(&world, store);
	store_free(store);
	put_one(&world, 0, &world.work); /* the root that names it is lost */
	session(&world, 1, false);
	session(&world, 2, false);
	store = opened(&world);
	assert_false(store_has(store, world.media[1]));
	store_free(store);
	world_free(&world);
}

/* ---- media that fail ---- */

/* Whether anything has. */
static bool fails_while_opening(struct world *world, enum dpu_block_op op, unsigned medium, uint64_t skip)
{
	struct faulty_plan plan = { .ops = 1u << op, .skip = skip, .fails = 1, .status = DPU_BLOCK_IO_ERROR };
	struct faulty *faulty = faulty_new(world->media[medium]);
	struct dpu_block_device *devices[MEDIA];
	struct dpu_error error = { 0 };

	put(world, &world->age[0]);
	memcpy(devices, world->media, sizeof(devices));
	devices[medium] = faulty_device(faulty);
	faulty_plan(faulty, &plan);
	struct store *store = rig_open(&options, devices, world->count, STORE_OPEN, &error);
	bool failed = faulty_failed(faulty) > 0;
	assert_true(!store == failed);
	if (failed)
		assert_non_null(strstr(error.message, "medium 'faulty', offset"));
	store_free(store);
	faulty_free(faulty);
	assert_age(world, 0);
	return failed;
}

static void a_write_or_flush_fails(void **state)
{
	struct world world;

	world_new(&world, 2, true, false);
	for (unsigned medium = 0; medium < 2; medium++) {
		unsigned writes = 0, flushes = 0;
		world.media[medium]->features |= DPU_BLOCK_F_FLUSH;
		while (fails_while_opening(&world, DPU_BLOCK_WRITE, medium, writes))
			writes++;
		while (fails_while_opening(&world, DPU_BLOCK_FLUSH, medium, flushes))
			flushes++;
		assert_true(writes >= 2 * SUPERS && flushes >= 2 * SUPERS);
	}
	world_free(&world);
}

int main(void)
{

	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_older_copy_is_refused),
		cmocka_unit_test(a_copy_of_the_same_session_is_not_noticed),
		cmocka_unit_test(a_copy_from_between_two_openings_is_refused),
		cmocka_unit_test(an_opening_may_be_cut_short),
		cmocka_unit_test(also_on_media_that_have_grown),
		cmocka_unit_test(also_after_one_that_was_killed),
		cmocka_unit_test(a_pool_from_before_is_opened),
		cmocka_unit_test(recovery_writes_roots_of_the_session_before),
		cmocka_unit_test(older_software_may_come_between),
		cmocka_unit_test(a_damaged_root_of_a_new_session_is_missed),
		cmocka_unit_test(a_medium_that_was_added_has_sessions),
		cmocka_unit_test(what_is_left_of_a_growth_may_be_older),
		cmocka_unit_test(a_write_or_flush_fails),
	};

	/* Thousands of stores come and go: their memory stays ours. */
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
