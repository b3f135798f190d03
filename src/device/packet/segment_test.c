/* SPDX-License-Identifier: BSD-3-Clause */
/* Software checksums, segmentation and fragmentation against slow references. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <stdlib.h>
#include "device/packet/packet_priv.h"
#include "device/packet/segment.h"
#include "device/packet/testlib.h"

enum { MAX_SEGMENTS = 200 };
static struct frame whole, inner, piece, joined;
static struct rte_mbuf *out[MAX_SEGMENTS];

/* ---- sums ---- */

static void sums(void **state)
{
	srand(3);
	for (unsigned i = 0; i < 3000; i++) {
		whole.length = 1 + (unsigned)rand() % 3000;
		for (uint32_t n = 0; n < whole.length; n++)
			whole.bytes[n] = i % 3 ? (uint8_t)rand() : 0xff;
		uint32_t ends[3] = { 1 + (unsigned)rand() % whole.length, 0, 0 };
		ends[1] = ends[0] + (unsigned)rand() % 100;
		struct rte_mbuf *m = frame_mbuf_split(&whole, ends);
		uint32_t offset = (unsigned)rand() % whole.length;
		uint32_t length = (unsigned)rand() % (whole.length - offset + 1), sum = 0;
		assert_true(packet_sum(m, offset, length, &sum));
		uint16_t expected = reference_checksum(whole.bytes + offset, length, 0);
		assert_int_equal(rte_be_to_cpu_16((uint16_t)~fold16(sum)), expected);
		assert_int_equal(fold16(checksum_bytes(whole.bytes + offset, length)),
				 rte_cpu_to_be_16((uint16_t)~expected));
		assert_false(packet_sum(m, offset, whole.length - offset + 1, &sum));
		assert_false(packet_sum(m, whole.length + 1, 0, &sum));
		rte_pktmbuf_free(m);
	}
}

static void updates(void **state)
{
	uint8_t bytes[20];

	srand(4);
	for (unsigned i = 0; i < 20000; i++) {
		for (unsigned n = 0; n < sizeof(bytes); n++)
			bytes[n] = i % 4 ? (uint8_t)rand() : (uint8_t) - (rand() & 1);
		uint16_t before = rte_cpu_to_be_16(reference_checksum(bytes, 20, 0));
		uint32_t old = load32(bytes + 4), new = i % 4 ? (uint32_t)rand() : 0;
		store32(bytes + 4, new);
		uint16_t after = rte_cpu_to_be_16(reference_checksum(bytes, 20, 0));
		uint16_t update = checksum_update32(before, old, new);
		/* +0 and -0 are the same sum; RFC 1624 never makes one from the other for data that is not all zero. */
		assert_true(update == after || (uint16_t)(update + after) == 0xffff);
		uint16_t twice = checksum_update16(checksum_update16(before, (uint16_t)old, (uint16_t) new),
						   (uint16_t)(old >> 16), (uint16_t)(new >> 16));
		assert_true(twice == after || (uint16_t)(twice + after) == 0xffff);
	}
}

/* ---- requests ---- */

static uint64_t ip_flag(const struct frame_spec *spec)
{
	return spec->src ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
}

static bool is_tcp(const struct frame_spec *spec)
{
	return spec->proto == IPPROTO_TCP;
}

static uint32_t l3_length(const struct frame_spec *spec)
{
	return spec->src ? 40 + spec->extensions_length : 20 + spec->ip_options_length;
}

/* The frame as a guest hands it over: plain, with lengths set. */
static void request_plain(struct rte_mbuf *m, const struct frame_spec *spec)
{
	m->ol_flags |= ip_flag(spec) | (is_tcp(spec) ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM);
	m->l2_len = 14;
	m->l3_len = l3_length(spec) & 0x1ff;
	m->l4_len = (is_tcp(spec) ? 20 + spec->tcp_options_length : 8) & 0xff;
}

static void request_tunnel(struct rte_mbuf *m, const struct frame_spec *spec, const struct tunnel_spec *tunnel)
{
	request_plain(m, spec);
	m->ol_flags |= tunnel->geneve ? RTE_MBUF_F_TX_TUNNEL_GENEVE : RTE_MBUF_F_TX_TUNNEL_VXLAN;
	m->ol_flags |= tunnel->src ? RTE_MBUF_F_TX_OUTER_IPV6 : RTE_MBUF_F_TX_OUTER_IPV4;
	if (tunnel->udp_checksum)
		m->ol_flags |= RTE_MBUF_F_TX_OUTER_UDP_CKSUM;
	if (!tunnel->src)
		m->ol_flags |= RTE_MBUF_F_TX_OUTER_IP_CKSUM;
	m->outer_l2_len = 14;
	m->outer_l3_len = tunnel->src ? 40 : 20;
	m->l2_len = 30;
}

