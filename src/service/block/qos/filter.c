// SPDX-License-Identifier: BSD-3-Clause
/* The device on a volume: lines up what has to wait, takes the time of everything. */
#include "service/block/qos/qos_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { SUBMIT_BURST = 4 };
/* What scratch[1] of a request in the queue says beside its user. Below it is where its qos_io is, between the two
 * that it is cancelled. */
enum { QUEUED = 1 << 0, HURRIED = 1 << 1, CANCELLED = 1 << 2, ABOUT = QUEUED | HURRIED | CANCELLED };

const char *const qos_stage_names[QOS_STAGES] = { "wait", "map", "medium", "whole" };
const char *const qos_class_names[QOS_CLASSES] = { "read", "write", "other" };

static enum qos_class class_of(const struct dpu_block_request *request)
{
	return request->op == DPU_BLOCK_READ ? QOS_READS : request->op == DPU_BLOCK_WRITE ? QOS_WRITES : QOS_OTHERS;
}

static void closed(struct qos_volume *volume)
{
	struct qos_scheduler *scheduler = volume->scheduler;
	void (*done)(void *arg) = volume->close_done;
	void *arg = volume->close_arg;

	scheduler->worker->guards -= volume->node.guard;
	if (scheduler->worker->last == volume)
		scheduler->worker->last = NULL;
	volume->group->volumes.members--;
	group_put(scheduler, volume->group);
	free(volume);
	if (done)
		done(arg);
}

static void note_times(struct qos_times *times, const uint64_t ns[QOS_STAGES], uint64_t wait, uint64_t medium,
		       uint64_t below)
{
	if (wait == 0 && medium == 0) {
		histogram_add(&times->only_map, ns[QOS_STAGE_WHOLE]);
		return;
	}
	if (wait == 0 && medium == below) {
		histogram_add(&times->only_medium, ns[QOS_STAGE_WHOLE]);
		return;
	}
	if (wait > 0)
		histogram_add(&times->of[QOS_STAGE_WAIT], ns[QOS_STAGE_WAIT]);
	for (unsigned i = QOS_STAGE_MAP; i < QOS_STAGES; i++)
		histogram_add(&times->of[i], ns[i]);
}

/* Notes its stages. Returns the cycles that it was below. */
static uint64_t account(struct qos_volume *volume, const struct qos_io *io, uint64_t now_ns)
{
	uint64_t end = qos_stamp_up(volume->scheduler), scale = volume->scheduler->scale;
	uint64_t wait = io->dispatched - io->above->scratch[0];
	uint64_t below = end - io->dispatched, medium = io->trace.end - io->trace.begin;

	if (medium > below || volume->on_medium)
		medium = below;
	uint64_t ns[QOS_STAGES] = {
		cycles_ns(wait, scale),
		cycles_ns(below - medium, scale),
		cycles_ns(medium, scale),
		cycles_ns(wait + below, scale),
	};
	note_times(&volume->times[class_of(&io->below)], ns, wait, medium, below);
	if (ns[QOS_STAGE_WHOLE] > volume->slow_floor_ns || now_ns - volume->slow_since_ns >= SLOW_PERIOD_NS) {
		struct qos_slow slow = {
			.offset = io->below.offset,
			.length = io->below.length,
			.ended_ns = now_ns,
			.op = io->below.op,
			.status = io->below.status,
			.ns = { ns[0], ns[1], ns[2], ns[3] },
		};
		slow_note(volume, &slow);
	}
	return below;
}

static void cancel_below(const struct qos_volume *volume, struct qos_io *io);
static void drain(struct qos_volume *volume);
static void hurry(struct qos_volume *volume);

