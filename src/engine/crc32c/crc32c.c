// SPDX-License-Identifier: BSD-3-Clause
/* The portable reference, eight bytes at a time by tables, and ISA-L's, which picks instructions by itself. */
#include <isa-l/crc.h>
#include <limits.h>
#include <string.h>
#include "engine/crc32c/crc32c.h"
#include "engine/crc32c/crc32c_priv.h"

/* table[k][b]: what byte b contributes that is followed by k bytes. */
static uint32_t table[8][256];

__attribute__((constructor)) static void fill_table(void)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;

		for (unsigned bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
		table[0][byte] = crc;
	}
	for (unsigned k = 1; k < 8; k++)
		for (unsigned byte = 0; byte < 256; byte++)
			table[k][byte] = (table[k - 1][byte] >> 8) ^ table[0][table[k - 1][byte] & 0xff];
}

static uint32_t portable(uint32_t crc, const void *data, size_t bytes)
{
	const uint8_t *at = data;

	crc = ~crc;
	for (; bytes >= 8; bytes -= 8, at += 8) {
		uint32_t low =
			crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);

		crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^
		      table[4][low >> 24] ^ table[3][at[4]] ^ table[2][at[5]] ^ table[1][at[6]] ^ table[0][at[7]];
	}
	while (bytes-- > 0)
		crc = (crc >> 8) ^ table[0][(crc ^ *at++) & 0xff];
	return ~crc;
}

static uint32_t isal(uint32_t crc, const void *data, size_t bytes)
{
	uint8_t *at = (uint8_t *)(uintptr_t)data; /* it only reads */

	crc = ~crc;
	while (bytes > 0) {
		int part = bytes < INT_MAX ? (int)bytes : INT_MAX;

		crc = crc32_iscsi(at, part, crc);
		at += part;
		bytes -= (size_t)part;
	}
	return ~crc;
}

const struct crc32c_implementation crc32c_implementations[] = {
	{ "portable", portable },
	{ "isa-l", isal },
	{ NULL, NULL },
};

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
	return isal(crc, data, bytes);
}

uint32_t crc32c_iov(uint32_t crc, const struct iovec *iov, size_t offset, size_t bytes)
{
	for (; bytes > 0; iov++) {
		if (offset >= iov->iov_len) {
			offset -= iov->iov_len;
			continue;
		}
		size_t part = iov->iov_len - offset;

		if (part > bytes)
			part = bytes;
		crc = crc32c(crc, (const uint8_t *)iov->iov_base + offset, part);
		bytes -= part;
		offset = 0;
	}
	return crc;
}
