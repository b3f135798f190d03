/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames of unusual shape: chains whose headers straddle segments, requests for checksums and segmentation, options and
 * extension headers, fragments, frames that are too short or too long for what a rule does. */
#include "device/flow/flow_test_util.h"
#include "device/packet/packet_priv.h"
#include "device/packet/segment.h"

enum { MSS = 1000, SEGMENTS = 8 };

static struct frame frame, got, wanted;

/* ---- rules that touch everything ---- */

enum variant { SET_FIELDS, PUSH_TAGS, POP_AND_SET, VXLAN_V4, GENEVE_V6, GRE_V4, VARIANTS };

static void add_sets(struct eswitch_rule *rule, bool v6)
{
	add_mac(rule, ESWITCH_OP_SET_ETH_SRC, "02:00:00:00:99:01");
	add_address(rule, v6 ? ESWITCH_OP_SET_IP6_SRC : ESWITCH_OP_SET_IP4_SRC, v6 ? "2001:db8:1::9" : "192.168.9.9");
	add_address(rule, v6 ? ESWITCH_OP_SET_IP6_DST : ESWITCH_OP_SET_IP4_DST, v6 ? "2001:db8:2::8" : "192.168.8.8");
	add(rule, ESWITCH_OP_DEC_TTL, 0);
	add(rule, ESWITCH_OP_SET_DSCP, 46);
	add(rule, ESWITCH_OP_SET_TP_SRC, 4444);
	add(rule, ESWITCH_OP_SET_TP_DST, 5555);
}

static void add_tunnel(struct eswitch_rule *rule, enum variant variant)
{
	static const struct frame nothing;
	struct frame header;

	if (variant == GRE_V4) {
		frame_build(&header,
			    &(struct frame_spec){ .src = "192.0.2.2", .dst = "192.0.2.1", .proto = IPPROTO_GRE });
		memcpy(header.bytes + header.length, "\x20\0\x65\x58\0\0\0\x4d", 8);
		header.length += 8;
		store_be16(header.bytes + 20, 0x4000);
	} else {
		bool v6 = variant == GENEVE_V6;
		frame_tunnel(&header,
			     &(struct tunnel_spec){ .src = v6 ? "2001:db8::a" : "192.0.2.2",
						    .dst = v6 ? "2001:db8::b" : "192.0.2.1",
						    .geneve = v6,
						    .geneve_options = v6 ? 3 : 0,
						    .vni = 77 },
			     &nothing);
	}
	add_encap(rule, header.bytes, header.length);
}

/* tag: of the frames, 0 = untagged. */
static struct eswitch_rule rule_of(enum variant variant, bool v6, uint8_t proto, uint16_t tag)
{
	struct eswitch_rule rule = tag ? rule_tagged(0, 0x8100, tag) : rule_for(0, v6);

	if (tag) {
		rule.match.inner_type = v6 ? RTE_BE16(0x86dd) : RTE_BE16(0x0800);
		rule.mask.inner_type = UINT16_MAX;
	}
	match_proto(&rule, proto);
	if (variant == POP_AND_SET && tag)
		add(&rule, ESWITCH_OP_POP_VLAN, 0);
	add_sets(&rule, v6);
	if (variant == PUSH_TAGS) {
		add(&rule, ESWITCH_OP_PUSH_VLAN, 0x8100);
		add(&rule, ESWITCH_OP_SET_VLAN_VID, 7);
		add(&rule, ESWITCH_OP_PUSH_VLAN, 0x88a8);
		add(&rule, ESWITCH_OP_SET_VLAN_VID, 8);
	}
	if (variant >= VXLAN_V4)
		add_tunnel(&rule, variant);
	add(&rule, ESWITCH_OP_OUTPUT, 4);
	must_install(&rule);
	return rule;
}

static void build(bool v6, uint8_t proto, uint16_t tag, uint32_t payload)
{
	frame_build(&frame, &(struct frame_spec){ .src = v6 ? "2001:db8::1" : NULL,
						  .dst = v6 ? "2001:db8::2" : NULL,
						  .proto = proto,
						  .payload = payload });
	if (tag)
		frame_tag(&frame, 0x8100, tag);
}

