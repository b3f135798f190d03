/* SPDX-License-Identifier: BSD-3-Clause */
/* Neighbour discovery and router advertisements: answers, silences, the validity checks of RFC 4861, and what an
 * advertisement tells. */
#include "service/vswitch/testworld.h"

#include <netinet/in.h>
#include <stdio.h>
#include "base/clock.h"

enum { RS = 133, RA = 134, NS = 135, NA = 136 };

static struct frame message;

/* An ICMPv6 message with this body behind type and code. */
static void build(unsigned vnic, const char *src, const char *dst, uint8_t type, const uint8_t *body, uint32_t length)
{
	struct frame_spec spec = { .src_mac = mac_of(vnic),
				   .src = src,
				   .dst = dst,
				   .proto = IPPROTO_ICMPV6,
				   .ttl = 255,
				   .dst_port = (uint16_t)(type << 8),
				   .payload = length - 4 };
	frame_build(&message, &spec);
	memcpy(message.bytes + 58, body, length);
	frame_fix(&message, 14);
}

static void transmit(unsigned vnic)
{
	bed_input(&world.bed, bed_iface(vnic), &message);
}

/* With a source link-layer address option unless the source is unspecified. */
static void solicit(unsigned vnic, const char *src, const char *dst, const char *target)
{
	uint8_t body[28] = { 0 };
	struct ip_addr address = test_ip(target);
	bool dad = !strcmp(src, "::");
	memcpy(body + 4, address.bytes, 16);
	body[20] = 1;
	body[21] = 1;
	memcpy(body + 22, world.vnic[vnic]->iface.mac.bytes, 6);
	build(vnic, src, dst, NS, body, dad ? 20 : 28);
}

static void ask(unsigned vnic, const char *src, const char *dst, const char *target)
{
	solicit(vnic, src, dst, target);
	transmit(vnic);
}

static void assert_advertisement(const struct frame *frame, const char *src, const char *dst, const char *dst_mac,
				 uint8_t flags, const char *target, const char *mac)
{
	struct ip_addr address = test_ip(target);
	struct mac_addr owner = test_mac(mac);
	assert_macs(frame, mac, dst_mac);
	assert_ips(frame, src, dst);
	assert_int_equal(frame_ttl(frame), 255);
	assert_int_equal(frame->length, 14 + 40 + 32);
	assert_int_equal(frame->bytes[54], NA);
	assert_int_equal(frame->bytes[55], 0);
	assert_int_equal(frame->bytes[58], flags);
	assert_memory_equal(frame->bytes + 62, address.bytes, 16);
	assert_int_equal(frame->bytes[78], 2);
	assert_int_equal(frame->bytes[79], 1);
	assert_memory_equal(frame->bytes + 80, owner.bytes, 6);
}

static void who_has(void **unused)
{
	ask(1, "fd00:a::11", "ff02::1:ff00:1", "fd00:a::1");
	assert_advertisement(world_received(1), "fd00:a::1", "fd00:a::11", mac_of(1), 0xe0, "fd00:a::1", router_mac(1));
	ask(1, "fd00:a::11", "ff02::1:ff00:12", "fd00:a::12");
	assert_advertisement(world_received(1), "fd00:a::12", "fd00:a::11", mac_of(1), 0x60, "fd00:a::12", mac_of(2));
	ask(1, "fe80::7", "ff02::1:ff00:21", "fd00:a::21");
	assert_advertisement(world_received(1), "fd00:a::21", "fe80::7", mac_of(1), 0x60, "fd00:a::21", MAC_REMOTE_21);
	ask(1, "fe80::7", "ff02::1:ff00:1", "fe80::1");
	assert_advertisement(world_received(1), "fe80::1", "fe80::7", mac_of(1), 0xe0, "fe80::1", router_mac(1));
	/* Reachability (RFC 4861 7.3) is asked for by unicast. */
	ask(1, "fd00:a::11", "fd00:a::12", "fd00:a::12");
	assert_advertisement(world_received(1), "fd00:a::12", "fd00:a::11", mac_of(1), 0x60, "fd00:a::12", mac_of(2));
	ask(1, "fd00:a::11", "fd00:a::1", "fd00:a::1");
	world_received(1);
	/* Another subnet's, by the router. */
	ask(1, "fd00:a::11", "ff02::1:ff00:13", "fd00:b::13");
	assert_advertisement(world_received(1), "fd00:b::13", "fd00:a::11", mac_of(1), 0xe0, "fd00:b::13",
			     router_mac(1));
	world_quiet();
	assert_int_equal(bed_sessions(&world.bed), 0);
}

