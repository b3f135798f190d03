/* SPDX-License-Identifier: BSD-3-Clause */
/* Events: who wants them, and handing them out. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "model/model_priv.h"

struct subscription {
	struct model *model;
	struct class_state *class; /* NULL: all */
	void (*fn)(void *arg, const struct event *event);
	void *arg;
	bool ended; /* freed once no event is being handed out */
	LIST_ENTRY(subscription) link;
};

int model_subscribe(struct model *model, const char *class_name, void (*fn)(void *arg, const struct event *event),
		    void *arg, struct subscription **ret)
{
	struct class_state *state = class_name ? model_class_state(model, class_name) : NULL;

	if (class_name && !state)
		return -ENOENT;
	struct subscription *subscription = calloc(1, sizeof(*subscription));
	if (!subscription)
		return -ENOMEM;
	subscription->model = model;
	subscription->class = state;
	subscription->fn = fn;
	subscription->arg = arg;
	LIST_INSERT_HEAD(&model->subscriptions, subscription, link);
	*ret = subscription;
	return 0;
}

static void sweep(struct model *model)
{
	struct subscription *subscription, *next;

	for (subscription = LIST_FIRST(&model->subscriptions); subscription; subscription = next) {
		next = LIST_NEXT(subscription, link);
		if (subscription->ended) {
			LIST_REMOVE(subscription, link);
			free(subscription);
		}
	}
}

void model_unsubscribe(struct subscription *subscription)
{
	if (!subscription)
		return;
	subscription->ended = true;
	if (subscription->model->event_depth == 0)
		sweep(subscription->model);
}

static void emit(struct model *model, struct event *event)
{
	const struct class_state *state = event->object ? event->object->node->class : NULL;
	struct subscription *subscription;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	event->sequence = ++model->event_sequence;
	event->time_ns = (uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
	model->event_depth++;
	LIST_FOREACH(subscription, &model->subscriptions, link)
	{
		if (!subscription->ended && (!subscription->class || subscription->class == state))
			subscription->fn(subscription->arg, event);
	}
	if (--model->event_depth == 0)
		sweep(model);
}

void stage_emit(struct stage *stage, json_t *diff)
{
	/* Without listeners only the numbers go on. */
	if (LIST_EMPTY(&stage->model->subscriptions)) {
		stage->model->event_sequence += stage->count;
		return;
	}
	for (size_t i = 0; i < stage->count; i++) {
		const struct member *member = stage->order[i];
		json_t *detail = diff ? json_incref(json_array_get(diff, i)) : member_diff(member);
		struct event event = {
			.kind = !member->old  ? EVENT_CREATED
				: member->new ? EVENT_CHANGED
					      : EVENT_DELETED,
			.object = member->new ? member->new : member->old,
			.detail = detail,
		};
		emit(stage->model, &event);
		json_decref(detail);
	}
}

void model_notice(struct model *model, const struct object *object, const char *name, json_t *detail)
{
	struct event event = { .kind = EVENT_NOTICE, .object = object, .name = name, .detail = detail };

	emit(model, &event);
	json_decref(detail);
}

void subscriptions_free(struct model *model)
{
	struct subscription *subscription;

	while ((subscription = LIST_FIRST(&model->subscriptions))) {
		LIST_REMOVE(subscription, link);
		free(subscription);
	}
}

json_t *event_json(const struct event *event)
{
	static const char *const kinds[] = { "created", "changed", "deleted", "notice" };
	time_t seconds = (time_t)(event->time_ns / CLOCK_NS_PER_S);
	const struct object *object = event->object;
	json_t *json = json_object();
	char date[32], text[48];
	struct tm utc;

	gmtime_r(&seconds, &utc);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(text, sizeof(text), "%s.%06uZ", date, (unsigned)(event->time_ns % CLOCK_NS_PER_S / 1000));
	json_object_set_new(json, "sequence", json_integer((json_int_t)event->sequence));
	json_object_set_new(json, "time", json_string(text));
	json_object_set_new(json, "kind", json_string(kinds[event->kind]));
	if (object) {
		json_object_set_new(json, "class", json_string(object->class->name));
		if (object->tenant)
			json_object_set_new(json, "tenant", json_string(object->tenant->name));
		json_object_set_new(json, "name", json_string(object->name));
	}
	if (event->name)
		json_object_set_new(json, "notice", json_string(event->name));
	json_object_set(json, "detail", event->detail ? event->detail : json_null());
	return json;
}
