/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio_net_hdr to mbuf offload flags and back, checked against the frame. */
#include "device/virtio/virtio_net_header.h"

#include <netinet/in.h>
#include <rte_ether.h>
#include <rte_hash_crc.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include "device/packet/path.h"
#include "device/packet/segment.h"

enum {
	MAX_VLAN_TAGS = 2,
	MAX_EXTENSIONS = 8,
	MAX_L2_LEN = 127, /* of the mbuf's fields */
	MAX_L3_LEN = 511,
	SCTP_CHECKSUM = 8,
	TUNNEL_BYTES = 16, /* UDP and VXLAN, or Geneve without options */
};

/* Where a packet's headers are in the frame; behind the Ethernet header alone if it is no IP packet. */
struct place {
	bool v4, v6, fragment;
	uint8_t proto;
	uint32_t l3, l4;
};

struct layout {
	struct place ip;    /* the packet that the request is about */
	struct place outer; /* with a tunnel, the one that carries it */
	uint64_t tunnel;    /* RTE_MBUF_F_TX_TUNNEL_*, or 0 */
};

/* Bytes of the frame, contiguous; NULL beyond its end. */
static const void *frame_at(const struct rte_mbuf *m, uint32_t offset, uint32_t length, void *buffer)
{
	return rte_pktmbuf_read(m, offset, length, buffer);
}

static bool frame_read16(const struct rte_mbuf *m, uint32_t offset, uint16_t *ret)
{
	uint8_t buffer[2];
	const uint8_t *bytes = frame_at(m, offset, sizeof(buffer), buffer);

	if (bytes)
		*ret = (uint16_t)(bytes[0] << 8 | bytes[1]);
	return bytes != NULL;
}

static bool parse_ethernet(const struct rte_mbuf *m, uint32_t ether, struct place *place, uint16_t *ret_type)
{
	uint32_t at = ether + 2 * RTE_ETHER_ADDR_LEN;

	for (unsigned tags = 0; tags <= MAX_VLAN_TAGS; tags++, at += RTE_VLAN_HLEN) {
		if (!frame_read16(m, at, ret_type))
			return false;
		if (*ret_type == RTE_ETHER_TYPE_VLAN || *ret_type == RTE_ETHER_TYPE_QINQ)
			continue;
		place->l3 = at + (uint32_t)sizeof(*ret_type);
		return true;
	}
	return false;
}

static bool parse_ipv4(const struct rte_mbuf *m, struct place *place)
{
	struct rte_ipv4_hdr buffer;
	const struct rte_ipv4_hdr *ip = frame_at(m, place->l3, sizeof(buffer), &buffer);

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return false;
	place->v4 = true;
	place->l4 = place->l3 + ip->ihl * 4u;
	place->proto = ip->next_proto_id;
	place->fragment = ip->fragment_offset & RTE_BE16(RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK);
	return true;
}

static bool is_extension(uint8_t proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS ||
	       proto == IPPROTO_FRAGMENT || proto == IPPROTO_AH;
}

static bool parse_ipv6(const struct rte_mbuf *m, struct place *place)
{
	struct rte_ipv6_hdr buffer;
	const struct rte_ipv6_hdr *ip = frame_at(m, place->l3, sizeof(buffer), &buffer);

	if (!ip || (ip->vtc_flow & RTE_BE32(0xf0000000)) != RTE_BE32(0x60000000))
		return false;
	place->v6 = true;
	place->proto = ip->proto;
	place->l4 = place->l3 + (uint32_t)sizeof(*ip);
	for (unsigned n = 0; is_extension(place->proto); n++) {
		uint8_t bytes[2];
		const uint8_t *extension = frame_at(m, place->l4, sizeof(bytes), bytes);
		if (!extension || n == MAX_EXTENSIONS)
			return false;
		if (place->proto == IPPROTO_FRAGMENT) {
			place->fragment = true;
			place->l4 += 8;
		} else if (place->proto == IPPROTO_AH) {
			place->l4 += (extension[1] + 2) * 4u;
		} else {
			place->l4 += (extension[1] + 1) * 8u;
		}
		place->proto = extension[0];
	}
	return true;
}

