/* SPDX-License-Identifier: BSD-3-Clause */
/* Structured log: one line an event, "time level topic: message key=value …", to stderr or a file.
 * Never called from the packet path. Thread-safe. */
#pragma once

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* The process has one log. path NULL means stderr; json makes each line a JSON object.
 * Returns 0 or a negative errno when the file cannot be opened (the log stays where it was). */
int log_open(const char *path, bool json);
void log_set_level(enum log_level level);
int log_level_parse(const char *name, enum log_level *ret);
/* Reopens the file after rotation. */
int log_reopen(void);

/* message is fixed text; fields is a printf format that yields "key=value key=\"quoted\" …" or NULL. */
void log_event(enum log_level level, const char *topic, const char *message, const char *fields, ...)
	__attribute__((format(printf, 4, 5)));

#define log_error(topic, message, ...) log_event(LOG_LEVEL_ERROR, topic, message, __VA_ARGS__)
#define log_warn(topic, message, ...)  log_event(LOG_LEVEL_WARN, topic, message, __VA_ARGS__)
#define log_info(topic, message, ...)  log_event(LOG_LEVEL_INFO, topic, message, __VA_ARGS__)
#define log_debug(topic, message, ...) log_event(LOG_LEVEL_DEBUG, topic, message, __VA_ARGS__)
