/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of this folder share.
 *
 * A scheduler has groups, one for each tenant, and a group has volumes. Both are nodes among their siblings: waiting
 * for a cap (by time), or ready (by the tag of their share); and promised (by when the guarantee is due) if they are
 * ready and have one, or a volume of them has. Who has nothing to do is in none of the heaps. */
#pragma once

#include <assert.h>
#include <dpu/block.h>
#include <sys/queue.h>
#include "base/clock.h"
#include "base/cycles.h"
#include "device/block/block_queue.h"
#include "service/block/qos/bucket.h"
#include "service/block/qos/heap.h"
#include "service/block/qos/qos.h"

enum qos_unit { QOS_IOS, QOS_BYTES, QOS_UNITS };

enum {
	QOS_IO_BYTES = 64 << 10, /* what counts as one for guarantees of I/Os, and of the window */
	QOS_SIZES = 4,           /* classes of sizes in the window */
	QOS_STAMP_USES = 4,
};

struct qos_tenant {
	_Atomic uint32_t refs;
	_Atomic uint32_t version; /* of the policy */
	_Atomic uint32_t weight;
	struct qos_bucket cap[QOS_UNITS], guarantee[QOS_UNITS];
};

struct qos_node {
	struct heap_node place; /* in waiting or ready */
	struct heap_node due;   /* in promised */
	uint64_t tag;           /* of its share: the virtual time at which it is served next */
	bool ready, capped, guaranteed, guard;
	uint32_t weight;
	struct qos_lease cap[QOS_UNITS], guarantee[QOS_UNITS];
};

/* Siblings. */
struct qos_set {
	struct heap waiting, ready, promised;
	uint32_t members;
	uint64_t clock; /* the tag of the last one that was taken by weight */
};

struct qos_group {
	struct qos_node node; /* first */
	struct qos_tenant *tenant;
	struct heap_node alarm; /* in the scheduler's alarms: the first of its volumes that waits */
	struct qos_set volumes;
	struct qos_group *next;
	uint32_t version;
	bool leased; /* may hold credit of the tenant's */
};

/* Two cache lines: by the time that it comes back they are no more in the first one's cache. When the request above was
 * submitted is in that, in scratch[0], like the link of those that are free in `below`. */
struct qos_io {
	_Alignas(64) struct dpu_block_request below; /* first */
	struct dpu_block_request *above;
	struct qos_volume *volume;
	struct dpu_block_trace trace;
	uint64_t dispatched; /* cycles */
};
static_assert(sizeof(struct qos_io) == 128, "what the filter adds to a request is two cache lines");

/* Histograms of a class of requests. Most do not wait, and many do all of their time in one place: they are in `only`
 * alone, which is what qos_latency() adds them up from. */
struct qos_times {
	struct histogram of[QOS_STAGES]; /* QOS_STAGE_WAIT: of those that did */
	struct histogram only_map, only_medium;
};

struct qos_volume {
	struct dpu_block_device device; /* first */
	/* What each request needs, together. */
	struct qos_scheduler *scheduler;
	struct qos_group *group;
	struct dpu_block_device *below;
	struct block_queue queue;
	bool on_medium;                   /* what is below is one */
	bool closing, draining, in_hurry; /* in_hurry: the user without a name */
	bool cancelled;                   /* some that are queued: it is in the scheduler's list */
	uint64_t queued, under_way;
	uint64_t hurried; /* of those that are queued */
	uint64_t slow_floor_ns, slow_since_ns;
	struct qos_stats stats;
	struct qos_node node;
	struct qos_bucket cap[QOS_UNITS], guarantee[QOS_UNITS];
	LIST_ENTRY(qos_volume) cancelled_link;
	void (*close_done)(void *arg);
	void *close_arg;
	unsigned slow_count[2];
	struct qos_slow slow[2][QOS_SLOWEST]; /* of this half minute and of the one before */
	struct qos_times times[QOS_CLASSES];
};

struct qos_window {
	unsigned size;
	unsigned samples;
	bool full; /* something waited for it in this interval */
	bool probing;
	unsigned probed_size, skip; /* skip: those that began before the probe */
	uint64_t probe_ns;          /* of the next one */
	struct qos_window_class {
		uint64_t sum, count, base;
	} of[2 * QOS_SIZES];
};

/* A look at the clock that serves for some more of the same turn. */
struct qos_stamp {
	uint64_t cycles;
	uint32_t turn, left;
};

struct qos_scheduler {
	struct qos_scheduler_options options;
	uint64_t scale; /* of cycles */
	struct qos_worker *worker;
	struct qos_io *free_io;
	struct qos_stamp down, up; /* of requests, and of their completions */
	uint32_t under_way;        /* units */
	uint64_t kept_ns;          /* last housekeeping */
	struct qos_set groups;
	struct heap alarms;
	struct qos_group *group;
	LIST_HEAD(, qos_volume) cancelled;
	uint64_t swept_ns; /* when these were looked through last */
	struct qos_window window;
	struct qos_worker own; /* if the options have none */
	struct qos_io *io;
};

static inline uint64_t qos_now(const struct qos_scheduler *scheduler)
{
	return scheduler->options.now_ns(scheduler->options.ctx);
}

static inline uint64_t qos_cycles(const struct qos_scheduler *scheduler)
{
	return scheduler->options.cycles ? scheduler->options.cycles(scheduler->options.ctx) : cycles_now();
}

