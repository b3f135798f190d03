// SPDX-License-Identifier: BSD-3-Clause
/* Tests of damage: what a block, a page, a superblock or a root that is not as it was leads to. */
#include <math.h>
#include <string.h>
#include "base/clock.h"
#include "device/block/ram.h"
#include "engine/crc32c/crc32c.h"
#include "service/block/store/faulty.h"
#include "service/block/store/store_assert.h"
#include "service/block/store/store_priv.h"

static struct store_report last_report;
static unsigned reports;

static void reported(void *ctx, const struct store_report *report)
{
	last_report = *report;
	reports++;
}

static struct store *opened_reporting(struct dpu_block_device *device)
{
	struct dpu_error error;
	struct store_options options = { .name = "p", .report = reported };
	struct store *store = rig_open(&options, &device, 1, STORE_OPEN, &error);

	reports = 0;
	assert_non_null(store);
	return store;
}

static void scrub_done(struct store_command *command)
{
	*(bool *)command->ctx = true;
}

static void a_damaged_block_fails_its_read_and_is_found_by_scrub(void **state)
{
	struct dpu_block_device *device = ram_new(32 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 8 * MIB), offset;
	uint8_t block[STORE_BLOCK];
	struct page_leaf *leaf;

	write_blocks(store, volume, 0, 500, 1000);
	pool_run(store, STORE_CLOSE, 0, 0);
	store_free(store);
	store = opened_reporting(device);
	assert_blocks(store, volume, 0, 500, 1000);
	assert_int_equal(leaf_find(store, store->volume[0], 321, &leaf), 0);
	medium_of_place(store, leaf_place(leaf, 321 % LEAF_BLOCKS) - 1, &offset);
	((uint8_t *)block_ram_data(device))[offset + 99] ^= 4;
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_READ, 321 * STORE_BLOCK, block, STORE_BLOCK, 0),
			 DPU_BLOCK_INTEGRITY);
	assert_int_equal(last_report.block, 321);
	assert_int_equal(last_report.offset, offset);
	struct store_command scrub = { .op = STORE_SCRUB };
	assert_int_equal(rig_command(store, &scrub), DPU_OK);
	assert_int_equal(scrub.damaged, 1);
	assert_int_equal(scrub.progress, scrub.total);
	assert_int_equal(last_report.block, 321);
	assert_blocks(store, volume, 0, 321, 1000);
	pool_finish(store, device);
}

/* Not faster than it may, a few reads in each poll, and requests go on meanwhile. */
static void a_scrub_takes_its_time(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 16 * MIB), begin = clock_ns();
	struct store_command scrub = { .op = STORE_SCRUB, .rate = 20 * MIB, .done = scrub_done };
	bool finished = false, waited = false;
	unsigned requests = 0;

	write_blocks(store, volume, 0, 1000, 1);
	scrub.ctx = &finished;
	store_submit(store, &scrub);
	while (!finished) {
		store_poll(store);
		waited |= store_due_ns(store) != UINT64_MAX;
		if (++requests % 100 == 0)
			write_blocks(store, volume, requests % 1000, 1, 1);
	}
	assert_int_equal(scrub.error.code, DPU_OK);
	assert_int_equal(scrub.damaged, 0);
	assert_true(waited && requests > 1000);
	/* 1000 blocks and some pages at 20 MiB a second. */
	assert_in_range(clock_ns() - begin, 180 * CLOCK_NS_PER_MS, 20 * CLOCK_NS_PER_S);
	pool_finish(store, device);
}

/* However fast it may be, it ends. */
static void a_scrub_may_be_as_fast_as_it_can(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 16 * MIB), begin = clock_ns();
	bool finished = false;
	struct store_command scrub = { .op = STORE_SCRUB, .rate = UINT64_MAX, .done = scrub_done, .ctx = &finished };

	write_blocks(store, volume, 0, 1000, 1);
	store_submit(store, &scrub);
	while (!finished && clock_ns() - begin < 20 * CLOCK_NS_PER_S)
		store_poll(store);
	assert_true(finished);
	assert_int_equal(scrub.progress, scrub.total);
	pool_finish(store, device);
}

