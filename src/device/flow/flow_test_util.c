/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of rules and frames share. */
#include "device/flow/flow_test_util.h"

struct flow_world *w;
static uint32_t generation;

int flow_test_setup(void **state)
{
	w = flow_world_new();
	return 0;
}

int flow_test_teardown(void **state)
{
	flow_world_free(w);
	assert_int_equal(test_pool_used(), 0);
	return 0;
}

/* ---- rules ---- */

struct eswitch_rule rule_any(uint32_t index)
{
	struct eswitch_rule rule = { .index = index, .generation = ++generation };

	rule.match.in_port = 1;
	return rule;
}

struct eswitch_rule rule_for(uint32_t index, bool v6)
{
	struct eswitch_rule rule = rule_any(index);

	rule.match.eth_type = v6 ? RTE_BE16(0x86dd) : RTE_BE16(0x0800);
	rule.mask.eth_type = UINT16_MAX;
	return rule;
}

struct eswitch_rule rule_tagged(uint32_t index, uint16_t type, uint16_t vid)
{
	struct eswitch_rule rule = rule_any(index);

	rule.match.flags = rule.mask.flags = ESWITCH_FIELD_VLAN;
	rule.match.eth_type = rte_cpu_to_be_16(type);
	rule.mask.eth_type = UINT16_MAX;
	rule.match.vlan_tci = rte_cpu_to_be_16(vid);
	rule.mask.vlan_tci = RTE_BE16(0x0fff);
	return rule;
}

void match_proto(struct eswitch_rule *rule, uint8_t proto)
{
	rule->match.ip_proto = proto;
	rule->mask.ip_proto = UINT8_MAX;
}

struct eswitch_op *add(struct eswitch_rule *rule, enum eswitch_op_code code, uint32_t value)
{
	struct eswitch_op *op = &rule->ops[rule->op_count++];

	*op = (struct eswitch_op){ .code = (uint16_t)code, .value = value };
	if (code == ESWITCH_OP_OUTPUT)
		*op = (struct eswitch_op){ .code = (uint16_t)code, .port = (uint16_t)value };
	return op;
}

void add_address(struct eswitch_rule *rule, enum eswitch_op_code code, const char *ip)
{
	struct ip_addr address = test_ip(ip);

	memcpy(add(rule, code, 0)->bytes, address.bytes, address.family == IP_V6 ? 16 : 4);
}

void add_mac(struct eswitch_rule *rule, enum eswitch_op_code code, const char *mac)
{
	struct mac_addr address = test_mac(mac);

	memcpy(add(rule, code, 0)->bytes, address.bytes, 6);
}

void add_encap(struct eswitch_rule *rule, const uint8_t *header, uint32_t length)
{
	assert_in_range(length, 1, ESWITCH_MAX_ENCAP_BYTES);
	rule->encap_bytes = (uint16_t)length;
	memcpy(rule->encap, header, length);
	add(rule, ESWITCH_OP_ENCAP, 0);
}

void must_install(struct eswitch_rule *rule)
{
	struct flow_refusal refusal = { 0 };

	if (flow_world_install(w, rule) == ESWITCH_RULE_ACTIVE)
		return;
	flow_refusals_list(w->sw, &refusal, 1);
	fail_msg("rule %u was refused: %s", rule->index, refusal.sentence);
}

/* ---- frames ---- */

void frame_insert(struct frame *frame, uint32_t offset, const void *bytes, uint32_t length)
{
	memmove(frame->bytes + offset + length, frame->bytes + offset, frame->length - offset);
	memcpy(frame->bytes + offset, bytes, length);
	frame->length += length;
}

void frame_remove(struct frame *frame, uint32_t offset, uint32_t length)
{
	frame->length -= length;
	memmove(frame->bytes + offset, frame->bytes + offset + length, frame->length - offset);
}

void frame_tag(struct frame *frame, uint16_t type, uint16_t tci)
{
	const uint8_t tag[] = { (uint8_t)(type >> 8), (uint8_t)type, (uint8_t)(tci >> 8), (uint8_t)tci };

	frame_insert(frame, 12, tag, sizeof(tag));
}

/* ---- expectations ---- */

void expect_frame(unsigned n, uint16_t iface, const struct frame *wanted)
{
	static struct frame got;

	assert_in_range(n, 0, (uint64_t)w->out_count - 1);
	assert_int_equal(w->out_iface[n], iface);
	frame_read(&got, w->out[n]);
	if (frame_equal(wanted, &got))
		return;
	frame_dump(wanted);
	frame_dump(&got);
	fail_msg("frame %u is not the one expected", n);
}

void expect_one(const struct frame *in, uint16_t iface, const struct frame *wanted)
{
	flow_world_input(w, 1, in);
	assert_int_equal(w->out_count, 1);
	expect_frame(0, iface, wanted);
	flow_world_clear(w);
}

void expect_drop(const struct frame *in, enum drop_reason reason)
{
	uint64_t before = path_drops(w->path, reason);

	flow_world_input(w, 1, in);
	assert_int_equal(w->out_count, 0);
	assert_int_equal(path_drops(w->path, reason), before + 1);
}
