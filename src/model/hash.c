/* SPDX-License-Identifier: BSD-3-Clause */
/* A chained hash table of intrusive links. */
#include "model/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BUCKETS = 64 };

int hash_init(struct hash *hash)
{
	hash->buckets = calloc(FIRST_BUCKETS, sizeof(struct hash_link *));
	hash->mask = FIRST_BUCKETS - 1;
	hash->count = 0;
	return hash->buckets ? 0 : -ENOMEM;
}

void hash_fini(struct hash *hash)
{
	free(hash->buckets);
	*hash = (struct hash){ 0 };
}

static void push(struct hash_link **buckets, size_t mask, struct hash_link *link)
{
	struct hash_link **bucket = &buckets[link->hash & mask];

	link->next = *bucket;
	*bucket = link;
}

static void grow(struct hash *hash)
{
	size_t mask = hash->mask * 2 + 1;
	struct hash_link **buckets = calloc(mask + 1, sizeof(struct hash_link *));

	if (!buckets)
		return;
	for (size_t i = 0; i <= hash->mask; i++) {
		struct hash_link *link = hash->buckets[i], *next;
		for (; link; link = next) {
			next = link->next;
			push(buckets, mask, link);
		}
	}
	free(hash->buckets);
	hash->buckets = buckets;
	hash->mask = mask;
}

void hash_insert(struct hash *hash, struct hash_link *link, uint64_t value)
{
	if (hash->count++ > hash->mask)
		grow(hash);
	link->hash = value;
	push(hash->buckets, hash->mask, link);
}

void hash_remove(struct hash *hash, struct hash_link *link)
{
	struct hash_link **at = &hash->buckets[link->hash & hash->mask];

	while (*at != link)
		at = &(*at)->next;
	*at = link->next;
	hash->count--;
}

static struct hash_link *match(struct hash_link *link, uint64_t value)
{
	while (link && link->hash != value)
		link = link->next;
	return link;
}

struct hash_link *hash_first(const struct hash *hash, uint64_t value)
{
	return match(hash->buckets[value & hash->mask], value);
}

struct hash_link *hash_next(const struct hash_link *link)
{
	return match(link->next, link->hash);
}

uint64_t hash_u64(uint64_t seed, uint64_t value)
{
	/* Multiply and fold, twice, so that every input bit reaches the low bits that choose the bucket. */
	unsigned __int128 product = (unsigned __int128)(seed ^ value) * UINT64_C(0x9e3779b97f4a7c15);
	uint64_t mixed = (uint64_t)product ^ (uint64_t)(product >> 64);

	product = (unsigned __int128)(mixed ^ seed) * UINT64_C(0xd6e8feb86659fd93);
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t hash_bytes(uint64_t seed, const void *bytes, size_t length)
{
	const char *at = bytes;
	uint64_t word, value = hash_u64(seed, length);

	for (; length >= sizeof(word); at += sizeof(word), length -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		value = hash_u64(value, word);
	}
	if (length > 0) {
		word = 0;
		memcpy(&word, at, length);
		value = hash_u64(value, word);
	}
	return value;
}
