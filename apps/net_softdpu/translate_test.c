/* SPDX-License-Identifier: BSD-3-Clause */
/* Flows as Open vSwitch asks for them, byte for byte, and flows that must be refused, with the right type of error. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <rte_byteorder.h>
#include <rte_common.h>
#include <rte_errno.h>
#include "translate.h"

#define ITEM(type_, spec_, mask_)                                                                                      \
	{                                                                                                              \
		.type = RTE_FLOW_ITEM_TYPE_##type_, .spec = (spec_), .mask = (mask_)                                   \
	}
#define RANGE(type_, spec_, last_, mask_)                                                                              \
	{                                                                                                              \
		.type = RTE_FLOW_ITEM_TYPE_##type_, .spec = (spec_), .last = (last_), .mask = (mask_)                  \
	}
#define ITEM_END                                                                                                       \
	{                                                                                                              \
		.type = RTE_FLOW_ITEM_TYPE_END                                                                         \
	}
#define ACTION(type_, conf_)                                                                                           \
	{                                                                                                              \
		.type = RTE_FLOW_ACTION_TYPE_##type_, .conf = (conf_)                                                  \
	}
#define ACTION_END                                                                                                     \
	{                                                                                                              \
		.type = RTE_FLOW_ACTION_TYPE_END                                                                       \
	}

/* DPDK ports 0 to 3 are representors 10 to 13. */
static int number_of(void *ctx, uint16_t dpdk_port)
{
	return dpdk_port < 4 ? 10 + dpdk_port : -1;
}

static const struct translate_port port = { .dpdk_port = 0, .number = 10, .rx_queues = 2, .number_of = number_of };
static const struct rte_flow_attr transfer = { .transfer = 1 }, ingress = { .ingress = 1 };

static const struct rte_flow_action_count count = { 0 };
static const struct rte_flow_action_port_id to_1 = { .id = 1 }, to_2 = { .id = 2 };
static const struct rte_flow_action forward[] = { ACTION(COUNT, &count), ACTION(PORT_ID, &to_1), ACTION_END };

static const struct rte_flow_item_eth eth_v4 = { .hdr.ether_type = RTE_BE16(0x0800) };
static const struct rte_flow_item_eth eth_v6 = { .hdr.ether_type = RTE_BE16(0x86dd) };
static const struct rte_flow_item_eth eth_type = { .hdr.ether_type = UINT16_MAX };
static const struct rte_flow_item_ipv4 v4_tcp = { .hdr = { .next_proto_id = IPPROTO_TCP, .time_to_live = 64 } };
static const struct rte_flow_item_ipv4 v4_mask = {
	.hdr = { .next_proto_id = 0xff, .time_to_live = 0xff, .fragment_offset = RTE_BE16(0x3fff) }
};

static int translate(const struct rte_flow_attr *attr, const struct rte_flow_item *pattern,
		     const struct rte_flow_action *actions, struct eswitch_rule *ret)
{
	struct rte_flow_error error = { 0 };
	int status;

	memset(ret, 0, sizeof(*ret));
	status = translate_flow(&port, attr, pattern, actions, ret, &error);
	if (status < 0)
		print_message("refused: %s\n", error.message);
	return status;
}

static void assert_op(const struct eswitch_rule *rule, unsigned index, uint16_t code, uint16_t to, uint32_t value)
{
	assert_true(index < rule->op_count);
	assert_int_equal(rule->ops[index].code, code);
	assert_int_equal(rule->ops[index].port, to);
	assert_int_equal(rule->ops[index].value, value);
}

/* ---- what OVS asks for ---- */

