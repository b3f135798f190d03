/* SPDX-License-Identifier: BSD-3-Clause */
/* The control side's own state: what stands behind each object in force. Control thread only.
 *
 * Records that workers read (dp.h) are built here and replaced whole; a replaced or removed one goes through retire().
 * An object's runtime pointer leads to its struct control_*, which follows the versions. */
#pragma once

#include <sys/queue.h>
#include "operating/helpers.h"
#include "operating/port.h"
#include "operating/service.h"
#include "service/vswitch/control.h"
#include "service/vswitch/dp.h"
#include "service/vswitch/objects.h"

struct tunnel;
struct neighbour;
struct capture_set;

/* A port in use as uplink or vNIC: its queues and the workers that serve them (attach.c). */
struct attachment_queue {
	struct attachment *attachment;
	unsigned queue, worker;
	bool ready;       /* announced by the port, and not taken back */
	struct dp_rx *rx; /* served by the worker */
	void (*released)(void *arg);
	void *released_arg;
};
struct attachment {
	struct vswitch *vswitch;
	struct port *port; /* NULL while it cannot be opened */
	uint16_t iface;
	char *error;                                    /* why not */
	struct uuid object;                             /* whom notices are about */
	void (*changed)(struct attachment *attachment); /* link or guest came or went */
	struct attachment_queue queues[PORT_MAX_QUEUES];
	LIST_ENTRY(attachment) link; /* vswitch.attachments */
};

struct control_port {
	struct attachment attachment;
	struct port_object *object;
	struct path_iface *record;
	struct loop_timer *retry;
};

struct control_underlay {
	struct vswitch *vswitch;
	struct underlay *object;
	struct control_port *port;
	struct dp_local_vtep *record;
	unsigned tunnels;
};

struct control_vpc {
	struct vswitch *vswitch;
	struct vpc *object;
	struct dp_vpc *record;
	struct rcu_map *endpoints, *routes;
	uint32_t route_counts[2][129]; /* routes per family and length, for the lengths in use */
	unsigned remotes;              /* mappings and routes that need the underlay */
	LIST_HEAD(, control_subnet) subnets;
	LIST_HEAD(, control_vnic) vnics;
	LIST_HEAD(, control_mapping) mappings;
	LIST_HEAD(, control_route) route_list;
	bool record_dirty, subnets_dirty, epoch_dirty, listed;
	LIST_ENTRY(control_vpc) dirty_link;
};

struct control_subnet {
	struct subnet *object;
	struct control_vpc *vpc;
	struct dp_subnet *record;
	LIST_ENTRY(control_subnet) link;
};

struct control_mapping {
	struct mapping *object;
	struct control_vpc *vpc;
	struct tunnel *tunnel;
	LIST_ENTRY(control_mapping) link;
};

struct control_route {
	struct route *object;
	struct control_vpc *vpc;
	struct tunnel *tunnel;
	LIST_ENTRY(control_route) link;
};

struct control_group {
	struct security_group_rule **rules;
	size_t count, room;
};

struct control_vnic {
	struct attachment attachment;
	struct vnic *object;
	struct control_vpc *vpc;
	struct dp_vnic *record;
	struct dp_vnic_runtime *runtime;
	struct uuid uuid;
	bool dirty, removed;
	LIST_ENTRY(control_vnic) link;         /* of its VPC */
	LIST_ENTRY(control_vnic) removed_link; /* vswitch.removed, until the transaction is over */
};

struct vswitch {
	struct dpu *dpu;
	struct dp dp;
	struct dp_worker *workers[DP_MAX_WORKERS];
	bool running; /* workers serve queues */
	bool stopping;
	uint64_t transaction; /* counts commits: tells what one transaction has done */
	uint32_t next_epoch;
	uint64_t started_ns;
	struct control_underlay *underlays[64];
	struct control_group *groups[DP_MAX_TENANTS]; /* by slot */
	bool groups_dirty;
	LIST_HEAD(, attachment) attachments;
	LIST_HEAD(, control_vpc) dirty_vpcs;
	LIST_HEAD(, control_vnic) removed;
	struct rcu_map *tunnels;    /* struct tunnel_key → struct tunnel */
	struct rcu_map *neighbours; /* struct neighbour_key → struct neighbour */
	uint32_t tunnel_next;
	uint32_t *tunnel_free;
	size_t tunnel_free_count, tunnel_free_room;
	struct loop_timer *neighbour_timer, *punt_timer;
	struct capture_set *captures;
	unsigned closing; /* attachments whose port is being closed */
	void (*stopped)(void *arg);
	void *stopped_arg;
};

/* Memory of the control side: running out of it is fatal, as it would leave records half built. */
void *control_alloc(size_t bytes);
char *control_text(const char *text);               /* strdup that does not fail; NULL stays NULL */
void retire(struct vswitch *vswitch, void *memory); /* free() after a grace period */
void retire_with(struct vswitch *vswitch, void (*free_fn)(void *), void *memory);
void control_retire(void *ctx, void (*free_fn)(void *),
		    void *memory); /* the same, as path_retire_fn and rcu_retire_fn */

