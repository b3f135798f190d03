// SPDX-License-Identifier: BSD-3-Clause
/* Pages in memory: found by id, loaded on demand, evicted when clean. A page that changes while the checkpoint has yet
 * to write it leaves a copy of its old state behind, a shadow. */
#include "service/block/store/store_priv.h"

#include <stdlib.h>
#include <sys/mman.h>
#include "engine/crc32c/crc32c.h"

enum page_slot map_get(const uint8_t *map, uint32_t page)
{
	return (enum page_slot)(map[page / 4] >> page % 4 * 2 & 3);
}

void map_set(uint8_t *map, uint32_t page, enum page_slot slot)
{
	uint8_t shift = (uint8_t)(page % 4 * 2);

	map[page / 4] = (uint8_t)((map[page / 4] & ~(3 << shift)) | slot << shift);
}

struct page_io *page_io_take(struct store *store)
{
	struct page_io *io = store->free_page_io;

	if (io)
		store->free_page_io = io->next;
	return io;
}

void page_io_give(struct page_io *io)
{
	io->next = io->store->free_page_io;
	io->store->free_page_io = io;
	io->store->wake = true;
}

/* ---- lists and hash ---- */

void frame_link_dirty(struct frame **list, struct frame *frame)
{
	frame->dirty_next = *list;
	if (*list)
		(*list)->dirty_link = &frame->dirty_next;
	*list = frame;
	frame->dirty_link = list;
}

void frame_unlink_dirty(struct frame *frame)
{
	*frame->dirty_link = frame->dirty_next;
	if (frame->dirty_next)
		frame->dirty_next->dirty_link = frame->dirty_link;
	frame->dirty_link = NULL;
}

static struct frame **hash_slot(struct store *store, uint32_t page)
{
	return &store->hash[page * 0x9e3779b1u >> 7 & store->hash_mask];
}

static void hash_add(struct store *store, struct frame *frame)
{
	struct frame **slot = hash_slot(store, frame->page);

	frame->hash_next = *slot;
	*slot = frame;
	if (frame->kind == PAGE_SPACE)
		space_counts_at(store, frame->page, frame);
}

static void hash_remove(struct store *store, struct frame *frame)
{
	struct frame **link = hash_slot(store, frame->page);

	while (*link != frame)
		link = &(*link)->hash_next;
	*link = frame->hash_next;
	frame->lives++;
	if (frame->kind == PAGE_SPACE)
		space_counts_at(store, frame->page, NULL);
}

struct frame *page_find(struct store *store, uint32_t page)
{
	struct frame *frame = *hash_slot(store, page);

	while (frame && frame->page != page)
		frame = frame->hash_next;
	return frame;
}

/* ---- frames ---- */

/* Frames that are neither resident nor changed nor being loaded can be had. */
int pages_room(struct store *store)
{
	if (store->used_frames + 2 * store->op_pages <= store->frame_limit)
		return 0;
	/* Nothing changes any more, so what is kept for changes is there for reads. */
	if (store->failed)
		return store->used_frames + TREE_MAX_HEIGHT < store->frame_count ? 0 : -EIO;
	checkpoint_want(store);
	return -EAGAIN;
}

void pages_begin(struct store *store)
{
	store->stamp++;
}

void frame_free(struct store *store, struct frame *frame)
{
	frame->state = FRAME_FREE;
	store->held_frames--;
	frame->hash_next = store->free_frames;
	store->free_frames = frame;
	store->wake = true;
}

static bool evictable(const struct store *store, const struct frame *frame)
{
	return !frame->resident && (frame->state == FRAME_CLEAN || frame->state == FRAME_BAD) &&
	       frame->stamp != store->stamp;
}

/* Second chance; pages_room() made sure that one is found. */
static struct frame *evict(struct store *store)
{
	for (uint64_t tries = 0; tries < 2 * (uint64_t)store->frame_count; tries++) {
		struct frame *frame = &store->frames[store->hand++ % store->frame_count];

		if (!evictable(store, frame))
			continue;
		if (frame->referenced) {
			frame->referenced = false;
			continue;
		}
		hash_remove(store, frame);
		store->stats.page_evictions++;
		return frame;
	}
	return NULL;
}

static struct frame *frame_take(struct store *store)
{
	struct frame *frame = store->held_frames >= store->frame_limit ? evict(store) : NULL;

	if (!frame && (frame = store->free_frames) != NULL) {
		store->free_frames = frame->hash_next;
		store->held_frames++;
	}
	if (!frame)
		frame = evict(store);
	if (frame) {
		frame->checkpoint = false;
		frame->referenced = true;
		frame->stamp = store->stamp;
		store->used_frames++;
	}
	return frame;
}

/* ---- loading ---- */

