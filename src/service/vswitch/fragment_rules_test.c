/* SPDX-License-Identifier: BSD-3-Clause */
/* Fragments that are out to evade: tiny, overlapping, endless, behind extension headers, in floods; under security
 * groups, through tunnels, and cut again on the way. */
#include "service/vswitch/testpackets.h"
#include "service/vswitch/testworld.h"

#include <netinet/in.h>
#include "base/clock.h"

static const struct ends {
	const char *src, *dst, *remote;
} ends[2] = {
	{ "10.0.0.11", "10.0.0.12", "10.0.0.21" },
	{ "fd00:a::11", "fd00:a::12", "fd00:a::21" },
};

static struct frame whole, piece;

static struct frame_spec spec_of(unsigned family, uint8_t proto, uint32_t payload)
{
	return (struct frame_spec){
		.src_mac = mac_of(1),
		.src = ends[family].src,
		.dst = ends[family].dst,
		.proto = proto,
		.tcp_flags = 0x02,
		.payload = payload,
	};
}

/* From a vNIC: `bytes` of the datagram in `whole` from `offset` on. */
static void send_piece(unsigned vnic, uint32_t id, uint32_t offset, uint32_t bytes, bool more)
{
	struct piece_spec spec = { id, offset, bytes, more, 0 };
	frame_piece(&piece, &whole, &spec);
	memcpy(piece.bytes + 6, world.vnic[vnic]->iface.mac.bytes, 6);
	bed_input(&world.bed, bed_iface(vnic), &piece);
}

/* Later than ever before: the worker's clock goes by it. */
static void wait_for_the_held(void)
{
	static uint64_t ahead_ns;
	ahead_ns += 2 * CLOCK_NS_PER_S;
	bed_tick(&world.bed, clock_ns() + ahead_ns);
}

/* ---- what a fragment may look like ---- */

/* RFC 6946: whole, and policed as such; that it says nothing about other fragments shows in the sessions. */
static void atomic(void **unused)
{
	static const char *const rules[] = { "udp 2000", NULL };
	bed_rules(&world.bed, world.vnic[2], false, 1, rules);
	struct frame_spec spec = spec_of(1, IPPROTO_UDP, 100);
	frame_build(&whole, &spec);
	for (unsigned i = 0; i < 3; i++) {
		send_piece(1, 7, 0, 108, false);
		struct frame *frame = world_received(2);
		assert_int_equal(frame->length, piece.length);
		assert_memory_equal(frame->bytes + 14, piece.bytes + 14, piece.length - 14);
	}
	assert_int_equal(bed_sessions(&world.bed), 1);
	spec.dst_port = 2001;
	frame_build(&whole, &spec);
	send_piece(1, 7, 0, 108, false);
	world_dropped(DROP_INGRESS_DENIED);
	/* No later fragment follows it. */
	send_piece(1, 7, 64, 44, false);
	wait_for_the_held();
	world_dropped(DROP_FRAGMENT_NO_FIRST);
}

/* RFC 1858 3, RFC 8200 4.5: the first one has the whole upper-layer header. */
static void tiny_first(void **unused)
{
	static const uint8_t options[20] = { 1, 1, 1, 1 };
	for (unsigned f = 0; f < 2; f++) {
		struct frame_spec spec = spec_of(f, IPPROTO_TCP, 100);
		frame_build(&whole, &spec);
		for (uint32_t bytes = 8; bytes < 20; bytes += 8) {
			send_piece(1, bytes, 0, bytes, true);
			world_dropped(DROP_FRAGMENT_INVALID);
		}
		spec.options = options;
		spec.tcp_options_length = 20;
		frame_build(&whole, &spec);
		for (uint32_t bytes = 24; bytes < 40; bytes += 8) {
			send_piece(1, bytes, 0, bytes, true);
			world_dropped(DROP_FRAGMENT_INVALID);
		}
		send_piece(1, 40, 0, 40, true);
		world_received(2);
		/* Eight bytes are a UDP header, and no SCTP header. */
		spec = spec_of(f, IPPROTO_UDP, 100);
		frame_build(&whole, &spec);
		send_piece(1, 50, 0, 8, true);
		world_received(2);
		spec = spec_of(f, IPPROTO_SCTP, 100);
		frame_build(&whole, &spec);
		send_piece(1, 51, 0, 8, true);
		world_dropped(DROP_FRAGMENT_INVALID);
		/* No data, and data that the next one cannot follow. */
		send_piece(1, 52, 0, 0, true);
		world_dropped(DROP_FRAGMENT_INVALID);
		send_piece(1, 52, 0, 100, true);
		world_dropped(DROP_FRAGMENT_INVALID);
	}
}

