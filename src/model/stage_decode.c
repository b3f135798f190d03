/* SPDX-License-Identifier: BSD-3-Clause */
/* Second step of a transaction: the given fields go into the new versions; updates that change nothing drop out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "model/model_priv.h"
#include "model/store.h"

static int unknown_field(const struct class_state *state, const char *name, struct dpu_error *err)
{
	CLEANUP(text_free) struct text names = { 0 };

	CLASS_EACH_ROW(state, 0, row)
	text_printf(&names, "%s%s", row == state->rows ? "" : ", ", row->name);
	return error_set(err, DPU_E_INVALID, name, "there is no such field; %s %s has %s",
			 str_article(state->class->name), state->class->name, names.data ? names.data : "others");
}

/* Rows that the first step has read; here they are only compared with what they had to be. */
static int decode_base(const struct member *member, const struct field *row, const json_t *value,
		       const struct field_scope *scope, struct dpu_error *err)
{
	struct object given = { 0 };
	int status;

	if (!field_is_config(row)) /* generation: it was a condition */
		return json_is_integer(value) || json_is_null(value)
			       ? 0
			       : error_set(err, DPU_E_INVALID, row->name, "expected a whole number");
	if (json_is_null(value) && (row->flags & FIELD_F_REQUIRED))
		return error_set(err, DPU_E_INVALID, row->name, "every object needs one: it cannot be null");
	if (json_is_null(value))
		return 0;
	status = field_from_json(row, value, &given, &given, scope, err);
	if (status == 0 && !field_equal(row, &given, member->new))
		status = error_set(err, DPU_E_INVALID, row->name,
				   row->type == FIELD_STRING ? "two names are given; they must be the same"
							     : "this never changes: leave it out");
	field_clear(row, &given);
	return status;
}

static bool has_already(const struct member *member, const struct field *row, const json_t *value)
{
	const char *given = json_string_value(value);

	if (!given || !member->old || row->type != FIELD_STRING)
		return false;
	const char *has = *(char *const *)field_at(row, member->old);
	return has && strcmp(has, given) == 0;
}

static int decode_field(const struct class_state *state, struct member *member, const char *name, const json_t *value,
			struct field_scope scope, struct dpu_error *err)
{
	const struct field *row = field_find(state->rows, name);

	if (!row)
		return unknown_field(state, name, err);
	unsigned index = (unsigned)(row - state->rows);
	if (index < state->base_count && row->type != FIELD_STRINGS)
		return decode_base(member, row, value, &scope, err);
	if (!field_is_config(row))
		return error_set(err, DPU_E_INVALID, row->name, "this is read-only: leave it out");
	if (json_is_null(value) && (row->flags & FIELD_F_REQUIRED))
		return error_set(err, DPU_E_INVALID, row->name, "this is required: it cannot be null");
	if (!json_is_null(value))
		member->given[index / 64] |= UINT64_C(1) << index % 64;
	scope.stored |= has_already(member, row, value);
	return field_from_json(row, value, member->new, state->defaults, &scope, err);
}

static int decode_change(struct stage *stage, const struct change *change, struct dpu_error *err)
{
	struct member *member = change->member;
	const struct field_scope scope = { stage->model, member->new->tenant, stage->kind == STAGE_REPLAY };
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)change->fields, name, value)
	{
		int status = decode_field(change->class, member, name, value, scope, err);
		if (status < 0)
			return member_error(member, status, err);
	}
	return 0;
}

static int check_required(const struct member *member, struct dpu_error *err)
{
	const struct class_state *state = member->node->class;

	CLASS_EACH_ROW(state, state->base_count, row)
	{
		unsigned index = (unsigned)(row - state->rows);
		bool given = member->given[index / 64] >> index % 64 & 1;
		if ((row->flags & FIELD_F_REQUIRED) && ((!member->old && !given) || field_is_empty(row, member->new)))
			return error_set(err, DPU_E_INVALID, row->name, "this is required: %s", row->doc);
		if (member->old && (row->flags & FIELD_F_IMMUTABLE) && !field_equal(row, member->old, member->new))
			return error_set(
				err, DPU_E_INVALID, row->name,
				"this is fixed when the object is created: delete the object and create it anew");
	}
	return 0;
}

static void drop_unchanged(struct stage *stage)
{
	struct member *member, *next;

	for (member = TAILQ_FIRST(&stage->members); member; member = next) {
		struct node *node = member->node;
		next = TAILQ_NEXT(member, link);
		if (!member->old || !member->new || !object_equal(node->class, member->old, member->new))
			continue;
		node->name = member->old->name;
		node->member = NULL;
		TAILQ_REMOVE(&stage->members, member, link);
		stage->count--;
		object_free(node->class, member->new);
		free(member);
	}
}

int stage_decode(struct stage *stage, const struct txn *txn, struct dpu_error *err)
{
	struct member *member;
	int status = 0;

	for (size_t i = 0; status == 0 && i < txn->count; i++) {
		if (txn->changes[i].member)
			status = decode_change(stage, &txn->changes[i], err);
	}
	if (status < 0)
		return status;
	drop_unchanged(stage);
	TAILQ_FOREACH(member, &stage->members, link)
	{
		if (member->new && (status = check_required(member, err)) < 0)
			return member_error(member, status, err);
	}
	return 0;
}
