// SPDX-License-Identifier: BSD-3-Clause
/* A queue's life, and its commands. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "device/nvme/nvme_target_priv.h"

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

int nvme_queue_new(const struct nvme_transport_ops *ops, void *ctx, struct nvme_queue **ret)
{
	struct nvme_queue *queue = calloc(1, sizeof(*queue));

	if (!queue)
		return -ENOMEM;
	queue->chunks = calloc(1, sizeof(*queue->chunks));
	if (!queue->chunks) {
		free(queue);
		return -ENOMEM;
	}
	queue->chunk_max = 1;
	queue->ops = ops;
	queue->ctx = ctx;
	queue->receive.need = sizeof(struct nvme_tcp_header);
	TAILQ_INIT(&queue->free);
	TAILQ_INIT(&queue->active);
	*ret = queue;
	return 0;
}

void nvme_queue_move(struct nvme_queue *queue, const struct nvme_transport_ops *ops, void *ctx)
{
	queue->ops = ops;
	queue->ctx = ctx;
}

void nvme_queue_free(struct nvme_queue *queue)
{
	assert(queue->sends == 0 && TAILQ_EMPTY(&queue->active));
	if (queue->payer)
		nvme_queue_memory_give(queue->payer, queue->paid);
	for (unsigned i = 0; i < queue->chunk_count; i++)
		free(queue->chunks[i]);
	free(queue->chunks);
	free(queue->connect_data);
	free(queue);
}

bool nvme_queue_is_connected(const struct nvme_queue *queue)
{
	return queue->state == QUEUE_CONNECTED;
}

/* ---- commands ---- */

enum { CHUNK_BYTES = COMMAND_CHUNK * sizeof(struct nvme_command) };

bool nvme_queue_pay(struct nvme_queue *queue, struct nvme_account *account, const struct nvme_connect_sqe *sqe)
{
	bool admin = sqe->qid == 0;
	unsigned chunks = (sqe->sqsize + 1u + COMMAND_CHUNK - 1) / COMMAND_CHUNK;
	uint64_t bytes = sizeof(*queue) + queue->chunk_max * sizeof(struct nvme_command *) +
			 chunks * (uint64_t)CHUNK_BYTES + (admin ? sizeof(struct nvme_controller) : 0);

	if (!nvme_queue_memory_take(account, bytes, admin))
		return false;
	queue->payer = account;
	queue->paid = bytes;
	queue->chunk_paid = (uint16_t)chunks;
	return true;
}

/* Commands whose answers are under way may be as many again as the entries: these are paid for as they come, and where
 * there is no room the next command waits until one is sent. */
static bool chunk_pay(struct nvme_queue *queue)
{
	if (queue->chunk_count < queue->chunk_paid || !queue->payer)
		return true;
	if (!nvme_queue_memory_take(queue->payer, CHUNK_BYTES, false))
		return false;
	queue->paid += CHUNK_BYTES;
	return true;
}

static void chunk_give(struct nvme_queue *queue)
{
	if (queue->chunk_count < queue->chunk_paid || !queue->payer)
		return;
	nvme_queue_memory_give(queue->payer, CHUNK_BYTES);
	queue->paid -= CHUNK_BYTES;
}

static bool chunk_add(struct nvme_queue *queue)
{
	if (queue->chunk_count == queue->chunk_max || !chunk_pay(queue))
		return false;
	struct nvme_command *chunk = calloc(COMMAND_CHUNK, sizeof(*chunk));
	if (!chunk) {
		chunk_give(queue);
		return false;
	}
	for (unsigned i = 0; i < COMMAND_CHUNK; i++) {
		chunk[i].index = (uint16_t)(queue->chunk_count * COMMAND_CHUNK + i);
		chunk[i].queue = queue;
		TAILQ_INSERT_TAIL(&queue->free, &chunk[i], link);
	}
	queue->chunks[queue->chunk_count++] = chunk;
	return true;
}

/* Most queues have many commands under way now and then, and few always. */
void nvme_queue_trim(struct nvme_queue *queue)
{
	if (!TAILQ_EMPTY(&queue->active) || queue->chunk_count < 2)
		return;
	while (queue->chunk_count > 1) {
		free(queue->chunks[--queue->chunk_count]);
		chunk_give(queue);
	}
	TAILQ_INIT(&queue->free);
	for (unsigned i = 0; i < COMMAND_CHUNK; i++)
		TAILQ_INSERT_TAIL(&queue->free, &queue->chunks[0][i], link);
}

struct nvme_command *nvme_command_new(struct nvme_queue *queue)
{
	if (TAILQ_EMPTY(&queue->free) && !chunk_add(queue))
		return NULL;
	struct nvme_command *command = TAILQ_FIRST(&queue->free);

	TAILQ_REMOVE(&queue->free, command, link);
	TAILQ_INSERT_TAIL(&queue->active, command, link);
	command->buffer = NULL;
	command->ns = NULL;
	command->partner = NULL;
	command->result = command->offset = 0;
	command->length = command->in_capsule = command->received = command->data_at = 0;
	command->entered = command->ns_waiting = command->bad_digest = command->has_crc = false;
	command->aborted = false;
	return command;
}