static const struct frame_spec specs[] = {
	{ .proto = IPPROTO_TCP, .payload = 1000 },
	{ .proto = IPPROTO_TCP, .payload = 63001, .tcp_options_length = 12, .tcp_flags = 0x99, .id = 0xfffe },
	{ .proto = IPPROTO_TCP, .payload = 5000, .ip_options_length = 8 },
	{ .proto = IPPROTO_UDP, .payload = 4001 },
	{ .src = "fd00::1", .dst = "fd00::2", .proto = IPPROTO_TCP, .payload = 63001, .tcp_flags = 0x99 },
	{ .src = "fd00::1", .dst = "fd00::2", .proto = IPPROTO_UDP, .payload = 4001 },
};
static const struct tunnel_spec tunnels[] = {
	{ .vni = 1, .udp_checksum = false },
	{ .vni = 2, .udp_checksum = true },
	{ .vni = 3, .src = "2001:db8::1", .dst = "2001:db8::2", .udp_checksum = true },
	{ .vni = 4, .src = "2001:db8::1", .dst = "2001:db8::2", .geneve = true },
	{ .vni = 5, .geneve = true, .udp_checksum = true },
};

static void ruin(uint8_t *p)
{
	p[0] ^= 0xa5;
	p[1] ^= 0x5a;
}

static void checksums_plain(void **state)
{
	for (unsigned i = 0; i < RTE_DIM(specs); i++) {
		frame_build(&whole, &specs[i]);
		uint32_t l4 = 14 + l3_length(&specs[i]);
		for (uint32_t cut = 0; cut < 120; cut++) {
			piece = whole;
			ruin(piece.bytes + l4 + (is_tcp(&specs[i]) ? 16 : 6));
			struct rte_mbuf *m = frame_mbuf_split(&piece, (uint32_t[]){ cut, 1001, 0 });
			request_plain(m, &specs[i]);
			assert_int_equal(packet_checksum(m), DROP_NONE);
			assert_int_equal(m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK, 0);
			frame_read(&joined, m);
			assert_true(frame_equal(&whole, &joined));
			rte_pktmbuf_free(m);
		}
	}
}

static void checksums_in_tunnels(void **state)
{
	for (unsigned i = 0; i < RTE_DIM(specs) * RTE_DIM(tunnels); i++) {
		const struct frame_spec *spec = &specs[i % RTE_DIM(specs)];
		const struct tunnel_spec *tunnel = &tunnels[i / RTE_DIM(specs)];
		frame_build(&inner, spec);
		frame_tunnel(&whole, tunnel, &inner);
		piece = whole;
		uint32_t outer = whole.length - inner.length;
		ruin(piece.bytes + outer + 14 + l3_length(spec) + (is_tcp(spec) ? 16 : 6));
		if (tunnel->udp_checksum)
			ruin(piece.bytes + outer - 10);
		if (!tunnel->src)
			ruin(piece.bytes + 24);
		struct rte_mbuf *m = frame_mbuf_split(&piece, (uint32_t[]){ 70, 1001, 0 });
		request_tunnel(m, spec, tunnel);
		assert_int_equal(packet_checksum(m), DROP_NONE);
		frame_read(&joined, m);
		assert_true(frame_equal(&whole, &joined));
		rte_pktmbuf_free(m);
	}
}

/* The outer UDP checksum alone, for a frame whose own checksums nobody asked about. */
static void checksum_of_tunnel_only(void **state)
{
	for (unsigned i = 0; i < RTE_DIM(specs) * RTE_DIM(tunnels); i++) {
		const struct frame_spec *spec = &specs[i % RTE_DIM(specs)];
		const struct tunnel_spec *tunnel = &tunnels[i / RTE_DIM(specs)];
		if (!tunnel->udp_checksum)
			continue;
		frame_build(&inner, spec);
		frame_tunnel(&whole, tunnel, &inner);
		piece = whole;
		ruin(piece.bytes + whole.length - inner.length - 10);
		struct rte_mbuf *m = frame_mbuf(&piece);
		request_tunnel(m, spec, tunnel);
		m->ol_flags &= ~RTE_MBUF_F_TX_L4_MASK;
		assert_int_equal(packet_checksum(m), DROP_NONE);
		frame_read(&joined, m);
		assert_true(frame_equal(&whole, &joined));
		rte_pktmbuf_free(m);
	}
}

