// SPDX-License-Identifier: BSD-3-Clause
/* I/O commands (NVM Command Set 3): who may do what to a namespace, and the commands of one step. */
#include <string.h>
#include "device/nvme/nvme_target_priv.h"

enum io_flag {
	IO_CHANGES = 1 << 0,     /* for reservations: it writes */
	IO_RESERVATION = 1 << 1, /* itself about reservations: they do not forbid it */
	IO_BLOCKS = 1 << 2,      /* SLBA and NLB as Read has them */
	IO_DATA = 1 << 3,        /* … and that many blocks of data */
};

struct io_opcode {
	void (*start)(struct nvme_command *command);
	uint8_t flags;
};

static void read_start(struct nvme_command *command);
static void write_start(struct nvme_command *command);
static void flush_start(struct nvme_command *command);

static const struct io_opcode opcodes[] = {
	[NVME_FLUSH] = { flush_start, IO_CHANGES },
	[NVME_WRITE] = { write_start, IO_CHANGES | IO_BLOCKS | IO_DATA },
	[NVME_READ] = { read_start, IO_BLOCKS | IO_DATA },
	[NVME_COMPARE] = { write_start, IO_BLOCKS | IO_DATA },
	[NVME_WRITE_ZEROES] = { nvme_ranges_start, IO_CHANGES | IO_BLOCKS },
	[NVME_DATASET_MANAGEMENT] = { nvme_ranges_start, IO_CHANGES },
	[NVME_COPY] = { nvme_ranges_start, IO_CHANGES },
	[NVME_RESERVATION_REGISTER] = { nvme_reservation_start, IO_RESERVATION },
	[NVME_RESERVATION_REPORT] = { nvme_reservation_start, IO_RESERVATION },
	[NVME_RESERVATION_ACQUIRE] = { nvme_reservation_start, IO_RESERVATION },
	[NVME_RESERVATION_RELEASE] = { nvme_reservation_start, IO_RESERVATION },
};

static const struct io_opcode *opcode_of(uint8_t opcode)
{
	if (opcode >= sizeof(opcodes) / sizeof(opcodes[0]) || !opcodes[opcode].start)
		return NULL;
	return &opcodes[opcode];
}

uint32_t nvme_io_effects(uint8_t opcode)
{
	const struct io_opcode *known = opcode_of(opcode);

	if (!known)
		return 0;
	return NVME_EFFECT_SUPPORTED | ((known->flags & IO_CHANGES) && opcode != NVME_FLUSH ? NVME_EFFECT_CONTENT : 0u);
}

/* ---- who may ---- */

/* 8.1.4: what ANA states do to commands. */
static uint16_t ana_check(const struct nvme_controller *controller, const struct nvme_namespace *ns)
{
	switch (nvme_controller_ana(controller, ns)) {
	case NVME_ANA_STATE_INACCESSIBLE:
		return NVME_ANA_INACCESSIBLE;
	case NVME_ANA_STATE_PERSISTENT_LOSS:
		return NVME_ANA_PERSISTENT_LOSS;
	case NVME_ANA_STATE_CHANGE:
		return NVME_ANA_TRANSITION;
	default:
		return NVME_OK;
	}
}

uint16_t nvme_io_check(struct nvme_command *command)
{
	struct nvme_controller *controller = command->queue->controller;
	const struct io_opcode *opcode = opcode_of(command->sqe.opcode);
	struct nvme_namespace *ns = nvme_namespace_find(controller->subsystem, command->sqe.nsid);

	command->ns = ns;
	if (!ns)
		return NVME_INVALID_NAMESPACE | NVME_DNR;
	uint16_t status = ana_check(controller, ns);
	if (status) {
		nvme_count(&ns->stats.path_errors, 1);
		return status;
	}
	if (!(opcode->flags & IO_RESERVATION) && ns->reservations.type != NVME_RESERVE_NONE &&
	    !reservation_allows(&ns->reservations, controller->hostid, opcode->flags & IO_CHANGES)) {
		nvme_count(&ns->stats.reservation_conflicts, 1);
		return NVME_RESERVATION_CONFLICT | NVME_DNR;
	}
	if (!ns->device && !ns->holding)
		return NVME_NAMESPACE_NOT_READY;
	return NVME_OK;
}

/* Its controller may have gone before its last step. */
uint8_t nvme_io_durable(const struct nvme_command *command)
{
	const struct nvme_controller *controller = command->queue->controller;

	return (command->sqe.cdw12 & NVME_IO_FUA) || (controller && controller->write_through) ? DPU_BLOCK_FUA : 0;
}

/* Blocks of the namespace in bytes; false if they are not all there. */
bool nvme_io_range(const struct nvme_namespace *ns, uint64_t lba, uint64_t blocks, uint64_t *ret_offset)
{
	if (lba > ns->blocks || blocks > ns->blocks - lba)
		return false;
	*ret_offset = lba << ns->shift;
	return true;
}

