/* SPDX-License-Identifier: BSD-3-Clause */
/* DHCPv4 exchanges, byte by byte against RFC 2131 and RFC 2132. */
#include "service/vswitch/testworld.h"

#include <netinet/in.h>
#include <stdio.h>

enum { DISCOVER = 1, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM };
enum { BOOTP = 42, OPTIONS = 42 + 240 };

static struct frame client;

/* What the next message of a client is to be; reset by every call of message(). */
static const char *ciaddr, *src_address, *dst_address, *chaddr;
static bool broadcast_flag;

/* A client's message with these options behind the message type, up to an END that is added. */
static void message(unsigned vnic, uint8_t type, const void *options, uint32_t length)
{
	uint8_t body[1400] = { 1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 7 };
	struct mac_addr mac = chaddr ? test_mac(chaddr) : world.vnic[vnic]->iface.mac;
	static const uint8_t cookie[] = { 99, 130, 83, 99, 53, 1 };
	body[10] = broadcast_flag ? 0x80 : 0;
	if (ciaddr) {
		struct ip_addr address = test_ip(ciaddr);
		memcpy(body + 12, address.bytes, 4);
	}
	memcpy(body + 28, mac.bytes, 6);
	memcpy(body + 236, cookie, sizeof(cookie));
	body[242] = type;
	if (length)
		memcpy(body + 243, options, length);
	body[243 + length] = 255;
	struct frame_spec spec = {
		.src_mac = mac_of(vnic),
		.dst_mac = "ff:ff:ff:ff:ff:ff",
		.src = src_address ? src_address : "0.0.0.0",
		.dst = dst_address ? dst_address : "255.255.255.255",
		.src_port = 68,
		.dst_port = 67,
		.payload = 244 + length,
	};
	frame_build(&client, &spec);
	memcpy(client.bytes + BOOTP, body, spec.payload);
	frame_fix(&client, 14);
	ciaddr = src_address = dst_address = chaddr = NULL;
	broadcast_flag = false;
}

static void say(unsigned vnic, uint8_t type, const void *options, uint32_t length)
{
	message(vnic, type, options, length);
	bed_input(&world.bed, bed_iface(vnic), &client);
}
#define SAY(vnic, type, ...)                                                                                           \
	say(vnic, type, ((const uint8_t[]){ __VA_ARGS__ }), sizeof((const uint8_t[]){ __VA_ARGS__ }))

static const uint8_t *option_of(const struct frame *frame, uint8_t code)
{
	uint32_t at = OPTIONS;
	while (frame->bytes[at] != 255) {
		assert_true(frame->bytes[at] != 0);
		if (frame->bytes[at] == code)
			return frame->bytes + at + 1;
		at += 2u + frame->bytes[at + 1];
		assert_true(at < frame->length);
	}
	return NULL;
}

static void assert_option(const struct frame *frame, uint8_t code, const void *value, uint8_t length)
{
	const uint8_t *option = option_of(frame, code);
	if (!option)
		fail_msg("option %u is missing", code);
	assert_int_equal(option[0], length);
	assert_memory_equal(option + 1, value, length);
}

static void assert_address(const struct frame *frame, uint32_t offset, const char *address)
{
	struct ip_addr ip = test_ip(address);
	assert_memory_equal(frame->bytes + offset, ip.bytes, 4);
}

