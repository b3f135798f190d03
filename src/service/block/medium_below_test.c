// SPDX-License-Identifier: BSD-3-Clause
/* Filters of modules as objects: stacks of media, on real workers. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "operating/uring_needed.h"
#include "service/block/block_priv.h"
#include "service/block/block_rig.h"

enum { MIB = 1 << 20, BLOCK = DPU_BLOCK_BYTES };

static char modules[4096]; /* where they were built */

static void says(const char *text, const char *what)
{
	if (!strstr(text, what))
		fail_msg("'%s' does not say '%s'", text, what);
}

static int setup(void **state)
{
	struct block_rig *rig = malloc(sizeof(*rig));
	char command[4500];

	block_rig_new(rig, 2, NULL);
	snprintf(command, sizeof(command), "cd %s && cp invert.so flaky.so threadfile.so %s/", modules, rig->dir);
	assert_int_equal(system(command), 0);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	block_rig_free(*state);
	free(*state);
	return 0;
}

static uint8_t byte_of(const struct block_rig *rig, const char *file, off_t at)
{
	char path[256];
	uint8_t byte;

	snprintf(path, sizeof(path), "%s/%s", rig->dir, file);
	int fd = open(path, O_RDONLY);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	close(fd);
	return byte;
}

static void committed(void *arg, int status, const struct dpu_error *err, json_t *diff)
{
	*(bool *)arg = true;
}

/* m ← one (invert) ← two (invert), and who attaches to either sees what the other filters make of it. */
static void stack(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user user;
	uint8_t data[BLOCK], back[BLOCK];

	block_rig_apply(rig,
			"{'tenants': [{'name': 'blue'}], 'media': ["
			"{'name': 'two', 'kind': 'module', 'module': 'invert', 'below': 'one'},"
			"{'name': 'one', 'kind': 'module', 'module': 'invert', 'below': 'm'},"
			"{'name': 'm', 'path': '%s/m', 'size': 1048576}]}",
			rig->dir);
	FIELD_IS(rig, "medium", "two", "state", "ready");
	FIELD_IS(rig, "medium", "two", "bytes", "1048576");
	FIELD_IS(rig, "medium", "m", "used_by", "medium/one");
	/* On the other worker: the whole stack moves there. */
	block_rig_attach(&user, rig, "medium", "two", workers_get(rig->dpu.workers, 1));
	WAIT_FOR(&rig->base, user.device);
	memset(data, 0x5a, sizeof(data));
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_WRITE, BLOCK, data, BLOCK, DPU_BLOCK_FUA), DPU_BLOCK_OK);
	assert_int_equal(byte_of(rig, "m", BLOCK), 0x5a);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_READ, BLOCK, back, BLOCK, 0), DPU_BLOCK_OK);
	assert_memory_equal(data, back, BLOCK);
	FIELD_IS(rig, "medium", "two", "served_by", "1");
	FIELD_IS(rig, "medium", "m", "served_by", "1");
	block_rig_detach(&user);
	block_rig_delete(rig, "medium", "two", false, NULL);
	block_rig_attach(&user, rig, "medium", "one", NULL);
	WAIT_FOR(&rig->base, user.device);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_READ, BLOCK, back, BLOCK, 0), DPU_BLOCK_OK);
	assert_int_equal(back[0], 0xa5);
	block_rig_detach(&user);
}

static void pool_on_stack(struct block_rig *rig)
{
	block_rig_apply(rig,
			"{'tenants': [{'name': 'blue'}], 'media': ["
			"{'name': 'm', 'path': '%s/m', 'size': 67108864},"
			"{'name': 'one', 'kind': 'module', 'module': 'invert', 'below': 'm'},"
			"{'name': 'two', 'kind': 'module', 'module': 'flaky', 'below': 'one', 'arguments': 'every=0'}],"
			"'pools': [{'name': 'p', 'media': ['two'], 'worker': 1}],"
			"'volumes': [{'name': 'v', 'tenant': 'blue', 'pool': 'p', 'size': 16777216}]}",
			rig->dir);
	FIELD_IS(rig, "volume", "v", "state", "ready");
}

