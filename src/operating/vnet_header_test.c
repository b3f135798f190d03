/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of virtio-net headers as mbuf flags and back, with frames made by hand, right and wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <rte_ip.h>
#include "device/packet/segment.h"
#include "operating/net_rig.h"
#include "operating/vnet_header.h"

enum { GSO_UDP_L4 = VIRTIO_NET_GSO_UDP_L4, UPLINK = 1 };

/* ---- frames ---- */

struct frame {
	uint8_t bytes[4096];
	uint32_t length;
	uint32_t l3, l4; /* of the innermost packet */
};

static void put(struct frame *frame, const void *bytes, uint32_t length)
{
	memcpy(frame->bytes + frame->length, bytes, length);
	frame->length += length;
}

static void put16(struct frame *frame, uint16_t value)
{
	put(frame, (uint8_t[]){ (uint8_t)(value >> 8), (uint8_t)value }, 2);
}

static void put_ether(struct frame *frame, uint16_t type, unsigned tags)
{
	put(frame, "\x02\0\0\0\0\x02\x02\0\0\0\0\x01", 12);
	while (tags-- > 0)
		put(frame, "\x81\0\0\x64", 4);
	put16(frame, type);
}

static void put_ipv4(struct frame *frame, uint8_t proto, uint16_t payload, unsigned option_words)
{
	uint8_t ip[60] = { (uint8_t)(0x45 + option_words), 0 };
	uint16_t total = (uint16_t)(20 + 4 * option_words + payload), sum;

	ip[2] = (uint8_t)(total >> 8);
	ip[3] = (uint8_t)total;
	ip[8] = 64;
	ip[9] = proto;
	memcpy(ip + 12, "\x0a\0\0\x01\x0a\0\0\x02", 8);
	sum = (uint16_t)~rte_raw_cksum(ip, 20 + 4 * option_words);
	memcpy(ip + 10, &sum, 2);
	frame->l3 = frame->length;
	put(frame, ip, 20 + 4 * option_words);
	frame->l4 = frame->length;
}

/* extensions: destination options headers of 8 bytes in front of the upper layer */
static void put_ipv6(struct frame *frame, uint8_t proto, uint16_t payload, unsigned extensions)
{
	frame->l3 = frame->length;
	put(frame, "\x60\0\0\0", 4);
	put16(frame, (uint16_t)(payload + 8 * extensions));
	put(frame, (uint8_t[]){ extensions ? 60 : proto, 64 }, 2);
	put(frame, "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02", 32);
	for (unsigned i = 1; i <= extensions; i++)
		put(frame, (uint8_t[]){ i < extensions ? 60 : proto, 0, 1, 4, 0, 0, 0, 0 }, 8);
	frame->l4 = frame->length;
}

static void put_udp(struct frame *frame, uint16_t port, uint16_t payload)
{
	put16(frame, 49152);
	put16(frame, port);
	put16(frame, (uint16_t)(8 + payload));
	put16(frame, 0);
}

static void put_tcp(struct frame *frame)
{
	put(frame, "\x13\x88\x13\x89\0\0\0\x01\0\0\0\x02\x50\x18\xff\xff\0\0\0\0", 20);
}

static void put_payload(struct frame *frame, uint32_t length)
{
	for (uint32_t i = 0; i < length; i++)
		frame->bytes[frame->length++] = (uint8_t)(i * 37 + 1);
}

static void put_tcp_packet(struct frame *frame, bool v6, unsigned tags, unsigned extra, uint32_t payload)
{
	put_ether(frame, v6 ? 0x86dd : 0x0800, tags);
	if (v6)
		put_ipv6(frame, 6, (uint16_t)(20 + payload), extra);
	else
		put_ipv4(frame, 6, (uint16_t)(20 + payload), extra);
	put_tcp(frame);
	put_payload(frame, payload);
}

static void put_tunnel(struct frame *frame, bool v6, uint16_t port, unsigned option_words, uint16_t inner)
{
	uint16_t payload = (uint16_t)(8 + 4 * option_words + inner);

	put_ether(frame, v6 ? 0x86dd : 0x0800, 0);
	if (v6)
		put_ipv6(frame, 17, (uint16_t)(8 + payload), 0);
	else
		put_ipv4(frame, 17, (uint16_t)(8 + payload), 0);
	put_udp(frame, port, payload);
	uint8_t header[8 + 256] = { port == 4789 ? 0x08 : (uint8_t)option_words, 0, 0x65, 0x58, 0, 0, 42, 0 };
	put(frame, header, 8 + 4 * option_words);
}

