// SPDX-License-Identifier: BSD-3-Clause
/* Compare and Write as one operation: what both halves are told, whatever becomes of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "base/clock.h"
#include "device/block/ram.h"
#include "device/nvme/nvme_target_priv.h"
#include "device/nvme/nvme_test_device.h"
#include "device/nvme/nvme_test_host.h"

enum { FIRST, SECOND, HALVES };
enum { FAILED = NVME_ABORTED_FAILED_FUSED, MISSING = NVME_ABORTED_MISSING_FUSED, LBA = 8 };

/* A pair that a host sends: by R2T or in the capsule, with digests that are wrong. */
struct pair {
	struct nvme_sqe sqe[HALVES];
	const uint8_t *data[HALVES];
	bool in_capsule[HALVES], spoilt[HALVES];
	uint16_t status[HALVES]; /* that have come; NONE: not yet */
	uint16_t ttag[HALVES];   /* … and what was asked for */
};
enum { NONE = 0xffff };

static const uint8_t zeroes[8192];
static uint8_t ones[8192];

static struct pair pair_of(const uint8_t *compare, const uint8_t *write)
{
	struct pair pair = { .data = { compare, write },
			     .in_capsule = { true, false },
			     .status = { NONE, NONE },
			     .ttag = { NONE, NONE } };

	for (unsigned i = 0; i < HALVES; i++)
		pair.sqe[i] = (struct nvme_sqe){ .opcode = i == FIRST ? NVME_COMPARE : NVME_WRITE,
						 .flags = i == FIRST ? NVME_FUSE_FIRST : NVME_FUSE_SECOND,
						 .nsid = 1,
						 .cdw10 = LBA };
	return pair;
}

static uint32_t bytes_of(const struct nvme_sqe *sqe)
{
	return ((sqe->cdw12 & 0xffff) + 1) * 512;
}

static void half_send(struct host *io, struct pair *pair, unsigned half)
{
	struct nvme_sqe *sqe = &pair->sqe[half];

	if (sqe->sgl.length == 0)
		sqe->sgl.length = bytes_of(sqe);
	if (sqe->sgl.type == 0)
		sqe->sgl.type = pair->in_capsule[half] ? NVME_SGL_IN_CAPSULE : NVME_SGL_TRANSPORT_DATA;
	io->spoil = pair->spoilt[half] && pair->in_capsule[half];
	host_capsule(io, sqe, pair->data[half], pair->in_capsule[half] ? bytes_of(sqe) : 0);
}

static void half_data(struct host *io, struct pair *pair, unsigned half)
{
	io->spoil = pair->spoilt[half];
	host_h2c_data(io, pair->sqe[half].cid, pair->ttag[half], pair->data[half], 0, bytes_of(&pair->sqe[half]), true);
	pair->ttag[half] = NONE;
}

static void answers_take(struct host *io, struct pair *pair)
{
	const struct nvme_tcp_header *pdu;

	while ((pdu = host_receive(io)) != NULL) {
		bool asked = pdu->type == NVME_TCP_R2T;
		const struct nvme_tcp_r2t *r2t = (const struct nvme_tcp_r2t *)pdu;
		const struct nvme_cqe *cqe = &((const struct nvme_tcp_capsule_resp *)pdu)->cqe;
		unsigned half = (asked ? r2t->cccid : cqe->cid) == pair->sqe[SECOND].cid;

		assert_int_equal(asked ? r2t->cccid : cqe->cid, pair->sqe[half].cid);
		assert_int_equal(pair->status[half], NONE);
		if (asked)
			pair->ttag[half] = r2t->ttag;
		else
			pair->status[half] = cqe->status >> 1;
	}
}

/* Until both are answered or nothing goes on. */
static void pair_go_on(struct host *io, struct pair *pair)
{
	answers_take(io, pair);
	for (unsigned i = 0; i < HALVES; i++)
		if (pair->ttag[i] != NONE)
			half_data(io, pair, i);
	rig_poll(io->rig);
	answers_take(io, pair);
}

