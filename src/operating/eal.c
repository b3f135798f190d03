/* SPDX-License-Identifier: BSD-3-Clause */
/* Starting DPDK's environment layer: memory, its log, and no more threads than needed. */
#include "operating/port.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include "base/log.h"
#include "base/str.h"
#include "operating/eal_priv.h"

enum { DEFAULT_MEMORY_MB = 128, MAX_ARGS = 64, LOG_LINE = 256 };

/* DPDK's environment is one per process, so this is, too. */
static struct {
	bool started, huge_pages;
	char *signature; /* of the options it was started with */
} eal;

/* What DPDK last complained of in this thread: its functions return less than they log. */
static _Thread_local char last_error[LOG_LINE];

const char *eal_last_error(void)
{
	return last_error;
}

void eal_forget_error(void)
{
	last_error[0] = '\0';
}

bool eal_started(void)
{
	return eal.started;
}

bool eal_huge_pages(void)
{
	return eal.huge_pages;
}

/* ---- DPDK's log lines become events of ours ---- */

static enum log_level level_of(int rte_level)
{
	if (rte_level <= 0 || rte_level > (int)RTE_LOG_NOTICE)
		return LOG_LEVEL_DEBUG;
	return rte_level <= (int)RTE_LOG_ERR       ? LOG_LEVEL_ERROR
	       : rte_level == (int)RTE_LOG_WARNING ? LOG_LEVEL_WARN
						   : LOG_LEVEL_INFO;
}

static ssize_t log_write(void *cookie, const char *bytes, size_t length)
{
	char line[LOG_LINE];
	size_t used = length < sizeof(line) ? length : sizeof(line) - 1;
	enum log_level level = level_of(rte_log_cur_msg_loglevel());

	memcpy(line, bytes, used);
	while (used > 0 && isspace((unsigned char)line[used - 1]))
		used--;
	line[used] = '\0';
	for (size_t i = 0; i < used; i++)
		if (line[i] == '"' || (unsigned char)line[i] < ' ')
			line[i] = '\'';
	if (used == 0)
		return (ssize_t)length;
	if (level == LOG_LEVEL_ERROR && last_error[0] == '\0') /* the first one is nearest to the cause */
		memcpy(last_error, line, used + 1);
	log_event(level, "dpdk", "message", "text=\"%s\"", line);
	return (ssize_t)length;
}

static void log_open_stream(void)
{
	FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = log_write });

	if (!stream)
		return;
	setvbuf(stream, NULL, _IOLBF, 0);
	rte_openlog_stream(stream);
}

/* ---- arguments ---- */

static bool huge_pages_free(void)
{
	static const char *const counts[] = {
		"/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages",
		"/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages",
	};
	unsigned long free_pages = 0;

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		FILE *file = fopen(counts[i], "re");
		unsigned long pages;
		if (file && fscanf(file, "%lu", &pages) == 1)
			free_pages += pages;
		if (file)
			fclose(file);
	}
	return free_pages > 0;
}

static void add_lcores(struct text *args)
{
	cpu_set_t set;
	const char *separator = "";

	/* One lcore, the calling thread, which may run wherever it may now. */
	text_add(args, " --lcores 0@(");
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		CPU_ZERO(&set);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set)) {
			text_printf(args, "%s%d", separator, cpu);
			separator = ",";
		}
	text_add(args, ")");
}

/* No PCI device is probed at start; unlike with --no-pci, one that is named later can be. */
static void add_pci(struct text *args, const char *extra)
{
	if (extra && (strstr(extra, "-a ") || strstr(extra, "--allow") || strstr(extra, "--no-pci")))
		return;
	text_add(args, access("/sys/bus/pci/devices", R_OK) == 0 ? " -a 0000:00:00.0" : " --no-pci");
}

