/* SPDX-License-Identifier: BSD-3-Clause */
/* Builds the frames that the switch sends of its own accord. */
#include "service/vswitch/frame.h"

#include <netinet/in.h>
#include <string.h>
#include <rte_byteorder.h>
#include "device/packet/segment.h"

enum { ETHER_BYTES = 14, IPV4_BYTES = 20, IPV6_BYTES = 40, UDP_BYTES = 8 };

uint16_t checksum_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

uint16_t icmp_checksum_update(uint16_t checksum, uint16_t old_word, uint16_t new_word)
{
	uint16_t updated = checksum_update16(checksum, old_word, new_word);
	/* Both are zero; of a message of zeros only, the sum with 0 in it would be 0 in place of ffff. */
	return updated ? updated : UINT16_MAX;
}

static uint32_t sum_bytes(const uint8_t *bytes, uint32_t length)
{
	uint32_t sum = 0;
	for (uint32_t i = 0; i + 1 < length; i += 2)
		sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
	return sum;
}

uint32_t pseudo_header_sum(const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto, uint32_t length)
{
	unsigned bytes = src->family == IP_V4 ? 4 : 16;
	return sum_bytes(src->bytes, bytes) + sum_bytes(dst->bytes, bytes) + proto + (length >> 16) + (length & 0xffff);
}

/* The one's complement sum of m's bytes in host order. */
static bool sum_range(const struct rte_mbuf *m, uint32_t offset, uint32_t length, uint32_t *ret)
{
	uint32_t sum = 0;
	for (uint32_t at = 0; at < length;) {
		uint8_t buffer[512];
		uint32_t part = RTE_MIN(length - at, (uint32_t)sizeof(buffer));
		const uint8_t *bytes = rte_pktmbuf_read(m, offset + at, part, buffer);
		if (!bytes)
			return false;
		sum += sum_bytes(bytes, part);
		if (part % 2)
			sum += (uint32_t)bytes[part - 1] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
		at += part;
	}
	*ret = sum;
	return true;
}

bool l4_checksum_ok(const struct rte_mbuf *m, const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto,
		    uint32_t l4, uint32_t length)
{
	if (m->ol_flags & RTE_MBUF_F_TX_L4_MASK ||
	    (m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD)
		return true;
	uint32_t sum;
	if (!sum_range(m, l4, length, &sum))
		return false;
	/* ICMP for IPv4 has no pseudo header. */
	if (proto != IPPROTO_ICMP)
		sum += pseudo_header_sum(src, dst, proto, length);
	return checksum_fold(sum) == 0;
}

static void fail(struct frame_out *frame)
{
	rte_pktmbuf_free(frame->m);
	frame->m = NULL;
}

void *frame_room(struct frame_out *frame, uint32_t bytes)
{
	void *room = NULL;
	if (frame->m && bytes <= UINT16_MAX)
		room = rte_pktmbuf_append(frame->m, (uint16_t)bytes);
	if (room)
		memset(room, 0, bytes);
	else
		fail(frame);
	return room;
}

void frame_put(struct frame_out *frame, const void *data, uint32_t bytes)
{
	void *room = frame_room(frame, bytes);
	if (room)
		memcpy(room, data, bytes);
}

void frame_put8(struct frame_out *frame, uint8_t value)
{
	frame_put(frame, &value, 1);
}

void frame_put16(struct frame_out *frame, uint16_t value)
{
	rte_be16_t word = rte_cpu_to_be_16(value);
	frame_put(frame, &word, sizeof(word));
}

void frame_put32(struct frame_out *frame, uint32_t value)
{
	rte_be32_t word = rte_cpu_to_be_32(value);
	frame_put(frame, &word, sizeof(word));
}

bool frame_start(struct frame_out *frame, struct rte_mempool *pool, const struct mac_addr *dst,
		 const struct mac_addr *src, uint16_t ether_type)
{
	*frame = (struct frame_out){ .m = rte_pktmbuf_alloc(pool) };
	frame_put(frame, dst->bytes, 6);
	frame_put(frame, src->bytes, 6);
	frame_put16(frame, ether_type);
	frame->l3 = ETHER_BYTES;
	return frame->m != NULL;
}

void frame_ip(struct frame_out *frame, const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto, uint8_t ttl)
{
	frame->v6 = src->family == IP_V6;
	frame->proto = proto;
	frame->l4 = (uint16_t)(frame->l3 + (frame->v6 ? IPV6_BYTES : IPV4_BYTES));
	uint8_t *ip = frame_room(frame, frame->v6 ? IPV6_BYTES : IPV4_BYTES);
	if (!ip)
		return;
	if (frame->v6) {
		ip[0] = 0x60;
		ip[6] = proto;
		ip[7] = ttl;
		memcpy(ip + 8, src->bytes, 16);
		memcpy(ip + 24, dst->bytes, 16);
	} else {
		ip[0] = 0x45;
		ip[8] = ttl;
		ip[9] = proto;
		memcpy(ip + 12, src->bytes, 4);
		memcpy(ip + 16, dst->bytes, 4);
	}
}

void frame_udp(struct frame_out *frame, uint16_t src_port, uint16_t dst_port)
{
	frame_put16(frame, src_port);
	frame_put16(frame, dst_port);
	frame_put32(frame, 0);
}

static void store16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void finish_l4(struct frame_out *frame, const uint8_t *ip, uint8_t *l4, uint16_t length)
{
	struct ip_addr src = { .family = frame->v6 ? IP_V6 : IP_V4 }, dst = src;
	unsigned bytes = frame->v6 ? 16 : 4;
	memcpy(src.bytes, ip + (frame->v6 ? 8 : 12), bytes);
	memcpy(dst.bytes, ip + (frame->v6 ? 24 : 16), bytes);
	unsigned field = 2;
	uint32_t sum = 0;
	if (frame->proto == IPPROTO_UDP) {
		store16(l4 + 4, length);
		field = 6;
	} else if (frame->proto == IPPROTO_TCP) {
		field = 16;
	}
	if (frame->proto != IPPROTO_ICMP)
		sum = pseudo_header_sum(&src, &dst, frame->proto, length);
	sum += sum_bytes(l4, length);
	if (length % 2)
		sum += (uint32_t)l4[length - 1] << 8;
	uint16_t checksum = checksum_fold(sum);
	if (frame->proto == IPPROTO_UDP && !checksum)
		checksum = UINT16_MAX;
	store16(l4 + field, checksum);
}

struct rte_mbuf *frame_finish(struct frame_out *frame)
{
	struct rte_mbuf *m = frame->m;
	if (!m || !frame->l4)
		return m;
	uint8_t *ip = rte_pktmbuf_mtod_offset(m, uint8_t *, frame->l3);
	uint16_t length = (uint16_t)(rte_pktmbuf_data_len(m) - frame->l4);
	if (frame->v6) {
		store16(ip + 4, length);
	} else {
		store16(ip + 2, (uint16_t)(length + IPV4_BYTES));
		store16(ip + 10, checksum_fold(sum_bytes(ip, IPV4_BYTES)));
	}
	finish_l4(frame, ip, rte_pktmbuf_mtod_offset(m, uint8_t *, frame->l4), length);
	frame->m = NULL;
	return m;
}
