/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of a store begin with, and what they assert of it (cmocka): pools in memory, blocks that say which
 * they are. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "service/block/store/store_rig.h"

enum { MIB = 1 << 20 };

struct dpu_block_device *ram_new(uint64_t bytes);
struct store *pool_made(struct dpu_block_device *device);
struct store *pool_opened(struct dpu_block_device *device);
/* Closed, and opened on what may be another device of the same medium. */
struct store *pool_reopened(struct store *store, struct dpu_block_device *device);
/* The same, and meanwhile a byte of that page of its maps has changed in the RAM of the device. */
struct store *pool_reopened_damaged(struct store *store, struct dpu_block_device *device, uint32_t page);
/* What the medium has must not come back to a store that is no more. */
void pool_finish(struct store *store, struct dpu_block_device *device);
enum dpu_error_code pool_run(struct store *store, enum store_op op, uint64_t volume, uint64_t bytes);
/* Block i has version + i. */
void write_blocks(struct store *store, uint64_t volume, uint64_t first, unsigned count, uint64_t version);
/* version 0: zeroes. */
void assert_blocks(struct store *store, uint64_t volume, uint64_t first, unsigned count, uint64_t version);
void assert_sound(struct store *store);   /* every count is right, or lost */
void assert_counted(struct store *store); /* every count is right */
uint64_t free_blocks(struct store *store);
/* It cannot be opened, and the sentence has that in it. */
void assert_refused(struct dpu_block_device **media, unsigned count, const char *text);
