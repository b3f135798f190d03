/* SPDX-License-Identifier: BSD-3-Clause */
/* The sockets of the management face: who may connect, who must make room, when it ends. */
#include "daemon/rpc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"
#include "daemon/listen.h"
#include "daemon/rpc_priv.h"

/* The client of this socket that has been silent longest, and that nothing is being done for. */
static struct rpc_client *idle_client(const struct rpc_listener *listener)
{
	struct rpc_client *client;
	TAILQ_FOREACH(client, &listener->rpc->clients, link)
	{
		if (client->listener == listener && !client->exchange && !client->subscribed && client->out.length == 0)
			return client;
	}
	return NULL;
}

static void turn_away(struct rpc *rpc, int fd)
{
	static const char sentence[] =
		"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32006,\"message\":\"all connections are "
		"busy; try again\",\"data\":{\"code\":\"limit\",\"path\":\"\"}}}\n";
	(void)!send(fd, sentence, sizeof sentence - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
	rpc->stats.refused++;
}

static void take_client(struct rpc_listener *listener, int fd)
{
	struct rpc *rpc = listener->rpc;
	if (listener->clients >= RPC_MAX_CLIENTS) {
		struct rpc_client *idle = idle_client(listener);
		if (!idle) {
			turn_away(rpc, fd);
			return;
		}
		client_close(idle);
		rpc->stats.evicted++;
	}
	client_accept(listener, fd);
}

static void accept_clients(void *ctx, uint32_t events)
{
	struct rpc_listener *listener = ctx;
	for (unsigned i = 0; i < RPC_ACCEPTS_PER_ROUND; i++) {
		int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			take_client(listener, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			/* Level-triggered, this would spin: pause until the next sweep. */
			log_warn("rpc", "no connection can be accepted", "error=\"%s\"", strerror(errno));
			loop_fd_modify(listener->watch, 0);
			break;
		} else if (errno != ECONNABORTED && errno != EINTR) {
			break;
		}
	}
	if (listener->rpc->sweep)
		loop_timer_rearm(listener->rpc->sweep, CLOCK_NS_PER_S);
}

/* Once a second while there is somebody to watch over. */
static void sweep(void *ctx)
{
	struct rpc *rpc = ctx;
	struct rpc_client *client = TAILQ_FIRST(&rpc->clients);
	uint64_t now_ns = clock_ns();
	while (client) {
		struct rpc_client *next = TAILQ_NEXT(client, link);
		client_check_time(client, now_ns);
		client = next;
	}
	for (unsigned i = 0; i < 2; i++) {
		if (rpc->listeners[i].watch)
			loop_fd_modify(rpc->listeners[i].watch, EPOLLIN);
	}
	if (!TAILQ_EMPTY(&rpc->clients))
		loop_timer_rearm(rpc->sweep, CLOCK_NS_PER_S);
}

static int listen_on(struct rpc *rpc, struct rpc_listener *listener, const char *path, bool read_only,
		     struct dpu_error *err)
{
	if (!path)
		return 0;
	int fd = listen_unix(path, rpc->options.group, err);
	if (fd < 0)
		return fd;
	listener->path = path;
	listener->fd = fd;
	listener->read_only = read_only;
	int rc = loop_fd_add(rpc->options.loop, fd, EPOLLIN, accept_clients, listener, &listener->watch);
	return rc ? error_set(err, DPU_E_IO, path, "%s", strerror(-rc)) : 0;
}

int rpc_start(const struct rpc_options *options, struct rpc **ret, struct dpu_error *err)
{
	struct rpc *rpc = calloc(1, sizeof *rpc);
	if (!rpc)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	rpc->options = *options;
	TAILQ_INIT(&rpc->clients);
	rpc->listeners[0] = rpc->listeners[1] = (struct rpc_listener){ .rpc = rpc, .fd = -1 };
	rpc->schema = model_schema(options->model);
	int rc = rpc->schema ? 0 : error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	if (!rc && loop_timer_add(options->loop, CLOCK_NS_PER_S, 0, sweep, rpc, &rpc->sweep))
		rc = error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	if (!rc)
		rc = listen_on(rpc, &rpc->listeners[0], options->socket_path, false, err);
	if (!rc)
		rc = listen_on(rpc, &rpc->listeners[1], options->read_only_path, true, err);
	if (rc)
		rpc_free(rpc);
	else
		*ret = rpc;
	return rc;
}

static void stop_listening(struct rpc_listener *listener)
{
	if (listener->fd < 0)
		return;
	loop_fd_remove(listener->watch);
	close(listener->fd);
	unlink(listener->path);
	listener->watch = NULL;
	listener->fd = -1;
}

void rpc_stop(struct rpc *rpc, void (*done)(void *arg), void *arg)
{
	stop_listening(&rpc->listeners[0]);
	stop_listening(&rpc->listeners[1]);
	struct rpc_client *client = TAILQ_FIRST(&rpc->clients);
	while (client) {
		struct rpc_client *next = TAILQ_NEXT(client, link);
		client->closing = true;
		if (!client->exchange && client->out.length == 0)
			client_close(client);
		client = next;
	}
	rpc->stopped = done;
	rpc->stopped_arg = arg;
	rpc->stopping = true;
	if (rpc->exchanges == 0)
		done(arg);
}

void rpc_free(struct rpc *rpc)
{
	if (!rpc)
		return;
	rpc->stopping = false;
	stop_listening(&rpc->listeners[0]);
	stop_listening(&rpc->listeners[1]);
	while (!TAILQ_EMPTY(&rpc->clients))
		client_close(TAILQ_FIRST(&rpc->clients));
	if (rpc->sweep)
		loop_timer_remove(rpc->sweep);
	json_decref(rpc->schema);
	free(rpc);
}

void rpc_stats(const struct rpc *rpc, struct rpc_stats *ret)
{
	*ret = rpc->stats;
	ret->clients = rpc->listeners[0].clients + rpc->listeners[1].clients;
}
