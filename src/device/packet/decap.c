/* SPDX-License-Identifier: BSD-3-Clause */
/* Tunnel termination: tells underlay frames for ourselves from tunnel packets, checks the latter's outer headers and
 * strips them (VXLAN: RFC 7348, Geneve: RFC 8926, ECN: RFC 6040). */
#include "device/packet/packet_priv.h"
#include "device/packet/path_config_priv.h"
#include "device/packet/segment.h"

/* An underlay frame on its way through. */
struct outer {
	const struct path_config *config;
	struct rte_mbuf *m;
	struct packet_info *info;
	uint32_t l3, l4, end; /* offsets; end of the IP packet, then of the UDP datagram */
	uint16_t vlan;
	uint8_t tos;
	bool v6;
	bool local;
};

static enum drop_reason outer_local(struct outer *o)
{
	o->local = true;
	return DROP_NONE;
}

static enum drop_reason outer_ipv4(struct outer *o, bool *ret_udp)
{
	enum drop_reason drop = packet_pull(o->m, o->l3 + IPV4_BYTES);
	if (drop)
		return drop;
	const uint8_t *ip = packet_at(o->m, o->l3);
	uint32_t header = (ip[0] & 15) * 4, length = load_be16(ip + 2);
	if (ip[0] >> 4 != 4 || header < IPV4_BYTES || length < header || o->l3 + length > o->m->pkt_len)
		return DROP_BAD_IP_HEADER;
	if (!path_local_v4(o->config, ip + 16, o->vlan))
		return ip[16] >= 224 ? DROP_MULTICAST : DROP_NOT_FOR_US;
	drop = packet_pull(o->m, o->l3 + header);
	if (drop)
		return drop;
	ip = packet_at(o->m, o->l3);
	if (likely(header == IPV4_BYTES) ? !ipv4_sum_ok(ip) : fold16(checksum_bytes(ip, header)) != 0xffff)
		return DROP_BAD_IP_CHECKSUM;
	if (ip[9] != IPPROTO_UDP)
		return outer_local(o);
	/* RFC 7348 4.3: tunnel packets are not fragmented; and we serve no other UDP that would be. */
	if (load16(ip + 6) & RTE_BE16(IPV4_MF | IPV4_OFFSET))
		return DROP_FRAGMENT_INVALID;
	o->l4 = o->l3 + header;
	o->end = o->l3 + length;
	o->tos = ip[1];
	o->info->outer_src = (struct ip_addr){ .family = IP_V4 };
	memcpy(o->info->outer_src.bytes, ip + 12, 4);
	o->info->outer_tag = path_vtep_tag(o->config, ip + 12, false);
	*ret_udp = true;
	return DROP_NONE;
}

static enum drop_reason outer_ipv6(struct outer *o, bool *ret_udp)
{
	enum drop_reason drop = packet_pull(o->m, o->l3 + IPV6_BYTES);
	if (drop)
		return drop;
	const uint8_t *ip = packet_at(o->m, o->l3);
	uint32_t length = IPV6_BYTES + load_be16(ip + 4);
	if (ip[0] >> 4 != 6 || o->l3 + length > o->m->pkt_len)
		return DROP_BAD_IP_HEADER;
	if (!path_local_v6(o->config, ip + 24, o->vlan)) {
		if (ip[24] != 0xff)
			return DROP_NOT_FOR_US;
		/* ND, and MLD behind a hop-by-hop header. */
		return ip[6] == IPPROTO_ICMPV6 || ip[6] == IPPROTO_HOPOPTS ? outer_local(o) : DROP_MULTICAST;
	}
	if (ip[6] != IPPROTO_UDP)
		return outer_local(o);
	o->v6 = true;
	o->l4 = o->l3 + IPV6_BYTES;
	o->end = o->l3 + length;
	o->tos = (uint8_t)(load_be16(ip) >> 4);
	o->info->outer_src.family = IP_V6;
	memcpy(o->info->outer_src.bytes, ip + 8, 16);
	o->info->outer_tag = path_vtep_tag(o->config, ip + 8, true);
	*ret_udp = true;
	return DROP_NONE;
}

/* True if the outer UDP checksum need not be looked at: the port has, or the sender left it to a later stage. */
static bool udp_is_checked(const struct rte_mbuf *m)
{
	if (m->ol_flags & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG))
		return true;
	if (m->packet_type & RTE_PTYPE_TUNNEL_MASK)
		return (m->ol_flags & RTE_MBUF_F_RX_OUTER_L4_CKSUM_MASK) == RTE_MBUF_F_RX_OUTER_L4_CKSUM_GOOD;
	uint64_t flags = m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
	return flags == RTE_MBUF_F_RX_L4_CKSUM_GOOD || flags == RTE_MBUF_F_RX_L4_CKSUM_NONE;
}

static bool udp_checksum_ok(const struct outer *o)
{
	const uint8_t *ip = packet_at(o->m, o->l3);
	uint32_t length = o->end - o->l4;
	uint32_t sum = fold16(checksum_pseudo(ip, o->v6, IPPROTO_UDP, length));

	return packet_sum(o->m, o->l4, length, &sum) && fold16(sum) == 0xffff;
}

