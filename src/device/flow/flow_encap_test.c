/* SPDX-License-Identifier: BSD-3-Clause */
/* Encapsulation: by headers of the client's (VXLAN, Geneve with options, GRE; over IPv4 and IPv6) and by tunnel records
 * (representors of tunnels). What comes out is finished, then compared to the byte. */
#include "device/flow/flow_test_util.h"
#include "device/packet/packet_priv.h"
#include "device/packet/segment.h"

enum { TUNNEL_PORT = 5, VNI = 77 };

static struct frame inner, got, wanted;

static struct tunnel_spec spec_of(bool geneve, bool v6)
{
	return (struct tunnel_spec){
		.src = v6 ? "2001:db8::a" : "192.0.2.2",
		.dst = v6 ? "2001:db8::b" : "192.0.2.1",
		.geneve = geneve,
		.vni = VNI,
		.udp_checksum = v6,
	};
}

/* Frame n went there, tunnelled so. What the sender chooses, source port and flow label, is taken from the frame. */
static void expect_tunnelled(unsigned n, uint16_t iface, struct tunnel_spec spec, const struct frame *in)
{
	uint32_t l3 = spec.vlan ? 18 : 14;

	assert_in_range(n, 0, (uint64_t)w->out_count - 1);
	assert_int_equal(packet_checksum(w->out[n]), DROP_NONE);
	frame_read(&got, w->out[n]);
	bool v6 = got.bytes[l3] >> 4 == 6;
	const uint8_t *udp = got.bytes + l3 + (v6 ? 40 : 20);
	spec.src_port = (uint16_t)(udp[0] << 8 | udp[1]);
	assert_in_range(spec.src_port, 49152, 65535);
	frame_tunnel(&wanted, &spec, in);
	if (v6)
		memcpy(wanted.bytes + l3 + 1, got.bytes + l3 + 1, 3); /* of the traffic class the upper half is 0 */
	expect_frame(n, iface, &wanted);
}

static void input_without_headroom(const struct frame *in)
{
	struct rte_mbuf *m = frame_mbuf(in);

	memmove(m->buf_addr, rte_pktmbuf_mtod(m, void *), m->data_len);
	m->data_off = 0;
	flow_world_input_mbuf(w, 1, m);
}

/* Inner frames of all kinds: IPv4 and IPv6, tagged, ARP, and as short as they can be. */
static void inner_of_kind(unsigned kind)
{
	frame_build(&inner, &(struct frame_spec){ .src = kind & 1 ? "2001:db8::1" : NULL,
						  .dst = kind & 1 ? "2001:db8::2" : NULL,
						  .proto = kind & 2 ? IPPROTO_TCP : 0,
						  .payload = 99 });
	if (kind == 4)
		frame_tag(&inner, 0x8100, 5);
	if (kind == 5) {
		memcpy(inner.bytes + 12, "\x08\x06", 2);
		inner.length = 42;
	}
	if (kind == 6) {
		memcpy(inner.bytes + 12, "\x88\xcc", 2);
		inner.length = 14;
	}
}
enum { INNER_KINDS = 7 };

static void all_kinds_through(struct eswitch_rule *rule, const struct tunnel_spec *spec)
{
	must_install(rule);
	for (unsigned kind = 0; kind < INNER_KINDS; kind++) {
		inner_of_kind(kind);
		flow_world_input(w, 1, &inner);
		input_without_headroom(&inner);
		for (unsigned n = 0; n < 2; n++)
			expect_tunnelled(n, flow_world_member(4), *spec, &inner);
		flow_world_clear(w);
	}
	flow_world_command(w, ESWITCH_DESTROY, rule);
}

static void vxlan_and_geneve(void **state)
{
	for (unsigned i = 0; i < 16; i++) {
		struct tunnel_spec spec = spec_of(i & 1, i & 2);
		struct eswitch_rule rule = rule_any(0);
		struct frame header;
		spec.vlan = i & 4 ? 30 : 0;
		spec.geneve_options = i & 8 ? 9 : 0;
		flow_world_encap(&spec, &header);
		add_encap(&rule, header.bytes, header.length);
		add(&rule, ESWITCH_OP_OUTPUT, 4);
		all_kinds_through(&rule, &spec);
	}
}

