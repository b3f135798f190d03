/* SPDX-License-Identifier: BSD-3-Clause */
/* ARP at the first hop, and packets to the gateway: who is answered, with what, and who is not. */
#include "service/vswitch/testworld.h"

#include <netinet/in.h>

enum { REQUEST = 1, REPLY = 2, ARP_LENGTH = 42 };

static void build_arp(struct frame *ret, unsigned vnic, uint16_t op, const char *sender_mac, const char *sender,
		      const char *target)
{
	struct ip_addr from = test_ip(sender), to = test_ip(target);
	struct mac_addr mac = test_mac(sender_mac);
	static const uint8_t fixed[] = { 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0 };
	memset(ret->bytes, 0xff, 6);
	memcpy(ret->bytes + 6, world.vnic[vnic]->iface.mac.bytes, 6);
	memcpy(ret->bytes + 12, fixed, sizeof(fixed));
	ret->bytes[21] = (uint8_t)op;
	memcpy(ret->bytes + 22, mac.bytes, 6);
	memcpy(ret->bytes + 28, from.bytes, 4);
	memset(ret->bytes + 32, 0, 6);
	memcpy(ret->bytes + 38, to.bytes, 4);
	ret->length = ARP_LENGTH;
}

static struct frame arp;

static void ask(unsigned vnic, const char *sender, const char *target)
{
	build_arp(&arp, vnic, REQUEST, mac_of(vnic), sender, target);
	bed_input(&world.bed, bed_iface(vnic), &arp);
}

/* A reply to the last request, byte by byte (RFC 826). */
static void assert_reply(const struct frame *frame, const char *mac)
{
	struct mac_addr owner = test_mac(mac);
	uint8_t expected[ARP_LENGTH];
	memcpy(expected, arp.bytes, ARP_LENGTH);
	memcpy(expected, arp.bytes + 22, 6);
	memcpy(expected + 6, owner.bytes, 6);
	expected[21] = REPLY;
	memcpy(expected + 22, owner.bytes, 6);
	memcpy(expected + 28, arp.bytes + 38, 4);
	memcpy(expected + 32, arp.bytes + 22, 6);
	memcpy(expected + 38, arp.bytes + 28, 4);
	assert_int_equal(frame->length, ARP_LENGTH);
	assert_memory_equal(frame->bytes, expected, ARP_LENGTH);
}

static void who_has(void **unused)
{
	ask(1, "10.0.0.11", "10.0.0.1");
	assert_reply(world_received(1), router_mac(1));
	ask(1, "10.0.0.11", "10.0.0.12");
	assert_reply(world_received(1), mac_of(2));
	ask(1, "10.0.0.11", "10.0.0.21");
	assert_reply(world_received(1), MAC_REMOTE_21);
	/* Another subnet's address, by the router. */
	ask(1, "10.0.0.11", "10.0.1.13");
	assert_reply(world_received(1), router_mac(1));
	ask(1, "10.0.0.11", "10.0.1.1");
	assert_reply(world_received(1), router_mac(1));
	ask(4, "10.0.0.11", "10.0.0.12");
	assert_reply(world_received(4), mac_of(5));
	world_quiet();
	assert_int_equal(bed_sessions(&world.bed), 0);
}

static void nobody_has(void **unused)
{
	ask(1, "10.0.0.11", "10.0.0.77");
	world_dropped(DROP_SERVICE_HANDLED);
	ask(1, "10.0.0.11", "8.8.8.8");
	world_dropped(DROP_SERVICE_HANDLED);
	ask(4, "10.0.0.11", "10.0.0.21");
	world_dropped(DROP_SERVICE_HANDLED);
}

/* RFC 5227: whoever makes sure that an address is its own must hear nothing of itself. */
static void probes_and_announcements(void **unused)
{
	ask(1, "0.0.0.0", "10.0.0.11");
	world_dropped(DROP_SERVICE_HANDLED);
	ask(1, "10.0.0.11", "10.0.0.11");
	world_dropped(DROP_SERVICE_HANDLED);
	build_arp(&arp, 1, REPLY, mac_of(1), "10.0.0.11", "10.0.0.11");
	bed_input(&world.bed, bed_iface(1), &arp);
	world_dropped(DROP_SERVICE_HANDLED);
	/* A probe for what another has is a conflict. */
	ask(1, "0.0.0.0", "10.0.0.12");
	assert_reply(world_received(1), mac_of(2));
	world_quiet();
}

