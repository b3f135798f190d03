/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of a table of records, for whatever kind of records makes use of them: memory, index, wheel. Of one worker,
 * but for the functions whose name ends in _grow_ahead. */
#pragma once

#include <stdbool.h>
#include "device/packet/record.h"

/* ---- record memory (record_memory.c) ----
 * Blocks of 2 MiB, cut into chunks that become usable one by one: claimed by whoever makes a chunk ready (the worker or
 * a helper thread), ready when memory is granted and mapped, in use when the worker has taken it: then it is ready, or
 * the worker gets its pages one after the other as it comes to them. Only chunks in use hold records. Nothing without
 * granted memory is ever touched: a full file system is an error, never a SIGBUS. */
enum record_chunk_state { CHUNK_NONE = 0, CHUNK_CLAIMED, CHUNK_READY, CHUNK_IN_USE };

enum {
	RECORD_BLOCK_BYTES = 1 << RECORD_BLOCK_SHIFT,
	RECORD_SMALL_CHUNK = 256,
	RECORD_HEADER_CHUNKS = 3, /* of 256 records: room for the header and the chunk states */
	RECORD_CHUNK_STATES_OFFSET = 4096,
};

struct record_memory {
	int fd; /* -1 = anonymous */
	size_t mapped_bytes;
	uint8_t *chunks; /* enum record_chunk_state of each, in the file */
	uint32_t chunk_count, chunk_bytes, chunk_records, chunks_per_block, block_records;
	uint32_t first_number; /* cells before it hold the header */
	uint32_t next_chunk;   /* all before it are in use */
	uint32_t chunks_in_use;
	uint32_t top_chunk;        /* none behind it is in use */
	uint32_t fresh, fresh_end; /* numbers of the chunk taken last that were never given out, … */
	size_t granted_bytes;      /* … and as far as there is memory for them */
	uint32_t free_head;        /* linked by wheel_next */
	uint64_t taken;            /* pages that the worker had to get itself */
	bool hugetlb, advise_huge;
	/* Helper thread: chunks in use when it last looked, cells that the pace asks for. */
	uint32_t chunks_seen, ahead;
};

/* ---- index (record_index.c) ---- */
enum {
	RECORD_BUCKET_LOAD = 3, /* mean entries per bucket */
	RECORD_MIN_BUCKETS = 256,
	RECORD_MAX_CHAIN = 16, /* buckets in one chain: a longer one means that the table is full */
};

struct record_index {
	struct record_bucket *overflow;
	uint32_t bucket_limit, overflow_limit;
	uint32_t overflow_used, overflow_free; /* free ones linked by hashes[7]; [0] is never used */
	size_t mapped_bytes;
	size_t ready_bytes, overflow_ready_bytes; /* helper thread: populated */
};

/* ---- timer wheel (record_wheel.c) ---- */
enum {
	WHEEL_LEVELS = 4,
	WHEEL_SLOTS = 4096 + 256 + 256 + 16, /* 1/16 s for 256 s, 256 s for 18 h, 18 h for 194 days, the rest */
	WHEEL_AHEAD = 8,
};
#define WHEEL_HEAD UINT32_C(0x80000000) /* in wheel_prev: the first of the slot in the lower bits */

struct record_wheel {
	uint32_t heads[WHEEL_SLOTS];
	uint32_t armed[WHEEL_AHEAD]; /* the records armed last, for wheel_ahead */
	uint32_t armed_next;
};

struct record_table;

/* What tells one kind of records from another. */
struct record_kind {
	uint32_t bytes;       /* of a record: a multiple of a cache line, at least two of them */
	uint32_t tail_offset; /* of its struct record_tail */
	/* The tick at which the record is to go, as far as is known now. */
	uint32_t (*deadline)(const struct record_table *table, const void *record);
	/* Takes the record out of everything, the wheel included. */
	void (*expire)(struct record_table *table, void *record, uint32_t number);
};

struct record_table {
	struct record_view view; /* first: session_table_view() */
	const struct record_kind *kind;
	uint32_t count, max; /* records in the index, and how many there may be */
	struct record_memory memory;
	struct record_index index;
	struct record_wheel wheel;
};

static inline struct record_tail *record_tail_at(const struct record_table *table, uint32_t number)
{
	return (struct record_tail *)((uint8_t *)record_at(&table->view, number) + table->kind->tail_offset);
}

static inline void record_count_add(struct record_table *table, int change)
{
	__atomic_store_n(&table->count, table->count + change, __ATOMIC_RELAXED);
}

/* Geometry for records of the table's kind; maps nothing. */
void record_memory_init(struct record_table *table, bool hugetlb);
uint32_t record_memory_blocks(const struct record_table *table, uint32_t max);
/* Maps blocks (of fd, or anonymous memory), and puts the chunk map in force. */
int record_memory_map(struct record_table *table, int fd, uint32_t blocks);
void record_memory_unmap(struct record_table *table);
/* Memory for the header: call before anything is touched. 0 or -ENOSPC. */
int record_memory_prepare_header(struct record_table *table);
/* Grants the memory of chunks from first up to, not including, end; 0 or -ENOSPC. */
int record_memory_prepare(struct record_table *table, uint32_t first, uint32_t end);
/* Goes on with a chunk that is in use and has only some of its pages, and no more are to be had: those that it has keep
 * their records. Only the chunk that the worker was at can be such a one; false for any further chunk. */
bool record_memory_resume(struct record_table *table, uint32_t chunk);
/* Never given out, and maybe without memory: not to be touched. */
static inline bool record_memory_is_fresh(const struct record_memory *memory, uint32_t number)
{
	return number >= memory->fresh && number < memory->fresh_end;
}
/* Makes chunks of a file zeroes, whatever they hold, and gives their memory back; the header stays. 0 or a negative
 * errno. */
int record_memory_wipe(struct record_table *table, uint32_t first, uint32_t end);
/* The record numbers of a chunk: *ret_first up to, not including, *ret_end. */
void record_memory_chunk_numbers(const struct record_table *table, uint32_t chunk, uint32_t *ret_first,
				 uint32_t *ret_end);
uint32_t record_memory_take(struct record_table *table); /* a record number, 0 = none left */
void record_memory_give(struct record_table *table, uint32_t number);
/* Helper thread: how much to have ready, records and index: what is used between two looks, some times over. A helper
 * that was kept waiting once prepares for that. */
void record_memory_look(struct record_table *table);
int record_memory_grow_ahead(struct record_table *table);

int record_index_init(struct record_table *table, uint32_t max, bool huge_pages);
void record_index_fini(struct record_table *table);
/* Before the first insertion: as many buckets as count records want. */
void record_index_presize(struct record_table *table, uint32_t count);
bool record_index_insert(struct record_table *table, uint32_t hash, uint32_t number);
void record_index_remove(struct record_table *table, uint32_t hash, uint32_t number);
void record_index_grow_ahead(struct record_table *table);

void record_wheel_init(struct record_table *table, uint32_t now);
void record_wheel_arm(struct record_table *table, struct record_tail *tail, uint32_t number, uint32_t deadline);
void record_wheel_disarm(struct record_table *table, struct record_tail *tail);
/* Looks at the records that are due, `budget` at most; returns how many have expired. */
unsigned record_wheel_expire(struct record_table *table, uint32_t now, unsigned budget);
