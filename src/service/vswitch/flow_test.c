/* SPDX-License-Identifier: BSD-3-Clause */
/* Flows through the whole switch, burst in, burst out: where packets go, with which headers, and why not. */
#include "service/vswitch/testworld.h"

#include <netinet/in.h>

enum { SYN = 0x02, RST = 0x04, ACK = 0x10, SYN_ACK = 0x12, FIN_ACK = 0x11 };

/* ---- where packets go ---- */

static void same_subnet_is_bridged(void **unused)
{
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.12", .dst_mac = mac_of(2), .ttl = 7 });
	struct frame *frame = world_received(2);
	assert_macs(frame, mac_of(1), mac_of(2));
	assert_int_equal(frame_ttl(frame), 7);
	assert_int_equal(bed_sessions(&world.bed), 1);
	world_send(2,
		   &(struct frame_spec){ .src = "10.0.0.12", .dst = "10.0.0.11", .src_port = 2000, .dst_port = 1000 });
	assert_macs(world_received(1), mac_of(2), mac_of(1));
	assert_int_equal(bed_sessions(&world.bed), 1);
	world_quiet();
}

/* Each queue of a port gets its packets of a burst at once, and each flow's stay in order. */
static void queues_get_their_packets_at_once(void **unused)
{
	enum { QUEUES = 4, SOURCES = 8 };
	struct bed_port *to = &world.bed.ports[bed_iface(2)];
	static struct frame frames[PATH_BURST];
	const struct frame *burst[PATH_BURST];
	uint8_t expected[SOURCES];

	to->port.tx_queues = QUEUES;
	for (unsigned i = 0; i < QUEUES; i++)
		atomic_store(&to->port.tx_worker[i], PORT_WORKER_ANY);
	for (unsigned i = 0; i < PATH_BURST; i++) {
		struct frame_spec spec = { .src_mac = mac_of(1),
					   .dst_mac = mac_of(2),
					   .src = "10.0.0.11",
					   .dst = "10.0.0.12",
					   .src_port = (uint16_t)(1 + i % SOURCES),
					   .ttl = (uint8_t)(1 + i / SOURCES) };
		frame_build(&frames[i], &spec);
		burst[i] = &frames[i];
	}
	memset(expected, 1, sizeof(expected));
	bed_input_burst(&world.bed, bed_iface(1), burst, PATH_BURST);
	assert_in_range(to->calls, 2, QUEUES);
	for (unsigned i = 0; i < PATH_BURST; i++) {
		struct frame *frame = world_received(2);
		unsigned source = frame->bytes[35] - 1u;
		assert_in_range(source, 0, SOURCES - 1);
		assert_int_equal(frame_ttl(frame), expected[source]++);
	}
	world_quiet();
}

static void same_subnet_is_bridged_v6(void **unused)
{
	world_send(1, &(struct frame_spec){ .src = "fd00:a::11", .dst = "fd00:a::12", .ttl = 7 });
	struct frame *frame = world_received(2);
	assert_macs(frame, mac_of(1), mac_of(2));
	assert_int_equal(frame_ttl(frame), 7);
	world_quiet();
}

static void other_subnet_is_routed(void **unused)
{
	static const char *const pairs[][2] = { { "10.0.0.11", "10.0.1.13" }, { "fd00:a::11", "fd00:b::13" } };
	for (unsigned i = 0; i < 2; i++) {
		world_send(1, &(struct frame_spec){ .src = pairs[i][0], .dst = pairs[i][1], .ttl = 9 });
		struct frame *frame = world_received(3);
		assert_macs(frame, router_mac(1), mac_of(3));
		assert_int_equal(frame_ttl(frame), 8);
		world_send(
			3,
			&(struct frame_spec){
				.src = pairs[i][1], .dst = pairs[i][0], .src_port = 2000, .dst_port = 1000, .ttl = 9 });
		frame = world_received(1);
		assert_macs(frame, router_mac(1), mac_of(1));
		assert_int_equal(frame_ttl(frame), 8);
	}
	assert_int_equal(bed_sessions(&world.bed), 2);
	world_quiet();
}

