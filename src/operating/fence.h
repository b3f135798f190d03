/* SPDX-License-Identifier: BSD-3-Clause */
/* The full memory fence that the sleep protocol needs on both sides. */
#pragma once

#include <stdatomic.h>

/* ThreadSanitizer does not model fences, and gcc warns of that. The data that the fence orders is published by release
 * and taken by acquire besides, so nothing is reported wrongly. */
static inline void full_fence(void)
{
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#endif
	atomic_thread_fence(memory_order_seq_cst);
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11
#pragma GCC diagnostic pop
#endif
}
