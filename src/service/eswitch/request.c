/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests of clients, answered. */
#include <stdio.h>
#include <string.h>
#include "service/eswitch/eswitch_priv.h"

static void answer(struct client *client, const struct eswitch_message *request, enum eswitch_status status,
		   const char *sentence)
{
	struct eswitch_message message;

	message_answer(&message, request, status, "%s", sentence);
	eswitch_tell(client, &message, NULL, 0);
}

static unsigned poll_commands(struct worker_source *source, struct worker *worker)
{
	struct client *client = (struct client *)source;

	(void)worker;
	return flow_client_poll(client->flow, client->engine->ticks[COMMAND_WORKER].flow);
}

static int arm_commands(struct worker_source *source)
{
	return flow_client_arm(((struct client *)source)->flow);
}

static void disarm_commands(struct worker_source *source)
{
	flow_client_disarm(((struct client *)source)->flow);
}

static int commands_serve(struct client *client, const struct eswitch_message *request, struct dpu_error *err)
{
	struct eswitch *eswitch = client->eswitch;
	int rc = flow_client_new(eswitch->engine->sw, request->hello.command_rings, 0, &client->flow, err);

	if (rc != 0)
		return rc;
	client->engine = eswitch->engine;
	client->source = (struct worker_source){ .poll = poll_commands,
						 .arm = arm_commands,
						 .disarm = disarm_commands,
						 .fd = flow_client_wake_fd(client->flow),
						 .name = "eswitch commands" };
	rc = worker_add_source(workers_get(eswitch->dpu->workers, COMMAND_WORKER), &client->source);
	if (rc != 0) {
		flow_client_close(client->flow);
		flow_client_free(client->flow);
		client->flow = NULL;
		client->engine = NULL;
		return error_set(err, DPU_E_INTERNAL, NULL, "the worker takes no work: %s", strerror(-rc));
	}
	client->engine->clients++;
	return 0;
}

void copy_printable(char *to, size_t room, const char *from)
{
	size_t i;

	for (i = 0; i + 1 < room && from[i]; i++)
		to[i] = from[i] >= ' ' && from[i] <= '~' && from[i] != '"' ? from[i] : '?';
	to[i] = '\0';
}

/* Whether there is an eswitch, and of the name that the client gives, if it gives one. */
static bool serves_eswitch(struct client *client, const struct eswitch_message *request)
{
	const struct eswitch *eswitch = client->eswitch;
	char sentence[200], name[ESWITCH_NAME_BYTES];

	if (!eswitch->object || !eswitch->engine || !eswitch->started) {
		answer(client, request, ESWITCH_E_NOT_FOUND,
		       "hello.eswitch: this dpud has no eswitch: dpuctl eswitch create NAME");
		return false;
	}
	if (!request->hello.eswitch[0] || strcmp(request->hello.eswitch, eswitch->object->base.name) == 0)
		return true;
	copy_printable(name, sizeof(name), request->hello.eswitch);
	snprintf(sentence, sizeof(sentence), "hello.eswitch: there is no eswitch %.64s: it is %.64s", name,
		 eswitch->object->base.name);
	answer(client, request, ESWITCH_E_NOT_FOUND, sentence);
	return false;
}

static void hello(struct client *client, const struct eswitch_message *request)
{
	struct eswitch *eswitch = client->eswitch;
	struct dpu_error err = { 0 };
	struct eswitch_message reply;
	size_t bytes;

	if (!serves_eswitch(client, request))
		return;
	if (commands_serve(client, request, &err) != 0) {
		answer(client, request, err.code == DPU_E_LIMIT ? ESWITCH_E_LIMIT : ESWITCH_E_INTERNAL, err.message);
		return;
	}
	loop_timer_remove(client->timer);
	client->timer = NULL;
	client->pid = request->hello.pid;
	copy_printable(client->program, sizeof(client->program), request->hello.program);
	snprintf(client->name, sizeof(client->name), "%s (pid %u)", client->program, client->pid);
	message_answer(&reply, request, ESWITCH_OK, "%s", "");
	const int fds[] = { flow_client_region(client->flow, &bytes), flow_client_wake_fd(client->flow) };
	reply.hello_reply.region_bytes = bytes;
	reply.hello_reply.max_rules = flow_client_max_rules(client->flow);
	reply.hello_reply.command_rings = request->hello.command_rings;
	snprintf(reply.hello_reply.eswitch, sizeof(reply.hello_reply.eswitch), "%s", eswitch->object->base.name);
	model_notice(eswitch->dpu->model, &eswitch->object->base, "client-connected",
		     json_pack("{s:s, s:s}", "client", client->name, "sentence", "a client has connected"));
	eswitch_tell(client, &reply, fds, 2);
}

static void open_port(struct client *client, const struct eswitch_message *request)
{
	struct eswitch *eswitch = client->eswitch;
	char sentence[200];
	unsigned number = 0;

	if (request->open_port.name[0]) {
		for (number = 1; number <= ESWITCH_MAX_PORTS; number++)
			if (eswitch->representors[number] &&
			    strcmp(eswitch->representors[number]->object->base.name, request->open_port.name) == 0)
				break;
	}
	struct control_representor *to = number <= ESWITCH_MAX_PORTS ? eswitch->representors[number] : NULL;
	if (!to) {
		answer(client, request, ESWITCH_E_NOT_FOUND,
		       "open_port.name: there is no such representor: dpuctl representor list");
		return;
	}
	if (to->open) {
		snprintf(sentence, sizeof(sentence), "open_port.name: %s has it open", to->open->client->name);
		answer(client, request, ESWITCH_E_BUSY, sentence);
		return;
	}
	representor_open(client, request, to, (uint16_t)number);
}

static void close_port(struct client *client, const struct eswitch_message *request)
{
	struct control_representor *representor = client->eswitch->representors[request->number];

	if (!representor || !representor->open || representor->open->client != client) {
		answer(client, request, ESWITCH_E_NOT_FOUND, "number: the client has no such port open");
		return;
	}
	representor_close(representor);
	answer(client, request, ESWITCH_OK, "");
}

static void list_ports(struct client *client, const struct eswitch_message *request)
{
	struct eswitch *eswitch = client->eswitch;
	struct eswitch_message reply;

	for (unsigned number = request->number; number < ESWITCH_MAX_PORTS; number++) {
		if (!eswitch->representors[number + 1])
			continue;
		message_answer(&reply, request, ESWITCH_OK, "%s", "");
		representor_info(eswitch, (uint16_t)(number + 1), &reply.port);
		eswitch_tell(client, &reply, NULL, 0);
		return;
	}
	answer(client, request, ESWITCH_E_NOT_FOUND, "number: there is none with a higher one");
}

void eswitch_request(struct client *client, const struct eswitch_message *request, size_t bytes)
{
	struct eswitch_message refusal;

	if (message_check(request, bytes, client->flow != NULL, &refusal) != ESWITCH_OK) {
		eswitch_tell(client, &refusal, NULL, 0);
		if (bytes != sizeof(*request))
			eswitch_dismiss(client, "it does not speak our language");
		return;
	}
	switch (request->type) {
	case ESWITCH_HELLO:
		hello(client, request);
		break;
	case ESWITCH_OPEN_PORT:
		open_port(client, request);
		break;
	case ESWITCH_CLOSE_PORT:
		close_port(client, request);
		break;
	case ESWITCH_REPORT:
		report_take(client, request);
		break;
	default:
		list_ports(client, request);
	}
}
