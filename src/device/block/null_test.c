// SPDX-License-Identifier: BSD-3-Clause
/* The device that keeps nothing: it reads as zeroes, before and after a write, and so does it compare. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "device/block/null.h"

#define BYTES (UINT64_C(1) << 50) /* it takes no memory */

static unsigned completed;

static void done(struct dpu_block_request *request)
{
	completed++;
}

/* Two segments, the second at an odd address. */
static enum dpu_block_status carry_out(struct dpu_block_device *null, enum dpu_block_op op, uint8_t *data)
{
	struct iovec iov[] = { { data, 512 }, { data + 513, 3584 } };
	struct dpu_block_request request = {
		.op = (uint8_t)op, .segments = 2, .offset = BYTES - 4096, .length = 4096, .iov = iov, .done = done
	};
	unsigned before = completed;

	assert_int_equal(dpu_block_check(null, &request), DPU_BLOCK_OK);
	null->ops->submit(null, &request);
	assert_int_equal(completed, before);
	assert_int_equal(null->ops->poll(null), 1);
	assert_int_equal(completed, before + 1);
	return request.status;
}

static void keeps_nothing(void **state)
{
	uint8_t data[4097], zeroes[4097] = { [512] = 0xa5 };
	struct dpu_block_device *null;

	assert_int_equal(block_null_new("n", BYTES, &null), 0);
	memset(data, 0xa5, sizeof(data));
	assert_int_equal(carry_out(null, DPU_BLOCK_COMPARE, data), DPU_BLOCK_MISCOMPARE);
	assert_int_equal(carry_out(null, DPU_BLOCK_WRITE, data), DPU_BLOCK_OK);
	assert_int_equal(data[0], 0xa5);
	assert_int_equal(carry_out(null, DPU_BLOCK_READ, data), DPU_BLOCK_OK);
	assert_memory_equal(data, zeroes, sizeof(data));
	assert_int_equal(carry_out(null, DPU_BLOCK_COMPARE, data), DPU_BLOCK_OK);
	data[4096] = 1;
	assert_int_equal(carry_out(null, DPU_BLOCK_COMPARE, data), DPU_BLOCK_MISCOMPARE);
	assert_int_equal(carry_out(null, DPU_BLOCK_DISCARD, data), DPU_BLOCK_OK);
	assert_int_equal(carry_out(null, DPU_BLOCK_FLUSH, data), DPU_BLOCK_OK);
	null->ops->close(null, NULL, NULL);
}

static void wrong_sizes(void **state)
{
	struct dpu_block_device *null;

	assert_int_equal(block_null_new("n", 0, &null), -EINVAL);
	assert_int_equal(block_null_new("n", 4095, &null), -EINVAL);
}

/* What it has when it is closed is completed before. */
static void closed_with_work(void **state)
{
	struct dpu_block_request request = { .op = DPU_BLOCK_FLUSH, .done = done };
	struct dpu_block_device *null;

	assert_int_equal(block_null_new("n", 4096, &null), 0);
	completed = 0;
	null->ops->submit(null, &request);
	null->ops->close(null, NULL, NULL);
	assert_int_equal(completed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_nothing),
		cmocka_unit_test(wrong_sizes),
		cmocka_unit_test(closed_with_work),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
