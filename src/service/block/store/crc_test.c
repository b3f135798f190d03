// SPDX-License-Identifier: BSD-3-Clause
/* A medium that looks at CRCs itself: it gets those of what is written, and what it finds is not looked for again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "device/block/block_queue.h"
#include "device/block/ram.h"
#include "engine/crc32c/crc32c.h"
#include "service/block/store/store_priv.h"
#include "service/block/store/store_rig.h"

enum { MIB = 1 << 20, BLOCKS = 40 };

/* ---- the medium ---- */

static struct looker {
	struct dpu_block_device device; /* first */
	struct dpu_block_device *ram;
	struct block_queue waiting;
	enum { FINDS, FINDS_NOTHING, FINDS_OTHERS } answers;
	bool refuses; /* writes with CRCs */
	unsigned reads, writes;
} looker;

static void nothing(struct dpu_block_request *request)
{
	(void)request;
}

static enum dpu_block_status carry_out(struct dpu_block_request *request)
{
	struct dpu_block_request below = dpu_block_request_below(request, nothing);
	bool looks = request->flags & DPU_BLOCK_CRC;

	if (looks && request->op == DPU_BLOCK_WRITE) {
		looker.writes++;
		assert_true(crc32c_blocks_hold(request->crc, request->iov, request->length));
		if (looker.refuses)
			return DPU_BLOCK_INTEGRITY;
	}
	below.flags &= (uint8_t)~DPU_BLOCK_CRC;
	looker.ram->ops->submit(looker.ram, &below);
	looker.ram->ops->poll(looker.ram);
	if (looks && request->op == DPU_BLOCK_READ) {
		const uint8_t *data = (const uint8_t *)block_ram_data(looker.ram) + request->offset;

		looker.reads++;
		for (unsigned i = 0; i < request->length / STORE_BLOCK && looker.answers != FINDS_NOTHING; i++)
			request->crc[i] = crc32c(0, data + (size_t)i * STORE_BLOCK, STORE_BLOCK) ^
					  (looker.answers == FINDS_OTHERS);
	}
	return (enum dpu_block_status)below.status;
}

static void looker_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	(void)device;
	assert_int_equal(dpu_block_check(device, request), DPU_BLOCK_OK);
	block_queue_add(&looker.waiting, request);
}

static unsigned looker_poll(struct dpu_block_device *device)
{
	struct dpu_block_request *request = block_queue_take(&looker.waiting);

	(void)device;
	if (request)
		dpu_block_complete(request, carry_out(request));
	return request != NULL;
}

static const struct dpu_block_ops ops = { .submit = looker_submit, .poll = looker_poll };

/* ---- a store on it ---- */

static struct store *store;
static uint64_t volume;
static unsigned reports;
static uint8_t data[BLOCKS * STORE_BLOCK], back[BLOCKS * STORE_BLOCK];

static void reported(void *ctx, const struct store_report *report)
{
	(void)ctx;
	(void)report;
	reports++;
}

static int open_store(void **state)
{
	struct store_options options = { .name = "p", .report = reported };
	struct dpu_block_device *medium = &looker.device;
	struct dpu_error error;

	looker = (struct looker){ 0 };
	reports = 0;
	assert_int_equal(block_ram_new("ram", 32 * MIB, 512, &looker.ram), 0);
	looker.device = *looker.ram;
	looker.device.ops = &ops;
	looker.device.features |= DPU_BLOCK_F_CRC;
	block_queue_init(&looker.waiting);
	store = rig_open(&options, &medium, 1, STORE_FORMAT, &error);
	assert_non_null(store);
	volume = rig_create(store, "a", 8 * MIB);
	for (unsigned i = 0; i < BLOCKS; i++)
		rig_fill(data + (size_t)i * STORE_BLOCK, i + 1, STORE_BLOCK);
	return 0;
}

static int close_store(void **state)
{
	rig_settle(store);
	store_free(store);
	looker.ram->ops->close(looker.ram, NULL, NULL);
	return 0;
}

static enum dpu_block_status io(enum dpu_block_op op, uint64_t offset, uint64_t length)
{
	return rig_io(store, volume, op, offset, op == DPU_BLOCK_READ ? back : data, length, 0);
}

