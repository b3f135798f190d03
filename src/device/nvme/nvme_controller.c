// SPDX-License-Identifier: BSD-3-Clause
/* Controllers: their queues, keep-alive, and what they remember of errors. */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "device/nvme/nvme_target_priv.h"

static void notify(const struct nvme_controller *controller, const struct nvme_queue *queue,
		   enum nvme_target_event event, enum nvme_target_reason reason)
{
	const struct nvme_subsystem *subsystem = controller->subsystem;
	struct nvme_target_notice notice = {
		.event = event,
		.reason = reason,
		.cntlid = controller->cntlid,
		.qid = queue ? queue->qid : 0,
		.entries = queue ? (uint16_t)(queue->sqsize + 1) : 0,
		.digests = queue ? queue->digests : 0,
		.port = controller->port,
		.kato_ms = controller->kato_ms,
		.digest_errors = controller->digest_errors,
		.hostnqn = controller->hostnqn,
		.hostid = controller->hostid,
	};

	if (subsystem->ops && subsystem->ops->notice)
		subsystem->ops->notice(subsystem->ctx, &notice);
}

struct nvme_controller *nvme_controller_find(struct nvme_subsystem *subsystem, uint16_t cntlid)
{
	struct nvme_controller *controller;

	TAILQ_FOREACH(controller, &subsystem->controllers, link)
	if (controller->cntlid == cntlid && !controller->ended)
		return controller;
	return NULL;
}

/* The next number that is free: a number is not reused soon. */
static uint16_t cntlid_pick(struct nvme_subsystem *subsystem)
{
	struct nvme_controller *controller;
	bool taken;

	do {
		subsystem->last_cntlid = subsystem->last_cntlid == NVME_CNTLID_MAX ? 1 : subsystem->last_cntlid + 1;
		taken = false;
		TAILQ_FOREACH(controller, &subsystem->controllers, link)
		taken |= controller->cntlid == subsystem->last_cntlid;
	} while (taken);
	return subsystem->last_cntlid;
}

struct nvme_controller *nvme_controller_new(struct nvme_subsystem *subsystem, const struct nvme_connect_data *data,
					    uint16_t port)
{
	if (subsystem->controller_count >= subsystem->max_controllers)
		return NULL;
	struct nvme_controller *controller = calloc(1, sizeof(*controller));
	if (!controller)
		return NULL;
	controller->subsystem = subsystem;
	controller->cntlid = cntlid_pick(subsystem);
	controller->port = port;
	controller->queues = subsystem->max_queues;
	nvme_features_default(controller);
	memcpy(controller->hostnqn, data->hostnqn, sizeof(controller->hostnqn));
	memcpy(controller->hostid, data->hostid, sizeof(controller->hostid));
	TAILQ_INIT(&controller->list);
	TAILQ_INIT(&controller->aers);
	TAILQ_INSERT_TAIL(&subsystem->controllers, controller, link);
	subsystem->controller_count++;
	return controller;
}

void nvme_controller_add_queue(struct nvme_controller *controller, struct nvme_queue *queue,
			       const struct nvme_connect_sqe *sqe)
{
	queue->controller = controller;
	queue->qid = sqe->qid;
	queue->sqsize = sqe->sqsize;
	TAILQ_INSERT_TAIL(&controller->list, queue, link);
	controller->subsystem->queue_count++;
	controller->subsystem->due_ns = 0;
	controller->active = true;
	if (queue->qid == 0) {
		controller->admin = queue;
		nvme_account_init(&queue->own, controller->subsystem->account->pool, NULL, ADMIN_OWN_BYTES);
		notify(controller, queue, NVME_TARGET_CONTROLLER_UP, NVME_REASON_NONE);
	} else {
		notify(controller, queue, NVME_TARGET_QUEUE_UP, NVME_REASON_NONE);
	}
}

/* Once all its queues are gone. */
static void controller_free(struct nvme_controller *controller)
{
	struct nvme_subsystem *subsystem = controller->subsystem;

	notify(controller, NULL, NVME_TARGET_CONTROLLER_DOWN, controller->reason);
	TAILQ_REMOVE(&subsystem->controllers, controller, link);
	subsystem->controller_count--;
	free(controller->visible);
	free(controller);
}

