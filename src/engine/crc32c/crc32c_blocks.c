// SPDX-License-Identifier: BSD-3-Clause
/* CRCs of blocks out of messages, and digests of messages out of blocks. */
#include "engine/crc32c/crc32c.h"

bool crc32c_blocks_hold(const uint32_t *crc, const struct iovec *iov, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += CRC32C_BLOCK_BYTES)
		if (crc32c_iov(0, iov, at, CRC32C_BLOCK_BYTES) != crc[at / CRC32C_BLOCK_BYTES])
			return false;
	return true;
}

static uint32_t append(uint32_t crc, uint32_t crc_part, uint32_t bytes)
{
	return bytes == CRC32C_BLOCK_BYTES ? crc32c_append_block(crc, crc_part) : crc32c_combine(crc, crc_part, bytes);
}

/* What `bytes` from `at` on have of their block. */
static uint32_t part_of(uint64_t at, size_t bytes)
{
	uint32_t to_end = CRC32C_BLOCK_BYTES - (uint32_t)(at % CRC32C_BLOCK_BYTES);

	return bytes < to_end ? (uint32_t)bytes : to_end;
}

/* ---- received ---- */

static void part_close(struct crc32c_blocks *blocks)
{
	bool begins = (blocks->at - blocks->part_bytes) % CRC32C_BLOCK_BYTES == 0;

	blocks->digest = append(blocks->digest, blocks->part, blocks->part_bytes);
	blocks->block = begins ? blocks->part : crc32c_combine(blocks->block, blocks->part, blocks->part_bytes);
	if (blocks->at % CRC32C_BLOCK_BYTES == 0)
		blocks->crc[blocks->at / CRC32C_BLOCK_BYTES - 1] = blocks->block;
	blocks->part = blocks->part_bytes = 0;
}

void crc32c_blocks_add(struct crc32c_blocks *blocks, const void *data, size_t bytes)
{
	const uint8_t *from = data;

	if (!blocks->crc) {
		blocks->digest = crc32c(blocks->digest, data, bytes);
		return;
	}
	while (bytes > 0) {
		uint32_t part = part_of(blocks->at, bytes);

		blocks->part = crc32c(blocks->part, from, part);
		blocks->part_bytes += part;
		blocks->at += part;
		if (blocks->at % CRC32C_BLOCK_BYTES == 0)
			part_close(blocks);
		from += part;
		bytes -= part;
	}
}

uint32_t crc32c_blocks_digest(struct crc32c_blocks *blocks)
{
	if (blocks->part_bytes > 0)
		part_close(blocks);
	uint32_t digest = blocks->digest;

	blocks->digest = 0;
	return digest;
}

/* ---- sent ---- */

/* Of a part of the present block, of which `block` is what went before. */
static uint32_t part_crc(struct crc32c_blocks *blocks, const struct iovec *iov, size_t skip, uint32_t part)
{
	uint32_t whole = blocks->crc[blocks->at / CRC32C_BLOCK_BYTES];

	if (part == CRC32C_BLOCK_BYTES)
		return whole;
	if ((blocks->at + part) % CRC32C_BLOCK_BYTES == 0)
		return whole ^ crc32c_combine(blocks->block, 0, part);
	uint32_t crc = crc32c_iov(0, iov, skip, part);

	blocks->block = blocks->at % CRC32C_BLOCK_BYTES == 0 ? crc : crc32c_combine(blocks->block, crc, part);
	return crc;
}

uint32_t crc32c_blocks_next(struct crc32c_blocks *blocks, const struct iovec *iov, size_t skip, size_t bytes)
{
	uint32_t digest = 0;

	if (!blocks->crc) {
		blocks->at += bytes;
		return crc32c_iov(0, iov, skip + blocks->at - bytes, bytes);
	}
	while (bytes > 0) {
		uint32_t part = part_of(blocks->at, bytes);

		digest = append(digest, part_crc(blocks, iov, skip + blocks->at, part), part);
		blocks->at += part;
		bytes -= part;
	}
	return digest;
}
