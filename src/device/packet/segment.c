/* SPDX-License-Identifier: BSD-3-Clause */
/* Software checksums and segmentation for interfaces that have neither. */
#include "device/packet/segment.h"
#include <rte_tcp.h>
#include "device/packet/chain.h"
#include "device/packet/offload.h"

enum { MAX_HEADERS = 512 };

static uint16_t finish(uint64_t sum, uint8_t proto)
{
	uint16_t checksum = (uint16_t)~fold16(sum);

	return checksum == 0 && proto == IPPROTO_UDP ? 0xffff : checksum;
}

static void fill_ip_checksum(uint8_t *ip)
{
	store16(ip + 10, 0);
	store16(ip + 10, (uint16_t)~fold16(checksum_bytes(ip, (ip[0] & 15) * 4)));
}

/* ---- checksums ---- */

static enum drop_reason fill_l4_checksum(struct rte_mbuf *m, const struct offload *o)
{
	uint8_t *field = packet_at(m, offload_checksum_offset(o));
	uint32_t sum = fold16(checksum_pseudo(packet_at(m, o->l3), o->v6, o->proto, o->end - o->l4));

	store16(field, 0);
	if (!packet_sum(m, o->l4, o->end - o->l4, &sum))
		return DROP_SEGMENTATION;
	store16(field, finish(sum, o->proto));
	return DROP_NONE;
}

static enum drop_reason fill_outer_checksum(struct rte_mbuf *m, const struct offload *o)
{
	uint8_t *udp = packet_at(m, o->outer_l4);
	uint32_t length = o->outer_end - o->outer_l4;
	uint32_t sum = fold16(checksum_pseudo(packet_at(m, o->outer_l3), o->outer_v6, IPPROTO_UDP, length));

	if (length < UDP_BYTES)
		return DROP_SEGMENTATION;
	store16(udp + 6, 0);
	if (o->proto && o->end == o->outer_end) {
		/* The inner checksum is right by now, so from the inner upper-layer header on everything adds up to the
		 * complement of its pseudo header. */
		uint16_t pseudo = fold16(checksum_pseudo(packet_at(m, o->l3), o->v6, o->proto, o->end - o->l4));
		sum += (uint16_t)~pseudo;
		length = o->l4 - o->outer_l4;
	}
	if (!packet_sum(m, o->outer_l4, length, &sum))
		return DROP_SEGMENTATION;
	store16(udp + 6, finish(sum, IPPROTO_UDP));
	return DROP_NONE;
}

static const uint64_t CHECKSUM_REQUESTS =
	RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_OUTER_UDP_CKSUM | RTE_MBUF_F_TX_OUTER_IP_CKSUM;

enum drop_reason packet_checksum(struct rte_mbuf *m)
{
	uint64_t flags = m->ol_flags;
	struct offload o;

	if (!(flags & CHECKSUM_REQUESTS))
		return DROP_NONE;
	enum drop_reason drop = offload_segments(m) ? DROP_SEGMENTATION : offload_read(m, &o);
	if (drop)
		return drop;
	if (o.proto)
		drop = fill_l4_checksum(m, &o);
	if (drop)
		return drop;
	if (flags & RTE_MBUF_F_TX_IP_CKSUM && !o.v6)
		fill_ip_checksum(packet_at(m, o.l3));
	if (flags & RTE_MBUF_F_TX_OUTER_UDP_CKSUM && o.tunnel && !o.gre)
		drop = fill_outer_checksum(m, &o);
	if (drop)
		return drop;
	if (flags & RTE_MBUF_F_TX_OUTER_IP_CKSUM && o.tunnel && !o.outer_v6)
		fill_ip_checksum(packet_at(m, o.outer_l3));
	m->ol_flags &= ~RTE_MBUF_F_TX_OFFLOAD_MASK;
	return DROP_NONE;
}

/* ---- segmentation ---- */

/* The headers of a large frame and how it is cut. */
struct cut {
	struct offload o;
	uint8_t headers[MAX_HEADERS];
	uint32_t header_bytes;
	uint32_t payload, segment; /* bytes */
	unsigned count;
	bool outer_checksum;
};

static enum drop_reason cut_read(struct rte_mbuf *m, unsigned max, struct cut *ret)
{
	enum drop_reason drop = offload_read(m, &ret->o);
	if (drop)
		return drop;
	const struct offload *o = &ret->o;
	const uint8_t *l4 = packet_at(m, o->l4);
	uint32_t l4_bytes = o->proto == IPPROTO_TCP ? (l4[12] >> 4) * 4u : UDP_BYTES;
	ret->header_bytes = o->l4 + l4_bytes;
	ret->segment = m->tso_segsz;
	if ((o->proto == IPPROTO_TCP && l4_bytes < TCP_BYTES) || ret->header_bytes > MAX_HEADERS ||
	    ret->header_bytes >= o->end || ret->segment == 0)
		return DROP_SEGMENTATION;
	ret->payload = o->end - ret->header_bytes;
	ret->count = (ret->payload + ret->segment - 1) / ret->segment;
	if (ret->count > max || ret->header_bytes - o->l3 + ret->segment > UINT16_MAX)
		return DROP_SEGMENTATION;
	ret->outer_checksum = o->tunnel && m->ol_flags & RTE_MBUF_F_TX_OUTER_UDP_CKSUM;
	drop = packet_pull(m, ret->header_bytes);
	if (drop)
		return drop;
	memcpy(ret->headers, packet_at(m, 0), ret->header_bytes);
	return DROP_NONE;
}

