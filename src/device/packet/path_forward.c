/* SPDX-License-Identifier: BSD-3-Clause */
/* Forwarding outside the burst loop: packets that the policy path has decided on, packets that are too large, frames of
 * our own. */
#include "device/packet/path_apply.h"
#include "device/packet/segment.h"

/* The sender's address in the outer header, which is still in front of the frame. */
static struct ip_addr outer_source(const struct rte_mbuf *m, uint16_t length)
{
	const uint8_t *frame = (const uint8_t *)packet_at(m, 0) - length;
	uint32_t l3 = load16(frame + 12) == RTE_BE16(RTE_ETHER_TYPE_VLAN) ? ETHER_BYTES + RTE_VLAN_HLEN : ETHER_BYTES;
	struct ip_addr source = { .family = frame[l3] >> 4 == 4 ? IP_V4 : IP_V6 };

	memcpy(source.bytes, frame + l3 + (source.family == IP_V4 ? 12 : 8), source.family == IP_V4 ? 4 : 16);
	return source;
}

void path_info_complete(const struct path *path, struct rte_mbuf *m, struct packet_info *info)
{
	bool tunnelled = path->burst.uplink;

	/* It has been found good before, so nothing can come of it. */
	if (info->flags & PACKET_F_BARE)
		packet_parse_slow(m, info->key.vpc, info);
	info->in_iface = path->burst.in_iface;
	info->flags |= tunnelled ? PACKET_F_TUNNELLED : 0;
	info->outer_length = tunnelled ? info->outer_length : 0;
	info->outer_src = tunnelled ? outer_source(m, info->outer_length) : (struct ip_addr){ 0 };
}

unsigned path_large(struct rte_mbuf *m, const struct packet_info *info, uint16_t mtu)
{
	bool may_fragment =
		info->flags & PACKET_F_IPV4 && !(load16(packet_at(m, info->l3_offset + 6)) & RTE_BE16(IPV4_DF));
	uint32_t headers = info->payload_offset - info->l3_offset;

	/* Padding, or whatever else is behind the packet, goes first. */
	packet_trim(m, info->l3_offset + info->l3_length);
	if (!(m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG))) {
		if (info->l3_length <= mtu)
			return PATH_OK;
		return may_fragment ? PATH_FRAGMENT : PATH_TOO_BIG;
	}
	if (headers + m->tso_segsz <= mtu)
		return PATH_OK;
	/* UDP datagrams must keep their length; how TCP is cut is nobody's business. */
	if (!may_fragment || m->ol_flags & RTE_MBUF_F_TX_UDP_SEG || headers + 8 > mtu)
		return PATH_TOO_BIG;
	m->tso_segsz = mtu - headers;
	return PATH_OK;
}

unsigned path_track(struct path *path, const struct packet_info *info, struct session_dir *dir, unsigned direction)
{
	struct session_table *table = path_table(path, &info->key, info->hash);

	if (info->proto != IPPROTO_TCP || info->flags & PACKET_F_LATER)
		return PATH_OK;
	switch (session_tcp_advance(table, session_of(dir, direction), direction, info->tcp_flags)) {
	case TCP_VERDICT_OK:
		return PATH_OK;
	case TCP_VERDICT_RESTART:
		return PATH_MISS;
	default:
		return PATH_DROPS + DROP_TCP_INVALID;
	}
}

void path_except(struct path *path, struct rte_mbuf *m, struct packet_info *info, unsigned kind, uint16_t mtu)
{
	const struct path_service *service = &path->service;
	enum drop_reason drop = kind == PATH_TTL       ? DROP_TTL_EXPIRED
				: kind == PATH_TOO_BIG ? DROP_TOO_BIG
						       : (enum drop_reason)(kind - PATH_DROPS);

	if (kind == PATH_MISS || kind == PATH_POLICY) {
		path_tap(path, CAPTURE_MISS, DROP_NONE, info->in_iface, m);
		counter_add(&path->iface_counters[info->in_iface].misses, 1);
		service->miss(service->ctx, path, m, info);
	} else if (kind == PATH_TTL && service->ttl_expired) {
		service->ttl_expired(service->ctx, path, m, info);
	} else if (kind == PATH_TOO_BIG && service->too_big) {
		service->too_big(service->ctx, path, m, info, mtu);
	} else {
		path_drop(path, m, drop, info->in_iface, info->key.vpc);
	}
}

static void send_rewritten(struct path *path, struct rte_mbuf *m, const struct packet_info *info,
			   struct session_dir *dir, const struct path_vpc *vpc, const struct path_tunnel *tunnel)
{
	struct path_tally tally = { .vpc = vpc };

