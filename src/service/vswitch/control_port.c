/* SPDX-License-Identifier: BSD-3-Clause */
/* Tenants and uplink ports in force. */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "service/vswitch/vswitch_priv.h"

uint8_t incarnation_of(const struct object *object)
{
	return 1 + object->uuid.bytes[15] % 31;
}

/* What is left for sessions of the memory that the tenant may take, as a number of sessions; 0 = no limit. */
static uint32_t session_limit(struct vswitch *vswitch, const struct tenant *tenant)
{
	uint64_t memory = (uint64_t)tenant->max_memory_mb << 20,
		 used = tenant_object_bytes(vswitch->dpu->model, tenant);
	uint64_t left = memory > used ? (memory - used) / TENANT_SESSION_BYTES : 1;

	if (memory == 0 || (tenant->max_sessions > 0 && tenant->max_sessions < left))
		return tenant->max_sessions;
	return left < UINT32_MAX ? (uint32_t)left : UINT32_MAX;
}

void tenant_limits(struct vswitch *vswitch, const struct tenant *tenant)
{
	struct control_tenant *control = tenant->base.runtime;

	if (!control) /* not in force any more */
		return;
	uint32_t limit = session_limit(vswitch, tenant);
	if (atomic_exchange(&control->record->max_sessions, limit) != limit)
		dp_limit_changed(&vswitch->dp, 0, tenant->base.slot);
	atomic_store_explicit(&control->record->max_session_rate, tenant->max_session_rate, memory_order_relaxed);
}

int control_tenant_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct vswitch *vswitch = ctx;
	struct control_tenant *control = new->runtime;

	if (new->slot >= DP_MAX_TENANTS)
		return error_set(err, DPU_E_LIMIT, "name", "there are %u tenants already", DP_MAX_TENANTS - 1);
	if (!old) {
		control = control_alloc(sizeof(*control));
		control->record = control_alloc(sizeof(*control->record));
		control->record->slot = new->slot;
		control->record->incarnation = incarnation_of(new);
		new->runtime = control;
		atomic_store_explicit(&vswitch->dp.tenants[new->slot], control->record, memory_order_release);
	}
	tenant_limits(vswitch, (struct tenant *)new); /* edited in place: the counts must go on */
	return 0;
}

void control_tenant_remove(void *ctx, struct object *object)
{
	struct vswitch *vswitch = ctx;
	struct control_tenant *control = object->runtime;

	atomic_store_explicit(&vswitch->dp.tenants[object->slot], NULL, memory_order_release);
	retire(vswitch, control->record);
	object->runtime = NULL;
	free(control);
}

/* The interface as the path sees it, and what depends on it; again when the device has another MAC. */
void uplink_publish(struct control_port *uplink)
{
	struct vswitch *vswitch = uplink->attachment.vswitch;
	struct port *port = uplink->attachment.port;
	struct path_iface *record = control_alloc(sizeof(*record)), *old = uplink->record;
	uint16_t id = uplink->attachment.iface;
	bool visible = uplink->object->admin_up && attachment_may_publish(&uplink->attachment);

	*record = (struct path_iface){ .id = id,
				       .kind = uplink->attachment.representor ? PATH_IFACE_MEMBER : PATH_IFACE_UPLINK,
				       .check_mac = !uplink->attachment.representor,
				       .representor = uplink->attachment.representor,
				       .mtu = uplink->object->mtu };
	if (port)
		record->mac = port->mac;
	uplink->record = record;
	atomic_store_explicit(&vswitch->dp.config->ifaces[id], visible ? record : NULL, memory_order_release);
	if (attachment_may_publish(&uplink->attachment))
		atomic_store_explicit(&vswitch->dp.ports[id], visible ? port : NULL, memory_order_release);
	if (old)
		retire(vswitch, old);
	for (unsigned i = 0; i < 64; i++)
		if (vswitch->underlays[i] && vswitch->underlays[i]->port == uplink)
			underlay_refresh(vswitch->underlays[i]);
}

static void uplink_changed(struct attachment *attachment)
{
	struct control_port *uplink = (struct control_port *)attachment;
	bool up = attachment_is_up(attachment);

	if (!uplink->record) /* being created */
		return;
	uplink_publish(uplink);
	member_changed(attachment);
	if (up != uplink->up)
		attachment_notice(attachment, up ? "link-up" : "link-down",
				  up ? "the link is up" : "the link is down: nothing passes this port");
	uplink->up = up;
}

static int uplink_open(struct attachment *attachment, const struct port_callbacks *callbacks, struct port **ret,
		       struct dpu_error *err)
{
	const struct port_object *object = ((struct control_port *)attachment)->object;
	struct dpu *dpu = attachment->vswitch->dpu;

	return port_uplink_open(object->device, object->base.name, object->mtu, object->queues, dpu->loop, dpu->pool,
				callbacks, ret, err);
}

static const struct attachment_ops uplink_ops = { .open = uplink_open, .changed = uplink_changed };

/* A removal that is undone before the transaction is over takes the port back as it is. */
static struct control_port *port_revive(struct vswitch *vswitch, const struct object *object)
{
	struct control_port *uplink;

