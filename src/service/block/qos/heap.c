// SPDX-License-Identifier: BSD-3-Clause
/* A binary heap. */
#include "service/block/qos/heap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int heap_reserve(struct heap *heap, uint32_t count)
{
	if (count < heap->capacity)
		return 0;
	uint32_t capacity = heap->capacity ? heap->capacity : 8;
	while (capacity <= count)
		capacity *= 2;
	void *nodes = realloc(heap->nodes, (capacity + 1) * sizeof(*heap->nodes));
	if (!nodes)
		return -ENOMEM;
	heap->nodes = nodes;
	heap->capacity = capacity;
	return 0;
}

void heap_fini(struct heap *heap)
{
	free(heap->nodes);
	*heap = (struct heap){ 0 };
}

static void put(struct heap *heap, struct heap_node *node, uint32_t place)
{
	heap->nodes[place] = node;
	node->place = place;
}

static void sift(struct heap *heap, struct heap_node *node, uint32_t place)
{
	for (; place > 1 && heap_before(node->key, heap->nodes[place / 2]->key); place /= 2)
		put(heap, heap->nodes[place / 2], place);
	for (uint32_t child; (child = place * 2) <= heap->count; place = child) {
		if (child < heap->count && heap_before(heap->nodes[child + 1]->key, heap->nodes[child]->key))
			child++;
		if (!heap_before(heap->nodes[child]->key, node->key))
			break;
		put(heap, heap->nodes[child], place);
	}
	put(heap, node, place);
}

void heap_set(struct heap *heap, struct heap_node *node, uint64_t key)
{
	if (node->place && node->key == key)
		return;
	node->key = key;
	if (!node->place) {
		assert(heap->count < heap->capacity);
		node->place = ++heap->count;
		heap->nodes[node->place] = node;
	}
	sift(heap, node, node->place);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
	uint32_t place = node->place;

	if (!place)
		return;
	node->place = 0;
	struct heap_node *last = heap->nodes[heap->count--];
	if (last != node)
		sift(heap, last, place);
}
