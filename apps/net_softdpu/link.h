/* SPDX-License-Identifier: BSD-3-Clause */
/* The connection of this process to a dpud: one per socket and eswitch, shared by all its ports. It connects again by
 * itself when dpud dies, and tells its listeners.
 *
 * Any thread may call. Listeners' functions but attend() run in the link's own thread, or inside somebody's call, with
 * the link locked: they must not call the link. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "dpu/eswitch_abi.h"

struct link;

enum { LINK_SENTENCE_BYTES = 320, LINK_MAX_WAKE_FDS = 2 * ESWITCH_MAX_QUEUES };

struct link_listener {
	void (*lost)(void *ctx); /* dpud is gone: ports and rules, too */
	void (*back)(void *ctx); /* a dpud is there again, which knows nothing */
	void (*changed)(void *ctx, const struct eswitch_port_info *info); /* of any port that this process has open */
	void (*gone)(void *ctx, uint32_t number);                         /* the representor was deleted */
	/* Something of that has happened, and dpud is there; true: there is more to do, so call it again after a while.
	 * In the link's own thread, with the link not locked: it may open ports, and must not listen or unlisten. */
	bool (*attend)(void *ctx);
	void *ctx;
	struct link_listener *next; /* the link's */
};

/* The switch region, checked. It stays mapped until the connection after the next, so that counters can be read when
 * dpud has gone. */
struct link_region {
	struct eswitch_region *shared;
	uint64_t bytes;
	int wake_fd; /* for commands */
	uint32_t max_rules, workers, command_rings;
	_Atomic uint32_t *states;
	struct eswitch_counter *counters;
	struct link_command_ring {
		struct eswitch_command *commands;
		uint32_t slots;
	} rings[ESWITCH_MAX_COMMAND_RINGS];
};

/* A port's region, checked. */
struct link_port {
	struct eswitch_port_info info;
	struct eswitch_port_region *region;
	uint64_t bytes;
	uint32_t queue_pairs, slots;
	unsigned connection;             /* that it was opened by: a later dpud knows nothing of it */
	int wake_fds[LINK_MAX_WAKE_FDS]; /* to_host's, then from_host's */
};

/* 0, or a negative errno with a sentence: -ECONNREFUSED and -ENOENT when no dpud listens there, -EPROTO when it says
 * what it must not, -EPROTONOSUPPORT for another version, -ENODEV for no such eswitch, -EBUSY, -ENOSPC. eswitch "" =
 * the only one there is. Where a dpud may be starting (its folder is there, nobody listens) it is waited for, 3 s at
 * most. */
int link_get(const char *socket_path, const char *eswitch, struct link **ret, char sentence[LINK_SENTENCE_BYTES]);
void link_put(struct link *link); /* the last one closes the connection: dpud drops ports and rules */
bool link_is_up(struct link *link);
/* Sends what is not answered, if that can be done at once: false when dpud is away or the link is busy. */
bool link_tell(struct link *link, const struct eswitch_message *message);
void link_listen(struct link *link, struct link_listener *listener);
void link_unlisten(struct link *link, struct link_listener *listener); /* no function of it runs any more */
/* The region of the present connection, or of the last one. Not NULL. It changes only between lost and back. */
const struct link_region *link_region(const struct link *link);

/* representor "" = the trunk; offloads: enum eswitch_packet_flags that we take. As link_get(), and -ENOTCONN while dpud
 * is away. */
int link_open_port(struct link *link, const char *representor, unsigned queue_pairs, unsigned to_host, uint32_t slots,
		   uint64_t offloads, struct link_port *ret, char sentence[LINK_SENTENCE_BYTES]);
/* Opened at the dpud that is there, as far as is known. */
bool link_is_current(struct link *link, const struct link_port *port);
/* Unmaps, and tells dpud if it is the one that opened it. */
void link_close_port(struct link *link, struct link_port *port);