static void l2(void **state)
{
	const struct rte_flow_item_eth spec = {
		.hdr = { { "\x02\0\0\0\0\x01" }, { "\x02\0\0\0\0\x02" }, RTE_BE16(0x0800) },
	};
	const struct rte_flow_item_eth mask = {
		.hdr = { { "\xff\xff\xff\xff\xff\xff" }, { "\xff\xff\xff\xff\xff\xff" }, UINT16_MAX },
		.has_vlan = 1,
	};
	const struct rte_flow_item_ipv4 any = { 0 };
	const struct rte_flow_item_ipv4 fragment_mask = { .hdr.fragment_offset = RTE_BE16(0x3fff) };
	const struct rte_flow_item pattern[] = { ITEM(ETH, &spec, &mask), ITEM(IPV4, &any, &fragment_mask), ITEM_END };
	struct eswitch_rule rule;

	assert_int_equal(translate(&transfer, pattern, forward, &rule), 0);
	assert_int_equal(rule.match.in_port, 10);
	assert_int_equal(rule.mask.in_port, UINT16_MAX);
	assert_memory_equal(rule.match.eth_dst, "\x02\0\0\0\0\x01", 6);
	assert_memory_equal(rule.match.eth_src, "\x02\0\0\0\0\x02", 6);
	assert_memory_equal(rule.mask.eth_src, "\xff\xff\xff\xff\xff\xff", 6);
	assert_int_equal(rule.match.eth_type, RTE_BE16(0x0800));
	assert_int_equal(rule.mask.flags, ESWITCH_FIELD_VLAN | ESWITCH_FIELD_FRAGMENT | ESWITCH_FIELD_LATER);
	assert_int_equal(rule.match.flags, 0);
	assert_int_equal(rule.mask.ip_proto, 0);
	assert_int_equal(rule.op_count, 1);
	assert_op(&rule, 0, ESWITCH_OP_OUTPUT, 11, 0);
}

/* Newer applications say where frames come from, and name ports by what they represent. */
static void ports_by_name(void **state)
{
	const struct rte_flow_item_port_id id = { .id = 0 };
	const struct rte_flow_item_ethdev own = { .port_id = 0 };
	const struct rte_flow_action_ethdev to = { .port_id = 2 };
	const struct rte_flow_item patterns[][3] = {
		{ ITEM(PORT_ID, &id, NULL), ITEM(ETH, NULL, NULL), ITEM_END },
		{ ITEM(REPRESENTED_PORT, &own, NULL), ITEM(ETH, NULL, NULL), ITEM_END },
	};
	const struct rte_flow_action actions[] = { ACTION(REPRESENTED_PORT, &to), ACTION_END };
	struct eswitch_rule rule;

	for (unsigned i = 0; i < RTE_DIM(patterns); i++) {
		assert_int_equal(translate(&transfer, patterns[i], actions, &rule), 0);
		assert_int_equal(rule.match.in_port, 10);
		assert_op(&rule, 0, ESWITCH_OP_OUTPUT, 12, 0);
	}
}

static void set_fields_l3(void **state)
{
	const struct rte_flow_action_set_mac src = { "\x02\0\0\0\0\x09" };
	const struct rte_flow_action_set_ttl ttl = { 63 };
	const struct rte_flow_action_set_ipv4 address = { RTE_BE32(0x0a000001) };
	const struct rte_flow_action_set_tp tp = { RTE_BE16(8080) };
	const struct rte_flow_item_tcp tcp = { .hdr = { .dst_port = RTE_BE16(80), .data_off = 1, .tcp_flags = 2 } };
	const struct rte_flow_item_tcp tcp_mask = {
		.hdr = { .dst_port = UINT16_MAX, .data_off = 0xf, .tcp_flags = 0xff },
	};
	const struct rte_flow_item pattern[] = { ITEM(ETH, &eth_v4, &eth_type), ITEM(IPV4, &v4_tcp, &v4_mask),
						 ITEM(TCP, &tcp, &tcp_mask), ITEM_END };
	const struct rte_flow_action actions[] = { ACTION(COUNT, &count),
						   ACTION(SET_MAC_SRC, &src),
						   ACTION(SET_IPV4_SRC, &address),
						   ACTION(SET_TTL, &ttl),
						   ACTION(SET_TP_DST, &tp),
						   ACTION(PORT_ID, &to_2),
						   ACTION_END };
	struct eswitch_rule rule;

	assert_int_equal(translate(&transfer, pattern, actions, &rule), 0);
	assert_int_equal(rule.match.ip_proto, IPPROTO_TCP);
	assert_int_equal(rule.match.ip_ttl, 64);
	assert_int_equal(rule.match.l4_dst, RTE_BE16(80));
	assert_int_equal(rule.mask.l4_dst, UINT16_MAX);
	assert_int_equal(rule.mask.l4_src, 0);
	assert_int_equal(rule.match.tcp_flags, RTE_BE16(0x102));
	assert_int_equal(rule.mask.tcp_flags, RTE_BE16(0xfff));
	assert_int_equal(rule.op_count, 5);
	assert_op(&rule, 0, ESWITCH_OP_SET_ETH_SRC, 0, 0);
	assert_memory_equal(rule.ops[0].bytes, "\x02\0\0\0\0\x09", 6);
	assert_op(&rule, 1, ESWITCH_OP_SET_IP4_SRC, 0, 0);
	assert_memory_equal(rule.ops[1].bytes, "\x0a\0\0\x01", 4);
	assert_op(&rule, 2, ESWITCH_OP_SET_TTL, 0, 63);
	assert_op(&rule, 3, ESWITCH_OP_SET_TP_DST, 0, 8080);
	assert_op(&rule, 4, ESWITCH_OP_OUTPUT, 12, 0);
}

