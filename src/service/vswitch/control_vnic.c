/* SPDX-License-Identifier: BSD-3-Clause */
/* vNICs in force: their port, their record, their addresses. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "service/vswitch/vswitch_priv.h"

/* ---- what defaults cannot express ---- */

enum {
	FREE_SEARCH = 65536, /* addresses of a subnet that are looked at for a free one */
	PATH_BYTES = 512,
};

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
	if (prefix->addr.family == IP_V4)
		end--; /* the broadcast address */
	for (number = 1; number < end; number++) {
		*ret = prefix_address(prefix, number);
		if (!(used->bits[number / 8] & 1 << (number % 8)) &&
		    (!vpc || !rcu_map_find(vpc->endpoints, ret))) /* a mapping's, maybe */
			break;
	}
	free(used);
	return number < end ? 0 : -ENOSPC;
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

const char *vnic_tap_name(const struct vnic *vnic)
{
	return vnic->tap_name ? vnic->tap_name : "eth0";
}

/* The file of packed rings' positions, which outlives us: by identity, so that nobody else ever finds it. */
static const char *rings_file(const struct control_vnic *vnic, char *buf, size_t size)
{
	const char *folder = vnic->attachment.vswitch->dpu->state_dir;
	char uuid[UUID_TEXT];

	if (!folder)
		return NULL;
	snprintf(buf, size, "%s/vnic-%s.rings", folder, uuid_format(&vnic->uuid, uuid));
	return buf;
}

static void rings_file_remove(const struct control_vnic *vnic)
{
	char path[PATH_BYTES];

	if (rings_file(vnic, path, sizeof(path)))
		unlink(path);
}

static int open_vhost(struct control_vnic *vnic, const struct port_callbacks *callbacks, struct port **ret,
		      struct dpu_error *err)
{
	struct dpu *dpu = vnic->attachment.vswitch->dpu;
	const struct vnic *object = vnic->object;
	char socket[PATH_BYTES], rings[PATH_BYTES];
	struct port_vhost_options options = {
		.socket_path = socket,
		.server = object->backend == BACKEND_VHOST_USER_SERVER,
		.queue_pairs = object->queues,
		.mtu = object->mtu,
		.mac = object->mac,
		.state_path = rings_file(vnic, rings, sizeof(rings)),
	};

	if (object->socket && object->socket[0] == '/')
		snprintf(socket, sizeof(socket), "%s", object->socket);
	else if (object->socket)
		snprintf(socket, sizeof(socket), "%s/%s", dpu->run_dir, object->socket);
	else
		snprintf(socket, sizeof(socket), "%s/%s-%s.sock", dpu->run_dir, object->base.tenant->name,
			 object->base.name);
	return port_vhost_open(&options, object->base.name, dpu->loop, dpu->pool, callbacks, ret, err);
}

static int open_tap(struct control_vnic *vnic, const struct port_callbacks *callbacks, struct port **ret,
		    struct dpu_error *err)
{
	struct dpu *dpu = vnic->attachment.vswitch->dpu;
	const struct vnic *object = vnic->object;
	struct port_tap_options options = { .name = vnic_tap_name(object),
					    .netns = object->netns,
					    .queue_pairs = object->queues,
					    .mtu = object->mtu,
					    .mac = object->mac,
					    .persist = true };

	return port_tap_open(&options, object->base.name, dpu->loop, dpu->pool, callbacks, ret, err);
}

/* The port's options have other names than the fields behind them. */
static void name_field(struct dpu_error *err)
{
	static const char *const names[][2] = { { "name", "tap_name" },
						{ "queue_pairs", "queues" },
						{ "socket_path", "socket" } };

	for (unsigned i = 0; err && i < RTE_DIM(names); i++)
		if (strcmp(err->path, names[i][0]) == 0)
			snprintf(err->path, sizeof(err->path), "%s", names[i][1]);
}

static int vnic_open(struct attachment *attachment, const struct port_callbacks *callbacks, struct port **ret,
		     struct dpu_error *err)
{
	struct control_vnic *vnic = (struct control_vnic *)attachment;
	struct dpu *dpu = attachment->vswitch->dpu;
	const struct vnic *object = vnic->object;
	int rc;

	if (object->backend == BACKEND_TAP)
		rc = open_tap(vnic, callbacks, ret, err);
	else if (object->backend == BACKEND_DEVICE)
		rc = port_uplink_open(object->device, object->base.name, object->mtu, object->queues, dpu->loop,
				      dpu->pool, callbacks, ret, err);
	else
		rc = open_vhost(vnic, callbacks, ret, err);
	if (rc != 0)
		name_field(err);
	return rc;
}

/* ---- the record ---- */

