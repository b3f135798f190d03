// SPDX-License-Identifier: BSD-3-Clause
/* Media that fail: at each request of each kind, once or from then on. What was acknowledged is there when the medium
 * is well again, statuses say what happened, others go on. STORE_FAULT_STEP=1 tries each request. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "device/block/ram.h"
#include "service/block/store/faulty.h"
#include "service/block/store/recorder.h"
#include "service/block/store/store_priv.h"
#include "service/block/store/store_rig.h"

enum { MIB = 1 << 20, VOLUMES = 2, BLOCKS = 1100, OPS = 160, MOST = 12, RUN = 40, ALWAYS = 1 << 30, CACHE = 300 };

/* What a block may hold: the last is the newest. */
struct held {
	uint32_t version[MOST];
	unsigned count;
};

struct world {
	struct dpu_block_device *ram, *more; /* more: is added in the middle */
	struct faulty *faulty;
	struct store *store;
	uint64_t volume[VOLUMES], seed;
	struct held held[VOLUMES][BLOCKS];
	uint32_t version;
	unsigned grows_at; /* operation; 0: not */
	bool grown;
	unsigned statuses[DPU_BLOCK_STATUSES];
	unsigned reports[STORE_DAMAGE_MEDIUM + 1];
	uint64_t report_offset;
};

static void reported(void *ctx, const struct store_report *report)
{
	struct world *world = ctx;

	world->reports[report->damage]++;
	if (report->offset)
		world->report_offset = report->offset;
	assert_non_null(report->medium);
}

static struct store *open_pool(struct world *world, enum store_op op, struct dpu_error *error)
{
	struct store_options options = { .name = "p", .cache_pages = CACHE, .report = reported, .ctx = world };
	struct dpu_block_device *media[] = { faulty_device(world->faulty), world->more };

	return rig_open(&options, media, op == STORE_FORMAT ? 1 : 2, op, error);
}

static struct world *world_new(uint64_t bytes)
{
	struct world *world = calloc(1, sizeof(*world));
	struct dpu_error error;

	assert_int_equal(block_ram_new("ram", bytes, 512, &world->ram), 0);
	assert_int_equal(block_ram_new("more", 16 * MIB, 512, &world->more), 0);
	world->ram->features |= DPU_BLOCK_F_FLUSH;
	world->faulty = faulty_new(world->ram);
	world->store = open_pool(world, STORE_FORMAT, &error);
	assert_non_null(world->store);
	world->seed = 7;
	for (unsigned i = 0; i < VOLUMES; i++)
		world->volume[i] = rig_create(world->store, i ? "b" : "a", BLOCKS * STORE_BLOCK);
	for (unsigned i = 0; i < VOLUMES * BLOCKS; i++)
		world->held[i / BLOCKS][i % BLOCKS].count = 1; /* zeroes */
	return world;
}

static void world_free(struct world *world)
{
	store_free(world->store);
	faulty_free(world->faulty);
	world->ram->ops->close(world->ram, NULL, NULL);
	world->more->ops->close(world->more, NULL, NULL);
	free(world);
}

/* ---- what may be there ---- */

static void settle_on(struct held *held, uint32_t version)
{
	held->version[0] = version;
	held->count = 1;
}

static void may_hold(struct held *held, uint32_t version)
{
	if (held->count == MOST)
		memmove(held->version, held->version + 1, (MOST - 1) * sizeof(*held->version));
	else
		held->count++;
	held->version[held->count - 1] = version;
}

static bool holds(const struct held *held, const uint8_t *data)
{
	uint8_t expected[STORE_BLOCK];

	for (unsigned i = 0; i < held->count; i++) {
		rig_fill(expected, held->version[i], STORE_BLOCK);
		if (memcmp(expected, data, STORE_BLOCK) == 0)
			return true;
	}
	return false;
}

