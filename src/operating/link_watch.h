/* SPDX-License-Identifier: BSD-3-Clause */
/* Follows a network interface of our namespace by name: there or not, up or down. Control thread. */
#pragma once

#include <stdbool.h>
#include "base/loop.h"
#include "base/netaddr.h"

struct link_state {
	int index;    /* 0 = there is no such interface */
	bool running; /* up, and with a carrier */
	bool ethernet;
	unsigned mtu;
	struct mac_addr mac;
};

struct link_watch;

/* The state right now; 0 or a negative errno. A missing interface is no error but index 0. */
int link_state_read(const char *name, struct link_state *ret);
/* Sets MTU (0 = leave it) and brings it up. 0 or a negative errno. */
int link_configure(const char *name, unsigned mtu);

/* Calls changed whenever the state differs from what it last was. */
int link_watch_new(struct loop *loop, const char *name, void (*changed)(void *ctx, const struct link_state *state),
		   void *ctx, struct link_watch **ret);
/* Who has looked by itself, and acted on it: what has changed since then is told, however it was when the watch last
 * looked. */
void link_watch_seen(struct link_watch *watch, const struct link_state *state);
void link_watch_free(struct link_watch *watch);
