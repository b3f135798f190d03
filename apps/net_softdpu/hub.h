/* SPDX-License-Identifier: BSD-3-Clause */
/* What all ports of a process at one eswitch share: the connection, the rules, the switch domain. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include "link.h"
#include "reports.h"
#include "rules.h"

/* A port as the hub sees it; embedded by the driver's. */
struct hub_port {
	LIST_ENTRY(hub_port) link;
	uint16_t dpdk_port;
	_Atomic int32_t number; /* of its representor; 0 = the trunk; -1 = not known yet */
	/* From the connection's thread, or inside somebody's call of the link; must not call hub or link. */
	void (*lost)(struct hub_port *port);
	void (*changed)(struct hub_port *port, const struct eswitch_port_info *info);
	void (*gone)(struct hub_port *port);
	/* From the connection's thread; may call both. 1 when it was opened, 0 when there was nothing to do, negative
	 * when it is to be tried again. */
	int (*reopen)(struct hub_port *port);
};

struct hub {
	struct link *link;
	struct rules *rules;
	struct reports *reports;
	uint16_t domain;
};

int hub_get(const char *socket_path, const char *eswitch, struct hub **ret, char sentence[LINK_SENTENCE_BYTES]);
void hub_put(struct hub *hub);
void hub_add(struct hub *hub, struct hub_port *port);
void hub_remove(struct hub *hub, struct hub_port *port); /* no function of it runs any more */
/* translate_port.number_of; ctx is the hub. */
int hub_number_of(void *ctx, uint16_t dpdk_port);
