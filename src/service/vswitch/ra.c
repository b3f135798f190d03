/* SPDX-License-Identifier: BSD-3-Clause */
/* Router advertisements (RFC 4861 6.2, RFC 4862, RFC 8106): to who asks, when a vNIC connects, and periodically. */
#include "service/vswitch/datapath_priv.h"

#include <netinet/in.h>
#include "base/clock.h"
#include "service/vswitch/frame.h"

enum {
	ROUTER_ADVERTISEMENT = 134,
	FLAG_MANAGED = 0x80,
	FLAG_OTHER = 0x40,
	ROUTER_LIFETIME_SECONDS = 1800,
	VALID_SECONDS = 86400,
	PREFERRED_SECONDS = 14400,
	INTERVAL_SECONDS = 300, /* between two advertisements to one vNIC */
	OPTION_SOURCE_MAC = 1,
	OPTION_PREFIX = 3,
	OPTION_MTU = 5,
	OPTION_RDNSS = 25,
	OPTION_DNSSL = 31,
	PREFIX_ON_LINK = 0x80,
	PREFIX_AUTONOMOUS = 0x40,
	DOMAIN_WIRE_MAX = 256,
};

static void put_prefix(struct frame_out *frame, const struct dp_subnet *subnet)
{
	/* Addresses are configured: with DHCPv6 guests get them there; a guest may form one itself only where the
	 * result can be the configured one (EUI-64 in a /64), and else anti-spoofing would drop what it sends. */
	bool autonomous = !subnet->dhcp && subnet->v6.length == 64;
	frame_put8(frame, OPTION_PREFIX);
	frame_put8(frame, 4);
	frame_put8(frame, subnet->v6.length);
	frame_put8(frame, (uint8_t)(PREFIX_ON_LINK | (autonomous ? PREFIX_AUTONOMOUS : 0)));
	frame_put32(frame, VALID_SECONDS);
	frame_put32(frame, PREFERRED_SECONDS);
	frame_put32(frame, 0);
	frame_put(frame, subnet->v6.addr.bytes, 16);
}

static void put_rdnss(struct frame_out *frame, const struct dp_subnet *subnet)
{
	unsigned count = 0;
	for (unsigned i = 0; i < subnet->dns_count; i++)
		count += subnet->dns[i].family == IP_V6;
	if (!count)
		return;
	frame_put8(frame, OPTION_RDNSS);
	frame_put8(frame, (uint8_t)(1 + 2 * count));
	frame_put16(frame, 0);
	frame_put32(frame, ROUTER_LIFETIME_SECONDS);
	for (unsigned i = 0; i < subnet->dns_count; i++)
		if (subnet->dns[i].family == IP_V6)
			frame_put(frame, subnet->dns[i].bytes, 16);
}

unsigned domain_wire(const char *domain, uint8_t *wire, unsigned room)
{
	unsigned length = 0;
	while (*domain) {
		size_t label = strcspn(domain, ".");
		if (!label || label > 63 || length + 1 + label + 1 > room)
			return 0;
		wire[length++] = (uint8_t)label;
		memcpy(wire + length, domain, label);
		length += (unsigned)label;
		domain += label;
		domain += *domain == '.';
	}
	if (length)
		wire[length++] = 0;
	return length;
}

static void put_dnssl(struct frame_out *frame, const struct dp_subnet *subnet)
{
	uint8_t wire[DOMAIN_WIRE_MAX] = { 0 };
	unsigned length = domain_wire(subnet->domain, wire, 255);
	if (!length)
		return;
	unsigned padded = (length + 7) / 8 * 8;
	frame_put8(frame, OPTION_DNSSL);
	frame_put8(frame, (uint8_t)(1 + padded / 8));
	frame_put16(frame, 0);
	frame_put32(frame, ROUTER_LIFETIME_SECONDS);
	frame_put(frame, wire, padded);
}

bool ra_send(struct dp_worker *worker, const struct dp_vnic *vnic, const struct ip_addr *to,
	     const struct mac_addr *to_mac)
{
	static const struct ip_addr all_nodes = { .family = IP_V6, .bytes = { 0xff, 2, [15] = 1 } };
	static const struct mac_addr all_nodes_mac = { { 0x33, 0x33, 0, 0, 0, 1 } };
	const struct dp_subnet *subnet = vnic->subnet;
	if (!subnet || subnet->v6.addr.family != IP_V6)
		return false;
	const struct mac_addr *router = &vnic->vpc->router_mac;
	struct ip_addr from = gateway_link_local(vnic->vpc, subnet);
	struct frame_out frame;
	frame_start(&frame, worker->pool, to ? to_mac : &all_nodes_mac, router, RTE_ETHER_TYPE_IPV6);
	frame_ip(&frame, &from, to ? to : &all_nodes, IPPROTO_ICMPV6, 255);
	frame_put8(&frame, ROUTER_ADVERTISEMENT);
	frame_put8(&frame, 0);
	frame_put16(&frame, 0);
	frame_put8(&frame, 64);
	frame_put8(&frame, subnet->dhcp ? FLAG_MANAGED | FLAG_OTHER : 0);
	frame_put16(&frame, ROUTER_LIFETIME_SECONDS);
	frame_put32(&frame, 0); /* reachable time, retransmission timer: not specified here */
	frame_put32(&frame, 0);
	frame_put8(&frame, OPTION_SOURCE_MAC);
	frame_put8(&frame, 1);
	frame_put(&frame, router->bytes, 6);
	frame_put8(&frame, OPTION_MTU);
	frame_put8(&frame, 1);
	frame_put16(&frame, 0);
	frame_put32(&frame, vnic->iface.mtu);
	put_prefix(&frame, subnet);
	put_rdnss(&frame, subnet);
	put_dnssl(&frame, subnet);
	struct rte_mbuf *m = frame_finish(&frame);
	if (!m)
		return false;
	path_send(worker->path, vnic->iface.id, m);
	return true;
}

/* Round robin, so that each vNIC gets one every INTERVAL_SECONDS, of the worker that it falls to: one at a time when
 * they are few, many every second when they are more than seconds. */
uint64_t ra_tick(struct dp_worker *worker, uint64_t now_ns)
{
	struct dp *dp = worker->dp;
	if (now_ns < worker->advertise_ns)
		return worker->advertise_ns;
	uint32_t limit = atomic_load_explicit(&dp->vnic_limit, memory_order_relaxed);
	uint32_t count = limit > PATH_FIRST_VNIC ? limit - PATH_FIRST_VNIC : 0;
	uint32_t part = (count + INTERVAL_SECONDS - 1) / INTERVAL_SECONDS;
	for (uint32_t i = 0; i < part; i++) {
		if (worker->advertise_next < PATH_FIRST_VNIC || worker->advertise_next >= limit)
			worker->advertise_next = PATH_FIRST_VNIC;
		uint16_t iface = (uint16_t)worker->advertise_next++;
		const struct dp_vnic *vnic = dp_vnic_of(dp, iface);
		if (vnic && iface % dp->worker_count == worker->index)
			ra_send(worker, vnic, NULL, NULL);
	}
	uint64_t rounds = count ? (count + part - 1) / part : 1;
	worker->advertise_ns = now_ns + INTERVAL_SECONDS * CLOCK_NS_PER_S / rounds;
	return worker->advertise_ns;
}
