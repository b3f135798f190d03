// SPDX-License-Identifier: BSD-3-Clause
/* Reservations: the state machine against the tables of the specification, and by the wire with three hosts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "device/nvme/nvme_reservation.h"
#include "device/nvme/nvme_test_host.h"

static const uint8_t A[16] = { 1 }, B[16] = { 2 }, C[16] = { 3 };
static struct reservation_effects effects;

static uint16_t enroll(struct nvme_reservations *state, const uint8_t *host, uint64_t key)
{
	return reservation_register(state, host, NVME_REGISTER, 0, key, &effects);
}

static uint16_t acquire(struct nvme_reservations *state, const uint8_t *host, uint8_t action, uint8_t type,
			uint64_t key, uint64_t other)
{
	return reservation_acquire(state, host, action | (uint32_t)type << 8, key, other, &effects);
}

/* Who may read and write: holder, registrant, stranger, for each type (figure of 8.19). */
static void test_rights(void **state)
{
	static const struct {
		uint8_t type;
		bool registrant_reads, registrant_writes, stranger_reads;
	} rows[] = {
		{ NVME_RESERVE_WRITE_EXCLUSIVE, true, false, true },
		{ NVME_RESERVE_EXCLUSIVE_ACCESS, false, false, false },
		{ NVME_RESERVE_WRITE_EXCLUSIVE_REGISTRANTS, true, true, true },
		{ NVME_RESERVE_EXCLUSIVE_ACCESS_REGISTRANTS, true, true, false },
		{ NVME_RESERVE_WRITE_EXCLUSIVE_ALL, true, true, true },
		{ NVME_RESERVE_EXCLUSIVE_ACCESS_ALL, true, true, false },
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_reservations r = { 0 };

		assert_true(reservation_allows(&r, C, true));
		assert_int_equal(acquire(&r, A, NVME_ACQUIRE, rows[i].type, 11, 0), NVME_RESERVATION_CONFLICT);
		assert_int_equal(enroll(&r, A, 11), NVME_OK);
		assert_int_equal(enroll(&r, B, 22), NVME_OK);
		assert_int_equal(acquire(&r, A, NVME_ACQUIRE, rows[i].type, 99, 0), NVME_RESERVATION_CONFLICT);
		assert_int_equal(acquire(&r, A, NVME_ACQUIRE, rows[i].type, 11, 0), NVME_OK);
		assert_true(reservation_allows(&r, A, false) && reservation_allows(&r, A, true));
		assert_int_equal(reservation_allows(&r, B, false), rows[i].registrant_reads);
		assert_int_equal(reservation_allows(&r, B, true), rows[i].registrant_writes);
		assert_int_equal(reservation_allows(&r, C, false), rows[i].stranger_reads);
		assert_false(reservation_allows(&r, C, true));
		bool all = rows[i].type >= NVME_RESERVE_WRITE_EXCLUSIVE_ALL;
		assert_int_equal(acquire(&r, B, NVME_ACQUIRE, rows[i].type, 22, 0),
				 all ? NVME_OK : NVME_RESERVATION_CONFLICT);
		assert_int_equal(acquire(&r, A, NVME_ACQUIRE, rows[i].type % 6 + 1, 11, 0), NVME_RESERVATION_CONFLICT);
	}
}

