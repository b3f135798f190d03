// SPDX-License-Identifier: BSD-3-Clause
/* Pages of trees: their reference counts, which are always in memory, and which ones are free. A page may be used
 * again at once: its old content is in the slot that no durable root speaks of, or stays in its own. */
#include "service/block/store/store_priv.h"

static uint32_t *count_at(struct store *store, uint32_t page, struct frame **ret)
{
	unsigned at;
	struct frame *frame = store->fixed[count_page(store, page, &at)];

	if (ret)
		*ret = frame;
	return &((struct page_counts *)frame->data)->count[at];
}

uint32_t pageref_get(struct store *store, uint32_t page)
{
	return *count_at(store, page, NULL);
}

void pageref_add(struct store *store, uint32_t page, int delta)
{
	struct frame *frame;
	uint32_t *count = count_at(store, page, &frame), old = *count;

	if (old == COUNT_LOST || (delta < 0 && old == 0))
		return;
	page_dirty(store, frame);
	*count = old + (uint32_t)delta;
	if (old == 0)
		store->page_space.free--;
	if (*count == 0)
		store->page_space.free++;
}

void pageref_set(struct store *store, uint32_t page, uint32_t count)
{
	struct frame *frame;
	uint32_t *at = count_at(store, page, &frame);

	page_dirty(store, frame);
	store->page_space.free += (count == 0) - (uint32_t)(*at == 0);
	*at = count;
}

bool page_is_tree(struct store *store, uint32_t page)
{
	uint64_t index;

	return page_kind_of(store, page, &index) == PAGE_NODE;
}

/* The first page of trees at or behind `page` of its medium; 0: none. */
static uint32_t first_tree_page(struct store *store, uint32_t page)
{
	if (page >= store->page_space.end)
		return 0;
	const struct store_super *super = &medium_of_page(store, page)->super;
	uint32_t first = super->first_page + super->space_pages + super->summary_pages + super->count_pages +
			 super->directory_pages;
	return page < first ? first : page;
}

static bool free_page(struct store *store, uint32_t page)
{
	if (pageref_get(store, page) != 0)
		return false;
	struct frame *frame = page_find(store, page);
	return !frame || frame->state != FRAME_LOADING;
}

/* Never the same one twice in a row of calls that change no counts: the rotor moves on. */
static uint32_t pick_one(struct store *store)
{
	struct page_space *space = &store->page_space;

	for (uint32_t tries = 0; tries <= store->pages; tries++) {
		uint32_t page = first_tree_page(store, space->rotor);
		if (page == 0)
			page = first_tree_page(store, 0);
		space->rotor = page + 1;
		if (free_page(store, page))
			return page;
	}
	return 0;
}

int page_pick(struct store *store, unsigned count, bool discard, uint32_t *ret)
{
	if (count && store->page_space.free < count + (discard ? 0 : DISCARD_PAGES))
		return -ENOSPC;
	for (unsigned i = 0; i < count; i++) {
		ret[i] = pick_one(store);
		if (ret[i] == 0)
			return -ENOSPC;
		for (unsigned j = 0; j < i; j++)
			if (ret[j] == ret[i])
				return -ENOSPC;
	}
	return 0;
}

void pageref_count(struct store *store)
{
	store->page_space.free = 0;
	for (uint32_t page = 0; (page = first_tree_page(store, page)) != 0; page++)
		store->page_space.free += pageref_get(store, page) == 0;
}
