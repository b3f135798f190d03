/* SPDX-License-Identifier: BSD-3-Clause */
/* JSON Schema 2020-12 of objects and of documents (net.yaml). */
#include <string.h>
#include "model/model_priv.h"

/* Formats that JSON Schema knows are annotations there; patterns bind. */
static const char mac_pattern[] = "^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$";
static const char uuid_pattern[] = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$";
static const char ip_pattern[] = "^[0-9A-Fa-f:.]+$";
static const char prefix_pattern[] = "^[0-9A-Fa-f:.]+/[0-9]{1,3}$";

static json_t *text_schema(const char *pattern)
{
	return pattern ? json_pack("{s:s, s:s}", "type", "string", "pattern", pattern)
		       : json_pack("{s:s}", "type", "string");
}

static json_t *enum_schema(const struct field *field)
{
	json_t *values = json_array();

	for (const char *const *name = field->names; *name; name++)
		json_array_append_new(values, json_string(*name));
	return json_pack("{s:o}", "enum", values);
}

static json_t *scalar_schema(const struct field *field, enum field_type type)
{
	json_t *json;

	switch (type) {
	case FIELD_BOOL:
		return json_pack("{s:s}", "type", "boolean");
	case FIELD_ENUM:
		return enum_schema(field);
	case FIELD_STRING:
		json = text_schema(NULL);
		if (type == field->type) {
			/* Lengths count characters there and bytes here, so this allows no less. */
			json_object_set_new(json, "maxLength", json_integer((json_int_t)field_limit(field)));
			if (field->min)
				json_object_set_new(json, "minLength", json_integer(1));
		}
		return json;
	case FIELD_MAC:
		return text_schema(mac_pattern);
	case FIELD_IP:
		return text_schema(ip_pattern);
	case FIELD_PREFIX:
		return text_schema(prefix_pattern);
	case FIELD_UUID:
		return text_schema(uuid_pattern);
	case FIELD_REF:
		return text_schema(NULL);
	default:
		return json_pack("{s:s, s:I, s:I}", "type", "integer", "minimum", (json_int_t)field->min, "maximum",
				 (json_int_t)field_limit(field));
	}
}

/* null resets a field, so it is allowed wherever a value is not required. */
static json_t *or_null(json_t *schema)
{
	return json_pack("{s:[o, {s:s}]}", "anyOf", schema, "type", "null");
}

/* "300M" beside a number; see field.h. */
static json_t *or_size(const struct field *field, json_t *schema)
{
	if (!field->unit || strncmp(field->unit, "bytes", 5) != 0)
		return schema;
	return json_pack("{s:[o, o]}", "anyOf", schema, text_schema("^[0-9]+[KMGTP](iB)?$"));
}

static json_t *row_schema(const struct field *field, const void *defaults)
{
	json_t *json;

	if (field_type_is_list(field->type)) {
		json = json_pack("{s:s, s:o, s:b, s:I, s:I}", "type", "array", "items",
				 scalar_schema(field, field_item_type(field->type)), "uniqueItems", 1, "minItems",
				 (json_int_t)field->min, "maxItems", (json_int_t)field_limit(field));
	} else {
		json = or_size(field, scalar_schema(field, field->type));
	}
	if (!(field->flags & FIELD_F_REQUIRED))
		json = or_null(json);
	json_object_set_new(json, "description", json_string(field->doc));
	if (field->def)
		json_object_set_new(json, "default", field_default_json(field, defaults));
	if (field->flags & FIELD_F_SECRET)
		json_object_set_new(json, "writeOnly", json_true());
	return json;
}

static bool row_is_given(const struct field *row)
{
	return field_is_config(row);
}

static json_t *object_schema(const struct class_state *state)
{
	json_t *properties = json_object(), *required = json_array();
	bool singleton = state->class->flags & CLASS_F_SINGLETON;

	CLASS_EACH_ROW(state, 0, row)
	{
		if (!row_is_given(row))
			continue;
		json_object_set_new(properties, row->name, row_schema(row, state->defaults));
		if ((row->flags & FIELD_F_REQUIRED) && !singleton)
			json_array_append_new(required, json_string(row->name));
	}
	return json_pack("{s:s, s:s, s:o, s:o, s:b}", "type", "object", "description", state->class->doc, "properties",
			 properties, "required", required, "additionalProperties", 0);
}

static json_t *document_property(const struct class_state *state)
{
	json_t *reference = json_pack("{s:s+}", "$ref", "#/$defs/", state->class->name);

	if (state->class->flags & CLASS_F_SINGLETON)
		return reference;
	return json_pack("{s:s, s:o}", "type", "array", "items", reference);
}

json_t *model_json_schema(const struct model *model)
{
	struct class_state *const *ranked = model_ranked(model);
	json_t *definitions = json_object(), *properties = json_object();

	json_object_set_new(properties, "version", json_pack("{s:i}", "const", DOCUMENT_VERSION));
	for (unsigned i = 0; i < model->class_count; i++) {
		json_object_set_new(definitions, ranked[i]->class->name, object_schema(ranked[i]));
		json_object_set_new(properties, document_key(ranked[i]), document_property(ranked[i]));
	}
	return json_pack("{s:s, s:s, s:s, s:o, s:[s], s:b, s:o}", "$schema",
			 "https://json-schema.org/draft/2020-12/schema", "title", "softdpu document", "type", "object",
			 "properties", properties, "required", "version", "additionalProperties", 0, "$defs",
			 definitions);
}
