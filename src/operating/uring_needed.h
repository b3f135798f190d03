/* SPDX-License-Identifier: BSD-3-Clause */
/* For test programs: what needs an io_uring is skipped where the kernel has none (emulators of Linux, containers). */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include "operating/uring.h"

enum { TEST_SKIPPED = 77 }; /* meson's */

/* The first thing that main() does. */
static inline void uring_needed(void)
{
	struct dpu_error err = { 0 };
	struct uring *probe;

	if (uring_new(8, &probe, &err) == 0) {
		uring_free(probe);
		return;
	}
	printf("skipped: %s\n", err.message);
	exit(TEST_SKIPPED);
}
