/* SPDX-License-Identifier: BSD-3-Clause */
/* Workers: one thread per core that polls its sources in turn, runs closures sent by control, and sleeps when there is
 * nothing to do. Packets, blocks and jobs register sources alike.
 *
 * Control owns the set of workers and talks to them by messages only. Quiescence (QSBR, rte_rcu_qsbr): a worker reports
 * a quiescent state every round and goes offline while it sleeps. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/loop.h"

enum { WORKERS_MAX = 64 };

struct worker;
struct workers;

/* Something a worker polls. Embedded by its owner, immutable while registered.
 *
 * A source with a descriptor that has been idle for a while is parked: armed, and no more polled until its descriptor
 * is readable. So a thousand idle sources cost a busy worker next to nothing. */
struct worker_source {
	/* Do a bounded amount of work; return how much (0 = idle). What it gives other sources of the worker to do
	 * counts, too: after a round of nothing the worker may sleep. Runs in the worker. May be NULL (tick only). */
	unsigned (*poll)(struct worker_source *source, struct worker *worker);
	/* Prepare to be left alone: from now on, `fd` becomes readable when there is work, or, without an fd, the one
	 * who makes work calls worker_wake(). Returns 0, 1 if there is work now (then it is not armed), or -ENOTSUP:
	 * the source is polled by timer while the worker sleeps, first after 50 µs, then less and less often down to
	 * every 2 ms (power-save: 250 µs to 8 ms). May be NULL (nothing to arm). */
	int (*arm)(struct worker_source *source);
	void (*disarm)(struct worker_source *source); /* before the next poll of an armed source; may be NULL */
	/* Housekeeping: called about every millisecond when busy and before a sleep of more than that; returns ns
	 * until it wants to be called again. May be NULL. */
	uint64_t (*tick)(struct worker_source *source, struct worker *worker, uint64_t now_ns);
	int fd; /* -1 = none; open until the source is removed */
	const char *name;
	void *slot, *live; /* the worker module's: control's view, the worker's */
};

enum worker_policy {
	WORKER_LATENCY,    /* never sleeps */
	WORKER_BALANCED,   /* sleeps after 50 µs of nothing */
	WORKER_POWER_SAVE, /* sleeps at once */
};

struct workers_options {
	struct loop *loop;
	unsigned count;   /* 1 to WORKERS_MAX */
	const char *cpus; /* CPU list, e.g. "2-5,8": worker i runs on the i-th; NULL = float over all allowed CPUs */
	enum worker_policy policy;
};

/* Errors have path "count" or "cpus". Workers that are to touch mbufs need eal_start() before. */
int workers_new(const struct workers_options *options, struct workers **ret, struct dpu_error *err);
/* Stops and joins, then runs what is still due in the control thread: closures' done, retired memory, barriers. Sources
 * must have been removed. */
void workers_free(struct workers *workers);
unsigned workers_count(const struct workers *workers);
struct worker *workers_get(struct workers *workers, unsigned index);

/* In the worker. */
unsigned worker_index(const struct worker *worker);
uint64_t worker_now_ns(const struct worker *worker); /* as of this round */
/* Changes whenever the worker turns to another source or closure: what happens while it stays is close together. */
const uint32_t *worker_turn(const struct worker *worker);

/* There is work for this source, made by another source or a closure of its own worker: if it is parked, it is polled
 * again from this round on. */
void worker_source_ready(struct worker_source *source);

/* From control. Closures run in order, between two rounds of polling; done (may be NULL) then runs in the control
 * thread. Never fails for want of memory in the worker: messages are allocated here (-ENOMEM).
 * worker_add_source: also the errno of epoll_ctl(2) for a descriptor that cannot be watched. Removing never fails; once
 * its done runs, the worker no longer touches the source. */
int worker_call(struct worker *worker, void (*fn)(void *arg, struct worker *worker), void *arg,
		void (*done)(void *arg));
int worker_add_source(struct worker *worker, struct worker_source *source);
int worker_remove_source(struct worker *worker, struct worker_source *source, void (*done)(void *arg), void *arg);

/* From any thread: make a sleeping worker poll its sources that have no descriptor (ring hand-off). What was written
 * before is seen by that poll. One fence and one read when it is awake. */
void worker_wake(struct worker *worker);

/* RCU: call free_fn(memory) in the control thread once every worker has passed a quiescent state. Control thread only.
 */
void workers_retire(struct workers *workers, void (*free_fn)(void *), void *memory);
/* Calls done(arg) in the control thread after a grace period: what was published before is then in force. */
void workers_barrier(struct workers *workers, void (*done)(void *), void *arg);

struct worker_stats {
	uint64_t busy_cycles, idle_cycles; /* TSC: rounds with and without work; sleeping counts as neither */
	uint64_t rounds, sleeps, wakeups, work;
	uint64_t longest_round_ns;
};
void worker_stats(const struct worker *worker, struct worker_stats *ret);
