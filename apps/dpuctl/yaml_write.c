/* SPDX-License-Identifier: BSD-3-Clause */
/* JSON values as YAML in block style. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "yaml_tree.h"

/* Whether other readers of YAML (1.1 and 1.2) take the plain text for the same string. What is not surely so is quoted:
 * a quoted string is never wrong. */
static bool is_safe_plain(const char *text)
{
	static const char *const words[] = { "true", "false", "yes", "no", "on", "off", "null", "y", "n", NULL };
	size_t length = strlen(text);
	if (length == 0 || length > 200 || !(isalpha((unsigned char)text[0]) || text[0] == '/'))
		return false;
	for (const char *const *word = words; *word; word++) {
		if (strcasecmp(text, *word) == 0)
			return false;
	}
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];
		bool colon = c == ':' && text[i + 1] && text[i + 1] != ' ';
		if (!isalnum(c) && !strchr("-_./=+@", c) && !colon)
			return false;
	}
	return true;
}

/* A character that may not stand in YAML text as it is: its code, and its length in bytes; 0 for all others. */
static unsigned unprintable(const unsigned char *text, size_t *ret_length)
{
	*ret_length = 1;
	if (text[0] < ' ' || text[0] == 0x7f)
		return text[0];
	if (text[0] == 0xc2 && text[1] >= 0x80 && text[1] < 0xa0) {
		*ret_length = 2;
		return text[1];
	}
	if (text[0] == 0xef && ((text[1] == 0xbb && text[2] == 0xbf) || (text[1] == 0xbf && text[2] >= 0xbe))) {
		*ret_length = 3;
		return 0xf000u | (text[1] & 0x3fu) << 6 | (text[2] & 0x3fu);
	}
	/* Line and paragraph separator are breaks in YAML 1.1. */
	if (text[0] == 0xe2 && text[1] == 0x80 && (text[2] == 0xa8 || text[2] == 0xa9)) {
		*ret_length = 3;
		return 0x2000u | (text[2] & 0x3fu);
	}
	return 0;
}

/* text is UTF-8, as all JSON strings are. */
static void write_quoted(FILE *out, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	fputc('"', out);
	while (*at) {
		size_t length;
		unsigned code = unprintable(at, &length);
		if (code) {
			fprintf(out, "\\u%04x", code);
			at += length;
			continue;
		}
		if (*at == '"' || *at == '\\')
			fputc('\\', out);
		fputc(*at++, out);
	}
	fputc('"', out);
}

static void write_string(FILE *out, const char *text)
{
	if (is_safe_plain(text))
		fputs(text, out);
	else
		write_quoted(out, text);
}

static void write_scalar(FILE *out, const json_t *value)
{
	if (json_is_string(value))
		write_string(out, json_string_value(value));
	else
		json_dumpf(value, out, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
}

static bool is_nested(const json_t *value)
{
	return json_array_size(value) > 0 || json_object_size(value) > 0;
}

static void write_value(FILE *out, const json_t *value, int indent);

static void write_pair(FILE *out, const char *key, const json_t *value, int indent)
{
	/* A key that is not marked as one may have 1,024 characters with all its escapes. */
	if (strlen(key) > 150) {
		fputs("? ", out);
		write_string(out, key);
		fprintf(out, "\n%*s:", indent, "");
	} else {
		write_string(out, key);
		fputc(':', out);
	}
	if (is_nested(value)) {
		fputc('\n', out);
		fprintf(out, "%*s", indent + 2, "");
		write_value(out, value, indent + 2);
	} else {
		fputc(' ', out);
		write_scalar(out, value);
		fputc('\n', out);
	}
}

/* The cursor stands at column indent; ends at the beginning of a line. */
static void write_value(FILE *out, const json_t *value, int indent)
{
	bool first = true;
	size_t index;
	const char *key;
	json_t *item;
	if (!is_nested(value)) {
		write_scalar(out, value);
		fputc('\n', out);
		return;
	}
	json_array_foreach(value, index, item)
	{
		fprintf(out, "%*s- ", first ? 0 : indent, "");
		write_value(out, item, indent + 2);
		first = false;
	}
	json_object_foreach((json_t *)value, key, item)
	{
		fprintf(out, "%*s", first ? 0 : indent, "");
		write_pair(out, key, item, indent);
		first = false;
	}
}

int yaml_tree_write(FILE *out, const json_t *value)
{
	write_value(out, value, 0);
	return ferror(out) ? -EIO : 0;
}