static void nobody_has(void **unused)
{
	ask(1, "fd00:a::11", "ff02::1:ff00:77", "fd00:a::77");
	world_dropped(DROP_SERVICE_HANDLED);
	ask(1, "fd00:a::11", "ff02::1:ff00:7", "fe80::7");
	world_dropped(DROP_SERVICE_HANDLED);
	ask(4, "fd00:a::11", "ff02::1:ff00:21", "fd00:a::21");
	world_dropped(DROP_SERVICE_HANDLED);
}

/* RFC 4862 5.4 */
static void duplicate_address_detection(void **unused)
{
	ask(1, "::", "ff02::1:ff00:11", "fd00:a::11");
	world_dropped(DROP_SERVICE_HANDLED);
	ask(1, "::", "ff02::1:ff00:1", "fe80::200:ff:fe00:101");
	world_dropped(DROP_SERVICE_HANDLED);
	ask(1, "::", "ff02::1:ff00:12", "fd00:a::12");
	assert_advertisement(world_received(1), "fd00:a::12", "ff02::1", "33:33:00:00:00:01", 0x20, "fd00:a::12",
			     mac_of(2));
	ask(1, "::", "ff02::1:ff00:1", "fe80::1");
	assert_advertisement(world_received(1), "fe80::1", "ff02::1", "33:33:00:00:00:01", 0xa0, "fe80::1",
			     router_mac(1));
	world_quiet();
}

static void refuse(unsigned vnic)
{
	transmit(vnic);
	world_dropped(DROP_SERVICE_MALFORMED);
}

/* RFC 4861 7.1.1 */
static void invalid_solicitations(void **unused)
{
	solicit(1, "fd00:a::11", "ff02::1:ff00:12", "fd00:a::12");
	message.bytes[21] = 254; /* hop limit */
	refuse(1);
	solicit(1, "fd00:a::11", "ff02::1:ff00:12", "fd00:a::12");
	message.bytes[57] ^= 1; /* checksum */
	refuse(1);
	solicit(1, "fd00:a::11", "ff02::1:ff00:12", "fd00:a::12");
	message.bytes[55] = 1; /* code */
	frame_fix(&message, 14);
	refuse(1);
	solicit(1, "fd00:a::11", "ff02::1:ff00:12", "fd00:a::12");
	message.bytes[79] = 0; /* option length */
	frame_fix(&message, 14);
	refuse(1);
	solicit(1, "fd00:a::11", "ff02::1:ff00:12", "fd00:a::12");
	message.bytes[79] = 2; /* beyond the message */
	frame_fix(&message, 14);
	refuse(1);
	ask(1, "fd00:a::11", "ff02::1", "ff02::1"); /* multicast target */
	world_dropped(DROP_SERVICE_MALFORMED);
	ask(1, "::", "fd00:a::12", "fd00:a::12"); /* unspecified source needs a solicited-node destination … */
	world_dropped(DROP_SERVICE_MALFORMED);
	uint8_t body[28] = { 0 };
	struct ip_addr target = test_ip("fd00:a::12");
	memcpy(body + 4, target.bytes, 16);
	body[20] = body[21] = 1;
	build(1, "::", "ff02::1:ff00:12", NS, body, 28); /* … and no link-layer address */
	refuse(1);
	build(1, "fd00:a::11", "ff02::1:ff00:12", NS, body, 12); /* too short */
	refuse(1);
	solicit(1, "fd00:a::11", "ff02::1:ff00:12", "fd00:a::12");
	memcpy(message.bytes + 80, world.vnic[2]->iface.mac.bytes, 6);
	frame_fix(&message, 14);
	transmit(1);
	world_dropped(DROP_SPOOFED_MAC);
	ask(1, "fd00:a::12", "ff02::1:ff00:1", "fd00:a::1");
	world_dropped(DROP_SPOOFED_ADDRESS);
	/* What the interface has checked, or will fill in, is not checked again. */
	solicit(1, "fd00:a::11", "ff02::1:ff00:12", "fd00:a::12");
	message.bytes[57] ^= 1;
	struct rte_mbuf *m = frame_mbuf(&message);
	m->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	path_input(world.bed.dp.paths[0], bed_iface(1), &m, 1);
	world_received(1);
}

