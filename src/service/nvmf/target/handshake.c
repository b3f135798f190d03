// SPDX-License-Identifier: BSD-3-Clause
/* Connections before they are somebody's: the handshake and the Connect command, on the control loop. There are few at
 * a time and each has little time; the oldest makes room for the newest. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "service/nvmf/target/target_priv.h"

enum { BYTES_MAX = 4096 };

static struct listener *listener_of(const struct connection *connection)
{
	return (struct listener *)connection->listener;
}

/* It leaves control's list: for its home, or for good. */
static void handshake_leave(struct connection *connection)
{
	struct target *target = connection->target;

	TAILQ_REMOVE(&target->handshakes, connection, link);
	target->handshake_count--;
	target->sources[connection->source]--;
	if (connection->listener)
		listener_of(connection)->handshakes--;
	loop_fd_remove(connection->watch);
	loop_timer_remove(connection->timer);
	connection->watch = NULL;
	connection->timer = NULL;
}

static void handshake_end(struct connection *connection)
{
	struct target *target = connection->target;

	handshake_leave(connection);
	close(connection->fd);
	if (connection->queue)
		nvme_queue_closed(connection->queue); /* nothing is sent later than at once: idle follows */
	free(connection->bytes);
	free(connection);
	atomic_fetch_sub_explicit(&target->connections, 1, memory_order_relaxed);
	if (target->stopping)
		target_step_soon(target);
}

/* ---- the queue's transport ---- */

/* A few hundred bytes on a connection where hardly anything was sent: they fit, or it is hopeless. */
static void transport_send(void *ctx, struct nvme_send *send)
{
	struct connection *connection = ctx;
	struct msghdr message = { .msg_iov = (struct iovec *)send->iov, .msg_iovlen = send->segments };
	size_t bytes = 0;

	for (unsigned i = 0; i < send->segments; i++)
		bytes += send->iov[i].iov_len;
	ssize_t n = sendmsg(connection->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 || (size_t)n < bytes)
		connection->ending = true;
	send->done(send, n < 0 ? -errno : 0);
}

static void transport_resume(void *ctx)
{
}

static void transport_close(void *ctx, bool graceful)
{
	struct connection *connection = ctx;

	connection->ending = true;
	connection->graceful = graceful;
	if (graceful && connection->listener) /* only a C2HTermReq is awaited */
		listener_of(connection)->protocol_errors++;
}

static void transport_connect(void *ctx, const struct nvme_connect_sqe *sqe, const struct nvme_connect_data *data)
{
	((struct connection *)ctx)->asks = data;
}

static void transport_idle(void *ctx)
{
	struct connection *connection = ctx;

	nvme_queue_free(connection->queue);
	connection->queue = NULL;
}

static const struct nvme_transport_ops transport_ops = {
	.send = transport_send,
	.resume = transport_resume,
	.close = transport_close,
	.connect = transport_connect,
	.idle = transport_idle,
};

/* ---- progress ---- */

/* False: the connection has gone home. */
static bool connect_answer(struct connection *connection)
{
	struct target *target = connection->target;
	char nqn[NVME_NQN_BYTES + 1] = { 0 };
	struct listener *listener = listener_of(connection);

	memcpy(nqn, connection->asks->subnqn, NVME_NQN_BYTES);
	connection->asks = NULL;
	struct subsystem *subsystem = subsystem_find(target, nqn);

	if (!subsystem || !listener || !listener_serves(listener, subsystem)) {
		nvme_queue_connect(connection->queue, NULL, connection->port);
		return true;
	}
	/* It is there: who is told that it is not need not come again. */
	if (subsystem_is_starting(subsystem) || !subsystem_settle(subsystem, NULL)) {
		atomic_fetch_add_explicit(&subsystem->refused, 1, memory_order_relaxed);
		nvme_queue_connect_later(connection->queue);
		return true;
	}
	handshake_leave(connection);
	connection_send_home(connection, subsystem);
	return false;
}

