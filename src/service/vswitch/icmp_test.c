/* SPDX-License-Identifier: BSD-3-Clause */
/* ICMP errors: those of tenants and routers reach the flow that they are about and nothing else; those of our own say
 * the right thing to the right one, and not too often. */
#include "service/vswitch/testpackets.h"
#include "service/vswitch/testworld.h"

#include <netinet/in.h>

/* ---- errors about a flow ---- */

/* An error from `from` to `to` that quotes the IP packet of `quoted`. */
static void build_error(struct frame *ret, const char *from, const char *to, const char *src_mac, uint8_t type,
			uint8_t code, const struct frame *quoted, uint32_t quoted_bytes)
{
	struct error_spec spec = { src_mac, from, to, type, code, 0, quoted, quoted_bytes };
	frame_icmp_error(ret, &spec);
}

static const struct family {
	const char *a, *b, *c, *remote, *router;
	uint8_t unreachable, code;
} families[2] = {
	{ "10.0.0.11", "10.0.0.12", "10.0.1.13", "10.0.0.21", "10.99.0.1", 3, 3 },
	{ "fd00:a::11", "fd00:a::12", "fd00:b::13", "fd00:a::21", "fd00:99::1", 1, 4 },
};

static struct frame error, *request;
static struct frame kept;

static void begin_flow(unsigned vnic, const char *src, const char *dst)
{
	world_send(vnic, &(struct frame_spec){ .src = src, .dst = dst });
	static struct frame frame;
	struct frame_spec spec = { .src = src, .dst = dst, .src_mac = mac_of(vnic) };
	frame_build(&frame, &spec);
	kept = frame;
	request = &kept;
}

static void unreachable_comes_back(void **unused)
{
	static const char *const nothing[] = { NULL }, *const all[] = { "any", NULL };
	bed_rules(&world.bed, world.vnic[1], true, 1, all);
	bed_rules(&world.bed, world.vnic[1], false, 1, nothing);
	for (unsigned f = 0; f < 2; f++) {
		const struct family *fam = &families[f];
		begin_flow(1, fam->a, fam->c);
		world_received(3);
		build_error(&error, fam->c, fam->a, mac_of(3), fam->unreachable, fam->code, request, 1000);
		bed_input(&world.bed, bed_iface(3), &error);
		struct frame *frame = world_received(1);
		assert_macs(frame, router_mac(1), mac_of(1));
		assert_ips(frame, fam->c, fam->a);
		assert_int_equal(frame_ttl(frame), 63);
		/* Eight bytes of the upper layer are enough (RFC 792). */
		build_error(&error, fam->c, fam->a, mac_of(3), fam->unreachable, fam->code, request, f ? 48 : 28);
		bed_input(&world.bed, bed_iface(3), &error);
		world_received(1);
		assert_int_equal(bed_sessions(&world.bed), f + 1);
	}
	world_quiet();
}

static void by_tunnels(void **unused)
{
	for (unsigned f = 0; f < 2; f++) {
		const struct family *fam = &families[f];
		begin_flow(1, fam->a, fam->remote);
		world_received_by(VTEP_2);
		/* From the receiver itself, and from a router on its side whose address is nobody's. */
		const char *from[] = { fam->remote, fam->router };
		for (unsigned i = 0; i < 2; i++) {
			build_error(&error, from[i], fam->a, NULL, fam->unreachable, fam->code, request, 1000);
			bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &error);
			assert_ips(world_received(1), from[i], fam->a);
			bed_tunnelled(&world.bed, VTEP_3, BLUE_VNI, &error);
			world_dropped(DROP_SPOOFED_TUNNEL);
		}
		/* And about a flow that came from there. */
		static struct frame in;
		frame_build(&in, &(struct frame_spec){ .src = fam->remote, .dst = fam->b });
		bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &in);
		world_received(2);
		build_error(&error, fam->b, fam->remote, mac_of(2), fam->unreachable, fam->code, &in, 1000);
		bed_input(&world.bed, bed_iface(2), &error);
		assert_ips(world_received_by(VTEP_2), fam->b, fam->remote);
	}
	world_quiet();
}