/* ---- segmentation ---- */

static void request_segments(struct rte_mbuf *m, const struct frame_spec *spec, uint16_t size)
{
	m->ol_flags |= is_tcp(spec) ? RTE_MBUF_F_TX_TCP_SEG : RTE_MBUF_F_TX_UDP_SEG;
	m->tso_segsz = size;
}

/* Checks one segment and appends its payload to `joined`. outer: bytes before the inner frame. */
static void check_segment(const struct frame_spec *spec, uint32_t outer, unsigned i, unsigned count, uint16_t size)
{
	const char *fault = frame_fault(piece.bytes, piece.length);
	uint32_t l3 = outer + 14, l4 = l3 + l3_length(spec);
	uint32_t headers = l4 + (is_tcp(spec) ? 20 + spec->tcp_options_length : 8);
	const uint8_t *ip = piece.bytes + l3, *original = whole.bytes + l3;

	if (fault) {
		frame_dump(&piece);
		fail_msg("segment %u of %u: %s", i, count, fault);
	}
	assert_true(piece.length - headers <= size);
	assert_true(i == count - 1 || piece.length - headers == size);
	if (!spec->src)
		assert_int_equal(load_be16(ip + 4), (uint16_t)(load_be16(original + 4) + i));
	if (is_tcp(spec)) {
		const uint8_t *tcp = piece.bytes + l4;
		uint8_t flags = whole.bytes[l4 + 13];
		assert_int_equal(rte_be_to_cpu_32(load32(tcp + 4)), 1 + i * size);
		flags &= (uint8_t) ~((i > 0 ? 0x80 : 0) | (i < count - 1 ? 0x09 : 0));
		assert_int_equal(tcp[13], flags);
		assert_memory_equal(tcp + 20, whole.bytes + l4 + 20, headers - l4 - 20);
	}
	memcpy(joined.bytes + joined.length, piece.bytes + headers, piece.length - headers);
	joined.length += piece.length - headers;
}

static void segment_and_check(struct rte_mbuf *m, const struct frame_spec *spec, uint32_t outer, uint16_t size)
{
	unsigned count = 0;

	assert_int_equal(packet_segment(m, test_pool(), out, MAX_SEGMENTS, &count), DROP_NONE);
	assert_int_equal(count, (spec->payload + size - 1) / size);
	joined.length = 0;
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(out[i]->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK, 0);
		frame_read(&piece, out[i]);
		check_segment(spec, outer, i, count, size);
		rte_pktmbuf_free(out[i]);
	}
	assert_int_equal(joined.length, spec->payload);
	assert_memory_equal(joined.bytes, whole.bytes + whole.length - spec->payload, spec->payload);
	assert_int_equal(test_pool_used(), 0);
}

static const uint16_t sizes[] = { 536, 1000, 1448, 1460, 8948 };

static void segments_plain(void **state)
{
	for (unsigned i = 0; i < RTE_DIM(specs) * RTE_DIM(sizes); i++) {
		const struct frame_spec *spec = &specs[i % RTE_DIM(specs)];
		uint16_t size = sizes[i / RTE_DIM(specs)];
		frame_build(&whole, spec);
		struct rte_mbuf *m = frame_mbuf_split(&whole, (uint32_t[]){ 15 + i, 301, 1303, 0 });
		request_plain(m, spec);
		request_segments(m, spec, size);
		segment_and_check(m, spec, 0, size);
	}
}

static void segments_in_tunnels(void **state)
{
	for (unsigned i = 0; i < RTE_DIM(specs) * RTE_DIM(tunnels); i++) {
		const struct frame_spec *spec = &specs[i % RTE_DIM(specs)];
		const struct tunnel_spec *tunnel = &tunnels[i / RTE_DIM(specs)];
		frame_build(&inner, spec);
		frame_tunnel(&whole, tunnel, &inner);
		struct rte_mbuf *m = frame_mbuf_split(&whole, (uint32_t[]){ 60, 1303, 0 });
		request_tunnel(m, spec, tunnel);
		request_segments(m, spec, 1400);
		segment_and_check(m, spec, whole.length - inner.length, 1400);
	}
}

/* 64 KiB at the smallest segment that TCP must expect. */
static void segments_max(void **state)
{
	struct frame_spec spec = { .proto = IPPROTO_TCP, .payload = 65535 - 40 };

	frame_build(&whole, &spec);
	struct rte_mbuf *m = frame_mbuf(&whole);
	request_plain(m, &spec);
	request_segments(m, &spec, 536);
	segment_and_check(m, &spec, 0, 536);
}

