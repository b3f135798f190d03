/* SPDX-License-Identifier: BSD-3-Clause */
/* The frame parser: the general case behind parse_fast.h, with options, extension headers, fragments and every frame
 * that is refused. */
#include "device/packet/parse_fast.h"
#include "device/packet/parse_priv.h"

enum {
	MAX_EXTENSION_HEADERS = 8,
	/* Ethernet to the last extension header: l3_len of an mbuf has nine bits. */
	MAX_HEADER_BYTES = ETHER_BYTES + 504,
};

/* A frame on its way through the parser. */
struct parse {
	struct rte_mbuf *m;
	struct packet_info *info;
	uint32_t end; /* of the IP packet, from the start of the frame */
};

/* A header that runs beyond the packet: in a first fragment that is forbidden (RFC 8200 4.5, RFC 1858). */
static enum drop_reason too_short(const struct parse *p)
{
	return p->info->flags & PACKET_F_FRAGMENT ? DROP_FRAGMENT_INVALID : DROP_TRUNCATED;
}

/* bytes at offset must belong to the packet and are made contiguous with all before them. */
static enum drop_reason need(const struct parse *p, uint32_t offset, uint32_t bytes)
{
	if (offset + bytes > p->end)
		return too_short(p);
	return packet_pull(p->m, offset + bytes);
}

static enum drop_reason parse_tcp(struct parse *p)
{
	enum drop_reason drop = need(p, p->info->l4_offset, TCP_BYTES);
	if (drop)
		return drop;
	const uint8_t *tcp = packet_at(p->m, p->info->l4_offset);
	uint32_t length = (tcp[12] >> 4) * 4;
	if (length < TCP_BYTES)
		return DROP_BAD_L4_HEADER;
	if (p->info->l4_offset + length > p->end)
		return p->info->flags & PACKET_F_FRAGMENT ? DROP_FRAGMENT_INVALID : DROP_BAD_L4_HEADER;
	p->info->tcp_flags = tcp[13];
	p->info->payload_offset = (uint16_t)(p->info->l4_offset + length);
	return packet_pull(p->m, p->info->payload_offset);
}

static enum drop_reason parse_udp(struct parse *p)
{
	enum drop_reason drop = need(p, p->info->l4_offset, UDP_BYTES);
	if (drop)
		return drop;
	const uint8_t *udp = packet_at(p->m, p->info->l4_offset);
	uint32_t length = load_be16(udp + 4);
	/* A first fragment announces the length of the whole datagram. */
	if (length < UDP_BYTES || (p->info->l4_offset + length > p->end && !(p->info->flags & PACKET_F_FRAGMENT)))
		return DROP_BAD_L4_HEADER;
	p->info->payload_offset = p->info->l4_offset + UDP_BYTES;
	uint16_t src = load_be16(udp), dst = load_be16(udp + 2);
	if (p->info->flags & PACKET_F_IPV4 ? src == DHCP_CLIENT_PORT && dst == DHCP_SERVER_PORT
					   : src == DHCPV6_CLIENT_PORT && dst == DHCPV6_SERVER_PORT)
		p->info->flags |= PACKET_F_SERVICE;
	return DROP_NONE;
}

static enum drop_reason parse_icmp(struct parse *p)
{
	enum drop_reason drop = need(p, p->info->l4_offset, ICMP_BYTES);
	if (drop)
		return drop;
	const uint8_t *icmp = packet_at(p->m, p->info->l4_offset);
	uint8_t type = icmp[0];
	p->info->icmp_type = type;
	p->info->icmp_code = icmp[1];
	p->info->payload_offset = p->info->l4_offset + ICMP_BYTES;
	if (p->info->proto == IPPROTO_ICMP) {
		if (type == ICMP4_UNREACHABLE || type == ICMP4_SOURCE_QUENCH || type == ICMP4_REDIRECT ||
		    type == ICMP4_TIME_EXCEEDED || type == ICMP4_PARAMETER)
			p->info->flags |= PACKET_F_ICMP_ERROR;
	} else {
		if (type < 128)
			p->info->flags |= PACKET_F_ICMP_ERROR;
		if (type >= ND_FIRST && type <= ND_LAST)
			p->info->flags |= PACKET_F_SERVICE;
	}
	return DROP_NONE;
}

/* SCTP and DCCP: ports in front, a fixed header behind them. */
static enum drop_reason parse_ports(struct parse *p, uint32_t bytes)
{
	p->info->payload_offset = (uint16_t)(p->info->l4_offset + bytes);
	return need(p, p->info->l4_offset, bytes);
}

static enum drop_reason parse_l4(struct parse *p)
{
	struct packet_info *info = p->info;
	enum drop_reason drop;

