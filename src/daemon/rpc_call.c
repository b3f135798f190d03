/* SPDX-License-Identifier: BSD-3-Clause */
/* From a message to its reply: batches one request after the other, answers that come at once or later. */
#include <malloc.h>
#include <stdlib.h>
#include "base/log.h"
#include "daemon/rpc_priv.h"

/* glibc keeps what a large message took; an idle dpud should be small. */
enum { TRIM_BYTES = 1 << 20 };

static void exchange_end(struct rpc_exchange *exchange)
{
	struct rpc *rpc = exchange->call.rpc;
	if (exchange->call.client && json_array_size(exchange->replies) > 0)
		client_send(exchange->call.client, json_incref(exchange->replies));
	struct rpc_client *client = exchange->call.client; /* sending may have closed it */
	if (client)
		client->exchange = NULL;
	json_decref(exchange->replies);
	json_decref(exchange->message);
	bool large = exchange->large;
	free(exchange);
	if (large)
		malloc_trim(TRIM_BYTES);
	rpc->exchanges--;
	if (client)
		client_advance(client);
	if (rpc->stopping && rpc->exchanges == 0)
		rpc->stopped(rpc->stopped_arg);
}

/* Steals reply; NULL for a request that is not answered. */
static void answer(struct rpc_exchange *exchange, json_t *reply)
{
	struct rpc_call *call = &exchange->call;
	call->answered = true;
	if (!reply)
		return;
	if (exchange->batch)
		json_array_append_new(exchange->replies, reply);
	else if (call->client)
		client_send(call->client, reply);
	else
		json_decref(reply);
}

static void exchange_run(struct rpc_exchange *exchange)
{
	struct rpc_call *call = &exchange->call;
	size_t count = exchange->batch ? json_array_size(exchange->message) : 1;
	exchange->running = true;
	while (exchange->next < count) {
		json_t *element =
			exchange->batch ? json_array_get(exchange->message, exchange->next) : exchange->message;
		json_t *refusal = NULL;
		exchange->next++;
		call->answered = false;
		call->request = (struct jsonrpc_request){ 0 };
		call->rpc->stats.requests++;
		if (jsonrpc_request(element, &call->request, &refusal) == 0) {
			method_run(call);
		} else {
			call->rpc->stats.failures++;
			answer(exchange, refusal);
		}
		if (!call->answered) {
			exchange->running = false;
			return;
		}
	}
	exchange_end(exchange);
}

void exchange_start(struct rpc_client *client, const char *text, size_t length)
{
	json_t *refusal = NULL;
	json_t *message = jsonrpc_parse(text, length, &refusal);
	struct rpc_exchange *exchange = message ? calloc(1, sizeof *exchange) : NULL;
	if (!exchange) {
		client->rpc->stats.failures++;
		json_decref(message);
		client_send(client, refusal);
		return;
	}
	exchange->message = message;
	exchange->batch = json_is_array(message);
	exchange->replies = exchange->batch ? json_array() : NULL;
	exchange->large = length > TRIM_BYTES;
	exchange->call.rpc = client->rpc;
	exchange->call.client = client;
	exchange->call.read_only = client->listener->read_only;
	client->exchange = exchange;
	client->rpc->exchanges++;
	exchange_run(exchange);
}

/* ---- ends of a call ---- */

static void finish(struct rpc_call *call, json_t *reply)
{
	struct rpc_exchange *exchange = (struct rpc_exchange *)call; /* its first member */
	answer(exchange, reply);
	if (!exchange->running)
		exchange_run(exchange);
}

void call_done(struct rpc_call *call, json_t *result)
{
	if (call->request.id) {
		finish(call, jsonrpc_result(call->request.id, result));
	} else {
		json_decref(result);
		finish(call, NULL);
	}
}

void call_refused(struct rpc_call *call, enum jsonrpc_code code, const struct dpu_error *err)
{
	call->rpc->stats.failures++;
	finish(call, call->request.id ? jsonrpc_error(call->request.id, code, err) : NULL);
}

void call_failed(struct rpc_call *call, const struct dpu_error *err)
{
	call_refused(call, JSONRPC_DPU_ERROR - (int)err->code, err);
}
