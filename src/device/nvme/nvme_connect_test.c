// SPDX-License-Identifier: BSD-3-Clause
/* Connections: handshake, Connect and its refusals, hostile PDUs, the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "device/nvme/nvme_test_host.h"
#include "engine/crc32c/crc32c.h"

static void expect_term(struct host *host, uint16_t fes, uint32_t fei, uint8_t quoted_type)
{
	const struct nvme_tcp_term_req *term = (const struct nvme_tcp_term_req *)host_receive(host);

	assert_non_null(term);
	assert_int_equal(term->header.type, NVME_TCP_C2H_TERM_REQ);
	assert_int_equal(term->fes, fes);
	assert_int_equal(nvme_tcp_fei(term), fei);
	assert_true(term->header.plen >= 24 + 8 && term->header.plen <= 24 + NVME_TCP_TERM_DATA_MAX);
	assert_int_equal(((const uint8_t *)term)[24], quoted_type);
	assert_true(host->closed && host->graceful);
	/* What comes after it is read and thrown away. */
	uint8_t rest[300] = { 0 };
	host_send(host, rest, sizeof(rest), 0);
	assert_null(host_receive(host));
}

static struct nvme_tcp_icreq icreq_good(void)
{
	return (struct nvme_tcp_icreq){ .header = { .type = NVME_TCP_ICREQ, .hlen = 128, .plen = 128 } };
}

/* Every field of the first PDU. */
static void test_icreq(void **state)
{
	struct rig *rig = rig_new(NULL);
	static const struct {
		unsigned offset;
		uint8_t value;
		uint16_t fes;
		uint32_t fei;
	} bad[] = {
		{ 0, NVME_TCP_CAPSULE_CMD, NVME_TCP_FES_SEQUENCE, 0 },
		{ 0, NVME_TCP_H2C_DATA, NVME_TCP_FES_SEQUENCE, 0 },
		{ 0, NVME_TCP_ICRESP, NVME_TCP_FES_HEADER_FIELD, 0 },
		{ 0, 0xff, NVME_TCP_FES_HEADER_FIELD, 0 },
		{ 2, 127, NVME_TCP_FES_HEADER_FIELD, 2 },
		{ 4, 129, NVME_TCP_FES_HEADER_FIELD, 4 },
		{ 7, 1, NVME_TCP_FES_HEADER_FIELD, 4 },
		{ 8, 1, NVME_TCP_FES_UNSUPPORTED, 8 },
		{ 10, 32, NVME_TCP_FES_HEADER_FIELD, 10 },
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct host *host = host_new(rig);
		struct nvme_tcp_icreq icreq = icreq_good();

		((uint8_t *)&icreq)[bad[i].offset] = bad[i].value;
		host_send(host, &icreq, sizeof(icreq), 1 + i * 7);
		expect_term(host, bad[i].fes, bad[i].fei, ((uint8_t *)&icreq)[0]);
		host_free(host);
	}
	/* Twice. */
	struct host *host = host_new(rig);
	struct nvme_tcp_icreq icreq = icreq_good();
	host_handshake(host, 0, 0);
	host_send(host, &icreq, sizeof(icreq), 0);
	expect_term(host, NVME_TCP_FES_SEQUENCE, 0, NVME_TCP_ICREQ);
	host_free(host);
	rig_free(rig);
}

/* Byte by byte, with digests and alignment of all kinds. */
static void test_handshake(void **state)
{
	for (uint8_t digests = 0; digests < 4; digests++) {
		struct rig *rig = rig_new(NULL);
		struct host *host = host_new(rig);
		struct host_connect connect = { .digests = digests, .hpda = (uint8_t)(digests * 10) };

		assert_int_equal(host_connect(host, &connect), NVME_OK);
		assert_int_equal(host_property_get(host, NVME_VS, false), NVME_VERSION);
		assert_int_equal(host_property_get(host, NVME_CSTS, false), NVME_CSTS_RDY);
		assert_int_equal(host_property_get(host, NVME_CAP, true) & 0xffff, 127);
		assert_int_equal(host_property_get(host, NVME_CAP, false), UINT64_MAX);
		assert_int_equal(host_property_get(host, 0x1000, false), UINT64_MAX);
		host_free(host);
		assert_int_equal(rig->controllers, 0);
		assert_int_equal(rig->reason, NVME_REASON_CLOSED);
		rig_free(rig);
	}
}

