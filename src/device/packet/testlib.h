/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests and fuzzers: DPDK without huge pages, frames made by hand, and slow, independent references for what the
 * packet path computes fast. Byte-wise code on purpose; shares nothing with the code under test. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <rte_mbuf.h>
#include "base/netaddr.h"

/* Starts the EAL once (64 MiB of normal pages, no files left behind) and returns a pool of mbufs with the usual 2 KiB
 * of data room. Aborts on failure. */
struct rte_mempool *test_pool(void);
/* For benchmarks, which start the EAL themselves: the pool that test_pool() returns. */
void test_pool_use(struct rte_mempool *own);
/* Buffers of the pool that somebody holds. */
unsigned test_pool_used(void);

enum { FRAME_MAX = 70000 };

struct frame {
	uint32_t length;
	uint8_t bytes[FRAME_MAX];
};

/* A frame to build. Zero means the default in brackets; the family is that of the address texts. */
struct frame_spec {
	const char *src_mac, *dst_mac; /* [02:00:00:00:00:01] [02:00:00:00:00:02] */
	const char *src, *dst;         /* [10.0.0.1] [10.0.0.2] */
	uint8_t proto;                 /* [UDP] */
	uint16_t src_port, dst_port;   /* [1000] [2000]; ICMP: identifier and type << 8 | code */
	uint8_t ttl, tos;              /* [64] [0] */
	uint8_t tcp_flags;             /* [ACK] */
	uint16_t id;
	uint16_t fragment;      /* IPv4: the fragment word, host order */
	uint32_t payload;       /* bytes behind the upper-layer header, a pattern */
	const uint8_t *options; /* IPv4 or TCP options, length a multiple of 4 */
	uint8_t ip_options_length, tcp_options_length;
	const uint8_t *extensions; /* IPv6 extension headers, the last one's next header is proto */
	uint16_t extensions_length;
	uint8_t first_extension; /* protocol number of the first of them */
	bool no_udp_checksum;
};

void frame_build(struct frame *frame, const struct frame_spec *spec);

struct tunnel_spec {
	const char *src_mac, *dst_mac;
	const char *src, *dst; /* [192.0.2.1] [192.0.2.2] */
	bool geneve;
	bool udp_checksum;
	uint32_t vni;
	uint16_t src_port;      /* [50000] */
	uint8_t ttl, tos;       /* [64] [0] */
	uint16_t vlan;          /* 0 = untagged */
	uint8_t geneve_options; /* in units of 4 bytes, content zero */
};

/* outer must not be inner. */
void frame_tunnel(struct frame *outer, const struct tunnel_spec *spec, const struct frame *inner);

/* Sets the IPv4 header checksum and that of the upper layer again, after a test has changed something; l3 is the
 * offset of the IP header. */
void frame_fix(struct frame *frame, uint32_t l3);

/* NULL if all lengths agree and all checksums are right, those in tunnels (VXLAN, Geneve ports) too; else what is
 * wrong. */
const char *frame_fault(const uint8_t *bytes, uint32_t length);

/* RFC 1071, a byte at a time: the checksum of bytes, started with sum. */
uint16_t reference_checksum(const uint8_t *bytes, uint32_t length, uint32_t sum);

/* The frame as one mbuf, or a chain whose segments end at the given offsets (0-terminated, ascending). */
struct rte_mbuf *frame_mbuf(const struct frame *frame);
struct rte_mbuf *frame_mbuf_split(const struct frame *frame, const uint32_t *ends);
/* The contents of a chain; asserts that its lengths add up. */
void frame_read(struct frame *frame, const struct rte_mbuf *m);
bool frame_equal(const struct frame *a, const struct frame *b);
void frame_dump(const struct frame *frame);

struct mac_addr test_mac(const char *text);
struct ip_addr test_ip(const char *text);
