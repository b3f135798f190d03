/* SPDX-License-Identifier: BSD-3-Clause */
/* Random rules come and go while random frames pass: the engine against a linear search over all rules, whose fields
 * are taken from what the frame was built of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <netinet/in.h>
#include "device/flow/flow_world.h"

enum { RULES = 64, STEPS = 60000 };

static struct flow_world *w;
static struct {
	bool live;
	struct eswitch_rule rule;
	uint64_t packets, bytes;
} model[RULES];
static uint32_t generation;
static uint64_t random_state = 7;

static uint32_t chance(uint32_t n)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)(random_state >> 33) % n;
}

/* What a frame is made of, and its fields. */
struct sample {
	unsigned port;
	struct frame_spec spec;
	char src[40], dst[40];
	uint16_t vlan; /* 0 = untagged */
	struct eswitch_fields fields;
};

static void sample_make(struct sample *s)
{
	static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_ICMP, 47 };
	bool v6 = chance(3) == 0;
	uint8_t proto = protos[chance(5)];

	*s = (struct sample){ .port = 1 + chance(2), .vlan = chance(4) ? 0 : (uint16_t)(1 + chance(2)) };
	if (v6 && proto == IPPROTO_ICMP)
		proto = IPPROTO_ICMPV6;
	snprintf(s->src, sizeof(s->src), v6 ? "2001:db8::%u" : "10.0.0.%u", 1 + chance(3));
	snprintf(s->dst, sizeof(s->dst), v6 ? "2001:db8:%u::1" : "10.%u.0.9", 1 + chance(3));
	s->spec = (struct frame_spec){ .src = s->src,
				       .dst = s->dst,
				       .proto = proto,
				       .payload = chance(40),
				       .src_port = (uint16_t)(1000 + chance(3)),
				       .dst_port = (uint16_t)(0x0800 + chance(3)),
				       .ttl = (uint8_t)(63 + chance(2)),
				       .tos = (uint8_t)(chance(2) * 0x28),
				       .tcp_flags = (uint8_t)(chance(2) ? 0x10 : 0x12) };
}

static void tag(struct frame *frame, uint16_t vlan)
{
	memmove(frame->bytes + 16, frame->bytes + 12, frame->length - 12);
	memcpy(frame->bytes + 12, "\x81\x00", 2);
	frame->bytes[14] = (uint8_t)(vlan >> 8);
	frame->bytes[15] = (uint8_t)vlan;
	frame->length += 4;
}

static void sample_fields(struct sample *s)
{
	struct eswitch_fields *f = &s->fields;
	const struct frame_spec *spec = &s->spec;
	struct ip_addr src = test_ip(s->src), dst = test_ip(s->dst);
	bool v6 = src.family == IP_V6;
	uint16_t type = v6 ? RTE_BE16(0x86dd) : RTE_BE16(0x0800);

	f->in_port = (uint16_t)s->port;
	memcpy(f->eth_dst, "\x02\0\0\0\0\x02", 6);
	memcpy(f->eth_src, "\x02\0\0\0\0\x01", 6);
	f->eth_type = s->vlan ? RTE_BE16(0x8100) : type;
	f->inner_type = s->vlan ? type : 0;
	f->vlan_tci = rte_cpu_to_be_16(s->vlan);
	f->flags = s->vlan ? ESWITCH_FIELD_VLAN : 0;
	f->ip_proto = spec->proto;
	f->ip_tos = spec->tos;
	f->ip_ttl = spec->ttl;
	memcpy(v6 ? f->ip6_src : (uint8_t *)&f->ip4_src, src.bytes, v6 ? 16 : 4);
	memcpy(v6 ? f->ip6_dst : (uint8_t *)&f->ip4_dst, dst.bytes, v6 ? 16 : 4);
	if (spec->proto == IPPROTO_ICMP || spec->proto == IPPROTO_ICMPV6) {
		f->l4_src = rte_cpu_to_be_16(spec->dst_port >> 8);
		f->l4_dst = rte_cpu_to_be_16(spec->dst_port & 0xff);
	} else if (spec->proto != 47) {
		f->l4_src = rte_cpu_to_be_16(spec->src_port);
		f->l4_dst = rte_cpu_to_be_16(spec->dst_port);
	}
	if (spec->proto == IPPROTO_TCP)
		f->tcp_flags = rte_cpu_to_be_16(spec->tcp_flags);
}

static bool matches(const struct eswitch_rule *rule, const struct eswitch_fields *fields)
{
	const uint8_t *match = (const uint8_t *)&rule->match, *mask = (const uint8_t *)&rule->mask,
		      *have = (const uint8_t *)fields;

	if (rule->match.in_port != fields->in_port)
		return false;
	for (size_t i = sizeof(fields->in_port); i < sizeof(*fields); i++)
		if ((match[i] ^ have[i]) & mask[i])
			return false;
	return true;
}

