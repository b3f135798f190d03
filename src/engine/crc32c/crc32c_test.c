// SPDX-License-Identifier: BSD-3-Clause
/* CRC32C: published vectors, all implementations against the portable one, concatenation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "engine/crc32c/crc32c.h"

enum { BUFFER_BYTES = 1 << 16 };

static uint8_t buffer[BUFFER_BYTES + 64];

static int fill(void **state)
{
	uint32_t random = 12345;

	for (size_t i = 0; i < sizeof(buffer); i++) {
		random = random * 1664525 + 1013904223;
		buffer[i] = (uint8_t)(random >> 24);
	}
	return 0;
}

/* RFC 3720, appendix B.4, and the customary check value. */
static void published_vectors(void **state)
{
	static const uint8_t read_command[48] = {
		0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02
	};
	uint8_t pattern[32];

	for (const struct crc32c_implementation *one = crc32c_implementations; one->name; one++) {
		assert_int_equal(one->function(0, "123456789", 9), 0xe3069283);
		assert_int_equal(one->function(0, "", 0), 0);
		memset(pattern, 0, sizeof(pattern));
		assert_int_equal(one->function(0, pattern, sizeof(pattern)), 0x8a9136aa);
		memset(pattern, 0xff, sizeof(pattern));
		assert_int_equal(one->function(0, pattern, sizeof(pattern)), 0x62a8ab43);
		for (unsigned i = 0; i < 32; i++)
			pattern[i] = (uint8_t)i;
		assert_int_equal(one->function(0, pattern, sizeof(pattern)), 0x46dd794e);
		for (unsigned i = 0; i < 32; i++)
			pattern[i] = (uint8_t)(31 - i);
		assert_int_equal(one->function(0, pattern, sizeof(pattern)), 0x113fdb5c);
		assert_int_equal(one->function(0, read_command, sizeof(read_command)), 0xd9963a56);
	}
}

static void implementations_agree(void **state)
{
	for (const struct crc32c_implementation *one = crc32c_implementations + 1; one->name; one++)
		for (size_t bytes = 0; bytes < 700; bytes++)
			for (size_t offset = 0; offset < 17; offset += bytes < 80 ? 1 : 5)
				assert_int_equal(
					one->function((uint32_t)bytes, buffer + offset, bytes),
					crc32c_implementations[0].function((uint32_t)bytes, buffer + offset, bytes));
	assert_int_equal(crc32c(7, buffer, BUFFER_BYTES), crc32c_implementations[0].function(7, buffer, BUFFER_BYTES));
}

static void segments(void **state)
{
	struct iovec iov[] = {
		{ buffer, 5 }, { NULL, 0 }, { buffer + 5, 4096 }, { buffer + 4101, 3 }, { buffer + 4104, 9000 }
	};

	for (size_t offset = 0; offset < 4200; offset += 7)
		for (size_t bytes = 0; bytes < 8000; bytes += 411)
			assert_int_equal(crc32c_iov(3, iov, offset, bytes), crc32c(3, buffer + offset, bytes));
}

static void concatenation(void **state)
{
	for (size_t split = 0; split < 3000; split += 13) {
		size_t rest = 3000 - split;

		assert_int_equal(crc32c_combine(crc32c(0, buffer, split), crc32c(0, buffer + split, rest), rest),
				 crc32c(0, buffer, 3000));
	}
	uint32_t crc = crc32c(0, buffer, 10);

	for (size_t at = 10; at + CRC32C_BLOCK_BYTES < BUFFER_BYTES; at += CRC32C_BLOCK_BYTES) {
		crc = crc32c_append_block(crc, crc32c(0, buffer + at, CRC32C_BLOCK_BYTES));
		assert_int_equal(crc, crc32c(0, buffer, at + CRC32C_BLOCK_BYTES));
	}
}

/* ---- blocks and messages ---- */

enum { BLOCKS = 5, DATA_BYTES = BLOCKS * CRC32C_BLOCK_BYTES };

static uint32_t roll_state = 1;

static size_t roll(size_t below)
{
	roll_state = roll_state * 1664525 + 1013904223;
	return (roll_state >> 8) % below;
}

/* Where messages end: from the odd to whole blocks. */
static size_t message_bytes(unsigned round, size_t left)
{
	size_t bytes = round == 0 ? DATA_BYTES : round == 1 ? CRC32C_BLOCK_BYTES : round == 2 ? 1460 : 1 + roll(9000);

	return bytes < left ? bytes : left;
}

/* The CRCs of the blocks and the digests come out right wherever messages and what is received of them end. */
static void blocks_received(void **state)
{
	for (unsigned round = 0; round < 200; round++) {
		uint32_t crc[BLOCKS] = { 0 };
		struct crc32c_blocks blocks = { .crc = round % 5 == 4 ? NULL : crc };
		size_t at = 0, got, bytes;

		for (; at < DATA_BYTES; at += bytes) {
			bytes = message_bytes(round, DATA_BYTES - at);
			for (size_t have = 0; have < bytes; have += got) {
				got = 1 + roll(5000);
				got = got < bytes - have ? got : bytes - have;
				crc32c_blocks_add(&blocks, buffer + at + have, got);
			}
			assert_int_equal(crc32c_blocks_digest(&blocks), crc32c(0, buffer + at, bytes));
		}
		for (size_t i = 0; blocks.crc && i < BLOCKS; i++)
			assert_int_equal(crc[i], crc32c(0, buffer + i * CRC32C_BLOCK_BYTES, CRC32C_BLOCK_BYTES));
	}
}

/* Sends in messages. Returns how many contradict their digest. */
static unsigned contradictions(unsigned round, uint32_t *crc, const uint8_t *data)
{
	enum { SKIP = 24 };
	struct iovec iov[] = { { (uint8_t *)data - SKIP, 1000 }, { (uint8_t *)data - SKIP + 1000, DATA_BYTES } };
	struct crc32c_blocks blocks = { .crc = crc };
	unsigned count = 0;
	size_t bytes;

	for (size_t at = 0; at < DATA_BYTES; at += bytes) {
		bytes = message_bytes(round, DATA_BYTES - at);
		count += crc32c_blocks_next(&blocks, iov, SKIP, bytes) != crc32c(0, data + at, bytes);
	}
	return count;
}

/* Digests are made of the CRCs, and one bit that is not as its CRC says contradicts one wherever messages end. */
static void blocks_sent(void **state)
{
	uint8_t *data = buffer + CRC32C_BLOCK_BYTES;

	for (unsigned round = 0; round < 200; round++) {
		uint32_t crc[BLOCKS];

		for (size_t i = 0; i < BLOCKS; i++)
			crc[i] = crc32c(0, data + i * CRC32C_BLOCK_BYTES, CRC32C_BLOCK_BYTES);
		assert_int_equal(contradictions(round, crc, data), 0);
		assert_int_equal(contradictions(round, NULL, data), 0);
		size_t at = roll(DATA_BYTES);
		uint8_t bit = (uint8_t)(1u << roll(8));

		data[at] ^= bit;
		assert_int_equal(contradictions(round, crc, data), 1);
		data[at] ^= bit;
		crc[roll(BLOCKS)] ^= 0x8000;
		assert_int_equal(contradictions(round, crc, data), 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_vectors), cmocka_unit_test(implementations_agree),
		cmocka_unit_test(segments),          cmocka_unit_test(concatenation),
		cmocka_unit_test(blocks_received),   cmocka_unit_test(blocks_sent),
	};

	return cmocka_run_group_tests_name("crc32c", tests, fill, NULL);
}
