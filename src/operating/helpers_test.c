/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the helper threads. */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>
#include "operating/helpers.h"
#include "operating/test_rig.h"

struct task {
	atomic_bool *open; /* waits for it, unless NULL */
	atomic_bool begun;
	pthread_t ran_in;
	bool ran, done;
	pthread_t done_in;
};

static void task_run(void *arg)
{
	struct task *task = arg;

	atomic_store(&task->begun, true);
	while (task->open && !atomic_load(task->open))
		usleep(100);
	task->ran_in = pthread_self();
	task->ran = true;
}

static void task_done(void *arg)
{
	struct task *task = arg;

	task->done = true;
	task->done_in = pthread_self();
}

static void runs_off_the_loop(void **state)
{
	struct rig rig;
	struct helpers *helpers;
	atomic_bool open = false;
	struct task slow = { .open = &open }, quick[50] = { 0 };

	assert_int_equal(loop_new(&rig.loop), 0);
	assert_int_equal(helpers_new(rig.loop, 0, &helpers), -EINVAL);
	assert_int_equal(helpers_new(rig.loop, 2, &helpers), 0);
	assert_int_equal(helpers_run(helpers, task_run, task_done, &slow), 0);
	for (unsigned i = 0; i < 50; i++) /* one thread is held up, the other does these */
		assert_int_equal(helpers_run(helpers, task_run, task_done, &quick[i]), 0);
	for (unsigned i = 0; i < 50; i++) {
		WAIT_FOR(&rig, quick[i].done);
		assert_true(quick[i].ran);
		assert_false(pthread_equal(quick[i].ran_in, pthread_self()));
		assert_true(pthread_equal(quick[i].done_in, pthread_self()));
	}
	assert_false(slow.done);
	atomic_store(slow.open, true);
	WAIT_FOR(&rig, slow.done);
	helpers_free(helpers);
	loop_free(rig.loop);
}

static void *open_later(void *open)
{
	usleep(20000);
	atomic_store((atomic_bool *)open, true);
	return NULL;
}

/* At the end a running job is waited for, a waiting one is not run, and both are answered. */
static void free_with_jobs(void **state)
{
	struct rig rig;
	struct helpers *helpers;
	atomic_bool open = false;
	struct task running = { .open = &open }, waiting = { 0 };

	assert_int_equal(loop_new(&rig.loop), 0);
	assert_int_equal(helpers_new(rig.loop, 1, &helpers), 0);
	assert_int_equal(helpers_run(helpers, task_run, task_done, &running), 0);
	assert_int_equal(helpers_run(helpers, task_run, task_done, &waiting), 0);
	WAIT_FOR(&rig, atomic_load(&running.begun));
	pthread_t opener;
	assert_int_equal(pthread_create(&opener, NULL, open_later, running.open), 0);
	helpers_free(helpers);
	pthread_join(opener, NULL);
	assert_true(running.ran && running.done);
	assert_true(waiting.done && !waiting.ran);
	loop_free(rig.loop);
}

static void free_helpers(void *arg)
{
	struct helpers **helpers = arg;

	helpers_free(*helpers);
	*helpers = NULL;
}

static void no_work(void *arg)
{
}

static void free_from_done(void **state)
{
	struct rig rig;
	struct helpers *helpers;

	assert_int_equal(loop_new(&rig.loop), 0);
	assert_int_equal(helpers_new(rig.loop, 2, &helpers), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(helpers_run(helpers, no_work, NULL, NULL), 0);
	assert_int_equal(helpers_run(helpers, no_work, free_helpers, &helpers), 0);
	WAIT_FOR(&rig, !helpers);
	loop_free(rig.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_off_the_loop),
		cmocka_unit_test(free_with_jobs),
		cmocka_unit_test(free_from_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
