/* SPDX-License-Identifier: BSD-3-Clause */
/* The af_packet port: rings on an interface of the host, which may vanish and come back. */
#include "operating/port_kinds.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <net/if.h>
#include "operating/af_packet_ring.h"
#include "operating/link_watch.h"
#include "operating/port_priv.h"
#include "operating/vnet_header.h"

struct port_af_packet {
	struct port port;
	struct port_life life;
	char interface[IFNAMSIZ];
	unsigned wanted_mtu; /* 0 = the interface's */
	int index;           /* of the interface that is open */
	struct link_watch *watch;
	struct af_packet_ring rings[];
};

static unsigned rx(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned max)
{
	return af_packet_ring_rx(&((struct port_af_packet *)port)->rings[queue], port, packets, max);
}

static unsigned tx(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned count,
		   struct port_tx_result *ret)
{
	return af_packet_ring_tx(&((struct port_af_packet *)port)->rings[queue], packets, count, ret);
}

static int arm(struct port *port, unsigned queue)
{
	return af_packet_ring_waiting(&((struct port_af_packet *)port)->rings[queue]);
}

static void disarm(struct port *port, unsigned queue)
{
}

static int queue_fd(struct port *port, unsigned queue)
{
	return ((struct port_af_packet *)port)->rings[queue].fd;
}

static void close_port(struct port *port, void (*done)(void *arg), void *arg)
{
	port_life_close(&((struct port_af_packet *)port)->life, done, arg);
}

static const struct port_ops af_packet_ops = {
	.kind = "af_packet",
	.rx = rx,
	.tx = tx,
	.arm = arm,
	.disarm = disarm,
	.fd = queue_fd,
	.close = close_port,
};

/* ---- life ---- */

static void close_rings(struct port *port)
{
	struct port_af_packet *af = (struct port_af_packet *)port;

	for (unsigned i = 0; i < port->rx_queues; i++)
		af_packet_ring_close(&af->rings[i]);
	af->index = 0;
}

static int shut(struct port *port)
{
	close_rings(port);
	return 0;
}

static int open_rings(struct port_af_packet *af, const struct link_state *state)
{
	uint16_t group = 0;
	int status = 0;

	for (unsigned i = 0; i < af->port.rx_queues && status == 0; i++) {
		status = af_packet_ring_open(&af->rings[i], state->index, state->mtu);
		if (status == 0 && af->port.rx_queues > 1)
			status = af_packet_ring_join(&af->rings[i], &group);
	}
	if (status < 0)
		close_rings(&af->port);
	return status;
}

static int open_interface(struct port *port)
{
	struct port_af_packet *af = (struct port_af_packet *)port;
	struct link_state state;
	int status = link_state_read(af->interface, &state);

	if (status == 0 && (state.index == 0 || !state.ethernet))
		status = -ENODEV;
	if (status == 0)
		status = link_configure(af->interface, af->wanted_mtu == state.mtu ? 0 : af->wanted_mtu);
	if (status == 0)
		status = link_state_read(af->interface, &state); /* with what that has changed */
	if (status == 0)
		status = open_rings(af, &state);
	if (status < 0)
		return status;
	link_watch_seen(af->watch, &state);
	af->index = state.index;
	port->mac = state.mac;
	port->mtu = state.mtu > UINT16_MAX ? UINT16_MAX : (uint16_t)state.mtu;
	atomic_store(&port->up, state.running);
	return 0;
}

static void free_port(struct port *port)
{
	struct port_af_packet *af = (struct port_af_packet *)port;

	link_watch_free(af->watch);
	free(af);
}

static void link_changed(void *ctx, const struct link_state *state)
{
	struct port_af_packet *af = ctx;

	if (af->life.stage == PORT_OPEN && state->index != af->index)
		port_life_lost(&af->life);
	else if (af->life.stage == PORT_OPEN)
		port_set_up(&af->port, state->running);
	else if (state->index != 0)
		port_life_retry(&af->life);
}

static int explain(int status, const char *interface, unsigned mtu, struct dpu_error *err)
{
	switch (status) {
	case -EPERM:
	case -EACCES:
		return error_set(err, DPU_E_DENIED, "device",
				 "Opening interface \"%s\" needs the capabilities CAP_NET_RAW and CAP_NET_ADMIN.",
				 interface);
	case -ENODEV:
		return error_set(err, DPU_E_NOT_FOUND, "device",
				 "There is no Ethernet interface \"%s\" in this network namespace.", interface);
	case -EINVAL:
		return error_set(err, DPU_E_INVALID, "mtu", "Interface \"%s\" does not take an MTU of %u.", interface,
				 mtu);
	default:
		return error_set(err, DPU_E_IO, "device", "Interface \"%s\" cannot be opened: %s.", interface,
				 strerror(-status));
	}
}

int port_af_packet_open(const char *interface, const char *name, uint16_t mtu, unsigned queues, struct loop *loop,
			struct rte_mempool *pool, const struct port_callbacks *callbacks, struct port **ret,
			struct dpu_error *err)
{
	struct port_af_packet *af = calloc(1, sizeof(*af) + queues * sizeof(af->rings[0]));

	if (!af)
		return error_set(err, DPU_E_LIMIT, "device", "No memory for the port.");
	port_init(&af->port, &af_packet_ops, name, pool, callbacks);
	af->port.rx_queues = af->port.tx_queues = (uint16_t)queues;
	atomic_init(&af->port.tx_offloads, VNET_TX_OFFLOADS);
	atomic_init(&af->port.tx_tunnel_offloads, VNET_TX_TUNNEL_OFFLOADS);
	af->life = (struct port_life){
		.port = &af->port,
		.tx_worker = PORT_WORKER_ANY, /* the kernel locks the socket */
		.open = open_interface,
		.shut = shut,
		.free = free_port,
	};
	snprintf(af->interface, sizeof(af->interface), "%s", interface);
	af->wanted_mtu = mtu;
	for (unsigned i = 0; i < queues; i++)
		af->rings[i].fd = -1;
	int status = port_life_init(&af->life, loop);
	if (status == 0) /* first, so that no change is missed */
		status = link_watch_new(loop, interface, link_changed, af, &af->watch);
	if (status == 0)
		status = open_interface(&af->port);
	if (status < 0) {
		close_rings(&af->port);
		loop_timer_remove(af->life.retry);
		free_port(&af->port);
		return explain(status, interface, mtu, err);
	}
	*ret = &af->port;
	port_life_start(&af->life);
	return 0;
}
