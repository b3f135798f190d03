/* SPDX-License-Identifier: BSD-3-Clause */
/* What the DPU says for itself in the underlay: ARP, neighbour discovery and echo at its tunnel addresses; what it
 * learns there, and to what it keeps silent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <string.h>
#include "service/vswitch/underlay_rig.h"

#define PEER_MAC  "02:bb:00:00:00:02"
#define BROADCAST "ff:ff:ff:ff:ff:ff"

static struct underlay_rig rig;
static struct frame frame, answer;

static int set_up(void **state)
{
	underlay_rig_up(&rig);
	return 0;
}

static int tear_down(void **state)
{
	underlay_rig_down(&rig);
	assert_int_equal(test_pool_used(), 0);
	return 0;
}

/* True and the answer in `answer` if there is one. */
static bool answered(const struct frame *sent)
{
	struct rte_mbuf *m = underlay_rig_input(&rig, frame_mbuf(sent));

	if (!m)
		return false;
	assert_int_equal(m->port, UNDERLAY_RIG_IFACE);
	frame_read(&answer, m);
	rte_pktmbuf_free(m);
	const char *fault = frame_fault(answer.bytes, answer.length);
	if (fault) {
		frame_dump(&answer);
		fail_msg("%s", fault);
	}
	return true;
}

static void put_mac(uint8_t *at, const char *mac)
{
	struct mac_addr bytes = test_mac(mac);
	memcpy(at, bytes.bytes, 6);
}

static void put_ip(uint8_t *at, const char *address)
{
	struct ip_addr ip = test_ip(address);
	memcpy(at, ip.bytes, ip.family == IP_V4 ? 4 : 16);
}

/* Behind the Ethernet header, a tag first unless vlan is 0. */
static void build_arp(uint16_t vlan, uint8_t operation, const char *sender_mac, const char *sender, const char *target)
{
	static const uint8_t head[8] = { 0, 1, 8, 0, 6, 4, 0, 0 };
	uint8_t *at = frame.bytes + 12;

	memset(frame.bytes, 0, 64);
	put_mac(frame.bytes, BROADCAST);
	put_mac(frame.bytes + 6, PEER_MAC);
	if (vlan) {
		memcpy(at, (uint8_t[]){ 0x81, 0, (uint8_t)(vlan >> 8), (uint8_t)vlan }, 4);
		at += 4;
	}
	memcpy(at, (uint8_t[]){ 8, 6 }, 2);
	memcpy(at + 2, head, sizeof(head));
	at[9] = operation;
	put_mac(at + 10, sender_mac);
	put_ip(at + 16, sender);
	put_ip(at + 26, target);
	frame.length = 60;
}

static void assert_mac(const uint8_t *at, const char *mac)
{
	struct mac_addr wanted = test_mac(mac);
	assert_memory_equal(at, wanted.bytes, 6);
}

static void assert_known(unsigned neighbour, const char *mac)
{
	const struct mac_addr *known = neighbour_mac(rig.neighbour[neighbour]);

	if (!mac) {
		assert_null(known);
		return;
	}
	assert_non_null(known);
	assert_mac(known->bytes, mac);
}

static void arp(void **state)
{
	build_arp(0, 1, PEER_MAC, "192.0.2.2", "192.0.2.1");
	assert_true(answered(&frame));
	assert_mac(answer.bytes, PEER_MAC);
	assert_mac(answer.bytes + 6, UNDERLAY_RIG_MAC);
	assert_int_equal(answer.bytes[21], 2);
	assert_mac(answer.bytes + 22, UNDERLAY_RIG_MAC);
	assert_memory_equal(answer.bytes + 28, "\xc0\0\2\1", 4);
	assert_known(0, PEER_MAC);
	/* A probe (RFC 5227) is answered and teaches nothing. */
	build_arp(0, 1, "02:bb:00:00:00:03", "0.0.0.0", "192.0.2.1");
	assert_true(answered(&frame));
	assert_known(0, PEER_MAC);
	/* One that has moved says so to all. */
	build_arp(0, 1, "02:bb:00:00:00:03", "192.0.2.2", "192.0.2.2");
	assert_false(answered(&frame));
	assert_known(0, "02:bb:00:00:00:03");
	build_arp(0, 2, PEER_MAC, "192.0.2.2", "192.0.2.1");
	assert_false(answered(&frame));
	assert_known(0, PEER_MAC);
	/* Nobody is a group, and nobody is asked about others than us. */
	build_arp(0, 1, "03:bb:00:00:00:03", "192.0.2.2", "192.0.2.1");
	assert_false(answered(&frame));
	build_arp(0, 1, "00:00:00:00:00:00", "192.0.2.2", "192.0.2.3");
	assert_false(answered(&frame));
	assert_known(0, PEER_MAC);
	build_arp(0, 1, PEER_MAC, "192.0.2.2", "192.0.2.1");
	frame.bytes[18] = 7; /* addresses of another length */
	assert_false(answered(&frame));
	frame.length = 41;
	assert_false(answered(&frame));
}

