// SPDX-License-Identifier: BSD-3-Clause
/* Backings and who uses them. Each attachment has a view of its own: a device that passes requests on and has its own
 * `changed`, because several front ends may use one volume.
 *
 * An attachment goes IDLE → ADDING (its view is on the way to the worker) → UP (the user has the device) → ASKED (the
 * user has been asked to give it back) → REMOVING (the view is on the way back) → IDLE. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "service/block/block_priv.h"
#include "service/block/handoff/block_handoff.h"
#include "service/block/image/image.h"

enum attachment_state { IDLE, ADDING, UP, ASKED, REMOVING };

struct view {
	struct dpu_block_device device; /* first */
	struct dpu_block_device *below;
	struct block_views *views;
	bool limited, hurry;
	LIST_ENTRY(view) link;
	char name[OBJECT_NAME_MAX + 1];
};

/* The worker's. */
struct block_views {
	LIST_HEAD(, view) list;
	struct dpu_block_device *device;
	struct block_backing *backing;
};

struct block_attachment {
	struct block_backing *backing;
	struct block_user user;
	enum attachment_state state;
	struct view *view;
	struct block_handoff *handoff; /* NULL: the user is where the device is */
	struct block_limit limit;
	bool ending;
	bool renewing; /* the device is asked back only to be given again */
	void (*done)(void *arg);
	void *arg;
	TAILQ_ENTRY(block_attachment) link;
};

/* ---- views, in the worker ---- */

static void view_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	const struct view *view = (const struct view *)device;

	if (view->limited)
		qos_submit(view->below, request, view, view->hurry);
	else
		view->below->ops->submit(view->below, request);
}

static void view_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct dpu_block_device *below = ((const struct view *)device)->below;

	if (below->ops->cancel)
		below->ops->cancel(below, request);
}

/* It has nothing of its own; who closes has waited for what it has submitted. */
static void view_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	(void)device;
	done(arg);
}

static const struct dpu_block_ops view_ops = { .submit = view_submit, .close = view_close, .cancel = view_cancel };

static void view_measure(struct view *view)
{
	view->device.bytes = view->below->bytes;
	view->device.features = view->below->features;
}

static void views_changed(void *ctx)
{
	struct block_views *views = ctx;
	struct view *view;

	LIST_FOREACH(view, &views->list, link)
	{
		view_measure(view);
		if (view->device.changed)
			view->device.changed(view->device.changed_ctx);
	}
}

static void views_install(void *arg, struct worker *worker)
{
	struct block_views *views = arg;

	(void)worker;
	views->device->changed_ctx = views;
	views->device->changed = views_changed;
}

static void views_uninstall(void *arg, struct worker *worker)
{
	struct block_views *views = arg;

	(void)worker;
	views->device->changed = NULL;
}

static void view_add(void *arg, struct worker *worker)
{
	struct block_attachment *attachment = arg;
	struct view *view = attachment->view;
	struct dpu_block_device *top = &view->device;

	(void)worker;
	view->device = *view->below;
	view->device.ops = &view_ops;
	view->device.name = view->name;
	view->device.changed = NULL;
	LIST_INSERT_HEAD(&view->views->list, view, link);
	if (attachment->limit.up)
		top = limit_open(&attachment->limit, top);
	if (attachment->handoff)
		block_handoff_bind(attachment->handoff, top);
}

/* On its way to the worker. */
struct hurry {
	struct dpu_block_device *filter;
	struct view *view; /* its user, if it has several */
	bool on;
};

static void filter_hurry(void *arg, struct worker *worker)
{
	const struct hurry *hurry = arg;

	(void)worker;
	if (hurry->view)
		hurry->view->hurry = hurry->on;
	qos_hurry(hurry->filter, hurry->view, hurry->on);
}

static void view_remove(void *arg, struct worker *worker)
{
	struct block_attachment *attachment = arg;

	(void)worker;
	if (attachment->limit.up)
		limit_close(&attachment->limit);
	attachment->view->device.changed = NULL;
	LIST_REMOVE(attachment->view, link);
}

/* ---- attachments ---- */

