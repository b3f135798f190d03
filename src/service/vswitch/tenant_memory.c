/* SPDX-License-Identifier: BSD-3-Clause */
/* What a tenant's objects are reckoned to take of the DPU's memory, and whether its quota allows that. */
#include "service/vswitch/control.h"
#include "service/vswitch/objects.h"

/* Measured per object with its records, rounded up. Queues: rings, in-flight region, a buffer for long frames. */
enum { VNIC_BYTES = 8192, QUEUE_BYTES = 131072, OBJECT_BYTES = 1024 };

static int add_vnic(void *arg, struct object *object)
{
	*(uint64_t *)arg += VNIC_BYTES + ((const struct vnic *)object)->queues * (uint64_t)QUEUE_BYTES;
	return 0;
}

uint64_t tenant_object_bytes(const struct model *model, const struct tenant *tenant)
{
	static const char *const classes[] = { "vpc",   "subnet",         "mapping",
					       "route", "security_group", "security_group_rule" };
	uint64_t bytes = 0;

	for (unsigned i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		bytes += model_count(model, classes[i], &tenant->base) * (uint64_t)OBJECT_BYTES;
	model_each(model, "vnic", &tenant->base, add_vnic, &bytes);
	return bytes;
}

int control_check_memory(void *ctx, const struct object *object, const char *field, struct dpu_error *err)
{
	const struct tenant *tenant = (const struct tenant *)(object->tenant ? object->tenant : object);
	uint64_t bytes;

	if (tenant->max_memory_mb == 0)
		return 0;
	bytes = tenant_object_bytes(control_model(ctx), tenant);
	if (bytes <= (uint64_t)tenant->max_memory_mb << 20)
		return 0;
	return error_set(
		err, DPU_E_LIMIT, field,
		"the objects of tenant %s would take %lu MiB, and its max_memory_mb is %u; delete some or raise "
		"that",
		tenant->base.name, (unsigned long)((bytes + (1 << 20) - 1) >> 20), tenant->max_memory_mb);
}
