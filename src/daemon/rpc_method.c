/* SPDX-License-Identifier: BSD-3-Clause */
/* The tables of methods: finding one, checking what it is called with. */
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "base/suggest.h"
#include "daemon/rpc_priv.h"
#include "model/field_codec.h"

#define PARAMS(...) ((const struct rpc_param[]){ __VA_ARGS__, { 0 } })

const struct rpc_method rpc_dpu_methods[] = {
	{ "dpu.hello", PARAMS({ "dpu", PARAM_STRING }, { "client", PARAM_STRING }), false, dpu_hello },
	{ "dpu.version", PARAMS({ 0 }), false, dpu_version },
	{ "dpu.schema", PARAMS({ 0 }), false, dpu_schema },
	{ "dpu.json_schema", PARAMS({ 0 }), false, dpu_json_schema },
	{ "dpu.manual", PARAMS({ "class", PARAM_STRING }), false, dpu_manual },
	{ "dpu.export", PARAMS({ 0 }), false, dpu_export },
	{ "dpu.log_level", PARAMS({ "level", PARAM_STRING, true }), true, dpu_log_level },
	{ "dpu.transaction",
	  PARAMS({ "changes", PARAM_ARRAY, true }, { "dry_run", PARAM_BOOL }, { "diff", PARAM_BOOL }), true,
	  dpu_transaction },
	{ "dpu.apply",
	  PARAMS({ "document", PARAM_OBJECT, true }, { "prune", PARAM_BOOL }, { "dry_run", PARAM_BOOL },
		 { "diff", PARAM_BOOL }),
	  true, dpu_apply },
	{ "dpu.subscribe", PARAMS({ "classes", PARAM_ARRAY }), false, dpu_subscribe },
	{ "dpu.unsubscribe", PARAMS({ 0 }), false, dpu_unsubscribe },
	{ 0 },
};

const struct rpc_method rpc_class_methods[] = {
	{ "list",
	  PARAMS({ "tenant", PARAM_STRING }, { "labels", PARAM_ARRAY }, { "filter", PARAM_OBJECT },
		 { "observe", PARAM_BOOL }, { "limit", PARAM_INTEGER }, { "cursor", PARAM_STRING }),
	  false, object_list },
	{ "get", PARAMS({ "tenant", PARAM_STRING }, { "name", PARAM_STRING }, { "observe", PARAM_BOOL }), false,
	  object_get },
	{ "create",
	  PARAMS({ "tenant", PARAM_STRING }, { "name", PARAM_STRING }, { "fields", PARAM_OBJECT },
		 { "dry_run", PARAM_BOOL }),
	  true, object_create },
	{ "update",
	  PARAMS({ "tenant", PARAM_STRING }, { "name", PARAM_STRING }, { "fields", PARAM_OBJECT, true },
		 { "generation", PARAM_INTEGER }, { "dry_run", PARAM_BOOL }),
	  true, object_update },
	{ "delete",
	  PARAMS({ "tenant", PARAM_STRING }, { "name", PARAM_STRING, true }, { "generation", PARAM_INTEGER },
		 { "cascade", PARAM_BOOL }, { "dry_run", PARAM_BOOL }),
	  true, object_delete },
	{ 0 },
};

/* Actions' arguments are checked by the model. */
static const struct rpc_method action_method = {
	"action", PARAMS({ "tenant", PARAM_STRING }, { "name", PARAM_STRING }, { "args", PARAM_OBJECT }), false,
	object_action
};

/* ---- parameters ---- */

json_t *param(const struct rpc_call *call, const char *name)
{
	return json_object_get(call->request.params, name);
}

const char *param_string(const struct rpc_call *call, const char *name)
{
	return json_string_value(param(call, name));
}

bool param_bool(const struct rpc_call *call, const char *name, bool def)
{
	const json_t *value = param(call, name);
	return value ? json_is_true(value) : def;
}

static bool has_type(const json_t *value, enum rpc_param_type type)
{
	switch (type) {
	case PARAM_STRING:
		return json_is_string(value);
	case PARAM_INTEGER:
		return json_is_integer(value) && json_integer_value(value) >= 0;
	case PARAM_BOOL:
		return json_is_boolean(value);
	case PARAM_OBJECT:
		return json_is_object(value);
	case PARAM_ARRAY:
		return json_is_array(value);
	}
	return false;
}

static const char *type_name(enum rpc_param_type type)
{
	static const char *const names[] = { [PARAM_STRING] = "a string",
					     [PARAM_INTEGER] = "a whole number, zero or more",
					     [PARAM_BOOL] = "true or false",
					     [PARAM_OBJECT] = "an object",
					     [PARAM_ARRAY] = "an array" };
	return names[type];
}

