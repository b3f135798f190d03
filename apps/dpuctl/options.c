/* SPDX-License-Identifier: BSD-3-Clause */
/* dpuctl's options: one table for parsing, help, completion and the manual page. They may stand anywhere. */
#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "base/suggest.h"
#include "ctl.h"

const struct option_row option_rows[] = {
	{ "instance", 'i', "NAME", "The dpud of this instance name; dpu0 by default." },
	{ "socket", 's', "PATH", "The dpud with this socket; /run/softdpu/INSTANCE/dpud.sock by default." },
	{ "read-only", 'r', NULL, "Use the socket on which nothing can be changed." },
	{ "tenant", 't', "NAME", "The tenant of names that do not say theirs." },
	{ "output", 'o', "FORMAT", "table, json or yaml; table by default." },
	{ "columns", 'c', "LIST", "Columns of a table, separated by commas; all for all of them." },
	{ "file", 'f', "FILE",
	  "apply: the document. Without a command: a batch of commands, one a line; - is standard input." },
	{ "dry-run", 'n', NULL, "Check and show what would change, and change nothing." },
	{ "cascade", 0, NULL, "delete: also what belongs to the object." },
	{ "prune", 0, NULL, "apply: also delete what the document does not name." },
	{ "transaction", 0, NULL, "Batch: all changes at once, or none." },
	{ "ovs", 0, "SOCKET",
	  "offload flows, offload refused: beside the flows of the Open vSwitch with this control socket, "
	  "ovs-vswitchd.PID.ctl in its run directory." },
	{ "timeout", 0, "SECONDS", "How long to wait for an answer; 60 by default." },
	{ "color", 0, "WHEN", "auto, always or never." },
	{ "schema", 0, "FILE", "The schema for help and completion when there is no dpud." },
	{ "help", 'h', NULL, "Help on the command." },
	{ "version", 'V', NULL, "The version." },
	{ 0 },
};

static int choice(const char *value, const char *option, const char *const *names, const char *sentence, unsigned *ret,
		  struct dpu_error *err)
{
	for (unsigned i = 0; names[i]; i++) {
		if (strcmp(value, names[i]) == 0) {
			*ret = i;
			return 0;
		}
	}
	return usage_error(err, option, "'%s' is not one of %s", value, sentence);
}

/* As dpud takes it: it becomes a part of paths. */
int options_check_instance(const char *option, const char *value, struct dpu_error *err)
{
	size_t length = strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");

	if (length > 0 && length <= 32 && !value[length] && isalnum((unsigned char)value[0]))
		return EXIT_OK;
	return usage_error(err, option,
			   "'%s' is no instance name: 1 to 32 letters, digits, '-' and '_', beginning with a letter or "
			   "digit",
			   value);
}

static int set_timeout(const char *value, unsigned *ret, struct dpu_error *err)
{
	char *end;
	unsigned long seconds = strtoul(value, &end, 10);
	if (!isdigit((unsigned char)*value) || *end || seconds < 1 || seconds > 86400)
		return usage_error(err, "--timeout", "'%s' is no number of seconds from 1 to 86400", value);
	*ret = (unsigned)seconds;
	return 0;
}

/* Members by name of the option; value is NULL for flags. */
static int set(struct ctl_options *options, const struct option_row *row, const char *value, struct dpu_error *err)
{
	static const char *const formats[] = { "table", "json", "yaml", NULL };
	static const char *const colors[] = { "auto", "always", "never", NULL };
	const struct {
		const char *name;
		const char **text;
		bool *flag;
	} members[] = {
		{ "instance", &options->instance, NULL }, { "socket", &options->socket, NULL },
		{ "tenant", &options->tenant, NULL },     { "columns", &options->columns, NULL },
		{ "file", &options->file, NULL },         { "schema", &options->schema, NULL },
		{ "ovs", &options->ovs, NULL },           { "read-only", NULL, &options->read_only },
		{ "dry-run", NULL, &options->dry_run },   { "cascade", NULL, &options->cascade },
		{ "prune", NULL, &options->prune },       { "transaction", NULL, &options->transaction },
		{ "help", NULL, &options->help },         { "version", NULL, &options->version },
	};
	unsigned number = 0;
	int rc = 0;
	if (strcmp(row->name, "timeout") == 0)
		return set_timeout(value, &options->timeout_s, err);
	if (strcmp(row->name, "output") == 0) {
		rc = choice(value, "--output", formats, "table, json or yaml", &number, err);
		options->format = rc ? options->format : (enum ctl_format)number;
		return rc;
	}
	if (strcmp(row->name, "color") == 0) {
		rc = choice(value, "--color", colors, "auto, always or never", &number, err);
		if (!rc)
			options->color = number;
		return rc;
	}
	/* The later of the two says where dpud is. */
	if (strcmp(row->name, "instance") == 0) {
		options->socket = NULL;
		rc = options_check_instance("--instance", value, err);
	}
	for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
		if (strcmp(members[i].name, row->name) != 0)
			continue;
		if (members[i].text)
			*members[i].text = value;
		else
			*members[i].flag = true;
	}
	return rc;
}

static const struct option_row *row_of(const char *word, size_t length, struct dpu_error *err)
{
	char name[32];
	struct suggestion suggestion = { .word = name };
	snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), word);
	for (const struct option_row *row = option_rows; row->name; row++) {
		if (strcmp(row->name, name) == 0)
			return row;
		suggest(&suggestion, row->name);
	}
	if (suggestion.best)
		usage_error(err, NULL, "there is no option --%s; did you mean --%s?", name, suggestion.best);
	else
		usage_error(err, NULL, "there is no option --%s; see dpuctl help", name);
	return NULL;
}

static const struct option_row *row_of_letter(char letter, struct dpu_error *err)
{
	for (const struct option_row *row = option_rows; row->name; row++) {
		if (row->letter == letter)
			return row;
	}
	usage_error(err, NULL, "there is no option -%c; see dpuctl help", letter);
	return NULL;
}

/* Takes the option at words[at]; *ret_used: how many words it took. */
static int take(struct ctl_options *options, char **words, size_t at, size_t count, size_t *ret_used,
		struct dpu_error *err)
{
	const char *word = words[at], *value = NULL;
	const struct option_row *row;
	char path[40];
	if (word[1] == '-') {
		size_t length = strcspn(word + 2, "=");
		row = row_of(word + 2, length, err);
		value = word[2 + length] ? word + 3 + length : NULL;
	} else {
		row = row_of_letter(word[1], err);
		value = word[2] ? word + 2 : NULL;
	}
	if (!row)
		return EXIT_USAGE;
	snprintf(path, sizeof path, "--%s", row->name);
	*ret_used = 1;
	if (!row->arg && value)
		return usage_error(err, path, "takes no value");
	if (row->arg && !value) {
		if (at + 1 == count)
			return usage_error(err, path, "needs a value: %s", row->arg);
		value = words[at + 1];
		*ret_used = 2;
	}
	return set(options, row, value, err);
}

int options_take(struct ctl_options *options, char **words, size_t *count, struct dpu_error *err)
{
	size_t kept = 0;
	for (size_t i = 0; i < *count;) {
		size_t used = 1;
		if (strcmp(words[i], "--") == 0) {
			for (i++; i < *count; i++)
				words[kept++] = words[i];
			break;
		}
		if (words[i][0] != '-' || !words[i][1]) {
			words[kept++] = words[i];
		} else {
			int rc = take(options, words, i, *count, &used, err);
			if (rc)
				return rc;
		}
		i += used;
	}
	*count = kept;
	return 0;
}
