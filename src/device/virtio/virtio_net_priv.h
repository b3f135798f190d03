/* SPDX-License-Identifier: BSD-3-Clause */
/* Between the files of virtio-net. */
#pragma once

#include <stdbool.h>
#include <linux/virtio_net.h>
#include "device/virtio/virtio_net.h"
#include "device/virtio/virtio_net_header.h"

/* Bytes of header: 10 for legacy drivers without mergeable buffers. */
static inline unsigned virtio_net_header_bytes(uint64_t features)
{
	bool modern = features & (VIRTIO_NET_BIT(VIRTIO_F_VERSION_1) | VIRTIO_NET_BIT(VIRTIO_NET_F_MRG_RXBUF));
	return modern ? sizeof(struct virtio_net_hdr_mrg_rxbuf) : sizeof(struct virtio_net_hdr);
}