static void spoofed(void **unused)
{
	ask(1, "10.0.0.12", "10.0.0.1");
	world_dropped(DROP_SPOOFED_ADDRESS);
	build_arp(&arp, 1, REQUEST, mac_of(2), "10.0.0.11", "10.0.0.1");
	bed_input(&world.bed, bed_iface(1), &arp);
	world_dropped(DROP_SPOOFED_MAC);
	memcpy(arp.bytes + 6, world.vnic[2]->iface.mac.bytes, 6);
	bed_input(&world.bed, bed_iface(1), &arp);
	world_dropped(DROP_SPOOFED_MAC);
	world.vnic[1]->port_security = false;
	ask(1, "10.0.0.99", "10.0.0.1");
	assert_reply(world_received(1), router_mac(1));
}

static void malformed(void **unused)
{
	static const struct {
		unsigned offset;
		uint8_t value;
	} faults[] = { { 15, 2 }, { 16, 9 }, { 18, 8 }, { 19, 16 }, { 21, 0 }, { 21, 3 }, { 20, 1 } };
	for (unsigned i = 0; i < RTE_DIM(faults); i++) {
		build_arp(&arp, 1, REQUEST, mac_of(1), "10.0.0.11", "10.0.0.1");
		arp.bytes[faults[i].offset] = faults[i].value;
		bed_input(&world.bed, bed_iface(1), &arp);
		assert_true(bed_quiet(&world.bed));
		assert_int_equal(bed_all_drops(&world.bed), i + 1);
	}
	for (unsigned length = 14; length < ARP_LENGTH; length++) {
		build_arp(&arp, 1, REQUEST, mac_of(1), "10.0.0.11", "10.0.0.1");
		arp.length = length;
		bed_input(&world.bed, bed_iface(1), &arp);
		assert_true(bed_quiet(&world.bed));
		assert_int_equal(bed_all_drops(&world.bed), RTE_DIM(faults) + length - 13);
	}
}

/* Linux's VXLAN device asks by broadcast through the tunnel. */
static void by_tunnel(void **unused)
{
	build_arp(&arp, 1, REQUEST, MAC_REMOTE_21, "10.0.0.21", "10.0.0.11");
	memcpy(arp.bytes + 6, arp.bytes + 22, 6);
	bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &arp);
	assert_reply(world_received_by(VTEP_2), mac_of(1));
	/* For others their own hosts answer. */
	build_arp(&arp, 1, REQUEST, MAC_REMOTE_21, "10.0.0.21", "10.0.1.22");
	bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &arp);
	world_dropped(DROP_SERVICE_HANDLED);
	build_arp(&arp, 1, REQUEST, MAC_REMOTE_21, "10.0.0.21", "10.0.0.11");
	bed_tunnelled(&world.bed, VTEP_3, BLUE_VNI, &arp);
	world_dropped(DROP_SPOOFED_TUNNEL);
}

static void served_at_a_rate(void **unused)
{
	static struct frame frame;
	unsigned answered = 0, asked = 3000;
	for (unsigned i = 0; i < asked; i++) {
		ask(1, "10.0.0.11", "10.0.0.1");
		answered += bed_sent(&world.bed, bed_iface(1), &frame);
	}
	assert_in_range(answered, 500, asked - 1);
	world_dropped_many(DROP_SERVICE_RATE, asked - answered);
	ask(2, "10.0.0.12", "10.0.0.1");
	assert_reply(world_received(2), router_mac(1));
}

static void announced(void **unused)
{
	dp_announce(world.bed.dp.worker_states[0], bed_iface(1));
	struct frame *frame = world_received(1); /* the router advertisement */
	assert_int_equal(frame_be16(frame, 12), 0x86dd);
	frame = world_received(1);
	assert_macs(frame, router_mac(1), "ff:ff:ff:ff:ff:ff");
	assert_int_equal(frame_be16(frame, 12), 0x0806);
	assert_int_equal(frame->bytes[21], REQUEST);
	assert_memory_equal(frame->bytes + 22, world.blue->router_mac.bytes, 6);
	assert_memory_equal(frame->bytes + 28, world.a->gateway_v4.bytes, 4);
	assert_memory_equal(frame->bytes + 38, world.a->gateway_v4.bytes, 4);
	dp_announce(world.bed.dp.worker_states[0], bed_iface(40));
	world_quiet();
}

