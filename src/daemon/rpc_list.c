/* SPDX-License-Identifier: BSD-3-Clause */
/* <class>.list: objects by tenant, labels and field values, a page at a time.
 *
 * Pages go by slot: whatever exists while all pages are fetched is listed once, whatever else happens meanwhile. */
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "daemon/rpc_priv.h"

enum { LIMIT_DEFAULT = 1000, LIMIT_MAX = 10000 };

struct listing {
	struct rpc_call *call;
	struct object *tenant;
	json_t *labels, *filter; /* borrowed; may be NULL */
	bool observe, failed;
	uint32_t after; /* slot of the last object of the page before */
	size_t limit;
	struct object **found; /* of the tenant, with the labels, after `after` */
	size_t count, room;
};

/* ---- what is wanted ---- */

static bool has_label(const struct object *object, const char *wanted)
{
	size_t length = strlen(wanted);
	for (size_t i = 0; i < object->labels.count; i++) {
		const char *label = object->labels.items[i];
		/* "key=value", or "key" with whatever value */
		if (strcmp(label, wanted) == 0 || (strncmp(label, wanted, length) == 0 && label[length] == '='))
			return true;
	}
	return false;
}

static int note(void *arg, struct object *object)
{
	struct listing *listing = arg;
	size_t index;
	json_t *label;
	if (object->slot <= listing->after)
		return 0;
	json_array_foreach(listing->labels, index, label)
	{
		if (!has_label(object, json_string_value(label)))
			return 0;
	}
	if (listing->count == listing->room) {
		size_t room = listing->room ? 2 * listing->room : 64;
		struct object **found = reallocarray(listing->found, room, sizeof *found);
		if (!found) {
			listing->failed = true;
			return 1;
		}
		listing->found = found;
		listing->room = room;
	}
	listing->found[listing->count++] = object;
	return 0;
}

static int by_slot(const void *a, const void *b)
{
	uint32_t left = (*(struct object *const *)a)->slot, right = (*(struct object *const *)b)->slot;
	return (left > right) - (left < right);
}

/* A filter's value may be the field's own, or its text form: "1500" finds 1500, "true" true. */
static bool equals(const json_t *value, const json_t *wanted)
{
	if (json_equal(value, wanted))
		return true;
	const char *text = json_string_value(wanted);
	if (!text || json_is_string(value) || json_is_array(value))
		return false;
	char *form = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
	bool same = form && strcmp(form, text) == 0;
	free(form);
	return same;
}

static bool matches(const json_t *object, const json_t *filter)
{
	const char *name;
	json_t *wanted;
	json_object_foreach((json_t *)filter, name, wanted)
	{
		const json_t *value = json_object_get(object, name);
		bool found = equals(value, wanted);
		/* Of a list, one item is enough. */
		size_t index;
		json_t *item;
		json_array_foreach(value, index, item)
		{
			found = found || equals(item, wanted);
		}
		if (!found)
			return false;
	}
	return true;
}

/* ---- parameters ---- */

json_t *schema_class(struct rpc *rpc, const char *name)
{
	size_t index;
	json_t *class;
	json_array_foreach(json_object_get(rpc->schema, "classes"), index, class)
	{
		if (strcmp(json_string_value(json_object_get(class, "name")), name) == 0)
			return class;
	}
	return NULL;
}

static json_t *schema_field(const json_t *class, const char *name)
{
	size_t index;
	json_t *field;
	json_array_foreach(json_object_get(class, "fields"), index, field)
	{
		if (strcmp(json_string_value(json_object_get(field, "name")), name) == 0)
			return field;
	}
	return NULL;
}

