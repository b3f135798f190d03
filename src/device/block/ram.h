/* SPDX-License-Identifier: BSD-3-Clause */
/* A block device in memory: for tests and benchmarks, and what an image is loaded into. It has no volatile cache
 * and no CRCs (DPU_BLOCK_F_CRC is not set: `crc` is left alone). Reads and writes are copies; what is written to one
 * that is larger than the processor's cache goes past that. */
#pragma once

#include <dpu/block.h>

/* bytes: a multiple of DPU_BLOCK_BYTES; sector: 512 or 4096. Memory is taken from the system as it is written. -ENOMEM
 * or -EINVAL. Requests complete in poll, in order. */
int block_ram_new(const char *name, uint64_t bytes, uint32_t sector, struct dpu_block_device **ret);
/* The memory itself: what a crash would leave, or a test damages. */
void *block_ram_data(struct dpu_block_device *device);