static void sent_done(struct dpu_block_request *below)
{
	struct qos_io *io = (struct qos_io *)below;
	struct qos_volume *volume = io->volume;
	struct qos_scheduler *scheduler = volume->scheduler;
	struct dpu_block_request *above = io->above;
	uint64_t now = qos_now(scheduler), cycles = account(volume, io, now);
	enum dpu_block_status status = below->status;

	if (scheduler->worker->guards)
		window_sample(&scheduler->window, below, cycles, now);
	if (above->trace)
		*above->trace = io->trace;
	scheduler->under_way -= qos_request_units(below);
	volume->under_way--;
	io_free(scheduler, io);
	dpu_block_complete(above, status);
	if (volume->draining && volume->queue.first)
		drain(volume);
	else if (volume->hurried)
		hurry(volume);
	if (volume->closing && volume->under_way == 0)
		closed(volume);
}

void volume_send(struct qos_volume *volume, struct dpu_block_request *request, uint64_t cycles)
{
	struct qos_scheduler *scheduler = volume->scheduler;
	struct qos_io *io = io_take(scheduler);
	bool cancelled = request->scratch[1] & CANCELLED; /* its turn came first: below it may come to wait again */

	io->below = dpu_block_request_below(request, sent_done);
	io->below.trace = &io->trace;
	io->above = request;
	request->scratch[1] = (uintptr_t)io;
	io->volume = volume;
	io->trace = (struct dpu_block_trace){ 0 };
	io->dispatched = cycles;
	scheduler->under_way += qos_request_units(request);
	volume->under_way++;
	volume->below->ops->submit(volume->below, &io->below);
	if (cancelled)
		cancel_below(volume, io);
}

/* ---- the queue ---- */

/* A request in it has the time of its submission, and its user. */
static void queue_add(struct qos_volume *volume, struct dpu_block_request *request, const void *user, bool in_hurry)
{
	request->scratch[1] = (uintptr_t)user | QUEUED | (in_hurry ? HURRIED : 0);
	block_queue_add(&volume->queue, request);
	volume->queued++;
	volume->hurried += in_hurry;
}

/* From anywhere in the queue. */
static struct dpu_block_request *take_at(struct qos_volume *volume, struct dpu_block_request **link)
{
	struct dpu_block_request *request = *link;

	*link = request->next;
	if (!request->next)
		volume->queue.tail = link;
	volume->queued--;
	volume->hurried -= (request->scratch[1] & HURRIED) != 0;
	request->scratch[1] &= CANCELLED; /* volume_send() passes it on */
	return request;
}

struct dpu_block_request *volume_take(struct qos_volume *volume)
{
	return take_at(volume, &volume->queue.first);
}

static struct dpu_block_request *take_hurried(struct qos_volume *volume)
{
	struct dpu_block_request **link = &volume->queue.first;

	while (!((*link)->scratch[1] & HURRIED))
		link = &(*link)->next;
	return take_at(volume, link);
}

static void send_owing(struct qos_volume *volume, struct dpu_block_request *request, uint64_t now)
{
	node_owe_cap(&volume->node, request, now);
	node_owe_cap(&volume->group->node, request, now);
	volume->group->leased = true;
	volume_send(volume, request, qos_stamp_down(volume->scheduler));
}

static void hurry(struct qos_volume *volume)
{
	uint64_t now = qos_now(volume->scheduler);

	while (volume->hurried && volume->scheduler->free_io)
		send_owing(volume, take_hurried(volume), now);
	volume_place(volume, now);
}

void qos_hurry(struct dpu_block_device *device, const void *user, bool on)
{
	struct qos_volume *volume = (struct qos_volume *)device;

	if (!user)
		volume->in_hurry = on;
	if (!on)
		return;
	for (struct dpu_block_request *request = volume->queue.first; request; request = request->next) {
		if ((request->scratch[1] & ~(uint64_t)ABOUT) != (uintptr_t)user || (request->scratch[1] & HURRIED))
			continue;
		request->scratch[1] |= HURRIED;
		volume->hurried++;
	}
	hurry(volume);
}

static void cancel_below(const struct qos_volume *volume, struct qos_io *io)
{
	if (io && volume->below->ops->cancel)
		volume->below->ops->cancel(volume->below, &io->below);
}

