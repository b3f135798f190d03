/* SPDX-License-Identifier: BSD-3-Clause */
/* What a pool may hold after a crash at any time: for each block of each volume, all that was written to it, with the
 * times of submission and acknowledgement. Blocks are told by the versions of their eight sectors. */
#pragma once

#include "service/block/store/recorder.h"
#include "service/block/store/store.h"

enum { MODEL_VOLUMES = 256, MODEL_BLOCKS = 600, MODEL_SECTORS = 8, MODEL_HISTORY = 12000 };

struct model_state {                      /* of one block, from a write on */
	uint64_t submitted, acknowledged; /* 0: not yet */
	uint32_t version[MODEL_SECTORS];  /* 0: zeroes */
	bool durable;                     /* by itself, when acknowledged */
};

struct model_volume {
	char name[STORE_NAME_BYTES];
	uint64_t id;
	bool snapshot, used;
	bool unknown;                 /* a write failed for want of space: some of it may be there */
	uint64_t made[2], deleted[2]; /* submitted, acknowledged; 0: not */
	struct {
		uint64_t bytes, submitted, acknowledged;
	} size[32];
	unsigned sizes;
	struct {
		struct model_state *state;
		unsigned count, room;
	} block[MODEL_BLOCKS];
};

struct model {
	struct model_volume volume[MODEL_VOLUMES];
	unsigned volumes;
	uint64_t flush[MODEL_HISTORY][2]; /* submitted, acknowledged */
	unsigned flushes;
	uint32_t version;
};

struct model *model_new(void);
void model_free(struct model *model);
/* The block as it is when all that was submitted is done. */
const struct model_state *model_last(const struct model_volume *volume, unsigned block);
/* A state after the last one; returns its number. */
unsigned model_add(struct model_volume *volume, unsigned block, const struct model_state *state);
/* The states that were submitted then are acknowledged now. */
void model_cut(struct model_volume *volume, uint64_t submitted, uint64_t now);
void model_flushed(struct model *model, uint64_t submitted, uint64_t acknowledged);
/* A volume; source: what it is a copy of, with nothing under way. */
struct model_volume *model_make(struct model *model, const char *name, uint64_t bytes,
				const struct model_volume *source, uint64_t submitted);
uint64_t model_bytes(const struct model_volume *volume);

/* Whether a block that is read now, since that time, may be so. */
bool model_may_read(const struct model_volume *volume, unsigned block, const uint8_t *data, uint64_t since);

/* Whether the store, recovered from a crash at that time, holds what it must. killed: the process alone died, so all
 * that was acknowledged is there. 0, or -1 and a sentence on stderr.
 * Volumes whose name begins with "extra" are nobody's. */
int model_verify(const struct model *model, struct store *store, uint64_t time, bool killed);
