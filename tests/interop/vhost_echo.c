/* SPDX-License-Identifier: BSD-3-Clause */
/* A vhost-user port that sends every frame back with its MAC addresses swapped: the other end of tests with real front
 * ends. vhost_echo SOCKET server|client STATE [QUEUE_PAIRS]; ends with SIGTERM and prints what it counted. */
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

struct end {
	struct worker_source source;
	struct port *port;
	unsigned queue, worker;
	void (*released)(void *arg);
	void *arg;
};

static struct loop *loop;
static struct workers *workers;
static struct end ends[PORT_MAX_QUEUES];
static _Atomic uint64_t received, sent, lost;

static void swap(struct rte_mbuf *m)
{
	struct rte_ether_hdr *ether = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	struct rte_ether_addr address = ether->dst_addr;

	ether->dst_addr = ether->src_addr;
	ether->src_addr = address;
}

static unsigned echo(struct worker_source *source, struct worker *worker)
{
	struct end *end = (struct end *)source;
	struct rte_mbuf *packets[BURST];
	struct port_tx_result result = { 0 };
	unsigned count = end->port->ops->rx(end->port, end->queue, packets, BURST);

	if (count == 0)
		return 0;
	for (unsigned i = 0; i < count; i++)
		swap(packets[i]);
	port_transmit(end->port, end->queue, packets, count, &result);
	received += count;
	sent += result.packets;
	lost += result.full + result.too_long + result.failed;
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
	struct end *end = &ends[queue];

	*end = (struct end){ .port = port, .queue = queue, .worker = queue % workers_count(workers) };
	end->source = (struct worker_source){
		.poll = echo, .arm = arm, .disarm = disarm, .fd = port->ops->fd(port, queue), .name = "echo"
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
	struct end *end = &ends[queue];

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

int main(int argc, char **argv)
{
	struct eal_options eal = { .memory_mb = 128 };
	struct dpu_error err = { 0 };
	struct port *port;
	struct port_callbacks callbacks = { .queue_ready = queue_ready, .queue_gone = queue_gone, .notice = notice };

	if (argc < 4)
		return 2;
	struct port_vhost_options options = {
		.socket_path = argv[1],
		.server = strcmp(argv[2], "server") == 0,
		.state_path = argv[3],
		.queue_pairs = argc > 4 ? (uint16_t)atoi(argv[4]) : 1,
		.mtu = 9000,
	};
	if (loop_new(&loop) < 0)
		return 1;
	signals_watch(); /* before threads are made */
	struct workers_options with = { .loop = loop, .count = 1, .policy = WORKER_BALANCED };
	if (eal_start(&eal, &err) < 0 || workers_new(&with, &workers, &err) < 0)
		return fail(&err);
	struct rte_mempool *pool = packet_pool_new("echo", 8191, 0, &err);
	if (!pool || port_vhost_open(&options, "echo", loop, pool, &callbacks, &port, &err) < 0)
		return fail(&err);
	loop_run(loop);
	uint64_t bad_header = port->rx_drops[PORT_RX_BAD_HEADER], no_buffer = port->rx_drops[PORT_RX_NO_BUFFER];
	port->ops->close(port, on_closed, NULL);
	loop_run(loop);
	workers_free(workers);
	printf("received %" PRIu64 " sent %" PRIu64 " lost %" PRIu64 " bad-header %" PRIu64 " no-buffer %" PRIu64 "\n",
	       received, sent, lost, bad_header, no_buffer);
	return 0;
}