static void remote_neighbour_by_tunnel(void **unused)
{
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.21", .ttl = 5 });
	struct frame *frame = world_received_by(VTEP_2);
	assert_macs(frame, mac_of(1), MAC_REMOTE_21);
	assert_int_equal(frame_ttl(frame), 5);
	/* the answer */
	world_send_from(VTEP_2, &(struct frame_spec){ .src_mac = MAC_REMOTE_21,
						      .dst_mac = mac_of(1),
						      .src = "10.0.0.21",
						      .dst = "10.0.0.11",
						      .src_port = 2000,
						      .dst_port = 1000,
						      .ttl = 5 });
	frame = world_received(1);
	assert_macs(frame, MAC_REMOTE_21, mac_of(1));
	assert_int_equal(frame_ttl(frame), 5);
	assert_int_equal(bed_sessions(&world.bed), 1);
	world_quiet();
}

static void remote_subnet_by_tunnel(void **unused)
{
	world_send(1, &(struct frame_spec){ .src = "fd00:a::11", .dst = "fd00:b::22", .ttl = 5 });
	struct frame *frame = world_received_by(VTEP_3);
	assert_macs(frame, router_mac(1), MAC_REMOTE_22);
	assert_int_equal(frame_ttl(frame), 4);
	/* The other host has routed: TTL is not decremented a second time. */
	world_send_from(
		VTEP_3,
		&(struct frame_spec){
			.src = "fd00:b::22", .dst = "fd00:a::11", .src_port = 2000, .dst_port = 1000, .ttl = 4 });
	frame = world_received(1);
	assert_macs(frame, router_mac(1), mac_of(1));
	assert_int_equal(frame_ttl(frame), 4);
	world_quiet();
}

static void flow_from_the_underlay(void **unused)
{
	world_send_from(VTEP_2,
			&(struct frame_spec){ .src_mac = MAC_REMOTE_21, .src = "10.0.0.21", .dst = "10.0.0.12" });
	assert_macs(world_received(2), MAC_REMOTE_21, mac_of(2));
	world_send(2,
		   &(struct frame_spec){ .src = "10.0.0.12", .dst = "10.0.0.21", .src_port = 2000, .dst_port = 1000 });
	assert_macs(world_received_by(VTEP_2), mac_of(2), MAC_REMOTE_21);

	world_send_from(VTEP_3, &(struct frame_spec){ .src = "10.0.1.22", .dst = "10.0.0.12", .ttl = 3 });
	struct frame *frame = world_received(2);
	assert_macs(frame, router_mac(1), mac_of(2));
	assert_int_equal(frame_ttl(frame), 3);
	world_send(2, &(struct frame_spec){
			      .src = "10.0.0.12", .dst = "10.0.1.22", .src_port = 2000, .dst_port = 1000, .ttl = 3 });
	frame = world_received_by(VTEP_3);
	assert_macs(frame, router_mac(1), MAC_REMOTE_22);
	assert_int_equal(frame_ttl(frame), 2);
	assert_int_equal(bed_sessions(&world.bed), 2);
	world_quiet();
}

static void route_to_an_appliance(void **unused)
{
	static const char *const pairs[][2] = { { "10.0.0.11", "172.16.3.4" }, { "fd00:a::11", "fd00:f::9" } };
	world.vnic[2]->port_security = false;
	for (unsigned i = 0; i < 2; i++) {
		world_send(1, &(struct frame_spec){ .src = pairs[i][0], .dst = pairs[i][1] });
		struct frame *frame = world_received(2);
		assert_macs(frame, router_mac(1), mac_of(2));
		assert_int_equal(frame_ttl(frame), 63);
		world_send(2, &(struct frame_spec){
				      .src = pairs[i][1], .dst = pairs[i][0], .src_port = 2000, .dst_port = 1000 });
		world_received(1);
	}
	/* A flow that comes through the appliance. */
	world_send(2, &(struct frame_spec){ .src = "172.16.9.9", .dst = "10.0.0.11" });
	world_received(1);
	world_send(1,
		   &(struct frame_spec){ .src = "10.0.0.11", .dst = "172.16.9.9", .src_port = 2000, .dst_port = 1000 });
	assert_macs(world_received(2), router_mac(1), mac_of(2));
	/* What the appliance itself sends there would come back to it. */
	world_send(2, &(struct frame_spec){ .src = "10.0.0.12", .dst = "172.16.9.9" });
	world_dropped(DROP_NO_ROUTE);
}

