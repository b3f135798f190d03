// SPDX-License-Identifier: BSD-3-Clause
/* The class "pool": media together, that thin volumes are made of. */
#include <stdlib.h>
#include "service/block/block_priv.h"
#include "service/block/store/store_format.h"

static const struct field pool_fields[] = {
	FIELD(struct pool_object, media, .max = STORE_MAX_MEDIA, .target = "medium",
	      .doc = "What it is put on; more can be added, none taken away. Creating the pool formats them."),
	FIELD(struct pool_object, remotes, .max = STORE_MAX_MEDIA, .target = "nvmf_remote",
	      .doc = "Namespaces of other machines that it is put on, the same way."),
	FIELD(struct pool_object, worker, .flags = FIELD_F_IMMUTABLE | FIELD_F_GENERATED, .max = WORKER_ANY,
	      .def = "65535", .doc = "Number of the worker that serves it; by default the one with fewest pools."),
	FIELD(struct pool_object, cache_mb, .unit = "mebibytes", .flags = FIELD_F_DETAIL | FIELD_F_IMMUTABLE,
	      .def = "64", .min = 4, .max = 65536, .doc = "Memory for maps of its volumes."),
	FIELD(struct pool_object, max_volumes, .flags = FIELD_F_DETAIL | FIELD_F_IMMUTABLE, .def = "1024", .min = 1,
	      .max = 16384,
	      .doc = "Volumes and snapshots that there is room for when it is formatted, rounded up; one that is "
		     "adopted keeps what it has."),
	FIELD_ENUM_ROW(struct pool_object, state, block_state_names, .flags = FIELD_F_STATE,
		       .doc = "Whether its volumes can be used."),
	FIELD(struct pool_object, why, .flags = FIELD_F_STATE, .doc = "Why they cannot."),
	FIELD(struct pool_object, bytes, .unit = "bytes", .flags = FIELD_F_GAUGE, .doc = "Room for data."),
	FIELD(struct pool_object, allocated_bytes, .unit = "bytes", .flags = FIELD_F_GAUGE,
	      .doc = "What volumes and snapshots take of it."),
	FIELD(struct pool_object, free_bytes, .unit = "bytes", .flags = FIELD_F_GAUGE,
	      .doc = "Room for data that is left."),
	FIELD_ENUM_ROW(struct pool_object, fill, pool_fill_names, .flags = FIELD_F_STATE,
		       .doc = "Whether it has room: nearly full from 90 % on, of blocks or of map pages; when it is "
			      "full, writes fail, since each takes a new place before it gives the old one back."),
	FIELD(struct pool_object, map_pages, .unit = "pages", .flags = FIELD_F_DETAIL | FIELD_F_GAUGE,
	      .doc = "Room for maps."),
	FIELD(struct pool_object, free_map_pages, .unit = "pages", .flags = FIELD_F_DETAIL | FIELD_F_GAUGE,
	      .doc = "Room for maps that is left."),
	FIELD(struct pool_object, volumes, .unit = "volumes", .flags = FIELD_F_GAUGE, .doc = "Volumes in it."),
	FIELD(struct pool_object, snapshots, .unit = "snapshots", .flags = FIELD_F_GAUGE, .doc = "Snapshots in it."),
	FIELD(struct pool_object, unclaimed, .unit = "volumes", .flags = FIELD_F_GAUGE,
	      .doc = "Volumes and snapshots in it that are no objects: `pool purge` deletes them."),
	FIELD(struct pool_object, unclaimed_names, .flags = FIELD_F_DETAIL | FIELD_F_STATE, .doc = "Their UUIDs."),
	FIELD_ENUM_ROW(struct pool_object, scrub_state, work_state_names, .flags = FIELD_F_STATE,
		       .doc = "How the last scrub since the start of dpud went."),
	FIELD(struct pool_object, scrub_progress, .unit = "percent", .flags = FIELD_F_DETAIL | FIELD_F_GAUGE,
	      .doc = "How far the last scrub got."),
	FIELD(struct pool_object, scrub_damaged, .flags = FIELD_F_DETAIL | FIELD_F_GAUGE,
	      .doc = "Pages and blocks that the last scrub found damaged."),
	FIELD(struct pool_object, log_bytes, .unit = "bytes", .flags = FIELD_F_DETAIL | FIELD_F_GAUGE,
	      .doc = "Size of its log."),
	FIELD(struct pool_object, log_used_bytes, .unit = "bytes", .flags = FIELD_F_DETAIL | FIELD_F_GAUGE,
	      .doc = "What is in the log since the last checkpoint."),
	FIELD(struct pool_object, checkpoint, .flags = FIELD_F_DETAIL | FIELD_F_STATE,
	      .doc = "Number of the last checkpoint."),
	FIELD(struct pool_object, replayed_records, .flags = FIELD_F_DETAIL | FIELD_F_GAUGE,
	      .doc = "Records of the log that the last opening has recovered."),
	FIELD(struct pool_object, dropped_records, .flags = FIELD_F_DETAIL | FIELD_F_GAUGE,
	      .doc = "Records of it that the last opening has left out, because their data was never flushed."),
	FIELD(struct pool_object, integrity_errors, .unit = "blocks", .flags = FIELD_F_COUNTER,
	      .doc = "Blocks that contradicted their CRC."),
	FIELD(struct pool_object, second_reads, .unit = "blocks", .flags = FIELD_F_COUNTER | FIELD_F_DETAIL,
	      .doc = "Blocks that contradicted their CRC in the reader's memory, which it may have changed meanwhile, "
		     "and were read once more."),
	FIELD(struct pool_object, flushes, .unit = "flushes", .flags = FIELD_F_COUNTER, .doc = "Flushes of its media."),
	FIELD(struct pool_object, checkpoints, .unit = "checkpoints", .flags = FIELD_F_COUNTER,
	      .doc = "Checkpoints that it has written."),
	FIELD(struct pool_object, medium_errors, .unit = "requests", .flags = FIELD_F_COUNTER,
	      .doc = "Requests to its media that failed."),
	FIELD(struct pool_object, cached_pages, .unit = "pages", .flags = FIELD_F_DETAIL | FIELD_F_GAUGE,
	      .doc = "Pages of maps in memory."),
	FIELD(struct pool_object, dirty_pages, .unit = "pages", .flags = FIELD_F_DETAIL | FIELD_F_GAUGE,
	      .doc = "Pages of maps that the next checkpoint writes."),
	FIELD(struct pool_object, page_loads, .unit = "pages", .flags = FIELD_F_DETAIL | FIELD_F_COUNTER,
	      .doc = "Pages of maps that were read because they were not in memory."),
	FIELD(struct pool_object, page_evictions, .unit = "pages", .flags = FIELD_F_DETAIL | FIELD_F_COUNTER,
	      .doc = "Pages of maps that made room for others."),
	{ 0 },
};