	switch (info->proto) {
	case IPPROTO_TCP:
		drop = parse_tcp(p);
		break;
	case IPPROTO_UDP:
		drop = parse_udp(p);
		break;
	case IPPROTO_SCTP:
		drop = parse_ports(p, SCTP_BYTES);
		break;
	case IPPROTO_DCCP:
		drop = parse_ports(p, DCCP_BYTES);
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		/* Either family's ICMP means something only in its own family. */
		if ((info->proto == IPPROTO_ICMP) == !!(info->flags & PACKET_F_IPV4)) {
			drop = parse_icmp(p);
			break;
		}
		/* fallthrough */
	default:
		info->payload_offset = info->l4_offset;
		info->flags |= PACKET_F_L4;
		return DROP_NONE;
	}
	if (drop)
		return drop;
	info->flags |= PACKET_F_L4;
	flow_key_set_ports(&info->key, packet_at(p->m, info->l4_offset));
	return DROP_NONE;
}

/* Fragment rules of both families; data is the number of bytes behind the (fragment) header. */
static enum drop_reason parse_fragment(struct parse *p, uint32_t offset, bool more, uint32_t data)
{
	struct packet_info *info = p->info;

	info->flags |= PACKET_F_FRAGMENT;
	info->fragment_offset = (uint16_t)offset;
	info->more_fragments = more;
	uint32_t header = info->flags & PACKET_F_IPV4 ? info->l4_offset - ETHER_BYTES : 0;
	if (data == 0 || (more && data % 8) || header + offset + data > UINT16_MAX)
		return DROP_FRAGMENT_INVALID;
	if (offset == 0)
		return DROP_NONE;
	/* RFC 1858: a fragment that would rewrite the flags of its first fragment's TCP header. In IPv6 it need not say
	 * that it is TCP's: the receiver goes by the first one (RFC 8200 4.5). */
	if ((info->proto == IPPROTO_TCP || info->flags & PACKET_F_IPV6) && offset < TCP_BYTES)
		return DROP_FRAGMENT_INVALID;
	info->flags |= PACKET_F_LATER;
	packet_fragment_key(info, &info->key);
	return DROP_NONE;
}

void packet_fragment_key(const struct packet_info *info, struct flow_key *ret)
{
	struct flow_key key = info->key;
	rte_be32_t id = rte_cpu_to_be_32(info->fragment_id);

	if (info->flags & PACKET_F_IPV6)
		key.proto = IPPROTO_FRAGMENT;
	key.flags |= FLOW_KEY_F_FRAGMENT;
	memcpy(&key.src_port, &id, sizeof(id)); /* an IPv4 identification lands in dst_port */
	*ret = key;
}

