/* SPDX-License-Identifier: BSD-3-Clause */
/* What the benchmarks of session tables share: options, flows, tables. Failures end the program with a sentence. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <rte_cycles.h>
#include "device/packet/session_table_inline.h"

enum { BURST = SESSION_LOOKUP_BURST, TIMEOUT = 30 * SESSION_TICKS_PER_SECOND };

struct plan {
	uint32_t sessions; /* 0 = the benchmark's own number */
	bool v6, huge, helper;
	const char *path; /* of the records' file, NULL = anonymous memory */
};

/* KEY=VALUE of a command line; false: it is none, or the key is unknown. */
bool plan_option(struct plan *plan, char *text);

/* The n-th flow, all of them different. */
struct flow_key flow(uint64_t n, bool v6);

struct session_table *open_table(const struct plan *plan, uint32_t max);
void close_table(const struct plan *plan, struct session_table *table); /* the file goes as well */
bool insert(struct session_table *table, const struct flow_key *key, uint32_t hash, session_tick_t now);
/* So many sessions of the flows from first on, with memory made ready on the way. */
void fill(struct session_table *table, uint64_t first, uint32_t count, bool v6, session_tick_t now);

uint64_t tsc_hz(void);
int compare64(const void *a, const void *b); /* uint64_t, for qsort() */