static int refuse_unknown(const struct rpc_param *params, const char *name, struct dpu_error *err)
{
	struct text known = { 0 };
	for (const struct rpc_param *row = params; row->name; row++)
		text_printf(&known, "%s%s", row == params ? "" : ", ", row->name);
	CLEANUP(free_pointer) char *list = text_take(&known);
	return error_set(err, DPU_E_INVALID, name, "there is no such parameter; there %s %s",
			 params[0].name && params[1].name ? "are" : "is", list && list[0] ? list : "none");
}

int params_check(const struct rpc_param *params, json_t *given, struct dpu_error *err)
{
	const char *name;
	json_t *value;
	json_object_foreach(given, name, value)
	{
		const struct rpc_param *row = params;
		while (row->name && strcmp(row->name, name) != 0)
			row++;
		if (!row->name)
			return refuse_unknown(params, name, err);
		if (!has_type(value, row->type))
			return error_set(err, DPU_E_INVALID, name, "must be %s", type_name(row->type));
	}
	for (const struct rpc_param *row = params; row->name; row++) {
		if (row->required && !json_object_get(given, row->name))
			return error_set(err, DPU_E_INVALID, row->name, "is required: %s", type_name(row->type));
	}
	return 0;
}

/* ---- finding ---- */

static const struct rpc_method *find(const struct rpc_method *table, const char *name)
{
	for (; table->name; table++) {
		if (strcmp(table->name, name) == 0)
			return table;
	}
	return NULL;
}

static const struct action *find_action(const struct object_class *class, const char *name)
{
	for (const struct action *action = class->actions; action && action->name; action++) {
		if (strcmp(action->name, name) == 0)
			return action;
	}
	return NULL;
}

/* Splits "<class>.<verb>". */
static const struct rpc_method *find_class_method(struct rpc_call *call)
{
	const char *name = call->request.method, *dot = strchr(name, '.');
	char class_name[64];
	if (!dot || (size_t)(dot - name) >= sizeof class_name)
		return NULL;
	memcpy(class_name, name, (size_t)(dot - name));
	class_name[dot - name] = '\0';
	call->class = model_class(call->rpc->options.model, class_name);
	call->verb = dot + 1;
	if (!call->class)
		return NULL;
	const struct rpc_method *method = find(rpc_class_methods, call->verb);
	return method ? method : find_action(call->class, call->verb) ? &action_method : NULL;
}

/* The method that was probably meant, as text; empty when none is near. */
static void nearest(const struct rpc_call *call, char *buf, size_t size)
{
	struct suggestion whole = { .word = call->request.method }, verb = { .word = call->verb };
	buf[0] = '\0';
	for (const struct rpc_method *row = rpc_dpu_methods; row->name; row++)
		suggest(&whole, row->name);
	if (call->class) {
		for (const struct rpc_method *row = rpc_class_methods; row->name; row++)
			suggest(&verb, row->name);
		for (const struct action *row = call->class->actions; row && row->name; row++)
			suggest(&verb, row->name);
	}
	if (verb.best && (!whole.best || verb.distance < whole.distance))
		snprintf(buf, size, "%s.%s", call->class->name, verb.best);
	else if (whole.best)
		snprintf(buf, size, "%s", whole.best);
}

static void refuse_method(struct rpc_call *call)
{
	struct dpu_error err = { 0 };
	char quoted[FIELD_QUOTE], near[80];
	const char *name = field_quote(call->request.method, quoted);
	nearest(call, near, sizeof near);
	if (near[0])
		error_set(&err, DPU_E_NOT_FOUND, NULL, "there is no method %s; did you mean %s?", name, near);
	else
		error_set(&err, DPU_E_NOT_FOUND, NULL, "there is no method %s; dpu.schema tells what there is", name);
	call_refused(call, JSONRPC_METHOD_NOT_FOUND, &err);
}

static bool changes(const struct rpc_call *call, const struct rpc_method *method)
{
	if (method == &action_method)
		return !find_action(call->class, call->verb)->read_only;
	return method->changes && !param_bool(call, "dry_run", false);
}

void method_run(struct rpc_call *call)
{
	struct dpu_error err = { 0 };
	call->class = NULL;
	call->verb = NULL;
	const struct rpc_method *method = find(rpc_dpu_methods, call->request.method);
	if (!method)
		method = find_class_method(call);
	if (!method) {
		refuse_method(call);
	} else if (params_check(method->params, call->request.params, &err)) {
		call_refused(call, JSONRPC_INVALID_PARAMS, &err);
	} else if (call->read_only && changes(call, method)) {
		error_set(&err, DPU_E_DENIED, NULL, "nothing can be changed on this socket; use %s",
			  call->rpc->options.socket_path);
		call_failed(call, &err);
	} else {
		method->run(call);
	}
}
