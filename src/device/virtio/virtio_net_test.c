/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net queues: frames of all sizes both ways, offload headers right and wrong, buffers of all shapes. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <linux/virtio_config.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include "device/virtio/test_device.h"
#include "device/virtio/virtio_net.h"
#include "device/virtio/virtio_net_priv.h"

#define MODERN (VHOST_BIT(32) | VHOST_BIT(30))
#define PACKED (MODERN | VHOST_BIT(34))
#define MERGE  VHOST_BIT(VIRTIO_NET_F_MRG_RXBUF)
#define OFFLOAD                                                                                                        \
	(VHOST_BIT(VIRTIO_NET_F_CSUM) | VHOST_BIT(VIRTIO_NET_F_GUEST_CSUM) | VHOST_BIT(VIRTIO_NET_F_HOST_TSO4) |       \
	 VHOST_BIT(VIRTIO_NET_F_HOST_TSO6) | VHOST_BIT(VIRTIO_NET_F_GUEST_TSO4) | VHOST_BIT(VIRTIO_NET_F_GUEST_TSO6) | \
	 VHOST_BIT(VIRTIO_NET_F_GUEST_ECN) | VHOST_BIT(VIRTIO_NET_F_HOST_ECN) | VHOST_BIT(VIRTIO_NET_F_HOST_USO_BIT))

enum { RX = 0, TX = 1 }; /* as the guest calls them */

static struct rte_mempool *pool;

struct rig {
	struct test_device device;
	struct frontend guest;
	struct frontend_queue *rx, *tx;
	unsigned header; /* bytes */
};

static void rig_up(struct rig *rig, uint64_t features, unsigned size)
{
	test_device_init(&rig->device, true);
	rig->device.ops.features = virtio_net_features();
	test_device_start(&rig->device, VHOST_SERVER);
	frontend_init(&rig->guest, 8 << 20, test_device_pump, &rig->device);
	rig->guest.regions = 2;
	frontend_connect(&rig->guest, rig->device.path);
	frontend_negotiate(&rig->guest, features, TEST_PROTOCOL);
	frontend_share_memory(&rig->guest);
	rig->rx = frontend_queue_new(&rig->guest, RX, size);
	rig->tx = frontend_queue_new(&rig->guest, TX, size);
	frontend_queue_start(rig->rx, frontend_queue_base(rig->rx));
	frontend_queue_start(rig->tx, frontend_queue_base(rig->tx));
	rig->header = features & (VHOST_BIT(32) | MERGE) ? 12 : 10;
}

