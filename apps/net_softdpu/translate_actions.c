/* SPDX-License-Identifier: BSD-3-Clause */
/* The actions of a flow as operations of a rule. */
#include "translate.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <rte_common.h>
#include <rte_errno.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>
#include <rte_vxlan.h>

struct actions {
	const struct translate_port *port;
	struct eswitch_rule *rule;
	const struct rte_flow_action *action; /* the one that is looked at */
	struct rte_flow_error *error;
	bool ingress, marked, spread, dropped, encapsulated, tagged;
	unsigned outputs;
	uint32_t mark;
};

#define REFUSE(actions_, errno_, type_, sentence_)                                                                     \
	rte_flow_error_set((actions_)->error, errno_, RTE_FLOW_ERROR_TYPE_##type_, (actions_)->action, sentence_)

static struct eswitch_op *add(struct actions *actions, uint16_t code)
{
	struct eswitch_rule *rule = actions->rule;

	if (rule->op_count == ESWITCH_MAX_OPS) {
		REFUSE(actions, ENOTSUP, ACTION_NUM, "a flow has 24 operations at most");
		return NULL;
	}
	struct eswitch_op *op = &rule->ops[rule->op_count++];
	*op = (struct eswitch_op){ .code = code };
	return op;
}

static int add_value(struct actions *actions, uint16_t code, uint32_t value)
{
	struct eswitch_op *op = add(actions, code);

	if (!op)
		return -rte_errno;
	op->value = value;
	return 0;
}

static int add_bytes(struct actions *actions, uint16_t code, const void *bytes, size_t count)
{
	struct eswitch_op *op = add(actions, code);

	if (!op)
		return -rte_errno;
	memcpy(op->bytes, bytes, count);
	return 0;
}

/* ---- where frames go ---- */

static int output(struct actions *actions, uint16_t dpdk_port)
{
	const struct translate_port *port = actions->port;
	int number = dpdk_port == port->dpdk_port ? port->number : port->number_of(port->ctx, dpdk_port);

	if (number < 0)
		return REFUSE(actions, EINVAL, ACTION_CONF, "that port is no representor of this switch");
	struct eswitch_op *op = add(actions, ESWITCH_OP_OUTPUT);
	if (!op)
		return -rte_errno;
	op->port = (uint16_t)number;
	actions->outputs++;
	return 0;
}

static int act_port_id(struct actions *actions, const void *conf)
{
	const struct rte_flow_action_port_id *to = conf;

	return output(actions, to->original          ? actions->port->dpdk_port
			       : to->id > UINT16_MAX ? UINT16_MAX
						     : (uint16_t)to->id);
}

static int act_represented_port(struct actions *actions, const void *conf)
{
	return output(actions, ((const struct rte_flow_action_ethdev *)conf)->port_id);
}

/* To the application behind a port: only its own. */
static int act_representor(struct actions *actions, const void *conf)
{
	if (((const struct rte_flow_action_ethdev *)conf)->port_id != actions->port->dpdk_port)
		return REFUSE(actions, ENOTSUP, ACTION_CONF, "a frame can go up by the port that it came from only");
	actions->outputs++;
	return add(actions, ESWITCH_OP_UPCALL) ? 0 : -rte_errno;
}

static int act_drop(struct actions *actions, const void *conf)
{
	actions->dropped = true;
	return 0;
}

static int act_mark(struct actions *actions, const void *conf)
{
	actions->marked = true;
	actions->mark = ((const struct rte_flow_action_mark *)conf)->id;
	return 0;
}

static int act_rss(struct actions *actions, const void *conf)
{
	const struct rte_flow_action_rss *rss = conf;

	/* Frames of a flow go up by the queue that its hash picks of all. */
	if (rss->queue_num && rss->queue_num < actions->port->rx_queues)
		return REFUSE(actions, ENOTSUP, ACTION_CONF, "flows are spread over all receive queues or none");
	if (rss->func != RTE_ETH_HASH_FUNCTION_DEFAULT || rss->level > 1)
		return REFUSE(actions, ENOTSUP, ACTION_CONF, "the hash is the DPU's own, of the outermost headers");
	actions->spread = true;
	return 0;
}

/* ---- fields ---- */

static int act_mac(struct actions *actions, const void *conf)
{
	bool src = actions->action->type == RTE_FLOW_ACTION_TYPE_SET_MAC_SRC;

	return add_bytes(actions, src ? ESWITCH_OP_SET_ETH_SRC : ESWITCH_OP_SET_ETH_DST,
			 ((const struct rte_flow_action_set_mac *)conf)->mac_addr, RTE_ETHER_ADDR_LEN);
}

static int act_ipv4(struct actions *actions, const void *conf)
{
	bool src = actions->action->type == RTE_FLOW_ACTION_TYPE_SET_IPV4_SRC;

	return add_bytes(actions, src ? ESWITCH_OP_SET_IP4_SRC : ESWITCH_OP_SET_IP4_DST,
			 &((const struct rte_flow_action_set_ipv4 *)conf)->ipv4_addr, 4);
}

static int act_ipv6(struct actions *actions, const void *conf)
{
	bool src = actions->action->type == RTE_FLOW_ACTION_TYPE_SET_IPV6_SRC;

	return add_bytes(actions, src ? ESWITCH_OP_SET_IP6_SRC : ESWITCH_OP_SET_IP6_DST,
			 &((const struct rte_flow_action_set_ipv6 *)conf)->ipv6_addr, 16);
}

static int act_ttl(struct actions *actions, const void *conf)
{
	return add_value(actions, ESWITCH_OP_SET_TTL, ((const struct rte_flow_action_set_ttl *)conf)->ttl_value);
}

static int act_dec_ttl(struct actions *actions, const void *conf)
{
	return add_value(actions, ESWITCH_OP_DEC_TTL, 0);
}

static int act_dscp(struct actions *actions, const void *conf)
{
	uint8_t dscp = ((const struct rte_flow_action_set_dscp *)conf)->dscp;

	if (dscp > 63)
		return REFUSE(actions, EINVAL, ACTION_CONF, "DSCP has six bits");
	return add_value(actions, ESWITCH_OP_SET_DSCP, dscp);
}

static int act_tp(struct actions *actions, const void *conf)
{
	bool src = actions->action->type == RTE_FLOW_ACTION_TYPE_SET_TP_SRC;
	rte_be16_t value = ((const struct rte_flow_action_set_tp *)conf)->port;

	return add_value(actions, src ? ESWITCH_OP_SET_TP_SRC : ESWITCH_OP_SET_TP_DST, rte_be_to_cpu_16(value));
}

/* ---- VLAN ---- */

static int act_push_vlan(struct actions *actions, const void *conf)
{
	uint16_t tpid = rte_be_to_cpu_16(((const struct rte_flow_action_of_push_vlan *)conf)->ethertype);

	if (tpid != RTE_ETHER_TYPE_VLAN && tpid != RTE_ETHER_TYPE_QINQ)
		return REFUSE(actions, ENOTSUP, ACTION_CONF, "the TPID of a tag is 0x8100 or 0x88a8");
	actions->tagged = true;
	return add_value(actions, ESWITCH_OP_PUSH_VLAN, tpid);
}

static int act_vlan_vid(struct actions *actions, const void *conf)
{
	uint16_t vid = rte_be_to_cpu_16(((const struct rte_flow_action_of_set_vlan_vid *)conf)->vlan_vid);

	if (vid > 4095)
		return REFUSE(actions, EINVAL, ACTION_CONF, "a VLAN id has 12 bits");
	return add_value(actions, ESWITCH_OP_SET_VLAN_VID, vid);
}

static int act_vlan_pcp(struct actions *actions, const void *conf)
{
	uint8_t pcp = ((const struct rte_flow_action_of_set_vlan_pcp *)conf)->vlan_pcp;

	if (pcp > 7)
		return REFUSE(actions, EINVAL, ACTION_CONF, "a priority has three bits");
	return add_value(actions, ESWITCH_OP_SET_VLAN_PCP, pcp);
}

static int act_pop_vlan(struct actions *actions, const void *conf)
{
	actions->tagged = false; /* of an inner tag nothing is known */
	return add_value(actions, ESWITCH_OP_POP_VLAN, 0);
}

/* ---- encapsulation ---- */

static int begin_encap(struct actions *actions)
{
	if (actions->encapsulated)
		return REFUSE(actions, ENOTSUP, ACTION, "a flow encapsulates once");
	actions->encapsulated = true;
	actions->rule->encap_bytes = 0;
	return add(actions, ESWITCH_OP_ENCAP) ? 0 : -rte_errno;
}

static int append_header(struct actions *actions, const void *header, size_t bytes)
{
	struct eswitch_rule *rule = actions->rule;

	if (rule->encap_bytes + bytes > ESWITCH_MAX_ENCAP_BYTES)
		return REFUSE(actions, ENOTSUP, ACTION_CONF, "the headers of an encapsulation have 128 bytes at most");
	memcpy(rule->encap + rule->encap_bytes, header, bytes);
	rule->encap_bytes = (uint16_t)(rule->encap_bytes + bytes);
	return 0;
}

static int act_raw_encap(struct actions *actions, const void *conf)
{
	const struct rte_flow_action_raw_encap *encap = conf;

	if (!encap->data || encap->size < RTE_ETHER_HDR_LEN + sizeof(struct rte_ipv4_hdr))
		return REFUSE(actions, EINVAL, ACTION_CONF, "an encapsulation begins with Ethernet and IP headers");
	return begin_encap(actions) < 0 ? -rte_errno : append_header(actions, encap->data, encap->size);
}

/* What each header says of the next, where the application has left it open. */
struct vxlan_headers {
	struct rte_ether_hdr eth;
	struct rte_vlan_hdr vlan;
	struct rte_ipv4_hdr v4;
	struct rte_ipv6_hdr v6;
	struct rte_udp_hdr udp;
	struct rte_vxlan_hdr vxlan;
	bool has_eth, has_vlan, has_v4, has_v6, has_udp, has_vxlan;
};

static int read_header(struct actions *actions, const struct rte_flow_item *item, struct vxlan_headers *headers)
{
	struct {
		enum rte_flow_item_type type;
		void *to;
		size_t bytes;
		bool *has;
		bool in_order; /* of what must have come before, and what must not */
	} known[] = {
		{ RTE_FLOW_ITEM_TYPE_ETH, &headers->eth, sizeof(headers->eth), &headers->has_eth, !headers->has_eth },
		{ RTE_FLOW_ITEM_TYPE_VLAN, &headers->vlan, sizeof(headers->vlan), &headers->has_vlan,
		  headers->has_eth && !headers->has_vlan && !headers->has_v4 && !headers->has_v6 },
		{ RTE_FLOW_ITEM_TYPE_IPV4, &headers->v4, sizeof(headers->v4), &headers->has_v4,
		  headers->has_eth && !headers->has_v4 && !headers->has_v6 },
		{ RTE_FLOW_ITEM_TYPE_IPV6, &headers->v6, sizeof(headers->v6), &headers->has_v6,
		  headers->has_eth && !headers->has_v4 && !headers->has_v6 },
		{ RTE_FLOW_ITEM_TYPE_UDP, &headers->udp, sizeof(headers->udp), &headers->has_udp,
		  (headers->has_v4 || headers->has_v6) && !headers->has_udp },
		{ RTE_FLOW_ITEM_TYPE_VXLAN, &headers->vxlan, sizeof(headers->vxlan), &headers->has_vxlan,
		  headers->has_udp && !headers->has_vxlan },
	};

	for (size_t i = 0; i < RTE_DIM(known); i++) {
		if (known[i].type != item->type)
			continue;
		if (!known[i].in_order || !item->spec)
			break;
		memcpy(known[i].to, item->spec, known[i].bytes); /* items begin with their header */
		*known[i].has = true;
		return 0;
	}
	return REFUSE(actions, EINVAL, ACTION_CONF, "a VXLAN header is ETH, perhaps VLAN, IPV4 or IPV6, UDP, VXLAN");
}

static void complete(struct vxlan_headers *headers)
{
	rte_be16_t ip = headers->has_v4 ? RTE_BE16(RTE_ETHER_TYPE_IPV4) : RTE_BE16(RTE_ETHER_TYPE_IPV6);

	headers->eth.ether_type = headers->has_vlan ? RTE_BE16(RTE_ETHER_TYPE_VLAN) : ip;
	headers->vlan.eth_proto = ip;
	headers->v4.version_ihl = RTE_IPV4_VHL_DEF;
	headers->v4.next_proto_id = headers->v6.proto = IPPROTO_UDP;
	headers->v6.vtc_flow |= RTE_BE32(0x60000000);
	if (!headers->v4.time_to_live)
		headers->v4.time_to_live = 64;
	if (!headers->v6.hop_limits)
		headers->v6.hop_limits = 64;
	if (!headers->udp.dst_port)
		headers->udp.dst_port = RTE_BE16(RTE_VXLAN_DEFAULT_PORT);
	headers->vxlan.vx_flags |= RTE_BE32(0x08000000);
}

static int act_vxlan_encap(struct actions *actions, const void *conf)
{
	struct vxlan_headers headers = { 0 };
	const struct rte_flow_item *item = ((const struct rte_flow_action_vxlan_encap *)conf)->definition;

	if (!item)
		return REFUSE(actions, EINVAL, ACTION_CONF, "there is no definition of the VXLAN header");
	for (; item->type != RTE_FLOW_ITEM_TYPE_END; item++)
		if (item->type != RTE_FLOW_ITEM_TYPE_VOID && read_header(actions, item, &headers) < 0)
			return -rte_errno;
	if (!headers.has_vxlan)
		return REFUSE(actions, EINVAL, ACTION_CONF, "the definition ends before its VXLAN header");
	complete(&headers);
	if (begin_encap(actions) < 0 || append_header(actions, &headers.eth, sizeof(headers.eth)) < 0 ||
	    (headers.has_vlan && append_header(actions, &headers.vlan, sizeof(headers.vlan)) < 0) ||
	    (headers.has_v4 && append_header(actions, &headers.v4, sizeof(headers.v4)) < 0) ||
	    (headers.has_v6 && append_header(actions, &headers.v6, sizeof(headers.v6)) < 0) ||
	    append_header(actions, &headers.udp, sizeof(headers.udp)) < 0 ||
	    append_header(actions, &headers.vxlan, sizeof(headers.vxlan)) < 0)
		return -rte_errno;
	return 0;
}

static int act_nothing(struct actions *actions, const void *conf)
{
	return 0; /* every flow is counted */
}

/* ---- all of them ---- */

/* What the pattern must have said for an action to mean something. */
enum need { NEEDS_NOTHING, NEEDS_IPV4, NEEDS_IPV6, NEEDS_IP, NEEDS_PORTS, NEEDS_TAG };

static const char *lacks(const struct actions *actions, enum need need)
{
	const struct eswitch_fields *match = &actions->rule->match, *mask = &actions->rule->mask;
	bool behind_tag = match->flags & ESWITCH_FIELD_VLAN;
	rte_be16_t type = behind_tag ? match->inner_type : match->eth_type;
	rte_be16_t type_mask = behind_tag ? mask->inner_type : mask->eth_type;
	bool v4 = type_mask == UINT16_MAX && type == RTE_BE16(RTE_ETHER_TYPE_IPV4);
	bool v6 = type_mask == UINT16_MAX && type == RTE_BE16(RTE_ETHER_TYPE_IPV6);
	bool ports = mask->ip_proto == UINT8_MAX &&
		     (match->ip_proto == IPPROTO_TCP || match->ip_proto == IPPROTO_UDP) &&
		     mask->flags & ESWITCH_FIELD_LATER && !(match->flags & ESWITCH_FIELD_LATER);

	switch (need) {
	case NEEDS_IPV4:
		return v4 ? NULL : "this action needs a pattern with IPV4";
	case NEEDS_IPV6:
		return v6 ? NULL : "this action needs a pattern with IPV6";
	case NEEDS_IP:
		return v4 || v6 ? NULL : "this action needs a pattern with IPV4 or IPV6";
	case NEEDS_PORTS:
		return ports ? NULL : "this action needs a pattern with TCP or UDP";
	case NEEDS_TAG:
		return actions->tagged ? NULL : "there is no VLAN tag here: the pattern has none, and none was pushed";
	default:
		return NULL;
	}
}

static const struct {
	enum rte_flow_action_type type;
	int (*take)(struct actions *actions, const void *conf);
	bool conf;    /* needs one */
	bool ingress; /* may stand in a flow of that attribute, too */
	enum need need;
} known[] = {
	{ RTE_FLOW_ACTION_TYPE_VOID, act_nothing, false, true, NEEDS_NOTHING },
	{ RTE_FLOW_ACTION_TYPE_COUNT, act_nothing, false, true, NEEDS_NOTHING },
	{ RTE_FLOW_ACTION_TYPE_MARK, act_mark, true, true, NEEDS_NOTHING },
	{ RTE_FLOW_ACTION_TYPE_RSS, act_rss, true, true, NEEDS_NOTHING },
	{ RTE_FLOW_ACTION_TYPE_DROP, act_drop, false, true, NEEDS_NOTHING },
	{ RTE_FLOW_ACTION_TYPE_PORT_ID, act_port_id, true, false, NEEDS_NOTHING },
	{ RTE_FLOW_ACTION_TYPE_REPRESENTED_PORT, act_represented_port, true, false, NEEDS_NOTHING },
	{ RTE_FLOW_ACTION_TYPE_PORT_REPRESENTOR, act_representor, true, false, NEEDS_NOTHING },
	{ RTE_FLOW_ACTION_TYPE_SET_MAC_SRC, act_mac, true, false, NEEDS_NOTHING },
	{ RTE_FLOW_ACTION_TYPE_SET_MAC_DST, act_mac, true, false, NEEDS_NOTHING },
	{ RTE_FLOW_ACTION_TYPE_SET_IPV4_SRC, act_ipv4, true, false, NEEDS_IPV4 },
	{ RTE_FLOW_ACTION_TYPE_SET_IPV4_DST, act_ipv4, true, false, NEEDS_IPV4 },
	{ RTE_FLOW_ACTION_TYPE_SET_IPV6_SRC, act_ipv6, true, false, NEEDS_IPV6 },
	{ RTE_FLOW_ACTION_TYPE_SET_IPV6_DST, act_ipv6, true, false, NEEDS_IPV6 },
	{ RTE_FLOW_ACTION_TYPE_SET_TTL, act_ttl, true, false, NEEDS_IP },
	{ RTE_FLOW_ACTION_TYPE_DEC_TTL, act_dec_ttl, false, false, NEEDS_IP },
	{ RTE_FLOW_ACTION_TYPE_SET_IPV4_DSCP, act_dscp, true, false, NEEDS_IPV4 },
	{ RTE_FLOW_ACTION_TYPE_SET_IPV6_DSCP, act_dscp, true, false, NEEDS_IPV6 },
	{ RTE_FLOW_ACTION_TYPE_SET_TP_SRC, act_tp, true, false, NEEDS_PORTS },
	{ RTE_FLOW_ACTION_TYPE_SET_TP_DST, act_tp, true, false, NEEDS_PORTS },
	{ RTE_FLOW_ACTION_TYPE_OF_PUSH_VLAN, act_push_vlan, true, false, NEEDS_NOTHING },
	{ RTE_FLOW_ACTION_TYPE_OF_SET_VLAN_VID, act_vlan_vid, true, false, NEEDS_TAG },
	{ RTE_FLOW_ACTION_TYPE_OF_SET_VLAN_PCP, act_vlan_pcp, true, false, NEEDS_TAG },
	{ RTE_FLOW_ACTION_TYPE_OF_POP_VLAN, act_pop_vlan, false, false, NEEDS_TAG },
	{ RTE_FLOW_ACTION_TYPE_VXLAN_ENCAP, act_vxlan_encap, true, false, NEEDS_NOTHING },
	{ RTE_FLOW_ACTION_TYPE_RAW_ENCAP, act_raw_encap, true, false, NEEDS_NOTHING },
};

static int take_action(struct actions *actions)
{
	for (size_t i = 0; i < RTE_DIM(known); i++) {
		if (known[i].type != actions->action->type)
			continue;
		if (known[i].conf && !actions->action->conf)
			return REFUSE(actions, EINVAL, ACTION_CONF, "this action needs a configuration");
		if (actions->ingress && !known[i].ingress)
			return REFUSE(actions, ENOTSUP, ACTION,
				      "with ingress go COUNT, MARK, RSS and DROP: use transfer");
		if (actions->encapsulated && actions->action->type != RTE_FLOW_ACTION_TYPE_PORT_ID &&
		    actions->action->type != RTE_FLOW_ACTION_TYPE_REPRESENTED_PORT &&
		    actions->action->type != RTE_FLOW_ACTION_TYPE_VOID &&
		    actions->action->type != RTE_FLOW_ACTION_TYPE_COUNT)
			return REFUSE(actions, ENOTSUP, ACTION, "behind an encapsulation there are only outputs");
		const char *lack = lacks(actions, known[i].need);
		if (lack)
			return REFUSE(actions, EINVAL, ACTION, lack);
		return known[i].take(actions, actions->action->conf);
	}
	return REFUSE(
		actions, ENOTSUP, ACTION,
		"the DPU does not know this action; connection tracking, meters and hashing stay with the application");
}

/* What a whole list must be: it drops, goes somewhere, or goes up marked. */
static int finish(struct actions *actions)
{
	if (actions->marked || actions->spread) {
		if (!actions->ingress)
			return REFUSE(actions, ENOTSUP, ACTION, "MARK and RSS go with the attribute ingress");
		if (actions->dropped)
			return REFUSE(actions, EINVAL, ACTION, "a frame that is dropped goes nowhere");
		struct eswitch_op *op = add(actions, ESWITCH_OP_UPCALL);
		op->port = actions->marked;
		op->value = actions->mark;
		return 0;
	}
	if (actions->dropped && actions->rule->op_count)
		return REFUSE(actions, EINVAL, ACTION, "a frame that is dropped is not changed and goes nowhere");
	if (!actions->dropped && !actions->outputs)
		return REFUSE(actions, EINVAL, ACTION, "the actions end without an output or DROP");
	return 0;
}

int translate_actions(const struct translate_port *port, bool ingress, const struct rte_flow_action *action,
		      struct eswitch_rule *ret, struct rte_flow_error *error)
{
	struct actions actions = { .port = port, .rule = ret, .error = error, .ingress = ingress };

	actions.tagged = ret->mask.flags & ret->match.flags & ESWITCH_FIELD_VLAN;
	ret->op_count = ret->encap_bytes = 0;
	for (; action->type != RTE_FLOW_ACTION_TYPE_END; action++) {
		actions.action = action;
		if (take_action(&actions) < 0)
			return -rte_errno;
	}
	actions.action = action;
	return finish(&actions);
}
