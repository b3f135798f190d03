// SPDX-License-Identifier: BSD-3-Clause
/* Requests as commands: which path takes them, in which parts, and what a completion means. */
#include "service/nvmf/initiator/initiator_priv.h"

#include <string.h>
#include "base/clock.h"
#include "service/nvmf/initiator/remote_request.h"

enum { DOUBTS_FREE = 2, DOUBTS_MOST = 6 };
static const uint64_t PAUSE_NS = 100 * CLOCK_NS_PER_MS; /* before what the controller could not do yet */

/* ---- answers, outside of submit ---- */

void remote_request_fail(struct remote *remote, struct dpu_block_request *request, enum dpu_block_status status)
{
	request->status = (uint8_t)status;
	block_queue_add(&remote->failed, request);
	remote_wake(remote);
}

static void complete(struct remote *remote, struct dpu_block_request *request, enum dpu_block_status status)
{
	remote->outstanding--;
	dpu_block_complete(request, status);
}

/* ---- which path ---- */

static struct host_command *path_command(struct path *path)
{
	for (unsigned i = 0; i < path->queue_count; i++) {
		struct host_queue *queue = path->queues[path->next_queue];
		struct host_command *command = queue ? host_command_get(queue) : NULL;

		path->next_queue = (path->next_queue + 1) % path->queue_count;
		if (command)
			return command;
	}
	return NULL;
}

/* The next in turn, or the one with the least to do. */
static struct path *path_choose(struct remote *remote, enum nvme_ana_state state, uint32_t full)
{
	struct path *best = NULL;

	for (unsigned i = 0; i < remote->path_count; i++) {
		unsigned index = (remote->next_path + i) % remote->path_count;
		struct path *path = &remote->paths[index];

		if (!remote_path_usable(path) || path->ana != state || full & 1u << index)
			continue;
		if (remote->options.policy == REMOTE_ROUND_ROBIN) {
			remote->next_path = index + 1;
			return path;
		}
		if (!best || path->under_way < best->under_way)
			best = path;
	}
	return best;
}

static struct host_command *command_choose(struct remote *remote, struct path **ret_path)
{
	static const enum nvme_ana_state states[] = { NVME_ANA_OPTIMIZED, NVME_ANA_NON_OPTIMIZED };
	uint32_t full = 0;

	for (unsigned i = 0; i < 2; i++) {
		struct path *path;

		while ((path = path_choose(remote, states[i], full))) {
			struct host_command *command = path_command(path);

			if (command) {
				*ret_path = path;
				return command;
			}
			full |= 1u << path->index;
		}
		if (full)
			return NULL; /* busy is no reason to take a worse path */
	}
	return NULL;
}

/* ---- requests as commands ---- */

static void on_done(struct host_command *command, uint16_t status);

static uint64_t part_of(const struct remote *remote, const struct dpu_block_request *request, bool zeroes)
{
	uint64_t left = request->length - request->scratch[0];
	uint64_t most = (zeroes ? UINT64_C(0x10000) : UINT64_C(0xffffffff)) << remote->block_shift;

	if (zeroes && most > 32 << 20)
		most = 32 << 20;
	return left < most ? left : most;
}

static void blocks_set(const struct remote *remote, struct nvme_sqe *sqe, uint64_t offset, uint64_t bytes)
{
	uint64_t lba = offset >> remote->block_shift;

	sqe->cdw10 = (uint32_t)lba;
	sqe->cdw11 = (uint32_t)(lba >> 32);
	sqe->cdw12 = (uint32_t)((bytes >> remote->block_shift) - 1);
}

static void data_set(struct host_command *command, const struct dpu_block_request *request, uint32_t bytes)
{
	command->data = request->iov;
	command->data_offset = request->scratch[0];
	command->segments = request->segments;
	command->bytes = bytes;
	command->to_host = request->op == DPU_BLOCK_READ;
	if (request->flags & DPU_BLOCK_CRC) /* commands are split at blocks */
		command->sum.crc = request->crc + request->scratch[0] / DPU_BLOCK_BYTES;
}

