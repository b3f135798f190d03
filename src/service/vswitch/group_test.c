/* SPDX-License-Identifier: BSD-3-Clause */
/* Security groups: default deny, statefulness, members, change of policy under a flow, sessions of a former process,
 * and the sentences that explain a verdict. */
#include "service/vswitch/testworld.h"

#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SYN = 0x02, ACK = 0x10, SYN_ACK = 0x12 };

static const char *const nothing[] = { NULL };

static struct frame_spec there = { .src = "10.0.0.11", .dst = "10.0.1.13", .src_port = 4000, .dst_port = 80 };
static struct frame_spec back = { .src = "10.0.1.13", .dst = "10.0.0.11", .src_port = 80, .dst_port = 4000 };

static void default_is_deny(void **unused)
{
	bed_rules(&world.bed, world.vnic[1], true, 1, nothing);
	world_send(1, &there);
	world_dropped(DROP_EGRESS_DENIED);
	world.vnic[1]->security_groups_on = false;
	bed_rules(&world.bed, world.vnic[3], false, 1, nothing);
	world_send(1, &there);
	world_dropped(DROP_INGRESS_DENIED);
	world_send_from(VTEP_2, &(struct frame_spec){ .src = "10.0.0.21", .dst = "10.0.1.13" });
	world_dropped(DROP_INGRESS_DENIED);
	world_send(1, &(struct frame_spec){ .src = "fd00:a::11", .dst = "fd00:b::13" });
	world_dropped(DROP_INGRESS_DENIED);
	assert_int_equal(bed_sessions(&world.bed), 0);
	assert_int_equal(dp_tenant_sessions(&world.bed.dp, world.vnic[1]->tenant), 0);
}

static void answers_need_no_rule(void **unused)
{
	static const char *const out[] = { "udp 80", NULL };
	bed_rules(&world.bed, world.vnic[1], true, 10, out);
	bed_rules(&world.bed, world.vnic[1], false, 20, nothing);
	bed_rules(&world.bed, world.vnic[3], true, 30, nothing);
	bed_rules(&world.bed, world.vnic[3], false, 40, out);
	world_send(3, &back);
	world_dropped(DROP_EGRESS_DENIED);
	world_send(1, &there);
	world_received(3);
	world_send(3, &back);
	world_received(1);
	/* Another port is another flow. */
	world_send(3, &(struct frame_spec){ .src = "10.0.1.13", .dst = "10.0.0.11", .src_port = 81, .dst_port = 4000 });
	world_dropped(DROP_EGRESS_DENIED);
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.1.13", .src_port = 4000, .dst_port = 81 });
	world_dropped(DROP_EGRESS_DENIED);
	world_quiet();
}

static void rules_of_all_kinds(void **unused)
{
	static const char *const in[] = { "tcp 22",         "tcp 8000-8010 from 10.0.0.0/28", "udp from 10.0.0.11/32",
					  "icmp 2048-2303", "any from fd00:a::/64",           NULL };
	static const struct {
		struct frame_spec spec;
		bool allowed;
	} cases[] = {
		{ { .dst_port = 22, .proto = IPPROTO_TCP, .tcp_flags = SYN }, true },
		{ { .dst_port = 23, .proto = IPPROTO_TCP, .tcp_flags = SYN }, false },
		{ { .dst_port = 8000, .proto = IPPROTO_TCP, .tcp_flags = SYN }, true },
		{ { .dst_port = 8010, .proto = IPPROTO_TCP, .tcp_flags = SYN }, true },
		{ { .dst_port = 8011, .proto = IPPROTO_TCP, .tcp_flags = SYN }, false },
		{ { .dst_port = 22, .proto = IPPROTO_UDP }, true },
		{ { .dst_port = 8 << 8, .proto = IPPROTO_ICMP }, true },
		{ { .dst_port = 13 << 8, .proto = IPPROTO_ICMP }, false },
		{ { .proto = IPPROTO_GRE, .payload = 8 }, false },
		{ { .src = "fd00:a::11", .dst = "fd00:a::12", .proto = IPPROTO_GRE, .payload = 8 }, true },
		{ { .src = "fd00:a::11", .dst = "fd00:a::12", .dst_port = 128 << 8, .proto = IPPROTO_ICMPV6 }, true },
	};
	bed_rules(&world.bed, world.vnic[2], false, 1, in);
	for (unsigned i = 0; i < RTE_DIM(cases); i++) {
		struct frame_spec spec = cases[i].spec;
		if (!spec.src) {
			spec.src = "10.0.0.11";
			spec.dst = "10.0.0.12";
		}
		spec.src_port = 999;
		world_send(1, &spec);
		if (cases[i].allowed)
			world_received(2);
		else
			world_dropped(DROP_INGRESS_DENIED);
		world_quiet();
	}
	/* The same address from elsewhere is not the prefix's. */
	world_send_from(VTEP_2, &(struct frame_spec){ .src = "10.0.0.21", .dst = "10.0.0.12" });
	world_dropped(DROP_INGRESS_DENIED);
}

