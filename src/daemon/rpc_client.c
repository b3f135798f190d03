/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes of one connection: lines in, replies out, and the limits of both. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"
#include "daemon/rpc_priv.h"

enum { GROWTH_STEP = 1 << 20 };

/* ---- buffers ---- */

/* Moves what a buffer takes beyond its share from or to the budget; false if the budget does not allow it. */
static bool account(size_t *used, size_t budget, size_t old_size, size_t new_size)
{
	size_t old_part = old_size > RPC_SHARE ? old_size - RPC_SHARE : 0;
	size_t new_part = new_size > RPC_SHARE ? new_size - RPC_SHARE : 0;
	if (new_part > old_part && *used + (new_part - old_part) > budget)
		return false;
	*used = *used - old_part + new_part;
	return true;
}

/* Makes room for `more` bytes at the end. */
static bool reserve(struct rpc_buffer *buffer, size_t more, size_t *used, size_t budget)
{
	if (buffer->start + buffer->length + more <= buffer->size)
		return true;
	if (buffer->start > 0) {
		memmove(buffer->data, buffer->data + buffer->start, buffer->length);
		buffer->start = 0;
		if (buffer->length + more <= buffer->size)
			return true;
	}
	/* Doubled while it is small; in steps later, so that a budget holds as many as it says. */
	size_t size = buffer->size ? buffer->size : 4096;
	while (size < buffer->length + more)
		size += size < GROWTH_STEP ? size : GROWTH_STEP;
	if (!account(used, budget, buffer->size, size))
		return false;
	char *data = realloc(buffer->data, size);
	if (!data) {
		account(used, SIZE_MAX, size, buffer->size);
		return false;
	}
	buffer->data = data;
	buffer->size = size;
	return true;
}

static void consume(struct rpc_buffer *buffer, size_t length)
{
	buffer->start += length;
	buffer->length -= length;
	if (buffer->length == 0)
		buffer->start = 0;
}

static void release(struct rpc_buffer *buffer, size_t *used)
{
	account(used, SIZE_MAX, buffer->size, 0);
	free(buffer->data);
	*buffer = (struct rpc_buffer){ 0 };
}

/* ---- life ---- */

/* Closing frees the struct unless a function that still needs it is on the stack. */
static void hold(struct rpc_client *client)
{
	client->holds++;
}

static void let_go(struct rpc_client *client)
{
	if (--client->holds == 0 && client->dead)
		free(client);
}

void client_close(struct rpc_client *client)
{
	struct rpc *rpc = client->rpc;
	if (client->dead)
		return;
	client->dead = true;
	hold(client);
	if (client->subscribed)
		events_unsubscribe(client);
	if (client->exchange)
		client->exchange->call.client = NULL;
	loop_fd_remove(client->watch);
	close(client->fd);
	release(&client->in, &rpc->input_bytes);
	release(&client->out, &rpc->output_bytes);
	TAILQ_REMOVE(&rpc->clients, client, link);
	client->listener->clients--;
	let_go(client);
}

static void watch(struct rpc_client *client)
{
	uint32_t events = 0;
	if (client->dead)
		return;
	if (!client->eof && !client->closing && !client->exchange && client->out.length < RPC_OUTPUT_PAUSE)
		events |= EPOLLIN;
	if (client->out.length > 0)
		events |= EPOLLOUT;
	if (events != client->watched && loop_fd_modify(client->watch, events) == 0)
		client->watched = events;
}

/* ---- output ---- */

static void flush(struct rpc_client *client)
{
	struct rpc_buffer *out = &client->out;
	while (!client->dead && out->length > 0) {
		ssize_t sent = send(client->fd, out->data + out->start, out->length, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent > 0) {
			consume(out, (size_t)sent);
			client->progress_ns = clock_ns();
		} else if (errno == EAGAIN) {
			return;
		} else if (errno != EINTR) {
			client_close(client);
			return;
		}
	}
	if (!client->dead && out->size > RPC_SHARE)
		release(out, &client->rpc->output_bytes);
}

static bool append(struct rpc_client *client, const char *text, size_t length)
{
	struct rpc_buffer *out = &client->out;
	if (!reserve(out, length, &client->rpc->output_bytes, RPC_OUTPUT_BUDGET))
		return false;
	if (out->length == 0)
		client->progress_ns = clock_ns();
	memcpy(out->data + out->start + out->length, text, length);
	out->length += length;
	return true;
}

static int dump(const char *text, size_t length, void *ctx)
{
	return append(ctx, text, length) ? 0 : -1;
}

bool client_send_text(struct rpc_client *client, const char *text, size_t length)
{
	if (client->dead || !append(client, text, length))
		return false;
	if (!append(client, "\n", 1)) {
		client->out.length -= length;
		return false;
	}
	hold(client);
	flush(client);
	watch(client);
	let_go(client);
	return true;
}

/* A reply that cannot be sent whole cannot be sent: the connection ends. */
void client_send(struct rpc_client *client, json_t *message)
{
	hold(client);
	if (!client->dead) {
		if (!message || json_dump_callback(message, dump, client, JSON_COMPACT | JSON_REAL_PRECISION(15)) ||
		    !append(client, "\n", 1)) {
			log_warn("rpc", "connection closed: its replies take more memory than there is",
				 "waiting_bytes=%zu", client->out.length);
			client_close(client);
		} else {
			flush(client);
			watch(client);
		}
	}
	let_go(client);
	json_decref(message);
}

