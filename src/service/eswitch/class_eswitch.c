/* SPDX-License-Identifier: BSD-3-Clause */
/* The class "eswitch": forwarding by the rules of a client. */
#include "service/eswitch/eswitch_priv.h"

static const struct field eswitch_fields[] = {
	FIELD(struct eswitch_object, max_rules, .flags = FIELD_F_IMMUTABLE, .unit = "rules", .min = 1,
	      .max = ESWITCH_MAX_RULES, .def = "262144", .doc = "Rules that each client may have installed."),
	FIELD(struct eswitch_object, bypass, .def = "false",
	      .doc = "Whether every packet goes to the client, as if it had installed no rules."),
	FIELD(struct eswitch_object, socket, .flags = FIELD_F_STATE, .doc = "Where clients connect."),
	FIELD(struct eswitch_object, clients, .flags = FIELD_F_STATE, .doc = "Programs that are connected."),
	FIELD(struct eswitch_object, rules, .flags = FIELD_F_GAUGE, .unit = "rules", .doc = "Rules in force."),
	FIELD(struct eswitch_object, masks, .flags = FIELD_F_GAUGE, .unit = "masks",
	      .doc = "Different masks that these rules have."),
	FIELD(struct eswitch_object, entries, .flags = FIELD_F_GAUGE, .unit = "entries",
	      .doc = "Flows that the workers remember with their rules."),
	FIELD(struct eswitch_object, installed, .flags = FIELD_F_COUNTER, .unit = "rules", .doc = "Rules installed."),
	FIELD(struct eswitch_object, destroyed, .flags = FIELD_F_COUNTER, .unit = "rules", .doc = "Rules removed."),
	FIELD(struct eswitch_object, refused, .flags = FIELD_F_COUNTER, .unit = "rules",
	      .doc = "Rules refused; the action offload-refused says why."),
	FIELD(struct eswitch_object, hits, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets whose rule was remembered."),
	FIELD(struct eswitch_object, lookups, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets whose rule was looked up."),
	FIELD(struct eswitch_object, upcalls, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets that went up to the client."),
	FIELD(struct eswitch_object, bypassed, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Of these, packets for which no rule was looked at because of bypass."),
	{ 0 },
};

const struct object_class eswitch_class = {
	.name = "eswitch",
	.plural = "eswitches",
	.doc = "Forwarding by the rules of an Open vSwitch or another client, for what has a representor.",
	.flags = CLASS_F_GLOBAL,
	.size = sizeof(struct eswitch_object),
	.fields = eswitch_fields,
	.actions = eswitch_actions,
	.max_objects = 1,
	.apply = control_eswitch_apply,
	.remove = control_eswitch_remove,
	.observe = eswitch_observe,
};
