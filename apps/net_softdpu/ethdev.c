/* SPDX-License-Identifier: BSD-3-Clause */
/* A port's configuration, start and stop, and what is asked of it. A port is open at dpud from start to stop. */
#include "driver.h"

#include <stdio.h>

#define RSS_TYPES (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP)

/* ---- life ---- */

static int dev_configure(struct rte_eth_dev *dev)
{
	return 0;
}

static int dev_start(struct rte_eth_dev *dev)
{
	struct driver_port *port = driver_port(dev);
	unsigned pairs = RTE_MAX(dev->data->nb_rx_queues, dev->data->nb_tx_queues);
	const uint64_t uncut = ESWITCH_PACKET_CSUM | ESWITCH_PACKET_TSO4 | ESWITCH_PACKET_TSO6;
	const struct rings_wanted wanted = {
		.representor = port->representor,
		.number = port->number,
		.queue_pairs = RTE_MAX(pairs, 1u),
		.to_host = RTE_MAX(dev->data->nb_rx_queues, 1u),
		.slots = port->slots,
		.offloads = dev->data->dev_conf.rxmode.offloads & RTE_ETH_RX_OFFLOAD_TCP_LRO ? uncut : 0,
	};
	char sentence[LINK_SENTENCE_BYTES] = "";
	int status = driver_sleep_setup(dev);

	if (status < 0)
		return status;
	status = rings_start(&port->rings, &wanted, sentence);
	if (status < 0) {
		DRIVER_LOG(port, ERR, "%s", sentence);
		driver_sleep_end(dev);
		return status;
	}
	port->running = true;
	driver_queues_start(dev);
	rules_retry(port->hub->rules);
	return 0;
}

static int dev_stop(struct rte_eth_dev *dev)
{
	struct driver_port *port = driver_port(dev);

	port->running = false;
	rules_suspend(port->hub->rules, (uint16_t)port->number);
	driver_queues_stop(dev);
	rings_stop(&port->rings);
	driver_tell_link(port, false);
	driver_sleep_end(dev);
	return 0;
}

static int dev_close(struct rte_eth_dev *dev)
{
	struct driver_port *port = driver_port(dev);

	if (port->running)
		dev_stop(dev);
	hub_remove(port->hub, &port->in_hub);
	driver_events_stop(port);
	driver_flow_close(port);
	hub_put(port->hub);
	rings_fini(&port->rings);
	rte_intr_instance_free(dev->intr_handle);
	dev->intr_handle = NULL;
	dev->data->mac_addrs = NULL; /* within dev_private, which ethdev frees */
	return 0;
}

static int dev_reset(struct rte_eth_dev *dev)
{
	return 0; /* it was stopped; the start opens it anew */
}

uint16_t driver_max_mtu(const struct driver_port *port)
{
	return RTE_MAX(port->member_mtu, (uint16_t)RTE_ETHER_MTU);
}

