/* SPDX-License-Identifier: BSD-3-Clause */
/* Grace periods: memory to be freed and barriers to be answered once every worker has passed a quiescent state.
 * Control never waits for that; it looks by timer while something is pending. */
#include "operating/worker.h"

#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "operating/worker_priv.h"

static const uint64_t COLLECT_NS = 100 * CLOCK_NS_PER_US; /* retired memory shares a grace period with what follows */
static const uint64_t CHECK_FIRST_NS = 20 * CLOCK_NS_PER_US;
static const uint64_t CHECK_LAST_NS = CLOCK_NS_PER_MS;
static const uint64_t NEVER_NS = UINT64_MAX;
enum { RUN_AT_ONCE = 4096 }; /* callbacks in one turn of the loop */

static struct retired *at(struct grace *grace, uint32_t index)
{
	return &grace->queue[(grace->head + index) & (grace->capacity - 1)];
}

static int grow(struct grace *grace)
{
	uint32_t capacity = grace->capacity ? grace->capacity * 2 : 64;
	struct retired *queue = capacity ? malloc(capacity * sizeof(*queue)) : NULL;

	if (!queue)
		return -ENOMEM;
	for (uint32_t i = 0; i < grace->count; i++)
		queue[i] = *at(grace, i);
	free(grace->queue);
	grace->queue = queue;
	grace->capacity = capacity;
	grace->head = 0;
	return 0;
}

static struct retired take_first(struct grace *grace)
{
	struct retired first = *at(grace, 0);

	grace->head++;
	grace->count--;
	if (grace->begun > 0)
		grace->begun--;
	return first;
}

/* One grace period for all that has not begun one. */
static void begin(struct workers *workers)
{
	struct grace *grace = &workers->grace;

	if (grace->begun == grace->count)
		return;
	uint64_t token = rte_rcu_qsbr_start(workers->qsbr);
	while (grace->begun < grace->count)
		at(grace, grace->begun++)->token = token;
	grace->delay_ns = CHECK_FIRST_NS;
}

/* Callbacks may retire more, and may free the workers. */
static void check(void *ctx)
{
	struct workers *workers = ctx;
	struct grace *grace = &workers->grace;
	bool freed = false, *outer = workers->freed;
	unsigned ran = 0;

	begin(workers);
	workers->freed = &freed;
	while (grace->begun > 0 && ran++ < RUN_AT_ONCE &&
	       rte_rcu_qsbr_check(workers->qsbr, at(grace, 0)->token, false)) {
		struct retired first = take_first(grace);
		first.fn(first.arg);
		if (freed) {
			if (outer)
				*outer = true;
			return;
		}
	}
	workers->freed = outer;
	if (grace->count == 0)
		return;
	if (ran > RUN_AT_ONCE) {
		loop_timer_rearm(grace->timer, 0);
		return;
	}
	loop_timer_rearm(grace->timer, grace->delay_ns);
	if (grace->delay_ns < CHECK_LAST_NS)
		grace->delay_ns *= 2;
}

static void defer(struct workers *workers, void (*fn)(void *), void *arg, uint64_t delay_ns)
{
	struct grace *grace = &workers->grace;

	if (grace->count == grace->capacity && grow(grace) < 0) {
		/* Without memory to remember it, waiting is all that is left. Workers answer within a round. */
		rte_rcu_qsbr_synchronize(workers->qsbr, RTE_QSBR_THRID_INVALID);
		fn(arg);
		return;
	}
	*at(grace, grace->count++) = (struct retired){ .fn = fn, .arg = arg };
	if (delay_ns == 0 || grace->count == 1)
		loop_timer_rearm(grace->timer, delay_ns);
}

void workers_retire(struct workers *workers, void (*free_fn)(void *), void *memory)
{
	defer(workers, free_fn, memory, COLLECT_NS);
}

void workers_barrier(struct workers *workers, void (*done)(void *), void *arg)
{
	defer(workers, done, arg, 0);
}

int grace_init(struct workers *workers)
{
	size_t size = rte_rcu_qsbr_get_memsize(workers->count);

	workers->qsbr = aligned_alloc(CACHE_LINE, (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
	if (!workers->qsbr || rte_rcu_qsbr_init(workers->qsbr, workers->count) != 0)
		return -ENOMEM;
	for (unsigned i = 0; i < workers->count; i++)
		rte_rcu_qsbr_thread_register(workers->qsbr, i);
	return loop_timer_add(workers->loop, NEVER_NS, 0, check, workers, &workers->grace.timer);
}

void grace_fini(struct workers *workers)
{
	struct grace *grace = &workers->grace;

	while (grace->count > 0) {
		struct retired first = take_first(grace);
		first.fn(first.arg);
	}
	loop_timer_remove(grace->timer);
	free(grace->queue);
	free(workers->qsbr);
}
