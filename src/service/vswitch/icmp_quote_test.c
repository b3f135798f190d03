/* SPDX-License-Identifier: BSD-3-Clause */
/* ICMP errors by what they quote: cut off anywhere, about flows of every kind, in both directions and through tunnels,
 * about nobody's packets, with wrong addresses; and path MTU discovery from end to end. */
#include "service/vswitch/testpackets.h"
#include "service/vswitch/testworld.h"

#include <netinet/in.h>

static const struct ends {
	const char *a, *b, *c, *remote, *nobody, *router;
	uint8_t icmp, echo, reply;
	uint32_t least; /* bytes that must be quoted */
} ends[2] = {
	{ "10.0.0.11", "10.0.0.12", "10.0.1.13", "10.0.0.21", "10.0.0.77", "10.99.0.1", IPPROTO_ICMP, 8, 0, 28 },
	{ "fd00:a::11", "fd00:a::12", "fd00:b::13", "fd00:a::21", "fd00:a::77", "fd00:99::1", IPPROTO_ICMPV6, 128, 129,
	  48 },
};

/* Every message that says something about a packet; the second word as it may be. */
static const struct message {
	uint8_t type, code;
	uint32_t value;
} messages[2][10] = {
	{ { 3, 0, 0 },
	  { 3, 1, 0 },
	  { 3, 3, 0 },
	  { 3, 4, 1300 },
	  { 3, 13, 0 },
	  { 4, 0, 0 },
	  { 11, 0, 0 },
	  { 11, 1, 0 },
	  { 12, 0, 9u << 24 } },
	{ { 1, 0, 0 },
	  { 1, 1, 0 },
	  { 1, 3, 0 },
	  { 1, 4, 0 },
	  { 1, 6, 0 },
	  { 2, 0, 1300 },
	  { 3, 0, 0 },
	  { 3, 1, 0 },
	  { 4, 1, 40 } },
};

static struct frame sent, error;

/* A UDP, TCP or echo flow. */
static struct frame_spec flow(unsigned kind, unsigned family, const char *src, const char *dst)
{
	const struct ends *e = &ends[family];
	const uint8_t protos[] = { IPPROTO_UDP, IPPROTO_TCP, e->icmp };
	return (struct frame_spec){
		.src = src,
		.dst = dst,
		.proto = protos[kind],
		.src_port = (uint16_t)(1000 + kind),
		.dst_port = kind == 2 ? (uint16_t)(e->echo << 8) : 80,
		.tcp_flags = 0x02,
		.payload = 30,
	};
}

static void begin(unsigned vnic, struct frame_spec spec)
{
	spec.src_mac = mac_of(vnic);
	frame_build(&sent, &spec);
	bed_input(&world.bed, bed_iface(vnic), &sent);
}

static void complain(unsigned vnic, const char *from, const char *to, struct message message, uint32_t quoted)
{
	struct error_spec spec = { mac_of(vnic), from, to, message.type, message.code, message.value, &sent, quoted };
	frame_icmp_error(&error, &spec);
	bed_input(&world.bed, bed_iface(vnic), &error);
}

static void complain_from(const char *vtep, const char *from, const char *to, struct message message)
{
	struct error_spec spec = { NULL, from, to, message.type, message.code, message.value, &sent, 1000 };
	frame_icmp_error(&error, &spec);
	bed_tunnelled(&world.bed, vtep, BLUE_VNI, &error);
}

/* It arrives as it was sent, but for what a hop changes. */
static void assert_same(const struct frame *frame)
{
	uint32_t l4 = frame->bytes[14] >> 4 == 4 ? 34 : 54;
	assert_int_equal(frame->length, error.length);
	assert_memory_equal(frame->bytes + l4, error.bytes + l4, error.length - l4);
}

static void cut_off_anywhere(void **unused)
{
	for (unsigned i = 0; i < 6; i++) {
		unsigned family = i % 2;
		const struct ends *e = &ends[family];
		begin(1, flow(i / 2, family, e->a, e->c));
		world_received(3);
		for (uint32_t quoted = 0; quoted <= sent.length - 14; quoted++) {
			complain(3, e->c, e->a, messages[family][2], quoted);
			if (quoted < e->least)
				world_dropped(DROP_ICMP_UNRELATED);
			else
				assert_same(world_received(1));
		}
	}
	world_quiet();
}

