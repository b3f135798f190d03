/* SPDX-License-Identifier: BSD-3-Clause */
/* Results as table, JSON or YAML. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "base/str.h"
#include "ctl.h"
#include "schema.h"
#include "table.h"
#include "yaml_tree.h"

void print_value(struct ctl *ctl, const json_t *value)
{
	if (ctl->options.format == FORMAT_YAML) {
		yaml_tree_write(ctl->out, value);
		return;
	}
	json_dumpf(value, ctl->out, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
	fputc('\n', ctl->out);
}

/* Only a terminal has a width that matters. */
static unsigned terminal_width(const struct ctl *ctl)
{
	struct winsize size;
	if (ctl->out != stdout || !isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size))
		return 0;
	return size.ws_col;
}

/* ---- objects of a class ---- */

/* What a table shows unattended: what tells objects apart and how they are, not bookkeeping. */
static bool is_usual_column(const json_t *field)
{
	static const char *const bookkeeping[] = { "uuid", "generation", "labels" };
	for (unsigned i = 0; i < 3; i++) {
		if (strcmp(schema_name(field), bookkeeping[i]) == 0)
			return false;
	}
	return !field_has_flag(field, "secret") && !field_has_flag(field, "counter") &&
	       !field_has_flag(field, "detail");
}

static void add_column(const json_t **columns, size_t *count, const json_t *field)
{
	for (size_t i = 0; i < *count; i++) {
		if (columns[i] == field)
			return;
	}
	if (field)
		columns[(*count)++] = field;
}

/* By -c: names, or all. Those were checked. */
static void choose_named(const struct ctl *ctl, const json_t *class, const json_t **columns, size_t *count)
{
	const json_t *fields = json_object_get(class, "fields");
	size_t index;
	json_t *field;
	if (strcmp(ctl->options.columns, "all") == 0) {
		json_array_foreach(fields, index, field)
		{
			if (!field_has_flag(field, "secret"))
				add_column(columns, count, field);
		}
		return;
	}
	for (const char *at = ctl->options.columns; *at;) {
		size_t length = strcspn(at, ",");
		char name[64];
		snprintf(name, sizeof name, "%.*s", (int)length, at);
		add_column(columns, count, schema_field(class, name));
		at += length + (at[length] == ',');
	}
}

static void choose_usual(const json_t *class, const json_t **columns, size_t *count)
{
	size_t index;
	json_t *field;
	if (!schema_is(class, "global"))
		add_column(columns, count, schema_field(class, "tenant"));
	add_column(columns, count, schema_field(class, "name"));
	json_array_foreach(json_object_get(class, "fields"), index, field)
	{
		if (is_usual_column(field))
			add_column(columns, count, field);
	}
}

static bool is_default(const json_t *field, const json_t *value)
{
	const json_t *def = json_object_get(field, "default");
	if (!value || json_is_null(value) || json_is_false(value) ||
	    (json_is_integer(value) && !json_integer_value(value)))
		return !def || json_is_null(def) || json_equal(def, value);
	return def && json_equal(def, value);
}

/* A column says nothing when every object has the field's default. What is required or observed always says something.
 */
static bool says_nothing(const json_t *field, const json_t *objects)
{
	const char *name = schema_name(field);
	size_t index;
	json_t *object;
	if (field_has_flag(field, "required") || field_has_flag(field, "listed") || strcmp(name, "tenant") == 0)
		return false;
	if (field_is_read_only(field) && json_array_size(objects) > 0)
		return false;
	json_array_foreach(objects, index, object)
	{
		if (!is_default(field, json_object_get(object, name)))
			return false;
	}
	return true;
}

static struct table *objects_table(const struct ctl *ctl, const json_t *class, const json_t *objects)
{
	size_t fields = json_array_size(json_object_get(class, "fields")), count = 0, index;
	const json_t **columns = calloc(fields + 1, sizeof *columns);
	const char **heads = calloc(fields + 1, sizeof *heads);
	struct table *table = NULL;
	json_t *object;
	if (columns && heads) {
		if (ctl->options.columns)
			choose_named(ctl, class, columns, &count);
		else
			choose_usual(class, columns, &count);
		for (size_t i = 0; i < count; i++)
			heads[i] = schema_name(columns[i]);
		table = count > 0 ? table_new(heads, count) : NULL;
	}
	json_array_foreach(objects, index, object)
	{
		for (size_t i = 0; table && i < count; i++)
			table_add(table, human_value(columns[i], json_object_get(object, heads[i])),
				  field_is_number(columns[i]));
	}
	if (table && !ctl->options.columns) {
		table_hide_empty(table);
		for (size_t i = 0; i < count; i++) {
			if (says_nothing(columns[i], objects))
				table_hide(table, i);
		}
	}
	free(columns);
	free(heads);
	return table;
}

void print_objects(struct ctl *ctl, const json_t *class, const json_t *objects)
{
	if (ctl->options.format != FORMAT_TABLE) {
		print_value(ctl, objects);
		return;
	}
	struct table *table = objects_table(ctl, class, objects);
	if (table)
		table_print(table, ctl->out, terminal_width(ctl), ctl_color(ctl));
	table_free(table);
}

/* Those that -c names, in that order. */
static void print_named(struct ctl *ctl, const json_t *class, const json_t *object)
{
	size_t count = 0, width = 0;
	const json_t **columns = calloc(json_array_size(json_object_get(class, "fields")) + 1, sizeof *columns);

	if (!columns)
		return;
	choose_named(ctl, class, columns, &count);
	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(schema_name(columns[i]));
		width = length > width ? length : width;
	}
	for (size_t i = 0; i < count; i++) {
		CLEANUP(free_pointer)
		char *text = human_value(columns[i], json_object_get(object, schema_name(columns[i])));
		fprintf(ctl->out, "%-*s  %s\n", (int)width, schema_name(columns[i]), text ? text : "-");
	}
	free(columns);
}

