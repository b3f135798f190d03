/* SPDX-License-Identifier: BSD-3-Clause */
/* The packet rings of eswitch_abi.h, for both sides: frames between mbufs and the slots of a ring.
 *
 * Each side keeps a struct eswitch_ring_end of its own for each ring, which holds all that it relies on; of the shared
 * ring it reads one counter and the slots, each once, and checks them. A peer that lies loses its frames: they are
 * counted in `faults`; one that moves its counter by more than there are slots breaks the ring, which then stands
 * still. One thread at a time uses an end.
 *
 *	producer: status = eswitch_ring_put(&end, m, &meta); …; if (eswitch_ring_publish(&end)) write its eventfd;
 *	consumer: count = eswitch_ring_take(&end, pool, packets, metas, max); eswitch_ring_publish(&end);
 *
 * To sleep, a consumer calls eswitch_ring_arm(), waits for the eventfd unless there is work, then
 *eswitch_ring_disarm().
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <rte_branch_prediction.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>
#include "dpu/eswitch_abi.h"

struct eswitch_ring_end {
	struct eswitch_ring *ring;
	struct eswitch_slot *slots;
	uint8_t *buffers;
	uint32_t mask;      /* slots - 1 */
	uint32_t own;       /* the counter that this side moves: head of the producer, tail of the consumer */
	uint32_t published; /* … as the peer can see it */
	uint32_t peer;      /* the other counter, as last read and checked */
	bool producer;
	bool broken;        /* the peer's counter was impossible */
	uint64_t faults;    /* frames lost to slots that make no sense */
	uint64_t no_buffer; /* times that taking stopped for want of an mbuf; nothing is lost then */
};

enum { ESWITCH_LINE_BYTES = 64, ESWITCH_RING_AHEAD = 4, ESWITCH_EXPECTED_BYTES = 512 };

/* Bytes of a port region with so many rings of so many slots, and where things are in it. */
static inline uint64_t eswitch_region_slots_offset(uint32_t rings, uint32_t ring, uint32_t slots)
{
	uint64_t head = RTE_ALIGN_CEIL(sizeof(struct eswitch_port_region) + rings * sizeof(struct eswitch_ring),
				       (uint64_t)4096);

	return head + (uint64_t)ring * slots * sizeof(struct eswitch_slot);
}
static inline uint64_t eswitch_region_buffers_offset(uint32_t rings, uint32_t ring, uint32_t slots)
{
	return RTE_ALIGN_CEIL(eswitch_region_slots_offset(rings, rings, slots), (uint64_t)4096) +
	       (uint64_t)ring * slots * ESWITCH_BUFFER_BYTES;
}
static inline uint64_t eswitch_region_bytes(uint32_t rings, uint32_t slots)
{
	return eswitch_region_buffers_offset(rings, rings, slots);
}

/* region: mapped, so many bytes, with rings of so many slots (a power of two); ring: index into its rings[]. Where
 * slots and buffers are follows from the numbers, never from what the region says. Goes on where the ring stands. */
static inline void eswitch_ring_end_init(struct eswitch_ring_end *end, struct eswitch_port_region *region,
					 uint32_t rings, uint32_t ring, uint32_t slots, bool producer)
{
	uint8_t *base = (uint8_t *)region;

	*end = (struct eswitch_ring_end){
		.ring = &region->rings[ring],
		.slots = (struct eswitch_slot *)(base + eswitch_region_slots_offset(rings, ring, slots)),
		.buffers = base + eswitch_region_buffers_offset(rings, ring, slots),
		.mask = slots - 1,
		.producer = producer,
	};
	end->own = atomic_load_explicit(producer ? &end->ring->head : &end->ring->tail, memory_order_relaxed);
	end->peer = end->published = end->own;
}

/* Looks at the peer's counter. False when it is impossible, from then on. */
static inline bool eswitch_ring_look(struct eswitch_ring_end *end)
{
	uint32_t seen = atomic_load_explicit(end->producer ? &end->ring->tail : &end->ring->head, memory_order_acquire);
	uint32_t used = end->producer ? end->own - seen : seen - end->own;

	if (unlikely(used > end->mask + 1 || end->broken)) {
		end->broken = true;
		return false;
	}
	end->peer = seen;
	return true;
}

