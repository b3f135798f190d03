// SPDX-License-Identifier: BSD-3-Clause
/* What a queue sends for its commands: data, responses, requests for data. */
#include <assert.h>
#include "base/stage.h"
#include "device/nvme/nvme_target_priv.h"

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static const uint8_t zeroes[128];

static uint64_t send_bytes(const struct nvme_send *send)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < send->segments; i++)
		bytes += send->iov[i].iov_len;
	return bytes;
}

static void send_returned(struct nvme_command *command, const struct nvme_send *send)
{
	command->queue->sends--;
	command->queue->sent++;
	command->queue->sent_bytes += send_bytes(send);
	nvme_command_returned(command);
}

static void answer_done(struct nvme_send *send, int error)
{
	send_returned(container_of(send, struct nvme_command, answer), send);
}

static void r2t_done(struct nvme_send *send, int error)
{
	send_returned(container_of(send, struct nvme_command, r2t), send);
}

static void command_send(struct nvme_command *command, struct nvme_send *send, const struct iovec *iov,
			 unsigned segments, void (*done)(struct nvme_send *send, int error))
{
	struct nvme_queue *queue = command->queue;

	send->iov = iov;
	send->segments = segments;
	send->done = done;
	command->lent++;
	queue->sends++;
	queue->send_bytes += send_bytes(send);
	queue->ops->send(queue->ctx, send);
}

/* The digest goes right behind the header. Returns the bytes of both. */
static size_t header_seal(const struct nvme_queue *queue, struct nvme_tcp_header *header, uint32_t *digest)
{
	if (!(queue->digests & NVME_TCP_DGST_HEADER))
		return header->hlen;
	header->flags |= NVME_TCP_HDGSTF;
	*digest = crc32c(0, header, header->hlen);
	return header->hlen + sizeof(*digest);
}

static unsigned header_end(const struct nvme_queue *queue, unsigned hlen)
{
	return hlen + (queue->digests & NVME_TCP_DGST_HEADER ? NVME_TCP_DIGEST_BYTES : 0u);
}

/* Of the first bytes of the command's buffer; made of the CRCs of the blocks where these are known. */
static uint32_t data_digest(const struct nvme_command *command, uint32_t bytes)
{
	const struct nvme_buffer *buffer = command->buffer;

	if (!command->has_crc || bytes % CRC32C_BLOCK_BYTES)
		return crc32c(0, buffer->data, bytes);
	uint32_t crc = buffer->crc[0];

	for (uint32_t i = 1; i < bytes / CRC32C_BLOCK_BYTES; i++)
		crc = crc32c_append_block(crc, buffer->crc[i]);
	return crc;
}

/* C2HData (3.6.2.8), all of it in one PDU. */
static unsigned data_build(struct nvme_command *command, uint32_t bytes, bool success, struct iovec *iov)
{
	struct nvme_queue *queue = command->queue;
	struct nvme_tcp_data *pdu = &command->data_pdu.header;
	unsigned end = header_end(queue, sizeof(*pdu)), segments = 0;
	unsigned pdo = (end + queue->data_align - 1) / queue->data_align * queue->data_align;
	bool digest = queue->digests & NVME_TCP_DGST_DATA;

	*pdu = (struct nvme_tcp_data){
		.header = { .type = NVME_TCP_C2H_DATA,
			    .flags = (uint8_t)(NVME_TCP_LAST_PDU | (success ? NVME_TCP_SUCCESS : 0) |
					       (digest ? NVME_TCP_DDGSTF : 0)),
			    .hlen = sizeof(*pdu),
			    .pdo = (uint8_t)pdo,
			    .plen = pdo + bytes + (digest ? NVME_TCP_DIGEST_BYTES : 0u) },
		.cccid = command->sqe.cid,
		.datal = bytes,
	};
	iov[segments++] =
		(struct iovec){ &command->data_pdu, header_seal(queue, &pdu->header, &command->data_pdu.digest) };
	if (pdo > end)
		iov[segments++] = (struct iovec){ (void *)zeroes, pdo - end };
	iov[segments++] = (struct iovec){ command->buffer->data, bytes };
	if (digest) {
		enum cycle_stage before = stage_enter(STAGE_CRC);

		command->data_digest = data_digest(command, bytes);
		stage_enter(before);
		iov[segments++] = (struct iovec){ &command->data_digest, sizeof(command->data_digest) };
	}
	return segments;
}

static unsigned response_build(struct nvme_command *command, uint16_t status, struct iovec *iov)
{
	struct nvme_queue *queue = command->queue;
	struct nvme_tcp_capsule_resp *pdu = &command->response_pdu.header;

	*pdu = (struct nvme_tcp_capsule_resp){
		.header = { .type = NVME_TCP_CAPSULE_RESP,
			    .hlen = sizeof(*pdu),
			    .plen = header_end(queue, sizeof(*pdu)) },
		.cqe = { .result = command->result,
			 .sqhd = queue->no_flow_control ? 0xffff : queue->sqhd,
			 .cid = command->sqe.cid,
			 .status = (uint16_t)(status << 1) },
	};
	iov[0] = (struct iovec){ &command->response_pdu,
				 header_seal(queue, &pdu->header, &command->response_pdu.digest) };
	return 1;
}

static void answer_send(struct nvme_command *command, uint16_t status, uint32_t data)
{
	struct nvme_queue *queue = command->queue;
	/* 3.3.2.1: only when there is nothing else to say. */
	bool success = data > 0 && queue->no_flow_control && command->result == 0;
	unsigned segments = 0;

	if (status == NVME_NAMESPACE_NOT_READY && command->aborted)
		status = NVME_ABORT_REQUESTED;
	if (status == NVME_NAMESPACE_NOT_READY && nvme_controller_delays(queue->controller))
		status |= NVME_CRD_1; /* else a host's five tries are over at once */
	if (status)
		nvme_controller_error(command, status);
	enum cycle_stage before = stage_enter(STAGE_BUILD);
	if (data > 0)
		segments = data_build(command, data, success, command->iov);
	if (!success)
		segments += response_build(command, status, command->iov + segments);
	command_send(command, &command->answer, command->iov, segments, answer_done);
	stage_enter(before);
}

void nvme_command_answer(struct nvme_command *command, uint16_t status, uint32_t data)
{
	struct nvme_command *other = command->partner ? nvme_fused_part(command) : NULL;
	struct nvme_queue *queue = command->queue;

	assert(command->state != COMMAND_FREE && command->state != COMMAND_ANSWERED);
	command->state = COMMAND_ANSWERED;
	queue->outstanding--;
	if (queue->state <= QUEUE_CONNECTED)
		answer_send(command, status, data);
	else if (command->lent == 0)
		nvme_command_free(command);
	if (other)
		nvme_fused_broken(other, status);
}

void nvme_r2t_send(struct nvme_command *command)
{
	struct nvme_queue *queue = command->queue;
	struct nvme_tcp_r2t *pdu = &command->r2t_pdu.header;

	*pdu = (struct nvme_tcp_r2t){
		.header = { .type = NVME_TCP_R2T, .hlen = sizeof(*pdu), .plen = header_end(queue, sizeof(*pdu)) },
		.cccid = command->sqe.cid,
		.ttag = command->index,
		.r2tl = command->length,
	};
	command->state = COMMAND_RECEIVING;
	command->received = 0;
	queue->asked_bytes += command->length;
	command->r2t_iov =
		(struct iovec){ &command->r2t_pdu, header_seal(queue, &pdu->header, &command->r2t_pdu.digest) };
	command_send(command, &command->r2t, &command->r2t_iov, 1, r2t_done);
}
