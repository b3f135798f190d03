/* SPDX-License-Identifier: BSD-3-Clause */
/* What the device notes in a request while it has it: scratch[0] is how much of it is done, scratch[1] this. */
#pragma once

#include <dpu/block.h>

enum request_note {
	REQUEST_RETRIES = 0xff,
	REQUEST_PASSES = 1 << 8, /* repeated: its own fence does not stop it */
	REQUEST_FLUSHES = 1 << 9 /* all is done but the flush that FUA asks for */
};

static inline bool request_modifies(const struct dpu_block_request *request)
{
	return request->op == DPU_BLOCK_WRITE || request->op == DPU_BLOCK_DISCARD ||
	       request->op == DPU_BLOCK_WRITE_ZEROES;
}
