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
	AHEAD_RECORDS_MAX = 1 << 16,
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

/* Memory that is certain to be there when it is touched. mapped: page faults are taken now, all of them. */
static int grant(struct record_table *table, size_t offset, size_t bytes, bool mapped)
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
	if (!mapped && !memory->hugetlb)
		return 0;
	/* Private small pages need no grant: there is no file system to be full. */
	return populate(table->view.records + offset, bytes, memory->fd >= 0 || !memory->hugetlb);
}

int record_memory_prepare_header(struct record_table *table)
{
	const struct record_memory *memory = &table->memory;
	size_t bytes = (size_t)RECORD_HEADER_CHUNKS * RECORD_SMALL_CHUNK * table->view.record_bytes;

	return grant(table, 0, memory->hugetlb ? (size_t)RECORD_BLOCK_BYTES : bytes, true);
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

	return grant(table, offset, chunk_offset(table, end) - offset, true);
}

/* By the worker itself: page faults wait for the cells that are used, a few in each burst instead of all in one. */
static int prepare_in_worker(struct record_table *table, uint32_t chunk)
{
	size_t offset = chunk_offset(table, chunk);

	return grant(table, offset, chunk_offset(table, chunk + 1) - offset, false);
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

/* The first chunk that nobody has taken and that is ready or can be made so. Chunks that a helper thread is at work on
 * are passed over: it holds one block at most, and there is one to spare. */
static bool take_chunk(struct record_table *table)
{
	struct record_memory *memory = &table->memory;
	uint32_t chunk = memory->next_chunk;

	for (; chunk < memory->chunk_count; chunk++) {
		uint8_t state = chunk_load(table, chunk);

		if (state == CHUNK_READY)
			break;
		if (state == CHUNK_NONE && chunk_claim(table, chunk)) {
			if (prepare_in_worker(table, chunk) == 0)
				break;
			chunk_store(table, chunk, CHUNK_NONE);
			return false;
		}
	}
	if (chunk == memory->chunk_count)
		return false;
	chunk_store(table, chunk, CHUNK_IN_USE);
	memory->chunks_in_use++;
	if (chunk >= memory->top_chunk)
		memory->top_chunk = chunk + 1;
	record_memory_chunk_numbers(table, chunk, &memory->fresh, &memory->fresh_end);
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

/* How many cells should be ready, those in use included: a quarter more than now, within limits. */
static uint32_t wanted_records(const struct record_table *table, uint32_t count)
{
	const struct record_memory *memory = &table->memory;
	uint32_t ahead = count / 4;

	if (!count || count >= table->max)
		return 0;
	if (ahead < memory->chunk_records)
		ahead = memory->chunk_records;
	/* Huge pages take time: two of them. */
	if ((memory->advise_huge || memory->hugetlb) && ahead < 2 * memory->block_records)
		ahead = 2 * memory->block_records;
	return count + (ahead < AHEAD_RECORDS_MAX ? ahead : AHEAD_RECORDS_MAX);
}

int record_memory_grow_ahead(struct record_table *table)
{
	struct record_memory *memory = &table->memory;
	uint32_t count = __atomic_load_n(&table->count, __ATOMIC_RELAXED);
	uint32_t start = __atomic_load_n(&memory->next_chunk, __ATOMIC_RELAXED);
	/* The last chunk of a block is shorter than the others. */
	uint32_t used = start / memory->chunks_per_block * memory->block_records +
			start % memory->chunks_per_block * memory->chunk_records;
	uint32_t want = wanted_records(table, count);

	/* Cells in use that are free again count as well. */
	used -= used < memory->first_number ? used : memory->first_number;
	want = want > used ? want - used : 0;
	uint32_t ahead = (want + memory->chunk_records - 1) / memory->chunk_records;
	for (uint32_t chunk = start; chunk < memory->chunk_count && chunk - start < ahead; chunk++) {
		int rc = prepare_chunk(table, chunk);
		if (rc)
			return rc;
	}
	return 0;
}
