/* SPDX-License-Identifier: BSD-3-Clause */
/* IPv4 fragmentation, RFC 791 3.2. */
#include "device/packet/chain.h"
#include "device/packet/segment.h"

enum { MAX_IPV4_HEADER = 60, OPTION_END = 0, OPTION_NOP = 1, OPTION_COPIED = 0x80 };

/* The header of all fragments but the first: without the options that are not to be copied. Returns its length. */
static uint32_t later_header(const uint8_t *ip, uint32_t header, uint8_t ret[MAX_IPV4_HEADER])
{
	uint32_t length = IPV4_BYTES;

	memcpy(ret, ip, IPV4_BYTES);
	for (uint32_t i = IPV4_BYTES, bytes; i < header && ip[i] != OPTION_END; i += bytes) {
		bytes = ip[i] == OPTION_NOP ? 1 : i + 1 < header ? ip[i + 1] : 0;
		if (bytes == 0 || i + bytes > header || (bytes == 1 && ip[i] != OPTION_NOP))
			break; /* malformed: nobody will read on */
		if (ip[i] & OPTION_COPIED) {
			memcpy(ret + length, ip + i, bytes);
			length += bytes;
		}
	}
	while (length % 4)
		ret[length++] = OPTION_END;
	ret[0] = (uint8_t)(0x40 | length / 4);
	return length;
}

static void set_header(uint8_t *ip, uint32_t header, uint32_t payload, uint32_t offset, bool more)
{
	uint16_t word = (uint16_t)((load_be16(ip + 6) & ~(IPV4_MF | IPV4_OFFSET)) | offset / 8 | (more ? IPV4_MF : 0));

	store_be16(ip + 2, (uint16_t)(header + payload));
	store_be16(ip + 6, word);
	store16(ip + 10, 0);
	store16(ip + 10, (uint16_t)~fold16(checksum_bytes(ip, header)));
}

/* A frame with m's Ethernet header, this IP header, and payload from reader. */
static enum drop_reason make_fragment(const struct rte_mbuf *m, const uint8_t *ip, uint32_t header, uint32_t payload,
				      struct chain_reader *reader, struct rte_mempool *pool, struct rte_mbuf **ret)
{
	struct rte_mbuf *out = chain_new(m, pool);
	if (!out)
		return DROP_NO_BUFFER;
	uint8_t *frame = (uint8_t *)rte_pktmbuf_append(out, (uint16_t)(ETHER_BYTES + header));
	enum drop_reason drop = frame ? chain_append(out, pool, reader, payload, NULL) : DROP_NO_BUFFER;
	if (drop) {
		rte_pktmbuf_free(out);
		return drop == DROP_SEGMENTATION ? DROP_BAD_IP_HEADER : drop;
	}
	memcpy(frame, packet_at(m, 0), ETHER_BYTES);
	memcpy(frame + ETHER_BYTES, ip, header);
	*ret = out;
	return DROP_NONE;
}

/* The frame's IPv4 header, whole and plausible. */
static enum drop_reason read_header(struct rte_mbuf *m, uint32_t *ret_header, uint32_t *ret_payload)
{
	enum drop_reason drop = packet_pull(m, ETHER_BYTES + IPV4_BYTES);
	if (drop)
		return drop;
	const uint8_t *ip = packet_at(m, ETHER_BYTES);
	uint32_t header = (ip[0] & 15) * 4, total = load_be16(ip + 2);
	if (ip[0] >> 4 != 4 || header < IPV4_BYTES || total <= header || ETHER_BYTES + total > m->pkt_len)
		return DROP_BAD_IP_HEADER;
	*ret_header = header;
	*ret_payload = total - header;
	return packet_pull(m, ETHER_BYTES + header);
}

enum drop_reason packet_fragment_ipv4(struct rte_mbuf *m, uint16_t mtu, struct rte_mempool *pool, struct rte_mbuf **out,
				      unsigned max, unsigned *ret_count)
{
	uint8_t first[MAX_IPV4_HEADER], later[MAX_IPV4_HEADER];
	uint32_t header, payload, count = 0;
	enum drop_reason drop = read_header(m, &header, &payload);
	if (drop)
		return drop;
	memcpy(first, packet_at(m, ETHER_BYTES), header);
	uint32_t later_bytes = later_header(first, header, later);
	uint32_t offset = (load_be16(first + 6) & IPV4_OFFSET) * 8u;
	bool more = load_be16(first + 6) & IPV4_MF;
	struct chain_reader reader = chain_at(m, ETHER_BYTES + header);

	for (uint8_t *ip = first; payload > 0 && !drop; ip = later, header = later_bytes) {
		uint32_t room = mtu > header ? (mtu - header) & ~7u : 0;
		uint32_t part = header + payload <= mtu ? payload : room;
		if (part == 0 || count == max) {
			drop = DROP_TOO_BIG;
			break;
		}
		payload -= part;
		set_header(ip, header, part, offset, more || payload > 0);
		offset += part;
		drop = make_fragment(m, ip, header, part, &reader, pool, &out[count]);
		count += !drop;
	}
	if (drop) {
		rte_pktmbuf_free_bulk(out, count);
		return drop;
	}
	rte_pktmbuf_free(m);
	*ret_count = count;
	return DROP_NONE;
}
