/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of dpud's options, and parsing of command line and options file by it. */
#include "daemon/options.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/str.h"
#include "base/suggest.h"
#include "daemon/metrics.h"
#include "daemon/options_priv.h"
#include "operating/worker.h"

static const char *const policies[] = {
	[WORKER_LATENCY] = "latency", [WORKER_BALANCED] = "balanced", [WORKER_POWER_SAVE] = "power-save", NULL
};
static const char *const huge_page_modes[] = {
	[HUGE_PAGES_AUTO] = "auto", [HUGE_PAGES_ON] = "on", [HUGE_PAGES_OFF] = "off", NULL
};
static const char *const log_levels[] = { [LOG_LEVEL_ERROR] = "error",
					  [LOG_LEVEL_WARN] = "warn",
					  [LOG_LEVEL_INFO] = "info",
					  [LOG_LEVEL_DEBUG] = "debug",
					  NULL };

static int check_instance(const char *value, struct dpu_error *err)
{
	size_t length = strlen(value);
	bool good = length > 0 && length <= 32 && isalnum((unsigned char)value[0]);
	for (size_t i = 0; good && i < length; i++)
		good = isalnum((unsigned char)value[i]) || strchr("-_", value[i]);
	return good ? 0
		    : error_set(err, DPU_E_INVALID, NULL,
				"'%s' is no instance name: 1 to 32 letters, digits, '-' and '_', beginning with a "
				"letter or digit",
				value);
}

static int check_path(const char *value, struct dpu_error *err)
{
	return value[0] == '/' ? 0 : error_set(err, DPU_E_INVALID, NULL, "'%s' is no absolute path", value);
}

/* "2-5,7" with numbers up to 1023, as cpuset(7) lists. */
static int check_cpus(const char *value, struct dpu_error *err)
{
	const char *at = value;
	do {
		unsigned long first, last;
		char *end;
		if (!isdigit((unsigned char)*at))
			goto wrong;
		first = last = strtoul(at, &end, 10);
		if (*end == '-') {
			if (!isdigit((unsigned char)end[1]))
				goto wrong;
			last = strtoul(end + 1, &end, 10);
		}
		if (last < first || last > 1023 || (*end && *end != ','))
			goto wrong;
		at = end + 1;
		if (!*end)
			return 0;
	} while (true);
wrong:
	return error_set(err, DPU_E_INVALID, NULL, "'%s' is no list of CPUs such as 2-5,7", value);
}

static int check_metrics(const char *value, struct dpu_error *err)
{
	struct metrics_address address;
	return metrics_address_parse(value, &address, err);
}

#define TEXT(member_)               OPTION_TEXT, offsetof(struct options, member_)
#define NUMBER(member_, min_, max_) OPTION_NUMBER, offsetof(struct options, member_), .min = (min_), .max = (max_)
#define CHOICE(member_, names_)     OPTION_CHOICE, offsetof(struct options, member_), .names = (names_)
#define FLAG(member_)               OPTION_FLAG, offsetof(struct options, member_)
#define PRINT(what_)                OPTION_PRINT, .print = (what_)

