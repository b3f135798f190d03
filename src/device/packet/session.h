/* SPDX-License-Identifier: BSD-3-Clause */
/* Sessions: one record per bidirectional flow, with the compiled action of each direction, in a table that grows
 * without pauses and outlives the process.
 *
 * A table belongs to one worker at a time; nothing here is thread-safe but session_table_grow_ahead(). The records live
 * in a named tmpfs (or hugetlbfs) file, in fixed-size cells, and hold numbers only; the hash index and the timer wheel
 * are private memory, rebuilt from the records when a new process adopts the file. A record counts as live only by its
 * `state`, which is written last (release) when it is created and first when it is removed, so a SIGKILL at any
 * instruction leaves either a whole record or none.
 *
 * Memory per IPv4 session: 192 bytes of record + about 24 of index. IPv6: one line more for the addresses.
 *
 * Lookups of a burst are inlined from session_table_inline.h. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <rte_tcp.h>
#include "base/error.h"
#include "device/packet/flow_key.h"

/* Times are ticks of 1/16 s of CLOCK_MONOTONIC, 32 bits wide (8.5 years). */
enum { SESSION_TICKS_PER_SECOND = 16 };
typedef uint32_t session_tick_t;

enum session_op {
	SESSION_OP_SET_MACS = 1 << 0, /* destination := dst_mac, source := the out interface's path_iface.peer_mac … */
	SESSION_OP_DEC_TTL = 1 << 1,  /* … and TTL - 1; expired packets take the slow path */
	SESSION_OP_ENCAP = 1 << 2,    /* put tunnel record `tunnel` with the VPC's VNI in front */
	SESSION_OP_TRACK = 1 << 3,    /* TCP not established or closing: every packet runs the state machine. Without it
				       * only packets with one of TCP_FLAGS_TRACKED do. Kept by session_tcp_advance(). */
	SESSION_OP_SLOW = 1 << 4,     /* every packet goes to the policy path */
	SESSION_OP_KEEP_SRC_MAC = 1 << 5, /* bridged within a subnet: leave the source MAC */
};

/* One direction: exactly one cache line, written by the owning worker only. */
struct session_dir {
	union {
		struct {
			rte_be32_t src, dst;
		} v4;
		uint64_t v4_addresses; /* zero for IPv6: addresses are in struct session_v6 */
	};
	uint64_t rest;      /* flow_key.rest */
	uint16_t in_iface;  /* packets of this direction arrive here; others miss */
	uint16_t out_iface; /* interface to send to */
	uint32_t epoch; /* of the VPC when compiled; any other value sends the packet to the policy path. 0 is no VPC's
			 * epoch: the action is to be compiled (new, adopted and restarted sessions) */
	uint16_t ops;   /* enum session_op */
	uint8_t dst_mac[6]; /* new destination MAC (inner frame) */
	uint8_t src_mac[6]; /* new source MAC unless KEEP_SRC_MAC */
	uint16_t mtu;       /* largest layer-3 packet that may leave this way */
	uint32_t tunnel; /* with ENCAP: path_tunnel index; else path_vtep_tag() of the tunnel endpoint that packets must
			  * come from, 0 = from anywhere */
	session_tick_t last_seen;
	uint64_t packets,
		bytes; /* bytes: layer-2 length as it came from or goes to the tenant (without encapsulation) */
};

enum session_state { SESSION_FREE = 0, SESSION_LIVE = 1 };

enum tcp_state { /* RFC 9293 as a middle box sees it */
		 TCP_NONE,
		 TCP_SYN_SENT,
		 TCP_SYN_RECEIVED,
		 TCP_ESTABLISHED,
		 TCP_FIN_WAIT, /* one side has closed */
		 TCP_CLOSING,  /* both sides have */
		 TCP_TIME_WAIT,
		 TCP_CLOSED, /* reset */
};

enum { TCP_FLAGS_TRACKED = RTE_TCP_FIN_FLAG | RTE_TCP_SYN_FLAG | RTE_TCP_RST_FLAG };

/* struct session.tcp_seen. */
enum tcp_seen {
	TCP_SEEN_FIN = 1 << 0,     /* shifted by the direction of the sender */
	TCP_SEEN_RST = 1 << 2,     /* likewise */
	TCP_SEEN_BEFORE_SHIFT = 4, /* enum tcp_state before the reset, in the upper bits */
};

