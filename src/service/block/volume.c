// SPDX-License-Identifier: BSD-3-Clause
/* Volumes and snapshots in force. What is not as its object says waits in the pool's list; the store gets a command for
 * the first of them, and the next when that is done. So commands come in the order of the transactions, referred-to
 * first within one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "service/block/block_priv.h"
#include "service/block/image/image.h"

struct volume *volume_of(const struct object *object)
{
	return object->runtime;
}

static struct volume *of_subject(struct subject *subject)
{
	return (struct volume *)((uint8_t *)subject - offsetof(struct volume, subject));
}

static void volume_settle(struct subject *subject);

struct volume *volume_of_subject(const struct subject *subject)
{
	return subject->settle == volume_settle ? of_subject((struct subject *)subject) : NULL;
}

void volume_set(struct volume *volume, enum block_state state, const char *why)
{
	volume->state = state;
	snprintf(volume->backing.why_not, sizeof(volume->backing.why_not), "%s", why);
}

bool block_is_coming(const struct object *object)
{
	if (object->class == &medium_class)
		return medium_of(object)->state == BLOCK_OPENING;
	if (object->class != &volume_class && object->class != &snapshot_class)
		return false;
	return volume_of(object)->pool->state == BLOCK_OPENING;
}

bool block_has_failed(const struct object *object, uint64_t *ret_bytes)
{
	if (object->class != &volume_class && object->class != &snapshot_class)
		return false;
	const struct volume *volume = volume_of(object);
	const struct object *sized =
		object->class == &volume_class ? object : ((const struct snapshot_object *)object)->volume.object;

	*ret_bytes = sized ? ((const struct volume_object *)sized)->size : 0;
	return !volume->backing.device && (volume->pool->state == BLOCK_FAILED || volume->state == BLOCK_FAILED ||
					   volume->state == BLOCK_QUARANTINED);
}

const _Atomic uint64_t *block_allocated(const struct object *object)
{
	bool thin = object->class == &volume_class || object->class == &snapshot_class;

	return thin ? &volume_of(object)->allocated_bytes : NULL;
}

/* One whose pool is not open has the pool's reasons. */
const char *volume_why(const struct volume *volume)
{
	static char text[2 * BLOCK_WHY_BYTES];
	const struct pool *pool = volume->pool;

	if (!volume->why[0] && volume->state == BLOCK_WAITING && !pool->ready && pool->why[0]) {
		snprintf(text, sizeof(text), "%.160s is %s: %s", pool->subject.name, block_state_names[pool->state],
			 pool->why);
		return text;
	}
	return volume->why[0] ? volume->why : volume->backing.why_not;
}

void volume_todo(struct volume *volume)
{
	if (volume->todo)
		return;
	volume->todo = true;
	TAILQ_INSERT_TAIL(&volume->pool->todo, volume, todo_link);
}

static void todo_end(struct volume *volume)
{
	if (volume->todo)
		TAILQ_REMOVE(&volume->pool->todo, volume, todo_link);
	volume->todo = false;
	subject_settled(&volume->subject);
}

static void volume_free(struct volume *volume)
{
	image_abort(volume);
	if (volume->subject.committed) /* with its pool perhaps */
		image_forget(volume);
	todo_end(volume);
	TAILQ_REMOVE(&volume->pool->volumes, volume, link);
	subject_fini(&volume->subject);
	block_backing_fini(&volume->backing);
	free(volume);
}

/* ---- its users are asked back ---- */

static void volume_down(void *arg)
{
	struct volume *volume = arg;
	struct pool *pool = volume->pool;

	volume->downing = false;
	volume_filter_down(volume);
	if (pool->downs > 0 && --pool->downs == 0)
		pool->then(pool);
	else if (pool->downs == 0)
		pool_step(pool);
}

static void down_begin(struct volume *volume, const char *why)
{
	if (volume->downing)
		return;
	volume->downing = true;
	volume_filter_drain(volume);
	block_backing_down(&volume->backing, why, volume_down, volume);
}

void volumes_down(struct pool *pool, const char *why, void (*then)(struct pool *pool))
{
	struct volume *volume;

	pool->then = then;
	pool->downs = 1;
	TAILQ_FOREACH(volume, &pool->volumes, link)
	{
		if (volume->state == BLOCK_READY)
			volume->state = BLOCK_WAITING;
		if (!volume->backing.device)
			continue;
		pool->downs++;
		down_begin(volume, why);
	}
	if (--pool->downs == 0)
		then(pool);
}

void volumes_forget(struct pool *pool)
{
	struct volume *volume;

	TAILQ_FOREACH(volume, &pool->volumes, link)
	{
		volume->id = 0;
		volume->device = NULL;
	}
}

