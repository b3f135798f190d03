// SPDX-License-Identifier: BSD-3-Clause
/* Scrub: reads every page in use and every block that a leaf maps, and checks them against their CRCs. In the order of
 * page ids, so what volumes share is read once for each leaf that maps it. */
#include "service/block/store/store_priv.h"

#include <stdlib.h>
#include "base/clock.h"
#include "engine/crc32c/crc32c.h"

enum {
	READS = 16,            /* under way */
	READS_PER_STEP = 4,    /* that are begun in one poll: so the worker has time for others */
	PAGES_PER_STEP = 1024, /* that are passed over */
	DEFAULT_RATE = 128 << 20,
	MAX_CREDIT = 1 << 20,
};

#define MAX_RATE (MAX_CREDIT * CLOCK_NS_PER_S)

struct scrub {
	struct scrub *next; /* of store.scrubs */
	struct store_command *command;
	struct store_io *page_io; /* its bounce block is the page */
	uint32_t page, epoch;
	enum page_slot slot;
	bool reading, loaded;
	unsigned at, reads; /* of the leaf's blocks */
	/* how much there is, for who waits */
	uint32_t pages, pages_read;
	uint64_t blocks_read, least_blocks, most_blocks;
	/* Bytes that may be read now, refilled with time. A leaf is read with all its blocks, because nothing that
	 * becomes free meanwhile is used again; what is too much then is waited for behind it. */
	int64_t credit;
	uint64_t rate, credit_ns;
};

static struct scrub *scrub_of(const struct store_command *command)
{
	return (struct scrub *)(uintptr_t)command->scratch[0];
}

static void damaged(struct store *store, struct scrub *scrub, enum store_damage damage, uint64_t volume, uint64_t block,
		    const struct medium *medium, uint64_t offset, const char *why)
{
	scrub->command->damaged++;
	store_report_damage(store, damage, volume, block, medium->device->name, offset, why);
}

/* ---- the blocks of a leaf ---- */

static const struct page_leaf *leaf_of(const struct scrub *scrub)
{
	return (const struct page_leaf *)scrub->page_io->bounce;
}

static void block_read(struct dpu_block_request *request)
{
	struct store_io *io = (struct store_io *)request;
	struct store *store = io->store;
	struct scrub *scrub = (struct scrub *)(uintptr_t)io->position;
	const struct page_header *header = &leaf_of(scrub)->header;
	uint64_t offset;
	struct medium *medium = medium_of_place(store, (uint64_t)io->place, &offset);

	if (request->status != DPU_BLOCK_OK || !io_bounce_holds(io)) {
		store->stats.integrity_errors++;
		damaged(store, scrub, STORE_DAMAGE_DATA, header->owner, io->block, medium, offset,
			request->status != DPU_BLOCK_OK ? "the block cannot be read" : "the block contradicts its CRC");
	}
	scrub->reads--;
	io_give(io);
}

/* Whether anything may be read now; if not, when. */
static bool has_credit(struct store *store, struct scrub *scrub)
{
	uint64_t now = clock_ns(), passed = now - scrub->credit_ns;

	if (scrub->credit <= 0 && passed > 0) {
		uint64_t most = MAX_CREDIT * CLOCK_NS_PER_S / scrub->rate;
		scrub->credit += (int64_t)((passed < most ? passed : most) * scrub->rate / CLOCK_NS_PER_S);
		scrub->credit_ns = now;
	}
	if (scrub->credit > 0)
		return true;
	uint64_t due = now + (uint64_t)-scrub->credit * CLOCK_NS_PER_S / scrub->rate + 1;
	if (due < store->due_ns)
		store->due_ns = due;
	return false;
}

static bool read_blocks(struct store *store, struct scrub *scrub)
{
	const struct page_leaf *leaf = leaf_of(scrub);
	unsigned begun = 0;

	for (; scrub->at < LEAF_BLOCKS && scrub->reads < READS; scrub->at++) {
		struct store_io *io;
		uint64_t place = leaf_place(leaf, scrub->at);
		if (!place)
			continue;
		if (begun == READS_PER_STEP) {
			store->again = true;
			break;
		}
		io = io_take(store);
		if (!io)
			break;
		io->position = (uint64_t)(uintptr_t)scrub;
		io->place = (int64_t)place - 1;
		io->count = 1;
		io->block = leaf->header.index * LEAF_BLOCKS + scrub->at;
		io->crc[0] = leaf->block[scrub->at].crc;
		io->iov[0] = (struct iovec){ io->bounce, STORE_BLOCK };
		scrub->reads++;
		scrub->credit -= STORE_BLOCK;
		scrub->blocks_read++;
		begun++;
		io_submit(io, DPU_BLOCK_READ, io->iov, 1, block_read);
	}
	return scrub->at == LEAF_BLOCKS && scrub->reads == 0;
}

