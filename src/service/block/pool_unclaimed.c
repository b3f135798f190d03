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
		found->purge = found->intended = intent_is_deletion(pool->subject.block, found->name);
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

/* ---- deleted one by one ---- */

static unsigned purge_left(const struct pool *pool)
{
	unsigned left = 0;

	for (unsigned i = 0; i < pool->unclaimed_count; i++)
		left += pool->unclaimed[i].purge && !pool->unclaimed[i].intended;
	return left;
}

static void purged(struct pool *pool)
{
	struct found *last = &pool->unclaimed[pool->unclaimed_count - 1];
	struct found *found = pool->purging;
	const struct dpu_error *error = &pool->command.error;

	pool->purging = NULL;
	if (error->code != DPU_OK && error->code != DPU_E_NOT_FOUND) {
		log_warn("block", "a volume could not be purged", "object=%s uuid=%s why=\"%s\"", pool->subject.name,
			 found->name, error->message);
		found->purge = false;
		if (!found->intended)
			pool->purge_error = *error;
	} else {
		intent_done(pool->subject.block, found->name);
		pool->purges += !found->intended;
		*found = *last;
		pool->unclaimed_count--;
	}
	pool_step(pool);
}

static bool delete_one(struct pool *pool, bool intended)
{
	for (unsigned i = 0; i < pool->unclaimed_count; i++) {
		struct found *found = &pool->unclaimed[i];
		if (!found->purge || found->intended != intended)
			continue;
		pool->purging = found;
		memset(&pool->command, 0, sizeof(pool->command));
		pool->command.op = STORE_DELETE;
		pool->command.volume = found->id;
		pool_command(pool, NULL, purged);
		return true;
	}
	return false;
}

bool pool_delete_intended(struct pool *pool)
{
	return delete_one(pool, true);
}

static void purge_ended(struct pool *pool)
{
	struct action_reply *reply = pool->purge_reply;
	const struct dpu_error *error = &pool->purge_error;

	pool->purge_reply = NULL;
	pool->purge_state = work_end_state(error);
	log_info("block", "purge ended", "object=%s state=%s volumes=%u", pool->subject.name,
		 work_state_names[pool->purge_state], pool->purges);
	if (reply && error->code != DPU_OK)
		action_answer(reply, error_errno(error->code), NULL, error);
	else if (reply)
		action_answer(reply, 0, json_pack("{s:s, s:i}", "state", "done", "purged", (int)pool->purges), NULL);
}

bool pool_purge(struct pool *pool)
{
	if (delete_one(pool, false))
		return true;
	if (pool->purge_state == WORK_RUNNING)
		purge_ended(pool);
	return false;
}

void pool_purge_end(struct pool *pool)
{
	for (unsigned i = 0; i < pool->unclaimed_count; i++)
		pool->unclaimed[i].purge = false; /* found out anew when it is opened */
	if (pool->purge_state != WORK_RUNNING)
		return;
	error_set(&pool->purge_error, DPU_E_IO, NULL, "the pool was closed meanwhile");
	purge_ended(pool);
}

/* ---- the action ---- */

const struct field pool_purge_fields[] = {
	FIELD(struct pool_purge_args, uuid, .max = UUID_TEXT - 1, .doc = "Only this one, of unclaimed_names."),
	FIELD(struct pool_purge_args, wait, .def = "true", .doc = "Whether to answer only when it has ended."),
	{ 0 },
};

int pool_purge_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		     struct dpu_error *err)
{
	const struct pool_purge_args *purge = args;
	struct pool *pool = pool_of(object);
	struct found *one = purge->uuid ? pool_unclaimed_find(pool, purge->uuid) : NULL;

	(void)ctx;
	if (!pool->ready)
		return error_set(err, DPU_E_IO, NULL, "the pool is %s: %s", block_state_names[pool->state], pool->why);
	if (pool->purge_state == WORK_RUNNING)
		return error_set(err, DPU_E_CONFLICT, NULL, "it is being purged already");
	if (purge->uuid && !one)
		return error_set(err, DPU_E_NOT_FOUND, "uuid", "the pool has no unclaimed volume of this name");
	for (unsigned i = 0; i < pool->unclaimed_count; i++)
		pool->unclaimed[i].purge |= !one || one == &pool->unclaimed[i];
	pool->purge_reply = purge->wait ? reply : NULL;
	pool->purges = 0;
	pool->purge_state = WORK_RUNNING;
	pool->purge_error = (struct dpu_error){ 0 };
	if (!purge->wait)
		action_answer(reply, 0, json_pack("{s:s}", "state", "running"), NULL);
	pool_step(pool);
	return 0;
}

int pool_purge_progress(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	const struct pool *pool = pool_of(object);
	const char *why = pool->purge_error.message;

	(void)ctx;
	(void)args;
	*ret_result = json_pack("{s:s, s:i, s:I, s:I, s:s}", "state", work_state_names[pool->purge_state], "purged",
				(int)pool->purges, "done", (json_int_t)pool->purges, "total",
				(json_int_t)(pool->purges + purge_left(pool)), "unit", "volumes");
	if (*ret_result && why[0] && pool->purge_state != WORK_RUNNING)
		json_object_set_new(*ret_result, "why", json_string(why));
	return *ret_result ? 0 : error_set(err, DPU_E_LIMIT, NULL, "out of memory");
}

/* The one that is being deleted goes. */
int pool_purge_cancel(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	struct pool *pool = pool_of(object);

	(void)ctx;
	(void)args;
	if (pool->purge_state != WORK_RUNNING)
		return error_set(err, DPU_E_CONFLICT, NULL, "it is not being purged");
	for (unsigned i = 0; i < pool->unclaimed_count; i++) {
		struct found *found = &pool->unclaimed[i];
		if (!found->purge || found->intended || found == pool->purging)
			continue;
		found->purge = false;
		error_set(&pool->purge_error, DPU_E_CONFLICT, NULL, "cancelled");
	}
	*ret_result = json_pack("{s:i}", "purged", (int)pool->purges);
	return *ret_result ? 0 : error_set(err, DPU_E_LIMIT, NULL, "out of memory");
}