void vnic_publish(struct control_vnic *vnic)
{
	struct vswitch *vswitch = vnic->attachment.vswitch;
	struct dp_vnic *record = control_alloc(sizeof(*record)), *old = vnic->record;
	const struct vnic *object = vnic->object;
	const struct control_subnet *subnet = object->subnet.object ? object->subnet.object->runtime : NULL;
	uint16_t id = vnic->attachment.iface;
	uint32_t limit = atomic_load(&vswitch->dp.vnic_limit);
	bool free_number = attachment_may_publish(&vnic->attachment), visible = free_number && object->admin_up;

	record->iface = (struct path_iface){ .id = id,
					     .kind = subnet ? PATH_IFACE_VNIC : PATH_IFACE_MEMBER,
					     .check_mac = subnet && object->port_security,
					     .vpc = subnet ? vnic->vpc->object->base.slot : 0,
					     .mtu = object->mtu,
					     .representor = vnic->attachment.representor,
					     .mac = object->mac };
	record->slot = object->base.slot;
	str_format(record->name, sizeof(record->name), "%s/%s", object->base.tenant->name, object->base.name);
	record->vpc = subnet ? vnic->vpc->record : NULL;
	record->subnet = subnet ? subnet->record : NULL;
	record->tenant = atomic_load(&vswitch->dp.tenants[object->base.tenant->slot]);
	for (size_t i = 0; i < object->addresses.count && i < DP_MAX_ADDRESSES; i++)
		record->addresses[record->address_count++] = object->addresses.items[i];
	record->port_security = object->port_security;
	record->security_groups_on = object->security_groups.count > 0;
	ref_groups(&object->security_groups, record->groups, &record->group_count);
	vnic_rules(vswitch, object, record);
	record->max_sessions = object->max_sessions;
	record->max_session_rate = object->max_session_rate;
	snprintf(record->hostname, sizeof(record->hostname), "%s", object->hostname ? object->hostname : "");
	record->runtime = vnic->runtime;
	vnic->record = record;
	vnic->dirty = false;
	if (limit <= id)
		atomic_store(&vswitch->dp.vnic_limit, id + 1u);
	if (free_number) {
		atomic_store_explicit(&vswitch->dp.config->ifaces[id], visible ? &record->iface : NULL,
				      memory_order_release);
		atomic_store_explicit(&vswitch->dp.ports[id], visible ? vnic->attachment.port : NULL,
				      memory_order_release);
	}
	if (old) {
		if (old->max_sessions != record->max_sessions)
			dp_limit_changed(&vswitch->dp, id, 0);
		rules_release(vswitch, old);
		retire(vswitch, old);
	}
}

static void addresses_withdraw(struct control_vnic *vnic)
{
	if (!vnic->vpc)
		return;
	link_local_drop(vnic->vpc, &vnic->link_local);
	for (size_t i = 0; i < vnic->endpoint_count; i++)
		endpoint_clear(vnic->vpc, &vnic->endpoints[i]);
	free(vnic->endpoints);
	vnic->endpoints = NULL;
	vnic->endpoint_count = 0;
}

/* The new ones come into force before the old ones go: an address that stays is never missing. */
static void addresses_publish(struct control_vnic *vnic)
{
	const struct vnic *object = vnic->object;
	struct dp_endpoint endpoint = { .kind = DP_ENDPOINT_LOCAL,
					.iface = vnic->attachment.iface,
					.mac = object->mac };
	struct dp_endpoint **former = vnic->endpoints;
	size_t former_count = vnic->endpoint_count;
	uint32_t groups[DP_MAX_GROUPS];

	vnic->endpoints = control_alloc((object->addresses.count + 1) * sizeof(*vnic->endpoints));
	vnic->endpoint_count = object->addresses.count;
	ref_groups(&object->security_groups, groups, &endpoint.group_count);
	for (size_t i = 0; i < object->addresses.count; i++) {
		endpoint.address = object->addresses.items[i];
		endpoint_set(vnic->vpc, &endpoint, groups, &vnic->endpoints[i]);
	}
	link_local_hold(vnic->vpc, &vnic->link_local, vnic->endpoints[0]);
	for (size_t i = 0; i < former_count; i++)
		endpoint_clear(vnic->vpc, &former[i]);
	free(former);
}

/* A removal that is undone before the transaction is over takes the port back as it is. */
static struct control_vnic *vnic_revive(struct vswitch *vswitch, const struct object *object)
{
	struct control_vnic *vnic;

	LIST_FOREACH(vnic, &vswitch->removed, removed_link)
	{
		if (uuid_equal(&vnic->uuid, &object->uuid)) {
			LIST_REMOVE(vnic, removed_link);
			return vnic;
		}
	}
	return NULL;
}

static void vnic_changed(struct attachment *attachment);
static const struct attachment_ops vnic_ops = { .open = vnic_open, .changed = vnic_changed };

