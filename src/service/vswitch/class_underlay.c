/* SPDX-License-Identifier: BSD-3-Clause */
/* The class "underlay": an address of the DPU in the underlay network, its tunnel endpoint. */
#include "service/vswitch/objects.h"
#include "service/vswitch/control.h"

static const struct field underlay_fields[] = {
	FIELD(struct underlay, port, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE, .target = "port",
	      .doc = "The uplink that the address is on."),
	FIELD(struct underlay, address, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE | FIELD_F_UNIQUE,
	      .doc = "Address of the tunnel endpoint (VTEP), IPv4 or IPv6."),
	FIELD(struct underlay, prefix_length, .flags = FIELD_F_REQUIRED, .unit = "bits", .min = 1, .max = 128,
	      .doc = "Length of the prefix that is reached without a next hop."),
	FIELD(struct underlay, next_hop, .doc = "Router for tunnel endpoints beyond the prefix."),
	FIELD(struct underlay, vlan, .max = 4094, .def = "0", .flags = FIELD_F_IMMUTABLE,
	      .doc = "VLAN of the underlay on this port; 0 means untagged."),
	FIELD(struct underlay, mac, .flags = FIELD_F_STATE, .doc = "Our own MAC address there."),
	FIELD(struct underlay, resolved, .flags = FIELD_F_STATE,
	      .doc = "Whether the next hop has answered; true when there is none."),
	FIELD(struct underlay, next_hop_mac, .flags = FIELD_F_STATE, .doc = "MAC address of the next hop."),
	FIELD(struct underlay, tunnels, .flags = FIELD_F_GAUGE, .unit = "tunnels",
	      .doc = "Remote tunnel endpoints in use."),
	FIELD(struct underlay, tunnels_resolved, .flags = FIELD_F_GAUGE, .unit = "tunnels",
	      .doc = "Remote tunnel endpoints whose MAC address, or whose next hop's, is known."),
	{ 0 },
};

static int any_object(void *arg, struct object *object)
{
	(void)arg, (void)object;
	return 1;
}

static int underlay_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	const struct underlay *underlay = (const struct underlay *)new;
	const struct ip_prefix on_link = { .addr = underlay->address, .length = underlay->prefix_length };
	unsigned bits = underlay->address.family == IP_V4 ? 32 : 128;

	(void)old;
	if (model_each_referrer(control_model(ctx), underlay->port.object, "representor", any_object, NULL))
		return error_set(err, DPU_E_IN_USE, "port",
				 "has a representor: what drives that has all of the port; name another");
	if (!address_is_host(&underlay->address))
		return error_set(err, DPU_E_INVALID, "address", "must be a unicast address");
	if (underlay->prefix_length > bits)
		return error_set(err, DPU_E_INVALID, "prefix_length",
				 "is %u, but an address of this family has %u bits", underlay->prefix_length, bits);
	if (underlay->next_hop.family == IP_NONE)
		return 0;
	if (!ip_prefix_contains(&on_link, &underlay->next_hop) || ip_equal(&underlay->next_hop, &underlay->address))
		return error_set(err, DPU_E_INVALID, "next_hop",
				 "must be another address of the underlay's own prefix");
	return 0;
}

const struct object_class underlay_class = {
	.name = "underlay",
	.plural = "underlays",
	.doc = "An address of the DPU in the underlay network: the local end of its tunnels.",
	.flags = CLASS_F_GLOBAL,
	.size = sizeof(struct underlay),
	.fields = underlay_fields,
	.max_objects = 63,
	.validate = underlay_validate,
	.apply = control_underlay_apply,
	.remove = control_underlay_remove,
	.commit = control_commit,
	.observe = control_underlay_observe,
};