/* The UDP header: DROP_NONE and *ret_kind, TUNNEL_NONE when it is not a tunnel's. */
static enum drop_reason outer_udp(struct outer *o, enum tunnel_kind *ret_kind)
{
	if (o->l4 + UDP_BYTES > o->end)
		return DROP_TRUNCATED;
	enum drop_reason drop = packet_pull(o->m, o->l4 + UDP_BYTES);
	if (drop)
		return drop;
	const uint8_t *udp = packet_at(o->m, o->l4);
	uint16_t port = load16(udp + 2);
	uint32_t length = load_be16(udp + 4);
	if (port == RTE_BE16(VXLAN_PORT))
		*ret_kind = TUNNEL_VXLAN;
	else if (port == RTE_BE16(GENEVE_PORT))
		*ret_kind = TUNNEL_GENEVE;
	else
		return outer_local(o);
	if (length < UDP_BYTES || o->l4 + length > o->end)
		return DROP_BAD_L4_HEADER;
	o->end = o->l4 + length;
	if (load16(udp + 6) == 0)
		return DROP_NONE;
	if (!udp_is_checked(o->m) && !udp_checksum_ok(o))
		return DROP_BAD_TUNNEL_CHECKSUM;
	o->m->ol_flags |= RTE_MBUF_F_RX_OUTER_L4_CKSUM_GOOD; /* for a worker that it is handed to */
	return DROP_NONE;
}

/* The tunnel header: length with options, VNI. */
static enum drop_reason outer_tunnel(struct outer *o, enum tunnel_kind kind, uint32_t *ret_length, uint32_t *ret_vni)
{
	uint32_t offset = o->l4 + UDP_BYTES, length = TUNNEL_BYTES;
	if (offset + TUNNEL_BYTES > o->end)
		return DROP_TRUNCATED;
	enum drop_reason drop = packet_pull(o->m, offset + TUNNEL_BYTES);
	if (drop)
		return drop;
	const uint8_t *header = packet_at(o->m, offset);
	if (kind == TUNNEL_VXLAN) {
		/* RFC 7348 5: the I flag must be set; reserved bits are ignored on receipt. */
		if (!(header[0] & 0x08))
			return DROP_BAD_TUNNEL_HEADER;
	} else {
		/* RFC 8926 3.4: version 0; control packets are not forwarded; we know no critical option. */
		if (header[0] >> 6 != 0 || header[1] & 0xc0 || load16(header + 2) != RTE_BE16(RTE_ETHER_TYPE_TEB))
			return DROP_BAD_TUNNEL_HEADER;
		length += (header[0] & 0x3f) * 4u;
	}
	*ret_vni = rte_be_to_cpu_32(load32(header + 4)) >> 8;
	*ret_length = length;
	if (offset + length + ETHER_BYTES > o->end)
		return DROP_TRUNCATED;
	return packet_pull(o->m, offset + length + ETHER_BYTES);
}

static uint8_t ecn_combine(uint8_t outer, uint8_t inner)
{
	enum { NOT_ECT = 0, ECT_1 = 1, ECT_0 = 2, CE = 3 };

	if (inner == NOT_ECT || inner == CE)
		return inner;
	if (outer == CE)
		return CE;
	return outer == ECT_1 ? ECT_1 : inner;
}

/* RFC 6040 4.2: the congestion mark of the underlay goes into the inner header, or the packet is dropped for it. A
 * malformed inner packet is left to the parser. */
static enum drop_reason outer_ecn(struct outer *o, uint32_t inner)
{
	uint8_t outer_ecn = o->tos & 3;
	uint16_t type = load16(packet_at(o->m, inner + 12));
	bool v6 = type == RTE_BE16(RTE_ETHER_TYPE_IPV6);

	if (!v6 && type != RTE_BE16(RTE_ETHER_TYPE_IPV4))
		return DROP_NONE;
	inner += ETHER_BYTES;
	if (inner + IPV4_BYTES > o->end || packet_pull(o->m, inner + IPV4_BYTES))
		return DROP_NONE;
	uint8_t *ip = packet_at(o->m, inner);
	uint8_t old = v6 ? ip[1] >> 4 & 3 : ip[1] & 3, new = ecn_combine(outer_ecn, old);
	if (old == 0 && outer_ecn == 3)
		return DROP_CONGESTION;
	if (old == new)
		return DROP_NONE;
	if (v6) {
		ip[1] = (uint8_t)((ip[1] & ~0x30) | new << 4);
		return DROP_NONE;
	}
	uint16_t before = load16(ip);
	ip[1] = (uint8_t)((ip[1] & ~3) | new);
	store16(ip + 10, checksum_update16(load16(ip + 10), before, load16(ip)));
	return DROP_NONE;
}

/* Checksums that the sender left to a later stage: what was asked for the outer headers goes with them; a request for
 * the inner packet (Linux leaves those in VXLAN over veth) is put in terms of the inner frame. */
