// SPDX-License-Identifier: BSD-3-Clause
/* Crashes: a random workload on recording media; then, at thousands of times, what a power failure or a SIGKILL could
 * have left is recovered and compared with the model; so is what was left of such a recovery. Each run says its seed,
 * which is always the same unless STORE_CRASH_SEED is set; STORE_CRASH_POINTS chooses more failures,
 * STORE_CRASH_POINTS=0 every tick of the clock with each kind of loss in turn; STORE_CRASH_OPS makes the workload
 * shorter. */
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
	CANCEL_POINTS = POINTS / 8,
	GROWTH_POINTS = 40,
	RECOVERY_POINTS = POINTS / 12,
	ROOT_POLLS = 15000, /* about, of a workload: a root is written and not yet flushed */
	FAILURES = 4,       /* of power, of each recovery that was begun after a SIGKILL */
	SECOND_POLLS = 500, /* about, of such a recovery */
};

static uint8_t *images[MEDIA];
static struct {
	unsigned checkpoints, kills, failures;
} recoveries;

static void images_new(void)
{
	for (unsigned i = 0; i < MEDIA; i++)
		images[i] = calloc(1, MEDIUM_BYTES);
}

static void images_free(void)
{
	for (unsigned i = 0; i < MEDIA; i++)
		free(images[i]);
}

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

/* all: what was acknowledged is there, flushed or not. */
static void verify(struct world *world, uint64_t time, const char *tail, bool all, struct recorder_clock *clock)
{
	struct recorder *media[MEDIA];
	struct store *store = recover(images, tail, clock, media);

	for (unsigned i = 0; i < MEDIA; i++)
		recorder_stop(media[i]);
	if (world->grown && world->grown <= time)
		assert_true(store_has(store, recorder_device(media[MEDIA - 1])));
	if (model_verify(world->model, store, time, all) < 0)
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
	verify(world, world->clock.now, world->killed_tail, true, &clock);
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
	verify(world, time, NULL, false, &clock);
}

/* ---- a crash of a recovery ---- */

/* A recovery that writes checkpoints on its way, which dies as well now and then. */
struct second {
	struct world *world;
	struct recorder_clock clock;
	struct recorder *media[MEDIA];
	struct store *store;
	char tail[80];
	uint64_t rooted, opened; /* when its first root was durable; when the pool was open */
};

static void second_begin(struct second *second)
{
	struct world *world = second->world;
	struct dpu_block_device *devices[MEDIA];
	struct dpu_error error;

	second->clock = (struct recorder_clock){ .now = 1, .seed = random_next(&world->seed) };
	snprintf(second->tail, sizeof(second->tail), "%s-again", world->killed_tail);
	copy_file(world->tail, second->tail);
	for (unsigned i = 0; i < MEDIA; i++) {
		second->media[i] = recorder_survivor(world->media[i], &world->seed, &second->clock);
		devices[i] = recorder_device(second->media[i]);
	}
	assert_int_equal(
		store_new(&(struct store_options){ .name = "killed", .tail_path = second->tail, .cache_pages = CACHE },
			  devices, MEDIA, &second->store, &error),
		0);
}

static void second_kill(struct second *second)
{
	struct world *world = second->world;
	struct recorder_clock clock = { .now = 1, .seed = random_next(&world->seed) };

	for (unsigned i = 0; i < MEDIA; i++)
		recorder_kill(second->media[i], &world->seed, images[i]);
	copy_file(second->tail, world->killed_tail);
	verify(world, world->clock.now, world->killed_tail, true, &clock);
	recoveries.kills++;
}

static void second_open(struct second *second)
{
	struct store_command open = { .op = STORE_OPEN };
	struct store_stats stats;
	unsigned kill = (unsigned)pick(second->world, SECOND_POLLS);

	rig_start(second->store, &open);
	for (unsigned polls = 0; !open.ctx; polls++) {
		store_poll(second->store);
		world_limit_recovery(second->store);
		store_stats(second->store, &stats);
		if (stats.checkpoints == 0)
			second->rooted = second->clock.now + 1;
		if (polls == kill)
			second_kill(second);
	}
	if (open.error.code)
		fprintf(stderr, "%s\n", open.error.message);
	assert_int_equal(open.error.code, DPU_OK);
	recoveries.checkpoints += (unsigned)stats.checkpoints - 1;
	second->opened = second->clock.now;
}

