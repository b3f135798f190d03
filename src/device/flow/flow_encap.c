/* SPDX-License-Identifier: BSD-3-Clause */
/* Encapsulation by a header that the client has made: Ethernet, perhaps a VLAN tag, IPv4 or IPv6, then UDP (VXLAN,
 * Geneve) or GRE. What differs per frame is filled in: lengths, the IPv4 identification and checksum, the IPv6 flow
 * label (RFC 6438), the UDP source port (RFC 7348 5) and the UDP checksum: over IPv6, and over IPv4 if the header has
 * anything there (Open vSwitch's tunnels with csum=true have 0xffff). */
#include "device/flow/flow_priv.h"
#include "device/packet/path_encap.h"

enum { GRE_BYTES = 4, GRE_CHECKSUM = 0x8000, GRE_KEY = 0x2000, GRE_KNOWN = GRE_KEY };

/* ---- parsing ---- */

static const char *parse_udp(struct flow_encap *e)
{
	const uint8_t *udp = e->bytes + e->l4;
	unsigned tunnel = UDP_BYTES + TUNNEL_BYTES;

	if (e->l4 + tunnel > e->length)
		return "it ends before the tunnel header behind UDP.";
	e->geneve = load16(udp + 2) == RTE_BE16(GENEVE_PORT);
	if (e->geneve) {
		if (udp[UDP_BYTES] >> 6)
			return "its Geneve version is not 0.";
		tunnel += (udp[UDP_BYTES] & 63) * 4u;
	}
	if (e->l4 + tunnel != e->length)
		return "its length is not that of UDP and VXLAN, or Geneve with its options.";
	e->choose_port = load16(udp) == 0;
	e->checksum = e->v6 || load16(udp + 6) != 0;
	return NULL;
}

static const char *parse_gre(struct flow_encap *e)
{
	if (e->l4 + GRE_BYTES > e->length)
		return "it ends before the GRE header.";
	const uint8_t *gre = e->bytes + e->l4;
	uint16_t flags = load_be16(gre);
	if (flags & ~GRE_KNOWN)
		return "its GRE header has a checksum, a sequence number, a version or unknown bits.";
	if (load16(gre + 2) != RTE_BE16(RTE_ETHER_TYPE_TEB))
		return "its GRE protocol is not 0x6558, Ethernet.";
	if (e->l4 + GRE_BYTES + (flags & GRE_KEY ? 4u : 0) != e->length)
		return "its length is not that of its GRE header.";
	return NULL;
}

static const char *parse_ipv4(struct flow_encap *e)
{
	uint8_t *ip = e->bytes + e->l3;

	if (e->l3 + IPV4_BYTES > e->length || ip[0] != 0x45)
		return "it has no IPv4 header without options.";
	if (load16(ip + 6) & RTE_BE16(0xbfff))
		return "its IPv4 header is a fragment's.";
	e->l4 = e->l3 + IPV4_BYTES;
	e->proto = ip[9];
	store16(ip + 2, 0);
	store16(ip + 4, 0);
	store16(ip + 10, 0);
	e->ipv4_sum = fold16(checksum_bytes(ip, IPV4_BYTES));
	uint64_t pair = flow_key_fold(load64(ip + 12), flow_key_secret(0, 0));
	e->ident = (uint8_t)(pair ^ pair >> 32);
	return NULL;
}

static const char *parse_ipv6(struct flow_encap *e)
{
	const uint8_t *ip = e->bytes + e->l3;

	if (e->l3 + IPV6_BYTES > e->length || ip[0] >> 4 != 6)
		return "it has no IPv6 header.";
	e->l4 = e->l3 + IPV6_BYTES;
	e->proto = ip[6];
	e->v6 = true;
	return NULL;
}

const char *flow_encap_parse(const uint8_t *bytes, unsigned length, struct flow_encap *ret)
{
	struct flow_encap *e = ret;

	if (length < ETHER_BYTES || length > ESWITCH_MAX_ENCAP_BYTES)
		return "its length is impossible.";
	*e = (struct flow_encap){ .length = (uint8_t)length, .l3 = ETHER_BYTES };
	memcpy(e->bytes, bytes, length);
	if (flow_is_vlan(load16(bytes + 12))) {
		if (length < ETHER_BYTES + RTE_VLAN_HLEN)
			return "it ends within its VLAN tag.";
		e->l3 += RTE_VLAN_HLEN;
	}
	uint16_t type = load16(bytes + e->l3 - 2);
	const char *fault = type == RTE_BE16(RTE_ETHER_TYPE_IPV4)   ? parse_ipv4(e)
			    : type == RTE_BE16(RTE_ETHER_TYPE_IPV6) ? parse_ipv6(e)
								    : "it leads to neither IPv4 nor IPv6.";
	if (fault)
		return fault;
	switch (e->proto) {
	case IPPROTO_UDP:
		return parse_udp(e);
	case IPPROTO_GRE:
		return parse_gre(e);
	default:
		return "it leads to neither UDP nor GRE.";
	}
}

/* ---- putting it in front ---- */

