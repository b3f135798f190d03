/* SPDX-License-Identifier: BSD-3-Clause */
/* The frame parser: what it finds in good frames, how it names bad ones, wherever a chain is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include "device/packet/parse_fast.h"
#include "device/packet/testlib.h"

static struct frame frame, copy;
static const uint16_t VPC = 7;

static enum drop_reason parse_split(const struct frame *f, const uint32_t *ends, struct packet_info *info)
{
	struct rte_mbuf *m = frame_mbuf_split(f, ends);
	memset(info, 0, sizeof(*info));
	enum drop_reason drop = packet_parse(m, VPC, info);

	frame_read(&copy, m);
	assert_true(frame_equal(f, &copy));
	if (!drop)
		assert_true(m->data_len >= (info->flags & PACKET_F_L4 ? info->payload_offset : info->l4_offset));
	rte_pktmbuf_free(m);
	return drop;
}

static enum drop_reason parse(const struct frame *f, struct packet_info *info)
{
	return parse_split(f, NULL, info);
}

static void expect_drop(const struct frame *f, enum drop_reason expected)
{
	struct packet_info info;
	enum drop_reason drop = parse(f, &info);

	if (drop != expected) {
		frame_dump(f);
		fail_msg("expected %s, got %s", drop_reason_name(expected), drop_reason_name(drop));
	}
}

static void expect_built(const struct frame_spec *spec, enum drop_reason expected)
{
	frame_build(&frame, spec);
	expect_drop(&frame, expected);
}

static void build_and_parse(const struct frame_spec *spec, struct packet_info *info)
{
	frame_build(&frame, spec);
	enum drop_reason drop = parse(&frame, info);
	if (drop) {
		frame_dump(&frame);
		fail_msg("dropped: %s", drop_reason_name(drop));
	}
}

static void assert_ports(const struct packet_info *info, uint16_t src, uint16_t dst)
{
	assert_int_equal(rte_be_to_cpu_16(info->key.src_port), src);
	assert_int_equal(rte_be_to_cpu_16(info->key.dst_port), dst);
}

static void plain_ipv4(void **state)
{
	struct packet_info info;

	build_and_parse(
		&(struct frame_spec){ .src = "10.1.2.3", .dst = "10.4.5.6", .ttl = 9, .tos = 0xb8, .payload = 10 },
		&info);
	assert_int_equal(info.flags, PACKET_F_IPV4 | PACKET_F_L4);
	assert_int_equal(info.key.v4.src, RTE_BE32(0x0a010203));
	assert_int_equal(info.key.v4.dst, RTE_BE32(0x0a040506));
	assert_ports(&info, 1000, 2000);
	assert_int_equal(info.key.vpc, VPC);
	assert_int_equal(info.key.flags, 0);
	assert_int_equal(info.key.proto, IPPROTO_UDP);
	assert_int_equal(info.proto, IPPROTO_UDP);
	assert_int_equal(info.l3_offset, 14);
	assert_int_equal(info.l4_offset, 34);
	assert_int_equal(info.payload_offset, 42);
	assert_int_equal(info.l3_length, 38);
	assert_int_equal(info.ttl, 9);
	assert_int_equal(info.tos, 0xb8);
	assert_int_equal(info.ether_type, 0x0800);

	build_and_parse(&(struct frame_spec){ .proto = IPPROTO_TCP, .tcp_flags = 0x12, .tcp_options_length = 12 },
			&info);
	assert_int_equal(info.tcp_flags, 0x12);
	assert_int_equal(info.payload_offset, 34 + 32);
}

static void plain_ipv6(void **state)
{
	struct packet_info info;
	struct ip_addr src = test_ip("2001:db8::1"), dst = test_ip("2001:db8::2");

	build_and_parse(&(struct frame_spec){ .src = "2001:db8::1",
					      .dst = "2001:db8::2",
					      .proto = IPPROTO_TCP,
					      .ttl = 33,
					      .tos = 0xb9,
					      .payload = 100 },
			&info);
	assert_int_equal(info.flags, PACKET_F_IPV6 | PACKET_F_L4);
	assert_memory_equal(info.key.v6.src, src.bytes, 16);
	assert_memory_equal(info.key.v6.dst, dst.bytes, 16);
	assert_int_equal(info.key.flags, FLOW_KEY_F_V6);
	assert_ports(&info, 1000, 2000);
	assert_int_equal(info.l4_offset, 54);
	assert_int_equal(info.payload_offset, 74);
	assert_int_equal(info.l3_length, 40 + 20 + 100);
	assert_int_equal(info.ttl, 33);
	assert_int_equal(info.tos, 0xb9);
	assert_int_equal(info.ether_type, 0x86dd);
}

/* What the fast case accepts, the general one describes alike. */
static void fast_is_slow(void **state)
{
	static const struct frame_spec specs[] = {
		{ .payload = 12 },
		{ .payload = 1400, .tos = 3 },
		{ .proto = IPPROTO_TCP, .tcp_flags = 2, .tcp_options_length = 40 },
		{ .src = "fd00::1", .dst = "fd00::2", .payload = 12 },
		{ .src = "fd00::1", .dst = "fd00::2", .proto = IPPROTO_TCP, .tos = 0xff, .ttl = 1 },
		{ .no_udp_checksum = true, .fragment = 0x4000, .id = 77, .payload = 99 },
	};

	for (unsigned i = 0; i < RTE_DIM(specs); i++) {
		struct packet_info fast = { 0 }, slow = { 0 };
		unsigned families = 0;
		frame_build(&frame, &specs[i]);
		struct rte_mbuf *m = frame_mbuf(&frame);
		assert_true(packet_parse_hot(m, packet_at(m, 0), VPC, &fast, &families));
		assert_int_equal(packet_parse_slow(m, VPC, &slow), DROP_NONE);
		assert_true(flow_key_equal(&fast.key, &slow.key));
		assert_int_equal(fast.tcp_flags, slow.tcp_flags);
		assert_int_equal(families, flow_key_is_v6(&slow.key) ? 2 : 1);
		rte_pktmbuf_free(m);
	}
}

