/* SPDX-License-Identifier: BSD-3-Clause */
/* A memif's control channel: a SOCK_SEQPACKET socket, listening or connected, and messages with at most one descriptor.
 * Nothing here waits. Control thread. */
#pragma once

#include <sys/types.h>
#include "base/error.h"
#include "operating/memif_protocol.h"

struct memif_listener {
	int fd; /* -1 = none */
	dev_t device;
	ino_t inode;
};

/* The file of a socket that nobody listens on any more is replaced. Errors have path "device". */
int memif_listen(const char *path, struct memif_listener *ret, struct dpu_error *err);
/* Removes the file, if it is still the one that was made. */
void memif_listener_close(struct memif_listener *listener, const char *path);
int memif_accept(const struct memif_listener *listener); /* a descriptor, or a negative errno */
int memif_connect(const char *path);                     /* the same */

/* passed_fd: -1 = none; stays the caller's. 0 or a negative errno. */
int memif_send(int fd, const struct memif_message *message, int passed_fd);
/* 1 and a message with *ret_fd (-1 = none; the caller's to close); 0 = none now; -ECONNRESET, or -EPROTO when it is no
 * message of memif's. */
int memif_receive(int fd, struct memif_message *ret, int *ret_fd);
