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
struct uring_fixed;

/* Something under way; embedded in what waits for it, and kept until done has run. */
struct uring_op {
	void (*done)(struct uring_op *op, int32_t result); /* as the system call: bytes, 0, or a negative errno */
	/* Of the completion: IORING_CQE_F_*. With IORING_CQE_F_MORE (multishot operations, sends without a copy) the
	 * operation goes on and done will run again. */
	uint32_t flags;
	struct uring_op *next; /* uring's own */
	int32_t result;        /* … */
};

/* Something to do just before entries go to the kernel, once: what gathers work during a round (bytes to send) makes
 * one entry of it. Embedded; run() may queue it again, for the next time. */
struct uring_hook {
	void (*run)(struct uring_hook *hook);
	struct uring_hook *next; /* uring's own */
	bool queued;             /* … */
};

/* Parts that came to the kernel later than the rest. Used where they are there. */
enum uring_feature {
	URING_DEFERRED = 1 << 0,    /* completions are made in the submitter's time (6.1) */
	URING_COOPERATIVE = 1 << 1, /* … else when it enters the kernel anyway (5.19) */
	URING_FIXED_FILES = 1 << 2, /* tables of descriptors and of memory: uring_fixed.h */
	URING_FIXED_BUFFERS = 1 << 3,
	URING_ALL = (1 << 4) - 1,
};

/* entries: submissions of a round, 1 to 32768 (a power of two, or rounded up); any number may be under way. Errors: the
 * kernel has no io_uring or forbids it (DPU_E_UNSUPPORTED), memory (DPU_E_LIMIT). */
int uring_new(unsigned entries, struct uring **ret, struct dpu_error *err);
/* As if the kernel lacked these (enum uring_feature). */
int uring_new_without(unsigned entries, unsigned without, struct uring **ret, struct dpu_error *err);
/* Nothing may be under way. */
void uring_free(struct uring *uring);

/* What the kernel can do, asked once: an IORING_OP_* code. */
bool uring_can(const struct uring *uring, unsigned opcode);
unsigned uring_has(const struct uring *uring); /* enum uring_feature: of the two ways, the one in use */
/* An entry to prepare at once (io_uring_prep_*), for op; sent with the next poll. NULL if the kernel takes no more now:
 * try again in the next round. */
struct io_uring_sqe *uring_entry(struct uring *uring, struct uring_op *op);
/* Whether `count` entries can be had now that the kernel gets in one go, as linked ones must. */
bool uring_reserve(struct uring *uring, unsigned count);
/* Queues the hook unless it is queued. */
void uring_before_send(struct uring *uring, struct uring_hook *hook);
/* A number for a group of provided buffers, once for each. */
uint16_t uring_buffer_group(struct uring *uring);
struct uring_fixed *uring_fixed(struct uring *uring);
struct io_uring *uring_ring(struct uring *uring); /* to register with; entries are had by uring_entry() */
/* Sends and reaps; returns what was reaped. */
unsigned uring_poll(struct uring *uring);
/* For what fails before it reaches the kernel: done(op, result) in the next poll. */
void uring_later(struct uring *uring, struct uring_op *op, int32_t result);
unsigned uring_under_way(const struct uring *uring);
/* For worker_add_source(). Idle while nothing has completed: a descriptor wakes the worker. */
struct worker_source *uring_source(struct uring *uring);
