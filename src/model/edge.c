/* SPDX-License-Identifier: BSD-3-Clause */
/* References between identities, kept in both directions, so that who refers to an object is known at once. */
#include <errno.h>
#include <stdlib.h>
#include "model/model_priv.h"

struct ref *edge_ref(const struct edge *edge)
{
	void *at = field_at(edge->field, edge->from->object);

	return edge->field->type == FIELD_REFS ? &((struct ref_list *)at)->items[edge->item] : at;
}

static bool row_refers(const struct field *row)
{
	return row->target && field_is_config(row);
}

static uint32_t edges_count(const struct class_state *state, const struct object *version)
{
	uint32_t count = 0;

	CLASS_EACH_ROW(state, 0, row)
	{
		if (row_refers(row))
			count += row->type == FIELD_REFS ? ((struct ref_list *)field_at(row, version))->count : 1;
	}
	return count;
}

static void edge_add(struct node *node, const struct field *row, uint32_t item, const struct ref *ref)
{
	if (ref->object)
		node->edges[node->edge_count++] =
			(struct edge){ .from = node, .to = ref->object->node, .field = row, .item = item };
}

int edges_build(struct node *node, const struct object *version)
{
	uint32_t count = edges_count(node->class, version);

	if (count == 0)
		return 0;
	node->edges = calloc(count, sizeof(*node->edges));
	if (!node->edges)
		return -ENOMEM;
	CLASS_EACH_ROW(node->class, 0, row)
	{
		if (!row_refers(row))
			continue;
		if (row->type == FIELD_REF) {
			edge_add(node, row, 0, field_at(row, version));
			continue;
		}
		const struct ref_list *list = field_at(row, version);
		for (uint32_t i = 0; i < list->count; i++)
			edge_add(node, row, i, &list->items[i]);
	}
	edges_link(node);
	return 0;
}

void edges_link(struct node *node)
{
	for (uint32_t i = 0; i < node->edge_count; i++)
		LIST_INSERT_HEAD(&node->edges[i].to->referrers, &node->edges[i], link);
}

void edges_unlink(struct node *node)
{
	for (uint32_t i = 0; i < node->edge_count; i++)
		LIST_REMOVE(&node->edges[i], link);
}

void node_patch_referrers(struct node *node)
{
	struct edge *edge;

	LIST_FOREACH(edge, &node->referrers, link)
	edge_ref(edge)->object = node->object;
}