static void group_members(void **unused)
{
	static const char *const in[] = { "udp group 7", NULL };
	bed_rules(&world.bed, world.vnic[3], false, 1, in);
	world_send(1, &there);
	world_dropped(DROP_INGRESS_DENIED);
	world.vnic[1]->groups[0] = 6;
	world.vnic[1]->groups[1] = 7;
	world.vnic[1]->group_count = 2;
	bed_address(&world.bed, world.vnic[1], "10.0.0.11"); /* the endpoint knows the groups */
	bed_changed(&world.bed, world.blue);
	world_send(1, &there);
	world_received(3);
	world_send(2, &(struct frame_spec){ .src = "10.0.0.12", .dst = "10.0.1.13", .dst_port = 80 });
	world_dropped(DROP_INGRESS_DENIED);
	/* Egress looks at the groups of the other end as well. */
	bed_rules(&world.bed, world.vnic[2], true, 1, in);
	world_send(2, &(struct frame_spec){ .src = "10.0.0.12", .dst = "10.0.0.11" });
	world_received(1);
	world_send(2, &(struct frame_spec){ .src = "10.0.0.12", .dst = "10.0.1.13" });
	world_dropped(DROP_EGRESS_DENIED);
}

/* ---- change under a flow ---- */

static void new_rule_opens_a_port(void **unused)
{
	static const char *const open[] = { "udp 80", NULL };
	bed_rules(&world.bed, world.vnic[3], false, 1, nothing);
	world_send(1, &there);
	world_dropped(DROP_INGRESS_DENIED);
	bed_rules(&world.bed, world.vnic[3], false, 1, open);
	bed_changed(&world.bed, world.blue);
	world_send(1, &there);
	world_received(3);
	world_quiet();
}

static void removed_rule_ends_a_flow(void **unused)
{
	static const char *const open[] = { "udp 80", NULL };
	bed_rules(&world.bed, world.vnic[3], false, 1, open);
	for (unsigned first = 0; first < 2; first++) {
		world_send(1, &there);
		world_received(3);
		world_send(3, &back);
		world_received(1);
		bed_rules(&world.bed, world.vnic[3], false, 1, nothing);
		bed_changed(&world.bed, world.blue);
		/* Whoever sends first, it is the initiator's direction that counts. */
		world_send(first ? 1 : 3, first ? &there : &back);
		world_dropped(DROP_INGRESS_DENIED);
		assert_int_equal(bed_sessions(&world.bed), 0);
		assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[3]), 0);
		bed_rules(&world.bed, world.vnic[3], false, 1, open);
		bed_changed(&world.bed, world.blue);
	}
}

