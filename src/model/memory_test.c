/* SPDX-License-Identifier: BSD-3-Clause */
/* Every allocation fails once: the transaction is refused and everything is as before. Linked with --wrap for the
 * allocation functions that the model calls; Jansson is told. SQLite keeps its own. */
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

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *pointer, size_t size);
void *__real_reallocarray(void *pointer, size_t count, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t length);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *pointer, size_t size);
void *__wrap_reallocarray(void *pointer, size_t count, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t length);

static long remaining; /* allocations until one fails; 0: none does */

static bool denied(void)
{
	return remaining > 0 && --remaining == 0;
}

void *__wrap_malloc(size_t size)
{
	return denied() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return denied() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *pointer, size_t size)
{
	return denied() ? NULL : __real_realloc(pointer, size);
}

void *__wrap_reallocarray(void *pointer, size_t count, size_t size)
{
	return denied() ? NULL : __real_reallocarray(pointer, count, size);
}

char *__wrap_strdup(const char *text)
{
	return denied() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t length)
{
	return denied() ? NULL : __real_strndup(text, length);
}

static struct test_service service;
static struct model *model;

static const char document[] =
	"{'version': 1,"
	" 'tenants': [{'name': 'blue', 'max_objects': 9}, {'name': 'green'}],"
	" 'vpcs': [{'tenant': 'blue', 'name': 'v', 'vni': 9}, {'tenant': 'green', 'name': 'nv', 'vni': 9}],"
	" 'subnets': [{'tenant': 'blue', 'name': 's', 'vpc': 'v', 'prefix': '10.0.0.0/24', 'extra': ['10.9.0.0/16']},"
	"             {'tenant': 'green', 'name': 'ns', 'vpc': 'nv', 'prefix': '10.0.0.0/24'}],"
	" 'groups': [{'tenant': 'blue', 'name': 'g2'}],"
	" 'vnics': [{'tenant': 'blue', 'name': 'web', 'subnet': 's', 'groups': ['g2'], 'hostname': 'h', 'labels': "
	"['a=b'],"
	"            'notes': ['x', 'y'], 'addresses': ['10.0.0.5', '10.0.0.6']},"
	"           {'tenant': 'green', 'name': 'n', 'subnet': 'ns', 'groups': ['blue/g2']}]}";

static void ignore(void *arg, const struct event *event)
{
}

/* Plans, tries and commits; what happened is in *err. */
static int attempt(const json_t *json, struct dpu_error *err)
{
	struct txn *txn;
	json_t *diff = NULL;
	int status = document_plan(model, json, true, &txn, err);

	if (status < 0)
		return status;
	status = txn_check(txn, &diff, err);
	json_decref(diff);
	if (status < 0) {
		txn_free(txn);
		return status;
	}
	return test_commit(txn, err, NULL);
}

static void every_allocation_fails(void **state)
{
	struct subscription *subscription;
	json_t *json = test_json(document);
	long count = 0, refusals = 0;
	int status;

	model = test_model(&service, NULL);
	test_seed(model);
	assert_int_equal(model_subscribe(model, NULL, ignore, NULL, &subscription), 0);
	json_t *before = test_dump(model);
	do {
		struct dpu_error err = { 0 };
		remaining = ++count;
		status = attempt(json, &err);
		bool reached = remaining == 0;
		remaining = 0;
		json_t *after = test_dump(model);
		if (status < 0) {
			assert_true(reached);
			if (strcmp(err.message, "out of memory") != 0)
				fail_msg("allocation %ld: %s: %s", count, err.path, err.message);
			assert_true(json_equal(before, after));
			refusals++;
		} else {
			assert_false(json_equal(before, after));
		}
		json_decref(after);
		test_check_book(model, &service);
		/* Some failures cost only speed or an event's detail; then the way back is another document. */
		if (status == 0 && reached) {
			model_free(model);
			json_decref(before);
			model = test_model(&service, NULL);
			test_seed(model);
			assert_int_equal(model_subscribe(model, NULL, ignore, NULL, &subscription), 0);
			before = test_dump(model);
			status = -1;
		}
	} while (status < 0);
	assert_true(refusals > 300);
	json_decref(before);
	json_decref(json);
	model_free(model);
}

/* The same while a model is made and loaded. */
static void no_model_without_memory(void **state)
{
	int status = -1;

	for (long count = 1; status < 0; count++) {
		struct dpu_error err = { 0 };
		service = (struct test_service){ 0 };
		remaining = count;
		status = test_model_try(&service, NULL, &model, &err);
		bool reached = remaining == 0;
		remaining = 0;
		if (status < 0) {
			assert_true(reached);
			assert_int_equal(service.count, 0);
			/* A default that has no room cannot be told from a wrong one. */
			assert_true(err.code == DPU_E_LIMIT || err.code == DPU_E_INTERNAL || err.code == DPU_E_INVALID);
		}
	}
	model_free(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_fails),
		cmocka_unit_test(no_model_without_memory),
	};

	json_set_alloc_funcs(__wrap_malloc, free);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
