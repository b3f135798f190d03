/* SPDX-License-Identifier: BSD-3-Clause */
/* Which known word a mistyped one is taken for. */
#include "base/suggest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static const char *near(const char *word)
{
	static const char *const known[] = { "vnic",    "vpc",       "subnet",   "security_group",
					     "workers", "state-dir", "store-dir" };
	struct suggestion suggestion = { .word = word };
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		suggest(&suggestion, known[i]);
	return suggestion.best;
}

static void finds_the_nearest(void **state)
{
	assert_string_equal(near("vnci"), "vnic");
	assert_string_equal(near("vnics"), "vnic");
	assert_string_equal(near("worker"), "workers");
	assert_string_equal(near("sub"), "subnet");
	assert_string_equal(near("security-group"), "security_group");
	assert_string_equal(near("storage-dir"), "store-dir");
	assert_string_equal(near("vnic"), "vnic");
}

static void leaves_other_words_alone(void **state)
{
	assert_null(near(""));
	assert_null(near("tenant"));
	assert_null(near("x"));
	char longest[100];
	memset(longest, 'v', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	assert_null(near(longest));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_nearest),
		cmocka_unit_test(leaves_other_words_alone),
	};
	return cmocka_run_group_tests_name("suggest", tests, NULL, NULL);
}
