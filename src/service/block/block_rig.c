// SPDX-License-Identifier: BSD-3-Clause
/* A DPU with the block service, for tests. */
#include "service/block/block_rig.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "model/document.h"
#include "service/block/block_priv.h"

struct tenant_object {
	struct object base;
	uint64_t max_volume_bytes;
};

static const struct field tenant_fields[] = {
	FIELD(struct tenant_object, max_volume_bytes, .unit = "bytes", .doc = "What its volumes may take together."),
	{ 0 },
};

static const struct object_class tenant_class = {
	.name = "tenant",
	.plural = "tenants",
	.doc = "Who owns what is tested.",
	.flags = CLASS_F_GLOBAL,
	.size = sizeof(struct tenant_object),
	.fields = tenant_fields,
};

/* Pools refer to it: in place of the service's, where that is not there. */
static const struct object_class remote_class = {
	.name = "nvmf_remote",
	.plural = "nvmf_remotes",
	.doc = "What is not tested.",
	.flags = CLASS_F_GLOBAL,
	.size = sizeof(struct tenant_object),
	.fields = tenant_fields,
};

static const struct service *const block_alone[] = { &block_service, NULL };

static void set(void *arg)
{
	*(bool *)arg = true;
}

/* ---- life ---- */

struct barrier {
	struct block_rig *rig;
	unsigned left;
	void (*done)(void *arg);
	void *arg;
};

static void settled(void *arg)
{
	struct barrier *barrier = arg;

	if (--barrier->left > 0)
		return;
	workers_barrier(barrier->rig->base.workers, barrier->done, barrier->arg);
	free(barrier);
}

static void barrier_wait(void *ctx, void (*done)(void *arg), void *arg)
{
	struct block_rig *rig = ctx;
	struct barrier *barrier = malloc(sizeof(*barrier));

	assert_non_null(barrier);
	*barrier = (struct barrier){ .rig = rig, .left = 1, .done = done, .arg = arg };
	for (unsigned i = 0; rig->services[i]; i++) {
		if (!rig->services[i]->settle)
			continue;
		barrier->left++;
		rig->services[i]->settle(rig->dpu.service_state[i], settled, barrier);
	}
	settled(barrier);
}

void block_rig_up(struct block_rig *rig)
{
	struct dpu *dpu = &rig->dpu;
	struct dpu_error err = { 0 };
	unsigned workers = rig->dpu.max_sessions; /* kept there between two runs */

	rig_up(&rig->base, workers, WORKER_BALANCED);
	*dpu = (struct dpu){ .instance = "rig",
			     .run_dir = rig->dir,
			     .state_dir = rig->state_dir,
			     .store_dir = rig->dir,
			     .module_dir = rig->dir,
			     .loop = rig->base.loop,
			     .workers = rig->base.workers,
			     .max_sessions = workers };
	struct model_options options = {
		.store_path = rig->store, .loop = dpu->loop, .barrier = barrier_wait, .barrier_ctx = rig
	};
	assert_int_equal(model_new(&options, &dpu->model, &err), 0);
	assert_int_equal(model_add_class(dpu->model, &tenant_class, NULL, &err), 0);
	if (rig->extra)
		assert_int_equal(model_add_class(dpu->model, rig->extra, NULL, &err), 0);
	for (unsigned i = 0; rig->services[i]; i++) {
		dpu->services[i] = rig->services[i];
		if (rig->services[i]->init(dpu, &dpu->service_state[i], &err) != 0)
			fail_msg("%s", err.message);
		for (unsigned j = 0; rig->services[i]->classes[j]; j++)
			if (model_add_class(dpu->model, rig->services[i]->classes[j], dpu->service_state[i], &err))
				fail_msg("%s: %s", err.path, err.message);
	}
	if (!model_class(dpu->model, remote_class.name))
		assert_int_equal(model_add_class(dpu->model, &remote_class, NULL, &err), 0);
	if (model_load(dpu->model, &err) != 0)
		fail_msg("%s: %s", err.path, err.message);
	for (unsigned i = 0; rig->services[i]; i++)
		if (rig->services[i]->start && rig->services[i]->start(dpu->service_state[i], &err) != 0)
			fail_msg("%s", err.message);
}

