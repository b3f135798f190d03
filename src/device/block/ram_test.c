// SPDX-License-Identifier: BSD-3-Clause
/* The device in memory: what is written in segments of any size and place is what is read, below and above the size
 * from which writes go past the cache. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "device/block/ram.h"

#define SMALL_BYTES (UINT64_C(1) << 20)
#define LARGE_BYTES (UINT64_C(64) << 30) /* larger than any cache; only what is touched is there */

enum { REQUESTS = 200, REQUEST_BYTES = 16384, SEGMENTS = 8, SPAN = 1 << 20 };

static unsigned completed;

static void done(struct dpu_block_request *request)
{
	assert_int_equal(request->status, DPU_BLOCK_OK);
	completed++;
}

static uint32_t random_next(void)
{
	static uint64_t state = 88172645463325252;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

struct transfer {
	struct dpu_block_request request;
	struct iovec iov[SEGMENTS];
	uint8_t data[REQUEST_BYTES + SEGMENTS * 64];
};

/* Segments of any length, from any place, that make up `bytes`. */
static void transfer_begin(struct transfer *transfer, enum dpu_block_op op, uint64_t offset, uint32_t bytes)
{
	uint8_t *at = transfer->data;
	uint32_t left = bytes;
	unsigned count = 0;

	for (; left > 0; count++) {
		uint32_t here = count + 1 < SEGMENTS ? 1 + random_next() % left : left;
		at += random_next() % 64;
		transfer->iov[count] = (struct iovec){ at, here };
		at += here;
		left -= here;
	}
	transfer->request = (struct dpu_block_request){
		.op = (uint8_t)op,
		.segments = (uint16_t)count,
		.offset = offset,
		.length = bytes,
		.iov = transfer->iov,
		.done = done,
	};
}

/* Between the segments and bytes that follow each other. */
static void transfer_move(struct transfer *transfer, uint8_t *bytes, bool out)
{
	for (unsigned i = 0; i < transfer->request.segments; i++) {
		const struct iovec *iov = &transfer->iov[i];
		if (out)
			memcpy(iov->iov_base, bytes, iov->iov_len);
		else
			assert_memory_equal(iov->iov_base, bytes, iov->iov_len);
		bytes += iov->iov_len;
	}
}

static void write_and_read(uint64_t bytes)
{
	static struct transfer transfers[REQUESTS];
	static uint8_t model[SPAN];
	uint64_t base = bytes - SPAN;
	struct dpu_block_device *device;

	assert_int_equal(block_ram_new("m", bytes, DPU_BLOCK_SECTOR, &device), 0);
	memset(model, 0, sizeof(model));
	for (unsigned round = 0; round < 4; round++) {
		completed = 0;
		for (unsigned i = 0; i < REQUESTS; i++) {
			struct transfer *transfer = &transfers[i];
			uint32_t length = (1 + random_next() % (REQUEST_BYTES / DPU_BLOCK_SECTOR)) * DPU_BLOCK_SECTOR;
			uint64_t at = random_next() % ((SPAN - length) / DPU_BLOCK_SECTOR + 1) * DPU_BLOCK_SECTOR;
			transfer_begin(transfer, round % 2 ? DPU_BLOCK_READ : DPU_BLOCK_WRITE, base + at, length);
			for (uint32_t j = 0; round % 2 == 0 && j < length; j++)
				model[at + j] = (uint8_t)random_next();
			if (round % 2 == 0)
				transfer_move(transfer, model + at, true);
			device->ops->submit(device, &transfer->request);
		}
		while (device->ops->poll(device) > 0)
			;
		assert_int_equal(completed, REQUESTS);
		for (unsigned i = 0; round % 2 && i < REQUESTS; i++)
			transfer_move(&transfers[i], model + (transfers[i].request.offset - base), false);
		assert_memory_equal((uint8_t *)block_ram_data(device) + base, model, SPAN);
	}
	device->ops->close(device, NULL, NULL);
}

static void small(void **state)
{
	(void)state;
	write_and_read(SMALL_BYTES);
}

static void large(void **state)
{
	(void)state;
	write_and_read(LARGE_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(small), cmocka_unit_test(large) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
