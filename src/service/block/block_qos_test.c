// SPDX-License-Identifier: BSD-3-Clause
/* Tests of policies as objects: caps in force on real workers, changed and taken away under load; where the time went.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "operating/uring_needed.h"
#include "service/block/block_rig.h"

enum { BLOCK = DPU_BLOCK_BYTES, DEPTH = 64 };

static int setup(void **state)
{
	struct block_rig *rig = malloc(sizeof(*rig));

	block_rig_new(rig, 2, NULL);
	block_rig_apply(rig, "{'tenants': [{'name': 'blue'}], 'media': [{'name': 'm', 'kind': 'ram', 'size': 67108864},"
			     " {'name': 'n', 'kind': 'ram', 'size': 67108864}],"
			     " 'pools': [{'name': 'p', 'media': ['m'], 'worker': 0},"
			     " {'name': 'q', 'media': ['n'], 'worker': 1}],"
			     " 'volumes': [{'name': 'v', 'tenant': 'blue', 'pool': 'p', 'size': 16777216},"
			     " {'name': 'w', 'tenant': 'blue', 'pool': 'q', 'size': 16777216}]}");
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	block_rig_free(*state);
	free(*state);
	return 0;
}

/* ---- many requests at once ---- */

struct burst;

struct burst_request {
	struct dpu_block_request request; /* first */
	struct burst *burst;
};

struct burst {
	struct dpu_block_device *device;
	struct burst_request requests[DEPTH];
	struct iovec iov;
	uint8_t data[BLOCK];
	unsigned count;
	atomic_uint done, failed;
};

static void burst_done(struct dpu_block_request *request)
{
	struct burst *burst = ((struct burst_request *)request)->burst;

	if (request->status != DPU_BLOCK_OK)
		atomic_fetch_add(&burst->failed, 1);
	atomic_fetch_add(&burst->done, 1);
}

static void burst_submit(void *arg, struct worker *worker)
{
	struct burst *burst = arg;

	(void)worker;
	for (unsigned i = 0; i < burst->count; i++)
		burst->device->ops->submit(burst->device, &burst->requests[i].request);
}

static void burst_begin(struct burst *burst, struct block_rig_user *user, unsigned count)
{
	*burst = (struct burst){ .device = user->device, .count = count, .iov = { burst->data, BLOCK } };
	for (unsigned i = 0; i < count; i++)
		burst->requests[i] = (struct burst_request){
			.burst = burst,
			.request = { .op = DPU_BLOCK_WRITE,
				     .segments = 1,
				     .offset = (uint64_t)i * BLOCK,
				     .length = BLOCK,
				     .iov = &burst->iov,
				     .done = burst_done },
		};
	assert_int_equal(worker_call(user->worker, burst_submit, burst, NULL), 0);
}

static void rest(struct block_rig *rig, uint64_t ns)
{
	uint64_t end = clock_ns() + ns;

	WAIT_FOR(&rig->base, clock_ns() >= end);
}

static void set(struct block_rig *rig, const char *fields)
{
	struct dpu_error err = { 0 };

	if (block_rig_change(rig, CHANGE_SET, "qos_policy", "blue/slow", fields, &err) != 0)
		fail_msg("%s: %s", err.path, err.message);
}

static void refer(struct block_rig *rig, const char *volume, const char *fields)
{
	struct dpu_error err = { 0 };

	if (block_rig_change(rig, CHANGE_UPDATE, "volume", volume, fields, &err) != 0)
		fail_msg("%s: %s", err.path, err.message);
}

/* ---- tests ---- */

/* One a second; then a thousand a second, for what waits already, too; then no reference any more. */
static void cap(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user user;
	struct burst *burst = calloc(1, sizeof(*burst));

	set(rig, "{'cap_iops': 1, 'burst_ms': 1}");
	refer(rig, "blue/v", "{'qos': 'slow'}");
	assert_string_equal(block_rig_field(rig, "qos_policy", "slow", "volumes"), "1");
	block_rig_attach(&user, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, user.device != NULL);
	burst_begin(burst, &user, DEPTH);
	rest(rig, 300 * CLOCK_NS_PER_MS);
	assert_true(atomic_load(&burst->done) <= 2);
	uint64_t begin = clock_ns();
	set(rig, "{'cap_iops': 100}");
	WAIT_FOR(&rig->base, atomic_load(&burst->done) == DEPTH);
	assert_true(clock_ns() - begin > (DEPTH - 5) * CLOCK_NS_PER_S / 100);
	assert_int_equal(atomic_load(&burst->failed), 0);
	set(rig, "{'cap_iops': 1}");
	burst_begin(burst, &user, DEPTH);
	rest(rig, 100 * CLOCK_NS_PER_MS);
	assert_true(atomic_load(&burst->done) <= 2);
	refer(rig, "blue/v", "{'qos': null}");
	WAIT_FOR(&rig->base, atomic_load(&burst->done) == DEPTH);
	block_rig_detach(&user);
	free(burst);
}

