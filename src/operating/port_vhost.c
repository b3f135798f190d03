/* SPDX-License-Identifier: BSD-3-Clause */
/* The vhost-user port: a guest's virtio-net device. Queue pair i is virtqueue 2i (the guest receives, we transmit) and
 * 2i + 1. A pair is the owner's while both are started; when either must stop, the pair is taken back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <rte_branch_prediction.h>
#include <rte_spinlock.h>
#include "base/clock.h"
#include "base/notice_limit.h"
#include "device/virtio/vhost_user.h"
#include "device/virtio/virtio_net.h"
#include "operating/port.h"
#include "operating/port_priv.h"

enum {
	QUEUE_SIZE_MAX = 4096,
	MTU_MIN = 68,
};

static const uint64_t DOWN_DELAY_NS = 20 * CLOCK_NS_PER_MS; /* a queue that is only set up anew is no link change */

struct pair {
	struct vhost_port *port;
	struct virtqueue *started[2]; /* control's view: to the guest, from the guest */
	bool stopping[2];
	bool announced;  /* the owner has it */
	bool taken_back; /* … and is giving it back */
	/* The workers' view. Several may transmit. */
	struct virtqueue *to_guest __attribute__((aligned(64)));
	rte_spinlock_t lock;
	struct virtqueue *from_guest __attribute__((aligned(64)));
};

struct vhost_port {
	struct port port; /* first */
	struct vhost_device_ops device;
	struct vhost_endpoint *endpoint;
	struct loop *loop;
	struct loop_timer *down_timer;
	struct notice_limit noticed;
	void (*closed)(void *arg);
	void *closed_arg;
	struct pair *pairs;
};

static struct pair *pair_of(struct port *port, unsigned queue)
{
	return &((struct vhost_port *)port)->pairs[queue];
}

/* ---- workers ---- */

static unsigned vhost_rx(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned max)
{
	struct virtqueue *from_guest = pair_of(port, queue)->from_guest;
	struct virtio_net_rx_drops drops = { 0 };
	unsigned count = virtio_net_rx(from_guest, port->pool, packets, max, &drops);

	virtqueue_notify(from_guest);
	if (unlikely(drops.no_buffer | drops.bad_header | drops.too_long | drops.bad_descriptor)) {
		port_rx_drop(port, PORT_RX_NO_BUFFER, drops.no_buffer);
		port_rx_drop(port, PORT_RX_BAD_HEADER, drops.bad_header);
		port_rx_drop(port, PORT_RX_TOO_LONG, drops.too_long);
		port_rx_drop(port, PORT_RX_BAD_DESCRIPTOR, drops.bad_descriptor);
	}
	return count;
}

static unsigned vhost_tx(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned count,
			 struct port_tx_result *ret)
{
	struct pair *pair = pair_of(port, queue);
	struct virtio_net_tx_result result = { 0 };

	port_tx_lock(&pair->lock);
	unsigned taken = virtio_net_tx(pair->to_guest, packets, count, &result);
	virtqueue_notify(pair->to_guest);
	rte_spinlock_unlock(&pair->lock);
	if (unlikely(result.bad_buffers))
		port_rx_drop(port, PORT_RX_BAD_BUFFER, result.bad_buffers);
	ret->packets += taken - result.too_long;
	ret->bytes += result.bytes;
	ret->too_long += result.too_long;
	return taken;
}

static int vhost_arm(struct port *port, unsigned queue)
{
	struct virtqueue *from_guest = pair_of(port, queue)->from_guest;

	if (virtqueue_kick_fd(from_guest) < 0)
		return -ENOTSUP;
	return virtqueue_arm(from_guest);
}

static void vhost_disarm(struct port *port, unsigned queue)
{
	virtqueue_disarm(pair_of(port, queue)->from_guest);
}

static int vhost_fd(struct port *port, unsigned queue)
{
	return virtqueue_kick_fd(pair_of(port, queue)->from_guest);
}

/* ---- control: queues ---- */

/* Tells the endpoint of the queues that it wants stopped. */
static void pair_answer(struct pair *pair)
{
	unsigned first = 2 * (unsigned)(pair - pair->port->pairs);
	struct vhost_endpoint *endpoint = pair->port->endpoint;
	bool stop[2] = { pair->stopping[0], pair->stopping[1] };

	for (unsigned side = 0; side < 2; side++) {
		if (stop[side]) {
			pair->stopping[side] = false;
			pair->started[side] = NULL;
		}
	}
	/* The last: the endpoint may be gone afterwards. */
	if (stop[0])
		vhost_queue_stopped(endpoint, first);
	if (stop[1])
		vhost_queue_stopped(endpoint, first + 1);
}