static void connect_case(struct rig *rig, struct host_connect connect, uint16_t status, uint64_t result)
{
	struct host *host = host_new(rig);

	assert_int_equal(host_connect(host, &connect), status);
	assert_int_equal(connect.cqe.result, result);
	host_free(host);
}

static void test_connect_refusals(void **state)
{
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .strict_hosts = true });
	struct host *admin = host_new(rig), *io, *other;
	struct host_connect good = { 0 };
	const uint16_t invalid = NVME_CONNECT_INVALID_PARAMETERS | NVME_DNR;
	static const char *const hosts[] = { HOST_NQN };

	connect_case(rig, good, NVME_CONNECT_INVALID_HOST | NVME_DNR, 0);
	assert_int_equal(nvme_subsystem_hosts(rig->subsystem, false, hosts, 1), 0);
	connect_case(rig, (struct host_connect){ .subnqn = "nqn.2025-01.org.example:nobody" }, invalid,
		     nvme_connect_ipo(256, true));
	connect_case(rig, (struct host_connect){ .subnqn = "x" }, invalid, nvme_connect_ipo(256, true));
	connect_case(rig, (struct host_connect){ .hostnqn = "iqn.2025-01.org.example:host" }, invalid,
		     nvme_connect_ipo(512, true));
	connect_case(rig, (struct host_connect){ .no_hostid = true }, invalid, nvme_connect_ipo(0, true));
	connect_case(rig, (struct host_connect){ .sqsize = 128 }, invalid, nvme_connect_ipo(44, false));
	connect_case(rig, (struct host_connect){ .cntlid = 5 }, invalid, nvme_connect_ipo(16, true));
	connect_case(rig, (struct host_connect){ .cntlid = NVME_CNTLID_STATIC }, invalid, nvme_connect_ipo(16, true));
	connect_case(rig, (struct host_connect){ .qid = 1, .cntlid = 5 }, invalid, nvme_connect_ipo(16, true));

	assert_int_equal(host_connect(admin, &good), NVME_OK);
	uint16_t cntlid = (uint16_t)good.cqe.result;
	assert_int_equal(good.cqe.result >> 16, 0); /* no authentication */
	connect_case(rig, (struct host_connect){ .qid = 1, .cntlid = cntlid, .hostid = 1 }, invalid,
		     nvme_connect_ipo(0, true));
	connect_case(rig, (struct host_connect){ .qid = 9, .cntlid = cntlid }, invalid, nvme_connect_ipo(42, false));
	struct host_connect connect = { .qid = 2, .cntlid = cntlid };
	io = host_new(rig);
	assert_int_equal(host_connect(io, &connect), NVME_OK);
	connect_case(rig, connect, invalid, nvme_connect_ipo(42, false));
	/* Not ready: after a reset the I/O queue is gone, and none is accepted. */
	assert_int_equal(host_property_set(admin, NVME_CC, 0), NVME_OK);
	assert_true(io->closed);
	other = host_new(rig);
	connect.qid = 1;
	assert_int_equal(host_connect(other, &connect), NVME_SEQUENCE_ERROR | NVME_DNR);
	host_free(other);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* A controller is reached by one port: its I/O queues come by no other. */
