// SPDX-License-Identifier: BSD-3-Clause
/* The block device in memory. */
#include "device/block/ram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif
#include "device/block/block_queue.h"

enum {
	BURST = 64,
	TOUCHED = 8,       /* requests whose addresses are translated together */
	FETCH_BYTES = 512, /* of the next request, before this one is copied and once more afterwards */
	LINE = 64,
	LARGE_CACHE = 32 << 20, /* where the system does not say how large it is */
};

struct ram {
	struct dpu_block_device device; /* first */
	uint8_t *data;
	bool streams; /* writes go past the cache */
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

/* A line that is stored past the cache need not be read first. What is no whole line goes the usual way. */
static bool segment_stream(void *segment, uint8_t *at, size_t bytes)
{
#ifdef __SSE2__
	const uint8_t *from = segment;

	for (; bytes >= LINE && (uintptr_t)at % LINE == 0; bytes -= LINE, from += LINE, at += LINE)
		for (unsigned i = 0; i < LINE; i += sizeof(__m128i))
			_mm_stream_si128((__m128i *)(at + i), _mm_loadu_si128((const __m128i *)(from + i)));
	return segment_write((void *)(uintptr_t)from, at, bytes);
#else
	return segment_write(segment, at, bytes);
#endif
}

/* Stores past the cache keep no order: before another thread may be given the device. */
static void streams_end(void)
{
#ifdef __SSE2__
	_mm_sfence();
#endif
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
		for_segments(ram, request, ram->streams ? segment_stream : segment_write);
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

/* Address translations of several requests, which are looked up side by side. */
static void touch(const struct ram *ram, const struct dpu_block_request *request)
{
	for (unsigned i = 0; i < TOUCHED && request; i++, request = request->next)
		if (request->length)
			__builtin_prefetch(ram->data + request->offset);
}

/* Into the cache, while the request before is carried out: the rest of the block follows by itself. */
static void fetch(const struct ram *ram, const struct dpu_block_request *request, unsigned from)
{
	if (!request || (ram->streams && request->op == DPU_BLOCK_WRITE))
		return;
	const uint8_t *at = ram->data + request->offset;
	for (unsigned i = from; i < from + FETCH_BYTES && i < request->length; i += LINE)
		__builtin_prefetch(at + i);
}

static unsigned ram_poll(struct dpu_block_device *device)
{
	struct ram *ram = (struct ram *)device;
	struct dpu_block_request *request;
	unsigned count = 0;

	for (; count < BURST && (request = block_queue_take(&ram->waiting)) != NULL; count++) {
		if (count % TOUCHED == 0)
			touch(ram, request);
		fetch(ram, ram->waiting.first, 0);
		enum dpu_block_status status = carry_out(ram, request);
		fetch(ram, ram->waiting.first, FETCH_BYTES); /* while who is told looks at what was read */
		dpu_block_complete(request, status);
	}
	if (count && ram->streams)
		streams_end();
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

/* What is written to memory that is larger than the cache has mostly left it before it is read. */
static bool is_large(uint64_t bytes)
{
	long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);

	return bytes > (uint64_t)(cache > 0 ? cache : LARGE_CACHE);
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
	ram->streams = is_large(bytes);
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