void block_rig_down(struct block_rig *rig)
{
	struct dpu *dpu = &rig->dpu;
	unsigned count = 0;

	while (rig->services[count])
		count++;
	for (unsigned i = count; i-- > 0;) {
		bool stopped = false;
		if (!rig->services[i]->stop)
			continue;
		rig->services[i]->stop(dpu->service_state[i], set, &stopped);
		WAIT_FOR(&rig->base, stopped);
	}
	model_free(dpu->model);
	for (unsigned round = 0; round < 2; round++) {
		bool passed = false;
		workers_barrier(rig->base.workers, set, &passed);
		WAIT_FOR(&rig->base, passed);
	}
	for (unsigned i = count; i-- > 0;)
		if (rig->services[i]->fini)
			rig->services[i]->fini(dpu->service_state[i]);
	rig_down(&rig->base);
}

static FILE *remover_start(const char *dir)
{
	char command[128];

	snprintf(command, sizeof(command), "trap '' INT TERM; read -r end; rm -r %s", dir);
	FILE *remover = popen(command, "we");
	assert_non_null(remover);
	return remover;
}

void block_rig_new(struct block_rig *rig, unsigned workers, const struct service *const *services)
{
	memset(rig, 0, sizeof(*rig));
	rig->services = services ? services : block_alone;
	rig->dpu.max_sessions = workers;
	snprintf(rig->dir, sizeof(rig->dir), "/dev/shm/block-rig-XXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	rig->remover = remover_start(rig->dir);
	snprintf(rig->store, sizeof(rig->store), "%s/store.db", rig->dir);
	snprintf(rig->state_dir, sizeof(rig->state_dir), "%s/state", rig->dir);
	assert_int_equal(mkdir(rig->state_dir, 0700), 0);
	block_rig_up(rig);
}

void block_rig_free(struct block_rig *rig)
{
	block_rig_down(rig);
	assert_int_equal(pclose(rig->remover), 0);
}

int block_rig_setup(void **state)
{
	struct block_rig *rig = malloc(sizeof(*rig));

	assert_non_null(rig);
	block_rig_new(rig, 2, NULL);
	*state = rig;
	return 0;
}

int block_rig_teardown(void **state)
{
	block_rig_free(*state);
	free(*state);
	return 0;
}

/* ---- objects ---- */

struct answer {
	bool given;
	int status;
	struct dpu_error error;
	json_t *result;
};

static void answered(void *arg, int status, const struct dpu_error *err, json_t *diff)
{
	struct answer *answer = arg;

	answer->given = true;
	answer->status = status;
	if (err)
		answer->error = *err;
}

static int commit(struct block_rig *rig, struct txn *txn, struct dpu_error *err)
{
	struct answer answer = { 0 };

	txn_commit(txn, answered, &answer);
	WAIT_FOR(&rig->base, answer.given);
	txn_free(txn);
	if (err)
		*err = answer.error;
	return answer.status;
}

static json_t *parse(const char *text)
{
	char *copy = strdup(text);
	json_error_t error;

	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	json_t *json = json_loads(copy, 0, &error);
	if (!json)
		fail_msg("%s: %s", copy, error.text);
	free(copy);
	return json;
}

void block_rig_apply(struct block_rig *rig, const char *fmt, ...)
{
	struct dpu_error err = { 0 };
	char text[8192];
	struct txn *txn;
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	json_t *document = parse(text);
	json_object_set_new(document, "version", json_integer(1));
	if (document_plan(rig->dpu.model, document, false, &txn, &err) != 0 || commit(rig, txn, &err) != 0)
		fail_msg("%s: %s", err.path, err.message);
	json_decref(document);
}

int block_rig_change(struct block_rig *rig, enum change_op op, const char *class_name, const char *key,
		     const char *fields, struct dpu_error *err)
{
	struct dpu_error error = { 0 };
	json_t *json = fields ? parse(fields) : NULL;
	struct txn *txn;
	int rc;

	assert_int_equal(txn_new(rig->dpu.model, &txn), 0);
	rc = txn_add(txn, op, class_name, NULL, key, json, 0, false, &error);
	if (rc == 0)
		rc = commit(rig, txn, &error);
	else
		txn_free(txn);
	json_decref(json);
	if (err)
		*err = error;
	else if (rc != 0)
		fail_msg("%s: %s", error.path, error.message);
	return rc;
}

int block_rig_delete(struct block_rig *rig, const char *class_name, const char *key, bool cascade,
		     struct dpu_error *err)
{
	struct dpu_error error = { 0 };
	struct txn *txn;
	int rc;

	assert_int_equal(txn_new(rig->dpu.model, &txn), 0);
	rc = txn_add(txn, CHANGE_DELETE, class_name, NULL, key, NULL, 0, cascade, &error);
	if (rc == 0)
		rc = commit(rig, txn, &error);
	else
		txn_free(txn);
	if (err)
		*err = error;
	else if (rc != 0)
		fail_msg("%s: %s", error.path, error.message);
	return rc;
}

void block_rig_fail_commits(bool on)
{
	static struct rlimit before;
	struct rlimit none;

	signal(SIGXFSZ, on ? SIG_IGN : SIG_DFL);
	if (on) {
		assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
		none = (struct rlimit){ 4096, before.rlim_max };
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, on ? &none : &before), 0);
}

