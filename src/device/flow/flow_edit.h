/* SPDX-License-Identifier: BSD-3-Clause */
/* Set-field: changes to headers, checksums following by RFC 1624. A frame whose upper-layer checksum is only requested
 * holds the sum of its pseudo header there (virtio 1.2, 5.1.6.2), which follows addresses and nothing else. */
#pragma once

#include "device/flow/flow_priv.h"

#define FLOW_OUTER_REQUESTS (RTE_MBUF_F_TX_TUNNEL_MASK | RTE_MBUF_F_TX_OUTER_IPV4 | RTE_MBUF_F_TX_OUTER_IPV6)

/* Requests about a packet inside a tunnel say nothing of the outermost headers, which are those that rules change. */
static inline bool flow_checksum_is_partial(const struct rte_mbuf *m)
{
	uint64_t requests = RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG;

	return m->ol_flags & requests && !(m->ol_flags & FLOW_OUTER_REQUESTS);
}

/* The upper-layer checksum's place, or NULL: there is none, here or at all. */
static inline uint8_t *flow_l4_checksum(uint8_t *frame, const struct flow_layout *layout)
{
	uint8_t *l4 = frame + layout->l4;

	if (!layout->l4)
		return NULL;
	if (layout->proto == IPPROTO_TCP)
		return l4 + 16;
	if (layout->proto == IPPROTO_UDP)
		return load16(l4 + 6) ? l4 + 6 : NULL;
	return layout->proto == IPPROTO_ICMPV6 ? l4 + 2 : NULL;
}

/* sum: of what has come in, less what has gone, as a one's complement number. */
static inline void flow_l4_follow(const struct rte_mbuf *m, uint8_t *frame, const struct flow_layout *layout,
				  uint64_t sum, bool address)
{
	uint8_t *field = flow_l4_checksum(frame, layout);

	if (!field)
		return;
	if (unlikely(flow_checksum_is_partial(m))) {
		if (address)
			store16(field, fold16(sum + load16(field)));
		return;
	}
	uint16_t checksum = (uint16_t)~fold16(sum + (uint16_t)~load16(field));
	if (unlikely(checksum == 0) && layout->proto == IPPROTO_UDP)
		checksum = 0xffff;
	store16(field, checksum);
}

static inline void flow_ip4_follow(uint8_t *ip, uint64_t sum)
{
	store16(ip + 10, (uint16_t)~fold16(sum + (uint16_t)~load16(ip + 10)));
}

/* offset: 12 for the source, 16 for the destination. */
static inline void flow_set_ip4(const struct rte_mbuf *m, uint8_t *frame, const struct flow_layout *layout,
				unsigned offset, uint32_t address)
{
	uint8_t *ip = frame + layout->l3;
	uint64_t sum = (uint64_t)address + (uint32_t)~load32(ip + offset);

	store32(ip + offset, address);
	flow_ip4_follow(ip, sum);
	flow_l4_follow(m, frame, layout, sum, true);
}

/* offset: 8 or 24. */
static inline void flow_set_ip6(const struct rte_mbuf *m, uint8_t *frame, const struct flow_layout *layout,
				unsigned offset, const uint8_t *address)
{
	uint8_t *ip = frame + layout->l3;
	uint64_t sum = 0;

	for (unsigned i = 0; i < 16; i += 4)
		sum += (uint64_t)load32(address + i) + (uint32_t)~load32(ip + offset + i);
	memcpy(ip + offset, address, 16);
	/* The checksum is that of the last destination, RFC 8200 8.1. */
	if (offset == 8 || likely(!layout->routed))
		flow_l4_follow(m, frame, layout, sum, true);
}

/* A word of the IPv4 header, at an even offset, changes. */
static inline void flow_set_ip4_word(uint8_t *ip, unsigned offset, uint16_t word)
{
	uint64_t sum = (uint64_t)word + (uint16_t)~load16(ip + offset);

	store16(ip + offset, word);
	flow_ip4_follow(ip, sum);
}

static inline uint8_t flow_ttl(const uint8_t *frame, const struct flow_layout *layout)
{
	return frame[layout->l3 + (layout->family == FLOW_IPV6 ? 7 : 8)];
}

bool flow_has_tags(const struct flow_action *a, struct rte_mbuf *m);

/* Whether the frame has what the action works on; its bytes may move. */
static inline bool flow_has_needs(const struct flow_action *a, struct rte_mbuf *m, const struct flow_layout *layout)
{
	if ((a->needs & FLOW_NEED_L3 && !layout->l3) || (a->needs & FLOW_NEED_L4 && !layout->l4) ||
	    (a->needs & FLOW_NEED_TTL && flow_ttl(packet_at(m, 0), layout) <= 1))
		return false;
	return likely(!(a->needs & (FLOW_NEED_TAG | FLOW_NEED_TAGS))) || flow_has_tags(a, m);
}

static inline void flow_set_ttl(uint8_t *frame, const struct flow_layout *layout, uint8_t ttl)
{
	uint8_t *ip = frame + layout->l3;

	if (layout->family == FLOW_IPV6)
		ip[7] = ttl;
	else
		flow_set_ip4_word(ip, 8, rte_cpu_to_be_16((uint16_t)(ttl << 8 | ip[9])));
}

/* dscp in place, ECN stays. */
static inline void flow_set_dscp(uint8_t *frame, const struct flow_layout *layout, uint8_t dscp)
{
	uint8_t *ip = frame + layout->l3;

	if (layout->family == FLOW_IPV6)
		store_be16(ip, (uint16_t)((load_be16(ip) & 0xf03f) | dscp << 4));
	else
		flow_set_ip4_word(ip, 0, rte_cpu_to_be_16((uint16_t)(ip[0] << 8 | dscp | (ip[1] & 3))));
}

/* offset: 0 for the source, 2 for the destination. */
static inline void flow_set_tp(const struct rte_mbuf *m, uint8_t *frame, const struct flow_layout *layout,
			       unsigned offset, rte_be16_t port)
{
	uint8_t *l4 = frame + layout->l4;
	uint64_t sum = (uint64_t)port + (uint16_t)~load16(l4 + offset);

	store16(l4 + offset, port);
	flow_l4_follow(m, frame, layout, sum, false);
}
