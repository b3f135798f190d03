/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions that dpud hands out, mapped and checked against what their headers say. */
#pragma once

#include "link.h"

/* Takes fds[]: 0, or a negative errno (-EPROTO: they contradict themselves) with all closed and nothing mapped. */
int link_region_map(const struct eswitch_message *reply, const int *fds, unsigned count, struct link_region *ret);
void link_region_unmap(struct link_region *region);
int link_port_map(const struct eswitch_message *reply, unsigned queue_pairs, uint32_t slots, const int *fds,
		  unsigned count, struct link_port *ret);
void link_port_unmap(struct link_port *port);
