// SPDX-License-Identifier: BSD-3-Clause
/* Namespaces: their devices come and go, commands enter and leave. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "device/nvme/nvme_target_priv.h"
#include "base/clock.h"
#include "base/stage.h"
#include "engine/crc32c/crc32c.h"

int nvme_namespace_add(struct nvme_subsystem *subsystem, const struct nvme_namespace_options *options,
		       struct nvme_namespace **ret)
{
	uint32_t nsid = options->nsid;

	if (nsid == 0 || nsid > NVME_TARGET_NAMESPACES_MAX || options->ana_group == 0 ||
	    options->ana_group > NVME_TARGET_ANA_GROUPS ||
	    (options->block_bytes && options->block_bytes != 512 && options->block_bytes != 4096))
		return -EINVAL;
	if (subsystem->namespaces[nsid - 1])
		return -EEXIST;
	struct nvme_namespace *ns = calloc(1, sizeof(*ns));
	if (!ns)
		return -ENOMEM;
	if (!reservation_load(&ns->reservations, options->image, options->image_bytes)) {
		free(ns);
		return -EINVAL;
	}
	ns->subsystem = subsystem;
	ns->nsid = nsid;
	ns->ana_group = options->ana_group;
	ns->wanted_block_bytes = options->block_bytes;
	memcpy(ns->uuid, options->uuid, sizeof(ns->uuid));
	ns->ctx = options->ctx;
	TAILQ_INIT(&ns->waiting);
	subsystem->namespaces[nsid - 1] = ns;
	if (nsid > subsystem->highest_nsid)
		subsystem->highest_nsid = nsid;
	*ret = ns;
	return 0;
}

struct nvme_namespace *nvme_namespace_find(const struct nvme_subsystem *subsystem, uint32_t nsid)
{
	if (nsid == 0 || nsid > subsystem->highest_nsid)
		return NULL;
	struct nvme_namespace *ns = subsystem->namespaces[nsid - 1];

	return ns && ns->shift > 0 && !ns->removing ? ns : NULL;
}

void *nvme_namespace_ctx(const struct nvme_namespace *ns)
{
	return ns->ctx;
}

uint32_t nvme_namespace_id(const struct nvme_namespace *ns)
{
	return ns->nsid;
}

const struct nvme_namespace_stats *nvme_namespace_stats(const struct nvme_namespace *ns)
{
	return &ns->stats;
}

/* ---- devices ---- */

static void namespace_go_on(struct nvme_namespace *ns);

static void waiting_fail(struct nvme_namespace *ns, uint16_t status)
{
	struct nvme_command *command;

	while ((command = TAILQ_FIRST(&ns->waiting)) != NULL) {
		nvme_namespace_forget(command);
		nvme_command_fail(command, status);
	}
}

static void hold_end(struct nvme_namespace *ns)
{
	if (ns->holding)
		ns->subsystem->holding--;
	ns->holding = false;
}

static void lost_set(struct nvme_namespace *ns, bool lost)
{
	if (ns->lost == lost)
		return;
	ns->lost = lost;
	if (ns->shift == 0)
		return;
	ns->subsystem->ana_changes++;
	nvme_event_namespace(ns);
	nvme_event_raise_all(ns->subsystem, NVME_EVENT_BIT_ANA);
}

void nvme_namespace_lost(struct nvme_namespace *ns, uint64_t bytes)
{
	hold_end(ns);
	if (ns->shift == 0 && bytes > 0) {
		ns->shift = ns->wanted_block_bytes == 4096 ? 12 : 9;
		ns->blocks = bytes >> ns->shift;
	}
	lost_set(ns, true);
	waiting_fail(ns, NVME_ANA_INACCESSIBLE);
}

/* Blocks, and partly used ones are used; of a device that is away as it was. */
uint64_t nvme_namespace_used(struct nvme_namespace *ns)
{
	if (ns->allocated)
		ns->used_bytes = atomic_load_explicit(ns->allocated, memory_order_relaxed);
	uint64_t blocks = (ns->used_bytes + (UINT64_C(1) << ns->shift) - 1) >> ns->shift;

	return ns->thin && blocks < ns->blocks ? blocks : ns->blocks;
}

