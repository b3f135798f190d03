// SPDX-License-Identifier: BSD-3-Clause
/* Reads and compares: look at the map, read a run of blocks, check each against its CRC. */
#include "service/block/store/store_priv.h"

#include <string.h>
#include "engine/crc32c/crc32c.h"

/* The run at io->position: blocks of one leaf that follow each other on a medium, or that are all holes. */
static int find_run(struct store_io *io, uint32_t most)
{
	struct store *store = io->store;
	struct page_leaf *leaf;

	pages_begin(store);
	io->block = (io->request->offset + io->position) / STORE_BLOCK;
	int rc = leaf_find(store, io_volume(io), io->block, &leaf);
	if (rc < 0)
		return rc;
	unsigned at = io->block % LEAF_BLOCKS, count = 0;
	uint64_t first = leaf ? leaf_place(leaf, at) : 0;
	uint64_t group = first ? group_of(store, first - 1) : 0;
	if (most > RECORD_BLOCKS)
		most = RECORD_BLOCKS;
	for (; count < most && at + count < LEAF_BLOCKS; count++) {
		uint64_t place = leaf ? leaf_place(leaf, at + count) : 0;
		if (place != (first ? first + count : 0) || (first && group_of(store, place - 1) != group))
			break;
		io->crc[count] = leaf ? leaf->block[at + count].crc : 0;
	}
	io->count = count;
	io->place = (int64_t)first - 1; /* NO_PLACE: a hole */
	return 0;
}

/* ---- a second look ---- */

static void damaged(struct store_io *io, unsigned at)
{
	io_integrity(io, io->block + at, (uint64_t)io->place + at);
	io_finish(io, DPU_BLOCK_INTEGRITY);
}

void read_check(struct store_io *io, unsigned at, void (*checked)(struct store_io *io))
{
	for (; at < io->count; at++) {
		size_t start = io->position + (size_t)at * STORE_BLOCK;
		uint32_t crc = io->medium.flags & DPU_BLOCK_CRC ? io->found[at]
								: crc32c_iov(0, io->request->iov, start, STORE_BLOCK);
		if (crc != io->crc[at]) {
			read_again(io, at, checked);
			return;
		}
	}
	checked(io);
}

static void again_done(struct dpu_block_request *request)
{
	struct store_io *io = (struct store_io *)request;
	uint64_t position = io->position;
	uint32_t bytes = io->bytes;

	if (request->status != DPU_BLOCK_OK) {
		io_finish(io, medium_status(io->store, request));
		return;
	}
	if (crc32c(0, io->bounce, STORE_BLOCK) != io->crc[io->suspect]) {
		damaged(io, io->suspect);
		return;
	}
	io->position += (uint64_t)io->suspect * STORE_BLOCK;
	io->bytes = STORE_BLOCK;
	io_copy(io, io->bounce, true);
	io->position = position;
	io->bytes = bytes;
	read_check(io, io->suspect + 1, io->step);
}

void read_again(struct store_io *io, unsigned at, void (*checked)(struct store_io *io))
{
	int64_t place = io->place;
	uint32_t count = io->count;

	io->store->stats.second_reads++;
	io_volume(io)->second_reads++;
	io->suspect = at;
	io->step = checked;
	io->iov[0] = (struct iovec){ io->bounce, STORE_BLOCK };
	io->place += at;
	io->count = 1;
	io_submit(io, DPU_BLOCK_READ, io->iov, 1, again_done);
	io->place = place;
	io->count = count;
}

/* ---- runs ---- */

static void finish_run(struct store_io *io)
{
	uint32_t *crcs = io_crc(io);

	if (crcs)
		memcpy(crcs, io->crc, io->count * sizeof(*crcs));
	io->position += io->bytes;
	io_next(io, read_step);
}

static void read_done(struct dpu_block_request *request)
{
	struct store_io *io = (struct store_io *)request;

	if (request->status != DPU_BLOCK_OK) {
		io_finish(io, medium_status(io->store, request));
	} else if (io->iov[0].iov_base != io->bounce) {
		read_check(io, 0, finish_run);
	} else if (!io_bounce_holds(io)) {
		damaged(io, 0);
	} else {
		io_copy(io, io->bounce, true);
		finish_run(io);
	}
}

