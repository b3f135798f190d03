/* SPDX-License-Identifier: BSD-3-Clause */
/* The ethdev port: a device that DPDK drives, plugged in and out while we run. */
#include "operating/port_kinds.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <rte_branch_prediction.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include "base/clock.h"
#include "base/log.h"
#include "operating/eal_priv.h"
#include "operating/port_priv.h"

static const uint64_t LINK_NS = 100 * CLOCK_NS_PER_MS; /* between looks at the link */
enum {
	LOOKS_PER_STATS = 10,
	DESCRIPTORS = 1024,
	STASH = 16,
	TX_CHUNK = 64,
};

struct ethdev_queue {
	int fd; /* interrupt eventfd, -1 = none */
	/* Packets found when a last look was taken before sleep. */
	uint16_t stashed;
	struct rte_mbuf *stash[STASH];
};

struct port_ethdev {
	struct port port;
	struct port_life life;
	uint16_t id; /* DPDK's */
	bool started;
	struct loop_timer *timer;
	unsigned looks;
	uint64_t missed, no_buffer; /* as counted so far */
	struct ethdev_queue queues[];
};

/* ---- packets ---- */

static unsigned rx(struct port *port, unsigned index, struct rte_mbuf **packets, unsigned max)
{
	struct port_ethdev *ethdev = (struct port_ethdev *)port;
	struct ethdev_queue *queue = &ethdev->queues[index];

	if (unlikely(queue->stashed > 0)) {
		unsigned count = RTE_MIN(max, queue->stashed);
		memcpy(packets, queue->stash, count * sizeof(packets[0]));
		queue->stashed = (uint16_t)(queue->stashed - count);
		memmove(queue->stash, queue->stash + count, queue->stashed * sizeof(packets[0]));
		return count;
	}
	return rte_eth_rx_burst(ethdev->id, (uint16_t)index, packets, (uint16_t)max);
}

/* Lets the driver prepare packets with offload requests. Returns how many it accepts from the front. */
static uint16_t prepare(uint16_t id, uint16_t queue, struct rte_mbuf **packets, uint16_t count, uint32_t *ret_lengths)
{
	uint64_t flags = 0;

	for (uint16_t i = 0; i < count; i++) {
		ret_lengths[i] = packets[i]->pkt_len;
		flags |= packets[i]->ol_flags;
	}
	return flags & PORT_TX_REQUESTS ? rte_eth_tx_prepare(id, queue, packets, count) : count;
}

static unsigned tx(struct port *port, unsigned index, struct rte_mbuf **packets, unsigned count,
		   struct port_tx_result *ret)
{
	uint16_t id = ((struct port_ethdev *)port)->id, queue = (uint16_t)index;
	uint32_t lengths[TX_CHUNK];
	unsigned taken = 0;

	while (taken < count) {
		uint16_t chunk = (uint16_t)RTE_MIN(count - taken, (unsigned)TX_CHUNK);
		uint16_t good = prepare(id, queue, packets + taken, chunk, lengths);
		uint16_t sent = good ? rte_eth_tx_burst(id, queue, packets + taken, good) : 0;
		for (uint16_t i = 0; i < sent; i++)
			ret->bytes += lengths[i];
		ret->packets += sent;
		taken += sent;
		if (sent < good)
			break;
		if (good < chunk) { /* the driver refuses this one for good */
			rte_pktmbuf_free(packets[taken++]);
			ret->failed++;
		}
	}
	return taken;
}

static void interrupts_off(struct port_ethdev *ethdev, unsigned index)
{
	uint64_t counter;

	rte_eth_dev_rx_intr_disable(ethdev->id, (uint16_t)index);
	if (read(ethdev->queues[index].fd, &counter, sizeof(counter)) < 0)
		return; /* nothing in it: EAGAIN */
}

