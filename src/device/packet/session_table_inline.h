/* SPDX-License-Identifier: BSD-3-Clause */
/* The hit path of session tables, inlined into the burst loops of the packet path.
 *
 * A lookup has three stages; a burst runs each for all its packets before the next, so that the memory of one stage
 * arrives while the others are worked on:
 *
 *	for each packet: hash = flow_key_hash_direction(key, seed, &direction);
 *	                 session_lookup_prefetch(table, hash);
 *	for each packet: session = session_lookup_candidate(table, hash, &direction);
 *	for each packet: session = session_lookup_finish(table, session, key, hash, &direction);
 *
 * (or session_lookup_burst(), which does just that). The candidate comes from the hash alone and its line of the
 * direction (IPv6: and of the addresses) is on its way; finish compares the key and falls back to session_find(), so
 * that it is exact: NULL means that there is no such session. Nothing may be removed between the stages of a burst. The
 * session's third line is not touched.
 *
 * Records never move: a session stays valid until it is removed, which misses (policy) and ageing may do. So work off
 * the hits of a burst before its misses, and look a miss up again before creating its session: an earlier packet of the
 * same burst may have done so. */
#pragma once

#include "device/packet/flow_key.h"
#include "device/packet/record.h"
#include "device/packet/session.h"

#define SESSION_NUMBER_MASK UINT32_C(0x7fffffff)
#define SESSION_NUMBER_FLIP UINT32_C(0x80000000) /* the key's canonical direction is the other index of dir[] */

static inline const struct record_view *session_table_view(const struct session_table *table)
{
	return (const struct record_view *)table;
}

static inline struct session *session_at(const struct record_view *view, uint32_t number)
{
	return record_at(view, number);
}

static inline void session_lookup_prefetch(const struct session_table *table, uint32_t hash)
{
	__builtin_prefetch(record_bucket_of(session_table_view(table), hash));
}

/* A session of this hash, or NULL. *direction, the key's canonical direction on entry, becomes the index into dir[]. */
static inline struct session *session_lookup_candidate(const struct session_table *table, uint32_t hash,
						       unsigned *direction)
{
	const struct record_view *view = session_table_view(table);
	const struct record_bucket *bucket = record_bucket_of(view, hash);
	unsigned hits = record_bucket_hits(bucket, hash);

	if (__builtin_expect(!hits, 0))
		return NULL;
	uint32_t found = bucket->numbers[__builtin_ctz(hits)];
	*direction ^= found >> 31;
	struct session *session = session_at(view, found & SESSION_NUMBER_MASK);
	__builtin_prefetch(&session->dir[*direction], 1);
	if (view->v6)
		__builtin_prefetch(((struct session_v6 *)session)->address);
	return session;
}

static inline bool session_matches(const struct session *session, unsigned direction, const struct flow_key *key)
{
	const struct session_dir *dir = &session->dir[direction];

	if (dir->rest != key->rest) /* this word says the family, too */
		return false;
	if (!flow_key_is_v6(key))
		return dir->v4_addresses == flow_key_load64(&key->v4);

	const uint8_t *address = ((const struct session_v6 *)session)->address[direction];
	uint64_t difference = 0;

	for (unsigned i = 0; i < 32; i += 8)
		difference |= flow_key_load64(address + i) ^ flow_key_load64((const uint8_t *)key + i);
	return difference == 0;
}

static inline struct session *session_lookup_finish(struct session_table *table, struct session *candidate,
						    const struct flow_key *key, uint32_t hash, unsigned *direction)
{
	if (__builtin_expect(candidate && session_matches(candidate, *direction, key), 1))
		return candidate;
	return session_find(table, key, hash, direction);
}

enum { SESSION_LOOKUP_BURST = 32 };

/* All three stages for up to SESSION_LOOKUP_BURST packets. directions: in canonical, out index into dir[] where
 * sessions[i] is not NULL. */
static inline void session_lookup_burst(struct session_table *const *tables, const struct flow_key *const *keys,
					const uint32_t *hashes, unsigned *directions, struct session **sessions,
					unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		session_lookup_prefetch(tables[i], hashes[i]);
	for (unsigned i = 0; i < count; i++)
		sessions[i] = session_lookup_candidate(tables[i], hashes[i], &directions[i]);
	for (unsigned i = 0; i < count; i++)
		sessions[i] = session_lookup_finish(tables[i], sessions[i], keys[i], hashes[i], &directions[i]);
}

/* Is there anything for session_table_expire() to do? */
static inline bool session_table_due(const struct session_table *table, session_tick_t now)
{
	return (int32_t)(now - session_table_view(table)->wheel_now) >= 0;
}
