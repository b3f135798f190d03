// SPDX-License-Identifier: BSD-3-Clause
/* Tests of what is said of a damaged pool: for each kind of structure the medium or file, the byte, and what is wrong.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "device/block/ram.h"
#include "engine/crc32c/crc32c.h"
#include "service/block/store/store_assert.h"
#include "service/block/store/store_priv.h"

enum { POOL = 8 * MIB, TAIL_BYTES = STORE_BLOCK + TAIL_SECTIONS * SECTION_BYTES };

#define SUPER_AT(field_)   offsetof(struct store_super, field_)
#define ROOT_AT(field_)    offsetof(struct store_root, field_)
#define SECTION_AT(field_) offsetof(struct section_header, field_)
#define RECORD_AT(field_)  (sizeof(struct section_header) + offsetof(struct record, field_))

/* A pool as a killed process left it: some records in the ring, the last ones in the tail file alone. */
static struct world {
	struct dpu_block_device *device;
	uint8_t image[POOL], tail[TAIL_BYTES];
	char tail_path[64];
	struct store_super super;
	uint64_t root, section, tail_section; /* bytes; the root that counts, the first sections behind it */
	uint64_t page[PAGE_LEAF + 1];         /* one of each kind */
	uint64_t volume;
} world;

static struct store_report reports[8];
static char mediums[8][64];
static unsigned report_count;

static void reported(void *ctx, const struct store_report *report)
{
	if (report_count == 8)
		return;
	reports[report_count] = *report;
	snprintf(mediums[report_count++], sizeof(mediums[0]), "%s", report->medium);
}

static const struct store_options *options(void)
{
	static struct store_options options = { .name = "p", .report = reported, .cache_pages = 512 };

	options.tail_path = world.tail_path;
	report_count = 0;
	return &options;
}

