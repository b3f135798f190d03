/* SPDX-License-Identifier: BSD-3-Clause */
/* A device for tests that keeps the CRCs of requests and looks at no data, and what a layer above it must do with them:
 * hand on in both directions what it was given, whatever the data is. */
#pragma once

#include <dpu/block.h>

enum { CRC_KEEPER_BLOCKS = 3 };

struct crc_keeper {
	struct dpu_block_device device; /* first; completes in its poll */
	struct dpu_block_request *waiting;
	uint32_t crc[CRC_KEEPER_BLOCKS];
	unsigned writes;
};

void crc_keeper_init(struct crc_keeper *keeper);
/* Fails the test unless CRCs reach the keeper and come back from it unchanged through the device on it. go() hands the
 * request to that, sets its `done`, and returns when it has been called. */
void crc_keeper_check(struct crc_keeper *keeper, const struct dpu_block_device *device,
		      void (*go)(void *ctx, struct dpu_block_request *request), void *ctx);
