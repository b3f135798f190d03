// SPDX-License-Identifier: BSD-3-Clause
/* CRCs of blocks and digests of the wire, which are made of each other: a guest that changes what is under way, a block
 * that is spoilt between the layers, CRCs of what was read. */
#include "operating/uring_needed.h"
#include "service/nvmf/initiator/initiator_rig.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "engine/crc32c/crc32c.h"
#include "service/block/ingress/ingress.h"

/* How data goes over the wire: in capsules, whole, and in R2Ts, PDUs and commands that end within blocks or with them.
 */
static const struct way {
	unsigned shift;
	uint16_t ioccsz;
	uint32_t r2t_bytes, maxh2cdata, c2h_bytes;
	uint8_t mdts;
} ways[] = {
	{ 9, 4 + 4096, 0, 128 << 10, 0, 0 }, { 12, 4, 0, 128 << 10, 0, 0 },  { 9, 4, 3000, 128 << 10, 1460, 0 },
	{ 12, 4, 0, 5000, 5000, 0 },         { 9, 4, 13312, 4100, 4100, 1 },
};
enum { WAYS = sizeof(ways) / sizeof(ways[0]) };

static void way_open(const struct way *way)
{
	stage(way->shift);
	options.data_digest = true;
	options.path_count = 1;
	target.ioccsz = way->ioccsz;
	target.r2t_bytes = way->r2t_bytes;
	target.maxh2cdata = way->maxh2cdata;
	target.c2h_bytes = way->c2h_bytes;
	target.mdts = way->mdts;
	remote_open();
	wait_for(live_paths() == 1);
	assert_true(device->features & DPU_BLOCK_F_CRC);
}

static uint64_t digest_errors(void)
{
	struct remote_status status;

	remote_status(remote, &status);
	return status.digest_errors;
}

static void scatter(struct slot *slot, uint64_t length)
{
	fill(slot, length, 0);
	for (uint64_t i = 0; i < length; i++)
		slot->memory[i] = (uint8_t)roll(256);
}

/* ---- a guest ---- */

/* A disk directly on a remote namespace: what its guest writes to its buffer meanwhile is nowhere, on the wire neither.
 */
static void test_guest_changes_its_buffer(void **state)
{
	static const uint64_t lengths[] = { 512, 4096, 4608, 65536, SLOT_BYTES };
	static uint8_t before[SLOT_BYTES];
	struct slot slot = { 0 };

	for (unsigned w = 0; w < WAYS; w++) {
		struct ingress_arena *arena;
		struct ingress_account *account;
		struct dpu_block_device *below;
		bool closed = false;

		way_open(&ways[w]);
		below = device;
		assert_int_equal(ingress_arena_new(INGRESS_MIN_ARENA_BYTES, &arena), 0);
		assert_int_equal(ingress_account_new(arena, 16 << 20, &account), 0);
		assert_int_equal(ingress_new(below, account, &device), 0);
		ingress_start(device);
		for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			uint64_t offset = i * SLOT_BYTES;

			if (lengths[i] % device->sector)
				continue;
			scatter(&slot, lengths[i]);
			memcpy(before, slot.memory, lengths[i]);
			submit(&slot, DPU_BLOCK_WRITE, offset, lengths[i], 0);
			while (slot.busy) {
				slot.memory[roll((unsigned)lengths[i])]++;
				slot.memory[lengths[i] - 1]++;
				step();
			}
			assert_int_equal(slot.request.status, DPU_BLOCK_OK);
			assert_memory_equal(target.memory + offset, before, lengths[i]);
		}
		device->ops->close(device, on_flag, &closed);
		wait_for(closed);
		ingress_account_free(account);
		ingress_arena_free(arena);
		assert_int_equal(digest_errors(), 0);
		assert_int_equal(losses, 0);
		unstage();
	}
	free(slot.memory);
}

/* A guest names one page for several parts of a read that it does not want, or writes to it: that is its own affair. */
static void test_one_page_for_all(void **state)
{
	static uint8_t page[DPU_BLOCK_BYTES];
	enum { BLOCKS = 40 };
	struct iovec iov[BLOCKS];
	struct slot slot = { 0 };

	for (unsigned w = 0; w < WAYS; w++) {
		way_open(&ways[w]);
		for (unsigned i = 0; i < BYTES; i++)
			target.memory[i] = (uint8_t)roll(256);
		for (unsigned i = 0; i < BLOCKS; i++)
			iov[i] = (struct iovec){ page, sizeof(page) };
		for (unsigned flags = 0; flags <= DPU_BLOCK_CRC; flags += DPU_BLOCK_CRC) {
			fill(&slot, 4096, 0);
			submit(&slot, DPU_BLOCK_READ, 0, 4096, 0); /* for its done */
			wait_for(!slot.busy);
			slot.request.flags = (uint8_t)flags;
			slot.request.iov = iov;
			slot.request.segments = BLOCKS;
			slot.request.length = sizeof(page) * BLOCKS;
			slot.busy = true;
			device->ops->submit(device, &slot.request);
			while (slot.busy) {
				page[roll(sizeof(page))]++;
				step();
			}
			assert_int_equal(slot.request.status, DPU_BLOCK_OK);
		}
		for (unsigned i = 0; i < BLOCKS; i++)
			assert_int_equal(slot.crc[i], crc32c(0, target.memory + i * sizeof(page), sizeof(page)));
		assert_int_equal(digest_errors(), 0);
		unstage();
	}
	free(slot.memory);
}

