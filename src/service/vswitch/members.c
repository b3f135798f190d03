/* SPDX-License-Identifier: BSD-3-Clause */
/* Interfaces and tunnels that another service forwards for: what vswitch.h offers it. */
#include <stdlib.h>
#include "service/vswitch/vswitch_priv.h"

static enum tunnel_kind kind_of(uint8_t encapsulation)
{
	return encapsulation == ENCAPSULATION_GENEVE ? TUNNEL_GENEVE : TUNNEL_VXLAN;
}

void vswitch_set_members(struct vswitch *vswitch, const struct vswitch_members *members)
{
	vswitch->members = *members;
	vswitch->dp.members = &vswitch->members.worker;
}

struct path *vswitch_path(const struct vswitch *vswitch, unsigned worker)
{
	return vswitch->dp.paths[worker];
}

const struct path_config *vswitch_config(const struct vswitch *vswitch)
{
	return vswitch->dp.config;
}

struct attachment *vswitch_member_attachment(const struct object *member)
{
	if (member->class == &vnic_class)
		return &((struct control_vnic *)member->runtime)->attachment;
	return &((struct control_port *)member->runtime)->attachment;
}

void vswitch_member_bind(struct vswitch *vswitch, const struct object *member, uint16_t representor)
{
	(void)vswitch;
	vswitch_member_attachment(member)->representor = representor;
	if (member->class == &vnic_class)
		vnic_publish(member->runtime);
	else
		uplink_publish(member->runtime);
}

void member_changed(const struct attachment *attachment)
{
	const struct vswitch_members *members = &attachment->vswitch->members;

	if (attachment->representor && members->changed)
		members->changed(members->ctx, attachment->representor);
}

const char *member_iface_name(const struct vswitch *vswitch, uint16_t iface)
{
	const struct vswitch_members *members = &vswitch->members;

	return members->iface_name ? members->iface_name(members->ctx, iface) : "";
}

int control_check_tunnels(void *ctx, const struct vpc *vpc, struct dpu_error *err)
{
	const struct vswitch_members *members = &((struct vswitch *)ctx)->members;
	const struct object *holder =
		members->tunnel_holder ? members->tunnel_holder(members->ctx, vpc->encapsulation, vpc->vni) : NULL;

	if (!holder)
		return 0;
	return error_set(err, DPU_E_EXISTS, "vni", "%u is used by representor %s with the same encapsulation", vpc->vni,
			 holder->name);
}

/* ---- interfaces of its own ---- */

void vswitch_iface_publish(struct attachment *attachment, struct path_iface *record)
{
	struct vswitch *vswitch = attachment->vswitch;
	uint16_t id = attachment->iface;
	bool visible = record && attachment_may_publish(attachment);
	struct path_iface *old;

	/* The number's former holder took its record along. */
	old = atomic_exchange(&vswitch->dp.config->ifaces[id], visible ? record : NULL);
	if (attachment_may_publish(attachment))
		atomic_store_explicit(&vswitch->dp.ports[id], visible ? attachment->port : NULL, memory_order_release);
	if (old)
		retire(vswitch, old);
	if (!visible)
		free(record);
}

void vswitch_iface_counters(const struct vswitch *vswitch, uint16_t iface, struct path_iface_counters *ret)
{
	iface_counters(vswitch, iface, ret);
}

/* ---- tunnels ---- */

struct tunnel *vswitch_tunnel_get(struct vswitch *vswitch, const struct object *underlay, uint8_t encapsulation,
				  const struct ip_addr *vtep)
{
	return tunnel_get(vswitch, underlay->runtime, kind_of(encapsulation), vtep);
}

void vswitch_tunnel_put(struct vswitch *vswitch, struct tunnel *tunnel)
{
	tunnel_put(vswitch, tunnel);
}

uint32_t vswitch_tunnel_index(const struct tunnel *tunnel)
{
	return tunnel_index(tunnel);
}

int vswitch_vni_set(struct vswitch *vswitch, uint8_t encapsulation, uint32_t vni, uint16_t slot)
{
	if (slot != 0)
		return path_vni_set(vswitch->dp.config, kind_of(encapsulation), vni, slot, control_retire, vswitch);
	path_vni_clear(vswitch->dp.config, kind_of(encapsulation), vni, control_retire, vswitch);
	return 0;
}

void vswitch_retire(void *vswitch, void (*free_fn)(void *), void *memory)
{
	retire_with(vswitch, free_fn, memory);
}
