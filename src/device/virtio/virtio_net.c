/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net queues: bursts of frames between guest buffers and mbufs. */
#include "device/virtio/virtio_net.h"

#include <linux/virtio_config.h>
#include <rte_memcpy.h>
#include <rte_prefetch.h>
#include "device/virtio/virtio_net_priv.h"

enum { RX_BURST = 32, MIN_FRAME = 14 };

uint64_t virtio_net_features(void)
{
	static const uint8_t bits[] = {
		VIRTIO_NET_F_CSUM,         VIRTIO_NET_F_GUEST_CSUM,     VIRTIO_NET_F_MTU,
		VIRTIO_NET_F_GUEST_TSO4,   VIRTIO_NET_F_GUEST_TSO6,     VIRTIO_NET_F_GUEST_ECN,
		VIRTIO_NET_F_HOST_TSO4,    VIRTIO_NET_F_HOST_TSO6,      VIRTIO_NET_F_HOST_ECN,
		VIRTIO_NET_F_MRG_RXBUF,    VIRTIO_NET_F_STATUS,         VIRTIO_NET_F_CTRL_VQ,
		VIRTIO_NET_F_CTRL_RX,      VIRTIO_NET_F_GUEST_ANNOUNCE, VIRTIO_NET_F_MQ,
		VIRTIO_NET_F_HOST_USO_BIT, VIRTIO_NET_F_GUEST_USO4_BIT, VIRTIO_NET_F_GUEST_USO6_BIT,
	};
	uint64_t features = 0;

	for (unsigned i = 0; i < sizeof(bits); i++)
		features |= VIRTIO_NET_BIT(bits[i]);
	return features;
}

uint64_t virtio_net_tx_offloads(const struct virtqueue *queue)
{
	uint64_t features = virtqueue_features(queue), both, flags;

	if (!(features & VIRTIO_NET_BIT(VIRTIO_NET_F_GUEST_CSUM)))
		return 0;
	flags = RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_IPV4 |
		RTE_MBUF_F_TX_IPV6;
	both = VIRTIO_NET_BIT(VIRTIO_NET_F_GUEST_TSO4) | VIRTIO_NET_BIT(VIRTIO_NET_F_GUEST_TSO6);
	if ((features & both) == both)
		flags |= RTE_MBUF_F_TX_TCP_SEG;
	both = VIRTIO_NET_BIT(VIRTIO_NET_F_GUEST_USO4_BIT) | VIRTIO_NET_BIT(VIRTIO_NET_F_GUEST_USO6_BIT);
	if ((features & both) == both)
		flags |= RTE_MBUF_F_TX_UDP_SEG;
	return flags;
}

/* ---- from the guest ---- */

/* Where the copy out of an element's readable segments stands. */
struct cursor {
	const struct iovec *segment;
	size_t offset;
};

static void cursor_read(struct cursor *cursor, void *to, size_t length)
{
	uint8_t *at = to;

	while (length) {
		size_t here = cursor->segment->iov_len - cursor->offset;
		if (here == 0) {
			cursor->segment++;
			cursor->offset = 0;
			continue;
		}
		here = here < length ? here : length;
		rte_memcpy(at, (uint8_t *)cursor->segment->iov_base + cursor->offset, here);
		cursor->offset += here;
		at += here;
		length -= here;
	}
}

static void headroom_set(struct rte_mbuf *m)
{
	if (m->buf_len >= 4 * VIRTIO_NET_HEADROOM)
		m->data_off = VIRTIO_NET_HEADROOM;
}

/* Fills m, and more mbufs behind it, with length bytes. False when there are no more mbufs; m is whole either way. */
static bool frame_copy(struct rte_mbuf *m, struct rte_mempool *pool, struct cursor *cursor, uint32_t length)
{
	struct rte_mbuf *segment = m;

	headroom_set(m);
	m->pkt_len = length;
	for (;;) {
		uint32_t room = rte_pktmbuf_tailroom(segment), here = length < room ? length : room;
		cursor_read(cursor, rte_pktmbuf_mtod(segment, void *), here);
		segment->data_len = (uint16_t)here;
		length -= here;
		if (length == 0)
			return true;
		segment->next = rte_pktmbuf_alloc(pool);
		if (!segment->next)
			return false;
		segment = segment->next;
		segment->data_off = 0;
		m->nb_segs++;
	}
}

