/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames to the guest: receive buffers are taken from the ring as frames need them, several to a frame where the guest
 * merges buffers, and those that were too many are put back. */
#include <errno.h>
#include <linux/virtio_config.h>
#include <rte_branch_prediction.h>
#include <rte_memcpy.h>
#include <rte_prefetch.h>
#include "device/virtio/virtio_net_priv.h"

enum {
	WINDOW = 256,  /* one frame may span so many buffers: 64 KiB in buffers of 256 bytes */
	BAD_MAX = 256, /* in a call: a guest could offer nothing else, as fast as we return them */
};

/* Buffers taken from the ring: [0, filled) hold frames, [filled, popped) are spare. */
struct window {
	struct virtqueue *queue;
	unsigned filled, popped, segments;
	unsigned bad; /* buffers that were returned empty */
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

/* A buffer that cannot take anything goes back as it is, and those before it that have too little room for a frame with
 * it: a frame's buffers must follow each other in the ring. */
static void window_waste(struct window *window)
{
	while (window->filled < window->popped)
		window->written[window->filled++] = 0;
	window->bad++;
}

static bool is_bad(const struct virtq_element *element)
{
	return element->fault || element->readable || !element->writable;
}

/* Takes up to wanted more: how many, or -ENOBUFS when there are none, or no room. 0: the next one is bad, and was taken
 * alone. */
static int window_refill(struct window *window, unsigned wanted)
{
	struct virtq_element *first = &window->elements[window->popped];
	unsigned room = WINDOW - window->popped, good = 0, taken;
	int n = 0;

	if (room)
		n = virtqueue_pop(window->queue, first, wanted < room ? wanted : room, window->iov + window->segments,
				  VIRTQ_MAX_SEGMENTS - window->segments);
	if (n <= 0)
		return -ENOBUFS;
	for (; good < (unsigned)n && likely(!is_bad(&first[good])); good++) {
		rte_prefetch0(first[good].segments[0].iov_base);
		window->segments += first[good].writable;
	}
	taken = good;
	if (unlikely(good == 0)) {
		taken = 1;
		window->segments += first->readable + first->writable;
	}
	if (unlikely(taken < (unsigned)n))
		virtqueue_unpop(window->queue, first + taken, (unsigned)n - taken);
	window->popped += taken;
	return (int)good;
}

/* How many of the spare buffers hold total bytes, refilling as needed; 0 when there are not enough, with what they
 * hold in *ret_have. */
static unsigned buffers_for(struct window *window, uint32_t total, unsigned wanted, uint64_t *ret_have)
{
	unsigned n = 0;
	uint64_t have = 0;

	while (have < total) {
		int more = window->filled + n == window->popped ? window_refill(window, wanted) : 1;
		if (more < 0)
			break;
		if (unlikely(more == 0)) {
			window_waste(window);
			n = 0;
			have = 0;
			if (window->bad == BAD_MAX)
				break;
			continue;
		}
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
	window.filled = window.popped = window.segments = window.bad = 0;
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
		} else if (window.filled && window.bad < BAD_MAX && !virtqueue_broken(queue)) {
			/* Perhaps the window was full: again with an empty one. */
			window_flush(&window);
			continue;
		} else {
			break;
		}
		sent++;
	}
	window_flush(&window);
	ret->bad_buffers += window.bad;
	rte_pktmbuf_free_bulk(packets, sent);
	return sent;
}
