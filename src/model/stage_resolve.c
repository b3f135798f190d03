/* SPDX-License-Identifier: BSD-3-Clause */
/* First step of a transaction: which object does each change mean? */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "model/model_priv.h"
#include "model/store.h"

/* A change's key taken apart. Texts are borrowed from the change, tenant_part is a copy. */
struct key {
	struct node *by_uuid; /* the object itself, when the key is its UUID */
	struct node *tenant;
	const char *name;
	bool tenant_missing; /* the tenant does not exist (yet) */
	const char *tenant_text;
	char *tenant_part;
};

static void key_fini(struct key *key)
{
	free(key->tenant_part);
}

static const char *text_field(const struct change *change, const char *name)
{
	return json_string_value(json_object_get(change->fields, name));
}

static int change_error(const struct change *change, int status, struct dpu_error *err)
{
	char path[4 * OBJECT_PATH_TEXT]; /* error_prefix() cuts between characters */
	const char *name = change->key ? change->key : text_field(change, "name");
	const char *tenant = change->tenant ? change->tenant : text_field(change, "tenant");
	bool whole = !tenant || class_is_global(change->class) || (name && strchr(name, '/'));

	snprintf(path, sizeof(path), "%s%s%s%s%s", change->class->class->name, name ? "/" : "",
		 name && !whole ? tenant : "", name && !whole ? "/" : "", name ? name : "");
	error_prefix(err, path);
	return status;
}

static int key_tenant(const struct model *model, const struct change *change, struct key *key, struct dpu_error *err)
{
	const char *given = text_field(change, "tenant");

	if (class_is_global(change->class)) {
		if (change->tenant || key->tenant_part)
			return error_set(err, DPU_E_INVALID, "tenant", "%s %s belongs to no tenant; leave it out",
					 str_article(change->class->class->name), change->class->class->name);
		return 0;
	}
	key->tenant_text = key->tenant_part ? key->tenant_part : change->tenant ? change->tenant : given;
	if (!key->tenant_text)
		return error_set(err, DPU_E_INVALID, "tenant", "say whose %s it is: the tenant is missing",
				 change->class->class->name);
	key->tenant = model_tenant(model, key->tenant_text);
	key->tenant_missing = !key->tenant;
	if (key->tenant && key->tenant_part && change->tenant && model_tenant(model, change->tenant) != key->tenant)
		return error_set(err, DPU_E_INVALID, "tenant", "two tenants are given; they must be the same");
	return 0;
}

static int key_parse(const struct model *model, const struct change *change, struct key *key, struct dpu_error *err)
{
	const char *text = change->key ? change->key : text_field(change, "name");
	if (!text && (change->class->class->flags & CLASS_F_SINGLETON))
		text = change->class->class->name;
	/* Only a key has the tenant in front; the field "name" is a name. */
	const char *slash = change->key ? strchr(change->key, '/') : NULL;
	struct uuid uuid;

	if (!text || !text[0])
		return error_set(err, DPU_E_INVALID, "name", "the %s needs a name", change->class->class->name);
	if (change->op != CHANGE_CREATE && uuid_parse(text, &uuid) == 0) {
		key->by_uuid = uuids_find(model, &uuid);
		if (!key->by_uuid || key->by_uuid->class != change->class)
			return error_set(err, DPU_E_NOT_FOUND, NULL, "there is no %s with this UUID",
					 change->class->class->name);
		return 0;
	}
	if (slash) {
		key->tenant_part = strndup(text, (size_t)(slash - text));
		if (!key->tenant_part)
			return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	}
	key->name = slash ? slash + 1 : text;
	return key_tenant(model, change, key, err);
}

static int check_name(const struct class_state *state, const char *name, struct dpu_error *err)
{
	char quoted[FIELD_QUOTE];
	struct uuid uuid;

	if (!name[0])
		return error_set(err, DPU_E_INVALID, "name", "the name is empty; give 1 to %d bytes", OBJECT_NAME_MAX);
	if (strchr(name, '/'))
		return error_set(err, DPU_E_INVALID, "name", "%s contains a slash, which separates tenant and name",
				 field_quote(name, quoted));
	if (uuid_parse(name, &uuid) == 0)
		return error_set(err, DPU_E_INVALID, "name", "%s has the form of a UUID; give another name",
				 field_quote(name, quoted));
	int status = field_check_string(&state->rows[0], name, strlen(name), false, err);
	if (status < 0)
		error_prefix(err, "name");
	return status;
}

