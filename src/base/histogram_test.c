// SPDX-License-Identifier: BSD-3-Clause
/* Buckets, quantiles, sums; the cycle counter against the clock. */
#include "base/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/cycles.h"

/* Each duration lies in its bucket, and no bucket is wider than an eighth of where it begins. */
static void test_buckets(void **state)
{
	for (unsigned i = 0; i + 1 < HISTOGRAM_BUCKETS; i++) {
		uint64_t limit = histogram_limit(i);
		assert_int_equal(histogram_bucket(limit - 1), i);
		assert_int_equal(histogram_bucket(limit), i + 1);
		assert_true(histogram_limit(i + 1) - limit <= limit / 8);
	}
	assert_int_equal(histogram_bucket(0), 0);
	assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void test_quantiles(void **state)
{
	struct histogram *histogram = calloc(1, sizeof(*histogram));

	assert_int_equal(histogram_quantile(histogram, 500000), 0);
	for (uint64_t us = 1; us <= 10000; us++)
		histogram_add(histogram, us * CLOCK_NS_PER_US);
	assert_int_equal(histogram_count(histogram), 10000);
	assert_int_equal(histogram->sum_ns, UINT64_C(10000) * 10001 / 2 * CLOCK_NS_PER_US);
	static const uint32_t parts[] = { 1000, 500000, 990000, 999000, 1000000 };
	for (unsigned i = 0; i < 5; i++) {
		uint64_t exact = (uint64_t)parts[i] * 10 * CLOCK_NS_PER_US / 1000;
		uint64_t found = histogram_quantile(histogram, parts[i]);
		assert_true(found >= exact && found <= exact + exact / 8 + 1);
	}
	free(histogram);
}

static void test_merge(void **state)
{
	struct histogram *one = calloc(1, sizeof(*one)), *other = calloc(1, sizeof(*other));

	for (unsigned i = 0; i < 100; i++) {
		histogram_add(one, 1000);
		histogram_add(other, 1000000);
	}
	histogram_merge(one, other);
	assert_int_equal(histogram_count(one), 200);
	assert_int_equal(histogram_below(one, 4096), 100);
	assert_int_equal(histogram_below(one, 1 << 20), 200);
	assert_int_equal(one->sum_ns, 100 * 1001000);
	assert_int_equal(histogram_count(other), 100);
	free(one);
	free(other);
}

static void test_cycles(void **state)
{
	uint64_t scale = cycles_scale(), ns = clock_ns(), cycles = cycles_now();

	while (clock_ns() - ns < 5 * CLOCK_NS_PER_MS)
		;
	uint64_t passed = cycles_ns(cycles_now() - cycles, scale), real = clock_ns() - ns;
	assert_true(passed > real - real / 20 && passed < real + real / 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buckets),
		cmocka_unit_test(test_quantiles),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_cycles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
