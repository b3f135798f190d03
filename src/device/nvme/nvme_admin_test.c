// SPDX-License-Identifier: BSD-3-Clause
/* Admin commands: identify, logs, features, events, abort, discovery. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "device/nvme/nvme_test_host.h"

static uint8_t page[1 << 20];

static uint16_t identify(struct host *admin, uint8_t cns, uint32_t nsid, uint8_t csi)
{
	struct exchange exchange = {
		.sqe = { .opcode = NVME_ADMIN_IDENTIFY, .nsid = nsid, .cdw10 = cns, .cdw11 = (uint32_t)csi << 24 },
		.in = page,
		.in_bytes = 4096,
	};

	memset(page, 0xee, 4096);
	return host_command(admin, &exchange);
}

static uint16_t log_read(struct host *admin, uint32_t cdw10, uint64_t offset, uint32_t bytes)
{
	return host_log(admin, cdw10, NVME_NSID_ALL, offset, page, bytes);
}

static uint16_t feature(struct host *admin, bool set, uint8_t id, uint32_t value, uint32_t *ret)
{
	return host_feature(admin, set ? NVME_ADMIN_SET_FEATURES : NVME_ADMIN_GET_FEATURES, id, 0, value, ret);
}

static bool all_zero(const uint8_t *bytes, size_t count)
{
	while (count-- > 0)
		if (*bytes++)
			return false;
	return true;
}

static void test_identify(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	const struct nvme_identify_controller *id = (const void *)page;
	const struct nvme_identify_namespace *ns = (const void *)page;
	const uint32_t *list = (const void *)page;

	host_pair(rig, &admin, &io, 3, 0);
	assert_int_equal(identify(admin, NVME_CNS_CONTROLLER, 0, 0), NVME_OK);
	assert_memory_equal(id->sn, "S1                  ", 20);
	assert_string_equal(id->subnqn, HOST_SUBNQN);
	assert_int_equal(id->ioccsz, (64 + 8192) / 16);
	assert_int_equal(id->iorcsz, 1);
	assert_int_equal(id->mdts, 8);
	assert_true(id->aerl >= 3 && id->kas > 0 && id->maxcmd == 128);
	assert_int_equal(id->oaes, NVME_EVENT_BIT_NAMESPACES | NVME_EVENT_BIT_ANA);
	assert_int_equal(id->cmic, 0x0b);
	assert_int_equal(id->sgls & 3, 1);
	assert_int_equal(identify(admin, NVME_CNS_NAMESPACE, 1, 0), NVME_OK);
	assert_int_equal(ns->nsze, (16 << 20) / 512);
	assert_int_equal(ns->lbaf[0].log2_bytes, 9);
	assert_int_equal(ns->nacwu, 7);
	assert_int_equal(ns->npwg, 7);
	assert_int_equal((ns->nows + 1) % (ns->npwg + 1), 0);
	assert_int_equal(ns->nguid[0], 1);
	/* Not active: zeroes. Not possible: an error. */
	assert_int_equal(identify(admin, NVME_CNS_NAMESPACE, 9, 0), NVME_OK);
	assert_true(all_zero(page, 4096));
	assert_int_equal(identify(admin, NVME_CNS_NAMESPACE, 0, 0), NVME_INVALID_NAMESPACE | NVME_DNR);
	assert_int_equal(identify(admin, NVME_CNS_NAMESPACE, 5000, 0), NVME_INVALID_NAMESPACE | NVME_DNR);
	assert_int_equal(identify(admin, NVME_CNS_ACTIVE_NAMESPACES, 0, 0), NVME_OK);
	assert_true(list[0] == 1 && list[1] == 2 && list[2] == 0);
	assert_int_equal(identify(admin, NVME_CNS_ACTIVE_NAMESPACES, 1, 0), NVME_OK);
	assert_true(list[0] == 2 && list[1] == 0);
	assert_int_equal(identify(admin, NVME_CNS_ACTIVE_NAMESPACES, NVME_NSID_ALL, 0),
			 NVME_INVALID_NAMESPACE | NVME_DNR);
	assert_int_equal(identify(admin, NVME_CNS_DESCRIPTORS, 2, 0), NVME_OK);
	assert_true(page[0] == NVME_ID_UUID && page[1] == 16 && page[4] == 2 && page[20] == NVME_ID_NGUID);
	assert_true(page[40] == NVME_ID_CSI && page[41] == 1 && page[45] == 0);
	assert_int_equal(identify(admin, NVME_CNS_DESCRIPTORS, 7, 0), NVME_INVALID_NAMESPACE | NVME_DNR);
	assert_int_equal(identify(admin, NVME_CNS_NAMESPACE_CSI, 1, 0), NVME_OK);
	assert_int_equal(identify(admin, NVME_CNS_NAMESPACE_CSI, 1, 2), NVME_INVALID_FIELD | NVME_DNR);
	assert_int_equal(identify(admin, NVME_CNS_CONTROLLER_CSI, 0, 0), NVME_OK);
	assert_int_equal(((const struct nvme_identify_nvm_controller *)page)->wzsl, 13);
	assert_int_equal(((const struct nvme_identify_nvm_controller *)page)->dmrl, 0); /* no limits: then all three */
	assert_int_equal(((const struct nvme_identify_nvm_controller *)page)->dmrsl, 0);
	assert_int_equal(((const struct nvme_identify_nvm_controller *)page)->dmsl, 0);
	assert_int_equal(identify(admin, NVME_CNS_CONTROLLER_CSI, 0, 2), NVME_INVALID_FIELD | NVME_DNR);
	assert_int_equal(identify(admin, NVME_CNS_ACTIVE_NAMESPACES_CSI, 0, 0), NVME_OK);
	assert_int_equal(list[1], 2);
	assert_int_equal(identify(admin, NVME_CNS_NAMESPACE_INDEPENDENT, 1, 0), NVME_OK);
	assert_int_equal(page[0], 0); /* among others not rotational */
	assert_int_equal(page[14], 1);
	assert_int_equal(identify(admin, NVME_CNS_COMMAND_SETS, 0, 0), NVME_OK);
	assert_int_equal(page[0], 1);
	assert_int_equal(identify(admin, 0x55, 0, 0), NVME_INVALID_FIELD | NVME_DNR);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

