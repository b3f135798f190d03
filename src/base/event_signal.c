/* SPDX-License-Identifier: BSD-3-Clause */
/* Signals by the kernel's own hand: a read of nothing from /dev/null, by asynchronous I/O, whose completion is reported
 * to the eventfd. The kernel adds to the counter as far as it goes and never waits. It costs about three writes (0.9 µs
 * against 0.3); a look at the counter or the flag before a write would leave a gap for the front end to step into. */
#include "base/event_signal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum { RING_EVENTS = 64, REAP_AFTER = 32 };

/* A thread's ring of completions; they say nothing and are thrown away now and then. */
struct ring {
	aio_context_t context; /* 0: there is none */
	bool made;
	unsigned unreaped;
};

static _Thread_local struct ring ring;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool has_key;
static int null_fd = -1;

static void ring_end(void *arg)
{
	syscall(SYS_io_destroy, ring.context);
	ring.context = 0;
}

static void start(void)
{
	null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	has_key = pthread_key_create(&key, ring_end) == 0;
}

static void ring_make(void)
{
	ring.made = true;
	pthread_once(&once, start);
	if (null_fd >= 0 && has_key && syscall(SYS_io_setup, RING_EVENTS, &ring.context) == 0)
		pthread_setspecific(key, &ring);
}

static void ring_reap(void)
{
	struct io_event events[RING_EVENTS];

	syscall(SYS_io_getevents, ring.context, 0L, (long)RING_EVENTS, events, NULL);
	ring.unreaped = 0;
}

static bool ring_signal(int fd)
{
	uint8_t nothing;
	struct iocb request = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)null_fd,
		.aio_buf = (uintptr_t)&nothing,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)fd,
	};
	struct iocb *requests[] = { &request };

	if (ring.unreaped == REAP_AFTER)
		ring_reap();
	ring.unreaped++;
	return syscall(SYS_io_submit, ring.context, 1L, requests) == 1;
}

/* The best that is left without the kernel's help: the front end may still clear the flag before our call. */
static void stop_waiting(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && !(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

void event_signal(int fd)
{
	uint64_t one = 1;

	if (!ring.made)
		ring_make();
	if (ring.context && ring_signal(fd))
		return;
	/* A kernel without asynchronous I/O, or a full table of requests. */
	stop_waiting(fd);
	ssize_t ignored = write(fd, &one, sizeof(one));
	(void)ignored; /* a full counter wakes as well */
}

void event_clear(int fd)
{
	uint64_t count;
	struct iovec iov = { .iov_base = &count, .iov_len = sizeof(count) };
	ssize_t ignored = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

	/* Before Linux 5.8 only the flag decides. */
	if (ignored < 0 && errno == EOPNOTSUPP) {
		stop_waiting(fd);
		ignored = read(fd, &count, sizeof(count));
	}
	(void)ignored;
}

bool event_is_eventfd(int fd)
{
	char path[64], target[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ssize_t length = readlink(path, target, sizeof(target) - 1);
	if (length < 0)
		return false;
	target[length] = 0;
	return strcmp(target, "anon_inode:[eventfd]") == 0;
}
