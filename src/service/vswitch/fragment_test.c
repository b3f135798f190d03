/* SPDX-License-Identifier: BSD-3-Clause */
/* Fragments: in any order, of both families, locally and through tunnels; none without its first one. */
#include "service/vswitch/testpackets.h"
#include "service/vswitch/testworld.h"

#include <netinet/in.h>
#include "base/clock.h"

enum { DATAGRAM = 3000, PART = 1200 };

/* A datagram cut into pieces. */
struct cut {
	struct frame piece[4];
	unsigned count;
};

static void cut(const struct frame_spec *spec, uint32_t id, struct cut *ret)
{
	static struct frame whole;
	frame_build(&whole, spec);
	uint32_t data = whole.length - (whole.bytes[14] >> 4 == 4 ? 34 : 54);
	ret->count = 0;
	for (uint32_t at = 0; at < data; at += PART) {
		struct piece_spec piece = { id, at, RTE_MIN((uint32_t)PART, data - at), at + PART < data, 0 };
		frame_piece(&ret->piece[ret->count++], &whole, &piece);
	}
}

static struct cut pieces;

/* The piece has arrived as it was sent, but for what a hop changes. */
static void assert_same(const struct frame *got, const struct frame *sent)
{
	unsigned l4 = sent->bytes[14] >> 4 == 4 ? 34 : 54;
	assert_int_equal(got->length, sent->length);
	assert_memory_equal(got->bytes + l4, sent->bytes + l4, sent->length - l4);
}

static const struct family {
	struct frame_spec local, routed, out, in;
} families[2] = {
	{
		{ .src = "10.0.0.11", .dst = "10.0.0.12", .payload = DATAGRAM },
		{ .src = "10.0.0.11", .dst = "10.0.1.13", .payload = DATAGRAM },
		{ .src = "10.0.0.11", .dst = "10.0.0.21", .payload = DATAGRAM },
		{ .src = "10.0.0.21", .dst = "10.0.0.11", .payload = DATAGRAM },
	},
	{
		{ .src = "fd00:a::11", .dst = "fd00:a::12", .payload = DATAGRAM },
		{ .src = "fd00:a::11", .dst = "fd00:b::13", .payload = DATAGRAM },
		{ .src = "fd00:a::11", .dst = "fd00:a::21", .payload = DATAGRAM },
		{ .src = "fd00:a::21", .dst = "fd00:a::11", .payload = DATAGRAM },
	},
};

static void cut_from_vnic(unsigned vnic, const struct frame_spec *spec, uint32_t id)
{
	struct frame_spec copy = *spec;
	copy.src_mac = mac_of(vnic);
	cut(&copy, id, &pieces);
	assert_int_equal(pieces.count, 3);
}

static void in_order(void **unused)
{
	for (unsigned f = 0; f < 2; f++) {
		cut_from_vnic(1, &families[f].routed, 77 + f);
		for (unsigned i = 0; i < 3; i++) {
			bed_input(&world.bed, bed_iface(1), &pieces.piece[i]);
			struct frame *frame = world_received(3);
			assert_macs(frame, router_mac(1), mac_of(3));
			assert_int_equal(frame_ttl(frame), 63);
			assert_same(frame, &pieces.piece[i]);
		}
		/* One for the flow, one for its fragments; a second datagram of the flow has its own. */
		assert_int_equal(bed_sessions(&world.bed), 3 * f + 2);
		cut_from_vnic(1, &families[f].routed, 78 + f);
		for (unsigned i = 0; i < 3; i++) {
			bed_input(&world.bed, bed_iface(1), &pieces.piece[i]);
			world_received(3);
		}
		assert_int_equal(bed_sessions(&world.bed), 3 * f + 3);
	}
	/* Later fragments of a known datagram are hits. */
	uint64_t misses = path_iface_counters(world.bed.dp.paths[0], bed_iface(1))->misses;
	bed_input(&world.bed, bed_iface(1), &pieces.piece[2]);
	world_received(3);
	assert_int_equal(path_iface_counters(world.bed.dp.paths[0], bed_iface(1))->misses, misses);
	world_quiet();
}

static void in_one_burst(void **unused)
{
	for (unsigned f = 0; f < 2; f++) {
		cut_from_vnic(1, &families[f].local, 5);
		const struct frame *burst[] = { &pieces.piece[2], &pieces.piece[0], &pieces.piece[1] };
		bed_input_burst(&world.bed, bed_iface(1), burst, 3);
		for (unsigned i = 0; i < 3; i++)
			world_received(2);
		world_quiet();
	}
}

