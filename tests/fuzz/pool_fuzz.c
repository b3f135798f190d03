/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the metadata of a pool: an image that was damaged anywhere, most often by somebody who knows how to make its
 * CRCs right. It is opened or refused with a sentence; what is opened can be read, written, checked and emptied. */
#include "pool_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_DAMAGES = 24 };

static struct pool_world world;

static void damage(struct input *in, uint8_t *image)
{
	uint8_t kind = input_byte(in), count = 1 + input_byte(in) % 8;
	uint16_t at = input_word(in);
	uint64_t block;

	switch (kind & 7) {
	case 0:
		block = kind & 8 ? world.super.blocks - 1 : 0;
		input_bytes(in, image + block * STORE_BLOCK + at % sizeof(world.super), count);
		pool_seal(image, block, STORE_BLOCK);
		break;
	case 1:
		block = world.super.root_block[kind >> 3 & 1];
		input_bytes(in, image + block * STORE_BLOCK + at % (world.super.root_blocks * STORE_BLOCK - 8), count);
		pool_seal(image, block, root_bytes(world.super.pages));
		break;
	case 2:
	case 3: /* at most in the first few sections */
		block = world.super.log_block + (kind >> 4);
		input_bytes(in, image + block * STORE_BLOCK + at % 2048, count);
		pool_seal_section(image, block);
		break;
	case 4: /* anything, and the CRC shows it */
		block = (uint64_t)at << 4 | kind >> 4;
		input_bytes(in, image + block * 64 % (POOL_BYTES - 64), count);
		break;
	default:
		block = world.used_blocks[(kind >> 3 | (at >> 12) << 5) % world.used_count];
		input_bytes(in, image + block * STORE_BLOCK + at % 4088, count);
		pool_seal(image, block, STORE_BLOCK);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	uint8_t *image;

	if (!world.medium)
		pool_world_make(&world, NULL);
	image = block_ram_data(world.medium);
	memcpy(image, world.image, POOL_BYTES);
	for (unsigned i = 0; i < MAX_DAMAGES && input_left(&in); i++)
		damage(&in, image);
	pool_use(&(struct store_options){ .name = "fuzz", .cache_pages = 512 }, &world.medium, 1);
	return 0;
}
