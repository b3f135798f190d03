// SPDX-License-Identifier: BSD-3-Clause
/* CRCs of concatenations. To append n bytes multiplies the CRC, a polynomial over GF(2), by x^(8n) modulo the CRC's
 * own; initial value and final xor cancel out between the two parts. */
#include "engine/crc32c/crc32c.h"
#include "engine/crc32c/crc32c_priv.h"

enum { ONE_BIT = 31 }; /* bit-reversed: x^0 is the highest bit */

static uint32_t power[64];           /* power[k] = x^(8 · 2^k) */
static uint32_t block_table[4][256]; /* a CRC, byte by byte, times x^(8 · CRC32C_BLOCK_BYTES) */

/* a · b modulo the polynomial. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	for (uint32_t bit = UINT32_C(1) << ONE_BIT; bit != 0; bit >>= 1) {
		if (a & bit)
			product ^= b;
		b = (b >> 1) ^ (b & 1 ? CRC32C_POLYNOMIAL : 0);
	}
	return product;
}

static uint32_t shift(uint32_t crc, uint64_t bytes)
{
	for (unsigned k = 0; bytes != 0; k++, bytes >>= 1)
		if (bytes & 1)
			crc = multiply(power[k], crc);
	return crc;
}

__attribute__((constructor)) static void fill_tables(void)
{
	power[0] = UINT32_C(1) << (ONE_BIT - 8);
	for (unsigned k = 1; k < 64; k++)
		power[k] = multiply(power[k - 1], power[k - 1]);
	for (unsigned place = 0; place < 4; place++)
		for (uint32_t byte = 0; byte < 256; byte++)
			block_table[place][byte] = shift(byte << (8 * place), CRC32C_BLOCK_BYTES);
}

uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t bytes_b)
{
	return shift(crc_a, bytes_b) ^ crc_b;
}

uint32_t crc32c_append_block(uint32_t crc, uint32_t crc_block)
{
	return block_table[0][crc & 0xff] ^ block_table[1][crc >> 8 & 0xff] ^ block_table[2][crc >> 16 & 0xff] ^
	       block_table[3][crc >> 24] ^ crc_block;
}