static void tail_io(bool write_it)
{
	int fd = open(world.tail_path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	if (write_it)
		assert_int_equal(pwrite(fd, world.tail, TAIL_BYTES, 0), TAIL_BYTES);
	else
		assert_int_equal(pread(fd, world.tail, TAIL_BYTES, 0), TAIL_BYTES);
	close(fd);
}

static uint64_t offset_of(const struct store *store, uint32_t page)
{
	assert_int_not_equal(map_get(store->map, page), PAGE_ABSENT);
	return page_offset(&store->medium[0], page, map_get(store->map, page));
}

static void places_note(struct store *store)
{
	const struct store_super *super = &store->medium[0].super;
	uint32_t counts = super->space_pages + super->summary_pages;
	struct page_leaf *leaf;

	world.super = *super;
	world.root = super->root_block[store->root.generation % 2] * STORE_BLOCK;
	world.section = (super->log_block + store->root.log_block) * STORE_BLOCK;
	world.page[PAGE_SPACE] = offset_of(store, 0);
	world.page[PAGE_COUNTS] = offset_of(store, counts);
	world.page[PAGE_DIRECTORY] = offset_of(store, counts + super->count_pages);
	assert_int_equal(leaf_find(store, store->volume[0], 0, &leaf), 0);
	world.page[PAGE_LEAF] = offset_of(store, leaf->header.id);
	world.page[PAGE_NODE] = offset_of(store, store->volume[0]->entry->root);
}

static int world_up(void **state)
{
	struct dpu_error error;
	struct store *store;

	world.device = ram_new(POOL);
	snprintf(world.tail_path, sizeof(world.tail_path), "/dev/shm/store-refuse-%d", (int)getpid());
	store = rig_open(options(), &world.device, 1, STORE_FORMAT, &error);
	assert_non_null(store);
	world.volume = rig_create(store, "a", 4 * MIB);
	write_blocks(store, world.volume, 0, 20, 1000);
	pool_run(store, STORE_CHECKPOINT, 0, 0);
	places_note(store);
	write_blocks(store, world.volume, 5, 10, 2000);
	rig_io(store, world.volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0);
	world.tail_section = tail_offset(store->log.sequence);
	write_blocks(store, world.volume, 300, 10, 3000);
	rig_settle(store);
	store_free(store);
	memcpy(world.image, block_ram_data(world.device), POOL);
	tail_io(false);
	return 0;
}

static int world_down(void **state)
{
	world.device->ops->close(world.device, NULL, NULL);
	unlink(world.tail_path);
	return 0;
}

static uint8_t *fresh(void)
{
	memcpy(block_ram_data(world.device), world.image, POOL);
	tail_io(true);
	return block_ram_data(world.device);
}

static void seal(uint8_t *at, size_t bytes)
{
	uint32_t crc = crc32c(0, at + sizeof(crc), bytes - sizeof(crc));

	memcpy(at, &crc, sizeof(crc));
}

static void refused_with(const char *what, uint64_t offset, const char *why)
{
	struct dpu_error error = { 0 };
	char expected[256];
	struct store *store = rig_open(options(), &world.device, 1, STORE_OPEN, &error);

	snprintf(expected, sizeof(expected), "%s, offset %llu: %s", what, (unsigned long long)offset, why);
	if (store)
		fail_msg("it was opened instead of: %s", expected);
	assert_string_equal(error.message, expected);
}

/* Bytes of a structure, and what is said of it then. */
struct damage {
	size_t at, bytes;
	uint64_t value;
	const char *why;
	bool torn; /* its CRC shows it */
};

/* ---- superblocks, roots ---- */

static void superblocks(void **state)
{
	static const struct damage damages[] = {
		{ SUPER_AT(magic), 4, 7, "there is no pool here", false },
		{ SUPER_AT(blocks), 8, 7, "the superblock contradicts its CRC", true },
		{ SUPER_AT(version), 4, 2, "the pool has a newer format than this version knows", false },
		{ SUPER_AT(medium), 4, 64, "the superblock has an impossible number of the medium", false },
		{ SUPER_AT(blocks), 8, POOL / STORE_BLOCK + 1, "the medium is shorter than it was", false },
		{ SUPER_AT(log_block), 8, 9, "the superblock contradicts itself", false },
		{ SUPER_AT(root_blocks), 8, UINT64_MAX, "the superblock contradicts itself", false },
		{ SUPER_AT(opening), 8, UINT64_MAX, "the superblock has impossible sessions", false },
		{ SUPER_AT(opening), 8, 0, "the superblock has impossible sessions", false },
		{ SUPER_AT(confirmed), 8, 2, "the superblock has impossible sessions", false },
		{ SUPER_AT(first_place), 8, 4096, "the medium does not follow the one before it", false },
	};

	for (unsigned i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		uint8_t *data = fresh();
		for (unsigned copy = 0; copy < 2; copy++) {
			uint8_t *super = data + (copy ? (world.super.blocks - 1) * STORE_BLOCK : 0);
			memcpy(super + damages[i].at, &damages[i].value, damages[i].bytes);
			if (!damages[i].torn)
				seal(super, STORE_BLOCK);
		}
		refused_with("medium 'ram'", 0, damages[i].why);
	}
}

static void sessions(void **state)
{
	static const struct {
		uint64_t opening, confirmed;
		const char *why;
	} cases[] = {
		{ 0, 0,
		  "it is an older copy, of session 0, and the pool has been in session 1: attach the medium as it was "
		  "left, or copies of all media that were made together" },
		{ 7, 2, "a newer root, of a session that the superblocks know, is damaged" },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *data = fresh();
		uint64_t other = (world.super.root_block[0] + world.super.root_block[1]) * STORE_BLOCK - world.root;
		for (unsigned copy = 0; copy < 2; copy++) {
			struct store_super super = world.super;
			super.opening = cases[i].opening;
			super.confirmed = cases[i].confirmed;
			super_seal(data + (copy ? (world.super.blocks - 1) * STORE_BLOCK : 0), &super);
		}
		refused_with("medium 'ram'", i ? other : 0, cases[i].why);
	}
}

/* Of a geometry that agrees with itself. */
static void superblocks_with_too_little(void **state)
{
	static const struct {
		uint64_t log, root;
		uint32_t directory;
		const char *why;
	} cases[] = {
		{ 16, 2, 1, "the superblock lacks a log, a root or a directory" },
		{ 128, 1, 1, "the superblock lacks a log, a root or a directory" },
		{ 128, 2, 0, "the superblock lacks a log, a root or a directory" },
		{ 128, 262146, 1, "the superblock has a root for more pages than there can be" },
	};
	struct dpu_block_device *device = ram_new(UINT64_C(8) << 30);

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct store_super super = world.super;
		super.blocks = device->bytes / STORE_BLOCK;
		super.log_blocks = cases[i].log;
		super.root_blocks = cases[i].root;
		super.directory_pages = cases[i].directory;
		assert_int_equal(geometry_fill(&super), 0);
		/* Enough of a root for so large a medium, where it is not the root that lacks. */
		super_seal(block_ram_data(device), &super);
		char expected[128];
		snprintf(expected, sizeof(expected), "medium 'ram', offset 0: %s", cases[i].why);
		assert_refused(&device, 1, expected);
	}
	device->ops->close(device, NULL, NULL);
}