static void icmp(void **state)
{
	struct packet_info info;
	const char *a = "fd00::1", *b = "fd00::2";

	build_and_parse(&(struct frame_spec){ .proto = IPPROTO_ICMP, .src_port = 77, .dst_port = 0x0800 }, &info);
	assert_ports(&info, 77, 0x0800);
	build_and_parse(&(struct frame_spec){ .proto = IPPROTO_ICMP, .src_port = 77, .dst_port = 0x0000 }, &info);
	assert_ports(&info, 0x0800, 77);
	build_and_parse(&(struct frame_spec){ .proto = IPPROTO_ICMP, .dst_port = 0x0d00 }, &info);
	assert_ports(&info, 0, 0x0d00);
	assert_int_equal(info.icmp_type, 13);
	build_and_parse(&(struct frame_spec){ .proto = IPPROTO_ICMP, .dst_port = 0x0304 }, &info);
	assert_int_equal(info.flags, PACKET_F_IPV4 | PACKET_F_L4 | PACKET_F_ICMP_ERROR);
	assert_int_equal(info.icmp_type, 3);
	assert_int_equal(info.icmp_code, 4);

	build_and_parse(
		&(struct frame_spec){ .src = a, .dst = b, .proto = IPPROTO_ICMPV6, .src_port = 77, .dst_port = 0x8000 },
		&info);
	assert_ports(&info, 77, 0x8000);
	build_and_parse(
		&(struct frame_spec){ .src = a, .dst = b, .proto = IPPROTO_ICMPV6, .src_port = 77, .dst_port = 0x8100 },
		&info);
	assert_ports(&info, 0x8000, 77);
	build_and_parse(&(struct frame_spec){ .src = a, .dst = b, .proto = IPPROTO_ICMPV6, .dst_port = 0x0200 }, &info);
	assert_true(info.flags & PACKET_F_ICMP_ERROR);
	for (unsigned type = 133; type <= 137; type++) {
		build_and_parse(
			&(struct frame_spec){
				.src = a, .dst = b, .proto = IPPROTO_ICMPV6, .dst_port = (uint16_t)(type << 8) },
			&info);
		assert_true(info.flags & PACKET_F_SERVICE);
	}
	/* The other family's ICMP is a protocol without ports. */
	build_and_parse(&(struct frame_spec){ .proto = IPPROTO_ICMPV6, .dst_port = 0x8700 }, &info);
	assert_int_equal(info.flags, PACKET_F_IPV4 | PACKET_F_L4);
	assert_ports(&info, 0, 0);
	build_and_parse(&(struct frame_spec){ .src = a, .dst = b, .proto = IPPROTO_ICMP, .dst_port = 0x0800 }, &info);
	assert_ports(&info, 0, 0);
}

