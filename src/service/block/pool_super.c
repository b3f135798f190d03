// SPDX-License-Identifier: BSD-3-Clause
/* Superblocks of a pool's media from outside: which media hold which pool, so that none is formatted over; and erasing
 * them when a pool is deleted. */
#include <stdlib.h>
#include <string.h>
#include "engine/crc32c/crc32c.h"
#include "service/block/block_priv.h"

static void done_in_control(struct note *note)
{
	struct super_io *io = (struct super_io *)((uint8_t *)note - offsetof(struct super_io, note));

	io->then(io->pool);
}

static void part_done(struct super_io *io)
{
	if (--io->left == 0)
		note_send(io->pool->subject.block, &io->note);
}

static void request_done(struct dpu_block_request *request)
{
	struct super_io *io = ((struct super_request *)request)->io;

	size_t number = (size_t)((struct super_request *)request - io->requests);
	if (request->status != DPU_BLOCK_OK && !io->failed)
		io->failed = io->media[number / POOL_SUPERS].medium;
	part_done(io);
}

static void requests_submit(void *arg, struct worker *worker)
{
	struct super_io *io = arg;

	(void)worker;
	for (unsigned i = 0; i < io->count * POOL_SUPERS; i++) {
		struct dpu_block_device *device = io->media[i / POOL_SUPERS].device;
		struct dpu_block_request *request = &io->requests[i].request;
		uint64_t last = (device->bytes / STORE_BLOCK - 1) * STORE_BLOCK;

		request->offset = i % POOL_SUPERS ? last : 0;
		device->ops->submit(device, request);
	}
	part_done(io);
}

/* Of those that the pool has now, whatever it gets meanwhile. */
static struct super_io *io_new(struct pool *pool, bool used_alone)
{
	struct super_io *io = block_alloc(sizeof(*io));

	for (unsigned i = 0; i < pool->media_count; i++) {
		struct pool_medium *medium = pool->media[i];
		if (medium->device && (medium->in_use || !used_alone))
			io->media[io->count++] = (struct super_medium){ medium, medium->device };
	}
	io->blocks = aligned_alloc(STORE_BLOCK, (size_t)(io->count + 1) * POOL_SUPERS * STORE_BLOCK);
	if (!io->blocks)
		abort();
	memset(io->blocks, 0, (size_t)io->count * POOL_SUPERS * STORE_BLOCK);
	return io;
}

static void supers_start(struct pool *pool, struct super_io *io, enum dpu_block_op op, void (*then)(struct pool *pool))
{
	io->pool = pool;
	io->then = then;
	io->note.fn = done_in_control;
	io->left = io->count * POOL_SUPERS + 1; /* 1: until all are submitted */
	for (unsigned i = 0; i < io->count * POOL_SUPERS; i++) {
		struct super_request *one = &io->requests[i];

		one->io = io;
		one->iov = (struct iovec){ io->blocks + (size_t)i * STORE_BLOCK, STORE_BLOCK };
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
	supers_start(pool, io_new(pool, false), DPU_BLOCK_READ, then);
}

void pool_supers_erase(struct pool *pool, void (*then)(struct pool *pool))
{
	supers_start(pool, io_new(pool, true), DPU_BLOCK_WRITE, then);
}

/* One that is whole counts; where none is, one that is damaged still says that a pool was here. */
bool pool_super(const struct super_io *io, unsigned medium, struct store_super *ret)
{
	for (unsigned i = 0; i < 2 * POOL_SUPERS; i++) {
		const uint8_t *block = io->blocks + (size_t)(medium * POOL_SUPERS + i % POOL_SUPERS) * STORE_BLOCK;
		size_t covered = STORE_BLOCK - sizeof(ret->crc);

		memcpy(ret, block, sizeof(*ret));
		bool whole = ret->crc == crc32c(0, block + sizeof(ret->crc), covered);
		if (ret->magic == STORE_SUPER_MAGIC && (whole || i >= POOL_SUPERS))
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
