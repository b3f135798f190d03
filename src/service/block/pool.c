// SPDX-License-Identifier: BSD-3-Clause
/* Pools in force: opened when their media are there, formatted when they are new, closed when a medium is asked back or
 * the DPU stops. One step after the other; each ends in pool_step(), which finds the next. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "service/block/block_priv.h"

struct pool *pool_of(const struct object *object)
{
	return object->runtime;
}

static struct pool *of_subject(struct subject *subject)
{
	return (struct pool *)((uint8_t *)subject - offsetof(struct pool, subject));
}

bool pool_closed(const struct pool *pool)
{
	return !pool->store && !pool->busy;
}

static void state_set(struct pool *pool, enum block_state state, const char *why)
{
	pool->state = state;
	snprintf(pool->why, sizeof(pool->why), "%s", why);
}

/* ---- opening ---- */

/* Each step that has waited for a medium asks again: the pool's object may be gone. */
static bool wants_open(const struct pool *pool)
{
	const struct block *block = pool->subject.block;

	return block->started && !block->stopping && !pool->subject.leaving && !pool->reopen && !pool_media_asked(pool);
}

static void open_failed(struct pool *pool)
{
	pool->refused = true;
	pool_step(pool);
}

static void opening_fails(struct pool *pool, const char *why)
{
	state_set(pool, BLOCK_FAILED, why);
	subject_notice(&pool->subject, "pool-failed", why);
}

/* Whether what was found is what a formatting of this pool has left that a crash cut short. */
static bool is_half_made(const struct pool *pool)
{
	return pool->unmade && !pool->format && pool->command.error.code == DPU_E_NOT_FOUND;
}

static void format_again(struct pool *pool)
{
	log_info("block", "a formatting that was cut short begins again", "object=%s", pool->subject.name);
	pool->format = true;
	pool_step(pool);
}

static void opened(struct pool *pool)
{
	struct store_stats stats;

	if (is_half_made(pool)) {
		pool_serve_end(pool, format_again);
		return;
	}
	if (pool->command.error.code != DPU_OK || intent_formatted(pool, &pool->command.error) != 0) {
		char why[BLOCK_WHY_BYTES];
		snprintf(why, sizeof(why), "%.250s", pool->command.error.message);
		opening_fails(pool, why);
		pool_serve_end(pool, open_failed);
		return;
	}
	pool->format = pool->erase = pool->unmade = false;
	pool->ready = true;
	for (unsigned i = 0; i < pool->served_count; i++)
		pool->served[i]->in_use = pool->served[i]->taken;
	state_set(pool, BLOCK_READY, "");
	pool_stats(pool, &stats);
	log_info("block", "pool opened", "object=%s worker=%u generation=%llu replayed=%llu dropped=%llu",
		 pool->subject.name, worker_index(pool->worker), (unsigned long long)stats.generation,
		 (unsigned long long)stats.replayed_records, (unsigned long long)stats.dropped_records);
	pool_reconcile(pool);
	pool_step(pool);
}

static void open_with(struct pool *pool, enum store_op op)
{
	struct dpu_error err = { 0 };
	char why[BLOCK_WHY_BYTES];

	if (pool_serve(pool, &err) != 0) {
		subject_why(why, &err);
		opening_fails(pool, why);
		open_failed(pool);
		return;
	}
	memset(&pool->command, 0, sizeof(pool->command));
	pool->command.op = op;
	pool->command.force = pool->force;
	pool->command.owner = pool->subject.uuid.bytes;
	pool->command.max_volumes = ((const struct pool_object *)pool->subject.object)->max_volumes;
	pool_command(pool, NULL, opened);
}

static bool is_mine(const struct pool *pool, const struct store_super *super)
{
	return memcmp(super->owner, pool->subject.uuid.bytes, sizeof(super->owner)) == 0;
}

/* Which of the media's pools is this one: the one that was made for it. Of others, only one can be taken for it.
 * NULL, or why none can. */
static const char *choose(struct pool *pool, struct store_super *ret, bool *ret_found)
{
	const struct super_io *io = pool->super_io;
	struct store_super super;
	bool several = false, owned = false;

	*ret_found = false;
	for (unsigned i = 0; i < io->count; i++) {
		if (!pool_super(io, i, &super))
			continue;
		bool mine = is_mine(pool, &super);
		if (!*ret_found || (mine && !owned)) {
			*ret = super;
			*ret_found = true;
			owned = mine;
			several = false;
		} else if (mine == owned && memcmp(super.pool, ret->pool, sizeof(super.pool)) != 0) {
			several = true;
		}
	}
	return several ? "its media hold different pools, and which one it is cannot be told" : NULL;
}

