/* SPDX-License-Identifier: BSD-3-Clause */
/* Classes as registered: their rows, defaults, and order by reference. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "model/model_priv.h"

static bool label_check(const char *text)
{
	const char *equals = strchr(text, '=');

	return equals && equals != text;
}

/* The rows that every class has. tenant lies in the object as a plain pointer, which is all that a struct ref is. */
static const struct field base_rows[BASE_FIELDS] = {
	{ .name = "name",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct object, name),
	  .flags = FIELD_F_REQUIRED,
	  .min = 1,
	  .max = OBJECT_NAME_MAX,
	  .doc = "Name, unique within the class and tenant, without slash." },
	{ .name = "tenant",
	  .type = FIELD_REF,
	  .offset = offsetof(struct object, tenant),
	  .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE | FIELD_F_PARENT,
	  .target = "tenant",
	  .doc = "The tenant that the object belongs to." },
	{ .name = "uuid",
	  .type = FIELD_UUID,
	  .offset = offsetof(struct object, uuid),
	  .flags = FIELD_F_IMMUTABLE | FIELD_F_GENERATED,
	  .doc = "Identity that never changes." },
	{ .name = "generation",
	  .type = FIELD_U64,
	  .offset = offsetof(struct object, generation),
	  .flags = FIELD_F_STATE,
	  .doc = "Number of the version, one more with each change." },
	{ .name = "labels",
	  .type = FIELD_STRINGS,
	  .offset = offsetof(struct object, labels),
	  .max = OBJECT_LABELS_MAX,
	  .check = label_check,
	  .check_doc = "must be of the form key=value",
	  .doc = "Labels for orchestrators, each of the form key=value." },
};
static_assert(sizeof(struct ref) == sizeof(struct object *), "a reference is a pointer");

static unsigned table_length(const struct field *table)
{
	unsigned count = 0;

	while (table && table[count].name)
		count++;
	return count;
}

static int build_rows(struct class_state *state)
{
	unsigned own = table_length(state->class->fields);

	state->rows = calloc(BASE_FIELDS + own + 1, sizeof(*state->rows));
	state->unique_rows = calloc(own + 1, sizeof(*state->unique_rows));
	if (!state->rows || !state->unique_rows)
		return -ENOMEM;
	for (unsigned i = 0; i < BASE_FIELDS; i++) {
		if (base_rows[i].type != FIELD_REF || !class_is_global(state))
			state->rows[state->base_count++] = base_rows[i];
	}
	if (own > 0)
		memcpy(state->rows + state->base_count, state->class->fields, own * sizeof(*state->rows));
	state->row_count = state->base_count + own;
	CLASS_EACH_ROW(state, state->base_count, row)
	{
		if (row->flags & FIELD_F_UNIQUE)
			state->unique_rows[state->unique_count++] = row;
	}
	return 0;
}

int class_new(const struct object_class *class, void *ctx, struct class_state **ret, struct dpu_error *err)
{
	struct class_state *state = calloc(1, sizeof(*state));
	int status;

	if (!state)
		return error_set(err, DPU_E_LIMIT, class->name, "out of memory");
	state->class = class;
	state->ctx = ctx;
	state->slot_hint = 1;
	TAILQ_INIT(&state->nodes);
	state->defaults = calloc(1, class->size);
	if (!state->defaults || build_rows(state) < 0) {
		class_free(state);
		return error_set(err, DPU_E_LIMIT, class->name, "out of memory");
	}
	status = field_table_defaults(class->fields, state->defaults, err);
	if (status < 0) {
		class_free(state);
		error_prefix(err, class->name);
		return status;
	}
	*ret = state;
	return 0;
}

void class_free(struct class_state *state)
{
	if (state->defaults)
		field_table_clear(state->class->fields, state->defaults);
	free(state->defaults);
	free(state->rows);
	free(state->unique_rows);
	free(state->slots);
	free(state);
}

struct class_state *model_class_state(const struct model *model, const char *name)
{
	for (unsigned i = 0; i < model->class_count; i++) {
		if (strcmp(model->classes[i]->class->name, name) == 0)
			return model->classes[i];
	}
	return NULL;
}

/* ---- order by reference ---- */

enum visit { UNSEEN, ACTIVE, DONE };

struct ranking {
	struct model *model;
	enum visit *visits;
	struct class_state **ranked;
	unsigned count;
};

/* Depth is at most the number of classes. A class met while it is active closes a circle: everything on the way is
 * marked cyclic, from which order.c knows that it must look at objects that are not in the transaction, too. */
static int rank_class(struct ranking *ranking, struct class_state *state, struct dpu_error *err)
{
	ranking->visits[state->index] = ACTIVE;
	CLASS_EACH_ROW(state, 0, row)
	{
		if (!row->target || !field_is_config(row))
			continue;
		struct class_state *target = model_class_state(ranking->model, row->target);
		if (!target) {
			error_set(err, DPU_E_INTERNAL, row->name, "refers to the class \"%s\", which is not registered",
				  row->target);
			error_prefix(err, state->class->name);
			return error_errno(DPU_E_INTERNAL);
		}
		if (ranking->visits[target->index] == ACTIVE) {
			for (unsigned i = 0; i < ranking->model->class_count; i++)
				ranking->model->classes[i]->cyclic |= ranking->visits[i] == ACTIVE;
		} else if (ranking->visits[target->index] == UNSEEN) {
			int status = rank_class(ranking, target, err);
			if (status < 0)
				return status;
		}
		/* Too much is marked rather than too little: it only costs a longer look. */
		state->cyclic |= target->cyclic;
	}
	ranking->visits[state->index] = DONE;
	state->rank = ranking->count;
	ranking->ranked[ranking->count++] = state;
	return 0;
}

int model_rank_classes(struct model *model, struct dpu_error *err)
{
	if (model->ranked)
		return 0;
	struct ranking ranking = { .model = model };
	int status = 0;

	ranking.visits = calloc(model->class_count + 1, sizeof(*ranking.visits));
	ranking.ranked = calloc(model->class_count + 1, sizeof(*ranking.ranked));
	if (!ranking.visits || !ranking.ranked)
		status = error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	for (unsigned i = 0; status == 0 && i < model->class_count; i++) {
		if (ranking.visits[i] == UNSEEN)
			status = rank_class(&ranking, model->classes[i], err);
	}
	free(ranking.visits);
	if (status < 0)
		free(ranking.ranked);
	else
		model->ranked = ranking.ranked;
	return status;
}
