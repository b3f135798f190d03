/* SPDX-License-Identifier: BSD-3-Clause */
/* A file or block device as a block device, on the io_uring of the worker that owns it. */
#pragma once

#include <dpu/block.h>
#include "base/error.h"
#include "operating/uring.h"

struct medium_file_options {
	const char *path;
	struct uring *uring;
	bool read_only;
	bool cached; /* through the page cache; else past it where the file system can */
};

struct medium_file_stats {
	uint64_t errors;
	int last_errno; /* of the last request that failed */
	uint64_t last_offset;
	uint64_t fixed; /* transfers in registered memory (uring_fixed.h) */
};

/* Opens and locks it: one dpud at a time, and a successor only when the last I/O of its predecessor has ended, since
 * requests under way hold the lock, too (-EBUSY, DPU_E_IN_USE: try again for as long as that may take). Errors have the
 * path: not there, no file or block device, not a multiple of 4 KiB, empty, no permission. Any thread, before the
 * worker has it. Requests that do not suit the file's alignment are copied. Compare is DPU_BLOCK_UNSUPPORTED.
 * Closed in the owner's worker: elsewhere the lock would last until uring_free(). */
int medium_file_open(const struct medium_file_options *options, struct dpu_block_device **ret, struct dpu_error *err);
/* The file may have grown: tells by `changed`. Returns the new size. In the owner's worker. */
uint64_t medium_file_resized(struct dpu_block_device *device);
void medium_file_stats(const struct dpu_block_device *device, struct medium_file_stats *ret);
bool medium_file_direct(const struct dpu_block_device *device); /* whether it goes past the page cache */