/* Looked for later, and for all of them in one go: who breaks off has many. Until then its turn may come. */
static void filter_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct qos_volume *volume = (struct qos_volume *)device;

	if (!(request->scratch[1] & QUEUED)) {
		cancel_below(volume, (struct qos_io *)(uintptr_t)(request->scratch[1] & ~(uint64_t)ABOUT));
		return;
	}
	request->scratch[1] |= CANCELLED;
	if (!volume->cancelled)
		LIST_INSERT_HEAD(&volume->scheduler->cancelled, volume, cancelled_link);
	volume->cancelled = true;
}

static void cancelled_forget(struct qos_volume *volume)
{
	if (volume->cancelled)
		LIST_REMOVE(volume, cancelled_link);
	volume->cancelled = false;
}

unsigned volume_sweep(struct qos_volume *volume)
{
	struct dpu_block_request **link = &volume->queue.first, *request;
	struct block_queue gone;
	unsigned count = 0;

	block_queue_init(&gone);
	cancelled_forget(volume);
	while ((request = *link) != NULL) {
		if (request->scratch[1] & CANCELLED)
			block_queue_add(&gone, take_at(volume, link));
		else
			link = &request->next;
	}
	volume_place(volume, qos_now(volume->scheduler));
	volume->under_way++; /* a done may close it */
	for (; (request = block_queue_take(&gone)) != NULL; count++)
		dpu_block_complete(request, DPU_BLOCK_GONE);
	if (--volume->under_way == 0 && volume->closing)
		closed(volume);
	return count;
}

/* Behind the others of its volume; what may go at once, goes at once. Others go with it only as far as they go before
 * it: more of them would be in the way of what this volume submits next, and have the poll. */
static void line_up(struct qos_volume *volume, struct dpu_block_request *request, const void *user)
{
	struct qos_scheduler *scheduler = volume->scheduler;
	bool first = !volume->queue.first;
	uint64_t now = qos_now(scheduler);

	queue_add(volume, request, user, false);
	if (!first)
		return;
	volume_place(volume, now);
	scheduler_run(scheduler, volume, now, SUBMIT_BURST);
	volume->stats.passed += !volume->queue.first;
}

void qos_submit(struct dpu_block_device *device, struct dpu_block_request *request, const void *user, bool in_hurry)
{
	struct qos_volume *volume = (struct qos_volume *)device;
	struct qos_scheduler *scheduler = volume->scheduler;
	uint64_t cycles = qos_stamp_down(scheduler);

	request->scratch[0] = cycles;
	request->scratch[1] = 0;
	volume->stats.requests++;
	assert(!volume->closing);
	if (volume->draining && !volume->queue.first && scheduler->free_io) {
		volume_send(volume, request, cycles);
	} else if (!scheduler->worker->guards && !volume->node.capped && !volume->group->node.capped &&
		   !volume->queue.first && scheduler->free_io) {
		volume->stats.passed++;
		volume_send(volume, request, cycles);
	} else if (in_hurry) {
		queue_add(volume, request, user, true);
		hurry(volume);
	} else {
		line_up(volume, request, user);
	}
}

static void filter_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	qos_submit(device, request, NULL, ((struct qos_volume *)device)->in_hurry);
}

static void drain(struct qos_volume *volume)
{
	struct qos_scheduler *scheduler = volume->scheduler;

	while (volume->queue.first && scheduler->free_io)
		volume_send(volume, volume_take(volume), qos_stamp_down(scheduler));
	volume_place(volume, qos_now(scheduler));
}

void qos_drain(struct dpu_block_device *device)
{
	struct qos_volume *volume = (struct qos_volume *)device;

	/* What finds no io goes when one comes back. */
	qos_set(device, &(struct qos_policy){ 0 });
	volume->draining = true;
	drain(volume);
}

void qos_on_medium(struct dpu_block_device *device)
{
	((struct qos_volume *)device)->on_medium = true;
}

