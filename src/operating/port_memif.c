/* SPDX-License-Identifier: BSD-3-Clause */
/* The memif port: frames over shared memory to another process of this machine. The other end comes and goes: as server
 * we take the next one, as client we try again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/event_signal.h"
#include "base/notice_limit.h"
#include "operating/memif_ring.h"
#include "operating/memif_socket.h"
#include "operating/port_kinds.h"
#include "operating/port_priv.h"

static const uint64_t GREETING_NS = 3 * CLOCK_NS_PER_S; /* from the connection to the end of the greeting */
static const uint64_t LOOK_NS = 100 * CLOCK_NS_PER_MS;  /* between looks for frames that were overlooked */
enum {
	LOG2_RING = 10,
	BUFFER_MIN = 2048,
	MESSAGES_PER_EVENT = 16,
	FRAME_OVERHEAD = 14 + 2 * 4, /* Ethernet and two VLAN tags */
	MTU_DEFAULT = 1500,
};
_Static_assert((unsigned)MEMIF_MAX_QUEUES == (unsigned)PORT_MAX_QUEUES, "a ring for each queue");

struct memif_queue {
	struct memif_ring rx __attribute__((aligned(64)));
	struct memif_ring tx __attribute__((aligned(64)));
	rte_spinlock_t lock; /* of tx: several workers may transmit */
};

struct port_memif {
	struct port port;
	struct port_life life;
	struct port_memif_options options;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct loop *loop;
	struct memif_listener listener; /* server */
	struct loop_fd *listen_watch;
	int fd; /* of the connection; -1 = none */
	struct loop_fd *watch;
	struct memif_link link; /* while fd ≥ 0 */
	struct loop_timer *greeting, *look;
	struct notice_limit noticed;
	atomic_bool told;   /* a worker has found a ring broken and posted that */
	atomic_bool posted; /* … which control has not yet seen */
	bool freed;         /* to be freed when it does */
	struct memif_queue *queues;
};

/* ---- workers ---- */

static void ring_broken(void *ctx);

/* A post that fails for want of memory is tried again at the next poll. */
static __attribute__((noinline, cold)) void tell_control(struct port_memif *memif)
{
	if (atomic_exchange(&memif->told, true))
		return;
	atomic_store(&memif->posted, true);
	if (loop_post(memif->loop, ring_broken, memif) < 0) {
		atomic_store(&memif->posted, false);
		atomic_store(&memif->told, false);
	}
}

static inline void check_ring(struct port_memif *memif, const struct memif_ring *ring)
{
	if (unlikely(atomic_load_explicit(&ring->broken, memory_order_relaxed)))
		tell_control(memif);
}

static unsigned rx(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned max)
{
	struct port_memif *memif = (struct port_memif *)port;
	struct memif_ring *ring = &memif->queues[queue].rx;
	struct memif_rx_drops drops = { 0 };
	unsigned count = memif_ring_rx(ring, port->pool, packets, max, &drops);

	if (unlikely(drops.no_buffer | drops.too_long | drops.too_short)) {
		port_rx_drop(port, PORT_RX_NO_BUFFER, drops.no_buffer);
		port_rx_drop(port, PORT_RX_TOO_LONG, drops.too_long);
		port_rx_drop(port, PORT_RX_TOO_SHORT, drops.too_short);
	}
	check_ring(memif, ring);
	return count;
}

static unsigned tx(struct port *port, unsigned index, struct rte_mbuf **packets, unsigned count,
		   struct port_tx_result *ret)
{
	struct port_memif *memif = (struct port_memif *)port;
	struct memif_queue *queue = &memif->queues[index];
	struct memif_tx_result result = { 0 };

	port_tx_lock(&queue->lock);
	unsigned taken = memif_ring_tx(&queue->tx, packets, count, &result);
	rte_spinlock_unlock(&queue->lock);
	check_ring(memif, &queue->tx);
	ret->packets += taken - result.too_long;
	ret->too_long += result.too_long;
	ret->bytes += result.bytes;
	return taken;
}

static int arm(struct port *port, unsigned queue)
{
	return memif_ring_arm(&((struct port_memif *)port)->queues[queue].rx);
}