static void other_protocols(void **state)
{
	struct packet_info info;

	build_and_parse(&(struct frame_spec){ .proto = IPPROTO_SCTP }, &info);
	assert_ports(&info, 1000, 2000);
	assert_int_equal(info.payload_offset, 34 + 12);
	build_and_parse(&(struct frame_spec){ .proto = IPPROTO_DCCP }, &info);
	assert_ports(&info, 1000, 2000);
	static const uint8_t protos[] = { IPPROTO_ESP, IPPROTO_AH, IPPROTO_GRE, 200 };
	for (unsigned i = 0; i < RTE_DIM(protos); i++) {
		build_and_parse(&(struct frame_spec){ .proto = protos[i], .payload = 30 }, &info);
		assert_ports(&info, 0, 0);
		assert_int_equal(info.key.proto, protos[i]);
		assert_int_equal(info.flags, PACKET_F_IPV4 | PACKET_F_L4);
	}
}

static void services(void **state)
{
	struct packet_info info;
	static const uint8_t arp[ARP_BYTES] = { 0, 1, 8, 0, 6, 4, 0, 1 };

	build_and_parse(&(struct frame_spec){ .src = "0.0.0.0",
					      .dst = "255.255.255.255",
					      .dst_mac = "ff:ff:ff:ff:ff:ff",
					      .src_port = 68,
					      .dst_port = 67 },
			&info);
	assert_int_equal(info.flags, PACKET_F_IPV4 | PACKET_F_L4 | PACKET_F_MULTICAST | PACKET_F_SERVICE);
	build_and_parse(&(struct frame_spec){ .src_port = 68, .dst_port = 67 }, &info);
	assert_true(info.flags & PACKET_F_SERVICE);
	build_and_parse(&(struct frame_spec){ .src_port = 67, .dst_port = 67 }, &info);
	assert_false(info.flags & PACKET_F_SERVICE);
	build_and_parse(&(struct frame_spec){ .src = "fe80::1", .dst = "ff02::1:2", .src_port = 546, .dst_port = 547 },
			&info);
	assert_int_equal(info.flags, PACKET_F_IPV6 | PACKET_F_L4 | PACKET_F_MULTICAST | PACKET_F_SERVICE);

	frame.length = 12;
	memcpy(frame.bytes + 12, (uint8_t[]){ 8, 6 }, 2);
	memcpy(frame.bytes + 14, arp, sizeof(arp));
	frame.length = 14 + ARP_BYTES;
	assert_int_equal(parse(&frame, &info), DROP_NONE);
	assert_true((info.flags & (PACKET_F_ARP | PACKET_F_SERVICE)) == (PACKET_F_ARP | PACKET_F_SERVICE));
	frame.length--;
	expect_drop(&frame, DROP_TRUNCATED);
}

