/* SPDX-License-Identifier: BSD-3-Clause */
/* The other end of tests with real peers: a vhost-user or memif port that sends every frame back with its MAC addresses
 * swapped, or, with the name of a TAP, one that is wired to that interface.
 * vhost_peer SOCKET server|client STATE QUEUE_PAIRS [TAP]
 * vhost_peer DEVICE uplink - QUEUES [TAP]
 * Ends with SIGTERM and prints what it counted. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <rte_ether.h>
#include "operating/port.h"

enum { BURST = 32 };

enum { GUEST, TAP, SIDES };

struct end {
	struct worker_source source;
	struct port *port;
	unsigned side, queue, worker;
	void (*released)(void *arg);
	void *arg;
};

static struct loop *loop;
static struct workers *workers;
static struct port *_Atomic ports[SIDES];
static bool wired;
static struct end ends[SIDES][PORT_MAX_QUEUES];
static _Atomic uint64_t received, sent, lost;

static void swap(struct rte_mbuf *m)
{
	struct rte_ether_hdr *ether = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	struct rte_ether_addr address = ether->dst_addr;

	ether->dst_addr = ether->src_addr;
	ether->src_addr = address;
}

static void send_on(struct end *end, struct rte_mbuf **packets, unsigned count)
{
	struct port *out = wired ? ports[!end->side] : ports[GUEST];
	struct port_tx_result result = { 0 };
	unsigned other;
	int queue = !out ? -2 : port_tx_queue(out, end->worker, end->queue, &other);

	if (queue < 0) { /* one worker: nobody else to give it to */
		lost += count;
		rte_pktmbuf_free_bulk(packets, count);
		return;
	}
	port_transmit(out, (unsigned)queue, packets, count, &result);
	sent += result.packets;
	lost += result.full + result.too_long + result.failed;
}

static unsigned poll_end(struct worker_source *source, struct worker *worker)
{
	struct end *end = (struct end *)source;
	struct rte_mbuf *packets[BURST];
	unsigned count = end->port->ops->rx(end->port, end->queue, packets, BURST);

	if (count == 0)
		return 0;
	received += count;
	for (unsigned i = 0; i < count && !wired; i++)
		swap(packets[i]);
	send_on(end, packets, count);
	return count;
}

static int arm(struct worker_source *source)
{
	struct end *end = (struct end *)source;
	return end->port->ops->arm(end->port, end->queue);
}

static void disarm(struct worker_source *source)
{
	struct end *end = (struct end *)source;
	end->port->ops->disarm(end->port, end->queue);
}

static void queue_ready(void *ctx, struct port *port, unsigned queue)
{
	unsigned side = *(unsigned *)ctx;
	struct end *end = &ends[side][queue];

	ports[side] = port; /* open has not returned yet for kinds that are ready at once */
	*end = (struct end){ .port = port, .side = side, .queue = queue };
	if (port->tx_worker[queue] == PORT_WORKER_OFF)
		port->tx_worker[queue] = 0;
	end->source = (struct worker_source){
		.poll = poll_end, .arm = arm, .disarm = disarm, .fd = port->ops->fd(port, queue), .name = "echo"
	};
	worker_add_source(workers_get(workers, end->worker), &end->source);
	fprintf(stderr, "queue %u ready\n", queue);
}

static void quiescent(void *arg)
{
	struct end *end = arg;
	end->released(end->arg);
}

static void removed(void *arg)
{
	workers_barrier(workers, quiescent, arg);
}

static void queue_gone(void *ctx, struct port *port, unsigned queue, void (*released)(void *arg), void *arg)
{
	struct end *end = &ends[*(unsigned *)ctx][queue];

	end->released = released;
	end->arg = arg;
	worker_remove_source(workers_get(workers, end->worker), &end->source, removed, end);
}

static void notice(void *ctx, struct port *port, const char *name, const char *sentence)
{
	fprintf(stderr, "%s: %s\n", name, sentence);
}

static void on_signal(void *ctx, uint32_t events)
{
	loop_stop(loop);
}

static void on_closed(void *arg)
{
	loop_stop(loop);
}

static int fail(const struct dpu_error *err)
{
	fprintf(stderr, "%s: %s\n", err->path, err->message);
	return 1;
}

static void signals_watch(void)
{
	struct loop_fd *watch;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	loop_fd_add(loop, signalfd(-1, &set, SFD_CLOEXEC), EPOLLIN, on_signal, NULL, &watch);
}

static int ports_open(char **argv, struct rte_mempool *pool, struct dpu_error *err)
{
	static unsigned sides[SIDES] = { GUEST, TAP };
	struct port_callbacks callbacks = { .queue_ready = queue_ready, .queue_gone = queue_gone, .notice = notice };
	struct port_vhost_options vhost = {
		.socket_path = argv[1],
		.server = strcmp(argv[2], "server") == 0,
		.state_path = argv[3],
		.queue_pairs = (uint16_t)atoi(argv[4]),
		.mtu = 9000,
	};
	struct port_tap_options tap = { .name = argv[5], .queue_pairs = 1, .mtu = 1500, .persist = true };

	struct port *port;
	int r = 0;

	wired = tap.name;
	callbacks.ctx = &sides[TAP];
	if (wired)
		r = port_tap_open(&tap, "tap", loop, pool, &callbacks, &port, err);
	callbacks.ctx = &sides[GUEST];
	if (r == 0 && strcmp(argv[2], "uplink") == 0)
		r = port_uplink_open(argv[1], "uplink", 9000, vhost.queue_pairs, loop, pool, &callbacks, &port, err);
	else if (r == 0)
		r = port_vhost_open(&vhost, "guest", loop, pool, &callbacks, &port, err);
	if (r == 0)
		ports[GUEST] = port;
	return r;
}

int main(int argc, char **argv)
{
	struct eal_options eal = { .memory_mb = 128 };
	struct dpu_error err = { 0 };

	if (argc < 5)
		return 2;
	if (loop_new(&loop) < 0)
		return 1;
	signals_watch(); /* before threads are made */
	struct workers_options with = { .loop = loop, .count = 1, .policy = WORKER_BALANCED };
	if (eal_start(&eal, &err) < 0 || workers_new(&with, &workers, &err) < 0)
		return fail(&err);
	struct rte_mempool *pool = packet_pool_new("peer", 8191, 0, &err);
	if (!pool || ports_open(argv, pool, &err) < 0)
		return fail(&err);
	loop_run(loop);
	uint64_t bad_header = ports[GUEST]->rx_drops[PORT_RX_BAD_HEADER];
	uint64_t no_buffer = ports[GUEST]->rx_drops[PORT_RX_NO_BUFFER];
	for (unsigned side = 0; side < SIDES; side++) {
		if (!ports[side])
			continue;
		ports[side]->ops->close(ports[side], on_closed, NULL);
		loop_run(loop);
	}
	workers_free(workers);
	printf("received %" PRIu64 " sent %" PRIu64 " lost %" PRIu64 " bad-header %" PRIu64 " no-buffer %" PRIu64 "\n",
	       received, sent, lost, bad_header, no_buffer);
	return 0;
}
