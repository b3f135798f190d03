/* SPDX-License-Identifier: BSD-3-Clause */
/* One flow's fate: anti-spoofing, where it goes, where its answers go, security groups, and the compiled actions of
 * both directions. Reads only, so that `why` asks the same code as the first packet of a flow. */
#include "service/vswitch/datapath_priv.h"

#include <netinet/in.h>
#include <stdio.h>
#include "base/str.h"

enum { ETHER_BYTES = 14 };

/* What dp_evaluate() knows so far. */
struct flow {
	const struct dp *dp;
	const struct flow_key *key;
	const struct dp_vpc *vpc;
	struct ip_addr src, dst;
	const struct path_iface *in;
	const struct dp_vnic *sender;        /* NULL: it comes from the underlay */
	const struct dp_endpoint *src_owner; /* who has the source address; may be NULL */
	struct dp_verdict *verdict;
};

/* Where packets to an address go. */
struct way {
	enum drop_reason drop;
	bool routed;                     /* TTL - 1 and the router's MAC */
	const struct dp_vnic *vnic;      /* local receiver, else a tunnel */
	const struct dp_endpoint *owner; /* of the address itself; NULL behind a route */
	const struct dp_route *route;
	struct mac_addr mac;
	uint16_t out_iface;
	uint16_t mtu;
	uint32_t tunnel;
};

static void __attribute__((format(printf, 5, 6)))
step(struct dp_verdict *verdict, enum dp_step_kind kind, bool passed, uint32_t slot, const char *format, ...)
{
	if (verdict->step_count == DP_STEPS)
		return;
	struct dp_step *at = &verdict->steps[verdict->step_count++];
	*at = (struct dp_step){ .kind = (uint8_t)kind, .passed = passed, .slot = slot };
	va_list args;
	va_start(args, format);
	str_vformat(at->text, sizeof(at->text), format, args);
	va_end(args);
}

/* Sentences are made only for `why`: the arguments are not even evaluated otherwise. */
#define STEP(verdict, ...)                                                                                             \
	do {                                                                                                           \
		if (unlikely((verdict)->steps))                                                                        \
			step(verdict, __VA_ARGS__);                                                                    \
	} while (0)

struct words {
	char bytes[64];
};

static const char *ip_text(const struct ip_addr *address, struct words *buf)
{
	return address->family ? ip_format(address, buf->bytes) : "an unknown address";
}
#define IP(address) ip_text(address, &(struct words){ 0 })

static const char *mac_text(const struct mac_addr *mac, struct words *buf)
{
	return mac_format(mac, buf->bytes);
}
#define MAC(mac) mac_text(mac, &(struct words){ 0 })

void key_addresses(const struct flow_key *key, struct ip_addr *ret_src, struct ip_addr *ret_dst)
{
	struct ip_addr src = { 0 }, dst = { 0 };
	if (flow_key_is_v6(key)) {
		src.family = dst.family = IP_V6;
		memcpy(src.bytes, key->v6.src, 16);
		memcpy(dst.bytes, key->v6.dst, 16);
	} else {
		src.family = dst.family = IP_V4;
		memcpy(src.bytes, &key->v4.src, 4);
		memcpy(dst.bytes, &key->v4.dst, 4);
	}
	*ret_src = src;
	*ret_dst = dst;
}

bool vnic_has_address(const struct dp_vnic *vnic, const struct ip_addr *address)
{
	for (unsigned i = 0; i < vnic->address_count; i++)
		if (ip_equal(&vnic->addresses[i], address))
			return true;
	return false;
}

bool vnic_owns(const struct dp_vnic *vnic, const struct ip_addr *address)
{
	if (vnic_has_address(vnic, address))
		return true;
	struct ip_addr derived = ip_link_local(&vnic->iface.mac);
	return ip_equal(&derived, address);
}

static bool subnet_has(const struct dp_subnet *subnet, const struct ip_addr *address)
{
	return subnet && ip_prefix_contains(address->family == IP_V4 ? &subnet->v4 : &subnet->v6, address);
}

static bool subnet_has_gateway(const struct dp_subnet *subnet, const struct ip_addr *address)
{
	return ip_equal(address, &subnet->gateway_v4) || ip_equal(address, &subnet->gateway_v6) ||
	       ip_equal(address, &subnet->gateway_link_local);
}