static void about_nothing(void **unused)
{
	for (unsigned f = 0; f < 2; f++) {
		const struct family *fam = &families[f];
		struct frame_spec other = { .src = fam->a, .dst = fam->c, .src_port = 99 };
		static struct frame unknown;
		frame_build(&unknown, &other);
		begin_flow(1, fam->a, fam->c);
		world_received(3);
		/* Another flow. */
		build_error(&error, fam->c, fam->a, mac_of(3), fam->unreachable, fam->code, &unknown, 1000);
		bed_input(&world.bed, bed_iface(3), &error);
		world_dropped(DROP_ICMP_UNRELATED);
		/* To somebody else than its sender. */
		build_error(&error, fam->c, fam->b, mac_of(3), fam->unreachable, fam->code, request, 1000);
		bed_input(&world.bed, bed_iface(3), &error);
		world_dropped(DROP_ICMP_UNRELATED);
		/* From somebody whom the flow does not touch. */
		build_error(&error, fam->b, fam->a, mac_of(2), fam->unreachable, fam->code, request, 1000);
		bed_input(&world.bed, bed_iface(2), &error);
		world_dropped(DROP_ICMP_UNRELATED);
		/* Under another's address. */
		build_error(&error, fam->b, fam->a, mac_of(3), fam->unreachable, fam->code, request, 1000);
		bed_input(&world.bed, bed_iface(3), &error);
		world_dropped(DROP_SPOOFED_ADDRESS);
		/* Too short to say what about. */
		build_error(&error, fam->c, fam->a, mac_of(3), fam->unreachable, fam->code, request, 12);
		bed_input(&world.bed, bed_iface(3), &error);
		world_dropped(DROP_ICMP_UNRELATED);
	}
	/* A redirect is for neighbours. */
	begin_flow(1, "10.0.0.11", "10.0.0.12");
	world_received(2);
	build_error(&error, "10.0.0.12", "10.0.0.11", mac_of(2), 5, 1, request, 1000);
	bed_input(&world.bed, bed_iface(2), &error);
	world_dropped(DROP_ICMP_UNRELATED);
}

static void it_is_no_traffic(void **unused)
{
	begin_flow(1, "10.0.0.11", "10.0.1.13");
	world_received(3);
	struct flow_key key = { .vpc = 1, .proto = IPPROTO_UDP };
	struct ip_addr a = test_ip("10.0.0.11"), c = test_ip("10.0.1.13");
	memcpy(&key.v4.src, a.bytes, 4);
	memcpy(&key.v4.dst, c.bytes, 4);
	key.src_port = rte_cpu_to_be_16(1000);
	key.dst_port = rte_cpu_to_be_16(2000);
	struct path *path = world.bed.dp.paths[0];
	uint32_t hash = flow_key_hash(&key, path_seed(path));
	unsigned direction;
	struct session *session = session_find(path_table(path, &key, hash), &key, hash, &direction);
	assert_non_null(session);
	build_error(&error, "10.0.1.13", "10.0.0.11", mac_of(3), 3, 3, request, 1000);
	bed_input(&world.bed, bed_iface(3), &error);
	world_received(1);
	assert_int_equal(session->dir[!direction].packets, 0);
	/* A session that policy ends takes the errors about it with it. */
	static const char *const nothing[] = { NULL };
	bed_rules(&world.bed, world.vnic[1], true, 1, nothing);
	bed_changed(&world.bed, world.blue);
	bed_input(&world.bed, bed_iface(3), &error);
	world_dropped(DROP_EGRESS_DENIED);
	bed_input(&world.bed, bed_iface(3), &error);
	world_dropped(DROP_ICMP_UNRELATED);
}

/* ---- errors of our own ---- */

