/* SPDX-License-Identifier: BSD-3-Clause */
/* Translation between virtio-net headers and mbuf flags. */
#include "operating/vnet_header.h"

#include <string.h>
#include <netinet/in.h>
#include <rte_ether.h>
#include <rte_hash_crc.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include "device/packet/path.h"
#include "device/packet/segment.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4 /* headers older than Linux 6.2 */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

enum {
	VLANS_MAX = 2,
	EXTENSIONS_MAX = 8,
	TCP_CHECKSUM = 16, /* offsets in the layer-4 header */
	TCP_DATA_OFFSET = 12,
	TCP_FLAGS = 13,
	TCP_CWR = 0x80,
	UDP_CHECKSUM = 6,
	SCTP_CHECKSUM = 8,
	TUNNEL_BYTES = 16, /* UDP and VXLAN or Geneve without options */
	L2_LEN_MAX = 127,  /* of the mbuf field */
	L3_LEN_MAX = 511,
};

/* ---- where the headers are ---- */

struct ip_place {
	uint32_t l3, l4; /* offsets from the start of the frame */
	bool v6;
	uint8_t proto; /* of layer 4 */
};

struct layout {
	struct ip_place outer, inner; /* outer: only with a tunnel */
	uint64_t tunnel;              /* RTE_MBUF_F_TX_TUNNEL_*, or 0 */
};

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* Behind the Ethernet header at offset and its VLAN tags: the offset of what follows and its type; 0 if cut off. */
static uint32_t walk_ether(const uint8_t *frame, uint32_t length, uint32_t offset, uint16_t *ret_type)
{
	uint32_t type_at = offset + 12;

	for (int tags = 0; type_at + 2 <= length; tags++, type_at += 4) {
		*ret_type = be16(frame + type_at);
		if ((*ret_type != RTE_ETHER_TYPE_VLAN && *ret_type != RTE_ETHER_TYPE_QINQ) || tags == VLANS_MAX)
			return type_at + 2;
	}
	return 0;
}

static bool walk_ipv4(const uint8_t *frame, uint32_t length, struct ip_place *place)
{
	const uint8_t *ip = frame + place->l3;

	if (place->l3 + 20 > length || ip[0] >> 4 != 4 || (ip[0] & 15) < 5)
		return false;
	place->v6 = false;
	place->proto = ip[9];
	place->l4 = place->l3 + (ip[0] & 15) * 4u;
	return place->l4 <= length && (be16(ip + 6) & 0x3fff) == 0; /* no fragment */
}

static bool walk_ipv6(const uint8_t *frame, uint32_t length, struct ip_place *place)
{
	if (place->l3 + 40 > length || frame[place->l3] >> 4 != 6)
		return false;
	place->v6 = true;
	place->proto = frame[place->l3 + 6];
	place->l4 = place->l3 + 40;
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		if (place->proto != IPPROTO_HOPOPTS && place->proto != IPPROTO_ROUTING &&
		    place->proto != IPPROTO_DSTOPTS)
			return place->l4 <= length;
		if (place->l4 + 8 > length)
			return false;
		place->proto = frame[place->l4];
		place->l4 += 8u + frame[place->l4 + 1] * 8u;
	}
	return false;
}

static bool walk_ip(const uint8_t *frame, uint32_t length, uint32_t ether, struct ip_place *place)
{
	uint16_t type;

	place->l3 = walk_ether(frame, length, ether, &type);
	if (place->l3 == 0)
		return false;
	if (type == RTE_ETHER_TYPE_IPV4)
		return walk_ipv4(frame, length, place);
	return type == RTE_ETHER_TYPE_IPV6 && walk_ipv6(frame, length, place);
}

/* The tunnel's header at l4: the offset of the inner frame, 0 if there is none. */
static uint32_t walk_tunnel(const uint8_t *frame, uint32_t length, uint32_t l4, uint64_t *ret_tunnel)
{
	if (l4 + TUNNEL_BYTES > length)
		return 0;
	switch (be16(frame + l4 + 2)) {
	case VXLAN_PORT:
		*ret_tunnel = RTE_MBUF_F_TX_TUNNEL_VXLAN;
		return l4 + TUNNEL_BYTES;
	case GENEVE_PORT:
		*ret_tunnel = RTE_MBUF_F_TX_TUNNEL_GENEVE;
		return l4 + TUNNEL_BYTES + (frame[l4 + 8] & 0x3f) * 4u;
	default:
		return 0;
	}
}

