/* SPDX-License-Identifier: BSD-3-Clause */
/* A medium for tests that fails, or takes its time: requests of some kinds, within a range, from the n-th on, so many
 * of them. A write that fails may have written a part. What does not fail goes to the medium below. */
#pragma once

#include <dpu/block.h>

struct faulty;

struct faulty_plan {
	unsigned ops;        /* a bit for each enum dpu_block_op that counts */
	uint64_t first, end; /* bytes; requests that touch them count; 0, 0: all */
	uint64_t skip;       /* requests that count and are carried out */
	uint64_t fails;      /* those behind them that are not */
	uint8_t status;
	bool holds; /* they do not fail, but wait for faulty_release(), or until they are cancelled, … */
	bool deaf;  /* … which does nothing */
};

struct faulty *faulty_new(struct dpu_block_device *below);
void faulty_free(struct faulty *faulty); /* not the one below */
struct dpu_block_device *faulty_device(struct faulty *faulty);
/* From now on; NULL: nothing fails. Starts counting. */
void faulty_plan(struct faulty *faulty, const struct faulty_plan *plan);
void faulty_release(struct faulty *faulty);
void faulty_fail_held(struct faulty *faulty); /* the first one that waits fails, and is not carried out */
unsigned faulty_held(const struct faulty *faulty);
uint64_t faulty_failed(const struct faulty *faulty); /* since then */
