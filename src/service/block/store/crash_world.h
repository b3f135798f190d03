/* SPDX-License-Identifier: BSD-3-Clause */
/* A pool on recording media and a random workload on it, as the model knows it: for tests of crashes. */
#pragma once

#include "service/block/store/store_model.h"

enum {
	MEDIUM_BYTES = 4 << 20,
	MEDIA = 3, /* of which the last is added in the middle */
	DEPTH = 8,
	MAX_RUN = 24,
	CACHE = 256, /* about the least that three such media need: it holds all of their maps */
};

struct op {
	struct dpu_block_request request;
	struct iovec iov[3];
	struct world *world;
	struct model_volume *volume;
	struct dpu_block_device *device;
	bool busy, cancelled;
	unsigned first, count; /* blocks */
	unsigned state[MAX_RUN + 2];
	uint64_t submitted;
	uint8_t data[(MAX_RUN + 2) * DPU_BLOCK_BYTES];
};

struct world {
	struct recorder_clock clock;
	struct recorder *media[MEDIA];
	struct store *store;
	struct model *model;
	struct op op[DEPTH];
	uint64_t seed;
	char tail[64], killed_tail[64];
	unsigned kills;
	bool few_frames;                   /* maps are evicted and read again all the time */
	unsigned kill_at_roots;            /* one time in so many when a root is written, and not yet flushed; 0: no */
	bool cancels;                      /* requests are cancelled now and then, … */
	unsigned cancelled;                /* … and ended for that */
	void (*kill)(struct world *world); /* called now and then: the process dies, the machine goes on */
	/* the one command under way */
	struct store_command command;
	bool commanding;
	struct model_volume *source, *target;
	char name[32];
	uint64_t command_submitted;
	uint64_t growth, grown; /* submitted, acknowledged */
};

struct world *world_new(uint64_t seed, bool few_frames);
void world_free(struct world *world);
/* So many requests, copies and the like among them, a growth in the middle and a close at the end. */
void world_work(struct world *world, unsigned ops);
/* Gives a store that is open as few frames as the world's has. */
void world_limit_frames(const struct world *world, struct store *store);
/* Gives one that is being opened, poll by poll, so few that it writes checkpoints on its way. */
void world_limit_recovery(struct store *store);
static inline uint64_t pick(struct world *world, uint64_t limit)
{
	return random_below(&world->seed, limit);
}