static void rig_down(struct rig *rig)
{
	frontend_fini(&rig->guest);
	test_device_close(&rig->device);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

static void fill(uint8_t *bytes, uint32_t length, unsigned seed)
{
	for (uint32_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

/* The guest sends a frame; header and frame cut into pieces of the given size. */
static void guest_send(struct rig *rig, const struct virtio_net_hdr *header, const uint8_t *frame, uint32_t length,
		       uint32_t piece, bool indirect)
{
	static struct frontend_buffer buffers[1024];
	uint64_t place = frontend_alloc(&rig->guest, rig->header + length, 64);
	uint8_t *at = frontend_at(&rig->guest, place);
	uint32_t total = rig->header + length;
	unsigned count = 0;

	memcpy(at, header, sizeof(*header));
	memcpy(at + rig->header, frame, length);
	for (uint32_t done = 0; done < total; done += piece, count++) {
		uint32_t here = total - done < piece ? total - done : piece;
		buffers[count] = (struct frontend_buffer){ place + done, here, false };
	}
	assert_true(frontend_offer(rig->tx, buffers, count, indirect) >= 0);
}

static void guest_reclaim(struct rig *rig, struct frontend_queue *queue, unsigned expected)
{
	uint16_t id;
	uint32_t length;

	for (unsigned i = 0; i < expected; i++)
		assert_true(frontend_take(queue, &id, &length));
	assert_false(frontend_take(queue, &id, &length));
}

static void assert_frame(struct rte_mbuf *m, const uint8_t *frame, uint32_t length)
{
	static uint8_t copy[VIRTIO_NET_MAX_FRAME];
	uint32_t data = 0;
	unsigned segments = 0;

	assert_int_equal(m->pkt_len, length);
	for (const struct rte_mbuf *s = m; s; s = s->next, segments++)
		data += s->data_len;
	assert_int_equal(data, length);
	assert_int_equal(segments, m->nb_segs);
	const uint8_t *bytes = rte_pktmbuf_read(m, 0, length, copy);
	assert_memory_equal(bytes, frame, length);
}

static void test_guest_to_device(void **state)
{
	static const uint64_t features[] = { MODERN | MERGE, VHOST_BIT(30), VHOST_BIT(30) | MERGE, PACKED,
					     PACKED | VHOST_BIT(28) | VHOST_BIT(29) };
	static const uint32_t lengths[] = { 14, 15, 60, 64, 1514, 2040, 2049, 9014, 65549, VIRTIO_NET_MAX_FRAME };
	static const uint32_t pieces[] = { 1 << 20, 10, 12, 13, 4096, 300 };
	static uint8_t frame[VIRTIO_NET_MAX_FRAME];
	const struct virtio_net_hdr header = { 0 };

	for (unsigned f = 0; f < 5; f++) {
		struct rig rig;
		rig_up(&rig, features[f], 1024);
		uint64_t start = rig.guest.allocated;
		for (unsigned i = 0; i < 10; i++) {
			for (unsigned p = 0; p < 6; p++) {
				struct virtio_net_rx_drops drops = { 0 };
				struct rte_mbuf *packets[32];
				bool indirect = features[f] & VHOST_BIT(28) && p % 2;
				if ((lengths[i] + 12) / pieces[p] + 1 > 1000)
					continue;
				rig.guest.allocated = start;
				fill(frame, lengths[i], i + p);
				guest_send(&rig, &header, frame, lengths[i], pieces[p], indirect);
				assert_int_equal(virtio_net_rx(rig.device.queues[TX], pool, packets, 32, &drops), 1);
				assert_int_equal(drops.bad_header + drops.too_long + drops.no_buffer, 0);
				assert_frame(packets[0], frame, lengths[i]);
				assert_int_equal(packets[0]->ol_flags, 0);
				assert_int_equal(rte_pktmbuf_headroom(packets[0]), VIRTIO_NET_HEADROOM);
				rte_pktmbuf_free(packets[0]);
				guest_reclaim(&rig, rig.tx, 1);
			}
		}
		rig_down(&rig);
	}
}

/* More frames than one burst, in order; a full pool; frames without room for a header. */
static void test_bursts_and_shortage(void **state)
{
	struct rig rig;
	const struct virtio_net_hdr header = { 0 };
	struct virtio_net_rx_drops drops = { 0 };
	struct rte_mbuf *packets[128], *hog[2048];
	uint8_t frame[64];

	rig_up(&rig, PACKED, 256);
	for (unsigned i = 0; i < 100; i++) {
		fill(frame, 64, i);
		guest_send(&rig, &header, frame, 64, 1 << 20, false);
	}
	assert_int_equal(virtio_net_rx(rig.device.queues[TX], pool, packets, 128, &drops), 100);
	for (unsigned i = 0; i < 100; i++) {
		fill(frame, 64, i);
		assert_frame(packets[i], frame, 64);
		rte_pktmbuf_free(packets[i]);
	}
	guest_reclaim(&rig, rig.tx, 100);

	/* Ten buffers left for twelve frames, one of which needs four. */
	unsigned taken = 0;
	while (taken < 2048 && rte_mempool_avail_count(pool) > 10)
		hog[taken++] = rte_pktmbuf_alloc(pool);
	static uint8_t large[8000];
	for (unsigned i = 0; i < 12; i++)
		guest_send(&rig, &header, i == 3 ? large : frame, i == 3 ? sizeof(large) : 64, 1 << 20, false);
	unsigned got = virtio_net_rx(rig.device.queues[TX], pool, packets, 128, &drops);
	assert_in_range(got, 6, 10);
	assert_int_equal(got + drops.no_buffer, 12);
	guest_reclaim(&rig, rig.tx, 12);
	rte_pktmbuf_free_bulk(packets, got);
	rte_pktmbuf_free_bulk(hog, taken);

	guest_send(&rig, &header, frame, 13, 1 << 20, false);
	guest_send(&rig, &header, frame, 1, 1 << 20, false);
	static uint8_t huge[VIRTIO_NET_MAX_FRAME + 1];
	guest_send(&rig, &header, huge, sizeof(huge), 1 << 20, false);
	struct frontend_buffer none = { 4096, 0, false };
	frontend_offer(rig.tx, &none, 1, false);
	memset(&drops, 0, sizeof(drops));
	assert_int_equal(virtio_net_rx(rig.device.queues[TX], pool, packets, 128, &drops), 0);
	assert_int_equal(drops.bad_header, 3);
	assert_int_equal(drops.too_long, 1);
	guest_reclaim(&rig, rig.tx, 4);
	rig_down(&rig);
}

/* ---- headers ---- */

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
	fill(frame + at + l4_length - shape->payload, shape->payload, 5);
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
			struct rig rig;
			rig_up(&rig, MODERN | MERGE | OFFLOAD, 1024);
			uint32_t length = build(frame, &c->shape);
			guest_send(&rig, &c->header, frame, length, piece, false);
			unsigned n = virtio_net_rx(rig.device.queues[TX], pool, packets, 32, &drops);
			guest_reclaim(&rig, rig.tx, 1);
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
					assert_frame(packets[0], frame, length);
				rte_pktmbuf_free(packets[0]);
			}
			rig_down(&rig);
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
		struct rig rig;
		rig_up(&rig, MODERN, 1024);
		guest_send(&rig, &c->header, frame, build(frame, &c->shape), 1 << 20, false);
		assert_int_equal(virtio_net_rx(rig.device.queues[TX], pool, packets, 32, &drops), 0);
		assert_int_equal(drops.bad_header, 1);
		rig_down(&rig);
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
	struct rig rig;

	rig_up(&rig, MODERN | OFFLOAD, 64);
	uint32_t length = build(frame, &shape);
	guest_send(&rig, &header, frame, length, 30, false);
	assert_int_equal(virtio_net_rx(rig.device.queues[TX], pool, packets, 32, &drops), 1);
	assert_int_equal(packets[0]->ol_flags, 0);
	assert_completed(packets[0], &header);
	rte_pktmbuf_free(packets[0]);
	rig_down(&rig);
}

/* ---- to the guest ---- */

/* The guest gives n receive buffers of this size, each in so many descriptors. */
static uint64_t guest_receive(struct rig *rig, unsigned n, uint32_t bytes, unsigned pieces, bool indirect)
{
	uint64_t place = frontend_alloc(&rig->guest, (uint64_t)n * bytes, 64);

	for (unsigned i = 0; i < n; i++) {
		struct frontend_buffer buffers[8];
		uint32_t at = 0;
		for (unsigned p = 0; p < pieces; p++) {
			uint32_t here = p + 1 < pieces ? bytes / pieces : bytes - at;
			buffers[p] = (struct frontend_buffer){ place + (uint64_t)i * bytes + at, here, true };
			at += here;
		}
		assert_true(frontend_offer(rig->rx, buffers, pieces, indirect) >= 0);
	}
	return place;
}

static struct rte_mbuf *chain_of(const uint8_t *frame, uint32_t length)
{
	struct rte_mbuf *first = rte_pktmbuf_alloc(pool), *last = first;

	for (uint32_t done = 0; done < length;) {
		uint32_t room = rte_pktmbuf_tailroom(last), here = length - done < room ? length - done : room;
		memcpy(rte_pktmbuf_append(last, (uint16_t)here), frame + done, here);
		done += here;
		if (last != first) {
			first->nb_segs++;
			first->pkt_len += here;
		}
		if (done < length)
			last = last->next = rte_pktmbuf_alloc(pool);
	}
	return first;
}

/* Takes one frame from the guest's buffers, which lie one after the other. */
static uint32_t guest_take_frame(struct rig *rig, uint64_t place, uint32_t bytes, unsigned *taken,
				 struct virtio_net_hdr_mrg_rxbuf *header, uint8_t *frame)
{
	uint32_t length, total = 0;
	uint16_t id;
	unsigned buffers = 1;

	for (unsigned i = 0; i < buffers; i++, ++*taken) {
		assert_true(frontend_take(rig->rx, &id, &length));
		const uint8_t *at = frontend_at(&rig->guest, place + (uint64_t)*taken * bytes);
		uint32_t skip = 0;
		if (i == 0) {
			memcpy(header, at, rig->header);
			skip = rig->header;
			if (rig->guest.features & MERGE)
				buffers = header->num_buffers;
		}
		assert_true(length >= skip && length <= bytes);
		memcpy(frame + total, at + skip, length - skip);
		total += length - skip;
	}
	return total;
}

static void test_device_to_guest(void **state)
{
	static const uint64_t features[] = { MODERN | MERGE, PACKED | MERGE, VHOST_BIT(30),
					     MODERN,         PACKED,         PACKED | MERGE | VHOST_BIT(28) };
	static const uint32_t lengths[] = { 14, 60, 1514, 1515, 1600, 3000, 9014, 65549 };
	static uint8_t frame[VIRTIO_NET_MAX_FRAME], seen[VIRTIO_NET_MAX_FRAME];

	for (unsigned f = 0; f < 6; f++) {
		bool merge = features[f] & MERGE;
		uint32_t bytes = merge ? 1536 : 70000;
		unsigned count = merge ? 64 : 1, pieces = 1 + f % 3;
		struct rig rig;
		rig_up(&rig, features[f], 256);
		uint64_t start = rig.guest.allocated;
		for (unsigned i = 0; i < 8; i++) {
			struct virtio_net_hdr_mrg_rxbuf header;
			struct virtio_net_tx_result result = { 0 };
			unsigned taken = 0;
			uint16_t id;
			uint32_t length;
			rig.guest.allocated = start;
			uint64_t place = guest_receive(&rig, count, bytes, pieces, features[f] & VHOST_BIT(28));
			fill(frame, lengths[i], i);
			struct rte_mbuf *m = chain_of(frame, lengths[i]);
			assert_int_equal(virtio_net_tx(rig.device.queues[RX], &m, 1, &result), 1);
			assert_int_equal(result.too_long, 0);
			assert_int_equal(result.bytes, lengths[i]);
			assert_int_equal(guest_take_frame(&rig, place, bytes, &taken, &header, seen), lengths[i]);
			assert_memory_equal(seen, frame, lengths[i]);
			assert_int_equal(header.hdr.flags | header.hdr.gso_type, 0);
			assert_int_equal(taken, merge ? (lengths[i] + 12 + bytes - 1) / bytes : 1);
			assert_false(frontend_take(rig.rx, &id, &length));
			/* The rest is still the guest's: use it up with small frames. */
			for (unsigned more = taken; more < count; more++) {
				m = chain_of(frame, 60);
				assert_int_equal(virtio_net_tx(rig.device.queues[RX], &m, 1, &result), 1);
				assert_int_equal(guest_take_frame(&rig, place, bytes, &taken, &header, seen), 60);
			}
			m = chain_of(frame, 60);
			assert_int_equal(virtio_net_tx(rig.device.queues[RX], &m, 1, &result), 0);
			rte_pktmbuf_free(m);
		}
		rig_down(&rig);
	}
}

/* A burst ends where the guest's buffers end; what was not taken stays the caller's. */
static void test_burst_to_guest(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		static uint8_t frame[9000], seen[9000];
		struct rte_mbuf *packets[40];
		struct virtio_net_hdr_mrg_rxbuf header;
		struct virtio_net_tx_result result = { 0 };
		unsigned taken = 0;
		struct rig rig;
		rig_up(&rig, (packed ? PACKED : MODERN) | MERGE, 256);
		uint64_t place = guest_receive(&rig, 50, 1024, 1, false);
		for (unsigned i = 0; i < 40; i++) {
			fill(frame, 1500, i);
			packets[i] = chain_of(frame, i % 4 ? 100 : 1500);
		}
		/* Of four frames one takes two buffers: 40 of them need 50. */
		assert_int_equal(virtio_net_tx(rig.device.queues[RX], packets, 40, &result), 40);
		for (unsigned i = 0; i < 40; i++) {
			uint32_t length = i % 4 ? 100 : 1500;
			fill(frame, 1500, i);
			assert_int_equal(guest_take_frame(&rig, place, 1024, &taken, &header, seen), length);
			assert_memory_equal(seen, frame, length);
		}
		rig.guest.allocated = place;
		guest_receive(&rig, 9, 1024, 1, false);
		for (unsigned i = 0; i < 10; i++)
			packets[i] = chain_of(frame, 1500);
		assert_int_equal(virtio_net_tx(rig.device.queues[RX], packets, 10, &result), 4);
		assert_int_equal(result.too_long, 0);
		rte_pktmbuf_free_bulk(packets + 4, 6);
		rig_down(&rig);
	}
}

