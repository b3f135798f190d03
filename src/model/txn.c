/* SPDX-License-Identifier: BSD-3-Clause */
/* Transactions as callers see them: queued, tried, committed. */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include "model/model_priv.h"
#include "model/store.h"

enum { LARGE = 10000 /* changes */ };

typedef void txn_done_fn(void *arg, int status, const struct dpu_error *err, json_t *diff);

/* A committed transaction that waits for the barrier. It outlives the model if the barrier does. */
struct inflight {
	struct model *model; /* NULL: the model is gone */
	struct stage *stage;
	json_t *diff;
	txn_done_fn *done;
	void *arg;
	LIST_ENTRY(inflight) link;
};

int txn_new(struct model *model, struct txn **ret)
{
	struct txn *txn = calloc(1, sizeof(*txn));

	if (!txn)
		return -ENOMEM;
	txn->model = model;
	*ret = txn;
	return 0;
}

static void change_fini(struct change *change)
{
	free(change->tenant);
	free(change->key);
	json_decref(change->fields);
}

void txn_skip_diff(struct txn *txn)
{
	txn->skip_diff = true;
}

void txn_free(struct txn *txn)
{
	bool large = txn && txn->count > LARGE;

	if (!txn)
		return;
	for (size_t i = 0; i < txn->count; i++)
		change_fini(&txn->changes[i]);
	free(txn->changes);
	free(txn);
	/* What a large transaction needed for a moment, the process should not keep. */
	if (large)
		malloc_trim(0);
}

struct change *txn_append(struct txn *txn)
{
	if (txn->count == txn->capacity) {
		size_t capacity = txn->capacity ? txn->capacity * 2 : 16;
		struct change *changes = reallocarray(txn->changes, capacity, sizeof(*changes));
		if (!changes)
			return NULL;
		txn->changes = changes;
		txn->capacity = capacity;
	}
	txn->changes[txn->count] = (struct change){ 0 };
	return &txn->changes[txn->count++];
}

int txn_add(struct txn *txn, enum change_op op, const char *class_name, const char *tenant, const char *key,
	    const json_t *fields, uint64_t generation, bool cascade, struct dpu_error *err)
{
	struct class_state *state = model_class_state(txn->model, class_name);
	char quoted[FIELD_QUOTE];

	if (!state)
		return error_set(err, DPU_E_NOT_FOUND, NULL, "there is no class %s", field_quote(class_name, quoted));
	if (fields && !json_is_object(fields))
		return error_set(err, DPU_E_INVALID, class_name, "the fields must be an object");
	if (op == CHANGE_DELETE && fields && json_object_size(fields) > 0)
		return error_set(err, DPU_E_INVALID, class_name, "a deletion takes no fields");
	struct change *change = txn_append(txn);
	if (!change)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	*change = (struct change){ .op = op, .class = state, .generation = generation, .cascade = cascade };
	change->tenant = tenant ? strdup(tenant) : NULL;
	change->key = key ? strdup(key) : NULL;
	change->fields = json_incref((json_t *)fields);
	if ((tenant && !change->tenant) || (key && !change->key)) {
		change_fini(change);
		txn->count--;
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	}
	return 0;
}

/* ---- trying ---- */

static int enter(struct model *model, struct dpu_error *err)
{
	if (!model->loaded)
		return error_set(err, DPU_E_INTERNAL, NULL, "the model was not loaded yet");
	if (model->busy)
		return error_set(err, DPU_E_INTERNAL, NULL, "a transaction was begun inside another one");
	model->busy = true;
	return 0;
}

int txn_check(struct txn *txn, json_t **ret_diff, struct dpu_error *err)
{
	struct dpu_error local = { 0 };
	struct model *model = txn->model;
	struct stage *stage;
	int status = enter(model, &local);

	if (status == 0) {
		status = stage_begin(model, txn, STAGE_NORMAL, &stage, &local);
		if (status == 0) {
			json_t *diff = ret_diff ? stage_diff(stage) : NULL;
			if (ret_diff && !diff)
				status = error_set(&local, DPU_E_LIMIT, NULL, "out of memory");
			else if (ret_diff)
				*ret_diff = diff;
			stage_cancel(stage);
		}
		model->busy = false;
	}
	if (status < 0 && err)
		*err = local;
	return status;
}