struct object *block_rig_find(struct block_rig *rig, const char *class_name, const char *name)
{
	const struct object_class *class = model_class(rig->dpu.model, class_name);

	return model_find(rig->dpu.model, class_name, class->flags & CLASS_F_GLOBAL ? NULL : "blue", name);
}

const char *block_rig_field(struct block_rig *rig, const char *class_name, const char *name, const char *field)
{
	static char text[1024];
	const struct object *object = block_rig_find(rig, class_name, name);

	assert_non_null(object);
	json_t *json = model_object_json(rig->dpu.model, object, true);
	json_t *value = json_object_get(json, field);
	text[0] = '\0';
	if (json_is_string(value))
		snprintf(text, sizeof(text), "%s", json_string_value(value));
	else if (json_is_integer(value))
		snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(value));
	else if (value && !json_is_null(value)) {
		char *dump = json_dumps(value, JSON_ENCODE_ANY);
		snprintf(text, sizeof(text), "%s", dump);
		free(dump);
	}
	json_decref(json);
	return text;
}

static void action_answered(void *arg, int status, json_t *result, const struct dpu_error *err)
{
	struct answer *answer = arg;

	answer->given = true;
	answer->status = status;
	answer->result = json_incref(result);
	if (err)
		answer->error = *err;
}

json_t *block_rig_action(struct block_rig *rig, const char *class_name, const char *action, const char *key,
			 json_t *args, struct dpu_error *err)
{
	struct answer answer = { 0 };

	model_action(rig->dpu.model, class_name, action, NULL, key, args, action_answered, &answer);
	WAIT_FOR(&rig->base, answer.given);
	json_decref(args);
	if (err)
		*err = answer.error;
	else if (answer.status != 0)
		fail_msg("%s: %s", answer.error.path, answer.error.message);
	return answer.result;
}

void block_rig_quarantine(struct block_rig *rig, const char *volume)
{
	volume_quarantined(volume_of(block_rig_find(rig, "volume", volume)), "a page of its map is damaged");
}

void block_rig_pool(struct block_rig *rig)
{
	block_rig_apply(rig,
			"{'tenants': [{'name': 'blue'}], 'media': [{'name': 'm', 'path': '%s/m', 'size': 67108864}],"
			" 'pools': [{'name': 'p', 'media': ['m']}],"
			" 'volumes': [{'name': 'v', 'tenant': 'blue', 'pool': 'p', 'size': 16777216}]}",
			rig->dir);
	FIELD_IS(rig, "volume", "v", "state", "ready");
}

/* ---- a front end ---- */

static void changed(void *ctx)
{
	atomic_fetch_add(&((struct block_rig_user *)ctx)->changes, 1);
}

/* In the worker, where a change may be told in any round. */
static void watch(void *arg, struct worker *worker)
{
	struct block_rig_user *user = arg;

	(void)worker;
	user->watched->changed_ctx = user;
	user->watched->changed = changed;
}