/* Runs fn for every variant, family, protocol and with and without a tag; the frame is built, the rule installed. */
static void for_all(void (*fn)(enum variant variant, bool v6, uint8_t proto, uint16_t tag))
{
	for (unsigned i = 0; i < 8 * VARIANTS; i++) {
		bool v6 = i & 1;
		uint8_t proto = i & 2 ? IPPROTO_TCP : IPPROTO_UDP;
		uint16_t tag = i & 4 ? 100 : 0;
		struct eswitch_rule rule = rule_of(i / 8, v6, proto, tag);
		build(v6, proto, tag, 222);
		fn(i / 8, v6, proto, tag);
		flow_world_command(w, ESWITCH_DESTROY, &rule);
	}
}

/* What the rule makes of the frame, finished, in `wanted`. */
static void reference(void)
{
	flow_world_input(w, 1, &frame);
	assert_int_equal(w->out_count, 1);
	assert_int_equal(w->out_iface[0], flow_world_member(4));
	assert_int_equal(packet_checksum(w->out[0]), DROP_NONE);
	frame_read(&wanted, w->out[0]);
	const char *fault = frame_fault(wanted.bytes, wanted.length);
	if (fault)
		fail_msg("%s", fault);
	flow_world_clear(w);
}

/* ---- chains ---- */

static void expect_same(struct rte_mbuf *m)
{
	flow_world_input_mbuf(w, 1, m);
	assert_int_equal(w->out_count, 1);
	assert_int_equal(packet_checksum(w->out[0]), DROP_NONE);
	expect_frame(0, flow_world_member(4), &wanted);
	flow_world_clear(w);
}

/* A segment ends in each place that a header can have, and behind it come very short ones. */
static void chained(enum variant variant, bool v6, uint8_t proto, uint16_t tag)
{
	reference();
	for (uint32_t end = 1; end < 90; end++) {
		expect_same(frame_mbuf_split(&frame, (const uint32_t[]){ end, 0 }));
		expect_same(frame_mbuf_split(&frame, (const uint32_t[]){ end, end + 1, end + 3, end + 50, 0 }));
	}
}

static void chains(void **state)
{
	for_all(chained);
}

static struct rte_mbuf *without_headroom(struct rte_mbuf *m)
{
	memmove(m->buf_addr, rte_pktmbuf_mtod(m, void *), m->data_len);
	m->data_off = 0;
	return m;
}

static void at_the_start(enum variant variant, bool v6, uint8_t proto, uint16_t tag)
{
	reference();
	expect_same(without_headroom(frame_mbuf(&frame)));
	expect_same(without_headroom(frame_mbuf_split(&frame, (const uint32_t[]){ 16, 40, 0 })));
}

static void no_headroom(void **state)
{
	for_all(at_the_start);
}

/* ---- requests ---- */

/* As virtio has it: the field holds the sum of the pseudo header. */
static struct rte_mbuf *requesting(const uint32_t *ends, bool v6, uint8_t proto, uint16_t tag)
{
	uint32_t l3 = tag ? 18 : 14, l4 = l3 + (v6 ? 40 : 20);
	struct frame partial = frame;
	uint64_t sum = checksum_pseudo(partial.bytes + l3, v6, proto, partial.length - l4);

	store16(partial.bytes + l4 + (proto == IPPROTO_TCP ? 16 : 6), fold16(sum));
	struct rte_mbuf *m = frame_mbuf_split(&partial, ends);
	m->l2_len = l3 & 0x7f;
	m->l3_len = v6 ? 40 : 20;
	m->ol_flags |= v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
	m->ol_flags |= proto == IPPROTO_TCP ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
	return m;
}

/* While it is not carried out, the field holds the sum of the pseudo header as it is now. */
static void expect_partial(bool v6, uint8_t proto)
{
	uint32_t l4 = 14 + (v6 ? 40 : 20), field = l4 + (proto == IPPROTO_TCP ? 16 : 6);

	flow_world_input_mbuf(w, 1, requesting(NULL, v6, proto, 0));
	frame_read(&got, w->out[0]);
	assert_int_equal(load16(got.bytes + field),
			 fold16(checksum_pseudo(got.bytes + 14, v6, proto, got.length - l4)));
	flow_world_clear(w);
}

