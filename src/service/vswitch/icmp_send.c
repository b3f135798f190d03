/* SPDX-License-Identifier: BSD-3-Clause */
/* ICMP errors that the switch sends as its tenants' router: too big, TTL expired, unreachable (RFC 792, RFC 1191,
 * RFC 1812 4.3, RFC 4443). */
#include "service/vswitch/datapath_priv.h"

#include <netinet/in.h>
#include "service/vswitch/frame.h"

enum {
	ETHER_BYTES = 14,
	/* How long an error may get: RFC 1812 4.3.2.3; RFC 4443 2.4 (c). */
	ERROR_MAX_V4 = 576,
	ERROR_MAX_V6 = 1280,
	/* Errors per second: to one vNIC; of one VPC towards the underlay. */
	RATE = 100,
	BURST = 50,
};

/* Never about an ICMP error, a later fragment, a multicast, or towards what is no single host (RFC 1812 4.3.2.7,
 * RFC 4443 2.4 (e)). */
static bool may_answer(const struct packet_info *info)
{
	return !(info->flags & (PACKET_F_ICMP_ERROR | PACKET_F_LATER | PACKET_F_MULTICAST));
}

static bool within_rate(struct dp_worker *worker, const struct request *request)
{
	struct dp_bucket *bucket = request->vnic ? &request->vnic->runtime->icmp_errors : &request->vpc->icmp_errors;
	return bucket_take(bucket, RATE, BURST, path_now_ns(worker->path), 1) == 1;
}

/* The router that the sender knows: the gateway of its own subnet, else of the destination's. */
static bool gateway_of(const struct request *request, struct ip_addr *ret)
{
	const struct dp_subnet *candidates[] = { request->subnet, dp_subnet_find(request->vpc, &request->dst) };
	for (unsigned i = 0; i < 2; i++) {
		if (!candidates[i])
			continue;
		*ret = request->src.family == IP_V4 ? candidates[i]->gateway_v4 : candidates[i]->gateway_v6;
		if (ret->family)
			return true;
	}
	return false;
}

static struct rte_mbuf *build(struct dp_worker *worker, const struct request *request, const struct ip_addr *from,
			      const struct icmp_error *error)
{
	bool v4 = request->src.family == IP_V4;
	struct frame_out frame;
	if (!frame_start(&frame, worker->pool, &request->src_mac, &request->vpc->router_mac, request->info->ether_type))
		return NULL;
	frame_ip(&frame, from, &request->src, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, 64);
	frame_put8(&frame, v4 ? error->v4_type : error->v6_type);
	frame_put8(&frame, v4 ? error->v4_code : error->v6_code);
	frame_put16(&frame, 0);
	frame_put32(&frame, v4 ? error->v4_value : error->v6_value);
	uint32_t room = (uint32_t)(v4 ? ERROR_MAX_V4 : ERROR_MAX_V6) + ETHER_BYTES - frame.l4 - 8;
	uint32_t quoted = RTE_MIN(room, (uint32_t)request->info->l3_length);
	uint8_t *quote = frame_room(&frame, quoted);
	const void *original = quote ? rte_pktmbuf_read(request->m, request->info->l3_offset, quoted, quote) : NULL;
	if (original && original != quote)
		memcpy(quote, original, quoted);
	return frame_finish(&frame);
}

void icmp_send_error(struct dp_worker *worker, struct rte_mbuf *m, const struct packet_info *info,
		     const struct icmp_error *error, const struct ip_addr *from, enum drop_reason reason)
{
	struct request request;
	struct ip_addr gateway;
	if (may_answer(info) && request_init(&request, worker, m, info) && within_rate(worker, &request)) {
		if (!from && gateway_of(&request, &gateway))
			from = &gateway;
		struct rte_mbuf *reply = from ? build(worker, &request, from, error) : NULL;
		if (reply)
			request_reply(&request, reply);
	}
	path_drop(worker->path, m, reason, info->in_iface, info->key.vpc);
}

void icmp_send_too_big(void *ctx, struct path *path, struct rte_mbuf *m, struct packet_info *info, uint16_t mtu)
{
	struct icmp_error error = {
		.v4_type = 3,
		.v4_code = 4,
		.v4_value = mtu, /* RFC 1191 4 */
		.v6_type = 2,
		.v6_code = 0,
		.v6_value = mtu, /* RFC 4443 3.2 */
	};
	icmp_send_error(ctx, m, info, &error, NULL, DROP_TOO_BIG);
}

void icmp_send_ttl_expired(void *ctx, struct path *path, struct rte_mbuf *m, struct packet_info *info)
{
	struct icmp_error error = { .v4_type = 11, .v6_type = 3 };
	icmp_send_error(ctx, m, info, &error, NULL, DROP_TTL_EXPIRED);
}