	m = path_rewrite(path, m, packet_at(m, 0), info, info->flags & PACKET_F_IPV6, dir, tunnel, &tally);
	tally_flush(path, &tally);
	if (m)
		path_queue(path, dir->out_iface, m);
	else
		path_count_drops(path, DROP_NO_BUFFER, info->in_iface, vpc->slot, 1);
}

void path_fragment(struct path *path, struct rte_mbuf *m, struct packet_info *info, struct session_dir *dir,
		   unsigned direction, const struct path_vpc *vpc)
{
	struct rte_mbuf *fragments[PATH_MAX_FRAGMENTS];
	const struct path_tunnel *tunnel = NULL;
	unsigned count = 0, kind = path_admit_sized(path, info, dir, direction, &tunnel);

	if (kind == PATH_OK) {
		enum drop_reason drop = packet_checksum(m);
		if (!drop)
			drop = packet_fragment_ipv4(m, dir->mtu, m->pool, fragments, PATH_MAX_FRAGMENTS, &count);
		kind = drop ? PATH_DROPS + drop : PATH_OK;
	}
	if (kind != PATH_OK)
		path_except(path, m, info, kind, dir->mtu);
	for (unsigned i = 0; i < count; i++)
		send_rewritten(path, fragments[i], info, dir, vpc, tunnel);
}

static void forward(struct path *path, struct rte_mbuf *m, const struct packet_info *info, struct session *session,
		    unsigned direction)
{
	struct session_dir *dir = &session->dir[direction];
	const struct path_vpc *vpc = path_vpc(path, info->key.vpc);
	const struct path_tunnel *tunnel = NULL;

	if (!vpc) {
		path_drop(path, m, DROP_UNKNOWN_INTERFACE, info->in_iface, 0);
		return;
	}
	unsigned kind = path_admit(path, m, info, dir, direction, &tunnel);
	if (kind == PATH_OK) {
		send_rewritten(path, m, info, dir, vpc, tunnel);
		return;
	}
	struct packet_info copy = *info;
	if (kind == PATH_FRAGMENT)
		path_fragment(path, m, &copy, dir, direction, vpc);
	else
		path_except(path, m, &copy, kind, dir->mtu);
}

void path_forward(struct path *path, struct rte_mbuf *m, const struct packet_info *info, struct session *session,
		  unsigned direction)
{
	forward(path, m, info, session, direction);
	if (!path->in_burst)
		path_flush(path);
}

void path_send(struct path *path, uint16_t iface, struct rte_mbuf *m)
{
	path_queue(path, iface, m);
	if (!path->in_burst)
		path_flush(path);
}

/* What encapsulation has to know of a frame that nobody has parsed; its tag may hide the IP header. */
static struct encap_inner inner_of(struct rte_mbuf *m, uint32_t hash)
{
	struct encap_inner inner = { .hash = hash };
	uint32_t l3 = ETHER_BYTES;

	if (packet_pull(m, ETHER_BYTES + RTE_VLAN_HLEN))
		return inner;
	uint16_t type = load16(packet_at(m, l3 - 2));
	if (type == RTE_BE16(RTE_ETHER_TYPE_VLAN) || type == RTE_BE16(RTE_ETHER_TYPE_QINQ)) {
		l3 += RTE_VLAN_HLEN;
		type = load16(packet_at(m, l3 - 2));
	}
	if (packet_pull(m, l3 + IPV4_BYTES))
		return inner;
	const uint8_t *ip = packet_at(m, l3);
	inner.v6 = type == RTE_BE16(RTE_ETHER_TYPE_IPV6);
	if (inner.v6)
		inner.tos = (uint8_t)(load_be16(ip) >> 4);
	else if (type == RTE_BE16(RTE_ETHER_TYPE_IPV4))
		inner.tos = ip[1];
	return inner;
}

void path_send_tunnel(struct path *path, const struct path_tunnel *tunnel, uint32_t vni, uint32_t hash,
		      struct rte_mbuf *m)
{
	if (!tunnel->resolved) {
		path_drop(path, m, DROP_NEIGHBOUR_UNRESOLVED, 0, 0);
		return;
	}
	if (!path_encap_can_request(m, UDP_BYTES + TUNNEL_BYTES)) {
		path_drop(path, m, DROP_SEGMENTATION, 0, 0);
		return;
	}
	struct encap_inner inner = inner_of(m, hash);
	m = path_encap(m, packet_at(m, 0), tunnel, vni, inner);
	if (m && (tunnel->udp_checksum || m->ol_flags & PATH_ENCAP_REQUESTS))
		path_encap_offloads(m, tunnel, NULL);
	if (m)
		path_send(path, tunnel->out_iface, m);
	else
		path_count_drops(path, DROP_NO_BUFFER, 0, 0, 1);
}
