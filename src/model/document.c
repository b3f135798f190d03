/* SPDX-License-Identifier: BSD-3-Clause */
/* Declared state: export, and the transaction from what is to what a document says. */
#include "model/document.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "model/model_priv.h"

const char *document_key(const struct class_state *state)
{
	return state->class->flags & CLASS_F_SINGLETON ? state->class->name : state->class->plural;
}

/* ---- export ---- */

static int compare_objects(const void *a, const void *b)
{
	const struct object *left = *(struct object *const *)a, *right = *(struct object *const *)b;
	int order = left->tenant ? strcmp(left->tenant->name, right->tenant->name) : 0;

	return order ? order : strcmp(left->name, right->name);
}

static json_t *export_object(const struct class_state *state, const struct object *object)
{
	bool singleton = state->class->flags & CLASS_F_SINGLETON;
	json_t *json = json_object();

	if (object->tenant)
		json_object_set_new(json, "tenant", json_string(object->tenant->name));
	if (!singleton)
		json_object_set_new(json, "name", json_string(object->name));
	CLASS_EACH_ROW(state, 0, row)
	{
		bool base = row < state->rows + state->base_count && row->type != FIELD_STRINGS;
		/* What is required must be there even if it is zero. */
		bool needed = row->flags & FIELD_F_REQUIRED;
		if (base || !field_is_config(row) || (row->flags & FIELD_F_SECRET) ||
		    (!needed && field_equal(row, object, state->defaults)))
			continue;
		json_object_set_new(json, row->name, field_to_json(row, object, object->tenant));
	}
	return json;
}

static json_t *export_class(const struct class_state *state)
{
	CLEANUP(free_pointer) struct object **objects = calloc(state->count + 1, sizeof(*objects));
	json_t *list = json_array();
	struct node *node;
	size_t count = 0;

	if (!objects)
		return list;
	TAILQ_FOREACH(node, &state->nodes, link)
	{
		if (!node->gone)
			objects[count++] = node->object;
	}
	qsort(objects, count, sizeof(*objects), compare_objects);
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, export_object(state, objects[i]));
	return list;
}

json_t *model_export(struct model *model)
{
	struct class_state *const *ranked = model_ranked(model);
	json_t *document = json_object();

	json_object_set_new(document, "version", json_integer(DOCUMENT_VERSION));
	for (unsigned i = 0; i < model->class_count; i++) {
		json_t *list = export_class(ranked[i]);
		bool singleton = ranked[i]->class->flags & CLASS_F_SINGLETON;
		json_t *only = singleton ? json_array_get(list, 0) : NULL;
		if (only && json_object_size(only) > 0)
			json_object_set(document, document_key(ranked[i]), only);
		else if (!singleton && json_array_size(list) > 0)
			json_object_set(document, document_key(ranked[i]), list);
		json_decref(list);
	}
	return document;
}

/* ---- plan ---- */

struct plan {
	struct model *model;
	struct txn *txn;
	uint64_t epoch; /* mark of the objects that the document names */
};

/* The object that an entry of the document means, if it exists already. */
static struct node *find_entry(const struct plan *plan, const struct class_state *state, const json_t *entry)
{
	const char *name = json_string_value(json_object_get(entry, "name"));
	const char *tenant = json_string_value(json_object_get(entry, "tenant"));
	struct node *owner = NULL;

	if (state->class->flags & CLASS_F_SINGLETON)
		name = state->class->name;
	if (!name || (!class_is_global(state) && (!tenant || !(owner = model_tenant(plan->model, tenant)))))
		return NULL;
	return names_find(plan->model, state, owner, name);
}

/* Absent fields of an existing object go back to their defaults, but for what a document cannot know. */
static int add_resets(const struct class_state *state, json_t *fields)
{
	const uint32_t kept = FIELD_F_SECRET | FIELD_F_IMMUTABLE | FIELD_F_GENERATED | FIELD_F_REQUIRED;
	int status = 0;

	CLASS_EACH_ROW(state, 0, row)
	{
		if (field_is_config(row) && !(row->flags & kept) && !json_object_get(fields, row->name))
			status |= json_object_set_new(fields, row->name, json_null());
	}
	return status;
}

