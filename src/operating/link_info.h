/* SPDX-License-Identifier: BSD-3-Clause */
/* What kind of interface a name is, as far as TAPs are concerned. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct link_info {
	bool tap;
	bool multi_queue;
	int64_t owner;   /* user id; -1 = nobody in particular */
	unsigned queues; /* that some process has open */
};

/* In the calling thread's network namespace. 0, -ENODEV or another negative errno. */
int link_info_read(const char *name, struct link_info *ret);
