/* SPDX-License-Identifier: BSD-3-Clause */
/* One AF_PACKET socket on an interface, with a mapped receive ring: a queue of an af_packet port.
 *
 * Frames up to the MTU come through the ring. Longer ones (GSO frames, 64 KiB) would need slots of their size, so the
 * kernel queues these to the socket besides, in order, and marks their slots. Virtio-net headers carry partial
 * checksums and segmentation both ways; VLAN tags that the kernel has taken out are put back. Frames that we or the
 * host send on the interface are not seen. */
#pragma once

#include "operating/port.h"

struct af_packet_ring {
	int fd; /* readable when frames wait; -1 = closed */
	uint8_t *map;
	size_t map_bytes;
	uint32_t slot_bytes, slots_per_block, slots;
	uint32_t next;  /* slot that the kernel fills next */
	bool no_bypass; /* frames pass the interface's queueing discipline, which segments what the interface cannot */
};

/* mtu: of the interface. 0 or a negative errno. */
int af_packet_ring_open(struct af_packet_ring *ring, int ifindex, unsigned mtu);
/* Lets the kernel spread flows over several rings of an interface: *group 0 makes a group and sets it. */
int af_packet_ring_join(struct af_packet_ring *ring, uint16_t *group);
void af_packet_ring_close(struct af_packet_ring *ring);

/* As in struct port_ops; port: whose pool and counters to use. */
unsigned af_packet_ring_rx(struct af_packet_ring *ring, struct port *port, struct rte_mbuf **packets, unsigned max);
unsigned af_packet_ring_tx(struct af_packet_ring *ring, struct rte_mbuf **packets, unsigned count,
			   struct port_tx_result *ret);
bool af_packet_ring_waiting(const struct af_packet_ring *ring); /* frames wait */