/* Options of content: they are the client's, and the checksum goes over them. Over IPv4 a checksum is filled in if the
 * header has one. */
static void geneve_options(void **state)
{
	static const uint8_t options[] = { 0x01, 0x02, 0x80, 0x01, 0xde, 0xad, 0xbe, 0xef };

	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct tunnel_spec spec = spec_of(true, v6);
		struct eswitch_rule rule = rule_any(0);
		struct frame header;
		spec.geneve_options = sizeof(options) / 4;
		spec.udp_checksum = true;
		flow_world_encap(&spec, &header);
		uint32_t end = header.length;
		memcpy(header.bytes + end - sizeof(options), options, sizeof(options));
		memset(header.bytes + (v6 ? 54 : 34) + 6, 0xff, 2);
		add_encap(&rule, header.bytes, header.length);
		add(&rule, ESWITCH_OP_OUTPUT, 4);
		must_install(&rule);
		inner_of_kind(2);
		flow_world_input(w, 1, &inner);
		assert_int_equal(packet_checksum(w->out[0]), DROP_NONE);
		frame_read(&got, w->out[0]);
		assert_null(frame_fault(got.bytes, got.length));
		assert_int_equal(got.length, end + inner.length);
		assert_true(got.bytes[(v6 ? 54 : 34) + 6] | got.bytes[(v6 ? 54 : 34) + 7]);
		assert_memory_equal(got.bytes + end - sizeof(options), options, sizeof(options));
		assert_memory_equal(got.bytes + end, inner.bytes, inner.length);
		flow_world_clear(w);
		flow_world_command(w, ESWITCH_DESTROY, &rule);
	}
}

/* A source port that the header has stays. */
static void source_port_stays(void **state)
{
	struct tunnel_spec spec = spec_of(false, false);
	struct eswitch_rule rule = rule_any(0);
	struct frame header;

	flow_world_encap(&spec, &header);
	memcpy(header.bytes + 34, "\x12\x34", 2);
	add_encap(&rule, header.bytes, header.length);
	add(&rule, ESWITCH_OP_OUTPUT, 4);
	must_install(&rule);
	inner_of_kind(0);
	spec.src_port = 0x1234;
	frame_tunnel(&wanted, &spec, &inner);
	expect_one(&inner, flow_world_member(4), &wanted);
}

static void gre(void **state)
{
	static const uint8_t plain[] = { 0, 0, 0x65, 0x58 }, keyed[] = { 0x20, 0, 0x65, 0x58, 0, 0, 0, 77 };

	for (unsigned i = 0; i < 4; i++) {
		const uint8_t *tunnel = i & 1 ? keyed : plain;
		uint32_t bytes = i & 1 ? sizeof(keyed) : sizeof(plain), l3 = 14;
		struct frame_spec spec = { .src = i & 2 ? "2001:db8::a" : "192.0.2.2",
					   .dst = i & 2 ? "2001:db8::b" : "192.0.2.1",
					   .proto = IPPROTO_GRE,
					   .fragment = i & 2 ? 0 : 0x4000 };
		struct eswitch_rule rule = rule_any(0);
		struct frame header;
		frame_build(&header, &spec);
		memcpy(header.bytes + header.length, tunnel, bytes);
		header.length += bytes;
		add_encap(&rule, header.bytes, header.length);
		add(&rule, ESWITCH_OP_OUTPUT, 4);
		must_install(&rule);
		for (unsigned kind = 0; kind < INNER_KINDS; kind++) {
			inner_of_kind(kind);
			flow_world_input(w, 1, &inner);
			input_without_headroom(&inner);
			spec.payload = bytes + inner.length;
			frame_build(&wanted, &spec);
			memcpy(wanted.bytes + header.length - bytes, tunnel, bytes);
			memcpy(wanted.bytes + header.length, inner.bytes, inner.length);
			for (unsigned n = 0; n < 2; n++) {
				frame_read(&got, w->out[n]);
				if (i & 2) /* the flow label */
					memcpy(wanted.bytes + l3 + 1, got.bytes + l3 + 1, 3);
				expect_frame(n, flow_world_member(4), &wanted);
			}
			flow_world_clear(w);
		}
		flow_world_command(w, ESWITCH_DESTROY, &rule);
	}
}

