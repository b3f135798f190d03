/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the table rules: every fault is found and says where. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "model/test_classes.h"

struct thing {
	struct object base;
	uint16_t number;
	uint16_t other;
	char *text;
	struct ref ref;
	struct string_list list;
	uint8_t choice;
	bool flag;
	struct mac_addr mac;
};

static const char *const names[] = { "one", "two", NULL };
static const char *const twice[] = { "one", "one", NULL };
static const char *const spaced[] = { "on e", NULL };
static const char *const none[] = { NULL };

static bool anything(const char *text)
{
	return true;
}

static void look(void *ctx, const struct object *object, struct object *copy)
{
}

static int fill(void *ctx, const struct object *old, struct object *new, struct dpu_error *err)
{
	return 0;
}

static int act(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	return 0;
}

static int act_later(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		     struct dpu_error *err)
{
	return 0;
}

#define DOC .doc = "It says what it is."

/* What becomes of a class; the error's path and words in *err. */
static int try_class(const struct object_class *class, struct dpu_error *err)
{
	const struct model_options options = { 0 };
	struct model *model;

	*err = (struct dpu_error){ 0 };
	assert_int_equal(model_new(&options, &model, err), 0);
	int status = model_add_class(model, class, NULL, err);
	model_free(model);
	return status;
}

static const struct object_class good = {
	.name = "thing",
	.plural = "things",
	DOC,
	.size = sizeof(struct thing),
	.observe = look,
	.complete = fill,
};

static void faulty_rows(void **state)
{
#define ROW(member_, ...) FIELD(struct thing, member_, __VA_ARGS__)
	static const struct {
		struct field field;
		const char *words; /* NULL: fine */
	} cases[] = {
		{ ROW(number, DOC, .def = "5"), NULL },
		{ ROW(number, DOC, .min = 1, .max = 9, .flags = FIELD_F_UNIQUE), NULL },
		{ ROW(text, DOC, .check = anything, .check_doc = "anything"), NULL },
		{ ROW(ref, DOC, .target = "other", .flags = FIELD_F_PARENT | FIELD_F_REQUIRED), NULL },
		{ FIELD_ENUM_ROW(struct thing, choice, names, DOC, .def = "two"), NULL },
		{ ROW(flag, DOC, .flags = FIELD_F_GAUGE), NULL },
		{ ROW(mac, DOC, .flags = FIELD_F_GENERATED), NULL },
		{ ROW(number), "sentence" },
		{ ROW(number, .doc = "No full stop at the end"), "full stop" },
		{ ROW(number, .doc = "Two\nlines of text."), "sentence" },
		{ { .name = "Number", .type = FIELD_U16, .offset = offsetof(struct thing, number), DOC },
		  "snake_case" },
		{ { .name = "num__ber", .type = FIELD_U16, .offset = offsetof(struct thing, number), DOC },
		  "snake_case" },
		{ { .name = "number", .type = 99, .offset = offsetof(struct thing, number), DOC }, "no such type" },
		{ { .name = "number", .type = FIELD_U16, .offset = sizeof(struct thing), DOC }, "outside the struct" },
		{ { .name = "number", .type = FIELD_U16, .offset = 0, DOC }, "outside the struct" },
		{ ROW(number, DOC, .max = 70000), "beyond the type" },
		{ ROW(number, DOC, .min = 9, .max = 5), "min is above max" },
		{ ROW(number, DOC, .min = 9, .def = "5"), "out of range" },
		{ ROW(number, DOC, .def = "five"), "whole number" },
		{ ROW(number, DOC, .def = "5", .flags = FIELD_F_REQUIRED), "no default" },
		{ ROW(number, DOC, .flags = FIELD_F_REQUIRED | FIELD_F_GENERATED), "not generated" },
		{ ROW(number, DOC, .flags = FIELD_F_STATE | FIELD_F_COUNTER), "one of them" },
		{ ROW(number, DOC, .flags = FIELD_F_STATE | FIELD_F_REQUIRED), "not configured" },
		{ ROW(number, DOC, .flags = FIELD_F_STATE, .def = "5"), "no default" },
		{ ROW(number, DOC, .flags = FIELD_F_SECRET), "secret is a string" },
		{ ROW(number, DOC, .flags = FIELD_F_PARENT), "parent is a single reference" },
		{ ROW(number, DOC, .target = "other"), "only a reference" },
		{ ROW(number, DOC, .names = names), "only an enumeration" },
		{ ROW(number, DOC, .check = anything, .check_doc = "x"), "belongs to strings" },
		{ ROW(number, DOC, .unit = "Bytes"), "unit" },
		{ ROW(text, DOC, .check = anything), "check_doc" },
		{ ROW(text, DOC, .check_stored = anything), "has a check" },
		{ ROW(text, DOC, .flags = FIELD_F_COUNTER), "are numbers" },
		{ ROW(flag, DOC, .flags = FIELD_F_COUNTER), "are numbers" },
		{ ROW(flag, DOC, .flags = FIELD_F_UNIQUE), "cannot be unique" },
		{ ROW(flag, DOC, .max = 1), "no range" },
		{ ROW(list, DOC, .flags = FIELD_F_UNIQUE), "cannot be unique" },
		{ ROW(ref, DOC), "needs a target" },
		{ ROW(ref, DOC, .target = "other", .def = "x"), "no default" },
		{ FIELD_ENUM_ROW(struct thing, choice, NULL, DOC), "needs names" },
		{ FIELD_ENUM_ROW(struct thing, choice, none, DOC), "needs names" },
		{ FIELD_ENUM_ROW(struct thing, choice, twice, DOC), "twice" },
		{ FIELD_ENUM_ROW(struct thing, choice, spaced, DOC), "words" },
		{ FIELD_ENUM_ROW(struct thing, choice, names, DOC, .def = "three"), "one of one, two" },
	};
	struct dpu_error err;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct field table[2] = { cases[i].field };
		struct object_class class = good;
		class.fields = table;
		int status = try_class(&class, &err);
		if (!cases[i].words) {
			assert_int_equal(status, 0);
			continue;
		}
		assert_true(status < 0);
		if (!strstr(err.message, cases[i].words))
			fail_msg("case %zu: \"%s\" does not say \"%s\"", i, err.message, cases[i].words);
		assert_memory_equal(err.path, "thing.", 6);
	}
}

