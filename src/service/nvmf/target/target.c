// SPDX-License-Identifier: BSD-3-Clause
/* The target as a whole: items of objects, steps, settling, start and stop. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "service/nvmf/target/target_priv.h"

/* A transaction that waits for what is under way, and for what it has changed itself. */
struct settler {
	uint64_t number;
	void (*done)(void *arg);
	void *arg;
	TAILQ_ENTRY(settler) link;
};

/* ---- items ---- */

struct item *item_find(struct items *items, const struct uuid *uuid)
{
	struct item *item;

	TAILQ_FOREACH(item, items, link)
	{
		if (!item->gone && uuid_equal(&item->uuid, uuid))
			return item;
	}
	return NULL;
}

bool item_waits(const struct items *items, const struct item *item)
{
	const struct item *other;

	TAILQ_FOREACH(other, items, link)
	{
		if (other->gone && other != item && uuid_equal(&other->uuid, &item->uuid))
			return true;
	}
	return false;
}

/* By the transaction that is applied now, which settles next. */
static void item_changed(struct item *item)
{
	item->changed_by = item->target->started ? item->target->settlings + 1 : 0;
}

/* One whose deletion is undone before a step was taken is the same item; later it is another, which waits. */
struct item *item_apply(struct target *target, struct items *items, size_t bytes, struct object *new)
{
	struct item *item = new->runtime;

	if (!item)
		item = item_find(items, &new->uuid);
	if (!item) {
		item = nvmf_alloc(bytes);
		item->target = target;
		item->uuid = new->uuid;
		TAILQ_INSERT_TAIL(items, item, link);
	}
	item->object = new;
	item_changed(item);
	new->runtime = item;
	return item;
}

void item_remove(struct items *items, struct object *object)
{
	struct item *item = item_find(items, &object->uuid);

	if (!item)
		return;
	item->object = NULL;
	item_changed(item);
}

void item_free(struct items *items, struct item *item)
{
	TAILQ_REMOVE(items, item, link);
	free(item);
}

/* ---- steps ---- */

static void sources_check(struct target *target)
{
	if (--target->under_way == 0)
		target->stop_done(target->stopped_arg);
}

static void source_gone(void *arg)
{
	struct target_group *group = arg;

	group->ready = false;
	sources_check(group->target);
}

/* All is out of the workers but their timers. */
static void stop_check(struct target *target)
{
	void (*stopped)(void *arg) = target->stopped;

	if (!target->stopping || !stopped || target->under_way > 0 || target->handshake_count > 0)
		return;
	struct item *item;
	TAILQ_FOREACH(item, &target->subsystems, link)
	{
		if (((struct subsystem *)item)->nvme)
			return;
	}
	TAILQ_FOREACH(item, &target->namespaces, link)
	{
		struct namespace *ns = (struct namespace *)item;

		if (ns->attachment || ns->detaching || ns->added)
			return;
	}
	target->stopped = NULL;
	target->under_way = 1;
	for (unsigned i = 0; i < target->nvmf->workers; i++) {
		struct target_group *group = &target->groups[i];

		if (!group->ready)
			continue;
		target->under_way++;
		worker_remove_source(group->nvmf->worker, &group->source, source_gone, group);
	}
	target->stop_done = stopped;
	sources_check(target);
}

static bool settled(const struct target *target, const struct settler *settler)
{
	const struct item *item;

	TAILQ_FOREACH(item, &target->namespaces, link)
	{
		if (item->changed_by == settler->number &&
		    (item->draining > 0 || namespace_is_soon((const struct namespace *)item)))
			return false;
	}
	TAILQ_FOREACH(item, &target->subsystems, link)
	{
		if (item->changed_by == settler->number && item->draining > 0)
			return false;
	}
	return true;
}

static struct settler *first_settled(const struct target *target)
{
	struct settler *settler;

	TAILQ_FOREACH(settler, &target->settlers, link)
	{
		if (settled(target, settler))
			return settler;
	}
	return NULL;
}

static void settlers_answer(struct target *target)
{
	struct settler *settler;

	while (target->under_way == 0 && (settler = first_settled(target)) != NULL) {
		TAILQ_REMOVE(&target->settlers, settler, link);
		settler->done(settler->arg);
		free(settler);
	}
}

static void on_watch(void *ctx);

/* Once in a while, as long as something is waited for. */
static void watch(struct target *target)
{
	struct item *item;
	bool waits = false;

	TAILQ_FOREACH(item, &target->namespaces, link)
	waits |= namespace_check((struct namespace *)item);
	if (target->stopping || !waits) {
		loop_timer_remove(target->watch);
		target->watch = NULL;
	} else if (!target->watch && loop_timer_add(target->nvmf->dpu->loop, WATCH_S * CLOCK_NS_PER_S,
						    WATCH_S * CLOCK_NS_PER_S, on_watch, target, &target->watch) != 0) {
		abort(); /* out of memory */
	}
}

