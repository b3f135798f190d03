/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets that another worker owns: handed over as they came, and what the path has found out of them is not lost. */
#include "device/packet/path_fixture.h"

#include <netinet/in.h>
#include "device/packet/packet_priv.h"
#include "device/packet/segment.h"

/* A worker that owns no slots hands every frame on as it came; the owner takes it from there. */
static void handoff(void **state)
{
	enum { FRAMES = 8 };
	static struct frame frames[FRAMES];
	struct harness *other = harness_new_worker(9);

	harness_set_actions(h, harness_local(HARNESS_UPLINK, HARNESS_B), harness_local(HARNESS_B, HARNESS_A));
	for (unsigned i = 0; i < FRAMES; i++) {
		struct tunnel_spec tunnel = from_peer;
		bool uplink = i >= 2;
		frame_build(&inner, &a_to_b);
		tunnel.geneve = i & 1;
		tunnel.src = i > 3 ? "2001:db8::1" : NULL;
		tunnel.dst = i > 5 ? HARNESS_TAGGED : i > 3 ? "2001:db8::2" : NULL;
		tunnel.vlan = i > 5 ? HARNESS_VLAN : 0;
		if (uplink)
			frame_tunnel(&frames[i], &tunnel, &inner);
		else
			frames[i] = inner;
		harness_input(other, uplink ? HARNESS_UPLINK : HARNESS_A, &frames[i]);
		assert_int_equal(other->handed_count, i + 1);
		assert_int_equal(other->handed_iface[i], uplink ? HARNESS_UPLINK : HARNESS_A);
		frame_read(&result, other->handed[i]);
		assert_true(frame_equal(&result, &frames[i]));
	}
	assert_int_equal(other->handed_worker, 0);
	assert_int_equal(other->out_count + other->misses, 0);

	path_input_handoff(h->path, other->handed, other->handed_iface, FRAMES);
	other->handed_count = 0;
	expect_out(FRAMES, HARNESS_B);
	/* The first from A opened a session for frames from the uplink, so the second missed, too. */
	assert_int_equal(h->misses, 2);
	assert_int_equal(path_iface_counters(h->path, HARNESS_A)->rx_packets, 0);
	assert_int_equal(path_iface_counters(other->path, HARNESS_A)->rx_packets, 2);
	assert_int_equal(path_vpc_counters(h->path, HARNESS_VPC)->decapsulated, 0);
	assert_int_equal(path_vpc_counters(other->path, HARNESS_VPC)->decapsulated, FRAMES - 2);
	harness_free(other);
}

/* An open checksum travels along. */
static void handoff_with_requests(void **state)
{
	struct harness *other = harness_new_worker(9);
	struct frame_spec spec = { .proto = IPPROTO_TCP, .payload = 100 };

	harness_set_actions(h, harness_local(HARNESS_UPLINK, HARNESS_B), harness_local(HARNESS_B, HARNESS_A));
	for (unsigned options = 0; options < 63; options += 31) {
		struct tunnel_spec tunnel = from_peer;
		tunnel.geneve = options > 0;
		tunnel.geneve_options = (uint8_t)options;
		frame_build(&inner, &spec);
		inner.bytes[50] ^= 0xff;
		frame_tunnel(&frame, &tunnel, &inner);
		struct rte_mbuf *m = frame_mbuf(&frame);
		m->ol_flags = RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
		uint32_t start = frame.length - inner.length + 34;
		m->l2_len = RTE_MIN(start, 127u) & 0x7f;
		m->l3_len = (start - m->l2_len) & 0x1ff;
		harness_input_mbuf(other, HARNESS_UPLINK, m);
		assert_int_equal(other->handed_count, 1);
		path_input_handoff(h->path, other->handed, other->handed_iface, 1);
		other->handed_count = 0;
		assert_int_equal(h->out_count, 1);
		assert_int_equal(packet_checksum(h->out[0]), DROP_NONE);
		frame_read(&result, h->out[0]);
		assert_null(frame_fault(result.bytes, result.length));
		harness_clear(h);
	}
	harness_free(other);
}

/* The outer checksum is looked at once: what decapsulation has changed in the frame since, and what the sender had left
 * open of it, does not make the packet a broken one for the owner. */
static void handoff_with_outer_checksum(void **state)
{
	struct harness *other = harness_new_worker(9);
	struct frame_spec spec = { .src = "2001:db8:1::1", .dst = "2001:db8:1::2", .tos = 2 };

	harness_set_actions(h, harness_local(HARNESS_UPLINK, HARNESS_B), harness_local(HARNESS_B, HARNESS_A));
	for (unsigned open = 0; open < 2; open++) {
		struct tunnel_spec tunnel = from_peer;
		tunnel.udp_checksum = true;
		tunnel.tos = 3; /* congestion experienced: the mark moves into the inner header */
		frame_build(&inner, &spec);
		frame_tunnel(&frame, &tunnel, &inner);
		struct rte_mbuf *m = frame_mbuf(&frame);
		if (open) {
			*rte_pktmbuf_mtod_offset(m, uint8_t *, 40) ^= 0xff;
			m->ol_flags = RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IPV4;
			m->l2_len = 14;
			m->l3_len = 20;
		}
		harness_input_mbuf(other, HARNESS_UPLINK, m);
		assert_int_equal(other->handed_count, 1);
		path_input_handoff(h->path, other->handed, other->handed_iface, 1);
		other->handed_count = 0;
		assert_int_equal(path_drops(h->path, DROP_BAD_TUNNEL_CHECKSUM), 0);
		assert_int_equal(h->out_count, 1);
		frame_read(&result, h->out[0]);
		assert_null(frame_fault(result.bytes, result.length));
		assert_int_equal(result.bytes[15] >> 4 & 3, 3);
		harness_clear(h);
	}
	harness_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PATH_CASE(handoff),
		PATH_CASE(handoff_with_requests),
		PATH_CASE(handoff_with_outer_checksum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
