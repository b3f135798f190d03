/* SPDX-License-Identifier: BSD-3-Clause */
/* Time: CLOCK_MONOTONIC in nanoseconds, the boot id that makes it comparable across processes. */
#pragma once

#include <stdint.h>
#include "base/netaddr.h"

#define CLOCK_NS_PER_US UINT64_C(1000)
#define CLOCK_NS_PER_MS UINT64_C(1000000)
#define CLOCK_NS_PER_S  UINT64_C(1000000000)

uint64_t clock_ns(void);
/* The kernel's boot id; a persisted monotonic time means something only under the same id. */
int clock_boot_id(struct uuid *ret);
