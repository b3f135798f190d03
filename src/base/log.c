/* SPDX-License-Identifier: BSD-3-Clause */
/* Structured log: one write(2) a line, to stderr or a file. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/str.h"

static const char *const level_names[] = { "error", "warn", "info", "debug" };

/* The process's only log: the one piece of global state besides registries. */
static struct {
	pthread_mutex_t lock; /* guards path, fd and json */
	char *path;           /* NULL: stderr */
	int fd;
	bool json;
	_Atomic int level;
} log_state = { .lock = PTHREAD_MUTEX_INITIALIZER, .fd = STDERR_FILENO, .level = LOG_LEVEL_INFO };

static int open_append(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);

	return fd < 0 ? -errno : fd;
}

/* Takes path and fd into use; the old ones are released. */
static void log_switch(char *path, int fd, bool json)
{
	pthread_mutex_lock(&log_state.lock);
	char *old_path = log_state.path;
	int old_fd = log_state.fd;
	log_state.path = path;
	log_state.fd = fd;
	log_state.json = json;
	pthread_mutex_unlock(&log_state.lock);
	if (old_fd != STDERR_FILENO)
		close(old_fd);
	free(old_path);
}

int log_open(const char *path, bool json)
{
	if (!path) {
		log_switch(NULL, STDERR_FILENO, json);
		return 0;
	}
	char *copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	int fd = open_append(path);
	if (fd < 0) {
		free(copy);
		return fd;
	}
	log_switch(copy, fd, json);
	return 0;
}

int log_reopen(void)
{
	pthread_mutex_lock(&log_state.lock);
	CLEANUP(free_pointer) char *path = log_state.path ? strdup(log_state.path) : NULL;
	bool json = log_state.json, file = log_state.path;
	pthread_mutex_unlock(&log_state.lock);
	if (!file)
		return 0;
	return path ? log_open(path, json) : -ENOMEM;
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_state.level, (int)level, memory_order_relaxed);
}

int log_level_parse(const char *name, enum log_level *ret)
{
	for (unsigned i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (strcmp(name, level_names[i]) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* What came from outside cannot start a line of its own or drive a terminal. */
static void add_clean(struct text *line, const char *string)
{
	for (; *string; string++) {
		unsigned char c = (unsigned char)*string;

		if (c < 0x20 || c == 0x7f)
			text_printf(line, "\\x%02x", c);
		else
			text_add_bytes(line, string, 1);
	}
}

static void add_json_string(struct text *line, const char *bytes, size_t length)
{
	text_add(line, "\"");
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)bytes[i];

		if (c < 0x20 || c == 0x7f)
			text_printf(line, "\\u%04x", c);
		else if (c == '"' || c == '\\')
			text_printf(line, "\\%c", c);
		else
			text_add_bytes(line, bytes + i, 1);
	}
	text_add(line, "\"");
}

/* "key=value key=\"quoted value\"" as JSON members. A word without '=' becomes the member "note". */
static void add_json_fields(struct text *line, const char *fields)
{
	while (*fields) {
		fields += strspn(fields, " ");
		if (!*fields)
			return;
		size_t key = strcspn(fields, "= ");
		text_add(line, ",");
		if (fields[key] != '=') {
			text_add(line, "\"note\":");
			add_json_string(line, fields, key);
			fields += key;
			continue;
		}
		add_json_string(line, fields, key);
		text_add(line, ":");
		fields += key + 1;
		bool quoted = *fields == '"';
		fields += quoted;
		size_t length = strcspn(fields, quoted ? "\"" : " ");
		add_json_string(line, fields, length);
		fields += length;
		fields += quoted && *fields == '"';
	}
}

static void format_time(char *buf, size_t size)
{
	struct timespec now;
	struct tm utc;
	char seconds[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(buf, size, "%s.%06ldZ", seconds, now.tv_nsec / 1000);
}

static void build_plain(struct text *line, const char *level, const char *topic, const char *message,
			const char *fields)
{
	char time[64];

	format_time(time, sizeof(time));
	text_printf(line, "%s %s ", time, level);
	add_clean(line, topic);
	text_add(line, ": ");
	add_clean(line, message);
	if (fields && *fields) {
		text_add(line, " ");
		add_clean(line, fields);
	}
	text_add(line, "\n");
}

static void build_json(struct text *line, const char *level, const char *topic, const char *message, const char *fields)
{
	char time[64];

	format_time(time, sizeof(time));
	text_printf(line, "{\"time\":\"%s\",\"level\":\"%s\",\"topic\":", time, level);
	add_json_string(line, topic, strlen(topic));
	text_add(line, ",\"message\":");
	add_json_string(line, message, strlen(message));
	if (fields)
		add_json_fields(line, fields);
	text_add(line, "}\n");
}

void log_event(enum log_level level, const char *topic, const char *message, const char *fields, ...)
{
	CLEANUP(text_free) struct text values = { 0 }, line = { 0 };

	if ((int)level > atomic_load_explicit(&log_state.level, memory_order_relaxed))
		return;
	if (fields) {
		va_list args;
		va_start(args, fields);
		text_vprintf(&values, fields, args);
		va_end(args);
	}
	pthread_mutex_lock(&log_state.lock);
	(log_state.json ? build_json : build_plain)(&line, level_names[level], topic, message, values.data);
	/* A log that cannot be written has nowhere to say so. */
	if (!line.failed && write(log_state.fd, line.data, line.length) < 0)
		errno = 0;
	pthread_mutex_unlock(&log_state.lock);
}