static void change_elsewhere_keeps_a_flow(void **unused)
{
	/* Nothing lets vNIC 3 begin; the flow's own direction is what is evaluated again. */
	static const char *const open[] = { "udp 80", NULL };
	bed_rules(&world.bed, world.vnic[3], false, 1, open);
	bed_rules(&world.bed, world.vnic[3], true, 1, nothing);
	bed_rules(&world.bed, world.vnic[1], true, 1, open);
	bed_rules(&world.bed, world.vnic[1], false, 1, nothing);
	world_send(1, &there);
	world_received(3);
	for (unsigned i = 0; i < 3; i++) {
		bed_changed(&world.bed, world.blue);
		world_send(3, &back);
		world_received(1);
		world_send(1, &there);
		world_received(3);
	}
	assert_int_equal(bed_sessions(&world.bed), 1);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[3]), 1);
	world_quiet();
}

static void established_tcp_outlives_changes(void **unused)
{
	struct frame_spec tcp = there, tcp_back = back;
	tcp.proto = tcp_back.proto = IPPROTO_TCP;
	tcp.tcp_flags = SYN;
	tcp_back.tcp_flags = SYN_ACK;
	world_send(1, &tcp);
	world_received(3);
	world_send(3, &tcp_back);
	world_received(1);
	tcp.tcp_flags = tcp_back.tcp_flags = ACK;
	world_send(1, &tcp);
	world_received(3);
	bed_changed(&world.bed, world.blue);
	world_send(3, &tcp_back);
	world_received(1);
	bed_changed(&world.bed, world.blue);
	world_send(1, &tcp);
	world_received(3);
	world_quiet();
}

