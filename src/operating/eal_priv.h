/* SPDX-License-Identifier: BSD-3-Clause */
/* DPDK's own words about a failure. */
#pragma once

/* The first error that DPDK has logged in this thread since eal_forget_error(); "" if none. */
const char *eal_last_error(void);
void eal_forget_error(void);
