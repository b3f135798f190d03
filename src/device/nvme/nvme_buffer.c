// SPDX-License-Identifier: BSD-3-Clause
/* Buffers by size, who pays for them, and who waits. */
#include "device/nvme/nvme_buffer.h"

#include <assert.h>
#include <stdlib.h>

enum { MIB = 1 << 20, BLOCK_BYTES = 4096 };

struct nvme_pool {
	uint64_t limit, reserve_limit;
	uint64_t allocated; /* lent and kept */
	uint64_t used, reserve_used;
	struct nvme_buffer *kept[NVME_BUFFER_CLASSES];
	TAILQ_HEAD(, nvme_account) hungry;
	struct nvme_waiters reserve_waiting;
	bool serving;
};

static size_t class_bytes(unsigned class)
{
	return (size_t)NVME_BUFFER_MIN_BYTES << class;
}

static unsigned class_of(size_t bytes)
{
	assert(bytes > 0 && bytes <= NVME_BUFFER_MAX_BYTES);
	if (bytes <= NVME_BUFFER_MIN_BYTES)
		return 0;
	return 64u - (unsigned)__builtin_clzl((bytes - 1) / NVME_BUFFER_MIN_BYTES);
}

size_t nvme_buffer_bytes(const struct nvme_buffer *buffer)
{
	return class_bytes(buffer->class);
}

struct nvme_pool *nvme_pool_new(const struct nvme_pool_options *options)
{
	struct nvme_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->limit = options->bytes ? options->bytes : UINT64_C(64) * MIB;
	pool->reserve_limit = options->reserve_bytes ? options->reserve_bytes : UINT64_C(4) * MIB;
	TAILQ_INIT(&pool->hungry);
	TAILQ_INIT(&pool->reserve_waiting);
	return pool;
}

static void buffer_free(struct nvme_pool *pool, struct nvme_buffer *buffer)
{
	pool->allocated -= class_bytes(buffer->class);
	free(buffer->data);
	free(buffer);
}

/* Gives kept buffers back to the system, the largest first, until `bytes` more fit. */
static void pool_trim(struct nvme_pool *pool, size_t bytes)
{
	uint64_t most = pool->limit + pool->reserve_limit;

	for (unsigned class = NVME_BUFFER_CLASSES; class -- > 0 && pool->allocated + bytes > most;) {
		while (pool->kept[class] && pool->allocated + bytes > most) {
			struct nvme_buffer *buffer = pool->kept[class];

			pool->kept[class] = buffer->next;
			buffer_free(pool, buffer);
		}
	}
}

void nvme_pool_free(struct nvme_pool *pool)
{
	if (!pool)
		return;
	assert(pool->used + pool->reserve_used == 0);
	for (unsigned class = 0; class < NVME_BUFFER_CLASSES; class ++) {
		struct nvme_buffer *next;

		for (struct nvme_buffer *buffer = pool->kept[class]; buffer; buffer = next) {
			next = buffer->next;
			buffer_free(pool, buffer);
		}
	}
	free(pool);
}

uint64_t nvme_pool_used(const struct nvme_pool *pool)
{
	return pool->used + pool->reserve_used;
}

void nvme_account_init(struct nvme_account *account, struct nvme_pool *pool, uint64_t limit)
{
	*account = (struct nvme_account){ .pool = pool, .limit = limit ? limit : pool->limit / 2 };
	TAILQ_INIT(&account->waiting);
}

static struct nvme_buffer *buffer_new(struct nvme_pool *pool, unsigned class)
{
	size_t bytes = class_bytes(class);

	pool_trim(pool, bytes);
	struct nvme_buffer *buffer = malloc(sizeof(*buffer) + bytes / BLOCK_BYTES * sizeof(buffer->crc[0]));
	if (!buffer)
		return NULL;
	buffer->data = aligned_alloc(NVME_BUFFER_MIN_BYTES, bytes);
	if (!buffer->data) {
		free(buffer);
		return NULL;
	}
	buffer->class = (uint8_t) class;
	pool->allocated += bytes;
	return buffer;
}

