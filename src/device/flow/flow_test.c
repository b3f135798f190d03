/* SPDX-License-Identifier: BSD-3-Clause */
/* Rules in, frames in, frames out. */
#include "device/flow/flow_priv.h"
#include "device/flow/flow_test_util.h"
#include "device/packet/path_priv.h"
#include "device/packet/segment.h"

static struct frame frame, got, wanted;

/* The n-th frame that came out went there, and is whole; it is in `got` then. */
static void expect_out(unsigned n, uint16_t iface)
{
	assert_in_range(n, 0, (uint64_t)w->out_count - 1);
	assert_int_equal(w->out_iface[n], iface);
	frame_read(&got, w->out[n]);
	const char *fault = frame_fault(got.bytes, got.length);
	if (fault)
		fail_msg("frame %u: %s", n, fault);
}

static void no_rule(void **state)
{
	frame_build(&frame, &(struct frame_spec){ 0 });
	flow_world_input(w, 1, &frame);
	assert_int_equal(w->out_count, 1);
	expect_out(0, flow_world_representor(1));
	assert_true(frame_equal(&frame, &got));
	flow_port_close(w->sw, 1);
	flow_world_input(w, 1, &frame);
	assert_int_equal(w->out_count, 1);
	assert_int_equal(path_drops(w->path, DROP_NO_UPCALL), 1);
}

static void forward_and_count(void **state)
{
	struct eswitch_rule rule = rule_for(5, false);
	uint64_t packets, bytes;

	frame_build(&frame, &(struct frame_spec){ .payload = 100 });
	flow_world_input(w, 1, &frame); /* leaves an entry that says: no rule */
	add(&rule, ESWITCH_OP_OUTPUT, 2);
	assert_int_equal(flow_world_install(w, &rule), ESWITCH_RULE_ACTIVE);
	for (unsigned i = 0; i < 3; i++)
		flow_world_input(w, 1, &frame);
	assert_int_equal(w->out_count, 4);
	for (unsigned i = 1; i < 4; i++)
		expect_out(i, flow_world_member(2));
	assert_true(frame_equal(&frame, &got));
	flow_world_counter(w, 5, &packets, &bytes);
	assert_int_equal(packets, 3);
	assert_int_equal(bytes, 3 * frame.length);
	assert_int_equal(flow_world_command(w, ESWITCH_DESTROY, &rule), rule.generation << 8 | ESWITCH_RULE_FREE);
	flow_world_input(w, 1, &frame);
	expect_out(4, flow_world_representor(1));
	/* From another port the rule never matched. */
	flow_world_input(w, 2, &frame);
	expect_out(5, flow_world_representor(2));
}

/* Set-fields with checksums, TCP and UDP, IPv4 and IPv6; the frame wanted is built anew from what was set. */
static void set_fields(void **state)
{
	static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP };
	uint32_t index = 0;

	for (unsigned v6 = 0; v6 < 2; v6++) {
		for (unsigned p = 0; p < 2; p++) {
			struct frame_spec spec = { .src = v6 ? "2001:db8::1" : NULL,
						   .dst = v6 ? "2001:db8::2" : NULL,
						   .proto = protos[p],
						   .payload = 33,
						   .tos = 1 };
			struct eswitch_rule rule = rule_for(index++, v6);
			struct ip_addr src = test_ip(v6 ? "2001:db8:1::9" : "192.168.9.9");
			struct mac_addr mac = test_mac("02:00:00:00:99:01");
			match_proto(&rule, protos[p]);
			memcpy(add(&rule, ESWITCH_OP_SET_ETH_SRC, 0)->bytes, mac.bytes, 6);
			memcpy(add(&rule, v6 ? ESWITCH_OP_SET_IP6_SRC : ESWITCH_OP_SET_IP4_SRC, 0)->bytes, src.bytes,
			       v6 ? 16 : 4);
			add(&rule, ESWITCH_OP_DEC_TTL, 0);
			add(&rule, ESWITCH_OP_SET_DSCP, 46);
			add(&rule, ESWITCH_OP_SET_TP_DST, 8080);
			add(&rule, ESWITCH_OP_OUTPUT, 3);
			assert_int_equal(flow_world_install(w, &rule), ESWITCH_RULE_ACTIVE);
			frame_build(&frame, &spec);
			flow_world_input(w, 1, &frame);
			spec.src = v6 ? "2001:db8:1::9" : "192.168.9.9";
			spec.src_mac = "02:00:00:00:99:01";
			spec.ttl = 63;
			spec.tos = 46 << 2 | 1;
			spec.dst_port = 8080;
			frame_build(&wanted, &spec);
			expect_out(w->out_count - 1, flow_world_member(3));
			assert_true(frame_equal(&wanted, &got));
			/* TTL 1 goes up untouched, and is not counted. */
			spec = (struct frame_spec){ .src = v6 ? "2001:db8::1" : NULL,
						    .dst = v6 ? "2001:db8::2" : NULL,
						    .proto = protos[p],
						    .ttl = 1 };
			frame_build(&frame, &spec);
			flow_world_input(w, 1, &frame);
			expect_out(w->out_count - 1, flow_world_representor(1));
			assert_true(frame_equal(&frame, &got));
		}
	}
}

