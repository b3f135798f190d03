/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net queues: offload headers right and wrong, from a guest, to one, and from one to another. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include "device/virtio/test_net.h"

struct shape {
	bool v6;
	uint8_t proto;
	unsigned vlans, extension; /* bytes of IPv6 destination options */
	uint32_t payload;
	uint16_t fragment; /* IPv4 fragment field */
};

static uint32_t build(uint8_t *frame, const struct shape *shape)
{
	uint32_t at = 12, l4_length = (shape->proto == IPPROTO_TCP ? 20 : 8) + shape->payload;

	memset(frame, 0, 640);
	memcpy(frame, "\x02\0\0\0\0\1\x02\0\0\0\0\2", 12);
	for (unsigned i = 0; i < shape->vlans; i++, at += 4)
		memcpy(frame + at, "\x81\0\0\7", 4);
	*(uint16_t *)(frame + at) = shape->v6 ? htons(0x86dd) : htons(0x0800);
	at += 2;
	if (shape->v6) {
		struct rte_ipv6_hdr *ip = (struct rte_ipv6_hdr *)(frame + at);
		ip->vtc_flow = htonl(0x60000000);
		ip->payload_len = htons((uint16_t)(l4_length + shape->extension));
		ip->proto = shape->extension ? IPPROTO_DSTOPTS : shape->proto;
		((uint8_t *)&ip->src_addr)[15] = 1; /* an array, later a struct */
		((uint8_t *)&ip->dst_addr)[15] = 2;
		at += sizeof(*ip);
		if (shape->extension) {
			frame[at] = shape->proto;
			frame[at + 1] = (uint8_t)(shape->extension / 8 - 1);
			at += shape->extension;
		}
	} else {
		struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(frame + at);
		ip->version_ihl = 0x45;
		ip->total_length = htons((uint16_t)(20 + l4_length));
		ip->fragment_offset = htons(shape->fragment);
		ip->time_to_live = 64;
		ip->next_proto_id = shape->proto;
		ip->src_addr = htonl(0x0a000001);
		ip->dst_addr = htonl(0x0a000002);
		ip->hdr_checksum = rte_ipv4_cksum(ip);
		at += sizeof(*ip);
	}
	if (shape->proto == IPPROTO_TCP)
		frame[at + 12] = 0x50;
	if (shape->proto == IPPROTO_UDP)
		*(uint16_t *)(frame + at + 4) = htons((uint16_t)l4_length);
	test_net_fill(frame + at + l4_length - shape->payload, shape->payload, 5);
	return at + l4_length;
}

struct header_case {
	const char *name;
	struct shape shape;
	struct virtio_net_hdr header;
	bool bad;
	uint64_t flags;
	unsigned l2, l3, l4;
};

#define NEEDS VIRTIO_NET_HDR_F_NEEDS_CSUM
#define T4    VIRTIO_NET_HDR_GSO_TCPV4
#define T6    VIRTIO_NET_HDR_GSO_TCPV6
#define USO   VIRTIO_NET_GSO_UDP_L4
#define ECN   VIRTIO_NET_HDR_GSO_ECN