static void assert_answer(const struct frame *frame, uint8_t type, const char *yiaddr, const char *dst, const char *mac)
{
	assert_macs(frame, router_mac(1), mac);
	assert_ips(frame, "10.0.0.1", dst);
	assert_int_equal(frame_be16(frame, 34), 67);
	assert_int_equal(frame_be16(frame, 36), 68);
	assert_true(frame->length >= BOOTP + 300);
	static const uint8_t fixed[] = { 2, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0 };
	assert_memory_equal(frame->bytes + BOOTP, fixed, sizeof(fixed));
	assert_address(frame, BOOTP + 16, yiaddr);
	assert_memory_equal(frame->bytes + BOOTP + 28, client.bytes + BOOTP + 28, 16);
	for (unsigned i = 44; i < 236; i++)
		assert_int_equal(frame->bytes[BOOTP + i], 0);
	static const uint8_t cookie[] = { 99, 130, 83, 99 };
	assert_memory_equal(frame->bytes + OPTIONS - 4, cookie, 4);
	assert_option(frame, 53, &type, 1);
	assert_option(frame, 54, "\x0a\0\0\x01", 4);
}

static void configure(void)
{
	struct dp_subnet *a = world.a;
	a->dns[0] = test_ip("10.0.0.2");
	a->dns[1] = test_ip("fd00::53");
	a->dns[2] = test_ip("8.8.8.8");
	a->dns_count = 3;
	a->ntp[0] = test_ip("10.0.0.3");
	a->ntp_count = 1;
	a->lease_seconds = 7200;
	snprintf(a->domain, sizeof(a->domain), "example.org");
	snprintf(world.vnic[1]->hostname, sizeof(world.vnic[1]->hostname), "web1");
	world.vnic[1]->iface.mtu = 1450;
	a->classless_routes[0].prefix.addr = test_ip("192.168.128.0");
	a->classless_routes[0].prefix.length = 17;
	a->classless_routes[0].next_hop = test_ip("10.0.0.254");
	a->classless_routes[1].prefix.addr = test_ip("10.1.2.3");
	a->classless_routes[1].prefix.length = 32;
	a->classless_routes[1].next_hop = test_ip("10.0.0.253");
	a->classless_route_count = 2;
}

static void assert_configuration(const struct frame *frame)
{
	assert_option(frame, 51, "\0\0\x1c\x20", 4);
	assert_option(frame, 58, "\0\0\x0e\x10", 4);
	assert_option(frame, 59, "\0\0\x18\x9c", 4);
	assert_option(frame, 1, "\xff\xff\xff\0", 4);
	assert_option(frame, 3, "\x0a\0\0\x01", 4);
	assert_option(frame, 6, "\x0a\0\0\x02\x08\x08\x08\x08", 8);
	assert_option(frame, 42, "\x0a\0\0\x03", 4);
	assert_option(frame, 15, "example.org", 11);
	assert_option(frame, 12, "web1", 4);
	assert_option(frame, 26, "\x05\xaa", 2);
	/* RFC 3442: width, significant octets, router; the default route is among them. */
	static const uint8_t routes[] = { 17, 192, 168, 128, 10, 0,   0, 254, 32, 10, 1,
					  2,  3,   10,  0,   0,  253, 0, 10,  0,  0,  1 };
	assert_option(frame, 121, routes, sizeof(routes));
}

static void discover_and_request(void **unused)
{
	configure();
	say(1, DISCOVER, NULL, 0);
	struct frame *frame = world_received(1);
	assert_answer(frame, OFFER, "10.0.0.11", "10.0.0.11", mac_of(1));
	assert_configuration(frame);
	/* Selecting: it names us and what it was offered. */
	SAY(1, REQUEST, 54, 4, 10, 0, 0, 1, 50, 4, 10, 0, 0, 11);
	frame = world_received(1);
	assert_answer(frame, ACK, "10.0.0.11", "10.0.0.11", mac_of(1));
	assert_configuration(frame);
	assert_int_equal(frame->bytes[BOOTP + 10], 0);
	/* It has chosen another server. */
	SAY(1, REQUEST, 54, 4, 10, 0, 0, 99, 50, 4, 10, 0, 0, 11);
	world_dropped(DROP_SERVICE_HANDLED);
	/* It wants what it was not offered: NAK, to all (RFC 2131 4.3.2). */
	SAY(1, REQUEST, 54, 4, 10, 0, 0, 1, 50, 4, 10, 0, 0, 12);
	frame = world_received(1);
	assert_answer(frame, NAK, "0.0.0.0", "255.255.255.255", "ff:ff:ff:ff:ff:ff");
	assert_null(option_of(frame, 51));
	assert_null(option_of(frame, 3));
	world_quiet();
	assert_int_equal(bed_sessions(&world.bed), 0);
}