static void test_connect_port(void **state)
{
	static const uint8_t states[NVME_TARGET_ANA_GROUPS] = { NVME_ANA_OPTIMIZED };
	struct rig *rig = rig_new(NULL);
	struct host *admin = host_new(rig), *io = host_new(rig), *other = host_new(rig);
	struct host_connect connect = { 0 };

	for (uint16_t port = 1; port <= 2; port++)
		assert_int_equal(nvme_subsystem_port(rig->subsystem, port, states), 0);
	assert_int_equal(host_connect(admin, &connect), NVME_OK);
	connect.cntlid = (uint16_t)connect.cqe.result;
	connect.qid = 1;
	other->port = 2;
	assert_int_equal(host_connect(other, &connect), NVME_CONNECT_INVALID_PARAMETERS | NVME_DNR);
	assert_int_equal(connect.cqe.result, nvme_connect_ipo(16, true));
	assert_int_equal(host_connect(io, &connect), NVME_OK);
	host_free(other);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* What is wrong with the command itself; afterwards a good one is accepted on the same connection. */
static void test_connect_format(void **state)
{
	static const struct {
		unsigned offset;
		uint8_t value;
		uint16_t status;
	} bad[] = {
		{ offsetof(struct nvme_connect_sqe, recfmt), 1, NVME_CONNECT_FORMAT },
		{ offsetof(struct nvme_connect_sqe, sgl.type), NVME_SGL_TRANSPORT_DATA, NVME_SGL_TYPE_INVALID },
		{ offsetof(struct nvme_connect_sqe, sgl.address), 1, NVME_SGL_OFFSET_INVALID },
		{ offsetof(struct nvme_connect_sqe, sgl.length), 1, NVME_SGL_LENGTH_INVALID },
	};
	struct rig *rig = rig_new(NULL);
	struct host *host = host_new(rig);
	struct nvme_connect_data data = {
		.hostid = { 7 }, .cntlid = NVME_CNTLID_DYNAMIC, .subnqn = HOST_SUBNQN, .hostnqn = HOST_NQN
	};

	host_handshake(host, 0, 0);
	for (unsigned i = 0; i <= sizeof(bad) / sizeof(bad[0]); i++) {
		bool good = i == sizeof(bad) / sizeof(bad[0]);
		struct nvme_connect_sqe connect = {
			.opcode = NVME_FABRICS,
			.fctype = NVME_FABRICS_CONNECT,
			.sgl = { .length = sizeof(data), .type = NVME_SGL_IN_CAPSULE },
			.sqsize = 31,
		};
		struct nvme_sqe sqe;

		if (!good)
			((uint8_t *)&connect)[bad[i].offset] = bad[i].value;
		memcpy(&sqe, &connect, sizeof(sqe));
		uint16_t cid = host_capsule(host, &sqe, &data, sizeof(data));
		const struct nvme_cqe *cqe = &((const struct nvme_tcp_capsule_resp *)host_receive(host))->cqe;
		assert_int_equal(cqe->cid, cid);
		assert_int_equal(cqe->status >> 1, good ? NVME_OK : bad[i].status | NVME_DNR);
	}
	/* In the capsule of an admin command there may be 8,192 bytes. */
	struct nvme_sqe keep_alive = { .opcode = NVME_ADMIN_KEEP_ALIVE };
	static const uint8_t much[8192];
	assert_int_equal(host_property_set(host, NVME_CC, 0x460001), NVME_OK);
	host_capsule(host, &keep_alive, much, sizeof(much));
	assert_int_equal(((const struct nvme_tcp_capsule_resp *)host_receive(host))->cqe.status, 0);
	host_free(host);
	rig_free(rig);
}

/* A host that is no longer allowed is ended, and so is one whose port goes. */
static void test_removal(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	uint8_t ana[NVME_TARGET_ANA_GROUPS];

	memset(ana, NVME_ANA_OPTIMIZED, sizeof(ana));
	assert_int_equal(nvme_subsystem_port(rig->subsystem, 1, ana), 0);
	host_pair(rig, &admin, &io, 0, 0);
	assert_int_equal(nvme_subsystem_hosts(rig->subsystem, false, NULL, 0), 0);
	assert_true(admin->closed && io->closed);
	host_free(io);
	host_free(admin);
	assert_int_equal(rig->reason, NVME_REASON_CONTROL);
	assert_int_equal(nvme_subsystem_hosts(rig->subsystem, true, NULL, 0), 0);
	host_pair(rig, &admin, &io, 3, 0);
	nvme_subsystem_port_remove(rig->subsystem, 1);
	assert_true(admin->closed && io->closed);
	host_free(admin);
	host_free(io);
	rig_free(rig);
}

/* Keep alive: traffic of any queue counts; silence ends the controller with all its queues. */
static void test_keep_alive(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin = host_new(rig), *io = host_new(rig);
	struct host_connect connect = { .kato = 1000 };
	const uint64_t ms = 1000000;
	uint64_t now = 5000 * ms;

	nvme_subsystem_tick(rig->subsystem, now);
	assert_int_equal(host_connect(admin, &connect), NVME_OK);
	connect.cntlid = (uint16_t)connect.cqe.result;
	connect.qid = 1;
	assert_int_equal(host_connect(io, &connect), NVME_OK);
	for (unsigned i = 0; i < 10; i++) {
		struct exchange flush = { .sqe = { .opcode = NVME_FLUSH, .nsid = 1 } };

		assert_int_equal(host_command(io, &flush), NVME_OK);
		assert_true(nvme_subsystem_tick(rig->subsystem, now += 900 * ms) <= 250 * ms);
		assert_false(admin->closed);
	}
	nvme_subsystem_tick(rig->subsystem, now += 990 * ms);
	assert_false(admin->closed);
	nvme_subsystem_tick(rig->subsystem, now += 20 * ms);
	assert_true(admin->closed && io->closed);
	host_free(admin);
	host_free(io);
	assert_int_equal(rig->reason, NVME_REASON_KEEP_ALIVE);
	rig_free(rig);
}

/* A timer of 1 ms is one of the unit that Identify tells (KAS): its host lives as long, and the worker does not look at
 * all controllers thousands of times a second for it. */
static void test_keep_alive_unit(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin = host_new(rig);
	struct host_connect connect = { .kato = 1 };
	const uint64_t ms = 1000000;
	uint64_t now = 5000 * ms;

	nvme_subsystem_tick(rig->subsystem, now);
	assert_int_equal(host_connect(admin, &connect), NVME_OK);
	assert_true(nvme_subsystem_tick(rig->subsystem, now += ms) >= 25 * ms);
	for (unsigned i = 0; i < 3; i++)
		assert_true(nvme_subsystem_tick(rig->subsystem, now += 30 * ms) >= 10 * ms);
	assert_false(admin->closed);
	nvme_subsystem_tick(rig->subsystem, now += 20 * ms);
	assert_true(admin->closed);
	host_free(admin);
	assert_int_equal(rig->reason, NVME_REASON_KEEP_ALIVE);
	rig_free(rig);
}

/* ---- hostile PDUs on a connected queue ---- */

static struct host *io_queue(struct rig *rig, struct host **admin, uint8_t digests)
{
	struct host *io;

	host_pair(rig, admin, &io, digests, 0);
	return io;
}

static void hostile(const void *pdu, size_t bytes, uint8_t digests, uint16_t fes, uint32_t fei)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io = io_queue(rig, &admin, digests);

	host_send(io, pdu, bytes, 0);
	expect_term(io, fes, fei, ((const uint8_t *)pdu)[0]);
	assert_false(admin->closed);
	host_free(io);
	host_free(admin);
	assert_int_equal(rig->reason, NVME_REASON_CLOSED);
	rig_free(rig);
}

