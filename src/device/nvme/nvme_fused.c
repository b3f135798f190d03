// SPDX-License-Identifier: BSD-3-Clause
/* Compare and Write as one operation (NVM Express Base 3.4.2, NVM 2.1.4): the first waits for its second, both for
 * their data, then they have the namespace alone. A compare that fails aborts the write; a write that fails leaves the
 * compare its success. Two that make no pair (their ranges differ, say) have both the status that says so. */
#include "device/nvme/nvme_target_priv.h"

static void pair_run(struct nvme_command *first);

/* One fails with its own status, the other as the specification says. */
static void pair_fail(struct nvme_command *one, uint16_t status, uint16_t other_status)
{
	struct nvme_command *other = one->partner;

	one->partner = NULL;
	if (other)
		other->partner = NULL;
	nvme_command_fail(one, status);
	if (other)
		nvme_command_fail(other, other_status);
}

void nvme_fused_broken(struct nvme_command *command)
{
	struct nvme_command *other = command->partner;

	command->partner = other->partner = NULL;
	/* Else it is told when its data has come. */
	if (other->collected && other->state == COMMAND_WAITING) {
		nvme_namespace_forget(other);
		nvme_command_fail(other, NVME_ABORTED_FAILED_FUSED | NVME_DNR);
	}
}

void nvme_fused_forget(struct nvme_command *command)
{
	struct nvme_queue *queue = command->queue;
	struct nvme_command *other = command->partner;

	if (queue->fused_first == command)
		queue->fused_first = NULL;
	if (!other)
		return;
	command->partner = other->partner = NULL;
	/* It is one of those that are being dropped, or it executes, alone from now on. */
}

/* ---- execution: first is the compare ---- */

static void pair_write_done(struct dpu_block_request *request)
{
	struct nvme_command *second = (struct nvme_command *)request;
	struct nvme_command *first = second->partner;
	uint16_t status = nvme_status_of(request->status, false);

	nvme_namespace_count(first->ns, DPU_BLOCK_WRITE, second->length, request->status);
	nvme_namespace_leave(first);
	first->partner = second->partner = NULL;
	nvme_command_answer(first, NVME_OK, 0); /* NVM 2.1.4: what becomes of the write does not change it */
	nvme_command_answer(second, status, 0);
}

static void pair_compare_done(struct dpu_block_request *request)
{
	struct nvme_command *first = (struct nvme_command *)request;
	struct nvme_command *second = first->partner;

	nvme_namespace_count(first->ns, DPU_BLOCK_COMPARE, first->length, request->status);
	if (request->status != DPU_BLOCK_OK) {
		nvme_namespace_leave(first);
		pair_fail(first, nvme_status_of(request->status, true), NVME_ABORTED_FAILED_FUSED | NVME_DNR);
		return;
	}
	nvme_command_submit(second, DPU_BLOCK_WRITE, second->sqe.cdw12 & NVME_IO_FUA ? DPU_BLOCK_FUA : 0,
			    second->offset, second->length, pair_write_done);
}

/* A reservation, taken while they waited, holds for the write though it lets the compare through. */
static void pair_run(struct nvme_command *first)
{
	uint16_t status = nvme_io_recheck(first->partner);

	if (status) {
		nvme_namespace_leave(first);
		pair_fail(first->partner, status, NVME_ABORTED_FAILED_FUSED | NVME_DNR);
		return;
	}
	first->partner->state = COMMAND_EXECUTING;
	nvme_command_submit(first, DPU_BLOCK_COMPARE, 0, first->offset, first->length, pair_compare_done);
}

/* ---- both must have their data ---- */

static void collected(struct nvme_command *command)
{
	struct nvme_command *first, *second = command->partner;
	uint16_t status;

	if (!second) { /* the other has failed meanwhile */
		nvme_command_fail(command, NVME_ABORTED_FAILED_FUSED | NVME_DNR);
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
	second = first->partner;
	if ((status = nvme_io_check(second)) || (status = nvme_io_check(first))) {
		pair_fail(first, status, NVME_ABORTED_FAILED_FUSED | NVME_DNR);
		return;
	}
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

/* A command arrives that is one of a pair, or arrives where the second of a pair should. */
void nvme_fused_start(struct nvme_command *command, uint16_t status)
{
	struct nvme_queue *queue = command->queue;
	struct nvme_command *first = queue->fused_first;
	uint8_t fuse = command->sqe.flags & NVME_FUSE_MASK;

	queue->fused_first = NULL;
	if (first && fuse != NVME_FUSE_SECOND) {
		nvme_command_fail(first, NVME_ABORTED_MISSING_FUSED | NVME_DNR);
		first = NULL;
	}
	if (fuse == 0) {
		command->sqe.flags &= (uint8_t)~NVME_FUSE_MASK;
		nvme_io_start(command);
		return;
	}
	command->collected = false;
	command->early_status = status;
	if (fuse == NVME_FUSE_FIRST) {
		first_wait(command);
		return;
	}
	if (fuse != NVME_FUSE_SECOND || !first) {
		nvme_command_fail(command, fuse == NVME_FUSE_SECOND ? NVME_ABORTED_MISSING_FUSED | NVME_DNR
								    : NVME_INVALID_FIELD | NVME_DNR);
		return;
	}
	first->partner = command;
	command->partner = first;
	command->state = COMMAND_WAITING;
	if (first->early_status) {
		pair_fail(first, first->early_status, NVME_ABORTED_FAILED_FUSED | NVME_DNR);
		return;
	}
	if (status) {
		pair_fail(command, status, NVME_ABORTED_FAILED_FUSED | NVME_DNR);
		return;
	}
	if ((status = pair_check(first, command)) != NVME_OK) {
		pair_fail(first, status, status);
		return;
	}
	nvme_command_collect(first, first->length, collected);
	nvme_command_collect(command, command->length, collected);
}
