// SPDX-License-Identifier: BSD-3-Clause
/* Namespaces: attached to a volume, snapshot or medium in control, shown to hosts in the home of their subsystem. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "service/nvmf/target/target_priv.h"

static struct nvmf *nvmf_for(const struct namespace *ns)
{
	return ns->item.target->nvmf;
}

/* ---- the device ---- */

static void device_changed(void *ctx)
{
	nvme_namespace_resized(ctx);
}

static void give(void *arg, struct worker *worker)
{
	struct namespace *ns = arg;

	(void)worker;
	ns->device->changed_ctx = ns->nvme;
	ns->device->changed = device_changed;
	nvme_namespace_attach(ns->nvme, ns->device, ns->allocated);
}

/* It stays until control has heard of the last: that may come after word of its removal. */
static void tell(struct namespace *ns, void (*fn)(void *arg, struct worker *worker), void (*done)(void *arg))
{
	ns->told++;
	step_begin(ns->item.target);
	nvmf_call(ns->subsystem->home, fn, ns, done);
}

static void told(void *arg)
{
	struct namespace *ns = arg;

	ns->told--;
	step_end(ns->item.target);
}

static void given(void *arg)
{
	((struct namespace *)arg)->seen = true;
	told(arg);
}

static void released_control(void *arg)
{
	struct namespace *ns = arg;

	ns->device = NULL;
	ns->given = false;
	block_released(ns->attachment);
	item_drain_end(&ns->item);
}

static void released_worker(void *arg)
{
	struct namespace *ns = arg;

	nvmf_post(nvmf_for(ns), released_control, ns);
}

static void release(void *arg, struct worker *worker)
{
	struct namespace *ns = arg;

	(void)worker;
	ns->device->changed = NULL;
	nvme_namespace_release(ns->nvme, released_worker, ns);
}

static void give_up(void *arg, struct worker *worker)
{
	struct namespace *ns = arg;

	(void)worker;
	nvme_namespace_cancel(ns->nvme);
}

static void lose(void *arg, struct worker *worker)
{
	struct namespace *ns = arg;

	(void)worker;
	nvme_namespace_lost(ns->nvme, ns->lost_bytes);
}

static bool waits(const struct namespace *ns)
{
	return ns->item.object && ns->attachment && !ns->detaching && !ns->device && !ns->failed && !ns->lost;
}

/* Whether a device may still come to a namespace of this subsystem: its home is to be where that one is. */
static bool more_to_come(const struct subsystem *subsystem)
{
	const struct item *item;
	uint64_t bytes;

	TAILQ_FOREACH(item, &subsystem->item.target->namespaces, link)
	{
		const struct namespace *ns = (const struct namespace *)item;

		if (ns->subsystem == subsystem && waits(ns) &&
		    !block_has_failed(namespace_backing((const struct namespace_object *)item->object), &bytes))
			return true;
	}
	return false;
}

bool namespace_is_soon(const struct namespace *ns)
{
	return waits(ns) && block_is_soon(namespace_backing((const struct namespace_object *)ns->item.object));
}

bool namespace_check(struct namespace *ns)
{
	if (!waits(ns) || !ns->subsystem)
		return false;
	if (!block_has_failed(namespace_backing((const struct namespace_object *)ns->item.object), &ns->lost_bytes))
		return true;
	if (!ns->subsystem->nvme && !more_to_come(ns->subsystem))
		subsystem_settle(ns->subsystem, NULL);
	if (!ns->added || ns->removing)
		return true;
	ns->lost = true;
	tell(ns, lose, told);
	return false;
}

static void device_came(struct namespace *ns, struct dpu_block_device *device, struct worker *worker)
{
	ns->device = device;
	ns->allocated = block_allocated(namespace_backing((const struct namespace_object *)ns->item.object));
	if (subsystem_settle(ns->subsystem, worker))
		ns->misplaced = worker != ns->subsystem->home;
	target_step_soon(ns->item.target);
}

/* The block service's: a device comes or goes. */
static void on_device(void *ctx, struct dpu_block_device *device, struct worker *worker)
{
	struct namespace *ns = ctx;

	if (device) {
		device_came(ns, device, worker);
	} else if (ns->given) {
		item_drain_begin(&ns->item);
		nvmf_call(ns->subsystem->home, release, ns, NULL);
	} else {
		ns->device = NULL;
		block_released(ns->attachment);
	}
}

/* ---- attaching ---- */

const struct object *namespace_backing(const struct namespace_object *object)
{
	if (object->volume.object)
		return object->volume.object;
	return object->snapshot.object ? object->snapshot.object : object->medium.object;
}

static void attach(struct namespace *ns)
{
	const struct namespace_object *object = (const struct namespace_object *)ns->item.object;
	struct block *block = block_of(nvmf_for(ns)->dpu);

	ns->attachment = block_attach(block, namespace_backing(object),
				      &(struct block_user){ .device = on_device,
							    .ctx = ns,
							    .worker = ns->subsystem->home,
							    .object = &object->base,
							    .policy = object->qos.object });
}

void namespace_policy(struct namespace *ns)
{
	if (ns->attachment && !ns->detaching)
		block_set_policy(ns->attachment, ((const struct namespace_object *)ns->item.object)->qos.object);
}

static void detached(void *arg)
{
	struct namespace *ns = arg;

	ns->attachment = NULL;
	ns->detaching = ns->misplaced = false;
	ns->device = NULL;
	item_drain_end(&ns->item);
}

