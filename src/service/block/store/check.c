// SPDX-License-Identifier: BSD-3-Clause
/* The check of a whole pool: each reference count against a walk through all trees. */
#include "service/block/store/store_priv.h"

#include <stdlib.h>

struct check {
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

static int fault(struct check *check, const char *what, uint64_t id, uint64_t value, uint64_t found)
{
	error_set(check->error, DPU_E_INTERNAL, check->store->name, "%s %llu: it says %llu, found %llu", what,
		  (unsigned long long)id, (unsigned long long)value, (unsigned long long)found);
	return -EBADMSG;
}

/* The copy of a page: walking on may evict it. */
static int walk_page(struct check *check, uint32_t page, unsigned level, uint64_t index, uint64_t *ret_blocks)
{
	struct frame *frame;
	struct page_leaf leaf;
	struct page_node node;
	unsigned used = 0;
	uint64_t below = 0;

	if (check->pages[page]++ > 0) {
		*ret_blocks += check->below[page];
		return 0;
	}
	int rc = page_now(check->store, page, level ? PAGE_NODE : PAGE_LEAF, level, index, &frame);
	if (rc < 0)
		return fault(check, "a page of a tree cannot be had", page, level, index);
	memcpy(&leaf, frame->data, sizeof(leaf));
	memcpy(&node, frame->data, sizeof(node));
	for (unsigned i = 0; level == 0 && i < LEAF_BLOCKS; i++) {
		uint64_t place = leaf_place(&leaf, i);
		if (place)
			check->blocks[place - 1]++;
		used += place != 0;
	}
	for (unsigned i = 0; rc == 0 && level != 0 && i < NODE_CHILDREN; i++) {
		if (!node.child[i])
			continue;
		used++;
		rc = walk_page(check, node.child[i], level - 1, index << NODE_SHIFT | i, &below);
	}
	if (rc == 0 && used != node.header.used)
		rc = fault(check, "used of page", page, node.header.used, used);
	if (rc == 0 && level > 0 && level <= BELOW_LEVELS && below != node.header.below)
		rc = fault(check, "blocks below page", page, node.header.below, below);
	check->below[page] = level ? below : used;
	*ret_blocks += check->below[page];
	return rc;
}

static int compare_blocks(struct check *check)
{
	struct store *store = check->store;

	for (uint32_t group = 0; group < store->space.groups; group++) {
		struct frame *frame;
		unsigned at, blocks, none = 0;
		uint64_t first = group_first(store, group, &blocks);
		uint32_t page = space_page(store, first, &at);
		if (page_now(store, page, PAGE_SPACE, 0, page, &frame) < 0)
			return fault(check, "counts", page, 0, 0);
		const uint32_t *count = ((struct page_counts *)frame->data)->count;
		for (unsigned i = 0; i < blocks; i++) {
			if (count[i] != check->blocks[first + i] && count[i] != COUNT_LOST)
				return fault(check, "references of block", first + i, count[i],
					     check->blocks[first + i]);
			none += count[i] == 0;
		}
		struct frame *summary = store->fixed[summary_page(store, group, &at)];
		uint16_t said = ((struct page_summary *)summary->data)->free[at];
		if (said != none)
			return fault(check, "free blocks of group", group, said, none);
	}
	return 0;
}

static int compare_pages(struct check *check)
{
	uint32_t none = 0;

	for (uint32_t page = 0; page < check->store->pages; page++) {
		if (!page_is_tree(check->store, page))
			continue;
		uint32_t count = pageref_get(check->store, page);
		if (count != check->pages[page] && count != COUNT_LOST)
			return fault(check, "references of page", page, count, check->pages[page]);
		none += count == 0;
	}
	return none == check->store->page_space.free
		       ? 0
		       : fault(check, "free pages", 0, check->store->page_space.free, none);
}

int store_check(struct store *store, struct dpu_error *error)
{
	struct check check = { .store = store, .error = error };
	int rc = -ENOMEM;

	check.pages = calloc(store->pages, sizeof(*check.pages));
	check.blocks = calloc(store->places, sizeof(*check.blocks));
	check.below = calloc(store->pages, sizeof(*check.below));
	if (check.pages && check.blocks && check.below)
		rc = 0;
	for (uint32_t slot = 0; rc == 0 && slot < store->slots; slot++) {
		const struct volume_entry *entry = entry_at(store, slot);
		uint64_t blocks = 0;
		if (!store->volume[slot] || entry->flags & ENTRY_QUARANTINED)
			continue;
		if (entry->root)
			rc = walk_page(&check, entry->root, entry->height - 1u, 0, &blocks);
		if (rc == 0 && blocks != entry->blocks)
			rc = fault(&check, "blocks of volume", entry->id, entry->blocks, blocks);
	}
	if (rc == 0)
		rc = compare_pages(&check);
	if (rc == 0)
		rc = compare_blocks(&check);
	free(check.pages);
	free(check.blocks);
	free(check.below);
	return rc;
}
