/* SPDX-License-Identifier: BSD-3-Clause */
/* The packet path as a whole: burst in, burst out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include <netinet/in.h>
#include "device/packet/packet_priv.h"
#include "device/packet/path_harness.h"
#include "device/packet/segment.h"

static struct harness *h;
static struct frame frame, inner, expected, result;

static int setup(void **state)
{
	h = harness_new();
	return 0;
}

static int teardown(void **state)
{
	harness_free(h);
	return test_pool_used() ? -1 : 0;
}

static void expect_drops(enum drop_reason reason, uint64_t count)
{
	if (path_drops(h->path, reason) != count) {
		for (unsigned i = 0; i < DROP_REASON_COUNT; i++)
			if (path_drops(h->path, i))
				fprintf(stderr, "%s: %lu\n", drop_reason_name(i), path_drops(h->path, i));
		fail_msg("expected %lu of %s", count, drop_reason_name(reason));
	}
}

static void expect_out(unsigned count, uint16_t iface)
{
	assert_int_equal(h->out_count, count);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(h->out_iface[i], iface);
}

/* The frame that came out last is `expected`. */
static void expect_frame(void)
{
	assert_true(h->out_count > 0);
	frame_read(&result, h->out[h->out_count - 1]);
	if (!frame_equal(&result, &expected)) {
		frame_dump(&expected);
		frame_dump(&result);
		fail_msg("frames differ");
	}
}

/* A→B, and what becomes of it behind the router. */
static const struct frame_spec a_to_b = { .payload = 100 };
static const struct frame_spec a_to_b_routed = { .payload = 100, .ttl = 63, .src_mac = "02:00:00:00:00:fe" };
static const struct frame_spec b_to_a = { .src = "10.0.0.2",
					  .dst = "10.0.0.1",
					  .src_port = 2000,
					  .dst_port = 1000,
					  .src_mac = "02:00:00:00:00:02",
					  .dst_mac = "02:00:00:00:00:fe" };

static void miss_then_hit(void **state)
{
	frame_build(&frame, &a_to_b);
	frame_build(&expected, &a_to_b_routed);
	for (unsigned i = 0; i < 3; i++) {
		harness_input(h, HARNESS_A, &frame);
		assert_int_equal(h->misses, 1);
		expect_out(i + 1, HARNESS_B);
		expect_frame();
	}
	/* The reverse direction is in force, too. */
	frame_build(&frame, &b_to_a);
	harness_input(h, HARNESS_B, &frame);
	assert_int_equal(h->misses, 1);
	assert_int_equal(h->out_iface[3], HARNESS_A);

	const struct path_iface_counters *a = path_iface_counters(h->path, HARNESS_A);
	assert_int_equal(a->rx_packets, 3);
	assert_int_equal(a->rx_bytes, 3 * 142);
	assert_int_equal(a->misses, 1);
	assert_int_equal(a->tx_packets, 1);
	const struct path_vpc_counters *vpc = path_vpc_counters(h->path, HARNESS_VPC);
	assert_int_equal(vpc->packets, 4);
	assert_int_equal(vpc->bytes, 3 * 142 + 42);
	assert_int_equal(vpc->sessions_created, 1);
}

static struct session *the_session(const struct frame *f, unsigned *ret_direction)
{
	struct packet_info info = { 0 };
	struct rte_mbuf *m = frame_mbuf(f);

	assert_int_equal(packet_parse(m, HARNESS_VPC, &info), DROP_NONE);
	rte_pktmbuf_free(m);
	uint32_t hash = flow_key_hash(&info.key, path_seed(h->path));
	return session_find(path_table(h->path, &info.key, hash), &info.key, hash, ret_direction);
}

