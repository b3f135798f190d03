/* SPDX-License-Identifier: BSD-3-Clause */
/* One-way entries: what a worker remembers of frames that it has looked up. They are records as sessions are, in
 * memory of nobody else's, and age by the same wheel. */
#include "device/flow/flow_priv.h"

#include <errno.h>

enum {
	DEFAULT_ENTRIES = 1 << 20,
	MAX_ENTRIES = 1 << 22,
	IDLE_TICKS = 10 * SESSION_TICKS_PER_SECOND,
	NEGATIVE_TICKS = 2 * SESSION_TICKS_PER_SECOND, /* entries that say "no rule" */
	TICK_BUDGET = 512,
};
static const uint64_t TICK_NS = UINT64_C(1000000000) / SESSION_TICKS_PER_SECOND;

#define SAME_PLACE(name)                                                                                               \
	(offsetof(struct flow_entry, name) - offsetof(struct flow_entry, own0) == offsetof(struct record_tail, name))
_Static_assert(SAME_PLACE(hash) && SAME_PLACE(deadline) && SAME_PLACE(wheel_next) && SAME_PLACE(wheel_prev) &&
		       SAME_PLACE(wheel_ahead),
	       "the second line of an entry is its tail");
#undef SAME_PLACE

static struct record_tail *tail_of(struct flow_entry *entry)
{
	return (struct record_tail *)&entry->own0;
}

static uint32_t deadline(const struct record_table *table, const void *record)
{
	const struct flow_entry *entry = record;

	(void)table;
	return entry->last_seen + (entry->rule == FLOW_NO_RULE ? NEGATIVE_TICKS : IDLE_TICKS);
}

static void expire(struct record_table *table, void *record, uint32_t number)
{
	struct flow_entry *entry = record;

	record_wheel_disarm(table, tail_of(entry));
	record_index_remove(table, entry->hash, number);
	record_memory_give(table, number);
	record_count_add(table, -1);
}

static const struct record_kind kind = { sizeof(struct flow_entry), offsetof(struct flow_entry, own0), deadline,
					 expire };

static int map(struct record_table *table, uint32_t max, bool hugetlb)
{
	record_memory_init(table, hugetlb);
	int rc = record_memory_map(table, -1, record_memory_blocks(table, max));
	if (rc)
		return rc;
	rc = record_memory_prepare_header(table);
	if (rc)
		record_memory_unmap(table);
	return rc;
}

uint32_t flow_entries_max(const struct flow_switch_options *options)
{
	uint32_t max = options->max_entries ? options->max_entries : DEFAULT_ENTRIES;

	return RTE_MIN(max, (uint32_t)MAX_ENTRIES);
}

int flow_entries_init(struct flow *flow, struct dpu_error *err)
{
	const struct flow_switch_options *options = &flow->sw->options;
	struct record_table *table = &flow->table;
	int rc = -ENOMEM;

	table->kind = &kind;
	table->max = flow_entries_max(options);
	if (options->huge_pages)
		rc = map(table, table->max, true);
	if (rc)
		rc = map(table, table->max, false);
	if (!rc)
		rc = record_index_init(table, table->max, options->huge_pages);
	if (rc) {
		flow_entries_fini(flow);
		return error_set(err, DPU_E_LIMIT, "max_entries", "there is no memory for %u entries", table->max);
	}
	table->memory.advise_huge = options->huge_pages && !table->memory.hugetlb;
	record_wheel_init(table, path_now(flow->path));
	return 0;
}

void flow_entries_fini(struct flow *flow)
{
	record_index_fini(&flow->table);
	record_memory_unmap(&flow->table);
}

static bool matches(const struct flow_entry *entry, const union flow_fields *key)
{
	return memcmp(entry->key, key->w, sizeof(entry->key)) == 0 &&
	       memcmp(entry->high, key->w + FLOW_LOW_WORDS, sizeof(entry->high)) == 0;
}

struct flow_entry *flow_entry_find(struct flow *flow, const union flow_fields *key, uint32_t hash)
{
	const struct record_table *table = &flow->table;
	const struct record_bucket *bucket = record_bucket_of(&table->view, hash);

	for (;;) {
		for (unsigned i = 0; i < RECORD_BUCKET_ENTRIES; i++) {
			if (bucket->hashes[i] != hash || !bucket->numbers[i])
				continue;
			struct flow_entry *entry = record_at(&table->view, bucket->numbers[i]);
			if (matches(entry, key))
				return entry;
		}
		uint32_t next = bucket->hashes[RECORD_BUCKET_ENTRIES];
		if (!next)
			return NULL;
		bucket = &table->index.overflow[next];
	}
}

struct flow_entry *flow_entry_new(struct flow *flow, const union flow_fields *key, uint32_t hash)
{
	struct record_table *table = &flow->table;
	uint32_t number = table->count < table->max ? record_memory_take(table) : 0;

	if (!number)
		return NULL;
	if (!record_index_insert(table, hash, number)) {
		record_memory_give(table, number);
		return NULL;
	}
	record_count_add(table, 1);
	struct flow_entry *entry = record_at(&table->view, number);
	*entry = (struct flow_entry){ .hash = hash, .last_seen = path_now(flow->path) };
	memcpy(entry->key, key->w, sizeof(entry->key));
	memcpy(entry->high, key->w + FLOW_LOW_WORDS, sizeof(entry->high));
	/* Looked at soon at first, for it may turn out to be negative. */
	record_wheel_arm(table, tail_of(entry), number, entry->last_seen + NEGATIVE_TICKS);
	return entry;
}

static uint64_t table_bytes(const struct record_table *table)
{
	return (uint64_t)table->memory.chunks_in_use * table->memory.chunk_bytes +
	       (uint64_t)table->view.bucket_count * sizeof(struct record_bucket);
}

uint64_t flow_tick(struct flow *flow, uint64_t now_ns)
{
	uint32_t now = (uint32_t)(now_ns / TICK_NS);
	unsigned expired = 0;

	if (flow->writes)
		flow_rank(flow->sw, now_ns);
	if ((int32_t)(now - flow->table.view.wheel_now) >= 0)
		expired = record_wheel_expire(&flow->table, now, TICK_BUDGET);
	__atomic_store_n(&flow->stats->entries, flow->table.count, __ATOMIC_RELAXED);
	__atomic_store_n(&flow->stats->entry_bytes, table_bytes(&flow->table), __ATOMIC_RELAXED);
	return expired == TICK_BUDGET ? 0 : 4 * TICK_NS;
}
