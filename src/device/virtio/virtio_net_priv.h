/* SPDX-License-Identifier: BSD-3-Clause */
/* Between the files of virtio-net: the header in front of each frame, to and from mbuf flags. */
#pragma once

#include <stdbool.h>
#include <linux/virtio_net.h>
#include "device/virtio/virtio_net.h"

/* Not in Debian 12's header. */
enum {
	VIRTIO_NET_F_GUEST_USO4_BIT = 54,
	VIRTIO_NET_F_GUEST_USO6_BIT = 55,
	VIRTIO_NET_F_HOST_USO_BIT = 56,
	VIRTIO_NET_GSO_UDP_L4 = 5,
};

#define VIRTIO_NET_BIT(n) (UINT64_C(1) << (n))

/* Bytes of header: 10 for legacy drivers without mergeable buffers. */
static inline unsigned virtio_net_header_bytes(uint64_t features)
{
	bool modern = features & (VIRTIO_NET_BIT(VIRTIO_F_VERSION_1) | VIRTIO_NET_BIT(VIRTIO_NET_F_MRG_RXBUF));
	return modern ? sizeof(struct virtio_net_hdr_mrg_rxbuf) : sizeof(struct virtio_net_hdr);
}

/* A header that asks for something, checked against the frame in m: sets flags and lengths, or completes the checksum.
 * False when it contradicts the frame or uses what was not negotiated. */
bool virtio_net_header_apply(struct rte_mbuf *m, const struct virtio_net_hdr *header, uint64_t features);
/* The header for a frame with offload requests; fills in the sums that the guest expects to find in the frame. */
void virtio_net_header_make(struct rte_mbuf *m, uint64_t features, struct virtio_net_hdr *ret);