static bool is_sentences(const json_t *value)
{
	size_t index;
	const json_t *item;

	json_array_foreach(value, index, item)
	{
		if (json_is_string(item) && strchr(json_string_value(item), ' '))
			return true;
	}
	return false;
}

/* One below the other: commas between them would be lost among theirs. */
static void print_sentences(struct ctl *ctl, int width, const char *name, const json_t *value)
{
	size_t index;
	const json_t *item;

	json_array_foreach(value, index, item)
	{
		CLEANUP(free_pointer) char *text = human_value(NULL, item);

		fprintf(ctl->out, "%-*s  %s\n", width, index == 0 ? name : "", text ? text : "");
	}
}

/* The fields below each other, those without a value left out. */
void print_object(struct ctl *ctl, const json_t *class, const json_t *object)
{
	size_t width = 0, index;
	json_t *field;
	const json_t *fields = json_object_get(class, "fields");
	if (ctl->options.format != FORMAT_TABLE) {
		print_value(ctl, object);
		return;
	}
	if (ctl->options.columns && strcmp(ctl->options.columns, "all") != 0) {
		print_named(ctl, class, object);
		return;
	}
	json_array_foreach(fields, index, field)
	{
		size_t length = strlen(schema_name(field));
		width = length > width ? length : width;
	}
	json_array_foreach(fields, index, field)
	{
		const json_t *value = json_object_get(object, schema_name(field));
		if (is_sentences(value)) {
			print_sentences(ctl, (int)width, schema_name(field), value);
			continue;
		}
		CLEANUP(free_pointer) char *text = human_value(field, value);
		if (value && text && strcmp(text, "-") != 0)
			fprintf(ctl->out, "%-*s  %s\n", (int)width, schema_name(field), text);
	}
}

/* ---- results of actions, whose shape only the action knows ---- */

static void print_any(struct ctl *ctl, const json_t *value, int indent);

/* All keys that the objects have, in the order in which they come. */
static json_t *keys_of(const json_t *objects)
{
	json_t *keys = json_object(), *object, *value;
	size_t index;
	const char *key;
	json_array_foreach(objects, index, object)
	{
		json_object_foreach(object, key, value)
		{
			json_object_set_new(keys, key, json_null());
		}
	}
	return keys;
}

/* By -c. What it does not name is left out; here the result says in which order columns come. */
static bool is_chosen(const struct ctl *ctl, const char *head)
{
	const char *at = ctl->options.columns;
	if (!at || strcmp(at, "all") == 0)
		return true;
	while (*at) {
		size_t length = strcspn(at, ",");
		if (strlen(head) == length && strncmp(at, head, length) == 0)
			return true;
		at += length + (at[length] == ',');
	}
	return false;
}

static void print_rows(struct ctl *ctl, const json_t *objects)
{
	json_t *keys = keys_of(objects), *object, *unused;
	const char **heads = calloc(json_object_size(keys) + 1, sizeof *heads), *key;
	size_t count = 0, index;
	json_object_foreach(keys, key, unused)
	{
		if (heads)
			heads[count++] = key;
	}
	struct table *table = count > 0 ? table_new(heads, count) : NULL;
	json_array_foreach(objects, index, object)
	{
		for (size_t i = 0; table && i < count; i++) {
			const json_t *value = json_object_get(object, heads[i]);
			table_add(table, human_value(NULL, value), json_is_number(value));
		}
	}
	if (table) {
		table_hide_empty(table);
		for (size_t i = 0; i < count; i++) {
			if (!is_chosen(ctl, heads[i]))
				table_hide(table, i);
		}
		table_print(table, ctl->out, terminal_width(ctl), ctl_color(ctl));
	}
	table_free(table);
	free(heads);
	json_decref(keys);
}

static bool is_nested(const json_t *value)
{
	return json_is_object(value) || (json_is_array(value) && json_is_object(json_array_get(value, 0)));
}

static void print_pairs(struct ctl *ctl, const json_t *object, int indent)
{
	const char *key;
	json_t *value;
	size_t width = 0;
	json_object_foreach((json_t *)object, key, value)
	{
		if (!is_nested(value) && strlen(key) > width)
			width = strlen(key);
	}
	json_object_foreach((json_t *)object, key, value)
	{
		if (is_nested(value)) {
			fprintf(ctl->out, "%*s%s:\n", indent, "", key);
			print_any(ctl, value, indent + 2);
			continue;
		}
		CLEANUP(free_pointer) char *text = human_value(NULL, value);
		fprintf(ctl->out, "%*s%-*s  %s\n", indent, "", (int)width, key, text ? text : "");
	}
}

static void print_any(struct ctl *ctl, const json_t *value, int indent)
{
	if (json_is_object(value)) {
		print_pairs(ctl, value, indent);
	} else if (json_is_array(value) && json_is_object(json_array_get(value, 0))) {
		print_rows(ctl, value);
	} else {
		CLEANUP(free_pointer) char *text = human_value(NULL, value);
		fprintf(ctl->out, "%*s%s\n", indent, "", text ? text : "");
	}
}

void print_result(struct ctl *ctl, const json_t *result)
{
	if (ctl->options.format != FORMAT_TABLE)
		print_value(ctl, result);
	else if (!json_is_null(result))
		print_any(ctl, result, 0);
}