/* While it waits for its rate it keeps nobody from using what has become free. It is never waited for. */
static void a_slow_scrub_holds_no_space(void **state)
{
	struct dpu_block_device *device = ram_new(16 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 4 * MIB);
	struct store_command scrub = { .op = STORE_SCRUB, .rate = 64 * STORE_BLOCK };
	struct store_stats stats;

	write_blocks(store, volume, 0, 1000, 1);
	store_stats(store, &stats);
	rig_start(store, &scrub);
	while (scrub.progress < LEAF_BLOCKS * STORE_BLOCK)
		store_poll(store);
	uint64_t progress = scrub.progress;
	for (uint64_t written = 0; written < 3 * stats.blocks; written += 1000)
		write_blocks(store, volume, 0, 1000, written);
	assert_int_equal(scrub.progress, progress);
	pool_finish(store, device);
}

static const struct dpu_block_ops *ram_ops;
static uint64_t bytes_read;

static void count_reads(struct dpu_block_device *device, struct dpu_block_request *request)
{
	bytes_read += request->op == DPU_BLOCK_READ ? request->length : 0;
	ram_ops->submit(device, request);
}

/* At each time the rest as reckoned from what was done is the rest that there is, about. */
static void assert_estimates(struct store *store, double tolerance)
{
	static struct sample {
		double read, done, total;
	} samples[1 << 16];
	bool finished = false;
	struct store_command scrub = { .op = STORE_SCRUB, .done = scrub_done, .ctx = &finished };
	unsigned count = 0;

	bytes_read = 0;
	store_submit(store, &scrub);
	for (uint64_t before = 0; !finished; store_poll(store)) {
		if (scrub.progress == before || count == 1 << 16)
			continue;
		before = scrub.progress;
		samples[count++] = (struct sample){ (double)bytes_read, (double)scrub.progress, (double)scrub.total };
	}
	assert_int_equal(scrub.progress, scrub.total);
	assert_true(count > 5);
	for (unsigned i = 0; i < count; i++) {
		const struct sample *sample = &samples[i];
		double left = (double)bytes_read - sample->read;
		double said = sample->read * (sample->total - sample->done) / sample->done;
		if (sample->read > 0.3 * (double)bytes_read)
			assert_true(fabs(said - left) < tolerance * (double)bytes_read);
	}
}

/* Most of the pool is empty; then the leaves of a copy have most of their blocks in common. */
static void a_scrub_knows_how_much_is_left(void **state)
{
	struct dpu_block_device *device = ram_new(64 * MIB);
	struct dpu_block_ops counting = *device->ops;
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 16 * MIB);

	ram_ops = device->ops;
	counting.submit = count_reads;
	device->ops = &counting;
	write_blocks(store, volume, 0, 8 * LEAF_BLOCKS, 1);
	assert_estimates(store, 0.1);
	rig_copy(store, STORE_SNAPSHOT, volume, "s");
	for (unsigned i = 0; i < 8; i++)
		write_blocks(store, volume, i * LEAF_BLOCKS, 1, 1);
	assert_estimates(store, 0.3);
	device->ops = ram_ops;
	pool_finish(store, device);
}

static void a_damaged_page_quarantines_its_volume(void **state)
{
	struct dpu_block_device *device = ram_new(32 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 8 * MIB), other = rig_create(store, "b", 8 * MIB);
	uint8_t block[STORE_BLOCK];
	struct page_leaf *leaf;

	write_blocks(store, volume, 0, 500, 1000);
	write_blocks(store, other, 0, 500, 3000);
	assert_int_equal(leaf_find(store, store->volume[0], 0, &leaf), 0);
	uint32_t page = leaf->header.id;
	pool_run(store, STORE_CLOSE, 0, 0);
	uint64_t offset = page_offset(&store->medium[0], page, map_get(store->map, page));
	store_free(store);
	((uint8_t *)block_ram_data(device))[offset + 2000] ^= 1;
	store = opened_reporting(device);
	struct store_command scrub = { .op = STORE_SCRUB };
	assert_int_equal(rig_command(store, &scrub), DPU_OK);
	assert_int_equal(scrub.damaged, 1);
	assert_int_equal(last_report.offset, offset);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_READ, 0, block, STORE_BLOCK, 0), DPU_BLOCK_GONE);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_WRITE, MIB, block, STORE_BLOCK, 0), DPU_BLOCK_GONE);
	assert_blocks(store, other, 0, 500, 3000);
	write_blocks(store, other, 0, 500, 4000);
	assert_int_equal(rig_io(store, other, DPU_BLOCK_FLUSH, 0, NULL, 0, 0), DPU_BLOCK_OK);
	store_free(store);
	store = pool_opened(device);
	assert_blocks(store, other, 0, 500, 4000);
	assert_int_equal(pool_run(store, STORE_DELETE, volume, 0), DPU_OK);
	pool_finish(store, device);
}

