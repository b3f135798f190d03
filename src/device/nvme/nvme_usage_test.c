// SPDX-License-Identifier: BSD-3-Clause
/* What hosts learn of the use of a namespace: SMART, of it alone and of the controller, and NUSE; and whose each
 * log is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "base/clock.h"
#include "device/nvme/nvme_test_device.h"
#include "device/nvme/nvme_test_host.h"

static struct nvme_log_smart smart;

static uint16_t log_of(struct host *admin, uint8_t page, uint32_t nsid, void *to, uint32_t bytes)
{
	return host_log(admin, page, nsid, 0, to, bytes);
}

static uint16_t smart_of(struct host *admin, uint32_t nsid)
{
	return log_of(admin, NVME_LOG_SMART, nsid, &smart, sizeof(smart));
}

static void assert_smart(struct host *admin, uint32_t nsid, const uint64_t expected[4])
{
	assert_int_equal(smart_of(admin, nsid), NVME_OK);
	assert_int_equal(smart.host_reads[0], expected[0]);
	assert_int_equal(smart.data_read[0], expected[1]);
	assert_int_equal(smart.host_writes[0], expected[2]);
	assert_int_equal(smart.data_written[0], expected[3]);
}

static uint16_t read_of(struct host *io, uint32_t nsid, uint16_t blocks)
{
	static uint8_t data[512 * 8];
	struct exchange exchange = {
		.sqe = { .opcode = NVME_READ, .nsid = nsid, .cdw12 = blocks - 1u },
		.in = data,
		.in_bytes = blocks * 512u,
	};

	return host_command(io, &exchange);
}

static uint16_t copy(struct host *io, uint16_t blocks)
{
	const struct nvme_copy_range range = { .lba = 0, .blocks = (uint16_t)(blocks - 1) };
	struct exchange exchange = {
		.sqe = { .opcode = NVME_COPY, .nsid = 1, .cdw10 = 4096 },
		.out = &range,
		.out_bytes = sizeof(range),
		.in_capsule = true,
	};

	return host_command(io, &exchange);
}

/* NVM 1.4.2: Compare and Read read, Write writes, Copy does both but gives the host nothing; data that is not what the
 * host thought is no error of the medium. In thousands of 512 bytes,
 * rounded up. */
static void test_smart(void **state)
{
	static uint8_t data[512000], other[512];
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;

	other[0] = 1;
	host_pair(rig, &admin, &io, 0, 0);
	assert_int_equal(host_transfer(io, NVME_WRITE, 0, 1000, data, 512000, false), NVME_OK);
	assert_int_equal(host_transfer(io, NVME_WRITE, 0, 1, data, 512, true), NVME_OK);
	assert_int_equal(host_transfer(io, NVME_READ, 0, 1000, data, 512000, false), NVME_OK);
	assert_int_equal(host_transfer(io, NVME_COMPARE, 0, 1000, data, 512000, false), NVME_OK);
	assert_int_equal(host_transfer(io, NVME_COMPARE, 0, 1, other, 512, true), NVME_COMPARE_FAILURE | NVME_DNR);
	assert_smart(admin, NVME_NSID_ALL, (const uint64_t[]){ 3, 2, 2, 2 });
	assert_int_equal(smart.media_errors[0], 0);
	assert_int_equal(smart.error_entries[0], 1);
	assert_int_equal(copy(io, 2000), NVME_OK);
	assert_smart(admin, NVME_NSID_ALL, (const uint64_t[]){ 4, 2, 3, 4 });
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* LPA bit 0: of a namespace what all hosts did to it, of the controller what was done through it. */
static void test_smart_namespaces(void **state)
{
	static uint8_t data[4096];
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .crcs = true });
	struct host *admin, *io, *other_admin, *other;
	struct nvme_identify_controller id;
	struct exchange identify = {
		.sqe = { .opcode = NVME_ADMIN_IDENTIFY, .cdw10 = NVME_CNS_CONTROLLER },
		.in = &id,
		.in_bytes = sizeof(id),
	};

	host_pair(rig, &admin, &io, 0, 0);
	host_pair(rig, &other_admin, &other, 0, 0);
	assert_int_equal(host_command(admin, &identify), NVME_OK);
	assert_int_equal(id.lpa & 1, 1);
	assert_int_equal(host_transfer(io, NVME_WRITE, 0, 8, data, sizeof(data), true), NVME_OK);
	assert_int_equal(read_of(io, 2, 8), NVME_OK);
	assert_int_equal(read_of(other, 2, 8), NVME_OK);
	assert_smart(admin, 1, (const uint64_t[]){ 0, 0, 1, 1 });
	assert_smart(admin, 2, (const uint64_t[]){ 2, 1, 0, 0 });
	assert_smart(admin, 0, (const uint64_t[]){ 1, 1, 1, 1 });
	assert_smart(other_admin, NVME_NSID_ALL, (const uint64_t[]){ 1, 1, 0, 0 });
	((struct test_device *)rig->ram[1])->answer = DPU_BLOCK_IO_ERROR;
	assert_int_equal(read_of(other, 2, 8), NVME_UNRECOVERED_READ);
	assert_int_equal(smart_of(admin, 1), NVME_OK);
	assert_int_equal(smart.media_errors[0], 0);
	assert_int_equal(smart_of(admin, 2), NVME_OK);
	assert_int_equal(smart.media_errors[0], 1);
	assert_int_equal(smart_of(admin, 0), NVME_OK);
	assert_int_equal(smart.media_errors[0], 0);
	assert_int_equal(smart_of(admin, 3), NVME_INVALID_NAMESPACE | NVME_DNR);
	assert_int_equal(smart_of(admin, NVME_NSID_ALL - 1), NVME_INVALID_NAMESPACE | NVME_DNR);
	host_free(other);
	host_free(other_admin);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