/* In one buffer, or cut into pieces behind the first cut bytes. */
static struct rte_mbuf *to_mbuf(const struct frame *frame, uint32_t cut)
{
	struct rte_mbuf *head = rte_pktmbuf_alloc(test_pool()), *last = head;

	assert_non_null(head);
	for (uint32_t at = 0; at < frame->length;) {
		uint32_t part = frame->length - at, room = at == 0 ? cut : 100;
		if (part > room)
			part = room;
		if (at > 0) {
			last->next = rte_pktmbuf_alloc(test_pool());
			last = last->next;
			head->nb_segs++;
		}
		memcpy(rte_pktmbuf_mtod(last, void *), frame->bytes + at, part);
		last->data_len = (uint16_t)part;
		head->pkt_len += part;
		at += part;
	}
	return head;
}

static void put_pseudo_sum(struct frame *frame, uint32_t checksum_at)
{
	const uint8_t *ip = frame->bytes + frame->l3;
	bool v6 = ip[0] >> 4 == 6;
	uint8_t tail[8] = { 0 };
	uint32_t length = frame->length - frame->l4;

	tail[2] = (uint8_t)(length >> 8);
	tail[3] = (uint8_t)length;
	tail[7] = checksum_at == 16 ? 6 : 17;
	uint32_t sum = rte_raw_cksum(ip + (v6 ? 8 : 12), v6 ? 32 : 8) + rte_raw_cksum(tail, 8);
	sum = (sum & 0xffff) + (sum >> 16);
	uint16_t folded = (uint16_t)((sum & 0xffff) + (sum >> 16));
	memcpy(frame->bytes + frame->l4 + checksum_at, &folded, 2);
}

/* ---- both ways ---- */

static void check_round_trip(struct frame *frame, const struct virtio_net_hdr *header, uint64_t flags)
{
	struct rte_mbuf *m = to_mbuf(frame, 2000);
	struct virtio_net_hdr back;
	uint8_t copy[sizeof(frame->bytes)];

	assert_true(vnet_to_mbuf(header, m, UPLINK));
	if ((m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK) != flags)
		fail_msg("flags %lx instead of %lx", (unsigned long)m->ol_flags, (unsigned long)flags);
	if (flags & RTE_MBUF_F_TX_TUNNEL_MASK && header->gso_type) { /* not for the kernel */
		assert_false(vnet_from_mbuf(m, &back));
	} else {
		assert_true(vnet_from_mbuf(m, &back));
		assert_int_equal(back.flags, header->flags);
		assert_int_equal(back.gso_type, header->gso_type);
		assert_int_equal(back.gso_size, header->gso_size);
		assert_int_equal(back.csum_start, header->csum_start);
		assert_int_equal(back.csum_offset, header->csum_offset);
		if (header->gso_type)
			assert_int_equal(back.hdr_len, header->hdr_len);
		assert_memory_equal(rte_pktmbuf_read(m, 0, frame->length, copy), frame->bytes, frame->length);
	}
	rte_pktmbuf_free(m);
}

static void plain_packets(void **state)
{
	for (unsigned variant = 0; variant < 24; variant++) {
		bool v6 = variant & 1, segments = variant & 2;
		unsigned tags = variant / 4 % 3, extra = variant / 12;
		struct frame frame = { 0 };
		put_tcp_packet(&frame, v6, tags, extra, 1000);
		put_pseudo_sum(&frame, 16);
		struct virtio_net_hdr header = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						 .csum_start = (uint16_t)frame.l4,
						 .csum_offset = 16 };
		uint64_t flags = RTE_MBUF_F_TX_TCP_CKSUM | (v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4);
		if (segments) {
			header.gso_type = v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
			header.gso_size = 100;
			header.hdr_len = (uint16_t)(frame.l4 + 20);
			flags |= RTE_MBUF_F_TX_TCP_SEG | (v6 ? 0 : RTE_MBUF_F_TX_IP_CKSUM);
		}
		check_round_trip(&frame, &header, flags);
	}
}