static struct eswitch_rule narrow;

static void install_narrow(struct flow_world *world)
{
	must_install(&narrow);
}

/* In the midst of a burst comes a rule with a field that no rule had before. What was looked up after that is
 * remembered for frames that differ in that field only if the rule's frames are not among them. */
static void installed_in_a_burst(void **state)
{
	enum { COPIES = 2 * PATH_TX_QUEUE / PATH_BURST - 1, OUT = (PATH_BURST - 1) * COPIES };
	struct eswitch_rule many = rule_for(0, false);
	struct rte_mbuf *burst[PATH_BURST];

	many.match.ip4_src = rte_cpu_to_be_32(0x0a000001);
	many.mask.ip4_src = UINT32_MAX;
	for (unsigned i = 0; i < COPIES; i++)
		add(&many, ESWITCH_OP_OUTPUT, 2);
	must_install(&many);
	narrow = rule_for(1, false);
	narrow.match.ip4_src = rte_cpu_to_be_32(0x0a000009);
	narrow.mask.ip4_src = UINT32_MAX;
	narrow.mask.ip_tos = UINT8_MAX;
	add(&narrow, ESWITCH_OP_OUTPUT, 3);
	frame_build(&frame, &(struct frame_spec){ 0 });
	flow_world_input(w, 1, &frame);
	flow_world_clear(w);
	for (unsigned i = 0; i < PATH_BURST - 1; i++)
		burst[i] = frame_mbuf(&frame);
	frame_build(&frame, &(struct frame_spec){ .src = "10.0.0.9", .tos = 4 });
	burst[PATH_BURST - 1] = frame_mbuf(&frame);
	w->meanwhile = install_narrow;
	path_input(w->path, flow_world_member(1), burst, PATH_BURST);
	assert_int_equal(w->out_count, OUT + 1);
	expect_out(OUT, flow_world_representor(1));
	flow_world_clear(w);
	frame_build(&frame, &(struct frame_spec){ .src = "10.0.0.9" });
	flow_world_input(w, 1, &frame);
	expect_out(0, flow_world_member(3));
}

