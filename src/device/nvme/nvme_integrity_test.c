// SPDX-License-Identifier: BSD-3-Clause
/* CRCs from end to end: the digest of a PDU is that of the block at rest, and what contradicts one is told the host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "device/nvme/nvme_target_priv.h"
#include "device/nvme/nvme_test_device.h"
#include "device/nvme/nvme_test_host.h"
#include "engine/crc32c/crc32c.h"

enum { BLOCK = DPU_BLOCK_BYTES, SECTORS = BLOCK / 512, MOST = 16 * BLOCK };

static uint8_t out[MOST], in[MOST];

/* What each test starts from: a subsystem on devices with CRCs, and the first of these. */
struct setting {
	struct rig *rig;
	struct test_device *device;
	struct host *admin, *io;
};

static void setting_make(struct setting *setting, uint8_t digests)
{
	setting->rig = rig_new(&(struct rig_options){ .sector = 512, .crcs = true });
	setting->device = (struct test_device *)setting->rig->ram[0];
	host_pair(setting->rig, &setting->admin, &setting->io, digests, 0);
	for (size_t i = 0; i < MOST; i++)
		out[i] = (uint8_t)(i * 7 + i / 251 + 1);
}

static void setting_free(struct setting *setting)
{
	host_free(setting->io);
	host_free(setting->admin);
	rig_free(setting->rig);
}

static uint16_t transfer(struct host *io, uint8_t opcode, uint32_t lba, uint32_t bytes, bool in_capsule)
{
	struct exchange exchange = {
		.sqe = { .opcode = opcode, .nsid = 1, .cdw10 = lba, .cdw12 = bytes / 512 - 1 },
		.in_capsule = in_capsule,
	};

	if (opcode == NVME_READ) {
		exchange.in = in;
		exchange.in_bytes = bytes;
	} else if (opcode != NVME_WRITE_ZEROES) {
		exchange.out = out;
		exchange.out_bytes = bytes;
	}
	return host_command(io, &exchange);
}

/* ---- reads ---- */

/* Reads, takes what has come whether its digest is right or not, and returns this. */
static uint32_t read_digest(struct setting *setting, uint32_t lba, uint32_t bytes)
{
	struct nvme_sqe read = { .opcode = NVME_READ,
				 .nsid = 1,
				 .cdw10 = lba,
				 .cdw12 = bytes / 512 - 1,
				 .sgl = { .length = bytes, .type = NVME_SGL_TRANSPORT_DATA } };
	const struct nvme_tcp_header *pdu = (const struct nvme_tcp_header *)setting->io->output;
	uint32_t count = 0, digest;

	host_capsule(setting->io, &read, NULL, 0);
	assert_int_equal(setting->io->output_bytes, 0);
	rig_poll(setting->rig);
	assert_true(setting->io->output_bytes > bytes);
	const uint8_t *data = host_data(pdu, &count);
	assert_non_null(data);
	assert_int_equal(count, bytes);
	memcpy(in, data, bytes);
	memcpy(&digest, data + bytes, sizeof(digest));
	setting->io->output_bytes = 0; /* the response, too */
	return digest;
}

