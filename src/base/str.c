/* SPDX-License-Identifier: BSD-3-Clause */
/* Text that grows, and text that is cut. */
#include "base/str.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Room for extra bytes and the terminator. */
static bool text_reserve(struct text *text, size_t extra)
{
	if (text->failed || extra >= SIZE_MAX / 2 - text->length) {
		text->failed = true;
		return false;
	}
	size_t need = text->length + extra + 1;
	if (need <= text->capacity)
		return true;
	size_t capacity = text->capacity ? text->capacity : 64;
	while (capacity < need)
		capacity *= 2;
	char *data = realloc(text->data, capacity);
	if (!data) {
		text->failed = true;
		return false;
	}
	text->data = data;
	text->capacity = capacity;
	return true;
}

void text_add_bytes(struct text *text, const char *bytes, size_t length)
{
	if (!text_reserve(text, length))
		return;
	memcpy(text->data + text->length, bytes, length);
	text->length += length;
	text->data[text->length] = 0;
}

void text_add(struct text *text, const char *string)
{
	text_add_bytes(text, string, strlen(string));
}

void text_vprintf(struct text *text, const char *fmt, va_list args)
{
	va_list again;

	va_copy(again, args);
	int length = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (length < 0)
		text->failed = true;
	else if (text_reserve(text, (size_t)length))
		text->length += (size_t)vsnprintf(text->data + text->length, (size_t)length + 1, fmt, args);
}

void text_printf(struct text *text, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	text_vprintf(text, fmt, args);
	va_end(args);
}

char *text_take(struct text *text)
{
	text_add_bytes(text, "", 0);
	if (text->failed) {
		text_free(text);
		return NULL;
	}
	char *data = text->data;
	*text = (struct text){ 0 };
	return data;
}

void text_free(struct text *text)
{
	free(text->data);
	*text = (struct text){ 0 };
}

/* How many bytes the character has that begins with `lead`; 1 for what begins none. */
static size_t utf8_length(uint8_t lead)
{
	return lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
}

void str_vformat(char *buf, size_t size, const char *fmt, va_list args)
{
	int length = vsnprintf(buf, size, fmt, args);
	size_t end = size - 1, start = end;

	if (length < 0)
		end = start = 0;
	else if ((size_t)length < size)
		return;
	/* Back to where the last character begins: if it is not all there, it goes. */
	while (start > 0 && end - start < 4 && ((uint8_t)buf[--start] & 0xc0) == 0x80)
		;
	if (start < end && start + utf8_length((uint8_t)buf[start]) > end)
		end = start;
	buf[end] = 0;
}

void str_format(char *buf, size_t size, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	str_vformat(buf, size, fmt, args);
	va_end(args);
}

const char *str_article(const char *word)
{
	static const char vowels[] = "aeiou";
	bool spelled = strcspn(word, vowels) >= strcspn(word, "_");
	/* Letters whose names begin with a vowel: ef, aitch, em … */
	const char *open = spelled ? "aeiofhlmnrsx" : vowels;

	return word[0] && strchr(open, word[0]) ? "an" : "a";
}
