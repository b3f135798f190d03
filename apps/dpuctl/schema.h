/* SPDX-License-Identifier: BSD-3-Clause */
/* The schema as dpud gives it (see model_schema()): looking things up, and values by the type of their field.
 *
 * Classes, fields and actions are borrowed parts of the schema's JSON. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include "base/error.h"

const json_t *schema_class(const json_t *schema, const char *name);
const json_t *schema_class_by_plural(const json_t *schema, const char *plural);
const json_t *schema_field(const json_t *class, const char *name);
const json_t *schema_action(const json_t *class, const char *name);
const json_t *schema_arg(const json_t *action, const char *name);
/* The only class that has this action of the class as a whole (or of its only object); NULL when there is none or more
 * than one. */
const json_t *schema_class_of_action(const json_t *schema, const char *action);

/* "name", "doc", "type", … of any part; "" when it has none. */
const char *schema_text(const json_t *part, const char *key);
static inline const char *schema_name(const json_t *part)
{
	return schema_text(part, "name");
}
bool schema_is(const json_t *part, const char *key); /* a boolean, e.g. "global" */
bool field_has_flag(const json_t *field, const char *flag);
bool field_is_read_only(const json_t *field); /* state, counter or gauge */
bool field_is_list(const json_t *field);
bool field_is_number(const json_t *field);

/* The JSON value that a word stands for in a field: "9000" in a number's is 9000; lists are separated by commas; an
 * empty word is null, which means the default. What does not fit the type stays a string, which dpud refuses with the
 * right sentence. New reference. */
json_t *field_value(const json_t *field, const char *word);
/* The word for a value: the inverse. malloc'd. */
char *field_word(const json_t *value);