/* The digest is made of the CRCs that were kept, not of the data: a change behind them shows. */
static void test_read_digest(void **state)
{
	static const uint32_t blocks[] = { 1, 2, 3, 16 };
	struct setting setting;

	setting_make(&setting, NVME_TCP_DGST_DATA);
	setting.device->careless = true;
	for (unsigned i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
		uint32_t bytes = blocks[i] * BLOCK, lba = (i + 1) * 16 * SECTORS;

		assert_int_equal(transfer(setting.io, NVME_WRITE, lba, bytes, bytes <= 2 * BLOCK), NVME_OK);
		assert_int_equal(read_digest(&setting, lba, bytes), crc32c(0, out, bytes));
		assert_memory_equal(in, out, bytes);
		for (uint32_t block = 0; block < blocks[i]; block++) {
			uint64_t at = (uint64_t)lba * 512 + block * BLOCK + 99;

			test_device_damage(setting.device, at);
			assert_int_equal(read_digest(&setting, lba, bytes), crc32c(0, out, bytes));
			assert_memory_not_equal(in, out, bytes);
			assert_int_not_equal(crc32c(0, in, bytes), crc32c(0, out, bytes));
			test_device_damage(setting.device, at);
		}
	}
	/* Parts of blocks have no CRC that is kept: the digest is made here. */
	uint32_t digest = read_digest(&setting, 16 * SECTORS + 1, BLOCK);
	assert_int_equal(digest, crc32c(0, in, BLOCK));
	assert_int_equal(setting.device->flags & DPU_BLOCK_CRC, 0);
	assert_memory_equal(in, out + 512, BLOCK - 512);
	setting_free(&setting);
}

/* What the device finds to be damaged is not sent. */
static void test_read_damaged(void **state)
{
	for (uint8_t digests = 0; digests <= NVME_TCP_DGST_DATA; digests += NVME_TCP_DGST_DATA) {
		struct setting setting;

		setting_make(&setting, digests);
		assert_int_equal(transfer(setting.io, NVME_WRITE, 0, 3 * BLOCK, false), NVME_OK);
		test_device_damage(setting.device, BLOCK + 7);
		memset(in, 0x33, MOST);
		assert_int_equal(transfer(setting.io, NVME_READ, 0, 3 * BLOCK, false),
				 NVME_UNRECOVERED_READ | NVME_DNR);
		assert_int_equal(in[0], 0x33);
		assert_int_equal(transfer(setting.io, NVME_READ, 0, BLOCK, false), NVME_OK);
		assert_int_equal(transfer(setting.io, NVME_READ, 2 * SECTORS, BLOCK, false), NVME_OK);
		assert_memory_equal(in, out + 2 * BLOCK, BLOCK);
		assert_int_equal(transfer(setting.io, NVME_WRITE, SECTORS, BLOCK, true), NVME_OK);
		assert_int_equal(transfer(setting.io, NVME_READ, 0, 3 * BLOCK, false), NVME_OK);
		setting_free(&setting);
	}
}

/* ---- writes ---- */

/* Each whole block goes to the device with its CRC: the digest that it came with, or one made here. */
static void test_write_crc(void **state)
{
	for (unsigned variant = 0; variant < 4; variant++) {
		bool in_capsule = variant & 1;
		struct setting setting;

		setting_make(&setting, variant & 2 ? NVME_TCP_DGST_DATA : 0);
		assert_int_equal(transfer(setting.io, NVME_WRITE, SECTORS, BLOCK, in_capsule), NVME_OK);
		assert_true(setting.device->flags & DPU_BLOCK_CRC);
		assert_int_equal(setting.device->first_crc, crc32c(0, out, BLOCK));
		assert_int_equal(setting.device->crc[1], crc32c(0, out, BLOCK));
		assert_int_equal(transfer(setting.io, NVME_WRITE, SECTORS + 1, BLOCK, in_capsule), NVME_OK);
		assert_false(setting.device->flags & DPU_BLOCK_CRC);
		assert_int_equal(transfer(setting.io, NVME_READ, SECTORS, 2 * BLOCK, false), NVME_OK);
		assert_memory_equal(in + 512, out, BLOCK);
		setting_free(&setting);
	}
}

static void ignore(void *arg)
{
}

/* A write whose data changes in our memory after its digest was verified: its CRC is the digest's, so the device finds
 * out, nothing is written, and the host, which still has the data, is to send it again. */
