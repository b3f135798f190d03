/* SPDX-License-Identifier: BSD-3-Clause */
/* A line of the interactive shell or of a batch file as words. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include "base/error.h"

struct words {
	char **items;
	size_t count;
	bool open_end; /* the line ends in a blank: the next word has not begun */
};

/* Words are separated by blanks; quotes ('…', "…") and backslashes take blanks in; an unquoted # at the beginning of a
 * word begins a comment. */
int words_split(const char *line, struct words *ret, struct dpu_error *err);
/* The same for a line that is still being typed: open quotes are closed. */
int words_split_unfinished(const char *line, struct words *ret, struct dpu_error *err);
void words_free(struct words *words);