/* ---- lies ---- */

static void expect_refused(struct rte_mbuf *m, unsigned max)
{
	unsigned count = 0;

	frame_read(&joined, m);
	assert_int_equal(packet_segment(m, test_pool(), out, max, &count), DROP_SEGMENTATION);
	assert_int_equal(count, 0);
	frame_read(&piece, m);
	assert_true(frame_equal(&joined, &piece));
	rte_pktmbuf_free(m);
}

static struct rte_mbuf *liar(const struct frame_spec *spec)
{
	frame_build(&whole, spec);
	struct rte_mbuf *m = frame_mbuf(&whole);
	request_plain(m, spec);
	request_segments(m, spec, 1000);
	return m;
}

static void lies(void **state)
{
	struct frame_spec tcp = { .proto = IPPROTO_TCP, .payload = 5000 }, udp = { .payload = 5000 };
	struct rte_mbuf *m = liar(&tcp);

	m->tso_segsz = 0;
	expect_refused(m, MAX_SEGMENTS);
	expect_refused(liar(&tcp), 4); /* five are needed */
	m = liar(&tcp);
	m->l3_len = 24;
	expect_refused(m, MAX_SEGMENTS);
	m = liar(&tcp);
	m->l2_len = 16;
	expect_refused(m, MAX_SEGMENTS);
	m = liar(&tcp);
	m->ol_flags ^= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6;
	expect_refused(m, MAX_SEGMENTS);
	m = liar(&udp);
	m->ol_flags ^= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG;
	expect_refused(m, MAX_SEGMENTS);
	m = liar(&tcp);
	*(uint8_t *)packet_at(m, 34 + 12) = 0x40; /* data offset 16 */
	expect_refused(m, MAX_SEGMENTS);
	m = liar(&tcp);
	store_be16(packet_at(m, 16), 0xffff); /* total length */
	expect_refused(m, MAX_SEGMENTS);
	m = liar(&tcp);
	m->ol_flags |= RTE_MBUF_F_TX_TUNNEL_VXLAN;
	m->outer_l2_len = 14;
	m->outer_l3_len = 20;
	m->l2_len = 30;
	expect_refused(m, MAX_SEGMENTS);
	m = liar(&tcp);
	m->ol_flags &= ~RTE_MBUF_F_TX_TCP_SEG;
	expect_refused(m, MAX_SEGMENTS);

	m = liar(&tcp); /* packet_checksum() does not segment */
	assert_int_equal(packet_checksum(m), DROP_SEGMENTATION);
	m->ol_flags = RTE_MBUF_F_TX_SCTP_CKSUM | RTE_MBUF_F_TX_IPV4;
	assert_int_equal(packet_checksum(m), DROP_SEGMENTATION);
	m->ol_flags = RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
	m->l3_len = 500;
	assert_int_equal(packet_checksum(m), DROP_SEGMENTATION);
	rte_pktmbuf_free(m);
}

static void no_buffers(void **state)
{
	static struct rte_mbuf *held[4096];
	struct frame_spec tcp = { .proto = IPPROTO_TCP, .payload = 5000 };
	struct rte_mbuf *m = liar(&tcp);
	unsigned n = 0, count;

	while ((held[n] = rte_pktmbuf_alloc(test_pool())))
		n++;
	assert_int_equal(packet_segment(m, test_pool(), out, MAX_SEGMENTS, &count), DROP_NO_BUFFER);
	rte_pktmbuf_free_bulk(held, 3);
	assert_int_equal(packet_segment(m, test_pool(), out, MAX_SEGMENTS, &count), DROP_NO_BUFFER);
	assert_int_equal(packet_fragment_ipv4(m, 600, test_pool(), out, MAX_SEGMENTS, &count), DROP_NO_BUFFER);
	frame_read(&joined, m);
	assert_true(frame_equal(&whole, &joined));
	rte_pktmbuf_free_bulk(held + 3, n - 3);
	rte_pktmbuf_free(m);
	assert_int_equal(test_pool_used(), 0);
}

/* ---- fragmentation ---- */

