/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets from worker to worker: one single-producer single-consumer ring for every ordered pair, so that no worker
 * waits for another that has been preempted in the middle of an operation, as rings with several producers would make
 * it.
 *
 * A worker_source in every worker receives, and publishes once per round what the worker has sent in it; order is kept
 * per pair. Needs no DPDK environment. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "operating/worker.h"

struct rte_mbuf;
struct handoff;

struct handoff_item {
	struct rte_mbuf *m;
	uint64_t tag; /* the sender's word on what to do with it: interface, stage */
};

enum { HANDOFF_BURST = 32 };

struct handoff_options {
	struct workers *workers;
	unsigned size; /* items per ring, a power of two; 0 = 512 */
	/* Runs in the receiving worker with 1 to HANDOFF_BURST items of one sender; takes the packets over. */
	void (*receive)(void *ctx, struct worker *worker, const struct handoff_item *items, unsigned count);
	/* Control thread, at the end: a packet that nobody received. NULL = rte_pktmbuf_free(). */
	void (*discard)(struct rte_mbuf *m);
	void *ctx;
};

/* Control thread. Adds its sources to the workers. */
int handoff_new(const struct handoff_options *options, struct handoff **ret, struct dpu_error *err);
/* Control thread. Nobody sends any more. Takes the sources back, frees packets under way, then done(arg) (may be NULL).
 */
void handoff_free(struct handoff *handoff, void (*done)(void *arg), void *arg);

/* In worker `from`. False when the ring to `to` (another worker) is full: the packet stays the caller's. */
bool handoff_send(struct handoff *handoff, unsigned from, unsigned to, struct rte_mbuf *m, uint64_t tag);
/* In worker `from`: publish now what was sent. Happens by itself every round and every HANDOFF_BURST items. */
void handoff_flush(struct handoff *handoff, unsigned from);