static void ipv6_and_icmp6(void **state)
{
	const struct rte_flow_item_ipv6 spec = {
		.hdr = { .vtc_flow = RTE_BE32(0x62e00000), .hop_limits = 64, .proto = IPPROTO_ICMPV6 },
	};
	struct rte_flow_item_ipv6 mask = {
		.hdr = { .vtc_flow = RTE_BE32(0x0ff00000), .hop_limits = 0xff, .proto = 0xff },
		.has_frag_ext = 1,
	};
	const struct rte_flow_item_icmp6 echo = { .type = 128 }, echo_mask = { .type = 0xff, .code = 0xff };
	struct rte_flow_action_set_ipv6 address = { 0 };
	const struct rte_flow_item pattern[] = { ITEM(ETH, &eth_v6, &eth_type), ITEM(IPV6, &spec, &mask),
						 ITEM(ICMP6, &echo, &echo_mask), ITEM_END };
	const struct rte_flow_action actions[] = { ACTION(SET_IPV6_SRC, &address), ACTION(PORT_ID, &to_1), ACTION_END };
	struct eswitch_rule rule;

	memset(&mask.hdr.dst_addr, 0xff, 8);
	memcpy(&address.ipv6_addr, "\xfd\x01", 2);
	assert_int_equal(translate(&transfer, pattern, actions, &rule), 0);
	assert_int_equal(rule.match.ip_tos, 0x2e);
	assert_int_equal(rule.mask.ip_tos, 0xff);
	assert_memory_equal(rule.mask.ip6_dst, "\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0", 16);
	assert_int_equal(rule.match.l4_src, RTE_BE16(128));
	assert_int_equal(rule.mask.l4_dst, RTE_BE16(0xff));
	assert_int_equal(rule.mask.flags, ESWITCH_FIELD_FRAGMENT | ESWITCH_FIELD_LATER);
	assert_int_equal(rule.match.flags, 0);
	assert_memory_equal(rule.ops[0].bytes, "\xfd\x01\0\0", 4);
}

/* No fragment, the first, later ones: by value and by range, IPv4 and IPv6. */
static void fragments(void **state)
{
	static const struct {
		uint16_t spec4, last4, mask4, spec6, last6, mask6;
		uint8_t match, mask;
	} cases[] = {
		{ 0x2000, 0, 0x3fff, 1, 0, 0xfff9, ESWITCH_FIELD_FRAGMENT, 3 << 1 },
		{ 1, 0x1fff, 0x1fff, 8, 0xfff8, 0xfff8, ESWITCH_FIELD_FRAGMENT | ESWITCH_FIELD_LATER, 3 << 1 },
		/* OVS */
		{ 8, 0x1fff, 0x1fff, 8, 0xfff8, 0xfff8, ESWITCH_FIELD_FRAGMENT | ESWITCH_FIELD_LATER, 3 << 1 },
	};

	for (unsigned i = 0; i < RTE_DIM(cases); i++) {
		const struct rte_flow_item_ipv4 spec = { .hdr.fragment_offset = rte_cpu_to_be_16(cases[i].spec4) };
		const struct rte_flow_item_ipv4 last = { .hdr.fragment_offset = rte_cpu_to_be_16(cases[i].last4) };
		const struct rte_flow_item_ipv4 mask = { .hdr.fragment_offset = rte_cpu_to_be_16(cases[i].mask4) };
		const struct rte_flow_item_ipv6 v6 = { .has_frag_ext = 1 };
		const struct rte_flow_item_ipv6_frag_ext spec6 = { .hdr.frag_data = rte_cpu_to_be_16(cases[i].spec6) };
		const struct rte_flow_item_ipv6_frag_ext last6 = { .hdr.frag_data = rte_cpu_to_be_16(cases[i].last6) };
		const struct rte_flow_item_ipv6_frag_ext mask6 = { .hdr.frag_data = rte_cpu_to_be_16(cases[i].mask6) };
		const struct rte_flow_item pattern4[] = { ITEM(ETH, &eth_v4, &eth_type),
							  RANGE(IPV4, &spec, cases[i].last4 ? &last : NULL, &mask),
							  ITEM_END };
		const struct rte_flow_item pattern6[] = {
			ITEM(ETH, &eth_v6, &eth_type), ITEM(IPV6, &v6, &v6),
			RANGE(IPV6_FRAG_EXT, &spec6, cases[i].last6 ? &last6 : NULL, &mask6), ITEM_END
		};
		struct eswitch_rule rule;
		for (unsigned v6_too = 0; v6_too < 2; v6_too++) {
			assert_int_equal(translate(&transfer, v6_too ? pattern6 : pattern4, forward, &rule), 0);
			assert_int_equal(rule.mask.flags & 6, cases[i].mask);
			assert_int_equal(rule.match.flags, cases[i].match);
		}
	}
}