static void other_tenants_are_not_concerned(void **unused)
{
	static const char *const open[] = { "udp", NULL };
	world_send(4, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.12" });
	world_received(5);
	bed_rules(&world.bed, world.vnic[2], false, 1, open);
	bed_changed(&world.bed, world.blue);
	uint64_t misses = path_iface_counters(world.bed.dp.paths[0], bed_iface(4))->misses;
	world_send(4, &(struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.0.12" });
	world_received(5);
	assert_int_equal(path_iface_counters(world.bed.dp.paths[0], bed_iface(4))->misses, misses);
}

static void address_moves_to_another_host(void **unused)
{
	world_send(1, &there);
	world_received(3);
	/* vNIC 3's address goes to VTEP 2, as after a migration; the flow follows in both directions. */
	bed_mapping(&world.bed, world.blue, "10.0.1.13", VTEP_2, MAC_REMOTE_21);
	world.vnic[3]->address_count = 0;
	bed_changed(&world.bed, world.blue);
	world_send(3, &back);
	world_dropped(DROP_SPOOFED_ADDRESS);
	world_send(1, &there);
	world_received_by(VTEP_2);
	world_send_from(VTEP_2, &back);
	world_received(1);
	/* And back, the other side speaking first. */
	bed_address(&world.bed, world.vnic[3], "10.0.1.13");
	bed_changed(&world.bed, world.blue);
	world_send(3, &back);
	world_received(1);
	world_send(1, &there);
	world_received(3);
	assert_int_equal(bed_sessions(&world.bed), 1);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[3]), 1);
	world_quiet();
}

static void initiator_moves_here(void **unused)
{
	struct frame_spec in = { .src = "10.0.0.21", .dst = "10.0.1.13", .src_port = 4000, .dst_port = 80 };
	struct frame_spec out = { .src = "10.0.1.13", .dst = "10.0.0.21", .src_port = 80, .dst_port = 4000 };
	world_send_from(VTEP_2, &in);
	world_received(3);
	bed_address(&world.bed, world.vnic[2], "10.0.0.21");
	bed_changed(&world.bed, world.blue);
	world_send(3, &out);
	assert_macs(world_received(2), router_mac(1), mac_of(2));
	world_send(2, &in);
	world_received(3);
	/* The old host sends no more; if it did, it would not be believed, and the flow would live. */
	world_send_from(VTEP_2, &in);
	world_dropped(DROP_SPOOFED_TUNNEL);
	world_send(2, &in);
	world_received(3);
	assert_int_equal(bed_sessions(&world.bed), 1);
	world_quiet();
}

static void pretenders_end_no_flow(void **unused)
{
	world_send(1, &there);
	world_received(3);
	world_send(2, &there);
	world_dropped(DROP_SPOOFED_ADDRESS);
	world_send(2, &back);
	world_dropped(DROP_SPOOFED_ADDRESS);
	world_send_from(VTEP_2, &there);
	world_dropped(DROP_SPOOFED_TUNNEL);
	world_send_from(VTEP_2, &back);
	world_dropped(DROP_SPOOFED_TUNNEL);
	/* Nor when the session waits to be evaluated again. */
	bed_changed(&world.bed, world.blue);
	world_send(2, &there);
	world_dropped(DROP_SPOOFED_ADDRESS);
	world_send_from(VTEP_2, &there);
	world_dropped(DROP_SPOOFED_TUNNEL);
	assert_int_equal(bed_sessions(&world.bed), 1);
	world_send(1, &there);
	world_received(3);
	world_send(3, &back);
	world_received(1);
	world_quiet();
}

static void answer_from_another_vtep(void **unused)
{
	struct frame_spec out = { .src = "10.0.0.11", .dst = "10.0.0.21" };
	struct frame_spec in = { .src = "10.0.0.21", .dst = "10.0.0.11", .src_port = 2000, .dst_port = 1000 };
	world_send(1, &out);
	world_received_by(VTEP_2);
	bed_changed(&world.bed, world.blue);
	world_send_from(VTEP_3, &in);
	world_dropped(DROP_SPOOFED_TUNNEL);
	assert_int_equal(bed_sessions(&world.bed), 1);
	world_send_from(VTEP_2, &in);
	world_received(1);
}

/* Whoever may send from another VTEP gets into no flow that is under way, in whichever direction it was begun. */
static void known_flow_from_another_vtep(void **unused)
{
	static const char *const pairs[2][2] = { { "10.0.0.21", "10.0.0.11" }, { "fd00:a::21", "fd00:a::11" } };
	for (unsigned f = 0; f < 2; f++) {
		struct frame_spec in = { .src = pairs[f][0], .dst = pairs[f][1], .src_port = 7, .dst_port = 9 };
		struct frame_spec out = { .src = pairs[f][1], .dst = pairs[f][0], .src_port = 70, .dst_port = 90 };
		struct frame_spec answer = { .src = pairs[f][0], .dst = pairs[f][1], .src_port = 90, .dst_port = 70 };
		world_send(1, &out);
		world_received_by(VTEP_2);
		const struct frame_spec *specs[] = { &in, &answer };
		for (unsigned i = 0; i < 2; i++) {
			world_send_from(VTEP_2, specs[i]);
			world_received(1);
			uint64_t misses = path_iface_counters(world.bed.dp.paths[0], BED_UPLINK)->misses;
			for (unsigned n = 0; n < 3; n++) {
				world_send_from(VTEP_3, specs[i]);
				world_dropped(DROP_SPOOFED_TUNNEL);
			}
			world_send_from(VTEP_2, specs[i]);
			world_received(1);
			/* The right one goes on undisturbed. */
			assert_int_equal(path_iface_counters(world.bed.dp.paths[0], BED_UPLINK)->misses, misses + 3);
		}
		assert_int_equal(bed_sessions(&world.bed), 2 * f + 2);
	}
	/* One who does not want to know does not look. */
	world.blue->validate_vtep = false;
	bed_changed(&world.bed, world.blue);
	struct frame_spec in = { .src = "10.0.0.21", .dst = "10.0.0.11", .src_port = 7, .dst_port = 9 };
	for (unsigned n = 0; n < 2; n++) {
		world_send_from(n ? VTEP_3 : VTEP_2, &in);
		world_received(1);
	}
}

/* ---- a former process ---- */

static char state_dir[64];

static void restart(void)
{
	bed_stop(&world.bed);
	atomic_store(&world.vnic[1]->runtime->sessions, 0);
	atomic_store(&world.vnic[2]->runtime->sessions, 0);
	atomic_store(&world.vnic[3]->runtime->sessions, 0);
	atomic_store(&world.vnic[1]->tenant->sessions, 0);
	/* The new process counts epochs from the start. */
	world.bed.epoch = 0;
	bed_changed(&world.bed, world.blue);
	bed_start(&world.bed);
}

static void sessions_survive_a_restart(void **unused)
{
	static const char *const open[] = { "any", NULL };
	snprintf(state_dir, sizeof(state_dir), "/dev/shm/vswitch-test-XXXXXX");
	assert_non_null(mkdtemp(state_dir));
	bed_stop(&world.bed);
	world.bed.state_dir = state_dir;
	bed_start(&world.bed);
	/* vNIC 3 may be spoken to by nobody, and vNIC 1 may speak to all: only sessions let answers in. */
	bed_rules(&world.bed, world.vnic[1], true, 1, open);
	bed_rules(&world.bed, world.vnic[1], false, 1, nothing);
	struct frame_spec tcp = there, tcp_back = back;
	tcp.proto = tcp_back.proto = IPPROTO_TCP;
	tcp.tcp_flags = SYN;
	tcp_back.tcp_flags = SYN_ACK;
	world_send(1, &tcp);
	world_received(3);
	world_send(3, &tcp_back);
	world_received(1);
	tcp.tcp_flags = tcp_back.tcp_flags = ACK;
	world_send(1, &tcp);
	world_received(3);
	world_send(1, &there);
	world_received(3);

	restart();
	assert_int_equal(bed_sessions(&world.bed), 2);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[1]), 2);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[3]), 2);
	assert_int_equal(dp_tenant_sessions(&world.bed.dp, world.vnic[1]->tenant), 2);
	world_send(3, &tcp_back); /* the answering side first */
	world_received(1);
	world_send(1, &tcp);
	world_received(3);

	restart();
	world_send(1, &tcp); /* the initiator first */
	world_received(3);
	world_send(3, &tcp_back);
	world_received(1);
	world_send(3, &back); /* UDP, answered for the first time */
	world_received(1);

	/* What policy no longer allows is gone after the next restart. */
	bed_rules(&world.bed, world.vnic[1], true, 1, nothing);
	restart();
	world_send(3, &back);
	assert_true(bed_quiet(&world.bed));
	assert_int_equal(bed_drops(&world.bed, DROP_EGRESS_DENIED), 1);
	assert_int_equal(bed_sessions(&world.bed), 1);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[3]), 1);
}

