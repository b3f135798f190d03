/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of an endpoint: one state machine, advanced by the socket, by queues that have stopped and by broken queues.
 * Order: queues that a message affects stop, the message is carried out, queues that are ready start. */
#include "device/virtio/vhost_user.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/event_signal.h"
#include "device/virtio/vhost_user_priv.h"

enum { MESSAGES_PER_ROUND = 64, DEFAULT_RECONNECT_MS = 100 };

static void endpoint_advance(struct vhost_endpoint *endpoint);

void vhost_notice(struct vhost_endpoint *endpoint, const char *name, const char *fmt, ...)
{
	char sentence[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, args);
	va_end(args);
	if (endpoint->ops->notice)
		endpoint->ops->notice(endpoint->ctx, name, sentence);
}

/* ---- queues ---- */

static void vring_stop(struct vhost_endpoint *endpoint, unsigned index)
{
	struct vhost_vring *vring = &endpoint->vrings[index];

	if (vring->state != VRING_RUNNING)
		return;
	vring->state = VRING_STOPPING;
	endpoint->ops->queue_stop(endpoint->ctx, index, vring->queue);
}

static void vrings_start(struct vhost_endpoint *endpoint)
{
	for (unsigned i = 0; i < endpoint->ops->max_queues; i++) {
		struct vhost_vring *vring = &endpoint->vrings[i];
		if (vring->state != VRING_STOPPED || !vhost_vring_prepare(endpoint, i))
			continue;
		vring->state = VRING_RUNNING;
		endpoint->ops->queue_start(endpoint->ctx, i, vring->queue);
	}
}

static bool vrings_stopping(const struct vhost_endpoint *endpoint)
{
	for (unsigned i = 0; i < endpoint->ops->max_queues; i++)
		if (endpoint->vrings[i].state == VRING_STOPPING)
			return true;
	return false;
}

void vhost_queue_stopped(struct vhost_endpoint *endpoint, unsigned index)
{
	struct vhost_vring *vring = &endpoint->vrings[index];

	if (vring->state != VRING_STOPPING)
		return;
	vring->state = VRING_STOPPED;
	vring->base = virtqueue_base(vring->queue);
	endpoint_advance(endpoint);
}

/* A worker found a queue broken. */
static void on_alarm(void *ctx, uint32_t events)
{
	struct vhost_endpoint *endpoint = ctx;
	uint64_t count;

	bool busy = endpoint->busy;
	endpoint->busy = true; /* a queue that stops at once must not carry us on before all are looked at */
	ssize_t ignored = read(endpoint->alarm_fd, &count, sizeof(count));
	for (unsigned i = 0; i < endpoint->ops->max_queues; i++) {
		struct vhost_vring *vring = &endpoint->vrings[i];
		if (vring->state != VRING_RUNNING || vring->failed || !virtqueue_broken(vring->queue))
			continue;
		vring->failed = true;
		vhost_notice(endpoint, "queue-broken", "queue %u: %s", i, virtqueue_broken_reason(vring->queue));
		if (vring->err_fd >= 0)
			event_signal(vring->err_fd);
		vring_stop(endpoint, i);
	}
	(void)ignored;
	if (atomic_load(&endpoint->memory->faulted) && !endpoint->fault_told) {
		endpoint->fault_told = true;
		vhost_notice(endpoint, "memory-fault",
			     "the front end has truncated memory that it shared; the device rests until it is set up "
			     "again");
	}
	endpoint->busy = busy;
	endpoint_advance(endpoint);
}

/* ---- connection ---- */

static void on_readable(void *ctx, uint32_t events)
{
	endpoint_advance(ctx);
}

static void watch_set(struct vhost_endpoint *endpoint, bool on)
{
	if (on == (endpoint->watch != NULL))
		return;
	if (!on) {
		loop_fd_remove(endpoint->watch);
		endpoint->watch = NULL;
	} else if (loop_fd_add(endpoint->loop, endpoint->fd, EPOLLIN, on_readable, endpoint, &endpoint->watch) < 0) {
		vhost_notice(endpoint, "socket-error", "no memory to watch the connection");
		vhost_connection_close(endpoint);
	}
}

void vhost_connection_open(struct vhost_endpoint *endpoint, int fd)
{
	endpoint->fd = fd;
	endpoint_advance(endpoint);
}

/* Queues stop first; endpoint_advance() ends the connection when they have. */
void vhost_connection_close(struct vhost_endpoint *endpoint)
{
	endpoint->closing = true;
	endpoint->pending = false;
	for (unsigned i = 0; i < endpoint->ops->max_queues; i++)
		vring_stop(endpoint, i);
}

