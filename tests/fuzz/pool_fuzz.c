/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the metadata of a pool: an image that was damaged anywhere, most often by somebody who knows how to make its
 * CRCs right. It is opened or refused with a sentence; what is opened can be read, written, checked and emptied. */
#include "device/block/ram.h"
#include "engine/crc32c/crc32c.h"
#include "input.h"
#include "service/block/store/store_priv.h"
#include "service/block/store/store_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { IMAGE_BYTES = 4 << 20, MAX_DAMAGES = 24, LOG_BYTES = 512 << 10 };

static uint8_t template[IMAGE_BYTES];
static struct store_super super;
static uint32_t used_pages[256]; /* blocks of the image in which a page was written */
static unsigned used_count;
static struct dpu_block_device *medium;

static void fill(struct store *store, uint64_t volume, uint64_t first, unsigned count)
{
	static uint8_t data[64 * STORE_BLOCK];

	rig_fill(data, first + 1, sizeof(data));
	rig_io(store, volume, DPU_BLOCK_WRITE, first * STORE_BLOCK, data, (uint64_t)count * STORE_BLOCK, 0);
}

/* Volumes, a snapshot and clones in a checkpoint, and more in the log. */
static void template_make(void)
{
	struct store_command format = { .op = STORE_FORMAT, .log_bytes = LOG_BYTES, .max_volumes = 31 };
	struct store_command checkpoint = { .op = STORE_CHECKPOINT };
	struct store_command resize = { .op = STORE_RESIZE, .bytes = 700 * STORE_BLOCK };
	struct store *store = NULL;
	struct dpu_error error;

	input_require(block_ram_new("fuzz", IMAGE_BYTES, 512, &medium) == 0);
	input_require(store_new(&(struct store_options){ .name = "fuzz" }, &medium, 1, &store, &error) == 0);
	input_require(rig_command(store, &format) == DPU_OK);
	uint64_t a = rig_create(store, "a", 300 * STORE_BLOCK), b = rig_create(store, "b", 2000 * STORE_BLOCK);
	fill(store, a, 0, 40);
	fill(store, a, 260, 10);
	fill(store, b, 1000, 30);
	uint64_t s = rig_copy(store, STORE_SNAPSHOT, a, "s");
	fill(store, a, 5, 5);
	input_require(rig_command(store, &checkpoint) == DPU_OK);
	uint64_t c = rig_copy(store, STORE_CLONE, s, "c");
	fill(store, c, 20, 5);
	fill(store, b, 1, 3);
	rig_io(store, a, DPU_BLOCK_DISCARD, 0, NULL, 3 * STORE_BLOCK, 0);
	resize.volume = a;
	input_require(rig_command(store, &resize) == DPU_OK);
	fill(store, b, 1900, 3);
	rig_io(store, b, DPU_BLOCK_FLUSH, 0, NULL, 0, 0);
	for (uint32_t page = 0; page < store->pages && used_count < 256; page++)
		if (map_get(store->map, page) != PAGE_ABSENT)
			used_pages[used_count++] =
				(uint32_t)(page_offset(&store->medium[0], page, map_get(store->map, page)) /
					   STORE_BLOCK);
	super = store->medium[0].super;
	store_free(store);
	memcpy(template, block_ram_data(medium), IMAGE_BYTES);
}

/* ---- damage ---- */

static void seal(uint8_t *image, uint64_t block, size_t bytes)
{
	uint32_t *crc = (uint32_t *)(image + block * STORE_BLOCK);

	*crc = crc32c(0, crc + 1, bytes - sizeof(*crc));
}

/* A section's CRC goes as far as the section says. */
static void seal_section(uint8_t *image, uint64_t block)
{
	const struct section_header *section = (const struct section_header *)(image + block * STORE_BLOCK);

	if (section->bytes >= sizeof(*section) && section->bytes <= SECTION_BYTES)
		seal(image, block, section->bytes);
}

static void damage(struct input *in, uint8_t *image)
{
	uint8_t kind = input_byte(in), count = 1 + input_byte(in) % 8;
	uint16_t at = input_word(in);
	uint64_t block;

	switch (kind & 7) {
	case 0:
		block = kind & 8 ? super.blocks - 1 : 0;
		input_bytes(in, image + block * STORE_BLOCK + at % sizeof(super), count);
		seal(image, block, STORE_BLOCK);
		break;
	case 1:
		block = super.root_block[kind >> 3 & 1];
		input_bytes(in, image + block * STORE_BLOCK + at % (super.root_blocks * STORE_BLOCK - 8), count);
		seal(image, block, root_bytes(super.pages));
		break;
	case 2:
	case 3: /* at most in the first few sections */
		block = super.log_block + (kind >> 4);
		input_bytes(in, image + block * STORE_BLOCK + at % 2048, count);
		seal_section(image, block);
		break;
	case 4: /* anything, and the CRC shows it */
		block = (uint64_t)at << 4 | kind >> 4;
		input_bytes(in, image + block * 64 % (IMAGE_BYTES - 64), count);
		break;
	default:
		block = used_pages[(kind >> 3 | (at >> 12) << 5) % used_count];
		input_bytes(in, image + block * STORE_BLOCK + at % 4088, count);
		seal(image, block, STORE_BLOCK);
	}
}

/* ---- what must hold ---- */

static void use_volume(struct store *store, const struct store_volume_info *info)
{
	static uint8_t data[64 * STORE_BLOCK];
	uint64_t bytes = info->bytes < sizeof(data) ? info->bytes : sizeof(data);

	rig_io(store, info->id, DPU_BLOCK_READ, 0, data, bytes, 0);
	if (info->bytes > 1000 * STORE_BLOCK)
		rig_io(store, info->id, DPU_BLOCK_READ, 996 * STORE_BLOCK, data, 4 * STORE_BLOCK, 0);
	rig_io(store, info->id, DPU_BLOCK_WRITE, 0, data, bytes, 0);
	rig_io(store, info->id, DPU_BLOCK_DISCARD, 0, NULL, bytes / 2, DPU_BLOCK_FUA);
}

static void use(struct store *store)
{
	struct store_command scrub = { .op = STORE_SCRUB }, repair = { .op = STORE_REPAIR };
	struct store_volume_info info;
	uint64_t ids[64];
	unsigned count = 0;

	rig_command(store, &scrub);
	rig_command(store, &repair);
	if (repair.error.code) {
		repair.force = true;
		rig_command(store, &repair);
	}
	for (uint64_t id = 0; count < 64 && store_next(store, id, &info); id = info.id) {
		use_volume(store, &info);
		ids[count++] = info.id;
	}
	for (unsigned i = 0; i < count; i += 2) {
		struct store_command delete = { .op = STORE_DELETE, .volume = ids[i] };
		rig_command(store, &delete);
	}
	struct store_command create = { .op = STORE_CREATE, .name = "new", .bytes = 1 << 20 };
	if (rig_command(store, &create) == DPU_OK)
		rig_io(store, create.ret_volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	struct dpu_error error = { 0 };
	uint8_t *image;

	if (!medium)
		template_make();
	image = block_ram_data(medium);
	memcpy(image, template, IMAGE_BYTES);
	for (unsigned i = 0; i < MAX_DAMAGES && input_left(&in); i++)
		damage(&in, image);
	for (unsigned i = 0; i < 2; i++) {
		struct store *store =
			rig_open(&(struct store_options){ .name = "fuzz" }, &medium, 1, STORE_OPEN, &error);
		if (!store) {
			input_require(i == 0 && error.message[0]);
			return 0;
		}
		use(store);
		store_free(store);
	}
	return 0;
}