static void pair_run(struct host *io, struct pair *pair)
{
	half_send(io, pair, FIRST);
	assert_null(host_receive(io)); /* whatever is wrong with it */
	half_send(io, pair, SECOND);
	pair_go_on(io, pair);
}

static void pair_check(const struct pair *pair, uint16_t first, uint16_t second)
{
	assert_int_equal(pair->status[FIRST], first);
	assert_int_equal(pair->status[SECOND], second);
}

static void pair_expect(struct host *io, struct pair pair, uint16_t first, uint16_t second)
{
	pair_run(io, &pair);
	pair_check(&pair, first, second);
}

static bool written(const struct rig *rig)
{
	const uint8_t *all = block_ram_data(rig->ram[0]);

	return all[LBA * 512] != 0;
}

struct bench {
	struct rig *rig;
	struct host *admin, *io;
};

static struct bench bench_new(const struct rig_options *options, uint8_t digests)
{
	struct bench bench = { .rig = rig_new(options) };

	memset(ones, 1, sizeof(ones));
	host_pair(bench.rig, &bench.admin, &bench.io, digests, 0);
	return bench;
}

static void bench_free(struct bench *bench)
{
	host_free(bench->io);
	host_free(bench->admin);
	rig_free(bench->rig);
}

/* ---- as it goes ---- */

static void test_compare(void **state)
{
	struct bench bench = bench_new(NULL, 0);
	uint8_t back[512];

	pair_expect(bench.io, pair_of(zeroes, ones), NVME_OK, NVME_OK);
	assert_int_equal(host_transfer(bench.io, NVME_READ, LBA, 1, back, 512, false), NVME_OK);
	assert_memory_equal(back, ones, 512);
	pair_expect(bench.io, pair_of(zeroes, zeroes), NVME_COMPARE_FAILURE | NVME_DNR, FAILED | NVME_DNR);
	assert_true(written(bench.rig));
	bench_free(&bench);
}

/* A first whose second does not come, a second without a first. */
static void test_missing(void **state)
{
	struct bench bench = bench_new(NULL, 0);
	struct pair pair = pair_of(zeroes, ones);
	struct nvme_sqe flush = { .opcode = NVME_FLUSH, .nsid = 1 };

	half_send(bench.io, &pair, FIRST);
	host_capsule(bench.io, &flush, NULL, 0);
	answers_take(bench.io, &pair);
	pair_check(&pair, MISSING | NVME_DNR, NONE);
	rig_poll(bench.rig);
	assert_int_equal(((const struct nvme_tcp_capsule_resp *)host_receive(bench.io))->cqe.status, NVME_OK);
	half_send(bench.io, &pair, SECOND);
	answers_take(bench.io, &pair);
	pair_check(&pair, MISSING | NVME_DNR, MISSING | NVME_DNR);
	bench_free(&bench);
}

/* Two that make no pair: both have the status that says why (Base 3.4.2), whatever is wrong. */
static void test_no_pair(void **state)
{
	static const struct {
		uint8_t first, second;
		uint32_t nsid, lba, blocks; /* of the second */
		uint32_t first_blocks;
		uint16_t status;
	} cases[] = {
		{ NVME_COMPARE, NVME_WRITE, 1, 9, 1, 1, NVME_INVALID_FIELD },
		{ NVME_COMPARE, NVME_WRITE, 1, 8, 2, 1, NVME_INVALID_FIELD },
		{ NVME_COMPARE, NVME_WRITE, 2, 8, 1, 1, NVME_INVALID_FIELD },
		{ NVME_COMPARE, NVME_COMPARE, 1, 8, 1, 1, NVME_INVALID_FIELD },
		{ NVME_WRITE, NVME_WRITE, 1, 8, 1, 1, NVME_INVALID_FIELD },
		{ NVME_COMPARE, NVME_WRITE, 1, 8, 16, 16, NVME_ATOMIC_WRITE_UNIT },
	};
	struct bench bench = bench_new(NULL, 0);

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pair pair = pair_of(zeroes, ones);

		pair.in_capsule[SECOND] = true;
		pair.sqe[FIRST].opcode = cases[i].first;
		pair.sqe[FIRST].cdw12 = cases[i].first_blocks - 1;
		pair.sqe[SECOND].opcode = cases[i].second;
		pair.sqe[SECOND].nsid = cases[i].nsid;
		pair.sqe[SECOND].cdw10 = cases[i].lba;
		pair.sqe[SECOND].cdw12 = cases[i].blocks - 1;
		pair_expect(bench.io, pair, cases[i].status | NVME_DNR, cases[i].status | NVME_DNR);
	}
	bench_free(&bench);
}

