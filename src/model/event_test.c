/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of events, notices and actions. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "model/test_classes.h"

static struct test_service service;
static struct model *model;

static int set_up(void **state)
{
	model = test_model(&service, NULL);
	test_seed(model);
	return 0;
}

static int tear_down(void **state)
{
	model_free(model);
	return 0;
}

/* ---- events ---- */

struct listener {
	char heard[512]; /* "created group g1; …" */
	uint64_t last;
	int calls;
	bool leave; /* at the first event */
	struct subscription *own, *other;
	json_t *json;
};

static const char *const kinds[] = { "created", "changed", "deleted", "notice" };

static void hear(void *arg, const struct event *event)
{
	struct listener *listener = arg;
	size_t length = strlen(listener->heard);

	listener->calls++;
	if (listener->last)
		assert_int_equal(event->sequence, listener->last + 1);
	listener->last = event->sequence;
	assert_true(event->time_ns > UINT64_C(1600000000000000000));
	snprintf(listener->heard + length, sizeof(listener->heard) - length, "%s %s; ", kinds[event->kind],
		 event->object ? event->object->name : event->name);
	json_decref(listener->json);
	listener->json = event_json(event);
	if (listener->leave) {
		model_unsubscribe(listener->own);
		model_unsubscribe(listener->other);
		listener->leave = false;
	}
}

static void several_changes(void)
{
	struct txn *txn;

	txn_new(model, &txn);
	test_add(txn, CHANGE_CREATE, "group", "blue/g3", NULL);
	test_add(txn, CHANGE_UPDATE, "vnic", "blue/web", "{'groups': ['g3'], 'mtu': 1400}");
	test_add(txn, CHANGE_DELETE, "group", "blue/g1", NULL);
	assert_int_equal(test_commit(txn, NULL, NULL), 0);
}

static void changes_are_told(void **state)
{
	struct listener all = { 0 }, groups = { 0 };
	struct subscription *none;

	assert_int_equal(model_subscribe(model, "nothing", hear, &all, &none), -ENOENT);
	assert_int_equal(model_subscribe(model, NULL, hear, &all, &all.own), 0);
	several_changes();
	assert_string_equal(all.heard, "created g3; changed web; deleted g1; ");
	assert_int_equal(model_subscribe(model, "group", hear, &groups, &groups.own), 0);
	test_do(model, CHANGE_UPDATE, "group", "blue/g3", "{'description': 'x'}");
	test_do(model, CHANGE_UPDATE, "group", "blue/g3", "{'description': 'x'}"); /* nothing happens */
	test_change(model, CHANGE_UPDATE, "group", "blue/g3", "{'description': 5}", NULL);
	assert_string_equal(groups.heard, "changed g3; ");
	json_t *detail = json_object_get(groups.json, "detail");
	json_t *fields = test_json("{'description': {'old': null, 'new': 'x'}}");
	assert_true(json_equal(json_object_get(detail, "fields"), fields));
	assert_string_equal(json_string_value(json_object_get(groups.json, "kind")), "changed");
	assert_string_equal(json_string_value(json_object_get(groups.json, "class")), "group");
	assert_string_equal(json_string_value(json_object_get(groups.json, "tenant")), "blue");
	assert_string_equal(json_string_value(json_object_get(groups.json, "name")), "g3");
	assert_int_equal(json_integer_value(json_object_get(groups.json, "sequence")), groups.last);
	assert_non_null(strstr(json_string_value(json_object_get(groups.json, "time")), "T"));
	json_decref(fields);
	test_do(model, CHANGE_DELETE, "vnic", "blue/web", NULL);
	assert_int_equal(groups.calls, 1);
	assert_int_equal(all.calls, 5);
	model_unsubscribe(groups.own);
	json_decref(groups.json);
	json_decref(all.json);
}

