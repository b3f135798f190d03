/* SPDX-License-Identifier: BSD-3-Clause */
/* An eswitch with four members and a client that a test plays: what comes out is kept. For tests and fuzzers. */
#pragma once

#include "device/flow/flow.h"
#include "device/packet/testlib.h"

enum {
	WORLD_PORTS = 4,   /* representors 1 … 4, with members PATH_FIRST_VNIC + 1 … */
	WORLD_TUNNELS = 8, /* representors of tunnels may be 5 … 12; they lead to uplink 1 */
	WORLD_UPLINK = 1,
	WORLD_WORKERS = 3, /* worker 0 is the world itself, which serves commands */
	WORLD_KEEP = 512,
	WORLD_RULES = 4096,
};

struct flow_world {
	struct path_config *config;
	struct path *path;
	struct flow_switch *sw;
	struct flow *flow;
	struct flow_client *client;
	struct eswitch_region *region;
	size_t region_bytes;
	struct path_iface members[WORLD_PORTS + 1], representors[WORLD_PORTS + 1]; /* by number; 0: the trunk's */
	struct path_tunnel tunnels[WORLD_TUNNELS];                                 /* by representor - 5 */
	struct rte_mbuf *out[WORLD_KEEP];
	uint16_t out_iface[WORLD_KEEP];
	unsigned out_count;
	bool count_only; /* for benchmarks: what comes out stays the sender's */
	uint64_t sent;
	void (*meanwhile)(struct flow_world *w); /* once, when something comes out */
};

/* All ports open. */
struct flow_world *flow_world_new(void);
/* With another size: of rules, and of entries (0 = the usual). */
struct flow_world *flow_world_new_sized(uint32_t rules, uint32_t entries, bool huge_pages);
void flow_world_free(struct flow_world *w);
void flow_world_clear(struct flow_world *w); /* frees what came out */
static inline uint16_t flow_world_member(unsigned number)
{
	return (uint16_t)(PATH_FIRST_VNIC + number);
}
static inline uint16_t flow_world_representor(unsigned number)
{
	return (uint16_t)(PATH_FIRST_REPRESENTOR + number);
}
void flow_world_input(struct flow_world *w, unsigned number, const struct frame *frame);
/* Opens a representor of this tunnel, with an MTU of 1450. Again: with another tunnel. */
void flow_world_tunnel(struct flow_world *w, uint16_t number, const struct tunnel_spec *spec);
/* The header of such a tunnel as a client writes it: no lengths, no checksums, a source port to be chosen. */
void flow_world_encap(const struct tunnel_spec *spec, struct frame *ret);
void flow_world_input_iface(struct flow_world *w, uint16_t iface, struct rte_mbuf *m);
void flow_world_input_mbuf(struct flow_world *w, unsigned number, struct rte_mbuf *m);
/* Writes a command to ring 0, for whoever serves it. */
void flow_world_push(struct flow_world *w, enum eswitch_command_code code, const struct eswitch_rule *rule);
/* Sends a command by ring 0 and serves it; the state of the index then. */
uint32_t flow_world_command(struct flow_world *w, enum eswitch_command_code code, const struct eswitch_rule *rule);
uint32_t flow_world_install(struct flow_world *w, struct eswitch_rule *rule); /* its enum eswitch_rule_state */
void flow_world_counter(const struct flow_world *w, uint32_t index, uint64_t *ret_packets, uint64_t *ret_bytes);