const struct option_row option_rows[] = {
	{ .doc = "Instance" },
	{ "instance", 'i', "NAME", TEXT(instance), .def = "dpu0", .check = check_instance,
	  .doc = "Name of this DPU; several run side by side under different names." },
	{ "config", 'c', "FILE", TEXT(config), .check = check_path,
	  .doc = "Read options from FILE first: lines of name=value, with the names of this list; # begins a "
		 "comment." },
	{ "run-dir", 0, "DIR", TEXT(run_dir), .check = check_path,
	  .doc = "Sockets and the pid file; /run/softdpu/INSTANCE by default." },
	{ "state-dir", 0, "DIR", TEXT(state_dir), .check = check_path,
	  .doc = "What lives over a restart of dpud but not of the machine (sessions, rings in flight). Must be on a "
		 "tmpfs; "
		 "the run directory if that is on one, else /dev/shm/softdpu-INSTANCE." },
	{ "store-dir", 0, "DIR", TEXT(store_dir), .check = check_path,
	  .doc = "The configuration; /var/lib/softdpu/INSTANCE by default." },
	{ "group", 'g', "NAME", TEXT(group),
	  .doc = "Group whose members may use the sockets beside the owner of dpud; the owner's group by default." },

	{ .doc = "Cores and memory" },
	{ "workers", 'w', "N", NUMBER(workers, 1, WORKERS_MAX), .def = "1", .doc = "Number of worker threads." },
	{ "cpus", 0, "LIST", TEXT(cpus), .check = check_cpus,
	  .doc = "CPUs that the workers are bound to, such as 2-5,7, and that other threads leave to them; by default "
		 "they float over all allowed CPUs." },
	{ "policy", 0, "POLICY", CHOICE(policy, policies), .def = "balanced",
	  .doc = "What a worker with nothing to do does: latency polls on, balanced sleeps after 50 µs, power-save at "
		 "once." },
	{ "memory", 'm', "MB", NUMBER(memory_mb, 32, 1048576), .def = "128",
	  .doc = "Memory for packet buffers when it is not taken from huge pages." },
	{ "max-sessions", 0, "N", NUMBER(max_sessions, 1024, 33554432), .def = "1048576",
	  .doc = "Flows that the DPU tracks at a time, of all tenants together." },
	{ "zero-copy", 0, "KIB", NUMBER(zero_copy_kib, 0, 65536), .def = "0",
	  .doc = "Send NVMe/TCP data in place, without a copy into the kernel, where at least so many KiB go at a "
		 "time; 0 "
		 "never does. A connection whose network copies all the same goes back to copying by itself." },
	{ "huge-pages", 0, "WHEN", CHOICE(huge_pages, huge_page_modes), .def = "auto",
	  .doc = "auto uses huge pages if the machine has any free, on refuses to start without, off never uses "
		 "them." },
	{ "eal", 0, "ARGUMENTS", TEXT(eal), .doc = "Further arguments of DPDK's EAL, separated by blanks." },

	{ .doc = "Observation" },
	{ "metrics", 0, "ADDRESS", TEXT(metrics), .check = check_metrics,
	  .doc = "Serve Prometheus metrics over HTTP: a loopback address and port (127.0.0.1:9180, [::1]:9180) or the "
		 "path of "
		 "a Unix socket." },
	{ "capture-dir", 0, "DIR", TEXT(capture_dir), .check = check_path,
	  .doc = "Where packet captures are written; STATE_DIR/capture by default." },
	{ "log", 0, "FILE", TEXT(log), .check = check_path,
	  .doc = "Write the log to FILE, reopened at SIGHUP; standard error by default." },
	{ "log-level", 0, "LEVEL", CHOICE(log_level, log_levels), .def = "info", .doc = "How much is logged." },
	{ "log-json", 0, NULL, FLAG(log_json), .doc = "Make each line of the log a JSON object." },
	{ "core-dumps", 0, NULL, FLAG(core_dumps),
	  .doc = "Allow a core file when dpud crashes. It may hold tenants' packets, so there is none by default." },

	{ .doc = "Extension" },
	{ "image-dir", 0, "DIR", TEXT(image_dir), .check = check_path,
	  .doc = "Where images of volumes are imported from and exported to; STORE_DIR/images by default." },
	{ "module-dir", 0, "DIR", TEXT(module_dir), .check = check_path, .def = "/usr/lib/softdpu/block",
	  .doc = "Where modules of block devices are loaded from. It, and what is in it, must be writable by root or "
		 "the "
		 "user of dpud alone." },

	{ .doc = "Print and exit" },
	{ "schema", 0, NULL, PRINT(PRINT_SCHEMA),
	  .doc = "Every object class, field and action, as JSON; what dpuctl reads." },
	{ "json-schema", 0, NULL, PRINT(PRINT_JSON_SCHEMA),
	  .doc = "JSON Schema of the objects and of net.yaml documents." },
	{ "manual", 0, NULL, PRINT(PRINT_MANUAL), .doc = "The reference manual in Markdown." },
	{ "man", 0, "CLASS", PRINT(PRINT_MAN), .doc = "The manual page of an object class, or of dpud, in mdoc(7)." },
	{ "version", 'V', NULL, PRINT(PRINT_VERSION), .doc = "The version." },
	{ "help", 'h', NULL, PRINT(PRINT_HELP), .doc = "This list." },
	{ 0 },
};

static const struct option_row *row_by_name(const char *name, size_t length)
{
	for (const struct option_row *row = option_rows; row->doc; row++) {
		if (row->name && strlen(row->name) == length && strncmp(row->name, name, length) == 0)
			return row;
	}
	return NULL;
}

