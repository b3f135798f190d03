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

/* ---- dpuctl offload flows ---- */

struct flows_args {
	uint32_t in_port, limit;
	uint64_t cursor, min_packets;
};

static const struct field flows_fields[] = {
	FIELD(struct flows_args, in_port, .max = ESWITCH_MAX_PORTS, .def = "0",
	      .doc = "Only rules for what comes in by the representor of this number; 0 means any."),
	FIELD(struct flows_args, min_packets, .def = "0", .unit = "packets",
	      .doc = "Only rules that so many packets have met."),
	FIELD(struct flows_args, limit, .min = 1, .max = 10000, .def = "100", .unit = "rules",
	      .doc = "Shows so many at most."),
	FIELD(struct flows_args, cursor, .def = "0", .doc = "Goes on where another listing ended, from its next."),
	{ 0 },
};

struct listing {
	const struct eswitch *eswitch;
	const struct flows_args *args;
	json_t *list;
};

static const char *client_name(const struct eswitch *eswitch, const struct flow_client *flow)
{
	const struct client *client;

	LIST_FOREACH(client, &eswitch->clients, link)
	{
		if (client->flow == flow)
			return client->name;
	}
	return "";
}

static void add_rule(void *arg, const struct flow_rule_info *rule)
{
	struct listing *listing = arg;
	char match[RULE_TEXT], actions[RULE_TEXT];

	if (listing->args->in_port != 0 && rule->match.in_port != listing->args->in_port)
		return;
	if (rule->packets < listing->args->min_packets)
		return;
	json_array_append_new(
		listing->list,
		json_pack("{s:I, s:s, s:s, s:I, s:I, s:s}", "rule", (json_int_t)rule->index, "match",
			  rule_match_text(&rule->match, &rule->mask, match, sizeof(match)), "actions",
			  rule_actions_text(rule->ops, rule->op_count, rule->encap_bytes, actions, sizeof(actions)),
			  "packets", (json_int_t)rule->packets, "bytes", (json_int_t)rule->bytes, "client",
			  client_name(listing->eswitch, rule->client)));
}

static int engine_of(const struct eswitch *eswitch, struct dpu_error *err)
{
	return eswitch->engine ? 0 : error_set(err, DPU_E_NOT_FOUND, NULL, "there is no eswitch; create one");
}

static int flows_run(void *ctx, struct object *object, const void *arguments, json_t **ret_result,
		     struct dpu_error *err)
{
	enum { STEP = 256, LOOKS_MAX = 1 << 18 };
	const struct flows_args *args = arguments;
	const struct eswitch *eswitch = ctx;
	struct listing listing = { .eswitch = eswitch, .args = args };
	uint64_t cursor = args->cursor;
	bool more = true;
	int rc = engine_of(eswitch, err);

	(void)object;
	if (rc != 0)
		return rc;
	listing.list = json_array();
	/* Control is not to be held up: an empty page may have a next one. */
	for (unsigned looks = 0; more && looks < LOOKS_MAX && json_array_size(listing.list) < args->limit;
	     looks += STEP)
		more = flow_rules_list(eswitch->engine->sw, FLOW_LIST_ACTIVE, &cursor,
				       RTE_MIN((size_t)STEP, args->limit - json_array_size(listing.list)), add_rule,
				       &listing);
	*ret_result = json_pack("{s:o}", "flows", listing.list);
	if (more)
		json_object_set_new(*ret_result, "next", json_integer((json_int_t)cursor));
	return 0;
}

/* ---- dpuctl offload stats, refused, threads ---- */

