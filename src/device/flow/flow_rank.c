/* SPDX-License-Identifier: BSD-3-Clause */
/* In which order the subtables of an in-port are searched: those first that were found most often lately. Workers count
 * what their searches find, each for itself; the writer sums up and sorts, some ports at a time. */
#include "device/flow/flow_priv.h"

#include <stdlib.h>

enum { MASKS_PER_TICK = 512 }; /* some ten microseconds; a port is not divided */
static const uint64_t ROUND_NS = UINT64_C(1000000000);

/* Since the last look, of all workers. */
static uint32_t found_since(const struct flow_switch *sw, unsigned port, uint16_t subtable, struct flow_rank *rank)
{
	uint32_t found = 0;

	for (unsigned i = 0; i < sw->options.workers; i++)
		found += atomic_load_explicit(&sw->classifier.found[i][port][subtable], memory_order_relaxed);
	uint32_t since = found - rank->seen;
	rank->seen = found;
	return since;
}

static int descending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x < y) - (x > y);
}

/* Half of the score is the last round's, a quarter that of the one before, and so on. Equal ones stay as they are. */
static void rank_port(struct flow_switch *sw, unsigned port, unsigned count)
{
	struct flow_classifier *c = &sw->classifier;
	uint64_t keys[FLOW_MAX_MASKS];
	uint16_t order[FLOW_MAX_MASKS];
	bool sorted = true;

	for (unsigned i = 0; i < count; i++) {
		uint16_t subtable = atomic_load_explicit(&c->ports[port].order[i], memory_order_relaxed);
		struct flow_rank *rank = &c->ranks[port][subtable];
		rank->score = rank->score / 2 + found_since(sw, port, subtable, rank) / 2;
		keys[i] = (uint64_t)rank->score << 32 | (uint64_t)(UINT16_MAX - i) << 16 | subtable;
		sorted = sorted && (i == 0 || keys[i] < keys[i - 1]);
	}
	if (sorted)
		return;
	qsort(keys, count, sizeof(keys[0]), descending);
	for (unsigned i = 0; i < count; i++)
		order[i] = (uint16_t)keys[i];
	flow_classifier_reorder(sw, port, order);
}

void flow_rank(struct flow_switch *sw, uint64_t now_ns)
{
	struct flow_classifier *c = &sw->classifier;
	unsigned masks = 0;

	if (c->rank_cursor == 0 && now_ns < c->rank_due_ns)
		return;
	if (c->rank_cursor == 0)
		c->rank_due_ns = now_ns + ROUND_NS;
	for (; c->rank_cursor < FLOW_PORTS && masks < MASKS_PER_TICK; c->rank_cursor++) {
		unsigned count = c->port_masks[c->rank_cursor];
		if (count < 2)
			continue;
		rank_port(sw, c->rank_cursor, count);
		masks += count;
	}
	if (c->rank_cursor == FLOW_PORTS)
		c->rank_cursor = 0;
}
