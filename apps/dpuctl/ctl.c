/* SPDX-License-Identifier: BSD-3-Clause */
/* From words to what they mean: options, one of dpuctl's own commands, or a class and its verb. And the connection that
 * all of them use. */
#include "ctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/str.h"
#include "base/suggest.h"
#include "schema.h"

int usage_error(struct dpu_error *err, const char *path, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	error_vset(err, DPU_E_INVALID, path, fmt, args);
	va_end(args);
	return EXIT_USAGE;
}

void ctl_print_error(const char *prefix, const struct dpu_error *err)
{
	struct dpu_error clean = *err;
	fflush(stdout);
	fprintf(stderr, "%s%s%s%s\n", prefix, text_clean(clean.path), clean.path[0] ? ": " : "",
		text_clean(clean.message));
}

bool ctl_color(const struct ctl *ctl)
{
	if (ctl->options.color != COLOR_AUTO)
		return ctl->options.color == COLOR_ALWAYS;
	return ctl->out == stdout && isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
}

/* ---- dpud ---- */

static char *socket_path(const struct ctl_options *options)
{
	struct text path = { 0 };
	if (options->socket)
		text_add(&path, options->socket);
	else
		text_printf(&path, "/run/softdpu/%s/dpud%s.sock", options->instance, options->read_only ? "-ro" : "");
	return text_take(&path);
}

static void disconnect(struct ctl *ctl)
{
	link_close(ctl->link);
	free(ctl->link_path);
	ctl->link = NULL;
	ctl->link_path = NULL;
}

int ctl_connect(struct ctl *ctl, struct dpu_error *err)
{
	char *path = socket_path(&ctl->options);
	if (!path) {
		error_set(err, DPU_E_LIMIT, NULL, "out of memory");
		return EXIT_REFUSED;
	}
	if (ctl->link && strcmp(path, ctl->link_path) == 0) {
		free(path);
		return EXIT_OK;
	}
	disconnect(ctl);
	int rc = link_open(path, ctl->options.timeout_s, &ctl->link, err);
	if (rc) {
		free(path);
		return rc == -ENOTCONN ? EXIT_UNREACHABLE : EXIT_REFUSED;
	}
	ctl->link_path = path;
	return EXIT_OK;
}

int ctl_call(struct ctl *ctl, const char *method, json_t *params, json_t **ret_result, struct dpu_error *err)
{
	int status = ctl_connect(ctl, err);
	if (status) {
		json_decref(params);
		return status;
	}
	int rc = link_call(ctl->link, method, params, ret_result, err);
	if (rc == -ENOTCONN) {
		disconnect(ctl);
		return EXIT_UNREACHABLE;
	}
	return rc ? EXIT_REFUSED : EXIT_OK;
}

static json_t *schema_from_file(const struct ctl_options *options)
{
	const char *path = options->schema ? options->schema : getenv("DPUCTL_SCHEMA");
	json_t *schema = json_load_file(path ? path : DPUCTL_SCHEMA, 0, NULL);
	if (schema && !json_is_array(json_object_get(schema, "classes"))) {
		json_decref(schema);
		schema = NULL;
	}
	return schema;
}

const json_t *ctl_schema(struct ctl *ctl, struct dpu_error *err)
{
	struct dpu_error unreachable = { 0 };
	if (ctl->schema)
		return ctl->schema;
	if (ctl_call(ctl, "dpu.schema", NULL, &ctl->schema, &unreachable) != EXIT_OK)
		ctl->schema = schema_from_file(&ctl->options);
	if (!ctl->schema && err)
		*err = unreachable;
	return ctl->schema;
}

void ctl_fini(struct ctl *ctl)
{
	disconnect(ctl);
	json_decref(ctl->schema);
	ctl->schema = NULL;
}

static const char *environment(const char *name)
{
	const char *value = getenv(name);
	return value && *value ? value : NULL;
}

int ctl_init(struct ctl *ctl, char **words, size_t *count, struct dpu_error *err)
{
	const char *instance = environment("DPUCTL_INSTANCE");
	*ctl = (struct ctl){ .out = stdout };
	ctl->options.instance = instance ? instance : "dpu0";
	ctl->options.socket = environment("DPUCTL_SOCKET");
	ctl->options.tenant = environment("DPUCTL_TENANT");
	ctl->options.timeout_s = 60;
	if (*count > 0 && strcmp(words[0], "__complete") == 0)
		return EXIT_OK;
	if (options_check_instance("DPUCTL_INSTANCE", ctl->options.instance, err))
		return EXIT_USAGE;
	return options_take(&ctl->options, words, count, err);
}