static void backing_down_check(struct block_backing *backing);

static bool must_go(const struct block_attachment *attachment)
{
	return attachment->ending || attachment->renewing || attachment->backing->going || !attachment->backing->device;
}

static void attachment_next(struct block_attachment *attachment);

bool attachment_is_next(const struct block_attachment *attachment)
{
	const struct block_backing *backing = attachment->backing;

	return !backing->one_user || TAILQ_FIRST(&backing->attachments) == attachment;
}

static void attachment_end(struct block_attachment *attachment)
{
	struct block_backing *backing = attachment->backing;
	void (*done)(void *arg) = attachment->done;
	void *arg = attachment->arg;
	struct block_attachment *successor = TAILQ_NEXT(attachment, link);

	TAILQ_REMOVE(&backing->attachments, attachment, link);
	if (successor && !must_go(successor))
		attachment_next(successor);
	limit_fini(&attachment->limit);
	free(attachment);
	backing_down_check(backing);
	if (backing->left)
		backing->left(backing);
	if (done)
		done(arg);
}

static void view_free(void *arg)
{
	struct block_attachment *attachment = arg;

	attachment->handoff = NULL;
	free(attachment->view);
	attachment->view = NULL;
	attachment->state = IDLE;
	attachment->renewing = false;
	if (attachment->limit.up)
		limit_end(&attachment->limit);
	attachment_next(attachment);
}

/* The view tells nobody anything any more, so what it told may go. */
static void view_removed(void *arg)
{
	struct block_attachment *attachment = arg;

	if (attachment->handoff)
		block_handoff_free(attachment->handoff, view_free, attachment);
	else
		view_free(attachment);
}

static void view_take_back(struct block_attachment *attachment)
{
	attachment->state = REMOVING;
	attachment->limit.qos.filter = NULL;
	block_call(attachment->backing->worker, view_remove, attachment, view_removed);
}

static void view_added(void *arg)
{
	struct block_attachment *attachment = arg;
	const struct block_user *user = &attachment->user;

	if (must_go(attachment)) {
		view_take_back(attachment);
		return;
	}
	attachment->state = UP;
	if (attachment->limit.up)
		limit_opened(&attachment->limit);
	if (attachment->handoff)
		user->device(user->ctx, block_handoff_device(attachment->handoff), user->worker);
	else
		user->device(user->ctx, attachment->limit.up ? attachment->limit.made : &attachment->view->device,
			     attachment->backing->worker);
}

static void view_give(struct block_attachment *attachment)
{
	struct block_backing *backing = attachment->backing;
	const struct block_user *user = &attachment->user;
	struct view *view = block_alloc(sizeof(*view));

	view->below = backing->device;
	view->views = backing->views;
	view->limited = backing->limited;
	snprintf(view->name, sizeof(view->name), "%s", backing->name);
	attachment->view = view;
	attachment->state = ADDING;
	if (limit_wanted(&attachment->limit))
		limit_begin(&attachment->limit, backing, backing->worker);
	if (user->worker && user->worker != backing->worker &&
	    block_handoff_new(backing->worker, user->worker, &attachment->handoff) != 0)
		abort(); /* out of memory */
	block_call(backing->worker, view_add, attachment, view_added);
}

static void hurry(struct block_attachment *attachment, bool on)
{
	struct dpu_block_device *own = attachment->limit.qos.filter;
	struct view *view = attachment->view;

	if (!own && !view->limited)
		return;
	struct hurry *call = block_alloc(sizeof(*call));
	*call = own ? (struct hurry){ own, NULL, on } : (struct hurry){ view->below, view, on };
	block_call(attachment->backing->worker, filter_hurry, call, free);
}

void block_hurry(struct block_attachment *attachment, bool on)
{
	if (attachment->state == UP) /* who has been asked stays in a hurry */
		hurry(attachment, on);
}