static void pool_delete(struct block_rig *rig)
{
	block_rig_delete(rig, "pool", "p", true, NULL);
	block_rig_delete(rig, "medium", "two", false, NULL);
	block_rig_delete(rig, "medium", "one", false, NULL);
	block_rig_delete(rig, "medium", "m", false, NULL);
}

/* A pool on a stack, which is there again after a restart, and whose parts go one after the other. */
static void pool(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user user;
	uint8_t data[BLOCK], back[BLOCK];

	pool_on_stack(rig);
	block_rig_attach(&user, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, user.device);
	memset(data, 0x17, sizeof(data));
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_WRITE, 0, data, BLOCK, DPU_BLOCK_FUA), DPU_BLOCK_OK);
	block_rig_detach(&user);
	block_rig_down(rig);
	block_rig_up(rig);
	block_rig_attach(&user, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, user.device);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_READ, 0, back, BLOCK, 0), DPU_BLOCK_OK);
	assert_memory_equal(data, back, BLOCK);
	block_rig_detach(&user);
	pool_delete(rig);
	pool_on_stack(rig);
}

static void refused(struct block_rig *rig, const char *name, const char *fields, const char *why)
{
	struct dpu_error err;

	if (block_rig_change(rig, CHANGE_CREATE, "medium", name, fields, &err) == 0)
		fail_msg("%s was not refused", name);
	says(err.message, why);
}

static void refusals(void **state)
{
	struct block_rig *rig = *state;
	struct dpu_error err;

	block_rig_apply(rig, "{'tenants': [{'name': 'blue'}], 'media': [{'name': 'm', 'kind': 'ram', 'size': 33554432},"
			     "{'name': 'f0', 'kind': 'module', 'module': 'invert', 'below': 'm'}]}");
	refused(rig, "x", "{'kind': 'module', 'module': 'invert', 'below': 'nothing'}", "nothing");
	refused(rig, "x", "{'kind': 'module', 'module': 'invert', 'below': 'm'}", "m is used by medium/f0");
	refused(rig, "x", "{'kind': 'ram', 'size': 4096, 'below': 'f0'}", "goes with kind module only");
	refused(rig, "x", "{'kind': 'module', 'module': 'invert', 'below': 'x'}", "must not form a circle");
	assert_int_not_equal(block_rig_delete(rig, "medium", "m", false, &err), 0);
	says(err.message, "is used by medium/f0");
	assert_int_not_equal(block_rig_change(rig, CHANGE_CREATE, "pool", "p", "{'media': ['m']}", &err), 0);
	says(err.message, "is used by medium/f0");
	for (unsigned i = 1; i < 8; i++) {
		char name[16], fields[128];
		snprintf(name, sizeof(name), "f%u", i);
		snprintf(fields, sizeof(fields), "{'kind': 'module', 'module': 'invert', 'below': 'f%u'}", i - 1);
		block_rig_change(rig, CHANGE_CREATE, "medium", name, fields, NULL);
	}
	FIELD_IS(rig, "medium", "f7", "state", "ready");
	refused(rig, "x", "{'kind': 'module', 'module': 'invert', 'below': 'f7'}", "more than 8 filters");
	/* What cannot be opened is said by who cannot. */
	block_rig_apply(rig, "{'media': [{'name': 'n', 'kind': 'ram', 'size': 33554432},"
			     "{'name': 'bad', 'kind': 'module', 'module': 'flaky', 'below': 'n', 'arguments': 'x'},"
			     "{'name': 'over', 'kind': 'module', 'module': 'invert', 'below': 'bad'}]}");
	FIELD_IS(rig, "medium", "bad", "state", "failed");
	says(block_rig_field(rig, "medium", "bad", "why"), "module flaky: its arguments must be every=N");
	FIELD_IS(rig, "medium", "over", "state", "waiting");
	says(block_rig_field(rig, "medium", "over", "why"), "bad, which it sits on: ");
	/* A module that is no filter. */
	block_rig_apply(rig, "{'media': [{'name': 'o', 'kind': 'ram', 'size': 4194304},"
			     "{'name': 'no', 'kind': 'module', 'module': 'threadfile', 'below': 'o'}]}");
	says(block_rig_field(rig, "medium", "no", "why"), "is no filter");
}