static void route_to_a_vtep(void **unused)
{
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "172.17.3.4" });
	struct frame *frame = world_received_by(VTEP_4);
	assert_macs(frame, router_mac(1), "02:cc:00:00:00:01");
	assert_int_equal(frame_ttl(frame), 63);
	world_send_from(VTEP_4, &(struct frame_spec){
					.src = "172.17.3.4", .dst = "10.0.0.11", .src_port = 2000, .dst_port = 1000 });
	world_received(1);
	world_send_from(VTEP_4, &(struct frame_spec){ .src = "172.17.9.9", .dst = "10.0.0.12" });
	assert_macs(world_received(2), router_mac(1), mac_of(2));
	world_send_from(VTEP_3, &(struct frame_spec){ .src = "172.17.9.8", .dst = "10.0.0.12" });
	world_dropped(DROP_SPOOFED_TUNNEL);
}

static void longest_prefix_wins(void **unused)
{
	bed_route(&world.bed, world.blue, "172.18.5.0/24", DP_ROUTE_VTEP, VTEP_4);
	bed_route(&world.bed, world.blue, "0.0.0.0/0", DP_ROUTE_VTEP, VTEP_3);
	bed_route(&world.bed, world.blue, "::/0", DP_ROUTE_VTEP, VTEP_3);
	bed_route(&world.bed, world.blue, "2001:db8::1/128", DP_ROUTE_DROP, NULL);
	bed_route(&world.bed, world.blue, "2001:db8::/65", DP_ROUTE_VTEP, VTEP_4);
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "172.18.5.1" });
	world_received_by(VTEP_4);
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "8.8.8.8" });
	world_received_by(VTEP_3);
	world_send(1, &(struct frame_spec){ .src = "fd00:a::11", .dst = "2001:db8::1" });
	world_dropped(DROP_ROUTE_DROP);
	world_send(1, &(struct frame_spec){ .src = "fd00:a::11", .dst = "2001:db8::2" });
	world_received_by(VTEP_4);
	world_send(1, &(struct frame_spec){ .src = "fd00:a::11", .dst = "2001:db8:1::2" });
	world_received_by(VTEP_3);
	world_quiet();
}

/* Every address of every subnet is found, and none beside them, however many there are. */
static void many_subnets(void **unused)
{
	char v4[32], v6[40];
	const unsigned count = 300;
	for (unsigned i = 0; i < count; i++) { /* not in the order of their addresses */
		unsigned n = i * 7 % count;
		snprintf(v4, sizeof(v4), "10.%u.%u.0/25", 100 + n / 100, n % 100);
		snprintf(v6, sizeof(v6), "fd01:%x::/64", n);
		bed_subnet(&world.bed, world.blue, v4, n % 3 ? v6 : NULL);
	}
	for (unsigned n = 0; n < count; n++) {
		struct ip_addr in, out;
		snprintf(v4, sizeof(v4), "10.%u.%u.127", 100 + n / 100, n % 100);
		in = test_ip(v4);
		const struct dp_subnet *subnet = dp_subnet_find(world.blue, &in);
		assert_non_null(subnet);
		assert_int_equal(subnet->v4.addr.bytes[1] * 100 + subnet->v4.addr.bytes[2], 100 * 100 + n);
		snprintf(v4, sizeof(v4), "10.%u.%u.128", 100 + n / 100, n % 100);
		out = test_ip(v4);
		assert_null(dp_subnet_find(world.blue, &out));
		snprintf(v6, sizeof(v6), "fd01:%x::ffff:ffff", n);
		in = test_ip(v6);
		subnet = dp_subnet_find(world.blue, &in);
		assert_int_equal(subnet != NULL, n % 3 != 0);
		snprintf(v6, sizeof(v6), "fd01:%x:0:1::", n);
		out = test_ip(v6);
		assert_null(dp_subnet_find(world.blue, &out));
	}
	struct ip_addr before = test_ip("0.0.0.1"), behind = test_ip("ff02::1");
	assert_null(dp_subnet_find(world.blue, &before));
	assert_null(dp_subnet_find(world.blue, &behind));
}

