// SPDX-License-Identifier: BSD-3-Clause
/* The map of a volume: a tree of pages that snapshots and clones share. A page with more than one reference, or below
 * one, is copied when it changes. Plans bring everything into memory; the changes then cannot fail. */
#include "service/block/store/store_priv.h"

enum { SEEK_STEPS = 2 * TREE_MAX_HEIGHT }; /* all it takes if no leaf is empty, and what memory always has room for */

uint64_t tree_capacity(unsigned height)
{
	return height ? (uint64_t)LEAF_BLOCKS << NODE_SHIFT * (height - 1) : 0;
}

unsigned tree_height(uint64_t blocks)
{
	unsigned height = 1;

	while (height < TREE_MAX_HEIGHT && tree_capacity(height) < blocks)
		height++;
	return height;
}

static enum page_kind kind_of(unsigned level)
{
	return level ? PAGE_NODE : PAGE_LEAF;
}

static unsigned child_at(uint64_t leaf, unsigned level)
{
	return leaf >> NODE_SHIFT * (level - 1) & (NODE_CHILDREN - 1);
}

static int get(struct store *store, uint32_t page, unsigned level, uint64_t leaf, struct frame **ret)
{
	/* A page in use that counts as free would be given away. */
	if (pageref_get(store, page) == 0)
		return -EBADMSG;
	return page_get(store, page, kind_of(level), level, leaf >> NODE_SHIFT * level, ret);
}

static uint32_t child(const struct frame *frame, uint64_t leaf)
{
	return ((const struct page_node *)frame->data)->child[child_at(leaf, frame->level)];
}

int tree_find(struct store *store, const struct volume_entry *entry, uint64_t block, struct frame **ret,
	      bool *ret_exclusive)
{
	uint64_t leaf = block >> LEAF_SHIFT;
	uint32_t page = entry->root;
	struct frame *frame = NULL;

	*ret = NULL;
	*ret_exclusive = true;
	if (block >= tree_capacity(entry->height))
		return 0;
	for (unsigned level = entry->height; page && level-- > 0;) {
		int rc = get(store, page, level, leaf, &frame);
		if (rc < 0)
			return rc;
		*ret_exclusive &= pageref_get(store, page) == 1;
		if (level)
			page = child(frame, leaf);
	}
	if (page)
		*ret = frame;
	return 0;
}

/* ---- what is mapped next ---- */

static bool seek_in_leaf(const struct page_leaf *leaf, uint64_t *block)
{
	do {
		if (leaf_place(leaf, *block % LEAF_BLOCKS))
			return true;
	} while (++*block % LEAF_BLOCKS);
	return false;
}

/* Down to the first leaf at or behind *block, or past a page that has nothing more. */
static int seek_down(struct store *store, const struct volume_entry *entry, uint64_t *block, bool *ret_found)
{
	uint32_t page = entry->root;
	struct frame *frame;

	for (unsigned level = entry->height; level-- > 0;) {
		int rc = get(store, page, level, *block >> LEAF_SHIFT, &frame);
		if (rc < 0)
			return rc;
		if (level == 0)
			break;
		const struct page_node *node = (const struct page_node *)frame->data;
		unsigned shift = LEAF_SHIFT + NODE_SHIFT * (level - 1); /* of what a child maps */
		uint64_t first = *block >> shift, at = first;
		do {
			page = node->child[at % NODE_CHILDREN];
		} while (!page && ++at % NODE_CHILDREN);
		if (at > first)
			*block = at << shift;
		if (!page)
			return 0;
	}
	*ret_found = seek_in_leaf((const struct page_leaf *)frame->data, block);
	return 0;
}

int tree_seek(struct store *store, const struct volume_entry *entry, uint64_t *block, bool *ret_found)
{
	uint64_t end = tree_capacity(entry->height);
	int rc = 0;

	*ret_found = false;
	if (entry->mapped < end)
		end = entry->mapped;
	if (!entry->root)
		end = 0;
	for (unsigned i = 0; rc == 0 && i < SEEK_STEPS && !*ret_found && *block < end; i++)
		rc = seek_down(store, entry, block, ret_found);
	if (!*ret_found && *block >= end)
		*block = UINT64_MAX;
	return rc;
}

/* ---- plans ---- */

/* The counts of those blocks of a leaf for which `all`, or which are in the range. */
static int need_counts(struct store *store, const struct page_leaf *leaf, unsigned first, unsigned count, bool all)
{
	int result = 0;
	const struct group *last = NULL;

	for (unsigned i = all ? 0 : first; i < (all ? LEAF_BLOCKS : first + count); i++) {
		uint64_t place = leaf_place(leaf, i);
		unsigned at;
		if (!place)
			continue;
		const struct group *group = group_at(store, place - 1, &at);
		if (group == last)
			continue;
		last = group;
		int rc = space_need(store, place - 1);
		if (rc < 0)
			result = rc; /* but ask for the others, too */
	}
	return result;
}

