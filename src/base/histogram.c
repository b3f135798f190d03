// SPDX-License-Identifier: BSD-3-Clause
/* Reading histograms of durations. */
#include "base/histogram.h"

static uint64_t get(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

uint64_t histogram_limit(unsigned bucket)
{
	unsigned bit = HISTOGRAM_FIRST_BIT + bucket / HISTOGRAM_STEPS;

	return (uint64_t)(HISTOGRAM_STEPS + bucket % HISTOGRAM_STEPS + 1) << (bit - 3);
}

uint64_t histogram_count(const struct histogram *histogram)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		count += get(&histogram->count[i]);
	return count;
}

uint64_t histogram_below(const struct histogram *histogram, uint64_t ns)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS && histogram_limit(i) <= ns; i++)
		count += get(&histogram->count[i]);
	return count;
}

uint64_t histogram_quantile(const struct histogram *histogram, uint32_t millionths)
{
	uint64_t all = histogram_count(histogram), seen = 0;

	if (all == 0)
		return 0;
	uint64_t wanted = (uint64_t)(((unsigned __int128)all * millionths + 999999) / 1000000);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += get(&histogram->count[i]);
		if (seen >= wanted && seen > 0)
			return histogram_limit(i);
	}
	return histogram_limit(HISTOGRAM_BUCKETS - 1);
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		histogram_more(&into->count[i], get(&from->count[i]));
	histogram_more(&into->sum_ns, get(&from->sum_ns));
}
