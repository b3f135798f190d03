// SPDX-License-Identifier: BSD-3-Clause
/* Controllers that refuse, fail, or break the protocol. */
#include "operating/uring_needed.h"
#include "service/nvmf/initiator/initiator_rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

static void refused(const char *why)
{
	remote_open();
	wait_for(losses > 0);
	if (!strstr(last_why, why))
		fail_msg("\"%s\", not \"%s\"", last_why, why);
	assert_int_equal(ups, 0);
	unstage();
}

static void test_refusals(void **state)
{
	stage(12);
	strcpy(options.hostnqn, "nqn.2026-01.test:stranger");
	refused("this host is not allowed");
	stage(12);
	target.no_ready = true;
	refused("does not become ready");
	stage(12);
	options.header_digest = true;
	target.digests = 0;
	refused("no header digests");
	stage(12);
	target.digests = NVME_TCP_DGST_DATA;
	refused("digests that nobody asked for");
	stage(12);
	target.cpda = 32;
	refused("alignment");
	stage(12);
	target.maxh2cdata = 4094;
	refused("MAXH2CDATA");
	stage(12);
	options.nsid = 9;
	refused("no such namespace");
	stage(12);
	memset(options.uuid, 0x43, 16);
	refused("no such namespace");
	stage(12);
	target.shift = 10;
	refused("2^10");
	stage(12);
	target.ports[0].refuses = target.ports[1].refuses = true;
	refused("connection");
}

static bool on_connect(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	static const uint32_t authreq[] = { 1u << 17, 1u << 18 }; /* Base 6.3: ATR, ASCR */

	if (sqe->opcode != NVME_FABRICS || sqe->fctype != NVME_FABRICS_CONNECT)
		return false;
	fake_respond(connection, sqe->cid, 7 | authreq[fake_port_of(connection)], NVME_OK);
	return true;
}

static void test_authentication(void **state)
{
	for (unsigned port = 0; port < 2; port++) {
		stage(12);
		target.command = on_connect;
		options.path_count = 1;
		options.paths[0] = options.paths[port];
		refused("wants authentication");
	}
}

static void test_digest_errors(void **state)
{
	struct remote_status status;
	struct slot slot = { 0 };

	stage(12);
	options.header_digest = options.data_digest = true;
	options.path_count = 1;
	remote_open();
	wait_for(live_paths() == 1);
	memset(target.memory, 7, BYTES);
	/* Wrong data is read again, but not for ever. */
	target.bad_data_digests = 3;
	assert_int_equal(run(&slot, DPU_BLOCK_READ, 0, 65536, 0), DPU_BLOCK_OK);
	assert_int_equal(slot.memory[65535], 7);
	remote_status(remote, &status);
	assert_int_equal(status.paths[0].digest_errors, 3);
	assert_int_equal(losses, 0);
	target.bad_data_digests = 100;
	assert_int_equal(run(&slot, DPU_BLOCK_READ, 0, 65536, 0), DPU_BLOCK_IO_ERROR);
	target.bad_data_digests = 0;
	/* A wrong header ends the connection; the request lives on. */
	target.bad_header_digests = 1;
	assert_int_equal(run(&slot, DPU_BLOCK_READ, 0, 4096, 0), DPU_BLOCK_OK);
	assert_int_equal(losses, 1);
	assert_int_equal(target.fes, NVME_TCP_FES_HEADER_DIGEST);
	free(slot.memory);
	unstage();
}

/* ---- what a controller may not send ---- */

static unsigned hostile;

static void raw_pdu(struct fake_connection *connection, uint8_t type, uint8_t hlen, uint8_t pdo, uint32_t plen,
		    uint8_t flags, const void *rest, size_t bytes)
{
	uint8_t pdu[160] = { type, flags, hlen, pdo };

	memcpy(pdu + 4, &plen, 4);
	memcpy(pdu + 8, rest, bytes);
	fake_send(connection, pdu, 8 + bytes < sizeof(pdu) ? 8 + bytes : sizeof(pdu));
}

