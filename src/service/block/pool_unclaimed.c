// SPDX-License-Identifier: BSD-3-Clause
/* Volumes and snapshots of a pool that are no objects: taken over as a source of new volumes, or purged. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "service/block/block_priv.h"

/* From what was found, what nobody has claimed. Deletions that a crash interrupted go on. */
void pool_keep_unclaimed(struct pool *pool)
{
	unsigned kept = 0, shown = 0;

	for (unsigned i = 0; i < pool->found_count; i++) {
		struct found *found = &pool->found[i];
		if (!found->id)
			continue;
		found->purge = intent_is_deletion(pool->subject.block, found->name);
		shown += !found->purge;
		pool->found[kept++] = *found;
	}
	free(pool->unclaimed);
	pool->unclaimed = pool->found;
	pool->unclaimed_count = kept;
	pool->found = NULL;
	pool->found_count = 0;
	if (shown > 0)
		log_warn("block", "a pool has volumes that are no objects", "object=%s volumes=%u", pool->subject.name,
			 shown);
}

struct found *pool_unclaimed_find(const struct pool *pool, const char *name)
{
	for (unsigned i = 0; i < pool->unclaimed_count; i++)
		if (strcmp(pool->unclaimed[i].name, name) == 0 && !pool->unclaimed[i].purge)
			return &pool->unclaimed[i];
	return NULL;
}

static void purged(struct pool *pool)
{
	struct found *last = &pool->unclaimed[pool->unclaimed_count - 1];
	struct found *found = pool->purging;
	const struct dpu_error *error = &pool->command.error;

	if (error->code != DPU_OK && error->code != DPU_E_NOT_FOUND) {
		log_warn("block", "a volume could not be purged", "object=%s uuid=%s why=\"%s\"", pool->subject.name,
			 found->name, error->message);
		found->purge = false;
		pool->purge_error = *error;
	} else {
		intent_done(pool->subject.block, found->name);
		pool->purges++;
		*found = *last;
		pool->unclaimed_count--;
	}
	pool_step(pool);
}

static void purge_answer(struct pool *pool)
{
	struct action_reply *reply = pool->purge_reply;

	if (!reply)
		return;
	pool->purge_reply = NULL;
	if (pool->purge_error.code != DPU_OK)
		action_answer(reply, error_errno(pool->purge_error.code), NULL, &pool->purge_error);
	else
		action_answer(reply, 0, json_pack("{s:i}", "purged", (int)pool->purges), NULL);
}

bool pool_purge(struct pool *pool)
{
	for (unsigned i = 0; i < pool->unclaimed_count; i++) {
		if (!pool->unclaimed[i].purge)
			continue;
		pool->purging = &pool->unclaimed[i];
		memset(&pool->command, 0, sizeof(pool->command));
		pool->command.op = STORE_DELETE;
		pool->command.volume = pool->unclaimed[i].id;
		pool_command(pool, NULL, purged);
		return true;
	}
	purge_answer(pool);
	return false;
}

void pool_purge_end(struct pool *pool)
{
	struct action_reply *reply = pool->purge_reply;
	struct dpu_error err = { 0 };

	if (!reply)
		return;
	pool->purge_reply = NULL;
	error_set(&err, DPU_E_IO, NULL, "the pool was closed meanwhile");
	action_answer(reply, error_errno(err.code), NULL, &err);
}

/* ---- the action ---- */

const struct field pool_purge_fields[] = {
	FIELD(struct pool_purge_args, uuid, .max = UUID_TEXT - 1, .doc = "Only this one, of unclaimed_names."),
	FIELD(struct pool_purge_args, wait, .def = "true", .doc = "Whether to answer only when it has ended."),
	{ 0 },
};

static unsigned purge_left(const struct pool *pool)
{
	unsigned left = 0;

	for (unsigned i = 0; i < pool->unclaimed_count; i++)
		left += pool->unclaimed[i].purge;
	return left;
}

int pool_purge_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		     struct dpu_error *err)
{
	const struct pool_purge_args *purge = args;
	struct pool *pool = pool_of(object);
	struct found *one = purge->uuid ? pool_unclaimed_find(pool, purge->uuid) : NULL;

	(void)ctx;
	if (!pool->ready)
		return error_set(err, DPU_E_IO, NULL, "the pool is %s: %s", block_state_names[pool->state], pool->why);
	if (pool->purge_reply || purge_left(pool) > 0)
		return error_set(err, DPU_E_CONFLICT, NULL, "it is being purged already");
	if (purge->uuid && !one)
		return error_set(err, DPU_E_NOT_FOUND, "uuid", "the pool has no unclaimed volume of this name");
	for (unsigned i = 0; i < pool->unclaimed_count; i++)
		pool->unclaimed[i].purge |= !one || one == &pool->unclaimed[i];
	pool->purge_reply = purge->wait ? reply : NULL;
	pool->purges = 0;
	pool->purge_begun = true;
	pool->purge_error.code = DPU_OK;
	if (!purge->wait)
		action_answer(reply, 0, json_pack("{s:s}", "state", "running"), NULL);
	pool_step(pool);
	return 0;
}

int pool_purge_progress(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	const struct pool *pool = pool_of(object);
	unsigned left = purge_left(pool);
	bool failed = pool->purge_error.code != DPU_OK;
	const char *state = left ? "running" : failed ? "failed" : pool->purge_begun ? "done" : "never";

	(void)ctx;
	(void)args;
	*ret_result =
		json_pack("{s:s, s:i, s:I, s:I, s:s}", "state", state, "purged", (int)pool->purges, "done",
			  (json_int_t)pool->purges, "total", (json_int_t)(pool->purges + left), "unit", "volumes");
	if (*ret_result && failed)
		json_object_set_new(*ret_result, "why", json_string(pool->purge_error.message));
	return *ret_result ? 0 : error_set(err, DPU_E_LIMIT, NULL, "out of memory");
}

/* The one that is being deleted goes. */
int pool_purge_cancel(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	struct pool *pool = pool_of(object);

	(void)ctx;
	(void)args;
	if (purge_left(pool) == 0)
		return error_set(err, DPU_E_CONFLICT, NULL, "it is not being purged");
	for (unsigned i = 0; i < pool->unclaimed_count; i++)
		if (&pool->unclaimed[i] != pool->purging)
			pool->unclaimed[i].purge = false;
	*ret_result = json_pack("{s:i}", "purged", (int)pool->purges);
	return *ret_result ? 0 : error_set(err, DPU_E_LIMIT, NULL, "out of memory");
}
