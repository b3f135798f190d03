// SPDX-License-Identifier: BSD-3-Clause
/* Who goes next: what is guaranteed and due, then by weight what the window has room for. */
#include "service/block/qos/qos_priv.h"

#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"

enum { IOS = 2048, BURST = 256 };
static const uint64_t GUARANTEE_BURST_NS = 5 * CLOCK_NS_PER_MS;
static const uint64_t CAP_BURST_NS = 100 * CLOCK_NS_PER_MS;
static const uint64_t HOUSEKEEPING_NS = CLOCK_NS_PER_MS;
static const uint64_t CONTENTION_NS = CLOCK_NS_PER_S;
static const uint64_t SWEEP_NS = 20 * CLOCK_NS_PER_MS; /* whole queues are walked */

/* ---- tenants ---- */

static void buckets_set(struct qos_bucket *cap, struct qos_bucket *guarantee, const struct qos_policy *policy,
			uint64_t now_ns)
{
	uint64_t burst = policy->burst_ns ? policy->burst_ns : CAP_BURST_NS;

	qos_bucket_set(&cap[QOS_IOS], policy->cap, burst, now_ns);
	qos_bucket_set(&cap[QOS_BYTES], policy->cap_bytes, burst, now_ns);
	qos_bucket_set(&guarantee[QOS_IOS], policy->guarantee, GUARANTEE_BURST_NS, now_ns);
	qos_bucket_set(&guarantee[QOS_BYTES], policy->guarantee_bytes, GUARANTEE_BURST_NS, now_ns);
}

int qos_tenant_new(struct qos_tenant **ret)
{
	struct qos_tenant *tenant = calloc(1, sizeof(*tenant));

	if (!tenant)
		return -ENOMEM;
	atomic_store_explicit(&tenant->refs, 1, memory_order_relaxed);
	*ret = tenant;
	return 0;
}

void qos_tenant_unref(struct qos_tenant *tenant)
{
	if (tenant && atomic_fetch_sub_explicit(&tenant->refs, 1, memory_order_acq_rel) == 1)
		free(tenant);
}

void qos_tenant_set(struct qos_tenant *tenant, const struct qos_policy *policy, uint64_t now_ns)
{
	buckets_set(tenant->cap, tenant->guarantee, policy, now_ns);
	atomic_store_explicit(&tenant->weight, policy->weight, memory_order_relaxed);
	atomic_fetch_add_explicit(&tenant->version, 1, memory_order_release);
}

/* ---- groups ---- */

static void tenant_leases(struct qos_tenant *tenant, int more)
{
	for (unsigned i = 0; i < QOS_UNITS; i++) {
		atomic_fetch_add_explicit(&tenant->cap[i].leases, (uint32_t)more, memory_order_relaxed);
		atomic_fetch_add_explicit(&tenant->guarantee[i].leases, (uint32_t)more, memory_order_relaxed);
	}
}

struct qos_group *group_get(struct qos_scheduler *scheduler, struct qos_tenant *tenant)
{
	for (struct qos_group *group = scheduler->group; group; group = group->next)
		if (group->tenant == tenant)
			return group;
	struct qos_group *group = calloc(1, sizeof(*group));
	if (!group || heap_reserve(&scheduler->alarms, scheduler->groups.members) < 0 ||
	    set_reserve(&scheduler->groups) < 0) {
		free(group);
		return NULL;
	}
	node_init(&group->node, tenant->cap, tenant->guarantee, true);
	tenant_leases(tenant, 1);
	group->tenant = tenant;
	atomic_fetch_add_explicit(&tenant->refs, 1, memory_order_relaxed);
	group->next = scheduler->group;
	scheduler->group = group;
	group->version = atomic_load_explicit(&tenant->version, memory_order_acquire);
	scheduler->worker->guards +=
		(uint32_t)node_policy(&group->node, atomic_load_explicit(&tenant->weight, memory_order_relaxed));
	return group;
}

