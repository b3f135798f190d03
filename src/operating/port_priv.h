/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kinds of ports share. */
#pragma once

#include "operating/port.h"

/* Requests among the RTE_MBUF_F_TX_* flags; the others only describe the frame. */
#define PORT_TX_REQUESTS                                                                                               \
	(RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG |              \
	 RTE_MBUF_F_TX_OUTER_IP_CKSUM | RTE_MBUF_F_TX_OUTER_UDP_CKSUM)

/* Fills the common part of a zeroed port; all queues are off. */
void port_init(struct port *port, const struct port_ops *ops, const char *name, struct rte_mempool *pool,
	       const struct port_callbacks *callbacks);

/* For kinds whose queues come and go together. tx_worker: PORT_WORKER_ANY, or OFF for the owner to set. */
struct port_queues {
	struct port *port;
	bool announced;
	unsigned held; /* by the owner, while they are taken back */
	void (*done)(void *arg);
	void *arg;
};
void port_queues_announce(struct port_queues *queues, int tx_worker);
/* done(arg) once the owner has released all; at once if there is none. */
void port_queues_take_back(struct port_queues *queues, void (*done)(void *arg), void *arg);

void port_set_up(struct port *port, bool up); /* tells the owner of a change */
void port_notice(struct port *port, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* In workers; rare. */
static inline void port_rx_drop(struct port *port, enum port_rx_drop reason, uint64_t frames)
{
	atomic_fetch_add_explicit(&port->rx_drops[reason], frames, memory_order_relaxed);
}