static void fill_hole(struct store_io *io)
{
	uint32_t *crcs = io_crc(io), whole = io->bytes;
	uint64_t start = io->position;

	for (unsigned i = 0; crcs && i < io->count; i++)
		crcs[i] = store_zero_crc;
	/* A block at a time: the segments may be many. */
	while (io->position < start + whole) {
		uint64_t at = (io->request->offset + io->position) % STORE_BLOCK;
		uint64_t left = start + whole - io->position;
		io->bytes = (uint32_t)(left < STORE_BLOCK - at ? left : STORE_BLOCK - at);
		io_copy(io, (uint8_t *)(uintptr_t)store_zero_block, true);
		io->position += io->bytes;
	}
	io_next(io, read_step);
}

/* A part of a block goes through the bounce block, because its CRC is that of the whole. */
void read_step(struct store_io *io)
{
	uint64_t offset = io->request->offset + io->position, left = io->end - io->position;
	bool partial = io_partial(io);
	uint32_t most =
		partial ? 1 : (uint32_t)(left / STORE_BLOCK < RECORD_BLOCKS ? left / STORE_BLOCK : RECORD_BLOCKS);
	int rc = find_run(io, most);
	unsigned segments = 0;

	if (rc == -EAGAIN) {
		io_wait(io, read_step);
		return;
	}
	if (rc < 0) {
		io_error(io, rc);
		return;
	}
	io->bytes = io->count * STORE_BLOCK;
	if (!partial)
		segments = io_slice(io, io->position, io->bytes, io->iov, IO_SEGMENTS);
	if (!partial && !segments) {
		io->count = 1;
		io->bytes = STORE_BLOCK;
		segments = io_slice(io, io->position, STORE_BLOCK, io->iov, IO_SEGMENTS);
	}
	if (partial) {
		uint64_t to_end = STORE_BLOCK - offset % STORE_BLOCK;
		io->bytes = (uint32_t)(left < to_end ? left : to_end);
	}
	io_split(io, read_step);
	if (io->place == NO_PLACE) {
		fill_hole(io);
		return;
	}
	if (!segments) {
		io->iov[0] = (struct iovec){ io->bounce, STORE_BLOCK };
		segments = 1;
	}
	io->reader = true;
	io->epoch = reader_begin(io->store);
	io_submit(io, DPU_BLOCK_READ, io->iov, segments, read_done);
}

/* ---- compare ---- */

static bool same(const struct store_io *io, const uint8_t *block)
{
	uint64_t position = io->position;
	uint32_t left = io->bytes;
	const struct iovec *segment = io->request->iov;

	block += (io->request->offset + position) % STORE_BLOCK;
	while (position >= segment->iov_len)
		position -= segment++->iov_len;
	while (left) {
		size_t here = segment->iov_len - position;
		if (here > left)
			here = left;
		if (memcmp((const uint8_t *)segment->iov_base + position, block, here) != 0)
			return false;
		block += here;
		left -= (uint32_t)here;
		position = 0;
		segment++;
	}
	return true;
}

static void compare(struct store_io *io, const uint8_t *block)
{
	if (!same(io, block)) {
		io_finish(io, DPU_BLOCK_MISCOMPARE);
		return;
	}
	io->position += io->bytes;
	io_next(io, compare_step);
}

static void compare_read(struct dpu_block_request *request)
{
	struct store_io *io = (struct store_io *)request;

	if (io_bounce_is_good(io, request))
		compare(io, io->bounce);
}

void compare_step(struct store_io *io)
{
	uint64_t to_end = STORE_BLOCK - (io->request->offset + io->position) % STORE_BLOCK;
	uint64_t left = io->end - io->position;
	int rc = find_run(io, 1);

	if (rc == -EAGAIN) {
		io_wait(io, compare_step);
		return;
	}
	if (rc < 0) {
		io_error(io, rc);
		return;
	}
	io->bytes = (uint32_t)(left < to_end ? left : to_end);
	io_split(io, compare_step);
	if (io->place == NO_PLACE) {
		compare(io, store_zero_block);
		return;
	}
	io->iov[0] = (struct iovec){ io->bounce, STORE_BLOCK };
	io->reader = true;
	io->epoch = reader_begin(io->store);
	io_submit(io, DPU_BLOCK_READ, io->iov, 1, compare_read);
}
