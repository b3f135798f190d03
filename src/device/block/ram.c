// SPDX-License-Identifier: BSD-3-Clause
/* The block device in memory. */
#include "device/block/ram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "device/block/block_queue.h"

enum { BURST = 64, FETCH_BYTES = 1024 };

struct ram {
	struct dpu_block_device device; /* first */
	uint8_t *data;
	struct block_queue waiting;
	char name[];
};

/* Calls with each segment and its place; stops at the first that returns false. */
static bool for_segments(struct ram *ram, const struct dpu_block_request *request,
			 bool (*fn)(void *segment, uint8_t *at, size_t bytes))
{
	uint8_t *at = ram->data + request->offset;

	for (unsigned i = 0; i < request->segments; i++) {
		const struct iovec *segment = &request->iov[i];

		if (!fn(segment->iov_base, at, segment->iov_len))
			return false;
		at += segment->iov_len;
	}
	return true;
}

static bool segment_read(void *segment, uint8_t *at, size_t bytes)
{
	memcpy(segment, at, bytes);
	return true;
}

static bool segment_write(void *segment, uint8_t *at, size_t bytes)
{
	memcpy(at, segment, bytes);
	return true;
}

static bool segment_equal(void *segment, uint8_t *at, size_t bytes)
{
	return memcmp(at, segment, bytes) == 0;
}

/* Whole pages go back to the system. */
static void zero(struct ram *ram, const struct dpu_block_request *request)
{
	if ((request->offset | request->length) % DPU_BLOCK_BYTES == 0 && !(request->flags & DPU_BLOCK_KEEP) &&
	    madvise(ram->data + request->offset, request->length, MADV_DONTNEED) == 0)
		return;
	memset(ram->data + request->offset, 0, request->length);
}

static enum dpu_block_status carry_out(struct ram *ram, const struct dpu_block_request *request)
{
	switch ((enum dpu_block_op)request->op) {
	case DPU_BLOCK_READ:
		for_segments(ram, request, segment_read);
		return DPU_BLOCK_OK;
	case DPU_BLOCK_WRITE:
		for_segments(ram, request, segment_write);
		return DPU_BLOCK_OK;
	case DPU_BLOCK_COMPARE:
		return for_segments(ram, request, segment_equal) ? DPU_BLOCK_OK : DPU_BLOCK_MISCOMPARE;
	case DPU_BLOCK_DISCARD:
	case DPU_BLOCK_WRITE_ZEROES:
		zero(ram, request);
		return DPU_BLOCK_OK;
	case DPU_BLOCK_FLUSH:
		return DPU_BLOCK_OK;
	case DPU_BLOCK_OPS:
		break;
	}
	return DPU_BLOCK_UNSUPPORTED;
}

static void ram_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	block_queue_add(&((struct ram *)device)->waiting, request);
}

/* Into the cache, while the request before is carried out: the rest of the block follows by itself. */
static void fetch(const struct ram *ram, const struct dpu_block_request *request)
{
	const uint8_t *at = ram->data + request->offset;

	for (unsigned i = 0; i < FETCH_BYTES && i < request->length; i += 64)
		__builtin_prefetch(at + i);
}

static unsigned ram_poll(struct dpu_block_device *device)
{
	struct ram *ram = (struct ram *)device;
	struct dpu_block_request *request;
	unsigned count = 0;

	if (ram->waiting.first)
		fetch(ram, ram->waiting.first);
	while (count < BURST && (request = block_queue_take(&ram->waiting)) != NULL) {
		if (ram->waiting.first)
			fetch(ram, ram->waiting.first);
		dpu_block_complete(request, carry_out(ram, request));
		count++;
	}
	return count;
}

static void ram_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	struct ram *ram = (struct ram *)device;

	while (ram_poll(device) > 0)
		;
	munmap(ram->data, device->bytes);
	free(ram);
	if (done)
		done(arg);
}

static const struct dpu_block_ops ram_ops = { .submit = ram_submit, .poll = ram_poll, .close = ram_close };

void *block_ram_data(struct dpu_block_device *device)
{
	return ((struct ram *)device)->data;
}

int block_ram_new(const char *name, uint64_t bytes, uint32_t sector, struct dpu_block_device **ret)
{
	if (bytes == 0 || bytes % DPU_BLOCK_BYTES || (sector != DPU_BLOCK_SECTOR && sector != DPU_BLOCK_BYTES))
		return -EINVAL;
	size_t name_bytes = strlen(name) + 1;
	struct ram *ram = calloc(1, sizeof(*ram) + name_bytes);
	if (!ram)
		return -ENOMEM;
	void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (data == MAP_FAILED) {
		free(ram);
		return -ENOMEM;
	}
	madvise(data, bytes, MADV_HUGEPAGE); /* fewer address translations; without them it works, too */
	memcpy(ram->name, name, name_bytes);
	ram->data = data;
	block_queue_init(&ram->waiting);
	ram->device = (struct dpu_block_device){
		.ops = &ram_ops,
		.name = ram->name,
		.bytes = bytes,
		.sector = sector,
		.features = DPU_BLOCK_F_DISCARD | DPU_BLOCK_F_ZERO_DISCARD,
		.max_bytes = DPU_BLOCK_MAX_BYTES,
		.alignment = 1,
	};
	*ret = &ram->device;
	return 0;
}
