/* SPDX-License-Identifier: BSD-3-Clause */
/* vNICs in force: their port, their record, their addresses. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "base/clock.h"
#include "base/log.h"
#include "service/vswitch/vswitch_priv.h"

/* ---- what defaults cannot express ---- */

enum { FREE_SEARCH = 65536 }; /* addresses of a subnet that are looked at for a free one */

struct used_addresses {
	const struct ip_prefix *prefix;
	uint8_t bits[FREE_SEARCH / 8];
};

static void mark_used(struct used_addresses *used, const struct ip_addr *address)
{
	unsigned last = used->prefix->addr.family == IP_V4 ? 3 : 15;
	uint32_t offset = 0;

	if (!ip_prefix_contains(used->prefix, address))
		return;
	for (unsigned i = 0; i <= last; i++) {
		uint32_t part = address->bytes[i] -
				used->prefix->addr.bytes[i]; /* no borrow: host bits of the prefix are zero */

		if (offset > UINT32_MAX >> 8)
			return;
		offset = offset << 8 | (part & 0xff);
	}
	if (offset < FREE_SEARCH)
		used->bits[offset / 8] |= 1 << (offset % 8);
}

static int mark_vnic(void *arg, struct object *object)
{
	const struct ip_list *list = &((const struct vnic *)object)->addresses;

	for (size_t i = 0; i < list->count; i++)
		mark_used(arg, &list->items[i]);
	return 0;
}

static int mark_endpoint(void *arg, const void *key, void *value)
{
	(void)value;
	mark_used(arg, key);
	return 0;
}

static int pick_address(struct vswitch *vswitch, const struct subnet *subnet, const struct ip_prefix *prefix,
			const struct ip_addr *gateway, struct ip_addr *ret)
{
	struct used_addresses *used = control_alloc(sizeof(*used));
	const struct control_vpc *vpc = subnet->vpc.object->runtime;
	unsigned host_bits = (prefix->addr.family == IP_V4 ? 32 : 128) - prefix->length;
	uint32_t end = host_bits >= 16 ? FREE_SEARCH : 1u << host_bits, number;

	used->prefix = prefix;
	mark_used(used, gateway);
	model_each_referrer(vswitch->dpu->model, &subnet->base, "vnic", mark_vnic, used);
	if (vpc)
		rcu_map_each(vpc->endpoints, mark_endpoint, used);
	if (prefix->addr.family == IP_V4)
		end--; /* the broadcast address */
	for (number = 1; number < end && used->bits[number / 8] & 1 << (number % 8); number++)
		;
	free(used);
	if (number >= end)
		return -ENOSPC;
	*ret = prefix_address(prefix, number);
	return 0;
}

static int pick_addresses(struct vswitch *vswitch, struct vnic *vnic, struct dpu_error *err)
{
	const struct subnet *subnet = (const struct subnet *)vnic->subnet.object;
	const struct ip_prefix *prefixes[] = { &subnet->prefix_v4, &subnet->prefix_v6 };
	const struct ip_addr *gateways[] = { &subnet->gateway_v4, &subnet->gateway_v6 };

	vnic->addresses.items = control_alloc(2 * sizeof(*vnic->addresses.items));
	for (unsigned i = 0; i < 2; i++) {
		if (prefixes[i]->addr.family == IP_NONE)
			continue;
		if (pick_address(vswitch, subnet, prefixes[i], gateways[i],
				 &vnic->addresses.items[vnic->addresses.count]) != 0)
			return error_set(err, DPU_E_LIMIT, "addresses",
					 "must be given: subnet %s has no free address among its first %u",
					 subnet->base.name, FREE_SEARCH);
		vnic->addresses.count++;
	}
	return 0;
}

int control_vnic_complete(void *ctx, const struct object *old, struct object *new, struct dpu_error *err)
{
	struct vnic *vnic = (struct vnic *)new;

	(void)old;
	if (mac_is_zero(&vnic->mac)) {
		if (getrandom(vnic->mac.bytes, 6, 0) != 6)
			return error_set(err, DPU_E_INTERNAL, "mac", "cannot be made up: no random numbers");
		vnic->mac.bytes[0] = (vnic->mac.bytes[0] & 0xfc) | 2; /* unicast, locally administered */
	}
	return vnic->addresses.count == 0 && vnic->subnet.object ? pick_addresses(ctx, vnic, err) : 0;
}

/* ---- the port behind it ---- */

static void vnic_changed(struct attachment *attachment);

static int open_vhost(struct control_vnic *vnic, const struct port_callbacks *callbacks, struct dpu_error *err)
{
	struct dpu *dpu = vnic->attachment.vswitch->dpu;
	const struct vnic *object = vnic->object;
	const char *folder = dpu->run_dir;
	char socket[512], state[512];
	struct port_vhost_options options = { .socket_path = socket,
					      .server = object->backend == BACKEND_VHOST_USER_SERVER,
					      .queue_pairs = object->queues,
					      .mtu = object->mtu,
					      .mac = object->mac,
					      .inflight_path = state };

	if (object->socket && object->socket[0] == '/')
		snprintf(socket, sizeof(socket), "%s", object->socket);
	else if (object->socket)
		snprintf(socket, sizeof(socket), "%s/%s", folder, object->socket);
	else
		snprintf(socket, sizeof(socket), "%s/%s-%s.sock", folder, object->base.tenant->name, object->base.name);
	snprintf(state, sizeof(state), "%s/vnic-%u.queues", dpu->state_dir, object->base.slot);
	return port_vhost_open(&options, object->base.name, dpu->loop, dpu->pool, callbacks, &vnic->attachment.port,
			       err);
}

