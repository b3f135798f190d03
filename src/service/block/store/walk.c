// SPDX-License-Identifier: BSD-3-Clause
/* A walk through the trees of all volumes, a few pages at a time, that counts the references to pages and blocks. Each
 * page is looked at once, however many volumes share it. */
#include "service/block/store/store_priv.h"

#include <stdlib.h>
#include <sys/mman.h>

#define PAGE_UNREADABLE 0x80000000u /* in the counts: it, or something below it */
enum { AHEAD = 32 };

int walk_init(struct walk *walk, struct store *store, bool blocks)
{
	*walk = (struct walk){ .store = store };
	walk->pages = calloc(store->pages, sizeof(*walk->pages));
	if (!walk->pages)
		return -ENOMEM;
	if (!blocks)
		return 0;
	walk->places = store->places < WALK_PLACES ? store->places : WALK_PLACES;
	void *memory = mmap(NULL, walk->places * sizeof(*walk->blocks), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED) {
		walk_fini(walk);
		return -ENOMEM;
	}
	walk->blocks = memory;
	return 0;
}

void walk_fini(struct walk *walk)
{
	if (walk->blocks)
		munmap(walk->blocks, walk->places * sizeof(*walk->blocks));
	free(walk->pages);
	walk->pages = walk->blocks = NULL;
}

void walk_again(struct walk *walk, uint64_t first_place)
{
	walk->first_place = first_place;
	walk->slot = walk->depth = 0;
	memset(walk->pages, 0, walk->store->pages * sizeof(*walk->pages));
	memset(walk->blocks, 0, walk->places * sizeof(*walk->blocks));
}

uint32_t walk_pages_found(const struct walk *walk, uint32_t page)
{
	return walk->pages[page] & ~PAGE_UNREADABLE;
}

static void unreadable(struct walk *walk)
{
	for (unsigned i = 0; i < walk->depth; i++)
		walk->pages[walk->stack[i].page] |= PAGE_UNREADABLE;
	walk->store->volume[walk->slot]->unreadable = true;
	walk->unreadable = true;
}

/* A reference to a page. */
static void enter(struct walk *walk, uint32_t page, unsigned level, uint64_t index)
{
	uint32_t before = walk->pages[page]++;

	if (before & PAGE_UNREADABLE)
		unreadable(walk);
	if (before || (level == 0 && !walk->blocks))
		return;
	walk->stack[walk->depth++] = (struct walk_level){ .page = page, .level = level, .index = index };
}

static void count_blocks(struct walk *walk, const struct page_leaf *leaf)
{
	for (unsigned i = 0; i < LEAF_BLOCKS; i++) {
		uint64_t place = leaf_place(leaf, i);
		if (place && place - 1 - walk->first_place < walk->places)
			walk->blocks[place - 1 - walk->first_place]++;
	}
}

static int get(struct walk *walk, uint32_t page, unsigned level, uint64_t index, struct frame **ret)
{
	return page_get(walk->store, page, level ? PAGE_NODE : PAGE_LEAF, level, index, ret);
}

/* While the top of the stack is being read, those that come next to it are, too. */
static void read_ahead(struct walk *walk)
{
	const struct walk_level *above = walk->depth > 1 ? &walk->stack[walk->depth - 2] : NULL;
	struct frame *frame;

	if (!above || get(walk, above->page, above->level, above->index, &frame) < 0)
		return;
	const struct page_node *node = (const struct page_node *)frame->data;
	for (unsigned i = above->next; i < NODE_CHILDREN && i < above->next + AHEAD; i++)
		if (node->child[i] && walk->pages[node->child[i]] == 0)
			get(walk, node->child[i], above->level - 1, above->index << NODE_SHIFT | i, &frame);
}

/* The first volume with a map from walk->slot on. */
static bool next_volume(struct walk *walk)
{
	struct store *store = walk->store;

	for (; walk->slot < store->slots; walk->slot++) {
		struct store_volume *volume = store->volume[walk->slot];
		if (!volume)
			continue;
		volume->unreadable = false;
		if (volume->entry->root)
			return true;
	}
	return false;
}

/* The top of the stack: the next child of a node, or all of a leaf. */
static int look(struct walk *walk)
{
	struct walk_level *top = &walk->stack[walk->depth - 1];
	struct frame *frame;

	pages_begin(walk->store);
	int rc = get(walk, top->page, top->level, top->index, &frame);
	if (rc == -EAGAIN) {
		read_ahead(walk);
		return rc;
	}
	if (rc < 0)
		unreadable(walk);
	else if (top->level == 0)
		count_blocks(walk, (const struct page_leaf *)frame->data);
	walk->visited += top->next == 0;
	if (rc < 0 || top->level == 0) {
		walk->depth--;
		return 0;
	}
	const struct page_node *node = (const struct page_node *)frame->data;
	while (top->next < NODE_CHILDREN && !node->child[top->next])
		top->next++;
	unsigned at = top->next++;
	if (at >= NODE_CHILDREN)
		walk->depth--;
	else
		enter(walk, node->child[at], top->level - 1, top->index << NODE_SHIFT | at);
	return 0;
}

int walk_go(struct walk *walk, unsigned budget)
{
	while (budget-- > 0) {
		int rc = 0;
		if (walk->depth > 0) {
			rc = look(walk);
		} else if (walk->started) {
			walk->started = false;
			walk->slot++;
		} else if (next_volume(walk)) {
			const struct volume_entry *entry = walk->store->volume[walk->slot]->entry;
			walk->started = true;
			enter(walk, entry->root, entry->height - 1u, 0);
		} else {
			return 0;
		}
		if (rc < 0)
			return rc;
	}
	walk->store->again = true;
	return -EAGAIN;
}