/* ---- members ---- */

static int out_of_memory(struct dpu_error *err)
{
	return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
}

/* Takes over neither node nor versions when it fails. */
static struct member *member_add(struct stage *stage, struct node *node, struct object *old, struct object *new)
{
	struct member *member = calloc(1, sizeof(*member));

	if (!member)
		return NULL;
	member->node = node;
	member->class = node->class;
	member->old = old;
	member->new = new;
	LIST_INIT(&member->old_referrers);
	node->member = member;
	TAILQ_INSERT_TAIL(&stage->members, member, link);
	stage->count++;
	return member;
}

static int check_generation(const struct change *change, const struct node *node, struct dpu_error *err)
{
	const json_t *field = json_object_get(change->fields, "generation");
	uint64_t current = node->object->generation, wanted = change->generation;

	if (wanted == 0 && json_is_integer(field))
		wanted = (uint64_t)json_integer_value(field);
	if (wanted == 0 || wanted == current)
		return 0;
	return error_set(err, DPU_E_CONFLICT, "generation",
			 "the object is at generation %llu, not %llu: read it again and repeat the change",
			 (unsigned long long)current, (unsigned long long)wanted);
}

static int rename_member(struct stage *stage, struct member *member, const char *name, struct dpu_error *err)
{
	struct node *node = member->node;
	int status = check_name(node->class, name, err);

	if (status < 0)
		return status;
	if (node->class->class->flags & CLASS_F_SINGLETON)
		return error_set(err, DPU_E_INVALID, "name", "there is one %s and its name is fixed",
				 node->class->class->name);
	if (names_find(stage->model, node->class, node->tenant, name))
		return error_set(err, DPU_E_EXISTS, "name", "another %s has this name; choose a different one",
				 node->class->class->name);
	char *copy = strdup(name);
	if (!copy)
		return out_of_memory(err);
	names_remove(stage->model, node);
	free(member->new->name);
	member->new->name = copy;
	node->name = copy;
	names_insert(stage->model, node);
	return 0;
}

static int resolve_update(struct stage *stage, struct change *change, struct node *node, struct dpu_error *err)
{
	const char *name = text_field(change, "name");
	int status = check_generation(change, node, err);

	if (status < 0)
		return status;
	if (!node->member) {
		struct object *new = object_copy(node->class, node->object);
		if (!new || !member_add(stage, node, node->object, new)) {
			object_free(node->class, new);
			return out_of_memory(err);
		}
		new->generation++;
		node->name = new->name;
	}
	change->member = node->member;
	return name && strcmp(name, node->name) != 0 ? rename_member(stage, node->member, name, err) : 0;
}

/* ---- creation ---- */

static void take_uuid(struct model *model, struct uuid *ret)
{
	if (model->uuids_ready == 0) {
		uuid_generate(model->uuids_ahead, UUID_GENERATE_MAX);
		model->uuids_ready = UUID_GENERATE_MAX;
	}
	*ret = model->uuids_ahead[--model->uuids_ready];
}

static int new_uuid(const struct stage *stage, const struct change *change, struct uuid *ret, struct dpu_error *err)
{
	const char *text = text_field(change, "uuid");

	if (change->row)
		*ret = change->row->uuid;
	else if (!text)
		take_uuid(stage->model, ret);
	else if (uuid_parse(text, ret) < 0 || uuid_is_zero(ret))
		return error_set(err, DPU_E_INVALID, "uuid",
				 "this is not a UUID: write it like 550e8400-e29b-41d4-a716-446655440000");
	if (uuids_find(stage->model, ret))
		return error_set(err, DPU_E_EXISTS, "uuid",
				 "another object has this UUID; leave it out to get a new one");
	return 0;
}

