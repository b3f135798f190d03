/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net data queues: guest frames to mbufs and back (virtio 1.2, 5.1), with mergeable buffers, checksum and
 * segmentation offload carried as DPDK's mbuf flags. One copy each way. */
#pragma once

#include <rte_mbuf.h>
#include "device/virtio/virtqueue.h"

/* Device features a virtio-net endpoint offers, offloads included. */
uint64_t virtio_net_features(void);

struct virtio_net_rx_drops {
	uint32_t bad_header, too_long, no_buffer;
};

/* Takes up to max frames that the guest transmits. Each becomes an mbuf chain from pool with ol_flags and lengths set
 * from its virtio_net_hdr (checked against the frame). Bad frames are returned to the guest and counted. Returns
 * frames. */
unsigned virtio_net_rx(struct virtqueue *queue, struct rte_mempool *pool, struct rte_mbuf **packets, unsigned max,
		       struct virtio_net_rx_drops *drops);
/* Gives frames to the guest; returns how many (from the front) were taken, and frees those. Checksum and TSO requests
 * are passed on when the guest accepts them; the caller completes them first otherwise (virtio_net_tx_offloads()).
 * ret_too_long counts frames, also freed, for which the guest will never give enough buffers. */
unsigned virtio_net_tx(struct virtqueue *queue, struct rte_mbuf **packets, unsigned count, unsigned *ret_too_long);
/* RTE_MBUF_F_TX_* flags that may be left to the guest of this queue. */
uint64_t virtio_net_tx_offloads(const struct virtqueue *queue);
