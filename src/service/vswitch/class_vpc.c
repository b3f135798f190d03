/* SPDX-License-Identifier: BSD-3-Clause */
/* The class "vpc": a tenant's private network. */
#include "service/vswitch/objects.h"
#include "service/vswitch/control.h"

const char *const encapsulation_names[] = { "vxlan", "geneve", NULL };

static const struct field vpc_fields[] = {
	FIELD(struct vpc, vni, .flags = FIELD_F_REQUIRED, .min = 1, .max = (1 << 24) - 1,
	      .doc = "Virtual network identifier in the tunnel header; unique among the VPCs of this encapsulation."),
	FIELD_ENUM_ROW(struct vpc, encapsulation, encapsulation_names, .def = "vxlan",
		       .doc = "How packets travel to other DPUs: VXLAN (RFC 7348) or Geneve (RFC 8926)."),
	FIELD(struct vpc, underlay, .target = "underlay",
	      .doc = "Local tunnel endpoint; without one the VPC ends at this DPU."),
	FIELD(struct vpc, validate_vtep, .def = "true",
	      .doc = "Whether a packet is accepted only from the tunnel endpoint that its source address is mapped "
		     "to."),
	FIELD(struct vpc, addresses, .flags = FIELD_F_GAUGE, .unit = "addresses",
	      .doc = "Addresses known in the VPC, here and elsewhere."),
	FIELD(struct vpc, packets, .flags = FIELD_F_COUNTER, .unit = "packets", .doc = "Packets forwarded in the VPC."),
	FIELD(struct vpc, bytes, .flags = FIELD_F_COUNTER, .unit = "bytes", .doc = "Bytes of these packets."),
	FIELD(struct vpc, encapsulated, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets sent into tunnels."),
	FIELD(struct vpc, decapsulated, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets that came out of tunnels."),
	FIELD(struct vpc, drops, .flags = FIELD_F_COUNTER, .unit = "packets", .doc = "Packets dropped in the VPC."),
	FIELD(struct vpc, sessions_created, .flags = FIELD_F_COUNTER, .unit = "sessions",
	      .doc = "Sessions put in force in the VPC."),
	{ 0 },
};

/* The underlay that mappings and routes of the VPC were made for. */
static int underlay_validate(void *ctx, const struct vpc *old, const struct vpc *new, struct dpu_error *err)
{
	const struct underlay *now = (const struct underlay *)new->underlay.object,
			      *before = old ? (const struct underlay *)old->underlay.object : NULL;

	if (!before || (now && now->address.family == before->address.family) || !control_vpc_uses_underlay(ctx, new))
		return 0;
	if (!now)
		return error_set(err, DPU_E_IN_USE, "underlay",
				 "is needed by the mappings and routes of the VPC; delete them first");
	return error_set(err, DPU_E_INVALID, "underlay",
			 "must be of the family that the tunnel endpoints of the VPC's mappings and routes have, IPv%u",
			 before->address.family);
}

static int vpc_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	int rc = underlay_validate(ctx, (const struct vpc *)old, (const struct vpc *)new, err);

	if (rc == 0)
		rc = control_check_tunnels(ctx, (const struct vpc *)new, err);
	if (rc == 0)
		rc = control_check_claims(ctx, new, err);
	return rc ? rc : control_check_memory(ctx, new, "vni", err);
}

const struct object_class vpc_class = {
	.name = "vpc",
	.plural = "vpcs",
	.doc = "A tenant's private network: its own address space, isolated from every other.",
	.size = sizeof(struct vpc),
	.fields = vpc_fields,
	.max_objects = PATH_FIRST_REPRESENTOR - 1, /* slots behind VNIs */
	.validate = vpc_validate,
	.apply = control_vpc_apply,
	.remove = control_vpc_remove,
	.commit = control_commit,
	.forget = control_forget,
	.observe = control_vpc_observe,
};