/* Each block is one of those that it may be; GONE if the volume is lost. */
static void check_volume(struct world *world, unsigned which, bool may_be_gone)
{
	static uint8_t data[BLOCKS * STORE_BLOCK];

	for (unsigned at = 0; at < BLOCKS; at += RUN) {
		unsigned count = BLOCKS - at < RUN ? BLOCKS - at : RUN;
		enum dpu_block_status status =
			rig_io(world->store, world->volume[which], DPU_BLOCK_READ, (uint64_t)at * STORE_BLOCK, data,
			       (uint64_t)count * STORE_BLOCK, 0);
		if (status == DPU_BLOCK_GONE && may_be_gone)
			return;
		assert_int_equal(status, DPU_BLOCK_OK);
		for (unsigned i = 0; i < count; i++)
			assert_true(holds(&world->held[which][at + i], data + (size_t)i * STORE_BLOCK));
	}
}

/* ---- a workload ---- */

static void flushed(struct world *world)
{
	for (unsigned i = 0; i < VOLUMES * BLOCKS; i++) {
		struct held *held = &world->held[i / BLOCKS][i % BLOCKS];
		settle_on(held, held->version[held->count - 1]);
	}
}

static enum dpu_block_status io(struct world *world, unsigned which, enum dpu_block_op op, unsigned first,
				unsigned count, unsigned flags)
{
	static uint8_t data[RUN * STORE_BLOCK];
	uint32_t version = op == DPU_BLOCK_WRITE ? ++world->version : 0;

	for (unsigned i = 0; i < count; i++)
		rig_fill(data + (size_t)i * STORE_BLOCK, version, STORE_BLOCK);
	bool moves = op == DPU_BLOCK_WRITE || op == DPU_BLOCK_READ;
	enum dpu_block_status status = rig_io(world->store, world->volume[which], op, (uint64_t)first * STORE_BLOCK,
					      moves ? data : NULL, (uint64_t)count * STORE_BLOCK, flags);
	world->statuses[status]++;
	for (unsigned i = 0; op != DPU_BLOCK_READ && op != DPU_BLOCK_FLUSH && i < count; i++) {
		struct held *held = &world->held[which][first + i];
		if (status == DPU_BLOCK_OK && flags & DPU_BLOCK_FUA)
			settle_on(held, version);
		else /* one that failed may be there or not */
			may_hold(held, version);
	}
	for (unsigned i = 0; op == DPU_BLOCK_READ && status == DPU_BLOCK_OK && i < count; i++)
		assert_true(holds(&world->held[which][first + i], data + (size_t)i * STORE_BLOCK));
	return status;
}

/* After a failure a flush says nothing about what failed, so nothing is settled any more. */
static void work(struct world *world, unsigned ops)
{
	bool all_well = true;

	for (unsigned i = 0; i < ops; i++) {
		unsigned which = (unsigned)random_below(&world->seed, VOLUMES);
		unsigned kind = (unsigned)random_below(&world->seed, 20);
		unsigned count = 1 + (unsigned)random_below(&world->seed, RUN);
		unsigned first = (unsigned)random_below(&world->seed, BLOCKS - count);
		enum dpu_block_op op = kind < 10   ? DPU_BLOCK_WRITE
				       : kind < 14 ? DPU_BLOCK_READ
				       : kind < 16 ? DPU_BLOCK_DISCARD
						   : DPU_BLOCK_FLUSH;
		if (i && i == world->grows_at) {
			struct store_command grow = { .op = STORE_GROW, .medium = world->more };
			world->grown = rig_command(world->store, &grow) == DPU_OK;
			all_well &= world->grown;
		}
		if (kind == 19) {
			struct store_command command = { .op = STORE_CHECKPOINT };
			all_well &= rig_command(world->store, &command) == DPU_OK;
			continue;
		}
		bool flush = op == DPU_BLOCK_FLUSH;
		enum dpu_block_status status = io(world, which, op, flush ? 0 : first, flush ? 0 : count,
						  kind % 5 == 0 && !flush ? DPU_BLOCK_FUA : 0);
		all_well &= status == DPU_BLOCK_OK;
		if (flush && all_well)
			flushed(world);
	}
}