static void fragments_ipv4(void **state)
{
	struct packet_info info;
	struct flow_key key;

	build_and_parse(&(struct frame_spec){ .id = 0x1234, .fragment = 0x2000, .payload = 16 }, &info);
	assert_int_equal(info.flags, PACKET_F_IPV4 | PACKET_F_L4 | PACKET_F_FRAGMENT);
	assert_ports(&info, 1000, 2000);
	assert_true(info.more_fragments);
	packet_fragment_key(&info, &key);
	build_and_parse(&(struct frame_spec){ .id = 0x1234, .fragment = 3, .payload = 16 }, &info);
	assert_int_equal(info.flags, PACKET_F_IPV4 | PACKET_F_FRAGMENT | PACKET_F_LATER);
	assert_int_equal(info.fragment_offset, 24);
	assert_int_equal(info.fragment_id, 0x1234);
	assert_false(info.more_fragments);
	assert_ports(&info, 0, 0x1234);
	assert_int_equal(info.key.flags, FLOW_KEY_F_FRAGMENT);
	assert_true(flow_key_equal(&info.key, &key));

	/* Rewrites the TCP header; tiny first fragment; middle fragment of 9 bytes; beyond 64 KiB; empty. */
	expect_built(&(struct frame_spec){ .proto = IPPROTO_TCP, .fragment = 1, .payload = 20 }, DROP_FRAGMENT_INVALID);
	expect_built(&(struct frame_spec){ .proto = IPPROTO_TCP, .fragment = 2, .payload = 20 }, DROP_FRAGMENT_INVALID);
	expect_built(&(struct frame_spec){ .fragment = 0x2003, .payload = 9 }, DROP_FRAGMENT_INVALID);
	expect_built(&(struct frame_spec){ .fragment = 0x1fff, .payload = 8 }, DROP_FRAGMENT_INVALID);
	expect_built(&(struct frame_spec){ .proto = 200, .fragment = 5, .payload = 0 }, DROP_FRAGMENT_INVALID);
	frame_build(&frame, &(struct frame_spec){ .proto = IPPROTO_TCP, .fragment = 0x2000 });
	frame.bytes[17] = 20 + 16; /* 16 bytes of TCP header */
	frame_fix(&frame, 14);
	expect_drop(&frame, DROP_FRAGMENT_INVALID);
	/* A header that is longer than its first fragment. */
	frame_build(&frame, &(struct frame_spec){ .proto = IPPROTO_TCP, .fragment = 0x2000, .payload = 4 });
	frame.bytes[14 + 20 + 12] = 0xf0;
	frame_fix(&frame, 14);
	expect_drop(&frame, DROP_FRAGMENT_INVALID);
}

static void fragments_ipv6(void **state)
{
	struct packet_info info;
	struct flow_key key;
	uint8_t header[16] = { IPPROTO_UDP, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef };
	struct frame_spec spec = { .src = "fd00::1",
				   .dst = "fd00::2",
				   .payload = 16,
				   .extensions = header,
				   .extensions_length = 8,
				   .first_extension = IPPROTO_FRAGMENT };

	build_and_parse(&spec, &info);
	assert_int_equal(info.flags, PACKET_F_IPV6 | PACKET_F_L4 | PACKET_F_FRAGMENT);
	assert_int_equal(info.l4_offset, 62);
	packet_fragment_key(&info, &key);
	header[3] = 64; /* offset 64, last */
	header[0] = IPPROTO_DSTOPTS;
	build_and_parse(&spec, &info);
	assert_int_equal(info.flags, PACKET_F_IPV6 | PACKET_F_FRAGMENT | PACKET_F_LATER);
	assert_int_equal(info.fragment_offset, 64);
	assert_int_equal(info.fragment_id, 0xdeadbeef);
	assert_ports(&info, 0xdead, 0xbeef);
	assert_true(flow_key_equal(&info.key, &key));

	header[0] = IPPROTO_UDP;
	header[3] = 0; /* atomic, RFC 6946: whole */
	build_and_parse(&spec, &info);
	assert_int_equal(info.flags, PACKET_F_IPV6 | PACKET_F_L4);
	assert_ports(&info, 1000, 2000);

	/* Two fragment headers, the first of a real fragment. */
	memcpy(header, (uint8_t[]){ IPPROTO_FRAGMENT, 0, 0, 1, 0, 0, 0, 1, IPPROTO_UDP, 0, 0, 1, 0, 0, 0, 2 }, 16);
	spec.extensions_length = 16;
	expect_built(&spec, DROP_FRAGMENT_INVALID);
	/* The first fragment lacks the rest of the header chain, RFC 7112. */
	memcpy(header, (uint8_t[]){ IPPROTO_DSTOPTS, 0, 0, 1, 0, 0, 0, 1, IPPROTO_UDP, 9, 1, 4, 0, 0, 0, 0 }, 16);
	expect_built(&spec, DROP_FRAGMENT_INVALID);
}

