/* SPDX-License-Identifier: BSD-3-Clause */
/* `dpuctl why` under an eswitch: which rule a frame would meet, what that does, or why it goes up or ends. */
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include "device/packet/drop.h"
#include "service/eswitch/eswitch_priv.h"
#include "service/eswitch/rule_text.h"

struct answer {
	const struct eswitch *eswitch;
	const struct flow_explanation *said;
	json_t *steps, *outputs;
};

static void step(struct answer *answer, const char *decision, bool passed, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static void step(struct answer *answer, const char *decision, bool passed, const char *fmt, ...)
{
	char text[RULE_TEXT + 64];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	json_array_append_new(answer->steps,
			      json_pack("{s:s, s:b, s:s}", "decision", decision, "passed", passed, "text", text));
}

static void input_step(struct answer *answer, uint16_t number)
{
	const struct flow_explanation *said = answer->said;
	const char *name = representor_name(answer->eswitch, number);

	if (said->fate == FLOW_FATE_UNBOUND)
		step(answer, "input", false, "no representor stands for what it comes from");
	else if (said->fate == FLOW_FATE_NO_CLIENT)
		step(answer, "input", false, "no client has representor %s (%u) open, nor the trunk", name, number);
	else if (said->port == 0)
		step(answer, "input", true, "comes in by the trunk, which %s has open, as VLAN %u: nobody has %s open",
		     client_name(answer->eswitch, said->client), number, name);
	else
		step(answer, "input", true, "comes in by representor %s (%u), which %s has open", name, number,
		     client_name(answer->eswitch, said->client));
}

static void lookup_steps(struct answer *answer)
{
	const struct flow_explanation *said = answer->said;
	const char *plural = said->masks_searched == 1 ? "" : "s";

	if (said->fate == FLOW_FATE_NO_RULE) {
		step(answer, "lookup", false, "no rule matches: %u mask%s of rules for this port looked at",
		     said->masks_searched, plural);
		return;
	}
	step(answer, "lookup", true, "matches rule %u, after %u mask%s", said->rule.index, said->masks_searched,
	     plural);
	if (said->fate == FLOW_FATE_NEEDS)
		step(answer, "actions", false,
		     "the rule changes what the packet lacks: a TTL above 1, or whole headers");
}

static void output_step(struct answer *answer, uint16_t number)
{
	const struct control_representor *to =
		number <= ESWITCH_MAX_PORTS ? answer->eswitch->representors[number] : NULL;
	struct eswitch_port_info info;

	if (number == 0) {
		step(answer, "output", true, "leaves by what its outermost VLAN tag names");
		return;
	}
	if (!to) {
		step(answer, "output", false, "representor %u is gone: this copy is dropped (output-gone)", number);
		return;
	}
	representor_info((struct eswitch *)answer->eswitch, number, &info);
	step(answer, "output", info.link_up, "leaves by %s (%u), whose MTU is %u%s", to->object->base.name, number,
	     info.mtu, info.link_up ? "" : ", but which is down");
	json_array_append_new(answer->outputs, json_string(to->object->base.name));
}

/* Returns the verdict. */
static const char *action_steps(struct answer *answer)
{
	const struct flow_rule_info *rule = &answer->said->rule;
	char text[RULE_TEXT];

	step(answer, "actions", true, "%s",
	     rule_actions_text(rule->ops, rule->op_count, rule->encap_bytes, text, sizeof(text)));
	for (unsigned i = 0; i < rule->op_count; i++) {
		if (rule->ops[i].code == ESWITCH_OP_UPCALL)
			return "upcall";
		if (rule->ops[i].code == ESWITCH_OP_OUTPUT)
			output_step(answer, rule->ops[i].port);
	}
	return rule->op_count > 0 ? "forward" : "drop";
}

static json_t *rule_json(const struct answer *answer)
{
	const struct flow_rule_info *rule = &answer->said->rule;
	char match[RULE_TEXT], actions[RULE_TEXT];

	if (answer->said->fate != FLOW_FATE_RULE && answer->said->fate != FLOW_FATE_NEEDS)
		return json_null();
	return json_pack("{s:I, s:s, s:s, s:I, s:I, s:s}", "rule", (json_int_t)rule->index, "match",
			 rule_match_text(&rule->match, &rule->mask, match, sizeof(match)), "actions",
			 rule_actions_text(rule->ops, rule->op_count, rule->encap_bytes, actions, sizeof(actions)),
			 "packets", (json_int_t)rule->packets, "bytes", (json_int_t)rule->bytes, "client",
			 client_name(answer->eswitch, rule->client));
}

/* The frame as a rule of its own would be written that matches it alone. */
static const char *fields_text(const struct flow_explanation *said, char *buf, size_t size)
{
	struct eswitch_fields mask;

	if (said->fate < FLOW_FATE_NO_RULE)
		return "the frame";
	memset(&mask, 0xff, sizeof(mask));
	mask.flags = said->fields.flags | ESWITCH_FIELD_FRAGMENT;
	if (said->fields.ip_proto == IPPROTO_ICMP || said->fields.ip_proto == IPPROTO_ICMPV6)
		mask.l4_src = mask.l4_dst = RTE_BE16(0xff);
	if (!(said->fields.flags & ESWITCH_FIELD_VLAN))
		mask.vlan_tci = 0;
	if (!said->fields.tcp_flags)
		mask.tcp_flags = 0;
	if (!said->fields.l4_src && !said->fields.l4_dst)
		mask.l4_src = mask.l4_dst = 0;
	return rule_match_text(&said->fields, &mask, buf, size);
}

/* Verdict, reason and explanation of what no rule decides. */
static const char *fate_verdict(enum flow_fate fate, enum drop_reason *ret_reason, const char **ret_why)
{
	static const struct {
		const char *verdict, *why;
		enum drop_reason reason;
	} rows[] = {
		[FLOW_FATE_UNBOUND] = { "drop", NULL, DROP_UNBOUND_INTERFACE },
		[FLOW_FATE_NO_CLIENT] = { "drop", NULL, DROP_NO_UPCALL },
		[FLOW_FATE_MALFORMED] = { "drop", NULL, DROP_TRUNCATED },
		[FLOW_FATE_BYPASS] = { "upcall", "The eswitch is in bypass: every packet goes up to the client.",
				       DROP_NONE },
		[FLOW_FATE_NO_RULE] = { "upcall", "No rule says what to do: the packet goes up to the client.",
					DROP_NONE },
		[FLOW_FATE_NEEDS] = { "upcall", "The rule cannot be applied: the packet goes up to the client.",
				      DROP_NONE },
	};

	*ret_reason = rows[fate].reason;
	*ret_why = rows[fate].why ? rows[fate].why : drop_reason_doc(rows[fate].reason);
	return rows[fate].verdict;
}

static const char *rule_why(const char *verdict)
{
	return verdict[0] == 'd'   ? drop_reason_doc(DROP_RULE_DROP)
	       : verdict[0] == 'u' ? "The rule sends it up to the client, which forwards it."
				   : "The rule forwards it; the client does not see it.";
}

int explain_member(void *ctx, uint16_t number, struct rte_mbuf **frame, json_t **ret, struct dpu_error *err)
{
	struct eswitch *eswitch = ctx;
	struct flow_explanation said;
	struct answer answer = { .eswitch = eswitch, .said = &said };
	enum drop_reason reason = DROP_NONE;
	const char *verdict, *why;
	char text[RULE_TEXT];
	int rc = engine_of(eswitch, err);

	if (rc != 0)
		return rc;
	answer.steps = json_array();
	answer.outputs = json_array();
	flow_explain(eswitch->engine->sw, number, frame, &said);
	input_step(&answer, number);
	if (said.fate == FLOW_FATE_BYPASS)
		step(&answer, "bypass", false, "the eswitch's bypass is on");
	if (said.fate >= FLOW_FATE_NO_RULE)
		lookup_steps(&answer);
	if (said.fate == FLOW_FATE_RULE) {
		verdict = action_steps(&answer);
		why = rule_why(verdict);
		reason = verdict[0] == 'd' ? DROP_RULE_DROP : DROP_NONE;
	} else {
		verdict = fate_verdict(said.fate, &reason, &why);
	}
	*ret = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "packet", fields_text(&said, text, sizeof(text)),
			 "verdict", verdict, "reason", drop_reason_name(reason), "explanation", why, "steps",
			 answer.steps, "outputs", answer.outputs, "rule", rule_json(&answer));
	return 0;
}
