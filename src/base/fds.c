/* SPDX-License-Identifier: BSD-3-Clause */
/* The control message of descriptors, put together and sent. */
#include "base/fds.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

ssize_t fds_send(int socket, const struct iovec *parts, unsigned part_count, const int *fds, unsigned fd_count,
		 int flags)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct msghdr message = { .msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = part_count };

	assert(fd_count <= FDS_MAX);
	if (fd_count > 0) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		control.header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(fd_count * sizeof(int)),
						   .cmsg_level = SOL_SOCKET,
						   .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.header), fds, fd_count * sizeof(int));
	}
	ssize_t sent = sendmsg(socket, &message, flags | MSG_NOSIGNAL);
	return sent < 0 ? -errno : sent;
}
