// SPDX-License-Identifier: BSD-3-Clause
/* The memory that guests' data is copied into. A quarter is pages, for small requests; the rest is chunks of 64 KiB. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "service/block/ingress/ingress_priv.h"

int ingress_arena_new(uint64_t bytes, struct ingress_arena **ret)
{
	bytes = bytes / CHUNK_BYTES * CHUNK_BYTES;
	if (bytes < INGRESS_MIN_ARENA_BYTES)
		return -EINVAL;
	struct ingress_arena *arena = calloc(1, sizeof(*arena));
	if (!arena)
		return -ENOMEM;
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED) {
		free(arena);
		return -ENOMEM;
	}
	uint64_t chunks = bytes / CHUNK_BYTES, for_pages = chunks / 4;

	arena->memory = memory;
	arena->bytes = bytes;
	arena->pages_at = arena->memory;
	arena->pages_end = arena->chunks_at = arena->memory + for_pages * CHUNK_BYTES;
	arena->chunks_end = arena->memory + bytes;
	arena->pages_free = for_pages * CHUNK_BYTES / PAGE_BYTES;
	arena->chunks_free = chunks - for_pages;
	TAILQ_INIT(&arena->waiting);
	*ret = arena;
	return 0;
}

void *ingress_arena_memory(const struct ingress_arena *arena, uint64_t *ret_bytes)
{
	*ret_bytes = arena->bytes;
	return arena->memory;
}

void ingress_arena_free(struct ingress_arena *arena)
{
	struct copy *copy;

	if (!arena)
		return;
	while ((copy = arena->copies)) {
		arena->copies = copy->next;
		free(copy);
	}
	munmap(arena->memory, arena->bytes);
	free(arena);
}

static void *take(struct piece **list, uint8_t **at, uint64_t *count, uint64_t bytes)
{
	struct piece *piece = *list;

	--*count;
	if (piece) {
		*list = piece->next;
		return piece;
	}
	*at += bytes;
	return *at - bytes;
}

static void give(struct piece **list, uint64_t *count, void *memory)
{
	struct piece *piece = memory;

	piece->next = *list;
	*list = piece;
	++*count;
}

static struct copy *head_take(struct ingress_arena *arena)
{
	struct copy *copy = arena->copies;

	if (copy)
		arena->copies = copy->next;
	else
		copy = malloc(sizeof(*copy));
	return copy;
}

static bool large_new(struct copy *copy, uint64_t pieces)
{
	copy->pieces = malloc(pieces * (sizeof(*copy->pieces) + CHUNK_BLOCKS * sizeof(*copy->crc)));
	copy->crc = (uint32_t *)(copy->pieces + pieces);
	return copy->pieces;
}

static bool has_room(const struct ingress_account *account, bool small, uint64_t pieces, uint64_t bytes)
{
	uint64_t used = atomic_load_explicit(&account->stats.used_bytes, memory_order_relaxed);

	if (used > 0 && used + bytes > account->limit)
		return false;
	return pieces <= (small ? account->arena->pages_free : account->arena->chunks_free);
}

static void use(struct ingress_account *account, uint64_t bytes)
{
	struct ingress_stats *stats = &account->stats;
	uint64_t used = atomic_load_explicit(&stats->used_bytes, memory_order_relaxed) + bytes;

	atomic_store_explicit(&stats->used_bytes, used, memory_order_relaxed);
	if (used > atomic_load_explicit(&stats->most_bytes, memory_order_relaxed))
		atomic_store_explicit(&stats->most_bytes, used, memory_order_relaxed);
}

struct copy *copy_new(struct ingress_account *account, uint64_t length)
{
	struct ingress_arena *arena = account->arena;
	bool small = length <= SMALL_BYTES;
	uint64_t unit = small ? PAGE_BYTES : CHUNK_BYTES, pieces = (length + unit - 1) / unit;

	if (!has_room(account, small, pieces, pieces * unit))
		return NULL;
	struct copy *copy = head_take(arena);
	if (!copy)
		return NULL;
	copy->pieces = copy->inline_pieces;
	copy->crc = copy->inline_crc;
	copy->bytes = pieces * unit;
	if (!small && !large_new(copy, pieces)) {
		copy->next = arena->copies;
		arena->copies = copy;
		return NULL;
	}
	for (uint64_t i = 0; i < pieces; i++) {
		void *piece = small ? take(&arena->pages, &arena->pages_at, &arena->pages_free, unit)
				    : take(&arena->chunks, &arena->chunks_at, &arena->chunks_free, unit);
		uint64_t part = length - i * unit;
		copy->pieces[i] = (struct iovec){ piece, part < unit ? part : unit };
	}
	copy->request.segments = (uint16_t)pieces;
	use(account, copy->bytes);
	return copy;
}

void copy_free(struct ingress_account *account, struct copy *copy)
{
	struct ingress_arena *arena = account->arena;
	bool small = copy->pieces == copy->inline_pieces;

	for (unsigned i = 0; i < copy->request.segments; i++)
		give(small ? &arena->pages : &arena->chunks, small ? &arena->pages_free : &arena->chunks_free,
		     copy->pieces[i].iov_base);
	if (!small)
		free(copy->pieces);
	use(account, -copy->bytes);
	copy->next = arena->copies;
	arena->copies = copy;
}

int ingress_account_new(struct ingress_arena *arena, uint64_t limit, struct ingress_account **ret)
{
	struct ingress_account *account = calloc(1, sizeof(*account));

	if (!account)
		return -ENOMEM;
	account->arena = arena;
	account->limit = limit;
	*ret = account;
	return 0;
}

void ingress_account_free(struct ingress_account *account)
{
	free(account);
}

const struct ingress_stats *ingress_account_stats(const struct ingress_account *account)
{
	return &account->stats;
}
