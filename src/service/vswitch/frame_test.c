/* SPDX-License-Identifier: BSD-3-Clause */
/* What is around the packets of a VPC: VLAN tags of guests, of the underlay and inside tunnels; tunnels in tunnels. */
#include "service/vswitch/testworld.h"

#include <netinet/in.h>

static struct frame frame;

/* Tags in front of what the frame has, the outermost first. */
static void tag(struct frame *ret, const uint16_t *types, const uint16_t *tags, unsigned count)
{
	memmove(ret->bytes + 12 + 4 * count, ret->bytes + 12, ret->length - 12);
	for (unsigned i = 0; i < count; i++) {
		uint8_t *at = ret->bytes + 12 + 4 * i;
		at[0] = (uint8_t)(types[i] >> 8);
		at[1] = (uint8_t)types[i];
		at[2] = (uint8_t)(tags[i] >> 8);
		at[3] = (uint8_t)tags[i];
	}
	ret->length += 4 * count;
}

static const struct tags {
	uint16_t types[2], values[2];
	unsigned count;
} all_tags[] = {
	{ { 0x8100 }, { 5 }, 1 },            /* 802.1Q */
	{ { 0x8100 }, { 0 }, 1 },            /* priority alone: VID 0 */
	{ { 0x8100 }, { 7 << 13 }, 1 },      /* … and that one high */
	{ { 0x8100 }, { 4095 }, 1 },         /* reserved */
	{ { 0x88a8 }, { 5 }, 1 },            /* 802.1ad */
	{ { 0x88a8, 0x8100 }, { 5, 6 }, 2 }, /* QinQ */
	{ { 0x8100, 0x8100 }, { 5, 6 }, 2 }, /* … as it was before */
};

static void build_udp(unsigned vnic, const char *src, const char *dst)
{
	frame_build(&frame, &(struct frame_spec){ .src_mac = vnic ? mac_of(vnic) : NULL, .src = src, .dst = dst });
}

/* A VPC is one network without VLANs: tagged frames are not taken for untagged ones, whatever the tag says. */
static void guests_do_not_tag(void **unused)
{
	for (unsigned i = 0; i < RTE_DIM(all_tags); i++) {
		const struct tags *tags = &all_tags[i];
		build_udp(1, "10.0.0.11", "10.0.0.12");
		tag(&frame, tags->types, tags->values, tags->count);
		bed_input(&world.bed, bed_iface(1), &frame);
		world_dropped(DROP_VLAN_TAGGED);
		/* With a session that it would hit. */
		world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.12" });
		world_received(2);
		bed_input(&world.bed, bed_iface(1), &frame);
		world_dropped(DROP_VLAN_TAGGED);
		/* Cut off within the tag, and right behind it. */
		for (frame.length = 14; frame.length <= 14 + 4 * tags->count; frame.length++) {
			bed_input(&world.bed, bed_iface(1), &frame);
			world_dropped(DROP_VLAN_TAGGED);
		}
		/* Out of a tunnel (RFC 7348 6.1). */
		build_udp(0, "10.0.0.21", "10.0.0.11");
		tag(&frame, tags->types, tags->values, tags->count);
		bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &frame);
		world_dropped(DROP_VLAN_TAGGED);
	}
	assert_int_equal(path_iface_drops(world.bed.dp.paths[0], bed_iface(1), DROP_VLAN_TAGGED) > 0, 1);
	/* What no standard calls a tag is another protocol. */
	build_udp(1, "10.0.0.11", "10.0.0.12");
	tag(&frame, (uint16_t[]){ 0x9100 }, (uint16_t[]){ 5 }, 1);
	bed_input(&world.bed, bed_iface(1), &frame);
	world_dropped(DROP_NOT_IP);
}

/* ARP and DHCP do not get around it. */
static void nor_for_services(void **unused)
{
	static const uint8_t arp[28] = { 0, 1, 8, 0, 6, 4, 0, 1 };
	build_udp(1, "10.0.0.11", "10.0.0.1");
	memcpy(frame.bytes + 12, (uint8_t[]){ 8, 6 }, 2);
	memcpy(frame.bytes + 14, arp, sizeof(arp));
	frame.length = 60;
	tag(&frame, (uint16_t[]){ 0x8100 }, (uint16_t[]){ 0 }, 1);
	bed_input(&world.bed, bed_iface(1), &frame);
	world_dropped(DROP_VLAN_TAGGED);
}

