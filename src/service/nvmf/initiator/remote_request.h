/* SPDX-License-Identifier: BSD-3-Clause */
/* What the device notes in a request while it has it: scratch[0] is how much of it is done, scratch[1] this. */
#pragma once

#include <dpu/block.h>
#include "engine/crc32c/crc32c.h"

enum request_note {
	REQUEST_RETRIES = 0xff,
	REQUEST_PASSES = 1 << 8,   /* repeated: its own fence does not stop it */
	REQUEST_FLUSHES = 1 << 9,  /* all is done but the flush that FUA asks for */
	REQUEST_DOUBTED = 1 << 10, /* a write that went with a path: until its fence is dead it may be carried out */
	REQUEST_CANCELLED = 1 << 11,
};

static inline bool request_modifies(const struct dpu_block_request *request)
{
	return request->op == DPU_BLOCK_WRITE || request->op == DPU_BLOCK_DISCARD ||
	       request->op == DPU_BLOCK_WRITE_ZEROES;
}

/* Before it is sent again: whether what it sends is what entered, for all that its CRCs say. If not, each controller
 * would refuse it like the last one, or end the connection. */
static inline bool request_holds(const struct dpu_block_request *request)
{
	bool sends = request->op == DPU_BLOCK_WRITE || request->op == DPU_BLOCK_COMPARE;

	return !sends || !(request->flags & DPU_BLOCK_CRC) ||
	       crc32c_blocks_hold(request->crc, request->iov, request->length);
}
