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
struct port_tx_result;
enum { PORT_MAX_QUEUES = 64 };

/* Values of rx_worker and tx_worker that are no worker's number. */
enum {
	PORT_WORKER_ANY =
		-1, /* rx: nobody polls it; tx: any worker may use it at any time (the kind or the kernel locks) */
	PORT_WORKER_OFF = -2, /* tx: nobody may use it (not ready, or without an owner yet) */
};

/* What control can tell of who is at the other side of a port. */
struct port_guest {
	bool connected;
	uint64_t features; /* virtio's, as negotiated */
};
struct port_queue_state {
	unsigned sizes[2];  /* descriptors: to the guest, from the guest; 0 = not set up */
	const char *broken; /* why the queue is not worked on any more; NULL: it is */
	const char *fault;  /* what was wrong with the last bad chain of descriptors; NULL: there was none */
};

struct port_ops {
	const char *kind; /* "vhost", "tap", "af_packet", "memif", "ethdev" */
	/* Frames that carry offload requests of the sender (partial checksum, TSO) have RTE_MBUF_F_TX_* flags and
	 * l2_len, l3_len, l4_len and tso_segsz set, checked against the frame. */
	unsigned (*rx)(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned max);
	/* Takes from the front what it can and frees it; returns how many. The rest stays the caller's. What was taken
	 * is counted in *ret (added to it): packets and bytes that were sent, too_long and failed that never can be. */
	unsigned (*tx)(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned count,
		       struct port_tx_result *ret);
	int (*arm)(struct port *port, unsigned queue); /* as worker_source.arm; NULL: cannot be armed */
	void (*disarm)(struct port *port, unsigned queue);
	int (*fd)(struct port *port, unsigned queue);
	/* Another MTU while it is open; NULL: cannot be. 0, or a negative errno with err filled (path "mtu") and all as
	 * it was. Control thread. */
	int (*set_mtu)(struct port *port, uint16_t mtu, struct dpu_error *err);
	/* Control thread; NULL: there is nothing to tell. */
	void (*describe)(const struct port *port, struct port_guest *ret);
	void (*describe_queue)(const struct port *port, unsigned queue, struct port_queue_state *ret);
	/* Take the queues back (queue_gone), then free the port and call done. Control thread. Once. Before, the owner
	 * unpublishes the port: the grace period after queue_gone covers those that still see it. The loop must live
	 * until done is called. */
	void (*close)(struct port *port, void (*done)(void *arg), void *arg);
};

/* Frames that came but could not be received. */
enum port_rx_drop {
	PORT_RX_NO_BUFFER,      /* no packet buffer was free */
	PORT_RX_BAD_HEADER,     /* the sender's virtio-net header contradicts the frame */
	PORT_RX_TOO_LONG,       /* longer than the port can take */
	PORT_RX_TOO_SHORT,      /* shorter than an Ethernet header */
	PORT_RX_MISSED,         /* the kernel or the device had no room left: polled too rarely */
	PORT_RX_BAD_DESCRIPTOR, /* the sender's descriptors make no sense */
	PORT_RX_BAD_BUFFER,     /* no frame: one of the other side's for what we transmit, useless and returned empty */
	PORT_RX_DROPS,
};
/* "no-buffer", "bad-virtio-header", "too-long", "too-short", "missed", "bad-descriptor", "bad-receive-buffer" */
const char *port_rx_drop_name(enum port_rx_drop drop);

