/* SPDX-License-Identifier: BSD-3-Clause */
/* Statistics of a port and of its queues. What the threads that poll count is only read here. */
#include "driver.h"

#include <stdio.h>

static struct driver_counts counts_of(const struct driver_queue *queue)
{
	return (struct driver_counts){
		.packets = queue->packets - queue->base.packets,
		.bytes = queue->bytes - queue->base.bytes,
		.faults = queue->end.faults + queue->dropped - queue->base.faults,
		.no_buffer = queue->end.no_buffer - queue->base.no_buffer,
	};
}

static struct driver_counts sum(const struct driver_queue *queues, unsigned count)
{
	struct driver_counts total = { 0 };

	for (unsigned i = 0; i < count; i++) {
		struct driver_counts counts = counts_of(&queues[i]);
		total.packets += counts.packets;
		total.bytes += counts.bytes;
		total.faults += counts.faults;
		total.no_buffer += counts.no_buffer;
	}
	return total;
}

int driver_stats_get(struct rte_eth_dev *dev, struct rte_eth_stats *stats)
{
	const struct driver_port *port = driver_port(dev);
	struct driver_counts rx = sum(port->rx, dev->data->nb_rx_queues), tx = sum(port->tx, dev->data->nb_tx_queues);

	stats->ipackets = rx.packets;
	stats->ibytes = rx.bytes;
	stats->ierrors = rx.faults;
	stats->rx_nombuf = rx.no_buffer;
	stats->opackets = tx.packets;
	stats->obytes = tx.bytes;
	stats->oerrors = tx.faults;
	for (int i = 0; i < RTE_MIN(dev->data->nb_rx_queues, RTE_ETHDEV_QUEUE_STAT_CNTRS); i++) {
		struct driver_counts counts = counts_of(&port->rx[i]);
		stats->q_ipackets[i] = counts.packets;
		stats->q_ibytes[i] = counts.bytes;
		stats->q_errors[i] = counts.faults;
	}
	for (int i = 0; i < RTE_MIN(dev->data->nb_tx_queues, RTE_ETHDEV_QUEUE_STAT_CNTRS); i++) {
		struct driver_counts counts = counts_of(&port->tx[i]);
		stats->q_opackets[i] = counts.packets;
		stats->q_obytes[i] = counts.bytes;
	}
	return 0;
}

static void rebase(struct driver_queue *queues)
{
	for (unsigned i = 0; i < ESWITCH_MAX_QUEUES; i++) {
		struct driver_counts counts = counts_of(&queues[i]);
		queues[i].base.packets += counts.packets;
		queues[i].base.bytes += counts.bytes;
		queues[i].base.faults += counts.faults;
		queues[i].base.no_buffer += counts.no_buffer;
	}
}

int driver_stats_reset(struct rte_eth_dev *dev)
{
	rebase(driver_port(dev)->rx);
	rebase(driver_port(dev)->tx);
	return 0;
}

/* ---- what only this driver has ---- */

static unsigned broken(const struct driver_queue *queues, unsigned count)
{
	unsigned total = 0;

	for (unsigned i = 0; i < count; i++)
		total += queues[i].place.open && queues[i].end.broken;
	return total;
}

static uint64_t rx_broken(const struct rte_eth_dev *dev)
{
	return broken(driver_port(dev)->rx, dev->data->nb_rx_queues);
}

static uint64_t tx_broken(const struct rte_eth_dev *dev)
{
	return broken(driver_port(dev)->tx, dev->data->nb_tx_queues);
}

static uint64_t times_opened(const struct rte_eth_dev *dev)
{
	return driver_port(dev)->openings;
}

static const struct {
	const char *name;
	uint64_t (*get)(const struct rte_eth_dev *dev);
} xstats[] = {
	{ "rx_queues_broken", rx_broken }, /* dpud has moved a counter to where it cannot be: they stand still */
	{ "tx_queues_broken", tx_broken },
	{ "times_opened", times_opened }, /* at a dpud: grows by one with each that comes back */
};

int driver_xstats_get(struct rte_eth_dev *dev, struct rte_eth_xstat *ret, unsigned count)
{
	for (unsigned i = 0; i < RTE_DIM(xstats) && count >= RTE_DIM(xstats); i++)
		ret[i] = (struct rte_eth_xstat){ .id = i, .value = xstats[i].get(dev) };
	return RTE_DIM(xstats);
}

int driver_xstats_names(struct rte_eth_dev *dev, struct rte_eth_xstat_name *ret, unsigned count)
{
	for (unsigned i = 0; ret && i < RTE_DIM(xstats) && count >= RTE_DIM(xstats); i++)
		snprintf(ret[i].name, sizeof(ret[i].name), "%s", xstats[i].name);
	return RTE_DIM(xstats);
}