/* RFC 1858 4, RFC 3128: what would be written over the header that was policed. */
static void over_the_header(void **unused)
{
	for (unsigned f = 0; f < 2; f++) {
		struct frame_spec spec = spec_of(f, IPPROTO_TCP, 200);
		frame_build(&whole, &spec);
		send_piece(1, 5, 0, 64, true);
		world_received(2);
		for (uint32_t offset = 8; offset < 20; offset += 8) {
			send_piece(1, 5, offset, 64, true);
			world_dropped(DROP_FRAGMENT_INVALID);
		}
		send_piece(1, 5, 64, 156, false);
		world_received(2);
	}
	/* An IPv6 fragment can say that it is of another protocol than its first one. */
	struct frame_spec spec = spec_of(1, IPPROTO_UDP, 200);
	frame_build(&whole, &spec);
	for (uint32_t offset = 8; offset < 20; offset += 8) {
		send_piece(1, 5, offset, 64, true);
		world_dropped(DROP_FRAGMENT_INVALID);
	}
	/* In IPv4 that is another datagram. */
	spec = spec_of(0, IPPROTO_UDP, 200);
	frame_build(&whole, &spec);
	send_piece(1, 5, 8, 64, true);
	world_quiet();
	wait_for_the_held();
	world_dropped(DROP_FRAGMENT_NO_FIRST);
}

/* Others are the receiver's to refuse; none of them is more than its first one was allowed. */
static void overlapping(void **unused)
{
	for (unsigned f = 0; f < 2; f++) {
		struct frame_spec spec = spec_of(f, IPPROTO_UDP, 400);
		frame_build(&whole, &spec);
		static const uint32_t starts[] = { 0, 64, 128, 128, 0, 192 };
		for (unsigned i = 0; i < 6; i++) {
			send_piece(1, 5, starts[i], 128, true);
			assert_int_equal(world_received(2)->length, piece.length);
		}
	}
	world_quiet();
	/* A first one again, to a port that is closed by now. */
	static const char *const rules[] = { "udp 2000", NULL };
	bed_rules(&world.bed, world.vnic[2], false, 1, rules);
	struct frame_spec spec = spec_of(0, IPPROTO_UDP, 400);
	spec.dst_port = 2001;
	bed_changed(&world.bed, world.blue);
	frame_build(&whole, &spec);
	send_piece(1, 5, 0, 128, true);
	world_dropped(DROP_INGRESS_DENIED);
}

static void longer_than_a_packet(void **unused)
{
	/* The last byte that there can be, and the one behind it. */
	static const struct {
		uint32_t offset, bytes;
	} last[2] = { { 65512, 3 }, { 65528, 7 } };
	for (unsigned f = 0; f < 2; f++) {
		struct frame_spec spec = spec_of(f, IPPROTO_UDP, 400);
		frame_build(&whole, &spec);
		send_piece(1, 5, 0, 128, true);
		world_received(2);
		send_piece(1, 5, last[f].offset, last[f].bytes, false);
		world_received(2);
		send_piece(1, 5, last[f].offset, last[f].bytes + 1, false);
		world_dropped(DROP_FRAGMENT_INVALID);
		send_piece(1, 5, 65528, 1400, false);
		world_dropped(DROP_FRAGMENT_INVALID);
	}
}

static void with_options(void **unused)
{
	static const uint8_t options[12] = { 0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0 };
	static const char *const rules[] = { "udp 2000", NULL };
	bed_rules(&world.bed, world.vnic[2], false, 1, rules);
	struct frame_spec spec = spec_of(0, IPPROTO_UDP, 400);
	spec.options = options;
	spec.ip_options_length = sizeof(options);
	frame_build(&whole, &spec);
	send_piece(1, 5, 0, 200, true);
	assert_int_equal(world_received(2)->length, piece.length);
	send_piece(1, 5, 200, 208, false);
	world_received(2);
	send_piece(1, 5, 65504, 8, false);
	world_dropped(DROP_FRAGMENT_INVALID);
	spec.dst_port = 2001;
	frame_build(&whole, &spec);
	send_piece(1, 6, 0, 200, true);
	world_dropped(DROP_INGRESS_DENIED);
}