/* Of later fragments OVS names the header that they do not have. */
static void later_fragments_with_protocol(void **state)
{
	const struct rte_flow_item_ipv4 spec = { .hdr.fragment_offset = RTE_BE16(8) };
	const struct rte_flow_item_ipv4 last = { .hdr.fragment_offset = RTE_BE16(0x1fff) };
	struct rte_flow_item_tcp tcp = { 0 }, tcp_mask = { 0 };
	const struct rte_flow_item pattern[] = { ITEM(ETH, &eth_v4, &eth_type), RANGE(IPV4, &spec, &last, &last),
						 ITEM(TCP, &tcp, &tcp_mask), ITEM_END };
	struct eswitch_rule rule;

	assert_int_equal(translate(&transfer, pattern, forward, &rule), 0);
	assert_int_equal(rule.match.ip_proto, IPPROTO_TCP);
	assert_int_equal(rule.mask.ip_proto, UINT8_MAX);
	assert_int_equal(rule.match.flags, ESWITCH_FIELD_FRAGMENT | ESWITCH_FIELD_LATER);
	tcp.hdr.dst_port = RTE_BE16(80), tcp_mask.hdr.dst_port = UINT16_MAX;
	assert_int_equal(translate(&transfer, pattern, forward, &rule), -EINVAL);
}

static void vlan(void **state)
{
	const struct rte_flow_item_eth eth = { .hdr.ether_type = RTE_BE16(0x8100), .has_vlan = 1 };
	const struct rte_flow_item_eth eth_mask = { .hdr.ether_type = UINT16_MAX, .has_vlan = 1 };
	const struct rte_flow_item_vlan tag = { .hdr = { RTE_BE16(0x64), RTE_BE16(0x0800) } };
	const struct rte_flow_item_vlan tag_mask = { .hdr = { RTE_BE16(0xefff), UINT16_MAX } };
	const struct rte_flow_item_vlan outer = { .hdr = { RTE_BE16(0x65), RTE_BE16(0x8100) } };
	const struct rte_flow_item_vlan outer_mask = { .hdr = { RTE_BE16(0xfff), UINT16_MAX } };
	const struct rte_flow_action_of_push_vlan push = { RTE_BE16(0x8100) };
	const struct rte_flow_action_of_set_vlan_vid vid = { RTE_BE16(200) };
	const struct rte_flow_action_of_set_vlan_pcp pcp = { 5 };
	const struct rte_flow_item tagged[] = { ITEM(ETH, &eth, &eth_mask), ITEM(VLAN, &tag, &tag_mask),
						ITEM(IPV4, &v4_tcp, &v4_mask), ITEM_END };
	const struct rte_flow_item qinq[] = { ITEM(ETH, &(struct rte_flow_item_eth){ .has_vlan = 1 },
						   &(struct rte_flow_item_eth){ .has_vlan = 1 }),
					      ITEM(VLAN, &outer, &outer_mask), ITEM_END };
	const struct rte_flow_action rewrite[] = { ACTION(OF_POP_VLAN, NULL),     ACTION(OF_PUSH_VLAN, &push),
						   ACTION(OF_SET_VLAN_PCP, &pcp), ACTION(OF_SET_VLAN_VID, &vid),
						   ACTION(PORT_ID, &to_1),        ACTION_END };
	struct eswitch_rule rule;

	assert_int_equal(translate(&transfer, tagged, rewrite, &rule), 0);
	assert_int_equal(rule.match.eth_type, RTE_BE16(0x8100));
	assert_int_equal(rule.match.inner_type, RTE_BE16(0x0800));
	assert_int_equal(rule.match.vlan_tci, RTE_BE16(0x64));
	assert_int_equal(rule.mask.vlan_tci, RTE_BE16(0xefff));
	assert_int_equal(rule.match.flags & ESWITCH_FIELD_VLAN, ESWITCH_FIELD_VLAN);
	assert_op(&rule, 0, ESWITCH_OP_POP_VLAN, 0, 0);
	assert_op(&rule, 1, ESWITCH_OP_PUSH_VLAN, 0, 0x8100);
	assert_op(&rule, 2, ESWITCH_OP_SET_VLAN_PCP, 0, 5);
	assert_op(&rule, 3, ESWITCH_OP_SET_VLAN_VID, 0, 200);
	assert_int_equal(translate(&transfer, qinq, forward, &rule), 0);
	assert_int_equal(rule.mask.eth_type, 0);
	assert_int_equal(rule.match.inner_type, RTE_BE16(0x8100));
	assert_int_equal(rule.mask.vlan_tci, RTE_BE16(0xfff));
}

