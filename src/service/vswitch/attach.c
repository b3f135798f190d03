/* SPDX-License-Identifier: BSD-3-Clause */
/* Ports in service: which worker serves which receive queue, as queues come and go. */
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "service/vswitch/vswitch_priv.h"

static void queue_serve(struct attachment_queue *queue)
{
	struct attachment *attachment = queue->attachment;
	struct vswitch *vswitch = attachment->vswitch;
	struct port *port = attachment->port;
	struct worker *worker;

	if (queue->rx || !vswitch->running)
		return;
	queue->worker = (attachment->iface + queue->queue) % vswitch->dp.worker_count;
	worker = workers_get(vswitch->dp.workers, queue->worker);
	if (dp_rx_new(vswitch->workers[queue->worker], port, queue->queue, &queue->rx) != 0) {
		log_error("vswitch", "a queue cannot be served: out of memory", "port=\"%s\" queue=%u", port->name,
			  queue->queue);
		return;
	}
	atomic_store(&port->rx_worker[queue->queue], (int16_t)queue->worker);
	if (worker_add_source(worker, dp_rx_source(queue->rx)) != 0) {
		log_error("vswitch", "a queue cannot be watched", "port=\"%s\" queue=%u", port->name, queue->queue);
		dp_rx_free(queue->rx);
		queue->rx = NULL;
		return;
	}
	if (atomic_load(&port->tx_worker[queue->queue]) == PORT_WORKER_OFF)
		atomic_store(&port->tx_worker[queue->queue], (int16_t)queue->worker);
}

static void queue_released(void *arg)
{
	struct attachment_queue *queue = arg;
	void (*released)(void *arg) = queue->released;

	queue->released = NULL;
	if (released)
		released(queue->released_arg);
}

static void queue_removed(void *arg)
{
	struct attachment_queue *queue = arg;

	dp_rx_free(queue->rx);
	queue->rx = NULL;
	/* Others may still be transmitting on it, until they have passed a quiescent state. */
	workers_barrier(queue->attachment->vswitch->dp.workers, queue_released, queue);
}

static void queue_withdraw(struct attachment_queue *queue, void (*released)(void *arg), void *arg)
{
	queue->released = released;
	queue->released_arg = arg;
	if (!queue->rx) {
		queue_released(queue);
		return;
	}
	worker_remove_source(workers_get(queue->attachment->vswitch->dp.workers, queue->worker),
			     dp_rx_source(queue->rx), queue_removed, queue);
}

static void port_queue_ready(void *ctx, struct port *port, unsigned number)
{
	struct attachment *attachment = ctx;
	struct attachment_queue *queue = &attachment->queues[number];

	attachment->port = port;
	port->iface = attachment->iface;
	queue->ready = true;
	queue_serve(queue);
}

static void port_queue_gone(void *ctx, struct port *port, unsigned number, void (*released)(void *arg), void *arg)
{
	struct attachment *attachment = ctx;
	struct attachment_queue *queue = &attachment->queues[number];

	queue->ready = false;
	atomic_store(&port->rx_worker[number], PORT_WORKER_ANY);
	queue_withdraw(queue, released, arg);
}

static void port_changed(void *ctx, struct port *port)
{
	struct attachment *attachment = ctx;

	attachment->port = port;
	port->iface = attachment->iface;
	if (attachment->changed)
		attachment->changed(attachment);
}

static void port_notice(void *ctx, struct port *port, const char *name, const char *sentence)
{
	struct attachment *attachment = ctx;
	struct model *model = attachment->vswitch->dpu->model;

	log_info("vswitch", sentence, "port=\"%s\" event=%s", port->name, name);
	if (model)
		model_notice(model, model_find_uuid(model, &attachment->object), name,
			     json_pack("{s:s}", "sentence", sentence));
}

void attachment_init(struct attachment *attachment, struct vswitch *vswitch, uint16_t iface, const struct uuid *object,
		     void (*changed)(struct attachment *attachment))
{
	attachment->vswitch = vswitch;
	attachment->iface = iface;
	attachment->object = *object;
	attachment->changed = changed;
	for (unsigned i = 0; i < PORT_MAX_QUEUES; i++)
		attachment->queues[i] = (struct attachment_queue){ .attachment = attachment, .queue = i };
	LIST_INSERT_HEAD(&vswitch->attachments, attachment, link);
}

struct port_callbacks attachment_callbacks(struct attachment *attachment)
{
	return (struct port_callbacks){ .changed = port_changed,
					.queue_ready = port_queue_ready,
					.queue_gone = port_queue_gone,
					.notice = port_notice,
					.ctx = attachment };
}

void attachment_serve(struct attachment *attachment)
{
	for (unsigned i = 0; i < PORT_MAX_QUEUES; i++)
		if (attachment->queues[i].ready)
			queue_serve(&attachment->queues[i]);
}

unsigned attachment_active(const struct attachment *attachment)
{
	unsigned active = 0;

	for (unsigned i = 0; i < PORT_MAX_QUEUES; i++)
		active += attachment->queues[i].rx != NULL;
	return active;
}

struct closing {
	struct attachment *attachment;
	void (*done)(struct attachment *attachment);
};

static void attachment_closed(void *arg)
{
	struct closing *closing = arg;
	struct vswitch *vswitch = closing->attachment->vswitch;

	free(closing->attachment->error);
	closing->done(closing->attachment);
	free(closing);
	vswitch->closing--;
}

static void attachment_unused(void *arg)
{
	struct closing *closing = arg;
	struct port *port = closing->attachment->port;

	if (port)
		port->ops->close(port, attachment_closed, closing);
	else
		attachment_closed(closing);
}

void attachment_close(struct attachment *attachment, void (*done)(struct attachment *attachment))
{
	struct vswitch *vswitch = attachment->vswitch;
	struct closing *closing = control_alloc(sizeof(*closing));

	*closing = (struct closing){ .attachment = attachment, .done = done };
	attachment->changed = NULL;
	LIST_REMOVE(attachment, link);
	if (atomic_load(&vswitch->dp.ports[attachment->iface]) == attachment->port)
		atomic_store_explicit(&vswitch->dp.ports[attachment->iface], NULL, memory_order_release);
	vswitch->closing++;
	/* Workers may have read the pointer just before. */
	workers_barrier(vswitch->dp.workers, attachment_unused, closing);
}

struct quiescing {
	unsigned left;
	void (*done)(void *arg);
	void *arg;
};

static void quiesced(void *arg)
{
	struct quiescing *quiescing = arg;

	if (--quiescing->left > 0)
		return;
	quiescing->done(quiescing->arg);
	free(quiescing);
}

/* The caller holds a count of its own, so that quiescing outlives the loop. */
static void attachment_quiesce(struct attachment *attachment, struct quiescing *quiescing)
{
	for (unsigned i = 0; i < PORT_MAX_QUEUES; i++)
		if (attachment->queues[i].rx)
			queue_withdraw(&attachment->queues[i], quiesced, quiescing);
}

void attachments_quiesce(struct vswitch *vswitch, void (*done)(void *arg), void *arg)
{
	struct quiescing *quiescing = control_alloc(sizeof(*quiescing));
	struct attachment *attachment;

	*quiescing = (struct quiescing){ .left = 1, .done = done, .arg = arg };
	vswitch->running = false;
	LIST_FOREACH(attachment, &vswitch->attachments, link)
	quiescing->left += attachment_active(attachment);
	if (quiescing->left > 1)
		LIST_FOREACH(attachment, &vswitch->attachments, link)
	attachment_quiesce(attachment, quiescing);
	quiesced(quiescing);
}
