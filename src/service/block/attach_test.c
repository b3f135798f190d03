// SPDX-License-Identifier: BSD-3-Clause
/* Tests of attachments: users that come and go while what is below them changes, hangs, or waits for others of them. */
#include <stdlib.h>
#include <string.h>
#include "service/block/block_rig_remote.h"

enum { ROUNDS = 50, DEPTH = 64 };

static struct block_backing *backing_of(struct block_rig *rig, const char *class_name, const char *name)
{
	return block_rig_find(rig, class_name, name)->runtime;
}

/* Tells of a change in every round of the worker, as a volume does that is resized for ever. */
struct restless {
	struct worker_source source; /* first */
	struct dpu_block_device *device;
};

static unsigned restless_poll(struct worker_source *source, struct worker *worker)
{
	struct dpu_block_device *device = ((struct restless *)source)->device;

	(void)worker;
	device->changed(device->changed_ctx);
	return 1;
}

static void changes_while_users_go(void **state)
{
	struct block_rig *rig = *state;
	struct block_backing *backing = backing_of(rig, "volume", "v");
	struct restless restless = { .source = { .poll = restless_poll, .fd = -1, .name = "restless" },
				     .device = backing->device };
	unsigned home = worker_index(backing->worker);

	assert_int_equal(worker_add_source(backing->worker, &restless.source), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct block_rig_user here, away;
		block_rig_attach(&here, rig, "volume", "v", NULL);
		block_rig_attach(&away, rig, "volume", "v", workers_get(rig->base.workers, !home));
		WAIT_FOR(&rig->base, here.device && away.device && atomic_load(&away.changes) > 0);
		block_rig_detach(&away);
		block_rig_detach(&here);
	}
	remove_and_wait(&rig->base, home, &restless.source);
}

static void answered(void *arg, int status, const struct dpu_error *err, json_t *diff)
{
	(void)err;
	(void)diff;
	assert_int_equal(status, 0);
	*(bool *)arg = true;
}

/* A volume whose user does not let it go holds back nobody but who has asked for its end. */
static void one_does_not_let_go(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user user;
	struct txn *txn;
	bool gone = false;

	block_rig_attach(&user, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, user.device);
	user.hold = true;
	assert_int_equal(txn_new(rig->dpu.model, &txn), 0);
	assert_int_equal(txn_add(txn, CHANGE_DELETE, "volume", NULL, "blue/v", NULL, 0, false, NULL), 0);
	txn_commit(txn, answered, &gone);
	WAIT_FOR(&rig->base, user.asked);
	block_rig_change(rig, CHANGE_CREATE, "volume", "blue/u", "{'pool': 'p', 'size': '1M'}", NULL);
	assert_string_equal(block_rig_field(rig, "volume", "u", "state"), "ready");
	block_rig_change(rig, CHANGE_CREATE, "snapshot", "blue/s", "{'volume': 'u'}", NULL);
	block_rig_change(rig, CHANGE_UPDATE, "volume", "blue/u", "{'size': '2M'}", NULL);
	block_rig_delete(rig, "volume", "blue/u", true, NULL);
	assert_false(gone);
	block_rig_release(&user);
	block_rig_detach(&user);
	WAIT_FOR(&rig->base, gone);
	txn_free(txn);
}

/* ---- what hangs ---- */

/* Reads for ever, DEPTH at once. */
struct reader {
	struct block_rig_user user;
	struct read {
		struct dpu_block_request request; /* first */
		struct iovec iov;
		struct reader *reader;
	} reads[DEPTH];
	uint8_t data[DEPTH * DPU_BLOCK_BYTES];
	atomic_uint done, under_way;
	atomic_bool stop;
};

static void read_again(struct read *read)
{
	struct dpu_block_device *device = read->reader->user.watched;

	device->ops->submit(device, &read->request);
}

static void read_done(struct dpu_block_request *request)
{
	struct reader *reader = ((struct read *)request)->reader;

	assert_int_equal(request->status, DPU_BLOCK_OK);
	atomic_fetch_add(&reader->done, 1);
	if (atomic_load(&reader->stop))
		atomic_fetch_sub(&reader->under_way, 1);
	else
		read_again((struct read *)request);
}

