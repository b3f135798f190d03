/* SPDX-License-Identifier: BSD-3-Clause */
/* The control thread's event loop: epoll for descriptors, one timerfd for a heap of timers, an eventfd for posts. */
#include "base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "base/clock.h"

enum { EVENTS_PER_ROUND = 64 };

#define NOT_ARMED UINT32_MAX

struct loop_fd {
	struct loop *loop;
	int fd;
	bool removed; /* waits in loop->removed until no round holds a pointer to it */
	loop_fd_fn *fn;
	void *ctx;
	LIST_ENTRY(loop_fd) link;
};

struct loop_timer {
	struct loop *loop;
	uint64_t deadline_ns, period_ns;
	uint32_t index; /* in the heap, or NOT_ARMED */
	loop_fn *fn;
	void *ctx;
	LIST_ENTRY(loop_timer) link;
};

struct post {
	loop_fn *fn;
	void *ctx;
	STAILQ_ENTRY(post) link;
};

LIST_HEAD(fd_list, loop_fd);
STAILQ_HEAD(post_list, post);

struct loop {
	int epoll_fd, timer_fd, event_fd;
	unsigned depth; /* rounds on the stack */
	atomic_bool stop;
	struct fd_list fds, removed;
	LIST_HEAD(, loop_timer) timers; /* all, armed or not */
	struct loop_timer **heap;       /* armed ones, earliest deadline first */
	uint32_t heap_count, heap_capacity, timer_count;
	uint64_t armed_ns; /* what the timerfd is set to; 0 = disarmed */
	pthread_mutex_t post_lock;
	struct post_list posts;
};

/* ---- timers: a binary heap that knows each timer's place ---- */

static void heap_put(struct loop *loop, uint32_t index, struct loop_timer *timer)
{
	loop->heap[index] = timer;
	timer->index = index;
}

static void heap_up(struct loop *loop, uint32_t index, struct loop_timer *timer)
{
	while (index > 0) {
		uint32_t parent = (index - 1) / 2;
		if (loop->heap[parent]->deadline_ns <= timer->deadline_ns)
			break;
		heap_put(loop, index, loop->heap[parent]);
		index = parent;
	}
	heap_put(loop, index, timer);
}

static void heap_down(struct loop *loop, uint32_t index, struct loop_timer *timer)
{
	for (;;) {
		uint32_t child = 2 * index + 1;
		if (child >= loop->heap_count)
			break;
		if (child + 1 < loop->heap_count && loop->heap[child + 1]->deadline_ns < loop->heap[child]->deadline_ns)
			child++;
		if (timer->deadline_ns <= loop->heap[child]->deadline_ns)
			break;
		heap_put(loop, index, loop->heap[child]);
		index = child;
	}
	heap_put(loop, index, timer);
}

static void timer_disarm(struct loop_timer *timer)
{
	struct loop *loop = timer->loop;
	uint32_t index = timer->index;

	if (index == NOT_ARMED)
		return;
	timer->index = NOT_ARMED;
	struct loop_timer *last = loop->heap[--loop->heap_count];
	if (last == timer)
		return;
	if (index > 0 && loop->heap[(index - 1) / 2]->deadline_ns > last->deadline_ns)
		heap_up(loop, index, last);
	else
		heap_down(loop, index, last);
}

static void timer_arm(struct loop_timer *timer, uint64_t deadline_ns)
{
	timer_disarm(timer);
	timer->deadline_ns = deadline_ns;
	heap_up(timer->loop, timer->loop->heap_count++, timer);
}