static void nothing(void *arg)
{
}

static void assert_used(struct host *admin, uint64_t used, bool thin)
{
	static struct nvme_identify_namespace id;
	struct exchange exchange = {
		.sqe = { .opcode = NVME_ADMIN_IDENTIFY, .nsid = 1, .cdw10 = NVME_CNS_NAMESPACE },
		.in = &id,
		.in_bytes = sizeof(id),
	};

	assert_int_equal(host_command(admin, &exchange), NVME_OK);
	assert_int_equal(id.nsze, (16 << 20) / 512);
	assert_int_equal(id.ncap, id.nsze);
	assert_int_equal(id.nuse, used);
	assert_int_equal(id.nsfeat & 1, thin);
}

/* NVM 2.1.1: NUSE of what is thin is what is allocated, never more than NCAP; of all else it is NCAP. */
static void test_utilization(void **state)
{
	_Atomic uint64_t allocated = 0;
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	uint64_t all = rig->ram[0]->bytes / 512;

	host_pair(rig, &admin, &io, 0, 0);
	assert_used(admin, all, false);
	nvme_namespace_release(rig->ns[0], nothing, NULL);
	nvme_namespace_attach(rig->ns[0], rig->ram[0], &allocated);
	assert_used(admin, 0, true);
	allocated = 3 * 4096;
	assert_used(admin, 24, true);
	allocated = rig->ram[0]->bytes + 4096; /* it has been cut meanwhile */
	assert_used(admin, all, true);
	allocated = 4096;
	nvme_namespace_release(rig->ns[0], nothing, NULL);
	allocated = 8192; /* nobody may look at it any more */
	assert_used(admin, 8, true);
	nvme_namespace_attach(rig->ns[0], rig->ram[0], NULL);
	assert_used(admin, all, false);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* Base 2.1, 5.1.12.1: whoever asks for one namespace's is refused where the log is of the controller. */
static void test_scope(void **state)
{
	static const uint8_t pages[] = {
		NVME_LOG_SUPPORTED, NVME_LOG_ERRORS, NVME_LOG_FIRMWARE,        NVME_LOG_CHANGED_NAMESPACES,
		NVME_LOG_EFFECTS,   NVME_LOG_ANA,    NVME_LOG_FEATURE_EFFECTS, NVME_LOG_RESERVATION,
	};
	static uint8_t page[64];
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned i = 0; i < sizeof(pages); i++) {
		assert_int_equal(log_of(admin, pages[i], 0, page, sizeof(page)), NVME_OK);
		assert_int_equal(log_of(admin, pages[i], NVME_NSID_ALL, page, sizeof(page)), NVME_OK);
		assert_int_equal(log_of(admin, pages[i], 1, page, sizeof(page)), NVME_INVALID_FIELD | NVME_DNR);
	}
	struct exchange index = {
		.sqe = { .opcode = NVME_ADMIN_GET_LOG_PAGE, .cdw10 = 15u << 16, .cdw14 = NVME_LOG_INDEX_OFFSET },
		.in = page,
		.in_bytes = sizeof(page),
	};
	assert_int_equal(host_command(admin, &index), NVME_INVALID_FIELD | NVME_DNR);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* Base 2.1, 3.1.3.5: what a discovery controller must tell of its commands and features, too. */
static void test_discovery_effects(void **state)
{
	static struct nvme_log_effects effects;
	static uint32_t features[256], supported[256];
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .discovery = true });
	struct host *admin = host_new(rig);

	assert_int_equal(host_connect(admin, &(struct host_connect){ .subnqn = NVME_DISCOVERY_NQN }), NVME_OK);
	assert_int_equal(log_of(admin, NVME_LOG_SUPPORTED, 0, supported, sizeof(supported)), NVME_OK);
	assert_true(supported[NVME_LOG_EFFECTS] && supported[NVME_LOG_FEATURE_EFFECTS]);
	assert_int_equal(log_of(admin, NVME_LOG_EFFECTS, 0, &effects, sizeof(effects)), NVME_OK);
	assert_int_equal(effects.admin[NVME_ADMIN_GET_LOG_PAGE], NVME_EFFECT_SUPPORTED);
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(effects.io[i], 0);
	assert_int_equal(log_of(admin, NVME_LOG_FEATURE_EFFECTS, 0, features, sizeof(features)), NVME_OK);
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(features[i] & 1, i == NVME_FEATURE_ASYNC_EVENTS || i == NVME_FEATURE_KEEP_ALIVE);
	host_free(admin);
	rig_free(rig);
}

/* Of the controller: nobody looks at the time while a subsystem has none. */
static void test_power_hours(void **state)
{
	static const uint64_t HOUR_NS = 3600 * CLOCK_NS_PER_S;
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;

	host_pair(rig, &admin, &io, 0, 0);
	assert_int_equal(smart_of(admin, 0), NVME_OK);
	assert_int_equal(smart.power_hours[0], 0);
	for (unsigned hours = 0; hours < 3; hours++) {
		nvme_subsystem_tick(rig->subsystem, (50 + hours) * HOUR_NS);
		assert_int_equal(smart_of(admin, 0), NVME_OK);
		assert_int_equal(smart.power_hours[0], hours);
	}
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smart),
		cmocka_unit_test(test_power_hours),
		cmocka_unit_test(test_smart_namespaces),
		cmocka_unit_test(test_utilization),
		cmocka_unit_test(test_scope),
		cmocka_unit_test(test_discovery_effects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
