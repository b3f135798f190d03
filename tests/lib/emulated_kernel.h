/* SPDX-License-Identifier: BSD-3-Clause */
/* What an emulated kernel (QEMU's user mode) does otherwise than Linux, found out by trying it. */
#pragma once

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>
#include <linux/aio_abi.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* Asynchronous I/O (io_setup) is there. */
static inline bool kernel_has_aio(void)
{
	aio_context_t context = 0;

	if (syscall(SYS_io_setup, 1L, &context) < 0)
		return false;
	syscall(SYS_io_destroy, context);
	return true;
}

static inline unsigned descriptors_open(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* Sends four descriptors to a receiver that has room for one, and closes that. */
static inline void descriptors_overflow(const int ends[2])
{
	const int fds[4] = { ends[0], ends[0], ends[0], ends[0] };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(fds))];
	} control = { .align = { CMSG_LEN(sizeof(fds)), SOL_SOCKET, SCM_RIGHTS } };
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control)
	};

	memcpy(CMSG_DATA(&control.align), fds, sizeof(fds));
	if (sendmsg(ends[0], &message, 0) != 1)
		return;
	message.msg_controllen = CMSG_LEN(sizeof(int));
	if (recvmsg(ends[1], &message, MSG_DONTWAIT) == 1 && CMSG_FIRSTHDR(&message)) {
		int fd;
		memcpy(&fd, CMSG_DATA(&control.align), sizeof(fd));
		close(fd);
	}
}

/* Of a message with more descriptors than its receiver has room for, Linux closes the rest. QEMU leaves some of it
 * open, unknown to anybody: descriptors cannot be counted then. */
static inline bool kernel_closes_what_does_not_fit(void)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		return true;
	unsigned before = descriptors_open();
	descriptors_overflow(ends);
	bool closes = descriptors_open() == before;
	close(ends[0]);
	close(ends[1]);
	return closes;
}
