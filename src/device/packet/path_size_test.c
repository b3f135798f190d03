/* SPDX-License-Identifier: BSD-3-Clause */
/* The packet path and the size of packets: MTU, fragments, what is behind a packet, segments that others cut. */
#include "device/packet/path_fixture.h"

#include <netinet/in.h>
#include "device/packet/packet_priv.h"
#include "device/packet/segment.h"

static void too_big(void **state)
{
	struct frame_spec spec = { .payload = 1473, .fragment = 0x4000 };

	frame_build(&frame, &spec);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->too_big, 1);
	assert_int_equal(h->too_big_mtu, 1500);
	spec.src = "fd00::1";
	spec.dst = "fd00::2";
	frame_build(&frame, &spec);
	harness_input(h, HARNESS_A, &frame);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->too_big, 3);
	assert_int_equal(h->out_count, 0);
	expect_drops(DROP_TOO_BIG, 3);
	spec.payload = 1500 - 48;
	frame_build(&frame, &spec);
	harness_input(h, HARNESS_A, &frame);
	expect_out(1, HARNESS_B);
}

static void fragmented(void **state)
{
	for (unsigned hit = 0; hit < 2; hit++) {
		frame_build(&frame, &(struct frame_spec){ .payload = 4000, .id = 5 });
		harness_input(h, HARNESS_A, &frame);
		assert_int_equal(h->misses, hit ? 0 : 1);
		expect_out(3, HARNESS_B);
		for (unsigned i = 0; i < 3; i++) {
			frame_read(&result, h->out[i]);
			assert_null(frame_fault(result.bytes, result.length));
			assert_int_equal(result.bytes[22], 63);
			assert_int_equal(result.bytes[5], 2);
		}
		harness_clear(h);
	}
	/* Expired, and tunnelled. */
	frame_build(&frame, &(struct frame_spec){ .payload = 4000, .ttl = 1 });
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->ttl_expired, 1);
	atomic_fetch_add(&h->vpc.epoch, 1);
	harness_set_actions(h, harness_encap(HARNESS_A, HARNESS_VXLAN_V4), harness_local(HARNESS_UPLINK, HARNESS_A));
	frame_build(&frame, &(struct frame_spec){ .payload = 4000 });
	harness_input(h, HARNESS_A, &frame);
	expect_out(3, HARNESS_UPLINK);
	frame_read(&result, h->out[1]);
	assert_null(frame_fault(result.bytes, result.length));
}

static void trailing_bytes(void **state)
{
	frame_build(&frame, &a_to_b);
	memset(frame.bytes + frame.length, 1, 5000);
	frame.length += 5000;
	harness_input(h, HARNESS_A, &frame);
	frame_build(&expected, &a_to_b_routed);
	expect_frame();
}

static struct rte_mbuf *tso_frame(const struct frame_spec *spec, uint16_t size)
{
	frame_build(&frame, spec);
	struct rte_mbuf *m = frame_mbuf_split(&frame, (uint32_t[]){ 1000, 0 });
	m->ol_flags =
		RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | (spec->src ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4);
	m->l2_len = 14;
	m->l3_len = spec->src ? 40 : 20;
	m->l4_len = 20;
	m->tso_segsz = size;
	return m;
}

/* TSO requests stay as they are between vNICs, and become segments behind a tunnel of any kind. */
static void offloads(void **state)
{
	static struct rte_mbuf *segments[64];
	struct frame_spec spec = { .proto = IPPROTO_TCP, .payload = 40000, .fragment = 0x4000 };

	for (unsigned i = 0; i < 10; i++) {
		unsigned tunnel = i % 5, count = 0;
		spec.src = i / 5 ? v6_src : NULL;
		spec.dst = i / 5 ? v6_dst : NULL;
		atomic_fetch_add(&h->vpc.epoch, 1);
		harness_set_actions(h, tunnel ? harness_encap(HARNESS_A, tunnel) : harness_local(HARNESS_A, HARNESS_B),
				    harness_local(HARNESS_UPLINK, HARNESS_A));
		struct rte_mbuf *m = tso_frame(&spec, 1400);
		uint64_t flags = m->ol_flags;
		harness_input_mbuf(h, HARNESS_A, m);
		assert_int_equal(h->out_count, 1);
		m = h->out[0];
		assert_int_equal(m->tso_segsz, 1400);
		if (!tunnel)
			assert_int_equal(m->ol_flags, flags);
		assert_int_equal(packet_segment(m, test_pool(), segments, RTE_DIM(segments), &count), DROP_NONE);
		assert_int_equal(count, 29);
		for (unsigned n = 0; n < count; n++) {
			frame_read(&result, segments[n]);
			assert_null(frame_fault(result.bytes, result.length));
			rte_pktmbuf_free(segments[n]);
		}
		h->out_count = 0;
		harness_clear(h);
	}
}

static void offloads_and_mtu(void **state)
{
	struct frame_spec spec = { .proto = IPPROTO_TCP, .payload = 4000, .fragment = 0x4000 };

	harness_input_mbuf(h, HARNESS_A, tso_frame(&spec, 1460));
	expect_out(1, HARNESS_B);
	harness_input_mbuf(h, HARNESS_A, tso_frame(&spec, 1461));
	assert_int_equal(h->too_big, 1);
	spec.fragment = 0; /* may be cut smaller */
	harness_input_mbuf(h, HARNESS_A, tso_frame(&spec, 1461));
	expect_out(2, HARNESS_B);
	assert_int_equal(h->out[1]->tso_segsz, 1460);
	spec.src = v6_src;
	spec.dst = v6_dst;
	harness_input_mbuf(h, HARNESS_A, tso_frame(&spec, 1441));
	assert_int_equal(h->too_big, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PATH_CASE(too_big),  PATH_CASE(fragmented),       PATH_CASE(trailing_bytes),
		PATH_CASE(offloads), PATH_CASE(offloads_and_mtu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
