/* SPDX-License-Identifier: BSD-3-Clause */
/* The packet path and tunnels: encapsulation byte for byte, decapsulation and what it refuses, the engine's own. */
#include "device/packet/path_fixture.h"

#include <netinet/in.h>
#include "device/packet/packet_priv.h"
#include "device/packet/segment.h"

/* Byte for byte, every kind of tunnel and inner family. */
static void encap(void **state)
{
	for (unsigned i = 0; i < 2 * 4 * 3; i++) {
		uint32_t tunnel = 1 + i % 4;
		bool v6 = i / 4 % 2, outer_v6 = h->tunnels[tunnel].v6;
		static const uint8_t tos[] = { 0, 0xbb, 0x29 };
		struct frame_spec spec = { .src = v6 ? v6_src : NULL,
					   .dst = v6 ? v6_dst : NULL,
					   .payload = 77,
					   .tos = tos[i / 8],
					   .src_port = (uint16_t)(3000 + i) };
		atomic_fetch_add(&h->vpc.epoch, 1);
		harness_set_actions(h, harness_encap(HARNESS_A, tunnel), harness_local(HARNESS_UPLINK, HARNESS_A));
		frame_build(&frame, &spec);
		harness_input(h, HARNESS_A, &frame);
		harness_input(h, HARNESS_A, &frame);
		expect_out(2, HARNESS_UPLINK);
		assert_int_equal(packet_checksum(h->out[1]), DROP_NONE);
		frame_read(&result, h->out[1]);

		spec.ttl = 63;
		spec.src_mac = "02:00:00:00:00:fe";
		spec.dst_mac = "02:00:00:00:00:99";
		frame_build(&inner, &spec);
		uint16_t port = load_be16(result.bytes + (outer_v6 ? 54 : 34));
		assert_true(port >= 49152);
		frame_tunnel(&expected,
			     &(struct tunnel_spec){ .src = outer_v6 ? "2001:db8::2" : "192.0.2.2",
						    .dst = outer_v6 ? "2001:db8::1" : "192.0.2.1",
						    .src_mac = "02:00:00:00:01:02",
						    .dst_mac = "02:00:00:00:01:01",
						    .geneve = tunnel >= HARNESS_GENEVE_V4,
						    .vni = HARNESS_VNI,
						    .src_port = port,
						    .tos = tos[i / 8],
						    .udp_checksum = outer_v6 },
			     &inner);
		if (outer_v6) { /* the flow label is not ours to foresee, and nothing sums it up */
			memcpy(expected.bytes + 16, result.bytes + 16, 2);
			expected.bytes[15] = (uint8_t)((expected.bytes[15] & 0xf0) | (result.bytes[15] & 0x0f));
		}
		expect_frame();
		harness_clear(h);
	}
	assert_int_equal(path_vpc_counters(h->path, HARNESS_VPC)->encapsulated, 2 * 24);
}

/* Flows differ in their outer source port. */
static void entropy(void **state)
{
	uint16_t first = 0, differ = 0;

	harness_set_actions(h, harness_encap(HARNESS_A, HARNESS_VXLAN_V4), harness_local(HARNESS_UPLINK, HARNESS_A));
	for (unsigned i = 0; i < 64; i++) {
		frame_build(&frame, &(struct frame_spec){ .src_port = (uint16_t)(5000 + i) });
		harness_input(h, HARNESS_A, &frame);
		frame_read(&result, h->out[i]);
		uint16_t port = load_be16(result.bytes + 34);
		first = i ? first : port;
		differ += port != first;
	}
	assert_true(differ > 60);
}

static void encap_without_headroom(void **state)
{
	harness_set_actions(h, harness_encap(HARNESS_A, HARNESS_VXLAN_V6), harness_local(HARNESS_UPLINK, HARNESS_A));
	for (unsigned room = 0; room < 128; room += 23) {
		frame_build(&frame, &a_to_b);
		struct rte_mbuf *m = frame_mbuf(&frame);
		memmove((uint8_t *)m->buf_addr + room, packet_at(m, 0), frame.length);
		m->data_off = (uint16_t)room;
		harness_input_mbuf(h, HARNESS_A, m);
		expect_out(1, HARNESS_UPLINK);
		assert_int_equal(packet_checksum(h->out[0]), DROP_NONE);
		frame_read(&result, h->out[0]);
		assert_null(frame_fault(result.bytes, result.length));
		assert_int_equal(result.length, frame.length + 70);
		harness_clear(h);
	}
}

