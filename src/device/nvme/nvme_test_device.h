/* SPDX-License-Identifier: BSD-3-Clause */
/* A device for tests: keeps a CRC of each block of a memory device, checks them as <dpu/block.h> asks for, and fails as
 * it is told to. */
#pragma once

#include "device/block/block_queue.h"

struct test_device {
	struct dpu_block_device device; /* first */
	struct dpu_block_device *ram;   /* below; closed with it */
	struct block_queue waiting, cancelled;
	uint32_t *crc; /* that are kept */
	/* set by the test */
	enum dpu_block_status answer; /* to all, which then do nothing; DPU_BLOCK_OK: as it goes */
	bool hold;                    /* requests wait, and can be cancelled, */
	bool deaf;                    /* … or not */
	bool careless;                /* reads are not checked: data and CRCs are given as they are */
	/* of the last request */
	uint8_t flags;
	uint32_t first_crc; /* that came with it */
	unsigned submitted;
};

struct test_device *test_device_on(struct dpu_block_device *ram);
/* Changes a byte of what is kept, and back when called again. */
void test_device_damage(struct test_device *self, uint64_t offset);
