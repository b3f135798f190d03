/* SPDX-License-Identifier: BSD-3-Clause */
/* One end of a ring of a memif: bursts of frames between shared buffers and mbufs.
 *
 * The other end may write anything at any time: indices, descriptors and frames are read once and checked; a ring that
 * cannot be right is broken from then on (ring->broken says why) and is left alone. Used by one worker at a time. */
#pragma once

#include <rte_mbuf.h>
#include "operating/memif_link.h"

enum { MEMIF_FRAME_MAX = 65535 };

struct memif_ring {
	struct memif_shared_ring *shared;
	/* In both roles and directions: our index, which we publish in *ours with bias, and the limit up to which slots
	 * are ours, read from *theirs with bias. */
	_Atomic uint16_t *ours, *theirs;
	uint16_t ours_bias, theirs_bias;
	uint16_t mask;
	uint16_t next, limit;
	uint16_t published; /* next as the other end knows it */
	bool refill;        /* what we have read must be made an empty buffer again: we are the client */
	/* Where a slot's buffer is. Client: certainly. Server: as of late; asked for ahead of the descriptors. */
	uint8_t *buffers;
	int64_t stride;
	uint32_t room;                      /* client: bytes in each buffer */
	const struct memif_region *regions; /* server: where descriptors point into */
	unsigned region_count;
	uint16_t lines; /* of the frame sent last */
	int event_fd;
	_Atomic bool *faulted;
	_Atomic(const char *) broken; /* a sentence; NULL = it works */
};

/* The link is up and outlives the ring; queue: index of the ring in its direction. */
void memif_ring_init(struct memif_ring *ring, struct memif_link *link, enum memif_direction direction, unsigned queue);

struct memif_rx_drops {
	unsigned no_buffer, too_long, too_short;
};
/* Returns frames; others are skipped and counted (added to *drops). When the pool is empty they wait in the ring. */
unsigned memif_ring_rx(struct memif_ring *ring, struct rte_mempool *pool, struct rte_mbuf **packets, unsigned max,
		       struct memif_rx_drops *drops);

struct memif_tx_result {
	unsigned too_long; /* among those taken: can never be sent */
	uint64_t bytes;    /* of those sent */
};
/* Takes from the front what it can and frees it; returns how many. */
unsigned memif_ring_tx(struct memif_ring *ring, struct rte_mbuf **packets, unsigned count, struct memif_tx_result *ret);

/* Receiving end: asks for interrupts. 1 if there are frames already (then it has not). */
int memif_ring_arm(struct memif_ring *ring);
void memif_ring_disarm(struct memif_ring *ring);
/* Frames wait, and the ring is armed: a sender that does not order its writes has missed that. Any thread. */
bool memif_ring_overlooked(const struct memif_ring *ring);

/* ---- for the ring's own files ---- */

static inline void memif_ring_break(struct memif_ring *ring, const char *why)
{
	atomic_store_explicit(&ring->broken, why, memory_order_release);
}

/* Nothing can be done with it any more. */
static inline bool memif_ring_dead(struct memif_ring *ring)
{
	if (unlikely(atomic_load_explicit(ring->faulted, memory_order_relaxed)))
		memif_ring_break(ring, "the other end has taken memory away");
	return unlikely(atomic_load_explicit(&ring->broken, memory_order_relaxed) != NULL);
}

static inline uint16_t memif_ring_count(const struct memif_ring *ring)
{
	return (uint16_t)(ring->limit - ring->next);
}

/* How many slots are ours, looking at the other end's line only when fewer than wanted are known of. */
static inline unsigned memif_ring_slots(struct memif_ring *ring, unsigned wanted)
{
	if (memif_ring_count(ring) >= wanted)
		return memif_ring_count(ring);
	uint16_t limit = (uint16_t)(atomic_load_explicit(ring->theirs, memory_order_acquire) + ring->theirs_bias);
	if (unlikely((uint16_t)(limit - ring->next) > ring->mask + 1u)) {
		memif_ring_break(ring, "a ring's index jumps");
		return 0;
	}
	ring->limit = limit;
	return memif_ring_count(ring);
}

