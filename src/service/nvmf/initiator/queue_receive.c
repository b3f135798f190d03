// SPDX-License-Identifier: BSD-3-Clause
/* What a host's queue receives: PDUs out of a byte stream. The controller is not trusted: each header is checked for
 * what it says, for the state of the queue and of the command that it means. */
#include "service/nvmf/initiator/initiator_priv.h"

#include <stdio.h>
#include <string.h>
#include "base/stage.h"
#include "engine/crc32c/crc32c.h"

/* What may come: its header's length, and whether data may follow. */
static const struct {
	uint8_t bytes;
	bool data;
} kinds[] = {
	[NVME_TCP_ICRESP] = { sizeof(struct nvme_tcp_icresp), false },
	[NVME_TCP_C2H_TERM_REQ] = { sizeof(struct nvme_tcp_term_req), true },
	[NVME_TCP_CAPSULE_RESP] = { sizeof(struct nvme_tcp_capsule_resp), false },
	[NVME_TCP_C2H_DATA] = { sizeof(struct nvme_tcp_data), true },
	[NVME_TCP_R2T] = { sizeof(struct nvme_tcp_r2t), false },
};

static void field_wrong(struct host_queue *queue, size_t offset, const char *what)
{
	host_queue_terminate(queue, NVME_TCP_FES_HEADER_FIELD, (uint32_t)offset, what);
}

static void next_pdu(struct host_queue *queue)
{
	queue->phase = RECEIVE_HEADER;
	queue->have = 0;
	queue->want = sizeof(struct nvme_tcp_header);
}

/* No digests but where the greeting has agreed on them, and a greeting has none (3.3.1). */
static bool has_header_digest(const struct host_queue *queue)
{
	uint8_t type = queue->pdu.common.type;

	return queue->options.header_digest && type != NVME_TCP_ICRESP && type != NVME_TCP_C2H_TERM_REQ;
}

/* The common header is there: what the rest is. */
static bool common_check(struct host_queue *queue)
{
	const struct nvme_tcp_header *header = &queue->pdu.common;
	uint8_t type = header->type;
	bool known = type < sizeof(kinds) / sizeof(kinds[0]) && kinds[type].bytes > 0;

	if (!known) {
		field_wrong(queue, offsetof(struct nvme_tcp_header, type), "unknown PDU type");
		return false;
	}
	if (type != NVME_TCP_C2H_TERM_REQ && (type == NVME_TCP_ICRESP) != (queue->state == QUEUE_GREETING)) {
		host_queue_terminate(queue, NVME_TCP_FES_SEQUENCE, 0, "a PDU that may not come now");
		return false;
	}
	uint32_t bytes = kinds[type].bytes, digest = has_header_digest(queue) ? NVME_TCP_DIGEST_BYTES : 0;
	if (header->hlen != bytes) {
		field_wrong(queue, offsetof(struct nvme_tcp_header, hlen), "wrong length of a header");
		return false;
	}
	if (!(header->flags & NVME_TCP_HDGSTF) != !digest) {
		field_wrong(queue, offsetof(struct nvme_tcp_header, flags), "wrong flag of the header digest");
		return false;
	}
	if (kinds[type].data ? header->plen < bytes + digest : header->plen != bytes + digest) {
		field_wrong(queue, offsetof(struct nvme_tcp_header, plen), "wrong length of a PDU");
		return false;
	}
	queue->want = bytes + digest;
	return true;
}

/* ---- by type ---- */

static void terminated(struct host_queue *queue)
{
	static const char *const names[] = {
		[NVME_TCP_FES_HEADER_FIELD] = "invalid header field",
		[NVME_TCP_FES_SEQUENCE] = "PDU sequence",
		[NVME_TCP_FES_HEADER_DIGEST] = "header digest",
		[NVME_TCP_FES_RANGE] = "data out of range",
		[NVME_TCP_FES_LIMIT] = "too much data",
		[NVME_TCP_FES_UNSUPPORTED] = "unsupported parameter",
	};
	const struct nvme_tcp_term_req *pdu = &queue->pdu.term;
	const char *name = pdu->fes < sizeof(names) / sizeof(names[0]) ? names[pdu->fes] : NULL;

	queue->digest_errors += pdu->fes == NVME_TCP_FES_HEADER_DIGEST;
	host_queue_fail(queue, "the controller ends the connection: %s (FES %u, FEI %u)", name ? name : "unknown error",
			pdu->fes, nvme_tcp_fei(pdu));
}

static void command_complete(struct host_queue *queue, struct host_command *command)
{
	uint16_t status = command->cqe.status >> 1;
	bool whole = command->bytes == 0 || command->moved == command->bytes;

	if ((status & NVME_STATUS_MASK) == NVME_OK && !whole) {
		host_queue_terminate(queue, NVME_TCP_FES_SEQUENCE, 0, "success without all data");
		return;
	}
	/* 3.3.1.2: what the controller says of data that contradicted its digest. */
	if ((status & NVME_STATUS_MASK) == NVME_TRANSIENT_TRANSPORT && queue->options.data_digest && !command->to_host)
		queue->digest_errors += command->bytes > 0;
	command->answered = true;
	host_command_answered(command);
}