/* attach.c */
void attachment_init(struct attachment *attachment, struct vswitch *vswitch, uint16_t iface, const struct uuid *object,
		     void (*changed)(struct attachment *attachment));
struct port_callbacks attachment_callbacks(struct attachment *attachment);
void attachment_serve(struct attachment *attachment); /* workers are there: begin with what is ready */
unsigned attachment_active(const struct attachment *attachment);
/* Takes the port out of service and closes it, then done(attachment). */
void attachment_close(struct attachment *attachment, void (*done)(struct attachment *attachment));
/* Takes all queues from the workers but leaves the ports open; then done(arg). */
void attachments_quiesce(struct vswitch *vswitch, void (*done)(void *arg), void *arg);

/* tunnel.c: one record per (underlay, encapsulation, remote VTEP), counted by its users. */
struct tunnel *tunnel_get(struct vswitch *vswitch, struct control_underlay *underlay, enum tunnel_kind kind,
			  const struct ip_addr *vtep);
void tunnel_put(struct vswitch *vswitch, struct tunnel *tunnel);
uint32_t tunnel_index(const struct tunnel *tunnel);
bool tunnel_resolved(const struct tunnel *tunnel);
/* The neighbour's MAC has become known, has changed or is lost: publish the tunnels behind it again. */
void tunnels_of_neighbour(struct vswitch *vswitch, const struct neighbour *neighbour);
/* The underlay's next hop or prefix has changed. */
void tunnels_of_underlay(struct vswitch *vswitch, struct control_underlay *underlay);

/* neighbour.c: ARP and ND of the underlay. */
struct neighbour *neighbour_get(struct vswitch *vswitch, struct control_underlay *underlay,
				const struct ip_addr *address);
void neighbour_put(struct vswitch *vswitch, struct neighbour *neighbour);
const struct mac_addr *neighbour_mac(const struct neighbour *neighbour); /* NULL while unresolved */
int neighbours_start(struct vswitch *vswitch, struct dpu_error *err);
void neighbours_stop(struct vswitch *vswitch);
/* What an ARP or ND message tells. */
void neighbour_learn(struct vswitch *vswitch, struct control_underlay *underlay, const struct ip_addr *address,
		     const struct mac_addr *mac);
void neighbours_announce(struct control_underlay *underlay); /* gratuitous ARP, unsolicited NA */

/* underlay_frames.c: frames of the underlay's own protocols. */
void underlay_receive(struct vswitch *vswitch, struct rte_mbuf *m); /* consumes */
struct rte_mbuf *underlay_request(struct vswitch *vswitch, const struct control_underlay *underlay,
				  const struct ip_addr *target, const struct mac_addr *known);
struct rte_mbuf *underlay_announcement(struct vswitch *vswitch, const struct control_underlay *underlay);
/* Have a worker send a frame on an interface; consumes m. */
void control_send(struct vswitch *vswitch, uint16_t iface, struct rte_mbuf *m);

/* control_vpc.c */
struct control_vpc *control_vpc_of(const struct ref *vpc);
void vpc_mark(struct control_vpc *vpc); /* to be looked at by commit */
int endpoint_set(struct control_vpc *vpc, const struct uuid *holder, const struct dp_endpoint *endpoint,
		 const uint32_t *groups, struct dpu_error *err);
void endpoint_clear(struct control_vpc *vpc, const struct uuid *holder, const struct ip_addr *address);
void vpc_commit(struct control_vpc *vpc);
enum tunnel_kind vpc_tunnel_kind(const struct vpc *vpc);
struct control_underlay *vpc_underlay(const struct vpc *vpc);
int mapping_publish(struct control_mapping *mapping, struct dpu_error *err);
int route_publish(struct control_route *route, struct dpu_error *err);
void ref_groups(const struct ref_list *refs, uint32_t *ret_groups, uint8_t *ret_count);

/* control_vnic.c, control_rules.c */
void vnic_publish(struct control_vnic *vnic);
void vnics_commit(struct vswitch *vswitch);
void vnic_rules(struct vswitch *vswitch, const struct vnic *vnic, struct dp_vnic *ret);
void rules_release(struct vswitch *vswitch, struct dp_vnic *record);

/* query.c, capture.c */
json_t *session_json(const struct vswitch *vswitch, const struct session *session, const struct flow_key *key,
		     unsigned worker);
/* "blue/web", "uplink" or "" */
const char *iface_name(const struct vswitch *vswitch, uint16_t iface, char *buf, size_t size);
void captures_end(struct vswitch *vswitch);

/* counters.c */
void iface_counters(const struct vswitch *vswitch, uint16_t iface, struct path_iface_counters *ret);
void vpc_counters(const struct vswitch *vswitch, uint16_t slot, struct path_vpc_counters *ret);