static int stats_run(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	const struct eswitch *eswitch = ctx;
	struct flow_stats stats;
	json_t *refusals;
	int rc = engine_of(eswitch, err);

	(void)object, (void)args;
	if (rc != 0)
		return rc;
	flow_switch_stats(eswitch->engine->sw, &stats);
	refusals = json_object();
	for (unsigned i = 0; i < ESWITCH_REFUSALS; i++)
		json_object_set_new(refusals, flow_refusal_name(i), json_integer((json_int_t)stats.refusals[i]));
	*ret_result = json_pack("{s:b, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "bypass",
				eswitch->object && eswitch->object->bypass, "clients", (int)stats.clients, "rules",
				(int)stats.rules, "masks", (int)stats.masks, "entries", (json_int_t)stats.entries,
				"installed", (json_int_t)stats.installed, "destroyed", (json_int_t)stats.destroyed,
				"refused", (json_int_t)stats.refused, "hits", (json_int_t)stats.hits, "lookups",
				(json_int_t)stats.lookups, "subtables_searched", (json_int_t)stats.subtables_searched,
				"upcalls", (json_int_t)stats.upcalls, "bypassed", (json_int_t)stats.bypassed,
				"refusals", refusals);
	return 0;
}

static int refused_run(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	const struct eswitch *eswitch = ctx;
	struct flow_refusal *last;
	json_t *list;
	unsigned count;
	int rc = engine_of(eswitch, err);

	(void)object, (void)args;
	if (rc != 0)
		return rc;
	last = eswitch_alloc(FLOW_REFUSALS_KEPT * sizeof(*last));
	count = flow_refusals_list(eswitch->engine->sw, last, FLOW_REFUSALS_KEPT);
	list = json_array();
	for (unsigned i = 0; i < count && i < FLOW_REFUSALS_KEPT; i++) {
		char match[RULE_TEXT];

		json_array_append_new(
			list, json_pack("{s:I, s:s, s:s, s:s, s:s, s:I}", "seconds_ago",
					(json_int_t)((clock_ns() - last[i].time_ns) / CLOCK_NS_PER_S), "reason",
					flow_refusal_name(last[i].refusal), "sentence", last[i].sentence, "match",
					rule_match_text(&last[i].match, &last[i].mask, match, sizeof(match)), "client",
					client_name(eswitch, last[i].client), "rule", (json_int_t)last[i].index));
	}
	free(last);
	*ret_result = json_pack("{s:o}", "refused", list);
	return 0;
}

static int threads_run(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	const struct eswitch *eswitch = ctx;
	json_t *list;
	int rc = engine_of(eswitch, err);

	(void)object, (void)args;
	if (rc != 0)
		return rc;
	list = json_array();
	for (unsigned i = 0; i < eswitch->workers; i++) {
		struct worker_stats stats;

		worker_stats(workers_get(eswitch->dpu->workers, i), &stats);
		json_array_append_new(list, json_pack("{s:i, s:b, s:I, s:I, s:I, s:I, s:I}", "worker", (int)i,
						      "serves_commands", i == COMMAND_WORKER, "ticks",
						      (json_int_t)atomic_load(&eswitch->engine->ticks[i].runs),
						      "busy_cycles", (json_int_t)stats.busy_cycles, "work",
						      (json_int_t)stats.work, "sleeps", (json_int_t)stats.sleeps,
						      "longest_round_ns", (json_int_t)stats.longest_round_ns));
	}
	*ret_result = json_pack("{s:o}", "threads", list);
	return 0;
}

const struct action eswitch_actions[] = {
	{ .name = "offload-flows",
	  .doc = "Lists installed rules, in the syntax of OVS's datapath flows, with what they have counted.",
	  .args = flows_fields,
	  .args_size = sizeof(struct flows_args),
	  .read_only = true,
	  .run = flows_run },
	{ .name = "offload-stats",
	  .doc = "Counts rules, masks, remembered flows, hits and upcalls.",
	  .read_only = true,
	  .run = stats_run },
	{ .name = "offload-refused",
	  .doc = "Shows the last rules that were refused, and why.",
	  .read_only = true,
	  .run = refused_run },
	{ .name = "offload-threads",
	  .doc = "Shows the workers that forward and install.",
	  .read_only = true,
	  .run = threads_run },
	{ 0 },
};
