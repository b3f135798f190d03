/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the structured error. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/error.h"

static void fills_and_returns(void **state)
{
	struct dpu_error err = { 0 };

	assert_int_equal(error_set(&err, DPU_E_LIMIT, "vnic.mtu", "%d is too many", 7), -ENOSPC);
	assert_int_equal(err.code, DPU_E_LIMIT);
	assert_string_equal(err.path, "vnic.mtu");
	assert_string_equal(err.message, "7 is too many");
	assert_int_equal(error_set(NULL, DPU_E_CONFLICT, NULL, "x"), -ESTALE);
	assert_int_equal(error_set(&err, DPU_E_INVALID, NULL, "was: %s", err.message), -EINVAL);
	assert_string_equal(err.path, "");
	assert_string_equal(err.message, "was: 7 is too many");
	error_set(&err, DPU_E_INVALID, "mtu", "x");
	error_set(&err, DPU_E_INVALID, err.path, "y");
	assert_string_equal(err.path, "mtu");
}

static void cuts_long_text(void **state)
{
	struct dpu_error err;
	char longer[2000];

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	error_set(&err, DPU_E_IO, longer, "%s", longer);
	assert_int_equal(strlen(err.path), sizeof(err.path) - 1);
	assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
	error_prefix(&err, "head");
	assert_int_equal(strlen(err.path), sizeof(err.path) - 1);
	assert_memory_equal(err.path, "head.xxx", 8);
}

static void cuts_between_characters(void **state)
{
	struct dpu_error err;
	char longer[2000] = "x";

	while (strlen(longer) < 1990)
		strcat(longer, "\u20ac");
	error_set(&err, DPU_E_IO, longer, "%s", longer);
	assert_int_equal((strlen(err.path) - 1) % 3, 0);
	assert_in_range(strlen(err.path), sizeof(err.path) - 3, sizeof(err.path) - 1);
	assert_int_equal((strlen(err.message) - 1) % 3, 0);
	assert_in_range(strlen(err.message), sizeof(err.message) - 3, sizeof(err.message) - 1);
}

static void prefixes(void **state)
{
	struct dpu_error err;

	error_set(&err, DPU_E_IO, NULL, "m");
	error_prefix(&err, "vnic/blue/web1");
	assert_string_equal(err.path, "vnic/blue/web1");
	error_prefix(&err, "changes[3]");
	assert_string_equal(err.path, "changes[3].vnic/blue/web1");
	error_prefix(NULL, "x");
}

static void names_every_code(void **state)
{
	for (int code = DPU_E_INVALID; code <= DPU_E_TIMEOUT; code++) {
		assert_true(error_errno(code) < 0);
		for (int other = DPU_OK; other < code; other++) {
			assert_int_not_equal(error_errno(code), error_errno(other));
			assert_string_not_equal(error_code_name(code), error_code_name(other));
		}
	}
	assert_string_equal(error_code_name(DPU_E_NOT_FOUND), "not_found");
	assert_int_equal(error_errno(DPU_OK), 0);
	assert_string_equal(error_code_name((enum dpu_error_code)999), "internal");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fills_and_returns),       cmocka_unit_test(cuts_long_text),
		cmocka_unit_test(cuts_between_characters), cmocka_unit_test(prefixes),
		cmocka_unit_test(names_every_code),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