struct nvme_buffer *nvme_buffer_get(struct nvme_account *account, size_t bytes, bool reserve)
{
	struct nvme_pool *pool = account->pool;
	unsigned class = class_of(bytes);
	size_t size = class_bytes(class);

	/* Who uses nothing gets one, however small its limit is: else it would wait for ever. */
	if (reserve ? pool->reserve_used > 0 && pool->reserve_used + size > pool->reserve_limit
		    : (account->used > 0 && account->used + size > account->limit) ||
			      (pool->used > 0 && pool->used + size > pool->limit))
		return NULL;
	struct nvme_buffer *buffer = pool->kept[class];
	if (buffer)
		pool->kept[class] = buffer->next;
	else if (!(buffer = buffer_new(pool, class)))
		return NULL;
	buffer->account = account;
	buffer->reserve = reserve;
	if (reserve) {
		pool->reserve_used += size;
	} else {
		pool->used += size;
		account->used += size;
	}
	return buffer;
}

/* Takes the first of those who wait out of the line if there is a buffer for it. */
static struct nvme_waiter *waiter_serve(struct nvme_waiters *waiting, struct nvme_buffer **ret)
{
	struct nvme_waiter *waiter = TAILQ_FIRST(waiting);

	if (!waiter)
		return NULL;
	*ret = nvme_buffer_get(waiter->account, waiter->bytes, waiter->reserve);
	if (!*ret)
		return NULL;
	nvme_buffer_wait_cancel(waiter);
	return waiter;
}

static struct nvme_waiter *pool_next(struct nvme_pool *pool, struct nvme_buffer **ret)
{
	struct nvme_waiter *waiter = waiter_serve(&pool->reserve_waiting, ret);
	struct nvme_account *account;

	if (waiter)
		return waiter;
	TAILQ_FOREACH(account, &pool->hungry, link)
	{
		waiter = waiter_serve(&account->waiting, ret);
		if (!waiter)
			continue;
		if (account->linked) { /* the others' turn */
			TAILQ_REMOVE(&pool->hungry, account, link);
			TAILQ_INSERT_TAIL(&pool->hungry, account, link);
		}
		return waiter;
	}
	return NULL;
}

void nvme_buffer_put(struct nvme_buffer *buffer)
{
	struct nvme_account *account = buffer->account;
	struct nvme_pool *pool = account->pool;
	size_t size = class_bytes(buffer->class);

	if (buffer->reserve) {
		pool->reserve_used -= size;
	} else {
		pool->used -= size;
		account->used -= size;
	}
	buffer->next = pool->kept[buffer->class];
	pool->kept[buffer->class] = buffer;
	if (TAILQ_EMPTY(&pool->hungry) && TAILQ_EMPTY(&pool->reserve_waiting))
		return;
	if (pool->serving)
		return; /* somebody who was served gives back at once: the loop below goes on */
	struct nvme_waiter *waiter;

	pool->serving = true;
	while ((waiter = pool_next(pool, &buffer)) != NULL)
		waiter->ready(waiter, buffer);
	pool->serving = false;
}

void nvme_buffer_wait(struct nvme_account *account, struct nvme_waiter *waiter, size_t bytes, bool reserve)
{
	struct nvme_pool *pool = account->pool;

	waiter->account = account;
	waiter->bytes = bytes;
	waiter->waiting = true;
	waiter->reserve = reserve;
	account->waits++;
	if (reserve) {
		TAILQ_INSERT_TAIL(&pool->reserve_waiting, waiter, link);
		return;
	}
	TAILQ_INSERT_TAIL(&account->waiting, waiter, link);
	if (!account->linked)
		TAILQ_INSERT_TAIL(&pool->hungry, account, link);
	account->linked = true;
}

void nvme_buffer_wait_cancel(struct nvme_waiter *waiter)
{
	struct nvme_account *account = waiter->account;

	if (!waiter->waiting)
		return;
	waiter->waiting = false;
	if (waiter->reserve) {
		TAILQ_REMOVE(&account->pool->reserve_waiting, waiter, link);
		return;
	}
	TAILQ_REMOVE(&account->waiting, waiter, link);
	if (TAILQ_EMPTY(&account->waiting)) {
		TAILQ_REMOVE(&account->pool->hungry, account, link);
		account->linked = false;
	}
}
