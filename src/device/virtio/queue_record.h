/* SPDX-License-Identifier: BSD-3-Clause */
/* What a packed queue must remember beyond our death: a packed ring, unlike a split one, does not show where the device
 * stands in it, and front ends that lose the back end suddenly tell the next one an old position.
 *
 * One record per queue in a named tmpfs file: which ring (its memory and place), the position that the front end gave
 * us, the position behind the last used element, and a redo log of the batch that is being made used. Nothing in it is
 * a pointer, and the front end cannot write it. It is valid within one boot, and believed only while it is marked live
 * and the ring is the same and shows our traces.
 *
 * Process death, not machine death: program order of stores is enough, release stores keep the compiler to it. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <linux/virtio_ring.h>

struct queue_records;
struct queue_record;

/* Which ring a record is about. */
struct queue_record_key {
	uint64_t gpa;           /* of the descriptor ring */
	uint64_t device, inode; /* of the memory it is in */
	uint16_t size;
};

/* path NULL: anonymous, for reconnects within our own life. Adopts the file if its layout, boot and geometry are
 * ours, else replaces it. */
int queue_records_open(const char *path, uint16_t queues, uint16_t ring_size, struct queue_records **ret);
/* The file stays. */
void queue_records_close(struct queue_records *records);
struct queue_record *queue_records_get(struct queue_records *records, unsigned index);

/* A queue is set up with the front end's position (as in SET_VRING_BASE). If the record is of this ring and newer,
 * finishes the batch that was interrupted and returns true with the position in *used. Marks the record live either
 * way. */
bool queue_record_begin(struct queue_record *record, const struct queue_record_key *key, uint32_t given_base,
			struct vring_packed_desc *ring, uint16_t *used, bool *used_wrap);
/* The front end knows the position again (GET_VRING_BASE) or has reset the device. */
void queue_record_end(struct queue_record *record);

struct queue_redo {
	uint16_t id, slots;
	uint32_t length;
};

/* Around one batch of used elements: add each, commit, (write them to the ring), done. */
struct queue_redo *queue_record_redo(struct queue_record *record);
void queue_record_commit(struct queue_record *record, uint16_t used, bool wrap, uint16_t count);
void queue_record_done(struct queue_record *record, uint16_t used, bool wrap);
