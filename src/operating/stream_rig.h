/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of TCP streams: ends of connections that check all that they get, a listener, an io_uring without workers.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <cmocka.h>
#include "base/clock.h"
#include "operating/stream.h"

enum { PIECE_MAX = 200000, QUEUE_MAX = 8 };

extern struct uring *uring;
extern struct stream_group *group;
extern uint64_t seed; /* of roll() */

unsigned roll(unsigned below);
/* What stands at a place of every byte stream here. */
uint8_t byte_at(uint64_t place);
void group_open(unsigned without, unsigned zero_copy_bytes, unsigned buffers, unsigned buffer_bytes);
void group_close(void); /* nothing is left of it */

#define wait_for(condition)                                                                                            \
	do {                                                                                                           \
		for (uint64_t end_ = clock_ns() + 20 * CLOCK_NS_PER_S; !(condition) && clock_ns() < end_;)             \
			uring_poll(uring);                                                                             \
		assert_true(condition);                                                                                \
	} while (0)

/* ---- an end of a connection, which checks all that it gets ---- */

struct end;

struct piece {
	struct stream_send send; /* first */
	struct end *end;
	struct iovec iov[3];
	uint8_t *memory;
};

struct end {
	struct stream *stream;
	uint64_t sent, to_send, got; /* places in the two byte streams */
	unsigned queued, connected, ended, closed, sends_failed;
	int error;
	bool random, paused, stuck;
	struct stream_take take;
	struct iovec take_iov[2];
	uint8_t *take_memory;
	bool take_lent;
	unsigned takes, takes_failed;
};

extern const struct stream_ops end_ops;

void end_check(struct end *end, const uint8_t *bytes, size_t count); /* the next of what it gets */
void end_take(struct end *end);                                      /* of a random length */
void piece_send(struct end *end, size_t bytes);
void end_ended(void *ctx, int error);
void end_closed(void *ctx);
void end_close(struct end *end); /* … and waits for it */
/* Random: sends up to `to_send`, then shuts down; goes on receiving. */
void end_step(struct end *end);

/* ---- a listener ---- */

struct door {
	struct stream_listener *listener;
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} address;
	socklen_t bytes;
	int last_fd;
	unsigned accepted;
	bool closed;
};

void door_accepted(void *ctx, int fd);
void door_open(struct door *door, int family, int backlog);
void door_close(struct door *door);
void pair_connect(struct door *door, struct end *client, struct end *server, const struct stream_options *options);