/* The heap always has room for every timer, so that re-arming cannot fail. */
static int heap_reserve(struct loop *loop)
{
	if (loop->timer_count < loop->heap_capacity)
		return 0;
	uint32_t capacity = loop->heap_capacity ? loop->heap_capacity * 2 : 16;
	struct loop_timer **heap = reallocarray(loop->heap, capacity, sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	loop->heap = heap;
	loop->heap_capacity = capacity;
	return 0;
}

static uint64_t deadline_after(uint64_t delay_ns)
{
	uint64_t now = clock_ns();

	return delay_ns > INT64_MAX - now ? INT64_MAX : now + delay_ns;
}

int loop_timer_add(struct loop *loop, uint64_t delay_ns, uint64_t period_ns, loop_fn *fn, void *ctx,
		   struct loop_timer **ret)
{
	struct loop_timer *timer = calloc(1, sizeof(*timer));

	if (!timer || heap_reserve(loop) < 0) {
		free(timer);
		return -ENOMEM;
	}
	*timer = (struct loop_timer){ .loop = loop, .period_ns = period_ns, .index = NOT_ARMED, .fn = fn, .ctx = ctx };
	LIST_INSERT_HEAD(&loop->timers, timer, link);
	loop->timer_count++;
	timer_arm(timer, deadline_after(delay_ns));
	*ret = timer;
	return 0;
}

void loop_timer_rearm(struct loop_timer *timer, uint64_t delay_ns)
{
	timer_arm(timer, deadline_after(delay_ns));
}

void loop_timer_remove(struct loop_timer *timer)
{
	if (!timer)
		return;
	timer_disarm(timer);
	LIST_REMOVE(timer, link);
	timer->loop->timer_count--;
	free(timer);
}

/* Runs what is due now; what a callback arms for "now" waits for the next round, so that descriptors get their turn. */
static void run_timers(struct loop *loop)
{
	uint64_t now = clock_ns();

	while (loop->heap_count > 0 && loop->heap[0]->deadline_ns <= now) {
		struct loop_timer *timer = loop->heap[0];
		uint64_t next = timer->deadline_ns + timer->period_ns;

		if (timer->period_ns == 0)
			timer_disarm(timer);
		else /* periods missed while something else ran are skipped, not caught up */
			timer_arm(timer, next > now ? next : now + timer->period_ns);
		timer->fn(timer->ctx); /* may free timer */
	}
}

static void set_timer_fd(struct loop *loop)
{
	uint64_t deadline = loop->heap_count > 0 ? loop->heap[0]->deadline_ns : 0;

	if (deadline == loop->armed_ns)
		return;
	struct itimerspec spec = { .it_value = { (time_t)(deadline / CLOCK_NS_PER_S),
						 (long)(deadline % CLOCK_NS_PER_S) } };
	timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
	loop->armed_ns = deadline;
}

/* ---- descriptors ---- */

int loop_fd_add(struct loop *loop, int fd, uint32_t events, loop_fd_fn *fn, void *ctx, struct loop_fd **ret)
{
	struct loop_fd *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return -ENOMEM;
	*watch = (struct loop_fd){ .loop = loop, .fd = fd, .fn = fn, .ctx = ctx };
	struct epoll_event event = { .events = events, .data.ptr = watch };
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		int error = errno;
		free(watch);
		return -error;
	}
	LIST_INSERT_HEAD(&loop->fds, watch, link);
	*ret = watch;
	return 0;
}

int loop_fd_modify(struct loop_fd *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };

	return epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) < 0 ? -errno : 0;
}

static void free_fds(struct fd_list *list)
{
	struct loop_fd *watch;

	while ((watch = LIST_FIRST(list))) {
		LIST_REMOVE(watch, link);
		free(watch);
	}
}

void loop_fd_remove(struct loop_fd *watch)
{
	if (!watch)
		return;
	struct loop *loop = watch->loop;
	/* Fails only when the caller closed the descriptor first: then it has left the set already. */
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	watch->removed = true;
	LIST_REMOVE(watch, link);
	LIST_INSERT_HEAD(&loop->removed, watch, link);
	if (loop->depth == 0)
		free_fds(&loop->removed);
}

/* ---- posts ---- */

static void loop_wake(struct loop *loop)
{
	/* EAGAIN means that the counter is full: the loop will wake anyway. */
	while (eventfd_write(loop->event_fd, 1) < 0 && errno == EINTR)
		;
}

