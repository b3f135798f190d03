// SPDX-License-Identifier: BSD-3-Clause
/* A pool's store in its worker: polled there, given commands from control, and what it counts made known. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "service/block/block_priv.h"

static const uint64_t PUBLISH_NS = 50 * CLOCK_NS_PER_MS;

static struct pool *of_source(struct worker_source *source)
{
	return (struct pool *)((uint8_t *)source - offsetof(struct pool, source));
}

/* ---- the source ---- */

static unsigned source_poll(struct worker_source *source, struct worker *worker)
{
	struct pool *pool = of_source(source);
	unsigned work = store_poll(pool->store);

	(void)worker;
	pool->unpublished |= work > 0;
	if (pool->draining && store_drained(pool->store)) {
		pool->draining = false;
		note_send(pool->subject.block, &pool->command_note);
	}
	return work;
}

static void publish_volume(struct volume *volume)
{
	struct store_volume_info info;

	store_info(volume->device, &info);
	atomic_store_explicit(&volume->reads, info.reads, memory_order_relaxed);
	atomic_store_explicit(&volume->writes, info.writes, memory_order_relaxed);
	atomic_store_explicit(&volume->allocated_bytes, info.allocated_bytes, memory_order_relaxed);
	atomic_store_explicit(&volume->exclusive_bytes, info.exclusive_bytes, memory_order_relaxed);
	atomic_store_explicit(&volume->shared_bytes, info.shared_bytes, memory_order_relaxed);
	atomic_store_explicit(&volume->measured_s, info.measured_s, memory_order_relaxed);
	atomic_store_explicit(&volume->integrity_errors, info.integrity_errors, memory_order_relaxed);
	atomic_store_explicit(&volume->second_reads, info.second_reads, memory_order_relaxed);
	if (info.quarantined)
		pool_volume_damaged(volume);
}

void pool_publish(struct pool *pool)
{
	struct volume *volume;

	LIST_FOREACH(volume, &pool->live, live_link)
	publish_volume(volume);
	pool_work_publish(pool);
	if (pthread_mutex_trylock(&pool->published_lock) != 0)
		return;
	store_stats(pool->store, &pool->published);
	pthread_mutex_unlock(&pool->published_lock);
	if (pool->published.max_volumes) /* it is open */
		pool_room_publish(pool, &pool->published);
	pool->unpublished = false;
}

/* At most so often, and once more when the work has ended. */
static uint64_t publish_at(struct pool *pool, uint64_t now_ns)
{
	if (!pool->unpublished)
		return UINT64_MAX;
	if (now_ns - pool->published_ns < PUBLISH_NS)
		return pool->published_ns + PUBLISH_NS;
	pool->published_ns = now_ns;
	pool_publish(pool);
	return pool->unpublished ? now_ns + PUBLISH_NS : UINT64_MAX; /* control was reading */
}

static uint64_t source_tick(struct worker_source *source, struct worker *worker, uint64_t now_ns)
{
	struct pool *pool = of_source(source);
	uint64_t at = publish_at(pool, now_ns), due = store_due_ns(pool->store);

	(void)worker;
	if (due < at)
		at = due;
	return at == UINT64_MAX ? at : at > now_ns ? at - now_ns : 0;
}

void pool_stats(struct pool *pool, struct store_stats *ret)
{
	pthread_mutex_lock(&pool->published_lock);
	*ret = pool->published;
	pthread_mutex_unlock(&pool->published_lock);
}

/* ---- commands ---- */

static void live_add(struct volume *volume)
{
	if (volume->live || !volume->device)
		return;
	volume->live = true;
	LIST_INSERT_HEAD(&volume->pool->live, volume, live_link);
	publish_volume(volume);
}

static void live_add_call(void *arg, struct worker *worker)
{
	(void)worker;
	live_add(arg);
}

void pool_live_add(struct volume *volume)
{
	block_call(volume->pool->worker, live_add_call, volume, NULL);
}

static void command_over(struct note *note)
{
	struct pool *pool = (struct pool *)((uint8_t *)note - offsetof(struct pool, command_note));

	pool->busy = false;
	pool->then(pool);
}

/* What an opened pool has, in order of ids. Memory that is not there now is not there in control either. */
static void found_list(struct pool *pool)
{
	struct store_volume_info info;
	uint32_t cursor = 0;
	unsigned room = 0;

	pool->found_count = 0;
	while (store_iterate(pool->store, &cursor, &info)) {
		if (info.deleting && !info.quarantined) /* it goes by itself */
			continue;
		if (pool->found_count == room) {
			room = room ? 2 * room : 64;
			pool->found = reallocarray(pool->found, room, sizeof(*pool->found));
			if (!pool->found)
				abort();
		}
		struct found *found = &pool->found[pool->found_count++];
		*found = (struct found){ .id = info.id,
					 .bytes = info.bytes,
					 .created_s = info.created_s,
					 .snapshot = info.snapshot,
					 .quarantined = info.quarantined,
					 .device = store_device(pool->store, info.id) };
		snprintf(found->name, sizeof(found->name), "%s", info.name);
	}
}

