/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two ends of a memif have agreed upon: the greeting from HELLO to CONNECTED in both roles, and what it leaves
 * behind, shared memory with rings in it. Does no I/O on the socket: messages come in and answers go out as values.
 *
 * The other end is hostile: what it says is checked once, here; what it does in the rings, in memif_ring.h; memory that
 * it truncates sets `faulted`. Control thread. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include "device/virtio/shared_mapping.h"
#include "operating/memif_protocol.h"

enum { MEMIF_MAX_QUEUES = 64 };

enum memif_direction { MEMIF_TO_SERVER, MEMIF_TO_CLIENT };

struct memif_region {
	uint8_t *data;
	uint64_t bytes;
	struct shared_mapping mapping;
};

/* A ring as agreed; event_fd is ours to close. */
struct memif_ring_place {
	struct memif_shared_ring *shared;
	uint8_t log2_size;
	int event_fd;
	uint16_t region;
	uint32_t offset;
	uint8_t *buffers; /* client: of the first slot; NULL = descriptors say where */
};

struct memif_link_options {
	bool server;
	const char *name; /* the interface's, for the other end to see */
	unsigned queues;  /* most in each direction */
	/* The client's to decide. */
	unsigned log2_ring;
	uint32_t buffer_bytes;
};

enum memif_stage { MEMIF_GREETING, MEMIF_UP, MEMIF_OVER };

struct memif_link {
	struct memif_link_options options;
	enum memif_stage stage;
	char peer[MEMIF_NAME_BYTES]; /* the name of its program; printable */
	char why[128];               /* the end came; a sentence */
	struct memif_region *regions;
	unsigned region_count, ring_count[2];
	struct memif_ring_place rings[2][MEMIF_MAX_QUEUES];
	_Atomic bool faulted;
	/* How far it is. */
	bool initialised;  /* server: INIT has come; client: HELLO has */
	unsigned sent;     /* client: messages after INIT */
	int region_fd;     /* client */
	uint8_t log2_ring; /* client: as agreed */
	uint32_t stride;   /* client: bytes from buffer to buffer */
};

struct memif_answer {
	bool send;
	struct memif_message message;
	int fd; /* goes with it, stays the link's; -1 = none */
};

int memif_link_init(struct memif_link *link, const struct memif_link_options *options);
/* Unmaps and closes everything; no ring is in use any more. */
void memif_link_fini(struct memif_link *link);
/* What to say first: the server's HELLO; nothing for a client. */
void memif_link_begin(struct memif_link *link, struct memif_answer *ret);
/* One message of the other end, with its descriptor or -1 (taken over), and what to answer. 0, or -EPROTO and the like
 * when it is over: why says so, and so does the answer if there is one. */
int memif_link_input(struct memif_link *link, const struct memif_message *message, int fd, struct memif_answer *ret);
/* A reason of our own to end it. */
void memif_link_end(struct memif_link *link, const char *why, struct memif_answer *ret);

/* memif_server.c, memif_client.c: their halves. */
int memif_server_input(struct memif_link *link, const struct memif_message *message, int *fd, struct memif_answer *ret);
int memif_client_input(struct memif_link *link, const struct memif_message *message, struct memif_answer *ret);
int memif_link_refuse(struct memif_link *link, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
