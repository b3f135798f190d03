/* SPDX-License-Identifier: BSD-3-Clause */
/* An object's fields as the JSON text of its row. Written directly: a large transaction writes a hundred thousand. */
#include <inttypes.h>
#include <string.h>
#include "base/str.h"
#include "model/model_priv.h"
#include "model/store.h"

static void add_string(struct text *text, const char *string)
{
	text_add(text, "\"");
	for (const char *c = string; *c; c++) {
		size_t plain = strcspn(c, "\"\\");
		text_add_bytes(text, c, plain);
		c += plain;
		if (!*c)
			break;
		text_add_bytes(text, "\\", 1);
		text_add_bytes(text, c, 1);
	}
	text_add(text, "\"");
}

/* An address, prefix, MAC or UUID; what is not set is an empty text, or all zero, and becomes null. */
static void add_formatted(struct text *text, const char *formatted)
{
	if (formatted[0])
		add_string(text, formatted);
	else
		text_add(text, "null");
}

static void add_item(struct text *text, const struct field *field, enum field_type type, const void *at)
{
	const struct object *target;
	char buf[PREFIX_TEXT];

	switch (type) {
	case FIELD_BOOL:
		text_add(text, *(const bool *)at ? "true" : "false");
		break;
	case FIELD_ENUM:
		add_string(text, field->names[*(const uint8_t *)at]);
		break;
	case FIELD_STRING:
		add_formatted(text, *(char *const *)at ? *(char *const *)at : "");
		break;
	case FIELD_MAC:
		add_formatted(text, mac_is_zero(at) ? "" : mac_format(at, buf));
		break;
	case FIELD_IP:
		add_formatted(text, ip_format(at, buf));
		break;
	case FIELD_PREFIX:
		add_formatted(text, ip_prefix_format(at, buf));
		break;
	case FIELD_UUID:
		add_formatted(text, uuid_is_zero(at) ? "" : uuid_format(at, buf));
		break;
	case FIELD_REF:
		target = ((const struct ref *)at)->object;
		add_formatted(text, target ? uuid_format(&target->uuid, buf) : "");
		break;
	default:
		text_printf(text, "%" PRIu64, field_number(field, (const char *)at - field->offset));
	}
}

static void add_value(struct text *text, const struct field *field, const void *base)
{
	const struct field item = { .type = field_item_type(field->type) };
	const struct ref_list *list = field_at(field, base);

	if (!field_type_is_list(field->type)) {
		add_item(text, field, field->type, list);
		return;
	}
	text_add(text, "[");
	for (size_t i = 0; i < list->count; i++) {
		text_add(text, i ? "," : "");
		add_item(text, field, item.type, (const char *)list->items + i * field_size(&item));
	}
	text_add(text, "]");
}

void store_fields_write(const struct class_state *state, const struct object *object, struct text *text)
{
	const char *separator = "{";

	CLASS_EACH_ROW(state, 0, row)
	{
		bool own_column = row < state->rows + state->base_count && row->type != FIELD_STRINGS;
		/* What is not set and has no default need not be said. What has one must: the default may change. */
		bool nothing = !row->def && !(row->flags & FIELD_F_REQUIRED) && field_is_zero(row, object);
		if (!field_is_config(row) || own_column || nothing)
			continue;
		text_add(text, separator);
		text_add(text, "\"");
		text_add(text, row->name);
		text_add(text, "\":");
		add_value(text, row, object);
		separator = ",";
	}
	text_add(text, separator[0] == '{' ? "{}" : "}");
}
