/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the YAML reader: what it accepts is typed by a schema, written, and must read back as the same. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "document.h"
#include "schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 64 << 10 };

static const char schema_text_json[] =
	"{\"classes\": [{\"name\": \"vnic\", \"plural\": \"vnics\", \"fields\": ["
	"{\"name\": \"name\", \"type\": \"string\"}, {\"name\": \"mtu\", \"type\": \"u16\"},"
	"{\"name\": \"on\", \"type\": \"bool\"}, {\"name\": \"labels\", \"type\": \"strings\"}]}]}";

static void check(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "%s\n", what);
	abort();
}

static bool is_text(const struct yaml_node *node)
{
	json_t *value = json_string(node->text);
	json_decref(value);
	return value != NULL;
}

/* The tree that was written must be the value, but that scalars are text. */
static void compare(const json_t *value, const struct yaml_node *node)
{
	size_t index;
	json_t *item;
	const char *key;
	if (json_is_string(value)) {
		check(node->kind == YAML_SCALAR && strcmp(node->text, json_string_value(value)) == 0,
		      "a string changed");
		check(!yaml_tree_is_null(node), "a string became null");
		return;
	}
	if (json_is_null(value))
		check(yaml_tree_is_null(node), "null changed");
	if (json_is_array(value)) {
		check(node->kind == YAML_LIST && node->count == json_array_size(value), "a list changed");
		json_array_foreach(value, index, item) compare(item, node->items[index]);
	}
	if (json_is_object(value)) {
		check(node->kind == YAML_MAP && node->count == json_object_size(value), "a map changed");
		json_object_foreach((json_t *)value, key, item)
		{
			check(yaml_tree_get(node, key) != NULL, "a key is lost");
			compare(item, yaml_tree_get(node, key));
		}
	}
}

static void round_trip(const json_t *value)
{
	char *text = NULL;
	size_t size;
	struct yaml_document *again = NULL;
	struct dpu_error err = { 0 };
	FILE *out = open_memstream(&text, &size);
	check(out && yaml_tree_write(out, value) == 0, "it cannot be written");
	fclose(out);
	if (yaml_tree_read(text, size, "again", &again, &err)) {
		fprintf(stderr, "%s: %s\n%s\n", err.path, err.message, text);
		abort();
	}
	compare(value, yaml_tree_root(again));
	yaml_tree_free(again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static json_t *schema;
	struct yaml_document *document = NULL;
	struct dpu_error err = { 0 };
	if (!schema)
		schema = json_loads(schema_text_json, 0, NULL);
	if (size > INPUT_MAX)
		return 0;
	if (yaml_tree_read((const char *)data, size, "fuzz", &document, &err)) {
		check(document == NULL && err.code != DPU_OK && err.message[0], "refused without a word");
		return 0;
	}
	const struct yaml_node *root = yaml_tree_root(document);
	/* Aliases make a small document large; that is bounded, but slow to go through for a fuzzer. */
	if (root && root->weight < 20000 && (root->kind != YAML_SCALAR || is_text(root))) {
		json_t *json = document_json(schema, document);
		check(json != NULL, "it cannot be typed");
		round_trip(json);
		json_decref(json);
	}
	document_line(schema, document, "vnic/blue/web.mtu");
	document_line(schema, document, "vnics[1].mtu");
	yaml_tree_free(document);
	return 0;
}