static void udp_and_congestion(void **state)
{
	struct frame frame = { 0 };

	put_ether(&frame, 0x0800, 0);
	put_ipv4(&frame, 17, 8 + 500, 0);
	put_udp(&frame, 53, 500);
	put_payload(&frame, 500);
	put_pseudo_sum(&frame, 6);
	struct virtio_net_hdr header = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6 };
	check_round_trip(&frame, &header, RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IPV4);
	header.gso_type = GSO_UDP_L4;
	header.gso_size = 64;
	header.hdr_len = 42;
	check_round_trip(&frame, &header, RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_UDP_SEG);

	memset(&frame, 0, sizeof(frame));
	put_tcp_packet(&frame, false, 0, 0, 1000);
	frame.bytes[frame.l4 + 13] |= 0x80; /* CWR */
	put_pseudo_sum(&frame, 16);
	header = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = 34,
		.csum_offset = 16,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN,
		.gso_size = 100,
		.hdr_len = 54,
	};
	check_round_trip(&frame, &header,
			 RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_SEG);
}

static void verified_packets(void **state)
{
	struct virtio_net_hdr valid = { .flags = VIRTIO_NET_HDR_F_DATA_VALID }, none = { 0 }, back;
	struct frame frame = { 0 };

	put_tcp_packet(&frame, false, 0, 0, 10);
	struct rte_mbuf *m = to_mbuf(&frame, 2000);
	assert_true(vnet_to_mbuf(&valid, m, UPLINK));
	assert_int_equal(m->ol_flags, RTE_MBUF_F_RX_L4_CKSUM_GOOD);
	assert_true(vnet_from_mbuf(m, &back));
	assert_memory_equal(&back, &valid, sizeof(back));
	m->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_NONE;
	assert_true(vnet_from_mbuf(m, &back));
	assert_memory_equal(&back, &none, sizeof(back));
	rte_pktmbuf_free(m);
}

static void tunnelled_packets(void **state)
{
	for (unsigned variant = 0; variant < 16; variant++) {
		bool outer_v6 = variant & 1, v6 = variant & 2, geneve = variant & 4, segments = variant & 8;
		struct frame inner = { 0 }, frame = { 0 };
		put_tcp_packet(&inner, v6, 0, 0, 1000);
		put_tunnel(&frame, outer_v6, geneve ? 6081 : 4789, geneve ? 3 : 0, (uint16_t)inner.length);
		uint32_t outer = frame.length;
		put(&frame, inner.bytes, inner.length);
		frame.l3 = outer + inner.l3;
		frame.l4 = outer + inner.l4;
		put_pseudo_sum(&frame, 16);
		struct virtio_net_hdr header = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						 .csum_start = (uint16_t)frame.l4,
						 .csum_offset = 16 };
		uint64_t flags = RTE_MBUF_F_TX_TCP_CKSUM | (v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4) |
				 (outer_v6 ? RTE_MBUF_F_TX_OUTER_IPV6 : RTE_MBUF_F_TX_OUTER_IPV4) |
				 (geneve ? RTE_MBUF_F_TX_TUNNEL_GENEVE : RTE_MBUF_F_TX_TUNNEL_VXLAN);
		if (segments) {
			header.gso_type = v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
			header.gso_size = 100;
			header.hdr_len = (uint16_t)(frame.l4 + 20);
			flags |= RTE_MBUF_F_TX_TCP_SEG | (outer_v6 ? 0 : RTE_MBUF_F_TX_OUTER_IP_CKSUM) |
				 (v6 ? 0 : RTE_MBUF_F_TX_IP_CKSUM);
		}
		check_round_trip(&frame, &header, flags);
		/* What follows understands it: checksums and segments in software. */
		struct rte_mbuf *m = to_mbuf(&frame, 2000), *out[64];
		unsigned count = 0;
		assert_true(vnet_to_mbuf(&header, m, UPLINK));
		if (segments) {
			assert_int_equal(packet_segment(m, test_pool(), out, 64, &count), DROP_NONE);
			assert_int_equal(count, 10);
			rte_pktmbuf_free_bulk(out, count);
		} else {
			assert_int_equal(packet_checksum(m), DROP_NONE);
			rte_pktmbuf_free(m);
		}
	}
}

/* A tunnel within a tenant's own network is nothing that we know of: checksums are completed, segmentation is refused.
 */
