/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests and fuzzers: DPDK without huge pages, frames made by hand, slow references. */
#include "device/packet/testlib.h"
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <rte_eal.h>
#include <rte_mempool.h>

static struct rte_mempool *pool;

static void fail(const char *what)
{
	fprintf(stderr, "testlib: %s\n", what);
	abort();
}

struct rte_mempool *test_pool(void)
{
	static char arguments[256];
	char *argv[16], *rest = arguments;
	int argc = 0;

	if (pool)
		return pool;
	snprintf(arguments, sizeof(arguments),
		 "test --no-huge -m 64 --no-pci --no-shconf --no-telemetry --log-level=lib.eal:error --lcores 0@0 "
		 "--file-prefix=packet-test-%d",
		 (int)getpid());
	while ((argv[argc] = strsep(&rest, " ")))
		argc++;
	if (rte_eal_init(argc, argv) < 0)
		fail("no EAL");
	pool = rte_pktmbuf_pool_create("test", 4095, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (!pool)
		fail("no mbuf pool");
	return pool;
}

void test_pool_use(struct rte_mempool *own)
{
	pool = own;
}

unsigned test_pool_used(void)
{
	return rte_mempool_in_use_count(test_pool());
}

struct mac_addr test_mac(const char *text)
{
	struct mac_addr mac;

	if (mac_parse(text, &mac))
		fail(text);
	return mac;
}

struct ip_addr test_ip(const char *text)
{
	struct ip_addr ip;

	if (ip_parse(text, &ip))
		fail(text);
	return ip;
}

/* ---- building ---- */

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint8_t *append(struct frame *frame, const void *bytes, uint32_t length)
{
	uint8_t *at = frame->bytes + frame->length;

	if (frame->length + length > FRAME_MAX)
		fail("frame too long");
	if (bytes)
		memcpy(at, bytes, length);
	else
		memset(at, 0, length);
	frame->length += length;
	return at;
}

uint16_t reference_checksum(const uint8_t *bytes, uint32_t length, uint32_t sum)
{
	for (uint32_t i = 0; i < length; i++) {
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)~sum;
}

/* Sum (not complemented) of the pseudo header. */
static uint32_t pseudo_sum(const uint8_t *ip, uint8_t proto, uint32_t length)
{
	uint8_t pseudo[40] = { 0 };
	bool v6 = ip[0] >> 4 == 6;
	uint32_t addresses = v6 ? 32 : 8;

	memcpy(pseudo, ip + (v6 ? 8 : 12), addresses);
	pseudo[addresses] = (uint8_t)(length >> 24);
	pseudo[addresses + 1] = (uint8_t)(length >> 16);
	put16(pseudo + addresses + 2, length);
	pseudo[addresses + 7] = proto;
	return (uint16_t)~reference_checksum(pseudo, addresses + 8, 0);
}

/* Offset of the upper-layer checksum in its header, or -1. */
static int checksum_offset(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return 16;
	case IPPROTO_UDP:
		return 6;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return 2;
	default:
		return -1;
	}
}

static bool is_extension(uint8_t proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS ||
	       proto == IPPROTO_FRAGMENT;
}

static uint32_t extension_bytes(uint8_t proto, const uint8_t *header)
{
	return proto == IPPROTO_FRAGMENT ? 8 : (header[1] + 1) * 8u;
}

/* A fragment, but no atomic one. */
static bool is_piece(const uint8_t *ip)
{
	uint32_t offset = 40, end = 40u + get16(ip + 4);
	uint8_t proto = ip[6];

	if (ip[0] >> 4 == 4)
		return get16(ip + 6) & 0x3fff;
	while (offset + 8 <= end && is_extension(proto)) {
		const uint8_t *header = ip + offset;
		if (proto == IPPROTO_FRAGMENT && get16(header + 2) & 0xfff9)
			return true;
		offset += extension_bytes(proto, header);
		proto = header[0];
	}
	return false;
}

