/* SPDX-License-Identifier: BSD-3-Clause */
/* A binary heap of what is embedded elsewhere; least key first. Keys may wrap around: they are compared by their
 * difference. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct heap_node {
	uint64_t key;
	uint32_t place; /* from 1; 0: in no heap */
};

struct heap {
	struct heap_node **nodes; /* from 1 */
	uint32_t count, capacity;
};

/* Room for one node more than so many. -ENOMEM. */
int heap_reserve(struct heap *heap, uint32_t count);
void heap_fini(struct heap *heap);

static inline struct heap_node *heap_first(const struct heap *heap)
{
	return heap->count ? heap->nodes[1] : (struct heap_node *)0;
}

static inline bool heap_before(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b) < 0;
}

/* Adds it, or moves it to its new place. There must be room. */
void heap_set(struct heap *heap, struct heap_node *node, uint64_t key);
/* It need not be there. */
void heap_remove(struct heap *heap, struct heap_node *node);
