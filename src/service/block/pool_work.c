// SPDX-License-Identifier: BSD-3-Clause
/* Long work on a pool beside all else, begun, watched, cancelled: a scrub or a repair, and a measuring of what volumes
 * have alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "service/block/block_priv.h"

const char *const work_state_names[] = {
	[WORK_NEVER] = "never",         [WORK_RUNNING] = "running", [WORK_DONE] = "done",
	[WORK_CANCELLED] = "cancelled", [WORK_FAILED] = "failed",   NULL,
};

static const struct {
	const char *name, *ended, *unit;
	const char *notice, *sentence; /* if it has found something: how much */
} works[STORE_OPS] = {
	[STORE_SCRUB] = { "scrub", "scrub ended", "bytes", "scrub-found-damage", "%llu pages and blocks are damaged" },
	[STORE_REPAIR] = { "repair", "repair ended", "pages", "pool-repaired", "%llu counts were wrong" },
	[STORE_MEASURE] = { "measure", "measure ended", "bytes" },
};

enum work_state work_end_state(const struct dpu_error *error)
{
	return error->code == DPU_OK ? WORK_DONE : error->code == DPU_E_CONFLICT ? WORK_CANCELLED : WORK_FAILED;
}

/* ---- the worker's side ---- */

static struct pool_work *work_of(struct store_command *command)
{
	return (struct pool_work *)((uint8_t *)command - offsetof(struct pool_work, command));
}

static void publish(struct pool_work *work)
{
	const struct store_command *command = &work->command;

	atomic_store_explicit(&work->progress, command->progress, memory_order_relaxed);
	atomic_store_explicit(&work->total, command->total, memory_order_relaxed);
	atomic_store_explicit(&work->damaged, command->damaged, memory_order_relaxed);
}

void pool_work_publish(struct pool *pool)
{
	if (pool->scrub.submitted)
		publish(&pool->scrub);
	if (pool->measure.submitted)
		publish(&pool->measure);
}

static void work_done(struct store_command *command)
{
	struct pool *pool = command->ctx;
	struct pool_work *work = work_of(command);

	work->submitted = false;
	pool_publish(pool); /* what was measured is there with the answer */
	publish(work);
	note_send(pool->subject.block, &work->note);
}

static void submit(void *arg, struct worker *worker)
{
	struct pool_work *work = arg;
	struct pool *pool = work->command.ctx;

	(void)worker;
	work->submitted = true;
	store_submit(pool->store, &work->command);
}

static void cancel(void *arg, struct worker *worker)
{
	struct pool_work *work = arg;

	(void)worker;
	if (work->submitted) /* else it has ended, and the next may be about to begin */
		work->command.cancel = true;
}

/* ---- control ---- */

static void tell(struct pool *pool, const struct pool_work *work, unsigned long long damaged)
{
	enum store_op op = (enum store_op)work->command.op;
	char sentence[96];

	log_info("block", works[op].ended, "object=%s state=%s%s%llu", pool->subject.name,
		 work_state_names[work->state], works[op].notice ? " damaged=" : " bytes=",
		 works[op].notice ? damaged : (unsigned long long)atomic_load(&work->progress));
	if (!damaged)
		return;
	snprintf(sentence, sizeof(sentence), works[op].sentence, damaged);
	subject_notice(&pool->subject, works[op].notice, sentence);
}

static void ended(struct note *note)
{
	struct pool_work *work = (struct pool_work *)((uint8_t *)note - offsetof(struct pool_work, note));
	struct pool *pool = work->command.ctx;
	struct action_reply *reply = work->reply;
	const struct dpu_error *error = &work->command.error;
	unsigned long long damaged = atomic_load(&work->damaged);

	work->reply = NULL;
	work->state = work_end_state(error);
	tell(pool, work, damaged);
	/* Volumes that were quarantined may be there again: found out by opening. */
	if (work->command.repaired)
		pool->reopen = true;
	if (reply && error->code != DPU_OK)
		action_answer(reply, error_errno(error->code), NULL, error);
	else if (reply)
		action_answer(reply, 0, json_pack("{s:s,s:I}", "state", "done", "damaged", (json_int_t)damaged), NULL);
	pool_step(pool);
}

bool pool_work_running(const struct pool *pool)
{
	return pool->scrub.state == WORK_RUNNING || pool->measure.state == WORK_RUNNING;
}

void pool_work_end(struct pool *pool)
{
	if (pool->scrub.state == WORK_RUNNING)
		block_call(pool->worker, cancel, &pool->scrub, NULL);
	if (pool->measure.state == WORK_RUNNING)
		block_call(pool->worker, cancel, &pool->measure, NULL);
}

