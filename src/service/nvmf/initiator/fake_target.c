// SPDX-License-Identifier: BSD-3-Clause
/* The target of the initiator's tests. */
#include "service/nvmf/initiator/fake_target_priv.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "engine/crc32c/crc32c.h"

/* A write whose data has been asked for. */
struct pending {
	struct nvme_sqe sqe;
	uint8_t *data;
	uint32_t bytes, have, asked;
	bool spoilt;
	struct pending *next;
};

struct out {
	struct stream_send send; /* first */
	struct iovec iov;
	uint8_t bytes[];
};

static void on_out(struct stream_send *send, int error)
{
	free(send);
}

void fake_send(struct fake_connection *connection, const void *bytes, size_t count)
{
	struct out *out = malloc(sizeof(*out) + count);

	memcpy(out->bytes, bytes, count);
	out->iov = (struct iovec){ out->bytes, count };
	out->send = (struct stream_send){ .iov = &out->iov, .segments = 1, .done = on_out };
	stream_send(connection->stream, &out->send);
}

/* Header with digest, data with digest. */
static void pdu_send(struct fake_connection *connection, struct nvme_tcp_header *header, uint8_t hlen, const void *data,
		     uint32_t bytes)
{
	struct fake_target *target = connection->target;
	uint32_t at = hlen, crc;
	uint8_t *pdu = malloc(hlen + 256 + bytes);

	header->hlen = hlen;
	header->flags |= connection->header_digest ? NVME_TCP_HDGSTF : 0;
	at += connection->header_digest ? 4 : 0;
	header->pdo = bytes > 0 ? (uint8_t)at : 0;
	header->flags |= bytes > 0 && connection->data_digest ? NVME_TCP_DDGSTF : 0;
	header->plen = at + bytes + (bytes > 0 && connection->data_digest ? 4 : 0);
	memcpy(pdu, header, hlen);
	if (connection->header_digest) {
		crc = crc32c(0, pdu, hlen) ^ (target->bad_header_digests > 0);
		target->bad_header_digests -= target->bad_header_digests > 0;
		memcpy(pdu + hlen, &crc, 4);
	}
	if (bytes > 0)
		memcpy(pdu + at, data, bytes);
	if (bytes > 0 && connection->data_digest) {
		crc = crc32c(0, data, bytes) ^ (target->bad_data_digests > 0);
		target->bad_data_digests -= target->bad_data_digests > 0;
		memcpy(pdu + at + bytes, &crc, 4);
	}
	fake_send(connection, pdu, header->plen);
	free(pdu);
}

void fake_respond(struct fake_connection *connection, uint16_t cid, uint64_t result, uint16_t status)
{
	struct nvme_tcp_capsule_resp pdu = { .header.type = NVME_TCP_CAPSULE_RESP };

	pdu.cqe.result = result;
	pdu.cqe.cid = cid;
	pdu.cqe.status = (uint16_t)(status << 1);
	pdu_send(connection, &pdu.header, sizeof(pdu), NULL, 0);
}

void fake_data(struct fake_connection *connection, const struct nvme_sqe *sqe, const void *data, uint32_t bytes)
{
	struct fake_target *target = connection->target;
	bool success = target->success_flag && connection->no_flow_control;
	uint32_t at = 0, piece = target->c2h_bytes ? target->c2h_bytes : bytes;

	for (; at < bytes; at += piece) {
		struct nvme_tcp_data pdu = { .header.type = NVME_TCP_C2H_DATA, .cccid = sqe->cid, .datao = at };

		piece = piece < bytes - at ? piece : bytes - at;
		pdu.datal = piece;
		if (at + piece == bytes)
			pdu.header.flags = NVME_TCP_LAST_PDU | (success ? NVME_TCP_SUCCESS : 0);
		pdu_send(connection, &pdu.header, sizeof(pdu), (const uint8_t *)data + at, piece);
	}
	if (!success)
		fake_respond(connection, sqe->cid, 0, NVME_OK);
}

unsigned fake_queue(const struct fake_connection *connection)
{
	return (unsigned)connection->queue;
}

unsigned fake_port_of(const struct fake_connection *connection)
{
	return (unsigned)(connection->port - connection->target->ports);
}

void fake_event(struct fake_target *target, uint32_t dw0)
{
	for (struct fake_connection *connection = target->connections; connection; connection = connection->next)
		if (connection->event_count > 0)
			fake_respond(connection, connection->events[--connection->event_count], dw0, NVME_OK);
}