static void drop_and_mirror(void **state)
{
	const struct rte_flow_item pattern[] = { ITEM(ETH, &eth_v4, &eth_type), ITEM_END };
	const struct rte_flow_action_set_mac mac = { "\x02\0\0\0\0\x09" };
	const struct rte_flow_action_ethdev represented = { .port_id = 3 };
	const struct rte_flow_action drop[] = { ACTION(COUNT, &count), ACTION(DROP, NULL), ACTION_END };
	const struct rte_flow_action mirror[] = { ACTION(PORT_ID, &to_1), ACTION(SET_MAC_SRC, &mac),
						  ACTION(REPRESENTED_PORT, &represented), ACTION_END };
	const struct rte_flow_action back[] = { ACTION(PORT_ID, &(struct rte_flow_action_port_id){ .original = 1 }),
						ACTION_END };
	struct eswitch_rule rule;

	assert_int_equal(translate(&transfer, pattern, drop, &rule), 0);
	assert_int_equal(rule.op_count, 0);
	assert_int_equal(translate(&transfer, pattern, mirror, &rule), 0);
	assert_int_equal(rule.op_count, 3);
	assert_op(&rule, 0, ESWITCH_OP_OUTPUT, 11, 0);
	assert_op(&rule, 1, ESWITCH_OP_SET_ETH_SRC, 0, 0);
	assert_op(&rule, 2, ESWITCH_OP_OUTPUT, 13, 0);
	assert_int_equal(translate(&transfer, pattern, back, &rule), 0);
	assert_op(&rule, 0, ESWITCH_OP_OUTPUT, 10, 0);
}

static void encapsulation(void **state)
{
	const struct rte_flow_item_eth eth = { .hdr = { { "\x02\0\0\0\0\x01" }, { "\x02\0\0\0\0\x02" }, 0 } };
	const struct rte_flow_item_ipv4 ip = {
		.hdr = { .version_ihl = 0x45,
			 .time_to_live = 64,
			 .src_addr = RTE_BE32(0xc0000201),
			 .dst_addr = RTE_BE32(0xc0000202) },
	};
	const struct rte_flow_item_udp udp = { .hdr.dst_port = RTE_BE16(4789) };
	struct rte_flow_item_vxlan vxlan = { 0 };
	struct rte_flow_item headers[] = { ITEM(ETH, &eth, NULL), ITEM(IPV4, &ip, NULL), ITEM(UDP, &udp, NULL),
					   ITEM(VXLAN, &vxlan, NULL), ITEM_END };
	const struct rte_flow_action_vxlan_encap to_vxlan = { headers };
	uint8_t geneve[50] = "\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0\x45";
	const struct rte_flow_action_raw_encap to_geneve = { .data = geneve, .size = sizeof(geneve) };
	const struct rte_flow_item pattern[] = { ITEM(ETH, &eth_v4, &eth_type), ITEM_END };
	const struct rte_flow_action by_vxlan[] = { ACTION(VXLAN_ENCAP, &to_vxlan), ACTION(PORT_ID, &to_2),
						    ACTION_END };
	const struct rte_flow_action raw[] = { ACTION(RAW_ENCAP, &to_geneve), ACTION(PORT_ID, &to_2), ACTION_END };
	struct eswitch_rule rule;

	vxlan.hdr.vx_flags = RTE_BE32(0x08000000);
	vxlan.hdr.vx_vni = RTE_BE32(4711 << 8);
	assert_int_equal(translate(&transfer, pattern, by_vxlan, &rule), 0);
	assert_int_equal(rule.encap_bytes, 50);
	assert_memory_equal(rule.encap, "\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0\x45", 15);
	assert_int_equal(rule.encap[23], IPPROTO_UDP);
	assert_memory_equal(rule.encap + 26, "\xc0\0\x02\x01\xc0\0\x02\x02\0\0\x12\xb5\0\0\0\0\x08\0\0\0\0\x12\x67\0",
			    24);
	assert_op(&rule, 0, ESWITCH_OP_ENCAP, 0, 0);
	assert_op(&rule, 1, ESWITCH_OP_OUTPUT, 12, 0);
	assert_int_equal(translate(&transfer, pattern, raw, &rule), 0);
	assert_int_equal(rule.encap_bytes, 50);
	assert_memory_equal(rule.encap, geneve, 50);
}

