/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets to the gateway's own addresses: echo requests are answered, everything else is told that nobody listens
 * (RFC 1122 3.2.2.1, RFC 4443 3.1 and 3.4, RFC 9293 3.10.7.1). */
#include "service/vswitch/datapath_priv.h"

#include <netinet/in.h>
#include "device/packet/segment.h"
#include "service/vswitch/frame.h"

enum { ECHO4_REQUEST = 8, ECHO4_REPLY = 0, ECHO6_REQUEST = 128, ECHO6_REPLY = 129, HOP_LIMIT = 64 };
enum { TCP_FIN = 0x01, TCP_SYN = 0x02, TCP_RST = 0x04, TCP_ACK = 0x10, TCP_BYTES = 20 };

static void swap(uint8_t *a, uint8_t *b, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++) {
		uint8_t kept = a[i];
		a[i] = b[i];
		b[i] = kept;
	}
}

/* Turns the frame around: MACs, addresses, a fresh hop limit. Everything that the L4 checksum covers stays equal. */
static void turn(const struct request *request)
{
	uint8_t *frame = rte_pktmbuf_mtod(request->m, uint8_t *);
	memcpy(frame, request->src_mac.bytes, 6);
	memcpy(frame + 6, request->vpc->router_mac.bytes, 6);
	uint8_t *ip = frame + request->info->l3_offset;
	if (request->src.family == IP_V6) {
		swap(ip + 8, ip + 24, 16);
		ip[7] = HOP_LIMIT;
		return;
	}
	swap(ip + 12, ip + 16, 4);
	uint16_t before, after, checksum;
	memcpy(&before, ip + 8, 2);
	ip[8] = HOP_LIMIT;
	memcpy(&after, ip + 8, 2);
	memcpy(&checksum, ip + 10, 2);
	checksum = checksum_update16(checksum, before, after);
	memcpy(ip + 10, &checksum, 2);
}

/* In place, so that any size and any fragment can be answered without reassembly: only the first fragment has a type to
 * change, and its checksum is the whole datagram's. */
static int echo(const struct request *request, uint8_t reply_type)
{
	struct rte_mbuf *m = request->m;
	const struct packet_info *info = request->info;
	if (m->ol_flags & RTE_MBUF_F_TX_L4_MASK && packet_checksum(m) != DROP_NONE)
		return request_drop(DROP_SERVICE_MALFORMED);
	if (!(info->flags & PACKET_F_LATER)) {
		uint32_t length = (uint32_t)info->l3_offset + info->l3_length - info->l4_offset;
		if (!(info->flags & PACKET_F_FRAGMENT) &&
		    !l4_checksum_ok(m, &request->src, &request->dst, info->proto, info->l4_offset, length))
			return request_drop(DROP_SERVICE_MALFORMED);
		uint8_t *icmp = rte_pktmbuf_mtod_offset(m, uint8_t *, info->l4_offset);
		uint16_t before, after, checksum;
		memcpy(&before, icmp, 2);
		icmp[0] = reply_type;
		memcpy(&after, icmp, 2);
		memcpy(&checksum, icmp + 2, 2);
		checksum = icmp_checksum_update(checksum, before, after);
		memcpy(icmp + 2, &checksum, 2);
	}
	turn(request);
	m->ol_flags &= RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT; /* whose memory it is */
	request_reply(request, m);
	return REQUEST_DONE;
}

static int reset(const struct request *request)
{
	const struct packet_info *info = request->info;
	uint8_t buffer[TCP_BYTES];
	const uint8_t *tcp = rte_pktmbuf_read(request->m, info->l4_offset, TCP_BYTES, buffer);
	if (!tcp || info->tcp_flags & TCP_RST || info->flags & PACKET_F_FRAGMENT)
		return request_drop(DROP_SERVICE_HANDLED);
	bool acked = info->tcp_flags & TCP_ACK;
	uint32_t seq, ack, data = (uint32_t)info->l3_offset + info->l3_length - info->payload_offset;
	memcpy(&seq, tcp + 4, 4);
	memcpy(&ack, tcp + 8, 4);
	data += !!(info->tcp_flags & TCP_SYN) + !!(info->tcp_flags & TCP_FIN);

	struct frame_out frame;
	frame_start(&frame, request->worker->pool, &request->src_mac, &request->vpc->router_mac, info->ether_type);
	frame_ip(&frame, &request->dst, &request->src, IPPROTO_TCP, HOP_LIMIT);
	frame_put(&frame, tcp + 2, 2);
	frame_put(&frame, tcp, 2);
	frame_put32(&frame, acked ? rte_be_to_cpu_32(ack) : 0);
	frame_put32(&frame, acked ? 0 : rte_be_to_cpu_32(seq) + data);
	frame_put8(&frame, 5 << 4);
	frame_put8(&frame, acked ? TCP_RST : TCP_RST | TCP_ACK);
	frame_put16(&frame, 0); /* window */
	frame_put32(&frame, 0); /* checksum, urgent pointer */
	struct rte_mbuf *reply = frame_finish(&frame);
	if (!reply)
		return request_drop(DROP_NO_BUFFER);
	request_reply(request, reply);
	return REQUEST_ANSWERED;
}

static int unreachable(const struct request *request, const struct icmp_error *error)
{
	icmp_send_error(request->worker, request->m, request->info, error, &request->dst, DROP_SERVICE_HANDLED);
	return REQUEST_DONE;
}

int echo_request(const struct request *request)
{
	static const struct icmp_error no_port = { .v4_type = 3, .v4_code = 3, .v6_type = 1, .v6_code = 4 };
	const struct packet_info *info = request->info;
	bool v4 = request->src.family == IP_V4;
	if (info->flags & PACKET_F_ICMP_ERROR)
		return request_drop(DROP_SERVICE_HANDLED);
	/* A later IPv6 fragment does not say what it belongs to; turned around, it does no harm. */
	bool later = info->flags & PACKET_F_LATER;
	if (info->proto == (v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) || (later && !v4)) {
		if (later || info->icmp_type == (v4 ? ECHO4_REQUEST : ECHO6_REQUEST))
			return echo(request, v4 ? ECHO4_REPLY : ECHO6_REPLY);
		return request_drop(DROP_SERVICE_HANDLED);
	}
	if (info->proto == IPPROTO_TCP)
		return reset(request);
	if (info->proto == IPPROTO_UDP)
		return unreachable(request, &no_port);
	/* RFC 4443 3.4 points at the next-header field of the IPv6 header. */
	struct icmp_error no_protocol = { .v4_type = 3, .v4_code = 2, .v6_type = 4, .v6_code = 1, .v6_value = 6 };
	return unreachable(request, &no_protocol);
}