/* Whole blocks on both ways, parts of blocks, more than one run. */
static void writes_bring_their_crcs(void **state)
{
	assert_int_equal(io(DPU_BLOCK_WRITE, 0, sizeof(data)), DPU_BLOCK_OK);
	assert_true(looker.writes > 0);
	unsigned before = looker.writes;
	assert_int_equal(io(DPU_BLOCK_WRITE, 512, STORE_BLOCK), DPU_BLOCK_OK);
	assert_int_equal(looker.writes, before + 2);
	assert_int_equal(io(DPU_BLOCK_READ, 0, sizeof(back)), DPU_BLOCK_OK);
	assert_memory_equal(back, data, 512);
	assert_memory_equal(back + 512, data, STORE_BLOCK);
	assert_memory_equal(back + 2 * STORE_BLOCK, data + 2 * STORE_BLOCK, sizeof(data) - 2 * STORE_BLOCK);
	memcpy(data, back, sizeof(data));
	assert_int_equal(io(DPU_BLOCK_COMPARE, 0, sizeof(data)), DPU_BLOCK_OK);
}

/* What was found counts, and not what is in a page that a guest has named twice. */
static void what_was_found_is_not_looked_for(void **state)
{
	static uint8_t page[STORE_BLOCK];
	struct iovec iov[] = { { page, STORE_BLOCK }, { page, STORE_BLOCK }, { page, STORE_BLOCK } };
	uint32_t crc[3];

	assert_int_equal(io(DPU_BLOCK_WRITE, 0, sizeof(data)), DPU_BLOCK_OK);
	unsigned before = looker.reads;
	assert_int_equal(rig_iov(store, volume, DPU_BLOCK_READ, 0, iov, 3, DPU_BLOCK_CRC, crc), DPU_BLOCK_OK);
	assert_int_equal(looker.reads, before + 1);
	assert_true(crc32c_blocks_hold(crc, &(struct iovec){ data, sizeof(data) }, 3 * STORE_BLOCK));
	assert_int_equal(reports, 0);
}

/* Who says that he looks, and does not, is found out, and does no harm. */
static void who_finds_nothing(void **state)
{
	for (looker.answers = FINDS_NOTHING; looker.answers <= FINDS_OTHERS; looker.answers++) {
		assert_int_equal(io(DPU_BLOCK_WRITE, 0, sizeof(data)), DPU_BLOCK_OK);
		memset(back, 0, sizeof(back));
		assert_int_equal(io(DPU_BLOCK_READ, 0, sizeof(back)), DPU_BLOCK_OK);
		assert_memory_equal(back, data, sizeof(data));
		assert_true(looker.reads >= BLOCKS);
		looker.reads = 0;
	}
	assert_int_equal(reports, 0);
}

/* A block that has changed at rest has the CRC that was found, and not the one that the map has. */
static void damage_is_found(void **state)
{
	struct page_leaf *leaf;
	uint64_t offset;

	assert_int_equal(io(DPU_BLOCK_WRITE, 0, sizeof(data)), DPU_BLOCK_OK);
	assert_int_equal(leaf_find(store, store->volume[0], 7, &leaf), 0);
	medium_of_place(store, leaf_place(leaf, 7) - 1, &offset);
	((uint8_t *)block_ram_data(looker.ram))[offset + 99] ^= 4;
	assert_int_equal(io(DPU_BLOCK_READ, 0, sizeof(back)), DPU_BLOCK_INTEGRITY);
	assert_int_equal(io(DPU_BLOCK_READ, 7 * STORE_BLOCK + 512, 512), DPU_BLOCK_INTEGRITY);
	assert_int_equal(io(DPU_BLOCK_WRITE, 7 * STORE_BLOCK + 512, 512), DPU_BLOCK_INTEGRITY);
	assert_int_equal(io(DPU_BLOCK_READ, 0, 7 * STORE_BLOCK), DPU_BLOCK_OK);
	assert_int_equal(reports, 3);
}

/* A medium that got something else than was sent says so; the write has failed, nothing else. */
static void refused_by_the_medium(void **state)
{
	assert_int_equal(io(DPU_BLOCK_WRITE, 0, STORE_BLOCK), DPU_BLOCK_OK);
	looker.refuses = true;
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_WRITE, 0, data + STORE_BLOCK, STORE_BLOCK, 0),
			 DPU_BLOCK_INTEGRITY);
	looker.refuses = false;
	assert_int_equal(io(DPU_BLOCK_READ, 0, STORE_BLOCK), DPU_BLOCK_OK);
	assert_memory_equal(back, data, STORE_BLOCK);
	assert_int_equal(io(DPU_BLOCK_WRITE, 0, STORE_BLOCK), DPU_BLOCK_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(writes_bring_their_crcs, open_store, close_store),
		cmocka_unit_test_setup_teardown(what_was_found_is_not_looked_for, open_store, close_store),
		cmocka_unit_test_setup_teardown(who_finds_nothing, open_store, close_store),
		cmocka_unit_test_setup_teardown(damage_is_found, open_store, close_store),
		cmocka_unit_test_setup_teardown(refused_by_the_medium, open_store, close_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
