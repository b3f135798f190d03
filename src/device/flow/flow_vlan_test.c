/* SPDX-License-Identifier: BSD-3-Clause */
/* VLAN tags, one and two of them, and the trunk. */
#include "device/flow/flow_test_util.h"

static struct frame frame, wanted;

/* IPv4 or IPv6 behind a customer's tag in a provider's. */
static void qinq(bool v6)
{
	frame_build(&frame, &(struct frame_spec){ .src = v6 ? "2001:db8::1" : NULL,
						  .dst = v6 ? "2001:db8::2" : NULL,
						  .payload = 50 });
	frame_tag(&frame, 0x8100, 0x20c8); /* priority 1, VLAN 200 */
	frame_tag(&frame, 0x88a8, 0x7064); /* priority 3, CFI, VLAN 100 */
}

static void qinq_match(void **state)
{
	struct eswitch_rule outer = rule_tagged(0, 0x88a8, 100), other = rule_tagged(1, 0x88a8, 101);

	outer.match.inner_type = RTE_BE16(0x8100);
	outer.mask.inner_type = UINT16_MAX;
	other.match.inner_type = RTE_BE16(0x0800);
	other.mask.inner_type = UINT16_MAX;
	add(&outer, ESWITCH_OP_OUTPUT, 2);
	add(&other, ESWITCH_OP_OUTPUT, 3);
	must_install(&outer);
	must_install(&other);
	for (unsigned v6 = 0; v6 < 2; v6++) {
		qinq(v6);
		expect_one(&frame, flow_world_member(2), &frame);
		frame.bytes[15] = 101; /* of this VLAN there are IPv4 packets alone */
		expect_one(&frame, flow_world_representor(1), &frame);
		frame_remove(&frame, 16, 4);
		expect_one(&frame, v6 ? flow_world_representor(1) : flow_world_member(3), &frame);
	}
}

/* Behind two tags there are no IP fields: a rule that reads some does not match. */
static void qinq_hides_ip(void **state)
{
	struct eswitch_rule rule = rule_for(0, false);

	rule.match.ip4_src = RTE_BE32(0x0a000001);
	rule.mask.ip4_src = UINT32_MAX;
	add(&rule, ESWITCH_OP_OUTPUT, 2);
	must_install(&rule);
	qinq(false);
	expect_one(&frame, flow_world_representor(1), &frame);
	frame_remove(&frame, 12, 8);
	expect_one(&frame, flow_world_member(2), &frame);
}

static void qinq_pop(void **state)
{
	struct eswitch_rule one = rule_tagged(0, 0x88a8, 100), two = rule_tagged(1, 0x88a8, 101);

	add(&one, ESWITCH_OP_POP_VLAN, 0);
	add(&one, ESWITCH_OP_OUTPUT, 2);
	must_install(&one);
	two.match.inner_type = RTE_BE16(0x8100);
	two.mask.inner_type = UINT16_MAX;
	add(&two, ESWITCH_OP_POP_VLAN, 0);
	add(&two, ESWITCH_OP_POP_VLAN, 0);
	add(&two, ESWITCH_OP_OUTPUT, 3);
	must_install(&two);
	for (unsigned v6 = 0; v6 < 2; v6++) {
		qinq(v6);
		wanted = frame;
		frame_remove(&wanted, 12, 4);
		expect_one(&frame, flow_world_member(2), &wanted);
		frame.bytes[15] = 101;
		frame_remove(&wanted, 12, 4);
		expect_one(&frame, flow_world_member(3), &wanted);
	}
}

/* The outer tag's id and priority, its CFI bit staying; then the inner one's, when it has become the outer one. */
static void qinq_rewrite(void **state)
{
	struct eswitch_rule outer = rule_tagged(0, 0x88a8, 100), inner = rule_tagged(1, 0x88a8, 101);

	add(&outer, ESWITCH_OP_SET_VLAN_VID, 0xabc);
	add(&outer, ESWITCH_OP_SET_VLAN_PCP, 7);
	add(&outer, ESWITCH_OP_OUTPUT, 2);
	must_install(&outer);
	inner.match.inner_type = RTE_BE16(0x8100);
	inner.mask.inner_type = UINT16_MAX;
	add(&inner, ESWITCH_OP_POP_VLAN, 0);
	add(&inner, ESWITCH_OP_SET_VLAN_VID, 0xabc);
	add(&inner, ESWITCH_OP_OUTPUT, 3);
	must_install(&inner);
	qinq(true);
	wanted = frame;
	memcpy(wanted.bytes + 12, "\x88\xa8\xfa\xbc\x81\x00\x20\xc8\x86\xdd", 10);
	expect_one(&frame, flow_world_member(2), &wanted);
	frame.bytes[15] = 101;
	frame_remove(&wanted, 12, 4);
	memcpy(wanted.bytes + 12, "\x81\x00\x2a\xbc\x86\xdd", 6);
	expect_one(&frame, flow_world_member(3), &wanted);
}