static void session_counters(void **state)
{
	unsigned direction;

	frame_build(&frame, &a_to_b);
	for (unsigned i = 0; i < 5; i++)
		harness_input(h, HARNESS_A, &frame);
	struct session *session = the_session(&frame, &direction);
	assert_non_null(session);
	assert_int_equal(session->dir[direction].packets, 5);
	assert_int_equal(session->dir[direction].bytes, 5 * 142);
	assert_int_equal(session->dir[!direction].packets, 0);
	uint64_t later = path_now_ns(h->path) + UINT64_C(10000000000);
	path_tick(h->path, later);
	harness_input(h, HARNESS_A, &frame);
	assert_true(session->dir[direction].last_seen >= 16 * (later / 1000000000));
}

static void burst_of_a_new_flow(void **state)
{
	struct rte_mbuf *burst[PATH_BURST];

	for (unsigned i = 0; i < PATH_BURST; i++) {
		struct frame_spec spec = a_to_b;
		spec.src_port = (uint16_t)(100 + i % 2);
		spec.payload = i;
		frame_build(&frame, &spec);
		burst[i] = frame_mbuf(&frame);
	}
	path_input(h->path, HARNESS_A, burst, PATH_BURST);
	assert_int_equal(h->misses, 2);
	expect_out(PATH_BURST, HARNESS_B);
	for (unsigned i = 0; i < PATH_BURST; i++) /* in order */
		assert_int_equal(h->out[i]->pkt_len, 42 + i);
}

static void epoch_and_interface(void **state)
{
	frame_build(&frame, &a_to_b);
	harness_input(h, HARNESS_A, &frame);
	atomic_store(&h->vpc.epoch, 2);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->misses, 2);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->misses, 2);
	/* The same flow by another interface. */
	h->open_sessions = false;
	memcpy(frame.bytes + 6, h->ifaces[2].mac.bytes, 6);
	harness_input(h, HARNESS_B, &frame);
	assert_int_equal(h->misses, 3);
	expect_out(3, HARNESS_B);
	/* A session that policy wants to see each packet of. */
	unsigned direction;
	struct session *session = the_session(&frame, &direction);
	session->dir[direction].ops |= SESSION_OP_SLOW;
	memcpy(frame.bytes + 6, h->ifaces[1].mac.bytes, 6);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->misses, 4);
}

static void interfaces(void **state)
{
	frame_build(&frame, &a_to_b);
	harness_input(h, 77, &frame);
	expect_drops(DROP_UNKNOWN_INTERFACE, 1);
	harness_input(h, HARNESS_B, &frame); /* A's MAC */
	expect_drops(DROP_SPOOFED_MAC, 1);
	assert_int_equal(path_iface_counters(h->path, HARNESS_B)->rx_drops, 1);
	assert_int_equal(path_vpc_counters(h->path, HARNESS_VPC)->drops, 1);
	h->ifaces[2].check_mac = false;
	h->forward.in_iface = HARNESS_B;
	harness_input(h, HARNESS_B, &frame);
	assert_int_equal(h->out_count, 1);
	atomic_store(&h->config->vpcs[HARNESS_VPC], NULL);
	harness_input(h, HARNESS_A, &frame);
	expect_drops(DROP_UNKNOWN_INTERFACE, 2);
	frame.length = 20;
	atomic_store(&h->config->vpcs[HARNESS_VPC], &h->vpc);
	harness_input(h, HARNESS_A, &frame);
	expect_drops(DROP_TRUNCATED, 1);
}

static void services_always_miss(void **state)
{
	struct rte_mbuf *burst[PATH_BURST];

	for (unsigned i = 0; i < PATH_BURST; i++) {
		frame_build(&frame, &(struct frame_spec){ .src_port = i % 3 ? 68 : 1, .dst_port = 67 });
		burst[i] = frame_mbuf(&frame);
	}
	path_input(h->path, HARNESS_A, burst, PATH_BURST);
	assert_int_equal(h->misses, 21 + 1); /* 21 of DHCP; 11 of a flow that has nothing to do with it */
	expect_out(11, HARNESS_B);
	for (unsigned i = 0; i < PATH_BURST; i++) {
		frame_build(&frame, &(struct frame_spec){ .src_port = 68, .dst_port = 67 });
		burst[i] = frame_mbuf(&frame);
	}
	path_input(h->path, HARNESS_A, burst, PATH_BURST);
	assert_int_equal(h->misses, 22 + 32);
}

