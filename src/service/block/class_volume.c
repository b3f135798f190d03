// SPDX-License-Identifier: BSD-3-Clause
/* The classes "volume" and "snapshot": what of a pool belongs to a tenant. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "model/field_codec.h"
#include "service/block/block_priv.h"
#include "service/block/image/image.h"

/* ---- what both are checked for ---- */

/* A pool that this transaction creates has no runtime yet. */
static int pool_check(const struct block *block, const struct object *pool, const char *field, struct dpu_error *err)
{
	const struct pool *runtime = pool->runtime;

	if (!runtime || model_loading(block->dpu->model) || runtime->state == BLOCK_READY || runtime->subject.ticket)
		return 0;
	return error_set(err, DPU_E_IO, field, "%s is %s: %s", pool->name, block_state_names[runtime->state],
			 runtime->why);
}

static int source_check(const struct block *block, const struct object *source, const char *field,
			struct dpu_error *err)
{
	const struct volume *runtime = source->runtime;

	if (!runtime || model_loading(block->dpu->model) || runtime->id || runtime->subject.ticket)
		return 0;
	return error_set(err, DPU_E_IO, field, "%s is %s: %s", source->name, block_state_names[runtime->state],
			 runtime->backing.why_not);
}

static char *time_text(uint64_t unix_s)
{
	time_t at = (time_t)unix_s;
	struct tm when;
	char text[32];

	if (!at || !gmtime_r(&at, &when) || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &when) == 0)
		return NULL;
	return block_text(text);
}

/* Rows of both tables. */
#define FIELDS_OF_BOTH(object_)                                                                                        \
	FIELD(object_, attachments, .flags = FIELD_F_GAUGE, .unit = "attachments",                                     \
	      .doc = "Disks and namespaces that use it."),                                                             \
		FIELD(object_, image, .flags = FIELD_F_STATE | FIELD_F_DETAIL,                                         \
		      .doc = "Import or export that is under way, or how the last one ended."),                        \
		FIELD(object_, allocated_bytes, .flags = FIELD_F_GAUGE, .unit = "bytes",                               \
		      .doc = "What it takes of the pool, shared with others or not."),                                 \
		FIELD(object_, exclusive_bytes, .flags = FIELD_F_GAUGE | FIELD_F_DETAIL, .unit = "bytes",              \
		      .doc = "What deleting it would have given back when `pool measure` last looked."),               \
		FIELD(object_, shared_bytes, .flags = FIELD_F_GAUGE | FIELD_F_DETAIL, .unit = "bytes",                 \
		      .doc = "What of it others would have kept when `pool measure` last looked."),                    \
		FIELD(object_, measured, .flags = FIELD_F_STATE | FIELD_F_DETAIL,                                      \
		      .doc = "When that was; nothing: not since the pool was opened."),                                \
		FIELD(object_, integrity_errors, .flags = FIELD_F_COUNTER, .unit = "blocks",                           \
		      .doc = "Blocks of it that contradicted their CRC."),                                             \
		FIELD(object_, second_reads, .flags = FIELD_F_COUNTER | FIELD_F_DETAIL, .unit = "blocks",              \
		      .doc = "Blocks that contradicted their CRC in the reader's memory, which it may have changed "   \
			     "meanwhile, and were read once more."),                                                   \
		FIELD(object_, reads, .flags = FIELD_F_COUNTER, .unit = "requests", .doc = "Reads of it.")

/* ---- volumes ---- */