/* What came between the last poll and the enabling raises no interrupt: look once more. */
static int arm(struct port *port, unsigned index)
{
	struct port_ethdev *ethdev = (struct port_ethdev *)port;
	struct ethdev_queue *queue = &ethdev->queues[index];

	if (queue->fd < 0 || rte_eth_dev_rx_intr_enable(ethdev->id, (uint16_t)index) < 0)
		return -ENOTSUP;
	if (queue->stashed == 0)
		queue->stashed = rte_eth_rx_burst(ethdev->id, (uint16_t)index, queue->stash, STASH);
	if (queue->stashed == 0)
		return 0;
	interrupts_off(ethdev, index);
	return 1;
}

static void disarm(struct port *port, unsigned index)
{
	interrupts_off((struct port_ethdev *)port, index);
}

static int queue_fd(struct port *port, unsigned index)
{
	return ((struct port_ethdev *)port)->queues[index].fd;
}

static void close_port(struct port *port, void (*done)(void *arg), void *arg)
{
	port_life_close(&((struct port_ethdev *)port)->life, done, arg);
}

static const struct port_ops ethdev_ops = {
	.kind = "ethdev",
	.rx = rx,
	.tx = tx,
	.arm = arm,
	.disarm = disarm,
	.fd = queue_fd,
	.close = close_port,
};

/* ---- what the device can ---- */

static const struct {
	uint64_t capability, request;
} offload_map[] = {
	{ RTE_ETH_TX_OFFLOAD_IPV4_CKSUM, RTE_MBUF_F_TX_IP_CKSUM },
	/* The flags are values of one field: without UDP_CKSUM's bits there is no TCP_CKSUM alone. */
	{ RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM, RTE_MBUF_F_TX_L4_MASK },
	{ RTE_ETH_TX_OFFLOAD_TCP_TSO, RTE_MBUF_F_TX_TCP_SEG },
	{ RTE_ETH_TX_OFFLOAD_UDP_TSO, RTE_MBUF_F_TX_UDP_SEG },
	{ RTE_ETH_TX_OFFLOAD_OUTER_IPV4_CKSUM, RTE_MBUF_F_TX_OUTER_IP_CKSUM },
	{ RTE_ETH_TX_OFFLOAD_OUTER_UDP_CKSUM, RTE_MBUF_F_TX_OUTER_UDP_CKSUM },
};
static const uint64_t TUNNEL_TSO = RTE_ETH_TX_OFFLOAD_VXLAN_TNL_TSO | RTE_ETH_TX_OFFLOAD_GENEVE_TNL_TSO;

static void set_offloads(struct port *port, const struct rte_eth_dev_info *info, struct rte_eth_conf *conf)
{
	uint64_t wanted = RTE_ETH_TX_OFFLOAD_MULTI_SEGS | TUNNEL_TSO, plain = 0, tunnel;
	bool checksums = (info->tx_offload_capa & offload_map[1].capability) == offload_map[1].capability;

	for (size_t i = 0; i < sizeof(offload_map) / sizeof(offload_map[0]); i++) {
		wanted |= offload_map[i].capability;
		if ((info->tx_offload_capa & offload_map[i].capability) == offload_map[i].capability)
			plain |= offload_map[i].request;
	}
	if (!checksums) /* segments need them */
		plain &= ~(RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG);
	/* Inner checksums behind a tunnel header are for devices that know tunnels. */
	tunnel = plain;
	if (!(info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_OUTER_IPV4_CKSUM))
		tunnel &= RTE_MBUF_F_TX_OUTER_UDP_CKSUM;
	if ((info->tx_offload_capa & TUNNEL_TSO) != TUNNEL_TSO)
		tunnel &= ~(RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG);
	atomic_init(&port->tx_offloads, plain);
	atomic_init(&port->tx_tunnel_offloads, tunnel);
	port->tx_max_segments = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS ? 0 : 1;
	if (port->tx_max_segments == 0 && info->tx_desc_lim.nb_seg_max > 0)
		port->tx_max_segments = info->tx_desc_lim.nb_seg_max;
	conf->txmode.offloads = info->tx_offload_capa & wanted;
	conf->rxmode.offloads = info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_CHECKSUM;
}

