/* SPDX-License-Identifier: BSD-3-Clause */
/* The pattern of a flow as match and mask of header fields. */
#include "translate.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <rte_common.h>
#include <rte_errno.h>
#include <rte_ether.h>
#include <rte_ip.h>

enum layer { LAYER_NONE, LAYER_ETH, LAYER_VLAN, LAYER_IP, LAYER_FRAGMENT, LAYER_L4 };

struct pattern {
	uint16_t dpdk_port;
	struct eswitch_fields *match, *mask;
	enum layer layer;
	bool tagged, ip, v6;
	const struct rte_flow_item *item; /* the one that is looked at */
	struct rte_flow_error *error;
};

#define REFUSE(pattern_, errno_, type_, sentence_)                                                                     \
	rte_flow_error_set((pattern_)->error, errno_, RTE_FLOW_ERROR_TYPE_##type_, (pattern_)->item, sentence_)

/* The item's spec and mask copied, bits outside the mask cleared; an item without a spec matches by being there. */
static void masked(const struct rte_flow_item *item, const void *default_mask, size_t bytes, void *ret_spec,
		   void *ret_mask)
{
	uint8_t *spec = ret_spec, *mask = ret_mask;

	memset(spec, 0, bytes);
	memset(mask, 0, bytes);
	if (!item->spec)
		return;
	memcpy(mask, item->mask ? item->mask : default_mask, bytes);
	memcpy(spec, item->spec, bytes);
	for (size_t i = 0; i < bytes; i++)
		spec[i] &= mask[i];
}

static bool is_zero(const void *bytes, size_t count)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < count; i++)
		if (at[i])
			return false;
	return true;
}

/* An item that says what a field must be, by being there. */
static int require16(struct pattern *pattern, rte_be16_t *match, rte_be16_t *mask, uint16_t value)
{
	if ((*match ^ rte_cpu_to_be_16(value)) & *mask)
		return REFUSE(pattern, EINVAL, ITEM_SPEC, "the type before this header says that it is another one");
	*match = rte_cpu_to_be_16(value);
	*mask = UINT16_MAX;
	return 0;
}

static int require_proto(struct pattern *pattern, uint8_t value)
{
	if ((pattern->match->ip_proto ^ value) & pattern->mask->ip_proto)
		return REFUSE(pattern, EINVAL, ITEM_SPEC,
			      "the protocol before this header says that it is another one");
	pattern->match->ip_proto = value;
	pattern->mask->ip_proto = UINT8_MAX;
	return 0;
}

static void set_flag(struct pattern *pattern, uint8_t flag, bool on)
{
	pattern->mask->flags |= flag;
	if (on)
		pattern->match->flags |= flag;
}

/* Headers stand in the order of the frame, each at most once. */
static int advance(struct pattern *pattern, enum layer layer)
{
	if (pattern->layer >= layer)
		return REFUSE(pattern, ENOTSUP, ITEM,
			      layer == LAYER_VLAN ? "one VLAN tag can be matched, the outermost"
						  : "headers inside tunnels and repeated headers cannot be matched");
	pattern->layer = layer;
	return 0;
}

/* ---- items ---- */

static int check_port(struct pattern *pattern, bool id_given, uint32_t id, uint32_t mask)
{
	if (!id_given || (id ^ pattern->dpdk_port) & mask)
		return REFUSE(pattern, ENOTSUP, ITEM_SPEC,
			      "flows are created on the port that they match: name that or none");
	return 0;
}

/* Where frames come from, said once more: the member behind the port that the flow is created on. */
static int item_port_id(struct pattern *pattern)
{
	struct rte_flow_item_port_id spec, mask;

	masked(pattern->item, &rte_flow_item_port_id_mask, sizeof(spec), &spec, &mask);
	return check_port(pattern, pattern->item->spec, spec.id, mask.id);
}

static int item_represented_port(struct pattern *pattern)
{
	struct rte_flow_item_ethdev spec, mask;

	masked(pattern->item, &rte_flow_item_ethdev_mask, sizeof(spec), &spec, &mask);
	return check_port(pattern, pattern->item->spec, spec.port_id, mask.port_id);
}