static unsigned step_of(unsigned otherwise)
{
	const char *value = getenv("STORE_FAULT_STEP");

	return value ? (unsigned)strtoul(value, NULL, 0) : otherwise;
}

static unsigned quarantined(struct world *world)
{
	struct store_volume_info info;
	unsigned count = 0;

	for (uint64_t id = 0; store_next(world->store, id, &info); id = info.id)
		count += info.quarantined;
	return count;
}

/* One failure, or all from there on; then the medium is well again and the pool is opened. Whether it failed at all. */
static bool fail_once(unsigned op, uint8_t status, uint64_t skip, uint64_t fails)
{
	struct world *world = world_new(24 * MIB);
	struct faulty_plan plan = { .ops = 1u << op, .skip = skip, .fails = fails, .status = status };
	struct store_stats stats;
	struct dpu_error error = { 0 };

	work(world, OPS / 4);
	faulty_plan(world->faulty, &plan);
	world->grows_at = OPS / 2;
	work(world, OPS);
	bool failed = faulty_failed(world->faulty) > 0;
	unsigned lost = quarantined(world);
	store_stats(world->store, &stats);
	assert_true(failed == (stats.medium_errors > 0));
	assert_true(stats.failed == (world->reports[STORE_DAMAGE_MEDIUM] > 0));
	assert_true(op != DPU_BLOCK_READ || !stats.failed);
	assert_int_equal(world->statuses[DPU_BLOCK_INTEGRITY] + world->statuses[DPU_BLOCK_RANGE], 0);
	assert_true(op == DPU_BLOCK_READ || world->statuses[DPU_BLOCK_GONE] + lost == 0);
	if (op != DPU_BLOCK_READ && fails == ALWAYS && failed) {
		/* What is read only goes on, and says so. */
		for (unsigned i = 0; i < VOLUMES; i++)
			check_volume(world, i, false);
		assert_int_not_equal(io(world, 0, DPU_BLOCK_WRITE, 0, 1, DPU_BLOCK_FUA), DPU_BLOCK_OK);
	}
	faulty_plan(world->faulty, NULL);
	for (unsigned i = 0; i < VOLUMES; i++)
		check_volume(world, i, lost > 0);
	store_free(world->store);
	world->store = open_pool(world, STORE_OPEN, &error);
	if (!world->store)
		print_error("%s\n", error.message);
	assert_non_null(world->store);
	assert_true(!world->grown || store_has(world->store, world->more));
	for (unsigned i = 0; i < VOLUMES; i++)
		check_volume(world, i, lost > 0);
	rig_settle(world->store);
	int rc = store_check(world->store, &error);
	if (rc < 0)
		print_error("%s\n", error.message);
	assert_int_equal(rc, 0);
	if (lost == 0)
		assert_int_equal(io(world, 0, DPU_BLOCK_WRITE, 0, 1, DPU_BLOCK_FUA), DPU_BLOCK_OK);
	world_free(world);
	return failed;
}

static void sweep(unsigned op, uint8_t status, uint64_t fails, unsigned step)
{
	unsigned points = 0;

	for (uint64_t skip = 0; fail_once(op, status, skip, fails); skip += step_of(step))
		points++;
	assert_true(points > 10);
}

static void writes_fail(void **state)
{
	sweep(DPU_BLOCK_WRITE, DPU_BLOCK_IO_ERROR, 1, 9);
	sweep(DPU_BLOCK_WRITE, DPU_BLOCK_IO_ERROR, ALWAYS, 9);
}

static void the_file_system_below_is_full(void **state)
{
	sweep(DPU_BLOCK_WRITE, DPU_BLOCK_NO_SPACE, 1, 7);
	sweep(DPU_BLOCK_WRITE, DPU_BLOCK_NO_SPACE, ALWAYS, 7);
}

static void flushes_fail(void **state)
{
	sweep(DPU_BLOCK_FLUSH, DPU_BLOCK_IO_ERROR, 1, 1);
	sweep(DPU_BLOCK_FLUSH, DPU_BLOCK_IO_ERROR, ALWAYS, 2);
}