static const struct field volume_fields[] = {
	FIELD(struct volume_object, pool, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE | FIELD_F_PARENT,
	      .target = "pool", .doc = "The pool that it is made of."),
	FIELD(struct volume_object, size, .unit = "bytes", .flags = FIELD_F_GENERATED, .max = FIELD_U64_MAX,
	      .doc = "How large it is, a multiple of 512; a copy is by default as large as its source. It takes only "
		     "the "
		     "space that was written."),
	FIELD(struct volume_object, from_snapshot, .target = "snapshot",
	      .doc = "The snapshot that it begins as a copy of, in no time. Once it is there the two are independent: "
		     "set this to nothing to delete the snapshot."),
	FIELD(struct volume_object, from_volume, .target = "volume",
	      .doc = "The same of a volume, as it is when the copy is made."),
	FIELD(struct volume_object, qos, .target = "qos_policy",
	      .doc = "What it is guaranteed and may use, beside what its tenant is and may."),
	FIELD(struct volume_object, from_unclaimed, .max = UUID_TEXT - 1,
	      .doc = "The same of a volume or snapshot in the pool that is no object, by its UUID."),
	FIELD(struct volume_object, shrinkable, .def = "false",
	      .doc = "Whether size may be made smaller, which cuts off data."),
	FIELD_ENUM_ROW(struct volume_object, state, block_state_names, .flags = FIELD_F_STATE,
		       .doc = "Whether it can be used."),
	FIELD(struct volume_object, why, .flags = FIELD_F_STATE, .doc = "Why it cannot."),
	FIELDS_OF_BOTH(struct volume_object),
	FIELD(struct volume_object, writes, .flags = FIELD_F_COUNTER, .unit = "requests", .doc = "Writes to it."),
	FIELD(struct volume_object, read_p50_us, .flags = FIELD_F_STATE, .unit = "microseconds",
	      .doc = "Half of its reads took no longer; `volume latency` says more."),
	FIELD(struct volume_object, read_p99_us, .flags = FIELD_F_STATE, .unit = "microseconds",
	      .doc = "99 of 100 reads took no longer."),
	FIELD(struct volume_object, write_p50_us, .flags = FIELD_F_STATE, .unit = "microseconds",
	      .doc = "Half of its writes took no longer."),
	FIELD(struct volume_object, write_p99_us, .flags = FIELD_F_STATE, .unit = "microseconds",
	      .doc = "99 of 100 writes took no longer."),
	{ 0 },
};

static uint64_t source_bytes(const struct object *source)
{
	if (source->class == &volume_class)
		return ((const struct volume_object *)source)->size;
	const struct volume *runtime = source->runtime;
	const struct object *volume = ((const struct snapshot_object *)source)->volume.object;

	/* A snapshot keeps the size that its volume had; one that is made now has its present size. */
	return runtime && runtime->id ? runtime->bytes : ((const struct volume_object *)volume)->size;
}

static const struct object *source_pool(const struct object *source)
{
	if (source->class == &snapshot_class)
		source = ((const struct snapshot_object *)source)->volume.object;
	return ((const struct volume_object *)source)->pool.object;
}

static int volume_complete(void *ctx, const struct object *old, struct object *new, struct dpu_error *err)
{
	struct volume_object *volume = (struct volume_object *)new;
	const struct object *source =
		volume->from_snapshot.object ? volume->from_snapshot.object : volume->from_volume.object;

	const struct pool *pool = volume->pool.object->runtime;
	const struct found *found =
		volume->from_unclaimed && pool ? pool_unclaimed_find(pool, volume->from_unclaimed) : NULL;

	(void)ctx;
	(void)old;
	(void)err;
	if (volume->size == 0 && source)
		volume->size = source_bytes(source);
	else if (volume->size == 0 && found)
		volume->size = found->bytes;
	return 0;
}

static int unclaimed_validate(const struct block *block, const struct volume_object *volume, struct dpu_error *err)
{
	const struct pool *pool = volume->pool.object->runtime;
	const struct found *found = pool ? pool_unclaimed_find(pool, volume->from_unclaimed) : NULL;

	if (model_loading(block->dpu->model))
		return 0;
	if (!found)
		return error_set(err, DPU_E_NOT_FOUND, "from_unclaimed", "is not in pool %s: see its unclaimed_names",
				 volume->pool.object->name);
	if (volume->size < found->bytes)
		return error_set(err, DPU_E_INVALID, "size", "must be at least the source's, %llu",
				 (unsigned long long)found->bytes);
	return 0;
}

