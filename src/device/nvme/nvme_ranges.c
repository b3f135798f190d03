// SPDX-License-Identifier: BSD-3-Clause
/* Commands of several steps: Write Zeroes, Dataset Management, Copy (NVM 3.2.2, 3.2.3, 3.2.8). */
#include <string.h>
#include "device/nvme/nvme_target_priv.h"

enum {
	COPY_CHUNK_BYTES = NVME_COPY_BUFFER_BYTES - NVME_COPY_RANGES_BYTES,
	ZEROES_CHUNK_BYTES = 128 << 10,
};
_Static_assert((int)NVME_COPY_RANGES_BYTES == NVME_COPY_RANGES_MAX * (int)sizeof(struct nvme_copy_range),
	       "all ranges of a Copy");

static void finish(struct nvme_command *command, uint16_t status)
{
	/* NVM 1.4.2: a Copy is a read and a write of the host, and of its data what was written counts. */
	if (command->sqe.opcode == NVME_COPY)
		nvme_smart_count(command, &(struct nvme_smart_counts){ .reads = 1, .writes = 1 });
	nvme_namespace_leave(command);
	nvme_command_answer(command, status, 0);
}

/* The host is gone, or the last step failed: true, it is finished. */
static bool failed(struct nvme_command *command)
{
	enum dpu_block_status status = command->request.status;

	nvme_command_count(command, command->request.op, command->request.length, status);
	if (status == DPU_BLOCK_OK && command->queue->state == QUEUE_CONNECTED)
		return false;
	finish(command, nvme_status_of(status, command->request.op == DPU_BLOCK_READ));
	return true;
}

/* ---- Write Zeroes ---- */

static void zeroes_done(struct dpu_block_request *request)
{
	struct nvme_command *command = (struct nvme_command *)request;

	if (!failed(command))
		finish(command, NVME_OK);
}

static void zeroes_written(struct dpu_block_request *request);

/* A device that cannot do it gets zeroes as data. */
static void zeroes_write(struct nvme_command *command)
{
	uint64_t left = command->length - command->step_done;

	nvme_command_submit(command, DPU_BLOCK_WRITE, nvme_io_durable(command), command->offset + command->step_done,
			    left < ZEROES_CHUNK_BYTES ? left : ZEROES_CHUNK_BYTES, zeroes_written);
}

static void zeroes_written(struct dpu_block_request *request)
{
	struct nvme_command *command = (struct nvme_command *)request;

	if (failed(command))
		return;
	command->step_done += request->length;
	if (command->step_done == command->length)
		finish(command, NVME_OK);
	else
		zeroes_write(command);
}

static void zeroes_run(struct nvme_command *command)
{
	uint8_t flags = nvme_io_durable(command) | (command->sqe.cdw12 & NVME_IO_DEAC ? 0 : DPU_BLOCK_KEEP);

	nvme_command_submit(command, DPU_BLOCK_WRITE_ZEROES, flags, command->offset, command->length, zeroes_done);
}

static void zeroes_buffered(struct nvme_command *command)
{
	memset(command->buffer->data, 0, nvme_buffer_bytes(command->buffer));
	command->step_done = 0;
	if (nvme_io_still(command))
		nvme_namespace_enter(command, false, zeroes_write);
}

static void zeroes_start(struct nvme_command *command)
{
	if (nvme_namespace_features(command->ns) & DPU_BLOCK_F_DISCARD)
		nvme_namespace_enter(command, false, zeroes_run);
	else
		nvme_command_buffer(command, ZEROES_CHUNK_BYTES, zeroes_buffered);
}

/* ---- Dataset Management ---- */

static void discard_next(struct nvme_command *command);

static void discard_done(struct dpu_block_request *request)
{
	struct nvme_command *command = (struct nvme_command *)request;

	if (!failed(command))
		discard_next(command);
}

/* The next range that is not empty. Where the device cannot, there is nothing to do: it was a hint. */
static void discard_next(struct nvme_command *command)
{
	const struct nvme_dsm_range *ranges = (const struct nvme_dsm_range *)command->buffer->data;
	struct nvme_namespace *ns = command->ns;

	while (command->step < command->steps) {
		struct nvme_dsm_range range = ranges[command->step++];
		uint64_t offset;

		if (!ns->device || !(ns->device->features & DPU_BLOCK_F_DISCARD))
			break;
		if (range.blocks == 0 || !nvme_io_range(ns, range.lba, range.blocks, &offset))
			continue;
		nvme_command_submit(command, DPU_BLOCK_DISCARD, 0, offset, (uint64_t)range.blocks << ns->shift,
				    discard_done);
		return;
	}
	finish(command, NVME_OK);
}