static void of_every_kind(void **unused)
{
	static const char *const nothing[] = { NULL }, *const all[] = { "any", NULL };
	bed_rules(&world.bed, world.vnic[1], true, 1, all);
	bed_rules(&world.bed, world.vnic[1], false, 1, nothing);
	bed_rules(&world.bed, world.vnic[3], true, 1, nothing);
	bed_rules(&world.bed, world.vnic[3], false, 1, all);
	for (unsigned i = 0; i < 6; i++) {
		unsigned family = i % 2, kind = i / 2;
		const struct ends *e = &ends[family];
		begin(1, flow(kind, family, e->a, e->c));
		world_received(3);
		for (unsigned m = 0; messages[family][m].type; m++) {
			complain(3, e->c, e->a, messages[family][m], 1000);
			assert_same(world_received(1));
		}
		/* About the answer, by the one who asked. */
		struct frame_spec answer = flow(kind, family, e->c, e->a);
		answer.src_port = kind == 2 ? 1002 : 80;
		answer.dst_port = kind == 2 ? (uint16_t)(e->reply << 8) : (uint16_t)(1000 + kind);
		answer.tcp_flags = 0x12;
		begin(3, answer);
		world_received(1);
		complain(1, e->a, e->c, messages[family][2], 1000);
		assert_same(world_received(3));
	}
	assert_int_equal(bed_sessions(&world.bed), 6);
	world_quiet();
}

static void through_tunnels(void **unused)
{
	for (unsigned i = 0; i < 6; i++) {
		unsigned family = i % 2, kind = i / 2;
		const struct ends *e = &ends[family];
		begin(1, flow(kind, family, e->a, e->remote));
		world_received_by(VTEP_2);
		for (unsigned m = 0; messages[family][m].type; m++) {
			complain_from(VTEP_2, m % 2 ? e->remote : e->router, e->a, messages[family][m]);
			assert_same(world_received(1));
			complain_from(VTEP_3, m % 2 ? e->remote : e->router, e->a, messages[family][m]);
			world_dropped(DROP_SPOOFED_TUNNEL);
		}
		/* To another than the sender of what is quoted. */
		complain_from(VTEP_2, e->remote, e->b, messages[family][0]);
		world_dropped(DROP_ICMP_UNRELATED);
		/* The other way round. */
		struct frame_spec spec = flow(kind, family, e->remote, e->b);
		frame_build(&sent, &spec);
		bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &sent);
		world_received(2);
		complain(2, e->b, e->remote, messages[family][2], 1000);
		assert_same(world_received_by(VTEP_2));
	}
	world_quiet();
}

static void about_nobody(void **unused)
{
	for (unsigned family = 0; family < 2; family++) {
		const struct ends *e = &ends[family];
		struct message message = messages[family][2];
		struct frame_spec spec = flow(0, family, e->a, e->c);
		begin(1, spec);
		world_received(3);
		/* Each part of what is quoted is of another flow. */
		struct frame_spec others[] = { spec, spec, spec, spec, spec };
		others[0].src = e->b;
		others[1].dst = e->b;
		others[2].src_port++;
		others[3].dst_port++;
		others[4].proto = IPPROTO_TCP;
		for (unsigned i = 0; i < 5; i++) {
			frame_build(&sent, &others[i]);
			complain(3, e->c, others[i].src, message, 1000);
			world_dropped(DROP_ICMP_UNRELATED);
		}
		/* The error itself is addressed wrong, or sent by another. */
		frame_build(&sent, &spec);
		complain(3, e->c, e->b, message, 1000);
		world_dropped(DROP_ICMP_UNRELATED);
		complain(3, e->b, e->a, message, 1000);
		world_dropped(DROP_SPOOFED_ADDRESS);
		complain(3, e->nobody, e->a, message, 1000);
		world_dropped(DROP_SPOOFED_ADDRESS);
		complain(2, e->b, e->a, message, 1000);
		world_dropped(DROP_ICMP_UNRELATED);
		/* Of the next tenant, who has the same addresses. */
		frame_build(&sent, &spec);
		complain(5, e->b, e->a, message, 1000);
		world_dropped(DROP_ICMP_UNRELATED);
		/* About an error. */
		complain(3, e->c, e->a, message, 1000);
		world_received(1);
		sent = error;
		complain(1, e->a, e->c, message, 1000);
		world_dropped(DROP_ICMP_UNRELATED);
	}
	assert_int_equal(bed_sessions(&world.bed), 2);
}