void group_put(struct qos_scheduler *scheduler, struct qos_group *group)
{
	struct qos_group **link = &scheduler->group;

	if (group->volumes.members > 0)
		return;
	while (*link != group)
		link = &(*link)->next;
	*link = group->next;
	set_remove(&scheduler->groups, &group->node);
	heap_remove(&scheduler->alarms, &group->alarm);
	scheduler->groups.members--;
	scheduler->worker->guards -= group->node.guard;
	node_expire(&group->node, UINT64_MAX);
	tenant_leases(group->tenant, -1);
	set_fini(&group->volumes);
	qos_tenant_unref(group->tenant);
	free(group);
}

/* ---- places ---- */

/* After one of its volumes has moved: the group can offer what is ready, from when on its own cap allows it. */
static void group_place(struct qos_scheduler *scheduler, struct qos_group *group, uint64_t now_ns)
{
	struct qos_set *volumes = &group->volumes;

	if (volumes->waiting.count)
		heap_set(&scheduler->alarms, &group->alarm, heap_first(&volumes->waiting)->key);
	else
		heap_remove(&scheduler->alarms, &group->alarm);
	if (!volumes->ready.count) {
		set_remove(&scheduler->groups, &group->node);
		return;
	}
	uint64_t when = node_when(&group->node);
	if (when > now_ns) {
		set_wait(&scheduler->groups, &group->node, when);
		return;
	}
	uint64_t due = node_due(&group->node, NULL);
	if (volumes->promised.count && heap_first(&volumes->promised)->key < due)
		due = heap_first(&volumes->promised)->key;
	set_ready(&scheduler->groups, &group->node, due);
}

static struct qos_volume *volume_of(struct heap_node *place)
{
	return (struct qos_volume *)((char *)place - offsetof(struct qos_volume, node.place));
}

static struct qos_volume *volume_of_due(struct heap_node *due)
{
	return (struct qos_volume *)((char *)due - offsetof(struct qos_volume, node.due));
}

static struct qos_group *group_of(struct heap_node *place)
{
	return (struct qos_group *)((char *)place - offsetof(struct qos_group, node.place));
}

static struct qos_group *group_of_alarm(struct heap_node *alarm)
{
	return (struct qos_group *)((char *)alarm - offsetof(struct qos_group, alarm));
}

static struct qos_group *group_of_due(struct heap_node *due)
{
	return (struct qos_group *)((char *)due - offsetof(struct qos_group, node.due));
}

static void place_in_group(struct qos_volume *volume, uint64_t now_ns)
{
	struct qos_set *set = &volume->group->volumes;

	if (!volume->queue.first) {
		set_remove(set, &volume->node);
		return;
	}
	uint64_t when = node_when(&volume->node);
	if (when > now_ns)
		set_wait(set, &volume->node, when);
	else
		set_ready(set, &volume->node, node_due(&volume->node, volume->queue.first));
}

void volume_place(struct qos_volume *volume, uint64_t now_ns)
{
	place_in_group(volume, now_ns);
	group_place(volume->scheduler, volume->group, now_ns);
}

/* Those whose cap allows something again. */
static void wake(struct qos_scheduler *scheduler, uint64_t now_ns)
{
	struct heap_node *first;

	while ((first = heap_first(&scheduler->alarms)) != NULL && first->key <= now_ns) {
		struct qos_group *group = group_of_alarm(first);
		while ((first = heap_first(&group->volumes.waiting)) != NULL && first->key <= now_ns)
			place_in_group(volume_of(first), now_ns);
		group_place(scheduler, group, now_ns);
	}
	while ((first = heap_first(&scheduler->groups.waiting)) != NULL && first->key <= now_ns)
		group_place(scheduler, group_of(first), now_ns);
}

/* ---- choosing ---- */

/* The tenant's guarantee is for any of its volumes: by their weight. */
static struct qos_volume *promised(struct qos_scheduler *scheduler, uint64_t now_ns)
{
	struct heap_node *first = heap_first(&scheduler->groups.promised);

