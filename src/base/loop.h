/* SPDX-License-Identifier: BSD-3-Clause */
/* The control thread's event loop: descriptors, timers, and closures posted from other threads.
 * Everything but loop_post() and loop_stop() is called from the loop's own thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_fd;
struct loop_timer;

/* events: EPOLLIN, EPOLLOUT, … as in epoll_ctl(2); level-triggered. */
typedef void loop_fd_fn(void *ctx, uint32_t events);
typedef void loop_fn(void *ctx);

int loop_new(struct loop **ret);
void loop_free(struct loop *loop); /* frees what is still registered; runs nothing */

/* Watches fd until loop_fd_remove(); the descriptor stays the caller's. */
int loop_fd_add(struct loop *loop, int fd, uint32_t events, loop_fd_fn *fn, void *ctx, struct loop_fd **ret);
int loop_fd_modify(struct loop_fd *watch, uint32_t events);
/* Safe inside its own callback; no callback runs afterwards. NULL is fine. */
void loop_fd_remove(struct loop_fd *watch);

/* Calls fn once after delay_ns, then every period_ns when that is not zero. A one-shot timer must still
 * be removed (or re-armed) by its owner. */
int loop_timer_add(struct loop *loop, uint64_t delay_ns, uint64_t period_ns, loop_fn *fn, void *ctx,
		   struct loop_timer **ret);
void loop_timer_rearm(struct loop_timer *timer, uint64_t delay_ns);
void loop_timer_remove(struct loop_timer *timer);

/* Runs fn(ctx) in the loop's thread, in order of posting. Callable from any thread. Returns 0 or -ENOMEM. */
int loop_post(struct loop *loop, loop_fn *fn, void *ctx);

int loop_run(struct loop *loop);   /* until loop_stop(); 0 or a negative errno */
void loop_stop(struct loop *loop); /* any thread, also a signal handler's pipe */
/* One round, waiting at most timeout_ms (0: poll, -1: forever); for tests. */
int loop_once(struct loop *loop, int timeout_ms);