/* A new pool takes no medium that holds another already, but what it has begun itself. NULL, or why not. */
static const char *use_all(struct pool *pool, char *why, size_t why_bytes)
{
	const struct super_io *io = pool->super_io;
	struct store_super super;

	for (unsigned i = 0; i < io->count; i++) {
		io->media[i].medium->in_use = true;
		if (pool->erase || !pool_super(io, i, &super) || (pool->unmade && is_mine(pool, &super)))
			continue;
		snprintf(why, why_bytes,
			 "medium %.60s holds a pool already: `pool adopt` takes it over, `pool format` erases it",
			 io->media[i].medium->backing->name);
		return why;
	}
	return NULL;
}

static void probed(struct pool *pool, const struct dpu_error *err)
{
	char why[BLOCK_WHY_BYTES];

	if (!wants_open(pool)) {
		pool_step(pool);
		return;
	}
	if (!err) {
		open_with(pool, STORE_FORMAT);
		return;
	}
	snprintf(why, sizeof(why), "%.200s%s", err->message,
		 err->code == DPU_E_EXISTS ? ": `pool format` erases it" : "");
	opening_fails(pool, why);
	open_failed(pool);
}

static void probe_all(struct pool *pool)
{
	struct pool_medium *media[STORE_MAX_MEDIA];
	unsigned count = 0;

	for (unsigned i = 0; i < pool->media_count; i++)
		if (pool->media[i]->in_use) /* another may be on its way */
			media[count++] = pool->media[i];
	pool_probe(pool, media, count, pool->erase, probed);
}

/* An old pool leaves out media that were added and are blank still, or hold another one. */
static const char *use_known(struct pool *pool)
{
	const struct super_io *io = pool->super_io;
	struct store_super mine, super;
	bool found;
	const char *why = choose(pool, &mine, &found);

	for (unsigned i = 0; i < io->count; i++) /* a pool that has lost its superblocks says so itself */
		io->media[i].medium->in_use =
			!found || (pool_super(io, i, &super) && memcmp(super.pool, mine.pool, sizeof(mine.pool)) == 0);
	return why;
}

/* A formatting has ended if each medium has a superblock of its; then the root says whether it is whole. */
static bool supers_are_all_there(const struct pool *pool)
{
	const struct super_io *io = pool->super_io;
	struct store_super super;

	for (unsigned i = 0; i < io->count; i++)
		if (!pool_super(io, i, &super) || !is_mine(pool, &super))
			return false;
	return true;
}

static void supers_known(struct pool *pool)
{
	char why[BLOCK_WHY_BYTES];

	if (!wants_open(pool)) {
		pool_supers_free(pool);
		pool->busy = false;
		pool_step(pool);
		return;
	}
	if (pool->unmade && !pool->super_io->failed && !supers_are_all_there(pool))
		pool->format = true;
	const struct pool_medium *failed = pool->super_io->failed;
	const char *refused = failed ? why : pool->format ? use_all(pool, why, sizeof(why)) : use_known(pool);

	if (failed)
		snprintf(why, sizeof(why), "medium %.60s: a superblock at its beginning or end cannot be read",
			 failed->backing->name);
	pool_supers_free(pool);
	pool->busy = false;
	if (refused) {
		opening_fails(pool, refused);
		open_failed(pool);
	} else if (pool->format) {
		probe_all(pool);
	} else {
		open_with(pool, STORE_OPEN);
	}
}

static void pool_open(struct pool *pool)
{
	state_set(pool, BLOCK_OPENING, pool->format ? "the pool is being formatted" : "the pool is being recovered");
	pool_supers_read(pool, supers_known);
}

/* ---- closing ---- */

static void pool_free(struct pool *pool)
{
	struct block *block = pool->subject.block;

	TAILQ_REMOVE(&block->pools, pool, link);
	if (!block->ended)
		intents_drop_pool(pool);
	subject_fini(&pool->subject);
	pthread_mutex_destroy(&pool->published_lock);
	free(pool->unclaimed);
	free(pool->found);
	free(pool);
	block_stop_check(block);
}

static void ended(struct pool *pool)
{
	if (pool->super_io) { /* erased */
		pool_supers_free(pool);
		pool->busy = false;
		pool_tail_remove(pool);
		intents_drop_pool(pool);
	}
	for (unsigned i = 0; i < pool->media_count; i++)
		pool->media[i]->in_use = false;
	pool->served_count = 0;
	volumes_forget(pool);
	state_set(pool, BLOCK_WAITING, "the pool is closed");
	pool_step(pool);
}

static void served(struct pool *pool)
{
	if (pool->subject.committed)
		pool_supers_erase(pool, ended);
	else
		ended(pool);
}

