/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages of dpu/eswitch_abi.h as they come from a client, who may be anybody: read once, checked, and only then
 * believed. Pure functions. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include "dpu/eswitch_abi.h"

/* Prepares the answer to a request: the same number, `status`, a sentence. */
void message_answer(struct eswitch_message *answer, const struct eswitch_message *request, enum eswitch_status status,
		    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Whether a message of `bytes` bytes is a request that may come now (greeted: after HELLO), with fields that mean
 * something. ESWITCH_OK, or *ret_answer is what to say; the request is not to be looked at any further then. */
enum eswitch_status message_check(const struct eswitch_message *request, size_t bytes, bool greeted,
				  struct eswitch_message *ret_answer);