static void extension_headers(void **state)
{
	struct packet_info info;
	uint8_t chain[8 * 10] = { 0 };
	struct frame_spec spec = {
		.src = "fd00::1", .dst = "fd00::2", .proto = IPPROTO_TCP, .extensions = chain, .extensions_length = 24
	};

	/* Hop-by-hop, routing (type 2), destination options. */
	chain[0] = IPPROTO_ROUTING;
	chain[8] = IPPROTO_DSTOPTS;
	chain[10] = 2;
	chain[16] = IPPROTO_TCP;
	build_and_parse(&spec, &info);
	assert_int_equal(info.l4_offset, 54 + 24);
	assert_int_equal(info.key.proto, IPPROTO_TCP);
	assert_ports(&info, 1000, 2000);

	chain[10] = 0;
	chain[11] = 1; /* routing type 0 with a segment left, RFC 5095 */
	expect_built(&spec, DROP_BAD_IP_HEADER);
	chain[11] = 0;
	chain[0] = IPPROTO_HOPOPTS; /* hop-by-hop twice */
	chain[8] = IPPROTO_DSTOPTS;
	expect_built(&spec, DROP_BAD_IP_HEADER);
	chain[0] = IPPROTO_DSTOPTS;
	chain[1] = 20; /* runs beyond the packet */
	frame_build(&frame, &spec);
	expect_drop(&frame, DROP_TRUNCATED);

	memset(chain, 0, sizeof(chain));
	for (unsigned i = 0; i < 10; i++)
		chain[8 * i] = IPPROTO_DSTOPTS;
	for (unsigned n = 1; n <= 10; n++) {
		spec.first_extension = IPPROTO_DSTOPTS;
		spec.extensions_length = (uint16_t)(8 * n);
		chain[8 * n - 8] = IPPROTO_TCP;
		expect_built(&spec, n <= 8 ? DROP_NONE : DROP_TOO_MANY_HEADERS);
		chain[8 * n - 8] = IPPROTO_DSTOPTS;
	}
	static uint8_t long_options[504];
	long_options[0] = IPPROTO_TCP;
	long_options[1] = sizeof(long_options) / 8 - 1;
	spec.extensions = long_options;
	spec.extensions_length = sizeof(long_options);
	expect_built(&spec, DROP_TOO_MANY_HEADERS);
}

static void bad_ethernet(void **state)
{
	frame_build(&frame, &(struct frame_spec){ 0 });
	for (uint32_t length = 0; length < 34; length++) {
		frame.length = length;
		expect_drop(&frame, DROP_TRUNCATED);
	}
	frame.length = 60;
	static const struct {
		uint16_t type;
		enum drop_reason drop;
	} types[] = { { 0x8100, DROP_VLAN_TAGGED },
		      { 0x88a8, DROP_VLAN_TAGGED },
		      { 0x88cc, DROP_NOT_IP },
		      { 0x0026, DROP_NOT_IP },
		      { 0x8847, DROP_NOT_IP } };
	for (unsigned i = 0; i < RTE_DIM(types); i++) {
		store_be16(frame.bytes + 12, types[i].type);
		expect_drop(&frame, types[i].drop);
	}
}

/* Changes one byte of a good frame, perhaps mends checksums, and expects a drop. */
static void mutate(const struct frame_spec *spec, uint32_t offset, uint8_t value, bool fix, enum drop_reason drop)
{
	frame_build(&frame, spec);
	frame.bytes[offset] = value;
	if (fix)
		store16(frame.bytes + 24, 0),
			store16(frame.bytes + 24, rte_cpu_to_be_16(reference_checksum(frame.bytes + 14, 20, 0)));
	expect_drop(&frame, drop);
}