static void test_logs(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	static const struct {
		uint8_t page;
		uint32_t bytes;
	} pages[] = { { NVME_LOG_SUPPORTED, 1024 },
		      { NVME_LOG_ERRORS, 1024 },
		      { NVME_LOG_SMART, 512 },
		      { NVME_LOG_FIRMWARE, 512 },
		      { NVME_LOG_CHANGED_NAMESPACES, 4096 },
		      { NVME_LOG_EFFECTS, 4096 },
		      { NVME_LOG_ANA, 16 + 33 * 32 + 1024 * 4 }, /* the most that there can be */
		      { NVME_LOG_FEATURE_EFFECTS, 1024 },
		      { NVME_LOG_RESERVATION, 64 } };
	static uint8_t whole[8192];
	uint8_t ana[NVME_TARGET_ANA_GROUPS];

	memset(ana, NVME_ANA_OPTIMIZED, sizeof(ana));
	ana[1] = NVME_ANA_STATE_INACCESSIBLE;
	nvme_subsystem_port(rig->subsystem, 1, ana);
	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		assert_int_equal(log_read(admin, pages[i].page, 0, pages[i].bytes), NVME_OK);
		memcpy(whole, page, pages[i].bytes);
		/* In parts it is the same. */
		for (uint32_t at = 0; at < pages[i].bytes; at += 64) {
			assert_int_equal(log_read(admin, pages[i].page, at, 64), NVME_OK);
			assert_memory_equal(page, whole + at, 64);
		}
		assert_int_equal(log_read(admin, pages[i].page, pages[i].bytes, 64), NVME_OK);
		assert_int_equal(log_read(admin, pages[i].page, pages[i].bytes + 4, 64), NVME_INVALID_FIELD | NVME_DNR);
		assert_int_equal(log_read(admin, pages[i].page, UINT64_MAX - 3, 64), NVME_INVALID_FIELD | NVME_DNR);
		assert_int_equal(log_read(admin, pages[i].page, 2, 64), NVME_INVALID_FIELD | NVME_DNR);
	}
	assert_int_equal(log_read(admin, 0xc0, 0, 64), NVME_INVALID_LOG_PAGE | NVME_DNR);
	assert_int_equal(log_read(admin, NVME_LOG_ERRORS, 0, 64), NVME_OK);
	assert_int_equal(((const struct nvme_log_error *)page)->status >> 1, NVME_INVALID_LOG_PAGE | NVME_DNR);
	/* Groups that have members, and their state by this port. */
	assert_int_equal(log_read(admin, NVME_LOG_ANA, 0, 16 + 2 * 36), NVME_OK);
	const struct nvme_log_ana *header = (const void *)page;
	const struct nvme_ana_group *group = (const void *)(page + 16);
	assert_int_equal(header->groups, 2);
	assert_true(group->id == 1 && group->nsids == 1 && group->state == NVME_ANA_OPTIMIZED && group->nsid[0] == 1);
	group = (const void *)(page + 16 + 36);
	assert_true(group->id == 2 && group->state == NVME_ANA_STATE_INACCESSIBLE && group->nsid[0] == 2);
	assert_int_equal(log_read(admin, NVME_LOG_ANA | NVME_ANA_RGO << 8, 0, 16 + 2 * 32), NVME_OK);
	group = (const void *)(page + 16 + 32);
	assert_true(group->id == 2 && group->nsids == 0);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* What failed is in the log, newest first, with the byte that was at fault. */
