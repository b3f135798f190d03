/* SPDX-License-Identifier: BSD-3-Clause */
/* Taking a ring of a memif into use; its interrupts. */
#include "operating/memif_ring.h"

#include <rte_cycles.h>
#include <rte_pause.h>
#include "base/event_signal.h"
#include "operating/fence.h"

/* What a store may wait on its way to memory, generously: 1 µs. */
enum { SETTLES_PER_SECOND = 1000000 };

static void place_server(struct memif_ring *ring, const struct memif_link *link)
{
	ring->ours = &ring->shared->tail;
	ring->theirs = &ring->shared->head;
	ring->regions = link->regions;
	ring->region_count = link->region_count;
	/* Until the first descriptors tell: all guesses are the ring itself. */
	ring->buffers = (uint8_t *)ring->shared;
	ring->stride = 0;
}

static void place_client(struct memif_ring *ring, const struct memif_link *link, enum memif_direction direction,
			 const struct memif_ring_place *place)
{
	uint16_t size = (uint16_t)(ring->mask + 1);

	ring->ours = &ring->shared->head;
	ring->theirs = &ring->shared->tail;
	ring->buffers = place->buffers;
	ring->stride = link->stride;
	ring->room = link->options.buffer_bytes;
	ring->refill = direction == MEMIF_TO_CLIENT;
	if (ring->refill)
		ring->ours_bias = size; /* what has been read is empty at once */
	else
		ring->theirs_bias = size;
	atomic_store(&ring->shared->tail, 0);
	atomic_store(&ring->shared->head, ring->ours_bias);
}

void memif_ring_init(struct memif_ring *ring, struct memif_link *link, enum memif_direction direction, unsigned queue)
{
	const struct memif_ring_place *place = &link->rings[direction][queue];

	*ring = (struct memif_ring){
		.shared = place->shared,
		.mask = (uint16_t)((1u << place->log2_size) - 1),
		.lines = 1,
		.event_fd = place->event_fd,
		.faulted = &link->faulted,
	};
	if (link->options.server)
		place_server(ring, link);
	else
		place_client(ring, link, direction, place);
	ring->limit = ring->next;
}

/* The sender publishes frames and then looks at the flag; we write the flag and then look for frames. Between the two
 * steps each side needs a full fence, which senders other than us do not have: their frames may become visible after
 * they have seen the old flag. So look again when that must be over. */
static bool frames_after_all(struct memif_ring *ring)
{
	uint64_t end = rte_rdtsc() + rte_get_tsc_hz() / SETTLES_PER_SECOND;

	full_fence();
	while (rte_rdtsc() < end)
		rte_pause();
	return memif_ring_slots(ring, 1) > 0;
}

int memif_ring_arm(struct memif_ring *ring)
{
	if (atomic_load_explicit(&ring->broken, memory_order_relaxed))
		return 0;
	if (memif_ring_slots(ring, 1) > 0)
		return 1;
	memif_ring_publish(ring);
	atomic_store_explicit(&ring->shared->flags, 0, memory_order_relaxed);
	if (!frames_after_all(ring))
		return 0;
	memif_ring_disarm(ring);
	return 1;
}

void memif_ring_disarm(struct memif_ring *ring)
{
	atomic_store_explicit(&ring->shared->flags, MEMIF_RING_MASK_INT, memory_order_relaxed);
	event_clear(ring->event_fd);
}

bool memif_ring_overlooked(const struct memif_ring *ring)
{
	uint16_t flags = atomic_load_explicit(&ring->shared->flags, memory_order_relaxed);
	uint16_t theirs = atomic_load_explicit(ring->theirs, memory_order_relaxed);
	uint16_t ours = atomic_load_explicit(ring->ours, memory_order_relaxed);

	return !(flags & MEMIF_RING_MASK_INT) &&
	       (uint16_t)(theirs + ring->theirs_bias) != (uint16_t)(ours - ring->ours_bias);
}
