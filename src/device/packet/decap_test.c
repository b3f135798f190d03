/* SPDX-License-Identifier: BSD-3-Clause */
/* Tunnel termination: VXLAN and Geneve over both families, refused outer headers, ECN, checksum flags of ports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <netinet/in.h>
#include "device/packet/packet_priv.h"
#include "device/packet/testlib.h"

static struct path_config *config;
static struct frame inner, outer, result;

struct outcome {
	enum drop_reason drop;
	bool local;
	uint16_t vpc;
	struct packet_info info;
};

static int setup(void **state)
{
	struct ip_addr v4 = test_ip("192.0.2.2"), v6 = test_ip("2001:db8::2");
	struct ip_addr tagged_v4 = test_ip("192.0.2.12"), tagged_v6 = test_ip("2001:db8::12");

	assert_int_equal(path_config_new(&config), 0);
	assert_int_equal(path_local_set(config, &v4, 0, NULL, NULL), 0);
	assert_int_equal(path_local_set(config, &v6, 0, NULL, NULL), 0);
	assert_int_equal(path_local_set(config, &tagged_v4, 12, NULL, NULL), 0);
	assert_int_equal(path_local_set(config, &tagged_v6, 1, NULL, NULL), 0);
	assert_int_equal(path_vni_set(config, TUNNEL_VXLAN, 5000, 3, NULL, NULL), 0);
	assert_int_equal(path_vni_set(config, TUNNEL_GENEVE, 5000, 4, NULL, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	path_config_free(config);
	return 0;
}

/* Decapsulates `outer`, cut at the given offsets and with these port flags; leaves the frame in `result`. */
static struct outcome decap_mbuf(const uint32_t *ends, uint64_t flags, uint32_t packet_type)
{
	struct outcome o = { 0 };
	struct rte_mbuf *m = frame_mbuf_split(&outer, ends);

	m->ol_flags = flags;
	m->packet_type = packet_type;
	o.drop = packet_decap(config, m, &o.vpc, &o.info, &o.local);
	frame_read(&result, m);
	rte_pktmbuf_free(m);
	return o;
}

static struct outcome decap(void)
{
	return decap_mbuf(NULL, 0, 0);
}

static void build(const struct tunnel_spec *tunnel, const struct frame_spec *frame)
{
	frame_build(&inner, frame);
	frame_tunnel(&outer, tunnel, &inner);
}

static void expect(enum drop_reason drop)
{
	struct outcome o = decap();

	if (o.drop != drop || o.local) {
		frame_dump(&outer);
		fail_msg("expected %s, got %s%s", drop_reason_name(drop), drop_reason_name(o.drop),
			 o.local ? " (local)" : "");
	}
}

static void expect_local(void)
{
	struct outcome o = decap();

	assert_int_equal(o.drop, DROP_NONE);
	assert_true(o.local);
	assert_true(frame_equal(&outer, &result));
}

static const struct tunnel_spec tunnels[] = {
	{ .vni = 5000 },
	{ .vni = 5000, .udp_checksum = true },
	{ .vni = 5000, .dst = "192.0.2.12", .vlan = 12 },
	{ .vni = 5000, .geneve = true },
	{ .vni = 5000, .geneve = true, .geneve_options = 63, .udp_checksum = true },
	{ .vni = 5000, .src = "2001:db8::1", .dst = "2001:db8::2" },
	{ .vni = 5000, .src = "2001:db8::1", .dst = "2001:db8::12", .udp_checksum = true, .vlan = 1 },
	{ .vni = 5000, .src = "2001:db8::1", .dst = "2001:db8::2", .geneve = true, .geneve_options = 2 },
};
static const struct frame_spec frames[] = {
	{ .payload = 0 },
	{ .proto = IPPROTO_TCP, .payload = 1201 },
	{ .src = "fd00::1", .dst = "fd00::2", .payload = 33 },
};

static void good_tunnels(void **state)
{
	for (unsigned t = 0; t < RTE_DIM(tunnels); t++) {
		struct ip_addr vtep = test_ip(tunnels[t].src ? tunnels[t].src : "192.0.2.1");
		for (unsigned f = 0; f < RTE_DIM(frames); f++) {
			build(&tunnels[t], &frames[f]);
			struct outcome o = decap();
			assert_int_equal(o.drop, DROP_NONE);
			assert_false(o.local);
			assert_int_equal(o.vpc, tunnels[t].geneve ? 4 : 3);
			assert_memory_equal(&o.info.outer_src, &vtep, sizeof(vtep));
			assert_int_equal(o.info.outer_length, outer.length - inner.length);
			assert_true(frame_equal(&inner, &result));
		}
	}
}

