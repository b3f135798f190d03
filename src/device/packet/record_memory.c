/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of records: granted chunk by chunk, ahead of use by a helper thread or else by the worker itself. */
#include "device/packet/record_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	PAGE_BYTES = 4096,
	AHEAD_RECORDS_MAX = 1 << 18, /* for a table that grows slowly: 131 ms at two million a second */
	AHEAD_ROUNDS = 4,            /* as many times what was used between two looks of the helper … */
	AHEAD_ROUNDS_MAX = 1 << 19,  /* … within this limit: a quarter of a second at two million a second */
	AHEAD_FADES = 64,            /* by one part in so many at each look */
};

static uint8_t chunk_load(const struct record_table *table, uint32_t chunk)
{
	return __atomic_load_n(&table->memory.chunks[chunk], __ATOMIC_ACQUIRE);
}

static void chunk_store(struct record_table *table, uint32_t chunk, enum record_chunk_state state)
{
	__atomic_store_n(&table->memory.chunks[chunk], state, __ATOMIC_RELEASE);
}

static bool chunk_claim(struct record_table *table, uint32_t chunk)
{
	uint8_t none = CHUNK_NONE;

	return __atomic_compare_exchange_n(&table->memory.chunks[chunk], &none, CHUNK_CLAIMED, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

void record_memory_init(struct record_table *table, bool hugetlb)
{
	struct record_memory *memory = &table->memory;

	table->view.record_bytes = table->kind->bytes;
	memory->fd = -1;
	memory->hugetlb = hugetlb;
	memory->block_records = RECORD_BLOCK_BYTES / table->view.record_bytes;
	memory->first_number = RECORD_HEADER_CHUNKS * RECORD_SMALL_CHUNK;
	memory->chunk_records = hugetlb ? memory->block_records : RECORD_SMALL_CHUNK;
	memory->chunk_bytes = hugetlb ? RECORD_BLOCK_BYTES : memory->chunk_records * table->view.record_bytes;
	memory->chunks_per_block = (RECORD_BLOCK_BYTES + memory->chunk_bytes - 1) / memory->chunk_bytes;
}

uint32_t record_memory_blocks(const struct record_table *table, uint32_t max)
{
	const struct record_memory *memory = &table->memory;

	/* One more than the records need: a helper thread at work on a block must not keep the worker from the last
	 * ones. */
	return 1 + (max + memory->first_number + memory->block_records - 1) / memory->block_records;
}

/* Address space aligned to 2 MiB, so that huge pages fit. */
static void *reserve(size_t bytes)
{
	size_t room = bytes + RECORD_BLOCK_BYTES;
	uint8_t *start = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (start == MAP_FAILED)
		return NULL;
	size_t head = -(uintptr_t)start & (RECORD_BLOCK_BYTES - 1);
	if (head)
		munmap(start, head);
	munmap(start + head + bytes, room - head - bytes);
	return start + head;
}

int record_memory_map(struct record_table *table, int fd, uint32_t blocks)
{
	struct record_memory *memory = &table->memory;
	size_t bytes = (size_t)blocks << RECORD_BLOCK_SHIFT;
	int flags = MAP_FIXED | MAP_NORESERVE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
	void *start = reserve(bytes);

	if (!start)
		return -ENOMEM;
	/* Anonymous huge pages are reserved at once, or not to be had: a pool that runs dry later would end growth. */
	if (fd < 0 && memory->hugetlb)
		flags = (flags & ~MAP_NORESERVE) | MAP_HUGETLB | RECORD_BLOCK_SHIFT << MAP_HUGE_SHIFT;
	if (mmap(start, bytes, PROT_READ | PROT_WRITE, flags, fd, 0) == MAP_FAILED) {
		int error = errno;
		munmap(start, bytes);
		return -error;
	}
	madvise(start, bytes, MADV_DONTDUMP);
	memory->fd = fd;
	memory->mapped_bytes = bytes;
	memory->chunk_count = blocks * memory->chunks_per_block;
	memory->chunks = (uint8_t *)start + RECORD_CHUNK_STATES_OFFSET;
	table->view.records = start;
	return 0;
}

void record_memory_unmap(struct record_table *table)
{
	if (table->view.records)
		munmap(table->view.records, table->memory.mapped_bytes);
	table->view.records = NULL;
}

/* Maps pages that are granted; without MADV_POPULATE_WRITE (Linux 5.14) by touching them. */
static int populate(uint8_t *start, size_t bytes, bool granted)
{
	if (madvise(start, bytes, MADV_POPULATE_WRITE) == 0)
		return 0;
	if (errno != EINVAL || !granted)
		return -ENOSPC;
	for (size_t offset = 0; offset < bytes; offset += PAGE_BYTES)
		(void)*(volatile uint8_t *)(start + offset);
	return 0;
}

/* Memory that is certain to be there when it is touched, and mapped: no page fault is left. */
static int grant(struct record_table *table, size_t offset, size_t bytes)
{
	const struct record_memory *memory = &table->memory;

	if (memory->fd >= 0) {
		int rc;
		do
			rc = fallocate(memory->fd, 0, offset, bytes) ? errno : 0;
		while (rc == EINTR);
		if (rc)
			return -ENOSPC;
	}
	/* Private small pages need no grant: there is no file system to be full. */
	return populate(table->view.records + offset, bytes, memory->fd >= 0 || !memory->hugetlb);
}

int record_memory_prepare_header(struct record_table *table)
{
	const struct record_memory *memory = &table->memory;
	size_t bytes = (size_t)RECORD_HEADER_CHUNKS * RECORD_SMALL_CHUNK * table->view.record_bytes;

	return grant(table, 0, memory->hugetlb ? (size_t)RECORD_BLOCK_BYTES : bytes);
}

static size_t chunk_offset(const struct record_table *table, uint32_t chunk)
{
	const struct record_memory *memory = &table->memory;
	size_t block = chunk / memory->chunks_per_block;

	return (block << RECORD_BLOCK_SHIFT) + (size_t)(chunk % memory->chunks_per_block) * memory->chunk_bytes;
}

int record_memory_prepare(struct record_table *table, uint32_t first, uint32_t end)
{
	size_t offset = chunk_offset(table, first);

	return grant(table, offset, chunk_offset(table, end) - offset);
}

/* The first byte behind a cell. */
static size_t cell_end(const struct record_table *table, uint32_t number)
{
	return (const uint8_t *)record_at(&table->view, number) + table->view.record_bytes - table->view.records;
}

/* Memory for the next fresh cell, of a chunk that the worker has taken before it was ready: page by page, so that what
 * a burst pays for is bounded by what it uses. (A huge page of hugetlbfs cannot be had in parts.) */
static int grant_fresh(struct record_table *table)
{
	struct record_memory *memory = &table->memory;
	size_t page = memory->hugetlb ? RECORD_BLOCK_BYTES : PAGE_BYTES;
	size_t start = memory->granted_bytes;
	size_t end = (cell_end(table, memory->fresh) + page - 1) & ~(page - 1);

	/* In one call where the kernel knows it: a file system that is full is an error of this as well. */
	if (madvise(table->view.records + start, end - start, MADV_POPULATE_WRITE) && grant(table, start, end - start))
		return -ENOSPC;
	__atomic_store_n(&memory->taken, memory->taken + (end - start) / PAGE_BYTES, __ATOMIC_RELAXED);
	memory->granted_bytes = end;
	return 0;
}

static void start_on_chunk(struct record_table *table, uint32_t chunk, bool ready)
{
	struct record_memory *memory = &table->memory;

	record_memory_chunk_numbers(table, chunk, &memory->fresh, &memory->fresh_end);
	memory->granted_bytes = chunk_offset(table, chunk + !!ready);
}

bool record_memory_resume(struct record_table *table, uint32_t chunk)
{
	struct record_memory *memory = &table->memory;

	if (memory->fresh < memory->fresh_end || memory->hugetlb)
		return false;
	start_on_chunk(table, chunk, false);
	uint32_t first = memory->fresh;
	while (memory->fresh < memory->fresh_end &&
	       (cell_end(table, memory->fresh) <= memory->granted_bytes || grant_fresh(table) == 0))
		memory->fresh++;
	if (memory->fresh > first)
		return true;
	memory->fresh = memory->fresh_end = 0;
	return false;
}

int record_memory_wipe(struct record_table *table, uint32_t first, uint32_t end)
{
	const struct record_memory *memory = &table->memory;
	size_t header = (size_t)RECORD_HEADER_CHUNKS * RECORD_SMALL_CHUNK * table->view.record_bytes;
	size_t start = chunk_offset(table, first), stop = chunk_offset(table, end);

	/* The header's memory is granted, with huge pages up to the end of the first one. */
	if (start < header && memory->hugetlb) {
		memset(table->view.records + header, 0, (size_t)RECORD_BLOCK_BYTES - header);
		start = RECORD_BLOCK_BYTES;
	}
	start = start < header ? header : start;
	if (start >= stop)
		return 0;
	int rc;
	do
		rc = fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start,
			       (off_t)(stop - start))
			     ? errno
			     : 0;
	while (rc == EINTR);
	return -rc;
}

void record_memory_chunk_numbers(const struct record_table *table, uint32_t chunk, uint32_t *ret_first,
				 uint32_t *ret_end)
{
	const struct record_memory *memory = &table->memory;
	uint32_t base = chunk / memory->chunks_per_block << RECORD_BLOCK_INDEX_BITS;
	uint32_t first = chunk % memory->chunks_per_block * memory->chunk_records;
	uint32_t end = first + memory->chunk_records;

	if (end > memory->block_records)
		end = memory->block_records;
	*ret_first = base + first < memory->first_number ? memory->first_number : base + first;
	*ret_end = base + end;
}

/* The first chunk that nobody has taken, ready or not. Chunks that a helper thread is at work on are passed over: it
 * holds one block at most, and there is one to spare. */
static bool take_chunk(struct record_table *table)
{
	struct record_memory *memory = &table->memory;
	uint32_t chunk = memory->next_chunk;
	bool ready = false;

	for (; chunk < memory->chunk_count; chunk++) {
		uint8_t state = chunk_load(table, chunk);

		ready = state == CHUNK_READY;
		if (ready || (state == CHUNK_NONE && chunk_claim(table, chunk)))
			break;
	}
	if (chunk == memory->chunk_count)
		return false;
	chunk_store(table, chunk, CHUNK_IN_USE);
	__atomic_store_n(&memory->chunks_in_use, memory->chunks_in_use + 1, __ATOMIC_RELAXED);
	if (chunk >= memory->top_chunk)
		memory->top_chunk = chunk + 1;
	start_on_chunk(table, chunk, ready);
	while (memory->next_chunk < memory->chunk_count && chunk_load(table, memory->next_chunk) == CHUNK_IN_USE)
		__atomic_store_n(&memory->next_chunk, memory->next_chunk + 1, __ATOMIC_RELAXED);
	return true;
}

static void prefetch_record(const struct record_table *table, uint32_t number)
{
	const uint8_t *record = record_at(&table->view, number);

	for (uint32_t offset = 0; offset <= table->kind->tail_offset; offset += 64)
		__builtin_prefetch(record + offset, 1);
}

uint32_t record_memory_take(struct record_table *table)
{
	struct record_memory *memory = &table->memory;
	uint32_t number = memory->free_head;

	if (number) {
		memory->free_head = record_tail_at(table, number)->wheel_next;
		if (memory->free_head)
			prefetch_record(table, memory->free_head);
		return number;
	}
	/* A chunk may consist of header cells alone. */
	while (memory->fresh >= memory->fresh_end)
		if (!take_chunk(table))
			return 0;
	if (__builtin_expect(cell_end(table, memory->fresh) > memory->granted_bytes, 0) && grant_fresh(table))
		return 0;
	return memory->fresh++;
}

void record_memory_give(struct record_table *table, uint32_t number)
{
	record_tail_at(table, number)->wheel_next = table->memory.free_head;
	table->memory.free_head = number;
}

/* Helper thread: a whole untouched block as one huge page. All its chunks are claimed first, for a huge page takes
 * longer to clear than a worker that touched it could wait. Returns 0, -ENOSPC or 1: not to be had this way. */
static int prepare_block(struct record_table *table, uint32_t first)
{
	struct record_memory *memory = &table->memory;
	uint32_t end = first + memory->chunks_per_block, claimed = first;

	while (claimed < end && chunk_claim(table, claimed))
		claimed++;
	int rc = claimed < end;
	if (rc == 0) {
		madvise(table->view.records + chunk_offset(table, first), RECORD_BLOCK_BYTES, MADV_HUGEPAGE);
		rc = record_memory_prepare(table, first, end);
	}
	while (claimed-- > first)
		chunk_store(table, claimed, rc ? CHUNK_NONE : CHUNK_READY);
	return rc;
}

static int prepare_chunk(struct record_table *table, uint32_t chunk)
{
	if (chunk_load(table, chunk) != CHUNK_NONE)
		return 0;
	if (table->memory.advise_huge && chunk % table->memory.chunks_per_block == 0) {
		int rc = prepare_block(table, chunk);
		if (rc <= 0)
			return rc;
	}
	if (!chunk_claim(table, chunk))
		return 0;
	int rc = record_memory_prepare(table, chunk, chunk + 1);
	chunk_store(table, chunk, rc ? CHUNK_NONE : CHUNK_READY);
	return rc;
}

void record_memory_look(struct record_table *table)
{
	struct record_memory *memory = &table->memory;
	uint32_t chunks = __atomic_load_n(&memory->chunks_in_use, __ATOMIC_RELAXED);
	uint32_t pace = (chunks - memory->chunks_seen) * memory->chunk_records;

	memory->chunks_seen = chunks;
	if (!pace)
		return;
	pace = pace < AHEAD_ROUNDS_MAX / AHEAD_ROUNDS ? pace * AHEAD_ROUNDS : AHEAD_ROUNDS_MAX;
	memory->ahead -= memory->ahead / AHEAD_FADES;
	memory->ahead = memory->ahead > pace ? memory->ahead : pace;
}

/* How many cells should be ready behind those in use: a quarter of the records, or what the pace asks for. */
static uint32_t ahead_records(const struct record_memory *memory, uint32_t count)
{
	uint32_t ahead = count / 4 < AHEAD_RECORDS_MAX ? count / 4 : AHEAD_RECORDS_MAX;
	/* Huge pages take time: two of them. */
	uint32_t least = memory->advise_huge || memory->hugetlb ? 2 * memory->block_records : memory->chunk_records;

	ahead = ahead > memory->ahead ? ahead : memory->ahead;
	return ahead > least ? ahead : least;
}

int record_memory_grow_ahead(struct record_table *table)
{
	struct record_memory *memory = &table->memory;
	uint32_t count = __atomic_load_n(&table->count, __ATOMIC_RELAXED);
	uint32_t start = __atomic_load_n(&memory->next_chunk, __ATOMIC_RELAXED);
	/* The last chunk of a block is shorter than the others. */
	uint32_t used = start / memory->chunks_per_block * memory->block_records +
			start % memory->chunks_per_block * memory->chunk_records;
	uint32_t want = count + ahead_records(memory, count);

	used -= used < memory->first_number ? used : memory->first_number;
	/* Cells in use that are free again count as well. */
	want = count && count < table->max && want > used ? want - used : 0;
	uint32_t ahead = (want + memory->chunk_records - 1) / memory->chunk_records;
	for (uint32_t chunk = start; chunk < memory->chunk_count && chunk - start < ahead; chunk++) {
		int rc = prepare_chunk(table, chunk);
		if (rc)
			return rc;
	}
	return 0;
}