bool is_gateway(const struct dp_vpc *vpc, const struct dp_subnet *near, const struct ip_addr *address,
		const struct dp_subnet **ret_subnet)
{
	const struct dp_subnet *subnet = near;
	if (!near || !subnet_has_gateway(near, address))
		subnet = dp_subnet_find(vpc, address);
	if (!subnet || !subnet_has_gateway(subnet, address))
		return false;
	*ret_subnet = subnet;
	return true;
}

/* IPv4's 127/8, 0/8, 240/4 and multicast; IPv6's ::, ::1 and multicast. */
static bool is_bad_source(const struct ip_addr *address)
{
	if (address->family == IP_V4)
		return address->bytes[0] == 0 || address->bytes[0] == 127 || address->bytes[0] >= 224;
	if (address->bytes[0] == 0xff)
		return true;
	static const uint8_t zero[15];
	return !memcmp(address->bytes, zero, 15) && address->bytes[15] <= 1;
}

/* ---- the sender ---- */

/* From a server's port to a client's: RFC 2131 4.1, RFC 8415 7.2. */
static bool is_dhcp_answer(const struct flow_key *key)
{
	bool v6 = flow_key_is_v6(key);
	return key->proto == IPPROTO_UDP && key->src_port == RTE_BE16(v6 ? 547 : 67) &&
	       key->dst_port == RTE_BE16(v6 ? 546 : 68);
}

static enum drop_reason check_vnic_source(const struct flow *flow, const struct rte_mbuf *frame)
{
	const struct dp_vnic *vnic = flow->sender;
	struct dp_verdict *verdict = flow->verdict;
	if (!vnic->port_security) {
		STEP(verdict, DP_STEP_SPOOF, true, 0, "port security of vNIC %s is off: any source is accepted",
		     vnic->name);
		return DROP_NONE;
	}
	if (frame && rte_pktmbuf_data_len(frame) >= ETHER_BYTES) {
		const struct mac_addr *mac = rte_pktmbuf_mtod_offset(frame, const struct mac_addr *, 6);
		if (!mac_equal(mac, &vnic->iface.mac)) {
			STEP(verdict, DP_STEP_SPOOF, false, vnic->slot, "source MAC %s is not that of vNIC %s",
			     MAC(mac), vnic->name);
			return DROP_SPOOFED_MAC;
		}
	}
	bool own = vnic_owns(vnic, &flow->src);
	STEP(verdict, DP_STEP_SPOOF, own, vnic->slot, "source %s is %s of vNIC %s", IP(&flow->src),
	     own ? "an address" : "none of the addresses", vnic->name);
	if (own && is_dhcp_answer(flow->key)) {
		STEP(verdict, DP_STEP_SPOOF, false, vnic->slot,
		     "UDP from port %u to %u is a DHCP server's, not vNIC %s's", rte_be_to_cpu_16(flow->key->src_port),
		     rte_be_to_cpu_16(flow->key->dst_port), vnic->name);
		return DROP_DHCP_SERVER;
	}
	return own ? DROP_NONE : DROP_SPOOFED_ADDRESS;
}

/* The VTEP behind which an address lives by our own mappings and routes; IP_NONE: none. */
static struct ip_addr vtep_of(const struct dp_vpc *vpc, const struct ip_addr *address, const struct dp_endpoint *owner)
{
	if (!owner && !ip_is_link_local(address) && !dp_subnet_find(vpc, address)) {
		const struct dp_route *route = dp_route_find(vpc, address);
		if (route && route->kind == DP_ROUTE_VTEP)
			return route->vtep;
		if (route && route->kind == DP_ROUTE_NEXT_HOP)
			owner = dp_endpoint_find(vpc, &route->next_hop);
	}
	return owner && owner->kind == DP_ENDPOINT_REMOTE ? owner->vtep : (struct ip_addr){ 0 };
}

bool vtep_is_right(const struct dp_vpc *vpc, const struct flow_key *key, const struct ip_addr *outer_src)
{
	if (!vpc || !vpc->validate_vtep)
		return vpc != NULL;
	struct ip_addr src, dst;
	key_addresses(key, &src, &dst);
	struct ip_addr vtep = vtep_of(vpc, &src, dp_endpoint_find(vpc, &src));
	return ip_equal(&vtep, outer_src);
}