static void broadcast_when_asked(void **unused)
{
	broadcast_flag = true;
	say(1, DISCOVER, NULL, 0);
	struct frame *frame = world_received(1);
	assert_answer(frame, OFFER, "10.0.0.11", "255.255.255.255", "ff:ff:ff:ff:ff:ff");
	assert_int_equal(frame->bytes[BOOTP + 10], 0x80);
}

static void init_reboot(void **unused)
{
	SAY(1, REQUEST, 50, 4, 10, 0, 0, 11);
	assert_answer(world_received(1), ACK, "10.0.0.11", "10.0.0.11", mac_of(1));
	SAY(1, REQUEST, 50, 4, 192, 168, 0, 11);
	assert_answer(world_received(1), NAK, "0.0.0.0", "255.255.255.255", "ff:ff:ff:ff:ff:ff");
}

static void renewing_and_rebinding(void **unused)
{
	/* Renewing: unicast to the server; rebinding: to all. The answer goes to ciaddr. */
	for (unsigned i = 0; i < 2; i++) {
		ciaddr = src_address = "10.0.0.11";
		dst_address = i ? NULL : "10.0.0.1";
		say(1, REQUEST, NULL, 0);
		struct frame *frame = world_received(1);
		assert_answer(frame, ACK, "10.0.0.11", "10.0.0.11", mac_of(1));
		assert_address(frame, BOOTP + 12, "10.0.0.11");
	}
	ciaddr = "10.0.0.12";
	say(1, REQUEST, NULL, 0);
	assert_answer(world_received(1), NAK, "0.0.0.0", "255.255.255.255", "ff:ff:ff:ff:ff:ff");
	/* Neither one nor the other. */
	say(1, REQUEST, NULL, 0);
	world_dropped(DROP_SERVICE_MALFORMED);
}

static void inform(void **unused)
{
	configure();
	ciaddr = src_address = "10.0.0.11";
	say(1, INFORM, NULL, 0);
	struct frame *frame = world_received(1);
	assert_answer(frame, ACK, "0.0.0.0", "10.0.0.11", mac_of(1));
	assert_null(option_of(frame, 51));
	assert_null(option_of(frame, 58));
	assert_option(frame, 15, "example.org", 11);
	ciaddr = "10.0.0.12";
	say(1, INFORM, NULL, 0);
	world_dropped(DROP_SERVICE_HANDLED);
}

static void only_what_is_asked_for(void **unused)
{
	configure();
	SAY(1, DISCOVER, 55, 3, 1, 3, 26);
	struct frame *frame = world_received(1);
	static const uint8_t given[] = { 53, 54, 51, 58, 59, 1, 3, 26 }, withheld[] = { 6, 12, 15, 42, 121, 249 };
	for (unsigned i = 0; i < sizeof(given); i++)
		assert_non_null(option_of(frame, given[i]));
	for (unsigned i = 0; i < sizeof(withheld); i++)
		assert_null(option_of(frame, withheld[i]));
	/* The subnet mask precedes the router (RFC 2132 3.3). */
	assert_true(option_of(frame, 1) < option_of(frame, 3));
	SAY(1, DISCOVER, 55, 2, 249, 121);
	frame = world_received(1);
	assert_non_null(option_of(frame, 121));
	assert_non_null(option_of(frame, 249));
	assert_null(option_of(frame, 1));
	/* No routes, no such option; a configured default route is not doubled. */
	world.a->classless_routes[0].prefix = (struct ip_prefix){ .addr.family = IP_V4 };
	world.a->classless_route_count = 1;
	say(1, DISCOVER, NULL, 0);
	assert_option(world_received(1), 121, "\0\x0a\0\0\xfe", 5);
	world.a->classless_route_count = 0;
	say(1, DISCOVER, NULL, 0);
	assert_null(option_of(world_received(1), 121));
}

