/* SPDX-License-Identifier: BSD-3-Clause */
/* The compiled action of a session, applied to one packet; inlined into the burst loop. path_admit() finds out whether
 * the packet can take it and changes nothing; path_rewrite() cannot fail. */
#pragma once

#include "device/packet/parse_fast.h"
#include "device/packet/path_encap.h"
#include "device/packet/path_priv.h"

/* path_forward.c: the packet is larger than the MTU; trims padding, shortens TSO segments, or says what to do. */
unsigned path_large(struct rte_mbuf *m, const struct packet_info *info, uint16_t mtu);
/* path_forward.c: TCP that opens, closes or is not established; returns as path_admit(). */
unsigned path_track(struct path *path, const struct packet_info *info, struct session_dir *dir, unsigned direction);

static inline struct session *session_of(struct session_dir *dir, unsigned direction)
{
	return (struct session *)(dir - direction);
}

static inline const struct path_tunnel *path_tunnel(const struct path *path, uint32_t index)
{
	return likely(index < PATH_MAX_TUNNELS)
		       ? atomic_load_explicit(&path->config->tunnels[index], memory_order_acquire)
		       : NULL;
}

/* All but the size. PATH_OK, an exception, or PATH_DROPS + reason. */
static inline unsigned path_admit_sized(struct path *path, const struct packet_info *info, struct session_dir *dir,
					unsigned direction, const struct path_tunnel **ret_tunnel)
{
	if (unlikely(info->ttl <= 1) && dir->ops & SESSION_OP_DEC_TTL)
		return PATH_TTL;
	*ret_tunnel = NULL;
	if (dir->ops & SESSION_OP_ENCAP) {
		*ret_tunnel = path_tunnel(path, dir->tunnel);
		if (unlikely(!*ret_tunnel || !(*ret_tunnel)->resolved))
			return PATH_DROPS + DROP_NEIGHBOUR_UNRESOLVED;
	}
	if (unlikely(info->tcp_flags & TCP_FLAGS_TRACKED || dir->ops & SESSION_OP_TRACK))
		return path_track(path, info, dir, direction);
	return PATH_OK;
}

static inline unsigned path_admit(struct path *path, struct rte_mbuf *m, const struct packet_info *info,
				  struct session_dir *dir, unsigned direction, const struct path_tunnel **ret_tunnel)
{
	if (unlikely(m->pkt_len - ETHER_BYTES > dir->mtu)) {
		unsigned kind = path_large(m, info, dir->mtu);
		if (kind)
			return kind;
	}
	return path_admit_sized(path, info, dir, direction, ret_tunnel);
}

static __rte_always_inline uint8_t packet_ttl(const uint8_t *frame, bool v6)
{
	return frame[ETHER_BYTES + (v6 ? 7 : 8)];
}

static __rte_always_inline uint8_t packet_tos(const uint8_t *frame, bool v6)
{
	const uint8_t *ip = frame + ETHER_BYTES;

	return v6 ? (uint8_t)(load_be16(ip) >> 4) : ip[1];
}

/* Nothing that path_admit() would have to look at more closely. One branch for all. */
static __rte_always_inline bool path_is_plain(const struct rte_mbuf *m, const uint8_t *frame, uint8_t tcp_flags,
					      bool v6, const struct session_dir *dir)
{
	return !((m->pkt_len > dir->mtu + (uint32_t)ETHER_BYTES) | (packet_ttl(frame, v6) <= 1) |
		 (tcp_flags & TCP_FLAGS_TRACKED) | (dir->ops & (SESSION_OP_SLOW | SESSION_OP_TRACK)));
}

static __rte_always_inline void rewrite_ttl(uint8_t *ip, bool v6)
{
	if (v6) {
		ip[7]--;
		return;
	}
	/* RFC 1624 for a byte that shrinks by one. */
	uint32_t sum = load16(ip + 10) + RTE_BE16(0x0100);
	store16(ip + 10, (uint16_t)(sum + (sum >= 0xffff)));
	ip[8]--;
}

/* What a run of packets of one VPC adds to its counters. */
struct path_tally {
	const struct path_vpc *vpc;
	uint64_t packets, bytes, encapsulated, decapsulated;
};

static inline void tally_flush(struct path *path, struct path_tally *tally)
{
	struct path_vpc_counters *counters = &path->vpc_counters[tally->vpc->slot];

	counter_add(&counters->packets, tally->packets);
	counter_add(&counters->bytes, tally->bytes);
	counter_add(&counters->encapsulated, tally->encapsulated);
	counter_add(&counters->decapsulated, tally->decapsulated);
}

static inline void tally_switch(struct path *path, struct path_tally *tally, const struct path_vpc *vpc)
{
	if (likely(tally->vpc == vpc))
		return;
	if (tally->vpc)
		tally_flush(path, tally);
	*tally = (struct path_tally){ .vpc = vpc };
}

_Static_assert(offsetof(struct session_dir, src_mac) == offsetof(struct session_dir, dst_mac) + 6,
	       "both MACs are copied at once");

static __rte_always_inline void rewrite_frame(uint8_t *frame, const struct session_dir *dir, bool v6)
{
	const uint8_t *macs = (const uint8_t *)dir + offsetof(struct session_dir, dst_mac);
	const uint32_t routed = SESSION_OP_SET_MACS | SESSION_OP_DEC_TTL;
	uint32_t ops = dir->ops & (routed | SESSION_OP_KEEP_SRC_MAC);

	if (likely(ops == routed)) {
		memcpy(frame, macs, 12);
		rewrite_ttl(frame + ETHER_BYTES, v6);
		return;
	}
	if (ops & SESSION_OP_SET_MACS)
		memcpy(frame, macs, ops & SESSION_OP_KEEP_SRC_MAC ? 6 : 12);
	if (ops & SESSION_OP_DEC_TTL)
		rewrite_ttl(frame + ETHER_BYTES, v6);
}

/* Applies dir's action to m, whose frame starts at frame; tunnel is path_admit()'s. Returns the packet to send to
 * dir->out_iface, or NULL if there was no buffer (m is freed). */
static __rte_always_inline struct rte_mbuf *path_rewrite(struct path *path, struct rte_mbuf *m, uint8_t *frame,
							 const struct packet_info *info, bool v6,
							 struct session_dir *dir, const struct path_tunnel *tunnel,
							 struct path_tally *tally)
{
	uint32_t length = m->pkt_len;

	m->hash.rss = info->hash; /* chooses the transmit queue */
	dir->last_seen = path->now;
	dir->packets++;
	dir->bytes += length;
	tally->packets++;
	tally->bytes += length;
	rewrite_frame(frame, dir, v6);
	if (!tunnel)
		return m;
	struct encap_inner inner = { .hash = info->hash, .tos = packet_tos(frame, v6), .v6 = v6 };
	tally->encapsulated++;
	m = path_encap(m, frame, tunnel, tally->vpc->vni, inner);
	if (m && unlikely(tunnel->udp_checksum || m->ol_flags & PATH_ENCAP_REQUESTS))
		path_encap_offloads(m, tunnel, info);
	return m;
}
