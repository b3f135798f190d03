// SPDX-License-Identifier: BSD-3-Clause
/* A medium with a write cache: the blocks of FILE, as they are read and written, are in FILE.cache. Flush and FUA bring
 * them into the file; of what was written, now and then a block goes there by itself, in no order. Whoever removes the
 * cache and kills dpud with -9 has what a disk has after a power failure; without the former it is as after a crash of
 * dpud. arguments: path=FILE */
#include <dpu/block_module.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct volatile_medium {
	struct dpu_block_device device; /* first */
	int fd;
	uint8_t *memory; /* the cache: its blocks, and for each */
	bool *dirty;
	uint32_t random;
	struct dpu_block_request *first, **last; /* since the last poll */
};

static enum dpu_block_status keep(struct volatile_medium *medium, uint64_t block)
{
	const uint8_t *data = medium->memory + block * DPU_BLOCK_BYTES;

	if (!medium->dirty[block])
		return DPU_BLOCK_OK;
	medium->dirty[block] = false;
	if (pwrite(medium->fd, data, DPU_BLOCK_BYTES, (off_t)(block * DPU_BLOCK_BYTES)) != DPU_BLOCK_BYTES)
		return DPU_BLOCK_IO_ERROR;
	return DPU_BLOCK_OK;
}

static enum dpu_block_status keep_range(struct volatile_medium *medium, uint64_t offset, uint64_t bytes)
{
	enum dpu_block_status status = DPU_BLOCK_OK;

	for (uint64_t block = offset / DPU_BLOCK_BYTES; block * DPU_BLOCK_BYTES < offset + bytes; block++)
		if (keep(medium, block) != DPU_BLOCK_OK)
			status = DPU_BLOCK_IO_ERROR;
	return status;
}

static void written(struct volatile_medium *medium, const struct dpu_block_request *request)
{
	for (uint64_t at = request->offset; at < request->offset + request->length; at += DPU_BLOCK_BYTES) {
		medium->dirty[at / DPU_BLOCK_BYTES] = true;
		medium->random = medium->random * 1664525 + 1013904223;
		if (medium->random >> 30 == 0)
			keep(medium, at / DPU_BLOCK_BYTES);
	}
}

static bool differs(uint8_t *memory, uint8_t *data, size_t bytes, uint8_t op)
{
	if (op == DPU_BLOCK_READ)
		memcpy(data, memory, bytes);
	else if (op == DPU_BLOCK_WRITE)
		memcpy(memory, data, bytes);
	else
		return memcmp(memory, data, bytes) != 0;
	return false;
}

static enum dpu_block_status carry_out(struct volatile_medium *medium, const struct dpu_block_request *request)
{
	uint8_t *at = medium->memory + request->offset;
	bool changes = request->op != DPU_BLOCK_READ && request->op != DPU_BLOCK_COMPARE;

	if (request->op == DPU_BLOCK_FLUSH)
		return keep_range(medium, 0, medium->device.bytes);
	if (request->op == DPU_BLOCK_DISCARD || request->op == DPU_BLOCK_WRITE_ZEROES)
		memset(at, 0, request->length);
	for (unsigned i = 0; i < request->segments; at += request->iov[i].iov_len, i++)
		if (differs(at, request->iov[i].iov_base, request->iov[i].iov_len, request->op))
			return DPU_BLOCK_MISCOMPARE;
	if (changes)
		written(medium, request);
	if (changes && (request->flags & DPU_BLOCK_FUA))
		return keep_range(medium, request->offset, request->length);
	return DPU_BLOCK_OK;
}

static void volatile_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct volatile_medium *medium = (struct volatile_medium *)device;

	request->next = NULL;
	request->scratch[0] = carry_out(medium, request);
	*medium->last = request;
	medium->last = &request->next;
}

static unsigned volatile_poll(struct dpu_block_device *device)
{
	struct volatile_medium *medium = (struct volatile_medium *)device;
	struct dpu_block_request *request = medium->first, *next;
	unsigned count = 0;

	medium->first = NULL;
	medium->last = &medium->first;
	for (; request; request = next, count++) {
		next = request->next;
		dpu_block_complete(request, (enum dpu_block_status)request->scratch[0]);
	}
	return count;
}

static size_t cache_bytes(const struct volatile_medium *medium)
{
	return medium->device.bytes + medium->device.bytes / DPU_BLOCK_BYTES * sizeof(*medium->dirty);
}

static void medium_free(struct volatile_medium *medium)
{
	if (medium->fd >= 0)
		close(medium->fd);
	if (medium->memory)
		munmap(medium->memory, cache_bytes(medium));
	free(medium);
}

static void volatile_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	volatile_poll(device);
	medium_free((struct volatile_medium *)device);
	done(arg);
}

static const struct dpu_block_ops volatile_ops = { .submit = volatile_submit,
						   .poll = volatile_poll,
						   .close = volatile_close };

static int cache_map(struct volatile_medium *medium, const char *path)
{
	struct stat file;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || fstat(fd, &file) != 0 || ftruncate(fd, (off_t)cache_bytes(medium)) != 0)
		return -errno;
	medium->memory = mmap(NULL, cache_bytes(medium), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (medium->memory == MAP_FAILED) {
		medium->memory = NULL;
		return -ENOMEM;
	}
	medium->dirty = (bool *)(medium->memory + medium->device.bytes);
	if (file.st_size > 0)
		return 0;
	for (uint64_t at = 0; at < medium->device.bytes; at += DPU_BLOCK_BYTES)
		if (pread(medium->fd, medium->memory + at, DPU_BLOCK_BYTES, (off_t)at) != DPU_BLOCK_BYTES)
			return -EIO;
	return 0;
}

static int load(struct volatile_medium *medium, const char *path)
{
	char cache[300];
	struct stat file;

	medium->fd = open(path, O_RDWR | O_CLOEXEC);
	if (medium->fd < 0 || fstat(medium->fd, &file) != 0)
		return -errno;
	medium->device.bytes = (uint64_t)file.st_size / DPU_BLOCK_BYTES * DPU_BLOCK_BYTES;
	snprintf(cache, sizeof(cache), "%s.cache", path);
	return cache_map(medium, cache);
}

static int volatile_open(const struct dpu_block_open *open, struct dpu_block_device **ret, char *why, size_t why_bytes)
{
	struct volatile_medium *medium;
	char path[256];
	int error;

	if (sscanf(open->arguments, "path=%255s", path) != 1) {
		snprintf(why, why_bytes, "its arguments must be path=FILE");
		return -EINVAL;
	}
	medium = calloc(1, sizeof(*medium));
	if (!medium)
		return -ENOMEM;
	error = load(medium, path);
	if (error) {
		snprintf(why, why_bytes, "%s: %s", path, strerror(-error));
		medium_free(medium);
		return error;
	}
	medium->last = &medium->first;
	medium->random = (uint32_t)getpid() * 2654435761U;
	medium->device.ops = &volatile_ops;
	medium->device.name = open->name;
	medium->device.sector = DPU_BLOCK_BYTES;
	medium->device.features = DPU_BLOCK_F_FLUSH | DPU_BLOCK_F_DISCARD | DPU_BLOCK_F_ZERO_DISCARD;
	medium->device.max_bytes = DPU_BLOCK_MAX_BYTES;
	medium->device.alignment = 1;
	*ret = &medium->device;
	return 0;
}

__attribute__((visibility("default"))) const struct dpu_block_module dpu_block_module = {
	DPU_BLOCK_MODULE_HEAD,
	.name = "volatile",
	.open = volatile_open,
};