static void detach(struct namespace *ns)
{
	ns->detaching = true;
	item_drain_begin(&ns->item);
	block_detach(ns->attachment, detached, ns);
}

void namespace_let_go(struct namespace *ns)
{
	if (ns->attachment && !ns->detaching)
		detach(ns);
}

/* ---- in the subsystem ---- */

static void add(void *arg, struct worker *worker)
{
	struct namespace *ns = arg;

	(void)worker;
	int rc = nvme_namespace_add(ns->subsystem->nvme, &ns->options, &ns->nvme);
	if (rc != 0)
		ns->nvme = NULL;
}

static void added(void *arg)
{
	struct namespace *ns = arg;

	ns->adding = false;
	ns->added = ns->nvme;
	if (!ns->nvme) {
		ns->failed = true;
		snprintf(ns->why, sizeof(ns->why), "the subsystem has no memory for it");
	}
	step_end(ns->item.target);
}

/* Another one that is on its way out has its number until the last request in it has ended. */
bool namespace_waits_for_nsid(const struct namespace *ns)
{
	const struct namespace_object *object = (const struct namespace_object *)ns->item.object;
	const struct item *item;

	TAILQ_FOREACH(item, &ns->item.target->namespaces, link)
	{
		const struct namespace *other = (const struct namespace *)item;

		if (other != ns && other->subsystem == ns->subsystem && (other->adding || other->added) &&
		    other->options.nsid == object->nsid)
			return true;
	}
	return false;
}

/* Hosts would meet a namespace that has forgotten who may write to it. */
static void reservations_fail(struct namespace *ns)
{
	const struct object *object = ns->item.object;
	size_t length = strlen(ns->why);

	ns->failed = true;
	snprintf(ns->why + length, sizeof(ns->why) - length,
		 "; put a good copy there, or move it away and lose the reservations, then: dpuctl nvmf_namespace "
		 "retry %s/%s",
		 object->tenant->name, object->name);
	log_error("nvmf", "a namespace is kept from hosts", "namespace=%s/%s why=\"%s\"", object->tenant->name,
		  object->name, ns->why);
}

static void add_begin(struct namespace *ns)
{
	const struct namespace_object *object = (const struct namespace_object *)ns->item.object;
	free(ns->image);
	ns->image = NULL;
	if (!reservation_file_read(ns->item.target, &ns->item.uuid, &ns->image, &ns->image_bytes, ns->why,
				   sizeof(ns->why))) {
		reservations_fail(ns);
		return;
	}
	ns->options = (struct nvme_namespace_options){
		.nsid = object->nsid,
		.ana_group = object->ana_group,
		.block_bytes = object->block_size,
		.ctx = ns,
		.image = ns->image,
		.image_bytes = ns->image_bytes,
	};
	memcpy(ns->options.uuid, &ns->item.uuid, sizeof(ns->options.uuid));
	ns->adding = true;
	step_begin(ns->item.target);
	nvmf_call(ns->subsystem->home, add, ns, added);
}

static void removed_control(void *arg)
{
	struct namespace *ns = arg;

	ns->added = ns->removing = false;
	ns->nvme = NULL;
	item_drain_end(&ns->item);
}

static void removed_worker(void *arg)
{
	struct namespace *ns = arg;

	nvmf_post(nvmf_for(ns), removed_control, ns);
}

static void remove_begin(void *arg, struct worker *worker)
{
	struct namespace *ns = arg;

	(void)worker;
	nvme_namespace_remove(ns->nvme, removed_worker, ns);
}

static void take_down(struct namespace *ns)
{
	struct target *target = ns->item.target;

	ns->item.gone = true;
	namespace_let_go(ns);
	if (ns->given && !ns->item.object && !ns->given_up) { /* deleted: hosts have no use for what is under way */
		ns->given_up = true;
		tell(ns, give_up, told);
	}
	if (ns->attachment || ns->detaching || ns->adding || ns->told > 0)
		return;
	if (ns->added && !ns->removing) {
		ns->removing = true;
		item_drain_begin(&ns->item);
		nvmf_call(ns->subsystem->home, remove_begin, ns, NULL);
	}
	if (ns->added)
		return;
	if (ns->subsystem) {
		ns->subsystem->namespaces--;
		ns->subsystem = NULL;
		target_step_soon(target);
	}
	if (target->stopping)
		return;
	if (!item_find(&target->namespaces, &ns->item.uuid))
		reservation_file_delete(target, &ns->item.uuid);
	free(ns->image);
	item_free(&target->namespaces, &ns->item);
}

void namespace_step(struct namespace *ns)
{
	struct target *target = ns->item.target;
	const struct namespace_object *object = (const struct namespace_object *)ns->item.object;

	if (item_waits(&target->namespaces, &ns->item))
		return;
	if (target->stopping || !object) {
		take_down(ns);
		return;
	}
	if (!ns->subsystem) {
		ns->subsystem = (struct subsystem *)item_find(&target->subsystems, &object->subsystem.object->uuid);
		ns->subsystem->namespaces++;
	}
	if (ns->misplaced)
		namespace_let_go(ns);
	else if (!ns->attachment && !ns->detaching)
		attach(ns);
	if (!ns->subsystem->nvme || ns->failed)
		return;
	if (!ns->added && !ns->adding && !namespace_waits_for_nsid(ns))
		add_begin(ns);
	if (ns->added && ns->device && !ns->given && !ns->misplaced && !ns->detaching) {
		ns->given = true;
		ns->lost = false;
		tell(ns, give, given);
	}
}