static void encap_to_nowhere(void **state)
{
	harness_set_actions(h, harness_encap(HARNESS_A, HARNESS_UNRESOLVED), harness_local(HARNESS_UPLINK, HARNESS_A));
	frame_build(&frame, &a_to_b);
	harness_input(h, HARNESS_A, &frame);
	h->forward.tunnel = 4711; /* no such record */
	atomic_fetch_add(&h->vpc.epoch, 1);
	harness_input(h, HARNESS_A, &frame);
	h->forward.tunnel = UINT32_MAX;
	atomic_fetch_add(&h->vpc.epoch, 1);
	harness_input(h, HARNESS_A, &frame);
	expect_drops(DROP_NEIGHBOUR_UNRESOLVED, 3);
	assert_int_equal(h->out_count, 0);
}

static void decap(void **state)
{
	harness_set_actions(h, harness_local(HARNESS_UPLINK, HARNESS_B), harness_encap(HARNESS_B, HARNESS_VXLAN_V4));
	for (unsigned i = 0; i < 8; i++) {
		struct tunnel_spec tunnel = from_peer;
		struct frame_spec spec = a_to_b;
		tunnel.geneve = i & 1;
		tunnel.geneve_options = 3;
		if (i & 2) {
			tunnel.src = "2001:db8::1";
			tunnel.dst = "2001:db8::2";
		}
		if (i & 4) {
			spec.src = v6_src;
			spec.dst = v6_dst;
		}
		frame_build(&inner, &spec);
		frame_tunnel(&frame, &tunnel, &inner);
		harness_input(h, HARNESS_UPLINK, &frame);
		harness_input(h, HARNESS_UPLINK, &frame);
		expect_out(2, HARNESS_B);
		assert_int_equal(h->misses, i & 3 ? 0 : 1);
		spec.ttl = 63;
		spec.src_mac = "02:00:00:00:00:fe";
		frame_build(&expected, &spec);
		expect_frame();
		harness_clear(h);
	}
	assert_int_equal(path_vpc_counters(h->path, HARNESS_VPC)->decapsulated, 16);
}

/* Hits come from the tunnel endpoint that the session names, by the short way and the exact one, and in a burst whose
 * first packet has only just opened the session. */
static void decap_from_one_endpoint(void **state)
{
	static struct frame frames[3];
	struct session_dir action = harness_local(HARNESS_UPLINK, HARNESS_B);

	for (unsigned i = 0; i < 8; i++) {
		bool outer_v6 = i & 1, v6 = i & 2;
		const char *from[] = { outer_v6 ? "2001:db8::1" : "192.0.2.1", outer_v6 ? "2001:db8::3" : "192.0.2.3" };
		struct tunnel_spec tunnel = from_peer;
		struct ip_addr peer = test_ip(from[0]);
		action.tunnel = path_vtep_tag(h->config, peer.bytes, outer_v6);
		harness_set_actions(h, action, harness_encap(HARNESS_B, HARNESS_VXLAN_V4));
		tunnel.dst = outer_v6 ? "2001:db8::2" : NULL;
		tunnel.udp_checksum = i & 4; /* not by the short way */
		frame_build(&inner, &(struct frame_spec){
					    .src = v6 ? v6_src : NULL, .dst = v6 ? v6_dst : NULL, .src_port = 50 + i });
		for (unsigned n = 0; n < 3; n++) {
			tunnel.src = from[n == 1];
			frame_tunnel(&frames[n], &tunnel, &inner);
		}
		struct rte_mbuf *burst[3];
		for (unsigned n = 0; n < 3; n++)
			burst[n] = frame_mbuf(&frames[n]);
		h->misses = 0;
		path_input(h->path, HARNESS_UPLINK, burst, 3);
		assert_int_equal(h->misses, 2); /* the first, and the one that the service would refuse */
		h->open_sessions = false;
		harness_input(h, HARNESS_UPLINK, &frames[0]);
		assert_int_equal(h->misses, 2);
		harness_input(h, HARNESS_UPLINK, &frames[1]);
		assert_int_equal(h->misses, 3);
		h->open_sessions = true;
		harness_clear(h);
	}
}

