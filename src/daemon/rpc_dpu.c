/* SPDX-License-Identifier: BSD-3-Clause */
/* Methods about the DPU as a whole: versions, documents, transactions, declared state. */
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "daemon/rpc_priv.h"
#include "model/document.h"

static json_t *version_json(const struct rpc_call *call)
{
	char protocol[16];
	snprintf(protocol, sizeof protocol, "%d.%d", RPC_VERSION_MAJOR, RPC_VERSION_MINOR);
	return json_pack("{s:s, s:s, s:s, s:b}", "dpu", protocol, "software", call->rpc->options.software, "instance",
			 call->rpc->options.instance, "read_only", call->read_only);
}

void dpu_version(struct rpc_call *call)
{
	call_done(call, version_json(call));
}

/* The client says which protocol it speaks: "1", or "1.2" for what needs additions up to 1.2. */
void dpu_hello(struct rpc_call *call)
{
	const char *wanted = param_string(call, "dpu");
	struct dpu_error err = { 0 };
	char *end = NULL;
	unsigned long major = wanted ? strtoul(wanted, &end, 10) : RPC_VERSION_MAJOR, minor = 0;
	if (end && *end == '.')
		minor = strtoul(end + 1, &end, 10);
	if (wanted && (*wanted < '0' || *wanted > '9' || *end))
		error_set(&err, DPU_E_INVALID, "dpu", "must be the protocol's version, such as \"%d\"",
			  RPC_VERSION_MAJOR);
	else if (major != RPC_VERSION_MAJOR || minor > RPC_VERSION_MINOR)
		error_set(&err, DPU_E_UNSUPPORTED, "dpu",
			  "this daemon (softdpu %s) speaks version %d.%d of the protocol, not %lu.%lu; use the client "
			  "of the "
			  "same release",
			  call->rpc->options.software, RPC_VERSION_MAJOR, RPC_VERSION_MINOR, major, minor);
	if (err.code != DPU_OK)
		call_failed(call, &err);
	else
		call_done(call, version_json(call));
}

void dpu_schema(struct rpc_call *call)
{
	call_done(call, json_incref(call->rpc->schema));
}

void dpu_json_schema(struct rpc_call *call)
{
	call_done(call, model_json_schema(call->rpc->options.model));
}

void dpu_manual(struct rpc_call *call)
{
	struct model *model = call->rpc->options.model;
	const char *class_name = param_string(call, "class");
	struct dpu_error err = { 0 };
	if (class_name && !model_class(model, class_name)) {
		error_set(&err, DPU_E_NOT_FOUND, "class", "there is no such class; dpu.schema tells what there is");
		call_failed(call, &err);
		return;
	}
	char *text = class_name ? model_manual_man(model, class_name) : model_manual_markdown(model);
	call_done(call, json_pack("{s:s, s:s*}", "format", class_name ? "mdoc" : "markdown", "text", text));
	free(text);
}

void dpu_export(struct rpc_call *call)
{
	call_done(call, model_export(call->rpc->options.model));
}

void dpu_log_level(struct rpc_call *call)
{
	const char *name = param_string(call, "level");
	enum log_level level;
	struct dpu_error err = { 0 };
	if (log_level_parse(name, &level)) {
		error_set(&err, DPU_E_INVALID, "level", "must be error, warn, info or debug");
		call_failed(call, &err);
		return;
	}
	log_set_level(level);
	log_info("rpc", "log level set", "level=%s", name);
	call_done(call, json_pack("{s:s}", "level", name));
}

/* ---- transactions ---- */

static void committed(void *arg, int status, const struct dpu_error *err, json_t *diff)
{
	struct rpc_call *call = arg;
	if (status)
		call_failed(call, err);
	else
		call_done(call, json_pack("{s:b, s:O*}", "applied", true, "changes", diff));
}

/* Tries or commits, and frees. */
static void conclude(struct rpc_call *call, struct txn *txn)
{
	struct dpu_error err = { 0 };
	json_t *diff = NULL;
	if (!param_bool(call, "diff", true))
		txn_skip_diff(txn);
	if (!param_bool(call, "dry_run", false))
		txn_commit(txn, committed, call);
	else if (txn_check(txn, &diff, &err))
		call_failed(call, &err);
	else
		call_done(call, json_pack("{s:b, s:o}", "applied", false, "changes", diff));
	txn_free(txn);
}

static int parse_op(const char *name, enum change_op *ret)
{
	static const char *const names[] = {
		[CHANGE_CREATE] = "create", [CHANGE_UPDATE] = "update", [CHANGE_DELETE] = "delete", [CHANGE_SET] = "set"
	};
	for (unsigned i = 0; name && i < sizeof names / sizeof names[0]; i++) {
		if (strcmp(name, names[i]) == 0) {
			*ret = (enum change_op)i;
			return 0;
		}
	}
	return -1;
}

static const struct rpc_param change_members[] = {
	{ "op", PARAM_STRING },     { "class", PARAM_STRING, true },
	{ "tenant", PARAM_STRING }, { "name", PARAM_STRING },
	{ "fields", PARAM_OBJECT }, { "generation", PARAM_INTEGER },
	{ "cascade", PARAM_BOOL },  { 0 },
};

static const char *string_of(const json_t *change, const char *name)
{
	return json_string_value(json_object_get(change, name));
}

static int add_change(struct txn *txn, json_t *change, struct dpu_error *err)
{
	enum change_op op;

	if (!json_is_object(change))
		return error_set(err, DPU_E_INVALID, NULL, "a change is an object");
	if (parse_op(string_of(change, "op"), &op))
		return error_set(err, DPU_E_INVALID, "op", "must be create, update, set or delete");
	int rc = params_check(change_members, change, err);
	if (rc)
		return rc;
	return txn_add(txn, op, string_of(change, "class"), string_of(change, "tenant"), string_of(change, "name"),
		       json_object_get(change, "fields"),
		       (uint64_t)json_integer_value(json_object_get(change, "generation")),
		       json_is_true(json_object_get(change, "cascade")), err);
}

void dpu_transaction(struct rpc_call *call)
{
	struct dpu_error err = { 0 };
	struct txn *txn = NULL;
	int rc = txn_new(call->rpc->options.model, &txn);
	if (rc)
		rc = error_set(&err, DPU_E_LIMIT, NULL, "out of memory");
	size_t index;
	json_t *change;
	json_array_foreach(param(call, "changes"), index, change)
	{
		if (rc)
			break;
		rc = add_change(txn, change, &err);
		if (rc) {
			char place[32];
			snprintf(place, sizeof place, "changes[%zu]", index);
			error_prefix(&err, place);
		}
	}
	if (rc) {
		txn_free(txn);
		call_failed(call, &err);
		return;
	}
	conclude(call, txn);
}

void dpu_apply(struct rpc_call *call)
{
	struct dpu_error err = { 0 };
	struct txn *txn = NULL;
	int rc = document_plan(call->rpc->options.model, param(call, "document"), param_bool(call, "prune", false),
			       &txn, &err);
	if (rc)
		call_failed(call, &err);
	else
		conclude(call, txn);
}
