/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernel's virtio-net header, as TAP and AF_PACKET put it before a frame: what these ports take over of it. The
 * rest is virtio_net_header.h. */
#pragma once

#include "device/packet/path.h"
#include "device/virtio/virtio_net_header.h"

/* port.tx_offloads, port.tx_tunnel_offloads. */
#define VNET_TX_OFFLOADS                                                                                               \
	(RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_TCP_SEG |          \
	 RTE_MBUF_F_TX_UDP_SEG)
#define VNET_TX_TUNNEL_OFFLOADS                                                                                        \
	(RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_OUTER_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_UDP_CKSUM)

#define VNET_FEATURES                                                                                                  \
	(VIRTIO_NET_BIT(VIRTIO_NET_F_CSUM) | VIRTIO_NET_BIT(VIRTIO_NET_F_HOST_TSO4) |                                  \
	 VIRTIO_NET_BIT(VIRTIO_NET_F_HOST_TSO6) | VIRTIO_NET_BIT(VIRTIO_NET_F_HOST_USO_BIT) |                          \
	 VIRTIO_NET_BIT(VIRTIO_NET_F_GUEST_ECN))

/* A header that is not all zero, of a frame received at interface iface. Tunnels that arrive at an uplink are ours to
 * end; those that a tenant builds within its own are only its packets' contents, so their checksums are completed. */
static inline bool vnet_to_mbuf(const struct virtio_net_hdr *header, struct rte_mbuf *m, uint16_t iface)
{
	uint64_t tunnels = iface < PATH_FIRST_VNIC ? VIRTIO_NET_HEADER_TUNNELS : 0;

	if (header->flags & VIRTIO_NET_HDR_F_DATA_VALID)
		m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	return virtio_net_header_apply(m, header, VNET_FEATURES | tunnels);
}

/* The header of a frame to be sent; false when its requests contradict it. */
static inline bool vnet_from_mbuf(struct rte_mbuf *m, struct virtio_net_hdr *ret)
{
	if (!virtio_net_header_make(m, VNET_FEATURES, ret))
		return false;
	if (!(m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK) &&
	    (m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD)
		ret->flags = VIRTIO_NET_HDR_F_DATA_VALID;
	return true;
}
