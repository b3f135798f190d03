/* SPDX-License-Identifier: BSD-3-Clause */
/* Declared documents: typed by the schema, with their lines kept. */
#include "document.h"

#include <stdlib.h>
#include <string.h>
#include "schema.h"

/* ---- to JSON ---- */

/* A value whose field is not known: as it stands, for dpud to refuse by name. */
static json_t *untyped(const struct yaml_node *node)
{
	json_t *value;
	if (yaml_tree_is_null(node))
		return json_null();
	switch (node->kind) {
	case YAML_SCALAR:
		return json_string(node->text);
	case YAML_LIST:
		value = json_array();
		for (size_t i = 0; i < node->count; i++)
			json_array_append_new(value, untyped(node->items[i]));
		return value;
	case YAML_MAP:
		value = json_object();
		for (size_t i = 0; i < node->count; i++)
			json_object_set_new(value, node->keys[i]->text, untyped(node->items[i]));
		return value;
	}
	return NULL;
}

/* {rack: 7, row: 2} for ["rack=7", "row=2"]: how labels are mostly written. */
static json_t *pairs(const struct yaml_node *map)
{
	json_t *list = json_array();
	for (size_t i = 0; i < map->count; i++) {
		if (map->items[i]->kind != YAML_SCALAR) {
			json_array_append_new(list, untyped(map->items[i]));
			continue;
		}
		json_array_append_new(list, json_sprintf("%s=%s", map->keys[i]->text,
							 yaml_tree_is_null(map->items[i]) ? "" : map->items[i]->text));
	}
	return list;
}

static json_t *typed(const json_t *field, const struct yaml_node *node)
{
	if (field && node->kind == YAML_SCALAR && node->plain && !yaml_tree_is_null(node))
		return field_value(field, node->text);
	if (field && node->kind == YAML_MAP && strcmp(schema_text(field, "type"), "strings") == 0)
		return pairs(node);
	return untyped(node);
}

static json_t *object_json(const json_t *class, const struct yaml_node *node)
{
	if (node->kind != YAML_MAP)
		return untyped(node);
	json_t *object = json_object();
	for (size_t i = 0; i < node->count; i++) {
		const char *name = node->keys[i]->text;
		json_object_set_new(object, name, typed(schema_field(class, name), node->items[i]));
	}
	return object;
}

static json_t *objects_json(const json_t *class, const struct yaml_node *node)
{
	if (node->kind != YAML_LIST)
		return yaml_tree_is_null(node) ? json_array() : untyped(node);
	json_t *objects = json_array();
	for (size_t i = 0; i < node->count; i++)
		json_array_append_new(objects, object_json(class, node->items[i]));
	return objects;
}

static json_t *version_json(const struct yaml_node *node)
{
	char *end;
	if (node->kind != YAML_SCALAR || !node->plain)
		return untyped(node);
	long long version = strtoll(node->text, &end, 10);
	return *node->text && !*end ? json_integer(version) : json_string(node->text);
}

static json_t *part_json(const json_t *schema, const char *key, const struct yaml_node *node)
{
	const json_t *class = schema_class_by_plural(schema, key), *singleton = schema_class(schema, key);
	if (strcmp(key, "version") == 0)
		return version_json(node);
	if (singleton && schema_is(singleton, "singleton"))
		return object_json(singleton, node);
	return class ? objects_json(class, node) : untyped(node);
}

json_t *document_json(const json_t *schema, const struct yaml_document *document)
{
	const struct yaml_node *root = yaml_tree_root(document);
	if (!root || yaml_tree_is_null(root))
		return json_object();
	if (root->kind != YAML_MAP)
		return untyped(root);
	json_t *json = json_object();
	for (size_t i = 0; i < root->count; i++)
		json_object_set_new(json, root->keys[i]->text, part_json(schema, root->keys[i]->text, root->items[i]));
	return json;
}

/* ---- back to lines ---- */

static const char *scalar(const struct yaml_node *map, const char *key)
{
	const struct yaml_node *node = yaml_tree_get(map, key);
	return node && node->kind == YAML_SCALAR ? node->text : "";
}

/* The line of map's key that rest (".mtu", ".dns[2]") names, else of map itself. */
static unsigned line_of_key(const struct yaml_node *map, const char *rest)
{
	if (*rest == '.' && map->kind == YAML_MAP) {
		size_t length = strcspn(rest + 1, ".[");
		for (size_t i = 0; i < map->count; i++) {
			const struct yaml_node *key = map->keys[i];
			if (strlen(key->text) == length && strncmp(key->text, rest + 1, length) == 0)
				return key->line;
		}
	}
	return map->line;
}

static unsigned line_by_index(const struct yaml_document *document, const char *path)
{
	char plural[64], *end;
	size_t length = strcspn(path, "[./");
	if (length >= sizeof plural)
		return 0;
	memcpy(plural, path, length);
	plural[length] = '\0';
	const struct yaml_node *list = yaml_tree_get(yaml_tree_root(document), plural);
	if (!list)
		return 0;
	if (path[length] != '[')
		return line_of_key(list, path + length);
	unsigned long index = strtoul(path + length + 1, &end, 10);
	if (*end != ']' || list->kind != YAML_LIST || index >= list->count)
		return list->line;
	return line_of_key(list->items[index], end + 1);
}

/* name may itself hold dots: the longest name that an object of the document has counts. */
static unsigned line_by_name(const struct yaml_node *list, bool global, const char *name)
{
	unsigned line = 0;
	size_t best = 0;
	for (size_t i = 0; list && list->kind == YAML_LIST && i < list->count; i++) {
		const struct yaml_node *item = list->items[i];
		char own[600];
		int length = global ? snprintf(own, sizeof own, "%s", scalar(item, "name"))
				    : snprintf(own, sizeof own, "%s/%s", scalar(item, "tenant"), scalar(item, "name"));
		if (length <= 0 || (size_t)length >= sizeof own || (size_t)length < best)
			continue;
		if (strncmp(name, own, (size_t)length) == 0 && (!name[length] || name[length] == '.')) {
			best = (size_t)length;
			line = line_of_key(item, name + length);
		}
	}
	return line;
}

unsigned document_line(const json_t *schema, const struct yaml_document *document, const char *path)
{
	const char *slash = strchr(path, '/');
	char name[64];
	if (!slash || (size_t)(slash - path) >= sizeof name)
		return line_by_index(document, path);
	memcpy(name, path, (size_t)(slash - path));
	name[slash - path] = '\0';
	const json_t *class = schema_class(schema, name);
	if (!class)
		return 0;
	return line_by_name(yaml_tree_get(yaml_tree_root(document), schema_text(class, "plural")),
			    schema_is(class, "global"), slash + 1);
}
