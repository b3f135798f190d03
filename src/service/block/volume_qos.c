// SPDX-License-Identifier: BSD-3-Clause
/* Quality of service of what is in use: a scheduler for each pool or medium that has some, so that one that hangs is in
 * nobody's way; the share of each tenant; the filter between a volume's device and the views of its users. */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "service/block/block_priv.h"

/* ---- schedulers, in the worker ---- */

static struct block_scheduler *of_source(struct worker_source *source)
{
	return (struct block_scheduler *)((uint8_t *)source - offsetof(struct block_scheduler, source));
}

static uint64_t now_ns(void *ctx)
{
	return worker_now_ns(((struct block_scheduler *)ctx)->worker);
}

static unsigned source_poll(struct worker_source *source, struct worker *worker)
{
	(void)worker;
	return qos_scheduler_poll(of_source(source)->qos);
}

static uint64_t source_tick(struct worker_source *source, struct worker *worker, uint64_t now)
{
	uint64_t due = qos_scheduler_due_ns(of_source(source)->qos);

	(void)worker;
	return due == UINT64_MAX ? due : due > now ? due - now : 0;
}

static void scheduler_sync(void *arg, struct worker *worker)
{
	(void)worker;
	qos_scheduler_sync(arg);
}

/* ---- … and in control ---- */

static struct block_scheduler *scheduler_new(struct block *block, struct worker *worker)
{
	struct block_scheduler *scheduler = block_alloc(sizeof(*scheduler));
	struct qos_scheduler_options options = { .worker = &block->turns[worker_index(worker)],
						 .now_ns = now_ns,
						 .ctx = scheduler,
						 .turn = worker_turn(worker) };

	scheduler->worker = worker;
	scheduler->source = (struct worker_source){ .poll = source_poll, .tick = source_tick, .fd = -1, .name = "qos" };
	if (qos_scheduler_new(&options, &scheduler->qos) != 0 || worker_add_source(worker, &scheduler->source) != 0)
		abort(); /* out of memory */
	LIST_INSERT_HEAD(&block->schedulers, scheduler, link);
	return scheduler;
}

static void scheduler_reset(void *arg, struct worker *worker)
{
	(void)worker;
	qos_scheduler_reset(arg);
}

/* That of the pool; one that nobody needs any more; a new one. */
static struct block_scheduler *scheduler_get(struct block *block, const void *domain, struct worker *worker)
{
	struct block_scheduler *scheduler, *unused = NULL;

	LIST_FOREACH(scheduler, &block->schedulers, link)
	{
		if (scheduler->worker != worker)
			continue;
		if (scheduler->users > 0 && scheduler->domain == domain) {
			scheduler->users++;
			return scheduler;
		}
		if (scheduler->users == 0)
			unused = scheduler;
	}
	scheduler = unused ? unused : scheduler_new(block, worker);
	if (unused)
		block_call(worker, scheduler_reset, scheduler->qos, NULL);
	scheduler->domain = domain;
	scheduler->users = 1;
	return scheduler;
}

unsigned block_schedulers_close(struct block *block, void (*done)(void *arg))
{
	struct block_scheduler *scheduler;
	unsigned count = 0;

	LIST_FOREACH(scheduler, &block->schedulers, link)
	{
		count++;
		worker_remove_source(scheduler->worker, &scheduler->source, done, block);
	}
	return count;
}

void block_schedulers_free(struct block *block)
{
	struct block_scheduler *scheduler;

	while ((scheduler = LIST_FIRST(&block->schedulers))) {
		LIST_REMOVE(scheduler, link);
		qos_scheduler_free(scheduler->qos);
		free(scheduler);
	}
}

/* ---- policies ---- */

struct qos_policy block_policy(const struct qos_policy_object *object)
{
	if (!object)
		return (struct qos_policy){ 0 };
	return (struct qos_policy){
		.guarantee = object->guarantee_iops,
		.guarantee_bytes = object->guarantee_bandwidth,
		.cap = object->cap_iops,
		.cap_bytes = object->cap_bandwidth,
		.burst_ns = object->burst_ms * CLOCK_NS_PER_MS,
		.weight = object->weight,
	};
}

int block_policy_check(const struct object *user, const struct ref *policy, struct dpu_error *err)
{
	const struct qos_policy_object *object = (const struct qos_policy_object *)policy->object;

	if (!object || object->scope == QOS_OF_VOLUME)
		return object_same_tenant(user, policy->object, "qos", err);
	return error_set(err, DPU_E_INVALID, "qos", "%s is for the tenant as a whole, and needs no reference",
			 object->base.name);
}

static bool same(const struct qos_policy *a, const struct qos_policy *b)
{
	return a->guarantee == b->guarantee && a->guarantee_bytes == b->guarantee_bytes && a->cap == b->cap &&
	       a->cap_bytes == b->cap_bytes && a->burst_ns == b->burst_ns && a->weight == b->weight;
}

static int find_of_tenant(void *arg, struct object *object)
{
	if (((const struct qos_policy_object *)object)->scope != QOS_OF_TENANT)
		return 0;
	*(const struct qos_policy_object **)arg = (const struct qos_policy_object *)object;
	return 1;
}

const struct qos_policy_object *block_policy_of_tenant(const struct block *block, const struct uuid *uuid)
{
	const struct object *tenant = model_find_uuid(block->dpu->model, uuid);
	const struct qos_policy_object *object = NULL;

	if (tenant)
		model_each(block->dpu->model, "qos_policy", tenant, find_of_tenant, &object);
	return object;
}