/* Wherever the chain is cut. */
static void split_everywhere(void **state)
{
	for (unsigned t = 0; t < RTE_DIM(tunnels); t++) {
		build(&tunnels[t], &frames[2]);
		for (uint32_t a = 1; a < outer.length; a++) {
			struct outcome o = decap_mbuf((uint32_t[]){ a, RTE_MIN(a + 30, outer.length), 0 }, 0, 0);
			assert_int_equal(o.drop, DROP_NONE);
			assert_true(frame_equal(&inner, &result));
		}
	}
	assert_int_equal(test_pool_used(), 0);
}

static void underlay_frames(void **state)
{
	frame_build(&outer, &(struct frame_spec){ .dst = "192.0.2.2", .proto = IPPROTO_ICMP, .dst_port = 0x0800 });
	expect_local();
	frame_build(&outer, &(struct frame_spec){ .dst = "192.0.2.2", .dst_port = 53 });
	expect_local();
	frame_build(&outer,
		    &(struct frame_spec){ .dst = "192.0.2.2", .proto = IPPROTO_ICMP, .fragment = 5, .payload = 8 });
	expect_local();
	frame_build(&outer,
		    &(struct frame_spec){
			    .src = "fe80::1", .dst = "ff02::1:ff00:2", .proto = IPPROTO_ICMPV6, .dst_port = 0x8700 });
	expect_local();
	frame_build(&outer, &(struct frame_spec){ .src = "fe80::1", .dst = "2001:db8::2", .proto = IPPROTO_TCP });
	expect_local();
	store_be16(outer.bytes + 12, 0x0806);
	expect_local();

	frame_build(&outer, &(struct frame_spec){ .dst = "192.0.2.3" });
	expect(DROP_NOT_FOR_US);
	frame_build(&outer, &(struct frame_spec){ .dst = "224.0.0.5" });
	expect(DROP_MULTICAST);
	frame_build(&outer, &(struct frame_spec){ .src = "fe80::1", .dst = "2001:db8::3" });
	expect(DROP_NOT_FOR_US);
	frame_build(&outer, &(struct frame_spec){ .src = "fe80::1", .dst = "ff02::fb" });
	expect(DROP_MULTICAST);
	store_be16(outer.bytes + 12, 0x88cc);
	expect(DROP_NOT_IP);
	/* An address of another VLAN, of none, and none on a VLAN. */
	build(&(struct tunnel_spec){ .vni = 5000, .dst = "192.0.2.12", .vlan = 13 }, &frames[0]);
	expect(DROP_NOT_FOR_US);
	build(&(struct tunnel_spec){ .vni = 5000, .dst = "192.0.2.12" }, &frames[0]);
	expect(DROP_NOT_FOR_US);
	build(&(struct tunnel_spec){ .vni = 5000, .vlan = 12 }, &frames[0]);
	expect(DROP_NOT_FOR_US);
	build(&(struct tunnel_spec){ .vni = 5000, .src = "2001:db8::1", .dst = "2001:db8::12", .vlan = 12 },
	      &frames[0]);
	expect(DROP_NOT_FOR_US);
	build(&(struct tunnel_spec){ .vni = 5000, .vlan = 12 }, &frames[0]);
	store_be16(outer.bytes + 16, 0x8100);
	expect(DROP_VLAN_TAGGED);
	store_be16(outer.bytes + 12, 0x88a8);
	expect(DROP_VLAN_TAGGED);
}

/* Offsets into an untagged tunnel packet over IPv4. */
enum { IP = 14, UDP = 34, TUNNEL = 42, INNER = 50 };

static void bad_outer_ip(void **state)
{
	struct tunnel_spec spec = { .vni = 5000 };

	build(&spec, &frames[0]);
	outer.bytes[IP] = 0x65;
	expect(DROP_BAD_IP_HEADER);
	build(&spec, &frames[0]);
	outer.bytes[IP + 3]++;
	expect(DROP_BAD_IP_HEADER); /* longer than the frame */
	build(&spec, &frames[0]);
	outer.bytes[IP + 8]--;
	expect(DROP_BAD_IP_CHECKSUM);
	build(&spec, &frames[0]);
	store_be16(outer.bytes + IP + 6, 0x2000);
	frame_fix(&outer, IP);
	expect(DROP_FRAGMENT_INVALID);
	build(&tunnels[5], &frames[0]);
	outer.bytes[IP] = 0x40;
	expect(DROP_BAD_IP_HEADER);
	build(&tunnels[5], &frames[0]);
	outer.bytes[IP + 5]++;
	expect(DROP_BAD_IP_HEADER);
	for (uint32_t length = 0; length < 34; length++) {
		build(&spec, &frames[0]);
		outer.length = length;
		expect(DROP_TRUNCATED);
	}
}