/* ---- representors of tunnels ---- */

static void tunnel_ports(void **state)
{
	struct eswitch_rule rule = rule_any(0);

	for (unsigned i = 0; i < 8; i++) {
		struct tunnel_spec spec = spec_of(i & 1, i & 2);
		spec.vlan = i & 4 ? 30 : 0;
		spec.udp_checksum |= i == 5;
		flow_world_tunnel(w, TUNNEL_PORT, &spec);
		if (i == 0) {
			add(&rule, ESWITCH_OP_OUTPUT, TUNNEL_PORT);
			must_install(&rule);
		}
		for (unsigned kind = 0; kind < INNER_KINDS; kind++) {
			inner_of_kind(kind);
			flow_world_input(w, 1, &inner);
			input_without_headroom(&inner);
			for (unsigned n = 0; n < 2; n++)
				expect_tunnelled(n, WORLD_UPLINK, spec, &inner);
			flow_world_clear(w);
		}
	}
	w->tunnels[0].resolved = false;
	expect_drop(&inner, DROP_NEIGHBOUR_UNRESOLVED);
	atomic_store(&w->config->tunnels[TUNNEL_PORT], NULL);
	expect_drop(&inner, DROP_NEIGHBOUR_UNRESOLVED);
}

/* DSCP and ECN are the inner header's, which a tag does not hide. */
static void tunnel_tos(void **state)
{
	struct eswitch_rule rule = rule_any(0);

	for (unsigned i = 0; i < 4; i++) {
		struct tunnel_spec spec = spec_of(false, false);
		flow_world_tunnel(w, TUNNEL_PORT, &spec);
		if (i == 0) {
			add(&rule, ESWITCH_OP_OUTPUT, TUNNEL_PORT);
			must_install(&rule);
		}
		frame_build(&inner, &(struct frame_spec){ .src = i & 1 ? "2001:db8::1" : NULL,
							  .dst = i & 1 ? "2001:db8::2" : NULL,
							  .tos = 0xb9,
							  .payload = 30 });
		if (i & 2)
			frame_tag(&inner, 0x8100, 5);
		spec.tos = 0xb9;
		flow_world_input_mbuf(w, 1, frame_mbuf_split(&inner, (const uint32_t[]){ 15, 20, 33, 0 }));
		expect_tunnelled(0, WORLD_UPLINK, spec, &inner);
		flow_world_clear(w);
	}
}

/* Requests are about the inner packet, behind its tags: as many as the rule leaves the frame with. */
static struct rte_mbuf *requesting(uint32_t tags)
{
	uint32_t l3 = 14 + 4 * tags;
	struct frame partial = inner;

	store16(partial.bytes + l3 + 36,
		fold16(checksum_pseudo(partial.bytes + l3, false, IPPROTO_TCP, partial.length - l3 - 20)));
	struct rte_mbuf *m = frame_mbuf(&partial);
	m->l2_len = l3 & 0x7f;
	m->l3_len = 20;
	m->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM;
	return m;
}

static void expect_tunnelled_segments(uint32_t tags, uint32_t outer)
{
	static struct rte_mbuf *segments[8];
	unsigned count;

	assert_int_equal(w->out_count, 1);
	assert_int_equal(w->out_iface[0], WORLD_UPLINK);
	assert_int_equal(packet_segment(w->out[0], test_pool(), segments, 8, &count), DROP_NONE);
	w->out_count = 0;
	assert_int_equal(count, 3);
	for (unsigned i = 0; i < count; i++) {
		frame_read(&got, segments[i]);
		assert_null(frame_fault(got.bytes, got.length));
		assert_int_equal(got.length, outer + 54 + 4 * tags + (i < 2 ? 1000 : 500));
		frame_remove(&got, 0, outer);
		if (tags == 2) /* frame_fault() looks behind one */
			frame_remove(&got, 12, 4);
		assert_null(frame_fault(got.bytes, got.length));
	}
	rte_pktmbuf_free_bulk(segments, count);
}

