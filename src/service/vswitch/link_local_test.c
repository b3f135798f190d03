/* SPDX-License-Identifier: BSD-3-Clause */
/* Link-local addresses between guests: reachable within a subnet, here and by tunnels, and nowhere else; under
 * anti-spoofing and security groups like all others. */
#include "service/vswitch/testpackets.h"
#include "service/vswitch/testworld.h"

#include <netinet/in.h>

/* Of the world's MACs. */
#define LL_1      "fe80::ff:fe00:101"
#define LL_2      "fe80::ff:fe00:102"
#define LL_3      "fe80::ff:fe00:103"
#define LL_REMOTE "fe80::1:ff:fe00:21"
#define LL_FAR    "fe80::1:ff:fe00:22"
#define LL_ROUTER "fe80::1"

/* A neighbour solicitation; from a vNIC, or with vnic 0 from VTEP_2. */
static void ask(unsigned vnic, const char *src, const char *target)
{
	static struct frame frame;
	struct ip_addr wanted = test_ip(target);
	struct frame_spec spec = {
		.src_mac = vnic ? mac_of(vnic) : MAC_REMOTE_21,
		.src = src,
		.dst = target,
		.proto = IPPROTO_ICMPV6,
		.dst_port = 135 << 8,
		.ttl = 255,
		.payload = 16,
	};
	frame_build(&frame, &spec);
	memset(frame.bytes + 58, 0, 4);
	memcpy(frame.bytes + 62, wanted.bytes, 16);
	frame_fix(&frame, 14);
	if (vnic)
		bed_input(&world.bed, bed_iface(vnic), &frame);
	else
		bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &frame);
}

static void assert_answer(const struct frame *frame, const char *target, const char *to, const char *mac)
{
	struct mac_addr owner = test_mac(mac);
	assert_ips(frame, target, to);
	assert_int_equal(frame->bytes[54], 136);
	assert_int_equal(frame->bytes[58] & 0x80, 0); /* no router */
	assert_memory_equal(frame->bytes + 80, owner.bytes, 6);
}

static void who_has(void **unused)
{
	ask(1, LL_1, LL_2);
	assert_answer(world_received(1), LL_2, LL_1, mac_of(2));
	ask(1, LL_1, LL_REMOTE);
	assert_answer(world_received(1), LL_REMOTE, LL_1, MAC_REMOTE_21);
	/* One with another link-local address than that of its MAC asks, too. */
	ask(1, "fe80::7", LL_2);
	assert_answer(world_received(1), LL_2, "fe80::7", mac_of(2));
	/* Its own, another subnet's here and behind a tunnel, another tenant's, nobody's. */
	static const char *const none[] = { LL_1, LL_3, LL_FAR, "fe80::ff:fe00:204", "fe80::7" };
	for (unsigned i = 0; i < 5; i++) {
		ask(1, LL_1, none[i]);
		world_dropped(DROP_SERVICE_HANDLED);
	}
	ask(0, LL_REMOTE, LL_2);
	assert_answer(world_received_by(VTEP_2), LL_2, LL_REMOTE, mac_of(2));
	ask(0, LL_REMOTE, LL_3);
	world_dropped(DROP_SERVICE_HANDLED);
	assert_int_equal(bed_sessions(&world.bed), 0);
}

static void assert_on_link(const struct frame *frame, const char *src_mac, const char *dst_mac, const char *src,
			   const char *dst)
{
	assert_macs(frame, src_mac, dst_mac);
	assert_ips(frame, src, dst);
	assert_int_equal(frame_ttl(frame), 64);
}

static void within_a_subnet(void **unused)
{
	world_send(1, &(struct frame_spec){ .src = LL_1, .dst = LL_2 });
	assert_on_link(world_received(2), mac_of(1), mac_of(2), LL_1, LL_2);
	world_send(2, &(struct frame_spec){ .src = LL_2, .dst = LL_1, .src_port = 2000, .dst_port = 1000 });
	assert_on_link(world_received(1), mac_of(2), mac_of(1), LL_2, LL_1);
	assert_int_equal(bed_sessions(&world.bed), 1);
	/* With an address that routers carry at the other end, which is on the link as well. */
	world_send(1, &(struct frame_spec){ .src = LL_1, .dst = "fd00:a::12" });
	assert_on_link(world_received(2), mac_of(1), mac_of(2), LL_1, "fd00:a::12");
	world_send(1, &(struct frame_spec){ .src = "fd00:a::11", .dst = LL_2 });
	assert_on_link(world_received(2), mac_of(1), mac_of(2), "fd00:a::11", LL_2);
	world_quiet();
	/* Every packet but the first of each direction is a hit. */
	uint64_t misses = path_iface_counters(world.bed.dp.paths[0], bed_iface(1))->misses;
	world_send(1, &(struct frame_spec){ .src = LL_1, .dst = LL_2 });
	world_received(2);
	assert_int_equal(path_iface_counters(world.bed.dp.paths[0], bed_iface(1))->misses, misses);
	/* The same addresses in another VPC are others. */
	world_send(4, &(struct frame_spec){ .src = "fe80::ff:fe00:204", .dst = LL_2 });
	world_dropped(DROP_NO_MAPPING);
}

