/* SPDX-License-Identifier: BSD-3-Clause */
/* The virtual switch as workers see it: immutable records that control builds from the objects and publishes, and the
 * functions of the policy path that read them.
 *
 * Writers: the control thread. Readers: workers, between quiescent states. A record is replaced whole; maps are RCU
 * maps. All addresses are struct ip_addr; all slots are model slots. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>
#include "base/netaddr.h"
#include "device/packet/path.h"
#include "device/packet/rcu_map.h"

struct dp_worker;
struct handoff;
struct port;
struct worker_source;
struct workers;

enum {
	DP_MAX_ADDRESSES = 32, /* per vNIC */
	DP_MAX_GROUPS = 16,    /* per vNIC */
	DP_MAX_WORKERS = 64,
	DP_MAX_TENANTS = 65536,
};

/* ---- security groups: compiled rules ---- */

/* Allow rules of one direction and family of one vNIC (all its groups together), as arrays, one element per rule,
 * padded to a multiple of 16 with rules that match nothing, so that the scan vectorises. */
struct dp_rules;
enum { DP_MAX_RULES = 65536 };

struct dp_rule_input {
	uint32_t rule_slot;          /* security_group_rule's slot, reported by `why` and kept in the session */
	uint8_t family;              /* enum ip_family */
	uint8_t proto;               /* 0 = any; IPPROTO_ICMP and IPPROTO_ICMPV6 use ports as type and code */
	uint16_t port_min, port_max; /* destination ports, inclusive, host order; ICMP: type<<8|code bounds */
	struct ip_prefix remote;     /* length 0 = any address */
	uint32_t remote_group;       /* slot of a security_group, 0 = none: the remote must be a member */
};
/* All of one family. 0, -EINVAL (mixed or unknown families, an empty port range, a bad prefix, slot 0), -E2BIG or
 * -ENOMEM. A NULL `struct dp_rules *` stands for "no rules" everywhere: nothing is allowed. */
int dp_rules_new(const struct dp_rule_input *input, unsigned count, struct dp_rules **ret);
void dp_rules_free(void *rules);
/* Slot of the first rule that allows, or 0. dst_port in host order (ICMP: type<<8|code; protocols without ports: 0).
 * remote: the other end; its groups (sorted or not) as known, for remote_group. */
uint32_t dp_rules_match(const struct dp_rules *rules, uint8_t proto, uint16_t dst_port, const struct ip_addr *remote,
			const uint32_t *remote_groups, unsigned remote_group_count);

/* ---- records ---- */

/* A token bucket that several workers share (quota.c); all zero = full at first use. */
struct dp_bucket {
	_Atomic int64_t tokens;
	_Atomic uint64_t time_ns;
};

struct dp_tenant {
	uint32_t slot;
	uint8_t incarnation; /* by the UUID: what a former tenant of this slot held is not given back to it */
	/* The counts outlive versions of the object: control edits the limits in place (relaxed). */
	_Atomic uint32_t max_sessions;     /* 0 = no limit */
	_Atomic uint32_t max_session_rate; /* new sessions per second; 0 = no limit */
	_Atomic int64_t sessions;          /* shared by workers in batches: see dp_tenant_sessions() */
	struct dp_bucket rate;
};

struct dp_subnet {
	uint32_t slot;
	struct dp_vpc *vpc;
	struct ip_prefix v4, v6; /* length 0 and IP_NONE: the subnet does not have that family */
	struct ip_addr gateway_v4, gateway_v6, gateway_link_local;
	struct mac_addr gateway_mac;
	bool dhcp; /* DHCPv4 and DHCPv6 answered; router advertisements are sent for IPv6 always */
	uint32_t lease_seconds;
	struct ip_addr dns[4];
	uint8_t dns_count;
	struct ip_addr ntp[4];
	uint8_t ntp_count;
	char domain[256];
	struct {
		struct ip_prefix prefix;
		struct ip_addr next_hop;
	} classless_routes[16]; /* DHCP option 121 */
	uint8_t classless_route_count;
};

