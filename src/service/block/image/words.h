/* SPDX-License-Identifier: BSD-3-Clause */
/* What qemu-img says, line by line: how far it is, and its last words. They may quote an image, so they may be
 * anything. */
#pragma once

#include <stddef.h>

struct tool_words {
	char line[256]; /* that is under way; what does not fit is not kept */
	size_t length;
	char last[256]; /* no progress; UTF-8 without control characters */
	unsigned percent;
};

void tool_words_take(struct tool_words *words, const char *bytes, size_t length);
/* Its last line, which may have no end. "": it has said nothing. */
const char *tool_words_last(struct tool_words *words);
/* What terminals obey has no place in a sentence, and what is not UTF-8 cannot travel: '?' is put there. */
void tool_words_clean(char *text);