static void responded(struct host_queue *queue)
{
	const struct nvme_cqe *cqe = &queue->pdu.response.cqe;
	struct host_command *command = host_command_find(queue, cqe->cid);

	if (!command) {
		field_wrong(queue, offsetof(struct nvme_tcp_capsule_resp, cqe.cid), "a response to no command");
		return;
	}
	command->cqe = *cqe;
	command_complete(queue, command);
	next_pdu(queue); /* a fault until here is told with this one */
}

static void asked_for_data(struct host_queue *queue)
{
	const struct nvme_tcp_r2t *pdu = &queue->pdu.r2t;
	struct host_command *command = host_command_find(queue, pdu->cccid);

	if (!command || command->to_host || command->bytes == 0) {
		field_wrong(queue, offsetof(struct nvme_tcp_r2t, cccid), "an R2T for no command");
	} else if (command->transfer.left > 0 || command->next_transfer.active) {
		host_queue_terminate(queue, NVME_TCP_FES_LIMIT, 0, "more R2Ts than allowed");
	} else if (command->moved == command->bytes) { /* in the capsule, which may be on its way yet, or before */
		host_queue_terminate(queue, NVME_TCP_FES_SEQUENCE, 0, "an R2T for data that was sent");
	} else if (pdu->r2to != command->moved || pdu->r2tl == 0 || pdu->r2tl > command->bytes - command->moved) {
		host_queue_terminate(queue, NVME_TCP_FES_RANGE, offsetof(struct nvme_tcp_r2t, r2to),
				     "an R2T out of order or beyond the data");
	} else {
		struct nvme_tcp_r2t r2t = *pdu;

		next_pdu(queue);
		host_command_transfer(command, &r2t);
	}
}

static void data_finish(struct host_queue *queue);

static void on_take(struct stream_take *take, int error)
{
	struct host_queue *queue = (struct host_queue *)((char *)take - offsetof(struct host_queue, take));

	queue->taking = false;
	if (error)
		return; /* the end of the stream tells */
	queue->command->moved += (uint32_t)take->bytes;
	queue->data_left = 0;
	data_finish(queue);
}

/* The rest of the data goes straight to where the request wants it. Not with digests: a guest may write to its buffer
 * meanwhile, or name a page several times, and what is there then would prove nothing of what has come. */
static void take_start(struct host_queue *queue)
{
	const struct host_command *command = queue->command;
	size_t skip = command->data_offset + command->moved, left = queue->data_left;
	unsigned count = 0;

	for (unsigned i = 0; left > 0; i++) {
		size_t room = command->data[i].iov_len;

		if (skip >= room) {
			skip -= room;
			continue;
		}
		size_t part = room - skip < left ? room - skip : left;
		queue->take_iov[count++] = (struct iovec){ (uint8_t *)command->data[i].iov_base + skip, part };
		left -= part;
		skip = 0;
	}
	queue->take = (struct stream_take){
		.iov = queue->take_iov,
		.segments = count,
		.bytes = queue->data_left,
		.done = on_take,
	};
	queue->taking = true;
	stream_take(queue->stream, &queue->take);
}

/* Each byte is looked at once, for the digest of its PDU and for the CRC of its block. */
static void data_sum(struct host_queue *queue, const uint8_t *bytes, size_t count)
{
	enum cycle_stage before = stage_enter(STAGE_CRC);

	crc32c_blocks_add(&queue->command->sum, bytes, count);
	stage_enter(before);
}

static void data_copy(struct host_queue *queue, const uint8_t *bytes, size_t count)
{
	struct host_command *command = queue->command;
	size_t skip = command->data_offset + command->moved;

	if (queue->options.data_digest)
		data_sum(queue, bytes, count);
	command->moved += (uint32_t)count;
	queue->data_left -= (uint32_t)count;
	for (unsigned i = 0; count > 0; i++) {
		size_t room = command->data[i].iov_len;

		if (skip >= room) {
			skip -= room;
			continue;
		}
		size_t part = room - skip < count ? room - skip : count;
		memcpy((uint8_t *)command->data[i].iov_base + skip, bytes, part);
		bytes += part;
		count -= part;
		skip = 0;
	}
}

