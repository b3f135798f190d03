/* SPDX-License-Identifier: BSD-3-Clause */
/* Fields of common frames, inlined into the burst loop: at most one VLAN tag, unfragmented IPv4 without options or
 * IPv6 without extension headers, TCP or UDP. They are put together in registers: loads of whole words would wait for
 * smaller stores. */
#pragma once

#include "device/flow/flow_priv.h"

enum {
	FLOW_HOT_IPV4 = ETHER_BYTES + RTE_VLAN_HLEN + IPV4_BYTES + TCP_BYTES,
	FLOW_HOT_IPV6 = ETHER_BYTES + RTE_VLAN_HLEN + IPV6_BYTES + TCP_BYTES,
};

/* The upper layer, 20 bytes of which are in the first segment; room: bytes of the packet behind the IP header. */
static inline bool flow_l4_hot(const uint8_t *l4, uint32_t room, uint8_t proto, uint64_t family, uint64_t *ret_word)
{
	uint64_t flags = 0;

	if (likely(proto == IPPROTO_TCP && room >= TCP_BYTES))
		flags = load16(l4 + 12) & RTE_BE16(0x0fff);
	else if (unlikely(proto != IPPROTO_UDP || room < UDP_BYTES))
		return false;
	*ret_word = load32(l4) | flags << 32 | family << 48;
	return true;
}

static inline bool flow_ip4_hot(const struct rte_mbuf *m, const uint8_t *frame, uint32_t l3, uint64_t *w,
				struct flow_layout *layout)
{
	const uint8_t *ip = frame + l3;
	uint32_t length = load_be16(ip + 2);

	if (unlikely(m->data_len < FLOW_HOT_IPV4 || ip[0] != 0x45 || length < IPV4_BYTES || l3 + length > m->pkt_len ||
		     load16(ip + 6) & RTE_BE16(IPV4_MF | IPV4_OFFSET) ||
		     !flow_l4_hot(ip + IPV4_BYTES, length - IPV4_BYTES, ip[9], FLOW_IPV4, &w[3])))
		return false;
	w[0] |= (uint64_t)ip[9] << 24;
	w[2] |= (uint64_t)ip[1] << 48 | (uint64_t)ip[8] << 56;
	w[4] = load64(ip + 12);
	w[5] = w[6] = w[7] = 0;
	*layout = (struct flow_layout){ (uint16_t)l3, (uint16_t)(l3 + IPV4_BYTES), FLOW_IPV4, ip[9], false };
	return true;
}

static inline bool flow_ip6_hot(const struct rte_mbuf *m, const uint8_t *frame, uint32_t l3, uint64_t *w,
				struct flow_layout *layout)
{
	const uint8_t *ip = frame + l3;
	uint32_t length = load_be16(ip + 4);

	if (unlikely(m->data_len < FLOW_HOT_IPV6 || ip[0] >> 4 != 6 || l3 + IPV6_BYTES + length > m->pkt_len ||
		     !flow_l4_hot(ip + IPV6_BYTES, length, ip[6], FLOW_IPV6, &w[3])))
		return false;
	w[0] |= (uint64_t)ip[6] << 24;
	w[2] |= (uint64_t)(load_be16(ip) >> 4 & 0xff) << 48 | (uint64_t)ip[7] << 56;
	for (unsigned i = 0; i < 4; i++)
		w[4 + i] = load64(ip + 8 + 8 * i);
	*layout = (struct flow_layout){ (uint16_t)l3, (uint16_t)(l3 + IPV6_BYTES), FLOW_IPV6, ip[6], false };
	return true;
}

/* As flow_fields_read() does it, but for in_port, or false. */
static inline bool flow_fields_hot(const struct rte_mbuf *m, const uint8_t *frame, uint64_t w[FLOW_WORDS],
				   struct flow_layout *layout)
{
#if RTE_BYTE_ORDER != RTE_LITTLE_ENDIAN
	return false;
#endif
	if (unlikely(m->data_len < FLOW_HOT_IPV4))
		return false;
	uint16_t type = load16(frame + 12), inner = type;
	uint32_t l3 = ETHER_BYTES;
	w[0] = (uint64_t)load32(frame) << 32;
	w[1] = load64(frame + 4);
	w[2] = type;
	if (flow_is_vlan(type)) {
		inner = load16(frame + ETHER_BYTES + 2);
		w[0] |= (uint64_t)ESWITCH_FIELD_VLAN << 16;
		w[2] |= (uint64_t)(load16(frame + ETHER_BYTES) & RTE_BE16(0xefff)) << 16 | (uint64_t)inner << 32;
		l3 += RTE_VLAN_HLEN;
	}
	if (likely(inner == RTE_BE16(RTE_ETHER_TYPE_IPV4)))
		return flow_ip4_hot(m, frame, l3, w, layout);
	return inner == RTE_BE16(RTE_ETHER_TYPE_IPV6) && flow_ip6_hot(m, frame, l3, w, layout);
}

/* Of a key, all of whose words count. */
static inline uint32_t flow_hash(const uint64_t w[FLOW_WORDS], uint64_t s0, uint64_t s1)
{
	uint64_t a = flow_key_fold(w[0] ^ s0, w[1] ^ s1), b = flow_key_fold(w[2] ^ s1, w[3] ^ s0), c = w[4];

	if (w[5] | w[6] | w[7])
		c = flow_key_fold(w[4] ^ s0, w[5] ^ s1) ^ flow_key_fold(w[6] ^ s1 ^ a, w[7] ^ s0);
	uint64_t mix = flow_key_fold(a ^ c, b ^ s1);
	return (uint32_t)(mix ^ mix >> 32);
}

/* Of a five-tuple, for transmit queues and tunnels' source ports: the same for all frames of a flow. */
static inline uint32_t flow_tuple_hash(const uint64_t w[FLOW_WORDS], uint64_t s0, uint64_t s1)
{
	uint64_t mix = flow_key_fold(w[4] ^ s0, (w[3] & UINT32_MAX) ^ (w[0] & UINT64_C(0xff000000)) << 8 ^ s1);

	if (w[5] | w[6] | w[7])
		mix ^= flow_key_fold(w[5] ^ w[6] ^ s1, w[7] ^ s0);
	return (uint32_t)(mix ^ mix >> 32);
}
