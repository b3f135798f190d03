/* SPDX-License-Identifier: BSD-3-Clause */
/* Actions op by op, for rules that need more than a few set-fields and one output. What an output sends is never
 * touched again: all but the last get copies of their own. */
#include "device/flow/flow_edit.h"

enum { HEADERS_MAX = 512 }; /* of what segmentation and checksums read and write */

/* A frame while its program runs. */
struct running {
	struct flow *flow;
	const struct flow_program *program;
	struct rte_mbuf *m; /* NULL: it has been sent or lost */
	struct flow_layout layout;
};

static void set_mark(struct rte_mbuf *m, uint32_t mark)
{
	m->ol_flags |= RTE_MBUF_F_RX_FDIR | RTE_MBUF_F_RX_FDIR_ID;
	m->hash.fdir.hi = mark;
}

/* Its first segment is its own, and has all headers: nobody writes behind them. The others it shares with the frame. */
static struct rte_mbuf *copy_of(struct rte_mbuf *m, struct rte_mempool *pool)
{
	if (likely(!m->next) || packet_pull(m, RTE_MIN(m->pkt_len, (uint32_t)HEADERS_MAX)) != DROP_NONE || !m->next)
		return rte_pktmbuf_copy(m, pool, 0, UINT32_MAX);
	struct rte_mbuf *copy = rte_pktmbuf_copy(m, pool, 0, m->data_len);
	struct rte_mbuf *rest = copy ? rte_pktmbuf_clone(m->next, pool) : NULL;
	if (!rest) {
		rte_pktmbuf_free(copy);
		return NULL;
	}
	rte_pktmbuf_lastseg(copy)->next = rest;
	copy->nb_segs += rest->nb_segs;
	copy->pkt_len = m->pkt_len;
	return copy;
}

static void output(struct running *r, const struct eswitch_op *op, bool last)
{
	struct rte_mbuf *m = r->m;

	if (!last) {
		m = copy_of(r->m, r->flow->pool);
		if (!m) {
			path_count_drops(r->flow->path, DROP_NO_BUFFER, flow_in_iface(r->flow), 0, 1);
			return;
		}
	} else {
		r->m = NULL;
	}
	if (op->code == ESWITCH_OP_UPCALL) {
		if (op->port == 1)
			set_mark(m, op->value);
		flow_send_up(r->flow, m);
	} else if (op->port == 0) {
		flow_send_trunk(r->flow, m);
	} else {
		flow_send(r->flow, op->port, m);
	}
}

static void push_vlan(struct running *r, uint16_t tpid)
{
	r->m = flow_vlan_push(r->m, &r->layout, tpid, 0);
	if (!r->m)
		path_count_drops(r->flow->path, DROP_NO_BUFFER, flow_in_iface(r->flow), 0, 1);
}

/* bits of the outermost tag that mask says become value. */
static void set_tag(struct running *r, uint16_t mask, uint16_t value)
{
	uint8_t *tci = packet_at(r->m, ETHER_BYTES);

	store_be16(tci, (uint16_t)((load_be16(tci) & ~mask) | value));
}

static void set_field(struct running *r, const struct eswitch_op *op)
{
	uint8_t *frame = packet_at(r->m, 0);
	const struct flow_layout *layout = &r->layout;
	uint32_t address;

	switch (op->code) {
	case ESWITCH_OP_SET_ETH_SRC:
	case ESWITCH_OP_SET_ETH_DST:
		memcpy(frame + (op->code == ESWITCH_OP_SET_ETH_SRC ? 6 : 0), op->bytes, 6);
		break;
	case ESWITCH_OP_SET_IP4_SRC:
	case ESWITCH_OP_SET_IP4_DST:
		memcpy(&address, op->bytes, 4);
		flow_set_ip4(r->m, frame, layout, op->code == ESWITCH_OP_SET_IP4_SRC ? 12 : 16, address);
		break;
	case ESWITCH_OP_SET_IP6_SRC:
	case ESWITCH_OP_SET_IP6_DST:
		flow_set_ip6(r->m, frame, layout, op->code == ESWITCH_OP_SET_IP6_SRC ? 8 : 24, op->bytes);
		break;
	case ESWITCH_OP_SET_TTL:
		flow_set_ttl(frame, layout, (uint8_t)op->value);
		break;
	case ESWITCH_OP_DEC_TTL:
		flow_set_ttl(frame, layout, (uint8_t)(flow_ttl(frame, layout) - 1));
		break;
	case ESWITCH_OP_SET_DSCP:
		flow_set_dscp(frame, layout, (uint8_t)(op->value << 2));
		break;
	case ESWITCH_OP_SET_TP_SRC:
	case ESWITCH_OP_SET_TP_DST:
		flow_set_tp(r->m, frame, layout, op->code == ESWITCH_OP_SET_TP_SRC ? 0 : 2,
			    rte_cpu_to_be_16((uint16_t)op->value));
		break;
	default:
		break;
	}
}

static void step(struct running *r, const struct eswitch_op *op, bool last)
{
	switch (op->code) {
	case ESWITCH_OP_OUTPUT:
	case ESWITCH_OP_UPCALL:
		output(r, op, last);
		break;
	case ESWITCH_OP_PUSH_VLAN:
		push_vlan(r, (uint16_t)op->value);
		break;
	case ESWITCH_OP_POP_VLAN:
		flow_vlan_pop(r->m, &r->layout);
		break;
	case ESWITCH_OP_SET_VLAN_VID:
		set_tag(r, 0x0fff, (uint16_t)op->value);
		break;
	case ESWITCH_OP_SET_VLAN_PCP:
		set_tag(r, 0xe000, (uint16_t)(op->value << 13));
		break;
	case ESWITCH_OP_ENCAP:
		r->m = flow_encap_push(r->flow, r->m, r->program->encap);
		break;
	default:
		set_field(r, op);
	}
}

void flow_program_run(struct flow *flow, const struct flow_action *action, struct rte_mbuf *m,
		      struct flow_layout layout)
{
	struct running r = { .flow = flow, .program = action->program, .m = m, .layout = layout };

	for (unsigned i = 0; i < r.program->op_count && r.m; i++)
		step(&r, &r.program->ops[i], i == r.program->last_output);
}
