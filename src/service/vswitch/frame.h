/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames of our own making: Ethernet, IPv4 or IPv6, and what is inside, written front to back into one mbuf; lengths
 * and checksums are filled in at the end. */
#pragma once

#include <stdbool.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include "base/netaddr.h"

struct frame_out {
	struct rte_mbuf *m; /* NULL once anything did not fit: every later call is harmless */
	uint16_t l3, l4;
	uint8_t proto;
	bool v6;
};

enum {
	FRAME_HEADERS = 14 + 40 + 8, /* the most that precedes a UDP payload */
};

/* Ethernet header. Returns false (and frame->m is NULL) when there is no buffer. */
bool frame_start(struct frame_out *frame, struct rte_mempool *pool, const struct mac_addr *dst,
		 const struct mac_addr *src, uint16_t ether_type);
/* IP header, with the family of src; proto is the upper protocol. */
void frame_ip(struct frame_out *frame, const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto,
	      uint8_t ttl);
void frame_udp(struct frame_out *frame, uint16_t src_port, uint16_t dst_port);
/* Appends bytes: zeroed room, or NULL. */
void *frame_room(struct frame_out *frame, uint32_t bytes);
void frame_put(struct frame_out *frame, const void *data, uint32_t bytes);
void frame_put8(struct frame_out *frame, uint8_t value);
void frame_put16(struct frame_out *frame, uint16_t value); /* network order */
void frame_put32(struct frame_out *frame, uint32_t value);
/* Fills in IP length and checksum, UDP length, and the checksum of UDP, ICMP or ICMPv6. Returns the finished mbuf, or
 * NULL if anything had failed. */
struct rte_mbuf *frame_finish(struct frame_out *frame);

/* The sum that ICMPv6, UDP and TCP checksums begin with (RFC 8200 8.1, RFC 9293), unfolded. */
uint32_t pseudo_header_sum(const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto, uint32_t length);
/* True if the L4 checksum of the packet at l4..l4+length is right, or was found so by, or left to, the interface. */
bool l4_checksum_ok(const struct rte_mbuf *m, const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto,
		    uint32_t l4, uint32_t length);
uint16_t checksum_fold(uint32_t sum); /* complemented */
/* The checksum of an ICMP message in which a word has changed (RFC 1624), all as they lie in memory. Right for one of
 * zeros only as well, whose sum no other packet can have. */
uint16_t icmp_checksum_update(uint16_t checksum, uint16_t old_word, uint16_t new_word);