static int plan_entry(struct plan *plan, const struct class_state *state, const json_t *entry, struct dpu_error *err)
{
	struct node *node;
	int status = 0;

	if (!json_is_object(entry))
		return error_set(err, DPU_E_INVALID, NULL, "expected an object with fields");
	if (!(state->class->flags & CLASS_F_SINGLETON) && !json_is_string(json_object_get(entry, "name")))
		return error_set(err, DPU_E_INVALID, "name", "every %s needs a name", state->class->name);
	if (!class_is_global(state) && !json_is_string(json_object_get(entry, "tenant")))
		return error_set(err, DPU_E_INVALID, "tenant", "say whose %s it is", state->class->name);
	json_t *fields = json_copy((json_t *)entry);
	if (json_object_size(fields) != json_object_size(entry)) { /* Jansson leaves out what it has no memory for */
		json_decref(fields);
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	}
	node = find_entry(plan, state, entry);
	if (node && node->mark == plan->epoch)
		status = error_set(err, DPU_E_INVALID, "name", "the document has this %s twice", state->class->name);
	else if (node && add_resets(state, fields) < 0)
		status = error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	if (node)
		node->mark = plan->epoch;
	if (status == 0)
		status = txn_add(plan->txn, node ? CHANGE_UPDATE : CHANGE_CREATE, state->class->name, NULL, NULL,
				 fields, 0, false, err);
	json_decref(fields);
	return status;
}

static int plan_class(struct plan *plan, const struct class_state *state, const json_t *value, struct dpu_error *err)
{
	const char *key = document_key(state);
	char path[OBJECT_PATH_TEXT];
	size_t index;
	json_t *entry;

	if (state->class->flags & CLASS_F_SINGLETON) {
		int status = plan_entry(plan, state, value, err);
		if (status < 0)
			error_prefix(err, key);
		return status;
	}
	if (json_is_null(value)) /* "vnics:" with nothing below it */
		return 0;
	if (!json_is_array(value))
		return error_set(err, DPU_E_INVALID, key, "expected a list of objects");
	json_array_foreach((json_t *)value, index, entry)
	{
		int status = plan_entry(plan, state, entry, err);
		if (status < 0) {
			snprintf(path, sizeof(path), "%s[%zu]", key, index);
			error_prefix(err, path);
			return status;
		}
	}
	return 0;
}

static int plan_prune(struct plan *plan, struct dpu_error *err)
{
	struct model *model = plan->model;
	char uuid[UUID_TEXT];
	struct node *node;

	for (unsigned i = 0; i < model->class_count; i++) {
		const struct class_state *state = model->classes[i];
		if (state->class->flags & CLASS_F_SINGLETON)
			continue;
		TAILQ_FOREACH(node, &state->nodes, link)
		{
			if (node->gone || node->mark == plan->epoch)
				continue;
			int status = txn_add(plan->txn, CHANGE_DELETE, state->class->name, NULL,
					     uuid_format(&node->object->uuid, uuid), NULL, 0, false, err);
			if (status < 0)
				return status;
		}
	}
	return 0;
}

static const struct class_state *class_of_key(const struct model *model, const char *key)
{
	for (unsigned i = 0; i < model->class_count; i++) {
		if (strcmp(document_key(model->classes[i]), key) == 0)
			return model->classes[i];
	}
	return NULL;
}

static int check_layout(const struct model *model, const json_t *document, struct dpu_error *err)
{
	const json_t *version = json_object_get(document, "version");
	const char *key;
	json_t *value;

	if (!json_is_object(document))
		return error_set(err, DPU_E_INVALID, NULL, "expected an object with \"version\" and lists of objects");
	if (!json_is_integer(version) || json_integer_value(version) != DOCUMENT_VERSION)
		return error_set(err, DPU_E_INVALID, "version", "the document must say version %d, the one known here",
				 DOCUMENT_VERSION);
	json_object_foreach((json_t *)document, key, value)
	{
		if (strcmp(key, "version") != 0 && !class_of_key(model, key))
			return error_set(err, DPU_E_INVALID, key,
					 "there are no such objects; give a class in the plural");
	}
	return 0;
}

int document_plan(struct model *model, const json_t *document, bool prune, struct txn **ret, struct dpu_error *err)
{
	struct class_state *const *ranked = model_ranked(model);
	struct plan plan = { .model = model, .epoch = ++model->epoch };
	struct dpu_error local = { 0 };
	int status = check_layout(model, document, &local);

	if (status == 0 && txn_new(model, &plan.txn) < 0)
		status = error_set(&local, DPU_E_LIMIT, NULL, "out of memory");
	for (unsigned i = 0; status == 0 && i < model->class_count; i++) {
		const json_t *value = json_object_get(document, document_key(ranked[i]));
		if (value)
			status = plan_class(&plan, ranked[i], value, &local);
	}
	if (status == 0 && prune)
		status = plan_prune(&plan, &local);
	if (status < 0) {
		txn_free(plan.txn);
		if (err)
			*err = local;
		return status;
	}
	*ret = plan.txn;
	return 0;
}