/* ---- I/O ---- */

static uint16_t write_run(struct fake_target *target, const struct nvme_sqe *sqe, const uint8_t *data, uint32_t bytes)
{
	uint64_t lba = sqe->cdw10 | (uint64_t)sqe->cdw11 << 32, count = (sqe->cdw12 & 0xffff) + 1;
	struct nvme_dsm_range range;

	if (sqe->opcode == NVME_DATASET_MANAGEMENT) {
		memcpy(&range, data, sizeof(range));
		lba = range.lba;
		count = range.blocks;
	}
	if (lba > target->blocks || count > target->blocks - lba)
		return NVME_LBA_RANGE | NVME_DNR;
	uint8_t *at = target->memory + (lba << target->shift);
	if (sqe->opcode == NVME_WRITE)
		memcpy(at, data, bytes);
	else if (sqe->opcode == NVME_COMPARE)
		return memcmp(at, data, bytes) == 0 ? NVME_OK : NVME_COMPARE_FAILURE | NVME_DNR;
	else if (sqe->opcode != NVME_FLUSH)
		memset(at, 0, count << target->shift);
	return NVME_OK;
}

void fake_release(struct fake_target *target, bool backwards)
{
	for (unsigned i = 0; i < target->held_count; i++) {
		struct fake_held *held = &target->held[backwards ? target->held_count - 1 - i : i];

		write_run(target, &held->sqe, held->data, held->bytes);
		free(held->data);
	}
	target->held_count = 0;
}

static void io_run(struct fake_connection *connection, const struct nvme_sqe *sqe, const uint8_t *data, uint32_t bytes)
{
	struct fake_target *target = connection->target;

	if (target->holds_writes && sqe->opcode != NVME_FLUSH) {
		struct fake_held *held = &target->held[target->held_count++];

		held->sqe = *sqe;
		held->bytes = bytes;
		held->data = malloc(bytes + 1);
		memcpy(held->data, data, bytes);
		return;
	}
	target->writes_by_port[fake_port_of(connection)]++;
	fake_respond(connection, sqe->cid, 0, write_run(target, sqe, data, bytes));
}

static void r2t_send(struct fake_connection *connection, struct pending *pending)
{
	struct fake_target *target = connection->target;
	uint32_t left = pending->bytes - pending->have;
	struct nvme_tcp_r2t pdu = { .header.type = NVME_TCP_R2T, .cccid = pending->sqe.cid, .ttag = 0x1234 };

	pdu.r2to = pending->have;
	pdu.r2tl = target->r2t_bytes && target->r2t_bytes < left ? target->r2t_bytes : left;
	pending->asked = pending->have + pdu.r2tl;
	pdu_send(connection, &pdu.header, sizeof(pdu), NULL, 0);
}

static void io(struct fake_connection *connection, const struct nvme_sqe *sqe, const uint8_t *data, uint32_t bytes,
	       bool spoilt)
{
	struct fake_target *target = connection->target;
	uint64_t lba = sqe->cdw10 | (uint64_t)sqe->cdw11 << 32, count = (sqe->cdw12 & 0xffff) + 1;

	if (target->fail_count > 0) {
		target->fail_count--;
		fake_respond(connection, sqe->cid, 0, target->fail_status);
	} else if (spoilt) {
		fake_respond(connection, sqe->cid, 0, NVME_TRANSIENT_TRANSPORT);
	} else if (sqe->opcode == NVME_READ) {
		target->reads_by_port[fake_port_of(connection)]++;
		if (lba > target->blocks || count > target->blocks - lba)
			fake_respond(connection, sqe->cid, 0, NVME_LBA_RANGE | NVME_DNR);
		else
			fake_data(connection, sqe, target->memory + (lba << target->shift),
				  (uint32_t)(count << target->shift));
	} else if (sqe->sgl.type == NVME_SGL_TRANSPORT_DATA && sqe->sgl.length > 0) {
		struct pending *pending = calloc(1, sizeof(*pending));

		pending->sqe = *sqe;
		pending->bytes = sqe->sgl.length;
		pending->data = malloc(pending->bytes);
		pending->next = connection->pending;
		connection->pending = pending;
		r2t_send(connection, pending);
	} else {
		assert(bytes == sqe->sgl.length);
		io_run(connection, sqe, data, bytes);
	}
}

/* ---- PDUs ---- */

