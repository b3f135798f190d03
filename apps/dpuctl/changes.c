/* SPDX-License-Identifier: BSD-3-Clause */
/* Differences as people read them, and events. */
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "ctl.h"
#include "schema.h"

#define RED    "\033[31m"
#define GREEN  "\033[32m"
#define YELLOW "\033[33m"
#define PLAIN  "\033[0m"

static void print_line(struct ctl *ctl, char sign, const char *indent, const char *text, const char *value)
{
	const char *color = sign == '+' ? GREEN : sign == '-' ? RED : YELLOW;
	bool colored = ctl_color(ctl);
	fprintf(ctl->out, "%s%s%c %s%s%s%s\n", indent, colored ? color : "", sign, text, value ? ": " : "",
		value ? value : "", colored ? PLAIN : "");
}

static void print_fields(struct ctl *ctl, const json_t *fields, bool with_old, bool with_new)
{
	const char *name;
	json_t *field;
	json_object_foreach((json_t *)fields, name, field)
	{
		const json_t *old = json_object_get(field, "old"), *new = json_object_get(field, "new");
		CLEANUP(free_pointer) char *old_text = old ? text_clean(field_word(old)) : NULL;
		CLEANUP(free_pointer) char *new_text = new ? text_clean(field_word(new)) : NULL;
		if (with_old && old_text && old_text[0])
			print_line(ctl, '-', "    ", name, old_text);
		if (with_new && new_text && new_text[0])
			print_line(ctl, '+', "    ", name, new_text);
	}
}

static void object_name(const json_t *part, char *buf, size_t size)
{
	const char *tenant = schema_text(part, "tenant");
	snprintf(buf, size, "%s %s%s%s", schema_text(part, "class"), tenant, tenant[0] ? "/" : "", schema_name(part));
	text_clean(buf);
}

void print_changes(struct ctl *ctl, const json_t *changes, bool applied)
{
	size_t index, counts[3] = { 0 };
	json_t *change;
	if (ctl->options.format != FORMAT_TABLE) {
		print_value(ctl, changes);
		return;
	}
	json_array_foreach(changes, index, change)
	{
		const char *op = schema_text(change, "op");
		bool create = strcmp(op, "create") == 0, delete = strcmp(op, "delete") == 0;
		char name[600];
		object_name(change, name, sizeof name);
		print_line(ctl, create ? '+' : delete ? '-' : '~', "", name, NULL);
		if (!delete)
			print_fields(ctl, json_object_get(change, "fields"), !create, true);
		counts[create ? 0 : delete ? 2 : 1]++;
	}
	if (json_array_size(changes) == 0)
		fputs("nothing to change\n", ctl->out);
	else
		fprintf(ctl->out, "%s%zu created, %zu changed, %zu deleted\n", applied ? "" : "would be: ", counts[0],
			counts[1], counts[2]);
}

/* One line an event: time, what, of which object, details as name=value. */
void print_event(struct ctl *ctl, const json_t *event)
{
	const json_t *detail = json_object_get(event, "detail");
	const json_t *fields = json_object_get(detail, "fields");
	const char *notice = schema_text(event, "notice"), *name;
	char object[600];
	json_t *value;
	if (ctl->options.format != FORMAT_TABLE) {
		json_dumpf(event, ctl->out, JSON_COMPACT);
		fputc('\n', ctl->out);
		fflush(ctl->out);
		return;
	}
	object_name(event, object, sizeof object);
	fprintf(ctl->out, "%s %s %s", schema_text(event, "time"), notice[0] ? notice : schema_text(event, "kind"),
		object);
	json_object_foreach((json_t *)(fields ? fields : detail), name, value)
	{
		const json_t *shown = fields ? json_object_get(value, "new") : value;
		CLEANUP(free_pointer) char *text = shown ? text_clean(field_word(shown)) : NULL;
		if (text)
			fprintf(ctl->out, " %s=%s", name, text);
	}
	fputc('\n', ctl->out);
	fflush(ctl->out);
}