/* Where the upper-layer header of the IP packet at ip is: offset from ip and protocol; behind extension headers. */
static uint32_t upper(const uint8_t *ip, uint8_t *ret_proto)
{
	uint32_t offset = 40, end = 40u + get16(ip + 4);

	if (ip[0] >> 4 == 4) {
		*ret_proto = ip[9];
		return (ip[0] & 15) * 4u;
	}
	*ret_proto = ip[6];
	while (offset + 8 <= end && is_extension(*ret_proto)) {
		uint32_t bytes = extension_bytes(*ret_proto, ip + offset);
		*ret_proto = ip[offset];
		offset += bytes;
	}
	return offset;
}

static uint32_t ip_length(const uint8_t *ip)
{
	return ip[0] >> 4 == 4 ? get16(ip + 2) : 40u + get16(ip + 4);
}

void frame_fix(struct frame *frame, uint32_t l3)
{
	uint8_t *ip = frame->bytes + l3, proto;
	uint32_t header = upper(ip, &proto), length = ip_length(ip) - header;
	int offset = checksum_offset(proto);

	if (ip[0] >> 4 == 4) {
		put16(ip + 10, 0);
		put16(ip + 10, reference_checksum(ip, header, 0));
		if (get16(ip + 6) & 0x3fff)
			return;
	}
	if (offset < 0 || header + 8 > ip_length(ip)) /* malformed on purpose */
		return;
	uint8_t *l4 = ip + header;
	put16(l4 + offset, 0);
	uint16_t sum = reference_checksum(l4, length, proto == IPPROTO_ICMP ? 0 : pseudo_sum(ip, proto, length));
	put16(l4 + offset, sum == 0 && proto == IPPROTO_UDP ? 0xffff : sum);
}

static void append_ethernet(struct frame *frame, const char *src, const char *dst, uint16_t vlan, uint16_t type)
{
	struct mac_addr from = test_mac(src ? src : "02:00:00:00:00:01");
	struct mac_addr to = test_mac(dst ? dst : "02:00:00:00:00:02");

	append(frame, to.bytes, 6);
	append(frame, from.bytes, 6);
	if (vlan) {
		put16(append(frame, NULL, 2), 0x8100);
		put16(append(frame, NULL, 2), vlan);
	}
	put16(append(frame, NULL, 2), type);
}

static void append_ip(struct frame *frame, const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto,
		      const struct frame_spec *spec, uint32_t payload)
{
	if (src->family == IP_V4) {
		uint8_t *ip = append(frame, NULL, 20);
		ip[0] = (uint8_t)(0x45 + spec->ip_options_length / 4);
		ip[1] = spec->tos;
		put16(ip + 2, 20 + spec->ip_options_length + payload);
		put16(ip + 4, spec->id);
		put16(ip + 6, spec->fragment);
		ip[8] = spec->ttl ? spec->ttl : 64;
		ip[9] = proto;
		memcpy(ip + 12, src->bytes, 4);
		memcpy(ip + 16, dst->bytes, 4);
		append(frame, spec->options, spec->ip_options_length);
	} else {
		uint8_t *ip = append(frame, NULL, 40);
		ip[0] = (uint8_t)(0x60 | spec->tos >> 4);
		ip[1] = (uint8_t)(spec->tos << 4);
		put16(ip + 4, spec->extensions_length + payload);
		ip[6] = spec->extensions_length ? spec->first_extension : proto;
		ip[7] = spec->ttl ? spec->ttl : 64;
		memcpy(ip + 8, src->bytes, 16);
		memcpy(ip + 24, dst->bytes, 16);
		append(frame, spec->extensions, spec->extensions_length);
	}
}

static uint32_t upper_header_length(uint8_t proto, const struct frame_spec *spec)
{
	switch (proto) {
	case IPPROTO_TCP:
		return 20u + spec->tcp_options_length;
	case IPPROTO_UDP:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return 8;
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
		return 12;
	default:
		return 0;
	}
}

