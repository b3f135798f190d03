/* SPDX-License-Identifier: BSD-3-Clause */
/* A block device that keeps nothing: it reads as zeroes, whatever was written. What is left of a request's time with it
 * is what everything else costs. It has no CRCs. */
#pragma once

#include <dpu/block.h>

/* bytes: a multiple of DPU_BLOCK_BYTES, however many. -ENOMEM or -EINVAL. Requests complete in poll, in order. */
int block_null_new(const char *name, uint64_t bytes, struct dpu_block_device **ret);
