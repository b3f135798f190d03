/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables of records, as lookups see them: records of one size, found by a 32-bit hash, that age by a timer wheel.
 * Sessions are such records, and so are the entries of the flow engine; how a table works is told in DESIGN.md, and its
 * parts are in record_priv.h. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	RECORD_BUCKET_ENTRIES = 7,
	RECORD_BLOCK_SHIFT = 21, /* records sit in blocks of 2 MiB, none crosses a border */
	RECORD_BLOCK_INDEX_BITS = 14,
	RECORD_BLOCK_INDEX_MASK = (1 << RECORD_BLOCK_INDEX_BITS) - 1,
};
/* One cache line of the index. Entries in any order; free ones have number 0 and a hash that belongs to another bucket
 * (but for the zeroes of a fresh bucket 0: there a lookup has to sort it out). */
struct record_bucket {
	uint32_t hashes[RECORD_BUCKET_ENTRIES + 1];  /* [7]: the overflow bucket behind this one, 0 = none */
	uint32_t numbers[RECORD_BUCKET_ENTRIES + 1]; /* [7]: always 0 */
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct record_bucket) == 64, "a bucket is one cache line");

/* What a lookup reads of a table: the first member of struct record_table. */
struct record_view {
	uint8_t *records;
	struct record_bucket *buckets;
	uint32_t bucket_count; /* linear hashing: any number, … */
	uint32_t bucket_mask;  /* … and the next power of two - 1 */
	uint32_t record_bytes;
	uint32_t v6;        /* sessions: the family */
	uint32_t wheel_now; /* a tick: the wheel has dealt with everything before */
};

static inline struct record_bucket *record_bucket_of(const struct record_view *view, uint32_t hash)
{
	uint32_t bucket = hash & view->bucket_mask;

	if (bucket >= view->bucket_count)
		bucket &= view->bucket_mask >> 1;
	return &view->buckets[bucket];
}

/* Numbers: block of 2 MiB, index of the cell within it. 0 is no record's. */
static inline void *record_at(const struct record_view *view, uint32_t number)
{
	size_t block = number >> RECORD_BLOCK_INDEX_BITS;

	return view->records + (block << RECORD_BLOCK_SHIFT) +
	       (size_t)(number & RECORD_BLOCK_INDEX_MASK) * view->record_bytes;
}

/* Vectors of the compiler, which become SSE2 or NEON. */
typedef uint32_t record_lanes __attribute__((vector_size(16), may_alias));
typedef uint64_t record_halves __attribute__((vector_size(16)));

/* Bit per entry of the bucket that has this hash. */
static inline unsigned record_bucket_hits(const struct record_bucket *bucket, uint32_t hash)
{
	const record_lanes *hashes = (const record_lanes *)bucket->hashes;
	const record_lanes wanted = { hash, hash, hash, hash };
	record_lanes low = (record_lanes)(hashes[0] == wanted) & (record_lanes){ 1, 2, 4, 8 };
	record_lanes high = (record_lanes)(hashes[1] == wanted) & (record_lanes){ 16, 32, 64, 0 };
	record_halves both = (record_halves)(low | high);
	uint64_t hits = both[0] | both[1];

	return hits | hits >> 32;
}

/* The cache line of a record that hits do not need. Index, memory and wheel use what has a name here; the rest is the
 * kind's. */
struct record_tail {
	uint32_t own0;
	uint32_t hash;
	uint32_t own1;
	uint32_t deadline; /* tick of the wheel's slot */
	uint32_t own2;
	uint32_t wheel_next, wheel_prev; /* numbers, 0 = none; wheel_next also links free cells (record_memory.c) */
	uint32_t own3[8];
	uint32_t wheel_ahead; /* a record that the wheel will look at a little later: a hint for prefetching */
};
_Static_assert(sizeof(struct record_tail) == 64, "a tail is one cache line");
