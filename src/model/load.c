/* SPDX-License-Identifier: BSD-3-Clause */
/* Start: the store is replayed as one transaction, singletons that it lacks are made. */
#include <stdlib.h>
#include <string.h>
#include "model/model_priv.h"
#include "model/store.h"

/* The rows stay in memory until they are staged. */
struct replay {
	struct txn *txn;
	struct dpu_error *err;
};

static int row_error(const struct store_row *row, enum dpu_error_code code, struct dpu_error *err, const char *message)
{
	error_set(err, code, row->name, "%s", message);
	error_prefix(err, row->class);
	return error_errno(code);
}

/* A row in one allocation with its texts. */
static struct store_row *row_copy(const struct store_row *row)
{
	size_t class_size = strlen(row->class) + 1, name_size = strlen(row->name) + 1;
	struct store_row *copy = malloc(sizeof(*copy) + class_size + name_size);

	if (!copy)
		return NULL;
	char *texts = (char *)(copy + 1);
	*copy = *row;
	copy->class = memcpy(texts, row->class, class_size);
	copy->name = memcpy(texts + class_size, row->name, name_size);
	copy->fields = NULL;
	return copy;
}

static int replay_row(void *arg, const struct store_row *row)
{
	struct replay *replay = arg;
	struct class_state *state = model_class_state(replay->txn->model, row->class);
	char tenant[UUID_TEXT];

	if (!state)
		return row_error(
			row, DPU_E_UNSUPPORTED, replay->err,
			"the store has objects of this class, which this dpud does not have: start one that does");
	struct change *change = txn_append(replay->txn);
	if (!change)
		return row_error(row, DPU_E_LIMIT, replay->err, "out of memory");
	change->op = CHANGE_CREATE;
	change->class = state;
	change->fields = json_loads(row->fields, JSON_REJECT_DUPLICATES, NULL);
	change->row = row_copy(row);
	change->key = strdup(row->name);
	change->tenant = uuid_is_zero(&row->tenant) ? NULL : strdup(uuid_format(&row->tenant, tenant));
	if (!change->row || !change->key)
		return row_error(row, DPU_E_LIMIT, replay->err, "out of memory");
	if (!json_is_object(change->fields))
		return row_error(row, DPU_E_IO, replay->err, "the store is damaged: these fields are not JSON");
	return 0;
}

static void tell_outdated(const struct model_options *options, const struct member *member, const struct field *row)
{
	const char *text = *(char *const *)field_at(row, member->new);
	struct dpu_error what = { 0 };

	if (!text || row->check(text))
		return;
	error_set(&what, DPU_E_INVALID, row->name, "it %s; it is in force until %s", row->check_doc,
		  row->flags & FIELD_F_IMMUTABLE ? "the object is deleted and created anew" : "it is changed");
	member_error(member, 0, &what);
	options->outdated(options->outdated_ctx, &what);
}

static void look_for_outdated(const struct stage *stage)
{
	const struct member *member;

	TAILQ_FOREACH(member, &stage->members, link)
	CLASS_EACH_ROW(member->node->class, member->node->class->base_count, row)
	if (row->check_stored)
		tell_outdated(&stage->model->options, member, row);
}

static int unusable(struct dpu_error *err)
{
	const struct dpu_error was = *err;

	return error_set(
		err, was.code, was.path,
		"%s; this is in the store: change it with the dpud that wrote it, or put a copy of the store back",
		was.message);
}

static int replay_store(struct model *model, struct dpu_error *err)
{
	struct replay replay = { .err = err };
	struct stage *stage;
	int status;

	if (txn_new(model, &replay.txn) < 0)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	status = store_each(model->store, replay_row, &replay, err);
	if (status == 0)
		status = stage_begin(model, replay.txn, STAGE_REPLAY, &stage, err);
	if (status < 0 && err->code == DPU_E_INVALID)
		status = unusable(err);
	if (status == 0) {
		status = stage_apply(stage, err);
		if (status < 0) {
			stage_cancel(stage);
		} else {
			if (model->options.outdated)
				look_for_outdated(stage);
			stage_finish(stage);
			stage_release(stage);
		}
	}
	for (size_t i = 0; i < replay.txn->count; i++)
		free((void *)replay.txn->changes[i].row);
	txn_free(replay.txn);
	return status;
}

static void singletons_done(void *arg, int status, const struct dpu_error *err, json_t *diff)
{
	if (status < 0)
		*(struct dpu_error *)arg = *err;
}

static int make_singletons(struct model *model, struct dpu_error *err)
{
	struct dpu_error failure = { 0 };
	struct txn *txn;
	int status = 0;

	if (txn_new(model, &txn) < 0)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	for (unsigned i = 0; i < model->class_count && status == 0; i++) {
		const struct class_state *state = model->classes[i];
		if (!(state->class->flags & CLASS_F_SINGLETON) || state->count > 0)
			continue;
		status = txn_add(txn, CHANGE_CREATE, state->class->name, NULL, state->class->name, NULL, 0, false, err);
		if (status == 0)
			txn->changes[txn->count - 1].internal = true;
	}
	if (status == 0 && txn->count > 0) {
		txn_commit(txn, singletons_done, &failure);
		status = error_errno(failure.code);
		if (status < 0)
			*err = failure;
	}
	txn_free(txn);
	return status;
}

int model_load(struct model *model, struct dpu_error *err)
{
	struct dpu_error local = { 0 };
	int status = 0;

	if (model->loaded)
		return error_set(err, DPU_E_INTERNAL, NULL, "the model was loaded before");
	status = model_rank_classes(model, &local);
	model->loading = true;
	if (status == 0 && model->store_path)
		status = store_open(model->store_path, &model->store, &local);
	if (status == 0 && model->store)
		status = replay_store(model, &local);
	model->loaded = status == 0;
	if (status == 0)
		status = make_singletons(model, &local);
	model->loading = false;
	model->loaded = status == 0;
	if (status < 0 && err)
		*err = local;
	return status;
}

bool model_loading(const struct model *model)
{
	return model->loading;
}