static void test_hostile_capsule(void **state)
{
	struct nvme_tcp_capsule_cmd good = { .header = { .type = NVME_TCP_CAPSULE_CMD, .hlen = 72, .plen = 72 } };
	struct nvme_tcp_capsule_cmd pdu = good;
	uint8_t digested[76] = { 0 };

	pdu.header.hlen = 71;
	hostile(&pdu, 72, 0, NVME_TCP_FES_HEADER_FIELD, 2);
	pdu = good;
	pdu.header.plen = 71;
	hostile(&pdu, 72, 0, NVME_TCP_FES_HEADER_FIELD, 4);
	pdu.header.plen = UINT32_MAX;
	pdu.header.pdo = 72;
	hostile(&pdu, 72, 0, NVME_TCP_FES_HEADER_FIELD, 4);
	pdu.header.plen = 72 + 8193;
	hostile(&pdu, 72, 0, NVME_TCP_FES_HEADER_FIELD, 4);
	pdu.header.plen = 72 + 512;
	pdu.header.pdo = 71;
	hostile(&pdu, 72, 0, NVME_TCP_FES_HEADER_FIELD, 3);
	pdu.header.pdo = 74;
	hostile(&pdu, 72, 0, NVME_TCP_FES_HEADER_FIELD, 3);
	pdu.header.plen = 80;
	pdu.header.pdo = 84;
	hostile(&pdu, 72, 0, NVME_TCP_FES_HEADER_FIELD, 3);
	pdu = good;
	pdu.header.flags = NVME_TCP_HDGSTF;
	hostile(&pdu, 72, 0, NVME_TCP_FES_HEADER_FIELD, 1);
	pdu = good;
	pdu.header.plen = 76; /* digests are agreed on, but the flag is missing */
	hostile(&pdu, 72, NVME_TCP_DGST_HEADER, NVME_TCP_FES_HEADER_FIELD, 1);
	pdu.header.flags = NVME_TCP_HDGSTF;
	memcpy(digested, &pdu, sizeof(pdu));
	memset(digested + 72, 0xee, 4);
	hostile(digested, 76, NVME_TCP_DGST_HEADER, NVME_TCP_FES_HEADER_DIGEST, 0xeeeeeeee);
	pdu = good;
	pdu.header.plen = 72 + 512;
	pdu.header.pdo = 72;
	pdu.header.flags = NVME_TCP_DDGSTF;
	hostile(&pdu, 72, 0, NVME_TCP_FES_HEADER_FIELD, 1);
	pdu.header.type = NVME_TCP_R2T;
	hostile(&pdu, 72, 0, NVME_TCP_FES_HEADER_FIELD, 0);
	pdu = good;
	pdu.header.plen = 76; /* ends where its data would begin */
	pdu.header.pdo = 76;
	hostile(&pdu, 72, 0, NVME_TCP_FES_HEADER_FIELD, 4);

	struct nvme_tcp_term_req term = { .header = { .type = NVME_TCP_H2C_TERM_REQ, .hlen = 24 } };
	term.header.plen = sizeof(term) + NVME_TCP_TERM_DATA_MAX + 1;
	hostile(&term, sizeof(term), 0, NVME_TCP_FES_HEADER_FIELD, 4);
}