const char *page_check(struct store *store, const void *data, uint32_t page, enum page_kind kind, unsigned level,
		       uint64_t index)
{
	const struct page_header *header = data;
	const struct page_leaf *leaf = data;
	const struct page_node *node = data;

	if (header->crc != crc32c(0, &header->kind, STORE_BLOCK - sizeof(header->crc)))
		return "the page contradicts its CRC";
	if (header->id != page || header->kind != kind || header->level != level || header->index != index)
		return "the page is not the one that belongs here";
	if (header->generation > store->root.generation + 1)
		return "the page is newer than the root";
	for (unsigned i = 0; kind == PAGE_LEAF && i < LEAF_BLOCKS; i++) {
		if (leaf_place(leaf, i) > store->places)
			return "the page maps a block that is not there";
		if (leaf->block[i].info)
			return "the page has a block of an unknown form";
	}
	for (unsigned i = 0; kind == PAGE_NODE && i < NODE_CHILDREN; i++)
		if (node->child[i] && (node->child[i] >= store->pages || !page_is_tree(store, node->child[i])))
			return "the page has a child that cannot be one";
	return NULL;
}

static void header_init(struct frame *frame, uint64_t owner)
{
	struct page_header *header = (struct page_header *)frame->data;

	memset(frame->data, 0, STORE_BLOCK);
	header->kind = frame->kind;
	header->level = frame->level;
	header->id = frame->page;
	header->index = frame->index;
	header->owner = owner;
}

/* What a page of counts counted is unknown, so it is never given away. That stays so: what is not counted from now on
 * would be missing if the page could be read again later. */
static void counts_lost(struct store *store, struct frame *frame)
{
	header_init(frame, 0);
	memset(((struct page_counts *)frame->data)->count, 0xff, sizeof(((struct page_counts *)frame->data)->count));
	page_dirty(store, frame);
	if (frame->kind == PAGE_SPACE)
		space_counts_lost(store, frame->page);
}

static void page_lost(struct store *store, struct frame *frame, uint64_t offset, bool unread, const char *why)
{
	const struct medium *medium = medium_of_page(store, frame->page);
	enum store_damage damage = frame->kind == PAGE_DIRECTORY  ? STORE_DAMAGE_DIRECTORY
				   : frame->kind < PAGE_DIRECTORY ? STORE_DAMAGE_COUNTS
								  : STORE_DAMAGE_VOLUME;

	store_report_damage(store, damage, 0, 0, medium->device->name, offset, why);
	if (unread && frame->kind >= PAGE_DIRECTORY && !store->ready && !store->unread) {
		store->unread = true;
		store->failure = (struct failure){ medium->device->name, offset, why };
	}
	store->pages_lost |= frame->kind == PAGE_COUNTS;
	if (frame->kind == PAGE_SPACE || frame->kind == PAGE_COUNTS) {
		counts_lost(store, frame);
		return;
	}
	frame->state = FRAME_BAD;
	if (frame->kind == PAGE_SUMMARY)
		header_init(frame, 0);
}

static void load_done(struct dpu_block_request *request)
{
	struct page_io *io = (struct page_io *)request;
	struct store *store = io->store;
	struct frame *frame = io->frame;
	const char *why = request->status == DPU_BLOCK_OK
				  ? page_check(store, frame->data, frame->page, (enum page_kind)frame->kind,
					       frame->level, frame->index)
				  : "the medium cannot read the page";

	medium_answered(store);
	frame->state = FRAME_CLEAN;
	if (!frame->resident)
		store->used_frames--;
	store->stats.medium_errors += request->status != DPU_BLOCK_OK;
	if (why)
		page_lost(store, frame, request->offset, request->status != DPU_BLOCK_OK, why);
	page_io_give(io);
}

static int load(struct store *store, uint32_t page, enum page_kind kind, unsigned level, uint64_t index)
{
	enum page_slot slot = map_get(store->map, page);
	struct frame *frame = store->fixed[page];
	/* The operation wants what it has so far, and will want as much again. */
	if (!frame && pages_room(store) < 0)
		return -EAGAIN;
	struct page_io *io = page_io_take(store);
	if (!io)
		return -EAGAIN;
	if (!frame)
		frame = frame_take(store);
	if (!frame) {
		page_io_give(io);
		return -EAGAIN;
	}
	frame->page = page;
	frame->kind = (uint8_t)kind;
	frame->level = (uint8_t)level;
	frame->index = index;
	frame->state = FRAME_LOADING;
	hash_add(store, frame);
	struct medium *medium = medium_of_page(store, page);
	io->frame = frame;
	io->iov = (struct iovec){ frame->data, STORE_BLOCK };
	io->medium = (struct dpu_block_request){
		.op = DPU_BLOCK_READ,
		.segments = 1,
		.offset = page_offset(medium, page, slot),
		.length = STORE_BLOCK,
		.iov = &io->iov,
		.done = load_done,
	};
	store->stats.page_loads++;
	medium_ask(store, medium, &io->medium);
	return -EAGAIN;
}

