/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of a session: found, made, published, removed. */
#include "device/packet/session.h"

#include <stddef.h>
#include "device/packet/session_priv.h"

struct session *session_find(struct session_table *table, const struct flow_key *key, uint32_t hash,
			     unsigned *ret_direction)
{
	const struct record_view *view = &table->records.view;
	const struct record_bucket *bucket = record_bucket_of(view, hash);
	unsigned canonical = flow_key_direction(key);

	if (flow_key_is_v6(key) != (view->v6 != 0))
		return NULL;
	for (;;) {
		for (unsigned i = 0; i < RECORD_BUCKET_ENTRIES; i++) {
			uint32_t number = bucket->numbers[i];

			if (bucket->hashes[i] != hash || !number)
				continue;
			struct session *session = session_at(view, number & SESSION_NUMBER_MASK);
			unsigned direction = canonical ^ number >> 31;
			if (session_matches(session, direction, key)) {
				*ret_direction = direction;
				return session;
			}
		}
		uint32_t next = bucket->hashes[RECORD_BUCKET_ENTRIES];
		if (!next)
			return NULL;
		bucket = &table->records.index.overflow[next];
	}
}

static void set_key(struct session_table *table, struct session *session, unsigned direction,
		    const struct flow_key *key)
{
	session->dir[direction].rest = key->rest;
	if (table->records.view.v6)
		memcpy(((struct session_v6 *)session)->address[direction], &key->v6, sizeof(key->v6));
	else
		session->dir[direction].v4_addresses = flow_key_load64(&key->v4);
}

struct session *session_new(struct session_table *table, const struct flow_key *key, uint32_t hash, session_tick_t now)
{
	if (flow_key_is_v6(key) != (table->records.view.v6 != 0) || table->records.count >= table->records.max)
		return NULL;
	uint32_t number = record_memory_take(&table->records);
	if (!number)
		return NULL;
	if (!record_index_insert(&table->records, hash, number)) {
		record_memory_give(&table->records, number);
		return NULL;
	}
	record_count_add(&table->records, 1);

	struct session *session = session_at(&table->records.view, number);
	unsigned direction = flow_key_direction(key);
	struct flow_key reverse;

	memset(session, 0, table->records.view.record_bytes);
	flow_key_reverse(key, &reverse);
	set_key(table, session, direction, key);
	set_key(table, session, !direction, &reverse);
	session->dir[0].last_seen = session->dir[1].last_seen = now;
	session->initiator = direction;
	session->created = now;
	session->hash = hash;
	return session;
}

