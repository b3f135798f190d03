/* SPDX-License-Identifier: BSD-3-Clause */
/* Rules in words. */
#include "service/eswitch/rule_text.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct text {
	char *buf;
	size_t size, used;
};

static void put(struct text *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(struct text *text, const char *fmt, ...)
{
	va_list args;
	int length;

	va_start(args, fmt);
	length = vsnprintf(text->buf + text->used, text->size - text->used, fmt, args);
	va_end(args);
	text->used += (size_t)length < text->size - text->used ? (size_t)length : text->size - text->used - 1;
}

/* Takes back the comma behind the last of a list and closes it. */
static void close_list(struct text *text, char end)
{
	if (text->used > 0 && text->buf[text->used - 1] == ',')
		text->buf[--text->used] = '\0';
	put(text, "%c,", end);
}

static bool any(const void *bytes, size_t count)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < count; i++)
		if (at[i])
			return true;
	return false;
}

static void put_mac(struct text *text, const char *name, const uint8_t *mac, const uint8_t *mask)
{
	static const uint8_t ones[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	if (!any(mask, 6))
		return;
	put(text, "%s=%02x:%02x:%02x:%02x:%02x:%02x", name, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	if (memcmp(mask, ones, 6) != 0)
		put(text, "/%02x:%02x:%02x:%02x:%02x:%02x", mask[0], mask[1], mask[2], mask[3], mask[4], mask[5]);
	put(text, ",");
}

static void put_address(struct text *text, const char *name, int family, const void *address, const void *mask)
{
	size_t bytes = family == AF_INET ? 4 : 16;
	char a[INET6_ADDRSTRLEN], m[INET6_ADDRSTRLEN];
	uint8_t ones[16];

	if (!any(mask, bytes))
		return;
	memset(ones, 0xff, sizeof(ones));
	put(text, "%s=%s", name, inet_ntop(family, address, a, sizeof(a)));
	if (memcmp(mask, ones, bytes) != 0)
		put(text, "/%s", inet_ntop(family, mask, m, sizeof(m)));
	put(text, ",");
}

static void put_number(struct text *text, const char *name, unsigned value, unsigned mask, unsigned full)
{
	if (mask == 0)
		return;
	if (mask == full)
		put(text, "%s=%u,", name, value);
	else
		put(text, "%s=%#x/%#x,", name, value, mask);
}

static void put_ip(struct text *text, const struct eswitch_fields *match, const struct eswitch_fields *mask, bool v6)
{
	put(text, v6 ? "ipv6(" : "ipv4(");
	if (v6) {
		put_address(text, "src", AF_INET6, match->ip6_src, mask->ip6_src);
		put_address(text, "dst", AF_INET6, match->ip6_dst, mask->ip6_dst);
	} else {
		put_address(text, "src", AF_INET, &match->ip4_src, &mask->ip4_src);
		put_address(text, "dst", AF_INET, &match->ip4_dst, &mask->ip4_dst);
	}
	put_number(text, "proto", match->ip_proto, mask->ip_proto, 0xff);
	put_number(text, v6 ? "tclass" : "tos", match->ip_tos, mask->ip_tos, 0xff);
	put_number(text, v6 ? "hlimit" : "ttl", match->ip_ttl, mask->ip_ttl, 0xff);
	if (mask->flags & (ESWITCH_FIELD_FRAGMENT | ESWITCH_FIELD_LATER))
		put(text, "frag=%s,",
		    !(match->flags & ESWITCH_FIELD_FRAGMENT) ? "no"
		    : match->flags & ESWITCH_FIELD_LATER     ? "later"
							     : "first");
	close_list(text, ')');
}

static void put_l4(struct text *text, const struct eswitch_fields *match, const struct eswitch_fields *mask)
{
	bool icmp = match->ip_proto == IPPROTO_ICMP || match->ip_proto == IPPROTO_ICMPV6;
	const char *name = match->ip_proto == IPPROTO_TCP    ? "tcp"
			   : match->ip_proto == IPPROTO_UDP  ? "udp"
			   : match->ip_proto == IPPROTO_SCTP ? "sctp"
			   : match->ip_proto == IPPROTO_ICMP ? "icmp"
							     : "icmpv6";

	if (mask->l4_src || mask->l4_dst) {
		unsigned full = icmp ? 0xff : 0xffff;

		put(text, "%s(", name);
		put_number(text, icmp ? "type" : "src", ntohs(match->l4_src), ntohs(mask->l4_src), full);
		put_number(text, icmp ? "code" : "dst", ntohs(match->l4_dst), ntohs(mask->l4_dst), full);
		close_list(text, ')');
	}
	if (mask->tcp_flags)
		put(text, "tcp_flags(%#x/%#x),", ntohs(match->tcp_flags), ntohs(mask->tcp_flags));
}

const char *rule_match_text(const struct eswitch_fields *match, const struct eswitch_fields *mask, char *buf,
			    size_t size)
{
	struct text text = { .buf = buf, .size = size };
	bool tagged = match->flags & ESWITCH_FIELD_VLAN;
	uint16_t type = tagged ? match->inner_type : match->eth_type;

	put(&text, "in_port(%u),", match->in_port);
	if (any(mask->eth_src, 6) || any(mask->eth_dst, 6)) {
		put(&text, "eth(");
		put_mac(&text, "src", match->eth_src, mask->eth_src);
		put_mac(&text, "dst", match->eth_dst, mask->eth_dst);
		close_list(&text, ')');
	}
	if (mask->eth_type)
		put(&text, "eth_type(0x%04x),", ntohs(match->eth_type));
	if (mask->vlan_tci) {
		put(&text, "vlan(");
		put_number(&text, "vid", ntohs(match->vlan_tci) & 0xfff, ntohs(mask->vlan_tci) & 0xfff, 0xfff);
		put_number(&text, "pcp", ntohs(match->vlan_tci) >> 13, ntohs(mask->vlan_tci) >> 13, 7);
		close_list(&text, ')');
	}
	if (tagged && mask->inner_type)
		put(&text, "encap(eth_type(0x%04x)),", ntohs(match->inner_type));
	if (type == htons(0x0800) || type == htons(0x86dd))
		put_ip(&text, match, mask, type == htons(0x86dd));
	put_l4(&text, match, mask);
	if (text.used > 0)
		buf[text.used - 1] = '\0';
	return buf;
}

static void put_op(struct text *text, const struct eswitch_op *op, unsigned encap_bytes)
{
	const uint8_t *b = op->bytes;
	char address[INET6_ADDRSTRLEN];

	switch ((enum eswitch_op_code)op->code) {
	case ESWITCH_OP_OUTPUT:
		put(text, "%u,", op->port);
		break;
	case ESWITCH_OP_UPCALL:
		put(text, op->port ? "upcall(mark=%u)," : "upcall,", op->value);
		break;
	case ESWITCH_OP_SET_ETH_SRC:
	case ESWITCH_OP_SET_ETH_DST:
		put(text, "set(eth(%s=%02x:%02x:%02x:%02x:%02x:%02x)),",
		    op->code == ESWITCH_OP_SET_ETH_SRC ? "src" : "dst", b[0], b[1], b[2], b[3], b[4], b[5]);
		break;
	case ESWITCH_OP_SET_IP4_SRC:
	case ESWITCH_OP_SET_IP4_DST:
		put(text, "set(ipv4(%s=%s)),", op->code == ESWITCH_OP_SET_IP4_SRC ? "src" : "dst",
		    inet_ntop(AF_INET, b, address, sizeof(address)));
		break;
	case ESWITCH_OP_SET_IP6_SRC:
	case ESWITCH_OP_SET_IP6_DST:
		put(text, "set(ipv6(%s=%s)),", op->code == ESWITCH_OP_SET_IP6_SRC ? "src" : "dst",
		    inet_ntop(AF_INET6, b, address, sizeof(address)));
		break;
	case ESWITCH_OP_SET_TTL:
		put(text, "set(ttl=%u),", op->value);
		break;
	case ESWITCH_OP_DEC_TTL:
		put(text, "dec_ttl,");
		break;
	case ESWITCH_OP_SET_DSCP:
		put(text, "set(dscp=%u),", op->value);
		break;
	case ESWITCH_OP_SET_TP_SRC:
	case ESWITCH_OP_SET_TP_DST:
		put(text, "set(tp_%s=%u),", op->code == ESWITCH_OP_SET_TP_SRC ? "src" : "dst", op->value);
		break;
	case ESWITCH_OP_PUSH_VLAN:
		put(text, "push_vlan(tpid=%#x),", op->value);
		break;
	case ESWITCH_OP_SET_VLAN_VID:
		put(text, "set(vlan(vid=%u)),", op->value);
		break;
	case ESWITCH_OP_SET_VLAN_PCP:
		put(text, "set(vlan(pcp=%u)),", op->value);
		break;
	case ESWITCH_OP_POP_VLAN:
		put(text, "pop_vlan,");
		break;
	case ESWITCH_OP_ENCAP:
		put(text, "tnl_push(%u bytes),", encap_bytes);
		break;
	default:
		put(text, "unknown(%u),", op->code);
	}
}

const char *rule_actions_text(const struct eswitch_op *ops, unsigned count, unsigned encap_bytes, char *buf,
			      size_t size)
{
	struct text text = { .buf = buf, .size = size };

	for (unsigned i = 0; i < count && i < ESWITCH_MAX_OPS; i++)
		put_op(&text, &ops[i], encap_bytes);
	if (count == 0)
		put(&text, "drop,");
	buf[text.used - 1] = '\0';
	return buf;
}