/* A provider's tag on a customer's frame, and in the place of another (what Open vSwitch does to change the type). */
static void qinq_push(void **state)
{
	struct eswitch_rule push = rule_tagged(0, 0x8100, 200), change = rule_tagged(1, 0x8100, 201);

	add(&push, ESWITCH_OP_PUSH_VLAN, 0x88a8);
	add(&push, ESWITCH_OP_SET_VLAN_PCP, 3);
	add(&push, ESWITCH_OP_SET_VLAN_VID, 100);
	add(&push, ESWITCH_OP_OUTPUT, 2);
	must_install(&push);
	add(&change, ESWITCH_OP_POP_VLAN, 0);
	add(&change, ESWITCH_OP_PUSH_VLAN, 0x88a8);
	add(&change, ESWITCH_OP_SET_VLAN_VID, 100);
	add(&change, ESWITCH_OP_OUTPUT, 3);
	must_install(&change);
	frame_build(&frame, &(struct frame_spec){ .src = "2001:db8::1", .dst = "2001:db8::2", .payload = 50 });
	frame_tag(&frame, 0x8100, 0x20c8);
	wanted = frame;
	frame_tag(&wanted, 0x88a8, 0x6064);
	expect_one(&frame, flow_world_member(2), &wanted);
	frame.bytes[15] = 201;
	memcpy(wanted.bytes, frame.bytes, 12);
	frame_remove(&wanted, 16, 4);
	memcpy(wanted.bytes + 12, "\x88\xa8\x00\x64\x86\xdd", 6);
	expect_one(&frame, flow_world_member(3), &wanted);
}

/* IPv6 in a VLAN: its fields are matched and set, with the checksum, before and behind pops and pushes. */
static void vlan_ipv6(void **state)
{
	static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP };

	for (unsigned i = 0; i < 2; i++) {
		struct eswitch_rule rule = rule_tagged(i, 0x8100, 100);
		struct frame_spec spec = {
			.src = "2001:db8::1", .dst = "2001:db8::2", .proto = protos[i], .payload = 33
		};
		rule.match.inner_type = RTE_BE16(0x86dd);
		rule.mask.inner_type = UINT16_MAX;
		match_proto(&rule, protos[i]);
		memset(rule.mask.ip6_dst, 0xff, 16);
		memcpy(rule.match.ip6_dst, test_ip("2001:db8::2").bytes, 16);
		add_address(&rule, ESWITCH_OP_SET_IP6_SRC, "2001:db8:5::5");
		add(&rule, ESWITCH_OP_DEC_TTL, 0);
		add(&rule, ESWITCH_OP_OUTPUT, 2);
		add(&rule, ESWITCH_OP_POP_VLAN, 0);
		add(&rule, ESWITCH_OP_SET_TP_DST, 8080);
		add(&rule, ESWITCH_OP_OUTPUT, 3);
		add(&rule, ESWITCH_OP_PUSH_VLAN, 0x8100);
		add(&rule, ESWITCH_OP_SET_VLAN_VID, 7);
		add_address(&rule, ESWITCH_OP_SET_IP6_DST, "2001:db8:6::6");
		add(&rule, ESWITCH_OP_OUTPUT, 4);
		must_install(&rule);
		frame_build(&frame, &spec);
		frame_tag(&frame, 0x8100, 100);
		flow_world_input(w, 1, &frame);
		assert_int_equal(w->out_count, 3);
		spec.src = "2001:db8:5::5", spec.ttl = 63;
		frame_build(&wanted, &spec);
		frame_tag(&wanted, 0x8100, 100);
		expect_frame(0, flow_world_member(2), &wanted);
		spec.dst_port = 8080;
		frame_build(&wanted, &spec);
		expect_frame(1, flow_world_member(3), &wanted);
		spec.dst = "2001:db8:6::6";
		frame_build(&wanted, &spec);
		frame_tag(&wanted, 0x8100, 7);
		expect_frame(2, flow_world_member(4), &wanted);
		flow_world_clear(w);
	}
}

