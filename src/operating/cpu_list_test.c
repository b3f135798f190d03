/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of CPU lists. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "operating/cpu_list.h"

static int first_cpu(void)
{
	cpu_set_t set;
	int cpu = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	while (!CPU_ISSET(cpu, &set))
		cpu++;
	return cpu;
}

static void lists(void **state)
{
	int cpus[4];
	char text[64];
	struct dpu_error err;

	snprintf(text, sizeof(text), "%d", first_cpu());
	assert_int_equal(cpu_list_parse(text, cpus, 4, &err), 1);
	assert_int_equal(cpus[0], first_cpu());
	snprintf(text, sizeof(text), "%d-%d", first_cpu(), first_cpu());
	assert_int_equal(cpu_list_parse(text, cpus, 4, &err), 1);

	cpu_set_t set;
	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	if (CPU_COUNT(&set) >= 2 && CPU_ISSET(0, &set) && CPU_ISSET(1, &set)) {
		assert_int_equal(cpu_list_parse("0-1", cpus, 4, &err), 2);
		assert_int_equal(cpu_list_parse("1,0", cpus, 4, &err), 2);
		assert_int_equal(cpus[0], 1);
		assert_int_equal(cpu_list_parse("0-1", cpus, 1, &err), error_errno(DPU_E_LIMIT));
	}
}

static void wrong_lists(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "", "is not a CPU list" },
		{ " 0", "is not a CPU list" },
		{ "0 ", "is not a CPU list" },
		{ "-1", "is not a CPU list" },
		{ "+1", "is not a CPU list" },
		{ "0-", "is not a CPU list" },
		{ "0,", "is not a CPU list" },
		{ ",0", "is not a CPU list" },
		{ "0--1", "is not a CPU list" },
		{ "0x1", "is not a CPU list" },
		{ "all", "is not a CPU list" },
		{ "1-0", "backwards" },
		{ "0,0", "twice" },
		{ "1023", "does not exist" },
		{ "0-1023", "does not exist" },
		{ "1024", "at most" },
		{ "99999999999999999999999", "at most" },
	};
	int cpus[64];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct dpu_error err = { 0 };
		if (strstr(cases[i].text, "0,0") && first_cpu() != 0)
			continue;
		assert_true(cpu_list_parse(cases[i].text, cpus, 64, &err) < 0);
		assert_int_equal(err.code, DPU_E_INVALID);
		assert_string_equal(err.path, "cpus");
		if (!strstr(err.message, cases[i].says))
			fail_msg("\"%s\": %s", cases[i].text, err.message);
	}
}

static void left_alone(void **state)
{
	cpu_set_t before, after;
	int all[CPU_SETSIZE], mine = first_cpu();
	unsigned count = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &before))
			all[count++] = cpu;
	cpu_list_leave(all, count); /* no others: nothing changes */
	assert_int_equal(sched_getaffinity(0, sizeof(after), &after), 0);
	assert_true(CPU_EQUAL(&before, &after));
	cpu_list_leave(&mine, 1);
	assert_int_equal(sched_getaffinity(0, sizeof(after), &after), 0);
	assert_int_equal(CPU_ISSET(mine, &after) != 0, count == 1);
	assert_int_equal(CPU_COUNT(&after), count == 1 ? 1 : count - 1);
	sched_setaffinity(0, sizeof(before), &before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists),
		cmocka_unit_test(wrong_lists),
		cmocka_unit_test(left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