static enum drop_reason check_tunnel_source(const struct flow *flow, const struct ip_addr *outer_src)
{
	struct dp_verdict *verdict = flow->verdict;
	if (flow->src_owner && flow->src_owner->kind == DP_ENDPOINT_LOCAL) {
		STEP(verdict, DP_STEP_SPOOF, false, 0, "source %s is a local vNIC's: it cannot come from the underlay",
		     IP(&flow->src));
		return DROP_SPOOFED_TUNNEL;
	}
	if (!flow->vpc->validate_vtep || !outer_src || !outer_src->family)
		return DROP_NONE;
	struct ip_addr vtep = vtep_of(flow->vpc, &flow->src, flow->src_owner);
	bool right = ip_equal(&vtep, outer_src);
	STEP(verdict, DP_STEP_SPOOF, right, 0, "source %s lives behind VTEP %s, the packet came from VTEP %s",
	     IP(&flow->src), IP(&vtep), IP(outer_src));
	return right ? DROP_NONE : DROP_SPOOFED_TUNNEL;
}

static enum drop_reason check_source(struct flow *flow, const struct ip_addr *outer_src, const struct rte_mbuf *frame)
{
	if (is_bad_source(&flow->src) || ip_equal(&flow->src, &flow->dst)) {
		STEP(flow->verdict, DP_STEP_SPOOF, false, 0, "%s cannot be the source of a packet to %s",
		     IP(&flow->src), IP(&flow->dst));
		return DROP_BAD_SOURCE;
	}
	return flow->sender ? check_vnic_source(flow, frame) : check_tunnel_source(flow, outer_src);
}

/* ---- the way ---- */

static void way_to_tunnel(const struct flow *flow, uint32_t index, const struct mac_addr *mac, struct way *way)
{
	const struct path_tunnel *tunnel = NULL;
	if (index < PATH_MAX_TUNNELS)
		tunnel = atomic_load_explicit(&flow->dp->config->tunnels[index], memory_order_acquire);
	if (!tunnel) {
		way->drop = DROP_NO_MAPPING;
		return;
	}
	const struct path_iface *uplink =
		atomic_load_explicit(&flow->dp->config->ifaces[tunnel->out_iface], memory_order_acquire);
	unsigned outer = (unsigned)tunnel->length - tunnel->l3_offset + ETHER_BYTES;
	way->mac = *mac;
	way->tunnel = index;
	way->out_iface = tunnel->out_iface;
	way->mtu = uplink && uplink->mtu > outer ? (uint16_t)(uplink->mtu - outer) : 0;
}

static void way_to_endpoint(const struct flow *flow, const struct dp_endpoint *endpoint, struct way *way)
{
	if (endpoint->kind == DP_ENDPOINT_REMOTE) {
		way_to_tunnel(flow, endpoint->tunnel, &endpoint->mac, way);
		return;
	}
	way->vnic = dp_vnic_of(flow->dp, endpoint->iface);
	if (!way->vnic) {
		way->drop = DROP_NO_MAPPING;
		return;
	}
	way->mac = endpoint->mac;
	way->out_iface = endpoint->iface;
	way->mtu = way->vnic->iface.mtu;
}

static void way_by_route(const struct flow *flow, const struct ip_addr *dst, struct way *way)
{
	const struct dp_route *route = way->route = dp_route_find(flow->vpc, dst);
	way->routed = true;
	if (!route) {
		way->drop = DROP_NO_ROUTE;
	} else if (route->kind == DP_ROUTE_VTEP) {
		way_to_tunnel(flow, route->tunnel, &route->mac, way);
	} else if (route->kind == DP_ROUTE_NEXT_HOP) {
		const struct dp_endpoint *hop = dp_endpoint_find(flow->vpc, &route->next_hop);
		if (hop)
			way_to_endpoint(flow, hop, way);
		else
			way->drop = DROP_NO_MAPPING;
	} else {
		way->drop = DROP_ROUTE_DROP;
	}
}

static bool is_broadcast(const struct dp_subnet *subnet, const struct ip_addr *address)
{
	if (address->family != IP_V4 || subnet->v4.length > 30)
		return false;
	uint32_t word;
	memcpy(&word, address->bytes, 4);
	uint32_t host = UINT32_MAX >> subnet->v4.length;
	return (rte_be_to_cpu_32(word) & host) == host;
}