/* A tenant's own advertisements and redirects reach nobody. */
static void rogue_messages(void **unused)
{
	static const uint8_t body[36] = { 64 };
	build(1, "fe80::7", "ff02::1", RA, body, 12);
	transmit(1);
	world_dropped(DROP_SERVICE_HANDLED);
	build(1, "fe80::7", "ff02::1", 137, body, 36);
	transmit(1);
	world_dropped(DROP_SERVICE_HANDLED);
	build(1, "fe80::7", "ff02::1", NA, body, 20);
	transmit(1);
	world_dropped(DROP_SERVICE_HANDLED);
	build(1, "fe80::7", "ff02::1", NA, body, 8);
	refuse(1);
	/* To a neighbour directly. */
	build(1, "fe80::7", "fd00:a::12", RA, body, 12);
	transmit(1);
	world_dropped(DROP_SERVICE_HANDLED);
}

static void by_tunnel(void **unused)
{
	solicit(1, "fd00:a::21", "ff02::1:ff00:11", "fd00:a::11");
	struct mac_addr remote = test_mac(MAC_REMOTE_21);
	memcpy(message.bytes + 6, remote.bytes, 6);
	bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &message);
	assert_advertisement(world_received_by(VTEP_2), "fd00:a::11", "fd00:a::21", MAC_REMOTE_21, 0x60, "fd00:a::11",
			     mac_of(1));
	bed_tunnelled(&world.bed, VTEP_3, BLUE_VNI, &message);
	world_dropped(DROP_SPOOFED_TUNNEL);
	solicit(1, "fd00:a::21", "ff02::1:ff00:22", "fd00:b::22");
	bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &message);
	world_dropped(DROP_SERVICE_HANDLED);
}

/* ---- router advertisements ---- */

static const uint8_t *option_of(const struct frame *frame, uint8_t type)
{
	const uint8_t *found = NULL;
	uint32_t at = 54 + 16;
	while (at < frame->length) {
		assert_true(at + 8 <= frame->length && frame->bytes[at + 1] > 0);
		if (frame->bytes[at] == type)
			found = frame->bytes + at;
		at += frame->bytes[at + 1] * 8u;
	}
	assert_int_equal(at, frame->length);
	return found;
}

static void router_solicitation(void **unused)
{
	uint8_t body[12] = { 0 };
	snprintf(world.a->domain, sizeof(world.a->domain), "web.example.org");
	world.a->dns[0] = test_ip("10.0.0.2");
	world.a->dns[1] = test_ip("fd00::53");
	world.a->dns[2] = test_ip("fd00::54");
	world.a->dns_count = 3;
	world.vnic[1]->iface.mtu = 1400;
	build(1, "::", "ff02::2", RS, body, 4);
	transmit(1);
	struct frame *frame = world_received(1);
	assert_macs(frame, router_mac(1), "33:33:00:00:00:01");
	assert_ips(frame, "fe80::1", "ff02::1");
	assert_int_equal(frame_ttl(frame), 255);
	static const uint8_t fixed[] = { RA, 0, 0, 0, 64, 0xc0, 1800 >> 8, 1800 & 255, 0, 0, 0, 0, 0, 0, 0, 0 };
	assert_memory_equal(frame->bytes + 54, fixed, 2);
	assert_memory_equal(frame->bytes + 58, fixed + 4, 12);
	assert_memory_equal(option_of(frame, 1) + 2, world.blue->router_mac.bytes, 6);
	static const uint8_t mtu[] = { 5, 1, 0, 0, 0, 0, 1400 >> 8, 1400 & 255 };
	assert_memory_equal(option_of(frame, 5), mtu, sizeof(mtu));
	/* On-link, not autonomous: addresses come by DHCPv6. */
	static const uint8_t prefix[] = {
		3, 4, 64, 0x80, 0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0, 0xfd, 0, 0, 10
	};
	assert_memory_equal(option_of(frame, 3), prefix, sizeof(prefix));
	const uint8_t *rdnss = option_of(frame, 25);
	assert_int_equal(rdnss[1], 5);
	assert_memory_equal(rdnss + 8, world.a->dns[1].bytes, 16);
	assert_memory_equal(rdnss + 24, world.a->dns[2].bytes, 16);
	static const uint8_t dnssl[] = "\x1f\x04\0\0\0\0\x07\x08\x03web\x07"
				       "example\x03org";
	assert_memory_equal(option_of(frame, 31), dnssl, sizeof(dnssl));
	/* To whom it is known who asks. */
	body[4] = body[5] = 1;
	memcpy(body + 6, world.vnic[1]->iface.mac.bytes, 6);
	build(1, "fe80::7", "ff02::2", RS, body, 12);
	transmit(1);
	frame = world_received(1);
	assert_macs(frame, router_mac(1), mac_of(1));
	assert_ips(frame, "fe80::1", "fe80::7");
	/* RFC 4861 6.1.1 */
	build(1, "::", "ff02::2", RS, body, 12);
	refuse(1);
	build(1, "fe80::7", "ff02::2", RS, body, 4);
	message.bytes[21] = 64;
	refuse(1);
}