static void set_receive(const struct port *port, const struct rte_eth_dev_info *info, struct rte_eth_conf *conf)
{
	uint32_t room = rte_pktmbuf_data_room_size(port->pool) - RTE_PKTMBUF_HEADROOM;

	conf->rxmode.mtu = port->mtu;
	if (port->mtu + RTE_ETHER_HDR_LEN + RTE_VLAN_HLEN > (int)room)
		conf->rxmode.offloads |= info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
	if (port->rx_queues > 1) {
		conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf->rx_adv_conf.rss_conf.rss_hf =
			info->flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
		if (conf->rx_adv_conf.rss_conf.rss_hf == 0)
			conf->rxmode.mq_mode = RTE_ETH_MQ_RX_NONE;
	}
}

/* ---- opening ---- */

/* DPDK returns -1 where it does not care to say more. */
static int fail(struct dpu_error *err, const char *what, int status)
{
	const char *detail = eal_last_error(), *reason = status == -1 ? "the driver refuses" : strerror(-status);

	return error_set(err, status == -EACCES ? DPU_E_DENIED : DPU_E_IO, "device", "The device cannot be %s: %s%s%s.",
			 what, reason, detail[0] ? "; DPDK says: " : "", detail);
}

static int setup_queues(struct port_ethdev *ethdev, const struct rte_eth_dev_info *info,
			const struct rte_eth_conf *conf)
{
	struct rte_eth_rxconf rx_conf = info->default_rxconf;
	struct rte_eth_txconf tx_conf = info->default_txconf;
	uint16_t rx_descriptors = DESCRIPTORS, tx_descriptors = DESCRIPTORS;
	int socket = rte_eth_dev_socket_id(ethdev->id);

	rx_conf.offloads = conf->rxmode.offloads;
	tx_conf.offloads = conf->txmode.offloads;
	int status = rte_eth_dev_adjust_nb_rx_tx_desc(ethdev->id, &rx_descriptors, &tx_descriptors);
	for (uint16_t i = 0; i < ethdev->port.rx_queues && status == 0; i++)
		status = rte_eth_rx_queue_setup(ethdev->id, i, rx_descriptors, (unsigned)socket, &rx_conf,
						ethdev->port.pool);
	for (uint16_t i = 0; i < ethdev->port.tx_queues && status == 0; i++)
		status = rte_eth_tx_queue_setup(ethdev->id, i, tx_descriptors, (unsigned)socket, &tx_conf);
	return status;
}

/* Devices without settable MTU carry what their buffers hold. */
static int set_mtu(struct port_ethdev *ethdev, const struct rte_eth_dev_info *info, struct dpu_error *err)
{
	uint16_t mtu = ethdev->port.mtu;
	int status = rte_eth_dev_set_mtu(ethdev->id, mtu);

	if (status == 0 || status == -ENOTSUP)
		return 0;
	if (status == -EINVAL)
		return error_set(err, DPU_E_INVALID, "mtu", "The device takes an MTU of %u to %u, not %u.",
				 info->min_mtu, info->max_mtu, mtu);
	return fail(err, "given its MTU", status);
}

/* Only PCI devices have receive interrupts whose descriptor is known to be an eventfd. */
static void find_interrupts(struct port_ethdev *ethdev, bool interrupts)
{
	for (uint16_t i = 0; i < ethdev->port.rx_queues; i++)
		ethdev->queues[i].fd = interrupts ? rte_eth_dev_rx_intr_ctl_q_get_fd(ethdev->id, i) : -1;
}

