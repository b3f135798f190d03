/* SPDX-License-Identifier: BSD-3-Clause */
/* Mappings and routes in force: addresses and prefixes behind tunnels. */
#include <stdlib.h>
#include <string.h>
#include "service/vswitch/vswitch_priv.h"

/* Swaps the tunnel that *held stands for. The new one is taken first, so that a shared one is not torn down in between.
 */
static int tunnel_change(struct control_vpc *vpc, const struct ip_addr *vtep, struct tunnel **held,
			 struct dpu_error *err)
{
	struct control_underlay *underlay = vpc_underlay(vpc->object);
	struct tunnel *former = *held;

	*held = NULL;
	if (vtep && underlay) {
		*held = tunnel_get(vpc->vswitch, underlay, vpc_tunnel_kind(vpc->object), vtep);
		if (!*held) {
			*held = former;
			return error_set(err, DPU_E_LIMIT, "vtep", "needs a tunnel, and there are %u already",
					 PATH_MAX_TUNNELS - 1);
		}
	}
	tunnel_put(vpc->vswitch, former);
	return 0;
}

void ref_groups(const struct ref_list *refs, uint32_t *ret_groups, uint8_t *ret_count)
{
	*ret_count = 0;
	for (size_t i = 0; i < refs->count && i < DP_MAX_GROUPS; i++)
		ret_groups[(*ret_count)++] = refs->items[i].object->slot;
}

int mapping_publish(struct control_mapping *mapping, struct dpu_error *err)
{
	const struct mapping *object = mapping->object;
	struct dp_endpoint endpoint = {
		.address = object->address, .kind = DP_ENDPOINT_REMOTE, .mac = object->mac, .vtep = object->vtep
	};
	uint32_t groups[DP_MAX_GROUPS];
	int rc = tunnel_change(mapping->vpc, &object->vtep, &mapping->tunnel, err);

	if (rc != 0)
		return rc;
	endpoint.tunnel = mapping->tunnel ? tunnel_index(mapping->tunnel) : 0;
	ref_groups(&object->security_groups, groups, &endpoint.group_count);
	endpoint_set(mapping->vpc, &endpoint, groups, &mapping->endpoint);
	link_local_hold(mapping->vpc, &mapping->link_local, mapping->endpoint);
	return 0;
}

static void mapping_free(struct vswitch *vswitch, struct control_mapping *mapping)
{
	LIST_REMOVE(mapping, link);
	tunnel_put(vswitch, mapping->tunnel);
	free(mapping);
}

int control_mapping_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct vswitch *vswitch = ctx;
	struct control_mapping *mapping = new->runtime;
	int rc;

	if (!old) {
		mapping = control_alloc(sizeof(*mapping));
		mapping->vpc = control_vpc_of(&((struct mapping *)new)->vpc);
		LIST_INSERT_HEAD(&mapping->vpc->mappings, mapping, link);
	}
	mapping->object = (struct mapping *)new;
	rc = mapping_publish(mapping, err);
	if (rc != 0 && !old)
		mapping_free(vswitch, mapping);
	else if (rc != 0)
		mapping->object = (struct mapping *)old;
	if (rc != 0)
		return rc;
	if (old)
		claims_drop(vswitch->claims, old);
	claims_hold(vswitch->claims, new);
	new->runtime = mapping;
	return 0;
}

void control_mapping_remove(void *ctx, struct object *object)
{
	struct vswitch *vswitch = ctx;
	struct control_mapping *mapping = object->runtime;

	link_local_drop(mapping->vpc, &mapping->link_local);
	endpoint_clear(mapping->vpc, &mapping->endpoint);
	claims_drop(vswitch->claims, object);
	object->runtime = NULL;
	mapping_free(vswitch, mapping);
}

/* ---- routes ---- */

/* Keeps the bit of each prefix length that has routes. */
static void length_count(struct control_vpc *vpc, const struct ip_prefix *prefix, int change)
{
	bool v6 = prefix->addr.family == IP_V6;
	uint32_t *count = &vpc->route_counts[v6][prefix->length];
	_Atomic uint64_t *word =
		v6 ? &vpc->record->route_lengths_v6[prefix->length / 64] : &vpc->record->route_lengths_v4;
	uint64_t bit = UINT64_C(1) << (prefix->length % 64);

	*count += change;
	if (*count > 0)
		atomic_fetch_or(word, bit);
	else
		atomic_fetch_and(word, ~bit);
}

/* Takes a record out, unless another route's stands in its place. */
static void route_unlink(struct control_route *route, struct dp_route *record)
{
	struct control_vpc *vpc = route->vpc;

	if (rcu_map_find(vpc->routes, &record->prefix) == record)
		rcu_map_remove(vpc->routes, &record->prefix);
	length_count(vpc, &record->prefix, -1);
	retire(vpc->vswitch, record);
}

int route_publish(struct control_route *route, struct dpu_error *err)
{
	const struct route *object = route->object;
	struct dp_route *record, *old = route->record;
	int rc = tunnel_change(route->vpc, object->kind == ROUTE_VTEP ? &object->vtep : NULL, &route->tunnel, err);

	if (rc != 0)
		return rc;
	record = control_alloc(sizeof(*record));
	*record = (struct dp_route){ .prefix = object->prefix,
				     .slot = object->base.slot,
				     .kind = object->kind == ROUTE_VTEP      ? DP_ROUTE_VTEP
					     : object->kind == ROUTE_ADDRESS ? DP_ROUTE_NEXT_HOP
									     : DP_ROUTE_DROP,
				     .next_hop = object->next_hop,
				     .vtep = object->vtep,
				     .mac = object->mac,
				     .tunnel = route->tunnel ? tunnel_index(route->tunnel) : 0 };
	if (rcu_map_set(route->vpc->routes, &object->prefix, record, NULL) != 0)
		abort();
	length_count(route->vpc, &record->prefix, 1);
	route->record = record;
	if (old)
		route_unlink(route, old);
	vpc_mark(route->vpc);
	return 0;
}

static void route_free(struct vswitch *vswitch, struct control_route *route)
{
	LIST_REMOVE(route, link);
	tunnel_put(vswitch, route->tunnel);
	free(route);
}

int control_route_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct vswitch *vswitch = ctx;
	struct control_route *route = new->runtime;
	int rc;

	if (!old) {
		route = control_alloc(sizeof(*route));
		route->vpc = control_vpc_of(&((struct route *)new)->vpc);
		LIST_INSERT_HEAD(&route->vpc->route_list, route, link);
	}
	route->object = (struct route *)new;
	rc = route_publish(route, err);
	if (rc != 0 && !old)
		route_free(vswitch, route);
	else if (rc != 0)
		route->object = (struct route *)old;
	if (rc != 0)
		return rc;
	if (old)
		claims_drop(vswitch->claims, old);
	claims_hold(vswitch->claims, new);
	new->runtime = route;
	return 0;
}

void control_route_remove(void *ctx, struct object *object)
{
	struct vswitch *vswitch = ctx;
	struct control_route *route = object->runtime;

	route_unlink(route, route->record);
	claims_drop(vswitch->claims, object);
	vpc_mark(route->vpc);
	object->runtime = NULL;
	route_free(vswitch, route);
}