static uint16_t blocks_parse(struct nvme_command *command, uint8_t flags)
{
	const struct nvme_sqe *sqe = &command->sqe;
	uint64_t blocks = (sqe->cdw12 & 0xffff) + UINT64_C(1);

	if (sqe->cdw12 & NVME_IO_PRINFO)
		return NVME_INVALID_PROTECTION | NVME_DNR;
	if (!nvme_io_range(command->ns, sqe->cdw10 | (uint64_t)sqe->cdw11 << 32, blocks, &command->offset))
		return NVME_LBA_RANGE | NVME_DNR;
	if ((flags & IO_DATA) && blocks << command->ns->shift > NVME_BUFFER_MAX_BYTES)
		return NVME_INVALID_FIELD | NVME_DNR; /* MDTS */
	command->length = (uint32_t)(blocks << command->ns->shift);
	return NVME_OK;
}

void nvme_io_start(struct nvme_command *command)
{
	const struct io_opcode *opcode = opcode_of(command->sqe.opcode);
	uint8_t fuse = command->sqe.flags & NVME_FUSE_MASK;
	uint16_t status;

	command->queue->controller->active = true;
	if (command->bad_digest)
		status = NVME_TRANSIENT_TRANSPORT;
	else if (!opcode)
		status = NVME_INVALID_OPCODE | NVME_DNR;
	else if (!(status = nvme_io_check(command)) && (opcode->flags & IO_BLOCKS))
		status = blocks_parse(command, opcode->flags);
	/* A first that waits hears of any command that is not its second. */
	if (fuse || command->queue->fused_first || command->queue->fused_aborted) {
		nvme_fused_start(command, status);
		return;
	}
	if (status)
		nvme_command_fail(command, status);
	else
		opcode->start(command);
}

uint16_t nvme_io_recheck(struct nvme_command *command)
{
	uint16_t status = nvme_io_check(command);
	uint64_t end = command->offset + command->length;

	if (!status && end > command->ns->blocks << command->ns->shift)
		status = NVME_LBA_RANGE | NVME_DNR;
	return status;
}

bool nvme_io_still(struct nvme_command *command)
{
	uint16_t status = nvme_io_recheck(command);

	if (status)
		nvme_command_fail(command, status);
	return status == NVME_OK;
}

/* ---- Read, Write, Compare ---- */

static void finish(struct nvme_command *command, enum dpu_block_status status, uint32_t data)
{
	enum dpu_block_op op = command->request.op;

	nvme_command_count(command, op, command->request.length, status);
	nvme_smart_count_request(command);
	nvme_namespace_leave(command);
	nvme_command_answer(command, nvme_status_of(status, op == DPU_BLOCK_READ || op == DPU_BLOCK_COMPARE), data);
}

static void read_done(struct dpu_block_request *request)
{
	struct nvme_command *command = (struct nvme_command *)request;

	finish(command, request->status, request->status == DPU_BLOCK_OK ? command->length : 0);
}

static void write_done(struct dpu_block_request *request)
{
	finish((struct nvme_command *)request, request->status, 0);
}

static void transfer(struct nvme_command *command)
{
	if (command->sqe.opcode == NVME_READ)
		nvme_command_submit(command, DPU_BLOCK_READ, 0, command->offset, command->length, read_done);
	else if (command->sqe.opcode == NVME_COMPARE)
		nvme_command_submit(command, DPU_BLOCK_COMPARE, 0, command->offset, command->length, write_done);
	else
		nvme_command_submit(command, DPU_BLOCK_WRITE, nvme_io_durable(command), command->offset,
				    command->length, write_done);
}

static void committed(struct dpu_block_request *request)
{
	struct nvme_command *command = (struct nvme_command *)request;

	if (request->status == DPU_BLOCK_OK)
		transfer(command);
	else
		finish(command, request->status, 0);
}

/* NVM 3.2.1, 3.2.4: with FUA what is read must be durable; a device has that for writes, and a flush. */
static void transfer_run(struct nvme_command *command)
{
	const struct nvme_namespace *ns = command->ns;

	if (command->sqe.opcode != NVME_WRITE && (command->sqe.cdw12 & NVME_IO_FUA) &&
	    (nvme_namespace_features(ns) & DPU_BLOCK_F_FLUSH))
		nvme_command_submit(command, DPU_BLOCK_FLUSH, 0, 0, 0, committed);
	else
		transfer(command);
}

static void read_buffered(struct nvme_command *command)
{
	if (command->state == COMMAND_WAITING && !nvme_io_still(command))
		return;
	nvme_namespace_enter(command, false, transfer_run);
}

static void read_start(struct nvme_command *command)
{
	if (nvme_command_has_room(command, command->length))
		nvme_command_buffer(command, command->length, read_buffered);
}

static void write_collected(struct nvme_command *command)
{
	if (nvme_io_still(command))
		nvme_namespace_enter(command, false, transfer_run);
}

static void write_start(struct nvme_command *command)
{
	nvme_command_collect(command, command->length, write_collected);
}

/* ---- Flush ---- */

static void flush_done(struct dpu_block_request *request)
{
	finish((struct nvme_command *)request, request->status, 0);
}

static void flush_run(struct nvme_command *command)
{
	nvme_command_submit(command, DPU_BLOCK_FLUSH, 0, 0, 0, flush_done);
}

static void flush_start(struct nvme_command *command)
{
	nvme_namespace_enter(command, false, flush_run);
}
