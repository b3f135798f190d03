// SPDX-License-Identifier: BSD-3-Clause
/* The life of a host's queue: connecting, the greeting (ICReq), its commands, its end. */
#include "service/nvmf/initiator/initiator_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

enum { INDEX_MASK = (1 << COMMAND_INDEX_BITS) - 1 };
static const uint64_t GREETING_NS = 5 * CLOCK_NS_PER_S; /* for an ICResp, as for a connection before */

/* ---- commands ---- */

struct host_command *host_command_get(struct host_queue *queue)
{
	struct host_command *command = queue->free;

	if (!command || queue->state != QUEUE_OPEN || queue->failed)
		return NULL;
	queue->free = command->next;
	queue->under_way++;
	command->cid = (uint16_t)(command->cid + (1 << COMMAND_INDEX_BITS));
	command->busy = true;
	command->answered = command->digest_bad = command->aborting = false;
	command->moved = 0;
	command->data_offset = 0;
	command->sum = (struct crc32c_blocks){ 0 };
	command->transfer.active = command->next_transfer.active = false;
	memset(&command->header.pdu.sqe, 0, sizeof(command->header.pdu.sqe));
	return command;
}

void host_command_give_up(struct host_command *command)
{
	struct host_queue *queue = command->queue;

	command->busy = false;
	if (command->iov != command->own_iov && command->iov_room > 64) { /* a rare one: not kept */
		free(command->iov);
		command->iov = command->own_iov;
		command->iov_room = COMMAND_SEGMENTS + 4;
	}
	command->next = queue->free;
	queue->free = command;
	queue->under_way--;
}

struct host_command *host_command_find(struct host_queue *queue, uint16_t cid)
{
	unsigned index = cid & INDEX_MASK;
	struct host_command *command = index < queue->depth ? &queue->commands[index] : NULL;

	return command && command->busy && command->cid == cid && !command->answered ? command : NULL;
}

/* Its owner gets it when the stream has given back its buffers, too. */
void host_command_answered(struct host_command *command)
{
	struct host_queue *queue = command->queue;
	uint16_t status = command->answered ? command->cqe.status >> 1 : HOST_LOST;

	if (command->lent > 0)
		return;
	if (command->answered && command->digest_bad && (status & NVME_STATUS_MASK) == NVME_OK)
		status = NVME_TRANSIENT_TRANSPORT;
	command->done(command, status);
	host_command_give_up(command);
	if (queue->state == QUEUE_OPEN && queue->events->room)
		queue->events->room(queue->ctx, queue);
}

static int commands_make(struct host_queue *queue)
{
	queue->depth = queue->options.depth;
	queue->commands = calloc(queue->depth, sizeof(*queue->commands));
	if (!queue->commands)
		return -ENOMEM;
	for (unsigned i = queue->depth; i-- > 0;) {
		struct host_command *command = &queue->commands[i];

		command->queue = queue;
		command->cid = (uint16_t)i;
		command->iov = command->own_iov;
		command->iov_room = COMMAND_SEGMENTS + 4;
		command->next = queue->free;
		queue->free = command;
	}
	return 0;
}

/* ---- the end ---- */

void host_queue_fail(struct host_queue *queue, const char *format, ...)
{
	char why[REMOTE_WHY_BYTES];
	va_list args;

	if (queue->failed || queue->state == QUEUE_CLOSING)
		return;
	queue->failed = true;
	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	queue->events->failed(queue->ctx, queue, why);
}

