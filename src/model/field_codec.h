/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be done with a field by its row alone: copy, compare, free, and turn from and into JSON and text.
 * `base` is the struct that the row's offset counts from. */
#pragma once

#include <jansson.h>
#include "base/error.h"
#include "model/field.h"

struct model;
struct object;

const char *field_type_name(enum field_type type); /* "u16", "prefixes", … as in the schema */
bool field_type_is_number(enum field_type type);   /* FIELD_U8 … FIELD_U64 */
bool field_type_is_list(enum field_type type);
enum field_type field_item_type(enum field_type type); /* of a list: its items' */
size_t field_size(const struct field *field);          /* of the member */
uint64_t field_limit(const struct field *field);       /* max, or the type's limit */

static inline void *field_at(const struct field *field, const void *base)
{
	return (char *)base + field->offset;
}

const struct field *field_find(const struct field *table, const char *name); /* NULL when there is none */

/* field.c. `to` holds nothing that must be freed; -ENOMEM leaves it zeroed. References compare by identity. */
int field_copy(const struct field *field, const void *from, void *to);
void field_clear(const struct field *field, void *base); /* frees, zeroes */
bool field_equal(const struct field *field, const void *a, const void *b);
bool field_is_zero(const struct field *field, const void *base);
bool field_is_empty(const struct field *field, const void *base); /* a string, list, … that is as good as none */
uint64_t field_hash(const struct field *field, const void *base, uint64_t seed);
/* The number of a FIELD_U8 … FIELD_U64, FIELD_BOOL or FIELD_ENUM. */
uint64_t field_number(const struct field *field, const void *base);

/* Where references are looked up: in the model's current view, bare names in tenant (NULL: none). */
struct field_scope {
	const struct model *model;
	const struct object *tenant;
	bool stored; /* the value is one that the object has already */
};

/* field_json.c. Replaces the member; on failure it keeps its value and err.path is the field's name (with the
 * item's index). null takes the value from defaults. */
int field_from_json(const struct field *field, const json_t *value, void *base, const void *defaults,
		    const struct field_scope *scope, struct dpu_error *err);
/* References come as names as seen from tenant. NULL when memory is short. */
json_t *field_to_json(const struct field *field, const void *base, const struct object *tenant);
/* The rules for one string value: length, control characters, UTF-8, the row's check. */
int field_check_string(const struct field *field, const char *text, size_t length, bool stored, struct dpu_error *err);
/* text in quotes, cut to a readable length between characters; buf has FIELD_QUOTE bytes. */
enum { FIELD_QUOTE = 80 };
const char *field_quote(const char *text, char *buf);

/* field_text.c. The JSON value that a user's word stands for: lists are separated by commas, "" is null. Only the
 * shape is checked; the value itself is by field_from_json(). */
int field_json_from_text(const struct field *field, const char *text, json_t **ret, struct dpu_error *err);
/* All members of a zeroed struct from the defaults of a table. */
int field_table_defaults(const struct field *table, void *base, struct dpu_error *err);
void field_table_clear(const struct field *table, void *base);