/* What one output has sent, the next set-field does not change. */
static void several_outputs(void **state)
{
	struct eswitch_rule rule = rule_for(0, false);
	struct mac_addr mac = test_mac("02:00:00:00:99:01");

	add(&rule, ESWITCH_OP_OUTPUT, 2);
	memcpy(add(&rule, ESWITCH_OP_SET_ETH_SRC, 0)->bytes, mac.bytes, 6);
	add(&rule, ESWITCH_OP_OUTPUT, 3);
	add(&rule, ESWITCH_OP_PUSH_VLAN, 0x8100);
	add(&rule, ESWITCH_OP_SET_VLAN_PCP, 5);
	add(&rule, ESWITCH_OP_SET_VLAN_VID, 100);
	add(&rule, ESWITCH_OP_OUTPUT, 4);
	assert_int_equal(flow_world_install(w, &rule), ESWITCH_RULE_ACTIVE);
	frame_build(&frame, &(struct frame_spec){ .payload = 50 });
	flow_world_input(w, 1, &frame);
	assert_int_equal(w->out_count, 3);
	expect_out(0, flow_world_member(2));
	assert_true(frame_equal(&frame, &got));
	expect_out(1, flow_world_member(3));
	memcpy(frame.bytes + 6, mac.bytes, 6);
	assert_true(frame_equal(&frame, &got));
	expect_out(2, flow_world_member(4));
	assert_int_equal(got.length, frame.length + 4);
	assert_memory_equal(got.bytes, frame.bytes, 12);
	assert_memory_equal(got.bytes + 12, "\x81\x00\xa0\x64", 4);
	assert_memory_equal(got.bytes + 16, frame.bytes + 12, frame.length - 12);
}

/* The copies of a long chain share what is behind the first segment: changes to headers, segmentation and the end of
 * one do not show in another. */
static void copies_of_chains(void **state)
{
	static const char *const sources[] = { "192.168.1.1", "192.168.2.2", "192.168.3.3" };
	static struct rte_mbuf *segments[128];
	struct eswitch_rule rule = rule_for(0, false);
	unsigned before, count, first[2][2] = { { 0, 100 }, { 20, 30 } };

	match_proto(&rule, IPPROTO_TCP);
	for (unsigned i = 0; i < 3; i++) {
		add_address(&rule, ESWITCH_OP_SET_IP4_SRC, sources[i]);
		add(&rule, ESWITCH_OP_OUTPUT, 2 + i);
	}
	must_install(&rule);
	for (unsigned shape = 0; shape < 2; shape++) {
		const uint32_t ends[] = { first[shape][0], first[shape][1], 0 };
		frame_build(&frame, &(struct frame_spec){ .proto = IPPROTO_TCP, .payload = 60000 });
		struct rte_mbuf *m = frame_mbuf_split(&frame, ends[0] ? ends : ends + 1);
		m->l2_len = 14, m->l3_len = 20, m->l4_len = 20, m->tso_segsz = 1400;
		m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
		flow_world_input_mbuf(w, 1, m);
		assert_int_equal(w->out_count, 3);
		for (unsigned i = 0; i < 3; i++) {
			before = test_pool_used();
			assert_int_equal(packet_segment(w->out[i], test_pool(), segments, 128, &count), DROP_NONE);
			assert_int_equal(count, 43);
			for (unsigned k = 0; k < count; k++) {
				frame_read(&got, segments[k]);
				assert_null(frame_fault(got.bytes, got.length));
				assert_memory_equal(got.bytes + 26, test_ip(sources[i]).bytes, 4);
				assert_memory_equal(got.bytes + 54, frame.bytes + 54 + 1400 * k, got.length - 54);
			}
			rte_pktmbuf_free_bulk(segments, count);
			assert_true(test_pool_used() < before);
		}
		w->out_count = 0;
		assert_int_equal(test_pool_used(), 0);
	}
}

static void vlan_pop(void **state)
{
	struct eswitch_rule rule = rule_any(0);
	struct frame tagged;

	rule.match.flags = rule.mask.flags = ESWITCH_FIELD_VLAN;
	rule.match.vlan_tci = RTE_BE16(100);
	rule.mask.vlan_tci = RTE_BE16(0xefff);
	add(&rule, ESWITCH_OP_POP_VLAN, 0);
	add(&rule, ESWITCH_OP_OUTPUT, 2);
	assert_int_equal(flow_world_install(w, &rule), ESWITCH_RULE_ACTIVE);
	frame_build(&frame, &(struct frame_spec){ .payload = 50 });
	tagged.length = frame.length + 4;
	memcpy(tagged.bytes, frame.bytes, 12);
	memcpy(tagged.bytes + 12, "\x81\x00\x00\x64", 4);
	memcpy(tagged.bytes + 16, frame.bytes + 12, frame.length - 12);
	flow_world_input(w, 1, &tagged);
	expect_out(0, flow_world_member(2));
	assert_true(frame_equal(&frame, &got));
	tagged.bytes[15] = 0x65;
	flow_world_input(w, 1, &tagged);
	expect_out(1, flow_world_representor(1));
	assert_true(frame_equal(&tagged, &got));
}