static void across_tunnels(void **unused)
{
	world_send(1, &(struct frame_spec){ .src = LL_1, .dst = LL_REMOTE });
	assert_on_link(world_received_by(VTEP_2), mac_of(1), MAC_REMOTE_21, LL_1, LL_REMOTE);
	world_send_from(VTEP_2,
			&(struct frame_spec){ .src = LL_REMOTE, .dst = LL_1, .src_port = 2000, .dst_port = 1000 });
	assert_on_link(world_received(1), MAC_REMOTE_21, mac_of(1), LL_REMOTE, LL_1);
	assert_int_equal(bed_sessions(&world.bed), 1);
	world_send_from(VTEP_2, &(struct frame_spec){ .src = LL_REMOTE, .dst = LL_2 });
	assert_on_link(world_received(2), MAC_REMOTE_21, mac_of(2), LL_REMOTE, LL_2);
	world_quiet();
	/* From elsewhere than its owner is, in nobody's name, in a local one's, and to another subnet. */
	world_send_from(VTEP_3, &(struct frame_spec){ .src = LL_REMOTE, .dst = LL_2 });
	world_dropped(DROP_SPOOFED_TUNNEL);
	world_send_from(VTEP_2, &(struct frame_spec){ .src = "fe80::7", .dst = LL_2 });
	world_dropped(DROP_SPOOFED_TUNNEL);
	world_send_from(VTEP_2, &(struct frame_spec){ .src = LL_1, .dst = LL_2 });
	world_dropped(DROP_SPOOFED_TUNNEL);
	world_send_from(VTEP_2, &(struct frame_spec){ .src = LL_REMOTE, .dst = LL_3 });
	world_dropped(DROP_NO_MAPPING);
	world_send_from(VTEP_2, &(struct frame_spec){ .src = LL_REMOTE, .dst = LL_FAR });
	world_dropped(DROP_HAIRPIN);
}

static void not_beyond_the_link(void **unused)
{
	/* A route for everything else does not cover it. */
	bed_route(&world.bed, world.blue, "::/0", DP_ROUTE_VTEP, VTEP_4);
	static const char *const beyond[] = { LL_3, LL_FAR, "fe80::7" };
	for (unsigned i = 0; i < 3; i++) {
		world_send(1, &(struct frame_spec){ .src = LL_1, .dst = beyond[i] });
		world_dropped(DROP_NO_MAPPING);
		world_send(1, &(struct frame_spec){ .src = "fd00:a::11", .dst = beyond[i] });
		world_dropped(DROP_NO_MAPPING);
	}
	static const char *const routed[] = { "fd00:b::13", "fd00:b::22", "2001:db8::1" };
	for (unsigned i = 0; i < 3; i++) {
		world_send(1, &(struct frame_spec){ .src = LL_1, .dst = routed[i] });
		world_dropped(DROP_BAD_SOURCE);
	}
	world_send_from(VTEP_4, &(struct frame_spec){ .src = "fe80::7", .dst = LL_1 });
	world_dropped(DROP_SPOOFED_TUNNEL);
	assert_int_equal(bed_sessions(&world.bed), 0);
}

static void spoofed(void **unused)
{
	static const char *const others[] = { LL_2, "fe80::7", LL_REMOTE, LL_ROUTER };
	for (unsigned i = 0; i < 4; i++) {
		world_send(1, &(struct frame_spec){ .src = others[i], .dst = "fd00:a::12" });
		world_dropped(DROP_SPOOFED_ADDRESS);
	}
	/* One that is named is the vNIC's, with its own beside it. */
	bed_address(&world.bed, world.vnic[1], "fe80::7");
	bed_changed(&world.bed, world.blue);
	world_send(1, &(struct frame_spec){ .src = "fe80::7", .dst = LL_2 });
	world_received(2);
	world_send(2, &(struct frame_spec){ .src = LL_2, .dst = "fe80::7", .src_port = 9 });
	world_received(1);
	ask(2, LL_2, "fe80::7");
	assert_answer(world_received(2), "fe80::7", LL_2, mac_of(1));
	world_send(1, &(struct frame_spec){ .src = LL_1, .dst = LL_2 });
	world_received(2);
	/* Not from the next subnet, though. */
	world_send(3, &(struct frame_spec){ .src = LL_3, .dst = "fe80::7" });
	world_dropped(DROP_NO_MAPPING);
	/* A mapped one is in the subnet of its owner's other addresses. */
	bed_mapping(&world.bed, world.blue, "fd00:a::21", VTEP_2, MAC_REMOTE_21);
	bed_changed(&world.bed, world.blue);
	world_send(1, &(struct frame_spec){ .src = LL_1, .dst = LL_REMOTE });
	world_received_by(VTEP_2);
	world_quiet();
}

