/* SPDX-License-Identifier: BSD-3-Clause */
/* Ports whose interface may be removed and come back: queues are handed to the owner, taken back, and freed once the
 * owner has released them. */
#include "operating/port_priv.h"

#include "base/clock.h"

static const uint64_t RETRY_NS = CLOCK_NS_PER_S;

static unsigned rx_open(const struct port_life *life)
{
	return life->rx_open ? life->rx_open : life->port->rx_queues;
}

static void announce(struct port_life *life)
{
	struct port *port = life->port;

	life->stage = PORT_OPEN;
	life->announced = true;
	for (unsigned i = 0; i < (life->tx_open ? life->tx_open : port->tx_queues); i++)
		atomic_store(&port->tx_worker[i], life->tx_worker);
	for (unsigned i = 0; i < rx_open(life); i++)
		if (port->queue_ready)
			port->queue_ready(port->ctx, port, i);
}

static void destroy(struct port_life *life)
{
	void (*done)(void *) = life->done;
	void *arg = life->arg;

	loop_timer_remove(life->retry);
	life->free(life->port);
	if (done)
		done(arg);
}

void port_life_shut_done(struct port_life *life)
{
	if (life->stage == PORT_CLOSING) {
		destroy(life);
		return;
	}
	life->stage = PORT_ABSENT;
	loop_timer_rearm(life->retry, 0);
}

static void released(void *arg)
{
	struct port_life *life = arg;

	if (--life->held == 0 && life->shut(life->port) == 0)
		port_life_shut_done(life);
}

static void take_back(struct port_life *life)
{
	struct port *port = life->port;

	life->held = 1;
	for (unsigned i = 0; i < port->tx_queues; i++)
		atomic_store(&port->tx_worker[i], PORT_WORKER_OFF);
	port_set_up(port, false);
	if (life->announced && port->queue_gone) {
		life->held += rx_open(life);
		for (unsigned i = 0; i < rx_open(life); i++)
			port->queue_gone(port->ctx, port, i, released, life);
	}
	life->announced = false;
	released(life);
}

static void try_open(void *ctx)
{
	struct port_life *life = ctx;

	if (life->stage != PORT_ABSENT)
		return;
	if (life->open(life->port) < 0) {
		loop_timer_rearm(life->retry, RETRY_NS);
		return;
	}
	if (life->was_lost)
		port_notice(life->port, "interface-back", "The other end of port %s is there again.", life->port->name);
	announce(life);
	if (life->port->changed)
		life->port->changed(life->port->ctx, life->port);
}

int port_life_init(struct port_life *life, struct loop *loop)
{
	return loop_timer_add(loop, UINT64_MAX, 0, try_open, life, &life->retry);
}

void port_life_start(struct port_life *life)
{
	announce(life);
}

void port_life_wait(struct port_life *life)
{
	life->stage = PORT_ABSENT;
	loop_timer_rearm(life->retry, RETRY_NS);
}

void port_life_lost(struct port_life *life)
{
	if (life->stage != PORT_OPEN)
		return;
	life->stage = PORT_LOSING;
	life->was_lost = true;
	port_notice(life->port, "interface-lost",
		    "The other end of port %s is gone; it is opened again once it is back.", life->port->name);
	take_back(life);
}

void port_life_retry(struct port_life *life)
{
	if (life->stage == PORT_ABSENT)
		loop_timer_rearm(life->retry, 0);
}

void port_life_close(struct port_life *life, void (*done)(void *arg), void *arg)
{
	enum port_life_stage stage = life->stage;

	life->done = done;
	life->arg = arg;
	life->stage = PORT_CLOSING;
	if (stage == PORT_OPEN)
		take_back(life);
	else if (stage == PORT_ABSENT)
		destroy(life);
	/* else: the queues are on their way back already */
}