/* A UDP datagram behind one extension header of 8 bytes, cut with it in front of the fragment header or behind. */
static void send_extended(uint8_t extension, bool in_front, uint32_t offset, uint32_t bytes, bool more)
{
	static uint8_t header[8];
	struct frame_spec spec = spec_of(1, IPPROTO_UDP, 400);
	memset(header, 0, sizeof(header));
	header[0] = IPPROTO_UDP;
	header[2] = extension == IPPROTO_ROUTING ? 0 : 1; /* PadN */
	header[3] = extension == IPPROTO_ROUTING ? 0 : 4;
	spec.extensions = header;
	spec.extensions_length = 8;
	spec.first_extension = extension;
	frame_build(&whole, &spec);
	struct piece_spec cut = { 9, offset, bytes, more, in_front ? 8 : 0 };
	frame_piece(&piece, &whole, &cut);
	bed_input(&world.bed, bed_iface(1), &piece);
}

static void behind_extension_headers(void **unused)
{
	static const uint8_t kinds[] = { IPPROTO_HOPOPTS, IPPROTO_DSTOPTS, IPPROTO_ROUTING };
	static const char *const open[] = { "udp 2000", NULL }, *const closed[] = { "udp 2001", NULL };
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned in_front = kinds[i] == IPPROTO_HOPOPTS; in_front < 2; in_front++) {
			bed_rules(&world.bed, world.vnic[2], false, 1, open);
			bed_changed(&world.bed, world.blue);
			send_extended(kinds[i], in_front, 0, 200, true);
			assert_int_equal(world_received(2)->length, piece.length);
			send_extended(kinds[i], in_front, 200, 200, true);
			world_received(2);
			/* The header alone, and the upper layer in the next one; behind the fragment header, where the
			 * hop-by-hop options cannot be. */
			send_extended(IPPROTO_DSTOPTS, false, 0, 8, true);
			world_dropped(DROP_FRAGMENT_INVALID);
			bed_rules(&world.bed, world.vnic[2], false, 1, closed);
			bed_changed(&world.bed, world.blue);
			send_extended(kinds[i], in_front, 0, 200, true);
			world_dropped(DROP_INGRESS_DENIED);
		}
	}
	/* Hop-by-hop options are first or nowhere, and a fragment is no fragment's. */
	send_extended(IPPROTO_HOPOPTS, false, 0, 200, true);
	world_dropped(DROP_BAD_IP_HEADER);
	static struct frame once;
	send_extended(IPPROTO_DSTOPTS, false, 0, 200, true);
	world_dropped(DROP_INGRESS_DENIED);
	once = piece;
	struct piece_spec twice = { 10, 0, 104, true, 0 };
	frame_piece(&piece, &once, &twice);
	bed_input(&world.bed, bed_iface(1), &piece);
	world_dropped(DROP_FRAGMENT_INVALID);
}

/* ---- under policy ---- */

static void under_rules(void **unused)
{
	static const char *const nothing[] = { NULL }, *const port[] = { "udp 2000", NULL },
				 *const other[] = { "udp 2001", "tcp", "icmp", NULL };
	const struct {
		const char *const *egress, *const *ingress;
		enum drop_reason reason;
	} cases[] = {
		{ port, port, DROP_NONE },
		{ nothing, port, DROP_EGRESS_DENIED },
		{ other, port, DROP_EGRESS_DENIED },
		{ port, nothing, DROP_INGRESS_DENIED },
		{ port, other, DROP_INGRESS_DENIED },
	};
	for (unsigned i = 0; i < 10; i++) {
		unsigned c = i / 2;
		struct frame_spec spec = spec_of(i % 2, IPPROTO_UDP, 400);
		bed_rules(&world.bed, world.vnic[1], true, 1, cases[c].egress);
		bed_rules(&world.bed, world.vnic[2], false, 1, cases[c].ingress);
		bed_changed(&world.bed, world.blue);
		frame_build(&whole, &spec);
		/* The later one first: it waits for a verdict that it cannot have itself. */
		send_piece(1, i, 200, 208, false);
		world_quiet();
		send_piece(1, i, 0, 200, true);
		if (cases[c].reason == DROP_NONE) {
			world_received(2);
			world_received(2);
			world_quiet();
			continue;
		}
		world_dropped(cases[c].reason);
		wait_for_the_held();
		world_dropped(DROP_FRAGMENT_NO_FIRST);
		send_piece(1, i, 200, 208, false);
		wait_for_the_held();
		world_dropped(DROP_FRAGMENT_NO_FIRST);
	}
}

/* Later fragments of a thousand datagrams that never begin: the queue is bounded, and neither others' fragments nor
 * anybody's packets are touched. */