/* On the link of `subnet`. Whether a link-local address is, its owner tells: check_scope(). */
static bool is_neighbour(const struct dp_subnet *subnet, const struct ip_addr *address)
{
	return ip_is_link_local(address) || subnet_has(subnet, address);
}

/* The way to dst for one whose subnet is `near` (may be NULL). owner is that of dst, if it is known already. */
static void find_way(const struct flow *flow, const struct dp_subnet *near, const struct ip_addr *dst,
		     const struct dp_endpoint *owner, struct way *way)
{
	*way = (struct way){ .owner = owner };
	if (owner) {
		way->routed = !is_neighbour(near, dst);
		way_to_endpoint(flow, owner, way);
		return;
	}
	const struct dp_subnet *subnet = dp_subnet_find(flow->vpc, dst);
	if (!subnet && !ip_is_link_local(dst))
		way_by_route(flow, dst, way);
	else if (!subnet)
		way->drop = DROP_NO_MAPPING;
	else
		way->drop = is_broadcast(subnet, dst) ? DROP_MULTICAST : DROP_NO_MAPPING;
}

static void explain_way(const struct flow *flow, const struct ip_addr *dst, const struct way *way)
{
	struct dp_verdict *verdict = flow->verdict;
	const struct dp_route *route = way->route;
	if (route) {
		char prefix[PREFIX_TEXT];
		ip_prefix_format(&route->prefix, prefix);
		if (route->kind == DP_ROUTE_NEXT_HOP)
			step(verdict, DP_STEP_ROUTE, true, route->slot, "route %s covers %s: next hop %s", prefix,
			     IP(dst), IP(&route->next_hop));
		else if (route->kind == DP_ROUTE_VTEP)
			step(verdict, DP_STEP_ROUTE, true, route->slot, "route %s covers %s: VTEP %s", prefix, IP(dst),
			     IP(&route->vtep));
		else
			step(verdict, DP_STEP_ROUTE, false, route->slot, "route %s covers %s and says drop", prefix,
			     IP(dst));
	} else if (way->drop == DROP_NO_ROUTE) {
		step(verdict, DP_STEP_ROUTE, false, 0, "no subnet and no route of VPC %s covers %s", flow->vpc->name,
		     IP(dst));
	} else {
		const struct dp_subnet *subnet = dp_subnet_find(flow->vpc, dst);
		step(verdict, DP_STEP_ROUTE, true, subnet ? subnet->slot : 0, "%s is %s of VPC %s", IP(dst),
		     subnet                  ? "in a subnet"
		     : ip_is_link_local(dst) ? "a link-local address"
					     : "a mapped address",
		     flow->vpc->name);
	}
	if (way->drop == DROP_NO_MAPPING)
		step(verdict, DP_STEP_ENDPOINT, false, 0, "nobody has %s", IP(route ? &route->next_hop : dst));
	else if (way->drop == DROP_MULTICAST)
		step(verdict, DP_STEP_ENDPOINT, false, 0, "%s is the broadcast address of its subnet", IP(dst));
	else if (!way->drop && way->vnic)
		step(verdict, DP_STEP_ENDPOINT, true, way->vnic->slot, "it is at local vNIC %s, MAC %s",
		     way->vnic->name, MAC(&way->mac));
	else if (!way->drop)
		step(verdict, DP_STEP_ENDPOINT, true, 0, "it is behind VTEP %s (tunnel %u), MAC %s",
		     IP(route && route->kind == DP_ROUTE_VTEP ? &route->vtep
			: way->owner                          ? &way->owner->vtep
							      : &(struct ip_addr){ 0 }),
		     way->tunnel, MAC(&way->mac));
}

/* ---- security groups ---- */

/* What rules look at: "tcp port 80", "icmp type 8 code 0". */
static const char *service_text(const struct flow_key *key, struct words *buf)
{
	unsigned port = rte_be_to_cpu_16(key->dst_port);
	switch (key->proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		snprintf(buf->bytes, sizeof(buf->bytes), "%s port %u",
			 key->proto == IPPROTO_TCP   ? "tcp"
			 : key->proto == IPPROTO_UDP ? "udp"
						     : "sctp",
			 port);
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		snprintf(buf->bytes, sizeof(buf->bytes), "%s type %u code %u",
			 key->proto == IPPROTO_ICMP ? "icmp" : "icmpv6", port >> 8, port & 255);
		break;
	default:
		snprintf(buf->bytes, sizeof(buf->bytes), "protocol %u", key->proto);
	}
	return buf->bytes;
}

