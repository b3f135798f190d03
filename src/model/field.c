/* SPDX-License-Identifier: BSD-3-Clause */
/* Fields as memory: copy, compare, free, hash, by the row's type. */
#include "model/field_codec.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "model/hash.h"
#include "model/model.h"

/* What all list types look like. */
struct list {
	void *items;
	size_t count;
};

static const struct {
	const char *name;
	size_t size;
	enum field_type item; /* lists */
	bool list, number;
	uint64_t limit;
} types[] = {
	[FIELD_BOOL] = { "bool", sizeof(bool), .limit = 1 },
	[FIELD_U8] = { "u8", sizeof(uint8_t), .number = true, .limit = UINT8_MAX },
	[FIELD_U16] = { "u16", sizeof(uint16_t), .number = true, .limit = UINT16_MAX },
	[FIELD_U32] = { "u32", sizeof(uint32_t), .number = true, .limit = UINT32_MAX },
	[FIELD_U64] = { "u64", sizeof(uint64_t), .number = true, .limit = FIELD_U64_MAX },
	[FIELD_ENUM] = { "enum", sizeof(uint8_t), .limit = UINT8_MAX },
	[FIELD_STRING] = { "string", sizeof(char *), .limit = FIELD_STRING_MAX },
	[FIELD_MAC] = { "mac", sizeof(struct mac_addr) },
	[FIELD_IP] = { "ip", sizeof(struct ip_addr) },
	[FIELD_PREFIX] = { "prefix", sizeof(struct ip_prefix) },
	[FIELD_UUID] = { "uuid", sizeof(struct uuid) },
	[FIELD_REF] = { "ref", sizeof(struct ref) },
	[FIELD_STRINGS] = { "strings", sizeof(struct list), FIELD_STRING, .list = true, .limit = FIELD_LIST_MAX },
	[FIELD_IPS] = { "ips", sizeof(struct list), FIELD_IP, .list = true, .limit = FIELD_LIST_MAX },
	[FIELD_PREFIXES] = { "prefixes", sizeof(struct list), FIELD_PREFIX, .list = true, .limit = FIELD_LIST_MAX },
	[FIELD_REFS] = { "refs", sizeof(struct list), FIELD_REF, .list = true, .limit = FIELD_LIST_MAX },
};

static_assert(sizeof(struct list) == sizeof(struct string_list) && sizeof(struct list) == sizeof(struct ref_list) &&
		      sizeof(struct list) == sizeof(struct ip_list) &&
		      sizeof(struct list) == sizeof(struct prefix_list),
	      "lists share one layout");

const char *field_type_name(enum field_type type)
{
	return types[type].name;
}

bool field_type_is_number(enum field_type type)
{
	return types[type].number;
}

bool field_type_is_list(enum field_type type)
{
	return types[type].list;
}

enum field_type field_item_type(enum field_type type)
{
	return types[type].item;
}

size_t field_size(const struct field *field)
{
	return types[field->type].size;
}

uint64_t field_limit(const struct field *field)
{
	return field->max ? field->max : types[field->type].limit;
}

const struct field *field_find(const struct field *table, const char *name)
{
	for (const struct field *field = table; field && field->name; field++) {
		if (strcmp(field->name, name) == 0)
			return field;
	}
	return NULL;
}

static int copy_string(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return from && !*to ? -ENOMEM : 0;
}

static void clear_list(enum field_type item, struct list *list)
{
	if (item == FIELD_STRING) {
		for (size_t i = 0; i < list->count; i++)
			free(((char **)list->items)[i]);
	}
	free(list->items);
	*list = (struct list){ 0 };
}

static int copy_list(enum field_type item, struct list *to, const struct list *from)
{
	size_t size = types[item].size;
	struct list copy = { 0 };

	*to = copy;
	if (from->count == 0)
		return 0;
	copy.items = calloc(from->count, size);
	if (!copy.items)
		return -ENOMEM;
	copy.count = from->count;
	if (item != FIELD_STRING) {
		memcpy(copy.items, from->items, from->count * size);
	} else {
		for (size_t i = 0; i < from->count; i++) {
			if (copy_string(&((char **)copy.items)[i], ((char **)from->items)[i]) < 0) {
				clear_list(item, &copy);
				return -ENOMEM;
			}
		}
	}
	*to = copy;
	return 0;
}

