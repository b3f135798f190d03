/* SPDX-License-Identifier: BSD-3-Clause */
/* Actions: arguments decoded by their table, run, answered. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "model/model_priv.h"

typedef void action_done_fn(void *arg, int status, json_t *result, const struct dpu_error *err);

struct action_reply {
	action_done_fn *done;
	void *arg;
	const struct action *action;
	char about[OBJECT_PATH_TEXT]; /* the object, which may be gone when it answers */
};

/* What an action is called with. */
struct call {
	struct model *model;
	struct class_state *class;
	const struct action *action;
	struct object *object;
	const struct object *tenant; /* where names in arguments are looked up */
	void *args;
};

/* An action names its arguments in its errors, and not itself or what it is about. */
static void error_place(const struct action *action, const char *about, struct dpu_error *err)
{
	if (field_find(action->args, err->path))
		error_prefix(err, action->name);
	else if (!err->path[0] && about[0])
		error_prefix(err, about);
}

void action_answer(struct action_reply *reply, int status, json_t *result, const struct dpu_error *err)
{
	struct dpu_error told = { .code = DPU_E_INTERNAL, .message = "failed without a reason" };

	if (err && err->code != DPU_OK)
		told = *err;
	error_place(reply->action, reply->about, &told);
	reply->done(reply->arg, status, status < 0 ? NULL : result, status < 0 ? &told : NULL);
	json_decref(result);
	free(reply);
}

static int find_action(struct call *call, const char *class_name, const char *name, struct dpu_error *err)
{
	char quoted[FIELD_QUOTE];

	call->class = model_class_state(call->model, class_name);
	if (!call->class)
		return error_set(err, DPU_E_NOT_FOUND, NULL, "there is no class %s", field_quote(class_name, quoted));
	for (const struct action *action = call->class->class->actions; action && action->name; action++) {
		if (strcmp(action->name, name) == 0) {
			call->action = action;
			return 0;
		}
	}
	return error_set(err, DPU_E_NOT_FOUND, class_name, "there is no action %s", field_quote(name, quoted));
}

static int find_object(struct call *call, const char *tenant, const char *key, struct dpu_error *err)
{
	const char *class_name = call->class->class->name;
	struct node *owner = tenant ? model_tenant(call->model, tenant) : NULL;
	char quoted[FIELD_QUOTE];

	if (tenant && !owner)
		return error_set(err, DPU_E_NOT_FOUND, class_name, "there is no tenant %s",
				 field_quote(tenant, quoted));
	call->tenant = owner ? owner->object : NULL;
	if (!call->action->per_object)
		return key ? error_set(err, DPU_E_INVALID, class_name,
				       "the action %s is not about one object: leave the name out", call->action->name)
			   : 0;
	if (!key && (call->class->class->flags & CLASS_F_SINGLETON))
		key = class_name;
	if (!key)
		return error_set(err, DPU_E_INVALID, class_name, "the action %s is about one object: give its name",
				 call->action->name);
	int status = model_resolve(call->model, class_name, call->tenant, key, &call->object, err);
	if (status < 0)
		error_prefix(err, class_name);
	else if (call->object->tenant)
		call->tenant = call->object->tenant;
	return status;
}

static int decode_arg(struct call *call, const char *name, const json_t *value, const void *defaults,
		      struct dpu_error *err)
{
	const struct field_scope scope = { call->model, call->tenant };
	const struct field *field = field_find(call->action->args, name);

	if (!field)
		return error_set(err, DPU_E_INVALID, name, "the action has no such argument");
	return field_from_json(field, value, call->args, defaults, &scope, err);
}

static int check_args(const struct call *call, const json_t *args, struct dpu_error *err)
{
	const char *example = call->action->example;

	for (const struct field *field = call->action->args; field && field->name; field++) {
		const json_t *value = json_object_get(args, field->name);
		bool given = value && !json_is_null(value) && !field_is_empty(field, call->args);
		if ((field->flags & FIELD_F_REQUIRED) && !given)
			return error_set(err, DPU_E_INVALID, field->name, "this is required: %s%s%s", field->doc,
					 example ? " Example: " : "", example ? example : "");
	}
	return 0;
}

static int decode_args(struct call *call, const json_t *args, struct dpu_error *err)
{
	const struct action *action = call->action;
	const char *name;
	json_t *value;
	void *defaults;

	if (args && !json_is_null(args) && !json_is_object(args))
		return error_set(err, DPU_E_INVALID, NULL, "the arguments must be an object");
	if (!action->args)
		return json_object_size(args) > 0 ? error_set(err, DPU_E_INVALID, NULL, "the action takes no arguments")
						  : 0;
	call->args = calloc(1, action->args_size);
	defaults = calloc(1, action->args_size);
	int status = !call->args || !defaults ? error_set(err, DPU_E_LIMIT, NULL, "out of memory") : 0;
	if (status == 0)
		status = field_table_defaults(action->args, defaults, err);
	if (status == 0)
		status = field_table_defaults(action->args, call->args, err);
	json_object_foreach((json_t *)args, name, value)
	{
		if (status == 0)
			status = decode_arg(call, name, value, defaults, err);
	}
	if (status == 0)
		status = check_args(call, args, err);
	if (defaults)
		field_table_clear(action->args, defaults);
	free(defaults);
	return status;
}

static void about(const struct call *call, char ret[static OBJECT_PATH_TEXT])
{
	ret[0] = '\0';
	if (call->object)
		object_path(call->object, ret, OBJECT_PATH_TEXT);
}

static int call_start(const struct call *call, action_done_fn *done, void *arg, struct dpu_error *err)
{
	struct action_reply *reply = malloc(sizeof(*reply));

	if (!reply)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	*reply = (struct action_reply){ done, arg, call->action, "" };
	about(call, reply->about);
	int status = call->action->start(call->class->ctx, call->object, call->args, reply, err);
	if (status < 0)
		free(reply);
	return status;
}

static int call_run(const struct call *call, action_done_fn *done, void *arg, struct dpu_error *err)
{
	json_t *result = NULL;
	int status = call->action->run(call->class->ctx, call->object, call->args, &result, err);

	if (status < 0)
		return status;
	if (!result)
		result = json_null();
	done(arg, 0, result, NULL);
	json_decref(result);
	return 0;
}

static int call_action(const struct call *call, action_done_fn *done, void *arg, struct dpu_error *err)
{
	char path[OBJECT_PATH_TEXT];

	about(call, path); /* it may be deleted by what is done */
	int status = call->action->start ? call_start(call, done, arg, err) : call_run(call, done, arg, err);
	if (status < 0)
		error_place(call->action, path, err);
	return status;
}

void model_action(struct model *model, const char *class_name, const char *action, const char *tenant, const char *key,
		  const json_t *args, action_done_fn *done, void *arg)
{
	struct call call = { .model = model };
	struct dpu_error err = { 0 };
	int status = find_action(&call, class_name, action, &err);

	if (status == 0)
		status = find_object(&call, tenant, key, &err);
	if (status == 0) {
		status = decode_args(&call, args, &err);
		if (status < 0)
			error_prefix(&err, call.action->name);
		else
			status = call_action(&call, done, arg, &err);
	}
	if (call.args)
		field_table_clear(call.action->args, call.args);
	free(call.args);
	if (status < 0 && err.code == DPU_OK)
		error_set(&err, DPU_E_INTERNAL, action, "failed without a reason");
	if (status < 0)
		done(arg, status, NULL, &err);
}
