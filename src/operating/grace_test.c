/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of grace periods: barriers and what is retired behind them. None needs DPDK's environment. */
#include <stdlib.h>
#include <unistd.h>
#include "operating/test_rig.h"

struct gate {
	atomic_bool entered, open;
};

static void wait_at_gate(void *arg, struct worker *worker)
{
	struct gate *gate = arg;

	atomic_store(&gate->entered, true);
	while (!atomic_load(&gate->open))
		usleep(100);
}

static void barrier_waits_for_workers(void **state)
{
	struct rig rig;
	struct gate gate = { 0 };
	atomic_bool first = false, second = false, retired = false;

	rig_up(&rig, 2, WORKER_BALANCED);
	workers_barrier(rig.workers, set_flag, &first); /* both asleep or idle: soon */
	WAIT_FOR(&rig, atomic_load(&first));

	assert_int_equal(worker_call(workers_get(rig.workers, 1), wait_at_gate, &gate, NULL), 0);
	WAIT_FOR(&rig, atomic_load(&gate.entered));
	workers_retire(rig.workers, set_flag, &retired);
	workers_barrier(rig.workers, set_flag, &second);
	run_for(&rig, 20 * CLOCK_NS_PER_MS);
	assert_false(atomic_load(&second));
	assert_false(atomic_load(&retired));
	atomic_store(&gate.open, true);
	WAIT_FOR(&rig, atomic_load(&second));
	assert_true(atomic_load(&retired)); /* in order */
	rig_down(&rig);
}

static unsigned counted;

static void count_one(void *arg)
{
	assert_int_equal((uintptr_t)arg, counted);
	counted++;
}

static void many_retired(void **state)
{
	enum { MANY = 30000 };
	struct rig rig;

	counted = 0;
	rig_up(&rig, 2, WORKER_BALANCED);
	for (uintptr_t i = 0; i < MANY; i++)
		workers_retire(rig.workers, count_one, (void *)i);
	WAIT_FOR(&rig, counted == MANY);
	for (uintptr_t i = 0; i < 100; i++)
		workers_retire(rig.workers, count_one, (void *)(MANY + i));
	rig_down(&rig);
	assert_int_equal(counted, MANY + 100);
}

/* Readers never see freed memory: control replaces a record as fast as it can. */
struct record {
	_Atomic uint64_t a, b; /* a == ~b as long as it lives */
};

struct reader {
	struct worker_source source;
	_Atomic(struct record *) record;
	atomic_uint reads, torn;
};

static unsigned read_record(struct worker_source *source, struct worker *worker)
{
	struct reader *reader = (struct reader *)source;
	struct record *record = atomic_load_explicit(&reader->record, memory_order_acquire);

	for (int i = 0; i < 10; i++)
		if (atomic_load_explicit(&record->a, memory_order_relaxed) !=
		    ~atomic_load_explicit(&record->b, memory_order_relaxed))
			atomic_fetch_add(&reader->torn, 1);
	return atomic_fetch_add(&reader->reads, 1) % 64 == 0; /* mostly idle: goes to sleep in between */
}

static void spoil(void *memory)
{
	struct record *record = memory;

	atomic_store(&record->a, 0);
	atomic_store(&record->b, 0);
	free(record);
}

static struct record *record_new(uint64_t value)
{
	struct record *record = malloc(sizeof(*record));

	assert_non_null(record);
	atomic_init(&record->a, value);
	atomic_init(&record->b, ~value);
	return record;
}

static void readers_see_live_memory(void **state)
{
	struct rig rig;
	struct reader readers[2] = { 0 };

	rig_up(&rig, 2, WORKER_POWER_SAVE);
	for (unsigned i = 0; i < 2; i++) {
		readers[i].source = (struct worker_source){ .poll = read_record, .fd = -1, .name = "reader" };
		atomic_init(&readers[i].record, record_new(i));
		assert_int_equal(worker_add_source(workers_get(rig.workers, i), &readers[i].source), 0);
	}
	uint64_t end = clock_ns() + 300 * CLOCK_NS_PER_MS;
	for (uint64_t value = 2; clock_ns() < end; value++) {
		for (unsigned i = 0; i < 2; i++) {
			struct record *old =
				atomic_exchange_explicit(&readers[i].record, record_new(value), memory_order_acq_rel);
			workers_retire(rig.workers, spoil, old);
			if (value % 8 == 0)
				worker_wake(workers_get(rig.workers, i));
		}
		assert_int_equal(loop_once(rig.loop, 0), 0);
	}
	for (unsigned i = 0; i < 2; i++) {
		remove_and_wait(&rig, i, &readers[i].source);
		assert_true(atomic_load(&readers[i].reads) > 0);
		assert_int_equal(atomic_load(&readers[i].torn), 0);
		free(atomic_load(&readers[i].record));
	}
	rig_down(&rig);
}

static void two_sets_side_by_side(void **state)
{
	struct rig rigs[2];
	struct gate gate = { 0 };
	atomic_bool passed = false;

	rig_up(&rigs[0], 1, WORKER_BALANCED);
	rig_up(&rigs[1], 2, WORKER_BALANCED);
	assert_int_equal(worker_call(workers_get(rigs[0].workers, 0), wait_at_gate, &gate, NULL), 0);
	WAIT_FOR(&rigs[0], atomic_load(&gate.entered));
	workers_barrier(rigs[1].workers, set_flag, &passed); /* what holds the one up is nothing to the other */
	WAIT_FOR(&rigs[1], atomic_load(&passed));
	atomic_store(&gate.open, true);
	rig_down(&rigs[1]);
	rig_down(&rigs[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(barrier_waits_for_workers),
		cmocka_unit_test(many_retired),
		cmocka_unit_test(readers_see_live_memory),
		cmocka_unit_test(two_sets_side_by_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