static bool checksum_is_checked(const struct rte_mbuf *m)
{
	return (m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD ||
	       m->ol_flags & RTE_MBUF_F_TX_IP_CKSUM;
}

static enum drop_reason parse_ipv4(struct parse *p)
{
	struct packet_info *info = p->info;
	enum drop_reason drop = packet_pull(p->m, ETHER_BYTES + IPV4_BYTES);
	if (drop)
		return drop;
	const uint8_t *ip = packet_at(p->m, ETHER_BYTES);
	uint32_t header = (ip[0] & 15) * 4, length = load_be16(ip + 2);
	if (ip[0] >> 4 != 4 || header < IPV4_BYTES || length < header || ETHER_BYTES + length > p->m->pkt_len)
		return DROP_BAD_IP_HEADER;
	drop = packet_pull(p->m, ETHER_BYTES + header);
	if (drop)
		return drop;
	ip = packet_at(p->m, ETHER_BYTES);
	if (!checksum_is_checked(p->m) && fold16(checksum_bytes(ip, header)) != 0xffff)
		return DROP_BAD_IP_CHECKSUM;

	p->end = ETHER_BYTES + length;
	info->flags |= PACKET_F_IPV4 | (ip[16] >= 224 ? PACKET_F_MULTICAST : 0);
	info->l3_length = (uint16_t)length;
	info->l4_offset = (uint16_t)(ETHER_BYTES + header);
	info->ttl = ip[8];
	info->tos = ip[1];
	info->proto = ip[9];
	info->key.proto = info->proto;
	memcpy(&info->key.v4, ip + 12, 8);
	uint16_t fragment = load_be16(ip + 6);
	if (fragment & (IPV4_MF | IPV4_OFFSET)) {
		info->fragment_id = load_be16(ip + 4);
		drop = parse_fragment(p, (fragment & IPV4_OFFSET) * 8u, fragment & IPV4_MF, length - header);
		if (drop || info->flags & PACKET_F_LATER)
			return drop;
	}
	return parse_l4(p);
}

/* The fragment header at *offset. An atomic fragment (RFC 6946) is a whole packet. */
static enum drop_reason parse_ipv6_fragment(struct parse *p, uint32_t offset)
{
	const uint8_t *header = packet_at(p->m, offset);
	uint16_t word = load_be16(header + 2);
	uint32_t data = p->end - offset - IPV6_FRAGMENT_BYTES;

	if (p->info->flags & PACKET_F_FRAGMENT)
		return DROP_FRAGMENT_INVALID;
	p->info->fragment_id = rte_be_to_cpu_32(load32(header + 4));
	if ((word & ~6) == 0)
		return DROP_NONE;
	return parse_fragment(p, word & 0xfff8, word & 1, data);
}

static bool is_extension(uint8_t proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS ||
	       proto == IPPROTO_FRAGMENT;
}

/* One extension header at *offset: moves *offset behind it and info->proto to what follows. */
static enum drop_reason parse_extension(struct parse *p, uint32_t *offset)
{
	enum drop_reason drop = need(p, *offset, 8);
	if (drop)
		return drop;
	const uint8_t *header = packet_at(p->m, *offset);
	uint8_t kind = p->info->proto;

	p->info->proto = header[0];
	if (kind == IPPROTO_FRAGMENT) {
		drop = parse_ipv6_fragment(p, *offset);
		*offset += IPV6_FRAGMENT_BYTES;
		return drop;
	}
	if (kind == IPPROTO_HOPOPTS && *offset != ETHER_BYTES + IPV6_BYTES)
		return DROP_BAD_IP_HEADER; /* RFC 8200 4.1: only directly behind the IPv6 header */
	if (kind == IPPROTO_ROUTING && header[2] == 0 && header[3] != 0)
		return DROP_BAD_IP_HEADER; /* RFC 5095: type 0, which hides the true destination */
	*offset += (header[1] + 1) * 8u;
	if (*offset > MAX_HEADER_BYTES)
		return DROP_TOO_MANY_HEADERS;
	return *offset > p->end ? too_short(p) : DROP_NONE;
}

static enum drop_reason parse_ipv6(struct parse *p)
{
	struct packet_info *info = p->info;
	enum drop_reason drop = packet_pull(p->m, ETHER_BYTES + IPV6_BYTES);
	if (drop)
		return drop;
	const uint8_t *ip = packet_at(p->m, ETHER_BYTES);
	uint32_t length = IPV6_BYTES + load_be16(ip + 4), offset = ETHER_BYTES + IPV6_BYTES;
	if (ip[0] >> 4 != 6 || length > UINT16_MAX || ETHER_BYTES + length > p->m->pkt_len)
		return DROP_BAD_IP_HEADER;

	p->end = ETHER_BYTES + length;
	info->flags |= PACKET_F_IPV6 | (ip[24] == 0xff ? PACKET_F_MULTICAST : 0);
	info->l3_length = (uint16_t)length;
	info->ttl = ip[7];
	info->tos = (uint8_t)(load_be16(ip) >> 4);
	info->proto = ip[6];
	info->key.flags = FLOW_KEY_F_V6;
	memcpy(&info->key.v6, ip + 8, 32);
	for (unsigned i = 0; is_extension(info->proto) && !(info->flags & PACKET_F_LATER); i++) {
		if (i == MAX_EXTENSION_HEADERS)
			return DROP_TOO_MANY_HEADERS;
		drop = parse_extension(p, &offset);
		if (drop)
			return drop;
	}
	info->l4_offset = (uint16_t)offset;
	if (info->flags & PACKET_F_LATER)
		return DROP_NONE;
	info->key.proto = info->proto;
	drop = packet_pull(p->m, offset);
	return drop ? drop : parse_l4(p);
}

/* Only that the fixed part for Ethernet and IPv4 is there; the rest is the ARP service's. */
static enum drop_reason parse_arp(struct parse *p)
{
	p->info->l4_offset = p->info->payload_offset = ETHER_BYTES;
	p->info->flags |= PACKET_F_ARP | PACKET_F_SERVICE;
	return packet_pull(p->m, ETHER_BYTES + ARP_BYTES);
}

static uint32_t parse_checksum_flag(const struct rte_mbuf *m)
{
	return (m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_BAD ? PACKET_F_L4_CSUM_BAD : 0;
}

static void parse_start(struct packet_info *info, uint16_t vpc)
{
	struct packet_info clean = {
		.key.vpc = vpc,
		.l3_offset = ETHER_BYTES,
		.hash = info->hash,
		.in_iface = info->in_iface,
		.outer_tag = info->outer_tag,
		.outer_length = info->outer_length,
		.outer_src = info->outer_src,
	};
	*info = clean;
}

enum drop_reason packet_parse_slow(struct rte_mbuf *m, uint16_t vpc, struct packet_info *ret)
{
	struct parse p = { .m = m, .info = ret };

	parse_start(ret, vpc);
	enum drop_reason drop = packet_pull(m, ETHER_BYTES);
	if (drop)
		return drop;
	const uint8_t *frame = packet_at(m, 0);
	ret->ether_type = load_be16(frame + 12);
	ret->flags = parse_checksum_flag(m) | (frame[0] & 1 ? PACKET_F_MULTICAST : 0);
	switch (ret->ether_type) {
	case RTE_ETHER_TYPE_IPV4:
		return parse_ipv4(&p);
	case RTE_ETHER_TYPE_IPV6:
		return parse_ipv6(&p);
	case RTE_ETHER_TYPE_ARP:
		return parse_arp(&p);
	case RTE_ETHER_TYPE_VLAN:
	case RTE_ETHER_TYPE_QINQ:
		return DROP_VLAN_TAGGED;
	default:
		return DROP_NOT_IP;
	}
}

enum drop_reason packet_parse(struct rte_mbuf *m, uint16_t vpc, struct packet_info *ret)
{
	return packet_parse_slow(m, vpc, ret);
}
