/* SPDX-License-Identifier: BSD-3-Clause */
/* CPU lists as Linux writes them: "2-5,8". */
#pragma once

#include "base/error.h"

/* Stores up to max CPU numbers in the order of the text and returns how many, or a negative errno with err (path
 * "cpus"): wrong syntax, a CPU named twice, one that this process may not use. */
int cpu_list_parse(const char *text, int *ret_cpus, unsigned max, struct dpu_error *err);

/* From now on the calling thread, and those that it makes, keep off these CPUs, unless they may use no others. */
void cpu_list_leave(const int *cpus, unsigned count);