static void bad_ipv4(void **state)
{
	struct frame_spec udp = { .payload = 20 }, tcp = { .proto = IPPROTO_TCP, .payload = 20 };

	mutate(&udp, 14, 0x55, true, DROP_BAD_IP_HEADER);
	mutate(&udp, 14, 0x44, true, DROP_BAD_IP_HEADER);
	mutate(&udp, 14, 0x4f, true, DROP_BAD_IP_HEADER); /* 60 > 48 */
	mutate(&udp, 16, 1, true, DROP_BAD_IP_HEADER);    /* longer than the frame */
	mutate(&udp, 17, 19, true, DROP_BAD_IP_HEADER);
	mutate(&udp, 22, 63, false, DROP_BAD_IP_CHECKSUM);
	mutate(&udp, 17, 27, true, DROP_TRUNCATED); /* 7 bytes of UDP header */
	mutate(&tcp, 17, 39, true, DROP_TRUNCATED);
	mutate(&udp, 34 + 5, 7, false, DROP_BAD_L4_HEADER);
	mutate(&udp, 34 + 5, 29, false, DROP_BAD_L4_HEADER);
	mutate(&udp, 34 + 5, 27, false, DROP_NONE); /* shorter than the packet: allowed */
	mutate(&tcp, 34 + 12, 0x40, false, DROP_BAD_L4_HEADER);
	mutate(&tcp, 34 + 12, 0xf0, false, DROP_BAD_L4_HEADER);
	mutate(&(struct frame_spec){ .proto = IPPROTO_ICMP }, 17, 27, true, DROP_TRUNCATED);
	mutate(&(struct frame_spec){ .proto = IPPROTO_SCTP }, 17, 31, true, DROP_TRUNCATED);
	mutate(&(struct frame_spec){ .proto = IPPROTO_DCCP }, 17, 31, true, DROP_TRUNCATED);
}

static void bad_ipv6(void **state)
{
	struct frame_spec udp = { .src = "fd00::1", .dst = "fd00::2", .payload = 20 };
	struct frame_spec tcp = { .src = "fd00::1", .dst = "fd00::2", .proto = IPPROTO_TCP };

	mutate(&udp, 14, 0x40, false, DROP_BAD_IP_HEADER);
	mutate(&udp, 19, 29, false, DROP_BAD_IP_HEADER); /* longer than the frame */
	mutate(&udp, 19, 7, false, DROP_TRUNCATED);
	mutate(&tcp, 19, 19, false, DROP_TRUNCATED);
	mutate(&udp, 54 + 5, 0, false, DROP_BAD_L4_HEADER);
	mutate(&udp, 54 + 5, 29, false, DROP_BAD_L4_HEADER);
	mutate(&tcp, 54 + 12, 0x10, false, DROP_BAD_L4_HEADER);
	frame_build(&frame, &udp);
	frame.length = 53;
	expect_drop(&frame, DROP_TRUNCATED);
}

static void port_flags(void **state)
{
	struct packet_info info = { 0 };

	frame_build(&frame, &(struct frame_spec){ 0 });
	frame.bytes[25] ^= 1;
	struct rte_mbuf *m = frame_mbuf(&frame);
	m->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_BAD; /* looked at again */
	assert_int_equal(packet_parse(m, 0, &info), DROP_BAD_IP_CHECKSUM);
	m->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
	assert_int_equal(packet_parse(m, 0, &info), DROP_NONE);
	m->ol_flags = RTE_MBUF_F_TX_IP_CKSUM; /* to be filled in later */
	assert_int_equal(packet_parse(m, 0, &info), DROP_NONE);
	m->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_BAD;
	assert_int_equal(packet_parse(m, 0, &info), DROP_NONE);
	assert_true(info.flags & PACKET_F_L4_CSUM_BAD);
	rte_pktmbuf_free(m);
}

static void padding(void **state)
{
	struct packet_info info;

	frame_build(&frame, &(struct frame_spec){ .payload = 3 });
	memset(frame.bytes + frame.length, 0x5a, 60 - frame.length);
	frame.length = 60;
	assert_int_equal(parse(&frame, &info), DROP_NONE);
	assert_int_equal(info.l3_length, 31);
}