static void without_dhcp(void **unused)
{
	uint8_t body[4] = { 0 };
	world.a->dhcp = false;
	build(1, "fe80::7", "ff02::2", RS, body, 4);
	transmit(1);
	struct frame *frame = world_received(1);
	assert_int_equal(frame->bytes[59], 0);
	assert_int_equal(option_of(frame, 3)[3], 0xc0);
	assert_null(option_of(frame, 25));
	assert_null(option_of(frame, 31));
	world.a->v6.length = 48;
	transmit(1);
	assert_int_equal(option_of(world_received(1), 3)[3], 0x80);
	/* An IPv4 subnet has no router for IPv6. */
	world.a->v6 = (struct ip_prefix){ 0 };
	transmit(1);
	world_dropped(DROP_SERVICE_HANDLED);
}

static void domain_names(void **unused)
{
	uint8_t wire[256];
	char longest[300];
	assert_int_equal(domain_wire("", wire, sizeof(wire)), 0);
	assert_int_equal(domain_wire("a.", wire, sizeof(wire)), 3);
	assert_memory_equal(wire, "\1a\0", 3);
	assert_int_equal(domain_wire("a..b", wire, sizeof(wire)), 0);
	assert_int_equal(domain_wire(".a", wire, sizeof(wire)), 0);
	memset(longest, 'x', 64);
	longest[64] = 0;
	assert_int_equal(domain_wire(longest, wire, sizeof(wire)), 0);
	longest[63] = 0;
	assert_int_equal(domain_wire(longest, wire, sizeof(wire)), 65);
	assert_int_equal(domain_wire(longest, wire, 64), 0);
	for (unsigned i = 0; i < 299; i++)
		longest[i] = i % 2 ? '.' : 'y';
	longest[299] = 0;
	assert_int_equal(domain_wire(longest, wire, sizeof(wire)), 0);
}

static void advertised_periodically(void **unused)
{
	struct dp_worker *worker = world.bed.dp.worker_states[0];
	static struct frame frame;
	unsigned heard[6] = { 0 };
	uint64_t now = CLOCK_NS_PER_S;
	worker->advertise_ns = 0;
	/* Once in five minutes, and not all at once. */
	for (unsigned second = 0; second < 600; second++, now += CLOCK_NS_PER_S) {
		unsigned at_once = 0;
		ra_tick(worker, now);
		for (unsigned vnic = 1; vnic <= 5; vnic++)
			for (; bed_sent(&world.bed, bed_iface(vnic), &frame); at_once++) {
				assert_int_equal(frame.bytes[54], RA);
				heard[vnic]++;
			}
		assert_true(at_once <= 1);
	}
	for (unsigned vnic = 1; vnic <= 5; vnic++)
		assert_int_equal(heard[vnic], 2);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		CASE(who_has),
		CASE(nobody_has),
		CASE(duplicate_address_detection),
		CASE(invalid_solicitations),
		CASE(rogue_messages),
		CASE(by_tunnel),
		CASE(router_solicitation),
		CASE(without_dhcp),
		cmocka_unit_test(domain_names),
		CASE(advertised_periodically),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
