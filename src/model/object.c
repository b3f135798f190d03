/* SPDX-License-Identifier: BSD-3-Clause */
/* Versions of objects: made, copied, compared, freed, named, shown. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "model/model_priv.h"

static struct object *copy_rows(const struct class_state *state, unsigned first, const struct object *from)
{
	struct object *object = calloc(1, state->class->size);

	if (!object)
		return NULL;
	object->class = state->class;
	CLASS_EACH_ROW(state, first, row)
	{
		if (field_is_config(row) && field_copy(row, from, object) < 0) {
			object_free(state, object);
			return NULL;
		}
	}
	return object;
}

struct object *object_new(const struct class_state *state)
{
	return copy_rows(state, state->base_count, state->defaults);
}

struct object *object_copy(const struct class_state *state, const struct object *from)
{
	struct object *object = copy_rows(state, 0, from);

	if (object) {
		object->generation = from->generation;
		object->slot = from->slot;
		object->runtime = from->runtime;
		object->node = from->node;
	}
	return object;
}

void object_free(const struct class_state *state, struct object *object)
{
	if (!object)
		return;
	CLASS_EACH_ROW(state, 0, row)
	{
		if (field_is_config(row))
			field_clear(row, object);
	}
	free(object);
}

bool object_equal(const struct class_state *state, const struct object *a, const struct object *b)
{
	CLASS_EACH_ROW(state, 0, row)
	{
		if (field_is_config(row) && !field_equal(row, a, b))
			return false;
	}
	return true;
}

int object_same_tenant(const struct object *object, const struct object *target, const char *field,
		       struct dpu_error *err)
{
	if (!target || uuid_equal(&target->tenant->uuid, &object->tenant->uuid))
		return 0;
	return error_set(err, DPU_E_DENIED, field, "%s %s belongs to another tenant; name one of tenant %s",
			 target->class->name, target->name, object->tenant->name);
}

const char *object_path(const struct object *object, char *buf, size_t size)
{
	const char *name = object->name ? object->name : "";
	const char *tenant = object->tenant ? object->tenant->name : "";
	int length = snprintf(buf, size, "%s/%s%s%s", object->class->name, tenant, tenant[0] ? "/" : "", name);

	if ((size_t)length < size)
		return buf;
	/* Cut: not within a character, since paths travel as JSON. buf ends in the first bytes of one, if in any. */
	size_t end = size - 1;
	while (end > 0 && ((unsigned char)buf[end - 1] & 0xc0) == 0x80)
		end--;
	if (end > 0 && (unsigned char)buf[end - 1] >= 0xc0)
		buf[end - 1] = 0;
	return buf;
}

struct object *object_observe(const struct class_state *state, const struct object *object)
{
	struct object *copy = malloc(state->class->size);

	if (!copy)
		return NULL;
	memcpy(copy, object, state->class->size);
	CLASS_EACH_ROW(state, state->base_count, row)
	{
		if (!field_is_config(row))
			memset(field_at(row, copy), 0, field_size(row));
	}
	if (state->class->observe)
		state->class->observe(state->ctx, object, copy);
	return copy;
}

void object_observed_free(const struct class_state *state, struct object *copy)
{
	CLASS_EACH_ROW(state, state->base_count, row)
	{
		if (!field_is_config(row))
			field_clear(row, copy);
	}
	free(copy);
}

static int add_observed(const struct class_state *state, const struct object *object, json_t *json)
{
	struct object *copy = object_observe(state, object);
	int status = copy ? 0 : -1;

	CLASS_EACH_ROW(state, state->base_count, row)
	{
		if (status == 0 && !field_is_config(row))
			status = json_object_set_new(json, row->name, field_to_json(row, copy, object->tenant));
	}
	if (copy)
		object_observed_free(state, copy);
	return status;
}

json_t *model_object_json(struct model *model, const struct object *object, bool observe)
{
	const struct class_state *state = object->node->class;
	json_t *json = json_object();
	int status = 0;

	CLASS_EACH_ROW(state, 0, row)
	{
		bool base = row < state->rows + state->base_count;
		if ((base || field_is_config(row)) && !(row->flags & FIELD_F_SECRET))
			status |= json_object_set_new(json, row->name, field_to_json(row, object, object->tenant));
	}
	if (status == 0 && observe)
		status = add_observed(state, object, json);
	if (status == 0)
		return json;
	json_decref(json);
	return NULL;
}
