/* SPDX-License-Identifier: BSD-3-Clause */
/* The verbs of every class. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "ctl.h"
#include "ovs.h"
#include "schema.h"

/* A name that is a TENANT/NAME already needs no tenant beside it. */
static int need_name(const struct request *request, struct dpu_error *err)
{
	if (request->name)
		return EXIT_OK;
	return usage_error(err, schema_name(request->class), "say which one: dpuctl %s %s NAME",
			   schema_name(request->class),
			   request->verb ? request->verb->name : schema_name(request->action));
}

static char *method_name(const struct request *request, const char *verb)
{
	char *method;
	return asprintf(&method, "%s.%s", schema_name(request->class), verb) < 0 ? NULL : method;
}

/* Calls <class>.<verb>; params are stolen. */
static int call(struct ctl *ctl, const struct request *request, const char *verb, json_t *params, json_t **ret_result,
		struct dpu_error *err)
{
	char *method = method_name(request, verb);
	if (!method || !params) {
		free(method);
		json_decref(params);
		error_set(err, DPU_E_LIMIT, NULL, "out of memory");
		return EXIT_REFUSED;
	}
	int status = ctl_call(ctl, method, params, ret_result, err);
	free(method);
	return status;
}

/* ---- looking ---- */

/* Fetches all pages. */
static int fetch(struct ctl *ctl, const struct request *request, json_t *params, json_t *objects, struct dpu_error *err)
{
	for (;;) {
		json_t *result = NULL;
		int status = call(ctl, request, "list", json_deep_copy(params), &result, err);
		if (status)
			return status;
		json_array_extend(objects, json_object_get(result, "objects"));
		json_t *cursor = json_object_get(result, "cursor");
		if (cursor)
			json_object_set(params, "cursor", cursor);
		json_decref(result);
		if (!cursor)
			return EXIT_OK;
	}
}

/* Labels have a parameter of their own; everything else is a filter. A list's words are looked for one by one. */
static json_t *list_params(const struct request *request, struct dpu_error *err)
{
	json_t *filter = request_fields(request, err);
	if (!filter)
		return NULL;
	json_t *params = json_pack("{s:s*, s:O, s:i, s:b}", "tenant", request->tenant, "filter", filter, "limit", 10000,
				   "observe", true);
	json_t *labels = json_object_get(filter, "labels");
	if (json_is_array(labels))
		json_object_set(params, "labels", labels);
	json_object_del(filter, "labels");
	for (size_t i = 0; i < request->count; i++) {
		const char *name = schema_name(request->words[i].field);
		json_t *value = json_object_get(filter, name);
		if (json_array_size(value) == 1)
			json_object_set(filter, name, json_array_get(value, 0));
	}
	if (request->name)
		json_object_set_new(filter, "name", json_string(request->name));
	json_decref(filter);
	return params;
}

static int by_name(const void *a, const void *b)
{
	const json_t *left = *(json_t *const *)a, *right = *(json_t *const *)b;
	int order = strcmp(schema_text(left, "tenant"), schema_text(right, "tenant"));
	return order ? order : strcmp(schema_name(left), schema_name(right));
}

static json_t *sorted(const json_t *objects)
{
	size_t count = json_array_size(objects), index;
	json_t **items = calloc(count + 1, sizeof *items);
	json_t *result = json_array(), *object;
	if (!items)
		return result;
	json_array_foreach(objects, index, object)
	{
		items[index] = object;
	}
	qsort(items, count, sizeof *items, by_name);
	for (size_t i = 0; i < count; i++)
		json_array_append(result, items[i]);
	free(items);
	return result;
}

static int verb_list(struct ctl *ctl, struct request *request, struct dpu_error *err)
{
	json_t *params = list_params(request, err);
	if (!params)
		return EXIT_USAGE;
	if (print_check_columns(ctl, request->class, err)) {
		json_decref(params);
		return EXIT_USAGE;
	}
	json_t *objects = json_array();
	int status = fetch(ctl, request, params, objects, err);
	if (!status) {
		json_t *in_order = sorted(objects);
		print_objects(ctl, request->class, in_order);
		json_decref(in_order);
	}
	json_decref(objects);
	json_decref(params);
	return status;
}

static int verb_show(struct ctl *ctl, struct request *request, struct dpu_error *err)
{
	json_t *result = NULL;
	int status = need_name(request, err);
	if (!status)
		status = call(ctl, request, "get", request_target(request), &result, err);
	if (!status)
		status = print_check_columns(ctl, request->class, err);
	if (!status)
		print_object(ctl, request->class, result);
	json_decref(result);
	return status;
}