static void keep_source_mac(void **state)
{
	struct session_dir dir = harness_local(HARNESS_A, HARNESS_B);

	dir.ops = SESSION_OP_SET_MACS | SESSION_OP_KEEP_SRC_MAC;
	harness_set_actions(h, dir, dir);
	frame_build(&frame, &a_to_b);
	frame_build(&expected, &(struct frame_spec){ .payload = 100, .dst_mac = "02:00:00:00:00:02" });
	harness_input(h, HARNESS_A, &frame);
	expect_frame();
	dir.ops = 0;
	atomic_fetch_add(&h->vpc.epoch, 1);
	harness_set_actions(h, dir, dir);
	harness_input(h, HARNESS_A, &frame);
	expected = frame;
	expect_frame();
}

/* ---- TTL, MTU ---- */

static void ttl(void **state)
{
	struct frame_spec spec = a_to_b;

	for (unsigned v6 = 0; v6 < 2; v6++) {
		if (v6) {
			spec.src = "fd00::1";
			spec.dst = "fd00::2";
		}
		spec.ttl = 2;
		frame_build(&frame, &spec);
		harness_input(h, HARNESS_A, &frame);
		frame_read(&result, h->out[0]);
		assert_null(frame_fault(result.bytes, result.length));
		assert_int_equal(result.bytes[v6 ? 21 : 22], 1);
		spec.ttl = 1;
		frame_build(&frame, &spec);
		harness_input(h, HARNESS_A, &frame);
		assert_int_equal(h->ttl_expired, 1);
		assert_int_equal(h->misses, 1);
		expect_out(1, HARNESS_B);
		harness_clear(h);
	}
	expect_drops(DROP_TTL_EXPIRED, 2);
}

/* Every checksum that a header can have, through the short way of counting the TTL down. */
static void ttl_checksums(void **state)
{
	for (uint32_t id = 0; id < 65536; id += 7) {
		struct frame_spec spec = a_to_b;
		spec.payload = 0;
		spec.id = (uint16_t)id;
		frame_build(&frame, &spec);
		harness_input(h, HARNESS_A, &frame);
		frame_read(&result, h->out[0]);
		assert_null(frame_fault(result.bytes, result.length));
		harness_clear(h);
	}
}

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

/* ---- tunnels ---- */

static const char *const v6_src = "fd00::1", *const v6_dst = "fd00::2";

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

static const struct tunnel_spec from_peer = { .vni = HARNESS_VNI,
					      .src_mac = "02:00:00:00:01:01",
					      .dst_mac = "02:00:00:00:01:02" };

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

/* ---- offloads ---- */

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

/* ---- TCP ---- */

static void tcp(void **state)
{
	struct frame_spec spec = { .proto = IPPROTO_TCP, .tcp_flags = 2 };
	struct frame_spec back = b_to_a;

	back.proto = IPPROTO_TCP;
	frame_build(&frame, &spec);
	harness_input(h, HARNESS_A, &frame);
	back.tcp_flags = 0x12;
	frame_build(&frame, &back);
	harness_input(h, HARNESS_B, &frame);
	spec.tcp_flags = 0x10;
	frame_build(&frame, &spec);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->out_count, 3);
	unsigned direction;
	struct session *session = the_session(&frame, &direction);
	assert_int_equal(session->tcp_state, TCP_ESTABLISHED);
	assert_false(session->dir[0].ops & SESSION_OP_TRACK);
	/* SYN with FIN is no TCP. */
	spec.tcp_flags = 3;
	frame_build(&frame, &spec);
	harness_input(h, HARNESS_A, &frame);
	expect_drops(DROP_TCP_INVALID, 1);
	assert_int_equal(h->misses, 1);
	/* Closed by both sides, then opened again: policy is asked again. */
	spec.tcp_flags = back.tcp_flags = 0x11;
	frame_build(&frame, &spec);
	harness_input(h, HARNESS_A, &frame);
	frame_build(&frame, &back);
	harness_input(h, HARNESS_B, &frame);
	spec.tcp_flags = 0x10;
	frame_build(&frame, &spec);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->misses, 1);
	spec.tcp_flags = 2;
	frame_build(&frame, &spec);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->misses, 2);
	assert_int_equal(h->out_count, 7);
	assert_int_equal(session->tcp_state, TCP_SYN_SENT);
}

