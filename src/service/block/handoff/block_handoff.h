/* SPDX-License-Identifier: BSD-3-Clause */
/* The filter "handoff": a block device of one worker as a device of another. Requests cross over by rings of a single
 * producer and a single consumer each way, published once per round, and wake the other worker if it sleeps. No data is
 * copied, and no more than BLOCK_HANDOFF_DEPTH requests are beyond the rings at a time; the others wait on this side,
 * in order.
 *
 * `there` is the worker of the device, `here` that of its user. */
#pragma once

#include <dpu/block.h>
#include "operating/worker.h"

enum { BLOCK_HANDOFF_DEPTH = 256 };

struct block_handoff;

/* Control thread. -ENOMEM. */
int block_handoff_new(struct worker *there, struct worker *here, struct block_handoff **ret);
/* In `there`, once: the device that requests go to, whose `changed` it sets. */
void block_handoff_bind(struct block_handoff *handoff, struct dpu_block_device *below);
/* The device for `here`, after it was bound. Its close waits for what is outstanding; block_handoff_free() ends it. */
struct dpu_block_device *block_handoff_device(struct block_handoff *handoff);
/* Control thread, nothing outstanding. Leaves the device below alone; then done(arg). */
void block_handoff_free(struct block_handoff *handoff, void (*done)(void *arg), void *arg);
