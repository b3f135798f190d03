/* SPDX-License-Identifier: BSD-3-Clause */
/* Queues: what they are told at set-up, which rings they use, what is waiting in them, and how an application sleeps
 * until there is something. */
#include "driver.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <rte_interrupts.h>

/* ---- set-up ---- */

int driver_rx_queue_setup(struct rte_eth_dev *dev, uint16_t index, uint16_t descriptors, unsigned socket,
			  const struct rte_eth_rxconf *conf, struct rte_mempool *pool)
{
	struct driver_queue *queue = &driver_port(dev)->rx[index];

	*queue = (struct driver_queue){
		.index = index, .port = driver_port(dev), .pool = pool, .wake_fd = -1, .sleep_fd = -1, .nudge_fd = -1
	};
	dev->data->rx_queues[index] = queue;
	return 0;
}

int driver_tx_queue_setup(struct rte_eth_dev *dev, uint16_t index, uint16_t descriptors, unsigned socket,
			  const struct rte_eth_txconf *conf)
{
	struct driver_queue *queue = &driver_port(dev)->tx[index];

	*queue = (struct driver_queue){ .index = index, .port = driver_port(dev), .wake_fd = -1 };
	dev->data->tx_queues[index] = queue;
	return 0;
}

void driver_rxq_info(struct rte_eth_dev *dev, uint16_t index, struct rte_eth_rxq_info *ret)
{
	struct driver_port *port = driver_port(dev);
	struct rte_mempool *pool = port->rx[index].pool;

	ret->mp = pool;
	ret->scattered_rx = 1;
	ret->nb_desc = (uint16_t)port->slots;
	ret->rx_buf_size = (uint16_t)(rte_pktmbuf_data_room_size(pool) - RTE_PKTMBUF_HEADROOM);
	ret->conf.offloads = dev->data->dev_conf.rxmode.offloads;
}

void driver_txq_info(struct rte_eth_dev *dev, uint16_t index, struct rte_eth_txq_info *ret)
{
	ret->nb_desc = (uint16_t)driver_port(dev)->slots;
	ret->conf.offloads = dev->data->dev_conf.txmode.offloads;
}

/* ---- rings ---- */