static void test_register(void **state)
{
	struct nvme_reservations r = { 0 };

	assert_int_equal(enroll(&r, A, 0), NVME_INVALID_FIELD);
	assert_int_equal(enroll(&r, A, 1), NVME_OK);
	assert_int_equal(enroll(&r, A, 1), NVME_OK);
	assert_int_equal(enroll(&r, A, 2), NVME_RESERVATION_CONFLICT);
	assert_int_equal(r.generation, 2);
	assert_int_equal(reservation_register(&r, A, NVME_REGISTER_REPLACE, 9, 2, &effects), NVME_RESERVATION_CONFLICT);
	assert_int_equal(reservation_register(&r, A, NVME_REGISTER_REPLACE, 1, 2, &effects), NVME_OK);
	assert_int_equal(reservation_register(&r, A, NVME_REGISTER_REPLACE | NVME_IEKEY, 9, 3, &effects), NVME_OK);
	/* Nor does it matter then that there is no key. */
	assert_int_equal(reservation_register(&r, B, NVME_REGISTER_REPLACE, 9, 4, &effects), NVME_RESERVATION_CONFLICT);
	assert_int_equal(reservation_register(&r, B, NVME_UNREGISTER, 9, 0, &effects), NVME_RESERVATION_CONFLICT);
	assert_int_equal(reservation_register(&r, B, NVME_REGISTER_REPLACE | NVME_IEKEY, 9, 0, &effects),
			 NVME_INVALID_FIELD);
	assert_int_equal(reservation_register(&r, B, NVME_UNREGISTER | NVME_IEKEY, 9, 0, &effects), NVME_OK);
	assert_int_equal(r.count, 1);
	assert_int_equal(reservation_register(&r, B, NVME_REGISTER_REPLACE | NVME_IEKEY, 9, 4, &effects), NVME_OK);
	assert_int_equal(r.count, 2);
	assert_int_equal(r.registrant[1].key, 4);
	assert_int_equal(reservation_register(&r, B, NVME_UNREGISTER | NVME_IEKEY, 9, 0, &effects), NVME_OK);
	assert_int_equal(r.count, 1);
	assert_int_equal(reservation_register(&r, A, NVME_REGISTER | 1u << 30, 0, 3, &effects), NVME_INVALID_FIELD);
	assert_int_equal(reservation_register(&r, A, 5, 0, 3, &effects), NVME_INVALID_FIELD);
	assert_int_equal(reservation_register(&r, A, NVME_UNREGISTER, 9, 0, &effects), NVME_RESERVATION_CONFLICT);
	assert_int_equal(reservation_register(&r, A, NVME_UNREGISTER, 3, 0, &effects), NVME_OK);
	assert_int_equal(r.count, 0);
	/* The number of registrants has a limit, and the one too many an error. */
	for (unsigned i = 0; i < RESERVATION_REGISTRANTS_MAX; i++)
		assert_int_equal(enroll(&r, (const uint8_t[16]){ 9, (uint8_t)i }, i + 1), NVME_OK);
	assert_int_equal(enroll(&r, A, 1), NVME_INTERNAL_ERROR);
	assert_int_equal(r.count, RESERVATION_REGISTRANTS_MAX);
}

static void test_preempt(void **state)
{
	struct nvme_reservations r = { 0 };

	enroll(&r, A, 1);
	enroll(&r, B, 2);
	enroll(&r, C, 3);
	assert_int_equal(acquire(&r, A, NVME_ACQUIRE, NVME_RESERVE_WRITE_EXCLUSIVE_REGISTRANTS, 1, 0), NVME_OK);
	assert_int_equal(acquire(&r, B, NVME_PREEMPT, NVME_RESERVE_WRITE_EXCLUSIVE, 2, 0), NVME_INVALID_FIELD);
	assert_int_equal(acquire(&r, B, NVME_PREEMPT, NVME_RESERVE_WRITE_EXCLUSIVE, 2, 77), NVME_RESERVATION_CONFLICT);
	/* A registrant that does not hold it: only its registration goes. */
	assert_int_equal(acquire(&r, B, NVME_PREEMPT, NVME_RESERVE_WRITE_EXCLUSIVE, 2, 3), NVME_OK);
	assert_int_equal(effects.count, 1);
	assert_int_equal(effects.told[0].notice, NVME_REGISTRATION_PREEMPTED);
	assert_int_equal(r.type, NVME_RESERVE_WRITE_EXCLUSIVE_REGISTRANTS);
	/* The holder: the reservation changes hands. */
	enroll(&r, C, 3);
	assert_int_equal(acquire(&r, B, NVME_PREEMPT_ABORT, NVME_RESERVE_EXCLUSIVE_ACCESS, 2, 1), NVME_OK);
	assert_int_equal(effects.count, 2); /* A is preempted, C hears that it has lost its rights */
	assert_true(reservation_allows(&r, B, true));
	assert_false(reservation_allows(&r, A, false) || reservation_allows(&r, C, false));
	/* Clear: everybody else hears of it. */
	assert_int_equal(reservation_release(&r, C, NVME_CLEAR, 3, &effects), NVME_OK);
	assert_int_equal(effects.count, 1);
	assert_int_equal(effects.told[0].notice, NVME_RESERVATION_PREEMPTED);
	assert_true(r.count == 0 && r.type == NVME_RESERVE_NONE);
	/* All registrants: key 0 preempts all others. */
	enroll(&r, A, 1);
	enroll(&r, B, 2);
	assert_int_equal(acquire(&r, A, NVME_ACQUIRE, NVME_RESERVE_EXCLUSIVE_ACCESS_ALL, 1, 0), NVME_OK);
	enroll(&r, C, 3);
	assert_true(reservation_allows(&r, C, true));
	assert_int_equal(acquire(&r, C, NVME_PREEMPT, NVME_RESERVE_EXCLUSIVE_ACCESS_ALL, 3, 0), NVME_OK);
	assert_int_equal(r.count, 1);
	/* Release: by somebody else nothing happens, of another type it is an error. */
	assert_int_equal(reservation_release(&r, C, NVME_RELEASE | 1 << 8, 3, &effects), NVME_INVALID_FIELD);
	assert_int_equal(reservation_release(&r, A, NVME_RELEASE | 6 << 8, 1, &effects), NVME_RESERVATION_CONFLICT);
	assert_int_equal(reservation_release(&r, C, NVME_RELEASE | 6 << 8, 3, &effects), NVME_OK);
	assert_int_equal(r.type, NVME_RESERVE_NONE);
	assert_int_equal(reservation_release(&r, C, NVME_RELEASE | 6 << 8, 3, &effects), NVME_OK);
}