/* ---- changing ---- */

static int generation_of(const struct request *request, json_t *params, struct dpu_error *err)
{
	char *end;
	if (!request->generation)
		return EXIT_OK;
	long long generation = strtoll(request->generation, &end, 10);
	if (request->generation[0] < '0' || request->generation[0] > '9' || *end)
		return usage_error(err, "generation", "'%s' is no whole number", request->generation);
	json_object_set_new(params, "generation", json_integer(generation));
	return EXIT_OK;
}

/* In a batch that becomes one transaction a change is only noted. */
static int note_change(struct ctl *ctl, const struct request *request, const char *op, json_t *params)
{
	json_object_set_new(params, "op", json_string(op));
	json_object_set_new(params, "class", json_string(schema_name(request->class)));
	json_array_append_new(ctl->changes, params);
	return EXIT_OK;
}

/* Sends or notes a change; params are stolen. */
static int change(struct ctl *ctl, struct request *request, const char *op, json_t *params, struct dpu_error *err)
{
	json_t *result = NULL;
	int status = generation_of(request, params, err);
	if (status) {
		json_decref(params);
		return status;
	}
	if (ctl->changes)
		return note_change(ctl, request, op, params);
	if (ctl->options.dry_run)
		json_object_set_new(params, "dry_run", json_true());
	status = call(ctl, request, op, params, &result, err);
	if (!status && ctl->options.dry_run)
		print_changes(ctl, json_object_get(result, "changes"), false);
	else if (!status && strcmp(op, "delete") == 0 && (ctl->options.cascade || ctl->options.format != FORMAT_TABLE))
		print_changes(ctl, json_object_get(result, "changes"), true);
	else if (!status && strcmp(op, "delete") != 0 && ctl->options.format != FORMAT_TABLE)
		print_object(ctl, request->class, result);
	if (!status && !ctl->options.dry_run && strcmp(op, "delete") != 0)
		status = warn_failed_one(ctl, request->class, result);
	json_decref(result);
	return status;
}

static int verb_create(struct ctl *ctl, struct request *request, struct dpu_error *err)
{
	int status = need_name(request, err);
	if (status)
		return status;
	json_t *fields = request_fields(request, err);
	if (!fields)
		return EXIT_USAGE;
	json_t *params = request_target(request);
	json_object_set_new(params, "fields", fields);
	return change(ctl, request, "create", params, err);
}

static size_t position(const json_t *list, const json_t *item)
{
	size_t index;
	json_t *other;
	json_array_foreach(list, index, other)
	{
		if (json_equal(other, item))
			return index;
	}
	return SIZE_MAX;
}

/* Brings list to what the word says. */
static int edit_list(json_t *list, const struct request_word *word, struct dpu_error *err)
{
	json_t *items = field_value(word->field, word->text);
	size_t index;
	json_t *item;
	int status = EXIT_OK;
	json_array_foreach(items, index, item)
	{
		size_t at = position(list, item);
		if (word->op == WORD_ADD && at == SIZE_MAX)
			json_array_append(list, item);
		else if (word->op == WORD_REMOVE && at != SIZE_MAX)
			json_array_remove(list, at);
		else if (word->op == WORD_REMOVE && !status) {
			error_set(err, DPU_E_NOT_FOUND, schema_name(word->field), "there is no '%s' in it",
				  json_string_value(item) ? json_string_value(item) : "");
			status = EXIT_REFUSED;
		}
	}
	json_decref(items);
	return status;
}

/* The fields of a set command; object: as it is now, if += or -= need it. */
static int set_fields(const struct request *request, const json_t *object, json_t *fields, struct dpu_error *err)
{
	for (size_t i = 0; i < request->count; i++) {
		const struct request_word *word = &request->words[i];
		const char *name = schema_name(word->field);
		if (word->op == WORD_SET) {
			json_object_set_new(fields, name, field_value(word->field, word->text));
			continue;
		}
		if (!json_object_get(fields, name)) {
			json_t *list = json_copy(json_object_get(object, name));
			json_object_set_new(fields, name, json_is_array(list) ? json_incref(list) : json_array());
			json_decref(list);
		}
		int status = edit_list(json_object_get(fields, name), word, err);
		if (status)
			return status;
	}
	return EXIT_OK;
}

static bool edits_lists(const struct request *request)
{
	for (size_t i = 0; i < request->count; i++) {
		if (request->words[i].op != WORD_SET)
			return true;
	}
	return false;
}

