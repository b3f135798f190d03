// SPDX-License-Identifier: BSD-3-Clause
/* Buffers by size, who pays for them, and who waits. */
#include "device/nvme/nvme_buffer.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include "base/clock.h"

enum { MIB = 1 << 20, BLOCK_BYTES = 4096 };

static const uint64_t TRIM_NS = CLOCK_NS_PER_S, RETRY_NS = 100 * CLOCK_NS_PER_MS;

struct nvme_pool {
	uint64_t limit, floor;
	uint64_t lent, kept_bytes;
	uint64_t shared, shared_asked; /* what tenants use beyond their floors */
	uint64_t queue_limit, queue_floor, queue_shared;
	struct nvme_buffer *kept[NVME_BUFFER_CLASSES];
	unsigned count[NVME_BUFFER_CLASSES], least[NVME_BUFFER_CLASSES]; /* kept, and the fewest since the last trim */
	uint64_t trim_ns;
	uint64_t order;
	TAILQ_HEAD(, nvme_account) hungry;
	struct nvme_account *starved; /* its first waits for the shared part: nobody passes it there */
	bool serving;
};

/* Why there is no buffer. */
enum room { ROOM_OK, ROOM_ASKED, ROOM_ACCOUNT, ROOM_SHARED, ROOM_MEMORY };

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

/* ---- the pool ---- */

struct nvme_pool *nvme_pool_new(const struct nvme_pool_options *options)
{
	struct nvme_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->limit = options->bytes ? options->bytes : UINT64_C(64) * MIB;
	pool->floor = options->floor_bytes ? options->floor_bytes : UINT64_C(2) * MIB;
	pool->queue_limit = options->queue_bytes ? options->queue_bytes : UINT64_C(512) * MIB;
	pool->queue_floor = options->queue_floor_bytes ? options->queue_floor_bytes : UINT64_C(4) * MIB;
	TAILQ_INIT(&pool->hungry);
	return pool;
}

static struct nvme_buffer *kept_take(struct nvme_pool *pool, unsigned class)
{
	struct nvme_buffer *buffer = pool->kept[class];

	if (!buffer)
		return NULL;
	pool->kept[class] = buffer->next;
	pool->kept_bytes -= class_bytes(class);
	if (--pool->count[class] < pool->least[class])
		pool->least[class] = pool->count[class];
	return buffer;
}

static void kept_free(struct nvme_pool *pool, unsigned class, unsigned count)
{
	struct nvme_buffer *buffer;

	while (count-- > 0 && (buffer = kept_take(pool, class)) != NULL) {
		free(buffer->data);
		free(buffer);
	}
}

void nvme_pool_free(struct nvme_pool *pool)
{
	if (!pool)
		return;
	assert(pool->lent == 0);
	for (unsigned class = 0; class < NVME_BUFFER_CLASSES; class ++)
		kept_free(pool, class, UINT_MAX);
	free(pool);
}

uint64_t nvme_pool_used(const struct nvme_pool *pool)
{
	return pool->lent;
}

uint64_t nvme_pool_kept(const struct nvme_pool *pool)
{
	return pool->kept_bytes;
}

static struct nvme_buffer *buffer_new(unsigned class)
{
	size_t bytes = class_bytes(class);
	struct nvme_buffer *buffer = malloc(sizeof(*buffer) + bytes / BLOCK_BYTES * sizeof(buffer->crc[0]));

	if (!buffer)
		return NULL;
	buffer->data = aligned_alloc(NVME_BUFFER_MIN_BYTES, bytes);
	if (!buffer->data) {
		free(buffer);
		return NULL;
	}
	buffer->class = (uint8_t) class;
	return buffer;
}

/* One that is kept, or a new one; if the system has none, those of other sizes are given back for it. */
static struct nvme_buffer *buffer_find(struct nvme_pool *pool, unsigned class)
{
	struct nvme_buffer *buffer = kept_take(pool, class);

	if (buffer || (buffer = buffer_new(class)) != NULL || pool->kept_bytes == 0)
		return buffer;
	for (unsigned other = 0; other < NVME_BUFFER_CLASSES; other++)
		kept_free(pool, other, UINT_MAX);
	return buffer_new(class);
}

/* ---- who pays ---- */

