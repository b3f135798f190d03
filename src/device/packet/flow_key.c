/* SPDX-License-Identifier: BSD-3-Clause */
/* Flow keys as text for people. */
#include "device/packet/flow_key.h"

#include <netinet/in.h>
#include <stdio.h>
#include "base/netaddr.h"

static const struct {
	uint8_t proto;
	bool ports;
	const char *name;
} protocols[] = {
	{ IPPROTO_TCP, true, "tcp" },   { IPPROTO_UDP, true, "udp" },    { IPPROTO_SCTP, true, "sctp" },
	{ IPPROTO_DCCP, true, "dccp" }, { IPPROTO_ICMP, false, "icmp" }, { IPPROTO_ICMPV6, false, "icmpv6" },
	{ IPPROTO_ESP, false, "esp" },  { IPPROTO_AH, false, "ah" },     { IPPROTO_GRE, false, "gre" },
};

static const char *protocol_name(uint8_t proto, bool *ret_ports, char *buf, size_t size)
{
	*ret_ports = false;
	for (unsigned i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
		if (protocols[i].proto == proto) {
			*ret_ports = protocols[i].ports;
			return protocols[i].name;
		}
	}
	snprintf(buf, size, "proto %u", proto);
	return buf;
}

static void format_address(const struct flow_key *key, bool source, bool bracket, char *buf, size_t size)
{
	struct ip_addr address = { 0 };
	char text[IP_TEXT];
	const char *open = "", *close = "";

	if (flow_key_is_v6(key)) {
		address.family = IP_V6;
		memcpy(address.bytes, source ? key->v6.src : key->v6.dst, sizeof(key->v6.src));
		open = bracket ? "[" : "";
		close = bracket ? "]" : "";
	} else {
		address.family = IP_V4;
		memcpy(address.bytes, source ? &key->v4.src : &key->v4.dst, sizeof(key->v4.src));
	}
	snprintf(buf, size, "%s%s%s", open, ip_format(&address, text), close);
}

/* What ICMP keys hold in place of ports. */
static void format_icmp(const struct flow_key *key, char *buf, size_t size)
{
	unsigned request = key->proto == IPPROTO_ICMP ? 0x0800 : 0x8000;
	unsigned src = rte_be_to_cpu_16(key->src_port), dst = rte_be_to_cpu_16(key->dst_port);

	if (dst == request)
		snprintf(buf, size, " echo request id %u", src);
	else if (src == request)
		snprintf(buf, size, " echo reply id %u", dst);
	else
		snprintf(buf, size, " type %u code %u", dst >> 8, dst & 0xff);
}

const char *flow_key_format(const struct flow_key *key, char *buf)
{
	char number[16], src[IP_TEXT + 2], dst[IP_TEXT + 2], src_port[8] = "", dst_port[8] = "", detail[40] = "";
	bool ports;
	const char *name = protocol_name(key->proto, &ports, number, sizeof(number));
	bool fragment = key->flags & FLOW_KEY_F_FRAGMENT;
	bool icmp = key->proto == IPPROTO_ICMP || key->proto == IPPROTO_ICMPV6;

	if (fragment) {
		snprintf(detail, sizeof(detail), " fragment id %u",
			 (unsigned)rte_be_to_cpu_16(key->src_port) << 16 | rte_be_to_cpu_16(key->dst_port));
	} else if (ports) {
		snprintf(src_port, sizeof(src_port), ":%u", rte_be_to_cpu_16(key->src_port));
		snprintf(dst_port, sizeof(dst_port), ":%u", rte_be_to_cpu_16(key->dst_port));
	} else if (icmp) {
		format_icmp(key, detail, sizeof(detail));
	}
	format_address(key, true, ports && !fragment, src, sizeof(src));
	format_address(key, false, ports && !fragment, dst, sizeof(dst));
	snprintf(buf, FLOW_KEY_TEXT, "%s %s%s > %s%s%s vpc %u", name, src, src_port, dst, dst_port, detail, key->vpc);
	return buf;
}
