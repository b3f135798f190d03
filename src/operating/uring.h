/* SPDX-License-Identifier: BSD-3-Clause */
/* An io_uring of a worker: files, and what else the kernel does without being waited for. Submissions of a round reach
 * the kernel together.
 *
 * One thread submits and reaps: the worker that has `uring_source()`, or, without workers, who calls uring_poll().
 * Making, freeing and the descriptor are anybody's while no operation is under way. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <liburing.h>
#include "base/error.h"
#include "operating/worker.h"

struct uring;

/* Something under way; embedded in what waits for it, and kept until done has run. */
struct uring_op {
	void (*done)(struct uring_op *op, int32_t result); /* as the system call: bytes, 0, or a negative errno */
	struct uring_op *next;                             /* uring's own */
	int32_t result;                                    /* … */
};

/* entries: submissions of a round, 1 to 32768 (a power of two, or rounded up); any number may be under way. Errors: the
 * kernel has no io_uring or forbids it (DPU_E_UNSUPPORTED), memory (DPU_E_LIMIT). */
int uring_new(unsigned entries, struct uring **ret, struct dpu_error *err);
/* Nothing may be under way. */
void uring_free(struct uring *uring);

/* What the kernel can do, asked once: an IORING_OP_* code. */
bool uring_can(const struct uring *uring, unsigned opcode);
/* An entry to prepare at once (io_uring_prep_*), for op; sent with the next poll. NULL if the kernel takes no more now:
 * try again in the next round. */
struct io_uring_sqe *uring_entry(struct uring *uring, struct uring_op *op);
/* Sends and reaps; returns what was reaped. */
unsigned uring_poll(struct uring *uring);
/* For what fails before it reaches the kernel: done(op, result) in the next poll. */
void uring_later(struct uring *uring, struct uring_op *op, int32_t result);
unsigned uring_under_way(const struct uring *uring);
/* For worker_add_source(). Idle while nothing has completed: a descriptor wakes the worker. */
struct worker_source *uring_source(struct uring *uring);
