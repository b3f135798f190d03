// SPDX-License-Identifier: BSD-3-Clause
/* The check of a whole pool: each reference count against a walk through all trees. */
#include "service/block/store/store_priv.h"

#include <stdlib.h>

struct walk {
	struct store *store;
	uint32_t *pages, *blocks; /* references found */
	uint64_t *below;          /* blocks that are mapped under each page */
	struct dpu_error *error;
};

static int page_now(struct store *store, uint32_t page, enum page_kind kind, unsigned level, uint64_t index,
		    struct frame **ret)
{
	int rc;

	for (;;) {
		pages_begin(store);
		rc = page_get(store, page, kind, level, index, ret);
		if (rc != -EAGAIN)
			return rc;
		store_poll(store);
	}
}

static int fault(struct walk *walk, const char *what, uint64_t id, uint64_t value, uint64_t found)
{
	error_set(walk->error, DPU_E_INTERNAL, walk->store->name, "%s %llu: it says %llu, found %llu", what,
		  (unsigned long long)id, (unsigned long long)value, (unsigned long long)found);
	return -EBADMSG;
}

/* The copy of a page: walking on may evict it. */
static int walk_page(struct walk *walk, uint32_t page, unsigned level, uint64_t index, uint64_t *ret_blocks)
{
	struct frame *frame;
	struct page_leaf leaf;
	struct page_node node;
	unsigned used = 0;
	uint64_t below = 0;

	if (walk->pages[page]++ > 0) {
		*ret_blocks += walk->below[page];
		return 0;
	}
	int rc = page_now(walk->store, page, level ? PAGE_NODE : PAGE_LEAF, level, index, &frame);
	if (rc < 0)
		return fault(walk, "a page of a tree cannot be had", page, level, index);
	memcpy(&leaf, frame->data, sizeof(leaf));
	memcpy(&node, frame->data, sizeof(node));
	for (unsigned i = 0; level == 0 && i < LEAF_BLOCKS; i++) {
		uint64_t place = leaf_place(&leaf, i);
		if (place)
			walk->blocks[place - 1]++;
		used += place != 0;
	}
	for (unsigned i = 0; rc == 0 && level != 0 && i < NODE_CHILDREN; i++) {
		if (!node.child[i])
			continue;
		used++;
		rc = walk_page(walk, node.child[i], level - 1, index << NODE_SHIFT | i, &below);
	}
	if (rc == 0 && used != node.header.used)
		rc = fault(walk, "used of page", page, node.header.used, used);
	if (rc == 0 && level > 0 && level <= BELOW_LEVELS && below != node.header.below)
		rc = fault(walk, "blocks below page", page, node.header.below, below);
	walk->below[page] = level ? below : used;
	*ret_blocks += walk->below[page];
	return rc;
}

static int compare_blocks(struct walk *walk)
{
	struct store *store = walk->store;

	for (uint32_t group = 0; group < store->space.groups; group++) {
		struct frame *frame;
		unsigned at, blocks, none = 0;
		uint64_t first = group_first(store, group, &blocks);
		uint32_t page = space_page(store, first, &at);
		if (page_now(store, page, PAGE_SPACE, 0, page, &frame) < 0)
			return fault(walk, "counts", page, 0, 0);
		const uint32_t *count = ((struct page_counts *)frame->data)->count;
		for (unsigned i = 0; i < blocks; i++) {
			if (count[i] != walk->blocks[first + i] && count[i] != COUNT_LOST)
				return fault(walk, "references of block", first + i, count[i], walk->blocks[first + i]);
			none += count[i] == 0;
		}
		struct frame *summary = store->fixed[summary_page(store, group, &at)];
		uint16_t said = ((struct page_summary *)summary->data)->free[at];
		/* Of a group that was never opened, all that is known is that it may be free. */
		if (said != none && said != blocks)
			return fault(walk, "free blocks of group", group, said, none);
	}
	return 0;
}

static int compare_pages(struct walk *walk)
{
	uint32_t none = 0;

	for (uint32_t page = 0; page < walk->store->pages; page++) {
		if (!page_is_tree(walk->store, page))
			continue;
		uint32_t count = pageref_get(walk->store, page);
		if (count != walk->pages[page] && count != COUNT_LOST)
			return fault(walk, "references of page", page, count, walk->pages[page]);
		none += count == 0;
	}
	return none == walk->store->page_space.free ? 0
						    : fault(walk, "free pages", 0, walk->store->page_space.free, none);
}

int store_check(struct store *store, struct dpu_error *error)
{
	struct walk walk = { .store = store, .error = error };
	int rc = -ENOMEM;

	walk.pages = calloc(store->pages, sizeof(*walk.pages));
	walk.blocks = calloc(store->places, sizeof(*walk.blocks));
	walk.below = calloc(store->pages, sizeof(*walk.below));
	if (walk.pages && walk.blocks && walk.below)
		rc = 0;
	for (uint32_t slot = 0; rc == 0 && slot < store->slots; slot++) {
		const struct volume_entry *entry = entry_at(store, slot);
		uint64_t blocks = 0;
		if (!store->volume[slot] || entry->flags & ENTRY_QUARANTINED)
			continue;
		if (entry->root)
			rc = walk_page(&walk, entry->root, entry->height - 1u, 0, &blocks);
		if (rc == 0 && blocks != entry->blocks)
			rc = fault(&walk, "blocks of volume", entry->id, entry->blocks, blocks);
	}
	if (rc == 0)
		rc = compare_pages(&walk);
	if (rc == 0)
		rc = compare_blocks(&walk);
	free(walk.pages);
	free(walk.blocks);
	free(walk.below);
	return rc;
}
