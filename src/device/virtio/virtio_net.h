/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net data queues: guest frames to mbufs and back (virtio 1.2, 5.1), with mergeable buffers, checksum and
 * segmentation offload carried as DPDK's mbuf flags. One copy each way. All in the worker that has the queue; the
 * caller interrupts the guest (virtqueue_notify) after a burst. */
#pragma once

#include <rte_mbuf.h>
#include "device/virtio/virtqueue.h"

enum {
	VIRTIO_NET_HEADROOM = 256,              /* of a frame's first mbuf, if its data room is large enough for it */
	VIRTIO_NET_MAX_FRAME = 65535 + 40 + 22, /* largest IPv6 packet, Ethernet, two VLAN tags */
};

/* Device features a virtio-net endpoint offers, offloads included. */
uint64_t virtio_net_features(void);

struct virtio_net_rx_drops {
	uint32_t bad_descriptor; /* its descriptors make no sense (enum virtq_fault) */
	uint32_t bad_header; /* the virtio_net_hdr contradicts the frame, or there is no room for an Ethernet header */
	uint32_t too_long;   /* more than VIRTIO_NET_MAX_FRAME */
	uint32_t no_buffer;
};

/* Takes up to max frames that the guest transmits. Each becomes an mbuf chain from pool with ol_flags and lengths set
 * from its virtio_net_hdr, as a request to whoever sends it on: RTE_MBUF_F_TX_TCP_CKSUM, UDP_CKSUM, TCP_SEG, UDP_SEG
 * with IPV4 or IPV6, l2_len (Ethernet and VLAN tags), l3_len (IPv6 extension headers included), l4_len, tso_segsz. A
 * checksum request for another protocol is completed here. Frames whose header contradicts them are returned to the
 * guest and counted; they are among the max that are looked at. Returns frames; a return of less than max, or even 0,
 * does not mean that the queue is empty. */
unsigned virtio_net_rx(struct virtqueue *queue, struct rte_mempool *pool, struct rte_mbuf **packets, unsigned max,
		       struct virtio_net_rx_drops *drops);
/* Gives frames to the guest; returns how many (from the front) were taken, and frees those. Checksum and TSO requests
 * are passed on when the guest accepts them; the caller completes them first otherwise (virtio_net_tx_offloads()). The
 * pseudo-header sum, and an IPv4 header checksum that is requested, are filled in here. */
struct virtio_net_tx_result {
	uint64_t bytes;       /* of frames given to the guest */
	uint32_t too_long;    /* frames, also freed and returned as taken, that the guest will never give room for */
	uint32_t bad_buffers; /* of the guest, returned empty: with a fault, or not writable */
};
unsigned virtio_net_tx(struct virtqueue *queue, struct rte_mbuf **packets, unsigned count,
		       struct virtio_net_tx_result *ret);
/* RTE_MBUF_F_TX_* flags that may be left to the guest of this queue. */
uint64_t virtio_net_tx_offloads(const struct virtqueue *queue);