static void details_without_diff(void **state)
{
	struct listener all = { 0 };
	struct txn *txn;
	json_t *diff = json_true();

	model_subscribe(model, NULL, hear, &all, &all.own);
	txn_new(model, &txn);
	txn_skip_diff(txn);
	test_add(txn, CHANGE_UPDATE, "vnic", "blue/web", "{'mtu': 1400}");
	assert_int_equal(test_commit(txn, NULL, &diff), 0);
	assert_null(diff);
	assert_non_null(json_object_get(json_object_get(json_object_get(all.json, "detail"), "fields"), "mtu"));
	json_decref(all.json);
}

static void notices(void **state)
{
	struct listener all = { 0 }, vnics = { 0 }, groups = { 0 };

	model_subscribe(model, NULL, hear, &all, &all.own);
	model_subscribe(model, "vnic", hear, &vnics, &vnics.own);
	model_subscribe(model, "group", hear, &groups, &groups.own);
	model_notice(model, model_find(model, "vnic", "blue", "web"), "guest-connected",
		     json_pack("{s:i}", "queues", 2));
	assert_string_equal(json_string_value(json_object_get(vnics.json, "notice")), "guest-connected");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(vnics.json, "detail"), "queues")), 2);
	model_notice(model, NULL, "low-memory", NULL);
	assert_string_equal(all.heard, "notice web; notice low-memory; ");
	assert_true(json_is_null(json_object_get(all.json, "detail")));
	assert_int_equal(vnics.calls, 1);
	assert_int_equal(groups.calls, 0);
	json_decref(all.json);
	json_decref(vnics.json);
}

/* A listener that leaves, and takes others with it, while an event is being told. */
static void leaving_inside_an_event(void **state)
{
	struct listener a = { .leave = true }, b = { .leave = true };

	model_subscribe(model, NULL, hear, &a, &a.own);
	model_subscribe(model, NULL, hear, &b, &b.own);
	a.other = b.own;
	b.other = a.own;
	several_changes();
	assert_int_equal(a.calls + b.calls, 1);
	model_unsubscribe(NULL);
	json_decref(a.json);
	json_decref(b.json);
}

static void commit_inside(void *arg, const struct event *event)
{
	struct dpu_error *err = arg;

	test_change(model, CHANGE_CREATE, "group", "blue/inside", NULL, err);
}

static void commit_inside_an_event(void **state)
{
	struct subscription *subscription;
	struct dpu_error err = { 0 };

	model_subscribe(model, NULL, commit_inside, &err, &subscription);
	test_do(model, CHANGE_CREATE, "group", "blue/outside", NULL);
	assert_int_equal(err.code, DPU_E_INTERNAL);
	assert_null(model_find(model, "group", "blue", "inside"));
	model_unsubscribe(subscription);
	test_do(model, CHANGE_CREATE, "group", "blue/inside", NULL);
}

/* ---- actions ---- */

static int answers, answer_status;
static json_t *answer_result;
static struct dpu_error answer_err;

static void answered(void *arg, int status, json_t *result, const struct dpu_error *err)
{
	answers++;
	answer_status = status;
	json_decref(answer_result);
	answer_result = json_incref(result);
	answer_err = err ? *err : (struct dpu_error){ 0 };
}

static int run(const char *class, const char *action, const char *tenant, const char *key, const char *args)
{
	json_t *json = args ? test_json(args) : NULL;

	answers = 0;
	model_action(model, class, action, tenant, key, json, answered, NULL);
	json_decref(json);
	return answer_status;
}

static void result_is(const char *text)
{
	json_t *expected = test_json(text);

	assert_int_equal(answers, 1);
	assert_true(json_equal(answer_result, expected));
	json_decref(expected);
}

static void fails(const char *path, const char *words)
{
	assert_int_equal(answers, 1);
	assert_true(answer_status < 0);
	assert_int_equal(answer_status, error_errno(answer_err.code));
	assert_null(answer_result);
	assert_string_equal(answer_err.path, path);
	if (!strstr(answer_err.message, words))
		fail_msg("\"%s\" does not say \"%s\"", answer_err.message, words);
}

