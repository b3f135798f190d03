// SPDX-License-Identifier: BSD-3-Clause
/* Data blocks: their reference counts, and which ones may be written.
 *
 * Blocks are handed out from one group (a page of counts) at a time, those that were free when the group was opened.
 * So a block that becomes free is not handed out before its group is opened again, which waits until
 *   - every record by which a block of it became free is durable (a crash could bring the old map back), and
 *   - no read is under way that may have found the old map, and
 *   - no extent of it is handed out that is in no record yet.
 * The first two are told by epochs: an epoch is closed when a flush begins and durable when that has ended; a reader
 * belongs to the epoch in which it looked at the map. */
#include "service/block/store/store_priv.h"

#include <stdlib.h>

int space_add_medium(struct store *store, struct medium *medium)
{
	struct space *space = &store->space;
	bool first = medium == store->medium;
	uint32_t before = first ? 0 : medium[-1].first_group + medium[-1].super.space_pages;
	struct group *bigger = realloc(space->group, (before + medium->super.space_pages) * sizeof(*bigger));

	if (!bigger)
		return -ENOMEM;
	space->group = bigger;
	for (uint32_t i = 0; i < medium->super.space_pages; i++) {
		struct frame *summary = &medium->frames[i / SUMMARY_GROUPS];
		bigger[before + i] = (struct group){
			.summary = summary,
			.free_blocks = &((struct page_summary *)summary->data)->free[i % SUMMARY_GROUPS],
		};
	}
	medium->first_group = before;
	if (first) {
		space->allocator.group = NO_PLACE;
		space->epoch = 1;
		space->oldest_reader = 1;
	}
	return 0;
}

void space_extend(struct store *store)
{
	const struct medium *last = &store->medium[store->media - 1];
	struct space *space = &store->space;
	unsigned blocks;

	/* None of their pages was ever written; while a pool is opened, space_count() follows. */
	for (; space->groups < last->first_group + last->super.space_pages; space->groups++) {
		group_first(store, space->groups, &blocks);
		*space->group[space->groups].free_blocks = (uint16_t)blocks;
		space->free += blocks;
	}
	store->page_space.end = store->pages;
}

void space_fini(struct store *store)
{
	free(store->space.group);
}

void space_counts_at(struct store *store, uint32_t page, struct frame *frame)
{
	const struct medium *medium = medium_of_page(store, page);

	store->space.group[medium->first_group + page - medium->super.first_page].counts = frame;
}

static void summary_set(struct store *store, struct group *group, uint16_t value)
{
	if (*group->free_blocks == value)
		return;
	page_dirty(store, group->summary);
	store->space.free += (uint64_t)value - *group->free_blocks;
	*group->free_blocks = value;
}

/* A page of summaries that was never written says that all is free. */
void space_count(struct store *store)
{
	unsigned blocks;

	store->space.free = 0;
	for (uint32_t i = 0; i < store->space.groups; i++) {
		struct group *group = &store->space.group[i];
		const struct frame *frame = group->summary;
		group_first(store, i, &blocks);
		bool fresh = frame->state == FRAME_CLEAN && map_get(store->map, frame->page) == PAGE_ABSENT;
		if (fresh)
			*group->free_blocks = (uint16_t)blocks;
		group->unknown = frame->state == FRAME_BAD || *group->free_blocks > blocks;
		if (group->unknown)
			*group->free_blocks = 0;
		store->space.free += *group->free_blocks;
	}
	store->space.recount_at = 0;
}

static unsigned free_of(const struct frame *frame, unsigned blocks)
{
	const uint32_t *count = ((const struct page_counts *)frame->data)->count;
	unsigned found = 0;

	for (unsigned i = 0; i < blocks; i++)
		found += count[i] == 0;
	return found;
}

int space_recount(struct store *store)
{
	struct space *space = &store->space;

	for (; space->recount_at < space->groups; space->recount_at++) {
		struct group *group = &space->group[space->recount_at];
		struct frame *frame;
		unsigned at, blocks;
		if (!group->unknown)
			continue;
		pages_begin(store);
		uint32_t page = space_page(store, group_first(store, space->recount_at, &blocks), &at);
		int rc = page_get(store, page, PAGE_SPACE, 0, page, &frame);
		if (rc < 0)
			return rc;
		summary_set(store, group, (uint16_t)free_of(frame, blocks));
		group->unknown = false;
	}
	return 0;
}

void space_counts_lost(struct store *store, uint32_t page)
{
	const struct medium *medium = medium_of_page(store, page);

	summary_set(store, &store->space.group[medium->first_group + page - medium->super.first_page], 0);
}

/* ---- epochs ---- */

/* With a very old reader the present epoch stays open, and what was freed in it waits. */
uint64_t epoch_close(struct store *store)
{
	struct space *space = &store->space;

	pass_readers(space);
	if (space->epoch - space->oldest_reader < READER_EPOCHS - 1)
		space->epoch++;
	return space->epoch - 1;
}

void epoch_durable(struct store *store, uint64_t epoch)
{
	if (epoch > store->space.durable_epoch)
		store->space.durable_epoch = epoch;
	pass_readers(&store->space);
}

/* ---- handing out ---- */

static bool may_open(struct space *space, uint32_t group)
{
	const struct group *g = &space->group[group];

	if (g->busy)
		return false;
	return g->freed_epoch <= space->durable_epoch && g->freed_epoch < space->oldest_reader;
}