	LIST_FOREACH(uplink, &vswitch->removed_ports, removed_link)
	{
		if (uuid_equal(&uplink->attachment.object, &object->uuid)) {
			LIST_REMOVE(uplink, removed_link);
			return uplink;
		}
	}
	return NULL;
}

int control_port_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct vswitch *vswitch = ctx;
	struct control_port *uplink = new->runtime;

	if (new->slot >= PATH_FIRST_VNIC)
		return error_set(err, DPU_E_LIMIT, "name", "there are %u ports already", PATH_FIRST_VNIC - 1);
	if (!old)
		uplink = port_revive(vswitch, new);
	if (!uplink) {
		uplink = control_alloc(sizeof(*uplink));
		uplink->object = (struct port_object *)new;
		iface_counters(vswitch, new->slot, &uplink->base);
		iface_drops(vswitch, new->slot, uplink->drops_base);
		attachment_init(&uplink->attachment, vswitch, new->slot, &new->uuid, &uplink_ops);
		int rc = attachment_open(&uplink->attachment, err);
		if (rc != 0) {
			attachment_forget(&uplink->attachment);
			free(uplink);
			return rc;
		}
		uplink->up = attachment_is_up(&uplink->attachment);
	}
	new->runtime = uplink;
	uplink->object = (struct port_object *)new;
	uplink_publish(uplink);
	return 0;
}

static void uplink_closed(struct attachment *attachment)
{
	free(attachment);
}

void control_port_remove(void *ctx, struct object *object)
{
	struct vswitch *vswitch = ctx;
	struct control_port *uplink = object->runtime;

	object->runtime = NULL;
	LIST_INSERT_HEAD(&vswitch->removed_ports, uplink, removed_link);
}

void ports_commit(struct vswitch *vswitch)
{
	struct control_port *uplink;

	while ((uplink = LIST_FIRST(&vswitch->removed_ports)) != NULL) {
		LIST_REMOVE(uplink, removed_link);
		atomic_store_explicit(&vswitch->dp.config->ifaces[uplink->attachment.iface], NULL,
				      memory_order_release);
		retire(vswitch, uplink->record);
		attachment_close(&uplink->attachment, uplink_closed);
	}
}

static void underlay_record(struct control_underlay *underlay)
{
	struct vswitch *vswitch = underlay->vswitch;
	struct dp_local_vtep *record = control_alloc(sizeof(*record)), *old = underlay->record;
	const struct underlay *object = underlay->object;

	*record = (struct dp_local_vtep){ .address = object->address,
					  .prefix_length = object->prefix_length,
					  .mac = underlay->port->record->mac,
					  .iface = underlay->port->attachment.iface,
					  .vlan = object->vlan,
					  .slot = object->base.slot };
	underlay->record = record;
	atomic_store_explicit(&vswitch->dp.locals[object->base.slot], record, memory_order_release);
	if (old)
		retire(vswitch, old);
}

/* The router is asked for as long as it is configured, whether or not a tunnel needs it. */
static void next_hop_refresh(struct control_underlay *underlay)
{
	struct vswitch *vswitch = underlay->vswitch;
	struct neighbour *former = underlay->next_hop;

	underlay->next_hop = underlay->object->next_hop.family == IP_NONE
				     ? NULL
				     : neighbour_get(vswitch, underlay, &underlay->object->next_hop);
	if (former)
		neighbour_put(vswitch, former);
}

void underlay_refresh(struct control_underlay *underlay)
{
	underlay_record(underlay);
	tunnels_of_underlay(underlay->vswitch, underlay);
	neighbours_announce(underlay);
	neighbours_doubt(underlay);
}

int control_underlay_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct vswitch *vswitch = ctx;
	struct control_underlay *underlay = new->runtime;
	struct underlay *object = (struct underlay *)new;

	if (new->slot >= 64)
		return error_set(err, DPU_E_LIMIT, "name", "there are 63 underlays already");
	if (!old && path_local_set(vswitch->dp.config, &object->address, object->vlan, control_retire, vswitch) != 0)
		return error_set(err, DPU_E_LIMIT, "address", "cannot be registered: out of memory");
	if (!old) {
		underlay = control_alloc(sizeof(*underlay));
		underlay->vswitch = vswitch;
		new->runtime = underlay;
		vswitch->underlays[new->slot] = underlay;
	}
	underlay->object = object;
	underlay->port = object->port.object->runtime;
	underlay_refresh(underlay);
	next_hop_refresh(underlay);
	return 0;
}

void control_underlay_remove(void *ctx, struct object *object)
{
	struct vswitch *vswitch = ctx;
	struct control_underlay *underlay = object->runtime;

	if (underlay->next_hop)
		neighbour_put(vswitch, underlay->next_hop);
	path_local_clear(vswitch->dp.config, &underlay->object->address, control_retire, vswitch);
	atomic_store_explicit(&vswitch->dp.locals[object->slot], NULL, memory_order_release);
	retire(vswitch, underlay->record);
	vswitch->underlays[object->slot] = NULL;
	object->runtime = NULL;
	free(underlay);
}
