/* SPDX-License-Identifier: BSD-3-Clause */
/* A vhost-user front end for tests: the socket, memory in a memfd, and the driver's side of split and packed rings.
 * Written apart from the back end (own structures, own arithmetic), so that the two do not agree by sharing a mistake.
 *
 * Single thread: while it waits for a reply it runs `pump`, which lets the back end work. Failures of the harness
 * itself abort the test (cmocka's fail_msg). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	FRONTEND_MAX_QUEUES = 8,
	FRONTEND_MAX_SIZE = 1024,
	FRONTEND_TIMEOUT_MS = 20000,
};

#define FRONTEND_GPA  UINT64_C(0x100000000)    /* where guest memory starts */
#define FRONTEND_USER UINT64_C(0x7f4200000000) /* the front end's own address of it */

struct frontend;

struct frontend_queue {
	struct frontend *frontend;
	unsigned index, size;
	bool packed, event_index;
	uint64_t desc, driver, device; /* offsets in guest memory */
	int kick_fd, call_fd, err_fd;
	/* split */
	uint16_t avail_idx, used_seen, free_head, free_count;
	uint16_t next[FRONTEND_MAX_SIZE];
	/* packed */
	uint16_t at, used_at, likely_id;
	bool wrap, used_wrap;
	/* both */
	uint16_t slots[FRONTEND_MAX_SIZE]; /* of the chain with this id; 0 = not offered */
};

struct frontend {
	int listen_fd, fd, memory_fd;
	uint8_t *memory;
	uint64_t bytes, allocated;
	unsigned regions; /* guest memory is told in so many equal regions */
	uint64_t features, protocol_features;
	void (*pump)(void *ctx);
	void *pump_ctx;
	struct frontend_queue queues[FRONTEND_MAX_QUEUES];
};

struct frontend_buffer {
	uint64_t offset; /* in guest memory */
	uint32_t length;
	bool writable;
};

void frontend_init(struct frontend *frontend, uint64_t bytes, void (*pump)(void *ctx), void *ctx);
void frontend_fini(struct frontend *frontend);

void frontend_connect(struct frontend *frontend, const char *path); /* to a back end that is a server */
void frontend_listen(struct frontend *frontend, const char *path);
void frontend_accept(struct frontend *frontend); /* waits */
void frontend_disconnect(struct frontend *frontend);

/* One message, with descriptors. */
void frontend_send(struct frontend *frontend, uint32_t request, uint32_t flags, const void *payload, uint32_t size,
		   const int *fds, unsigned count);
/* The reply; fails the test if it is not for request or the connection ends. Returns payload bytes. *ret_fd may be
 * NULL. */
unsigned frontend_reply(struct frontend *frontend, uint32_t request, void *payload, unsigned room, int *ret_fd);
/* True if the back end closes the connection within the time-out. */
bool frontend_closed(struct frontend *frontend);

uint64_t frontend_get_u64(struct frontend *frontend, uint32_t request);
void frontend_set_u64(struct frontend *frontend, uint32_t request, uint64_t value);
void frontend_set_state(struct frontend *frontend, uint32_t request, uint32_t index, uint32_t value);
/* Asks for and returns REPLY_ACK's answer. */
uint64_t frontend_acked(struct frontend *frontend, uint32_t request, const void *payload, uint32_t size, const int *fds,
			unsigned count);
/* Waits until the back end has dealt with everything sent. */
void frontend_sync(struct frontend *frontend);

/* GET_FEATURES to SET_FEATURES; wanted bits that are not offered fail the test. */
void frontend_negotiate(struct frontend *frontend, uint64_t features, uint64_t protocol_features);
void frontend_share_memory(struct frontend *frontend);
/* Zeroed guest memory; offset. */
uint64_t frontend_alloc(struct frontend *frontend, uint64_t bytes, unsigned alignment);
void *frontend_at(struct frontend *frontend, uint64_t offset);

/* A new ring in guest memory; then tell the back end and enable it. */
struct frontend_queue *frontend_queue_new(struct frontend *frontend, unsigned index, unsigned size);
void frontend_queue_start(struct frontend_queue *queue, uint32_t base);
void frontend_queue_addr(struct frontend_queue *queue, uint32_t flags, uint64_t log);
uint32_t frontend_queue_base(const struct frontend_queue *queue); /* for a new ring */
uint32_t frontend_queue_stop(struct frontend_queue *queue);       /* GET_VRING_BASE */

/* Makes a chain available: as ring descriptors or through an indirect table. Returns its id, -1 when the ring is
 * full. */
int frontend_offer(struct frontend_queue *queue, const struct frontend_buffer *buffers, unsigned count, bool indirect);
/* The same through an indirect table of `count` descriptors that is there already. */
int frontend_offer_table(struct frontend_queue *queue, uint64_t table, unsigned count);
/* The table; returns where it is. */
uint64_t frontend_table(struct frontend_queue *queue, const struct frontend_buffer *buffers, unsigned count);
/* Takes one used element; false if there is none. */
bool frontend_take(struct frontend_queue *queue, uint16_t *ret_id, uint32_t *ret_length);
void frontend_kick(struct frontend_queue *queue);
bool frontend_interrupted(struct frontend_queue *queue); /* reads the call descriptor */
/* Interrupt when the used element at this distance from the last one taken arrives (event index), or at all. */
void frontend_want_interrupt(struct frontend_queue *queue, bool on, uint16_t distance);
bool frontend_wants_kick(struct frontend_queue *queue, uint16_t offered);
