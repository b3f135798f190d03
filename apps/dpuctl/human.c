/* SPDX-License-Identifier: BSD-3-Clause */
/* Values as people read them in a table: units and lists. */
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "ctl.h"
#include "schema.h"

/* 1536 bytes are 1.5 KiB. */
static void add_bytes(struct text *text, double value)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	unsigned unit = 0;
	while (value >= 1024 && unit < 6) {
		value /= 1024;
		unit++;
	}
	text_printf(text, value == (double)(long long)value || unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

/* 3,661 s are 1h1m1s. */
static void add_seconds(struct text *text, unsigned long long seconds)
{
	unsigned long long days = seconds / 86400, hours = seconds / 3600 % 24, minutes = seconds / 60 % 60;
	if (days)
		text_printf(text, "%llud", days);
	if (hours)
		text_printf(text, "%lluh", hours);
	if (minutes)
		text_printf(text, "%llum", minutes);
	if (seconds % 60 || seconds == 0)
		text_printf(text, "%llus", seconds % 60);
}

static void add_nanoseconds(struct text *text, double value)
{
	static const char *const units[] = { "ns", "µs", "ms", "s" };
	unsigned unit = 0;
	while (value >= 1000 && unit < 3) {
		value /= 1000;
		unit++;
	}
	text_printf(text, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

static bool add_with_unit(struct text *text, const char *unit, long long value)
{
	/* MTUs and the like are read as they are written. */
	if (strcmp(unit, "bytes") == 0 && value >= 65536)
		add_bytes(text, (double)value);
	else if (strcmp(unit, "seconds") == 0 && value >= 60)
		add_seconds(text, (unsigned long long)value);
	else if (strcmp(unit, "nanoseconds") == 0)
		add_nanoseconds(text, (double)value);
	else
		return false;
	return true;
}

/* What dpud's objects say has none, but what it observes, and what errors repeat of a document, may. */
char *text_clean(char *text)
{
	for (unsigned char *at = (unsigned char *)text; at && *at; at++) {
		if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0)
			*at++ = '?';
		else if (*at >= ' ' && *at != 0x7f)
			continue;
		*at = '?';
	}
	return text;
}

char *human_value(const json_t *field, const json_t *value)
{
	struct text text = { 0 };
	if (!value || json_is_null(value))
		return strdup("-");
	if (json_is_boolean(value))
		return strdup(json_is_true(value) ? "yes" : "no");
	if (json_is_integer(value) && json_integer_value(value) >= 0 &&
	    add_with_unit(&text, schema_text(field, "unit"), json_integer_value(value)))
		return text_take(&text);
	if ((json_is_array(value) && json_array_size(value) == 0) ||
	    (json_is_string(value) && json_string_length(value) == 0))
		return strdup("-");
	return text_clean(field_word(value));
}