static int item_port_representor(struct pattern *pattern)
{
	return REFUSE(pattern, ENOTSUP, ITEM,
		      "frames that the application sends are not looked at: match REPRESENTED_PORT");
}

static int item_eth(struct pattern *pattern)
{
	struct rte_flow_item_eth spec, mask;

	if (advance(pattern, LAYER_ETH) < 0)
		return -rte_errno;
	masked(pattern->item, &rte_flow_item_eth_mask, sizeof(spec), &spec, &mask);
	memcpy(pattern->match->eth_dst, &spec.hdr.dst_addr, RTE_ETHER_ADDR_LEN);
	memcpy(pattern->mask->eth_dst, &mask.hdr.dst_addr, RTE_ETHER_ADDR_LEN);
	memcpy(pattern->match->eth_src, &spec.hdr.src_addr, RTE_ETHER_ADDR_LEN);
	memcpy(pattern->mask->eth_src, &mask.hdr.src_addr, RTE_ETHER_ADDR_LEN);
	pattern->match->eth_type = spec.hdr.ether_type;
	pattern->mask->eth_type = mask.hdr.ether_type;
	if (mask.has_vlan)
		set_flag(pattern, ESWITCH_FIELD_VLAN, spec.has_vlan);
	return 0;
}

static int item_vlan(struct pattern *pattern)
{
	struct rte_flow_item_vlan spec, mask;

	if (advance(pattern, LAYER_VLAN) < 0)
		return -rte_errno;
	if (pattern->mask->flags & ESWITCH_FIELD_VLAN && !(pattern->match->flags & ESWITCH_FIELD_VLAN))
		return REFUSE(pattern, EINVAL, ITEM, "the ETH item says that there is no VLAN tag");
	masked(pattern->item, &rte_flow_item_vlan_mask, sizeof(spec), &spec, &mask);
	if (mask.hdr.vlan_tci & RTE_BE16(0x1000))
		return REFUSE(pattern, ENOTSUP, ITEM_MASK, "the DEI bit of a tag cannot be matched");
	if (mask.has_more_vlan)
		return REFUSE(pattern, ENOTSUP, ITEM_MASK, "match inner_type instead of has_more_vlan");
	set_flag(pattern, ESWITCH_FIELD_VLAN, true);
	pattern->tagged = true;
	pattern->match->vlan_tci = spec.hdr.vlan_tci;
	pattern->mask->vlan_tci = mask.hdr.vlan_tci;
	pattern->match->inner_type = spec.hdr.eth_proto;
	pattern->mask->inner_type = mask.hdr.eth_proto;
	return 0;
}

static int require_ip(struct pattern *pattern, uint16_t type)
{
	struct eswitch_fields *match = pattern->match, *mask = pattern->mask;

	if (advance(pattern, LAYER_IP) < 0)
		return -rte_errno;
	if (!pattern->tagged && match->flags & ESWITCH_FIELD_VLAN)
		return REFUSE(pattern, ENOTSUP, ITEM, "what stands behind a tag needs a VLAN item before it");
	pattern->ip = true;
	pattern->v6 = type == RTE_ETHER_TYPE_IPV6;
	return pattern->tagged ? require16(pattern, &match->inner_type, &mask->inner_type, type)
			       : require16(pattern, &match->eth_type, &mask->eth_type, type);
}

/* The fragments that an offset field with its more-fragments bit describes, as OVS and others say it: no fragment at
 * all, the first one, or (as a range of offsets) all later ones. */
static int fragments(struct pattern *pattern, uint16_t spec, uint16_t mask, const uint16_t *last, uint16_t offset_bits,
		     uint16_t more_bit)
{
	if (last) {
		/* Of IPv4, OVS says 8 where it means the first: it shifts by three as for IPv6. */
		if (mask != offset_bits || *last != offset_bits || (spec != (offset_bits & -offset_bits) && spec != 8))
			return REFUSE(
				pattern, ENOTSUP, ITEM_LAST,
				"the one range of fragment offsets is from the first to the last: later fragments");
		set_flag(pattern, ESWITCH_FIELD_FRAGMENT, true);
		set_flag(pattern, ESWITCH_FIELD_LATER, true);
		return 0;
	}
	if (!mask)
		return 0;
	if (mask == offset_bits && spec == 0) {
		set_flag(pattern, ESWITCH_FIELD_LATER, false);
		return 0;
	}
	if (mask != (offset_bits | more_bit) || spec & offset_bits)
		return REFUSE(pattern, ENOTSUP, ITEM_MASK,
			      "of fragments can be matched: none, the first one, later ones as a range");
	set_flag(pattern, ESWITCH_FIELD_FRAGMENT, spec != 0);
	set_flag(pattern, ESWITCH_FIELD_LATER, false);
	return 0;
}

