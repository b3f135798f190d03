/* SPDX-License-Identifier: BSD-3-Clause */
/* How upper-layer headers become ports of a flow key; for the parser and for packets embedded in ICMP errors. */
#pragma once

#include <string.h>
#include "device/packet/packet_priv.h"

enum icmp_type {
	ICMP4_ECHO_REPLY = 0,
	ICMP4_UNREACHABLE = 3,
	ICMP4_SOURCE_QUENCH = 4,
	ICMP4_REDIRECT = 5,
	ICMP4_ECHO = 8,
	ICMP4_TIME_EXCEEDED = 11,
	ICMP4_PARAMETER = 12,
	ICMP6_ECHO = 128,
	ICMP6_ECHO_REPLY = 129,
	ND_FIRST = 133, /* router solicitation … */
	ND_LAST = 137,  /* … to redirect, RFC 4861 4 */
};

/* Sets key's ports from the first 8 bytes of an upper-layer header of key->proto, as flow_key.h defines them. */
static inline void flow_key_set_ports(struct flow_key *key, const uint8_t *l4)
{
	bool v6 = key->flags & FLOW_KEY_F_V6;
	uint8_t request = v6 ? ICMP6_ECHO : ICMP4_ECHO, reply = v6 ? ICMP6_ECHO_REPLY : ICMP4_ECHO_REPLY;

	switch (key->proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
		key->src_port = load16(l4);
		key->dst_port = load16(l4 + 2);
		return;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if ((key->proto == IPPROTO_ICMPV6) != v6)
			return;
		if (l4[0] == request) {
			key->src_port = load16(l4 + 4);
			key->dst_port = rte_cpu_to_be_16((uint16_t)(request << 8));
		} else if (l4[0] == reply) {
			key->src_port = rte_cpu_to_be_16((uint16_t)(request << 8));
			key->dst_port = load16(l4 + 4);
		} else {
			key->dst_port = load16(l4);
		}
		return;
	default:
		return;
	}
}
