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
#include "service/vswitch/attach.h"
#include "service/vswitch/claims.h"
#include "service/vswitch/control.h"
#include "service/vswitch/dp.h"
#include "service/vswitch/objects.h"
#include "service/vswitch/vswitch.h"

struct tunnel;
struct neighbour;
struct capture_set;
struct table_growth;
struct purge;
struct tunnel_rest;

enum { CONTROL_MAX_GROUPS = 65536 };

struct control_port {
	struct attachment attachment;
	struct port_object *object;
	struct path_iface *record;
	struct path_iface_counters base; /* of former holders of the number */
	uint64_t drops_base[DROP_REASON_COUNT];
	bool up;                               /* as last told */
	LIST_ENTRY(control_port) removed_link; /* vswitch.removed_ports, until the transaction is over */
};

struct control_tenant {
	struct dp_tenant *record;
	struct path_iface_counters gone; /* of vNICs that were deleted, for counters that never go back */
};

struct control_underlay {
	struct vswitch *vswitch;
	struct underlay *object;
	struct control_port *port;
	struct dp_local_vtep *record;
	struct neighbour *next_hop; /* NULL: there is none */
	unsigned tunnels;
};

struct control_vpc {
	struct vswitch *vswitch;
	struct vpc *object;
	struct dp_vpc *record;
	struct rcu_map *endpoints, *routes;
	struct rcu_map *link_locals;   /* as in struct dp_vpc */
	struct rcu_map *link_groups;   /* struct ip_addr → struct link_group, for link_local.c */
	uint32_t route_counts[2][129]; /* routes per family and length, for the lengths in use */
	struct path_vpc_counters base; /* of former holders of the number */
	LIST_HEAD(, control_subnet) subnets;
	LIST_HEAD(, control_vnic) vnics;
	LIST_HEAD(, control_mapping) mappings;
	LIST_HEAD(, control_route) route_list;
	bool record_dirty;  /* the records that point to it are to be built anew */
	bool remotes_dirty; /* its encapsulation or underlay has changed */
	bool subnets_dirty, listed;
	LIST_ENTRY(control_vpc) dirty_link;
};

struct control_subnet {
	struct subnet *object;
	struct control_vpc *vpc;
	struct dp_subnet *record;
	LIST_ENTRY(control_subnet) link;
};

/* Who has a link-local address by its MAC: part of a vNIC or a mapping (link_local.c). */
struct link_holder {
	struct link_group *group;           /* NULL: holds none */
	const struct dp_endpoint *endpoint; /* one of its own */
	LIST_ENTRY(link_holder) link;
};

struct control_mapping {
	struct mapping *object;
	struct control_vpc *vpc;
	struct tunnel *tunnel;
	struct dp_endpoint *endpoint;
	struct link_holder link_local;
	LIST_ENTRY(control_mapping) link;
};

struct control_route {
	struct route *object;
	struct control_vpc *vpc;
	struct tunnel *tunnel;
	struct dp_route *record;
	LIST_ENTRY(control_route) link;
};

struct control_group {
	struct security_group_rule **rules;
	size_t count, room;
	bool dirty;
};

struct control_vnic {
	struct attachment attachment;
	struct vnic *object;
	struct control_vpc *vpc;
	struct dp_vnic *record;
	struct dp_vnic_runtime *runtime;
	struct dp_endpoint **endpoints; /* as many as object has addresses */
	size_t endpoint_count;
	struct link_holder link_local;
	struct path_iface_counters base; /* of former holders of the number */
	uint64_t drops_base[DROP_REASON_COUNT];
	struct uuid uuid, tenant;
	bool dirty;
	bool told_otherwise;                   /* what the guest was advertised has changed */
	bool up;                               /* as last told */
	LIST_ENTRY(control_vnic) link;         /* of its VPC */
	LIST_ENTRY(control_vnic) removed_link; /* vswitch.removed, until the transaction is over */
};