static void filter_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	struct qos_volume *volume = (struct qos_volume *)device;
	struct dpu_block_request *request;

	volume->closing = true;
	cancelled_forget(volume);
	volume->close_done = done;
	volume->close_arg = arg;
	volume->below->changed = NULL;
	volume->under_way++; /* a done may lead here again */
	while (volume->queue.first) {
		request = volume_take(volume);
		dpu_block_complete(request, DPU_BLOCK_GONE);
	}
	volume_place(volume, qos_now(volume->scheduler));
	if (--volume->under_way == 0)
		closed(volume);
}

static const struct dpu_block_ops filter_ops = { .submit = filter_submit,
						 .close = filter_close,
						 .cancel = filter_cancel };

static void adopt(struct qos_volume *volume)
{
	const struct dpu_block_device *below = volume->below;

	volume->device.name = below->name;
	volume->device.bytes = below->bytes;
	volume->device.sector = below->sector;
	volume->device.features = below->features;
	volume->device.max_bytes = below->max_bytes;
	volume->device.alignment = below->alignment;
}

static void below_changed(void *ctx)
{
	struct qos_volume *volume = ctx;

	adopt(volume);
	if (volume->device.changed)
		volume->device.changed(volume->device.changed_ctx);
}

int qos_new(struct dpu_block_device *below, struct dpu_block_device **ret)
{
	struct qos_volume *volume = calloc(1, sizeof(*volume));

	if (!volume)
		return -ENOMEM;
	volume->device.ops = &filter_ops;
	volume->below = below;
	block_queue_init(&volume->queue);
	node_init(&volume->node, volume->cap, volume->guarantee, false);
	adopt(volume);
	below->changed = below_changed;
	below->changed_ctx = volume;
	*ret = &volume->device;
	return 0;
}

int qos_join(struct dpu_block_device *device, struct qos_scheduler *scheduler, struct qos_tenant *tenant)
{
	struct qos_volume *volume = (struct qos_volume *)device;
	struct qos_group *group = group_get(scheduler, tenant);

	if (!group)
		return -ENOMEM;
	if (set_reserve(&group->volumes) < 0) {
		group_put(scheduler, group);
		return -ENOMEM;
	}
	volume->scheduler = scheduler;
	volume->group = group;
	return 0;
}

int qos_open(struct qos_scheduler *scheduler, struct qos_tenant *tenant, struct dpu_block_device *below,
	     struct dpu_block_device **ret)
{
	struct dpu_block_device *device;

	if (qos_new(below, &device) < 0)
		return -ENOMEM;
	if (qos_join(device, scheduler, tenant) < 0) {
		below->changed = NULL;
		free(device);
		return -ENOMEM;
	}
	*ret = device;
	return 0;
}

void qos_latency(const struct dpu_block_device *device, enum qos_class class, enum qos_stage stage,
		 struct histogram *ret)
{
	const struct qos_times *times = &((const struct qos_volume *)device)->times[class];
	uint64_t all = histogram_count(&times->of[QOS_STAGE_WHOLE]), waited;

	*ret = (struct histogram){ 0 };
	histogram_merge(ret, &times->of[stage]);
	waited = histogram_count(ret);
	if (stage == QOS_STAGE_WAIT && all > waited) /* it may have become more since */
		histogram_more(&ret->count[0], all - waited);
	if (stage == QOS_STAGE_WHOLE || stage == QOS_STAGE_MAP)
		histogram_merge(ret, &times->only_map);
	else
		histogram_more(&ret->count[0], histogram_count(&times->only_map));
	if (stage == QOS_STAGE_WHOLE || stage == QOS_STAGE_MEDIUM)
		histogram_merge(ret, &times->only_medium);
	else
		histogram_more(&ret->count[0], histogram_count(&times->only_medium));
}

void qos_stats(const struct dpu_block_device *device, struct qos_stats *ret)
{
	const struct qos_volume *volume = (const struct qos_volume *)device;

	*ret = volume->stats;
	ret->waiting = volume->queued;
	ret->under_way = volume->under_way;
}