/* ---- pages ---- */

static bool in_use(struct store *store, uint32_t page)
{
	return page_is_tree(store, page) ? pageref_get(store, page) > 0 : map_get(store->map, page) != PAGE_ABSENT;
}

static void page_read(struct dpu_block_request *request)
{
	struct store_io *io = (struct store_io *)request;
	struct scrub *scrub = (struct scrub *)(uintptr_t)io->position;

	medium_answered(io->store);
	scrub->reading = false;
	scrub->loaded = request->status == DPU_BLOCK_OK;
}

/* What is in memory is what counts; what is not is as on the medium. */
static void page_start(struct store *store, struct scrub *scrub)
{
	struct store_io *io = scrub->page_io;
	struct medium *medium = medium_of_page(store, scrub->page);

	scrub->slot = map_get(store->map, scrub->page);
	scrub->reading = scrub->slot != PAGE_ABSENT;
	scrub->loaded = false;
	scrub->at = 0;
	scrub->epoch = reader_begin(store);
	if (!scrub->reading)
		return;
	io->position = (uint64_t)(uintptr_t)scrub;
	io->iov[0] = (struct iovec){ io->bounce, STORE_BLOCK };
	io->medium = (struct dpu_block_request){
		.op = DPU_BLOCK_READ,
		.segments = 1,
		.offset = page_offset(medium, scrub->page, scrub->slot),
		.length = STORE_BLOCK,
		.iov = io->iov,
		.done = page_read,
	};
	medium_ask(store, medium, &io->medium);
}

static const char *page_fault(struct store *store, struct scrub *scrub)
{
	const struct page_header *header = (const struct page_header *)scrub->page_io->bounce;
	uint64_t index;
	enum page_kind kind = page_kind_of(store, scrub->page, &index);

	if (scrub->slot == PAGE_ABSENT || map_get(store->map, scrub->page) != scrub->slot)
		return NULL; /* only in memory so far, or written anew meanwhile */
	if (!scrub->loaded)
		return "the page cannot be read";
	if (kind == PAGE_NODE) {
		kind = header->kind == PAGE_LEAF ? PAGE_LEAF : PAGE_NODE;
		index = header->index;
	}
	return page_check(store, scrub->page_io->bounce, scrub->page, kind, kind == PAGE_NODE ? header->level : 0,
			  index);
}

/* The page has been read. Whether there are blocks to read. */
static bool page_look(struct store *store, struct scrub *scrub)
{
	struct frame *frame = page_find(store, scrub->page);
	struct medium *medium = medium_of_page(store, scrub->page);
	const char *why = page_fault(store, scrub);

	if (!in_use(store, scrub->page))
		return false;
	if (why && !(frame && frame->state == FRAME_DIRTY))
		damaged(store, scrub, page_is_tree(store, scrub->page) ? STORE_DAMAGE_VOLUME : STORE_DAMAGE_COUNTS, 0,
			0, medium, page_offset(medium, scrub->page, scrub->slot), why);
	if (frame && frame->state != FRAME_LOADING && frame->state != FRAME_BAD)
		memcpy(scrub->page_io->bounce, frame->data, STORE_BLOCK);
	else if (why || scrub->slot == PAGE_ABSENT || map_get(store->map, scrub->page) != scrub->slot)
		return false;
	return leaf_of(scrub)->header.kind == PAGE_LEAF;
}

/* Blocks of copied leaves are read for each of these, so there may be more to read than is in use; how many is known
 * better from page to page. */
