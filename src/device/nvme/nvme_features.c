// SPDX-License-Identifier: BSD-3-Clause
/* Set and Get Features (NVM Express Base 5.27, 5.15). Nothing is saved: hosts set what they want after each connect. */
#include <string.h>
#include "device/nvme/nvme_target_priv.h"

enum { ERROR_RECOVERY_DULBE = 1 << 16 }; /* reads of deallocated blocks fail */
enum { CHANGEABLE = 1 << 0, OF_NAMESPACE = 1 << 1, WITH_DISCOVERY = 1 << 2 };

static const struct {
	uint8_t id, flags;
} features[] = {
	{ NVME_FEATURE_ARBITRATION, CHANGEABLE },
	{ NVME_FEATURE_POWER, CHANGEABLE },
	{ NVME_FEATURE_TEMPERATURE, CHANGEABLE },
	{ NVME_FEATURE_ERROR_RECOVERY, CHANGEABLE },
	{ NVME_FEATURE_WRITE_CACHE, CHANGEABLE },
	{ NVME_FEATURE_QUEUES, CHANGEABLE },
	{ NVME_FEATURE_WRITE_ATOMICITY, CHANGEABLE },
	{ NVME_FEATURE_ASYNC_EVENTS, CHANGEABLE | WITH_DISCOVERY },
	{ NVME_FEATURE_KEEP_ALIVE, CHANGEABLE | WITH_DISCOVERY },
	{ NVME_FEATURE_HOST_BEHAVIOR, CHANGEABLE },
	{ NVME_FEATURE_HOST_ID, 0 },
	{ NVME_FEATURE_RESERVATION_MASK, CHANGEABLE | OF_NAMESPACE },
	{ NVME_FEATURE_RESERVATION_PERSISTENCE, CHANGEABLE | OF_NAMESPACE },
};

static int feature_index(uint8_t id)
{
	for (unsigned i = 0; i < sizeof(features) / sizeof(features[0]); i++)
		if (features[i].id == id)
			return (int)i;
	return -1;
}

bool nvme_feature_known(const struct nvme_controller *controller, uint8_t id)
{
	int index = feature_index(id);

	return index >= 0 && (!controller->subsystem->discovery || (features[index].flags & WITH_DISCOVERY));
}

static uint32_t queues_value(uint16_t queues)
{
	return (queues - 1u) * 0x10001u; /* submission and completion queues, zero based */
}

void nvme_features_default(struct nvme_controller *controller)
{
	memset(controller->features, 0, sizeof(controller->features));
	memset(controller->host_behavior, 0, sizeof(controller->host_behavior));
	controller->threshold_k[0] = WARNING_K;
	controller->threshold_k[1] = 0;
	controller->write_through = false;
}

/* ---- the temperature's thresholds (5.27.1.3): of the composite alone, there are no sensors ---- */

enum { SENSOR_ALL = 15 };

static unsigned threshold_sensor(const struct nvme_sqe *sqe)
{
	return sqe->cdw11 >> 16 & 15;
}

static unsigned threshold_kind(const struct nvme_sqe *sqe)
{
	return sqe->cdw11 >> 20 & 3;
}

static uint16_t threshold_set(struct nvme_controller *controller, const struct nvme_sqe *sqe)
{
	unsigned sensor = threshold_sensor(sqe), kind = threshold_kind(sqe);

	if ((sensor != 0 && sensor != SENSOR_ALL) || kind > 1)
		return NVME_INVALID_FIELD | NVME_DNR;
	controller->threshold_k[kind] = (uint16_t)sqe->cdw11;
	return NVME_OK;
}

static uint16_t threshold_get(const struct nvme_controller *controller, const struct nvme_sqe *sqe, bool initial,
			      uint32_t *ret)
{
	unsigned kind = threshold_kind(sqe);

	if (threshold_sensor(sqe) != 0 || kind > 1)
		return NVME_INVALID_FIELD | NVME_DNR;
	*ret = !initial ? controller->threshold_k[kind] : kind == 0 ? WARNING_K : 0;
	return NVME_OK;
}

/* ---- namespaces' ---- */

static uint16_t mask_set(struct nvme_controller *controller, uint32_t nsid, uint32_t value)
{
	struct nvme_namespace *ns = nvme_namespace_find(controller->subsystem, nsid);

	if (nsid == NVME_NSID_ALL) {
		for (uint32_t i = 1; i <= controller->subsystem->highest_nsid; i++)
			if ((ns = nvme_namespace_find(controller->subsystem, i)) != NULL)
				ns->reservation_mask = value & 0x0e;
		return NVME_OK;
	}
	if (!ns)
		return NVME_INVALID_NAMESPACE | NVME_DNR;
	ns->reservation_mask = value & 0x0e;
	return NVME_OK;
}

static void persistence_next(struct nvme_command *command);

static void persistence_saved(void *arg, int error)
{
	struct nvme_command *command = arg;
	bool all = command->sqe.nsid == NVME_NSID_ALL && command->queue->state == QUEUE_CONNECTED;

	nvme_namespace_leave(command);
	if (all && !error)
		persistence_next(command);
	else
		nvme_command_answer(command, error ? NVME_INTERNAL_ERROR : NVME_OK, 0);
}