static void checksum_requested(enum variant variant, bool v6, uint8_t proto, uint16_t tag)
{
	reference();
	expect_same(requesting(NULL, v6, proto, tag));
	expect_same(without_headroom(requesting(NULL, v6, proto, tag)));
	expect_same(requesting((const uint32_t[]){ 30, 41, 66, 0 }, v6, proto, tag));
	if (variant == SET_FIELDS && !tag)
		expect_partial(v6, proto);
}

static void checksum_requests(void **state)
{
	for_all(checksum_requested);
}

/* Where the frame in a frame's tunnel begins; 0 if there is none. */
static uint32_t tunnelled_at(enum variant variant)
{
	static const uint32_t at[VARIANTS] = { [VXLAN_V4] = 50, [GENEVE_V6] = 82, [GRE_V4] = 42 };

	return at[variant];
}

/* Ethernet, tags and addresses of the packet at `at` are those of the reference, and so are the ports, if it ends
 * there. */
static void expect_headers(uint32_t at, bool v6, uint32_t tags, bool ports)
{
	uint32_t l3 = at + 14 + 4 * tags, l4 = l3 + (v6 ? 40 : 20);

	assert_memory_equal(got.bytes + at, wanted.bytes + at, l3 - at);
	assert_memory_equal(got.bytes + l3 + (v6 ? 6 : 8), wanted.bytes + l3 + (v6 ? 6 : 8), 2);
	assert_memory_equal(got.bytes + l3 + (v6 ? 8 : 12), wanted.bytes + l3 + (v6 ? 8 : 12), v6 ? 32 : 8);
	if (ports)
		assert_memory_equal(got.bytes + l4, wanted.bytes + l4, 4);
}

static void expect_segments(enum variant variant, bool v6, uint8_t proto, uint16_t tag, uint32_t payload)
{
	static struct rte_mbuf *segments[SEGMENTS];
	uint32_t inner = tunnelled_at(variant), done = 0;
	uint32_t tags = (tag ? 1 : 0) + (variant == PUSH_TAGS ? 2 : 0) - (variant == POP_AND_SET && tag ? 1 : 0);
	uint32_t headers = inner + 14 + 4 * tags + (v6 ? 40 : 20) + (proto == IPPROTO_TCP ? 20 : 8);
	unsigned count;

	assert_int_equal(w->out_count, 1);
	assert_int_equal(w->out_iface[0], flow_world_member(4));
	assert_int_equal(packet_segment(w->out[0], test_pool(), segments, SEGMENTS, &count), DROP_NONE);
	w->out_count = 0;
	assert_int_equal(count, (payload + MSS - 1) / MSS);
	for (unsigned i = 0; i < count; i++, done += MSS) {
		frame_read(&got, segments[i]);
		const char *fault = frame_fault(got.bytes, got.length);
		if (!fault && inner)
			fault = frame_fault(got.bytes + inner, got.length - inner);
		if (fault)
			fail_msg("segment %u: %s", i, fault);
		if (inner)
			expect_headers(0, variant == GENEVE_V6, 0, variant != GRE_V4);
		expect_headers(inner, v6, tags, true);
		assert_int_equal(got.length, headers + RTE_MIN(payload - done, (uint32_t)MSS));
		assert_memory_equal(got.bytes + headers, frame.bytes + frame.length - payload + done,
				    got.length - headers);
	}
	rte_pktmbuf_free_bulk(segments, count);
}

static void segmentation_requested(enum variant variant, bool v6, uint8_t proto, uint16_t tag)
{
	enum { PAYLOAD = 2500 };
	static const uint32_t straddling[] = { 25, 50, 2000, 0 };

	reference();
	build(v6, proto, tag, PAYLOAD);
	for (unsigned i = 0; i < 3; i++) {
		struct rte_mbuf *m = requesting(i == 2 ? straddling : NULL, v6, proto, tag);
		m->l4_len = proto == IPPROTO_TCP ? 20 : 8;
		m->tso_segsz = MSS;
		m->ol_flags |= proto == IPPROTO_TCP ? RTE_MBUF_F_TX_TCP_SEG : RTE_MBUF_F_TX_UDP_SEG;
		flow_world_input_mbuf(w, 1, i == 1 ? without_headroom(m) : m);
		expect_segments(variant, v6, proto, tag, PAYLOAD);
	}
}

