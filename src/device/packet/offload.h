/* SPDX-License-Identifier: BSD-3-Clause */
/* Offload requests of an mbuf, checked against the frame. */
#pragma once

#include "device/packet/packet_priv.h"

/* Where the headers are that a request speaks of: offsets from the start of the frame. */
struct offload {
	bool tunnel, outer_v6, v6;
	bool gre;      /* the tunnel's: there is no outer UDP header */
	uint8_t proto; /* TCP, UDP, or 0 when no upper-layer checksum or segmentation is asked for */
	uint32_t outer_l3, outer_l4, outer_end;
	uint32_t l3, l4, end;
};

/* DROP_NONE and the headers up to the upper-layer header's fixed part contiguous and writable in the first segment, or
 * why the request is refused. */
enum drop_reason offload_read(struct rte_mbuf *m, struct offload *ret);

static inline uint32_t offload_checksum_offset(const struct offload *o)
{
	return o->l4 + (o->proto == IPPROTO_TCP ? 16 : 6);
}

static inline bool offload_segments(const struct rte_mbuf *m)
{
	return m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG);
}