/* The packet in the Ethernet frame at ether; false if its headers are cut off or wrong. */
static bool parse_packet(const struct rte_mbuf *m, uint32_t ether, struct place *ret)
{
	uint16_t type;

	*ret = (struct place){ 0 };
	if (!parse_ethernet(m, ether, ret, &type))
		return false;
	if (type == RTE_ETHER_TYPE_IPV4)
		return parse_ipv4(m, ret);
	if (type == RTE_ETHER_TYPE_IPV6)
		return parse_ipv6(m, ret);
	return true;
}

/* The mbuf's fields have room for the lengths of these headers, the first of which begin at start. */
static bool fits(const struct place *place, uint32_t start)
{
	return place->l3 - start <= MAX_L2_LEN && place->l4 - place->l3 <= MAX_L3_LEN;
}

/* The Ethernet frame in the tunnel whose UDP header is at l4; 0 if there is none. */
static uint32_t tunnel_payload(const struct rte_mbuf *m, uint32_t l4, uint64_t *ret_tunnel)
{
	uint8_t buffer[TUNNEL_BYTES];
	const uint8_t *udp = frame_at(m, l4, sizeof(buffer), buffer);

	switch (udp ? udp[2] << 8 | udp[3] : 0) {
	case VXLAN_PORT:
		*ret_tunnel = RTE_MBUF_F_TX_TUNNEL_VXLAN;
		return l4 + TUNNEL_BYTES;
	case GENEVE_PORT:
		*ret_tunnel = RTE_MBUF_F_TX_TUNNEL_GENEVE;
		return l4 + TUNNEL_BYTES + (udp[8] & 0x3f) * 4u;
	default:
		return 0;
	}
}

/* If the packet whose layer 4 is at start is inside a tunnel, it takes the place of the one that carries it. */
static void enter_tunnel(const struct rte_mbuf *m, uint32_t start, struct layout *layout)
{
	const struct place *outer = &layout->ip;
	struct place inner;
	uint64_t tunnel = 0;

	if (outer->proto != IPPROTO_UDP || outer->fragment || !fits(outer, 0))
		return;
	uint32_t ether = tunnel_payload(m, outer->l4, &tunnel);
	if (!ether || !parse_packet(m, ether, &inner) || inner.l4 != start || inner.fragment ||
	    !fits(&inner, outer->l4))
		return;
	layout->outer = layout->ip;
	layout->ip = inner;
	layout->tunnel = tunnel;
}

/* Writes two bytes anywhere in a chain. */
static void frame_write16(struct rte_mbuf *m, uint32_t offset, uint16_t value)
{
	uint8_t bytes[2];

	memcpy(bytes, &value, sizeof(bytes));
	for (unsigned i = 0; i < sizeof(bytes); i++, offset++) {
		while (m && offset >= m->data_len) {
			offset -= m->data_len;
			m = m->next;
		}
		if (!m)
			return;
		*rte_pktmbuf_mtod_offset(m, uint8_t *, offset) = bytes[i];
	}
}

/* ---- header to mbuf ---- */

/* CRC-32C of everything from start, its own field as zero (RFC 9260, appendix A). */
static bool sctp_complete(struct rte_mbuf *m, uint32_t start)
{
	uint32_t crc = UINT32_MAX, skip = start, at = start + SCTP_CHECKSUM;

	if (at + sizeof(crc) > m->pkt_len)
		return false;
	frame_write16(m, at, 0);
	frame_write16(m, at + 2, 0);
	for (const struct rte_mbuf *part = m; part; part = part->next) {
		for (uint32_t i = skip; i < part->data_len; i++)
			crc = rte_hash_crc_1byte(*rte_pktmbuf_mtod_offset(part, const uint8_t *, i), crc);
		skip -= RTE_MIN(skip, part->data_len);
	}
	crc = rte_cpu_to_le_32(~crc);
	uint16_t halves[2];
	memcpy(halves, &crc, sizeof(crc));
	frame_write16(m, at, halves[0]);
	frame_write16(m, at + 2, halves[1]);
	return true;
}

