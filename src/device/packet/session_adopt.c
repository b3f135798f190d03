/* SPDX-License-Identifier: BSD-3-Clause */
/* Taking over the records that a former process left: every one is checked as if a stranger had written it. */
#include <netinet/in.h>
#include "device/packet/session_priv.h"

enum {
	MAX_TIMEOUT_TICKS = 7 * 86400 * SESSION_TICKS_PER_SECOND,
	PREFETCH = 8, /* records ahead, for the index */
};

static bool keys_are_good(const struct session_table *table, const struct session *session)
{
	struct flow_key key, other, reverse;

	session_key(table, session, 0, &key);
	session_key(table, session, 1, &other);
	flow_key_reverse(&key, &reverse);
	return flow_key_is_v6(&key) == (table->records.view.v6 != 0) &&
	       !(key.flags & ~(FLOW_KEY_F_V6 | FLOW_KEY_F_FRAGMENT)) && flow_key_equal(&other, &reverse) &&
	       flow_key_direction(&key) == 0 && flow_key_hash(&key, table->seed) == session->hash &&
	       (!table->records.view.v6 || !(session->dir[0].v4_addresses | session->dir[1].v4_addresses));
}

static bool tcp_is_good(const struct session *session)
{
	uint8_t proto = session->dir[0].rest >> 56;

	if (session->tcp_state > TCP_CLOSED)
		return false;
	if (proto != IPPROTO_TCP)
		return session->tcp_state == TCP_NONE && session->tcp_seen == 0;
	/* A reset cannot have come in after the end, nor before the beginning. */
	unsigned before = session->tcp_seen >> TCP_SEEN_BEFORE_SHIFT;
	return session->tcp_state == TCP_CLOSED ? before > TCP_NONE && before < TCP_TIME_WAIT : before == 0;
}

static session_tick_t not_later(session_tick_t tick, session_tick_t now)
{
	return (int32_t)(tick - now) > 0 ? now : tick;
}

bool session_validate(const struct session_table *table, struct session *session, session_tick_t now)
{
	if (session->state != SESSION_LIVE || session->initiator > 1 || session->timeout_ticks > MAX_TIMEOUT_TICKS ||
	    !keys_are_good(table, session) || !tcp_is_good(session))
		return false;
	session->created = not_later(session->created, now);
	for (unsigned i = 0; i < 2; i++) {
		struct session_dir *dir = &session->dir[i];

		dir->epoch = 0;
		dir->last_seen = not_later(dir->last_seen, now);
		dir->ops &= ~SESSION_OP_TRACK;
		if (session->tcp_state != TCP_NONE && session->tcp_state != TCP_ESTABLISHED)
			dir->ops |= SESSION_OP_TRACK;
	}
	return true;
}

/* Chunks that are said not to be in use may hold records all the same, which would come to life when the chunk is
 * taken: they become zeroes again. What cannot be made so is never used. */
static void wipe(struct session_table *table, uint32_t first, uint32_t end)
{
	struct record_memory *memory = &table->records.memory;

	/* What was only ready is made ready again when it is wanted. */
	uint8_t state = record_memory_wipe(&table->records, first, end) == 0 ? CHUNK_NONE : CHUNK_CLAIMED;

	memset(memory->chunks + first, state, end - first);
}

/* Grants the memory of chunks that are said to be in use again, which makes sure that no damaged map leads to memory
 * that is not there. In long runs, for most of the time goes to the kernel. */
static void adopt_chunks(struct session_table *table)
{
	struct record_memory *memory = &table->records.memory;

	for (uint32_t first = 0, end; first < memory->chunk_count; first = end) {
		for (end = first; end < memory->chunk_count && memory->chunks[end] == CHUNK_IN_USE;)
			end++;
		bool granted = end == first || record_memory_prepare(&table->records, first, end) == 0;

		for (uint32_t chunk = first; chunk < end; chunk++) {
			if (!granted && record_memory_prepare(&table->records, chunk, chunk + 1) &&
			    !record_memory_resume(&table->records, chunk)) {
				memory->chunks[chunk] = CHUNK_NONE; /* there is no memory, so no record */
				continue;
			}
			memory->chunks_in_use++;
			memory->top_chunk = chunk + 1;
		}
		first = end;
		while (end < memory->chunk_count && memory->chunks[end] != CHUNK_IN_USE)
			end++;
		if (end > first)
			wipe(table, first, end);
	}
}

static void discard(struct session_table *table, struct session *session, uint32_t number)
{
	session->state = SESSION_FREE;
	record_memory_give(&table->records, number);
}

/* Calls fn for every cell that may hold a record. */
static void each_cell(struct session_table *table, session_tick_t now,
		      void (*fn)(struct session_table *table, struct session *session, uint32_t number,
				 session_tick_t now))
{
	const struct record_memory *memory = &table->records.memory;

	for (uint32_t chunk = 0; chunk < memory->top_chunk; chunk++) {
		uint32_t number, end;

		if (memory->chunks[chunk] != CHUNK_IN_USE)
			continue;
		record_memory_chunk_numbers(&table->records, chunk, &number, &end);
		if (record_memory_is_fresh(memory, end - 1))
			end = memory->fresh;
		for (; number < end; number++) {
			if (end - number > PREFETCH)
				session_lookup_prefetch(table,
							session_at(&table->records.view, number + PREFETCH)->hash);
			fn(table, session_at(&table->records.view, number), number, now);
		}
	}
}

/* First round: how many are good? */
static void check(struct session_table *table, struct session *session, uint32_t number, session_tick_t now)
{
	if (table->records.count < table->records.max && session_validate(table, session, now))
		table->records.count++;
	else
		discard(table, session, number);
}

/* Second round, with an index of the right size. Of two records of one key the second goes. */
static void enter(struct session_table *table, struct session *session, uint32_t number, session_tick_t now)
{
	struct flow_key key;
	unsigned direction;

	if (session->state != SESSION_LIVE)
		return;
	session_key(table, session, 0, &key);
	if (session_find(table, &key, session->hash, &direction) ||
	    !record_index_insert(&table->records, session->hash, number)) {
		table->records.count--;
		discard(table, session, number);
		return;
	}
	record_wheel_arm(&table->records, session_tail(session), number,
			 session_last_seen(session) + session_effective_timeout(session));
}

void session_adopt(struct session_table *table, session_tick_t now)
{
	adopt_chunks(table);
	table->records.memory.chunks_seen = table->records.memory.chunks_in_use; /* what was there is no growth */
	each_cell(table, now, check);
	record_index_presize(&table->records, table->records.count);
	each_cell(table, now, enter);
}
