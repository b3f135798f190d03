/* SPDX-License-Identifier: BSD-3-Clause */
/* Fields from and into JSON, with errors that say what would be right. */
#include "model/field_codec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "model/model_priv.h"

/* One decoded value of any scalar type. */
union item {
	bool boolean;
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;
	char *string;
	struct mac_addr mac;
	struct ip_addr ip;
	struct ip_prefix prefix;
	struct uuid uuid;
	struct ref ref;
};

const char *field_quote(const char *text, char *buf)
{
	size_t length = strlen(text), room = FIELD_QUOTE - sizeof("\"...\"");

	if (length > room) {
		length = room;
		while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
			length--;
	}
	sprintf(buf, "\"%.*s%s\"", (int)length, text, text[length] ? "..." : "");
	return buf;
}

static const char *kind_of(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "a number";
	case JSON_REAL:
		return "a fraction";
	case JSON_NULL:
		return "null";
	default:
		return "true or false";
	}
}

static int wrong_kind(const char *wanted, const json_t *value, struct dpu_error *err)
{
	return error_set(err, DPU_E_INVALID, NULL, "expected %s, got %s", wanted, kind_of(value));
}

static int out_of_memory(struct dpu_error *err)
{
	return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
}

static bool is_in_bytes(const struct field *field)
{
	return field->unit && strncmp(field->unit, "bytes", 5) == 0;
}

static int no_number(const struct field *field, const json_t *value, uint64_t limit, struct dpu_error *err)
{
	const char *unit = field->unit ? field->unit : "", *gap = field->unit ? " " : "";
	bool large = is_in_bytes(field) && limit >= 1 << 20;
	const char *units = large ? ", alone or with K, M, G, T or P (powers of 1024: 64K, 10GiB)" : "";
	char quoted[FIELD_QUOTE];

	if (json_is_string(value))
		return error_set(err, DPU_E_INVALID, NULL,
				 "%s is not a whole number%s: give %" PRIu64 " to %" PRIu64 "%s%s",
				 field_quote(json_string_value(value), quoted), units, field->min, limit, gap, unit);
	return error_set(err, DPU_E_INVALID, NULL,
			 "expected a whole number from %" PRIu64 " to %" PRIu64 "%s%s, got %s", field->min, limit, gap,
			 unit, kind_of(value));
}

