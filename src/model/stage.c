/* SPDX-License-Identifier: BSD-3-Clause */
/* A transaction's outcome put into the indexes, and taken out again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "model/model_priv.h"

int member_error(const struct member *member, int status, struct dpu_error *err)
{
	char path[OBJECT_PATH_TEXT];

	if (err->code == DPU_OK)
		error_set(err, DPU_E_INTERNAL, NULL, "refused without a reason (%d)", status);
	error_prefix(err, object_path(member->new ? member->new : member->old, path, sizeof(path)));
	return error_errno(err->code);
}

/* ---- switch: references are linked, nodes show their new versions ---- */

static int switch_references(struct stage *stage, struct dpu_error *err)
{
	struct member *member;

	stage->switched = true;
	TAILQ_FOREACH(member, &stage->members, link)
	{
		struct node *node = member->node;
		edges_unlink(node);
		member->old_edges = node->edges;
		member->old_edge_count = node->edge_count;
		node->edges = NULL;
		node->edge_count = 0;
	}
	TAILQ_FOREACH(member, &stage->members, link)
	{
		if (member->new &&edges_build(member->node, member->new) < 0)
			return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	}
	return 0;
}

static void switch_versions(struct stage *stage)
{
	struct member *member;

	TAILQ_FOREACH(member, &stage->members, link)
	{
		if (member->old)
			uniques_unlink(stage->model, member->node);
		if (member->new)
			member->node->object = member->new;
	}
	TAILQ_FOREACH(member, &stage->members, link)
	{
		if (member->old && member->new)
			node_patch_referrers(member->node);
	}
	/* A deleted object's former referrers are what its removal waits for. */
	TAILQ_FOREACH(member, &stage->members, link)
	{
		for (uint32_t i = 0; i < member->old_edge_count; i++) {
			struct edge *edge = &member->old_edges[i];
			struct member *target = edge->to->member;
			if (target && !target->new)
				LIST_INSERT_HEAD(&target->old_referrers, edge, link);
		}
	}
}

static struct stage *stage_new(struct model *model, enum stage_kind kind)
{
	struct stage *stage = calloc(1, sizeof(*stage));

	if (stage) {
		stage->model = model;
		stage->kind = kind;
		TAILQ_INIT(&stage->members);
	}
	return stage;
}

int stage_begin(struct model *model, const struct txn *txn, enum stage_kind kind, struct stage **ret,
		struct dpu_error *err)
{
	struct stage *stage = stage_new(model, kind);
	int status;

	if (!stage)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	status = stage_resolve(stage, txn, err);
	if (status == 0)
		status = stage_decode(stage, txn, err);
	if (status == 0)
		status = switch_references(stage, err);
	if (status == 0) {
		switch_versions(stage);
		status = stage_validate(stage, err);
	}
	if (status < 0) {
		stage_cancel(stage);
		return status;
	}
	*ret = stage;
	return 0;
}

struct stage *stage_everything(struct model *model)
{
	struct stage *stage = stage_new(model, STAGE_NORMAL);
	struct dpu_error err = { 0 };

	if (!stage)
		return NULL;
	int status = stage_resolve_all(stage, &err);
	if (status == 0)
		status = switch_references(stage, &err);
	if (status == 0) {
		switch_versions(stage);
		status = stage_order(stage, &err);
	}
	if (status < 0) {
		stage_cancel(stage);
		return NULL;
	}
	return stage;
}

/* ---- back ---- */

/* The references of the old versions are as they were. */
static void restore_references(struct stage *stage)
{
	struct member *member;

	TAILQ_FOREACH(member, &stage->members, link)
	{
		edges_unlink(member->node);
		free(member->node->edges);
		member->node->edges = member->old_edges;
		member->node->edge_count = member->old_edge_count;
	}
	TAILQ_FOREACH(member, &stage->members, link)
	edges_link(member->node);
}

/* Deleted nodes were taken from the indexes, created ones put in; renamed ones go back under their name. */
static void restore_names(struct stage *stage)
{
	struct model *model = stage->model;
	struct member *member;

	TAILQ_FOREACH(member, &stage->members, link)
	{
		struct node *node = member->node;
		if (node->gone)
			continue;
		names_remove(model, node);
		if (!member->old) {
			uuids_remove(model, node);
			node_count(node, -1);
			node->gone = true;
		}
	}
	TAILQ_FOREACH(member, &stage->members, link)
	{
		struct node *node = member->node;
		if (!member->old)
			continue;
		node->name = member->old->name;
		names_insert(model, node);
		if (node->gone) {
			uuids_insert(model, node);
			node_count(node, 1);
			node->gone = false;
		}
	}
}

static void restore_versions(struct stage *stage)
{
	const struct field *field;
	struct member *member;
	struct node *other;

	TAILQ_FOREACH(member, &stage->members, link)
	{
		uniques_unlink(stage->model, member->node);
		if (member->old)
			member->node->object = member->old;
	}
	TAILQ_FOREACH(member, &stage->members, link)
	{
		if (!member->old)
			continue;
		node_patch_referrers(member->node);
		uniques_link(stage->model, member->node, &field, &other);
	}
}

void stage_revert(struct stage *stage)
{
	if (stage->reverted)
		return;
	if (stage->switched) {
		restore_references(stage);
		restore_versions(stage);
	}
	restore_names(stage);
	stage->reverted = true;
}

void stage_cancel(struct stage *stage)
{
	struct member *member;

	stage_revert(stage);
	model_forget_hooks(stage->model);
	while ((member = TAILQ_FIRST(&stage->members))) {
		struct node *node = member->node;
		const struct class_state *state = node->class;
		TAILQ_REMOVE(&stage->members, member, link);
		node->member = NULL;
		if (!member->old)
			node_discard(node);
		object_free(state, member->new);
		free(member);
	}
	free(stage->order);
	free(stage);
}

/* ---- forward ---- */

void stage_finish(struct stage *stage)
{
	struct member *member;

	TAILQ_FOREACH(member, &stage->members, link)
	{
		member->node->member = NULL;
		free(member->old_edges);
		member->old_edges = NULL;
	}
}

void stage_release(struct stage *stage)
{
	struct member *member;

	while ((member = TAILQ_FIRST(&stage->members))) {
		TAILQ_REMOVE(&stage->members, member, link);
		if (!member->new)
			node_discard(member->node);
		object_free(member->class, member->old);
		free(member);
	}
	free(stage->order);
	free(stage);
}
