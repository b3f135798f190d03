/* SPDX-License-Identifier: BSD-3-Clause */
/* Durations by size: eight buckets for each doubling, so that a quantile is right within 12.5 %. From 128 ns (less is
 * in the first) to 18 minutes (more is in the last).
 *
 * One thread adds; any may read meanwhile and sees each bucket as it was at some instant. Sums of histograms are
 * histograms. Zeroed memory is an empty one. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

enum {
	HISTOGRAM_FIRST_BIT = 7,
	HISTOGRAM_LAST_BIT = 39,
	HISTOGRAM_STEPS = 8,
	HISTOGRAM_BUCKETS = (HISTOGRAM_LAST_BIT - HISTOGRAM_FIRST_BIT + 1) * HISTOGRAM_STEPS,
};

struct histogram {
	_Atomic uint64_t count[HISTOGRAM_BUCKETS];
	_Atomic uint64_t sum_ns;
};

static inline unsigned histogram_bucket(uint64_t ns)
{
	if (ns < (UINT64_C(1) << HISTOGRAM_FIRST_BIT))
		return 0;
	unsigned bit = 63 - (unsigned)__builtin_clzll(ns);

	if (bit > HISTOGRAM_LAST_BIT)
		return HISTOGRAM_BUCKETS - 1;
	return (bit - HISTOGRAM_FIRST_BIT) * HISTOGRAM_STEPS + (unsigned)(ns >> (bit - 3) & 7);
}

static inline void histogram_more(_Atomic uint64_t *value, uint64_t more)
{
	atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + more, memory_order_relaxed);
}

static inline void histogram_add(struct histogram *histogram, uint64_t ns)
{
	histogram_more(&histogram->count[histogram_bucket(ns)], 1);
	histogram_more(&histogram->sum_ns, ns);
}

/* The first duration that is above the bucket. */
uint64_t histogram_limit(unsigned bucket);
uint64_t histogram_count(const struct histogram *histogram);
/* Those that are in buckets up to `ns`, which should be a power of two. */
uint64_t histogram_below(const struct histogram *histogram, uint64_t ns);
/* The duration that the given part of a million does not exceed: 500000 the median, 999000 the 99.9th percentile. The
 * upper end of its bucket; 0 when it is empty. */
uint64_t histogram_quantile(const struct histogram *histogram, uint32_t millionths);
void histogram_merge(struct histogram *into, const struct histogram *from);
