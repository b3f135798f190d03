/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of declared documents: the way there, the way back by export, what is left alone, what is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "model/document.h"
#include "model/test_classes.h"

static struct test_service service;
static struct model *model;

static const char document[] =
	"{'version': 1,"
	" 'vnics': [{'tenant': 'blue', 'name': 'web', 'subnet': 's', 'groups': ['red/guests'], 'labels': ['a=b']},"
	"           {'tenant': 'blue', 'name': 'db', 'subnet': 's', 'mtu': 9000}],"
	" 'subnets': [{'tenant': 'blue', 'name': 's', 'vpc': 'v', 'prefix': '10.0.0.0/24'}],"
	" 'vpcs': [{'tenant': 'blue', 'name': 'v', 'vni': 5}],"
	" 'groups': [{'tenant': 'red', 'name': 'guests'}],"
	" 'tenants': [{'name': 'blue'}, {'name': 'red', 'max_objects': 10}],"
	" 'ports': null,"
	" 'dpu': {'contact': 'ops'}}";

static int set_up(void **state)
{
	model = test_model(&service, NULL);
	return 0;
}

static int tear_down(void **state)
{
	test_check_book(model, &service);
	model_free(model);
	return 0;
}

static struct txn *plan(const char *text, bool prune)
{
	struct dpu_error err = { 0 };
	struct txn *txn;
	json_t *json = test_json(text);

	if (document_plan(model, json, prune, &txn, &err) < 0)
		fail_msg("%s: %s", err.path, err.message);
	json_decref(json);
	return txn;
}

static void apply(const char *text, bool prune)
{
	struct dpu_error err = { 0 };

	if (test_commit(plan(text, prune), &err, NULL) < 0)
		fail_msg("%s: %s", err.path, err.message);
}

/* The dry run of a document: how many changes. */
static size_t difference(const char *text, bool prune, json_t **ret_diff)
{
	struct dpu_error err = { 0 };
	struct txn *txn = plan(text, prune);
	json_t *diff = NULL;

	if (txn_check(txn, &diff, &err) < 0)
		fail_msg("%s: %s", err.path, err.message);
	txn_free(txn);
	size_t count = json_array_size(diff);
	if (ret_diff)
		*ret_diff = diff;
	else
		json_decref(diff);
	return count;
}

static const struct test_vnic *vnic(const char *name)
{
	return (const struct test_vnic *)model_find(model, "vnic", "blue", name);
}

static void creates_all(void **state)
{
	assert_int_equal(difference(document, true, NULL), 8);
	apply(document, true);
	assert_int_equal(vnic("db")->mtu, 9000);
	assert_string_equal(vnic("web")->groups.items[0].object->name, "guests");
	assert_string_equal(((struct test_dpu *)model_find(model, "dpu", NULL, "dpu"))->contact, "ops");
	/* Once there, there is nothing to do, and nothing is touched. */
	unsigned applies = service.applies;
	assert_int_equal(difference(document, true, NULL), 0);
	apply(document, true);
	assert_int_equal(service.applies, applies);
	assert_int_equal(vnic("web")->base.generation, 1);
}

static void absent_fields_go_back(void **state)
{
	apply(document, false);
	struct mac_addr mac = vnic("db")->mac;
	test_do(model, CHANGE_UPDATE, "vnic", "blue/db",
		"{'password': 'x', 'hostname': 'h', 'notes': [], 'labels': ['z=y']}");
	test_do(model, CHANGE_UPDATE, "vnic", "blue/web", "{'mtu': 100}");
	json_t *diff, *expected = test_json("{'mtu': {'old': 100, 'new': 1500}}");
	assert_int_equal(difference(document, false, &diff), 2);
	for (size_t i = 0; i < 2; i++) {
		json_t *change = json_array_get(diff, i);
		if (strcmp(json_string_value(json_object_get(change, "name")), "web") == 0)
			assert_true(json_equal(json_object_get(change, "fields"), expected));
	}
	json_decref(expected);
	json_decref(diff);
	apply(document, false);
	assert_null(vnic("db")->hostname);
	assert_int_equal(vnic("db")->notes.count, 2);
	assert_int_equal(vnic("db")->base.labels.count, 0);
	/* What a document cannot know is kept. */
	assert_string_equal(vnic("db")->password, "x");
	assert_true(mac_equal(&vnic("db")->mac, &mac));
	assert_int_equal(vnic("db")->mtu, 9000);
}

static void prunes(void **state)
{
	apply(document, false);
	test_do(model, CHANGE_CREATE, "tenant", "extra", NULL);
	test_do(model, CHANGE_CREATE, "group", "extra/g", NULL);
	test_do(model, CHANGE_CREATE, "group", "blue/g", NULL);
	assert_int_equal(difference(document, false, NULL), 0);
	json_t *diff;
	assert_int_equal(difference(document, true, &diff), 3);
	assert_string_equal(json_string_value(json_object_get(json_array_get(diff, 0), "op")), "delete");
	json_decref(diff);
	apply(document, true);
	assert_null(model_find(model, "tenant", NULL, "extra"));
	assert_int_equal(model_count(model, "group", NULL), 1);
	apply("{'version': 1}", true);
	assert_int_equal(model_count(model, "tenant", NULL), 0);
	assert_int_equal(model_count(model, "vnic", NULL), 0);
	assert_int_equal(model_count(model, "dpu", NULL), 1);
}

