// SPDX-License-Identifier: BSD-3-Clause
/* An open pool takes media that its object names and that it does not have yet. One that holds something is refused
 * until somebody says that it may be erased. */
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "service/block/block_priv.h"

static void refused(struct pool *pool, struct pool_medium *medium, const struct dpu_error *error)
{
	struct action_reply *reply = pool->reply;

	medium->refused = true;
	snprintf(pool->why, sizeof(pool->why), "medium %.60s cannot be added: %.140s%s", medium->backing->name,
		 error->message, error->code == DPU_E_EXISTS ? "; `pool grow` erases it" : "");
	subject_notice(&pool->subject, "pool-not-grown", pool->why);
	if (!reply)
		return;
	pool->reply = NULL;
	action_answer(reply, error_errno(error->code), NULL, error);
}

static void grown(struct pool *pool)
{
	struct pool_medium *medium = pool->growing;

	pool->growing = NULL;
	medium->erase = false;
	if (pool->command.error.code != DPU_OK) {
		refused(pool, medium, &pool->command.error);
	} else {
		medium->in_use = true;
		if (pool->state == BLOCK_READY)
			pool->why[0] = '\0';
		log_info("block", "pool grown", "object=%s medium=%s", pool->subject.name, medium->backing->name);
	}
	pool_step(pool);
}

static void probed(struct pool *pool, const struct dpu_error *err)
{
	struct pool_medium *medium = pool->growing;

	if (err) {
		pool->growing = NULL;
		medium->erase = false;
		refused(pool, medium, err);
		pool_step(pool);
		return;
	}
	memset(&pool->command, 0, sizeof(pool->command));
	pool->command.op = STORE_GROW;
	pool->command.medium = medium->device;
	pool->command.force = medium->erase;
	pool_command(pool, NULL, grown);
}

bool pool_grow(struct pool *pool)
{
	for (unsigned i = 0; i < pool->media_count; i++) {
		struct pool_medium *medium = pool->media[i];
		if (medium->in_use || medium->refused || !medium->device || medium->asked)
			continue;
		pool->growing = medium;
		pool_probe(pool, &medium, 1, medium->erase, probed);
		return true;
	}
	return false;
}

/* ---- the action ---- */

const struct field pool_grow_fields[] = {
	FIELD(struct pool_grow_args, medium, .flags = FIELD_F_REQUIRED, .max = OBJECT_NAME_MAX,
	      .doc = "One of its media that it did not take."),
	{ 0 },
};

int pool_grow_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		    struct dpu_error *err)
{
	const struct pool_grow_args *grow = args;
	struct pool *pool = pool_of(object);
	struct pool_medium *medium = pool_media_find(pool, grow->medium);

	(void)ctx;
	if (!medium)
		return error_set(err, DPU_E_NOT_FOUND, "medium", "must be one of the pool's media");
	if (!pool->ready)
		return error_set(err, DPU_E_IO, NULL, "the pool is %s: %s", block_state_names[pool->state], pool->why);
	if (medium->in_use)
		return error_set(err, DPU_E_EXISTS, "medium", "the pool has it already");
	if (!medium->device)
		return error_set(err, DPU_E_IO, "medium", "%s", medium->backing->why_not);
	if (pool->reply)
		return error_set(err, DPU_E_CONFLICT, NULL, "another action on the pool is under way");
	pool->reply = reply;
	medium->refused = false;
	medium->erase = true;
	pool_step(pool);
	return 0;
}