static int open_tap(struct control_vnic *vnic, const struct port_callbacks *callbacks, struct dpu_error *err)
{
	struct dpu *dpu = vnic->attachment.vswitch->dpu;
	const struct vnic *object = vnic->object;
	struct port_tap_options options = { .name = object->tap_name ? object->tap_name : "eth0",
					    .netns = object->netns,
					    .queue_pairs = object->queues,
					    .mtu = object->mtu,
					    .mac = object->mac,
					    .persist = true };

	return port_tap_open(&options, object->base.name, dpu->loop, dpu->pool, callbacks, &vnic->attachment.port, err);
}

static int vnic_open(struct control_vnic *vnic, struct dpu_error *err)
{
	struct dpu *dpu = vnic->attachment.vswitch->dpu;
	struct port_callbacks callbacks = attachment_callbacks(&vnic->attachment);

	switch (vnic->object->backend) {
	case BACKEND_TAP:
		return open_tap(vnic, &callbacks, err);
	case BACKEND_DEVICE:
		return port_uplink_open(vnic->object->device, vnic->object->base.name, vnic->object->mtu,
					vnic->object->queues, dpu->loop, dpu->pool, &callbacks, &vnic->attachment.port,
					err);
	default:
		return open_vhost(vnic, &callbacks, err);
	}
}

/* ---- the record ---- */

void vnic_publish(struct control_vnic *vnic)
{
	struct vswitch *vswitch = vnic->attachment.vswitch;
	struct dp_vnic *record = control_alloc(sizeof(*record)), *old = vnic->record;
	const struct vnic *object = vnic->object;
	const struct control_subnet *subnet = object->subnet.object->runtime;
	uint16_t id = vnic->attachment.iface;
	uint32_t limit = atomic_load(&vswitch->dp.vnic_limit);

	record->iface = (struct path_iface){ .id = id,
					     .kind = PATH_IFACE_VNIC,
					     .check_mac = object->port_security,
					     .vpc = vnic->vpc->object->base.slot,
					     .mtu = object->mtu,
					     .mac = object->mac };
	record->slot = object->base.slot;
	snprintf(record->name, sizeof(record->name), "%s/%s", object->base.tenant->name, object->base.name);
	record->vpc = vnic->vpc->record;
	record->subnet = subnet->record;
	record->tenant = atomic_load(&vswitch->dp.tenants[object->base.tenant->slot]);
	for (size_t i = 0; i < object->addresses.count && i < DP_MAX_ADDRESSES; i++)
		record->addresses[record->address_count++] = object->addresses.items[i];
	record->port_security = object->port_security;
	record->security_groups_on = object->security_groups.count > 0;
	ref_groups(&object->security_groups, record->groups, &record->group_count);
	vnic_rules(vswitch, object, record);
	record->max_sessions = object->max_sessions;
	snprintf(record->hostname, sizeof(record->hostname), "%s", object->hostname ? object->hostname : "");
	record->runtime = vnic->runtime;
	vnic->record = record;
	vnic->dirty = false;
	if (limit <= id)
		atomic_store(&vswitch->dp.vnic_limit, id + 1u);
	atomic_store_explicit(&vswitch->dp.config->ifaces[id], &record->iface, memory_order_release);
	atomic_store_explicit(&vswitch->dp.ports[id], vnic->attachment.port, memory_order_release);
	if (old) {
		rules_release(vswitch, old);
		retire(vswitch, old);
	}
}

