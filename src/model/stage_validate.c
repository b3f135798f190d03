/* SPDX-License-Identifier: BSD-3-Clause */
/* Fourth step of a transaction: completed and judged as a whole, against its outcome. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "model/model_priv.h"

enum { REFERRERS_NAMED = 4 };

/* "a, b, c and 7 more" */
static void name_referrers(const struct node *node, struct text *text, bool *ret_parent)
{
	char path[OBJECT_PATH_TEXT];
	unsigned count = 0;
	struct edge *edge;

	*ret_parent = false;
	LIST_FOREACH(edge, &node->referrers, link)
	{
		*ret_parent |= (edge->field->flags & FIELD_F_PARENT) != 0;
		if (count++ < REFERRERS_NAMED)
			text_printf(text, "%s%s", count > 1 ? ", " : "",
				    object_path(edge->from->object, path, sizeof(path)));
	}
	if (count > REFERRERS_NAMED)
		text_printf(text, " and %u more", count - REFERRERS_NAMED);
}

static int check_unused(const struct member *member, struct dpu_error *err)
{
	CLEANUP(text_free) struct text names = { 0 };
	bool parent;

	if (LIST_EMPTY(&member->node->referrers))
		return 0;
	name_referrers(member->node, &names, &parent);
	return error_set(err, DPU_E_IN_USE, NULL, "it is used by %s: %s", names.data ? names.data : "others",
			 parent ? "delete these first, or all at once with --cascade" : "change or delete these first");
}

static int check_deletions(struct stage *stage, struct dpu_error *err)
{
	struct member *member;

	TAILQ_FOREACH(member, &stage->members, link)
	{
		if (!member->new &&check_unused(member, err) < 0)
			return member_error(member, 0, err);
	}
	return 0;
}

/* ---- complete ---- */

static int relink_references(struct member *member, struct dpu_error *err)
{
	struct node *node = member->node;

	edges_unlink(node);
	free(node->edges);
	node->edges = NULL;
	node->edge_count = 0;
	return edges_build(node, member->new) < 0 ? error_set(err, DPU_E_LIMIT, NULL, "out of memory") : 0;
}

/* A completed object may refer to others than before, so the order is found anew. */
static int complete_members(struct stage *stage, struct dpu_error *err)
{
	bool completed = false;
	int status = 0;

	for (size_t i = 0; i < stage->count; i++) {
		struct member *member = stage->order[i];
		const struct class_state *state = member->node->class;
		if (!member->new || !state->class->complete)
			continue;
		status = state->class->complete(state->ctx, member->old, member->new, err);
		if (status == 0)
			status = relink_references(member, err);
		if (status < 0)
			return member_error(member, status, err);
		completed = true;
	}
	return completed ? stage_order(stage, err) : 0;
}

/* ---- unique values, quotas ---- */

static int check_uniques(struct stage *stage, struct dpu_error *err)
{
	char path[OBJECT_PATH_TEXT];
	const struct field *field;
	struct member *member;
	struct node *other;

	TAILQ_FOREACH(member, &stage->members, link)
	{
		if (!member->new || uniques_link(stage->model, member->node, &field, &other) == 0)
			continue;
		error_set(err, DPU_E_EXISTS, field->name, "%s has this value already: each needs its own",
			  object_path(other->object, path, sizeof(path)));
		return member_error(member, 0, err);
	}
	return 0;
}

static int check_class_limit(const struct class_state *state, struct dpu_error *err)
{
	uint32_t limit = state->class->max_objects;

	if (limit == 0 || state->count <= limit)
		return 0;
	return error_set(err, DPU_E_LIMIT, NULL, "there would be %zu %s: at most %u are possible", state->count,
			 state->class->plural, limit);
}

/* The class "tenant" may have a field max_objects: what a tenant may own. */
static int check_quota(const struct model *model, const struct node *tenant, struct dpu_error *err)
{
	char path[OBJECT_PATH_TEXT];

	if (!tenant || tenant->gone || !model->tenant_quota)
		return 0;
	uint64_t limit = field_number(model->tenant_quota, tenant->object);
	if (limit == 0 || tenant->owned <= limit)
		return 0;
	error_set(err, DPU_E_LIMIT, model->tenant_quota->name,
		  "the tenant would own %llu objects and may own %llu: delete some or raise this",
		  (unsigned long long)tenant->owned, (unsigned long long)limit);
	error_prefix(err, object_path(tenant->object, path, sizeof(path)));
	return error_errno(DPU_E_LIMIT);
}

static int check_limits(struct stage *stage, struct dpu_error *err)
{
	const struct model *model = stage->model;
	struct member *member;
	int status;

	TAILQ_FOREACH(member, &stage->members, link)
	{
		if (!member->new)
			continue;
		if (!member->old && check_class_limit(member->node->class, err) < 0)
			return member_error(member, 0, err);
		status = check_quota(model, member->node->tenant, err);
		if (status == 0 && member->node->class == model->tenants)
			status = check_quota(model, member->node, err);
		if (status < 0)
			return status;
	}
	return 0;
}

/* ---- */

static int validate_members(struct stage *stage, struct dpu_error *err)
{
	for (size_t i = 0; i < stage->count; i++) {
		struct member *member = stage->order[i];
		const struct class_state *state = member->node->class;
		if (!member->new || !state->class->validate)
			continue;
		int status = state->class->validate(state->ctx, member->old, member->new, err);
		if (status < 0)
			return member_error(member, status, err);
	}
	return 0;
}

int stage_validate(struct stage *stage, struct dpu_error *err)
{
	int status = check_deletions(stage, err);

	if (status == 0)
		status = stage_order(stage, err);
	/* What the store holds is complete. */
	if (status == 0 && stage->kind != STAGE_REPLAY)
		status = complete_members(stage, err);
	if (status == 0)
		status = check_uniques(stage, err);
	if (status == 0)
		status = check_limits(stage, err);
	if (status == 0)
		status = validate_members(stage, err);
	return status;
}
