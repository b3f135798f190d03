/* SPDX-License-Identifier: BSD-3-Clause */
/* pcapng blocks: type, length, body padded to 32 bits, options, length again. */
#include <errno.h>
#include <string.h>
#include "service/vswitch/pcapng.h"

enum {
	BLOCK_SECTION = 0x0a0d0d0a,
	BLOCK_INTERFACE = 1,
	BLOCK_PACKET = 6,
	BYTE_ORDER_MAGIC = 0x1a2b3c4d,
	LINKTYPE_ETHERNET = 1,
	OPTION_END = 0,
	OPTION_COMMENT = 1,
	OPTION_IF_NAME = 2,
	OPTION_IF_TSRESOL = 9,
};

static uint32_t padded(uint32_t bytes)
{
	return (bytes + 3) & ~3u;
}

static uint32_t option_bytes(const char *text)
{
	return text ? 4 + padded(strlen(text)) : 0;
}

static void put(FILE *file, const void *data, uint32_t bytes)
{
	static const uint8_t zero[4];

	fwrite(data, 1, bytes, file);
	fwrite(zero, 1, padded(bytes) - bytes, file);
}

static void put_option(FILE *file, uint16_t code, const void *data, uint16_t bytes)
{
	const uint16_t head[2] = { code, bytes };

	put(file, head, sizeof(head));
	if (bytes > 0)
		put(file, data, bytes);
}

static int result(FILE *file)
{
	return ferror(file) ? -EIO : 0;
}

int pcapng_begin(FILE *file, const char *const *interfaces, unsigned count, uint32_t snaplen)
{
	const uint32_t section[7] = { BLOCK_SECTION, 28, BYTE_ORDER_MAGIC, 1 /* version 1.0 */, UINT32_MAX,
				      UINT32_MAX,    28 };
	const uint8_t nanoseconds = 9;

	fwrite(section, 1, sizeof(section), file);
	for (unsigned i = 0; i < count; i++) {
		uint32_t bytes = 20 + option_bytes(interfaces[i]) + 8 + 4;
		const uint32_t head[4] = { BLOCK_INTERFACE, bytes, LINKTYPE_ETHERNET, snaplen };

		fwrite(head, 1, sizeof(head), file);
		put_option(file, OPTION_IF_NAME, interfaces[i], strlen(interfaces[i]));
		put_option(file, OPTION_IF_TSRESOL, &nanoseconds, 1);
		put_option(file, OPTION_END, NULL, 0);
		fwrite(&bytes, 1, sizeof(bytes), file);
	}
	return result(file);
}

int pcapng_packet(FILE *file, uint32_t interface, uint64_t time_ns, const void *data, uint32_t captured,
		  uint32_t original, const char *comment)
{
	uint32_t bytes = 32 + padded(captured) + (comment ? option_bytes(comment) + 4 : 0);
	const uint32_t head[7] = { BLOCK_PACKET, bytes, interface, time_ns >> 32, time_ns, captured, original };

	fwrite(head, 1, sizeof(head), file);
	put(file, data, captured);
	if (comment) {
		put_option(file, OPTION_COMMENT, comment, strlen(comment));
		put_option(file, OPTION_END, NULL, 0);
	}
	fwrite(&bytes, 1, sizeof(bytes), file);
	return result(file);
}