/* ---- dispatch ---- */

static int unknown_word(const json_t *schema, const char *word, struct dpu_error *err)
{
	struct suggestion suggestion = { .word = word };
	size_t index, row;
	json_t *class, *action;
	json_array_foreach(json_object_get(schema, "classes"), index, class)
	{
		suggest(&suggestion, schema_name(class));
		json_array_foreach(json_object_get(class, "actions"), row, action)
		{
			suggest(&suggestion, schema_name(action));
		}
	}
	for (const struct command *command = commands; command->name; command++)
		suggest(&suggestion, command->name);
	if (suggestion.best)
		return usage_error(err, NULL, "there is no command or class '%s'; did you mean '%s'?", word,
				   suggestion.best);
	return usage_error(err, NULL, "there is no command or class '%s'; see dpuctl help", word);
}

static int run_request(struct ctl *ctl, const json_t *class, const char *verb, char *const *words, size_t count,
		       struct dpu_error *err)
{
	struct request request;
	int status = request_parse(ctl, class, verb, words, count, &request, err);
	if (status)
		return status;
	status = request_run(ctl, &request, err);
	request_fini(&request);
	return status;
}

const json_t *command_action(const json_t *schema, char *const *words, size_t count, const json_t **ret_class,
			     size_t *ret_used)
{
	for (unsigned i = 0; i < 3 && count > (i > 0); i++) {
		char name[128];
		if (i == 0)
			snprintf(name, sizeof name, "%s", words[0]);
		else
			snprintf(name, sizeof name, "%s%c%s", words[0], i == 1 ? '-' : '_', words[1]);
		const json_t *class = schema_class_of_action(schema, name);
		if (!class)
			continue;
		*ret_class = class;
		*ret_used = i > 0 ? 2 : 1;
		return schema_action(class, name);
	}
	return NULL;
}

/* words[0] is a class, or words begin with an action that only one class has. */
static int run_class_command(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err)
{
	const json_t *schema = ctl_schema(ctl, err);
	size_t used;
	if (!schema)
		return EXIT_UNREACHABLE;
	const json_t *class = schema_class(schema, words[0]);
	if (!class)
		class = schema_class_by_plural(schema, words[0]);
	if (class && count < 2)
		return command_help(ctl, words, 1, err);
	if (class)
		return run_request(ctl, class, words[1], words + 2, count - 2, err);
	const json_t *action = command_action(schema, words, count, &class, &used);
	if (action)
		return run_request(ctl, class, schema_name(action), words + used, count - used, err);
	return unknown_word(schema, words[0], err);
}

static bool is_utf8(const char *text)
{
	json_t *value = json_string(text);
	json_decref(value);
	return value != NULL;
}

static int run_words(struct ctl *ctl, char **words, size_t count, struct dpu_error *err)
{
	for (size_t i = 0; i < count; i++) {
		if (!is_utf8(words[i]))
			return usage_error(err, NULL, "word %zu is not UTF-8 text", i + 1);
	}
	/* What is still being typed may look like a wrong option. */
	if (count > 0 && strcmp(words[0], "__complete") == 0)
		return command_complete(ctl, words + 1, count - 1, err);
	int status = options_take(&ctl->options, words, &count, err);
	if (status)
		return status;
	if (ctl->options.version) {
		fprintf(ctl->out, "dpuctl %s\n", DPUCTL_VERSION);
		return EXIT_OK;
	}
	if (ctl->options.help || count == 0)
		return command_help(ctl, words, count, err);
	const struct command *command = command_find(words[0]);
	if (command)
		return command->run(ctl, words + 1, count - 1, err);
	return run_class_command(ctl, words, count, err);
}

int ctl_command(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err)
{
	/* Options hold for this command alone. */
	struct ctl_options base = ctl->options;
	char **copy = reallocarray(NULL, count + 1, sizeof *copy);
	if (!copy) {
		error_set(err, DPU_E_LIMIT, NULL, "out of memory");
		return EXIT_REFUSED;
	}
	for (size_t i = 0; i < count; i++)
		copy[i] = words[i];
	int status = run_words(ctl, copy, count, err);
	free(copy);
	ctl->options = base;
	return status;
}

int ctl_run(struct ctl *ctl, char *const *words, size_t count)
{
	struct dpu_error err = { 0 };
	int status = ctl_command(ctl, words, count, &err);
	fflush(ctl->out);
	if (status && err.message[0])
		ctl_print_error("dpuctl: ", &err);
	return status;
}
