/* SPDX-License-Identifier: BSD-3-Clause */
/* The class "mapping": which DPU has an address of a VPC (customer address to provider address). */
#include "service/vswitch/objects.h"
#include "service/vswitch/control.h"

static const struct field mapping_fields[] = {
	FIELD(struct mapping, vpc, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE | FIELD_F_PARENT, .target = "vpc",
	      .doc = "The VPC that the address is in."),
	FIELD(struct mapping, address, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE,
	      .doc = "The tenant's address. The link-local address of mac (EUI-64) is mapped along; another one can "
		     "have a "
		     "mapping of its own, and is in the subnet of the other addresses of mac."),
	FIELD(struct mapping, mac, .flags = FIELD_F_REQUIRED, .doc = "MAC address of the vNIC that has it."),
	FIELD(struct mapping, vtep, .flags = FIELD_F_REQUIRED,
	      .doc = "Tunnel endpoint of the DPU that the vNIC is on."),
	FIELD(struct mapping, security_groups, .target = "security_group", .max = DP_MAX_GROUPS,
	      .doc = "Security groups that the vNIC is a member of, for rules with remote_group."),
	{ 0 },
};

static int mapping_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	const struct mapping *mapping = (const struct mapping *)new;
	const struct vpc *vpc = (const struct vpc *)mapping->vpc.object;
	const struct underlay *underlay = (const struct underlay *)vpc->underlay.object;

	int rc = object_same_tenant(new, mapping->vpc.object, "vpc", err);

	(void)old;
	if (rc == 0)
		rc = same_tenants(new, &mapping->security_groups, "security_groups", err);
	if (rc != 0)
		return rc;
	if (!underlay)
		return error_set(err, DPU_E_INVALID, "vpc",
				 "must have an underlay to reach other DPUs; vpc %s has none", vpc->base.name);
	if (!address_is_host(&mapping->address))
		return error_set(err, DPU_E_INVALID, "address", "must be a unicast address");
	if (mac_is_zero(&mapping->mac) || mac_is_multicast(&mapping->mac))
		return error_set(err, DPU_E_INVALID, "mac", "must be a unicast MAC address");
	if (mapping->vtep.family != underlay->address.family || !address_is_host(&mapping->vtep))
		return error_set(err, DPU_E_INVALID, "vtep", "must be a unicast address of the family of underlay %s",
				 underlay->base.name);
	if (ip_equal(&mapping->vtep, &underlay->address))
		return error_set(err, DPU_E_INVALID, "vtep",
				 "is this DPU's own; make a vnic for addresses that live here");
	rc = control_check_claims(ctx, new, err);
	return rc ? rc : control_check_memory(ctx, new, "address", err);
}

const struct object_class mapping_class = {
	.name = "mapping",
	.plural = "mappings",
	.doc = "An address of a VPC that lives on another DPU: the vNIC's MAC and the tunnel endpoint to reach it by.",
	.size = sizeof(struct mapping),
	.fields = mapping_fields,
	.validate = mapping_validate,
	.apply = control_mapping_apply,
	.remove = control_mapping_remove,
	.commit = control_commit,
	.forget = control_forget,
};