static void test_error_log(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	const struct nvme_log_error *error = (const void *)page;
	static const struct {
		struct nvme_sqe sqe;
		uint16_t status, location;
	} cases[] = {
		{ { .opcode = 0x99, .nsid = 1 }, NVME_INVALID_OPCODE, 0 },
		{ { .opcode = NVME_FLUSH, .nsid = 77 }, NVME_INVALID_NAMESPACE, 4 },
		{ { .opcode = NVME_READ, .nsid = 1, .cdw10 = 1 << 30 }, NVME_LBA_RANGE, 40 },
		{ { .opcode = NVME_READ, .nsid = 1, .cdw12 = 1 << 29 }, NVME_INVALID_PROTECTION, 51 },
		{ { .opcode = NVME_READ, .nsid = 1, .cdw12 = 1 }, NVME_SGL_LENGTH_INVALID, 32 },
	};

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct exchange exchange = { .sqe = cases[i].sqe, .in = page, .in_bytes = 512 };

		assert_int_equal(host_command(io, &exchange), cases[i].status | NVME_DNR);
		assert_int_equal(log_read(admin, NVME_LOG_ERRORS, 0, 128), NVME_OK);
		assert_int_equal(error[0].count, i + 1);
		assert_int_equal(error[0].sqid, 1);
		assert_int_equal(error[0].cid, exchange.sqe.cid);
		assert_int_equal(error[0].status, (cases[i].status | NVME_DNR) << 1);
		assert_int_equal(error[0].location, cases[i].location);
		assert_int_equal(error[0].nsid, cases[i].sqe.nsid);
		assert_int_equal(error[1].count, i);
	}
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

