/* SPDX-License-Identifier: BSD-3-Clause */
/* A signalfd in the control thread's loop. */
#include "daemon/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct signals {
	int fd;
	struct loop_fd *watch;
	void (*fn)(void *ctx, int number);
	void *ctx;
};

static void wanted(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGTERM);
	sigaddset(ret, SIGINT);
	sigaddset(ret, SIGHUP);
}

void signals_block(void)
{
	sigset_t set;
	wanted(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void readable(void *ctx, uint32_t events)
{
	struct signals *signals = ctx;
	struct signalfd_siginfo info;
	if (read(signals->fd, &info, sizeof info) == sizeof info)
		signals->fn(signals->ctx, (int)info.ssi_signo);
}

int signals_start(struct loop *loop, void (*fn)(void *ctx, int number), void *ctx, struct signals **ret)
{
	sigset_t set;
	wanted(&set);
	struct signals *signals = calloc(1, sizeof *signals);
	if (!signals)
		return -ENOMEM;
	*signals = (struct signals){ .fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), .fn = fn, .ctx = ctx };
	int rc = signals->fd < 0 ? -errno : loop_fd_add(loop, signals->fd, EPOLLIN, readable, signals, &signals->watch);
	if (rc) {
		signals_stop(signals);
		return rc;
	}
	*ret = signals;
	return 0;
}

void signals_stop(struct signals *signals)
{
	if (!signals)
		return;
	loop_fd_remove(signals->watch);
	if (signals->fd >= 0)
		close(signals->fd);
	free(signals);
}
