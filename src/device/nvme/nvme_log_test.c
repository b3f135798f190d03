// SPDX-License-Identifier: BSD-3-Clause
/* Logs that say what has happened: namespaces that changed, SMART's warnings, notices of reservations, discovery. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "device/nvme/nvme_test_host.h"

static uint8_t page[1 << 12];

static uint16_t log_read(struct host *admin, uint32_t cdw10, uint64_t offset, uint32_t bytes)
{
	return host_log(admin, cdw10, NVME_NSID_ALL, offset, page, bytes);
}

static void ignore(void *arg)
{
}

/* All namespaces there can be have changed: the log holds them, in order, and is empty when it was read. */
static void test_all_changed(void **state)
{
	enum { ALL = NVME_TARGET_NAMESPACES_MAX };
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	struct nvme_namespace *ns;
	const uint32_t *list = (const uint32_t *)page;

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned round = 0; round < 2; round++) {
		for (uint32_t nsid = ALL; nsid > 2; nsid--) {
			struct nvme_namespace_options options = { .nsid = nsid, .ana_group = 1 };

			assert_int_equal(nvme_namespace_add(rig->subsystem, &options, &ns), 0);
			nvme_namespace_lost(ns, 1 << 20);
			nvme_namespace_remove(ns, ignore, NULL);
		}
		nvme_namespace_lost(rig->ns[1], 0);
		nvme_namespace_attach(rig->ns[1], rig->ram[1], NULL);
		nvme_namespace_lost(rig->ns[0], 0);
		nvme_namespace_attach(rig->ns[0], rig->ram[0], NULL);
		assert_int_equal(log_read(admin, NVME_LOG_CHANGED_NAMESPACES | (round ? 0 : NVME_LOG_RAE), 0, 4096),
				 NVME_OK);
		for (uint32_t i = 0; i < ALL; i++)
			assert_int_equal(list[i], i + 1);
	}
	assert_int_equal(log_read(admin, NVME_LOG_CHANGED_NAMESPACES, 0, 4096), NVME_OK);
	for (unsigned i = 0; i < ALL; i++)
		assert_int_equal(list[i], 0);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* Thresholds of the temperature: of the composite, above and below; beyond one there is a warning, and an event. */
static void test_temperature(void **state)
{
	enum { SET = NVME_ADMIN_SET_FEATURES, GET = NVME_ADMIN_GET_FEATURES, ID = NVME_FEATURE_TEMPERATURE };
	static const struct {
		uint32_t value;
		uint16_t status;
		uint8_t warning;
	} rows[] = {
		{ 299, NVME_OK, NVME_SMART_TEMPERATURE },
		{ 343, NVME_OK, 0 },
		{ 1 << 20 | 300, NVME_OK, NVME_SMART_TEMPERATURE }, /* below */
		{ 1 << 20 | 15 << 16 | 280, NVME_OK, 0 },           /* of all sensors */
		{ 2 << 20 | 300, NVME_INVALID_FIELD | NVME_DNR, 0 },
		{ 1 << 16 | 300, NVME_INVALID_FIELD | NVME_DNR, 0 }, /* a sensor that is not there */
	};
	const struct nvme_log_smart *smart = (const void *)page;
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	uint32_t value;

	host_pair(rig, &admin, &io, 0, 0);
	assert_int_equal(host_feature(admin, SET, NVME_FEATURE_ASYNC_EVENTS, 0, NVME_EVENT_BIT_TEMPERATURE, &value),
			 NVME_OK);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_sqe event = { .opcode = NVME_ADMIN_ASYNC_EVENT_REQUEST };

		assert_int_equal(host_feature(admin, SET, ID, 0, rows[i].value, &value), rows[i].status);
		if (rows[i].warning) {
			uint16_t cid = host_capsule(admin, &event, NULL, 0);
			const struct nvme_tcp_capsule_resp *told = (const void *)host_receive(admin);

			assert_non_null(told);
			assert_int_equal(told->cqe.cid, cid);
			assert_int_equal(told->cqe.dw0, nvme_event(1, 1, NVME_LOG_SMART));
		}
		assert_int_equal(log_read(admin, NVME_LOG_SMART, 0, sizeof(*smart)), NVME_OK);
		assert_int_equal(smart->critical_warning, rows[i].warning);
	}
	assert_int_equal(host_feature(admin, GET, ID, 0, 1 << 20, &value), NVME_OK);
	assert_int_equal(value, 280);
	assert_int_equal(host_feature(admin, GET, ID | NVME_SELECT_DEFAULT << 8, 0, 1 << 20, &value), NVME_OK);
	assert_int_equal(value, 0);
	assert_int_equal(host_feature(admin, GET, ID, 0, 15 << 16, &value), NVME_INVALID_FIELD | NVME_DNR);
	assert_int_equal(host_property_set(admin, NVME_CC, 0), NVME_OK);
	assert_int_equal(host_property_set(admin, NVME_CC, 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT | 1),
			 NVME_OK);
	assert_int_equal(host_feature(admin, GET, ID, 0, 1 << 20, &value), NVME_OK);
	assert_int_equal(value, 0); /* as it was at the beginning */
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

