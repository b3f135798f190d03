/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of memif: a port of ours, and another end that is a client byte by byte. */
#pragma once

#include "operating/memif_ring.h"
#include "operating/memif_socket.h"
#include "operating/net_rig.h"

enum {
	LOG2_RING = 4,
	RING = 1 << LOG2_RING,
	BUFFER = 256, /* small: whatever is longer is chained */
	RING_BYTES = sizeof(struct memif_shared_ring) + RING * sizeof(struct memif_desc),
	BUFFERS_AT = 2 * RING_BYTES,
	MEMORY = BUFFERS_AT + 2 * RING * BUFFER,
	STEPS = 6, /* of a client's greeting: hears HELLO, says INIT, region, ring to and from the server, CONNECT */
	EVENTS = 2,
};

struct bench {
	struct rig rig;
	struct wire wire;
	struct port *port;
	char dir[40], path[60];
};

/* A client that we are, byte by byte. */
struct peer {
	struct bench *bench;
	int fd, memory_fd, event_fd[2];
	uint8_t *memory;
	struct memif_shared_ring *rings[2];
	struct memif_message heard;
};

void bench_up(struct bench *bench, bool server);
void bench_down(struct bench *bench);

void peer_init(struct peer *peer, struct bench *bench);
void peer_fini(struct peer *peer);
void peer_connect(struct peer *peer);
void peer_hear(struct peer *peer, uint16_t type); /* the next message, which is of this type */
/* What is said at a step, how it should be answered, and the descriptor that goes with it, or -1. */
struct memif_message peer_message(unsigned step, uint16_t *ret_answer);
int peer_fd(const struct peer *peer, unsigned step);
void peer_steps(struct peer *peer, unsigned from, unsigned to);
void peer_up(struct peer *peer); /* connected, and its empty buffers offered */
void peer_expect_down(struct peer *peer);
