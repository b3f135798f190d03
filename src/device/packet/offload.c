/* SPDX-License-Identifier: BSD-3-Clause */
/* Offload requests of an mbuf, checked against the frame: lengths in requests come from guests. */
#include "device/packet/offload.h"

/* The IP header at l3 that is said to be header bytes long: DROP_NONE and the offset of the packet's end. */
static enum drop_reason check_ip(const struct rte_mbuf *m, uint32_t l3, uint32_t header, bool v6, uint32_t *ret_end)
{
	const uint8_t *ip = packet_at(m, l3);
	uint32_t length;

	if (v6) {
		if (ip[0] >> 4 != 6)
			return DROP_SEGMENTATION;
		length = IPV6_BYTES + load_be16(ip + 4);
	} else {
		if (ip[0] >> 4 != 4 || (ip[0] & 15) * 4u != header)
			return DROP_SEGMENTATION;
		length = load_be16(ip + 2);
	}
	*ret_end = l3 + length;
	return length < header ? DROP_SEGMENTATION : DROP_NONE;
}

static uint8_t requested_proto(uint64_t flags)
{
	if (flags & RTE_MBUF_F_TX_TCP_SEG)
		return IPPROTO_TCP;
	if (flags & RTE_MBUF_F_TX_UDP_SEG)
		return IPPROTO_UDP;
	switch (flags & RTE_MBUF_F_TX_L4_MASK) {
	case RTE_MBUF_F_TX_TCP_CKSUM:
		return IPPROTO_TCP;
	case RTE_MBUF_F_TX_UDP_CKSUM:
		return IPPROTO_UDP;
	case RTE_MBUF_F_TX_SCTP_CKSUM:
		return IPPROTO_SCTP;
	default:
		return 0;
	}
}

static enum drop_reason read_outer(struct rte_mbuf *m, struct offload *o)
{
	uint32_t header = m->outer_l3_len;

	o->outer_v6 = m->ol_flags & RTE_MBUF_F_TX_OUTER_IPV6;
	o->outer_l3 = m->outer_l2_len;
	o->outer_l4 = o->outer_l3 + header;
	if (header < (o->outer_v6 ? IPV6_BYTES : IPV4_BYTES) || m->l2_len < UDP_BYTES ||
	    o->outer_l4 + m->l2_len > m->data_len)
		return DROP_SEGMENTATION;
	enum drop_reason drop = check_ip(m, o->outer_l3, header, o->outer_v6, &o->outer_end);
	const uint8_t *ip = packet_at(m, o->outer_l3);
	uint8_t proto = ip[o->outer_v6 ? 6 : 9];
	o->gre = proto == IPPROTO_GRE;
	if (drop || (proto != IPPROTO_UDP && !o->gre))
		return DROP_SEGMENTATION;
	/* A TSO frame is longer than the outer header can say. */
	if (offload_segments(m))
		o->outer_end = m->pkt_len;
	return o->outer_end > m->pkt_len ? DROP_SEGMENTATION : DROP_NONE;
}

static enum drop_reason read_inner(struct rte_mbuf *m, struct offload *o)
{
	uint32_t header = m->l3_len;

	o->v6 = m->ol_flags & RTE_MBUF_F_TX_IPV6;
	if (header < (o->v6 ? IPV6_BYTES : IPV4_BYTES) || o->l4 > m->data_len)
		return DROP_SEGMENTATION;
	enum drop_reason drop = check_ip(m, o->l3, header, o->v6, &o->end);
	if (drop || o->end > m->pkt_len)
		return DROP_SEGMENTATION;
	const uint8_t *ip = packet_at(m, o->l3);
	uint8_t proto = ip[o->v6 ? 6 : 9];
	/* Behind extension headers the request is believed. */
	if (o->proto && proto != o->proto && !(o->v6 && header > IPV6_BYTES))
		return DROP_SEGMENTATION;
	return DROP_NONE;
}

enum drop_reason offload_read(struct rte_mbuf *m, struct offload *ret)
{
	struct offload o = { .proto = requested_proto(m->ol_flags) };
	uint64_t outer = RTE_MBUF_F_TX_TUNNEL_MASK | RTE_MBUF_F_TX_OUTER_IPV4 | RTE_MBUF_F_TX_OUTER_IPV6;

	o.tunnel = m->ol_flags & outer;
	o.l3 = m->l2_len + (o.tunnel ? m->outer_l2_len + m->outer_l3_len : 0);
	o.l4 = o.l3 + m->l3_len;
	if (o.proto == IPPROTO_SCTP) /* CRC32c: nobody may ask for that */
		return DROP_SEGMENTATION;
	uint32_t fixed = o.proto == IPPROTO_TCP ? TCP_BYTES : o.proto ? UDP_BYTES : 0;
	enum drop_reason drop = packet_pull(m, o.l4 + fixed);
	if (drop)
		return drop == DROP_TRUNCATED ? DROP_SEGMENTATION : drop;
	if (o.tunnel)
		drop = read_outer(m, &o);
	if (!drop && (o.proto || m->ol_flags & RTE_MBUF_F_TX_IP_CKSUM)) {
		drop = read_inner(m, &o);
		if (!drop && o.l4 + fixed > o.end)
			drop = DROP_SEGMENTATION;
	}
	if (!drop)
		*ret = o;
	return drop;
}
