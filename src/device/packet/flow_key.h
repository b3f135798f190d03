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

/* ---- hash and direction ----
 * The two endpoints (address, port) are put in canonical order first, so that both directions of a flow hash alike;
 * which one came first is the direction. Then two (IPv6: four) folded 64x64→128-bit multiplications with secret keys
 * mix everything: whoever does not know the seed cannot choose flows that collide.
 *
 * Users of the 32 bits: the top 4 pick the slot of a path, the low 28 the bucket of a session table. */

static inline uint64_t flow_key_load64(const void *p)
{
	uint64_t word;
	memcpy(&word, p, sizeof(word));
	return word;
}

static inline uint64_t flow_key_fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Derived from the seed; loops over a burst compute them once. Constants: fractional digits of e, odd. */
static inline uint64_t flow_key_secret(uint64_t seed, unsigned n)
{
	static const uint64_t salt[4] = {
		UINT64_C(0xb7e151628aed2a6b),
		UINT64_C(0xbf7158809cf4f3c7),
		UINT64_C(0x62e7160f38b4da57),
		UINT64_C(0xa784d9045190cfef),
	};
	return n & 1 ? flow_key_fold(seed ^ salt[n], salt[n]) : seed ^ salt[n];
}

static inline uint32_t flow_key_hash_v4(const struct flow_key *key, uint64_t seed, unsigned *ret_direction)
{
	uint64_t addresses = flow_key_load64(&key->v4);
	uint64_t src = (addresses & UINT32_MAX) | (key->rest & 0xffff) << 32;
	uint64_t dst = addresses >> 32 | (key->rest >> 16 & 0xffff) << 32;
	uint64_t low = src < dst ? src : dst;
	uint64_t high = src < dst ? dst : src;

	*ret_direction = src > dst;
	low |= (key->rest >> 32 & 0xffff) << 48; /* vpc */
	high |= key->rest >> 48 << 48;           /* flags, proto */
	uint64_t mix = flow_key_fold(low ^ flow_key_secret(seed, 0), high ^ flow_key_secret(seed, 1));
	return (uint32_t)flow_key_fold(mix, flow_key_secret(seed, 3));
}

static inline uint32_t flow_key_hash_v6(const struct flow_key *key, uint64_t seed, unsigned *ret_direction)
{
	uint64_t src[2] = { flow_key_load64(key->v6.src), flow_key_load64(key->v6.src + 8) };
	uint64_t dst[2] = { flow_key_load64(key->v6.dst), flow_key_load64(key->v6.dst + 8) };
	uint64_t ports = key->rest & UINT32_MAX;
	uint64_t swapped = ports >> 16 | (ports & 0xffff) << 16;
	/* Without branches, for directions are as good as random: all ones if the source is the higher endpoint. */
	uint64_t above =
		(src[1] > dst[1]) |
		((src[1] == dst[1]) & ((src[0] > dst[0]) | ((src[0] == dst[0]) & ((ports & 0xffff) > ports >> 16))));
	uint64_t swap = -above;
	uint64_t x0 = (src[0] ^ dst[0]) & swap, x1 = (src[1] ^ dst[1]) & swap;

	*ret_direction = above;
	uint64_t low0 = src[0] ^ x0, low1 = src[1] ^ x1, high0 = dst[0] ^ x0, high1 = dst[1] ^ x1;
	uint64_t rest = key->rest ^ ((ports ^ swapped) & swap);
	uint64_t low = flow_key_fold(low0 ^ flow_key_secret(seed, 0), low1 ^ flow_key_secret(seed, 1));
	uint64_t high = flow_key_fold(high0 ^ flow_key_secret(seed, 2), high1 ^ flow_key_secret(seed, 3));
	uint64_t mix = flow_key_fold(low ^ rest, high ^ flow_key_secret(seed, 1));
	return (uint32_t)flow_key_fold(mix, flow_key_secret(seed, 3));
}

/* Both at once, as the packet path wants them. */
static inline uint32_t flow_key_hash_direction(const struct flow_key *key, uint64_t seed, unsigned *ret_direction)
{
	return flow_key_is_v6(key) ? flow_key_hash_v6(key, seed, ret_direction)
				   : flow_key_hash_v4(key, seed, ret_direction);
}

/* Keyed and symmetric: a key and its reverse hash alike. seed is random per instance and kept with the sessions. */
static inline uint32_t flow_key_hash(const struct flow_key *key, uint64_t seed)
{
	unsigned direction;
	return flow_key_hash_direction(key, seed, &direction);
}

/* 0 or 1: which of a session's two directions this key is. Reversal flips it, but for a flow from an endpoint to
 * itself, which has direction 0 only. Independent of the seed. */
static inline unsigned flow_key_direction(const struct flow_key *key)
{
	unsigned direction;
	flow_key_hash_direction(key, 0, &direction);
	return direction;
}

static inline bool flow_key_equal(const struct flow_key *a, const struct flow_key *b)
{
	if (a->rest != b->rest)
		return false;
	return memcmp(a, b, flow_key_is_v6(a) ? sizeof(a->v6) : sizeof(a->v4)) == 0;
}

/* The key of the opposite direction of an untranslated flow. ret may be key. */
static inline void flow_key_reverse(const struct flow_key *key, struct flow_key *ret)
{
	uint64_t rest = key->rest, ports = rest & UINT32_MAX;

	if (flow_key_is_v6(key)) {
		uint8_t src[sizeof(key->v6.src)];
		memcpy(src, key->v6.src, sizeof(src));
		memmove(ret->v6.src, key->v6.dst, sizeof(src));
		memcpy(ret->v6.dst, src, sizeof(src));
	} else {
		rte_be32_t src = key->v4.src;
		ret->v4.src = key->v4.dst;
		ret->v4.dst = src;
	}
	ret->rest = (rest & ~(uint64_t)UINT32_MAX) | ports >> 16 | (ports & 0xffff) << 16;
}

/* "tcp 10.0.0.1:80 > 10.0.0.2:4242 vpc 3"; buf of FLOW_KEY_TEXT bytes, returned. */
enum { FLOW_KEY_TEXT = 192 };
const char *flow_key_format(const struct flow_key *key, char *buf);