/* Cut in two, and in three, at every place: the same result, and the headers in one piece. */
static void split_everywhere(void **state)
{
	static uint8_t chain[24] = { IPPROTO_DSTOPTS, 0, 0, 0, 0, 0, 0, 0, IPPROTO_TCP, 1 };
	static const struct frame_spec specs[] = {
		{ .proto = IPPROTO_TCP, .tcp_options_length = 20, .payload = 10 },
		{ .ip_options_length = 12, .payload = 10 },
		{ .src = "fd00::1",
		  .dst = "fd00::2",
		  .proto = IPPROTO_TCP,
		  .extensions = chain,
		  .extensions_length = 24,
		  .payload = 10 },
	};

	for (unsigned i = 0; i < RTE_DIM(specs); i++) {
		struct packet_info whole, cut;
		build_and_parse(&specs[i], &whole);
		for (uint32_t a = 1; a < frame.length; a++) {
			uint32_t step = frame.length / 5;
			for (uint32_t b = a; b < frame.length; b += step) {
				assert_int_equal(parse_split(&frame, (uint32_t[]){ a, b, 0 }, &cut), DROP_NONE);
				assert_memory_equal(&whole, &cut, sizeof(whole));
			}
		}
	}
	assert_int_equal(test_pool_used(), 0);
}

static void pull_without_room(void **state)
{
	struct packet_info info = { 0 };

	frame_build(&frame, &(struct frame_spec){ .proto = IPPROTO_TCP });
	/* No tailroom: the data moves up. */
	struct rte_mbuf *m = frame_mbuf_split(&frame, (uint32_t[]){ 20, 0 });
	memmove((uint8_t *)m->buf_addr + m->buf_len - 20, packet_at(m, 0), 20);
	m->data_off = m->buf_len - 20;
	assert_int_equal(packet_parse(m, 0, &info), DROP_NONE);
	frame_read(&copy, m);
	assert_true(frame_equal(&frame, &copy));
	rte_pktmbuf_free(m);
	/* A shared first segment must not be written to. */
	m = frame_mbuf_split(&frame, (uint32_t[]){ 20, 0 });
	rte_mbuf_refcnt_update(m, 1);
	assert_int_equal(packet_parse(m, 0, &info), DROP_NO_BUFFER);
	rte_mbuf_refcnt_update(m, -1);
	/* pkt_len lies. */
	m->pkt_len = 1000;
	m->next->data_len = 10;
	assert_int_equal(packet_parse(m, 0, &info), DROP_TRUNCATED);
	rte_pktmbuf_free(m);
}

/* ---- packets embedded in ICMP errors ---- */

static bool embedded_key(const struct frame_spec *original, bool v6, uint32_t cut, struct flow_key *ret)
{
	static struct frame inner;
	struct packet_info info;

	frame_build(&inner, original);
	uint32_t bytes = RTE_MIN(inner.length - 14, cut);
	build_and_parse(&(struct frame_spec){ .src = v6 ? "fd00::9" : "10.9.9.9",
					      .dst = v6 ? "fd00::1" : "10.0.0.1",
					      .proto = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP,
					      .dst_port = v6 ? 0x0100 : 0x0301,
					      .payload = bytes },
			&info);
	memcpy(frame.bytes + info.payload_offset, inner.bytes + 14, bytes);
	struct rte_mbuf *m = frame_mbuf_split(&frame, (uint32_t[]){ info.payload_offset + bytes / 2, 0 });
	bool found = packet_parse_icmp_error(m, &info, ret);
	rte_pktmbuf_free(m);
	return found;
}

