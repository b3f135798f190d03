// SPDX-License-Identifier: BSD-3-Clause
/* Writes: data to free blocks, then one record that makes place and CRC valid together. A part of a block is read,
 * merged and written whole; if the block has changed meanwhile, that is done again. */
#include "service/block/store/store_priv.h"

#include "engine/crc32c/crc32c.h"

static void write_part(struct store_io *io);

static bool is_zeroing(const struct store_io *io)
{
	return io->request->op != DPU_BLOCK_WRITE;
}

static void after(struct store_io *io)
{
	io->position += io->bytes;
	io_next(io, is_zeroing(io) ? unmap_start : write_start);
}

/* ---- the record ---- */

static void add_record(struct store_io *io, struct record *record, unsigned pages, const uint32_t *list)
{
	struct store *store = io->store;

	record->type = RECORD_WRITE;
	record->pages = (uint8_t)pages;
	record->slot = io_volume(io)->slot;
	record->bytes = (uint16_t)record_bytes(offsetof(struct record, write.list) + 4 * (pages + io->count));
	record->write.first = io->block;
	record->write.place = (uint64_t)io->place;
	record->write.count = io->count;
	record->write.spare = 0;
	memcpy(record->write.list, list, pages * sizeof(*list));
	memcpy(record->write.list + pages, io->crc, io->count * sizeof(*io->crc));
	record_apply(store, record, 0);
	log_add(store, record);
}

static int try_commit(struct store_io *io)
{
	struct store *store = io->store;
	struct store_volume *volume = io_volume(io);
	uint32_t list[RECORD_PAGES];
	struct record *record;
	unsigned pages;

	if (volume->gone)
		return -ESTALE;
	int rc = pages_room(store);
	if (rc < 0)
		return rc;
	pages_begin(store);
	rc = tree_plan_write(store, volume, io->block, io->count, (uint64_t)io->place, &pages);
	if (rc < 0)
		return rc;
	rc = log_room(store, record_bytes(offsetof(struct record, write.list) + 4 * (pages + io->count)), &record);
	if (rc < 0)
		return rc;
	rc = page_pick(store, pages, is_zeroing(io), list);
	if (rc < 0)
		return rc;
	add_record(io, record, pages, list);
	return 0;
}

/* Whether the block of a partial write is still where it was read. */
static int check_old(struct store_io *io)
{
	struct page_leaf *leaf;
	int rc = leaf_find(io->store, io_volume(io), io->block, &leaf);

	if (rc < 0)
		return rc;
	int64_t now = leaf ? (int64_t)leaf_place(leaf, io->block % LEAF_BLOCKS) - 1 : NO_PLACE;
	return now == io->old;
}

void write_commit(struct store_io *io)
{
	struct store_volume *volume = io_volume(io);
	int rc = 0;

	/* Cut off meanwhile: the resize came after the write. */
	if (io->block + io->count > (volume->entry->bytes + STORE_BLOCK - 1) / STORE_BLOCK) {
		io_finish(io, volume->gone ? DPU_BLOCK_GONE : DPU_BLOCK_RANGE);
		return;
	}
	if (io->part) {
		pages_begin(io->store);
		rc = check_old(io);
		if (rc == 0) { /* changed */
			io_restart(io, write_part);
			return;
		}
	}
	if (rc >= 0)
		rc = try_commit(io);
	if (rc == -EAGAIN)
		io_wait(io, write_commit);
	else if (rc < 0)
		io_error(io, rc);
	else
		after(io);
}

static void data_written(struct dpu_block_request *request)
{
	struct store_io *io = (struct store_io *)request;

	if (request->status != DPU_BLOCK_OK)
		io_finish(io, medium_status(io->store, request));
	else
		io_run(io, write_commit);
}

/* ---- whole blocks ---- */