static void disarm(struct port *port, unsigned queue)
{
	memif_ring_disarm(&((struct port_memif *)port)->queues[queue].rx);
}

static int queue_fd(struct port *port, unsigned queue)
{
	return ((struct port_memif *)port)->queues[queue].rx.event_fd;
}

/* ---- the connection ---- */

/* One that comes again and again with the same fault is reported now and then. */
static void notice(struct port_memif *memif, const char *why)
{
	if (!notice_limit_pass(&memif->noticed, why, clock_ns()))
		return;
	port_notice(&memif->port, "memif-disconnected", "The other end of port %s%s%s%s is disconnected: %s.",
		    memif->port.name, memif->link.peer[0] ? " (" : "", memif->link.peer, memif->link.peer[0] ? ")" : "",
		    why);
}

static void connection_close(struct port_memif *memif)
{
	if (memif->fd < 0)
		return;
	loop_fd_remove(memif->watch);
	memif->watch = NULL;
	close(memif->fd);
	memif->fd = -1;
	memif_link_fini(&memif->link);
}

static void listen_on(struct port_memif *memif, bool on)
{
	if (memif->listen_watch)
		loop_fd_modify(memif->listen_watch, on ? EPOLLIN : 0);
}

/* The other end has gone or must go; what workers use lives until they have released it. */
static void connection_over(struct port_memif *memif)
{
	loop_timer_rearm(memif->greeting, UINT64_MAX / 2);
	if (memif->life.stage == PORT_ABSENT) {
		connection_close(memif);
		listen_on(memif, true);
		return;
	}
	loop_fd_remove(memif->watch);
	memif->watch = NULL;
	port_life_lost(&memif->life);
}

static void connection_end(struct port_memif *memif, const char *why)
{
	struct memif_answer answer;

	if (memif->fd < 0 || memif->link.stage == MEMIF_OVER)
		return;
	memif_link_end(&memif->link, why, &answer);
	memif_send(memif->fd, &answer.message, -1);
	notice(memif, why);
	connection_over(memif);
}

/* False when the connection is over. */
static bool message_take(struct port_memif *memif, const struct memif_message *message, int passed)
{
	bool was_up = memif->link.stage == MEMIF_UP;
	struct memif_answer answer;
	int status = memif_link_input(&memif->link, message, passed, &answer);

	if (answer.send && memif_send(memif->fd, &answer.message, answer.fd) < 0 && status == 0)
		status = -ECONNRESET;
	if (status < 0) {
		if (memif->link.why[0])
			notice(memif, memif->link.why);
		connection_over(memif);
		return false;
	}
	if (!was_up && memif->link.stage == MEMIF_UP) {
		loop_timer_rearm(memif->greeting, UINT64_MAX / 2);
		port_life_retry(&memif->life);
	}
	return true;
}

static void on_message(void *ctx, uint32_t events)
{
	struct port_memif *memif = ctx;
	struct memif_message message;

	for (unsigned i = 0; i < MESSAGES_PER_EVENT; i++) {
		int passed = -1, status = memif_receive(memif->fd, &message, &passed);
		if (status == 0)
			return;
		if (status == -EPROTO) {
			connection_end(memif, "it sends what is no message of memif's");
			return;
		}
		if (status < 0) {
			connection_over(memif);
			return;
		}
		if (!message_take(memif, &message, passed))
			return;
	}
}

static int connection_begin(struct port_memif *memif, int fd)
{
	struct memif_link_options options = {
		.server = memif->options.server,
		.name = memif->port.name,
		.queues = memif->options.queues,
		.log2_ring = LOG2_RING,
		.buffer_bytes = RTE_MAX((uint32_t)BUFFER_MIN, (uint32_t)memif->port.mtu + FRAME_OVERHEAD),
	};
	struct memif_answer hello;
	int status = memif_link_init(&memif->link, &options);

	if (status == 0)
		status = loop_fd_add(memif->loop, fd, EPOLLIN, on_message, memif, &memif->watch);
	if (status < 0) {
		memif_link_fini(&memif->link);
		close(fd);
		return status;
	}
	memif->fd = fd;
	loop_timer_rearm(memif->greeting, GREETING_NS);
	memif_link_begin(&memif->link, &hello);
	if (hello.send && memif_send(fd, &hello.message, -1) < 0) {
		connection_over(memif);
		return -ECONNRESET;
	}
	return 0;
}