void nvme_controller_remove_queue(struct nvme_queue *queue)
{
	struct nvme_controller *controller = queue->controller;

	TAILQ_REMOVE(&controller->list, queue, link);
	controller->subsystem->queue_count--;
	if (queue->qid > 0)
		notify(controller, queue, NVME_TARGET_QUEUE_DOWN, queue->reason);
	else
		controller->admin = NULL;
	/* Commands that are still in a device know their controller by the queue. */
	queue->controller = NULL;
	if (queue->qid == 0) /* 3.3: a controller ends with its admin queue */
		nvme_controller_end(controller, queue->reason);
	if (TAILQ_EMPTY(&controller->list))
		controller_free(controller);
}

/* 3.7.2: queues go, and what the host had asked for is as it was at the beginning. */
void nvme_controller_reset(struct nvme_controller *controller)
{
	struct nvme_queue *queue, *next;
	struct nvme_command *command;

	while ((command = TAILQ_FIRST(&controller->aers)) != NULL)
		nvme_command_drop(command);
	controller->event_mask = controller->pending = controller->told = 0;
	controller->reservation_pending = controller->reservation_told = false;
	controller->notice_count = 0;
	controller->io_created = false;
	memset(controller->changed, 0, sizeof(controller->changed));
	controller->queues = controller->subsystem->max_queues;
	nvme_features_default(controller);
	for (queue = TAILQ_FIRST(&controller->list); queue; queue = next) {
		next = TAILQ_NEXT(queue, link);
		if (queue->qid > 0)
			nvme_queue_close(queue, false, NVME_REASON_HOST);
	}
}

void nvme_controller_end(struct nvme_controller *controller, enum nvme_target_reason reason)
{
	struct nvme_queue *queue, *next;

	if (controller->ended)
		return;
	controller->ended = true;
	if (controller->reason == NVME_REASON_NONE)
		controller->reason = reason;
	for (queue = TAILQ_FIRST(&controller->list); queue; queue = next) {
		next = TAILQ_NEXT(queue, link);
		nvme_queue_close(queue, false, reason);
	}
}

/* The byte of the entry that is at fault, where the status alone says which; else FFFFh: not one of them. */
static uint16_t error_location(uint16_t status)
{
	switch (status & NVME_STATUS_MASK) {
	case NVME_INVALID_OPCODE:
		return offsetof(struct nvme_sqe, opcode);
	case NVME_INVALID_NAMESPACE:
		return offsetof(struct nvme_sqe, nsid);
	case NVME_SGL_OFFSET_INVALID:
		return offsetof(struct nvme_sqe, sgl.address);
	case NVME_SGL_LENGTH_INVALID:
		return offsetof(struct nvme_sqe, sgl.length);
	case NVME_SGL_TYPE_INVALID:
		return offsetof(struct nvme_sqe, sgl.type);
	case NVME_INVALID_LOG_PAGE:
	case NVME_LBA_RANGE:
		return offsetof(struct nvme_sqe, cdw10);
	case NVME_INVALID_PROTECTION:
		return offsetof(struct nvme_sqe, cdw12) + 3;
	default:
		return 0xffff;
	}
}

/* 5.16.1.2: newest first when it is read. Data path: a few stores, only for failures. */
void nvme_controller_error(struct nvme_command *command, uint16_t status)
{
	struct nvme_controller *controller = command->queue->controller;

	if (!controller)
		return;
	struct nvme_log_error *error = &controller->errors[controller->error_count % ERROR_ENTRIES];

	*error = (struct nvme_log_error){
		.count = ++controller->error_count,
		.sqid = command->queue->qid,
		.cid = command->sqe.cid,
		.status = (uint16_t)(status << 1),
		.location = error_location(status),
		.lba = command->queue->qid ? (command->sqe.cdw10 | (uint64_t)command->sqe.cdw11 << 32) : 0,
		.nsid = command->sqe.opcode == NVME_FABRICS ? 0 : command->sqe.nsid,
		.trtype = NVME_TRTYPE_TCP,
	};
}

static void smart_add(struct nvme_smart_counts *counts, const struct nvme_smart_counts *more)
{
	counts->reads += more->reads;
	counts->writes += more->writes;
	counts->read_bytes += more->read_bytes;
	counts->write_bytes += more->write_bytes;
	counts->media_errors += more->media_errors;
}

void nvme_smart_count(struct nvme_command *command, const struct nvme_smart_counts *more)
{
	struct nvme_controller *controller = command->queue->controller;

	smart_add(&command->ns->smart, more);
	if (controller)
		smart_add(&controller->smart, more);
}

