// SPDX-License-Identifier: BSD-3-Clause
/* A device for tests, with CRCs. */
#include "device/nvme/nvme_test_device.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "device/block/ram.h"
#include "engine/crc32c/crc32c.h"

/* ---- CRCs ---- */

static bool data_matches(const struct dpu_block_request *request)
{
	return crc32c_blocks_hold(request->crc, request->iov, request->length);
}

/* Of all blocks that the range touches, from what is there now. */
static void crcs_renew(struct test_device *self, uint64_t offset, uint64_t length)
{
	const uint8_t *data = block_ram_data(self->ram);

	for (uint64_t at = offset / DPU_BLOCK_BYTES; at * DPU_BLOCK_BYTES < offset + length; at++)
		self->crc[at] = crc32c(0, data + at * DPU_BLOCK_BYTES, DPU_BLOCK_BYTES);
}

/* ---- requests ---- */

static void below_done(struct dpu_block_request *request)
{
}

static enum dpu_block_status below(struct test_device *self, const struct dpu_block_request *request)
{
	struct dpu_block_request own = dpu_block_request_below(request, below_done);

	own.flags &= (uint8_t)~DPU_BLOCK_CRC;
	own.status = DPU_BLOCK_STATUSES;
	self->ram->ops->submit(self->ram, &own);
	self->ram->ops->poll(self->ram);
	assert(own.status != DPU_BLOCK_STATUSES);
	return own.status;
}

static enum dpu_block_status carry_out(struct test_device *self, const struct dpu_block_request *request)
{
	bool read = request->op == DPU_BLOCK_READ, with_crc = request->flags & DPU_BLOCK_CRC;
	uint32_t *kept = self->crc + request->offset / DPU_BLOCK_BYTES;
	size_t crc_bytes = request->length / DPU_BLOCK_BYTES * sizeof(*kept);
	enum dpu_block_status status;

	self->flags = request->flags;
	self->first_crc = with_crc ? request->crc[0] : 0;
	if (self->answer != DPU_BLOCK_OK)
		return self->answer;
	if (with_crc && !read && !data_matches(request))
		return DPU_BLOCK_INTEGRITY;
	if ((status = below(self, request)) != DPU_BLOCK_OK)
		return status;
	if (read && with_crc) {
		memcpy(request->crc, kept, crc_bytes);
		return self->careless || data_matches(request) ? DPU_BLOCK_OK : DPU_BLOCK_INTEGRITY;
	}
	if (request->op == DPU_BLOCK_WRITE && with_crc)
		memcpy(kept, request->crc, crc_bytes);
	else if (!read && request->op != DPU_BLOCK_COMPARE)
		crcs_renew(self, request->offset, request->length);
	return DPU_BLOCK_OK;
}

static void test_device_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct test_device *self = (struct test_device *)device;

	self->submitted++;
	block_queue_add(&self->waiting, request);
}

static void test_device_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct test_device *self = (struct test_device *)device;
	struct dpu_block_request **link = &self->waiting.first;

	while (*link && *link != request)
		link = &(*link)->next;
	if (!*link || self->deaf)
		return;
	*link = request->next;
	if (!request->next)
		self->waiting.tail = link;
	block_queue_add(&self->cancelled, request);
}

static unsigned test_device_poll(struct dpu_block_device *device)
{
	struct test_device *self = (struct test_device *)device;
	struct dpu_block_request *request = block_queue_take(&self->cancelled);

	if (request) {
		dpu_block_complete(request, DPU_BLOCK_GONE);
		return 1;
	}
	request = self->hold ? NULL : block_queue_take(&self->waiting);
	if (!request)
		return 0;
	dpu_block_complete(request, carry_out(self, request));
	return 1;
}

static void test_device_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	struct test_device *self = (struct test_device *)device;

	while (test_device_poll(device) > 0)
		;
	self->ram->ops->close(self->ram, NULL, NULL);
	free(self->crc);
	free(self);
	if (done)
		done(arg);
}

void test_device_damage(struct test_device *self, uint64_t offset)
{
	((uint8_t *)block_ram_data(self->ram))[offset] ^= 0x10;
}

struct test_device *test_device_on(struct dpu_block_device *ram)
{
	static const struct dpu_block_ops ops = {
		.submit = test_device_submit,
		.poll = test_device_poll,
		.close = test_device_close,
		.cancel = test_device_cancel,
	};
	struct test_device *self = calloc(1, sizeof(*self));

	assert(self);
	self->crc = calloc(ram->bytes / DPU_BLOCK_BYTES, sizeof(*self->crc));
	assert(self->crc);
	self->device = *ram;
	self->device.ops = &ops;
	self->device.features |= DPU_BLOCK_F_CRC;
	self->ram = ram;
	block_queue_init(&self->waiting);
	block_queue_init(&self->cancelled);
	crcs_renew(self, 0, ram->bytes);
	return self;
}