struct vswitch {
	struct dpu *dpu;
	struct dp dp;
	struct dp_worker *workers[DP_MAX_WORKERS];
	bool running; /* workers serve queues */
	bool stopping;
	uint32_t next_epoch;
	uint64_t started_ns;
	struct control_underlay *underlays[64];
	struct control_group *groups[CONTROL_MAX_GROUPS]; /* by slot */
	bool groups_dirty;
	struct claims *claims;
	LIST_HEAD(, attachment) attachments;
	LIST_HEAD(, control_vpc) dirty_vpcs;
	LIST_HEAD(, control_vnic) removed;
	LIST_HEAD(, control_port) removed_ports;
	struct rcu_map *tunnels;    /* struct tunnel_key → struct tunnel */
	struct rcu_map *neighbours; /* struct neighbour_key → struct neighbour */
	uint32_t tunnel_next;
	struct tunnel_rest *tunnel_free; /* ring of numbers to be used again, oldest first */
	size_t tunnel_free_head, tunnel_free_count, tunnel_free_room;
	struct loop_timer *neighbour_timer, *punt_timer;
	struct capture_set *captures;
	struct purge *purge;
	struct table_growth *growth;
	struct vswitch_members members;    /* functions are NULL: nobody has asked */
	unsigned closing;                  /* attachments on their way out */
	unsigned questions;                /* sent to workers and not answered yet */
	uint8_t draining[PATH_MAX_IFACES]; /* by interface: former holders that are not quite gone */
	struct loop_timer *stop_timer;
	unsigned sources, sources_left; /* of the workers' housekeeping: registered; not yet back */
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
void attachment_serve(struct attachment *attachment); /* workers are there: begin with what is ready */
/* Takes all queues from the workers but leaves the ports open; then done(arg). */
void attachments_quiesce(struct vswitch *vswitch, void (*done)(void *arg), void *arg);

/* purge.c: ends the sessions of an interface that is gone; then done(arg). */
void sessions_purge(struct vswitch *vswitch, uint16_t iface, void (*done)(void *arg), void *arg);
void purge_free(struct vswitch *vswitch);

/* growth.c: memory of the session tables is made ready ahead of need, by a helper thread. */
int tables_growth_start(struct vswitch *vswitch, struct dpu_error *err);
void tables_growth_stop(struct vswitch *vswitch);

/* tunnel.c: one record per (underlay, encapsulation, remote VTEP), counted by its users. */
struct tunnel *tunnel_get(struct vswitch *vswitch, struct control_underlay *underlay, enum tunnel_kind kind,
			  const struct ip_addr *vtep);
void tunnel_put(struct vswitch *vswitch, struct tunnel *tunnel);
uint32_t tunnel_index(const struct tunnel *tunnel);
/* The neighbour's MAC has become known, has changed or is lost: publish the tunnels behind it again. */
void tunnels_of_neighbour(struct vswitch *vswitch, struct neighbour *neighbour);
/* The underlay's next hop or prefix has changed. */
void tunnels_of_underlay(struct vswitch *vswitch, struct control_underlay *underlay);

/* neighbour.c: ARP and ND of the underlay. */
struct neighbour *neighbour_get(struct vswitch *vswitch, struct control_underlay *underlay,
				const struct ip_addr *address);
void neighbour_put(struct vswitch *vswitch, struct neighbour *neighbour);
LIST_HEAD(tunnel_list, tunnel);
struct tunnel_list *neighbour_tunnels(struct neighbour *neighbour);      /* for tunnel.c */
const struct mac_addr *neighbour_mac(const struct neighbour *neighbour); /* NULL while unresolved */
int neighbours_start(struct vswitch *vswitch, struct dpu_error *err);
void neighbours_stop(struct vswitch *vswitch);
void neighbours_free(struct vswitch *vswitch); /* no worker is left that could send to control */
/* What an ARP or ND message tells. */
void neighbour_learn(struct vswitch *vswitch, struct control_underlay *underlay, const struct ip_addr *address,
		     const struct mac_addr *mac);
/* Its link has come or changed: what is known of its neighbours is to be confirmed. */
void neighbours_doubt(struct control_underlay *underlay);
void neighbours_announce(struct control_underlay *underlay); /* gratuitous ARP, unsolicited NA */

/* underlay_frames.c: frames of the underlay's own protocols. */
/* Consumes a frame that came by the interface m->port. What it is to be answered with there (the same mbuf, maybe), or
 * NULL. */
struct rte_mbuf *underlay_receive(struct vswitch *vswitch, struct rte_mbuf *m);
struct rte_mbuf *underlay_request(struct vswitch *vswitch, const struct control_underlay *underlay,
				  const struct ip_addr *target, const struct mac_addr *known);
struct rte_mbuf *underlay_announcement(struct vswitch *vswitch, const struct control_underlay *underlay);
/* Have a worker send a frame on an interface; consumes m. */
void control_send(struct vswitch *vswitch, uint16_t iface, struct rte_mbuf *m);

/* control_port.c */
uint8_t incarnation_of(const struct object *object); /* 1..31 */
/* The tenant's limits follow its fields and what its objects take. */
void tenant_limits(struct vswitch *vswitch, const struct tenant *tenant);
void ports_commit(struct vswitch *vswitch);
void uplink_publish(struct control_port *uplink);
/* The underlay's port has another MAC: its record and tunnels anew. */
void underlay_refresh(struct control_underlay *underlay);

/* members.c: link, guest or device of an interface that may be a member have changed. */
void member_changed(const struct attachment *attachment);
const char *member_iface_name(const struct vswitch *vswitch, uint16_t iface); /* of a representor's port */

/* control_vpc.c */
struct control_vpc *control_vpc_of(const struct ref *vpc);
void vpc_mark(struct control_vpc *vpc); /* to be looked at by commit */
/* Puts an address in force in place of *held, the holder's former endpoint or NULL, and notes the new one there. What
 * another holder had under the address remains that one's: objects that swap addresses pass through this. */
void endpoint_set(struct control_vpc *vpc, const struct dp_endpoint *endpoint, const uint32_t *groups,
		  struct dp_endpoint **held);
void endpoint_clear(struct control_vpc *vpc, struct dp_endpoint **held);
/* link_local.c: `endpoint`, one of the holder's, also has the link-local address of its MAC from now on, or still. */
void link_local_hold(struct control_vpc *vpc, struct link_holder *holder, const struct dp_endpoint *endpoint);
void link_local_drop(struct control_vpc *vpc, struct link_holder *holder);
void vpc_commit(struct control_vpc *vpc);
enum tunnel_kind vpc_tunnel_kind(const struct vpc *vpc);
struct control_underlay *vpc_underlay(const struct vpc *vpc);
int mapping_publish(struct control_mapping *mapping, struct dpu_error *err);
int route_publish(struct control_route *route, struct dpu_error *err);
void ref_groups(const struct ref_list *refs, uint32_t *ret_groups, uint8_t *ret_count);

/* control_vnic.c, control_rules.c */
void vnic_publish(struct control_vnic *vnic);
void vnics_commit(struct vswitch *vswitch);
void vnic_announce(struct control_vnic *vnic);
void vnic_rules(struct vswitch *vswitch, const struct vnic *vnic, struct dp_vnic *ret);
void rules_commit(struct vswitch *vswitch); /* marks the vNICs whose groups have changed */
void rules_release(struct vswitch *vswitch, struct dp_vnic *record);

/* query.c, capture.c */
json_t *session_json(const struct vswitch *vswitch, const struct session *session, const struct flow_key *key,
		     unsigned worker);
/* "blue/web", "uplink" or "" */
const char *iface_name(const struct vswitch *vswitch, uint16_t iface, char *buf, size_t size);
void captures_end(struct vswitch *vswitch); /* no more of them */
void captures_free(struct vswitch *vswitch);

/* observe_guest.c: what objects show of their guest, queues and drops; the lists are added to. */
void guest_observe(const struct port *port, struct vnic *ret);
void queues_observe(const struct attachment *attachment, struct string_list *ret);
void iface_drops(const struct vswitch *vswitch, uint16_t iface, uint64_t ret[DROP_REASON_COUNT]);
void drops_observe(const struct vswitch *vswitch, const struct attachment *attachment, const uint64_t *base,
		   struct string_list *ret);

/* counters.c */
void tenant_vnic_gone(struct vswitch *vswitch, const struct control_vnic *vnic);
void counters_subtract(struct path_iface_counters *counters, const struct path_iface_counters *base);
void counters_add(struct path_iface_counters *counters, const struct path_iface_counters *more);
void iface_counters(const struct vswitch *vswitch, uint16_t iface, struct path_iface_counters *ret);
void vpc_counters(const struct vswitch *vswitch, uint16_t slot, struct path_vpc_counters *ret);