/* ---- capture, frames of our own, several interfaces ---- */

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

static void memory_ahead(void **state)
{
	frame_build(&frame, &a_to_b);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(path_grow_ahead(h->path), 0);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->misses, 1);
}

static struct path *open_path_in(const char *folder, uint64_t seed)
{
	static const struct path_service nothing;
	struct path_options options = {
		.config = h->config, .service = &nothing, .state_dir = folder, .max_sessions = 10, .seed = seed
	};
	struct path *path;

	assert_int_equal(path_new(&options, &path, NULL), 0);
	return path;
}

static void seed_is_found_again(void **state)
{
	char folder[] = "/tmp/softdpu-path-XXXXXX", file[100];
	uint64_t seed = 5;

	assert_non_null(mkdtemp(folder));
	assert_int_equal(path_saved_seed(folder, &seed), -ENOENT);
	assert_int_equal(seed, 5);
	path_free(open_path_in(folder, 4711));
	assert_int_equal(path_saved_seed(folder, &seed), 0);
	assert_int_equal(seed, 4711);
	for (unsigned i = 0; i < 2 * PATH_SLOTS; i++) {
		snprintf(file, sizeof(file), "%s/sessions-%02u.v%c", folder, i / 2, i & 1 ? '6' : '4');
		/* As long as one file is good. */
		assert_int_equal(path_saved_seed(folder, &seed), 0);
		assert_int_equal(truncate(file, 10), 0);
	}
	assert_int_equal(path_saved_seed(folder, &seed), -ENOENT);
	for (unsigned i = 0; i < 2 * PATH_SLOTS; i++) {
		snprintf(file, sizeof(file), "%s/sessions-%02u.v%c", folder, i / 2, i & 1 ? '6' : '4');
		assert_int_equal(unlink(file), 0);
	}
	assert_int_equal(rmdir(folder), 0);
}

static void ageing(void **state)
{
	unsigned direction;

	frame_build(&frame, &a_to_b);
	harness_input(h, HARNESS_A, &frame);
	assert_non_null(the_session(&frame, &direction));
	uint64_t now = path_now_ns(h->path);
	for (unsigned second = 0; second < 200; second++)
		path_tick(h->path, now + second * UINT64_C(1000000000));
	assert_int_equal(h->removed, 1);
	assert_null(the_session(&frame, &direction));
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		test(miss_then_hit),
		test(session_counters),
		test(burst_of_a_new_flow),
		test(epoch_and_interface),
		test(interfaces),
		test(services_always_miss),
		test(keep_source_mac),
		test(ttl),
		test(ttl_checksums),
		test(too_big),
		test(fragmented),
		test(trailing_bytes),
		test(encap),
		test(entropy),
		test(encap_without_headroom),
		test(encap_to_nowhere),
		test(decap),
		test(decap_from_one_endpoint),
		test(decap_refused),
		test(members),
		test(offloads),
		test(offloads_and_mtu),
		test(tcp),
		test(capture),
		test(own_frames),
		test(output_by_interface),
		test(mixed_bursts),
		test(memory_ahead),
		test(seed_is_found_again),
		test(ageing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
