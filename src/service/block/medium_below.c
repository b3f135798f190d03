// SPDX-License-Identifier: BSD-3-Clause
/* What a medium that is a filter sits on: it is a user of that like a pool, on its own worker, from before it is opened
 * until it has closed. */
#include <stdio.h>
#include <stdlib.h>
#include "service/block/block_priv.h"

const struct object *medium_below(const struct object *object)
{
	const struct medium_object *medium = (const struct medium_object *)object;

	return medium->below.object ? medium->below.object : medium->below_remote.object;
}

bool block_medium_read_only(const struct object *object)
{
	while (object && object->class == &medium_class) {
		if (((const struct medium_object *)object)->read_only)
			return true;
		object = medium_below(object);
	}
	return false;
}

bool medium_keeps_nothing(const struct object *object)
{
	while (medium_below(object) && medium_below(object)->class == &medium_class)
		object = medium_below(object);
	return ((const struct medium_object *)object)->kind == MEDIUM_NULL;
}

bool medium_is_memory(const struct medium_object *object)
{
	return object->kind == MEDIUM_RAM || object->kind == MEDIUM_NULL;
}

/* Its size is the worker's to look at, and a module is opened elsewhere. It may have gone again when the answer comes.
 */
struct look {
	struct medium_below *below;
	struct dpu_block_device *device, seen;
};

static void look(void *arg, struct worker *worker)
{
	struct look *look = arg;

	(void)worker;
	look->seen = *look->device;
}

static struct medium *of_below(struct medium_below *below)
{
	return (struct medium *)((uint8_t *)below - offsetof(struct medium, below));
}

static void looked(void *arg)
{
	struct look *look = arg;
	struct medium_below *below = look->below;

	if (below->given == look->device) {
		below->seen = look->seen;
		below->device = below->given;
	}
	free(look);
	medium_step(of_below(below));
}

static void device_given(void *ctx, struct dpu_block_device *device, struct worker *worker)
{
	struct medium *medium = ctx;
	struct medium_below *below = &medium->below;

	if (device) {
		struct look *job = block_alloc(sizeof(*job));

		*job = (struct look){ .below = below, .device = device };
		below->given = device;
		block_call(worker, look, job, looked);
		return;
	}
	below->asked = true;
	if (below->detaching)
		medium_below_release(medium);
	else
		medium_step(medium);
}

void medium_below_attach(struct medium *medium)
{
	const struct object *object = medium_below(medium->subject.object);
	struct block_user user = { .device = device_given, .ctx = medium, .worker = medium->worker };

	medium->below.worker = medium->worker;
	medium->below.backing = object->runtime;
	medium->below.attachment = block_attach(medium->subject.block, object, &user);
}

static void detached(void *arg)
{
	struct medium *medium = arg;

	medium->below.attachment = NULL;
	medium->below.backing = NULL;
	medium->below.detaching = false;
	if (!medium->below.stepping)
		medium_step(medium);
}

bool medium_below_detach(struct medium *medium)
{
	struct medium_below *below = &medium->below;

	if (!below->attachment)
		return true;
	if (below->detaching)
		return false;
	below->detaching = below->stepping = true;
	block_detach(below->attachment, detached, medium);
	below->stepping = false;
	return !below->attachment;
}

void medium_below_release(struct medium *medium)
{
	medium->below.device = medium->below.given = NULL;
	medium->below.asked = false;
	block_released(medium->below.attachment);
}

void medium_below_why(const struct medium *medium, char *why, size_t why_bytes)
{
	const struct block_backing *backing = medium->below.backing;

	snprintf(why, why_bytes, "%.60s, which it sits on: %.180s", backing->name,
		 backing->device ? "it is on its way" : backing->why_not);
}
