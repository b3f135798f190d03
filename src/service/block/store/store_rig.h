/* SPDX-License-Identifier: BSD-3-Clause */
/* What tests do with a store: commands and requests that are waited for. */
#pragma once

#include "service/block/store/store.h"

/* Carries out; the error is in the command. Returns its code. */
enum dpu_error_code rig_command(struct store *store, struct store_command *command);
/* The same in two: requests may come in between. */
void rig_start(struct store *store, struct store_command *command);
enum dpu_error_code rig_end(struct store *store, struct store_command *command);
/* A volume, snapshot or clone; fails the test. */
uint64_t rig_create(struct store *store, const char *name, uint64_t bytes);
uint64_t rig_copy(struct store *store, enum store_op op, uint64_t volume, const char *name);
enum dpu_block_status rig_io(struct store *store, uint64_t volume, enum dpu_block_op op, uint64_t offset, void *data,
			     uint64_t length, unsigned flags);
enum dpu_block_status rig_iov(struct store *store, uint64_t volume, enum dpu_block_op op, uint64_t offset,
			      const struct iovec *iov, unsigned segments, unsigned flags, uint32_t *crc);
/* Until nothing is done any more. */
void rig_settle(struct store *store);
/* A store on the media, formatted or opened; NULL and the error in *ret_error. */
struct store *rig_open(const struct store_options *options, struct dpu_block_device *const *media, unsigned count,
		       enum store_op op, struct dpu_error *ret_error);
/* A block that says which it is. 0: zeroes. */
void rig_fill(void *block, uint64_t version, unsigned bytes);
