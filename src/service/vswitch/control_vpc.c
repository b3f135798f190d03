/* SPDX-License-Identifier: BSD-3-Clause */
/* VPCs and subnets in force, and the addresses that a VPC knows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "service/vswitch/vswitch_priv.h"

struct control_vpc *control_vpc_of(const struct ref *vpc)
{
	return vpc->object->runtime;
}

enum tunnel_kind vpc_tunnel_kind(const struct vpc *vpc)
{
	return vpc->encapsulation == ENCAPSULATION_GENEVE ? TUNNEL_GENEVE : TUNNEL_VXLAN;
}

struct control_underlay *vpc_underlay(const struct vpc *vpc)
{
	return vpc->underlay.object ? vpc->underlay.object->runtime : NULL;
}

void vpc_mark(struct control_vpc *vpc)
{
	if (vpc->listed)
		return;
	vpc->listed = true;
	LIST_INSERT_HEAD(&vpc->vswitch->dirty_vpcs, vpc, dirty_link);
}

/* Takes an endpoint out, unless another holder's stands in its place. */
static void unlink_endpoint(struct control_vpc *vpc, const struct dp_endpoint *endpoint)
{
	if (rcu_map_find(vpc->endpoints, &endpoint->address) == endpoint)
		rcu_map_remove(vpc->endpoints, &endpoint->address);
}

void endpoint_set(struct control_vpc *vpc, const struct dp_endpoint *endpoint, const uint32_t *groups,
		  struct dp_endpoint **held)
{
	size_t group_bytes = endpoint->group_count * sizeof(groups[0]);
	struct dp_endpoint *new = malloc(sizeof(*new) + group_bytes), *old = *held;

	if (!new)
		abort();
	*new = *endpoint;
	memcpy(new->groups, groups, group_bytes);
	if (rcu_map_set(vpc->endpoints, &new->address, new, NULL) != 0)
		abort();
	*held = new;
	if (old) {
		unlink_endpoint(vpc, old);
		retire(vpc->vswitch, old);
	}
	vpc_mark(vpc);
}

void endpoint_clear(struct control_vpc *vpc, struct dp_endpoint **held)
{
	if (!*held)
		return;
	unlink_endpoint(vpc, *held);
	retire(vpc->vswitch, *held);
	*held = NULL;
	vpc_mark(vpc);
}

static int is_remote(void *arg, struct object *object)
{
	return object->class == &mapping_class || ((const struct route *)object)->kind == ROUTE_VTEP;
}

bool control_vpc_uses_underlay(void *ctx, const struct vpc *vpc)
{
	struct model *model = control_model(ctx);

	return model_each_referrer(model, &vpc->base, "mapping", is_remote, NULL) ||
	       model_each_referrer(model, &vpc->base, "route", is_remote, NULL);
}

/* The same on every DPU, so that a guest that moves keeps its gateway: locally administered, from the VNI. Nothing else
 * goes into it: guests hold on to the IPv6 router that they know, whose link-local address comes from it, too. */
struct mac_addr vpc_router_mac(const struct vpc *vpc)
{
	return (struct mac_addr){ { 0x02, 0x5d, 0, vpc->vni >> 16, vpc->vni >> 8, vpc->vni } };
}

static void record_publish(struct control_vpc *vpc)
{
	struct vswitch *vswitch = vpc->vswitch;
	struct dp_vpc *record = control_alloc(sizeof(*record)), *old = vpc->record;
	const struct vpc *object = vpc->object;

	if (old) {
		atomic_init(&record->path.epoch, atomic_load(&old->path.epoch));
		atomic_init(&record->subnets, atomic_load(&old->subnets));
		atomic_init(&record->route_lengths_v4, atomic_load(&old->route_lengths_v4));
		for (unsigned i = 0; i < 3; i++)
			atomic_init(&record->route_lengths_v6[i], atomic_load(&old->route_lengths_v6[i]));
	}
	record->path.slot = object->base.slot;
	record->path.vni = object->vni;
	record->path.tunnel = vpc_tunnel_kind(object);
	str_format(record->name, sizeof(record->name), "%s/%s", object->base.tenant->name, object->base.name);
	record->router_mac = vpc_router_mac(object);
	record->validate_vtep = object->validate_vtep;
	record->endpoints = vpc->endpoints;
	record->link_locals = vpc->link_locals;
	record->routes = vpc->routes;
	vpc->record = record;
	if (old && memcmp(&old->router_mac, &record->router_mac, sizeof(record->router_mac)) != 0)
		vpc->subnets_dirty = true; /* guests are told */
	atomic_store_explicit(&vswitch->dp.config->vpcs[object->base.slot], &record->path, memory_order_release);
	if (old)
		retire(vswitch, old);
}

