/* SPDX-License-Identifier: BSD-3-Clause */
/* The class "subnet": a range of a VPC's addresses with its gateway and what DHCP tells. */
#include <stdlib.h>
#include <string.h>
#include "service/vswitch/objects.h"
#include "service/vswitch/control.h"

static bool host_route_valid(const char *text)
{
	struct ip_prefix prefix;
	struct ip_addr next_hop;

	return host_route_parse(text, &prefix, &next_hop) == 0;
}

static bool domain_valid(const char *text)
{
	return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") == strlen(text);
}

static const struct field subnet_fields[] = {
	FIELD(struct subnet, vpc, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE | FIELD_F_PARENT, .target = "vpc",
	      .doc = "The VPC that the subnet is in."),
	FIELD(struct subnet, prefix_v4, .flags = FIELD_F_IMMUTABLE,
	      .doc = "IPv4 range; a subnet has this, prefix_v6, or both."),
	FIELD(struct subnet, prefix_v6, .flags = FIELD_F_IMMUTABLE, .doc = "IPv6 range."),
	FIELD(struct subnet, gateway_v4, .flags = FIELD_F_GENERATED,
	      .doc = "IPv4 address of the gateway; by default the first of the range."),
	FIELD(struct subnet, gateway_v6, .flags = FIELD_F_GENERATED,
	      .doc = "IPv6 address of the gateway; by default the first of the range."),
	FIELD(struct subnet, dhcp, .def = "true",
	      .doc = "Whether DHCPv4 and DHCPv6 are answered; router advertisements are sent for IPv6 always."),
	FIELD(struct subnet, lease_seconds, .unit = "seconds", .min = 60, .max = 31536000, .def = "86400",
	      .doc = "Lease time that DHCP gives."),
	FIELD(struct subnet, dns, .max = 4,
	      .doc = "Name servers that DHCP and router advertisements tell, IPv4 and IPv6."),
	FIELD(struct subnet, ntp, .max = 4, .doc = "Time servers that DHCP tells."),
	FIELD(struct subnet, domain, .max = 253, .check = domain_valid,
	      .check_doc = "must be a domain name of letters, digits, dots and dashes",
	      .doc = "Domain name that DHCP tells."),
	FIELD(struct subnet, host_routes, .max = 16, .check = host_route_valid,
	      .check_doc = "must be \"PREFIX via ADDRESS\" in IPv4, such as 10.9.0.0/16 via 10.0.0.5",
	      .doc = "Routes that DHCPv4 tells (option 121)."),
	FIELD(struct subnet, gateway_mac, .flags = FIELD_F_STATE,
	      .doc = "MAC address of the gateway, the same in all subnets of the VPC."),
	{ 0 },
};

static int subnet_complete(void *ctx, const struct object *old, struct object *new, struct dpu_error *err)
{
	struct subnet *subnet = (struct subnet *)new;

	(void)ctx, (void)old, (void)err;
	if (subnet->prefix_v4.addr.family != IP_NONE && subnet->gateway_v4.family == IP_NONE)
		subnet->gateway_v4 = prefix_address(&subnet->prefix_v4, 1);
	if (subnet->prefix_v6.addr.family != IP_NONE && subnet->gateway_v6.family == IP_NONE)
		subnet->gateway_v6 = prefix_address(&subnet->prefix_v6, 1);
	return 0;
}