static void actions_run(void **state)
{
	run("vnic", "probe", NULL, "blue/web", "{'note': 'x'}");
	result_is("{'object': 'web', 'count': 3, 'note': 'x'}");
	run("vnic", "probe", "blue", "web", "{'note': 'x', 'count': 10, 'via': 'g2'}");
	result_is("{'object': 'web', 'count': 10, 'note': 'x', 'via': 'g2'}");
	run("vnic", "probe", "blue", "web", "{'note': 'x', 'count': null}");
	result_is("{'object': 'web', 'count': 3, 'note': 'x'}");

	run("vnic", "probe", "blue", "web", "{'note': 'x', 'count': 11}");
	fails("probe.count", "give 1 to 10");
	run("vnic", "probe", "blue", "web", "{}");
	fails("probe.note", "this is required: What the probe is for. Example: dpuctl vnic probe blue/web note=x");
	run("vnic", "probe", "blue", "web", NULL);
	fails("probe.note", "this is required");
	run("vnic", "probe", "blue", "web", "{'note': ''}");
	fails("probe.note", "this is required");
	run("vnic", "probe", "blue", "web", "[]");
	fails("probe", "must be an object");
	run("vnic", "probe", "blue", "web", "{'note': 'x', 'more': 1}");
	fails("probe.more", "no such argument");
	run("vnic", "probe", "blue", "web", "{'note': 'x', 'via': 'g9'}");
	fails("probe.via", "no group \"g9\" in tenant \"blue\"");
	run("vnic", "probe", "blue", "web", "{'note': 'fail'}");
	fails("probe.note", "nobody answered");
	run("vnic", "probe", "blue", "web", "{'note': 'unplugged'}");
	fails("vnic/blue/web", "it has no guest");
	run("vnic", "probe", "blue", NULL, "{'note': 'x'}");
	fails("vnic", "give its name");
	run("vnic", "probe", "blue", "none", "{'note': 'x'}");
	fails("vnic", "no vnic \"none\"");
	run("vnic", "probe", "nobody", "web", "{'note': 'x'}");
	fails("vnic", "no tenant");
	run("vnic", "jump", "blue", "web", NULL);
	fails("vnic", "no action \"jump\"");
	run("nothing", "jump", NULL, NULL, NULL);
	fails("", "no class \"nothing\"");
	run("vnic", "count-later", NULL, "blue/web", NULL);
	fails("vnic", "not about one object");
	run("vnic", "count-later", NULL, NULL, "{'x': 1}");
	fails("count-later", "takes no arguments");
}

static void actions_answer_later(void **state)
{
	struct dpu_error err = { 0 };

	run("vnic", "count-later", NULL, NULL, NULL);
	assert_int_equal(answers, 0);
	action_answer(service.pending, 0, json_pack("[i]", 7), NULL);
	result_is("[7]");
	run("vnic", "count-later", NULL, NULL, "{}");
	error_set(&err, DPU_E_TIMEOUT, "x", "too slow");
	action_answer(service.pending, -ETIMEDOUT, NULL, &err);
	fails("x", "too slow");
	run("vnic", "probe-later", NULL, "blue/web", "{'note': 'x'}");
	error_set(&err, DPU_E_TIMEOUT, NULL, "too slow");
	action_answer(service.pending, -ETIMEDOUT, NULL, &err);
	fails("vnic/blue/web", "too slow");
	run("vnic", "probe-later", NULL, "blue/web", "{'note': 'x'}");
	error_set(&err, DPU_E_TIMEOUT, "note", "too slow");
	action_answer(service.pending, -ETIMEDOUT, NULL, &err);
	fails("probe-later.note", "too slow");
	run("vnic", "count-later", NULL, NULL, NULL);
	action_answer(service.pending, -EIO, json_true(), NULL);
	assert_int_equal(answer_err.code, DPU_E_INTERNAL);
	json_decref(answer_result);
	answer_result = NULL;
}

int main(void)
{
#define TEST(name_) cmocka_unit_test_setup_teardown(name_, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(changes_are_told),        TEST(details_without_diff),   TEST(notices),
		TEST(leaving_inside_an_event), TEST(commit_inside_an_event), TEST(actions_run),
		TEST(actions_answer_later),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