void volume_quarantined(struct volume *volume, const char *why)
{
	if (volume->state == BLOCK_QUARANTINED)
		return;
	volume->state = BLOCK_QUARANTINED;
	subject_notice(&volume->subject, "volume-quarantined", why);
	if (volume->backing.device)
		down_begin(volume, why);
	else
		volume_set(volume, BLOCK_QUARANTINED, why);
}

/* ---- commands ---- */

static void failed(struct volume *volume, const char *why)
{
	char sentence[BLOCK_WHY_BYTES];

	snprintf(sentence, sizeof(sentence), "%.250s", why);
	if (volume->backing.device) /* it is there, but not as it is to be */
		volume->state = BLOCK_FAILED;
	else
		volume_set(volume, BLOCK_FAILED, sentence);
	snprintf(volume->why, sizeof(volume->why), "%s", sentence);
	subject_notice(&volume->subject, volume->snapshot ? "snapshot-failed" : "volume-failed", sentence);
	todo_end(volume);
}

static struct store_command *command_new(struct volume *volume, enum store_op op)
{
	struct store_command *command = &volume->pool->command;

	memset(command, 0, sizeof(*command));
	command->op = op;
	command->name = volume->key;
	command->volume = volume->id;
	return command;
}

static void deleted(struct pool *pool)
{
	struct volume *volume = pool->command_volume;
	const struct dpu_error *error = &pool->command.error;

	if (error->code != DPU_OK)
		log_warn("block", "a volume could not be deleted from its pool", "object=%s uuid=%s why=\"%s\"",
			 volume->subject.name, volume->key, error->message);
	if (error->code == DPU_OK || error->code == DPU_E_NOT_FOUND)
		intent_drop(volume);
	volume_free(volume);
	pool_step(pool);
}

static void made(struct pool *pool)
{
	struct volume *volume = pool->command_volume;

	if (pool->command.error.code != DPU_OK) {
		if (!volume->subject.leaving)
			failed(volume, pool->command.error.message);
	} else {
		volume->id = pool->command.ret_volume;
		volume->device = pool->command_device;
		volume->bytes = pool->command_bytes;
		volume->created_s = pool->command_created_s;
		intent_drop(volume);
	}
	pool_step(pool);
}

static uint64_t wanted_bytes(const struct volume *volume)
{
	return volume->snapshot ? volume->bytes : ((const struct volume_object *)volume->subject.object)->size;
}

/* What was asked for meanwhile is the next step, whatever became of this one. */
static bool overtaken(const struct volume *volume, uint64_t bytes)
{
	return volume->subject.leaving || bytes != wanted_bytes(volume);
}

static void serve(struct volume *volume)
{
	pool_live_add(volume);
	volume_qos_update(volume);
	if (!volume->backing.device) {
		volume_filter_up(volume);
		block_backing_up(&volume->backing, volume->qos.filter, volume->pool->worker);
	}
}

/* One that cannot be made as large as it is to be has its data all the same. */
static void resized(struct pool *pool)
{
	struct volume *volume = pool->command_volume;

	if (pool->command.error.code == DPU_OK) {
		volume->bytes = pool->command.bytes;
	} else if (!overtaken(volume, pool->command.bytes)) {
		if (volume->state != BLOCK_QUARANTINED)
			serve(volume);
		failed(volume, pool->command.error.message);
	}
	pool_step(pool);
}

struct volume *volume_source(const struct volume *volume)
{
	const struct object *object = volume->subject.object;

	if (volume->snapshot)
		return volume_of(((const struct snapshot_object *)object)->volume.object);
	const struct volume_object *config = (const struct volume_object *)object;
	const struct object *source =
		config->from_snapshot.object ? config->from_snapshot.object : config->from_volume.object;
	return source ? volume_of(source) : NULL;
}

/* False: it names one that is not there. */
static bool unclaimed_source(const struct volume *volume, uint64_t *ret_id)
{
	const struct volume_object *object = (const struct volume_object *)volume->subject.object;
	const struct found *found;

	if (volume->snapshot || !object->from_unclaimed)
		return true;
	found = pool_unclaimed_find(volume->pool, object->from_unclaimed);
	*ret_id = found ? found->id : 0;
	return found;
}