static void share_update(struct block *block, struct block_share *share)
{
	struct qos_policy policy = block_policy(block_policy_of_tenant(block, &share->tenant));
	struct block_scheduler *scheduler;

	if (same(&policy, &share->policy))
		return;
	share->policy = policy;
	qos_tenant_set(share->qos, &policy, clock_ns());
	LIST_FOREACH(scheduler, &block->schedulers, link)
	block_call(scheduler->worker, scheduler_sync, scheduler->qos, NULL);
}

static struct block_share *share_get(struct block *block, const struct uuid *tenant)
{
	struct block_share *share;

	LIST_FOREACH(share, &block->shares, link)
	{
		if (uuid_equal(&share->tenant, tenant)) {
			share->users++;
			return share;
		}
	}
	share = block_alloc(sizeof(*share));
	share->tenant = *tenant;
	share->users = 1;
	if (qos_tenant_new(&share->qos) != 0)
		abort(); /* out of memory */
	LIST_INSERT_HEAD(&block->shares, share, link);
	share_update(block, share);
	return share;
}

static void share_put(struct block_share *share)
{
	if (--share->users > 0)
		return;
	LIST_REMOVE(share, link);
	qos_tenant_unref(share->qos);
	free(share);
}

/* ---- filters ---- */

/* On the way to the worker. */
struct filter_call {
	struct dpu_block_device *filter;
	struct qos_scheduler *scheduler;
	struct qos_tenant *tenant;
	struct qos_policy policy;
};

static void filter_join(void *arg, struct worker *worker)
{
	struct filter_call *call = arg;

	(void)worker;
	if (qos_join(call->filter, call->scheduler, call->tenant) != 0)
		abort(); /* out of memory */
	qos_set(call->filter, &call->policy);
}

static void filter_set(void *arg, struct worker *worker)
{
	struct filter_call *call = arg;

	(void)worker;
	qos_set(call->filter, &call->policy);
}

static void filter_close(void *arg, struct worker *worker)
{
	struct dpu_block_device *filter = arg;

	(void)worker;
	filter->ops->close(filter, NULL, NULL);
}

static void filter_drain(void *arg, struct worker *worker)
{
	(void)worker;
	qos_drain(arg);
}

void block_qos_begin(struct block_qos *qos, struct block *block, const struct uuid *tenant, const void *domain,
		     struct worker *worker)
{
	qos->block = block;
	qos->worker = worker;
	qos->share = share_get(block, tenant);
	qos->scheduler = scheduler_get(block, domain, worker);
}

void block_qos_end(struct block_qos *qos)
{
	qos->scheduler->users--;
	qos->scheduler = NULL;
	share_put(qos->share);
	qos->share = NULL;
	qos->filter = NULL;
}

struct dpu_block_device *block_qos_open(struct block_qos *qos, struct dpu_block_device *below)
{
	struct dpu_block_device *filter;

	if (qos_open(qos->scheduler->qos, qos->share->qos, below, &filter) != 0)
		abort(); /* out of memory */
	return filter;
}

void block_qos_set(struct block_qos *qos, const struct qos_policy *policy)
{
	if (same(policy, &qos->policy))
		return;
	qos->policy = *policy;
	if (!qos->filter)
		return;
	struct filter_call *call = block_alloc(sizeof(*call));
	*call = (struct filter_call){ .filter = qos->filter, .policy = *policy };
	block_call(qos->worker, filter_set, call, free);
}

void block_qos_drain(struct block_qos *qos)
{
	if (qos->filter)
		block_call(qos->worker, filter_drain, qos->filter, NULL);
}

/* ---- of volumes and snapshots ---- */

void volume_qos_update(struct volume *volume)
{
	const struct object *object = volume->subject.object;

	if (!object)
		return;
	const struct ref *ref = volume->snapshot ? &((const struct snapshot_object *)object)->qos
						 : &((const struct volume_object *)object)->qos;
	struct qos_policy policy = block_policy((const struct qos_policy_object *)ref->object);
	block_qos_set(&volume->qos, &policy);
}

void volume_filter_up(struct volume *volume)
{
	struct block_qos *qos = &volume->qos;
	struct filter_call *call = block_alloc(sizeof(*call));

	block_qos_begin(qos, volume->subject.block, &volume->subject.object->tenant->uuid, volume->pool,
			volume->pool->worker);
	if (qos_new(volume->device, &qos->filter) != 0)
		abort(); /* out of memory */
	*call = (struct filter_call){
		.filter = qos->filter,
		.scheduler = qos->scheduler->qos,
		.tenant = qos->share->qos,
		.policy = qos->policy,
	};
	block_call(qos->worker, filter_join, call, free);
}

void volume_filter_drain(struct volume *volume)
{
	block_qos_drain(&volume->qos);
}

/* What the worker is told now, it does before any command that takes the device away. Nothing is outstanding, so the
 * filter is no more when it has been told. */
void volume_filter_down(struct volume *volume)
{
	if (!volume->qos.filter)
		return;
	block_call(volume->qos.worker, filter_close, volume->qos.filter, NULL);
	block_qos_end(&volume->qos);
}

void block_qos_update(struct block *block)
{
	struct block_share *share;
	struct block_limit *limit;
	struct volume *volume;
	struct pool *pool;

	LIST_FOREACH(share, &block->shares, link)
	share_update(block, share);
	TAILQ_FOREACH(pool, &block->pools, link)
	{
		TAILQ_FOREACH(volume, &pool->volumes, link)
		volume_qos_update(volume);
	}
	LIST_FOREACH(limit, &block->limits, link)
	limit_update(limit);
}
