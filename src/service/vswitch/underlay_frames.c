/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames of the underlay's own protocols, at the DPU's tunnel addresses: ARP, neighbour discovery, ICMP echo. */
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <stdlib.h>
#include <string.h>
#include <rte_arp.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include "service/vswitch/frame.h"
#include "service/vswitch/vswitch_priv.h"

static const struct mac_addr broadcast = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } },
			     all_nodes_mac = { { 0x33, 0x33, 0, 0, 0, 1 } };
static const uint8_t all_nodes[16] = { 0xff, 2, [15] = 1 };

/* ND message with one link-layer address option: RFC 4861 4.3, 4.4, 4.6.1. */
struct nd_frame {
	struct rte_ipv6_hdr ip;
	uint8_t type, code;
	uint16_t checksum;
	uint32_t flags;
	uint8_t target[16];
	uint8_t option_type, option_length;
	uint8_t option_mac[6];
} __attribute__((packed, aligned(2)));

/* A new frame with Ethernet header and room for payload bytes, cleared; *ret_payload points to it. */
static struct rte_mbuf *frame_new(struct vswitch *vswitch, const struct dp_local_vtep *local, const struct mac_addr *to,
				  uint16_t ether_type, size_t payload, void **ret_payload)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(vswitch->dpu->pool);
	size_t header = sizeof(struct rte_ether_hdr) + (local->vlan ? sizeof(struct rte_vlan_hdr) : 0);
	size_t bytes = header + payload < 60 ? 60 : header + payload;
	uint8_t *at;

	if (!m)
		return NULL;
	at = (uint8_t *)rte_pktmbuf_append(m, bytes);
	memset(at, 0, bytes);
	memcpy(at, to->bytes, 6);
	memcpy(at + 6, local->mac.bytes, 6);
	at += 12;
	if (local->vlan) {
		at[0] = RTE_ETHER_TYPE_VLAN >> 8, at[1] = RTE_ETHER_TYPE_VLAN & 0xff;
		at[2] = local->vlan >> 8, at[3] = local->vlan & 0xff;
		at += 4;
	}
	at[0] = ether_type >> 8, at[1] = ether_type & 0xff;
	*ret_payload = at + 2;
	return m;
}

static struct rte_mbuf *arp_new(struct vswitch *vswitch, const struct dp_local_vtep *local, const struct mac_addr *to,
				uint16_t operation, const uint8_t *target_mac, const uint8_t *target_ip)
{
	struct rte_arp_hdr *arp;
	void *payload;
	struct rte_mbuf *m = frame_new(vswitch, local, to, RTE_ETHER_TYPE_ARP, sizeof(*arp), &payload);

	if (!m)
		return NULL;
	arp = payload;
	arp->arp_hardware = htons(RTE_ARP_HRD_ETHER);
	arp->arp_protocol = htons(RTE_ETHER_TYPE_IPV4);
	arp->arp_hlen = 6;
	arp->arp_plen = 4;
	arp->arp_opcode = htons(operation);
	memcpy(&arp->arp_data.arp_sha, local->mac.bytes, 6);
	memcpy(&arp->arp_data.arp_sip, local->address.bytes, 4);
	if (target_mac)
		memcpy(&arp->arp_data.arp_tha, target_mac, 6);
	memcpy(&arp->arp_data.arp_tip, target_ip, 4);
	return m;
}

static struct rte_mbuf *nd_new(struct vswitch *vswitch, const struct dp_local_vtep *local, const struct mac_addr *to,
			       const uint8_t *to_ip, uint8_t type, uint32_t flags, const uint8_t *target)
{
	struct nd_frame *nd;
	void *payload;
	struct rte_mbuf *m = frame_new(vswitch, local, to, RTE_ETHER_TYPE_IPV6, sizeof(*nd), &payload);

	if (!m)
		return NULL;
	nd = payload;
	nd->ip.vtc_flow = htonl(6u << 28);
	nd->ip.payload_len = htons(sizeof(*nd) - sizeof(nd->ip));
	nd->ip.proto = IPPROTO_ICMPV6;
	nd->ip.hop_limits = 255;
	memcpy(&nd->ip.src_addr, local->address.bytes, 16);
	memcpy(&nd->ip.dst_addr, to_ip, 16);
	nd->type = type;
	nd->flags = htonl(flags);
	memcpy(nd->target, target, 16);
	nd->option_type = type == ND_NEIGHBOR_SOLICIT ? ND_OPT_SOURCE_LINKADDR : ND_OPT_TARGET_LINKADDR;
	nd->option_length = 1;
	memcpy(nd->option_mac, local->mac.bytes, 6);
	nd->checksum = rte_ipv6_udptcp_cksum(&nd->ip, &nd->type);
	return m;
}

