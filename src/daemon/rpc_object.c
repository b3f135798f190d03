/* SPDX-License-Identifier: BSD-3-Clause */
/* Verbs that every class has, for one object: get, create, update, delete; and the class's own actions. */
#include <string.h>
#include "daemon/rpc_priv.h"

int object_find(const struct rpc_call *call, struct object **ret, struct dpu_error *err)
{
	struct model *model = call->rpc->options.model;
	const char *tenant_name = param_string(call, "tenant"), *name = param_string(call, "name");
	struct object *tenant = NULL;
	if (!name && (call->class->flags & CLASS_F_SINGLETON))
		name = call->class->name;
	if (!name)
		return error_set(err, DPU_E_INVALID, "name", "is required: a string");
	if (tenant_name && model_resolve(model, "tenant", NULL, tenant_name, &tenant, err))
		return error_errno(err->code);
	int rc = model_resolve(model, call->class->name, tenant, name, ret, err);
	if (rc)
		error_prefix(err, call->class->name);
	return rc;
}

void object_get(struct rpc_call *call)
{
	struct dpu_error err = { 0 };
	struct object *object;
	if (object_find(call, &object, &err))
		call_failed(call, &err);
	else
		call_done(call, model_object_json(call->rpc->options.model, object, param_bool(call, "observe", true)));
}

/* ---- changes ---- */

/* The object that a change of one object was about, as it is now: by the diff, or by name if nothing changed. */
static json_t *outcome(const struct rpc_call *call, json_t *diff)
{
	struct model *model = call->rpc->options.model;
	struct dpu_error err = { 0 };
	struct object *object = NULL;
	size_t index;
	json_t *change;
	json_array_foreach(diff, index, change)
	{
		const char *class_name = json_string_value(json_object_get(change, "class"));
		const char *text = json_string_value(json_object_get(change, "uuid"));
		struct uuid uuid;
		if (class_name && text && strcmp(class_name, call->class->name) == 0 && uuid_parse(text, &uuid) == 0)
			object = model_find_uuid(model, &uuid);
	}
	if (!object)
		object_find(call, &object, &err);
	return object ? model_object_json(model, object, false) : json_null();
}

static void changed(void *arg, int status, const struct dpu_error *err, json_t *diff)
{
	struct rpc_call *call = arg;
	if (status)
		call_failed(call, err);
	else if (strcmp(call->verb, "delete") == 0)
		call_done(call, json_pack("{s:O}", "changes", diff));
	else
		call_done(call, outcome(call, diff));
}

static void change(struct rpc_call *call, enum change_op op)
{
	struct dpu_error err = { 0 };
	struct txn *txn = NULL;
	json_t *diff = NULL;
	json_int_t generation = json_integer_value(param(call, "generation"));
	const char *name = param_string(call, "name");
	if (!name && (call->class->flags & CLASS_F_SINGLETON))
		name = call->class->name;
	int rc = txn_new(call->rpc->options.model, &txn);
	if (rc)
		rc = error_set(&err, DPU_E_LIMIT, NULL, "out of memory");
	else
		rc = txn_add(txn, op, call->class->name, param_string(call, "tenant"), name, param(call, "fields"),
			     (uint64_t)generation, param_bool(call, "cascade", false), &err);
	if (!rc && param_bool(call, "dry_run", false)) {
		rc = txn_check(txn, &diff, &err);
		if (!rc)
			call_done(call, json_pack("{s:b, s:o}", "applied", false, "changes", diff));
	} else if (!rc) {
		txn_commit(txn, changed, call);
	}
	txn_free(txn);
	if (rc)
		call_failed(call, &err);
}

void object_create(struct rpc_call *call)
{
	change(call, CHANGE_CREATE);
}

void object_update(struct rpc_call *call)
{
	change(call, CHANGE_UPDATE);
}

void object_delete(struct rpc_call *call)
{
	change(call, CHANGE_DELETE);
}

/* ---- actions ---- */

static void acted(void *arg, int status, json_t *result, const struct dpu_error *err)
{
	struct rpc_call *call = arg;
	if (status)
		call_failed(call, err);
	else
		call_done(call, json_incref(result));
}

void object_action(struct rpc_call *call)
{
	model_action(call->rpc->options.model, call->class->name, call->verb, param_string(call, "tenant"),
		     param_string(call, "name"), param(call, "args"), acted, call);
}
