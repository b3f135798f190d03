/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio_net_hdr to mbuf offload flags and back, checked against the frame. */
#include <netinet/in.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include "device/virtio/virtio_net_priv.h"

enum {
	MAX_VLAN_TAGS = 2,
	MAX_EXTENSIONS = 8,
	MAX_L3_LEN = 511, /* of the mbuf's field */
};

/* What a frame is, up to its transport header. */
struct frame {
	bool v4, v6, fragment;
	uint8_t proto;
	uint16_t l2_len, l3_len;
};

/* Bytes of the frame, contiguous; NULL beyond its end. */
static const void *frame_at(const struct rte_mbuf *m, uint32_t offset, uint32_t length, void *buffer)
{
	return rte_pktmbuf_read(m, offset, length, buffer);
}

static bool parse_ethernet(const struct rte_mbuf *m, struct frame *frame, uint16_t *ret_type)
{
	rte_be16_t buffer;
	uint32_t at = 2 * RTE_ETHER_ADDR_LEN;

	for (unsigned tags = 0; tags <= MAX_VLAN_TAGS; tags++, at += RTE_VLAN_HLEN) {
		const rte_be16_t *type = frame_at(m, at, sizeof(buffer), &buffer);
		if (!type)
			return false;
		*ret_type = rte_be_to_cpu_16(*type);
		if (*ret_type == RTE_ETHER_TYPE_VLAN || *ret_type == RTE_ETHER_TYPE_QINQ)
			continue;
		frame->l2_len = (uint16_t)(at + sizeof(*type));
		return true;
	}
	return false;
}

static bool parse_ipv4(const struct rte_mbuf *m, struct frame *frame)
{
	struct rte_ipv4_hdr buffer;
	const struct rte_ipv4_hdr *ip = frame_at(m, frame->l2_len, sizeof(buffer), &buffer);

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return false;
	frame->v4 = true;
	frame->l3_len = (uint16_t)(ip->ihl * 4);
	frame->proto = ip->next_proto_id;
	frame->fragment = ip->fragment_offset & RTE_BE16(RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK);
	return true;
}

static bool is_extension(uint8_t proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS ||
	       proto == IPPROTO_FRAGMENT || proto == IPPROTO_AH;
}

static bool parse_ipv6(const struct rte_mbuf *m, struct frame *frame)
{
	struct rte_ipv6_hdr buffer;
	const struct rte_ipv6_hdr *ip = frame_at(m, frame->l2_len, sizeof(buffer), &buffer);

	if (!ip || (ip->vtc_flow & RTE_BE32(0xf0000000)) != RTE_BE32(0x60000000))
		return false;
	frame->v6 = true;
	frame->proto = ip->proto;
	frame->l3_len = sizeof(*ip);
	for (unsigned n = 0; is_extension(frame->proto); n++) {
		uint8_t bytes[2];
		const uint8_t *extension = frame_at(m, frame->l2_len + frame->l3_len, sizeof(bytes), bytes);
		if (!extension || n == MAX_EXTENSIONS)
			return false;
		if (frame->proto == IPPROTO_FRAGMENT) {
			frame->fragment = true;
			frame->l3_len += 8;
		} else if (frame->proto == IPPROTO_AH) {
			frame->l3_len += (extension[1] + 2) * 4;
		} else {
			frame->l3_len += (extension[1] + 1) * 8;
		}
		frame->proto = extension[0];
	}
	return true;
}

