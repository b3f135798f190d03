/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernel's virtio-net header (linux/virtio_net.h, as TAP and AF_PACKET put it before a frame) as mbuf offload
 * flags, and back. Partial checksums and TSO frames are carried, not completed. */
#pragma once

#include <stdbool.h>
#include <linux/virtio_net.h>
#include <rte_mbuf.h>

/* What these ports take over as it is: port.tx_offloads, port.tx_tunnel_offloads. */
#define VNET_TX_OFFLOADS                                                                                               \
	(RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_TCP_SEG |          \
	 RTE_MBUF_F_TX_UDP_SEG)
#define VNET_TX_TUNNEL_OFFLOADS                                                                                        \
	(RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_OUTER_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_UDP_CKSUM)

/* Sets the flags and lengths of a frame just received. A checksum request that mbuf flags cannot express is carried
 * out. False when the header contradicts the frame, which then must be dropped. */
bool vnet_to_mbuf(const struct virtio_net_hdr *header, struct rte_mbuf *m);

/* Fills the header for a frame to be sent and brings the checksum fields of the packet's headers into the state that
 * the kernel expects. False when the requests contradict the frame or are none of the above. */
bool vnet_from_mbuf(struct rte_mbuf *m, struct virtio_net_hdr *ret_header);
