/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of a virtqueue, and setting one up: for the endpoint, the two ring formats, and tests. */
#pragma once

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include "device/virtio/dirty_log.h"
#include "device/virtio/guest_memory.h"
#include "device/virtio/queue_record.h"
#include "device/virtio/virtq_inflight.h"
#include "device/virtio/virtqueue.h"

enum {
	VIRTQ_BURST = 64, /* elements looked at in one go */
	VIRTQ_PACKED_AVAIL = 1 << VRING_PACKED_DESC_F_AVAIL,
	VIRTQ_PACKED_USED = 1 << VRING_PACKED_DESC_F_USED,
	VIRTQ_WRAP_BIT = 1 << 15, /* of the 16-bit positions that vhost-user exchanges for packed rings */
};

struct virtqueue {
	/* Set up by control, read by the worker. */
	bool packed, event_index, logging;
	uint16_t size, mask; /* mask: split only */
	uint64_t features;
	struct guest_memory *memory;
	unsigned memory_hint;
	union {
		struct {
			const struct vring_desc *desc;
			struct vring_avail *avail;
			struct vring_used *used;
			uint16_t forgotten; /* taken by a predecessor and in no list: nobody gives them back */
		} split;
		struct {
			struct vring_packed_desc *desc;
			struct vring_packed_desc_event *driver; /* written by the driver: when to interrupt it */
			struct vring_packed_desc_event *device; /* written by us: when to kick us */
		} ring;
	};

	/* The worker's. Split: free-running indices; packed: positions below size, with wrap counters. */
	uint16_t avail, used;
	bool avail_wrap, used_wrap;
	uint16_t avail_shadow; /* split: the driver's index as last read */
	uint32_t outstanding;  /* ring slots popped and not pushed */
	uint32_t unnotified;   /* ring slots pushed since the last notification */
	bool notify_always;    /* the first one after set-up: the driver may have lost ours */

	_Atomic(const char *) broken; /* why, or NULL */
	_Atomic uint8_t fault;        /* of the last element that had one */
	int kick_fd, call_fd;         /* -1: none */
	int alarm_fd;                 /* tells control that the queue broke; -1: none */

	struct dirty_log *log;
	uint64_t ring_log_gpa; /* of the used ring (split) or descriptor ring (packed) */
	uint64_t event_log_gpa;
	struct virtq_inflight inflight;
	struct queue_record *record; /* packed: survives us; may be NULL */
	struct queue_redo *batch;    /* packed without record: room for size */
};

struct virtqueue_config {
	uint64_t features;
	uint16_t size;
	uint32_t base;       /* where to go on, as in VHOST_USER_SET_VRING_BASE */
	uint32_t given_base; /* what the front end said last; differs when we stopped the queue ourselves since */
	bool in_order;       /* nothing is in flight across a stop or death: resume behind the last used element */
	bool log_used;       /* the ring's own pages are to be logged */
	uint64_t desc, driver, device; /* ring areas in the front end's addresses */
	uint64_t used_log_gpa;
	struct guest_memory *memory;
	struct dirty_log *log;
	void *inflight_region; /* this queue's, or NULL */
	struct queue_record *record;
	int kick_fd, call_fd, alarm_fd;
};

int virtqueue_new(struct virtqueue **ret);
void virtqueue_free(struct virtqueue *queue);
/* Returns 0, or -EINVAL with a sentence in *ret_why (addresses outside memory, misaligned, sizes), or -ENOMEM. */
int virtqueue_setup(struct virtqueue *queue, const struct virtqueue_config *config, const char **ret_why);
/* The position for VHOST_USER_GET_VRING_BASE. */
uint32_t virtqueue_base(const struct virtqueue *queue);

/* Marks the queue broken for the first reason given, and returns -EPIPE. Worker. */
int virtqueue_break(struct virtqueue *queue, const char *reason);

int virtq_split_setup(struct virtqueue *queue, const struct virtqueue_config *config, const char **ret_why);
int virtq_split_pop(struct virtqueue *queue, struct virtq_element *elements, unsigned max, struct iovec *iov,
		    unsigned room);
void virtq_split_push(struct virtqueue *queue, const struct virtq_element *elements, const uint32_t *written,
		      unsigned n);
bool virtq_split_wants_notify(struct virtqueue *queue, uint32_t slots);
bool virtq_split_arm(struct virtqueue *queue);
void virtq_split_disarm(struct virtqueue *queue);

int virtq_packed_setup(struct virtqueue *queue, const struct virtqueue_config *config, const char **ret_why);
int virtq_packed_pop(struct virtqueue *queue, struct virtq_element *elements, unsigned max, struct iovec *iov,
		     unsigned room);