static void append_upper(struct frame *frame, uint8_t proto, const struct frame_spec *spec)
{
	uint32_t header = upper_header_length(proto, spec);
	uint16_t src = spec->src_port ? spec->src_port : 1000, dst = spec->dst_port ? spec->dst_port : 2000;
	uint8_t *l4 = append(frame, NULL, header);

	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6) {
		put16(l4, spec->dst_port);
		put16(l4 + 4, spec->src_port);
		put16(l4 + 6, 1);
	} else if (header) {
		put16(l4, src);
		put16(l4 + 2, dst);
	}
	if (proto == IPPROTO_TCP) {
		l4[7] = 1;
		l4[12] = (uint8_t)(header / 4 << 4);
		l4[13] = spec->tcp_flags ? spec->tcp_flags : 0x10;
		put16(l4 + 14, 0xffff);
		if (spec->options && spec->tcp_options_length)
			memcpy(l4 + 20, spec->options, spec->tcp_options_length);
	} else if (proto == IPPROTO_UDP) {
		put16(l4 + 4, 8 + spec->payload);
	}
}

void frame_build(struct frame *frame, const struct frame_spec *spec)
{
	struct ip_addr src = test_ip(spec->src ? spec->src : "10.0.0.1");
	struct ip_addr dst = test_ip(spec->dst ? spec->dst : "10.0.0.2");
	uint8_t proto = spec->proto ? spec->proto : IPPROTO_UDP;

	frame->length = 0;
	append_ethernet(frame, spec->src_mac, spec->dst_mac, 0, src.family == IP_V4 ? 0x0800 : 0x86dd);
	append_ip(frame, &src, &dst, proto, spec, upper_header_length(proto, spec) + spec->payload);
	uint32_t l4 = frame->length;
	append_upper(frame, proto, spec);
	uint8_t *payload = append(frame, NULL, spec->payload);
	for (uint32_t i = 0; i < spec->payload; i++)
		payload[i] = (uint8_t)(i * 7 + (i >> 8));
	frame_fix(frame, 14);
	if (spec->no_udp_checksum)
		put16(frame->bytes + l4 + 6, 0);
}

void frame_tunnel(struct frame *outer, const struct tunnel_spec *spec, const struct frame *inner)
{
	struct ip_addr src = test_ip(spec->src ? spec->src : "192.0.2.1");
	struct ip_addr dst = test_ip(spec->dst ? spec->dst : "192.0.2.2");
	uint32_t options = spec->geneve ? spec->geneve_options * 4u : 0;
	struct frame_spec ip = { .ttl = spec->ttl, .tos = spec->tos, .fragment = 0x4000 };

	outer->length = 0;
	append_ethernet(outer, spec->src_mac, spec->dst_mac, spec->vlan, src.family == IP_V4 ? 0x0800 : 0x86dd);
	uint32_t l3 = outer->length;
	append_ip(outer, &src, &dst, IPPROTO_UDP, &ip, 16 + options + inner->length);
	uint8_t *udp = append(outer, NULL, 8);
	put16(udp, spec->src_port ? spec->src_port : 50000);
	put16(udp + 2, spec->geneve ? 6081 : 4789);
	put16(udp + 4, 16 + options + inner->length);
	uint8_t *tunnel = append(outer, NULL, 8 + options);
	tunnel[0] = spec->geneve ? spec->geneve_options : 8;
	if (spec->geneve)
		put16(tunnel + 2, 0x6558);
	tunnel[4] = (uint8_t)(spec->vni >> 16);
	put16(tunnel + 5, spec->vni);
	append(outer, inner->bytes, inner->length);
	frame_fix(outer, l3);
	if (!spec->udp_checksum)
		put16(udp + 6, 0);
}

/* ---- checking ---- */

static const char *udp_fault(const uint8_t *udp, uint32_t length)
{
	uint16_t port = get16(udp + 2);

	if (get16(udp + 4) != length)
		return "UDP length";
	if (port == 4789 && length >= 16)
		return frame_fault(udp + 16, length - 16);
	if (port == 6081 && length >= 16u + (udp[8] & 63) * 4u)
		return frame_fault(udp + 16 + (udp[8] & 63) * 4, length - 16 - (udp[8] & 63) * 4u);
	return NULL;
}

