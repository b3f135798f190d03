/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the log: line shapes, levels, rotation, hostile values. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/log.h"
#include "base/str.h"

static char directory[] = "/tmp/log_test.XXXXXX";
static char path[64], rotated[64];

static char *slurp(const char *name)
{
	struct text text = { 0 };
	char buf[512];
	size_t count;
	FILE *file = fopen(name, "r");

	assert_non_null(file);
	while ((count = fread(buf, 1, sizeof(buf), file)) > 0)
		text_add_bytes(&text, buf, count);
	fclose(file);
	return text_take(&text);
}

static void plain_lines(void **state)
{
	assert_int_equal(log_open(path, false), 0);
	log_set_level(LOG_LEVEL_INFO);
	log_info("store", "opened", "path=%s objects=%d", "/x", 3);
	log_debug("store", "not shown", NULL);
	log_error("store", "hostile", "name=\"%s\"", "a\nb\x1b[31m");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("store", "shown", NULL);
	CLEANUP(free_pointer) char *text = slurp(path);
	char *second = strchr(text, '\n') + 1;
	assert_non_null(strstr(text, "Z info store: opened path=/x objects=3\n"));
	assert_null(strstr(text, "not shown"));
	assert_non_null(strstr(second, "Z error store: hostile name=\"a\\x0ab\\x1b[31m\"\n"));
	assert_non_null(strstr(text, "Z debug store: shown\n"));
	assert_int_equal(text[10], 'T');
}

static void json_lines(void **state)
{
	unlink(path);
	assert_int_equal(log_open(path, true), 0);
	log_warn("port", "link \"down\"", "name=up0 why=\"no carrier\" loose empty= n=%d", 3);
	CLEANUP(free_pointer) char *text = slurp(path);
	assert_non_null(
		strstr(text, "\"level\":\"warn\",\"topic\":\"port\",\"message\":\"link \\\"down\\\"\",\"name\":\"up0\","
			     "\"why\":\"no carrier\",\"note\":\"loose\",\"empty\":\"\",\"n\":\"3\"}\n"));
}

static void rotation(void **state)
{
	assert_int_equal(log_open(path, false), 0);
	assert_int_equal(rename(path, rotated), 0);
	log_info("a", "before", NULL);
	assert_int_equal(log_reopen(), 0);
	log_info("a", "after", NULL);
	CLEANUP(free_pointer) char *old = slurp(rotated), *new = slurp(path);
	assert_non_null(strstr(old, "before"));
	assert_null(strstr(old, "after"));
	assert_non_null(strstr(new, "after"));
}

static void failure_keeps_log(void **state)
{
	assert_int_equal(log_open(path, false), 0);
	assert_int_equal(log_open("/nonexistent/dir/log", false), -ENOENT);
	log_info("a", "still here", NULL);
	CLEANUP(free_pointer) char *text = slurp(path);
	assert_non_null(strstr(text, "still here"));
}

static void levels(void **state)
{
	enum log_level level = LOG_LEVEL_DEBUG;

	assert_int_equal(log_level_parse("warn", &level), 0);
	assert_int_equal(level, LOG_LEVEL_WARN);
	assert_int_equal(log_level_parse("loud", &level), -EINVAL);
	assert_int_equal(level, LOG_LEVEL_WARN);
}

static int set_up(void **state)
{
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/log", directory);
	snprintf(rotated, sizeof(rotated), "%s/log.1", directory);
	return 0;
}

static int tear_down(void **state)
{
	log_open(NULL, false);
	unlink(path);
	unlink(rotated);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_lines),       cmocka_unit_test(json_lines), cmocka_unit_test(rotation),
		cmocka_unit_test(failure_keeps_log), cmocka_unit_test(levels),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