static int count_worker(void *arg, struct object *object)
{
	unsigned worker = ((const struct pool_object *)object)->worker;

	if (worker < WORKERS_MAX)
		((unsigned *)arg)[worker]++;
	return 0;
}

static int pool_complete(void *ctx, const struct object *old, struct object *new, struct dpu_error *err)
{
	const struct block *block = ctx;
	struct pool_object *pool = (struct pool_object *)new;
	unsigned pools[WORKERS_MAX] = { 0 }, best = 0;

	(void)old;
	(void)err;
	if (pool->worker != WORKER_ANY)
		return 0;
	model_each(block->dpu->model, "pool", NULL, count_worker, pools);
	for (unsigned i = 1; i < block->workers; i++)
		if (pools[i] < pools[best])
			best = i;
	pool->worker = (uint16_t)best;
	return 0;
}

static bool has(const struct ref_list *list, const struct object *object)
{
	for (size_t i = 0; i < list->count; i++)
		if (uuid_equal(&list->items[i].object->uuid, &object->uuid))
			return true;
	return false;
}

static int list_validate(struct block *block, const struct object *pool, const char *field,
			 const struct ref_list *before, const struct ref_list *list, struct dpu_error *err)
{
	for (size_t i = 0; before && i < before->count; i++)
		if (!has(list, before->items[i].object))
			return error_set(err, DPU_E_UNSUPPORTED, field, "%s cannot be taken out of the pool",
					 before->items[i].object->name);
	for (size_t i = 0; i < list->count; i++) {
		int rc = block_check_exclusive(block, list->items[i].object, pool, field, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int pool_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	struct block *block = ctx;
	const struct pool_object *pool = (const struct pool_object *)new, *before = (const struct pool_object *)old;
	size_t count = pool->media.count + pool->remotes.count;
	int rc;

	if (!old && !model_loading(block->dpu->model) && pool->worker >= block->workers)
		return error_set(err, DPU_E_INVALID, "worker", "must be below %u, which is how many there are",
				 block->workers);
	if (count < 1)
		return error_set(err, DPU_E_INVALID, "media", "a pool needs a medium or a remote: name one");
	if (count > STORE_MAX_MEDIA)
		return error_set(err, DPU_E_INVALID, "media", "%zu media and remotes: there may be %d", count,
				 STORE_MAX_MEDIA);
	rc = list_validate(block, new, "media", before ? &before->media : NULL, &pool->media, err);
	if (rc == 0)
		rc = list_validate(block, new, "remotes", before ? &before->remotes : NULL, &pool->remotes, err);
	for (size_t i = 0; rc == 0 && i < pool->media.count; i++) {
		const struct medium_object *medium = (const struct medium_object *)pool->media.items[i].object;

		if (block_medium_read_only(&medium->base))
			rc = error_set(err, DPU_E_INVALID, "media", "%s is read-only", medium->base.name);
		else if (medium_keeps_nothing(&medium->base))
			rc = error_set(err, DPU_E_INVALID, "media", "%s is of kind null or on one, which keeps nothing",
				       medium->base.name);
	}
	return rc;
}

static void add_text(struct string_list *list, const char *text)
{
	list->items = reallocarray(list->items, list->count + 1, sizeof(*list->items));
	if (!list->items)
		abort();
	list->items[list->count++] = block_text(text);
}

static void pool_observe(void *ctx, const struct object *object, struct object *copy)
{
	enum { SHOWN = 1000 };
	struct pool *pool = pool_of(object);
	struct pool_object *out = (struct pool_object *)copy;
	const struct volume *volume;
	struct store_stats stats;

	(void)ctx;
	pool_stats(pool, &stats);
	out->state = pool->state;
	if (pool->why[0])
		out->why = block_text(pool->why);
	TAILQ_FOREACH(volume, &pool->volumes, link)
	{
		if (volume->snapshot)
			out->snapshots++;
		else
			out->volumes++;
	}
	out->unclaimed = pool->unclaimed_count;
	for (unsigned i = 0; i < pool->unclaimed_count && i < SHOWN; i++)
		add_text(&out->unclaimed_names, pool->unclaimed[i].name);
	out->fill = (uint8_t)atomic_load_explicit(&pool->fill, memory_order_relaxed);
	out->scrub_state = pool->scrub.state;
	out->scrub_progress = (uint8_t)pool_work_percent(&pool->scrub);
	out->scrub_damaged = atomic_load_explicit(&pool->scrub.damaged, memory_order_relaxed);
	out->bytes = stats.blocks * STORE_BLOCK;
	out->free_bytes = stats.free_blocks * STORE_BLOCK;
	out->allocated_bytes = out->bytes - out->free_bytes;
	out->map_pages = stats.pages;
	out->free_map_pages = stats.free_pages;
	out->log_bytes = stats.log_bytes;
	out->log_used_bytes = stats.log_used_bytes;
	out->checkpoint = stats.generation;
	out->replayed_records = stats.replayed_records;
	out->dropped_records = stats.dropped_records;
	out->integrity_errors = stats.integrity_errors;
	out->second_reads = stats.second_reads;
	out->flushes = stats.flushes;
	out->checkpoints = stats.checkpoints;
	out->medium_errors = stats.medium_errors;
	out->cached_pages = stats.cached_pages;
	out->dirty_pages = stats.dirty_pages;
	out->page_loads = stats.page_loads;
	out->page_evictions = stats.page_evictions;
}

const struct object_class pool_class = {
	.name = "pool",
	.plural = "pools",
	.doc = "Media together, of which thin volumes are made: each block with a CRC, crash-safe.",
	.example = "dpuctl pool create main media=disk0,disk1",
	.flags = CLASS_F_GLOBAL,
	.size = sizeof(struct pool_object),
	.fields = pool_fields,
	.actions = pool_actions,
	.max_objects = 256,
	.complete = pool_complete,
	.validate = pool_validate,
	.apply = pool_apply,
	.remove = pool_remove,
	.commit = intents_write,
	.observe = pool_observe,
};
