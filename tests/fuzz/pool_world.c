/* SPDX-License-Identifier: BSD-3-Clause */
/* A pool that is made, sealed and used by fuzzers. */
#include "pool_world.h"

#include "engine/crc32c/crc32c.h"

static void fill(struct store *store, uint64_t volume, uint64_t first, unsigned count)
{
	static uint8_t data[64 * STORE_BLOCK];

	rig_fill(data, first + 1, sizeof(data));
	rig_io(store, volume, DPU_BLOCK_WRITE, first * STORE_BLOCK, data, (uint64_t)count * STORE_BLOCK, 0);
}

static void used_find(struct pool_world *world, struct store *store)
{
	for (uint32_t page = 0; page < store->pages && world->used_count < 256; page++)
		if (map_get(store->map, page) != PAGE_ABSENT)
			world->used_blocks[world->used_count++] =
				(uint32_t)(page_offset(&store->medium[0], page, map_get(store->map, page)) /
					   STORE_BLOCK);
}

void pool_world_make(struct pool_world *world, const char *tail_path)
{
	struct store_command format = { .op = STORE_FORMAT, .log_bytes = POOL_LOG_BYTES, .max_volumes = 31 };
	struct store_command checkpoint = { .op = STORE_CHECKPOINT };
	struct store_command resize = { .op = STORE_RESIZE, .bytes = 700 * STORE_BLOCK };
	struct store_options options = { .name = "fuzz", .tail_path = tail_path };
	struct store *store = NULL;
	struct dpu_error error;

	input_require(block_ram_new("fuzz", POOL_BYTES, 512, &world->medium) == 0);
	input_require(store_new(&options, &world->medium, 1, &store, &error) == 0);
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
	if (!tail_path)
		rig_io(store, b, DPU_BLOCK_FLUSH, 0, NULL, 0, 0);
	used_find(world, store);
	world->super = store->medium[0].super;
	while (!store_drained(store))
		store_poll(store);
	store_free(store);
	memcpy(world->image, block_ram_data(world->medium), POOL_BYTES);
}

/* ---- CRCs ---- */

void pool_seal(uint8_t *image, uint64_t block, size_t bytes)
{
	uint32_t *crc = (uint32_t *)(image + block * STORE_BLOCK);

	*crc = crc32c(0, crc + 1, bytes - sizeof(*crc));
}

void pool_seal_section(uint8_t *image, uint64_t block)
{
	const struct section_header *section = (const struct section_header *)(image + block * STORE_BLOCK);

	if (section->bytes >= sizeof(*section) && section->bytes <= SECTION_BYTES)
		pool_seal(image, block, section->bytes);
}

/* ---- a day of its life ---- */

/* All that it maps, or the first of it. */
static void seek(struct store *store, const struct store_volume_info *info)
{
	struct store_command command = { .op = STORE_SEEK, .volume = info->id };

	for (unsigned i = 0; i < 64 && rig_command(store, &command) == DPU_OK && command.ret_offset < info->bytes;
	     i++) {
		input_require(command.ret_offset >= command.bytes);
		command.bytes = command.ret_offset + STORE_BLOCK;
	}
}

static void use_volume(struct store *store, const struct store_volume_info *info)
{
	static uint8_t data[64 * STORE_BLOCK];
	uint64_t bytes = info->bytes < sizeof(data) ? info->bytes : sizeof(data);

	seek(store, info);
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
	if (rig_command(store, &create) != DPU_OK)
		return;
	input_require(create.ret_volume != 0);
	rig_io(store, create.ret_volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0);
}

bool pool_use(const struct store_options *options, struct dpu_block_device *const *media, unsigned count)
{
	struct dpu_error error = { 0 };

	for (unsigned i = 0; i < 2; i++) {
		struct store *store = rig_open(options, media, count, STORE_OPEN, &error);
		if (!store) {
			input_require(i == 0 && error.message[0]);
			return false;
		}
		use(store);
		store_free(store);
	}
	return true;
}
