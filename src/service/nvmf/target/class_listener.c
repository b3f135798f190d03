// SPDX-License-Identifier: BSD-3-Clause
/* The classes "nvmf_listener" and "nvmf_referral": where hosts reach us, and where else they may look. */
#include <stdio.h>
#include <stdlib.h>
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

struct endpoint {
	const struct object *object;
	const struct ip_addr *address;
	uint16_t port;
};

static struct endpoint endpoint_of(const struct object *object)
{
	const struct listener_object *listener = (const struct listener_object *)object;
	const struct referral_object *referral = (const struct referral_object *)object;

	return object->class == &nvmf_listener_class ? (struct endpoint){ object, &listener->address, listener->port }
						     : (struct endpoint){ object, &referral->address, referral->port };
}

static int is_twin(void *arg, struct object *object)
{
	struct endpoint *mine = arg, other = endpoint_of(object);

	if (uuid_equal(&object->uuid, &mine->object->uuid) || other.port != mine->port ||
	    !ip_equal(other.address, mine->address))
		return 0;
	mine->object = object;
	return 1;
}

/* What older daemons have stored is taken. */
static int twin_refuse(const struct model *model, const struct object *object, struct dpu_error *err)
{
	struct endpoint endpoint = endpoint_of(object);

	if (model_loading(model) || !model_each(model, object->class->name, NULL, is_twin, &endpoint))
		return 0;
	return error_set(err, DPU_E_EXISTS, "port", "%s/%s has this address and port already", object->class->name,
			 endpoint.object->name);
}

/* A group has one state. */
static int groups_validate(const struct model *model, const struct string_list *groups, struct dpu_error *err)
{
	uint32_t seen = 0;

	for (size_t i = 0; i < groups->count; i++) {
		uint32_t bit = UINT32_C(1) << (strtoul(groups->items[i], NULL, 10) - 1);
		char path[40];

		snprintf(path, sizeof(path), "ana_groups[%zu]", i);
		if ((seen & bit) && !model_loading(model))
			return error_set(err, DPU_E_INVALID, path, "the group has a state already: give it one");
		seen |= bit;
	}
	return 0;
}

static int listener_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	const struct listener_object *object = (const struct listener_object *)new;
	const struct model *model = ((struct nvmf *)ctx)->dpu->model;
	static const uint8_t none[16];

	(void)old;
	if (memcmp(object->address.bytes, none, sizeof(none)) == 0 || ip_is_multicast(&object->address))
		return error_set(err, DPU_E_INVALID, "address", "must be an address of its own: hosts are told it");
	if (object->address.family == IP_V6 && ip_is_link_local(&object->address) && !model_loading(model))
		return error_set(
			err, DPU_E_INVALID, "address",
			"is of one link only, and hosts are not told of which: give one that is not in fe80::/10");
	int rc = twin_refuse(model, new, err);
	return rc ? rc : groups_validate(model, &object->ana_groups, err);
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

static int referral_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	(void)old;
	return twin_refuse(((struct nvmf *)ctx)->dpu->model, new, err);
}

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
	.validate = referral_validate,
	.apply = referral_apply,
	.remove = referral_remove,
};