/* One element into m. Returns false, with the reason counted, if there is no frame in it. */
static bool frame_take(const struct virtq_element *element, uint64_t features, unsigned header_bytes,
		       struct rte_mempool *pool, struct rte_mbuf *m, struct virtio_net_rx_drops *drops)
{
	struct cursor cursor = { .segment = element->segments };
	struct virtio_net_hdr_mrg_rxbuf header;

	if (element->readable_bytes < header_bytes + MIN_FRAME) {
		if (element->fault)
			drops->bad_descriptor++;
		else
			drops->bad_header++;
		return false;
	}
	uint32_t length = element->readable_bytes - header_bytes;
	if (length > VIRTIO_NET_MAX_FRAME) {
		drops->too_long++;
		return false;
	}
	cursor_read(&cursor, &header, header_bytes);
	if (!frame_copy(m, pool, &cursor, length)) {
		drops->no_buffer++;
		return false;
	}
	if ((header.hdr.flags | header.hdr.gso_type) && !virtio_net_header_apply(m, &header.hdr, features)) {
		drops->bad_header++;
		return false;
	}
	return true;
}

static unsigned mbufs_get(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned n)
{
	unsigned i;

	if (rte_pktmbuf_alloc_bulk(pool, mbufs, n) == 0)
		return n;
	for (i = 0; i < n && (mbufs[i] = rte_pktmbuf_alloc(pool)); i++)
		;
	return i;
}

/* A burst of at most RX_BURST. Returns frames; *ret_popped elements. */
static unsigned rx_burst(struct virtqueue *queue, struct rte_mempool *pool, struct rte_mbuf **packets, unsigned max,
			 struct virtio_net_rx_drops *drops, int *ret_popped)
{
	struct virtq_element elements[RX_BURST];
	struct iovec iov[VIRTQ_MAX_SEGMENTS];
	struct rte_mbuf *mbufs[RX_BURST];
	uint32_t written[RX_BURST] = { 0 };
	uint64_t features = virtqueue_features(queue);
	unsigned header_bytes = virtio_net_header_bytes(features), taken = 0, spare;

	int popped = *ret_popped = virtqueue_pop(queue, elements, max, iov, VIRTQ_MAX_SEGMENTS);
	if (popped <= 0)
		return 0;
	for (int i = 0; i < popped; i++)
		if (elements[i].readable)
			rte_prefetch0(elements[i].segments[0].iov_base);
	spare = mbufs_get(pool, mbufs, (unsigned)popped);
	for (int i = 0; i < popped; i++) {
		if (spare == 0) {
			drops->no_buffer++;
			continue;
		}
		struct rte_mbuf *m = mbufs[--spare];
		if (frame_take(&elements[i], features, header_bytes, pool, m, drops))
			packets[taken++] = m;
		else
			rte_pktmbuf_free(m);
	}
	rte_pktmbuf_free_bulk(mbufs, spare);
	virtqueue_push(queue, elements, written, (unsigned)popped);
	return taken;
}

unsigned virtio_net_rx(struct virtqueue *queue, struct rte_mempool *pool, struct rte_mbuf **packets, unsigned max,
		       struct virtio_net_rx_drops *drops)
{
	unsigned total = 0, looked_at = 0;
	int popped = RX_BURST;

	/* Not by the frames among them: a guest could offer nothing but bad ones, as fast as we look at them. */
	while (popped == RX_BURST && looked_at < max) {
		unsigned wanted = max - looked_at < RX_BURST ? max - looked_at : RX_BURST;
		total += rx_burst(queue, pool, packets + total, wanted, drops, &popped);
		looked_at += wanted;
	}
	return total;
}