static int configure(struct port_ethdev *ethdev, const struct rte_eth_dev_info *info, struct dpu_error *err)
{
	struct port *port = &ethdev->port;
	struct rte_eth_conf conf = { 0 };
	bool pci = isdigit((unsigned char)rte_dev_name(info->device)[0]);

	set_offloads(port, info, &conf);
	set_receive(port, info, &conf);
	conf.intr_conf.rxq = pci;
	int status = rte_eth_dev_configure(ethdev->id, port->rx_queues, port->tx_queues, &conf);
	if (status < 0 && pci) {
		conf.intr_conf.rxq = 0;
		status = rte_eth_dev_configure(ethdev->id, port->rx_queues, port->tx_queues, &conf);
	}
	if (status < 0)
		return fail(err, "configured", status);
	status = set_mtu(ethdev, info, err);
	if (status < 0)
		return status;
	status = setup_queues(ethdev, info, &conf);
	if (status < 0)
		return fail(err, "given its queues", status);
	rte_eth_promiscuous_enable(ethdev->id); /* not all can; underlay addresses are then the device's own */
	status = rte_eth_dev_start(ethdev->id);
	ethdev->started = status == 0;
	if (status < 0)
		return fail(err, "started", status);
	find_interrupts(ethdev, pci && conf.intr_conf.rxq);
	return 0;
}

