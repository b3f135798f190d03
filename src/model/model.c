/* SPDX-License-Identifier: BSD-3-Clause */
/* The model itself: made, given classes, looked at, taken down. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "model/model_priv.h"
#include "model/store.h"

int model_new(const struct model_options *options, struct model **ret, struct dpu_error *err)
{
	struct model *model = calloc(1, sizeof(*model));
	struct uuid random;

	if (!model)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	model->options = *options;
	model->options.store_path = NULL; /* ours is a copy */
	uuid_generate(&random, 1);
	memcpy(&model->seed, random.bytes, sizeof(model->seed));
	LIST_INIT(&model->subscriptions);
	LIST_INIT(&model->inflight);
	if (options->store_path)
		model->store_path = strdup(options->store_path);
	if ((options->store_path && !model->store_path) || hash_init(&model->names) < 0 ||
	    hash_init(&model->uuids) < 0 || hash_init(&model->uniques) < 0) {
		model_free(model);
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	}
	*ret = model;
	return 0;
}

static void adopt_tenants(struct model *model, struct class_state *state)
{
	const struct field *quota = field_find(state->class->fields, "max_objects");

	model->tenants = state;
	if (quota && field_type_is_number(quota->type))
		model->tenant_quota = quota;
}

int model_add_class(struct model *model, const struct object_class *class, void *ctx, struct dpu_error *err)
{
	struct class_state *state;
	int status = class_lint(class, err);

	if (status < 0)
		return status;
	if (model->loaded)
		return error_set(err, DPU_E_INTERNAL, class->name, "classes are registered before model_load()");
	for (unsigned i = 0; i < model->class_count; i++) {
		const struct object_class *other = model->classes[i]->class;
		if (strcmp(other->name, class->name) == 0 || strcmp(other->plural, class->plural) == 0)
			return error_set(err, DPU_E_INTERNAL, class->name,
					 "a class of this name is registered already");
	}
	status = class_new(class, ctx, &state, err);
	if (status < 0)
		return status;
	struct class_state **classes = reallocarray(model->classes, model->class_count + 1, sizeof(*classes));
	if (!classes) {
		class_free(state);
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	}
	state->index = model->class_count;
	model->classes = classes;
	model->classes[model->class_count++] = state;
	if (strcmp(class->name, "tenant") == 0)
		adopt_tenants(model, state);
	free(model->ranked);
	model->ranked = NULL;
	return 0;
}

/* ---- the end ---- */

/* Everything out of force, referrers first: a stage that deletes all. Without memory for it, objects are only freed. */
static void remove_all(struct model *model)
{
	struct stage *stage = stage_everything(model);
	struct dpu_error err = { 0 };

	if (!stage)
		return;
	stage_apply(stage, &err); /* removals cannot fail */
	stage_finish(stage);
	stage_release(stage);
}

static void free_nodes(struct class_state *state)
{
	struct node *node;

	while ((node = TAILQ_FIRST(&state->nodes))) {
		struct object *object = node->object;
		node_discard(node);
		object_free(state, object);
	}
}

void model_free(struct model *model)
{
	if (!model)
		return;
	inflight_abandon(model);
	if (model->loaded) /* before that, nothing was ever in force: classes may not even have a ctx */
		remove_all(model);
	for (unsigned i = 0; i < model->class_count; i++)
		free_nodes(model->classes[i]);
	for (unsigned i = 0; i < model->class_count; i++)
		class_free(model->classes[i]);
	subscriptions_free(model);
	store_close(model->store);
	hash_fini(&model->names);
	hash_fini(&model->uuids);
	hash_fini(&model->uniques);
	free(model->classes);
	free(model->ranked);
	free(model->store_path);
	free(model);
}

/* ---- looking ---- */

const struct object_class *model_class(const struct model *model, const char *name)
{
	const struct class_state *state = model_class_state(model, name);

	return state ? state->class : NULL;
}

struct object *model_find(const struct model *model, const char *class_name, const char *tenant, const char *name)
{
	const struct class_state *state = model_class_state(model, class_name);
	struct node *owner = NULL;

	if (!state || (!tenant && !class_is_global(state)))
		return NULL;
	if (!class_is_global(state) && !(owner = model_tenant(model, tenant)))
		return NULL;
	struct node *node = names_find(model, state, owner, name);
	return node ? node->object : NULL;
}

struct object *model_find_uuid(const struct model *model, const struct uuid *uuid)
{
	struct node *node = uuids_find(model, uuid);

	return node ? node->object : NULL;
}

struct object *model_slot(const struct model *model, const char *class_name, uint32_t slot)
{
	const struct class_state *state = model_class_state(model, class_name);
	struct node *node = state && slot < state->slot_capacity ? state->slots[slot] : NULL;

	return node && !node->gone ? node->object : NULL;
}

int model_each(const struct model *model, const char *class_name, const struct object *tenant,
	       int (*fn)(void *arg, struct object *object), void *arg)
{
	const struct class_state *state = model_class_state(model, class_name);
	struct node *node;
	int status = 0;

	if (!state)
		return 0;
	TAILQ_FOREACH(node, &state->nodes, link)
	{
		if (!node->gone && (!tenant || node->tenant == tenant->node) && (status = fn(arg, node->object)) != 0)
			break;
	}
	return status;
}

int model_each_referrer(const struct model *model, const struct object *target, const char *class_name,
			int (*fn)(void *arg, struct object *object), void *arg)
{
	const struct class_state *state = class_name ? model_class_state(model, class_name) : NULL;
	const struct node *last = NULL;
	struct edge *edge;
	int status = 0;

	LIST_FOREACH(edge, &target->node->referrers, link)
	{
		/* The references of one object lie together: it is called once, however often it refers. */
		if ((class_name && edge->from->class != state) || edge->from == last)
			continue;
		last = edge->from;
		if ((status = fn(arg, edge->from->object)) != 0)
			break;
	}
	return status;
}

size_t model_count(const struct model *model, const char *class_name, const struct object *tenant)
{
	const struct class_state *state = model_class_state(model, class_name);
	struct node *node;
	size_t count = 0;

	if (!state || !tenant)
		return state ? state->count : 0;
	TAILQ_FOREACH(node, &state->nodes, link)
	count += !node->gone && node->tenant == tenant->node;
	return count;
}
