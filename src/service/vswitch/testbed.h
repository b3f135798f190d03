/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests, fuzzers and benchmarks: a switch with records made by hand and ports that keep what is sent to them.
 * One worker unless said otherwise, driven by the caller's thread. */
#pragma once

#include "device/packet/testlib.h"
#include "operating/port.h"
#include "service/vswitch/datapath_priv.h"

enum {
	BED_UPLINK = 1,
	BED_SENT = 512,  /* frames kept per port */
	BED_PORTS = 128, /* interface numbers with a port: uplinks and the first vNICs */
	BED_GARBAGE = 65536,
	BED_SUBNETS = 1024, /* per VPC */
};

/* A port of kind "test". */
struct bed_port {
	struct port port;
	struct rte_mbuf *sent[BED_SENT];
	unsigned first, count;
	unsigned room;  /* frames it still takes; UINT32_MAX: any number */
	unsigned calls; /* times that it was given frames */
};

struct bed {
	struct dp dp;
	struct bed_port ports[BED_PORTS];
	void *garbage[BED_GARBAGE]; /* records, freed at the end */
	unsigned garbage_count;
	uint32_t epoch;
	struct path_iface uplink;
	const char *state_dir; /* set before bed_start() */
	uint32_t max_sessions; /* likewise; 0 = 65536 */
	bool huge_pages;
};

/* An empty switch with the uplink BED_UPLINK, MTU 1500, underlay address 192.0.2.1. */
void bed_init(struct bed *bed);
/* Its worker; slots of index 0 unless slot_owner was changed before. */
void bed_start(struct bed *bed);
void bed_start_worker(struct bed *bed, unsigned index);
/* Stops without a trace in the records: bed_start() may follow. */
void bed_stop(struct bed *bed);
/* Frees all. Asserts that no mbuf has been lost. */
void bed_fini(struct bed *bed);

/* Records. Texts are parsed; NULL or "" leaves a family out. Numbers are slots, from 1. */
struct dp_tenant *bed_tenant(struct bed *bed, uint32_t slot);
struct dp_vpc *bed_vpc(struct bed *bed, uint16_t slot, uint32_t vni);
/* Gateways are the first addresses, MACs of the router 02:ff:00:00:00:SLOT of the VPC; DHCP is on. */
struct dp_subnet *bed_subnet(struct bed *bed, struct dp_vpc *vpc, const char *v4, const char *v6);
/* Interface PATH_FIRST_VNIC + number, MAC 02:00:00:00:VPC:NUMBER, MTU 1500, port security, no groups; in tenant of the
 * VPC's slot if there is one. */
struct dp_vnic *bed_vnic(struct bed *bed, struct dp_subnet *subnet, unsigned number, const char *v4, const char *v6);
/* A tunnel to a VTEP, resolved; the same index for the same VTEP and VPC. */
uint32_t bed_tunnel(struct bed *bed, const struct dp_vpc *vpc, const char *vtep);
void bed_mapping(struct bed *bed, struct dp_vpc *vpc, const char *address, const char *vtep, const char *mac);
void bed_unmap(struct bed *bed, struct dp_vpc *vpc, const char *address);
/* The address belongs to the vNIC from now on (also beyond its subnet). */
void bed_address(struct bed *bed, struct dp_vnic *vnic, const char *address);
void bed_route(struct bed *bed, struct dp_vpc *vpc, const char *prefix, enum dp_route_kind kind, const char *next);
/* Security groups on, with these rules; empty strings of rules allow nothing. A rule is a line of a small language:
 * "tcp 80", "tcp 80-90 from 10.0.0.0/24", "udp", "icmp", "any", "any group 7"; slots count from `first_slot`. */
void bed_rules(struct bed *bed, struct dp_vnic *vnic, bool egress, uint32_t first_slot, const char *const *rules);
/* The VPC's policy has changed. */
void bed_changed(struct bed *bed, struct dp_vpc *vpc);

/* A path-level burst from an interface. */
void bed_input(struct bed *bed, uint16_t iface, const struct frame *frame);
void bed_input_burst(struct bed *bed, uint16_t iface, const struct frame *const *frames, unsigned count);
/* As bed_input(), of inner frames in a VXLAN packet from VTEP `from` to us. */
void bed_tunnelled(struct bed *bed, const char *from, uint32_t vni, const struct frame *inner);
/* The next frame sent at the interface; false if there is none. Asserts that it is well formed. */
bool bed_sent(struct bed *bed, uint16_t iface, struct frame *ret);
/* … its inner frame, after a check of the outer headers against VTEP `to`. */
bool bed_sent_inner(struct bed *bed, const char *to, uint32_t vni, struct frame *ret);
/* Nothing is left to be fetched, anywhere. */
bool bed_quiet(const struct bed *bed);
/* Drops counted for a reason so far. */
uint64_t bed_drops(const struct bed *bed, enum drop_reason reason);
/* Of all reasons. */
uint64_t bed_all_drops(const struct bed *bed);
/* Live sessions of all tables of all workers. */
unsigned bed_sessions(const struct bed *bed);
/* Housekeeping of all workers as of then. */
void bed_tick(struct bed *bed, uint64_t now_ns);

static inline uint16_t bed_iface(unsigned number)
{
	return (uint16_t)(PATH_FIRST_VNIC + number);
}
