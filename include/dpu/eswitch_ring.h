/* SPDX-License-Identifier: BSD-3-Clause */
/* The packet rings of eswitch_abi.h, for both sides: frames between mbufs and the slots of a ring.
 *
 * Each side keeps a struct eswitch_ring_end of its own for each ring, which holds all that it relies on; of the shared
 * ring it reads one counter and the slots, each once, and checks them. A peer that lies loses its frames: they are
 * counted in `faults`; one that moves its counter by more than there are slots breaks the ring, which then stands
 * still. One thread at a time uses an end.
 *
 *	producer: taken = eswitch_ring_put_burst(&end, packets, metas, count, &sent); eswitch_ring_free(packets, taken);
 *		  if (eswitch_ring_publish(&end)) write its eventfd;
 *	consumer: count = eswitch_ring_take(&end, pool, packets, metas, max); eswitch_ring_publish(&end);
 *
 * To sleep, a consumer calls eswitch_ring_arm(), waits for the eventfd unless there is work, then
 * eswitch_ring_disarm().
 *
 * Nearly all that a ring costs is the way of lines between two cores. A producer's stores wait for them in order, and
 * as many are under way at a time as the processor's store buffer has frames: so a frame is few stores, of whole lines
 *and whole slots, and nothing else is written between two frames. A consumer asks for lines before it reads them, but
 *never for such as are the producer's at that time. */
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
	struct eswitch_request *requests;
	uint8_t *buffers;
	uint32_t mask;      /* slots - 1 */
	uint32_t own;       /* the counter that this side moves: head of the producer, tail of the consumer */
	uint32_t published; /* … as the peer can see it */
	uint32_t peer;      /* the other counter, as last read and checked */
	bool producer;
	bool broken;        /* the peer's counter was impossible */
	uint64_t faults;    /* frames lost to slots that make no sense */
	uint64_t no_buffer; /* times that taking stopped for want of an mbuf; nothing is lost then */
	uint16_t port;      /* that mbufs which are taken have come from; set after init */
};

/* What is said of a frame. Of the whole of it, as the producer gives it and the consumer gets it: slot.length is the
 * frame's and there is no NEXT. */
struct eswitch_meta {
	struct eswitch_slot slot;
	struct eswitch_request request; /* means something with the flags that are requests */
};

enum {
	ESWITCH_LINE_BYTES = 64,
	ESWITCH_RING_AHEAD = 4,    /* frames between asking for lines and reading them */
	ESWITCH_ASKED_BYTES = 512, /* of a frame */
	ESWITCH_SLOTS_PER_LINE = ESWITCH_LINE_BYTES / sizeof(struct eswitch_slot),
	ESWITCH_PACKET_REQUESTS = ESWITCH_PACKET_CSUM | ESWITCH_PACKET_TSO4 | ESWITCH_PACKET_TSO6 | ESWITCH_PACKET_USO,
};