static void make(struct volume *volume)
{
	struct volume *source = volume_source(volume);
	struct store_command *command;
	char why[BLOCK_WHY_BYTES];
	uint64_t id = 0;

	if (source && !source->id && source->todo && !source->subject.leaving) {
		/* After a restart: first what it is a copy of. */
		TAILQ_REMOVE(&volume->pool->todo, source, todo_link);
		TAILQ_INSERT_HEAD(&volume->pool->todo, source, todo_link);
		return;
	}
	if (source && !source->id) {
		snprintf(why, sizeof(why), "%.200s, which it is a copy of, is not there", source->subject.name);
		failed(volume, why);
		return;
	}
	if (!unclaimed_source(volume, &id)) {
		failed(volume, "the pool does not have the unclaimed volume that it is to be a copy of");
		return;
	}
	if (source)
		id = source->id;
	command = command_new(volume, volume->snapshot ? STORE_SNAPSHOT : id ? STORE_CLONE : STORE_CREATE);
	command->volume = id;
	command->bytes = wanted_bytes(volume);
	pool_command(volume->pool, volume, made);
}

static void unmake(struct volume *volume)
{
	image_abort(volume);
	image_forget(volume);
	if (volume->backing.device) {
		down_begin(volume, "the volume was deleted");
		return;
	}
	if (!volume->id || volume->pool->subject.leaving) {
		intent_drop(volume);
		volume_free(volume);
		return;
	}
	command_new(volume, STORE_DELETE);
	pool_command(volume->pool, volume, deleted);
}

static void finished(struct volume *volume)
{
	if (volume->state != BLOCK_QUARANTINED) {
		volume->state = BLOCK_READY;
		volume->why[0] = '\0';
		serve(volume);
	}
	todo_end(volume);
}

/* A command, or down for one: then the pool is busy, or the volume not in line; or all is done. */
static void step(struct volume *volume)
{
	if (volume->subject.leaving) {
		unmake(volume);
		return;
	}
	if (!volume->id && !volume->intent) {
		failed(volume,
		       "the pool does not have it: its media are not the ones that they were, or it was deleted "
		       "by another DPU");
		return;
	}
	if (!volume->id) {
		make(volume);
		return;
	}
	if (volume->bytes != wanted_bytes(volume) && volume->state != BLOCK_QUARANTINED) {
		command_new(volume, STORE_RESIZE)->bytes = wanted_bytes(volume);
		pool_command(volume->pool, volume, resized);
		return;
	}
	finished(volume);
}

/* Whoever waits for his users to let go is in nobody's way: volume_down() is his next step. */
static struct volume *first_in_line(const struct pool *pool)
{
	struct volume *volume;

	TAILQ_FOREACH(volume, &pool->todo, todo_link)
	{
		if (!volume->downing)
			return volume;
	}
	return NULL;
}

void volumes_go(struct pool *pool)
{
	struct volume *volume;

	while (!pool->busy && (volume = first_in_line(pool)) != NULL)
		step(volume);
}

/* Those that go with their pool need no command; others that go stay until it opens. */
void volumes_stuck(struct pool *pool)
{
	struct volume *volume, *next;

	for (volume = TAILQ_FIRST(&pool->todo); volume; volume = next) {
		next = TAILQ_NEXT(volume, todo_link);
		if (volume->subject.leaving && pool->subject.leaving)
			volume_free(volume);
		else
			subject_settled(&volume->subject);
	}
}

/* ---- as a subject ---- */

static void volume_settle(struct subject *subject)
{
	struct volume *volume = of_subject(subject);

	volume_todo(volume);
	pool_step(volume->pool);
}

static void subject_free(struct subject *subject)
{
	if (!subject->block->ended)
		intent_drop(of_subject(subject));
	volume_free(of_subject(subject));
}

static struct volume *volume_new(struct block *block, struct object *object, bool snapshot)
{
	struct volume *volume = block_alloc(sizeof(*volume));

	block_backing_init(&volume->backing, block, object->name, "the pool is not open");
	subject_init(&volume->subject, block, object);
	volume->backing.limited = true;
	volume->subject.settle = volume_settle;
	volume->subject.free = subject_free;
	volume->snapshot = snapshot;
	uuid_format(&object->uuid, volume->key);
	volume->pool = snapshot ? volume_of(((struct snapshot_object *)object)->volume.object)->pool
				: pool_of(((struct volume_object *)object)->pool.object);
	TAILQ_INSERT_TAIL(&volume->pool->volumes, volume, link);
	return volume;
}

int volume_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct subject *subject = old ? NULL : subject_undelete(ctx, new);
	struct volume *volume = old       ? volume_of(new)
				: subject ? of_subject(subject)
					  : volume_new(ctx, new, new->class == &snapshot_class);

	(void)err;
	new->runtime = volume;
	block_backing_rename(&volume->backing, new->name);
	if (subject)
		intent_undelete(volume);
	subject_apply(&volume->subject, new);
	return 0;
}

void volume_remove(void *ctx, struct object *object)
{
	struct volume *volume = volume_of(object);

	(void)ctx;
	object->runtime = NULL;
	subject_remove(&volume->subject);
}
