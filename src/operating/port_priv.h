/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kinds of ports share. */
#pragma once

#include <sched.h>
#include <rte_branch_prediction.h>
#include <rte_spinlock.h>
#include "operating/port.h"

/* Requests among the RTE_MBUF_F_TX_* flags; the others only describe the frame. */
#define PORT_TX_REQUESTS                                                                                               \
	(RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG |              \
	 RTE_MBUF_F_TX_OUTER_IP_CKSUM | RTE_MBUF_F_TX_OUTER_UDP_CKSUM)

/* Fills the common part of a zeroed port; all queues are off. */
void port_init(struct port *port, const struct port_ops *ops, const char *name, struct rte_mempool *pool,
	       const struct port_callbacks *callbacks);

/* The life of kinds whose queues come and go together, with an interface that may vanish and come back. */
enum port_life_stage { PORT_OPEN, PORT_LOSING, PORT_ABSENT, PORT_CLOSING };

struct port_life {
	struct port *port;
	int tx_worker;                  /* of open queues: PORT_WORKER_ANY, or PORT_WORKER_OFF for the owner to set */
	int (*open)(struct port *port); /* opens all queues (again), sets port.up; 0 or a negative errno */
	/* So many of the port's queues are there; set by open() where the other side may have fewer, else 0: all. */
	uint16_t rx_open, tx_open;
	/* Closes what open() opened; the owner has released all queues. 0, or -EINPROGRESS: port_life_shut_done()
	 * follows. */
	int (*shut)(struct port *port);
	void (*free)(struct port *port); /* the rest, at the end */
	enum port_life_stage stage;
	bool announced, was_lost;
	unsigned held; /* queues that the owner has not yet released */
	struct loop_timer *retry;
	void (*done)(void *arg); /* of close */
	void *arg;
};

int port_life_init(struct port_life *life, struct loop *loop);
/* After a first open() that the kind has done itself: announces the queues. */
void port_life_start(struct port_life *life);
/* After a first open() that has found nobody: tries again until it works, then announces the queues. */
void port_life_wait(struct port_life *life);
/* The interface has gone: takes the queues back, shuts, and opens again as soon as that works. */
void port_life_lost(struct port_life *life);
void port_life_shut_done(struct port_life *life);
/* It may be back: try now instead of within a second. */
void port_life_retry(struct port_life *life);
void port_life_close(struct port_life *life, void (*done)(void *arg), void *arg);

/* Tells the owner of a change. */
void port_set_up(struct port *port, bool up);
void port_notice(struct port *port, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* In workers; rare. */
static inline void port_rx_drop(struct port *port, enum port_rx_drop reason, uint64_t frames)
{
	atomic_fetch_add_explicit(&port->rx_drops[reason], frames, memory_order_relaxed);
}

/* For transmit queues that several workers use. The holder may have been preempted: do not burn its time. */
static inline void port_tx_lock(rte_spinlock_t *lock)
{
	enum { LOCK_SPINS = 4096 };

	for (unsigned spins = 0; unlikely(!rte_spinlock_trylock(lock));) {
		rte_pause();
		if (++spins == LOCK_SPINS) {
			spins = 0;
			sched_yield();
		}
	}
}