static void too_big(void **unused)
{
	/* 1500 of the uplink less 50 of outer headers */
	for (unsigned f = 0; f < 2; f++) {
		const struct family *fam = &families[f];
		world_send(1, &(struct frame_spec){
				      .src = fam->a, .dst = fam->remote, .fragment = 0x4000, .payload = 1430 });
		struct frame *frame = world_received(1);
		assert_macs(frame, router_mac(1), mac_of(1));
		assert_ips(frame, f ? "fd00:a::1" : "10.0.0.1", fam->a);
		const uint8_t *icmp = frame->bytes + (f ? 54 : 34);
		assert_int_equal(icmp[0], f ? 2 : 3);
		assert_int_equal(icmp[1], f ? 0 : 4);
		assert_int_equal(icmp[4] << 24 | icmp[5] << 16 | icmp[6] << 8 | icmp[7], 1450);
		assert_int_equal(frame->length - 14, f ? 1280 : 576);
		/* It quotes the packet as it was sent. */
		static struct frame sent;
		struct frame_spec spec = { .src = fam->a, .dst = fam->remote, .fragment = 0x4000, .payload = 1430 };
		frame_build(&sent, &spec);
		assert_memory_equal(icmp + 8, sent.bytes + 14, frame->length - (f ? 62 : 42));
		world_dropped(DROP_TOO_BIG);
	}
	/* What just fits goes. */
	world_send(1,
		   &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.21", .fragment = 0x4000, .payload = 1422 });
	world_received_by(VTEP_2);
	world_quiet();
}

static void too_big_for_a_vnic(void **unused)
{
	world.vnic[3]->iface.mtu = 1300;
	bed_changed(&world.bed, world.blue);
	for (unsigned f = 0; f < 2; f++) {
		const struct family *fam = &families[f];
		world_send(1,
			   &(struct frame_spec){ .src = fam->a, .dst = fam->c, .fragment = 0x4000, .payload = 1300 });
		struct frame *frame = world_received(1);
		assert_int_equal(frame_be16(frame, f ? 60 : 40), 1300);
		world_dropped(DROP_TOO_BIG);
	}
	/* The sender on the other side of a tunnel is told by the tunnel. */
	world_send_from(VTEP_3, &(struct frame_spec){
					.src = "10.0.1.22", .dst = "10.0.1.13", .fragment = 0x4000, .payload = 1300 });
	struct frame *frame = world_received_by(VTEP_3);
	assert_macs(frame, router_mac(1), "02:00:00:00:00:01");
	assert_ips(frame, "10.0.1.1", "10.0.1.22");
	world_dropped(DROP_TOO_BIG);
}

static void about_no_errors(void **unused)
{
	begin_flow(1, "10.0.0.11", "10.0.1.13");
	world_received(3);
	build_error(&error, "10.0.1.13", "10.0.0.11", mac_of(3), 3, 3, request, 1000);
	error.bytes[22] = 1;
	frame_fix(&error, 14);
	bed_input(&world.bed, bed_iface(3), &error);
	world_dropped(DROP_TTL_EXPIRED);
}

static void not_too_often(void **unused)
{
	unsigned answered = 0, sent = 400;
	static struct frame frame;
	for (unsigned i = 0; i < sent; i++) {
		world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.1.13", .ttl = 1 });
		answered += bed_sent(&world.bed, bed_iface(1), &frame);
	}
	world_dropped_many(DROP_TTL_EXPIRED, sent);
	assert_in_range(answered, 50, sent - 1);
	/* One vNIC's share is not another's. */
	world_send(2, &(struct frame_spec){ .src = "10.0.0.12", .dst = "10.0.1.13", .ttl = 1 });
	world_received(2);
	world_dropped(DROP_TTL_EXPIRED);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		CASE(unreachable_comes_back), CASE(by_tunnels),    CASE(about_nothing),
		CASE(it_is_no_traffic),       CASE(too_big),       CASE(too_big_for_a_vnic),
		CASE(about_no_errors),        CASE(not_too_often),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