static char *arguments(const struct eal_options *options, bool huge_pages)
{
	struct text args = { 0 };
	unsigned memory_mb = options->memory_mb ? options->memory_mb : DEFAULT_MEMORY_MB;

	text_add(&args, "softdpu --no-telemetry --log-level=*:warning");
	add_lcores(&args);
	add_pci(&args, options->extra);
	if (options->file_prefix)
		text_printf(&args, " --file-prefix %s", options->file_prefix);
	else
		text_printf(&args, " --file-prefix softdpu-%d", (int)getpid());
	if (huge_pages)
		text_printf(&args, " --in-memory --single-file-segments -m %u", memory_mb);
	else
		text_printf(&args, " --no-huge --no-shconf -m %u", memory_mb);
	if (options->extra)
		text_printf(&args, " %s", options->extra);
	return text_take(&args);
}

static int split(char *args, char **argv)
{
	int argc = 0;

	for (char *word = strtok_r(args, " \t\n", &args); word; word = strtok_r(NULL, " \t\n", &args)) {
		if (argc == MAX_ARGS - 1)
			return -E2BIG;
		argv[argc++] = word;
	}
	argv[argc] = NULL;
	return argc;
}

/* EAL pins the calling thread and prints a whole manual to stdout on a wrong argument. */
static int init_quietly(int argc, char **argv)
{
	cpu_set_t set;
	bool known = sched_getaffinity(0, sizeof(set), &set) == 0;
	int out = dup(STDOUT_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	fflush(stdout);
	if (out >= 0 && null >= 0)
		dup2(null, STDOUT_FILENO);
	int status = rte_eal_init(argc, argv);
	int error = rte_errno;
	fflush(stdout);
	if (out >= 0)
		dup2(out, STDOUT_FILENO);
	if (out >= 0)
		close(out);
	if (null >= 0)
		close(null);
	if (known)
		sched_setaffinity(0, sizeof(set), &set);
	return status < 0 ? -(error ? error : EIO) : 0;
}

static int start(const struct eal_options *options, bool huge_pages, struct dpu_error *err)
{
	CLEANUP(free_pointer) char *args = arguments(options, huge_pages);
	char *argv[MAX_ARGS];

	if (!args)
		return error_set(err, DPU_E_LIMIT, NULL, "No memory for DPDK's arguments.");
	int argc = split(args, argv);
	if (argc < 0)
		return error_set(err, DPU_E_INVALID, "extra", "More than %d DPDK arguments.", MAX_ARGS);
	log_open_stream();
	eal_forget_error();
	int status = init_quietly(argc, argv);
	rmdir(rte_eal_get_runtime_dir()); /* it is empty: nothing is shared with other processes */
	if (status < 0)
		return error_set(err, DPU_E_IO, "extra", "DPDK does not start: %s%s%s. Memory: %u MiB of %s pages.",
				 strerror(-status), last_error[0] ? ": " : "", last_error,
				 options->memory_mb ? options->memory_mb : DEFAULT_MEMORY_MB,
				 huge_pages ? "huge" : "normal");
	return 0;
}

static char *signature_of(const struct eal_options *options)
{
	struct text text = { 0 };

	text_printf(&text, "%d %u %s %s", options->huge_pages, options->memory_mb,
		    options->file_prefix ? options->file_prefix : "", options->extra ? options->extra : "");
	return text_take(&text);
}

static bool is_file_name(const char *text)
{
	for (; *text; text++)
		if (!isalnum((unsigned char)*text) && !strchr("-_.", *text))
			return false;
	return true;
}

int eal_start(const struct eal_options *options, struct dpu_error *err)
{
	if (options->file_prefix && !is_file_name(options->file_prefix))
		return error_set(err, DPU_E_INVALID, "file_prefix",
				 "\"%.64s\" has other characters than letters, digits, '-', '_' and '.'.",
				 options->file_prefix);
	char *signature = signature_of(options);

	if (!signature)
		return error_set(err, DPU_E_LIMIT, NULL, "No memory.");
	if (eal.started) {
		bool same = strcmp(signature, eal.signature) == 0;
		free(signature);
		return same ? 0
			    : error_set(err, DPU_E_EXISTS, NULL,
					"DPDK runs already in this process, with other options.");
	}
	bool huge_pages = options->huge_pages && huge_pages_free();
	int status = start(options, huge_pages, err);
	if (status < 0) {
		free(signature);
		return status;
	}
	eal.started = true;
	eal.huge_pages = huge_pages;
	eal.signature = signature;
	return 0;
}