static void faulty_tables(void **state)
{
	static const struct field same_name[] = { ROW(number, DOC), ROW(number, DOC), { 0 } };
	static const struct field same_member[] = {
		ROW(number, DOC),
		{ .name = "again", .type = FIELD_U16, .offset = offsetof(struct thing, number), DOC },
		{ 0 },
	};
	static const struct field base_name[] = {
		{ .name = "uuid", .type = FIELD_U16, .offset = offsetof(struct thing, number), DOC }, { 0 }
	};
	static const struct field counter[] = { ROW(number, DOC, .flags = FIELD_F_COUNTER), { 0 } };
	static const struct field generated[] = { ROW(number, DOC, .flags = FIELD_F_GENERATED), { 0 } };
	static const struct {
		struct object_class class;
		const char *words;
	} cases[] = {
		{ { .name = "thing", .plural = "things", DOC, .size = sizeof(struct thing), .fields = same_name },
		  "twice" },
		{ { .name = "thing", .plural = "things", DOC, .size = sizeof(struct thing), .fields = same_member },
		  "share" },
		{ { .name = "thing", .plural = "things", DOC, .size = sizeof(struct thing), .fields = base_name },
		  "base field" },
		{ { .name = "thing", .plural = "things", DOC, .size = sizeof(struct thing), .fields = counter },
		  "observe" },
		{ { .name = "thing", .plural = "things", DOC, .size = sizeof(struct thing), .fields = generated },
		  "complete" },
		{ { .name = "Thing", .plural = "things", DOC, .size = sizeof(struct thing) }, "snake_case" },
		{ { .name = "thing", DOC, .size = sizeof(struct thing) }, "snake_case" },
		{ { .name = "thing", .plural = "thing", DOC, .size = sizeof(struct thing) }, "the same" },
		{ { .name = "thing", .plural = "version", DOC, .size = sizeof(struct thing) }, "reserved" },
		{ { .name = "thing", .plural = "things", .size = sizeof(struct thing) }, "sentence" },
		{ { .name = "thing", .plural = "things", DOC, .size = 8 }, "begin with struct object" },
		{ { .name = "thing",
		    .plural = "things",
		    DOC,
		    .size = sizeof(struct thing),
		    .flags = CLASS_F_SINGLETON },
		  "global" },
		{ { .name = "tenant", .plural = "tenants", DOC, .size = sizeof(struct thing) }, "tenant is global" },
	};
	struct dpu_error err;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(try_class(&cases[i].class, &err) < 0);
		assert_int_equal(err.code, DPU_E_INTERNAL);
		if (!strstr(err.message, cases[i].words))
			fail_msg("case %zu: \"%s\" does not say \"%s\"", i, err.message, cases[i].words);
	}
}

