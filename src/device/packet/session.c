/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of a session: found, made, published, removed. */
#include "device/packet/session.h"

#include <stddef.h>
#include "device/packet/session_priv.h"

struct session *session_find(struct session_table *table, const struct flow_key *key, uint32_t hash,
			     unsigned *ret_direction)
{
	const struct session_table_view *view = &table->view;
	const struct session_bucket *bucket = session_bucket_of(view, hash);
	unsigned canonical = flow_key_direction(key);

	if (flow_key_is_v6(key) != (view->v6 != 0))
		return NULL;
	for (;;) {
		for (unsigned i = 0; i < SESSION_BUCKET_ENTRIES; i++) {
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
		uint32_t next = bucket->hashes[SESSION_BUCKET_ENTRIES];
		if (!next)
			return NULL;
		bucket = &table->index.overflow[next];
	}
}

static void set_key(struct session_table *table, struct session *session, unsigned direction,
		    const struct flow_key *key)
{
	session->dir[direction].rest = key->rest;
	if (table->view.v6)
		memcpy(((struct session_v6 *)session)->address[direction], &key->v6, sizeof(key->v6));
	else
		session->dir[direction].v4_addresses = flow_key_load64(&key->v4);
}

static void count_add(struct session_table *table, int change)
{
	__atomic_store_n(&table->count, table->count + change, __ATOMIC_RELAXED);
}

struct session *session_new(struct session_table *table, const struct flow_key *key, uint32_t hash, session_tick_t now)
{
	if (flow_key_is_v6(key) != (table->view.v6 != 0) || table->count >= table->max)
		return NULL;
	uint32_t number = session_memory_take(table);
	if (!number)
		return NULL;
	if (!session_index_insert(table, hash, number)) {
		session_memory_give(table, number);
		return NULL;
	}
	count_add(table, 1);

	struct session *session = session_at(&table->view, number);
	unsigned direction = flow_key_direction(key);
	struct flow_key reverse;

	memset(session, 0, table->view.record_bytes);
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
	session_wheel_arm(table, session, session_number(table, session), session_last_seen(session) + timeout_ticks);
	__atomic_store_n(&session->state, SESSION_LIVE, __ATOMIC_RELEASE);
}

void session_destroy(struct session_table *table, struct session *session, uint32_t number)
{
	if (session->state == SESSION_LIVE) {
		if (table->on_remove)
			table->on_remove(table->ctx, session);
		__atomic_store_n(&session->state, SESSION_FREE, __ATOMIC_RELEASE);
		/* Nothing below may reach memory before the record is dead. */
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		session_wheel_disarm(table, session);
	}
	session_index_remove(table, session->hash, number);
	session_memory_give(table, number);
	count_add(table, -1);
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
	session_wheel_disarm(table, session);
	session_wheel_arm(table, session, session_number(table, session), deadline);
}

void session_key(const struct session_table *table, const struct session *session, unsigned direction,
		 struct flow_key *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->rest = session->dir[direction].rest;
	if (table->view.v6)
		memcpy(&ret->v6, ((const struct session_v6 *)session)->address[direction], sizeof(ret->v6));
	else
		memcpy(&ret->v4, &session->dir[direction].v4, sizeof(ret->v4));
}

bool session_table_scan(struct session_table *table, uint32_t *cursor, unsigned budget,
			void (*fn)(void *arg, struct session *session), void *arg)
{
	const struct session_memory *memory = &table->memory;
	/* The cursor is a record number; chunks that are not in use are skipped. */
	uint32_t number = *cursor < memory->first_number ? memory->first_number : *cursor;

	for (;;) {
		uint32_t block = number >> SESSION_BLOCK_INDEX_BITS, inside = number & SESSION_BLOCK_INDEX_MASK;
		uint32_t chunk = block * memory->chunks_per_block + inside / memory->chunk_records;
		uint32_t first, end;

		if (inside >= memory->block_records) {
			if (block == UINT32_MAX >> SESSION_BLOCK_INDEX_BITS)
				return false;
			number = (block + 1) << SESSION_BLOCK_INDEX_BITS;
			continue;
		}
		if (chunk >= memory->top_chunk)
			return false;
		session_memory_chunk_numbers(table, chunk, &first, &end);
		if (__atomic_load_n(&memory->chunks[chunk], __ATOMIC_ACQUIRE) != CHUNK_IN_USE)
			number = end;
		for (; number < end; number++) {
			if (!budget--) {
				*cursor = number;
				return true;
			}
			struct session *session = session_at(&table->view, number);
			if (session->state == SESSION_LIVE)
				fn(arg, session);
		}
	}
}

uint32_t session_table_count(const struct session_table *table)
{
	return __atomic_load_n(&table->count, __ATOMIC_RELAXED);
}

uint64_t session_table_seed(const struct session_table *table)
{
	return table->seed;
}

size_t session_table_bytes(const struct session_table *table)
{
	const struct session_memory *memory = &table->memory;
	size_t buckets = table->view.bucket_count + table->index.overflow_used;
	size_t header = (size_t)memory->first_number * table->view.record_bytes;

	return (size_t)memory->chunks_in_use * memory->chunk_bytes + buckets * sizeof(struct session_bucket) +
	       (memory->hugetlb ? 0 : header);
}

int session_table_grow_ahead(struct session_table *table)
{
	session_index_grow_ahead(table);
	return session_memory_grow_ahead(table);
}