/* The checksum of a layout that mbuf flags cannot name: done now, as the header says. The field holds the sum of the
 * pseudo header. */
static bool checksum_complete(struct rte_mbuf *m, uint32_t start, uint32_t offset)
{
	uint32_t sum = 0;

	if (!packet_sum(m, start, m->pkt_len - start, &sum))
		return false;
	uint16_t checksum = (uint16_t)~__rte_raw_cksum_reduce(sum);
	/* In UDP 0 says that there is no checksum; 0xffff is the same number. */
	frame_write16(m, start + offset, checksum ? checksum : 0xffff);
	return true;
}

static uint32_t checksum_place(const struct place *place)
{
	if (place->proto == IPPROTO_TCP)
		return offsetof(struct rte_tcp_hdr, cksum);
	if (place->proto == IPPROTO_UDP)
		return offsetof(struct rte_udp_hdr, dgram_cksum);
	return 0;
}

/* Segments differ in length, so their outer headers have checksums of their own, too. An outer UDP checksum of zero
 * says that there is none. Of a frame that is not to be cut the sender has completed them (local checksum offload). */
static void request_outer(struct rte_mbuf *m, const struct place *outer)
{
	uint16_t sum;

	if (outer->v4)
		m->ol_flags |= RTE_MBUF_F_TX_OUTER_IP_CKSUM;
	if (frame_read16(m, outer->l4 + offsetof(struct rte_udp_hdr, dgram_cksum), &sum) && sum != 0)
		m->ol_flags |= RTE_MBUF_F_TX_OUTER_UDP_CKSUM;
}

static bool tcp_segmentation(struct rte_mbuf *m, uint8_t type, const struct place *ip, uint64_t features)
{
	bool v4 = type == VIRTIO_NET_HDR_GSO_TCPV4, v6 = type == VIRTIO_NET_HDR_GSO_TCPV6;
	struct rte_tcp_hdr buffer;

	if (!(v4 && ip->v4 && features & VIRTIO_NET_BIT(VIRTIO_NET_F_HOST_TSO4)) &&
	    !(v6 && ip->v6 && features & VIRTIO_NET_BIT(VIRTIO_NET_F_HOST_TSO6)))
		return false;
	const struct rte_tcp_hdr *tcp = frame_at(m, ip->l4, sizeof(buffer), &buffer);
	if (ip->proto != IPPROTO_TCP || !tcp)
		return false;
	unsigned l4_len = (tcp->data_off >> 4) * 4u;
	if (l4_len < sizeof(*tcp) || ip->l4 + l4_len >= m->pkt_len)
		return false;
	m->l4_len = l4_len;
	m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | (ip->v4 ? RTE_MBUF_F_TX_IP_CKSUM : 0);
	return true;
}

static bool segmentation_apply(struct rte_mbuf *m, const struct virtio_net_hdr *header, const struct layout *layout,
			       uint64_t features)
{
	const struct place *ip = &layout->ip;
	uint8_t type = header->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;

	if (header->gso_size == 0)
		return false;
	m->tso_segsz = header->gso_size;
	if (layout->tunnel)
		request_outer(m, &layout->outer);
	if (type != VIRTIO_NET_GSO_UDP_L4)
		return tcp_segmentation(m, type, ip, features);
	m->l4_len = sizeof(struct rte_udp_hdr);
	m->ol_flags |= RTE_MBUF_F_TX_UDP_SEG;
	return ip->proto == IPPROTO_UDP && features & VIRTIO_NET_BIT(VIRTIO_NET_F_HOST_USO_BIT) &&
	       ip->l4 + sizeof(struct rte_udp_hdr) < m->pkt_len;
}