/* A look costs 25 cycles, twice a request. So a few in a row of one turn share one, which is right within the time of
 * those few. When the other direction was looked at meanwhile, it is looked anew: no request ends before it begins. */
static inline uint64_t qos_stamp(const struct qos_scheduler *scheduler, struct qos_stamp *stamp,
				 struct qos_stamp *other)
{
	const uint32_t *turn = scheduler->options.turn;

	if (stamp->left > 0 && stamp->turn == *turn) {
		stamp->left--;
		return stamp->cycles;
	}
	stamp->cycles = qos_cycles(scheduler);
	stamp->left = turn ? QOS_STAMP_USES - 1 : 0;
	stamp->turn = turn ? *turn : 0;
	other->left = 0;
	return stamp->cycles;
}

static inline uint64_t qos_stamp_down(struct qos_scheduler *scheduler)
{
	return qos_stamp(scheduler, &scheduler->down, &scheduler->up);
}

static inline uint64_t qos_stamp_up(struct qos_scheduler *scheduler)
{
	return qos_stamp(scheduler, &scheduler->up, &scheduler->down);
}

static inline uint64_t qos_request_bytes(const struct dpu_block_request *request)
{
	switch ((enum dpu_block_op)request->op) {
	case DPU_BLOCK_READ:
	case DPU_BLOCK_WRITE:
	case DPU_BLOCK_COMPARE:
		return request->length;
	case DPU_BLOCK_DISCARD:
	case DPU_BLOCK_WRITE_ZEROES:
		return ((request->length + (1 << 20) - 1) >> 20) * DPU_BLOCK_BYTES;
	case DPU_BLOCK_FLUSH:
	case DPU_BLOCK_OPS:
		break;
	}
	return 0;
}

static inline void io_free(struct qos_scheduler *scheduler, struct qos_io *io)
{
	io->below.next = (struct dpu_block_request *)scheduler->free_io;
	scheduler->free_io = io;
}

static inline struct qos_io *io_take(struct qos_scheduler *scheduler)
{
	struct qos_io *io = scheduler->free_io;

	scheduler->free_io = (struct qos_io *)io->below.next;
	return io;
}

static inline uint32_t qos_request_units(const struct dpu_block_request *request)
{
	uint64_t bytes = qos_request_bytes(request);

	return bytes <= QOS_IO_BYTES ? 1 : (uint32_t)((bytes + QOS_IO_BYTES - 1) / QOS_IO_BYTES);
}

/* ---- node.c: caps, guarantees and shares of one node among its siblings ---- */
int set_reserve(struct qos_set *set);
void set_fini(struct qos_set *set);
void node_init(struct qos_node *node, struct qos_bucket *cap, struct qos_bucket *guarantee, bool shared);
/* After a change of its buckets. Returns by how much the number of guards changes. */
int node_policy(struct qos_node *node, uint32_t weight);
/* ns; the past: now. */
uint64_t node_when(const struct qos_node *node);
uint64_t node_due(const struct qos_node *node, const struct dpu_block_request *request); /* UINT64_MAX: never */
/* False: not now after all (somebody else was faster). */
bool node_take_cap(struct qos_node *node, const struct dpu_block_request *request, uint64_t now_ns);
void node_owe_cap(struct qos_node *node, const struct dpu_block_request *request, uint64_t now_ns);
void node_give_cap(struct qos_node *node, const struct dpu_block_request *request);
bool node_take_guarantee(struct qos_node *node, const struct dpu_block_request *request, uint64_t now_ns);
void node_expire(struct qos_node *node, uint64_t now_ns);
bool node_credit(const struct qos_node *node);
void set_wait(struct qos_set *set, struct qos_node *node, uint64_t when_ns);
void set_ready(struct qos_set *set, struct qos_node *node, uint64_t due_ns);
void set_remove(struct qos_set *set, struct qos_node *node);
/* Moves its tag on by what the request costs it. It is ready. */
void set_charge(struct qos_set *set, struct qos_node *node, const struct dpu_block_request *request, bool by_weight);

/* ---- scheduler.c ---- */
/* Finds its place again after its queue or policy has changed. */
void volume_place(struct qos_volume *volume, uint64_t now_ns);
/* Gives the media what may go; at most so many, and none behind the last of `whose`, if not NULL. */
unsigned scheduler_run(struct qos_scheduler *scheduler, const struct qos_volume *whose, uint64_t now_ns, unsigned most);
struct qos_group *group_get(struct qos_scheduler *scheduler, struct qos_tenant *tenant);
void group_put(struct qos_scheduler *scheduler, struct qos_group *group);

/* ---- filter.c ---- */
/* The first of the queue; there is one. */
struct dpu_block_request *volume_take(struct qos_volume *volume);
/* Ends those of its queue that were cancelled; returns how many. It may be gone then. */
unsigned volume_sweep(struct qos_volume *volume);
/* Sends it down; scratch[0] says when it was submitted. There is a free io. */
void volume_send(struct qos_volume *volume, struct dpu_block_request *request, uint64_t cycles);

/* ---- slow.c ---- */
#define SLOW_PERIOD_NS (30 * CLOCK_NS_PER_S)
/* Called for those that are slower than slow_floor_ns, and for any after a period. */
void slow_note(struct qos_volume *volume, const struct qos_slow *slow);

/* ---- window.c ---- */
void window_init(struct qos_window *window);
/* A request was under way for so many cycles. */
void window_sample(struct qos_window *window, const struct dpu_block_request *request, uint64_t cycles,
		   uint64_t now_ns);