/* ---- packets to the gateway ---- */

static void gateway_answers_echo(void **unused)
{
	static const struct {
		const char *src, *gateway;
		uint8_t proto;
		uint16_t request;
		uint8_t reply;
	} cases[] = {
		{ "10.0.0.11", "10.0.0.1", IPPROTO_ICMP, 8 << 8, 0 },
		{ "10.0.0.11", "10.0.1.1", IPPROTO_ICMP, 8 << 8, 0 }, /* another subnet's */
		{ "fd00:a::11", "fd00:a::1", IPPROTO_ICMPV6, 128 << 8, 129 },
		{ "fd00:a::11", "fe80::1", IPPROTO_ICMPV6, 128 << 8, 129 },
		{ "fe80::200:ff:fe00:1", "fe80::1", IPPROTO_ICMPV6, 128 << 8, 129 },
	};
	for (unsigned i = 0; i < RTE_DIM(cases); i++) {
		static struct frame sent;
		struct frame_spec spec = { .src_mac = mac_of(1),
					   .dst_mac = router_mac(1),
					   .src = cases[i].src,
					   .dst = cases[i].gateway,
					   .proto = cases[i].proto,
					   .src_port = 4321,
					   .dst_port = cases[i].request,
					   .ttl = 33,
					   .payload = 1001 };
		frame_build(&sent, &spec);
		bed_input(&world.bed, bed_iface(1), &sent);
		struct frame *frame = world_received(1);
		unsigned l4 = cases[i].proto == IPPROTO_ICMP ? 34 : 54;
		assert_macs(frame, router_mac(1), mac_of(1));
		assert_ips(frame, cases[i].gateway, cases[i].src);
		assert_int_equal(frame_ttl(frame), 64);
		assert_int_equal(frame->bytes[l4], cases[i].reply);
		assert_int_equal(frame->length, sent.length);
		assert_memory_equal(frame->bytes + l4 + 4, sent.bytes + l4 + 4, sent.length - l4 - 4);
		world_quiet();
		/* A wrong checksum is no request. */
		sent.bytes[sent.length - 1] ^= 1;
		bed_input(&world.bed, bed_iface(1), &sent);
		world_dropped(DROP_SERVICE_MALFORMED);
	}
	/* Of zeros only, which no other packet's checksum is like. */
	static struct frame zeros;
	frame_build(&zeros, &(struct frame_spec){ .src_mac = mac_of(1),
						  .src = "10.0.0.11",
						  .dst = "10.0.0.1",
						  .proto = IPPROTO_ICMP,
						  .dst_port = 8 << 8 });
	memset(zeros.bytes + 38, 0, 4);
	frame_fix(&zeros, 14);
	bed_input(&world.bed, bed_iface(1), &zeros);
	world_received(1);
	/* Long chains of buffers as well. */
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11",
					    .dst = "10.0.0.1",
					    .proto = IPPROTO_ICMP,
					    .dst_port = 8 << 8,
					    .payload = 8000 });
	assert_int_equal(world_received(1)->length, 14 + 20 + 8 + 8000);
	assert_int_equal(bed_sessions(&world.bed), 0);
	/* Under another's address there is no answer. */
	world_send(1, &(struct frame_spec){
			      .src = "10.0.0.12", .dst = "10.0.0.1", .proto = IPPROTO_ICMP, .dst_port = 8 << 8 });
	world_dropped(DROP_SPOOFED_ADDRESS);
}