static void test_features(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin = host_new(rig), *io;
	struct host_connect connect = { .kato = 5000 };
	uint32_t value;

	assert_int_equal(host_connect(admin, &connect), NVME_OK);
	assert_int_equal(feature(admin, true, NVME_FEATURE_QUEUES, 0x000f0003, &value), NVME_OK);
	assert_int_equal(value, 0x00030003);
	assert_int_equal(feature(admin, true, NVME_FEATURE_QUEUES, 0x00ff00ff, &value), NVME_OK);
	assert_int_equal(value, 0x00070007); /* as many as there may be */
	assert_int_equal(feature(admin, true, NVME_FEATURE_QUEUES, 0xffff, NULL), NVME_INVALID_FIELD | NVME_DNR);
	connect.cntlid = (uint16_t)connect.cqe.result;
	connect.qid = 1;
	io = host_new(rig);
	assert_int_equal(host_connect(io, &connect), NVME_OK);
	assert_int_equal(feature(admin, true, NVME_FEATURE_QUEUES, 0, NULL), NVME_SEQUENCE_ERROR | NVME_DNR);
	assert_int_equal(feature(admin, false, NVME_FEATURE_KEEP_ALIVE, 0, &value), NVME_OK);
	assert_int_equal(value, 5000);
	assert_int_equal(feature(admin, true, NVME_FEATURE_KEEP_ALIVE, 7000, NULL), NVME_OK);
	assert_int_equal(feature(admin, false, NVME_FEATURE_KEEP_ALIVE, 0, &value), NVME_OK);
	assert_int_equal(value, 7000);
	static const uint8_t tolerated[] = { NVME_FEATURE_ARBITRATION, NVME_FEATURE_TEMPERATURE,
					     NVME_FEATURE_ERROR_RECOVERY, NVME_FEATURE_WRITE_ATOMICITY };
	for (unsigned i = 0; i < sizeof(tolerated); i++) {
		assert_int_equal(feature(admin, true, tolerated[i], 3 + i, NULL), NVME_OK);
		assert_int_equal(feature(admin, false, tolerated[i], 0, &value), NVME_OK);
		assert_int_equal(value, 3 + i);
	}
	assert_int_equal(feature(admin, true, NVME_FEATURE_POWER, 1, NULL), NVME_INVALID_FIELD | NVME_DNR);
	assert_int_equal(feature(admin, false, NVME_FEATURE_WRITE_CACHE, 0, &value), NVME_OK);
	assert_int_equal(value, 1);
	assert_int_equal(feature(admin, true, NVME_FEATURE_HOST_ID, 0, NULL), NVME_SEQUENCE_ERROR | NVME_DNR);
	assert_int_equal(feature(admin, false, 0x33, 0, NULL), NVME_INVALID_FIELD | NVME_DNR);
	struct exchange hostid = {
		.sqe = { .opcode = NVME_ADMIN_GET_FEATURES, .cdw10 = NVME_FEATURE_HOST_ID, .cdw11 = 1 },
		.in = page,
		.in_bytes = 16
	};
	assert_int_equal(host_command(admin, &hostid), NVME_OK);
	assert_int_equal(page[0], 7);
	struct exchange behavior = { .sqe = { .opcode = NVME_ADMIN_SET_FEATURES, .cdw10 = NVME_FEATURE_HOST_BEHAVIOR },
				     .out = page,
				     .out_bytes = 512 };
	assert_int_equal(host_command(admin, &behavior), NVME_OK);
	/* Of a namespace: reservation notices, and whether reservations survive a power loss. */
	static const uint8_t of_namespace[] = { NVME_FEATURE_RESERVATION_MASK, NVME_FEATURE_RESERVATION_PERSISTENCE };
	for (unsigned i = 0; i < 2; i++) {
		struct exchange get = {
			.sqe = { .opcode = NVME_ADMIN_GET_FEATURES, .nsid = 1, .cdw10 = of_namespace[i] }
		};
		struct exchange set = { .sqe = { .opcode = NVME_ADMIN_SET_FEATURES,
						 .nsid = 1,
						 .cdw10 = of_namespace[i],
						 .cdw11 = i ? 1 : 2 } };

		assert_int_equal(host_command(admin, &set), NVME_OK);
		assert_int_equal(host_command(admin, &get), NVME_OK);
		assert_int_equal(get.cqe.dw0, i ? 1 : 2);
		get.sqe.nsid = 900;
		assert_int_equal(host_command(admin, &get), NVME_INVALID_NAMESPACE | NVME_DNR);
	}
	assert_int_equal(rig->persisted, 1);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* ---- events ---- */

static uint16_t event_ask(struct host *admin)
{
	struct nvme_sqe sqe = { .opcode = NVME_ADMIN_ASYNC_EVENT_REQUEST };

	return host_capsule(admin, &sqe, NULL, 0);
}

static void event_expect(struct host *admin, uint16_t cid, uint32_t dword)
{
	const struct nvme_tcp_capsule_resp *answer = (const struct nvme_tcp_capsule_resp *)host_receive(admin);

	assert_non_null(answer);
	assert_int_equal(answer->cqe.cid, cid);
	assert_int_equal(answer->cqe.status, 0);
	assert_int_equal(answer->cqe.dw0, dword);
}

static void ignore(void *arg)
{
}

static void test_events(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	uint16_t cid[4];
	uint8_t ana[NVME_TARGET_ANA_GROUPS];
	struct exchange excess = { .sqe = { .opcode = NVME_ADMIN_ASYNC_EVENT_REQUEST } };

	memset(ana, NVME_ANA_OPTIMIZED, sizeof(ana));
	nvme_subsystem_port(rig->subsystem, 1, ana);
	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned i = 0; i < 4; i++)
		cid[i] = event_ask(admin);
	assert_int_equal(host_command(admin, &excess), NVME_AER_LIMIT | NVME_DNR);
	/* Not asked for: not told. */
	nvme_namespace_release(rig->ns[1], ignore, NULL);
	nvme_namespace_remove(rig->ns[1], ignore, NULL);
	rig->ns[1] = NULL;
	assert_null(host_receive(admin));
	assert_int_equal(
		feature(admin, true, NVME_FEATURE_ASYNC_EVENTS, NVME_EVENT_BIT_NAMESPACES | NVME_EVENT_BIT_ANA, NULL),
		NVME_OK);
	rig->ram[0]->bytes = 8 << 20;
	nvme_namespace_resized(rig->ns[0]);
	event_expect(admin, cid[0], nvme_event(2, 0, 4));
	/* Told once until the log is read. */
	rig->ram[0]->bytes = 16 << 20;
	nvme_namespace_resized(rig->ns[0]);
	assert_null(host_receive(admin));
	assert_int_equal(log_read(admin, NVME_LOG_CHANGED_NAMESPACES | NVME_LOG_RAE, 0, 4096), NVME_OK);
	assert_null(host_receive(admin));
	assert_int_equal(log_read(admin, NVME_LOG_CHANGED_NAMESPACES, 0, 4096), NVME_OK);
	assert_true(((uint32_t *)page)[0] == 1 && ((uint32_t *)page)[1] == 2 && ((uint32_t *)page)[2] == 0);
	event_expect(admin, cid[1], nvme_event(2, 0, 4));
	ana[0] = NVME_ANA_NON_OPTIMIZED;
	nvme_subsystem_port(rig->subsystem, 1, ana);
	event_expect(admin, cid[2], nvme_event(2, 3, 0x0c));
	/* Abort of a request, and of what is not there. */
	struct exchange abort = { .sqe = { .opcode = NVME_ADMIN_ABORT, .cdw10 = (uint32_t)cid[3] << 16 } };
	host_capsule(admin, &abort.sqe, NULL, 0);
	const struct nvme_cqe *cqe = &((const struct nvme_tcp_capsule_resp *)host_receive(admin))->cqe;
	assert_int_equal(cqe->cid, cid[3]);
	assert_int_equal(cqe->status >> 1, NVME_ABORT_REQUESTED);
	cqe = &((const struct nvme_tcp_capsule_resp *)host_receive(admin))->cqe;
	assert_true(cqe->cid == abort.sqe.cid && cqe->dw0 == 0);
	abort.sqe.cdw10 = 0x7777 << 16;
	assert_int_equal(host_command(admin, &abort), NVME_OK);
	assert_int_equal(abort.cqe.dw0, 1);
	/* One that nobody has asked for yet, and nobody wants any more. */
	assert_int_equal(log_read(admin, NVME_LOG_CHANGED_NAMESPACES, 0, 4096), NVME_OK);
	rig->ram[0]->bytes = 8 << 20;
	nvme_namespace_resized(rig->ns[0]);
	assert_int_equal(feature(admin, true, NVME_FEATURE_ASYNC_EVENTS, NVME_EVENT_BIT_ANA, NULL), NVME_OK);
	event_ask(admin);
	assert_null(host_receive(admin));
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* A reset of the controller forgets what its host had asked for: requests for events, features, the events themselves.
 */
static void test_reset(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	uint32_t value = 1;
	const uint32_t cc = 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT;

	host_pair(rig, &admin, &io, 0, 0);
	assert_int_equal(feature(admin, true, NVME_FEATURE_ASYNC_EVENTS, NVME_EVENT_BIT_NAMESPACES, NULL), NVME_OK);
	assert_int_equal(feature(admin, true, NVME_FEATURE_ARBITRATION, 7, NULL), NVME_OK);
	for (unsigned i = 0; i < 4; i++)
		event_ask(admin);
	assert_int_equal(host_property_set(admin, NVME_CC, cc), NVME_OK);
	assert_true(io->closed);
	rig->ram[0]->bytes = 8 << 20;
	nvme_namespace_resized(rig->ns[0]);
	assert_int_equal(host_property_set(admin, NVME_CC, cc | NVME_CC_EN), NVME_OK);
	for (unsigned i = 0; i < 4; i++)
		event_ask(admin);
	assert_null(host_receive(admin)); /* none is one too many, and none is answered */
	assert_int_equal(feature(admin, false, NVME_FEATURE_ASYNC_EVENTS, 0, &value), NVME_OK);
	assert_int_equal(value, 0);
	assert_int_equal(feature(admin, false, NVME_FEATURE_ARBITRATION, 0, &value), NVME_OK);
	assert_int_equal(value, 0);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* ---- a device that does not come ---- */

static void lost_check(struct host *admin, uint32_t nsid, uint32_t group, uint64_t blocks)
{
	const struct nvme_identify_namespace *ns = (const void *)page;
	const struct nvme_ana_group *entry = (const void *)(page + 16);

	assert_int_equal(identify(admin, NVME_CNS_NAMESPACE, nsid, 0), NVME_OK);
	assert_int_equal(ns->nsze, blocks);
	assert_int_equal(ns->anagrpid, group);
	assert_int_equal(log_read(admin, NVME_LOG_ANA, 0, 256), NVME_OK);
	for (unsigned i = 0; i < ((const struct nvme_log_ana *)page)->groups; i++) {
		assert_int_equal(entry->state,
				 entry->id == NVME_TARGET_ANA_LOST ? NVME_ANA_STATE_INACCESSIBLE : NVME_ANA_OPTIMIZED);
		for (unsigned j = 0; j < entry->nsids; j++)
			assert_int_equal(entry->id == group, entry->nsid[j] == nsid);
		entry = (const void *)&entry->nsid[entry->nsids];
	}
}

/* Commands fail at once, as on a path that is inaccessible; what hosts see says so; all is undone when the device
 * comes. So for one whose device nobody has seen yet. */
static void test_lost(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	struct nvme_sqe read = { .opcode = NVME_READ,
				 .nsid = 1,
				 .sgl = { .length = 512, .type = NVME_SGL_TRANSPORT_DATA } };

	host_pair(rig, &admin, &io, 0, 0);
	assert_int_equal(feature(admin, true, NVME_FEATURE_ASYNC_EVENTS, NVME_EVENT_BIT_ANA, NULL), NVME_OK);
	for (unsigned round = 0; round < 2; round++) {
		uint16_t cid = event_ask(admin);

		nvme_namespace_release(rig->ns[0], ignore, NULL);
		if (round == 1) { /* a new one, that had no device yet */
			nvme_namespace_remove(rig->ns[0], ignore, NULL);
			assert_int_equal(
				nvme_namespace_add(rig->subsystem,
						   &(struct nvme_namespace_options){ .nsid = 1, .ana_group = 1 },
						   &rig->ns[0]),
				0);
		} else {
			host_capsule(io, &read, NULL, 0); /* waits */
			assert_null(host_receive(io));
		}
		nvme_namespace_lost(rig->ns[0], 8 << 20);
		event_expect(admin, cid, nvme_event(2, 3, 0x0c));
		for (unsigned i = 0; i < 2; i++) {
			if (i == 1 || round == 1)
				host_capsule(io, &read, NULL, 0);
			assert_int_equal(((const struct nvme_tcp_capsule_resp *)host_receive(io))->cqe.status >> 1,
					 NVME_ANA_INACCESSIBLE);
		}
		lost_check(admin, 1, NVME_TARGET_ANA_LOST, (round ? 8 << 20 : 16 << 20) / 512);
		cid = event_ask(admin);
		nvme_namespace_attach(rig->ns[0], rig->ram[0], NULL);
		event_expect(admin, cid, nvme_event(2, 3, 0x0c));
		lost_check(admin, 1, 1, (16 << 20) / 512);
		assert_int_equal(host_transfer(io, NVME_READ, 0, 1, page, 512, false), NVME_OK);
	}
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* ---- discovery ---- */

static void test_discovery(void **state)
{
	struct rig *rig = rig_new(&(struct rig_options){ .discovery = true });
	struct host *admin = host_new(rig);
	struct host_connect connect = { 0 };
	static const char *const mine[] = { HOST_NQN }, *const other[] = { "nqn.2025-01.org.example:other" };
	struct nvme_discovery_record records[3] = {
		{ .entry = { .trtype = NVME_TRTYPE_TCP, .subtype = NVME_SUBTYPE_DISCOVERY }, .any_host = true },
		{ .entry = { .trtype = NVME_TRTYPE_TCP, .portid = 2 }, .hosts = other, .host_count = 1 },
		{ .entry = { .trtype = NVME_TRTYPE_TCP, .portid = 3 }, .hosts = mine, .host_count = 1 },
	};

	nvme_subsystem_discovery(rig->subsystem, records, 3, 7);
	assert_int_equal(host_connect(admin, &connect), NVME_OK);
	assert_int_equal(identify(admin, NVME_CNS_CONTROLLER, 0, 0), NVME_OK);
	const struct nvme_identify_controller *id = (const void *)page;
	assert_int_equal(id->cntrltype, NVME_CNTRLTYPE_DISCOVERY);
	assert_int_equal(id->oaes, NVME_EVENT_BIT_DISCOVERY);
	assert_int_equal(identify(admin, NVME_CNS_NAMESPACE, 1, 0), NVME_INVALID_FIELD | NVME_DNR);
	assert_int_equal(log_read(admin, NVME_LOG_DISCOVERY, 0, 3072), NVME_OK);
	const struct nvme_log_discovery *log = (const void *)page;
	const struct nvme_discovery_entry *entry = (const void *)(page + 1024);
	assert_true(log->genctr == 7 && log->numrec == 2 && log->recfmt == 0);
	assert_true(entry[0].subtype == NVME_SUBTYPE_DISCOVERY && entry[1].portid == 3);
	assert_int_equal(log_read(admin, NVME_LOG_DISCOVERY, 2048, 1024), NVME_OK);
	assert_int_equal(((const struct nvme_discovery_entry *)page)->portid, 3);
	assert_int_equal(log_read(admin, NVME_LOG_DISCOVERY, 3076, 1024), NVME_INVALID_FIELD | NVME_DNR);
	assert_int_equal(log_read(admin, NVME_LOG_SMART, 0, 512), NVME_INVALID_LOG_PAGE | NVME_DNR);
	assert_int_equal(feature(admin, true, NVME_FEATURE_ASYNC_EVENTS, NVME_EVENT_BIT_DISCOVERY, NULL), NVME_OK);
	uint16_t cid = event_ask(admin);
	nvme_subsystem_discovery(rig->subsystem, records, 1, 8);
	event_expect(admin, cid, nvme_event(2, 0xf0, 0x70));
	assert_int_equal(log_read(admin, NVME_LOG_DISCOVERY, 0, 2048), NVME_OK);
	assert_true(log->genctr == 8 && log->numrec == 1);
	/* No I/O queues. */
	struct host *io = host_new(rig);
	connect.cntlid = (uint16_t)connect.cqe.result;
	connect.qid = 1;
	assert_int_equal(host_connect(io, &connect), NVME_CONNECT_INVALID_PARAMETERS | NVME_DNR);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

static void test_before_enabled(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin = host_new(rig);
	struct host_connect connect = { 0 };

	assert_int_equal(host_connect(admin, &connect), NVME_OK);
	assert_int_equal(host_property_set(admin, NVME_CC, 0), NVME_OK);
	assert_int_equal(host_property_get(admin, NVME_CSTS, false), 0);
	assert_int_equal(identify(admin, NVME_CNS_CONTROLLER, 0, 0), NVME_SEQUENCE_ERROR | NVME_DNR);
	/* Sizes of entries that nobody has. */
	assert_int_equal(host_property_set(admin, NVME_CC, 1), NVME_OK);
	assert_int_equal(host_property_get(admin, NVME_CSTS, false), NVME_CSTS_CFS);
	assert_int_equal(host_property_set(admin, NVME_CC, 0), NVME_OK);
	assert_int_equal(host_property_set(admin, NVME_CC, 0x460001), NVME_OK);
	assert_int_equal(host_property_get(admin, NVME_CSTS, false), NVME_CSTS_RDY);
	assert_int_equal(host_property_set(admin, NVME_CC, 0x464001), NVME_OK);
	assert_int_equal(host_property_get(admin, NVME_CSTS, false), NVME_CSTS_RDY | NVME_CSTS_SHST_COMPLETE);
	host_free(admin);
	assert_int_equal(rig->reason, NVME_REASON_HOST);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identify),       cmocka_unit_test(test_logs),
		cmocka_unit_test(test_error_log),      cmocka_unit_test(test_features),
		cmocka_unit_test(test_events),         cmocka_unit_test(test_reset),
		cmocka_unit_test(test_lost),           cmocka_unit_test(test_discovery),
		cmocka_unit_test(test_before_enabled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
