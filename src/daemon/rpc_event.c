/* SPDX-License-Identifier: BSD-3-Clause */
/* Events to subscribers: made into text once, sent to all who asked for the class. */
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "daemon/rpc_priv.h"

static bool wants(const struct rpc_client *client, const struct event *event)
{
	size_t index;
	json_t *name;
	if (!client->subscribed || !client->classes)
		return client->subscribed;
	json_array_foreach(client->classes, index, name)
	{
		if (event->object && strcmp(json_string_value(name), event->object->class->name) == 0)
			return true;
	}
	return false;
}

static bool send_lost(struct rpc_client *client)
{
	char text[128];
	int length = snprintf(text, sizeof text,
			      "{\"jsonrpc\":\"2.0\",\"method\":\"dpu.events_lost\",\"params\":{\"count\":%llu}}",
			      (unsigned long long)client->events_lost);
	if (client->events_lost == 0)
		return true;
	if (!client_send_text(client, text, (size_t)length))
		return false;
	client->events_lost = 0;
	return true;
}

/* Who does not read fast enough loses events and is told how many. */
static void deliver(struct rpc_client *client, const char *text, size_t length)
{
	if (client->out.length < RPC_EVENTS_PAUSE && send_lost(client) && client_send_text(client, text, length))
		return;
	if (!client->dead) {
		client->events_lost++;
		client->rpc->stats.events_lost++;
	}
}

static void happened(void *arg, const struct event *event)
{
	struct rpc *rpc = arg;
	json_t *message = jsonrpc_notification("dpu.event", event_json(event));
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	size_t length = text ? strlen(text) : 0;
	struct rpc_client *client = TAILQ_FIRST(&rpc->clients);
	json_decref(message);
	while (text && client) {
		struct rpc_client *next = TAILQ_NEXT(client, link);
		if (wants(client, event))
			deliver(client, text, length);
		client = next;
	}
	free(text);
}

void events_unsubscribe(struct rpc_client *client)
{
	if (!client->subscribed)
		return;
	client->subscribed = false;
	json_decref(client->classes);
	client->classes = NULL;
	if (--client->rpc->subscribers == 0) {
		model_unsubscribe(client->rpc->subscription);
		client->rpc->subscription = NULL;
	}
}

static int check_classes(const struct rpc_call *call, const json_t *classes, struct dpu_error *err)
{
	size_t index;
	json_t *name;
	json_array_foreach(classes, index, name)
	{
		if (json_is_string(name) && model_class(call->rpc->options.model, json_string_value(name)))
			continue;
		char path[32];
		snprintf(path, sizeof path, "classes[%zu]", index);
		return error_set(err, DPU_E_NOT_FOUND, path,
				 "there is no class \"%.64s\"; dpu.schema tells what there is",
				 json_is_string(name) ? json_string_value(name) : "");
	}
	return 0;
}

void dpu_subscribe(struct rpc_call *call)
{
	struct rpc *rpc = call->rpc;
	struct rpc_client *client = call->client;
	json_t *classes = param(call, "classes");
	struct dpu_error err = { 0 };
	if (check_classes(call, classes, &err)) {
		call_failed(call, &err);
		return;
	}
	if (!client) { /* gone while an earlier request of its batch was answered */
		call_done(call, NULL);
		return;
	}
	if (!rpc->subscription && model_subscribe(rpc->options.model, NULL, happened, rpc, &rpc->subscription)) {
		error_set(&err, DPU_E_LIMIT, NULL, "out of memory");
		call_failed(call, &err);
		return;
	}
	if (!client->subscribed)
		rpc->subscribers++;
	client->subscribed = true;
	json_decref(client->classes);
	client->classes = json_array_size(classes) > 0 ? json_incref(classes) : NULL;
	call_done(call, json_pack("{s:b}", "subscribed", true));
}

void dpu_unsubscribe(struct rpc_call *call)
{
	if (call->client)
		events_unsubscribe(call->client);
	call_done(call, json_pack("{s:b}", "subscribed", false));
}