/* Of a tenant, over volumes on two workers. */
static void tenant(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user user[2];
	struct burst *burst = calloc(2, sizeof(*burst));
	static const char *const names[] = { "v", "w" };

	set(rig, "{'scope': 'tenant', 'cap_iops': 100, 'burst_ms': 1}");
	for (unsigned i = 0; i < 2; i++) {
		block_rig_attach(&user[i], rig, "volume", names[i], NULL);
		WAIT_FOR(&rig->base, user[i].device != NULL);
	}
	assert_ptr_not_equal(user[0].worker, user[1].worker);
	uint64_t begin = clock_ns();
	for (unsigned i = 0; i < 2; i++)
		burst_begin(&burst[i], &user[i], DEPTH / 2);
	WAIT_FOR(&rig->base, atomic_load(&burst[0].done) + atomic_load(&burst[1].done) == DEPTH);
	assert_true(clock_ns() - begin > (DEPTH - 5) * CLOCK_NS_PER_S / 100);
	for (unsigned i = 0; i < 2; i++)
		block_rig_detach(&user[i]);
	free(burst);
}

static void answer(void *arg, int status, const struct dpu_error *err, json_t *diff)
{
	(void)err;
	(void)diff;
	assert_int_equal(status, 0);
	*(bool *)arg = true;
}

/* A volume that is deleted does not wait for what its cap would let through in minutes. */
static void deleted(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user user;
	struct burst *burst = calloc(1, sizeof(*burst));

	set(rig, "{'scope': 'tenant', 'cap_bandwidth': 1024, 'burst_ms': 1}");
	block_rig_attach(&user, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, user.device != NULL);
	user.hold = true;
	burst_begin(burst, &user, DEPTH);
	rest(rig, 50 * CLOCK_NS_PER_MS);
	assert_true(atomic_load(&burst->done) <= 2);
	struct txn *txn;
	bool answered = false;
	assert_int_equal(txn_new(rig->dpu.model, &txn), 0);
	assert_int_equal(txn_add(txn, CHANGE_DELETE, "volume", NULL, "blue/v", NULL, 0, false, NULL), 0);
	txn_commit(txn, answer, &answered);
	WAIT_FOR(&rig->base, atomic_load(&burst->done) == DEPTH);
	assert_int_equal(atomic_load(&burst->failed), 0);
	assert_true(user.asked && !answered);
	block_rig_release(&user);
	block_rig_detach(&user);
	WAIT_FOR(&rig->base, answered);
	txn_free(txn);
	free(burst);
}

static bool text_has(const char *text, const char *what)
{
	return text && strstr(text, what) != NULL;
}

static void flag(void *arg)
{
	*(bool *)arg = true;
}

/* On media, which belong to nobody: a user's own policy, on the device's worker and on another; detached, it does not
 * wait for what its cap would let through in a minute. */
static void medium(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user user;
	struct burst *burst = calloc(1, sizeof(*burst));

	block_rig_apply(rig, "{'media': [{'name': 'f', 'path': '%s/f', 'size': 4194304}]}", rig->dir);
	set(rig, "{'cap_iops': 200, 'burst_ms': 1}");
	for (unsigned i = 0; i < 2; i++) {
		struct worker *other = workers_get(rig->dpu.workers, i);
		block_rig_attach_as(&user, rig, "medium", "f", other, "v", "slow");
		WAIT_FOR(&rig->base, user.device != NULL);
		uint64_t begin = clock_ns();
		burst_begin(burst, &user, DEPTH / 2);
		WAIT_FOR(&rig->base, atomic_load(&burst->done) == DEPTH / 2);
		assert_true(clock_ns() - begin > (DEPTH / 2 - 5) * CLOCK_NS_PER_S / 200);
		char *text = block_service.metrics(block_of(&rig->dpu));
		assert_true(text_has(text, "requests=\"write\",stage=\"medium\"} 32\n"));
		free(text);
		block_set_policy(user.attachment, NULL); /* in force with the next transaction */
		set(rig, "{'cap_iops': 1}");
		begin = clock_ns();
		burst_begin(burst, &user, DEPTH);
		WAIT_FOR(&rig->base, atomic_load(&burst->done) == DEPTH);
		assert_true(clock_ns() - begin < CLOCK_NS_PER_S / 2);
		block_set_policy(user.attachment, block_rig_find(rig, "qos_policy", "slow"));
		set(rig, "{'cap_iops': 2}");
		burst_begin(burst, &user, DEPTH);
		rest(rig, 30 * CLOCK_NS_PER_MS);
		assert_true(atomic_load(&burst->done) <= 3);
		bool detached = false;
		user.hold = true;
		block_detach(user.attachment, flag, &detached);
		WAIT_FOR(&rig->base, atomic_load(&burst->done) == DEPTH);
		assert_int_equal(atomic_load(&burst->failed), 0);
		assert_int_equal(user.given, 1);
		block_rig_release(&user);
		WAIT_FOR(&rig->base, detached);
		set(rig, "{'cap_iops': 200}");
	}
	free(burst);
}