/* A fixed page that no checkpoint has written yet is empty. */
static int make_absent(struct store *store, uint32_t page, enum page_kind kind, uint64_t index, struct frame **ret)
{
	struct frame *frame = store->fixed[page];

	if (kind >= PAGE_NODE) {
		store_report_damage(store, STORE_DAMAGE_VOLUME, 0, 0, medium_of_page(store, page)->device->name,
				    page_offset(medium_of_page(store, page), page, PAGE_SLOT_A),
				    "the page was never written");
		return -EBADMSG;
	}
	if (!frame && (pages_room(store) < 0 || !(frame = frame_take(store))))
		return -EAGAIN;
	frame->page = page;
	frame->kind = (uint8_t)kind;
	frame->level = 0;
	frame->index = index;
	frame->state = FRAME_CLEAN;
	if (!frame->resident)
		store->used_frames--;
	header_init(frame, 0);
	hash_add(store, frame);
	*ret = frame;
	return 0;
}

int page_get(struct store *store, uint32_t page, enum page_kind kind, unsigned level, uint64_t index,
	     struct frame **ret)
{
	struct frame *frame = page_find(store, page);

	if (!frame)
		return map_get(store->map, page) == PAGE_ABSENT ? make_absent(store, page, kind, index, ret)
								: load(store, page, kind, level, index);
	if (frame->state == FRAME_LOADING)
		return -EAGAIN;
	/* Trees of a damaged pool may meet in one page. */
	if (frame->state == FRAME_BAD || frame->kind != kind || frame->level != level || frame->index != index)
		return -EBADMSG;
	frame->referenced = true;
	frame->stamp = store->stamp;
	*ret = frame;
	return 0;
}

/* ---- changes ---- */

static void make_shadow(struct store *store, struct frame *frame)
{
	struct frame *shadow = frame_take(store);

	assert(shadow); /* pages_room() */
	shadow->page = frame->page;
	shadow->state = FRAME_SHADOW;
	memcpy(shadow->data, frame->data, STORE_BLOCK);
	frame_unlink_dirty(frame);
	frame->checkpoint = false;
	frame_link_dirty(&store->checkpoint.pages, shadow);
	shadow->checkpoint = true;
}

void page_dirty_now(struct store *store, struct frame *frame)
{
	if (frame->checkpoint)
		make_shadow(store, frame);
	else if (!frame->resident && frame->state != FRAME_WRITING)
		store->used_frames++;
	frame->state = FRAME_DIRTY;
	store->dirty_frames++;
	frame_link_dirty(&store->dirty, frame);
}

struct frame *page_new(struct store *store, uint32_t page, enum page_kind kind, unsigned level, uint64_t index,
		       uint64_t owner)
{
	struct frame *frame = page_find(store, page);

	if (frame) /* of a former life of this id */
		page_drop(store, page);
	frame = frame_take(store);
	assert(frame); /* pages_room() */
	frame->page = page;
	frame->kind = (uint8_t)kind;
	frame->level = (uint8_t)level;
	frame->index = index;
	frame->state = FRAME_DIRTY;
	store->dirty_frames++;
	hash_add(store, frame);
	frame_link_dirty(&store->dirty, frame);
	header_init(frame, owner);
	return frame;
}

/* The page is free; what the checkpoint has yet to write of it stays for that. */
void page_drop(struct store *store, uint32_t page)
{
	struct frame *frame = page_find(store, page);

	if (!frame || frame->state == FRAME_LOADING)
		return;
	hash_remove(store, frame);
	if (frame->checkpoint) {
		frame->state = FRAME_SHADOW;
		return;
	}
	if (frame->state == FRAME_DIRTY) {
		frame_unlink_dirty(frame);
		store->dirty_frames--;
	}
	if (frame->state == FRAME_DIRTY || frame->state == FRAME_WRITING)
		store->used_frames--;
	frame_free(store, frame);
}

void pages_forget_bad(struct store *store)
{
	for (uint32_t i = 0; i < store->frame_count; i++)
		if (store->frames[i].state == FRAME_BAD)
			page_drop(store, store->frames[i].page);
}

void directory_give_up(struct store *store)
{
	for (uint32_t slot = 0; slot < store->slots; slot += DIRECTORY_ENTRIES) {
		struct frame *frame = entry_frame(store, slot);
		if (frame->state != FRAME_BAD)
			continue;
		header_init(frame, 0);
		page_dirty(store, frame);
	}
}