/* ---- one is wrong ---- */

/* What no host may send: trying the pair again is of no use. */
static void test_malformed(void **state)
{
	struct bench bench = bench_new(NULL, 0);
	struct host *io = bench.io;

	for (unsigned half = 0; half < HALVES; half++) {
		for (unsigned kind = 0; kind < 4; kind++) {
			static const uint16_t statuses[] = { NVME_LBA_RANGE, NVME_INVALID_NAMESPACE,
							     NVME_INVALID_PROTECTION, NVME_SGL_TYPE_INVALID };
			struct pair pair = pair_of(zeroes, ones);
			uint16_t own = statuses[kind] | NVME_DNR, other = FAILED | NVME_DNR;

			if (kind == 0)
				pair.sqe[half].cdw11 = 1;
			else if (kind == 1)
				pair.sqe[half].nsid = 9;
			else if (kind == 2)
				pair.sqe[half].cdw12 = NVME_IO_PRINFO;
			else
				pair.sqe[half].sgl.type = 0x40;
			pair_expect(io, pair, half == FIRST ? own : other, half == FIRST ? other : own);
		}
	}
	assert_false(written(bench.rig));
	pair_expect(io, pair_of(zeroes, ones), NVME_OK, NVME_OK);
	bench_free(&bench);
}

/* Data that was spoilt on the way, of either half and by either way: the pair may be tried again, unless the other half
 * is of no use. */
static void test_spoilt(void **state)
{
	struct bench bench = bench_new(NULL, NVME_TCP_DGST_DATA);

	for (unsigned half = 0; half < HALVES; half++) {
		for (unsigned capsule = 0; capsule < 4; capsule++) {
			struct pair pair = pair_of(zeroes, ones);

			pair.in_capsule[FIRST] = capsule & 1;
			pair.in_capsule[SECOND] = capsule & 2;
			pair.spoilt[half] = true;
			pair_expect(bench.io, pair, half == FIRST ? NVME_TRANSIENT_TRANSPORT : FAILED,
				    half == FIRST ? FAILED : NVME_TRANSIENT_TRANSPORT);
			assert_int_equal(nvme_pool_used(bench.rig->pool), 0);
		}
	}
	struct pair pair = pair_of(zeroes, ones);
	pair.spoilt[FIRST] = true;
	pair.sqe[SECOND].cdw11 = 1;
	pair_expect(bench.io, pair, NVME_TRANSIENT_TRANSPORT, FAILED | NVME_DNR);
	assert_false(written(bench.rig));
	pair_expect(bench.io, pair_of(zeroes, ones), NVME_OK, NVME_OK);
	bench_free(&bench);
}

/* ---- who may, and the device ---- */