static int restart_teardown(void **unused)
{
	world_teardown(NULL);
	DIR *dir = opendir(state_dir);
	for (struct dirent *entry; dir && (entry = readdir(dir));)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	return rmdir(state_dir);
}

/* ---- why ---- */

static struct flow_key key_of(const char *src, const char *dst, uint8_t proto, uint16_t src_port, uint16_t dst_port,
			      uint16_t vpc)
{
	struct ip_addr a = test_ip(src), b = test_ip(dst);
	struct flow_key key = { .vpc = vpc, .proto = proto, .src_port = rte_cpu_to_be_16(src_port) };
	key.dst_port = rte_cpu_to_be_16(dst_port);
	if (a.family == IP_V6) {
		key.flags = FLOW_KEY_F_V6;
		memcpy(key.v6.src, a.bytes, 16);
		memcpy(key.v6.dst, b.bytes, 16);
	} else {
		memcpy(&key.v4.src, a.bytes, 4);
		memcpy(&key.v4.dst, b.bytes, 4);
	}
	return key;
}

static const char *step_of(const struct dp_verdict *verdict, enum dp_step_kind kind)
{
	for (unsigned i = 0; i < verdict->step_count; i++)
		if (verdict->steps[i].kind == kind)
			return verdict->steps[i].text;
	fail_msg("no step of kind %d", kind);
	return NULL;
}