static int source_validate(const struct block *block, const struct volume_object *volume, struct dpu_error *err)
{
	const struct object *snapshot = volume->from_snapshot.object, *other = volume->from_volume.object;
	const struct object *source = snapshot ? snapshot : other;
	const char *field = snapshot ? "from_snapshot" : "from_volume";

	if ((snapshot != NULL) + (other != NULL) + (volume->from_unclaimed != NULL) > 1)
		return error_set(err, DPU_E_INVALID, volume->from_unclaimed ? "from_unclaimed" : field,
				 "goes alone: it is a copy of one");
	if (volume->from_unclaimed)
		return unclaimed_validate(block, volume, err);
	if (!source)
		return 0;
	if (!uuid_equal(&source_pool(source)->uuid, &volume->pool.object->uuid))
		return error_set(err, DPU_E_INVALID, field, "is in pool %s; a copy is in the same pool",
				 source_pool(source)->name);
	/* At a restart the pool is not open, and how large a snapshot is is not known: its volume may have grown since.
	 */
	if (!model_loading(block->dpu->model) && volume->size < source_bytes(source))
		return error_set(err, DPU_E_INVALID, "size", "must be at least the source's, %llu",
				 (unsigned long long)source_bytes(source));
	return source_check(block, source, field, err);
}

static bool same(const struct ref *a, const struct ref *b)
{
	return a->object && b->object && uuid_equal(&a->object->uuid, &b->object->uuid);
}

static int change_validate(const struct volume_object *before, const struct volume_object *volume,
			   struct dpu_error *err)
{
	const char *field = NULL;

	if (volume->from_snapshot.object && !same(&volume->from_snapshot, &before->from_snapshot))
		field = "from_snapshot";
	if (volume->from_volume.object && !same(&volume->from_volume, &before->from_volume))
		field = "from_volume";
	if (volume->from_unclaimed &&
	    (!before->from_unclaimed || strcmp(volume->from_unclaimed, before->from_unclaimed) != 0))
		field = "from_unclaimed";
	if (field)
		return error_set(err, DPU_E_INVALID, field, "is fixed after creation, but can be set to nothing");
	if (volume->size < before->size && !volume->shrinkable)
		return error_set(err, DPU_E_DENIED, "size",
				 "would cut off what is behind %llu bytes: set shrinkable to true if that is meant",
				 (unsigned long long)volume->size);
	return 0;
}

static int add_size(void *arg, struct object *object)
{
	*(uint64_t *)arg += ((const struct volume_object *)object)->size;
	return 0;
}

/* The tenant's class says how much, if it does. */
static int quota_check(const struct block *block, const struct volume_object *volume, struct dpu_error *err)
{
	const struct object *tenant = volume->base.tenant;
	const struct field *quota = field_find(tenant->class->fields, "max_volume_bytes");
	uint64_t limit = quota ? field_number(quota, tenant) : 0, sum = 0;

	if (limit == 0 || model_loading(block->dpu->model))
		return 0;
	model_each(block->dpu->model, "volume", tenant, add_size, &sum);
	if (sum <= limit)
		return 0;
	return error_set(err, DPU_E_LIMIT, "size",
			 "would bring the volumes of tenant %s to %llu bytes, and max_volume_bytes is %llu",
			 tenant->name, (unsigned long long)sum, (unsigned long long)limit);
}