/* One at a time: the next waits in the backlog until this one has gone. */
static void on_accept(void *ctx, uint32_t events)
{
	struct port_memif *memif = ctx;
	int fd = memif->fd < 0 && memif->life.stage == PORT_ABSENT ? memif_accept(&memif->listener) : -EBUSY;

	if (fd < 0 && fd != -EBUSY)
		return;
	listen_on(memif, false);
	if (fd >= 0 && connection_begin(memif, fd) < 0)
		listen_on(memif, true);
}

/* ---- timers, and what workers tell ---- */

static void on_greeting(void *ctx)
{
	struct port_memif *memif = ctx;

	connection_end(memif, memif->link.stage == MEMIF_UP ? "its buffers are made anew for another MTU"
							    : "the greeting takes too long");
}

static void on_look(void *ctx)
{
	struct port_memif *memif = ctx;

	for (unsigned i = 0; memif->life.stage == PORT_OPEN && i < memif->life.rx_open; i++)
		if (memif_ring_overlooked(&memif->queues[i].rx))
			event_signal(memif->queues[i].rx.event_fd);
}

static const char *broken_ring(struct port_memif *memif)
{
	for (unsigned i = 0; i < memif->options.queues; i++) {
		const char *rx_why = atomic_load(&memif->queues[i].rx.broken);
		const char *tx_why = atomic_load(&memif->queues[i].tx.broken);
		if (rx_why || tx_why)
			return rx_why ? rx_why : tx_why;
	}
	return NULL;
}

static void free_port(struct port *port);

static void ring_broken(void *ctx)
{
	struct port_memif *memif = ctx;
	const char *why = broken_ring(memif);

	atomic_store(&memif->posted, false);
	if (memif->freed)
		free_port(&memif->port);
	else if (why && memif->life.stage == PORT_OPEN)
		connection_end(memif, why);
}

/* ---- life ---- */

static void rings_init(struct port_memif *memif)
{
	bool server = memif->options.server;
	enum memif_direction in = server ? MEMIF_TO_SERVER : MEMIF_TO_CLIENT;
	enum memif_direction out = server ? MEMIF_TO_CLIENT : MEMIF_TO_SERVER;

	memif->life.rx_open = (uint16_t)memif->link.ring_count[in];
	memif->life.tx_open = (uint16_t)memif->link.ring_count[out];
	for (unsigned i = 0; i < memif->life.rx_open; i++)
		memif_ring_init(&memif->queues[i].rx, &memif->link, in, i);
	for (unsigned i = 0; i < memif->life.tx_open; i++)
		memif_ring_init(&memif->queues[i].tx, &memif->link, out, i);
	atomic_store(&memif->told, false);
}

/* Before the greeting is over, -ENOTCONN; its end calls again. */
static int open_rings(struct port *port)
{
	struct port_memif *memif = (struct port_memif *)port;

	if (memif->fd < 0 && !memif->options.server) {
		int fd = memif_connect(memif->path);
		if (fd >= 0)
			connection_begin(memif, fd);
	} else if (memif->fd < 0) {
		listen_on(memif, true);
	}
	if (memif->fd < 0 || memif->link.stage != MEMIF_UP)
		return -ENOTCONN;
	rings_init(memif);
	atomic_store(&port->up, true);
	return 0;
}

static void queues_clear(struct port_memif *memif)
{
	for (unsigned i = 0; i < memif->options.queues; i++) {
		atomic_store(&memif->queues[i].rx.broken, NULL);
		atomic_store(&memif->queues[i].tx.broken, NULL);
	}
}

static int shut(struct port *port)
{
	struct port_memif *memif = (struct port_memif *)port;

	connection_close(memif);
	queues_clear(memif);
	return 0;
}

static void free_port(struct port *port)
{
	struct port_memif *memif = (struct port_memif *)port;

	if (!memif->freed) {
		connection_close(memif);
		loop_fd_remove(memif->listen_watch);
		memif_listener_close(&memif->listener, memif->path);
		loop_timer_remove(memif->greeting);
		loop_timer_remove(memif->look);
	}
	memif->freed = true;
	if (atomic_load(&memif->posted))
		return;
	free(memif->queues);
	free(memif);
}

