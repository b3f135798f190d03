/* SPDX-License-Identifier: BSD-3-Clause */
/* The TAP port: frames with virtio-net headers to and from an interface in some network namespace. */
#include "operating/port.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include <net/if.h>
#include <rte_branch_prediction.h>
#include "base/clock.h"
#include "operating/mbuf_chain.h"
#include "operating/port_priv.h"
#include "operating/tap_device.h"
#include "operating/vnet_header.h"

enum {
	FRAME_MAX = 65536 + 14 + 8, /* a 64 KiB packet with Ethernet header and two VLAN tags */
	SEGMENTS_MAX = 64,          /* buffers for a frame */
	TX_SEGMENTS = 255,
	ETHER_BYTES = 14,
	MTU_DEFAULT = 1500,
};

/* In step with all others, so that a thousand of them wake the control thread once. */
static const uint64_t NETNS_CHECK_NS = 2 * CLOCK_NS_PER_S;

struct tap_queue {
	int fd;
	bool long_frames;  /* the last one was: read the next one straight into many buffers */
	uint8_t *overflow; /* FRAME_MAX bytes for a long frame after short ones */
};

struct port_tap {
	struct port port;
	struct port_life life;
	struct port_tap_options options; /* strings are ours */
	char name[IFNAMSIZ];
	char *netns;
	ino_t netns_inode;
	struct loop_timer *timer;
	unsigned room;     /* bytes in a buffer */
	unsigned segments; /* buffers for FRAME_MAX bytes; 0 = too many to read into at once */
	struct loop *loop;
	atomic_bool gone;   /* a worker has found the interface removed and posted that */
	atomic_bool posted; /* … which control has not yet seen */
	bool freed;         /* to be freed when it does */
	struct tap_queue queues[];
};

/* ---- the interface is removed, perhaps with its namespace ---- */

static void free_port(struct port *port);

/* Control thread. */
static void interface_gone(void *ctx)
{
	struct port_tap *tap = ctx;

	atomic_store(&tap->posted, false);
	if (tap->freed)
		free_port(&tap->port);
	else
		port_life_lost(&tap->life);
}

/* In a worker that has been told so by the kernel. A post that fails for want of memory is tried again at the next
 * poll. */
static void check_gone(struct port_tap *tap, int error)
{
	if (error != EBADFD || atomic_exchange(&tap->gone, true))
		return;
	atomic_store(&tap->posted, true);
	if (loop_post(tap->loop, interface_gone, tap) < 0) {
		atomic_store(&tap->posted, false);
		atomic_store(&tap->gone, false);
	}
}

/* ---- receiving ---- */

/* Nothing to read into: the frame is lost as with a device that has no descriptors. False when there is none. */
static bool discard_one(struct port *port, struct tap_queue *queue)
{
	if (read(queue->fd, queue->overflow, FRAME_MAX) < 0)
		return false;
	port_rx_drop(port, PORT_RX_NO_BUFFER, 1);
	return true;
}

/* Links buffers[0..used) that the kernel has filled with length bytes. */
static struct rte_mbuf *link_chain(struct rte_mbuf **buffers, unsigned used, uint32_t length, uint32_t room)
{
	struct rte_mbuf *head = buffers[0];
	uint32_t left = length;

	for (unsigned i = 0; i < used; i++) {
		uint32_t part = RTE_MIN(left, room);
		buffers[i]->data_len = (uint16_t)part;
		buffers[i]->next = i + 1 < used ? buffers[i + 1] : NULL;
		left -= part;
	}
	head->nb_segs = (uint16_t)used;
	head->pkt_len = length;
	return head;
}

/* What did not fit into the one buffer went to queue->overflow. */
static bool take_overflow(struct tap_queue *queue, struct rte_mbuf *m, uint32_t length)
{
	struct mbuf_chain chain = { m, m };

	return mbuf_chain_append(&chain, queue->overflow, length);
}

static struct rte_mbuf *accept_frame(struct port_tap *tap, struct tap_queue *queue, struct rte_mbuf **buffers,
				     uint32_t length, const struct virtio_net_hdr *header)
{
	uint32_t in_buffers = queue->long_frames ? length : RTE_MIN(length, tap->room);
	unsigned used = in_buffers > tap->room ? (in_buffers - 1) / tap->room + 1 : 1;
	struct rte_mbuf *m = link_chain(buffers, used, in_buffers, tap->room);
	enum port_rx_drop drop = PORT_RX_BAD_HEADER;

	if (length > in_buffers && !take_overflow(queue, m, length - in_buffers))
		drop = PORT_RX_NO_BUFFER;
	else if (likely(length >= ETHER_BYTES &&
			((!header->flags && !header->gso_type) || vnet_to_mbuf(header, m, tap->port.iface))))
		return m;
	port_rx_drop(&tap->port, drop, 1);
	rte_pktmbuf_free(m);
	return NULL;
}

/* Reads one frame into buffers[0..have). Returns its length, or negative when there is none. */
static ssize_t read_frame(const struct port_tap *tap, struct tap_queue *queue, struct rte_mbuf **buffers, unsigned have,
			  struct virtio_net_hdr *ret_header)
{
	struct iovec iov[1 + SEGMENTS_MAX + 1];
	int count = 0;