static void client_identifier_comes_back(void **unused)
{
	SAY(1, DISCOVER, 61, 7, 1, 2, 3, 4, 5, 6, 7);
	assert_option(world_received(1), 61, "\1\2\3\4\5\6\7", 7);
}

static void answers_fit(void **unused)
{
	configure();
	/* 576 bytes of IP if the client says nothing more (RFC 2131 2). */
	memset(world.a->domain, 'a', 250);
	world.a->domain[250] = 0;
	uint8_t id[202] = { 61, 200 };
	say(1, DISCOVER, id, sizeof(id));
	struct frame *frame = world_received(1);
	assert_true(frame->length <= 14 + 576);
	assert_non_null(option_of(frame, 3));
	assert_null(option_of(frame, 15));
	uint8_t more[206] = { 57, 2, 1400 >> 8, 1400 & 255, 61, 200 };
	say(1, DISCOVER, more, sizeof(more));
	frame = world_received(1);
	assert_true(frame->length <= 14 + 1400);
	assert_non_null(option_of(frame, 15));
	/* A client that takes less than every client must is not believed. */
	SAY(1, DISCOVER, 57, 2, 0, 10);
	assert_non_null(option_of(world_received(1), 3));
}

static void options_in_other_fields(void **unused)
{
	/* RFC 2132 9.3: the requested address is in `file`, the server in `sname`. */
	SAY(1, REQUEST, 52, 1, 3);
	world_dropped(DROP_SERVICE_MALFORMED); /* nothing there: neither selecting nor renewing */
	message(1, REQUEST, "\x34\1\3", 3);
	memcpy(client.bytes + BOOTP + 108, "\x32\4\x0a\0\0\x0b\xff", 7);
	memcpy(client.bytes + BOOTP + 44, "\x36\4\x0a\0\0\x01\xff", 7);
	frame_fix(&client, 14);
	bed_input(&world.bed, bed_iface(1), &client);
	struct frame *frame = world_received(1);
	assert_option(frame, 53, "\5", 1);
	assert_address(frame, BOOTP + 16, "10.0.0.11");
}

static void released_and_declined(void **unused)
{
	say(1, RELEASE, NULL, 0);
	world_dropped(DROP_SERVICE_HANDLED);
	say(1, DECLINE, NULL, 0);
	world_dropped(DROP_SERVICE_HANDLED);
	say(1, DISCOVER, NULL, 0);
	world_received(1);
}

static void not_served(void **unused)
{
	world.a->dhcp = false;
	say(1, DISCOVER, NULL, 0);
	world_dropped(DROP_SERVICE_HANDLED);
	world.a->dhcp = true;
	/* A vNIC that has only IPv6. */
	world.vnic[2]->addresses[0] = world.vnic[2]->addresses[1];
	world.vnic[2]->address_count = 1;
	say(2, DISCOVER, NULL, 0);
	world_dropped(DROP_SERVICE_HANDLED);
	/* From behind a relay, and from behind a tunnel. */
	message(1, DISCOVER, NULL, 0);
	client.bytes[BOOTP + 24] = 10;
	frame_fix(&client, 14);
	bed_input(&world.bed, bed_iface(1), &client);
	world_dropped(DROP_SERVICE_HANDLED);
	src_address = "10.0.0.21";
	message(1, DISCOVER, NULL, 0);
	bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &client);
	world_dropped(DROP_SERVICE_HANDLED);
	/* Under another's name. */
	chaddr = mac_of(2);
	say(1, DISCOVER, NULL, 0);
	world_dropped(DROP_SPOOFED_MAC);
	src_address = "10.0.0.12";
	say(1, DISCOVER, NULL, 0);
	world_dropped(DROP_SPOOFED_ADDRESS);
}

