/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory ahead of need: of entries, and of rules with their states, counters and index. What fails is left to the page
 * faults of whoever comes first. */
#include "device/flow/flow_priv.h"

#include <sys/mman.h>

enum {
	PAGE_BYTES = 4096,
	AHEAD_MIN = 1024, /* rules */
	AHEAD_MAX = 1 << 17,
	AHEAD_ROUNDS = 4, /* as many times what came between two looks … */
	AHEAD_FADES = 64, /* … which is forgotten by one part in so many at each look */
};

bool flow_grow_ahead(struct flow *flow)
{
	struct record_table *table = &flow->table;
	uint32_t entries = __atomic_load_n(&table->count, __ATOMIC_RELAXED), before = flow->entries_seen;

	record_memory_look(table);
	record_index_grow_ahead(table);
	record_memory_grow_ahead(table);
	flow->entries_seen = entries;
	return entries > before;
}

/* Whole pages that items from `first` up to `end` of an array are in. */
static void populate(void *array, size_t item_bytes, uint32_t first, uint32_t end)
{
	uintptr_t start = ((uintptr_t)array + first * item_bytes) & ~(uintptr_t)(PAGE_BYTES - 1);
	uintptr_t stop = ((uintptr_t)array + end * item_bytes + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1);

	madvise((void *)start, stop - start, MADV_POPULATE_WRITE);
}

/* Indices that should be ready, beyond those ever used. */
static uint32_t indices_wanted(const struct flow_client *client, struct flow_grown *grown, uint32_t top)
{
	uint32_t pace = (top - grown->seen) * AHEAD_ROUNDS;

	grown->seen = top;
	grown->ahead -= grown->ahead / AHEAD_FADES;
	grown->ahead = RTE_MAX(grown->ahead, pace);
	uint32_t ahead = RTE_MAX(RTE_MAX(grown->ahead, top / 4), (uint32_t)AHEAD_MIN);
	return RTE_MIN(top + RTE_MIN(ahead, (uint32_t)AHEAD_MAX), client->max_rules);
}

/* Workers without traffic count nothing. */
static bool forwards(const struct flow_switch *sw, unsigned worker)
{
	const struct flow_worker_stats *stats = &sw->stats[worker];

	return __atomic_load_n(&stats->hits, __ATOMIC_RELAXED) || __atomic_load_n(&stats->lookups, __ATOMIC_RELAXED);
}

static bool grow_client(struct flow_client *client)
{
	struct flow_switch *sw = client->sw;
	struct flow_grown *grown = &client->grown;
	uint32_t top = atomic_load_explicit(&client->top_index, memory_order_relaxed), before = grown->seen;
	uint32_t want = indices_wanted(client, grown, top), slot = flow_number(client, 0);

	if (grown->ready < want) {
		populate(&sw->actions[slot], sizeof(sw->actions[0]), grown->ready, want);
		populate(&sw->rules[slot], sizeof(sw->rules[0]), grown->ready, want);
		populate(client->states, sizeof(client->states[0]), grown->ready, want);
		grown->ready = want;
	}
	for (unsigned i = 0; i < sw->options.workers; i++) {
		if (grown->counters[i] >= want || !forwards(sw, i))
			continue;
		populate(atomic_load(&sw->counters[i][client->slot]), sizeof(struct eswitch_counter),
			 grown->counters[i], want);
		grown->counters[i] = want;
	}
	return top > before;
}

bool flow_switch_grow_ahead(struct flow_switch *sw)
{
	struct record_table *index = &sw->classifier.index;
	bool grew = false;

	index->memory.ahead = 0;
	for (unsigned slot = 1; slot < FLOW_SLOTS; slot++) {
		pthread_mutex_lock(&sw->grow_lock);
		struct flow_client *client = atomic_load(&sw->clients[slot]);
		if (client) {
			grew |= grow_client(client);
			index->memory.ahead += RTE_MAX(client->grown.ahead, (uint32_t)AHEAD_MIN);
		}
		pthread_mutex_unlock(&sw->grow_lock);
	}
	record_index_grow_ahead(index);
	return grew;
}
