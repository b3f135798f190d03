/* SPDX-License-Identifier: BSD-3-Clause */
/* Flows as OVS 3.1 prints them, and the rules that dpud makes of them: the same normal form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "ovs_flow.h"

#define HEAD                                                                                                           \
	"ufid:6e28047f-22e5-458f-bcb3-df5695628501, skb_priority(0/0),skb_mark(0/0),ct_state(0/0),ct_zone(0/0),"       \
	"ct_mark(0/0),ct_label(0/0),recirc_id(0),dp_hash(0/0),in_port(web),packet_type(ns=0,id=0),"
#define TAIL ", packets:8, bytes:784, used:0.000s, offloaded:yes, dp:dpdk, actions:db, dp-extra-info:miniflow_bits(5,1)"

static char *normal(const char *match, const char *end)
{
	struct text text = { 0 };

	ovs_match_normalise(match, end, &text);
	char *result = text_take(&text);
	return result ? result : strdup("");
}

static void a_line(void **state)
{
	struct ovs_flow flow;

	assert_true(ovs_flow_parse(HEAD "eth_type(0x0806)" TAIL, &flow));
	assert_string_equal(flow.ufid, "6e28047f-22e5-458f-bcb3-df5695628501");
	assert_string_equal(flow.in_port, "web");
	assert_string_equal(flow.offloaded, "yes");
	assert_int_equal(flow.packets, 8);
	assert_int_equal(flow.bytes, 784);
	assert_int_equal(flow.actions_end - flow.actions, 2);
	assert_memory_equal(flow.actions, "db", 2);
	assert_true(ovs_flow_parse("in_port(a), packets:1, bytes:2, used:never, actions:drop", &flow));
	assert_string_equal(flow.offloaded, "no");
	assert_string_equal(flow.actions, "drop");
	assert_false(ovs_flow_parse("flow-dump from pmd on cpu core: 1", &flow));
	assert_false(ovs_flow_parse("", &flow));
}

/* What OVS prints with wildcards, and what dpud prints of the rule. */
static void the_same_flow(void **state)
{
	static const char *const pairs[][2] = {
		{ "eth(src=02:00:00:00:00:05,dst=02:00:00:00:00:06),eth_type(0x0800),ipv4(src=10.0.0.5/0.0.0.0,"
		  "dst=10.0.0.6/0.0.0.0,proto=1,tos=0/0,ttl=64/0,frag=no),icmp(type=8/0,code=0/0)",
		  "in_port(1),eth(src=02:00:00:00:00:05,dst=02:00:00:00:00:06),eth_type(0x0800),"
		  "ipv4(proto=1,frag=no)" },
		{ "eth(src=02:00:00:00:00:05,dst=33:33:00:00:00:02),eth_type(0x86dd),ipv6(src=fe80::ff:fe00:5/::,"
		  "dst=2001:db8::9/ffff:ffff::,label=0/0,proto=58/0,tclass=0/0x3,hlimit=255/0,frag=no)",
		  "in_port(1),eth(src=02:00:00:00:00:05,dst=33:33:00:00:00:02),eth_type(0x86dd),"
		  "ipv6(dst=2001:db8::/ffff:ffff::,tclass=0/0x3,frag=no)" },
		{ "eth(src=02:00:00:00:00:06/00:00:00:00:00:00,dst=02:00:00:00:00:05),eth_type(0x8100),"
		  "vlan(vid=100,pcp=0/0x0),encap(eth_type(0x0800),ipv4(src=10.0.0.6/255.255.255.0,proto=17,frag=no),"
		  "udp(src=4/0,dst=53))",
		  "in_port(1),eth(dst=02:00:00:00:00:05),eth_type(0x8100),vlan(vid=100),encap(eth_type(0x0800)),"
		  "ipv4(src=10.0.0.0/255.255.255.0,proto=17,frag=no),udp(dst=53)" },
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		char *left = normal(pairs[i][0], NULL), *right = normal(pairs[i][1], NULL);

		assert_string_equal(left, right);
		assert_true(strlen(left) > 0);
		free(left);
		free(right);
	}
}

static void another_flow(void **state)
{
	char *left = normal("eth_type(0x0800),ipv4(proto=6)", NULL),
	     *right = normal("eth_type(0x0800),ipv4(proto=17)", NULL);

	assert_string_not_equal(left, right);
	free(right);
	right = normal("eth_type(0x0800),ipv4(proto=6/0xf)", NULL);
	assert_string_not_equal(left, right);
	free(right);
	free(left);
}

static bool is_port(void *ctx, const char *name)
{
	return strcmp(name, "web") == 0 || strcmp(name, "db") == 0;
}

static void why_it_is_not_offloaded(void **state)
{
	static const struct {
		const char *actions, *word;
	} rows[] = {
		{ "db", NULL },
		{ "drop", NULL },
		{ "push_vlan(vid=3,pcp=0),db", NULL },
		{ "pop_vlan,db,web", NULL },
		{ "br0,db", "no representor" },
		{ "db,br0", "no representor" },
		{ "ct(commit),recirc(0x1)", "(ct)" },
		{ "ct,recirc(0x1)", "(ct)" },
		{ "ctx,db", "no representor" },
		{ "meter(1),db", "meters" },
		{ "userspace(pid=1,controller(reason=1))", "controller" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char line[300];
		struct ovs_flow flow;

		snprintf(line, sizeof(line), "in_port(web),recirc_id(0), packets:0, bytes:0, used:never, actions:%s",
			 rows[i].actions);
		assert_true(ovs_flow_parse(line, &flow));
		const char *why = ovs_flow_obstacle(&flow, is_port, NULL);
		if (!rows[i].word ? why != NULL : !why || !strstr(why, rows[i].word))
			fail_msg("%s: %s", rows[i].actions, why ? why : "nothing");
	}
	struct ovs_flow flow;
	assert_true(ovs_flow_parse("in_port(web),recirc_id(0x5), packets:0, bytes:0, used:never, actions:db", &flow));
	assert_non_null(strstr(ovs_flow_obstacle(&flow, is_port, NULL), "recirculated"));
	assert_true(ovs_flow_parse("in_port(br0),recirc_id(0), packets:0, bytes:0, used:never, actions:db", &flow));
	assert_non_null(strstr(ovs_flow_obstacle(&flow, is_port, NULL), "comes in by"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line),
		cmocka_unit_test(the_same_flow),
		cmocka_unit_test(another_flow),
		cmocka_unit_test(why_it_is_not_offloaded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