static void build_tunnel(struct frame *ret, const char *src, const char *dst, bool geneve, uint32_t vni,
			 const struct frame *inner)
{
	struct tunnel_spec spec = {
		.src_mac = "02:bb:00:00:00:01",
		.dst_mac = "02:aa:00:00:00:01",
		.src = src,
		.dst = dst,
		.geneve = geneve,
		.vni = vni,
	};
	frame_tunnel(ret, &spec, inner);
}

/* The underlay may run on a VLAN, then on that one alone, or say a priority; it does not run on a VLAN in a VLAN. */
static void tags_of_the_underlay(void **unused)
{
	static const uint16_t right[] = { 5, 5 | 7 << 13, 5 | 1 << 12 }, wrong[] = { 0, 6, 4095 };
	static struct frame outer;
	struct ip_addr tagged = test_ip("192.0.2.100");
	assert_int_equal(path_local_set(world.bed.dp.config, &tagged, 5, NULL, NULL), 0);
	for (unsigned i = 0; i < 7; i++) {
		build_udp(0, "10.0.0.21", "10.0.0.11");
		build_tunnel(&outer, VTEP_2, "192.0.2.100", i & 1, BLUE_VNI, &frame);
		if (i < 6)
			tag(&outer, (uint16_t[]){ 0x8100 }, i < 3 ? &right[i] : &wrong[i - 3], 1);
		bed_input(&world.bed, BED_UPLINK, &outer);
		if (i >= 3)
			world_dropped(DROP_NOT_FOR_US);
		else if (i & 1)
			world_dropped(DROP_UNKNOWN_VNI); /* Geneve's */
		else
			world_received(1);
	}
	for (unsigned i = 0; i < RTE_DIM(all_tags); i++) {
		const struct tags *tags = &all_tags[i];
		build_udp(0, "10.0.0.21", "10.0.0.11");
		build_tunnel(&outer, VTEP_2, "192.0.2.1", false, BLUE_VNI, &frame);
		tag(&outer, tags->types, tags->values, tags->count);
		bed_input(&world.bed, BED_UPLINK, &outer);
		if (tags->count == 1 && tags->types[0] == 0x8100 && tags->values[0] & 0xfff)
			world_dropped(DROP_NOT_FOR_US);
		else if (tags->count == 1 && tags->types[0] == 0x8100)
			assert_int_equal(world_received(1)->length, frame.length);
		else
			world_dropped(DROP_VLAN_TAGGED);
	}
	for (outer.length = 14; outer.length < 18; outer.length++) {
		outer.bytes[12] = 0x81;
		outer.bytes[13] = 0;
		bed_input(&world.bed, BED_UPLINK, &outer);
		world_dropped(DROP_TRUNCATED);
	}
	world_quiet();
}

/* ---- tunnels in tunnels ---- */

/* A tunnel packet from an address of the tenant's to another, as any UDP. */
static void build_own_tunnel(unsigned vnic, const char *src, const char *dst, bool geneve)
{
	static struct frame inner;
	frame_build(&inner, &(struct frame_spec){ .src = "192.168.0.1", .dst = "192.168.0.2", .payload = 100 });
	build_tunnel(&frame, src, dst, geneve, RED_VNI, &inner);
	if (vnic)
		memcpy(frame.bytes + 6, world.vnic[vnic]->iface.mac.bytes, 6);
}