static int open_group(struct store *store, uint32_t group)
{
	struct allocator *allocator = &store->space.allocator;
	struct frame *frame;
	unsigned at, blocks, found = 0;
	uint64_t first = group_first(store, group, &blocks);
	uint32_t page = space_page(store, first, &at);
	int rc = page_get(store, page, PAGE_SPACE, 0, page, &frame);

	if (rc < 0)
		return rc;
	const uint32_t *count = ((struct page_counts *)frame->data)->count;
	memset(allocator->bits, 0, sizeof(allocator->bits));
	for (unsigned i = 0; i < blocks; i++) {
		if (count[i])
			continue;
		allocator->bits[i / 64] |= UINT64_C(1) << i % 64;
		found++;
	}
	if (found != *store->space.group[group].free_blocks && pages_room(store) < 0)
		return -EAGAIN;
	summary_set(store, &store->space.group[group], (uint16_t)found);
	allocator->group = group;
	allocator->first = (int64_t)first;
	allocator->at = 0;
	return 0;
}

/* The next group with free blocks that may be opened. */
static int next_group(struct store *store)
{
	struct space *space = &store->space;
	bool later = false, flush = false;

	space->allocator.group = NO_PLACE;
	for (uint32_t i = 0; i < space->groups; i++) {
		uint32_t group = (space->allocator.rotor + i) % space->groups;
		if (*space->group[group].free_blocks == 0)
			continue;
		if (!may_open(space, group)) {
			later = true;
			flush |= space->group[group].freed_epoch > space->durable_epoch;
			continue;
		}
		space->allocator.rotor = group;
		int rc = open_group(store, group);
		if (rc < 0)
			return rc;
		space->allocator.rotor = group + 1 == space->groups ? 0 : group + 1;
		return 0;
	}
	if (!later)
		return -ENOSPC;
	if (flush && !store->flush.running)
		flush_wait(store, NULL, false);
	return -EAGAIN;
}

/* The first free block at or behind `at` of the open group. */
static bool seek(struct allocator *allocator)
{
	while (allocator->at < COUNTS) {
		uint64_t word = allocator->bits[allocator->at / 64] >> allocator->at % 64;
		if (word) {
			allocator->at += (uint32_t)__builtin_ctzll(word);
			return true;
		}
		allocator->at = (allocator->at / 64 + 1) * 64;
	}
	return false;
}

/* Free blocks that follow each other from allocator->at on. */
static uint32_t run(const struct allocator *allocator, uint32_t want)
{
	uint32_t at = allocator->at, end = at;

	while (end < COUNTS && end - at < want && allocator->bits[end / 64] >> end % 64 & 1)
		end++;
	return end - at;
}

static int64_t hand_out(struct store *store, uint32_t count)
{
	struct allocator *allocator = &store->space.allocator;
	uint32_t at = allocator->at;

	for (allocator->at += count; count-- > 0;)
		allocator->bits[(at + count) / 64] &= ~(UINT64_C(1) << (at + count) % 64);
	store->space.group[allocator->group].busy++;
	return allocator->first + at;
}

int space_alloc(struct store *store, uint32_t want, int64_t *ret_place, uint32_t *ret_got)
{
	struct allocator *allocator = &store->space.allocator;

	while (allocator->group == NO_PLACE || !seek(allocator)) {
		int rc = next_group(store);
		if (rc < 0)
			return rc;
	}
	*ret_got = run(allocator, want);
	*ret_place = hand_out(store, *ret_got);
	return 0;
}

bool space_take(struct store *store, uint32_t want, int64_t *ret_place)
{
	struct allocator *allocator = &store->space.allocator;

	if (allocator->group == NO_PLACE || !seek(allocator) || run(allocator, want) != want)
		return false;
	*ret_place = hand_out(store, want);
	return true;
}

void space_release(struct store *store, uint64_t place)
{
	unsigned at;

	group_at(store, place, &at)->busy--;
	store->wake = true;
}

/* ---- counts ---- */

int space_need(struct store *store, uint64_t place)
{
	unsigned at;
	struct frame *frame = group_at(store, place, &at)->counts;

	if (frame && frame->state != FRAME_LOADING) {
		frame->referenced = true;
		frame->stamp = store->stamp;
		return 0;
	}
	uint32_t page = space_page(store, place, &at);
	return page_get(store, page, PAGE_SPACE, 0, page, &frame);
}

uint32_t space_get(struct store *store, uint64_t place)
{
	unsigned at;
	const struct frame *frame = group_at(store, place, &at)->counts;

	return ((const struct page_counts *)frame->data)->count[at];
}

void space_add(struct store *store, uint64_t place, int delta)
{
	unsigned at;
	struct group *group = group_at(store, place, &at);
	struct frame *frame = group->counts;
	uint32_t *count = &((struct page_counts *)frame->data)->count[at], old = *count;

	/* A damaged pool may count too few: then the block stays as it is. */
	if (old == COUNT_LOST || (delta < 0 && old == 0))
		return;
	page_dirty(store, frame);
	*count = old + (uint32_t)delta;
	uint16_t free_blocks = *group->free_blocks;
	if (old == 0 && free_blocks)
		summary_set(store, group, (uint16_t)(free_blocks - 1));
	if (*count == 0) {
		if (free_blocks < COUNTS)
			summary_set(store, group, (uint16_t)(free_blocks + 1));
		group->freed_epoch = store->space.epoch;
	}
}

void space_set(struct store *store, uint64_t place, uint32_t count)
{
	unsigned at;
	struct group *group = group_at(store, place, &at);

	page_dirty(store, group->counts);
	((struct page_counts *)group->counts->data)->count[at] = count;
	if (count == 0)
		group->freed_epoch = store->space.epoch;
}

void space_sum(struct store *store, uint32_t group)
{
	unsigned blocks;

	group_first(store, group, &blocks);
	summary_set(store, &store->space.group[group], (uint16_t)free_of(store->space.group[group].counts, blocks));
}
