/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables of text, columns as wide as what is in them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct table;

struct table *table_new(const char *const *heads, size_t columns); /* NULL when memory is short */
void table_free(struct table *table);
/* Adds a cell, row by row; text, as human_value() makes it, is stolen (NULL shows as "-"). right: numbers are set to
 * the right. */
void table_add(struct table *table, char *text, bool right);
/* Leaves out columns in which all rows show "-". */
void table_hide_empty(struct table *table);
void table_hide(struct table *table, size_t column);
/* width: of the terminal, 0 = any. The last columns that do not fit are left out, and said. color: heads in bold. */
void table_print(const struct table *table, FILE *out, unsigned width, bool color);
/* Characters of a UTF-8 text. */
size_t text_width(const char *text);
