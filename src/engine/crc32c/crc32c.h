/* SPDX-License-Identifier: BSD-3-Clause */
/* CRC32C (Castagnoli; RFC 3720, appendix B.4): of blocks at rest, and the header and data digests of NVMe/TCP.
 *
 * A value is that of a whole message: initial value and final xor are applied. crc32c(crc32c(0, a), b) is that of a
 * followed by b. Thread-safe. */
#pragma once

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