/* Blocks of the range that are not mapped. */
static unsigned holes(const struct page_leaf *leaf, unsigned first, unsigned count)
{
	unsigned result = 0;

	for (unsigned i = 0; i < count; i++)
		result += leaf_place(leaf, first + i) == 0;
	return result;
}

/* The leaf if a write that only replaces blocks changes no other page of the map. */
static struct frame *replaced_leaf(struct store *store, struct store_volume *volume, uint64_t first, unsigned count)
{
	struct frame *frame = leaf_own(store, volume, first);

	return frame && holes((struct page_leaf *)frame->data, first % LEAF_BLOCKS, count) == 0 ? frame : NULL;
}

int tree_plan_write(struct store *store, struct store_volume *volume, uint64_t first, unsigned count, uint64_t place,
		    unsigned *ret_pages)
{
	const struct volume_entry *entry = volume->entry;
	uint64_t leaf = first >> LEAF_SHIFT;
	uint32_t page = entry->root;
	unsigned level = entry->height, pages = 0;
	bool shared = false;
	int rc = space_need(store, place);
	struct frame *frame = replaced_leaf(store, volume, first, count);

	*ret_pages = 0;
	if (frame) {
		int needed = need_counts(store, (struct page_leaf *)frame->data, first % LEAF_BLOCKS, count, false);
		return rc < 0 ? rc : needed;
	}
	while (page && level-- > 0) {
		int found = get(store, page, level, leaf, &frame);
		if (found < 0)
			return found;
		shared |= pageref_get(store, page) > 1;
		pages += shared;
		if (level)
			page = child(frame, leaf);
	}
	if (page)
		leaf_cache_note(volume, first, frame, !shared);
	if (!page) /* none below */
		pages += level;
	else if (need_counts(store, (struct page_leaf *)frame->data, first % LEAF_BLOCKS, count, shared) < 0)
		return -EAGAIN;
	*ret_pages = pages;
	return rc;
}

/* ---- changes ---- */

static void share_children(struct store *store, const struct frame *frame, int delta)
{
	const struct page_leaf *leaf = (const struct page_leaf *)frame->data;
	const struct page_node *node = (const struct page_node *)frame->data;

	for (unsigned i = 0; frame->level == 0 && i < LEAF_BLOCKS; i++)
		if (leaf_place(leaf, i))
			space_add(store, leaf_place(leaf, i) - 1, delta);
	for (unsigned i = 0; frame->level != 0 && i < NODE_CHILDREN; i++)
		if (node->child[i])
			pageref_add(store, node->child[i], delta);
}

/* The page at *link, in `above` (NULL: the entry), as one that is nobody else's: itself, a copy, or a new one. *list:
 * where new ids come from. */
static struct frame *own(struct store *store, uint32_t *link, struct frame *above, unsigned level, uint64_t leaf,
			 uint64_t owner, const uint32_t **list)
{
	uint32_t page = *link;
	struct frame *frame = page ? page_find(store, page) : NULL, *copy;

	if (page && pageref_get(store, page) == 1)
		return frame;
	if (above)
		page_dirty(store, above);
	uint32_t id = *(*list)++;
	copy = page_new(store, id, kind_of(level), level, leaf >> NODE_SHIFT * level, owner);
	if (page) {
		size_t header = sizeof(struct page_header);
		memcpy(copy->data + header, frame->data + header, STORE_BLOCK - header);
		((struct page_header *)copy->data)->used = ((struct page_header *)frame->data)->used;
		((struct page_header *)copy->data)->below = ((struct page_header *)frame->data)->below;
		share_children(store, copy, 1);
		pageref_add(store, page, -1);
	}
	pageref_add(store, id, 1);
	*link = id;
	return copy;
}

/* Down to the leaf, all of it our own. path[level]; the frame of the entry is dirty already, those of the path are only
 * if this has changed them. */
static void own_path(struct store *store, struct volume_entry *entry, uint64_t leaf, unsigned lowest,
		     const uint32_t *list, struct frame **path)
{
	uint32_t *link = &entry->root;
	struct frame *above = NULL;

	for (unsigned level = entry->height; level-- > lowest;) {
		bool made = *link == 0;
		path[level] = own(store, link, above, level, leaf, entry->id, &list);
		if (made && above)
			((struct page_header *)above->data)->used++;
		above = path[level];
		if (level)
			link = &((struct page_node *)above->data)->child[child_at(leaf, level)];
	}
}