/* 3.6.2.3: with the header at fault. Sent if that goes at once: the connection is over anyway. */
void host_queue_terminate(struct host_queue *queue, enum nvme_tcp_fes fes, uint32_t fei, const char *what)
{
	struct {
		struct nvme_tcp_term_req pdu;
		uint8_t quoted[NVME_TCP_TERM_DATA_MAX];
	} request = { 0 };
	uint32_t quoted = queue->have < NVME_TCP_TERM_DATA_MAX ? queue->have : NVME_TCP_TERM_DATA_MAX;

	request.pdu.header.type = NVME_TCP_H2C_TERM_REQ;
	request.pdu.header.hlen = sizeof(request.pdu);
	request.pdu.header.plen = (uint32_t)sizeof(request.pdu) + quoted;
	request.pdu.fes = fes;
	request.pdu.fei[0] = (uint16_t)fei;
	request.pdu.fei[1] = (uint16_t)(fei >> 16);
	memcpy(request.quoted, queue->pdu.bytes, quoted);
	if (!queue->failed && stream_unsent(queue->stream) == 0)
		send(stream_fd(queue->stream), &request, request.pdu.header.plen, MSG_DONTWAIT | MSG_NOSIGNAL);
	host_queue_fail(queue, "the controller breaks the protocol: %s", what);
}

static void on_closed(void *ctx)
{
	struct host_queue *queue = ctx;

	queue->stream = NULL;
	queue->state = QUEUE_CLOSED;
	for (unsigned i = 0; i < queue->depth; i++)
		if (queue->commands[i].busy)
			host_command_answered(&queue->commands[i]);
	queue->events->closed(queue->ctx, queue);
}