/* ---- CRCs that come with requests ---- */

static void on_fate(struct slot *slot, enum dpu_block_op op, uint64_t length, uint64_t at, bool early)
{
	uint8_t bit = (uint8_t)(1u << roll(8));

	scatter(slot, length);
	if (op == DPU_BLOCK_COMPARE)
		memcpy(slot->memory, target.memory, length);
	crcs_make(slot, length);
	slot->memory[at] ^= early ? bit : 0;
	submit(slot, op, 0, length, DPU_BLOCK_CRC);
	slot->memory[at] ^= early ? 0 : bit;
	wait_for(!slot->busy);
}

/* One bit is not as it was when the CRCs were made, from before the initiator had it, or from while it had it; anywhere
 * in a block. Nobody ever gets it, and it is told as what it is. */
static void spoil(const struct way *way, enum dpu_block_op op, bool early, bool ends)
{
	static uint8_t before[SLOT_BYTES];
	struct slot slot = { 0 };

	way_open(way);
	target.digest_errors_end = ends;
	memcpy(before, target.memory, sizeof(before));
	for (unsigned i = 0; i < 12; i++) {
		uint64_t length = (1 + roll(6)) * UINT64_C(4096), at = i == 0 ? 0 : i == 1 ? length - 1 : roll(length);
		uint64_t block = at / 4096 * 4096;
		unsigned found = target.digest_errors;
		uint64_t told = digest_errors();

		wait_for(live_paths() == 1);
		on_fate(&slot, op, length, at, early);
		assert_int_equal(slot.request.status, DPU_BLOCK_INTEGRITY);
		assert_int_equal(target.digest_errors, found + 1); /* not tried again */
		assert_memory_equal(target.memory + block, before + block, 4096);
		if (!ends)
			assert_int_equal(digest_errors(), told + 1);
		memcpy(before, target.memory, sizeof(before));
	}
	expected_digest_errors = target.digest_errors;
	free(slot.memory);
	unstage();
}

static void test_spoilt_on_the_way_down(void **state)
{
	for (unsigned w = 0; w < WAYS; w++) {
		spoil(&ways[w], DPU_BLOCK_WRITE, true, false);
		spoil(&ways[w], DPU_BLOCK_WRITE, false, false);
		spoil(&ways[w], DPU_BLOCK_COMPARE, w & 1, false);
	}
	spoil(&ways[0], DPU_BLOCK_COMPARE, true, true);
	spoil(&ways[4], DPU_BLOCK_COMPARE, false, true);
}

/* A target that ends the connection is not asked again either; what overlaps a write of it waits. */
static void test_spoilt_write_ends_the_connection(void **state)
{
	struct slot slot = { 0 }, next = { 0 };

	way_open(&ways[1]);
	target.digest_errors_end = true;
	on_fate(&slot, DPU_BLOCK_WRITE, 8192, 5000, true);
	assert_int_equal(slot.request.status, DPU_BLOCK_INTEGRITY);
	assert_int_equal(losses, 1);
	uint64_t start = clock_ns();
	fill(&next, 4096, 9);
	assert_int_equal(run(&next, DPU_BLOCK_WRITE, 4096, 4096, 0), DPU_BLOCK_OK);
	assert_true(clock_ns() - start >= 900 * CLOCK_NS_PER_MS);
	assert_int_equal(target.memory[4096], 9);
	assert_int_equal(target.memory[0], 0);
	expected_digest_errors = 1;
	free(slot.memory);
	free(next.memory);
	unstage();
}

/* What is spoilt on the way up is read again; then the CRCs are those of what is there. */
static void test_spoilt_on_the_way_up(void **state)
{
	struct slot slot = { 0 };

	for (unsigned w = 0; w < WAYS; w++) {
		way_open(&ways[w]);
		for (unsigned i = 0; i < BYTES; i++)
			target.memory[i] = (uint8_t)roll(256);
		for (unsigned i = 0; i < 8; i++) {
			uint64_t length = (1 + roll(SLOT_BYTES / 4096)) * UINT64_C(4096);
			uint64_t offset = roll((BYTES - SLOT_BYTES) / 4096) * UINT64_C(4096), told = digest_errors();

			target.bad_data_digests = i % 3;
			memset(slot.crc, 0, sizeof(slot.crc));
			assert_int_equal(run(&slot, DPU_BLOCK_READ, offset, length, DPU_BLOCK_CRC), DPU_BLOCK_OK);
			assert_int_equal(digest_errors(), told + i % 3);
			for (uint64_t at = 0; at < length; at += 4096)
				assert_int_equal(slot.crc[at / 4096], crc32c(0, target.memory + offset + at, 4096));
			assert_memory_equal(slot.memory, target.memory + offset, length);
		}
		unstage();
	}
	free(slot.memory);
}

/* Without digests nothing looks at data twice, and nobody is told of CRCs. */
static void test_no_digests(void **state)
{
	stage(12);
	options.header_digest = true;
	remote_open();
	wait_for(live_paths() == 2);
	assert_false(device->features & DPU_BLOCK_F_CRC);
	unstage();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guest_changes_its_buffer),
		cmocka_unit_test(test_one_page_for_all),
		cmocka_unit_test(test_spoilt_on_the_way_down),
		cmocka_unit_test(test_spoilt_write_ends_the_connection),
		cmocka_unit_test(test_spoilt_on_the_way_up),
		cmocka_unit_test(test_no_digests),
	};

	uring_needed();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
