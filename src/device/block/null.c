// SPDX-License-Identifier: BSD-3-Clause
/* The block device that keeps nothing. */
#include "device/block/null.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "device/block/block_queue.h"

enum { BURST = 64 };

struct null {
	struct dpu_block_device device; /* first */
	struct block_queue waiting;
	char name[];
};

static bool is_zero(const uint8_t *data, size_t bytes)
{
	return bytes == 0 || (data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0);
}

static enum dpu_block_status carry_out(const struct dpu_block_request *request)
{
	const struct iovec *iov = request->iov;

	if (request->op == DPU_BLOCK_READ)
		for (unsigned i = 0; i < request->segments; i++)
			memset(iov[i].iov_base, 0, iov[i].iov_len);
	else if (request->op == DPU_BLOCK_COMPARE)
		for (unsigned i = 0; i < request->segments; i++)
			if (!is_zero(iov[i].iov_base, iov[i].iov_len))
				return DPU_BLOCK_MISCOMPARE;
	return DPU_BLOCK_OK;
}

static void null_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	block_queue_add(&((struct null *)device)->waiting, request);
}

static unsigned null_poll(struct dpu_block_device *device)
{
	struct null *null = (struct null *)device;
	struct dpu_block_request *request;
	unsigned count = 0;

	for (; count < BURST && (request = block_queue_take(&null->waiting)) != NULL; count++)
		dpu_block_complete(request, carry_out(request));
	return count;
}

static void null_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	while (null_poll(device) > 0)
		;
	free(device);
	if (done)
		done(arg);
}

static const struct dpu_block_ops null_ops = { .submit = null_submit, .poll = null_poll, .close = null_close };

int block_null_new(const char *name, uint64_t bytes, struct dpu_block_device **ret)
{
	if (bytes == 0 || bytes % DPU_BLOCK_BYTES)
		return -EINVAL;
	size_t name_bytes = strlen(name) + 1;
	struct null *null = calloc(1, sizeof(*null) + name_bytes);
	if (!null)
		return -ENOMEM;
	memcpy(null->name, name, name_bytes);
	block_queue_init(&null->waiting);
	null->device = (struct dpu_block_device){
		.ops = &null_ops,
		.name = null->name,
		.bytes = bytes,
		.sector = DPU_BLOCK_SECTOR,
		.features = DPU_BLOCK_F_DISCARD | DPU_BLOCK_F_ZERO_DISCARD,
		.max_bytes = DPU_BLOCK_MAX_BYTES,
		.alignment = 1,
	};
	*ret = &null->device;
	return 0;
}
