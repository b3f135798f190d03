/* SPDX-License-Identifier: BSD-3-Clause */
/* The map from fixed-size keys to pointers that control writes and workers read without locks.
 *
 * Open addressing over buckets of one cache line. An entry goes to the first bucket with a free place, from the one
 * that its hash names onwards; `passed` of each full bucket on the way counts it, so that a reader stops at the first
 * bucket that nothing has passed. Within one array entries never move and keys never change, hence a reader can miss
 * only what is being inserted or removed while it looks. */
#include "device/packet/rcu_map.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "device/packet/flow_key.h"

enum {
	BUCKET_ENTRIES = 5,
	BUCKET_LOAD = 3, /* mean entries per bucket at which the array doubles */
	MIN_BUCKETS = 4,
	MAX_KEY_BYTES = 256,
};

struct entry {
	void *_Atomic value;
	uint32_t hash;
	uint8_t key[];
};

struct bucket {
	struct entry *_Atomic entries[BUCKET_ENTRIES];
	_Atomic uint32_t tags[BUCKET_ENTRIES]; /* the entries' hashes; only a hint for readers */
	_Atomic uint32_t passed;               /* entries that would belong here but sit further on */
};
_Static_assert(sizeof(struct bucket) == 64, "a bucket is one cache line");

struct array {
	uint32_t mask; /* buckets - 1 */
	struct bucket buckets[] __attribute__((aligned(64)));
};

struct rcu_map {
	struct array *_Atomic array;
	uint64_t seed;
	size_t key_bytes;
	size_t count;
	rcu_retire_fn *retire;
	void *ctx;
};

static uint32_t key_hash(const struct rcu_map *map, const void *key)
{
	const uint8_t *bytes = key;
	size_t left = map->key_bytes;
	uint64_t mix = map->seed;

	for (; left >= 8; bytes += 8, left -= 8)
		mix = flow_key_fold(mix ^ flow_key_load64(bytes), flow_key_secret(map->seed, 1));
	if (left) {
		uint64_t tail = 0;
		memcpy(&tail, bytes, left);
		mix = flow_key_fold(mix ^ tail, flow_key_secret(map->seed, 1));
	}
	return (uint32_t)flow_key_fold(mix, flow_key_secret(map->seed, 3));
}

static struct array *array_new(uint32_t buckets)
{
	size_t bytes = sizeof(struct array) + buckets * sizeof(struct bucket);
	struct array *array = aligned_alloc(64, bytes);

	if (array) {
		memset(array, 0, bytes);
		array->mask = buckets - 1;
	}
	return array;
}

static struct array *writers_array(const struct rcu_map *map)
{
	return atomic_load_explicit(&map->array, memory_order_relaxed);
}

static void discard(struct rcu_map *map, void *memory)
{
	if (map->retire)
		map->retire(map->ctx, free, memory);
	else
		free(memory);
}

int rcu_map_new(size_t key_bytes, rcu_retire_fn *retire, void *ctx, struct rcu_map **ret)
{
	if (!key_bytes || key_bytes > MAX_KEY_BYTES)
		return -EINVAL;

	struct rcu_map *map = calloc(1, sizeof(*map));
	struct array *array = array_new(MIN_BUCKETS);

	if (!map || !array) {
		free(map);
		free(array);
		return -ENOMEM;
	}
	map->key_bytes = key_bytes;
	map->retire = retire;
	map->ctx = ctx;
	if (getrandom(&map->seed, sizeof(map->seed), GRND_NONBLOCK) != sizeof(map->seed))
		map->seed = (uintptr_t)map;
	atomic_init(&map->array, array);
	*ret = map;
	return 0;
}

void rcu_map_free(struct rcu_map *map)
{
	if (!map)
		return;

	struct array *array = writers_array(map);

	for (uint32_t b = 0; b <= array->mask; b++)
		for (unsigned i = 0; i < BUCKET_ENTRIES; i++)
			free(atomic_load_explicit(&array->buckets[b].entries[i], memory_order_relaxed));
	free(array);
	free(map);
}

/* The place of key's entry in array, and the entry. The value is for the caller to load. */
static struct entry *lookup(const struct rcu_map *map, struct array *array, const void *key, uint32_t hash,
			    struct bucket **ret_bucket, unsigned *ret_place)
{
	for (uint32_t b = hash & array->mask, steps = 0; steps <= array->mask; b = (b + 1) & array->mask, steps++) {
		struct bucket *bucket = &array->buckets[b];

		for (unsigned i = 0; i < BUCKET_ENTRIES; i++) {
			if (atomic_load_explicit(&bucket->tags[i], memory_order_relaxed) != hash)
				continue;
			struct entry *entry = atomic_load_explicit(&bucket->entries[i], memory_order_acquire);
			if (entry && entry->hash == hash && memcmp(entry->key, key, map->key_bytes) == 0) {
				*ret_bucket = bucket;
				*ret_place = i;
				return entry;
			}
		}
		if (!atomic_load_explicit(&bucket->passed, memory_order_relaxed))
			return NULL;
	}
	return NULL;
}