static void estimate(struct scrub *scrub)
{
	uint64_t blocks = scrub->pages_read ? scrub->blocks_read * scrub->pages / scrub->pages_read : 0;
	uint64_t pages = scrub->pages > scrub->pages_read ? scrub->pages : scrub->pages_read;

	if (blocks > scrub->most_blocks)
		blocks = scrub->most_blocks;
	if (blocks < scrub->least_blocks)
		blocks = scrub->least_blocks;
	if (blocks < scrub->blocks_read)
		blocks = scrub->blocks_read;
	scrub->command->progress = (scrub->pages_read + scrub->blocks_read) * STORE_BLOCK;
	scrub->command->total = (pages + blocks) * STORE_BLOCK;
}

static void page_end(struct store *store, struct scrub *scrub)
{
	reader_end(store, scrub->epoch);
	scrub->page++;
	scrub->pages_read++;
	estimate(scrub);
}

static int scrub_go(struct store *store, struct store_command *command);

static int scrub_end(struct store *store, struct scrub *scrub)
{
	struct store_command *command = scrub->command;
	struct scrub **link = &store->scrubs;
	bool cut_short = command_is_cut_short(store, command);

	if (!cut_short)
		command->total = command->progress;
	while (*link != scrub)
		link = &(*link)->next;
	*link = scrub->next;
	io_give(scrub->page_io);
	free(scrub);
	return cut_short ? command_cut_short(store, command) : 0;
}

static int scrub_blocks(struct store *store, struct store_command *command)
{
	struct scrub *scrub = scrub_of(command);

	if (command_is_cut_short(store, command))
		scrub->at = LEAF_BLOCKS;
	if (!read_blocks(store, scrub))
		return -EAGAIN;
	page_end(store, scrub);
	return command_then(command, scrub_go);
}

static int scrub_page(struct store *store, struct store_command *command)
{
	struct scrub *scrub = scrub_of(command);

	if (scrub->reading)
		return -EAGAIN;
	if (page_look(store, scrub))
		return command_then(command, scrub_blocks);
	page_end(store, scrub);
	return command_then(command, scrub_go);
}

static int scrub_go(struct store *store, struct store_command *command)
{
	struct scrub *scrub = scrub_of(command);

	for (unsigned i = 0; i < PAGES_PER_STEP && scrub->page < store->pages; i++) {
		if (in_use(store, scrub->page))
			break;
		scrub->page++;
	}
	if (command_is_cut_short(store, command))
		return scrub_end(store, scrub);
	if (scrub->page < store->pages && !in_use(store, scrub->page)) {
		store->again = true;
		return -EAGAIN;
	}
	if (!has_credit(store, scrub))
		return -EAGAIN;
	if (scrub->page >= store->pages)
		return scrub_end(store, scrub);
	scrub->credit -= STORE_BLOCK;
	page_start(store, scrub);
	return command_then(command, scrub_page);
}

/* Before the first read: how much there will be. */
static int scrub_count(struct store *store, struct store_command *command)
{
	struct scrub *scrub = scrub_of(command);

	for (unsigned i = 0; i < PAGES_PER_STEP && scrub->page < store->pages; i++)
		scrub->pages += in_use(store, scrub->page++);
	if (!command_is_cut_short(store, command) && scrub->page < store->pages) {
		store->again = true;
		return -EAGAIN;
	}
	for (uint32_t slot = 0; slot < store->slots; slot++)
		scrub->most_blocks += store->volume[slot] ? store->volume[slot]->entry->blocks : 0;
	scrub->least_blocks = store->places - store->space.free;
	scrub->page = 0;
	scrub->credit_ns = clock_ns();
	estimate(scrub);
	return command_then(command, scrub_go);
}

int scrub_step(struct store *store, struct store_command *command)
{
	struct store_io *io = io_take(store);

	if (!io)
		return -EAGAIN;
	struct scrub *scrub = calloc(1, sizeof(*scrub));
	if (!scrub) {
		io_give(io);
		return -ENOMEM;
	}
	scrub->next = store->scrubs;
	store->scrubs = scrub;
	scrub->page_io = io;
	scrub->command = command;
	command->scratch[0] = (uint64_t)(uintptr_t)scrub;
	scrub->rate = command->rate ? command->rate : DEFAULT_RATE;
	if (scrub->rate > MAX_RATE)
		scrub->rate = MAX_RATE;
	return command_then(command, scrub_count);
}

void scrubs_free(struct store *store)
{
	while (store->scrubs) {
		struct scrub *scrub = store->scrubs;
		store->scrubs = scrub->next;
		free(scrub);
	}
}