/* What `last` holds beyond spec, when it is the range of a 16-bit field alone. */
static int range16(struct pattern *pattern, size_t bytes, size_t offset, uint16_t *ret, bool *ret_is_range)
{
	uint8_t rest[sizeof(struct rte_flow_item_ipv6)] = { 0 };
	const struct rte_flow_item *item = pattern->item;
	rte_be16_t value, first;

	*ret_is_range = false;
	if (!item->last || !item->spec)
		return 0;
	memcpy(rest, item->last, bytes);
	memcpy(&value, rest + offset, sizeof(value));
	memcpy(&first, (const uint8_t *)item->spec + offset, sizeof(first));
	memset(rest + offset, 0, sizeof(value));
	for (size_t i = 0; i < bytes; i++)
		if (rest[i] && rest[i] != ((const uint8_t *)item->spec)[i])
			return REFUSE(pattern, ENOTSUP, ITEM_LAST, "only fragment offsets can be a range");
	*ret_is_range = value != 0 && value != first;
	*ret = rte_be_to_cpu_16(value);
	return 0;
}

static int item_ipv4(struct pattern *pattern)
{
	struct rte_flow_item_ipv4 spec, mask, other;
	uint16_t last = 0;
	bool range;

	if (require_ip(pattern, RTE_ETHER_TYPE_IPV4) < 0 ||
	    range16(pattern, sizeof(spec), offsetof(struct rte_flow_item_ipv4, hdr.fragment_offset), &last, &range) < 0)
		return -rte_errno;
	masked(pattern->item, &rte_flow_item_ipv4_mask, sizeof(spec), &spec, &mask);
	pattern->match->ip_tos = spec.hdr.type_of_service;
	pattern->mask->ip_tos = mask.hdr.type_of_service;
	pattern->match->ip_ttl = spec.hdr.time_to_live;
	pattern->mask->ip_ttl = mask.hdr.time_to_live;
	pattern->match->ip_proto = spec.hdr.next_proto_id;
	pattern->mask->ip_proto = mask.hdr.next_proto_id;
	pattern->match->ip4_src = spec.hdr.src_addr;
	pattern->mask->ip4_src = mask.hdr.src_addr;
	pattern->match->ip4_dst = spec.hdr.dst_addr;
	pattern->mask->ip4_dst = mask.hdr.dst_addr;
	other = mask;
	other.hdr.type_of_service = other.hdr.time_to_live = other.hdr.next_proto_id = 0;
	other.hdr.src_addr = other.hdr.dst_addr = 0;
	other.hdr.fragment_offset = 0;
	if (!is_zero(&other, sizeof(other)))
		return REFUSE(pattern, ENOTSUP, ITEM_MASK,
			      "of IPv4 can be matched: addresses, protocol, TOS, TTL, fragment offset");
	return fragments(pattern, rte_be_to_cpu_16(spec.hdr.fragment_offset),
			 rte_be_to_cpu_16(mask.hdr.fragment_offset), range ? &last : NULL, RTE_IPV4_HDR_OFFSET_MASK,
			 RTE_IPV4_HDR_MF_FLAG);
}

