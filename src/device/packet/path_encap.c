/* SPDX-License-Identifier: BSD-3-Clause */
/* Encapsulation's rarer cases: offload requests under an outer header, frames without headroom. */
#include "device/packet/path_encap.h"
#include "device/packet/offload.h"
#include "device/packet/parse_fast.h"
#include "device/packet/segment.h"

enum { L2_LEN_MAX = 127 }; /* 7 bits */

/* Length of the inner IP header. */
static uint32_t l3_length(const struct packet_info *info)
{
	if (info->flags & PACKET_F_BARE)
		return flow_key_is_v6(&info->key) ? IPV6_BYTES : IPV4_BYTES;
	return info->l4_offset - info->l3_offset;
}

bool path_encap_can_request(struct rte_mbuf *m, uint32_t bytes)
{
	const uint64_t tunnel = RTE_MBUF_F_TX_TUNNEL_MASK | RTE_MBUF_F_TX_OUTER_IPV4 | RTE_MBUF_F_TX_OUTER_IPV6;

	if (likely(!(m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK)))
		return true;
	if (!(m->ol_flags & tunnel) && bytes + m->l2_len <= L2_LEN_MAX)
		return true;
	if (offload_segments(m) || packet_checksum(m) != DROP_NONE)
		return false;
	m->ol_flags &= ~RTE_MBUF_F_TX_OFFLOAD_MASK;
	return true;
}

void path_encap_offloads(struct rte_mbuf *m, const struct path_tunnel *tunnel, const struct packet_info *info)
{
	uint64_t flags = m->ol_flags;
	bool segment = flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG);
	uint64_t inner_l2 = m->l2_len;

	if (info || !(flags & PATH_ENCAP_REQUESTS))
		inner_l2 = ETHER_BYTES;
	if (info) {
		flags &= ~(RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6);
		flags |= flow_key_is_v6(&info->key) ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
		m->l3_len = l3_length(info) & 0x1ff;
	} else if (!(flags & PATH_ENCAP_REQUESTS)) {
		m->l3_len = m->l4_len = 0; /* an outer checksum alone: what is inside does not matter */
	}
	flags &= ~RTE_MBUF_F_TX_TUNNEL_MASK;
	flags |= tunnel->v6 ? RTE_MBUF_F_TX_OUTER_IPV6 : RTE_MBUF_F_TX_OUTER_IPV4;
	flags |= tunnel->kind == TUNNEL_GENEVE ? RTE_MBUF_F_TX_TUNNEL_GENEVE : RTE_MBUF_F_TX_TUNNEL_VXLAN;
	if (tunnel->udp_checksum)
		flags |= RTE_MBUF_F_TX_OUTER_UDP_CKSUM;
	/* Each segment has another length, so another checksum; otherwise it is filled in already. */
	if (segment && !tunnel->v6)
		flags |= RTE_MBUF_F_TX_OUTER_IP_CKSUM;
	m->ol_flags = flags;
	m->outer_l2_len = tunnel->l3_offset;
	m->outer_l3_len = tunnel->v6 ? IPV6_BYTES : IPV4_BYTES;
	m->l2_len = (UDP_BYTES + TUNNEL_BYTES + inner_l2) & L2_LEN_MAX;
}

struct rte_mbuf *path_encap_segment(struct rte_mbuf *m, uint32_t length)
{
	struct rte_mbuf *head = rte_pktmbuf_alloc(m->pool);

	if (!head || m->nb_segs == UINT16_MAX || head->buf_len < length) {
		rte_pktmbuf_free(head);
		rte_pktmbuf_free(m);
		return NULL;
	}
	head->data_off = head->buf_len;
	head->next = m;
	head->nb_segs = m->nb_segs + 1;
	head->pkt_len = m->pkt_len;
	head->port = m->port;
	head->ol_flags = m->ol_flags & ~(RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT);
	head->tx_offload = m->tx_offload;
	head->hash = m->hash;
	m->nb_segs = 1;
	return head;
}
