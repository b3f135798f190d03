/* SPDX-License-Identifier: BSD-3-Clause */
/* A representor as an ethdev: what the driver's files share. */
#pragma once

#include <ethdev_driver.h>
#include "dpu/eswitch_ring.h"
#include "hub.h"

enum { DRIVER_SLOTS_DEFAULT = 1024, DRIVER_BURST = 64 };

struct driver_queue {
	struct eswitch_ring_end end;
	int wake_fd; /* tx: dpud's */
	struct driver_port *port;
	struct rte_mempool *pool; /* rx */
	uint64_t offloads;        /* rx: RTE_ETH_RX_OFFLOAD_* */
	uint64_t packets, bytes;
	uint64_t dropped; /* tx: frames that can never be sent */
};

struct driver_port {
	struct hub_port in_hub; /* first */
	struct hub *hub;
	struct rte_eth_dev *dev;
	char representor[ESWITCH_NAME_BYTES]; /* "" = the trunk */
	uint32_t slots;
	uint16_t max_queues;
	struct rte_ether_addr mac;
	struct link_port open; /* while started */
	bool started;
	struct driver_queue rx[ESWITCH_MAX_QUEUES], tx[ESWITCH_MAX_QUEUES];
};

static inline struct driver_port *driver_port(const struct rte_eth_dev *dev)
{
	return dev->data->dev_private;
}

/* ethdev.c */
extern const struct eth_dev_ops driver_ethdev_ops;
void driver_port_callbacks(struct driver_port *port);

/* packets.c */
uint16_t driver_rx_burst(void *queue, struct rte_mbuf **packets, uint16_t count);
uint16_t driver_tx_burst(void *queue, struct rte_mbuf **packets, uint16_t count);
uint16_t driver_tx_prepare(void *queue, struct rte_mbuf **packets, uint16_t count);
extern const uint64_t driver_rx_offloads, driver_tx_offloads;

/* flow.c */
int driver_flow_ops(struct rte_eth_dev *dev, const struct rte_flow_ops **ret);
void driver_flow_close(struct driver_port *port); /* its flows go */
