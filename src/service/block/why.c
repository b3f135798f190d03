// SPDX-License-Identifier: BSD-3-Clause
/* The rows of an answer to "why": the way of a request, step by step, and where the time of such requests goes. */
#include <stdarg.h>
#include <stdio.h>
#include "service/block/why.h"

void why_add(json_t *rows, const char *step, const char *object, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	json_array_append_new(rows, json_pack("{s:s, s:s, s:s}", "step", step, "object", object, "what", text));
}

static int add_user(void *arg, struct object *object)
{
	char path[OBJECT_PATH_TEXT];

	if (object->class != &snapshot_class && object->class != &volume_class)
		why_add(arg, "user", object_path(object, path, sizeof(path)), "submits requests");
	return 0;
}

void why_add_users(json_t *rows, const struct block *block, const struct object *object)
{
	model_each_referrer(block->dpu->model, object, NULL, add_user, rows);
}

static void add_policy(json_t *rows, const char *object, const struct qos_policy *policy)
{
	if (!policy->guarantee && !policy->guarantee_bytes && !policy->cap && !policy->cap_bytes) {
		why_add(rows, "qos", object, "nothing is guaranteed or limited, weight %u",
			policy->weight ? policy->weight : QOS_WEIGHT_DEFAULT);
		return;
	}
	why_add(rows, "qos", object,
		"guaranteed %llu/s and %llu bytes/s, at most %llu/s and %llu bytes/s (0: none), weight %u",
		(unsigned long long)policy->guarantee, (unsigned long long)policy->guarantee_bytes,
		(unsigned long long)policy->cap, (unsigned long long)policy->cap_bytes,
		policy->weight ? policy->weight : QOS_WEIGHT_DEFAULT);
}

void why_look(struct why_times *times, const struct block_qos *qos)
{
	qos_stats(qos->filter, &times->stats);
	times->slow_count = qos_slowest(qos->filter, times->slow);
	times->window = qos_window(qos->scheduler->qos);
}

void why_add_qos(json_t *rows, const struct why_times *times, const struct block_qos *qos, const struct object *user,
		 const struct object *policy)
{
	if (policy)
		add_policy(rows, policy->name, &qos->policy);
	if (qos->share)
		add_policy(rows, user->tenant->name, &qos->share->policy);
	why_add(rows, "qos", user->name,
		"%llu requests wait for their turn, %llu are under way; %llu of %llu went at once, %llu by a guarantee",
		(unsigned long long)times->stats.waiting, (unsigned long long)times->stats.under_way,
		(unsigned long long)times->stats.passed, (unsigned long long)times->stats.requests,
		(unsigned long long)times->stats.promised);
	if (times->window)
		why_add(rows, "qos", user->name,
			"what is not guaranteed may have %u under way on this worker while others are busy",
			times->window);
}

static void add_slowest(json_t *rows, const struct qos_slow *slow, const char *name)
{
	why_add(rows, "time", name,
		"the slowest of late took %.1f us, at offset %llu: %.1f us waiting, %.1f us in maps, %.1f us at the "
		"medium",
		(double)slow->ns[QOS_STAGE_WHOLE] / 1000, (unsigned long long)slow->offset,
		(double)slow->ns[QOS_STAGE_WAIT] / 1000, (double)slow->ns[QOS_STAGE_MAP] / 1000,
		(double)slow->ns[QOS_STAGE_MEDIUM] / 1000);
}

void why_add_times(json_t *rows, const struct why_times *times, const struct block_qos *qos, const char *name)
{
	for (unsigned i = 0; qos->filter && i < QOS_CLASSES; i++) {
		struct histogram histogram;
		uint64_t p99[QOS_STAGES];
		for (unsigned j = 0; j < QOS_STAGES; j++) {
			qos_latency(qos->filter, i, j, &histogram);
			p99[j] = histogram_quantile(&histogram, 990000);
		}
		if (p99[QOS_STAGE_WHOLE] == 0) /* there were none */
			continue;
		why_add(rows, "time", name,
			"%s: 99 of 100 within %.1f us whole, %.1f us waiting, %.1f us in maps, %.1f us at the medium",
			qos_class_names[i], (double)p99[QOS_STAGE_WHOLE] / 1000, (double)p99[QOS_STAGE_WAIT] / 1000,
			(double)p99[QOS_STAGE_MAP] / 1000, (double)p99[QOS_STAGE_MEDIUM] / 1000);
	}
	if (times->slow_count)
		add_slowest(rows, &times->slow[0], name);
}

/* ---- what it all sits on ---- */

/* An object of another service: what it says of itself. */
static void add_remote(json_t *rows, const struct block *block, const struct object *object)
{
	json_t *json = model_object_json(block->dpu->model, object, true);
	const char *state = json_string_value(json_object_get(json, "state"));
	size_t i;
	json_t *path;

	why_add(rows, "remote", object->name, "%s, %lld paths live, served by worker %lld", state ? state : "",
		(long long)json_integer_value(json_object_get(json, "live_paths")),
		(long long)json_integer_value(json_object_get(json, "served_by")));
	json_array_foreach(json_object_get(json, "paths"), i, path)
		why_add(rows, "path", object->name, "%s", json_string_value(path));
	json_decref(json);
}

static void add_medium(json_t *rows, const struct medium_object *object, const struct medium *medium,
		       const struct object *below)
{
	unsigned worker = worker_index(medium->worker);

	if (below)
		why_add(rows, "filter", object->base.name, "module %s%s%s on %s, on worker %u", object->module,
			object->arguments ? " " : "", object->arguments ? object->arguments : "", below->name, worker);
	else if (object->kind == MEDIUM_MODULE)
		why_add(rows, "medium", object->base.name, "module %s%s%s, on worker %u", object->module,
			object->arguments ? " " : "", object->arguments ? object->arguments : "", worker);
	else if (medium_is_memory(object))
		why_add(rows, "medium", object->base.name, "%s, on worker %u",
			object->kind == MEDIUM_RAM ? "memory" : "null", worker);
	else
		why_add(rows, "medium", object->base.name, "%s, %s, on worker %u", object->path,
			medium->direct ? "past the page cache" : "through the page cache", worker);
}

void why_add_stack(json_t *rows, const struct block *block, const struct object *object)
{
	for (const struct object *below; object; object = below) {
		if (object->class != &medium_class) {
			add_remote(rows, block, object);
			return;
		}
		below = medium_below(object);
		add_medium(rows, (const struct medium_object *)object, medium_of(object), below);
	}
}
