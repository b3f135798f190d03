/* SPDX-License-Identifier: BSD-3-Clause */
/* Who does the same wrong thing again and again, between others perhaps, is reported now and then. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { NOTICE_LIMIT_NAMES = 8, NOTICE_LIMIT_BYTES = 32 };

/* Zeroed at first. Of more names than it has places for it forgets the oldest. */
struct notice_limit {
	struct notice_limit_place {
		char name[NOTICE_LIMIT_BYTES]; /* cut to size */
		uint64_t at_ns;
	} places[NOTICE_LIMIT_NAMES];
};

/* Whether a notice of this name may be made now (clock_ns(), not 0): if none was for 10 seconds. */
bool notice_limit_pass(struct notice_limit *limit, const char *name, uint64_t now_ns);