static void tenants_tunnels(void **state)
{
	for (unsigned variant = 0; variant < 4; variant++) {
		struct frame inner = { 0 }, frame = { 0 };
		uint8_t copy[4096];
		put_tcp_packet(&inner, variant & 1, 0, 0, 1000);
		put_tunnel(&frame, variant & 2, 4789, 0, (uint16_t)inner.length);
		uint32_t outer = frame.length;
		put(&frame, inner.bytes, inner.length);
		frame.l3 = outer + inner.l3;
		frame.l4 = outer + inner.l4;
		put_pseudo_sum(&frame, 16);
		struct virtio_net_hdr header = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						 .csum_start = (uint16_t)frame.l4,
						 .csum_offset = 16 };
		struct rte_mbuf *m = to_mbuf(&frame, 2000);
		assert_true(vnet_to_mbuf(&header, m, PATH_FIRST_VNIC));
		assert_int_equal(m->ol_flags, 0);
		const uint8_t *bytes = rte_pktmbuf_read(m, 0, frame.length, copy);
		const void *ip = bytes + frame.l3, *tcp = bytes + frame.l4;
		assert_int_equal(
			variant & 1 ? rte_ipv6_udptcp_cksum_verify(ip, tcp) : rte_ipv4_udptcp_cksum_verify(ip, tcp), 0);
		header.gso_type = variant & 1 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
		header.gso_size = 100;
		assert_false(vnet_to_mbuf(&header, m, PATH_FIRST_VNIC));
		rte_pktmbuf_free(m);
	}
}

/* ---- what flags cannot say is done at once ---- */

static void completed_in_software(void **state)
{
	struct frame frame = { 0 };
	uint8_t copy[4096];

	/* TCP in IPv4 in GRE, say: the checksum starts at no layer that we know. */
	put_tcp_packet(&frame, false, 0, 0, 501);
	frame.bytes[23] = 47;
	put_pseudo_sum(&frame, 16);
	struct virtio_net_hdr header = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16 };
	for (uint32_t cut = 60; cut < 300; cut += 17) { /* in chains, too */
		struct rte_mbuf *m = to_mbuf(&frame, cut);
		assert_true(vnet_to_mbuf(&header, m, UPLINK));
		assert_int_equal(m->ol_flags, 0);
		const uint8_t *bytes = rte_pktmbuf_read(m, 0, frame.length, copy);
		struct rte_ipv4_hdr ip;
		memcpy(&ip, bytes + 14, sizeof(ip));
		uint32_t sum = rte_raw_cksum(bytes + 34, frame.length - 34);
		ip.next_proto_id = 6;
		sum += rte_ipv4_phdr_cksum(&ip, 0);
		sum = (sum & 0xffff) + (sum >> 16);
		assert_int_equal((sum & 0xffff) + (sum >> 16), 0xffff);
		rte_pktmbuf_free(m);
	}
}

/* CRC-32C of "123456789" is e3069283 (RFC 3720, B.4 uses the same polynomial), least significant byte first. */
static void sctp_checksum(void **state)
{
	static const uint8_t numbers[] = "\x13\x88\x13\x89\0\0\0\x01\0\0\0\0abc";
	struct frame frame = { 0 };

	put_ether(&frame, 0x0800, 0);
	put_ipv4(&frame, 132, sizeof(numbers) - 1, 0);
	put(&frame, numbers, sizeof(numbers) - 1);
	memset(frame.bytes + frame.l4 + 8, 0xee, 4);
	struct virtio_net_hdr header = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 8 };
	uint32_t crc = UINT32_MAX; /* bit by bit, as the definition has it */
	for (size_t i = 0; i < sizeof(numbers) - 1; i++) {
		crc ^= numbers[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	crc = ~crc;
	for (uint32_t cut = 46; cut < 50; cut++) {
		struct rte_mbuf *m = to_mbuf(&frame, cut);
		uint8_t copy[100];
		assert_true(vnet_to_mbuf(&header, m, UPLINK));
		assert_int_equal(m->ol_flags, 0);
		const uint8_t *bytes = rte_pktmbuf_read(m, 34, sizeof(numbers) - 1, copy);
		assert_memory_equal(bytes + 8, &crc, 4);
		rte_pktmbuf_free(m);
	}
}

/* ---- contradictions ---- */

static void refuses_lies(void **state)
{
	static const struct virtio_net_hdr lies[] = {
		{ .flags = 1, .csum_start = 1100, .csum_offset = 0 },               /* beyond the frame */
		{ .flags = 1, .csum_start = 1060, .csum_offset = 13 },              /* field beyond it */
		{ .flags = 1, .csum_start = 65535, .csum_offset = 65535 },          /* overflow */
		{ .gso_type = 1, .gso_size = 100, .hdr_len = 54 },                  /* no checksum */
		{ .flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 1 }, /* size 0 */
		{ .flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 4, .gso_size = 9 },   /* not IPv6 */
		{ .flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 5, .gso_size = 9 },   /* not UDP */
		{ .flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 3, .gso_size = 9 },   /* UFO */
		{ .flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 77, .gso_size = 9 },  /* unknown */
		{ .flags = 1, .csum_start = 14, .csum_offset = 10, .gso_type = 1, .gso_size = 100 }, /* not layer 4 */
		{ .flags = 1, .csum_start = 34, .csum_offset = 6, .gso_type = 1, .gso_size = 100 },  /* wrong field */
	};
	struct frame frame = { 0 };

	put_tcp_packet(&frame, false, 0, 0, 1000);
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct rte_mbuf *m = to_mbuf(&frame, 2000);
		if (vnet_to_mbuf(&lies[i], m, UPLINK))
			fail_msg("lie %zu is believed", i);
		rte_pktmbuf_free(m);
	}
}

