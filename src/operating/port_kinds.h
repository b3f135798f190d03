/* SPDX-License-Identifier: BSD-3-Clause */
/* The kinds of ports behind port_uplink_open(). Arguments are checked there. */
#pragma once

#include "operating/port.h"

/* An interface of our network namespace by an AF_PACKET socket per queue. mtu 0 = the interface's, else it is set. */
int port_af_packet_open(const char *interface, const char *name, uint16_t mtu, unsigned queues, struct loop *loop,
			struct rte_mempool *pool, const struct port_callbacks *callbacks, struct port **ret,
			struct dpu_error *err);

enum port_ethdev_kind {
	PORT_ETHDEV_DEVICE,
	PORT_ETHDEV_CLIENT, /* connects to a peer when it is started (memif): started again until that works */
};

/* A DPDK device by its arguments. */
int port_ethdev_open(enum port_ethdev_kind kind, const char *devargs, const char *name, uint16_t mtu, unsigned queues,
		     struct loop *loop, struct rte_mempool *pool, const struct port_callbacks *callbacks,
		     struct port **ret, struct dpu_error *err);