void host_queue_close(struct host_queue *queue, bool reset)
{
	static const struct linger linger = { .l_onoff = 1 };

	if (queue->state == QUEUE_CLOSING || queue->state == QUEUE_CLOSED)
		return;
	if (reset)
		setsockopt(stream_fd(queue->stream), SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	queue->state = QUEUE_CLOSING;
	stream_close(queue->stream, on_closed);
}

void host_queue_free(struct host_queue *queue)
{
	if (!queue)
		return;
	for (unsigned i = 0; queue->commands && i < queue->depth; i++)
		if (queue->commands[i].iov != queue->commands[i].own_iov)
			free(queue->commands[i].iov);
	free(queue->commands);
	free(queue);
}

struct host_command *host_queue_overdue(struct host_queue *queue, uint64_t before_ns)
{
	struct host_command *oldest = NULL;

	for (unsigned i = 0; i < queue->depth; i++) {
		struct host_command *command = &queue->commands[i];

		if (command->busy && command->sent_ns != COMMAND_FOR_EVER && command->sent_ns < before_ns &&
		    (!oldest || command->sent_ns < oldest->sent_ns))
			oldest = command;
	}
	return oldest;
}

/* ---- the beginning ---- */

static void on_greeting_sent(struct stream_send *send, int error)
{
	/* The end of the stream tells. */
}

void host_queue_greet(struct host_queue *queue)
{
	struct nvme_tcp_icreq *pdu = &queue->icreq;

	pdu->header.type = NVME_TCP_ICREQ;
	pdu->header.hlen = sizeof(*pdu);
	pdu->header.plen = sizeof(*pdu);
	pdu->dgst = (queue->options.header_digest ? NVME_TCP_DGST_HEADER : 0) |
		    (queue->options.data_digest ? NVME_TCP_DGST_DATA : 0);
	queue->state = QUEUE_GREETING;
	queue->greeted_by_ns = clock_ns() + GREETING_NS;
	queue->greeting_iov = (struct iovec){ pdu, sizeof(*pdu) };
	queue->greeting = (struct stream_send){
		.iov = &queue->greeting_iov,
		.segments = 1,
		.done = on_greeting_sent,
	};
	stream_send(queue->stream, &queue->greeting);
}

void host_queue_greeting_tick(struct host_queue *queue, uint64_t now_ns)
{
	if (queue->state == QUEUE_GREETING && now_ns > queue->greeted_by_ns)
		host_queue_fail(queue, "the controller has accepted the connection and does not greet");
}

/* 3.6.2.2: what the controller says must suit what we have asked for. */
void host_queue_greeted(struct host_queue *queue)
{
	const struct nvme_tcp_icresp *pdu = &queue->pdu.icresp;
	uint8_t digests = (queue->options.header_digest ? NVME_TCP_DGST_HEADER : 0) |
			  (queue->options.data_digest ? NVME_TCP_DGST_DATA : 0);

	if (pdu->pfv != 0)
		host_queue_terminate(queue, NVME_TCP_FES_UNSUPPORTED, offsetof(struct nvme_tcp_icresp, pfv),
				     "unknown format of PDUs");
	else if (pdu->cpda > NVME_TCP_ALIGNMENT_MAX)
		host_queue_terminate(queue, NVME_TCP_FES_HEADER_FIELD, offsetof(struct nvme_tcp_icresp, cpda),
				     "impossible alignment of data");
	else if (pdu->maxh2cdata < NVME_TCP_MAXH2CDATA_MIN || pdu->maxh2cdata % 4 != 0)
		host_queue_terminate(queue, NVME_TCP_FES_HEADER_FIELD, offsetof(struct nvme_tcp_icresp, maxh2cdata),
				     "impossible MAXH2CDATA");
	else if ((pdu->dgst & digests) != digests)
		host_queue_fail(queue, "the controller has no %s digests; they are asked for",
				digests & ~pdu->dgst & NVME_TCP_DGST_HEADER ? "header" : "data");
	else if (pdu->dgst != digests)
		host_queue_terminate(queue, NVME_TCP_FES_HEADER_FIELD, offsetof(struct nvme_tcp_icresp, dgst),
				     "digests that nobody asked for");
	else {
		queue->maxh2cdata = pdu->maxh2cdata;
		queue->alignment = (pdu->cpda + 1) * 4u;
		queue->state = QUEUE_OPEN;
		queue->events->open(queue->ctx, queue);
	}
}

static void on_connected(void *ctx)
{
	host_queue_greet(ctx);
}

static void on_ended(void *ctx, int error)
{
	struct host_queue *queue = ctx;

	if (queue->state == QUEUE_CONNECTING)
		host_queue_fail(queue, "cannot connect: %s", strerror(-error));
	else if (error == 0)
		host_queue_fail(queue, "the controller has closed the connection");
	else
		host_queue_fail(queue, "the connection broke: %s", strerror(-error));
}

static const struct stream_ops ops = { on_connected, host_queue_received, on_ended };

static int queue_make(const struct queue_options *options, uint16_t id, const struct queue_events *events, void *ctx,
		      struct host_queue **ret)
{
	struct host_queue *queue = calloc(1, sizeof(*queue));

	if (!queue)
		return -ENOMEM;
	queue->options = *options;
	queue->id = id;
	queue->events = events;
	queue->ctx = ctx;
	queue->state = QUEUE_CONNECTING;
	*ret = queue;
	return commands_make(queue);
}

int host_queue_new(const struct queue_options *options, uint16_t id, const struct queue_events *events, void *ctx,
		   struct host_queue **ret)
{
	static const struct stream_options stream_options = { .connect_timeout_ms = 5000 };
	struct host_queue *queue = NULL;
	int r = queue_make(options, id, events, ctx, &queue);

	if (r == 0)
		r = stream_connect(options->streams, (const struct sockaddr *)&options->address->address,
				   options->address->bytes, &stream_options, &ops, queue, &queue->stream);
	if (r < 0) {
		host_queue_free(queue);
		return r;
	}
	*ret = queue;
	return 0;
}

int host_queue_adopt(const struct queue_options *options, uint16_t id, const struct queue_events *events, void *ctx,
		     int fd, struct host_queue **ret)
{
	struct host_queue *queue = NULL;
	int r = queue_make(options, id, events, ctx, &queue);

	if (r == 0)
		r = stream_adopt(options->streams, fd, NULL, &ops, queue, &queue->stream);
	if (r < 0) {
		host_queue_free(queue);
		return r;
	}
	host_queue_greet(queue);
	*ret = queue;
	return 0;
}
