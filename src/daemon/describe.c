/* SPDX-License-Identifier: BSD-3-Clause */
/* Documents from the tables: a model that knows the classes and holds nothing. */
#include "daemon/describe.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "daemon/loader.h"

/* Steals value. */
static int print_json(json_t *value, FILE *out, struct dpu_error *err)
{
	int failed = !value || json_dumpf(value, out, JSON_INDENT(2));
	fputc('\n', out);
	json_decref(value);
	return failed ? error_set(err, DPU_E_IO, NULL, "it cannot be written") : 0;
}

/* Steals text. */
static int print_text(char *text, FILE *out, struct dpu_error *err)
{
	int failed = !text || fputs(text, out) < 0;
	free(text);
	return failed ? error_set(err, DPU_E_IO, NULL, "it cannot be written") : 0;
}

static int print_man(const struct model *model, const char *name, FILE *out, struct dpu_error *err)
{
	if (!model_class(model, name))
		return error_set(err, DPU_E_NOT_FOUND, "--man", "there is no class '%s'; see dpud --manual", name);
	return print_text(model_manual_man(model, name), out, err);
}

static int print_of_model(const struct options *options, const struct model *model, FILE *out, struct dpu_error *err)
{
	switch (options->print) {
	case PRINT_SCHEMA:
		return print_json(model_schema(model), out, err);
	case PRINT_JSON_SCHEMA:
		return print_json(model_json_schema(model), out, err);
	case PRINT_MANUAL:
		return print_text(model_manual_markdown(model), out, err);
	default:
		return print_man(model, options->man_class, out, err);
	}
}

int describe(const struct options *options, const struct service *const *services, FILE *out, struct dpu_error *err)
{
	const struct model_options nothing = { 0 };
	struct model *model = NULL;
	struct loader *loader = NULL;
	if (options->print == PRINT_HELP) {
		options_help(out);
		return 0;
	}
	if (options->print == PRINT_VERSION) {
		fprintf(out, "dpud %s\n", DPUD_VERSION);
		return 0;
	}
	if (options->print == PRINT_MAN && strcmp(options->man_class, "dpud") == 0) {
		options_man(out);
		return 0;
	}
	int rc = loader_new(services, &loader, err);
	if (!rc)
		rc = model_new(&nothing, &model, err);
	if (!rc)
		rc = loader_describe(loader, model, err);
	if (!rc)
		rc = print_of_model(options, model, out, err);
	model_free(model);
	loader_free(loader);
	return rc;
}
