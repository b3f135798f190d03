// SPDX-License-Identifier: BSD-3-Clause
/* The classes "nvmf_listener" and "nvmf_referral": where hosts reach us, and where else they may look. */
#include <string.h>
#include "service/nvmf/target/target_priv.h"

enum listener_state { LISTENER_WAITING, LISTENER_LISTENING, LISTENER_FAILED };
static const char *const state_names[] = { "waiting", "listening", "failed", NULL };

static const struct field listener_fields[] = {
	FIELD(struct listener_object, address, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE,
	      .doc = "Address of this machine, IPv4 or IPv6; hosts are told it by discovery."),
	FIELD(struct listener_object, port, .flags = FIELD_F_IMMUTABLE | FIELD_F_LISTED, .def = "4420", .min = 1,
	      .max = 65535, .doc = "TCP port of it."),
	FIELD(struct listener_object, subsystems, .target = "nvmf_subsystem",
	      .doc = "Subsystems that can be reached by it, as tenant/name; none named: all."),
	FIELD_ENUM_ROW(struct listener_object, ana_state, listener_ana_names, .def = "optimized",
		       .doc = "ANA state that hosts see by this path."),
	FIELD(struct listener_object, ana_groups, .check = listener_ana_group,
	      .check_doc = "must be a group (1 to 32) and a state, like 2=inaccessible",
	      .doc = "Other states for single ANA groups."),
	FIELD_ENUM_ROW(struct listener_object, state, state_names, .flags = FIELD_F_STATE,
		       .doc = "Whether it listens; one that cannot is tried again every second."),
	FIELD(struct listener_object, why, .flags = FIELD_F_STATE, .doc = "Why it does not."),
	FIELD(struct listener_object, handshakes, .flags = FIELD_F_GAUGE, .unit = "connections",
	      .doc = "Connections that have not named their subsystem yet."),
	FIELD(struct listener_object, accepted, .flags = FIELD_F_COUNTER, .unit = "connections",
	      .doc = "Connections accepted."),
	FIELD(struct listener_object, dropped, .flags = FIELD_F_COUNTER, .unit = "connections",
	      .doc = "Connections dropped: too many at a time, or no Connect in time."),
	FIELD(struct listener_object, protocol_errors, .flags = FIELD_F_COUNTER, .unit = "connections",
	      .doc = "Connections ended, before they named a subsystem, because of a PDU that is forbidden."),
	FIELD(struct listener_object, accept_pauses, .flags = FIELD_F_COUNTER, .unit = "times",
	      .doc = "How often connections had to wait for a descriptor or memory."),
	{ 0 },
};

static int listener_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	const struct listener_object *object = (const struct listener_object *)new;
	static const uint8_t none[16];

	(void)ctx;
	(void)old;
	if (memcmp(object->address.bytes, none, sizeof(none)) == 0 || ip_is_multicast(&object->address))
		return error_set(err, DPU_E_INVALID, "address", "must be an address of its own: hosts are told it");
	return 0;
}

static int listener_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct target *target = ((struct nvmf *)ctx)->target;

	(void)old;
	(void)err;
	item_apply(target, &target->listeners, sizeof(struct listener), new);
	return 0;
}

static void listener_remove(void *ctx, struct object *object)
{
	item_remove(&((struct nvmf *)ctx)->target->listeners, object);
}

static void listener_observe(void *ctx, const struct object *object, struct object *copy)
{
	const struct listener *listener = object->runtime;
	struct listener_object *out = (struct listener_object *)copy;

	(void)ctx;
	out->state = listener->fd > 0 ? LISTENER_LISTENING : listener->why[0] ? LISTENER_FAILED : LISTENER_WAITING;
	if (listener->why[0])
		out->why = nvmf_text(listener->why);
	out->handshakes = listener->handshakes;
	out->accepted = listener->accepted;
	out->dropped = listener->dropped;
	out->accept_pauses = listener->pauses;
	out->protocol_errors = listener->protocol_errors;
}

const struct object_class nvmf_listener_class = {
	.name = "nvmf_listener",
	.plural = "nvmf_listeners",
	.doc = "An address and port where hosts reach NVMe subsystems and discovery.",
	.flags = CLASS_F_GLOBAL,
	.size = sizeof(struct listener_object),
	.fields = listener_fields,
	.max_objects = NVME_TARGET_PORTS_MAX,
	.validate = listener_validate,
	.apply = listener_apply,
	.remove = listener_remove,
	.observe = listener_observe,
};

/* ---- referrals ---- */

static const struct field referral_fields[] = {
	FIELD(struct referral_object, address, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE,
	      .doc = "Address of another discovery service."),
	FIELD(struct referral_object, port, .flags = FIELD_F_IMMUTABLE | FIELD_F_LISTED, .def = "8009", .min = 1,
	      .max = 65535, .doc = "Its TCP port."),
	{ 0 },
};

static int referral_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct target *target = ((struct nvmf *)ctx)->target;

	(void)old;
	(void)err;
	item_apply(target, &target->referrals, sizeof(struct referral), new);
	return 0;
}

static void referral_remove(void *ctx, struct object *object)
{
	item_remove(&((struct nvmf *)ctx)->target->referrals, object);
}

const struct object_class nvmf_referral_class = {
	.name = "nvmf_referral",
	.plural = "nvmf_referrals",
	.doc = "Another discovery service that hosts are told of.",
	.flags = CLASS_F_GLOBAL,
	.size = sizeof(struct referral_object),
	.fields = referral_fields,
	.max_objects = 256,
	.apply = referral_apply,
	.remove = referral_remove,
};