/* So many blocks more are mapped under the pages of the path from `lowest` on, or less. A damaged pool may have counted
 * too few. */
static void count_blocks(struct store *store, struct volume_entry *entry, unsigned lowest, int64_t change,
			 struct frame **path)
{
	if (change == 0)
		return;
	entry->blocks = change < 0 && entry->blocks < (uint64_t)-change ? 0 : entry->blocks + (uint64_t)change;
	for (unsigned level = lowest ? lowest : 1; level < entry->height && level <= BELOW_LEVELS; level++) {
		uint32_t *below = &((struct page_header *)path[level]->data)->below;
		page_dirty(store, path[level]);
		*below = change < 0 && *below < (uint64_t)-change ? 0 : *below + (uint32_t)change;
	}
}

static void leaf_set(struct page_leaf *leaf, unsigned at, uint64_t place, uint32_t crc)
{
	leaf->block[at].crc = crc;
	leaf->block[at].place_low = (uint32_t)place;
	leaf->block[at].place_high = (uint16_t)(place >> 32);
}

void tree_write(struct store *store, struct store_volume *volume, const struct record *record, uint64_t skip)
{
	struct frame *path[TREE_MAX_HEIGHT];
	struct volume_entry *entry = volume->entry;
	uint64_t first = record->write.first, place = record->write.place;
	const uint32_t *crc = record_crc(record);
	unsigned added = 0;

	path[0] = replaced_leaf(store, volume, first, record->write.count);
	if (!path[0])
		own_path(store, entry, first >> LEAF_SHIFT, 0, record->write.list, path);
	page_dirty(store, path[0]);
	struct page_leaf *leaf = (struct page_leaf *)path[0]->data;
	for (unsigned i = 0; i < record->write.count; i++) {
		unsigned at = first % LEAF_BLOCKS + i;
		if (skip >> i & 1)
			continue;
		uint64_t old = leaf_place(leaf, at);
		space_add(store, place + i, 1);
		leaf_set(leaf, at, place + i + 1, crc[i]);
		if (old)
			space_add(store, old - 1, -1);
		else
			added++;
	}
	leaf->header.used = (uint16_t)(leaf->header.used + added);
	count_blocks(store, entry, 0, added, path);
	if (record->pages)
		leaf_cache_forget(volume, first, record->write.count);
	if (first + record->write.count > entry->mapped)
		entry->mapped = first + record->write.count;
}

/* ---- unmapping, a leaf or a shared subtree at a time ---- */

struct cut {
	unsigned level; /* of the page that goes as a whole, or the leaf that is changed */
	bool whole;     /* it is shared, and goes as a whole */
	bool absent;    /* nothing is there */
	unsigned pages; /* to be copied above it, and itself */
	uint64_t base, span;
	uint64_t blocks; /* that are mapped, of a whole one */
	struct frame *leaf;
};

/* Of one that is being deleted nobody asks. */
static int count_cut(struct store *store, const struct volume_entry *entry, uint32_t page, uint64_t leaf,
		     struct cut *cut)
{
	struct frame *frame;

	if (cut->level + 1 == entry->height)
		cut->blocks = entry->blocks;
	if (cut->level + 1 == entry->height || entry->flags & ENTRY_DELETING)
		return 0;
	int rc = get(store, page, cut->level, leaf, &frame);
	if (rc < 0)
		return rc;
	const struct page_header *header = (const struct page_header *)frame->data;
	cut->blocks = cut->level ? header->below : header->used;
	return 0;
}

/* What there is to do at `first`, of a range up to end. */
static int find_cut(struct store *store, const struct volume_entry *entry, uint64_t first, uint64_t end,
		    struct cut *cut)
{
	uint64_t leaf = first >> LEAF_SHIFT;
	uint32_t page = entry->root;
	bool shared = false;
	struct frame *frame = NULL;

	memset(cut, 0, sizeof(*cut));
	for (unsigned level = entry->height; level-- > 0;) {
		cut->level = level;
		cut->span = tree_capacity(level + 1);
		cut->base = first / cut->span * cut->span;
		cut->absent = page == 0;
		if (cut->absent)
			return 0;
		shared |= pageref_get(store, page) > 1;
		if (shared && cut->base == first && end - first >= cut->span) {
			cut->whole = true;
			return count_cut(store, entry, page, leaf, cut);
		}
		int rc = get(store, page, level, leaf, &frame);
		if (rc < 0)
			return rc;
		cut->pages += shared;
		if (level)
			page = child(frame, leaf);
	}
	cut->leaf = frame;
	return shared ? need_counts(store, (struct page_leaf *)frame->data, 0, 0, true) : 0;
}

