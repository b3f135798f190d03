/* SPDX-License-Identifier: BSD-3-Clause */
/* The representor port: frames that go up to the driver of a control plane (OVS) and that it sends, over the packet
 * rings of dpu/eswitch_ring.h. One port for each that a client has opened; it lives as long as the client has it open.
 */
#pragma once

#include "operating/port.h"

struct port_representor_options {
	uint16_t queue_pairs; /* 1 … ESWITCH_MAX_QUEUES: to_host and from_host queues */
	uint32_t slots;       /* of each ring: a power of two, 64 … 32768 */
	uint64_t offloads;    /* enum eswitch_packet_flags that the client takes: CSUM, TSO4, TSO6, USO */
	uint16_t mtu;
	struct mac_addr mac;
};

/* What the client gets: the region and, of as many eventfds as there are queues in both directions, to_host's first.
 * Borrowed: they stay the port's. */
struct port_representor_share {
	int region_fd;
	uint64_t region_bytes;
	const int *wake_fds;
	unsigned wake_fd_count;
};

/* Makes the region (a memfd, sealed against shrinking and growing) and announces the queues at once. 0, or a negative
 * errno with err filled (paths "queues" and "slots"). Control thread. */
int port_representor_open(const struct port_representor_options *options, const char *name, struct loop *loop,
			  struct rte_mempool *pool, const struct port_callbacks *callbacks, struct port **ret,
			  struct dpu_error *err);
void port_representor_share(const struct port *port, struct port_representor_share *ret);