static void close_store(struct pool *pool)
{
	if (pool->command.error.code != DPU_OK)
		log_warn("block", "a pool did not close properly", "object=%s why=\"%s\"", pool->subject.name,
			 pool->command.error.message);
	pool_serve_end(pool, served);
}

static void volumes_are_down(struct pool *pool)
{
	memset(&pool->command, 0, sizeof(pool->command));
	pool->command.op = STORE_CLOSE;
	pool_command(pool, NULL, close_store);
}

static void pool_close(struct pool *pool)
{
	pool->ready = false;
	pool_purge_end(pool);
	pool->busy = true;
	state_set(pool, BLOCK_CLOSING, "the pool is being closed");
	volumes_down(pool, "the pool is closed", volumes_are_down);
}

/* ---- what is to be done ---- */

/* Closed, and not to be opened. */
static void rest(struct pool *pool)
{
	bool leaving = pool->subject.leaving, held = false;

	pool_media_release(pool);
	if (leaving || pool->subject.block->stopping)
		pool_answer(pool);
	else
		subject_settled(&pool->subject);
	volumes_stuck(pool);
	if (leaving && TAILQ_EMPTY(&pool->volumes)) {
		pool->busy = true;
		held = pool_media_detach(pool);
		pool->busy = false;
		if (!held)
			pool_free(pool);
	} else if (pool->subject.block->stopping) {
		block_stop_check(pool->subject.block);
	} else if (pool->reopen) {
		pool->reopen = false;
		pool_step(pool);
	}
}

static void wait_for_media(struct pool *pool)
{
	bool soon = false;

	if (pool_media_ready(pool, pool->why, sizeof(pool->why), &soon)) {
		pool_open(pool);
		return;
	}
	pool->state = BLOCK_WAITING;
	if (soon)
		return;
	pool_answer(pool);
	subject_settled(&pool->subject);
	volumes_stuck(pool);
}

void pool_step(struct pool *pool)
{
	if (pool->busy || (!pool->subject.block->started && !pool->subject.leaving))
		return;
	if (!wants_open(pool)) {
		if (pool->store && pool_work_running(pool))
			pool_work_end(pool); /* its end is a step */
		else if (pool->lookups)
			return; /* … and so is theirs */
		else if (pool->store)
			pool_close(pool);
		else
			rest(pool);
	} else if (pool->ready) {
		if (pool_grow(pool) || pool_delete_intended(pool))
			return;
		pool_answer(pool);
		subject_settled(&pool->subject);
		volumes_go(pool);
		if (!pool->busy) /* what somebody waits for goes first */
			pool_purge(pool);
	} else if (pool->refused) {
		pool_answer(pool);
		subject_settled(&pool->subject);
		volumes_stuck(pool);
	} else {
		wait_for_media(pool);
	}
}

static void pool_settle(struct subject *subject)
{
	struct pool *pool = of_subject(subject);

	pool->refused = false; /* something has changed */
	for (unsigned i = 0; i < pool->media_count; i++) {
		pool->media[i]->refused = false;
		if (subject->leaving)
			block_leaving(pool->media[i]->attachment);
	}
	pool_step(pool);
}

static void subject_free(struct subject *subject)
{
	pool_step(of_subject(subject)); /* it is leaving */
}

static struct pool *pool_new(struct block *block, struct object *object)
{
	const struct pool_object *config = (const struct pool_object *)object;
	struct pool *pool = block_alloc(sizeof(*pool));

	subject_init(&pool->subject, block, object);
	pool->subject.settle = pool_settle;
	pool->subject.free = subject_free;
	pool->worker = workers_get(block->dpu->workers, config->worker % block->workers);
	pool->format = pool->unmade = !model_loading(block->dpu->model);
	state_set(pool, BLOCK_WAITING, "the pool was not opened yet");
	TAILQ_INIT(&pool->volumes);
	TAILQ_INIT(&pool->todo);
	pthread_mutex_init(&pool->published_lock, NULL);
	pool_reports_init(pool);
	pool_room_init(pool);
	TAILQ_INSERT_TAIL(&block->pools, pool, link);
	return pool;
}

int pool_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct subject *subject = old ? NULL : subject_undelete(ctx, new);
	struct pool *pool = old ? pool_of(new) : subject ? of_subject(subject) : pool_new(ctx, new);

	(void)err;
	new->runtime = pool;
	subject_apply(&pool->subject, new);
	pool_media_update(pool);
	return 0;
}

void pool_remove(void *ctx, struct object *object)
{
	struct pool *pool = pool_of(object);

	(void)ctx;
	object->runtime = NULL;
	subject_remove(&pool->subject);
}
