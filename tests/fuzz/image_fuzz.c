/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes what an import reads itself: the header of a qcow2 image, most often a sound one with numbers changed, and
 * what qemu-img says about an image, in pieces. A header is refused with its image's name and an offset, or names
 * nothing but itself and has its tables in its file; words are a sentence that can travel. */
#include <endian.h>
#include <jansson.h>
#include "input.h"
#include "service/block/image/qcow2.h"
#include "service/block/image/words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_BYTES = 0x40000 };

static uint64_t get64(const uint8_t *header, unsigned at)
{
	uint64_t value;

	memcpy(&value, header + at, sizeof(value));
	return be64toh(value);
}

static void header_check(struct input *in)
{
	/* Version 3, clusters of 64 KiB, 4 entries of data at 0x30000, reference counts at 0x10000. */
	uint8_t header[QCOW2_HEADER_BYTES] = { 'Q',
					       'F',
					       'I',
					       0xfb,
					       [7] = 3,
					       [23] = 16,
					       [29] = 16,
					       [39] = 4,
					       [45] = 3,
					       [53] = 1,
					       [59] = 1,
					       [99] = 4,
					       [103] = QCOW2_HEADER_BYTES };
	uint8_t form = input_byte(in);
	uint32_t bytes = form & 1 ? input_byte(in) % (sizeof(header) + 1) : sizeof(header);
	uint64_t disk = UINT64_MAX, file = form & 2 ? input_long(in) : FILE_BYTES;
	struct dpu_error err = { 0 };
	unsigned offset;

	while (input_left(in)) {
		uint8_t at = input_byte(in) % sizeof(header), count = 1 + (input_byte(in) & 7);
		input_bytes(in, header + at, at + count > sizeof(header) ? sizeof(header) - at : count);
	}
	uint8_t *copy = malloc(bytes + 1); /* so that a byte too many is seen */
	memcpy(copy, header, bytes);
	if (qcow2_check("disk.qcow2", copy, bytes, file, &disk, &err) != 0) {
		input_require(err.code != DPU_OK && strcmp(err.path, "file") == 0 && disk == UINT64_MAX);
		input_require(sscanf(err.message, "disk.qcow2, offset %u: ", &offset) == 1 && offset <= bytes);
	} else {
		input_require(disk == get64(header, 24) && get64(header, 8) == 0);
		input_require(get64(header, 40) <= file && get64(header, 48) < file && get64(header, 64) <= file);
		input_require(header[7] == 2 || (get64(header, 72) & 4) == 0);
	}
	free(copy);
}

static void words_check(struct input *in)
{
	struct tool_words words = { 0 };
	uint8_t bytes[256];

	while (input_left(in)) {
		size_t count = input_bytes(in, bytes, input_byte(in));
		tool_words_take(&words, (const char *)bytes, count);
		input_require(words.percent <= 100);
	}
	const char *last = tool_words_last(&words);
	json_t *sentence = json_string(last);
	input_require(sentence && words.percent <= 100);
	for (; *last; last++)
		input_require((unsigned char)*last >= ' ' && *last != 0x7f);
	json_decref(sentence);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };

	if (input_byte(&in) & 1)
		words_check(&in);
	else
		header_check(&in);
	return 0;
}