	if (!first || first->key > now_ns)
		return NULL;
	struct qos_group *group = group_of_due(first);
	first = heap_first(&group->volumes.promised);
	if (first && first->key <= now_ns)
		return volume_of_due(first);
	return volume_of(heap_first(&group->volumes.ready));
}

static bool window_full(const struct qos_scheduler *scheduler)
{
	return scheduler->worker->guards && scheduler->under_way >= scheduler->window.size;
}

/* The window is there for others' sake: who is alone needs none. */
static bool window_open(struct qos_scheduler *scheduler, uint64_t now_ns)
{
	if (!window_full(scheduler) || now_ns - scheduler->worker->switched_ns >= CONTENTION_NS)
		return true;
	scheduler->window.full = true;
	return false;
}

static struct qos_volume *by_weight(struct qos_scheduler *scheduler)
{
	struct heap_node *first = heap_first(&scheduler->groups.ready);

	return first ? volume_of(heap_first(&group_of(first)->volumes.ready)) : NULL;
}

static bool take_caps(struct qos_volume *volume, const struct dpu_block_request *request, uint64_t now_ns)
{
	if (!node_take_cap(&volume->group->node, request, now_ns))
		return false;
	if (node_take_cap(&volume->node, request, now_ns))
		return true;
	node_give_cap(&volume->group->node, request);
	return false;
}

/* What a volume's own guarantee pays counts as the tenant's, too: that is what the tenant shares out. */
static bool take_guarantees(struct qos_volume *volume, const struct dpu_block_request *request, uint64_t now_ns)
{
	bool own = node_take_guarantee(&volume->node, request, now_ns);
	bool of_tenant = node_take_guarantee(&volume->group->node, request, now_ns);

	return own || of_tenant;
}

/* Takes what it costs from everybody concerned. False: another worker of the tenant was faster. */
static bool charge(struct qos_volume *volume, const struct dpu_block_request *request, bool due, uint64_t now_ns)
{
	struct qos_group *group = volume->group;

	group->leased = true;
	if (!take_caps(volume, request, now_ns))
		return false;
	if (due && !take_guarantees(volume, request, now_ns)) {
		node_give_cap(&volume->node, request);
		node_give_cap(&group->node, request);
		return false;
	}
	volume->stats.promised += due;
	set_charge(&group->volumes, &volume->node, request, !due);
	set_charge(&volume->scheduler->groups, &group->node, request, !due);
	return true;
}

unsigned scheduler_run(struct qos_scheduler *scheduler, const struct qos_volume *whose, uint64_t now_ns, unsigned most)
{
	unsigned sent = 0, lost = 0;

	wake(scheduler, now_ns);
	while (sent + lost < most && scheduler->free_io && (!whose || whose->queue.first)) {
		struct qos_volume *volume = promised(scheduler, now_ns);
		bool due = volume != NULL;
		if (!due && (!window_open(scheduler, now_ns) || (volume = by_weight(scheduler)) == NULL))
			break;
		if (!charge(volume, volume->queue.first, due, now_ns)) {
			volume_place(volume, now_ns);
			lost++;
			continue;
		}
		if (volume != scheduler->worker->last) {
			scheduler->worker->last = volume;
			scheduler->worker->switched_ns = now_ns;
		}
		struct dpu_block_request *request = volume_take(volume);
		volume_place(volume, now_ns);
		volume_send(volume, request, qos_stamp_down(scheduler));
		sent++;
	}
	return sent;
}

/* ---- the scheduler ---- */

int qos_scheduler_new(const struct qos_scheduler_options *options, struct qos_scheduler **ret)
{
	struct qos_scheduler *scheduler = calloc(1, sizeof(*scheduler));

	if (!scheduler)
		return -ENOMEM;
	scheduler->io = aligned_alloc(_Alignof(struct qos_io), IOS * sizeof(*scheduler->io));
	if (!scheduler->io) {
		free(scheduler);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < IOS; i++)
		io_free(scheduler, &scheduler->io[i]);
	scheduler->options = *options;
	scheduler->worker = options->worker ? options->worker : &scheduler->own;
	scheduler->scale = cycles_scale();
	window_init(&scheduler->window);
	*ret = scheduler;
	return 0;
}