void nvme_smart_count_request(struct nvme_command *command)
{
	const struct dpu_block_request *request = &command->request;
	uint64_t bytes = request->status == DPU_BLOCK_OK ? request->length : 0;

	if (request->op == DPU_BLOCK_READ || request->op == DPU_BLOCK_COMPARE)
		nvme_smart_count(command, &(struct nvme_smart_counts){ .reads = 1, .read_bytes = bytes });
	else if (request->op == DPU_BLOCK_WRITE)
		nvme_smart_count(command, &(struct nvme_smart_counts){ .writes = 1, .write_bytes = bytes });
}

void nvme_controller_digest_error(struct nvme_controller *controller, const struct nvme_queue *queue, bool header)
{
	struct nvme_subsystem_stats *stats;

	if (!controller)
		return;
	stats = &controller->subsystem->stats;
	nvme_count(header ? &stats->header_digest_errors : &stats->data_digest_errors, 1);
	controller->digest_errors++;
	if ((controller->digest_errors & (controller->digest_errors - 1)) == 0)
		notify(controller, queue, NVME_TARGET_DIGEST_ERROR, NVME_REASON_NONE);
}

void nvme_controller_protocol_error(struct nvme_controller *controller)
{
	if (controller)
		nvme_count(&controller->subsystem->stats.protocol_errors, 1);
}

/* 3.1.2.3: a discovery controller without a timer has one all the same. 5.19: rounded up to what KAS says; else a host
 * could have us look at all controllers thousands of times a second. */
static uint64_t keep_alive_ns(const struct nvme_controller *controller)
{
	uint64_t ms =
		controller->kato_ms == 0 && controller->subsystem->discovery ? DISCOVERY_KATO_MS : controller->kato_ms;
	uint64_t units = (ms + NVME_TARGET_KEEP_ALIVE_UNIT_MS - 1) / NVME_TARGET_KEEP_ALIVE_UNIT_MS;

	return units * NVME_TARGET_KEEP_ALIVE_UNIT_MS * CLOCK_NS_PER_MS;
}

/* 5.19: with traffic (CTRATT.TBKAS): any command counts, looked at once in a while. */
uint64_t nvme_subsystem_tick(struct nvme_subsystem *subsystem, uint64_t now_ns)
{
	struct nvme_controller *controller, *next;
	uint64_t soonest = TAILQ_EMPTY(&subsystem->controllers) ? UINT64_MAX : STALL_MS / 4 * CLOCK_NS_PER_MS;
	bool watch = subsystem->watch_ns == 0 || now_ns - subsystem->watch_ns >= WATCH_MS * CLOCK_NS_PER_MS;

	subsystem->now_ns = now_ns;
	if (now_ns < subsystem->due_ns)
		return subsystem->due_ns - now_ns;
	if (watch)
		subsystem->watch_ns = now_ns;
	for (controller = TAILQ_FIRST(&subsystem->controllers); controller; controller = next) {
		uint64_t timeout = keep_alive_ns(controller);

		next = TAILQ_NEXT(controller, link);
		if (controller->started_ns == 0)
			controller->started_ns = now_ns;
		if (controller->active || !controller->watched || timeout == 0) {
			controller->alive_ns = now_ns;
			controller->active = false;
			controller->watched = timeout > 0;
		} else if (now_ns - controller->alive_ns > timeout && !controller->ended) {
			nvme_controller_end(controller, NVME_REASON_KEEP_ALIVE);
			continue;
		}
		if (watch)
			nvme_controller_watch(controller);
		if (timeout == 0)
			continue;
		uint64_t left = controller->alive_ns + timeout + 1 - now_ns;
		if (timeout / 4 < left)
			left = timeout / 4;
		if (left < soonest)
			soonest = left;
	}
	for (uint32_t i = 0; subsystem->holding > 0 && i < subsystem->highest_nsid; i++)
		if (subsystem->namespaces[i])
			nvme_namespace_tick(subsystem->namespaces[i]);
	if (subsystem->holding > 0 && soonest > RETRY_DELAY_MS * CLOCK_NS_PER_MS)
		soonest = RETRY_DELAY_MS * CLOCK_NS_PER_MS;
	subsystem->due_ns = soonest == UINT64_MAX ? UINT64_MAX : now_ns + soonest;
	return soonest;
}