/* Finds the packet whose layer-4 header is at start: the frame's own, or one inside VXLAN or Geneve. */
static bool find_layout(const uint8_t *frame, uint32_t length, uint32_t start, struct layout *ret)
{
	ret->tunnel = 0;
	if (!walk_ip(frame, length, 0, &ret->inner))
		return false;
	if (ret->inner.l4 == start)
		return ret->inner.l3 <= L2_LEN_MAX && start - ret->inner.l3 <= L3_LEN_MAX;
	if (ret->inner.l4 > start || ret->inner.proto != IPPROTO_UDP)
		return false;
	ret->outer = ret->inner;
	uint32_t ether = walk_tunnel(frame, length, ret->outer.l4, &ret->tunnel);
	return ether > 0 && walk_ip(frame, length, ether, &ret->inner) && ret->inner.l4 == start &&
	       ret->outer.l3 <= L2_LEN_MAX && ret->outer.l4 - ret->outer.l3 <= L3_LEN_MAX &&
	       ret->inner.l3 - ret->outer.l4 <= L2_LEN_MAX && start - ret->inner.l3 <= L3_LEN_MAX;
}

/* ---- received ---- */

static void set_lengths(struct rte_mbuf *m, const struct layout *layout)
{
	m->ol_flags |= layout->inner.v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
	m->l3_len = (layout->inner.l4 - layout->inner.l3) & L3_LEN_MAX;
	if (!layout->tunnel) {
		m->l2_len = layout->inner.l3 & L2_LEN_MAX;
		return;
	}
	m->ol_flags |= layout->tunnel | (layout->outer.v6 ? RTE_MBUF_F_TX_OUTER_IPV6 : RTE_MBUF_F_TX_OUTER_IPV4);
	m->outer_l2_len = layout->outer.l3 & L2_LEN_MAX;
	m->outer_l3_len = (layout->outer.l4 - layout->outer.l3) & L3_LEN_MAX;
	m->l2_len = (layout->inner.l3 - layout->outer.l4) & L2_LEN_MAX;
}

/* RFC 9260, appendix A. The checksum covers everything from start, its own field as zero. */
static bool complete_sctp(struct rte_mbuf *m, uint32_t start)
{
	uint32_t at = start + SCTP_CHECKSUM, crc = UINT32_MAX;

	if (at + 4 > m->data_len)
		return false;
	memset(rte_pktmbuf_mtod_offset(m, uint8_t *, at), 0, 4);
	uint32_t skip = start;
	for (const struct rte_mbuf *part = m; part; part = part->next) {
		for (uint32_t i = skip; i < part->data_len; i++)
			crc = rte_hash_crc_1byte(*rte_pktmbuf_mtod_offset(part, const uint8_t *, i), crc);
		skip -= RTE_MIN(skip, part->data_len);
	}
	crc = ~crc;
	memcpy(rte_pktmbuf_mtod_offset(m, uint8_t *, at), &crc, sizeof(crc));
	return true;
}

/* Layouts that mbuf flags have no words for. The field holds the sum of the pseudo header. */
static bool complete(struct rte_mbuf *m, uint32_t start, uint32_t offset)
{
	uint32_t sum = 0;

	if (start + offset + 2 > m->data_len || !packet_sum(m, start, m->pkt_len - start, &sum))
		return false;
	sum = (sum & 0xffff) + (sum >> 16);
	uint16_t checksum = (uint16_t) ~(sum + (sum >> 16));
	if (checksum == 0) /* the same value, and in UDP 0 says that there is no checksum */
		checksum = 0xffff;
	memcpy(rte_pktmbuf_mtod_offset(m, uint8_t *, start + offset), &checksum, sizeof(checksum));
	return true;
}