static void encapsulation(void **state)
{
	struct eswitch_rule rule = rule_for(0, false);
	struct frame empty = { .length = 0 };

	frame_tunnel(&wanted, &(struct tunnel_spec){ .vni = 77, .src = "192.0.2.2", .dst = "192.0.2.1" }, &empty);
	memset(wanted.bytes + 34, 0, 2); /* source port: to be chosen */
	rule.encap_bytes = (uint16_t)wanted.length;
	memcpy(rule.encap, wanted.bytes, wanted.length);
	add(&rule, ESWITCH_OP_ENCAP, 0);
	add(&rule, ESWITCH_OP_OUTPUT, 4);
	assert_int_equal(flow_world_install(w, &rule), ESWITCH_RULE_ACTIVE);
	frame_build(&frame, &(struct frame_spec){ .payload = 200 });
	flow_world_input(w, 1, &frame);
	expect_out(0, flow_world_member(4));
	uint16_t port = (uint16_t)(got.bytes[34] << 8 | got.bytes[35]);
	assert_in_range(port, 49152, 65535);
	frame_tunnel(&wanted,
		     &(struct tunnel_spec){ .vni = 77, .src = "192.0.2.2", .dst = "192.0.2.1", .src_port = port },
		     &frame);
	assert_true(frame_equal(&wanted, &got));
}

/* GRE with a key; the guest's checksum and segmentation requests are met behind it. */
/* Rules that do the same have one program, which lives as long as one of them. */
static void programs_shared(void **state)
{
	struct eswitch_rule rules[3];
	const struct flow_action *actions = &w->sw->actions[flow_number(w->client, 0)];

	for (uint32_t i = 0; i < 3; i++) {
		rules[i] = rule_for(i, false);
		rules[i].match.ip_tos = (uint8_t)(i << 2);
		rules[i].mask.ip_tos = 0xfc;
		add(&rules[i], ESWITCH_OP_PUSH_VLAN, 0x8100);
		add(&rules[i], ESWITCH_OP_SET_VLAN_VID, i == 2 ? 7 : 5);
		add(&rules[i], ESWITCH_OP_OUTPUT, 2);
		assert_int_equal(flow_world_install(w, &rules[i]), ESWITCH_RULE_ACTIVE);
	}
	assert_ptr_equal(actions[0].program, actions[1].program);
	assert_ptr_not_equal(actions[0].program, actions[2].program);
	flow_world_push(w, ESWITCH_DESTROY, &rules[0]);
	while (flow_client_poll(w->client, w->flow) || actions[0].program)
		;
	assert_int_equal(actions[1].program->uses, 1);
	assert_int_equal(actions[1].program->op_count, 3);
	assert_int_equal(actions[1].program->ops[1].value, 5);
}

