// SPDX-License-Identifier: BSD-3-Clause
/* Too little memory: who waits, who goes first, and that all are served in the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "device/nvme/nvme_test_host.h"

enum { BIG = 1 << 20 };

static uint8_t big_out[BIG], big_in[4096];

/* Two buffers for thirty commands: all are served in the end, and the admin queue meanwhile. */
static void test_shortage(void **state)
{
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .pool_bytes = 256 << 10 });
	struct host *admin, *io;
	unsigned answered = 0;
	const struct nvme_tcp_header *pdu;

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned i = 0; i < 30; i++) {
		struct nvme_sqe read = { .opcode = NVME_READ,
					 .nsid = 1,
					 .cdw10 = i,
					 .cdw12 = 127,
					 .sgl = { .length = 64 << 10, .type = NVME_SGL_TRANSPORT_DATA } };

		host_capsule(io, &read, NULL, 0);
	}
	struct exchange identify = { .sqe = { .opcode = NVME_ADMIN_IDENTIFY, .cdw10 = NVME_CNS_CONTROLLER },
				     .in = big_in,
				     .in_bytes = 4096 };
	io->hold_sends = true; /* buffers stay lent */
	assert_true(rig->account.waits > 20);
	assert_int_equal(nvme_pool_used(rig->pool), 128 << 10);
	/* In the capsule, too: the connection waits, no command fails. */
	struct nvme_sqe write = { .opcode = NVME_WRITE,
				  .nsid = 1,
				  .sgl = { .length = 512, .type = NVME_SGL_IN_CAPSULE } };
	struct nvme_tcp_capsule_cmd capsule = {
		.header = { .type = NVME_TCP_CAPSULE_CMD, .hlen = 72, .pdo = 72, .plen = 72 + 512 }, .sqe = write
	};
	capsule.sqe.cid = io->next_cid++;
	capsule.sqe.flags = NVME_PSDT_SGL;
	assert_int_equal(nvme_queue_input(io->queue, (const uint8_t *)&capsule, sizeof(capsule)), sizeof(capsule));
	assert_int_equal(nvme_queue_input(io->queue, big_out, 512), 0);
	assert_int_equal(host_command(admin, &identify), NVME_OK);
	for (unsigned round = 0; round < 40; round++) {
		rig_poll(rig);
		host_release_sends(io);
		assert_true(nvme_pool_used(rig->pool) <= (128 << 10) + 4096);
	}
	assert_true(io->resumed);
	assert_int_equal(nvme_queue_input(io->queue, big_out, 512), 512);
	rig_poll(rig);
	host_release_sends(io);
	while ((pdu = host_receive(io)) != NULL)
		answered += pdu->type == NVME_TCP_CAPSULE_RESP;
	assert_int_equal(answered, 31);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* Writes that were asked for their data, and behind them, on the same connection, one with its data in the capsule:
 * that one must be read before the data of the others can be. */
static void test_asked_and_in_capsule(void **state)
{
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .pool_bytes = 512 << 10 });
	struct host *admin, *io;
	struct exchange write = { .sqe = { .opcode = NVME_WRITE, .nsid = 1, .cdw10 = 4096, .cdw12 = 7 },
				  .out = big_out,
				  .out_bytes = 4096,
				  .in_capsule = true };
	uint16_t cids[6], tags[6];
	unsigned asked = 0, answered = 0;
	const struct nvme_tcp_header *pdu;

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned i = 0; i < 6; i++) {
		struct nvme_sqe sqe = { .opcode = NVME_WRITE,
					.nsid = 1,
					.cdw10 = i * 128,
					.cdw12 = 127,
					.sgl = { .length = 64 << 10, .type = NVME_SGL_TRANSPORT_DATA } };

		host_capsule(io, &sqe, NULL, 0);
	}
	while ((pdu = host_receive(io)) != NULL) {
		cids[asked] = ((const struct nvme_tcp_r2t *)pdu)->cccid;
		tags[asked++] = ((const struct nvme_tcp_r2t *)pdu)->ttag;
	}
	assert_int_equal(asked, 3); /* of four that the account could hold */
	assert_int_equal(host_command(io, &write), NVME_OK);
	for (unsigned i = 0; i < asked; i++) {
		host_h2c_data(io, cids[i], tags[i], big_out, 0, 64 << 10, true);
		rig_poll(rig);
		while ((pdu = host_receive(io)) != NULL) {
			if (pdu->type == NVME_TCP_R2T) {
				cids[asked] = ((const struct nvme_tcp_r2t *)pdu)->cccid;
				tags[asked++] = ((const struct nvme_tcp_r2t *)pdu)->ttag;
			} else {
				answered++;
			}
		}
	}
	assert_int_equal(answered, 6);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