static void first_comes_last(void **unused)
{
	for (unsigned f = 0; f < 2; f++) {
		cut_from_vnic(1, &families[f].local, 5);
		bed_input(&world.bed, bed_iface(1), &pieces.piece[2]);
		bed_input(&world.bed, bed_iface(1), &pieces.piece[1]);
		world_quiet();
		bed_input(&world.bed, bed_iface(1), &pieces.piece[0]);
		assert_same(world_received(2), &pieces.piece[0]);
		assert_same(world_received(2), &pieces.piece[2]);
		assert_same(world_received(2), &pieces.piece[1]);
		world_quiet();
	}
}

static void through_tunnels(void **unused)
{
	for (unsigned f = 0; f < 2; f++) {
		cut_from_vnic(1, &families[f].out, 9);
		for (unsigned i = 0; i < 3; i++) {
			bed_input(&world.bed, bed_iface(1), &pieces.piece[i]);
			assert_same(world_received_by(VTEP_2), &pieces.piece[i]);
		}
		cut(&families[f].in, 10, &pieces);
		bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &pieces.piece[1]);
		world_quiet();
		bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &pieces.piece[0]);
		assert_same(world_received(1), &pieces.piece[0]);
		assert_same(world_received(1), &pieces.piece[1]);
		bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &pieces.piece[2]);
		assert_same(world_received(1), &pieces.piece[2]);
		world_quiet();
	}
}

static void without_a_first(void **unused)
{
	uint64_t now = clock_ns();
	cut_from_vnic(1, &families[0].local, 5);
	bed_input(&world.bed, bed_iface(1), &pieces.piece[1]);
	bed_tick(&world.bed, now + CLOCK_NS_PER_S / 2);
	world_quiet();
	bed_tick(&world.bed, now + 2 * CLOCK_NS_PER_S);
	world_dropped(DROP_FRAGMENT_NO_FIRST);
	/* Too late. */
	bed_input(&world.bed, bed_iface(1), &pieces.piece[0]);
	world_received(2);
	world_quiet();
}

static void denied_first(void **unused)
{
	static const char *const nothing[] = { NULL };
	bed_rules(&world.bed, world.vnic[2], false, 1, nothing);
	cut_from_vnic(1, &families[0].local, 5);
	bed_input(&world.bed, bed_iface(1), &pieces.piece[1]);
	bed_input(&world.bed, bed_iface(1), &pieces.piece[0]);
	world_dropped(DROP_INGRESS_DENIED);
	bed_input(&world.bed, bed_iface(1), &pieces.piece[2]);
	bed_tick(&world.bed, clock_ns() + 2 * CLOCK_NS_PER_S);
	world_dropped_many(DROP_FRAGMENT_NO_FIRST, 2);
	assert_int_equal(bed_sessions(&world.bed), 0);
}

static void of_others(void **unused)
{
	/* The identification of a datagram opens nothing for another vNIC, VTEP or address. */
	cut_from_vnic(1, &families[0].local, 5);
	struct cut own = pieces;
	bed_input(&world.bed, bed_iface(1), &own.piece[0]);
	world_received(2);
	memcpy(pieces.piece[1].bytes + 6, world.vnic[3]->iface.mac.bytes, 6);
	bed_input(&world.bed, bed_iface(3), &pieces.piece[1]);
	world_dropped(DROP_SPOOFED_ADDRESS);
	bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &own.piece[1]);
	/* A later fragment that comes from another VTEP than its first one waits in vain. */
	cut(&families[0].in, 6, &pieces);
	bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &pieces.piece[0]);
	world_received(1);
	bed_tunnelled(&world.bed, VTEP_3, BLUE_VNI, &pieces.piece[1]);
	bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &pieces.piece[2]);
	world_received(1);
	cut_from_vnic(1, &families[0].local, 5);
	memcpy(pieces.piece[1].bytes + 6, world.vnic[4]->iface.mac.bytes, 6);
	bed_input(&world.bed, bed_iface(4), &pieces.piece[1]);
	bed_tick(&world.bed, clock_ns() + 2 * CLOCK_NS_PER_S);
	world_dropped_many(DROP_FRAGMENT_NO_FIRST, 3);
	bed_input(&world.bed, bed_iface(1), &own.piece[1]);
	world_received(2);
	/* The other way round is another datagram. */
	struct frame_spec back = { .src = "10.0.0.12", .dst = "10.0.0.11", .payload = DATAGRAM };
	cut_from_vnic(2, &back, 5);
	bed_input(&world.bed, bed_iface(2), &pieces.piece[1]);
	world_quiet();
	bed_input(&world.bed, bed_iface(2), &pieces.piece[0]);
	world_received(1);
	world_received(1);
	world_quiet();
}