static void mark_and_rss(void **state)
{
	const struct rte_flow_item pattern[] = { ITEM(ETH, &eth_v4, &eth_type), ITEM_END };
	const uint16_t queues[] = { 0, 1 };
	const struct rte_flow_action_mark mark = { 4711 };
	const struct rte_flow_action_rss rss = { .queue_num = 2, .queue = queues };
	const struct rte_flow_action actions[] = { ACTION(MARK, &mark), ACTION(RSS, &rss), ACTION_END };
	struct eswitch_rule rule;

	assert_int_equal(translate(&ingress, pattern, actions, &rule), 0);
	assert_int_equal(rule.op_count, 1);
	assert_op(&rule, 0, ESWITCH_OP_UPCALL, 1, 4711);
}

/* ---- what is refused ---- */

static void assert_refused(const struct rte_flow_attr *attr, const struct rte_flow_item *pattern,
			   const struct rte_flow_action *actions, enum rte_flow_error_type type)
{
	struct rte_flow_error error = { 0 };
	struct eswitch_rule rule;

	assert_true(translate_flow(&port, attr, pattern, actions, &rule, &error) < 0);
	if (error.type != type)
		fail_msg("type %d instead of %d: %s", error.type, type, error.message);
	assert_non_null(error.message);
	assert_true(rte_errno == EINVAL || rte_errno == ENOTSUP);
}

static void refused_attributes(void **state)
{
	static const struct {
		struct rte_flow_attr attr;
		enum rte_flow_error_type type;
	} cases[] = {
		{ { .transfer = 1, .group = 1 }, RTE_FLOW_ERROR_TYPE_ATTR_GROUP },
		{ { .transfer = 1, .priority = 1 }, RTE_FLOW_ERROR_TYPE_ATTR_PRIORITY },
		{ { .egress = 1 }, RTE_FLOW_ERROR_TYPE_ATTR_EGRESS },
		{ { 0 }, RTE_FLOW_ERROR_TYPE_ATTR },
	};
	const struct rte_flow_item pattern[] = { ITEM(ETH, NULL, NULL), ITEM_END };

	for (unsigned i = 0; i < RTE_DIM(cases); i++)
		assert_refused(&cases[i].attr, pattern, forward, cases[i].type);
	assert_refused(NULL, pattern, forward, RTE_FLOW_ERROR_TYPE_ATTR);
	assert_refused(&transfer, NULL, forward, RTE_FLOW_ERROR_TYPE_ITEM_NUM);
	assert_refused(&transfer, pattern, NULL, RTE_FLOW_ERROR_TYPE_ACTION_NUM);
}

