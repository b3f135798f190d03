/* SPDX-License-Identifier: BSD-3-Clause */
/* The classes described as JSON, from which clients make their commands, help and completion. */
#include <stdlib.h>
#include "model/model_priv.h"

static const struct {
	uint32_t flag;
	const char *name;
} flag_names[] = {
	{ FIELD_F_REQUIRED, "required" }, { FIELD_F_IMMUTABLE, "immutable" }, { FIELD_F_SECRET, "secret" },
	{ FIELD_F_STATE, "state" },       { FIELD_F_COUNTER, "counter" },     { FIELD_F_GAUGE, "gauge" },
	{ FIELD_F_UNIQUE, "unique" },     { FIELD_F_PARENT, "parent" },       { FIELD_F_GENERATED, "generated" },
	{ FIELD_F_DETAIL, "detail" },     { FIELD_F_LISTED, "listed" },
};

static void put(json_t *json, const char *key, const char *text)
{
	if (text)
		json_object_set_new(json, key, json_string(text));
}

json_t *field_default_json(const struct field *field, const void *defaults)
{
	return field->def ? field_to_json(field, defaults, NULL) : NULL;
}

static void add_range(json_t *json, const struct field *field)
{
	if (!field_type_is_number(field->type) && !field_type_is_list(field->type) && field->type != FIELD_STRING)
		return;
	json_object_set_new(json, "min", json_integer((json_int_t)field->min));
	json_object_set_new(json, "max", json_integer((json_int_t)field_limit(field)));
}

static json_t *field_schema(const struct field *field, const void *defaults, bool base)
{
	json_t *json = json_object(), *flags = json_array();

	put(json, "name", field->name);
	put(json, "doc", field->doc);
	put(json, "type", field_type_name(field->type));
	for (size_t i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++) {
		if (field->flags & flag_names[i].flag)
			json_array_append_new(flags, json_string(flag_names[i].name));
	}
	json_object_set_new(json, "flags", flags);
	if (base)
		json_object_set_new(json, "base", json_true());
	put(json, "unit", field->unit);
	if (field_is_config(field))
		add_range(json, field);
	if (field->def)
		json_object_set_new(json, "default", field_default_json(field, defaults));
	if (field->names) {
		json_t *values = json_array();
		for (const char *const *name = field->names; *name; name++)
			json_array_append_new(values, json_string(*name));
		json_object_set_new(json, "values", values);
	}
	put(json, "target", field->target);
	put(json, "format", field->check_doc);
	return json;
}

static json_t *action_schema(const struct action *action)
{
	json_t *json = json_object(), *args = json_array();
	struct dpu_error ignored;
	void *defaults = calloc(1, action->args_size + 1);

	/* Registered tables have good defaults. */
	if (defaults)
		field_table_defaults(action->args, defaults, &ignored);
	put(json, "name", action->name);
	put(json, "doc", action->doc);
	put(json, "example", action->example);
	put(json, "progress", action->progress);
	put(json, "cancel", action->cancel);
	json_object_set_new(json, "per_object", json_boolean(action->per_object));
	json_object_set_new(json, "read_only", json_boolean(action->read_only));
	for (const struct field *field = action->args; defaults && field && field->name; field++)
		json_array_append_new(args, field_schema(field, defaults, false));
	json_object_set_new(json, "args", args);
	if (defaults)
		field_table_clear(action->args, defaults);
	free(defaults);
	return json;
}

static json_t *class_schema(const struct class_state *state)
{
	const struct object_class *class = state->class;
	json_t *json = json_object(), *fields = json_array(), *actions = json_array();

	put(json, "name", class->name);
	put(json, "plural", class->plural);
	put(json, "doc", class->doc);
	put(json, "example", class->example);
	json_object_set_new(json, "global", json_boolean(class->flags & CLASS_F_GLOBAL));
	json_object_set_new(json, "singleton", json_boolean(class->flags & CLASS_F_SINGLETON));
	if (class->max_objects)
		json_object_set_new(json, "max_objects", json_integer(class->max_objects));
	CLASS_EACH_ROW(state, 0, row)
	json_array_append_new(fields, field_schema(row, state->defaults, row < state->rows + state->base_count));
	json_object_set_new(json, "fields", fields);
	for (const struct action *action = class->actions; action && action->name; action++)
		json_array_append_new(actions, action_schema(action));
	json_object_set_new(json, "actions", actions);
	return json;
}

struct class_state *const *model_ranked(const struct model *model)
{
	struct dpu_error ignored = { 0 };

	/* The order is kept in the model, but says nothing new. Without it (a target is missing, which load and lint
	 * refuse) the order of registration does. */
	if (model_rank_classes((struct model *)model, &ignored) < 0)
		return model->classes;
	return model->ranked;
}

json_t *model_schema(const struct model *model)
{
	struct class_state *const *ranked = model_ranked(model);
	json_t *json = json_object(), *classes = json_array();

	json_object_set_new(json, "protocol_version", json_integer(MODEL_PROTOCOL_VERSION));
	for (unsigned i = 0; i < model->class_count; i++)
		json_array_append_new(classes, class_schema(ranked[i]));
	json_object_set_new(json, "classes", classes);
	return json;
}