static void h2c_data(struct fake_connection *connection, const struct nvme_tcp_data *pdu, const uint8_t *data,
		     bool spoilt)
{
	struct pending **at = &connection->pending, *pending;

	while ((pending = *at) && pending->sqe.cid != pdu->cccid)
		at = &pending->next;
	assert(pending && pdu->ttag == 0x1234 && pdu->datao == pending->have && pdu->datal > 0);
	assert(pdu->datal <= connection->target->maxh2cdata && pdu->datao + pdu->datal <= pending->asked);
	assert(!(pdu->header.flags & NVME_TCP_LAST_PDU) == (pdu->datao + pdu->datal < pending->asked));
	memcpy(pending->data + pdu->datao, data, pdu->datal);
	pending->have += pdu->datal;
	pending->spoilt |= spoilt;
	if (pending->have < pending->bytes) {
		if (pending->have == pending->asked)
			r2t_send(connection, pending);
		return;
	}
	*at = pending->next;
	if (pending->spoilt)
		fake_respond(connection, pending->sqe.cid, 0, NVME_TRANSIENT_TRANSPORT);
	else
		io_run(connection, &pending->sqe, pending->data, pending->bytes);
	free(pending->data);
	free(pending);
}

static void greet(struct fake_connection *connection, const struct nvme_tcp_icreq *request)
{
	struct fake_target *target = connection->target;
	struct nvme_tcp_icresp pdu = { .header.type = NVME_TCP_ICRESP, .cpda = target->cpda };

	assert(request->pfv == 0 && request->maxr2t == 0);
	if (connection->port->mute) {
		connection->port->unanswered++;
		return;
	}
	pdu.dgst = target->digests == 0xff ? request->dgst : target->digests;
	pdu.maxh2cdata = target->maxh2cdata;
	pdu_send(connection, &pdu.header, sizeof(pdu), NULL, 0);
	connection->header_digest = pdu.dgst & NVME_TCP_DGST_HEADER;
	connection->data_digest = pdu.dgst & NVME_TCP_DGST_DATA;
	connection->greeted = true;
}

static void command(struct fake_connection *connection, const struct nvme_sqe *sqe, const uint8_t *data, uint32_t bytes,
		    bool spoilt)
{
	struct fake_target *target = connection->target;

	target->commands[sqe->opcode]++;
	if (target->command && target->command(target, connection, sqe))
		return;
	if (target->silent)
		return;
	if (sqe->opcode == NVME_FABRICS)
		fake_fabrics(connection, sqe, data);
	else if (connection->queue == 0)
		fake_admin(connection, sqe);
	else
		io(connection, sqe, data, bytes, spoilt);
}

static void connection_close(struct fake_connection *connection);

/* A whole PDU. Header digests and places are as the host must make them. */
static void pdu_take(struct fake_connection *connection, uint8_t *pdu)
{
	struct nvme_tcp_header header;
	uint32_t crc, bytes = 0;
	bool spoilt = false;

	memcpy(&header, pdu, sizeof(header));
	if (connection->header_digest && header.type != NVME_TCP_H2C_TERM_REQ) {
		memcpy(&crc, pdu + header.hlen, 4);
		assert((header.flags & NVME_TCP_HDGSTF) && crc == crc32c(0, pdu, header.hlen));
	}
	if (header.pdo > 0) {
		uint32_t digest = connection->data_digest ? 4 : 0;

		bytes = header.plen - header.pdo - digest;
		assert(header.pdo % ((connection->target->cpda + 1) * 4) == 0);
		memcpy(&crc, pdu + header.plen - digest, digest);
		spoilt = digest > 0 && crc != crc32c(0, pdu + header.pdo, bytes);
		connection->target->digest_errors += spoilt;
		if (spoilt && connection->target->digest_errors_end) {
			connection_close(connection);
			return;
		}
	}
	switch (header.type) {
	case NVME_TCP_ICREQ:
		greet(connection, (const struct nvme_tcp_icreq *)pdu);
		break;
	case NVME_TCP_CAPSULE_CMD: {
		struct nvme_tcp_capsule_cmd copy;

		memcpy(&copy, pdu, sizeof(copy));
		command(connection, &copy.sqe, pdu + header.pdo, bytes, spoilt);
		break;
	}
	case NVME_TCP_H2C_DATA: {
		struct nvme_tcp_data copy;

		memcpy(&copy, pdu, sizeof(copy));
		assert(copy.datal == bytes);
		h2c_data(connection, &copy, pdu + header.pdo, spoilt);
		break;
	}
	default: {
		struct nvme_tcp_term_req copy;

		assert(header.type == NVME_TCP_H2C_TERM_REQ);
		memcpy(&copy, pdu, sizeof(copy));
		connection->target->terminations++;
		connection->target->fes = copy.fes;
		connection->target->quoted = copy.header.plen - (uint32_t)sizeof(copy);
	}
	}
}

