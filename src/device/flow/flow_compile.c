/* SPDX-License-Identifier: BSD-3-Clause */
/* From what a client has written to an action: every field of a rule is checked, whatever the client's driver may have
 * checked before. */
#include "device/flow/flow_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* What is known of a frame where an op is to be executed. */
struct compiling {
	const struct eswitch_rule *rule;
	struct flow_action *action;
	char *sentence;
	uint8_t family, proto; /* that the match makes certain; 0 = neither */
	bool later;            /* … that it is no first fragment */
	unsigned tags;         /* VLAN tags that are certain, */
	unsigned pushed;       /* those of them that the rule has put on, */
	unsigned popped;       /* and those of the frame's that it has taken off */
	bool encapsulated;
	bool plain; /* FLOW_FAST can do it */
	unsigned outputs;
	uint16_t last_output; /* index of the op */
};

__attribute__((format(printf, 3, 4))) static int refuse(const struct compiling *c, enum eswitch_refusal refusal,
							const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(c->sentence, FLOW_SENTENCE_BYTES, format, arguments);
	va_end(arguments);
	return (int)refusal + 1;
}

/* ---- match ---- */

static bool any(const void *bytes, size_t length)
{
	const uint8_t *p = bytes;
	uint8_t sum = 0;

	for (size_t i = 0; i < length; i++)
		sum |= p[i];
	return sum;
}

static uint8_t family_of(const struct eswitch_fields *match, const struct eswitch_fields *mask)
{
	uint16_t type = 0;

	if (mask->inner_type == UINT16_MAX && match->inner_type)
		type = match->inner_type;
	else if (mask->eth_type == UINT16_MAX)
		type = match->eth_type;
	return type == RTE_BE16(RTE_ETHER_TYPE_IPV4)   ? FLOW_IPV4
	       : type == RTE_BE16(RTE_ETHER_TYPE_IPV6) ? FLOW_IPV6
						       : 0;
}