/* A path that is none for the moment. */
static void test_path(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	uint8_t ana[NVME_TARGET_ANA_GROUPS];

	memset(ones, 1, sizeof(ones));
	memset(ana, NVME_ANA_OPTIMIZED, sizeof(ana));
	assert_int_equal(nvme_subsystem_port(rig->subsystem, 1, ana), 0);
	host_pair(rig, &admin, &io, 0, 0);
	/* Before they come, and while the data of the second is on its way. */
	for (unsigned late = 0; late < 2; late++) {
		struct pair pair = pair_of(zeroes, ones);

		if (late) {
			half_send(io, &pair, FIRST);
			half_send(io, &pair, SECOND);
		}
		ana[0] = NVME_ANA_STATE_CHANGE;
		assert_int_equal(nvme_subsystem_port(rig->subsystem, 1, ana), 0);
		if (late)
			pair_go_on(io, &pair);
		else
			pair_run(io, &pair);
		pair_check(&pair, NVME_ANA_TRANSITION, FAILED);
		ana[0] = NVME_ANA_OPTIMIZED;
		assert_int_equal(nvme_subsystem_port(rig->subsystem, 1, ana), 0);
	}
	assert_false(written(rig));
	pair_expect(io, pair_of(zeroes, ones), NVME_OK, NVME_OK);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* Another host's reservation lets the compare through, but not the write: so it's the write's. */
static void test_reserved(void **state)
{
	struct bench bench = bench_new(NULL, 0);
	struct host *admin = host_new(bench.rig), *other = host_new(bench.rig);
	struct host_connect connect = { .hostid = 9 };
	struct nvme_reservation_keys keys = { .other = 5 };
	struct exchange reserve = { .sqe = { .opcode = NVME_RESERVATION_REGISTER, .nsid = 1 },
				    .out = &keys,
				    .out_bytes = sizeof(keys),
				    .in_capsule = true };

	assert_int_equal(host_connect(admin, &connect), NVME_OK);
	connect.cntlid = (uint16_t)connect.cqe.result;
	connect.qid = 1;
	assert_int_equal(host_connect(other, &connect), NVME_OK);
	assert_int_equal(host_command(other, &reserve), NVME_OK);
	keys = (struct nvme_reservation_keys){ .current = 5 };
	reserve.sqe = (struct nvme_sqe){ .opcode = NVME_RESERVATION_ACQUIRE,
					 .nsid = 1,
					 .cdw10 = NVME_RESERVE_WRITE_EXCLUSIVE << 8 };
	/* Taken while the second's data is on its way, and before a pair comes. */
	struct pair late = pair_of(zeroes, ones);
	half_send(bench.io, &late, FIRST);
	half_send(bench.io, &late, SECOND);
	assert_int_equal(host_command(other, &reserve), NVME_OK);
	pair_go_on(bench.io, &late);
	pair_check(&late, FAILED | NVME_DNR, NVME_RESERVATION_CONFLICT | NVME_DNR);
	pair_expect(bench.io, pair_of(zeroes, ones), FAILED | NVME_DNR, NVME_RESERVATION_CONFLICT | NVME_DNR);
	assert_false(written(bench.rig));
	host_free(other);
	host_free(admin);
	bench_free(&bench);
}

/* The device fails the compare: whether trying again is of use is the same for both. */
static void test_device(void **state)
{
	static const struct {
		enum dpu_block_status answer;
		uint16_t first, second;
	} cases[] = {
		{ DPU_BLOCK_IO_ERROR, NVME_UNRECOVERED_READ, FAILED },
		{ DPU_BLOCK_GONE, NVME_NAMESPACE_NOT_READY, FAILED },
		{ DPU_BLOCK_INTEGRITY, NVME_UNRECOVERED_READ | NVME_DNR, FAILED | NVME_DNR },
	};
	struct bench bench = bench_new(&(struct rig_options){ .sector = 512, .crcs = true }, 0);
	struct test_device *device = (struct test_device *)bench.rig->ram[0];

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		device->answer = cases[i].answer;
		pair_expect(bench.io, pair_of(zeroes, ones), cases[i].first, cases[i].second);
	}
	bench_free(&bench);
}

/* The write of a pair fails: the compare was right and stays so (NVM 2.1.4). */
static void test_write_fails(void **state)
{
	struct bench bench = bench_new(&(struct rig_options){ .sector = 512, .features = DPU_BLOCK_F_READ_ONLY }, 0);

	pair_expect(bench.io, pair_of(zeroes, zeroes), NVME_OK, NVME_WRITE_PROTECTED | NVME_DNR);
	bench_free(&bench);
}

static void ignore(void *arg)
{
}