static void test_image(void **state)
{
	struct nvme_reservations r = { 0 }, back;
	uint8_t image[RESERVATION_IMAGE_BYTES_MAX];

	enroll(&r, A, 1);
	assert_int_equal(reservation_save(&r, image), 0);
	assert_int_equal(reservation_register(&r, B, NVME_REGISTER | 3u << 30, 0, 2, &effects), NVME_OK);
	acquire(&r, B, NVME_ACQUIRE, NVME_RESERVE_EXCLUSIVE_ACCESS, 2, 0);
	size_t bytes = reservation_save(&r, image);
	assert_true(reservation_load(&back, image, bytes));
	assert_true(back.type == NVME_RESERVE_EXCLUSIVE_ACCESS && back.count == 2 && back.persist);
	assert_true(reservation_allows(&back, B, true) && !reservation_allows(&back, A, false));
	assert_int_equal(back.generation, r.generation);
	for (size_t i = 0; i < bytes; i++) { /* any byte that is wrong, any length that is short */
		image[i] ^= 0x40;
		assert_false(reservation_load(&back, image, bytes));
		image[i] ^= 0x40;
		assert_int_equal(reservation_load(&back, image, i), i == 0);
	}
}

/* Check sums are right, and yet no commands lead there. */
static void test_contradictions(void **state)
{
	static const struct {
		uint8_t type, holders, count;
		bool same_host, no_key;
		size_t at;
	} cases[] = {
		{ NVME_RESERVE_WRITE_EXCLUSIVE, 0, 2, false, false, 20 },
		{ NVME_RESERVE_WRITE_EXCLUSIVE, 2, 2, false, false, 20 },
		{ NVME_RESERVE_NONE, 1, 2, false, false, 20 },
		{ NVME_RESERVE_EXCLUSIVE_ACCESS_ALL, 1, 2, false, false, 20 },
		{ NVME_RESERVE_EXCLUSIVE_ACCESS_ALL, 0, 0, false, false, 20 },
		{ NVME_RESERVE_TYPES, 1, 2, false, false, 20 },
		{ NVME_RESERVE_WRITE_EXCLUSIVE, 1, 2, true, false, 64 },
		{ NVME_RESERVE_WRITE_EXCLUSIVE, 1, 2, false, true, 32 },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct nvme_reservations r = { .type = cases[i].type, .persist = true, .count = cases[i].count };
		uint8_t image[RESERVATION_IMAGE_BYTES_MAX];
		size_t at;

		for (uint8_t j = 0; j < r.count; j++) {
			r.registrant[j].host[0] = cases[i].same_host ? 1 : j + 1;
			r.registrant[j].key = !cases[i].no_key;
			r.registrant[j].holder = j < cases[i].holders;
		}
		size_t bytes = reservation_save(&r, image);
		if (!reservation_image_error(image, bytes, &at) || at != cases[i].at)
			fail_msg("case %u: byte %zu", i, at);
		assert_false(reservation_load(&r, image, bytes));
	}
}

/* ---- by the wire ---- */

static uint16_t command(struct host *io, uint8_t opcode, uint32_t cdw10, uint64_t current, uint64_t other)
{
	struct nvme_reservation_keys keys = { current, other };
	struct exchange exchange = {
		.sqe = { .opcode = opcode, .nsid = 1, .cdw10 = cdw10 },
		.out = &keys,
		.out_bytes = opcode == NVME_RESERVATION_RELEASE ? 8 : 16,
		.in_capsule = true,
	};

	return host_command(io, &exchange);
}

static uint16_t block_io(struct host *io, uint8_t opcode)
{
	static uint8_t data[512];
	struct exchange exchange = { .sqe = { .opcode = opcode, .nsid = 1 } };

	if (opcode == NVME_READ) {
		exchange.in = data;
		exchange.in_bytes = 512;
	} else if (opcode != NVME_FLUSH) {
		exchange.out = data;
		exchange.out_bytes = 512;
	}
	return host_command(io, &exchange);
}

static void connect_host(struct rig *rig, uint8_t hostid, struct host **admin, struct host **io)
{
	struct host_connect connect = { .hostid = hostid };

	*admin = host_new(rig);
	*io = host_new(rig);
	assert_int_equal(host_connect(*admin, &connect), NVME_OK);
	connect.cntlid = (uint16_t)connect.cqe.result;
	connect.qid = 1;
	assert_int_equal(host_connect(*io, &connect), NVME_OK);
}

