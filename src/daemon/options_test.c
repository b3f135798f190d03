/* SPDX-License-Identifier: BSD-3-Clause */
/* dpud's options: defaults, both ways of writing, the options file, and the sentence for each mistake. */
#include "daemon/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/log.h"
#include "daemon/options_priv.h"
#include "operating/worker.h"

static int parse(struct options *ret, struct dpu_error *err, ...)
{
	char *argv[16] = { (char *)"dpud" };
	int argc = 1;
	va_list words;
	va_start(words, err);
	for (char *word = va_arg(words, char *); word; word = va_arg(words, char *))
		argv[argc++] = word;
	va_end(words);
	*err = (struct dpu_error){ 0 };
	return options_parse(argc, argv, ret, err);
}

static void defaults(void **state)
{
	struct options options;
	struct dpu_error err;
	assert_int_equal(parse(&options, &err, NULL), 0);
	assert_string_equal(options.instance, "dpu0");
	assert_int_equal(options.workers, 1);
	assert_int_equal(options.policy, WORKER_BALANCED);
	assert_int_equal(options.huge_pages, HUGE_PAGES_AUTO);
	assert_int_equal(options.log_level, LOG_LEVEL_INFO);
	assert_int_equal(options.print, PRINT_NOTHING);
	assert_false(options.log_json);
	assert_null(options.run_dir);
	options_free(&options);
}

static void every_way_of_writing(void **state)
{
	struct options options;
	struct dpu_error err;
	assert_int_equal(parse(&options, &err, "--instance", "left", "-w2", "--cpus=2-5,7", "-m", "64", "--policy",
			       "power-save", "--log-json", "--max-sessions=1024", "--zero-copy=32", "--metrics",
			       "[::1]:9180", NULL),
			 0);
	assert_string_equal(options.instance, "left");
	assert_int_equal(options.workers, 2);
	assert_string_equal(options.cpus, "2-5,7");
	assert_int_equal(options.memory_mb, 64);
	assert_int_equal(options.policy, WORKER_POWER_SAVE);
	assert_true(options.log_json);
	assert_int_equal(options.max_sessions, 1024);
	assert_int_equal(options.zero_copy_kib, 32);
	assert_string_equal(options.metrics, "[::1]:9180");
	options_free(&options);

	/* The last one counts, and a flag can be taken back. */
	assert_int_equal(
		parse(&options, &err, "-w", "2", "-w", "3", "--log-json", "--log-json=false", "--man", "vnic", NULL),
		0);
	assert_int_equal(options.workers, 3);
	assert_false(options.log_json);
	assert_int_equal(options.print, PRINT_MAN);
	assert_string_equal(options.man_class, "vnic");
	options_free(&options);
}

static void check_refused(const char *a, const char *b, const char *path, const char *message)
{
	struct options options;
	struct dpu_error err;
	assert_true(parse(&options, &err, a, b, NULL) < 0);
	assert_string_equal(err.path, path);
	assert_string_equal(err.message, message);
}

