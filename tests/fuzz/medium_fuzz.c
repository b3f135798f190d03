/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes media that somebody made from nothing: superblocks of any geometry that agree with themselves, roots that name
 * such media, pages and sections at places that follow from it, all with CRCs that are right. They come in any number
 * and order. The pool is refused with a sentence, or can be used and opened again. */
#include <sys/mman.h>
#include "engine/crc32c/crc32c.h"
#include "pool_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEDIA = 3, MAX_BLOCKS = 16384, MIN_BLOCKS = 1, MAX_WRITES = 64 };

static struct dpu_block_device *media[MEDIA];
static uint8_t *image[MEDIA];
static struct store_super super[MEDIA];
static unsigned count;

static void media_fresh(void)
{
	for (unsigned i = 0; i < MEDIA; i++) {
		if (!media[i]) {
			input_require(block_ram_new("fuzz", (uint64_t)MAX_BLOCKS * STORE_BLOCK, 512, &media[i]) == 0);
			image[i] = block_ram_data(media[i]);
			madvise(image[i], (size_t)MAX_BLOCKS * STORE_BLOCK, MADV_NOHUGEPAGE);
		}
		media[i]->bytes = (uint64_t)MAX_BLOCKS * STORE_BLOCK;
		input_require(madvise(image[i], media[i]->bytes, MADV_DONTNEED) == 0);
	}
}

/* ---- superblocks ---- */

/* Most often what a sound medium has; 0xff: as large as it can be. */
static uint64_t choose(struct input *in, uint64_t unit, uint64_t most)
{
	uint8_t value = input_byte(in);

	return value == 0xff ? most : value * unit;
}

static void super_put(unsigned at, uint64_t block)
{
	if (block < MAX_BLOCKS)
		super_seal(image[at] + block * STORE_BLOCK, &super[at]);
}

static void super_invent(struct input *in, unsigned at)
{
	struct store_super *made = &super[at];
	uint8_t form = input_byte(in);
	uint64_t blocks = MIN_BLOCKS + choose(in, 64, MAX_BLOCKS - MIN_BLOCKS);

	media[at]->bytes = blocks * STORE_BLOCK;
	*made = (struct store_super){
		.magic = STORE_SUPER_MAGIC,
		.version = STORE_VERSION,
		.medium = at,
		.blocks = blocks,
	};
	memset(made->pool, form & 1, sizeof(made->pool));
	memset(made->uuid, (int)at + 1, sizeof(made->uuid));
	if (at == 0) {
		made->log_blocks = choose(in, 16, UINT64_MAX);
		made->root_blocks = choose(in, 1, blocks / 2);
		made->directory_pages = (uint32_t)choose(in, 1, UINT32_MAX);
	} else {
		made->first_page = super[at - 1].first_page + super[at - 1].pages;
		made->first_place = super[at - 1].first_place + super[at - 1].places;
	}
	if (form & 2)
		made->blocks = input_long(in);
	if (form & 4)
		made->first_place = (uint64_t)input_long(in) << 32;
	if (form & 8)
		made->first_page = input_long(in);
	geometry_fill(made);
	if (form & 64) {
		made->opening = input_byte(in);
		made->confirmed = input_byte(in);
	}
	if (form & 16)
		input_bytes(in, (uint8_t *)made + input_byte(in) % (sizeof(*made) - 8), 8);
	super_put(at, 0);
	if (form & 32)
		memset(image[at], 0, STORE_BLOCK);
	super_put(at, blocks - 1);
}

/* ---- what is on them ---- */

static uint8_t *block_at(unsigned at, uint64_t block, uint64_t blocks)
{
	uint64_t there = media[at]->bytes / STORE_BLOCK;

	return block < there && blocks <= there - block ? image[at] + block * STORE_BLOCK : NULL;
}

