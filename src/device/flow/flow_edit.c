/* SPDX-License-Identifier: BSD-3-Clause */
/* VLAN tags put in and taken out: everything behind them moves, and so do offload requests. */
#include "device/flow/flow_edit.h"
#include "device/packet/path_encap.h"

enum { MACS_BYTES = 12, TAG_BYTES = RTE_VLAN_HLEN };

static void move(struct rte_mbuf *m, struct flow_layout *layout, int bytes)
{
	if (layout->l3)
		layout->l3 = (uint16_t)(layout->l3 + bytes);
	if (layout->l4)
		layout->l4 = (uint16_t)(layout->l4 + bytes);
	if (m->ol_flags & FLOW_OUTER_REQUESTS)
		m->outer_l2_len = (uint64_t)(m->outer_l2_len + bytes) & 0x7f;
	else if (m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK)
		m->l2_len = (uint64_t)(m->l2_len + bytes) & 0x7f;
}

/* The headers that layout speaks of are in the first segment again. */
static bool pull_headers(struct rte_mbuf *m, const struct flow_layout *layout)
{
	uint32_t end = RTE_MAX(layout->l4 ? layout->l4 + (uint32_t)TCP_BYTES : 0, layout->l3 + (uint32_t)IPV6_BYTES);

	return packet_pull(m, RTE_MIN(end, m->pkt_len)) == DROP_NONE;
}

bool flow_has_tags(const struct flow_action *a, struct rte_mbuf *m)
{
	unsigned tags = a->needs & FLOW_NEED_TAGS ? 2 : 1;

	return packet_pull(m, ETHER_BYTES + tags * RTE_VLAN_HLEN) == DROP_NONE;
}

struct rte_mbuf *flow_vlan_push(struct rte_mbuf *m, struct flow_layout *layout, uint16_t tpid, uint16_t tci)
{
	uint8_t macs[MACS_BYTES];
	bool no_room = m->data_off < TAG_BYTES;

	memcpy(macs, packet_at(m, 0), MACS_BYTES);
	if (no_room)
		m = path_encap_segment(m, TAG_BYTES);
	if (!m)
		return NULL;
	m->data_off -= TAG_BYTES;
	m->data_len += TAG_BYTES;
	m->pkt_len += TAG_BYTES;
	move(m, layout, TAG_BYTES);
	if (no_room && !pull_headers(m, layout)) {
		rte_pktmbuf_free(m);
		return NULL;
	}
	uint8_t *frame = packet_at(m, 0);
	memcpy(frame, macs, MACS_BYTES);
	store_be16(frame + MACS_BYTES, tpid);
	store_be16(frame + MACS_BYTES + 2, tci);
	return m;
}

void flow_vlan_pop(struct rte_mbuf *m, struct flow_layout *layout)
{
	uint8_t *frame = packet_at(m, 0);

	memmove(frame + TAG_BYTES, frame, MACS_BYTES);
	m->data_off += TAG_BYTES;
	m->data_len -= TAG_BYTES;
	m->pkt_len -= TAG_BYTES;
	move(m, layout, -TAG_BYTES);
}