/* Lets the peer see what was put or taken. True when the consumer sleeps: the producer then writes its eventfd. */
static inline bool eswitch_ring_publish(struct eswitch_ring_end *end)
{
	if (end->published == end->own)
		return false;
	end->published = end->own;
	if (!end->producer) {
		atomic_store_explicit(&end->ring->tail, end->own, memory_order_release);
		return false;
	}
	atomic_store_explicit(&end->ring->head, end->own, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
	return unlikely(atomic_load_explicit(&end->ring->wanted, memory_order_relaxed));
}

/* Copies whole cache lines where both sides have room for that, for short frames are nearly all frames. */
static inline void eswitch_ring_copy(uint8_t *to, const uint8_t *from, uint32_t length, bool lines)
{
	if (unlikely(!lines || length > 4 * ESWITCH_LINE_BYTES)) {
		memcpy(to, from, length);
		return;
	}
	for (uint32_t done = 0; done < length; done += ESWITCH_LINE_BYTES)
		memcpy(to + done, from + done, ESWITCH_LINE_BYTES);
}

/* ---- producer ---- */

static inline uint32_t eswitch_ring_room(const struct eswitch_ring_end *end)
{
	return end->mask + 1 - (end->own - end->peer);
}

static inline uint8_t *eswitch_ring_buffer(const struct eswitch_ring_end *end, uint32_t count)
{
	return end->buffers + (size_t)(count & end->mask) * ESWITCH_BUFFER_BYTES;
}

/* The frame of a chain of mbufs over slots from own on; there is room. */
static inline void eswitch_ring_put_chain(struct eswitch_ring_end *end, const struct rte_mbuf *m,
					  const struct eswitch_slot *meta)
{
	uint32_t first = end->own, at = first, filled = 0;
	struct eswitch_slot slot = *meta;

	for (; m; m = m->next) {
		const uint8_t *from = rte_pktmbuf_mtod(m, const uint8_t *);
		for (uint32_t left = m->data_len; left > 0;) {
			if (filled == ESWITCH_BUFFER_BYTES) {
				slot.length = filled;
				slot.flags |= ESWITCH_PACKET_NEXT;
				end->slots[at++ & end->mask] = slot;
				slot = (struct eswitch_slot){ 0 };
				filled = 0;
			}
			uint32_t part = RTE_MIN(left, (uint32_t)ESWITCH_BUFFER_BYTES - filled);
			memcpy(eswitch_ring_buffer(end, at) + filled, from, part);
			filled += part;
			from += part;
			left -= part;
		}
	}
	slot.length = filled;
	end->slots[at++ & end->mask] = slot;
	end->own = at;
}

/* Puts a copy of the frame; meta says what is known of it but for its length, and has no NEXT. 0, -ENOSPC when there is
 * no room now, or -EMSGSIZE when there never is. */
static inline int eswitch_ring_put(struct eswitch_ring_end *end, const struct rte_mbuf *m,
				   const struct eswitch_slot *meta)
{
	uint32_t length = m->pkt_len;
	uint32_t wanted = (length + ESWITCH_BUFFER_BYTES - 1) / ESWITCH_BUFFER_BYTES;

	if (unlikely(length == 0 || length > ESWITCH_MAX_FRAME_BYTES || wanted > end->mask + 1))
		return -EMSGSIZE;
	if (unlikely(eswitch_ring_room(end) < wanted) && (!eswitch_ring_look(end) || eswitch_ring_room(end) < wanted))
		return -ENOSPC;
	if (unlikely(m->nb_segs > 1 || wanted > 1)) {
		eswitch_ring_put_chain(end, m, meta);
		return 0;
	}
	struct eswitch_slot *slot = &end->slots[end->own & end->mask];
	uint8_t *buffer = eswitch_ring_buffer(end, end->own);
	if (length <= 4 * ESWITCH_LINE_BYTES) /* beyond that what the processor foresees by itself is better */
		__builtin_prefetch(eswitch_ring_buffer(end, end->own + ESWITCH_RING_AHEAD), 1);
	bool lines = m->buf_len - m->data_off >= (int)RTE_ALIGN_CEIL(length, (uint32_t)ESWITCH_LINE_BYTES);
	eswitch_ring_copy(buffer, rte_pktmbuf_mtod(m, const uint8_t *), length, lines);
	*slot = *meta;
	slot->length = length;
	end->own++;
	return 0;
}

/* ---- consumer ---- */

static inline uint32_t eswitch_ring_ready(const struct eswitch_ring_end *end)
{
	return end->peer - end->own;
}

/* Bytes to the end of a chain; false without a buffer. */
static inline bool eswitch_ring_append(struct rte_mempool *pool, struct rte_mbuf *head, struct rte_mbuf **last,
				       const uint8_t *from, uint32_t length)
{
	while (length > 0) {
		uint16_t room = rte_pktmbuf_tailroom(*last);
		if (room == 0) {
			struct rte_mbuf *next = rte_pktmbuf_alloc(pool);
			if (!next)
				return false;
			next->data_off = 0; /* headroom is wanted in the first buffer only */
			(*last)->next = next;
			*last = next;
			head->nb_segs++;
			continue;
		}
		uint16_t part = (uint16_t)RTE_MIN(length, room);
		memcpy(rte_pktmbuf_mtod_offset(*last, uint8_t *, (*last)->data_len), from, part);
		(*last)->data_len = (uint16_t)((*last)->data_len + part);
		head->pkt_len += part;
		from += part;
		length -= part;
	}
	return true;
}

/* What can be taken from here: slots of a whole frame and its length, or 0 slots when its end is not there. bad: it is
 * to be skipped. */
struct eswitch_ring_frame {
	uint32_t slots, bytes;
	bool bad;
};

static inline struct eswitch_ring_frame eswitch_ring_measure(const struct eswitch_ring_end *end)
{
	struct eswitch_ring_frame frame = { 0 };
	uint32_t ready = eswitch_ring_ready(end), length, flags;

	do {
		const volatile struct eswitch_slot *slot = &end->slots[(end->own + frame.slots) & end->mask];
		length = slot->length;
		flags = slot->flags;
		frame.bad |= length == 0 || length > ESWITCH_BUFFER_BYTES;
		frame.bytes += RTE_MIN(length, (uint32_t)ESWITCH_BUFFER_BYTES);
		frame.slots++;
	} while (flags & ESWITCH_PACKET_NEXT && frame.slots < ready);
	/* Frames are published whole. */
	frame.bad |= flags & ESWITCH_PACKET_NEXT || frame.bytes > ESWITCH_MAX_FRAME_BYTES;
	return frame;
}

/* A frame of several slots, or of one that is longer than an mbuf, as it was measured. 0, -ENOMEM without buffers, or
 * -EBADMSG when it makes no sense, when the lengths, which are read a second time, are not what they were, or when the
 * whole pool would not hold it. */
static inline int eswitch_ring_take_chain(struct eswitch_ring_end *end, struct rte_mempool *pool, struct rte_mbuf *head,
					  const struct eswitch_ring_frame *frame)
{
	struct rte_mbuf *last = head;
	uint32_t left = frame->bytes;

	if (frame->bad)
		return -EBADMSG;
	for (uint32_t i = 0; i < frame->slots; i++) {
		const volatile struct eswitch_slot *slot = &end->slots[(end->own + i) & end->mask];
		uint32_t length = slot->length;
		if (length > left || length > ESWITCH_BUFFER_BYTES)
			return -EBADMSG;
		if (!eswitch_ring_append(pool, head, &last, eswitch_ring_buffer(end, end->own + i), length)) {
			uint64_t all = (uint64_t)pool->size * rte_pktmbuf_data_room_size(pool);
			return frame->bytes + RTE_PKTMBUF_HEADROOM > all ? -EBADMSG : -ENOMEM;
		}
		left -= length;
	}
	return left == 0 ? 0 : -EBADMSG;
}

/* Takes the frame at own into m. Not 0: m is the caller's still, and perhaps longer; with -EBADMSG the frame has been
 * skipped, with -ENOMEM it is there still. */
static inline int eswitch_ring_take_one(struct eswitch_ring_end *end, struct rte_mempool *pool, struct rte_mbuf *m,
					struct eswitch_slot *ret_meta)
{
	struct eswitch_slot slot;

	memcpy(&slot, &end->slots[end->own & end->mask], sizeof(slot));
	__asm__ volatile("" ::: "memory"); /* what is checked is what is used */
	*ret_meta = slot;
	if (likely(!(slot.flags & ESWITCH_PACKET_NEXT) && slot.length - 1 < ESWITCH_BUFFER_BYTES &&
		   slot.length <= rte_pktmbuf_tailroom(m))) {
		bool lines = rte_pktmbuf_tailroom(m) >= RTE_ALIGN_CEIL(slot.length, (uint32_t)ESWITCH_LINE_BYTES);
		eswitch_ring_copy(rte_pktmbuf_mtod(m, uint8_t *), eswitch_ring_buffer(end, end->own), slot.length,
				  lines);
		m->data_len = (uint16_t)slot.length;
		m->pkt_len = slot.length;
		end->own++;
		return 0;
	}
	struct eswitch_ring_frame frame = eswitch_ring_measure(end);
	int status = eswitch_ring_take_chain(end, pool, m, &frame);
	end->faults += status == -EBADMSG;
	end->own += status == -ENOMEM ? 0 : frame.slots;
	return status;
}

/* Fetches the beginning of a frame that is taken soon, as far as its slot says that it goes. */
static inline void eswitch_ring_expect(const struct eswitch_ring_end *end, uint32_t count)
{
	uint32_t length = RTE_MIN(end->slots[count & end->mask].length, (uint32_t)ESWITCH_EXPECTED_BYTES);

	for (uint32_t at = 0; at < length; at += ESWITCH_LINE_BYTES)
		rte_prefetch0(eswitch_ring_buffer(end, count) + at);
}

/* Up to wanted (at most 64) of the frames that are ready, as long as there are buffers. */
static inline unsigned eswitch_ring_take_ready(struct eswitch_ring_end *end, struct rte_mempool *pool,
					       struct rte_mbuf **packets, struct eswitch_slot *metas, unsigned wanted)
{
	struct rte_mbuf *fresh[64];
	unsigned count = 0, used = 0;

	if (unlikely(rte_pktmbuf_alloc_bulk(pool, fresh, wanted) != 0))
		return 0;
	for (unsigned i = 0; i < RTE_MIN(wanted, (unsigned)ESWITCH_RING_AHEAD); i++)
		rte_prefetch0(eswitch_ring_buffer(end, end->own + i));
	for (; used < wanted && eswitch_ring_ready(end) > 0; used++) {
		eswitch_ring_expect(end, end->own + ESWITCH_RING_AHEAD);
		rte_prefetch0(&end->slots[(end->own + 2 * ESWITCH_RING_AHEAD) & end->mask]);
		int status = eswitch_ring_take_one(end, pool, fresh[used], &metas[count]);
		if (likely(status == 0))
			packets[count++] = fresh[used];
		else if (status == -ENOMEM)
			break;
		else
			rte_pktmbuf_free(fresh[used]);
	}
	if (unlikely(used < wanted))
		rte_pktmbuf_free_bulk(fresh + used, wanted - used);
	return count;
}

/* Takes up to max (at most 64) whole frames into new mbufs of pool, with what is said of them. What it returns is
 * published by the caller. Frames stay where they are while pool is empty. */
static inline unsigned eswitch_ring_take(struct eswitch_ring_end *end, struct rte_mempool *pool,
					 struct rte_mbuf **packets, struct eswitch_slot *metas, unsigned max)
{
	if (!eswitch_ring_look(end))
		return 0;
	unsigned wanted = RTE_MIN(RTE_MIN(max, 64u), eswitch_ring_ready(end));
	if (wanted == 0)
		return 0;
	uint32_t before = end->own;
	unsigned count = eswitch_ring_take_ready(end, pool, packets, metas, wanted);
	if (likely(end->own != before))
		return count;
	/* Buffers for one frame may be there, if not for all at once. */
	count = eswitch_ring_take_ready(end, pool, packets, metas, 1);
	end->no_buffer += end->own == before;
	return count;
}

/* Asks for the eventfd; true if there is work already (then it is not armed). */
static inline bool eswitch_ring_arm(struct eswitch_ring_end *end)
{
	atomic_store_explicit(&end->ring->wanted, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	if (!eswitch_ring_look(end) || eswitch_ring_ready(end) == 0)
		return false;
	atomic_store_explicit(&end->ring->wanted, 0, memory_order_relaxed);
	return true;
}

/* The caller empties the eventfd. */
static inline void eswitch_ring_disarm(struct eswitch_ring_end *end)
{
	atomic_store_explicit(&end->ring->wanted, 0, memory_order_relaxed);
}
