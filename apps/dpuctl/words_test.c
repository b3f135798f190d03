/* SPDX-License-Identifier: BSD-3-Clause */
/* Lines of a shell or batch as words. */
#include "words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* expect: the words, each followed by |. */
static void check(const char *line, const char *expect, bool open_end)
{
	struct words words;
	struct dpu_error err = { 0 };
	char joined[256] = "";
	assert_int_equal(words_split(line, &words, &err), 0);
	for (size_t i = 0; i < words.count; i++)
		snprintf(joined + strlen(joined), sizeof joined - strlen(joined), "%s|", words.items[i]);
	assert_string_equal(joined, expect);
	assert_int_equal(words.open_end, open_end);
	words_free(&words);
}

static void splits(void **state)
{
	check("", "", true);
	check("  \t\r\n", "", true);
	check("vnic list", "vnic|list|", false);
	check(" vnic  list ", "vnic|list|", true);
	check("a 'b c' \"d e\"", "a|b c|d e|", false);
	check("x=\"a b\"'c d'", "x=a bc d|", false);
	check("a\\ b 'a\\b' \"a\\\"b\"", "a b|a\\b|a\"b|", false);
	check("'' \"\"", "|||" + 1, false);
	check("a # b", "a|", true);
	check("a#b", "a#b|", false);
	check("# only a comment", "", true);
	check("trailing\\", "trailing\\|", false);
}

static void open_quotes(void **state)
{
	struct words words;
	struct dpu_error err = { 0 };
	assert_true(words_split("a 'b", &words, &err) < 0);
	assert_string_equal(err.message, "a quote (') is not closed");
	assert_int_equal(words_split_unfinished("a \"b c", &words, &err), 0);
	assert_int_equal(words.count, 2);
	assert_string_equal(words.items[1], "b c");
	words_free(&words);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(splits), cmocka_unit_test(open_quotes) };
	return cmocka_run_group_tests_name("words", tests, NULL, NULL);
}