static const struct header_case header_cases[] = {
	{ "TCP over IPv4",
	  { false, IPPROTO_TCP, 0, 0, 100, 0 },
	  { NEEDS, 0, 0, 0, 34, 16 },
	  false,
	  RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4,
	  14,
	  20,
	  0 },
	{ "UDP over IPv4, tagged twice",
	  { false, IPPROTO_UDP, 2, 0, 100, 0 },
	  { NEEDS, 0, 0, 0, 42, 6 },
	  false,
	  RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IPV4,
	  22,
	  20,
	  0 },
	{ "TCP over IPv6",
	  { true, IPPROTO_TCP, 0, 0, 100, 0 },
	  { NEEDS, 0, 0, 0, 54, 16 },
	  false,
	  RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV6,
	  14,
	  40,
	  0 },
	{ "UDP over IPv6 with options",
	  { true, IPPROTO_UDP, 0, 16, 100, 0 },
	  { NEEDS, 0, 0, 0, 70, 6 },
	  false,
	  RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IPV6,
	  14,
	  56,
	  0 },
	{ "TSO over IPv4",
	  { false, IPPROTO_TCP, 0, 0, 5000, 0 },
	  { NEEDS, T4, 54, 1448, 34, 16 },
	  false,
	  RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM,
	  14,
	  20,
	  20 },
	{ "TSO with ECN, header length 0",
	  { false, IPPROTO_TCP, 0, 0, 5000, 0 },
	  { NEEDS, T4 | ECN, 0, 1448, 34, 16 },
	  false,
	  RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM,
	  14,
	  20,
	  20 },
	{ "TSO over IPv6, tagged",
	  { true, IPPROTO_TCP, 1, 0, 5000, 0 },
	  { NEEDS, T6, 78, 1428, 58, 16 },
	  false,
	  RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV6,
	  18,
	  40,
	  20 },
	{ "USO",
	  { false, IPPROTO_UDP, 0, 0, 5000, 0 },
	  { NEEDS, USO, 42, 1400, 34, 6 },
	  false,
	  RTE_MBUF_F_TX_UDP_SEG | RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IPV4,
	  14,
	  20,
	  8 },
	{ "extension headers longer than a mbuf can say",
	  { true, IPPROTO_UDP, 0, 480, 100, 0 },
	  { NEEDS, 0, 0, 0, 534, 6 },
	  false,
	  0,
	  0,
	  0,
	  0 },
	{ "hint that data is valid", { false, IPPROTO_TCP, 0, 0, 100, 0 }, { 2, 0, 0, 0, 0, 0 }, false, 0, 0, 0, 0 },

	{ "start beyond the frame", { false, IPPROTO_TCP, 0, 0, 10, 0 }, { NEEDS, 0, 0, 0, 64, 16 }, true, 0, 0, 0, 0 },
	{ "start 65535", { false, IPPROTO_TCP, 0, 0, 10, 0 }, { NEEDS, 0, 0, 0, 65535, 16 }, true, 0, 0, 0, 0 },
	{ "offset 65535", { false, IPPROTO_TCP, 0, 0, 10, 0 }, { NEEDS, 0, 0, 0, 34, 65535 }, true, 0, 0, 0, 0 },
	{ "both 65535", { false, IPPROTO_TCP, 0, 0, 10, 0 }, { NEEDS, 0, 0, 0, 65535, 65535 }, true, 0, 0, 0, 0 },
	{ "sum in the last byte", { false, IPPROTO_TCP, 0, 0, 0, 0 }, { NEEDS, 0, 0, 0, 34, 19 }, true, 0, 0, 0, 0 },
	{ "start in Ethernet", { false, IPPROTO_TCP, 0, 0, 10, 0 }, { NEEDS, 0, 0, 0, 4, 16 }, true, 0, 0, 0, 0 },
	{ "start in IP", { false, IPPROTO_TCP, 0, 0, 10, 0 }, { NEEDS, 0, 0, 0, 14, 10 }, true, 0, 0, 0, 0 },
	{ "wrong place for TCP", { false, IPPROTO_TCP, 0, 0, 10, 0 }, { NEEDS, 0, 0, 0, 34, 6 }, true, 0, 0, 0, 0 },
	{ "wrong place for UDP", { true, IPPROTO_UDP, 0, 0, 50, 0 }, { NEEDS, 0, 0, 0, 54, 16 }, true, 0, 0, 0, 0 },
	{ "fragment", { false, IPPROTO_UDP, 0, 0, 50, 0x2000 }, { NEEDS, 0, 0, 0, 34, 6 }, true, 0, 0, 0, 0 },
	{ "segment size 0", { false, IPPROTO_TCP, 0, 0, 5000, 0 }, { NEEDS, T4, 54, 0, 34, 16 }, true, 0, 0, 0, 0 },
	{ "TSO without checksum", { false, IPPROTO_TCP, 0, 0, 5000, 0 }, { 0, T4, 54, 1448, 0, 0 }, true, 0, 0, 0, 0 },
	{ "TSO4 on IPv6", { true, IPPROTO_TCP, 0, 0, 5000, 0 }, { NEEDS, T4, 74, 1448, 54, 16 }, true, 0, 0, 0, 0 },
	{ "TSO6 on IPv4", { false, IPPROTO_TCP, 0, 0, 5000, 0 }, { NEEDS, T6, 54, 1448, 34, 16 }, true, 0, 0, 0, 0 },
	{ "TSO on UDP", { false, IPPROTO_UDP, 0, 0, 5000, 0 }, { NEEDS, T4, 54, 1448, 34, 6 }, true, 0, 0, 0, 0 },
	{ "USO on TCP", { false, IPPROTO_TCP, 0, 0, 5000, 0 }, { NEEDS, USO, 54, 1448, 34, 16 }, true, 0, 0, 0, 0 },
	{ "UFO", { false, IPPROTO_UDP, 0, 0, 5000, 0 }, { NEEDS, 3, 42, 1448, 34, 6 }, true, 0, 0, 0, 0 },
	{ "unknown segmentation",
	  { false, IPPROTO_TCP, 0, 0, 5000, 0 },
	  { NEEDS, 0x7f, 54, 1448, 34, 16 },
	  true,
	  0,
	  0,
	  0,
	  0 },
	{ "ECN alone", { false, IPPROTO_TCP, 0, 0, 5000, 0 }, { NEEDS, ECN, 54, 1448, 34, 16 }, true, 0, 0, 0, 0 },
	{ "TSO without payload",
	  { false, IPPROTO_TCP, 0, 0, 0, 0 },
	  { NEEDS, T4, 54, 1448, 34, 16 },
	  true,
	  0,
	  0,
	  0,
	  0 },
	{ "TSO in a tunnel", { false, IPPROTO_UDP, 0, 0, 5000, 0 }, { NEEDS, T4, 54, 1448, 84, 16 }, true, 0, 0, 0, 0 },
};

