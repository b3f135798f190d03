/* SPDX-License-Identifier: BSD-3-Clause */
/* A file of commands, one a line: each by itself up to the first that fails, or all as one transaction. */
#include <stdlib.h>
#include <string.h>
#include "ctl.h"
#include "schema.h"
#include "words.h"

struct batch {
	struct ctl *ctl;
	const char *name;
	unsigned line;
	unsigned *lines; /* of each change of a transaction */
	size_t changes;
	bool warned; /* a line was done, but what it changed is not in force */
};

static int fail(const struct batch *batch, unsigned line, int status, const struct dpu_error *err)
{
	char prefix[300];
	snprintf(prefix, sizeof prefix, "%.250s:%u: ", batch->name, line);
	fflush(batch->ctl->out);
	ctl_print_error(prefix, err);
	return status;
}

static int note_line(struct batch *batch, struct dpu_error *err)
{
	size_t count = json_array_size(batch->ctl->changes);
	if (count == batch->changes)
		return EXIT_OK;
	unsigned *lines = reallocarray(batch->lines, count, sizeof *lines);
	if (!lines) {
		error_set(err, DPU_E_LIMIT, NULL, "out of memory");
		return EXIT_REFUSED;
	}
	lines[count - 1] = batch->line;
	batch->lines = lines;
	batch->changes = count;
	return EXIT_OK;
}

static int run_line(struct batch *batch, const char *line)
{
	struct words words = { 0 };
	struct dpu_error err = { 0 };
	int status = words_split(line, &words, &err) ? EXIT_USAGE : EXIT_OK;
	/* A line may begin with the program's name, as it does in documents. */
	size_t skip = !status && words.count > 0 && strcmp(words.items[0], "dpuctl") == 0;
	if (!status && words.count > skip)
		status = ctl_command(batch->ctl, words.items + skip, words.count - skip, &err);
	if (!status && batch->ctl->changes)
		status = note_line(batch, &err);
	words_free(&words);
	if (status == EXIT_NOT_IN_FORCE) {
		batch->warned = true;
		return EXIT_OK;
	}
	return status ? fail(batch, batch->line, status, &err) : EXIT_OK;
}

/* The line of the change that dpud's path is about. */
static unsigned line_of(const struct batch *batch, const char *path)
{
	size_t index, number;
	json_t *change;
	if (sscanf(path, "changes[%zu]", &number) == 1)
		return number < batch->changes ? batch->lines[number] : 0;
	json_array_foreach(batch->ctl->changes, index, change)
	{
		const char *name = schema_name(change), *tenant = schema_text(change, "tenant");
		char own[700];
		bool whole = strchr(name, '/') || !tenant[0];
		int length = snprintf(own, sizeof own, "%s/%s%s%s", schema_text(change, "class"), whole ? "" : tenant,
				      whole ? "" : "/", name);
		if (strncmp(path, own, (size_t)length) == 0 && (!path[length] || path[length] == '.'))
			return batch->lines[index];
	}
	return 0;
}

static int commit(struct batch *batch)
{
	struct ctl *ctl = batch->ctl;
	struct dpu_error err = { 0 };
	json_t *result = NULL;
	json_t *params = json_pack("{s:O, s:b}", "changes", ctl->changes, "dry_run", ctl->options.dry_run);
	int status = ctl_call(ctl, "dpu.transaction", params, &result, &err);
	unsigned line = status ? line_of(batch, err.path) : 0;
	if (!status)
		print_changes(ctl, json_object_get(result, "changes"), !ctl->options.dry_run);
	else if (line)
		fail(batch, line, status, &err);
	else
		ctl_print_error("dpuctl: ", &err);
	if (!status && !ctl->options.dry_run)
		status = warn_failed(ctl, json_object_get(result, "changes"));
	json_decref(result);
	return status;
}

int batch_run(struct ctl *ctl, FILE *in, const char *name)
{
	struct batch batch = { .ctl = ctl, .name = name };
	char *line = NULL;
	size_t size = 0;
	int status = EXIT_OK;
	if (ctl->options.transaction)
		ctl->changes = json_array();
	while (!status && getline(&line, &size, in) >= 0) {
		batch.line++;
		status = run_line(&batch, line);
		fflush(ctl->out);
	}
	if (!status && ctl->changes)
		status = commit(&batch);
	if (!status && batch.warned)
		status = EXIT_NOT_IN_FORCE;
	free(line);
	free(batch.lines);
	json_decref(ctl->changes);
	ctl->changes = NULL;
	return status;
}