static bool request_checksum(struct rte_mbuf *m, uint32_t start, uint32_t offset, struct layout *layout)
{
	bool known = find_layout(rte_pktmbuf_mtod(m, const uint8_t *), m->data_len, start, layout);

	if (known && layout->inner.proto == IPPROTO_TCP && offset == TCP_CHECKSUM) {
		m->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
	} else if (known && layout->inner.proto == IPPROTO_UDP && offset == UDP_CHECKSUM) {
		m->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM;
	} else {
		bool sctp = known && layout->inner.proto == IPPROTO_SCTP && offset == SCTP_CHECKSUM;
		layout->inner.proto = IPPROTO_NONE;
		return sctp ? complete_sctp(m, start) : complete(m, start, offset);
	}
	set_lengths(m, layout);
	m->l4_len = layout->inner.proto == IPPROTO_UDP ? 8 : 20;
	return start + m->l4_len <= m->data_len;
}

/* Segments differ in length, so their outer headers have checksums of their own, too. An outer UDP checksum of zero
 * says that there is none. Of a frame that is not to be cut the sender has completed them (local checksum offload). */
static void request_outer(struct rte_mbuf *m, const struct ip_place *outer)
{
	if (!outer->v6)
		m->ol_flags |= RTE_MBUF_F_TX_OUTER_IP_CKSUM;
	if (be16(rte_pktmbuf_mtod_offset(m, const uint8_t *, outer->l4 + UDP_CHECKSUM)) != 0)
		m->ol_flags |= RTE_MBUF_F_TX_OUTER_UDP_CKSUM;
}