static void reader_submit(void *arg, struct worker *worker)
{
	struct reader *reader = arg;

	(void)worker;
	for (unsigned i = 0; i < DEPTH; i++)
		read_again(&reader->reads[i]);
}

/* Attaches, and has something to read there. */
static struct reader *reader_new(struct block_rig *rig, const char *volume)
{
	struct reader *reader = calloc(1, sizeof(*reader));

	block_rig_attach(&reader->user, rig, "volume", volume, NULL);
	WAIT_FOR(&rig->base, reader->user.device);
	assert_int_equal(
		block_rig_io(&reader->user, DPU_BLOCK_WRITE, 0, reader->data, sizeof(reader->data), DPU_BLOCK_FUA),
		DPU_BLOCK_OK);
	for (unsigned i = 0; i < DEPTH; i++) {
		struct read *read = &reader->reads[i];
		read->reader = reader;
		read->iov = (struct iovec){ &reader->data[i * DPU_BLOCK_BYTES], DPU_BLOCK_BYTES };
		read->request = (struct dpu_block_request){ .op = DPU_BLOCK_READ,
							    .segments = 1,
							    .offset = (uint64_t)i * DPU_BLOCK_BYTES,
							    .length = DPU_BLOCK_BYTES,
							    .iov = &read->iov,
							    .done = read_done };
	}
	return reader;
}

static void reader_start(struct reader *reader)
{
	atomic_store(&reader->under_way, DEPTH);
	assert_int_equal(worker_call(reader->user.worker, reader_submit, reader, NULL), 0);
}

static void reader_end(struct reader *reader)
{
	atomic_store(&reader->stop, true);
	WAIT_FOR(&reader->user.rig->base, atomic_load(&reader->under_way) == 0);
	block_rig_detach(&reader->user);
	free(reader);
}

/* Somebody has a weight, so what goes by weight has a window; two that hang must not fill it for the others. */
static void one_pool_hangs(void **state)
{
	static const char *const names[] = { "v", "w", "x", "y" };
	struct block_rig *rig = *state;
	struct reader *readers[4];

	block_rig_apply(rig,
			"{'nvmf_remotes': [{'name': 'far'}], 'pools': [{'name': 'q', 'remotes': ['far'], 'worker': 0}],"
			" 'qos_policies': [{'name': 'heavy', 'tenant': 'blue', 'weight': 200}],"
			" 'volumes': [{'name': 'w', 'tenant': 'blue', 'pool': 'p', 'size': '16M', 'qos': 'heavy'},"
			" {'name': 'x', 'tenant': 'blue', 'pool': 'q', 'size': '16M'},"
			" {'name': 'y', 'tenant': 'blue', 'pool': 'q', 'size': '16M'}]}");
	for (unsigned i = 0; i < 4; i++)
		readers[i] = reader_new(rig, names[i]);
	block_rig_remote_hang(rig, "far", true);
	for (unsigned i = 4; i-- > 0;)
		reader_start(readers[i]);
	run_for(&rig->base, 100 * CLOCK_NS_PER_MS);
	unsigned before[2] = { atomic_load(&readers[0]->done), atomic_load(&readers[1]->done) };
	run_for(&rig->base, 300 * CLOCK_NS_PER_MS);
	for (unsigned i = 0; i < 2; i++)
		assert_true(atomic_load(&readers[i]->done) - before[i] > 300);
	block_rig_remote_hang(rig, "far", false);
	for (unsigned i = 0; i < 4; i++)
		reader_end(readers[i]);
}

static int setup(void **state)
{
	static const struct service *const services[] = { &block_service, &block_rig_remote_service, NULL };
	struct block_rig *rig = malloc(sizeof(*rig));

	block_rig_new(rig, 2, services);
	block_rig_apply(rig,
			"{'tenants': [{'name': 'blue'}], 'media': [{'name': 'r', 'kind': 'ram', 'size': 67108864}],"
			" 'pools': [{'name': 'p', 'media': ['r'], 'worker': 0}],"
			" 'volumes': [{'name': 'v', 'tenant': 'blue', 'pool': 'p', 'size': 16777216}]}");
	*state = rig;
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, block_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(changes_while_users_go),
		TEST(one_does_not_let_go),
		TEST(one_pool_hangs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
