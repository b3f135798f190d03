/* SPDX-License-Identifier: BSD-3-Clause */
/* Ports in service: opened, tried again when that fails, served by workers as their queues come and go, taken away
 * without a packet going astray.
 *
 * The number of an interface is used again only when nothing of its former holder is left: its queues are off the
 * workers, a grace period has passed for those that might have sent to it, its sessions are gone, and what was on its
 * way between workers has arrived. Until then a new holder waits, unpublished. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "service/vswitch/vswitch_priv.h"

static const uint64_t RETRY_NS = CLOCK_NS_PER_S;
static const uint64_t RETRY_SOON_NS = 10 * CLOCK_NS_PER_MS; /* for what is just being taken away */
static const uint64_t REST_NS = 10 * CLOCK_NS_PER_MS;       /* longer than a hand-off ring takes to be emptied */

/* Takes the queue from its worker. Whoever waits for that is told by queue_released(). */
static void queue_withdraw(struct attachment_queue *queue);

static void queue_serve(struct attachment_queue *queue)
{
	struct attachment *attachment = queue->attachment;
	struct vswitch *vswitch = attachment->vswitch;
	struct port *port = attachment->port;
	struct worker *worker;

	if (queue->rx || queue->withdrawing || !vswitch->running)
		return;
	queue->worker = (attachment->iface + queue->queue) % vswitch->dp.worker_count;
	worker = workers_get(vswitch->dp.workers, queue->worker);
	if (dp_rx_new(vswitch->workers[queue->worker], port, queue->queue, &queue->rx) != 0) {
		log_error("vswitch", "a queue cannot be served: out of memory", "port=\"%s\" queue=%u", port->name,
			  queue->queue);
		return;
	}
	atomic_store(&port->rx_worker[queue->queue], (int16_t)queue->worker);
	int rc = worker_add_source(worker, dp_rx_source(queue->rx));
	if (rc != 0) {
		log_error("vswitch", "a queue cannot be watched", "port=\"%s\" queue=%u error=\"%s\"", port->name,
			  queue->queue, strerror(-rc));
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
	void (*quiesced)(void *arg) = queue->quiesced;

	queue->withdrawing = false;
	queue->released = queue->quiesced = NULL;
	/* The first may free the attachment. */
	void *quiesced_arg = queue->quiesced_arg;
	if (released)
		released(queue->released_arg);
	if (quiesced)
		quiesced(quiesced_arg);
}

/* Others may still be transmitting on it, until they have passed a quiescent state. */
static void queue_removed(void *arg)
{
	struct attachment_queue *queue = arg;

	dp_rx_free(queue->rx);
	queue->rx = NULL;
	workers_barrier(queue->attachment->vswitch->dp.workers, queue_released, queue);
}

static void queue_withdraw(struct attachment_queue *queue)
{
	struct workers *workers = queue->attachment->vswitch->dp.workers;

	if (queue->withdrawing)
		return;
	queue->withdrawing = true;
	if (queue->rx)
		worker_remove_source(workers_get(workers, queue->worker), dp_rx_source(queue->rx), queue_removed,
				     queue);
	else
		workers_barrier(workers, queue_released, queue);
}

/* ---- what the port tells ---- */

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
	queue->released = released;
	queue->released_arg = arg;
	atomic_store(&port->rx_worker[number], PORT_WORKER_ANY);
	queue_withdraw(queue);
}

static void port_changed(void *ctx, struct port *port)
{
	struct attachment *attachment = ctx;

	attachment->port = port;
	port->iface = attachment->iface;
	if (attachment->changed)
		attachment->changed(attachment);
}

void attachment_notice(struct attachment *attachment, const char *name, const char *sentence)
{
	struct model *model = attachment->vswitch->dpu->model;
	const struct object *object = model ? model_find_uuid(model, &attachment->object) : NULL;
	char path[OBJECT_PATH_TEXT] = "";

	if (object)
		object_path(object, path, sizeof(path));
	log_info("vswitch", sentence, "object=\"%s\" event=%s", path, name);
	if (object && !model_loading(model))
		model_notice(model, object, name, json_pack("{s:s}", "sentence", sentence));
}

static void port_notice(void *ctx, struct port *port, const char *name, const char *sentence)
{
	(void)port;
	attachment_notice(ctx, name, sentence);
}

/* ---- opening ---- */

void attachment_init(struct attachment *attachment, struct vswitch *vswitch, uint16_t iface, const struct uuid *object,
		     const struct attachment_ops *ops)
{
	attachment->vswitch = vswitch;
	attachment->iface = iface;
	attachment->object = *object;
	attachment->open = ops->open;
	attachment->changed = ops->changed;
	for (unsigned i = 0; i < PORT_MAX_QUEUES; i++)
		attachment->queues[i] = (struct attachment_queue){ .attachment = attachment, .queue = i };
	LIST_INSERT_HEAD(&vswitch->attachments, attachment, link);
}

static void set_error(struct attachment *attachment, const char *error)
{
	free(attachment->error);
	attachment->error = control_text(error);
}

static int try_open(struct attachment *attachment, struct dpu_error *err)
{
	struct port_callbacks callbacks = { .changed = port_changed,
					    .queue_ready = port_queue_ready,
					    .queue_gone = port_queue_gone,
					    .notice = port_notice,
					    .ctx = attachment };

	if (attachment->vswitch->draining[attachment->iface])
		return error_set(err, DPU_E_IN_USE, NULL, "what had its number before is being taken away");
	int rc = attachment->open(attachment, &callbacks, &attachment->port, err);
	if (rc == 0)
		attachment->port->iface = attachment->iface;
	else
		attachment->port = NULL;
	return rc;
}