static void connection_finish(struct vhost_endpoint *endpoint)
{
	endpoint->closing = endpoint->answering = false;
	watch_set(endpoint, false);
	vhost_message_reset(&endpoint->message);
	if (endpoint->fd >= 0)
		close(endpoint->fd);
	endpoint->fd = -1;
	bool told = endpoint->negotiated;
	vhost_endpoint_reset(endpoint);
	if (told)
		endpoint->ops->connected(endpoint->ctx, false, 0);
	if (!endpoint->freeing)
		vhost_socket_reopen(endpoint);
}

static void message_fail(struct vhost_endpoint *endpoint, int error)
{
	if (error == -EPROTO)
		vhost_notice(endpoint, "protocol-error", "%s", endpoint->why);
	vhost_connection_close(endpoint);
}

/* A complete message: stop what it affects, then it waits its turn. */
static void message_accept(struct vhost_endpoint *endpoint)
{
	int r = vhost_request_check(endpoint, &endpoint->message);

	if (r < 0) {
		message_fail(endpoint, r);
		return;
	}
	endpoint->pending = true;
	for (unsigned i = 0; i < endpoint->ops->max_queues; i++)
		if (vhost_request_affects(endpoint, &endpoint->message, i))
			vring_stop(endpoint, i);
}

static void message_end(struct vhost_endpoint *endpoint, int r)
{
	vhost_message_reset(&endpoint->message);
	if (r < 0)
		message_fail(endpoint, r);
}

static void message_carry_out(struct vhost_endpoint *endpoint)
{
	endpoint->pending = false;
	int r = vhost_request_handle(endpoint, &endpoint->message);
	endpoint->answering = r == VHOST_LATER;
	if (!endpoint->answering)
		message_end(endpoint, r);
}

void vhost_config_set(struct vhost_endpoint *endpoint, int result)
{
	if (!endpoint->answering)
		return;
	endpoint->answering = false;
	if (result < 0)
		result = vhost_refuse(endpoint, result == -EPROTO ? -EIO : result, "the device refuses SET_CONFIG");
	message_end(endpoint, vhost_request_answer(endpoint, &endpoint->message, result));
	endpoint_advance(endpoint);
}

/* One step; false when there is nothing to do until something happens. */
static bool endpoint_step(struct vhost_endpoint *endpoint)
{
	if (vrings_stopping(endpoint))
		return false;
	if (endpoint->closing) {
		connection_finish(endpoint);
		return true;
	}
	if (endpoint->pending) {
		message_carry_out(endpoint);
		return true;
	}
	if (endpoint->fd < 0 || endpoint->answering)
		return false;
	vrings_start(endpoint);
	int r = vhost_message_read(endpoint);
	if (r == 1)
		message_accept(endpoint);
	else if (r < 0)
		message_fail(endpoint, r);
	return r != 0;
}

static void endpoint_destroy(struct vhost_endpoint *endpoint);

static void endpoint_advance(struct vhost_endpoint *endpoint)
{
	unsigned steps = 0;

	if (endpoint->busy)
		return;
	endpoint->busy = true;
	do {
		/* The rest of a flood of messages waits for the loop's next round. */
		while (steps++ < MESSAGES_PER_ROUND || endpoint->closing || endpoint->pending)
			if (!endpoint_step(endpoint))
				break;
		/* While queues stop nothing is read, and a hang-up must not wake us for ever. */
		watch_set(endpoint, endpoint->fd >= 0 && !vrings_stopping(endpoint) && !endpoint->answering);
	} while (endpoint->closing && !vrings_stopping(endpoint));
	endpoint->busy = false;
	if (endpoint->freeing && endpoint->fd < 0 && !vrings_stopping(endpoint))
		endpoint_destroy(endpoint);
}

/* ---- endpoint ---- */

static void endpoint_destroy(struct vhost_endpoint *endpoint)
{
	void (*freed)(void *arg) = endpoint->freed;
	void *arg = endpoint->freed_arg;

	vhost_socket_close(endpoint);
	loop_fd_remove(endpoint->alarm_watch);
	if (endpoint->alarm_fd >= 0)
		close(endpoint->alarm_fd);
	for (unsigned i = 0; endpoint->vrings && i < endpoint->ops->max_queues; i++)
		virtqueue_free(endpoint->vrings[i].queue);
	free(endpoint->vrings);
	guest_memory_free(endpoint->memory);
	queue_records_close(endpoint->records);
	free(endpoint->socket_path);
	free(endpoint);
	if (freed)
		freed(arg);
}

