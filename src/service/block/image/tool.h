/* SPDX-License-Identifier: BSD-3-Clause */
/* qemu-img in a process of its own, watched from the control loop. */
#pragma once

#include "base/error.h"
#include "base/loop.h"

struct tool;

/* Its descriptors of what it reads and writes. */
enum { TOOL_SOURCE = 3, TOOL_TARGET = 4 };

/* Before anything is done for it: whether it, and what starts it, are there. */
int tool_check(const char *name, struct dpu_error *err);

/* Starts argv (found by PATH, NULL-terminated) with no terminal, no signals blocked and nothing open but /dev/null, a
 * pipe, and source and target, which are above TOOL_TARGET; it ends with the thread that has started it. done(ctx, why)
 * runs once it has ended: why is NULL when it has succeeded, else its last words. Not before the return. */
int tool_start(struct loop *loop, const char *const *argv, int source, int target,
	       void (*done)(void *ctx, const char *why), void *ctx, struct tool **ret, struct dpu_error *err);
unsigned tool_percent(const struct tool *tool); /* by what it says with -p */
void tool_kill(struct tool *tool);              /* done follows */
