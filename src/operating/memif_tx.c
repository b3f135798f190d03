/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames into a memif's ring. */
#include <rte_mempool.h>
#include <rte_prefetch.h>
#include "base/multiversion.h"
#include "base/event_signal.h"
#include "operating/memif_ring.h"

enum { AHEAD = 16, LINES_ASKED = 4, LINE = 64 };

static const char BAD_BUFFER[] = "an empty buffer lies outside the shared memory";

static inline void ask_slot(const struct memif_ring *ring, uint16_t slot)
{
	const uint8_t *buffer = memif_ring_guess(ring, slot);

	for (unsigned i = 0; i < ring->lines; i++)
		memif_ask_write(buffer + i * LINE);
}

/* Lines that will be written, of slots that the other end has left. */
static inline void ask_ahead(const struct memif_ring *ring)
{
	uint16_t slot = (uint16_t)(ring->next + AHEAD);

	if (memif_ring_count(ring) > AHEAD)
		ask_slot(ring, slot);
	if (slot % 4 == 0 && memif_ring_count(ring) > 2 * AHEAD)
		memif_ask_write(memif_ring_desc(ring, (uint16_t)(slot + AHEAD)));
}

static void ask_first(const struct memif_ring *ring, unsigned count)
{
	for (unsigned i = 0; i < RTE_MIN(count, (unsigned)AHEAD); i++) {
		if (i % 4 == 0)
			memif_ask_write(memif_ring_desc(ring, (uint16_t)(ring->next + i)));
		ask_slot(ring, (uint16_t)(ring->next + i));
	}
}

/* ---- frames that need several slots ---- */

static uint32_t slot_room(const struct memif_ring *ring, uint16_t slot)
{
	struct memif_desc desc = memif_desc_read(memif_ring_desc(ring, slot));

	return ring->regions ? desc.length : ring->room;
}

/* Slots for length bytes; 0 if those that are free do not suffice. */
static unsigned slots_needed(const struct memif_ring *ring, uint32_t length)
{
	uint64_t room = 0;
	unsigned slots = 0, count = memif_ring_count(ring);

	while (room < length && slots < count)
		room += slot_room(ring, (uint16_t)(ring->next + slots++));
	return room < length ? 0 : slots;
}

/* Fills one slot from the frame's byte at on; returns how many it took, or -1 when the buffer is nowhere. */
static int64_t fill_slot(struct memif_ring *ring, const struct rte_mbuf *m, uint32_t at, bool last)
{
	struct memif_desc *place = memif_ring_desc(ring, ring->next), desc = memif_desc_read(place);
	uint32_t room = ring->regions ? desc.length : ring->room, left = m->pkt_len - at;
	uint32_t length = RTE_MIN(room, left);
	uint8_t *buffer = memif_ring_buffer(ring, ring->next, &desc, length);

	if (!buffer || (last && length < left))
		return -1;
	const void *bytes = rte_pktmbuf_read(m, at, length, buffer);
	if (bytes != buffer && length > 0)
		memcpy(buffer, bytes, length);
	memif_desc_write(place, last ? 0 : MEMIF_DESC_NEXT, ring->regions ? desc.region : 0, length);
	ring->next++;
	return length;
}

/* False if there is no room now, or the ring breaks. */
static bool put_long(struct memif_ring *ring, const struct rte_mbuf *m, struct memif_tx_result *ret)
{
	uint16_t start = ring->next;

	memif_ring_slots(ring, ring->mask + 1u); /* all there are by now */
	unsigned slots = m->pkt_len <= MEMIF_FRAME_MAX ? slots_needed(ring, m->pkt_len) : 0;

	if (slots == 0) { /* an empty ring has not been enough: nothing ever is */
		bool never = m->pkt_len > MEMIF_FRAME_MAX || memif_ring_count(ring) > ring->mask;
		ret->too_long += never;
		return never;
	}
	for (uint32_t at = 0; slots-- > 0;) {
		int64_t length = fill_slot(ring, m, at, slots == 0);
		if (length < 0) {
			ring->next = start;
			memif_ring_break(ring, BAD_BUFFER);
			return false;
		}
		at += (uint32_t)length;
	}
	ret->bytes += m->pkt_len;
	return true;
}

/* ---- bursts ---- */

/* Where the frame went; NULL: it takes more than one slot, or the slot is bad, which put_long() finds out. */
static inline uint8_t *put_plain(struct memif_ring *ring, const struct rte_mbuf *m)
{
	struct memif_desc *at = memif_ring_desc(ring, ring->next), desc = { .length = ring->room };
	uint32_t length = m->data_len;

	if (ring->regions)
		desc = memif_desc_read(at);
	if (unlikely(m->nb_segs > 1 || length > desc.length))
		return NULL;
	uint8_t *buffer = memif_ring_buffer(ring, ring->next, &desc, length);
	if (unlikely(!buffer))
		return NULL;
	memif_copy(buffer, rte_pktmbuf_mtod(m, const uint8_t *), length);
	memif_desc_write(at, 0, desc.region, length);
	ring->next++;
	return buffer;
}

/* Back to the pool without a look at the second line of each, if all are as they came from it. */
static inline bool is_whole(const struct rte_mbuf *m, const struct rte_mempool *pool)
{
	return (m->nb_segs == 1) & (rte_mbuf_refcnt_read(m) == 1) & (m->pool == pool) &
	       !(m->ol_flags & (RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL));
}

static void notify(const struct memif_ring *ring)
{
	if (unlikely(!(atomic_load_explicit(&ring->shared->flags, memory_order_relaxed) & MEMIF_RING_MASK_INT)))
		event_signal(ring->event_fd);
}

MULTIVERSION unsigned memif_ring_tx(struct memif_ring *ring, struct rte_mbuf **packets, unsigned count,
				    struct memif_tx_result *ret)
{
	struct rte_mempool *pool = count ? packets[0]->pool : NULL;
	uint8_t *buffer = NULL, *previous = NULL;
	unsigned taken = 0, long_before = ret->too_long;
	uint64_t bytes = 0;
	bool whole = true;

	if (memif_ring_dead(ring) || count == 0)
		return 0;
	ask_first(ring, RTE_MIN(memif_ring_slots(ring, count), count));
	for (; taken < count && memif_ring_count(ring) > 0; taken++) {
		struct rte_mbuf *m = packets[taken];
		ask_ahead(ring);
		previous = buffer;
		buffer = put_plain(ring, m);
		if (likely(buffer))
			bytes += m->data_len;
		else if (!put_long(ring, m, ret))
			break;
		whole &= is_whole(m, pool);
	}
	if (taken == 0)
		return 0;
	memif_ring_learn(ring, (uint16_t)(ring->next - 1), buffer, previous);
	ring->lines = (uint16_t)RTE_MIN((packets[taken - 1]->data_len + LINE - 1u) / LINE, (unsigned)LINES_ASKED);
	ret->bytes += bytes;
	memif_ring_publish(ring);
	if (taken > ret->too_long - long_before)
		notify(ring);
	if (likely(whole))
		rte_mempool_put_bulk(pool, (void **)packets, taken);
	else
		rte_pktmbuf_free_bulk(packets, taken);
	return taken;
}