static void malformed(void **unused)
{
	static const uint8_t bad_types[] = { 0, OFFER, ACK, NAK, 9, 255 };
	for (unsigned i = 0; i < sizeof(bad_types); i++) {
		say(1, bad_types[i], NULL, 0);
		world_dropped(DROP_SERVICE_MALFORMED);
	}
	static const struct {
		uint32_t offset;
		uint8_t value;
	} faults[] = { { 0, 2 }, { 1, 6 }, { 2, 16 }, { 236, 0 }, { 241, 2 }, { 241, 200 } };
	for (unsigned i = 0; i < RTE_DIM(faults); i++) {
		message(1, DISCOVER, NULL, 0);
		client.bytes[BOOTP + faults[i].offset] = faults[i].value;
		frame_fix(&client, 14);
		bed_input(&world.bed, bed_iface(1), &client);
		world_dropped(DROP_SERVICE_MALFORMED);
	}
	/* Options that end early, or say more than there is. */
	SAY(1, DISCOVER, 50, 4, 10);
	world_dropped(DROP_SERVICE_MALFORMED);
	SAY(1, DISCOVER, 50, 3, 10, 0, 0);
	world_dropped(DROP_SERVICE_MALFORMED);
	SAY(1, DISCOVER, 57, 1, 5);
	world_dropped(DROP_SERVICE_MALFORMED);
	/* A wrong checksum; none is right as well. */
	message(1, DISCOVER, NULL, 0);
	client.bytes[40] ^= 1;
	bed_input(&world.bed, bed_iface(1), &client);
	world_dropped(DROP_SERVICE_MALFORMED);
	client.bytes[40] = client.bytes[41] = 0;
	bed_input(&world.bed, bed_iface(1), &client);
	world_received(1);
	/* Cut off anywhere. */
	for (uint32_t bytes = 8; bytes < 8 + 241; bytes++) {
		message(1, DISCOVER, NULL, 0);
		client.length = 34 + bytes;
		client.bytes[16] = (uint8_t)((20 + bytes) >> 8);
		client.bytes[17] = (uint8_t)(20 + bytes);
		client.bytes[38] = (uint8_t)(bytes >> 8);
		client.bytes[39] = (uint8_t)bytes;
		frame_fix(&client, 14);
		bed_input(&world.bed, bed_iface(1), &client);
		world_dropped(DROP_SERVICE_MALFORMED);
	}
	world_quiet();
}

/* What passes between two vNICs is theirs. */
static void servers_of_tenants(void **unused)
{
	world_send(1, &(struct frame_spec){
			      .src = "10.0.0.11", .dst = "10.0.0.12", .src_port = 68, .dst_port = 67, .payload = 300 });
	world_received(2);
	world_send(2, &(struct frame_spec){
			      .src = "10.0.0.12", .dst = "10.0.0.11", .src_port = 67, .dst_port = 68, .payload = 300 });
	world_received(1);
	world_quiet();
}

static void forever(void **unused)
{
	world.a->lease_seconds = 0;
	say(1, DISCOVER, NULL, 0);
	struct frame *frame = world_received(1);
	assert_option(frame, 51, "\xff\xff\xff\xff", 4);
	assert_null(option_of(frame, 58));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		CASE(discover_and_request),
		CASE(broadcast_when_asked),
		CASE(init_reboot),
		CASE(renewing_and_rebinding),
		CASE(inform),
		CASE(only_what_is_asked_for),
		CASE(client_identifier_comes_back),
		CASE(answers_fit),
		CASE(options_in_other_fields),
		CASE(released_and_declined),
		CASE(not_served),
		CASE(malformed),
		CASE(servers_of_tenants),
		CASE(forever),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