static const char *packet_fault(const uint8_t *ip, uint32_t length)
{
	uint8_t proto;
	bool v6 = ip[0] >> 4 == 6;

	if (ip_length(ip) != length)
		return "IP length";
	if (!v6 && reference_checksum(ip, (ip[0] & 15) * 4u, 0) != 0)
		return "IPv4 header checksum";
	if (is_piece(ip))
		return NULL;
	uint32_t header = upper(ip, &proto);
	int offset = checksum_offset(proto);
	if (offset < 0)
		return NULL;
	if (length < header + 8)
		return "upper-layer header";
	const uint8_t *l4 = ip + header;
	length -= header;
	/* Zero means none, but not for UDP over IPv6, unless it is a tunnel's (RFC 6935). */
	bool tunnel = proto == IPPROTO_UDP && (get16(l4 + 2) == 4789 || get16(l4 + 2) == 6081);
	bool none = proto == IPPROTO_UDP && get16(l4 + 6) == 0 && (!v6 || tunnel);
	if (!none && reference_checksum(l4, length, proto == IPPROTO_ICMP ? 0 : pseudo_sum(ip, proto, length)) != 0)
		return "upper-layer checksum";
	return proto == IPPROTO_UDP ? udp_fault(l4, length) : NULL;
}

const char *frame_fault(const uint8_t *bytes, uint32_t length)
{
	uint32_t l3 = 14;

	if (length < 14)
		return "Ethernet header";
	if (get16(bytes + 12) == 0x8100)
		l3 += 4;
	uint16_t type = get16(bytes + l3 - 2);
	if (type != 0x0800 && type != 0x86dd)
		return NULL;
	if (length < l3 + (type == 0x0800 ? 20 : 40) || bytes[l3] >> 4 != (type == 0x0800 ? 4 : 6))
		return "IP header";
	return packet_fault(bytes + l3, length - l3);
}

/* ---- mbufs ---- */

struct rte_mbuf *frame_mbuf_split(const struct frame *frame, const uint32_t *ends)
{
	struct rte_mbuf *head = NULL, *last = NULL;
	uint32_t offset = 0;

	while (offset < frame->length || !head) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(test_pool());
		if (!m)
			fail("no mbuf");
		while (ends && *ends && *ends <= offset)
			ends++;
		uint32_t end = ends && *ends ? RTE_MIN(*ends, frame->length) : frame->length;
		uint32_t part = RTE_MIN(end - offset, (uint32_t)rte_pktmbuf_tailroom(m));
		memcpy(rte_pktmbuf_append(m, (uint16_t)part), frame->bytes + offset, part);
		offset += part;
		if (!head) {
			head = m;
		} else {
			last->next = m;
			head->nb_segs++;
			head->pkt_len += part;
		}
		last = m;
	}
	return head;
}

struct rte_mbuf *frame_mbuf(const struct frame *frame)
{
	return frame_mbuf_split(frame, NULL);
}

void frame_read(struct frame *frame, const struct rte_mbuf *m)
{
	unsigned segments = 0;
	const struct rte_mbuf *segment = m;

	frame->length = 0;
	for (; segment; segment = segment->next, segments++)
		append(frame, rte_pktmbuf_mtod(segment, void *), segment->data_len);
	if (frame->length != m->pkt_len || segments != m->nb_segs)
		fail("mbuf chain lengths do not add up");
}

bool frame_equal(const struct frame *a, const struct frame *b)
{
	return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

void frame_dump(const struct frame *frame)
{
	for (uint32_t i = 0; i < frame->length && i < 256; i++)
		fprintf(stderr, "%02x%s", frame->bytes[i], i % 16 == 15 ? "\n" : " ");
	fprintf(stderr, "(%u bytes)\n", frame->length);
}
