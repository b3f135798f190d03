/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of a session table, for the files that make it up. */
#pragma once

#include "base/netaddr.h"
#include "device/packet/record_priv.h"
#include "device/packet/session.h"
#include "device/packet/session_table_inline.h"

enum {
	SESSION_FILE_VERSION = 1,
	SESSION_MAX = 1 << 25,
};
#define SESSION_FILE_MAGIC UINT64_C(0x5375706474666f73)

struct session_file_header {
	uint64_t magic; /* written last */
	uint32_t version;
	uint32_t record_bytes;
	uint32_t chunk_bytes;
	uint32_t spare;
	struct uuid boot_id;
	uint64_t seed;
	uint64_t checksum; /* of all that stands before */
};
struct session_table {
	struct record_table records; /* first: session_table_view() */
	uint64_t seed;
	void (*on_remove)(void *ctx, struct session *session);
	void *ctx;
};

#define SAME_PLACE(a, b)                                                                                               \
	(offsetof(struct session, a) - offsetof(struct session, state) == offsetof(struct record_tail, b))
_Static_assert(SAME_PLACE(hash, hash) && SAME_PLACE(deadline, deadline) && SAME_PLACE(wheel_next, wheel_next) &&
		       SAME_PLACE(wheel_prev, wheel_prev) && SAME_PLACE(wheel_ahead, wheel_ahead),
	       "the third line of a session is its tail");
#undef SAME_PLACE

static inline struct record_tail *session_tail(struct session *session)
{
	return (struct record_tail *)&session->state;
}

/* What a table of this family is made of (session.c). */
const struct record_kind *session_kind(bool v6);

static inline uint32_t session_number(const struct session_table *table, const struct session *session)
{
	size_t offset = (const uint8_t *)session - table->records.view.records;
	uint32_t inside = offset & (RECORD_BLOCK_BYTES - 1);
	uint32_t index = table->records.view.v6 ? inside / sizeof(struct session_v6) : inside / sizeof(struct session);

	return (uint32_t)(offset >> RECORD_BLOCK_SHIFT) << RECORD_BLOCK_INDEX_BITS | index;
}

static inline session_tick_t session_last_seen(const struct session *session)
{
	session_tick_t a = session->dir[0].last_seen, b = session->dir[1].last_seen;
	return (int32_t)(a - b) > 0 ? a : b;
}

/* The timeout in force: the session's own, or the longer one of a flow that was answered. */
uint32_t session_effective_timeout(const struct session *session);

/* Takes a live session out of everything; on_remove is called. */
void session_destroy(struct session_table *table, struct session *session, uint32_t number);
/* Is the record what a table of ours could have written? Fields that cannot be trusted are set right (session_adopt.c).
 */
bool session_validate(const struct session_table *table, struct session *session, session_tick_t now);
void session_adopt(struct session_table *table, session_tick_t now);
/* Ticks that a protocol without state machine gets once it was answered. */
uint32_t session_stream_timeout(uint8_t proto);
