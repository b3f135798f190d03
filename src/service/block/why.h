/* SPDX-License-Identifier: BSD-3-Clause */
/* What answers to "why" are made of. */
#pragma once

#include <jansson.h>
#include "service/block/block_priv.h"

/* What the worker knows, looked at there. */
struct why_times {
	struct qos_stats stats;
	struct qos_slow slow[QOS_SLOWEST];
	unsigned slow_count, window;
};

void why_look(struct why_times *times, const struct block_qos *qos);
void why_add(json_t *rows, const char *step, const char *object, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void why_add_users(json_t *rows, const struct block *block, const struct object *object);
/* policy: of `user` itself, which is a volume, a snapshot, or who uses what belongs to nobody; NULL: none. */
void why_add_qos(json_t *rows, const struct why_times *times, const struct block_qos *qos, const struct object *user,
		 const struct object *policy);
void why_add_times(json_t *rows, const struct why_times *times, const struct block_qos *qos, const char *name);
/* A medium with what it sits on, or an object of another service. */
void why_add_stack(json_t *rows, const struct block *block, const struct object *object);