static void test_write_spoilt(void **state)
{
	for (unsigned asked = 0; asked < 2; asked++) {
		struct nvme_sqe write = { .opcode = NVME_WRITE, .nsid = 1, .cdw12 = SECTORS - 1 };
		struct setting setting;
		const struct nvme_tcp_header *pdu;

		setting_make(&setting, NVME_TCP_DGST_DATA);
		nvme_namespace_release(setting.rig->ns[0], ignore, NULL); /* the write waits */
		write.sgl.length = BLOCK;
		write.sgl.type = asked ? NVME_SGL_TRANSPORT_DATA : NVME_SGL_IN_CAPSULE;
		host_capsule(setting.io, &write, asked ? NULL : out, asked ? 0 : BLOCK);
		if (asked) {
			pdu = host_receive(setting.io);
			assert_true(pdu && pdu->type == NVME_TCP_R2T);
			host_h2c_data(setting.io, write.cid, ((const struct nvme_tcp_r2t *)pdu)->ttag, out, 0, BLOCK,
				      true);
		}
		struct nvme_command *command = TAILQ_FIRST(&setting.rig->ns[0]->waiting);
		assert_true(command && command->sqe.cid == write.cid);
		command->buffer->data[1234] ^= 1;
		nvme_namespace_attach(setting.rig->ns[0], &setting.device->device, NULL);
		rig_poll(setting.rig);
		assert_int_equal(setting.device->first_crc, crc32c(0, out, BLOCK));
		pdu = host_receive(setting.io);
		assert_true(pdu && pdu->type == NVME_TCP_CAPSULE_RESP);
		assert_int_equal(((const struct nvme_tcp_capsule_resp *)pdu)->cqe.status >> 1,
				 NVME_TRANSIENT_TRANSPORT);
		assert_int_equal(transfer(setting.io, NVME_READ, 0, BLOCK, false), NVME_OK);
		memset(out, 0, BLOCK);
		assert_memory_equal(in, out, BLOCK);
		setting_free(&setting);
	}
}

/* ---- what devices answer ---- */

static void test_statuses(void **state)
{
	static const struct {
		enum dpu_block_status answer;
		uint8_t opcode;
		uint16_t status;
	} cases[] = {
		{ DPU_BLOCK_NO_SPACE, NVME_WRITE, NVME_CAPACITY_EXCEEDED | NVME_DNR },
		{ DPU_BLOCK_NO_SPACE, NVME_WRITE_ZEROES, NVME_CAPACITY_EXCEEDED | NVME_DNR },
		{ DPU_BLOCK_INTEGRITY, NVME_READ, NVME_UNRECOVERED_READ | NVME_DNR },
		{ DPU_BLOCK_INTEGRITY, NVME_COMPARE, NVME_UNRECOVERED_READ | NVME_DNR },
		{ DPU_BLOCK_INTEGRITY, NVME_WRITE, NVME_TRANSIENT_TRANSPORT },
		{ DPU_BLOCK_IO_ERROR, NVME_READ, NVME_UNRECOVERED_READ },
		{ DPU_BLOCK_IO_ERROR, NVME_WRITE, NVME_WRITE_FAULT },
		{ DPU_BLOCK_READ_ONLY, NVME_WRITE, NVME_WRITE_PROTECTED | NVME_DNR },
		{ DPU_BLOCK_CONFLICT, NVME_WRITE, NVME_RESERVATION_CONFLICT | NVME_DNR },
		{ DPU_BLOCK_GONE, NVME_READ, NVME_NAMESPACE_NOT_READY },
	};
	struct setting setting;

	setting_make(&setting, 0);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		setting.device->answer = cases[i].answer;
		assert_int_equal(transfer(setting.io, cases[i].opcode, 0, BLOCK, false), cases[i].status);
		setting.device->answer = DPU_BLOCK_OK;
		assert_int_equal(
			transfer(setting.io, cases[i].opcode == NVME_READ ? NVME_READ : NVME_WRITE, 0, BLOCK, false),
			NVME_OK);
	}
	setting_free(&setting);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_digest), cmocka_unit_test(test_read_damaged),
		cmocka_unit_test(test_write_crc),   cmocka_unit_test(test_write_spoilt),
		cmocka_unit_test(test_statuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
