// SPDX-License-Identifier: BSD-3-Clause
/* The output of qemu-img. */
#include "service/block/image/words.h"

#include <stdio.h>
#include <string.h>
#include <jansson.h>
#include "base/str.h"

void tool_words_clean(char *line)
{
	json_t *utf8 = json_string(line);

	for (char *c = line; *c; c++) {
		unsigned char byte = (unsigned char)*c;
		if (byte < ' ' || byte == 0x7f || (byte >= 0x80 && !utf8))
			*c = '?';
	}
	json_decref(utf8);
}

/* "    (12.34/100%)", or a sentence. */
static void line_end(struct tool_words *words)
{
	char *line = words->line;
	double percent;
	int end = 0;

	line[words->length] = '\0';
	words->length = 0;
	if (sscanf(line, " (%lf/100%%)%n", &percent, &end) == 1 && end > 0 && percent >= 0 && percent <= 100) {
		words->percent = (unsigned)percent;
	} else if (line[strspn(line, " ")]) {
		tool_words_clean(line);
		str_format(words->last, sizeof(words->last), "%s", line);
	}
}

void tool_words_take(struct tool_words *words, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		char c = bytes[i] ? bytes[i] : '?';
		if (c == '\r' || c == '\n')
			line_end(words);
		else if (words->length < sizeof(words->line) - 1)
			words->line[words->length++] = c;
	}
}

const char *tool_words_last(struct tool_words *words)
{
	line_end(words);
	return words->last;
}
