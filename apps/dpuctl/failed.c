/* SPDX-License-Identifier: BSD-3-Clause */
/* A change is done when it is durable and has been tried: what could not be made so is in the state of its object, and
 * said here and in the exit status, because nobody looks there when the command has succeeded. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "ctl.h"
#include "schema.h"

enum { LINES_MAX = 10 };

static const char *const bad_states[] = { "failed", "error", "quarantined", "opening", "waiting", NULL };

static bool has_word(const json_t *class, const char *state)
{
	const json_t *field = schema_field(class, "state");
	size_t index;
	json_t *value;

	json_array_foreach(json_object_get(field, "values"), index, value)
	{
		if (strcmp(json_string_value(value), state) == 0)
			return schema_field(class, "why");
	}
	return false;
}

/* What is opened has been tried when the change is answered; others may wait for a moment and nothing be wrong. */
static bool is_bad(const json_t *class, const char *state)
{
	return has_word(class, state) && (strcmp(state, "waiting") != 0 || has_word(class, "opening"));
}

static bool changed(const json_t *changes, const json_t *class, const json_t *object)
{
	size_t index;
	json_t *change;

	json_array_foreach(changes, index, change)
	{
		if (strcmp(schema_text(change, "class"), schema_name(class)) == 0 &&
		    (!object || (strcmp(schema_name(change), schema_name(object)) == 0 &&
				 strcmp(schema_text(change, "tenant"), schema_text(object, "tenant")) == 0)))
			return strcmp(schema_text(change, "op"), "delete") != 0;
	}
	return false;
}

/* Whatever goes wrong with the question, the change is done. */
static void look(struct ctl *ctl, const json_t *class, const char *state, const json_t *changes, unsigned *count)
{
	json_t *params = json_pack("{s:{s:s}, s:i, s:b}", "filter", "state", state, "limit", 1000, "observe", true);
	struct dpu_error ignored = { 0 };
	json_t *result = NULL, *object;
	char *method = NULL;
	size_t index;

	if (asprintf(&method, "%s.list", schema_name(class)) < 0 || ctl_call(ctl, method, params, &result, &ignored)) {
		free(method);
		return;
	}
	json_array_foreach(json_object_get(result, "objects"), index, object)
	{
		const char *tenant = schema_text(object, "tenant");
		CLEANUP(free_pointer) char *why = human_value(NULL, json_object_get(object, "why"));
		if (why && why[0] && changed(changes, class, object) && ++*count <= LINES_MAX)
			fprintf(stderr, "dpuctl: done, but %s %s%s%s is %s: %s\n", schema_name(class), tenant,
				tenant[0] ? "/" : "", schema_name(object), state, why);
	}
	json_decref(result);
	free(method);
}

int warn_failed(struct ctl *ctl, const json_t *changes)
{
	struct dpu_error ignored = { 0 };
	const json_t *schema = json_array_size(changes) ? ctl_schema(ctl, &ignored) : NULL;
	unsigned count = 0;
	size_t index;
	json_t *class;

	json_array_foreach(json_object_get(schema, "classes"), index, class)
	{
		if (!changed(changes, class, NULL))
			continue;
		for (const char *const *state = bad_states; *state; state++)
			if (is_bad(class, *state))
				look(ctl, class, *state, changes, &count);
	}
	if (count > LINES_MAX)
		fprintf(stderr, "dpuctl: and %u more\n", count - LINES_MAX);
	return count ? EXIT_NOT_IN_FORCE : EXIT_OK;
}

int warn_failed_one(struct ctl *ctl, const json_t *class, const json_t *object)
{
	json_t *changes = json_pack("[{s:s, s:s, s:s, s:s}]", "op", "update", "class", schema_name(class), "tenant",
				    schema_text(object, "tenant"), "name", schema_name(object));

	int status = warn_failed(ctl, changes);
	json_decref(changes);
	return status;
}