static void gre(void **state)
{
	static const uint8_t tunnel[] = { 0x20, 0, 0x65, 0x58, 0, 0, 0, 77 };
	static struct rte_mbuf *segments[8];
	struct eswitch_rule rule = rule_for(0, false);
	struct frame inner;
	unsigned count;

	frame_build(&wanted, &(struct frame_spec){ .src = "192.0.2.2", .dst = "192.0.2.1", .proto = IPPROTO_GRE });
	rule.encap_bytes = (uint16_t)(wanted.length + sizeof(tunnel));
	memcpy(rule.encap, wanted.bytes, wanted.length);
	memcpy(rule.encap + wanted.length, tunnel, sizeof(tunnel));
	add(&rule, ESWITCH_OP_ENCAP, 0);
	add(&rule, ESWITCH_OP_OUTPUT, 4);
	assert_int_equal(flow_world_install(w, &rule), ESWITCH_RULE_ACTIVE);
	frame_build(&frame, &(struct frame_spec){ .proto = IPPROTO_TCP, .payload = 2500 });
	struct rte_mbuf *m = frame_mbuf(&frame);
	m->l2_len = 14, m->l3_len = 20, m->l4_len = 20, m->tso_segsz = 1000;
	m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
	flow_world_input_mbuf(w, 1, m);
	assert_int_equal(w->out_count, 1);
	assert_int_equal(packet_segment(w->out[0], test_pool(), segments, 8, &count), DROP_NONE);
	assert_int_equal(count, 3);
	w->out_count = 0;
	for (unsigned i = 0; i < count; i++) {
		frame_read(&got, segments[i]);
		assert_null(frame_fault(got.bytes, got.length));
		assert_memory_equal(got.bytes + 34, tunnel, sizeof(tunnel));
		inner.length = got.length - 42;
		memcpy(inner.bytes, got.bytes + 42, inner.length);
		assert_null(frame_fault(inner.bytes, inner.length));
		assert_int_equal(inner.length, 54 + (i < 2 ? 1000 : 500));
	}
	rte_pktmbuf_free_bulk(segments, count);
}

static void drop_mark_bypass(void **state)
{
	struct eswitch_rule drop = rule_for(0, false), mark = rule_for(1, true);

	assert_int_equal(flow_world_install(w, &drop), ESWITCH_RULE_ACTIVE);
	struct eswitch_op *op = add(&mark, ESWITCH_OP_UPCALL, 4711);
	op->port = 1;
	assert_int_equal(flow_world_install(w, &mark), ESWITCH_RULE_ACTIVE);
	frame_build(&frame, &(struct frame_spec){ 0 });
	flow_world_input(w, 1, &frame);
	assert_int_equal(w->out_count, 0);
	assert_int_equal(path_drops(w->path, DROP_RULE_DROP), 1);
	flow_switch_set_bypass(w->sw, true);
	flow_world_input(w, 1, &frame);
	expect_out(0, flow_world_representor(1));
	flow_switch_set_bypass(w->sw, false);
	frame_build(&frame, &(struct frame_spec){ .src = "2001:db8::1", .dst = "2001:db8::2" });
	flow_world_input(w, 1, &frame);
	expect_out(1, flow_world_representor(1));
	assert_true(w->out[1]->ol_flags & RTE_MBUF_F_RX_FDIR_ID);
	assert_int_equal(w->out[1]->hash.fdir.hi, 4711);
}

/* What Open vSwitch falls back to, MARK and RSS: every hit goes up with the mark and counts, with whatever was set
 * before, and so does what has an entry already. */
static void marks(void **state)
{
	struct eswitch_rule plain = rule_for(3, false), tagged = rule_for(4, true);
	uint64_t packets, bytes;

	add(&plain, ESWITCH_OP_UPCALL, 0xfeedbee5)->port = 1;
	must_install(&plain);
	add(&tagged, ESWITCH_OP_OUTPUT, 2);
	add(&tagged, ESWITCH_OP_PUSH_VLAN, 0x8100);
	add(&tagged, ESWITCH_OP_UPCALL, 7)->port = 1;
	must_install(&tagged);
	for (unsigned i = 0; i < 3; i++) {
		frame_build(&frame, &(struct frame_spec){ .payload = 100 });
		flow_world_input(w, 1, &frame);
		assert_int_equal(w->out_count, 1);
		expect_frame(0, flow_world_representor(1), &frame);
		assert_true(w->out[0]->ol_flags & RTE_MBUF_F_RX_FDIR_ID);
		assert_int_equal(w->out[0]->hash.fdir.hi, 0xfeedbee5);
		flow_world_clear(w);
		flow_world_counter(w, 3, &packets, &bytes);
		assert_int_equal(packets, i + 1);
		assert_int_equal(bytes, (i + 1) * frame.length);
	}
	frame_build(&frame, &(struct frame_spec){ .src = "2001:db8::1", .dst = "2001:db8::2" });
	wanted = frame;
	frame_tag(&wanted, 0x8100, 0);
	flow_world_input(w, 1, &frame);
	assert_int_equal(w->out_count, 2);
	expect_frame(0, flow_world_member(2), &frame);
	assert_false(w->out[0]->ol_flags & RTE_MBUF_F_RX_FDIR_ID);
	expect_frame(1, flow_world_representor(1), &wanted);
	assert_int_equal(w->out[1]->hash.fdir.hi, 7);
	flow_world_counter(w, 4, &packets, &bytes);
	assert_int_equal(packets, 1);
	/* An upcall without a mark, and one that no rule decides about, have none. */
	flow_world_clear(w);
	flow_world_command(w, ESWITCH_DESTROY, &plain);
	frame_build(&frame, &(struct frame_spec){ .payload = 100 });
	flow_world_input(w, 1, &frame);
	assert_false(w->out[0]->ol_flags & RTE_MBUF_F_RX_FDIR_ID);
}