static const struct {
	const char *why;
	uint16_t fes;
	uint8_t type, hlen, pdo, flags;
	uint32_t plen;
	uint32_t offset, length; /* of data, R2T */
	int cid;                 /* added to the right one */
	bool write;
} hostile_cases[] = {
	{ "unknown PDU type", 1, 0x08, 24, 0, 0, 24, 0, 0, 0, false },
	{ "unknown PDU type", 1, 0xff, 24, 0, 0, 24, 0, 0, 0, false },
	{ "may not come now", 2, NVME_TCP_ICRESP, 128, 0, 0, 128, 0, 0, 0, false },
	{ "length of a header", 1, NVME_TCP_CAPSULE_RESP, 23, 0, 0, 24, 0, 0, 0, false },
	{ "length of a PDU", 1, NVME_TCP_CAPSULE_RESP, 24, 0, 0, 28, 0, 0, 0, false },
	{ "length of a PDU", 1, NVME_TCP_C2H_DATA, 24, 24, 0, 8, 0, 4096, 0, false },
	{ "header digest", 1, NVME_TCP_CAPSULE_RESP, 24, 0, NVME_TCP_HDGSTF, 28, 0, 0, 0, false },
	{ "response to no command", 1, NVME_TCP_CAPSULE_RESP, 24, 0, 0, 24, 0, 0, 1024, false },
	{ "response to no command", 1, NVME_TCP_CAPSULE_RESP, 24, 0, 0, 24, 0, 0, 500, false },
	{ "success without all data", 2, NVME_TCP_CAPSULE_RESP, 24, 0, 0, 24, 0, 0, 0, false },
	{ "data for no command", 1, NVME_TCP_C2H_DATA, 24, 24, 4, 24 + 4096, 0, 4096, 1024, false },
	{ "data for no command", 1, NVME_TCP_C2H_DATA, 24, 24, 4, 24 + 4096, 0, 4096, 0, true },
	{ "out of order or too much", 4, NVME_TCP_C2H_DATA, 24, 24, 4, 24 + 8192, 0, 8192, 0, false },
	{ "out of order or too much", 4, NVME_TCP_C2H_DATA, 24, 24, 4, 24 + 2048, 2048, 2048, 0, false },
	{ "out of order or too much", 4, NVME_TCP_C2H_DATA, 24, 24, 4, 24, 0, 0, 0, false },
	{ "place or length", 1, NVME_TCP_C2H_DATA, 24, 20, 4, 20 + 4096, 0, 4096, 0, false },
	{ "place or length", 1, NVME_TCP_C2H_DATA, 24, 24, 4, 24 + 4000, 0, 4096, 0, false },
	{ "flag of the data digest", 1, NVME_TCP_C2H_DATA, 24, 24, 6, 28 + 4096, 0, 4096, 0, false },
	{ "success before the last", 1, NVME_TCP_C2H_DATA, 24, 24, 8, 24 + 4096, 0, 4096, 0, false },
	{ "R2T for no command", 1, NVME_TCP_R2T, 24, 0, 0, 24, 0, 4096, 0, false },
	{ "R2T for no command", 1, NVME_TCP_R2T, 24, 0, 0, 24, 0, 4096, 1024, true },
	{ "R2T out of order or beyond", 4, NVME_TCP_R2T, 24, 0, 0, 24, 4096, 4096, 0, true },
	{ "R2T out of order or beyond", 4, NVME_TCP_R2T, 24, 0, 0, 24, 0xfffff000u, 0x2000, 0, true },
	{ "R2T out of order or beyond", 4, NVME_TCP_R2T, 24, 0, 0, 24, 0, 0, 0, true },
	{ "R2T out of order or beyond", 4, NVME_TCP_R2T, 24, 0, 0, 24, 2048, 2048, 0, true },
	{ "ends the connection", 0, NVME_TCP_C2H_TERM_REQ, 24, 0, 0, 24, 3, 0, 0, false },
};

static bool on_hostile(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	unsigned at = hostile;
	uint16_t rest[60] = { 0 };

	if (fake_queue(connection) == 0 || sqe->opcode == NVME_FABRICS || at == UINT32_MAX)
		return false;
	hostile = UINT32_MAX;
	uint16_t cid = (uint16_t)(sqe->cid + hostile_cases[at].cid);
	if (hostile_cases[at].type == NVME_TCP_CAPSULE_RESP) {
		rest[6] = cid;
	} else {
		rest[0] = cid;
		memcpy(&rest[2], &hostile_cases[at].offset, 4);
		memcpy(&rest[4], &hostile_cases[at].length, 4);
	}
	raw_pdu(connection, hostile_cases[at].type, hostile_cases[at].hlen, hostile_cases[at].pdo,
		hostile_cases[at].plen, hostile_cases[at].flags, rest, sizeof(rest));
	return true;
}

static void test_hostile(void **state)
{
	struct slot slot = { 0 };

	stage(12);
	options.path_count = 1;
	target.ioccsz = 4;
	hostile = UINT32_MAX;
	remote_open();
	wait_for(live_paths() == 1);
	fill(&slot, 4096, 9);
	for (unsigned i = 0; i < sizeof(hostile_cases) / sizeof(hostile_cases[0]); i++) {
		unsigned terminations = target.terminations;

		wait_for(live_paths() == 1);
		losses = 0;
		hostile = i;
		target.command = on_hostile;
		/* The request survives on the next connection. */
		assert_int_equal(run(&slot, hostile_cases[i].write ? DPU_BLOCK_WRITE : DPU_BLOCK_READ, 0, 4096, 0),
				 DPU_BLOCK_OK);
		assert_int_equal(losses, 1);
		if (!strstr(last_why, hostile_cases[i].why))
			fail_msg("case %u: \"%s\", not \"%s\"", i, last_why, hostile_cases[i].why);
		if (hostile_cases[i].fes) {
			wait_for(target.terminations == terminations + 1);
			assert_int_equal(target.fes, hostile_cases[i].fes);
			assert_in_range(target.quoted, sizeof(struct nvme_tcp_header), hostile_cases[i].hlen);
		}
		if (hostile_cases[i].write)
			run_ms(1150); /* its fence */
	}
	free(slot.memory);
	unstage();
}