void nvme_namespace_attach(struct nvme_namespace *ns, struct dpu_block_device *device,
			   const _Atomic uint64_t *allocated)
{
	uint64_t blocks = ns->blocks;
	uint32_t block = ns->wanted_block_bytes > device->sector ? ns->wanted_block_bytes : device->sector;

	ns->device = device;
	ns->features = device->features;
	ns->allocated = allocated;
	ns->thin = allocated != NULL;
	hold_end(ns);
	if (ns->shift == 0) /* stays for as long as the namespace lives: hosts rely on it */
		ns->shift = block == 4096 ? 12 : 9;
	ns->blocks = device->bytes >> ns->shift;
	if (ns->blocks != blocks)
		nvme_event_namespace(ns);
	lost_set(ns, false);
	namespace_go_on(ns);
}

void nvme_namespace_resized(struct nvme_namespace *ns)
{
	uint64_t blocks = ns->blocks;

	if (!ns->device)
		return;
	ns->blocks = ns->device->bytes >> ns->shift;
	if (ns->blocks != blocks)
		nvme_event_namespace(ns);
}

static void namespace_settle(struct nvme_namespace *ns)
{
	if (ns->busy > 0)
		return;
	void (*released)(void *arg) = ns->released;

	ns->released = NULL;
	ns->going = NULL;
	if (released)
		released(ns->released_arg);
}

void nvme_namespace_release(struct nvme_namespace *ns, void (*released)(void *arg), void *arg)
{
	nvme_namespace_used(ns); /* for the last time */
	ns->going = ns->device;
	ns->device = NULL;
	ns->allocated = NULL;
	ns->released = released;
	ns->released_arg = arg;
	ns->holding = true;
	ns->away_ns = 0;
	ns->subsystem->holding++;
	ns->subsystem->due_ns = 0;
	namespace_settle(ns);
}

static void namespace_free_when_idle(struct nvme_namespace *ns)
{
	struct nvme_subsystem *subsystem = ns->subsystem;

	if (!ns->removing || ns->busy > 0 || !TAILQ_EMPTY(&ns->waiting) || ns->released)
		return;
	void (*removed)(void *arg) = ns->removed;
	void *arg = ns->removed_arg;

	subsystem->namespaces[ns->nsid - 1] = NULL;
	while (subsystem->highest_nsid > 0 && !subsystem->namespaces[subsystem->highest_nsid - 1])
		subsystem->highest_nsid--;
	free(ns);
	removed(arg);
}

void nvme_namespace_remove(struct nvme_namespace *ns, void (*removed)(void *arg), void *arg)
{
	ns->removing = true;
	hold_end(ns);
	ns->removed = removed;
	ns->removed_arg = arg;
	if (ns->shift > 0)
		nvme_event_namespace(ns);
	waiting_fail(ns, NVME_INVALID_NAMESPACE | NVME_DNR);
	if (!ns->admitting)
		namespace_free_when_idle(ns);
}

/* The device does not come back in time. */
void nvme_namespace_tick(struct nvme_namespace *ns)
{
	uint64_t now_ns = ns->subsystem->now_ns;

	if (!ns->holding)
		return;
	if (ns->away_ns == 0)
		ns->away_ns = now_ns;
	if (now_ns - ns->away_ns < HOLD_MS * CLOCK_NS_PER_MS)
		return;
	hold_end(ns);
	waiting_fail(ns, NVME_NAMESPACE_NOT_READY);
}

/* ---- entering and leaving ---- */

/* Those who wait come in, in order, as far as one that must be alone lets them. What has changed meanwhile holds for
 * them, too: a reservation that one before them has taken, the size of another device. */
static void waiting_admit(struct nvme_namespace *ns)
{
	struct nvme_command *command;

	while (!ns->exclusive && !ns->holding && (command = TAILQ_FIRST(&ns->waiting)) != NULL) {
		if (command->alone && ns->busy > 0)
			return;
		nvme_namespace_forget(command);
		uint16_t status = command->queue->qid > 0 ? nvme_io_recheck(command) : NVME_OK;
		if (status) {
			nvme_command_fail(command, status);
			continue;
		}
		command->entered = true;
		command->state = COMMAND_EXECUTING;
		ns->exclusive = command->alone;
		ns->busy++;
		command->run(command);
	}
}