static void root_make(struct input *in)
{
	const struct store_super *first = &super[0], *last = &super[count - 1];
	uint8_t form = input_byte(in);
	struct store_root made = {
		.magic = STORE_ROOT_MAGIC,
		.version = STORE_VERSION,
		.media = count,
		.generation = 1 + (form & 3),
		.session = 1,
		.log_sequence = 1,
		.next_volume = 9,
		.pages = last->first_page + last->pages,
	};
	size_t bytes = root_bytes(made.pages);
	uint8_t *to = block_at(0, first->root_block[made.generation % 2], first->root_blocks);

	if (!to || bytes > first->root_blocks * STORE_BLOCK)
		return;
	memcpy(made.pool, first->pool, sizeof(made.pool));
	for (unsigned i = 0; i < count; i++)
		memcpy(made.medium[i], super[i].uuid, sizeof(made.medium[i]));
	if (form & 4)
		input_bytes(in, (uint8_t *)&made + input_byte(in) % 80, 1 + (form >> 5));
	memcpy(to, &made, sizeof(made));
	/* Pages that are there. */
	for (unsigned i = 0; i < (form >> 3 & 3) * 8u; i++) {
		uint32_t page = input_word(in);
		if (page / 4 < bytes - STORE_BLOCK)
			to[STORE_BLOCK + page / 4] = input_byte(in);
	}
	pool_seal(to, 0, bytes);
}

/* A page of the kind that belongs there, or nearly. */
static void page_make(struct input *in)
{
	unsigned at = input_byte(in) % count;
	const struct store_super *of = &super[at];
	uint8_t form = input_byte(in);
	uint32_t local = input_word(in), fixed = of->space_pages + of->summary_pages + of->count_pages;
	struct page_header header = { .generation = 1, .owner = 1, .used = form >> 4 };

	if (of->pages == 0)
		return;
	local %= form & 1 ? of->pages : fixed + of->directory_pages + 8;
	header.id = of->first_page + local;
	header.kind = local < of->space_pages                       ? PAGE_SPACE
		      : local < of->space_pages + of->summary_pages ? PAGE_SUMMARY
		      : local < fixed                               ? PAGE_COUNTS
		      : local < fixed + of->directory_pages         ? PAGE_DIRECTORY
		      : form & 2                                    ? PAGE_NODE
								    : PAGE_LEAF;
	header.index = header.kind < PAGE_NODE ? header.id : form >> 6;
	header.level = header.kind == PAGE_NODE;
	uint8_t *to = block_at(at, of->page_block + 2ull * local + (form >> 2 & 1), 1);
	if (!to)
		return;
	memcpy(to, &header, sizeof(header));
	for (unsigned i = 0; i < (form >> 3 & 1) + 1u; i++) {
		uint16_t where = input_word(in) % (STORE_BLOCK - 64);
		input_bytes(in, to + where, 1 + input_byte(in) % 64);
	}
	pool_seal(to, 0, STORE_BLOCK);
}

static void section_make(struct input *in)
{
	uint8_t form = input_byte(in), records[256];
	size_t bytes = input_bytes(in, records, input_byte(in)) / 8 * 8;
	uint8_t *to = block_at(0, super[0].log_block + (form >> 4), SECTION_BYTES / STORE_BLOCK);
	struct section_header header = {
		.magic = STORE_SECTION_MAGIC,
		.session = 1,
		.sequence = 1 + (form & 3),
		.durable = form >> 2 & 3,
		.generation = 1,
		.bytes = (uint32_t)(sizeof(header) + bytes),
	};

	if (!to)
		return;
	memcpy(header.pool, super[0].pool, sizeof(header.pool));
	memcpy(to, &header, sizeof(header));
	memcpy(to + sizeof(header), records, bytes);
	pool_seal_section(to, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	struct dpu_block_device *order[MEDIA];

	media_fresh();
	uint8_t form = input_byte(&in);
	count = 1 + form % MEDIA;
	for (unsigned i = 0; i < count; i++)
		super_invent(&in, i);
	for (unsigned i = 0; i < MAX_WRITES && input_left(&in); i++) {
		switch (input_byte(&in) & 3) {
		case 0:
			root_make(&in);
			break;
		case 1:
			section_make(&in);
			break;
		default:
			page_make(&in);
		}
	}
	for (unsigned i = 0; i < count; i++)
		order[i] = media[(i + (form >> 4)) % count];
	/* One of them may be missing. */
	pool_use(&(struct store_options){ .name = "fuzz", .cache_pages = 256 }, order,
		 count > 1 && form & 8 ? count - 1 : count);
	return 0;
}
