// SPDX-License-Identifier: BSD-3-Clause
/* Where everything of a pool is: on a medium, and among the page ids. */
#include "service/block/store/store_priv.h"

#include <sys/random.h>
#include "engine/crc32c/crc32c.h"

enum {
	MIN_BLOCKS = 1024,
	ROOT_BLOCK_PAGES = STORE_BLOCK * 4,
	MOST_MAP_BLOCKS = (UINT64_C(1) << 32) / ROOT_BLOCK_PAGES, /* of a root: a page's id has 32 bits */
	BLOCKS_PER_TREE_PAGE = 64,
	MIN_SECTIONS = 8,
};

static uint64_t divide_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) / unit;
}

/* Pages of a medium with so many data blocks. */
static uint64_t pages_for(struct store_super *super, uint64_t places)
{
	super->space_pages = (uint32_t)divide_up(places, COUNTS);
	super->summary_pages = (uint32_t)divide_up(super->space_pages, SUMMARY_GROUPS);
	uint64_t pages =
		super->space_pages + super->summary_pages + super->directory_pages + places / BLOCKS_PER_TREE_PAGE + 64;
	super->count_pages = (uint32_t)divide_up(pages, COUNTS - 1);
	return pages + super->count_pages;
}

int geometry_fill(struct store_super *super)
{
	uint64_t at = 1, end = super->blocks - 1;

	if (super->blocks < 2 || super->blocks >= UINT64_C(1) << PLACE_BITS || super->log_blocks >= super->blocks ||
	    super->root_blocks >= super->blocks || super->directory_pages >= super->blocks)
		return -ENOSPC;
	super->root_block[0] = super->root_blocks ? at : 0;
	super->root_block[1] = super->root_blocks ? at + super->root_blocks : 0;
	at += 2 * super->root_blocks;
	super->log_block = super->log_blocks ? at : 0;
	at += super->log_blocks;
	super->page_block = at;
	if (at + MIN_BLOCKS / 2 > end)
		return -ENOSPC;
	/* 2 pages_for(n) + n <= room; pages_for grows by under 1/64 of n. */
	uint64_t room = end - at, places = room, pages;
	while ((pages = pages_for(super, places)) * 2 + places > room) {
		uint64_t over = pages * 2 + places - room;
		if (over >= places)
			return -ENOSPC;
		places -= over > 64 ? over - over / 16 : 1;
	}
	if (super->first_page + pages > UINT32_MAX)
		return -ENOSPC;
	super->pages = (uint32_t)pages;
	super->places = places;
	super->data_block = at + 2 * pages;
	return 0;
}

void uuid_new(uint8_t uuid[16])
{
	ssize_t got = getrandom(uuid, 16, 0);

	assert(got == 16); /* so few bytes are never refused once the kernel is up */
}

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
	return value < low ? low : value > high ? high : value;
}

int super_choose(struct store_super *super, uint64_t blocks, const struct store_command *command)
{
	uint64_t section = SECTION_BYTES / STORE_BLOCK;
	uint64_t most = command->max_bytes ? command->max_bytes / STORE_BLOCK : blocks * 16;
	uint32_t volumes = command->max_volumes ? command->max_volumes : 1024;

	memset(super, 0, sizeof(*super));
	if (command->owner)
		memcpy(super->owner, command->owner, sizeof(super->owner));
	super->magic = STORE_SUPER_MAGIC;
	super->version = STORE_VERSION;
	super->blocks = blocks;
	super->log_blocks = command->log_bytes ? command->log_bytes / STORE_BLOCK
					       : clamp(blocks / 16, section * MIN_SECTIONS, section * 4096);
	super->log_blocks = divide_up(super->log_blocks, section) * section;
	if (super->log_blocks < MIN_SECTIONS * section)
		return -EINVAL;
	super->root_blocks = 1 + clamp(divide_up(most / 48 + 1024, ROOT_BLOCK_PAGES), 1, MOST_MAP_BLOCKS);
	super->directory_pages = (uint32_t)divide_up(volumes, DIRECTORY_ENTRIES);
	int rc = geometry_fill(super);
	if (rc == 0 && super->pages > (super->root_blocks - 1) * ROOT_BLOCK_PAGES)
		rc = -ENOSPC;
	return rc;
}

void super_seal(void *block, const struct store_super *super)
{
	struct store_super *out = block;

	memset(block, 0, STORE_BLOCK);
	*out = *super;
	out->crc = crc32c(0, &out->magic, STORE_BLOCK - sizeof(out->crc));
}