static void segmentation_requests(void **state)
{
	for_all(segmentation_requested);
}

/* ---- headers of other lengths ---- */

/* One frame, and what a rule with all set-fields makes of it: both as the spec says, but for the fields set. */
static void expect_set(struct frame_spec spec, bool v6)
{
	frame_build(&frame, &spec);
	spec.src_mac = "02:00:00:00:99:01";
	spec.src = v6 ? "2001:db8:1::9" : "192.168.9.9";
	spec.dst = v6 ? "2001:db8:2::8" : "192.168.8.8";
	spec.ttl = 63;
	spec.tos = 46 << 2;
	spec.src_port = 4444;
	spec.dst_port = 5555;
	frame_build(&wanted, &spec);
	expect_one(&frame, flow_world_member(4), &wanted);
	flow_world_input_mbuf(w, 1, frame_mbuf_split(&frame, (const uint32_t[]){ 33, 36, 58, 70, 0 }));
	expect_frame(0, flow_world_member(4), &wanted);
	flow_world_clear(w);
}

static void ipv4_options(void **state)
{
	static const uint8_t options[] = { 0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0 },
			     protos[] = { IPPROTO_TCP, IPPROTO_UDP };

	for (unsigned i = 0; i < 2; i++) {
		struct eswitch_rule rule = rule_of(SET_FIELDS, false, protos[i], 0);
		for (uint8_t length = 4; length <= sizeof(options); length += 4)
			expect_set((struct frame_spec){ .proto = protos[i],
							.payload = 77,
							.options = options,
							.ip_options_length = length },
				   false);
		flow_world_command(w, ESWITCH_DESTROY, &rule);
	}
}

static void ipv6_extensions(void **state)
{
	static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP };

	for (unsigned i = 0; i < 2; i++) {
		struct eswitch_rule rule = rule_of(SET_FIELDS, true, protos[i], 0);
		/* Hop-by-hop, destination options of 16 bytes, an atomic fragment. */
		const uint8_t extensions[] = { IPPROTO_DSTOPTS,
					       0,
					       1,
					       4,
					       0,
					       0,
					       0,
					       0,
					       IPPROTO_FRAGMENT,
					       1,
					       1,
					       12,
					       0,
					       0,
					       0,
					       0,
					       0,
					       0,
					       0,
					       0,
					       0,
					       0,
					       0,
					       0,
					       protos[i],
					       0,
					       0,
					       0,
					       0,
					       1,
					       2,
					       3 };
		expect_set((struct frame_spec){ .src = "2001:db8::1",
						.dst = "2001:db8::2",
						.proto = protos[i],
						.payload = 77,
						.extensions = extensions,
						.extensions_length = sizeof(extensions),
						.first_extension = IPPROTO_HOPOPTS },
			   true);
		flow_world_command(w, ESWITCH_DESTROY, &rule);
	}
}

/* The upper-layer checksum is that of the last destination: while segments are left, that is not the header's. */
static void ipv6_routing(void **state)
{
	struct eswitch_rule rule = rule_for(0, true);
	uint8_t routing[24] = { IPPROTO_UDP, 2, 4, 1, 0 };
	struct frame_spec spec = { .src = "2001:db8::1",
				   .dst = "2001:db8::2",
				   .payload = 20,
				   .extensions = routing,
				   .extensions_length = sizeof(routing),
				   .first_extension = IPPROTO_ROUTING };

	match_proto(&rule, IPPROTO_UDP);
	add_address(&rule, ESWITCH_OP_SET_IP6_DST, "2001:db8:2::8");
	add(&rule, ESWITCH_OP_OUTPUT, 4);
	must_install(&rule);
	for (unsigned left = 0; left < 2; left++) {
		routing[3] = (uint8_t)left;
		frame_build(&frame, &spec);
		wanted = frame;
		memcpy(wanted.bytes + 38, test_ip("2001:db8:2::8").bytes, 16);
		if (!left)
			frame_fix(&wanted, 14);
		expect_one(&frame, flow_world_member(4), &wanted);
	}
}

