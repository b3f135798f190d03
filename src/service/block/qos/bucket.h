/* SPDX-License-Identifier: BSD-3-Clause */
/* A rate, kept by a virtual clock (the generic cell rate algorithm): each thing taken moves the clock on by what it
 * costs at that rate, and more may be taken while the clock is no more than `burst` ahead of the time. So in any time t
 * no more is taken than rate × (t + burst) and one thing.
 *
 * A bucket may be shared by workers. Each takes from it through a lease, by the millisecond, so that they meet
 * seldom; what a lease has taken counts as used, and is given back when it is not used within two. Because it may be
 * used later than it was taken, the burst is so much less as leases may hold: the sum above holds for all of them
 * together. With a burst of less than some milliseconds leases hold less, down to nothing. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { QOS_FRACTION_BITS = 4 }; /* times of virtual clocks are in 1/16 ns: a good 36 years */

struct qos_bucket {
	_Atomic uint64_t clock;
	_Atomic uint64_t burst;
	_Atomic uint32_t leases;
	_Atomic uint64_t unit; /* what one costs, times 2^20; 0: there is no limit */
};

/* rate: per second, up to 10^12; 0: none. What was taken too much is waited for at the new rate. Any thread. */
void qos_bucket_set(struct qos_bucket *bucket, uint64_t rate, uint64_t burst_ns, uint64_t now_ns);

static inline bool qos_bucket_limits(const struct qos_bucket *bucket)
{
	return atomic_load_explicit(&bucket->unit, memory_order_relaxed) != 0;
}

struct qos_lease {
	struct qos_bucket *bucket;
	bool shared;
	uint64_t credit;   /* taken, not used */
	uint64_t taken_ns; /* when */
};

/* From when on `amount` may be taken, as far as it is known: now or before means now. 0: at any time. */
uint64_t qos_lease_when(const struct qos_lease *lease, uint64_t amount);
/* False if it may not be taken now. */
bool qos_lease_take(struct qos_lease *lease, uint64_t amount, uint64_t now_ns);
/* Takes it in any case. What is too much has to be waited for before anything else is taken. */
void qos_lease_owe(struct qos_lease *lease, uint64_t amount, uint64_t now_ns);
/* What was taken is not needed. */
void qos_lease_give(struct qos_lease *lease, uint64_t amount);
/* Gives back what is older than two milliseconds. */
void qos_lease_expire(struct qos_lease *lease, uint64_t now_ns);