/* A pool on whose medium the first leaf of a volume is damaged; the pool has not read it yet. */
static struct store *with_damaged_leaf(struct dpu_block_device *device, uint64_t *ret_volume)
{
	struct store *store = pool_made(device);
	struct page_leaf *leaf;

	*ret_volume = rig_create(store, "a", 8 * MIB);
	write_blocks(store, *ret_volume, 0, 1500, 1000);
	assert_int_equal(leaf_find(store, store->volume[0], 0, &leaf), 0);
	return pool_reopened_damaged(store, device, leaf->header.id);
}

/* A shrink that meets it ends, and so does everything behind it. */
static void a_shrink_over_a_damaged_page_ends(void **state)
{
	struct dpu_block_device *device = ram_new(32 * MIB);
	uint64_t volume;
	struct store *store = with_damaged_leaf(device, &volume);
	struct store_command resize = { .op = STORE_RESIZE, .volume = volume, .bytes = 10 * STORE_BLOCK };

	assert_int_equal(rig_command(store, &resize), DPU_E_IO);
	assert_non_null(strstr(resize.error.message, "quarantined"));
	assert_int_not_equal(rig_command(store, &resize), DPU_OK);
	write_blocks(store, rig_create(store, "b", MIB), 0, 10, 1);
	assert_int_equal(pool_run(store, STORE_DELETE, volume, 0), DPU_OK);
	assert_int_equal(pool_run(store, STORE_CLOSE, 0, 0), DPU_OK);
	pool_finish(store, device);
}

/* A deletion that meets it leaves a volume that can be deleted once more, after which a repair gives its space back. */
static void a_deletion_over_a_damaged_page_can_be_ended(void **state)
{
	struct dpu_block_device *device = ram_new(32 * MIB);
	uint64_t volume;
	struct store *store = with_damaged_leaf(device, &volume);
	struct store_command repair = { .op = STORE_REPAIR };
	struct store_volume_info info;
	struct store_stats stats;

	assert_int_equal(pool_run(store, STORE_DELETE, volume, 0), DPU_OK);
	rig_settle(store);
	assert_true(store_next(store, 0, &info) && info.deleting && info.quarantined);
	assert_int_equal(rig_command(store, &repair), DPU_E_IO);
	assert_true(repair.repaired && strstr(repair.error.message, "delete it and repair again"));
	assert_int_equal(pool_run(store, STORE_DELETE, volume, 0), DPU_OK);
	assert_false(store_next(store, 0, &info));
	assert_int_equal(rig_command(store, &repair), DPU_OK);
	store_stats(store, &stats);
	assert_int_equal(stats.free_blocks, stats.blocks);
	assert_sound(store);
	pool_finish(store, device);
}

static void request_done(struct dpu_block_request *request)
{
	assert_int_equal(request->status, DPU_BLOCK_OK);
}