/* Sizes come with a unit, too: "300M" and "300MiB" are 300 × 1024 × 1024 bytes. */
static bool number_of_bytes(const struct field *field, const json_t *value, json_int_t *ret)
{
	static const char units[] = "KMGTP";
	const char *text = json_is_string(value) ? json_string_value(value) : "", *unit;
	json_int_t number;
	char *end;

	if (!is_in_bytes(field) || text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	number = strtoll(text, &end, 10);
	unit = *end ? strchr(units, *end) : NULL;
	if (errno || !unit || (end[1] && strcmp(end + 1, "iB") != 0))
		return false;
	unsigned shift = 10 * (unsigned)(unit - units + 1);
	if (number > (INT64_MAX >> shift))
		return false;
	*ret = number << shift;
	return true;
}

static int number_from_json(const struct field *field, enum field_type type, const json_t *value, union item *ret,
			    struct dpu_error *err)
{
	uint64_t limit = field_limit(field);
	json_int_t number = json_integer_value(value);

	if (!json_is_integer(value) && !number_of_bytes(field, value, &number))
		return no_number(field, value, limit, err);
	if (number < 0 || (uint64_t)number < field->min || (uint64_t)number > limit)
		return error_set(err, DPU_E_INVALID, NULL,
				 "%" JSON_INTEGER_FORMAT " is out of range: give %" PRIu64 " to %" PRIu64 "%s%s",
				 number, field->min, limit, field->unit ? " " : "", field->unit ? field->unit : "");
	switch (type) {
	case FIELD_U8:
		ret->u8 = (uint8_t)number;
		break;
	case FIELD_U16:
		ret->u16 = (uint16_t)number;
		break;
	case FIELD_U32:
		ret->u32 = (uint32_t)number;
		break;
	default:
		ret->u64 = (uint64_t)number;
	}
	return 0;
}

static int enum_from_json(const struct field *field, const json_t *value, union item *ret, struct dpu_error *err)
{
	CLEANUP(text_free) struct text names = { 0 };
	char quoted[FIELD_QUOTE];

	for (uint8_t i = 0; field->names[i]; i++) {
		if (json_is_string(value) && strcmp(json_string_value(value), field->names[i]) == 0) {
			ret->u8 = i;
			return 0;
		}
		text_printf(&names, "%s%s", i ? ", " : "", field->names[i]);
	}
	if (!json_is_string(value))
		return error_set(err, DPU_E_INVALID, NULL, "expected one of %s, got %s", names.data, kind_of(value));
	return error_set(err, DPU_E_INVALID, NULL, "%s is not a choice here: give one of %s",
			 field_quote(json_string_value(value), quoted), names.data);
}

/* The bytes of one string of a list; the row's max counts items there. */
static uint64_t string_limit(const struct field *field)
{
	return field->type == FIELD_STRING ? field_limit(field) : FIELD_STRING_MAX;
}

/* ASCII's, and those from U+0080 to U+009F, which terminals obey as well; 0 for all others. */
static unsigned control_character(const char *at)
{
	unsigned char first = (unsigned char)at[0], second = first ? (unsigned char)at[1] : 0;

	if (first == 0xc2 && second >= 0x80 && second < 0xa0)
		return second;
	return first < 0x20 || first == 0x7f ? first : 0;
}

int field_check_string(const struct field *field, const char *text, size_t length, bool stored, struct dpu_error *err)
{
	bool (*check)(const char *) = stored && field->check_stored ? field->check_stored : field->check;
	uint64_t min = field->type == FIELD_STRING ? field->min : 0;
	char quoted[FIELD_QUOTE];

	if (strlen(text) != length)
		return error_set(err, DPU_E_INVALID, NULL, "the text contains a zero byte; leave it out");
	if (length > string_limit(field))
		return error_set(err, DPU_E_INVALID, NULL, "the text has %zu bytes: at most %" PRIu64 " are allowed",
				 length, string_limit(field));
	if (length < min)
		return error_set(err, DPU_E_INVALID, NULL, "the text has %zu bytes: at least %" PRIu64 " are needed",
				 length, min);
	for (const char *c = text; *c; c++) {
		if (control_character(c))
			return error_set(err, DPU_E_INVALID, NULL,
					 "the text contains the control character 0x%02x; leave it out",
					 control_character(c));
	}
	if (check && !check(text))
		return error_set(err, DPU_E_INVALID, NULL, "%s is not valid: it %s",
				 field->flags & FIELD_F_SECRET ? "this" : field_quote(text, quoted), field->check_doc);
	return 0;
}

static int string_from_json(const struct field *field, const json_t *value, bool stored, union item *ret,
			    struct dpu_error *err)
{
	const char *text = json_string_value(value);

	if (!text)
		return wrong_kind("a string", value, err);
	/* An empty string says "not set", which null says, too: there is one such state, not two. */
	if (!text[0] && field->type == FIELD_STRINGS)
		return error_set(err, DPU_E_INVALID, NULL, "the text is empty; leave it out");
	if (!text[0]) {
		ret->string = NULL;
		return 0;
	}
	int status = field_check_string(field, text, json_string_length(value), stored, err);
	if (status < 0)
		return status;
	ret->string = strdup(text);
	return ret->string ? 0 : out_of_memory(err);
}

static int mac_from_json(const char *text, union item *ret, struct dpu_error *err)
{
	char quoted[FIELD_QUOTE];

	if (mac_parse(text, &ret->mac) == 0)
		return 0;
	return error_set(err, DPU_E_INVALID, NULL, "%s is not a MAC address: write six pairs like 02:00:00:00:00:01",
			 field_quote(text, quoted));
}

static int ip_from_json(const char *text, union item *ret, struct dpu_error *err)
{
	char quoted[FIELD_QUOTE];

	if (ip_parse(text, &ret->ip) == 0)
		return 0;
	return error_set(err, DPU_E_INVALID, NULL, "%s is not an IP address: write it like 10.0.0.1 or 2001:db8::1",
			 field_quote(text, quoted));
}

static int prefix_from_json(const char *text, union item *ret, struct dpu_error *err)
{
	char quoted[FIELD_QUOTE];

	switch (ip_prefix_parse(text, &ret->prefix)) {
	case 0:
		return 0;
	case -ERANGE:
		return error_set(err, DPU_E_INVALID, NULL,
				 "%s has bits set beyond its length: give the network's own address",
				 field_quote(text, quoted));
	default:
		return error_set(err, DPU_E_INVALID, NULL,
				 "%s is not a prefix: write it like 10.0.0.0/24 or 2001:db8::/64",
				 field_quote(text, quoted));
	}
}

static int uuid_from_json(const char *text, union item *ret, struct dpu_error *err)
{
	char quoted[FIELD_QUOTE];

	if (uuid_parse(text, &ret->uuid) == 0)
		return 0;
	return error_set(err, DPU_E_INVALID, NULL,
			 "%s is not a UUID: write it like 550e8400-e29b-41d4-a716-446655440000",
			 field_quote(text, quoted));
}

static int item_from_json(const struct field *field, enum field_type type, const json_t *value,
			  const struct field_scope *scope, union item *ret, struct dpu_error *err)
{
	const char *text = json_string_value(value);

	switch (type) {
	case FIELD_BOOL:
		ret->boolean = json_is_true(value);
		return json_is_boolean(value) ? 0 : wrong_kind("true or false", value, err);
	case FIELD_U8:
	case FIELD_U16:
	case FIELD_U32:
	case FIELD_U64:
		return number_from_json(field, type, value, ret, err);
	case FIELD_ENUM:
		return enum_from_json(field, value, ret, err);
	case FIELD_STRING:
		return string_from_json(field, value, scope->stored, ret, err);
	case FIELD_MAC:
		return text ? mac_from_json(text, ret, err) : wrong_kind("a MAC address as a string", value, err);
	case FIELD_IP:
		return text ? ip_from_json(text, ret, err) : wrong_kind("an IP address as a string", value, err);
	case FIELD_PREFIX:
		return text ? prefix_from_json(text, ret, err) : wrong_kind("a prefix as a string", value, err);
	case FIELD_UUID:
		return text ? uuid_from_json(text, ret, err) : wrong_kind("a UUID as a string", value, err);
	default: /* FIELD_REF */
		if (!text)
			return wrong_kind("a name or UUID as a string", value, err);
		return model_resolve(scope->model, field->target, scope->tenant, text, &ret->ref.object, err);
	}
}

/* The same value twice: sorts pointers to the items, so that a long list costs little. */
static int compare_items(const void *a, const void *b, void *arg)
{
	const char *const *left = a, *const *right = b;
	size_t size = *(size_t *)arg;

	return size ? memcmp(*left, *right, size) : strcmp(*(char *const *)*left, *(char *const *)*right);
}

static int find_duplicate(enum field_type item, size_t size, const void *items, size_t count, size_t *ret_index)
{
	size_t compare = item == FIELD_STRING ? 0 : size; /* references to one object have one pointer */
	CLEANUP(free_pointer) const char **sorted = calloc(count, sizeof(*sorted));

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		sorted[i] = (const char *)items + i * size;
	qsort_r(sorted, count, sizeof(*sorted), compare_items, &compare);
	for (size_t i = 1; i < count; i++) {
		if (compare_items(&sorted[i - 1], &sorted[i], &compare) == 0) {
			const char *later = sorted[i - 1] > sorted[i] ? sorted[i - 1] : sorted[i];
			*ret_index = (size_t)(later - (const char *)items) / size;
			return -EEXIST;
		}
	}
	return 0;
}

static int list_items_from_json(const struct field *field, const json_t *value, const struct field_scope *scope,
				struct ref_list *list, struct dpu_error *err)
{
	enum field_type type = field_item_type(field->type);
	const struct field whole = { .type = type };
	size_t size = field_size(&whole), index = 0;
	char place[32];
	int status = 0;

	for (size_t i = 0; i < json_array_size(value) && status == 0; i++) {
		union item item = { 0 };
		status = item_from_json(field, type, json_array_get(value, i), scope, &item, err);
		index = i;
		if (status == 0) {
			memcpy((char *)list->items + i * size, &item, size);
			list->count++;
		}
	}
	if (status == 0 && list->count > 1) {
		status = find_duplicate(type, size, list->items, list->count, &index);
		if (status == -ENOMEM)
			return out_of_memory(err);
		if (status < 0)
			status = error_set(err, DPU_E_INVALID, NULL, "the list has this value twice; give it once");
	}
	if (status < 0) {
		snprintf(place, sizeof(place), "[%zu]", index);
		error_set(err, err->code, place, "%s", err->message);
	}
	return status;
}

static int list_from_json(const struct field *field, const json_t *value, void *base, const struct field_scope *scope,
			  struct dpu_error *err)
{
	const struct field item = { .type = field_item_type(field->type) };
	const struct field at_zero = { .type = field->type };
	struct ref_list list = { 0 };
	size_t count = json_array_size(value);

	if (!json_is_array(value))
		return wrong_kind("a list", value, err);
	if (count < field->min || count > field_limit(field))
		return error_set(err, DPU_E_INVALID, NULL, "the list has %zu items: give %" PRIu64 " to %" PRIu64,
				 count, field->min, field_limit(field));
	if (count > 0) {
		list.items = calloc(count, field_size(&item));
		if (!list.items)
			return out_of_memory(err);
	}
	int status = list_items_from_json(field, value, scope, &list, err);
	if (status < 0) {
		field_clear(&at_zero, &list);
		return status;
	}
	if (count == 0)
		list.items = NULL;
	field_clear(field, base);
	memcpy(field_at(field, base), &list, sizeof(list));
	return 0;
}

static int value_from_json(const struct field *field, const json_t *value, void *base, const void *defaults,
			   const struct field_scope *scope, struct dpu_error *err)
{
	union item item = { 0 };
	int status;

	if (json_is_null(value)) {
		field_clear(field, base);
		return field_copy(field, defaults, base) < 0 ? out_of_memory(err) : 0;
	}
	if (field_type_is_list(field->type))
		return list_from_json(field, value, base, scope, err);
	status = item_from_json(field, field->type, value, scope, &item, err);
	if (status < 0)
		return status;
	field_clear(field, base);
	memcpy(field_at(field, base), &item, field_size(field));
	return 0;
}

int field_from_json(const struct field *field, const json_t *value, void *base, const void *defaults,
		    const struct field_scope *scope, struct dpu_error *err)
{
	struct dpu_error local = { 0 };
	char path[sizeof(local.path)];
	int status = value_from_json(field, value, base, defaults, scope, &local);

	if (status < 0) {
		/* "addresses[2]": the item's place follows the name without a dot. */
		snprintf(path, sizeof(path), "%s%.32s", field->name, local.path);
		error_set(err, local.code, path, "%s", local.message);
	}
	return status;
}

/* ---- out ---- */

static json_t *ref_to_json(const struct ref *ref, const struct object *tenant)
{
	if (!ref->object)
		return json_null();
	if (!ref->object->tenant || (tenant && tenant->node == ref->object->tenant->node))
		return json_string_nocheck(ref->object->name);
	return json_sprintf("%s/%s", ref->object->tenant->name, ref->object->name);
}

/* Configured text is UTF-8 since it came as JSON; what observe() found may be anything. */
static json_t *text_or_null(const char *text)
{
	if (!text || !text[0])
		return json_null();
	json_t *value = json_string(text);
	if (value)
		return value;
	CLEANUP(free_pointer) char *ascii = strdup(text);
	for (char *c = ascii; c && *c; c++)
		*c = (unsigned char)*c < 0x80 ? *c : '?';
	return ascii ? json_string(ascii) : NULL;
}

static json_t *enum_to_json(const struct field *field, uint8_t value)
{
	for (uint8_t i = 0; field->names[i]; i++) {
		if (i == value)
			return json_string_nocheck(field->names[i]);
	}
	return json_null();
}

static json_t *item_to_json(const struct field *field, enum field_type type, const void *at,
			    const struct object *tenant)
{
	char text[PREFIX_TEXT];
	uint64_t number;

	switch (type) {
	case FIELD_BOOL:
		return json_boolean(*(const bool *)at);
	case FIELD_ENUM:
		return enum_to_json(field, *(const uint8_t *)at);
	case FIELD_STRING:
		return text_or_null(*(char *const *)at);
	case FIELD_MAC:
		return mac_is_zero(at) ? json_null() : json_string_nocheck(mac_format(at, text));
	case FIELD_IP:
		return text_or_null(ip_format(at, text));
	case FIELD_PREFIX:
		return text_or_null(ip_prefix_format(at, text));
	case FIELD_UUID:
		return uuid_is_zero(at) ? json_null() : json_string_nocheck(uuid_format(at, text));
	case FIELD_REF:
		return ref_to_json(at, tenant);
	default: /* numbers; a counter beyond what JSON integers hold stays at the end */
		number = field_number(field, (const char *)at - field->offset);
		return json_integer((json_int_t)(number > FIELD_U64_MAX ? FIELD_U64_MAX : number));
	}
}

json_t *field_to_json(const struct field *field, const void *base, const struct object *tenant)
{
	enum field_type type = field_item_type(field->type);
	const struct field item = { .type = type };
	const struct ref_list *list = field_at(field, base);

	if (!field_type_is_list(field->type))
		return item_to_json(field, field->type, list, tenant);
	json_t *array = json_array();
	for (size_t i = 0; array && i < list->count; i++) {
		const char *at = (const char *)list->items + i * field_size(&item);
		if (json_array_append_new(array, item_to_json(field, type, at, tenant)) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}