/* Later fragments have no ports and no checksum: addresses alone change. A rule that sets ports cannot be for them. */
static void later_fragments(void **state)
{
	struct eswitch_rule addresses = rule_for(0, false), ports = rule_for(1, false);

	addresses.match.flags = addresses.mask.flags = ESWITCH_FIELD_FRAGMENT | ESWITCH_FIELD_LATER;
	match_proto(&addresses, IPPROTO_UDP);
	add_address(&addresses, ESWITCH_OP_SET_IP4_SRC, "192.168.9.9");
	add(&addresses, ESWITCH_OP_OUTPUT, 2);
	must_install(&addresses);
	match_proto(&ports, IPPROTO_UDP);
	ports.mask.flags = ESWITCH_FIELD_LATER;
	add(&ports, ESWITCH_OP_SET_TP_DST, 5555);
	add(&ports, ESWITCH_OP_OUTPUT, 3);
	must_install(&ports);
	frame_build(&frame, &(struct frame_spec){ .fragment = 0x2000 | 100, .payload = 64 });
	wanted = frame;
	memcpy(wanted.bytes + 26, "\xc0\xa8\x09\x09", 4);
	frame_fix(&wanted, 14); /* of a fragment only the header's */
	expect_one(&frame, flow_world_member(2), &wanted);
	/* The first fragment has a UDP header, whose checksum is the whole datagram's and follows. */
	frame_build(&frame, &(struct frame_spec){ .payload = 64 });
	frame.bytes[20] = 0x20;
	frame_fix(&frame, 14);
	wanted = frame;
	store_be16(wanted.bytes + 36, 5555);
	store16(wanted.bytes + 40,
		checksum_update16(load16(frame.bytes + 40), load16(frame.bytes + 36), RTE_BE16(5555)));
	expect_one(&frame, flow_world_member(3), &wanted);
	/* The same with a rule that says nothing of fragments, for frames that have no ports: they go up. */
	flow_world_command(w, ESWITCH_DESTROY, &addresses);
	flow_world_command(w, ESWITCH_DESTROY, &ports);
	ports.generation++, ports.mask.flags = 0;
	must_install(&ports);
	frame_build(&frame, &(struct frame_spec){ .fragment = 100, .payload = 64 });
	expect_one(&frame, flow_world_representor(1), &frame);
}

static void later_fragments_ipv6(void **state)
{
	const uint8_t header[] = { IPPROTO_UDP, 0, 0x01, 0x21, 0, 0, 0, 9 };
	struct eswitch_rule rule = rule_for(0, true);

	rule.match.flags = rule.mask.flags = ESWITCH_FIELD_FRAGMENT | ESWITCH_FIELD_LATER;
	add_address(&rule, ESWITCH_OP_SET_IP6_SRC, "2001:db8:1::9");
	add(&rule, ESWITCH_OP_SET_TTL, 9);
	add(&rule, ESWITCH_OP_OUTPUT, 2);
	must_install(&rule);
	frame_build(&frame, &(struct frame_spec){ .src = "2001:db8::1",
						  .dst = "2001:db8::2",
						  .payload = 64,
						  .extensions = header,
						  .extensions_length = sizeof(header),
						  .first_extension = IPPROTO_FRAGMENT });
	wanted = frame;
	memcpy(wanted.bytes + 22, test_ip("2001:db8:1::9").bytes, 16);
	wanted.bytes[21] = 9;
	expect_one(&frame, flow_world_member(2), &wanted);
}

/* As OVS does: the version is not looked at, reserved bits make a fragment, and of a frame whose extension headers are
 * cut off nothing but addresses is known. */
