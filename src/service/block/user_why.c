// SPDX-License-Identifier: BSD-3-Clause
/* The actions "latency", "slowest" and "why" of a front end's object: those of its volume or snapshot, or, on a medium
 * or a remote namespace, its own. */
#include <stdio.h>
#include <stdlib.h>
#include "service/block/why.h"

static bool is_volume(const struct object *object)
{
	return object->class == &volume_class || object->class == &snapshot_class;
}

/* NULL: nothing is timed, and why. */
static const struct block_qos *qos_of(const struct block_attachment *attachment, const struct object *backing,
				      struct dpu_error *err)
{
	const struct block_limit *limit = attachment ? attachment_limit(attachment) : NULL;
	const struct block_qos *qos = is_volume(backing) ? &volume_of(backing)->qos : limit ? &limit->qos : NULL;
	const char *why = block_why_not(backing);

	if (qos && qos->filter)
		return qos;
	if (!why && limit && limit->memory)
		error_set(err, DPU_E_UNSUPPORTED, NULL,
			  "medium %s is memory, which is not timed as long as nobody limits it: set qos",
			  backing->name);
	else
		error_set(err, DPU_E_IO, NULL, "%s %s: %s", backing->class->name, backing->name,
			  why ? why : "its device is on its way");
	return NULL;
}

int block_latency(const struct block_attachment *attachment, const struct object *backing, json_t **ret_result,
		  struct dpu_error *err)
{
	const struct block_qos *qos = qos_of(attachment, backing, err);

	if (!qos)
		return error_errno(err->code);
	*ret_result = latency_json(qos);
	return 0;
}

int block_slowest(const struct block_attachment *attachment, const struct object *backing, struct action_reply *reply,
		  struct dpu_error *err)
{
	const struct block_qos *qos = qos_of(attachment, backing, err);

	if (!qos)
		return error_errno(err->code);
	slowest_start(qos, reply);
	return 0;
}

/* ---- why ---- */

struct user_why {
	struct block *block;
	struct uuid user, backing, policy;
	bool has_policy;
	struct block_qos qos; /* as it was */
	struct why_times times;
	struct action_reply *reply;
};

static void look(void *arg, struct worker *worker)
{
	struct user_why *why = arg;

	(void)worker;
	why_look(&why->times, &why->qos);
}

static json_t *rows_of(const struct user_why *why, const struct object *user, const struct object *backing)
{
	const struct model *model = why->block->dpu->model;
	json_t *rows = json_array();
	char path[OBJECT_PATH_TEXT];

	why_add(rows, "user", object_path(user, path, sizeof(path)), "submits requests");
	if (why->qos.filter)
		why_add_qos(rows, &why->times, &why->qos, user,
			    why->has_policy ? model_find_uuid(model, &why->policy) : NULL);
	else
		why_add(rows, "qos", user->name, "nobody limits it: it goes straight to %s, and is not timed",
			backing->name);
	why_add_stack(rows, why->block, backing);
	if (why->qos.filter)
		why_add_times(rows, &why->times, &why->qos, user->name);
	return rows;
}

static bool is_live(const struct user_why *why)
{
	const struct block_limit *limit;

	LIST_FOREACH(limit, &why->block->limits, link)
	{
		if (limit->qos.filter == why->qos.filter)
			return true;
	}
	return false;
}

/* They may have gone meanwhile. The filter may be no more: what it counts is then left out. */
static void answer(void *arg)
{
	struct user_why *why = arg;
	const struct model *model = why->block->dpu->model;
	const struct object *user = model_find_uuid(model, &why->user);
	const struct object *backing = model_find_uuid(model, &why->backing);
	struct dpu_error err = { 0 };

	if (!is_live(why))
		why->qos.filter = NULL;
	if (user && backing) {
		action_answer(why->reply, 0, rows_of(why, user, backing), NULL);
	} else {
		int rc = error_set(&err, DPU_E_NOT_FOUND, NULL, "it was deleted meanwhile");
		action_answer(why->reply, rc, NULL, &err);
	}
	free(why);
}

int block_why(struct block *block, const struct block_attachment *attachment, const struct object *user,
	      const struct object *backing, const struct object *policy, const void *args, struct action_reply *reply,
	      struct dpu_error *err)
{
	const char *not = block_why_not(backing);
	struct user_why *why;

	if (is_volume(backing))
		return volume_why_start(block, (struct object *)(uintptr_t)backing, args, reply, err);
	if (not || !attachment)
		return error_set(err, DPU_E_IO, NULL, "%s %s: %s", backing->class->name, backing->name,
				 not ? not : "the device is on its way");
	why = block_alloc(sizeof(*why));
	*why = (struct user_why){ .block = block,
				  .user = user->uuid,
				  .backing = backing->uuid,
				  .has_policy = policy,
				  .qos = attachment_limit(attachment)->qos,
				  .reply = reply };
	if (policy)
		why->policy = policy->uuid;
	if (why->qos.filter)
		block_call(why->qos.worker, look, why, answer);
	else
		answer(why);
	return 0;
}