static void discard_collected(struct nvme_command *command)
{
	const struct nvme_dsm_range *ranges = (const struct nvme_dsm_range *)command->buffer->data;
	uint64_t offset;

	command->length = 0;
	if (!nvme_io_still(command))
		return;
	for (uint32_t i = 0; i < command->steps; i++) {
		if (!nvme_io_range(command->ns, ranges[i].lba, ranges[i].blocks, &offset)) {
			nvme_command_fail(command, NVME_LBA_RANGE | NVME_DNR);
			return;
		}
	}
	command->step = 0;
	if (command->sqe.cdw11 & NVME_DSM_DEALLOCATE)
		nvme_namespace_enter(command, false, discard_next);
	else
		nvme_command_answer(command, NVME_OK, 0);
}

/* ---- Copy ---- */

static void copy_next(struct nvme_command *command);

static void copy_written(struct dpu_block_request *request)
{
	struct nvme_command *command = (struct nvme_command *)request;

	if (failed(command))
		return;
	nvme_smart_count(command, &(struct nvme_smart_counts){ .write_bytes = request->length });
	command->step_done += request->length;
	command->offset += request->length;
	copy_next(command);
}

/* What was read goes on with the CRCs that it was read with. */
static void copy_read(struct dpu_block_request *request)
{
	struct nvme_command *command = (struct nvme_command *)request;
	uint64_t bytes = request->length;

	if (failed(command))
		return;
	nvme_command_submit(command, DPU_BLOCK_WRITE, nvme_io_durable(command), command->offset, bytes, copy_written);
}

static void copy_next(struct nvme_command *command)
{
	const struct nvme_copy_range *range = &((const struct nvme_copy_range *)command->buffer->data)[command->step];
	uint64_t bytes = (range->blocks + UINT64_C(1)) << command->ns->shift;

	if (command->step_done == bytes) {
		command->step_done = 0;
		command->step++;
		range++;
	}
	if (command->step == command->steps) {
		command->result = 0;
		finish(command, NVME_OK);
		return;
	}
	bytes = ((range->blocks + UINT64_C(1)) << command->ns->shift) - command->step_done;
	nvme_command_submit(command, DPU_BLOCK_READ, 0, (range->lba << command->ns->shift) + command->step_done,
			    bytes < COPY_CHUNK_BYTES ? bytes : COPY_CHUNK_BYTES, copy_read);
}

static void copy_collected(struct nvme_command *command)
{
	const struct nvme_copy_range *ranges = (const struct nvme_copy_range *)command->buffer->data;
	const struct nvme_sqe *sqe = &command->sqe;
	uint64_t blocks = 0, offset;

	command->length = 0;
	if (!nvme_io_still(command))
		return;
	for (uint32_t i = 0; i < command->steps; i++) {
		if (ranges[i].blocks + UINT32_C(1) > NVME_COPY_RANGE_BLOCKS_MAX) {
			nvme_command_fail(command, NVME_SIZE_LIMIT | NVME_DNR);
			return;
		}
		blocks += ranges[i].blocks + UINT64_C(1);
		if (!nvme_io_range(command->ns, ranges[i].lba, ranges[i].blocks + UINT64_C(1), &offset)) {
			nvme_command_fail(command, NVME_LBA_RANGE | NVME_DNR);
			return;
		}
	}
	if (blocks > NVME_COPY_BLOCKS_MAX) {
		nvme_command_fail(command, NVME_SIZE_LIMIT | NVME_DNR);
		return;
	}
	if (!nvme_io_range(command->ns, sqe->cdw10 | (uint64_t)sqe->cdw11 << 32, blocks, &command->offset)) {
		nvme_command_fail(command, NVME_LBA_RANGE | NVME_DNR);
		return;
	}
	command->length = (uint32_t)(blocks << command->ns->shift);
	command->step_done = command->step = 0;
	command->data_at = NVME_COPY_RANGES_BYTES;
	command->has_crc = false;
	nvme_namespace_enter(command, false, copy_next);
}

/* ---- start ---- */

void nvme_ranges_start(struct nvme_command *command)
{
	const struct nvme_sqe *sqe = &command->sqe;

	if (sqe->opcode == NVME_WRITE_ZEROES) {
		zeroes_start(command);
	} else if (sqe->opcode == NVME_DATASET_MANAGEMENT) {
		command->steps = (sqe->cdw10 & 0xff) + 1;
		nvme_command_collect(command, command->steps * (uint32_t)sizeof(struct nvme_dsm_range),
				     discard_collected);
	} else if ((sqe->cdw12 >> 8 & 15) != 0) { /* format of the ranges */
		nvme_command_fail(command, NVME_INVALID_FIELD | NVME_DNR);
	} else if (sqe->cdw12 & (0xf000 | NVME_IO_PRINFO)) { /* of what is read and of what is written */
		nvme_command_fail(command, NVME_INVALID_PROTECTION | NVME_DNR);
	} else if ((sqe->cdw12 & 0xff) >= NVME_COPY_RANGES_MAX) {
		nvme_command_fail(command, NVME_SIZE_LIMIT | NVME_DNR);
	} else {
		command->steps = (sqe->cdw12 & 0xff) + 1;
		nvme_command_collect_into(command, command->steps * (uint32_t)sizeof(struct nvme_copy_range),
					  NVME_COPY_BUFFER_BYTES, copy_collected);
	}
}
