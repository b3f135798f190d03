// SPDX-License-Identifier: BSD-3-Clause
/* I/O commands, by all ways that data can go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "device/block/ram.h"
#include "device/nvme/nvme_test_device.h"
#include "device/nvme/nvme_test_host.h"
#include "engine/crc32c/crc32c.h"

enum { BIG = 1 << 20 };

static uint8_t big_out[BIG], big_in[BIG];

static void fill(uint8_t *to, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		to[i] = (uint8_t)(seed + i * 7 + i / 251);
}

/* All sizes, in the capsule and by R2T, with and without digests, flow control and CRCs kept by the device. */
static void test_transfers(void **state)
{
	static const uint32_t sizes[] = { 512, 4096, 8192, 12288, 64 << 10, 66048, 200704, BIG };

	for (unsigned variant = 0; variant < 16; variant++) {
		struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .crcs = variant & 8 });
		struct host *admin, *io;

		host_pair(rig, &admin, &io, variant & 3, variant & 4 ? NVME_CATTR_NO_FLOW_CONTROL : 0);
		for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			uint32_t bytes = sizes[i];

			fill(big_out, bytes, variant + i);
			memset(big_in, 0, bytes);
			assert_int_equal(
				host_transfer(io, NVME_WRITE, i * 8, bytes / 512, big_out, bytes, bytes <= 8192),
				NVME_OK);
			assert_int_equal(host_transfer(io, NVME_READ, i * 8, bytes / 512, big_in, bytes, false),
					 NVME_OK);
			assert_memory_equal(big_in, big_out, bytes);
			assert_int_equal(
				host_transfer(io, NVME_COMPARE, i * 8, bytes / 512, big_out, bytes, bytes <= 8192),
				NVME_OK);
			big_out[bytes - 1]++;
			assert_int_equal(host_transfer(io, NVME_COMPARE, i * 8, bytes / 512, big_out, bytes, false),
					 NVME_COMPARE_FAILURE | NVME_DNR);
		}
		host_free(io);
		host_free(admin);
		rig_free(rig);
	}
}

/* SUCCESS instead of a response capsule, exactly when flow control is off. */
static void test_success_flag(void **state)
{
	for (unsigned off = 0; off < 2; off++) {
		struct rig *rig = rig_new(NULL);
		struct host *admin, *io;
		struct exchange read = { .sqe = { .opcode = NVME_READ, .nsid = 1 }, .in = big_in, .in_bytes = 512 };
		struct exchange flush = { .sqe = { .opcode = NVME_FLUSH, .nsid = 1 } };

		host_pair(rig, &admin, &io, 0, off ? NVME_CATTR_NO_FLOW_CONTROL : 0);
		assert_int_equal(host_command(io, &read), NVME_OK);
		assert_int_equal(read.success, off);
		assert_int_equal(host_command(io, &flush), NVME_OK);
		assert_int_equal(flush.cqe.sqhd, off ? 0xffff : 3);
		host_free(io);
		host_free(admin);
		rig_free(rig);
	}
}

