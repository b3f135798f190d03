// SPDX-License-Identifier: BSD-3-Clause
/* Reference counts are made again from the trees. Requests wait meanwhile, so that the trees stand still; what a crash
 * interrupts has made some counts right and the others no worse, and is done once more from the start.
 *
 * As long as some map cannot be read, what it refers to is unknown: then counts only go up. */
#include "service/block/store/store_priv.h"

#include <stdlib.h>

enum { PAGES_PER_STEP = 256, GROUPS_PER_STEP = 4 };

struct repair {
	struct walk walk;
	uint32_t page, group; /* whose counts come next */
};

/* What a count must be; its old value if nothing is known that contradicts it. */
static uint32_t right_count(uint32_t old, uint32_t found, bool unreadable)
{
	if (!unreadable)
		return found;
	return old < found ? found : old;
}

/* ---- pages ---- */

static bool set_page(struct store *store, const struct walk *walk, uint32_t page)
{
	uint32_t old = pageref_get(store, page);
	uint32_t count = right_count(old, walk_pages_found(walk, page), walk->unreadable);

	if (count == old)
		return false;
	pageref_set(store, page, count);
	if (count == 0)
		page_drop(store, page);
	return true;
}

/* 0: all of them. */
static int set_pages(struct store *store, struct walk *walk, uint32_t *page, uint64_t *changed)
{
	for (unsigned i = 0; i < PAGES_PER_STEP * 16 && *page < store->pages; i++, ++*page) {
		int rc = pages_room(store);
		if (rc < 0)
			return rc;
		if (page_is_tree(store, *page))
			*changed += set_page(store, walk, *page);
	}
	if (*page == store->pages)
		return 0;
	store->again = true;
	return -EAGAIN;
}

/* ---- blocks ---- */

static int set_group(struct store *store, const struct walk *walk, uint32_t group, uint64_t *changed)
{
	struct frame *frame;
	unsigned at, blocks;
	uint64_t first = group_first(store, group, &blocks);
	int rc = pages_room(store);

	if (rc < 0)
		return rc;
	pages_begin(store);
	uint32_t page = space_page(store, first, &at);
	rc = page_get(store, page, PAGE_SPACE, 0, page, &frame);
	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < blocks; i++) {
		uint64_t index = first + i - walk->first_place;
		uint32_t old = space_get(store, first + i);
		if (index >= walk->places)
			continue;
		uint32_t count = right_count(old, walk->blocks[index], walk->unreadable);
		*changed += count != old;
		if (count != old)
			space_set(store, first + i, count);
	}
	space_sum(store, group);
	return 0;
}

static int set_groups(struct store *store, struct repair *repair, uint64_t *changed)
{
	uint64_t end = repair->walk.first_place + repair->walk.places;

	for (unsigned i = 0; i < GROUPS_PER_STEP && repair->group < store->space.groups; i++) {
		unsigned blocks;
		uint64_t first = group_first(store, repair->group, &blocks);
		if (first >= end)
			return 0;
		int rc = set_group(store, &repair->walk, repair->group, changed);
		if (rc < 0)
			return rc;
		if (first + blocks > end) /* its rest comes with the next walk */
			return 0;
		repair->group++;
	}
	if (repair->group == store->space.groups)
		return 0;
	store->again = true;
	return -EAGAIN;
}

/* ---- at a start: counts of pages that are lost, before records need them ---- */

int repair_page_counts(struct store *store, struct walk *walk)
{
	uint64_t changed = 0;

	if (!walk->pages) {
		int rc = walk_init(walk, store, false);
		if (rc < 0)
			return rc;
	}
	int rc = walk->done ? 0 : walk_go(walk, PAGES_PER_STEP);
	if (rc < 0)
		return rc;
	walk->done = true;
	while ((rc = set_pages(store, walk, &walk->page, &changed)) == -EAGAIN && pages_room(store) == 0)
		;
	if (rc == 0)
		walk_fini(walk);
	return rc;
}

/* ---- the command ---- */

static int end(struct store *store, struct store_command *command, int rc)
{
	repair_free(store);
	store->held = false;
	return rc;
}

void repair_free(struct store *store)
{
	if (!store->repair)
		return;
	walk_fini(&store->repair->walk);
	free(store->repair);
	store->repair = NULL;
}