static int vnic_new(struct vswitch *vswitch, struct object *object, struct control_vnic **ret, struct dpu_error *err)
{
	struct control_vnic *vnic = control_alloc(sizeof(*vnic));
	uint16_t iface = PATH_FIRST_VNIC + object->slot;
	int rc;

	vnic->object = (struct vnic *)object;
	vnic->uuid = object->uuid;
	vnic->runtime = control_alloc(sizeof(*vnic->runtime));
	vnic->runtime->incarnation = incarnation_of(object);
	iface_counters(vswitch, iface, &vnic->base);
	iface_drops(vswitch, iface, vnic->drops_base);
	attachment_init(&vnic->attachment, vswitch, iface, &object->uuid, &vnic_ops);
	rc = attachment_open(&vnic->attachment, err);
	if (rc != 0) {
		attachment_forget(&vnic->attachment);
		free(vnic->runtime);
		free(vnic);
		return rc;
	}
	vnic->runtime->port = vnic->attachment.port;
	vnic->up = attachment_is_up(&vnic->attachment);
	*ret = vnic;
	return 0;
}

int control_vnic_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct vswitch *vswitch = ctx;
	struct control_vnic *vnic = new->runtime;
	const struct subnet *subnet = (const struct subnet *)((struct vnic *)new)->subnet.object;
	int rc;

	if (old && vnic->attachment.port &&
	    (rc = port_set_mtu(vnic->attachment.port, ((struct vnic *)new)->mtu, err)) != 0)
		return rc;
	if (PATH_FIRST_VNIC + new->slot >= PATH_FIRST_REPRESENTOR)
		return error_set(err, DPU_E_LIMIT, "name", "there are %u vNICs already",
				 PATH_FIRST_REPRESENTOR - PATH_FIRST_VNIC - 1);
	if (!old)
		vnic = vnic_revive(vswitch, new);
	if (!vnic) {
		rc = vnic_new(vswitch, new, &vnic, err);
		if (rc != 0)
			return rc;
	}
	if (old)
		claims_drop(vswitch->claims, old);
	claims_hold(vswitch->claims, new);
	vnic->object = (struct vnic *)new;
	vnic->tenant = new->tenant->uuid;
	vnic->vpc = subnet ? control_vpc_of(&subnet->vpc) : NULL;
	new->runtime = vnic;
	if (!vnic->vpc) { /* nothing of a VPC's is to follow first */
		vnic_publish(vnic);
		member_changed(&vnic->attachment);
		return 0;
	}
	if (!old)
		LIST_INSERT_HEAD(&vnic->vpc->vnics, vnic, link);
	vnic->dirty = true;
	vnic->told_otherwise |= old && ((struct vnic *)old)->mtu != ((struct vnic *)new)->mtu;
	vpc_mark(vnic->vpc);
	addresses_publish(vnic);
	return 0;
}

void control_vnic_remove(void *ctx, struct object *object)
{
	struct vswitch *vswitch = ctx;
	struct control_vnic *vnic = object->runtime;

	addresses_withdraw(vnic);
	claims_drop(vswitch->claims, object);
	if (attachment_may_publish(&vnic->attachment))
		atomic_store_explicit(&vswitch->dp.config->ifaces[vnic->attachment.iface], NULL, memory_order_release);
	if (vnic->vpc) {
		LIST_REMOVE(vnic, link);
		vpc_mark(vnic->vpc);
	}
	vnic->object = NULL;
	object->runtime = NULL;
	LIST_INSERT_HEAD(&vswitch->removed, vnic, removed_link);
}

static void vnic_closed(struct attachment *attachment)
{
	struct control_vnic *vnic = (struct control_vnic *)attachment;

	if (!attachment->vswitch->stopping)
		rings_file_remove(vnic);
	free(vnic->runtime);
	free(vnic);
}

void vnics_commit(struct vswitch *vswitch)
{
	struct control_vnic *vnic;

	while ((vnic = LIST_FIRST(&vswitch->removed)) != NULL) {
		LIST_REMOVE(vnic, removed_link);
		tenant_vnic_gone(vswitch, vnic);
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

void vnic_announce(struct control_vnic *vnic)
{
	struct vswitch *vswitch = vnic->attachment.vswitch;
	struct announcement *announcement;

	if (!vswitch->running || !attachment_is_up(&vnic->attachment))
		return;
	announcement = control_alloc(sizeof(*announcement));
	*announcement = (struct announcement){ .worker = vswitch->workers[0], .iface = vnic->attachment.iface };
	if (worker_call(workers_get(vswitch->dp.workers, 0), announce_in_worker, announcement, free) != 0)
		free(announcement);
}

/* The guest has come: tell it and the world where things are. */
static void vnic_changed(struct attachment *attachment)
{
	struct control_vnic *vnic = (struct control_vnic *)attachment;
	bool up = attachment_is_up(attachment);

	vnic->runtime->port = attachment->port;
	if (!vnic->object || !vnic->record) /* being created or removed */
		return;
	vnic_publish(vnic);
	if (up && vnic->vpc)
		vnic_announce(vnic);
	member_changed(attachment);
	if (up != vnic->up)
		attachment_notice(attachment, up ? "guest-connected" : "guest-disconnected",
				  up ? "the guest is connected and its driver is ready"
				     : "the guest or its driver has gone");
	vnic->up = up;
}