static void tunnel_requests(void **state)
{
	struct eswitch_rule push = rule_for(0, false), pass = rule_tagged(1, 0x8100, 5);

	add(&push, ESWITCH_OP_PUSH_VLAN, 0x8100);
	add(&push, ESWITCH_OP_PUSH_VLAN, 0x8100);
	for (unsigned i = 0; i < 16; i++) {
		struct tunnel_spec spec = spec_of(i & 1, i & 2);
		uint32_t tags = i & 4 ? 1 : 0, leaving = tags ? 1 : 2, outer = i & 2 ? 70 : 50;
		bool segment = i & 8;
		flow_world_tunnel(w, TUNNEL_PORT, &spec);
		if (i == 0) {
			add(&push, ESWITCH_OP_OUTPUT, TUNNEL_PORT);
			add(&pass, ESWITCH_OP_OUTPUT, TUNNEL_PORT);
			must_install(&push);
			must_install(&pass);
		}
		frame_build(&inner, &(struct frame_spec){ .proto = IPPROTO_TCP, .payload = segment ? 2500 : 99 });
		if (tags)
			frame_tag(&inner, 0x8100, 5);
		struct rte_mbuf *m = requesting(tags);
		if (segment) {
			m->l4_len = 20;
			m->tso_segsz = 1000;
			m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
		}
		flow_world_input_mbuf(w, 1, m);
		if (segment) {
			expect_tunnelled_segments(leaving, outer);
			continue;
		}
		for (uint32_t tag = tags; tag < leaving; tag++)
			frame_tag(&inner, 0x8100, 0);
		expect_tunnelled(0, WORLD_UPLINK, spec, &inner);
		flow_world_clear(w);
	}
}

/* A tunnel in a tunnel: requests speak of one alone. */
static void tunnel_in_tunnel(void **state)
{
	struct tunnel_spec raw = spec_of(true, true), outer = spec_of(false, true);
	struct eswitch_rule rule = rule_any(0);
	struct frame header, middle;

	raw.geneve_options = 2;
	flow_world_encap(&raw, &header);
	flow_world_tunnel(w, TUNNEL_PORT, &outer);
	add_encap(&rule, header.bytes, header.length);
	add(&rule, ESWITCH_OP_OUTPUT, TUNNEL_PORT);
	must_install(&rule);
	inner_of_kind(1);
	flow_world_input(w, 1, &inner);
	assert_int_equal(w->out_count, 1);
	assert_int_equal(packet_checksum(w->out[0]), DROP_NONE);
	frame_read(&got, w->out[0]);
	middle.length = got.length - 70;
	memcpy(middle.bytes, got.bytes + 70, middle.length);
	assert_null(frame_fault(middle.bytes, middle.length));
	assert_int_equal(middle.length, header.length + inner.length);
	expect_tunnelled(0, WORLD_UPLINK, outer, &middle);
}

/* Rules of ports 1 and 2 for two pairs of addresses, without DF. */
static void install_fragmentable(void)
{
	static const char *const far[] = { "192.0.2.1", "192.0.2.77" };

	for (unsigned i = 0; i < 2; i++) {
		struct tunnel_spec spec = { .src = "192.0.2.2", .dst = far[i], .vni = VNI };
		struct eswitch_rule rule = rule_any(i);
		struct frame header;
		flow_world_encap(&spec, &header);
		memset(header.bytes + 20, 0, 2);
		rule.match.in_port = (uint16_t)(1 + i);
		add_encap(&rule, header.bytes, header.length);
		add(&rule, ESWITCH_OP_OUTPUT, 4);
		must_install(&rule);
	}
}

static uint16_t ident_of(uint16_t in_port)
{
	inner_of_kind(0);
	flow_world_input(w, in_port, &inner);
	frame_read(&got, w->out[0]);
	assert_null(frame_fault(got.bytes, got.length));
	flow_world_clear(w);
	return (uint16_t)(got.bytes[18] << 8 | got.bytes[19]);
}

/* Without DF the identifications of a pair of addresses are consecutive, whatever goes elsewhere, and a worker's are no
 * other's (RFC 6864 4.3). */