static void persistence_run(struct nvme_command *command)
{
	struct nvme_namespace *ns = command->ns;
	const struct nvme_subsystem_ops *ops = ns->subsystem->ops;
	uint8_t image[RESERVATION_IMAGE_BYTES_MAX];

	ns->reservations.persist = command->sqe.cdw11 & 1;
	if (!ops || !ops->persist) {
		persistence_saved(command, 0);
		return;
	}
	size_t bytes = reservation_save(&ns->reservations, image);

	ops->persist(ns->subsystem->ctx, ns, image, bytes, persistence_saved, command);
}

/* Of all namespaces: one after the other. */
static void persistence_next(struct nvme_command *command)
{
	const struct nvme_subsystem *subsystem = command->queue->controller->subsystem;

	do
		command->ns = nvme_namespace_find(subsystem, ++command->step);
	while (!command->ns && command->step < subsystem->highest_nsid);
	if (command->ns)
		nvme_namespace_enter(command, true, persistence_run);
	else
		nvme_command_answer(command, NVME_OK, 0);
}

/* 5.27.1.26: durable like the reservations themselves. */
static void persistence_set(struct nvme_command *command)
{
	if (command->sqe.nsid == NVME_NSID_ALL) {
		command->step = 0;
		persistence_next(command);
		return;
	}
	command->ns = nvme_namespace_find(command->queue->controller->subsystem, command->sqe.nsid);
	if (!command->ns)
		nvme_command_fail(command, NVME_INVALID_NAMESPACE | NVME_DNR);
	else
		nvme_namespace_enter(command, true, persistence_run);
}

/* ---- Set ---- */

static uint16_t value_set(struct nvme_controller *controller, const struct nvme_sqe *sqe, uint8_t id)
{
	uint32_t value = sqe->cdw11;

	switch (id) {
	case NVME_FEATURE_POWER:
		return value & 0x1f ? NVME_INVALID_FIELD | NVME_DNR : NVME_OK; /* one state */
	case NVME_FEATURE_TEMPERATURE:
		return threshold_set(controller, sqe);
	case NVME_FEATURE_QUEUES:
		if (controller->io_created)
			return NVME_SEQUENCE_ERROR | NVME_DNR;
		if ((value & 0xffff) == 0xffff || value >> 16 == 0xffff)
			return NVME_INVALID_FIELD | NVME_DNR;
		uint32_t wanted = (value & 0xffff) < value >> 16 ? value & 0xffff : value >> 16;
		uint16_t most = controller->subsystem->max_queues;
		controller->queues = wanted + 1 < most ? (uint16_t)(wanted + 1) : most;
		return NVME_OK;
	case NVME_FEATURE_ASYNC_EVENTS:
		controller->event_mask = value;
		controller->pending &= value;
		return NVME_OK;
	case NVME_FEATURE_KEEP_ALIVE:
		controller->kato_ms = value;
		controller->subsystem->due_ns = 0;
		return NVME_OK;
	case NVME_FEATURE_RESERVATION_MASK:
		return mask_set(controller, sqe->nsid, value);
	case NVME_FEATURE_WRITE_CACHE:
		controller->write_through = !(value & 1);
		return NVME_OK;
	case NVME_FEATURE_ERROR_RECOVERY:
		if (value & ERROR_RECOVERY_DULBE) /* no namespace has it (NSFEAT) */
			return NVME_INVALID_FIELD | NVME_DNR;
		/* fall through */
	default: /* tolerated, and read back */
		controller->features[feature_index(id)] = value;
		return NVME_OK;
	}
}

static void behavior_collected(struct nvme_command *command)
{
	struct nvme_controller *controller = command->queue->controller;

	memcpy(controller->host_behavior, command->buffer->data, sizeof(controller->host_behavior));
	nvme_command_answer(command, NVME_OK, 0);
}

static uint16_t feature_check(const struct nvme_controller *controller, uint8_t id)
{
	return nvme_feature_known(controller, id) ? NVME_OK : NVME_INVALID_FIELD | NVME_DNR;
}

