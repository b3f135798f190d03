// SPDX-License-Identifier: BSD-3-Clause
/* The service "block": its start and stop, and what all of its parts use. */
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "operating/uring_fixed.h"
#include "service/block/block_priv.h"
#include "service/block/image/image.h"

enum { HELPERS = 2, RING_ENTRIES = 512 };

const char *const block_state_names[] = {
	[BLOCK_WAITING] = "waiting",
	[BLOCK_OPENING] = "opening",
	[BLOCK_READY] = "ready",
	[BLOCK_READ_ONLY] = "read-only",
	[BLOCK_QUARANTINED] = "quarantined",
	[BLOCK_FAILED] = "failed",
	[BLOCK_CLOSING] = "closing",
	NULL,
};

void *block_alloc(size_t bytes)
{
	void *memory = calloc(1, bytes);

	if (!memory)
		abort();
	return memory;
}

char *block_text(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		abort();
	return copy;
}

void block_call(struct worker *worker, void (*fn)(void *arg, struct worker *worker), void *arg, void (*done)(void *arg))
{
	if (worker_call(worker, fn, arg, done) != 0)
		abort(); /* out of memory */
}

struct block *block_of(const struct dpu *dpu)
{
	return service_find(dpu, &block_service);
}

/* ---- io_uring of the workers ---- */

static void memory_set(void *arg, struct worker *worker)
{
	struct block_ring *ring = arg;

	(void)worker;
	fixed_memory_set(uring_fixed(ring->uring), ring->memory, ring->memory_bytes);
}

void block_memory(struct block *block, struct worker *worker, void *memory, size_t bytes)
{
	struct block_ring *ring = &block->rings[worker_index(worker)];

	ring->memory = memory;
	ring->memory_bytes = bytes;
	if (ring->uring)
		block_call(worker, memory_set, ring, NULL);
}

int block_uring(struct block *block, struct worker *worker, struct uring **ret, struct dpu_error *err)
{
	struct block_ring *ring = &block->rings[worker_index(worker)];
	int rc;

	if (ring->uring) {
		*ret = ring->uring;
		return 0;
	}
	rc = uring_new(RING_ENTRIES, &ring->uring, err);
	if (rc != 0)
		return rc;
	memory_set(ring, worker);
	rc = worker_add_source(worker, uring_source(ring->uring));
	if (rc != 0) {
		uring_free(ring->uring);
		ring->uring = NULL;
		return error_set(err, DPU_E_LIMIT, NULL, "a worker cannot watch an io_uring: %s", strerror(-rc));
	}
	ring->worker = worker;
	*ret = ring->uring;
	return 0;
}

/* ---- life ---- */

static int block_init(struct dpu *dpu, void **ret_state, struct dpu_error *err)
{
	struct block *block = block_alloc(sizeof(*block));

	block->dpu = dpu;
	block->workers = workers_count(dpu->workers);
	block->rings = block_alloc(block->workers * sizeof(*block->rings));
	block->turns = block_alloc(block->workers * sizeof(*block->turns));
	LIST_INIT(&block->schedulers);
	LIST_INIT(&block->shares);
	LIST_INIT(&block->limits);
	TAILQ_INIT(&block->noted);
	TAILQ_INIT(&block->work);
	TAILQ_INIT(&block->settlers);
	TAILQ_INIT(&block->media);
	TAILQ_INIT(&block->pools);
	TAILQ_INIT(&block->intents);
	TAILQ_INIT(&block->jobs);
	if (notes_init(block) != 0 || helpers_new(dpu->loop, HELPERS, &block->helpers) != 0) {
		notes_fini(block);
		free(block->turns);
		free(block->rings);
		free(block);
		return error_set(err, DPU_E_LIMIT, NULL, "no thread or descriptor for block storage");
	}
	*ret_state = block;
	return 0;
}

/* All objects of the model are in force: media are opened, then the pools on them. */
static int block_start(void *state, struct dpu_error *err)
{
	struct block *block = state;
	struct subject *subject;

	(void)err;
	intents_load(block);
	images_start(block);
	block->started = true;
	while ((subject = TAILQ_FIRST(&block->noted))) {
		TAILQ_REMOVE(&block->noted, subject, noted_link);
		subject->noted = NULL;
		subject->fresh = false;
		subject->settle(subject);
	}
	return 0;
}

static void ring_removed(void *arg)
{
	struct block *block = arg;

	if (--block->closing > 0)
		return;
	for (unsigned i = 0; i < block->workers; i++)
		uring_free(block->rings[i].uring);
	memset(block->rings, 0, block->workers * sizeof(*block->rings));
	block_schedulers_free(block);
	block->ended = true;
	block->stopped(block->stopped_arg);
}

static void rings_close(struct block *block)
{
	block->closing = 1;
	for (unsigned i = 0; i < block->workers; i++) {
		struct block_ring *ring = &block->rings[i];
		if (!ring->uring)
			continue;
		block->closing++;
		worker_remove_source(ring->worker, uring_source(ring->uring), ring_removed, block);
	}
	block->closing += block_schedulers_close(block, ring_removed);
	ring_removed(block);
}

void block_stop_check(struct block *block)
{
	const struct medium *medium;
	const struct pool *pool;

	if (!block->stopping || block->closing > 0 || block->ended || !TAILQ_EMPTY(&block->jobs))
		return;
	TAILQ_FOREACH(pool, &block->pools, link)
	{
		if (!pool_closed(pool))
			return;
	}
	TAILQ_FOREACH(medium, &block->media, link)
	{
		if (!medium_closed(medium))
			return;
	}
	rings_close(block);
}

static void block_stop(void *state, void (*done)(void *arg), void *arg)
{
	struct block *block = state;
	struct medium *medium;
	struct pool *pool;

	block->stopping = true;
	block->stopped = done;
	block->stopped_arg = arg;
	images_stop(block);
	TAILQ_FOREACH(pool, &block->pools, link)
	pool_step(pool);
	TAILQ_FOREACH(medium, &block->media, link)
	medium_step(medium);
	block_stop_check(block);
}

static void block_fini(void *state)
{
	struct block *block = state;

	helpers_free(block->helpers);
	intents_free(block);
	notes_fini(block);
	free(block->turns);
	free(block->rings);
	free(block);
}

static const struct object_class *const classes[] = { &medium_class, &pool_class,     &qos_policy_class,
						      &volume_class, &snapshot_class, NULL };
static const char *const requires[] = { "vswitch", NULL };

const struct service block_service = {
	.name = "block",
	.requires = requires, /* its tenants */
	.classes = classes,
	.init = block_init,
	.start = block_start,
	.stop = block_stop,
	.settle = block_settle,
	.metrics = block_metrics,
	.fini = block_fini,
};
