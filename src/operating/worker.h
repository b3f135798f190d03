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

/* Something a worker polls. Embedded by its owner, immutable while registered. */
struct worker_source {
	/* Do a bounded amount of work; return how much (0 = idle). Runs in the worker. */
	unsigned (*poll)(struct worker_source *source, struct worker *worker);
	/* Prepare to sleep: make `fd` readable when there is work. Returns 0, 1 if there is work now, or -ENOTSUP: then
	 * the worker wakes by timer to poll it (at most every 1 ms, less often when long idle; power policy). May be
	 * NULL (nothing to arm). */
	int (*arm)(struct worker_source *source);
	void (*disarm)(struct worker_source *source);
	/* Housekeeping: called about every millisecond when busy and before sleep; returns ns until it wants to be
	 * called again. May be NULL. */
	uint64_t (*tick)(struct worker_source *source, struct worker *worker, uint64_t now_ns);
	int fd; /* watched while asleep; -1 = none */
	const char *name;
};

enum worker_policy {
	WORKER_LATENCY,    /* never sleeps */
	WORKER_BALANCED,   /* sleeps after 50 µs of nothing */
	WORKER_POWER_SAVE, /* sleeps at once */
};

struct workers_options {
	struct loop *loop;
	unsigned count;
	const char *cpus; /* CPU list, e.g. "2-5"; NULL = float over all allowed CPUs */
	enum worker_policy policy;
};

int workers_new(const struct workers_options *options, struct workers **ret, struct dpu_error *err);
void workers_free(struct workers *workers); /* stops and joins; sources must have been removed */
unsigned workers_count(const struct workers *workers);
struct worker *workers_get(struct workers *workers, unsigned index);

/* In the worker. */
unsigned worker_index(const struct worker *worker);
uint64_t worker_now_ns(const struct worker *worker); /* as of this round */

/* From control. Closures run in order, between two rounds of polling; done (may be NULL) then runs in the control
 * thread. Never fails for want of memory in the worker: messages are allocated here (-ENOMEM). */
int worker_call(struct worker *worker, void (*fn)(void *arg, struct worker *worker), void *arg,
		void (*done)(void *arg));
int worker_add_source(struct worker *worker, struct worker_source *source);
int worker_remove_source(struct worker *worker, struct worker_source *source, void (*done)(void *arg), void *arg);

/* From any thread: make a sleeping worker look at its sources (ring hand-off). Cheap when it is awake. */
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