static void test_refusals(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	const uint64_t blocks = (16 << 20) / 512;

	host_pair(rig, &admin, &io, 0, 0);
	assert_int_equal(host_transfer(io, NVME_READ, blocks, 1, big_in, 512, false), NVME_LBA_RANGE | NVME_DNR);
	assert_int_equal(host_transfer(io, NVME_READ, blocks - 1, 2, big_in, 1024, false), NVME_LBA_RANGE | NVME_DNR);
	assert_int_equal(host_transfer(io, NVME_READ, UINT64_MAX, 1, big_in, 512, false), NVME_LBA_RANGE | NVME_DNR);
	assert_int_equal(host_transfer(io, NVME_WRITE, UINT64_MAX, 16, big_in, 8192, true), NVME_LBA_RANGE | NVME_DNR);
	assert_int_equal(host_transfer(io, NVME_READ, 0, 2, big_in, 512, false), NVME_SGL_LENGTH_INVALID | NVME_DNR);
	assert_int_equal(host_transfer(io, NVME_WRITE, 0, 2, big_in, 512, true), NVME_SGL_LENGTH_INVALID | NVME_DNR);
	assert_int_equal(host_transfer(io, NVME_READ, 0, 2049, big_in, BIG, false), NVME_INVALID_FIELD | NVME_DNR);
	struct exchange bad = { .sqe = { .opcode = 0x99, .nsid = 1 } };
	assert_int_equal(host_command(io, &bad), NVME_INVALID_OPCODE | NVME_DNR);
	bad.sqe = (struct nvme_sqe){ .opcode = NVME_FLUSH, .nsid = 3 };
	assert_int_equal(host_command(io, &bad), NVME_INVALID_NAMESPACE | NVME_DNR);
	bad.sqe = (struct nvme_sqe){ .opcode = NVME_FLUSH, .nsid = NVME_NSID_ALL };
	assert_int_equal(host_command(io, &bad), NVME_INVALID_NAMESPACE | NVME_DNR);
	bad.sqe = (struct nvme_sqe){ .opcode = NVME_READ, .nsid = 1, .flags = 0x80 };
	bad.in = big_in;
	bad.in_bytes = 512;
	assert_int_equal(host_command(io, &bad), NVME_INVALID_FIELD | NVME_DNR);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* Digests that are wrong are counted; one of data fails the command with a status to try again, and nothing is written;
 * one of a header ends the connection. */
static void test_digest_errors(void **state)
{
	enum { TIMES = 9 };
	struct rig *rig = rig_new(NULL);
	const struct nvme_subsystem_stats *stats = nvme_subsystem_stats(rig->subsystem);
	struct host *admin, *io;
	struct {
		struct nvme_tcp_capsule_cmd capsule;
		uint32_t header_digest;
		uint8_t data[4096];
		uint32_t digest;
	} __attribute__((packed)) pdu = {
		.capsule = { .header = { .type = NVME_TCP_CAPSULE_CMD,
					 .flags = NVME_TCP_HDGSTF | NVME_TCP_DDGSTF,
					 .hlen = 72,
					 .pdo = 76,
					 .plen = sizeof(pdu) },
			     .sqe = { .opcode = NVME_WRITE,
				      .flags = NVME_PSDT_SGL,
				      .nsid = 1,
				      .cdw12 = 7,
				      .sgl = { .length = 4096, .type = NVME_SGL_IN_CAPSULE } } },
	};

	host_pair(rig, &admin, &io, NVME_TCP_DGST_HEADER | NVME_TCP_DGST_DATA, 0);
	memset(pdu.data, 0x5a, sizeof(pdu.data));
	pdu.digest = 0x12345678;
	pdu.header_digest = crc32c(0, &pdu.capsule, sizeof(pdu.capsule));
	for (unsigned i = 1; i <= TIMES; i++) {
		host_send(io, &pdu, sizeof(pdu), 1000);
		const struct nvme_tcp_capsule_resp *answer = (const struct nvme_tcp_capsule_resp *)host_receive(io);
		assert_non_null(answer);
		assert_int_equal(answer->header.type, NVME_TCP_CAPSULE_RESP);
		assert_int_equal(answer->cqe.status >> 1, NVME_TRANSIENT_TRANSPORT);
		assert_int_equal(stats->data_digest_errors, i);
	}
	assert_int_equal(rig->digest_notices, 4); /* 1, 2, 4, 8 */
	assert_false(io->closed);
	assert_int_equal(host_transfer(io, NVME_READ, 0, 8, big_in, 4096, false), NVME_OK);
	assert_int_equal(big_in[0], 0);
	pdu.header_digest++;
	host_send(io, &pdu, sizeof(pdu), 1000);
	assert_int_equal(host_receive(io)->type, NVME_TCP_C2H_TERM_REQ);
	assert_true(io->closed && !admin->closed);
	assert_int_equal(stats->data_digest_errors, TIMES);
	assert_int_equal(stats->header_digest_errors, 1);
	assert_int_equal(stats->protocol_errors, 0);
	pdu.capsule.header.type = NVME_TCP_R2T; /* a PDU of the controller's */
	host_send(admin, &pdu, sizeof(pdu), 0);
	assert_int_equal(stats->header_digest_errors, 1);
	assert_int_equal(stats->protocol_errors, 1);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* ---- devices that go, ANA ---- */

static void note(void *arg)
{
	*(bool *)arg = true;
}

static void test_device_goes(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	bool released = false;

	host_pair(rig, &admin, &io, 0, 0);
	struct nvme_sqe read = { .opcode = NVME_READ,
				 .nsid = 1,
				 .sgl = { .length = 512, .type = NVME_SGL_TRANSPORT_DATA } };
	host_capsule(io, &read, NULL, 0);
	nvme_namespace_release(rig->ns[0], note, &released);
	assert_false(released); /* one request is in the device */
	rig_poll(rig);
	assert_true(released);
	assert_non_null(host_receive(io));
	assert_non_null(host_receive(io));
	nvme_namespace_attach(rig->ns[0], rig->ram[0], NULL);
	assert_int_equal(host_transfer(io, NVME_READ, 0, 1, big_in, 512, false), NVME_OK);
	/* A connection breaks while a request is in the device: it is forgotten when it comes back. */
	host_capsule(io, &read, NULL, 0);
	nvme_queue_closed(io->queue);
	assert_false(io->idle);
	rig_poll(rig);
	assert_true(io->idle);
	nvme_queue_free(io->queue);
	io->freed = true;
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

static void test_ana(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	uint8_t ana[NVME_TARGET_ANA_GROUPS];
	static const struct {
		uint8_t state;
		uint16_t status;
	} cases[] = { { NVME_ANA_STATE_INACCESSIBLE, NVME_ANA_INACCESSIBLE },
		      { NVME_ANA_STATE_PERSISTENT_LOSS, NVME_ANA_PERSISTENT_LOSS },
		      { NVME_ANA_STATE_CHANGE, NVME_ANA_TRANSITION },
		      { NVME_ANA_NON_OPTIMIZED, NVME_OK } };

	memset(ana, NVME_ANA_OPTIMIZED, sizeof(ana));
	assert_int_equal(nvme_subsystem_port(rig->subsystem, 1, ana), 0);
	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned i = 0; i < 4; i++) {
		ana[0] = cases[i].state;
		assert_int_equal(nvme_subsystem_port(rig->subsystem, 1, ana), 0);
		assert_int_equal(host_transfer(io, NVME_READ, 0, 1, big_in, 512, false), cases[i].status);
	}
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* NVM 3.2.1, 3.2.4: what a Read or Compare with FUA looks at is durable; where that means something. */
static void test_read_durable(void **state)
{
	enum { WITH_FUA = 0x4000 << 16 };

	for (unsigned cache = 0; cache < 2; cache++) {
		struct rig *rig = rig_new(&(struct rig_options){
			.sector = 512, .crcs = true, .features = cache ? DPU_BLOCK_F_FLUSH : 0 });
		struct test_device *device = (struct test_device *)rig->ram[0];
		struct host *admin, *io;
		struct exchange read = {
			.sqe = { .opcode = NVME_READ, .nsid = 1, .cdw12 = 7 },
			.in = big_in,
			.in_bytes = 4096,
		};
		struct exchange compare = {
			.sqe = { .opcode = NVME_COMPARE, .nsid = 1, .cdw12 = 7 | WITH_FUA },
			.out = big_out,
			.out_bytes = 4096,
			.in_capsule = true,
		};

		fill(big_out, 4096, cache);
		host_pair(rig, &admin, &io, 0, 0);
		assert_int_equal(host_transfer(io, NVME_WRITE, 0, 8, big_out, 4096, true), NVME_OK);
		device->submitted = 0;
		assert_int_equal(host_command(io, &read), NVME_OK);
		assert_int_equal(device->submitted, 1);
		read.sqe.cdw12 |= WITH_FUA;
		memset(big_in, 0, 4096);
		assert_int_equal(host_command(io, &read), NVME_OK);
		assert_memory_equal(big_in, big_out, 4096);
		assert_int_equal(device->submitted, 2 + cache);
		assert_int_equal(host_command(io, &compare), NVME_OK);
		assert_int_equal(device->submitted, 3 + 2 * cache);
		device->answer = DPU_BLOCK_IO_ERROR;
		assert_int_equal(host_command(io, &read), cache ? NVME_WRITE_FAULT : NVME_UNRECOVERED_READ);
		assert_int_equal(device->submitted, 4 + 2 * cache);
		host_free(io);
		host_free(admin);
		rig_free(rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transfers),    cmocka_unit_test(test_success_flag),
		cmocka_unit_test(test_refusals),     cmocka_unit_test(test_digest_errors),
		cmocka_unit_test(test_device_goes),  cmocka_unit_test(test_ana),
		cmocka_unit_test(test_read_durable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