/* Embedded as first member by each kind. Plain fields are set at open; atomics change while running. */
struct port {
	const struct port_ops *ops;
	char name[64];
	uint16_t iface; /* interface number in the packet path (device/packet/path.h) */
	uint16_t rx_queues, tx_queues;
	uint16_t mtu;
	struct mac_addr mac;
	struct rte_mempool *pool;
	uint16_t tx_max_segments;     /* mbufs in a chain; 0 = any number, 1 = linear buffers only */
	_Atomic uint64_t tx_offloads; /* RTE_MBUF_F_TX_* that may be left to it; the rest is done in software before */
	_Atomic uint64_t tx_tunnel_offloads; /* the same for frames with RTE_MBUF_F_TX_TUNNEL_*; mostly less */
	_Atomic bool up;                     /* link up, guest connected and driver ready */
	bool keep; /* to be set before close(): leave what can outlive us (a persistent TAP) to the next process */
	_Atomic int16_t rx_worker[PORT_MAX_QUEUES]; /* worker that polls it, or PORT_WORKER_ANY; set by the owner */
	/* The worker that may use it. Kinds whose queues any worker may use say PORT_WORKER_ANY; where it is
	 * PORT_WORKER_OFF when queue_ready is called, the owner sets it. */
	_Atomic int16_t tx_worker[PORT_MAX_QUEUES];
	_Atomic uint64_t rx_drops[PORT_RX_DROPS];
	/* Tells the owner about link and guest changes; control thread. */
	void (*changed)(void *ctx, struct port *port);
	/* Queues come and go with a guest (vhost), with an interface that is removed and comes back, and with close():
	 * start polling; stop. Before queue_gone the kind sets tx_worker to PORT_WORKER_OFF. released(arg) is called,
	 * at once or later, when no worker uses the queue any more in either direction: its source is removed, and a
	 * grace period (workers_barrier) has passed for those that transmit. */
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
	const char *state_path; /* tmpfs file that lets packed rings survive our death (vhost_user.h); NULL = none */
	uint32_t reconnect_ms;  /* client: time between attempts; 0 = 100 */
};
struct port_tap_options {
	const char *name;  /* interface name inside the namespace */
	const char *netns; /* name under /run/netns, a path, or NULL for our own */
	uint16_t queue_pairs;
	uint16_t mtu;
	struct mac_addr mac; /* given to the interface: the tenant's MAC */
	bool persist;        /* keep the interface over our restart (it is adopted by the next open) */
	bool adopt;          /* an interface of this name that we may use but did not make is taken, too */
	bool far_end; /* we are the interface's neighbour, not its driver: port.mac is another than the interface's */
};

/* All open functions: 0 and a port whose queues are announced by queue_ready (at once, but for vhost and memif: once
 * the peer is there), or a negative errno with err filled (path = the option's field). pool: of the port's mbufs. */
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

/* Changes the MTU of an open port: 0, or a negative errno with err filled (path "mtu"). Control thread. */
int port_set_mtu(struct port *port, uint16_t mtu, struct dpu_error *err);

/* What became of a burst. packets and bytes count frames as sent: after segmentation. */
struct port_tx_result {
	unsigned packets;
	unsigned full;     /* no room in the queue, also after some retries */
	unsigned too_long; /* the other side will never take a frame of this length */
	unsigned failed;   /* impossible offload request, no buffer to segment into, or the system refuses it */
	uint64_t bytes;
};
/* Prepares packets for what the port cannot do itself (checksums, segmentation, linear buffers) and transmits. Takes
 * all: frees what it could not send and counts it. *ret is set. Runs in a worker that may use the queue. */
void port_transmit(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned count,
		   struct port_tx_result *ret);
/* The transmit queue for this worker and flow hash: ≥ 0, or -1 with *ret_worker set to the worker that must do it, or
 * -2 if down or without a usable queue. Any thread. */
int port_tx_queue(struct port *port, unsigned worker, uint32_t hash, unsigned *ret_worker);

struct eal_options {
	bool huge_pages;         /* use them if the machine has any free; else memory_mb of normal pages */
	unsigned memory_mb;      /* 0 = 128; normal pages take memory only when used */
	const char *file_prefix; /* separates instances; NULL = by process */
	const char *extra;       /* further EAL arguments, blank-separated; may be NULL */
};
/* Once per process, before workers_new(); again with the same options does nothing, with others is an error. Starts no
 * thread that spins and leaves the caller's CPU affinity alone. DPDK's own log goes to ours. PCI devices are not
 * touched before port_uplink_open() names one. */
int eal_start(const struct eal_options *options, struct dpu_error *err);
bool eal_started(void);
bool eal_huge_pages(void); /* what memory is made of */

/* Buffers for packets of any length (chains). data_room: bytes of each, headroom (RTE_PKTMBUF_HEADROOM) included; 0 =
 * 2048 + headroom. Lives as long as the process or until rte_mempool_free(). */
struct rte_mempool *packet_pool_new(const char *name, unsigned count, unsigned data_room, struct dpu_error *err);
