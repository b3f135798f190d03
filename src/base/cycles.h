/* SPDX-License-Identifier: BSD-3-Clause */
/* The processor's own clock: cheap to read, the same on all cores, of no meaning to another process. */
#pragma once

#include <stdint.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

static inline uint64_t cycles_now(void)
{
#if defined(__x86_64__)
	return __rdtsc();
#elif defined(__aarch64__)
	uint64_t value;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
	return value;
#else
#error "no cycle counter"
#endif
}

/* Nanoseconds of one cycle, times 2^32. The first call in a process takes 2 ms, because it looks. Any thread. */
uint64_t cycles_scale(void);

static inline uint64_t cycles_ns(uint64_t cycles, uint64_t scale)
{
	return (uint64_t)(((unsigned __int128)cycles * scale) >> 32);
}
