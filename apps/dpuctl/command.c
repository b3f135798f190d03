/* SPDX-License-Identifier: BSD-3-Clause */
/* dpuctl's own commands, beside the verbs of the classes. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include "ctl.h"
#include "schema.h"

static int command_log_level(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err)
{
	json_t *result = NULL;
	if (count != 1)
		return usage_error(err, "log-level", "say which: error, warn, info or debug");
	int status = ctl_call(ctl, "dpu.log_level", json_pack("{s:s}", "level", words[0]), &result, err);
	json_decref(result);
	return status;
}

static int command_version(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err)
{
	json_t *result = NULL;
	if (count > 0)
		return usage_error(err, "version", "takes no words");
	int status = ctl_call(ctl, "dpu.version", NULL, &result, err);
	if (!status && ctl->options.format != FORMAT_TABLE)
		print_value(ctl, result);
	else if (!status)
		fprintf(ctl->out, "dpuctl %s\ndpud   %s, instance %s, protocol %s\n", DPUCTL_VERSION,
			schema_text(result, "software"), schema_text(result, "instance"), schema_text(result, "dpu"));
	json_decref(result);
	return status;
}

/* ---- watch ---- */

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
	interrupted = 1;
}

static int print_notifications(struct ctl *ctl, struct dpu_error *err)
{
	for (;;) {
		json_t *message = NULL;
		int rc = link_next(ctl->link, &message, err);
		if (rc == -EINTR && interrupted)
			return EXIT_OK;
		if (rc && rc != -EINTR)
			return EXIT_UNREACHABLE;
		const json_t *params = json_object_get(message, "params");
		if (strcmp(schema_text(message, "method"), "dpu.event") == 0)
			print_event(ctl, params);
		else if (strcmp(schema_text(message, "method"), "dpu.events_lost") == 0)
			fprintf(stderr, "dpuctl: %lld events were lost: they came faster than they were read\n",
				(long long)json_integer_value(json_object_get(params, "count")));
		json_decref(message);
		if (ferror(ctl->out))
			return EXIT_OK;
	}
}

int command_watch(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err)
{
	json_t *classes = json_array(), *result = NULL;
	struct sigaction action = { .sa_handler = interrupt }, old;
	for (size_t i = 0; i < count; i++)
		json_array_append_new(classes, json_string(words[i]));
	int status = ctl_call(ctl, "dpu.subscribe", json_pack("{s:o}", "classes", classes), &result, err);
	json_decref(result);
	if (status)
		return status;
	interrupted = 0;
	if (ctl->interactive)
		sigaction(SIGINT, &action, &old);
	status = print_notifications(ctl, err);
	if (ctl->interactive) {
		sigaction(SIGINT, &old, NULL);
		if (!status)
			status = ctl_call(ctl, "dpu.unsubscribe", NULL, &result, err);
	}
	return status;
}

const struct command commands[] = {
	{ "apply", "-f FILE [--dry-run] [--prune]",
	  "Bring the DPU to the state that a document (net.yaml) declares, as one transaction, and show the "
	  "difference.",
	  "dpuctl apply -f net.yaml --dry-run", command_apply },
	{ "export", "", "Write the configuration as a document that apply reads.", "dpuctl export > net.yaml",
	  command_export },
	{ "watch", "[CLASS ...]", "Show changes and notices as they happen, until interrupted.",
	  "dpuctl watch vnic port", command_watch },
	{ "log-level", "LEVEL", "Set how much dpud logs: error, warn, info or debug.", "dpuctl log-level debug",
	  command_log_level },
	{ "version", "", "Versions of dpuctl, dpud and the protocol.", "dpuctl version", command_version },
	{ "help", "[CLASS [FIELD|VERB]]", "Help on everything, a command, a class, a field or a verb.",
	  "dpuctl help vnic mtu", command_help },
	{ "completion", "bash", "Print the completion script for a shell.", "source <(dpuctl completion bash)",
	  command_completion },
	{ "__man", NULL, NULL, NULL, command_man },
	{ 0 },
};

const struct command *command_find(const char *name)
{
	for (const struct command *command = commands; command->name; command++) {
		if (strcmp(command->name, name) == 0)
			return command;
	}
	return NULL;
}
