/* SPDX-License-Identifier: BSD-3-Clause */
/* The class "tenant": who owns networks, and how much of the DPU they may use. */
#include "service/vswitch/objects.h"
#include "service/vswitch/control.h"

static const struct field tenant_fields[] = {
	FIELD(struct tenant, max_sessions, .unit = "sessions", .max = UINT32_MAX, .def = "0",
	      .doc = "Sessions that all vNICs of the tenant may hold together; 0 means no limit."),
	FIELD(struct tenant, max_session_rate, .unit = "sessions_per_second", .max = UINT32_MAX, .def = "0",
	      .doc = "New sessions per second of all vNICs of the tenant together; 0 means no limit."),
	FIELD(struct tenant, max_memory_mb, .unit = "mebibytes", .max = 1048576, .def = "0",
	      .doc = "Memory that the tenant's objects, the queues of its vNICs above all, and its sessions may take: "
		     "what goes beyond is refused, and what is left bounds the sessions; 0 means no limit."),
	FIELD(struct tenant, max_objects, .unit = "objects", .max = UINT32_MAX, .def = "0",
	      .doc = "Objects of all classes that the tenant may own; 0 means no limit."),
	FIELD(struct tenant, max_volume_bytes, .unit = "bytes", .max = FIELD_U64_MAX, .def = "0",
	      .doc = "What all volumes of the tenant may be large together, written or not; 0 means no limit."),
	FIELD(struct tenant, sessions, .flags = FIELD_F_GAUGE, .unit = "sessions",
	      .doc = "Sessions that the tenant holds now."),
	FIELD(struct tenant, memory_bytes, .flags = FIELD_F_GAUGE, .unit = "bytes",
	      .doc = "Memory that the tenant's objects and sessions are reckoned to take."),
	FIELD(struct tenant, vnics, .flags = FIELD_F_GAUGE, .unit = "vnics", .doc = "Virtual NICs of the tenant."),
	FIELD(struct tenant, rx_packets, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets that the tenant's vNICs have sent into the DPU."),
	FIELD(struct tenant, rx_bytes, .flags = FIELD_F_COUNTER, .unit = "bytes", .doc = "Bytes of these packets."),
	FIELD(struct tenant, tx_packets, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets that the DPU has handed to the tenant's vNICs."),
	FIELD(struct tenant, tx_bytes, .flags = FIELD_F_COUNTER, .unit = "bytes", .doc = "Bytes of these packets."),
	FIELD(struct tenant, drops, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets from and to the tenant's vNICs that were dropped."),
	{ 0 },
};

static int tenant_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	return old ? control_check_memory(ctx, new, "max_memory_mb", err) : 0;
}

const struct object_class tenant_class = {
	.name = "tenant",
	.plural = "tenants",
	.doc = "A customer: everything but ports and underlay belongs to one, and its quotas keep it from using up the "
	       "DPU.",
	.flags = CLASS_F_GLOBAL,
	.size = sizeof(struct tenant),
	.fields = tenant_fields,
	.max_objects = 65000,
	.validate = tenant_validate,
	.apply = control_tenant_apply,
	.remove = control_tenant_remove,
	.commit = control_commit,
	.observe = control_tenant_observe,
};