static void roots(void **state)
{
	static const struct damage damages[] = {
		{ STORE_BLOCK, 1, 0xff, "the root contradicts its CRC", true },
		{ ROOT_AT(version), 4, 2, "the root has a newer format than this version knows", false },
		{ ROOT_AT(pool), 4, 2, "the root is of another pool", false },
		{ ROOT_AT(media), 4, 0, "the root contradicts itself", false },
		{ ROOT_AT(media), 4, 65, "the root contradicts itself", false },
		{ ROOT_AT(log_sequence), 8, 0, "the root contradicts itself", false },
		{ ROOT_AT(next_volume), 8, 0, "the root contradicts itself", false },
		{ ROOT_AT(log_block), 8, 1 << 20, "the root contradicts itself", false },
		{ ROOT_AT(session), 8, UINT64_MAX, "the root contradicts itself", false },
		{ ROOT_AT(flags), 4, ROOT_FLAGS + 1, "the root contradicts itself", false },
		{ STORE_BLOCK, 1, 0xff, "the root has a page in an impossible slot", false },
	};
	uint64_t other = (world.super.root_block[0] + world.super.root_block[1]) * STORE_BLOCK - world.root;

	for (unsigned i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		uint8_t *root = fresh() + world.root;
		memset((uint8_t *)block_ram_data(world.device) + other, 0, STORE_BLOCK);
		memcpy(root + damages[i].at, &damages[i].value, damages[i].bytes);
		if (!damages[i].torn)
			seal(root, root_bytes(world.super.pages));
		refused_with("medium 'ram'", world.root, damages[i].why);
	}
	memset(fresh() + world.root, 0, STORE_BLOCK);
	memset((uint8_t *)block_ram_data(world.device) + other, 0, STORE_BLOCK);
	refused_with("medium 'ram'", world.super.root_block[0] * STORE_BLOCK,
		     "there is no root here: the formatting was cut short, format it again");
}

/* ---- the log, on the medium and in the file ---- */

static void records(void **state)
{
	static const struct damage damages[] = {
		{ RECORD_AT(bytes), 2, 0, "a record has an impossible length", false },
		{ RECORD_AT(bytes), 2, 0xfff8, "a record has an impossible length", false },
		{ RECORD_AT(bytes), 2, 16, "a write record is malformed", false },
		{ RECORD_AT(bytes), 2, 48, "a record has a wrong length", false },
		{ RECORD_AT(type), 1, 9, "a record has an unknown type", false },
		{ RECORD_AT(pages), 1, 200, "a record has an impossible length", false },
		{ RECORD_AT(write.count), 4, 0, "a write record is malformed", false },
		{ RECORD_AT(slot), 4, 5000, "a record speaks of a volume that is not there", false },
	};

	for (unsigned i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		uint8_t *section = fresh() + world.section;
		memcpy(section + damages[i].at, &damages[i].value, damages[i].bytes);
		seal(section, ((const struct section_header *)section)->bytes);
		refused_with("medium 'ram'", world.section + sizeof(struct section_header), damages[i].why);
	}
	for (unsigned i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		uint8_t saved[8], *section = world.tail + world.tail_section;
		char what[96];
		memcpy(saved, section + damages[i].at, sizeof(saved));
		memcpy(section + damages[i].at, &damages[i].value, damages[i].bytes);
		fresh();
		snprintf(what, sizeof(what), "file '%s'", world.tail_path);
		refused_with(what, world.tail_section + sizeof(struct section_header), damages[i].why);
		memcpy(section + damages[i].at, saved, sizeof(saved));
	}
}

static void a_record_beyond_the_pool(void **state)
{
	uint8_t *section = world.tail + world.tail_section;
	const uint64_t beyond = UINT64_MAX / 2;
	uint64_t saved;
	char what[96];

	memcpy(&saved, section + RECORD_AT(write.place), sizeof(saved));
	memcpy(section + RECORD_AT(write.place), &beyond, sizeof(beyond));
	fresh();
	snprintf(what, sizeof(what), "file '%s'", world.tail_path);
	refused_with(what, world.tail_section + sizeof(struct section_header), "a write record is beyond the pool");
	memcpy(section + RECORD_AT(write.place), &saved, sizeof(saved));
}

