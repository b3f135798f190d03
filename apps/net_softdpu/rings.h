/* SPDX-License-Identifier: BSD-3-Clause */
/* The rings of a port through the lives of dpuds. A dpud that dies takes them along and the next one has others, which
 * nobody may put under a thread that polls: so each queue holds the rings that it uses, and moves to the present ones
 * itself when it finds between two bursts that their turn has come. Memory is unmapped when its last holder has gone.
 *
 * rings_start(), _stop() and _reopen() take as long as dpud's answer. The others never wait; rings_lost() may be called
 * with the link locked. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "dpu/eswitch_ring.h"
#include "link.h"

struct rings_open;

struct rings_wanted {
	const char *representor; /* lives as long as the rings */
	uint32_t number;         /* that it must have: rules name it */
	unsigned queue_pairs, to_host;
	uint32_t slots;
	uint64_t offloads;
};

struct rings {
	_Atomic unsigned turn; /* changes with the present rings, and is never 0 */
	struct link *link;
	/* Told what was opened; no start, stop or reopening goes on meanwhile. */
	void (*opened)(void *ctx, const struct eswitch_port_info *info);
	void *ctx;
	pthread_mutex_t life; /* held while the port is opened and closed */
	pthread_mutex_t lock; /* of present and of what holds it; inside life and the link's */
	struct rings_open *present;
	struct rings_wanted wanted;
	bool started;
};

/* What a queue holds; zero = nothing. */
struct rings_place {
	struct rings_open *open;
	unsigned turn;
};

void rings_init(struct rings *rings, struct link *link, void (*opened)(void *ctx, const struct eswitch_port_info *info),
		void *ctx);
void rings_fini(struct rings *rings); /* stopped */

/* Opens the port, or sees to it that rings_reopen() does if dpud is away. 0, or as link_open_port(), and -ESTALE when
 * the representor has another number. */
int rings_start(struct rings *rings, const struct rings_wanted *wanted, char sentence[LINK_SENTENCE_BYTES]);
/* All queues have left. */
void rings_stop(struct rings *rings);
/* Opens again what was lost: 1 if it has, 0 if there was nothing to do, or why it cannot be done, as rings_start(). */
int rings_reopen(struct rings *rings, char sentence[LINK_SENTENCE_BYTES]);
/* dpud or the representor is gone. */
void rings_lost(struct rings *rings);

/* Makes *end the end of a queue of the present rings, or one that takes and gives nothing while there are none. Keeps
 * what the end has counted. Returns the eventfd that belongs to it, or -1. By who polls the queue. */
int rings_move(struct rings *rings, struct rings_place *place, struct eswitch_ring_end *end, unsigned queue,
	       bool producer);
void rings_leave(struct rings *rings, struct rings_place *place);
