/* SPDX-License-Identifier: BSD-3-Clause */
/* From YAML events to a tree of nodes. Every bound is checked while the tree grows. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>
#include "yaml_tree.h"

struct anchor {
	char *name;
	struct yaml_node *node;
};

struct yaml_document {
	char *name;
	struct yaml_node *root;
	struct yaml_node **nodes; /* all, for yaml_tree_free(): an alias makes two parents share a node */
	size_t count, room;
};

struct reader {
	yaml_parser_t parser;
	struct yaml_document *document;
	struct anchor *anchors;
	size_t anchor_count, anchor_room;
	size_t weight; /* nodes so far, aliases expanded */
	unsigned depth;
	struct dpu_error *err;
};

static int fail(struct reader *reader, size_t line, enum dpu_error_code code, const char *sentence)
{
	char place[300];
	snprintf(place, sizeof place, "%.280s:%zu", reader->document->name, line + 1);
	return error_set(reader->err, code, place, "%s", sentence);
}

/* NULL pointers and sizes grow together; -1 when memory is short. */
static int grow(void **array, size_t *room, size_t count, size_t size)
{
	if (count < *room)
		return 0;
	size_t more = *room ? 2 * *room : 8;
	void *grown = reallocarray(*array, more, size);
	if (!grown)
		return -1;
	*array = grown;
	*room = more;
	return 0;
}

static int new_node(struct reader *reader, enum yaml_kind kind, const yaml_event_t *event, struct yaml_node **ret)
{
	struct yaml_document *document = reader->document;
	struct yaml_node *node = calloc(1, sizeof *node);
	if (!node || grow((void **)&document->nodes, &document->room, document->count, sizeof node)) {
		free(node);
		return fail(reader, event->start_mark.line, DPU_E_LIMIT, "out of memory");
	}
	document->nodes[document->count++] = node;
	*node = (struct yaml_node){ .kind = kind, .line = (unsigned)event->start_mark.line + 1, .weight = 1 };
	if (++reader->weight > YAML_MAX_NODES)
		return fail(reader, event->start_mark.line, DPU_E_LIMIT, "the document has more than 4000000 values");
	*ret = node;
	return 0;
}

/* An anchor is known from the end of its node on, so that no node can contain itself. */
static int remember(struct reader *reader, char *name, struct yaml_node *node)
{
	for (size_t i = 0; i < reader->anchor_count; i++) {
		if (strcmp(reader->anchors[i].name, name) == 0) {
			free(name);
			reader->anchors[i].node = node;
			return 0;
		}
	}
	if (reader->anchor_count >= 1024 ||
	    grow((void **)&reader->anchors, &reader->anchor_room, reader->anchor_count, sizeof *reader->anchors)) {
		free(name);
		return fail(reader, node->line - 1, DPU_E_LIMIT, "there are more than 1024 anchors");
	}
	reader->anchors[reader->anchor_count++] = (struct anchor){ name, node };
	return 0;
}

static int use_alias(struct reader *reader, const yaml_event_t *event, struct yaml_node **ret)
{
	const char *name = (const char *)event->data.alias.anchor;
	for (size_t i = 0; i < reader->anchor_count; i++) {
		if (strcmp(reader->anchors[i].name, name) != 0)
			continue;
		*ret = reader->anchors[i].node;
		reader->weight += (*ret)->weight;
		if (reader->weight > YAML_MAX_NODES)
			return fail(reader, event->start_mark.line, DPU_E_LIMIT,
				    "with its aliases the document has more than 4000000 values");
		if (reader->depth + (*ret)->height > YAML_MAX_DEPTH)
			return fail(reader, event->start_mark.line, DPU_E_LIMIT,
				    "with its aliases the document nests deeper than 32 levels");
		return 0;
	}
	return fail(reader, event->start_mark.line, DPU_E_INVALID, "an alias of an anchor that is not above it");
}

static int next_event(struct reader *reader, yaml_event_t *event)
{
	if (yaml_parser_parse(&reader->parser, event))
		return 0;
	const char *problem = reader->parser.problem ? reader->parser.problem : "not YAML";
	size_t line = reader->parser.problem_mark.line ? reader->parser.problem_mark.line : reader->parser.mark.line;
	return fail(reader, line, DPU_E_INVALID, problem);
}