static int family_validate(const struct ip_prefix *prefix, const struct ip_addr *gateway, uint8_t family,
			   unsigned longest, const char *prefix_name, const char *gateway_name, struct dpu_error *err)
{
	if (prefix->addr.family == IP_NONE) {
		if (gateway->family != IP_NONE)
			return error_set(err, DPU_E_INVALID, gateway_name, "needs %s", prefix_name);
		return 0;
	}
	if (prefix->addr.family != family || ip_is_multicast(&prefix->addr))
		return error_set(err, DPU_E_INVALID, prefix_name, "must be a unicast range of IPv%u", family);
	if (ip_is_link_local(&prefix->addr))
		return error_set(err, DPU_E_INVALID, prefix_name,
				 "is within fe80::/10, which every subnet has for itself");
	if (prefix->length < 8 || prefix->length > longest)
		return error_set(err, DPU_E_INVALID, prefix_name, "has length %u; a subnet's is 8 to %u",
				 prefix->length, longest);
	if (!ip_prefix_contains(prefix, gateway) || address_is_reserved(prefix, gateway))
		return error_set(err, DPU_E_INVALID, gateway_name, "must be a host's address of %s", prefix_name);
	return 0;
}

struct overlap_search {
	const struct subnet *subnet;
	const struct object *found;
	uint8_t family;
};

static int overlaps(void *arg, struct object *object)
{
	struct overlap_search *search = arg;
	const struct subnet *other = (const struct subnet *)object, *own = search->subnet;

	if (uuid_equal(&object->uuid, &own->base.uuid))
		return 0;
	if ((own->prefix_v4.addr.family && other->prefix_v4.addr.family &&
	     ip_prefix_overlaps(&own->prefix_v4, &other->prefix_v4)) ||
	    (own->prefix_v6.addr.family && other->prefix_v6.addr.family &&
	     ip_prefix_overlaps(&own->prefix_v6, &other->prefix_v6)))
		search->found = object;
	return search->found != NULL;
}

/* A gateway that changes must not be what a vNIC has. */
static int has_gateway(void *arg, struct object *object)
{
	const struct vnic *vnic = (const struct vnic *)object;
	struct overlap_search *search = arg;

	for (size_t i = 0; i < vnic->addresses.count && !search->found; i++) {
		const struct ip_addr *address = &vnic->addresses.items[i];
		if (!ip_equal(address, &search->subnet->gateway_v4) && !ip_equal(address, &search->subnet->gateway_v6))
			continue;
		search->found = object;
		search->family = address->family;
	}
	return search->found != NULL;
}

static int subnet_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	const struct subnet *subnet = (const struct subnet *)new;
	struct overlap_search search = { .subnet = subnet };
	int rc = object_same_tenant(new, subnet->vpc.object, "vpc", err);

	if (rc != 0)
		return rc;
	if (subnet->prefix_v4.addr.family == IP_NONE && subnet->prefix_v6.addr.family == IP_NONE)
		return error_set(err, DPU_E_INVALID, "prefix_v4", "must be given, or prefix_v6, or both");
	rc = family_validate(&subnet->prefix_v4, &subnet->gateway_v4, IP_V4, 30, "prefix_v4", "gateway_v4", err);
	if (rc == 0)
		rc = family_validate(&subnet->prefix_v6, &subnet->gateway_v6, IP_V6, 126, "prefix_v6", "gateway_v6",
				     err);
	if (rc != 0)
		return rc;
	model_each_referrer(control_model(ctx), subnet->vpc.object, "subnet", overlaps, &search);
	if (search.found)
		return error_set(err, DPU_E_EXISTS, subnet->prefix_v4.addr.family ? "prefix_v4" : "prefix_v6",
				 "overlaps with subnet %s of the same VPC", search.found->name);
	if (old && model_each_referrer(control_model(ctx), new, "vnic", has_gateway, &search))
		return error_set(err, DPU_E_EXISTS, search.family == IP_V4 ? "gateway_v4" : "gateway_v6",
				 "is the address of vnic %s", search.found->name);
	return control_check_memory(ctx, new, "vpc", err);
}

const struct object_class subnet_class = {
	.name = "subnet",
	.plural = "subnets",
	.doc = "A range of addresses of a VPC, with its gateway and DHCP options.",
	.size = sizeof(struct subnet),
	.fields = subnet_fields,
	.complete = subnet_complete,
	.validate = subnet_validate,
	.apply = control_subnet_apply,
	.remove = control_subnet_remove,
	.commit = control_commit,
	.observe = control_subnet_observe,
};