static void data_begin(struct host_queue *queue)
{
	const struct nvme_tcp_data *pdu = &queue->pdu.data;
	struct host_command *command = host_command_find(queue, pdu->cccid);
	uint32_t digest = queue->options.data_digest ? NVME_TCP_DIGEST_BYTES : 0;

	if (!command || !command->to_host) {
		field_wrong(queue, offsetof(struct nvme_tcp_data, cccid), "data for no command");
	} else if (pdu->datao != command->moved || pdu->datal == 0 || pdu->datal > command->bytes - command->moved) {
		host_queue_terminate(queue, NVME_TCP_FES_RANGE, offsetof(struct nvme_tcp_data, datao),
				     "data out of order or too much");
	} else if (!(pdu->header.flags & NVME_TCP_DDGSTF) != !digest) {
		field_wrong(queue, offsetof(struct nvme_tcp_header, flags), "wrong flag of the data digest");
	} else if (pdu->header.pdo < queue->want || pdu->header.pdo % 4 != 0 ||
		   pdu->header.plen != (uint64_t)pdu->header.pdo + pdu->datal + digest) {
		field_wrong(queue, offsetof(struct nvme_tcp_header, pdo), "wrong place or length of data");
	} else if ((pdu->header.flags & NVME_TCP_SUCCESS) && !(pdu->header.flags & NVME_TCP_LAST_PDU)) {
		field_wrong(queue, offsetof(struct nvme_tcp_header, flags), "success before the last data");
	} else {
		queue->command = command;
		queue->data_left = pdu->datal;
		queue->left = pdu->header.pdo - queue->want;
		queue->phase = queue->left > 0 ? RECEIVE_PAD : RECEIVE_DATA;
	}
}

/* 3.3.1.2: wrong data is no fault of the connection; the command is repeated. */
static void digest_check(struct host_queue *queue)
{
	if (queue->wire_crc == crc32c_blocks_digest(&queue->command->sum))
		return;
	queue->command->digest_bad = true;
	queue->digest_errors++;
}

static void data_end(struct host_queue *queue)
{
	struct host_command *command = queue->command;

	queue->command = NULL;
	if (queue->pdu.common.flags & NVME_TCP_SUCCESS) {
		memset(&command->cqe, 0, sizeof(command->cqe));
		command_complete(queue, command);
	}
	next_pdu(queue);
}

static void data_finish(struct host_queue *queue)
{
	if (queue->options.data_digest) {
		queue->phase = RECEIVE_DIGEST;
		queue->left = NVME_TCP_DIGEST_BYTES;
	} else {
		data_end(queue);
	}
}

static void header_done(struct host_queue *queue)
{
	uint8_t type = queue->pdu.common.type;
	uint32_t digest;

	if (has_header_digest(queue)) {
		uint32_t bytes = queue->pdu.common.hlen;

		memcpy(&digest, queue->pdu.bytes + bytes, sizeof(digest));
		if (digest != crc32c(0, queue->pdu.bytes, bytes)) {
			queue->digest_errors++;
			host_queue_terminate(queue, NVME_TCP_FES_HEADER_DIGEST, digest, "wrong header digest");
			return;
		}
	}
	switch (type) {
	case NVME_TCP_ICRESP:
		next_pdu(queue);
		host_queue_greeted(queue);
		break;
	case NVME_TCP_CAPSULE_RESP:
		responded(queue);
		break;
	case NVME_TCP_C2H_DATA:
		data_begin(queue);
		break;
	case NVME_TCP_R2T:
		asked_for_data(queue);
		break;
	default:
		terminated(queue);
	}
}

/* ---- bytes ---- */

static size_t header_take(struct host_queue *queue, const uint8_t *bytes, size_t count)
{
	size_t part = queue->want - queue->have < count ? queue->want - queue->have : count;

	memcpy(queue->pdu.bytes + queue->have, bytes, part);
	queue->have += (uint32_t)part;
	if (queue->have < queue->want)
		return part;
	if (queue->have == sizeof(struct nvme_tcp_header))
		common_check(queue);
	else
		header_done(queue);
	return part;
}

static size_t data_take(struct host_queue *queue, const uint8_t *bytes, size_t count)
{
	size_t part = queue->data_left < count ? queue->data_left : count;

	data_copy(queue, bytes, part);
	if (queue->data_left == 0)
		data_finish(queue);
	else if (!queue->options.data_digest && queue->data_left >= STREAM_TAKE_BYTES)
		take_start(queue);
	return part;
}

static size_t digest_take(struct host_queue *queue, const uint8_t *bytes, size_t count)
{
	size_t part = queue->left < count ? queue->left : count;

	memcpy((uint8_t *)&queue->wire_crc + (NVME_TCP_DIGEST_BYTES - queue->left), bytes, part);
	queue->left -= (uint32_t)part;
	if (queue->left == 0) {
		digest_check(queue);
		data_end(queue);
	}
	return part;
}

size_t host_queue_received(void *ctx, const uint8_t *bytes, size_t count)
{
	struct host_queue *queue = ctx;
	size_t at = 0;

	if (queue->want == 0)
		next_pdu(queue);
	while (at < count && !queue->failed && queue->state != QUEUE_CLOSING && !queue->taking) {
		size_t left = count - at;

		switch (queue->phase) {
		case RECEIVE_HEADER:
			at += header_take(queue, bytes + at, left);
			break;
		case RECEIVE_PAD:
			left = queue->left < left ? queue->left : left;
			at += left;
			queue->left -= (uint32_t)left;
			if (queue->left == 0)
				queue->phase = RECEIVE_DATA;
			break;
		case RECEIVE_DATA:
			at += data_take(queue, bytes + at, left);
			break;
		case RECEIVE_DIGEST:
			at += digest_take(queue, bytes + at, left);
			break;
		}
	}
	return queue->taking ? at : count;
}
