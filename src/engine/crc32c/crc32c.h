/* SPDX-License-Identifier: BSD-3-Clause */
/* CRC32C (Castagnoli; RFC 3720, appendix B.4): of blocks at rest, and the header and data digests of NVMe/TCP.
 *
 * A value is that of a whole message: initial value and final xor are applied. crc32c(crc32c(0, a), b) is that of a
 * followed by b. Thread-safe. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum { CRC32C_BLOCK_BYTES = 4096 };

/* The CRC of what `crc` is the CRC of (0: of nothing), followed by data. */
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);
/* … followed by `bytes` of the segments, from `offset` in them on. They must have so much. */
uint32_t crc32c_iov(uint32_t crc, const struct iovec *iov, size_t offset, size_t bytes);

/* The CRC of a followed by b, from the CRC of each and the length of b; without touching the data. */
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t bytes_b);
/* The same for a b of CRC32C_BLOCK_BYTES: so the digest of a transfer is made of the CRCs of its blocks. */
uint32_t crc32c_append_block(uint32_t crc, uint32_t crc_block);

/* An implementation; crc32c() uses the last one that this machine has. All give the same values. */
struct crc32c_implementation {
	const char *name;
	uint32_t (*function)(uint32_t crc, const void *data, size_t bytes);
};
/* [0] is the portable reference; ends with a NULL name. */
extern const struct crc32c_implementation crc32c_implementations[];

/* Whether each block of the data has its CRC; bytes are whole blocks. */
bool crc32c_blocks_hold(const uint32_t *crc, const struct iovec *iov, size_t bytes);

/* ---- data in blocks that goes in messages ---- */

/* Data of a command on the wire: in blocks of CRC32C_BLOCK_BYTES from its start, each with its CRC, and in messages,
 * one after the other, each with its digest, that begin and end anywhere. Each byte is looked at once for both. All
 * zero at the start of the data. */
struct crc32c_blocks {
	uint32_t *crc;             /* of the blocks; NULL: nobody wants them, or has them */
	uint64_t at;               /* in the data */
	uint32_t block;            /* CRC of the present block's bytes in earlier messages */
	uint32_t digest;           /* of the present message, but for … */
	uint32_t part, part_bytes; /* … its bytes in the present block: their CRC */
};

/* Received: the next bytes of the present message. Each block that is whole by them gets its CRC. */
void crc32c_blocks_add(struct crc32c_blocks *blocks, const void *data, size_t bytes);
/* The digest of the message; the next one begins. */
uint32_t crc32c_blocks_digest(struct crc32c_blocks *blocks);
/* To be sent: the digest of the next message, which is made of the next `bytes` of the data; iov begins with the data,
 * `skip` bytes in it. Blocks that are in it as a whole are not looked at, nor is the last part of one: its digest is
 * the one by which the block has its CRC. So a byte that is not what its block's CRC says makes a message contradict
 * its digest, wherever messages end. */
uint32_t crc32c_blocks_next(struct crc32c_blocks *blocks, const struct iovec *iov, size_t skip, size_t bytes);