struct nvme_command *nvme_command_find(struct nvme_queue *queue, uint16_t index)
{
	if (index / COMMAND_CHUNK >= queue->chunk_count)
		return NULL;
	return &queue->chunks[index / COMMAND_CHUNK][index % COMMAND_CHUNK];
}

void nvme_command_free(struct nvme_command *command)
{
	struct nvme_queue *queue = command->queue;
	struct nvme_buffer *buffer = command->buffer;

	command->state = COMMAND_FREE;
	command->buffer = NULL;
	TAILQ_REMOVE(&queue->active, command, link);
	TAILQ_INSERT_HEAD(&queue->free, command, link); /* warm */
	if (buffer)
		nvme_buffer_put(buffer);
	if (queue->receive.state == RECEIVE_BLOCKED)
		nvme_queue_unblock(queue);
	nvme_queue_settle(queue);
}

/* It waits for nothing any more. */
static void command_detach(struct nvme_command *command)
{
	nvme_buffer_wait_cancel(&command->waiter);
	nvme_namespace_forget(command);
	nvme_fused_forget(command);
	if (command->state == COMMAND_OUTSTANDING)
		nvme_event_forget(command);
	if (command->state != COMMAND_ANSWERED)
		command->state = COMMAND_WAITING;
}

void nvme_command_drop(struct nvme_command *command)
{
	command_detach(command);
	if (command->state != COMMAND_ANSWERED)
		command->queue->outstanding--;
	command->state = COMMAND_ANSWERED;
	if (command->lent == 0)
		nvme_command_free(command);
}

void nvme_command_returned(struct nvme_command *command)
{
	command->lent--;
	if (command->lent == 0 && command->state == COMMAND_ANSWERED)
		nvme_command_free(command);
	else
		nvme_queue_settle(command->queue);
}

/* ---- data of a command ---- */

static void buffer_ready(struct nvme_waiter *waiter, struct nvme_buffer *buffer)
{
	struct nvme_command *command = container_of(waiter, struct nvme_command, waiter);

	command->buffer = buffer;
	command->ready(command);
}

/* A host can always do with its admin queue what needs little memory, however much others hold. */
struct nvme_account *nvme_queue_account(struct nvme_queue *queue, uint32_t bytes)
{
	return queue->qid == 0 && bytes <= ADMIN_OWN_BYTES ? &queue->own : queue->controller->subsystem->account;
}

void nvme_command_give_back(struct nvme_command *command)
{
	struct nvme_buffer *buffer = command->buffer;

	command->buffer = NULL;
	if (buffer)
		nvme_buffer_put(buffer);
}

static void buffer_request(struct nvme_command *command, uint32_t bytes, enum nvme_buffer_use use,
			   void (*ready)(struct nvme_command *command))
{
	struct nvme_account *account = nvme_queue_account(command->queue, bytes);

	nvme_command_give_back(command); /* in-capsule data that nobody asked for */
	command->in_capsule = 0;
	command->has_crc = false;
	command->buffer = nvme_buffer_get(account, bytes, use);
	if (command->buffer) {
		ready(command);
		return;
	}
	command->state = COMMAND_WAITING;
	command->ready = ready;
	command->waiter.ready = buffer_ready;
	nvme_buffer_wait(account, &command->waiter, bytes, use);
}

void nvme_command_buffer(struct nvme_command *command, uint32_t bytes, void (*ready)(struct nvme_command *command))
{
	buffer_request(command, bytes, NVME_BUFFER_DIRECT, ready);
}

static uint16_t sgl_check(const struct nvme_command *command, uint32_t bytes, bool to_controller)
{
	const struct nvme_sgl *sgl = &command->sqe.sgl;

	if ((command->sqe.flags & NVME_PSDT_MASK) != NVME_PSDT_SGL)
		return NVME_INVALID_FIELD | NVME_DNR;
	if (sgl->type == NVME_SGL_IN_CAPSULE && to_controller) {
		if (sgl->address != 0)
			return NVME_SGL_OFFSET_INVALID | NVME_DNR;
		return sgl->length < bytes || command->in_capsule < bytes ? NVME_SGL_LENGTH_INVALID | NVME_DNR
									  : NVME_OK;
	}
	if (sgl->type != NVME_SGL_TRANSPORT_DATA)
		return NVME_SGL_TYPE_INVALID | NVME_DNR;
	return sgl->length < bytes ? NVME_SGL_LENGTH_INVALID | NVME_DNR : NVME_OK;
}

bool nvme_command_has_room(struct nvme_command *command, uint32_t bytes)
{
	uint16_t status = sgl_check(command, bytes, false);

	if (status)
		nvme_command_fail(command, status);
	return status == NVME_OK;
}

void nvme_command_collect_into(struct nvme_command *command, uint32_t bytes, uint32_t room,
			       void (*execute)(struct nvme_command *command))
{
	uint16_t status = sgl_check(command, bytes, true);

	command->length = bytes;
	command->execute = execute;
	if (status) {
		nvme_command_fail(command, status);
		return;
	}
	if (command->sqe.sgl.type == NVME_SGL_IN_CAPSULE) {
		execute(command);
		return;
	}
	buffer_request(command, room, NVME_BUFFER_ASKED, nvme_r2t_send);
}

