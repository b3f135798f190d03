// SPDX-License-Identifier: BSD-3-Clause
/* Scrubbing and repairing a pool: long commands beside the others, begun, watched, cancelled. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "service/block/block_priv.h"

const char *const scrub_state_names[] = {
	[SCRUB_NEVER] = "never",         [SCRUB_RUNNING] = "running", [SCRUB_DONE] = "done",
	[SCRUB_CANCELLED] = "cancelled", [SCRUB_FAILED] = "failed",   NULL,
};

/* ---- the worker's side ---- */

static void publish(struct pool_scrub *scrub)
{
	const struct store_command *command = &scrub->command;

	atomic_store_explicit(&scrub->progress, command->progress, memory_order_relaxed);
	atomic_store_explicit(&scrub->total, command->total, memory_order_relaxed);
	atomic_store_explicit(&scrub->damaged, command->damaged, memory_order_relaxed);
}

void pool_scrub_publish(struct pool *pool)
{
	if (pool->scrub.submitted)
		publish(&pool->scrub);
}

static void scrub_done(struct store_command *command)
{
	struct pool *pool = command->ctx;

	pool->scrub.submitted = false;
	publish(&pool->scrub);
	note_send(pool->subject.block, &pool->scrub.note);
}

static void submit(void *arg, struct worker *worker)
{
	struct pool *pool = arg;

	(void)worker;
	pool->scrub.submitted = true;
	store_submit(pool->store, &pool->scrub.command);
}

static void cancel(void *arg, struct worker *worker)
{
	struct pool *pool = arg;

	(void)worker;
	pool->scrub.command.cancel = true;
}

/* ---- control ---- */

static void ended(struct note *note)
{
	struct pool_scrub *scrub = (struct pool_scrub *)((uint8_t *)note - offsetof(struct pool_scrub, note));
	struct pool *pool = scrub->command.ctx;
	struct action_reply *reply = scrub->reply;
	const struct dpu_error *error = &scrub->command.error;
	unsigned long long damaged = atomic_load(&scrub->damaged);
	char sentence[96];

	scrub->reply = NULL;
	scrub->state = error->code == DPU_OK           ? SCRUB_DONE
		       : error->code == DPU_E_CONFLICT ? SCRUB_CANCELLED
						       : SCRUB_FAILED;
	bool repair = scrub->command.op == STORE_REPAIR;
	log_info("block", repair ? "repair ended" : "scrub ended", "object=%s state=%s damaged=%llu",
		 pool->subject.name, scrub_state_names[scrub->state], damaged);
	snprintf(sentence, sizeof(sentence), repair ? "%llu counts were wrong" : "%llu pages and blocks are damaged",
		 damaged);
	if (damaged)
		subject_notice(&pool->subject, repair ? "pool-repaired" : "scrub-found-damage", sentence);
	/* Volumes that were quarantined may be there again: found out by opening. */
	if (scrub->command.repaired)
		pool->reopen = true;
	if (reply && error->code != DPU_OK)
		action_answer(reply, error_errno(error->code), NULL, error);
	else if (reply)
		action_answer(reply, 0, json_pack("{s:s,s:I}", "state", "done", "damaged", (json_int_t)damaged), NULL);
	pool_step(pool);
}

bool pool_scrub_running(const struct pool *pool)
{
	return pool->scrub.state == SCRUB_RUNNING;
}

void pool_scrub_end(struct pool *pool)
{
	if (pool_scrub_running(pool))
		block_call(pool->worker, cancel, pool, NULL);
}

unsigned pool_scrub_percent(const struct pool *pool)
{
	uint64_t total = atomic_load_explicit(&((struct pool *)pool)->scrub.total, memory_order_relaxed);
	uint64_t progress = atomic_load_explicit(&((struct pool *)pool)->scrub.progress, memory_order_relaxed);

	return total ? (unsigned)(progress * 100 / total) : 0;
}

/* ---- actions ---- */

const struct field pool_scrub_fields[] = {
	FIELD(struct pool_scrub_args, wait, .def = "false", .doc = "Whether to answer only when it has ended."),
	{ 0 },
};

const struct field pool_repair_fields[] = {
	FIELD(struct pool_scrub_args, wait, .def = "false", .doc = "Whether to answer only when it has ended."),
	FIELD(struct pool_scrub_args, force, .def = "false",
	      .doc = "Also give up what a lost page of the directory named, and take volumes back that lack something "
		     "that was written."),
	{ 0 },
};

static int begin(struct pool *pool, enum store_op op, const struct pool_scrub_args *args, struct action_reply *reply,
		 struct dpu_error *err)
{
	struct pool_scrub *scrub = &pool->scrub;

	if (!pool->ready)
		return error_set(err, DPU_E_IO, NULL, "the pool is %s: %s", block_state_names[pool->state], pool->why);
	if (pool_scrub_running(pool))
		return error_set(err, DPU_E_CONFLICT, NULL, "it is being scrubbed or repaired already: %u %% are done",
				 pool_scrub_percent(pool));
	scrub->state = SCRUB_RUNNING;
	scrub->note.fn = ended;
	scrub->command =
		(struct store_command){ .op = (uint8_t)op, .force = args->force, .done = scrub_done, .ctx = pool };
	atomic_store(&scrub->progress, 0);
	atomic_store(&scrub->damaged, 0);
	scrub->reply = args->wait ? reply : NULL;
	block_call(pool->worker, submit, pool, NULL);
	if (!args->wait)
		action_answer(reply, 0, json_pack("{s:s}", "state", "running"), NULL);
	return 0;
}

int pool_scrub_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		     struct dpu_error *err)
{
	return begin(pool_of(object), STORE_SCRUB, args, reply, err);
}

int pool_repair_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		      struct dpu_error *err)
{
	return begin(pool_of(object), STORE_REPAIR, args, reply, err);
}

int pool_scrub_progress(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	const struct pool_scrub *scrub = &pool_of(object)->scrub;
	const char *why = scrub->command.error.message;
	struct pool_scrub *of = (struct pool_scrub *)(uintptr_t)scrub;

	(void)ctx;
	(void)args;
	*ret_result = json_pack("{s:s, s:s, s:I, s:I, s:s, s:I}", "state", scrub_state_names[scrub->state], "work",
				scrub->command.op == STORE_REPAIR ? "repair" : "scrub", "done",
				(json_int_t)atomic_load(&of->progress), "total", (json_int_t)atomic_load(&of->total),
				"unit", "pages", "damaged", (json_int_t)atomic_load(&of->damaged));
	if (scrub->state == SCRUB_FAILED || scrub->state == SCRUB_CANCELLED)
		json_object_set_new(*ret_result, "why", json_string(why[0] ? why : "it was cancelled"));
	return *ret_result ? 0 : error_set(err, DPU_E_LIMIT, NULL, "out of memory");
}

int pool_scrub_cancel(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	struct pool *pool = pool_of(object);

	(void)ctx;
	(void)args;
	if (!pool_scrub_running(pool))
		return error_set(err, DPU_E_CONFLICT, NULL, "it is not being scrubbed or repaired");
	pool_scrub_end(pool);
	*ret_result = json_pack("{s:i}", "progress", (int)pool_scrub_percent(pool));
	return *ret_result ? 0 : error_set(err, DPU_E_LIMIT, NULL, "out of memory");
}
