// SPDX-License-Identifier: BSD-3-Clause
/* Commands of several steps: Write Zeroes, Dataset Management, Copy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "device/nvme/nvme_test_host.h"

enum { BIG = 1 << 20 };

static uint8_t big_out[BIG], big_in[BIG];

static void fill(uint8_t *to, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		to[i] = (uint8_t)(seed + i * 7 + i / 251);
}

static uint16_t write_zeroes(struct host *io, uint64_t lba, uint32_t blocks, uint32_t flags)
{
	struct exchange exchange = {
		.sqe = { .opcode = NVME_WRITE_ZEROES, .nsid = 1, .cdw10 = (uint32_t)lba, .cdw12 = (blocks - 1) | flags }
	};

	return host_command(io, &exchange);
}

static void test_zeroes(void **state)
{
	for (unsigned plain = 0; plain < 2; plain++) {
		struct rig *rig = rig_new(NULL);
		struct host *admin, *io;

		if (plain) /* a device that cannot: zeroes are written */
			rig->ram[0]->features &= ~(uint32_t)DPU_BLOCK_F_DISCARD;
		host_pair(rig, &admin, &io, 0, 0);
		memset(big_out, 0xaa, BIG);
		assert_int_equal(host_transfer(io, NVME_WRITE, 0, 2048, big_out, BIG, false), NVME_OK);
		assert_int_equal(write_zeroes(io, 3, 1000, plain ? NVME_IO_FUA : NVME_IO_DEAC), NVME_OK);
		assert_int_equal(host_transfer(io, NVME_READ, 0, 2048, big_in, BIG, false), NVME_OK);
		memset(big_out + 3 * 512, 0, 1000 * 512);
		assert_memory_equal(big_in, big_out, BIG);
		assert_int_equal(write_zeroes(io, 32767, 2, 0), NVME_LBA_RANGE | NVME_DNR);
		host_free(io);
		host_free(admin);
		rig_free(rig);
	}
}

static void test_deallocate(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	struct nvme_dsm_range ranges[3] = { { .blocks = 8, .lba = 8 },
					    { .blocks = 0, .lba = 5 },
					    { .blocks = 8, .lba = 32 } };
	struct exchange dsm = {
		.sqe = { .opcode = NVME_DATASET_MANAGEMENT, .nsid = 1, .cdw10 = 2, .cdw11 = NVME_DSM_DEALLOCATE },
		.out = ranges,
		.out_bytes = sizeof(ranges),
		.in_capsule = true
	};

	host_pair(rig, &admin, &io, 3, 0);
	memset(big_out, 0xaa, 64 << 10);
	assert_int_equal(host_transfer(io, NVME_WRITE, 0, 128, big_out, 64 << 10, false), NVME_OK);
	assert_int_equal(host_command(io, &dsm), NVME_OK);
	memset(big_out + 8 * 512, 0, 8 * 512);
	memset(big_out + 32 * 512, 0, 8 * 512);
	assert_int_equal(host_transfer(io, NVME_READ, 0, 128, big_in, 64 << 10, false), NVME_OK);
	assert_memory_equal(big_in, big_out, 64 << 10);
	dsm.in_capsule = false;
	dsm.sqe.sgl.address = 0;
	assert_int_equal(host_command(io, &dsm), NVME_OK);
	ranges[2].lba = UINT64_MAX;
	assert_int_equal(host_command(io, &dsm), NVME_LBA_RANGE | NVME_DNR);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

static void test_copy(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	struct nvme_copy_range ranges[2] = { { .lba = 100, .blocks = 499 }, { .lba = 3, .blocks = 0 } };
	struct exchange copy = { .sqe = { .opcode = NVME_COPY, .nsid = 1, .cdw10 = 4096, .cdw12 = 1 },
				 .out = ranges,
				 .out_bytes = sizeof(ranges),
				 .in_capsule = true };

	host_pair(rig, &admin, &io, 0, 0);
	fill(big_out, BIG, 3);
	assert_int_equal(host_transfer(io, NVME_WRITE, 0, 2048, big_out, BIG, false), NVME_OK);
	assert_int_equal(host_command(io, &copy), NVME_OK);
	assert_int_equal(host_transfer(io, NVME_READ, 4096, 501, big_in, 501 * 512, false), NVME_OK);
	assert_memory_equal(big_in, big_out + 100 * 512, 500 * 512);
	assert_memory_equal(big_in + 500 * 512, big_out + 3 * 512, 512);
	copy.sqe.cdw12 = 1 | 1 << 8; /* another descriptor format */
	assert_int_equal(host_command(io, &copy), NVME_INVALID_FIELD | NVME_DNR);
	copy.sqe.cdw12 = 200;
	assert_int_equal(host_command(io, &copy), NVME_SIZE_LIMIT | NVME_DNR);
	copy.sqe.cdw12 = 1;
	ranges[1].blocks = UINT16_MAX; /* one more than MSSRL */
	assert_int_equal(host_command(io, &copy), NVME_SIZE_LIMIT | NVME_DNR);
	ranges[1].blocks = 0;
	ranges[1].lba = 32768;
	assert_int_equal(host_command(io, &copy), NVME_LBA_RANGE | NVME_DNR);
	ranges[1].lba = 0;
	copy.sqe.cdw10 = 32768 - 500;
	assert_int_equal(host_command(io, &copy), NVME_LBA_RANGE | NVME_DNR);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zeroes),
		cmocka_unit_test(test_deallocate),
		cmocka_unit_test(test_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