/* One direction of one vNIC: the slot of the rule that allows, 0 if none is needed; false if none allows. */
static bool groups_allow(const struct flow *flow, const struct dp_vnic *vnic, bool egress, const struct ip_addr *remote,
			 const uint32_t *remote_groups, unsigned remote_group_count, uint32_t *ret_rule)
{
	struct dp_verdict *verdict = flow->verdict;
	enum dp_step_kind kind = egress ? DP_STEP_EGRESS : DP_STEP_INGRESS;
	const char *way = egress ? "egress" : "ingress";
	if (!vnic->security_groups_on) {
		STEP(verdict, kind, true, 0, "vNIC %s has no security groups: everything is allowed", vnic->name);
		return true;
	}
	unsigned family = remote->family == IP_V4 ? 0 : 1;
	uint16_t port = rte_be_to_cpu_16(flow->key->dst_port);
	*ret_rule = dp_rules_match(egress ? vnic->egress[family] : vnic->ingress[family], flow->key->proto, port,
				   remote, remote_groups, remote_group_count);
	if (*ret_rule)
		STEP(verdict, kind, true, *ret_rule, "%s rule %u of the security groups of vNIC %s allows it", way,
		     *ret_rule, vnic->name);
	else
		STEP(verdict, kind, false, 0, "no %s rule of the security groups of vNIC %s allows %s %s %s", way,
		     vnic->name, service_text(flow->key, &(struct words){ 0 }), egress ? "to" : "from", IP(remote));
	return *ret_rule != 0;
}

static enum drop_reason check_groups(const struct flow *flow, const struct way *way)
{
	struct dp_verdict *verdict = flow->verdict;
	const struct dp_endpoint *dst = way->owner, *src = flow->src_owner;
	if (flow->sender && !groups_allow(flow, flow->sender, true, &flow->dst, dst ? dst->groups : NULL,
					  dst ? dst->group_count : 0, &verdict->rule[0]))
		return DROP_EGRESS_DENIED;
	if (way->vnic && !groups_allow(flow, way->vnic, false, &flow->src, src ? src->groups : NULL,
				       src ? src->group_count : 0, &verdict->rule[1]))
		return DROP_INGRESS_DENIED;
	return DROP_NONE;
}

/* ---- compiled actions ---- */

/* Packets from the underlay must go on coming from the tunnel endpoint behind which their source lives. */
static uint32_t tag_of(const struct flow *flow, const struct ip_addr *address, const struct dp_endpoint *owner)
{
	struct ip_addr vtep = flow->vpc->validate_vtep ? vtep_of(flow->vpc, address, owner) : (struct ip_addr){ 0 };

	return vtep.family ? path_vtep_tag(flow->dp->config, vtep.bytes, vtep.family == IP_V6) : 0;
}

static void compile(const struct flow *flow, const struct way *way, bool from_underlay, uint32_t epoch,
		    struct session_dir *ret)
{
	*ret = (struct session_dir){
		.out_iface = way->out_iface,
		.epoch = epoch,
		.ops = SESSION_OP_SET_MACS,
		.mtu = way->mtu,
		.tunnel = way->vnic ? 0 : way->tunnel,
	};
	memcpy(ret->dst_mac, way->mac.bytes, 6);
	if (!way->vnic)
		ret->ops |= SESSION_OP_ENCAP;
	/* The sending side routes: what comes from the underlay has had its TTL decremented there. */
	if (way->routed && !from_underlay)
		ret->ops |= SESSION_OP_DEC_TTL;
	memcpy(ret->src_mac, flow->vpc->router_mac.bytes, 6);
}

static void compile_forward(const struct flow *flow, const struct way *way, uint32_t epoch)
{
	struct session_dir *dir = &flow->verdict->forward;
	compile(flow, way, !flow->sender, epoch, dir);
	dir->in_iface = flow->in->id;
	if (!flow->sender)
		dir->tunnel = tag_of(flow, &flow->src, flow->src_owner);
	if (way->routed)
		return;
	if (flow->sender)
		dir->ops |= SESSION_OP_KEEP_SRC_MAC;
	else if (flow->src_owner)
		memcpy(dir->src_mac, flow->src_owner->mac.bytes, 6);
}