void nvme_tenant_init(struct nvme_tenant *tenant, struct nvme_pool *pool)
{
	*tenant = (struct nvme_tenant){ .pool = pool };
}

void nvme_account_init(struct nvme_account *account, struct nvme_pool *pool, struct nvme_tenant *tenant, uint64_t limit)
{
	*account = (struct nvme_account){ .pool = pool, .tenant = tenant, .limit = limit };
	TAILQ_INIT(&account->waiting[NVME_BUFFER_DIRECT]);
	TAILQ_INIT(&account->waiting[NVME_BUFFER_ASKED]);
}

static uint64_t share(uint64_t bytes)
{
	return bytes / 4 * 3;
}

static uint64_t beyond(uint64_t used, uint64_t floor)
{
	return used > floor ? used - floor : 0;
}

static enum room tenant_room(const struct nvme_pool *pool, const struct nvme_tenant *tenant, size_t size,
			     enum nvme_buffer_use use)
{
	uint64_t asked = beyond(tenant->asked + size, share(pool->floor)) - beyond(tenant->asked, share(pool->floor));
	uint64_t used = beyond(tenant->used + size, pool->floor) - beyond(tenant->used, pool->floor);

	if (use == NVME_BUFFER_ASKED && asked > 0 && pool->shared_asked + asked > share(pool->limit))
		return ROOM_ASKED;
	return used > 0 && pool->shared + used > pool->limit ? ROOM_SHARED : ROOM_OK;
}

/* Who uses nothing in this manner gets one, however small its limit is: else it would wait for ever. */
static enum room room_for(const struct nvme_account *account, size_t size, enum nvme_buffer_use use)
{
	const struct nvme_tenant *tenant = account->tenant;

	if (use == NVME_BUFFER_ASKED ? account->asked > 0 : account->used > account->asked) {
		if (use == NVME_BUFFER_ASKED && account->asked + size > share(account->limit))
			return ROOM_ASKED;
		if (account->used + size > account->limit)
			return ROOM_ACCOUNT;
	}
	if (!tenant || (use == NVME_BUFFER_ASKED ? tenant->asked == 0 : tenant->used == tenant->asked))
		return ROOM_OK;
	return tenant_room(account->pool, tenant, size, use);
}

/* The tenant's new figures; what goes beyond its floor is the shared part's. */
static void tenant_set(struct nvme_pool *pool, struct nvme_tenant *tenant, uint64_t used, uint64_t asked)
{
	pool->shared += beyond(used, pool->floor) - beyond(tenant->used, pool->floor);
	pool->shared_asked += beyond(asked, share(pool->floor)) - beyond(tenant->asked, share(pool->floor));
	tenant->used = used;
	tenant->asked = asked;
}

static void charge(struct nvme_account *account, size_t size, enum nvme_buffer_use use)
{
	size_t asked = use == NVME_BUFFER_ASKED ? size : 0;

	account->used += size;
	account->asked += asked;
	if (account->tenant)
		tenant_set(account->pool, account->tenant, account->tenant->used + size,
			   account->tenant->asked + asked);
}

static void credit(struct nvme_account *account, size_t used, size_t asked)
{
	account->used -= used;
	account->asked -= asked;
	if (account->tenant)
		tenant_set(account->pool, account->tenant, account->tenant->used - used,
			   account->tenant->asked - asked);
}

static struct nvme_buffer *buffer_lend(struct nvme_account *account, unsigned class, enum nvme_buffer_use use)
{
	struct nvme_buffer *buffer = buffer_find(account->pool, class);

	if (!buffer)
		return NULL;
	buffer->account = account;
	buffer->pool = account->pool;
	buffer->use = (uint8_t)use;
	buffer->exempt = false;
	account->pool->lent += class_bytes(class);
	charge(account, class_bytes(class), use);
	return buffer;
}

/* ---- who waits ---- */

static size_t waiter_size(const struct nvme_waiter *waiter)
{
	return class_bytes(class_of(waiter->bytes));
}