struct dp_vnic {
	struct path_iface iface; /* iface.id = PATH_FIRST_VNIC + slot */
	uint32_t slot;
	char name[64]; /* tenant/name, cut, for `why` and logs */
	struct dp_vpc *vpc;
	struct dp_subnet *subnet;
	struct dp_tenant *tenant;
	struct ip_addr addresses[DP_MAX_ADDRESSES]; /* anti-spoofing, and what others may send to */
	uint8_t address_count;                      /* [0] and the first of the other family are what DHCP hands out */
	bool port_security;                         /* off: any source MAC and address (appliances) */
	bool security_groups_on;                    /* no groups configured: everything is allowed */
	uint32_t groups[DP_MAX_GROUPS];
	uint8_t group_count;
	const struct dp_rules *egress[2], *ingress[2]; /* [0] IPv4, [1] IPv6 */
	uint32_t max_sessions;
	uint32_t max_session_rate; /* packets without a session that policy looks at per second; 0 = no limit */
	char hostname[64];
	struct dp_vnic_runtime *runtime; /* survives versions */
};

/* Zeroed by control, which sets port and incarnation. */
struct dp_vnic_runtime {
	struct port *port;
	uint8_t incarnation;      /* by the UUID: what a former vNIC of this number held is not given back to it */
	_Atomic int64_t sessions; /* shared by workers in batches: see dp_vnic_sessions() */
	struct dp_bucket service, icmp_errors; /* first-hop requests answered, ICMP errors sent */
	struct dp_bucket flows;                /* packets without a session */
};

/* A VPC's subnets by family and address; no two of a family overlap. */
struct dp_subnets {
	unsigned v4_count, v6_count;
	struct dp_subnet *sorted[]; /* those with IPv4 by v4, behind them those with IPv6 by v6 */
};

enum dp_endpoint_kind { DP_ENDPOINT_LOCAL = 1, DP_ENDPOINT_REMOTE };

/* Who has an address of a VPC. */
struct dp_endpoint {
	struct ip_addr address;
	uint8_t kind;
	uint16_t iface; /* LOCAL: the vNIC's */
	struct mac_addr mac;
	uint32_t tunnel;     /* REMOTE: path_tunnel index */
	struct ip_addr vtep; /* REMOTE: for validation of senders */
	struct ip_addr home; /* REMOTE, and a link-local address: another one of its owner, which tells its subnet */
	uint8_t group_count;
	uint32_t groups[]; /* security groups the address is a member of (mappings may say) */
};

enum dp_route_kind {
	DP_ROUTE_DROP = 1,
	DP_ROUTE_NEXT_HOP /* another address of the VPC */,
	DP_ROUTE_VTEP /* tunnel + MAC */
};

struct dp_route {
	struct ip_prefix prefix;
	uint32_t slot;
	uint8_t kind;
	struct ip_addr next_hop;
	uint32_t tunnel;
	struct ip_addr vtep;
	struct mac_addr mac;
};

struct dp_vpc {
	struct path_vpc path;
	char name[64];
	struct mac_addr router_mac;  /* the gateway's MAC in all its subnets */
	bool validate_vtep;          /* packets must come from the VTEP that their source address is mapped to */
	struct rcu_map *endpoints;   /* struct ip_addr → struct dp_endpoint */
	struct rcu_map *link_locals; /* … of link-local addresses that follow from MACs */
	struct rcu_map *routes;      /* struct ip_prefix → struct dp_route */
	_Atomic uint64_t route_lengths_v4, route_lengths_v6[3]; /* bit per prefix length in use */
	struct dp_subnets *_Atomic subnets;                     /* replaced whole; may be NULL */
	struct dp_bucket icmp_errors;                           /* sent towards the underlay */
};

struct dp_local_vtep { /* one per underlay object */
	struct ip_addr address;
	uint8_t prefix_length;
	struct mac_addr mac;
	uint16_t iface;
	uint16_t vlan;
	uint32_t slot;
};