static void request_checksum(struct rte_mbuf *m, const struct layout *layout)
{
	const struct place *ip = &layout->ip;

	m->ol_flags |= (ip->v4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6) |
		       (ip->proto == IPPROTO_TCP ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM);
	m->l3_len = (ip->l4 - ip->l3) & MAX_L3_LEN;
	if (!layout->tunnel) {
		m->l2_len = ip->l3 & MAX_L2_LEN;
		return;
	}
	m->ol_flags |= layout->tunnel | (layout->outer.v4 ? RTE_MBUF_F_TX_OUTER_IPV4 : RTE_MBUF_F_TX_OUTER_IPV6);
	m->outer_l2_len = layout->outer.l3 & MAX_L2_LEN;
	m->outer_l3_len = (layout->outer.l4 - layout->outer.l3) & MAX_L3_LEN;
	m->l2_len = (ip->l3 - layout->outer.l4) & MAX_L2_LEN;
}

bool virtio_net_header_apply(struct rte_mbuf *m, const struct virtio_net_hdr *header, uint64_t features)
{
	uint32_t start = header->csum_start, offset = header->csum_offset;
	bool segment = header->gso_type != VIRTIO_NET_HDR_GSO_NONE;
	struct layout layout = { .tunnel = 0 };
	const struct place *ip = &layout.ip;

	if (!(header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return !segment;
	if (!(features & VIRTIO_NET_BIT(VIRTIO_NET_F_CSUM)) || start < RTE_ETHER_HDR_LEN ||
	    start + offset + sizeof(uint16_t) > m->pkt_len || !parse_packet(m, 0, &layout.ip))
		return false;
	bool known = ip->v4 || ip->v6;
	if (known && (start < ip->l4 || ip->fragment))
		return false;
	if (known && start > ip->l4 && features & VIRTIO_NET_HEADER_TUNNELS)
		enter_tunnel(m, start, &layout);
	if (known && start == ip->l4 && ip->proto == IPPROTO_SCTP && offset == SCTP_CHECKSUM)
		return !segment && sctp_complete(m, start);
	uint32_t place = checksum_place(ip);
	if (!known || start > ip->l4 || place == 0 || (!layout.tunnel && !fits(ip, 0)))
		return !segment && checksum_complete(m, start, offset);
	if (offset != place)
		return false;
	request_checksum(m, &layout);
	return !segment || segmentation_apply(m, header, &layout, features);
}

/* ---- mbuf to header ---- */

/* What an mbuf asks for, in offsets of the frame. */
struct request {
	uint32_t l3, l4;
	uint8_t proto;     /* 0: no upper-layer checksum */
	uint16_t checksum; /* offset in the layer-4 header */
};

static bool read_request(const struct rte_mbuf *m, struct request *ret)
{
	uint64_t flags = m->ol_flags, l4 = flags & RTE_MBUF_F_TX_L4_MASK;
	bool tunnel = flags & RTE_MBUF_F_TX_TUNNEL_MASK;

	*ret = (struct request){ .l3 = m->l2_len + (tunnel ? m->outer_l2_len + m->outer_l3_len : 0u) };
	ret->l4 = ret->l3 + m->l3_len;
	if (!l4 && !(flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)))
		return true;
	bool tcp = flags & RTE_MBUF_F_TX_TCP_SEG || l4 == RTE_MBUF_F_TX_TCP_CKSUM;
	ret->proto = tcp ? IPPROTO_TCP : IPPROTO_UDP;
	ret->checksum = tcp ? offsetof(struct rte_tcp_hdr, cksum) : offsetof(struct rte_udp_hdr, dgram_cksum);
	uint32_t ip_bytes = flags & RTE_MBUF_F_TX_IPV6 ? sizeof(struct rte_ipv6_hdr) : sizeof(struct rte_ipv4_hdr);
	uint32_t l4_bytes = tcp ? sizeof(struct rte_tcp_hdr) : sizeof(struct rte_udp_hdr);
	return l4 != RTE_MBUF_F_TX_SCTP_CKSUM && m->l3_len >= ip_bytes && ret->l4 + l4_bytes <= m->pkt_len;
}

/* Of an IPv4 header: what it says about its length must be true. */
static bool fill_ip_checksum(struct rte_mbuf *m, uint32_t l3)
{
	struct rte_ipv4_hdr buffer;
	const struct rte_ipv4_hdr *ip = frame_at(m, l3, sizeof(buffer), &buffer);
	uint32_t sum = 0;

	if (!ip || ip->version != 4 || ip->ihl < 5 || l3 + ip->ihl * 4u > m->pkt_len)
		return false;
	uint32_t length = ip->ihl * 4u, at = l3 + offsetof(struct rte_ipv4_hdr, hdr_checksum);
	frame_write16(m, at, 0);
	if (!packet_sum(m, l3, length, &sum))
		return false;
	frame_write16(m, at, (uint16_t)~__rte_raw_cksum_reduce(sum));
	return true;
}

/* Receivers expect the sum over the pseudo header, full length included, in the checksum field. The length is the
 * packet's own: short frames may be padded. */
static bool pseudo_sum(const struct rte_mbuf *m, const struct request *request, uint16_t *ret)
{
	union {
		struct rte_ipv4_hdr v4;
		struct rte_ipv6_hdr v6;
	} buffer;
	uint32_t sum = rte_cpu_to_be_16(request->proto);

	if (m->ol_flags & RTE_MBUF_F_TX_IPV6) {
		const struct rte_ipv6_hdr *ip = frame_at(m, request->l3, sizeof(buffer.v6), &buffer.v6);
		if (!ip)
			return false;
		sum += rte_cpu_to_be_16((uint16_t)(rte_be_to_cpu_16(ip->payload_len) + sizeof(*ip) - m->l3_len));
		sum = __rte_raw_cksum(&ip->src_addr, 32, sum);
	} else {
		const struct rte_ipv4_hdr *ip = frame_at(m, request->l3, sizeof(buffer.v4), &buffer.v4);
		if (!ip)
			return false;
		sum += rte_cpu_to_be_16((uint16_t)(rte_be_to_cpu_16(ip->total_length) - m->l3_len));
		sum = __rte_raw_cksum(&ip->src_addr, 8, sum);
	}
	*ret = __rte_raw_cksum_reduce(sum);
	return true;
}

static bool segmentation_make(const struct rte_mbuf *m, const struct request *request, uint64_t features,
			      struct virtio_net_hdr *ret)
{
	struct rte_tcp_hdr buffer;
	uint32_t l4_len = sizeof(struct rte_udp_hdr);

	if (m->tso_segsz == 0 || m->ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK)
		return false;
	ret->gso_type = VIRTIO_NET_GSO_UDP_L4;
	if (request->proto == IPPROTO_TCP) {
		const struct rte_tcp_hdr *tcp = frame_at(m, request->l4, sizeof(buffer), &buffer);
		if (!tcp)
			return false;
		l4_len = (tcp->data_off >> 4) * 4u;
		ret->gso_type = m->ol_flags & RTE_MBUF_F_TX_IPV6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
		if (tcp->tcp_flags & RTE_TCP_CWR_FLAG && features & VIRTIO_NET_BIT(VIRTIO_NET_F_GUEST_ECN))
			ret->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	}
	ret->gso_size = m->tso_segsz;
	ret->hdr_len = (uint16_t)(request->l4 + l4_len);
	return l4_len >= sizeof(struct rte_udp_hdr) && ret->hdr_len < m->pkt_len;
}

bool virtio_net_header_make(struct rte_mbuf *m, uint64_t features, struct virtio_net_hdr *ret)
{
	struct request request;
	uint16_t sum;

	*ret = (struct virtio_net_hdr){ 0 };
	if (!(m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK))
		return true;
	if (!read_request(m, &request) || (m->ol_flags & RTE_MBUF_F_TX_IP_CKSUM && !fill_ip_checksum(m, request.l3)) ||
	    (m->ol_flags & RTE_MBUF_F_TX_OUTER_IP_CKSUM && !fill_ip_checksum(m, m->outer_l2_len)))
		return false;
	if (request.proto == 0)
		return true;
	if (!pseudo_sum(m, &request, &sum))
		return false;
	frame_write16(m, request.l4 + request.checksum, sum);
	ret->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	ret->csum_start = (uint16_t)request.l4;
	ret->csum_offset = request.checksum;
	if (m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG))
		return segmentation_make(m, &request, features, ret);
	return true;
}