static int item_ipv6(struct pattern *pattern)
{
	struct rte_flow_item_ipv6 spec, mask, other;
	const uint32_t traffic_class = RTE_IPV6_HDR_TC_MASK;

	if (require_ip(pattern, RTE_ETHER_TYPE_IPV6) < 0)
		return -rte_errno;
	masked(pattern->item, &rte_flow_item_ipv6_mask, sizeof(spec), &spec, &mask);
	pattern->match->ip_tos = (uint8_t)(rte_be_to_cpu_32(spec.hdr.vtc_flow) >> RTE_IPV6_HDR_TC_SHIFT);
	pattern->mask->ip_tos = (uint8_t)(rte_be_to_cpu_32(mask.hdr.vtc_flow) >> RTE_IPV6_HDR_TC_SHIFT);
	pattern->match->ip_ttl = spec.hdr.hop_limits;
	pattern->mask->ip_ttl = mask.hdr.hop_limits;
	pattern->match->ip_proto = spec.hdr.proto;
	pattern->mask->ip_proto = mask.hdr.proto;
	memcpy(pattern->match->ip6_src, &spec.hdr.src_addr, 16);
	memcpy(pattern->mask->ip6_src, &mask.hdr.src_addr, 16);
	memcpy(pattern->match->ip6_dst, &spec.hdr.dst_addr, 16);
	memcpy(pattern->mask->ip6_dst, &mask.hdr.dst_addr, 16);
	if (mask.has_frag_ext)
		set_flag(pattern, ESWITCH_FIELD_FRAGMENT, spec.has_frag_ext);
	other = mask;
	other.hdr.vtc_flow &= ~rte_cpu_to_be_32(traffic_class);
	other.hdr.hop_limits = other.hdr.proto = 0;
	memset(&other.hdr.src_addr, 0, 16);
	memset(&other.hdr.dst_addr, 0, 16);
	other.has_frag_ext = 0;
	if (!is_zero(&other, sizeof(other)))
		return REFUSE(pattern, ENOTSUP, ITEM_MASK,
			      "of IPv6 can be matched: addresses, protocol, traffic class, hop limit, has_frag_ext");
	return 0;
}

static int item_fragment(struct pattern *pattern)
{
	static const struct rte_flow_item_ipv6_frag_ext default_mask = {
		.hdr.frag_data = RTE_BE16(RTE_IPV6_EHDR_FO_MASK | RTE_IPV6_EHDR_MF_MASK),
	};
	struct rte_flow_item_ipv6_frag_ext spec, mask;
	uint16_t last = 0;
	bool range;

	if (!pattern->v6 ||
	    (pattern->mask->flags & ESWITCH_FIELD_FRAGMENT && !(pattern->match->flags & ESWITCH_FIELD_FRAGMENT)))
		return REFUSE(pattern, EINVAL, ITEM,
			      "a fragment header stands behind an IPv6 header that may have one");
	if (advance(pattern, LAYER_FRAGMENT) < 0 ||
	    range16(pattern, sizeof(spec), offsetof(struct rte_flow_item_ipv6_frag_ext, hdr.frag_data), &last, &range) <
		    0)
		return -rte_errno;
	masked(pattern->item, &default_mask, sizeof(spec), &spec, &mask);
	if (mask.hdr.reserved || mask.hdr.id)
		return REFUSE(pattern, ENOTSUP, ITEM_MASK,
			      "of a fragment header can be matched: offset, M bit, next header");
	if (mask.hdr.next_header == UINT8_MAX && require_proto(pattern, spec.hdr.next_header) < 0)
		return -rte_errno;
	set_flag(pattern, ESWITCH_FIELD_FRAGMENT, true);
	return fragments(pattern, rte_be_to_cpu_16(spec.hdr.frag_data), rte_be_to_cpu_16(mask.hdr.frag_data),
			 range ? &last : NULL, RTE_IPV6_EHDR_FO_MASK, RTE_IPV6_EHDR_MF_MASK);
}

/* Behind the IP header. Later fragments have no such header; that an item nevertheless says which it would be, as OVS's
 * do, is a match of the protocol. */
static int require_l4(struct pattern *pattern, uint8_t proto)
{
	if (!pattern->ip)
		return REFUSE(pattern, EINVAL, ITEM, "this header needs an IPV4 or IPV6 item before it");
	if (advance(pattern, LAYER_L4) < 0 || require_proto(pattern, proto) < 0)
		return -rte_errno;
	if (!(pattern->match->flags & ESWITCH_FIELD_LATER))
		set_flag(pattern, ESWITCH_FIELD_LATER, false);
	return 0;
}