unsigned pool_work_percent(struct pool_work *work)
{
	uint64_t total = atomic_load_explicit(&work->total, memory_order_relaxed);
	uint64_t progress = atomic_load_explicit(&work->progress, memory_order_relaxed);

	return total ? (unsigned)(progress * 100 / total) : 0;
}

/* ---- actions ---- */

const struct field pool_work_fields[] = {
	FIELD(struct pool_work_args, wait, .def = "false", .doc = "Whether to answer only when it has ended."),
	{ 0 },
};

const struct field pool_repair_fields[] = {
	FIELD(struct pool_work_args, wait, .def = "false", .doc = "Whether to answer only when it has ended."),
	FIELD(struct pool_work_args, force, .def = "false",
	      .doc = "Also give up what a lost page of the directory named, and take volumes back that lack something "
		     "that was written."),
	{ 0 },
};

static int begin(struct pool *pool, struct pool_work *work, enum store_op op, const struct pool_work_args *args,
		 struct action_reply *reply, struct dpu_error *err)
{
	if (!pool->ready)
		return error_set(err, DPU_E_IO, NULL, "the pool is %s: %s", block_state_names[pool->state], pool->why);
	if (work->state == WORK_RUNNING)
		return error_set(err, DPU_E_CONFLICT, NULL, "a %s of it is under way already: %u %% are done",
				 works[work->command.op].name, pool_work_percent(work));
	work->state = WORK_RUNNING;
	work->note.fn = ended;
	work->command =
		(struct store_command){ .op = (uint8_t)op, .force = args->force, .done = work_done, .ctx = pool };
	atomic_store(&work->progress, 0);
	atomic_store(&work->total, 0);
	atomic_store(&work->damaged, 0);
	work->reply = args->wait ? reply : NULL;
	block_call(pool->worker, submit, work, NULL);
	if (!args->wait)
		action_answer(reply, 0, json_pack("{s:s}", "state", "running"), NULL);
	return 0;
}

int pool_scrub_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		     struct dpu_error *err)
{
	struct pool *pool = pool_of(object);

	return begin(pool, &pool->scrub, STORE_SCRUB, args, reply, err);
}

int pool_repair_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		      struct dpu_error *err)
{
	struct pool *pool = pool_of(object);

	return begin(pool, &pool->scrub, STORE_REPAIR, args, reply, err);
}

int pool_measure_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		       struct dpu_error *err)
{
	struct pool *pool = pool_of(object);

	return begin(pool, &pool->measure, STORE_MEASURE, args, reply, err);
}

static int answer(json_t *result, json_t **ret_result, struct dpu_error *err)
{
	*ret_result = result;
	return result ? 0 : error_set(err, DPU_E_LIMIT, NULL, "out of memory");
}

static json_t *progress_json(struct pool_work *work, enum store_op op)
{
	const char *why = work->command.error.message;
	json_t *json = json_pack("{s:s, s:s, s:I, s:I, s:s, s:I}", "state", work_state_names[work->state], "work",
				 works[op].name, "done", (json_int_t)atomic_load(&work->progress), "total",
				 (json_int_t)atomic_load(&work->total), "unit", works[op].unit, "damaged",
				 (json_int_t)atomic_load(&work->damaged));

	if (work->state == WORK_FAILED || work->state == WORK_CANCELLED)
		json_object_set_new(json, "why", json_string(why));
	return json;
}

int pool_scrub_progress(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	struct pool_work *work = &pool_of(object)->scrub;
	bool repair = work->command.op == STORE_REPAIR;

	return answer(progress_json(work, repair ? STORE_REPAIR : STORE_SCRUB), ret_result, err);
}

int pool_measure_progress(void *ctx, struct object *object, const void *args, json_t **ret_result,
			  struct dpu_error *err)
{
	json_t *json = progress_json(&pool_of(object)->measure, STORE_MEASURE);

	json_object_del(json, "damaged");
	return answer(json, ret_result, err);
}

static int end(struct pool *pool, struct pool_work *work, const char *what, json_t **ret_result, struct dpu_error *err)
{
	if (work->state != WORK_RUNNING)
		return error_set(err, DPU_E_CONFLICT, NULL, "no %s of it is under way", what);
	block_call(pool->worker, cancel, work, NULL);
	return answer(json_pack("{s:i}", "progress", (int)pool_work_percent(work)), ret_result, err);
}

int pool_scrub_cancel(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	struct pool *pool = pool_of(object);

	return end(pool, &pool->scrub, "scrub or repair", ret_result, err);
}

int pool_measure_cancel(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	struct pool *pool = pool_of(object);

	return end(pool, &pool->measure, "measure", ret_result, err);
}