static void verdict_in_sentences(void **unused)
{
	static const char *const open[] = { "tcp 22", "tcp 80", NULL };
	struct dp_step steps[DP_STEPS];
	struct dp_verdict verdict = { .steps = steps };
	struct flow_key key = key_of("10.0.0.11", "10.0.1.13", IPPROTO_TCP, 4000, 80, 1);
	bed_rules(&world.bed, world.vnic[3], false, 40, open);
	dp_evaluate(&world.bed.dp, &key, bed_iface(1), NULL, NULL, &verdict);
	assert_int_equal(verdict.drop, DROP_NONE);
	assert_int_equal(verdict.src_vnic, bed_iface(1));
	assert_int_equal(verdict.dst_vnic, bed_iface(3));
	assert_int_equal(verdict.tenant, 1);
	assert_int_equal(verdict.rule[0], 0);
	assert_int_equal(verdict.rule[1], 41);
	assert_string_equal(step_of(&verdict, DP_STEP_INPUT), "enters VPC t1/net at vNIC t1/vnic1");
	assert_string_equal(step_of(&verdict, DP_STEP_SPOOF), "source 10.0.0.11 is an address of vNIC t1/vnic1");
	assert_string_equal(step_of(&verdict, DP_STEP_ROUTE), "10.0.1.13 is in a subnet of VPC t1/net");
	assert_string_equal(step_of(&verdict, DP_STEP_ENDPOINT), "it is at local vNIC t1/vnic3, MAC 02:00:00:00:01:03");
	assert_string_equal(step_of(&verdict, DP_STEP_EGRESS),
			    "vNIC t1/vnic1 has no security groups: everything is allowed");
	assert_string_equal(step_of(&verdict, DP_STEP_INGRESS),
			    "ingress rule 41 of the security groups of vNIC t1/vnic3 allows it");
	assert_string_equal(step_of(&verdict, DP_STEP_OUTPUT),
			    "goes to vNIC t1/vnic3 with destination MAC 02:00:00:00:01:03, TTL - 1, MTU 1500");
	for (unsigned i = 0; i < verdict.step_count; i++)
		assert_true(steps[i].passed);
	assert_int_equal(verdict.forward.out_iface, bed_iface(3));
	assert_int_equal(verdict.reverse.in_iface, bed_iface(3));
	assert_int_equal(verdict.reverse.out_iface, bed_iface(1));
}