static bool link_is_up(const struct port_ethdev *ethdev)
{
	struct rte_eth_link link;

	return rte_eth_link_get_nowait(ethdev->id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

static void count_missed(struct port_ethdev *ethdev)
{
	struct rte_eth_stats stats;

	if (rte_eth_stats_get(ethdev->id, &stats) < 0)
		return;
	port_rx_drop(&ethdev->port, PORT_RX_MISSED, stats.imissed - ethdev->missed);
	port_rx_drop(&ethdev->port, PORT_RX_NO_BUFFER, stats.rx_nombuf - ethdev->no_buffer);
	ethdev->missed = stats.imissed;
	ethdev->no_buffer = stats.rx_nombuf;
}

static void look(void *ctx)
{
	struct port_ethdev *ethdev = ctx;
	bool up = link_is_up(ethdev);

	if (ethdev->life.stage != PORT_OPEN)
		return;
	if (++ethdev->looks % LOOKS_PER_STATS == 0)
		count_missed(ethdev);
	port_set_up(&ethdev->port, up); /* last: its callback may close the port */
}

/* ---- life ---- */

static void stop(struct port_ethdev *ethdev)
{
	for (unsigned i = 0; i < ethdev->port.rx_queues; i++) {
		rte_pktmbuf_free_bulk(ethdev->queues[i].stash, ethdev->queues[i].stashed);
		ethdev->queues[i].stashed = 0;
	}
	if (ethdev->started)
		rte_eth_dev_stop(ethdev->id);
	ethdev->started = false;
}

static void unplug(struct port_ethdev *ethdev)
{
	struct rte_eth_dev_info info;

	stop(ethdev);
	int status = rte_eth_dev_info_get(ethdev->id, &info);
	if (status == 0)
		status = rte_eth_dev_close(ethdev->id);
	if (status == 0)
		status = rte_dev_remove(info.device);
	if (status < 0)
		log_warn("port", "device cannot be unplugged", "port=\"%s\" error=\"%s\"", ethdev->port.name,
			 strerror(-status));
}

/* All is done by free_port(): a device that loses its link stays, and its queues with it. */
static int shut(struct port *port)
{
	return 0;
}

static void free_port(struct port *port)
{
	struct port_ethdev *ethdev = (struct port_ethdev *)port;

	loop_timer_remove(ethdev->timer);
	unplug(ethdev);
	free(ethdev);
}

static int clip(const char *name, unsigned wanted, unsigned most)
{
	if (wanted > most)
		log_warn("port", "device has fewer queues than asked for", "port=\"%s\" asked=%u has=%u", name, wanted,
			 most);
	return (int)RTE_MIN(wanted, most);
}

static struct port_ethdev *allocate(uint16_t id, const char *name, uint16_t mtu, unsigned queues,
				    struct rte_mempool *pool, const struct port_callbacks *callbacks,
				    const struct rte_eth_dev_info *info)
{
	struct port_ethdev *ethdev = calloc(1, sizeof(*ethdev) + queues * sizeof(ethdev->queues[0]));
	struct rte_ether_addr mac = { 0 };
	struct port *port;

	if (!ethdev)
		return NULL;
	port = &ethdev->port;
	port_init(port, &ethdev_ops, name, pool, callbacks);
	port->rx_queues = (uint16_t)clip(name, queues, info->max_rx_queues);
	port->tx_queues = (uint16_t)clip(name, queues, info->max_tx_queues);
	port->mtu = mtu ? mtu : RTE_ETHER_MTU;
	rte_eth_macaddr_get(id, &mac);
	memcpy(port->mac.bytes, mac.addr_bytes, sizeof(port->mac.bytes));
	ethdev->id = id;
	ethdev->life = (struct port_life){
		.port = port,
		.tx_worker = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MT_LOCKFREE ? PORT_WORKER_ANY : PORT_WORKER_OFF,
		.shut = shut,
		.free = free_port,
	};
	return ethdev;
}

/* RTE_MAX_ETHPORTS if there is none. */
static uint16_t find_port(const char *devargs)
{
	struct rte_dev_iterator iterator;
	uint16_t id;

	RTE_ETH_FOREACH_MATCHING_DEV(id, devargs, &iterator)
	{
		rte_eth_iterator_cleanup(&iterator);
		return id;
	}
	return RTE_MAX_ETHPORTS;
}

/* Probing a device that is there already does nothing and succeeds, so that is asked first. */
static int plug(const char *devargs, uint16_t *ret_id, struct dpu_error *err)
{
	if (find_port(devargs) != RTE_MAX_ETHPORTS)
		return error_set(err, DPU_E_EXISTS, "device", "Device \"%.128s\" is in use already.", devargs);
	if (rte_eth_dev_count_total() == RTE_MAX_ETHPORTS)
		return error_set(err, DPU_E_LIMIT, "device", "DPDK drives at most %d devices in a process.",
				 RTE_MAX_ETHPORTS);
	eal_forget_error();
	int status = rte_dev_probe(devargs);
	if (status < 0)
		return fail(err, "plugged in", status);
	uint16_t id = find_port(devargs);
	if (id == RTE_MAX_ETHPORTS)
		return error_set(err, DPU_E_UNSUPPORTED, "device", "Device \"%.128s\" has no Ethernet port.", devargs);
	*ret_id = id;
	return 0;
}

static void unplug_id(uint16_t id)
{
	struct rte_eth_dev_info info;

	if (rte_eth_dev_info_get(id, &info) == 0 && rte_eth_dev_close(id) == 0)
		rte_dev_remove(info.device);
}

int port_ethdev_open(const char *devargs, const char *name, uint16_t mtu, unsigned queues, struct loop *loop,
		     struct rte_mempool *pool, const struct port_callbacks *callbacks, struct port **ret,
		     struct dpu_error *err)
{
	struct rte_eth_dev_info info;
	uint16_t id = 0;

	int status = plug(devargs, &id, err);
	if (status < 0)
		return status;
	status = rte_eth_dev_info_get(id, &info);
	struct port_ethdev *ethdev = status == 0 ? allocate(id, name, mtu, queues, pool, callbacks, &info) : NULL;
	if (!ethdev) {
		unplug_id(id);
		return error_set(err, DPU_E_LIMIT, "device", "No memory for the port.");
	}
	status = configure(ethdev, &info, err);
	if (status == 0 && (loop_timer_add(loop, LINK_NS, LINK_NS, look, ethdev, &ethdev->timer) < 0 ||
			    port_life_init(&ethdev->life, loop) < 0))
		status = error_set(err, DPU_E_LIMIT, "device", "No memory for the port.");
	if (status < 0) {
		free_port(&ethdev->port);
		return status;
	}
	*ret = &ethdev->port;
	atomic_store(&ethdev->port.up, link_is_up(ethdev));
	port_life_start(&ethdev->life);
	return 0;
}