/* One step further. May free it. */
static void attachment_next(struct block_attachment *attachment)
{
	bool go = must_go(attachment);

	if (attachment->state == UP && go) {
		attachment->state = ASKED;
		hurry(attachment, true);
		attachment->user.device(attachment->user.ctx, NULL, NULL);
	} else if (attachment->state == IDLE && attachment->ending) {
		attachment_end(attachment);
	} else if (attachment->state == IDLE && go) {
		backing_down_check(attachment->backing);
	} else if (attachment->state == IDLE && attachment_is_next(attachment)) {
		view_give(attachment);
	}
}

static void attachment_begin(void *arg)
{
	attachment_next(arg);
}

struct block_attachment *block_attach(struct block *block, const struct object *object, const struct block_user *user)
{
	struct block_backing *backing = object->runtime;
	struct block_attachment *attachment = block_alloc(sizeof(*attachment));

	attachment->backing = backing;
	attachment->user = *user;
	limit_init(&attachment->limit, block, object, user);
	TAILQ_INSERT_TAIL(&backing->attachments, attachment, link);
	if (user->worker && backing->wanted)
		backing->wanted(backing, user->worker);
	/* view_give() goes through the worker, so that the user is not called before it has the attachment. */
	if (!must_go(attachment))
		attachment_begin(attachment);
	return attachment;
}

void block_released(struct block_attachment *attachment)
{
	assert(attachment->state == ASKED);
	view_take_back(attachment);
}

const struct block_limit *attachment_limit(const struct block_attachment *attachment)
{
	return &attachment->limit;
}

void attachment_renew(struct block_limit *limit)
{
	struct block_attachment *attachment =
		(struct block_attachment *)((uint8_t *)limit - offsetof(struct block_attachment, limit));

	if (attachment->state == IDLE)
		return; /* it will be as it should when a device comes */
	attachment->renewing = true;
	attachment_next(attachment);
}

void block_set_policy(struct block_attachment *attachment, const struct object *policy)
{
	struct block_limit *limit = &attachment->limit;

	if (!limit->qos.block)
		return;
	limit->has_policy = policy;
	if (policy)
		limit->policy = policy->uuid;
	limit->qos.block->policies_changed = true;
}

void block_leaving(const struct block_attachment *attachment)
{
	struct block_backing *backing = attachment->backing;

	if (backing->leaving)
		backing->leaving(backing);
}

void block_detach(struct block_attachment *attachment, void (*done)(void *arg), void *arg)
{
	assert(!attachment->ending);
	attachment->ending = true;
	attachment->done = done;
	attachment->arg = arg;
	block_leaving(attachment);
	attachment_next(attachment);
}

/* ---- backings ---- */

bool block_backing_used(const struct block_backing *backing)
{
	const struct block_attachment *attachment;

	TAILQ_FOREACH(attachment, &backing->attachments, link)
	{
		if (attachment->state != IDLE)
			return true;
	}
	return false;
}

unsigned block_backing_users(const struct block_backing *backing)
{
	const struct block_attachment *attachment;
	unsigned count = 0;

	TAILQ_FOREACH(attachment, &backing->attachments, link)
	count++;
	return count;
}

void block_backing_init(struct block_backing *backing, struct block *block, const char *name, const char *why_not)
{
	backing->block = block;
	backing->name = block_text(name);
	snprintf(backing->why_not, sizeof(backing->why_not), "%s", why_not);
	TAILQ_INIT(&backing->attachments);
	backing->views = block_alloc(sizeof(*backing->views));
	backing->views->backing = backing;
}

void block_backing_rename(struct block_backing *backing, const char *name)
{
	free(backing->name);
	backing->name = block_text(name);
}

void block_backing_fini(struct block_backing *backing)
{
	assert(!backing->device && TAILQ_EMPTY(&backing->attachments));
	free(backing->views);
	free(backing->name);
}

/* Pools and filters may have waited for this one. A filter steps as often as there are some below it. */
static void waiting_step(struct block *block, const struct block_backing *backing)
{
	struct medium *medium, *next_medium;
	struct pool *pool, *next;

	for (medium = TAILQ_FIRST(&block->media); medium; medium = next_medium) {
		next_medium = TAILQ_NEXT(medium, link);
		if (medium->below.backing == backing)
			medium_step(medium);
	}
	for (pool = TAILQ_FIRST(&block->pools); pool; pool = next) {
		next = TAILQ_NEXT(pool, link);
		pool_step(pool);
	}
}

