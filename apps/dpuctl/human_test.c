/* SPDX-License-Identifier: BSD-3-Clause */
/* Values as people read them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "ctl.h"

static void check(const char *json, const char *expect)
{
	json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
	assert_non_null(value);
	char *text = human_value(NULL, value);
	assert_string_equal(text, expect);
	free(text);
	json_decref(value);
}

static void values(void **state)
{
	check("null", "-");
	check("\"\"", "-");
	check("[]", "-");
	check("true", "yes");
	check("\"blue/web\"", "blue/web");
	check("7", "7");
	check("47906.69", "47906.69");
	check("0.1", "0.1");
}

/* Neither ASCII's control characters reach a terminal nor those behind them in Unicode, such as CSI; text does. */
static void control_characters(void **state)
{
	check("\"a\\u001b[31mb\"", "a?[31mb");
	check("\"a\\u007fb\\n\"", "a?b?");
	check("\"a\\u009b31mb\"", "a??31mb");
	check("\"\\u0080\\u009f\"", "????");
	check("\"\\u00a0\\u00b5s \\u20ac\"", "\xc2\xa0\xc2\xb5s \xe2\x82\xac");
	assert_null(text_clean(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(values), cmocka_unit_test(control_characters) };
	return cmocka_run_group_tests_name("human", tests, NULL, NULL);
}