static void bad_outer_udp(void **state)
{
	struct tunnel_spec spec = { .vni = 5000 };

	build(&spec, &frames[0]);
	store_be16(outer.bytes + UDP + 4, 7);
	expect(DROP_BAD_L4_HEADER);
	store_be16(outer.bytes + UDP + 4, (uint16_t)(outer.length - UDP + 1));
	expect(DROP_BAD_L4_HEADER);
	/* Too short for tunnel header, then for an Ethernet header in it. */
	store_be16(outer.bytes + UDP + 4, 15);
	expect(DROP_TRUNCATED);
	store_be16(outer.bytes + UDP + 4, 16 + 13);
	expect(DROP_TRUNCATED);
	store_be16(outer.bytes + IP + 2, 27);
	frame_fix(&outer, IP);
	expect(DROP_TRUNCATED);
	for (unsigned t = 0; t < RTE_DIM(tunnels); t++) {
		if (!tunnels[t].udp_checksum)
			continue;
		build(&tunnels[t], &frames[1]);
		outer.bytes[outer.length - 1] ^= 1;
		expect(DROP_BAD_TUNNEL_CHECKSUM);
	}
}

static void bad_tunnel_header(void **state)
{
	struct tunnel_spec vxlan = { .vni = 5000 }, geneve = { .vni = 5000, .geneve = true, .geneve_options = 4 };

	build(&vxlan, &frames[0]);
	outer.bytes[TUNNEL] = 0xf7; /* all but the I flag */
	expect(DROP_BAD_TUNNEL_HEADER);
	outer.bytes[TUNNEL] = 0xff; /* reserved bits are ignored */
	outer.bytes[TUNNEL + 7] = 0xff;
	expect(DROP_NONE);
	vxlan.vni = 5001;
	build(&vxlan, &frames[0]);
	expect(DROP_UNKNOWN_VNI);

	build(&geneve, &frames[0]);
	outer.bytes[TUNNEL] |= 0x40; /* version 1 */
	expect(DROP_BAD_TUNNEL_HEADER);
	build(&geneve, &frames[0]);
	outer.bytes[TUNNEL + 1] = 0x80; /* control packet */
	expect(DROP_BAD_TUNNEL_HEADER);
	outer.bytes[TUNNEL + 1] = 0x40; /* critical options */
	expect(DROP_BAD_TUNNEL_HEADER);
	outer.bytes[TUNNEL + 1] = 0x3f; /* reserved */
	expect(DROP_NONE);
	store_be16(outer.bytes + TUNNEL + 2, 0x0800); /* IP, not Ethernet */
	expect(DROP_BAD_TUNNEL_HEADER);
	build(&geneve, &frames[0]);
	outer.bytes[TUNNEL] = 63; /* options beyond the end */
	expect(DROP_TRUNCATED);
}

static void trailing_bytes(void **state)
{
	build(&tunnels[0], &frames[1]);
	memset(outer.bytes + outer.length, 0xee, 3000);
	outer.length += 3000;
	struct outcome o = decap_mbuf((uint32_t[]){ 100, outer.length - 2900, 0 }, 0, 0);
	assert_int_equal(o.drop, DROP_NONE);
	assert_true(frame_equal(&inner, &result));
	assert_int_equal(test_pool_used(), 0);
}