/* After the fields of such an item. */
static int check_l4(struct pattern *pattern)
{
	const struct eswitch_fields *mask = pattern->mask;

	if (pattern->match->flags & ESWITCH_FIELD_LATER && (mask->l4_src || mask->l4_dst || mask->tcp_flags))
		return REFUSE(pattern, EINVAL, ITEM_MASK, "later fragments have no such header");
	return 0;
}

static void set_ports(struct pattern *pattern, rte_be16_t src, rte_be16_t dst, rte_be16_t src_mask, rte_be16_t dst_mask)
{
	pattern->match->l4_src = src;
	pattern->match->l4_dst = dst;
	pattern->mask->l4_src = src_mask;
	pattern->mask->l4_dst = dst_mask;
}

static int item_tcp(struct pattern *pattern)
{
	struct rte_flow_item_tcp spec, mask, other;

	if (require_l4(pattern, IPPROTO_TCP) < 0)
		return -rte_errno;
	masked(pattern->item, &rte_flow_item_tcp_mask, sizeof(spec), &spec, &mask);
	set_ports(pattern, spec.hdr.src_port, spec.hdr.dst_port, mask.hdr.src_port, mask.hdr.dst_port);
	/* The high four of the 12 flags are the low bits of data_off. */
	pattern->match->tcp_flags = rte_cpu_to_be_16((uint16_t)((spec.hdr.data_off & 0xf) << 8 | spec.hdr.tcp_flags));
	pattern->mask->tcp_flags = rte_cpu_to_be_16((uint16_t)((mask.hdr.data_off & 0xf) << 8 | mask.hdr.tcp_flags));
	other = mask;
	other.hdr.src_port = other.hdr.dst_port = 0;
	other.hdr.tcp_flags = 0;
	other.hdr.data_off &= 0xf0;
	return is_zero(&other, sizeof(other))
		       ? 0
		       : REFUSE(pattern, ENOTSUP, ITEM_MASK, "of TCP can be matched: ports, flags");
}

static int item_udp(struct pattern *pattern)
{
	struct rte_flow_item_udp spec, mask;

	if (require_l4(pattern, IPPROTO_UDP) < 0)
		return -rte_errno;
	masked(pattern->item, &rte_flow_item_udp_mask, sizeof(spec), &spec, &mask);
	set_ports(pattern, spec.hdr.src_port, spec.hdr.dst_port, mask.hdr.src_port, mask.hdr.dst_port);
	return mask.hdr.dgram_len || mask.hdr.dgram_cksum
		       ? REFUSE(pattern, ENOTSUP, ITEM_MASK, "of UDP can be matched: ports")
		       : 0;
}

static int item_sctp(struct pattern *pattern)
{
	struct rte_flow_item_sctp spec, mask;

	if (require_l4(pattern, IPPROTO_SCTP) < 0)
		return -rte_errno;
	masked(pattern->item, &rte_flow_item_sctp_mask, sizeof(spec), &spec, &mask);
	set_ports(pattern, spec.hdr.src_port, spec.hdr.dst_port, mask.hdr.src_port, mask.hdr.dst_port);
	return mask.hdr.tag || mask.hdr.cksum ? REFUSE(pattern, ENOTSUP, ITEM_MASK, "of SCTP can be matched: ports")
					      : 0;
}

static int item_icmp(struct pattern *pattern)
{
	struct rte_flow_item_icmp spec, mask, other;

	if (pattern->v6)
		return REFUSE(pattern, EINVAL, ITEM, "behind IPv6 the item is ICMP6");
	if (require_l4(pattern, IPPROTO_ICMP) < 0)
		return -rte_errno;
	masked(pattern->item, &rte_flow_item_icmp_mask, sizeof(spec), &spec, &mask);
	set_ports(pattern, rte_cpu_to_be_16(spec.hdr.icmp_type), rte_cpu_to_be_16(spec.hdr.icmp_code),
		  rte_cpu_to_be_16(mask.hdr.icmp_type), rte_cpu_to_be_16(mask.hdr.icmp_code));
	other = mask;
	other.hdr.icmp_type = other.hdr.icmp_code = 0;
	return is_zero(&other, sizeof(other))
		       ? 0
		       : REFUSE(pattern, ENOTSUP, ITEM_MASK, "of ICMP can be matched: type, code");
}

