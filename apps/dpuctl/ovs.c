/* SPDX-License-Identifier: BSD-3-Clause */
/* Asking ovs-vswitchd for its flows by its control socket (JSON-RPC, as ovs-appctl does), and joining them with dpud's
 * rules. OVS does not hand a flow's ufid to a driver: the same flow is that of the same in-port and match. */
#include "ovs.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include "ovs_flow.h"
#include "schema.h"

enum { PAGE = 10000 };

/* ---- OVS ---- */

static int dial(const struct ctl *ctl, int *ret_fd, struct dpu_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = ctl->options.timeout_s };
	const char *path = ctl->options.ovs;
	int fd;

	if (strlen(path) >= sizeof address.sun_path)
		return usage_error(err, "--ovs", "a socket's path has %zu bytes at most", sizeof address.sun_path - 1);
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
		*ret_fd = fd;
		return EXIT_OK;
	}
	error_set(err, DPU_E_IO, "--ovs",
		  "no ovs-vswitchd answers at %s: %s; its control socket is called ovs-vswitchd.PID.ctl", path,
		  strerror(errno));
	if (fd >= 0)
		close(fd);
	return EXIT_REFUSED;
}

static int exchange(FILE *link, const json_t *request, char **ret_text, struct dpu_error *err)
{
	json_error_t fault;
	json_t *reply = NULL;
	int status = EXIT_REFUSED;

	if (json_dumpf(request, link, JSON_COMPACT) == 0 && fflush(link) == 0)
		reply = json_loadf(link, JSON_DISABLE_EOF_CHECK, &fault);
	const json_t *result = json_object_get(reply, "result");
	if (json_is_string(json_object_get(reply, "error")))
		error_set(err, DPU_E_IO, "--ovs", "OVS refuses dpctl/dump-flows: %s", schema_text(reply, "error"));
	else if (!json_is_string(result))
		error_set(err, DPU_E_IO, "--ovs", "what answers there is no ovs-vswitchd");
	else
		status = (*ret_text = strdup(json_string_value(result))) ? EXIT_OK : EXIT_REFUSED;
	json_decref(reply);
	return status;
}

static int dump_flows(const struct ctl *ctl, char **ret_text, struct dpu_error *err)
{
	int fd = -1, status = dial(ctl, &fd, err);
	FILE *link = status ? NULL : fdopen(fd, "r+");

	if (status)
		return status;
	if (!link) {
		close(fd);
		error_set(err, DPU_E_LIMIT, NULL, "out of memory");
		return EXIT_REFUSED;
	}
	json_t *request =
		json_pack("{s:i, s:s, s:[s, s]}", "id", 0, "method", "dpctl/dump-flows", "params", "-m", "--names");
	status = exchange(link, request, ret_text, err);
	json_decref(request);
	fclose(link);
	return status;
}

/* ---- joining ---- */

struct join {
	json_t *ports;    /* names of representors */
	json_t *by_key;   /* normalised match → array of rows of dpud's that no flow has met yet */
	json_t *rows;     /* the result */
	json_t *keeps;    /* flows that OVS keeps */
	const char *only; /* this representor; NULL: all */
};

static bool is_port(void *ctx, const char *name)
{
	return json_object_get(((struct join *)ctx)->ports, name) != NULL;
}

static char *key_of(const char *port, const char *match, const char *end)
{
	struct text key = { 0 };

	text_printf(&key, "%s:", port);
	ovs_match_normalise(match, end, &key);
	return text_take(&key);
}

static void note_rule(struct join *join, json_t *row)
{
	char *key = key_of(schema_text(row, "representor"), schema_text(row, "match"), NULL);
	json_t *list = key ? json_object_get(join->by_key, key) : NULL;

	if (key && !list) {
		list = json_array();
		json_object_set_new(join->by_key, key, list);
	}
	json_array_append(list, row);
	free(key);
}

/* The rule of the flow, taken out; NULL: dpud has none. */
static json_t *take_rule(struct join *join, const struct ovs_flow *flow)
{
	char *key = key_of(flow->in_port, flow->match, flow->match_end);
	json_t *list = key ? json_object_get(join->by_key, key) : NULL, *row = NULL;

	if (json_array_size(list) > 0) {
		row = json_incref(json_array_get(list, 0));
		json_array_remove(list, 0);
	}
	free(key);
	return row;
}

static json_t *span(const char *from, const char *end)
{
	from += strspn(from, ", ");
	return from < end ? json_stringn(from, (size_t)(end - from)) : json_string("");
}

static const char *why_of(struct join *join, const struct ovs_flow *flow, const json_t *rule)
{
	bool believed = strcmp(flow->offloaded, "no") != 0;
	const char *obstacle;

	if (rule && strcmp(schema_text(rule, "state"), "refused") == 0)
		return "dpud has refused it: dpuctl offload refused says more";
	if (strcmp(flow->offloaded, "yes") == 0)
		return rule ? "" : "OVS believes that it is offloaded; dpud has no such rule";
	obstacle = ovs_flow_obstacle(flow, is_port, join);
	if (obstacle)
		return obstacle;
	return believed ? "its actions stay with OVS: dpuctl offload refused says more"
			: "not yet, or refused by the driver: dpuctl offload refused says more";
}

