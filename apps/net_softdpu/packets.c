/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames of a port: up from dpud, and down to it. */
#include "driver.h"

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

static void describe(struct rte_mbuf *m, const struct eswitch_slot *meta, uint16_t dpdk_port)
{
	m->port = dpdk_port;
	if (meta->hash) {
		m->hash.rss = meta->hash;
		m->ol_flags |= RTE_MBUF_F_RX_RSS_HASH;
	}
	if (meta->flags & ESWITCH_PACKET_MARK) {
		m->hash.fdir.hi = meta->mark;
		m->ol_flags |= RTE_MBUF_F_RX_FDIR | RTE_MBUF_F_RX_FDIR_ID;
	}
	if (meta->flags & ESWITCH_PACKET_CSUM_GOOD)
		m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	else if (meta->flags & ESWITCH_PACKET_CSUM) /* partial, and nothing has happened to it */
		m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
	if (meta->flags & (ESWITCH_PACKET_TSO4 | ESWITCH_PACKET_TSO6)) {
		m->ol_flags |= RTE_MBUF_F_RX_LRO;
		m->tso_segsz = meta->gso_bytes;
	}
}

uint16_t driver_rx_burst(void *arg, struct rte_mbuf **packets, uint16_t count)
{
	struct eswitch_slot metas[DRIVER_BURST];
	struct driver_queue *queue = arg;
	unsigned taken, wanted = RTE_MIN(count, (uint16_t)DRIVER_BURST);

	keep_up(queue, true);
	taken = eswitch_ring_take(&queue->end, queue->pool, packets, metas, wanted);
	eswitch_ring_publish(&queue->end);
	for (unsigned i = 0; i < taken; i++) {
		describe(packets[i], &metas[i], queue->port->in_hub.dpdk_port);
		queue->bytes += packets[i]->pkt_len;
	}
	queue->packets += taken;
	return (uint16_t)taken;
}

/* ---- down ---- */

static uint32_t l4_offset(const struct rte_mbuf *m)
{
	return (m->ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK ? m->outer_l2_len + m->outer_l3_len : 0) + m->l2_len +
	       m->l3_len;
}

static void request(const struct rte_mbuf *m, struct eswitch_slot *meta)
{
	uint64_t l4 = m->ol_flags & RTE_MBUF_F_TX_L4_MASK;
	bool segment = m->ol_flags & RTE_MBUF_F_TX_TCP_SEG;

	if (!segment && l4 != RTE_MBUF_F_TX_TCP_CKSUM && l4 != RTE_MBUF_F_TX_UDP_CKSUM)
		return;
	meta->flags = ESWITCH_PACKET_CSUM;
	meta->csum_start = (uint16_t)l4_offset(m);
	meta->csum_offset = segment || l4 == RTE_MBUF_F_TX_TCP_CKSUM ? 16 : 6;
	if (!segment)
		return;
	meta->flags |= m->ol_flags & RTE_MBUF_F_TX_IPV6 ? ESWITCH_PACKET_TSO6 : ESWITCH_PACKET_TSO4;
	meta->gso_bytes = m->tso_segsz;
	meta->header_bytes = (uint16_t)(l4_offset(m) + m->l4_len);
}

uint16_t driver_tx_burst(void *arg, struct rte_mbuf **packets, uint16_t count)
{
	struct driver_queue *queue = arg;
	const uint64_t one = 1;
	uint16_t taken = 0;

	keep_up(queue, false);
	for (; taken < count; taken++) {
		const struct rte_mbuf *m = packets[taken];
		struct eswitch_slot meta = { 0 };
		if (m->ol_flags & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG))
			request(m, &meta);
		int status = eswitch_ring_put(&queue->end, m, &meta);
		if (status == -ENOSPC)
			break;
		queue->packets += status == 0;
		queue->bytes += status == 0 ? m->pkt_len : 0;
		queue->dropped += status != 0;
	}
	rte_pktmbuf_free_bulk(packets, taken);
	if (eswitch_ring_publish(&queue->end) && write(queue->wake_fd, &one, sizeof(one)) < 0)
		return taken; /* the counter is full: it is readable */
	return taken;
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