static void odd_headers(void **state)
{
	struct eswitch_rule ttl = rule_for(0, true), none = rule_for(1, true), v4 = rule_for(2, false);
	uint8_t header[] = { IPPROTO_UDP, 0, 0, 2, 0, 0, 0, 9 };
	struct frame_spec spec = { .src = "2001:db8::1",
				   .dst = "2001:db8::2",
				   .payload = 64,
				   .extensions = header,
				   .extensions_length = sizeof(header),
				   .first_extension = IPPROTO_FRAGMENT };

	ttl.match.ip_ttl = 64, ttl.mask.ip_ttl = 0xff;
	ttl.mask.flags = ESWITCH_FIELD_FRAGMENT;
	add(&ttl, ESWITCH_OP_OUTPUT, 2);
	none.mask.ip_ttl = none.mask.ip_proto = 0xff;
	none.mask.flags = ESWITCH_FIELD_FRAGMENT;
	add(&none, ESWITCH_OP_OUTPUT, 3);
	add(&v4, ESWITCH_OP_OUTPUT, 4);
	must_install(&ttl), must_install(&none), must_install(&v4);
	frame_build(&frame, &spec);
	expect_one(&frame, flow_world_representor(1), &frame);
	header[3] = 0;
	frame_build(&frame, &spec);
	expect_one(&frame, flow_world_member(2), &frame);
	frame.bytes[14] = 0x50;
	expect_one(&frame, flow_world_member(2), &frame);
	spec.first_extension = IPPROTO_DSTOPTS;
	header[1] = 40;
	frame_build(&frame, &spec);
	expect_one(&frame, flow_world_member(3), &frame);
	frame_build(&frame, &(struct frame_spec){ .payload = 64 });
	frame.bytes[14] = 0x55;
	expect_one(&frame, flow_world_member(4), &frame);
}

/* Where the upper layer is behind more headers than the engine reads, no rule is right. */
static void many_extensions(void **state)
{
	struct eswitch_rule rule = rule_for(0, true);
	uint8_t headers[520] = { 0 };
	struct frame_spec spec = { .src = "2001:db8::1",
				   .dst = "2001:db8::2",
				   .payload = 64,
				   .extensions = headers,
				   .first_extension = IPPROTO_DSTOPTS };

	add(&rule, ESWITCH_OP_OUTPUT, 2);
	must_install(&rule);
	for (unsigned length = 72; length <= sizeof(headers); length += sizeof(headers) - 72) {
		for (unsigned i = 0; i < length; i += 8)
			headers[i] = i + 8 < length ? IPPROTO_DSTOPTS : IPPROTO_UDP;
		spec.extensions_length = (uint16_t)length;
		frame_build(&frame, &spec);
		expect_one(&frame, length == 72 ? flow_world_member(2) : flow_world_representor(1), &frame);
	}
}

/* A frame that ends anywhere: what the rule needs is there, or the frame goes up as it came. */
static void short_frames(void **state)
{
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct eswitch_rule rule = rule_of(SET_FIELDS, v6, IPPROTO_TCP, 0);
		for (uint32_t length = 1; length < 100; length++) {
			build(v6, IPPROTO_TCP, 0, 10);
			frame.length = RTE_MIN(length, frame.length);
			bool whole = length >= frame.length && frame.length == 14u + (v6 ? 40 : 20) + 30;
			if (length < 14) {
				expect_drop(&frame, DROP_TRUNCATED);
			} else if (whole) {
				flow_world_input(w, 1, &frame);
				assert_int_equal(w->out_iface[0], flow_world_member(4));
				flow_world_clear(w);
			} else {
				/* The IP header says that there is more. */
				expect_one(&frame, flow_world_representor(1), &frame);
			}
		}
		/* An upper layer that is too short for its header, by what the IP header says. */
		for (uint32_t bytes = 0; bytes < 20; bytes++) {
			build(v6, IPPROTO_TCP, 0, 10);
			store_be16(frame.bytes + (v6 ? 18 : 16), (uint16_t)(v6 ? bytes : 20 + bytes));
			if (!v6) {
				store16(frame.bytes + 24, 0);
				store_be16(frame.bytes + 24, reference_checksum(frame.bytes + 14, 20, 0));
			}
			expect_one(&frame, flow_world_representor(1), &frame);
		}
		flow_world_command(w, ESWITCH_DESTROY, &rule);
	}
}

/* ---- too long ---- */

