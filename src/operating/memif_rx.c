/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames out of a memif's ring. */
#include <rte_mempool.h>
#include <rte_prefetch.h>
#include "base/multiversion.h"
#include "operating/mbuf_chain.h"
#include "operating/memif_ring.h"

enum {
	FRAME_MIN = 14,
	AHEAD = 16,         /* slots whose frames are asked for before they are copied */
	WITHHELD_SHARE = 8, /* of the ring: so much that has been read may wait to be given back */
};

static const char BAD_BUFFER[] = "a descriptor points outside the shared memory";

/* Buffers straight from the pool: freed ones are whole (one segment, one reference). Fewer than wanted when it runs
 * dry. */
static unsigned buffers_get(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned wanted)
{
	unsigned got = 0;

	if (likely(rte_mempool_get_bulk(pool, (void **)mbufs, wanted) == 0))
		return wanted;
	while (got < wanted && rte_mempool_get(pool, (void **)&mbufs[got]) == 0)
		got++;
	return got;
}

/* Offset of the data, references, segments and port, as rte_pktmbuf_reset() sets them, in one word. */
static inline uint64_t rearm_word(void)
{
	uint64_t word;
	struct rte_mbuf m = { .data_off = RTE_PKTMBUF_HEADROOM, .nb_segs = 1, .port = RTE_MBUF_PORT_INVALID };

	rte_mbuf_refcnt_set(&m, 1);
	memcpy(&word, &m.rearm_data, sizeof(word));
	return word;
}

static inline void buffer_start(struct rte_mbuf *m, uint64_t rearm, uint32_t length)
{
	memcpy(&m->rearm_data, &rearm, sizeof(rearm));
	m->ol_flags = 0;
	m->packet_type = 0;
	m->pkt_len = length;
	m->data_len = (uint16_t)length;
	m->vlan_tci = 0;
}

static inline void slot_done(struct memif_ring *ring, struct memif_desc *at, uint16_t region)
{
	if (ring->refill)
		memif_desc_write(at, 0, region, ring->room);
	ring->next++;
}

/* Frames wait in the slots up to the limit only: what lies behind it belongs to the other end. */
static inline void ask_ahead(const struct memif_ring *ring)
{
	uint16_t slot = (uint16_t)(ring->next + AHEAD);

	if (memif_ring_count(ring) > AHEAD)
		rte_prefetch0(memif_ring_guess(ring, slot));
	if (slot % 4 == 0)
		rte_prefetch0(memif_ring_desc(ring, (uint16_t)(slot + AHEAD)));
}

static void ask_first(const struct memif_ring *ring, unsigned count)
{
	for (unsigned i = 0; i < RTE_MIN(count, (unsigned)AHEAD); i++) {
		rte_prefetch0(memif_ring_guess(ring, (uint16_t)(ring->next + i)));
		if (i % 4 == 0)
			rte_prefetch0(memif_ring_desc(ring, (uint16_t)(ring->next + i)));
	}
}

/* A frame in several slots or for several mbufs: true if m is that. Slots are done with in any case, unless the ring
 * breaks. */
static bool take_long(struct memif_ring *ring, struct rte_mbuf *m, struct memif_rx_drops *drops)
{
	struct mbuf_chain chain = { m, m };
	struct memif_desc desc;
	uint64_t total = 0;
	bool room = true;

	m->pkt_len = m->data_len = 0;
	do {
		if (memif_ring_slots(ring, 1) == 0) {
			memif_ring_break(ring, "a frame has no end");
			break;
		}
		struct memif_desc *at = memif_ring_desc(ring, ring->next);
		desc = memif_desc_read(at);
		const uint8_t *buffer = memif_ring_buffer(ring, ring->next, &desc, desc.length);
		if (!buffer) {
			memif_ring_break(ring, BAD_BUFFER);
			break;
		}
		total += desc.length;
		if (room && total <= MEMIF_FRAME_MAX)
			room = mbuf_chain_append(&chain, buffer, desc.length);
		slot_done(ring, at, desc.region);
	} while (desc.flags & MEMIF_DESC_NEXT);
	bool broken = atomic_load_explicit(&ring->broken, memory_order_relaxed) != NULL;
	if (!broken && room && total >= FRAME_MIN && total <= MEMIF_FRAME_MAX)
		return true;
	drops->too_long += !broken && total > MEMIF_FRAME_MAX;
	drops->too_short += !broken && total < FRAME_MIN;
	drops->no_buffer += !broken && !room && total <= MEMIF_FRAME_MAX;
	rte_pktmbuf_free(m->next);
	m->next = NULL;
	m->nb_segs = 1;
	return false;
}

MULTIVERSION unsigned memif_ring_rx(struct memif_ring *ring, struct rte_mempool *pool, struct rte_mbuf **packets,
				    unsigned max, struct memif_rx_drops *drops)
{
	const uint32_t plain = rte_pktmbuf_data_room_size(pool) - RTE_PKTMBUF_HEADROOM;
	const uint64_t rearm = rearm_word();
	uint8_t *buffer = NULL, *previous = NULL;
	unsigned taken = 0;

	if (memif_ring_dead(ring))
		return 0;
	unsigned count = memif_ring_slots(ring, max);
	ask_first(ring, count);
	count = count ? buffers_get(pool, packets, RTE_MIN(count, max)) : 0;
	while (taken < count && memif_ring_count(ring) > 0) {
		struct memif_desc *at = memif_ring_desc(ring, ring->next);
		struct rte_mbuf *m = packets[taken];
		ask_ahead(ring);
		struct memif_desc desc = memif_desc_read(at);
		buffer_start(m, rearm, desc.length);
		if (unlikely(desc.flags & MEMIF_DESC_NEXT || desc.length > plain || desc.length < FRAME_MIN)) {
			taken += take_long(ring, m, drops);
			buffer = NULL;
			if (memif_ring_dead(ring))
				break;
			continue;
		}
		previous = buffer;
		buffer = memif_ring_buffer(ring, ring->next, &desc, desc.length);
		if (unlikely(!buffer)) {
			memif_ring_break(ring, BAD_BUFFER);
			break;
		}
		memif_copy(rte_pktmbuf_mtod(m, uint8_t *), buffer, desc.length);
		slot_done(ring, at, desc.region);
		taken++;
	}
	memif_ring_learn(ring, (uint16_t)(ring->next - 1), buffer, previous);
	if (memif_ring_count(ring) == 0 || (uint16_t)(ring->next - ring->published) > ring->mask / WITHHELD_SHARE)
		memif_ring_publish(ring);
	if (unlikely(taken < count))
		rte_mempool_put_bulk(pool, (void **)&packets[taken], count - taken);
	return taken;
}