static void expect_refused(struct eswitch_rule rule, enum eswitch_refusal refusal)
{
	struct flow_refusal last;
	struct flow_stats before, after;

	flow_switch_stats(w->sw, &before);
	uint32_t state = flow_world_install(w, &rule);
	flow_switch_stats(w->sw, &after);
	assert_int_equal(after.refusals[refusal], before.refusals[refusal] + 1);
	assert_int_equal(after.rules, before.rules);
	assert_int_equal(flow_refusals_list(w->sw, &last, 1), 1);
	assert_int_equal(last.refusal, refusal);
	assert_true(last.sentence[0] != 0);
	if (refusal == ESWITCH_REFUSED_INDEX)
		return;
	assert_int_equal(state, ESWITCH_RULE_REFUSED + refusal);
	assert_int_equal(flow_world_command(w, ESWITCH_DESTROY, &rule) & 0xff, ESWITCH_RULE_FREE);
}

static void refusals(void **state)
{
	struct eswitch_rule good = rule_for(0, false), bad;

	add(&good, ESWITCH_OP_OUTPUT, 2);
	assert_int_equal(flow_world_install(w, &good), ESWITCH_RULE_ACTIVE);
	expect_refused(good, ESWITCH_REFUSED_INDEX);
	bad = good, bad.index = WORLD_RULES, expect_refused(bad, ESWITCH_REFUSED_INDEX);
	good.index = 1;
	expect_refused(good, ESWITCH_REFUSED_DUPLICATE);
	bad = good, bad.generation = 0x7000000, expect_refused(bad, ESWITCH_REFUSED_INDEX);
	bad = good, bad.match.in_port = 9, expect_refused(bad, ESWITCH_REFUSED_PORT);
	bad = good, bad.ops[0].port = 65535, expect_refused(bad, ESWITCH_REFUSED_PORT);
	bad = good, bad.mask.eth_type = 1, bad.mask.ip_ttl = 255, expect_refused(bad, ESWITCH_REFUSED_MATCH);
	bad = good, bad.mask.spare = 1, expect_refused(bad, ESWITCH_REFUSED_MATCH);
	bad = good, bad.mask.zero[0] = 1, expect_refused(bad, ESWITCH_REFUSED_MATCH);
	bad = good, bad.mask.l4_src = 1, expect_refused(bad, ESWITCH_REFUSED_MATCH);
	bad = good, bad.op_count = 25, expect_refused(bad, ESWITCH_REFUSED_ACTION);
	bad = good, bad.ops[0].code = 99, expect_refused(bad, ESWITCH_REFUSED_ACTION);
	bad = good, bad.ops[0].code = ESWITCH_OP_POP_VLAN, expect_refused(bad, ESWITCH_REFUSED_ACTION);
	bad = good, bad.ops[0].code = ESWITCH_OP_SET_TP_DST, expect_refused(bad, ESWITCH_REFUSED_ACTION);
	bad = good, bad.ops[0].code = ESWITCH_OP_SET_IP6_SRC, expect_refused(bad, ESWITCH_REFUSED_ACTION);
	bad = good, bad.ops[0].code = ESWITCH_OP_ENCAP, bad.encap_bytes = 50,
	expect_refused(bad, ESWITCH_REFUSED_ACTION);
	bad = good, bad.ops[0].port = 0, expect_refused(bad, ESWITCH_REFUSED_ACTION);
}