/* Answers come from where the flow goes to and return by the routing of that side. */
static void compile_reverse(const struct flow *flow, const struct way *way, uint32_t epoch)
{
	struct dp_verdict *verdict = flow->verdict;
	struct way back;
	find_way(flow, way->vnic ? way->vnic->subnet : NULL, &flow->src, flow->src_owner, &back);
	if (!way->vnic && !back.drop && !back.vnic)
		back.drop = DROP_HAIRPIN;
	/* Seen from the underlay the other side has routed: what tells is whether our own receiver is its neighbour. */
	if (!way->vnic && back.vnic)
		back.routed = !is_neighbour(back.vnic->subnet, &flow->dst);
	verdict->reverse_drop = back.drop;
	if (back.drop)
		return;
	struct session_dir *dir = &verdict->reverse;
	compile(flow, &back, !way->vnic, epoch, dir);
	dir->in_iface = way->out_iface;
	if (!way->vnic)
		dir->tunnel = tag_of(flow, &flow->dst, way->owner);
	if (back.routed)
		return;
	if (way->vnic)
		dir->ops |= SESSION_OP_KEEP_SRC_MAC;
	else
		memcpy(dir->src_mac, way->mac.bytes, 6);
}

/* ---- */

static bool flow_init(struct flow *flow, uint16_t in_iface)
{
	flow->in = atomic_load_explicit(&flow->dp->config->ifaces[in_iface], memory_order_acquire);
	flow->vpc = dp_vpc_of(flow->dp, flow->key->vpc);
	if (!flow->in || !flow->vpc)
		return false;
	key_addresses(flow->key, &flow->src, &flow->dst);
	if (flow->in->kind == PATH_IFACE_VNIC) {
		flow->sender = (const struct dp_vnic *)flow->in;
		return flow->sender->iface.vpc == flow->key->vpc;
	}
	return true;
}

static enum drop_reason check_destination(const struct flow *flow, const struct dp_endpoint *owner)
{
	const struct dp_subnet *subnet = flow->sender ? flow->sender->subnet : NULL;
	if (ip_is_multicast(&flow->dst) || (flow->dst.family == IP_V4 && flow->dst.bytes[0] >= 240)) {
		STEP(flow->verdict, DP_STEP_ROUTE, false, 0,
		     "%s is multicast or broadcast: only first-hop services see it", IP(&flow->dst));
		return DROP_MULTICAST;
	}
	if (!owner && is_gateway(flow->vpc, subnet, &flow->dst, &subnet)) {
		STEP(flow->verdict, DP_STEP_ROUTE, false, subnet->slot,
		     "%s is a gateway: its first-hop service answers", IP(&flow->dst));
		return DROP_SERVICE_HANDLED;
	}
	return DROP_NONE;
}

static enum drop_reason choose_way(const struct flow *flow, const struct dp_endpoint *owner, struct way *way)
{
	find_way(flow, flow->sender ? flow->sender->subnet : NULL, &flow->dst, owner, way);
	if (!way->drop && way->route && way->vnic && way->vnic == flow->sender) {
		STEP(flow->verdict, DP_STEP_ROUTE, false, way->route->slot, "the route to %s leads back to its sender",
		     IP(&flow->dst));
		return DROP_NO_ROUTE;
	}
	if (unlikely(flow->verdict->steps))
		explain_way(flow, &flow->dst, way);
	if (way->drop || flow->sender)
		return way->drop;
	if (!way->vnic) {
		STEP(flow->verdict, DP_STEP_ENDPOINT, false, 0,
		     "the packet came from the underlay and would go back to it");
		return DROP_HAIRPIN;
	}
	way->routed = way->route || !flow->src_owner || !is_neighbour(way->vnic->subnet, &flow->src);
	return DROP_NONE;
}