static void on_released(void *arg)
{
	struct pair *pair = arg;

	pair->taken_back = false;
	pair->announced = false;
	pair->to_guest = pair->from_guest = NULL;
	pair_answer(pair);
}

static void on_queue_stop(void *ctx, unsigned index, struct virtqueue *queue)
{
	struct vhost_port *vhost = ctx;
	struct port *port = &vhost->port;
	unsigned number = index / 2;
	struct pair *pair = &vhost->pairs[number];

	pair->stopping[index % 2] = true;
	if (!pair->announced) {
		pair_answer(pair);
		return;
	}
	if (pair->taken_back)
		return;
	pair->taken_back = true;
	if (number == 0)
		loop_timer_rearm(vhost->down_timer, DOWN_DELAY_NS);
	atomic_store(&port->tx_worker[number], PORT_WORKER_OFF);
	if (port->queue_gone)
		port->queue_gone(port->ctx, port, number, on_released, pair);
	else
		on_released(pair);
}

static void on_queue_start(void *ctx, unsigned index, struct virtqueue *queue)
{
	struct vhost_port *vhost = ctx;
	struct port *port = &vhost->port;
	unsigned number = index / 2;
	struct pair *pair = &vhost->pairs[number];

	pair->started[index % 2] = queue;
	if (!pair->started[0] || !pair->started[1] || pair->announced)
		return;
	pair->to_guest = pair->started[0];
	pair->from_guest = pair->started[1];
	pair->announced = true;
	atomic_store(&port->tx_offloads, virtio_net_tx_offloads(pair->to_guest));
	atomic_store(&port->tx_worker[number], PORT_WORKER_ANY);
	if (port->queue_ready)
		port->queue_ready(port->ctx, port, number);
	if (number == 0)
		port_set_up(port, true);
}

static void on_down_timer(void *ctx)
{
	struct vhost_port *vhost = ctx;

	if (!vhost->pairs[0].announced)
		port_set_up(&vhost->port, false);
}

/* ---- control: device ---- */

static void on_connected(void *ctx, bool up, uint64_t features)
{
	struct vhost_port *vhost = ctx;

	if (!up)
		port_set_up(&vhost->port, false);
}

static void on_notice(void *ctx, const char *name, const char *sentence)
{
	struct vhost_port *vhost = ctx;

	if (notice_limit_pass(&vhost->noticed, name, clock_ns()))
		port_notice(&vhost->port, name, "%s", sentence);
}

