/* SPDX-License-Identifier: BSD-3-Clause */
/* A hash map with fixed-size keys and pointer values: one writer, any number of lock-free readers. Readers must be
 * between quiescent states; what the writer takes out goes to its retire function.
 *
 * Entries sit in cache lines of five; a lookup touches one of these, the entry's key and nothing else in nearly all
 * cases. A map that fills up is rebuilt at twice the size (amortised constant time per insert, 20 ms at a million
 * entries); the former array is retired, entries stay where they are. The hash is keyed by a random seed. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct rcu_map;

/* Hands memory over to be freed by free_fn after a grace period. */
typedef void rcu_retire_fn(void *ctx, void (*free_fn)(void *), void *memory);

/* key_bytes 1..256; padding inside keys counts: zero them. retire NULL: the map has no readers beside the writer, free
 * at once. 0, -EINVAL or -ENOMEM. */
int rcu_map_new(size_t key_bytes, rcu_retire_fn *retire, void *ctx, struct rcu_map **ret);
void rcu_map_free(struct rcu_map *map); /* no readers left; values are the caller's */

/* Reader. NULL if absent. */
void *rcu_map_find(const struct rcu_map *map, const void *key);

/* Writer. value must not be NULL. The value replaced, or NULL, goes to *ret_old (may be NULL); the caller retires it.
 * 0 or -ENOMEM, the map being unchanged then. */
int rcu_map_set(struct rcu_map *map, const void *key, void *value, void **ret_old);
void *rcu_map_remove(struct rcu_map *map, const void *key); /* the value, or NULL */
size_t rcu_map_count(const struct rcu_map *map);
/* Writer. Calls fn for each entry until it returns non-zero, and returns that. fn may replace or remove the entry that
 * it is given; it must not add any. */
int rcu_map_each(const struct rcu_map *map, int (*fn)(void *arg, const void *key, void *value), void *arg);