static void wait_for(struct driver_queue *queue, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	if (fd >= 0 && epoll_ctl(queue->sleep_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		DRIVER_LOG(queue->port, ERR, "queue %u may sleep for ever: its eventfd cannot be waited for",
			   queue->index);
}

void driver_queue_move(struct driver_queue *queue, bool rx)
{
	queue->wake_fd = rings_move(&queue->port->rings, &queue->place, &queue->end, queue->index, !rx);
	queue->end.port = queue->port->in_hub.dpdk_port;
	if (rx && queue->sleep_fd >= 0)
		wait_for(queue, queue->wake_fd);
}

void driver_queues_start(struct rte_eth_dev *dev)
{
	struct driver_port *port = driver_port(dev);

	for (unsigned i = 0; i < dev->data->nb_rx_queues; i++) {
		driver_queue_move(&port->rx[i], true);
		dev->data->rx_queue_state[i] = RTE_ETH_QUEUE_STATE_STARTED;
	}
	for (unsigned i = 0; i < dev->data->nb_tx_queues; i++) {
		driver_queue_move(&port->tx[i], false);
		dev->data->tx_queue_state[i] = RTE_ETH_QUEUE_STATE_STARTED;
	}
}

void driver_queues_stop(struct rte_eth_dev *dev)
{
	struct driver_port *port = driver_port(dev);

	for (unsigned i = 0; i < dev->data->nb_rx_queues; i++) {
		rings_leave(&port->rings, &port->rx[i].place);
		dev->data->rx_queue_state[i] = RTE_ETH_QUEUE_STATE_STOPPED;
	}
	for (unsigned i = 0; i < dev->data->nb_tx_queues; i++) {
		rings_leave(&port->rings, &port->tx[i].place);
		dev->data->tx_queue_state[i] = RTE_ETH_QUEUE_STATE_STOPPED;
	}
}

/* ---- what is waiting ---- */

static bool is_current(const struct driver_queue *queue)
{
	return queue->place.turn == queue->port->rings.turn;
}

static uint32_t rx_waiting(void *arg)
{
	struct driver_queue *queue = arg;

	return is_current(queue) && eswitch_ring_look(&queue->end) ? eswitch_ring_ready(&queue->end) : 0;
}

static int rx_status(void *arg, uint16_t offset)
{
	const struct driver_queue *queue = arg;

	if (offset >= queue->port->slots)
		return -EINVAL;
	return offset < rx_waiting(arg) ? RTE_ETH_RX_DESC_DONE : RTE_ETH_RX_DESC_AVAIL;
}

static int tx_status(void *arg, uint16_t offset)
{
	struct driver_queue *queue = arg;

	if (offset >= queue->port->slots)
		return -EINVAL;
	if (!is_current(queue) || !eswitch_ring_look(&queue->end))
		return RTE_ETH_TX_DESC_UNAVAIL;
	return offset < eswitch_ring_room(&queue->end) ? RTE_ETH_TX_DESC_DONE : RTE_ETH_TX_DESC_FULL;
}

void driver_queue_functions(struct rte_eth_dev *dev)
{
	dev->rx_pkt_burst = driver_rx_burst;
	dev->tx_pkt_burst = driver_tx_burst;
	dev->tx_pkt_prepare = driver_tx_prepare;
	dev->rx_queue_count = rx_waiting;
	dev->rx_descriptor_status = rx_status;
	dev->tx_descriptor_status = tx_status;
}

/* ---- sleep ---- */

static int sleep_open(struct driver_queue *queue)
{
	queue->sleep_fd = epoll_create1(EPOLL_CLOEXEC);
	queue->nudge_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->sleep_fd < 0 || queue->nudge_fd < 0)
		return -errno;
	wait_for(queue, queue->nudge_fd);
	return 0;
}

static void sleep_close(struct driver_queue *queue)
{
	int fds[] = { queue->sleep_fd, queue->nudge_fd };

	queue->sleep_fd = queue->nudge_fd = -1;
	for (unsigned i = 0; i < RTE_DIM(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* What EAL's epoll is given for each queue. */
static int announce(struct rte_eth_dev *dev)
{
	struct rte_intr_handle *handle = dev->intr_handle;
	uint16_t queues = dev->data->nb_rx_queues;

	if (!handle)
		handle = dev->intr_handle = rte_intr_instance_alloc(RTE_INTR_INSTANCE_F_PRIVATE);
	if (!handle || rte_intr_vec_list_alloc(handle, NULL, queues) != 0)
		return -ENOMEM;
	for (int i = 0; i < queues; i++)
		if (rte_intr_vec_list_index_set(handle, i, RTE_INTR_VEC_RXTX_OFFSET + i) != 0 ||
		    rte_intr_efds_index_set(handle, i, driver_port(dev)->rx[i].sleep_fd) != 0)
			return -rte_errno;
	if (rte_intr_nb_efd_set(handle, queues) != 0 || rte_intr_max_intr_set(handle, queues + 1) != 0 ||
	    rte_intr_type_set(handle, RTE_INTR_HANDLE_VDEV) != 0 ||
	    rte_intr_efd_counter_size_set(handle, 0) != 0) /* nothing is to be read from them */
		return -rte_errno;
	return 0;
}

int driver_sleep_setup(struct rte_eth_dev *dev)
{
	struct driver_port *port = driver_port(dev);
	int status = 0;

	if (!dev->data->dev_conf.intr_conf.rxq)
		return 0;
	for (unsigned i = 0; i < dev->data->nb_rx_queues && status == 0; i++)
		status = sleep_open(&port->rx[i]);
	if (status == 0)
		status = announce(dev);
	if (status == 0)
		return 0;
	DRIVER_LOG(port, ERR, "%s", "there are no descriptors to be had for queues that sleep");
	driver_sleep_end(dev);
	return status;
}

void driver_sleep_end(struct rte_eth_dev *dev)
{
	if (!dev->data->dev_conf.intr_conf.rxq)
		return;
	for (unsigned i = 0; i < dev->data->nb_rx_queues; i++)
		sleep_close(&driver_port(dev)->rx[i]);
	if (dev->intr_handle)
		rte_intr_vec_list_free(dev->intr_handle);
}

static void empty(int fd)
{
	uint64_t count;

	if (fd >= 0 && read(fd, &count, sizeof(count)) < 0)
		return; /* it is empty */
}

static void wake(int fd)
{
	const uint64_t one = 1;

	if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
		return; /* it is full, and readable */
}

int driver_rx_intr_enable(struct rte_eth_dev *dev, uint16_t index)
{
	struct driver_queue *queue = &driver_port(dev)->rx[index];

	if (queue->sleep_fd < 0)
		return -ENOTSUP;
	if (!is_current(queue))
		driver_queue_move(queue, true);
	if (eswitch_ring_arm(&queue->end) || !is_current(queue)) /* or they have changed meanwhile */
		wake(queue->nudge_fd);
	return 0;
}

int driver_rx_intr_disable(struct rte_eth_dev *dev, uint16_t index)
{
	struct driver_queue *queue = &driver_port(dev)->rx[index];

	if (queue->sleep_fd < 0)
		return -ENOTSUP;
	eswitch_ring_disarm(&queue->end);
	empty(queue->nudge_fd);
	empty(queue->wake_fd);
	return 0;
}

void driver_queues_nudge(struct driver_port *port)
{
	if (!port->running)
		return;
	for (unsigned i = 0; i < port->dev->data->nb_rx_queues; i++)
		wake(port->rx[i].nudge_fd);
}