/* RFC 6040 figure 4: rows by inner, columns by outer ECN field (Not-ECT, ECT(1), ECT(0), CE); 9 = dropped. */
static void ecn(void **state)
{
	static const uint8_t expected[4][4] = {
		{ 0, 0, 0, 9 },
		{ 1, 1, 1, 3 },
		{ 2, 1, 2, 3 },
		{ 3, 3, 3, 3 },
	};

	for (unsigned n = 0; n < 2 * 2 * 16; n++) {
		uint8_t in = n & 3, out = n >> 2 & 3;
		bool v6 = n & 16, outer_v6 = n & 32;
		build(&(struct tunnel_spec){ .vni = 5000,
					     .tos = 0xb8 | out,
					     .src = outer_v6 ? "2001:db8::1" : NULL,
					     .dst = outer_v6 ? "2001:db8::2" : NULL },
		      &(struct frame_spec){ .src = v6 ? "fd00::1" : NULL,
					    .dst = v6 ? "fd00::2" : NULL,
					    .tos = 0x28 | in,
					    .payload = 9 });
		struct outcome o = decap();
		if (expected[in][out] == 9) {
			assert_int_equal(o.drop, DROP_CONGESTION);
			continue;
		}
		assert_int_equal(o.drop, DROP_NONE);
		uint8_t tos = v6 ? (uint8_t)(load_be16(result.bytes + 14) >> 4) : result.bytes[15];
		assert_int_equal(tos, 0x28 | expected[in][out]);
		assert_null(frame_fault(result.bytes, result.length));
	}
}

static void port_flags(void **state)
{
	build(&(struct tunnel_spec){ .vni = 5000, .udp_checksum = true }, &frames[1]);
	outer.bytes[UDP + 6] ^= 1;
	assert_int_equal(decap_mbuf(NULL, 0, 0).drop, DROP_BAD_TUNNEL_CHECKSUM);
	assert_int_equal(decap_mbuf(NULL, RTE_MBUF_F_RX_L4_CKSUM_GOOD, 0).drop, DROP_NONE);
	assert_int_equal(decap_mbuf(NULL, RTE_MBUF_F_RX_L4_CKSUM_NONE, 0).drop, DROP_NONE);
	/* A port that knows tunnels speaks of the inner packet. */
	assert_int_equal(decap_mbuf(NULL, RTE_MBUF_F_RX_L4_CKSUM_GOOD, RTE_PTYPE_TUNNEL_VXLAN).drop,
			 DROP_BAD_TUNNEL_CHECKSUM);
	assert_int_equal(decap_mbuf(NULL, RTE_MBUF_F_RX_OUTER_L4_CKSUM_GOOD, RTE_PTYPE_TUNNEL_VXLAN).drop, DROP_NONE);
}

/* After decapsulation the flags speak of the inner packet, or of nothing. */
static void inner_flags(void **state)
{
	static const struct {
		uint64_t before;
		uint32_t type;
		uint64_t after;
	} cases[] = {
		{ RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_IP_CKSUM_GOOD, 0, 0 },
		{ RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_IP_CKSUM_GOOD, RTE_PTYPE_TUNNEL_VXLAN,
		  RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_IP_CKSUM_GOOD },
		/* Asked for the outer UDP checksum: gone with it. */
		{ RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IPV4, 0, 0 },
	};

	for (unsigned i = 0; i < RTE_DIM(cases); i++) {
		uint16_t vpc;
		bool local;
		struct packet_info info = { 0 };
		build(&tunnels[0], &frames[1]);
		struct rte_mbuf *m = frame_mbuf(&outer);
		m->ol_flags = cases[i].before;
		m->packet_type = cases[i].type;
		m->l2_len = 14;
		m->l3_len = 20;
		assert_int_equal(packet_decap(config, m, &vpc, &info, &local), DROP_NONE);
		assert_int_equal(m->ol_flags, cases[i].after);
		rte_pktmbuf_free(m);
	}
}

/* A sender that left the inner TCP checksum open, as Linux does over veth. */
static void inner_request(void **state)
{
	uint16_t vpc;
	bool local;
	struct packet_info info = { 0 };

	build(&tunnels[0], &frames[1]);
	struct rte_mbuf *m = frame_mbuf(&outer);
	m->ol_flags = RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
	m->l2_len = 64; /* outer headers and inner Ethernet */
	m->l3_len = 20;
	assert_int_equal(packet_decap(config, m, &vpc, &info, &local), DROP_NONE);
	assert_int_equal(m->ol_flags, RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4);
	assert_int_equal(m->l2_len, 14);
	assert_int_equal(m->l3_len, 20);
	rte_pktmbuf_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_tunnels),    cmocka_unit_test(split_everywhere),
		cmocka_unit_test(underlay_frames), cmocka_unit_test(bad_outer_ip),
		cmocka_unit_test(bad_outer_udp),   cmocka_unit_test(bad_tunnel_header),
		cmocka_unit_test(trailing_bytes),  cmocka_unit_test(ecn),
		cmocka_unit_test(port_flags),      cmocka_unit_test(inner_flags),
		cmocka_unit_test(inner_request),
	};

	test_pool();
	return cmocka_run_group_tests(tests, setup, teardown);
}