static int new_slot(const struct change *change, struct node *node, struct dpu_error *err)
{
	uint32_t slot;

	switch (slot_take(node->class, change->row ? change->row->slot : 0, node, &slot)) {
	case 0:
		node->object->slot = slot;
		return 0;
	case -ENOMEM:
		return out_of_memory(err);
	case -EEXIST:
		return error_set(err, DPU_E_IO, NULL, "the store is damaged: two objects have the slot %u",
				 change->row->slot);
	default:
		return error_set(err, DPU_E_LIMIT, NULL, "there are too many objects of this class");
	}
}

static int new_version(struct stage *stage, const struct change *change, const struct key *key, struct node *node,
		       struct dpu_error *err)
{
	struct object *object = object_new(node->class);

	node->object = object;
	if (!object || !(object->name = strdup(key->name)))
		return out_of_memory(err);
	node->name = object->name;
	node->tenant = key->tenant;
	object->tenant = key->tenant ? key->tenant->object : NULL;
	object->node = node;
	object->generation = change->row ? change->row->generation : 1;
	node->store_id = change->row ? change->row->id : 0;
	int status = new_uuid(stage, change, &object->uuid, err);
	if (status == 0)
		status = new_slot(change, node, err);
	return status;
}

/* same: the object that has this name already, or NULL. */
static int resolve_create(struct stage *stage, struct change *change, const struct key *key, const struct node *same,
			  struct dpu_error *err)
{
	struct class_state *state = change->class;
	struct node *node;
	int status = check_name(state, key->name, err);

	if (status < 0)
		return status;
	if ((state->class->flags & CLASS_F_SINGLETON) && !change->internal && !change->row)
		return error_set(err, DPU_E_INVALID, NULL, "there is exactly one %s, which exists already: update it",
				 state->class->name);
	if (same)
		return error_set(err, DPU_E_EXISTS, "name",
				 "%s %s of this name exists: choose another name or update it",
				 str_article(state->class->name), state->class->name);
	if (change->generation != 0)
		return error_set(err, DPU_E_CONFLICT, "generation",
				 "the object does not exist, so it has no generation");
	if (node_new(stage->model, state, &node) < 0)
		return out_of_memory(err);
	TAILQ_INSERT_TAIL(&state->nodes, node, link);
	status = new_version(stage, change, key, node, err);
	if (status == 0 && !member_add(stage, node, NULL, node->object))
		status = out_of_memory(err);
	if (status < 0) {
		struct object *object = node->object;
		node_discard(node);
		object_free(state, object);
		return status;
	}
	names_insert(stage->model, node);
	uuids_insert(stage->model, node);
	node_count(node, 1);
	change->member = node->member;
	return 0;
}

/* ---- deletion ---- */

static int delete_node(struct stage *stage, struct node *node, struct dpu_error *err)
{
	struct member *member = node->member;

	if (!member)
		member = member_add(stage, node, node->object, NULL);
	if (!member)
		return out_of_memory(err);
	/* At the end, so that cascade() comes to it. */
	TAILQ_REMOVE(&stage->members, member, link);
	TAILQ_INSERT_TAIL(&stage->members, member, link);
	names_remove(stage->model, node);
	uuids_remove(stage->model, node);
	node_count(node, -1);
	node->gone = true;
	node->name = member->old ? member->old->name : NULL;
	if (!member->old)
		slot_release(node->class, member->new->slot);
	if (!member->old)
		node->object = NULL;
	object_free(node->class, member->new);
	member->new = NULL;
	return 0;
}

/* Deletes what refers to deleted objects by a parent reference. What this transaction changes as well is left: it may
 * have got another parent; if not, the check for objects in use names it. */
static int cascade(struct stage *stage, struct member *first, struct dpu_error *err)
{
	for (struct member *member = first; member; member = TAILQ_NEXT(member, link)) {
		struct edge *edge;
		LIST_FOREACH(edge, &member->node->referrers, link)
		{
			if (!(edge->field->flags & FIELD_F_PARENT) || edge->from->gone || edge->from->member)
				continue;
			int status = delete_node(stage, edge->from, err);
			if (status < 0)
				return status;
		}
	}
	return 0;
}

