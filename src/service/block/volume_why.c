// SPDX-License-Identifier: BSD-3-Clause
/* The action "why" of a volume: the way of a request for one of its blocks, step by step, down to the place on a
 * medium, and where the time of such requests goes. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "service/block/block_priv.h"

const struct field volume_why_fields[] = {
	FIELD(struct volume_why_args, offset, .unit = "bytes", .def = "0", .max = FIELD_U64_MAX,
	      .doc = "Of the block, from the start of the volume."),
	{ 0 },
};

/* The pool stays open until it is answered. */
struct why {
	struct block *block;
	struct uuid uuid; /* of the volume */
	struct pool *pool;
	struct dpu_block_device *filter;
	struct qos_scheduler *scheduler;
	struct action_reply *reply;
	struct note note;
	struct store_command command;
	struct store_location location;
	struct qos_stats stats;
	struct qos_slow slow[QOS_SLOWEST];
	unsigned slow_count, window;
};

/* ---- in the worker ---- */

static void located(struct store_command *command)
{
	struct why *why = command->ctx;

	note_send(why->block, &why->note);
}

static void ask(void *arg, struct worker *worker)
{
	struct why *why = arg;

	(void)worker;
	qos_stats(why->filter, &why->stats);
	why->slow_count = qos_slowest(why->filter, why->slow);
	why->window = qos_window(why->scheduler);
	store_submit(why->pool->store, &why->command);
}

/* ---- the answer ---- */

static void add(json_t *rows, const char *step, const char *object, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void add(json_t *rows, const char *step, const char *object, const char *fmt, ...)
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
		add(arg, "user", object_path(object, path, sizeof(path)), "submits requests");
	return 0;
}

static void add_policy(json_t *rows, const char *object, const struct qos_policy *policy)
{
	add(rows, "qos", object,
	    "guaranteed %llu/s and %llu bytes/s, at most %llu/s and %llu bytes/s (0: none), weight %u",
	    (unsigned long long)policy->guarantee, (unsigned long long)policy->guarantee_bytes,
	    (unsigned long long)policy->cap, (unsigned long long)policy->cap_bytes,
	    policy->weight ? policy->weight : QOS_WEIGHT_DEFAULT);
}

static void add_qos(json_t *rows, const struct why *why, const struct volume *volume)
{
	const struct object *object = volume->subject.object;
	const struct object *own = volume->snapshot ? NULL : ((const struct volume_object *)object)->qos.object;

	if (own)
		add_policy(rows, own->name, &volume->policy);
	if (volume->share)
		add_policy(rows, object->tenant->name, &volume->share->policy);
	add(rows, "qos", object->name,
	    "%llu requests wait for their turn, %llu are under way; %llu of %llu went at once",
	    (unsigned long long)why->stats.waiting, (unsigned long long)why->stats.under_way,
	    (unsigned long long)why->stats.passed, (unsigned long long)why->stats.requests);
	if (why->window)
		add(rows, "qos", object->name,
		    "what is not guaranteed may have %u under way on this worker while others are busy", why->window);
}

static void add_place(json_t *rows, const struct why *why, const struct volume *volume)
{
	const struct store_location *location = &why->location;
	const char *name = volume->subject.object->name;

	if (!location->mapped) {
		add(rows, "map", name, "block %llu was never written or was discarded: it reads as zeroes",
		    (unsigned long long)(why->command.bytes / DPU_BLOCK_BYTES));
		return;
	}
	add(rows, "map", name, "block %llu has CRC32C %08x and is %s",
	    (unsigned long long)(why->command.bytes / DPU_BLOCK_BYTES), location->crc,
	    location->shared ? "shared with a snapshot or another volume: a write takes new space"
			     : "the volume's own");
	add(rows, "pool", why->pool->subject.name, "served by worker %u", worker_index(why->pool->worker));
	add(rows, "medium", location->medium, "at byte %llu", (unsigned long long)location->offset);
}

static void add_times(json_t *rows, const struct why *why, const struct volume *volume)
{
	const struct qos_latency *latency = volume->filter ? qos_latency(volume->filter) : NULL;
	const char *name = volume->subject.object->name;

	for (unsigned i = 0; latency && i < QOS_CLASSES; i++) {
		const struct histogram *of = latency->of[i];
		uint64_t p99[QOS_STAGES];
		if (histogram_count(&of[QOS_STAGE_WHOLE]) == 0)
			continue;
		for (unsigned j = 0; j < QOS_STAGES; j++)
			p99[j] = histogram_quantile(&of[j], 990000);
		add(rows, "time", name,
		    "%s: 99 of 100 within %.1f us whole, %.1f us waiting, %.1f us in maps, %.1f us at the medium",
		    qos_class_names[i], (double)p99[QOS_STAGE_WHOLE] / 1000, (double)p99[QOS_STAGE_WAIT] / 1000,
		    (double)p99[QOS_STAGE_MAP] / 1000, (double)p99[QOS_STAGE_MEDIUM] / 1000);
	}
	if (why->slow_count) {
		const struct qos_slow *slow = &why->slow[0];
		add(rows, "time", name,
		    "the slowest of late took %.1f us, at offset %llu: %.1f us waiting, %.1f us in maps, %.1f us at "
		    "the medium",
		    (double)slow->ns[QOS_STAGE_WHOLE] / 1000, (unsigned long long)slow->offset,
		    (double)slow->ns[QOS_STAGE_WAIT] / 1000, (double)slow->ns[QOS_STAGE_MAP] / 1000,
		    (double)slow->ns[QOS_STAGE_MEDIUM] / 1000);
	}
}

/* The volume may have gone meanwhile. */
static void answer(struct note *note)
{
	struct why *why = (struct why *)((uint8_t *)note - offsetof(struct why, note));
	struct pool *pool = why->pool;
	const struct object *object = model_find_uuid(why->block->dpu->model, &why->uuid);
	struct dpu_error *error = &why->command.error;

	if (error->code == DPU_OK && !object)
		error_set(error, DPU_E_NOT_FOUND, NULL, "the volume was deleted");
	if (error->code == DPU_OK) {
		const struct volume *volume = volume_of(object);
		json_t *rows = json_array();
		model_each_referrer(why->block->dpu->model, object, NULL, add_user, rows);
		add_qos(rows, why, volume);
		add_place(rows, why, volume);
		add_times(rows, why, volume);
		action_answer(why->reply, 0, rows, NULL);
	} else {
		action_answer(why->reply, error_errno(error->code), NULL, error);
	}
	free(why);
	pool->lookups--;
	pool_step(pool);
}

int volume_why_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		     struct dpu_error *err)
{
	const struct volume *volume = volume_of(object);
	struct pool *pool = volume->pool;

	if (!volume->filter || !pool->ready)
		return error_set(err, DPU_E_IO, NULL, "%s is %s: %s", object->name, block_state_names[volume->state],
				 volume_why(volume));
	struct why *why = block_alloc(sizeof(*why));
	*why = (struct why){
		.block = ctx,
		.uuid = object->uuid,
		.pool = pool,
		.filter = volume->filter,
		.scheduler = ((struct block *)ctx)->schedulers[worker_index(pool->worker)].qos,
		.reply = reply,
		.note = { .fn = answer },
		.command = { .op = STORE_LOCATE,
			     .volume = volume->id,
			     .bytes = ((const struct volume_why_args *)args)->offset,
			     .location = &why->location,
			     .done = located,
			     .ctx = why },
	};
	pool->lookups++;
	block_call(pool->worker, ask, why, NULL);
	return 0;
}
