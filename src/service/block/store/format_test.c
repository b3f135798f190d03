// SPDX-License-Identifier: BSD-3-Clause
/* Crashes while a pool is made, on blank media and over an older pool: at every time and with every kind of loss there
 * is the new pool, empty, or the older one as it was, or what is refused with a sentence and can be formatted again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "device/block/ram.h"
#include "service/block/store/recorder.h"
#include "service/block/store/store_assert.h"
#include "service/block/store/store_priv.h"

enum { MEDIA = 2, MEDIUM_BYTES = 4 * MIB, BLOCKS = 20 };

static const struct store_options options = { .name = "p", .cache_pages = 256 };
static uint8_t *before[MEDIA], *after[MEDIA];
static uint64_t old_volume;

static enum dpu_error_code format(struct store *store)
{
	struct store_command command = { .op = STORE_FORMAT, .log_bytes = 512 << 10, .max_volumes = 31 };

	return rig_command(store, &command);
}

/* A pool with something in it, as it was closed. */
static void old_pool(struct dpu_block_device **media)
{
	struct dpu_error error;
	struct store *store;

	assert_int_equal(store_new(&options, media, MEDIA, &store, &error), 0);
	assert_int_equal(format(store), DPU_OK);
	old_volume = rig_create(store, "old", MIB);
	write_blocks(store, old_volume, 3, BLOCKS, 1000);
	assert_int_equal(pool_run(store, STORE_CLOSE, 0, 0), DPU_OK);
	store_free(store);
	for (unsigned i = 0; i < MEDIA; i++)
		memcpy(before[i], block_ram_data(media[i]), MEDIUM_BYTES);
}

enum outcome { REFUSED, OLD, NEW, OUTCOMES };

static enum outcome look(struct dpu_block_device **media)
{
	struct dpu_error error = { 0 };
	struct store_volume_info info;
	enum outcome outcome = NEW;
	struct store *store;

	for (unsigned i = 0; i < MEDIA; i++)
		memcpy(block_ram_data(media[i]), after[i], MEDIUM_BYTES);
	store = rig_open(&options, media, MEDIA, STORE_OPEN, &error);
	if (!store) {
		assert_true(error.message[0]);
		assert_int_equal(store_new(&options, media, MEDIA, &store, &error), 0);
		assert_int_equal(format(store), DPU_OK);
		outcome = REFUSED;
	} else if (store_next(store, 0, &info)) {
		assert_int_equal(info.id, old_volume);
		assert_false(store_next(store, info.id, &info));
		assert_blocks(store, old_volume, 3, BLOCKS, 1000);
		outcome = OLD;
	}
	assert_sound(store);
	write_blocks(store, rig_create(store, "more", MIB), 0, BLOCKS, 2000);
	rig_settle(store);
	store_free(store);
	return outcome;
}

static void cut_short(struct dpu_block_device **media, unsigned *outcomes)
{
	struct recorder_clock clock = { .now = 1, .seed = 7 };
	struct recorder *recorders[MEDIA];
	struct dpu_block_device *devices[MEDIA];
	uint64_t seed = 11;
	struct dpu_error error;
	struct store *store;

	for (unsigned i = 0; i < MEDIA; i++) {
		recorders[i] = recorder_new(MEDIUM_BYTES, before[i], &clock);
		devices[i] = recorder_device(recorders[i]);
	}
	assert_int_equal(store_new(&options, devices, MEDIA, &store, &error), 0);
	assert_int_equal(format(store), DPU_OK);
	store_free(store);
	for (uint64_t time = 1; time <= clock.now; time++) {
		for (unsigned loss = 0; loss < LOSSES; loss++) {
			for (unsigned i = 0; i < MEDIA; i++)
				recorder_crash(recorders[i], time, (enum recorder_loss)loss, &seed, after[i]);
			enum outcome outcome = look(media);
			outcomes[outcome]++;
			if (time == clock.now)
				assert_int_equal(outcome, NEW);
		}
	}
	for (unsigned i = 0; i < MEDIA; i++)
		recorder_free(recorders[i]);
}

static void a_format_may_be_cut_short(void **state)
{
	struct dpu_block_device *media[MEDIA];
	unsigned blank[OUTCOMES] = { 0 }, over[OUTCOMES] = { 0 };

	for (unsigned i = 0; i < MEDIA; i++) {
		media[i] = ram_new(MEDIUM_BYTES);
		before[i] = calloc(1, MEDIUM_BYTES);
		after[i] = calloc(1, MEDIUM_BYTES);
	}
	cut_short(media, blank);
	assert_true(blank[REFUSED] && blank[NEW] && !blank[OLD]);
	old_pool(media);
	cut_short(media, over);
	assert_true(over[REFUSED] && over[NEW] && over[OLD]);
	print_message("blank: %u refused, %u new; over a pool: %u refused, %u old, %u new\n", blank[REFUSED],
		      blank[NEW], over[REFUSED], over[OLD], over[NEW]);
	for (unsigned i = 0; i < MEDIA; i++) {
		media[i]->ops->close(media[i], NULL, NULL);
		free(before[i]);
		free(after[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_format_may_be_cut_short) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
