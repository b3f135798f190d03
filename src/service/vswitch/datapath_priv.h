/* SPDX-License-Identifier: BSD-3-Clause */
/* What the worker-side files of the switch share: the state of one worker and the calls between them. */
#pragma once

#include "operating/worker.h"
#include "service/vswitch/dp.h"
#include "service/vswitch/fragments.h"
#include "service/vswitch/quota.h"

struct dp_worker {
	struct worker_source source; /* ageing, advertisements */
	struct dp *dp;
	struct path *path;
	struct rte_mempool *pool;
	unsigned index;
	uint32_t advertise_next; /* interface number where the next round of periodic advertisements goes on */
	uint64_t advertise_ns;   /* when that is */
	struct quota quota;
	struct fragment_hold fragments;
};

/* What a packet in the ring to another worker is. */
enum handoff_kind {
	HANDOFF_INPUT,    /* a frame that arrived at `iface`, as path_input() takes it */
	HANDOFF_OUTPUT,   /* a frame to transmit at `iface` */
	HANDOFF_MISS,     /* parsed, for a session of the receiver; struct packet_info precedes the frame's data */
	HANDOFF_FRAGMENT, /* no frame, a struct fragment_note: a first fragment was admitted */
};
/* Hands m to worker `to`; drops it when the ring is full. */
void worker_handoff(struct dp_worker *worker, unsigned to, struct rte_mbuf *m, enum handoff_kind kind, uint16_t iface);
/* A packet that missed here, for the policy path of worker `to`. */
void worker_handoff_miss(struct dp_worker *worker, unsigned to, struct rte_mbuf *m, const struct packet_info *info);
/* The worker whose tables hold keys of this hash. */
unsigned worker_of_hash(const struct dp_worker *worker, uint32_t hash);

/* ---- miss.c ---- */

void miss_input(void *ctx, struct path *path, struct rte_mbuf *m, struct packet_info *info);
/* Makes a session follow today's policy, for a packet of `direction`. DROP_NONE: it is in force for that packet; else
 * the packet is to be dropped, and the session is gone if it is policy that ends it. */
enum drop_reason session_refresh(struct dp_worker *worker, struct session_table *table, struct session *session,
				 unsigned direction, const struct packet_info *info);
/* Compiled before the last change of its VPC's policy. */
bool session_is_stale(const struct dp_worker *worker, const struct session *session, unsigned direction, uint16_t vpc);

/* A packet that came by a tunnel came from the endpoint that the action was compiled for. */
bool session_vtep_is_right(const struct session_dir *dir, const struct packet_info *info);

/* ---- icmp_error.c: errors that tenants and routers send about a flow ---- */

void icmp_error_input(struct dp_worker *worker, struct rte_mbuf *m, struct packet_info *info);

/* ---- icmp_send.c: errors that the switch itself sends ---- */

struct icmp_error {
	uint8_t v4_type, v4_code, v6_type, v6_code;
	uint32_t v4_value, v6_value; /* the second word of the message: MTU, pointer */
};
/* Answers m, if the RFCs and the rate allow it, with an error from the sender's gateway, or from `from` when that is
 * not NULL, and drops m for `reason`. */
void icmp_send_error(struct dp_worker *worker, struct rte_mbuf *m, const struct packet_info *info,
		     const struct icmp_error *error, const struct ip_addr *from, enum drop_reason reason);
/* May a packet be the first of a flow? */
enum drop_reason packet_opens_flow(const struct packet_info *info);
void icmp_send_too_big(void *ctx, struct path *path, struct rte_mbuf *m, struct packet_info *info, uint16_t mtu);
void icmp_send_ttl_expired(void *ctx, struct path *path, struct rte_mbuf *m, struct packet_info *info);

/* ---- first hop ---- */

/* A request to a first-hop service, as they all get it. */
struct request {
	struct dp_worker *worker;
	struct rte_mbuf *m;
	const struct packet_info *info;
	struct dp_vpc *vpc;
	const struct dp_vnic *vnic;     /* NULL: came by a tunnel */
	const struct dp_subnet *subnet; /* the sender's, may be NULL when it came by a tunnel */
	struct mac_addr src_mac;
	struct ip_addr src, dst; /* IP_NONE for ARP */
};

/* Fills in everything but m's fate; false when the interface or VPC has gone. */
bool request_init(struct request *ret, struct dp_worker *worker, struct rte_mbuf *m, const struct packet_info *info);

/* What became of a request: the service has consumed m only with REQUEST_DONE. */
enum request_result {
	REQUEST_NOT_OURS, /* goes on as an ordinary packet */
	REQUEST_DONE,     /* m was answered in place and sent */
	REQUEST_ANSWERED, /* a new frame was sent: m is to be freed */
	REQUEST_DROP,     /* + enum drop_reason: see request_drop() */
};
static inline int request_drop(enum drop_reason reason)
{
	return REQUEST_DROP + (int)reason;
}

/* True when the packet was for a first-hop service and is consumed. */
bool first_hop_input(struct dp_worker *worker, struct rte_mbuf *m, struct packet_info *info);
/* Sends a frame to whoever sent the request, by its vNIC or through the tunnel it came by; frees it if there is no way
 * back. */
void request_reply(const struct request *request, struct rte_mbuf *reply);
/* True when address is one of the gateway addresses of a subnet of the VPC; *ret_subnet is that subnet. */
bool is_gateway(const struct dp_vpc *vpc, const struct dp_subnet *near, const struct ip_addr *address,
		const struct dp_subnet **ret_subnet);
/* policy.c */
void key_addresses(const struct flow_key *key, struct ip_addr *ret_src, struct ip_addr *ret_dst);
/* False when the VPC validates VTEPs and the source address of key does not live behind outer_src. */
bool vtep_is_right(const struct dp_vpc *vpc, const struct flow_key *key, const struct ip_addr *outer_src);
/* ra.c: a domain name as in DNS messages (RFC 1035 3.1); its length, 0 if it has no such form or is empty. */
unsigned domain_wire(const char *domain, uint8_t *wire, unsigned room);
bool vnic_has_address(const struct dp_vnic *vnic, const struct ip_addr *address);
/* … or it is the link-local one of its MAC. */
bool vnic_owns(const struct dp_vnic *vnic, const struct ip_addr *address);
/* Whom an ARP request or neighbour solicitation for `target` is to be answered with; false: nobody answers. */
bool first_hop_resolve(const struct request *request, const struct ip_addr *target, struct mac_addr *ret_mac,
		       bool *ret_router);
struct ip_addr gateway_link_local(const struct dp_vpc *vpc, const struct dp_subnet *subnet);

/* Each returns an enum request_result or request_drop(). */
int arp_request(const struct request *request);
int nd_request(const struct request *request);
int dhcp4_request(const struct request *request);
int dhcp6_request(const struct request *request);
int echo_request(const struct request *request);

/* ra.c: an advertisement for the vNIC, to `to` (IP_NONE: all nodes); false if it has no IPv6 or no buffer. */
bool ra_send(struct dp_worker *worker, const struct dp_vnic *vnic, const struct ip_addr *to,
	     const struct mac_addr *to_mac);
/* Periodic advertisements (RFC 4861 6.2.4); returns when to be called again. */
uint64_t ra_tick(struct dp_worker *worker, uint64_t now_ns);
/* arp.c: announces the gateway to a vNIC (RFC 5227 3). */
void arp_announce_gateway(struct dp_worker *worker, const struct dp_vnic *vnic);