static size_t on_received(void *ctx, const uint8_t *bytes, size_t count)
{
	struct fake_connection *connection = ctx;
	uint32_t plen;
	size_t at = 0;

	if (connection->have + count > connection->room) {
		connection->room = (connection->have + count) * 2;
		connection->in = realloc(connection->in, connection->room);
	}
	memcpy(connection->in + connection->have, bytes, count);
	connection->have += count;
	while (!connection->closing && connection->have - at >= 8) {
		memcpy(&plen, connection->in + at + 4, 4);
		assert(plen >= 8 && plen < 2 << 20);
		if (connection->have - at < plen)
			break;
		uint8_t *pdu = malloc(plen); /* aligned */
		memcpy(pdu, connection->in + at, plen);
		pdu_take(connection, pdu);
		free(pdu);
		at += plen;
	}
	memmove(connection->in, connection->in + at, connection->have - at);
	connection->have -= at;
	return count;
}

/* ---- life ---- */

static void on_closed(void *ctx)
{
	struct fake_connection *connection = ctx, **at = &connection->target->connections;
	struct pending *next;

	while (*at != connection)
		at = &(*at)->next;
	*at = connection->next;
	connection->target->open--;
	for (struct pending *pending = connection->pending; pending; pending = next) {
		next = pending->next;
		free(pending->data);
		free(pending);
	}
	free(connection->in);
	free(connection);
}

static void connection_close(struct fake_connection *connection)
{
	if (connection->closing)
		return;
	connection->closing = true;
	stream_close(connection->stream, on_closed);
}

static void on_ended(void *ctx, int error)
{
	connection_close(ctx);
}

static void on_accepted(void *ctx, int fd)
{
	static const struct stream_ops ops = { NULL, on_received, on_ended };
	struct fake_port *port = ctx;
	struct fake_target *target = port->target;

	if (port->refuses) {
		close(fd);
		return;
	}
	struct fake_connection *connection = calloc(1, sizeof(*connection));
	connection->target = target;
	connection->port = port;
	connection->queue = -1;
	connection->next = target->connections;
	target->connections = connection;
	target->open++;
	stream_adopt(target->streams, fd, NULL, &ops, connection, &connection->stream);
}

void fake_drop(struct fake_target *target, unsigned port)
{
	for (struct fake_connection *connection = target->connections; connection; connection = connection->next)
		if (connection->port == &target->ports[port])
			connection_close(connection);
}

void fake_open(struct fake_target *target, struct stream_group *streams, uint64_t bytes, unsigned shift)
{
	memset(target, 0, sizeof(*target));
	target->streams = streams;
	target->memory = calloc(1, bytes);
	target->blocks = bytes >> shift;
	target->shift = shift;
	target->nsid = 3;
	memset(target->uuid, 0x42, sizeof(target->uuid));
	target->maxh2cdata = 128 << 10;
	target->digests = 0xff;
	target->kas = 1;
	for (unsigned i = 0; i < FAKE_PORTS; i++) {
		struct fake_port *port = &target->ports[i];
		socklen_t length = sizeof(port->address);

		port->target = target;
		port->ana = NVME_ANA_OPTIMIZED;
		port->address = (struct sockaddr_in){ .sin_family = AF_INET };
		port->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		int r = stream_listen(streams, (struct sockaddr *)&port->address, length, 0, on_accepted, port,
				      &port->listener, NULL);
		assert(r == 0);
		getsockname(stream_listener_fd(port->listener), (struct sockaddr *)&port->address, &length);
	}
}

void fake_close(struct fake_target *target)
{
	for (unsigned i = 0; i < FAKE_PORTS; i++) {
		target->ports[i].refuses = true;
		stream_listener_close(target->ports[i].listener, NULL);
		fake_drop(target, i);
	}
}

void fake_free(struct fake_target *target)
{
	for (unsigned i = 0; i < target->held_count; i++)
		free(target->held[i].data);
	free(target->memory);
}
