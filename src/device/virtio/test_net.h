/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest with a network device, for tests of its queues: sends and receives frames in buffers of any shape. */
#pragma once

#include <linux/virtio_config.h>
#include <rte_mbuf.h>
#include "device/virtio/test_device.h"
#include "device/virtio/virtio_net.h"
#include "device/virtio/virtio_net_priv.h"

#define MODERN (VHOST_BIT(32) | VHOST_BIT(30))
#define PACKED (MODERN | VHOST_BIT(34))
#define MERGE  VHOST_BIT(VIRTIO_NET_F_MRG_RXBUF)
#define OFFLOAD                                                                                                        \
	(VHOST_BIT(VIRTIO_NET_F_CSUM) | VHOST_BIT(VIRTIO_NET_F_GUEST_CSUM) | VHOST_BIT(VIRTIO_NET_F_HOST_TSO4) |       \
	 VHOST_BIT(VIRTIO_NET_F_HOST_TSO6) | VHOST_BIT(VIRTIO_NET_F_GUEST_TSO4) | VHOST_BIT(VIRTIO_NET_F_GUEST_TSO6) | \
	 VHOST_BIT(VIRTIO_NET_F_GUEST_ECN) | VHOST_BIT(VIRTIO_NET_F_HOST_ECN) | VHOST_BIT(VIRTIO_NET_F_HOST_USO_BIT))

enum { RX = 0, TX = 1 }; /* as the guest calls them */

extern struct rte_mempool *test_net_pool;

struct test_net {
	struct test_device device;
	struct frontend guest;
	struct frontend_queue *rx, *tx;
	unsigned header; /* bytes */
};

void test_net_up(struct test_net *net, uint64_t features, unsigned size);
void test_net_down(struct test_net *net); /* no buffer may be in use */

void test_net_fill(uint8_t *bytes, uint32_t length, unsigned seed);
/* The guest sends a frame; header and frame cut into pieces of the given size. */
void test_net_send(struct test_net *net, const struct virtio_net_hdr *header, const uint8_t *frame, uint32_t length,
		   uint32_t piece, bool indirect);
/* What the device has taken holds just this. */
void test_net_assert_frame(struct rte_mbuf *m, const uint8_t *frame, uint32_t length);
void test_net_reclaim(struct test_net *net, struct frontend_queue *queue, unsigned expected);

/* The guest gives n receive buffers of this size, each in so many descriptors. */
uint64_t test_net_receive(struct test_net *net, unsigned n, uint32_t bytes, unsigned pieces, bool indirect);
struct rte_mbuf *test_net_frame(const uint8_t *frame, uint32_t length);
/* Takes one frame from the guest's buffers, which lie one after the other. */
uint32_t test_net_take(struct test_net *net, uint64_t place, uint32_t bytes, unsigned *taken,
		       struct virtio_net_hdr_mrg_rxbuf *header, uint8_t *frame);
