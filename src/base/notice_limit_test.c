// SPDX-License-Identifier: BSD-3-Clause
/* Tests of notice_limit: one name, more names than there is room for. */
#include "base/notice_limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include "base/clock.h"

static void one_name(void **state)
{
	struct notice_limit limit = { 0 };
	uint64_t now = 5 * CLOCK_NS_PER_S;

	assert_true(notice_limit_pass(&limit, "queue-broken", now));
	assert_false(notice_limit_pass(&limit, "queue-broken", now));
	assert_true(notice_limit_pass(&limit, "memory-fault", now + CLOCK_NS_PER_S));
	assert_false(notice_limit_pass(&limit, "queue-broken", now + 9 * CLOCK_NS_PER_S));
	assert_true(notice_limit_pass(&limit, "queue-broken", now + 10 * CLOCK_NS_PER_S));
	assert_false(notice_limit_pass(&limit, "memory-fault", now + 10 * CLOCK_NS_PER_S));
}

static void many_names(void **state)
{
	struct notice_limit limit = { 0 };
	char name[64];

	for (unsigned i = 0; i <= NOTICE_LIMIT_NAMES; i++) {
		snprintf(name, sizeof(name), "%u-and-what-makes-this-name-too-long-for-its-place", i);
		assert_true(notice_limit_pass(&limit, name, i + 1));
		assert_false(notice_limit_pass(&limit, name, i + 1));
	}
	/* The first is forgotten, and its return pushes out the second. */
	assert_true(notice_limit_pass(&limit, "0-and-what-makes-this-name-too-long-for-its-place", 100));
	assert_true(notice_limit_pass(&limit, "1-and-what-makes-this-name-too-long-for-its-place", 101));
	assert_false(notice_limit_pass(&limit, "3-and-what-makes-this-name-too-long-for-its-place", 102));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(one_name), cmocka_unit_test(many_names) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
