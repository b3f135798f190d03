/* SPDX-License-Identifier: BSD-3-Clause */
/* Rows of the option table, for the parser and for what is printed from it. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

enum option_kind { OPTION_TEXT = 1, OPTION_NUMBER, OPTION_CHOICE, OPTION_FLAG, OPTION_PRINT };

/* A row without a name is a heading. The table ends with a row without doc. */
struct option_row {
	const char *name;
	char letter;     /* short form, 0 = none */
	const char *arg; /* what its value is called; NULL: it takes none */
	enum option_kind kind;
	size_t offset; /* in struct options: char *, uint32_t, uint8_t or bool by kind */
	uint32_t min, max;
	const char *const *names; /* OPTION_CHOICE: NULL-terminated, index = value */
	uint8_t print;            /* OPTION_PRINT: enum options_print */
	const char *def;
	int (*check)(const char *value, struct dpu_error *err); /* OPTION_TEXT; may be NULL */
	const char *doc;
};

extern const struct option_row option_rows[];
