// SPDX-License-Identifier: BSD-3-Clause
/* Superblocks of a pool's media from outside: which media hold a pool, so that none is formatted over; and erasing them
 * when a pool is deleted. */
#include <stdlib.h>
#include <string.h>
#include "service/block/block_priv.h"
#include "service/block/store/store_format.h"

enum { PER_MEDIUM = 2 }; /* at its start, and the copy at its end */

static void done_in_control(struct note *note)
{
	struct super_io *io = (struct super_io *)((uint8_t *)note - offsetof(struct super_io, note));

	io->then(io->pool);
}

static void request_done(struct dpu_block_request *request)
{
	struct super_io *io = ((struct super_request *)request)->io;

	io->failed |= request->status != DPU_BLOCK_OK;
	if (--io->left == 0)
		note_send(io->pool->subject.block, &io->note);
}

static void requests_submit(void *arg, struct worker *worker)
{
	struct super_io *io = arg;
	struct pool *pool = io->pool;
	unsigned count = pool->media_count * PER_MEDIUM;

	(void)worker;
	for (unsigned i = 0; i < count; i++) {
		struct dpu_block_device *device = pool->media[i / PER_MEDIUM]->device;
		struct dpu_block_request *request = &io->requests[i].request;
		uint64_t last = (device->bytes / STORE_BLOCK - 1) * STORE_BLOCK;

		request->offset = i % PER_MEDIUM ? last : 0;
		device->ops->submit(device, request);
	}
}

static void supers_start(struct pool *pool, enum dpu_block_op op, void (*then)(struct pool *pool))
{
	struct super_io *io = block_alloc(sizeof(*io));
	unsigned count = pool->media_count * PER_MEDIUM;

	io->pool = pool;
	io->then = then;
	io->note.fn = done_in_control;
	io->left = count;
	io->blocks = aligned_alloc(STORE_BLOCK, count * STORE_BLOCK);
	if (!io->blocks)
		abort();
	memset(io->blocks, 0, count * STORE_BLOCK);
	for (unsigned i = 0; i < count; i++) {
		struct super_request *one = &io->requests[i];

		one->io = io;
		one->iov = (struct iovec){ io->blocks + i * STORE_BLOCK, STORE_BLOCK };
		one->request = (struct dpu_block_request){ .op = op,
							   .flags = op == DPU_BLOCK_WRITE ? DPU_BLOCK_FUA : 0,
							   .segments = 1,
							   .length = STORE_BLOCK,
							   .iov = &one->iov,
							   .done = request_done };
	}
	pool->super_io = io;
	pool->busy = true;
	block_call(pool->worker, requests_submit, io, NULL);
}

void pool_supers_read(struct pool *pool, void (*then)(struct pool *pool))
{
	supers_start(pool, DPU_BLOCK_READ, then);
}

void pool_supers_erase(struct pool *pool, void (*then)(struct pool *pool))
{
	supers_start(pool, DPU_BLOCK_WRITE, then);
}

bool pool_super_there(const struct super_io *io, unsigned medium)
{
	struct store_super super;

	for (unsigned i = 0; i < PER_MEDIUM; i++) {
		memcpy(&super, io->blocks + (medium * PER_MEDIUM + i) * STORE_BLOCK, sizeof(super));
		if (super.magic == STORE_SUPER_MAGIC)
			return true;
	}
	return false;
}

void pool_supers_free(struct pool *pool)
{
	free(pool->super_io->blocks);
	free(pool->super_io);
	pool->super_io = NULL;
}
