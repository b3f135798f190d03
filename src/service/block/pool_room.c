// SPDX-License-Identifier: BSD-3-Clause
/* Room in a pool: told when it runs short, and asked about before volumes are made. */
#include <stdio.h>
#include "base/log.h"
#include "service/block/block_priv.h"

const char *const pool_fill_names[] = {
	[POOL_HAS_ROOM] = "has-room", [POOL_NEARLY_FULL] = "nearly-full", [POOL_FULL] = "full", NULL
};

/* ---- how full it is: the worker's ---- */

static unsigned permille(uint64_t all, uint64_t left)
{
	return all ? (unsigned)((all - left) * 1000 / all) : 0;
}

static unsigned used(const struct store_stats *stats)
{
	unsigned blocks = permille(stats->blocks, stats->free_blocks),
		 pages = permille(stats->pages, stats->free_pages);

	return blocks > pages ? blocks : pages;
}

/* It must have become clearly better before it counts as better. */
enum pool_fill pool_fill_of(enum pool_fill before, const struct store_stats *stats)
{
	unsigned now = used(stats);

	if (stats->full || (before == POOL_FULL && now >= 980))
		return POOL_FULL;
	return now >= 900 || (before != POOL_HAS_ROOM && now >= 850) ? POOL_NEARLY_FULL : POOL_HAS_ROOM;
}

void pool_room_publish(struct pool *pool, const struct store_stats *stats)
{
	enum pool_fill before = (enum pool_fill)atomic_load_explicit(&pool->fill, memory_order_relaxed);
	enum pool_fill fill = pool_fill_of(before, stats);

	if (fill == before)
		return;
	atomic_store(&pool->fill, fill);
	if (!atomic_exchange(&pool->fill_noted, true))
		note_send(pool->subject.block, &pool->fill_note);
}

/* ---- told: in control ---- */

static void tell(struct note *note)
{
	struct pool *pool = (struct pool *)((uint8_t *)note - offsetof(struct pool, fill_note));
	struct store_stats stats;
	char sentence[128];

	atomic_store(&pool->fill_noted, false);
	enum pool_fill fill = (enum pool_fill)atomic_load(&pool->fill);
	pool_stats(pool, &stats);
	snprintf(sentence, sizeof(sentence), "%u %% of its blocks and %u %% of its map are in use",
		 permille(stats.blocks, stats.free_blocks) / 10, permille(stats.pages, stats.free_pages) / 10);
	if (fill == pool->fill_told)
		return;
	pool->fill_told = fill;
	if (fill == POOL_HAS_ROOM)
		subject_notice_info(&pool->subject, "pool-has-room", sentence);
	else if (fill == POOL_FULL)
		subject_notice(&pool->subject, "pool-full", "there is no room for what is written");
	else
		subject_notice(&pool->subject, "pool-nearly-full", sentence);
}

void pool_room_init(struct pool *pool)
{
	pool->fill_note.fn = tell;
}

/* ---- its directory ---- */

struct directory_use {
	const struct object *pool;
	unsigned count;
};

/* What was lost takes no room. */
static void count(struct directory_use *use, const struct object *object, const struct object *pool)
{
	const struct volume *volume = object->runtime;

	if (uuid_equal(&pool->uuid, &use->pool->uuid) && (!volume || volume->id || volume->intent))
		use->count++;
}

static int count_volume(void *arg, struct object *object)
{
	count(arg, object, ((const struct volume_object *)object)->pool.object);
	return 0;
}

static int count_snapshot(void *arg, struct object *object)
{
	const struct object *volume = ((const struct snapshot_object *)object)->volume.object;

	count(arg, object, ((const struct volume_object *)volume)->pool.object);
	return 0;
}

int pool_room_check(const struct block *block, const struct object *object, const char *field, struct dpu_error *err)
{
	struct directory_use use = { .pool = object };
	struct pool *pool = object->runtime;
	struct store_stats stats;

	if (!pool || !pool->ready)
		return 0;
	pool_stats(pool, &stats);
	model_each(block->dpu->model, "volume", NULL, count_volume, &use);
	model_each(block->dpu->model, "snapshot", NULL, count_snapshot, &use);
	if (use.count + pool->unclaimed_count <= stats.max_volumes)
		return 0;
	return error_set(err, DPU_E_LIMIT, field,
			 "%s can have %u volumes and snapshots; these would be %u, and %u unclaimed ones are in it",
			 object->name, stats.max_volumes, use.count, pool->unclaimed_count);
}
