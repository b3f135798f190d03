/* SPDX-License-Identifier: BSD-3-Clause */
/* What is on the media of a pool. All numbers are little-endian; a block, a page and a section's unit are 4 KiB. Every
 * CRC is CRC32C over what follows it. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	STORE_VERSION = 1,
	STORE_BLOCK = 4096,
	STORE_SUPER_MAGIC = 0x70445344,   /* "DSDp" */
	STORE_ROOT_MAGIC = 0x72445344,    /* "DSDr" */
	STORE_SECTION_MAGIC = 0x6c445344, /* "DSDl" */
	STORE_TAIL_MAGIC = 0x74445344,    /* "DSDt" */

	LEAF_SHIFT = 8,
	LEAF_BLOCKS = 1 << LEAF_SHIFT, /* mapped by one leaf */
	NODE_SHIFT = 9,
	NODE_CHILDREN = 1 << NODE_SHIFT,
	TREE_MAX_HEIGHT = 4, /* 128 TiB */
	BELOW_LEVELS = 2,    /* of nodes that count what is below them */
	COUNTS = 1008,       /* reference counts in a page */
	SUMMARY_GROUPS = 2016,
	DIRECTORY_ENTRIES = 31,

	SECTION_BYTES = 64 << 10, /* at most, of a section of the log */
	RECORD_BLOCKS = 64,       /* at most, of one write record */
	RECORD_PAGES = 8,         /* at most, that one record makes */
	PLACE_BITS = 48,
	NUMBER_BITS = 62, /* of sequences, generations, sessions and ids: only a hostile pool gets so far, and stops */
};

/* One that there can be, and a further one after it. */
static inline bool number_is_possible(uint64_t number)
{
	return number < (UINT64_C(1) << NUMBER_BITS) - 1;
}

#define COUNT_LOST UINT32_MAX /* a count that is not known any more: never changes, never zero */

/* Blocks 0 and last of each medium. Everything after `version` but the uuids follows from blocks, log_blocks,
 * root_blocks, directory_pages and the first ids: geometry_fill(). */
struct store_super {
	uint32_t crc, magic, version, medium; /* its index */
	uint8_t pool[16], uuid[16];
	uint64_t blocks; /* of the medium */
	uint64_t root_block[2], root_blocks;
	uint64_t log_block, log_blocks;
	uint64_t page_block; /* two slots for each page */
	uint64_t data_block;
	uint32_t first_page, pages;
	uint32_t space_pages, summary_pages, count_pages, directory_pages; /* the fixed ones, in this order */
	uint64_t first_place, places;                                      /* of data blocks */
	uint8_t owner[16]; /* whom the pool was made for; zeroes: unknown */
	/* Sessions; zeroes: of a pool that was never opened since there are these two. */
	uint64_t opening;   /* this one has been begun: all media say so before its root is durable */
	uint64_t confirmed; /* a root of this one was durable */
};
static_assert(sizeof(struct store_super) == 184 && sizeof(struct store_super) <= STORE_BLOCK, "layout");

/* The state of the pool at one place of the log. A block with this, then two bits for each page: page_slot. */
struct store_root {
	uint32_t crc, magic, version, media;
	uint8_t pool[16];
	uint64_t generation;
	uint64_t session;      /* sections of an earlier one do not count */
	uint64_t log_sequence; /* of the first section that is not in it */
	uint64_t log_block;    /* where that is, from the start of the ring */
	uint64_t next_volume;
	uint32_t pages, flags;
	uint8_t medium[64][16];
};
static_assert(sizeof(struct store_root) <= STORE_BLOCK, "layout");

enum root_flag {
	ROOT_MARKED = 1, /* its session was in the superblocks of all its media before */
	ROOT_FLAGS = 1,
};

enum page_slot { PAGE_ABSENT, PAGE_SLOT_A, PAGE_SLOT_B };

enum page_kind { PAGE_SPACE = 1, PAGE_SUMMARY, PAGE_COUNTS, PAGE_DIRECTORY, PAGE_NODE, PAGE_LEAF };