const char *super_check(const void *block, const struct store_super *super, uint64_t medium_blocks)
{
	struct store_super again = *super;

	if (super->magic != STORE_SUPER_MAGIC)
		return "there is no pool here";
	if (super->crc != crc32c(0, (const uint8_t *)block + sizeof(super->crc), STORE_BLOCK - sizeof(super->crc)))
		return "the superblock contradicts its CRC";
	if (super->version != STORE_VERSION)
		return "the pool has a newer format than this version knows";
	if (super->medium >= STORE_MAX_MEDIA)
		return "the superblock has an impossible number of the medium";
	if (!number_is_possible(super->opening) || super->confirmed > super->opening)
		return "the superblock has impossible sessions";
	if (super->blocks > medium_blocks)
		return "the medium is shorter than it was";
	if (geometry_fill(&again) < 0 || memcmp(&again, super, sizeof(again)) != 0)
		return "the superblock contradicts itself";
	if (super->medium == 0 &&
	    (super->log_blocks < MIN_SECTIONS * (SECTION_BYTES / STORE_BLOCK) || super->directory_pages == 0 ||
	     super->root_blocks < 2 || super->pages > (super->root_blocks - 1) * ROOT_BLOCK_PAGES))
		return "the superblock lacks a log, a root or a directory";
	if (super->root_blocks > 1 + MOST_MAP_BLOCKS)
		return "the superblock has a root for more pages than there can be";
	if (super->medium != 0 && (super->log_blocks || super->root_blocks || super->directory_pages))
		return "a further medium has a log, a root or a directory";
	return NULL;
}

struct medium *medium_of_page(struct store *store, uint32_t page)
{
	struct medium *medium = &store->medium[store->media - 1];

	while (page < medium->super.first_page)
		medium--;
	return medium;
}

uint64_t page_offset(const struct medium *medium, uint32_t page, enum page_slot slot)
{
	uint64_t local = page - medium->super.first_page;

	return (medium->super.page_block + 2 * local + (slot == PAGE_SLOT_B)) * STORE_BLOCK;
}

enum page_kind page_kind_of(struct store *store, uint32_t page, uint64_t *ret_index)
{
	const struct store_super *super = &medium_of_page(store, page)->super;
	uint32_t local = page - super->first_page;
	const struct {
		enum page_kind kind;
		uint32_t pages;
	} fixed[] = {
		{ PAGE_SPACE, super->space_pages },
		{ PAGE_SUMMARY, super->summary_pages },
		{ PAGE_COUNTS, super->count_pages },
		{ PAGE_DIRECTORY, super->directory_pages },
	};

	for (unsigned i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
		if (local < fixed[i].pages) {
			/* Its id says all about where it belongs. */
			*ret_index = page;
			return fixed[i].kind;
		}
		local -= fixed[i].pages;
	}
	*ret_index = 0;
	return PAGE_NODE;
}

uint32_t space_page(struct store *store, uint64_t place, unsigned *ret_at)
{
	uint64_t offset;
	const struct store_super *super = &medium_of_place(store, place, &offset)->super;

	*ret_at = (unsigned)((place - super->first_place) % COUNTS);
	return super->first_page + (uint32_t)((place - super->first_place) / COUNTS);
}

/* Groups are numbered through all media. */
static const struct store_super *super_of_group(struct store *store, uint32_t *group)
{
	unsigned i = 0;

	while (*group >= store->medium[i].super.space_pages)
		*group -= store->medium[i++].super.space_pages;
	return &store->medium[i].super;
}

uint32_t summary_page(struct store *store, uint32_t group, unsigned *ret_at)
{
	const struct store_super *super = super_of_group(store, &group);

	*ret_at = group % SUMMARY_GROUPS;
	return super->first_page + super->space_pages + group / SUMMARY_GROUPS;
}

uint64_t group_first(struct store *store, uint32_t group, unsigned *ret_blocks)
{
	const struct store_super *super = super_of_group(store, &group);
	uint64_t left = super->places - (uint64_t)group * COUNTS;

	*ret_blocks = left < COUNTS ? (unsigned)left : COUNTS;
	return super->first_place + (uint64_t)group * COUNTS;
}

uint32_t count_page(struct store *store, uint32_t page, unsigned *ret_at)
{
	const struct store_super *super = &medium_of_page(store, page)->super;
	uint32_t local = page - super->first_page;

	*ret_at = local % COUNTS;
	return super->first_page + super->space_pages + super->summary_pages + local / COUNTS;
}
