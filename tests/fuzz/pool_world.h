/* SPDX-License-Identifier: BSD-3-Clause */
/* A small pool for fuzzers: its image as a killed process left it, what somebody does to it who knows how to make CRCs
 * right, and a day of its life. */
#pragma once

#include "device/block/ram.h"
#include "input.h"
#include "service/block/store/store_priv.h"
#include "service/block/store/store_rig.h"

enum { POOL_BYTES = 4 << 20, POOL_LOG_BYTES = 512 << 10 };

struct pool_world {
	struct dpu_block_device *medium;
	uint8_t image[POOL_BYTES]; /* volumes, a snapshot and clones in a checkpoint, and more in the log */
	struct store_super super;
	uint32_t used_blocks[256]; /* of the image, in which a page was written */
	unsigned used_count;
};

/* tail_path NULL: all of the log is in the ring; else its last records are in that file alone. */
void pool_world_make(struct pool_world *world, const char *tail_path);

/* The CRC of what begins at a block. */
void pool_seal(uint8_t *image, uint64_t block, size_t bytes);
/* … of a section, whose CRC goes as far as it says. */
void pool_seal_section(uint8_t *image, uint64_t block);

/* Opens what is on the media twice, and uses it in between; false: it is refused, with a sentence. */
bool pool_use(const struct store_options *options, struct dpu_block_device *const *media, unsigned count);
