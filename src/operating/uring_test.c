// SPDX-License-Identifier: BSD-3-Clause
/* A worker's io_uring: with all that the kernel has and without parts of it, more completions than its ring holds,
 * entries that the kernel refuses, in a worker that sleeps; hooks and what is done later. */
#include <setjmp.h>
#include <stdarg.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>
#include "operating/test_rig.h"
#include "operating/uring.h"
#include "operating/uring_fixed.h"
#include "operating/uring_needed.h"

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

/* The kernel knows no such operation, and takes nothing behind it that is not asked for again. */
static void refused(struct uring *uring, struct counted *counted, atomic_uint *count)
{
	*counted = (struct counted){ .op.done = on_counted, .expected = -EINVAL, .count = count };
	struct io_uring_sqe *entry = uring_entry(uring, &counted->op);

	assert_non_null(entry);
	io_uring_prep_nop(entry);
	entry->opcode = UINT8_MAX;
	io_uring_sqe_set_data(entry, &counted->op);
}

static void ended(struct uring *uring, atomic_uint *count, unsigned expected)
{
	for (uint64_t end = clock_ns() + PATIENCE_NS; atomic_load(count) < expected && clock_ns() < end;)
		uring_poll(uring);
	assert_int_equal(atomic_load(count), expected);
	assert_int_equal(uring_under_way(uring), 0);
}

/* Far more completions at once than there are places for. */
static void flood(struct uring *uring)
{
	static struct counted counted[MANY];
	atomic_uint count = 0;

	for (unsigned i = 0; i < MANY; i++)
		nop(uring, &counted[i], &count);
	ended(uring, &count, MANY);
}

static void refused_among_others(struct uring *uring)
{
	static struct counted counted[MANY];
	atomic_uint count = 0;

	for (unsigned i = 0; i < MANY; i++) {
		void (*make)(struct uring *, struct counted *, atomic_uint *) = i % 7 < 4 ? refused : nop;
		make(uring, &counted[i], &count);
		if (i % 50 == 0)
			uring_poll(uring);
	}
	ended(uring, &count, MANY);
}

/* None of its chain is carried out, and each is told so. */
static void refused_in_a_chain(struct uring *uring)
{
	for (unsigned bad = 0; bad < 3; bad++) {
		struct counted counted[3];
		atomic_uint count = 0;

		assert_true(uring_reserve(uring, 3));
		for (unsigned i = 0; i < 3; i++) {
			counted[i] = (struct counted){ .op.done = on_counted,
						       .expected = i == bad ? -EINVAL : -ECANCELED,
						       .count = &count };
			struct io_uring_sqe *entry = uring_entry(uring, &counted[i].op);
			io_uring_prep_nop(entry);
			io_uring_sqe_set_data(entry, &counted[i].op);
			if (i == bad)
				entry->opcode = UINT8_MAX;
			if (i < 2)
				entry->flags |= IOSQE_IO_LINK;
		}
		ended(uring, &count, 3);
	}
}

struct sleeper {
	struct uring *uring;
	struct counted counted, bad[2];
	struct __kernel_timespec timeout;
	atomic_uint count;
};

/* Behind two that are refused. The kernel completes it when the worker has been asleep for long. */
static void sleeper_start(void *arg, struct worker *worker)
{
	struct sleeper *sleeper = arg;

	(void)worker;
	for (unsigned i = 0; i < 2; i++)
		refused(sleeper->uring, &sleeper->bad[i], &sleeper->count);
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
		WAIT_FOR(&rig, atomic_load(&sleeper.count) == 3 * (i + 1));
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
	refused_among_others(uring);
	refused_in_a_chain(uring);
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

/* ---- the kernel takes nothing ---- */

struct filled {
	struct uring *uring;
	struct counted counted[ENTRIES];
	atomic_uint count;
	bool took_one, reserved;
};

/* From any thread but the one that sends first the kernel takes nothing. */
static void *fill(void *arg)
{
	struct filled *filled = arg;
	struct uring_op none;

	for (unsigned i = 0; i < ENTRIES; i++)
		nop(filled->uring, &filled->counted[i], &filled->count);
	filled->took_one = uring_entry(filled->uring, &none);
	filled->reserved = uring_reserve(filled->uring, 1);
	return NULL;
}

/* What is there stays, and goes when the kernel takes something again. */
static void test_full(void **state)
{
	struct filled filled = { 0 };
	struct counted first;
	pthread_t thread;

	(void)state;
	assert_int_equal(uring_new(ENTRIES, &filled.uring, NULL), 0);
	if (!(uring_has(filled.uring) & URING_DEFERRED)) {
		uring_free(filled.uring);
		skip();
	}
	nop(filled.uring, &first, &filled.count);
	ended(filled.uring, &filled.count, 1);
	assert_int_equal(pthread_create(&thread, NULL, fill, &filled), 0);
	pthread_join(thread, NULL);
	assert_false(filled.took_one || filled.reserved);
	assert_int_equal(uring_under_way(filled.uring), ENTRIES);
	assert_int_equal(atomic_load(&filled.count), 1);
	ended(filled.uring, &filled.count, 1 + ENTRIES);
	assert_true(uring_reserve(filled.uring, ENTRIES));
	uring_free(filled.uring);
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
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_table_full),
		cmocka_unit_test(test_hook_of_later),
	};

	uring_needed();
	return cmocka_run_group_tests_name("uring", tests, NULL, NULL);
}