/* Also those whose map could not be read before; but not those that lack something. */
static void settle_volumes(struct store *store, bool force)
{
	for (uint32_t slot = 0; slot < store->slots; slot++) {
		struct store_volume *volume = store->volume[slot];
		if (!volume)
			continue;
		leaf_cache_forget(volume, 0, UINT64_MAX);
		bool behind = volume->entry->flags & ENTRY_BEHIND;
		if (volume->unreadable)
			volume_quarantine(volume, 0);
		else if (volume->entry->flags & ENTRY_QUARANTINED && (force || !behind))
			volume_release(volume);
	}
}

static bool directory_is_whole(struct store *store)
{
	for (uint32_t slot = 0; slot < store->slots; slot += DIRECTORY_ENTRIES)
		if (entry_frame(store, slot)->state == FRAME_BAD)
			return false;
	return true;
}

/* What is left that keeps counts from going down. */
static int report_rest(struct store *store, struct store_command *command)
{
	for (uint32_t slot = 0; slot < store->slots; slot++)
		if (store->volume[slot] && store->volume[slot]->unreadable)
			return command_error(command, DPU_E_IO,
					     "the map of volume '%s' cannot be read: delete it and repair again to "
					     "get back what it has",
					     store->volume[slot]->entry->name);
	if (!directory_is_whole(store))
		return command_error(command, DPU_E_IO,
				     "a page of the directory is lost: with force its volumes are given up");
	return 0;
}

static int repair_end(struct store *store, struct store_command *command)
{
	int rc = command_waited(store, command);

	if (rc == -EAGAIN)
		return rc;
	command->repaired = rc == 0;
	return end(store, command, rc < 0 ? rc : report_rest(store, command));
}

static int repair_walk(struct store *store, struct store_command *command);

/* What was quarantined is there again with the root that says so: until then nobody can write to it. */
static int repair_blocks(struct store *store, struct store_command *command)
{
	struct repair *repair = store->repair;
	struct walk *walk = &repair->walk;
	int rc = set_groups(store, repair, &command->damaged);

	if (rc < 0)
		return rc == -EAGAIN ? rc : end(store, command, rc);
	if (walk->first_place + walk->places >= store->places) {
		settle_volumes(store, command->force);
		return command_checkpoint(store, command, repair_end);
	}
	walk_again(walk, walk->first_place + walk->places);
	return command_then(command, repair_walk);
}

static int repair_pages(struct store *store, struct store_command *command)
{
	struct repair *repair = store->repair;
	int rc = set_pages(store, &repair->walk, &repair->page, &command->damaged);

	if (rc < 0)
		return rc == -EAGAIN ? rc : end(store, command, rc);
	return command_then(command, repair_blocks);
}

static int repair_walk(struct store *store, struct store_command *command)
{
	struct walk *walk = &store->repair->walk;

	if (store->failed)
		return end(store, command, command_failed(store, command));
	if (command_is_cut_short(store, command))
		return end(store, command, command_cut_short(store, command));
	int rc = walk_go(walk, PAGES_PER_STEP);
	command->progress = walk->visited;
	if (rc < 0)
		return rc == -EAGAIN ? rc : end(store, command, rc);
	walk->unreadable |= !directory_is_whole(store);
	return command_then(command, repair_pages);
}

/* All is in the durable pages, so no record will be applied to counts that are made now. */
static int repair_start(struct store *store, struct store_command *command)
{
	int rc = command_waited(store, command);

	if (rc < 0)
		return rc == -EAGAIN ? rc : end(store, command, rc);
	pages_forget_bad(store);
	store->space.allocator.group = NO_PLACE;
	if (command->force)
		directory_give_up(store);
	return command_then(command, repair_walk);
}

/* What is under way ends first, which takes as long as the media take. */
static int repair_hold(struct store *store, struct store_command *command)
{
	if (command_is_cut_short(store, command))
		return end(store, command, command_cut_short(store, command));
	if (store->busy_ios > 0)
		return -EAGAIN;
	return command_checkpoint(store, command, repair_start);
}

int repair_step(struct store *store, struct store_command *command)
{
	if (store->failed)
		return command_failed(store, command);
	if (command_is_cut_short(store, command))
		return command_cut_short(store, command);
	if (store->growing || store->scrubs)
		return -EAGAIN;
	store->repair = calloc(1, sizeof(*store->repair));
	if (!store->repair || walk_init(&store->repair->walk, store, true) < 0)
		return end(store, command, -ENOMEM);
	command->total = store->pages - store->page_space.free;
	store->held = true;
	return command_then(command, repair_hold);
}
