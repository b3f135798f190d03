/* SPDX-License-Identifier: BSD-3-Clause */
/* Man pages of classes, in mdoc. */
#include <ctype.h>
#include <string.h>
#include "model/manual.h"
#include "model/model_priv.h"

/* Of the macros' use here, not of the objects: those are as the daemon that wrote the page. */
static const char page_date[] = "November 21, 2026";

/* Text as lines of prose: nothing in it is a request or an escape. A sentence ends its line. */
static void add_prose(struct text *text, const char *string)
{
	bool start = true;

	for (const char *c = string; *c; c++) {
		if (start && (*c == '.' || *c == '\''))
			text_add(text, "\\&");
		start = false;
		if (*c == '\\') {
			text_add(text, "\\e");
		} else if (c[0] == ' ' && c > string && strchr(".!?", c[-1]) && isupper((unsigned char)c[1])) {
			text_add(text, "\n");
			start = true;
		} else {
			text_add_bytes(text, c, 1);
		}
	}
	text_add(text, "\n");
}

static void add_item(struct text *text, const struct field *field)
{
	CLEANUP(text_free) struct text facts = { 0 };

	manual_facts(&facts, field);
	text_printf(text, ".It Cm %s\n", field->name);
	add_prose(text, field->doc);
	if (facts.data) {
		facts.data[0] = (char)toupper((unsigned char)facts.data[0]);
		text_add(&facts, ".");
		add_prose(text, facts.data);
	}
}

static void add_list(struct text *text, const struct field *table, const char *section, const char *lead,
		     bool read_only)
{
	bool any = false;

	for (const struct field *field = table; field && field->name; field++) {
		if (field_is_config(field) == read_only)
			continue;
		if (!any) {
			if (section)
				text_printf(text, ".Sh %s\n", section);
			text_printf(text, "%s\n.Bl -tag -width Ds\n", lead);
		}
		any = true;
		add_item(text, field);
	}
	if (any)
		text_add(text, ".El\n");
}

static void add_example(struct text *text, const char *example)
{
	if (!example)
		return;
	text_add(text, ".Bd -literal -offset indent\n");
	add_prose(text, example);
	text_add(text, ".Ed\n");
}

static void add_actions(struct text *text, const struct action *table)
{
	if (!table || !table->name)
		return;
	text_add(text, ".Sh ACTIONS\n");
	for (const struct action *action = table; action->name; action++) {
		text_printf(text, ".Ss %s\n", action->name);
		add_prose(text, action->doc);
		text_printf(text, "It is asked of %s%s.\n", action->per_object ? "one object" : "the class",
			    action->read_only ? " and changes nothing" : "");
		add_example(text, action->example);
		add_list(text, action->args, NULL, "Arguments:", false);
	}
}

static void add_upper(struct text *text, const char *name)
{
	for (; *name; name++) {
		char c = *name == '_' ? '-' : (char)toupper((unsigned char)*name);
		text_add_bytes(text, &c, 1);
	}
}

/* What .Nd takes is a line without its full stop. */
static void add_description_line(struct text *text, const char *doc)
{
	const char *end = strstr(doc, ". ");
	size_t length = end ? (size_t)(end - doc) : strlen(doc) - 1;

	text_add(text, ".Nd ");
	text_add_bytes(text, doc, length);
	text_add(text, "\n");
}

char *model_manual_man(const struct model *model, const char *class_name)
{
	const struct class_state *state = model_class_state(model, class_name);
	struct text text = { 0 };

	if (!state)
		return NULL;
	text_printf(&text, ".Dd %s\n.Dt DPU-", page_date);
	add_upper(&text, class_name);
	text_printf(&text, " 5\n.Os\n.Sh NAME\n.Nm dpu-%s\n", class_name);
	add_description_line(&text, state->class->doc);
	text_add(&text, ".Sh DESCRIPTION\n");
	add_prose(&text, state->class->doc);
	if (state->class->flags & CLASS_F_SINGLETON)
		text_add(&text, "There is exactly one, which always exists.\n");
	else
		text_printf(&text, "In documents such objects are listed under\n.Cm %s .\n%s\n", state->class->plural,
			    class_is_global(state) ? "They belong to no tenant." : "They belong to a tenant.");
	text_add(&text, ".Pp\nEvery object has these fields:\n.Bl -tag -width Ds\n");
	for (unsigned i = 0; i < state->base_count; i++)
		add_item(&text, &state->rows[i]);
	text_add(&text, ".El\n");
	add_list(&text, state->class->fields, "CONFIGURATION", "These fields can be set:", false);
	add_list(&text, state->class->fields, "STATE", "These fields are read-only:", true);
	add_actions(&text, state->class->actions);
	text_add(&text, ".Sh SEE ALSO\n.Xr dpuctl 1 ,\n.Xr dpud 8\n");
	return text_take(&text);
}
