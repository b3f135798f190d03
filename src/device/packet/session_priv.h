/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of a session table, for the files that make it up. */
#pragma once

#include "base/netaddr.h"
#include "device/packet/session.h"
#include "device/packet/session_table_inline.h"

/* ---- record memory (session_memory.c) ----
 * Blocks of 2 MiB, cut into chunks that become usable one by one: claimed by whoever makes a chunk ready (the worker or
 * a helper thread), ready when memory is granted and mapped, in use when the worker has taken it. Only chunks in use
 * hold records. Nothing else of the mapping is ever touched: a full file system is an error, never a SIGBUS. */
enum session_chunk_state { CHUNK_NONE = 0, CHUNK_CLAIMED, CHUNK_READY, CHUNK_IN_USE };

enum {
	SESSION_BLOCK_BYTES = 1 << SESSION_BLOCK_SHIFT,
	SESSION_SMALL_CHUNK_RECORDS = 256,
	SESSION_HEADER_CHUNKS = 3, /* of 256 records: room for the header and the chunk states */
	SESSION_FILE_VERSION = 1,
	SESSION_MAX = 1 << 25,
};
#define SESSION_FILE_MAGIC UINT64_C(0x5375706474666f73)

struct session_file_header {
	uint64_t magic; /* written last */
	uint32_t version;
	uint32_t record_bytes;
	uint32_t chunk_bytes;
	uint32_t spare;
	struct uuid boot_id;
	uint64_t seed;
	uint64_t checksum; /* of all that stands before */
};
enum { SESSION_CHUNK_STATES_OFFSET = 4096 };

struct session_memory {
	int fd; /* -1 = anonymous */
	size_t mapped_bytes;
	uint8_t *chunks; /* enum session_chunk_state of each, in the file */
	uint32_t chunk_count, chunk_bytes, chunk_records, chunks_per_block, block_records;
	uint32_t first_number; /* cells before it hold the header */
	uint32_t next_chunk;   /* all before it are in use */
	uint32_t chunks_in_use;
	uint32_t top_chunk;        /* none behind it is in use */
	uint32_t fresh, fresh_end; /* numbers of the chunk taken last that were never given out */
	uint32_t free_head;        /* linked by wheel_next */
	bool hugetlb, advise_huge;
};

/* ---- index (session_index.c) ---- */
enum {
	SESSION_BUCKET_LOAD = 3, /* mean entries per bucket */
	SESSION_MIN_BUCKETS = 256,
	SESSION_MAX_CHAIN = 16, /* buckets in one chain: a longer one means that the table is full */
};

struct session_index {
	struct session_bucket *overflow;
	uint32_t bucket_limit, overflow_limit;
	uint32_t overflow_used, overflow_free; /* free ones linked by hashes[7]; [0] is never used */
	size_t mapped_bytes;
	size_t ready_bytes, overflow_ready_bytes; /* helper thread: populated */
};

/* ---- timer wheel (session_wheel.c) ---- */
enum {
	WHEEL_LEVELS = 4,
	WHEEL_SLOTS = 4096 + 256 + 256 + 16, /* 1/16 s for 256 s, 256 s for 18 h, 18 h for 194 days, the rest */
	WHEEL_AHEAD = 8,
};
#define WHEEL_HEAD UINT32_C(0x80000000) /* in wheel_prev: the first of the slot in the lower bits */

struct session_wheel {
	uint32_t heads[WHEEL_SLOTS];
	uint32_t armed[WHEEL_AHEAD]; /* the sessions armed last, for wheel_ahead */
	uint32_t armed_next;
};

struct session_table {
	struct session_table_view view; /* first: session_table_view() */
	uint32_t count, max;
	uint64_t seed;
	struct session_memory memory;
	struct session_index index;
	void (*on_remove)(void *ctx, struct session *session);
	void *ctx;
	struct session_wheel wheel;
};

static inline uint32_t session_number(const struct session_table *table, const struct session *session)
{
	size_t offset = (const uint8_t *)session - table->view.records;
	uint32_t inside = offset & (SESSION_BLOCK_BYTES - 1);
	uint32_t index = table->view.v6 ? inside / sizeof(struct session_v6) : inside / sizeof(struct session);

	return (uint32_t)(offset >> SESSION_BLOCK_SHIFT) << SESSION_BLOCK_INDEX_BITS | index;
}

static inline session_tick_t session_last_seen(const struct session *session)
{
	session_tick_t a = session->dir[0].last_seen, b = session->dir[1].last_seen;
	return (int32_t)(a - b) > 0 ? a : b;
}

/* memory: geometry from options; maps nothing. */
void session_memory_init(struct session_table *table, bool v6, bool hugetlb);
uint32_t session_memory_blocks(const struct session_table *table, uint32_t max_sessions);
/* Maps blocks (of fd, or anonymous memory), and puts the chunk map in force. */
int session_memory_map(struct session_table *table, int fd, uint32_t blocks);
void session_memory_unmap(struct session_table *table);
/* Memory for the header: call before anything is touched. 0 or -ENOSPC. */
int session_memory_prepare_header(struct session_table *table);
/* Grants the memory of chunks from first up to, not including, end; 0 or -ENOSPC. */
int session_memory_prepare(struct session_table *table, uint32_t first, uint32_t end);
/* Makes chunks of a file zeroes, whatever they hold, and gives their memory back; the header stays. 0 or a negative
 * errno. */
int session_memory_wipe(struct session_table *table, uint32_t first, uint32_t end);
/* The record numbers of a chunk: *ret_first up to, not including, *ret_end. */
void session_memory_chunk_numbers(const struct session_table *table, uint32_t chunk, uint32_t *ret_first,
				  uint32_t *ret_end);
uint32_t session_memory_take(struct session_table *table); /* a record number, 0 = none left */
void session_memory_give(struct session_table *table, uint32_t number);
int session_memory_grow_ahead(struct session_table *table);

int session_index_init(struct session_table *table, uint32_t max_sessions, bool huge_pages);
void session_index_fini(struct session_table *table);
/* Before the first insertion: as many buckets as count sessions want. */
void session_index_presize(struct session_table *table, uint32_t count);
bool session_index_insert(struct session_table *table, uint32_t hash, uint32_t number);
void session_index_remove(struct session_table *table, uint32_t hash, uint32_t number);
void session_index_grow_ahead(struct session_table *table);

void session_wheel_init(struct session_table *table, session_tick_t now);
void session_wheel_arm(struct session_table *table, struct session *session, uint32_t number, session_tick_t deadline);
void session_wheel_disarm(struct session_table *table, struct session *session);
/* The timeout in force: the session's own, or the longer one of a flow that was answered. */
uint32_t session_effective_timeout(const struct session *session);

/* Takes a live session out of everything; on_remove is called. */
void session_destroy(struct session_table *table, struct session *session, uint32_t number);
/* Is the record what a table of ours could have written? Fields that cannot be trusted are set right (session_adopt.c).
 */
bool session_validate(const struct session_table *table, struct session *session, session_tick_t now);
void session_adopt(struct session_table *table, session_tick_t now);
/* Ticks that a protocol without state machine gets once it was answered. */
uint32_t session_stream_timeout(uint8_t proto);