static bool request_segmentation(struct rte_mbuf *m, const struct virtio_net_hdr *header, const struct layout *layout)
{
	const struct ip_place *ip = &layout->inner;

	switch (header->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
	case VIRTIO_NET_HDR_GSO_TCPV6:
		if (ip->proto != IPPROTO_TCP ||
		    ip->v6 != ((header->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_TCPV6))
			return false;
		m->l4_len = *rte_pktmbuf_mtod_offset(m, uint8_t *, ip->l4 + TCP_DATA_OFFSET) >> 4 << 2;
		m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
		break;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		if (ip->proto != IPPROTO_UDP)
			return false;
		m->ol_flags |= RTE_MBUF_F_TX_UDP_SEG;
		break;
	default:
		return false;
	}
	m->tso_segsz = header->gso_size;
	if (layout->tunnel)
		request_outer(m, &layout->outer);
	return header->gso_size > 0 && m->l4_len >= 8 && ip->l4 + m->l4_len <= m->data_len;
}

bool vnet_to_mbuf(const struct virtio_net_hdr *header, struct rte_mbuf *m)
{
	struct layout layout;

	if (header->flags & VIRTIO_NET_HDR_F_DATA_VALID)
		m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		if (!request_checksum(m, header->csum_start, header->csum_offset, &layout))
			return false;
	} else {
		layout.inner.proto = IPPROTO_NONE;
	}
	if (header->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return true;
	return request_segmentation(m, header, &layout);
}

/* ---- to be sent ---- */

static void fill_ipv4_checksum(uint8_t *ip)
{
	uint16_t sum;

	memset(ip + 10, 0, 2);
	sum = (uint16_t)~rte_raw_cksum(ip, (ip[0] & 15) * 4u);
	memcpy(ip + 10, &sum, sizeof(sum));
}

static uint16_t pseudo_sum(const uint8_t *ip, bool v6, uint32_t l3_length, uint8_t proto)
{
	struct {
		rte_be32_t length, proto;
	} tail;
	uint32_t length = v6 ? be16(ip + 4) + 40u - l3_length : be16(ip + 2) - l3_length;

	tail.length = rte_cpu_to_be_32(length);
	tail.proto = rte_cpu_to_be_32(proto);
	uint32_t sum = rte_raw_cksum(ip + (v6 ? 8 : 12), v6 ? 32 : 8) + rte_raw_cksum(&tail, sizeof(tail));
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

struct request {
	uint32_t l3, l4;
	uint8_t proto;
	uint32_t checksum; /* offset in the layer-4 header */
};

static bool read_request(const struct rte_mbuf *m, struct request *ret)
{
	bool tunnel = m->ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK;

	ret->l3 = m->l2_len + (tunnel ? m->outer_l2_len + m->outer_l3_len : 0u);
	ret->l4 = ret->l3 + m->l3_len;
	if (m->ol_flags & RTE_MBUF_F_TX_TCP_SEG || (m->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM) {
		ret->proto = IPPROTO_TCP;
		ret->checksum = TCP_CHECKSUM;
	} else {
		ret->proto = IPPROTO_UDP;
		ret->checksum = UDP_CHECKSUM;
	}
	if (m->ol_flags & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)) {
		uint32_t ip_bytes = m->ol_flags & RTE_MBUF_F_TX_IPV6 ? 40 : 20;
		return (m->ol_flags & RTE_MBUF_F_TX_L4_MASK) != RTE_MBUF_F_TX_SCTP_CKSUM && m->l3_len >= ip_bytes &&
		       ret->l4 + (ret->proto == IPPROTO_TCP ? 20u : 8u) <= m->data_len;
	}
	ret->proto = 0;
	return true;
}

/* Of IPv4 headers: what the header says about its length must be true, too. */
static bool fill_ip_checksums(struct rte_mbuf *m, const struct request *request)
{
	struct {
		uint64_t flag;
		uint32_t at;
	} headers[] = {
		{ RTE_MBUF_F_TX_IP_CKSUM, request->l3 },
		{ RTE_MBUF_F_TX_OUTER_IP_CKSUM, m->outer_l2_len },
	};

	for (int i = 0; i < 2; i++) {
		if (!(m->ol_flags & headers[i].flag))
			continue;
		uint8_t *ip = rte_pktmbuf_mtod_offset(m, uint8_t *, headers[i].at);
		if (headers[i].at + 20 > m->data_len || ip[0] >> 4 != 4 || (ip[0] & 15) < 5 ||
		    headers[i].at + (ip[0] & 15) * 4u > m->data_len)
			return false;
		fill_ipv4_checksum(ip);
	}
	return true;
}

static bool set_segmentation(const struct rte_mbuf *m, const struct request *request, struct virtio_net_hdr *ret)
{
	const uint8_t *l4 = rte_pktmbuf_mtod_offset(m, const uint8_t *, request->l4);
	uint32_t header = 8;

	if (m->tso_segsz == 0 || m->ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK)
		return false;
	if (request->proto == IPPROTO_TCP) {
		header = l4[TCP_DATA_OFFSET] >> 4 << 2;
		ret->gso_type = m->ol_flags & RTE_MBUF_F_TX_IPV6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
		if (l4[TCP_FLAGS] & TCP_CWR)
			ret->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	} else {
		ret->gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
	}
	ret->gso_size = m->tso_segsz;
	ret->hdr_len = (uint16_t)(request->l4 + header);
	return header >= 8 && ret->hdr_len < m->pkt_len;
}

bool vnet_from_mbuf(struct rte_mbuf *m, struct virtio_net_hdr *ret)
{
	struct request request;

	memset(ret, 0, sizeof(*ret));
	if (!(m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK)) {
		if ((m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD)
			ret->flags = VIRTIO_NET_HDR_F_DATA_VALID;
		return true;
	}
	if (!read_request(m, &request) || !fill_ip_checksums(m, &request))
		return false;
	if (request.proto == 0)
		return true;
	const uint8_t *ip = rte_pktmbuf_mtod_offset(m, const uint8_t *, request.l3);
	uint16_t sum = pseudo_sum(ip, m->ol_flags & RTE_MBUF_F_TX_IPV6, m->l3_len, request.proto);
	memcpy(rte_pktmbuf_mtod_offset(m, uint8_t *, request.l4 + request.checksum), &sum, sizeof(sum));
	ret->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	ret->csum_start = (uint16_t)request.l4;
	ret->csum_offset = (uint16_t)request.checksum;
	if (m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG))
		return set_segmentation(m, &request, ret);
	return true;
}