int field_copy(const struct field *field, const void *from, void *to)
{
	if (types[field->type].list)
		return copy_list(types[field->type].item, field_at(field, to), field_at(field, from));
	if (field->type == FIELD_STRING)
		return copy_string(field_at(field, to), *(char **)field_at(field, from));
	memcpy(field_at(field, to), field_at(field, from), types[field->type].size);
	return 0;
}

void field_clear(const struct field *field, void *base)
{
	if (types[field->type].list)
		clear_list(types[field->type].item, field_at(field, base));
	else if (field->type == FIELD_STRING)
		free(*(char **)field_at(field, base));
	memset(field_at(field, base), 0, types[field->type].size);
}

static const struct node *ref_identity(const struct ref *ref)
{
	return ref->object ? ref->object->node : NULL;
}

static bool item_equal(enum field_type type, const void *a, const void *b)
{
	const char *string_a, *string_b;

	switch (type) {
	case FIELD_STRING:
		string_a = *(char *const *)a;
		string_b = *(char *const *)b;
		return string_a && string_b ? strcmp(string_a, string_b) == 0 : string_a == string_b;
	case FIELD_REF:
		return ref_identity(a) == ref_identity(b);
	case FIELD_IP:
		return ip_equal(a, b);
	case FIELD_PREFIX:
		return ip_prefix_equal(a, b);
	default:
		return memcmp(a, b, types[type].size) == 0;
	}
}

bool field_equal(const struct field *field, const void *base_a, const void *base_b)
{
	const struct list *a = field_at(field, base_a), *b = field_at(field, base_b);
	enum field_type item = types[field->type].item;

	if (!types[field->type].list)
		return item_equal(field->type, a, b);
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		size_t at = i * types[item].size;
		if (!item_equal(item, (char *)a->items + at, (char *)b->items + at))
			return false;
	}
	return true;
}

bool field_is_zero(const struct field *field, const void *base)
{
	static const char zeroes[sizeof(struct ip_prefix) + sizeof(struct list)];
	const struct list *list = field_at(field, base);

	if (types[field->type].list)
		return list->count == 0;
	return memcmp(field_at(field, base), zeroes, types[field->type].size) == 0;
}

bool field_is_empty(const struct field *field, const void *base)
{
	bool has_zero = field_type_is_number(field->type) || field->type == FIELD_BOOL || field->type == FIELD_ENUM;

	return !has_zero && field_is_zero(field, base);
}

static uint64_t item_hash(enum field_type type, const void *item, uint64_t seed)
{
	const char *string;

	switch (type) {
	case FIELD_STRING:
		string = *(char *const *)item;
		return hash_bytes(seed, string ? string : "", string ? strlen(string) : 0);
	case FIELD_REF:
		return hash_u64(seed, (uintptr_t)ref_identity(item));
	default:
		return hash_bytes(seed, item, types[type].size);
	}
}

uint64_t field_hash(const struct field *field, const void *base, uint64_t seed)
{
	const struct list *list = field_at(field, base);
	enum field_type item = types[field->type].item;

	if (!types[field->type].list)
		return item_hash(field->type, list, seed);
	for (size_t i = 0; i < list->count; i++)
		seed = item_hash(item, (char *)list->items + i * types[item].size, seed);
	return seed;
}

uint64_t field_number(const struct field *field, const void *base)
{
	const void *at = field_at(field, base);

	switch (field->type) {
	case FIELD_BOOL:
		return *(const bool *)at;
	case FIELD_U8:
	case FIELD_ENUM:
		return *(const uint8_t *)at;
	case FIELD_U16:
		return *(const uint16_t *)at;
	case FIELD_U32:
		return *(const uint32_t *)at;
	case FIELD_U64:
		return *(const uint64_t *)at;
	default:
		return 0;
	}
}
