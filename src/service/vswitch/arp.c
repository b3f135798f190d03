/* SPDX-License-Identifier: BSD-3-Clause */
/* ARP (RFC 826) on behalf of the gateway and of everybody else in the subnet; nothing is learnt from it. */
#include "service/vswitch/datapath_priv.h"

#include "service/vswitch/frame.h"

enum { ARP_BYTES = 28, OP_REQUEST = 1, OP_REPLY = 2 };

struct arp {
	uint16_t op;
	struct mac_addr sender_mac;
	struct ip_addr sender, target;
};

static bool parse(const struct request *request, struct arp *ret)
{
	uint8_t buffer[ARP_BYTES];
	const uint8_t *arp = rte_pktmbuf_read(request->m, request->info->l3_offset, ARP_BYTES, buffer);
	static const uint8_t ethernet_ipv4[6] = { 0, 1, 8, 0, 6, 4 };
	if (!arp || memcmp(arp, ethernet_ipv4, sizeof(ethernet_ipv4)) != 0)
		return false;
	*ret = (struct arp){ .op = (uint16_t)(arp[6] << 8 | arp[7]), .sender.family = IP_V4, .target.family = IP_V4 };
	memcpy(ret->sender_mac.bytes, arp + 8, 6);
	memcpy(ret->sender.bytes, arp + 14, 4);
	memcpy(ret->target.bytes, arp + 24, 4);
	return ret->op == OP_REQUEST || ret->op == OP_REPLY;
}

static enum drop_reason check_sender(const struct request *request, const struct arp *arp, bool probe)
{
	const struct dp_vnic *vnic = request->vnic;
	if (vnic) {
		if (!vnic->port_security)
			return DROP_NONE;
		if (!mac_equal(&arp->sender_mac, &vnic->iface.mac))
			return DROP_SPOOFED_MAC;
		return probe || vnic_has_address(vnic, &arp->sender) ? DROP_NONE : DROP_SPOOFED_ADDRESS;
	}
	struct flow_key key = { .vpc = request->info->key.vpc };
	memcpy(&key.v4.src, arp->sender.bytes, 4);
	return vtep_is_right(request->vpc, &key, &request->info->outer_src) ? DROP_NONE : DROP_SPOOFED_TUNNEL;
}

static struct rte_mbuf *build(struct rte_mempool *pool, uint16_t op, const struct mac_addr *mac,
			      const struct ip_addr *address, const struct mac_addr *to_mac, const struct ip_addr *to)
{
	struct frame_out frame;
	frame_start(&frame, pool, to_mac, mac, RTE_ETHER_TYPE_ARP);
	frame_put16(&frame, 1);
	frame_put16(&frame, RTE_ETHER_TYPE_IPV4);
	frame_put8(&frame, 6);
	frame_put8(&frame, 4);
	frame_put16(&frame, op);
	frame_put(&frame, mac->bytes, 6);
	frame_put(&frame, address->bytes, 4);
	frame_put(&frame, to_mac->bytes, 6);
	frame_put(&frame, to->bytes, 4);
	return frame_finish(&frame);
}

int arp_request(const struct request *request)
{
	struct arp arp;
	struct mac_addr mac;
	bool router;
	if (!parse(request, &arp))
		return request_drop(DROP_SERVICE_MALFORMED);
	static const uint8_t zero[4];
	bool probe = !memcmp(arp.sender.bytes, zero, 4); /* RFC 5227 2.1.1 */
	enum drop_reason reason = check_sender(request, &arp, probe);
	if (reason)
		return request_drop(reason);
	/* Announcements are silent, and so must be the answer to whoever makes sure that it has its own address. */
	bool own = request->vnic && vnic_has_address(request->vnic, &arp.target);
	if (arp.op != OP_REQUEST || own || ip_equal(&arp.sender, &arp.target) ||
	    !first_hop_resolve(request, &arp.target, &mac, &router))
		return request_drop(DROP_SERVICE_HANDLED);
	struct rte_mbuf *reply =
		build(request->worker->pool, OP_REPLY, &mac, &arp.target, &arp.sender_mac, &arp.sender);
	if (!reply)
		return request_drop(DROP_NO_BUFFER);
	/* The way back of what came by a tunnel goes by the sender's address. */
	struct request back = *request;
	back.src = arp.sender;
	request_reply(&back, reply);
	return REQUEST_ANSWERED;
}

void arp_announce_gateway(struct dp_worker *worker, const struct dp_vnic *vnic)
{
	static const struct mac_addr broadcast = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
	const struct dp_subnet *subnet = vnic->subnet;
	if (!subnet || subnet->gateway_v4.family != IP_V4)
		return;
	/* An announcement is a request for one's own address (RFC 5227 3), whose target MAC says nothing. */
	struct rte_mbuf *m = build(worker->pool, OP_REQUEST, &vnic->vpc->router_mac, &subnet->gateway_v4, &broadcast,
				   &subnet->gateway_v4);
	if (m)
		path_send(worker->path, vnic->iface.id, m);
}
