/* SPDX-License-Identifier: BSD-3-Clause */
/* Linearising and trimming: brings headers that straddle mbuf segments into the first one, cuts chains to length. */
#include "device/packet/packet_priv.h"

/* Room for length bytes behind m's data start, moving the data towards the buffer's start if need be. */
static bool make_room(struct rte_mbuf *m, uint32_t length)
{
	if (!RTE_MBUF_DIRECT(m) || rte_mbuf_refcnt_read(m) != 1 || length > m->buf_len)
		return false;
	if (m->data_off + length <= m->buf_len)
		return true;
	uint16_t data_off = (uint16_t)(m->buf_len - length);
	memmove((uint8_t *)m->buf_addr + data_off, rte_pktmbuf_mtod(m, void *), m->data_len);
	m->data_off = data_off;
	return true;
}

enum drop_reason packet_pull_slow(struct rte_mbuf *m, uint32_t length)
{
	if (length > m->pkt_len)
		return DROP_TRUNCATED;
	if (!make_room(m, length))
		return DROP_NO_BUFFER;
	while (m->data_len < length) {
		struct rte_mbuf *next = m->next;
		if (!next)
			return DROP_TRUNCATED; /* pkt_len lies */
		uint16_t part = (uint16_t)RTE_MIN((uint32_t)next->data_len, length - m->data_len);
		memcpy(packet_at(m, m->data_len), rte_pktmbuf_mtod(next, void *), part);
		m->data_len += part;
		next->data_off += part;
		next->data_len -= part;
		if (next->data_len == 0) {
			m->next = next->next;
			m->nb_segs--;
			next->next = NULL;
			next->nb_segs = 1;
			rte_pktmbuf_free_seg(next);
		}
	}
	return DROP_NONE;
}

void packet_trim(struct rte_mbuf *m, uint32_t length)
{
	struct rte_mbuf *last = m;
	uint32_t before = 0; /* bytes in the segments before last */

	if (length >= m->pkt_len)
		return;
	while (before + last->data_len < length && last->next) {
		before += last->data_len;
		last = last->next;
	}
	last->data_len = (uint16_t)RTE_MIN((uint32_t)last->data_len, length - before);
	m->pkt_len = length;
	if (!last->next)
		return;
	rte_pktmbuf_free(last->next);
	last->next = NULL;
	m->nb_segs = 1;
	for (const struct rte_mbuf *segment = m; segment != last; segment = segment->next)
		m->nb_segs++;
}