static void tenants_with_equal_addresses(void **unused)
{
	struct frame_spec spec = { .src = "10.0.0.11", .dst = "10.0.0.12" };
	world_send(1, &spec);
	assert_macs(world_received(2), mac_of(1), mac_of(2));
	world_send(4, &spec);
	assert_macs(world_received(5), mac_of(4), mac_of(5));
	assert_int_equal(bed_sessions(&world.bed), 2);
	/* Blue's remote neighbour does not exist for red. */
	world_send(4, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.21" });
	world_dropped(DROP_NO_MAPPING);
	/* Red's answer to blue's flow is none. */
	world_send(5,
		   &(struct frame_spec){ .src = "10.0.0.12", .dst = "10.0.0.11", .src_port = 2000, .dst_port = 1000 });
	assert_macs(world_received(4), mac_of(5), mac_of(4));
	world_quiet();
}

/* ---- and why not ---- */

static void spoofed_sources(void **unused)
{
	world_send(1, &(struct frame_spec){ .src = "10.0.0.12", .dst = "10.0.1.13" });
	world_dropped(DROP_SPOOFED_ADDRESS);
	world_send(1, &(struct frame_spec){ .src = "fd00:a::12", .dst = "fd00:b::13" });
	world_dropped(DROP_SPOOFED_ADDRESS);
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.1.13", .src_mac = mac_of(2) });
	world_dropped(DROP_SPOOFED_MAC);
	world_send(1, &(struct frame_spec){ .src = "fe80::1234", .dst = "fd00:b::13" });
	world_dropped(DROP_SPOOFED_ADDRESS);
	world.vnic[1]->port_security = false;
	world.vnic[1]->iface.check_mac = false;
	world_send(1, &(struct frame_spec){ .src = "10.9.9.9", .dst = "10.0.1.13", .src_mac = mac_of(2) });
	world_received(3);
	world_quiet();
}

/* A guest gives its neighbours no addresses, unless it may say anything. */
static void dhcp_servers(void **unused)
{
	struct frame_spec v4 = { .src = "10.0.0.11", .dst = "10.0.0.12", .src_port = 67, .dst_port = 68 };
	struct frame_spec v6 = { .src = "fd00:a::11", .dst = "fd00:a::12", .src_port = 547, .dst_port = 546 };
	world_send(1, &v4);
	world_dropped(DROP_DHCP_SERVER);
	world_send(1, &v6);
	world_dropped(DROP_DHCP_SERVER);
	/* The other family's ports are nothing but ports. */
	v4.src_port = 547, v4.dst_port = 546;
	world_send(1, &v4);
	world_received(2);
	v4.src_port = 67, v4.dst_port = 68;
	world.vnic[1]->port_security = false;
	world_send(1, &v4);
	world_received(2);
	world_send(1, &v6);
	world_received(2);
	world_quiet();
}

static void bad_sources(void **unused)
{
	static const char *const bad[] = { "0.0.0.0", "127.0.0.1", "224.0.0.5", "255.255.255.255" };
	world.vnic[1]->port_security = false;
	for (unsigned i = 0; i < 4; i++) {
		world_send(1, &(struct frame_spec){ .src = bad[i], .dst = "10.0.1.13" });
		world_dropped(DROP_BAD_SOURCE);
	}
	static const char *const bad_v6[] = { "::", "::1", "ff02::1" };
	for (unsigned i = 0; i < 3; i++) {
		world_send(1, &(struct frame_spec){ .src = bad_v6[i], .dst = "fd00:b::13" });
		world_dropped(DROP_BAD_SOURCE);
	}
	world_send(1, &(struct frame_spec){ .src = "10.0.1.13", .dst = "10.0.1.13" });
	world_dropped(DROP_BAD_SOURCE);
}

static void spoofed_tunnels(void **unused)
{
	struct frame_spec spec = { .src = "10.0.0.21", .dst = "10.0.0.11" };
	world_send_from(VTEP_3, &spec);
	world_dropped(DROP_SPOOFED_TUNNEL);
	world_send_from(VTEP_2, &(struct frame_spec){ .src = "10.0.0.99", .dst = "10.0.0.11" });
	world_dropped(DROP_SPOOFED_TUNNEL);
	/* A local vNIC's address can come from no VTEP at all. */
	world_send_from(VTEP_2, &(struct frame_spec){ .src = "10.0.0.12", .dst = "10.0.0.11" });
	world_dropped(DROP_SPOOFED_TUNNEL);
	world.blue->validate_vtep = false;
	world_send_from(VTEP_3, &spec);
	world_received(1);
	world_send_from(VTEP_2, &(struct frame_spec){ .src = "10.0.0.12", .dst = "10.0.0.11" });
	world_dropped(DROP_SPOOFED_TUNNEL);
}

static void no_way_back(void **unused)
{
	world.blue->validate_vtep = false;
	world_send_from(VTEP_2, &(struct frame_spec){ .src = "192.168.1.1", .dst = "10.0.0.11" });
	world_received(1);
	world_send(1, &(struct frame_spec){
			      .src = "10.0.0.11", .dst = "192.168.1.1", .src_port = 2000, .dst_port = 1000 });
	world_dropped(DROP_NO_ROUTE);
	world_send_from(VTEP_2, &(struct frame_spec){ .src = "192.168.1.1", .dst = "10.0.0.11" });
	world_received(1);
	/* Once there is one, it is used. */
	bed_route(&world.bed, world.blue, "192.168.1.0/24", DP_ROUTE_VTEP, VTEP_2);
	bed_changed(&world.bed, world.blue);
	world_send(1, &(struct frame_spec){
			      .src = "10.0.0.11", .dst = "192.168.1.1", .src_port = 2000, .dst_port = 1000 });
	world_received_by(VTEP_2);
	assert_int_equal(bed_sessions(&world.bed), 1);
}

static void nowhere_to_go(void **unused)
{
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.77" });
	world_dropped(DROP_NO_MAPPING);
	world_send(1, &(struct frame_spec){ .src = "fd00:a::11", .dst = "fd00:b::77" });
	world_dropped(DROP_NO_MAPPING);
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "8.8.8.8" });
	world_dropped(DROP_NO_ROUTE);
	world_send(1, &(struct frame_spec){ .src = "fd00:a::11", .dst = "2001:db8::1" });
	world_dropped(DROP_NO_ROUTE);
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "172.18.1.1" });
	world_dropped(DROP_ROUTE_DROP);
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.255" });
	world_dropped(DROP_MULTICAST);
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "224.0.0.251" });
	world_dropped(DROP_MULTICAST);
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "255.255.255.255" });
	world_dropped(DROP_MULTICAST);
	world_send(1, &(struct frame_spec){ .src = "fd00:a::11", .dst = "ff02::fb" });
	world_dropped(DROP_MULTICAST);
	world_send(1, &(struct frame_spec){ .src = "fe80::ff:fe00:101", .dst = "fe80::12" });
	world_dropped(DROP_NO_MAPPING);
	/* An appliance that has gone. */
	bed_unmap(&world.bed, world.blue, "10.0.0.12");
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "172.16.1.1" });
	world_dropped(DROP_NO_MAPPING);
	assert_int_equal(bed_sessions(&world.bed), 0);
}

