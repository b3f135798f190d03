/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames to the guest: receive buffers are taken from the ring as frames need them, several to a frame where the guest
 * merges buffers, and those that were too many are put back. */
#include <linux/virtio_config.h>
#include <rte_memcpy.h>
#include <rte_prefetch.h>
#include "device/virtio/virtio_net_priv.h"
#include "device/virtio/virtqueue_priv.h"

/* One frame may span so many buffers: 64 KiB in buffers of 256 bytes. */
enum { WINDOW = 256 };

/* Buffers taken from the ring: [0, filled) hold frames, [filled, popped) are spare. */
struct window {
	struct virtqueue *queue;
	unsigned filled, popped, segments;
	unsigned header_bytes;
	bool merge;
	struct virtq_element elements[WINDOW];
	uint32_t written[WINDOW];
	struct iovec iov[VIRTQ_MAX_SEGMENTS];
};

/* Gives the filled buffers to the guest and puts the others back. */
static void window_flush(struct window *window)
{
	virtqueue_unpop(window->queue, window->elements + window->filled, window->popped - window->filled);
	virtqueue_push(window->queue, window->elements, window->written, window->filled);
	window->filled = window->popped = window->segments = 0;
}

/* Takes up to wanted more; false when there are none, or no room. */
static bool window_refill(struct window *window, unsigned wanted)
{
	struct virtq_element *first = &window->elements[window->popped];
	unsigned room = WINDOW - window->popped;
	int n = 0;

	if (room)
		n = virtqueue_pop(window->queue, first, wanted < room ? wanted : room, window->iov + window->segments,
				  VIRTQ_MAX_SEGMENTS - window->segments);
	if (n <= 0)
		return false;
	for (int i = 0; i < n; i++) {
		if (first[i].readable || !first[i].writable) {
			virtqueue_break(window->queue, "a receive buffer that is not writable");
			return false;
		}
		rte_prefetch0(first[i].segments[0].iov_base);
		window->segments += first[i].writable;
	}
	window->popped += (unsigned)n;
	return true;
}

/* How many of the spare buffers hold total bytes, refilling as needed; 0 when there are not enough, with what they
 * hold in *ret_have. */
static unsigned buffers_for(struct window *window, uint32_t total, unsigned wanted, uint64_t *ret_have)
{
	unsigned n = 0;
	uint64_t have = 0;

	while (have < total) {
		if (window->filled + n == window->popped && !window_refill(window, wanted))
			break;
		have += window->elements[window->filled + n].writable_bytes;
		n++;
		if (!window->merge)
			break;
	}
	*ret_have = have;
	return have < total ? 0 : n;
}

/* Where the copy into consecutive elements stands. */
struct sink {
	struct virtq_element *element;
	uint32_t *written;
	struct iovec *segment;
	size_t offset;
};

static void sink_write(struct sink *sink, const void *from, uint32_t length)
{
	const uint8_t *at = from;

	while (length) {
		size_t here = sink->segment->iov_len - sink->offset;
		if (here == 0) {
			sink->offset = 0;
			if (++sink->segment < sink->element->segments + sink->element->writable)
				continue;
			sink->element++;
			sink->written++;
			*sink->written = 0;
			sink->segment = sink->element->segments;
			continue;
		}
		here = here < length ? here : length;
		rte_memcpy((uint8_t *)sink->segment->iov_base + sink->offset, at, here);
		sink->offset += here;
		*sink->written += (uint32_t)here;
		at += here;
		length -= (uint32_t)here;
	}
}

static void frame_give(struct window *window, struct rte_mbuf *m, unsigned buffers, uint64_t features)
{
	struct sink sink = { .element = &window->elements[window->filled],
			     .written = &window->written[window->filled],
			     .segment = window->elements[window->filled].segments };
	struct virtio_net_hdr_mrg_rxbuf header;

	/* One whose requests are nonsense goes as it is. */
	if (!(m->ol_flags &
	      (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG | RTE_MBUF_F_TX_IP_CKSUM)) ||
	    !virtio_net_header_make(m, features, &header.hdr))
		header.hdr = (struct virtio_net_hdr){ 0 };
	header.num_buffers = (uint16_t)buffers;
	*sink.written = 0;
	sink_write(&sink, &header, window->header_bytes);
	for (const struct rte_mbuf *segment = m; segment; segment = segment->next)
		sink_write(&sink, rte_pktmbuf_mtod(segment, const void *), segment->data_len);
	window->filled += buffers;
}

/* No frame of this size will ever fit: the guest has given all it can. */
static bool never_fits(const struct window *window, uint64_t have)
{
	uint32_t slots = 0;

	if (!window->merge)
		return have > 0;
	for (unsigned i = window->filled; i < window->popped; i++)
		slots += window->elements[i].descriptors;
	return window->filled == 0 && (window->popped == WINDOW || slots == virtqueue_size(window->queue) ||
				       window->segments == VIRTQ_MAX_SEGMENTS);
}

unsigned virtio_net_tx(struct virtqueue *queue, struct rte_mbuf **packets, unsigned count,
		       struct virtio_net_tx_result *ret)
{
	uint64_t features = virtqueue_features(queue), have;
	struct window window;
	unsigned sent = 0;

	window.queue = queue;
	window.filled = window.popped = window.segments = 0;
	window.header_bytes = virtio_net_header_bytes(features);
	window.merge = features & VIRTIO_NET_BIT(VIRTIO_NET_F_MRG_RXBUF);
	while (sent < count) {
		struct rte_mbuf *m = packets[sent];
		unsigned n = buffers_for(&window, m->pkt_len + window.header_bytes, count - sent, &have);
		if (n) {
			frame_give(&window, m, n, features);
			ret->bytes += m->pkt_len;
		} else if (never_fits(&window, have)) {
			ret->too_long++;
		} else if (window.filled && !virtqueue_broken(queue)) {
			/* Perhaps the window was full: again with an empty one. */
			window_flush(&window);
			continue;
		} else {
			break;
		}
		sent++;
	}
	window_flush(&window);
	rte_pktmbuf_free_bulk(packets, sent);
	return sent;
}