/* A type that tells of a tag may be all that there is of it: such frames go up as they came, and are not counted. */
static void tags_cut_off(void **state)
{
	struct eswitch_rule one = rule_any(0), two = rule_tagged(1, 0x88a8, 100);
	uint64_t packets, bytes;

	one.match.eth_type = RTE_BE16(0x8100);
	one.mask.eth_type = UINT16_MAX;
	add(&one, ESWITCH_OP_POP_VLAN, 0);
	add(&one, ESWITCH_OP_OUTPUT, 2);
	must_install(&one);
	two.match.inner_type = RTE_BE16(0x8100);
	two.mask.inner_type = UINT16_MAX;
	add(&two, ESWITCH_OP_POP_VLAN, 0);
	add(&two, ESWITCH_OP_SET_VLAN_VID, 1);
	add(&two, ESWITCH_OP_OUTPUT, 3);
	must_install(&two);
	for (unsigned rule = 0; rule < 2; rule++) {
		uint32_t whole = rule ? 22 : 18;
		for (uint32_t length = 14; length < 30; length++) {
			qinq(false);
			if (!rule)
				frame_remove(&frame, 12, 4);
			frame.length = length;
			wanted = frame;
			if (length >= whole) {
				frame_remove(&wanted, 12, 4);
				if (rule)
					memcpy(wanted.bytes + 14, "\x20\x01", 2);
				expect_one(&frame, flow_world_member(2 + rule), &wanted);
			} else {
				expect_one(&frame, flow_world_representor(1), &frame);
			}
		}
		flow_world_counter(w, rule, &packets, &bytes);
		assert_int_equal(packets, 30 - whole);
	}
}

static void open_trunk(void)
{
	struct flow_port trunk = { .number = 0, .representor = flow_world_representor(0) };

	assert_int_equal(flow_port_set(w->sw, &trunk), 0);
	assert_int_equal(flow_port_open(w->sw, 0, w->client), 0);
}

static void from_trunk(const struct frame *in, const uint32_t *ends)
{
	struct rte_mbuf *m = frame_mbuf_split(in, ends);

	flow_world_input_iface(w, flow_world_representor(0), m);
}

/* What has no representor open of its own is seen by the trunk, tagged; the tag of what comes from there says where to.
 * Frames may have tags of their own besides. */
static void trunk(void **state)
{
	struct eswitch_rule rule = rule_tagged(0, 0x8100, 1);

	open_trunk();
	flow_port_close(w->sw, 1);
	for (unsigned tagged = 0; tagged < 2; tagged++) {
		frame_build(&frame, &(struct frame_spec){ .payload = 50 });
		if (tagged)
			frame_tag(&frame, 0x8100, 9);
		wanted = frame;
		frame_tag(&wanted, 0x8100, 1);
		expect_one(&frame, flow_world_representor(0), &wanted);
		wanted.bytes[15] = 2;
		from_trunk(&wanted, NULL);
		expect_frame(0, flow_world_member(2), &frame);
		flow_world_clear(w);
		/* The tag may be in another segment than the addresses. */
		for (uint32_t end = 14; end < 20; end++) {
			from_trunk(&wanted, (const uint32_t[]){ end, end + 1, 0 });
			expect_frame(0, flow_world_member(2), &frame);
			flow_world_clear(w);
		}
	}
	/* A rule of the trunk: the in-port is a tag, and so is the output. */
	rule.match.in_port = 0;
	add(&rule, ESWITCH_OP_SET_VLAN_VID, 3);
	add(&rule, ESWITCH_OP_OUTPUT, 0);
	must_install(&rule);
	frame_build(&frame, &(struct frame_spec){ .payload = 50 });
	expect_one(&frame, flow_world_member(3), &frame);
}

static void trunk_drops(void **state)
{
	open_trunk();
	frame_build(&frame, &(struct frame_spec){ .payload = 50 });
	from_trunk(&frame, NULL); /* untagged */
	assert_int_equal(path_drops(w->path, DROP_OUTPUT_GONE), 1);
	frame_tag(&frame, 0x8100, 99); /* nobody */
	from_trunk(&frame, NULL);
	frame.bytes[15] = 0; /* the trunk itself */
	from_trunk(&frame, NULL);
	frame.length = 17; /* cut off */
	from_trunk(&frame, NULL);
	assert_int_equal(path_drops(w->path, DROP_OUTPUT_GONE), 4);
	frame.length = 13;
	from_trunk(&frame, NULL);
	assert_int_equal(path_drops(w->path, DROP_TRUNCATED), 1);
	frame_build(&frame, &(struct frame_spec){ .payload = 1500 });
	frame_tag(&frame, 0x8100, 2);
	from_trunk(&frame, NULL);
	assert_int_equal(path_drops(w->path, DROP_OUTPUT_MTU), 1);
	assert_int_equal(w->out_count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		flow_test(qinq_match),   flow_test(qinq_hides_ip), flow_test(qinq_pop),
		flow_test(qinq_rewrite), flow_test(qinq_push),     flow_test(vlan_ipv6),
		flow_test(tags_cut_off), flow_test(trunk),         flow_test(trunk_drops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
