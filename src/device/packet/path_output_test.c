/* SPDX-License-Identifier: BSD-3-Clause */
/* The packet path's way out and what watches it: captures, frames of our own, several interfaces, bursts of all kinds.
 */
#include "device/packet/path_fixture.h"

#include <stdlib.h>
#include <netinet/in.h>
#include "device/packet/packet_priv.h"
#include "device/packet/segment.h"

static void capture(void **state)
{
	frame_build(&inner, &a_to_b);
	frame_tunnel(&frame, &from_peer, &inner);
	h->forward.in_iface = HARNESS_UPLINK;
	harness_input(h, HARNESS_UPLINK, &frame);
	for (unsigned i = 0; i < CAPTURE_STAGES; i++)
		assert_int_equal(h->captured[i], 0);
	path_set_capture(h->path, true);
	harness_input(h, HARNESS_UPLINK, &frame);
	assert_int_equal(h->captured[CAPTURE_RX], 1);
	assert_int_equal(h->captured[CAPTURE_DECAP], 1);
	assert_int_equal(h->captured[CAPTURE_MISS], 0);
	assert_int_equal(h->captured[CAPTURE_TX], 1);
	frame.length = 13;
	harness_input(h, HARNESS_UPLINK, &frame);
	assert_int_equal(h->captured[CAPTURE_DROP], 1);
	assert_int_equal(h->captured_reason, DROP_TRUNCATED);
	frame_build(&frame, &(struct frame_spec){ .src_port = 9 });
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->captured[CAPTURE_MISS], 1);
}

static void own_frames(void **state)
{
	frame_build(&frame, &a_to_b);
	path_send(h->path, HARNESS_B, frame_mbuf(&frame)); /* outside a burst: at once */
	expect_out(1, HARNESS_B);
	for (unsigned i = HARNESS_VXLAN_V4; i <= HARNESS_GENEVE_V6; i++) {
		harness_clear(h);
		path_send_tunnel(h->path, &h->tunnels[i], 77, 0x12345678, frame_mbuf(&frame));
		expect_out(1, HARNESS_UPLINK);
		/* No lengths of an inner header were given: only the outer checksum can be asked for. */
		assert_int_equal(packet_checksum(h->out[0]), DROP_NONE);
		frame_read(&result, h->out[0]);
		assert_null(frame_fault(result.bytes, result.length));
	}
	path_send_tunnel(h->path, &h->tunnels[HARNESS_UNRESOLVED], 77, 0, frame_mbuf(&frame));
	expect_drops(DROP_NEIGHBOUR_UNRESOLVED, 1);
}

static void output_by_interface(void **state)
{
	struct rte_mbuf *burst[PATH_BURST];

	/* Flows of odd source ports go to the uplink, the others to B. */
	for (unsigned i = 0; i < 2; i++) {
		harness_set_actions(
			h, i ? harness_encap(HARNESS_A, HARNESS_VXLAN_V4) : harness_local(HARNESS_A, HARNESS_B),
			harness_local(HARNESS_B, HARNESS_A));
		frame_build(&frame, &(struct frame_spec){ .src_port = (uint16_t)(10 + i) });
		harness_input(h, HARNESS_A, &frame);
	}
	harness_clear(h);
	for (unsigned i = 0; i < PATH_BURST; i++) {
		frame_build(&frame, &(struct frame_spec){ .src_port = (uint16_t)(10 + i % 2), .payload = i });
		burst[i] = frame_mbuf(&frame);
	}
	path_input(h->path, HARNESS_A, burst, PATH_BURST);
	assert_int_equal(h->misses, 0);
	assert_int_equal(h->out_count, PATH_BURST);
	for (unsigned i = 0; i < PATH_BURST; i++) {
		bool uplink = i >= PATH_BURST / 2;
		assert_int_equal(h->out_iface[i], uplink ? HARNESS_UPLINK : HARNESS_B);
		assert_int_equal(h->out[i]->pkt_len, 42 + i % 16 * 2 + (uplink ? 51 : 0));
	}
}

/* Bursts of all kinds of packets, odd and plain, of either family, known flows and new ones: all come out right. */
static void mixed_bursts(void **state)
{
	static const struct frame_spec kinds[] = {
		{ .payload = 40 },
		{ .payload = 1 },
		{ .proto = IPPROTO_TCP, .payload = 9 },
		{ .proto = IPPROTO_TCP, .ip_options_length = 12, .payload = 9 },
		{ .proto = IPPROTO_ICMP, .dst_port = 0x0800 },
		{ .proto = IPPROTO_ESP, .payload = 50 },
		{ .src = "fd00::1", .dst = "fd00::2", .payload = 40 },
		{ .src = "fd00::1", .dst = "fd00::2", .proto = IPPROTO_TCP },
		{ .src = "fd00::1", .dst = "fd00::2", .proto = IPPROTO_ICMPV6, .dst_port = 0x8000 },
	};
	static struct frame_spec specs[PATH_BURST];
	struct rte_mbuf *burst[PATH_BURST];

	srand(5);
	for (unsigned round = 0; round < 500; round++) {
		unsigned from = (unsigned)rand() % 4 * 3, span = round % 3 ? 3 : RTE_DIM(kinds);
		for (unsigned i = 0; i < PATH_BURST; i++) {
			specs[i] = kinds[(from + (unsigned)rand() % span) % RTE_DIM(kinds)];
			specs[i].src_port = (uint16_t)(1 + rand() % 200);
			frame_build(&frame, &specs[i]);
			burst[i] = frame_mbuf_split(&frame, (uint32_t[]){ rand() % 8 ? 0 : 30, 0 });
		}
		harness_clear(h);
		path_input(h->path, HARNESS_A, burst, PATH_BURST);
		expect_out(PATH_BURST, HARNESS_B);
		/* Hits come out before misses, each in order; so look for each. */
		for (unsigned i = 0; i < PATH_BURST; i++) {
			unsigned n = 0;
			specs[i].ttl = 63;
			specs[i].src_mac = "02:00:00:00:00:fe";
			frame_build(&expected, &specs[i]);
			for (; n < h->out_count; n++) {
				frame_read(&result, h->out[n]);
				if (frame_equal(&result, &expected))
					break;
			}
			assert_true(n < h->out_count);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PATH_CASE(capture),
		PATH_CASE(own_frames),
		PATH_CASE(output_by_interface),
		PATH_CASE(mixed_bursts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