/* Until its first root is durable the last one of the process before may be lost, so half of all times are before. */
static uint64_t failure_time(const struct second *second, unsigned number, uint64_t random)
{
	uint64_t first = number < FAILURES / 2 ? 1 : second->rooted;
	uint64_t end = number < FAILURES / 2 ? second->rooted : second->clock.now + 1;
	uint64_t span = (end - first) / (FAILURES / 2);

	return first + number % (FAILURES / 2) * span + random % (span ? span : 1);
}

/* The process dies, and while it is back and recovers, or later, power fails. */
static void kill_and_fail(struct world *world)
{
	struct second second = { .world = world };

	second_begin(&second);
	second_open(&second);
	go_on(second.store);
	for (unsigned i = 0; i < FAILURES; i++) {
		uint64_t time = failure_time(&second, i, random_next(&world->seed));
		struct recorder_clock clock = { .now = 1, .seed = random_next(&world->seed) };
		enum recorder_loss loss = (enum recorder_loss)pick(world, LOSSES);
		for (unsigned j = 0; j < MEDIA; j++)
			recorder_crash(second.media[j], time, loss, &world->seed, images[j]);
		verify(world, world->clock.now, NULL, time >= second.opened, &clock);
		recoveries.failures++;
	}
	store_free(second.store);
	for (unsigned i = 0; i < MEDIA; i++)
		recorder_free(second.media[i]);
	unlink(second.tail);
	world->kills++;
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

static void crash(bool few_frames, bool cancels, uint64_t points)
{
	uint64_t seed = setting("STORE_CRASH_SEED", 1), ops = setting("STORE_CRASH_OPS", OPS);
	struct world *world = world_new(seed, few_frames);

	world->kill = kill_now;
	world->cancels = cancels;
	points = setting("STORE_CRASH_POINTS", points);
	images_new();
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
	assert_true(ops < OPS || cancels == (world->cancelled > 100));
	assert_int_equal(stats.medium_errors + stats.integrity_errors, 0);
	world_free(world);
	images_free();
}

static void every_crash_is_recovered_from(void **state)
{
	crash(false, false, POINTS);
}

static void also_while_maps_are_evicted(void **state)
{
	crash(true, false, FEW_FRAMES_POINTS);
}

static void also_while_requests_are_cancelled(void **state)
{
	crash(false, true, CANCEL_POINTS);
}

static void also_while_it_recovers(void **state)
{
	uint64_t seed = setting("STORE_CRASH_SEED", 1), ops = setting("STORE_CRASH_OPS", OPS);
	uint64_t points = setting("STORE_CRASH_POINTS", RECOVERY_POINTS);
	struct world *world = world_new(seed, true);

	world->kill = kill_and_fail;
	world->kill_at_roots = points && points < ROOT_POLLS ? (unsigned)(ROOT_POLLS / points) : 1;
	images_new();
	world_work(world, (unsigned)ops);
	print_message("STORE_CRASH_SEED=%llu: %u recoveries with %u checkpoints on their way: %u were killed, "
		      "%u power failures\n",
		      (unsigned long long)seed, world->kills, recoveries.checkpoints, recoveries.kills,
		      recoveries.failures);
	assert_true(ops < OPS || points < RECOVERY_POINTS ||
		    (recoveries.checkpoints > RECOVERY_POINTS / 2 && recoveries.kills > RECOVERY_POINTS / 2));
	world_free(world);
	images_free();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_crash_is_recovered_from),
		cmocka_unit_test(also_while_maps_are_evicted),
		cmocka_unit_test(also_while_it_recovers),
		cmocka_unit_test(also_while_requests_are_cancelled),
	};

	/* Thousands of stores come and go: their memory stays ours. */
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
