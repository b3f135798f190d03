// SPDX-License-Identifier: BSD-3-Clause
/* Bytes of a connection become PDUs, and PDUs commands and their data. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/stage.h"
#include "device/nvme/nvme_target_priv.h"
#include "engine/crc32c/crc32c.h"

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static void receive_next(struct nvme_queue *queue)
{
	struct nvme_receive *receive = &queue->receive;

	receive->state = RECEIVE_COMMON;
	receive->have = 0;
	receive->need = sizeof(receive->header.common);
	receive->command = NULL;
}

/* ---- handshake ---- */

static void icresp_done(struct nvme_send *send, int error)
{
	struct nvme_queue *queue = (struct nvme_queue *)((char *)send - offsetof(struct nvme_queue, icresp_send));

	queue->sends--;
	nvme_queue_settle(queue);
}

static void icreq_take(struct nvme_queue *queue)
{
	const struct nvme_tcp_icreq *icreq = &queue->receive.header.icreq;

	queue->digests = icreq->dgst & (NVME_TCP_DGST_HEADER | NVME_TCP_DGST_DATA);
	queue->data_align = (uint16_t)((icreq->hpda + 1) * 4);
	queue->icresp = (struct nvme_tcp_icresp){
		.header = { .type = NVME_TCP_ICRESP,
			    .hlen = sizeof(struct nvme_tcp_icresp),
			    .plen = sizeof(struct nvme_tcp_icresp) },
		.dgst = queue->digests,
		.maxh2cdata = NVME_TARGET_MAXH2CDATA,
	};
	queue->icresp_iov = (struct iovec){ &queue->icresp, sizeof(struct nvme_tcp_icresp) };
	queue->icresp_send = (struct nvme_send){ .iov = &queue->icresp_iov, .segments = 1, .done = icresp_done };
	queue->state = QUEUE_READY;
	receive_next(queue);
	queue->sends++;
	queue->ops->send(queue->ctx, &queue->icresp_send);
}

/* ---- data ---- */

static void data_begin(struct nvme_queue *queue, struct nvme_command *command, uint8_t *to)
{
	struct nvme_receive *receive = &queue->receive;

	receive->command = command;
	receive->to = to;
	receive->left = nvme_pdu_data_bytes(queue, &receive->header.common);
	receive->pad = receive->header.common.pdo - receive->need;
	if (command->received == 0)
		command->sums = (struct crc32c_blocks){ .crc = command->buffer ? command->buffer->crc : NULL };
	receive->state = receive->pad ? RECEIVE_PAD : RECEIVE_DATA;
}

/* A digest that does not match fails the command, not the connection (3.3.1.1). */
static void data_done(struct nvme_queue *queue)
{
	struct nvme_receive *receive = &queue->receive;
	struct nvme_command *command = receive->command;

	if ((queue->digests & NVME_TCP_DGST_DATA) && receive->digest != crc32c_blocks_digest(&command->sums)) {
		command->bad_digest = true;
		nvme_controller_digest_error(queue->controller, queue, false);
	}
	queue->came++;
	queue->asked_came += command->in_capsule == 0;
	receive_next(queue);
	if (command->in_capsule > 0) {
		nvme_command_start(command);
		return;
	}
	if (command->received < command->length)
		return;
	nvme_buffer_landed(command->buffer);
	if (command->bad_digest)
		nvme_command_fail(command, NVME_TRANSIENT_TRANSPORT);
	else
		command->execute(command);
}

/* Each byte is summed up once, for the digest of its PDU and the CRC of its block. */
static void data_sum(struct nvme_command *command, const uint8_t *bytes, uint32_t count)
{
	enum cycle_stage before = stage_enter(STAGE_CRC);

	crc32c_blocks_add(&command->sums, bytes, count);
	command->has_crc = command->buffer != NULL;
	stage_enter(before);
}

/* So many bytes are where they belong. */
static void data_came(struct nvme_queue *queue, uint32_t count)
{
	struct nvme_receive *receive = &queue->receive;

	if (queue->digests & NVME_TCP_DGST_DATA)
		data_sum(receive->command, receive->to, count);
	receive->left -= count;
	receive->to += count;
	receive->command->received += count;
	if (receive->left > 0)
		return;
	if (queue->digests & NVME_TCP_DGST_DATA) {
		receive->state = RECEIVE_DIGEST;
		receive->have = 0;
		receive->digest = 0;
	} else {
		data_done(queue);
	}
}

