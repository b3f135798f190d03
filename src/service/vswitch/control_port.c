/* SPDX-License-Identifier: BSD-3-Clause */
/* Tenants and uplink ports in force. */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "service/vswitch/vswitch_priv.h"

int control_tenant_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct vswitch *vswitch = ctx;
	struct tenant *tenant = (struct tenant *)new;
	struct dp_tenant *record = atomic_load(&vswitch->dp.tenants[new->slot]);

	(void)old;
	if (new->slot >= DP_MAX_TENANTS)
		return error_set(err, DPU_E_LIMIT, "name", "there are %u tenants already", DP_MAX_TENANTS - 1);
	if (record) { /* limits are edited in place: the counts must go on */
		record->max_sessions = tenant->max_sessions;
		record->max_session_rate = tenant->max_session_rate;
		return 0;
	}
	record = control_alloc(sizeof(*record));
	record->slot = new->slot;
	record->max_sessions = tenant->max_sessions;
	record->max_session_rate = tenant->max_session_rate;
	atomic_store_explicit(&vswitch->dp.tenants[new->slot], record, memory_order_release);
	return 0;
}

void control_tenant_remove(void *ctx, struct object *object)
{
	struct vswitch *vswitch = ctx;
	struct dp_tenant *record = atomic_load(&vswitch->dp.tenants[object->slot]);

	atomic_store_explicit(&vswitch->dp.tenants[object->slot], NULL, memory_order_release);
	retire(vswitch, record);
}

/* The interface as the path sees it; again when the device has another MAC. */
static void uplink_publish(struct control_port *uplink)
{
	struct vswitch *vswitch = uplink->attachment.vswitch;
	struct port *port = uplink->attachment.port;
	struct path_iface *record = control_alloc(sizeof(*record)), *old = uplink->record;
	uint16_t id = uplink->attachment.iface;

	*record = (struct path_iface){
		.id = id, .kind = PATH_IFACE_UPLINK, .check_mac = true, .mtu = uplink->object->mtu
	};
	if (port)
		record->mac = port->mac;
	uplink->record = record;
	atomic_store_explicit(&vswitch->dp.config->ifaces[id], record, memory_order_release);
	atomic_store_explicit(&vswitch->dp.ports[id], port, memory_order_release);
	if (old)
		retire(vswitch, old);
	for (unsigned i = 0; i < 64; i++)
		if (vswitch->underlays[i] && vswitch->underlays[i]->port == uplink) {
			vswitch->underlays[i]->record->mac = record->mac;
			tunnels_of_underlay(vswitch, vswitch->underlays[i]);
			neighbours_announce(vswitch->underlays[i]);
		}
}

static void uplink_changed(struct attachment *attachment)
{
	struct control_port *uplink = (struct control_port *)attachment;

	if (uplink->record)
		uplink_publish(uplink);
}

static int uplink_open(struct control_port *uplink, struct dpu_error *err)
{
	struct vswitch *vswitch = uplink->attachment.vswitch;
	struct port_callbacks callbacks = attachment_callbacks(&uplink->attachment);

	return port_uplink_open(uplink->object->device, uplink->object->base.name, uplink->object->mtu,
				uplink->object->queues, vswitch->dpu->loop, vswitch->dpu->pool, &callbacks,
				&uplink->attachment.port, err);
}

static void uplink_retry(void *arg)
{
	struct control_port *uplink = arg;
	struct dpu_error err = { 0 };

	if (uplink_open(uplink, &err) != 0) {
		free(uplink->attachment.error);
		uplink->attachment.error = control_text(err.message);
		loop_timer_rearm(uplink->retry, CLOCK_NS_PER_S);
		return;
	}
	free(uplink->attachment.error);
	uplink->attachment.error = NULL;
	loop_timer_remove(uplink->retry);
	uplink->retry = NULL;
	log_info("vswitch", "port is back", "port=\"%s\"", uplink->object->base.name);
	uplink_publish(uplink);
}

int control_port_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct vswitch *vswitch = ctx;
	struct control_port *uplink = new->runtime;
	int rc;

	if (old) {
		uplink->object = (struct port_object *)new;
		return 0;
	}
	uplink = control_alloc(sizeof(*uplink));
	uplink->object = (struct port_object *)new;
	attachment_init(&uplink->attachment, vswitch, new->slot, &new->uuid, uplink_changed);
	rc = uplink_open(uplink, err);
	if (rc != 0 && !model_loading(vswitch->dpu->model)) {
		LIST_REMOVE(&uplink->attachment, link);
		free(uplink);
		return rc;
	}
	if (rc != 0) { /* configured, but missing today: the DPU starts without it and keeps trying */
		log_warn("vswitch", "port does not open; trying again every second", "port=\"%s\" error=\"%s\"",
			 new->name, err->message);
		uplink->attachment.error = control_text(err->message);
		loop_timer_add(vswitch->dpu->loop, CLOCK_NS_PER_S, 0, uplink_retry, uplink, &uplink->retry);
	}
	new->runtime = uplink;
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

	loop_timer_remove(uplink->retry);
	atomic_store_explicit(&vswitch->dp.config->ifaces[uplink->attachment.iface], NULL, memory_order_release);
	retire(vswitch, uplink->record);
	object->runtime = NULL;
	attachment_close(&uplink->attachment, uplink_closed);
}

static int underlay_record(struct vswitch *vswitch, struct control_underlay *underlay)
{
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
	return path_local_set(vswitch->dp.config, &object->address, control_retire, vswitch);
}

int control_underlay_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct vswitch *vswitch = ctx;
	struct control_underlay *underlay = new->runtime;

	if (!old) {
		underlay = control_alloc(sizeof(*underlay));
		underlay->vswitch = vswitch;
		new->runtime = underlay;
		vswitch->underlays[new->slot] = underlay;
	}
	underlay->object = (struct underlay *)new;
	underlay->port = underlay->object->port.object->runtime;
	if (underlay_record(vswitch, underlay) != 0)
		return error_set(err, DPU_E_INTERNAL, "address", "cannot be registered: out of memory");
	if (old)
		tunnels_of_underlay(vswitch, underlay);
	else
		neighbours_announce(underlay);
	return 0;
}

void control_underlay_remove(void *ctx, struct object *object)
{
	struct vswitch *vswitch = ctx;
	struct control_underlay *underlay = object->runtime;

	path_local_clear(vswitch->dp.config, &underlay->object->address, control_retire, vswitch);
	atomic_store_explicit(&vswitch->dp.locals[object->slot], NULL, memory_order_release);
	retire(vswitch, underlay->record);
	vswitch->underlays[object->slot] = NULL;
	object->runtime = NULL;
	free(underlay);
}