static void set_mtu(uint16_t number, uint16_t mtu)
{
	struct flow_port port = { .number = number,
				  .representor = flow_world_representor(number),
				  .member = flow_world_member(number),
				  .mtu = mtu };

	assert_int_equal(flow_port_set(w->sw, &port), 0);
}

/* Every output looks at its own port's MTU, layer 2 and its tags not counting; as Open vSwitch, the switch drops and
 * sends no ICMP. The drop is that port's. */
static void mtu(void **state)
{
	struct eswitch_rule rule = rule_for(0, false);

	add(&rule, ESWITCH_OP_OUTPUT, 2);
	add(&rule, ESWITCH_OP_PUSH_VLAN, 0x8100);
	add(&rule, ESWITCH_OP_OUTPUT, 3);
	add_tunnel(&rule, VXLAN_V4);
	add(&rule, ESWITCH_OP_OUTPUT, 4);
	must_install(&rule);
	set_mtu(2, 1400);
	set_mtu(3, 1300);
	set_mtu(4, 1500);
	for (uint32_t size = 1290; size < 1600; size++) {
		uint32_t outer = size + 14 + 4 + 36;
		unsigned fitting = (size <= 1400) + (size <= 1300) + (outer <= 1500), n = 0;
		uint64_t before[3];
		for (unsigned i = 0; i < 3; i++)
			before[i] = path_iface_drops(w->path, flow_world_member(2 + i), DROP_OUTPUT_MTU);
		frame_build(&frame, &(struct frame_spec){ .payload = size - 28 });
		flow_world_input(w, 1, &frame);
		assert_int_equal(w->out_count, fitting);
		if (size <= 1400)
			assert_int_equal(w->out_iface[n++], flow_world_member(2));
		if (size <= 1300)
			assert_int_equal(w->out_iface[n++], flow_world_member(3));
		if (outer <= 1500)
			assert_int_equal(w->out_iface[n++], flow_world_member(4));
		flow_world_clear(w);
		for (unsigned i = 0; i < 3; i++)
			before[i] = path_iface_drops(w->path, flow_world_member(2 + i), DROP_OUTPUT_MTU) - before[i];
		assert_int_equal(before[0], size > 1400);
		assert_int_equal(before[1], size > 1300);
		assert_int_equal(before[2], outer > 1500);
	}
}

/* Of a frame that is to be segmented, the segments must fit. */
static void mtu_of_segments(void **state)
{
	struct eswitch_rule rule = rule_of(VXLAN_V4, false, IPPROTO_TCP, 100);

	build(false, IPPROTO_TCP, 100, 3000);
	for (uint16_t size = 1380; size < 1400; size++) {
		struct rte_mbuf *m = requesting(NULL, false, IPPROTO_TCP, 100);
		uint32_t outer = 20 + 8 + 8 + 18 + 40 + size;
		m->l4_len = 20;
		m->tso_segsz = size;
		m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
		set_mtu(4, 1480);
		flow_world_input_mbuf(w, 1, m);
		assert_int_equal(w->out_count, outer <= 1480);
		flow_world_clear(w);
	}
	assert_true(path_drops(w->path, DROP_OUTPUT_MTU) > 0);
	flow_world_command(w, ESWITCH_DESTROY, &rule);
}

/* What has gone up is not subject to an MTU; what a client sends by a representor is. */
static void mtu_of_representors(void **state)
{
	frame_build(&frame, &(struct frame_spec){ .payload = 1600 });
	expect_one(&frame, flow_world_representor(1), &frame);
	flow_world_input_iface(w, flow_world_representor(2), frame_mbuf(&frame));
	assert_int_equal(w->out_count, 0);
	assert_int_equal(path_iface_drops(w->path, flow_world_member(2), DROP_OUTPUT_MTU), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		flow_test(chains),
		flow_test(no_headroom),
		flow_test(checksum_requests),
		flow_test(ipv4_options),
		flow_test(ipv6_extensions),
		flow_test(odd_headers),
		flow_test(many_extensions),
		flow_test(segmentation_requests),
		flow_test(ipv6_routing),
		flow_test(later_fragments),
		flow_test(later_fragments_ipv6),
		flow_test(short_frames),
		flow_test(mtu),
		flow_test(mtu_of_segments),
		flow_test(mtu_of_representors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