void session_publish(struct session_table *table, struct session *session, uint32_t timeout_ticks)
{
	session->timeout_ticks = timeout_ticks;
	record_wheel_arm(&table->records, session_tail(session), session_number(table, session),
			 session_last_seen(session) + timeout_ticks);
	__atomic_store_n(&session->state, SESSION_LIVE, __ATOMIC_RELEASE);
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

void session_destroy(struct session_table *table, struct session *session, uint32_t number)
{
	if (session->state == SESSION_LIVE) {
		if (table->on_remove)
			table->on_remove(table->ctx, session);
		__atomic_store_n(&session->state, SESSION_FREE, __ATOMIC_RELEASE);
		/* Nothing below may reach memory before the record is dead. */
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		record_wheel_disarm(&table->records, session_tail(session));
	}
	record_index_remove(&table->records, session->hash, number);
	record_memory_give(&table->records, number);
	record_count_add(&table->records, -1);
}

static uint32_t deadline(const struct record_table *records, const void *record)
{
	const struct session *session = record;

	(void)records;
	return session_last_seen(session) + session_effective_timeout(session);
}

static void expire(struct record_table *records, void *record, uint32_t number)
{
	session_destroy((struct session_table *)records, record, number);
}

const struct record_kind *session_kind(bool v6)
{
	static const struct record_kind kinds[2] = {
		{ sizeof(struct session), offsetof(struct session, state), deadline, expire },
		{ sizeof(struct session_v6), offsetof(struct session, state), deadline, expire },
	};
	return &kinds[v6];
}

unsigned session_table_expire(struct session_table *table, session_tick_t now, unsigned budget)
{
	return record_wheel_expire(&table->records, now, budget);
}

void session_remove(struct session_table *table, struct session *session)
{
	session_destroy(table, session, session_number(table, session));
}

void session_set_timeout(struct session_table *table, struct session *session, uint32_t timeout_ticks)
{
	session->timeout_ticks = timeout_ticks;
	if (session->state != SESSION_LIVE)
		return;
	session_tick_t deadline = session_last_seen(session) + timeout_ticks;
	if ((int32_t)(session->deadline - deadline) <= SESSION_LATE_TICKS)
		return;
	record_wheel_disarm(&table->records, session_tail(session));
	record_wheel_arm(&table->records, session_tail(session), session_number(table, session), deadline);
}

void session_key(const struct session_table *table, const struct session *session, unsigned direction,
		 struct flow_key *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->rest = session->dir[direction].rest;
	if (table->records.view.v6)
		memcpy(&ret->v6, ((const struct session_v6 *)session)->address[direction], sizeof(ret->v6));
	else
		memcpy(&ret->v4, &session->dir[direction].v4, sizeof(ret->v4));
}

bool session_table_scan(struct session_table *table, uint32_t *cursor, unsigned budget,
			void (*fn)(void *arg, struct session *session), void *arg)
{
	const struct record_memory *memory = &table->records.memory;
	/* The cursor is a record number; chunks that are not in use are skipped. */
	uint32_t number = *cursor < memory->first_number ? memory->first_number : *cursor;

	for (;;) {
		uint32_t block = number >> RECORD_BLOCK_INDEX_BITS, inside = number & RECORD_BLOCK_INDEX_MASK;
		uint32_t chunk = block * memory->chunks_per_block + inside / memory->chunk_records;
		uint32_t first, end;

		if (inside >= memory->block_records) {
			if (block == UINT32_MAX >> RECORD_BLOCK_INDEX_BITS)
				return false;
			number = (block + 1) << RECORD_BLOCK_INDEX_BITS;
			continue;
		}
		if (chunk >= memory->top_chunk)
			return false;
		record_memory_chunk_numbers(&table->records, chunk, &first, &end);
		if (__atomic_load_n(&memory->chunks[chunk], __ATOMIC_ACQUIRE) != CHUNK_IN_USE)
			number = end;
		for (; number < end; number++) {
			if (!budget--) {
				*cursor = number;
				return true;
			}
			if (record_memory_is_fresh(memory, number)) {
				number = end;
				break;
			}
			struct session *session = session_at(&table->records.view, number);
			if (session->state == SESSION_LIVE)
				fn(arg, session);
		}
	}
}

uint32_t session_table_count(const struct session_table *table)
{
	return __atomic_load_n(&table->records.count, __ATOMIC_RELAXED);
}

uint64_t session_table_seed(const struct session_table *table)
{
	return table->seed;
}

size_t session_table_bytes(const struct session_table *table)
{
	const struct record_memory *memory = &table->records.memory;
	size_t buckets = table->records.view.bucket_count + table->records.index.overflow_used;
	size_t header = (size_t)memory->first_number * table->records.view.record_bytes;

	return (size_t)memory->chunks_in_use * memory->chunk_bytes + buckets * sizeof(struct record_bucket) +
	       (memory->hugetlb ? 0 : header);
}

uint64_t session_table_taken(const struct session_table *table)
{
	return __atomic_load_n(&table->records.memory.taken, __ATOMIC_RELAXED);
}

int session_table_grow_ahead(struct session_table *table)
{
	record_memory_look(&table->records);
	record_index_grow_ahead(&table->records);
	return record_memory_grow_ahead(&table->records);
}