static int read_value(struct reader *reader, yaml_event_t *event, struct yaml_node **ret);

static int append(struct reader *reader, struct yaml_node *node, size_t *room, struct yaml_node *item)
{
	if (grow((void **)&node->items, room, node->count, sizeof item))
		return fail(reader, node->line - 1, DPU_E_LIMIT, "out of memory");
	node->items[node->count++] = item;
	node->weight += item->weight;
	if (node->height < item->height + 1)
		node->height = item->height + 1;
	return 0;
}

static int read_list(struct reader *reader, struct yaml_node *node)
{
	size_t room = 0;
	for (;;) {
		yaml_event_t event;
		struct yaml_node *item;
		int rc = next_event(reader, &event);
		if (rc)
			return rc;
		if (event.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&event);
			return 0;
		}
		rc = read_value(reader, &event, &item);
		if (!rc)
			rc = append(reader, node, &room, item);
		if (rc)
			return rc;
	}
}

static int check_key(struct reader *reader, const struct yaml_node *map, const struct yaml_node *key)
{
	if (key->kind != YAML_SCALAR)
		return fail(reader, key->line - 1, DPU_E_INVALID, "a key must be a word");
	const struct yaml_node *other = NULL;
	for (size_t i = 0; i < map->count && !other; i++) {
		if (strcmp(map->keys[i]->text, key->text) == 0)
			other = map->keys[i];
	}
	if (!other)
		return 0;
	char place[300];
	snprintf(place, sizeof place, "%.280s:%u", reader->document->name, key->line);
	return error_set(reader->err, DPU_E_INVALID, place, "'%.200s' was already given in line %u", key->text,
			 other->line);
}

/* Maps describe objects and are small: keys are compared one by one, up to a bound that keeps that cheap. */
enum { MAP_MAX_KEYS = 256 };

static int read_map(struct reader *reader, struct yaml_node *node)
{
	size_t key_room = 0, room = 0;
	for (;;) {
		yaml_event_t event;
		struct yaml_node *key, *value;
		int rc = next_event(reader, &event);
		if (rc)
			return rc;
		if (event.type == YAML_MAPPING_END_EVENT) {
			yaml_event_delete(&event);
			return 0;
		}
		if (node->count == MAP_MAX_KEYS) {
			yaml_event_delete(&event);
			return fail(reader, node->line - 1, DPU_E_LIMIT, "a map has at most 256 keys");
		}
		rc = read_value(reader, &event, &key);
		if (!rc)
			rc = check_key(reader, node, key);
		if (!rc)
			rc = next_event(reader, &event);
		if (!rc)
			rc = read_value(reader, &event, &value);
		if (!rc && grow((void **)&node->keys, &key_room, node->count, sizeof key))
			rc = fail(reader, node->line - 1, DPU_E_LIMIT, "out of memory");
		if (rc)
			return rc;
		node->keys[node->count] = key;
		rc = append(reader, node, &room, value);
		if (rc)
			return rc;
	}
}

static int read_scalar(struct reader *reader, const yaml_event_t *event, struct yaml_node *node)
{
	size_t length = event->data.scalar.length;
	const char *text = (const char *)event->data.scalar.value;
	if (memchr(text, '\0', length))
		return fail(reader, event->start_mark.line, DPU_E_INVALID, "a value holds a zero byte");
	node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	node->text = strdup(text);
	return node->text ? 0 : fail(reader, event->start_mark.line, DPU_E_LIMIT, "out of memory");
}

/* The anchor of an event, taken out of it, and whether the event carries a tag. */
static const yaml_char_t *tag_of(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return event->data.scalar.tag;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.tag;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.tag;
	default:
		return NULL;
	}
}

static const yaml_char_t *anchor_of(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return event->data.scalar.anchor;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.anchor;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.anchor;
	default:
		return NULL;
	}
}