static void vlans_are_apart(void **state)
{
	build_arp(UNDERLAY_RIG_VLAN, 1, PEER_MAC, "198.51.100.2", "198.51.100.1");
	assert_true(answered(&frame));
	assert_int_equal(answer.bytes[12] << 8 | answer.bytes[13], 0x8100);
	assert_int_equal(answer.bytes[15], UNDERLAY_RIG_VLAN);
	assert_known(2, PEER_MAC);
	static const uint16_t others[] = { 0, 13 };
	for (unsigned i = 0; i < 2; i++) {
		build_arp(others[i], 1, "02:bb:00:00:00:03", "198.51.100.2", "198.51.100.1");
		assert_false(answered(&frame));
		assert_known(2, PEER_MAC);
	}
	build_arp(UNDERLAY_RIG_VLAN, 1, PEER_MAC, "192.0.2.2", "192.0.2.1");
	assert_false(answered(&frame));
	assert_known(0, NULL);
	/* A tag that only says priority is none. */
	build_arp(UNDERLAY_RIG_VLAN, 1, PEER_MAC, "192.0.2.2", "192.0.2.1");
	frame.bytes[14] = 0xa0;
	frame.bytes[15] = 0;
	assert_true(answered(&frame));
	assert_int_equal(answer.bytes[12] << 8 | answer.bytes[13], 0x0806);
	/* Tags in tags, and one cut off. */
	frame.bytes[16] = 0x81;
	frame.bytes[17] = 0;
	assert_false(answered(&frame));
	frame.length = 17;
	assert_false(answered(&frame));
}

/* A neighbour message with one option, NULL for none. */
static void build_nd(uint8_t type, const char *src, const char *dst, const char *target, const char *mac)
{
	struct frame_spec spec = {
		.src_mac = PEER_MAC,
		.dst_mac = UNDERLAY_RIG_MAC,
		.src = src,
		.dst = dst,
		.proto = IPPROTO_ICMPV6,
		.dst_port = (uint16_t)(type << 8),
		.ttl = 255,
		.payload = mac ? 24 : 16,
	};

	frame_build(&frame, &spec);
	memset(frame.bytes + 58, 0, 4);
	put_ip(frame.bytes + 62, target);
	if (mac) {
		frame.bytes[78] = type == 135 ? 1 : 2;
		frame.bytes[79] = 1;
		put_mac(frame.bytes + 80, mac);
	}
	frame_fix(&frame, 14);
}

static void neighbour_discovery(void **state)
{
	build_nd(135, "2001:db8::2", "ff02::1:ff00:1", "2001:db8::1", PEER_MAC);
	assert_true(answered(&frame));
	assert_mac(answer.bytes, PEER_MAC);
	assert_int_equal(answer.bytes[54], 136);
	assert_int_equal(answer.bytes[58], 0x60);
	assert_mac(answer.bytes + 80, UNDERLAY_RIG_MAC);
	assert_known(1, PEER_MAC);
	/* To the sender of the frame if there is no option. */
	build_nd(135, "2001:db8::2", "2001:db8::1", "2001:db8::1", NULL);
	assert_true(answered(&frame));
	assert_mac(answer.bytes, PEER_MAC);
	/* Somebody tries our address. */
	build_nd(135, "::", "ff02::1:ff00:1", "2001:db8::1", NULL);
	assert_true(answered(&frame));
	assert_mac(answer.bytes, "33:33:00:00:00:01");
	assert_int_equal(answer.bytes[58], 0x20);
	build_nd(136, "2001:db8::2", "2001:db8::1", "2001:db8::2", "02:bb:00:00:00:03");
	assert_false(answered(&frame));
	assert_known(1, "02:bb:00:00:00:03");
}

/* RFC 4861 7.1 */
static void malformed_discovery(void **state)
{
	static const struct {
		uint32_t offset;
		uint8_t value;
	} faults[] = { { 21, 254 }, { 55, 1 }, { 79, 0 }, { 79, 2 } };
	for (unsigned i = 0; i < 4; i++) {
		build_nd(135, "2001:db8::2", "ff02::1:ff00:1", "2001:db8::1", PEER_MAC);
		frame.bytes[faults[i].offset] = faults[i].value;
		frame_fix(&frame, 14);
		assert_false(answered(&frame));
	}
	build_nd(135, "2001:db8::2", "ff02::1:ff00:1", "2001:db8::1", PEER_MAC);
	frame.bytes[56] ^= 1;
	assert_false(answered(&frame));
	build_nd(135, "2001:db8::2", "ff02::1:ff00:1", "2001:db8::1", "03:bb:00:00:00:02");
	assert_false(answered(&frame));
	build_nd(135, "ff02::5", "ff02::1:ff00:1", "2001:db8::1", PEER_MAC);
	assert_false(answered(&frame));
	for (uint32_t length = 14; length < 86; length++) {
		build_nd(135, "2001:db8::2", "ff02::1:ff00:1", "2001:db8::1", PEER_MAC);
		frame.length = length;
		assert_false(answered(&frame));
	}
	assert_known(1, NULL);
	/* Others' routers, redirects, listeners. */
	static const uint8_t types[] = { 133, 134, 137, 130, 143, 128 };
	for (unsigned i = 0; i < 6; i++) {
		build_nd(types[i], "2001:db8::2", "ff02::1", "2001:db8::1", PEER_MAC);
		assert_false(answered(&frame));
	}
}