static void a_newer_root_is_missed(void **state)
{
	uint8_t *section = fresh() + world.section;
	const uint64_t newer = 99;

	memcpy(section + SECTION_AT(generation), &newer, sizeof(newer));
	seal(section, ((const struct section_header *)section)->bytes);
	refused_with("medium 'ram'", world.section, "the log goes on from a newer root, which is damaged");
}

/* ---- pages: not the pool, but what they are for ---- */

/* It is opened, and that was told. */
static void told_of(enum page_kind kind, enum store_damage damage, const char *why)
{
	struct dpu_error error = { 0 };
	struct store *store = rig_open(options(), &world.device, 1, STORE_OPEN, &error);
	bool told = false;

	if (!store)
		fail_msg("%s", error.message);
	for (unsigned i = 0; i < report_count; i++)
		told |= reports[i].damage == damage && strcmp(mediums[i], "ram") == 0 &&
			reports[i].offset == world.page[kind] && strcmp(reports[i].why, why) == 0;
	if (!told)
		fail_msg("damage of a page of kind %u was not told, but %s", kind,
			 report_count ? reports[0].why : "nothing");
	store_free(store);
}

static void pages(void **state)
{
	static const struct {
		enum page_kind kind;
		enum store_damage damage;
	} cases[] = {
		{ PAGE_SPACE, STORE_DAMAGE_COUNTS },        { PAGE_COUNTS, STORE_DAMAGE_COUNTS },
		{ PAGE_DIRECTORY, STORE_DAMAGE_DIRECTORY }, { PAGE_NODE, STORE_DAMAGE_VOLUME },
		{ PAGE_LEAF, STORE_DAMAGE_VOLUME },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fresh()[world.page[cases[i].kind] + 100] ^= 1;
		told_of(cases[i].kind, cases[i].damage, "the page contradicts its CRC");
	}
}

static void directory_entries(void **state)
{
	static const struct damage damages[] = {
		{ offsetof(struct volume_entry, id), 8, UINT64_MAX, NULL, false },
		{ offsetof(struct volume_entry, id), 8, (UINT64_C(1) << NUMBER_BITS) - 1, NULL, false },
		{ offsetof(struct volume_entry, bytes), 8, 511, NULL, false },
		{ offsetof(struct volume_entry, bytes), 8, UINT64_MAX - 511, NULL, false },
		{ offsetof(struct volume_entry, mapped), 8, UINT64_MAX, NULL, false },
		{ offsetof(struct volume_entry, root), 4, UINT32_MAX, NULL, false },
		{ offsetof(struct volume_entry, root), 4, 1, NULL, false },
		{ offsetof(struct volume_entry, height), 1, 0, NULL, false },
		{ offsetof(struct volume_entry, height), 1, 5, NULL, false },
		{ offsetof(struct volume_entry, flags), 1, 0x80, NULL, false },
		{ offsetof(struct volume_entry, blocks), 8, UINT64_MAX, NULL, false },
	};

	for (unsigned i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		uint8_t *page = fresh() + world.page[PAGE_DIRECTORY];
		memcpy(page + offsetof(struct page_directory, entry) + damages[i].at, &damages[i].value,
		       damages[i].bytes);
		seal(page, STORE_BLOCK);
		told_of(PAGE_DIRECTORY, STORE_DAMAGE_DIRECTORY, "the directory contradicts itself");
	}
}

static void sound(void **state)
{
	struct dpu_error error = { 0 };

	fresh();
	struct store *store = rig_open(options(), &world.device, 1, STORE_OPEN, &error);
	assert_non_null(store);
	assert_blocks(store, world.volume, 5, 10, 2000);
	assert_blocks(store, world.volume, 300, 10, 3000);
	assert_int_equal(report_count, 0);
	store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sound),
		cmocka_unit_test(superblocks),
		cmocka_unit_test(sessions),
		cmocka_unit_test(superblocks_with_too_little),
		cmocka_unit_test(roots),
		cmocka_unit_test(records),
		cmocka_unit_test(a_record_beyond_the_pool),
		cmocka_unit_test(a_newer_root_is_missed),
		cmocka_unit_test(pages),
		cmocka_unit_test(directory_entries),
	};

	return cmocka_run_group_tests(tests, world_up, world_down);
}