struct page_header {
	uint32_t crc;
	uint8_t kind, level; /* level: distance from the leaves */
	uint16_t used;       /* children or blocks that are there */
	uint32_t id;
	uint32_t below;      /* of a node up to BELOW_LEVELS: blocks that are mapped under it */
	uint64_t generation; /* of the checkpoint that wrote it */
	uint64_t index;      /* its place among those of its level, or kind */
	uint64_t owner;      /* the volume that made it */
};

/* Together, so that a block costs one cache line. */
struct leaf_block {
	uint32_t crc;
	uint32_t place_low; /* place + 1; 0: not mapped */
	uint16_t place_high;
	uint16_t info; /* 0; for filters that store less than a block */
};

struct page_leaf {
	struct page_header header;
	uint8_t spare[24];
	struct leaf_block block[LEAF_BLOCKS];
};
static_assert(offsetof(struct page_leaf, block) == 64, "from a cache line on");

struct page_node {
	struct page_header header;
	uint32_t child[NODE_CHILDREN]; /* 0: none */
};

/* Of 1008 data blocks or pages. */
struct page_counts {
	struct page_header header;
	uint32_t count[COUNTS];
};

struct page_summary {
	struct page_header header;
	uint16_t free[SUMMARY_GROUPS]; /* blocks with count 0, for each space page */
};

enum entry_flag {
	ENTRY_SNAPSHOT = 1,
	ENTRY_DELETING = 2,
	ENTRY_QUARANTINED = 4,
	ENTRY_BEHIND = 8, /* quarantined, and something that was acknowledged is not in it */
	ENTRY_FLAGS = 15,
};

struct volume_entry {
	uint64_t id; /* 0: free */
	uint64_t bytes;
	uint64_t mapped; /* no block at or above is mapped; above the size while what was cut off is being freed */
	uint64_t origin;
	uint64_t created_s;
	uint32_t root;
	uint8_t height, flags;
	uint16_t spare;
	char name[64];   /* ends in a zero */
	uint64_t blocks; /* that are mapped */
	uint8_t room[8];
};
static_assert(sizeof(struct volume_entry) == 128, "layout");

struct page_directory {
	struct page_header header;
	struct volume_entry entry[DIRECTORY_ENTRIES];
};
static_assert(sizeof(struct page_leaf) <= STORE_BLOCK && sizeof(struct page_counts) <= STORE_BLOCK &&
		      sizeof(struct page_summary) <= STORE_BLOCK && sizeof(struct page_directory) <= STORE_BLOCK,
	      "a page");

/* One write to the ring: this, and records. It never wraps: one that might not fit before the ring's end goes to its
 * start. */
struct section_header {
	uint32_t crc, magic;
	uint8_t pool[16];
	uint64_t session, sequence;
	uint64_t durable;    /* all up to this one, and the data they speak of, were on the media when this was made */
	uint64_t generation; /* of the root that was durable then */
	uint32_t bytes;      /* with this header */
	uint32_t records;
};
static_assert(sizeof(struct section_header) % 8 == 0, "records are aligned");

enum record_type { RECORD_WRITE = 1, RECORD_UNMAP, RECORD_VOLUME, RECORD_RESIZE, RECORD_REMOVE };

struct record {
	uint16_t bytes; /* multiple of 8 */
	uint8_t type;
	uint8_t pages; /* that it makes: the first ones of the list */
	uint32_t slot; /* of the volume in the directory */
	union {
		struct {
			uint64_t first, place;
			uint32_t count, spare;
			uint32_t list[]; /* pages, CRCs */
		} write;
		struct {
			uint64_t first, count;
			uint32_t drop; /* the leaf has become empty */
			uint32_t list[];
		} unmap;
		struct {
			struct volume_entry entry;
			uint32_t source; /* slot of what it is a copy of; UINT32_MAX: none */
			uint32_t spare;
		} volume;
		struct {
			uint64_t bytes, mapped;
			uint32_t height;
			uint32_t flags; /* of the entry, from now on */
			uint32_t list[];
		} resize;
	};
};

/* The first page of the tail file; sections that are not on the medium yet follow, one each SECTION_BYTES. */
struct tail_header {
	uint32_t magic, version;
	uint8_t pool[16], boot[16];
};

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is that of little-endian machines");