static int dev_infos_get(struct rte_eth_dev *dev, struct rte_eth_dev_info *info)
{
	struct driver_port *port = driver_port(dev);

	info->max_mac_addrs = 1;
	info->min_rx_bufsize = 64;
	info->min_mtu = RTE_ETHER_MIN_MTU;
	info->max_mtu = driver_max_mtu(port);
	info->max_rx_pktlen = info->max_mtu + RTE_ETHER_HDR_LEN + 2 * RTE_VLAN_HLEN;
	info->max_rx_queues = info->max_tx_queues = port->max_queues;
	info->rx_offload_capa = driver_rx_offloads;
	info->tx_offload_capa = driver_tx_offloads;
	info->tx_queue_offload_capa = 0;
	info->flow_type_rss_offloads = RSS_TYPES;
	info->hash_key_size = 40;
	info->reta_size = 0;
	info->speed_capa = RTE_ETH_LINK_SPEED_100G;
	info->max_lro_pkt_size = ESWITCH_MAX_FRAME_BYTES;
	info->default_rxportconf = (struct rte_eth_dev_portconf){ .burst_size = DRIVER_BURST,
								  .ring_size = (uint16_t)port->slots,
								  .nb_queues = 1 };
	info->default_txportconf = info->default_rxportconf;
	info->rx_desc_lim = (struct rte_eth_desc_lim){
		.nb_max = 32768, .nb_min = 64, .nb_align = 1, .nb_seg_max = UINT16_MAX, .nb_mtu_seg_max = UINT16_MAX
	};
	info->tx_desc_lim = info->rx_desc_lim;
	info->switch_info.name = dev->device->driver->name;
	info->switch_info.domain_id = port->hub->domain;
	info->switch_info.port_id = (uint16_t)port->in_hub.number;
	info->dev_capa |= RTE_ETH_DEV_CAPA_FLOW_RULE_KEEP;
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

/* What the representor's member forwards: longer frames would be dropped there. Ethernet's own is always taken, since
 * applications begin with it. */
static int mtu_set(struct rte_eth_dev *dev, uint16_t mtu)
{
	const struct driver_port *port = driver_port(dev);

	if (mtu >= RTE_ETHER_MIN_MTU && mtu <= driver_max_mtu(port))
		return 0;
	DRIVER_LOG(port, ERR, "MTU %u: it must be from %d to %u, which is what is behind the representor", mtu,
		   RTE_ETHER_MIN_MTU, driver_max_mtu(port));
	return -EINVAL;
}

static int mac_set(struct rte_eth_dev *dev, struct rte_ether_addr *address)
{
	return 0; /* ethdev keeps it; the rings do not look at addresses */
}

static int multicast_set(struct rte_eth_dev *dev, struct rte_ether_addr *addresses, uint32_t count)
{
	return 0; /* as every frame, whatever is sent to */
}

/* The hash of the flow is dpud's; the number of queues is what the application decides. */
static int rss_update(struct rte_eth_dev *dev, struct rte_eth_rss_conf *conf)
{
	const struct driver_port *port = driver_port(dev);

	if (!conf->rss_key && (conf->rss_hf & RSS_TYPES) == RSS_TYPES)
		return 0;
	DRIVER_LOG(port, ERR, "%s", "frames are spread by dpud's own hash of addresses and ports: no key, and no less");
	return -ENOTSUP;
}

static int rss_get(struct rte_eth_dev *dev, struct rte_eth_rss_conf *conf)
{
	conf->rss_hf = RSS_TYPES;
	return 0;
}

static int version_get(struct rte_eth_dev *dev, char *ret, size_t size)
{
	int bytes = snprintf(ret, size, "softdpu eswitch ABI %d", ESWITCH_ABI_VERSION) + 1;

	return (size_t)bytes <= size ? 0 : bytes;
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
	.rx_queue_setup = driver_rx_queue_setup,
	.tx_queue_setup = driver_tx_queue_setup,
	.rxq_info_get = driver_rxq_info,
	.txq_info_get = driver_txq_info,
	.rx_queue_intr_enable = driver_rx_intr_enable,
	.rx_queue_intr_disable = driver_rx_intr_disable,
	.link_update = link_update,
	.promiscuous_enable = nothing_to_do,
	.promiscuous_disable = nothing_to_do,
	.allmulticast_enable = nothing_to_do,
	.allmulticast_disable = nothing_to_do,
	.mac_addr_set = mac_set,
	.mtu_set = mtu_set,
	.set_mc_addr_list = multicast_set,
	.rss_hash_update = rss_update,
	.rss_hash_conf_get = rss_get,
	.fw_version_get = version_get,
	.stats_get = driver_stats_get,
	.stats_reset = driver_stats_reset,
	.xstats_get = driver_xstats_get,
	.xstats_get_names = driver_xstats_names,
	.xstats_reset = driver_stats_reset,
	.rx_metadata_negotiate = metadata_negotiate,
	.flow_ops_get = driver_flow_ops,
};