static void identification(void **state)
{
	struct flow *other, *first = w->flow;
	static bool seen[65536];
	struct dpu_error err;
	uint16_t before[2];

	install_fragmentable();
	assert_int_equal(WORLD_WORKERS, 3); /* four parts */
	for (unsigned i = 0; i < 2; i++)
		before[i] = ident_of((uint16_t)(1 + i));
	for (unsigned i = 0; i < 40000; i++) {
		uint16_t port = (uint16_t)(1 + i % 3 / 2), id = ident_of(port), last = before[port - 1];
		assert_true(id == last + 1 || (id < last && id % 16384 == 0)); /* the latter: its part from the start */
		before[port - 1] = id;
		seen[id] = true;
	}
	assert_int_equal(flow_new(w->sw, w->path, test_pool(), 1, &other, &err), 0);
	w->flow = other;
	for (unsigned i = 0; i < 40000; i++)
		assert_false(seen[ident_of(1)]);
	w->flow = first;
	flow_free(other);
}

/* The segments of one frame take a number each, and none is the next frame's. */
static void identification_of_segments(void **state)
{
	static struct rte_mbuf *segments[8];
	static bool seen[65536];
	unsigned count;

	install_fragmentable();
	for (unsigned i = 0; i < 50; i++) {
		frame_build(&inner, &(struct frame_spec){ .proto = IPPROTO_TCP, .payload = 2500 });
		struct rte_mbuf *m = requesting(0);
		m->l4_len = 20;
		m->tso_segsz = 1000;
		m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
		flow_world_input_mbuf(w, 1, m);
		assert_int_equal(packet_segment(w->out[0], test_pool(), segments, 8, &count), DROP_NONE);
		w->out_count = 0;
		for (unsigned k = 0; k < count; k++) {
			frame_read(&got, segments[k]);
			uint16_t id = (uint16_t)(got.bytes[18] << 8 | got.bytes[19]);
			assert_false(seen[id]);
			seen[id] = true;
		}
		rte_pktmbuf_free_bulk(segments, count);
	}
}

static void expect_header_refused(const struct frame *header, const char *about)
{
	struct eswitch_rule rule = rule_any(0);
	struct flow_refusal refusal;

	add_encap(&rule, header->bytes, header->length);
	add(&rule, ESWITCH_OP_OUTPUT, 4);
	assert_int_equal(flow_world_install(w, &rule), ESWITCH_RULE_REFUSED + ESWITCH_REFUSED_ACTION);
	assert_int_equal(flow_refusals_list(w->sw, &refusal, 1), 1);
	if (!strstr(refusal.sentence, about))
		fail_msg("\"%s\" does not speak of %s", refusal.sentence, about);
	flow_world_command(w, ESWITCH_DESTROY, &rule);
}

static void headers_refused(void **state)
{
	struct tunnel_spec spec = spec_of(true, false);
	struct frame good, bad;

	spec.geneve_options = 2;
	flow_world_encap(&spec, &good);
	for (uint32_t length = 14; length < good.length; length++) {
		bad = good, bad.length = length;
		expect_header_refused(&bad, "The encapsulation header cannot be used");
	}
	bad = good, bad.bytes[42] = 0x42, expect_header_refused(&bad, "Geneve version");
	bad = good, bad.bytes[42] = 3, expect_header_refused(&bad, "length");
	bad = good, bad.bytes[20] = 0x20, expect_header_refused(&bad, "fragment");
	bad = good, bad.bytes[14] = 0x46, expect_header_refused(&bad, "options");
	bad = good, bad.bytes[23] = IPPROTO_TCP, expect_header_refused(&bad, "UDP nor GRE");
	bad = good, bad.bytes[12] = 0x86, expect_header_refused(&bad, "IPv4 nor IPv6");
	bad = good, bad.bytes[23] = IPPROTO_GRE, bad.length = 42;
	memcpy(bad.bytes + 34, "\x20\0\x65\x58\0\0\0\1", 8);
	struct frame gre = bad;
	bad = gre, bad.bytes[34] = 0xa0, expect_header_refused(&bad, "GRE header has a checksum");
	bad = gre, bad.bytes[36] = 0x08, expect_header_refused(&bad, "GRE protocol");
	bad = gre, bad.length = 38, expect_header_refused(&bad, "GRE header");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		flow_test(vxlan_and_geneve),  flow_test(geneve_options),
		flow_test(source_port_stays), flow_test(gre),
		flow_test(tunnel_ports),      flow_test(tunnel_tos),
		flow_test(tunnel_in_tunnel),  flow_test(tunnel_requests),
		flow_test(identification),    flow_test(identification_of_segments),
		flow_test(headers_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