static void on_announce(void *ctx, const uint8_t mac[6])
{
	struct vhost_port *vhost = ctx;

	if (notice_limit_pass(&vhost->noticed, "migrated-here", clock_ns()))
		port_notice(&vhost->port, "migrated-here",
			    "the guest has arrived by migration with MAC "
			    "%02x:%02x:%02x:%02x:%02x:%02x",
			    mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static void vhost_describe(const struct port *port, struct port_guest *ret)
{
	const struct vhost_port *vhost = (const struct vhost_port *)port;

	ret->connected = vhost_endpoint_connected(vhost->endpoint);
	ret->features = vhost_endpoint_features(vhost->endpoint);
}

static void vhost_describe_queue(const struct port *port, unsigned queue, struct port_queue_state *ret)
{
	const struct pair *pair = &((const struct vhost_port *)port)->pairs[queue];

	for (unsigned side = 0; side < 2; side++) {
		const struct virtqueue *virtqueue = pair->started[side];

		ret->sizes[side] = virtqueue ? virtqueue_size(virtqueue) : 0;
		if (!virtqueue)
			continue;
		if (virtqueue_broken(virtqueue))
			ret->broken = virtqueue_broken_reason(virtqueue);
		if (virtqueue_last_fault(virtqueue) != VIRTQ_FAULT_NONE)
			ret->fault = virtq_fault_sentence(virtqueue_last_fault(virtqueue));
	}
}

static void on_endpoint_freed(void *arg)
{
	struct vhost_port *vhost = arg;
	void (*closed)(void *arg) = vhost->closed;
	void *closed_arg = vhost->closed_arg;

	loop_timer_remove(vhost->down_timer);
	free(vhost->pairs);
	free(vhost);
	if (closed)
		closed(closed_arg);
}

static void vhost_close(struct port *port, void (*done)(void *arg), void *arg)
{
	struct vhost_port *vhost = (struct vhost_port *)port;

	vhost->closed = done;
	vhost->closed_arg = arg;
	vhost_endpoint_free(vhost->endpoint, on_endpoint_freed, vhost);
}

/* The guest hears of it by DHCP or a router advertisement: drivers read the device's own field only when they start. */
static int vhost_set_mtu(struct port *port, uint16_t mtu, struct dpu_error *err)
{
	if (mtu < MTU_MIN)
		return error_set(err, DPU_E_INVALID, "mtu", "an MTU of %u is less than %d", mtu, MTU_MIN);
	vhost_endpoint_set_mtu(((struct vhost_port *)port)->endpoint, mtu);
	return 0;
}

static const struct port_ops vhost_ops = {
	.kind = "vhost",
	.rx = vhost_rx,
	.tx = vhost_tx,
	.arm = vhost_arm,
	.disarm = vhost_disarm,
	.fd = vhost_fd,
	.set_mtu = vhost_set_mtu,
	.describe = vhost_describe,
	.describe_queue = vhost_describe_queue,
	.close = vhost_close,
};

/* ---- opening ---- */

static int options_check(const struct port_vhost_options *options, struct dpu_error *err)
{
	if (options->queue_pairs == 0 || options->queue_pairs > PORT_MAX_QUEUES)
		return error_set(err, DPU_E_INVALID, "queue_pairs", "%u queue pairs are not within 1 and %d",
				 options->queue_pairs, PORT_MAX_QUEUES);
	if (options->mtu < MTU_MIN)
		return error_set(err, DPU_E_INVALID, "mtu", "an MTU of %u is less than %d", options->mtu, MTU_MIN);
	return 0;
}

static int endpoint_open(struct vhost_port *vhost, const struct port_vhost_options *options, struct dpu_error *err)
{
	struct vhost_options endpoint = {
		.loop = vhost->loop,
		.socket_path = options->socket_path,
		.role = options->server ? VHOST_SERVER : VHOST_CLIENT,
		.ops = &vhost->device,
		.ctx = vhost,
		.mtu = options->mtu,
		.reconnect_ms = options->reconnect_ms,
		.state_path = options->state_path,
	};

	vhost->device = (struct vhost_device_ops){
		.features = virtio_net_features(),
		.max_queues = options->queue_pairs * 2,
		.max_queue_size = QUEUE_SIZE_MAX,
		.queue_num = options->queue_pairs,
		.in_order = true,
		.queue_start = on_queue_start,
		.queue_stop = on_queue_stop,
		.connected = on_connected,
		.notice = on_notice,
		.announce = on_announce,
	};
	return vhost_endpoint_new(&endpoint, &vhost->endpoint, err);
}

int port_vhost_open(const struct port_vhost_options *options, const char *name, struct loop *loop,
		    struct rte_mempool *pool, const struct port_callbacks *callbacks, struct port **ret,
		    struct dpu_error *err)
{
	int r = options_check(options, err);

	if (r < 0)
		return r;
	struct vhost_port *vhost = calloc(1, sizeof(*vhost));
	struct pair *pairs = aligned_alloc(64, options->queue_pairs * sizeof(*pairs));
	if (!vhost || !pairs || loop_timer_add(loop, UINT64_MAX / 2, 0, on_down_timer, vhost, &vhost->down_timer) < 0) {
		free(vhost);
		free(pairs);
		return error_set(err, DPU_E_LIMIT, NULL, "no memory for a vhost-user port");
	}
	memset(pairs, 0, options->queue_pairs * sizeof(*pairs));
	vhost->loop = loop;
	vhost->pairs = pairs;
	for (unsigned i = 0; i < options->queue_pairs; i++) {
		pairs[i].port = vhost;
		rte_spinlock_init(&pairs[i].lock);
	}
	port_init(&vhost->port, &vhost_ops, name, pool, callbacks);
	vhost->port.rx_queues = vhost->port.tx_queues = options->queue_pairs;
	vhost->port.mtu = options->mtu;
	vhost->port.mac = options->mac;
	r = endpoint_open(vhost, options, err);
	if (r < 0) {
		loop_timer_remove(vhost->down_timer);
		free(pairs);
		free(vhost);
		return r;
	}
	*ret = &vhost->port;
	return 0;
}