/* Where a request for an IPv6 address is sent when its MAC is not known: RFC 4291 2.7.1, RFC 2464 7. */
static void solicited_node(const struct ip_addr *target, uint8_t *ret_ip, struct mac_addr *ret_mac)
{
	static const uint8_t prefix[13] = { 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff };

	memcpy(ret_ip, prefix, 13);
	memcpy(ret_ip + 13, target->bytes + 13, 3);
	*ret_mac = (struct mac_addr){ { 0x33, 0x33, ret_ip[12], ret_ip[13], ret_ip[14], ret_ip[15] } };
}

struct rte_mbuf *underlay_request(struct vswitch *vswitch, const struct control_underlay *underlay,
				  const struct ip_addr *target, const struct mac_addr *known)
{
	const struct dp_local_vtep *local = underlay->record;
	struct mac_addr to_mac;
	uint8_t to[16];

	if (target->family == IP_V4)
		return arp_new(vswitch, local, known ? known : &broadcast, RTE_ARP_OP_REQUEST, NULL, target->bytes);
	solicited_node(target, to, &to_mac);
	if (known)
		return nd_new(vswitch, local, known, target->bytes, ND_NEIGHBOR_SOLICIT, 0, target->bytes);
	return nd_new(vswitch, local, &to_mac, to, ND_NEIGHBOR_SOLICIT, 0, target->bytes);
}

struct rte_mbuf *underlay_announcement(struct vswitch *vswitch, const struct control_underlay *underlay)
{
	const struct dp_local_vtep *local = underlay->record;

	if (local->address.family == IP_V4)
		return arp_new(vswitch, local, &broadcast, RTE_ARP_OP_REQUEST, NULL, local->address.bytes);
	return nd_new(vswitch, local, &all_nodes_mac, all_nodes, ND_NEIGHBOR_ADVERT, ntohl(ND_NA_FLAG_OVERRIDE),
		      local->address.bytes);
}

/* ---- receiving ---- */

/* Where a frame came from. */
struct origin {
	uint16_t iface, vlan;
	struct mac_addr source;
};

static bool is_on(const struct control_underlay *underlay, const struct origin *origin)
{
	return underlay && underlay->record->iface == origin->iface && underlay->record->vlan == origin->vlan;
}

static struct control_underlay *underlay_with(struct vswitch *vswitch, const struct origin *origin,
					      const struct ip_addr *address)
{
	for (unsigned i = 0; i < 64; i++) {
		struct control_underlay *underlay = vswitch->underlays[i];

		if (is_on(underlay, origin) && ip_equal(&underlay->record->address, address))
			return underlay;
	}
	return NULL;
}

static struct ip_addr address_of(const void *bytes, uint8_t family)
{
	struct ip_addr address = { .family = family };

	memcpy(address.bytes, bytes, family == IP_V4 ? 4 : 16);
	return address;
}

static void learn(struct vswitch *vswitch, const struct origin *origin, const struct ip_addr *address,
		  const struct mac_addr *mac)
{
	for (unsigned i = 0; i < 64; i++)
		if (is_on(vswitch->underlays[i], origin))
			neighbour_learn(vswitch, vswitch->underlays[i], address, mac);
}

static struct rte_mbuf *arp_receive(struct vswitch *vswitch, const struct origin *origin, const struct rte_arp_hdr *arp)
{
	struct ip_addr sender = address_of(&arp->arp_data.arp_sip, IP_V4),
		       target = address_of(&arp->arp_data.arp_tip, IP_V4);
	struct control_underlay *underlay;
	struct mac_addr sender_mac;

	if (arp->arp_hardware != htons(RTE_ARP_HRD_ETHER) || arp->arp_protocol != htons(RTE_ETHER_TYPE_IPV4) ||
	    arp->arp_hlen != 6 || arp->arp_plen != 4)
		return NULL;
	memcpy(sender_mac.bytes, &arp->arp_data.arp_sha, 6);
	learn(vswitch, origin, &sender, &sender_mac);
	underlay = underlay_with(vswitch, origin, &target);
	if (!underlay || arp->arp_opcode != htons(RTE_ARP_OP_REQUEST) || mac_is_multicast(&sender_mac))
		return NULL;
	return arp_new(vswitch, underlay->record, &sender_mac, RTE_ARP_OP_REPLY, sender_mac.bytes, sender.bytes);
}

static bool is_unspecified(const struct ip_addr *address)
{
	static const uint8_t zero[16];

	return memcmp(address->bytes, zero, sizeof(zero)) == 0;
}