/* Bytes of a port region with so many rings of so many slots, and where things are in it. */
static inline uint64_t eswitch_region_slots_offset(uint32_t rings, uint32_t ring, uint32_t slots)
{
	uint64_t head = RTE_ALIGN_CEIL(sizeof(struct eswitch_port_region) + rings * sizeof(struct eswitch_ring),
				       (uint64_t)4096);

	return head + (uint64_t)ring * slots * (sizeof(struct eswitch_slot) + sizeof(struct eswitch_request));
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
		.requests = (struct eswitch_request *)(base + eswitch_region_slots_offset(rings, ring, slots) +
						       slots * sizeof(struct eswitch_slot)),
		.buffers = base + eswitch_region_buffers_offset(rings, ring, slots),
		.mask = slots - 1,
		.producer = producer,
		.port = RTE_MBUF_PORT_INVALID,
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

/* Copied by as few loads and stores as the processor has that is compiled for. */
typedef uint64_t eswitch_line __attribute__((vector_size(ESWITCH_LINE_BYTES), aligned(1), may_alias));

/* lines: both sides have room for whole lines. */
static __rte_always_inline void eswitch_ring_copy(uint8_t *to, const uint8_t *from, uint32_t length, bool lines)
{
	if (unlikely(!lines)) {
		memcpy(to, from, length);
		return;
	}
	for (uint32_t done = 0; done < length; done += ESWITCH_LINE_BYTES)
		*(eswitch_line *)(to + done) = *(const eswitch_line *)(from + done);
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

/* Metas are read as whole vectors, long after they were written. */
static __rte_always_inline void eswitch_ring_write_slot(struct eswitch_slot *slot, const struct eswitch_slot *meta,
							uint32_t length)
{
	typedef uint32_t words __attribute__((vector_size(16), aligned(4), may_alias));
	words value = *(const words *)(const void *)meta;

	value[0] = length;
	*(words *)(void *)slot = value;
}

/* The frame of a chain of mbufs over slots from own on; there is room. */
static inline void eswitch_ring_put_chain(struct eswitch_ring_end *end, const struct rte_mbuf *m,
					  const struct eswitch_meta *meta)
{
	uint32_t at = end->own, filled = 0;
	struct eswitch_slot slot = meta->slot;

	if (slot.flags & ESWITCH_PACKET_REQUESTS)
		end->requests[at & end->mask] = meta->request;

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

/* Puts a copy of the frame. 0, -ENOSPC when there is no room now, or -EMSGSIZE when there never is. */
static inline int eswitch_ring_put(struct eswitch_ring_end *end, const struct rte_mbuf *m,
				   const struct eswitch_meta *meta)
{
	uint32_t length = m->pkt_len;
	uint32_t wanted = (length + ESWITCH_BUFFER_BYTES - 1) / ESWITCH_BUFFER_BYTES;

	if (unlikely(length == 0 || length > ESWITCH_MAX_FRAME_BYTES || wanted > end->mask + 1))
		return -EMSGSIZE;
	if (eswitch_ring_room(end) < wanted && (!eswitch_ring_look(end) || eswitch_ring_room(end) < wanted))
		return -ENOSPC;
	eswitch_ring_put_chain(end, m, meta);
	return 0;
}

struct eswitch_ring_sent {
	unsigned packets, too_long; /* too_long: can never be put, or have no bytes */
	uint64_t bytes;             /* of packets */
};

/* Puts copies of count frames, with what is said of them (slot.length need not be). Returns how many, from the front,
 * it is done with; the others find no room now. Adds to *sent. */
static __rte_always_inline unsigned eswitch_ring_put_burst(struct eswitch_ring_end *end, struct rte_mbuf **packets,
							   const struct eswitch_meta *metas, unsigned count,
							   struct eswitch_ring_sent *sent)
{
	uint32_t own = end->own, room = eswitch_ring_room(end);
	unsigned done = 0, never = 0;
	uint64_t bytes = 0;

	if (room < count && eswitch_ring_look(end))
		room = eswitch_ring_room(end);
	for (; done < count; done++) {
		const struct rte_mbuf *m = packets[done];
		uint32_t length = m->pkt_len;
		if (likely(m->nb_segs == 1 && length - 1 < ESWITCH_BUFFER_BYTES && room > 0)) {
			bool lines =
				m->buf_len - m->data_off >= (int)RTE_ALIGN_CEIL(length, (uint32_t)ESWITCH_LINE_BYTES);
			eswitch_ring_copy(eswitch_ring_buffer(end, own), rte_pktmbuf_mtod(m, const uint8_t *), length,
					  lines);
			eswitch_ring_write_slot(&end->slots[own & end->mask], &metas[done].slot, length);
			if (unlikely(metas[done].slot.flags & ESWITCH_PACKET_REQUESTS))
				end->requests[own & end->mask] = metas[done].request;
			own++;
			room--;
			bytes += length;
			continue;
		}
		end->own = own;
		int status = eswitch_ring_put(end, m, &metas[done]);
		if (status == -ENOSPC)
			break;
		own = end->own;
		room = eswitch_ring_room(end);
		never += status != 0;
		bytes += status == 0 ? length : 0;
	}
	end->own = own;
	sent->packets += done - never;
	sent->too_long += never;
	sent->bytes += bytes;
	return done;
}

/* Frees what was put. Buffers that are as they came from one pool go back to it without a look at their second lines.
 */
static inline void eswitch_ring_free(struct rte_mbuf **packets, unsigned count)
{
	struct rte_mempool *pool = count ? packets[0]->pool : NULL;
	bool whole = true;

	for (unsigned i = 0; i < count; i++)
		whole &= (packets[i]->nb_segs == 1) & (rte_mbuf_refcnt_read(packets[i]) == 1) &
			 (packets[i]->pool == pool) &
			 !(packets[i]->ol_flags & (RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL));
	if (likely(whole && count > 0))
		rte_mempool_put_bulk(pool, (void **)packets, count);
	else
		rte_pktmbuf_free_bulk(packets, count);
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

/* What all mbufs of a pool begin with. */
struct eswitch_ring_fresh {
	uint64_t rearm; /* offset of the data, references, segments, port */
	uint64_t ol_flags;
	uint32_t room;
	uint16_t data_off;
};

static inline struct eswitch_ring_fresh eswitch_ring_fresh(struct rte_mempool *pool, uint16_t port)
{
	uint16_t room = rte_pktmbuf_data_room_size(pool), headroom = RTE_MIN(room, (uint16_t)RTE_PKTMBUF_HEADROOM);
	struct rte_mbuf m = { .data_off = headroom, .nb_segs = 1, .port = port };
	bool pinned = rte_pktmbuf_priv_flags(pool) & RTE_PKTMBUF_POOL_F_PINNED_EXT_BUF;
	struct eswitch_ring_fresh fresh = { .ol_flags = pinned ? RTE_MBUF_F_EXTERNAL : 0,
					    .room = (uint32_t)(room - headroom),
					    .data_off = headroom };

	rte_mbuf_refcnt_set(&m, 1);
	memcpy(&fresh.rearm, &m.rearm_data, sizeof(fresh.rearm));
	return fresh;
}

/* A buffer straight from its pool: whole, but with what its last user left in fields that mean something today. */
static __rte_always_inline void eswitch_ring_begin(struct rte_mbuf *m, const struct eswitch_ring_fresh *fresh,
						   uint32_t length)
{
	memcpy(&m->rearm_data, &fresh->rearm, sizeof(fresh->rearm));
	m->ol_flags = fresh->ol_flags;
	m->packet_type = 0;
	m->pkt_len = length;
	m->data_len = (uint16_t)length;
	m->vlan_tci = 0;
}

/* What was said of the frame at own, read once, for it to be checked. */
static __rte_always_inline void eswitch_ring_read_meta(const struct eswitch_ring_end *end, struct eswitch_meta *ret)
{
	memcpy(&ret->slot, &end->slots[end->own & end->mask], sizeof(ret->slot));
	if (unlikely(ret->slot.flags & ESWITCH_PACKET_REQUESTS))
		memcpy(&ret->request, &end->requests[end->own & end->mask], sizeof(ret->request));
	__asm__ volatile("" ::: "memory"); /* what is checked is what is used */
}

/* Takes the frame at own into m. Not 0: m is the caller's still, and perhaps longer; with -EBADMSG the frame has been
 * skipped, with -ENOMEM it is there still. */
static __rte_always_inline int eswitch_ring_take_one(struct eswitch_ring_end *end, struct rte_mempool *pool,
						     const struct eswitch_ring_fresh *fresh, struct rte_mbuf *m,
						     struct eswitch_meta *ret_meta)
{
	eswitch_ring_read_meta(end, ret_meta);
	uint32_t length = ret_meta->slot.length;

	if (likely(!(ret_meta->slot.flags & ESWITCH_PACKET_NEXT) && length - 1 < ESWITCH_BUFFER_BYTES &&
		   length <= fresh->room)) {
		bool lines = fresh->room >= RTE_ALIGN_CEIL(length, (uint32_t)ESWITCH_LINE_BYTES);
		eswitch_ring_begin(m, fresh, length);
		eswitch_ring_copy((uint8_t *)m->buf_addr + fresh->data_off, eswitch_ring_buffer(end, end->own), length,
				  lines);
		end->own++;
		return 0;
	}
	struct eswitch_ring_frame frame = eswitch_ring_measure(end);
	eswitch_ring_begin(m, fresh, 0);
	int status = eswitch_ring_take_chain(end, pool, m, &frame);
	end->faults += status == -EBADMSG;
	end->own += status == -ENOMEM ? 0 : frame.slots;
	ret_meta->slot.length = m->pkt_len;
	ret_meta->slot.flags &= ~(uint32_t)ESWITCH_PACKET_NEXT;
	return status;
}

/* Fetches a frame that is taken soon, as far as its slot says that it goes. */
static inline void eswitch_ring_fetch_frame(const struct eswitch_ring_end *end, uint32_t count)
{
	const volatile struct eswitch_slot *slot = &end->slots[count & end->mask];
	uint32_t length = RTE_MIN(slot->length, (uint32_t)ESWITCH_ASKED_BYTES);

	for (uint32_t at = 0; at < length; at += ESWITCH_LINE_BYTES)
		rte_prefetch0(eswitch_ring_buffer(end, count) + at);
}

/* Slots of so many frames, and the beginnings of the first of them: where those are is known without their slots. */
static inline void eswitch_ring_expect(const struct eswitch_ring_end *end, unsigned count)
{
	for (unsigned i = 0; i < RTE_MIN(count, 2u * ESWITCH_RING_AHEAD); i += ESWITCH_SLOTS_PER_LINE)
		rte_prefetch0(&end->slots[(end->own + i) & end->mask]);
	for (unsigned i = 0; i < RTE_MIN(count, (unsigned)ESWITCH_RING_AHEAD); i++)
		rte_prefetch0(eswitch_ring_buffer(end, end->own + i));
}

/* What lies ahead, as far as it is ready: the rest is the producer's. */
static inline void eswitch_ring_expect_more(const struct eswitch_ring_end *end)
{
	uint32_t ready = eswitch_ring_ready(end), slot = end->own + 2 * ESWITCH_RING_AHEAD;

	if (ready > 2 * ESWITCH_RING_AHEAD && slot % ESWITCH_SLOTS_PER_LINE == 0)
		rte_prefetch0(&end->slots[slot & end->mask]);
	if (ready > ESWITCH_RING_AHEAD)
		eswitch_ring_fetch_frame(end, end->own + ESWITCH_RING_AHEAD);
}

/* Up to wanted (at most 64) of the frames that are ready, as long as there are buffers. */
static __rte_always_inline unsigned eswitch_ring_take_ready(struct eswitch_ring_end *end, struct rte_mempool *pool,
							    struct rte_mbuf **packets, struct eswitch_meta *metas,
							    unsigned wanted)
{
	struct rte_mbuf *buffers[64];
	unsigned count = 0, used = 0;
	int status = 0;

	if (unlikely(rte_mempool_get_bulk(pool, (void **)buffers, wanted) != 0))
		return 0;
	const struct eswitch_ring_fresh fresh = eswitch_ring_fresh(pool, end->port);
	while (used < wanted && eswitch_ring_ready(end) > 0 && status != -ENOMEM) {
		struct rte_mbuf *m = buffers[used++];
		eswitch_ring_expect_more(end);
		status = eswitch_ring_take_one(end, pool, &fresh, m, &metas[count]);
		if (likely(status == 0))
			packets[count++] = m;
		else
			rte_pktmbuf_free(m);
	}
	if (unlikely(used < wanted))
		rte_mempool_put_bulk(pool, (void **)(buffers + used), wanted - used);
	return count;
}

static __rte_noinline __rte_unused unsigned eswitch_ring_take_scarce(struct eswitch_ring_end *end,
								     struct rte_mempool *pool,
								     struct rte_mbuf **packets,
								     struct eswitch_meta *metas)
{
	return eswitch_ring_take_ready(end, pool, packets, metas, 1);
}

/* Takes up to max (at most 64) whole frames into new mbufs of pool, with what is said of them. What it returns is
 * published by the caller. Frames stay where they are while pool is empty. */
static __rte_always_inline unsigned eswitch_ring_take(struct eswitch_ring_end *end, struct rte_mempool *pool,
						      struct rte_mbuf **packets, struct eswitch_meta *metas,
						      unsigned max)
{
	if (!eswitch_ring_look(end))
		return 0;
	unsigned wanted = RTE_MIN(RTE_MIN(max, 64u), eswitch_ring_ready(end));
	if (wanted == 0)
		return 0;
	eswitch_ring_expect(end, eswitch_ring_ready(end));
	uint32_t before = end->own;
	unsigned count = eswitch_ring_take_ready(end, pool, packets, metas, wanted);
	if (likely(end->own != before))
		return count;
	/* Buffers for one frame may be there, if not for all at once. */
	count = eswitch_ring_take_scarce(end, pool, packets, metas);
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
