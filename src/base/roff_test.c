/* SPDX-License-Identifier: BSD-3-Clause */
/* Prose in manual pages. */
#include "base/roff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static void check(const char *text, const char *expect)
{
	char *result = NULL;
	size_t size;
	FILE *out = open_memstream(&result, &size);
	assert_non_null(out);
	roff_prose(out, text);
	fclose(out);
	assert_string_equal(result, expect);
	free(result);
}

static void prose(void **state)
{
	check("One. Two? three. Four.", "One.\nTwo? three.\nFour.\n");
	check(".Nm is no request", "\\&.Nm is no request\n");
	check("'quoted' \\ back", "\\&'quoted' \\e back\n");
	check("End. 'Not' split, as no letter follows", "End. 'Not' split, as no letter follows\n");
	check("", "\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(prose) };
	return cmocka_run_group_tests_name("roff", tests, NULL, NULL);
}
