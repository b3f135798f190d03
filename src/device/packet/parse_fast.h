/* SPDX-License-Identifier: BSD-3-Clause */
/* The parser's common cases, inlined into the packet path: unfragmented, option-less IPv4 and IPv6 with TCP or UDP,
 * headers in the first segment. Anything else, faulty frames included, is left to packet_parse_slow().
 *
 * Of struct packet_info they fill in no more than a session hit needs: the key (of IPv4 only what is compared),
 * tcp_flags, and flags = PACKET_F_BARE. Whoever else wants to look at it runs packet_parse_slow(). */
#pragma once

#include "device/packet/packet_priv.h"

/* In packet_info.flags, inside the burst loop only: nothing but key and tcp_flags is known. */
static const uint32_t PACKET_F_BARE = UINT32_C(1) << 31;

enum {
	/* What must be in the first segment: up to the TCP header's fixed part. */
	PARSE_HOT_IPV4 = ETHER_BYTES + IPV4_BYTES + TCP_BYTES,
	PARSE_HOT_IPV6 = ETHER_BYTES + IPV6_BYTES + TCP_BYTES,
};

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

/* The upper-layer header at l4. room: bytes of the IP packet behind 20 of upper-layer header. Differences are compared
 * as unsigned numbers, so that too small and too large are one test. */
static inline bool parse_l4_hot(const uint8_t *l4, uint32_t room, uint16_t vpc, uint8_t key_flags, uint8_t proto,
				struct packet_info *ret)
{
	if (likely(proto == IPPROTO_TCP)) {
		if (unlikely((l4[12] >> 4) * 4u - TCP_BYTES > room))
			return false;
		ret->tcp_flags = l4[13];
		ret->key.rest = parse_key_rest(load32(l4), vpc, key_flags, IPPROTO_TCP);
		return true;
	}
	if (unlikely(proto != IPPROTO_UDP || load_be16(l4 + 4) - (uint32_t)UDP_BYTES > room + TCP_BYTES - UDP_BYTES))
		return false;
	ret->tcp_flags = 0;
	ret->key.rest = parse_key_rest(load32(l4), vpc, key_flags, IPPROTO_UDP);
	return true;
}

static inline bool parse_ipv4_hot(const struct rte_mbuf *m, const uint8_t *ip, uint16_t vpc, struct packet_info *ret)
{
	uint32_t room = load_be16(ip + 2) - (uint32_t)(IPV4_BYTES + TCP_BYTES);

	if (unlikely(ip[0] != 0x45 || m->data_len < PARSE_HOT_IPV4 || room > m->pkt_len - PARSE_HOT_IPV4 ||
		     load16(ip + 6) & RTE_BE16(IPV4_MF | IPV4_OFFSET) || !ipv4_sum_ok(ip)))
		return false;
	memcpy(&ret->key.v4, ip + 12, 8);
	return parse_l4_hot(ip + IPV4_BYTES, room, vpc, 0, ip[9], ret);
}

static inline bool parse_ipv6_hot(const struct rte_mbuf *m, const uint8_t *ip, uint16_t vpc, struct packet_info *ret)
{
	uint32_t room = load_be16(ip + 4) - (uint32_t)TCP_BYTES;

	if (unlikely(ip[0] >> 4 != 6 || m->data_len < PARSE_HOT_IPV6 || room > m->pkt_len - PARSE_HOT_IPV6 ||
		     room > UINT16_MAX - IPV6_BYTES - TCP_BYTES))
		return false;
	memcpy(&ret->key.v6, ip + 8, 32);
	return parse_l4_hot(ip + IPV6_BYTES, room, vpc, FLOW_KEY_F_V6, ip[6], ret);
}

/* False: nothing is known; ret may have been written to. frame: m's data. *families collects 1 for IPv4, 2 for IPv6. */
static inline bool packet_parse_hot(const struct rte_mbuf *m, const uint8_t *frame, uint16_t vpc,
				    struct packet_info *ret, unsigned *families)
{
	if (unlikely(m->data_len < ETHER_BYTES + IPV4_BYTES))
		return false;
	uint16_t ether_type = load16(frame + 12);
	ret->flags = PACKET_F_BARE;
	if (likely(ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4))) {
		*families |= 1;
		return parse_ipv4_hot(m, frame + ETHER_BYTES, vpc, ret);
	}
	*families |= 2;
	return ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV6) && parse_ipv6_hot(m, frame + ETHER_BYTES, vpc, ret);
}