static void add_flow(struct join *join, const struct ovs_flow *flow)
{
	json_t *rule = take_rule(join, flow);
	bool there = rule && strcmp(schema_text(rule, "state"), "active") == 0;
	json_t *row =
		json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:I, s:I}", "ufid", flow->ufid, "where",
			  there ? "both" : "ovs", "offloaded", flow->offloaded, "representor", flow->in_port, "match",
			  there ? json_string(schema_text(rule, "match")) : span(flow->match, flow->match_end),
			  "actions", span(flow->actions, flow->actions_end), "packets", (json_int_t)flow->packets,
			  "bytes", (json_int_t)flow->bytes);

	/* dpud's counts are of now, OVS's of when it last asked. */
	static const char *const of_rule[] = { "packets", "bytes", "age_seconds", "idle_seconds" };
	for (size_t i = 0; there && i < sizeof of_rule / sizeof of_rule[0]; i++)
		json_object_set(row, of_rule[i], json_object_get(rule, of_rule[i]));
	json_object_set_new(row, "why", json_string(why_of(join, flow, rule)));
	if (strcmp(flow->offloaded, "yes") != 0)
		json_array_append(join->keeps, row);
	json_array_append_new(join->rows, row);
	json_decref(rule);
}

/* Takes text apart. */
static void add_flows(struct join *join, char *text)
{
	char *rest = NULL;

	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		struct ovs_flow flow;

		if (ovs_flow_parse(line, &flow) && (!join->only || strcmp(join->only, flow.in_port) == 0))
			add_flow(join, &flow);
	}
}

/* What no flow has met. */
static void add_rest(struct join *join)
{
	const char *key;
	json_t *list, *rule;
	size_t index;

	json_object_foreach(join->by_key, key, list)
	{
		json_array_foreach(list, index, rule)
		{
			if (strcmp(schema_text(rule, "state"), "active") != 0)
				continue;
			json_t *row = json_pack(
				"{s:s, s:s, s:s, s:O, s:O, s:O, s:O, s:O, s:O, s:O, s:s}", "ufid", "", "where", "dpud",
				"offloaded", "yes", "representor", json_object_get(rule, "representor"), "match",
				json_object_get(rule, "match"), "actions", json_object_get(rule, "actions"), "packets",
				json_object_get(rule, "packets"), "bytes", json_object_get(rule, "bytes"),
				"age_seconds", json_object_get(rule, "age_seconds"), "idle_seconds",
				json_object_get(rule, "idle_seconds"), "why", "OVS has no such flow");
			json_array_append_new(join->rows, row);
		}
	}
}

/* ---- dpud ---- */

static int fetch_rules(struct ctl *ctl, struct join *join, struct dpu_error *err)
{
	json_t *args = json_pack("{s:i, s:s, s:s*}", "limit", PAGE, "state", "any", "representor", join->only);
	int status;

	for (;;) {
		json_t *result = NULL, *row;
		size_t index;

		status = ctl_call(ctl, "eswitch.offload-flows", json_pack("{s:O}", "args", args), &result, err);
		if (status)
			break;
		json_array_foreach(json_object_get(result, "flows"), index, row)
		{
			note_rule(join, row);
		}
		json_t *next = json_object_get(result, "next");
		if (next)
			json_object_set(args, "cursor", next);
		json_decref(result);
		if (!next)
			break;
	}
	json_decref(args);
	return status;
}

static int fetch_ports(struct ctl *ctl, struct join *join, struct dpu_error *err)
{
	json_t *result = NULL, *object;
	size_t index;
	int status = ctl_call(ctl, "representor.list", json_pack("{s:i}", "limit", PAGE), &result, err);

	json_array_foreach(json_object_get(result, "objects"), index, object)
	{
		json_object_set_new(join->ports, schema_name(object), json_true());
	}
	json_decref(result);
	return status;
}

static int check_words(const struct request *request, struct join *join, struct dpu_error *err)
{
	for (size_t i = 0; i < request->count; i++) {
		if (strcmp(schema_name(request->words[i].field), "representor") != 0)
			return usage_error(
				err, schema_name(request->words[i].field),
				"does not go with --ovs, which shows all flows, or those of one representor");
		join->only = request->words[i].text;
	}
	return EXIT_OK;
}

static int fill(struct ctl *ctl, struct request *request, struct join *join, struct dpu_error *err)
{
	char *text = NULL;
	int status = check_words(request, join, err);

	if (!status)
		status = fetch_ports(ctl, join, err);
	/* OVS first: what it has just offloaded dpud has, too, a moment later. */
	if (!status)
		status = dump_flows(ctl, &text, err);
	if (!status)
		status = fetch_rules(ctl, join, err);
	if (!status) {
		add_flows(join, text);
		add_rest(join);
	}
	free(text);
	return status;
}

int ovs_join(struct ctl *ctl, struct request *request, json_t **ret_result, struct dpu_error *err)
{
	struct join join = { json_object(), json_object(), json_array(), json_array(), NULL };
	const char *action = schema_name(request->action);
	bool refused = strcmp(action, "offload-refused") == 0;
	int status = EXIT_OK;

	if (!refused && strcmp(action, "offload-flows") != 0)
		status = usage_error(err, "--ovs", "goes with offload flows and offload refused");
	if (!status)
		status = fill(ctl, request, &join, err);
	if (!status && refused)
		status = ctl_call(ctl, "eswitch.offload-refused", json_object(), ret_result, err);
	if (!status && refused)
		json_object_set(*ret_result, "kept_by_ovs", join.keeps);
	else if (!status)
		*ret_result = json_pack("{s:O}", "flows", join.rows);
	json_decref(join.ports);
	json_decref(join.by_key);
	json_decref(join.rows);
	json_decref(join.keeps);
	return status;
}