/* A rule that a sample would match, looking at some of its fields. */
static void rule_make(struct eswitch_rule *rule, uint32_t index)
{
	struct sample s;

	sample_make(&s);
	sample_fields(&s);
	*rule = (struct eswitch_rule){ .index = index, .generation = ++generation, .match = s.fields };
	struct eswitch_fields *mask = &rule->mask;
	bool v6 = (s.vlan ? s.fields.inner_type : s.fields.eth_type) == RTE_BE16(0x86dd);
	mask->eth_type = UINT16_MAX;
	if (s.vlan) {
		mask->inner_type = UINT16_MAX;
		mask->flags = ESWITCH_FIELD_VLAN;
		mask->vlan_tci = chance(2) ? RTE_BE16(0x0fff) : 0;
	}
	if (chance(2))
		memset(mask->eth_src, 0xff, 6);
	if (chance(3) == 0)
		mask->ip_ttl = UINT8_MAX;
	if (chance(3) == 0)
		mask->ip_tos = 0xfc;
	if (chance(2))
		memset(v6 ? mask->ip6_src : (uint8_t *)&mask->ip4_src, 0xff, v6 ? 16 : 4);
	if (chance(2))
		memset(v6 ? mask->ip6_dst : (uint8_t *)&mask->ip4_dst, 0xff, v6 ? 5 + chance(2) : 2);
	if (chance(2)) {
		mask->ip_proto = UINT8_MAX;
		if (s.spec.proto != 47 && chance(2))
			mask->l4_dst = chance(2) ? UINT16_MAX : RTE_BE16(0xfffe);
		if (s.spec.proto == IPPROTO_TCP && chance(2))
			mask->tcp_flags = RTE_BE16(0x0002);
	}
	rule->ops[0] = (struct eswitch_op){ .code = ESWITCH_OP_OUTPUT, .port = 3 };
	rule->op_count = 1;
}

static void install(uint32_t index)
{
	struct eswitch_rule rule;
	uint32_t expected = ESWITCH_RULE_ACTIVE;

	rule_make(&rule, index);
	for (unsigned i = 0; i < RULES; i++) {
		bool same = model[i].live && model[i].rule.match.in_port == rule.match.in_port &&
			    memcmp(&model[i].rule.mask, &rule.mask, sizeof(rule.mask)) == 0 &&
			    matches(&model[i].rule, &rule.match);
		if (same)
			expected = ESWITCH_RULE_REFUSED + ESWITCH_REFUSED_DUPLICATE;
	}
	assert_int_equal(flow_world_install(w, &rule), expected);
	if (expected != ESWITCH_RULE_ACTIVE) {
		flow_world_command(w, ESWITCH_DESTROY, &rule);
		return;
	}
	model[index].live = true;
	model[index].rule = rule;
	flow_world_counter(w, index, &model[index].packets, &model[index].bytes);
}

/* One rule that matches has counted, or none matches and the frame went up. */
static void pass(void)
{
	static struct frame frame, got;
	struct sample s;
	unsigned counted = 0, matching = 0;

	sample_make(&s);
	sample_fields(&s);
	frame_build(&frame, &s.spec);
	if (s.vlan)
		tag(&frame, s.vlan);
	flow_world_input(w, s.port, &frame);
	assert_int_equal(w->out_count, 1);
	frame_read(&got, w->out[0]);
	assert_true(frame_equal(&frame, &got));
	for (unsigned i = 0; i < RULES; i++) {
		uint64_t packets, bytes;
		bool match = model[i].live && matches(&model[i].rule, &s.fields);
		matching += match;
		flow_world_counter(w, i, &packets, &bytes);
		if (!model[i].live || packets == model[i].packets)
			continue;
		assert_true(match);
		assert_int_equal(packets, model[i].packets + 1);
		assert_int_equal(bytes, model[i].bytes + frame.length);
		model[i].packets = packets;
		model[i].bytes = bytes;
		counted++;
	}
	assert_int_equal(counted, matching > 0);
	assert_int_equal(w->out_iface[0], matching ? flow_world_member(3) : flow_world_representor(s.port));
	flow_world_clear(w);
}

static void random_rules(void **state)
{
	w = flow_world_new();
	for (unsigned step = 0; step < STEPS; step++) {
		uint32_t index = chance(RULES);
		if (chance(20)) {
			pass();
		} else if (!model[index].live) {
			install(index);
		} else {
			uint32_t word = flow_world_command(w, ESWITCH_DESTROY, &model[index].rule);
			assert_int_equal(word, model[index].rule.generation << 8 | ESWITCH_RULE_FREE);
			model[index].live = false;
		}
	}
	flow_world_free(w);
	assert_int_equal(test_pool_used(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(random_rules) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
