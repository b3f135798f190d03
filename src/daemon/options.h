/* SPDX-License-Identifier: BSD-3-Clause */
/* dpud's options: one table, from which parsing, the options file, --help and dpud(8) follow. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "base/error.h"

/* What to print in place of starting. */
enum options_print {
	PRINT_NOTHING,
	PRINT_HELP,
	PRINT_VERSION,
	PRINT_SCHEMA,
	PRINT_JSON_SCHEMA,
	PRINT_MANUAL,
	PRINT_MAN,
};

enum options_huge_pages { HUGE_PAGES_AUTO, HUGE_PAGES_ON, HUGE_PAGES_OFF };

/* Strings are owned; those without a default are NULL when not given. */
struct options {
	char *config;
	char *instance;
	char *run_dir, *state_dir, *store_dir; /* NULL: by instance_new() */
	char *group;
	uint32_t workers;
	char *cpus;
	uint8_t policy; /* enum worker_policy */
	uint32_t memory_mb;
	uint32_t max_sessions;
	uint32_t zero_copy_kib; /* 0: never */
	uint8_t huge_pages;     /* enum options_huge_pages */
	char *eal;
	char *metrics;
	char *capture_dir;
	char *image_dir, *module_dir;
	char *log;
	uint8_t log_level; /* enum log_level */
	bool log_json;
	bool core_dumps;
	uint8_t print;   /* enum options_print */
	char *man_class; /* of PRINT_MAN */
};

/* Fills ret from the defaults, then the options file, then argv. On failure ret needs no options_free(); err.path is
 * the option ("--workers") or the place in the file ("FILE:3: workers"). */
int options_parse(int argc, char *const *argv, struct options *ret, struct dpu_error *err);
void options_free(struct options *options);

void options_help(FILE *out);
void options_man(FILE *out); /* dpud(8) in mdoc(7) */
