/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the clock of stages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "base/stage.h"

enum { WORK = 200000 };

static void spend(uint64_t cycles)
{
	uint64_t start = cycles_now();

	while (cycles_now() - start < cycles)
		;
}

static void test_nested(void **state)
{
	struct stage_clock clock;
	uint64_t start = cycles_now(), sum = 0;

	stage_clock_begin(&clock);
	uint64_t begun = cycles_now();
	enum cycle_stage outer = stage_enter(STAGE_PARSE);
	spend(WORK);
	enum cycle_stage before = stage_enter(STAGE_CRC);
	assert_int_equal(before, STAGE_PARSE);
	spend(3 * WORK);
	stage_enter(before);
	spend(WORK);
	stage_enter(outer);
	uint64_t ended = cycles_now();
	stage_clock_end();
	uint64_t whole = cycles_now() - start;

	for (unsigned i = 0; i < STAGES; i++)
		sum += clock.cycles[i];
	assert_true(clock.cycles[STAGE_PARSE] >= 2 * WORK);
	assert_true(clock.cycles[STAGE_CRC] >= 3 * WORK);
	assert_int_equal(clock.cycles[STAGE_DEVICE], 0);
	assert_in_range(sum, ended - begun, whole);
}

static void test_off(void **state)
{
	struct stage_clock clock;

	stage_clock_begin(&clock);
	stage_clock_end();
	struct stage_clock then = clock;
	assert_int_equal(stage_enter(STAGE_CRC), STAGE_OTHER);
	spend(WORK);
	assert_int_equal(stage_enter(STAGE_OTHER), STAGE_OTHER);
	assert_memory_equal(&then, &clock, sizeof(clock));
	for (unsigned i = 0; i < STAGES; i++)
		assert_non_null(stage_clock_names[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_nested), cmocka_unit_test(test_off) };

	return cmocka_run_group_tests_name("stage", tests, NULL, NULL);
}
