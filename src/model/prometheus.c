/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters and gauges of all objects in Prometheus' text exposition format 0.0.4. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "model/model_priv.h"

static bool row_is_metric(const struct field *row)
{
	return row->flags & (FIELD_F_COUNTER | FIELD_F_GAUGE);
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), tail = strlen(end);

	return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* dpu_CLASS_FIELD[_UNIT][_total], by the naming rules: the unit once, counters end in _total. */
static void add_metric_name(struct text *text, const struct class_state *state, const struct field *row)
{
	bool total = row->flags & FIELD_F_COUNTER && !ends_with(row->name, "_total");

	text_printf(text, "dpu_%s_%s", state->class->name, row->name);
	if (row->unit && !strstr(row->name, row->unit))
		text_printf(text, "_%s", row->unit);
	if (total)
		text_add(text, "_total");
}

static void add_escaped(struct text *text, const char *string, bool quotes)
{
	for (; *string; string++) {
		if (*string == '\n')
			text_add(text, "\\n");
		else if (*string == '\\' || (quotes && *string == '"'))
			text_printf(text, "\\%c", *string);
		else
			text_add_bytes(text, string, 1);
	}
}

static void add_labels(struct text *text, const struct object *object)
{
	text_printf(text, "{class=\"%s\"", object->class->name);
	if (object->tenant) {
		text_add(text, ",tenant=\"");
		add_escaped(text, object->tenant->name, true);
		text_add(text, "\"");
	}
	text_add(text, ",name=\"");
	add_escaped(text, object->name, true);
	text_add(text, "\"}");
}

char *model_prometheus_labels(const struct object *object)
{
	struct text text = { 0 };

	if (object->tenant) {
		text_add(&text, "tenant=\"");
		add_escaped(&text, object->tenant->name, true);
		text_add(&text, "\",");
	}
	text_printf(&text, "%s=\"", object->class->name);
	add_escaped(&text, object->name, true);
	text_add(&text, "\"");
	return text_take(&text);
}

static void add_head(struct text *text, const char *name, const char *doc, bool counter)
{
	text_printf(text, "# HELP %s ", name);
	add_escaped(text, doc, false);
	text_printf(text, "\n# TYPE %s %s\n", name, counter ? "counter" : "gauge");
}

/* One family a row; samples of a family must stand together, while an object is observed once for all its rows. */
struct family {
	const struct field *row;
	char *name;
	struct text samples;
};

static void add_object(const struct class_state *state, const struct object *object, struct family *families,
		       unsigned count)
{
	CLEANUP(text_free) struct text labels = { 0 };
	struct object *copy = object_observe(state, object);

	if (!copy)
		return;
	add_labels(&labels, object);
	for (unsigned i = 0; i < count; i++)
		text_printf(&families[i].samples, "%s%s %" PRIu64 "\n", families[i].name,
			    labels.data ? labels.data : "", field_number(families[i].row, copy));
	object_observed_free(state, copy);
}

static void add_class(struct text *text, const struct class_state *state)
{
	CLEANUP(free_pointer) struct family *families = calloc(state->row_count + 1, sizeof(*families));
	unsigned count = 0;
	struct node *node;

	CLASS_EACH_ROW(state, 0, row)
	{
		struct text name = { 0 };
		if (!families || !row_is_metric(row))
			continue;
		add_metric_name(&name, state, row);
		families[count].row = row;
		families[count++].name = text_take(&name);
	}
	if (count > 0) {
		TAILQ_FOREACH(node, &state->nodes, link)
		{
			if (!node->gone)
				add_object(state, node->object, families, count);
		}
	}
	for (unsigned i = 0; i < count; i++) {
		if (families[i].name && families[i].samples.data) {
			add_head(text, families[i].name, families[i].row->doc,
				 families[i].row->flags & FIELD_F_COUNTER);
			text_add_bytes(text, families[i].samples.data, families[i].samples.length);
		}
		text->failed |= families[i].samples.failed;
		text_free(&families[i].samples);
		free(families[i].name);
	}
}

char *model_prometheus(struct model *model)
{
	struct text text = { 0 };

	if (model->class_count > 0)
		add_head(&text, "dpu_objects", "Objects that exist.", false);
	for (unsigned i = 0; i < model->class_count; i++)
		text_printf(&text, "dpu_objects{class=\"%s\"} %zu\n", model->classes[i]->class->name,
			    model->classes[i]->count);
	for (unsigned i = 0; i < model->class_count; i++)
		add_class(&text, model->classes[i]);
	return text_take(&text);
}