static void copy_send(struct host *io, unsigned i)
{
	struct nvme_copy_range range = { .lba = 0, .blocks = 7 };
	struct nvme_sqe copy = { .opcode = NVME_COPY,
				 .nsid = 1,
				 .cdw10 = 4096 + 8 * i,
				 .sgl = { .length = sizeof(range), .type = NVME_SGL_IN_CAPSULE } };

	host_capsule(io, &copy, &range, sizeof(range));
}

/* Copies hold their list of ranges and then need a buffer: the lists of many must not keep it from all of them. Reads
 * that go one by one make room for lists only. */
static void test_copies_in_shortage(void **state)
{
	enum { READS = 4, COPIES = 32, MORE = 8 };
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .pool_bytes = 512 << 10 });
	struct host *admin, *io, *second = host_new(rig);
	struct host_connect connect = { .qid = 2, .sqsize = 63, .cntlid = 1 };
	unsigned answered = 0;

	host_pair(rig, &admin, &io, 0, 0);
	assert_int_equal(host_connect(second, &connect), NVME_OK);
	io->hold_sends = true;
	for (unsigned i = 0; i < READS; i++) {
		struct nvme_sqe read = { .opcode = NVME_READ,
					 .nsid = 1,
					 .cdw12 = 63,
					 .sgl = { .length = 32 << 10, .type = NVME_SGL_TRANSPORT_DATA } };

		host_capsule(io, &read, NULL, 0);
	}
	rig_poll(rig);
	for (unsigned i = 0; i < COPIES; i++)
		copy_send(second, i);
	for (unsigned i = 0; i < READS; i++) {
		struct nvme_send *send = io->held;

		if (send) { /* else the copies had to wait for it, and did */
			io->held = *(struct nvme_send **)send->transport;
			send->done(send, 0);
		}
		for (unsigned j = 0; i < READS - 1 && j < MORE; j++)
			copy_send(io, COPIES + i * MORE + j);
	}
	io->held_tail = &io->held;
	io->hold_sends = false;
	rig_poll(rig);
	while (host_receive(second) || host_receive(io))
		answered++;
	assert_int_equal(answered, COPIES + MORE * (READS - 1) + 2 * READS);
	host_free(second);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* What the first writes give back goes to none that waited beside them. */
static void test_break_in_shortage(void **state)
{
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .pool_bytes = 256 << 10 });
	struct host *admin, *io;
	unsigned asked = 0;

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned i = 0; i < 8; i++) {
		struct nvme_sqe write = { .opcode = NVME_WRITE,
					  .nsid = 1,
					  .cdw12 = 127,
					  .sgl = { .length = 64 << 10, .type = NVME_SGL_TRANSPORT_DATA } };

		host_capsule(io, &write, NULL, 0);
	}
	while (host_receive(io))
		asked++;
	assert_int_equal(asked, 1); /* a quarter is for those who need nothing from the host */
	assert_int_equal(rig->account.waits, 7);
	host_break(io);
	assert_int_equal(nvme_pool_used(rig->pool), 0);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shortage),
		cmocka_unit_test(test_break_in_shortage),
		cmocka_unit_test(test_asked_and_in_capsule),
		cmocka_unit_test(test_copies_in_shortage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