int tree_plan_unmap(struct store *store, const struct volume_entry *entry, uint64_t first, uint64_t end,
		    struct unmap_step *ret)
{
	struct cut cut;
	uint64_t capacity = tree_capacity(entry->height);

	*ret = (struct unmap_step){ .first = first, .next = end };
	if (first >= entry->mapped || first >= capacity)
		return 0;
	/* Nothing is mapped behind, so whole pages go. */
	if (end >= entry->mapped)
		end = capacity;
	int rc = find_cut(store, entry, first, end, &cut);
	if (rc < 0)
		return rc;
	ret->next = cut.base + cut.span < end ? cut.base + cut.span : end;
	ret->pages = cut.pages;
	ret->present = ret->record = !cut.absent;
	if (!cut.leaf)
		return 0;
	const struct page_leaf *leaf = (const struct page_leaf *)cut.leaf->data;
	unsigned here = 0, at = first % LEAF_BLOCKS, count = (unsigned)(ret->next - first);
	for (unsigned i = 0; i < count; i++)
		here += leaf_place(leaf, at + i) != 0;
	/* An empty leaf can be there after a crash. */
	ret->drop = here == leaf->header.used;
	ret->record = here > 0 || ret->drop;
	return need_counts(store, leaf, at, count, false);
}

int tree_count_own(struct store *store, const struct volume_entry *entry, uint64_t first, struct own_step *ret)
{
	uint64_t capacity = tree_capacity(entry->height);
	struct cut cut;

	*ret = (struct own_step){ .next = capacity };
	if (first >= entry->mapped || first >= capacity)
		return 0;
	int rc = find_cut(store, entry, first, capacity, &cut);
	if (rc < 0)
		return rc;
	ret->next = cut.base + cut.span;
	ret->blocks = cut.blocks;
	if (!cut.leaf)
		return 0;
	const struct page_leaf *leaf = (const struct page_leaf *)cut.leaf->data;
	rc = need_counts(store, leaf, 0, 0, true);
	for (unsigned i = 0; rc == 0 && i < LEAF_BLOCKS; i++) {
		uint64_t place = leaf_place(leaf, i);
		ret->blocks += place != 0;
		ret->own += place && cut.pages == 0 && space_get(store, place - 1) == 1;
	}
	return rc;
}

/* The page at `level` is gone; nodes that have no children any more go, too. */
static void unlink_up(struct store *store, struct volume_entry *entry, uint64_t leaf, unsigned level,
		      struct frame **path)
{
	while (++level < entry->height) {
		struct page_node *node = (struct page_node *)path[level]->data;
		page_dirty(store, path[level]);
		node->child[child_at(leaf, level)] = 0;
		if (--node->header.used > 0)
			return;
		pageref_add(store, path[level]->page, -1);
		page_drop(store, path[level]->page);
	}
	entry->root = 0;
}

static uint32_t page_below(const struct volume_entry *entry, struct frame **path, unsigned level, uint64_t leaf)
{
	return level + 1 == entry->height ? entry->root : child(path[level + 1], leaf);
}

void tree_unmap(struct store *store, struct volume_entry *entry, const struct record *record)
{
	struct frame *path[TREE_MAX_HEIGHT];
	struct cut cut;
	uint64_t first = record->unmap.first, leaf_index = first >> LEAF_SHIFT;
	int rc = find_cut(store, entry, first, first + record->unmap.count, &cut);

	if (rc < 0 || cut.absent) /* planned or checked before */
		return;
	own_path(store, entry, leaf_index, cut.whole ? cut.level + 1 : 0, record->unmap.list, path);
	if (cut.whole) {
		count_blocks(store, entry, cut.level + 1, -(int64_t)cut.blocks, path);
		pageref_add(store, page_below(entry, path, cut.level, leaf_index), -1);
		unlink_up(store, entry, leaf_index, cut.level, path);
		return;
	}
	struct page_leaf *leaf = (struct page_leaf *)path[0]->data;
	unsigned before = leaf->header.used;
	page_dirty(store, path[0]);
	for (unsigned i = 0; i < record->unmap.count && first % LEAF_BLOCKS + i < LEAF_BLOCKS; i++) {
		uint64_t place = leaf_place(leaf, first % LEAF_BLOCKS + i);
		if (!place)
			continue;
		leaf_set(leaf, first % LEAF_BLOCKS + i, 0, 0);
		leaf->header.used--;
		space_add(store, place - 1, -1);
	}
	count_blocks(store, entry, 0, (int64_t)leaf->header.used - before, path);
	if (record->unmap.drop) {
		pageref_add(store, path[0]->page, -1);
		page_drop(store, path[0]->page);
		unlink_up(store, entry, leaf_index, 0, path);
	}
}