/* ---- reads ---- */

/* A pool with pages and a log that has yet to be applied, closed as by a crash. */
static struct world *world_crashed(void)
{
	struct world *world = world_new(24 * MIB);
	struct store_command checkpoint = { .op = STORE_CHECKPOINT };

	work(world, OPS);
	assert_int_equal(rig_command(world->store, &checkpoint), DPU_OK);
	work(world, OPS / 4);
	io(world, 0, DPU_BLOCK_FLUSH, 0, 0, 0);
	flushed(world);
	store_free(world->store);
	world->store = NULL;
	return world;
}

/* Whether anything failed. */
static bool open_failing(uint64_t skip, uint64_t fails, unsigned *refused)
{
	struct world *world = world_crashed();
	struct faulty_plan plan = {
		.ops = 1 << DPU_BLOCK_READ, .skip = skip, .fails = fails, .status = DPU_BLOCK_IO_ERROR
	};
	static uint8_t data[RUN * STORE_BLOCK];
	struct dpu_error error = { 0 };

	faulty_plan(world->faulty, &plan);
	world->store = open_pool(world, STORE_OPEN, &error);
	if (!world->store) {
		assert_non_null(strstr(error.message, "medium 'faulty', offset"));
		++*refused;
	}
	for (unsigned i = 0; world->store && i < VOLUMES * (BLOCKS / RUN); i++) {
		uint64_t offset = (uint64_t)(i / VOLUMES) * RUN * STORE_BLOCK;
		enum dpu_block_status status =
			rig_io(world->store, world->volume[i % VOLUMES], DPU_BLOCK_READ, offset, data, sizeof(data), 0);
		assert_true(status == DPU_BLOCK_OK || status == DPU_BLOCK_IO_ERROR || status == DPU_BLOCK_GONE);
	}
	bool failed = faulty_failed(world->faulty) > 0;
	assert_true(world->store || failed);
	faulty_plan(world->faulty, NULL);
	store_free(world->store);
	world->store = open_pool(world, STORE_OPEN, &error);
	assert_non_null(world->store);
	/* What was quarantined because its map could not be read is whole. */
	struct store_command repair = { .op = STORE_REPAIR };
	if (quarantined(world) || skip % 3 == 0)
		assert_int_equal(rig_command(world->store, &repair), DPU_OK);
	assert_int_equal(quarantined(world), 0);
	for (unsigned i = 0; i < VOLUMES; i++)
		check_volume(world, i, false);
	rig_settle(world->store);
	int rc = store_check(world->store, &error);
	if (rc < 0)
		print_error("skip %llu: %s\n", (unsigned long long)skip, error.message);
	assert_int_equal(rc, 0);
	world_free(world);
	return failed;
}

static void reads_fail_at_a_start(void **state)
{
	unsigned refused = 0, points = 0;

	for (uint64_t skip = 0; open_failing(skip, 1, &refused); skip += step_of(3))
		points++;
	assert_true(points > 5 && refused > 0);
	for (uint64_t skip = 0; open_failing(skip, ALWAYS, &refused); skip += step_of(3))
		points++;
	assert_true(points > 10 && refused > 3);
}

static uint64_t page_at(struct world *world, uint32_t page)
{
	return page_offset(&world->store->medium[0], page, map_get(world->store->map, page));
}

static void reopen(struct world *world)
{
	struct dpu_error error;

	store_free(world->store);
	world->store = open_pool(world, STORE_OPEN, &error);
	assert_non_null(world->store);
}