static void test_too_long_for_the_guest(void **state)
{
	for (unsigned merge = 0; merge < 2; merge++) {
		static uint8_t frame[65000];
		struct virtio_net_tx_result result = { 0 };
		struct rte_mbuf *packets[3];
		struct rig rig;
		rig_up(&rig, MODERN | (merge ? MERGE : 0), 16);
		guest_receive(&rig, 16, 1526, 1, false);
		packets[0] = chain_of(frame, 60);
		packets[1] = chain_of(frame, 40000); /* more than the whole ring holds */
		packets[2] = chain_of(frame, 60);
		unsigned sent = virtio_net_tx(rig.device.queues[RX], packets, 3, &result);
		if (merge) { /* not known before the ring is full of free buffers again */
			assert_int_equal(sent, 1);
			guest_reclaim(&rig, rig.rx, 1);
			guest_receive(&rig, 1, 1526, 1, false);
			sent += virtio_net_tx(rig.device.queues[RX], packets + 1, 2, &result);
		}
		assert_int_equal(sent, 3);
		assert_int_equal(result.too_long, 1);
		rig_down(&rig);
	}
}

/* Receive buffers that are readable, or nowhere, come back empty with the small one before them, in order; the frame
 * goes into those behind. */
static void bad_receive_buffers(uint64_t features)
{
	const struct frontend_buffer small = { 4096, 100, true }, large = { 8192, 2000, true };
	const struct frontend_buffer bad[] = { { 4096, 2000, false }, { UINT64_C(1) << 40, 2000, true } };
	const uint32_t expected[] = { 0, 0, 0, 1012, 1012, 0 };
	const struct frontend_buffer *first = features & MERGE ? &small : &bad[0];
	static uint8_t frame[1000];
	struct rig rig;

	rig_up(&rig, features, 16);
	fill(frame, sizeof(frame), 3);
	for (unsigned round = 0; round < 20; round++) {
		const struct frontend_buffer *offer[] = { first, &bad[0], &bad[1], &large, &large, &bad[round % 2] };
		struct virtio_net_tx_result result = { 0 };
		struct rte_mbuf *packets[3] = { chain_of(frame, 1000), chain_of(frame, 1000), chain_of(frame, 1000) };
		uint32_t length;
		uint16_t id;
		int ids[6];
		for (unsigned i = 0; i < 6; i++)
			ids[i] = frontend_offer(rig.rx, offer[i], 1, false);
		assert_int_equal(virtio_net_tx(rig.device.queues[RX], packets, 3, &result), 2);
		assert_int_equal(result.bad_buffers, first == &small ? 3 : 4);
		assert_int_equal(result.too_long, 0);
		rte_pktmbuf_free(packets[2]);
		for (unsigned i = 0; i < 6; i++) {
			assert_true(frontend_take(rig.rx, &id, &length));
			assert_int_equal(id, ids[i]);
			assert_int_equal(length, expected[i]);
		}
		assert_memory_equal(frontend_at(&rig.guest, 8192 + 12), frame, 1000);
	}
	assert_int_equal(rig.device.notices, 0);
	rig_down(&rig);
}

