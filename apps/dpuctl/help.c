/* SPDX-License-Identifier: BSD-3-Clause */
/* Help, from the schema and the tables of commands, verbs and options. */
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "ctl.h"
#include "schema.h"
#include "table.h"

enum { WIDTH = 100 };

/* Prints "  LEFT   text", the text wrapped and indented by column. */
static void print_entry(FILE *out, const char *left, int column, const char *text)
{
	int used = fprintf(out, "  %s", left) - (int)(strlen(left) - text_width(left));
	int at = column;
	if (used + 2 > column) {
		fputc('\n', out);
		used = 0;
	}
	fprintf(out, "%*s", column - used, "");
	while (*text) {
		size_t bytes = strcspn(text, " ");
		char word[256];
		snprintf(word, sizeof word, "%.*s", (int)bytes, text);
		int width = (int)text_width(word);
		if (at > column && at + 1 + width > WIDTH) {
			fprintf(out, "\n%*s", column, "");
			at = column;
		} else if (at > column) {
			fputc(' ', out);
			at++;
		}
		fwrite(text, 1, bytes, out);
		at += width;
		text += bytes;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

static void print_heading(const struct ctl *ctl, const char *text)
{
	bool color = ctl_color(ctl);
	fprintf(ctl->out, "\n%s%s:%s\n", color ? "\033[1m" : "", text, color ? "\033[0m" : "");
}

/* ---- overview ---- */

static void print_options(const struct ctl *ctl)
{
	for (const struct option_row *row = option_rows; row->name; row++) {
		char left[64];
		snprintf(left, sizeof left, "%c%c%s--%s%s%s", row->letter ? '-' : ' ', row->letter ? row->letter : ' ',
			 row->letter ? ", " : "  ", row->name, row->arg ? " " : "", row->arg ? row->arg : "");
		print_entry(ctl->out, left, 28, row->doc);
	}
}

static void print_classes(const struct ctl *ctl, const json_t *schema)
{
	size_t index;
	json_t *class;
	print_heading(ctl, "Classes");
	json_array_foreach(json_object_get(schema, "classes"), index, class)
	{
		print_entry(ctl->out, schema_name(class), 28, schema_text(class, "doc"));
	}
}

static int print_overview(struct ctl *ctl)
{
	struct dpu_error err = { 0 };
	const json_t *schema = ctl_schema(ctl, &err);
	FILE *out = ctl->out;
	fputs("usage: dpuctl [OPTION]... CLASS VERB [NAME] [field=value]...\n"
	      "       dpuctl [OPTION]... COMMAND [WORD]...\n"
	      "       dpuctl [OPTION]... [-f FILE]         a batch of commands; a shell when there is none\n",
	      out);
	print_heading(ctl, "Verbs of every class");
	for (const struct verb *verb = verbs; verb->name; verb++) {
		char left[64];
		snprintf(left, sizeof left, "%s %s", verb->name, verb->synopsis);
		print_entry(out, left, 28, verb->doc);
	}
	print_heading(ctl, "Commands");
	for (const struct command *command = commands; command->name; command++) {
		if (command->doc)
			print_entry(out, command->name, 28, command->doc);
	}
	if (schema)
		print_classes(ctl, schema);
	else
		fprintf(stderr, "dpuctl: %s: %s\n", err.path, err.message);
	print_heading(ctl, "Options");
	print_options(ctl);
	fputs("\nFields are written name=value, lists a,b,c. dpuctl help CLASS says which there are. An action's text "
	      "may be in\n"
	      "a file: name=@FILE; of a pcap or pcapng file the first packet is taken, or with name=@FILE:N the N-th.\n"
	      "Exit status: 0 done, 1 refused, 2 the command is wrong, 3 there is no dpud or it does not answer,\n"
	      "4 done, but an object that was changed does not work (it is said which),\n"
	      "130 interrupted while the work that was followed goes on.\n",
	      out);
	return EXIT_OK;
}

/* ---- a class ---- */

static const char *type_words(const char *type)
{
	static const char *const words[][2] = { { "bool", "true or false" },
						{ "enum", "one of" },
						{ "string", "text" },
						{ "mac", "MAC address" },
						{ "ip", "IP address" },
						{ "prefix", "address/length" },
						{ "uuid", "UUID" },
						{ "strings", "list of texts" },
						{ "ips", "list of IP addresses" },
						{ "prefixes", "list of address/length" },
						{ "refs", "list of names" },
						{ "ref", "name" } };
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		if (strcmp(words[i][0], type) == 0)
			return words[i][1];
	}
	return "number";
}

/* "number from 68 to 9216, bytes; default 1500; required". */
static char *facts(const json_t *field)
{
	struct text text = { 0 };
	const json_t *values = json_object_get(field, "values"), *def = json_object_get(field, "default");
	const json_t *min = json_object_get(field, "min"), *max = json_object_get(field, "max");
	static const char *const shown[] = { "required", "immutable", "secret", "unique", "generated" };
	size_t index;
	json_t *value;
	text_add(&text, type_words(schema_text(field, "type")));
	json_array_foreach(values, index, value)
	{
		text_printf(&text, "%s%s", index ? ", " : " ", json_string_value(value));
	}
	if (schema_text(field, "target")[0])
		text_printf(&text, " of %s", schema_text(field, "target"));
	if (field_is_number(field) && min && max)
		text_printf(&text, " from %lld to %lld", (long long)json_integer_value(min),
			    (long long)json_integer_value(max));
	if (schema_text(field, "unit")[0])
		text_printf(&text, ", %s", schema_text(field, "unit"));
	if (def && !json_is_null(def)) {
		CLEANUP(free_pointer) char *word = field_word(def);
		if (word && word[0])
			text_printf(&text, "; default %s", word);
	}
	for (unsigned i = 0; i < 5; i++) {
		if (field_has_flag(field, shown[i]))
			text_printf(&text, "; %s", shown[i]);
	}
	return text_take(&text);
}

static void print_field(FILE *out, const json_t *field)
{
	CLEANUP(free_pointer) char *more = facts(field);
	struct text text = { 0 };
	text_printf(&text, "%s (%s)", schema_text(field, "doc"), more ? more : "");
	CLEANUP(free_pointer) char *line = text_take(&text);
	print_entry(out, schema_name(field), 28, line ? line : "");
}

static void print_fields(const struct ctl *ctl, const json_t *rows, const char *heading, bool read_only)
{
	bool any = false;
	size_t index;
	json_t *field;
	json_array_foreach(rows, index, field)
	{
		if (field_is_read_only(field) != read_only)
			continue;
		if (!any)
			print_heading(ctl, heading);
		any = true;
		print_field(ctl->out, field);
	}
}

/* Creating one with what must be given. */
static void print_example(FILE *out, const json_t *class)
{
	const char *name = schema_name(class);
	size_t index;
	json_t *field;
	if (schema_is(class, "singleton")) {
		fprintf(out, "  dpuctl %s show\n", name);
		return;
	}
	bool example = schema_text(class, "example")[0];
	if (example)
		fprintf(out, "  %s", schema_text(class, "example"));
	else
		fprintf(out, "  dpuctl %s create %sNAME", name, schema_is(class, "global") ? "" : "TENANT/");
	json_array_foreach(json_object_get(class, "fields"), index, field)
	{
		if (example)
			break;
		if (!field_has_flag(field, "required") || schema_is(field, "base"))
			continue;
		fprintf(out, " %s=", schema_name(field));
		for (const char *c = schema_name(field); *c; c++)
			fputc(*c >= 'a' && *c <= 'z' ? *c - 32 : *c, out);
	}
	fprintf(out, "\n  dpuctl %s list%s\n", name, schema_is(class, "global") ? "" : " tenant=TENANT");
	fprintf(out, "  dpuctl %s show %sNAME -o yaml\n", name, schema_is(class, "global") ? "" : "TENANT/");
}

/* capture-start is called "capture start". */
static void action_words(const json_t *schema, const json_t *class, const json_t *action, char *buf, size_t size)
{
	const char *name = schema_name(action);
	bool own = schema_class_of_action(schema, name) == class;
	snprintf(buf, size, "%s%s%s", own ? "" : schema_name(class), own ? "" : " ", name);
	char *joint = own ? strpbrk(buf, "-_") : NULL;
	if (joint)
		*joint = ' ';
}

static void print_actions(const struct ctl *ctl, const json_t *schema, const json_t *class)
{
	const json_t *actions = json_object_get(class, "actions");
	size_t index;
	json_t *action;
	if (json_array_size(actions) > 0)
		print_heading(ctl, "Actions");
	json_array_foreach(actions, index, action)
	{
		char words[128], left[160];
		action_words(schema, class, action, words, sizeof words);
		snprintf(left, sizeof left, "%s%s%s", words,
			 schema_is(action, "per_object") && !schema_is(class, "singleton") ? " NAME" : "",
			 json_array_size(json_object_get(action, "args")) ? " ..." : "");
		print_entry(ctl->out, left, 28, schema_text(action, "doc"));
	}
}

static int print_class(struct ctl *ctl, const json_t *schema, const json_t *class)
{
	const json_t *fields = json_object_get(class, "fields");
	fprintf(ctl->out, "%s: %s\n", schema_name(class), schema_text(class, "doc"));
	print_fields(ctl, fields, "Fields", false);
	print_fields(ctl, fields, "State and counters", true);
	print_heading(ctl, "Verbs");
	for (const struct verb *verb = verbs; verb->name; verb++) {
		if (!schema_is(class, "singleton") || verb->for_singleton)
			print_entry(ctl->out, verb->name, 28, verb->doc);
	}
	print_actions(ctl, schema, class);
	print_heading(ctl, "Examples");
	print_example(ctl->out, class);
	return EXIT_OK;
}

static int print_action(struct ctl *ctl, const json_t *schema, const json_t *class, const json_t *action)
{
	char words[128];
	action_words(schema, class, action, words, sizeof words);
	fprintf(ctl->out, "dpuctl %s%s%s\n\n%s\n", words,
		schema_is(action, "per_object") && !schema_is(class, "singleton") ? " NAME" : "",
		json_array_size(json_object_get(action, "args")) ? " [argument=value]..." : "",
		schema_text(action, "doc"));
	print_fields(ctl, json_object_get(action, "args"), "Arguments", false);
	if (schema_text(action, "progress")[0])
		fprintf(ctl->out,
			"\nIt may take long: with wait=true a line says how far it is, and Ctrl-C leaves it running. "
			"Then\n"
			"%s says how far it is, and %s ends it.\n",
			schema_text(action, "progress"), schema_text(action, "cancel"));
	if (schema_text(action, "example")[0])
		fprintf(ctl->out, "\nExample:\n  %s\n", schema_text(action, "example"));
	return EXIT_OK;
}

static int print_part(struct ctl *ctl, const json_t *schema, const json_t *class, const char *word,
		      struct dpu_error *err)
{
	const json_t *field = schema_field(class, word), *action = schema_action(class, word);
	const struct verb *verb = verb_find(word);
	if (action)
		return print_action(ctl, schema, class, action);
	if (field) {
		CLEANUP(free_pointer) char *more = facts(field);
		fprintf(ctl->out, "%s of %s: %s\n%s\n", word, schema_name(class), schema_text(field, "doc"),
			more ? more : "");
		return EXIT_OK;
	}
	if (verb) {
		fprintf(ctl->out, "dpuctl %s %s %s\n\n%s\n", schema_name(class), verb->name, verb->synopsis, verb->doc);
		return EXIT_OK;
	}
	return usage_error(err, schema_name(class), "there is no field, verb or action '%s'; see dpuctl help %s", word,
			   schema_name(class));
}

int command_help(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err)
{
	const json_t *class = NULL;
	size_t used;
	if (count == 0)
		return print_overview(ctl);
	const struct command *command = command_find(words[0]);
	if (command && command->doc) {
		fprintf(ctl->out, "dpuctl %s %s\n\n%s\n\nExample:\n  %s\n", command->name, command->synopsis,
			command->doc, command->example);
		return EXIT_OK;
	}
	const json_t *schema = ctl_schema(ctl, err);
	if (!schema)
		return EXIT_UNREACHABLE;
	class = schema_class(schema, words[0]);
	if (!class)
		class = schema_class_by_plural(schema, words[0]);
	if (class && count == 1)
		return print_class(ctl, schema, class);
	if (class)
		return print_part(ctl, schema, class, words[1], err);
	const json_t *action = command_action(schema, words, count, &class, &used);
	if (action)
		return print_action(ctl, schema, class, action);
	return usage_error(err, NULL, "there is no command, class or action '%s'; see dpuctl help", words[0]);
}
