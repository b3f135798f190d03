/* SPDX-License-Identifier: BSD-3-Clause */
/* A port's configuration, start and stop, link, statistics. A port is open at dpud from start to stop. */
#include "driver.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <rte_log.h>

RTE_LOG_REGISTER(softdpu_logtype, pmd.net.softdpu, NOTICE);
#define LOG(level_, fmt_, ...)                                                                                         \
	rte_log(RTE_LOG_##level_, softdpu_logtype, "net_softdpu: %s: " fmt_ "\n", port->dev->data->name, __VA_ARGS__)

/* ---- link ---- */

static bool set_link(struct rte_eth_dev *dev, bool up)
{
	struct rte_eth_link link = {
		.link_speed = RTE_ETH_SPEED_NUM_100G,
		.link_duplex = RTE_ETH_LINK_FULL_DUPLEX,
		.link_status = up ? RTE_ETH_LINK_UP : RTE_ETH_LINK_DOWN,
		.link_autoneg = RTE_ETH_LINK_FIXED,
	};

	return rte_eth_linkstatus_set(dev, &link) == 0;
}

static void tell_link(struct driver_port *port, bool up)
{
	if (set_link(port->dev, up))
		rte_eth_dev_callback_process(port->dev, RTE_ETH_EVENT_INTR_LSC, NULL);
}

static void on_lost(struct hub_port *in_hub)
{
	tell_link((struct driver_port *)in_hub, false);
}

/* What was opened at the former dpud is worth nothing: who uses the port starts it anew. */
static void on_back(struct hub_port *in_hub)
{
	struct driver_port *port = (struct driver_port *)in_hub;

	if (port->started)
		rte_eth_dev_callback_process(port->dev, RTE_ETH_EVENT_INTR_RESET, NULL);
}

static void on_changed(struct hub_port *in_hub, const struct eswitch_port_info *info)
{
	struct driver_port *port = (struct driver_port *)in_hub;

	tell_link(port, info->link_up && port->started);
}

static void on_gone(struct hub_port *in_hub)
{
	struct driver_port *port = (struct driver_port *)in_hub;

	in_hub->number = -1;
	tell_link(port, false);
	rte_eth_dev_callback_process(port->dev, RTE_ETH_EVENT_INTR_RMV, NULL);
}

void driver_port_callbacks(struct driver_port *port)
{
	port->in_hub.lost = on_lost;
	port->in_hub.back = on_back;
	port->in_hub.changed = on_changed;
	port->in_hub.gone = on_gone;
}

/* ---- life ---- */

static int dev_configure(struct rte_eth_dev *dev)
{
	return 0;
}

static void queue_start(struct driver_port *port, struct driver_queue *queue, unsigned index, bool rx)
{
	uint32_t pairs = port->open.queue_pairs, ring = rx ? index : pairs + index;

	eswitch_ring_end_init(&queue->end, port->open.region, 2 * pairs, ring, port->open.slots, !rx);
	queue->port = port;
	queue->wake_fd = port->open.wake_fds[ring];
}

static int dev_start(struct rte_eth_dev *dev)
{
	struct driver_port *port = driver_port(dev);
	unsigned pairs = RTE_MAX(dev->data->nb_rx_queues, dev->data->nb_tx_queues);
	uint64_t takes = dev->data->dev_conf.rxmode.offloads & RTE_ETH_RX_OFFLOAD_TCP_LRO
				 ? ESWITCH_PACKET_CSUM | ESWITCH_PACKET_TSO4 | ESWITCH_PACKET_TSO6
				 : 0;
	char sentence[LINK_SENTENCE_BYTES] = "";
	int status = link_open_port(port->hub->link, port->representor, RTE_MAX(pairs, 1u),
				    RTE_MAX(dev->data->nb_rx_queues, 1u), port->slots, takes, &port->open, sentence);

	if (status < 0) {
		LOG(ERR, "%s", sentence);
		return status;
	}
	for (unsigned i = 0; i < dev->data->nb_rx_queues; i++)
		queue_start(port, &port->rx[i], i, true);
	for (unsigned i = 0; i < dev->data->nb_tx_queues; i++)
		queue_start(port, &port->tx[i], i, false);
	port->in_hub.number = (int32_t)port->open.info.number;
	port->started = true;
	set_link(dev, port->open.info.link_up);
	rules_retry(port->hub->rules);
	return 0;
}

static int dev_stop(struct rte_eth_dev *dev)
{
	struct driver_port *port = driver_port(dev);

	port->started = false;
	set_link(dev, false);
	if (port->in_hub.number >= 0)
		rules_suspend(port->hub->rules, (uint16_t)port->in_hub.number);
	link_close_port(port->hub->link, &port->open);
	return 0;
}

static int dev_close(struct rte_eth_dev *dev)
{
	struct driver_port *port = driver_port(dev);

	if (port->started)
		dev_stop(dev);
	driver_flow_close(port);
	hub_remove(port->hub, &port->in_hub);
	hub_put(port->hub);
	dev->data->mac_addrs = NULL; /* within dev_private, which ethdev frees */
	return 0;
}

static int dev_reset(struct rte_eth_dev *dev)
{
	return 0; /* it was stopped; the start opens it anew */
}

static int dev_infos_get(struct rte_eth_dev *dev, struct rte_eth_dev_info *info)
{
	struct driver_port *port = driver_port(dev);

	info->max_mac_addrs = 1;
	info->max_rx_pktlen = ESWITCH_MAX_FRAME_BYTES;
	info->min_rx_bufsize = 64;
	info->min_mtu = RTE_ETHER_MIN_MTU;
	info->max_mtu = 9600;
	info->max_rx_queues = info->max_tx_queues = port->max_queues;
	info->rx_offload_capa = driver_rx_offloads;
	info->tx_offload_capa = driver_tx_offloads;
	info->tx_queue_offload_capa = 0;
	info->flow_type_rss_offloads = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;
	info->hash_key_size = 40;
	info->reta_size = 0;
	info->speed_capa = RTE_ETH_LINK_SPEED_100G;
	info->max_lro_pkt_size = ESWITCH_MAX_FRAME_BYTES;
	info->default_rxportconf = (struct rte_eth_dev_portconf){ 64, 1, port->slots };
	info->default_txportconf = info->default_rxportconf;
	info->rx_desc_lim = (struct rte_eth_desc_lim){ .nb_max = 32768, .nb_min = 64, .nb_align = 1 };
	info->tx_desc_lim = info->rx_desc_lim;
	info->switch_info.name = dev->device->driver->name;
	info->switch_info.domain_id = port->hub->domain;
	info->switch_info.port_id = (uint16_t)port->in_hub.number;
	info->dev_capa |= RTE_ETH_DEV_CAPA_FLOW_RULE_KEEP;
	return 0;
}

static int rx_queue_setup(struct rte_eth_dev *dev, uint16_t index, uint16_t descriptors, unsigned socket,
			  const struct rte_eth_rxconf *conf, struct rte_mempool *pool)
{
	struct driver_queue *queue = &driver_port(dev)->rx[index];

	*queue = (struct driver_queue){ .pool = pool, .port = driver_port(dev), .offloads = conf->offloads };
	dev->data->rx_queues[index] = queue;
	return 0;
}

static int tx_queue_setup(struct rte_eth_dev *dev, uint16_t index, uint16_t descriptors, unsigned socket,
			  const struct rte_eth_txconf *conf)
{
	struct driver_queue *queue = &driver_port(dev)->tx[index];

	*queue = (struct driver_queue){ .port = driver_port(dev) };
	dev->data->tx_queues[index] = queue;
	return 0;
}

/* ---- what is asked and set ---- */

static int link_update(struct rte_eth_dev *dev, int wait)
{
	return 0; /* dpud tells */
}

static int nothing_to_do(struct rte_eth_dev *dev)
{
	return 0; /* every frame that no rule decides about comes up */
}

static int mtu_set(struct rte_eth_dev *dev, uint16_t mtu)
{
	return 0; /* frames of any length pass the rings; the member's MTU is dpud's to keep */
}

static int mac_set(struct rte_eth_dev *dev, struct rte_ether_addr *address)
{
	return 0; /* ethdev keeps it; the rings do not look at addresses */
}

static int stats_get(struct rte_eth_dev *dev, struct rte_eth_stats *stats)
{
	const struct driver_port *port = driver_port(dev);

	for (unsigned i = 0; i < dev->data->nb_rx_queues; i++) {
		stats->ipackets += port->rx[i].packets;
		stats->ibytes += port->rx[i].bytes;
		stats->ierrors += port->rx[i].end.faults;
		stats->rx_nombuf += port->rx[i].end.no_buffer;
	}
	for (unsigned i = 0; i < dev->data->nb_tx_queues; i++) {
		stats->opackets += port->tx[i].packets;
		stats->obytes += port->tx[i].bytes;
		stats->oerrors += port->tx[i].dropped;
	}
	return 0;
}

static int stats_reset(struct rte_eth_dev *dev)
{
	struct driver_port *port = driver_port(dev);

	for (unsigned i = 0; i < ESWITCH_MAX_QUEUES; i++) {
		port->rx[i].packets = port->rx[i].bytes = port->rx[i].end.faults = port->rx[i].end.no_buffer = 0;
		port->tx[i].packets = port->tx[i].bytes = port->tx[i].dropped = 0;
	}
	return 0;
}

static int metadata_negotiate(struct rte_eth_dev *dev, uint64_t *features)
{
	*features &= RTE_ETH_RX_METADATA_USER_MARK;
	return 0;
}

const struct eth_dev_ops driver_ethdev_ops = {
	.dev_configure = dev_configure,
	.dev_start = dev_start,
	.dev_stop = dev_stop,
	.dev_close = dev_close,
	.dev_reset = dev_reset,
	.dev_infos_get = dev_infos_get,
	.rx_queue_setup = rx_queue_setup,
	.tx_queue_setup = tx_queue_setup,
	.link_update = link_update,
	.promiscuous_enable = nothing_to_do,
	.promiscuous_disable = nothing_to_do,
	.allmulticast_enable = nothing_to_do,
	.allmulticast_disable = nothing_to_do,
	.mac_addr_set = mac_set,
	.mtu_set = mtu_set,
	.stats_get = stats_get,
	.stats_reset = stats_reset,
	.rx_metadata_negotiate = metadata_negotiate,
	.flow_ops_get = driver_flow_ops,
};