void virtq_packed_unpop(struct virtqueue *queue, unsigned slots);
void virtq_packed_push(struct virtqueue *queue, const struct virtq_element *elements, const uint32_t *written,
		       unsigned n);
/* Writes a batch of used descriptors at a position; its head last. */
void virtq_packed_ring_used(struct vring_packed_desc *ring, uint16_t size, uint16_t position, bool wrap,
			    const struct queue_redo *batch, unsigned n);
bool virtq_packed_wants_notify(struct virtqueue *queue, uint32_t slots);
bool virtq_packed_arm(struct virtqueue *queue);
void virtq_packed_disarm(struct virtqueue *queue);

/* ---- building an element ---- */

/* Copies a descriptor of a ring, of either format: each of its two words is read once. */
static inline void virtq_desc_load(const void *desc, void *ret)
{
	const uint64_t *from = desc;
	const uint64_t words[2] = { __atomic_load_n(&from[0], __ATOMIC_RELAXED),
				    __atomic_load_n(&from[1], __ATOMIC_RELAXED) };

	memcpy(ret, words, sizeof(words));
}

/* Walks end with 0, -ENOSPC when room segments are used, or this. */
static inline int virtq_element_fault(struct virtq_element *element, enum virtq_fault fault)
{
	element->fault = (uint8_t)fault;
	return -EBADMSG;
}

/* Adds one descriptor's buffer to an element that is being built, split where memory regions meet. */
static inline int virtq_element_add(struct virtqueue *queue, struct virtq_element *element, unsigned room,
				    uint64_t address, uint32_t length, bool writable)
{
	uint32_t *bytes = writable ? &element->writable_bytes : &element->readable_bytes;

	if (__builtin_expect(!writable && element->writable, 0))
		return virtq_element_fault(element, VIRTQ_FAULT_ORDER);
	if (__builtin_expect(__builtin_add_overflow(*bytes, length, bytes), 0))
		return virtq_element_fault(element, VIRTQ_FAULT_BYTES);
	while (length) {
		unsigned used = element->readable + element->writable;
		uint64_t contiguous;
		uint8_t *host = guest_memory_at(queue->memory, &queue->memory_hint, address, &contiguous);

		if (__builtin_expect(!host, 0))
			return virtq_element_fault(element, VIRTQ_FAULT_OUTSIDE);
		if (__builtin_expect(used >= room, 0))
			return -ENOSPC;
		uint32_t here = length < contiguous ? length : (uint32_t)contiguous;
		element->segments[used] = (struct iovec){ .iov_base = host, .iov_len = here };
		if (writable)
			element->writable++;
		else
			element->readable++;
		address += here;
		length -= here;
	}
	return 0;
}

/* Walks an indirect table; split tables are chained by next, packed ones are in order. */
int virtq_indirect_add(struct virtqueue *queue, struct virtq_element *element, unsigned room, uint64_t table,
		       uint32_t length);
/* How many descriptors a table of this length has; 0: that cannot be. */
static inline uint32_t virtq_table_count(const struct virtqueue *queue, uint32_t length)
{
	uint32_t count = length / sizeof(struct vring_desc);

	return length % sizeof(struct vring_desc) || count > INT16_MAX + 1 ? 0 : count;
}
/* Copies a descriptor of a table; false if it is not within the guest's memory. */
static inline bool virtq_table_load(struct virtqueue *queue, uint64_t address, void *ret)
{
	uint64_t contiguous;
	const uint8_t *host = guest_memory_at(queue->memory, &queue->memory_hint, address, &contiguous);

	if (!host || contiguous < sizeof(struct vring_desc))
		return false;
	/* Unaligned tables are allowed; the compiler must not read twice what it copies once. */
	memcpy(ret, host, sizeof(struct vring_desc));
	atomic_signal_fence(memory_order_seq_cst);
	return true;
}

/* ---- elements whose walk has failed ---- */

/* Each makes of the element what can be told, after a walk that ended with r. Returns 0 when it is to be popped with
 * its fault; -ENOSPC when the caller is to come again with more room; -EPIPE when its end cannot be found. */
int virtq_split_salvage(struct virtqueue *queue, struct virtq_element *element, unsigned room, int r);
int virtq_packed_salvage(struct virtqueue *queue, struct virtq_element *element, unsigned room, int r);
/* The same for one of the in-flight region. */
int virtq_resubmit_salvage(struct virtqueue *queue, struct virtq_element *element, unsigned room, int r);
