// SPDX-License-Identifier: BSD-3-Clause
/* Asynchronous events (NVM Express Base 5.2): told once, and again only after the host has read the log. */
#include <string.h>
#include "device/nvme/nvme_target_priv.h"

static const struct {
	uint32_t bit, dword;
} notices[] = {
	{ NVME_EVENT_BIT_NAMESPACES,
	  NVME_EVENT_NOTICE | NVME_NOTICE_NAMESPACES << 8 | NVME_LOG_CHANGED_NAMESPACES << 16 },
	{ NVME_EVENT_BIT_TEMPERATURE, NVME_EVENT_SMART | NVME_EVENT_SMART_TEMPERATURE << 8 | NVME_LOG_SMART << 16 },
	{ NVME_EVENT_BIT_ANA, NVME_EVENT_NOTICE | NVME_NOTICE_ANA << 8 | NVME_LOG_ANA << 16 },
	{ NVME_EVENT_BIT_DISCOVERY, NVME_EVENT_NOTICE | NVME_NOTICE_DISCOVERY << 8 | NVME_LOG_DISCOVERY << 16 },
};
enum { NOTICES = sizeof(notices) / sizeof(notices[0]) };

void nvme_event_forget(struct nvme_command *command)
{
	struct nvme_controller *controller = command->queue->controller;

	TAILQ_REMOVE(&controller->aers, command, ns_link);
	controller->aer_count--;
}

static void answer(struct nvme_controller *controller, uint32_t dword)
{
	struct nvme_command *command = TAILQ_FIRST(&controller->aers);

	nvme_event_forget(command);
	command->result = dword;
	nvme_command_answer(command, NVME_OK, 0);
}

void nvme_event_send(struct nvme_controller *controller)
{
	for (unsigned i = 0; i < NOTICES && !TAILQ_EMPTY(&controller->aers); i++) {
		uint32_t bit = notices[i].bit;

		if (!(controller->pending & bit) || (controller->told & bit))
			continue;
		controller->pending &= ~bit;
		controller->told |= bit;
		answer(controller, notices[i].dword);
	}
	if (controller->reservation_pending && !controller->reservation_told && !TAILQ_EMPTY(&controller->aers)) {
		controller->reservation_pending = false;
		controller->reservation_told = true;
		answer(controller, nvme_event(NVME_EVENT_IO, NVME_EVENT_IO_RESERVATION, NVME_LOG_RESERVATION));
	}
}

void nvme_event_raise(struct nvme_controller *controller, uint32_t bit)
{
	if (controller->ended || !(controller->event_mask & bit))
		return;
	controller->pending |= bit;
	nvme_event_send(controller);
}

void nvme_event_raise_all(struct nvme_subsystem *subsystem, uint32_t bit)
{
	struct nvme_controller *controller;

	TAILQ_FOREACH(controller, &subsystem->controllers, link)
	nvme_event_raise(controller, bit);
}

void nvme_event_namespace(struct nvme_namespace *ns)
{
	struct nvme_controller *controller;

	TAILQ_FOREACH(controller, &ns->subsystem->controllers, link)
	{
		controller->changed[(ns->nsid - 1) / 64] |= UINT64_C(1) << (ns->nsid - 1) % 64;
		nvme_event_raise(controller, NVME_EVENT_BIT_NAMESPACES);
	}
}

/* 8.19.9: a notice is a log entry of its own, the oldest are lost. */
void nvme_event_reservation(struct nvme_controller *controller, uint32_t nsid, uint8_t type)
{
	if (controller->notice_count == RESERVATION_NOTICES) {
		controller->notice_first = (controller->notice_first + 1) % RESERVATION_NOTICES;
		controller->notice_count--;
	}
	unsigned at = (controller->notice_first + controller->notice_count++) % RESERVATION_NOTICES;

	controller->notices[at] = (struct nvme_log_reservation){
		.count = ++controller->notice_total,
		.type = type,
		.nsid = nsid,
	};
	controller->reservation_pending = true;
	nvme_event_send(controller);
}

void nvme_event_read(struct nvme_controller *controller, uint32_t bit)
{
	controller->told &= ~bit;
	nvme_event_send(controller);
}