struct session {
	struct session_dir dir[2]; /* by flow_key_direction() */

	/* The third line: touched on creation, state changes and expiry, not on a hit. */
	uint8_t state;     /* enum session_state */
	uint8_t initiator; /* direction of the first packet: policy is always evaluated for it */
	uint8_t tcp_state; /* enum tcp_state */
	uint8_t tcp_seen;  /* enum tcp_seen */
	uint32_t hash;
	session_tick_t created;
	session_tick_t deadline; /* the wheel's slot; the true deadline is last_seen + timeout_ticks */
	uint32_t timeout_ticks;
	uint32_t wheel_next, wheel_prev; /* session numbers, 0 = none (record_wheel.c) */
	uint16_t tenant;                 /* slot, for quotas and listing */
	uint16_t vnic[2];      /* quota holders: interface of the initiator's and of the responder's vNIC, 0 = none */
	uint16_t policy_flags; /* owned by the service */
	uint32_t rule[2];      /* slots of the egress and the ingress rule that admitted it; 0 = none needed */
	uint32_t spare[4];     /* address translation's */
	uint32_t wheel_ahead;  /* a session that the wheel will look at a little later: a hint for prefetching */
};

struct session_v6 {
	struct session session;
	uint8_t address[2][32]; /* per direction: source, destination */
};

_Static_assert(sizeof(struct session_dir) == 64, "a direction is one cache line");
_Static_assert(sizeof(struct session) == 192, "an IPv4 session is three cache lines");
_Static_assert(sizeof(struct session_v6) == 256, "an IPv6 session is four cache lines");

struct session_table;

struct session_table_options {
	const char *path; /* file on tmpfs or hugetlbfs; NULL = anonymous (benchmarks, tests) */
	bool huge_pages;  /* anonymous memory or index from huge pages; falls back silently to small ones */
	bool v6;
	uint32_t max_sessions; /* ≤ 2^25 */
	uint64_t seed;         /* hash key of a new file; an adopted one keeps its own */
	/* Called before a live record is removed, also by ageing and clearing: give quotas back. May be NULL. */
	void (*on_remove)(void *ctx, struct session *session);
	void *ctx;
	session_tick_t now; /* 0 = read the clock */
};

/* Opens or creates. An existing file of the same layout version, boot id and family is adopted: records are validated
 * one by one and the bad ones freed (without on_remove); the actions of the others are marked stale (epoch 0), so that
 * nothing compiled by another process is obeyed. Any other file is replaced. The file is locked: -EBUSY while another
 * process has it open. ret_adopted (may be NULL): live sessions found. */
int session_table_open(const struct session_table_options *options, struct session_table **ret, uint32_t *ret_adopted,
		       struct dpu_error *err);
/* The seed of a session file of this boot and layout, without opening it; -ENOENT when it is not there or none. */
int session_file_seed(const char *path, uint64_t *ret);
void session_table_close(struct session_table *table); /* the file and its sessions stay */

/* NULL, or the session that holds this key in direction *ret_direction (index into dir[]). */
struct session *session_find(struct session_table *table, const struct flow_key *key, uint32_t hash,
			     unsigned *ret_direction);
/* A new, zeroed record with keys, hash, initiator, created and last_seen set; NULL when full or out of memory. The
 * reverse key is key reversed. key must not be in the table. The caller fills the rest, then calls session_publish(),
 * or session_remove() to give it back (on_remove is not called for a record that was never live). */
struct session *session_new(struct session_table *table, const struct flow_key *key, uint32_t hash, session_tick_t now);
void session_publish(struct session_table *table, struct session *session, uint32_t timeout_ticks);
/* The record may be reused at once: a burst that looked up several packets must not use what an earlier one removed. */
void session_remove(struct session_table *table, struct session *session);
/* The session expires when neither direction was seen for so long. Exact to about a second for a longer timeout, within
 * SESSION_LATE_TICKS for a shorter one. */