static bool has_ports(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

static int check_l4(struct compiling *c)
{
	const struct eswitch_fields *match = &c->rule->match, *mask = &c->rule->mask;
	bool icmp = (c->family == FLOW_IPV4 && c->proto == IPPROTO_ICMP) ||
		    (c->family == FLOW_IPV6 && c->proto == IPPROTO_ICMPV6);

	if ((mask->l4_src || mask->l4_dst) && !has_ports(c->proto) && !icmp)
		return refuse(
			c, ESWITCH_REFUSED_MATCH,
			"l4_src and l4_dst are matched without a protocol that has them: match ip_proto exactly.");
	if (mask->tcp_flags && c->proto != IPPROTO_TCP)
		return refuse(c, ESWITCH_REFUSED_MATCH, "tcp_flags are matched without ip_proto 6.");
	c->later = match->flags & mask->flags & ESWITCH_FIELD_LATER;
	return 0;
}

static int check_match(struct compiling *c)
{
	const struct eswitch_fields *match = &c->rule->match, *mask = &c->rule->mask;
	const uint8_t known = ESWITCH_FIELD_VLAN | ESWITCH_FIELD_FRAGMENT | ESWITCH_FIELD_LATER;
	bool l3 = mask->ip_proto || mask->ip_tos || mask->ip_ttl || any(mask->ip6_src, 32);

	c->family = family_of(match, mask);
	if (mask->flags & ~known)
		return refuse(c, ESWITCH_REFUSED_MATCH, "flags 0x%x are matched, which have no meaning.",
			      mask->flags & ~known);
	if (mask->spare || mask->vlan_tci & RTE_BE16(0x1000) || mask->tcp_flags & RTE_BE16(0xf000))
		return refuse(c, ESWITCH_REFUSED_MATCH,
			      "Bits are matched that are no field's: spare, the CFI bit, or above the 12 TCP flags.");
	if (l3 && !c->family)
		return refuse(
			c, ESWITCH_REFUSED_MATCH,
			"IP fields are matched without an exact match of eth_type (tagged: inner_type) for IPv4 or "
			"IPv6.");
	if (c->family == FLOW_IPV4 && any(mask->zero, sizeof(mask->zero)))
		return refuse(c, ESWITCH_REFUSED_MATCH, "Bits behind the IPv4 addresses are matched.");
	if (mask->ip_proto == UINT8_MAX)
		c->proto = match->ip_proto;
	c->tags = (match->flags & mask->flags & ESWITCH_FIELD_VLAN) || (match->inner_type & mask->inner_type) ||
		  (match->vlan_tci & mask->vlan_tci) || (mask->eth_type == UINT16_MAX && flow_is_vlan(match->eth_type));
	if (c->tags && mask->inner_type == UINT16_MAX && flow_is_vlan(match->inner_type))
		c->tags = 2;
	return check_l4(c);
}

/* ---- actions ---- */

static int need_family(const struct compiling *c, const char *what, uint8_t family)
{
	if (c->family && (!family || family == c->family))
		return 0;
	return refuse(c, ESWITCH_REFUSED_ACTION, "%s needs a match of %s.", what,
		      family == FLOW_IPV4   ? "IPv4"
		      : family == FLOW_IPV6 ? "IPv6"
					    : "IPv4 or IPv6");
}

static int compile_eth(struct compiling *c, const struct eswitch_op *op)
{
	struct flow_action *a = c->action;
	bool dst = op->code == ESWITCH_OP_SET_ETH_DST;

	memcpy(dst ? a->eth_dst : a->eth_src, op->bytes, 6);
	a->sets |= dst ? FLOW_SET_ETH_DST : FLOW_SET_ETH_SRC;
	return 0;
}

static int compile_ip4(struct compiling *c, const struct eswitch_op *op)
{
	struct flow_action *a = c->action;
	bool dst = op->code == ESWITCH_OP_SET_IP4_DST;

	memcpy(dst ? &a->ip4_dst : &a->ip4_src, op->bytes, 4);
	a->sets |= dst ? FLOW_SET_IP4_DST : FLOW_SET_IP4_SRC;
	a->needs |= FLOW_NEED_L3;
	return need_family(c, "An IPv4 address", FLOW_IPV4);
}

static int compile_ip6(struct compiling *c)
{
	c->plain = false;
	c->action->needs |= FLOW_NEED_L3;
	return need_family(c, "An IPv6 address", FLOW_IPV6);
}

/* A TTL that is set after it was decremented is what was set: in order, then. */
static int compile_ttl(struct compiling *c, const struct eswitch_op *op)
{
	struct flow_action *a = c->action;
	bool dec = op->code == ESWITCH_OP_DEC_TTL;

	if (!dec && op->value > UINT8_MAX)
		return refuse(c, ESWITCH_REFUSED_ACTION, "A TTL of %u: 255 is the largest.", op->value);
	if (a->sets & FLOW_DEC_TTL)
		c->plain = false;
	if (dec && a->sets & (FLOW_SET_TTL | FLOW_DEC_TTL))
		return refuse(c, ESWITCH_REFUSED_ACTION, "The TTL is decremented after it was set or decremented.");
	if (dec)
		a->needs |= FLOW_NEED_TTL;
	a->sets |= dec ? FLOW_DEC_TTL : FLOW_SET_TTL;
	a->ttl = (uint8_t)op->value;
	a->needs |= FLOW_NEED_L3;
	return need_family(c, "A TTL", 0);
}

static int compile_dscp(struct compiling *c, const struct eswitch_op *op)
{
	if (op->value > 63)
		return refuse(c, ESWITCH_REFUSED_ACTION, "A DSCP of %u: 63 is the largest.", op->value);
	c->action->dscp = (uint8_t)(op->value << 2);
	c->action->sets |= FLOW_SET_DSCP;
	c->action->needs |= FLOW_NEED_L3;
	return need_family(c, "A DSCP", 0);
}

static int compile_tp(struct compiling *c, const struct eswitch_op *op)
{
	struct flow_action *a = c->action;
	bool dst = op->code == ESWITCH_OP_SET_TP_DST;
	rte_be16_t port = rte_cpu_to_be_16((uint16_t)op->value);

	if (op->value > UINT16_MAX)
		return refuse(c, ESWITCH_REFUSED_ACTION, "A port of %u: 65535 is the largest.", op->value);
	if (!c->family || (c->proto != IPPROTO_TCP && c->proto != IPPROTO_UDP) || c->later)
		return refuse(c, ESWITCH_REFUSED_ACTION,
			      "Ports are set of frames that the match does not make TCP or UDP.");
	if (dst)
		a->tp_dst = port;
	else
		a->tp_src = port;
	a->sets |= dst ? FLOW_SET_TP_DST : FLOW_SET_TP_SRC;
	a->needs |= FLOW_NEED_L3 | FLOW_NEED_L4;
	return 0;
}

static int compile_vlan(struct compiling *c, const struct eswitch_op *op)
{
	c->plain = false;
	if (op->code == ESWITCH_OP_PUSH_VLAN) {
		if (op->value != RTE_ETHER_TYPE_VLAN && op->value != RTE_ETHER_TYPE_QINQ)
			return refuse(c, ESWITCH_REFUSED_ACTION, "A TPID of 0x%x: it is 0x8100 or 0x88a8.", op->value);
		c->tags++;
		c->pushed++;
		return 0;
	}
	if (!c->tags)
		return refuse(c, ESWITCH_REFUSED_ACTION, "A tag is changed or popped that the frame need not have.");
	if (!c->pushed) /* The type that tells of a tag may be all that there is of it. */
		c->action->needs |= c->popped ? FLOW_NEED_TAGS : FLOW_NEED_TAG;
	if (op->code == ESWITCH_OP_POP_VLAN) {
		c->tags--;
		if (c->pushed)
			c->pushed--;
		else
			c->popped++;
		return 0;
	}
	uint32_t limit = op->code == ESWITCH_OP_SET_VLAN_VID ? 4095 : 7;
	if (op->value > limit)
		return refuse(c, ESWITCH_REFUSED_ACTION, "A VLAN id or priority of %u: %u is the largest.", op->value,
			      limit);
	return 0;
}

static int compile_encap(struct compiling *c)
{
	struct flow_encap parsed;

	if (c->encapsulated)
		return refuse(c, ESWITCH_REFUSED_ACTION, "A frame is encapsulated twice.");
	const char *fault = flow_encap_parse(c->rule->encap, c->rule->encap_bytes, &parsed);
	if (fault)
		return refuse(c, ESWITCH_REFUSED_ACTION, "The encapsulation header cannot be used: %s", fault);
	c->encapsulated = true;
	c->plain = false;
	return 0;
}

static int compile_output(struct compiling *c, const struct eswitch_op *op, unsigned index)
{
	if (op->code == ESWITCH_OP_UPCALL) {
		c->action->mark = op->value;
		c->action->marked = op->port == 1;
		c->plain = false;
	} else if (op->port > ESWITCH_MAX_PORTS) {
		return refuse(c, ESWITCH_REFUSED_PORT, "There is no port %u.", op->port);
	} else if (op->port == 0) {
		if (!c->tags || c->encapsulated)
			return refuse(c, ESWITCH_REFUSED_ACTION,
				      "A frame leaves by the trunk without a tag that says where to.");
		c->plain = false;
	}
	c->action->port = op->port;
	if (c->outputs++)
		c->plain = false;
	c->last_output = (uint16_t)index;
	return 0;
}

static int compile_op(struct compiling *c, const struct eswitch_op *op, unsigned index)
{
	if (c->encapsulated && op->code != ESWITCH_OP_OUTPUT)
		return refuse(c, ESWITCH_REFUSED_ACTION, "Only outputs may follow an encapsulation.");
	switch (op->code) {
	case ESWITCH_OP_OUTPUT:
	case ESWITCH_OP_UPCALL:
		return compile_output(c, op, index);
	case ESWITCH_OP_SET_ETH_SRC:
	case ESWITCH_OP_SET_ETH_DST:
		return compile_eth(c, op);
	case ESWITCH_OP_SET_IP4_SRC:
	case ESWITCH_OP_SET_IP4_DST:
		return compile_ip4(c, op);
	case ESWITCH_OP_SET_IP6_SRC:
	case ESWITCH_OP_SET_IP6_DST:
		return compile_ip6(c);
	case ESWITCH_OP_SET_TTL:
	case ESWITCH_OP_DEC_TTL:
		return compile_ttl(c, op);
	case ESWITCH_OP_SET_DSCP:
		return compile_dscp(c, op);
	case ESWITCH_OP_SET_TP_SRC:
	case ESWITCH_OP_SET_TP_DST:
		return compile_tp(c, op);
	case ESWITCH_OP_PUSH_VLAN:
	case ESWITCH_OP_SET_VLAN_VID:
	case ESWITCH_OP_SET_VLAN_PCP:
	case ESWITCH_OP_POP_VLAN:
		return compile_vlan(c, op);
	case ESWITCH_OP_ENCAP:
		return compile_encap(c);
	default:
		return refuse(c, ESWITCH_REFUSED_ACTION, "There is no op %u.", op->code);
	}
}

static int make_program(struct compiling *c)
{
	const struct eswitch_rule *rule = c->rule;
	size_t ops = (c->last_output + 1u) * sizeof(struct eswitch_op);
	size_t encap = c->encapsulated ? sizeof(struct flow_encap) : 0;
	struct flow_program *program = malloc(sizeof(*program) + ops + encap);

	if (!program)
		return refuse(c, ESWITCH_REFUSED_MEMORY, "There is no memory for the rule's actions.");
	program->op_count = c->last_output + 1;
	program->last_output = c->last_output;
	program->encap = encap ? (struct flow_encap *)((uint8_t *)program->ops + ops) : NULL;
	memcpy(program->ops, rule->ops, ops);
	if (encap)
		flow_encap_parse(rule->encap, rule->encap_bytes, program->encap);
	c->action->kind = FLOW_PROGRAM;
	c->action->program = program;
	return 0;
}

static int compile_ops(struct compiling *c)
{
	const struct eswitch_rule *rule = c->rule;

	if (rule->op_count > ESWITCH_MAX_OPS)
		return refuse(c, ESWITCH_REFUSED_ACTION, "%u ops: there may be %u.", rule->op_count, ESWITCH_MAX_OPS);
	/* What is behind the last output changes nothing, but must be right nevertheless. */
	for (unsigned i = 0; i < rule->op_count; i++) {
		int rc = compile_op(c, &rule->ops[i], i);
		if (rc)
			return rc;
	}
	if (!c->outputs) {
		*c->action = (struct flow_action){ .kind = FLOW_DROP };
		return 0;
	}
	if (c->plain && c->last_output == rule->op_count - 1) {
		c->action->kind = FLOW_FAST;
		return 0;
	}
	/* A rule that does nothing but send up needs no program. */
	if (c->outputs == 1 && rule->ops[0].code == ESWITCH_OP_UPCALL) {
		*c->action = (struct flow_action){ .kind = FLOW_UPCALL,
						   .mark = c->action->mark,
						   .marked = c->action->marked };
		return 0;
	}
	return make_program(c);
}

int flow_compile(const struct eswitch_rule *rule, union flow_fields *ret_key, union flow_fields *ret_mask,
		 struct flow_action *ret_action, char sentence[FLOW_SENTENCE_BYTES])
{
	struct compiling c = { .rule = rule, .action = ret_action, .sentence = sentence, .plain = true };

	*ret_action = (struct flow_action){ 0 };
	int rc = check_match(&c);
	if (!rc)
		rc = compile_ops(&c);
	if (rc)
		return rc;
	ret_mask->f = rule->mask;
	ret_mask->f.in_port = UINT16_MAX;
	ret_key->f = rule->match;
	for (unsigned w = 0; w < FLOW_WORDS; w++)
		ret_key->w[w] &= ret_mask->w[w];
	ret_key->f.in_port = 0;
	return 0;
}

/* ---- back ---- */

static unsigned decompile_fast(const struct flow_action *a, struct eswitch_op *ops)
{
	const struct {
		enum flow_set set;
		enum eswitch_op_code code;
		const void *bytes;
		uint8_t length;
		uint32_t value;
	} sets[] = {
		{ FLOW_SET_ETH_SRC, ESWITCH_OP_SET_ETH_SRC, a->eth_src, 6, 0 },
		{ FLOW_SET_ETH_DST, ESWITCH_OP_SET_ETH_DST, a->eth_dst, 6, 0 },
		{ FLOW_SET_IP4_SRC, ESWITCH_OP_SET_IP4_SRC, &a->ip4_src, 4, 0 },
		{ FLOW_SET_IP4_DST, ESWITCH_OP_SET_IP4_DST, &a->ip4_dst, 4, 0 },
		{ FLOW_SET_TTL, ESWITCH_OP_SET_TTL, NULL, 0, a->ttl },
		{ FLOW_DEC_TTL, ESWITCH_OP_DEC_TTL, NULL, 0, 0 },
		{ FLOW_SET_DSCP, ESWITCH_OP_SET_DSCP, NULL, 0, a->dscp >> 2 },
		{ FLOW_SET_TP_SRC, ESWITCH_OP_SET_TP_SRC, NULL, 0, rte_be_to_cpu_16(a->tp_src) },
		{ FLOW_SET_TP_DST, ESWITCH_OP_SET_TP_DST, NULL, 0, rte_be_to_cpu_16(a->tp_dst) },
	};
	unsigned count = 0;

	for (unsigned i = 0; i < RTE_DIM(sets); i++) {
		if (!(a->sets & sets[i].set))
			continue;
		ops[count] = (struct eswitch_op){ .code = sets[i].code, .value = sets[i].value };
		if (sets[i].length)
			memcpy(ops[count].bytes, sets[i].bytes, sets[i].length);
		count++;
	}
	ops[count++] = (struct eswitch_op){ .code = ESWITCH_OP_OUTPUT, .port = a->port };
	return count;
}

unsigned flow_decompile(const struct flow_action *action, struct eswitch_op ops[ESWITCH_MAX_OPS])
{
	switch (action->kind) {
	case FLOW_FAST:
		return decompile_fast(action, ops);
	case FLOW_PROGRAM:
		memcpy(ops, action->program->ops, action->program->op_count * sizeof(ops[0]));
		return action->program->op_count;
	case FLOW_UPCALL:
		ops[0] =
			(struct eswitch_op){ .code = ESWITCH_OP_UPCALL, .port = action->marked, .value = action->mark };
		return 1;
	default:
		return 0;
	}
}
