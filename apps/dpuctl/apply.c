/* SPDX-License-Identifier: BSD-3-Clause */
/* Declared state: apply and export. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "ctl.h"
#include "document.h"
#include "yaml_tree.h"

static int read_all(FILE *file, const char *name, char **ret, size_t *ret_length, struct dpu_error *err)
{
	struct text text = { 0 };
	char chunk[65536];
	size_t got;
	while ((got = fread(chunk, 1, sizeof chunk, file)) > 0 && text.length <= YAML_MAX_BYTES)
		text_add_bytes(&text, chunk, got);
	if (ferror(file)) {
		text_free(&text);
		error_set(err, DPU_E_IO, name, "cannot be read: %s", strerror(errno));
		return EXIT_REFUSED;
	}
	*ret_length = text.length;
	*ret = text_take(&text);
	return *ret ? EXIT_OK : (error_set(err, DPU_E_LIMIT, NULL, "out of memory"), EXIT_REFUSED);
}

static int load(const char *path, struct yaml_document **ret, struct dpu_error *err)
{
	bool standard = strcmp(path, "-") == 0;
	FILE *file = standard ? stdin : fopen(path, "re");
	char *text = NULL;
	size_t length = 0;
	if (!file) {
		error_set(err, DPU_E_IO, path, "cannot be opened: %s", strerror(errno));
		return EXIT_REFUSED;
	}
	int status = read_all(file, path, &text, &length, err);
	if (!standard)
		fclose(file);
	if (!status && yaml_tree_read(text, length, standard ? "standard input" : path, ret, err))
		status = EXIT_REFUSED;
	free(text);
	return status;
}

/* dpud names the object; people look for the line. */
static void add_line(const json_t *schema, const struct yaml_document *document, struct dpu_error *err)
{
	unsigned line = document_line(schema, document, err->path);
	char path[sizeof err->path];
	if (line)
		snprintf(path, sizeof path, "%.80s:%u: %.650s", yaml_tree_name(document), line, err->path);
	else
		snprintf(path, sizeof path, "%.80s: %.650s", yaml_tree_name(document), err->path);
	memcpy(err->path, path, sizeof path);
}

int command_apply(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err)
{
	struct yaml_document *document = NULL;
	json_t *result = NULL;
	const char *path = ctl->options.file ? ctl->options.file : count > 0 ? words[0] : NULL;
	if (!path || count > (ctl->options.file ? 0 : 1))
		return usage_error(err, NULL, "apply takes one document: dpuctl apply -f FILE");
	if (ctl->changes)
		return usage_error(err, "apply", "cannot be part of a transaction: it is one");
	int status = load(path, &document, err);
	const json_t *schema = status ? NULL : ctl_schema(ctl, err);
	if (!status && !schema)
		status = EXIT_UNREACHABLE;
	if (!status) {
		json_t *params = json_pack("{s:o, s:b, s:b}", "document", document_json(schema, document), "prune",
					   ctl->options.prune, "dry_run", ctl->options.dry_run);
		status = ctl_call(ctl, "dpu.apply", params, &result, err);
		if (status == EXIT_REFUSED)
			add_line(schema, document, err);
	}
	if (!status)
		print_changes(ctl, json_object_get(result, "changes"), !ctl->options.dry_run);
	if (!status && !ctl->options.dry_run)
		status = warn_failed(ctl, json_object_get(result, "changes"));
	json_decref(result);
	yaml_tree_free(document);
	return status;
}

int command_export(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err)
{
	json_t *result = NULL;
	if (count > 0)
		return usage_error(err, "export", "takes no words");
	int status = ctl_call(ctl, "dpu.export", NULL, &result, err);
	if (!status && ctl->options.format == FORMAT_JSON)
		print_value(ctl, result);
	else if (!status)
		yaml_tree_write(ctl->out, result);
	json_decref(result);
	return status;
}
