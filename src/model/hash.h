/* SPDX-License-Identifier: BSD-3-Clause */
/* A chained hash table of links that live inside what is kept. Insertion never fails: without memory to grow, chains
 * get longer. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct hash_link {
	struct hash_link *next;
	uint64_t hash;
};

struct hash {
	struct hash_link **buckets;
	size_t mask, count;
};

#define container_of(pointer_, type_, member_) ((type_ *)((char *)(pointer_)-offsetof(type_, member_)))

int hash_init(struct hash *hash);
void hash_fini(struct hash *hash);
void hash_insert(struct hash *hash, struct hash_link *link, uint64_t value);
void hash_remove(struct hash *hash, struct hash_link *link); /* must be in */
/* The links whose hash is value; the caller compares keys. */
struct hash_link *hash_first(const struct hash *hash, uint64_t value);
struct hash_link *hash_next(const struct hash_link *link);

/* Mixes bytes into a running value; the seed makes collisions unpredictable from outside. */
uint64_t hash_bytes(uint64_t seed, const void *bytes, size_t length);
uint64_t hash_u64(uint64_t seed, uint64_t value);
