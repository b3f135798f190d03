/* SPDX-License-Identifier: BSD-3-Clause */
/* What would become of a frame, asked by control: the same ports, the same fields, the same search as in a worker; no
 * entry is made, nothing is counted. */
#include "device/flow/flow_edit.h"

/* Whose rules the frames of a member meet: those of its own port, or the trunk's. 0 = nobody has opened either. */
static uint16_t binding_of(const struct flow_switch *sw, uint16_t number, uint16_t *ret_port)
{
	uint16_t binding = atomic_load_explicit(&sw->open[number], memory_order_acquire);

	*ret_port = binding ? number : 0;
	return binding ? binding : atomic_load_explicit(&sw->open[0], memory_order_acquire);
}

/* As on the trunk: tagged with the number. */
static bool tag(struct rte_mbuf **m, uint16_t number)
{
	struct flow_layout none = { 0 };

	*m = flow_vlan_push(*m, &none, RTE_ETHER_TYPE_VLAN, number);
	return *m != NULL;
}

static void find(struct flow_switch *sw, const union flow_fields *fields, const struct flow_layout *layout,
		 struct rte_mbuf *m, struct flow_explanation *ret)
{
	uint64_t searched = 0;
	bool certain;
	uint32_t number = layout->unread ? 0 : flow_classify(sw, fields, ret->port, &certain, &searched);

	ret->masks_searched = (unsigned)searched;
	ret->fate = FLOW_FATE_NO_RULE;
	if (!number || !flow_rule_describe(sw, number, &ret->rule))
		return;
	ret->fate = flow_has_needs(&sw->actions[number], m, layout) ? FLOW_FATE_RULE : FLOW_FATE_NEEDS;
}

static void search(struct flow_switch *sw, uint16_t binding, struct rte_mbuf *m, struct flow_explanation *ret)
{
	const unsigned reader = sw->options.workers;
	union flow_fields fields;
	struct flow_layout layout;

	if (!flow_fields_read(m, &fields, &layout)) {
		ret->fate = FLOW_FATE_MALFORMED;
		return;
	}
	fields.f.in_port = binding;
	rte_rcu_qsbr_thread_online(sw->qsbr, reader);
	find(sw, &fields, &layout, m, ret);
	rte_rcu_qsbr_thread_offline(sw->qsbr, reader);
	ret->fields = fields.f;
	ret->fields.in_port = ret->port;
	ret->fields.spare = 0;
}

void flow_explain(struct flow_switch *sw, uint16_t number, struct rte_mbuf **m, struct flow_explanation *ret)
{
	*ret = (struct flow_explanation){ .fate = FLOW_FATE_UNBOUND };
	if (number == 0 || number >= FLOW_PORTS || !atomic_load(&sw->ports[number]))
		return;
	uint16_t binding = binding_of(sw, number, &ret->port);
	ret->fate = FLOW_FATE_NO_CLIENT;
	if (!binding)
		return;
	ret->client = atomic_load(&sw->clients[atomic_load(&sw->port_slot[ret->port])]);
	ret->fate = FLOW_FATE_BYPASS;
	if (atomic_load(&sw->bypass))
		return;
	ret->fate = FLOW_FATE_MALFORMED;
	if ((*m)->pkt_len < ETHER_BYTES || packet_pull(*m, ETHER_BYTES) != DROP_NONE)
		return;
	if (ret->port != number && !tag(m, number))
		return;
	search(sw, binding, *m, ret);
}