/* Finds the link-layer address option of `type`, if there is one; false if the options are none (RFC 4861 4.6). */
static bool link_option(const uint8_t *options, size_t bytes, uint8_t type, const uint8_t **ret_mac)
{
	while (bytes > 0) {
		size_t length = bytes >= 8 ? options[1] * 8u : 0;

		if (length == 0 || length > bytes)
			return false;
		if (options[0] == type && length == 8)
			*ret_mac = options + 2;
		options += length;
		bytes -= length;
	}
	return true;
}

static struct rte_mbuf *nd_receive(struct vswitch *vswitch, const struct origin *origin, const struct rte_ipv6_hdr *ip,
				   const uint8_t *message, size_t bytes)
{
	bool solicit = message[0] == ND_NEIGHBOR_SOLICIT;
	struct ip_addr source = address_of(&ip->src_addr, IP_V6), target;
	struct control_underlay *underlay;
	/* RFC 4861 7.2.2: a unicast solicitation may leave the option out. */
	struct mac_addr sender = origin->source;
	const uint8_t *mac = NULL;

	if (bytes < 24 || ip->hop_limits != 255 || message[1] != 0 ||
	    !link_option(message + 24, bytes - 24, solicit ? ND_OPT_SOURCE_LINKADDR : ND_OPT_TARGET_LINKADDR, &mac))
		return NULL;
	target = address_of(message + 8, IP_V6);
	if (mac) {
		memcpy(sender.bytes, mac, 6);
		learn(vswitch, origin, solicit ? &source : &target, &sender);
	}
	underlay = underlay_with(vswitch, origin, &target);
	if (!solicit || !underlay || mac_is_multicast(&sender) || ip_is_multicast(&source))
		return NULL;
	/* Somebody tries whether our address is free: all are told that it is not (RFC 4862 5.4.3). */
	if (is_unspecified(&source))
		return nd_new(vswitch, underlay->record, &all_nodes_mac, all_nodes, ND_NEIGHBOR_ADVERT,
			      ntohl(ND_NA_FLAG_OVERRIDE), target.bytes);
	return nd_new(vswitch, underlay->record, &sender, source.bytes, ND_NEIGHBOR_ADVERT,
		      ntohl(ND_NA_FLAG_SOLICITED | ND_NA_FLAG_OVERRIDE), target.bytes);
}

static void swap(void *a, void *b, size_t bytes)
{
	uint8_t copy[16];

	memcpy(copy, a, bytes);
	memcpy(a, b, bytes);
	memcpy(b, copy, bytes);
}

/* A host's, so that it can be answered (RFC 1122 3.2.1.3, RFC 4443 2.2). */
static bool is_host(const struct ip_addr *address)
{
	bool broadcast_v4 = address->family == IP_V4 && address->bytes[0] >= 224;

	return !is_unspecified(address) && !ip_is_multicast(address) && !broadcast_v4;
}

/* An echo request to one of our addresses, `bytes` long from icmp on, becomes its reply: m, or NULL if it is no such
 * thing. */
static struct rte_mbuf *echo_answer(struct vswitch *vswitch, const struct origin *origin, struct rte_mbuf *m,
				    uint8_t *l3, uint8_t *icmp, size_t bytes)
{
	bool v6 = l3[0] >> 4 == 6;
	uint8_t *ether = rte_pktmbuf_mtod(m, uint8_t *);
	struct ip_addr from = address_of(l3 + (v6 ? 8 : 12), v6 ? IP_V6 : IP_V4);
	struct ip_addr to = address_of(l3 + (v6 ? 24 : 16), v6 ? IP_V6 : IP_V4);
	uint8_t proto = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	uint16_t old_word, new_word, checksum;

	struct control_underlay *underlay = underlay_with(vswitch, origin, &to);

	/* Nor is answered what was sent to many (RFC 1122 3.3.6). */
	if (icmp[0] != (v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO) || !underlay || !is_host(&from) || ether[0] & 1 ||
	    mac_is_multicast(&origin->source) ||
	    !l4_checksum_ok(m, &from, &to, proto, (uint32_t)(icmp - ether), (uint32_t)bytes))
		return NULL;
	memcpy(ether, origin->source.bytes, 6);
	memcpy(ether + 6, underlay->record->mac.bytes, 6);
	swap(l3 + (v6 ? 8 : 12), l3 + (v6 ? 24 : 16), v6 ? 16 : 4);
	/* The addresses only swap: the type is all that changes under the checksum. */
	memcpy(&old_word, icmp, 2);
	icmp[0] = v6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY;
	memcpy(&new_word, icmp, 2);
	memcpy(&checksum, icmp + 2, 2);
	checksum = icmp_checksum_update(checksum, old_word, new_word);
	memcpy(icmp + 2, &checksum, 2);
	m->ol_flags &= RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT; /* whose memory it is */
	return m;
}