/* += and -= change what is there: read, change, and write only if it has not changed meanwhile. */
static int try_set(struct ctl *ctl, struct request *request, struct dpu_error *err)
{
	json_t *object = NULL, *params = request_target(request), *fields = json_object();
	int status = edits_lists(request) ? call(ctl, request, "get", request_target(request), &object, err) : EXIT_OK;
	if (!status)
		status = set_fields(request, object, fields, err);
	if (object)
		json_object_set(params, "generation", json_object_get(object, "generation"));
	json_decref(object);
	json_object_set_new(params, "fields", fields);
	if (status) {
		json_decref(params);
		return status;
	}
	return change(ctl, request, "update", params, err);
}

static int verb_set(struct ctl *ctl, struct request *request, struct dpu_error *err)
{
	int status = need_name(request, err);
	if (!status && request->count == 0)
		status = usage_error(err, schema_name(request->class), "say what to set: name=value");
	for (unsigned attempt = 0; !status && attempt < 10; attempt++) {
		*err = (struct dpu_error){ 0 };
		status = try_set(ctl, request, err);
		if (status != EXIT_REFUSED || err->code != DPU_E_CONFLICT || request->generation ||
		    !edits_lists(request))
			return status;
		status = attempt < 9 ? EXIT_OK : status;
	}
	return status;
}

static int verb_delete(struct ctl *ctl, struct request *request, struct dpu_error *err)
{
	int status = need_name(request, err);
	if (!status && request->count > 0)
		status = usage_error(err, schema_name(request->words[0].field), "delete takes a name and no fields");
	if (status)
		return status;
	json_t *params = request_target(request);
	if (ctl->options.cascade)
		json_object_set_new(params, "cascade", json_true());
	return change(ctl, request, "delete", params, err);
}

/* ---- actions ---- */

/* Prints the result, which is stolen. */
static int finish_action(struct ctl *ctl, int status, json_t *result, struct dpu_error *err)
{
	if (!status)
		status = print_check_rows(ctl, result, err);
	if (!status)
		print_result(ctl, result);
	json_decref(result);
	return status;
}

static int run_action(struct ctl *ctl, struct request *request, struct dpu_error *err)
{
	if (ctl->changes)
		return usage_error(err, schema_name(request->action), "an action cannot be part of a transaction");
	if (schema_is(request->action, "per_object") && need_name(request, err))
		return EXIT_USAGE;
	json_t *result = NULL;
	if (ctl->options.ovs) {
		int joined = ovs_join(ctl, request, &result, err);
		return finish_action(ctl, joined, result, err);
	}
	json_t *args = request_fields(request, err);
	if (!args)
		return err->code == DPU_E_INVALID ? EXIT_USAGE : EXIT_REFUSED;
	json_t *params = schema_is(request->action, "per_object") ? request_target(request)
								  : json_pack("{s:s*}", "tenant", request->tenant);
	bool long_work = progress_wanted(request, args);
	if (long_work)
		json_object_set_new(args, "wait", json_false());
	json_object_set_new(params, "args", args);
	int status = call(ctl, request, schema_name(request->action), params, &result, err);
	if (!status && long_work) {
		json_decref(result);
		result = NULL;
		status = progress_follow(ctl, request, &result, err);
	}
	return finish_action(ctl, status, result, err);
}

int request_run(struct ctl *ctl, struct request *request, struct dpu_error *err)
{
	if (request->action)
		return run_action(ctl, request, err);
	if (ctl->changes && (request->verb->run == verb_list || request->verb->run == verb_show))
		return usage_error(err, request->verb->name, "only changes can be part of a transaction");
	return request->verb->run(ctl, request, err);
}

const struct verb verbs[] = {
	{ "list", "ls", "[field=value ...]", "The objects whose fields have these values.", true, verb_list },
	{ "show", "get", "NAME", "One object, with its state and counters.", true, verb_show },
	{ "create", "add", "NAME field=value ...", "A new object.", false, verb_create },
	{ "set", "update", "NAME field=value ...",
	  "Change fields; field= puts the default back, list+=item and list-=item change a list, generation=N refuses "
	  "if "
	  "the object is not at N any more.",
	  true, verb_set },
	{ "delete", "del", "NAME [--cascade]", "Remove an object; with --cascade also what belongs to it.", false,
	  verb_delete },
	{ 0 },
};

const struct verb *verb_find(const char *name)
{
	for (const struct verb *verb = verbs; verb->name; verb++) {
		if (strcmp(verb->name, name) == 0 || (verb->other && strcmp(verb->other, name) == 0))
			return verb;
	}
	return NULL;
}