/* Of a leaf: its volume, and nobody else. */
static void one_page_cannot_be_read(void **state)
{
	struct world *world = world_new(24 * MIB);
	struct page_leaf *leaf;
	uint8_t block[STORE_BLOCK];

	io(world, 0, DPU_BLOCK_WRITE, 300, RUN, DPU_BLOCK_FUA);
	io(world, 1, DPU_BLOCK_WRITE, 300, RUN, DPU_BLOCK_FUA);
	assert_int_equal(leaf_find(world->store, world->store->volume[0], 300, &leaf), 0);
	uint32_t page = leaf->header.id;
	assert_int_equal(rig_command(world->store, &(struct store_command){ .op = STORE_CHECKPOINT }), DPU_OK);
	struct faulty_plan plan = { .ops = 1 << DPU_BLOCK_READ, .fails = ALWAYS, .status = DPU_BLOCK_IO_ERROR };
	plan.first = page_at(world, page);
	plan.end = plan.first + STORE_BLOCK;
	reopen(world);
	faulty_plan(world->faulty, &plan);
	assert_int_equal(
		rig_io(world->store, world->volume[0], DPU_BLOCK_READ, 300 * STORE_BLOCK, block, STORE_BLOCK, 0),
		DPU_BLOCK_GONE);
	assert_int_equal(world->report_offset, plan.first);
	check_volume(world, 1, false);
	assert_int_equal(io(world, 1, DPU_BLOCK_WRITE, 290, RUN, DPU_BLOCK_FUA), DPU_BLOCK_OK);
	check_volume(world, 1, false);
	world_free(world);
}

static enum dpu_error_code open_with(struct world *world, bool force, struct dpu_error *ret_error)
{
	struct store_options options = { .name = "p", .cache_pages = CACHE, .report = reported, .ctx = world };
	struct dpu_block_device *media[] = { faulty_device(world->faulty) };
	struct store_command open = { .op = STORE_OPEN, .force = force };

	store_free(world->store);
	assert_int_equal(store_new(&options, media, 1, &world->store, ret_error), 0);
	rig_command(world->store, &open);
	*ret_error = open.error;
	while (open.error.code && !store_drained(world->store))
		store_poll(world->store);
	return open.error.code;
}

/* A root, or a page that the log is applied to: the pool is not opened without it, but with force. */
static void what_a_start_needs_cannot_be_read(void **state)
{
	for (unsigned which = 0; which < 2; which++) {
		struct world *world = world_new(24 * MIB);
		struct faulty_plan plan = { .ops = 1 << DPU_BLOCK_READ, .fails = ALWAYS, .status = DPU_BLOCK_IO_ERROR };
		struct dpu_error error;
		struct page_leaf *leaf;

		io(world, 0, DPU_BLOCK_WRITE, 300, RUN, DPU_BLOCK_FUA);
		assert_int_equal(rig_command(world->store, &(struct store_command){ .op = STORE_CHECKPOINT }), DPU_OK);
		assert_int_equal(leaf_find(world->store, world->store->volume[0], 300, &leaf), 0);
		uint64_t older = (world->store->root.generation + 1) % 2;
		plan.first = which ? world->store->medium[0].super.root_block[older] * STORE_BLOCK
				   : page_at(world, leaf->header.id);
		plan.end = plan.first + STORE_BLOCK;
		io(world, 0, DPU_BLOCK_WRITE, 301, 1, DPU_BLOCK_FUA);
		io(world, 1, DPU_BLOCK_WRITE, 300, RUN, DPU_BLOCK_FUA);
		faulty_plan(world->faulty, &plan);
		assert_int_equal(open_with(world, false, &error), DPU_E_IO);
		assert_non_null(strstr(error.message, which ? "the root cannot be read" : "cannot read the page"));
		assert_int_equal(open_with(world, true, &error), DPU_OK);
		assert_int_equal(quarantined(world), 1 - which);
		check_volume(world, 0, !which);
		check_volume(world, 1, false);
		world_free(world);
	}
}