static void queue_is_bounded(void **unused)
{
	unsigned vnics[] = { 1, 2, 4, 5 };
	static const char *const sources[] = { "10.0.0.11", "10.0.0.12", "10.0.0.11", "10.0.0.12" };
	for (unsigned v = 0; v < 4; v++)
		for (uint32_t id = 0; id < FRAGMENT_HOLD_PER_IFACE + 1; id++) {
			cut_from_vnic(
				vnics[v],
				&(struct frame_spec){ .src = sources[v], .dst = "10.0.0.77", .payload = DATAGRAM },
				100 + id);
			bed_input(&world.bed, bed_iface(vnics[v]), &pieces.piece[1]);
		}
	world_dropped_many(DROP_FRAGMENT_NO_FIRST, 4);
	assert_int_equal(world.bed.dp.worker_states[0]->fragments.count, FRAGMENT_HOLD);
	cut_from_vnic(3, &(struct frame_spec){ .src = "10.0.1.13", .dst = "10.0.0.77", .payload = DATAGRAM }, 1);
	bed_input(&world.bed, bed_iface(3), &pieces.piece[1]);
	world_dropped(DROP_FRAGMENT_NO_FIRST);
	bed_tick(&world.bed, clock_ns() + 2 * CLOCK_NS_PER_S);
	world_dropped_many(DROP_FRAGMENT_NO_FIRST, FRAGMENT_HOLD);
	/* What still waits when the worker ends is freed: the teardown looks. */
	bed_input(&world.bed, bed_iface(3), &pieces.piece[1]);
}

static void policy_changes_meanwhile(void **unused)
{
	cut_from_vnic(1, &families[0].local, 5);
	bed_input(&world.bed, bed_iface(1), &pieces.piece[0]);
	world_received(2);
	bed_changed(&world.bed, world.blue);
	/* Nobody knows any more whether it may pass. */
	bed_input(&world.bed, bed_iface(1), &pieces.piece[1]);
	world_quiet();
	bed_input(&world.bed, bed_iface(1), &pieces.piece[0]);
	world_received(2);
	world_received(2);
	world_quiet();
}

static void of_tcp(void **unused)
{
	struct frame_spec spec = families[0].local;
	spec.proto = IPPROTO_TCP;
	spec.tcp_flags = 0x02;
	cut_from_vnic(1, &spec, 5);
	for (unsigned i = 0; i < 3; i++) {
		bed_input(&world.bed, bed_iface(1), &pieces.piece[i]);
		world_received(2);
	}
	spec.tcp_flags = 0x10;
	spec.src_port = 9;
	cut_from_vnic(1, &spec, 6);
	bed_input(&world.bed, bed_iface(1), &pieces.piece[0]);
	world_dropped(DROP_TCP_INVALID);
}

/* A datagram without DF that is too large for the way is cut by us, and its pieces are no new flow. */
static void cut_on_the_way(void **unused)
{
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.21", .payload = 1460, .id = 3 });
	unsigned bytes = 0;
	for (unsigned i = 0; i < 2; i++) {
		struct frame *frame = world_received_by(VTEP_2);
		assert_in_range(frame->length - 14, 28, 1450);
		bytes += frame->length - 34;
		assert_int_equal(frame_be16(frame, 20), i ? frame_be16(frame, 20) & 0x1fff : 0x2000);
	}
	assert_int_equal(bytes, 1468);
	/* And so is a fragment that is too large itself. */
	struct frame_spec big = families[0].out;
	cut_from_vnic(1, &big, 4);
	world.bed.uplink.mtu = 1000;
	bed_changed(&world.bed, world.blue);
	for (unsigned i = 0; i < 3; i++) {
		bed_input(&world.bed, bed_iface(1), &pieces.piece[i]);
		world_received_by(VTEP_2);
		if (i < 2)
			world_received_by(VTEP_2);
	}
	world_quiet();
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		CASE(in_order),        CASE(in_one_burst),     CASE(first_comes_last),
		CASE(through_tunnels), CASE(without_a_first),  CASE(denied_first),
		CASE(of_others),       CASE(queue_is_bounded), CASE(policy_changes_meanwhile),
		CASE(of_tcp),          CASE(cut_on_the_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
