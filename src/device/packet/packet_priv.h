/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files that read and write frames share: access by offset, linearising, wire constants. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <netinet/in.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include "device/packet/drop.h"
#include "device/packet/path.h"

enum {
	ETHER_BYTES = RTE_ETHER_HDR_LEN,
	IPV4_BYTES = 20,
	IPV6_BYTES = 40,
	TCP_BYTES = 20,
	UDP_BYTES = 8,
	ICMP_BYTES = 8,
	TUNNEL_BYTES = 8, /* VXLAN, and Geneve without options */
	DCCP_BYTES = 12,
	SCTP_BYTES = 12,
	IPV6_FRAGMENT_BYTES = 8,
	ARP_BYTES = 28,
};

enum { DHCP_SERVER_PORT = 67, DHCP_CLIENT_PORT = 68, DHCPV6_CLIENT_PORT = 546, DHCPV6_SERVER_PORT = 547 };

/* IPv4 fragment word, host order. */
enum { IPV4_DF = 0x4000, IPV4_MF = 0x2000, IPV4_OFFSET = 0x1fff };

static inline void *packet_at(const struct rte_mbuf *m, uint32_t offset)
{
	return rte_pktmbuf_mtod_offset(m, uint8_t *, offset);
}

static inline uint16_t load16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t load32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t load64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void store16(void *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void store32(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline uint16_t load_be16(const void *p)
{
	return rte_be_to_cpu_16(load16(p));
}

static inline void store_be16(void *p, uint16_t v)
{
	store16(p, rte_cpu_to_be_16(v));
}

static inline uint16_t fold16(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* Is the checksum of a 20-byte IPv4 header right, that is, its sum all ones? RFC 1071 in words of 64, 32 and 16 bits;
 * what is carried out is added in again. */
static inline bool ipv4_sum_ok(const uint8_t *ip)
{
	uint64_t a = load64(ip), b = load64(ip + 12), sum = a + b, c = load32(ip + 8);

	sum += sum < b;
	sum += c;
	sum += sum < c;
	uint32_t low = (uint32_t)sum, folded = low + (uint32_t)(sum >> 32);
	folded += folded < low;
	return folded + (folded << 16 | folded >> 16) >= 0xffff0000;
}

/* Sum of bytes (native 16-bit words, RFC 1071 section 2B), unfolded below 2^48. */
uint64_t checksum_bytes(const void *data, size_t length);
/* Sum of the pseudo header of RFC 9293 3.1 and RFC 8200 8.1 for the IP header at ip. */
uint64_t checksum_pseudo(const uint8_t *ip, bool v6, uint8_t proto, uint32_t length);

enum drop_reason packet_pull_slow(struct rte_mbuf *m, uint32_t length);

/* Makes the first length bytes of the frame contiguous in the first segment; pointers into it may move. */
static inline enum drop_reason packet_pull(struct rte_mbuf *m, uint32_t length)
{
	return likely(length <= m->data_len) ? DROP_NONE : packet_pull_slow(m, length);
}

/* Cuts the frame, a chain perhaps, down to length bytes. */
void packet_trim(struct rte_mbuf *m, uint32_t length);