static void discard_make(struct remote *remote, struct host_command *command, uint64_t offset, uint64_t bytes)
{
	struct nvme_sqe *sqe = &command->header.pdu.sqe;

	sqe->opcode = NVME_DATASET_MANAGEMENT;
	sqe->cdw10 = 0; /* one range */
	sqe->cdw11 = NVME_DSM_DEALLOCATE;
	command->range = (struct nvme_dsm_range){
		.blocks = (uint32_t)(bytes >> remote->block_shift),
		.lba = offset >> remote->block_shift,
	};
	command->one = (struct iovec){ &command->range, sizeof(command->range) };
	command->data = &command->one;
	command->segments = 1;
	command->bytes = sizeof(command->range);
}

/* Returns how much of the request the command does. */
static uint64_t command_make(struct remote *remote, struct host_command *command,
			     const struct dpu_block_request *request)
{
	struct nvme_sqe *sqe = &command->header.pdu.sqe;
	uint64_t offset = request->offset + request->scratch[0], bytes = request->length - request->scratch[0];
	bool zeroes = request->op == DPU_BLOCK_WRITE_ZEROES ||
		      (request->op == DPU_BLOCK_DISCARD && remote->zero_by_write_zeroes);
	uint32_t fua =
		(request->flags & DPU_BLOCK_FUA) && (remote->device.features & DPU_BLOCK_F_FLUSH) ? NVME_IO_FUA : 0;

	command->bytes = 0;
	command->segments = 0;
	command->to_host = false;
	sqe->nsid = remote->nsid;
	if (request->op == DPU_BLOCK_FLUSH || (request->scratch[1] & REQUEST_FLUSHES)) {
		sqe->opcode = NVME_FLUSH;
		return 0;
	}
	if (zeroes) {
		bytes = part_of(remote, request, true);
		sqe->opcode = NVME_WRITE_ZEROES;
		blocks_set(remote, sqe, offset, bytes);
		sqe->cdw12 |= fua | (request->flags & DPU_BLOCK_KEEP ? 0 : (uint32_t)NVME_IO_DEAC);
	} else if (request->op == DPU_BLOCK_DISCARD) {
		bytes = part_of(remote, request, false);
		discard_make(remote, command, offset, bytes);
	} else {
		sqe->opcode = request->op == DPU_BLOCK_READ    ? NVME_READ
			      : request->op == DPU_BLOCK_WRITE ? NVME_WRITE
							       : NVME_COMPARE;
		bytes = bytes < command->path->max_bytes ? bytes : command->path->max_bytes;
		blocks_set(remote, sqe, offset, bytes);
		sqe->cdw12 |= request->op == DPU_BLOCK_WRITE ? fua : 0;
		data_set(command, request, (uint32_t)bytes);
	}
	return bytes;
}

/* False: it must wait for a path or a command. */
static bool send_on(struct remote *remote, struct dpu_block_request *request)
{
	struct path *path = NULL;
	struct host_command *command = command_choose(remote, &path);

	if (!command)
		return false;
	command->ctx = request;
	command->path = path;
	command->part = command_make(remote, command, request);
	command->done = on_done;
	if (!host_command_send(command)) {
		host_command_give_up(command);
		remote_wake(remote); /* memory: tried again */
		return false;
	}
	path->under_way++;
	path->status.commands++;
	return true;
}

/* ---- what becomes of them ---- */

static bool nothing_to_do(const struct remote *remote, const struct dpu_block_request *request)
{
	if (request->op == DPU_BLOCK_FLUSH)
		return !(remote->device.features & DPU_BLOCK_F_FLUSH);
	return request->length == 0;
}