static int volume_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	const struct block *block = ctx;
	const struct volume_object *volume = (const struct volume_object *)new;
	int rc = block_policy_check(new, &volume->qos, err);

	if (rc == 0)
		rc = object_same_tenant(new, volume->from_snapshot.object, "from_snapshot", err);
	if (rc == 0)
		rc = object_same_tenant(new, volume->from_volume.object, "from_volume", err);
	if (rc < 0)
		return rc;
	if (volume->size == 0 && volume->from_unclaimed)
		return unclaimed_validate(block, volume, err);
	if (volume->size == 0)
		return error_set(err, DPU_E_INVALID, "size",
				 "must be given, and not be 0, unless the volume is a copy");
	if (volume->size % DPU_BLOCK_SECTOR || volume->size > BLOCK_VOLUME_MAX_BYTES)
		return error_set(err, DPU_E_INVALID, "size", "must be a multiple of %d, at most %llu (128 TiB)",
				 DPU_BLOCK_SECTOR, (unsigned long long)BLOCK_VOLUME_MAX_BYTES);
	if (!old || volume->size > ((const struct volume_object *)old)->size)
		rc = quota_check(block, volume, err);
	if (rc == 0 && old)
		rc = change_validate((const struct volume_object *)old, volume, err);
	if (rc != 0 || old)
		return rc;
	rc = pool_check(block, volume->pool.object, "pool", err);
	if (rc == 0)
		rc = pool_room_check(block, volume->pool.object, "pool", err);
	return rc ? rc : source_validate(block, volume, err);
}

static uint64_t quantile_us(const struct volume *volume, enum qos_class class, uint32_t millionths)
{
	struct histogram whole;

	if (!volume->qos.filter)
		return 0;
	qos_latency(volume->qos.filter, class, QOS_STAGE_WHOLE, &whole);
	return histogram_quantile(&whole, millionths) / 1000;
}

static void volume_observe(void *ctx, const struct object *object, struct object *copy)
{
	struct volume *volume = volume_of(object);
	struct volume_object *out = (struct volume_object *)copy;

	(void)ctx;
	out->state = volume->state;
	if (volume->state != BLOCK_READY)
		out->why = block_text(volume_why(volume));
	out->image = image_text(volume);
	out->attachments = block_backing_users(&volume->backing);
	out->allocated_bytes = atomic_load_explicit(&volume->allocated_bytes, memory_order_relaxed);
	out->exclusive_bytes = atomic_load_explicit(&volume->exclusive_bytes, memory_order_relaxed);
	out->shared_bytes = atomic_load_explicit(&volume->shared_bytes, memory_order_relaxed);
	out->measured = time_text(atomic_load_explicit(&volume->measured_s, memory_order_relaxed));
	out->reads = atomic_load_explicit(&volume->reads, memory_order_relaxed);
	out->writes = atomic_load_explicit(&volume->writes, memory_order_relaxed);
	out->integrity_errors = atomic_load_explicit(&volume->integrity_errors, memory_order_relaxed);
	out->second_reads = atomic_load_explicit(&volume->second_reads, memory_order_relaxed);
	out->read_p50_us = quantile_us(volume, QOS_READS, 500000);
	out->read_p99_us = quantile_us(volume, QOS_READS, 990000);
	out->write_p50_us = quantile_us(volume, QOS_WRITES, 500000);
	out->write_p99_us = quantile_us(volume, QOS_WRITES, 990000);
}

static int volume_latency(void *ctx, struct object *object, const void *args, json_t **ret_result,
			  struct dpu_error *err)
{
	(void)ctx;
	(void)args;
	return block_latency(NULL, object, ret_result, err);
}

static int volume_slowest(void *ctx, struct object *object, const void *args, struct action_reply *reply,
			  struct dpu_error *err)
{
	(void)ctx;
	(void)args;
	return block_slowest(NULL, object, reply, err);
}

static const struct action volume_actions[] = {
	BLOCK_LATENCY_ACTION(volume_latency),
	BLOCK_SLOWEST_ACTION(volume_slowest),
	BLOCK_WHY_ACTION("volume", volume_why_start),
	IMAGE_IMPORT_ACTION,
	IMAGE_EXPORT_ACTION("volume"),
	IMAGE_PROGRESS_ACTION("volume"),
	IMAGE_CANCEL_ACTION("volume"),
	{ 0 },
};

const struct object_class volume_class = {
	.name = "volume",
	.plural = "volumes",
	.doc = "A thin volume of a tenant: what a disk or an NVMe namespace shows.",
	.example = "dpuctl volume create blue/web pool=main size=10G",
	.size = sizeof(struct volume_object),
	.fields = volume_fields,
	.actions = volume_actions,
	.complete = volume_complete,
	.validate = volume_validate,
	.apply = volume_apply,
	.remove = volume_remove,
	.commit = intents_write,
	.observe = volume_observe,
};