static const struct option_row *row_by_letter(char letter)
{
	for (const struct option_row *row = option_rows; row->doc; row++) {
		if (row->letter == letter)
			return row;
	}
	return NULL;
}

static int unknown(const char *name, size_t length, struct dpu_error *err)
{
	char word[64];
	snprintf(word, sizeof word, "%.*s", (int)(length < sizeof word ? length : sizeof word - 1), name);
	struct suggestion suggestion = { .word = word };
	for (const struct option_row *row = option_rows; row->doc; row++) {
		if (row->name)
			suggest(&suggestion, row->name);
	}
	if (suggestion.best)
		return error_set(err, DPU_E_INVALID, NULL, "there is no option '%s'; did you mean '%s'?", word,
				 suggestion.best);
	return error_set(err, DPU_E_INVALID, NULL, "there is no option '%s'; see dpud --help", word);
}

static int set_text(const struct option_row *row, const char *value, char **slot, struct dpu_error *err)
{
	int rc = row->check ? row->check(value, err) : 0;
	if (rc)
		return rc;
	if (!value[0])
		return error_set(err, DPU_E_INVALID, NULL, "needs a value that is not empty");
	char *copy = strdup(value);
	if (!copy)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	free(*slot);
	*slot = copy;
	return 0;
}

static int set_number(const struct option_row *row, const char *value, uint32_t *slot, struct dpu_error *err)
{
	char *end;
	errno = 0;
	unsigned long long number = strtoull(value, &end, 10);
	if (!isdigit((unsigned char)value[0]) || *end || errno || number < row->min || number > row->max)
		return error_set(err, DPU_E_INVALID, NULL, "'%s' is no whole number from %u to %u", value, row->min,
				 row->max);
	*slot = (uint32_t)number;
	return 0;
}

static int set_choice(const struct option_row *row, const char *value, uint8_t *slot, struct dpu_error *err)
{
	struct text known = { 0 };
	for (uint8_t i = 0; row->names[i]; i++) {
		if (strcmp(value, row->names[i]) == 0) {
			*slot = i;
			text_free(&known);
			return 0;
		}
		text_printf(&known, "%s%s", i == 0 ? "" : row->names[i + 1] ? ", " : " or ", row->names[i]);
	}
	CLEANUP(free_pointer) char *list = text_take(&known);
	return error_set(err, DPU_E_INVALID, NULL, "'%s' is not one of %s", value, list ? list : "them");
}

static int set_flag(const char *value, bool *slot, struct dpu_error *err)
{
	if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
		return error_set(err, DPU_E_INVALID, NULL, "'%s' is neither true nor false", value);
	*slot = value[0] == 't';
	return 0;
}

static int set_print(const struct option_row *row, const char *value, struct options *options, struct dpu_error *err)
{
	options->print = row->print;
	return row->arg ? set_text(row, value, &options->man_class, err) : 0;
}

/* value is not NULL; that of a flag is "true" or "false". */
static int set(const struct option_row *row, const char *value, struct options *options, struct dpu_error *err)
{
	void *slot = (char *)options + row->offset;
	switch (row->kind) {
	case OPTION_TEXT:
		return set_text(row, value, slot, err);
	case OPTION_NUMBER:
		return set_number(row, value, slot, err);
	case OPTION_CHOICE:
		return set_choice(row, value, slot, err);
	case OPTION_FLAG:
		return set_flag(value, slot, err);
	case OPTION_PRINT:
		return set_print(row, value, options, err);
	}
	return 0;
}

/* ---- the command line ---- */

/* One word: its option, and the value that hangs on it ("--name=value", "-nvalue") or NULL. */
static int split_word(const char *word, const struct option_row **ret_row, const char **ret_value,
		      struct dpu_error *err)
{
	if (word[0] != '-' || !word[1])
		return error_set(err, DPU_E_INVALID, NULL, "'%s' is no option; see dpud --help", word);
	if (word[1] == '-') {
		const char *name = word + 2;
		size_t length = strcspn(name, "=");
		*ret_row = row_by_name(name, length);
		*ret_value = name[length] ? name + length + 1 : NULL;
		return *ret_row ? 0 : unknown(name, length, err);
	}
	*ret_row = row_by_letter(word[1]);
	*ret_value = word[2] ? word + 2 : NULL;
	return *ret_row ? 0 : unknown(word + 1, 1, err);
}

