// SPDX-License-Identifier: BSD-3-Clause
/* The checkpoint: all pages as they are at one place of the log, each into the slot that the durable root does not
 * speak of, and then a root. What is not finished has changed nothing. */
#include "service/block/store/store_priv.h"

#include <stdlib.h>
#include <sys/mman.h>
#include "engine/crc32c/crc32c.h"

enum { WRITES = PAGE_IOS * 3 / 4, WRITES_PER_POLL = 8, ROOT_PIECE = 1 << 20 };

size_t root_bytes(uint32_t pages)
{
	return (1 + ((size_t)pages + 4 * STORE_BLOCK - 1) / (4 * STORE_BLOCK)) * STORE_BLOCK;
}

/* For the root, at its greatest. */
int checkpoint_memory(struct store *store)
{
	size_t bytes = store->medium[0].super.root_blocks * STORE_BLOCK;
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return -ENOMEM;
	store->checkpoint.root = memory;
	return 0;
}

void checkpoint_fini(struct store *store)
{
	if (store->checkpoint.root)
		munmap(store->checkpoint.root, store->medium[0].super.root_blocks * STORE_BLOCK);
}

void checkpoint_want(struct store *store)
{
	store->checkpoint.wanted = true;
}

void checkpoint_wait(struct store *store, struct waiter *waiter)
{
	waiter->next = store->checkpoint.waiters_next;
	store->checkpoint.waiters_next = waiter;
	store->checkpoint.wanted = true;
	store->wake = true;
}

static void wake_waiters(struct store *store, int rc)
{
	struct waiter *waiter = store->checkpoint.waiters;

	store->checkpoint.waiters = NULL;
	while (waiter) {
		struct waiter *next = waiter->next;
		waiter->done(waiter, rc);
		waiter = next;
	}
	store->wake = true;
}

static void begin(struct store *store)
{
	struct checkpoint *checkpoint = &store->checkpoint;

	log_seal(store);
	if (!number_is_possible(store->root.generation))
		store_fail(store, &store->medium[0], 0, "the pool has no further generation");
	checkpoint->state = CHECKPOINT_PAGES;
	checkpoint->wanted = false;
	checkpoint->waiters = checkpoint->waiters_next;
	checkpoint->waiters_next = NULL;
	checkpoint->sequence = store->log.sequence;
	checkpoint->block = store->log.block;
	checkpoint->next_volume = store->next_volume;
	checkpoint->pages = store->dirty;
	store->dirty = NULL;
	if (checkpoint->pages)
		checkpoint->pages->dirty_link = &checkpoint->pages;
	for (struct frame *frame = checkpoint->pages; frame; frame = frame->dirty_next)
		frame->checkpoint = true;
}

/* ---- pages ---- */

static void page_written(struct dpu_block_request *request)
{
	struct page_io *io = (struct page_io *)request;
	struct store *store = io->store;
	struct frame *frame = io->frame;

	medium_answered(store);
	store->checkpoint.writing--;
	if (request->status != DPU_BLOCK_OK) { /* it stays in memory, which is the only place where it is */
		store_fail(store, medium_of_page(store, io->page), request->offset, "a page cannot be written");
		page_io_give(io);
		return;
	}
	map_set(store->map, io->page, (enum page_slot)io->slot);
	if (frame && frame->state == FRAME_WRITING && frame->page == io->page) {
		frame->state = FRAME_CLEAN;
		if (!frame->resident)
			store->used_frames--;
	}
	page_io_give(io);
}

static void page_write(struct store *store, struct frame *frame, struct page_io *io)
{
	struct page_header *header = (struct page_header *)io->buffer;
	struct medium *medium = medium_of_page(store, frame->page);

	frame_unlink_dirty(frame);
	memcpy(io->buffer, frame->data, STORE_BLOCK);
	io->page = frame->page;
	io->frame = frame->state == FRAME_SHADOW ? NULL : frame;
	io->slot = map_get(store->durable_map, io->page) == PAGE_SLOT_A ? PAGE_SLOT_B : PAGE_SLOT_A;
	store->dirty_frames--;
	frame->checkpoint = false;
	if (frame->state == FRAME_SHADOW) {
		store->used_frames--;
		frame_free(store, frame);
	} else {
		frame->state = FRAME_WRITING;
	}
	header->generation = store->root.generation + 1;
	header->crc = crc32c(0, &header->kind, STORE_BLOCK - sizeof(header->crc));
	io->iov = (struct iovec){ io->buffer, STORE_BLOCK };
	io->medium = (struct dpu_block_request){
		.op = DPU_BLOCK_WRITE,
		.segments = 1,
		.offset = page_offset(medium, io->page, (enum page_slot)io->slot),
		.length = STORE_BLOCK,
		.iov = &io->iov,
		.done = page_written,
	};
	store->checkpoint.writing++;
	medium_ask(store, medium, &io->medium);
}

static unsigned write_pages(struct store *store)
{
	struct checkpoint *checkpoint = &store->checkpoint;
	struct page_io *io;
	unsigned count = 0;

	while (checkpoint->pages && checkpoint->writing < WRITES && count < WRITES_PER_POLL &&
	       (io = page_io_take(store)) != NULL) {
		page_write(store, checkpoint->pages, io);
		count++;
	}
	return count;
}

