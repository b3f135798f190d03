/* SPDX-License-Identifier: BSD-3-Clause */
/* Splitting a line by the rules that shells have in common. */
#include "words.h"

#include <stdlib.h>
#include <string.h>
#include "base/str.h"

static int add(struct words *words, struct text *word, struct dpu_error *err)
{
	char *item = text_take(word);
	char **items = item ? reallocarray(words->items, words->count + 1, sizeof *items) : NULL;
	if (!items) {
		free(item);
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	}
	words->items = items;
	words->items[words->count++] = item;
	return 0;
}

/* Takes one word from *at; quote left open is reported in *ret_quote. */
static void take_word(const char **at, struct text *word, char *ret_quote)
{
	char quote = 0;
	const char *p = *at;
	for (; *p && (quote || !strchr(" \t\r\n", *p)); p++) {
		if (*p == '\\' && quote != '\'' && p[1])
			text_add_bytes(word, ++p, 1);
		else if (quote && *p == quote)
			quote = 0;
		else if (!quote && (*p == '\'' || *p == '"'))
			quote = *p;
		else
			text_add_bytes(word, p, 1);
	}
	*at = p;
	*ret_quote = quote;
}

static int split(const char *line, bool unfinished, struct words *ret, struct dpu_error *err)
{
	struct words words = { .open_end = true };
	int rc = 0;
	while (!rc) {
		line += strspn(line, " \t\r\n");
		if (!*line || *line == '#')
			break;
		struct text word = { 0 };
		char quote;
		take_word(&line, &word, &quote);
		words.open_end = *line != '\0';
		if (quote && !unfinished) {
			text_free(&word);
			rc = error_set(err, DPU_E_INVALID, NULL, "a quote (%c) is not closed", quote);
		} else {
			rc = add(&words, &word, err);
		}
	}
	if (rc)
		words_free(&words);
	else
		*ret = words;
	return rc;
}

int words_split(const char *line, struct words *ret, struct dpu_error *err)
{
	return split(line, false, ret, err);
}

int words_split_unfinished(const char *line, struct words *ret, struct dpu_error *err)
{
	return split(line, true, ret, err);
}

void words_free(struct words *words)
{
	for (size_t i = 0; i < words->count; i++)
		free(words->items[i]);
	free(words->items);
	*words = (struct words){ 0 };
}
