// SPDX-License-Identifier: BSD-3-Clause
/* The media of a pool: it is a user of each, like a front end, on its own worker. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "service/block/block_priv.h"

static void device_given(void *ctx, struct dpu_block_device *device, struct worker *worker)
{
	struct pool_medium *medium = ctx;

	(void)worker;
	if (medium->leaving) {
		block_released(medium->attachment);
		return;
	}
	if (device) {
		medium->device = device;
		medium->pool->refused = false;
	} else {
		medium->asked = true;
	}
	pool_step(medium->pool);
}

static struct pool_medium *find(const struct pool *pool, const struct object *object)
{
	for (unsigned i = 0; i < pool->media_count; i++)
		if (uuid_equal(&pool->media[i]->uuid, &object->uuid))
			return pool->media[i];
	return NULL;
}

struct pool_medium *pool_media_find(const struct pool *pool, const char *name)
{
	for (unsigned i = 0; i < pool->media_count; i++)
		if (strcmp(pool->media[i]->backing->name, name) == 0)
			return pool->media[i];
	return NULL;
}

static void attach(struct pool *pool, struct object *object)
{
	struct block_user user = { .device = device_given, .worker = pool->worker };
	struct pool_medium *medium = block_alloc(sizeof(*medium));

	medium->pool = pool;
	medium->uuid = object->uuid;
	medium->backing = object->runtime;
	user.ctx = medium;
	pool->media[pool->media_count++] = medium;
	medium->attachment = block_attach(pool->subject.block, object, &user);
}

static void detached(void *arg)
{
	struct pool_medium *medium = arg;
	struct pool *pool = medium->pool;

	free(medium);
	pool->detaching--;
	pool_step(pool);
}

static void detach(struct pool *pool, unsigned at)
{
	struct pool_medium *medium = pool->media[at];

	memmove(&pool->media[at], &pool->media[at + 1], (pool->media_count - at - 1) * sizeof(pool->media[0]));
	pool->media_count--;
	pool->detaching++;
	medium->leaving = true;
	block_detach(medium->attachment, detached, medium);
}

static bool named(const struct ref_list *list, const struct pool_medium *medium)
{
	for (size_t i = 0; i < list->count; i++)
		if (uuid_equal(&list->items[i].object->uuid, &medium->uuid))
			return true;
	return false;
}

static void attach_new(struct pool *pool, const struct ref_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		if (!find(pool, list->items[i].object))
			attach(pool, list->items[i].object);
}

/* One that is named no more was added by a transaction that is being undone: it is not in use. */
void pool_media_update(struct pool *pool)
{
	const struct pool_object *object = (const struct pool_object *)pool->subject.object;

	for (unsigned i = pool->media_count; i-- > 0;)
		if (!named(&object->media, pool->media[i]) && !named(&object->remotes, pool->media[i]))
			detach(pool, i);
	attach_new(pool, &object->media);
	attach_new(pool, &object->remotes);
}

bool pool_media_ready(struct pool *pool, char *why, size_t why_bytes, bool *ret_soon)
{
	for (unsigned i = 0; i < pool->media_count; i++) {
		const struct pool_medium *medium = pool->media[i];
		if (medium->device && !medium->asked)
			continue;
		snprintf(why, why_bytes, "medium %.60s: %s", medium->backing->name,
			 !medium->backing->device                 ? medium->backing->why_not
			 : attachment_is_next(medium->attachment) ? "it is on its way"
								  : "who used it before has not let go of it yet");
		*ret_soon = medium->backing->device || medium->backing->trying;
		return false;
	}
	return true;
}

bool pool_media_asked(const struct pool *pool)
{
	for (unsigned i = 0; i < pool->media_count; i++)
		if (pool->media[i]->asked)
			return true;
	return false;
}

void pool_media_release(struct pool *pool)
{
	for (unsigned i = 0; i < pool->media_count; i++) {
		struct pool_medium *medium = pool->media[i];
		if (!medium->asked)
			continue;
		medium->asked = medium->in_use = false;
		medium->device = NULL;
		block_released(medium->attachment);
	}
}

bool pool_media_detach(struct pool *pool)
{
	while (pool->media_count > 0)
		detach(pool, pool->media_count - 1);
	return pool->detaching > 0;
}
