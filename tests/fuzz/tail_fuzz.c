/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the tail file of a pool: what a killed process left beside its media, damaged anywhere. Nothing in it has a
 * CRC: its header, the sections, their records, the file itself may be anything. The pool is opened, with what the tail
 * says or without, or refused with a sentence; what is opened can be used and opened again. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "pool_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TAIL_BYTES = STORE_BLOCK + TAIL_SECTIONS * SECTION_BYTES, MAX_DAMAGES = 24 };

static struct pool_world world;
static char path[64], elsewhere[80];
static uint8_t template[TAIL_BYTES], tail[TAIL_BYTES];
static unsigned used_slots[TAIL_SECTIONS], used_count; /* sections that have records */

static void remove_files(void)
{
	unlink(path);
	unlink(elsewhere);
}

static void template_once(void)
{
	if (world.medium)
		return;
	snprintf(path, sizeof(path), "/dev/shm/tail-fuzz-%d", (int)getpid());
	snprintf(elsewhere, sizeof(elsewhere), "%s-elsewhere", path);
	remove_files();
	atexit(remove_files);
	pool_world_make(&world, path);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	input_require(fd >= 0 && read(fd, template, TAIL_BYTES) == TAIL_BYTES);
	close(fd);
	for (unsigned i = 0; i < TAIL_SECTIONS; i++) {
		const struct section_header *section =
			(const struct section_header *)(template + STORE_BLOCK + i * SECTION_BYTES);
		if (section->sequence && section->records)
			used_slots[used_count++] = i;
	}
	input_require(used_count > 0);
}

/* ---- damage ---- */

/* One more section behind the last, as if it had been begun; its records are those of the input. */
static void section_forge(struct input *in, uint8_t kind)
{
	const uint8_t *from = template + STORE_BLOCK + used_slots[used_count - 1] * SECTION_BYTES;
	struct section_header header;
	uint8_t *to;

	memcpy(&header, from, sizeof(header));
	header.sequence += kind & 3;
	to = tail + STORE_BLOCK + header.sequence % TAIL_SECTIONS * SECTION_BYTES;
	memcpy(to, &header, sizeof(header));
	size_t bytes = input_bytes(in, to + sizeof(header), input_byte(in));
	header.bytes = (uint32_t)(sizeof(header) + bytes);
	memcpy(to, &header, sizeof(header));
}

static void damage(struct input *in)
{
	uint8_t kind = input_byte(in), count = 1 + input_byte(in) % 8;
	uint16_t at = input_word(in);
	size_t slot = STORE_BLOCK + used_slots[(kind >> 3) % used_count] * SECTION_BYTES;

	switch (kind & 7) {
	case 0:
		input_bytes(in, tail + at % sizeof(struct tail_header), count);
		break;
	case 1:
		input_bytes(in, tail + slot + at % sizeof(struct section_header), count);
		break;
	case 2: /* over another one */
		memcpy(tail + STORE_BLOCK + at % TAIL_SECTIONS * SECTION_BYTES, tail + slot, SECTION_BYTES);
		break;
	case 3:
		section_forge(in, kind >> 3);
		break;
	case 4:
		input_bytes(in, tail + ((size_t)at << 4 | kind >> 4) % (TAIL_BYTES - 8), count);
		break;
	default: /* the first records */
		input_bytes(in, tail + slot + sizeof(struct section_header) + at % 1024, count);
	}
}

/* Most often a file of the right length. */
static void file_write(uint8_t form, uint16_t length)
{
	remove_files();
	if (form == 1) {
		input_require(symlink(elsewhere, path) == 0);
		return;
	}
	if (form == 2)
		return;
	size_t bytes = form & 4 ? length : TAIL_BYTES;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	input_require(fd >= 0 && write(fd, tail, bytes) == (ssize_t)bytes);
	input_require(!(form & 8) || ftruncate(fd, TAIL_BYTES + length) == 0);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	struct store_options options = { .name = "fuzz", .tail_path = path, .cache_pages = 512 };

	template_once();
	memcpy(tail, template, TAIL_BYTES);
	uint8_t form = input_byte(&in) & 15;
	uint16_t length = form ? input_word(&in) : 0;
	for (unsigned i = 0; i < MAX_DAMAGES && input_left(&in); i++)
		damage(&in);
	memcpy(block_ram_data(world.medium), world.image, POOL_BYTES);
	file_write(form, length);
	bool opened = pool_use(&options, &world.medium, 1);
	/* Nothing is followed to where it was not put. */
	input_require(access(elsewhere, F_OK) != 0 && (form != 1 || !opened));
	return 0;
}