/* What the queue makes of the bytes that are there; behind a Connect that was refused there may be another one. False:
 * the connection is no more ours. */
static bool bytes_use(struct connection *connection)
{
	bool refused;

	do {
		size_t used = nvme_queue_input(connection->queue, connection->bytes, connection->count);

		connection->count -= used;
		memmove(connection->bytes, connection->bytes + used, connection->count);
		refused = connection->asks;
		if (refused && !connect_answer(connection))
			return false;
	} while (refused && !connection->ending);
	if (!connection->ending)
		return true;
	nvme_queue_closed(connection->queue);
	if (!connection->graceful) {
		handshake_end(connection);
		return false;
	}
	shutdown(connection->fd, SHUT_WR); /* what the host still sends is thrown away until it closes */
	return true;
}

static void readable(void *ctx, uint32_t events)
{
	struct connection *connection = ctx;
	ssize_t n = recv(connection->fd, connection->bytes + connection->count, BYTES_MAX - connection->count,
			 MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		handshake_end(connection);
		return;
	}
	connection->count += (size_t)n;
	if (connection->queue)
		bytes_use(connection);
	else
		connection->count = 0;
}

static void timed_out(void *ctx)
{
	struct connection *connection = ctx;

	if (connection->listener)
		listener_of(connection)->dropped++;
	handshake_end(connection);
}

/* ---- begin ---- */

/* An address of IPv4, a network of IPv6: who floods has as many addresses as it likes in one of those. */
static uint8_t source_of(const struct sockaddr_storage *peer)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)peer;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)peer;
	uint64_t key = peer->ss_family == AF_INET ? in->sin_addr.s_addr : 0;

	if (peer->ss_family == AF_INET6)
		memcpy(&key, &in6->sin6_addr, sizeof(key));
	return (uint8_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 56);
}

/* The oldest of the source that has most makes room: a flood pushes out its own. */
static void handshake_evict(struct target *target)
{
	struct connection *connection;
	unsigned most = 0;

	for (unsigned i = 1; i < SOURCES; i++)
		most = target->sources[i] > target->sources[most] ? i : most;
	TAILQ_FOREACH(connection, &target->handshakes, link)
	{
		if (connection->source == most) {
			timed_out(connection);
			return;
		}
	}
}

void handshake_begin(struct listener *listener, int fd, const struct sockaddr_storage *peer)
{
	struct target *target = listener->item.target;
	struct connection *connection = nvmf_alloc(sizeof(*connection));

	if (target->handshake_count == HANDSHAKES_MAX)
		handshake_evict(target);
	connection->target = target;
	connection->fd = fd;
	connection->port = listener->port_id;
	connection->listener = &listener->item;
	connection->bytes = nvmf_alloc(BYTES_MAX);
	connection->source = source_of(peer);
	if (nvme_queue_new(&transport_ops, connection, &connection->queue) != 0)
		abort(); /* out of memory */
	TAILQ_INSERT_TAIL(&target->handshakes, connection, link);
	target->handshake_count++;
	target->sources[connection->source]++;
	listener->handshakes++;
	atomic_fetch_add_explicit(&target->connections, 1, memory_order_relaxed);
	struct loop *loop = target->nvmf->dpu->loop;
	if (loop_fd_add(loop, fd, EPOLLIN, readable, connection, &connection->watch) != 0 ||
	    loop_timer_add(loop, HANDSHAKE_S * CLOCK_NS_PER_S, 0, timed_out, connection, &connection->timer) != 0)
		timed_out(connection);
}

void handshakes_end(struct target *target, const struct item *listener)
{
	struct connection *connection, *next;

	for (connection = TAILQ_FIRST(&target->handshakes); connection; connection = next) {
		next = TAILQ_NEXT(connection, link);
		if (!listener || connection->listener == listener)
			handshake_end(connection);
	}
}