void nvme_set_features(struct nvme_command *command)
{
	struct nvme_controller *controller = command->queue->controller;
	const struct nvme_sqe *sqe = &command->sqe;
	uint8_t id = (uint8_t)sqe->cdw10;
	uint16_t status = feature_check(controller, id);

	if (!status && (sqe->cdw10 >> 31))
		status = NVME_FEATURE_NOT_SAVEABLE | NVME_DNR;
	else if (!status && !(features[feature_index(id)].flags & CHANGEABLE))
		status = id == NVME_FEATURE_HOST_ID ? NVME_SEQUENCE_ERROR | NVME_DNR /* 5.27.1.25: set by Connect */
						    : NVME_FEATURE_NOT_CHANGEABLE | NVME_DNR;
	else if (!status && sqe->nsid != 0 && sqe->nsid != NVME_NSID_ALL &&
		 !(features[feature_index(id)].flags & OF_NAMESPACE))
		status = NVME_FEATURE_NOT_NAMESPACE | NVME_DNR;
	if (status) {
		nvme_command_fail(command, status);
		return;
	}
	if (id == NVME_FEATURE_HOST_BEHAVIOR) {
		nvme_command_collect(command, sizeof(controller->host_behavior), behavior_collected);
		return;
	}
	if (id == NVME_FEATURE_RESERVATION_PERSISTENCE) {
		persistence_set(command);
		return;
	}
	status = value_set(controller, sqe, id);
	if (!status && id == NVME_FEATURE_QUEUES)
		command->result = queues_value(controller->queues);
	nvme_command_answer(command, status, 0);
	if (status)
		return;
	if (id == NVME_FEATURE_ASYNC_EVENTS)
		nvme_event_send(controller);
	else if (id == NVME_FEATURE_TEMPERATURE && nvme_temperature_warns(controller))
		nvme_event_raise(controller, NVME_EVENT_BIT_TEMPERATURE);
}

/* ---- Get ---- */

static uint16_t value_get(const struct nvme_controller *controller, const struct nvme_sqe *sqe, bool initial,
			  uint32_t *ret)
{
	uint8_t id = (uint8_t)sqe->cdw10;
	const struct nvme_namespace *ns;

	switch (id) {
	case NVME_FEATURE_TEMPERATURE:
		return threshold_get(controller, sqe, initial, ret);
	case NVME_FEATURE_QUEUES:
		*ret = queues_value(initial ? controller->subsystem->max_queues : controller->queues);
		return NVME_OK;
	case NVME_FEATURE_ASYNC_EVENTS:
		*ret = initial ? 0 : controller->event_mask;
		return NVME_OK;
	case NVME_FEATURE_KEEP_ALIVE:
		*ret = initial ? 0 : controller->kato_ms;
		return NVME_OK;
	case NVME_FEATURE_WRITE_CACHE:
		*ret = initial || !controller->write_through;
		return NVME_OK;
	case NVME_FEATURE_RESERVATION_MASK:
	case NVME_FEATURE_RESERVATION_PERSISTENCE:
		ns = nvme_namespace_find(controller->subsystem, sqe->nsid);
		if (!ns)
			return NVME_INVALID_NAMESPACE | NVME_DNR;
		*ret = initial                               ? 0
		       : id == NVME_FEATURE_RESERVATION_MASK ? ns->reservation_mask
							     : ns->reservations.persist;
		return NVME_OK;
	default:
		*ret = initial ? 0 : controller->features[feature_index(id)];
		return NVME_OK;
	}
}

static unsigned select_of(const struct nvme_sqe *sqe)
{
	return sqe->cdw10 >> 8 & 7;
}

static void data_buffered(struct nvme_command *command)
{
	const struct nvme_controller *controller = command->queue->controller;

	if ((uint8_t)command->sqe.cdw10 == NVME_FEATURE_HOST_ID)
		memcpy(command->buffer->data, controller->hostid, sizeof(controller->hostid));
	else if (select_of(&command->sqe) != NVME_SELECT_CURRENT)
		memset(command->buffer->data, 0, sizeof(controller->host_behavior));
	else
		memcpy(command->buffer->data, controller->host_behavior, sizeof(controller->host_behavior));
	nvme_command_answer(command, NVME_OK, command->length);
}

void nvme_get_features(struct nvme_command *command)
{
	struct nvme_controller *controller = command->queue->controller;
	const struct nvme_sqe *sqe = &command->sqe;
	uint8_t id = (uint8_t)sqe->cdw10;
	unsigned select = select_of(sqe);
	uint16_t status = feature_check(controller, id);
	uint32_t value = 0;

	if (!status && select > NVME_SELECT_CAPABILITIES)
		status = NVME_INVALID_FIELD | NVME_DNR;
	if (!status && select == NVME_SELECT_CAPABILITIES) {
		uint8_t flags = features[feature_index(id)].flags;

		command->result = (flags & CHANGEABLE ? 4u : 0u) | (flags & OF_NAMESPACE ? 2u : 0u);
		nvme_command_answer(command, NVME_OK, 0);
		return;
	}
	if (!status && (id == NVME_FEATURE_HOST_ID || id == NVME_FEATURE_HOST_BEHAVIOR)) {
		/* EXHID: the identifier has 128 bits over fabrics. */
		if (id == NVME_FEATURE_HOST_ID && !(sqe->cdw11 & 1)) {
			nvme_command_fail(command, NVME_INVALID_FIELD | NVME_DNR);
			return;
		}
		command->length =
			id == NVME_FEATURE_HOST_ID ? sizeof(controller->hostid) : sizeof(controller->host_behavior);
		if (nvme_command_has_room(command, command->length))
			nvme_command_buffer(command, command->length, data_buffered);
		return;
	}
	if (!status)
		/* 5.15.1: nothing is saved, so what is saved is the default. */
		status = value_get(controller, sqe, select != NVME_SELECT_CURRENT, &value);
	command->result = status ? 0 : value;
	nvme_command_answer(command, status, 0);
}
