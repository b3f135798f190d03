/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying parts of an mbuf chain into frames of our own. */
#include "device/packet/chain.h"

struct rte_mbuf *chain_new(const struct rte_mbuf *m, struct rte_mempool *pool)
{
	struct rte_mbuf *copy = rte_pktmbuf_alloc(pool);

	if (!copy)
		return NULL;
	copy->port = m->port;
	copy->ol_flags = m->ol_flags & ~(RTE_MBUF_F_TX_OFFLOAD_MASK | RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT);
	copy->packet_type = m->packet_type;
	copy->vlan_tci = m->vlan_tci;
	copy->hash = m->hash;
	return copy;
}

/* The last segment, with room for at least one byte; a new one if need be. */
static struct rte_mbuf *grow(struct rte_mbuf *to, struct rte_mbuf *last, struct rte_mempool *pool)
{
	if (rte_pktmbuf_tailroom(last) > 0)
		return last;
	struct rte_mbuf *next = rte_pktmbuf_alloc(pool);
	if (!next)
		return NULL;
	next->data_off = 0;
	if (next->buf_len == 0 || to->nb_segs == UINT16_MAX) {
		rte_pktmbuf_free_seg(next);
		return NULL;
	}
	last->next = next;
	to->nb_segs++;
	return next;
}

enum drop_reason chain_append(struct rte_mbuf *to, struct rte_mempool *pool, struct chain_reader *reader,
			      uint32_t length, uint64_t *sum)
{
	struct rte_mbuf *last = rte_pktmbuf_lastseg(to);
	bool odd = false;

	while (length > 0) {
		*reader = chain_at(reader->m, reader->offset);
		if (!reader->m)
			return DROP_SEGMENTATION;
		last = grow(to, last, pool);
		if (!last)
			return DROP_NO_BUFFER;
		uint32_t part = RTE_MIN(length, reader->m->data_len - reader->offset);
		part = RTE_MIN(part, (uint32_t)rte_pktmbuf_tailroom(last));
		uint8_t *copy = packet_at(last, last->data_len);
		memcpy(copy, packet_at(reader->m, reader->offset), part);
		if (sum) {
			uint16_t value = fold16(checksum_bytes(copy, part));
			*sum += odd ? rte_bswap16(value) : value; /* RFC 1071 2(B) */
			odd ^= part & 1;
		}
		last->data_len += (uint16_t)part;
		to->pkt_len += part;
		reader->offset += part;
		length -= part;
	}
	return DROP_NONE;
}
