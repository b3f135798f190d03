/* SPDX-License-Identifier: BSD-3-Clause */
/* The class "route": where packets of a VPC go whose destination lies in none of its subnets. */
#include "service/vswitch/objects.h"
#include "service/vswitch/control.h"

const char *const route_kind_names[] = { "drop", "address", "vtep", NULL };

static const struct field route_fields[] = {
	FIELD(struct route, vpc, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE | FIELD_F_PARENT, .target = "vpc",
	      .doc = "The VPC that the route is in."),
	FIELD(struct route, prefix, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE,
	      .doc = "Destinations that the route covers; the longest prefix decides."),
	FIELD_ENUM_ROW(struct route, kind, route_kind_names, .def = "drop",
		       .doc = "What happens to the packets: dropped, sent to an address of the VPC, or sent through a "
			      "tunnel."),
	FIELD(struct route, next_hop, .doc = "With kind=address: an address of the VPC, for instance an appliance's."),
	FIELD(struct route, vtep, .doc = "With kind=vtep: the remote tunnel endpoint."),
	FIELD(struct route, mac, .doc = "With kind=vtep: destination MAC address of the inner frame."),
	{ 0 },
};

static int target_validate(const struct route *route, struct dpu_error *err)
{
	const struct vpc *vpc = (const struct vpc *)route->vpc.object;
	const struct underlay *underlay = (const struct underlay *)vpc->underlay.object;

	if (route->kind == ROUTE_ADDRESS && route->next_hop.family != route->prefix.addr.family)
		return error_set(err, DPU_E_INVALID, "next_hop",
				 "must be given with kind=address, of the family of the prefix");
	if (route->kind != ROUTE_VTEP)
		return 0;
	if (!underlay)
		return error_set(err, DPU_E_INVALID, "kind", "vtep needs a VPC with an underlay; vpc %s has none",
				 vpc->base.name);
	if (route->vtep.family != underlay->address.family || !address_is_host(&route->vtep))
		return error_set(err, DPU_E_INVALID, "vtep", "must be a unicast address of the family of underlay %s",
				 underlay->base.name);
	if (mac_is_zero(&route->mac) || mac_is_multicast(&route->mac))
		return error_set(err, DPU_E_INVALID, "mac", "must be a unicast MAC address with kind=vtep");
	return 0;
}

static int route_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	const struct route *route = (const struct route *)new;
	int rc = object_same_tenant(new, route->vpc.object, "vpc", err);

	(void)old;
	if (rc == 0)
		rc = target_validate(route, err);
	if (rc == 0)
		rc = control_check_claims(ctx, new, err);
	return rc ? rc : control_check_memory(ctx, new, "prefix", err);
}

const struct object_class route_class = {
	.name = "route",
	.plural = "routes",
	.doc = "A route of a VPC, for destinations outside its subnets.",
	.size = sizeof(struct route),
	.fields = route_fields,
	.validate = route_validate,
	.apply = control_route_apply,
	.remove = control_route_remove,
	.commit = control_commit,
	.forget = control_forget,
};