static void set_requests(struct rte_mbuf *m, const struct flow_encap *e)
{
	bool requested = m->ol_flags & PATH_ENCAP_REQUESTS;
	bool segment = m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG);
	unsigned inner_l2 = requested ? m->l2_len : ETHER_BYTES;

	if (!requested && !e->checksum)
		return;
	if (!requested) /* an outer checksum alone: what is inside does not matter */
		m->l3_len = m->l4_len = 0;
	m->ol_flags |= e->v6 ? RTE_MBUF_F_TX_OUTER_IPV6 : RTE_MBUF_F_TX_OUTER_IPV4;
	m->ol_flags |= e->proto == IPPROTO_GRE ? RTE_MBUF_F_TX_TUNNEL_GRE
		       : e->geneve             ? RTE_MBUF_F_TX_TUNNEL_GENEVE
					       : RTE_MBUF_F_TX_TUNNEL_VXLAN;
	if (e->checksum)
		m->ol_flags |= RTE_MBUF_F_TX_OUTER_UDP_CKSUM;
	if (segment && !e->v6)
		m->ol_flags |= RTE_MBUF_F_TX_OUTER_IP_CKSUM;
	m->outer_l2_len = e->l3;
	m->outer_l3_len = e->v6 ? IPV6_BYTES : IPV4_BYTES;
	m->l2_len = (e->length - e->l4 + inner_l2) & 0x7f;
}

/* RFC 6864 4.3: datagrams of the same addresses that may be fragmented have different identifications, for as long as a
 * receiver may hold fragments. Workers share nothing: each has a part of the numbers, and in it a counter for each pair
 * of addresses (or few of them). */
void flow_idents_init(struct flow *flow)
{
	uint32_t parts = rte_align32pow2(flow->sw->options.workers);

	flow->ident_count = (UINT16_MAX + 1u) / parts;
	flow->ident_base = flow->worker * flow->ident_count;
	for (unsigned i = 0; i < FLOW_IDENTS; i++)
		flow->idents[i] = (uint16_t)(flow_key_fold(flow_secret(flow->sw, 2) ^ i, flow_secret(flow->sw, 1)) %
					     flow->ident_count);
}

/* The first of as many as the frame will be segments: each takes the next number. */
static uint16_t take_ident(struct flow *flow, const struct flow_encap *e, const struct rte_mbuf *m)
{
	bool segment = m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG);
	uint32_t count = segment && m->tso_segsz ? m->pkt_len / m->tso_segsz + 1 : 1, first = flow->idents[e->ident];

	if (first + count > flow->ident_count)
		first = 0;
	flow->idents[e->ident] = (uint16_t)((first + count) % flow->ident_count);
	return (uint16_t)(flow->ident_base + first);
}

static void fill_ipv4(struct flow *flow, uint8_t *ip, const struct flow_encap *e, const struct rte_mbuf *m)
{
	uint16_t total = rte_cpu_to_be_16((uint16_t)(m->pkt_len - e->l3)), id = 0;

	/* An atomic datagram needs no identification (RFC 6864 4.1). */
	if (!(load16(ip + 6) & RTE_BE16(IPV4_DF)))
		id = rte_cpu_to_be_16(take_ident(flow, e, m));
	store16(ip + 2, total);
	store16(ip + 4, id);
	store16(ip + 10, (uint16_t)~fold16((uint64_t)e->ipv4_sum + total + id));
}

static void fill_ipv6(uint8_t *ip, const struct flow_encap *e, uint32_t length, uint32_t hash)
{
	uint32_t first = rte_be_to_cpu_32(load32(e->bytes + e->l3));

	if (!(first & 0xfffff))
		store32(ip, rte_cpu_to_be_32(first | (hash & 0xfffff)));
	store_be16(ip + 4, (uint16_t)(length - IPV6_BYTES));
}

struct rte_mbuf *flow_encap_push(struct flow *flow, struct rte_mbuf *m, const struct flow_encap *e)
{
	uint32_t hash = m->hash.rss;

	if (!path_encap_can_request(m, e->length - e->l4)) {
		path_drop(flow->path, m, DROP_SEGMENTATION, flow_in_iface(flow), 0);
		return NULL;
	}
	if (m->data_off < e->length) {
		m = path_encap_segment(m, e->length);
		if (!m) {
			path_count_drops(flow->path, DROP_NO_BUFFER, flow_in_iface(flow), 0, 1);
			return NULL;
		}
	}
	set_requests(m, e);
	m->data_off -= e->length;
	m->data_len += e->length;
	m->pkt_len += e->length;
	uint8_t *frame = packet_at(m, 0);
	memcpy(frame, e->bytes, e->length);
	if (e->v6)
		fill_ipv6(frame + e->l3, e, m->pkt_len - e->l3, hash);
	else
		fill_ipv4(flow, frame + e->l3, e, m);
	if (e->proto == IPPROTO_UDP) {
		uint8_t *udp = frame + e->l4;
		if (e->choose_port)
			store_be16(udp, (uint16_t)(TUNNEL_PORT_MIN | (hash & TUNNEL_PORT_MASK)));
		store_be16(udp + 4, (uint16_t)(m->pkt_len - e->l4));
		store16(udp + 6, 0);
	}
	return m;
}