static void given(void *ctx, struct dpu_block_device *device, struct worker *worker)
{
	struct block_rig_user *user = ctx;

	if (device) {
		assert_null(user->device);
		user->given++;
		user->device = user->watched = device;
		user->worker = worker;
		assert_int_equal(worker_call(worker, watch, user, NULL), 0);
		return;
	}
	user->asked = true;
	if (!user->hold)
		block_rig_release(user);
}

void block_rig_attach_as(struct block_rig_user *user, struct block_rig *rig, const char *class_name, const char *name,
			 struct worker *worker, const char *as, const char *policy)
{
	struct block_user how = { .device = given, .ctx = user, .worker = worker };

	if (as)
		how.object = block_rig_find(rig, "volume", as);
	if (policy[0])
		how.policy = block_rig_find(rig, "qos_policy", policy);
	*user = (struct block_rig_user){ .rig = rig };
	user->attachment = block_attach(block_of(&rig->dpu), block_rig_find(rig, class_name, name), &how);
}

void block_rig_attach(struct block_rig_user *user, struct block_rig *rig, const char *class_name, const char *name,
		      struct worker *worker)
{
	block_rig_attach_as(user, rig, class_name, name, worker, NULL, "");
}

void block_rig_release(struct block_rig_user *user)
{
	user->device = NULL;
	user->asked = false;
	block_released(user->attachment);
}

void block_rig_detach(struct block_rig_user *user)
{
	bool done = false;

	block_detach(user->attachment, set, &done);
	WAIT_FOR(&user->rig->base, done);
}

/* ---- I/O ---- */

struct io {
	struct dpu_block_request request;
	struct dpu_block_device *device;
	struct iovec iov;
	atomic_bool done;
};

static void io_done(struct dpu_block_request *request)
{
	atomic_store(&((struct io *)request)->done, true);
}

static void io_submit(void *arg, struct worker *worker)
{
	struct io *io = arg;
	enum dpu_block_status status = dpu_block_check(io->device, &io->request);

	(void)worker;
	if (status != DPU_BLOCK_OK)
		dpu_block_complete(&io->request, status);
	else
		io->device->ops->submit(io->device, &io->request);
}

enum dpu_block_status block_rig_io(struct block_rig_user *user, enum dpu_block_op op, uint64_t offset, void *data,
				   uint64_t length, unsigned flags)
{
	struct io io = { .device = user->device, .iov = { data, length } };

	assert_non_null(user->device);
	io.request = (struct dpu_block_request){ .op = (uint8_t)op,
						 .flags = (uint8_t)flags,
						 .segments = data ? 1 : 0,
						 .offset = offset,
						 .length = length,
						 .iov = &io.iov,
						 .done = io_done };
	assert_int_equal(worker_call(user->worker, io_submit, &io, NULL), 0);
	WAIT_FOR(&user->rig->base, atomic_load(&io.done));
	return io.request.status;
}

void block_rig_fill(uint8_t *data, unsigned version)
{
	for (unsigned i = 0; i < DPU_BLOCK_BYTES; i++)
		data[i] = (uint8_t)(version * 31 + i / 7);
}

void block_rig_write(struct block_rig_user *user, uint64_t block, unsigned version)
{
	uint8_t data[DPU_BLOCK_BYTES];

	block_rig_fill(data, version);
	assert_int_equal(block_rig_io(user, DPU_BLOCK_WRITE, block * sizeof(data), data, sizeof(data), DPU_BLOCK_FUA),
			 DPU_BLOCK_OK);
}

void block_rig_expect(struct block_rig_user *user, uint64_t block, unsigned version)
{
	uint8_t data[DPU_BLOCK_BYTES], expected[DPU_BLOCK_BYTES] = { 0 };

	if (version)
		block_rig_fill(expected, version);
	assert_int_equal(block_rig_io(user, DPU_BLOCK_READ, block * sizeof(data), data, sizeof(data), 0), DPU_BLOCK_OK);
	assert_memory_equal(data, expected, sizeof(data));
}
