/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of workers, rings and ports share: a loop, workers, waiting with a deadline. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/clock.h"
#include "operating/worker.h"

struct rig {
	struct loop *loop;
	struct workers *workers;
};

static inline void rig_up(struct rig *rig, unsigned count, enum worker_policy policy)
{
	struct dpu_error err = { 0 };

	assert_int_equal(loop_new(&rig->loop), 0);
	struct workers_options options = { .loop = rig->loop, .count = count, .policy = policy };
	if (workers_new(&options, &rig->workers, &err) < 0)
		fail_msg("%s", err.message);
}

static inline void rig_down(struct rig *rig)
{
	workers_free(rig->workers);
	loop_free(rig->loop);
}

/* Generous: the machine may be busy. */
#define PATIENCE_NS (20 * CLOCK_NS_PER_S)
#define WAIT_FOR(rig_, condition_)                                                                                     \
	do {                                                                                                           \
		uint64_t deadline_ = clock_ns() + PATIENCE_NS;                                                         \
		while (!(condition_)) {                                                                                \
			assert_int_equal(loop_once((rig_)->loop, 1), 0);                                               \
			if (clock_ns() > deadline_)                                                                    \
				fail_msg("never: %s", #condition_);                                                    \
		}                                                                                                      \
	} while (0)

static inline void run_for(struct rig *rig, uint64_t ns)
{
	for (uint64_t end = clock_ns() + ns; clock_ns() < end;)
		assert_int_equal(loop_once(rig->loop, 1), 0);
}

static inline void set_flag(void *arg)
{
	atomic_store((atomic_bool *)arg, true);
}

static inline struct worker_stats stats_of(const struct rig *rig, unsigned index)
{
	struct worker_stats stats;

	worker_stats(workers_get(rig->workers, index), &stats);
	return stats;
}

static inline void remove_and_wait(struct rig *rig, unsigned index, struct worker_source *source)
{
	atomic_bool removed = false;

	assert_int_equal(worker_remove_source(workers_get(rig->workers, index), source, set_flag, &removed), 0);
	WAIT_FOR(rig, atomic_load(&removed));
}