/* What is below goes missing, and comes back. */
static void away(void **state)
{
	struct block_rig *rig = *state;
	char from[128], to[128];

	snprintf(from, sizeof(from), "%s/m", rig->dir);
	snprintf(to, sizeof(to), "%s/away", rig->dir);
	pool_on_stack(rig);
	block_rig_down(rig);
	assert_int_equal(rename(from, to), 0);
	block_rig_up(rig);
	WAIT_FOR(&rig->base, !strcmp(block_rig_field(rig, "medium", "two", "state"), "waiting"));
	says(block_rig_field(rig, "medium", "two", "why"), "one, which it sits on: m, which it sits on: ");
	says(block_rig_field(rig, "pool", "p", "why"), "there is no such file");
	assert_int_equal(rename(to, from), 0);
	WAIT_FOR(&rig->base, !strcmp(block_rig_field(rig, "pool", "p", "state"), "ready"));
	block_rig_down(rig);
	assert_int_equal(rename(from, to), 0);
	block_rig_up(rig);
	pool_delete(rig); /* nobody waits for what does not come */
}

static void busy(void *arg, struct worker *worker)
{
	usleep(100000);
}

/* The DPU stops while the worker still is to look at what a new filter sits on. */
static void asked_back_at_once(void **state)
{
	struct block_rig *rig = *state;
	json_t *fields = json_pack("{s:s, s:s, s:s}", "kind", "module", "module", "invert", "below", "m");
	bool answered = false;
	struct medium *medium;
	struct txn *txn;

	block_rig_apply(rig, "{'media': [{'name': 'm', 'kind': 'ram', 'size': 1048576}]}");
	assert_int_equal(txn_new(rig->dpu.model, &txn), 0);
	assert_int_equal(txn_add(txn, CHANGE_CREATE, "medium", NULL, "f", fields, 0, false, NULL), 0);
	json_decref(fields);
	txn_commit(txn, committed, &answered);
	WAIT_FOR(&rig->base, block_rig_find(rig, "medium", "f"));
	medium = medium_of(block_rig_find(rig, "medium", "f"));
	WAIT_FOR(&rig->base, medium->below.attachment);
	assert_int_equal(worker_call(medium->below.worker, busy, NULL, NULL), 0);
	WAIT_FOR(&rig->base, medium->below.given);
	assert_null(medium->below.device);
	block_rig_down(rig);
	assert_true(answered);
	txn_free(txn);
	block_rig_up(rig);
	WAIT_FOR(&rig->base, !strcmp(block_rig_field(rig, "medium", "f", "state"), "ready"));
}

/* What a filter fails is counted as its own. */
static void errors(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user user;
	uint8_t data[BLOCK] = { 0 };
	unsigned failed = 0;

	block_rig_apply(rig,
			"{'media': [{'name': 'm', 'kind': 'ram', 'size': 33554432}, {'name': 'f', 'kind': 'module',"
			"'module': 'flaky', 'below': 'm', 'arguments': 'every=3'}]}");
	block_rig_attach(&user, rig, "medium", "f", workers_get(rig->dpu.workers, 1));
	WAIT_FOR(&rig->base, user.device);
	for (unsigned i = 0; i < 30; i++)
		failed += block_rig_io(&user, DPU_BLOCK_WRITE, i * BLOCK, data, BLOCK, 0) == DPU_BLOCK_IO_ERROR;
	assert_int_equal(failed, 10);
	WAIT_FOR(&rig->base, !strcmp(block_rig_field(rig, "medium", "f", "errors"), "10"));
	block_rig_detach(&user);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(stack, setup, teardown),
		cmocka_unit_test_setup_teardown(pool, setup, teardown),
		cmocka_unit_test_setup_teardown(refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(away, setup, teardown),
		cmocka_unit_test_setup_teardown(asked_back_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(errors, setup, teardown),
	};

	uring_needed();
	assert_int_equal(argc, 2);
	snprintf(modules, sizeof(modules), "%s", argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
