/* SPDX-License-Identifier: BSD-3-Clause */
/* YAML 1.1 by libyaml: documents with line numbers in, JSON values out as YAML.
 *
 * Scalars keep their text: what a plain 123 means is decided by the field that it is for. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include "base/error.h"

enum {
	YAML_MAX_BYTES = 64 << 20,
	YAML_MAX_DEPTH = 32,
	YAML_MAX_NODES = 4000000, /* aliases count as often as they are used */
};

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
	enum yaml_kind kind;
	unsigned line;           /* from 1 */
	bool plain;              /* scalar: written without quotes */
	char *text;              /* scalar */
	size_t count;            /* list: items; map: pairs */
	struct yaml_node **keys; /* map: scalars, all different */
	struct yaml_node **items;
	size_t weight;   /* nodes below, itself included, aliases expanded */
	unsigned height; /* levels below, aliases expanded */
};

struct yaml_document;

/* Reads one document; an empty one has a NULL root. name: of the file, for errors, whose path is "NAME:LINE". */
int yaml_tree_read(const char *text, size_t length, const char *name, struct yaml_document **ret,
		   struct dpu_error *err);
void yaml_tree_free(struct yaml_document *document);
const struct yaml_node *yaml_tree_root(const struct yaml_document *document);
const char *yaml_tree_name(const struct yaml_document *document);

/* The value of a key, or NULL. */
const struct yaml_node *yaml_tree_get(const struct yaml_node *map, const char *key);
/* Plain and empty, ~ or null. */
bool yaml_tree_is_null(const struct yaml_node *node);

/* Writes a value as a YAML document in block style. Returns 0 or -EIO. */
int yaml_tree_write(FILE *out, const json_t *value);