static void close_port(struct port *port, void (*done)(void *arg), void *arg)
{
	port_life_close(&((struct port_memif *)port)->life, done, arg);
}

/* Longer frames than the buffers are chained, which not every client of DPDK reads rightly: make them fit again. */
static int set_mtu(struct port *port, uint16_t mtu, struct dpu_error *err)
{
	struct port_memif *memif = (struct port_memif *)port;

	if (!memif->options.server && memif->fd >= 0 && mtu + FRAME_OVERHEAD > (int)memif->link.options.buffer_bytes)
		loop_timer_rearm(memif->greeting, 0);
	return 0;
}

static const struct port_ops memif_ops = {
	.kind = "memif",
	.rx = rx,
	.tx = tx,
	.arm = arm,
	.disarm = disarm,
	.fd = queue_fd,
	.set_mtu = set_mtu,
	.close = close_port,
};

/* The same after a restart, other at the other end. */
static struct mac_addr mac_of(const struct port_memif_options *options)
{
	uint64_t hash = UINT64_C(14695981039346656037) + options->server; /* FNV-1a */
	struct mac_addr mac;

	for (const char *c = options->path; *c; c++)
		hash = (hash ^ (uint8_t)*c) * UINT64_C(1099511628211);
	for (int i = 0; i < 6; i++)
		mac.bytes[i] = (uint8_t)(hash >> (8 * i + 16));
	mac.bytes[0] = (uint8_t)((mac.bytes[0] & 0xfc) | 2); /* locally administered, unicast */
	return mac;
}

static struct port_memif *allocate(const struct port_memif_options *options, const char *name, struct loop *loop,
				   struct rte_mempool *pool, const struct port_callbacks *callbacks)
{
	struct port_memif *memif = calloc(1, sizeof(*memif));
	size_t bytes = options->queues * sizeof(struct memif_queue);
	struct memif_queue *queues = aligned_alloc(64, bytes);

	if (!memif || !queues) {
		free(memif);
		free(queues);
		return NULL;
	}
	memset(queues, 0, bytes);
	port_init(&memif->port, &memif_ops, name, pool, callbacks);
	memif->port.rx_queues = memif->port.tx_queues = (uint16_t)options->queues;
	memif->port.mtu = options->mtu ? options->mtu : MTU_DEFAULT;
	memif->port.mac = mac_of(options);
	memif->options = *options;
	snprintf(memif->path, sizeof(memif->path), "%s", options->path);
	memif->loop = loop;
	memif->fd = memif->listener.fd = -1;
	memif->queues = queues;
	memif->life = (struct port_life){
		.port = &memif->port,
		.tx_worker = PORT_WORKER_ANY,
		.open = open_rings,
		.shut = shut,
		.free = free_port,
	};
	return memif;
}

static int start(struct port_memif *memif, struct dpu_error *err)
{
	int status = memif->options.server ? memif_listen(memif->path, &memif->listener, err) : 0;

	if (status < 0)
		return status;
	if ((memif->options.server &&
	     loop_fd_add(memif->loop, memif->listener.fd, EPOLLIN, on_accept, memif, &memif->listen_watch) < 0) ||
	    loop_timer_add(memif->loop, UINT64_MAX / 2, 0, on_greeting, memif, &memif->greeting) < 0 ||
	    loop_timer_add(memif->loop, LOOK_NS, LOOK_NS, on_look, memif, &memif->look) < 0 ||
	    port_life_init(&memif->life, memif->loop) < 0)
		return error_set(err, DPU_E_LIMIT, "device", "No memory for the port.");
	return 0;
}

int port_memif_open(const struct port_memif_options *options, const char *name, struct loop *loop,
		    struct rte_mempool *pool, const struct port_callbacks *callbacks, struct port **ret,
		    struct dpu_error *err)
{
	struct port_memif *memif = allocate(options, name, loop, pool, callbacks);

	if (!memif)
		return error_set(err, DPU_E_LIMIT, "device", "No memory for the port.");
	int status = start(memif, err);
	if (status < 0) {
		free_port(&memif->port);
		return status;
	}
	*ret = &memif->port;
	port_life_wait(&memif->life);
	port_life_retry(&memif->life);
	return 0;
}