static void underlay_is_no_transit(void **unused)
{
	world_send_from(VTEP_2, &(struct frame_spec){ .src = "10.0.0.21", .dst = "10.0.1.22" });
	world_dropped(DROP_HAIRPIN);
	world_send_from(VTEP_2, &(struct frame_spec){ .src = "10.0.0.21", .dst = "172.17.0.1" });
	world_dropped(DROP_HAIRPIN);
	world_send_from(VTEP_2, &(struct frame_spec){ .src = "10.0.0.21", .dst = "10.0.0.77" });
	world_dropped(DROP_NO_MAPPING);
	/* A local next hop is a receiver like any other. */
	world_send_from(VTEP_2, &(struct frame_spec){ .src = "10.0.0.21", .dst = "172.16.0.1" });
	assert_macs(world_received(2), router_mac(1), mac_of(2));
}

static void next_hop_unresolved(void **unused)
{
	struct path_tunnel *tunnel =
		atomic_load(&world.bed.dp.config->tunnels[bed_tunnel(&world.bed, world.blue, VTEP_2)]);
	tunnel->resolved = false;
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.21" });
	world_dropped(DROP_NEIGHBOUR_UNRESOLVED);
	tunnel->resolved = true;
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.21" });
	world_received_by(VTEP_2);
}

static void receivers_that_cannot(void **unused)
{
	struct frame_spec spec = { .src = "10.0.0.11", .dst = "10.0.0.12" };
	atomic_store(&world.bed.ports[bed_iface(2)].port.up, false);
	world_send(1, &spec);
	world_dropped(DROP_TX_DOWN);
	atomic_store(&world.bed.ports[bed_iface(2)].port.up, true);
	world.bed.ports[bed_iface(2)].room = 0;
	world_send(1, &spec);
	world_dropped(DROP_TX_FULL);
	atomic_store(&world.bed.dp.ports[bed_iface(2)], NULL);
	world_send(1, &spec);
	world_dropped(DROP_TX_DOWN);
	const struct path_iface_counters *counters = path_iface_counters(world.bed.dp.paths[0], bed_iface(2));
	assert_int_equal(counters->tx_drops, 3);
}

