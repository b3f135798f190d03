/* SPDX-License-Identifier: BSD-3-Clause */
/* Fifth step of a transaction: classes bring it into force, or out again. */
#include <stdlib.h>
#include "model/model_priv.h"

static int member_apply(const struct member *member, struct dpu_error *err)
{
	const struct class_state *state = member->node->class;

	if (!member->new) {
		if (state->class->remove)
			state->class->remove(state->ctx, member->old);
		member->old->runtime = NULL;
		return 0;
	}
	if (!state->class->apply)
		return 0;
	/* The runtime may have been replaced since the new version was made. */
	if (member->old)
		member->new->runtime = member->old->runtime;
	return state->class->apply(state->ctx, member->old, member->new, err);
}

static int member_undo(const struct member *member, struct dpu_error *err)
{
	const struct class_state *state = member->node->class;

	if (!member->old) {
		if (state->class->remove)
			state->class->remove(state->ctx, member->new);
		member->new->runtime = NULL;
		return 0;
	}
	if (!state->class->apply)
		return 0;
	if (member->new)
		member->old->runtime = member->new->runtime;
	return state->class->apply(state->ctx, member->new, member->old, err);
}

typedef void hook_fn(void *ctx);

static hook_fn *commit_hook(const struct object_class *class)
{
	return class->commit;
}

static hook_fn *forget_hook(const struct object_class *class)
{
	return class->forget;
}

static void run_hooks(struct model *model, hook_fn *(*hook_of)(const struct object_class *class))
{
	for (unsigned i = 0; i < model->class_count; i++) {
		const struct class_state *state = model->classes[i];
		hook_fn *hook = hook_of(state->class);
		bool called = !hook;
		/* Classes of one service share the hook: it runs once. */
		for (unsigned j = 0; j < i && !called; j++)
			called = hook_of(model->classes[j]->class) == hook && model->classes[j]->ctx == state->ctx;
		if (!called)
			hook(state->ctx);
	}
}

void model_commit_hooks(struct model *model)
{
	run_hooks(model, commit_hook);
}

void model_forget_hooks(struct model *model)
{
	run_hooks(model, forget_hook);
}

/* Undoes the first count members. Classes see the view that is to be in force again. What cannot be undone is said in
 * err, behind the reason for undoing. */
static void undo_first(struct stage *stage, size_t count, struct dpu_error *err)
{
	stage_revert(stage);
	while (count-- > 0) {
		const struct member *member = stage->order[count];
		struct dpu_error second = { 0 };
		char path[OBJECT_PATH_TEXT];
		if (member_undo(member, &second) == 0)
			continue;
		object_path(member->old, path, sizeof(path));
		error_set(err, DPU_E_INTERNAL, err->path, "%s; and %s could not be put back: %s", err->message, path,
			  second.message);
	}
	model_commit_hooks(stage->model);
}

int stage_apply(struct stage *stage, struct dpu_error *err)
{
	for (size_t i = 0; i < stage->count; i++) {
		int status = member_apply(stage->order[i], err);
		if (status < 0) {
			status = member_error(stage->order[i], status, err);
			undo_first(stage, i, err);
			return status;
		}
	}
	model_commit_hooks(stage->model);
	return 0;
}

void stage_undo(struct stage *stage, struct dpu_error *err)
{
	undo_first(stage, stage->count, err);
}
