/* SPDX-License-Identifier: BSD-3-Clause */
/* What a transaction changes, field by field, as JSON. */
#include "model/model_priv.h"

/* Name and tenant say which object it is, the UUID and generation go without saying. */
static bool row_is_shown(const struct class_state *state, const struct field *row)
{
	bool base = row < state->rows + state->base_count;

	return field_is_config(row) && !(base && (row->type == FIELD_REF || row->type == FIELD_UUID));
}

static json_t *value_of(const struct field *row, const struct object *object)
{
	if ((row->flags & FIELD_F_SECRET) && !field_is_zero(row, object))
		return json_string("***");
	return field_to_json(row, object, object->tenant);
}

/* NULL without memory. */
static json_t *change_of(const struct field *row, const struct object *old, const struct object *new)
{
	json_t *change = json_object();
	int status = 0;

	if (old)
		status |= json_object_set_new(change, "old", value_of(row, old));
	if (new)
		status |= json_object_set_new(change, "new", value_of(row, new));
	if (status == 0)
		return change;
	json_decref(change);
	return NULL;
}

static json_t *fields_of(const struct class_state *state, const struct object *old, const struct object *new)
{
	json_t *fields = json_object();
	int status = 0;

	CLASS_EACH_ROW(state, 0, row)
	{
		bool same = field_equal(row, old ? old : state->defaults, new ? new : state->defaults);
		bool naming = row == state->rows && (!old || !new);
		if (row_is_shown(state, row) && !same && !naming)
			status |= json_object_set_new_nocheck(fields, row->name, change_of(row, old, new));
	}
	if (status == 0)
		return fields;
	json_decref(fields);
	return NULL;
}

json_t *member_diff(const struct member *member)
{
	const struct class_state *state = member->node->class;
	const struct object *object = member->new ? member->new : member->old;
	const char *op = !member->old ? "create" : member->new ? "update" : "delete";
	json_t *diff = json_object();
	char uuid[UUID_TEXT];
	int status = 0;

	status |= json_object_set_new_nocheck(diff, "op", json_string_nocheck(op));
	status |= json_object_set_new_nocheck(diff, "class", json_string_nocheck(state->class->name));
	if (object->tenant)
		status |= json_object_set_new_nocheck(diff, "tenant", json_string_nocheck(object->tenant->name));
	status |= json_object_set_new_nocheck(diff, "name", json_string_nocheck(object->name));
	status |= json_object_set_new_nocheck(diff, "uuid", json_string_nocheck(uuid_format(&object->uuid, uuid)));
	status |= json_object_set_new_nocheck(diff, "fields", fields_of(state, member->old, member->new));
	if (status == 0)
		return diff;
	json_decref(diff);
	return NULL;
}

json_t *stage_diff(const struct stage *stage)
{
	json_t *list = json_array();

	for (size_t i = 0; i < stage->count; i++) {
		if (json_array_append_new(list, member_diff(stage->order[i])) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}
