/* SPDX-License-Identifier: BSD-3-Clause */
/* The network that most tests of the switch live in. */
#include "service/vswitch/testworld.h"

#include <stdio.h>

struct world world;

/* Drops that the test has accounted for. */
static uint64_t seen[DROP_REASON_COUNT];

void world_build(void)
{
	struct bed *bed = &world.bed;
	memset(&world, 0, sizeof(world));
	memset(seen, 0, sizeof(seen));
	bed_init(bed);
	bed_tenant(bed, 1);
	bed_tenant(bed, 2);
	world.blue = bed_vpc(bed, 1, BLUE_VNI);
	world.red = bed_vpc(bed, 2, RED_VNI);
	world.a = bed_subnet(bed, world.blue, "10.0.0.0/24", "fd00:a::/64");
	world.b = bed_subnet(bed, world.blue, "10.0.1.0/24", "fd00:b::/64");
	world.red_a = bed_subnet(bed, world.red, "10.0.0.0/24", "fd00:a::/64");
	world.vnic[1] = bed_vnic(bed, world.a, 1, "10.0.0.11", "fd00:a::11");
	world.vnic[2] = bed_vnic(bed, world.a, 2, "10.0.0.12", "fd00:a::12");
	world.vnic[3] = bed_vnic(bed, world.b, 3, "10.0.1.13", "fd00:b::13");
	world.vnic[4] = bed_vnic(bed, world.red_a, 4, "10.0.0.11", "fd00:a::11");
	world.vnic[5] = bed_vnic(bed, world.red_a, 5, "10.0.0.12", "fd00:a::12");
	bed_mapping(bed, world.blue, "10.0.0.21", VTEP_2, MAC_REMOTE_21);
	bed_mapping(bed, world.blue, "fd00:a::21", VTEP_2, MAC_REMOTE_21);
	bed_mapping(bed, world.blue, "10.0.1.22", VTEP_3, MAC_REMOTE_22);
	bed_mapping(bed, world.blue, "fd00:b::22", VTEP_3, MAC_REMOTE_22);
	bed_route(bed, world.blue, "172.16.0.0/16", DP_ROUTE_NEXT_HOP, "10.0.0.12");
	bed_route(bed, world.blue, "fd00:f::/64", DP_ROUTE_NEXT_HOP, "fd00:a::12");
	bed_route(bed, world.blue, "172.17.0.0/16", DP_ROUTE_VTEP, VTEP_4);
	bed_route(bed, world.blue, "172.18.0.0/16", DP_ROUTE_DROP, NULL);
}

int world_setup(void **unused)
{
	world_build();
	bed_start(&world.bed);
	/* Nothing that no test has asked for. */
	world.bed.dp.worker_states[0]->advertise_ns = UINT64_MAX;
	return 0;
}

int world_teardown(void **unused)
{
	bed_fini(&world.bed);
	return 0;
}

const char *mac_of(unsigned vnic)
{
	static char texts[8][MAC_TEXT];
	static unsigned next;
	return mac_format(&world.vnic[vnic]->iface.mac, texts[next++ % 8]);
}

const char *router_mac(unsigned vpc)
{
	static char texts[2][MAC_TEXT];
	return mac_format(vpc == 1 ? &world.blue->router_mac : &world.red->router_mac, texts[vpc - 1]);
}

void world_send(unsigned vnic, const struct frame_spec *spec)
{
	static struct frame frame;
	struct frame_spec copy = *spec;
	if (!copy.src_mac)
		copy.src_mac = mac_of(vnic);
	frame_build(&frame, &copy);
	bed_input(&world.bed, bed_iface(vnic), &frame);
}

void world_send_from(const char *vtep, const struct frame_spec *spec)
{
	static struct frame frame;
	frame_build(&frame, spec);
	bed_tunnelled(&world.bed, vtep, BLUE_VNI, &frame);
}

static struct frame received;

struct frame *world_received(unsigned vnic)
{
	if (!bed_sent(&world.bed, bed_iface(vnic), &received))
		fail_msg("nothing was sent to vNIC %u; %lu drops", vnic, (unsigned long)bed_all_drops(&world.bed));
	return &received;
}

struct frame *world_received_by(const char *vtep)
{
	if (!bed_sent_inner(&world.bed, vtep, BLUE_VNI, &received))
		fail_msg("nothing was sent to VTEP %s; %lu drops", vtep, (unsigned long)bed_all_drops(&world.bed));
	return &received;
}

/* Counts of now against those accounted for; says what else there was. */
static unsigned unexpected(enum drop_reason reason, unsigned packets, char *text, size_t room)
{
	unsigned faults = 0;
	text[0] = 0;
	for (enum drop_reason i = 0; i < DROP_REASON_COUNT; i++) {
		uint64_t now = bed_drops(&world.bed, i), expected = i == reason ? packets : 0;
		if (now - seen[i] != expected) {
			size_t used = strlen(text);
			snprintf(text + used, room - used, " %s %lu not %lu,", drop_reason_name(i),
				 (unsigned long)(now - seen[i]), (unsigned long)expected);
			faults++;
		}
		seen[i] = now;
	}
	return faults;
}

void world_dropped_many(enum drop_reason reason, unsigned packets)
{
	char text[512];
	if (!bed_quiet(&world.bed))
		fail_msg("a frame was sent instead of the drop %s", drop_reason_name(reason));
	if (unexpected(reason, packets, text, sizeof(text)))
		fail_msg("other drops than expected:%s", text);
}

void world_dropped(enum drop_reason reason)
{
	world_dropped_many(reason, 1);
}

void world_quiet(void)
{
	char text[512];
	if (!bed_quiet(&world.bed))
		fail_msg("a frame was sent");
	if (unexpected(DROP_NONE, 0, text, sizeof(text)))
		fail_msg("drops:%s", text);
}

void assert_macs(const struct frame *frame, const char *src, const char *dst)
{
	struct mac_addr is_src, is_dst;
	char text[MAC_TEXT];
	memcpy(is_dst.bytes, frame->bytes, 6);
	memcpy(is_src.bytes, frame->bytes + 6, 6);
	assert_string_equal(mac_format(&is_dst, text), dst);
	assert_string_equal(mac_format(&is_src, text), src);
}

void assert_ips(const struct frame *frame, const char *src, const char *dst)
{
	struct ip_addr is_src = test_ip(src), is_dst = is_src;
	char text[IP_TEXT];
	bool v4 = is_src.family == IP_V4;
	assert_int_equal(frame->bytes[14] >> 4, v4 ? 4 : 6);
	memcpy(is_src.bytes, frame->bytes + (v4 ? 26 : 22), v4 ? 4 : 16);
	memcpy(is_dst.bytes, frame->bytes + (v4 ? 30 : 38), v4 ? 4 : 16);
	assert_string_equal(ip_format(&is_src, text), src);
	assert_string_equal(ip_format(&is_dst, text), dst);
}

unsigned frame_ttl(const struct frame *frame)
{
	return frame->bytes[14] >> 4 == 4 ? frame->bytes[22] : frame->bytes[21];
}

unsigned frame_be16(const struct frame *frame, uint32_t offset)
{
	return (unsigned)frame->bytes[offset] << 8 | frame->bytes[offset + 1];
}