/* A second R2T for a command while the first is not satisfied. */
static bool on_two_r2ts(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	if (sqe->opcode != NVME_WRITE || fake_queue(connection) == 0)
		return false;
	struct nvme_tcp_r2t r2t[3] = {
		{ .header = { NVME_TCP_R2T, 0, 24, 0, 24 }, .cccid = sqe->cid, .r2to = 0, .r2tl = 32768 },
		{ .header = { NVME_TCP_R2T, 0, 24, 0, 24 }, .cccid = sqe->cid, .r2to = 32768, .r2tl = 32768 },
		{ .header = { NVME_TCP_R2T, 0, 24, 0, 24 }, .cccid = sqe->cid, .r2to = 65536, .r2tl = 32768 },
	};
	fake->command = NULL;
	fake->maxh2cdata = UINT32_MAX; /* what comes now is not looked at */
	fake_send(connection, r2t, sizeof(r2t));
	return true;
}

/* The capsule has brought the data, and may be on its way yet. */
static bool on_capsule(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	struct nvme_tcp_r2t r2t = { .header = { NVME_TCP_R2T, 0, 24, 0, 24 }, .cccid = sqe->cid, .r2tl = 4096 };

	if (sqe->opcode != NVME_WRITE || fake_queue(connection) == 0)
		return false;
	fake->command = NULL;
	fake_send(connection, &r2t, sizeof(r2t));
	return true;
}

/* The same half twice, and then success. */
static bool on_half(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	struct nvme_tcp_r2t r2t = { .header = { NVME_TCP_R2T, 0, 24, 0, 24 }, .cccid = sqe->cid, .r2tl = 32768 };

	if (sqe->opcode != NVME_WRITE || fake_queue(connection) == 0)
		return false;
	fake->command = NULL;
	fake->maxh2cdata = UINT32_MAX; /* what comes now is not looked at */
	fake_send(connection, &r2t, sizeof(r2t));
	fake_send(connection, &r2t, sizeof(r2t));
	fake_respond(connection, sqe->cid, 0, NVME_OK);
	return true;
}

static void r2t_refused(uint32_t bytes,
			bool (*how)(struct fake_target *, struct fake_connection *, const struct nvme_sqe *),
			const char *why)
{
	struct slot slot = { 0 };

	stage(12);
	options.path_count = 1;
	remote_open();
	wait_for(live_paths() == 1);
	fill(&slot, bytes, 4);
	target.command = how;
	submit(&slot, DPU_BLOCK_WRITE, 0, bytes, 0);
	wait_for(losses == 1);
	if (!strstr(last_why, why))
		fail_msg("\"%s\", not \"%s\"", last_why, why);
	target.maxh2cdata = 65536;
	wait_for(!slot.busy);
	assert_int_equal(slot.request.status, DPU_BLOCK_OK);
	assert_int_equal(target.memory[bytes - 1], 4);
	free(slot.memory);
	unstage();
}

static void test_r2t_twice(void **state)
{
	r2t_refused(4096, on_capsule, "R2T for data that was sent");
	r2t_refused(65536, on_half, "R2T");
}

/* Success without data: what an earlier answer has left in the buffer must not be taken for it. */
static bool on_no_data(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	if (fake_queue(connection) != 0 || sqe->opcode != NVME_ADMIN_IDENTIFY || (sqe->cdw10 & 0xff) != hostile)
		return false;
	fake_respond(connection, sqe->cid, 0, NVME_OK);
	return true;
}

static void test_no_data(void **state)
{
	static const unsigned kinds[] = { NVME_CNS_CONTROLLER, NVME_CNS_ACTIVE_NAMESPACES, NVME_CNS_DESCRIPTORS,
					  NVME_CNS_NAMESPACE };

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		stage(12);
		hostile = kinds[i];
		target.command = on_no_data;
		refused("success without all data");
	}
}

static void test_two_r2ts(void **state)
{
	struct slot slot = { 0 };

	stage(12);
	options.path_count = 1;
	target.ioccsz = 4;
	remote_open();
	wait_for(live_paths() == 1);
	fill(&slot, 98304, 4);
	target.command = on_two_r2ts;
	submit(&slot, DPU_BLOCK_WRITE, 0, 98304, 0);
	wait_for(losses == 1);
	assert_non_null(strstr(last_why, "more R2Ts"));
	target.maxh2cdata = 65536;
	wait_for(!slot.busy);
	assert_int_equal(slot.request.status, DPU_BLOCK_OK);
	free(slot.memory);
	unstage();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),      cmocka_unit_test(test_authentication),
		cmocka_unit_test(test_digest_errors), cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_two_r2ts),      cmocka_unit_test(test_r2t_twice),
		cmocka_unit_test(test_no_data),
	};

	uring_needed();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
