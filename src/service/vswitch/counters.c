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

/* What the port itself lost before the switch saw it. */
static uint64_t port_losses(const struct port *port)
{
	uint64_t losses = 0;

	for (unsigned i = 0; port && i < PORT_RX_DROPS; i++)
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
	out->up = port && atomic_load(&port->up);
	out->driver = control_text(port ? port->ops->kind : NULL);
	out->error = control_text(uplink->attachment.error);
	if (port)
		out->mac = port->mac;
	out->rx_packets = counters.rx_packets;
	out->rx_bytes = counters.rx_bytes;
	out->tx_packets = counters.tx_packets;
	out->tx_bytes = counters.tx_bytes;
	out->rx_drops = counters.rx_drops + port_losses(port);
	out->tx_drops = counters.tx_drops;
}

void control_vnic_observe(void *ctx, const struct object *object, struct object *copy)
{
	const struct vswitch *vswitch = ctx;
	struct vnic *out = (struct vnic *)copy;
	const struct control_vnic *vnic = object->runtime;
	const struct port *port = vnic->attachment.port;
	struct path_iface_counters counters;

	iface_counters(vswitch, vnic->attachment.iface, &counters);
	out->up = port && atomic_load(&port->up);
	out->error = control_text(vnic->attachment.error);
	out->rx_queues_active = attachment_active(&vnic->attachment);
	out->sessions = vnic->record ? dp_vnic_sessions(&vswitch->dp, vnic->record) : 0;
	out->rx_packets = counters.rx_packets;
	out->rx_bytes = counters.rx_bytes;
	out->tx_packets = counters.tx_packets;
	out->tx_bytes = counters.tx_bytes;
	out->rx_drops = counters.rx_drops + port_losses(port);
	out->tx_drops = counters.tx_drops;
	out->misses = counters.misses;
}

struct rollup {
	const struct vswitch *vswitch;
	struct tenant *tenant;
};

static int add_vnic(void *arg, struct object *object)
{
	struct rollup *rollup = arg;
	struct tenant *out = rollup->tenant;
	struct path_iface_counters counters;
	const struct control_vnic *vnic = object->runtime;

	iface_counters(rollup->vswitch, vnic->attachment.iface, &counters);
	out->vnics++;
	out->rx_packets += counters.rx_packets;
	out->rx_bytes += counters.rx_bytes;
	out->tx_packets += counters.tx_packets;
	out->tx_bytes += counters.tx_bytes;
	out->drops += counters.rx_drops + counters.tx_drops + port_losses(vnic->attachment.port);
	return 0;
}

void control_tenant_observe(void *ctx, const struct object *object, struct object *copy)
{
	struct vswitch *vswitch = ctx;
	struct rollup rollup = { .vswitch = vswitch, .tenant = (struct tenant *)copy };
	const struct dp_tenant *record = atomic_load(&vswitch->dp.tenants[object->slot]);

	model_each(vswitch->dpu->model, "vnic", object, add_vnic, &rollup);
	rollup.tenant->sessions = dp_tenant_sessions(&vswitch->dp, record);
	rollup.tenant->session_memory_bytes = rollup.tenant->sessions * 256;
}

void control_vpc_observe(void *ctx, const struct object *object, struct object *copy)
{
	struct vpc *out = (struct vpc *)copy;
	const struct control_vpc *vpc = object->runtime;
	struct path_vpc_counters counters;

	vpc_counters(ctx, object->slot, &counters);
	out->packets = counters.packets;
	out->bytes = counters.bytes;
	out->encapsulated = counters.encapsulated;
	out->decapsulated = counters.decapsulated;
	out->drops = counters.drops;
	out->sessions_created = counters.sessions_created;
	out->addresses = rcu_map_count(vpc->endpoints);
}