/* The space of others comes back without anything else that wakes the worker. */
static void a_deletion_over_a_damaged_page_keeps_no_other_waiting(void **state)
{
	enum { LEAVES = 200 };
	struct dpu_block_device *device = ram_new(64 * MIB);
	uint64_t volume[2];
	struct store *store = with_damaged_leaf(device, &volume[0]);
	struct faulty *faulty = faulty_new(device);
	struct faulty_plan plan = { .ops = 1 << DPU_BLOCK_READ, .fails = 2, .holds = true };
	struct dpu_block_request read[2];
	uint8_t block[2][STORE_BLOCK];
	struct iovec iov[2];
	struct store_volume_info info;

	store = pool_reopened(store, faulty_device(faulty));
	volume[1] = rig_create(store, "b", (uint64_t)LEAVES * MIB);
	for (unsigned i = 0; i < LEAVES; i++)
		write_blocks(store, volume[1], (uint64_t)i * LEAF_BLOCKS, 1, 1);
	plan.first = store->medium[0].super.data_block * STORE_BLOCK;
	plan.end = device->bytes - STORE_BLOCK;
	faulty_plan(faulty, &plan);
	for (unsigned i = 0; i < 2; i++) { /* until they end nothing is freed */
		iov[i] = (struct iovec){ block[i], STORE_BLOCK };
		struct dpu_block_device *of = store_device(store, volume[i]);
		read[i] = (struct dpu_block_request){ .op = DPU_BLOCK_READ,
						      .segments = 1,
						      .offset = i ? 0 : LEAF_BLOCKS * STORE_BLOCK,
						      .length = STORE_BLOCK,
						      .iov = &iov[i],
						      .done = request_done };
		of->ops->submit(of, &read[i]);
		while (faulty_held(faulty) <= i)
			store_poll(store);
	}
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pool_run(store, STORE_DELETE, volume[i], 0), DPU_OK);
	rig_settle(store);
	faulty_release(faulty);
	while (store_poll(store) > 0)
		;
	assert_true(store_next(store, 0, &info) && info.id == volume[0] && info.quarantined);
	assert_false(store_next(store, volume[0], &info));
	pool_finish(store, device);
	faulty_free(faulty);
}

static void a_damaged_page_of_counts_gives_nothing_away(void **state)
{
	struct dpu_block_device *device = ram_new(32 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 8 * MIB);

	write_blocks(store, volume, 0, 1500, 1000);
	pool_run(store, STORE_CLOSE, 0, 0);
	uint64_t offset = page_offset(&store->medium[0], 0, map_get(store->map, 0));
	uint32_t counts = store->medium[0].super.space_pages + store->medium[0].super.summary_pages;
	uint64_t pages_offset = page_offset(&store->medium[0], counts, map_get(store->map, counts));
	store_free(store);
	((uint8_t *)block_ram_data(device))[offset + 200] ^= 1;
	store = pool_opened(device);
	assert_blocks(store, volume, 0, 1500, 1000);
	write_blocks(store, volume, 3, 1200, 7000);
	assert_blocks(store, volume, 3, 1200, 7000);
	assert_blocks(store, volume, 1203, 297, 2203);
	assert_sound(store);
	pool_run(store, STORE_CLOSE, 0, 0);
	store_free(store);
	/* Of pages: made again from the trees, because a log could not be applied without. */
	((uint8_t *)block_ram_data(device))[pages_offset + 200] ^= 1;
	store = pool_opened(device);
	assert_sound(store);
	for (uint32_t page = 0; page < store->pages; page++)
		assert_true(!page_is_tree(store, page) || pageref_get(store, page) != COUNT_LOST);
	write_blocks(store, volume, 0, 1300, 9000);
	assert_blocks(store, volume, 0, 1300, 9000);
	pool_finish(store, device);
}

static void what_is_no_pool_is_refused(void **state)
{
	struct dpu_block_device *device = ram_new(32 * MIB), *other = ram_new(32 * MIB);
	struct dpu_block_device *both[] = { device, other };

	assert_refused(&device, 1, "there is no pool here");
	store_free(pool_made(device));
	uint8_t *data = block_ram_data(device);
	struct store_super *super = (struct store_super *)data;
	super->version = 9;
	super->crc = crc32c(0, &super->magic, STORE_BLOCK - 4);
	data[device->bytes - 100] ^= 1;
	assert_refused(&device, 1, "offset 0: the pool has a newer format");
	super->version = 1;
	super->crc = crc32c(0, &super->magic, STORE_BLOCK - 4);
	store_free(pool_opened(device));
	store_free(pool_made(other));
	assert_refused(both, 2, "the medium is of another pool");
	memcpy(block_ram_data(other), data, 32 * MIB);
	assert_refused(both, 2, "the medium is a copy of another one that is here");
	/* Either superblock is enough, and the other is made again; either root. */
	data[100] ^= 1;
	store_free(pool_opened(device));
	assert_memory_equal(data, data + device->bytes - STORE_BLOCK, STORE_BLOCK);
	data[super->root_block[0] * STORE_BLOCK + 5000] ^= 1;
	data[super->root_block[1] * STORE_BLOCK + 5000] ^= 1;
	assert_refused(&device, 1, "the root contradicts its CRC");
	device->ops->close(device, NULL, NULL);
	other->ops->close(other, NULL, NULL);
}