static bool frame_parse(const struct rte_mbuf *m, struct frame *ret)
{
	uint16_t type;

	*ret = (struct frame){ 0 };
	if (!parse_ethernet(m, ret, &type))
		return false;
	if (type == RTE_ETHER_TYPE_IPV4)
		return parse_ipv4(m, ret);
	if (type == RTE_ETHER_TYPE_IPV6)
		return parse_ipv6(m, ret);
	return true;
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

/* ---- guest to mbuf ---- */

/* The checksum of a protocol that mbuf flags cannot name: done now, as the header says. */
static bool checksum_complete(struct rte_mbuf *m, uint32_t start, uint32_t offset)
{
	uint16_t sum;

	if (rte_raw_cksum_mbuf(m, start, m->pkt_len - start, &sum) < 0)
		return false;
	sum = (uint16_t)~sum;
	frame_write16(m, start + offset, sum ? sum : 0xffff);
	return true;
}

static uint32_t checksum_place(const struct frame *frame)
{
	if (frame->proto == IPPROTO_TCP)
		return offsetof(struct rte_tcp_hdr, cksum);
	if (frame->proto == IPPROTO_UDP)
		return offsetof(struct rte_udp_hdr, dgram_cksum);
	return 0;
}

static bool segmentation_apply(struct rte_mbuf *m, const struct virtio_net_hdr *header, const struct frame *frame,
			       uint64_t features)
{
	uint32_t l4 = frame->l2_len + frame->l3_len;
	uint8_t type = header->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;
	struct rte_tcp_hdr buffer;

	if (header->gso_size == 0)
		return false;
	m->tso_segsz = header->gso_size;
	if (type == VIRTIO_NET_GSO_UDP_L4) {
		m->l4_len = sizeof(struct rte_udp_hdr);
		m->ol_flags |= RTE_MBUF_F_TX_UDP_SEG;
		return frame->proto == IPPROTO_UDP && features & VIRTIO_NET_BIT(VIRTIO_NET_F_HOST_USO_BIT) &&
		       l4 + sizeof(struct rte_udp_hdr) < m->pkt_len;
	}
	bool v4 = type == VIRTIO_NET_HDR_GSO_TCPV4, v6 = type == VIRTIO_NET_HDR_GSO_TCPV6;
	if (!(v4 && frame->v4 && features & VIRTIO_NET_BIT(VIRTIO_NET_F_HOST_TSO4)) &&
	    !(v6 && frame->v6 && features & VIRTIO_NET_BIT(VIRTIO_NET_F_HOST_TSO6)))
		return false;
	const struct rte_tcp_hdr *tcp = frame_at(m, l4, sizeof(buffer), &buffer);
	if (frame->proto != IPPROTO_TCP || !tcp)
		return false;
	unsigned l4_len = (tcp->data_off >> 4) * 4u;
	if (l4_len < sizeof(*tcp) || l4 + l4_len >= m->pkt_len)
		return false;
	m->l4_len = l4_len;
	m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | (frame->v4 ? RTE_MBUF_F_TX_IP_CKSUM : 0);
	return true;
}

bool virtio_net_header_apply(struct rte_mbuf *m, const struct virtio_net_hdr *header, uint64_t features)
{
	uint32_t start = header->csum_start, offset = header->csum_offset;
	bool segment = header->gso_type != VIRTIO_NET_HDR_GSO_NONE;
	struct frame frame;

	if (!(header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return !segment;
	if (!(features & VIRTIO_NET_BIT(VIRTIO_NET_F_CSUM)) || start < RTE_ETHER_HDR_LEN ||
	    start + offset + sizeof(uint16_t) > m->pkt_len || !frame_parse(m, &frame))
		return false;
	uint32_t l4 = frame.l2_len + frame.l3_len;
	bool ip = frame.v4 || frame.v6;
	if (ip && (start < l4 || frame.fragment))
		return false;
	if (!ip || start > l4 || checksum_place(&frame) == 0 || frame.l3_len > MAX_L3_LEN)
		return !segment && checksum_complete(m, start, offset);
	if (offset != checksum_place(&frame))
		return false;
	m->l2_len = frame.l2_len;
	m->l3_len = frame.l3_len;
	m->ol_flags = (frame.v4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6) |
		      (frame.proto == IPPROTO_TCP ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM);
	return !segment || segmentation_apply(m, header, &frame, features);
}

/* ---- mbuf to guest ---- */

/* Drivers expect the sum over the pseudo header, full length included, in the checksum field. The length is the
 * packet's own: short frames may be padded. */
static uint16_t pseudo_sum(const struct rte_mbuf *m, uint8_t proto)
{
	union {
		struct rte_ipv4_hdr v4;
		struct rte_ipv6_hdr v6;
	} buffer;
	uint32_t sum = rte_cpu_to_be_16(proto);

	if (m->ol_flags & RTE_MBUF_F_TX_IPV4) {
		const struct rte_ipv4_hdr *ip = frame_at(m, m->l2_len, sizeof(buffer.v4), &buffer.v4);
		if (!ip)
			return 0;
		sum += rte_cpu_to_be_16((uint16_t)(rte_be_to_cpu_16(ip->total_length) - m->l3_len));
		sum = __rte_raw_cksum(&ip->src_addr, 8, sum);
	} else {
		const struct rte_ipv6_hdr *ip = frame_at(m, m->l2_len, sizeof(buffer.v6), &buffer.v6);
		if (!ip)
			return 0;
		sum += rte_cpu_to_be_16((uint16_t)(rte_be_to_cpu_16(ip->payload_len) + sizeof(*ip) - m->l3_len));
		sum = __rte_raw_cksum(&ip->src_addr, 32, sum);
	}
	return __rte_raw_cksum_reduce(sum);
}

static void ip_checksum_fill(struct rte_mbuf *m)
{
	uint32_t at = m->l2_len + offsetof(struct rte_ipv4_hdr, hdr_checksum);
	uint16_t sum;

	frame_write16(m, at, 0);
	if (rte_raw_cksum_mbuf(m, m->l2_len, m->l3_len, &sum) == 0)
		frame_write16(m, at, (uint16_t)~sum);
}

static uint8_t segmentation_type(const struct rte_mbuf *m, uint64_t features)
{
	uint8_t buffer, type;

	if (m->ol_flags & RTE_MBUF_F_TX_UDP_SEG)
		return VIRTIO_NET_GSO_UDP_L4;
	type = m->ol_flags & RTE_MBUF_F_TX_IPV4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
	const uint8_t *flags = frame_at(m, m->l2_len + m->l3_len + offsetof(struct rte_tcp_hdr, tcp_flags), 1, &buffer);
	bool cwr = flags && *flags & RTE_TCP_CWR_FLAG;
	return cwr && features & VIRTIO_NET_BIT(VIRTIO_NET_F_GUEST_ECN) ? type | VIRTIO_NET_HDR_GSO_ECN : type;
}

void virtio_net_header_make(struct rte_mbuf *m, uint64_t features, struct virtio_net_hdr *ret)
{
	uint64_t flags = m->ol_flags;
	uint32_t l4 = m->l2_len + m->l3_len;

	*ret = (struct virtio_net_hdr){ 0 };
	if (flags & RTE_MBUF_F_TX_IP_CKSUM)
		ip_checksum_fill(m);
	bool segment = flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG);
	if (!segment && !(flags & RTE_MBUF_F_TX_L4_MASK))
		return;
	bool tcp = flags & RTE_MBUF_F_TX_TCP_SEG || (flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM;
	uint16_t place = tcp ? offsetof(struct rte_tcp_hdr, cksum) : offsetof(struct rte_udp_hdr, dgram_cksum);
	if (l4 + place + sizeof(uint16_t) > m->pkt_len)
		return;
	frame_write16(m, l4 + place, pseudo_sum(m, tcp ? IPPROTO_TCP : IPPROTO_UDP));
	ret->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	ret->csum_start = (uint16_t)l4;
	ret->csum_offset = place;
	if (!segment)
		return;
	ret->gso_type = segmentation_type(m, features);
	ret->gso_size = m->tso_segsz;
	ret->hdr_len = (uint16_t)(l4 + m->l4_len);
}