static void command_done(struct store_command *command)
{
	struct pool *pool = command->ctx;

	pool->command_device = NULL;
	if (command->error.code == DPU_OK && command->op == STORE_OPEN)
		found_list(pool);
	for (unsigned i = 0; command->op <= STORE_OPEN && i < pool->served_count; i++)
		pool->served[i]->taken = store_has(pool->store, pool->served[i]->device);
	if (command->error.code == DPU_OK && command->ret_volume) {
		pool->command_device = store_device(pool->store, command->ret_volume);
		pool->command_bytes = pool->command_created_s = 0;
	}
	if (pool->command_device) {
		struct store_volume_info info;
		store_info(pool->command_device, &info);
		pool->command_bytes = info.bytes;
		pool->command_created_s = info.created_s;
	}
	pool_publish(pool);
	note_send(pool->subject.block, &pool->command_note);
}

static void command_submit(void *arg, struct worker *worker)
{
	struct pool *pool = arg;
	struct volume *volume = pool->command_volume;

	(void)worker;
	if (volume && volume->live && pool->command.op == STORE_DELETE) {
		volume->live = false;
		LIST_REMOVE(volume, live_link);
	}
	store_submit(pool->store, &pool->command);
}

void pool_command(struct pool *pool, struct volume *volume, void (*then)(struct pool *pool))
{
	pool->busy = true;
	pool->command.done = command_done;
	pool->command.ctx = pool;
	pool->command_volume = volume;
	pool->command_note.fn = command_over;
	pool->then = then;
	block_call(pool->worker, command_submit, pool, NULL);
}

/* ---- life ---- */

static void tail_path(const struct pool *pool, char *path, size_t bytes)
{
	char uuid[UUID_TEXT];

	snprintf(path, bytes, "%s/pool-%s.tail", pool->subject.block->dpu->state_dir,
		 uuid_format(&pool->subject.uuid, uuid));
}

void pool_tail_remove(const struct pool *pool)
{
	char path[PATH_MAX];

	tail_path(pool, path, sizeof(path));
	unlink(path);
}

int pool_serve(struct pool *pool, struct dpu_error *err)
{
	const struct pool_object *object = (const struct pool_object *)pool->subject.object;
	struct dpu_block_device *devices[STORE_MAX_MEDIA];
	char path[PATH_MAX];
	struct store_options options = { .name = object->base.name,
					 .tail_path = path,
					 .cache_pages = object->cache_mb * 256,
					 .report = pool_report,
					 .ctx = pool };

	pool->served_count = 0;
	for (unsigned i = 0; i < pool->media_count; i++) {
		if (!pool->media[i]->in_use)
			continue;
		devices[pool->served_count] = pool->media[i]->device;
		pool->served[pool->served_count++] = pool->media[i];
	}
	tail_path(pool, path, sizeof(path));
	int rc = store_new(&options, devices, pool->served_count, &pool->store, err);
	if (rc != 0)
		return err->code ? rc : error_set(err, DPU_E_LIMIT, NULL, "no memory for the pool");
	pool->source = (struct worker_source){ .poll = source_poll, .tick = source_tick, .fd = -1, .name = "pool" };
	LIST_INIT(&pool->live);
	pool->unpublished = true;
	if (worker_add_source(pool->worker, &pool->source) != 0)
		abort(); /* out of memory */
	return 0;
}

static void source_removed(void *arg)
{
	struct pool *pool = arg;
	struct volume *volume;

	LIST_FOREACH(volume, &pool->live, live_link)
	volume->live = false;
	store_free(pool->store);
	pool->store = NULL;
	pool->busy = false;
	pool->then(pool);
}

static void drained(struct note *note)
{
	struct pool *pool = (struct pool *)((uint8_t *)note - offsetof(struct pool, command_note));

	worker_remove_source(pool->worker, &pool->source, source_removed, pool);
}

static void drain(void *arg, struct worker *worker)
{
	struct pool *pool = arg;

	(void)worker;
	pool->draining = true;
	worker_source_ready(&pool->source);
}

/* What the media have comes back before the store is freed. */
void pool_serve_end(struct pool *pool, void (*then)(struct pool *pool))
{
	pool->busy = true;
	pool->then = then;
	pool->command_note.fn = drained;
	block_call(pool->worker, drain, pool, NULL);
}
