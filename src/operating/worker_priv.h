/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the worker module share: worker.c (control's side), worker_loop.c (the thread), rcu.c. */
#pragma once

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <rte_rcu_qsbr.h>
#include "base/stage.h"
#include "operating/worker.h"
#include "operating/worker_stages.h"

enum { CACHE_LINE = 64 };

enum worker_state { WORKER_AWAKE, WORKER_SLEEPING, WORKER_WOKEN };

/* A source as the worker keeps it. Allocated and freed by control. */
struct slot {
	struct worker_source *source;
	struct worker *worker;
	struct message *removal; /* made when it is added, so that removing cannot fail */
	uint64_t worked_ns;      /* last time that poll found work */
	uint32_t position;       /* in worker->polled, or NOT_POLLED */
	uint32_t tick_place;     /* in worker->ticked, or NOT_POLLED */
	bool armed;
	bool timed;               /* cannot be armed: polled by timer during sleep */
	uint8_t empty_wakes;      /* times in a row that its descriptor woke us for nothing */
	uint64_t faulty_until_ns; /* … or reported an error: treated as timed until then, or until it has work */
};
enum { NOT_POLLED = UINT32_MAX };

/* A pointer array that control sizes and the worker fills. */
struct slot_array {
	uint32_t count, capacity;
	struct slot **slots;
};

/* A closure on its way to the worker and back. */
struct message {
	struct message *next;
	void (*fn)(void *arg, struct worker *worker);
	void *arg;
	void (*done)(void *arg);
	void *done_arg;
	/* Sources come and go by messages, too. */
	struct slot *added, *removed;   /* removed: freed with the message */
	struct slot **polled, **ticked; /* larger arrays, or the old ones on the way back */
	uint32_t capacity;
};

/* Written by the worker alone, read by anyone. */
struct counters {
	_Atomic uint64_t busy_cycles, idle_cycles, rounds, sleeps, wakeups, work, longest_round;
	_Atomic uint64_t stage_cycles[STAGES];
};

struct worker {
	/* Written by others, now and then. */
	_Alignas(CACHE_LINE) _Atomic(struct message *) inbox; /* newest first */
	atomic_bool stop;
	/* Written when the worker falls asleep and wakes, read by all. */
	_Alignas(CACHE_LINE) _Atomic int state; /* enum worker_state */
	int wake_fd, epoll_fd;
	/* The worker's own. */
	_Alignas(CACHE_LINE) struct workers *workers;
	unsigned index;
	int cpu; /* -1 = floats */
	struct slot_array polled, ticked;
	uint32_t parked; /* sources that epoll watches instead */
	uint64_t now_ns;
	uint64_t round_cycles;                /* TSC at the end of the last round */
	uint64_t clock_cycles;                /* TSC when now_ns was read */
	uint64_t clock_period;                /* cycles between two readings */
	uint64_t worked_ns;                   /* last round with work */
	uint64_t ticked_ns, tick_due_ns;      /* last, and when a source wants the next */
	uint64_t parked_check_ns, watched_ns; /* last search for sources to park, last look at the parked ones */
	uint64_t back_off_ns;                 /* next sleep when timed sources are to be polled */
	struct stage_clock stages;            /* of a round that is measured */
	uint32_t unmeasured;                  /* rounds until the next */
	uint32_t turn;                        /* sources polled and closures run */
	bool tick_owed;                       /* there was work since the last tick */
	bool registered;                      /* with DPDK: it has an lcore id and mempool caches */
	struct counters counters;
	/* Control's. */
	_Alignas(CACHE_LINE) pthread_t thread;
	uint32_t sources, capacity;
	sem_t started;
	int start_status;
	uint64_t start_ns, start_cycles;
};

/* What waits for the end of a grace period. */
struct retired {
	uint64_t token; /* 0 = not begun */
	void (*fn)(void *arg);
	void *arg;
};

struct grace {
	struct retired *queue; /* ring */
	uint32_t head, count, capacity;
	uint32_t begun; /* the first so many have a token */
	struct loop_timer *timer;
	uint64_t delay_ns;
};

struct workers {
	unsigned count;
	enum worker_policy policy;
	struct loop *loop;
	struct rte_rcu_qsbr *qsbr;
	struct grace grace;
	bool *freed; /* a callback of ours is on the stack: workers_free() sets *freed */
	/* Messages that workers are done with. */
	_Alignas(CACHE_LINE) _Atomic(struct message *) outbox;
	int outbox_fd;
	struct loop_fd *outbox_watch;
	struct message *returned; /* taken from the outbox, not yet finished; oldest first */
	struct worker worker[];
};

/* worker_loop.c: the thread. */
void *worker_thread(void *arg);
void worker_slot_add(void *arg, struct worker *worker);    /* arg: the message */
void worker_slot_remove(void *arg, struct worker *worker); /* arg: the message */

/* rcu.c */
int grace_init(struct workers *workers);
void grace_fini(struct workers *workers); /* no worker left: runs all that waits */

/* Lists that many push to and one takes whole. */
static inline bool message_push(_Atomic(struct message *) *list, struct message *message)
{
	struct message *head = atomic_load_explicit(list, memory_order_relaxed);

	do {
		message->next = head;
	} while (!atomic_compare_exchange_weak_explicit(list, &head, message, memory_order_release,
							memory_order_relaxed));
	return !head;
}

/* Oldest first. */
static inline struct message *message_take(_Atomic(struct message *) *list)
{
	struct message *newest = atomic_exchange_explicit(list, NULL, memory_order_acquire);
	struct message *oldest = NULL;

	while (newest) {
		struct message *next = newest->next;
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	return oldest;
}
