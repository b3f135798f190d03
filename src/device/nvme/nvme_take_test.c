// SPDX-License-Identifier: BSD-3-Clause
/* Long data of writes that the transport puts straight into the command's buffer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "device/nvme/nvme_target_priv.h"
#include "device/nvme/nvme_test_host.h"

enum { BYTES = 512 << 10, SECTOR = 512 };

static uint8_t out[BYTES], in[BYTES];

struct setting {
	struct rig *rig;
	struct host *admin, *io;
};

static void setting_make(struct setting *setting, uint8_t digests)
{
	setting->rig = rig_new(&(struct rig_options){ .sector = SECTOR, .crcs = true });
	host_pair(setting->rig, &setting->admin, &setting->io, digests, 0);
	setting->io->h2c_bytes = NVME_TARGET_MAXH2CDATA;
	for (size_t i = 0; i < BYTES; i++)
		out[i] = (uint8_t)(i * 13 + i / 241 + 5);
}

static void setting_free(struct setting *setting)
{
	host_free(setting->io);
	host_free(setting->admin);
	assert_int_equal(nvme_pool_used(setting->rig->pool), 0);
	rig_free(setting->rig);
}

static uint16_t transfer(struct host *io, uint8_t opcode, uint32_t lba, uint32_t bytes)
{
	struct exchange exchange = {
		.sqe = { .opcode = opcode, .nsid = 1, .cdw10 = lba, .cdw12 = bytes / SECTOR - 1 },
		.out = opcode == NVME_WRITE ? out : NULL,
		.out_bytes = opcode == NVME_WRITE ? bytes : 0,
		.in = opcode == NVME_READ ? in : NULL,
		.in_bytes = opcode == NVME_READ ? bytes : 0,
	};

	return host_command(io, &exchange);
}

/* Every length around the limit, aligned to blocks or not, in pieces that end anywhere. */
static void test_content(void **state)
{
	static const uint32_t lengths[] = { 4096, 16384, 16896, 20480, 65536, 66048, 131072, BYTES };
	static const size_t pieces[] = { 24, 28, 29, 1000, 4096, 100000 };

	for (uint8_t digests = 0; digests < 4; digests++) {
		struct setting setting;

		setting_make(&setting, digests);
		for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]) * 6; i++) {
			uint32_t length = lengths[i / 6], lba = i % 3;

			setting.io->piece = pieces[i % 6];
			setting.io->taken = 0;
			out[0] = (uint8_t)i;
			out[length - 1] = (uint8_t)(i + 1);
			assert_int_equal(transfer(setting.io, NVME_WRITE, lba, length), NVME_OK);
			if (setting.io->piece == 24 && length > NVME_TARGET_TAKE_BYTES)
				assert_true(setting.io->taken > length - NVME_TARGET_TAKE_BYTES);
			if (length < NVME_TARGET_TAKE_BYTES)
				assert_int_equal(setting.io->taken, 0);
			setting.io->piece = 0;
			assert_int_equal(transfer(setting.io, NVME_READ, lba, length), NVME_OK);
			assert_memory_equal(in, out, length);
		}
		setting_free(&setting);
	}
}

/* The host's digest does not match: that command fails, the connection goes on. */
static void test_bad_digest(void **state)
{
	struct nvme_sqe write = { .opcode = NVME_WRITE, .nsid = 1, .cdw12 = 65536 / SECTOR - 1 };
	struct setting setting;
	uint32_t wrong = 0x12345678;

	setting_make(&setting, NVME_TCP_DGST_DATA);
	write.sgl.length = 65536;
	write.sgl.type = NVME_SGL_TRANSPORT_DATA;
	host_capsule(setting.io, &write, NULL, 0);
	const struct nvme_tcp_r2t *r2t = (const struct nvme_tcp_r2t *)host_receive(setting.io);
	assert_true(r2t && r2t->header.type == NVME_TCP_R2T);
	struct nvme_tcp_data pdu = {
		.header = { .type = NVME_TCP_H2C_DATA,
			    .flags = NVME_TCP_LAST_PDU | NVME_TCP_DDGSTF,
			    .hlen = sizeof(pdu),
			    .pdo = sizeof(pdu),
			    .plen = sizeof(pdu) + 65536 + 4 },
		.cccid = write.cid,
		.ttag = r2t->ttag,
		.datal = 65536,
	};
	host_send(setting.io, &pdu, sizeof(pdu), 0);
	assert_int_equal(setting.io->take_left, 65536);
	host_send(setting.io, out, 65536, 3000);
	assert_int_equal(setting.io->take_left, 0);
	host_send(setting.io, &wrong, sizeof(wrong), 0);
	rig_poll(setting.rig);
	const struct nvme_tcp_capsule_resp *answer = (const struct nvme_tcp_capsule_resp *)host_receive(setting.io);
	assert_true(answer && answer->header.type == NVME_TCP_CAPSULE_RESP);
	assert_int_equal(answer->cqe.status >> 1, NVME_TRANSIENT_TRANSPORT);
	assert_int_equal(transfer(setting.io, NVME_WRITE, 0, 65536), NVME_OK);
	setting_free(&setting);
}

/* Its queue is told to end in the middle: the buffer stays the transport's until that gives it back. */
static void test_end(void **state)
{
	for (unsigned all = 0; all < 2; all++) {
		struct nvme_sqe write = { .opcode = NVME_WRITE, .nsid = 1, .cdw12 = 65536 / SECTOR - 1 };
		struct setting setting;

		setting_make(&setting, 0);
		write.sgl.length = 65536;
		write.sgl.type = NVME_SGL_TRANSPORT_DATA;
		host_capsule(setting.io, &write, NULL, 0);
		const struct nvme_tcp_r2t *r2t = (const struct nvme_tcp_r2t *)host_receive(setting.io);
		uint16_t ttag = r2t->ttag;
		setting.io->piece = 1;
		struct nvme_tcp_data pdu = {
			.header = { .type = NVME_TCP_H2C_DATA,
				    .flags = NVME_TCP_LAST_PDU,
				    .hlen = sizeof(pdu),
				    .pdo = sizeof(pdu),
				    .plen = sizeof(pdu) + 65536 },
			.cccid = write.cid,
			.ttag = ttag,
			.datal = 65536,
		};
		host_send(setting.io, &pdu, sizeof(pdu), 0);
		host_send(setting.io, out, 30000, 0);
		assert_int_equal(setting.io->take_left, 65536 - 30000);
		nvme_queue_end(setting.io->queue);
		assert_true(setting.io->closed);
		assert_int_equal(nvme_pool_used(setting.rig->pool), 65536);
		if (all) /* they were on their way */
			host_send(setting.io, out + 30000, 65536 - 30000, 0);
		assert_int_equal(nvme_pool_used(setting.rig->pool), all ? 0 : 65536);
		setting_free(&setting);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content),
		cmocka_unit_test(test_bad_digest),
		cmocka_unit_test(test_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