/* Counts that could not be read once are not believed later: they lack what came meanwhile. */
static void counts_that_cannot_be_read_stay_unknown(void **state)
{
	struct world *world = world_new(24 * MIB);
	struct faulty_plan plan = {
		.ops = 1 << DPU_BLOCK_READ, .fails = ALWAYS, .status = DPU_BLOCK_IO_ERROR, .end = STORE_BLOCK
	};
	struct dpu_error error = { 0 };

	io(world, 0, DPU_BLOCK_WRITE, 0, RUN, DPU_BLOCK_FUA);
	assert_int_equal(rig_command(world->store, &(struct store_command){ .op = STORE_CHECKPOINT }), DPU_OK);
	plan.first = page_at(world, 0);
	plan.end = plan.first + STORE_BLOCK;
	reopen(world);
	faulty_plan(world->faulty, &plan);
	uint64_t copy = rig_copy(world->store, STORE_SNAPSHOT, world->volume[0], "s");
	assert_int_equal(io(world, 0, DPU_BLOCK_WRITE, 0, 1, DPU_BLOCK_FUA),
			 DPU_BLOCK_OK); /* shares the others' blocks */
	assert_int_equal(world->reports[STORE_DAMAGE_COUNTS], 1);
	assert_int_equal(rig_command(world->store, &(struct store_command){ .op = STORE_CHECKPOINT }), DPU_OK);
	faulty_plan(world->faulty, NULL);
	reopen(world);
	assert_int_equal(rig_command(world->store, &(struct store_command){ .op = STORE_DELETE, .volume = copy }),
			 DPU_OK);
	rig_settle(world->store);
	for (unsigned i = 0; i < 4000; i++)
		io(world, 1, DPU_BLOCK_WRITE, i % (BLOCKS - 1), 1, i % 50 ? 0 : DPU_BLOCK_FUA);
	check_volume(world, 0, false);
	assert_int_equal(store_check(world->store, &error), 0);
	world_free(world);
}

/* What could not be written is in memory, and stays there: reads of the pool, which is read-only now, still find it. */
static void pages_that_cannot_be_written_are_not_given_up(void **state)
{
	enum { LEAVES = 600, CHANGED = 60 };
	struct world *world = world_new(192 * MIB);
	struct store_command checkpoint = { .op = STORE_CHECKPOINT };
	uint64_t volume = rig_create(world->store, "sparse", (uint64_t)LEAVES * LEAF_BLOCKS * STORE_BLOCK);
	uint8_t block[STORE_BLOCK], expected[STORE_BLOCK];

	for (unsigned i = 0; i < LEAVES + CHANGED; i++) {
		if (i == LEAVES)
			assert_int_equal(rig_command(world->store, &checkpoint), DPU_OK);
		rig_fill(block, i, STORE_BLOCK);
		assert_int_equal(rig_io(world->store, volume, DPU_BLOCK_WRITE, i % LEAVES * (uint64_t)MIB, block,
					STORE_BLOCK, 0),
				 DPU_BLOCK_OK);
	}
	const struct store_super *super = &world->store->medium[0].super;
	struct faulty_plan plan = { .ops = 1 << DPU_BLOCK_WRITE, .fails = ALWAYS, .status = DPU_BLOCK_IO_ERROR };
	plan.first = super->page_block * STORE_BLOCK;
	plan.end = super->data_block * STORE_BLOCK;
	faulty_plan(world->faulty, &plan);
	assert_int_equal(rig_command(world->store, &checkpoint), DPU_E_IO);
	for (unsigned i = 0; i < 5 * LEAVES; i++) {
		unsigned at = i * 251 % LEAVES;
		rig_fill(expected, at < CHANGED ? LEAVES + at : at, STORE_BLOCK);
		assert_int_equal(
			rig_io(world->store, volume, DPU_BLOCK_READ, at * (uint64_t)MIB, block, STORE_BLOCK, 0),
			DPU_BLOCK_OK);
		assert_memory_equal(block, expected, STORE_BLOCK);
	}
	assert_true(world->store->stats.page_loads > LEAVES);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_fail),
		cmocka_unit_test(the_file_system_below_is_full),
		cmocka_unit_test(flushes_fail),
		cmocka_unit_test(reads_fail_at_a_start),
		cmocka_unit_test(one_page_cannot_be_read),
		cmocka_unit_test(what_a_start_needs_cannot_be_read),
		cmocka_unit_test(counts_that_cannot_be_read_stay_unknown),
		cmocka_unit_test(pages_that_cannot_be_written_are_not_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
