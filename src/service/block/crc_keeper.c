// SPDX-License-Identifier: BSD-3-Clause
/* The device that keeps CRCs. */
#include "service/block/crc_keeper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

enum { BYTES = CRC_KEEPER_BLOCKS * DPU_BLOCK_BYTES };

/* One request at a time. */
static void keeper_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	((struct crc_keeper *)device)->waiting = request;
}

static unsigned keeper_poll(struct dpu_block_device *device)
{
	struct crc_keeper *keeper = (struct crc_keeper *)device;
	struct dpu_block_request *request = keeper->waiting;

	if (!request)
		return 0;
	enum dpu_block_status status = dpu_block_check(device, request);
	keeper->waiting = NULL;
	if (!(request->flags & DPU_BLOCK_CRC) || request->length != BYTES)
		status = DPU_BLOCK_UNSUPPORTED;
	else if (request->op == DPU_BLOCK_READ)
		memcpy(request->crc, keeper->crc, sizeof(keeper->crc));
	else if (request->op == DPU_BLOCK_COMPARE && memcmp(request->crc, keeper->crc, sizeof(keeper->crc)) != 0)
		status = DPU_BLOCK_INTEGRITY;
	if (request->op == DPU_BLOCK_WRITE && status == DPU_BLOCK_OK) {
		memcpy(keeper->crc, request->crc, sizeof(keeper->crc));
		keeper->writes++;
	}
	dpu_block_complete(request, status);
	return 1;
}

static void keeper_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	(void)device;
	if (done)
		done(arg);
}

static const struct dpu_block_ops keeper_ops = { .submit = keeper_submit, .poll = keeper_poll, .close = keeper_close };

void crc_keeper_init(struct crc_keeper *keeper)
{
	*keeper = (struct crc_keeper){ .device = { .ops = &keeper_ops,
						   .name = "keeper",
						   .bytes = 1 << 20,
						   .sector = DPU_BLOCK_SECTOR,
						   .features = DPU_BLOCK_F_CRC,
						   .max_bytes = DPU_BLOCK_MAX_BYTES,
						   .alignment = 1 } };
}

void crc_keeper_check(struct crc_keeper *keeper, const struct dpu_block_device *device,
		      void (*go)(void *ctx, struct dpu_block_request *request), void *ctx)
{
	static uint8_t data[BYTES];
	static const uint32_t mine[CRC_KEEPER_BLOCKS] = { 1, 0xdeadbeef, 0 }, other[CRC_KEEPER_BLOCKS] = { 7, 8, 9 };
	struct iovec iov[] = { { data, 512 }, { data + 512, BYTES - 512 } };
	uint32_t crc[CRC_KEEPER_BLOCKS];
	struct dpu_block_request request = { .op = DPU_BLOCK_WRITE,
					     .flags = DPU_BLOCK_CRC,
					     .segments = 2,
					     .offset = DPU_BLOCK_BYTES,
					     .length = BYTES,
					     .iov = iov,
					     .crc = crc };

	assert_true(device->features & DPU_BLOCK_F_CRC);
	memcpy(crc, mine, sizeof(crc));
	go(ctx, &request);
	assert_int_equal(request.status, DPU_BLOCK_OK);
	assert_int_equal(keeper->writes, 1);
	assert_memory_equal(keeper->crc, mine, sizeof(mine));
	assert_memory_equal(crc, mine, sizeof(mine));
	request.op = DPU_BLOCK_COMPARE;
	go(ctx, &request);
	assert_int_equal(request.status, DPU_BLOCK_OK);
	crc[CRC_KEEPER_BLOCKS - 1] ^= 1;
	go(ctx, &request);
	assert_int_equal(request.status, DPU_BLOCK_INTEGRITY);
	memcpy(keeper->crc, other, sizeof(other));
	request.op = DPU_BLOCK_READ;
	go(ctx, &request);
	assert_int_equal(request.status, DPU_BLOCK_OK);
	assert_memory_equal(crc, other, sizeof(other));
}