static void refused_patterns(void **state)
{
	const struct rte_flow_item_eth arp = { .hdr.ether_type = RTE_BE16(0x0806) }, no_tag_mask = { .has_vlan = 1 };
	const struct rte_flow_item_eth no_tag = { 0 };
	const struct rte_flow_item_vlan tag = { .hdr.vlan_tci = RTE_BE16(5) };
	const struct rte_flow_item_vlan dei = { .hdr.vlan_tci = RTE_BE16(0x1fff) };
	const struct rte_flow_item_ipv4 v4 = { .hdr.packet_id = 7 }, v4_id = { .hdr.packet_id = UINT16_MAX };
	const struct rte_flow_item_ipv4 odd = { .hdr.fragment_offset = RTE_BE16(0x100) };
	const struct rte_flow_item_ipv6 v6 = { .hdr.vtc_flow = RTE_BE32(0x60000001) };
	const struct rte_flow_item_ipv6 v6_label = { .hdr.vtc_flow = RTE_BE32(0xfffff) };
	const struct rte_flow_item_udp udp = { .hdr.dst_port = RTE_BE16(53) },
				       udp_last = { .hdr.dst_port = RTE_BE16(99) };
	const struct rte_flow_item_udp udp_length = { .hdr.dgram_len = UINT16_MAX };
	const struct rte_flow_item_tcp tcp = { .hdr.sent_seq = RTE_BE32(1) };
	const struct rte_flow_item_tcp tcp_sequence = { .hdr.sent_seq = UINT32_MAX };
	const struct rte_flow_item_port_id other_id = { .id = 1 };
	const struct rte_flow_item_ethdev own = { .port_id = 0 }, other = { .port_id = 1 };
	const struct {
		struct rte_flow_item pattern[5];
		enum rte_flow_error_type type;
	} cases[] = {
		{ { ITEM(MPLS, NULL, NULL), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM },
		{ { ITEM(PORT_ID, NULL, NULL), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM_SPEC },
		{ { ITEM(PORT_ID, &other_id, NULL), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM_SPEC },
		{ { ITEM(REPRESENTED_PORT, &other, NULL), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM_SPEC },
		{ { ITEM(PORT_REPRESENTOR, &own, NULL), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM },
		{ { ITEM(ETH, NULL, NULL), ITEM(ETH, NULL, NULL), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM },
		{ { ITEM(VLAN, &tag, NULL), ITEM(VLAN, &tag, NULL), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM },
		{ { ITEM(VLAN, &tag, &dei), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM_MASK },
		{ { ITEM(ETH, &no_tag, &no_tag_mask), ITEM(VLAN, &tag, NULL), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM },
		{ { ITEM(ETH, NULL, &eth_type), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM_SPEC },
		{ { ITEM(ETH, &arp, &eth_type), ITEM(IPV4, NULL, NULL), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM_SPEC },
		{ { ITEM(IPV4, &v4, &v4_id), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM_MASK },
		{ { ITEM(IPV4, &odd, &odd), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM_MASK },
		{ { ITEM(IPV6, &v6, &v6_label), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM_MASK },
		{ { ITEM(UDP, &udp, NULL), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM },
		{ { ITEM(IPV4, &v4_tcp, &v4_mask), ITEM(UDP, &udp, NULL), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM_SPEC },
		{ { ITEM(IPV4, NULL, NULL), RANGE(UDP, &udp, &udp_last, NULL), ITEM_END },
		  RTE_FLOW_ERROR_TYPE_ITEM_LAST },
		{ { ITEM(IPV4, NULL, NULL), ITEM(UDP, &udp, &udp_length), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM_MASK },
		{ { ITEM(IPV4, NULL, NULL), ITEM(TCP, &tcp, &tcp_sequence), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM_MASK },
		{ { ITEM(IPV4, NULL, NULL), ITEM(ICMP6, NULL, NULL), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM },
		{ { ITEM(IPV6, NULL, NULL), ITEM(ICMP, NULL, NULL), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM },
		{ { ITEM(IPV4, NULL, NULL), ITEM(IPV6_FRAG_EXT, NULL, NULL), ITEM_END }, RTE_FLOW_ERROR_TYPE_ITEM },
		{ { ITEM(IPV4, NULL, NULL), ITEM(UDP, NULL, NULL), ITEM(VXLAN, NULL, NULL), ITEM_END },
		  RTE_FLOW_ERROR_TYPE_ITEM },
	};

	for (unsigned i = 0; i < RTE_DIM(cases); i++)
		assert_refused(&transfer, cases[i].pattern, forward, cases[i].type);
}

static void refused_actions(void **state)
{
	const struct rte_flow_item v4[] = { ITEM(ETH, &eth_v4, &eth_type), ITEM(IPV4, &v4_tcp, &v4_mask), ITEM_END };
	const struct rte_flow_action_port_id nowhere = { .id = 9 }, far = { .id = 65540 };
	const struct rte_flow_action_mark mark = { 1 };
	const struct rte_flow_action_rss one_queue = { .queue_num = 1 };
	const struct rte_flow_action_set_ipv6 v6 = { 0 };
	const struct rte_flow_action_of_set_vlan_vid vid = { RTE_BE16(5) }, big_vid = { RTE_BE16(4096) };
	const struct rte_flow_action_of_push_vlan odd_tpid = { RTE_BE16(0x0800) }, push = { RTE_BE16(0x8100) };
	const struct rte_flow_action_set_dscp dscp = { 64 };
	struct rte_flow_item bad_vxlan[] = { ITEM(UDP, &dscp, NULL), ITEM_END };
	const struct rte_flow_action_vxlan_encap vxlan = { bad_vxlan };
	uint8_t header[200] = { 0 };
	const struct rte_flow_action_raw_encap big = { .data = header, .size = 200 },
					       tiny = { .data = header, .size = 8 };
	const struct rte_flow_action_raw_encap good = { .data = header, .size = 42 };
	const struct {
		struct rte_flow_action actions[5];
		enum rte_flow_error_type type;
		bool ingress;
	} cases[] = {
		{ { ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION, false },
		{ { ACTION(COUNT, &count), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION, false },
		{ { ACTION(CONNTRACK, &count), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION, false },
		{ { ACTION(METER, &count), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION, false },
		{ { ACTION(JUMP, &count), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION, false },
		{ { ACTION(PORT_ID, NULL), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION_CONF, false },
		{ { ACTION(PORT_ID, &nowhere), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION_CONF, false },
		{ { ACTION(PORT_ID, &far), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION_CONF, false },
		{ { ACTION(MARK, &mark), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION, false },
		{ { ACTION(PORT_ID, &to_1), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION, true },
		{ { ACTION(RSS, &one_queue), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION_CONF, true },
		{ { ACTION(MARK, &mark), ACTION(DROP, NULL), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION, true },
		{ { ACTION(PORT_ID, &to_1), ACTION(DROP, NULL), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION, false },
		{ { ACTION(SET_IPV6_SRC, &v6), ACTION(PORT_ID, &to_1), ACTION_END },
		  RTE_FLOW_ERROR_TYPE_ACTION,
		  false },
		{ { ACTION(OF_POP_VLAN, NULL), ACTION(PORT_ID, &to_1), ACTION_END },
		  RTE_FLOW_ERROR_TYPE_ACTION,
		  false },
		{ { ACTION(OF_SET_VLAN_VID, &vid), ACTION(PORT_ID, &to_1), ACTION_END },
		  RTE_FLOW_ERROR_TYPE_ACTION,
		  false },
		{ { ACTION(OF_PUSH_VLAN, &push), ACTION(OF_SET_VLAN_VID, &big_vid), ACTION_END },
		  RTE_FLOW_ERROR_TYPE_ACTION_CONF,
		  false },
		{ { ACTION(OF_PUSH_VLAN, &odd_tpid), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION_CONF, false },
		{ { ACTION(SET_IPV4_DSCP, &dscp), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION_CONF, false },
		{ { ACTION(VXLAN_ENCAP, &vxlan), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION_CONF, false },
		{ { ACTION(RAW_ENCAP, &big), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION_CONF, false },
		{ { ACTION(RAW_ENCAP, &tiny), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION_CONF, false },
		{ { ACTION(RAW_ENCAP, &good), ACTION(RAW_ENCAP, &good), ACTION_END },
		  RTE_FLOW_ERROR_TYPE_ACTION,
		  false },
		{ { ACTION(RAW_ENCAP, &good), ACTION(DEC_TTL, NULL), ACTION_END }, RTE_FLOW_ERROR_TYPE_ACTION, false },
	};

	for (unsigned i = 0; i < RTE_DIM(cases); i++)
		assert_refused(cases[i].ingress ? &ingress : &transfer, v4, cases[i].actions, cases[i].type);
}

static void too_many_operations(void **state)
{
	const struct rte_flow_item pattern[] = { ITEM(ETH, &eth_v4, &eth_type), ITEM_END };
	struct rte_flow_action actions[ESWITCH_MAX_OPS + 2];
	struct eswitch_rule rule;

	for (unsigned i = 0; i <= ESWITCH_MAX_OPS; i++)
		actions[i] = forward[1];
	actions[ESWITCH_MAX_OPS] = (struct rte_flow_action)ACTION_END;
	assert_int_equal(translate(&transfer, pattern, actions, &rule), 0);
	assert_int_equal(rule.op_count, ESWITCH_MAX_OPS);
	actions[ESWITCH_MAX_OPS] = forward[1];
	actions[ESWITCH_MAX_OPS + 1] = (struct rte_flow_action)ACTION_END;
	assert_refused(&transfer, pattern, actions, RTE_FLOW_ERROR_TYPE_ACTION_NUM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(l2),
		cmocka_unit_test(ports_by_name),
		cmocka_unit_test(set_fields_l3),
		cmocka_unit_test(ipv6_and_icmp6),
		cmocka_unit_test(fragments),
		cmocka_unit_test(later_fragments_with_protocol),
		cmocka_unit_test(vlan),
		cmocka_unit_test(drop_and_mirror),
		cmocka_unit_test(encapsulation),
		cmocka_unit_test(mark_and_rss),
		cmocka_unit_test(refused_attributes),
		cmocka_unit_test(refused_patterns),
		cmocka_unit_test(refused_actions),
		cmocka_unit_test(too_many_operations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