static int resolve_delete(struct stage *stage, struct change *change, struct node *node, struct dpu_error *err)
{
	int status = check_generation(change, node, err);

	if (status < 0)
		return status;
	if (node->class->class->flags & CLASS_F_SINGLETON)
		return error_set(err, DPU_E_INVALID, NULL, "there is always one %s: it cannot be deleted",
				 node->class->class->name);
	if (node->member && !node->member->old && node->owned > 0)
		return error_set(err, DPU_E_IN_USE, NULL, "the same transaction creates objects in this tenant");
	status = delete_node(stage, node, err);
	if (status < 0)
		return status;
	return change->cascade ? cascade(stage, node->member, err) : 0;
}

/* ---- changes ---- */

/* -EAGAIN: the tenant does not exist; a later change may create it. */
static int resolve_change(struct stage *stage, struct change *change, struct dpu_error *err)
{
	CLEANUP(key_fini) struct key key = { 0 };
	int status = key_parse(stage->model, change, &key, err);
	char quoted[FIELD_QUOTE];

	if (status < 0)
		return status;
	if (key.tenant_missing) {
		error_set(err, DPU_E_NOT_FOUND, "tenant", "there is no tenant %s",
			  field_quote(key.tenant_text, quoted));
		return -EAGAIN;
	}
	struct node *node = key.by_uuid ? key.by_uuid : names_find(stage->model, change->class, key.tenant, key.name);
	if (change->op == CHANGE_CREATE || (change->op == CHANGE_SET && !node))
		return resolve_create(stage, change, &key, node, err);
	if (!node)
		return error_set(err, DPU_E_NOT_FOUND, NULL, "there is no such %s", change->class->class->name);
	return change->op == CHANGE_DELETE ? resolve_delete(stage, change, node, err)
					   : resolve_update(stage, change, node, err);
}

/* Objects that were created and deleted again are no part of the outcome. */
static void drop_vanished(struct stage *stage, const struct txn *txn)
{
	struct member *member, *next;

	for (size_t i = 0; i < txn->count; i++) {
		if (txn->changes[i].member && !txn->changes[i].member->new)
			txn->changes[i].member = NULL;
	}
	for (member = TAILQ_FIRST(&stage->members); member; member = next) {
		next = TAILQ_NEXT(member, link);
		if (member->old || member->new)
			continue;
		TAILQ_REMOVE(&stage->members, member, link);
		stage->count--;
		node_discard(member->node);
		free(member);
	}
}

int stage_resolve(struct stage *stage, const struct txn *txn, struct dpu_error *err)
{
	bool progress, missing;

	for (size_t i = 0; i < txn->count; i++)
		txn->changes[i].resolved = false;
	do {
		progress = missing = false;
		for (size_t i = 0; i < txn->count; i++) {
			struct change *change = &txn->changes[i];
			if (change->resolved)
				continue;
			int status = resolve_change(stage, change, err);
			if (status < 0 && status != -EAGAIN)
				return change_error(change, status, err);
			if (status < 0)
				*err = (struct dpu_error){ 0 };
			change->resolved = status == 0;
			progress |= change->resolved;
			missing |= !change->resolved;
		}
	} while (missing && progress);
	for (size_t i = 0; missing && i < txn->count; i++) {
		/* Once more for its error. */
		if (!txn->changes[i].resolved) {
			resolve_change(stage, &txn->changes[i], err);
			return change_error(&txn->changes[i], error_errno(DPU_E_NOT_FOUND), err);
		}
	}
	drop_vanished(stage, txn);
	return 0;
}

int stage_resolve_all(struct stage *stage, struct dpu_error *err)
{
	struct model *model = stage->model;
	struct node *node;
	int status = 0;

	for (unsigned i = 0; i < model->class_count; i++) {
		TAILQ_FOREACH(node, &model->classes[i]->nodes, link)
		{
			if (status == 0 && !node->gone)
				status = delete_node(stage, node, err);
		}
	}
	return status;
}