static void test_bad_receive_buffers(void **state)
{
	bad_receive_buffers(MODERN | MERGE);
	bad_receive_buffers(MODERN);
	bad_receive_buffers(PACKED | MERGE);
}

/* What a guest offers is looked at in pieces, however much of it is bad. */
static void test_nothing_but_bad(void **state)
{
	struct frontend_buffer buffer = { UINT64_C(1) << 40, 2000, false };
	struct virtio_net_tx_result result = { 0 };
	struct virtio_net_rx_drops drops = { 0 };
	struct rte_mbuf *packets[64];
	uint8_t frame[60] = { 0 };
	struct rig rig;

	rig_up(&rig, MODERN | MERGE, 1024);
	for (unsigned i = 0; i < 128; i++) {
		assert_true(frontend_offer(rig.tx, &buffer, 1, false) >= 0);
		buffer.offset = i % 2 ? UINT64_C(1) << 40 : 4096;
		buffer.length = 10;
	}
	for (unsigned i = 1; i <= 2; i++) {
		assert_int_equal(virtio_net_rx(rig.device.queues[TX], pool, packets, 64, &drops), 0);
		assert_int_equal(drops.bad_descriptor, 32 * i);
		assert_int_equal(drops.bad_header, 32 * i);
		guest_reclaim(&rig, rig.tx, 64);
	}
	for (unsigned i = 0; i < 1000; i++)
		assert_true(frontend_offer(rig.rx, &buffer, 1, false) >= 0);
	guest_receive(&rig, 1, 2000, 1, false);
	struct rte_mbuf *m = chain_of(frame, 60);
	for (unsigned left = 1000; left > 256; left -= 256) {
		result.bad_buffers = 0;
		assert_int_equal(virtio_net_tx(rig.device.queues[RX], &m, 1, &result), 0);
		assert_int_equal(result.bad_buffers, 256);
		guest_reclaim(&rig, rig.rx, 256);
	}
	assert_int_equal(virtio_net_tx(rig.device.queues[RX], &m, 1, &result), 1);
	rig_down(&rig);
}

