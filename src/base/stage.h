/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a thread's cycles go, by stage. A stage entered within another takes its time from that one, so the sum over
 * the stages is the whole. A worker measures one round in some (worker_stages()): else entering a stage costs one
 * branch. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include "base/cycles.h"

enum cycle_stage {
	STAGE_OTHER,
	STAGE_KERNEL,  /* system calls of io_uring: sockets' and files' copies, TCP */
	STAGE_RECEIVE, /* what came from the kernel: completions, bytes */
	STAGE_PARSE,   /* … which become commands */
	STAGE_SUBMIT,  /* a command on its way to the medium: filters, maps */
	STAGE_DEVICE,  /* the medium, and the way back */
	STAGE_BUILD,   /* the answer */
	STAGE_SEND,    /* what goes to the kernel is gathered */
	STAGE_CRC,     /* check sums: of blocks at rest and on the wire */
	STAGES
};

extern const char *const stage_clock_names[STAGES];

struct stage_clock {
	enum cycle_stage now;
	uint64_t since;
	uint64_t cycles[STAGES];
};

/* This thread's while it measures, else NULL. */
extern _Thread_local struct stage_clock *stage_clock;

void stage_clock_begin(struct stage_clock *clock); /* in STAGE_OTHER, from zero */
void stage_clock_end(void);                        /* its cycles[] hold what was spent since */
/* Returns the stage that was, to be entered again afterwards. */
static inline enum cycle_stage stage_enter(enum cycle_stage next)
{
	struct stage_clock *clock = stage_clock;

	if (__builtin_expect(clock == NULL, 1))
		return STAGE_OTHER;
	uint64_t cycles = cycles_now();
	enum cycle_stage before = clock->now;
	clock->cycles[before] += cycles - clock->since;
	clock->since = cycles;
	clock->now = next;
	return before;
}