static void flood_of_later_ones(void **unused)
{
	enum { FLOOD = 1000 };
	struct frame_spec spec = spec_of(0, IPPROTO_UDP, 400);
	frame_build(&whole, &spec);
	for (uint32_t id = 0; id < FLOOD; id++)
		send_piece(1, id, 200, 208, false);
	world_dropped_many(DROP_FRAGMENT_NO_FIRST, FLOOD - FRAGMENT_HOLD_PER_IFACE);
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.12" });
	world_received(2);
	spec = spec_of(0, IPPROTO_UDP, 400);
	spec.src = "10.0.0.12";
	spec.dst = "10.0.1.13";
	frame_build(&whole, &spec);
	send_piece(2, 1, 200, 208, false);
	send_piece(2, 1, 0, 200, true);
	world_received(3);
	world_received(3);
	world_quiet();
	assert_int_equal(bed_sessions(&world.bed), 3);
	wait_for_the_held();
	world_dropped_many(DROP_FRAGMENT_NO_FIRST, FRAGMENT_HOLD_PER_IFACE);
}

/* First ones leave a session each: they count as such. */
static void flood_of_first_ones(void **unused)
{
	enum { FLOOD = 100, MOST = 20 };
	world.vnic[1]->max_sessions = MOST;
	for (unsigned f = 0; f < 2; f++) {
		struct frame_spec spec = spec_of(f, IPPROTO_UDP, 400);
		frame_build(&whole, &spec);
		for (uint32_t id = 0; id < FLOOD; id++)
			send_piece(1, id, 0, 200, true);
	}
	unsigned passed = 0;
	static struct frame frame;
	while (bed_sent(&world.bed, bed_iface(2), &frame))
		passed++;
	assert_in_range(passed, 1, MOST);
	assert_int_equal(bed_sessions(&world.bed), MOST);
	world_dropped_many(DROP_SESSION_QUOTA_VNIC, 2 * FLOOD - passed);
	world_send(2, &(struct frame_spec){ .src = "10.0.0.12", .dst = "10.0.1.13" });
	world_received(3);
	world_quiet();
}

/* ---- cut again ---- */

static void too_large_for_the_receiver(void **unused)
{
	world.vnic[1]->iface.mtu = 600;
	bed_changed(&world.bed, world.blue);
	struct frame_spec spec = { .src = "10.0.0.21", .dst = "10.0.0.11", .payload = 2000 };
	frame_build(&whole, &spec);
	unsigned bytes = 0, last_seen = 0;
	for (unsigned i = 0; i < 2; i++) {
		struct piece_spec cut = { 3, i * 1200, i ? 808 : 1200, !i, 0 };
		frame_piece(&piece, &whole, &cut);
		bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &piece);
		for (unsigned n = 0; n < (i ? 2u : 3u); n++) {
			struct frame *frame = world_received(1);
			unsigned word = frame_be16(frame, 20), offset = (word & 0x1fff) * 8;
			assert_in_range(frame->length - 14, 28, 600);
			assert_int_equal(frame_be16(frame, 18), 3);
			assert_int_equal(offset, bytes);
			assert_memory_equal(frame->bytes + 34, whole.bytes + 34 + offset, frame->length - 34);
			bytes += frame->length - 34;
			last_seen += !(word & 0x2000);
		}
	}
	assert_int_equal(bytes, 2008);
	assert_int_equal(last_seen, 1);
	world_quiet();
}

/* IPv6 is cut by its sender only, who is told, once. */
static void too_large_for_the_way(void **unused)
{
	world.bed.uplink.mtu = 1000 + 50;
	bed_changed(&world.bed, world.blue);
	struct frame_spec spec = spec_of(1, IPPROTO_UDP, 2000);
	spec.dst = ends[1].remote;
	frame_build(&whole, &spec);
	send_piece(1, 3, 0, 1200, true);
	struct frame *frame = world_received(1);
	assert_int_equal(frame->bytes[54], 2);
	assert_int_equal(frame_be16(frame, 60), 1000);
	world_dropped(DROP_TOO_BIG);
	send_piece(1, 3, 1200, 808, false);
	world_received_by(VTEP_2);
	send_piece(1, 3, 1200, 1200, true);
	world_dropped(DROP_TOO_BIG);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		CASE(atomic),
		CASE(tiny_first),
		CASE(over_the_header),
		CASE(overlapping),
		CASE(longer_than_a_packet),
		CASE(with_options),
		CASE(behind_extension_headers),
		CASE(under_rules),
		CASE(flood_of_later_ones),
		CASE(flood_of_first_ones),
		CASE(too_large_for_the_receiver),
		CASE(too_large_for_the_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
