/* SPDX-License-Identifier: BSD-3-Clause */
/* The kinds of ports behind port_uplink_open(). Arguments are checked there. */
#pragma once

#include "operating/port.h"

/* An interface of our network namespace by an AF_PACKET socket per queue. mtu 0 = the interface's, else it is set. */
int port_af_packet_open(const char *interface, const char *name, uint16_t mtu, unsigned queues, struct loop *loop,
			struct rte_mempool *pool, const struct port_callbacks *callbacks, struct port **ret,
			struct dpu_error *err);

/* A DPDK device by its arguments. */
int port_ethdev_open(const char *devargs, const char *name, uint16_t mtu, unsigned queues, struct loop *loop,
		     struct rte_mempool *pool, const struct port_callbacks *callbacks, struct port **ret,
		     struct dpu_error *err);

struct port_memif_options {
	const char *path; /* absolute; of the socket. Read at open only */
	bool server;      /* listens at it; else connects to it, again and again */
	unsigned queues;  /* most in each direction: there are as many as both ends have */
	uint16_t mtu;     /* 0 = 1500 */
};
/* The queues are announced when the other end is there, taken back when it goes. */
int port_memif_open(const struct port_memif_options *options, const char *name, struct loop *loop,
		    struct rte_mempool *pool, const struct port_callbacks *callbacks, struct port **ret,
		    struct dpu_error *err);