static void refuses_wrong_requests(void **state)
{
	static const struct {
		uint64_t flags;
		uint8_t l2, l3;
		uint16_t size;
	} wrong[] = {
		{ RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4, 14, 0, 0 },
		{ RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV6, 14, 20, 0 },
		{ RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4, 120, 200, 0 },
		{ RTE_MBUF_F_TX_SCTP_CKSUM | RTE_MBUF_F_TX_IPV4, 14, 20, 0 },
		{ RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IPV4, 14, 20, 0 },
		{ RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_IPV4, 120, 20, 0 },
		{ RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_IPV4, 34, 20, 0 },
		{ RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TUNNEL_VXLAN, 14, 20, 100 },
	};
	struct frame frame = { 0 };

	put_tcp_packet(&frame, false, 0, 0, 60);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct rte_mbuf *m = to_mbuf(&frame, 120);
		struct virtio_net_hdr header;
		m->ol_flags = wrong[i].flags;
		m->l2_len = wrong[i].l2;
		m->l3_len = wrong[i].l3;
		m->tso_segsz = wrong[i].size;
		if (vnet_from_mbuf(m, &header))
			fail_msg("request %zu is believed", i);
		rte_pktmbuf_free(m);
	}
}

/* Any header on any frame, cut anywhere: no harm, and what is accepted can be worked on. */
static void random_headers(void **state)
{
	unsigned accepted = 0, segmented = 0;

	srand(1);
	for (unsigned round = 0; round < 60000; round++) {
		struct frame frame = { 0 }, inner = { 0 };
		uint32_t outer = 0;
		put_tcp_packet(&inner, rand() & 1, (unsigned)rand() % 3, (unsigned)rand() % 2, (uint32_t)rand() % 200);
		if (rand() & 1)
			put_tunnel(&frame, rand() & 1, rand() & 1 ? 4789 : 6081, 0, (uint16_t)inner.length);
		outer = frame.length;
		put(&frame, inner.bytes, inner.length);
		for (int spoils = rand() % 4; spoils > 0; spoils--)
			frame.bytes[(uint32_t)rand() % frame.length] = (uint8_t)rand();
		if (rand() % 4 == 0)
			frame.length = 14 + (uint32_t)rand() % (frame.length - 14);
		struct virtio_net_hdr header = {
			.flags = (uint8_t)(rand() % 4),
			.gso_type = (uint8_t)(rand() % 6),
			.gso_size = (uint16_t)(rand() % 3 ? rand() % 200 : rand()),
			.csum_start = (uint16_t)(rand() % 4 ? outer + inner.l4 : (unsigned)rand() % 200),
			.csum_offset = (uint16_t)(rand() % 4 ? 16 : rand() % 20),
		};
		struct rte_mbuf *m = to_mbuf(&frame, 20 + (uint32_t)rand() % 300), *out[256];
		unsigned count;
		if (!vnet_to_mbuf(&header, m, UPLINK)) {
			rte_pktmbuf_free(m);
			continue;
		}
		accepted++;
		struct virtio_net_hdr back;
		vnet_from_mbuf(m, &back);
		if (m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG) &&
		    packet_segment(m, test_pool(), out, 256, &count) == DROP_NONE) {
			segmented++;
			rte_pktmbuf_free_bulk(out, count);
			continue;
		}
		packet_checksum(m);
		rte_pktmbuf_free(m);
	}
	assert_true(accepted > 1000);
	assert_true(segmented > 100);
	assert_int_equal(rte_mempool_in_use_count(test_pool()), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_packets),          cmocka_unit_test(udp_and_congestion),
		cmocka_unit_test(verified_packets),       cmocka_unit_test(tunnelled_packets),
		cmocka_unit_test(tenants_tunnels),        cmocka_unit_test(completed_in_software),
		cmocka_unit_test(sctp_checksum),          cmocka_unit_test(refuses_lies),
		cmocka_unit_test(refuses_wrong_requests), cmocka_unit_test(random_headers),
	};

	net_rig_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
