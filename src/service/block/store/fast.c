// SPDX-License-Identifier: BSD-3-Clause
/* Requests that are one run of blocks of one leaf that is cached, which most are: one piece with the request's own
 * segments. Whatever is less simple goes the general way from its start. */
#include "service/block/store/store_priv.h"

#include "engine/crc32c/crc32c.h"

enum { AHEAD = 16 };

static struct store_volume *volume_of(const struct dpu_block_request *request)
{
	return ((const struct request_state *)request->scratch)->volume;
}

/* Whole blocks of one leaf, as many as a piece may have. */
static bool is_simple(const struct dpu_block_request *request)
{
	uint64_t blocks = request->length / STORE_BLOCK;

	return (request->offset | request->length) % STORE_BLOCK == 0 && blocks - 1 < RECORD_BLOCKS &&
	       request->offset / STORE_BLOCK % LEAF_BLOCKS + blocks <= LEAF_BLOCKS;
}

static struct store_io *take(struct store *store, struct dpu_block_request *request)
{
	struct store_io *io = io_take(store);

	io->request = request;
	io->position = 0;
	io->end = request->length;
	io->bytes = (uint32_t)request->length;
	io->block = request->offset / STORE_BLOCK;
	io->count = io->bytes / STORE_BLOCK;
	return io;
}

static uint32_t block_crc(const struct dpu_block_request *request, unsigned block)
{
	if (request->segments == 1)
		return crc32c(0, (const uint8_t *)request->iov->iov_base + (size_t)block * STORE_BLOCK, STORE_BLOCK);
	return crc32c_iov(0, request->iov, (size_t)block * STORE_BLOCK, STORE_BLOCK);
}

/* ---- reads ---- */

static void read_checked(struct store_io *io)
{
	struct dpu_block_request *request = io->request;

	if (request->flags & DPU_BLOCK_CRC)
		memcpy(request->crc, io->crc, io->count * sizeof(*io->crc));
	io_finish(io, DPU_BLOCK_OK);
}

static void read_done(struct dpu_block_request *medium)
{
	struct store_io *io = (struct store_io *)medium;
	struct dpu_block_request *request = io->request;

	if (medium->status != DPU_BLOCK_OK) {
		io_finish(io, medium_status(io->store, medium));
		return;
	}
	for (unsigned i = 0; i < io->count; i++) {
		uint32_t crc = medium->flags & DPU_BLOCK_CRC ? io->found[i] : block_crc(request, i);
		if (crc != io->crc[i]) {
			read_again(io, i, read_checked);
			return;
		}
	}
	read_checked(io);
}

/* The place of the first block if all follow each other in one group; NO_PLACE. */
static int64_t run_place(struct store *store, const struct page_leaf *leaf, unsigned at, unsigned count)
{
	uint64_t first = leaf_place(leaf, at);

	if (!first)
		return NO_PLACE;
	for (unsigned i = 1; i < count; i++)
		if (leaf_place(leaf, at + i) != first + i)
			return NO_PLACE;
	if (count > 1 && group_of(store, first - 1) != group_of(store, first + count - 2))
		return NO_PLACE;
	return (int64_t)first - 1;
}

bool fast_read(struct store *store, struct dpu_block_request *request)
{
	uint64_t block = request->offset / STORE_BLOCK;
	struct leaf_way *way = leaf_way(volume_of(request), block);

	if (!is_simple(request) || !leaf_way_holds(way, block))
		return false;
	unsigned at = block % LEAF_BLOCKS;
	int64_t place = run_place(store, way->data, at, (unsigned)(request->length / STORE_BLOCK));
	if (place == NO_PLACE)
		return false;
	struct store_io *io = take(store, request);
	for (unsigned i = 0; i < io->count; i++)
		io->crc[i] = way->data->block[at + i].crc;
	way->frame->referenced = true;
	io->place = place;
	io->reader = true;
	io->epoch = reader_begin(store);
	io_submit(io, DPU_BLOCK_READ, request->iov, request->segments, read_done);
	return true;
}

/* ---- writes ---- */

static void write_done(struct dpu_block_request *medium)
{
	struct store_io *io = (struct store_io *)medium;

	if (medium->status != DPU_BLOCK_OK)
		io_finish(io, medium_status(io->store, medium));
	else
		io_run(io, write_commit); /* with others */
}

bool fast_write(struct store *store, struct dpu_block_request *request)
{
	int64_t place;

	if (!is_simple(request) || !space_take(store, (uint32_t)(request->length / STORE_BLOCK), &place))
		return false;
	struct store_io *io = take(store, request);
	io->place = io->target = place;
	io->placed = true;
	io->part = false;
	if (request->flags & DPU_BLOCK_CRC)
		memcpy(io->crc, request->crc, io->count * sizeof(*io->crc));
	else
		for (unsigned i = 0; i < io->count; i++)
			io->crc[i] = block_crc(request, i);
	io_submit(io, DPU_BLOCK_WRITE, request->iov, request->segments, write_done);
	return true;
}

/* ---- what will be wanted soon ---- */

void fast_look_ahead(struct store *store)
{
	const struct dpu_block_request *request = store->incoming.first;

	for (unsigned i = 0; i < AHEAD && request; i++, request = request->next) {
		uint64_t block = request->offset / STORE_BLOCK;
		const struct leaf_way *way = leaf_way(volume_of(request), block);
		if (way->leaf == (block >> LEAF_SHIFT) + 1) {
			__builtin_prefetch(&way->data->block[block % LEAF_BLOCKS]);
			__builtin_prefetch(way->frame);
		}
	}
}

static const struct page_leaf *cached_leaf(const struct store_io *io)
{
	const struct leaf_way *way = leaf_way(io_volume(io), io->block);

	return io->step == write_commit && way->leaf == (io->block >> LEAF_SHIFT) + 1 ? way->data : NULL;
}

/* The places of blocks that are about to be replaced, then their counts. */
void fast_look_ahead_commits(struct store *store)
{
	const struct store_io *io = store->ready_io;

	for (unsigned i = 0; i < AHEAD && io; i++, io = io->next) {
		const struct page_leaf *leaf = cached_leaf(io);
		if (leaf)
			__builtin_prefetch(&leaf->block[io->block % LEAF_BLOCKS], 1);
	}
	io = store->ready_io;
	for (unsigned i = 0; i < AHEAD && io; i++, io = io->next) {
		const struct page_leaf *leaf = cached_leaf(io);
		uint64_t place = leaf ? leaf_place(leaf, io->block % LEAF_BLOCKS) : 0;
		unsigned at;
		if (!place || place > store->places)
			continue;
		const struct frame *counts = group_at(store, place - 1, &at)->counts;
		if (counts)
			__builtin_prefetch(&((const struct page_counts *)counts->data)->count[at], 1);
	}
}