static int item_icmp6(struct pattern *pattern)
{
	struct rte_flow_item_icmp6 spec, mask;

	if (!pattern->v6)
		return REFUSE(pattern, EINVAL, ITEM, "ICMP6 stands behind IPv6");
	if (require_l4(pattern, IPPROTO_ICMPV6) < 0)
		return -rte_errno;
	masked(pattern->item, &rte_flow_item_icmp6_mask, sizeof(spec), &spec, &mask);
	set_ports(pattern, rte_cpu_to_be_16(spec.type), rte_cpu_to_be_16(spec.code), rte_cpu_to_be_16(mask.type),
		  rte_cpu_to_be_16(mask.code));
	return mask.checksum ? REFUSE(pattern, ENOTSUP, ITEM_MASK, "of ICMPv6 can be matched: type, code") : 0;
}

static const struct {
	enum rte_flow_item_type type;
	int (*take)(struct pattern *pattern);
	bool range; /* `last` is looked at */
} items[] = {
	{ RTE_FLOW_ITEM_TYPE_PORT_ID, item_port_id, false },
	{ RTE_FLOW_ITEM_TYPE_REPRESENTED_PORT, item_represented_port, false },
	{ RTE_FLOW_ITEM_TYPE_PORT_REPRESENTOR, item_port_representor, false },
	{ RTE_FLOW_ITEM_TYPE_ETH, item_eth, false },
	{ RTE_FLOW_ITEM_TYPE_VLAN, item_vlan, false },
	{ RTE_FLOW_ITEM_TYPE_IPV4, item_ipv4, true },
	{ RTE_FLOW_ITEM_TYPE_IPV6, item_ipv6, false },
	{ RTE_FLOW_ITEM_TYPE_IPV6_FRAG_EXT, item_fragment, true },
	{ RTE_FLOW_ITEM_TYPE_TCP, item_tcp, false },
	{ RTE_FLOW_ITEM_TYPE_UDP, item_udp, false },
	{ RTE_FLOW_ITEM_TYPE_SCTP, item_sctp, false },
	{ RTE_FLOW_ITEM_TYPE_ICMP, item_icmp, false },
	{ RTE_FLOW_ITEM_TYPE_ICMP6, item_icmp6, false },
};

static int take_item(struct pattern *pattern)
{
	for (size_t i = 0; i < RTE_DIM(items); i++) {
		if (items[i].type != pattern->item->type)
			continue;
		if (!pattern->item->spec && (pattern->item->last || pattern->item->mask))
			return REFUSE(pattern, EINVAL, ITEM_SPEC, "a mask or a range needs a spec");
		if (pattern->item->last && !items[i].range)
			return REFUSE(pattern, ENOTSUP, ITEM_LAST, "only fragment offsets can be a range");
		return items[i].take(pattern) < 0 ? -rte_errno : check_l4(pattern);
	}
	return REFUSE(pattern, ENOTSUP, ITEM,
		      "what can be matched: ETH, VLAN, IPV4, IPV6, IPV6_FRAG_EXT, TCP, UDP, SCTP, ICMP, ICMP6");
}

int translate_pattern(const struct translate_port *port, const struct rte_flow_item *item, struct eswitch_rule *ret,
		      struct rte_flow_error *error)
{
	struct pattern pattern = {
		.dpdk_port = port->dpdk_port, .match = &ret->match, .mask = &ret->mask, .error = error
	};

	memset(&ret->match, 0, sizeof(ret->match));
	memset(&ret->mask, 0, sizeof(ret->mask));
	ret->match.in_port = port->number;
	ret->mask.in_port = UINT16_MAX;
	for (; item->type != RTE_FLOW_ITEM_TYPE_END; item++) {
		pattern.item = item;
		if (item->type != RTE_FLOW_ITEM_TYPE_VOID && take_item(&pattern) < 0)
			return -rte_errno;
	}
	return 0;
}