/* Finds the network header behind an optional VLAN tag; NULL if the frame is too short. */
static uint8_t *network_header(struct rte_mbuf *m, struct origin *origin, uint16_t *ret_type, size_t *ret_bytes)
{
	uint8_t *data = rte_pktmbuf_mtod(m, uint8_t *);
	size_t bytes = rte_pktmbuf_data_len(m), offset = 14;

	if (bytes < offset)
		return NULL;
	memcpy(origin->source.bytes, data + 6, 6);
	*ret_type = data[12] << 8 | data[13];
	if (*ret_type == RTE_ETHER_TYPE_VLAN) {
		offset = 18;
		if (bytes < offset)
			return NULL;
		origin->vlan = (data[14] << 8 | data[15]) & 0xfff;
		*ret_type = data[16] << 8 | data[17];
	}
	*ret_bytes = bytes - offset;
	return data + offset;
}

/* These return the answer, which may be m. */

static struct rte_mbuf *ipv4_receive(struct vswitch *vswitch, const struct origin *origin, struct rte_mbuf *m,
				     uint8_t *l3, size_t bytes)
{
	size_t header, length;

	if (bytes < 20)
		return NULL;
	header = (l3[0] & 15) * 4u;
	length = l3[2] << 8 | l3[3];
	/* Nothing is reassembled: fragments are not for us. */
	if (l3[0] >> 4 != 4 || header < 20 || length > bytes || length < header + 8 || l3[9] != IPPROTO_ICMP ||
	    l3[6] & 0x3f || l3[7])
		return NULL;
	return echo_answer(vswitch, origin, m, l3, l3 + header, length - header);
}

static struct rte_mbuf *ipv6_receive(struct vswitch *vswitch, const struct origin *origin, struct rte_mbuf *m,
				     uint8_t *l3, size_t bytes)
{
	const struct rte_ipv6_hdr *ip = (const struct rte_ipv6_hdr *)l3;
	uint8_t *message = l3 + sizeof(*ip);
	size_t length;

	if (bytes < sizeof(*ip) + 8 || l3[0] >> 4 != 6 || ip->proto != IPPROTO_ICMPV6)
		return NULL;
	length = ntohs(ip->payload_len);
	if (length > bytes - sizeof(*ip) || length < 8 || rte_ipv6_udptcp_cksum_verify(ip, message) != 0)
		return NULL;
	if (message[0] == ND_NEIGHBOR_SOLICIT || message[0] == ND_NEIGHBOR_ADVERT)
		return nd_receive(vswitch, origin, ip, message, length);
	return echo_answer(vswitch, origin, m, l3, message, length);
}

struct rte_mbuf *underlay_receive(struct vswitch *vswitch, struct rte_mbuf *m)
{
	struct origin origin = { .iface = m->port };
	struct rte_mbuf *answer = NULL;
	uint16_t type;
	size_t bytes;
	uint8_t *l3;

	if (rte_pktmbuf_linearize(m) != 0 || !(l3 = network_header(m, &origin, &type, &bytes))) {
		rte_pktmbuf_free(m);
		return NULL;
	}
	if (type == RTE_ETHER_TYPE_ARP && bytes >= sizeof(struct rte_arp_hdr))
		answer = arp_receive(vswitch, &origin, (const struct rte_arp_hdr *)l3);
	else if (type == RTE_ETHER_TYPE_IPV4)
		answer = ipv4_receive(vswitch, &origin, m, l3, bytes);
	else if (type == RTE_ETHER_TYPE_IPV6)
		answer = ipv6_receive(vswitch, &origin, m, l3, bytes);
	if (answer != m)
		rte_pktmbuf_free(m);
	if (answer)
		answer->port = origin.iface;
	return answer;
}

struct sending {
	struct path *path;
	struct rte_mbuf *m;
	uint16_t iface;
};

static void send_in_worker(void *arg, struct worker *worker)
{
	struct sending *sending = arg;

	(void)worker;
	path_send(sending->path, sending->iface, sending->m);
}

void control_send(struct vswitch *vswitch, uint16_t iface, struct rte_mbuf *m)
{
	struct sending *sending;

	if (!vswitch->running) {
		rte_pktmbuf_free(m);
		return;
	}
	sending = control_alloc(sizeof(*sending));
	*sending = (struct sending){ .path = vswitch->dp.paths[0], .m = m, .iface = iface };
	m->port = iface;
	if (worker_call(workers_get(vswitch->dp.workers, 0), send_in_worker, sending, free) != 0) {
		rte_pktmbuf_free(m);
		free(sending);
	}
}
