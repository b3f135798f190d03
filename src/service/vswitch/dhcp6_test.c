/* SPDX-License-Identifier: BSD-3-Clause */
/* DHCPv6 exchanges, byte by byte against RFC 8415. */
#include "service/vswitch/testworld.h"

#include <netinet/in.h>
#include <stdio.h>

enum { SOLICIT = 1, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE, INFORMATION_REQUEST = 11 };
enum { MESSAGE = 62 };

/* DUID of the client; of the router of VPC 1; pieces of messages. */
#define CLIENT_ID        0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 1, 1
#define SERVER_ID        0, 2, 0, 10, 0, 3, 0, 1, 2, 0xff, 0, 0, 0, 1
#define OTHER_SERVER     0, 2, 0, 10, 0, 3, 0, 1, 2, 0xff, 0, 0, 0, 2
#define IA_NA            0, 3, 0, 12, 0xca, 0xfe, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0
#define ADDRESS(last)    0, 5, 0, 24, 0xfd, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 9, 0, 0, 0, 9
#define IA_NA_WITH(last) 0, 3, 0, 40, 0xca, 0xfe, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, ADDRESS(last)
#define ELAPSED          0, 8, 0, 2, 0, 0

static struct frame client;
static const char *src_address, *dst_address;

static void message(unsigned vnic, uint8_t type, const void *options, uint32_t length)
{
	struct frame_spec spec = {
		.src_mac = mac_of(vnic),
		.dst_mac = "33:33:00:01:00:02",
		.src = src_address ? src_address : "fe80::200:ff:fe00:101",
		.dst = dst_address ? dst_address : "ff02::1:2",
		.src_port = 546,
		.dst_port = 547,
		.ttl = 1,
		.payload = 4 + length,
	};
	static const uint8_t transaction[] = { 0xab, 0xcd, 0xef };
	frame_build(&client, &spec);
	client.bytes[MESSAGE] = type;
	memcpy(client.bytes + MESSAGE + 1, transaction, 3);
	if (length)
		memcpy(client.bytes + MESSAGE + 4, options, length);
	frame_fix(&client, 14);
	src_address = dst_address = NULL;
}

