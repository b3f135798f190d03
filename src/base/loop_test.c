/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the event loop: descriptors, timers, posts from threads, removal inside callbacks. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/loop.h"

static struct loop *loop;

static int set_up(void **state)
{
	return loop_new(&loop);
}

static int tear_down(void **state)
{
	loop_free(loop);
	return 0;
}

/* ---- descriptors ---- */

struct pair {
	int fds[2];
	struct loop_fd *watch;
	struct pair *other; /* removed when this one is called */
	int calls;
	uint32_t events;
};

static void on_pair(void *ctx, uint32_t events)
{
	struct pair *pair = ctx;

	pair->calls++;
	pair->events = events;
	if (pair->other) {
		loop_fd_remove(pair->other->watch);
		loop_fd_remove(pair->watch);
		pair->other->watch = pair->watch = NULL;
	}
}

static void descriptors(void **state)
{
	struct pair pair = { 0 };

	assert_int_equal(pipe(pair.fds), 0);
	assert_int_equal(loop_fd_add(loop, pair.fds[0], EPOLLIN, on_pair, &pair, &pair.watch), 0);
	assert_int_equal(loop_once(loop, 0), 0);
	assert_int_equal(pair.calls, 0);
	assert_int_equal(write(pair.fds[1], "x", 1), 1);
	loop_once(loop, 1000);
	loop_once(loop, 0);
	assert_int_equal(pair.calls, 2);
	assert_int_equal(pair.events, EPOLLIN);
	assert_int_equal(loop_fd_modify(pair.watch, 0), 0);
	loop_once(loop, 0);
	assert_int_equal(pair.calls, 2);
	loop_fd_remove(pair.watch);
	loop_fd_remove(NULL);
	close(pair.fds[0]);
	close(pair.fds[1]);
	assert_true(loop_fd_add(loop, -1, EPOLLIN, on_pair, &pair, &pair.watch) < 0);
}

/* Both are ready in one round: whichever is called first removes both, the other must not be called. */
static void removal_inside_round(void **state)
{
	struct pair a = { 0 }, b = { .other = &a };

	a.other = &b;
	for (int i = 0; i < 2; i++) {
		struct pair *pair = i ? &b : &a;
		assert_int_equal(pipe(pair->fds), 0);
		assert_int_equal(loop_fd_add(loop, pair->fds[0], EPOLLIN, on_pair, pair, &pair->watch), 0);
		assert_int_equal(write(pair->fds[1], "x", 1), 1);
	}
	loop_once(loop, 1000);
	loop_once(loop, 0);
	assert_int_equal(a.calls + b.calls, 1);
	for (int i = 0; i < 2; i++) {
		close(a.fds[i]);
		close(b.fds[i]);
	}
}

/* ---- timers ---- */

struct tick {
	struct loop_timer *timer;
	int calls, remove_at;
	int *order, id;
};

static int ticks;

static void on_tick(void *ctx)
{
	struct tick *tick = ctx;

	if (tick->order)
		tick->order[ticks] = tick->id;
	ticks++;
	if (++tick->calls == tick->remove_at) {
		loop_timer_remove(tick->timer);
		tick->timer = NULL;
	}
}

static void run_for(uint64_t ns)
{
	uint64_t end = clock_ns() + ns;

	while (clock_ns() < end)
		loop_once(loop, 1);
}

/* The deadline of a timer lies between its delay after the call and its delay after the return. */
static void timers_in_order(void **state)
{
	uint64_t earliest[100], latest[100];
	struct tick tick[100];
	int order[100];

	ticks = 0;
	for (int i = 0; i < 100; i++) {
		uint64_t delay = (uint64_t)(i * 37 % 100) * 20000;
		tick[i] = (struct tick){ .order = order, .id = i };
		earliest[i] = clock_ns() + delay;
		assert_int_equal(loop_timer_add(loop, delay, 0, on_tick, &tick[i], &tick[i].timer), 0);
		latest[i] = clock_ns() + delay;
	}
	for (int i = 0; i < 100; i += 10)
		loop_timer_remove(tick[i].timer);
	while (ticks < 90)
		loop_once(loop, 1000);
	for (int i = 0; i < ticks; i++) {
		for (int j = i + 1; j < ticks; j++)
			assert_true(earliest[order[i]] <= latest[order[j]]);
	}
	run_for(3 * CLOCK_NS_PER_MS);
	assert_int_equal(ticks, 90);
}

static void one_shot_and_periodic(void **state)
{
	struct tick once = { 0 }, often = { .remove_at = 3 };
	uint64_t start = clock_ns();

	assert_int_equal(loop_timer_add(loop, 3 * CLOCK_NS_PER_MS, 0, on_tick, &once, &once.timer), 0);
	assert_int_equal(loop_timer_add(loop, 0, CLOCK_NS_PER_MS, on_tick, &often, &often.timer), 0);
	while (once.calls == 0 || often.calls < 3)
		loop_once(loop, 1000);
	assert_true(clock_ns() - start >= 3 * CLOCK_NS_PER_MS);
	loop_timer_rearm(once.timer, 0);
	while (once.calls == 1)
		loop_once(loop, 1000);
	loop_timer_rearm(once.timer, UINT64_MAX); /* never, not "in the past" */
	run_for(5 * CLOCK_NS_PER_MS);
	assert_int_equal(once.calls, 2);
	assert_int_equal(often.calls, 3);
	loop_timer_remove(once.timer);
}

/* ---- posts ---- */

enum { THREADS = 4, POSTS = 5000 };
static int last[THREADS];
static int received;

static void on_post(void *ctx)
{
	int value = (int)(intptr_t)ctx;

	assert_int_equal(value % POSTS, last[value / POSTS]++);
	received++;
}

static void *poster(void *arg)
{
	int thread = (int)(intptr_t)arg;

	for (int i = 0; i < POSTS; i++) {
		if (loop_post(loop, on_post, (void *)(intptr_t)(thread * POSTS + i)) < 0)
			return arg;
	}
	return NULL;
}

static void posts_from_threads(void **state)
{
	pthread_t threads[THREADS];
	void *failed;

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, poster, (void *)(intptr_t)i), 0);
	while (received < THREADS * POSTS)
		loop_once(loop, 1000);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_int_equal(received, THREADS * POSTS);
}

static void *stopper(void *arg)
{
	usleep(2000);
	loop_stop(loop);
	return NULL;
}

static void run_until_stopped(void **state)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, stopper, NULL), 0);
	assert_int_equal(loop_run(loop), 0);
	pthread_join(thread, NULL);
	loop_stop(loop); /* before loop_run(): it returns at once */
	assert_int_equal(loop_run(loop), 0);
}

static void count_up(void *ctx)
{
	++*(int *)ctx;
}

static void free_runs_nothing(void **state)
{
	struct loop_timer *timer;
	struct loop *other;
	int calls = 0;

	assert_int_equal(loop_new(&other), 0);
	assert_int_equal(loop_post(other, count_up, &calls), 0);
	assert_int_equal(loop_timer_add(other, 0, 0, count_up, &calls, &timer), 0);
	loop_free(other);
	loop_free(NULL);
	assert_int_equal(calls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(descriptors, set_up, tear_down),
		cmocka_unit_test_setup_teardown(removal_inside_round, set_up, tear_down),
		cmocka_unit_test_setup_teardown(timers_in_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_shot_and_periodic, set_up, tear_down),
		cmocka_unit_test_setup_teardown(posts_from_threads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(run_until_stopped, set_up, tear_down),
		cmocka_unit_test(free_runs_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