void *rcu_map_find(const struct rcu_map *map, const void *key)
{
	struct array *array = atomic_load_explicit(&map->array, memory_order_acquire);
	struct bucket *bucket;
	unsigned place;
	struct entry *entry = lookup(map, array, key, key_hash(map, key), &bucket, &place);

	return entry ? atomic_load_explicit(&entry->value, memory_order_acquire) : NULL;
}

/* Room is certain: arrays are never full. */
static void array_insert(struct array *array, struct entry *entry)
{
	for (uint32_t b = entry->hash & array->mask;; b = (b + 1) & array->mask) {
		struct bucket *bucket = &array->buckets[b];

		for (unsigned i = 0; i < BUCKET_ENTRIES; i++) {
			if (atomic_load_explicit(&bucket->entries[i], memory_order_relaxed))
				continue;
			atomic_store_explicit(&bucket->tags[i], entry->hash, memory_order_relaxed);
			atomic_store_explicit(&bucket->entries[i], entry, memory_order_release);
			return;
		}
		atomic_fetch_add_explicit(&bucket->passed, 1, memory_order_relaxed);
	}
}

static int grow(struct rcu_map *map)
{
	struct array *old = writers_array(map);

	if (map->count < (size_t)(old->mask + 1) * BUCKET_LOAD)
		return 0;
	if (old->mask >= UINT32_MAX / 4)
		return -ENOMEM;

	struct array *array = array_new((old->mask + 1) * 2);

	if (!array)
		return -ENOMEM;
	for (uint32_t b = 0; b <= old->mask; b++) {
		for (unsigned i = 0; i < BUCKET_ENTRIES; i++) {
			struct entry *entry = atomic_load_explicit(&old->buckets[b].entries[i], memory_order_relaxed);
			if (entry)
				array_insert(array, entry);
		}
	}
	atomic_store_explicit(&map->array, array, memory_order_release);
	discard(map, old);
	return 0;
}

int rcu_map_set(struct rcu_map *map, const void *key, void *value, void **ret_old)
{
	uint32_t hash = key_hash(map, key);
	struct bucket *bucket;
	unsigned place;
	struct entry *entry = lookup(map, writers_array(map), key, hash, &bucket, &place);

	if (entry) {
		void *old = atomic_exchange_explicit(&entry->value, value, memory_order_acq_rel);
		if (ret_old)
			*ret_old = old;
		return 0;
	}
	entry = malloc(sizeof(*entry) + map->key_bytes);
	if (!entry || grow(map)) {
		free(entry);
		return -ENOMEM;
	}
	atomic_init(&entry->value, value);
	entry->hash = hash;
	memcpy(entry->key, key, map->key_bytes);
	array_insert(writers_array(map), entry);
	map->count++;
	if (ret_old)
		*ret_old = NULL;
	return 0;
}

void *rcu_map_remove(struct rcu_map *map, const void *key)
{
	struct array *array = writers_array(map);
	uint32_t hash = key_hash(map, key);
	struct bucket *bucket;
	unsigned place;
	struct entry *entry = lookup(map, array, key, hash, &bucket, &place);

	if (!entry)
		return NULL;
	atomic_store_explicit(&bucket->entries[place], NULL, memory_order_relaxed);
	for (uint32_t b = hash & array->mask; &array->buckets[b] != bucket; b = (b + 1) & array->mask)
		atomic_fetch_sub_explicit(&array->buckets[b].passed, 1, memory_order_relaxed);
	map->count--;
	void *value = atomic_load_explicit(&entry->value, memory_order_relaxed);
	discard(map, entry);
	return value;
}

size_t rcu_map_count(const struct rcu_map *map)
{
	return map->count;
}

int rcu_map_each(const struct rcu_map *map, int (*fn)(void *arg, const void *key, void *value), void *arg)
{
	struct array *array = writers_array(map);

	for (uint32_t b = 0; b <= array->mask; b++) {
		for (unsigned i = 0; i < BUCKET_ENTRIES; i++) {
			struct entry *entry = atomic_load_explicit(&array->buckets[b].entries[i], memory_order_relaxed);
			if (!entry)
				continue;
			int rc = fn(arg, entry->key, atomic_load_explicit(&entry->value, memory_order_relaxed));
			if (rc)
				return rc;
		}
	}
	return 0;
}