static size_t data_take(struct nvme_queue *queue, const uint8_t *bytes, size_t count)
{
	struct nvme_receive *receive = &queue->receive;
	size_t n = least(count, receive->left);

	memcpy(receive->to, bytes, n);
	data_came(queue, (uint32_t)n);
	return n;
}

/* The rest of long data, if nothing of it is here yet. Its command keeps its buffer until that comes back, even if the
 * connection is closed meanwhile. */
static void take_begin(struct nvme_queue *queue)
{
	struct nvme_receive *receive = &queue->receive;

	if (receive->state != RECEIVE_DATA || receive->left < NVME_TARGET_TAKE_BYTES || !queue->ops->take ||
	    queue->state != QUEUE_CONNECTED)
		return;
	receive->state = RECEIVE_TAKE;
	queue->taking = receive->command;
	queue->taking->lent++;
	queue->ops->take(queue->ctx, receive->to, receive->left);
}

void nvme_queue_taken(struct nvme_queue *queue, int error)
{
	struct nvme_command *command = queue->taking;
	enum cycle_stage before = stage_enter(STAGE_PARSE);

	queue->taking = NULL;
	nvme_command_returned(command);
	if (!error && queue->receive.state == RECEIVE_TAKE && queue->state == QUEUE_CONNECTED)
		data_came(queue, queue->receive.left);
	stage_enter(before);
}

static size_t digest_take(struct nvme_queue *queue, const uint8_t *bytes, size_t count)
{
	struct nvme_receive *receive = &queue->receive;
	size_t n = least(count, NVME_TCP_DIGEST_BYTES - receive->have);

	memcpy((uint8_t *)&receive->digest + receive->have, bytes, n);
	receive->have += (uint32_t)n;
	if (receive->have == NVME_TCP_DIGEST_BYTES)
		data_done(queue);
	return n;
}

/* ---- capsules ---- */

static void early_ready(struct nvme_waiter *waiter, struct nvme_buffer *buffer)
{
	struct nvme_queue *queue = (struct nvme_queue *)((char *)waiter - offsetof(struct nvme_queue, waiter));

	queue->early = buffer;
	nvme_queue_unblock(queue);
}

/* Where in-capsule data goes; NULL: nowhere yet, or the connection is over. */
static uint8_t *capsule_room(struct nvme_queue *queue, uint32_t bytes)
{
	if (queue->state != QUEUE_CONNECTED) {
		if (!queue->connect_data)
			queue->connect_data = calloc(1, sizeof(*queue->connect_data));
		if (!queue->connect_data)
			nvme_queue_close(queue, false, NVME_REASON_CONTROL);
		return (uint8_t *)queue->connect_data;
	}
	bytes = nvme_capsule_room(queue, &queue->receive.header.capsule.sqe, bytes);
	struct nvme_account *account = nvme_queue_account(queue, bytes);

	if (!queue->early && !queue->waiter.waiting)
		queue->early = nvme_buffer_get(account, bytes, NVME_BUFFER_DIRECT);
	if (queue->early)
		return queue->early->data;
	queue->receive.state = RECEIVE_BLOCKED;
	if (!queue->waiter.waiting) {
		queue->waiter.ready = early_ready;
		nvme_buffer_wait(account, &queue->waiter, bytes, NVME_BUFFER_DIRECT);
	}
	return NULL;
}

static void capsule_begin(struct nvme_queue *queue)
{
	struct nvme_receive *receive = &queue->receive;
	uint32_t data = nvme_pdu_data_bytes(queue, &receive->header.common);
	uint8_t *to = NULL;

	if (queue->state == QUEUE_CONNECTED && queue->outstanding > queue->sqsize) {
		nvme_queue_terminate(queue, NVME_TCP_FES_SEQUENCE, 0);
		return;
	}
	if (data > 0 && !(to = capsule_room(queue, data)))
		return;
	struct nvme_command *command = nvme_command_new(queue);
	if (!command) {
		receive->state = RECEIVE_BLOCKED; /* until one is free */
		return;
	}
	memcpy(&command->sqe, &receive->header.capsule.sqe, sizeof(command->sqe));
	command->state = COMMAND_RECEIVING;
	command->in_capsule = data;
	if (!queue->no_flow_control && queue->state == QUEUE_CONNECTED)
		queue->sqhd = queue->sqhd == queue->sqsize ? 0 : queue->sqhd + 1;
	queue->outstanding++;
	if (data == 0) {
		receive_next(queue);
		nvme_command_start(command);
		return;
	}
	command->buffer = queue->early;
	queue->early = NULL;
	data_begin(queue, command, to);
}

