/* SPDX-License-Identifier: BSD-3-Clause */
/* The parser's common cases, inlined into the packet path: unfragmented, option-less IPv4 and IPv6 unicast with TCP or
 * UDP, headers in the first segment. Anything else, faulty frames included, is left to packet_parse_slow().
 *
 * Only the first cache line of struct packet_info is written here; the rest would be zero. */
#pragma once

#include "device/packet/packet_priv.h"

enum drop_reason packet_parse_slow(struct rte_mbuf *m, uint16_t vpc, struct packet_info *ret);

/* flow_key's last word in one store: smaller ones would make the hash, which loads it, wait. */
static inline uint64_t parse_key_rest(uint32_t ports, uint16_t vpc, uint8_t flags, uint8_t proto)
{
#if RTE_BYTE_ORDER == RTE_LITTLE_ENDIAN
	return ports | (uint64_t)vpc << 32 | (uint64_t)flags << 48 | (uint64_t)proto << 56;
#else
	return (uint64_t)ports << 32 | (uint64_t)vpc << 16 | (uint64_t)flags << 8 | proto;
#endif
}

/* Fills in what depends on the TCP or UDP header at offset l4; false if it is not of the plain kind. end: of the IP
 * packet, from the start of the frame. */
static inline bool parse_l4_hot(const struct rte_mbuf *m, const uint8_t *frame, uint32_t l4, uint32_t end, uint16_t vpc,
				uint8_t key_flags, uint8_t proto, struct packet_info *ret)
{
	const uint8_t *header = frame + l4;
	uint32_t payload = l4 + UDP_BYTES;
	uint8_t tcp_flags = 0;

	if (proto == IPPROTO_TCP) {
		if (unlikely(l4 + TCP_BYTES > m->data_len))
			return false;
		payload = l4 + (header[12] >> 4) * 4;
		tcp_flags = header[13];
		if (unlikely(payload < l4 + TCP_BYTES || payload > m->data_len || payload > end))
			return false;
	} else {
		uint32_t length = load_be16(header + 4);
		uint16_t port = load_be16(header + 2);
		/* DHCP is looked at more closely. */
		if (unlikely(length < UDP_BYTES || l4 + length > end || port == DHCP_SERVER_PORT ||
			     port == DHCPV6_SERVER_PORT))
			return false;
	}
	ret->key.rest = parse_key_rest(load32(header), vpc, key_flags, proto);
	ret->l3_offset = ETHER_BYTES;
	ret->l4_offset = (uint16_t)l4;
	ret->payload_offset = (uint16_t)payload;
	ret->l3_length = (uint16_t)(end - ETHER_BYTES);
	ret->tcp_flags = tcp_flags;
	ret->proto = proto;
	return true;
}

static inline uint32_t parse_checksum_flag(const struct rte_mbuf *m)
{
	return unlikely((m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_BAD)
		       ? PACKET_F_L4_CSUM_BAD
		       : 0;
}

static inline bool parse_ipv4_hot(const struct rte_mbuf *m, const uint8_t *frame, uint16_t vpc, struct packet_info *ret)
{
	const uint8_t *ip = frame + ETHER_BYTES;
	uint32_t length = load_be16(ip + 2);
	uint8_t proto = ip[9];

	if (unlikely(ip[0] != 0x45 || load16(ip + 6) & RTE_BE16(IPV4_MF | IPV4_OFFSET) ||
		     (proto != IPPROTO_TCP && proto != IPPROTO_UDP) || length < IPV4_BYTES + UDP_BYTES ||
		     length + ETHER_BYTES > m->pkt_len || ip[16] >= 224 || !ipv4_sum_ok(ip)))
		return false;
	memset(&ret->key, 0, offsetof(struct flow_key, rest));
	memcpy(&ret->key.v4, ip + 12, 8);
	ret->flags = PACKET_F_IPV4 | PACKET_F_L4 | parse_checksum_flag(m);
	ret->ttl = ip[8];
	ret->tos = ip[1];
	ret->ether_type = RTE_ETHER_TYPE_IPV4;
	return parse_l4_hot(m, frame, ETHER_BYTES + IPV4_BYTES, ETHER_BYTES + length, vpc, 0, proto, ret);
}

static inline bool parse_ipv6_hot(const struct rte_mbuf *m, const uint8_t *frame, uint16_t vpc, struct packet_info *ret)
{
	const uint8_t *ip = frame + ETHER_BYTES;
	uint32_t length = IPV6_BYTES + load_be16(ip + 4);
	uint8_t proto = ip[6];

	if (unlikely(ip[0] >> 4 != 6 || (proto != IPPROTO_TCP && proto != IPPROTO_UDP) ||
		     m->data_len < ETHER_BYTES + IPV6_BYTES + UDP_BYTES || length < IPV6_BYTES + UDP_BYTES ||
		     length > UINT16_MAX || length + ETHER_BYTES > m->pkt_len || ip[24] == 0xff))
		return false;
	memcpy(&ret->key.v6, ip + 8, 32);
	ret->flags = PACKET_F_IPV6 | PACKET_F_L4 | parse_checksum_flag(m);
	ret->ttl = ip[7];
	ret->tos = (uint8_t)(load_be16(ip) >> 4);
	ret->ether_type = RTE_ETHER_TYPE_IPV6;
	return parse_l4_hot(m, frame, ETHER_BYTES + IPV6_BYTES, ETHER_BYTES + length, vpc, FLOW_KEY_F_V6, proto, ret);
}

/* False: nothing is known; ret may have been written to. */
static inline bool packet_parse_hot(const struct rte_mbuf *m, uint16_t vpc, struct packet_info *ret)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);

	if (unlikely(m->data_len < ETHER_BYTES + IPV4_BYTES + UDP_BYTES || frame[0] & 1))
		return false;
	uint16_t ether_type = load16(frame + 12);
	if (ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4))
		return parse_ipv4_hot(m, frame, vpc, ret);
	if (ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV6))
		return parse_ipv6_hot(m, frame, vpc, ret);
	return false;
}

/* What a plain packet has in the fields that packet_parse_hot() leaves out. */
static inline void packet_info_plain(struct packet_info *info)
{
	info->fragment_id = 0;
	info->fragment_offset = 0;
	info->more_fragments = false;
	info->icmp_type = 0;
	info->icmp_code = 0;
}