/* ---- input ---- */

static void refuse_and_close(struct rpc_client *client, enum dpu_error_code code, const char *sentence)
{
	struct dpu_error err = { 0 };
	error_set(&err, code, NULL, "%s", sentence);
	client->closing = true;
	release(&client->in, &client->rpc->input_bytes);
	client->scanned = 0;
	client->message_since_ns = 0;
	client_send(client, jsonrpc_error(NULL, JSONRPC_INVALID_REQUEST, &err));
}

static bool blank(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (!strchr(" \t\r", text[i]) || !text[i])
			return false;
	}
	return true;
}

/* Takes one line, if there is a whole one, and begins to answer it. */
static bool take_line(struct rpc_client *client)
{
	struct rpc_buffer *in = &client->in;
	const char *text = in->data + in->start;
	const char *end = in->length > client->scanned
				  ? memchr(text + client->scanned, '\n', in->length - client->scanned)
				  : NULL;
	if (in->length > JSONRPC_MAX_BYTES && (!end || end - text > JSONRPC_MAX_BYTES)) {
		refuse_and_close(client, DPU_E_LIMIT, "a message has at most 32 MiB; send it in parts");
		return false;
	}
	if (!end && !(client->eof && in->length > 0)) {
		client->scanned = in->length;
		return false;
	}
	/* The last message may end with the connection in place of an end of line. */
	size_t length = end ? (size_t)(end - text) : in->length;
	client->message_since_ns = 0;
	if (!blank(text, length)) {
		TAILQ_REMOVE(&client->rpc->clients, client, link);
		TAILQ_INSERT_TAIL(&client->rpc->clients, client, link);
		exchange_start(client, text, length);
	}
	if (!client->dead) {
		consume(in, length + (end ? 1 : 0));
		client->scanned = 0;
	}
	return true;
}

static void after_input(struct rpc_client *client)
{
	if (client->dead || client->exchange)
		return;
	if (client->in.length == 0 && client->in.size > RPC_SHARE)
		release(&client->in, &client->rpc->input_bytes);
	if (client->in.length > 0 && client->message_since_ns == 0)
		client->message_since_ns = clock_ns();
	if ((client->closing || client->eof) && client->out.length == 0)
		client_close(client);
}

void client_advance(struct rpc_client *client)
{
	if (client->advancing || client->dead)
		return;
	hold(client);
	client->advancing = true;
	flush(client);
	while (!client->dead && !client->closing && !client->exchange && client->out.length < RPC_OUTPUT_PAUSE &&
	       take_line(client))
		;
	client->advancing = false;
	after_input(client);
	watch(client);
	let_go(client);
}

static void receive(struct rpc_client *client)
{
	struct rpc_buffer *in = &client->in;
	size_t room = in->length < RPC_SHARE / 2 ? RPC_SHARE / 2 : RPC_SHARE;
	if (!reserve(in, room, &client->rpc->input_bytes, RPC_INPUT_BUDGET)) {
		refuse_and_close(client, DPU_E_LIMIT, "too many large messages arrive at once; try again");
		return;
	}
	ssize_t got = recv(client->fd, in->data + in->start + in->length, room, MSG_DONTWAIT);
	if (got > 0)
		in->length += (size_t)got;
	else if (got == 0)
		client->eof = true;
	else if (errno != EAGAIN && errno != EINTR)
		client_close(client);
}

static void ready(void *ctx, uint32_t events)
{
	struct rpc_client *client = ctx;
	/* The peer is gone altogether. What it sent before is still answered if that can be begun now. */
	if ((events & (EPOLLHUP | EPOLLERR)) && !(events & client->watched & EPOLLIN)) {
		client_close(client);
		return;
	}
	hold(client);
	if (events & EPOLLIN)
		receive(client);
	client_advance(client);
	let_go(client);
}

void client_accept(struct rpc_listener *listener, int fd)
{
	struct rpc *rpc = listener->rpc;
	struct rpc_client *client = calloc(1, sizeof *client);
	if (!client || loop_fd_add(rpc->options.loop, fd, EPOLLIN, ready, client, &client->watch)) {
		free(client);
		close(fd);
		rpc->stats.refused++;
		return;
	}
	client->rpc = rpc;
	client->listener = listener;
	client->fd = fd;
	client->watched = EPOLLIN;
	TAILQ_INSERT_TAIL(&rpc->clients, client, link);
	listener->clients++;
	rpc->stats.accepted++;
}

void client_check_time(struct rpc_client *client, uint64_t now_ns)
{
	if (client->out.length > 0 && now_ns > client->progress_ns + RPC_PROGRESS_TIMEOUT_S * CLOCK_NS_PER_S) {
		log_warn("rpc", "connection closed: it does not read its replies", "waiting_bytes=%zu",
			 client->out.length);
		client_close(client);
		return;
	}
	if (client->message_since_ns && !client->exchange && client->out.length < RPC_OUTPUT_PAUSE &&
	    now_ns > client->message_since_ns + RPC_MESSAGE_TIMEOUT_S * CLOCK_NS_PER_S) {
		hold(client);
		refuse_and_close(client, DPU_E_TIMEOUT, "a message must be complete within 30 seconds");
		client_advance(client);
		let_go(client);
	}
}