static int read_node(struct reader *reader, const yaml_event_t *event, struct yaml_node **ret)
{
	static const enum yaml_kind kinds[] = { [YAML_SCALAR_EVENT] = YAML_SCALAR,
						[YAML_SEQUENCE_START_EVENT] = YAML_LIST,
						[YAML_MAPPING_START_EVENT] = YAML_MAP };
	struct yaml_node *node = NULL;
	if (tag_of(event))
		return fail(reader, event->start_mark.line, DPU_E_UNSUPPORTED, "tags (!…) have no meaning here");
	int rc = new_node(reader, kinds[event->type], event, &node);
	if (!rc && node->kind == YAML_SCALAR)
		rc = read_scalar(reader, event, node);
	else if (!rc && ++reader->depth > YAML_MAX_DEPTH)
		rc = fail(reader, event->start_mark.line, DPU_E_LIMIT, "the document nests deeper than 32 levels");
	else if (!rc)
		rc = node->kind == YAML_LIST ? read_list(reader, node) : read_map(reader, node);
	if (!rc && node->kind != YAML_SCALAR)
		reader->depth--;
	if (!rc)
		*ret = node;
	return rc;
}

/* Reads the value that begins with event; deletes it. */
static int read_value(struct reader *reader, yaml_event_t *event, struct yaml_node **ret)
{
	int rc;
	switch (event->type) {
	case YAML_ALIAS_EVENT:
		rc = use_alias(reader, event, ret);
		break;
	case YAML_SCALAR_EVENT:
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		rc = read_node(reader, event, ret);
		break;
	default:
		rc = fail(reader, event->start_mark.line, DPU_E_INVALID, "a value is missing");
		break;
	}
	if (!rc && anchor_of(event)) {
		char *name = strdup((const char *)anchor_of(event));
		rc = name ? remember(reader, name, *ret)
			  : fail(reader, event->start_mark.line, DPU_E_LIMIT, "out of memory");
	}
	yaml_event_delete(event);
	return rc;
}

/* The document is the first; a second one is refused rather than left out. */
static int read_stream(struct reader *reader)
{
	bool had_document = false;
	for (;;) {
		yaml_event_t event;
		int rc = next_event(reader, &event);
		if (rc)
			return rc;
		yaml_event_type_t type = event.type;
		size_t line = event.start_mark.line;
		if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
		    type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT) {
			rc = read_value(reader, &event, &reader->document->root);
			if (rc)
				return rc;
			continue;
		}
		yaml_event_delete(&event);
		if (type == YAML_STREAM_END_EVENT)
			return 0;
		if (type == YAML_DOCUMENT_START_EVENT && had_document)
			return fail(reader, line, DPU_E_INVALID, "a second document (---); put everything into one");
		had_document |= type == YAML_DOCUMENT_START_EVENT;
	}
}

int yaml_tree_read(const char *text, size_t length, const char *name, struct yaml_document **ret, struct dpu_error *err)
{
	struct yaml_document *document = calloc(1, sizeof *document);
	struct reader reader = { .document = document, .err = err };
	if (!document || !(document->name = strdup(name)) || !yaml_parser_initialize(&reader.parser)) {
		yaml_tree_free(document);
		return error_set(err, DPU_E_LIMIT, name, "out of memory");
	}
	yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, length);
	int rc = length > YAML_MAX_BYTES ? fail(&reader, 0, DPU_E_LIMIT, "the document has more than 64 MiB")
					 : read_stream(&reader);
	yaml_parser_delete(&reader.parser);
	for (size_t i = 0; i < reader.anchor_count; i++)
		free(reader.anchors[i].name);
	free(reader.anchors);
	if (rc)
		yaml_tree_free(document);
	else
		*ret = document;
	return rc;
}

void yaml_tree_free(struct yaml_document *document)
{
	if (!document)
		return;
	for (size_t i = 0; i < document->count; i++) {
		free(document->nodes[i]->text);
		free(document->nodes[i]->keys);
		free(document->nodes[i]->items);
		free(document->nodes[i]);
	}
	free(document->nodes);
	free(document->name);
	free(document);
}

const struct yaml_node *yaml_tree_root(const struct yaml_document *document)
{
	return document->root;
}

const char *yaml_tree_name(const struct yaml_document *document)
{
	return document->name;
}

const struct yaml_node *yaml_tree_get(const struct yaml_node *map, const char *key)
{
	for (size_t i = 0; map && map->kind == YAML_MAP && i < map->count; i++) {
		if (strcmp(map->keys[i]->text, key) == 0)
			return map->items[i];
	}
	return NULL;
}

bool yaml_tree_is_null(const struct yaml_node *node)
{
	return node->kind == YAML_SCALAR && node->plain &&
	       (!node->text[0] || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}