/* Memory is not timed before somebody limits it; a tenant's policy is for its volumes and for what it has on media. */
static void memory(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user user[2];
	struct burst *burst = calloc(2, sizeof(*burst));

	block_rig_apply(rig, "{'media': [{'name': 'r', 'kind': 'ram', 'size': 4194304}]}");
	block_rig_attach_as(&user[0], rig, "medium", "r", NULL, "v", "");
	block_rig_attach(&user[1], rig, "volume", "w", NULL);
	WAIT_FOR(&rig->base, user[0].device && user[1].device);
	set(rig, "{'scope': 'tenant', 'cap_iops': 100, 'burst_ms': 1}");
	WAIT_FOR(&rig->base, user[0].given == 2);
	assert_int_equal(user[1].given, 1);
	uint64_t begin = clock_ns();
	for (unsigned i = 0; i < 2; i++)
		burst_begin(&burst[i], &user[i], DEPTH / 2);
	WAIT_FOR(&rig->base, atomic_load(&burst[0].done) + atomic_load(&burst[1].done) == DEPTH);
	assert_true(clock_ns() - begin > (DEPTH - 5) * CLOCK_NS_PER_S / 100);
	assert_int_equal(atomic_load(&burst[0].failed), 0);
	block_rig_delete(rig, "qos_policy", "blue/slow", false, NULL);
	WAIT_FOR(&rig->base, user[0].given == 3 && user[0].device);
	begin = clock_ns();
	burst_begin(&burst[0], &user[0], DEPTH);
	WAIT_FOR(&rig->base, atomic_load(&burst[0].done) == DEPTH);
	assert_true(clock_ns() - begin < CLOCK_NS_PER_S / 4);
	for (unsigned i = 0; i < 2; i++)
		block_rig_detach(&user[i]);
	free(burst);
}

static void times(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user user;
	struct burst *burst = calloc(1, sizeof(*burst));
	struct dpu_error err = { 0 };

	set(rig, "{'cap_iops': 50, 'burst_ms': 1}");
	refer(rig, "blue/v", "{'qos': 'slow'}");
	block_rig_attach(&user, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, user.device != NULL);
	burst_begin(burst, &user, 10);
	WAIT_FOR(&rig->base, atomic_load(&burst->done) == 10);
	json_t *rows = block_rig_action(rig, "volume", "latency", "blue/v", NULL, &err);
	json_t *row = json_array_get(rows, 3);
	assert_string_equal(json_string_value(json_object_get(row, "requests")), "write");
	assert_string_equal(json_string_value(json_object_get(row, "stage")), "whole");
	assert_int_equal(json_integer_value(json_object_get(row, "count")), 10);
	assert_true(json_real_value(json_object_get(row, "max_us")) > 150000);
	json_decref(rows);
	rows = block_rig_action(rig, "volume", "slowest", "blue/v", NULL, &err);
	assert_int_equal(json_array_size(rows), 8);
	row = json_array_get(rows, 0);
	assert_string_equal(json_string_value(json_object_get(row, "request")), "write");
	assert_int_equal(json_integer_value(json_object_get(row, "offset")), 9 * BLOCK);
	assert_true(json_real_value(json_object_get(row, "wait_us")) > 150000);
	assert_true(json_real_value(json_object_get(row, "map_us")) < 100000);
	json_decref(rows);
	block_rig_change(rig, CHANGE_UPDATE, "medium", "m", "{'name': 'renamed'}", NULL);
	rows = block_rig_action(rig, "volume", "why", "blue/v", json_pack("{s:i}", "offset", 3 * BLOCK + 512), &err);
	char *said = json_dumps(rows, 0);
	assert_true(text_has(said, "block 3 has CRC32C"));
	assert_true(text_has(said, "the volume's own"));
	assert_true(text_has(said, "at most 50/s"));
	assert_true(text_has(said, "\"object\": \"renamed\", \"what\": \"at byte "));
	assert_true(text_has(said, "the slowest of late took"));
	free(said);
	json_decref(rows);
	rows = block_rig_action(rig, "volume", "why", "blue/v", json_pack("{s:i}", "offset", 100 * BLOCK), &err);
	said = json_dumps(rows, 0);
	assert_true(text_has(said, "block 100 was never written"));
	free(said);
	json_decref(rows);
	assert_null(block_rig_action(rig, "volume", "why", "blue/v", json_pack("{s:i}", "offset", 16777216), &err));
	assert_true(text_has(err.message, "ends at 16777216"));
	char *text = block_service.metrics(block_of(&rig->dpu));
	assert_true(text_has(text, "dpu_volume_latency_seconds_count{tenant=\"blue\",volume=\"v\",requests=\"write\","
				   "stage=\"whole\"} 10\n"));
	free(text);
	block_rig_detach(&user);
	free(burst);
}

