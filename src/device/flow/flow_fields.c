/* SPDX-License-Identifier: BSD-3-Clause */
/* What a frame's headers say, as fields of rules: the general case. As Open vSwitch reads them: a header that is cut
 * off or malformed is none, and only the outermost is looked at. */
#include "device/flow/flow_priv.h"

enum {
	VLAN_BYTES = 4,
	MAX_HEADERS = 512, /* a frame with more of them goes up */
};

/* A frame on its way: headers up to `offset` are read, the packet ends at `end`. */
struct reading {
	struct rte_mbuf *m;
	struct eswitch_fields *f;
	struct flow_layout *layout;
	uint32_t offset, end;
};

/* The next bytes belong to the packet, and are contiguous then. */
static const uint8_t *have(const struct reading *r, uint32_t bytes)
{
	if (r->offset + bytes > r->end)
		return NULL;
	if (r->offset + bytes > MAX_HEADERS || packet_pull(r->m, r->offset + bytes) != DROP_NONE) {
		r->layout->unread = true;
		return NULL;
	}
	return packet_at(r->m, r->offset);
}

static uint32_t upper_bytes(const struct reading *r)
{
	switch (r->f->ip_proto) {
	case IPPROTO_TCP:
		return TCP_BYTES;
	case IPPROTO_UDP:
		return UDP_BYTES;
	case IPPROTO_SCTP:
		return SCTP_BYTES;
	case IPPROTO_ICMP:
		return r->layout->family == FLOW_IPV4 ? ICMP_BYTES : 0;
	case IPPROTO_ICMPV6:
		return r->layout->family == FLOW_IPV6 ? ICMP_BYTES : 0;
	default:
		return 0;
	}
}

static void read_l4(struct reading *r)
{
	uint32_t bytes = upper_bytes(r);
	const uint8_t *l4 = bytes ? have(r, bytes) : NULL;

	if (!l4)
		return;
	r->layout->l4 = (uint16_t)r->offset;
	if (bytes == ICMP_BYTES && r->f->ip_proto != IPPROTO_UDP) {
		r->f->l4_src = rte_cpu_to_be_16(l4[0]);
		r->f->l4_dst = rte_cpu_to_be_16(l4[1]);
		return;
	}
	r->f->l4_src = load16(l4);
	r->f->l4_dst = load16(l4 + 2);
	if (r->f->ip_proto == IPPROTO_TCP)
		r->f->tcp_flags = load16(l4 + 12) & RTE_BE16(0x0fff);
}

static void read_ipv4(struct reading *r)
{
	const uint8_t *ip = have(r, IPV4_BYTES);

	if (!ip)
		return;
	uint32_t header = (ip[0] & 15) * 4u, length = load_be16(ip + 2);
	if (header < IPV4_BYTES || length < header || r->offset + length > r->end)
		return;
	r->end = r->offset + length;
	ip = have(r, header);
	if (!ip)
		return;
	r->layout->l3 = (uint16_t)r->offset;
	r->layout->family = FLOW_IPV4;
	r->f->ip_proto = ip[9];
	r->f->ip_tos = ip[1];
	r->f->ip_ttl = ip[8];
	memcpy(&r->f->ip4_src, ip + 12, 8);
	uint16_t fragment = load_be16(ip + 6);
	if (fragment & (IPV4_MF | IPV4_OFFSET))
		r->f->flags |= ESWITCH_FIELD_FRAGMENT;
	if (fragment & IPV4_OFFSET)
		r->f->flags |= ESWITCH_FIELD_LATER;
	r->offset += header;
	if (!(fragment & IPV4_OFFSET))
		read_l4(r);
}

enum extension { EXTENSION_NONE, EXTENSION_PASSED, EXTENSION_CUT };

static enum extension pass_extension(struct reading *r)
{
	uint8_t kind = r->f->ip_proto;
	uint32_t bytes = IPV6_FRAGMENT_BYTES;

