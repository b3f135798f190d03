/* SPDX-License-Identifier: BSD-3-Clause */
/* Neighbour discovery (RFC 4861, RFC 4862): solicitations answered on behalf of the gateway and of everybody else in
 * the subnet, router solicitations by an advertisement; the checks of RFC 4861 6.1 and 7.1. */
#include "service/vswitch/datapath_priv.h"

#include <netinet/in.h>
#include "service/vswitch/frame.h"

enum {
	ROUTER_SOLICITATION = 133,
	ROUTER_ADVERTISEMENT = 134,
	NEIGHBOUR_SOLICITATION = 135,
	NEIGHBOUR_ADVERTISEMENT = 136,
	REDIRECT = 137,
	OPTION_SOURCE_MAC = 1,
	OPTION_TARGET_MAC = 2,
	ND_MAX_BYTES = 1500,
	FLAG_ROUTER = 0x80,
	FLAG_SOLICITED = 0x40,
	FLAG_OVERRIDE = 0x20,
};

/* A message, contiguous, and what its options say. */
struct nd {
	const uint8_t *bytes;
	uint32_t length;
	bool has_source_mac;
	struct mac_addr source_mac;
};

static bool is_unspecified(const struct ip_addr *address)
{
	static const uint8_t zero[16];
	return !memcmp(address->bytes, zero, 16);
}

/* ff02::1:ffXX:XXXX, RFC 4291 2.7.1 */
static bool is_solicited_node(const struct ip_addr *address)
{
	static const uint8_t prefix[13] = { 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff };
	return !memcmp(address->bytes, prefix, sizeof(prefix));
}

/* Length zero ends everything: RFC 4861 4.6 wants the message discarded. */
static bool parse_options(struct nd *nd, uint32_t at)
{
	while (at < nd->length) {
		if (at + 8 > nd->length || nd->bytes[at + 1] == 0 || at + nd->bytes[at + 1] * 8u > nd->length)
			return false;
		if (nd->bytes[at] == OPTION_SOURCE_MAC) {
			nd->has_source_mac = true;
			memcpy(nd->source_mac.bytes, nd->bytes + at + 2, 6);
		}
		at += nd->bytes[at + 1] * 8u;
	}
	return true;
}

static bool parse(const struct request *request, uint32_t fixed, uint8_t *buffer, struct nd *ret)
{
	const struct packet_info *info = request->info;
	uint32_t length = (uint32_t)info->l3_offset + info->l3_length - info->l4_offset;
	if (info->ttl != 255 || info->icmp_code != 0 || info->flags & PACKET_F_FRAGMENT || length < fixed ||
	    length > ND_MAX_BYTES)
		return false;
	if (!l4_checksum_ok(request->m, &request->src, &request->dst, IPPROTO_ICMPV6, info->l4_offset, length))
		return false;
	*ret = (struct nd){ .bytes = rte_pktmbuf_read(request->m, info->l4_offset, length, buffer), .length = length };
	return ret->bytes && parse_options(ret, fixed);
}

static struct rte_mbuf *build_advertisement(const struct request *request, const struct ip_addr *target,
					    const struct mac_addr *mac, bool router, bool dad)
{
	static const struct ip_addr all_nodes = { .family = IP_V6, .bytes = { 0xff, 2, [15] = 1 } };
	static const struct mac_addr all_nodes_mac = { { 0x33, 0x33, 0, 0, 0, 1 } };
	struct frame_out frame;
	frame_start(&frame, request->worker->pool, dad ? &all_nodes_mac : &request->src_mac, mac, RTE_ETHER_TYPE_IPV6);
	frame_ip(&frame, target, dad ? &all_nodes : &request->src, IPPROTO_ICMPV6, 255);
	frame_put8(&frame, NEIGHBOUR_ADVERTISEMENT);
	frame_put8(&frame, 0);
	frame_put16(&frame, 0);
	frame_put8(&frame, (uint8_t)((router ? FLAG_ROUTER : 0) | (dad ? 0 : FLAG_SOLICITED) | FLAG_OVERRIDE));
	frame_put(&frame, "\0\0\0", 3);
	frame_put(&frame, target->bytes, 16);
	frame_put8(&frame, OPTION_TARGET_MAC);
	frame_put8(&frame, 1);
	frame_put(&frame, mac->bytes, 6);
	return frame_finish(&frame);
}

static int solicitation(const struct request *request)
{
	uint8_t buffer[ND_MAX_BYTES];
	struct nd nd;
	if (!parse(request, 24, buffer, &nd))
		return request_drop(DROP_SERVICE_MALFORMED);
	struct ip_addr target = { .family = IP_V6 };
	memcpy(target.bytes, nd.bytes + 8, 16);
	bool dad = is_unspecified(&request->src);
	if (ip_is_multicast(&target) || (dad && (nd.has_source_mac || !is_solicited_node(&request->dst))))
		return request_drop(DROP_SERVICE_MALFORMED);
	const struct dp_vnic *vnic = request->vnic;
	if (nd.has_source_mac && vnic && vnic->port_security && !mac_equal(&nd.source_mac, &vnic->iface.mac))
		return request_drop(DROP_SPOOFED_MAC);

	struct mac_addr mac;
	bool router, own = vnic && vnic_owns(vnic, &target);
	if (own || ip_equal(&request->src, &target) || !first_hop_resolve(request, &target, &mac, &router))
		return request_drop(DROP_SERVICE_HANDLED);
	struct rte_mbuf *reply = build_advertisement(request, &target, &mac, router, dad);
	if (!reply)
		return request_drop(DROP_NO_BUFFER);
	request_reply(request, reply);
	return REQUEST_ANSWERED;
}

static int router_solicitation(const struct request *request)
{
	uint8_t buffer[ND_MAX_BYTES];
	struct nd nd;
	if (!parse(request, 8, buffer, &nd) || (is_unspecified(&request->src) && nd.has_source_mac))
		return request_drop(DROP_SERVICE_MALFORMED);
	if (!request->vnic || !request->subnet || request->subnet->v6.addr.family != IP_V6)
		return request_drop(DROP_SERVICE_HANDLED);
	bool known = !is_unspecified(&request->src);
	bool sent =
		ra_send(request->worker, request->vnic, known ? &request->src : NULL, known ? &request->src_mac : NULL);
	return sent ? REQUEST_ANSWERED : request_drop(DROP_NO_BUFFER);
}

int nd_request(const struct request *request)
{
	uint8_t buffer[ND_MAX_BYTES];
	struct nd nd;
	switch (request->info->icmp_type) {
	case NEIGHBOUR_SOLICITATION:
		return solicitation(request);
	case ROUTER_SOLICITATION:
		return router_solicitation(request);
	case NEIGHBOUR_ADVERTISEMENT:
		return request_drop(parse(request, 24, buffer, &nd) ? DROP_SERVICE_HANDLED : DROP_SERVICE_MALFORMED);
	default:
		/* A tenant's router advertisements and redirects concern nobody. */
		return request_drop(DROP_SERVICE_HANDLED);
	}
}