/* Data may begin behind its header: what is between is passed over, in pieces of any size. */
static void test_padding(void **state)
{
	enum { PDO = 96 };
	static uint8_t pdu[PDO + 4096], back[4096];
	struct nvme_tcp_capsule_cmd *capsule = (struct nvme_tcp_capsule_cmd *)pdu;
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io = io_queue(rig, &admin, 0);

	for (unsigned i = 0; i < sizeof(pdu); i++)
		pdu[i] = (uint8_t)(i * 7 + i / 256);
	for (unsigned piece = 0; piece < 40; piece += 13) {
		*capsule = (struct nvme_tcp_capsule_cmd){
			.header = { .type = NVME_TCP_CAPSULE_CMD, .hlen = 72, .pdo = PDO, .plen = sizeof(pdu) },
			.sqe = { .opcode = NVME_WRITE,
				 .flags = 0x40,
				 .cid = (uint16_t)piece,
				 .nsid = 1,
				 .cdw10 = piece * 8,
				 .cdw12 = 7,
				 .sgl = { .length = 4096, .type = NVME_SGL_IN_CAPSULE } },
		};
		pdu[PDO] = (uint8_t)piece;
		host_send(io, pdu, sizeof(pdu), piece);
		rig_poll(rig);
		const struct nvme_tcp_capsule_resp *resp = (const struct nvme_tcp_capsule_resp *)host_receive(io);
		assert_non_null(resp);
		assert_true(resp->cqe.cid == piece && resp->cqe.status >> 1 == NVME_OK);
		struct exchange read = {
			.sqe = { .opcode = NVME_READ, .nsid = 1, .cdw10 = piece * 8, .cdw12 = 7 },
			.in = back,
			.in_bytes = sizeof(back),
		};
		assert_int_equal(host_command(io, &read), NVME_OK);
		assert_memory_equal(back, pdu + PDO, sizeof(back));
	}
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* A write that waits for its data, then H2CData with a byte or two wrong. */
static void hostile_data_pair(unsigned offset, unsigned other, uint8_t value, uint16_t fes, uint32_t fei)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io = io_queue(rig, &admin, 0);
	struct nvme_sqe write = {
		.opcode = NVME_WRITE, .nsid = 1, .cdw12 = 15, .sgl = { .length = 8192, .type = NVME_SGL_TRANSPORT_DATA }
	};
	uint16_t cid = host_capsule(io, &write, NULL, 0);
	const struct nvme_tcp_r2t *r2t = (const struct nvme_tcp_r2t *)host_receive(io);

	assert_non_null(r2t);
	assert_int_equal(r2t->header.type, NVME_TCP_R2T);
	assert_int_equal(r2t->r2tl, 8192);
	struct nvme_tcp_data data = {
		.header = { .type = NVME_TCP_H2C_DATA, .hlen = 24, .pdo = 24, .plen = 24 + 4096 },
		.cccid = cid,
		.ttag = r2t->ttag,
		.datal = 4096,
	};
	((uint8_t *)&data)[offset] = value;
	((uint8_t *)&data)[other] = value;
	host_send(io, &data, sizeof(data), 5);
	expect_term(io, fes, fei, NVME_TCP_H2C_DATA);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

static void hostile_data(unsigned offset, uint8_t value, uint16_t fes, uint32_t fei)
{
	hostile_data_pair(offset, offset, value, fes, fei);
}

static void test_hostile_data(void **state)
{
	hostile_data(8, 0x77, NVME_TCP_FES_HEADER_FIELD, 8);
	hostile_data(10, 0x77, NVME_TCP_FES_HEADER_FIELD, 10);
	hostile_data(11, 0x77, NVME_TCP_FES_HEADER_FIELD, 10);
	hostile_data(13, 0x10, NVME_TCP_FES_RANGE, 0); /* DATAO: not contiguous */
	hostile_data(15, 0x80, NVME_TCP_FES_RANGE, 0);
	hostile_data(17, 0x20, NVME_TCP_FES_HEADER_FIELD, 16); /* DATAL is not what PLEN says */
	hostile_data(1, NVME_TCP_LAST_PDU, NVME_TCP_FES_HEADER_FIELD, 1);
	hostile_data(6, 0x10, NVME_TCP_FES_LIMIT, 0); /* more than MAXH2CDATA */
	hostile_data(3, 20, NVME_TCP_FES_HEADER_FIELD, 3);
	hostile_data(2, 25, NVME_TCP_FES_HEADER_FIELD, 2);
	hostile_data_pair(5, 17, 0x30, NVME_TCP_FES_RANGE, 0); /* 12 KiB of 8 */

	/* Before Connect nobody has asked for data. */
	struct rig *rig = rig_new(NULL);
	struct host *host = host_new(rig);
	struct nvme_tcp_data data = { .header = { .type = NVME_TCP_H2C_DATA, .hlen = 24, .pdo = 24, .plen = 28 },
				      .datal = 4 };
	host_handshake(host, 0, 0);
	host_send(host, &data, sizeof(data), 0);
	expect_term(host, NVME_TCP_FES_SEQUENCE, 0, NVME_TCP_H2C_DATA);
	host_free(host);
	rig_free(rig);
}

/* More commands than the queue has entries. */
static void test_overrun(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io = io_queue(rig, &admin, 0);
	unsigned sent = 0;

	for (; sent < 33; sent++) {
		struct nvme_sqe flush = { .opcode = NVME_FLUSH, .nsid = 1 };

		host_capsule(io, &flush, NULL, 0);
	}
	expect_term(io, NVME_TCP_FES_SEQUENCE, 0, NVME_TCP_CAPSULE_CMD);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

static void test_host_terminates(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io = io_queue(rig, &admin, 0);
	struct nvme_tcp_term_req term = { .header = { .type = NVME_TCP_H2C_TERM_REQ, .hlen = 24, .plen = 24 } };

	host_send(io, &term, sizeof(term), 0);
	assert_true(io->closed);
	host_free(io);
	/* Disconnect ends an I/O queue only. */
	struct exchange disconnect = { .sqe = { .opcode = NVME_FABRICS, .fctype = NVME_FABRICS_DISCONNECT } };
	assert_int_equal(host_command(admin, &disconnect), NVME_DISCONNECT_QUEUE_TYPE | NVME_DNR);
	host_free(admin);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_icreq),
		cmocka_unit_test(test_handshake),
		cmocka_unit_test(test_connect_refusals),
		cmocka_unit_test(test_connect_port),
		cmocka_unit_test(test_connect_format),
		cmocka_unit_test(test_removal),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_keep_alive_unit),
		cmocka_unit_test(test_hostile_capsule),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_hostile_data),
		cmocka_unit_test(test_overrun),
		cmocka_unit_test(test_host_terminates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