	iov[count++] = (struct iovec){ ret_header, sizeof(*ret_header) };
	for (unsigned i = 0; i < have; i++)
		iov[count++] = (struct iovec){ rte_pktmbuf_mtod(buffers[i], void *), tap->room };
	if (!queue->long_frames)
		iov[count++] = (struct iovec){ queue->overflow, FRAME_MAX };
	ssize_t length = readv(queue->fd, iov, count);
	return length < 0 ? length : length - (ssize_t)sizeof(*ret_header);
}

static unsigned rx(struct port *port, unsigned index, struct rte_mbuf **packets, unsigned max)
{
	struct port_tap *tap = (struct port_tap *)port;
	struct tap_queue *queue = &tap->queues[index];
	struct rte_mbuf *buffers[SEGMENTS_MAX];
	unsigned have = 0, received = 0;

	for (unsigned i = 0; i < max; i++) {
		struct virtio_net_hdr header;
		unsigned want = queue->long_frames ? tap->segments : 1;
		while (have > want)
			rte_pktmbuf_free(buffers[--have]);
		if (have < want && rte_pktmbuf_alloc_bulk(port->pool, buffers + have, want - have) == 0)
			have = want;
		if (unlikely(have < want)) {
			queue->long_frames = false; /* one buffer may be had still */
			if (have == 0 && !(buffers[0] = rte_pktmbuf_alloc(port->pool))) {
				if (!discard_one(port, queue))
					break;
				continue;
			}
			while (have > 1)
				rte_pktmbuf_free(buffers[--have]);
			have = 1;
		}
		ssize_t length = read_frame(tap, queue, buffers, have, &header);
		if (unlikely(length < 0)) {
			check_gone(tap, errno);
			break;
		}
		struct rte_mbuf *m = accept_frame(tap, queue, buffers, (uint32_t)length, &header);
		if (m)
			packets[received++] = m;
		unsigned used = queue->long_frames && length > tap->room ? ((uint32_t)length - 1) / tap->room + 1 : 1;
		memmove(buffers, buffers + used, (have - used) * sizeof(buffers[0]));
		have -= used;
		queue->long_frames = length > tap->room && tap->segments > 0;
	}
	while (have > 0)
		rte_pktmbuf_free(buffers[--have]);
	return received;
}

/* ---- transmitting ---- */

static ssize_t write_frame(int fd, struct rte_mbuf *m)
{
	struct iovec iov[1 + TX_SEGMENTS];
	struct virtio_net_hdr header;
	int count = 1;

	if (m->nb_segs > TX_SEGMENTS || !vnet_from_mbuf(m, &header)) {
		errno = EINVAL;
		return -1;
	}
	iov[0] = (struct iovec){ &header, sizeof(header) };
	for (const struct rte_mbuf *part = m; part; part = part->next)
		iov[count++] = (struct iovec){ rte_pktmbuf_mtod(part, void *), part->data_len };
	return writev(fd, iov, count);
}

static unsigned tx(struct port *port, unsigned index, struct rte_mbuf **packets, unsigned count,
		   struct port_tx_result *ret)
{
	int fd = ((struct port_tap *)port)->queues[index].fd;
	unsigned taken = 0;

	for (; taken < count; taken++) {
		if (likely(write_frame(fd, packets[taken]) >= 0)) {
			ret->packets++;
			ret->bytes += packets[taken]->pkt_len;
		} else if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM) {
			break;
		} else {
			check_gone((struct port_tap *)port, errno);
			ret->failed++;
		}
	}
	rte_pktmbuf_free_bulk(packets, taken);
	return taken;
}

static int arm(struct port *port, unsigned queue)
{
	return 0; /* the descriptor stays readable while frames wait */
}

static void disarm(struct port *port, unsigned queue)
{
}

static int queue_fd(struct port *port, unsigned queue)
{
	return ((struct port_tap *)port)->queues[queue].fd;
}

static void close_port(struct port *port, void (*done)(void *arg), void *arg)
{
	port_life_close(&((struct port_tap *)port)->life, done, arg);
}

/* An interface that is gone for now comes back with it. */
static int set_mtu(struct port *port, uint16_t mtu, struct dpu_error *err)
{
	struct port_tap *tap = (struct port_tap *)port;
	int status = tap->life.stage == PORT_OPEN ? tap_device_set_mtu(&tap->options, mtu, err) : 0;

	if (status == 0)
		tap->options.mtu = mtu;
	return status;
}

static const struct port_ops tap_ops = {
	.kind = "tap",
	.rx = rx,
	.tx = tx,
	.arm = arm,
	.disarm = disarm,
	.fd = queue_fd,
	.set_mtu = set_mtu,
	.close = close_port,
};

/* ---- life ---- */

