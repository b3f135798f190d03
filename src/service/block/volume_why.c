// SPDX-License-Identifier: BSD-3-Clause
/* The action "why" of a volume: the way of a request for one of its blocks, step by step, down to the place on a
 * medium, and where the time of such requests goes. */
#include <stdlib.h>
#include "service/block/why.h"

const struct field block_why_fields[] = {
	FIELD(struct block_why_args, offset, .unit = "bytes", .def = "0", .max = FIELD_U64_MAX,
	      .doc = "Of the block, from the start."),
	{ 0 },
};

/* The pool stays open until it is answered. */
struct why {
	struct block *block;
	struct uuid uuid; /* of the volume */
	struct pool *pool;
	struct block_qos qos; /* as it was */
	struct action_reply *reply;
	struct note note;
	struct store_command command;
	struct store_location location;
	struct why_times times;
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
	why_look(&why->times, &why->qos);
	store_submit(why->pool->store, &why->command);
}

/* ---- the answer ---- */

static const struct object *policy_of(const struct volume *volume)
{
	const struct object *object = volume->subject.object;

	return volume->snapshot ? ((const struct snapshot_object *)object)->qos.object
				: ((const struct volume_object *)object)->qos.object;
}

/* Where it is on the medium, and what that is and sits on. */
static void add_medium(json_t *rows, const struct why *why)
{
	for (unsigned i = 0; i < why->pool->media_count; i++) {
		const struct pool_medium *medium = why->pool->media[i];
		const struct object *object = model_find_uuid(why->block->dpu->model, &medium->uuid);
		if (!object || medium->device != why->location.medium)
			continue;
		why_add(rows, "medium", object->name, "at byte %llu", (unsigned long long)why->location.offset);
		why_add_stack(rows, why->block, object);
	}
}

static void add_place(json_t *rows, const struct why *why, const struct volume *volume)
{
	const struct store_location *location = &why->location;
	const char *name = volume->subject.object->name;

	if (!location->mapped) {
		why_add(rows, "map", name, "block %llu was never written or was discarded: it reads as zeroes",
			(unsigned long long)(why->command.bytes / DPU_BLOCK_BYTES));
		return;
	}
	why_add(rows, "map", name, "block %llu has CRC32C %08x and is %s",
		(unsigned long long)(why->command.bytes / DPU_BLOCK_BYTES), location->crc,
		location->shared ? "shared with a snapshot or another volume: a write takes new space"
				 : "the volume's own");
	why_add(rows, "pool", why->pool->subject.name, "served by worker %u", worker_index(why->pool->worker));
	add_medium(rows, why);
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
		why_add_users(rows, why->block, object);
		why_add_qos(rows, &why->times, &volume->qos, object, policy_of(volume));
		add_place(rows, why, volume);
		why_add_times(rows, &why->times, &volume->qos, object->name);
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

	if (!volume->qos.filter || !pool->ready)
		return error_set(err, DPU_E_IO, NULL, "%s is %s: %s", object->name, block_state_names[volume->state],
				 volume_why(volume));
	struct why *why = block_alloc(sizeof(*why));
	*why = (struct why){
		.block = ctx,
		.uuid = object->uuid,
		.pool = pool,
		.qos = volume->qos,
		.reply = reply,
		.note = { .fn = answer },
		.command = { .op = STORE_LOCATE,
			     .volume = volume->id,
			     .bytes = ((const struct block_why_args *)args)->offset,
			     .location = &why->location,
			     .done = located,
			     .ctx = why },
	};
	pool->lookups++;
	block_call(pool->worker, ask, why, NULL);
	return 0;
}