/* ---- snapshots ---- */

static const struct field snapshot_fields[] = {
	FIELD(struct snapshot_object, volume, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE | FIELD_F_PARENT,
	      .target = "volume", .doc = "The volume that it is of, as it is when the snapshot is made."),
	FIELD(struct snapshot_object, qos, .target = "qos_policy",
	      .doc = "What those who read it are guaranteed and may use, beside what its tenant is and may."),
	FIELD_ENUM_ROW(struct snapshot_object, state, block_state_names, .flags = FIELD_F_STATE,
		       .doc = "Whether it can be used."),
	FIELD(struct snapshot_object, why, .flags = FIELD_F_STATE, .doc = "Why it cannot."),
	FIELD(struct snapshot_object, created, .flags = FIELD_F_STATE, .doc = "When it was made."),
	FIELD(struct snapshot_object, bytes, .unit = "bytes", .flags = FIELD_F_GAUGE, .doc = "How large it is."),
	FIELDS_OF_BOTH(struct snapshot_object),
	{ 0 },
};

static int snapshot_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	const struct block *block = ctx;
	const struct object *volume = ((const struct snapshot_object *)new)->volume.object;
	const struct object *pool = ((const struct volume_object *)volume)->pool.object;
	int rc = block_policy_check(new, &((const struct snapshot_object *)new)->qos, err);

	if (rc == 0)
		rc = object_same_tenant(new, volume, "volume", err);
	if (rc < 0 || old)
		return rc;
	rc = pool_check(block, pool, "volume", err);
	if (rc == 0)
		rc = pool_room_check(block, pool, "volume", err);
	return rc ? rc : source_check(block, volume, "volume", err);
}

static void snapshot_observe(void *ctx, const struct object *object, struct object *copy)
{
	struct volume *volume = volume_of(object);
	struct snapshot_object *out = (struct snapshot_object *)copy;

	(void)ctx;
	out->state = volume->state;
	if (volume->state != BLOCK_READY)
		out->why = block_text(volume_why(volume));
	out->created = time_text(volume->created_s);
	out->bytes = volume->bytes;
	out->image = image_text(volume);
	out->attachments = block_backing_users(&volume->backing);
	out->allocated_bytes = atomic_load_explicit(&volume->allocated_bytes, memory_order_relaxed);
	out->exclusive_bytes = atomic_load_explicit(&volume->exclusive_bytes, memory_order_relaxed);
	out->shared_bytes = atomic_load_explicit(&volume->shared_bytes, memory_order_relaxed);
	out->measured = time_text(atomic_load_explicit(&volume->measured_s, memory_order_relaxed));
	out->reads = atomic_load_explicit(&volume->reads, memory_order_relaxed);
	out->integrity_errors = atomic_load_explicit(&volume->integrity_errors, memory_order_relaxed);
	out->second_reads = atomic_load_explicit(&volume->second_reads, memory_order_relaxed);
}

static const struct action snapshot_actions[] = {
	BLOCK_LATENCY_ACTION(volume_latency),
	BLOCK_SLOWEST_ACTION(volume_slowest),
	BLOCK_WHY_ACTION("snapshot", volume_why_start),
	IMAGE_EXPORT_ACTION("snapshot"),
	IMAGE_PROGRESS_ACTION("snapshot"),
	IMAGE_CANCEL_ACTION("snapshot"),
	{ 0 },
};

const struct object_class snapshot_class = {
	.name = "snapshot",
	.plural = "snapshots",
	.doc = "A volume as it was at an instant, to be read and copied.",
	.example = "dpuctl snapshot create blue/monday volume=web",
	.size = sizeof(struct snapshot_object),
	.fields = snapshot_fields,
	.actions = snapshot_actions,
	.validate = snapshot_validate,
	.apply = volume_apply,
	.remove = volume_remove,
	.commit = intents_write,
	.observe = snapshot_observe,
};
