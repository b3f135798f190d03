/* SPDX-License-Identifier: BSD-3-Clause */
/* Ageing of records: a hierarchical timer wheel, linked by record number, that packets never touch.
 *
 * A record is armed once, at its deadline as known then; when the wheel comes by it looks at what was seen since and
 * arms it again or expires it. Level 0 has a slot per tick; a slot of a higher level is looked at when the time it
 * stands for begins, and its records go down a level. */
#include "device/packet/record_priv.h"

enum { TICKS_PER_CALL = 4096 /* empty ticks cost a load each */ };

static const struct {
	uint8_t shift; /* of the tick: ticks per slot */
	uint16_t slots, first;
} levels[WHEEL_LEVELS] = {
	{ 0, 4096, 0 },
	{ 12, 256, 4096 },
	{ 20, 256, 4096 + 256 },
	{ 28, 16, 4096 + 256 + 256 },
};

void record_wheel_init(struct record_table *table, uint32_t now)
{
	table->wheel = (struct record_wheel){ 0 };
	table->view.wheel_now = now;
}

static uint32_t slot_of(unsigned level, uint32_t tick)
{
	return levels[level].first + (tick >> levels[level].shift & (levels[level].slots - 1));
}

void record_wheel_arm(struct record_table *table, struct record_tail *tail, uint32_t number, uint32_t deadline)
{
	struct record_wheel *wheel = &table->wheel;
	uint32_t now = table->view.wheel_now;
	unsigned level = 0;

	if ((int32_t)(deadline - now) < 0)
		deadline = now;
	while (level < WHEEL_LEVELS - 1 && deadline - now >= (uint32_t)levels[level].slots << levels[level].shift)
		level++;

	uint32_t slot = slot_of(level, deadline), next = wheel->heads[slot];

	tail->deadline = deadline;
	tail->wheel_next = next;
	tail->wheel_prev = WHEEL_HEAD | slot;
	if (next)
		record_tail_at(table, next)->wheel_prev = number;
	wheel->heads[slot] = number;

	uint32_t *armed = &wheel->armed[wheel->armed_next++ % WHEEL_AHEAD];
	tail->wheel_ahead = *armed;
	*armed = number;
}

void record_wheel_disarm(struct record_table *table, struct record_tail *tail)
{
	uint32_t next = tail->wheel_next, prev = tail->wheel_prev;

	if (prev & WHEEL_HEAD)
		table->wheel.heads[prev & ~WHEEL_HEAD] = next;
	else
		record_tail_at(table, prev)->wheel_next = next;
	if (next)
		record_tail_at(table, next)->wheel_prev = prev;
}

/* Memory of the records behind: all lines of one that comes in WHEEL_AHEAD looks, and the bucket of one that comes in
 * half as many. Hints may be out of date, but they always name a cell in use. */
static void look_ahead(const struct record_table *table, const struct record_tail *tail, uint32_t *soon)
{
	if (tail->wheel_ahead) {
		const uint8_t *ahead = (const uint8_t *)record_tail_at(table, tail->wheel_ahead);

		for (uint32_t before = 0; before <= table->kind->tail_offset; before += 64)
			__builtin_prefetch(ahead - before, 1);
	}
	if (*soon)
		__builtin_prefetch(record_bucket_of(&table->view, record_tail_at(table, *soon)->hash), 1);
	*soon = tail->wheel_ahead;
}

/* Returns whether the record has expired. */
static bool look(struct record_table *table, struct record_tail *tail, uint32_t number, uint32_t now)
{
	void *record = (uint8_t *)tail - table->kind->tail_offset;
	uint32_t deadline = tail->deadline;

	if ((int32_t)(deadline - now) <= 0)
		deadline = table->kind->deadline(table, record);
	if ((int32_t)(deadline - now) <= 0) {
		table->kind->expire(table, record, number);
		return true;
	}
	record_wheel_disarm(table, tail);
	record_wheel_arm(table, tail, number, deadline);
	return false;
}

/* Empties one slot as far as the budget goes; false when that was not enough. */
static bool drain(struct record_table *table, uint32_t slot, uint32_t now, unsigned *budget, unsigned *expired)
{
	uint32_t soon[WHEEL_AHEAD / 2] = { 0 };
	uint32_t number;

	while ((number = table->wheel.heads[slot])) {
		struct record_tail *tail = record_tail_at(table, number);

		if (!*budget)
			return false;
		look_ahead(table, tail, &soon[*budget % (WHEEL_AHEAD / 2)]);
		--*budget;
		*expired += look(table, tail, number, now);
	}
	return true;
}

/* All slots whose time begins at this tick, the highest level first. */
static bool drain_tick(struct record_table *table, uint32_t now, unsigned *budget, unsigned *expired)
{
	uint32_t tick = table->view.wheel_now;

	for (unsigned level = WHEEL_LEVELS; level--;) {
		uint32_t slot_ticks = UINT32_C(1) << levels[level].shift;

		if (!(tick & (slot_ticks - 1)) && !drain(table, slot_of(level, tick), now, budget, expired))
			return false;
	}
	return true;
}

unsigned record_wheel_expire(struct record_table *table, uint32_t now, unsigned budget)
{
	unsigned expired = 0;

	for (unsigned ticks = 0; ticks < TICKS_PER_CALL && (int32_t)(now - table->view.wheel_now) >= 0; ticks++) {
		if (!drain_tick(table, now, &budget, &expired))
			break;
		table->view.wheel_now++;
	}
	return expired;
}