void nvme_queue_unblock(struct nvme_queue *queue)
{
	if (queue->receive.state != RECEIVE_BLOCKED || queue->state > QUEUE_CONNECTED ||
	    queue->state == QUEUE_CONNECTING)
		return;
	capsule_begin(queue);
	if (queue->receive.state != RECEIVE_BLOCKED && !queue->in_input)
		queue->ops->resume(queue->ctx);
}

/* ---- headers ---- */

static bool header_digest_matches(struct nvme_queue *queue)
{
	struct nvme_receive *receive = &queue->receive;
	uint32_t hlen = receive->header.common.hlen, digest;

	if (receive->need == hlen)
		return true;
	memcpy(&digest, receive->header.bytes + hlen, sizeof(digest));
	if (digest == crc32c(0, receive->header.bytes, hlen))
		return true;
	nvme_queue_terminate(queue, NVME_TCP_FES_HEADER_DIGEST, digest);
	return false;
}

static void common_done(struct nvme_queue *queue)
{
	struct nvme_receive *receive = &queue->receive;
	const struct nvme_tcp_header *header = &receive->header.common;
	uint32_t fei;
	enum nvme_tcp_fes fes = nvme_pdu_check_common(queue, &fei);

	if (fes) {
		nvme_queue_terminate(queue, fes, fei);
		return;
	}
	if (header->type == NVME_TCP_H2C_TERM_REQ) { /* the host has seen an error of ours: it expects the end */
		nvme_controller_protocol_error(queue->controller);
		nvme_queue_close(queue, false, NVME_REASON_PROTOCOL);
		return;
	}
	bool digest = header->type != NVME_TCP_ICREQ && (queue->digests & NVME_TCP_DGST_HEADER);

	receive->need = header->hlen + (digest ? NVME_TCP_DIGEST_BYTES : 0u);
	receive->state = RECEIVE_HEADER;
}

static void header_done(struct nvme_queue *queue)
{
	struct nvme_receive *receive = &queue->receive;
	uint32_t fei;

	if (!header_digest_matches(queue))
		return;
	enum nvme_tcp_fes fes = nvme_pdu_check(queue, &fei);
	if (fes) {
		nvme_queue_terminate(queue, fes, fei);
		return;
	}
	if (receive->header.common.type == NVME_TCP_ICREQ) {
		icreq_take(queue);
	} else if (receive->header.common.type == NVME_TCP_CAPSULE_CMD) {
		capsule_begin(queue);
	} else {
		struct nvme_command *command = nvme_command_find(queue, receive->header.data.ttag);

		data_begin(queue, command, command->buffer->data + command->received);
	}
}

static size_t header_take(struct nvme_queue *queue, const uint8_t *bytes, size_t count)
{
	struct nvme_receive *receive = &queue->receive;
	size_t n = least(count, receive->need - receive->have);

	memcpy(receive->header.bytes + receive->have, bytes, n);
	receive->have += (uint32_t)n;
	if (receive->have < receive->need)
		return n;
	if (receive->state == RECEIVE_COMMON)
		common_done(queue);
	else
		header_done(queue);
	return n;
}

static size_t pad_take(struct nvme_queue *queue, size_t count)
{
	struct nvme_receive *receive = &queue->receive;
	size_t n = least(count, receive->pad);

	receive->pad -= (uint32_t)n;
	if (receive->pad == 0)
		receive->state = RECEIVE_DATA;
	return n;
}

static size_t input(struct nvme_queue *queue, const uint8_t *bytes, size_t count)
{
	size_t used = 0;

	queue->in_input = true;
	while (used < count && queue->state != QUEUE_CONNECTING) {
		if (queue->state > QUEUE_CONNECTED) {
			used = count; /* nobody reads it any more */
			break;
		}
		switch (queue->receive.state) {
		case RECEIVE_COMMON:
		case RECEIVE_HEADER:
			used += header_take(queue, bytes + used, count - used);
			break;
		case RECEIVE_PAD:
			used += pad_take(queue, count - used);
			break;
		case RECEIVE_DATA:
			used += data_take(queue, bytes + used, count - used);
			break;
		case RECEIVE_DIGEST:
			used += digest_take(queue, bytes + used, count - used);
			break;
		case RECEIVE_TAKE:
		case RECEIVE_BLOCKED:
			queue->in_input = false;
			return used;
		}
	}
	take_begin(queue);
	queue->in_input = false;
	return used;
}

size_t nvme_queue_input(struct nvme_queue *queue, const uint8_t *bytes, size_t count)
{
	enum cycle_stage before = stage_enter(STAGE_PARSE);
	size_t used = input(queue, bytes, count);

	stage_enter(before);
	return used;
}
