// SPDX-License-Identifier: BSD-3-Clause
/* Admin commands (NVM Express Base 5): which there are, and the short ones. */
#include "device/nvme/nvme_target_priv.h"

static void keep_alive(struct nvme_command *command)
{
	nvme_command_answer(command, NVME_OK, 0);
}

static void event_request(struct nvme_command *command)
{
	struct nvme_controller *controller = command->queue->controller;

	if (controller->aer_count == NVME_TARGET_AERS) {
		nvme_command_fail(command, NVME_AER_LIMIT | NVME_DNR);
		return;
	}
	nvme_command_give_back(command);
	command->state = COMMAND_OUTSTANDING;
	TAILQ_INSERT_TAIL(&controller->aers, command, ns_link);
	controller->aer_count++;
	nvme_event_send(controller);
}

/* 5.1: what waits can be aborted at once. What is in a device cannot, but may be soon if it waits there for its turn.
 */
static bool abort_one(struct nvme_queue *queue, uint16_t cid, const struct nvme_command *self)
{
	struct nvme_command *command;

	TAILQ_FOREACH(command, &queue->active, link)
	{
		if (command == self || command->sqe.cid != cid)
			continue;
		if (command->state == COMMAND_OUTSTANDING) {
			nvme_event_forget(command);
		} else if (command->state == COMMAND_WAITING) {
			nvme_buffer_wait_cancel(&command->waiter);
			nvme_namespace_forget(command);
			nvme_fused_aborted(command);
		} else {
			command->aborted |= nvme_command_cancel(command);
			continue;
		}
		nvme_command_fail(command, NVME_ABORT_REQUESTED);
		return true;
	}
	return false;
}

static void abort_start(struct nvme_command *command)
{
	struct nvme_controller *controller = command->queue->controller;
	uint16_t sqid = (uint16_t)command->sqe.cdw10, cid = (uint16_t)(command->sqe.cdw10 >> 16);
	struct nvme_queue *queue;
	bool aborted = false;

	TAILQ_FOREACH(queue, &controller->list, link)
	{
		if (queue->qid == sqid && queue->state <= QUEUE_CONNECTED) {
			aborted = abort_one(queue, cid, command);
			break;
		}
	}
	command->result = !aborted;
	nvme_command_answer(command, NVME_OK, 0);
}

void nvme_admin_start(struct nvme_command *command)
{
	struct nvme_controller *controller = command->queue->controller;

	controller->active = true;
	/* 3.3.1: before it is enabled there are fabrics commands only. */
	if (!(controller->csts & NVME_CSTS_RDY)) {
		nvme_command_fail(command, NVME_SEQUENCE_ERROR | NVME_DNR);
		return;
	}
	if (command->sqe.flags & NVME_FUSE_MASK) { /* 3.4.2: there are none of admin commands */
		nvme_command_fail(command, NVME_INVALID_FIELD | NVME_DNR);
		return;
	}
	switch (command->sqe.opcode) {
	case NVME_ADMIN_GET_LOG_PAGE:
		nvme_log_page(command);
		break;
	case NVME_ADMIN_IDENTIFY:
		nvme_identify(command);
		break;
	case NVME_ADMIN_ABORT:
		abort_start(command);
		break;
	case NVME_ADMIN_SET_FEATURES:
		nvme_set_features(command);
		break;
	case NVME_ADMIN_GET_FEATURES:
		nvme_get_features(command);
		break;
	case NVME_ADMIN_ASYNC_EVENT_REQUEST:
		event_request(command);
		break;
	case NVME_ADMIN_KEEP_ALIVE:
		keep_alive(command);
		break;
	default:
		nvme_command_fail(command, NVME_INVALID_OPCODE | NVME_DNR);
	}
}