static void say(unsigned vnic, uint8_t type, const void *options, uint32_t length)
{
	message(vnic, type, options, length);
	bed_input(&world.bed, bed_iface(vnic), &client);
}
#define SAY(vnic, type, ...)                                                                                           \
	say(vnic, type, ((const uint8_t[]){ __VA_ARGS__ }), sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* The answer: its envelope checked, its options compared as a whole. */
static void assert_answer(uint8_t type, const void *options, uint32_t length)
{
	struct frame *frame = world_received(1);
	assert_macs(frame, router_mac(1), mac_of(1));
	assert_ips(frame, "fe80::1", "fe80::200:ff:fe00:101");
	assert_int_equal(frame_be16(frame, 54), 547);
	assert_int_equal(frame_be16(frame, 56), 546);
	assert_int_equal(frame->bytes[MESSAGE], type);
	assert_memory_equal(frame->bytes + MESSAGE + 1, client.bytes + MESSAGE + 1, 3);
	assert_int_equal(frame->length - MESSAGE - 4, length);
	assert_memory_equal(frame->bytes + MESSAGE + 4, options, length);
	world_quiet();
}
#define ANSWER(type, ...)                                                                                              \
	assert_answer(type, ((const uint8_t[]){ __VA_ARGS__ }), sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* IA_NA of our making: T1, T2 and the address with its lifetimes of one hour. */
#define GIVEN                                                                                                          \
	0, 3, 0, 40, 0xca, 0xfe, 0, 1, 0, 0, 7, 8, 0, 0, 0x0b, 0x40, 0, 5, 0, 24, 0xfd, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0,  \
		0, 0, 0, 0, 0, 0x11, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10

static void solicit_and_request(void **unused)
{
	SAY(1, SOLICIT, CLIENT_ID, ELAPSED, IA_NA);
	ANSWER(ADVERTISE, CLIENT_ID, SERVER_ID, GIVEN);
	SAY(1, REQUEST, CLIENT_ID, SERVER_ID, ELAPSED, IA_NA);
	ANSWER(REPLY, CLIENT_ID, SERVER_ID, GIVEN);
	SAY(1, REQUEST, CLIENT_ID, OTHER_SERVER, IA_NA);
	world_dropped(DROP_SERVICE_HANDLED);
	assert_int_equal(bed_sessions(&world.bed), 0);
}

static void rapid_commit(void **unused)
{
	SAY(1, SOLICIT, CLIENT_ID, 0, 14, 0, 0, IA_NA);
	ANSWER(REPLY, CLIENT_ID, SERVER_ID, 0, 14, 0, 0, GIVEN);
}

static void renew_and_rebind(void **unused)
{
	SAY(1, RENEW, CLIENT_ID, SERVER_ID, IA_NA_WITH(0x11));
	ANSWER(REPLY, CLIENT_ID, SERVER_ID, GIVEN);
	SAY(1, REBIND, CLIENT_ID, IA_NA_WITH(0x11));
	ANSWER(REPLY, CLIENT_ID, SERVER_ID, GIVEN);
	/* An address that is no longer its own ends at once. */
	SAY(1, RENEW, CLIENT_ID, SERVER_ID, IA_NA_WITH(0x99));
	ANSWER(REPLY, CLIENT_ID, SERVER_ID, 0, 3, 0, 68, 0xca, 0xfe, 0, 1, 0, 0, 7, 8, 0, 0, 0x0b, 0x40, 0, 5, 0, 24,
	       0xfd, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 5, 0, 24,
	       0xfd, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99, 0, 0, 0, 0, 0, 0, 0, 0);
}

static void confirm(void **unused)
{
	SAY(1, CONFIRM, CLIENT_ID, IA_NA_WITH(0x99));
	ANSWER(REPLY, CLIENT_ID, SERVER_ID, 0, 13, 0, 2, 0, 0);
	SAY(1, CONFIRM, CLIENT_ID, 0, 3, 0, 40, 0xca, 0xfe, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 24, 0x20, 1, 0x0d,
	    0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 9);
	ANSWER(REPLY, CLIENT_ID, SERVER_ID, 0, 13, 0, 2, 0, 4);
	SAY(1, CONFIRM, CLIENT_ID, IA_NA);
	world_dropped(DROP_SERVICE_HANDLED);
}

static void release_and_decline(void **unused)
{
	SAY(1, RELEASE, CLIENT_ID, SERVER_ID, IA_NA_WITH(0x11));
	ANSWER(REPLY, CLIENT_ID, SERVER_ID, 0, 13, 0, 2, 0, 0);
	SAY(1, DECLINE, CLIENT_ID, SERVER_ID, IA_NA_WITH(0x11));
	ANSWER(REPLY, CLIENT_ID, SERVER_ID, 0, 13, 0, 2, 0, 0);
}

static void configure(void)
{
	world.a->dns[0] = test_ip("10.0.0.2");
	world.a->dns[1] = test_ip("fd00::53");
	world.a->dns_count = 2;
	world.a->ntp[0] = test_ip("fd00::7b");
	world.a->ntp_count = 1;
	snprintf(world.a->domain, sizeof(world.a->domain), "a.bc");
}

#define DNS     0, 23, 0, 16, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53
#define DOMAINS 0, 24, 0, 6, 1, 'a', 2, 'b', 'c', 0
#define NTP     0, 56, 0, 20, 0, 1, 0, 16, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x7b

static void information(void **unused)
{
	configure();
	SAY(1, INFORMATION_REQUEST, CLIENT_ID, 0, 6, 0, 6, 0, 23, 0, 24, 0, 56);
	ANSWER(REPLY, CLIENT_ID, SERVER_ID, DNS, DOMAINS, NTP);
	SAY(1, INFORMATION_REQUEST, 0, 6, 0, 2, 0, 24); /* also without a name */
	ANSWER(REPLY, SERVER_ID, DOMAINS);
	SAY(1, INFORMATION_REQUEST, CLIENT_ID, SERVER_ID);
	ANSWER(REPLY, CLIENT_ID, SERVER_ID, DNS, DOMAINS);
	SAY(1, INFORMATION_REQUEST, CLIENT_ID, IA_NA);
	world_dropped(DROP_SERVICE_MALFORMED);
	SAY(1, INFORMATION_REQUEST, CLIENT_ID, OTHER_SERVER);
	world_dropped(DROP_SERVICE_HANDLED);
	SAY(1, REQUEST, CLIENT_ID, SERVER_ID, IA_NA, 0, 6, 0, 2, 0, 23);
	ANSWER(REPLY, CLIENT_ID, SERVER_ID, GIVEN, DNS);
}

static void other_associations(void **unused)
{
	/* Temporary addresses, prefixes, a second address: none to be had. */
	SAY(1, SOLICIT, CLIENT_ID, 0, 4, 0, 4, 0, 0, 0, 5, IA_NA, 0, 3, 0, 12, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	    25, 0, 12, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0);
	ANSWER(ADVERTISE, CLIENT_ID, SERVER_ID, 0, 4, 0, 10, 0, 0, 0, 5, 0, 13, 0, 2, 0, 2, GIVEN, 0, 3, 0, 18, 0, 0, 0,
	       6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13, 0, 2, 0, 2, 0, 25, 0, 18, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13, 0,
	       2, 0, 6);
	/* A vNIC that has only IPv4. */
	world.vnic[1]->address_count = 1;
	SAY(1, SOLICIT, CLIENT_ID, IA_NA);
	ANSWER(ADVERTISE, CLIENT_ID, SERVER_ID, 0, 3, 0, 18, 0xca, 0xfe, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13, 0, 2, 0,
	       2);
}

static void use_multicast(void **unused)
{
	dst_address = "fe80::1";
	SAY(1, RENEW, CLIENT_ID, SERVER_ID, IA_NA_WITH(0x11));
	ANSWER(REPLY, CLIENT_ID, SERVER_ID, 0, 13, 0, 2, 0, 5);
	dst_address = "fe80::1";
	SAY(1, SOLICIT, CLIENT_ID, IA_NA);
	world_dropped(DROP_SERVICE_MALFORMED);
}

/* RFC 8415 16: which messages are valid at all. */
static void invalid_messages(void **unused)
{
	SAY(1, SOLICIT, IA_NA);
	world_dropped(DROP_SERVICE_MALFORMED);
	SAY(1, SOLICIT, CLIENT_ID, SERVER_ID, IA_NA);
	world_dropped(DROP_SERVICE_MALFORMED);
	SAY(1, REQUEST, CLIENT_ID, IA_NA);
	world_dropped(DROP_SERVICE_MALFORMED);
	SAY(1, REBIND, CLIENT_ID, SERVER_ID, IA_NA);
	world_dropped(DROP_SERVICE_MALFORMED);
	static const uint8_t types[] = { 0, ADVERTISE, REPLY, 10, 12, 13, 255 };
	for (unsigned i = 0; i < sizeof(types); i++) {
		SAY(1, types[i], CLIENT_ID, IA_NA);
		world_dropped(DROP_SERVICE_MALFORMED);
	}
	SAY(1, SOLICIT, 0, 1, 0, 2, 0, 3, IA_NA); /* a DUID of two bytes */
	world_dropped(DROP_SERVICE_MALFORMED);
	SAY(1, SOLICIT, CLIENT_ID, 0, 3, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	world_dropped(DROP_SERVICE_MALFORMED);
	SAY(1, SOLICIT, CLIENT_ID, 0, 6, 0, 3, 0, 23, 0);
	world_dropped(DROP_SERVICE_MALFORMED);
	/* An option inside the association that lies about its length harms nobody. */
	SAY(1, SOLICIT, CLIENT_ID, 0, 3, 0, 16, 0xca, 0xfe, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 99);
	ANSWER(ADVERTISE, CLIENT_ID, SERVER_ID, GIVEN);
	/* Cut off within an option. */
	static const uint8_t whole[] = { CLIENT_ID, IA_NA };
	for (uint32_t length = 15; length < sizeof(whole); length++) {
		say(1, SOLICIT, whole, length);
		world_dropped(DROP_SERVICE_MALFORMED);
	}
	for (uint32_t length = 0; length < 4; length++) {
		message(1, SOLICIT, NULL, 0);
		client.length = MESSAGE + length;
		client.bytes[19] = client.bytes[59] = (uint8_t)(8 + length);
		frame_fix(&client, 14);
		bed_input(&world.bed, bed_iface(1), &client);
		world_dropped(DROP_SERVICE_MALFORMED);
	}
	/* The checksum is not optional with IPv6. */
	message(1, SOLICIT, NULL, 0);
	client.bytes[60] = client.bytes[61] = 0;
	bed_input(&world.bed, bed_iface(1), &client);
	world_dropped(DROP_SERVICE_MALFORMED);
	src_address = "fd00:a::12";
	SAY(1, SOLICIT, CLIENT_ID, IA_NA);
	world_dropped(DROP_SPOOFED_ADDRESS);
	world.a->dhcp = false;
	SAY(1, SOLICIT, CLIENT_ID, IA_NA);
	world_dropped(DROP_SERVICE_HANDLED);
}

static void many_associations(void **unused)
{
	uint8_t options[14 + 80 * 16] = { CLIENT_ID };
	static const uint8_t association[] = { IA_NA };
	for (unsigned i = 0; i < 80; i++)
		memcpy(options + 14 + i * 16, association, 16);
	say(1, SOLICIT, options, sizeof(options));
	struct frame *frame = world_received(1);
	/* The first 16: one with the address, the others without. */
	assert_int_equal(frame->length, MESSAGE + 4 + 14 + 14 + 44 + 15 * 22);
}

static void forever(void **unused)
{
	world.a->lease_seconds = 0;
	SAY(1, SOLICIT, CLIENT_ID, IA_NA);
	struct frame *frame = world_received(1);
	static const uint8_t infinite[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	assert_memory_equal(frame->bytes + MESSAGE + 4 + 28 + 8, infinite, 8);
	assert_memory_equal(frame->bytes + frame->length - 8, infinite, 8);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		CASE(solicit_and_request),
		CASE(rapid_commit),
		CASE(renew_and_rebind),
		CASE(confirm),
		CASE(release_and_decline),
		CASE(information),
		CASE(other_associations),
		CASE(use_multicast),
		CASE(invalid_messages),
		CASE(many_associations),
		CASE(forever),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