/* Commands that end at once leave from within: then there is nothing to do but for the one who let them in. */
static void namespace_go_on(struct nvme_namespace *ns)
{
	if (ns->admitting)
		return;
	ns->admitting = true;
	waiting_admit(ns);
	ns->admitting = false;
	bool removing = ns->removing; /* else who hears of the release may remove it, and it is gone */
	if (ns->released)
		namespace_settle(ns);
	if (removing)
		namespace_free_when_idle(ns);
}

void nvme_namespace_enter(struct nvme_command *command, bool alone, void (*run)(struct nvme_command *command))
{
	struct nvme_namespace *ns = command->ns;

	if (!ns->exclusive && !ns->holding && TAILQ_EMPTY(&ns->waiting) && !(alone && ns->busy > 0)) {
		ns->exclusive = alone;
		command->alone = alone;
		command->entered = true;
		command->state = COMMAND_EXECUTING;
		ns->busy++;
		run(command);
		return;
	}
	command->alone = alone;
	command->run = run;
	command->ns_waiting = true;
	command->state = COMMAND_WAITING;
	TAILQ_INSERT_TAIL(&ns->waiting, command, ns_link);
}

void nvme_namespace_leave(struct nvme_command *command)
{
	struct nvme_namespace *ns = command->ns;

	if (!command->entered)
		return;
	command->entered = false;
	ns->busy--;
	if (command->alone)
		ns->exclusive = false;
	if (ns->busy > 0 && !ns->released && !ns->removing && TAILQ_EMPTY(&ns->waiting))
		return;
	namespace_go_on(ns);
}

void nvme_namespace_forget(struct nvme_command *command)
{
	if (!command->ns_waiting)
		return;
	command->ns_waiting = false;
	TAILQ_REMOVE(&command->ns->waiting, command, ns_link);
}

/* ---- requests ---- */

uint16_t nvme_status_of(enum dpu_block_status status, bool read)
{
	switch (status) {
	case DPU_BLOCK_OK:
		return NVME_OK;
	case DPU_BLOCK_INTEGRITY: /* written: spoilt on the way, the host still has it */
		return read ? NVME_UNRECOVERED_READ | NVME_DNR : NVME_TRANSIENT_TRANSPORT;
	case DPU_BLOCK_NO_SPACE:
		return NVME_CAPACITY_EXCEEDED | NVME_DNR;
	case DPU_BLOCK_RANGE:
		return NVME_LBA_RANGE | NVME_DNR;
	case DPU_BLOCK_READ_ONLY:
		return NVME_WRITE_PROTECTED | NVME_DNR;
	case DPU_BLOCK_UNSUPPORTED:
		return NVME_INVALID_FIELD | NVME_DNR;
	case DPU_BLOCK_MISCOMPARE:
		return NVME_COMPARE_FAILURE | NVME_DNR;
	case DPU_BLOCK_CONFLICT:
		return NVME_RESERVATION_CONFLICT | NVME_DNR;
	case DPU_BLOCK_GONE:
		return NVME_NAMESPACE_NOT_READY;
	case DPU_BLOCK_IO_ERROR:
	case DPU_BLOCK_STATUSES:
		break;
	}
	return read ? NVME_UNRECOVERED_READ : NVME_WRITE_FAULT;
}

static bool media_error(uint16_t status)
{
	return (status & NVME_STATUS_MASK) >> 8 == 2 && (status & NVME_STATUS_MASK) != NVME_COMPARE_FAILURE;
}

/* What was given up with its connection was no I/O of the namespace's. */
void nvme_command_count(struct nvme_command *command, enum dpu_block_op op, uint64_t bytes,
			enum dpu_block_status status)
{
	struct nvme_namespace *ns = command->ns;

