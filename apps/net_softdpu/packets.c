/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames of a port: up from dpud, and down to it. */
#include "driver.h"

#include "base/multiversion.h"

#include <unistd.h>
#include <rte_ip.h>
#include <rte_net.h>

const uint64_t driver_rx_offloads = RTE_ETH_RX_OFFLOAD_SCATTER | RTE_ETH_RX_OFFLOAD_UDP_CKSUM |
				    RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_LRO;
const uint64_t driver_tx_offloads = RTE_ETH_TX_OFFLOAD_MULTI_SEGS | RTE_ETH_TX_OFFLOAD_IPV4_CKSUM |
				    RTE_ETH_TX_OFFLOAD_UDP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM |
				    RTE_ETH_TX_OFFLOAD_TCP_TSO;

static inline void keep_up(struct driver_queue *queue, bool rx)
{
	if (unlikely(atomic_load_explicit(&queue->port->rings.turn, memory_order_acquire) != queue->place.turn))
		driver_queue_move(queue, rx);
}

/* ---- up ---- */

static inline void describe(struct rte_mbuf *m, const struct eswitch_meta *meta)
{
	uint32_t flags = meta->slot.flags;

	if (meta->slot.hash) {
		m->hash.rss = meta->slot.hash;
		m->ol_flags |= RTE_MBUF_F_RX_RSS_HASH;
	}
	if (likely(flags == 0))
		return;
	if (flags & ESWITCH_PACKET_MARK) {
		m->hash.fdir.hi = meta->slot.mark;
		m->ol_flags |= RTE_MBUF_F_RX_FDIR | RTE_MBUF_F_RX_FDIR_ID;
	}
	if (flags & ESWITCH_PACKET_CSUM_GOOD)
		m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	else if (flags & ESWITCH_PACKET_CSUM) /* partial, and nothing has happened to it */
		m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
	if (flags & (ESWITCH_PACKET_TSO4 | ESWITCH_PACKET_TSO6)) {
		m->ol_flags |= RTE_MBUF_F_RX_LRO;
		m->tso_segsz = meta->request.gso_bytes;
	}
}

MULTIVERSION_LINES uint16_t driver_rx_burst(void *arg, struct rte_mbuf **packets, uint16_t count)
{
	struct eswitch_meta metas[DRIVER_BURST];
	struct driver_queue *queue = arg;
	unsigned taken, wanted = RTE_MIN(count, (uint16_t)DRIVER_BURST);
	uint64_t bytes = 0;

	keep_up(queue, true);
	taken = eswitch_ring_take(&queue->end, queue->pool, packets, metas, wanted);
	if (queue->end.own == queue->end.published)
		return 0;
	eswitch_ring_publish(&queue->end);
	for (unsigned i = 0; i < taken; i++) {
		describe(packets[i], &metas[i]);
		bytes += packets[i]->pkt_len;
	}
	queue->packets += taken;
	queue->bytes += bytes;
	return (uint16_t)taken;
}

/* ---- down ---- */

static uint32_t l4_offset(const struct rte_mbuf *m)
{
	return (m->ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK ? m->outer_l2_len + m->outer_l3_len : 0) + m->l2_len +
	       m->l3_len;
}

static __rte_noinline void request(const struct rte_mbuf *m, struct eswitch_meta *meta)
{
	uint64_t l4 = m->ol_flags & RTE_MBUF_F_TX_L4_MASK;
	bool segment = m->ol_flags & RTE_MBUF_F_TX_TCP_SEG;

	if (!segment && l4 != RTE_MBUF_F_TX_TCP_CKSUM && l4 != RTE_MBUF_F_TX_UDP_CKSUM)
		return;
	meta->slot.flags = ESWITCH_PACKET_CSUM;
	meta->request = (struct eswitch_request){ .csum_start = (uint16_t)l4_offset(m) };
	meta->request.csum_offset = segment || l4 == RTE_MBUF_F_TX_TCP_CKSUM ? 16 : 6;
	if (!segment)
		return;
	meta->slot.flags |= m->ol_flags & RTE_MBUF_F_TX_IPV6 ? ESWITCH_PACKET_TSO6 : ESWITCH_PACKET_TSO4;
	meta->request.gso_bytes = m->tso_segsz;
	meta->request.header_bytes = (uint16_t)(l4_offset(m) + m->l4_len);
}

static __rte_always_inline unsigned give(struct driver_queue *queue, struct rte_mbuf **packets, unsigned count,
					 struct eswitch_ring_sent *sent)
{
	struct eswitch_meta metas[DRIVER_BURST];

	for (unsigned i = 0; i < count; i++) {
		metas[i].slot = (struct eswitch_slot){ 0 };
		if (unlikely(packets[i]->ol_flags & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG)))
			request(packets[i], &metas[i]);
	}
	unsigned taken = eswitch_ring_put_burst(&queue->end, packets, metas, count, sent);
	eswitch_ring_free(packets, taken);
	return taken;
}

MULTIVERSION_LINES uint16_t driver_tx_burst(void *arg, struct rte_mbuf **packets, uint16_t count)
{
	struct driver_queue *queue = arg;
	struct eswitch_ring_sent sent = { 0 };
	const uint64_t one = 1;
	unsigned taken = 0, part, now;

	keep_up(queue, false);
	do {
		part = RTE_MIN(count - taken, (unsigned)DRIVER_BURST);
		now = give(queue, packets + taken, part, &sent);
		taken += now;
	} while (now == part && taken < count);
	queue->packets += sent.packets;
	queue->bytes += sent.bytes;
	queue->dropped += sent.too_long;
	if (eswitch_ring_publish(&queue->end) && write(queue->wake_fd, &one, sizeof(one)) < 0)
		return (uint16_t)taken; /* the counter is full: it is readable */
	return (uint16_t)taken;
}

/* The sums that dpud expects to find: of IPv4 headers the whole, of TCP and UDP the pseudo header's. */
uint16_t driver_tx_prepare(void *queue, struct rte_mbuf **packets, uint16_t count)
{
	for (uint16_t i = 0; i < count; i++) {
		struct rte_mbuf *m = packets[i];
		if (!(m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK))
			continue;
		if (m->ol_flags & (RTE_MBUF_F_TX_OUTER_IP_CKSUM | RTE_MBUF_F_TX_OUTER_UDP_CKSUM |
				   RTE_MBUF_F_TX_UDP_SEG | RTE_MBUF_F_TX_SEC_OFFLOAD)) {
			rte_errno = ENOTSUP;
			return i;
		}
		int status = rte_net_intel_cksum_prepare(m);
		if (status != 0) {
			rte_errno = -status;
			return i;
		}
		if (!(m->ol_flags & RTE_MBUF_F_TX_IP_CKSUM))
			continue;
		struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(m, struct rte_ipv4_hdr *, l4_offset(m) - m->l3_len);
		ip->hdr_checksum = 0;
		ip->hdr_checksum = rte_ipv4_cksum(ip);
	}
	return count;
}
