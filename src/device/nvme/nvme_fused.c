// SPDX-License-Identifier: BSD-3-Clause
/* Compare and Write as one operation (NVM Express Base 3.4.2, NVM 2.1.4): the first waits for its second, both for
 * their data, then they have the namespace alone. A write that fails leaves the compare its success; any other failure
 * of one aborts the other, and says of it what holds for the pair: whether it may be tried again. Two that make no pair
 * (their ranges differ, say) have both the status that says so. */
#include "device/nvme/nvme_target_priv.h"

struct nvme_command *nvme_fused_part(struct nvme_command *command)
{
	struct nvme_command *other = command->partner;

	command->partner = NULL;
	if (other)
		other->partner = NULL;
	return other;
}

void nvme_fused_broken(struct nvme_command *other, uint16_t status)
{
	/* Base 3.3.3.2.1: DNR says whether the same is expected to fail again; of a half that can only mean the pair.
	 */
	other->early_status = NVME_ABORTED_FAILED_FUSED | ((status | other->early_status) & NVME_DNR);
	if (other->state == COMMAND_RECEIVING) /* it is told when its data has come */
		return;
	nvme_buffer_wait_cancel(&other->waiter);
	nvme_namespace_forget(other);
	nvme_command_fail(other, other->early_status);
}

/* It is one of those that are being dropped, or it executes, alone from now on. */
void nvme_fused_forget(struct nvme_command *command)
{
	struct nvme_queue *queue = command->queue;

	if (queue->fused_first == command)
		queue->fused_first = NULL;
	nvme_fused_part(command);
}

void nvme_fused_aborted(struct nvme_command *command)
{
	struct nvme_queue *queue = command->queue;

	if (queue->fused_first != command)
		return;
	queue->fused_first = NULL;
	queue->fused_aborted = true;
}

/* ---- execution: first is the compare ---- */

static void pair_write_done(struct dpu_block_request *request)
{
	struct nvme_command *second = (struct nvme_command *)request;
	struct nvme_command *first = second->partner;
	uint16_t status = nvme_status_of(request->status, false);

	nvme_command_count(second, DPU_BLOCK_WRITE, second->length, request->status);
	nvme_smart_count_request(second);
	nvme_namespace_leave(first);
	nvme_fused_part(first);
	nvme_command_answer(first, NVME_OK, 0); /* NVM 2.1.4: what becomes of the write does not change it */
	nvme_command_answer(second, status, 0);
}

static void pair_compare_done(struct dpu_block_request *request)
{
	struct nvme_command *first = (struct nvme_command *)request;
	struct nvme_command *second = first->partner;

	nvme_command_count(first, DPU_BLOCK_COMPARE, first->length, request->status);
	nvme_smart_count_request(first);
	if (request->status != DPU_BLOCK_OK) {
		nvme_namespace_leave(first);
		nvme_command_fail(first, nvme_status_of(request->status, true));
		return;
	}
	nvme_command_submit(second, DPU_BLOCK_WRITE, nvme_io_durable(second), second->offset, second->length,
			    pair_write_done);
}

/* A reservation, taken while they waited, holds for the write though it lets the compare through. */
static void pair_run(struct nvme_command *first)
{
	uint16_t status = nvme_io_recheck(first->partner);

	if (status) {
		nvme_namespace_leave(first);
		nvme_command_fail(first->partner, status);
		return;
	}
	first->partner->state = COMMAND_EXECUTING;
	nvme_command_submit(first, DPU_BLOCK_COMPARE, 0, first->offset, first->length, pair_compare_done);
}

/* ---- both must have their data ---- */

/* What has changed meanwhile; false: one has failed. */
static bool pair_still(struct nvme_command *first, struct nvme_command *second)
{
	struct nvme_command *refused = first;
	uint16_t status = nvme_io_check(first);

	if (!status) {
		refused = second;
		status = nvme_io_check(second);
	}
	if (status)
		nvme_command_fail(refused, status);
	return status == NVME_OK;
}

static void collected(struct nvme_command *command)
{
	struct nvme_command *first, *second = command->partner;

	if (!second) { /* the other has failed meanwhile */
		nvme_command_fail(command, command->early_status);
		return;
	}
	command->state = COMMAND_WAITING;
	command->collected = true;
	if (!second->collected) {
		if (!nvme_buffer_exempt(command->buffer))
			nvme_command_fail(command, NVME_INTERRUPTED);
		return;
	}
	first = (command->sqe.flags & NVME_FUSE_MASK) == NVME_FUSE_FIRST ? command : second;
	if (pair_still(first, first->partner))
		nvme_namespace_enter(first, true, pair_run);
}

static uint16_t pair_check(const struct nvme_command *first, const struct nvme_command *second)
{
	if (first->sqe.opcode != NVME_COMPARE || second->sqe.opcode != NVME_WRITE ||
	    first->sqe.nsid != second->sqe.nsid || first->offset != second->offset || first->length != second->length)
		return NVME_INVALID_FIELD | NVME_DNR;
	return first->length > DPU_BLOCK_BYTES ? NVME_ATOMIC_WRITE_UNIT | NVME_DNR : NVME_OK;
}

/* Its second comes next. What cannot be the first of a pair holds no memory until then. */
static void first_wait(struct nvme_command *command)
{
	command->state = COMMAND_WAITING;
	if (command->early_status || command->sqe.opcode != NVME_COMPARE || command->length > DPU_BLOCK_BYTES)
		nvme_command_give_back(command);
	if (command->buffer && !nvme_buffer_exempt(command->buffer)) {
		nvme_command_give_back(command);
		command->early_status = NVME_INTERRUPTED; /* too many wait so: to be tried again */
	}
	command->queue->fused_first = command;
}

/* Neither has been asked for its data yet. */
static void pair_start(struct nvme_command *first, struct nvme_command *second)
{
	uint16_t status = first->early_status ? NVME_OK : pair_check(first, second);

	first->partner = second;
	second->partner = first;
	second->state = COMMAND_WAITING;
	if (first->early_status) {
		nvme_command_fail(first, first->early_status);
	} else if (second->early_status) {
		nvme_command_fail(second, second->early_status);
	} else if (status) {
		nvme_fused_part(first);
		nvme_command_fail(first, status);
		nvme_command_fail(second, status);
	} else {
		nvme_command_collect(first, first->length, collected);
		if (second->partner) /* else the first has failed, and with it this one */
			nvme_command_collect(second, second->length, collected);
	}
}

/* A command arrives that is one of a pair, or arrives where the second of a pair should. */
void nvme_fused_start(struct nvme_command *command, uint16_t status)
{
	struct nvme_queue *queue = command->queue;
	struct nvme_command *first = queue->fused_first;
	uint8_t fuse = command->sqe.flags & NVME_FUSE_MASK;
	bool aborted = queue->fused_aborted;

	queue->fused_first = NULL;
	queue->fused_aborted = false;
	if (first && fuse != NVME_FUSE_SECOND)
		nvme_command_fail(first, NVME_ABORTED_MISSING_FUSED | NVME_DNR);
	command->collected = false;
	command->early_status = status;
	if (fuse == 0)
		nvme_io_start(command);
	else if (fuse == NVME_FUSE_FIRST)
		first_wait(command);
	else if (fuse != NVME_FUSE_SECOND)
		nvme_command_fail(command, NVME_INVALID_FIELD | NVME_DNR);
	else if (first)
		pair_start(first, command);
	else
		nvme_command_fail(command, aborted ? NVME_ABORTED_FAILED_FUSED : NVME_ABORTED_MISSING_FUSED | NVME_DNR);
}
