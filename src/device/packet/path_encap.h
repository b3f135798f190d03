/* SPDX-License-Identifier: BSD-3-Clause */
/* Encapsulation: a tunnel record's template in front of a frame, with everything filled in that differs per packet. */
#pragma once

#include "device/packet/packet_priv.h"
#include "device/packet/path.h"

enum {
	TUNNEL_PORT_MIN = 49152, /* RFC 7348 5 */
	TUNNEL_PORT_MASK = 0x3fff,
};

/* What encapsulation has to know of the inner frame. */
struct encap_inner {
	uint32_t hash;
	uint8_t tos;
	bool v6;
};

/* Offload requests, and that for the outer UDP checksum, put in terms of the frame with its outer header. info: of the
 * inner frame, a session's; NULL if nobody has parsed it. */
#define PATH_ENCAP_REQUESTS                                                                                            \
	(RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG | RTE_MBUF_F_TX_IP_CKSUM)
void path_encap_offloads(struct rte_mbuf *m, const struct path_tunnel *tunnel, const struct packet_info *info);
/* To be asked first: mbufs have words for one tunnel, and for 127 bytes from its UDP header to the inner IP header,
 * `bytes` of which are to come. Checksums that they cannot name then are filled in now. False, and the frame cannot be
 * tunnelled, if that fails or it is to be segmented. */
bool path_encap_can_request(struct rte_mbuf *m, uint32_t bytes);
/* A frame without headroom: returns it behind a new first segment with room for length bytes, or NULL (m is freed). */
struct rte_mbuf *path_encap_segment(struct rte_mbuf *m, uint32_t length);

static __rte_always_inline void encap_copy(uint8_t *to, const uint8_t *from, uint32_t length)
{
	/* 32..64 bytes, as nearly always: two overlapping halves. */
	if (likely(length >= 32 && length <= 64)) {
		memcpy(to, from, 32);
		memcpy(to + length - 32, from + length - 32, 32);
	} else {
		memcpy(to, from, length);
	}
}

/* checksum: of the template, over its zero length and TOS. */
static __rte_always_inline void encap_ipv4(uint8_t *ip, uint16_t checksum, uint32_t length, uint8_t tos)
{
	uint16_t total = rte_cpu_to_be_16((uint16_t)length), service = rte_cpu_to_be_16(tos);
	uint32_t sum = (uint16_t)~checksum + (uint32_t)total + service;

	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	ip[1] = tos;
	store16(ip + 2, total);
	store16(ip + 10, (uint16_t)~sum);
}

static __rte_always_inline void encap_ipv6(uint8_t *ip, uint32_t length, uint8_t tos, uint32_t hash)
{
	store32(ip, rte_cpu_to_be_32(UINT32_C(6) << 28 | (uint32_t)tos << 20 | (hash & 0xfffff)));
	store_be16(ip + 4, (uint16_t)(length - IPV6_BYTES));
}

/* m's frame (which starts at inner_frame), tunnelled; NULL if there was no buffer (m is freed). Lengths beyond 64 KiB,
 * of TSO frames, are cut off: segmentation sets them again. path_encap_offloads() is yet to be called. */
static __rte_always_inline struct rte_mbuf *path_encap(struct rte_mbuf *m, uint8_t *inner_frame,
						       const struct path_tunnel *tunnel, uint32_t vni,
						       struct encap_inner inner)
{
	uint32_t length = tunnel->length, ip_offset = tunnel->l3_offset;
	uint8_t *udp = inner_frame - TUNNEL_BYTES - UDP_BYTES, *ip = inner_frame - length + ip_offset;

	if (unlikely(m->data_off < length)) {
		m = path_encap_segment(m, length);
		if (!m)
			return NULL;
		ip = (uint8_t *)packet_at(m, 0) - length + ip_offset;
		udp = ip + (tunnel->v6 ? IPV6_BYTES : IPV4_BYTES);
	}
	uint32_t udp_length = m->pkt_len + TUNNEL_BYTES + UDP_BYTES;
	m->data_off -= (uint16_t)length;
	m->data_len += (uint16_t)length;
	m->pkt_len += length;
	encap_copy(ip - ip_offset, tunnel->header, length);
	if (likely(!tunnel->v6))
		encap_ipv4(ip, load16(tunnel->header + ip_offset + 10), m->pkt_len - ip_offset, inner.tos);
	else
		encap_ipv6(ip, m->pkt_len - ip_offset, inner.tos, inner.hash);
	store_be16(udp, (uint16_t)(TUNNEL_PORT_MIN | (inner.hash & TUNNEL_PORT_MASK)));
	store_be16(udp + 4, (uint16_t)udp_length);
	store32(udp + UDP_BYTES + 4, rte_cpu_to_be_32(vni << 8));
	return m;
}