enum { SESSION_LATE_TICKS = 8 * SESSION_TICKS_PER_SECOND };
void session_set_timeout(struct session_table *table, struct session *session, uint32_t timeout_ticks);
void session_key(const struct session_table *table, const struct session *session, unsigned direction,
		 struct flow_key *ret);

/* Puts a compiled action in force for one direction: copies what the policy decides (interfaces, ops but for TRACK,
 * MACs, MTU, tunnel, epoch) and leaves the key, last_seen and counters. A SIGKILL in the middle leaves epoch 0. */
static inline void session_set_action(struct session *session, unsigned direction, const struct session_dir *action)
{
	struct session_dir *dir = &session->dir[direction];

	__atomic_store_n(&dir->epoch, 0, __ATOMIC_RELEASE);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	dir->in_iface = action->in_iface;
	dir->out_iface = action->out_iface;
	dir->ops = (dir->ops & SESSION_OP_TRACK) | (action->ops & ~SESSION_OP_TRACK);
	memcpy(dir->dst_mac, action->dst_mac, sizeof(dir->dst_mac));
	memcpy(dir->src_mac, action->src_mac, sizeof(dir->src_mac));
	dir->mtu = action->mtu;
	dir->tunnel = action->tunnel;
	__atomic_store_n(&dir->epoch, action->epoch, __ATOMIC_RELEASE);
}

/* Runs the timer wheel up to now: looks at no more than budget sessions and expires those that were silent for too
 * long; returns how many. What is left is due at once at the next call, so a million equal deadlines cost no pause.
 * Call after every burst with a budget of about two per packet (session_table_due() tells cheaply whether to). */
unsigned session_table_expire(struct session_table *table, session_tick_t now, unsigned budget);

/* Visits live sessions from *cursor (start at 0) over at most budget records; returns false at the end. fn may remove
 * the session it is given, and no other. */
bool session_table_scan(struct session_table *table, uint32_t *cursor, unsigned budget,
			void (*fn)(void *arg, struct session *session), void *arg);

uint32_t session_table_count(const struct session_table *table);
uint64_t session_table_seed(const struct session_table *table);
size_t session_table_bytes(const struct session_table *table); /* memory in use: records + index */
/* Pages that inserts had to get from the kernel themselves so far, because session_table_grow_ahead() had none ready.
 */
uint64_t session_table_taken(const struct session_table *table);
/* Makes memory ready for the next sessions (fallocate, populate), so that inserts never fault for long. Called by a
 * helper thread at any time; returns 0, or -ENOSPC when the file system is full (the table then stops growing). */
int session_table_grow_ahead(struct session_table *table);

/* The TCP state machine, RFC 9293 as a middle box sees it, without sequence numbers. The first packet of a new session
 * (TCP_NONE) must be a SYN; who wants to pick a connection up in the middle sets TCP_ESTABLISHED himself before
 * publishing. Neither a SYN nor a single forged RST ends an established connection: after a reset the session stays for
 * ten seconds more, and whoever is said to have reset and goes on sending takes the reset back. */
enum tcp_verdict {
	TCP_VERDICT_INVALID = 0, /* impossible in this state: DROP_TCP_INVALID */
	TCP_VERDICT_OK,
	TCP_VERDICT_RESTART, /* a SYN reopens a finished connection, perhaps the other way round: the session is
			      * TCP_SYN_SENT with a new initiator, its actions are stale (epoch 0): evaluate policy */
};
/* Advances session by a segment of `direction` with these flags (byte 13). Sets timeout and SESSION_OP_TRACK. Needed
 * for packets with SESSION_OP_TRACK or with one of TCP_FLAGS_TRACKED. */
enum tcp_verdict session_tcp_advance(struct session_table *table, struct session *session, unsigned direction,
				     uint8_t tcp_flags);

/* Seconds a session of this protocol and state may be silent: a table in session_timeout.c. reply_seen: both sides have
 * sent, over more than SESSION_STREAM_SECONDS; the wheel finds that out itself for sessions without TCP state. */
enum { SESSION_STREAM_SECONDS = 2 };
uint32_t session_timeout_seconds(uint8_t proto, enum tcp_state state, bool reply_seen);
/* Ticks for a new session of this key, fragments included. */
uint32_t session_initial_timeout(const struct flow_key *key);
