/* SPDX-License-Identifier: BSD-3-Clause */
/* Ageing of sessions: a hierarchical timer wheel, linked by session number, that packets never touch.
 *
 * A session is armed once, at its deadline as known then; when the wheel comes by it looks at what was seen since and
 * arms it again or expires it. Level 0 has a slot per tick; a slot of a higher level is looked at when the time it
 * stands for begins, and its sessions go down a level. */
#include "device/packet/session_priv.h"

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

void session_wheel_init(struct session_table *table, session_tick_t now)
{
	table->wheel = (struct session_wheel){ 0 };
	table->view.wheel_now = now;
}

static uint32_t slot_of(unsigned level, session_tick_t tick)
{
	return levels[level].first + (tick >> levels[level].shift & (levels[level].slots - 1));
}

void session_wheel_arm(struct session_table *table, struct session *session, uint32_t number, session_tick_t deadline)
{
	struct session_wheel *wheel = &table->wheel;
	session_tick_t now = table->view.wheel_now;
	unsigned level = 0;

	if ((int32_t)(deadline - now) < 0)
		deadline = now;
	while (level < WHEEL_LEVELS - 1 && deadline - now >= (uint32_t)levels[level].slots << levels[level].shift)
		level++;

	uint32_t slot = slot_of(level, deadline), next = wheel->heads[slot];

	session->deadline = deadline;
	session->wheel_next = next;
	session->wheel_prev = WHEEL_HEAD | slot;
	if (next)
		session_at(&table->view, next)->wheel_prev = number;
	wheel->heads[slot] = number;

	uint32_t *armed = &wheel->armed[wheel->armed_next++ % WHEEL_AHEAD];
	session->wheel_ahead = *armed;
	*armed = number;
}

void session_wheel_disarm(struct session_table *table, struct session *session)
{
	uint32_t next = session->wheel_next, prev = session->wheel_prev;

	if (prev & WHEEL_HEAD)
		table->wheel.heads[prev & ~WHEEL_HEAD] = next;
	else
		session_at(&table->view, prev)->wheel_next = next;
	if (next)
		session_at(&table->view, next)->wheel_prev = prev;
}

uint32_t session_effective_timeout(const struct session *session)
{
	uint32_t timeout = session->timeout_ticks;

	if (session->tcp_state != TCP_NONE || !session->dir[0].packets || !session->dir[1].packets ||
	    session_last_seen(session) - session->created <= SESSION_STREAM_SECONDS * SESSION_TICKS_PER_SECOND)
		return timeout;
	uint32_t stream = session_stream_timeout(session->dir[0].rest >> 56);
	return stream > timeout ? stream : timeout;
}

/* Memory of the sessions behind: all lines of one that comes in WHEEL_AHEAD looks, and the bucket of one that comes in
 * half as many. Hints may be out of date, but they always name a cell in use. */
static void look_ahead(const struct session_table *table, const struct session *session, uint32_t *soon)
{
	if (session->wheel_ahead) {
		const struct session *ahead = session_at(&table->view, session->wheel_ahead);

		__builtin_prefetch(&ahead->state, 1);
		__builtin_prefetch(&ahead->dir[0], 1);
		__builtin_prefetch(&ahead->dir[1], 1);
	}
	if (*soon)
		__builtin_prefetch(session_bucket_of(&table->view, session_at(&table->view, *soon)->hash), 1);
	*soon = session->wheel_ahead;
}

/* Returns whether the session has expired. */
static bool look(struct session_table *table, struct session *session, uint32_t number, session_tick_t now)
{
	session_tick_t deadline = session->deadline;

	if ((int32_t)(deadline - now) <= 0)
		deadline = session_last_seen(session) + session_effective_timeout(session);
	if ((int32_t)(deadline - now) <= 0) {
		session_destroy(table, session, number);
		return true;
	}
	session_wheel_disarm(table, session);
	session_wheel_arm(table, session, number, deadline);
	return false;
}

/* Empties one slot as far as the budget goes; false when that was not enough. */
static bool drain(struct session_table *table, uint32_t slot, session_tick_t now, unsigned *budget, unsigned *expired)
{
	uint32_t soon[WHEEL_AHEAD / 2] = { 0 };
	uint32_t number;

	while ((number = table->wheel.heads[slot])) {
		struct session *session = session_at(&table->view, number);

		if (!*budget)
			return false;
		look_ahead(table, session, &soon[*budget % (WHEEL_AHEAD / 2)]);
		--*budget;
		*expired += look(table, session, number, now);
	}
	return true;
}

/* All slots whose time begins at this tick, the highest level first. */
static bool drain_tick(struct session_table *table, session_tick_t now, unsigned *budget, unsigned *expired)
{
	session_tick_t tick = table->view.wheel_now;

	for (unsigned level = WHEEL_LEVELS; level--;) {
		uint32_t slot_ticks = UINT32_C(1) << levels[level].shift;

		if (!(tick & (slot_ticks - 1)) && !drain(table, slot_of(level, tick), now, budget, expired))
			return false;
	}
	return true;
}

unsigned session_table_expire(struct session_table *table, session_tick_t now, unsigned budget)
{
	unsigned expired = 0;

	for (unsigned ticks = 0; ticks < TICKS_PER_CALL && (int32_t)(now - table->view.wheel_now) >= 0; ticks++) {
		if (!drain_tick(table, now, &budget, &expired))
			break;
		table->view.wheel_now++;
	}
	return expired;
}