/* ---- committing ---- */

static void inflight_free(struct inflight *inflight)
{
	if (inflight->stage)
		stage_release(inflight->stage);
	json_decref(inflight->diff);
	free(inflight);
}

static void answer(struct inflight *inflight, int status, const struct dpu_error *err)
{
	if (inflight->done)
		inflight->done(inflight->arg, status, err, inflight->diff);
}

static void barrier_passed(void *arg)
{
	struct inflight *inflight = arg;

	if (inflight->model) {
		LIST_REMOVE(inflight, link);
		answer(inflight, 0, NULL);
	}
	inflight_free(inflight);
}

void inflight_abandon(struct model *model)
{
	struct inflight *inflight;

	while ((inflight = LIST_FIRST(&model->inflight))) {
		struct dpu_error err = { 0 };
		LIST_REMOVE(inflight, link);
		stage_release(inflight->stage);
		inflight->stage = NULL;
		inflight->model = NULL;
		error_set(&err, DPU_E_TIMEOUT, NULL,
			  "the DPU stopped before the change was in force everywhere; it is stored and will be");
		answer(inflight, error_errno(err.code), &err);
	}
}

/* Store first, uncommitted: a full disk is mostly found there, before anything was applied. */
static int apply_and_store(struct stage *stage, struct dpu_error *err)
{
	struct store *store = stage->model->store;
	int status = store ? store_write(store, stage, err) : 0;

	if (status < 0)
		return status;
	status = stage_apply(stage, err);
	if (status < 0) {
		if (store)
			store_rollback(store);
		return status;
	}
	status = store ? store_commit(store, err) : 0;
	if (status < 0)
		stage_undo(stage, err);
	return status;
}

static int commit_stage(struct stage *stage, bool skip_diff, json_t **ret_diff, struct dpu_error *err)
{
	json_t *diff = skip_diff ? NULL : stage_diff(stage);

	if (!diff && !skip_diff)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	int status = stage->count > 0 ? apply_and_store(stage, err) : 0;
	if (status < 0) {
		json_decref(diff);
		return status;
	}
	stage_finish(stage);
	stage_emit(stage, diff);
	*ret_diff = diff;
	return 0;
}

/* Everything up to the barrier. */
static int commit(struct txn *txn, struct inflight *inflight, struct dpu_error *err)
{
	struct model *model = txn->model;
	struct stage *stage;
	int status = enter(model, err);

	if (status < 0)
		return status;
	status = stage_begin(model, txn, STAGE_NORMAL, &stage, err);
	if (status == 0) {
		status = commit_stage(stage, txn->skip_diff, &inflight->diff, err);
		if (status < 0)
			stage_cancel(stage);
		else
			inflight->stage = stage;
	}
	model->busy = false;
	return status;
}

void txn_commit(struct txn *txn, txn_done_fn *done, void *arg)
{
	struct model *model = txn->model;
	struct inflight *inflight = calloc(1, sizeof(*inflight));
	struct dpu_error err = { 0 };
	int status;

	if (inflight) {
		*inflight = (struct inflight){ .model = model, .done = done, .arg = arg };
		status = commit(txn, inflight, &err);
	} else {
		status = error_set(&err, DPU_E_LIMIT, NULL, "out of memory");
	}
	if (status < 0) {
		if (inflight)
			inflight_free(inflight);
		if (done)
			done(arg, status, &err, NULL);
		return;
	}
	/* Without changes there is nothing to wait for but what others have begun. */
	bool wait = model->options.barrier && !model->loading &&
		    (inflight->stage->count > 0 || !LIST_EMPTY(&model->inflight));
	LIST_INSERT_HEAD(&model->inflight, inflight, link);
	if (wait)
		model->options.barrier(model->options.barrier_ctx, barrier_passed, inflight);
	else
		barrier_passed(inflight);
}
