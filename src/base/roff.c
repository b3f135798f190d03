/* SPDX-License-Identifier: BSD-3-Clause */
/* Escaping for mdoc: a dot or an apostrophe at the beginning of a line, and backslashes anywhere, have a meaning. */
#include "base/roff.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

/* A blank behind the end of a sentence. */
static bool ends_sentence(const char *text, const char *at)
{
	return *at == ' ' && at > text && strchr(".!?", at[-1]) && isupper((unsigned char)at[1]);
}

void roff_prose(FILE *out, const char *text)
{
	bool start = true;

	for (const char *at = text; *at; at++) {
		if (ends_sentence(text, at)) {
			fputc('\n', out);
			start = true;
			continue;
		}
		if (start && (*at == '.' || *at == '\''))
			fputs("\\&", out);
		start = false;
		if (*at == '\\')
			fputs("\\e", out);
		else
			fputc(*at, out);
	}
	fputc('\n', out);
}