static const struct frame_spec ping_v4 = { .src_mac = PEER_MAC,
					   .dst_mac = UNDERLAY_RIG_MAC,
					   .src = "192.0.2.9",
					   .dst = "192.0.2.1",
					   .proto = IPPROTO_ICMP,
					   .dst_port = 8 << 8,
					   .payload = 56 },
			       ping_v6 = { .src_mac = PEER_MAC,
					   .dst_mac = UNDERLAY_RIG_MAC,
					   .src = "2001:db8::9",
					   .dst = "2001:db8::1",
					   .proto = IPPROTO_ICMPV6,
					   .dst_port = 128 << 8,
					   .payload = 56 };

static void echo(void **state)
{
	frame_build(&frame, &ping_v4);
	assert_true(answered(&frame));
	assert_mac(answer.bytes, PEER_MAC);
	assert_mac(answer.bytes + 6, UNDERLAY_RIG_MAC);
	assert_memory_equal(answer.bytes + 26, "\xc0\0\2\1\xc0\0\2\x09", 8);
	assert_int_equal(answer.bytes[34], 0);
	assert_memory_equal(answer.bytes + 38, frame.bytes + 38, frame.length - 38);
	frame_build(&frame, &ping_v6);
	assert_true(answered(&frame));
	assert_int_equal(answer.bytes[54], 129);
	assert_memory_equal(answer.bytes + 58, frame.bytes + 58, frame.length - 58);
	struct frame_spec spec = ping_v4;
	/* Of zeros, it has a checksum that no other packet has. */
	spec.payload = 0;
	frame_build(&frame, &spec);
	memset(frame.bytes + 38, 0, 4);
	frame_fix(&frame, 14);
	assert_true(answered(&frame));
	spec = ping_v4;
	static const uint8_t options[8] = { 1, 1, 1, 1, 1, 1, 1, 0 };
	spec.options = options;
	spec.ip_options_length = 8;
	frame_build(&frame, &spec);
	assert_true(answered(&frame));
}

static void assert_silence(struct frame_spec spec)
{
	frame_build(&frame, &spec);
	assert_false(answered(&frame));
}

#define SILENCE(base, ...)                                                                                             \
	do {                                                                                                           \
		struct frame_spec spec_ = base;                                                                        \
		spec_.__VA_ARGS__;                                                                                     \
		assert_silence(spec_);                                                                                 \
	} while (0)

static void no_echo(void **state)
{
	/* From what is no host, or by a frame that many got; in pieces; for another address. */
	SILENCE(ping_v4, src = "255.255.255.255");
	SILENCE(ping_v4, src = "224.0.0.1");
	SILENCE(ping_v4, src = "0.0.0.0");
	SILENCE(ping_v4, src_mac = "03:bb:00:00:00:02");
	SILENCE(ping_v4, dst_mac = BROADCAST);
	SILENCE(ping_v6, dst_mac = "33:33:00:00:00:01");
	SILENCE(ping_v4, fragment = 0x2000);
	SILENCE(ping_v4, fragment = 0x2001);
	SILENCE(ping_v4, fragment = 1);
	SILENCE(ping_v4, dst = "198.51.100.1");
	SILENCE(ping_v4, dst_port = 0);
	SILENCE(ping_v4, dst_port = 13 << 8); /* timestamp */
	SILENCE(ping_v4, dst_port = 3 << 8 | 4);
	SILENCE(ping_v4, proto = IPPROTO_TCP);
	SILENCE(ping_v6, src = "ff02::1");
	SILENCE(ping_v6, src = "::");
	SILENCE(ping_v6, dst_port = 2 << 8);
	SILENCE(ping_v6, dst_port = 129 << 8);
	frame_build(&frame, &ping_v4);
	frame.bytes[frame.length - 1] ^= 1;
	assert_false(answered(&frame));
	frame_build(&frame, &ping_v6);
	frame.bytes[frame.length - 1] ^= 1;
	assert_false(answered(&frame));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(arp),  CASE(vlans_are_apart), CASE(neighbour_discovery), CASE(malformed_discovery),
		CASE(echo), CASE(no_echo),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