/* A link-local address means something on its own link only: both ends are in one subnet (RFC 4291 2.5.6). */
static enum drop_reason check_scope(const struct flow *flow, const struct way *way)
{
	bool to_link_local = ip_is_link_local(&flow->dst);
	if (!to_link_local && !ip_is_link_local(&flow->src))
		return DROP_NONE;
	const struct dp_subnet *from = NULL, *to = NULL;
	if (flow->sender)
		from = flow->sender->subnet;
	else if (flow->src_owner)
		from = dp_endpoint_subnet(flow->dp, flow->vpc, flow->src_owner);
	if (way->owner)
		to = dp_endpoint_subnet(flow->dp, flow->vpc, way->owner);
	if (from && from == to)
		return DROP_NONE;
	if (to_link_local)
		STEP(flow->verdict, DP_STEP_ENDPOINT, false, 0, "nobody in the subnet of %s has %s", IP(&flow->src),
		     IP(&flow->dst));
	else
		STEP(flow->verdict, DP_STEP_SPOOF, false, 0, "link-local source %s and %s are not in one subnet",
		     IP(&flow->src), IP(&flow->dst));
	return to_link_local ? DROP_NO_MAPPING : DROP_BAD_SOURCE;
}

static enum drop_reason evaluate(struct flow *flow, const struct ip_addr *outer_src, const struct rte_mbuf *frame,
				 uint32_t epoch)
{
	struct dp_verdict *verdict = flow->verdict;
	if (flow->key->flags & FLOW_KEY_F_FRAGMENT) {
		STEP(verdict, DP_STEP_SESSION, false, 0, "a later fragment follows its first one or nothing");
		return DROP_FRAGMENT_NO_FIRST;
	}
	flow->src_owner = dp_endpoint_find(flow->vpc, &flow->src);
	enum drop_reason drop = check_source(flow, outer_src, frame);
	const struct dp_endpoint *owner = dp_endpoint_find(flow->vpc, &flow->dst);
	if (!drop)
		drop = check_destination(flow, owner);
	struct way way;
	if (!drop)
		drop = choose_way(flow, owner, &way);
	if (!drop)
		drop = check_scope(flow, &way);
	if (drop)
		return drop;
	verdict->dst_vnic = way.vnic ? way.vnic->iface.id : 0;
	const struct dp_vnic *home = flow->sender ? flow->sender : way.vnic;
	verdict->tenant = home && home->tenant ? (uint16_t)home->tenant->slot : 0;
	drop = check_groups(flow, &way);
	if (drop)
		return drop;
	compile_forward(flow, &way, epoch);
	compile_reverse(flow, &way, epoch);
	const char *ttl = verdict->forward.ops & SESSION_OP_DEC_TTL ? ", TTL - 1" : "";
	if (way.vnic)
		STEP(verdict, DP_STEP_OUTPUT, true, way.vnic->slot, "goes to vNIC %s with destination MAC %s%s, MTU %u",
		     way.vnic->name, MAC(&way.mac), ttl, way.mtu);
	else
		STEP(verdict, DP_STEP_OUTPUT, true, 0, "goes out encapsulated by tunnel %u, inner MAC %s%s, MTU %u",
		     way.tunnel, MAC(&way.mac), ttl, way.mtu);
	return DROP_NONE;
}

void dp_evaluate(const struct dp *dp, const struct flow_key *key, uint16_t in_iface, const struct ip_addr *outer_src,
		 const struct rte_mbuf *frame, struct dp_verdict *ret)
{
	*ret = (struct dp_verdict){ .steps = ret->steps };
	struct flow flow = { .dp = dp, .key = key, .verdict = ret };
	if (!flow_init(&flow, in_iface)) {
		ret->drop = flow.vpc ? DROP_UNKNOWN_INTERFACE : DROP_UNKNOWN_VNI;
		STEP(ret, DP_STEP_INPUT, false, 0, "interface %u or its VPC is not there (any more)", in_iface);
		return;
	}
	/* Read first: what changes from here on moves the epoch again, and the session is evaluated again. */
	uint32_t epoch = atomic_load_explicit(&flow.vpc->path.epoch, memory_order_acquire);
	if (flow.sender)
		STEP(ret, DP_STEP_INPUT, true, flow.sender->slot, "enters VPC %s at vNIC %s", flow.vpc->name,
		     flow.sender->name);
	else
		STEP(ret, DP_STEP_INPUT, true, 0, "enters VPC %s from VTEP %s at uplink interface %u", flow.vpc->name,
		     outer_src ? IP(outer_src) : "any", in_iface);
	ret->src_vnic = flow.sender ? flow.sender->iface.id : 0;
	ret->drop = evaluate(&flow, outer_src, frame, epoch);
}
