/* SPDX-License-Identifier: BSD-3-Clause */
/* Tunnel termination's common case, inlined into the packet path: VXLAN, or Geneve without options, over unfragmented
 * IPv4 or IPv6 without checksum to verify, mark to combine, padding to trim. Anything else is left to packet_decap().
 */
#pragma once

#include "device/packet/packet_priv.h"
#include "device/packet/path_config_priv.h"

enum { DECAP_HOT_BYTES = ETHER_BYTES + IPV6_BYTES + UDP_BYTES + TUNNEL_BYTES + ETHER_BYTES };

/* The IP header at frame + 14 is plain and leads UDP to us: its length, 0 otherwise. */
static inline uint32_t decap_ipv4_hot(const struct path_config *config, const uint8_t *ip, uint32_t length)
{
	if (unlikely(ip[0] != 0x45 || ip[1] & 1 || load_be16(ip + 2) != length || ip[9] != IPPROTO_UDP ||
		     load16(ip + 6) & RTE_BE16(IPV4_MF | IPV4_OFFSET) || !ipv4_sum_ok(ip) ||
		     !path_local_v4(config, ip + 16, 0)))
		return 0;
	return IPV4_BYTES;
}

static inline uint32_t decap_ipv6_hot(const struct path_config *config, const uint8_t *ip, uint32_t length)
{
	if (unlikely(ip[0] >> 4 != 6 || ip[1] & 0x10 || load_be16(ip + 4) + 40u != length || ip[6] != IPPROTO_UDP ||
		     !path_local_v6(config, ip + 24, 0)))
		return 0;
	return IPV6_BYTES;
}

static inline enum tunnel_kind decap_kind_hot(const uint8_t *udp)
{
	const uint8_t *tunnel = udp + UDP_BYTES;

	if (load16(udp + 2) == RTE_BE16(VXLAN_PORT))
		return tunnel[0] & 0x08 ? TUNNEL_VXLAN : TUNNEL_NONE;
	/* No version, options, control or critical bit; Ethernet inside. */
	if (load16(udp + 2) == RTE_BE16(GENEVE_PORT) &&
	    (load32(tunnel) & RTE_BE32(0xffc0ffff)) == RTE_BE32(RTE_ETHER_TYPE_TEB))
		return TUNNEL_GENEVE;
	return TUNNEL_NONE;
}

/* m has at least DECAP_HOT_BYTES in its first segment. Strips the outer headers, sets ret->outer_length and outer_tag
 * and returns the VPC's slot; or returns -1 and has changed nothing in the frame. */
static inline int packet_decap_hot(const struct path_config *config, struct rte_mbuf *m, struct packet_info *ret)
{
	const uint64_t requests = RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG;
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *), *ip = frame + ETHER_BYTES;
	uint32_t l3_length, length = m->pkt_len - ETHER_BYTES;

	if (unlikely(m->packet_type & RTE_PTYPE_TUNNEL_MASK || m->ol_flags & requests))
		return -1;
	uint16_t ether_type = load16(frame + 12);
	if (ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4))
		l3_length = decap_ipv4_hot(config, ip, length);
	else if (ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV6))
		l3_length = decap_ipv6_hot(config, ip, length);
	else
		return -1;
	const uint8_t *udp = ip + l3_length;
	enum tunnel_kind kind = decap_kind_hot(udp);
	if (unlikely(!l3_length || !kind || load_be16(udp + 4) + l3_length != length ||
		     (load16(udp + 6) != 0 &&
		      (m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) != RTE_MBUF_F_RX_L4_CKSUM_GOOD)))
		return -1;
	int vpc = path_vni_find(config, kind, rte_be_to_cpu_32(load32(udp + UDP_BYTES + 4)) >> 8);
	if (unlikely(vpc < 0))
		return -1;

	uint32_t stripped = ETHER_BYTES + l3_length + UDP_BYTES + TUNNEL_BYTES;
	bool v6 = l3_length == IPV6_BYTES;
	ret->outer_length = (uint16_t)stripped;
	ret->outer_tag = path_vtep_tag(config, ip + (v6 ? 8 : 12), v6);
	m->ol_flags &= ~(RTE_MBUF_F_RX_IP_CKSUM_MASK | RTE_MBUF_F_RX_L4_CKSUM_MASK);
	if (load16(udp + 6) != 0)
		m->ol_flags |= RTE_MBUF_F_RX_OUTER_L4_CKSUM_GOOD;
	m->packet_type = 0;
	m->data_off += (uint16_t)stripped;
	m->data_len -= (uint16_t)stripped;
	m->pkt_len -= stripped;
	return vpc;
}
