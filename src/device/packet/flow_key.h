/* SPDX-License-Identifier: BSD-3-Clause */
/* What identifies a flow: VPC, addresses, protocol, ports; its symmetric hash and its canonical direction. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <rte_byteorder.h>

enum flow_key_flags {
	FLOW_KEY_F_V6 = 1 << 0,
	FLOW_KEY_F_FRAGMENT = 1 << 1, /* a later fragment: ports hold the fragment id */
};

/* Ports by protocol, always as (source, destination) in wire order:
 *   TCP, UDP, SCTP, DCCP   the ports
 *   ICMP/ICMPv6 echo       requester has the identifier as its port, responder has type<<8 of the request
 *                          (request: id → 0x0800/0x8000, reply: 0x0800/0x8000 → id), so that a reply is the reverse
 *                          of its request and two hosts that ping each other have two sessions
 *   other ICMP             type<<8|code as destination, 0 as source
 *   later fragments        the identification (IPv6: all 32 bits; IPv4: in the destination half)
 *   ESP, AH, GRE, others   0, 0: one session per address pair
 * vpc is the VPC's slot, not the VNI. The last 8 bytes are compared and hashed as one word. */
struct flow_key {
	union {
		struct {
			rte_be32_t src, dst;
		} v4;
		struct {
			uint8_t src[16], dst[16];
		} v6;
	};
	union {
		struct {
			rte_be16_t src_port, dst_port;
			uint16_t vpc;
			uint8_t flags; /* enum flow_key_flags */
			uint8_t proto;
		};
		uint64_t rest;
	};
};

static inline bool flow_key_is_v6(const struct flow_key *key)
{
	return key->flags & FLOW_KEY_F_V6;
}

/* The key of the opposite direction of an untranslated flow. */
void flow_key_reverse(const struct flow_key *key, struct flow_key *ret);

/* Keyed and symmetric: a key and its reverse hash alike. seed is random per instance and kept with the sessions. */
uint32_t flow_key_hash(const struct flow_key *key, uint64_t seed);

/* 0 or 1: which of a session's two directions this key is. Reversal flips it, but for a flow from an endpoint to
 * itself, which has direction 0 only. */
unsigned flow_key_direction(const struct flow_key *key);

bool flow_key_equal(const struct flow_key *a, const struct flow_key *b);

/* "tcp 10.0.0.1:80 > 10.0.0.2:4242 vpc 3"; buf of FLOW_KEY_TEXT bytes, returned. */
enum { FLOW_KEY_TEXT = 160 };
const char *flow_key_format(const struct flow_key *key, char *buf);
