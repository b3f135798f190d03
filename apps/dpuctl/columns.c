/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether there are the columns that -c names. */
#include <stdio.h>
#include <string.h>
#include "base/suggest.h"
#include "ctl.h"
#include "schema.h"

/* The next name of a list; false at its end. */
static bool next_name(const char **at, char *name, size_t room)
{
	size_t length = strcspn(*at, ",");

	if (!**at)
		return false;
	snprintf(name, room, "%.*s", (int)length, *at);
	*at += length + ((*at)[length] == ',');
	return true;
}

/* known: an object whose keys are the columns that there are. */
static int check(const struct ctl *ctl, json_t *known, struct dpu_error *err)
{
	const char *at = ctl->options.columns, *key;
	json_t *unused;
	char name[64];

	while (next_name(&at, name, sizeof name)) {
		struct suggestion suggestion = { .word = name };

		if (json_object_get(known, name) || strcmp(name, "all") == 0)
			continue;
		json_object_foreach(known, key, unused)
		{
			suggest(&suggestion, key);
		}
		if (suggestion.best)
			return usage_error(err, "--columns", "there is no column '%s'; did you mean '%s'?", name,
					   suggestion.best);
		return usage_error(err, "--columns", "there is no column '%s'; -c all shows all", name);
	}
	return EXIT_OK;
}

int print_check_columns(const struct ctl *ctl, const json_t *class, struct dpu_error *err)
{
	json_t *known = json_object(), *field;
	size_t index;
	int status = EXIT_OK;

	json_array_foreach(json_object_get(class, "fields"), index, field)
	{
		json_object_set_new(known, schema_name(field), json_true());
	}
	if (ctl->options.columns)
		status = check(ctl, known, err);
	json_decref(known);
	return status;
}

/* Keys of the objects in arrays, at any depth. */
static void collect(const json_t *value, bool is_row, json_t *known)
{
	const char *key;
	json_t *member;
	size_t index;

	json_object_foreach((json_t *)value, key, member)
	{
		if (is_row)
			json_object_set_new(known, key, json_true());
		collect(member, false, known);
	}
	json_array_foreach(value, index, member)
	{
		collect(member, true, known);
	}
}

int print_check_rows(const struct ctl *ctl, const json_t *result, struct dpu_error *err)
{
	json_t *known = json_object();
	int status = EXIT_OK;

	if (ctl->options.columns && ctl->options.format == FORMAT_TABLE)
		collect(result, false, known);
	/* Without rows nothing is known, and nothing wrong. */
	if (json_object_size(known) > 0)
		status = check(ctl, known, err);
	json_decref(known);
	return status;
}