/* Two VPCs may swap VNIs, so what is set now may be cleared by the other: commit sets it again. */
static void vni_publish(struct control_vpc *vpc, const struct vpc *old)
{
	struct path_config *config = vpc->vswitch->dp.config;
	const struct vpc *new = vpc->object;

	if (old && (old->vni != new->vni || old->encapsulation != new->encapsulation))
		path_vni_clear(config, vpc_tunnel_kind(old), old->vni, control_retire, vpc->vswitch);
	if (path_vni_set(config, vpc_tunnel_kind(new), new->vni, new->base.slot, control_retire, vpc->vswitch) != 0)
		abort();
}

static bool remotes_change(const struct vpc *old, const struct vpc *new)
{
	if (!old)
		return false;
	if (!old->underlay.object || !new->underlay.object)
		return old->underlay.object != new->underlay.object;
	return old->encapsulation != new->encapsulation ||
	       !uuid_equal(&old->underlay.object->uuid, &new->underlay.object->uuid);
}

int control_vpc_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct vswitch *vswitch = ctx;
	struct control_vpc *vpc = new->runtime;

	if (new->slot >= PATH_MAX_VPCS)
		return error_set(err, DPU_E_LIMIT, "name", "there are %u VPCs already", PATH_MAX_VPCS - 1);
	if (!old) {
		vpc = control_alloc(sizeof(*vpc));
		vpc->vswitch = vswitch;
		vpc_counters(vswitch, new->slot, &vpc->base);
		if (rcu_map_new(sizeof(struct ip_addr), control_retire, vswitch, &vpc->endpoints) != 0 ||
		    rcu_map_new(sizeof(struct ip_addr), control_retire, vswitch, &vpc->link_locals) != 0 ||
		    rcu_map_new(sizeof(struct ip_addr), NULL, NULL, &vpc->link_groups) != 0 ||
		    rcu_map_new(sizeof(struct ip_prefix), control_retire, vswitch, &vpc->routes) != 0) {
			free(vpc);
			return error_set(err, DPU_E_INTERNAL, NULL, "out of memory for the VPC's tables");
		}
		new->runtime = vpc;
	}
	vpc->object = (struct vpc *)new;
	if (old)
		claims_drop(vswitch->claims, old);
	claims_hold(vswitch->claims, new);
	record_publish(vpc);
	vni_publish(vpc, (const struct vpc *)old);
	vpc->record_dirty = true;
	vpc->remotes_dirty |= remotes_change((const struct vpc *)old, (const struct vpc *)new);
	vpc_mark(vpc);
	return 0;
}

/* In three steps: out of the workers' sight, a grace period, freed. */
static void vpc_free(void *memory)
{
	struct control_vpc *vpc = memory;

	rcu_map_free(vpc->endpoints);
	rcu_map_free(vpc->link_locals);
	rcu_map_free(vpc->link_groups);
	rcu_map_free(vpc->routes);
	free(atomic_load(&vpc->record->subnets));
	free(vpc->record);
	free(vpc);
}

void control_vpc_remove(void *ctx, struct object *object)
{
	struct vswitch *vswitch = ctx;
	struct control_vpc *vpc = object->runtime;

	path_vni_clear(vswitch->dp.config, vpc_tunnel_kind(vpc->object), vpc->object->vni, control_retire, vswitch);
	atomic_store_explicit(&vswitch->dp.config->vpcs[object->slot], NULL, memory_order_release);
	claims_drop(vswitch->claims, object);
	if (vpc->listed)
		LIST_REMOVE(vpc, dirty_link);
	object->runtime = NULL;
	retire_with(vswitch, vpc_free, vpc);
}

/* ---- subnets ---- */

static struct dp_subnet *subnet_record(const struct control_subnet *subnet)
{
	const struct subnet *object = subnet->object;
	struct dp_subnet *record = control_alloc(sizeof(*record));