void block_backing_wait(struct block_backing *backing, const char *why_not, bool trying)
{
	bool news = backing->trying && !trying;

	if (why_not != backing->why_not)
		snprintf(backing->why_not, sizeof(backing->why_not), "%s", why_not);
	backing->trying = trying;
	if (news)
		waiting_step(backing->block, backing);
}

void block_backing_up(struct block_backing *backing, struct dpu_block_device *device, struct worker *worker)
{
	struct block_attachment *attachment;

	assert(!backing->device && !backing->going);
	backing->trying = false;
	backing->device = backing->views->device = device;
	backing->worker = worker;
	block_call(worker, views_install, backing->views, NULL);
	TAILQ_FOREACH(attachment, &backing->attachments, link)
	attachment_next(attachment); /* ends none: who is ending and idle has ended */
}

static void backing_is_down(void *arg)
{
	struct block_backing *backing = ((struct block_views *)arg)->backing;

	backing->device = NULL;
	backing->worker = NULL;
	backing->going = false;
	if (backing->down)
		backing->down(backing->down_arg);
}

static void backing_down_check(struct block_backing *backing)
{
	const struct block_attachment *attachment;

	if (!backing->going || backing->leaving_worker)
		return;
	TAILQ_FOREACH(attachment, &backing->attachments, link)
	{
		if (attachment->state != IDLE)
			return;
	}
	backing->leaving_worker = true;
	block_call(backing->worker, views_uninstall, backing->views, backing_is_down);
}

/* Whoever is asked may do as it likes to the list. */
static bool ask_one(struct block_backing *backing)
{
	struct block_attachment *attachment;

	TAILQ_FOREACH(attachment, &backing->attachments, link)
	{
		if (attachment->state != UP)
			continue;
		attachment_next(attachment);
		return true;
	}
	return false;
}

void block_backing_down(struct block_backing *backing, const char *why_not, void (*done)(void *arg), void *arg)
{
	assert(!backing->going);
	snprintf(backing->why_not, sizeof(backing->why_not), "%s", why_not);
	if (!backing->device) {
		if (done)
			done(arg);
		return;
	}
	backing->going = true;
	backing->leaving_worker = false;
	backing->down = done;
	backing->down_arg = arg;
	while (ask_one(backing))
		;
	backing_down_check(backing);
}

const char *block_why_not(const struct object *object)
{
	const struct block_backing *backing = object->runtime;

	if (backing->device && !backing->going)
		return NULL;
	return object->class == &volume_class || object->class == &snapshot_class ? volume_why(volume_of(object))
										  : backing->why_not;
}

bool block_is_soon(const struct object *object)
{
	const struct subject *subject =
		object->class == &medium_class ? &medium_of(object)->subject : &volume_of(object)->subject;

	return !block_why_not(object) || subject->noted || subject->ticket;
}

int block_check_attach(const struct object *object, const char *field, struct dpu_error *err)
{
	if (object->class != &volume_class || !object->runtime || !image_imports(volume_of(object)))
		return 0;
	return error_set(err, DPU_E_IN_USE, field, "an import fills volume %s: wait for its end, or cancel it",
			 object->name);
}

struct exclusive {
	const struct object *user, *other;
};

static int is_other(void *arg, struct object *object)
{
	struct exclusive *question = arg;

	if (uuid_equal(&object->uuid, &question->user->uuid))
		return 0;
	question->other = object;
	return 1;
}

int block_check_exclusive(struct block *block, const struct object *object, const struct object *user,
			  const char *field, struct dpu_error *err)
{
	struct exclusive question = { .user = user };
	char path[OBJECT_PATH_TEXT];

	model_each_referrer(block->dpu->model, object, NULL, is_other, &question);
	if (!question.other)
		return 0;
	return error_set(err, DPU_E_IN_USE, field, "%s is used by %s, and only one may write to it", object->name,
			 object_path(question.other, path, sizeof(path)));
}
