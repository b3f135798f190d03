/* SPDX-License-Identifier: BSD-3-Clause */
/* The virtual switch as a service of dpud, and what it does for a service that forwards in its place for some
 * interfaces (src/service/eswitch): such a service "requires" vswitch and may call this from its own init() on, in the
 * control thread. Ports of its own it has served by attach.h. */
#pragma once

#include "operating/service.h"
#include "service/vswitch/attach.h"
#include "service/vswitch/dp.h"

struct path;
struct tunnel;

extern const struct service vswitch_service;

struct vswitch_members {
	struct dp_members worker; /* in the workers; lives as long as the switch */
	/* Link, guest, device or MTU of a member may have changed. */
	void (*changed)(void *ctx, uint16_t representor);
	/* Name of what has an interface number from PATH_FIRST_REPRESENTOR on; "" if nothing has. */
	const char *(*iface_name)(void *ctx, uint16_t iface);
	/* What would happen to a frame of the member with that representor, as `why` says it: 0 and a JSON object, or a
	 * negative errno. *frame may become another mbuf, or NULL; it stays the caller's. */
	int (*why)(void *ctx, uint16_t representor, struct rte_mbuf **frame, json_t **ret, struct dpu_error *err);
	/* In validate(): who would have a tunnel with this VNI after the transaction; NULL: nobody. */
	const struct object *(*tunnel_holder)(void *ctx, uint8_t encapsulation, uint32_t vni);
	void *ctx;
};

/* In init(). */
void vswitch_set_members(struct vswitch *vswitch, const struct vswitch_members *members);
/* A worker's path; NULL before the switch has started. */
struct path *vswitch_path(const struct vswitch *vswitch, unsigned worker);
const struct path_config *vswitch_config(const struct vswitch *vswitch);

/* The vNIC or port in force becomes the member with that representor, or nobody's (0). */
void vswitch_member_bind(struct vswitch *vswitch, const struct object *member, uint16_t representor);
/* What there is of a vNIC or port in force. */
struct attachment *vswitch_member_attachment(const struct object *member);

/* The interface that another service's attachment stands for, in force from now on; again when something of it has
 * changed. record: malloc'd, taken over. NULL: out of force. */
void vswitch_iface_publish(struct attachment *attachment, struct path_iface *record);
/* Of all workers. */
void vswitch_iface_counters(const struct vswitch *vswitch, uint16_t iface, struct path_iface_counters *ret);

/* An encapsulation record towards vtep over an underlay in force, shared and counted; NULL: there are no more. */
struct tunnel *vswitch_tunnel_get(struct vswitch *vswitch, const struct object *underlay, uint8_t encapsulation,
				  const struct ip_addr *vtep);
void vswitch_tunnel_put(struct vswitch *vswitch, struct tunnel *tunnel);
uint32_t vswitch_tunnel_index(const struct tunnel *tunnel);
/* What comes out of tunnels with this VNI goes to dp_members.tunnel_input with `slot` (≥ PATH_FIRST_REPRESENTOR); 0:
 * it is unknown. 0 or a negative errno. */
int vswitch_vni_set(struct vswitch *vswitch, uint8_t encapsulation, uint32_t vni, uint16_t slot);
/* free_fn(memory) after a grace period; a path_retire_fn, with the vswitch as ctx. */
void vswitch_retire(void *vswitch, void (*free_fn)(void *), void *memory);