/* Whether a newcomer may not pass those who wait in its account. */
static bool account_stands(const struct nvme_account *account, enum nvme_buffer_use use)
{
	const struct nvme_waiter *asked = TAILQ_FIRST(&account->waiting[NVME_BUFFER_ASKED]);

	if (!TAILQ_EMPTY(&account->waiting[NVME_BUFFER_DIRECT]) || (asked && use == NVME_BUFFER_ASKED))
		return true;
	return asked && room_for(account, waiter_size(asked), NVME_BUFFER_ASKED) != ROOM_ASKED;
}

/* Whether it would take from the shared part what another waits for. */
static bool shared_stands(struct nvme_pool *pool, const struct nvme_account *account, size_t size)
{
	return pool->starved && account->tenant && account->tenant->used + size > pool->floor &&
	       account->tenant->used > 0;
}

struct nvme_buffer *nvme_buffer_get(struct nvme_account *account, size_t bytes, enum nvme_buffer_use use)
{
	unsigned class = class_of(bytes);

	if (account->linked && account_stands(account, use))
		return NULL;
	if (shared_stands(account->pool, account, class_bytes(class)) ||
	    room_for(account, class_bytes(class), use) != ROOM_OK)
		return NULL;
	return buffer_lend(account, class, use);
}

/* The earlier of the two firsts, or, if only the limit of asked ones holds it up, the other. */
static enum room account_serve(struct nvme_account *account, struct nvme_waiter **ret, struct nvme_buffer **ret_buffer)
{
	struct nvme_waiter *direct = TAILQ_FIRST(&account->waiting[NVME_BUFFER_DIRECT]);
	struct nvme_waiter *asked = TAILQ_FIRST(&account->waiting[NVME_BUFFER_ASKED]);
	struct nvme_waiter *first = direct && (!asked || direct->order < asked->order) ? direct : asked;
	enum room room = room_for(account, waiter_size(first), first->use);

	if (room == ROOM_ASKED && direct) {
		first = direct;
		room = room_for(account, waiter_size(first), first->use);
	}
	if (room == ROOM_OK && shared_stands(account->pool, account, waiter_size(first)))
		room = ROOM_SHARED;
	if (room != ROOM_OK)
		return room;
	*ret_buffer = buffer_lend(account, class_of(first->bytes), first->use);
	if (!*ret_buffer)
		return ROOM_MEMORY;
	*ret = first;
	nvme_buffer_wait_cancel(first);
	return ROOM_OK;
}

/* Accounts in turn; behind one that waits for the shared part only those are served who need none of it. */
static struct nvme_waiter *pool_next(struct nvme_pool *pool, struct nvme_buffer **ret)
{
	struct nvme_account *account;
	struct nvme_waiter *waiter;

	pool->starved = NULL;
	TAILQ_FOREACH(account, &pool->hungry, link)
	{
		enum room room = account_serve(account, &waiter, ret);

		if (room == ROOM_SHARED && !pool->starved)
			pool->starved = account;
		if (room != ROOM_OK)
			continue;
		if (account->linked) { /* the others' turn */
			TAILQ_REMOVE(&pool->hungry, account, link);
			TAILQ_INSERT_TAIL(&pool->hungry, account, link);
		}
		return waiter;
	}
	return NULL;
}

static void pool_serve(struct nvme_pool *pool)
{
	struct nvme_waiter *waiter;
	struct nvme_buffer *buffer;

	if (pool->serving || TAILQ_EMPTY(&pool->hungry))
		return; /* somebody who was served gives back at once: the loop below goes on */
	pool->serving = true;
	while ((waiter = pool_next(pool, &buffer)) != NULL)
		waiter->ready(waiter, buffer);
	pool->serving = false;
}

bool nvme_buffer_exempt(struct nvme_buffer *buffer)
{
	struct nvme_account *account = buffer->account;
	size_t size = class_bytes(buffer->class);

	if (buffer->exempt)
		return true;
	if (account->exempt + size > account->limit / 4)
		return false;
	account->exempt += size;
	buffer->exempt = true;
	credit(account, size, buffer->use == NVME_BUFFER_ASKED ? size : 0);
	pool_serve(buffer->pool);
	return true;
}

void nvme_buffer_landed(struct nvme_buffer *buffer)
{
	if (buffer->use != NVME_BUFFER_ASKED)
		return;
	buffer->use = NVME_BUFFER_DIRECT;
	if (!buffer->exempt)
		credit(buffer->account, 0, class_bytes(buffer->class));
	pool_serve(buffer->pool);
}