/* Who forwards for the members of an eswitch, in the workers: as path_service's member and tunnel_member. */
struct dp_members {
	void (*input)(void *ctx, unsigned worker, const struct path_iface *iface, struct rte_mbuf **packets,
		      unsigned count);
	void (*tunnel_input)(void *ctx, unsigned worker, uint16_t in_iface, struct rte_mbuf **packets,
			     const uint16_t *slots, const uint32_t *tags, unsigned count);
	void *ctx;
};

/* The switch of one dpud.
 *
 * What control promises: epochs of all VPCs come from one counter that starts at 1 and never repeats while dpud runs,
 * since slots are used again and sessions outlive what they were made for; and the epoch of a VPC moves, after the new
 * records are in place, whenever anything that dp_evaluate() reads for it has changed: vNICs, endpoints, routes,
 * subnets, rules, group members, tunnels, MTUs of its interfaces. */
struct dp {
	struct path_config *config;
	struct dp_tenant *_Atomic *tenants;       /* by slot */
	struct port *_Atomic *ports;              /* by interface number */
	struct dp_local_vtep *_Atomic locals[64]; /* by underlay slot */
	struct workers *workers;
	struct path *paths[DP_MAX_WORKERS];              /* set by dp_worker_new() */
	struct dp_worker *worker_states[DP_MAX_WORKERS]; /* set by dp_worker_new() */
	unsigned worker_count;
	struct handoff *handoff; /* dp_handoff_start(); NULL with one worker */
	/* Underlay frames go to control (underlay.c): bounded ring of mbufs, several producers; mbuf->port is the
	 * interface; dropped when full. NULL: dropped. */
	struct rte_ring *punt;
	/* Called in worker `worker` for every packet at every stage while capturing is on (path_set_capture()). */
	void (*capture)(void *ctx, unsigned worker, enum capture_stage stage, enum drop_reason reason, uint16_t iface,
			const struct rte_mbuf *m);
	void *capture_ctx;
	const struct dp_members *members; /* set before any worker runs; NULL: there are none */
	_Atomic uint32_t vnic_limit;      /* one more than the highest interface number of a vNIC that there ever was */
};

static inline struct dp_vnic *dp_vnic_of(const struct dp *dp, uint16_t iface)
{
	struct path_iface *record = atomic_load_explicit(&dp->config->ifaces[iface], memory_order_acquire);
	return record && record->kind == PATH_IFACE_VNIC ? (struct dp_vnic *)record : NULL;
}

static inline struct dp_vpc *dp_vpc_of(const struct dp *dp, uint16_t slot)
{
	return (struct dp_vpc *)atomic_load_explicit(&dp->config->vpcs[slot], memory_order_acquire);
}

/* ---- lookups (forward.c) ---- */

const struct dp_endpoint *dp_endpoint_find(const struct dp_vpc *vpc, const struct ip_addr *address);
/* The subnet in which an endpoint has its address; NULL if it is in none. */
const struct dp_subnet *dp_endpoint_subnet(const struct dp *dp, const struct dp_vpc *vpc,
					   const struct dp_endpoint *endpoint);
/* Of count subnets; NULL if there is no memory. free() is the caller's. */
struct dp_subnets *dp_subnets_new(struct dp_subnet *const *subnets, unsigned count);
/* The subnet that holds address, or NULL. */
const struct dp_subnet *dp_subnet_find(const struct dp_vpc *vpc, const struct ip_addr *address);
/* Longest prefix. */
const struct dp_route *dp_route_find(const struct dp_vpc *vpc, const struct ip_addr *address);

/* ---- policy (policy.c): one flow's fate, used by the miss path and by `why` alike ---- */

