/* SPDX-License-Identifier: BSD-3-Clause */
/* The class "representor": what the client of an eswitch sees of a vNIC, an uplink or a tunnel. */
#include "service/eswitch/eswitch_priv.h"

static const struct field representor_fields[] = {
	FIELD(struct representor, eswitch, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE | FIELD_F_PARENT,
	      .target = "eswitch", .doc = "The eswitch whose client gets it."),
	FIELD(struct representor, number, .flags = FIELD_F_IMMUTABLE | FIELD_F_GENERATED | FIELD_F_UNIQUE, .min = 1,
	      .max = ESWITCH_MAX_PORTS, .doc = "Its number, and VLAN on the trunk; by default the lowest free one."),
	FIELD(struct representor, vnic, .flags = FIELD_F_IMMUTABLE, .target = "vnic",
	      .doc = "The vNIC without subnet that it stands for, as TENANT/NAME; or port, or tunnel_underlay."),
	FIELD(struct representor, port, .flags = FIELD_F_IMMUTABLE, .target = "port",
	      .doc = "The uplink without underlay that it stands for."),
	FIELD(struct representor, tunnel_underlay, .flags = FIELD_F_IMMUTABLE, .target = "underlay",
	      .doc = "The local end of the tunnel that it stands for."),
	FIELD(struct representor, tunnel_remote, .flags = FIELD_F_IMMUTABLE,
	      .doc = "With tunnel_underlay: address of the other end."),
	FIELD(struct representor, vni, .flags = FIELD_F_IMMUTABLE, .max = (1 << 24) - 1,
	      .doc = "With tunnel_underlay: virtual network identifier, 1 to 16777215."),
	FIELD_ENUM_ROW(struct representor, encapsulation, encapsulation_names, .flags = FIELD_F_IMMUTABLE,
		       .def = "vxlan", .doc = "With tunnel_underlay: VXLAN (RFC 7348) or Geneve (RFC 8926)."),
	FIELD(struct representor, open, .flags = FIELD_F_STATE, .doc = "Whether a client has it open."),
	FIELD(struct representor, client, .flags = FIELD_F_STATE, .doc = "Which one."),
	FIELD(struct representor, up, .flags = FIELD_F_STATE,
	      .doc = "Whether what it stands for is up: the link that the client sees."),
	FIELD(struct representor, queue_states, .flags = FIELD_F_STATE,
	      .doc = "For each of its queues the worker that serves it."),
	FIELD(struct representor, rx_packets, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets that the client has sent."),
	FIELD(struct representor, rx_bytes, .flags = FIELD_F_COUNTER, .unit = "bytes", .doc = "Bytes of these."),
	FIELD(struct representor, tx_packets, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets that went up to the client."),
	FIELD(struct representor, tx_bytes, .flags = FIELD_F_COUNTER, .unit = "bytes", .doc = "Bytes of these."),
	FIELD(struct representor, rx_drops, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets of the client that were dropped."),
	FIELD(struct representor, tx_drops, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets for the client that it did not take."),
	{ 0 },
};

static int mark_number(void *arg, struct object *object)
{
	((bool *)arg)[((const struct representor *)object)->number] = true;
	return 0;
}

static int representor_complete(void *ctx, const struct object *old, struct object *new, struct dpu_error *err)
{
	const struct eswitch *eswitch = ctx;
	struct representor *representor = (struct representor *)new;
	bool used[ESWITCH_MAX_PORTS + 1] = { true };

	(void)old;
	if (representor->number != 0)
		return 0;
	model_each(eswitch->dpu->model, "representor", NULL, mark_number, used);
	for (uint16_t number = 1; number <= ESWITCH_MAX_PORTS; number++) {
		if (used[number])
			continue;
		representor->number = number;
		return 0;
	}
	return error_set(err, DPU_E_LIMIT, "number", "cannot be chosen: all of 1 to %u are in use", ESWITCH_MAX_PORTS);
}

struct other {
	const struct representor *self;
	const struct representor *found;
};

/* Another one that stands for the same. */
static int is_rival(void *arg, struct object *object)
{
	struct other *other = arg;
	const struct representor *self = other->self, *that = (const struct representor *)object;

	if (uuid_equal(&object->uuid, &self->base.uuid))
		return 0;
	if (self->tunnel_underlay.object &&
	    (!that->tunnel_underlay.object || that->vni != self->vni || that->encapsulation != self->encapsulation ||
	     !ip_equal(&that->tunnel_remote, &self->tunnel_remote)))
		return 0;
	other->found = that;
	return 1;
}

static int rival_check(const struct eswitch *eswitch, const struct representor *representor,
		       const struct object *target, const char *field, struct dpu_error *err)
{
	struct other other = { .self = representor };

	if (target)
		model_each_referrer(eswitch->dpu->model, target, "representor", is_rival, &other);
	else
		model_each(eswitch->dpu->model, "representor", NULL, is_rival, &other);
	if (!other.found)
		return 0;
	return error_set(err, DPU_E_EXISTS, field, "has a representor already: %s", other.found->base.name);
}

static int is_underlay(void *arg, struct object *object)
{
	*(const char **)arg = object->name;
	return 1;
}

struct vni_question {
	const struct representor *representor;
	const struct vpc *found;
};

static int has_vni(void *arg, struct object *object)
{
	struct vni_question *question = arg;
	const struct vpc *vpc = (const struct vpc *)object;

	if (vpc->vni != question->representor->vni || vpc->encapsulation != question->representor->encapsulation)
		return 0;
	question->found = vpc;
	return 1;
}

static int tunnel_validate(const struct eswitch *eswitch, const struct representor *representor, struct dpu_error *err)
{
	const struct underlay *underlay = (const struct underlay *)representor->tunnel_underlay.object;
	struct vni_question question = { .representor = representor };

	if (representor->vni == 0)
		return error_set(err, DPU_E_INVALID, "vni", "must be given with tunnel_underlay, 1 to 16777215");
	if (representor->tunnel_remote.family != underlay->address.family ||
	    !address_is_host(&representor->tunnel_remote))
		return error_set(err, DPU_E_INVALID, "tunnel_remote",
				 "must be a unicast address of the underlay's family, IPv%u",
				 underlay->address.family == IP_V6 ? 6 : 4);
	model_each(eswitch->dpu->model, "vpc", NULL, has_vni, &question);
	if (question.found)
		return error_set(err, DPU_E_EXISTS, "vni", "%u is used by a VPC with the same encapsulation",
				 representor->vni);
	return rival_check(eswitch, representor, NULL, "tunnel_remote", err);
}

static int representor_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	const struct eswitch *eswitch = ctx;
	const struct representor *representor = (const struct representor *)new;
	const struct object *vnic = representor->vnic.object, *port = representor->port.object;
	bool tunnel = representor->tunnel_underlay.object != NULL;
	const char *underlay = NULL;

	(void)old;
	if (!!vnic + !!port + tunnel != 1)
		return error_set(err, DPU_E_INVALID, "vnic",
				 "exactly one of vnic, port and tunnel_underlay must be given");
	if (!tunnel && (representor->vni != 0 || representor->tunnel_remote.family != IP_NONE))
		return error_set(err, DPU_E_INVALID, representor->vni ? "vni" : "tunnel_remote",
				 "goes with tunnel_underlay only");
	if (tunnel)
		return tunnel_validate(eswitch, representor, err);
	if (vnic && ((const struct vnic *)vnic)->subnet.object)
		return error_set(err, DPU_E_INVALID, "vnic",
				 "is in subnet %s; only a vNIC without a subnet can have a representor",
				 ((const struct vnic *)vnic)->subnet.object->name);
	if (vnic)
		return rival_check(eswitch, representor, vnic, "vnic", err);
	model_each_referrer(eswitch->dpu->model, port, "underlay", is_underlay, &underlay);
	if (underlay)
		return error_set(err, DPU_E_IN_USE, "port",
				 "carries underlay %s; only a port without an underlay can have a representor",
				 underlay);
	return rival_check(eswitch, representor, port, "port", err);
}

const struct object_class representor_class = {
	.name = "representor",
	.plural = "representors",
	.doc = "What the client of an eswitch sees of a vNIC, an uplink or a tunnel: a port of its own.",
	.flags = CLASS_F_GLOBAL,
	.size = sizeof(struct representor),
	.fields = representor_fields,
	.max_objects = ESWITCH_MAX_PORTS,
	.complete = representor_complete,
	.validate = representor_validate,
	.apply = control_representor_apply,
	.remove = control_representor_remove,
	.observe = representor_observe,
};
