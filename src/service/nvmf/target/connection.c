// SPDX-License-Identifier: BSD-3-Clause
/* Connections in their home: a stream for each queue. */
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "service/nvmf/target/target_priv.h"

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

_Static_assert(sizeof(struct stream_send) <= sizeof(((struct nvme_send *)0)->transport), "one in the other");

static void drain_end(struct connection *connection)
{
	if (connection->draining)
		LIST_REMOVE(connection, drain);
	connection->draining = false;
}

/* ---- the queue's transport ---- */

static void sent(struct stream_send *out, int error)
{
	struct nvme_send *send = container_of(out, struct nvme_send, transport);

	send->done(send, error);
}

static void transport_send(void *ctx, struct nvme_send *send)
{
	struct connection *connection = ctx;
	struct stream_send *out = (struct stream_send *)send->transport;

	*out = (struct stream_send){ .iov = send->iov, .segments = send->segments, .done = sent };
	stream_send(connection->stream, out);
}

static void taken(struct stream_take *take, int error)
{
	nvme_queue_taken(container_of(take, struct connection, take)->queue, error);
}

static void transport_take(void *ctx, uint8_t *to, uint32_t bytes)
{
	struct connection *connection = ctx;

	connection->take_iov = (struct iovec){ to, bytes };
	connection->take = (struct stream_take){
		.iov = &connection->take_iov,
		.segments = 1,
		.bytes = bytes,
		.done = taken,
	};
	stream_take(connection->stream, &connection->take);
}

static void transport_resume(void *ctx)
{
	stream_resume(((struct connection *)ctx)->stream);
}

/* The stream is no more, and so is everything that it had of ours. */
static void on_closed(void *ctx)
{
	struct connection *connection = ctx;

	connection->stream = NULL;
	nvme_queue_closed(connection->queue);
}

static void stream_end(struct connection *connection)
{
	if (connection->closing)
		return;
	connection->closing = true;
	drain_end(connection);
	stream_close(connection->stream, on_closed);
}

/* It ends by itself if the host does not end it in time. */
static void drain_begin(struct connection *connection, unsigned seconds)
{
	connection->deadline_ns = clock_ns() + seconds * CLOCK_NS_PER_S;
	if (!connection->draining)
		LIST_INSERT_HEAD(&connection->group->draining, connection, drain);
	connection->draining = true;
}

static void transport_close(void *ctx, bool graceful)
{
	struct connection *connection = ctx;

	if (connection->closing)
		return;
	if (!graceful) {
		stream_end(connection);
		return;
	}
	/* The host reads what was sent, and closes: else a reset could overtake it. */
	stream_shutdown(connection->stream);
	drain_begin(connection, DRAIN_S);
}

static void transport_connect(void *ctx, const struct nvme_connect_sqe *sqe, const struct nvme_connect_data *data)
{
	/* Another Connect after one that was refused: here it is the same subsystem or none. */
	struct connection *connection = ctx;

	nvme_queue_connect(connection->queue, NULL, connection->port);
}

static void transport_idle(void *ctx)
{
	struct connection *connection = ctx;
	struct subsystem *subsystem = connection->subsystem;

	nvme_queue_free(connection->queue);
	atomic_fetch_sub_explicit(&connection->target->connections, 1, memory_order_relaxed);
	LIST_REMOVE(connection, of_subsystem);
	free(connection);
	subsystem_connection_gone(subsystem);
}

static const struct nvme_transport_ops transport_ops = {
	.send = transport_send,
	.take = transport_take,
	.resume = transport_resume,
	.close = transport_close,
	.connect = transport_connect,
	.idle = transport_idle,
};

/* ---- the stream ---- */

static size_t on_received(void *ctx, const uint8_t *bytes, size_t count)
{
	return nvme_queue_input(((struct connection *)ctx)->queue, bytes, count);
}

static void on_ended(void *ctx, int error)
{
	stream_end(ctx);
}

static const struct stream_ops stream_ops = { .received = on_received, .ended = on_ended };

static int adopt_stream(struct connection *connection)
{
	const struct stream_options options = { .keepalive_s = 60 };

	return stream_adopt(connection->group->nvmf->streams, connection->fd, &options, &stream_ops, connection,
			    &connection->stream);
}

static void adopt(void *arg, struct worker *worker)
{
	struct connection *connection = arg;
	struct subsystem *subsystem = connection->subsystem;

	(void)worker;
	connection->group = subsystem->group;
	LIST_INSERT_HEAD(&subsystem->connections, connection, of_subsystem);
	nvme_queue_move(connection->queue, &transport_ops, connection);
	if (subsystem->leaving || adopt_stream(connection) != 0) {
		close(connection->fd);
		free(connection->bytes);
		nvme_queue_closed(connection->queue);
		return;
	}
	connection->fd = -1;
	nvme_queue_connect(connection->queue, subsystem->nvme, connection->port);
	if (!nvme_queue_is_connected(connection->queue)) { /* the host has no business here */
		atomic_fetch_add_explicit(&subsystem->refused, 1, memory_order_relaxed);
		drain_begin(connection, HANDSHAKE_S);
	}
	/* A host waits for the answer before it goes on; what it sent nevertheless is served, or the end of it. */
	size_t count = connection->count;
	uint8_t *bytes = connection->bytes;
	connection->bytes = NULL;
	if (count > 0 && nvme_queue_input(connection->queue, bytes, count) < count)
		nvme_queue_end(connection->queue);
	free(bytes);
}

void connection_send_home(struct connection *connection, struct subsystem *subsystem)
{
	connection->subsystem = subsystem;
	nvmf_call(subsystem->home, adopt, connection, NULL);
}

/* Those that were refused, or read no more, have no controller that ends them. */
void connections_end(struct subsystem *subsystem)
{
	struct connection *connection;

	LIST_FOREACH(connection, &subsystem->connections, of_subsystem)
	{
		if (connection->draining || !nvme_queue_is_connected(connection->queue))
			stream_end(connection);
	}
}

uint64_t connections_tick(struct target_group *group, uint64_t now_ns)
{
	struct connection *connection, *next;

	for (connection = LIST_FIRST(&group->draining); connection; connection = next) {
		next = LIST_NEXT(connection, drain);
		if (now_ns >= connection->deadline_ns)
			stream_end(connection);
	}
	return LIST_EMPTY(&group->draining) ? UINT64_MAX : CLOCK_NS_PER_S;
}
