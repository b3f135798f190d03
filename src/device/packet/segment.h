/* SPDX-License-Identifier: BSD-3-Clause */
/* Software checksums and segmentation, done before an interface that cannot do them: TCP (TSO) and UDP (USO) over
 * IPv4 and IPv6, plain or inside VXLAN, Geneve or GRE, on chained mbufs. DPDK's GSO library does neither IPv6 nor
 * Geneve.
 *
 * Offload requests are DPDK's: RTE_MBUF_F_TX_* flags with l2_len, l3_len, l4_len, tso_segsz, and outer_l2_len,
 * outer_l3_len (l2_len then spans outer UDP + tunnel header + inner Ethernet) for tunnelled frames. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <rte_mbuf.h>
#include "device/packet/drop.h"

/* Fills in every requested checksum (inner L4, inner and outer IPv4 header, outer UDP) and clears the requests.
 * Works on chains. Returns DROP_NONE, or DROP_SEGMENTATION when the offsets lie. */
enum drop_reason packet_checksum(struct rte_mbuf *m);

/* Cuts a TSO/USO frame into finished frames, checksums filled in: consumes m, stores up to max new mbufs (from
 * pool; payload is copied or attached) in out and their number in *ret_count. On failure m is untouched and stays the
 * caller's. */
enum drop_reason packet_segment(struct rte_mbuf *m, struct rte_mempool *pool, struct rte_mbuf **out, unsigned max,
				unsigned *ret_count);

/* Cuts an IPv4 frame (Ethernet, no tunnel, DF ignored) into fragments whose layer-3 length is at most mtu, RFC 791:
 * options with the copy bit go into each, the others into the first alone. The frame may be a fragment itself.
 * Ownership as with packet_segment(). A requested checksum must have been filled in. DROP_TOO_BIG when mtu leaves no
 * room for data or max is too small. */
enum drop_reason packet_fragment_ipv4(struct rte_mbuf *m, uint16_t mtu, struct rte_mempool *pool, struct rte_mbuf **out,
				      unsigned max, unsigned *ret_count);

/* One's complement sum over part of a chain, RFC 1071, unfolded into *sum; returns false if the range is outside. */
bool packet_sum(const struct rte_mbuf *m, uint32_t offset, uint32_t length, uint32_t *sum);
/* Incremental update of a checksum for a changed 16-bit or 32-bit word, RFC 1624 (eqn. 3). */
uint16_t checksum_update16(uint16_t checksum, uint16_t old_word, uint16_t new_word);
uint16_t checksum_update32(uint16_t checksum, uint32_t old_word, uint32_t new_word);