void nvme_buffer_put(struct nvme_buffer *buffer)
{
	struct nvme_pool *pool = buffer->pool;
	size_t size = class_bytes(buffer->class);

	if (buffer->exempt)
		buffer->account->exempt -= size;
	else
		credit(buffer->account, size, buffer->use == NVME_BUFFER_ASKED ? size : 0);
	pool->lent -= size;
	pool->kept_bytes += size;
	pool->count[buffer->class]++;
	buffer->next = pool->kept[buffer->class];
	pool->kept[buffer->class] = buffer;
	pool_serve(pool);
}

void nvme_buffer_wait(struct nvme_account *account, struct nvme_waiter *waiter, size_t bytes, enum nvme_buffer_use use)
{
	struct nvme_pool *pool = account->pool;

	waiter->account = account;
	waiter->bytes = bytes;
	waiter->waiting = true;
	waiter->use = (uint8_t)use;
	waiter->order = ++pool->order;
	__atomic_store_n(&account->waits, account->waits + 1, __ATOMIC_RELAXED); /* control looks at it */
	TAILQ_INSERT_TAIL(&account->waiting[use], waiter, link);
	if (!account->linked)
		TAILQ_INSERT_TAIL(&pool->hungry, account, link);
	account->linked = true;
	if (!pool->starved && room_for(account, waiter_size(waiter), use) == ROOM_SHARED)
		pool->starved = account;
}

void nvme_buffer_wait_cancel(struct nvme_waiter *waiter)
{
	struct nvme_account *account = waiter->account;

	if (!waiter->waiting)
		return;
	waiter->waiting = false;
	TAILQ_REMOVE(&account->waiting[waiter->use], waiter, link);
	if (account->pool->starved == account)
		account->pool->starved = NULL;
	if (!TAILQ_EMPTY(&account->waiting[NVME_BUFFER_DIRECT]) || !TAILQ_EMPTY(&account->waiting[NVME_BUFFER_ASKED]))
		return;
	TAILQ_REMOVE(&account->pool->hungry, account, link);
	account->linked = false;
}

/* ---- queues ---- */

static uint64_t for_queues(uint64_t bytes, bool admin)
{
	return admin ? bytes : bytes / 8 * 7;
}

bool nvme_queue_memory_take(struct nvme_account *account, uint64_t bytes, bool admin)
{
	struct nvme_pool *pool = account->pool;
	struct nvme_tenant *tenant = account->tenant;
	uint64_t before = beyond(tenant->queues, pool->queue_floor);
	uint64_t after = beyond(tenant->queues + bytes, pool->queue_floor);

	if (tenant->queues + bytes > for_queues(pool->queue_floor, admin) &&
	    pool->queue_shared + after - before > for_queues(pool->queue_limit, admin))
		return false;
	pool->queue_shared += after - before;
	tenant->queues += bytes;
	__atomic_store_n(&account->queues, account->queues + bytes, __ATOMIC_RELAXED); /* control looks at it */
	return true;
}

void nvme_queue_memory_give(struct nvme_account *account, uint64_t bytes)
{
	struct nvme_tenant *tenant = account->tenant;
	struct nvme_pool *pool = account->pool;

	pool->queue_shared -=
		beyond(tenant->queues, pool->queue_floor) - beyond(tenant->queues - bytes, pool->queue_floor);
	tenant->queues -= bytes;
	__atomic_store_n(&account->queues, account->queues - bytes, __ATOMIC_RELAXED);
}

/* ---- housekeeping ---- */

uint64_t nvme_pool_tick(struct nvme_pool *pool, uint64_t now_ns)
{
	pool_serve(pool);
	if (now_ns >= pool->trim_ns) {
		pool->trim_ns = now_ns + TRIM_NS;
		for (unsigned class = 0; class < NVME_BUFFER_CLASSES; class ++) {
			kept_free(pool, class, pool->least[class]);
			pool->least[class] = pool->count[class];
		}
	}
	if (!TAILQ_EMPTY(&pool->hungry))
		return RETRY_NS;
	return pool->kept_bytes > 0 ? pool->trim_ns - now_ns : UINT64_MAX;
}
