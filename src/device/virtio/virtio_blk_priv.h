/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of a virtio-blk queue: its slots, and what parsing makes of a request. */
#pragma once

#include "device/virtio/virtio_blk.h"

enum { VIRTIO_BLK_INLINE_SEGMENTS = 18 }; /* 64 KiB in pages, header and status */

enum virtio_blk_verdict {
	VIRTIO_BLK_SUBMIT, /* slot->request is filled in, but for done */
	VIRTIO_BLK_ANSWERED,
	VIRTIO_BLK_UNSUPPORTED,
	VIRTIO_BLK_BAD,
	VIRTIO_BLK_LATER, /* there is no memory for it now */
};

struct virtio_blk_range {
	uint64_t offset, length;
	uint8_t flags; /* enum dpu_block_flag */
};

/* A request that was taken and not yet answered. */
struct virtio_blk_slot {
	struct dpu_block_request request; /* first */
	struct virtio_blk *blk;
	struct virtio_blk_slot *next;
	struct virtq_element element; /* its segments are `segments` or `large` */
	uint8_t *status;              /* in the guest; NULL = there is no room for it */
	struct iovec *shortened;      /* by the status, until it is pushed; or NULL */
	struct iovec *large;
	struct virtio_blk_range *ranges; /* of a discard or write zeroes */
	uint16_t range, range_count;
	struct iovec *segment; /* of a transfer in pieces: where this one begins; NULL: it is one request */
	size_t before, behind; /* bytes of its first and last segment that belong to other pieces */
	uint64_t left;         /* bytes behind it */
	uint32_t charged;      /* to the account, bytes */
	struct iovec segments[VIRTIO_BLK_INLINE_SEGMENTS];
};

struct virtio_blk {
	struct virtqueue *queue;
	struct dpu_block_device *device;
	struct virtio_blk_stats *stats;
	const _Atomic bool *write_back;
	struct virtio_blk_account *account; /* NULL: none */
	uint32_t lacks;                     /* bytes that the next request needs; 0: it waits for none */
	TAILQ_ENTRY(virtio_blk) waiting;    /* of the account */
	void (*ready)(void *ctx);
	void *ctx;
	char id[VIRTIO_BLK_ID_BYTES];
	struct iovec *iov; /* of a burst */
	struct virtio_blk_slot *free, *answered, **answered_tail, *pushed;
	unsigned slots, outstanding;
	bool armed, draining, cancelled;
	void (*drained)(void *arg);
	void *drained_arg;
	struct virtio_blk_slot slot[];
};

/* ---- virtio_blk_account.c ---- */

/* Charges the slot's request; false: it has to wait. */
bool virtio_blk_charge(struct virtio_blk_slot *slot, uint32_t bytes);
void virtio_blk_credit(struct virtio_blk_slot *slot); /* all that was charged */
/* Whether what its next request lacks is there. */
bool virtio_blk_may_go_on(const struct virtio_blk *blk);
void virtio_blk_wait_end(struct virtio_blk *blk);

/* ---- virtio_blk_parse.c ---- */

/* Reads a request from slot->element: header, data, and the place of the status. */
enum virtio_blk_verdict virtio_blk_parse(struct virtio_blk_slot *slot);
/* Sets up the request for the next range; false if there is none. */
bool virtio_blk_next_range(struct virtio_blk_slot *slot);

/* ---- virtio_blk_piece.c ---- */

/* slot->request is a transfer of these segments, all of it, and becomes its first piece; false: it is not within the
 * device. */
bool virtio_blk_pieces_begin(struct virtio_blk_slot *slot, struct iovec *data);
/* Sets up the request for the next piece; false if there is none. */
bool virtio_blk_next_piece(struct virtio_blk_slot *slot);
/* The segments are whole again. */
void virtio_blk_pieces_end(struct virtio_blk_slot *slot);
