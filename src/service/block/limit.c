// SPDX-License-Identifier: BSD-3-Clause
/* Quality of service on what belongs to nobody, media and remote namespaces: a filter for each disk or namespace on
 * one, on its own view. Its requests count against its tenant like those of volumes, and it has a policy of its own.
 *
 * Over memory, or none, that nobody limits there is no filter: times that nobody asked for would be a tenth of what is
 * timed. It comes, and goes, with the policies: the user's device is asked back and given anew. */
#include <string.h>
#include "service/block/block_priv.h"

static const struct qos_policy_object *policy_of(const struct block_limit *limit)
{
	if (!limit->has_policy)
		return NULL;
	return (const struct qos_policy_object *)model_find_uuid(limit->qos.block->dpu->model, &limit->policy);
}

void limit_init(struct block_limit *limit, struct block *block, const struct object *object,
		const struct block_user *user)
{
	if (!user->object || object->class == &volume_class || object->class == &snapshot_class)
		return;
	limit->qos.block = block;
	limit->user = user->object->uuid;
	limit->tenant = user->object->tenant->uuid;
	limit->memory = object->class == &medium_class && medium_is_memory((const struct medium_object *)object);
	limit->has_policy = user->policy;
	if (user->policy)
		limit->policy = user->policy->uuid;
	LIST_INSERT_HEAD(&block->limits, limit, link);
}

int block_check_policy(const struct object *user, const struct ref *policy, const struct object *backing,
		       struct dpu_error *err)
{
	if (policy->object && (backing->class == &volume_class || backing->class == &snapshot_class))
		return error_set(err, DPU_E_INVALID, "qos", "goes with a medium or remote only: %s %s has its own qos",
				 backing->class->name, backing->name);
	return block_policy_check(user, policy, err);
}

void limit_fini(struct block_limit *limit)
{
	if (limit->qos.block)
		LIST_REMOVE(limit, link);
}

bool limit_wanted(const struct block_limit *limit)
{
	if (!limit->qos.block)
		return false;
	return !limit->memory || policy_of(limit) || block_policy_of_tenant(limit->qos.block, &limit->tenant);
}

void limit_begin(struct block_limit *limit, const void *domain, struct worker *worker)
{
	limit->up = true;
	block_qos_begin(&limit->qos, limit->qos.block, &limit->tenant, domain, worker);
}

struct dpu_block_device *limit_open(struct block_limit *limit, struct dpu_block_device *below)
{
	limit->made = block_qos_open(&limit->qos, below);
	qos_on_medium(limit->made);
	return limit->made;
}

/* The policy is told to the filter before the user has it. */
void limit_opened(struct block_limit *limit)
{
	struct qos_policy policy = block_policy(policy_of(limit));

	limit->qos.filter = limit->made;
	limit->qos.policy = (struct qos_policy){ 0 };
	block_qos_set(&limit->qos, &policy);
}

void limit_close(struct block_limit *limit)
{
	limit->made->ops->close(limit->made, NULL, NULL);
}

void limit_end(struct block_limit *limit)
{
	limit->up = false;
	block_qos_end(&limit->qos);
}

void limit_update(struct block_limit *limit)
{
	struct qos_policy policy = block_policy(policy_of(limit));

	if (limit_wanted(limit) != limit->up)
		attachment_renew(limit);
	else if (limit->up)
		block_qos_set(&limit->qos, &policy);
}