static void tenants_tunnels_are_udp(void **unused)
{
	for (unsigned geneve = 0; geneve < 2; geneve++) {
		build_own_tunnel(1, "10.0.0.11", "10.0.0.12", geneve);
		bed_input(&world.bed, bed_iface(1), &frame);
		struct frame *received = world_received(2);
		assert_int_equal(received->length, frame.length);
		assert_memory_equal(received->bytes + 14, frame.bytes + 14, frame.length - 14);
		/* To another DPU and from there: ours outside, theirs inside. */
		build_own_tunnel(1, "10.0.0.11", "10.0.0.21", geneve);
		bed_input(&world.bed, bed_iface(1), &frame);
		received = world_received_by(VTEP_2);
		assert_memory_equal(received->bytes + 14, frame.bytes + 14, frame.length - 14);
		build_own_tunnel(0, "10.0.0.21", "10.0.0.11", geneve);
		bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &frame);
		received = world_received(1);
		assert_memory_equal(received->bytes + 14, frame.bytes + 14, frame.length - 14);
	}
	/* And security groups see their port. */
	static const char *const rules[] = { "udp 4789", NULL };
	bed_rules(&world.bed, world.vnic[2], false, 1, rules);
	bed_changed(&world.bed, world.blue);
	build_own_tunnel(1, "10.0.0.11", "10.0.0.12", false);
	bed_input(&world.bed, bed_iface(1), &frame);
	world_received(2);
	build_own_tunnel(1, "10.0.0.11", "10.0.0.12", true);
	bed_input(&world.bed, bed_iface(1), &frame);
	world_dropped(DROP_INGRESS_DENIED);
}

/* The DPU's own address is nothing in a VPC: no way leads to the tunnel endpoint from inside. */
static void endpoint_is_out_of_reach(void **unused)
{
	for (unsigned geneve = 0; geneve < 2; geneve++) {
		build_own_tunnel(1, "10.0.0.11", "192.0.2.1", geneve);
		bed_input(&world.bed, bed_iface(1), &frame);
		world_dropped(DROP_NO_ROUTE);
	}
	/* A route that covers it takes it along, and no short cut. */
	bed_route(&world.bed, world.blue, "0.0.0.0/0", DP_ROUTE_VTEP, VTEP_4);
	bed_changed(&world.bed, world.blue);
	for (unsigned geneve = 0; geneve < 2; geneve++) {
		build_own_tunnel(1, "10.0.0.11", "192.0.2.1", geneve);
		bed_input(&world.bed, bed_iface(1), &frame);
		assert_ips(world_received_by(VTEP_4), "10.0.0.11", "192.0.2.1");
	}
	/* The underlay's addresses are no sources either. */
	build_own_tunnel(1, VTEP_2, "10.0.0.12", false);
	bed_input(&world.bed, bed_iface(1), &frame);
	world_dropped(DROP_SPOOFED_ADDRESS);
	world_quiet();
}

/* An inner packet for the endpoint again would be a way around everything. */
static void nested_from_the_underlay(void **unused)
{
	bed_route(&world.bed, world.blue, "0.0.0.0/0", DP_ROUTE_VTEP, VTEP_4);
	bed_changed(&world.bed, world.blue);
	static const char *const senders[] = { VTEP_2, VTEP_3, VTEP_4 };
	for (unsigned i = 0; i < 6; i++) {
		build_own_tunnel(0, i % 2 ? "10.0.0.21" : VTEP_2, "192.0.2.1", i / 3);
		bed_tunnelled(&world.bed, senders[i % 3], BLUE_VNI, &frame);
		world_dropped(DROP_TUNNEL_IN_TUNNEL);
	}
	/* Longer than the hot parser takes. */
	static const uint8_t options[4] = { 1, 1, 1, 1 };
	frame_build(&frame, &(struct frame_spec){ .src = "10.0.0.21",
						  .dst = "192.0.2.1",
						  .dst_port = 4789,
						  .options = options,
						  .ip_options_length = 4 });
	bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &frame);
	world_dropped(DROP_TUNNEL_IN_TUNNEL);
	/* To another endpoint it is a packet that came from the underlay and would go back. */
	build_own_tunnel(0, "10.0.0.21", VTEP_3, false);
	bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &frame);
	world_dropped(DROP_HAIRPIN);
	assert_int_equal(bed_sessions(&world.bed), 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		CASE(guests_do_not_tag),       CASE(nor_for_services),         CASE(tags_of_the_underlay),
		CASE(tenants_tunnels_are_udp), CASE(endpoint_is_out_of_reach), CASE(nested_from_the_underlay),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