static void a_damaged_newest_root_is_not_passed_over(void **state)
{
	struct dpu_block_device *device = ram_new(32 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 8 * MIB);

	write_blocks(store, volume, 0, 10, 1000);
	pool_run(store, STORE_CHECKPOINT, 0, 0);
	uint64_t root = store->medium[0].super.root_block[store->root.generation % 2] * STORE_BLOCK;
	write_blocks(store, volume, 0, 10, 2000);
	rig_io(store, volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0);
	store_free(store);
	((uint8_t *)block_ram_data(device))[root + 5000] ^= 1;
	assert_refused(&device, 1, "newer root");
	device->ops->close(device, NULL, NULL);
}

/* Writes a block, in a section of its own. Where that is. */
static uint64_t section_of(struct store *store, uint64_t volume, uint64_t block, uint64_t version)
{
	uint64_t offset = (store->medium[0].super.log_block + store->log.block) * STORE_BLOCK;

	write_blocks(store, volume, block, 1, version);
	assert_int_equal(rig_io(store, volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0), DPU_BLOCK_OK);
	return offset;
}

/* One behind a section that was lost is not taken for the next of those that the pool writes in the lost one's place.
 */
static void a_section_of_an_earlier_session_stays_lost(void **state)
{
	struct dpu_block_device *device = ram_new(32 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", MIB);

	write_blocks(store, volume, 0, 8, 1000);
	pool_run(store, STORE_CHECKPOINT, 0, 0);
	section_of(store, volume, 1, 2000);
	uint64_t lost = section_of(store, volume, 2, 3000), behind = section_of(store, volume, 3, 4000);
	store_free(store);
	memset((uint8_t *)block_ram_data(device) + lost, 0, STORE_BLOCK);
	store = pool_opened(device);
	assert_blocks(store, volume, 2, 2, 1002);
	assert_int_equal(section_of(store, volume, 5, 5000), lost);
	assert_int_equal((store->medium[0].super.log_block + store->log.block) * STORE_BLOCK, behind);
	store_free(store);
	store = pool_opened(device);
	assert_blocks(store, volume, 1, 1, 2000);
	assert_blocks(store, volume, 2, 2, 1002);
	assert_blocks(store, volume, 5, 1, 5000);
	pool_finish(store, device);
}

/* Nor if the log goes on in a session that the older root does not know. */
static void a_damaged_root_of_a_new_session_is_not_passed_over(void **state)
{
	struct dpu_block_device *device = ram_new(32 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 8 * MIB);

	write_blocks(store, volume, 0, 10, 1000);
	store = pool_reopened(store, device);
	uint64_t root = store->medium[0].super.root_block[store->root.generation % 2] * STORE_BLOCK;
	section_of(store, volume, 1, 2000);
	store_free(store);
	((uint8_t *)block_ram_data(device))[root + 5000] ^= 1;
	assert_refused(&device, 1, "newer root");
	device->ops->close(device, NULL, NULL);
}

/* ---- what the log has for a volume whose map is damaged ---- */

/* Where the durable page of the volume's first leaf is. */
static uint64_t first_leaf(struct store *store, uint32_t slot)
{
	struct page_leaf *leaf;

	assert_int_equal(leaf_find(store, store->volume[slot], 0, &leaf), 0);
	return page_offset(&store->medium[0], leaf->header.id, map_get(store->durable_map, leaf->header.id));
}

static bool is_quarantined(struct store *store, uint64_t volume)
{
	struct store_volume_info info;

	assert_true(store_next(store, volume - 1, &info) && info.id == volume);
	return info.quarantined;
}

static struct store *crashed_with_damage(struct store *store, struct dpu_block_device *device, uint64_t offset)
{
	store_free(store);
	((uint8_t *)block_ram_data(device))[offset + 2000] ^= 1;
	return pool_opened(device);
}

/* A copy that was made behind a record that could not be applied lacks what that record had. */
static void a_copy_of_what_lacks_something_lacks_it_too(void **state)
{
	struct dpu_block_device *device = ram_new(32 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", 8 * MIB);
	uint8_t block[STORE_BLOCK];

	write_blocks(store, volume, 0, 2 * LEAF_BLOCKS, 1000);
	uint64_t before = rig_copy(store, STORE_SNAPSHOT, volume, "before");
	pool_run(store, STORE_CHECKPOINT, 0, 0);
	write_blocks(store, volume, 0, 2 * LEAF_BLOCKS, 2000);
	pool_run(store, STORE_CHECKPOINT, 0, 0);
	uint64_t offset = first_leaf(store, 0);
	write_blocks(store, volume, 0, 1, 3000);
	write_blocks(store, volume, LEAF_BLOCKS, 1, 4000);
	uint64_t behind = rig_copy(store, STORE_SNAPSHOT, volume, "behind");
	store = crashed_with_damage(store, device, offset);
	assert_true(is_quarantined(store, volume) && is_quarantined(store, behind));
	assert_false(is_quarantined(store, before));
	assert_int_equal(rig_io(store, behind, DPU_BLOCK_READ, LEAF_BLOCKS * STORE_BLOCK, block, STORE_BLOCK, 0),
			 DPU_BLOCK_GONE);
	assert_blocks(store, before, 0, 2 * LEAF_BLOCKS, 1000);
	pool_finish(store, device);
}

/* What it gave back and others have since is theirs. */
static void others_keep_the_space_that_a_damaged_volume_gave_back(void **state)
{
	enum { SPARE = 40, RUN = 30 };
	struct dpu_block_device *device = ram_new(32 * MIB);
	struct store *store = pool_made(device);
	uint64_t volume = rig_create(store, "a", MIB), other = rig_create(store, "b", MIB);
	uint64_t rest = rig_create(store, "rest", 32 * MIB);
	struct store_command repair = { .op = STORE_REPAIR };
	struct store_stats stats;

	write_blocks(store, volume, 0, SPARE, 1000);
	write_blocks(store, other, 0, 1, 1);
	store_stats(store, &stats);
	for (unsigned at = 0, left = (unsigned)stats.free_blocks - SPARE, count; left; at += count, left -= count) {
		count = left < LEAF_BLOCKS ? left : LEAF_BLOCKS;
		write_blocks(store, rest, at, count, 1 + at);
	}
	pool_run(store, STORE_CHECKPOINT, 0, 0);
	uint64_t offset = first_leaf(store, 0), generation = store->root.generation;
	for (unsigned i = 1; i < 4; i++) {
		write_blocks(store, volume, 0, RUN, 2000 * i);
		write_blocks(store, other, 0, RUN, 3000 * i);
	}
	rig_io(store, other, DPU_BLOCK_FLUSH, 0, NULL, 0, 0);
	assert_int_equal(store->root.generation, generation);
	store = crashed_with_damage(store, device, offset);
	assert_true(is_quarantined(store, volume) && !is_quarantined(store, other));
	assert_blocks(store, other, 0, RUN, 9000);
	assert_blocks(store, rest, 0, 100, 1);
	assert_int_equal(pool_run(store, STORE_DELETE, volume, 0), DPU_OK);
	assert_int_equal(rig_command(store, &repair), DPU_OK);
	assert_sound(store);
	assert_blocks(store, other, 0, RUN, 9000);
	pool_finish(store, device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_damaged_block_fails_its_read_and_is_found_by_scrub),
		cmocka_unit_test(a_scrub_takes_its_time),
		cmocka_unit_test(a_scrub_may_be_as_fast_as_it_can),
		cmocka_unit_test(a_slow_scrub_holds_no_space),
		cmocka_unit_test(a_scrub_knows_how_much_is_left),
		cmocka_unit_test(a_damaged_page_quarantines_its_volume),
		cmocka_unit_test(a_shrink_over_a_damaged_page_ends),
		cmocka_unit_test(a_deletion_over_a_damaged_page_can_be_ended),
		cmocka_unit_test(a_deletion_over_a_damaged_page_keeps_no_other_waiting),
		cmocka_unit_test(a_damaged_page_of_counts_gives_nothing_away),
		cmocka_unit_test(what_is_no_pool_is_refused),
		cmocka_unit_test(a_damaged_newest_root_is_not_passed_over),
		cmocka_unit_test(a_section_of_an_earlier_session_stays_lost),
		cmocka_unit_test(a_damaged_root_of_a_new_session_is_not_passed_over),
		cmocka_unit_test(a_copy_of_what_lacks_something_lacks_it_too),
		cmocka_unit_test(others_keep_the_space_that_a_damaged_volume_gave_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