/* Export, everything away, and back: the same but for identities. */
static void export_round_trip(void **state)
{
	test_seed(model);
	apply("{'version': 1, 'tenants': [{'name': 'blue', 'max_objects': 50}]}", false);
	test_do(model, CHANGE_UPDATE, "vnic", "blue/web",
		"{'mtu': 1400, 'notes': [], 'enabled': false, 'labels': ['x=y'], 'hostname': 'h', 'password': 'p'}");
	test_do(model, CHANGE_CREATE, "port", "p", "{'device': 'x', 'speed': 0}");
	test_do(model, CHANGE_CREATE, "group", "red/g", NULL);
	test_do(model, CHANGE_UPDATE, "vnic", "blue/web", "{'groups': ['g2', 'red/g']}");
	test_do(model, CHANGE_UPDATE, "dpu", NULL, "{'contact': 'ops'}");
	json_t *exported = model_export(model);
	char *text = json_dumps(exported, 0);
	assert_null(strstr(text, "password"));
	assert_null(strstr(text, "uuid"));
	assert_non_null(strstr(text, "\"speed\": 0"));
	assert_non_null(strstr(text, "\"notes\": []"));
	assert_int_equal(difference(text, true, NULL), 0);
	apply("{'version': 1, 'dpu': {}}", true);
	json_t *empty = model_export(model), *nothing = test_json("{'version': 1}");
	assert_true(json_equal(empty, nothing));
	apply(text, true);
	json_t *again = model_export(model);
	assert_true(json_equal(exported, again));
	json_decref(again);
	json_decref(nothing);
	json_decref(empty);
	json_decref(exported);
	free(text);
}

static void refused_documents(void **state)
{
	static const struct {
		const char *text, *path, *words;
	} cases[] = {
		{ "[]", "", "expected an object" },
		{ "{}", "version", "must say version 1" },
		{ "{'version': 2}", "version", "must say version 1" },
		{ "{'version': '1'}", "version", "must say version 1" },
		{ "{'version': 1, 'vnic': []}", "vnic", "no such objects" },
		{ "{'version': 1, 'vnics': {}}", "vnics", "expected a list" },
		{ "{'version': 1, 'vnics': ['x']}", "vnics[0]", "expected an object" },
		{ "{'version': 1, 'vnics': [{'tenant': 'blue', 'name': 'web'}, {'tenant': 'blue'}]}", "vnics[1].name",
		  "needs a name" },
		{ "{'version': 1, 'vnics': [{'name': 'x'}]}", "vnics[0].tenant", "whose vnic" },
		{ "{'version': 1, 'vnics': [{'tenant': 5, 'name': 'x'}]}", "vnics[0].tenant", "whose vnic" },
		{ "{'version': 1, 'groups': [{'tenant': 'blue', 'name': 'g1'}, {'tenant': 'blue', 'name': 'g1'}]}",
		  "groups[1].name", "twice" },
		{ "{'version': 1, 'dpu': []}", "dpu", "expected an object" },
		{ "{'version': 1, 'dpus': []}", "dpus", "no such objects" },
	};

	test_seed(model);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct dpu_error err = { 0 };
		struct txn *txn;
		json_t *json = test_json(cases[i].text);
		assert_int_equal(document_plan(model, json, true, &txn, &err), -EINVAL);
		assert_string_equal(err.path, cases[i].path);
		if (!strstr(err.message, cases[i].words))
			fail_msg("%s: \"%s\"", cases[i].text, err.message);
		json_decref(json);
	}
}

/* What the plan lets through, the transaction refuses as a whole. */
static void refused_by_transaction(void **state)
{
	static const struct {
		const char *text, *path;
	} cases[] = {
		{ "{'version': 1, 'vnics': [{'tenant': 'blue', 'name': 'web', 'subnet': 's', 'mode': 'tap'}]}",
		  "vnic/blue/web.mode" },
		{ "{'version': 1, 'groups': [{'tenant': 'blue', 'name': 'new', 'colour': 1}]}",
		  "group/blue/new.colour" },
		{ "{'version': 1, 'groups': [{'tenant': 'nobody', 'name': 'new'}]}", "group/nobody/new.tenant" },
		{ "{'version': 1, 'groups': [{'tenant': 'blue', 'name': 'n'}, {'tenant': 'blue', 'name': 'n'}]}",
		  "group/blue/n.name" },
		{ "{'version': 1, 'groups': [{'tenant': 'blue', 'name': 'a/b'}]}", "group/a/b.name" },
	};

	test_seed(model);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct dpu_error err = { 0 };
		assert_true(test_commit(plan(cases[i].text, false), &err, NULL) < 0);
		assert_string_equal(err.path, cases[i].path);
	}
}

int main(void)
{
#define TEST(name_) cmocka_unit_test_setup_teardown(name_, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(creates_all),       TEST(absent_fields_go_back), TEST(prunes),
		TEST(export_round_trip), TEST(refused_documents),     TEST(refused_by_transaction),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
