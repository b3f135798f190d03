// SPDX-License-Identifier: BSD-3-Clause
/* The class "qos_policy": what volumes are guaranteed and what they may use. */
#include "service/block/block_priv.h"

static const char *const scopes[] = { [QOS_OF_VOLUME] = "volume", [QOS_OF_TENANT] = "tenant", NULL };

static const struct field qos_policy_fields[] = {
	FIELD_ENUM_ROW(
		struct qos_policy_object, scope, scopes, .flags = FIELD_F_IMMUTABLE, .def = "volume",
		.doc = "Volume: for each volume, snapshot, disk or namespace that refers to it; tenant: for all of the "
		       "tenant together, on whatever worker they are."),
	FIELD(struct qos_policy_object, guarantee_iops, .unit = "requests_per_second", .def = "0", .max = QOS_RATE_MAX,
	      .doc = "Requests per second that are served first, whoever else has how many waiting; one of more than "
		     "64 "
		     "KiB counts as several. 0 means none."),
	FIELD(struct qos_policy_object, guarantee_bandwidth, .unit = "bytes_per_second", .def = "0",
	      .max = FIELD_U64_MAX >> 20,
	      .doc = "The same in bytes; with both, what stays within both is guaranteed. 0 means none."),
	FIELD(struct qos_policy_object, cap_iops, .unit = "requests_per_second", .def = "0", .max = QOS_RATE_MAX,
	      .doc = "Requests per second that are never exceeded but by burst_ms; 0 means no limit."),
	FIELD(struct qos_policy_object, cap_bandwidth, .unit = "bytes_per_second", .def = "0",
	      .max = FIELD_U64_MAX >> 20,
	      .doc = "The same in bytes. A discard counts 4 KiB for each MiB, a flush nothing. 0 means no limit."),
	FIELD(struct qos_policy_object, burst_ms, .unit = "milliseconds", .def = "100", .min = 1, .max = 3600000,
	      .doc = "How much of the caps may be saved up in idle times, as the time in which it is earned."),
	FIELD(struct qos_policy_object, weight, .def = "0", .max = QOS_WEIGHT_MAX,
	      .doc = "Share of what is left beside guarantees, by bytes, among tenants or among a tenant's volumes; "
		     "0 counts as 100."),
	FIELD(struct qos_policy_object, volumes, .flags = FIELD_F_GAUGE, .unit = "volumes",
	      .doc = "Volumes, snapshots, disks and namespaces that refer to it."),
	{ 0 },
};

struct other {
	const struct object *self;
	const struct object *found;
};

static int other_of_tenant(void *arg, struct object *object)
{
	struct other *other = arg;

	if (((const struct qos_policy_object *)object)->scope != QOS_OF_TENANT ||
	    uuid_equal(&object->uuid, &other->self->uuid))
		return 0;
	other->found = object;
	return 1;
}

static int qos_policy_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	const struct block *block = ctx;
	const struct qos_policy_object *policy = (const struct qos_policy_object *)new;
	struct other other = { .self = new };

	(void)old;
	if (policy->guarantee_bandwidth && policy->guarantee_bandwidth < QOS_BANDWIDTH_MIN)
		return error_set(err, DPU_E_INVALID, "guarantee_bandwidth", "must be 0 or at least %d",
				 QOS_BANDWIDTH_MIN);
	if (policy->cap_bandwidth && policy->cap_bandwidth < QOS_BANDWIDTH_MIN)
		return error_set(err, DPU_E_INVALID, "cap_bandwidth", "must be 0 or at least %d", QOS_BANDWIDTH_MIN);
	if (policy->cap_iops && policy->guarantee_iops > policy->cap_iops)
		return error_set(err, DPU_E_INVALID, "guarantee_iops", "must not be above cap_iops, %llu",
				 (unsigned long long)policy->cap_iops);
	if (policy->cap_bandwidth && policy->guarantee_bandwidth > policy->cap_bandwidth)
		return error_set(err, DPU_E_INVALID, "guarantee_bandwidth", "must not be above cap_bandwidth, %llu",
				 (unsigned long long)policy->cap_bandwidth);
	if (policy->scope != QOS_OF_TENANT)
		return 0;
	model_each(block->dpu->model, "qos_policy", new->tenant, other_of_tenant, &other);
	if (other.found)
		return error_set(err, DPU_E_EXISTS, "scope", "the tenant has such a policy already, %s",
				 other.found->name);
	return 0;
}

static int qos_policy_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	(void)old;
	(void)new;
	(void)err;
	((struct block *)ctx)->policies_changed = true;
	return 0;
}

static void qos_policy_remove(void *ctx, struct object *object)
{
	(void)object;
	((struct block *)ctx)->policies_changed = true;
}

/* All references are as they will be. */
static void qos_policy_commit(void *ctx)
{
	struct block *block = ctx;

	if (block->policies_changed && !block->ended)
		block_qos_update(block);
	block->policies_changed = false;
}

static int count_one(void *arg, struct object *object)
{
	(void)object;
	++*(uint32_t *)arg;
	return 0;
}

static void qos_policy_observe(void *ctx, const struct object *object, struct object *copy)
{
	const struct block *block = ctx;

	model_each_referrer(block->dpu->model, object, NULL, count_one, &((struct qos_policy_object *)copy)->volumes);
}

const struct object_class qos_policy_class = {
	.name = "qos_policy",
	.plural = "qos_policies",
	.doc = "What volumes of a tenant, or its disks and namespaces on media and remotes, or the tenant as a whole, "
	       "are guaranteed and may use.",
	.example = "dpuctl qos_policy create blue/gold guarantee_iops=2000 cap_iops=10000 cap_bandwidth=200M",
	.size = sizeof(struct qos_policy_object),
	.fields = qos_policy_fields,
	.validate = qos_policy_validate,
	.apply = qos_policy_apply,
	.remove = qos_policy_remove,
	.commit = qos_policy_commit,
	.observe = qos_policy_observe,
};