static void refusal_in_sentences(void **unused)
{
	struct dp_step steps[DP_STEPS];
	struct dp_verdict verdict = { .steps = steps };
	static const struct {
		const char *src, *dst, *from;
		uint16_t iface;
		enum drop_reason drop;
		enum dp_step_kind kind;
		const char *text;
	} cases[] = {
		{ "10.0.0.11", "10.0.1.13", NULL, 65, DROP_INGRESS_DENIED, DP_STEP_INGRESS,
		  "no ingress rule of the security groups of vNIC t1/vnic3 allows icmp type 8 code 0 from 10.0.0.11" },
		{ "10.0.0.12", "10.0.1.13", NULL, 65, DROP_SPOOFED_ADDRESS, DP_STEP_SPOOF,
		  "source 10.0.0.12 is none of the addresses of vNIC t1/vnic1" },
		{ "10.0.0.11", "8.8.8.8", NULL, 65, DROP_NO_ROUTE, DP_STEP_ROUTE,
		  "no subnet and no route of VPC t1/net covers 8.8.8.8" },
		{ "10.0.0.11", "172.18.0.1", NULL, 65, DROP_ROUTE_DROP, DP_STEP_ROUTE,
		  "route 172.18.0.0/16 covers 172.18.0.1 and says drop" },
		{ "10.0.0.11", "10.0.0.99", NULL, 65, DROP_NO_MAPPING, DP_STEP_ENDPOINT, "nobody has 10.0.0.99" },
		{ "10.0.0.11", "10.0.0.1", NULL, 65, DROP_SERVICE_HANDLED, DP_STEP_ROUTE,
		  "10.0.0.1 is a gateway: its first-hop service answers" },
		{ "10.0.0.11", "224.0.0.1", NULL, 65, DROP_MULTICAST, DP_STEP_ROUTE,
		  "224.0.0.1 is multicast or broadcast: only first-hop services see it" },
		{ "10.0.0.21", "10.0.0.11", VTEP_3, 1, DROP_SPOOFED_TUNNEL, DP_STEP_SPOOF,
		  "source 10.0.0.21 lives behind VTEP 192.0.2.2, the packet came from VTEP 192.0.2.3" },
		{ "10.0.0.21", "10.0.1.22", VTEP_2, 1, DROP_HAIRPIN, DP_STEP_ENDPOINT,
		  "it is behind VTEP 192.0.2.3 (tunnel 2), MAC 02:01:00:00:00:22" },
		{ "10.0.0.11", "10.0.0.12", NULL, 99, DROP_UNKNOWN_INTERFACE, DP_STEP_INPUT,
		  "interface 99 or its VPC is not there (any more)" },
	};
	bed_rules(&world.bed, world.vnic[3], false, 40, nothing);
	for (unsigned i = 0; i < RTE_DIM(cases); i++) {
		struct flow_key key = key_of(cases[i].src, cases[i].dst, IPPROTO_ICMP, 5, 8 << 8, 1);
		struct ip_addr from = cases[i].from ? test_ip(cases[i].from) : (struct ip_addr){ 0 };
		dp_evaluate(&world.bed.dp, &key, cases[i].iface, cases[i].from ? &from : NULL, NULL, &verdict);
		assert_int_equal(verdict.drop, cases[i].drop);
		assert_string_equal(step_of(&verdict, cases[i].kind), cases[i].text);
		assert_false(steps[verdict.step_count - 1].passed);
	}
	/* An interface of another VPC than the key's. */
	struct flow_key key = key_of("10.0.0.11", "10.0.0.12", IPPROTO_UDP, 1, 1, 1);
	dp_evaluate(&world.bed.dp, &key, bed_iface(4), NULL, NULL, &verdict);
	assert_int_equal(verdict.drop, DROP_UNKNOWN_INTERFACE);
	key.vpc = 9;
	dp_evaluate(&world.bed.dp, &key, bed_iface(4), NULL, NULL, &verdict);
	assert_int_equal(verdict.drop, DROP_UNKNOWN_VNI);
	/* The frame's source MAC counts when there is a frame. */
	static struct frame frame;
	key.vpc = 1;
	frame_build(&frame, &(struct frame_spec){ .src_mac = mac_of(2), .src = "10.0.0.11", .dst = "10.0.0.12" });
	struct rte_mbuf *m = frame_mbuf(&frame);
	dp_evaluate(&world.bed.dp, &key, bed_iface(1), NULL, m, &verdict);
	assert_int_equal(verdict.drop, DROP_SPOOFED_MAC);
	rte_pktmbuf_free(m);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		CASE(default_is_deny),
		CASE(answers_need_no_rule),
		CASE(rules_of_all_kinds),
		CASE(group_members),
		CASE(new_rule_opens_a_port),
		CASE(removed_rule_ends_a_flow),
		CASE(change_elsewhere_keeps_a_flow),
		CASE(established_tcp_outlives_changes),
		CASE(other_tenants_are_not_concerned),
		CASE(address_moves_to_another_host),
		CASE(initiator_moves_here),
		CASE(pretenders_end_no_flow),
		CASE(answer_from_another_vtep),
		CASE(known_flow_from_another_vtep),
		cmocka_unit_test_setup_teardown(sessions_survive_a_restart, world_setup, restart_teardown),
		CASE(verdict_in_sentences),
		CASE(refusal_in_sentences),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
