/* SPDX-License-Identifier: BSD-3-Clause */
/* Long work of dpud, followed to its end: begun without waiting, then asked how far it is. On a terminal a line says
 * so; Ctrl-C leaves the work alone. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "ctl.h"
#include "schema.h"

static const uint64_t PERIOD_NS = 200 * CLOCK_NS_PER_MS, RATE_NS = 3 * CLOCK_NS_PER_S;

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

struct progress {
	const struct request *request;
	char word[64]; /* the action as it is typed, for people */
	/* The rate is that since some seconds ago: two samples, the older of which is what it is reckoned from. */
	struct sample {
		uint64_t ns;
		json_int_t done;
	} from, next;
	bool line; /* one is on the terminal */
};

/* 12.5 MiB, 1200 pages */
static void amount(char *buf, size_t size, json_int_t value, const char *unit)
{
	json_t *field = json_pack("{s:s}", "unit", unit), *number = json_integer(value);
	char *text = human_value(field, number);

	snprintf(buf, size, "%s", text ? text : "");
	free(text);
	json_decref(field);
	json_decref(number);
}

static double rate_of(struct progress *progress, json_int_t done)
{
	struct sample now = { clock_ns(), done };

	if (!progress->from.ns || done < progress->from.done) /* it begins, or its next part does */
		progress->from = progress->next = now;
	if (now.ns - progress->next.ns > RATE_NS) {
		progress->from = progress->next;
		progress->next = now;
	}
	if (now.ns == progress->from.ns)
		return 0;
	return (double)(done - progress->from.done) * (double)CLOCK_NS_PER_S / (double)(now.ns - progress->from.ns);
}

static void print_line(struct progress *progress, const json_t *state)
{
	json_int_t done = json_integer_value(json_object_get(state, "done"));
	json_int_t total = json_integer_value(json_object_get(state, "total"));
	const char *unit = schema_text(state, "unit");
	bool bytes = strcmp(unit, "bytes") == 0, percent = strcmp(unit, "percent") == 0;
	char of[64], rate[64], rest[64] = "";
	double per_s = rate_of(progress, done);

	progress->line = true;
	if (total <= 0) {
		fprintf(stderr, "\r\033[K%s: it begins", progress->word);
		return;
	}
	amount(of, sizeof of, total, unit);
	amount(rate, sizeof rate, (json_int_t)per_s, unit);
	if (per_s > 0 && total > done) {
		char left[32];
		amount(left, sizeof left, (json_int_t)((double)(total - done) / per_s) + 1, "seconds");
		snprintf(rest, sizeof rest, ", %s%s left", left,
			 strspn(left, "0123456789") == strlen(left) ? " s" : "");
	}
	fprintf(stderr, "\r\033[K%s: %lld %%", progress->word, (long long)((double)done * 100 / (double)total));
	if (!percent)
		fprintf(stderr, " of %s%s%s, %s%s%s/s", of, bytes ? "" : " ", bytes ? "" : unit, rate, bytes ? "" : " ",
			bytes ? "" : unit);
	fprintf(stderr, "%s", rest);
	fflush(stderr);
}

static void end_line(struct progress *progress)
{
	if (progress->line)
		fprintf(stderr, "\r\033[K");
	progress->line = false;
}

static void say_how_to_go_on(struct progress *progress)
{
	const struct request *request = progress->request;
	const char *class = schema_name(request->class), *tenant = request->tenant ? request->tenant : "";
	const char *slash = tenant[0] ? "/" : "";

	end_line(progress);
	fprintf(stderr,
		"dpuctl: the work goes on: dpuctl %s %s %s%s%s says how far it is, dpuctl %s %s %s%s%s ends it\n",
		class, schema_text(request->action, "progress"), tenant, slash, request->name, class,
		schema_text(request->action, "cancel"), tenant, slash, request->name);
}

/* The end: what is left to print, or the error. */
static int finish(struct progress *progress, json_t *state, json_t **ret_result, struct dpu_error *err)
{
	const char *word = schema_text(state, "state"), *why = schema_text(state, "why");
	int status = EXIT_OK;

	end_line(progress);
	if (strcmp(word, "done") != 0) {
		error_set(err, strcmp(word, "cancelled") == 0 ? DPU_E_CONFLICT : DPU_E_IO, NULL, "%s",
			  why[0] ? why : word);
		json_decref(state);
		return EXIT_REFUSED;
	}
	for (size_t i = 0; i < 4; i++)
		json_object_del(state, (const char *[]){ "done", "total", "unit", "why" }[i]);
	*ret_result = state;
	return status;
}

static int follow(struct ctl *ctl, struct progress *progress, const char *method, json_t **ret_result,
		  struct dpu_error *err)
{
	struct timespec pause = { .tv_nsec = (long)PERIOD_NS / 10 };

	for (;;) {
		json_t *state = NULL;
		int status = ctl_call(ctl, method, request_target(progress->request), &state, err);
		if (status) {
			end_line(progress);
			return status;
		}
		if (strcmp(schema_text(state, "state"), "running") != 0)
			return finish(progress, state, ret_result, err);
		if (isatty(STDERR_FILENO))
			print_line(progress, state);
		json_decref(state);
		if (!interrupted)
			nanosleep(&pause, NULL);
		if (interrupted) {
			say_how_to_go_on(progress);
			return EXIT_INTERRUPTED;
		}
		pause.tv_nsec = (long)PERIOD_NS;
	}
}

bool progress_wanted(const struct request *request, const json_t *args)
{
	const json_t *arg = schema_arg(request->action, "wait"), *wait = json_object_get(args, "wait");

	if (!schema_text(request->action, "progress")[0] || !arg)
		return false;
	return json_is_true(wait ? wait : json_object_get(arg, "default"));
}

int progress_follow(struct ctl *ctl, const struct request *request, json_t **ret_result, struct dpu_error *err)
{
	struct progress progress = { .request = request };
	struct sigaction action = { .sa_handler = interrupt }, old;
	char *method = NULL;
	int status = EXIT_REFUSED;

	snprintf(progress.word, sizeof progress.word, "%s", schema_name(request->action));
	if (asprintf(&method, "%s.%s", schema_name(request->class), schema_text(request->action, "progress")) < 0) {
		error_set(err, DPU_E_LIMIT, NULL, "out of memory");
		return status;
	}
	interrupted = 0;
	sigaction(SIGINT, &action, &old);
	status = follow(ctl, &progress, method, ret_result, err);
	sigaction(SIGINT, &old, NULL);
	free(method);
	return status;
}
