// SPDX-License-Identifier: BSD-3-Clause
/* A worker's io_uring: with all that the kernel has and without parts of it, more completions than its ring holds, in a
 * worker that sleeps; hooks and what is done later. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>
#include "operating/test_rig.h"
#include "operating/uring.h"
#include "operating/uring_fixed.h"

enum { ENTRIES = 8, MANY = 500 };

/* ---- set-ups ---- */

struct counted {
	struct uring_op op; /* first */
	int32_t expected;
	atomic_uint *count;
};

static void on_counted(struct uring_op *op, int32_t result)
{
	struct counted *counted = (struct counted *)op;

	assert_int_equal(result, counted->expected);
	atomic_fetch_add(counted->count, 1);
}

static void nop(struct uring *uring, struct counted *counted, atomic_uint *count)
{
	*counted = (struct counted){ .op.done = on_counted, .count = count };
	struct io_uring_sqe *entry = uring_entry(uring, &counted->op);

	assert_non_null(entry);
	io_uring_prep_nop(entry);
	io_uring_sqe_set_data(entry, &counted->op);
}

/* Far more completions at once than there are places for. */
static void flood(struct uring *uring)
{
	static struct counted counted[MANY];
	atomic_uint count = 0;

	for (unsigned i = 0; i < MANY; i++)
		nop(uring, &counted[i], &count);
	for (uint64_t end = clock_ns() + PATIENCE_NS; atomic_load(&count) < MANY && clock_ns() < end;)
		uring_poll(uring);
	assert_int_equal(atomic_load(&count), MANY);
	assert_int_equal(uring_under_way(uring), 0);
}

struct sleeper {
	struct uring *uring;
	struct counted counted;
	struct __kernel_timespec timeout;
	atomic_uint count;
};

/* The kernel completes it when the worker has been asleep for long. */
static void sleeper_start(void *arg, struct worker *worker)
{
	struct sleeper *sleeper = arg;

	(void)worker;
	sleeper->timeout.tv_nsec = 20000000;
	sleeper->counted = (struct counted){ .op.done = on_counted, .expected = -ETIME, .count = &sleeper->count };
	struct io_uring_sqe *entry = uring_entry(sleeper->uring, &sleeper->counted.op);
	io_uring_prep_timeout(entry, &sleeper->timeout, 0, 0);
	io_uring_sqe_set_data(entry, &sleeper->counted.op);
}

static void wakes(struct uring *uring)
{
	struct sleeper sleeper = { .uring = uring };
	struct rig rig;

	rig_up(&rig, 1, WORKER_POWER_SAVE);
	assert_int_equal(worker_add_source(workers_get(rig.workers, 0), uring_source(uring)), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(worker_call(workers_get(rig.workers, 0), sleeper_start, &sleeper, NULL), 0);
		WAIT_FOR(&rig, atomic_load(&sleeper.count) == i + 1);
	}
	assert_true(stats_of(&rig, 0).sleeps > 0);
	remove_and_wait(&rig, 0, uring_source(uring));
	rig_down(&rig);
}

static void set_up_without(unsigned without)
{
	struct uring *uring;
	struct dpu_error err = { 0 };

	if (uring_new_without(ENTRIES, without, &uring, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(uring_has(uring) & without, 0);
	flood(uring);
	uring_free(uring);
	/* A ring is of the thread that polls it first. */
	assert_int_equal(uring_new_without(ENTRIES, without, &uring, &err), 0);
	wakes(uring);
	uring_free(uring);
}

static void test_set_ups(void **state)
{
	struct uring *uring;

	(void)state;
	assert_int_equal(uring_new(ENTRIES, &uring, NULL), 0);
	printf("this kernel has %#x of %#x\n", uring_has(uring), URING_ALL);
	uring_free(uring);
	set_up_without(0);
	set_up_without(URING_DEFERRED);
	set_up_without(URING_DEFERRED | URING_COOPERATIVE);
	set_up_without(URING_ALL);
}

/* ---- the table of descriptors ---- */

static void test_table_full(void **state)
{
	struct uring *uring;
	int numbers[FIXED_FILES];

	(void)state;
	assert_int_equal(uring_new(ENTRIES, &uring, NULL), 0);
	struct uring_fixed *fixed = uring_fixed(uring);
	if (uring_has(uring) & URING_FIXED_FILES) {
		for (int i = 0; i < FIXED_FILES; i++) {
			numbers[i] = fixed_file_add(fixed, STDOUT_FILENO);
			assert_int_equal(numbers[i], i);
		}
		assert_int_equal(fixed_file_add(fixed, STDOUT_FILENO), FIXED_NONE);
		fixed_file_remove(fixed, numbers[7]);
		assert_int_equal(fixed_file_add(fixed, STDOUT_FILENO), numbers[7]);
	}
	assert_int_equal(fixed_file_add(fixed, -2), FIXED_NONE);
	uring_free(uring);
}

/* ---- hooks, and what is done later ---- */

struct hooked {
	struct uring_hook hook;
	struct uring_op op;
	struct uring *uring;
	struct hooked *other;
	unsigned ran;
};

static void on_hook(struct uring_hook *hook)
{
	((struct hooked *)hook)->ran++;
}

static void on_later(struct uring_op *op, int32_t result)
{
	struct hooked *hooked = (struct hooked *)((char *)op - offsetof(struct hooked, op));

	assert_int_equal(result, -EAGAIN);
	uring_before_send(hooked->uring, &hooked->other->hook);
}

/* What is done later queues a hook behind one that waits already: both run. */
static void test_hook_of_later(void **state)
{
	struct hooked first = { .hook.run = on_hook, .op.done = on_later }, second = { .hook.run = on_hook };

	(void)state;
	assert_int_equal(uring_new(ENTRIES, &first.uring, NULL), 0);
	first.other = &second;
	for (unsigned round = 1; round <= 3; round++) {
		uring_before_send(first.uring, &first.hook);
		uring_later(first.uring, &first.op, -EAGAIN);
		uring_poll(first.uring);
		assert_int_equal(first.ran, round);
		assert_int_equal(second.ran, round);
	}
	uring_before_send(first.uring, &first.hook);
	assert_int_equal(uring_poll(first.uring), 1); /* it may have given another source work */
	assert_int_equal(uring_poll(first.uring), 0);
	uring_free(first.uring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_ups),
		cmocka_unit_test(test_table_full),
		cmocka_unit_test(test_hook_of_later),
	};
	struct dpu_error err = { 0 };
	struct uring *probe;

	if (uring_new(8, &probe, &err) < 0) {
		printf("skipped: %s\n", err.message);
		return 77;
	}
	uring_free(probe);
	return cmocka_run_group_tests_name("uring", tests, NULL, NULL);
}