static void assert_completed(const struct rte_mbuf *m, const struct virtio_net_hdr *header)
{
	uint16_t sum;

	assert_int_equal(rte_raw_cksum_mbuf(m, header->csum_start, m->pkt_len - header->csum_start, &sum), 0);
	assert_int_equal(sum, 0xffff);
}

static void test_headers(void **state)
{
	static uint8_t frame[8192];

	for (unsigned i = 0; i < sizeof(header_cases) / sizeof(header_cases[0]); i++) {
		const struct header_case *c = &header_cases[i];
		for (uint32_t piece = 20; piece < 100000; piece += 99980) { /* headers over segments, and whole */
			struct virtio_net_rx_drops drops = { 0 };
			struct rte_mbuf *packets[32];
			struct test_net net;
			test_net_up(&net, MODERN | MERGE | OFFLOAD, 1024);
			uint32_t length = build(frame, &c->shape);
			test_net_send(&net, &c->header, frame, length, piece, false);
			unsigned n = virtio_net_rx(net.device.queues[TX], test_net_pool, packets, 32, &drops);
			test_net_reclaim(&net, net.tx, 1);
			if (n != !c->bad || drops.bad_header != c->bad)
				fail_msg("%s: %u frames", c->name, n);
			if (n) {
				if (packets[0]->ol_flags != c->flags)
					fail_msg("%s: flags %llx", c->name, (unsigned long long)packets[0]->ol_flags);
				assert_int_equal(packets[0]->l2_len, c->l2);
				assert_int_equal(packets[0]->l3_len, c->l3);
				assert_int_equal(packets[0]->l4_len, c->l4);
				assert_int_equal(packets[0]->tso_segsz, c->header.gso_size);
				if (packets[0]->ol_flags == 0 && c->header.flags & NEEDS)
					assert_completed(packets[0], &c->header);
				else
					test_net_assert_frame(packets[0], frame, length);
				rte_pktmbuf_free(packets[0]);
			}
			test_net_down(&net);
		}
	}
}

/* Without the features, nothing of it is accepted. */
static void test_headers_not_negotiated(void **state)
{
	static uint8_t frame[8192];

	for (unsigned i = 0; i < 8; i++) {
		const struct header_case *c = &header_cases[i];
		struct virtio_net_rx_drops drops = { 0 };
		struct rte_mbuf *packets[32];
		struct test_net net;
		test_net_up(&net, MODERN, 1024);
		test_net_send(&net, &c->header, frame, build(frame, &c->shape), 1 << 20, false);
		assert_int_equal(virtio_net_rx(net.device.queues[TX], test_net_pool, packets, 32, &drops), 0);
		assert_int_equal(drops.bad_header, 1);
		test_net_down(&net);
	}
}

