/* SPDX-License-Identifier: BSD-3-Clause */
/* The first hop: what a vNIC's subnet would have on its wire in a real network (gateway, DHCP server, the neighbours'
 * ARP and ND answers) is answered here, and nothing of it is ever flooded. */
#include "service/vswitch/datapath_priv.h"

#include <netinet/in.h>

enum {
	ETHER_BYTES = 14,
	/* Requests per second that one vNIC is served. */
	SERVICE_RATE_PER_SECOND = 1000,
	SERVICE_BURST = 500,
};
enum { MLD_QUERY = 130, MLD_REPORT = 131, MLD_DONE = 132, MLDV2_REPORT = 143 };
enum { DHCP4_SERVER_PORT = 67, DHCP6_SERVER_PORT = 547 };

/* Of one whose request came by a tunnel. */
static const struct dp_subnet *subnet_of_source(const struct request *request)
{
	if (!ip_is_link_local(&request->src))
		return dp_subnet_find(request->vpc, &request->src);
	const struct dp_endpoint *owner = dp_endpoint_find(request->vpc, &request->src);
	return owner ? dp_endpoint_subnet(request->worker->dp, request->vpc, owner) : NULL;
}

bool request_init(struct request *ret, struct dp_worker *worker, struct rte_mbuf *m, const struct packet_info *info)
{
	*ret = (struct request){ .worker = worker, .m = m, .info = info };
	ret->vpc = dp_vpc_of(worker->dp, info->key.vpc);
	ret->vnic = dp_vnic_of(worker->dp, info->in_iface);
	if (!ret->vpc || (ret->vnic && (!ret->vnic->runtime || ret->vnic->iface.vpc != info->key.vpc)) ||
	    rte_pktmbuf_data_len(m) < ETHER_BYTES)
		return false;
	if (info->flags & (PACKET_F_IPV4 | PACKET_F_IPV6))
		key_addresses(&info->key, &ret->src, &ret->dst);
	memcpy(ret->src_mac.bytes, rte_pktmbuf_mtod_offset(m, uint8_t *, 6), 6);
	if (ret->vnic)
		ret->subnet = ret->vnic->subnet;
	else if (ret->src.family)
		ret->subnet = subnet_of_source(ret);
	return true;
}

void request_reply(const struct request *request, struct rte_mbuf *reply)
{
	struct dp_worker *worker = request->worker;
	const struct packet_info *info = request->info;
	if (request->vnic) {
		path_send(worker->path, info->in_iface, reply);
		return;
	}
	const struct dp_endpoint *owner = dp_endpoint_find(request->vpc, &request->src);
	uint32_t index = owner && owner->kind == DP_ENDPOINT_REMOTE ? owner->tunnel : 0;
	if (!owner && !dp_subnet_find(request->vpc, &request->src)) {
		const struct dp_route *route = dp_route_find(request->vpc, &request->src);
		index = route && route->kind == DP_ROUTE_VTEP ? route->tunnel : 0;
	}
	const struct path_tunnel *tunnel =
		index && index < PATH_MAX_TUNNELS
			? atomic_load_explicit(&worker->dp->config->tunnels[index], memory_order_acquire)
			: NULL;
	if (tunnel)
		path_send_tunnel(worker->path, tunnel, request->vpc->path.vni, info->hash, reply);
	else
		path_drop(worker->path, reply, DROP_NO_MAPPING, 0, info->key.vpc);
}

struct ip_addr gateway_link_local(const struct dp_vpc *vpc, const struct dp_subnet *subnet)
{
	if (subnet && subnet->gateway_link_local.family)
		return subnet->gateway_link_local;
	return ip_link_local(&vpc->router_mac);
}

/* One of the gateways' addresses, link-local ones included. */
static bool is_our_address(const struct request *request, const struct ip_addr *address)
{
	const struct dp_subnet *subnet;
	struct ip_addr link_local = gateway_link_local(request->vpc, request->subnet);
	return ip_equal(address, &link_local) || is_gateway(request->vpc, request->subnet, address, &subnet);
}

bool first_hop_resolve(const struct request *request, const struct ip_addr *target, struct mac_addr *ret_mac,
		       bool *ret_router)
{
	const struct dp_subnet *near = request->subnet;
	*ret_router = true;
	*ret_mac = request->vpc->router_mac;
	if (is_our_address(request, target))
		return true;
	const struct dp_endpoint *owner = dp_endpoint_find(request->vpc, target);
	bool link_local = ip_is_link_local(target);
	if (!owner || (link_local && (!near || dp_endpoint_subnet(request->worker->dp, request->vpc, owner) != near)))
		return false;
	if (!request->vnic) {
		/* Over a tunnel only local vNICs are answered for: the others' hosts do that for theirs. */
		*ret_mac = owner->mac;
		*ret_router = false;
		return owner->kind == DP_ENDPOINT_LOCAL;
	}
	/* One who takes an address of another subnet for on-link is helped by the router (RFC 1027). */
	*ret_router =
		!link_local && (!near || !ip_prefix_contains(target->family == IP_V4 ? &near->v4 : &near->v6, target));
	if (!*ret_router)
		*ret_mac = owner->mac;
	return true;
}