enum dp_step_kind { /* the decisions, in order */
		    DP_STEP_INPUT,
		    DP_STEP_SPOOF,
		    DP_STEP_SESSION,
		    DP_STEP_ROUTE,
		    DP_STEP_ENDPOINT,
		    DP_STEP_EGRESS,
		    DP_STEP_INGRESS,
		    DP_STEP_QUOTA,
		    DP_STEP_OUTPUT,
};
struct dp_step {
	uint8_t kind; /* enum dp_step_kind */
	bool passed;
	uint32_t slot; /* the rule, route, subnet or endpoint's vNIC that decided; 0 = none */
	char text[160];
};
struct dp_verdict {
	enum drop_reason drop; /* DROP_NONE: forward */
	/* Why packets of the reverse direction cannot be forwarded (no way back); DROP_NONE: they can. reverse.in_iface
	 * is then 0, so that they miss. */
	enum drop_reason reverse_drop;
	/* The compiled action of the flow's direction and of its reverse: in_iface, out_iface, epoch, ops, MACs, mtu,
	 * tunnel. */
	struct session_dir forward, reverse;
	uint16_t src_vnic, dst_vnic; /* interfaces, 0 = not here */
	uint16_t tenant;
	uint32_t rule[2];
	struct dp_step *steps; /* filled when not NULL (`why`); room for DP_STEPS; set by the caller */
	unsigned step_count;
};
enum { DP_STEPS = 16 };
/* Evaluates the flow `key` (as its first packet has it) that enters at in_iface, from VTEP outer_src when that is an
 * uplink (NULL: not checked). MACs of the frame are checked when frame is not NULL. Everything of ret but `steps` is
 * written. Any thread that is an RCU reader. */
void dp_evaluate(const struct dp *dp, const struct flow_key *key, uint16_t in_iface, const struct ip_addr *outer_src,
		 const struct rte_mbuf *frame, struct dp_verdict *ret);

/* ---- quotas (quota.c) ---- */

/* Sessions that a vNIC or tenant holds. Any thread; exact when the workers stand still. */
int64_t dp_vnic_sessions(const struct dp *dp, const struct dp_vnic *vnic);
int64_t dp_tenant_sessions(const struct dp *dp, const struct dp_tenant *tenant);
/* Control has published another limit of sessions of a vNIC or a tenant (0 = of none): workers give back what they
 * hold in hand, so that a lower one binds at once and an idle worker keeps nothing from a busy one. */
void dp_limit_changed(struct dp *dp, uint16_t vnic, uint16_t tenant);

/* ---- the worker's side (datapath.c) ---- */

struct dp_worker_options {
	unsigned index;           /* the worker's number */
	struct rte_mempool *pool; /* for answers and copies */
	const char *state_dir;    /* as in struct path_options, and the next three */
	bool huge_pages;
	uint32_t max_sessions;
	uint64_t seed;
};
/* Creates worker `index`'s half of the switch: its path (dp->paths[index]) with this policy behind it. Adopted sessions
 * are charged to their holders and will be evaluated again at their next packet: tenants, VPCs and vNICs must be in
 * force by now. Control thread, before the worker polls anything. */
int dp_worker_new(struct dp *dp, const struct dp_worker_options *options, struct dp_worker **ret,
		  struct dpu_error *err);
/* Control thread, once the worker has no source of the switch any more. */
void dp_worker_free(struct dp_worker *worker);
/* Ageing and periodic advertisements: to be registered with the worker. */
struct worker_source *dp_worker_source(struct dp_worker *worker);

/* The rings between the workers of dp->workers, when there are several: after all dp_worker_new(), before any receive
 * queue is polled; stopped when none is any more. Control thread. */
int dp_handoff_start(struct dp *dp, struct dpu_error *err);
void dp_handoff_stop(struct dp *dp, void (*done)(void *arg), void *arg);

/* A receive queue of a port, as a source of its worker. Free it once removed from the worker. */
struct dp_rx;
int dp_rx_new(struct dp_worker *worker, struct port *port, unsigned queue, struct dp_rx **ret);
void dp_rx_free(struct dp_rx *rx);
struct worker_source *dp_rx_source(struct dp_rx *rx);

/* In the worker (control asks by worker_call()): a router advertisement and gratuitous ARP for the gateway, after a
 * vNIC connected or its subnet changed. */
void dp_announce(struct dp_worker *worker, uint16_t vnic_iface);
