// SPDX-License-Identifier: BSD-3-Clause
/* Crashes: a random workload on recording media; then, at thousands of times, what a power failure or a SIGKILL could
 * have left is recovered and compared with the model. Each run says its seed, which is always the same unless
 * STORE_CRASH_SEED is set; STORE_CRASH_POINTS chooses more failures, STORE_CRASH_POINTS=0 every tick of the clock with
 * each kind of loss in turn; STORE_CRASH_OPS makes the workload shorter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>
#include <malloc.h>
#include <cmocka.h>
#include "base/sanitized.h"
#include "service/block/store/crash_world.h"
#include "service/block/store/store_rig.h"

enum {
	OPS = 3000,
	POINTS = SANITIZED ? 600 : 2400,
	FEW_FRAMES_POINTS = POINTS / 8,
	GROWTH_POINTS = 40,
};

static uint8_t *images[MEDIA];

static struct store *recover(uint8_t **data, const char *tail, struct recorder_clock *clock, struct recorder **ret)
{
	struct dpu_block_device *devices[MEDIA];
	struct dpu_error error = { 0 };
	struct store_options options = { .name = "crashed", .tail_path = tail, .cache_pages = CACHE };

	for (unsigned i = 0; i < MEDIA; i++) {
		ret[i] = recorder_new(MEDIUM_BYTES, data[i], clock);
		devices[i] = recorder_device(ret[i]);
	}
	struct store *store = rig_open(&options, devices, MEDIA, STORE_OPEN, &error);
	if (!store)
		fprintf(stderr, "%s\n", error.message);
	assert_non_null(store);
	return store;
}

static void verify(struct world *world, uint64_t time, const char *tail, struct recorder_clock *clock)
{
	struct recorder *media[MEDIA];
	struct store *store = recover(images, tail, clock, media);

	for (unsigned i = 0; i < MEDIA; i++)
		recorder_stop(media[i]);
	if (world->grown && world->grown <= time)
		assert_true(store_has(store, recorder_device(media[MEDIA - 1])));
	if (model_verify(world->model, store, time, tail != NULL) < 0)
		fail_msg("seed %llu", (unsigned long long)world->seed);
	store_free(store);
	for (unsigned i = 0; i < MEDIA; i++)
		recorder_free(media[i]);
}

static void copy_file(const char *from, const char *to)
{
	static uint8_t data[2 << 20];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ssize_t bytes = read(in, data, sizeof(data));

	assert_true(in >= 0 && out >= 0 && bytes > 0 && write(out, data, (size_t)bytes) == bytes);
	close(in);
	close(out);
}

/* The process dies now; the machine goes on. */
static void kill_now(struct world *world)
{
	struct recorder_clock clock = { .now = 1, .seed = random_next(&world->seed) };

	for (unsigned i = 0; i < MEDIA; i++)
		recorder_kill(world->media[i], &world->seed, images[i]);
	copy_file(world->tail, world->killed_tail);
	verify(world, world->clock.now, world->killed_tail, &clock);
	world->kills++;
}

/* What a store writes after it has recovered must not be mixed with what was lost before. */
static void go_on(struct store *store)
{
	uint8_t block[DPU_BLOCK_BYTES];
	uint64_t volume = rig_create(store, "extra", 64 * DPU_BLOCK_BYTES);

	for (unsigned i = 0; i < 8; i++) {
		rig_fill(block, i + 1, sizeof(block));
		enum dpu_block_status status =
			rig_io(store, volume, DPU_BLOCK_WRITE, i * sizeof(block), block, sizeof(block), DPU_BLOCK_FUA);
		assert_true(status == DPU_BLOCK_OK || status == DPU_BLOCK_NO_SPACE);
	}
}

/* A power failure at that time; sometimes another one while recovering from it. */
static void fail_at(struct world *world, uint64_t time, enum recorder_loss loss)
{
	struct recorder_clock clock = { .now = 1, .seed = random_next(&world->seed) };
	struct recorder *media[MEDIA];

	for (unsigned i = 0; i < MEDIA; i++)
		recorder_crash(world->media[i], time, loss, &world->seed, images[i]);
	if (pick(world, 4) == 0) {
		struct store *store = recover(images, NULL, &clock, media);
		uint64_t again = 1 + random_below(&clock.seed, clock.now);
		if (pick(world, 2)) {
			go_on(store);
			again = clock.now;
		}
		store_free(store);
		for (unsigned i = 0; i < MEDIA; i++) {
			recorder_crash(media[i], again, loss, &world->seed, images[i]);
			recorder_free(media[i]);
		}
	}
	verify(world, time, NULL, &clock);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value ? strtoull(value, NULL, 0) : otherwise;
}

/* At so many times, and more often while the pool grows; one kind of loss at each. */
static uint64_t fail_often(struct world *world, uint64_t begin, uint64_t span, uint64_t points)
{
	uint64_t failures = 0;

	for (uint64_t time = begin, step; time < begin + span; time += step, failures++) {
		bool growing = time >= world->growth && time < world->grown;

		fail_at(world, time, (enum recorder_loss)pick(world, LOSSES));
		step = growing ? (world->grown - world->growth) / GROWTH_POINTS + 1 : span / points + 1;
		if (time < world->growth && time + step > world->growth)
			step = world->growth - time;
	}
	return failures;
}

/* Between any two events, with each kind of loss. */
static uint64_t fail_everywhere(struct world *world, uint64_t begin, uint64_t span)
{
	for (uint64_t time = begin; time < begin + span; time++)
		for (unsigned loss = 0; loss < LOSSES; loss++)
			fail_at(world, time, (enum recorder_loss)loss);
	return span * LOSSES;
}

static void crash(bool few_frames, uint64_t points)
{
	uint64_t seed = setting("STORE_CRASH_SEED", 1), ops = setting("STORE_CRASH_OPS", OPS);
	struct world *world = world_new(seed, few_frames);

	world->kill = kill_now;
	points = setting("STORE_CRASH_POINTS", points);
	for (unsigned i = 0; i < MEDIA; i++)
		images[i] = calloc(1, MEDIUM_BYTES);
	uint64_t begin = world->clock.now;
	world_work(world, (unsigned)ops);
	uint64_t span = world->clock.now - begin;
	assert_true(world->grown > world->growth);
	uint64_t failures = points ? fail_often(world, begin, span, points) : fail_everywhere(world, begin, span);
	struct store_stats stats;
	store_stats(world->store, &stats);
	print_message("STORE_CRASH_SEED=%llu: %llu power failures in %llu ticks, %u kills; %llu checkpoints, "
		      "%llu sections, %llu pages evicted\n",
		      (unsigned long long)seed, (unsigned long long)failures, (unsigned long long)span, world->kills,
		      (unsigned long long)stats.checkpoints, (unsigned long long)stats.sections,
		      (unsigned long long)stats.page_evictions);
	assert_true(ops < OPS || (world->kills > 10 && stats.checkpoints > 2));
	assert_true(ops < OPS || few_frames == (stats.page_evictions > 100));
	world_free(world);
	for (unsigned i = 0; i < MEDIA; i++)
		free(images[i]);
}

static void every_crash_is_recovered_from(void **state)
{
	crash(false, POINTS);
}

static void also_while_maps_are_evicted(void **state)
{
	crash(true, FEW_FRAMES_POINTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_crash_is_recovered_from),
		cmocka_unit_test(also_while_maps_are_evicted),
	};

	/* Thousands of stores come and go: their memory stays ours. */
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