static void test_by_wire(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin[3], *io[3];
	uint8_t report[64 + 3 * 64];
	const uint16_t conflict = NVME_RESERVATION_CONFLICT | NVME_DNR;

	for (uint8_t i = 0; i < 3; i++)
		connect_host(rig, i, &admin[i], &io[i]);
	assert_int_equal(command(io[0], NVME_RESERVATION_REGISTER, 3u << 30, 0, 0xaa), NVME_OK);
	assert_int_equal(rig->persisted, 1);
	assert_int_equal(command(io[1], NVME_RESERVATION_REGISTER, 0, 0, 0xbb), NVME_OK);
	assert_int_equal(command(io[0], NVME_RESERVATION_ACQUIRE, 1 << 8, 0xaa, 0), NVME_OK);
	assert_int_equal(rig->persisted, 3);
	assert_int_equal(block_io(io[0], NVME_WRITE), NVME_OK);
	assert_int_equal(block_io(io[1], NVME_WRITE), conflict);
	assert_int_equal(block_io(io[1], NVME_READ), NVME_OK);
	assert_int_equal(block_io(io[2], NVME_WRITE), conflict);
	assert_int_equal(block_io(io[2], NVME_FLUSH), conflict);
	assert_int_equal(block_io(io[2], NVME_COMPARE), NVME_OK);

	struct exchange exchange = {
		.sqe = { .opcode = NVME_RESERVATION_REPORT, .nsid = 1, .cdw10 = sizeof(report) / 4 - 1, .cdw11 = 1 },
		.in = report,
		.in_bytes = sizeof(report)
	};
	assert_int_equal(host_command(io[2], &exchange), NVME_OK);
	const struct nvme_reservation_report *head = (const void *)report;
	const struct nvme_registrant_extended *entry = (const void *)(report + 64);
	assert_true(head->rtype == 1 && head->registrants == 2 && head->ptpls == 1);
	assert_true(entry[0].key == 0xaa && entry[0].rcsts == 1 && entry[1].rcsts == 0 && entry[2].key == 0);
	exchange.sqe.cdw11 = 0;
	assert_int_equal(host_command(io[2], &exchange), NVME_HOST_ID_INCONSISTENT | NVME_DNR);

	/* The preempted host is told by an event and a log entry. */
	struct nvme_sqe ask = { .opcode = NVME_ADMIN_ASYNC_EVENT_REQUEST };
	uint16_t cid = host_capsule(admin[0], &ask, NULL, 0);
	assert_int_equal(command(io[1], NVME_RESERVATION_ACQUIRE, NVME_PREEMPT_ABORT | 1 << 8, 0xbb, 0xaa), NVME_OK);
	const struct nvme_cqe *cqe = &((const struct nvme_tcp_capsule_resp *)host_receive(admin[0]))->cqe;
	assert_int_equal(cqe->cid, cid);
	assert_int_equal(cqe->dw0, nvme_event(6, 0, 0x80));
	struct nvme_log_reservation notice;
	struct exchange log = { .sqe = { .opcode = NVME_ADMIN_GET_LOG_PAGE, .cdw10 = 0x80 | 15 << 16 },
				.in = &notice,
				.in_bytes = sizeof(notice) };
	assert_int_equal(host_command(admin[0], &log), NVME_OK);
	assert_true(notice.count == 1 && notice.type == NVME_REGISTRATION_PREEMPTED && notice.nsid == 1);
	assert_int_equal(host_command(admin[0], &log), NVME_OK);
	assert_int_equal(notice.count, 0);
	assert_int_equal(block_io(io[0], NVME_WRITE), conflict);
	assert_int_equal(block_io(io[1], NVME_WRITE), NVME_OK);

	/* What cannot be made durable is not answered with success. */
	rig->persist_error = -5;
	assert_int_equal(command(io[1], NVME_RESERVATION_RELEASE, 1 << 8, 0xbb, 0), NVME_INTERNAL_ERROR);
	rig->persist_error = 0;
	for (unsigned i = 0; i < 3; i++) {
		host_free(io[i]);
		host_free(admin[i]);
	}

	/* Power loss: a new target with the image has the same state. */
	struct nvme_reservations back;
	assert_true(reservation_load(&back, rig->image, rig->image_bytes));
	assert_int_equal(back.count, 1);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rights), cmocka_unit_test(test_register),       cmocka_unit_test(test_preempt),
		cmocka_unit_test(test_image),  cmocka_unit_test(test_contradictions), cmocka_unit_test(test_by_wire),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
