/* SPDX-License-Identifier: BSD-3-Clause */
/* Lookups in the schema, and words to values. */
#include "schema.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/str.h"

/* The element of an array of parts whose `key` is `value`. */
static const json_t *find(const json_t *parts, const char *key, const char *value)
{
	size_t index;
	json_t *part;
	json_array_foreach(parts, index, part)
	{
		if (strcmp(schema_text(part, key), value) == 0)
			return part;
	}
	return NULL;
}

const json_t *schema_class(const json_t *schema, const char *name)
{
	return find(json_object_get(schema, "classes"), "name", name);
}

const json_t *schema_class_by_plural(const json_t *schema, const char *plural)
{
	return find(json_object_get(schema, "classes"), "plural", plural);
}

const json_t *schema_field(const json_t *class, const char *name)
{
	return find(json_object_get(class, "fields"), "name", name);
}

const json_t *schema_action(const json_t *class, const char *name)
{
	return find(json_object_get(class, "actions"), "name", name);
}

const json_t *schema_arg(const json_t *action, const char *name)
{
	return find(json_object_get(action, "args"), "name", name);
}

const json_t *schema_class_of_action(const json_t *schema, const char *action)
{
	const json_t *found = NULL;
	size_t index;
	json_t *class;
	json_array_foreach(json_object_get(schema, "classes"), index, class)
	{
		const json_t *row = schema_action(class, action);
		if (!row || (schema_is(row, "per_object") && !schema_is(class, "singleton")))
			continue;
		if (found)
			return NULL;
		found = class;
	}
	return found;
}

const char *schema_text(const json_t *part, const char *key)
{
	const char *text = json_string_value(json_object_get(part, key));
	return text ? text : "";
}

bool schema_is(const json_t *part, const char *key)
{
	return json_is_true(json_object_get(part, key));
}

bool field_has_flag(const json_t *field, const char *flag)
{
	size_t index;
	json_t *item;
	json_array_foreach(json_object_get(field, "flags"), index, item)
	{
		const char *name = json_string_value(item);
		if (name && strcmp(name, flag) == 0)
			return true;
	}
	return false;
}

bool field_is_read_only(const json_t *field)
{
	return field_has_flag(field, "state") || field_has_flag(field, "counter") || field_has_flag(field, "gauge");
}

bool field_is_list(const json_t *field)
{
	static const char *const lists[] = { "strings", "ips", "prefixes", "refs" };
	const char *type = schema_text(field, "type");
	for (unsigned i = 0; i < sizeof lists / sizeof lists[0]; i++) {
		if (strcmp(type, lists[i]) == 0)
			return true;
	}
	return false;
}

bool field_is_number(const json_t *field)
{
	const char *type = schema_text(field, "type");
	return type[0] == 'u' && isdigit((unsigned char)type[1]);
}

/* ---- values ---- */

static json_t *bool_value(const char *word)
{
	static const char *const yes[] = { "true", "yes", "on" }, *const no[] = { "false", "no", "off" };
	for (unsigned i = 0; i < 3; i++) {
		if (strcmp(word, yes[i]) == 0)
			return json_true();
		if (strcmp(word, no[i]) == 0)
			return json_false();
	}
	return json_string(word);
}

static json_t *number_value(const char *word)
{
	char *end;
	errno = 0;
	long long value = strtoll(word, &end, 0);
	/* A leading zero is no octal number here. */
	if (word[0] == '0' && isdigit((unsigned char)word[1]))
		value = strtoll(word, &end, 10);
	if (errno || *end || !(isdigit((unsigned char)word[0]) || word[0] == '-'))
		return json_string(word);
	return json_integer(value);
}

static json_t *list_value(const char *word)
{
	json_t *list = json_array();
	for (const char *at = word; *at;) {
		size_t length = strcspn(at, ",");
		if (length > 0)
			json_array_append_new(list, json_stringn(at, length));
		at += length + (at[length] == ',');
	}
	return list;
}

json_t *field_value(const json_t *field, const char *word)
{
	if (!*word)
		return json_null();
	if (field_is_list(field))
		return list_value(word);
	if (field_is_number(field))
		return number_value(word);
	if (strcmp(schema_text(field, "type"), "bool") == 0)
		return bool_value(word);
	return json_string(word);
}

char *field_word(const json_t *value)
{
	struct text text = { 0 };
	size_t index;
	json_t *item;
	if (json_is_string(value))
		return strdup(json_string_value(value));
	if (json_is_null(value))
		return strdup("");
	if (!json_is_array(value))
		return json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(15));
	json_array_foreach(value, index, item)
	{
		CLEANUP(free_pointer) char *word = field_word(item);
		text_printf(&text, "%s%s", index ? "," : "", word ? word : "");
	}
	return text_take(&text);
}
