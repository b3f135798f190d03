// SPDX-License-Identifier: BSD-3-Clause
/* What a host's queue sends: command capsules, with their data if it fits, and the data that R2Ts ask for. */
#include "service/nvmf/initiator/initiator_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/stage.h"
#include "engine/crc32c/crc32c.h"

static const uint8_t zeroes[NVME_TCP_HEADER_BYTES_MAX];

static void transfer_go(struct host_command *command);

static bool room_make(struct host_command *command, unsigned segments)
{
	struct iovec *larger;

	if (segments <= command->iov_room)
		return true;
	larger = malloc(segments * sizeof(*larger));
	if (!larger)
		return false;
	if (command->iov != command->own_iov)
		free(command->iov);
	command->iov = larger;
	command->iov_room = segments;
	return true;
}

/* A header with its digest, what aligns the data, the data with its digest. Returns the segments of iov. */
static unsigned pdu_make(struct host_command *command, struct nvme_tcp_header *header, uint32_t header_bytes,
			 uint32_t offset, uint32_t bytes)
{
	const struct queue_options *options = &command->queue->options;
	uint32_t digest_bytes = options->header_digest ? NVME_TCP_DIGEST_BYTES : 0;
	uint32_t start = header_bytes + digest_bytes, alignment = command->queue->alignment, crc;
	unsigned count = 0;

	header->hlen = (uint8_t)header_bytes;
	if (bytes > 0) {
		header->pdo = (uint8_t)((start + alignment - 1) / alignment * alignment);
		header->flags |= options->data_digest ? NVME_TCP_DDGSTF : 0;
		header->plen = header->pdo + bytes + (options->data_digest ? NVME_TCP_DIGEST_BYTES : 0);
	} else {
		header->pdo = 0;
		header->plen = start;
	}
	if (options->header_digest) {
		header->flags |= NVME_TCP_HDGSTF;
		crc = crc32c(0, header, header_bytes);
		memcpy((uint8_t *)header + header_bytes, &crc, sizeof(crc));
	}
	command->iov[count++] = (struct iovec){ header, start };
	if (bytes == 0)
		return count;
	if (header->pdo > start)
		command->iov[count++] = (struct iovec){ (void *)(uintptr_t)zeroes, header->pdo - start };
	size_t skip = command->data_offset + offset;
	if (options->data_digest) {
		enum cycle_stage before = stage_enter(STAGE_CRC);

		command->data_digest = crc32c_blocks_next(&command->sum, command->data, command->data_offset, bytes);
		stage_enter(before);
	}
	for (uint32_t i = 0, left = bytes; left > 0; i++) {
		size_t room = command->data[i].iov_len;

		if (skip >= room) {
			skip -= room;
			continue;
		}
		uint32_t part = room - skip < left ? (uint32_t)(room - skip) : left;
		command->iov[count++] = (struct iovec){ (uint8_t *)command->data[i].iov_base + skip, part };
		left -= part;
		skip = 0;
	}
	if (options->data_digest)
		command->iov[count++] = (struct iovec){ &command->data_digest, NVME_TCP_DIGEST_BYTES };
	return count;
}

static void given_back(struct host_command *command)
{
	command->lent--;
	if (command->answered)
		host_command_answered(command);
}

static void on_capsule_sent(struct stream_send *send, int error)
{
	given_back((struct host_command *)((char *)send - offsetof(struct host_command, capsule)));
}

bool host_command_send(struct host_command *command)
{
	struct nvme_tcp_capsule_cmd *pdu = &command->header.pdu;
	struct host_queue *queue = command->queue;
	uint32_t limit = pdu->sqe.opcode == NVME_FABRICS || queue->id == 0 ? NVME_TCP_ADMIN_ICD_BYTES
									   : queue->options.in_capsule_bytes;
	bool in_capsule = !command->to_host && command->bytes > 0 && command->bytes <= limit;

	if (!room_make(command, command->segments + 4))
		return false;
	pdu->header = (struct nvme_tcp_header){ .type = NVME_TCP_CAPSULE_CMD };
	pdu->sqe.cid = command->cid;
	pdu->sqe.flags |= NVME_PSDT_SGL;
	pdu->sqe.sgl = (struct nvme_sgl){
		.length = command->bytes,
		.type = in_capsule ? NVME_SGL_IN_CAPSULE : NVME_SGL_TRANSPORT_DATA,
	};
	unsigned segments = pdu_make(command, &pdu->header, sizeof(*pdu), 0, in_capsule ? command->bytes : 0);
	command->capsule = (struct stream_send){ .iov = command->iov, .segments = segments, .done = on_capsule_sent };
	if (in_capsule) {
		command->moved = command->bytes;
	} else { /* the other array is for the data, which may be asked for before this comes back */
		command->capsule_iov = command->iov[0];
		command->capsule.iov = &command->capsule_iov;
	}
	command->sent_ns = *queue->options.now_ns;
	command->lent++;
	stream_send(queue->stream, &command->capsule);
	return true;
}

/* ---- H2CData ---- */

static void on_data_sent(struct stream_send *send, int error)
{
	struct host_command *command = (struct host_command *)((char *)send - offsetof(struct host_command, h2c));

	if (command->transfer.left == 0) {
		command->transfer = command->next_transfer;
		command->next_transfer.active = false;
	}
	if (error == 0 && command->transfer.active && !command->answered)
		transfer_go(command);
	given_back(command);
}

/* The next PDU of a transfer: the one before it has come back. */
static void transfer_go(struct host_command *command)
{
	struct host_transfer *transfer = &command->transfer;
	struct nvme_tcp_data *pdu = &command->h2c_header.pdu;
	struct host_queue *queue = command->queue;
	uint32_t bytes = transfer->left < queue->maxh2cdata ? transfer->left : queue->maxh2cdata;

	*pdu = (struct nvme_tcp_data){
		.header.type = NVME_TCP_H2C_DATA,
		.header.flags = bytes == transfer->left ? NVME_TCP_LAST_PDU : 0,
		.cccid = command->cid,
		.ttag = transfer->ttag,
		.datao = transfer->offset,
		.datal = bytes,
	};
	unsigned segments = pdu_make(command, &pdu->header, sizeof(*pdu), transfer->offset, bytes);
	command->h2c = (struct stream_send){ .iov = command->iov, .segments = segments, .done = on_data_sent };
	transfer->offset += bytes;
	transfer->left -= bytes;
	command->moved += bytes;
	command->lent++;
	stream_send(queue->stream, &command->h2c);
}

/* We have allowed one at a time: a second one may come while the stream still has the end of the first. */
void host_command_transfer(struct host_command *command, const struct nvme_tcp_r2t *r2t)
{
	struct host_transfer transfer = { true, r2t->ttag, r2t->r2to, r2t->r2tl };

	if (command->transfer.active) {
		command->next_transfer = transfer;
		return;
	}
	command->transfer = transfer;
	transfer_go(command);
}
