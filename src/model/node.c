/* SPDX-License-Identifier: BSD-3-Clause */
/* Identities of objects, and the indexes that find them: names, UUIDs, unique values, slots. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "model/model_priv.h"

/* Keeps a corrupt store from asking for any amount of memory. */
enum { SLOT_MAX = 1 << 24 };

int node_new(struct model *model, struct class_state *state, struct node **ret)
{
	struct node *node = calloc(1, sizeof(*node));

	if (!node)
		return -ENOMEM;
	node->class = state;
	LIST_INIT(&node->referrers);
	if (state->unique_count > 0) {
		node->uniques = calloc(state->unique_count, sizeof(*node->uniques));
		if (!node->uniques) {
			free(node);
			return -ENOMEM;
		}
	}
	for (unsigned i = 0; i < state->unique_count; i++) {
		node->uniques[i].node = node;
		node->uniques[i].field = state->unique_rows[i];
	}
	*ret = node;
	return 0;
}

void node_discard(struct node *node)
{
	uint32_t slot = node->object ? node->object->slot : 0;

	TAILQ_REMOVE(&node->class->nodes, node, link);
	if (slot)
		slot_release(node->class, slot);
	free(node->edges);
	free(node->uniques);
	free(node);
}

void node_count(struct node *node, int step)
{
	node->class->count += (size_t)step;
	if (node->tenant)
		node->tenant->owned += (uint64_t)step;
}

/* ---- names and UUIDs ---- */

static uint64_t name_hash(const struct model *model, const struct class_state *state, const struct node *tenant,
			  const char *name)
{
	uint64_t hash = hash_u64(model->seed, (uintptr_t)tenant);

	return hash_bytes(hash ^ state->index, name, strlen(name));
}

void names_insert(struct model *model, struct node *node)
{
	hash_insert(&model->names, &node->by_name, name_hash(model, node->class, node->tenant, node->name));
}

void names_remove(struct model *model, struct node *node)
{
	hash_remove(&model->names, &node->by_name);
}

struct node *names_find(const struct model *model, const struct class_state *state, const struct node *tenant,
			const char *name)
{
	struct hash_link *link = hash_first(&model->names, name_hash(model, state, tenant, name));

	for (; link; link = hash_next(link)) {
		struct node *node = container_of(link, struct node, by_name);
		if (node->class == state && node->tenant == tenant && strcmp(node->name, name) == 0)
			return node;
	}
	return NULL;
}

static uint64_t uuid_hash(const struct model *model, const struct uuid *uuid)
{
	return hash_bytes(model->seed, uuid->bytes, sizeof(uuid->bytes));
}

void uuids_insert(struct model *model, struct node *node)
{
	hash_insert(&model->uuids, &node->by_uuid, uuid_hash(model, &node->object->uuid));
}

void uuids_remove(struct model *model, struct node *node)
{
	hash_remove(&model->uuids, &node->by_uuid);
}

struct node *uuids_find(const struct model *model, const struct uuid *uuid)
{
	struct hash_link *link = hash_first(&model->uuids, uuid_hash(model, uuid));

	for (; link; link = hash_next(link)) {
		struct node *node = container_of(link, struct node, by_uuid);
		if (uuid_equal(&node->object->uuid, uuid))
			return node;
	}
	return NULL;
}

/* ---- unique values ---- */

static struct node *find_same(const struct model *model, const struct unique *unique, uint64_t hash)
{
	struct hash_link *link = hash_first(&model->uniques, hash);

	for (; link; link = hash_next(link)) {
		struct unique *other = container_of(link, struct unique, link);
		if (other->field == unique->field && other->node->tenant == unique->node->tenant &&
		    field_equal(unique->field, other->node->object, unique->node->object))
			return other->node;
	}
	return NULL;
}

int uniques_link(struct model *model, struct node *node, const struct field **ret_field, struct node **ret_other)
{
	for (unsigned i = 0; i < node->class->unique_count; i++) {
		struct unique *unique = &node->uniques[i];

		if (field_is_zero(unique->field, node->object))
			continue;
		uint64_t hash = hash_u64(model->seed ^ (uintptr_t)unique->field, (uintptr_t)node->tenant);
		hash = field_hash(unique->field, node->object, hash);
		struct node *other = find_same(model, unique, hash);
		if (other) {
			*ret_field = unique->field;
			*ret_other = other;
			return -EEXIST;
		}
		hash_insert(&model->uniques, &unique->link, hash);
		unique->linked = true;
	}
	return 0;
}

void uniques_unlink(struct model *model, struct node *node)
{
	for (unsigned i = 0; i < node->class->unique_count; i++) {
		if (node->uniques[i].linked)
			hash_remove(&model->uniques, &node->uniques[i].link);
		node->uniques[i].linked = false;
	}
}

/* ---- slots ---- */

static int slots_grow(struct class_state *state, uint32_t slot)
{
	uint32_t capacity = state->slot_capacity ? state->slot_capacity : 64;

	while (capacity <= slot)
		capacity *= 2;
	if (capacity == state->slot_capacity)
		return 0;
	struct node **slots = reallocarray(state->slots, capacity, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	memset(slots + state->slot_capacity, 0, (capacity - state->slot_capacity) * sizeof(*slots));
	state->slots = slots;
	state->slot_capacity = capacity;
	return 0;
}

int slot_take(struct class_state *state, uint32_t wanted, struct node *node, uint32_t *ret)
{
	uint32_t slot = wanted;

	if (wanted == 0) {
		/* No slot below the hint is free. */
		for (slot = state->slot_hint; slot < state->slot_capacity && state->slots[slot]; slot++)
			;
		state->slot_hint = slot + 1;
	}
	if (slot >= SLOT_MAX)
		return -ERANGE;
	if (slots_grow(state, slot) < 0)
		return -ENOMEM;
	if (state->slots[slot])
		return -EEXIST;
	state->slots[slot] = node;
	*ret = slot;
	return 0;
}

void slot_release(struct class_state *state, uint32_t slot)
{
	state->slots[slot] = NULL;
	if (slot < state->slot_hint)
		state->slot_hint = slot;
}
