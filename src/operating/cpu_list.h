/* SPDX-License-Identifier: BSD-3-Clause */
/* CPU lists as Linux writes them: "2-5,8". */
#pragma once

#include "base/error.h"

/* Stores up to max CPU numbers in the order of the text and returns how many, or a negative errno with err (path
 * "cpus"): wrong syntax, a CPU named twice, one that this process may not use. */
int cpu_list_parse(const char *text, int *ret_cpus, unsigned max, struct dpu_error *err);