static int addresses_publish(struct control_vnic *vnic, const struct vnic *old, struct dpu_error *err)
{
	const struct vnic *new = vnic->object;
	struct dp_endpoint endpoint = { .kind = DP_ENDPOINT_LOCAL, .iface = vnic->attachment.iface, .mac = new->mac };
	uint32_t groups[DP_MAX_GROUPS];

	if (old)
		for (size_t i = 0; i < old->addresses.count; i++)
			endpoint_clear(vnic->vpc, &new->base.uuid, &old->addresses.items[i]);
	ref_groups(&new->security_groups, groups, &endpoint.group_count);
	for (size_t i = 0; i < new->addresses.count; i++) {
		int rc;

		endpoint.address = new->addresses.items[i];
		rc = endpoint_set(vnic->vpc, &new->base.uuid, &endpoint, groups, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static void addresses_withdraw(struct control_vnic *vnic, const struct vnic *object)
{
	for (size_t i = 0; i < object->addresses.count; i++)
		endpoint_clear(vnic->vpc, &object->base.uuid, &object->addresses.items[i]);
}

/* A removal that is undone before the transaction is over takes the port back as it is. */
static struct control_vnic *vnic_revive(struct vswitch *vswitch, const struct object *object)
{
	struct control_vnic *vnic;

	LIST_FOREACH(vnic, &vswitch->removed, removed_link)
	if (uuid_equal(&vnic->uuid, &object->uuid)) {
		LIST_REMOVE(vnic, removed_link);
		vnic->removed = false;
		return vnic;
	}
	return NULL;
}

static int vnic_new(struct vswitch *vswitch, struct object *object, struct control_vnic **ret, struct dpu_error *err)
{
	struct control_vnic *vnic = control_alloc(sizeof(*vnic));
	int rc;

	vnic->object = (struct vnic *)object;
	vnic->uuid = object->uuid;
	vnic->runtime = control_alloc(sizeof(*vnic->runtime));
	vnic->runtime->incarnation = object->uuid.bytes[15] ? object->uuid.bytes[15] : 1;
	attachment_init(&vnic->attachment, vswitch, PATH_FIRST_VNIC + object->slot, &object->uuid, vnic_changed);
	rc = vnic_open(vnic, err);
	if (rc != 0 && !model_loading(vswitch->dpu->model)) {
		LIST_REMOVE(&vnic->attachment, link);
		free(vnic->runtime);
		free(vnic);
		return rc;
	}
	if (rc != 0) {
		log_warn("vswitch", "vNIC does not open", "vnic=\"%s/%s\" error=\"%s\"", object->tenant->name,
			 object->name, err->message);
		vnic->attachment.error = control_text(err->message);
	}
	vnic->runtime->port = vnic->attachment.port;
	*ret = vnic;
	return 0;
}

int control_vnic_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct vswitch *vswitch = ctx;
	struct control_vnic *vnic = old ? new->runtime : vnic_revive(vswitch, new);
	const struct subnet *subnet = (const struct subnet *)((struct vnic *)new)->subnet.object;
	int rc;

	if (!vnic) {
		rc = vnic_new(vswitch, new, &vnic, err);
		if (rc != 0)
			return rc;
	}
	vnic->object = (struct vnic *)new;
	vnic->vpc = control_vpc_of(&subnet->vpc);
	if (!old)
		LIST_INSERT_HEAD(&vnic->vpc->vnics, vnic, link);
	new->runtime = vnic;
	vnic->dirty = true;
	vpc_mark(vnic->vpc);
	rc = addresses_publish(vnic, (const struct vnic *)old, err);
	if (rc == 0)
		return 0;
	addresses_withdraw(vnic, (const struct vnic *)new);
	if (old) {
		vnic->object = (struct vnic *)old;
		addresses_publish(vnic, NULL, NULL);
	} else {
		control_vnic_remove(ctx, new);
	}
	return rc;
}

void control_vnic_remove(void *ctx, struct object *object)
{
	struct vswitch *vswitch = ctx;
	struct control_vnic *vnic = object->runtime;

	addresses_withdraw(vnic, vnic->object);
	atomic_store_explicit(&vswitch->dp.config->ifaces[vnic->attachment.iface], NULL, memory_order_release);
	LIST_REMOVE(vnic, link);
	vpc_mark(vnic->vpc);
	vnic->removed = true;
	vnic->object = NULL;
	object->runtime = NULL;
	LIST_INSERT_HEAD(&vswitch->removed, vnic, removed_link);
}

static void vnic_closed(struct attachment *attachment)
{
	struct control_vnic *vnic = (struct control_vnic *)attachment;

	free(vnic->runtime);
	free(vnic);
}

void vnics_commit(struct vswitch *vswitch)
{
	struct control_vnic *vnic;

	while ((vnic = LIST_FIRST(&vswitch->removed)) != NULL) {
		LIST_REMOVE(vnic, removed_link);
		if (vnic->record) {
			rules_release(vswitch, vnic->record);
			retire(vswitch, vnic->record);
		}
		attachment_close(&vnic->attachment, vnic_closed);
	}
}

struct announcement {
	struct dp_worker *worker;
	uint16_t iface;
};

static void announce_in_worker(void *arg, struct worker *worker)
{
	struct announcement *announcement = arg;

	(void)worker;
	dp_announce(announcement->worker, announcement->iface);
}

/* The guest has come: tell it and the world where things are. */
static void vnic_changed(struct attachment *attachment)
{
	struct control_vnic *vnic = (struct control_vnic *)attachment;
	struct vswitch *vswitch = attachment->vswitch;
	struct announcement *announcement;

	vnic->runtime->port = attachment->port;
	if (!vnic->record)
		return;
	atomic_store_explicit(&vswitch->dp.ports[attachment->iface], attachment->port, memory_order_release);
	if (!vswitch->running || !atomic_load(&attachment->port->up))
		return;
	announcement = control_alloc(sizeof(*announcement));
	*announcement = (struct announcement){ .worker = vswitch->workers[0], .iface = attachment->iface };
	if (worker_call(workers_get(vswitch->dp.workers, 0), announce_in_worker, announcement, free) != 0)
		free(announcement);
}
