/* SPDX-License-Identifier: BSD-3-Clause */
/* What people see of the eswitch: state of its objects, and the actions that dpuctl has as `offload …`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "service/eswitch/eswitch_priv.h"
#include "service/eswitch/rule_text.h"

static char *text_of(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		abort();
	return copy;
}

static void list_add(struct string_list *list, const char *text)
{
	list->items = realloc(list->items, (list->count + 1) * sizeof(*list->items));
	if (!list->items)
		abort();
	list->items[list->count++] = text_of(text);
}

void eswitch_observe(void *ctx, const struct object *object, struct object *copy)
{
	const struct eswitch *eswitch = ctx;
	struct eswitch_object *out = (struct eswitch_object *)copy;
	const struct client *client;
	struct flow_stats stats = { 0 };
	char path[512];

	(void)object;
	snprintf(path, sizeof(path), "%s/%s", eswitch->dpu->run_dir, ESWITCH_SOCKET);
	out->socket = text_of(path);
	LIST_FOREACH(client, &eswitch->clients, link)
	{
		if (client->fd >= 0 && client->flow)
			list_add(&out->clients, client->name);
	}
	if (eswitch->engine)
		flow_switch_stats(eswitch->engine->sw, &stats);
	out->rules = stats.rules;
	out->rules_refused = stats.refused_now;
	out->rules_leaving = stats.leaving;
	out->rule_bytes = stats.rule_bytes;
	out->entry_bytes = stats.entry_bytes;
	out->commands_pending = commands_pending(eswitch);
	out->refused_by_driver = reported_count(eswitch);
	out->lookup_misses = stats.misses;
	out->masks = stats.masks;
	out->entries = stats.entries;
	out->installed = stats.installed;
	out->destroyed = stats.destroyed;
	out->refused = stats.refused;
	out->hits = stats.hits;
	out->lookups = stats.lookups;
	out->upcalls = stats.upcalls;
	out->bypassed = stats.bypassed;
}

void representor_observe(void *ctx, const struct object *object, struct object *copy)
{
	struct eswitch *eswitch = ctx;
	struct representor *out = (struct representor *)copy;
	const struct control_representor *representor = object->runtime;
	const struct open_port *open = representor->open;
	struct path_iface_counters counters;
	struct eswitch_port_info info;
	char text[64];

	representor_info(eswitch, out->number, &info);
	out->up = info.link_up;
	out->open = open && !open->request;
	if (open)
		out->client = text_of(open->client->name);
	for (unsigned i = 0; open && i < open->queue_pairs; i++) {
		if (open->attachment.queues[i].rx)
			snprintf(text, sizeof(text), "%u: worker %u", i, open->attachment.queues[i].worker);
		else
			snprintf(text, sizeof(text), "%u: not served", i);
		list_add(&out->queue_states, text);
	}
	vswitch_iface_counters(eswitch->vswitch, PATH_FIRST_REPRESENTOR + out->number, &counters);
	out->rx_packets = counters.rx_packets;
	out->rx_bytes = counters.rx_bytes;
	out->tx_packets = counters.tx_packets;
	out->tx_bytes = counters.tx_bytes;
	out->rx_drops = counters.rx_drops;
	out->tx_drops = counters.tx_drops;
}

/* ---- names ---- */

const char *client_name(const struct eswitch *eswitch, const struct flow_client *flow)
{
	const struct client *client;

	LIST_FOREACH(client, &eswitch->clients, link)
	{
		if (client->flow == flow)
			return client->name;
	}
	return "";
}

const char *representor_name(const struct eswitch *eswitch, uint16_t number)
{
	return control_iface_name((void *)eswitch, (uint16_t)(PATH_FIRST_REPRESENTOR + number));
}

int engine_of(const struct eswitch *eswitch, struct dpu_error *err)
{
	return eswitch->engine ? 0 : error_set(err, DPU_E_NOT_FOUND, NULL, "there is no eswitch; create one");
}

/* ---- actions ---- */

const struct action eswitch_actions[] = {
	{ .name = "offload-flows",
	  .doc = "Lists installed rules, in the syntax of OVS's datapath flows, with what they have counted, since "
		 "when "
		 "they are there, and how long ago they were used.",
	  .example = "dpuctl offload flows representor=web min_packets=1 sort=packets",
	  .args = flows_fields,
	  .args_size = sizeof(struct flows_args),
	  .read_only = true,
	  .start = flows_start },
	{ .name = "offload-stats",
	  .doc = "Counts rules, masks, remembered flows, hits and upcalls, also per second and by representor, and "
		 "says "
		 "how long insertions took.",
	  .example = "dpuctl offload stats -o json",
	  .read_only = true,
	  .run = stats_run },
	{ .name = "offload-refused",
	  .doc = "Says why flows are not offloaded: rules that were refused here, and what drivers refused before.",
	  .example = "dpuctl offload refused -c by,count,sentence",
	  .read_only = true,
	  .run = refused_run },
	{ .name = "offload-threads",
	  .doc = "Shows the command rings of clients' threads, and the workers that forward and install: what waits, "
		 "what "
		 "was done, and whether they are stuck.",
	  .example = "dpuctl offload threads",
	  .read_only = true,
	  .run = threads_run },
	{ 0 },
};