static int vrings_new(struct vhost_endpoint *endpoint)
{
	endpoint->vrings = calloc(endpoint->ops->max_queues, sizeof(*endpoint->vrings));
	if (!endpoint->vrings)
		return -ENOMEM;
	for (unsigned i = 0; i < endpoint->ops->max_queues; i++) {
		struct vhost_vring *vring = &endpoint->vrings[i];
		vring->kick_fd = vring->call_fd = vring->err_fd = -1;
		int r = virtqueue_new(&vring->queue);
		if (r < 0)
			return r;
	}
	return 0;
}

static int endpoint_init(struct vhost_endpoint *endpoint, const struct vhost_options *options)
{
	endpoint->socket_path = strdup(options->socket_path);
	if (!endpoint->socket_path)
		return -ENOMEM;
	int r = guest_memory_new(&endpoint->memory);
	if (r == 0)
		r = vrings_new(endpoint);
	if (r == 0 && endpoint->ops->in_order)
		r = queue_records_open(options->state_path, endpoint->ops->max_queues, endpoint->ops->max_queue_size,
				       &endpoint->records);
	if (r < 0)
		return r;
	endpoint->alarm_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (endpoint->alarm_fd < 0)
		return -errno;
	return loop_fd_add(endpoint->loop, endpoint->alarm_fd, EPOLLIN, on_alarm, endpoint, &endpoint->alarm_watch);
}

int vhost_endpoint_new(const struct vhost_options *options, struct vhost_endpoint **ret, struct dpu_error *err)
{
	const struct vhost_device_ops *ops = options->ops;

	if (ops->max_queues == 0 || ops->max_queues > VHOST_MAX_QUEUES)
		return error_set(err, DPU_E_INVALID, "queues", "a vhost-user device has 1 to %d virtqueues",
				 VHOST_MAX_QUEUES);
	struct vhost_endpoint *endpoint = calloc(1, sizeof(*endpoint));
	if (!endpoint)
		return error_set(err, DPU_E_LIMIT, "socket_path", "no memory for a vhost-user endpoint");
	*endpoint = (struct vhost_endpoint){
		.loop = options->loop,
		.ops = ops,
		.ctx = options->ctx,
		.role = options->role,
		.mtu = options->mtu,
		.reconnect_ms = options->reconnect_ms ? options->reconnect_ms : DEFAULT_RECONNECT_MS,
		.listen_fd = -1,
		.fd = -1,
		.backend_fd = -1,
		.alarm_fd = -1,
	};
	int r = endpoint_init(endpoint, options);
	if (r < 0)
		r = error_set(err, r == -ENOMEM ? DPU_E_LIMIT : DPU_E_IO, "state_path",
			      "cannot set up a vhost-user endpoint: %s", strerror(-r));
	else
		r = vhost_socket_open(endpoint, err);
	if (r < 0) {
		endpoint_destroy(endpoint);
		return r;
	}
	*ret = endpoint;
	return 0;
}

void vhost_endpoint_free(struct vhost_endpoint *endpoint, void (*done)(void *arg), void *arg)
{
	endpoint->freed = done;
	endpoint->freed_arg = arg;
	endpoint->freeing = true;
	/* Nobody gets in any more; our own socket file goes at once, so that a successor can bind. */
	bool busy = endpoint->busy;
	endpoint->busy = true;
	vhost_socket_close(endpoint);
	vhost_connection_close(endpoint);
	endpoint->busy = busy;
	endpoint_advance(endpoint);
}

bool vhost_endpoint_connected(const struct vhost_endpoint *endpoint)
{
	return endpoint->fd >= 0;
}

int vhost_endpoint_connect_result(const struct vhost_endpoint *endpoint)
{
	return endpoint->connect_result;
}

uint64_t vhost_endpoint_features(const struct vhost_endpoint *endpoint)
{
	return endpoint->features;
}

const char *vhost_endpoint_socket_path(const struct vhost_endpoint *endpoint)
{
	return endpoint->socket_path;
}

void vhost_endpoint_set_mtu(struct vhost_endpoint *endpoint, uint16_t mtu)
{
	endpoint->mtu = mtu;
}

int vhost_endpoint_config_changed(struct vhost_endpoint *endpoint)
{
	struct vhost_header header = { .request = VHOST_BACKEND_CONFIG_CHANGE, .flags = VHOST_FLAG_VERSION };

	if (endpoint->backend_fd < 0)
		return -ENOTSUP;
	return vhost_message_send(endpoint->backend_fd, &header, NULL, -1);
}
