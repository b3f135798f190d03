/* SPDX-License-Identifier: BSD-3-Clause */
/* Fields from text: defaults of a table, words of a command line. */
#include "model/field_codec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/str.h"

static json_t *number_from_text(const char *text)
{
	char *end;

	/* strtoll() would also take blanks and a sign. */
	if (text[0] < '0' || text[0] > '9')
		return NULL;
	errno = 0;
	long long number = strtoll(text, &end, 10);
	return errno == 0 && !*end ? json_integer(number) : NULL;
}

static json_t *bool_from_text(const char *text)
{
	if (strcmp(text, "true") == 0 || strcmp(text, "yes") == 0 || strcmp(text, "on") == 0)
		return json_true();
	if (strcmp(text, "false") == 0 || strcmp(text, "no") == 0 || strcmp(text, "off") == 0)
		return json_false();
	return NULL;
}

static json_t *list_from_text(const char *text)
{
	json_t *list = json_array();

	while (list && *text) {
		size_t length = strcspn(text, ",");
		if (json_array_append_new(list, json_stringn(text, length)) < 0) {
			json_decref(list);
			return NULL;
		}
		text += length;
		text += *text == ',';
	}
	return list;
}

int field_json_from_text(const struct field *field, const char *text, json_t **ret, struct dpu_error *err)
{
	const char *wanted = "UTF-8 text";
	json_t *value;

	if (!text[0]) {
		value = json_null();
	} else if (field->type == FIELD_BOOL) {
		value = bool_from_text(text);
		wanted = "true or false";
	} else if (field_type_is_number(field->type)) {
		value = number_from_text(text);
		wanted = "a whole number";
	} else if (field_type_is_list(field->type)) {
		value = list_from_text(text);
	} else {
		value = json_string(text);
	}
	if (!value)
		return error_set(err, DPU_E_INVALID, field->name, "expected %s", wanted);
	*ret = value;
	return 0;
}

int field_table_defaults(const struct field *table, void *base, struct dpu_error *err)
{
	const struct field_scope nowhere = { 0 };

	for (const struct field *field = table; field && field->name; field++) {
		json_t *value;

		if (!field->def)
			continue;
		int status = field_json_from_text(field, field->def, &value, err);
		if (status == 0) {
			status = field_from_json(field, value, base, base, &nowhere, err);
			json_decref(value);
		}
		if (status < 0)
			return status;
	}
	return 0;
}

void field_table_clear(const struct field *table, void *base)
{
	for (const struct field *field = table; field && field->name; field++)
		field_clear(field, base);
}