static uint16_t keys(struct host *io, uint8_t opcode, uint32_t cdw10, uint64_t current, uint64_t other)
{
	const struct nvme_reservation_keys data = { current, other };
	struct exchange exchange = { .sqe = { .opcode = opcode, .nsid = 1, .cdw10 = cdw10 },
				     .out = &data,
				     .out_bytes = sizeof(data),
				     .in_capsule = true };

	return host_command(io, &exchange);
}

/* Notices of reservations: the last 16, numbered, with how many follow; those that are masked are none. */
static void test_notices(void **state)
{
	enum { TIMES = 20, KEPT = 16 };
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io, *other_admin = host_new(rig), *other = host_new(rig);
	struct host_connect connect = { .hostid = 9 };
	const struct nvme_log_reservation *notice = (const void *)page;
	uint32_t value;

	host_pair(rig, &admin, &io, 0, 0);
	assert_int_equal(host_connect(other_admin, &connect), NVME_OK);
	connect.cntlid = (uint16_t)connect.cqe.result;
	connect.qid = 1;
	assert_int_equal(host_connect(other, &connect), NVME_OK);
	assert_int_equal(keys(other, NVME_RESERVATION_REGISTER, 0, 0, 0xbb), NVME_OK);
	for (unsigned i = 0; i <= TIMES; i++) {
		if (i == TIMES) /* one more, that nobody wants to hear of */
			assert_int_equal(host_feature(admin, NVME_ADMIN_SET_FEATURES, NVME_FEATURE_RESERVATION_MASK, 1,
						      1 << 1, &value),
					 NVME_OK);
		assert_int_equal(keys(io, NVME_RESERVATION_REGISTER, 0, 0, 0xaa), NVME_OK);
		assert_int_equal(keys(other, NVME_RESERVATION_ACQUIRE, NVME_PREEMPT | 1 << 8, 0xbb, 0xaa), NVME_OK);
	}
	for (unsigned i = 0; i < KEPT; i++) {
		assert_int_equal(log_read(admin, NVME_LOG_RESERVATION, 0, 64), NVME_OK);
		assert_int_equal(notice->count, TIMES - KEPT + 1 + i);
		assert_int_equal(notice->pages, KEPT - 1 - i);
		assert_int_equal(notice->type, NVME_REGISTRATION_PREEMPTED);
	}
	assert_int_equal(log_read(admin, NVME_LOG_RESERVATION, 0, 64), NVME_OK);
	assert_true(notice->count == 0 && notice->type == NVME_RESERVATION_LOG_EMPTY);
	host_free(other);
	host_free(other_admin);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* A discovery log that changes between two of its parts tells so by its number; an entry that is longer than asked for
 * is cut, a part that goes on behind the end is zeroes there. */
static void test_discovery_parts(void **state)
{
	struct rig *rig = rig_new(&(struct rig_options){ .discovery = true });
	struct host *admin = host_new(rig);
	struct host_connect connect = { .kato = 60000 };
	struct nvme_discovery_record records[3] = {
		{ .entry = { .portid = 1 }, .any_host = true },
		{ .entry = { .portid = 2 }, .any_host = true },
		{ .entry = { .portid = 3 }, .any_host = true },
	};
	const struct nvme_log_discovery *log = (const void *)page;

	nvme_subsystem_discovery(rig->subsystem, records, 3, 41);
	assert_int_equal(host_connect(admin, &connect), NVME_OK);
	assert_int_equal(log_read(admin, NVME_LOG_DISCOVERY, 0, 1024), NVME_OK);
	assert_true(log->genctr == 41 && log->numrec == 3);
	nvme_subsystem_discovery(rig->subsystem, records, 2, 42);
	assert_int_equal(log_read(admin, NVME_LOG_DISCOVERY, 1024, 3072), NVME_OK);
	assert_int_equal(((const struct nvme_discovery_entry *)page)[1].portid, 2);
	assert_int_equal(((const struct nvme_discovery_entry *)page)[2].portid, 0);
	assert_int_equal(log_read(admin, NVME_LOG_DISCOVERY, 0, 16), NVME_OK);
	assert_true(log->genctr == 42 && log->numrec == 2);
	assert_int_equal(log_read(admin, NVME_LOG_DISCOVERY, 0, 16), NVME_OK);
	assert_int_equal(log->genctr, 42);
	host_free(admin);
	rig_free(rig);
}

/* Each host sees its records, of the log as it is now, whoever reads in between. */
static void test_discovery_hosts(void **state)
{
	static const char *const one[] = { "nqn.one" }, *const two[] = { "nqn.two" };
	struct rig *rig = rig_new(&(struct rig_options){ .discovery = true });
	struct host *hosts[2] = { host_new(rig), host_new(rig) };
	struct nvme_discovery_record records[2][3] = {
		{ { .entry = { .portid = 1 }, .hosts = one, .host_count = 1 },
		  { .entry = { .portid = 2 }, .hosts = two, .host_count = 1 },
		  { .entry = { .portid = 3 }, .any_host = true } },
		{ { .entry = { .portid = 4 }, .hosts = two, .host_count = 1 } },
	};
	static const uint16_t ports[2][2][2] = { { { 1, 3 }, { 2, 3 } }, { { 0, 0 }, { 4, 0 } } };
	const struct nvme_log_discovery *log = (const void *)page;
	const struct nvme_discovery_entry *entry = (const void *)(page + sizeof(*log));

	for (unsigned i = 0; i < 2; i++) {
		struct host_connect connect = { .kato = 60000, .hostnqn = i ? two[0] : one[0] };

		assert_int_equal(host_connect(hosts[i], &connect), NVME_OK);
	}
	for (unsigned look = 0; look < 8; look++) {
		unsigned round = look / 4, i = look % 2;

		if (look % 4 == 0)
			nvme_subsystem_discovery(rig->subsystem, records[round], round ? 1 : 3, 41 + round);
		assert_int_equal(log_read(hosts[i], NVME_LOG_DISCOVERY, 0, 3072), NVME_OK);
		assert_int_equal(log->genctr, 41 + round);
		assert_int_equal(log->numrec, round ? i : 2);
		assert_int_equal(entry[0].portid, ports[round][i][0]);
		assert_int_equal(entry[1].portid, ports[round][i][1]);
	}
	host_free(hosts[0]);
	host_free(hosts[1]);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_changed),     cmocka_unit_test(test_temperature),
		cmocka_unit_test(test_notices),         cmocka_unit_test(test_discovery_parts),
		cmocka_unit_test(test_discovery_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
