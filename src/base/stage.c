// SPDX-License-Identifier: BSD-3-Clause
/* The clock of stages, switched on and off. */
#include "base/stage.h"

#include <string.h>

const char *const stage_clock_names[STAGES] = {
	[STAGE_OTHER] = "other", [STAGE_KERNEL] = "kernel", [STAGE_RECEIVE] = "receive",
	[STAGE_PARSE] = "parse", [STAGE_SUBMIT] = "submit", [STAGE_DEVICE] = "device",
	[STAGE_BUILD] = "build", [STAGE_SEND] = "send",     [STAGE_CRC] = "crc",
};

_Thread_local struct stage_clock *stage_clock;

void stage_clock_begin(struct stage_clock *clock)
{
	memset(clock, 0, sizeof(*clock));
	clock->now = STAGE_OTHER;
	clock->since = cycles_now();
	stage_clock = clock;
}

void stage_clock_end(void)
{
	stage_enter(STAGE_OTHER);
	stage_clock = NULL;
}