/* A device that does not come back while they wait for it. */
static void test_device_away(void **state)
{
	struct bench bench = bench_new(NULL, 0);
	struct pair pair = pair_of(zeroes, ones);
	uint64_t now_ns = 1;

	nvme_namespace_release(bench.rig->ns[0], ignore, NULL);
	nvme_subsystem_tick(bench.rig->subsystem, now_ns);
	pair_run(bench.io, &pair);
	pair_check(&pair, NONE, NONE);
	for (unsigned i = 0; i < 12; i++)
		nvme_subsystem_tick(bench.rig->subsystem, now_ns += CLOCK_NS_PER_S);
	answers_take(bench.io, &pair);
	pair_check(&pair, NVME_NAMESPACE_NOT_READY, FAILED);
	bench_free(&bench);
}

/* ---- Abort, reset ---- */

static void abort_half(struct bench *bench, const struct pair *pair, unsigned half)
{
	struct exchange abort = { .sqe = { .opcode = NVME_ADMIN_ABORT,
					   .cdw10 = (uint32_t)pair->sqe[half].cid << 16 | 1 } };

	assert_int_equal(host_command(bench->admin, &abort), NVME_OK);
	assert_int_equal(abort.cqe.dw0, 0); /* it was */
}

/* The first before its second is there, which then comes or does not; either of two that wait for their device. The
 * pair may be tried again. */
static void test_abort(void **state)
{
	struct bench bench = bench_new(NULL, 0);
	struct nvme_sqe flush = { .opcode = NVME_FLUSH, .nsid = 1 };

	for (unsigned between = 0; between < 2; between++) {
		struct pair pair = pair_of(zeroes, ones);

		half_send(bench.io, &pair, FIRST);
		abort_half(&bench, &pair, FIRST);
		answers_take(bench.io, &pair);
		pair_check(&pair, NVME_ABORT_REQUESTED, NONE);
		if (between) {
			host_capsule(bench.io, &flush, NULL, 0);
			rig_poll(bench.rig);
			assert_non_null(host_receive(bench.io));
		}
		half_send(bench.io, &pair, SECOND);
		answers_take(bench.io, &pair);
		pair_check(&pair, NVME_ABORT_REQUESTED, between ? MISSING | NVME_DNR : FAILED);
	}
	for (unsigned half = 0; half < HALVES; half++) {
		struct pair pair = pair_of(zeroes, ones);

		nvme_namespace_release(bench.rig->ns[0], ignore, NULL);
		pair_run(bench.io, &pair);
		abort_half(&bench, &pair, half);
		answers_take(bench.io, &pair);
		pair_check(&pair, half == FIRST ? NVME_ABORT_REQUESTED : FAILED,
			   half == FIRST ? FAILED : NVME_ABORT_REQUESTED);
		nvme_namespace_attach(bench.rig->ns[0], bench.rig->ram[0], NULL);
	}
	assert_false(written(bench.rig));
	pair_expect(bench.io, pair_of(zeroes, ones), NVME_OK, NVME_OK);
	bench_free(&bench);
}

/* The controller is reset while the first waits, or both: its I/O queues go, nobody is told anything, nothing is held
 * and nothing is written. */
static void test_reset(void **state)
{
	for (unsigned sent = 1; sent <= HALVES; sent++) {
		struct bench bench = bench_new(NULL, 0);
		struct pair pair = pair_of(zeroes, ones);

		half_send(bench.io, &pair, FIRST);
		if (sent == HALVES)
			half_send(bench.io, &pair, SECOND);
		assert_int_equal(host_property_set(bench.admin, NVME_CC, 0), NVME_OK);
		assert_true(bench.io->closed);
		answers_take(bench.io, &pair);
		pair_check(&pair, NONE, NONE);
		host_break(bench.io);
		assert_int_equal(nvme_pool_used(bench.rig->pool), 0);
		assert_false(written(bench.rig));
		bench_free(&bench);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compare),     cmocka_unit_test(test_missing), cmocka_unit_test(test_no_pair),
		cmocka_unit_test(test_malformed),   cmocka_unit_test(test_spoilt),  cmocka_unit_test(test_path),
		cmocka_unit_test(test_reserved),    cmocka_unit_test(test_device),  cmocka_unit_test(test_write_fails),
		cmocka_unit_test(test_device_away), cmocka_unit_test(test_abort),   cmocka_unit_test(test_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
