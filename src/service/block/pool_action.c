// SPDX-License-Identifier: BSD-3-Clause
/* Verbs of pools: formatted or taken over where creating them has refused, opened again. */
#include <stdlib.h>
#include "service/block/block_priv.h"

/* Ready, or not to be had now. */
void pool_answer(struct pool *pool)
{
	struct action_reply *reply = pool->reply;
	struct dpu_error err = { 0 };

	if (!reply)
		return;
	pool->reply = NULL;
	pool->erase = pool->force = false; /* it was said of the media that were there then */
	if (pool->ready) {
		action_answer(reply, 0, json_pack("{s:s}", "state", block_state_names[pool->state]), NULL);
		return;
	}
	error_set(&err, DPU_E_IO, NULL, "the pool is %s: %s", block_state_names[pool->state], pool->why);
	action_answer(reply, error_errno(err.code), NULL, &err);
}

static int begin(struct pool *pool, struct action_reply *reply, struct dpu_error *err)
{
	if (pool->reply)
		return error_set(err, DPU_E_CONFLICT, NULL, "another action on the pool is under way");
	pool->reply = reply;
	pool->refused = false;
	pool->reopen = pool->store != NULL;
	return 0;
}

static int format_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
			struct dpu_error *err)
{
	struct pool *pool = pool_of(object);

	(void)ctx;
	(void)args;
	if (!TAILQ_EMPTY(&pool->volumes))
		return error_set(err, DPU_E_IN_USE, NULL,
				 "the pool has volumes: delete these first, since formatting erases them");
	int rc = begin(pool, reply, err);
	if (rc != 0)
		return rc;
	pool->format = pool->erase = true;
	pool_step(pool);
	return 0;
}

static int adopt_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		       struct dpu_error *err)
{
	struct pool *pool = pool_of(object);
	int rc = begin(pool, reply, err);

	(void)ctx;
	(void)args;
	if (rc != 0)
		return rc;
	pool->format = pool->erase = pool->unmade = false;
	pool_step(pool);
	return 0;
}

static int open_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		      struct dpu_error *err)
{
	const struct pool_open_args *open = args;
	struct pool *pool = pool_of(object);
	int rc = begin(pool, reply, err);

	(void)ctx;
	if (rc != 0)
		return rc;
	pool->force = open->force;
	pool_step(pool);
	return 0;
}

static const struct field open_fields[] = {
	FIELD(struct pool_open_args, force, .def = "false",
	      .doc = "Whether to go on where a medium cannot read the pool's own data: volumes whose maps are there "
		     "are "
		     "quarantined, and what was written to them since the last checkpoint is lost."),
	{ 0 },
};

const struct action pool_actions[] = {
	{ .name = "format",
	  .doc = "Makes an empty pool of the media, whatever they hold. Creating a pool does so by itself on media "
		 "that "
		 "hold no pool.",
	  .example = "dpuctl pool format p0",
	  .per_object = true,
	  .start = format_start },
	{ .name = "adopt",
	  .doc = "Takes over the pool that the media hold already; its volumes are unclaimed then, and can be the "
		 "source of new ones (volume create … from_unclaimed=UUID).",
	  .example = "dpuctl pool adopt p0",
	  .per_object = true,
	  .start = adopt_start },
	{ .name = "open",
	  .doc = "Closes the pool and opens it again, after a medium has failed and is well again. Disks wait "
		 "meanwhile.",
	  .example = "dpuctl pool open p0",
	  .args = open_fields,
	  .args_size = sizeof(struct pool_open_args),
	  .per_object = true,
	  .start = open_start },
	{ .name = "grow",
	  .doc = "Adds a medium that the pool's object names and that was refused because it holds another pool, which "
		 "is "
		 "erased.",
	  .example = "dpuctl pool grow p0 medium=m1",
	  .args = pool_grow_fields,
	  .args_size = sizeof(struct pool_grow_args),
	  .per_object = true,
	  .start = pool_grow_start },
	{ .name = "purge",
	  .doc = "Deletes volumes and snapshots in the pool that are no objects, and what they hold.",
	  .example = "dpuctl pool purge p0 uuid=0a6bb2c5-7d0f-4b6e-8f5b-3a1f1f6f7a10",
	  .progress = "purge-progress",
	  .cancel = "purge-cancel",
	  .args = pool_purge_fields,
	  .args_size = sizeof(struct pool_purge_args),
	  .per_object = true,
	  .start = pool_purge_start },
	{ .name = "scrub",
	  .doc = "Reads every page and block in use and checks it against its CRC, beside all other work; damage is "
		 "reported in notices. scrub_state and scrub_progress of the pool say how far it is.",
	  .example = "dpuctl pool scrub p0 wait=true",
	  .progress = "scrub-progress",
	  .cancel = "scrub-cancel",
	  .args = pool_work_fields,
	  .args_size = sizeof(struct pool_work_args),
	  .per_object = true,
	  .start = pool_scrub_start },
	{ .name = "repair",
	  .doc = "Counts again what the maps of all volumes use, after pages of a pool were damaged: space that was "
		 "lost "
		 "comes back, and so do quarantined volumes whose maps can be read after all. Disks wait meanwhile.",
	  .example = "dpuctl pool repair p0 wait=true",
	  .progress = "scrub-progress",
	  .cancel = "scrub-cancel",
	  .args = pool_repair_fields,
	  .args_size = sizeof(struct pool_work_args),
	  .per_object = true,
	  .start = pool_repair_start },
	{ .name = "measure",
	  .doc = "Finds out what each volume and snapshot has alone, so that deleting it would give it back, and what "
		 "it "
		 "shares; their exclusive_bytes and shared_bytes say so then.",
	  .example = "dpuctl pool measure p0 wait=true",
	  .progress = "measure-progress",
	  .cancel = "measure-cancel",
	  .args = pool_work_fields,
	  .args_size = sizeof(struct pool_work_args),
	  .per_object = true,
	  .start = pool_measure_start },
	{ .name = "purge-progress",
	  .doc = "Says how far a purge is, or how the last one ended.",
	  .example = "dpuctl pool purge-progress p0",
	  .read_only = true,
	  .per_object = true,
	  .run = pool_purge_progress },
	{ .name = "purge-cancel",
	  .doc = "Ends a purge that is under way; what is deleted stays so.",
	  .example = "dpuctl pool purge-cancel p0",
	  .per_object = true,
	  .run = pool_purge_cancel },
	{ .name = "scrub-progress",
	  .doc = "Says how far a scrub or repair is, or how the last one ended.",
	  .example = "dpuctl pool scrub-progress p0",
	  .read_only = true,
	  .per_object = true,
	  .run = pool_scrub_progress },
	{ .name = "scrub-cancel",
	  .doc = "Ends a scrub or repair that is under way.",
	  .example = "dpuctl pool scrub-cancel p0",
	  .per_object = true,
	  .run = pool_scrub_cancel },
	{ .name = "measure-progress",
	  .doc = "Says how far a measure is, or how the last one ended.",
	  .example = "dpuctl pool measure-progress p0",
	  .read_only = true,
	  .per_object = true,
	  .run = pool_measure_progress },
	{ .name = "measure-cancel",
	  .doc = "Ends a measure that is under way; volumes that it was through with have their new figures.",
	  .example = "dpuctl pool measure-cancel p0",
	  .per_object = true,
	  .run = pool_measure_cancel },
	{ 0 },
};