static int open_queues(struct port_tap *tap, struct dpu_error *err)
{
	struct tap_device device;
	int status = tap_device_open(&tap->options, &device, err);

	if (status < 0)
		return status;
	for (unsigned i = 0; i < tap->port.rx_queues; i++)
		tap->queues[i].fd = device.fds[i];
	tap->netns_inode = device.netns;
	tap->port.mac = device.mac;
	if (tap->options.far_end) { /* as lasting as the interface's */
		tap->port.mac.bytes[0] |= 2;
		tap->port.mac.bytes[5] ^= 1;
	}
	atomic_store(&tap->gone, false);
	atomic_store(&tap->port.up, true);
	return 0;
}

static void shut_done(void *arg)
{
	port_life_shut_done(arg);
}

static int shut(struct port *port)
{
	struct port_tap *tap = (struct port_tap *)port;
	int fds[PORT_MAX_QUEUES];

	for (unsigned i = 0; i < port->rx_queues; i++) {
		fds[i] = tap->queues[i].fd;
		tap->queues[i].fd = -1;
	}
	return tap_device_close(fds, port->rx_queues, tap->options.persist && !port->keep, tap->loop, shut_done,
				&tap->life);
}

/* Nobody tells us when the name of our namespace is removed or given to another one. */
static void check_namespace(void *ctx)
{
	struct port_tap *tap = ctx;

	if (tap->life.stage == PORT_OPEN && !tap_netns_is(tap->netns, tap->netns_inode))
		port_life_lost(&tap->life);
}

static int reopen(struct port *port)
{
	return open_queues((struct port_tap *)port, NULL);
}

static void free_port(struct port *port)
{
	struct port_tap *tap = (struct port_tap *)port;

	loop_timer_remove(tap->timer);
	tap->timer = NULL;
	if (atomic_load(&tap->posted)) {
		tap->freed = true;
		return;
	}
	for (unsigned i = 0; i < port->rx_queues; i++)
		free(tap->queues[i].overflow);
	free(tap->netns);
	free(tap);
}

static struct port_tap *allocate(const struct port_tap_options *options)
{
	struct port_tap *tap = calloc(1, sizeof(*tap) + options->queue_pairs * sizeof(tap->queues[0]));

	if (!tap)
		return NULL;
	tap->port.rx_queues = tap->port.tx_queues = options->queue_pairs;
	tap->options = *options;
	if (options->mtu == 0)
		tap->options.mtu = MTU_DEFAULT;
	snprintf(tap->name, sizeof(tap->name), "%s", options->name);
	tap->options.name = tap->name;
	bool complete = true;
	if (options->netns) {
		tap->options.netns = tap->netns = strdup(options->netns);
		complete = tap->netns != NULL;
	}
	for (unsigned i = 0; i < options->queue_pairs; i++) {
		tap->queues[i].fd = -1;
		tap->queues[i].overflow = malloc(FRAME_MAX); /* takes memory only once long frames come */
		complete = complete && tap->queues[i].overflow;
	}
	if (complete)
		return tap;
	free_port(&tap->port);
	return NULL;
}

int port_tap_open(const struct port_tap_options *options, const char *name, struct loop *loop, struct rte_mempool *pool,
		  const struct port_callbacks *callbacks, struct port **ret, struct dpu_error *err)
{
	if (strlen(options->name) >= IFNAMSIZ)
		return error_set(err, DPU_E_INVALID, "name", "\"%.32s\" is longer than %d bytes.", options->name,
				 IFNAMSIZ - 1);
	if (options->queue_pairs < 1 || options->queue_pairs > PORT_MAX_QUEUES)
		return error_set(err, DPU_E_INVALID, "queue_pairs", "There are 1 to %d queues, not %u.",
				 PORT_MAX_QUEUES, options->queue_pairs);
	struct port_tap *tap = allocate(options);
	if (!tap)
		return error_set(err, DPU_E_LIMIT, "name", "No memory for the port.");
	port_init(&tap->port, &tap_ops, name, pool, callbacks);
	tap->port.mtu = tap->options.mtu;
	atomic_init(&tap->port.tx_offloads, VNET_TX_OFFLOADS);
	atomic_init(&tap->port.tx_tunnel_offloads, VNET_TX_TUNNEL_OFFLOADS);
	tap->loop = loop;
	tap->room = rte_pktmbuf_data_room_size(pool) - RTE_PKTMBUF_HEADROOM;
	tap->segments = (FRAME_MAX - 1) / tap->room + 1;
	if (tap->segments > SEGMENTS_MAX)
		tap->segments = 0;
	tap->life = (struct port_life){
		.port = &tap->port,
		.tx_worker = PORT_WORKER_ANY, /* the kernel locks */
		.open = reopen,
		.shut = shut,
		.free = free_port,
	};
	int status = port_life_init(&tap->life, loop);
	if (status == 0 && options->netns)
		status = loop_timer_add(loop, NETNS_CHECK_NS - clock_ns() % NETNS_CHECK_NS, NETNS_CHECK_NS,
					check_namespace, tap, &tap->timer);
	if (status < 0)
		error_set(err, DPU_E_LIMIT, "name", "No memory for the port.");
	else
		status = open_queues(tap, err);
	if (status < 0) {
		loop_timer_remove(tap->life.retry);
		free_port(&tap->port);
		return status;
	}
	*ret = &tap->port;
	port_life_start(&tap->life);
	return 0;
}