/* ---- sessions ---- */

static void tcp_begins_with_syn(void **unused)
{
	struct frame_spec spec = { .src = "10.0.0.11", .dst = "10.0.0.12", .proto = IPPROTO_TCP };
	static const uint8_t others[] = { ACK, SYN_ACK, RST, FIN_ACK, SYN | RST, SYN | 1 };
	for (unsigned i = 0; i < sizeof(others); i++) {
		spec.tcp_flags = others[i];
		world_send(1, &spec);
		world_dropped(DROP_TCP_INVALID);
	}
	assert_int_equal(bed_sessions(&world.bed), 0);
	spec.tcp_flags = SYN;
	world_send(1, &spec);
	world_received(2);
	struct frame_spec answer = { .src = "10.0.0.12",
				     .dst = "10.0.0.11",
				     .proto = IPPROTO_TCP,
				     .src_port = 2000,
				     .dst_port = 1000,
				     .tcp_flags = SYN_ACK };
	world_send(2, &answer);
	world_received(1);
	spec.tcp_flags = ACK;
	world_send(1, &spec);
	world_received(2);
	uint64_t misses = path_iface_counters(world.bed.dp.paths[0], bed_iface(1))->misses;
	world_send(1, &spec);
	world_received(2);
	assert_int_equal(path_iface_counters(world.bed.dp.paths[0], bed_iface(1))->misses, misses);
	world_quiet();
}

static void tcp_port_reuse(void **unused)
{
	struct frame_spec there = { .src = "10.0.0.11", .dst = "10.0.0.12", .proto = IPPROTO_TCP, .tcp_flags = SYN };
	struct frame_spec back = { .src = "10.0.0.12",
				   .dst = "10.0.0.11",
				   .proto = IPPROTO_TCP,
				   .src_port = 2000,
				   .dst_port = 1000,
				   .tcp_flags = SYN_ACK };
	world_send(1, &there);
	world_received(2);
	world_send(2, &back);
	world_received(1);
	there.tcp_flags = back.tcp_flags = RST | ACK;
	world_send(1, &there);
	world_received(2);
	/* The next connection comes the other way round, and policy is asked again. */
	static const char *const nothing[] = { NULL };
	bed_rules(&world.bed, world.vnic[1], false, 1, nothing);
	back.tcp_flags = SYN;
	world_send(2, &back);
	world_dropped(DROP_INGRESS_DENIED);
	assert_int_equal(bed_sessions(&world.bed), 0);
	world.vnic[1]->security_groups_on = false;
	world_send(2, &back);
	world_received(1);
	world_quiet();
}

static void echo_both_ways(void **unused)
{
	static const char *const pairs[][2] = { { "10.0.0.11", "10.0.0.12" }, { "fd00:a::11", "fd00:a::12" } };
	for (unsigned i = 0; i < 2; i++) {
		uint8_t proto = i ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
		uint16_t request = i ? 128 << 8 : 8 << 8, reply = i ? 129 << 8 : 0;
		/* An answer to nothing. */
		world_send(2, &(struct frame_spec){ .src = pairs[i][1],
						    .dst = pairs[i][0],
						    .proto = proto,
						    .src_port = 77,
						    .dst_port = reply });
		world_dropped(DROP_ICMP_UNRELATED);
		world_send(1, &(struct frame_spec){ .src = pairs[i][0],
						    .dst = pairs[i][1],
						    .proto = proto,
						    .src_port = 77,
						    .dst_port = request });
		world_received(2);
		world_send(2, &(struct frame_spec){ .src = pairs[i][1],
						    .dst = pairs[i][0],
						    .proto = proto,
						    .src_port = 77,
						    .dst_port = reply });
		world_received(1);
	}
	assert_int_equal(bed_sessions(&world.bed), 2);
	world_quiet();
}