static void icmp_errors(void **state)
{
	static uint8_t fragment[8] = { IPPROTO_UDP, 0, 0, 0x40, 1, 2, 3, 4 };
	static const struct frame_spec originals[] = {
		{ .proto = IPPROTO_UDP },
		{ .proto = IPPROTO_TCP, .ip_options_length = 8 },
		{ .proto = IPPROTO_ICMP, .src_port = 5, .dst_port = 0x0800 },
		{ .proto = IPPROTO_UDP, .fragment = 4, .id = 99, .payload = 8 },
		{ .src = "fd00::1", .dst = "fd00::2", .proto = IPPROTO_TCP },
		{ .src = "fd00::1",
		  .dst = "fd00::2",
		  .proto = IPPROTO_UDP,
		  .payload = 8,
		  .extensions = fragment,
		  .extensions_length = 8,
		  .first_extension = IPPROTO_FRAGMENT },
	};

	for (unsigned i = 0; i < RTE_DIM(originals); i++) {
		struct flow_key key;
		struct packet_info expected;
		bool v6 = originals[i].src != NULL;
		uint32_t header = v6 ? 40 + originals[i].extensions_length : 20 + originals[i].ip_options_length;
		assert_true(embedded_key(&originals[i], v6, header + 8, &key));
		build_and_parse(&originals[i], &expected);
		assert_true(flow_key_equal(&key, &expected.key));
		/* Too little of it. */
		assert_false(embedded_key(&originals[i], v6, originals[i].extensions_length ? 44 : header + 7, &key));
		assert_false(embedded_key(&originals[i], v6, 10, &key));
		assert_false(embedded_key(&originals[i], v6, 0, &key));
	}
	struct flow_key key;
	assert_false(embedded_key(&originals[0], true, 100, &key)); /* IPv4 in ICMPv6 */
	assert_false(embedded_key(&originals[4], false, 100, &key));
}

/* Frames that the fast case takes are good ones, with the same key. */
static void assert_hot_is_right(const struct frame *f, enum drop_reason drop, const struct packet_info *info)
{
	struct packet_info hot = { 0 };
	unsigned families = 0;
	struct rte_mbuf *m = frame_mbuf(f);

	if (packet_parse_hot(m, packet_at(m, 0), VPC, &hot, &families)) {
		assert_int_equal(drop, DROP_NONE);
		assert_true(flow_key_equal(&hot.key, &info->key));
		assert_int_equal(hot.tcp_flags, info->tcp_flags);
	}
	rte_pktmbuf_free(m);
}

/* Random bytes behind plausible headers: never a crash, and always the same answer for a chain as for one piece. */
static void random_frames(void **state)
{
	static const struct frame_spec specs[] = {
		{ .payload = 40 },
		{ .proto = IPPROTO_TCP, .payload = 40 },
		{ .src = "fd00::1", .dst = "fd00::2", .payload = 40 },
	};

	srand(1);
	for (unsigned i = 0; i < 30000; i++) {
		struct packet_info whole, cut;
		frame_build(&frame, &specs[i % RTE_DIM(specs)]);
		for (unsigned n = 1 + (unsigned)rand() % 4; n > 0; n--)
			frame.bytes[12 + (unsigned)rand() % (frame.length - 12)] = (uint8_t)rand();
		if (i % 2 && frame.bytes[12] == 8)
			store16(frame.bytes + 24, 0),
				store16(frame.bytes + 24,
					rte_cpu_to_be_16(reference_checksum(frame.bytes + 14, 20, 0)));
		frame.length -= (unsigned)rand() % 30;
		enum drop_reason drop = parse(&frame, &whole);
		assert_hot_is_right(&frame, drop, &whole);
		uint32_t ends[] = { 1 + (unsigned)rand() % (frame.length - 1), 0 };
		assert_int_equal(parse_split(&frame, ends, &cut), drop);
		if (!drop)
			assert_memory_equal(&whole, &cut, sizeof(whole));
	}
	assert_int_equal(test_pool_used(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_ipv4),        cmocka_unit_test(plain_ipv6),
		cmocka_unit_test(fast_is_slow),      cmocka_unit_test(icmp),
		cmocka_unit_test(other_protocols),   cmocka_unit_test(services),
		cmocka_unit_test(fragments_ipv4),    cmocka_unit_test(fragments_ipv6),
		cmocka_unit_test(extension_headers), cmocka_unit_test(bad_ethernet),
		cmocka_unit_test(bad_ipv4),          cmocka_unit_test(bad_ipv6),
		cmocka_unit_test(port_flags),        cmocka_unit_test(padding),
		cmocka_unit_test(split_everywhere),  cmocka_unit_test(pull_without_room),
		cmocka_unit_test(icmp_errors),       cmocka_unit_test(random_frames),
	};

	test_pool();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