void qos_scheduler_free(struct qos_scheduler *scheduler)
{
	if (!scheduler)
		return;
	set_fini(&scheduler->groups);
	heap_fini(&scheduler->alarms);
	free(scheduler->io);
	free(scheduler);
}

static void keep_house(struct qos_scheduler *scheduler, uint64_t now_ns)
{
	scheduler->kept_ns = now_ns;
	for (struct qos_group *group = scheduler->group; group; group = group->next) {
		uint32_t version = atomic_load_explicit(&group->tenant->version, memory_order_acquire);
		if (version != group->version) {
			uint32_t weight = atomic_load_explicit(&group->tenant->weight, memory_order_relaxed);
			group->version = version;
			scheduler->worker->guards += (uint32_t)node_policy(&group->node, weight);
			group_place(scheduler, group, now_ns);
		}
		if (group->leased) {
			node_expire(&group->node, now_ns);
			group->leased = node_credit(&group->node);
		}
	}
}

void qos_scheduler_reset(struct qos_scheduler *scheduler)
{
	window_init(&scheduler->window);
}

void qos_scheduler_sync(struct qos_scheduler *scheduler)
{
	keep_house(scheduler, qos_now(scheduler));
}

static unsigned sweep(struct qos_scheduler *scheduler, uint64_t now_ns)
{
	unsigned count = 0;

	scheduler->swept_ns = now_ns;
	while (!LIST_EMPTY(&scheduler->cancelled))
		count += volume_sweep(LIST_FIRST(&scheduler->cancelled));
	return count;
}

unsigned qos_scheduler_poll(struct qos_scheduler *scheduler)
{
	uint64_t now = qos_now(scheduler);
	unsigned ended = 0;

	if (now - scheduler->kept_ns >= HOUSEKEEPING_NS)
		keep_house(scheduler, now);
	if (!LIST_EMPTY(&scheduler->cancelled) && now - scheduler->swept_ns >= SWEEP_NS)
		ended = sweep(scheduler, now);
	if (!scheduler->groups.waiting.count && !scheduler->groups.ready.count && !scheduler->alarms.count)
		return ended;
	return ended + scheduler_run(scheduler, NULL, now, BURST);
}

static uint64_t earlier(const struct heap *heap, uint64_t due)
{
	return heap->count && heap_first(heap)->key < due ? heap_first(heap)->key : due;
}

uint64_t qos_scheduler_due_ns(const struct qos_scheduler *scheduler)
{
	uint64_t due = UINT64_MAX;

	for (const struct qos_group *group = scheduler->group; group; group = group->next)
		if (group->leased)
			due = scheduler->kept_ns + HOUSEKEEPING_NS;
	if (scheduler->groups.ready.count && scheduler->free_io && window_full(scheduler) &&
	    scheduler->worker->switched_ns + CONTENTION_NS < due)
		due = scheduler->worker->switched_ns + CONTENTION_NS; /* nothing may complete until then */
	if (!LIST_EMPTY(&scheduler->cancelled) && scheduler->swept_ns + SWEEP_NS < due)
		due = scheduler->swept_ns + SWEEP_NS;
	due = earlier(&scheduler->alarms, due);
	due = earlier(&scheduler->groups.waiting, due);
	return earlier(&scheduler->groups.promised, due);
}

unsigned qos_window(const struct qos_scheduler *scheduler)
{
	return scheduler->worker->guards ? scheduler->window.size : 0;
}

void qos_set(struct dpu_block_device *device, const struct qos_policy *policy)
{
	struct qos_volume *volume = (struct qos_volume *)device;
	uint64_t now = qos_now(volume->scheduler);

	buckets_set(volume->cap, volume->guarantee, policy, now);
	volume->scheduler->worker->guards += (uint32_t)node_policy(&volume->node, policy->weight);
	volume_place(volume, now);
}
