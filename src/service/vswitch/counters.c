/* SPDX-License-Identifier: BSD-3-Clause */
/* What the objects show of the running switch: the workers' counters, added up. */
#include <string.h>
#include "service/vswitch/vswitch_priv.h"

/* Each number is written by one worker and read here without order: exact when the workers stand still. */
static void add_words(uint64_t *sum, const uint64_t *part, size_t bytes)
{
	for (size_t i = 0; i < bytes / sizeof(*sum); i++)
		sum[i] += __atomic_load_n(&part[i], __ATOMIC_RELAXED);
}

void iface_counters(const struct vswitch *vswitch, uint16_t iface, struct path_iface_counters *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (unsigned i = 0; i < vswitch->dp.worker_count; i++)
		if (vswitch->dp.paths[i])
			add_words((uint64_t *)ret, (const uint64_t *)path_iface_counters(vswitch->dp.paths[i], iface),
				  sizeof(*ret));
}

void vpc_counters(const struct vswitch *vswitch, uint16_t slot, struct path_vpc_counters *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (unsigned i = 0; i < vswitch->dp.worker_count; i++)
		if (vswitch->dp.paths[i])
			add_words((uint64_t *)ret, (const uint64_t *)path_vpc_counters(vswitch->dp.paths[i], slot),
				  sizeof(*ret));
}

void counters_subtract(struct path_iface_counters *counters, const struct path_iface_counters *base)
{
	uint64_t *sum = (uint64_t *)counters;
	const uint64_t *part = (const uint64_t *)base;

	for (size_t i = 0; i < sizeof(*counters) / sizeof(*sum); i++)
		sum[i] -= part[i];
}

void counters_add(struct path_iface_counters *counters, const struct path_iface_counters *more)
{
	add_words((uint64_t *)counters, (const uint64_t *)more, sizeof(*counters));
}

/* What the port itself lost before the switch saw it. */
static uint64_t port_losses(const struct port *port)
{
	uint64_t losses = 0;

	for (unsigned i = 0; port && i < PORT_RX_DROPS; i++)
		if (i != PORT_RX_BAD_BUFFER)
			losses += atomic_load_explicit(&port->rx_drops[i], memory_order_relaxed);
	return losses;
}

void control_port_observe(void *ctx, const struct object *object, struct object *copy)
{
	struct port_object *out = (struct port_object *)copy;
	const struct control_port *uplink = object->runtime;
	const struct port *port = uplink->attachment.port;
	struct path_iface_counters counters;

	iface_counters(ctx, uplink->attachment.iface, &counters);
	counters_subtract(&counters, &uplink->base);
	out->up = port && atomic_load(&port->up);
	out->driver = control_text(port ? port->ops->kind : NULL);
	out->error = control_text(uplink->attachment.error);
	if (!out->error && !out->up && out->admin_up)
		out->error = control_text("the link is down, or the interface behind it is gone");
	if (port)
		out->mac = port->mac;
	queues_observe(&uplink->attachment, &out->queue_states);
	drops_observe(ctx, &uplink->attachment, uplink->drops_base, &out->drop_reasons);
	out->rx_packets = counters.rx_packets;
	out->rx_bytes = counters.rx_bytes;
	out->tx_packets = counters.tx_packets;
	out->tx_bytes = counters.tx_bytes;
	out->rx_drops = counters.rx_drops + port_losses(port);
	out->tx_drops = counters.tx_drops;
}

/* Of this vNIC alone, losses in its port included. */
static void vnic_counters(const struct vswitch *vswitch, const struct control_vnic *vnic,
			  struct path_iface_counters *ret)
{
	iface_counters(vswitch, vnic->attachment.iface, ret);
	counters_subtract(ret, &vnic->base);
	ret->rx_drops += port_losses(vnic->attachment.port);
}

void tenant_vnic_gone(struct vswitch *vswitch, const struct control_vnic *vnic)
{
	const struct object *tenant = model_find_uuid(vswitch->dpu->model, &vnic->tenant);
	struct path_iface_counters counters;

	if (!tenant || !tenant->runtime)
		return;
	vnic_counters(vswitch, vnic, &counters);
	counters_add(&((struct control_tenant *)tenant->runtime)->gone, &counters);
}

void control_vnic_observe(void *ctx, const struct object *object, struct object *copy)
{
	const struct vswitch *vswitch = ctx;
	struct vnic *out = (struct vnic *)copy;
	const struct control_vnic *vnic = object->runtime;
	const struct port *port = vnic->attachment.port;
	struct path_iface_counters counters;

	vnic_counters(vswitch, vnic, &counters);
	out->up = port && atomic_load(&port->up);
	out->driver = control_text(port ? port->ops->kind : NULL);
	out->error = control_text(vnic->attachment.error);
	out->rx_queues_active = attachment_active(&vnic->attachment);
	guest_observe(port, out);
	queues_observe(&vnic->attachment, &out->queue_states);
	drops_observe(vswitch, &vnic->attachment, vnic->drops_base, &out->drop_reasons);
	out->sessions = vnic->record ? dp_vnic_sessions(&vswitch->dp, vnic->record) : 0;
	out->rx_packets = counters.rx_packets;
	out->rx_bytes = counters.rx_bytes;
	out->tx_packets = counters.tx_packets;
	out->tx_bytes = counters.tx_bytes;
	out->rx_drops = counters.rx_drops; /* the port's losses are among them */
	out->tx_drops = counters.tx_drops;
	out->misses = counters.misses;
}

struct rollup {
	const struct vswitch *vswitch;
	struct tenant *tenant;
	struct path_iface_counters sum;
};

static int add_vnic(void *arg, struct object *object)
{
	struct rollup *rollup = arg;
	struct path_iface_counters counters;

	vnic_counters(rollup->vswitch, object->runtime, &counters);
	counters_add(&rollup->sum, &counters);
	rollup->tenant->vnics++;
	return 0;
}

void control_tenant_observe(void *ctx, const struct object *object, struct object *copy)
{
	struct vswitch *vswitch = ctx;
	const struct control_tenant *control = object->runtime;
	struct tenant *out = (struct tenant *)copy;
	struct rollup rollup = { .vswitch = vswitch, .tenant = out, .sum = control->gone };

	model_each(vswitch->dpu->model, "vnic", object, add_vnic, &rollup);
	out->rx_packets = rollup.sum.rx_packets;
	out->rx_bytes = rollup.sum.rx_bytes;
	out->tx_packets = rollup.sum.tx_packets;
	out->tx_bytes = rollup.sum.tx_bytes;
	out->drops = rollup.sum.rx_drops + rollup.sum.tx_drops;
	out->sessions = dp_tenant_sessions(&vswitch->dp, control->record);
	out->memory_bytes = tenant_object_bytes(vswitch->dpu->model, (const struct tenant *)object) +
			    out->sessions * TENANT_SESSION_BYTES;
}

void control_vpc_observe(void *ctx, const struct object *object, struct object *copy)
{
	struct vpc *out = (struct vpc *)copy;
	const struct control_vpc *vpc = object->runtime;
	struct path_vpc_counters counters;

	vpc_counters(ctx, object->slot, &counters);
	for (size_t i = 0; i < sizeof(counters) / sizeof(uint64_t); i++)
		((uint64_t *)&counters)[i] -= ((const uint64_t *)&vpc->base)[i];
	out->packets = counters.packets;
	out->bytes = counters.bytes;
	out->encapsulated = counters.encapsulated;
	out->decapsulated = counters.decapsulated;
	out->drops = counters.drops;
	out->sessions_created = counters.sessions_created;
	out->addresses = rcu_map_count(vpc->endpoints);
}