static void gateway_answers_fragments(void **unused)
{
	static struct frame whole, piece;
	struct frame_spec spec = { .src_mac = mac_of(1),
				   .src = "10.0.0.11",
				   .dst = "10.0.0.1",
				   .proto = IPPROTO_ICMP,
				   .dst_port = 8 << 8,
				   .payload = 2000 };
	uint8_t data[2008];
	frame_build(&whole, &spec);
	for (unsigned i = 0; i < 2; i++) {
		unsigned at = i * 1000, bytes = i ? 1008 : 1000;
		memcpy(piece.bytes, whole.bytes, 34);
		memcpy(piece.bytes + 34, whole.bytes + 34 + at, bytes);
		piece.length = 34 + bytes;
		piece.bytes[16] = (uint8_t)((20 + bytes) >> 8);
		piece.bytes[17] = (uint8_t)(20 + bytes);
		piece.bytes[20] = i ? 0 : 0x20;
		piece.bytes[21] = (uint8_t)(at / 8);
		frame_fix(&piece, 14);
		bed_input(&world.bed, bed_iface(1), &piece);
		struct frame *frame = world_received(1);
		assert_ips(frame, "10.0.0.1", "10.0.0.11");
		memcpy(data + at, frame->bytes + 34, bytes);
	}
	world_quiet();
	/* Put together, it is a right echo reply. */
	assert_int_equal(data[0], 0);
	assert_int_equal(reference_checksum(data, sizeof(data), 0), 0);
	assert_memory_equal(data + 8, whole.bytes + 42, 2000);
}

static void gateway_listens_to_nothing(void **unused)
{
	for (unsigned f = 0; f < 2; f++) {
		struct frame_spec spec = { .src = f ? "fd00:a::11" : "10.0.0.11", .dst = f ? "fd00:a::1" : "10.0.0.1" };
		unsigned l4 = f ? 54 : 34;
		world_send(1, &spec);
		struct frame *frame = world_received(1);
		assert_ips(frame, spec.dst, spec.src);
		assert_int_equal(frame->bytes[l4], f ? 1 : 3);
		assert_int_equal(frame->bytes[l4 + 1], f ? 4 : 3);
		world_dropped(DROP_SERVICE_HANDLED);

		spec.proto = IPPROTO_GRE;
		spec.payload = 8;
		world_send(1, &spec);
		frame = world_received(1);
		assert_int_equal(frame->bytes[l4], f ? 4 : 3);
		assert_int_equal(frame->bytes[l4 + 1], f ? 1 : 2);
		assert_int_equal(frame->bytes[l4 + 7], f ? 6 : 0); /* the pointer, at the next-header field */
		world_dropped(DROP_SERVICE_HANDLED);

		spec.proto = IPPROTO_TCP;
		spec.tcp_flags = 0x02;
		spec.payload = 0;
		world_send(1, &spec);
		frame = world_received(1);
		assert_int_equal(frame->bytes[l4 + 13], 0x14);
		assert_int_equal(frame_be16(frame, l4 + 10), 2); /* testlib's sequence number is 1 in its low half */
		spec.tcp_flags = 0x10;
		world_send(1, &spec);
		frame = world_received(1);
		assert_int_equal(frame->bytes[l4 + 13], 0x04);
		spec.tcp_flags = 0x04;
		world_send(1, &spec);
		world_dropped(DROP_SERVICE_HANDLED);
	}
	assert_int_equal(bed_sessions(&world.bed), 0);
}

static void multicast_membership(void **unused)
{
	world_send(1, &(struct frame_spec){
			      .src = "10.0.0.11", .dst = "224.0.0.22", .proto = IPPROTO_IGMP, .payload = 16 });
	world_dropped(DROP_SERVICE_HANDLED);
	static const uint8_t types[] = { 130, 131, 132, 143 };
	for (unsigned i = 0; i < 4; i++) {
		world_send(1, &(struct frame_spec){ .src = "fe80::1:2",
						    .dst = "ff02::16",
						    .proto = IPPROTO_ICMPV6,
						    .dst_port = (uint16_t)(types[i] << 8),
						    .payload = 20 });
		world_dropped(DROP_SERVICE_HANDLED);
	}
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		CASE(who_has),
		CASE(nobody_has),
		CASE(probes_and_announcements),
		CASE(spoofed),
		CASE(malformed),
		CASE(by_tunnel),
		CASE(served_at_a_rate),
		CASE(announced),
		CASE(gateway_answers_echo),
		CASE(gateway_answers_fragments),
		CASE(gateway_listens_to_nothing),
		CASE(multicast_membership),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