static bool is_unspecified(const struct ip_addr *address)
{
	static const uint8_t zero[16];
	return !memcmp(address->bytes, zero, 16);
}

/* ARP and DHCPv4 check their own senders. */
static enum drop_reason check_sender(const struct request *request)
{
	if (request->vnic) {
		bool own = !request->vnic->port_security || is_unspecified(&request->src) ||
			   ip_is_link_local(&request->src) || vnic_has_address(request->vnic, &request->src);
		return own ? DROP_NONE : DROP_SPOOFED_ADDRESS;
	}
	if (!request->src.family)
		return DROP_NONE;
	return vtep_is_right(request->vpc, &request->info->key, &request->info->outer_src) ? DROP_NONE
											   : DROP_SPOOFED_TUNNEL;
}

static uint16_t udp_port(const struct request *request)
{
	const struct packet_info *info = request->info;
	bool udp = info->proto == IPPROTO_UDP && info->flags & PACKET_F_L4 && !(info->flags & PACKET_F_FRAGMENT);
	return udp ? rte_be_to_cpu_16(info->key.dst_port) : 0;
}

static int icmpv6(const struct request *request)
{
	const struct packet_info *info = request->info;
	switch (info->icmp_type) {
	case MLD_QUERY:
	case MLD_REPORT:
	case MLD_DONE:
	case MLDV2_REPORT:
		return request_drop(DROP_SERVICE_HANDLED);
	default:
		return info->flags & PACKET_F_SERVICE ? nd_request(request) : REQUEST_NOT_OURS;
	}
}

static int dispatch(const struct request *request)
{
	const struct packet_info *info = request->info;
	if (info->flags & PACKET_F_ARP)
		return arp_request(request);
	int result = REQUEST_NOT_OURS;
	bool v6 = info->flags & PACKET_F_IPV6, later = info->flags & PACKET_F_LATER;
	if (!v6 && udp_port(request) == DHCP4_SERVER_PORT)
		result = dhcp4_request(request);
	else if (v6 && udp_port(request) == DHCP6_SERVER_PORT)
		result = dhcp6_request(request);
	else if (v6 && info->proto == IPPROTO_ICMPV6 && !later)
		result = icmpv6(request);
	else if (!v6 && info->proto == IPPROTO_IGMP)
		result = request_drop(DROP_SERVICE_HANDLED);
	if (result == REQUEST_NOT_OURS && is_our_address(request, &request->dst))
		return echo_request(request);
	return result;
}

static enum drop_reason check_rate(const struct request *request)
{
	struct dp_bucket *bucket = request->vnic ? &request->vnic->runtime->service : &request->vpc->icmp_errors;
	unsigned taken =
		bucket_take(bucket, SERVICE_RATE_PER_SECOND, SERVICE_BURST, path_now_ns(request->worker->path), 1);
	return taken ? DROP_NONE : DROP_SERVICE_RATE;
}

/* What costs nothing to tell apart from requests goes on as an ordinary packet before anything is charged. */
static bool is_passing_by(const struct request *request)
{
	const struct packet_info *info = request->info;
	if (info->flags & (PACKET_F_ARP | PACKET_F_MULTICAST))
		return false;
	bool nd = info->flags & PACKET_F_SERVICE && info->proto == IPPROTO_ICMPV6;
	return !nd && !is_our_address(request, &request->dst);
}

bool first_hop_input(struct dp_worker *worker, struct rte_mbuf *m, struct packet_info *info)
{
	struct request request;
	enum drop_reason reason = DROP_NONE;
	if (!request_init(&request, worker, m, info))
		reason = DROP_UNKNOWN_INTERFACE;
	else if (is_passing_by(&request))
		return false;
	if (!reason && !(info->flags & PACKET_F_ARP))
		reason = check_sender(&request);
	if (!reason)
		reason = check_rate(&request);
	int result = reason ? request_drop(reason) : dispatch(&request);
	if (result == REQUEST_NOT_OURS)
		return false;
	if (result == REQUEST_ANSWERED)
		rte_pktmbuf_free(m);
	else if (result >= REQUEST_DROP)
		path_drop(worker->path, m, (enum drop_reason)(result - REQUEST_DROP), info->in_iface, info->key.vpc);
	return true;
}