static void check_fragments(const struct frame_spec *spec, unsigned count, uint16_t mtu, uint32_t later_header)
{
	uint32_t offset = (spec->fragment & 0x1fff) * 8u, start = offset;

	for (unsigned i = 0; i < count; i++) {
		frame_read(&piece, out[i]);
		const uint8_t *ip = piece.bytes + 14;
		uint32_t header = (ip[0] & 15) * 4u, payload = load_be16(ip + 2) - header;
		uint16_t word = load_be16(ip + 6);
		assert_null(frame_fault(piece.bytes, piece.length));
		assert_int_equal(header, i ? later_header : 20u + spec->ip_options_length);
		assert_true(header + payload <= mtu);
		assert_int_equal(piece.length, 14 + header + payload);
		assert_int_equal((word & 0x1fff) * 8u, offset);
		assert_int_equal(!!(word & 0x2000), i < count - 1 || spec->fragment & 0x2000);
		assert_int_equal(load_be16(ip + 4), spec->id);
		assert_memory_equal(piece.bytes, whole.bytes, 14);
		assert_memory_equal(ip + header, whole.bytes + 14 + 20 + spec->ip_options_length + offset - start,
				    payload);
		offset += payload;
		rte_pktmbuf_free(out[i]);
	}
	assert_int_equal(offset - start, whole.length - 14 - 20 - spec->ip_options_length);
}

static void fragments(void **state)
{
	static const uint8_t options[12] = { 0x83, 7, 4, 1, 2, 3, 4, 1, 0x44, 4, 5, 0 }; /* LSRR, NOP, timestamp */
	static const struct {
		struct frame_spec spec;
		uint32_t later_header;
	} cases[] = {
		{ { .payload = 4000, .id = 9 }, 20 },
		{ { .payload = 60000, .id = 9 }, 20 },
		{ { .payload = 1000, .ip_options_length = 12, .options = options }, 28 },
		{ { .payload = 1000, .fragment = 0x2005, .id = 1, .proto = 200 }, 20 },
		{ { .payload = 3001, .fragment = 0x0005, .id = 1, .proto = 200 }, 20 },
		{ { .payload = 10 }, 20 },
	};
	static const uint16_t mtus[] = { 576, 577, 900, 1500, 2500 };

	for (unsigned i = 0; i < RTE_DIM(cases) * RTE_DIM(mtus); i++) {
		const struct frame_spec *spec = &cases[i % RTE_DIM(cases)].spec;
		uint16_t mtu = mtus[i / RTE_DIM(cases)];
		unsigned count = 0;
		frame_build(&whole, spec);
		struct rte_mbuf *m = frame_mbuf_split(&whole, (uint32_t[]){ 30, 777, 0 });
		assert_int_equal(packet_fragment_ipv4(m, mtu, test_pool(), out, MAX_SEGMENTS, &count), DROP_NONE);
		check_fragments(spec, count, mtu, cases[i % RTE_DIM(cases)].later_header);
		assert_int_equal(test_pool_used(), 0);
	}
}

static void fragments_refused(void **state)
{
	unsigned count = 0;

	frame_build(&whole, &(struct frame_spec){ .payload = 4000 });
	struct rte_mbuf *m = frame_mbuf(&whole);
	assert_int_equal(packet_fragment_ipv4(m, 27, test_pool(), out, MAX_SEGMENTS, &count), DROP_TOO_BIG);
	assert_int_equal(packet_fragment_ipv4(m, 0, test_pool(), out, MAX_SEGMENTS, &count), DROP_TOO_BIG);
	assert_int_equal(packet_fragment_ipv4(m, 576, test_pool(), out, 3, &count), DROP_TOO_BIG);
	store_be16(packet_at(m, 16), 5000);
	assert_int_equal(packet_fragment_ipv4(m, 576, test_pool(), out, MAX_SEGMENTS, &count), DROP_BAD_IP_HEADER);
	store_be16(packet_at(m, 16), 20);
	assert_int_equal(packet_fragment_ipv4(m, 576, test_pool(), out, MAX_SEGMENTS, &count), DROP_BAD_IP_HEADER);
	rte_pktmbuf_free(m);
	assert_int_equal(test_pool_used(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums),
		cmocka_unit_test(updates),
		cmocka_unit_test(checksums_plain),
		cmocka_unit_test(checksums_in_tunnels),
		cmocka_unit_test(checksum_of_tunnel_only),
		cmocka_unit_test(segments_plain),
		cmocka_unit_test(segments_in_tunnels),
		cmocka_unit_test(segments_max),
		cmocka_unit_test(lies),
		cmocka_unit_test(no_buffers),
		cmocka_unit_test(fragments),
		cmocka_unit_test(fragments_refused),
	};

	test_pool();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
