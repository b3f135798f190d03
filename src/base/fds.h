/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages on Unix sockets that carry file descriptors (SCM_RIGHTS, unix(7)). Any thread. */
#pragma once

#include <sys/types.h>

struct iovec;

enum { FDS_MAX = 64 }; /* that one message carries */

/* Sends a message of these parts as sendmsg() does with these flags, never by SIGPIPE: the bytes sent, or a negative
 * errno. The receiver gets descriptors of its own; the caller's stay his. */
ssize_t fds_send(int socket, const struct iovec *parts, unsigned part_count, const int *fds, unsigned fd_count,
		 int flags);
