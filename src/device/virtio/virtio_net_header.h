/* SPDX-License-Identifier: BSD-3-Clause */
/* The header that virtio-net puts before a frame (virtio 1.2, 5.1.6), as mbuf offload requests and back. Guests use it,
 * and the kernel for TAP and AF_PACKET (linux/virtio_net.h). Partial checksums and segmentation are carried on, not
 * carried out. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <linux/virtio_net.h>
#include <rte_mbuf.h>

/* Not in Debian 12's header. */
enum {
	VIRTIO_NET_F_GUEST_USO4_BIT = 54,
	VIRTIO_NET_F_GUEST_USO6_BIT = 55,
	VIRTIO_NET_F_HOST_USO_BIT = 56,
	VIRTIO_NET_GSO_UDP_L4 = 5,
};

#define VIRTIO_NET_BIT(n) (UINT64_C(1) << (n))
/* No feature of virtio's: requests about a packet inside VXLAN or Geneve, as the kernel makes them on an underlay, are
 * carried on as well. Without it their checksums are completed. */
#define VIRTIO_NET_HEADER_TUNNELS (UINT64_C(1) << 63)

/* A header that asks for something, checked against the frame in m: sets flags and lengths, or completes a checksum
 * that mbuf flags have no words for. False when it contradicts the frame or uses what is not among the negotiated
 * features; what was set then is of no use. */
bool virtio_net_header_apply(struct rte_mbuf *m, const struct virtio_net_hdr *header, uint64_t features);
/* The header for a frame with offload requests; fills in the sums that the receiver expects to find in the frame. False
 * when the requests contradict the frame, or ask for segmentation in a tunnel, which the header has no words for. */
bool virtio_net_header_make(struct rte_mbuf *m, uint64_t features, struct virtio_net_hdr *ret);
