/* SPDX-License-Identifier: BSD-3-Clause */
/* Drop reasons: every one has a unique stable-looking name and a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "device/packet/drop.h"

static void names_are_unique_identifiers(void **state)
{
	for (unsigned i = 0; i < DROP_REASON_COUNT; i++) {
		const char *name = drop_reason_name(i);

		assert_true(strlen(name) > 1);
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-"), strlen(name));
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(name, drop_reason_name(j));
	}
	assert_string_equal(drop_reason_name(DROP_SPOOFED_MAC), "spoofed-mac");
}

static void docs_are_sentences(void **state)
{
	for (unsigned i = 0; i < DROP_REASON_COUNT; i++) {
		const char *doc = drop_reason_doc(i);

		assert_true(doc[0] >= 'A' && doc[0] <= 'Z');
		assert_int_equal(doc[strlen(doc) - 1], '.');
	}
}

static void unknown_numbers_are_safe(void **state)
{
	assert_string_equal(drop_reason_name(DROP_REASON_COUNT), "unknown");
	assert_string_equal(drop_reason_name((enum drop_reason) - 1), "unknown");
	assert_non_null(drop_reason_doc((enum drop_reason)100000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_unique_identifiers),
		cmocka_unit_test(docs_are_sentences),
		cmocka_unit_test(unknown_numbers_are_safe),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