static void about_something_else(void **unused)
{
	for (unsigned family = 0; family < 2; family++) {
		const struct ends *e = &ends[family];
		begin(1, flow(0, family, e->a, e->c));
		world_received(3);
		/* Of the other version, of none, with a header that goes on and on. */
		static const uint8_t versions[] = { 0x05, 0x00, 0xf5 };
		for (unsigned i = 0; i < 3; i++) {
			uint8_t kept = sent.bytes[14];
			sent.bytes[14] = i ? versions[i] : family ? 0x45 : 0x60;
			complain(3, e->c, e->a, messages[family][2], 1000);
			sent.bytes[14] = kept;
			world_dropped(DROP_ICMP_UNRELATED);
		}
		sent.bytes[family ? 20 : 14] = family ? IPPROTO_DSTOPTS : 0x4f;
		complain(3, e->c, e->a, messages[family][2], 60);
		world_dropped(DROP_ICMP_UNRELATED);
	}
	/* A later fragment: which flow it is of, nobody can tell. */
	struct frame_spec spec = flow(0, 0, ends[0].a, ends[0].c);
	spec.fragment = 100;
	frame_build(&sent, &spec);
	complain(3, ends[0].c, ends[0].a, messages[0][2], 1000);
	world_dropped(DROP_ICMP_UNRELATED);
}

/* ---- path MTU discovery ---- */

enum { OUTER = 50 };

/* A packet of `bytes`, its headers included, that must not be cut. */
static void send_whole(unsigned family, unsigned proto, uint32_t bytes)
{
	struct frame_spec spec = flow(proto == IPPROTO_TCP, family, ends[family].a, ends[family].remote);
	spec.fragment = 0x4000;
	spec.payload = bytes - (family ? 40 : 20) - (proto == IPPROTO_TCP ? 20 : 8);
	begin(1, spec);
}

static void path_mtu(void **unused)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned family = i % 2, proto = i / 2 ? IPPROTO_TCP : IPPROTO_UDP;
		const struct ends *e = &ends[family];
		struct message too_big = family ? (struct message){ 2, 0, 1300 } : (struct message){ 3, 4, 1300 };
		/* What the underlay carries, the sender hears from its gateway, and then it fits. */
		send_whole(family, proto, 1500);
		struct frame *frame = world_received(1);
		uint32_t l4 = family ? 54 : 34;
		assert_int_equal(frame->bytes[l4], too_big.type);
		assert_int_equal(frame_be16(frame, l4 + 4) << 16 | frame_be16(frame, l4 + 6), 1500 - OUTER);
		world_dropped(DROP_TOO_BIG);
		send_whole(family, proto, 1500 - OUTER);
		assert_int_equal(world_received_by(VTEP_2)->length, 14 + 1500 - OUTER);
		send_whole(family, proto, 1500 - OUTER + 1);
		world_received(1);
		world_dropped(DROP_TOO_BIG);
		/* What is behind the other DPU, it hears from a router there, whose address nobody has mapped. */
		send_whole(family, proto, 1400);
		world_received_by(VTEP_2);
		complain_from(VTEP_2, e->router, e->a, too_big);
		frame = world_received(1);
		assert_same(frame);
		assert_ips(frame, e->router, e->a);
		send_whole(family, proto, 1300);
		world_received_by(VTEP_2);
	}
	/* Two sessions a family, and nothing of all this is one. */
	assert_int_equal(bed_sessions(&world.bed), 4);
	world_quiet();
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		CASE(cut_off_anywhere), CASE(of_every_kind),        CASE(through_tunnels),
		CASE(about_nobody),     CASE(about_something_else), CASE(path_mtu),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