static void under_security_groups(void **unused)
{
	static const char *const nothing[] = { NULL }, *const all[] = { "any", NULL },
				 *const echo[] = { "udp 2000 from fe80::/64", NULL };
	bed_rules(&world.bed, world.vnic[1], true, 1, all);
	bed_rules(&world.bed, world.vnic[2], false, 1, nothing);
	world_send(1, &(struct frame_spec){ .src = LL_1, .dst = LL_2 });
	world_dropped(DROP_INGRESS_DENIED);
	bed_rules(&world.bed, world.vnic[2], false, 1, echo);
	bed_changed(&world.bed, world.blue);
	world_send(1, &(struct frame_spec){ .src = LL_1, .dst = LL_2 });
	world_received(2);
	world_send(1, &(struct frame_spec){ .src = LL_1, .dst = LL_2, .dst_port = 2001 });
	world_dropped(DROP_INGRESS_DENIED);
	bed_rules(&world.bed, world.vnic[1], true, 1, nothing);
	bed_changed(&world.bed, world.blue);
	world_send(1, &(struct frame_spec){ .src = LL_1, .dst = LL_2 });
	world_dropped(DROP_EGRESS_DENIED);
}

/* The gateway answers at its own address, whoever has it besides. */
static void the_gateway_is_first(void **unused)
{
	bed_address(&world.bed, world.vnic[2], LL_ROUTER);
	world_send(1, &(struct frame_spec){
			      .src = LL_1, .dst = LL_ROUTER, .proto = IPPROTO_ICMPV6, .dst_port = 128 << 8 });
	assert_ips(world_received(1), LL_ROUTER, LL_1);
	world_quiet();
}

/* RFC 4861 and RFC 4443 of a link: errors about such flows come back, but leave the link under no such name. */
static void errors(void **unused)
{
	static struct frame sent, error;
	static const struct {
		const char *src, *dst, *from;
		unsigned receiver;
		enum drop_reason reason;
	} cases[] = {
		{ LL_1, LL_2, LL_2, 2, DROP_NONE },
		{ "fd00:a::11", "fd00:a::12", LL_2, 2, DROP_NONE },
		{ "fd00:a::11", "fd00:b::13", LL_3, 3, DROP_BAD_SOURCE },
		{ LL_1, LL_2, "fe80::7", 2, DROP_SPOOFED_ADDRESS },
	};
	for (unsigned i = 0; i < 4; i++) {
		struct frame_spec spec = { .src = cases[i].src, .dst = cases[i].dst, .src_mac = mac_of(1) };
		frame_build(&sent, &spec);
		bed_input(&world.bed, bed_iface(1), &sent);
		world_received(cases[i].receiver);
		struct error_spec about = {
			mac_of(cases[i].receiver), cases[i].from, cases[i].src, 1, 4, 0, &sent, 1000
		};
		frame_icmp_error(&error, &about);
		bed_input(&world.bed, bed_iface(cases[i].receiver), &error);
		if (cases[i].reason)
			world_dropped(cases[i].reason);
		else
			assert_ips(world_received(1), cases[i].from, cases[i].src);
	}
	world_quiet();
}

static void larger_than_the_link(void **unused)
{
	world.vnic[2]->iface.mtu = 1300;
	world_send(1, &(struct frame_spec){ .src = LL_1, .dst = LL_2, .payload = 1300 });
	struct frame *frame = world_received(1);
	assert_int_equal(frame->bytes[54], 2);
	assert_int_equal(frame_be16(frame, 60), 1300);
	world_dropped(DROP_TOO_BIG);
	/* And the one behind a tunnel is told by it. */
	world.vnic[1]->iface.mtu = 1300;
	world_send_from(VTEP_2, &(struct frame_spec){ .src = LL_REMOTE, .dst = LL_1, .payload = 1300 });
	frame = world_received_by(VTEP_2);
	assert_int_equal(frame->bytes[54], 2);
	world_dropped(DROP_TOO_BIG);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		CASE(who_has),
		CASE(within_a_subnet),
		CASE(across_tunnels),
		CASE(not_beyond_the_link),
		CASE(spoofed),
		CASE(under_security_groups),
		CASE(the_gateway_is_first),
		CASE(errors),
		CASE(larger_than_the_link),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