/* Whether what it wants may be free in a moment: it is taken, and removed objects still hold theirs. */
static bool is_passing(const struct attachment *attachment, const struct dpu_error *why)
{
	const struct vswitch *vswitch = attachment->vswitch;
	bool taken = why->code == DPU_E_IN_USE || why->code == DPU_E_EXISTS || why->code == DPU_E_LIMIT;

	return taken &&
	       (vswitch->closing > 0 || !LIST_EMPTY(&vswitch->removed) || !LIST_EMPTY(&vswitch->removed_ports));
}

static void retry(void *arg)
{
	struct attachment *attachment = arg;
	struct dpu_error err = { 0 };

	if (try_open(attachment, &err) != 0) {
		set_error(attachment, err.message);
		loop_timer_rearm(attachment->retry, is_passing(attachment, &err) ? RETRY_SOON_NS : RETRY_NS);
		return;
	}
	set_error(attachment, NULL);
	loop_timer_remove(attachment->retry);
	attachment->retry = NULL;
	attachment_notice(attachment, "device-open", "the device is there and open");
	attachment->changed(attachment);
}

int attachment_open(struct attachment *attachment, struct dpu_error *err)
{
	struct vswitch *vswitch = attachment->vswitch;
	struct dpu_error why = { 0 };
	int rc = try_open(attachment, &why);

	if (rc == 0)
		return 0;
	bool passing = is_passing(attachment, &why);
	if (!passing && !model_loading(vswitch->dpu->model)) {
		if (err)
			*err = why;
		return rc;
	}
	if (!passing)
		log_warn("vswitch", "a device does not open; trying again every second", "interface=%u error=\"%s\"",
			 attachment->iface, why.message);
	set_error(attachment, why.message);
	rc = loop_timer_add(vswitch->dpu->loop, passing ? RETRY_SOON_NS : RETRY_NS, 0, retry, attachment,
			    &attachment->retry);
	return rc ? error_set(err, DPU_E_LIMIT, NULL, "out of memory") : 0;
}

void attachment_forget(struct attachment *attachment)
{
	LIST_REMOVE(attachment, link);
	loop_timer_remove(attachment->retry);
	free(attachment->error);
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

bool attachment_is_up(const struct attachment *attachment)
{
	return attachment->port && atomic_load(&attachment->port->up);
}

bool attachment_may_publish(const struct attachment *attachment)
{
	return !attachment->vswitch->draining[attachment->iface];
}

/* ---- the end: unlinked, a grace period, closed, its sessions purged, a rest, freed ---- */

struct closing {
	struct attachment *attachment;
	void (*done)(struct attachment *attachment);
	struct loop_timer *rest;
};

static void closing_done(void *arg)
{
	struct closing *closing = arg;
	struct vswitch *vswitch = closing->attachment->vswitch;

	loop_timer_remove(closing->rest);
	vswitch->draining[closing->attachment->iface]--;
	closing->done(closing->attachment);
	free(closing);
	vswitch->closing--;
}

static void closing_rest(void *arg)
{
	struct closing *closing = arg;
	struct vswitch *vswitch = closing->attachment->vswitch;

	if (vswitch->stopping ||
	    loop_timer_add(vswitch->dpu->loop, REST_NS, 0, closing_done, closing, &closing->rest) != 0)
		closing_done(closing);
}

static void closing_purge(void *arg)
{
	struct closing *closing = arg;
	struct vswitch *vswitch = closing->attachment->vswitch;

	closing->attachment->port = NULL;
	/* When the daemon stops, the sessions are for the next process. */
	if (vswitch->running)
		sessions_purge(vswitch, closing->attachment->iface, closing_rest, closing);
	else
		closing_rest(closing);
}

static void closing_unused(void *arg)
{
	struct closing *closing = arg;
	struct port *port = closing->attachment->port;

	if (!port) {
		closing_purge(closing);
		return;
	}
	port->keep = closing->attachment->vswitch->stopping;
	port->ops->close(port, closing_purge, closing);
}

void attachment_close(struct attachment *attachment, void (*done)(struct attachment *attachment))
{
	struct vswitch *vswitch = attachment->vswitch;
	struct closing *closing = control_alloc(sizeof(*closing));

	*closing = (struct closing){ .attachment = attachment, .done = done };
	attachment->changed = NULL;
	attachment_forget(attachment);
	attachment->retry = NULL;
	attachment->error = NULL;
	if (attachment_may_publish(attachment))
		atomic_store_explicit(&vswitch->dp.ports[attachment->iface], NULL, memory_order_release);
	vswitch->draining[attachment->iface]++;
	vswitch->closing++;
	/* Workers may have read the pointer just before. */
	workers_barrier(vswitch->dp.workers, closing_unused, closing);
}

/* ---- the switch stops ---- */

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

static void queue_quiesce(struct attachment_queue *queue, struct quiescing *quiescing)
{
	if (!queue->rx && !queue->withdrawing)
		return;
	quiescing->left++;
	queue->quiesced = quiesced;
	queue->quiesced_arg = quiescing;
	queue_withdraw(queue);
}

void attachments_quiesce(struct vswitch *vswitch, void (*done)(void *arg), void *arg)
{
	struct quiescing *quiescing = control_alloc(sizeof(*quiescing));
	struct attachment *attachment;

	/* One count of our own, so that it outlives the walk. */
	*quiescing = (struct quiescing){ .left = 1, .done = done, .arg = arg };
	vswitch->running = false;
	LIST_FOREACH(attachment, &vswitch->attachments, link)
	{
		for (unsigned i = 0; i < PORT_MAX_QUEUES; i++)
			queue_quiesce(&attachment->queues[i], quiescing);
	}
	quiesced(quiescing);
}