static void mistakes(void **state)
{
	check_refused("--worker=2", NULL, "", "there is no option 'worker'; did you mean 'workers'?");
	check_refused("--zzz", NULL, "", "there is no option 'zzz'; see dpud --help");
	check_refused("-z", NULL, "", "there is no option 'z'; see dpud --help");
	check_refused("vnic", NULL, "", "'vnic' is no option; see dpud --help");
	check_refused("-", NULL, "", "'-' is no option; see dpud --help");
	check_refused("--", NULL, "", "there is no option ''; see dpud --help");
	check_refused("--workers", NULL, "--workers", "needs a value: N");
	check_refused("--workers", "0", "--workers", "'0' is no whole number from 1 to 64");
	check_refused("--workers", "-1", "--workers", "'-1' is no whole number from 1 to 64");
	check_refused("--workers", "2x", "--workers", "'2x' is no whole number from 1 to 64");
	check_refused("--workers", "99999999999999999999", "--workers",
		      "'99999999999999999999' is no whole number from 1 to 64");
	check_refused("--policy", "fast", "--policy", "'fast' is not one of latency, balanced or power-save");
	check_refused(
		"--instance", "a/b", "--instance",
		"'a/b' is no instance name: 1 to 32 letters, digits, '-' and '_', beginning with a letter or digit");
	check_refused("--run-dir", "here", "--run-dir", "'here' is no absolute path");
	check_refused("--cpus", "5-2", "--cpus", "'5-2' is no list of CPUs such as 2-5,7");
	check_refused("--cpus", "1,", "--cpus", "'1,' is no list of CPUs such as 2-5,7");
	check_refused("--cpus", "1-", "--cpus", "'1-' is no list of CPUs such as 2-5,7");
	check_refused("--log-json=maybe", NULL, "--log-json", "'maybe' is neither true nor false");
	check_refused("--help=me", NULL, "--help", "takes no value");
	check_refused("--eal", "", "--eal", "needs a value that is not empty");
	check_refused(
		"--metrics", "0.0.0.0:9180", "--metrics",
		"'0.0.0.0:9180' is not a loopback address; metrics carry tenants' names, so let a proxy that knows its "
		"clients serve them to others");
	check_refused("--metrics", "9180", "--metrics",
		      "'9180' is neither ADDRESS:PORT, such as 127.0.0.1:9180 or [::1]:9180, nor an absolute path");
	check_refused("--config", "/nonexistent/file", "/nonexistent/file",
		      "cannot be opened: No such file or directory");
}

static int parse_file(const char *content, struct options *ret, struct dpu_error *err, char *path)
{
	strcpy(path, "/tmp/dpud-options-XXXXXX");
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
	close(fd);
	int rc = parse(ret, err, "--workers", "4", "-c", path, NULL);
	unlink(path);
	return rc;
}

static void options_file(void **state)
{
	struct options options;
	struct dpu_error err;
	char path[32], place[64];
	assert_int_equal(parse_file("# ours\n\n workers = 2\ninstance=left \nlog-json=true", &options, &err, path), 0);
	assert_int_equal(options.workers, 4); /* the command line goes first */
	assert_string_equal(options.instance, "left");
	assert_true(options.log_json);
	options_free(&options);

	assert_true(parse_file("\nworkers=many\n", &options, &err, path) < 0);
	snprintf(place, sizeof place, "%s:2: workers", path);
	assert_string_equal(err.path, place);
	assert_string_equal(err.message, "'many' is no whole number from 1 to 64");
	assert_true(parse_file("workers", &options, &err, path) < 0);
	assert_string_equal(err.message, "a line is name=value, or a comment that begins with #");
	assert_true(parse_file("help=true", &options, &err, path) < 0);
	assert_string_equal(err.message, "only goes on the command line");
	assert_true(parse_file("policies=x", &options, &err, path) < 0);
	assert_string_equal(err.message, "there is no option 'policies'; did you mean 'policy'?");
}

/* Every row is complete, and shows in the help and in the manual page. */
static void table_is_sound(void **state)
{
	char *help = NULL, *man = NULL;
	size_t help_size, man_size;
	FILE *out = open_memstream(&help, &help_size);
	options_help(out);
	fclose(out);
	out = open_memstream(&man, &man_size);
	options_man(out);
	fclose(out);
	for (const struct option_row *row = option_rows; row->doc; row++) {
		if (!row->name)
			continue;
		char word[64];
		snprintf(word, sizeof word, "--%s", row->name);
		assert_non_null(strstr(help, word));
		snprintf(word, sizeof word, "Fl -%s", row->name);
		assert_non_null(strstr(man, word));
		assert_int_equal(row->doc[strlen(row->doc) - 1], '.');
		assert_int_equal(row->arg == NULL,
				 row->kind == OPTION_FLAG || (row->kind == OPTION_PRINT && row->print != PRINT_MAN));
		for (const struct option_row *other = row + 1; other->doc; other++) {
			assert_false(other->name && strcmp(row->name, other->name) == 0);
			assert_false(row->letter && row->letter == other->letter);
		}
	}
	free(help);
	free(man);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),     cmocka_unit_test(every_way_of_writing), cmocka_unit_test(mistakes),
		cmocka_unit_test(options_file), cmocka_unit_test(table_is_sound),
	};
	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