	if (kind != IPPROTO_HOPOPTS && kind != IPPROTO_ROUTING && kind != IPPROTO_DSTOPTS && kind != IPPROTO_FRAGMENT &&
	    kind != IPPROTO_AH)
		return EXTENSION_NONE;
	const uint8_t *header = have(r, 8);
	if (!header)
		return EXTENSION_CUT;
	if (kind == IPPROTO_FRAGMENT) {
		uint16_t word = load_be16(header + 2);
		if (word) /* not an atomic fragment, RFC 6946; OVS looks at the reserved bits, too */
			r->f->flags |= ESWITCH_FIELD_FRAGMENT;
		if (word & 0xfff8) {
			r->f->flags |= ESWITCH_FIELD_LATER;
			return EXTENSION_NONE;
		}
	} else {
		bytes = kind == IPPROTO_AH ? (header[1] + 2) * 4u : (header[1] + 1) * 8u;
	}
	if (r->offset + bytes > r->end)
		return EXTENSION_CUT;
	if (kind == IPPROTO_ROUTING && header[3] > 0) /* segments left */
		r->layout->routed = true;
	r->f->ip_proto = header[0];
	r->offset += bytes;
	return EXTENSION_PASSED;
}

static void read_ipv6(struct reading *r)
{
	const uint8_t *ip = have(r, IPV6_BYTES);
	enum extension extension;

	if (!ip)
		return;
	uint32_t length = IPV6_BYTES + load_be16(ip + 4);
	if (r->offset + length > r->end)
		return;
	r->end = r->offset + length;
	r->layout->l3 = (uint16_t)r->offset;
	r->layout->family = FLOW_IPV6;
	r->f->ip_proto = ip[6];
	r->f->ip_tos = (uint8_t)(load_be16(ip) >> 4);
	r->f->ip_ttl = ip[7];
	memcpy(r->f->ip6_src, ip + 8, 32);
	r->offset += IPV6_BYTES;
	do
		extension = pass_extension(r);
	while (extension == EXTENSION_PASSED);
	if (extension == EXTENSION_CUT) {
		/* Addresses are all that OVS knows of it. */
		r->f->ip_proto = r->f->ip_tos = r->f->ip_ttl = 0;
		r->f->flags &= (uint8_t) ~(ESWITCH_FIELD_FRAGMENT | ESWITCH_FIELD_LATER);
	} else if (!(r->f->flags & ESWITCH_FIELD_LATER)) {
		read_l4(r);
	}
}

bool flow_fields_read(struct rte_mbuf *m, union flow_fields *ret, struct flow_layout *ret_layout)
{
	struct reading r = { .m = m, .f = &ret->f, .layout = ret_layout, .end = m->pkt_len };

	*ret = (union flow_fields){ 0 };
	*ret_layout = (struct flow_layout){ 0 };
	const uint8_t *frame = have(&r, ETHER_BYTES);
	if (!frame)
		return false;
	memcpy(ret->f.eth_dst, frame, 12);
	uint16_t type = ret->f.eth_type = load16(frame + 12);
	r.offset = ETHER_BYTES;
	if (flow_is_vlan(type)) {
		const uint8_t *tag = have(&r, VLAN_BYTES);
		if (!tag)
			return true;
		ret->f.flags |= ESWITCH_FIELD_VLAN;
		ret->f.vlan_tci = load16(tag) & RTE_BE16(0xefff);
		type = ret->f.inner_type = load16(tag + 2);
		r.offset += VLAN_BYTES;
	}
	if (type == RTE_BE16(RTE_ETHER_TYPE_IPV4))
		read_ipv4(&r);
	else if (type == RTE_BE16(RTE_ETHER_TYPE_IPV6))
		read_ipv6(&r);
	ret->f.spare = ret_layout->unread ? FLOW_UNREAD : ret_layout->family;
	ret_layout->proto = ret->f.ip_proto;
	return true;
}