static void decap_refused(void **state)
{
	struct tunnel_spec tunnel = from_peer;

	frame_build(&inner, &(struct frame_spec){ .dst = "192.0.2.2", .dst_port = 4789 });
	frame_tunnel(&frame, &tunnel, &inner);
	harness_input(h, HARNESS_UPLINK, &frame);
	frame_build(&inner, &(struct frame_spec){ .src = v6_src, .dst = "2001:db8::2", .dst_port = 6081 });
	frame_tunnel(&frame, &tunnel, &inner);
	harness_input(h, HARNESS_UPLINK, &frame);
	expect_drops(DROP_TUNNEL_IN_TUNNEL, 2);
	/* A tenant's own VXLAN, and other UDP for that address, are nobody's business. */
	h->forward.in_iface = HARNESS_UPLINK;
	frame_build(&inner, &(struct frame_spec){ .dst_port = 4789 });
	frame_tunnel(&frame, &tunnel, &inner);
	harness_input(h, HARNESS_UPLINK, &frame);
	frame_build(&inner, &(struct frame_spec){ .dst = "192.0.2.2", .dst_port = 53 });
	frame_tunnel(&frame, &tunnel, &inner);
	harness_input(h, HARNESS_UPLINK, &frame);
	assert_int_equal(h->out_count, 2);

	tunnel.vni++;
	frame_tunnel(&frame, &tunnel, &inner);
	harness_input(h, HARNESS_UPLINK, &frame);
	expect_drops(DROP_UNKNOWN_VNI, 1);
	tunnel.vni--;
	tunnel.dst_mac = "02:00:00:00:01:03"; /* another host's */
	frame_tunnel(&frame, &tunnel, &inner);
	harness_input(h, HARNESS_UPLINK, &frame);
	expect_drops(DROP_NOT_FOR_US, 1);
	tunnel.dst_mac = "02:00:00:00:01:02";
	frame_tunnel(&frame, &tunnel, &inner);
	store_be16(frame.bytes + 50 + 12, 0x8100); /* RFC 7348 6.1: no VLAN tags inside */
	harness_input(h, HARNESS_UPLINK, &frame);
	expect_drops(DROP_VLAN_TAGGED, 1);
	/* To the underlay's own services. */
	frame_build(&frame,
		    &(struct frame_spec){ .dst = "192.0.2.2", .proto = IPPROTO_ICMP, .dst_mac = "02:00:00:00:01:02" });
	harness_input(h, HARNESS_UPLINK, &frame);
	assert_int_equal(h->underlay, 1);
}

/* Interfaces and tunnels of an eswitch are its engine's; one that has no representor is nobody's. */
static void members(void **state)
{
	const struct path_iface member = { .id = HARNESS_A, .kind = PATH_IFACE_MEMBER, .representor = 7 },
				unbound = { .id = HARNESS_A, .kind = PATH_IFACE_MEMBER },
				representor = { .id = PATH_FIRST_REPRESENTOR + 7,
						.kind = PATH_IFACE_REPRESENTOR,
						.representor = 7 };
	struct tunnel_spec tunnel = from_peer;

	tunnel.vni += 7;
	atomic_store(&h->config->ifaces[HARNESS_A], (struct path_iface *)&member);
	atomic_store(&h->config->ifaces[representor.id], (struct path_iface *)&representor);
	frame_build(&frame, &(struct frame_spec){ 0 });
	frame.bytes[12] = 0x88, frame.bytes[13] = 0xcc; /* LLDP: whatever it is */
	harness_input(h, HARNESS_A, &frame);
	expect_out(1, representor.id);
	harness_clear(h);
	harness_input(h, representor.id, &frame);
	expect_out(1, HARNESS_A);
	harness_clear(h);
	atomic_store(&h->config->ifaces[HARNESS_A], (struct path_iface *)&unbound);
	harness_input(h, HARNESS_A, &frame);
	expect_drops(DROP_UNBOUND_INTERFACE, 1);

	assert_int_equal(path_vni_set(h->config, TUNNEL_VXLAN, tunnel.vni, representor.id, NULL, NULL), 0);
	frame_tunnel(&frame, &tunnel, (frame_build(&inner, &(struct frame_spec){ 0 }), &inner));
	harness_input(h, HARNESS_UPLINK, &frame);
	expect_out(1, representor.id);
	assert_int_equal(h->tunnelled_slot, representor.id);
	assert_int_equal(h->tunnelled_tag, RTE_BE32(0xc0000201));
	atomic_store(&h->config->ifaces[representor.id], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PATH_CASE(encap),
		PATH_CASE(entropy),
		PATH_CASE(encap_without_headroom),
		PATH_CASE(encap_to_nowhere),
		PATH_CASE(decap),
		PATH_CASE(decap_from_one_endpoint),
		PATH_CASE(decap_refused),
		PATH_CASE(members),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