void nvme_command_start(struct nvme_command *command)
{
	const struct nvme_queue *queue = command->queue;
	bool fabrics = command->sqe.opcode == NVME_FABRICS;

	if (queue->state == QUEUE_CONNECTED && queue->qid > 0 && !fabrics)
		nvme_io_start(command);
	else if (command->bad_digest)
		nvme_command_fail(command, NVME_TRANSIENT_TRANSPORT);
	else if (fabrics)
		nvme_fabrics_start(command);
	else if (queue->state != QUEUE_CONNECTED)
		nvme_command_fail(command, NVME_SEQUENCE_ERROR | NVME_DNR);
	else
		nvme_admin_start(command);
}

/* ---- the end ---- */

static bool can_drop(const struct nvme_command *command)
{
	return command->state != COMMAND_EXECUTING && command->state != COMMAND_ANSWERED;
}

/* What is not in a device is forgotten, and what waits there for a cap need not go on waiting. First nobody waits for
 * what the others give back: then a drop does nothing to other commands of this queue. */
static void commands_drop(struct nvme_queue *queue)
{
	struct nvme_command *command, *next;

	nvme_buffer_wait_cancel(&queue->waiter);
	TAILQ_FOREACH(command, &queue->active, link)
	{
		if (can_drop(command))
			command_detach(command);
		else
			nvme_command_cancel(command);
	}
	for (command = TAILQ_FIRST(&queue->active); command; command = next) {
		next = TAILQ_NEXT(command, link);
		if (can_drop(command))
			nvme_command_drop(command);
	}
	if (queue->early)
		nvme_buffer_put(queue->early);
	queue->early = NULL;
	queue->receive.command = NULL;
}

static void term_done(struct nvme_send *send, int error)
{
	struct nvme_queue *queue = container_of(send, struct nvme_queue, term_send);

	queue->sends--;
	if (queue->state == QUEUE_TERMINATED)
		nvme_queue_close(queue, true, NVME_REASON_PROTOCOL);
	else
		nvme_queue_settle(queue);
}

void nvme_queue_terminate(struct nvme_queue *queue, enum nvme_tcp_fes fes, uint32_t fei)
{
	const struct nvme_receive *receive = &queue->receive;
	struct nvme_tcp_term_req *pdu = &queue->term.header;
	uint32_t quoted = receive->have < NVME_TCP_TERM_DATA_MAX ? receive->have : NVME_TCP_TERM_DATA_MAX;

	*pdu = (struct nvme_tcp_term_req){
		.header = { .type = NVME_TCP_C2H_TERM_REQ, .hlen = sizeof(*pdu), .plen = sizeof(*pdu) + quoted },
		.fes = (uint16_t)fes,
		.fei = { (uint16_t)fei, (uint16_t)(fei >> 16) },
	};
	memcpy(queue->term.data, receive->header.bytes, quoted);
	if (fes == NVME_TCP_FES_HEADER_DIGEST)
		nvme_controller_digest_error(queue->controller, queue, true);
	else
		nvme_controller_protocol_error(queue->controller);
	queue->state = QUEUE_TERMINATED;
	queue->reason = NVME_REASON_PROTOCOL;
	commands_drop(queue);
	if (queue->controller)
		queue->controller->subsystem->due_ns = 0;
	queue->term_iov = (struct iovec){ pdu, pdu->header.plen };
	queue->term_send = (struct nvme_send){ .iov = &queue->term_iov, .segments = 1, .done = term_done };
	queue->sends++;
	queue->ops->send(queue->ctx, &queue->term_send);
}

void nvme_queue_close(struct nvme_queue *queue, bool graceful, enum nvme_target_reason reason)
{
	if (queue->state >= QUEUE_CLOSING)
		return;
	if (queue->reason == NVME_REASON_NONE)
		queue->reason = reason;
	queue->state = QUEUE_CLOSING;
	commands_drop(queue);
	queue->close_called = true;
	queue->ops->close(queue->ctx, graceful);
}

void nvme_queue_end(struct nvme_queue *queue)
{
	nvme_queue_close(queue, false, NVME_REASON_CONTROL);
}

void nvme_queue_closed(struct nvme_queue *queue)
{
	if (queue->reason == NVME_REASON_NONE)
		queue->reason = NVME_REASON_CLOSED;
	queue->state = QUEUE_CLOSING;
	if (queue->connect_command) /* nobody answers it any more */
		queue->connect_command->state = COMMAND_WAITING;
	queue->connect_command = NULL;
	commands_drop(queue);
	if (queue->controller)
		nvme_controller_remove_queue(queue);
	queue->state = QUEUE_CLOSED;
	nvme_queue_settle(queue);
}

void nvme_queue_settle(struct nvme_queue *queue)
{
	if (queue->state != QUEUE_CLOSED || queue->idle_called || queue->sends > 0 || !TAILQ_EMPTY(&queue->active))
		return;
	queue->idle_called = true;
	queue->ops->idle(queue->ctx);
}