static enum dpu_block_status refusal(const struct remote *remote, const struct dpu_block_request *request)
{
	if (remote->gone || remote->closing || remote_request_over(remote, request))
		return DPU_BLOCK_GONE;
	if (remote->lost && !remote_any_usable(remote, false))
		return DPU_BLOCK_IO_ERROR;
	if (request->op == DPU_BLOCK_COMPARE && !remote->compare)
		return DPU_BLOCK_UNSUPPORTED;
	return DPU_BLOCK_OK;
}

void remote_dispatch(struct remote *remote, struct dpu_block_request *request)
{
	enum dpu_block_status status = refusal(remote, request);

	if (status != DPU_BLOCK_OK || nothing_to_do(remote, request)) {
		remote_request_fail(remote, request, status);
	} else if (remote_fenced(remote, request)) {
		remote->held_count++;
		block_queue_add(&remote->held, request);
	} else if (remote->waiting.first || !send_on(remote, request)) {
		block_queue_add(&remote->waiting, request);
	}
}

void remote_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct remote *remote = (struct remote *)device;

	request->scratch[0] = request->scratch[1] = 0;
	remote->outstanding++;
	remote->requests++;
	remote_dispatch(remote, request);
}

void remote_waiting_go(struct remote *remote)
{
	while (remote->waiting.first) {
		struct dpu_block_request *request = remote->waiting.first;

		if (refusal(remote, request) != DPU_BLOCK_OK) {
			block_queue_take(&remote->waiting);
			remote_request_fail(remote, request, refusal(remote, request));
		} else if (remote_fenced(remote, request)) {
			block_queue_take(&remote->waiting);
			remote->held_count++;
			block_queue_add(&remote->held, request);
		} else if (send_on(remote, request)) {
			/* its `next` is still the queue's */
			block_queue_take(&remote->waiting);
		} else {
			break;
		}
	}
}

static enum dpu_block_status status_of(uint16_t status)
{
	switch (status & NVME_STATUS_MASK) {
	case NVME_COMPARE_FAILURE:
		return DPU_BLOCK_MISCOMPARE;
	case NVME_RESERVATION_CONFLICT:
		return DPU_BLOCK_CONFLICT;
	case NVME_WRITE_PROTECTED:
	case NVME_READ_ONLY_RANGE:
		return DPU_BLOCK_READ_ONLY;
	case NVME_CAPACITY_EXCEEDED:
		return DPU_BLOCK_NO_SPACE;
	case NVME_LBA_RANGE:
		return DPU_BLOCK_RANGE;
	case NVME_GUARD_CHECK:
		return DPU_BLOCK_INTEGRITY;
	case NVME_INVALID_OPCODE:
	case NVME_INVALID_FIELD:
		return DPU_BLOCK_UNSUPPORTED;
	default:
		return DPU_BLOCK_IO_ERROR;
	}
}

static bool is_ana_error(const struct path *path, uint16_t status)
{
	uint16_t code = status & NVME_STATUS_MASK;

	return (path->admin.identify.cmic & 8) && code >= NVME_ANA_PERSISTENT_LOSS && code <= NVME_ANA_TRANSITION;
}

/* The path says that it is none (any more): another one, and its ANA log. Where the log keeps saying otherwise it is
 * believed more and more slowly, and the path does not end the time without any. */
static void path_refused(struct path *path, uint16_t status)
{
	uint16_t code = status & NVME_STATUS_MASK;

	if (remote_path_usable(path) && ++path->ana_doubts > DOUBTS_FREE) {
		unsigned times = path->ana_doubts - DOUBTS_FREE - 1;

		path->ana_doubted_ns = clock_ns() + (PAUSE_NS << (times < DOUBTS_MOST ? times : DOUBTS_MOST));
	}
	path->ana = code == NVME_ANA_TRANSITION        ? NVME_ANA_STATE_CHANGE
		    : code == NVME_ANA_PERSISTENT_LOSS ? NVME_ANA_STATE_PERSISTENT_LOSS
						       : NVME_ANA_STATE_INACCESSIBLE;
	path->status.ana = path->ana;
	if (path->ana_until_ns == 0)
		path->ana_until_ns = path->remote->now_ns + PAUSE_NS;
	remote_path_refresh(path, REFRESH_ANA);
	remote_path_changed(path->remote);
}

