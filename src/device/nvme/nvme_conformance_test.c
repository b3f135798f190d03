// SPDX-License-Identifier: BSD-3-Clause
/* What the specification asks for row by row: what is supported is what is said to be, limits are those that Identify
 * tells, features in all their variants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "device/nvme/nvme_test_device.h"
#include "device/nvme/nvme_test_host.h"

static uint8_t page[1 << 16];

static uint16_t get(struct host *host, struct nvme_sqe sqe, uint32_t bytes)
{
	struct exchange exchange = { .sqe = sqe, .in = bytes ? page : NULL, .in_bytes = bytes };

	memset(page, 0xee, sizeof(page));
	return host_command(host, &exchange);
}

static uint16_t put(struct host *host, struct nvme_sqe sqe, const void *data, uint32_t bytes)
{
	struct exchange exchange = { .sqe = sqe, .out = data, .out_bytes = bytes, .in_capsule = true };

	return host_command(host, &exchange);
}

/* ---- commands ---- */

/* The log of effects and what is answered agree, for each opcode of both kinds of queues. */
static void test_opcodes(void **state)
{
	static struct nvme_log_effects effects;
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;

	host_pair(rig, &admin, &io, 0, 0);
	assert_int_equal(host_log(admin, NVME_LOG_EFFECTS, NVME_NSID_ALL, 0, page, sizeof(effects)), NVME_OK);
	memcpy(&effects, page, sizeof(effects));
	for (unsigned opcode = 0; opcode < 256; opcode++) {
		struct nvme_sqe sqe = { .opcode = (uint8_t)opcode, .nsid = 1 };

		if (opcode == NVME_FABRICS)
			continue;
		if (!(effects.io[opcode] & NVME_EFFECT_SUPPORTED))
			assert_int_equal(get(io, sqe, 0), NVME_INVALID_OPCODE | NVME_DNR);
		if (!(effects.admin[opcode] & NVME_EFFECT_SUPPORTED))
			assert_int_equal(get(admin, sqe, 0), NVME_INVALID_OPCODE | NVME_DNR);
		/* Those that there are, with a namespace that cannot be or without a buffer: another status. */
		sqe.nsid = 9999;
		if (effects.io[opcode] & NVME_EFFECT_SUPPORTED)
			assert_int_equal(get(io, sqe, 0), NVME_INVALID_NAMESPACE | NVME_DNR);
		if ((effects.admin[opcode] & NVME_EFFECT_SUPPORTED) && opcode != NVME_ADMIN_ASYNC_EVENT_REQUEST)
			assert_int_not_equal(get(admin, sqe, 0) & NVME_STATUS_MASK, NVME_INVALID_OPCODE);
	}
	static const uint8_t missing[] = { 0x04, 0x0c }; /* Write Uncorrectable, Verify: ONCS does not promise them */
	assert_int_equal(get(admin, (struct nvme_sqe){ .opcode = NVME_ADMIN_IDENTIFY, .cdw10 = 1 }, 4096), NVME_OK);
	assert_int_equal(((const struct nvme_identify_controller *)page)->oncs & (1 << 1 | 1 << 7), 0);
	for (unsigned i = 0; i < sizeof(missing); i++)
		assert_int_equal(effects.io[missing[i]], 0);
	/* Of another command set there are no I/O commands. */
	struct nvme_sqe zoned = { .opcode = NVME_ADMIN_GET_LOG_PAGE,
				  .cdw10 = NVME_LOG_EFFECTS | 1023 << 16,
				  .cdw14 = 2u << 24 };
	assert_int_equal(get(admin, zoned, sizeof(effects)), NVME_OK);
	assert_memory_equal(page, &effects, sizeof(effects)); /* the host works with NVM alone: CSI does not count */
	assert_int_equal(host_property_set(admin, NVME_CC, 0), NVME_OK);
	assert_int_equal(host_property_set(admin, NVME_CC, 0x460061), NVME_OK);
	assert_int_equal(get(admin, zoned, sizeof(effects)), NVME_OK);
	assert_memory_equal(page, effects.admin, sizeof(effects.admin));
	memset(effects.io, 0, sizeof(effects.io));
	assert_memory_equal(page + sizeof(effects.admin), effects.io, sizeof(effects.io));
	/* No fused admin commands. */
	assert_int_equal(get(admin, (struct nvme_sqe){ .opcode = NVME_ADMIN_KEEP_ALIVE, .flags = NVME_FUSE_FIRST }, 0),
			 NVME_INVALID_FIELD | NVME_DNR);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* There is no protection information: each bit that asks for it is refused. */
static void test_protection(void **state)
{
	static const uint8_t opcodes[] = { NVME_READ, NVME_WRITE, NVME_COMPARE, NVME_WRITE_ZEROES, NVME_COPY };
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned i = 0; i < sizeof(opcodes); i++) {
		for (unsigned bit = 26; bit < 30; bit++)
			assert_int_equal(
				get(io, (struct nvme_sqe){ .opcode = opcodes[i], .nsid = 1, .cdw12 = 1u << bit }, 512),
				NVME_INVALID_PROTECTION | NVME_DNR);
	}
	for (unsigned bit = 12; bit < 16; bit++) /* Copy: of what is read, too */
		assert_int_equal(get(io, (struct nvme_sqe){ .opcode = NVME_COPY, .nsid = 1, .cdw12 = 1u << bit }, 512),
				 NVME_INVALID_PROTECTION | NVME_DNR);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* MSRC, MSSRL, MCL, as Identify has them; hints of Dataset Management change nothing. */
static void test_limits(void **state)
{
	static struct nvme_copy_range copies[129];
	static struct nvme_dsm_range hints[256];
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	struct nvme_sqe copy = { .opcode = NVME_COPY, .nsid = 1, .cdw10 = 1000 };

	host_pair(rig, &admin, &io, 0, 0);
	assert_int_equal(get(admin, (struct nvme_sqe){ .opcode = NVME_ADMIN_IDENTIFY, .nsid = 1 }, 4096), NVME_OK);
	const struct nvme_identify_namespace *ns = (const void *)page;
	unsigned msrc = ns->msrc, mssrl = ns->mssrl, mcl = ns->mcl;
	assert_true(msrc == 127 && mssrl == UINT16_MAX && mcl == 1 << 16);
	copy.cdw12 = msrc;
	assert_int_equal(put(io, copy, copies, (msrc + 1) * sizeof(copies[0])), NVME_OK);
	copy.cdw12 = msrc + 1;
	assert_int_equal(put(io, copy, copies, (msrc + 2) * sizeof(copies[0])), NVME_SIZE_LIMIT | NVME_DNR);
	copy.cdw12 = 2;
	for (unsigned i = 0; i < 3; i++)
		copies[i].blocks = 32767; /* all of the namespace, three times */
	assert_int_equal(put(io, copy, copies, 3 * sizeof(copies[0])), NVME_SIZE_LIMIT | NVME_DNR);
	memset(page, 0x33, 512);
	assert_int_equal(host_transfer(io, NVME_WRITE, 5, 1, page, 512, true), NVME_OK);
	for (unsigned i = 0; i < 256; i++)
		hints[i] = (struct nvme_dsm_range){ .attributes = UINT32_MAX, .blocks = 8, .lba = i };
	for (unsigned bits = 0; bits < 4; bits++) /* IDR, IDW */
		assert_int_equal(
			put(io,
			    (struct nvme_sqe){
				    .opcode = NVME_DATASET_MANAGEMENT, .nsid = 1, .cdw10 = 255, .cdw11 = bits },
			    hints, sizeof(hints)),
			NVME_OK);
	assert_int_equal(host_transfer(io, NVME_READ, 5, 1, page, 512, false), NVME_OK);
	assert_true(page[0] == 0x33 && page[511] == 0x33);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* SQHD goes round with the queue's entries, and no number of aborts is too many: each is answered at once. */
static void test_queue_head(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned i = 0; i < 100; i++) {
		struct exchange flush = { .sqe = { .opcode = NVME_FLUSH, .nsid = 1 } };
		struct exchange abort = { .sqe = { .opcode = NVME_ADMIN_ABORT, .cdw10 = 0x55550001 } };

		assert_int_equal(host_command(io, &flush), NVME_OK);
		assert_int_equal(flush.cqe.sqhd, (i + 2) % 32); /* Connect was the first */
		assert_int_equal(host_command(admin, &abort), NVME_OK);
		assert_int_equal(abort.cqe.dw0, 1);
	}
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* ---- Identify, features ---- */

static void test_identify_kinds(void **state)
{
	static const uint8_t known[] = { 0x00, 0x01, 0x02, 0x03, 0x05, 0x06, 0x07, 0x08, 0x1c };
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned cns = 0; cns < 256; cns++) {
		struct nvme_sqe sqe = { .opcode = NVME_ADMIN_IDENTIFY, .nsid = 1, .cdw10 = cns };

		assert_int_equal(get(admin, sqe, 4096),
				 memchr(known, (int)cns, sizeof(known)) ? NVME_OK : NVME_INVALID_FIELD | NVME_DNR);
		assert_int_equal(get(admin, sqe, 2048), NVME_SGL_LENGTH_INVALID | NVME_DNR);
	}
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* Each feature: what can be done with it, what is current, default and saved (none is: the default), and that none can
 * be saved. */
/* Those that are more than a value, or set by what is granted. */
static void default_data(struct host *admin)
{
	static uint8_t behavior[512] = { 1 }, back[512];
	struct exchange set = { .sqe = { .opcode = NVME_ADMIN_SET_FEATURES, .cdw10 = NVME_FEATURE_HOST_BEHAVIOR },
				.out = behavior,
				.out_bytes = sizeof(behavior),
				.in_capsule = true };

	assert_int_equal(host_command(admin, &set), NVME_OK);
	for (unsigned select = NVME_SELECT_CURRENT; select <= NVME_SELECT_SAVED; select++) {
		struct exchange get = { .sqe = { .opcode = NVME_ADMIN_GET_FEATURES,
						 .cdw10 = NVME_FEATURE_HOST_BEHAVIOR | select << 8 },
					.in = back,
					.in_bytes = sizeof(back) };

		assert_int_equal(host_command(admin, &get), NVME_OK);
		assert_int_equal(back[0], select == NVME_SELECT_CURRENT);
	}
	assert_int_equal(host_property_set(admin, NVME_CC, 0), NVME_OK);
	assert_int_equal(host_property_set(admin, NVME_CC, 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT | 1),
			 NVME_OK);
	uint32_t value;
	assert_int_equal(host_feature(admin, NVME_ADMIN_SET_FEATURES, NVME_FEATURE_QUEUES, 0, 0x10001, &value),
			 NVME_OK);
	assert_int_equal(host_feature(admin, NVME_ADMIN_GET_FEATURES, NVME_FEATURE_QUEUES, 0, 0, &value), NVME_OK);
	assert_int_equal(value, 0x10001);
	assert_int_equal(host_feature(admin, NVME_ADMIN_GET_FEATURES, NVME_FEATURE_QUEUES | NVME_SELECT_DEFAULT << 8, 0,
				      0, &value),
			 NVME_OK);
	assert_int_equal(value, 7 * 0x10001); /* of the rig's 8 */
}

/* 5.27.1.26: FFFFFFFFh is all that there are, each as durable as if it had been named. */
static void test_persistence_of_all(void **state)
{
	enum {
		SET = NVME_ADMIN_SET_FEATURES,
		GET = NVME_ADMIN_GET_FEATURES,
		ID = NVME_FEATURE_RESERVATION_PERSISTENCE
	};
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	uint32_t value;

	host_pair(rig, &admin, &io, 0, 0);
	for (uint32_t on = 2; on-- > 0;) {
		rig->persisted = 0;
		assert_int_equal(host_feature(admin, SET, ID, NVME_NSID_ALL, on, NULL), NVME_OK);
		assert_int_equal(rig->persisted, 2);
		for (uint32_t nsid = 1; nsid <= 2; nsid++) {
			assert_int_equal(host_feature(admin, GET, ID, nsid, 0, &value), NVME_OK);
			assert_int_equal(value, on);
		}
	}
	rig->persist_error = -5;
	assert_int_equal(host_feature(admin, SET, ID, NVME_NSID_ALL, 1, NULL), NVME_INTERNAL_ERROR);
	rig->persist_error = 0;
	/* The host goes while the first of them is being written. */
	struct nvme_sqe set = { .opcode = SET, .nsid = NVME_NSID_ALL, .cdw10 = ID, .cdw11 = 1 };
	rig->persisted = 0;
	rig->hold_persist = true;
	host_capsule(admin, &set, NULL, 0);
	admin->closed = true;
	nvme_queue_closed(admin->queue);
	rig_persisted(rig);
	assert_true(admin->idle);
	assert_int_equal(rig->persisted, 1);
	nvme_queue_free(admin->queue);
	admin->freed = true;
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

static void test_select(void **state)
{
	static const struct {
		uint8_t id, flags;
		uint32_t value, initial;
	} rows[] = {
		{ NVME_FEATURE_ARBITRATION, 4, 3, 0 },
		{ NVME_FEATURE_POWER, 4, 0, 0 },
		{ NVME_FEATURE_TEMPERATURE, 4, 320, 343 }, /* WCTEMP */
		{ NVME_FEATURE_ERROR_RECOVERY, 4, 7, 0 },
		{ NVME_FEATURE_WRITE_CACHE, 4, 0, 1 },
		{ NVME_FEATURE_WRITE_ATOMICITY, 4, 1, 0 },
		{ NVME_FEATURE_ASYNC_EVENTS, 4, NVME_EVENT_BIT_ANA, 0 },
		{ NVME_FEATURE_KEEP_ALIVE, 4, 12300, 0 },
		{ NVME_FEATURE_RESERVATION_MASK, 6, 2, 0 },
		{ NVME_FEATURE_RESERVATION_PERSISTENCE, 6, 1, 0 },
	};
	enum { SET = NVME_ADMIN_SET_FEATURES, GET = NVME_ADMIN_GET_FEATURES };
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	uint32_t value;

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t id = rows[i].id, nsid = rows[i].flags & 2 ? 1 : 0;

		assert_int_equal(host_feature(admin, SET, id | 1u << 31, nsid, rows[i].value, &value),
				 NVME_FEATURE_NOT_SAVEABLE | NVME_DNR);
		assert_int_equal(host_feature(admin, SET, id, nsid, rows[i].value, &value), NVME_OK);
		assert_int_equal(host_feature(admin, GET, id | NVME_SELECT_CURRENT << 8, nsid, 0, &value), NVME_OK);
		assert_int_equal(value, rows[i].value);
		assert_int_equal(host_feature(admin, GET, id | NVME_SELECT_DEFAULT << 8, nsid, 0, &value), NVME_OK);
		assert_int_equal(value, rows[i].initial);
		assert_int_equal(host_feature(admin, GET, id | NVME_SELECT_SAVED << 8, nsid, 0, &value), NVME_OK);
		assert_int_equal(value, rows[i].initial);
		assert_int_equal(host_feature(admin, GET, id | NVME_SELECT_CAPABILITIES << 8, nsid, 0, &value),
				 NVME_OK);
		assert_int_equal(value, rows[i].flags);
		assert_int_equal(host_feature(admin, GET, id | 4 << 8, nsid, 0, &value), NVME_INVALID_FIELD | NVME_DNR);
		if (!nsid)
			assert_int_equal(host_feature(admin, SET, id, 1, rows[i].value, &value),
					 NVME_FEATURE_NOT_NAMESPACE | NVME_DNR);
	}
	default_data(admin);
	/* Of blocks that were deallocated no namespace reports an error. */
	assert_int_equal(host_feature(admin, SET, NVME_FEATURE_ERROR_RECOVERY, 0, 1 << 16, &value),
			 NVME_INVALID_FIELD | NVME_DNR);
	assert_int_equal(get(admin, (struct nvme_sqe){ .opcode = NVME_ADMIN_IDENTIFY, .cdw10 = 1 }, 4096), NVME_OK);
	assert_int_equal(((const struct nvme_identify_controller *)page)->kas, 1);           /* KATO counts in 100 ms */
	assert_true(((const struct nvme_identify_controller *)page)->oncs & NVME_ONCS_SAVE); /* … and Select is */
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* Without the volatile cache what is written is durable, whatever writes it; on again after a reset. */
static void test_write_cache(void **state)
{
	static uint8_t data[4096];
	static const struct nvme_copy_range range = { .blocks = 7 };
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .crcs = true });
	const struct test_device *device = (const struct test_device *)rig->ram[0];
	struct host *admin, *io;
	uint32_t value;

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned on = 2; on-- > 0;) {
		const uint8_t expected = on ? 0 : DPU_BLOCK_FUA;

		assert_int_equal(host_feature(admin, NVME_ADMIN_SET_FEATURES, NVME_FEATURE_WRITE_CACHE, 0, on, &value),
				 NVME_OK);
		assert_int_equal(host_transfer(io, NVME_WRITE, 0, 8, data, sizeof(data), true), NVME_OK);
		assert_int_equal(device->flags & DPU_BLOCK_FUA, expected);
		assert_int_equal(host_transfer(io, NVME_COMPARE, 0, 8, data, sizeof(data), true), NVME_OK);
		assert_int_equal(device->flags & DPU_BLOCK_FUA, 0);
		assert_int_equal(
			put(io, (struct nvme_sqe){ .opcode = NVME_COPY, .nsid = 1, .cdw10 = 8 }, &range, sizeof(range)),
			NVME_OK);
		assert_int_equal(device->flags & DPU_BLOCK_FUA, expected);
		assert_int_equal(get(io, (struct nvme_sqe){ .opcode = NVME_WRITE_ZEROES, .nsid = 1, .cdw12 = 7 }, 0),
				 NVME_OK);
		assert_int_equal(device->flags & DPU_BLOCK_FUA, expected);
	}
	assert_int_equal(host_property_set(admin, NVME_CC, 0), NVME_OK);
	assert_int_equal(host_property_set(admin, NVME_CC, 0x460001), NVME_OK);
	assert_int_equal(host_feature(admin, NVME_ADMIN_GET_FEATURES, NVME_FEATURE_WRITE_CACHE, 0, 0, &value), NVME_OK);
	assert_int_equal(value, 1);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* ---- properties, Disconnect ---- */

static uint16_t property(struct host *admin, uint8_t type, uint32_t offset, uint8_t attrib)
{
	struct nvme_property_sqe sqe = { .opcode = NVME_FABRICS, .fctype = type, .offset = offset, .attrib = attrib };
	struct exchange exchange = { 0 };

	memcpy(&exchange.sqe, &sqe, sizeof(sqe));
	return host_command(admin, &exchange);
}

static void test_properties(void **state)
{
	static const struct {
		uint32_t offset;
		bool eight;
	} rows[] = {
		{ NVME_CAP, true }, { NVME_VS, false }, { NVME_CC, false }, { NVME_CSTS, false }, { NVME_CRTO, false }
	};
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	const uint16_t refused = NVME_INVALID_FIELD | NVME_DNR;

	host_pair(rig, &admin, &io, 0, 0);
	for (uint32_t offset = 0; offset < 0x80; offset++) {
		for (uint8_t attrib = 0; attrib < 8; attrib++) {
			bool good = false;

			for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
				good |= rows[i].offset == offset && rows[i].eight == attrib;
			assert_int_equal(property(admin, NVME_FABRICS_PROPERTY_GET, offset, attrib),
					 attrib < 2 && good ? NVME_OK : refused);
			if (offset != NVME_CC || attrib != 0)
				assert_int_equal(property(admin, NVME_FABRICS_PROPERTY_SET, offset, attrib), refused);
		}
	}
	assert_int_equal(host_property_get(admin, NVME_CAP, true) >> NVME_CAP_CRWMS & 3, 1);
	assert_int_equal(host_property_get(admin, NVME_CAP, true) >> NVME_CAP_TO & 0xff,
			 host_property_get(admin, NVME_CRTO, false));
	/* Shutdown, normal and abrupt, then a reset, then as new. */
	for (uint32_t shn = 1; shn < 3; shn++) {
		assert_int_equal(host_property_set(admin, NVME_CC, 0x460001 | shn << 14), NVME_OK);
		assert_int_equal(host_property_get(admin, NVME_CSTS, false), NVME_CSTS_RDY | NVME_CSTS_SHST_COMPLETE);
		assert_int_equal(host_property_set(admin, NVME_CC, 0x460000), NVME_OK);
		assert_int_equal(host_property_get(admin, NVME_CSTS, false), 0);
		assert_int_equal(host_property_set(admin, NVME_CC, 0x460001), NVME_OK);
		assert_int_equal(host_property_get(admin, NVME_CSTS, false), NVME_CSTS_RDY);
	}
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* An I/O queue ends by Disconnect after its answer; its controller stays, and the number is free again. */
static void test_disconnect(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io, *again = host_new(rig);
	struct nvme_connect_sqe sqe = { .opcode = NVME_FABRICS, .fctype = NVME_FABRICS_DISCONNECT, .recfmt = 1 };
	struct host_connect connect = { .cntlid = 1, .qid = 1 };
	struct exchange exchange = { 0 };

	host_pair(rig, &admin, &io, 0, 0);
	memcpy(&exchange.sqe, &sqe, sizeof(sqe));
	assert_int_equal(host_command(io, &exchange), NVME_CONNECT_FORMAT | NVME_DNR);
	assert_false(io->closed);
	sqe.recfmt = 0;
	memcpy(&exchange.sqe, &sqe, sizeof(sqe));
	assert_int_equal(host_command(io, &exchange), NVME_OK);
	assert_true(io->closed && io->graceful && !admin->closed);
	/* Its number is free, though the connection is still there. */
	assert_int_equal(host_connect(again, &connect), NVME_OK);
	assert_int_equal(host_transfer(again, NVME_READ, 0, 1, page, 512, false), NVME_OK);
	assert_int_equal(rig->controllers, 1);
	host_free(again);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opcodes),        cmocka_unit_test(test_protection),
		cmocka_unit_test(test_limits),         cmocka_unit_test(test_queue_head),
		cmocka_unit_test(test_identify_kinds), cmocka_unit_test(test_select),
		cmocka_unit_test(test_properties),     cmocka_unit_test(test_disconnect),
		cmocka_unit_test(test_write_cache),    cmocka_unit_test(test_persistence_of_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