/* Also one among several. Whoever has the number next gets nothing by the old rules. */
static void output_to_a_closed_port(void **state)
{
	struct flow_port next = {
		.number = 2, .representor = flow_world_representor(2), .member = flow_world_member(2), .mtu = 1500
	};
	struct eswitch_rule one = rule_for(5, false), several = rule_for(6, false), other = rule_for(7, false);

	add(&one, ESWITCH_OP_OUTPUT, 2);
	several.match.in_port = 3;
	add(&several, ESWITCH_OP_OUTPUT, 4);
	add(&several, ESWITCH_OP_OUTPUT, 2);
	other.match.in_port = 4;
	add(&other, ESWITCH_OP_OUTPUT, 1);
	assert_int_equal(flow_world_install(w, &one), ESWITCH_RULE_ACTIVE);
	assert_int_equal(flow_world_install(w, &several), ESWITCH_RULE_ACTIVE);
	assert_int_equal(flow_world_install(w, &other), ESWITCH_RULE_ACTIVE);
	flow_port_clear(w->sw, 2);
	while (flow_client_poll(w->client, w->flow))
		;
	assert_int_equal(flow_port_set(w->sw, &next), 0);
	assert_int_equal(flow_port_open(w->sw, 2, w->client), 0);
	frame_build(&frame, &(struct frame_spec){ 0 });
	flow_world_input(w, 1, &frame);
	expect_out(0, flow_world_representor(1));
	flow_world_input(w, 3, &frame);
	assert_int_equal(w->out_count, 2);
	expect_out(1, flow_world_representor(3));
	flow_world_input(w, 4, &frame);
	expect_out(2, flow_world_member(1));
	assert_int_equal(flow_world_install(w, &one), ESWITCH_RULE_ACTIVE); /* its index is free */
	flow_world_input(w, 1, &frame);
	expect_out(3, flow_world_member(2));
}

static void count_rule(void *arg, const struct flow_rule_info *rule)
{
	unsigned *count = arg;

	assert_int_equal(rule->match.in_port, 1);
	assert_int_equal(rule->op_count, 1);
	++*count;
}

static void listing_and_close(void **state)
{
	uint64_t cursor = 0;
	unsigned count = 0;

	for (uint32_t i = 0; i < 300; i++) {
		struct eswitch_rule rule = rule_for(i, false);
		rule.match.ip4_src = i;
		rule.mask.ip4_src = UINT32_MAX;
		add(&rule, ESWITCH_OP_OUTPUT, 2);
		assert_int_equal(flow_world_install(w, &rule), ESWITCH_RULE_ACTIVE);
	}
	while (flow_rules_list(w->sw, FLOW_LIST_ACTIVE, &cursor, 100, count_rule, &count))
		;
	assert_int_equal(count, 300);
	assert_int_equal(flow_masks_list(w->sw, NULL, 0), 1);
	flow_port_close(w->sw, 1);
	while (flow_client_poll(w->client, w->flow))
		;
	struct flow_stats stats;
	flow_switch_stats(w->sw, &stats);
	assert_int_equal(stats.rules, 0);
	assert_int_equal(stats.masks, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		flow_test(no_rule),
		flow_test(forward_and_count),
		flow_test(set_fields),
		flow_test(installed_in_a_burst),
		flow_test(several_outputs),
		flow_test(copies_of_chains),
		flow_test(vlan_pop),
		flow_test(encapsulation),
		flow_test(gre),
		flow_test(drop_mark_bypass),
		flow_test(marks),
		flow_test(refusals),
		flow_test(listing_and_close),
		flow_test(programs_shared),
		flow_test(output_to_a_closed_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