static void other_protocols(void **unused)
{
	world_send(1,
		   &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.12", .proto = IPPROTO_GRE, .payload = 20 });
	world_received(2);
	world_send(2,
		   &(struct frame_spec){ .src = "10.0.0.12", .dst = "10.0.0.11", .proto = IPPROTO_GRE, .payload = 20 });
	world_received(1);
	assert_int_equal(bed_sessions(&world.bed), 1);
	world_quiet();
}

static void table_full(void **unused)
{
	unsigned refused = 0;
	bed_stop(&world.bed);
	world.bed.max_sessions = 64; /* in each of 16 slots */
	bed_start(&world.bed);
	for (unsigned i = 0; i < 2048; i++) {
		world_send(1, &(struct frame_spec){
				      .src = "10.0.0.11", .dst = "10.0.0.12", .src_port = (uint16_t)(i + 1) });
		if (bed_drops(&world.bed, DROP_SESSION_TABLE_FULL) == refused)
			world_received(2);
		else
			refused++;
	}
	assert_true(refused > 0);
	assert_int_equal(bed_sessions(&world.bed), 2048 - refused);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[1]), 2048 - refused);
	assert_int_equal(dp_tenant_sessions(&world.bed.dp, world.vnic[1]->tenant), 2048 - refused);
}

static void ttl_expires(void **unused)
{
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.1.13", .ttl = 1, .payload = 100 });
	struct frame *frame = world_received(1);
	assert_ips(frame, "10.0.0.1", "10.0.0.11");
	assert_macs(frame, router_mac(1), mac_of(1));
	assert_int_equal(frame->bytes[34], 11);
	assert_int_equal(frame->bytes[35], 0);
	assert_int_equal(frame->length, 14 + 20 + 8 + 20 + 8 + 100);
	world_dropped(DROP_TTL_EXPIRED);
	assert_int_equal(bed_sessions(&world.bed), 0);
	/* The same in an existing session, and for IPv6. */
	world_send(1, &(struct frame_spec){ .src = "fd00:a::11", .dst = "fd00:b::13" });
	world_received(3);
	world_send(1, &(struct frame_spec){ .src = "fd00:a::11", .dst = "fd00:b::13", .ttl = 1 });
	frame = world_received(1);
	assert_ips(frame, "fd00:a::1", "fd00:a::11");
	assert_int_equal(frame->bytes[54], 3);
	world_dropped(DROP_TTL_EXPIRED);
	/* Within a subnet TTL is nobody's business. */
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.12", .ttl = 1 });
	world_received(2);
	world_quiet();
}

static void interfaces_that_go(void **unused)
{
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.12" });
	world_received(2);
	/* vNIC 2 goes; its session must lead nowhere. */
	atomic_store(&world.bed.dp.config->ifaces[bed_iface(2)], NULL);
	bed_unmap(&world.bed, world.blue, "10.0.0.12");
	bed_changed(&world.bed, world.blue);
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.12" });
	world_dropped(DROP_NO_MAPPING);
	assert_int_equal(bed_sessions(&world.bed), 0);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[1]), 0);
	world_send(2, &(struct frame_spec){ .src = "10.0.0.12", .dst = "10.0.0.11" });
	world_dropped(DROP_UNKNOWN_INTERFACE);
	atomic_store(&world.bed.dp.config->ifaces[bed_iface(2)], &world.vnic[2]->iface);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		CASE(same_subnet_is_bridged),
		CASE(queues_get_their_packets_at_once),
		CASE(same_subnet_is_bridged_v6),
		CASE(other_subnet_is_routed),
		CASE(remote_neighbour_by_tunnel),
		CASE(remote_subnet_by_tunnel),
		CASE(flow_from_the_underlay),
		CASE(route_to_an_appliance),
		CASE(route_to_a_vtep),
		CASE(longest_prefix_wins),
		CASE(many_subnets),
		CASE(tenants_with_equal_addresses),
		CASE(spoofed_sources),
		CASE(dhcp_servers),
		CASE(bad_sources),
		CASE(spoofed_tunnels),
		CASE(no_way_back),
		CASE(nowhere_to_go),
		CASE(underlay_is_no_transit),
		CASE(next_hop_unresolved),
		CASE(receivers_that_cannot),
		CASE(tcp_begins_with_syn),
		CASE(tcp_port_reuse),
		CASE(echo_both_ways),
		CASE(other_protocols),
		CASE(table_full),
		CASE(ttl_expires),
		CASE(interfaces_that_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
