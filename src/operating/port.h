/* SPDX-License-Identifier: BSD-3-Clause */
/* Ports: where frames enter and leave, whatever is behind them: a DPDK device, an AF_PACKET ring, a TAP, a vhost-user
 * guest.
 *
 * Control thread: open, close, properties. Each receive queue is polled by one worker. A transmit queue is used by one
 * worker at a time: port_tx_queue() says which queue a worker may use, or that the packet must go to another worker. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <rte_mbuf.h>
#include "base/error.h"
#include "base/loop.h"
#include "base/netaddr.h"
#include "operating/worker.h"

struct port;
enum { PORT_MAX_QUEUES = 64 };

struct port_ops {
	const char *kind; /* "vhost", "tap", "af_packet", "ethdev" */
	unsigned (*rx)(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned max);
	/* Takes from the front what it can; those are freed when sent. Returns how many. The rest stays the caller's.
	 */
	unsigned (*tx)(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned count);
	int (*arm)(struct port *port, unsigned queue); /* as worker_source.arm; NULL: cannot be armed */
	void (*disarm)(struct port *port, unsigned queue);
	int (*fd)(struct port *port, unsigned queue);
	/* Unregister from everything, then call done and free. Control thread. */
	void (*close)(struct port *port, void (*done)(void *arg), void *arg);
};

/* Embedded as first member by each kind. Plain fields are set at open; atomics change while running. */
struct port {
	const struct port_ops *ops;
	char name[64];
	uint16_t iface; /* interface number in the packet path (device/packet/path.h) */
	uint16_t rx_queues, tx_queues;
	uint16_t mtu;
	struct mac_addr mac;
	struct rte_mempool *pool;
	_Atomic uint64_t tx_offloads; /* RTE_MBUF_F_TX_* that may be left to it; the rest is done in software before */
	_Atomic bool up;              /* link up, guest connected and driver ready */
	_Atomic int16_t rx_worker[PORT_MAX_QUEUES]; /* worker that polls it, -1 = none */
	_Atomic int16_t
		tx_worker[PORT_MAX_QUEUES]; /* worker that may use it, -1 = any (the kind locks or the kernel does) */
	/* Tells the owner about link and guest changes; control thread. */
	void (*changed)(void *ctx, struct port *port);
	/* Queues come and go with a guest (vhost): start polling / stop, answer with port_queue_released() or at once.
	 */
	void (*queue_ready)(void *ctx, struct port *port, unsigned queue);
	void (*queue_gone)(void *ctx, struct port *port, unsigned queue, void (*released)(void *arg), void *arg);
	void (*notice)(void *ctx, struct port *port, const char *name, const char *sentence);
	void *ctx;
};

struct port_callbacks {
	void (*changed)(void *ctx, struct port *port);
	void (*queue_ready)(void *ctx, struct port *port, unsigned queue);
	void (*queue_gone)(void *ctx, struct port *port, unsigned queue, void (*released)(void *arg), void *arg);
	void (*notice)(void *ctx, struct port *port, const char *name, const char *sentence);
	void *ctx;
};

struct port_vhost_options {
	const char *socket_path;
	bool server;
	uint16_t queue_pairs;
	uint16_t mtu;
	struct mac_addr mac;
	const char *inflight_path;
};
struct port_tap_options {
	const char *name;  /* interface name inside the namespace */
	const char *netns; /* name under /run/netns, a path, or NULL for our own */
	uint16_t queue_pairs;
	uint16_t mtu;
	struct mac_addr mac; /* given to the interface: the tenant's MAC */
	bool persist;        /* keep the interface over our restart (it is adopted by the next open) */
};

/* All open functions: 0 and a port whose queues are announced by queue_ready (at once for all kinds but vhost), or a
 * negative errno with err filled (path = the option's field). pool: of the port's mbufs. */
int port_vhost_open(const struct port_vhost_options *options, const char *name, struct loop *loop,
		    struct rte_mempool *pool, const struct port_callbacks *callbacks, struct port **ret,
		    struct dpu_error *err);
int port_tap_open(const struct port_tap_options *options, const char *name, struct loop *loop, struct rte_mempool *pool,
		  const struct port_callbacks *callbacks, struct port **ret, struct dpu_error *err);
/* device: "af_packet:IF", "af_xdp:IF", "tap:NAME", "memif:PATH[,server][,queues=N]", or DPDK device arguments
 * (a PCI address or "net_…,key=value"). */
int port_uplink_open(const char *device, const char *name, uint16_t mtu, unsigned queues, struct loop *loop,
		     struct rte_mempool *pool, const struct port_callbacks *callbacks, struct port **ret,
		     struct dpu_error *err);

/* Prepares packets for what the port cannot do itself (checksums, segmentation, linear buffers) and transmits; frees
 * and reports what it could not send. Runs in the worker that owns the queue. drops: packets per reason. */
struct port_tx_result {
	unsigned packets, full, too_long, failed;
	uint64_t bytes;
};
void port_transmit(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned count,
		   struct port_tx_result *ret);
/* The transmit queue for this worker and flow hash: ≥ 0, or -1 with *ret_worker set to the worker that must do it, or
 * -2 if down. */
int port_tx_queue(struct port *port, unsigned worker, uint32_t hash, unsigned *ret_worker);

struct eal_options {
	bool huge_pages; /* use them if the machine has any; else memory_mb of normal pages */
	unsigned memory_mb;
	const char *file_prefix; /* separates instances */
	const char *extra;       /* further EAL arguments, blank-separated; may be NULL */
};
/* Once per process. Worker threads are our own, registered with rte_thread_register(). */
int eal_start(const struct eal_options *options, struct dpu_error *err);
struct rte_mempool *packet_pool_new(const char *name, unsigned count, unsigned data_room, struct dpu_error *err);
