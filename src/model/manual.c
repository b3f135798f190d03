/* SPDX-License-Identifier: BSD-3-Clause */
/* The reference manual in Markdown, and the words for a field's facts that the man pages use, too. */
#include "model/manual.h"

#include <inttypes.h>
#include <string.h>
#include "model/model_priv.h"

static const char *type_words(const struct field *field)
{
	static const char *const words[] = {
		[FIELD_BOOL] = "true or false",
		[FIELD_U8] = "number",
		[FIELD_U16] = "number",
		[FIELD_U32] = "number",
		[FIELD_U64] = "number",
		[FIELD_ENUM] = "one of",
		[FIELD_STRING] = "text",
		[FIELD_MAC] = "MAC address",
		[FIELD_IP] = "IP address",
		[FIELD_PREFIX] = "IP prefix",
		[FIELD_UUID] = "UUID",
		[FIELD_REF] = "reference to a",
		[FIELD_STRINGS] = "list of texts",
		[FIELD_IPS] = "list of IP addresses",
		[FIELD_PREFIXES] = "list of IP prefixes",
		[FIELD_REFS] = "list of references to",
	};

	return words[field->type];
}

static void add_range(struct text *text, const struct field *field)
{
	uint64_t limit = field_limit(field);

	if (field_type_is_number(field->type) && field_is_config(field))
		text_printf(text, ", %" PRIu64 " to %" PRIu64, field->min, limit);
	else if (field->type == FIELD_STRING && field->max)
		text_printf(text, ", at most %" PRIu64 " bytes", limit);
	else if (field_type_is_list(field->type) && field->max)
		text_printf(text, ", at most %" PRIu64, limit);
	if (field->unit)
		text_printf(text, "%s %s", field_type_is_number(field->type) && field_is_config(field) ? "" : ", in",
			    field->unit);
}

void manual_facts(struct text *text, const struct field *field)
{
	static const struct {
		uint32_t flag;
		const char *words;
	} flags[] = {
		{ FIELD_F_REQUIRED, "required" },  { FIELD_F_IMMUTABLE, "fixed after creation" },
		{ FIELD_F_SECRET, "never shown" }, { FIELD_F_UNIQUE, "unique" },
		{ FIELD_F_PARENT, "the owner" },   { FIELD_F_GENERATED, "generated when not given" },
		{ FIELD_F_COUNTER, "counter" },    { FIELD_F_GAUGE, "gauge" },
		{ FIELD_F_STATE, "read-only" },
	};

	text_add(text, type_words(field));
	if (field->target)
		text_printf(text, " %s", field->target);
	for (const char *const *name = field->names; name && *name; name++)
		text_printf(text, "%s %s", name == field->names ? "" : ",", *name);
	add_range(text, field);
	if (field->check_doc)
		text_printf(text, ", %s", field->check_doc);
	if (field->def)
		text_printf(text, ", default %s", field->def[0] ? field->def : "empty");
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (field->flags & flags[i].flag)
			text_printf(text, ", %s", flags[i].words);
	}
}

/* ---- Markdown ---- */

/* A cell of a table: no bars, nothing that Markdown reads as markup. */
static void add_cell(struct text *text, const char *string)
{
	for (; *string; string++) {
		if (strchr("|\\`*_<>[]#", *string))
			text_add(text, "\\");
		text_add_bytes(text, string, 1);
	}
}

static void add_row(struct text *text, const struct field *field)
{
	CLEANUP(text_free) struct text facts = { 0 };

	manual_facts(&facts, field);
	text_printf(text, "| `%s` | ", field->name);
	add_cell(text, facts.data ? facts.data : "");
	text_add(text, " | ");
	add_cell(text, field->doc);
	text_add(text, " |\n");
}

static void add_table(struct text *text, const struct field *table, const char *title, bool read_only)
{
	bool any = false;

	for (const struct field *field = table; field && field->name; field++) {
		if (field_is_config(field) == read_only)
			continue;
		if (!any)
			text_printf(text, "\n%s\n\n| Field | Kind | Meaning |\n|---|---|---|\n", title);
		any = true;
		add_row(text, field);
	}
}

static void add_action(struct text *text, const struct action *action)
{
	text_printf(text, "\n#### %s\n\n", action->name);
	add_cell(text, action->doc);
	text_printf(text, " It is %s%s.\n", action->per_object ? "asked of one object" : "asked of the class",
		    action->read_only ? " and changes nothing" : "");
	if (action->example)
		text_printf(text, "\n    %s\n", action->example);
	add_table(text, action->args, "Arguments:", false);
}

static void add_class(struct text *text, const struct class_state *state)
{
	const struct object_class *class = state->class;

	text_printf(text, "\n## %s\n\n", class->name);
	add_cell(text, class->doc);
	if (class->flags & CLASS_F_SINGLETON)
		text_add(text, " There is exactly one, which always exists.\n");
	else
		text_printf(text, " In documents: `%s`. %s\n", class->plural,
			    class->flags & CLASS_F_GLOBAL ? "Belongs to no tenant." : "Belongs to a tenant.");
	if (class->max_objects)
		text_printf(text, "At most %u exist.\n", class->max_objects);
	add_table(text, class->fields, "Configuration:", false);
	add_table(text, class->fields, "State and counters:", true);
	if (class->actions && class->actions->name)
		text_add(text, "\n### Actions\n");
	for (const struct action *action = class->actions; action && action->name; action++)
		add_action(text, action);
}

char *model_manual_markdown(const struct model *model)
{
	struct class_state *const *ranked = model_ranked(model);
	struct text text = { 0 };

	text_add(&text, "# Reference of objects\n\n"
			"Made from the object tables of dpud. Classes stand in the order of their references.\n");
	if (model->class_count > 0) {
		text_add(&text, "\n## Every object\n");
		for (unsigned i = 0, count = 0; i < model->class_count && count == 0; i++) {
			/* A class of tenants' objects has all base rows. */
			if (class_is_global(ranked[i]) && i + 1 < model->class_count)
				continue;
			text_add(&text, "\n| Field | Kind | Meaning |\n|---|---|---|\n");
			for (; count < ranked[i]->base_count; count++)
				add_row(&text, &ranked[i]->rows[count]);
		}
	}
	for (unsigned i = 0; i < model->class_count; i++)
		add_class(&text, ranked[i]);
	return text_take(&text);
}