static void on_watch(void *ctx)
{
	target_step_soon(ctx);
}

void target_step(struct target *target)
{
	struct item *item, *next;

	if (!target->started)
		return;
	for (item = TAILQ_FIRST(&target->namespaces); item; item = next) {
		next = TAILQ_NEXT(item, link);
		namespace_step((struct namespace *)item);
	}
	for (item = TAILQ_FIRST(&target->listeners); item; item = next) {
		next = TAILQ_NEXT(item, link);
		listener_step((struct listener *)item);
	}
	for (item = TAILQ_FIRST(&target->subsystems); item; item = next) {
		next = TAILQ_NEXT(item, link);
		subsystem_step((struct subsystem *)item);
	}
	struct items *plain[] = { &target->hosts, &target->referrals };
	for (unsigned i = 0; i < 2; i++) {
		for (item = TAILQ_FIRST(plain[i]); item; item = next) {
			next = TAILQ_NEXT(item, link);
			if (!item->object)
				item_free(plain[i], item);
		}
	}
	watch(target);
	if (!target->stopping)
		discovery_update(target);
	settlers_answer(target);
	stop_check(target);
}

static void step_now(void *arg)
{
	struct target *target = arg;

	target->step_posted = false;
	target_step(target);
}

void target_step_soon(struct target *target)
{
	if (target->step_posted)
		return;
	target->step_posted = true;
	nvmf_post(target->nvmf, step_now, target);
}

void step_begin(struct target *target)
{
	target->under_way++;
}

void step_end(struct target *target)
{
	target->under_way--;
	target_step_soon(target);
}

void item_drain_begin(struct item *item)
{
	item->draining++;
}

void item_drain_end(struct item *item)
{
	item->draining--;
	target_step_soon(item->target);
}

void target_settle(struct target *target, void (*done)(void *arg), void *arg)
{
	struct settler *settler = nvmf_alloc(sizeof(*settler));

	settler->number = ++target->settlings;
	settler->done = done;
	settler->arg = arg;
	TAILQ_INSERT_TAIL(&target->settlers, settler, link);
	target_step(target);
	if (!target->started)
		settlers_answer(target);
}

/* ---- life ---- */

struct target *target_new(struct nvmf *nvmf)
{
	struct target *target = nvmf_alloc(sizeof(*target));

	target->nvmf = nvmf;
	target->groups = nvmf_alloc(nvmf->workers * sizeof(*target->groups));
	TAILQ_INIT(&target->subsystems);
	TAILQ_INIT(&target->namespaces);
	TAILQ_INIT(&target->listeners);
	TAILQ_INIT(&target->hosts);
	TAILQ_INIT(&target->referrals);
	TAILQ_INIT(&target->handshakes);
	TAILQ_INIT(&target->settlers);
	for (unsigned i = 0; i < nvmf->workers; i++) {
		target->groups[i].target = target;
		LIST_INIT(&target->groups[i].subsystems);
		LIST_INIT(&target->groups[i].draining);
		LIST_INIT(&target->groups[i].tenants);
	}
	snprintf(target->reservation_dir, sizeof(target->reservation_dir), "%s/nvmf-reservations",
		 nvmf->dpu->store_dir ? nvmf->dpu->store_dir : "");
	target->discovery = subsystem_new_discovery(target);
	return target;
}

int target_start(struct target *target, struct dpu_error *err)
{
	if (helpers_new(target->nvmf->dpu->loop, 1, &target->helpers) != 0)
		return error_set(err, DPU_E_LIMIT, NULL, "no thread for the NVMe target");
	target->started = true;
	target->started_ns = clock_ns();
	reservation_files_tidy(target);
	target_step(target);
	return 0;
}

void target_stop(struct target *target, void (*done)(void *arg), void *arg)
{
	target->stopping = true;
	target->stopped = done;
	target->stopped_arg = arg;
	if (!target->started) {
		target->stopped = NULL;
		done(arg);
		return;
	}
	handshakes_end(target, NULL);
	target_step(target);
}

static void items_free(struct items *items)
{
	struct item *item;

	while ((item = TAILQ_FIRST(items)) != NULL)
		item_free(items, item);
}

void target_free(struct target *target)
{
	struct item *item;

	TAILQ_FOREACH(item, &target->subsystems, link)
	free(((struct subsystem *)item)->config);
	TAILQ_FOREACH(item, &target->namespaces, link)
	free(((struct namespace *)item)->image);
	items_free(&target->subsystems);
	items_free(&target->namespaces);
	items_free(&target->listeners);
	items_free(&target->hosts);
	items_free(&target->referrals);
	discovery_free(target);
	if (target->helpers)
		helpers_free(target->helpers);
	for (unsigned i = 0; i < target->nvmf->workers; i++)
		nvme_pool_free(target->groups[i].pool);
	free(target->groups);
	free(target);
}
