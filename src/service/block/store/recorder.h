/* SPDX-License-Identifier: BSD-3-Clause */
/* A medium for tests that remembers all writes and flushes, so that what a crash would have left at any time can be
 * made. Requests complete later, in random order, some much later; a write reaches the memory when it completes. One
 * that is cancelled is carried out as others are, or ends as gone: then any of its sectors have reached the memory. */
#pragma once

#include <dpu/block.h>

struct recorder;

/* The clock of a test: ticks at each event. */
struct recorder_clock {
	uint64_t now, seed;
};

uint64_t random_next(uint64_t *seed);
static inline uint64_t random_below(uint64_t *seed, uint64_t limit)
{
	return random_next(seed) % limit;
}

/* initial: what it holds at first; NULL: zeroes. */
struct recorder *recorder_new(uint64_t bytes, const uint8_t *initial, struct recorder_clock *clock);
void recorder_free(struct recorder *recorder);
struct dpu_block_device *recorder_device(struct recorder *recorder);
uint8_t *recorder_data(struct recorder *recorder);
/* From now on requests complete at once and in order, and nothing is remembered. */
void recorder_stop(struct recorder *recorder);
uint64_t recorder_cancelled(const struct recorder *recorder); /* requests, so far */
/* From now on nothing is remembered, for there will be no crash; requests complete as before. */
void recorder_forget(struct recorder *recorder);

enum recorder_loss { LOSE_NOTHING, LOSE_ALL, LOSE_WRITES, LOSE_SECTORS, LOSE_ONE, LOSSES };

/* What may be on the medium after a power failure at that time: all that was flushed, and of the rest what `loss`
 * leaves. Times must not go backwards from call to call. */
void recorder_crash(struct recorder *recorder, uint64_t time, enum recorder_loss loss, uint64_t *seed, uint8_t *image);
/* … and after a SIGKILL now: of what is under way, anything. */
void recorder_kill(struct recorder *recorder, uint64_t *seed, uint8_t *image);
/* … and what goes on from there, at the start of a clock: what was not flushed can still be lost. For this one it is a
 * call at the present time. */
struct recorder *recorder_survivor(struct recorder *recorder, uint64_t *seed, struct recorder_clock *clock);
