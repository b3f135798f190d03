/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of failure while a transaction is applied or stored: everything is as before, wherever it struck. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "model/test_classes.h"

static struct test_service service;
static char directory[] = "/tmp/undo_test.XXXXXX", store[64];

/* Creates, changes and deletes at once, with references between all of them. */
static struct txn *mixed(struct model *model)
{
	struct txn *txn;

	assert_int_equal(txn_new(model, &txn), 0);
	test_add(txn, CHANGE_CREATE, "vnic", "green/n",
		 "{'subnet': 'ns', 'groups': ['ng'], 'mac': '02:00:00:00:00:09'}");
	test_add(txn, CHANGE_CREATE, "tenant", "green", NULL);
	test_add(txn, CHANGE_CREATE, "vpc", "green/nv", "{'vni': 7}");
	test_add(txn, CHANGE_CREATE, "subnet", "green/ns", "{'vpc': 'nv', 'prefix': 'fd00::/64'}");
	test_add(txn, CHANGE_CREATE, "group", "green/ng", NULL);
	test_add(txn, CHANGE_DELETE, "group", "blue/g1", NULL);
	test_add(txn, CHANGE_UPDATE, "subnet", "blue/s", "{'extra': ['10.7.0.0/16'], 'name': 'renamed'}");
	test_add(txn, CHANGE_UPDATE, "vnic", "blue/web", "{'groups': ['g2', 'g3'], 'name': 'www', 'notes': []}");
	test_add(txn, CHANGE_CREATE, "group", "blue/g3", NULL);
	test_add(txn, CHANGE_UPDATE, "tenant", "blue", "{'max_objects': 77}");
	test_add(txn, CHANGE_DELETE, "vnic", "blue/old", NULL);
	test_add(txn, CHANGE_DELETE, "subnet", "blue/old", NULL);
	test_add(txn, CHANGE_UPDATE, "vpc", "blue/v", "{'vni': 70}");
	test_add(txn, CHANGE_CREATE, "vpc", "blue/w", "{'vni': 7}");
	return txn;
}

static struct model *prepared(const char *path)
{
	struct model *model = test_model(&service, path);

	test_seed(model);
	test_do(model, CHANGE_CREATE, "subnet", "blue/old", "{'vpc': 'v', 'prefix': '10.9.0.0/24'}");
	test_do(model, CHANGE_CREATE, "vnic", "blue/old", "{'subnet': 'old', 'groups': ['g2']}");
	return model;
}

static void fails_at_every_position(void **state)
{
	struct model *model = prepared(NULL);
	struct dpu_error err;
	int position, status = -1;

	for (position = 1; status < 0; position++) {
		json_t *before = test_dump(model), *after;
		unsigned commits = service.commits, applied = service.applies;
		err = (struct dpu_error){ 0 };
		service.fail_remaining = position;
		status = test_commit(mixed(model), &err, NULL);
		after = test_dump(model);
		assert_int_equal(service.commits, commits + 1);
		if (status < 0) {
			assert_int_equal(err.code, DPU_E_IO);
			assert_string_equal(err.message, "the device is on fire");
			assert_non_null(strstr(err.path, ".mtu"));
			assert_true(json_equal(before, after));
			assert_true(service.applies >= applied + (unsigned)position);
		} else {
			assert_false(json_equal(before, after));
		}
		test_check_book(model, &service);
		json_decref(before);
		json_decref(after);
	}
	assert_int_equal(position - 1, 11 + 1); /* each of the 11 applies failed once, then none */
	model_free(model);
	assert_int_equal(service.count, 0);
}

/* The same order of slots and the same uses of names follow a failure as if it had not been. */
static void failure_leaves_indexes_alone(void **state)
{
	struct model *model = prepared(NULL);
	struct dpu_error err = { 0 };

	service.fail_remaining = 9;
	assert_true(test_commit(mixed(model), &err, NULL) < 0);
	test_do(model, CHANGE_CREATE, "tenant", "green", NULL);
	test_do(model, CHANGE_CREATE, "group", "blue/g3", NULL);
	assert_int_equal(model_find(model, "group", "blue", "g3")->slot, 3);
	assert_int_equal(test_change(model, CHANGE_CREATE, "vpc", "blue/x", "{'vni': 7}", &err), -EEXIST);
	assert_int_equal(test_change(model, CHANGE_DELETE, "group", "blue/g1", NULL, &err), -EBUSY);
	assert_int_equal(model_count(model, "vnic", NULL), 2);
	model_free(model);
}

static void failing_undo_is_told(void **state)
{
	struct model *model = prepared(NULL);
	struct dpu_error err = { 0 };

	service.fail_remaining = 11;
	service.fail_again = 1;
	assert_true(test_commit(mixed(model), &err, NULL) < 0);
	assert_int_equal(err.code, DPU_E_INTERNAL);
	assert_non_null(strstr(err.message, "the device is on fire; and "));
	assert_non_null(strstr(err.message, "could not be put back: it is on fire, too"));
	/* The book and the model differ in what could not be put back; the model itself is sound. */
	json_t *dump = test_dump(model);
	assert_true(json_object_size(dump) > 0);
	json_decref(dump);
	model_free(model);
	service.count = 0;
}

/* A refused transaction is not in the store, and neither is one that could not be applied. */
static void store_agrees(void **state)
{
	struct model *model = prepared(store);
	struct dpu_error err = { 0 };

	for (int position = 1; position <= 11; position += 4) {
		service.fail_remaining = position;
		assert_true(test_commit(mixed(model), &err, NULL) < 0);
	}
	json_t *before = test_dump(model);
	model_free(model);
	model = test_model(&service, store);
	json_t *after = test_dump(model);
	assert_true(json_equal(before, after));
	test_check_book(model, &service);
	json_decref(before);
	json_decref(after);

	assert_int_equal(test_commit(mixed(model), &err, NULL), 0);
	before = test_dump(model);
	model_free(model);
	model = test_model(&service, store);
	after = test_dump(model);
	assert_true(json_equal(before, after));
	json_decref(before);
	json_decref(after);
	model_free(model);
}

/* What is replayed and cannot be applied: no model, and the store is whole. */
static void replay_fails(void **state)
{
	struct model *model = test_model(&service, store);
	struct dpu_error err = { 0 };
	json_t *before = test_dump(model);

	model_free(model);
	service = (struct test_service){ .fail_remaining = 5 };
	assert_true(test_model_try(&service, store, &model, &err) < 0);
	assert_string_equal(err.message, "the device is on fire");
	assert_int_equal(service.count, 0);
	model = test_model(&service, store);
	json_t *after = test_dump(model);
	assert_true(json_equal(before, after));
	json_decref(before);
	json_decref(after);
	model_free(model);
}

static int set_up(void **state)
{
	if (!mkdtemp(directory))
		return -1;
	snprintf(store, sizeof(store), "%s/store.db", directory);
	return 0;
}

static int tear_down(void **state)
{
	unlink(store);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fails_at_every_position),
		cmocka_unit_test(failure_leaves_indexes_alone),
		cmocka_unit_test(failing_undo_is_told),
		cmocka_unit_test(store_agrees),
		cmocka_unit_test(replay_fails),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
