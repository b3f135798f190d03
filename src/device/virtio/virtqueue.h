/* SPDX-License-Identifier: BSD-3-Clause */
/* Virtqueues, split and packed (virtio 1.2, 2.7 and 2.8), as the device side sees them. A started queue belongs to one
 * worker.
 *
 * What the guest writes is read once, bounds-checked against the ring and the memory map, and never trusted again.
 * Descriptors that make no sense spoil their element only: it is popped with a fault, pushed as any other, and the
 * queue goes on. A guest that leaves no way to tell which element is meant breaks this queue only: it is marked broken
 * and stops until it is set up again. A front end that truncates memory it shared gets the queue's device disabled
 * (guest_memory.h catches the fault). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct virtqueue;
struct guest_memory;

enum { VIRTQ_MAX_SEGMENTS = 1024 };

/* What is wrong with an element's descriptors. */
enum virtq_fault {
	VIRTQ_FAULT_NONE,
	VIRTQ_FAULT_OUTSIDE,
	VIRTQ_FAULT_ORDER,
	VIRTQ_FAULT_BYTES,
	VIRTQ_FAULT_SEGMENTS,
	VIRTQ_FAULT_LOOP,
	VIRTQ_FAULT_NEXT,
	VIRTQ_FAULT_NO_TABLES,
	VIRTQ_FAULT_TABLE_SUCCESSOR,
	VIRTQ_FAULT_TABLE_LENGTH,
	VIRTQ_FAULT_TABLE_OUTSIDE,
	VIRTQ_FAULT_TABLE_NEXT,
	VIRTQ_FAULT_TABLE_NESTED,
	VIRTQ_FAULTS
};
const char *virtq_fault_sentence(enum virtq_fault fault);

/* One request as the guest made it available: readable segments first, then writable ones. Segments point into guest
 * memory and are valid until virtqueue_push(). One with a fault is to be pushed like any other, with an error where the
 * device has one: it has no segment but, if it can be told, one of one byte, the last that the device may write. */
struct virtq_element {
	uint16_t id;                 /* descriptor head (split) or buffer id (packed) */
	uint16_t descriptors;        /* ring slots it takes (packed) */
	uint16_t readable, writable; /* segments */
	uint32_t readable_bytes, writable_bytes;
	uint32_t inflight; /* the endpoint's, for the in-flight region */
	uint8_t fault;     /* enum virtq_fault */
	struct iovec *segments;
};

/* Takes up to max available elements; segments are stored in iov (room segments in all). Returns the number, or -EPIPE
 * when the queue is (now) broken. Elements found in the in-flight region after a reconnect come first, in submission
 * order. */
int virtqueue_pop(struct virtqueue *queue, struct virtq_element *elements, unsigned max, struct iovec *iov,
		  unsigned room);
/* Puts back the last n popped elements that were not used (receive buffers that turned out too many). */
void virtqueue_unpop(struct virtqueue *queue, const struct virtq_element *elements, unsigned n);
/* Returns elements in any order with the bytes written to each; marks written guest pages in the dirty log. They become
 * visible to the guest together. */
void virtqueue_push(struct virtqueue *queue, const struct virtq_element *elements, const uint32_t *written, unsigned n);
/* Interrupts the guest if it wants to be (event index, flags). Call once per burst after pushes. */
void virtqueue_notify(struct virtqueue *queue);

/* Sleep support: ask the guest to kick. Returns true if there is something to do already (and kicks stay off). */
bool virtqueue_arm(struct virtqueue *queue);
void virtqueue_disarm(struct virtqueue *queue);
int virtqueue_kick_fd(const struct virtqueue *queue); /* eventfd to watch; read it when woken */

unsigned virtqueue_size(const struct virtqueue *queue);
uint64_t virtqueue_features(const struct virtqueue *queue);
bool virtqueue_broken(const struct virtqueue *queue);
const char *virtqueue_broken_reason(const struct virtqueue *queue);
/* Any thread: the fault of the last element that had one since the queue was set up. */
enum virtq_fault virtqueue_last_fault(const struct virtqueue *queue);
