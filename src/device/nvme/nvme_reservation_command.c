// SPDX-License-Identifier: BSD-3-Clause
/* The reservation commands (NVM Express Base 7.2, 7.3, 7.5 to 7.7): one at a time with the namespace to itself, and
 * answered when what must survive a power loss is durable. */
#include <string.h>
#include "device/nvme/nvme_target_priv.h"

_Static_assert((int)NVME_TARGET_REGISTRANTS_MAX == (int)RESERVATION_REGISTRANTS_MAX, "one limit");

static void finish(struct nvme_command *command, uint16_t status)
{
	nvme_namespace_leave(command);
	nvme_command_answer(command, status, 0);
}

/* The hosts that are told, by whichever controllers they have. */
static void effects_tell(struct nvme_namespace *ns, const struct reservation_effects *effects)
{
	static const uint8_t mask_bit[] = { [NVME_REGISTRATION_PREEMPTED] = 1 << 1,
					    [NVME_RESERVATION_RELEASED] = 1 << 2,
					    [NVME_RESERVATION_PREEMPTED] = 1 << 3 };
	struct nvme_controller *controller;

	for (unsigned i = 0; i < effects->count; i++) {
		uint8_t notice = effects->told[i].notice;

		if (ns->reservation_mask & mask_bit[notice])
			continue;
		TAILQ_FOREACH(controller, &ns->subsystem->controllers, link)
		if (!controller->ended &&
		    memcmp(controller->hostid, effects->told[i].host, RESERVATION_HOST_BYTES) == 0)
			nvme_event_reservation(controller, ns->nsid, notice);
	}
}

static void persisted(void *arg, int error)
{
	struct nvme_command *command = arg;

	/* The state is in force all the same: a host that tries again finds it so. */
	finish(command, error ? NVME_INTERNAL_ERROR : NVME_OK);
}

/* Durable, if it is or was to be. */
static void persist(struct nvme_command *command, bool was_durable)
{
	struct nvme_namespace *ns = command->ns;
	const struct nvme_subsystem_ops *ops = ns->subsystem->ops;
	uint8_t image[RESERVATION_IMAGE_BYTES_MAX];

	if ((!ns->reservations.persist && !was_durable) || !ops || !ops->persist) {
		finish(command, NVME_OK);
		return;
	}
	size_t bytes = reservation_save(&ns->reservations, image);

	ops->persist(ns->subsystem->ctx, ns, image, bytes, persisted, command);
}

static void change_run(struct nvme_command *command)
{
	const struct nvme_reservation_keys *keys = (const struct nvme_reservation_keys *)command->buffer->data;
	struct nvme_controller *controller = command->queue->controller;
	struct nvme_namespace *ns = command->ns;
	const struct nvme_sqe *sqe = &command->sqe;
	bool was_durable = ns->reservations.persist;
	struct reservation_effects effects;
	uint16_t status;

	if (sqe->opcode == NVME_RESERVATION_REGISTER)
		status = reservation_register(&ns->reservations, controller->hostid, sqe->cdw10, keys->current,
					      keys->other, &effects);
	else if (sqe->opcode == NVME_RESERVATION_ACQUIRE)
		status = reservation_acquire(&ns->reservations, controller->hostid, sqe->cdw10, keys->current,
					     keys->other, &effects);
	else
		status =
			reservation_release(&ns->reservations, controller->hostid, sqe->cdw10, keys->current, &effects);
	if (status) {
		if (status == NVME_RESERVATION_CONFLICT)
			nvme_count(&ns->stats.reservation_conflicts, 1);
		finish(command, status | NVME_DNR);
		return;
	}
	effects_tell(ns, &effects);
	persist(command, was_durable);
}

static void change_collected(struct nvme_command *command)
{
	uint16_t status = nvme_io_check(command);

	if (status)
		nvme_command_fail(command, status);
	else
		nvme_namespace_enter(command, true, change_run);
}

/* ---- report ---- */

enum {
	REPORT_BYTES_MAX = NVME_REPORT_EXTENDED_HEADER_BYTES +
			   RESERVATION_REGISTRANTS_MAX * (int)sizeof(struct nvme_registrant_extended)
};

static void report_buffered(struct nvme_command *command)
{
	uint32_t bytes = command->length;
	uint8_t image[REPORT_BYTES_MAX] = { 0 };
	uint16_t status = nvme_io_check(command);

	if (status) {
		nvme_command_fail(command, status);
		return;
	}
	const struct nvme_reservations *state = &command->ns->reservations;
	struct nvme_reservation_report *report = (struct nvme_reservation_report *)image;
	struct nvme_registrant_extended *entry =
		(struct nvme_registrant_extended *)(image + NVME_REPORT_EXTENDED_HEADER_BYTES);

	report->gen = state->generation;
	report->rtype = state->type;
	report->registrants = (uint16_t)state->count;
	report->ptpls = state->persist;
	for (unsigned i = 0; i < state->count; i++) {
		entry[i].cntlid = NVME_CNTLID_DYNAMIC; /* 7.7: of dynamic controllers */
		entry[i].rcsts = state->registrant[i].holder;
		entry[i].key = state->registrant[i].key;
		memcpy(entry[i].hostid, state->registrant[i].host, sizeof(entry[i].hostid));
	}
	uint32_t known = bytes < sizeof(image) ? bytes : (uint32_t)sizeof(image);

	memcpy(command->buffer->data, image, known);
	memset(command->buffer->data + known, 0, bytes - known);
	nvme_command_answer(command, NVME_OK, bytes);
}

static void report_start(struct nvme_command *command)
{
	uint64_t bytes = ((uint64_t)command->sqe.cdw10 + 1) * 4;

	/* Host identifiers have 128 bits over fabrics. */
	if (!(command->sqe.cdw11 & 1)) {
		nvme_command_fail(command, NVME_HOST_ID_INCONSISTENT | NVME_DNR);
		return;
	}
	if (bytes > NVME_BUFFER_MAX_BYTES) {
		nvme_command_fail(command, NVME_INVALID_FIELD | NVME_DNR);
		return;
	}
	command->length = (uint32_t)bytes;
	if (nvme_command_has_room(command, command->length))
		nvme_command_buffer(command, command->length, report_buffered);
}

void nvme_reservation_start(struct nvme_command *command)
{
	if (command->sqe.opcode == NVME_RESERVATION_REPORT)
		report_start(command);
	else if (command->sqe.opcode == NVME_RESERVATION_RELEASE)
		nvme_command_collect(command, sizeof(uint64_t), change_collected);
	else
		nvme_command_collect(command, sizeof(struct nvme_reservation_keys), change_collected);
}