int loop_post(struct loop *loop, loop_fn *fn, void *ctx)
{
	struct post *post = malloc(sizeof(*post));

	if (!post)
		return -ENOMEM;
	post->fn = fn;
	post->ctx = ctx;
	pthread_mutex_lock(&loop->post_lock);
	STAILQ_INSERT_TAIL(&loop->posts, post, link);
	pthread_mutex_unlock(&loop->post_lock);
	loop_wake(loop);
	return 0;
}

static void run_posts(struct loop *loop)
{
	struct post_list posts = STAILQ_HEAD_INITIALIZER(posts);
	struct post *post;

	pthread_mutex_lock(&loop->post_lock);
	STAILQ_CONCAT(&posts, &loop->posts);
	pthread_mutex_unlock(&loop->post_lock);
	while ((post = STAILQ_FIRST(&posts))) {
		STAILQ_REMOVE_HEAD(&posts, link);
		post->fn(post->ctx);
		free(post);
	}
}

/* ---- the loop ---- */

/* Our own descriptors are known in a round by where the loop keeps them. */
static int watch_own(struct loop *loop, int *fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = fd };

	return *fd < 0 || epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, *fd, &event) < 0 ? -errno : 0;
}

int loop_new(struct loop **ret)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return -ENOMEM;
	LIST_INIT(&loop->fds);
	LIST_INIT(&loop->removed);
	LIST_INIT(&loop->timers);
	STAILQ_INIT(&loop->posts);
	pthread_mutex_init(&loop->post_lock, NULL);
	loop->timer_fd = loop->event_fd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int status = loop->epoll_fd < 0 ? -errno : 0;
	if (status == 0) {
		loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
		status = watch_own(loop, &loop->timer_fd);
	}
	if (status == 0) {
		loop->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		status = watch_own(loop, &loop->event_fd);
	}
	if (status < 0) {
		loop_free(loop);
		return status;
	}
	*ret = loop;
	return 0;
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

void loop_free(struct loop *loop)
{
	struct loop_timer *timer;
	struct post *post;

	if (!loop)
		return;
	free_fds(&loop->fds);
	free_fds(&loop->removed);
	while ((timer = LIST_FIRST(&loop->timers)))
		loop_timer_remove(timer);
	while ((post = STAILQ_FIRST(&loop->posts))) {
		STAILQ_REMOVE_HEAD(&loop->posts, link);
		free(post);
	}
	free(loop->heap);
	close_if_open(loop->event_fd);
	close_if_open(loop->timer_fd);
	close_if_open(loop->epoll_fd);
	pthread_mutex_destroy(&loop->post_lock);
	free(loop);
}

static void dispatch(struct loop *loop, const struct epoll_event *event)
{
	struct loop_fd *watch = event->data.ptr;
	uint64_t count;

	if (event->data.ptr == &loop->timer_fd) {
		if (read(loop->timer_fd, &count, sizeof(count)) > 0)
			loop->armed_ns = 0;
	} else if (event->data.ptr == &loop->event_fd) {
		/* Reset before the posts are taken: what comes later wakes the next round. */
		eventfd_read(loop->event_fd, &count);
		run_posts(loop);
	} else if (!watch->removed) {
		watch->fn(watch->ctx, event->events);
	}
}

int loop_once(struct loop *loop, int timeout_ms)
{
	struct epoll_event events[EVENTS_PER_ROUND];

	set_timer_fd(loop);
	int count = epoll_wait(loop->epoll_fd, events, EVENTS_PER_ROUND, timeout_ms);
	if (count < 0)
		return errno == EINTR ? 0 : -errno;
	loop->depth++;
	for (int i = 0; i < count; i++)
		dispatch(loop, &events[i]);
	run_timers(loop);
	if (--loop->depth == 0)
		free_fds(&loop->removed);
	return 0;
}

int loop_run(struct loop *loop)
{
	int status = 0;

	while (status == 0 && !atomic_load(&loop->stop))
		status = loop_once(loop, -1);
	atomic_store(&loop->stop, false);
	return status;
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stop, true);
	loop_wake(loop);
}
