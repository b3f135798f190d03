/* SPDX-License-Identifier: BSD-3-Clause */
/* Fragments: the first one is policed like any packet and leaves a short-lived session for the later ones, keyed by
 * addresses and identification; later ones that overtake it wait a moment in a queue of the worker.
 *
 * Later fragments of a flow may belong to another worker than the flow: their key hashes elsewhere. The first
 * fragment's worker then tells theirs by a note in its ring. */
#pragma once

#include "device/packet/path.h"

struct dp_worker;

enum {
	FRAGMENT_HOLD = 64,
	FRAGMENT_HOLD_PER_IFACE = 16, /* so that no vNIC takes the whole queue */
};

/* Later fragments without a first one, oldest first. */
struct fragment_hold {
	unsigned count;
	struct fragment_held {
		struct rte_mbuf *m;
		uint64_t deadline_ns;
		struct packet_info info;
	} held[FRAGMENT_HOLD];
};

/* What a first fragment says about the later ones. */
struct fragment_note {
	struct flow_key key;
	uint32_t hash;
	struct session_dir action;
	uint16_t vnic[2], tenant;
};

/* A first fragment of `session` is about to be forwarded: DROP_NONE, or why the datagram must not pass. */
enum drop_reason fragments_first(struct dp_worker *worker, const struct packet_info *info,
				 const struct session *session, unsigned direction);
/* … was forwarded: the later ones that wait for it follow. */
void fragments_release(struct dp_worker *worker, const struct packet_info *info);
/* A later fragment; consumes m. */
void fragments_later(struct dp_worker *worker, struct rte_mbuf *m, struct packet_info *info);
/* The same by a note from another worker. */
void fragments_note(struct dp_worker *worker, const struct fragment_note *note);
/* Drops what has waited too long; returns when the next one will have (UINT64_MAX: none waits). */
uint64_t fragments_tick(struct dp_worker *worker, uint64_t now_ns);
void fragments_clear(struct dp_worker *worker);
