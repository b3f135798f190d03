/* SPDX-License-Identifier: BSD-3-Clause */
/* The hash index of a table: linear hashing over buckets of one cache line.
 *
 * A full bucket continues in overflow buckets. When the mean load reaches RECORD_BUCKET_LOAD an insertion splits one
 * bucket, in order, so that the index grows a little with every insertion and never as a whole. Entries hold the full
 * hash: splitting touches no record. The arrays are reserved address space that fills up with use. */
#include "device/packet/record_priv.h"

#include <errno.h>
#include <sys/mman.h>

enum {
	ENTRIES = RECORD_BUCKET_ENTRIES,
	LINK = RECORD_BUCKET_ENTRIES, /* hashes[LINK] is the overflow bucket */
	HUGE_BYTES = 2 << 20,
	SMALL_STEP_BYTES = 64 << 10,
	AHEAD_BYTES_MAX = 2 << 20,
};

/* An index may have readers in other threads, who check by other means that nothing moved while they looked (the flow
 * engine's classifier): every word is written whole, and an entry's number before its hash. */
static void put(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static void entry_set(struct record_bucket *bucket, unsigned place, uint32_t hash, uint32_t number)
{
	put(&bucket->numbers[place], number);
	put(&bucket->hashes[place], hash);
}

/* A free entry matches no lookup: its hash leads to another bucket. */
static void entry_free(struct record_bucket *bucket, unsigned place)
{
	entry_set(bucket, place, bucket->hashes[place] ^ 1, 0);
}

static void bucket_clear(struct record_bucket *bucket)
{
	for (unsigned i = 0; i < ENTRIES; i++)
		entry_set(bucket, i, 0, 0);
	put(&bucket->hashes[LINK], 0);
}

static struct record_bucket *next_bucket(const struct record_table *table, const struct record_bucket *bucket)
{
	uint32_t next = bucket->hashes[LINK];
	return next ? &table->index.overflow[next] : NULL;
}

int record_index_init(struct record_table *table, uint32_t max, bool huge_pages)
{
	struct record_index *index = &table->index;
	uint32_t limit = max / RECORD_BUCKET_LOAD + 1;

	index->bucket_limit = limit < RECORD_MIN_BUCKETS ? RECORD_MIN_BUCKETS : limit;
	index->overflow_limit = index->bucket_limit / 4 + 1024;
	size_t buckets = (size_t)index->bucket_limit * sizeof(struct record_bucket);
	size_t overflow = (size_t)index->overflow_limit * sizeof(struct record_bucket);
	/* Buckets, rounded up, so that huge pages end with them, then overflow buckets. */
	buckets = (buckets + HUGE_BYTES - 1) & ~(size_t)(HUGE_BYTES - 1);
	size_t bytes = buckets + overflow + HUGE_BYTES;
	uint8_t *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (start == MAP_FAILED)
		return -ENOMEM;
	size_t head = -(uintptr_t)start & (HUGE_BYTES - 1);
	if (head)
		munmap(start, head);
	munmap(start + head + buckets + overflow, HUGE_BYTES - head);
	start += head;
	madvise(start, buckets + overflow, MADV_DONTDUMP);
	if (huge_pages && madvise(start, HUGE_BYTES, MADV_HUGEPAGE) == 0)
		madvise(start, HUGE_BYTES, MADV_POPULATE_WRITE);
	index->mapped_bytes = buckets + overflow;
	index->overflow = (struct record_bucket *)(start + buckets);
	index->overflow_used = 1;
	table->view.buckets = (struct record_bucket *)start;
	table->view.bucket_count = RECORD_MIN_BUCKETS;
	table->view.bucket_mask = RECORD_MIN_BUCKETS - 1;
	return 0;
}

void record_index_fini(struct record_table *table)
{
	if (table->view.buckets)
		munmap(table->view.buckets, table->index.mapped_bytes);
	table->view.buckets = NULL;
}

void record_index_presize(struct record_table *table, uint32_t count)
{
	uint32_t buckets = count / RECORD_BUCKET_LOAD + 1;

	if (buckets > table->index.bucket_limit)
		buckets = table->index.bucket_limit;
	if (buckets <= table->view.bucket_count)
		return;
	table->view.bucket_count = buckets;
	while (table->view.bucket_mask < buckets - 1)
		table->view.bucket_mask = table->view.bucket_mask * 2 + 1;
	record_index_grow_ahead(table);
}

static uint32_t overflow_new(struct record_index *index)
{
	uint32_t number = index->overflow_free;

	if (number) {
		index->overflow_free = index->overflow[number].hashes[LINK];
	} else if (index->overflow_used < index->overflow_limit) {
		number = index->overflow_used;
		__atomic_store_n(&index->overflow_used, number + 1, __ATOMIC_RELAXED);
	} else {
		return 0;
	}
	bucket_clear(&index->overflow[number]);
	return number;
}

static void overflow_free(struct record_index *index, uint32_t number)
{
	put(&index->overflow[number].hashes[LINK], index->overflow_free);
	index->overflow_free = number;
}

static bool bucket_put(struct record_bucket *bucket, uint32_t hash, uint32_t number)
{
	for (unsigned i = 0; i < ENTRIES; i++) {
		if (!bucket->numbers[i]) {
			entry_set(bucket, i, hash, number);
			return true;
		}
	}
	return false;
}

static bool chain_put(struct record_table *table, struct record_bucket *bucket, uint32_t hash, uint32_t number)
{
	unsigned length = 1;

	while (!bucket_put(bucket, hash, number)) {
		if (!bucket->hashes[LINK]) {
			uint32_t link = length < RECORD_MAX_CHAIN ? overflow_new(&table->index) : 0;
			if (!link)
				return false;
			put(&bucket->hashes[LINK], link);
		}
		bucket = next_bucket(table, bucket);
		length++;
	}
	return true;
}

/* Takes all entries out of a chain and frees its overflow buckets. */
static unsigned chain_empty(struct record_table *table, struct record_bucket *first, uint32_t *hashes,
			    uint32_t *numbers)
{
	unsigned count = 0;
	uint32_t link = first->hashes[LINK];

	for (struct record_bucket *bucket = first; bucket; bucket = next_bucket(table, bucket)) {
		for (unsigned i = 0; i < ENTRIES; i++) {
			if (!bucket->numbers[i])
				continue;
			hashes[count] = bucket->hashes[i];
			numbers[count++] = bucket->numbers[i];
		}
	}
	while (link) {
		uint32_t next = table->index.overflow[link].hashes[LINK];
		overflow_free(&table->index, link);
		link = next;
	}
	bucket_clear(first);
	return count;
}

/* Splits the bucket whose turn it is. Needs no more overflow buckets than it frees. */
static void split(struct record_table *table)
{
	struct record_view *view = &table->view;
	uint32_t hashes[RECORD_MAX_CHAIN * ENTRIES], numbers[RECORD_MAX_CHAIN * ENTRIES];

	if (view->bucket_count > view->bucket_mask)
		put(&view->bucket_mask, view->bucket_mask * 2 + 1);
	struct record_bucket *old = &view->buckets[view->bucket_count & view->bucket_mask >> 1];
	unsigned count = chain_empty(table, old, hashes, numbers);

	put(&view->bucket_count, view->bucket_count + 1);
	/* The next one is split soon. */
	__builtin_prefetch(old + 1, 1);
	__builtin_prefetch(&view->buckets[view->bucket_count], 1);
	for (unsigned i = 0; i < count; i++)
		chain_put(table, record_bucket_of(view, hashes[i]), hashes[i], numbers[i]);
}

bool record_index_insert(struct record_table *table, uint32_t hash, uint32_t number)
{
	const struct record_view *view = &table->view;

	if (!chain_put(table, record_bucket_of(view, hash), hash, number))
		return false;
	/* Two at most, so that an index that fell behind catches up without a pause. */
	for (unsigned i = 0; i < 2; i++)
		if (table->count >= (uint64_t)view->bucket_count * RECORD_BUCKET_LOAD &&
		    view->bucket_count < table->index.bucket_limit)
			split(table);
	return true;
}

/* Moves the last entry of the chain into the place that has become free, so that only the last bucket has gaps. */
static void fill_gap(struct record_table *table, struct record_bucket *gap, unsigned place)
{
	struct record_bucket *before = NULL, *last = gap;

	while (last->hashes[LINK]) {
		before = last;
		last = next_bucket(table, last);
	}
	if (!before)
		return;
	unsigned used = 0, from = 0;
	for (unsigned i = 0; i < ENTRIES; i++) {
		if (last->numbers[i]) {
			used++;
			from = i;
		}
	}
	entry_set(gap, place, last->hashes[from], last->numbers[from]);
	entry_free(last, from);
	if (used == 1) {
		overflow_free(&table->index, before->hashes[LINK]);
		put(&before->hashes[LINK], 0);
	}
}

/* An overflow bucket that its last entry left is freed; bucket is the chain's first. */
static void drop_empty_tail(struct record_table *table, struct record_bucket *bucket)
{
	while (bucket->hashes[LINK]) {
		struct record_bucket *next = next_bucket(table, bucket);
		uint32_t used = 0;

		for (unsigned i = 0; i < ENTRIES; i++)
			used |= next->numbers[i];
		if (!used && !next->hashes[LINK]) {
			overflow_free(&table->index, bucket->hashes[LINK]);
			put(&bucket->hashes[LINK], 0);
			return;
		}
		bucket = next;
	}
}

void record_index_remove(struct record_table *table, uint32_t hash, uint32_t number)
{
	struct record_bucket *first = record_bucket_of(&table->view, hash);

	for (struct record_bucket *bucket = first; bucket; bucket = next_bucket(table, bucket)) {
		for (unsigned i = 0; i < ENTRIES; i++) {
			if (bucket->numbers[i] != number)
				continue;
			entry_free(bucket, i);
			if (bucket->hashes[LINK])
				fill_gap(table, bucket, i);
			else if (bucket != first)
				drop_empty_tail(table, first);
			return;
		}
	}
}

/* Populates an array ahead of its use; *ready is how far it has come. What fails is left to the worker's page faults,
 * and so is the rest of a huge page that the worker has come to before: huge pages are advised for whole ones alone. */
static void populate_ahead(void *array, size_t *ready, size_t used, size_t ahead, size_t limit, bool huge)
{
	size_t step = huge ? HUGE_BYTES : SMALL_STEP_BYTES;
	size_t want = used + ahead < limit ? used + ahead : limit;

	if (*ready < used)
		*ready = used & ~(size_t)4095;
	while (*ready < want) {
		uint8_t *start = (uint8_t *)array + *ready;
		size_t end = (*ready + step) & ~(step - 1);

		end = end < limit ? end : limit;
		if (huge && end - *ready == HUGE_BYTES)
			madvise(start, HUGE_BYTES, MADV_HUGEPAGE);
		if (madvise(start, end - *ready, MADV_POPULATE_WRITE))
			return;
		*ready = end;
	}
}

/* Bytes of an array that should be ready behind those in use: a quarter as much within limits, or what as many records
 * as memory is prepared for will need. With huge pages a whole one is always in reserve: the worker must not be
 * the one who has to clear it. */
static size_t ahead_bytes(const struct record_table *table, size_t used, bool huge)
{
	size_t ahead = used / 4 < AHEAD_BYTES_MAX ? used / 4 : AHEAD_BYTES_MAX;
	size_t pace = (size_t)table->memory.ahead / RECORD_BUCKET_LOAD * sizeof(struct record_bucket);

	ahead = ahead > pace ? ahead : pace;
	return huge && ahead < HUGE_BYTES ? HUGE_BYTES : ahead;
}

/* Helper thread: maps the pages that the next splits will write. */
void record_index_grow_ahead(struct record_table *table)
{
	struct record_index *index = &table->index;
	size_t used = (size_t)__atomic_load_n(&table->view.bucket_count, __ATOMIC_RELAXED) * 64;
	size_t overflow = (size_t)__atomic_load_n(&index->overflow_used, __ATOMIC_RELAXED) * 64;
	size_t limit = (size_t)((uint8_t *)index->overflow - (uint8_t *)table->view.buckets);
	bool huge = table->memory.advise_huge || table->memory.hugetlb;

	populate_ahead(table->view.buckets, &index->ready_bytes, used, ahead_bytes(table, used, huge), limit, huge);
	/* As a rule they are a twentieth of the buckets, and grow no faster than a quarter as much. */
	populate_ahead(index->overflow, &index->overflow_ready_bytes, overflow, ahead_bytes(table, overflow, false) / 4,
		       (size_t)index->overflow_limit * 64 & ~(size_t)4095, false);
}