/* ---- why, of a user that goes away before it is answered ---- */

static struct {
	struct block_rig *rig;
	struct block_rig_user user;
	json_t *rows;
} probe;

static int probe_why(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		     struct dpu_error *err)
{
	return block_why(block_of(&probe.rig->dpu), probe.user.attachment, block_rig_find(probe.rig, "volume", "v"),
			 block_rig_find(probe.rig, "medium", "f"), NULL, NULL, reply, err);
}

static const struct action probe_actions[] = {
	{ .name = "why", .doc = "Asks in the name of a user.", .start = probe_why },
	{ 0 },
};

static const struct field probe_fields[] = { { 0 } };

static const struct object_class probe_class = {
	.name = "probe",
	.plural = "probes",
	.doc = "Asks in the name of a user.",
	.size = sizeof(struct object),
	.fields = probe_fields,
	.actions = probe_actions,
};

static void probe_answered(void *arg, int status, json_t *result, const struct dpu_error *err)
{
	assert_int_equal(status, 0);
	probe.rows = json_incref(result);
}

static void assert_rows(const char *what, const char * not )
{
	char *said = json_dumps(probe.rows, 0);

	if (!text_has(said, what) || text_has(said, not ))
		fail_msg("'%s' in place of '%s'", said, what);
	free(said);
	json_decref(probe.rows);
	probe.rows = NULL;
}

static void gone_meanwhile(void **state)
{
	struct block_rig *rig = *state;
	bool detached = false;

	probe.rig = rig;
	block_rig_down(rig);
	rig->extra = &probe_class;
	block_rig_up(rig);
	block_rig_apply(rig, "{'media': [{'name': 'f', 'path': '%s/f', 'size': 4194304}]}", rig->dir);
	block_rig_attach_as(&probe.user, rig, "medium", "f", NULL, "v", "");
	WAIT_FOR(&rig->base, probe.user.device != NULL);
	model_action(rig->dpu.model, "probe", "why", NULL, NULL, NULL, probe_answered, NULL);
	WAIT_FOR(&rig->base, probe.rows);
	assert_rows("requests wait for their turn", "is not timed");
	/* The worker looks at the filter, and frees it before the control thread reads the answer. */
	model_action(rig->dpu.model, "probe", "why", NULL, NULL, NULL, probe_answered, NULL);
	block_detach(probe.user.attachment, flag, &detached);
	WAIT_FOR(&rig->base, probe.rows && detached);
	assert_rows("is not timed", "requests wait for their turn");
}

static void refused(void **state)
{
	static const struct {
		const char *fields, *path;
	} cases[] = {
		{ "{'cap_iops': 10, 'guarantee_iops': 11}", "guarantee_iops" },
		{ "{'cap_bandwidth': 1023}", "cap_bandwidth" },
		{ "{'guarantee_bandwidth': 1}", "guarantee_bandwidth" },
		{ "{'cap_bandwidth': 4096, 'guarantee_bandwidth': 8192}", "guarantee_bandwidth" },
		{ "{'scope': 'tenant'}", "scope" },
		{ "{'weight': 10001}", "weight" },
		{ "{'burst_ms': 0}", "burst_ms" },
	};
	struct block_rig *rig = *state;
	struct dpu_error err = { 0 };

	set(rig, "{'scope': 'tenant'}");
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_not_equal(
			block_rig_change(rig, CHANGE_CREATE, "qos_policy", "blue/x", cases[i].fields, &err), 0);
		assert_true(text_has(err.path, cases[i].path));
	}
	assert_int_not_equal(block_rig_change(rig, CHANGE_UPDATE, "volume", "blue/v", "{'qos': 'slow'}", &err), 0);
	assert_true(text_has(err.path, "qos"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(cap, setup, teardown),
		cmocka_unit_test_setup_teardown(tenant, setup, teardown),
		cmocka_unit_test_setup_teardown(deleted, setup, teardown),
		cmocka_unit_test_setup_teardown(medium, setup, teardown),
		cmocka_unit_test_setup_teardown(memory, setup, teardown),
		cmocka_unit_test_setup_teardown(times, setup, teardown),
		cmocka_unit_test_setup_teardown(gone_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(refused, setup, teardown),
	};

	uring_needed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
