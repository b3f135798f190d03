/* SPDX-License-Identifier: BSD-3-Clause */
/* The connection to dpud: JSON-RPC 2.0 over its Unix socket, blocking. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include "base/error.h"

struct link;

/* Connects and agrees on the protocol. -ENOTCONN: nobody is there. timeout_s: for each answer. */
int link_open(const char *path, unsigned timeout_s, struct link **ret, struct dpu_error *err);
void link_close(struct link *link); /* NULL is fine */

/* Calls a method; params are stolen, the result is a new reference. -ENOTCONN: the connection broke or no answer came
 * in time, and the link is of no more use. What dpud refuses has its code, path and sentence in err. */
int link_call(struct link *link, const char *method, json_t *params, json_t **ret_result, struct dpu_error *err);

/* The next notification, waiting for it without end; NULL in *ret when a signal came (-EINTR). */
int link_next(struct link *link, json_t **ret_notification, struct dpu_error *err);