/* Filtering by a field that is observed observes. */
static int check_filter(struct listing *listing, struct dpu_error *err)
{
	static const char *const observed[] = { "state", "counter", "gauge" };
	const json_t *class = schema_class(listing->call->rpc, listing->call->class->name);
	const char *name;
	json_t *wanted;
	json_object_foreach(listing->filter, name, wanted)
	{
		const json_t *field = schema_field(class, name);
		if (!field) {
			error_set(err, DPU_E_NOT_FOUND, name, "%s %s has no such field",
				  str_article(listing->call->class->name), listing->call->class->name);
			error_prefix(err, "filter");
			return error_errno(err->code);
		}
		size_t index;
		json_t *flag;
		json_array_foreach(json_object_get(field, "flags"), index, flag)
		{
			for (unsigned i = 0; i < 3; i++)
				listing->observe |= strcmp(json_string_value(flag), observed[i]) == 0;
		}
	}
	return 0;
}

static int check_labels(const json_t *labels, struct dpu_error *err)
{
	size_t index;
	json_t *label;
	json_array_foreach(labels, index, label)
	{
		if (!json_is_string(label))
			return error_set(err, DPU_E_INVALID, "labels",
					 "must be an array of \"key=value\" or \"key\" strings");
	}
	return 0;
}

static int read_params(struct rpc_call *call, struct listing *ret, struct dpu_error *err)
{
	const char *tenant = param_string(call, "tenant"), *cursor = param_string(call, "cursor");
	const json_t *limit = param(call, "limit");
	*ret = (struct listing){ .call = call,
				 .labels = param(call, "labels"),
				 .filter = param(call, "filter"),
				 .observe = param_bool(call, "observe", false),
				 .limit = limit ? (size_t)json_integer_value(limit) : LIMIT_DEFAULT };
	if (ret->limit < 1 || ret->limit > LIMIT_MAX)
		return error_set(err, DPU_E_INVALID, "limit", "must be from 1 to %d", LIMIT_MAX);
	if (cursor) {
		char *end;
		unsigned long after = strtoul(cursor, &end, 10);
		if (*cursor < '0' || *cursor > '9' || *end || after > UINT32_MAX)
			return error_set(err, DPU_E_INVALID, "cursor", "must be the cursor of the page before");
		ret->after = (uint32_t)after;
	}
	if (tenant && (call->class->flags & CLASS_F_GLOBAL))
		return error_set(err, DPU_E_INVALID, "tenant", "%s %s belongs to no tenant",
				 str_article(call->class->name), call->class->name);
	if (tenant && model_resolve(call->rpc->options.model, "tenant", NULL, tenant, &ret->tenant, err))
		return error_errno(err->code);
	int rc = check_labels(ret->labels, err);
	return rc ? rc : check_filter(ret, err);
}

/* ---- the page ---- */

static json_t *page(struct listing *listing)
{
	struct model *model = listing->call->rpc->options.model;
	json_t *objects = json_array();
	size_t i = 0;
	for (; i < listing->count && json_array_size(objects) < listing->limit; i++) {
		json_t *object = model_object_json(model, listing->found[i], listing->observe);
		if (object && matches(object, listing->filter))
			json_array_append(objects, object);
		json_decref(object);
	}
	json_t *result = json_pack("{s:o}", "objects", objects);
	if (i < listing->count) {
		char cursor[16];
		snprintf(cursor, sizeof cursor, "%u", listing->found[i - 1]->slot);
		json_object_set_new(result, "cursor", json_string(cursor));
	}
	return result;
}

void object_list(struct rpc_call *call)
{
	struct listing listing;
	struct dpu_error err = { 0 };
	if (read_params(call, &listing, &err)) {
		call_failed(call, &err);
		return;
	}
	model_each(call->rpc->options.model, call->class->name, listing.tenant, note, &listing);
	if (listing.failed) {
		error_set(&err, DPU_E_LIMIT, NULL, "out of memory");
		free(listing.found);
		call_failed(call, &err);
		return;
	}
	if (listing.count > 0)
		qsort(listing.found, listing.count, sizeof(struct object *), by_slot);
	json_t *result = page(&listing);
	free(listing.found);
	call_done(call, result);
}