/* ---- the root ---- */

static void build_root(struct store *store)
{
	struct checkpoint *checkpoint = &store->checkpoint;
	struct store_root *root = (struct store_root *)checkpoint->root;
	const struct medium *last = &store->medium[store->media - 1];
	uint32_t pages = last->super.first_page + last->super.pages;

	checkpoint->root_bytes = root_bytes(pages);
	checkpoint->root_at = 0;
	memset(checkpoint->root, 0, checkpoint->root_bytes);
	*root = (struct store_root){
		.magic = STORE_ROOT_MAGIC,
		.version = STORE_VERSION,
		.media = store->media,
		.generation = store->root.generation + 1,
		.session = store->session,
		.log_sequence = checkpoint->sequence,
		.log_block = checkpoint->block,
		.next_volume = checkpoint->next_volume,
		.pages = pages,
		.flags = store->marked ? ROOT_MARKED : 0,
	};
	memcpy(root->pool, store->medium[0].super.pool, sizeof(root->pool));
	for (unsigned i = 0; i < store->media; i++)
		memcpy(root->medium[i], store->medium[i].super.uuid, sizeof(root->medium[i]));
	memcpy(checkpoint->root + STORE_BLOCK, store->map, (pages + 3) / 4);
	root->crc = crc32c(0, &root->magic, checkpoint->root_bytes - sizeof(root->crc));
}

static void root_write(struct store *store);

static void flushed(struct waiter *waiter, int rc)
{
	struct checkpoint *checkpoint = (struct checkpoint *)((uint8_t *)waiter - offsetof(struct checkpoint, waiter));
	struct store *store = (struct store *)((uint8_t *)checkpoint - offsetof(struct store, checkpoint));

	if (rc < 0)
		return; /* the store has failed, checkpoint_go() sees it */
	if (checkpoint->state == CHECKPOINT_FLUSH) {
		build_root(store);
		checkpoint->state = CHECKPOINT_ROOT;
		root_write(store);
		return;
	}
	memcpy(&store->root, checkpoint->root, sizeof(store->root));
	memcpy(store->durable_map, checkpoint->root + STORE_BLOCK, (store->root.pages + 3) / 4);
	store->log.start = checkpoint->block;
	store->stats.checkpoints++;
	checkpoint->state = CHECKPOINT_IDLE;
	wake_waiters(store, 0);
}

static void root_written(struct dpu_block_request *request)
{
	struct checkpoint *checkpoint = (struct checkpoint *)((uint8_t *)request - offsetof(struct checkpoint, medium));
	struct store *store = (struct store *)((uint8_t *)checkpoint - offsetof(struct store, checkpoint));

	medium_answered(store);
	if (request->status != DPU_BLOCK_OK) {
		store_fail(store, &store->medium[0], request->offset, "a root cannot be written");
		checkpoint->state = CHECKPOINT_LAST;
		return;
	}
	if (checkpoint->root_at < checkpoint->root_bytes) {
		root_write(store);
		return;
	}
	checkpoint->state = CHECKPOINT_LAST;
	flush_wait(store, &checkpoint->waiter, true);
}

static void root_write(struct store *store)
{
	struct checkpoint *checkpoint = &store->checkpoint;
	struct medium *medium = &store->medium[0];
	size_t left = checkpoint->root_bytes - checkpoint->root_at;
	size_t piece = left < ROOT_PIECE ? left : ROOT_PIECE;
	uint64_t block = medium->super.root_block[(store->root.generation + 1) % 2];

	checkpoint->iov = (struct iovec){ checkpoint->root + checkpoint->root_at, piece };
	checkpoint->medium = (struct dpu_block_request){
		.op = DPU_BLOCK_WRITE,
		.segments = 1,
		.offset = block * STORE_BLOCK + checkpoint->root_at,
		.length = piece,
		.iov = &checkpoint->iov,
		.done = root_written,
	};
	checkpoint->root_at += piece;
	medium_ask(store, medium, &checkpoint->medium);
}

unsigned checkpoint_go(struct store *store)
{
	struct checkpoint *checkpoint = &store->checkpoint;
	unsigned work = 0;

	if (store->failed) {
		checkpoint->wanted = false;
		wake_waiters(store, -EIO);
		checkpoint->waiters = checkpoint->waiters_next;
		checkpoint->waiters_next = NULL;
		wake_waiters(store, -EIO);
		return 0;
	}
	/* Recovery alone says when it may be: between sections. */
	bool due = store->ready && (checkpoint->wanted || store->dirty_frames > store->frame_limit / 2);
	if (checkpoint->state == CHECKPOINT_IDLE && (due || checkpoint->waiters_next)) {
		begin(store);
		work++;
	}
	if (checkpoint->state != CHECKPOINT_PAGES)
		return work;
	work += write_pages(store);
	if (checkpoint->pages || checkpoint->writing)
		return work;
	checkpoint->state = CHECKPOINT_FLUSH;
	checkpoint->waiter.done = flushed;
	flush_wait(store, &checkpoint->waiter, true);
	return work + 1;
}
