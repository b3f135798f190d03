/* SPDX-License-Identifier: BSD-3-Clause */
/* A representor as an ethdev: what the driver's files share. */
#pragma once

#include <stdalign.h>
#include <ethdev_driver.h>
#include "dpu/eswitch_ring.h"
#include "hub.h"
#include "rings.h"

enum { DRIVER_SLOTS_DEFAULT = 1024, DRIVER_BURST = 64 };

/* Of a queue, ever growing; a reset moves the reader's base. */
struct driver_counts {
	uint64_t packets, bytes;
	uint64_t faults;    /* rx: frames that dpud has described wrongly; tx: frames that can never be sent */
	uint64_t no_buffer; /* rx */
};

/* Each has a thread of its own, and so lines of its own, in pairs as processors fetch them. */
struct driver_queue {
	alignas(2 * RTE_CACHE_LINE_SIZE) struct eswitch_ring_end end;
	struct rings_place place;
	int wake_fd; /* tx: dpud's; rx: what dpud wakes */
	uint16_t index;
	struct driver_port *port;
	struct rte_mempool *pool; /* rx */
	uint64_t packets, bytes;
	uint64_t dropped; /* tx: frames that can never be sent */
	struct driver_counts base;
	/* rx, where the application sleeps: what it waits for, which holds wake_fd and nudge_fd. Rings come and go,
	 * this one stays. */
	int sleep_fd, nudge_fd;
};

struct driver_port {
	struct hub_port in_hub; /* first */
	struct hub *hub;
	struct rte_eth_dev *dev;
	char representor[ESWITCH_NAME_BYTES]; /* "" = the trunk */
	uint32_t number;                      /* in_hub.number, also when the representor is gone */
	uint32_t slots;
	uint16_t max_queues;
	_Atomic uint16_t member_mtu;
	struct rte_ether_addr mac; /* the representor's, until the application sets one */
	struct rings rings;
	_Atomic bool running; /* started: what changes now the application has read already */
	_Atomic uint64_t openings;
	_Atomic unsigned events; /* that the application is to be told */
	int complaint;           /* why it could not be opened again, which has been said */
	struct driver_queue rx[ESWITCH_MAX_QUEUES], tx[ESWITCH_MAX_QUEUES];
};

static inline struct driver_port *driver_port(const struct rte_eth_dev *dev)
{
	return dev->data->dev_private;
}

extern int driver_logtype;
#define DRIVER_LOG(port_, level_, fmt_, ...)                                                                           \
	rte_log(RTE_LOG_##level_, driver_logtype, "net_softdpu: %s: " fmt_ "\n",                                       \
		(port_)->dev->data->name __VA_OPT__(, ) __VA_ARGS__)

/* ethdev.c */
extern const struct eth_dev_ops driver_ethdev_ops;
uint16_t driver_max_mtu(const struct driver_port *port);

/* events.c */
void driver_port_callbacks(struct driver_port *port);
void driver_tell_link(struct driver_port *port, bool up);
void driver_opened(void *port, const struct eswitch_port_info *info); /* rings.opened */
void driver_events_stop(struct driver_port *port);                    /* before the port is freed */

/* queues.c */
void driver_queue_move(struct driver_queue *queue, bool rx); /* to the present rings */
void driver_queues_start(struct rte_eth_dev *dev);
void driver_queues_stop(struct rte_eth_dev *dev);
void driver_queues_nudge(struct driver_port *port); /* those that sleep look for their rings */
void driver_queue_functions(struct rte_eth_dev *dev);
int driver_rx_queue_setup(struct rte_eth_dev *dev, uint16_t index, uint16_t descriptors, unsigned socket,
			  const struct rte_eth_rxconf *conf, struct rte_mempool *pool);
int driver_tx_queue_setup(struct rte_eth_dev *dev, uint16_t index, uint16_t descriptors, unsigned socket,
			  const struct rte_eth_txconf *conf);
void driver_rxq_info(struct rte_eth_dev *dev, uint16_t index, struct rte_eth_rxq_info *ret);
void driver_txq_info(struct rte_eth_dev *dev, uint16_t index, struct rte_eth_txq_info *ret);
int driver_sleep_setup(struct rte_eth_dev *dev);
void driver_sleep_end(struct rte_eth_dev *dev);
int driver_rx_intr_enable(struct rte_eth_dev *dev, uint16_t index);
int driver_rx_intr_disable(struct rte_eth_dev *dev, uint16_t index);

/* stats.c */
int driver_stats_get(struct rte_eth_dev *dev, struct rte_eth_stats *stats);
int driver_stats_reset(struct rte_eth_dev *dev);
int driver_xstats_get(struct rte_eth_dev *dev, struct rte_eth_xstat *ret, unsigned count);
int driver_xstats_names(struct rte_eth_dev *dev, struct rte_eth_xstat_name *ret, unsigned count);

/* packets.c */
uint16_t driver_rx_burst(void *queue, struct rte_mbuf **packets, uint16_t count);
uint16_t driver_tx_burst(void *queue, struct rte_mbuf **packets, uint16_t count);
uint16_t driver_tx_prepare(void *queue, struct rte_mbuf **packets, uint16_t count);
extern const uint64_t driver_rx_offloads, driver_tx_offloads;

/* flow.c */
int driver_flow_ops(struct rte_eth_dev *dev, const struct rte_flow_ops **ret);
void driver_flow_close(struct driver_port *port); /* its flows go */