static void outer_requests(struct rte_mbuf *m, uint32_t stripped)
{
	uint64_t flags = m->ol_flags;
	uint32_t start = m->l2_len + m->l3_len;

	if (flags & RTE_MBUF_F_TX_TUNNEL_MASK)
		start += m->outer_l2_len + m->outer_l3_len;
	flags &= ~(RTE_MBUF_F_TX_TUNNEL_MASK | RTE_MBUF_F_TX_OUTER_IP_CKSUM | RTE_MBUF_F_TX_OUTER_UDP_CKSUM |
		   RTE_MBUF_F_TX_OUTER_IPV4 | RTE_MBUF_F_TX_OUTER_IPV6 | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6 |
		   RTE_MBUF_F_TX_IP_CKSUM);
	if (start < stripped + ETHER_BYTES + IPV4_BYTES) {
		m->ol_flags = flags & ~(RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG);
		return;
	}
	bool v6 = load16(packet_at(m, stripped + 12)) == RTE_BE16(RTE_ETHER_TYPE_IPV6);
	m->ol_flags = flags | (v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4);
	m->outer_l2_len = m->outer_l3_len = 0;
	m->l2_len = ETHER_BYTES;
	m->l3_len = (start - stripped - ETHER_BYTES) & 0x1ff;
}

/* The port's verdict on checksums: about the inner packet if it knows tunnels, else about what is being stripped. */
static void outer_flags(struct rte_mbuf *m, uint32_t stripped)
{
	if (!(m->packet_type & RTE_PTYPE_TUNNEL_MASK))
		m->ol_flags &= ~(RTE_MBUF_F_RX_IP_CKSUM_MASK | RTE_MBUF_F_RX_L4_CKSUM_MASK);
	m->packet_type = 0;
	if (unlikely(m->ol_flags & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)))
		outer_requests(m, stripped);
}

static enum drop_reason outer_strip(struct outer *o, uint16_t *ret_vpc)
{
	enum tunnel_kind kind = TUNNEL_NONE;
	uint32_t length, vni;
	enum drop_reason drop = outer_udp(o, &kind);
	if (drop || o->local)
		return drop;
	drop = outer_tunnel(o, kind, &length, &vni);
	if (drop)
		return drop;
	int vpc = path_vni_find(o->config, kind, vni);
	if (vpc < 0)
		return DROP_UNKNOWN_VNI;
	uint32_t stripped = o->l4 + UDP_BYTES + length;
	if (unlikely(o->tos & 1)) {
		drop = outer_ecn(o, stripped);
		if (drop)
			return drop;
	}
	if (unlikely(o->end != o->m->pkt_len))
		packet_trim(o->m, o->end);
	outer_flags(o->m, stripped);
	o->m->data_off += (uint16_t)stripped;
	o->m->data_len -= (uint16_t)stripped;
	o->m->pkt_len -= stripped;
	o->info->outer_length = (uint16_t)stripped;
	*ret_vpc = (uint16_t)vpc;
	return DROP_NONE;
}

static enum drop_reason outer_ethernet(struct outer *o, uint16_t *ret_type)
{
	enum drop_reason drop = packet_pull(o->m, ETHER_BYTES);
	if (drop)
		return drop;
	*ret_type = load16(packet_at(o->m, 12));
	o->l3 = ETHER_BYTES;
	if (likely(*ret_type != RTE_BE16(RTE_ETHER_TYPE_VLAN)))
		return DROP_NONE;
	/* One tag: of the VLAN that an underlay runs on, or of a priority only. */
	drop = packet_pull(o->m, ETHER_BYTES + RTE_VLAN_HLEN);
	if (drop)
		return drop;
	o->vlan = load_be16(packet_at(o->m, 14)) & 0xfff;
	*ret_type = load16(packet_at(o->m, 16));
	o->l3 += RTE_VLAN_HLEN;
	return DROP_NONE;
}

enum drop_reason packet_decap(const struct path_config *config, struct rte_mbuf *m, uint16_t *ret_vpc,
			      struct packet_info *ret, bool *ret_local)
{
	struct outer o = { .config = config, .m = m, .info = ret };
	uint16_t type;
	bool udp = false;

	*ret_local = false;
	enum drop_reason drop = outer_ethernet(&o, &type);
	if (drop)
		return drop;
	if (type == RTE_BE16(RTE_ETHER_TYPE_IPV4))
		drop = outer_ipv4(&o, &udp);
	else if (type == RTE_BE16(RTE_ETHER_TYPE_IPV6))
		drop = outer_ipv6(&o, &udp);
	else if (type == RTE_BE16(RTE_ETHER_TYPE_ARP))
		drop = outer_local(&o);
	else
		drop = type == RTE_BE16(RTE_ETHER_TYPE_VLAN) || type == RTE_BE16(RTE_ETHER_TYPE_QINQ) ? DROP_VLAN_TAGGED
												      : DROP_NOT_IP;
	if (!drop && udp)
		drop = outer_strip(&o, ret_vpc);
	*ret_local = o.local;
	return drop;
}
