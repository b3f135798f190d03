// SPDX-License-Identifier: BSD-3-Clause
/* What a PDU's header from a host must look like (TCP Transport 3.6). */
#include "device/nvme/nvme_target_priv.h"

enum field {
	FIELD_TYPE = offsetof(struct nvme_tcp_header, type),
	FIELD_FLAGS = offsetof(struct nvme_tcp_header, flags),
	FIELD_HLEN = offsetof(struct nvme_tcp_header, hlen),
	FIELD_PDO = offsetof(struct nvme_tcp_header, pdo),
	FIELD_PLEN = offsetof(struct nvme_tcp_header, plen),
};

static enum nvme_tcp_fes field(uint32_t offset, uint32_t *ret_fei)
{
	*ret_fei = offset;
	return NVME_TCP_FES_HEADER_FIELD;
}

static uint8_t header_bytes(uint8_t type)
{
	switch (type) {
	case NVME_TCP_ICREQ:
		return sizeof(struct nvme_tcp_icreq);
	case NVME_TCP_H2C_TERM_REQ:
		return sizeof(struct nvme_tcp_term_req);
	case NVME_TCP_CAPSULE_CMD:
		return sizeof(struct nvme_tcp_capsule_cmd);
	case NVME_TCP_H2C_DATA:
		return sizeof(struct nvme_tcp_data);
	default:
		return 0;
	}
}

static bool has_digests(uint8_t type)
{
	return type == NVME_TCP_CAPSULE_CMD || type == NVME_TCP_H2C_DATA;
}

static uint32_t header_end(const struct nvme_queue *queue, const struct nvme_tcp_header *header)
{
	bool digest = has_digests(header->type) && (queue->digests & NVME_TCP_DGST_HEADER);

	return header->hlen + (digest ? NVME_TCP_DIGEST_BYTES : 0u);
}

static uint32_t data_digest_bytes(const struct nvme_queue *queue)
{
	return queue->digests & NVME_TCP_DGST_DATA ? NVME_TCP_DIGEST_BYTES : 0;
}

uint32_t nvme_pdu_data_bytes(const struct nvme_queue *queue, const struct nvme_tcp_header *header)
{
	if (header->plen <= header_end(queue, header))
		return 0;
	return header->plen - header->pdo - data_digest_bytes(queue);
}

enum nvme_tcp_fes nvme_pdu_check_common(const struct nvme_queue *queue, uint32_t *ret_fei)
{
	const struct nvme_tcp_header *header = &queue->receive.header.common;
	uint8_t bytes = header_bytes(header->type);

	*ret_fei = 0;
	if (bytes == 0)
		return field(FIELD_TYPE, ret_fei);
	if (header->type != NVME_TCP_H2C_TERM_REQ && (header->type == NVME_TCP_ICREQ) != (queue->state == QUEUE_NEW))
		return NVME_TCP_FES_SEQUENCE;
	if (header->hlen != bytes)
		return field(FIELD_HLEN, ret_fei);
	bool digest = header->flags & NVME_TCP_HDGSTF;
	if (has_digests(header->type) && digest != ((queue->digests & NVME_TCP_DGST_HEADER) != 0))
		return field(FIELD_FLAGS, ret_fei);
	if (header->plen < header_end(queue, header) || (header->type == NVME_TCP_ICREQ && header->plen != bytes) ||
	    (header->type == NVME_TCP_H2C_TERM_REQ &&
	     header->plen > sizeof(struct nvme_tcp_term_req) + NVME_TCP_TERM_DATA_MAX))
		return field(FIELD_PLEN, ret_fei);
	return 0;
}

/* Where the data is, and how much. */
static enum nvme_tcp_fes check_data(const struct nvme_queue *queue, uint32_t most, uint32_t *ret_fei)
{
	const struct nvme_tcp_header *header = &queue->receive.header.common;
	uint32_t end = header_end(queue, header), digest = data_digest_bytes(queue);

	if (header->pdo < end || header->pdo % 4 || header->pdo > header->plen)
		return field(FIELD_PDO, ret_fei);
	bool flag = header->flags & NVME_TCP_DDGSTF;
	if (flag != (digest > 0))
		return field(FIELD_FLAGS, ret_fei);
	if (header->plen - header->pdo <= digest)
		return field(FIELD_PLEN, ret_fei);
	if (header->plen - header->pdo - digest > most)
		return header->type == NVME_TCP_H2C_DATA ? NVME_TCP_FES_LIMIT : field(FIELD_PLEN, ret_fei);
	return 0;
}

/* 3.6.2.2: the only version, and an alignment that a header can express. */
static enum nvme_tcp_fes check_icreq(const struct nvme_tcp_icreq *icreq, uint32_t *ret_fei)
{
	if (icreq->pfv != 0) {
		*ret_fei = offsetof(struct nvme_tcp_icreq, pfv);
		return NVME_TCP_FES_UNSUPPORTED;
	}
	if (icreq->hpda > NVME_TCP_ALIGNMENT_MAX)
		return field(offsetof(struct nvme_tcp_icreq, hpda), ret_fei);
	return 0;
}

/* 3.3.2.2: data in order, within what was asked for. */
static enum nvme_tcp_fes check_h2c_data(const struct nvme_queue *queue, uint32_t *ret_fei)
{
	const struct nvme_tcp_data *data = &queue->receive.header.data;
	enum nvme_tcp_fes fes = check_data(queue, NVME_TARGET_MAXH2CDATA, ret_fei);
	struct nvme_command *command = nvme_command_find((struct nvme_queue *)queue, data->ttag);

	if (fes)
		return fes;
	if (!command || command->state != COMMAND_RECEIVING || command->in_capsule > 0)
		return field(offsetof(struct nvme_tcp_data, ttag), ret_fei);
	if (data->cccid != command->sqe.cid)
		return field(offsetof(struct nvme_tcp_data, cccid), ret_fei);
	if (data->datal != nvme_pdu_data_bytes(queue, &data->header))
		return field(offsetof(struct nvme_tcp_data, datal), ret_fei);
	if (data->datao != command->received || data->datal > command->length - command->received)
		return NVME_TCP_FES_RANGE;
	bool last = data->header.flags & NVME_TCP_LAST_PDU;
	if (last != (data->datao + data->datal == command->length))
		return field(FIELD_FLAGS, ret_fei);
	return 0;
}

enum nvme_tcp_fes nvme_pdu_check(const struct nvme_queue *queue, uint32_t *ret_fei)
{
	const struct nvme_tcp_header *header = &queue->receive.header.common;

	*ret_fei = 0;
	switch (header->type) {
	case NVME_TCP_ICREQ:
		return check_icreq(&queue->receive.header.icreq, ret_fei);
	case NVME_TCP_CAPSULE_CMD:
		if (header->plen == header_end(queue, header))
			return 0;
		if (queue->state != QUEUE_CONNECTED)
			return check_data(queue, sizeof(struct nvme_connect_data), ret_fei);
		return check_data(queue, queue->qid == 0 ? NVME_TCP_ADMIN_ICD_BYTES : NVME_TARGET_IO_ICD_BYTES,
				  ret_fei);
	case NVME_TCP_H2C_DATA:
		if (queue->state != QUEUE_CONNECTED)
			return NVME_TCP_FES_SEQUENCE;
		return check_h2c_data(queue, ret_fei);
	default:
		return 0;
	}
}