/* Calls `take` for each option of argv with its value. */
static int walk_words(int argc, char *const *argv, struct options *options,
		      int (*take)(const struct option_row *row, const char *value, struct options *options,
				  struct dpu_error *err),
		      struct dpu_error *err)
{
	for (int i = 1; i < argc; i++) {
		const struct option_row *row;
		const char *value;
		int rc = split_word(argv[i], &row, &value, err);
		if (rc)
			return rc;
		char path[48];
		snprintf(path, sizeof path, "--%s", row->name);
		if (!row->arg && value && row->kind != OPTION_FLAG)
			return error_set(err, DPU_E_INVALID, path, "takes no value");
		if (!row->arg && !value)
			value = "true";
		if (!value && i + 1 == argc)
			return error_set(err, DPU_E_INVALID, path, "needs a value: %s", row->arg);
		if (!value)
			value = argv[++i];
		rc = take(row, value, options, err);
		if (rc)
			return error_set(err, err->code, path, "%s", err->message);
	}
	return 0;
}

static int take_config_name(const struct option_row *row, const char *value, struct options *options,
			    struct dpu_error *err)
{
	return row->offset == offsetof(struct options, config) && row->kind == OPTION_TEXT
		       ? set_text(row, value, &options->config, err)
		       : 0;
}

/* ---- the options file ---- */

static char *trim(char *text)
{
	while (isspace((unsigned char)*text))
		text++;
	size_t length = strlen(text);
	while (length > 0 && isspace((unsigned char)text[length - 1]))
		text[--length] = '\0';
	return text;
}

static int take_line(char *line, struct options *options, const char **ret_name, struct dpu_error *err)
{
	line = trim(line);
	if (!*line || *line == '#')
		return 0;
	char *equals = strchr(line, '=');
	if (!equals)
		return error_set(err, DPU_E_INVALID, NULL, "a line is name=value, or a comment that begins with #");
	*equals = '\0';
	char *name = trim(line), *value = trim(equals + 1);
	const struct option_row *row = row_by_name(name, strlen(name));
	if (!row)
		return unknown(name, strlen(name), err);
	*ret_name = row->name;
	if (row->kind == OPTION_PRINT || row->offset == offsetof(struct options, config))
		return error_set(err, DPU_E_INVALID, NULL, "only goes on the command line");
	return set(row, value, options, err);
}

static int read_file(const char *path, struct options *options, struct dpu_error *err)
{
	FILE *file = fopen(path, "re");
	if (!file)
		return error_set(err, DPU_E_IO, path, "cannot be opened: %s", strerror(errno));
	char *line = NULL;
	size_t size = 0;
	int rc = 0;
	for (unsigned number = 1; !rc && getline(&line, &size, file) >= 0; number++) {
		const char *name = NULL;
		rc = take_line(line, options, &name, err);
		if (rc) {
			char place[320];
			snprintf(place, sizeof place, "%.250s:%u%s%s", path, number, name ? ": " : "",
				 name ? name : "");
			error_set(err, err->code, place, "%s", err->message);
		}
	}
	if (!rc && ferror(file))
		rc = error_set(err, DPU_E_IO, path, "cannot be read: %s", strerror(errno));
	free(line);
	fclose(file);
	return rc;
}

/* ---- all together ---- */

static int set_defaults(struct options *options, struct dpu_error *err)
{
	for (const struct option_row *row = option_rows; row->doc; row++) {
		int rc = row->def ? set(row, row->def, options, err) : 0;
		if (rc)
			return rc;
	}
	return 0;
}

int options_parse(int argc, char *const *argv, struct options *ret, struct dpu_error *err)
{
	struct options options = { 0 };
	int rc = set_defaults(&options, err);
	if (!rc)
		rc = walk_words(argc, argv, &options, take_config_name, err);
	if (!rc && options.config)
		rc = read_file(options.config, &options, err);
	if (!rc)
		rc = walk_words(argc, argv, &options, set, err);
	if (rc)
		options_free(&options);
	else
		*ret = options;
	return rc;
}

void options_free(struct options *options)
{
	for (const struct option_row *row = option_rows; row->doc; row++) {
		if (row->kind == OPTION_TEXT && row->name)
			free(*(char **)((char *)options + row->offset));
	}
	free(options->man_class);
	memset(options, 0, sizeof *options);
}