/* From one guest to another: the header that arrives asks for the same, and the pseudo-header sum is right whatever
 * was in its place. */
static void test_guest_to_guest_offloads(void **state)
{
	static uint8_t frame[8192], seen[8192];
	struct rig rig;

	rig_up(&rig, MODERN | MERGE | OFFLOAD, 256);
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
		rig.guest.allocated = 1 << 20;
		guest_send(&rig, &c->header, frame, length, 1 << 20, false);
		assert_int_equal(virtio_net_rx(rig.device.queues[TX], pool, &m, 1, &drops), 1);
		guest_reclaim(&rig, rig.tx, 1);
		uint64_t place = guest_receive(&rig, 8, 2048, 1, false);
		assert_int_equal(virtio_net_tx(rig.device.queues[RX], &m, 1, &result), 1);
		assert_int_equal(guest_take_frame(&rig, place, 2048, &taken, &header, seen), length);
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
			m = chain_of(frame, 60);
			virtio_net_tx(rig.device.queues[RX], &m, 1, &result);
			taken++;
			assert_true(frontend_take(rig.rx, &id, &used));
		}
	}
	rig_down(&rig);
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
		struct rig rig;
		rig_up(&rig, cases[i].features, 16);
		uint64_t offloads = virtio_net_tx_offloads(rig.device.queues[RX]);
		assert_int_equal(offloads & ~(RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6), cases[i].offloads);
		rig_down(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guest_to_device),
		cmocka_unit_test(test_bursts_and_shortage),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_headers_not_negotiated),
		cmocka_unit_test(test_checksum_of_other_protocols),
		cmocka_unit_test(test_device_to_guest),
		cmocka_unit_test(test_burst_to_guest),
		cmocka_unit_test(test_too_long_for_the_guest),
		cmocka_unit_test(test_bad_receive_buffers),
		cmocka_unit_test(test_nothing_but_bad),
		cmocka_unit_test(test_guest_to_guest_offloads),
		cmocka_unit_test(test_offloads_that_guests_take),
	};
	pool = test_eal_pool(2047);
	if (!pool)
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	test_eal_end(pool);
	return failed;
}
