/* SPDX-License-Identifier: BSD-3-Clause */
/* Laying out a table. */
#include "table.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = 2 };

struct cell {
	char *text;
	bool right;
};

struct table {
	char **heads;
	bool *hidden;
	size_t columns;
	struct cell *cells; /* row by row */
	size_t count, room;
};

size_t text_width(const char *text)
{
	size_t width = 0;
	for (; *text; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

struct table *table_new(const char *const *heads, size_t columns)
{
	struct table *table = calloc(1, sizeof *table);
	if (!table)
		return NULL;
	table->heads = calloc(columns + 1, sizeof *table->heads);
	table->hidden = calloc(columns + 1, sizeof *table->hidden);
	for (size_t i = 0; table->heads && table->hidden && i < columns; i++) {
		table->heads[i] = strdup(heads[i]);
		if (!table->heads[i])
			break;
		table->columns++;
		for (char *c = table->heads[i]; *c; c++)
			*c = *c == '_' ? ' ' : (char)toupper((unsigned char)*c);
	}
	if (table->columns == columns && table->hidden)
		return table;
	table_free(table);
	return NULL;
}

void table_free(struct table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i].text);
	for (size_t i = 0; i < table->columns; i++)
		free(table->heads[i]);
	free(table->heads);
	free(table->hidden);
	free(table->cells);
	free(table);
}

void table_add(struct table *table, char *text, bool right)
{
	if (table->count == table->room) {
		size_t room = table->room ? 2 * table->room : 64;
		struct cell *cells = reallocarray(table->cells, room, sizeof *cells);
		if (!cells) {
			free(text);
			return;
		}
		table->cells = cells;
		table->room = room;
	}
	table->cells[table->count++] = (struct cell){ text, right };
}

static const char *cell_text(const struct table *table, size_t row, size_t column)
{
	const char *text = table->cells[row * table->columns + column].text;
	return text ? text : "-";
}

void table_hide_empty(struct table *table)
{
	size_t rows = table->count / table->columns;
	for (size_t column = 0; column < table->columns; column++) {
		bool empty = rows > 0;
		for (size_t row = 0; row < rows && empty; row++)
			empty = strcmp(cell_text(table, row, column), "-") == 0;
		table->hidden[column] |= empty;
	}
}

void table_hide(struct table *table, size_t column)
{
	table->hidden[column] = true;
}

static size_t column_width(const struct table *table, size_t column)
{
	size_t width = text_width(table->heads[column]);
	for (size_t row = 0; row < table->count / table->columns; row++) {
		size_t cell = text_width(cell_text(table, row, column));
		width = cell > width ? cell : width;
	}
	return width;
}

static void print_padding(FILE *out, size_t width)
{
	fprintf(out, "%*s", (int)width, "");
}

/* row: SIZE_MAX for the heads. */
static void print_row(const struct table *table, FILE *out, size_t row, const size_t *widths, size_t shown, bool bold)
{
	bool first = true;
	size_t last = 0;
	for (size_t i = 0; i < shown; i++)
		last = table->hidden[i] ? last : i;
	if (bold)
		fputs("\033[1m", out);
	for (size_t i = 0; i < shown; i++) {
		if (table->hidden[i])
			continue;
		const char *text = row == SIZE_MAX ? table->heads[i] : cell_text(table, row, i);
		bool right = table->count > 0 && table->cells[(row == SIZE_MAX ? 0 : row) * table->columns + i].right;
		size_t padding = widths[i] - text_width(text);
		print_padding(out, (first ? 0 : GAP) + (right ? padding : 0));
		fputs(text, out);
		if (!right && i != last)
			print_padding(out, padding);
		first = false;
	}
	fputs(bold ? "\033[0m\n" : "\n", out);
}

/* How many columns fit: the first one always. */
static size_t fitting(const struct table *table, const size_t *widths, unsigned width)
{
	size_t used = 0;
	for (size_t i = 0; i < table->columns; i++) {
		if (table->hidden[i])
			continue;
		used += widths[i] + (used ? GAP : 0);
		if (width && used > width && i > 0)
			return i;
	}
	return table->columns;
}

void table_print(const struct table *table, FILE *out, unsigned width, bool color)
{
	size_t *widths = calloc(table->columns + 1, sizeof *widths);
	if (!widths)
		return;
	for (size_t i = 0; i < table->columns; i++)
		widths[i] = column_width(table, i);
	size_t shown = fitting(table, widths, width);
	print_row(table, out, SIZE_MAX, widths, shown, color);
	for (size_t row = 0; row < table->count / table->columns; row++)
		print_row(table, out, row, widths, shown, false);
	if (shown < table->columns) {
		fputs("… and the columns", out);
		for (size_t i = shown; i < table->columns; i++) {
			if (!table->hidden[i])
				fprintf(out, " %s", table->heads[i]);
		}
		fputs(" (dpuctl -c)\n", out);
	}
	free(widths);
}
