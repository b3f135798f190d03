// SPDX-License-Identifier: BSD-3-Clause
/* The memory that pages live in: a cache of fixed size, and the pages of counts and of the directory, which stay. */
#include "service/block/store/store_priv.h"

#include <stdlib.h>
#include <sys/mman.h>

enum {
	DEFAULT_CACHE = 16384,
	OTHER_PAGES = 32,
	OP_ROOM = 6,
	/* What the records of one section may change: recovery writes checkpoints between sections only. */
	SECTION_PAGES = 8192,
};

static void *map_pages(size_t count)
{
	void *memory = mmap(NULL, count * STORE_BLOCK, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* The worst is a write below nodes that are all shared: a page of counts for each of their children. */
static uint32_t op_pages(struct store *store, const struct medium *last)
{
	uint32_t space = 0, counts = 0, summaries = 0;

	for (const struct medium *medium = store->medium; medium <= last; medium++) {
		space += medium->super.space_pages;
		counts += medium->super.count_pages;
		summaries += medium->super.summary_pages;
	}
	return least(space, LEAF_BLOCKS) + least(summaries, LEAF_BLOCKS) +
	       least(counts, (TREE_MAX_HEIGHT - 1) * NODE_CHILDREN) + OTHER_PAGES;
}

int pages_init(struct store *store)
{
	uint32_t floor = OP_ROOM * op_pages(store, &store->medium[store->media - 1]), buckets = 256;
	uint32_t wanted = store->cache_pages ? store->cache_pages : DEFAULT_CACHE;

	store->cache_pages = wanted > floor ? wanted : floor;
	store->frame_count = store->cache_pages + SECTION_PAGES;
	store->frame_limit = store->held_frames = store->frame_count;
	while (buckets < store->frame_count)
		buckets *= 2;
	store->hash_mask = buckets - 1;
	store->frames = aligned_alloc(64, store->frame_count * sizeof(*store->frames));
	store->hash = calloc(buckets, sizeof(*store->hash));
	store->frame_memory = map_pages(store->frame_count);
	store->page_io = calloc(PAGE_IOS, sizeof(*store->page_io));
	store->page_io_memory = map_pages(PAGE_IOS);
	if (!store->frames || !store->hash || !store->frame_memory || !store->page_io || !store->page_io_memory)
		return -ENOMEM;
	memset(store->frames, 0, store->frame_count * sizeof(*store->frames));
	for (uint32_t i = store->frame_count; i-- > 0;) {
		store->frames[i].data = store->frame_memory + (size_t)i * STORE_BLOCK;
		frame_free(store, &store->frames[i]);
	}
	for (unsigned i = 0; i < PAGE_IOS; i++) {
		store->page_io[i].store = store;
		store->page_io[i].buffer = store->page_io_memory + (size_t)i * STORE_BLOCK;
		page_io_give(&store->page_io[i]);
	}
	return 0;
}

static bool grow_array(void *array, size_t old_bytes, size_t bytes)
{
	void *old, *bigger;

	memcpy(&old, array, sizeof(old));
	bigger = realloc(old, bytes);
	if (!bigger)
		return false;
	memset((uint8_t *)bigger + old_bytes, 0, bytes - old_bytes);
	memcpy(array, &bigger, sizeof(bigger));
	return true;
}

int pages_add(struct store *store, struct medium *medium)
{
	const struct store_super *super = &medium->super;
	uint32_t pages = super->first_page + super->pages, first = super->space_pages;
	size_t old_map = super->first_page ? (super->first_page - 1) / 4 + 1 : 0, map = (pages + 3) / 4;

	if (op_pages(store, medium) * OP_ROOM > store->cache_pages)
		return -E2BIG;
	medium->residents = super->summary_pages + super->count_pages + super->directory_pages;
	medium->frames = calloc(medium->residents, sizeof(*medium->frames));
	medium->frame_memory = map_pages(medium->residents);
	if (!medium->frames || !medium->frame_memory || !grow_array(&store->map, old_map, map) ||
	    !grow_array(&store->durable_map, old_map, map) ||
	    !grow_array(&store->fixed, super->first_page * sizeof(*store->fixed), pages * sizeof(*store->fixed)))
		return -ENOMEM;
	for (uint32_t i = 0; i < medium->residents; i++) {
		medium->frames[i].resident = true;
		medium->frames[i].data = medium->frame_memory + (size_t)i * STORE_BLOCK;
		store->fixed[super->first_page + first + i] = &medium->frames[i];
	}
	store->op_pages = op_pages(store, medium);
	return 0;
}

static void unmap_pages(uint8_t *memory, size_t count)
{
	if (memory)
		munmap(memory, count * STORE_BLOCK);
}

void pages_remove(struct store *store, struct medium *medium)
{
	unmap_pages(medium->frame_memory, medium->residents);
	free(medium->frames);
	store->op_pages = op_pages(store, medium - 1);
}

void pages_fini(struct store *store)
{
	unmap_pages(store->frame_memory, store->frame_count);
	unmap_pages(store->page_io_memory, PAGE_IOS);
	for (unsigned i = 0; i < STORE_MAX_MEDIA; i++) {
		unmap_pages(store->medium[i].frame_memory, store->medium[i].residents);
		free(store->medium[i].frames);
	}
	free(store->frames);
	free(store->hash);
	free(store->map);
	free(store->durable_map);
	free(store->fixed);
	free(store->page_io);
}