static void write_whole(struct store_io *io)
{
	uint64_t offset = io->request->offset + io->position, left = (io->end - io->position) / STORE_BLOCK;
	uint32_t want = RECORD_BLOCKS, got;
	unsigned segments;

	io->block = offset / STORE_BLOCK;
	if (want > left)
		want = (uint32_t)left;
	if (want > LEAF_BLOCKS - io->block % LEAF_BLOCKS)
		want = (uint32_t)(LEAF_BLOCKS - io->block % LEAF_BLOCKS);
	while (want > 1 && !io_slice(io, io->position, want * STORE_BLOCK, io->iov, IO_SEGMENTS))
		want /= 2;
	pages_begin(io->store);
	int rc = io->store->failed ? -EIO : space_alloc(io->store, want, &io->target, &got);
	if (rc == -EAGAIN)
		io_wait(io, write_whole);
	else if (rc < 0)
		io_error(io, rc);
	if (rc < 0)
		return;
	io->place = io->target;
	io->placed = true;
	io->part = false;
	io->count = got;
	io->bytes = got * STORE_BLOCK;
	io_split(io, write_start);
	segments = io_slice(io, io->position, io->bytes, io->iov, IO_SEGMENTS);
	if (!segments) {
		io_copy(io, io->bounce, false);
		io->iov[0] = (struct iovec){ io->bounce, STORE_BLOCK };
		segments = 1;
	}
	for (unsigned i = 0; i < got; i++)
		io->crc[i] = io_crc(io) ? io_crc(io)[i] : crc32c_iov(0, io->iov, (size_t)i * STORE_BLOCK, STORE_BLOCK);
	io_submit(io, DPU_BLOCK_WRITE, io->iov, segments, data_written);
}

/* ---- parts of blocks ---- */

static void write_merged(struct store_io *io)
{
	io->place = io->target;
	io->crc[0] = crc32c(0, io->bounce, STORE_BLOCK);
	io->iov[0] = (struct iovec){ io->bounce, STORE_BLOCK };
	io_submit(io, DPU_BLOCK_WRITE, io->iov, 1, data_written);
}

static void merge(struct store_io *io)
{
	if (is_zeroing(io))
		memset(io->bounce + (io->request->offset + io->position) % STORE_BLOCK, 0, io->bytes);
	else
		io_copy(io, io->bounce, false);
	write_merged(io);
}

static void old_read(struct dpu_block_request *request)
{
	struct store_io *io = (struct store_io *)request;

	if (io_bounce_is_good(io, request))
		merge(io);
}

/* Where the block is, and a free one for what becomes of it. Space comes first: who waits for it must not be a reader,
 * because space waits for readers. */
static int find_part(struct store_io *io, struct page_leaf **ret)
{
	uint32_t got;

	pages_begin(io->store);
	int rc = leaf_find(io->store, io_volume(io), io->block, ret);
	if (rc < 0)
		return rc;
	bool hole = !*ret || !leaf_place(*ret, io->block % LEAF_BLOCKS);
	if (hole && is_zeroing(io)) /* zeroes already */
		return 0;
	rc = io->store->failed ? -EIO : space_alloc(io->store, 1, &io->target, &got);
	io->placed = rc == 0;
	return rc;
}

/* The reader's epoch lasts until the record: so no other block can come to be where this one was. */
static void write_part(struct store_io *io)
{
	uint64_t offset = io->request->offset + io->position, left = io->end - io->position;
	uint64_t to_end = STORE_BLOCK - offset % STORE_BLOCK;
	struct page_leaf *leaf;

	io->block = offset / STORE_BLOCK;
	io->bytes = (uint32_t)(left < to_end ? left : to_end);
	io->count = 1;
	io->part = true;
	int rc = find_part(io, &leaf);
	if (rc == -EAGAIN)
		io_wait(io, write_part);
	else if (rc < 0)
		io_error(io, rc);
	if (rc < 0)
		return;
	io_split(io, is_zeroing(io) ? unmap_start : write_start);
	uint64_t place = leaf ? leaf_place(leaf, io->block % LEAF_BLOCKS) : 0;
	if (!io->placed) {
		after(io);
		return;
	}
	io->old = (int64_t)place - 1;
	io->reader = true;
	io->epoch = reader_begin(io->store);
	if (!place) {
		memset(io->bounce, 0, STORE_BLOCK);
		merge(io);
		return;
	}
	io->crc[0] = leaf->block[io->block % LEAF_BLOCKS].crc;
	io->place = io->old;
	io->iov[0] = (struct iovec){ io->bounce, STORE_BLOCK };
	io_submit(io, DPU_BLOCK_READ, io->iov, 1, old_read);
}

void write_start(struct store_io *io)
{
	if (io_volume(io)->gone)
		io_finish(io, DPU_BLOCK_GONE);
	else if (io->store->failed)
		io_finish(io, DPU_BLOCK_IO_ERROR);
	else if (is_zeroing(io) || io_partial(io))
		write_part(io);
	else
		write_whole(io);
}
