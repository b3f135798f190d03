/* SPDX-License-Identifier: BSD-3-Clause */
/* Text that grows, text that is cut, and scope cleanup for the control path. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

/* A growing string. Start from { 0 }; a failed allocation sets failed and later additions do nothing, so that a
 * caller checks once, in text_take(). data is NULL while nothing was added, else always terminated. */
struct text {
	char *data;
	size_t length, capacity;
	bool failed;
};

void text_add(struct text *text, const char *string);
void text_add_bytes(struct text *text, const char *bytes, size_t length);
void text_printf(struct text *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_vprintf(struct text *text, const char *fmt, va_list args);
/* The string, to be freed by the caller ("" when nothing was added); NULL when memory was short. text is empty then. */
char *text_take(struct text *text);
void text_free(struct text *text);

/* snprintf() into size bytes (at least 1) that cuts what is too long between characters of UTF-8, not inside one. */
void str_format(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void str_vformat(char *buf, size_t size, const char *fmt, va_list args);

/* "a" or "an", as spoken before a lower-case word; one without a vowel before its first '_' is spelled: an nvmf_host,
 * a vpc. */
const char *str_article(const char *word);

/* Freed at the end of the scope: `CLEANUP(free_pointer) char *copy = strdup(x);` */
#define CLEANUP(fn_) __attribute__((cleanup(fn_)))

static inline void free_pointer(void *pointer)
{
	free(*(void **)pointer);
}

static inline void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
