/* SPDX-License-Identifier: BSD-3-Clause */
/* Order of services, missing and circular requirements, and the staged life with failures. */
#include "daemon/loader.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define REQUIRES(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* What ran, as "name:step " words. */
static char history[1024];

static void record(const char *name, const char *step)
{
	size_t used = strlen(history);
	snprintf(history + used, sizeof history - used, "%s:%s ", name, step);
}

/* Stands in for the model, whose only part in this is to be told of classes. */
int model_add_class(struct model *model, const struct object_class *class, void *ctx, struct dpu_error *err)
{
	if (strcmp(class->name, "bad") == 0)
		return error_set(err, DPU_E_INTERNAL, class->name, "a faulty table");
	record(class->name, ctx ? ctx : "described");
	return 0;
}

#define TOY(id)                                                                                                        \
	static int id##_init(struct dpu *dpu, void **ret_state, struct dpu_error *err)                                 \
	{                                                                                                              \
		record(#id, "init");                                                                                   \
		*ret_state = (void *)#id;                                                                              \
		return 0;                                                                                              \
	}                                                                                                              \
	static int id##_start(void *state, struct dpu_error *err)                                                      \
	{                                                                                                              \
		record(state, "start");                                                                                \
		return 0;                                                                                              \
	}                                                                                                              \
	static void id##_stop(void *state, void (*done)(void *arg), void *arg)                                         \
	{                                                                                                              \
		record(state, "stop");                                                                                 \
		done(arg);                                                                                             \
	}                                                                                                              \
	static void id##_fini(void *state)                                                                             \
	{                                                                                                              \
		record(state, "fini");                                                                                 \
	}                                                                                                              \
	static char *id##_metrics(void *state)                                                                         \
	{                                                                                                              \
		return strdup(#id "_up 1\n");                                                                          \
	}

#define TOY_SERVICE(id, ...)                                                                                           \
	static const struct service id = { .name = #id,                                                                \
					   .init = id##_init,                                                          \
					   .start = id##_start,                                                        \
					   .stop = id##_stop,                                                          \
					   .fini = id##_fini,                                                          \
					   .metrics = id##_metrics,                                                    \
					   __VA_ARGS__ }

TOY(base)
TOY(net)
TOY(disk)
TOY_SERVICE(base);
TOY_SERVICE(net, .requires = REQUIRES("base"));
TOY_SERVICE(disk, .requires = REQUIRES("net", "base"));

static const struct object_class cable = { .name = "cable" }, bad = { .name = "bad" };
static const struct service with_class = { .name = "net",
					   .init = net_init,
					   .fini = net_fini,
					   .classes = (const struct object_class *const[]){ &cable, NULL } };
static const struct service with_bad_class = { .name = "bad",
					       .init = disk_init,
					       .fini = disk_fini,
					       .classes = (const struct object_class *const[]){ &bad, NULL } };

static int failing_start(void *state, struct dpu_error *err)
{
	return error_set(err, DPU_E_IO, "disk", "no medium");
}
static const struct service bad_disk = { .name = "disk", .requires = REQUIRES("net"), .start = failing_start };

static void check_order(const struct service *const *services, unsigned count, const char *expect)
{
	const struct service *order[8];
	struct dpu_error err = { 0 };
	assert_int_equal(services_sort(services, count, order, &err), 0);
	char names[128] = "";
	for (unsigned i = 0; i < count; i++)
		snprintf(names + strlen(names), sizeof names - strlen(names), "%s ", order[i]->name);
	assert_string_equal(names, expect);
}

static void sorts_by_requirements(void **state)
{
	check_order((const struct service *[]){ &disk, &net, &base }, 3, "base net disk ");
	check_order((const struct service *[]){ &base, &net, &disk }, 3, "base net disk ");
	check_order((const struct service *[]){ &net, &disk, &base }, 3, "base net disk ");
	check_order((const struct service *[]){ NULL }, 0, "");
	/* What has no requirement keeps its place. */
	static const struct service loner = { .name = "loner" };
	check_order((const struct service *[]){ &loner, &net, &base }, 3, "loner base net ");
}

static void check_refused(const struct service *const *services, unsigned count, const char *path, const char *words)
{
	const struct service *order[64] = { NULL };
	struct dpu_error err = { 0 };
	assert_int_equal(services_sort(services, count, order, &err), -EINVAL);
	assert_int_equal(err.code, DPU_E_INVALID);
	assert_string_equal(err.path, path);
	if (!strstr(err.message, words))
		fail_msg("'%s' does not say '%s'", err.message, words);
}

static void refuses_missing_and_twice(void **state)
{
	check_refused((const struct service *[]){ &net }, 1, "net", "'base'");
	check_refused((const struct service *[]){ &base, &base }, 2, "base", "two services");
}

static void refuses_circles(void **state)
{
	const struct service self = { .name = "self", .requires = REQUIRES("self") };
	check_refused((const struct service *[]){ &self }, 1, "self", "self → self");

	const struct service a = { .name = "a", .requires = REQUIRES("b") };
	const struct service b = { .name = "b", .requires = REQUIRES("base", "c") };
	const struct service c = { .name = "c", .requires = REQUIRES("b") };
	/* a only leads into the circle and is not named as part of it. */
	check_refused((const struct service *[]){ &a, &base, &b, &c }, 4, "c", "c → b → c");
}

static void long_circle_is_cut(void **state)
{
	static struct service many[60];
	static char names[60][24];
	static const char *requires[60][2];
	const struct service *list[60];
	for (unsigned i = 0; i < 60; i++) {
		snprintf(names[i], sizeof names[i], "a-rather-long-name-%u", i);
		requires[i][0] = names[(i + 1) % 60];
		many[i].name = names[i];
		many[i].requires = requires[i];
	}
	for (unsigned i = 0; i < 60; i++)
		list[i] = &many[i];
	check_refused(list, 60, names[0], "…");
}

static void note_stopped(void *arg)
{
	record("all", "stopped");
}

static struct loader *load(const struct service *const *services)
{
	struct loader *loader = NULL;
	struct dpu_error err = { 0 };
	history[0] = '\0';
	assert_int_equal(loader_new(services, &loader, &err), 0);
	return loader;
}

static void runs_stages_in_order(void **state)
{
	struct dpu dpu = { .instance = "test" };
	struct dpu_error err = { 0 };
	struct loader *loader = load((const struct service *[]){ &net, &base, NULL });
	assert_int_equal(loader_init(loader, &dpu, &err), 0);
	assert_string_equal(dpu.service_state[0], "base");
	assert_string_equal(dpu.service_state[1], "net");
	assert_int_equal(loader_start(loader, &err), 0);
	char *metrics = loader_metrics(loader);
	assert_string_equal(metrics, "base_up 1\nnet_up 1\n");
	free(metrics);
	loader_stop(loader, note_stopped, NULL);
	loader_fini(loader);
	loader_free(loader);
	assert_string_equal(history, "base:init net:init base:start net:start net:stop base:stop all:stopped "
				     "net:fini base:fini ");
}

static void failed_start_stops_only_what_runs(void **state)
{
	struct dpu dpu = { .instance = "test" };
	struct dpu_error err = { 0 };
	struct loader *loader = load((const struct service *[]){ &base, &net, &bad_disk, NULL });
	assert_int_equal(loader_init(loader, &dpu, &err), 0);
	assert_int_equal(loader_start(loader, &err), -EIO);
	assert_string_equal(err.message, "no medium");
	loader_stop(loader, note_stopped, NULL);
	loader_fini(loader);
	loader_free(loader);
	assert_string_equal(history, "base:init net:init base:start net:start net:stop base:stop all:stopped "
				     "net:fini base:fini ");
}

static void registers_classes(void **state)
{
	struct dpu dpu = { .instance = "test" };
	struct dpu_error err = { 0 };
	struct loader *loader = load((const struct service *[]){ &with_class, &with_bad_class, NULL });
	assert_int_equal(loader_init(loader, &dpu, &err), -EPROTO);
	assert_string_equal(err.path, "bad");
	/* The service whose class was refused had been initialised, too. */
	loader_fini(loader);
	loader_free(loader);
	assert_string_equal(history, "net:init cable:net disk:init disk:fini net:fini ");

	loader = load((const struct service *[]){ &with_class, NULL });
	assert_int_equal(loader_describe(loader, NULL, &err), 0);
	loader_free(loader);
	assert_string_equal(history, "cable:described ");
}

static void too_many_services(void **state)
{
	const struct service *services[LOADER_MAX_SERVICES + 2];
	for (unsigned i = 0; i <= LOADER_MAX_SERVICES; i++)
		services[i] = &base;
	services[LOADER_MAX_SERVICES + 1] = NULL;
	struct loader *loader = NULL;
	struct dpu_error err = { 0 };
	assert_true(loader_new(services, &loader, &err) < 0);
	assert_int_equal(err.code, DPU_E_LIMIT);
	assert_null(loader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sorts_by_requirements), cmocka_unit_test(refuses_missing_and_twice),
		cmocka_unit_test(refuses_circles),       cmocka_unit_test(long_circle_is_cut),
		cmocka_unit_test(runs_stages_in_order),  cmocka_unit_test(failed_start_stops_only_what_runs),
		cmocka_unit_test(registers_classes),     cmocka_unit_test(too_many_services),
	};
	return cmocka_run_group_tests_name("loader", tests, NULL, NULL);
}