static inline void memif_ring_publish(struct memif_ring *ring)
{
	if (ring->published == ring->next)
		return;
	ring->published = ring->next;
	atomic_store_explicit(ring->ours, (uint16_t)(ring->next + ring->ours_bias), memory_order_release);
}

/* A descriptor, read once. */
static inline struct memif_desc memif_desc_read(const struct memif_desc *desc)
{
	union {
		uint64_t words[2];
		struct memif_desc desc;
	} copy;

	copy.words[0] = __atomic_load_n((const uint64_t *)(const void *)desc, __ATOMIC_RELAXED);
	copy.words[1] = __atomic_load_n((const uint64_t *)(const void *)desc + 1, __ATOMIC_RELAXED);
	return copy.desc;
}

/* Asks for a line that will be written. What the compiler makes of __builtin_prefetch() for the baseline fetches it to
 * be read only, and the store has to ask the other core again. Before PREFETCHW this instruction did nothing. */
static inline void memif_ask_write(const void *line)
{
#ifdef __x86_64__
	__asm__ volatile("prefetchw %0" : : "m"(*(const uint8_t *)line));
#else
	__builtin_prefetch(line, 1);
#endif
}

/* Flags, region and length at once; the offset stays. */
static inline void memif_desc_write(struct memif_desc *desc, uint16_t flags, uint16_t region, uint32_t length)
{
	__atomic_store_n((uint64_t *)(void *)desc, flags | (uint64_t)region << 16 | (uint64_t)length << 32,
			 __ATOMIC_RELAXED);
}

static inline struct memif_desc *memif_ring_desc(const struct memif_ring *ring, uint16_t slot)
{
	return &ring->shared->descs[slot & ring->mask];
}

/* Where a slot's buffer is or probably is. */
static inline uint8_t *memif_ring_guess(const struct memif_ring *ring, uint16_t slot)
{
	return (uint8_t *)((uintptr_t)ring->buffers + (uintptr_t)((slot & ring->mask) * ring->stride));
}

/* Where length bytes of the slot are; NULL when they are not in the other end's memory. */
static inline uint8_t *memif_ring_buffer(const struct memif_ring *ring, uint16_t slot, const struct memif_desc *desc,
					 uint32_t length)
{
	if (!ring->regions)
		return length <= ring->room ? memif_ring_guess(ring, slot) : NULL;
	if (unlikely(desc->region >= ring->region_count))
		return NULL;
	const struct memif_region *region = &ring->regions[desc->region];
	return likely(desc->offset <= region->bytes && length <= region->bytes - desc->offset)
		       ? region->data + desc->offset
		       : NULL;
}

/* Server: learns from two neighbouring descriptors where the buffers of the others are. */
static inline void memif_ring_learn(struct memif_ring *ring, uint16_t slot, uint8_t *buffer, uint8_t *previous)
{
	if (!ring->regions || (slot & ring->mask) == 0 || !previous || !buffer)
		return;
	ring->stride = buffer - previous;
	ring->buffers = (uint8_t *)((uintptr_t)buffer - (uintptr_t)((slot & ring->mask) * ring->stride));
}

/* Copies without reading or writing more than length bytes: the rest of a buffer is somebody else's. */
static __rte_always_inline void memif_copy(uint8_t *to, const uint8_t *from, uint32_t length)
{
	if (unlikely(length < 32)) {
		memcpy(to, from, length);
		return;
	}
	if (length <= 64) {
		memcpy(to, from, 32);
		memcpy(to + length - 32, from + length - 32, 32);
		return;
	}
	if (unlikely(length > 512)) {
		memcpy(to, from, length);
		return;
	}
	for (uint32_t at = 0; at < length - 64; at += 64)
		memcpy(to + at, from + at, 64);
	memcpy(to + length - 64, from + length - 64, 64);
}