static void faulty_actions(void **state)
{
	static const struct field args[] = { { .name = "number", .type = FIELD_U16, .offset = 0, DOC }, { 0 } };
	static const struct field flagged[] = {
		{ .name = "number", .type = FIELD_U16, .offset = 0, DOC, .flags = FIELD_F_UNIQUE }, { 0 }
	};
	static const struct {
		struct action table[3];
		const char *words;
	} cases[] = {
		{ { { .name = "go", DOC, .run = act, .args = args, .args_size = 2 } }, NULL },
		{ { { .name = "go-on", DOC, .start = act_later } }, NULL },
		{ { { .name = "go_on", DOC, .run = act } }, "hyphens" },
		{ { { .name = "go", .run = act } }, "sentence" },
		{ { { .name = "go", DOC } }, "either run or start" },
		{ { { .name = "go", DOC, .run = act, .start = act_later } }, "either run or start" },
		{ { { .name = "go", DOC, .run = act, .args = args } }, "go together" },
		{ { { .name = "go", DOC, .run = act, .args = args, .args_size = 1 } }, "outside the struct" },
		{ { { .name = "go", DOC, .run = act, .args = flagged, .args_size = 2 } }, "nothing else" },
		{ { { .name = "delete", DOC, .run = act } }, "reserved" },
		{ { { .name = "go", DOC, .run = act }, { .name = "go", DOC, .run = act } }, "twice" },
	};
	struct dpu_error err;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct object_class class = good;
		class.actions = cases[i].table;
		int status = try_class(&class, &err);
		if (!cases[i].words)
			assert_int_equal(status, 0);
		else if (status == 0 || !strstr(err.message, cases[i].words))
			fail_msg("case %zu: \"%s\" does not say \"%s\"", i, err.message, cases[i].words);
	}
}

/* What only the classes together show. */
static void faulty_models(void **state)
{
	static const struct field refers[] = { ROW(ref, DOC, .target = "nowhere"), { 0 } };
	static const struct field args[] = {
		{ .name = "via", .type = FIELD_REF, .offset = 0, .target = "nowhere", DOC }, { 0 }
	};
	static const struct action actions[] = { { .name = "go", DOC, .run = act, .args = args, .args_size = 8 },
						 { 0 } };
	const struct model_options options = { 0 };
	struct object_class class = good;
	struct dpu_error err = { 0 };
	struct model *model;

	assert_int_equal(model_new(&options, &model, &err), 0);
	assert_int_equal(model_add_class(model, &good, NULL, &err), 0);
	assert_true(model_add_class(model, &good, NULL, &err) < 0);
	assert_true(model_load(model, &err) < 0); /* it belongs to tenants, and there is no such class */
	assert_string_equal(err.path, "thing.tenant");
	assert_true(model_lint(model, &err) < 0);
	model_free(model);

	class.flags = CLASS_F_GLOBAL;
	class.fields = refers;
	assert_int_equal(model_new(&options, &model, &err), 0);
	assert_int_equal(model_add_class(model, &class, NULL, &err), 0);
	assert_true(model_lint(model, &err) < 0);
	assert_string_equal(err.path, "thing.ref");
	model_free(model);

	class.fields = NULL;
	class.actions = actions;
	assert_int_equal(model_new(&options, &model, &err), 0);
	assert_int_equal(model_add_class(model, &class, NULL, &err), 0);
	assert_true(model_lint(model, &err) < 0);
	assert_string_equal(err.path, "thing.go.via");
	model_free(model);
}

static void test_classes_are_good(void **state)
{
	static struct test_service service;
	struct model *model = test_model(&service, NULL);
	struct dpu_error err = { 0 };

	assert_int_equal(model_lint(model, &err), 0);
	assert_true(model_add_class(model, &good, NULL, &err) < 0); /* too late */
	assert_true(model_load(model, &err) < 0);                   /* once */
	assert_true(model_count(model, "dpu", NULL) == 1);          /* … and what was loaded is still there */
	model_free(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(faulty_rows),           cmocka_unit_test(faulty_tables),
		cmocka_unit_test(faulty_actions),        cmocka_unit_test(faulty_models),
		cmocka_unit_test(test_classes_are_good),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