static void set_ip_length(uint8_t *ip, bool v6, uint32_t length, unsigned number)
{
	if (v6) {
		store_be16(ip + 4, (uint16_t)(length - IPV6_BYTES));
		return;
	}
	store_be16(ip + 2, (uint16_t)length);
	store_be16(ip + 4, (uint16_t)(load_be16(ip + 4) + number));
	fill_ip_checksum(ip);
}

static void set_tcp(uint8_t *tcp, const struct cut *c, unsigned number)
{
	store32(tcp + 4, rte_cpu_to_be_32(rte_be_to_cpu_32(load32(tcp + 4)) + number * c->segment));
	if (number > 0)
		tcp[13] &= (uint8_t)~RTE_TCP_CWR_FLAG;
	if (number < c->count - 1)
		tcp[13] &= (uint8_t) ~(RTE_TCP_FIN_FLAG | RTE_TCP_PSH_FLAG);
}

/* Makes the headers of segment `number`, whose payload adds up to sum. */
static void set_headers(uint8_t *frame, const struct cut *c, unsigned number, uint32_t payload, uint64_t sum)
{
	const struct offload *o = &c->o;
	uint8_t *l4 = frame + o->l4, *ip = frame + o->l3;
	uint32_t end = c->header_bytes + payload;

	set_ip_length(ip, o->v6, end - o->l3, number);
	if (o->proto == IPPROTO_TCP)
		set_tcp(l4, c, number);
	else
		store_be16(l4 + 4, (uint16_t)(end - o->l4));
	uint64_t pseudo = checksum_pseudo(ip, o->v6, o->proto, end - o->l4);
	uint8_t *field = frame + offload_checksum_offset(o);
	store16(field, 0);
	sum += checksum_bytes(l4, c->header_bytes - o->l4);
	store16(field, finish(sum + pseudo, o->proto));
	if (!o->tunnel)
		return;

	uint8_t *outer = frame + o->outer_l3, *udp = frame + o->outer_l4;
	set_ip_length(outer, o->outer_v6, end - o->outer_l3, number);
	if (o->gre)
		return;
	store_be16(udp + 4, (uint16_t)(end - o->outer_l4));
	store16(udp + 6, 0);
	if (!c->outer_checksum)
		return;
	/* As in fill_outer_checksum(). */
	sum = checksum_bytes(udp, o->l4 - o->outer_l4) + (uint16_t)~fold16(pseudo) +
	      checksum_pseudo(outer, o->outer_v6, IPPROTO_UDP, end - o->outer_l4);
	store16(udp + 6, finish(sum, IPPROTO_UDP));
}

static enum drop_reason make_segment(const struct rte_mbuf *m, const struct cut *c, unsigned number,
				     struct chain_reader *reader, struct rte_mempool *pool, struct rte_mbuf **ret)
{
	uint32_t payload = RTE_MIN(c->segment, c->payload - number * c->segment);
	struct rte_mbuf *out = chain_new(m, pool);
	uint64_t sum = 0;

	if (!out)
		return DROP_NO_BUFFER;
	uint8_t *headers = (uint8_t *)rte_pktmbuf_append(out, (uint16_t)c->header_bytes);
	enum drop_reason drop = headers ? chain_append(out, pool, reader, payload, &sum) : DROP_NO_BUFFER;
	if (drop) {
		rte_pktmbuf_free(out);
		return drop;
	}
	memcpy(headers, c->headers, c->header_bytes);
	set_headers(headers, c, number, payload, sum);
	*ret = out;
	return DROP_NONE;
}

enum drop_reason packet_segment(struct rte_mbuf *m, struct rte_mempool *pool, struct rte_mbuf **out, unsigned max,
				unsigned *ret_count)
{
	struct cut c;
	enum drop_reason drop = offload_segments(m) ? cut_read(m, max, &c) : DROP_SEGMENTATION;
	if (drop)
		return drop;
	struct chain_reader reader = chain_at(m, c.header_bytes);
	for (unsigned i = 0; i < c.count; i++) {
		drop = make_segment(m, &c, i, &reader, pool, &out[i]);
		if (drop) {
			rte_pktmbuf_free_bulk(out, i);
			return drop;
		}
	}
	rte_pktmbuf_free(m);
	*ret_count = c.count;
	return DROP_NONE;
}