static void path_trust(struct path *path)
{
	path->ana_doubts = 0;
	remote_path_changed(path->remote);
}

static void retry(struct remote *remote, struct dpu_block_request *request, uint16_t status)
{
	if (!request_holds(request)) {
		complete(remote, request, DPU_BLOCK_INTEGRITY);
		return;
	}
	bool is_final = (status & NVME_DNR) || (status & NVME_STATUS_MASK) == NVME_COMPARE_FAILURE;

	if (is_final || (request->scratch[1] & REQUEST_RETRIES) >= RETRIES_MAX) {
		complete(remote, request, status_of(status));
		return;
	}
	request->scratch[1]++;
	remote->repeated++;
	if ((status & NVME_STATUS_MASK) == NVME_TRANSIENT_TRANSPORT) {
		remote_dispatch(remote, request);
		return;
	}
	block_queue_add(&remote->later, request);
	if (remote->later_ns == 0)
		remote->later_ns = clock_ns() + PAUSE_NS;
}

/* The connection went with it. What only reads is done again; what writes waits until the path is wholly down. */
static void lost(struct remote *remote, struct path *path, struct dpu_block_request *request)
{
	if (remote->closing || remote->gone) {
		remote->left_writes |= request_modifies(request);
		complete(remote, request, DPU_BLOCK_GONE);
	} else if (request_modifies(request) && !(request->scratch[1] & REQUEST_FLUSHES)) {
		request->next = path->orphans;
		path->orphans = request;
	} else if (!request_holds(request)) {
		complete(remote, request, DPU_BLOCK_INTEGRITY);
	} else {
		remote->repeated++;
		remote_dispatch(remote, request);
	}
}

static void part_done(struct remote *remote, struct dpu_block_request *request, uint64_t bytes)
{
	bool flush = request->op == DPU_BLOCK_DISCARD && (request->flags & DPU_BLOCK_FUA) &&
		     (remote->device.features & DPU_BLOCK_F_FLUSH) && !remote->zero_by_write_zeroes;

	request->scratch[0] += bytes;
	if (request->op == DPU_BLOCK_FLUSH || (request->scratch[1] & REQUEST_FLUSHES)) {
		complete(remote, request, DPU_BLOCK_OK);
	} else if (request->scratch[0] < request->length) {
		remote_dispatch(remote, request);
	} else if (flush) {
		request->scratch[1] |= REQUEST_FLUSHES;
		remote_dispatch(remote, request);
	} else {
		complete(remote, request, DPU_BLOCK_OK);
	}
}

static void on_done(struct host_command *command, uint16_t status)
{
	struct dpu_block_request *request = command->ctx;
	struct path *path = command->path;
	struct remote *remote = path->remote;

	path->under_way--;
	if (status == HOST_LOST) {
		lost(remote, path, request);
	} else if ((status & NVME_STATUS_MASK) == NVME_OK) {
		if (path->ana_doubts > 0)
			path_trust(path);
		part_done(remote, request, command->part);
	} else if (is_ana_error(path, status)) {
		path_refused(path, status);
		if (remote->lost)
			complete(remote, request, DPU_BLOCK_IO_ERROR);
		else
			remote_dispatch(remote, request);
	} else if ((status & NVME_STATUS_MASK) == NVME_INVALID_NAMESPACE) { /* deleted? The event may be behind */
		remote_path_refresh(path, REFRESH_NAMESPACE);
		retry(remote, request, NVME_INVALID_NAMESPACE);
	} else {
		retry(remote, request, status);
	}
}