	if (status == DPU_BLOCK_GONE && (command->aborted || command->queue->state > QUEUE_CONNECTED))
		return;
	nvme_count(&ns->stats.requests[op], 1);
	if (status == DPU_BLOCK_OK)
		nvme_count(&ns->stats.bytes[op], bytes);
	nvme_count(&ns->stats.statuses[status], 1);
	if (status != DPU_BLOCK_OK &&
	    media_error(nvme_status_of(status, op == DPU_BLOCK_READ || op == DPU_BLOCK_COMPARE)))
		nvme_smart_count(command, &(struct nvme_smart_counts){ .media_errors = 1 });
}

static void crcs_make(struct nvme_command *command, uint64_t bytes)
{
	const uint8_t *data = command->buffer->data + command->data_at;
	uint32_t *crc = command->buffer->crc + command->data_at / CRC32C_BLOCK_BYTES;
	enum cycle_stage before = stage_enter(STAGE_CRC);

	for (uint64_t i = 0; i < bytes / CRC32C_BLOCK_BYTES; i++)
		crc[i] = crc32c(0, data + i * CRC32C_BLOCK_BYTES, CRC32C_BLOCK_BYTES);
	command->has_crc = true;
	stage_enter(before);
}

/* Devices say how it ended when they complete it. */
enum { STATUS_PENDING = 0xff };
_Static_assert((int)DPU_BLOCK_STATUSES <= (int)STATUS_PENDING, "no status of theirs");

bool nvme_command_cancel(struct nvme_command *command)
{
	/* Only then it is in its namespace: that of others may be gone. */
	if (command->state != COMMAND_EXECUTING || command->request.status != STATUS_PENDING)
		return false;
	struct nvme_namespace *ns = command->ns;
	struct dpu_block_device *device = ns->device ? ns->device : ns->going;
	if (device->ops->cancel)
		device->ops->cancel(device, &command->request);
	return true;
}

void nvme_namespace_cancel(struct nvme_namespace *ns)
{
	struct nvme_controller *controller;
	struct nvme_queue *queue;
	struct nvme_command *command;

	TAILQ_FOREACH(controller, &ns->subsystem->controllers, link)
	TAILQ_FOREACH(queue, &controller->list, link)
	TAILQ_FOREACH(command, &queue->active, link)
	if (command->entered && command->ns == ns)
		nvme_command_cancel(command);
}

void nvme_command_submit(struct nvme_command *command, enum dpu_block_op op, uint8_t flags, uint64_t offset,
			 uint64_t length, void (*done)(struct dpu_block_request *request))
{
	struct dpu_block_device *device = command->ns->device;
	struct dpu_block_request *request = &command->request;
	bool data = op == DPU_BLOCK_READ || op == DPU_BLOCK_WRITE || op == DPU_BLOCK_COMPARE;

	*request = (struct dpu_block_request){
		.op = (uint8_t)op,
		.flags = flags,
		.tag = command->sqe.cid,
		.offset = offset,
		.length = length,
		.done = done,
		.status = STATUS_PENDING,
	};
	/* The next step of one whose host has gone, or that it has aborted. */
	if (!device || command->queue->state > QUEUE_CONNECTED || command->aborted) {
		dpu_block_complete(request, DPU_BLOCK_GONE);
		return;
	}
	if (data) {
		command->data_iov = (struct iovec){ command->buffer->data + command->data_at, length };
		request->iov = &command->data_iov;
		request->segments = 1;
		if ((device->features & DPU_BLOCK_F_CRC) && (offset | length) % DPU_BLOCK_BYTES == 0) {
			request->flags |= DPU_BLOCK_CRC;
			request->crc = command->buffer->crc + command->data_at / CRC32C_BLOCK_BYTES;
			if (op == DPU_BLOCK_READ)
				command->has_crc = true; /* when it is done */
			else if (!command->has_crc)
				crcs_make(command, length);
		} else if (op == DPU_BLOCK_READ) {
			command->has_crc = false;
		}
	}
	enum cycle_stage before = stage_enter(STAGE_SUBMIT);
	enum dpu_block_status status = dpu_block_check(device, request);
	if (status != DPU_BLOCK_OK)
		dpu_block_complete(request, status);
	else
		device->ops->submit(device, request);
	stage_enter(before);
}
