/* SPDX-License-Identifier: BSD-3-Clause */
/* How long commands took: a histogram whose buckets are quarters of powers of two, written by the one writer of rules.
 */
#include "device/flow/flow_priv.h"

enum {
	FIRST_OCTAVE = 8, /* bucket 0 has all below 256 ns */
	LAST_BUCKET = FLOW_LATENCY_BUCKETS - 1,
};
_Static_assert(LAST_BUCKET == (32 - FIRST_OCTAVE) * 4, "32 bits of nanoseconds have their buckets");

static unsigned bucket_of(uint32_t ns)
{
	if (ns < 1u << FIRST_OCTAVE)
		return 0;
	unsigned octave = 31 - (unsigned)__builtin_clz(ns);
	return 1 + (octave - FIRST_OCTAVE) * 4 + (ns >> (octave - 2) & 3);
}

uint64_t flow_latency_bound_ns(unsigned bucket)
{
	unsigned octave = FIRST_OCTAVE + (bucket - 1) / 4, quarter = (bucket - 1) % 4;

	if (bucket == 0)
		return (1u << FIRST_OCTAVE) - 1;
	return ((uint64_t)(5 + quarter) << (octave - 2)) - 1;
}

void flow_latency_add(struct flow_latency *latency, uint32_t ns)
{
	_Atomic uint64_t *count = &latency->counts[bucket_of(ns)];

	/* A clock that is ahead of ours is a client that lies. */
	if (ns > INT32_MAX)
		return;
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1, memory_order_relaxed);
	atomic_store_explicit(&latency->sum_ns, atomic_load_explicit(&latency->sum_ns, memory_order_relaxed) + ns,
			      memory_order_relaxed);
}

void flow_switch_latency(const struct flow_switch *sw, struct flow_latency *ret)
{
	for (unsigned i = 0; i < FLOW_LATENCY_BUCKETS; i++)
		atomic_init(&ret->counts[i], atomic_load_explicit(&sw->latency.counts[i], memory_order_relaxed));
	atomic_init(&ret->sum_ns, atomic_load_explicit(&sw->latency.sum_ns, memory_order_relaxed));
}