	record->slot = object->base.slot;
	record->vpc = subnet->vpc->record;
	record->v4 = object->prefix_v4;
	record->v6 = object->prefix_v6;
	record->gateway_v4 = object->gateway_v4;
	record->gateway_v6 = object->gateway_v6;
	record->gateway_mac = subnet->vpc->record->router_mac;
	record->gateway_link_local = ip_link_local(&record->gateway_mac);
	record->dhcp = object->dhcp;
	record->lease_seconds = object->lease_seconds;
	for (size_t i = 0; i < object->dns.count && i < 4; i++)
		record->dns[record->dns_count++] = object->dns.items[i];
	for (size_t i = 0; i < object->ntp.count && i < 4; i++)
		record->ntp[record->ntp_count++] = object->ntp.items[i];
	snprintf(record->domain, sizeof(record->domain), "%s", object->domain ? object->domain : "");
	for (size_t i = 0; i < object->host_routes.count && i < 16; i++) {
		unsigned n = record->classless_route_count;

		if (host_route_parse(object->host_routes.items[i], &record->classless_routes[n].prefix,
				     &record->classless_routes[n].next_hop) == 0)
			record->classless_route_count++;
	}
	return record;
}

/* The VPC's array of subnets, and the record of each, anew. */
static void subnets_publish(struct control_vpc *vpc)
{
	struct dp_subnets *sorted, *old = atomic_load(&vpc->record->subnets);
	struct dp_subnet **array;
	struct control_subnet *subnet;
	size_t count = 0;

	LIST_FOREACH(subnet, &vpc->subnets, link)
	count++;
	array = control_alloc((count + 1) * sizeof(*array));
	count = 0;
	LIST_FOREACH(subnet, &vpc->subnets, link)
	{
		if (subnet->record)
			retire(vpc->vswitch, subnet->record);
		subnet->record = subnet_record(subnet);
		array[count++] = subnet->record;
	}
	sorted = dp_subnets_new(array, (unsigned)count);
	if (!sorted)
		abort();
	free(array);
	atomic_store_explicit(&vpc->record->subnets, sorted, memory_order_release);
	if (old)
		retire(vpc->vswitch, old);
}

int control_subnet_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct control_subnet *subnet = new->runtime;

	(void)ctx, (void)err;
	if (!old) {
		subnet = control_alloc(sizeof(*subnet));
		subnet->vpc = control_vpc_of(&((struct subnet *)new)->vpc);
		LIST_INSERT_HEAD(&subnet->vpc->subnets, subnet, link);
		new->runtime = subnet;
	}
	subnet->object = (struct subnet *)new;
	subnet->vpc->subnets_dirty = true;
	vpc_mark(subnet->vpc);
	return 0;
}

void control_subnet_remove(void *ctx, struct object *object)
{
	struct vswitch *vswitch = ctx;
	struct control_subnet *subnet = object->runtime;

	LIST_REMOVE(subnet, link);
	subnet->vpc->subnets_dirty = true;
	vpc_mark(subnet->vpc);
	if (subnet->record)
		retire(vswitch, subnet->record);
	object->runtime = NULL;
	free(subnet);
}

void control_subnet_observe(void *ctx, const struct object *object, struct object *copy)
{
	const struct control_subnet *subnet = object->runtime;

	(void)ctx;
	((struct subnet *)copy)->gateway_mac = subnet->vpc->record->router_mac;
}

/* ---- after a transaction ---- */

/* Tunnels depend on the VPC's encapsulation and underlay. */
static void remotes_publish(struct control_vpc *vpc)
{
	struct control_mapping *mapping;
	struct control_route *route;

	LIST_FOREACH(mapping, &vpc->mappings, link)
	mapping_publish(mapping, NULL);
	LIST_FOREACH(route, &vpc->route_list, link)
	route_publish(route, NULL);
}

/* 0 is no VPC's epoch. */
static uint32_t epoch_next(struct vswitch *vswitch)
{
	if (++vswitch->next_epoch == 0)
		vswitch->next_epoch = 1;
	return vswitch->next_epoch;
}

void vpc_commit(struct control_vpc *vpc)
{
	bool told_otherwise = vpc->subnets_dirty;
	struct control_vnic *vnic;

	if (vpc->record_dirty)
		vni_publish(vpc, NULL);
	if (vpc->remotes_dirty)
		remotes_publish(vpc);
	if (vpc->record_dirty || vpc->subnets_dirty) {
		subnets_publish(vpc);
		LIST_FOREACH(vnic, &vpc->vnics, link)
		{
			vnic->dirty = true;
		}
	}
	LIST_FOREACH(vnic, &vpc->vnics, link)
	{
		if (vnic->dirty)
			vnic_publish(vnic);
		if (told_otherwise || vnic->told_otherwise)
			vnic_announce(vnic);
		vnic->told_otherwise = false;
	}
	vpc->record_dirty = vpc->remotes_dirty = vpc->subnets_dirty = vpc->listed = false;
	/* Last: who sees the new epoch sees all that is behind it. */
	atomic_store_explicit(&vpc->record->path.epoch, epoch_next(vpc->vswitch), memory_order_release);
}