/* A checksum of something that mbuf flags cannot name is completed at once. */
static void test_checksum_of_other_protocols(void **state)
{
	const struct shape shape = { false, 1 /* ICMP */, 0, 0, 101, 0 };
	const struct virtio_net_hdr header = { NEEDS, 0, 0, 0, 34, 2 };
	struct virtio_net_rx_drops drops = { 0 };
	struct rte_mbuf *packets[32];
	uint8_t frame[1024];
	struct test_net net;

	test_net_up(&net, MODERN | OFFLOAD, 64);
	uint32_t length = build(frame, &shape);
	test_net_send(&net, &header, frame, length, 30, false);
	assert_int_equal(virtio_net_rx(net.device.queues[TX], test_net_pool, packets, 32, &drops), 1);
	assert_int_equal(packets[0]->ol_flags, 0);
	assert_completed(packets[0], &header);
	rte_pktmbuf_free(packets[0]);
	test_net_down(&net);
}

/* From one guest to another: the header that arrives asks for the same, and the pseudo-header sum is right whatever
 * was in its place. */
static void test_guest_to_guest_offloads(void **state)
{
	static uint8_t frame[8192], seen[8192];
	struct test_net net;

	test_net_up(&net, MODERN | MERGE | OFFLOAD, 256);
	for (unsigned i = 0; i < 8; i++) {
		const struct header_case *c = &header_cases[i];
		struct virtio_net_rx_drops drops = { 0 };
		struct virtio_net_tx_result result = { 0 };
		struct virtio_net_hdr_mrg_rxbuf header;
		struct rte_mbuf *m;
		unsigned taken = 0;
		uint16_t id;
		uint32_t used, length = build(frame, &c->shape);
		uint16_t *sum = (uint16_t *)(frame + c->header.csum_start + c->header.csum_offset);
		*sum = 0xdead;
		net.guest.allocated = 1 << 20;
		test_net_send(&net, &c->header, frame, length, 1 << 20, false);
		assert_int_equal(virtio_net_rx(net.device.queues[TX], test_net_pool, &m, 1, &drops), 1);
		test_net_reclaim(&net, net.tx, 1);
		uint64_t place = test_net_receive(&net, 8, 2048, 1, false);
		assert_int_equal(virtio_net_tx(net.device.queues[RX], &m, 1, &result), 1);
		assert_int_equal(test_net_take(&net, place, 2048, &taken, &header, seen), length);
		assert_int_equal(header.hdr.flags, NEEDS);
		assert_int_equal(header.hdr.csum_start, c->header.csum_start);
		assert_int_equal(header.hdr.csum_offset, c->header.csum_offset);
		assert_int_equal(header.hdr.gso_type, c->header.gso_type & ~ECN);
		assert_int_equal(header.hdr.gso_size, c->header.gso_size);
		const void *ip = frame + c->l2;
		*sum = c->shape.v6 ? rte_ipv6_phdr_cksum(ip, 0) : rte_ipv4_phdr_cksum(ip, 0);
		if (c->shape.extension) /* DPDK takes the next header and length of the fixed header for the packet's */
			*sum = 0;
		else
			assert_memory_equal(seen, frame, length);
		while (taken < 8) {
			m = test_net_frame(frame, 60);
			virtio_net_tx(net.device.queues[RX], &m, 1, &result);
			taken++;
			assert_true(frontend_take(net.rx, &id, &used));
		}
	}
	test_net_down(&net);
}

static void test_offloads_that_guests_take(void **state)
{
	static const struct {
		uint64_t features, offloads;
	} cases[] = {
		{ MODERN, 0 },
		{ MODERN | VHOST_BIT(VIRTIO_NET_F_GUEST_CSUM),
		  RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IP_CKSUM },
		{ MODERN | VHOST_BIT(VIRTIO_NET_F_GUEST_CSUM) | VHOST_BIT(VIRTIO_NET_F_GUEST_TSO4),
		  RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IP_CKSUM },
		{ MODERN | OFFLOAD,
		  RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_SEG },
	};

	for (unsigned i = 0; i < 4; i++) {
		struct test_net net;
		test_net_up(&net, cases[i].features, 16);
		uint64_t offloads = virtio_net_tx_offloads(net.device.queues[RX]);
		assert_int_equal(offloads & ~(RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6), cases[i].offloads);
		test_net_down(&net);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_headers_not_negotiated),
		cmocka_unit_test(test_checksum_of_other_protocols),
		cmocka_unit_test(test_guest_to_guest_offloads),
		cmocka_unit_test(test_offloads_that_guests_take),
	};
	test_net_pool = test_eal_pool(2047);
	if (!test_net_pool)
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	test_eal_end(test_net_pool);
	return failed;
}
