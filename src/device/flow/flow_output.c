/* SPDX-License-Identifier: BSD-3-Clause */
/* Where frames go: to members, into tunnels, up to representors, by the trunk. */
#include "device/flow/flow_edit.h"
#include "device/packet/path_config_priv.h"

enum { MAX_TAGS = 4 }; /* that do not count for the MTU */

static const struct flow_port *port_of(const struct flow *flow, uint16_t number)
{
	return number < FLOW_PORTS ? atomic_load_explicit(&flow->sw->ports[number], memory_order_acquire) : NULL;
}

uint16_t flow_in_iface(const struct flow *flow)
{
	return !flow->up ? 0 : flow->up->member ? flow->up->member : flow->up->representor;
}

/* A frame that is longer than the MTU in all: tags do not count, and what will be segmented is as long as its
 * segments. */
static __rte_noinline bool fits(struct rte_mbuf *m, uint16_t mtu)
{
	uint32_t l2 = ETHER_BYTES;

	while (l2 < ETHER_BYTES + MAX_TAGS * RTE_VLAN_HLEN && flow_is_vlan(load16(packet_at(m, l2 - 2))) &&
	       packet_pull(m, l2 + RTE_VLAN_HLEN) == DROP_NONE)
		l2 += RTE_VLAN_HLEN;
	if (!(m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)))
		return m->pkt_len - l2 <= mtu;
	uint32_t outer = m->ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK ? m->outer_l2_len + m->outer_l3_len : 0;
	uint32_t headers = outer + m->l2_len + m->l3_len + m->l4_len;
	return headers + m->tso_segsz <= l2 + (uint32_t)mtu;
}

static void send_tunnel(struct flow *flow, const struct flow_port *port, struct rte_mbuf *m)
{
	const struct path_config *config = flow->sw->options.config;
	const struct path_tunnel *tunnel =
		port->tunnel < PATH_MAX_TUNNELS
			? atomic_load_explicit(&config->tunnels[port->tunnel], memory_order_acquire)
			: NULL;

	if (tunnel)
		path_send_tunnel(flow->path, tunnel, port->vni, m->hash.rss, m);
	else
		path_drop(flow->path, m, DROP_NEIGHBOUR_UNRESOLVED, flow_in_iface(flow), 0);
}

void flow_send(struct flow *flow, uint16_t number, struct rte_mbuf *m)
{
	const struct flow_port *port = port_of(flow, number);

	if (unlikely(!port))
		path_drop(flow->path, m, DROP_OUTPUT_GONE, flow_in_iface(flow), 0);
	else if (unlikely(m->pkt_len > port->mtu + (uint32_t)ETHER_BYTES) && !fits(m, port->mtu))
		path_drop(flow->path, m, DROP_OUTPUT_MTU, port->member ? port->member : flow_in_iface(flow), 0);
	else if (likely(port->member))
		path_send(flow->path, port->member, m);
	else
		send_tunnel(flow, port, m);
}

void flow_send_trunk(struct flow *flow, struct rte_mbuf *m)
{
	struct flow_layout none = { 0 };

	if (!flow_is_vlan(load16(packet_at(m, 12))) || packet_pull(m, ETHER_BYTES + RTE_VLAN_HLEN) != DROP_NONE) {
		path_drop(flow->path, m, DROP_OUTPUT_GONE, flow_in_iface(flow), 0);
		return;
	}
	uint16_t number = load_be16(packet_at(m, ETHER_BYTES)) & 0xfff;
	flow_vlan_pop(m, &none);
	/* 0 would be the trunk again. */
	flow_send(flow, number ? number : FLOW_PORTS, m);
}

void flow_send_up(struct flow *flow, struct rte_mbuf *m)
{
	if (unlikely(!flow->key_port)) {
		path_drop(flow->path, m, DROP_NO_UPCALL, flow_in_iface(flow), 0);
		return;
	}
	path_count_miss(flow->path, flow_in_iface(flow), m);
	flow_count(&flow->stats->upcalls, 1);
	path_send(flow->path, flow->up->representor, m);
}

struct rte_mbuf *flow_tag(struct flow *flow, struct rte_mbuf *m, uint16_t number)
{
	struct flow_layout none = { 0 };

	if (m->pkt_len < ETHER_BYTES || packet_pull(m, ETHER_BYTES) != DROP_NONE) {
		path_drop(flow->path, m, DROP_TRUNCATED, flow_in_iface(flow), 0);
		return NULL;
	}
	m = flow_vlan_push(m, &none, RTE_ETHER_TYPE_VLAN, number);
	if (!m)
		path_count_drops(flow->path, DROP_NO_BUFFER, flow_in_iface(flow), 0, 1);
	return m;
}
