// SPDX-License-Identifier: BSD-3-Clause
/* Rates, kept by virtual clocks. */
#include "service/block/qos/bucket.h"

#include "base/clock.h"

enum { UNIT_BITS = 20 };
static const uint64_t LEASE = CLOCK_NS_PER_MS << QOS_FRACTION_BITS;
static const uint64_t LEASE_AGE_NS = 2 * CLOCK_NS_PER_MS;
static const uint64_t DEBT_MAX = UINT64_MAX / 4;

static uint64_t get(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

struct terms {
	uint64_t unit, burst;
};

/* What of the burst was used stays used, as time: it was had at the old rate, and the new one would be a stop of a
 * thousand seconds for who had a tenth of one at 10,000 times as much. What goes beyond is a debt, and of things. */
static uint64_t ahead_under(uint64_t ahead, const struct terms *old, const struct terms *new)
{
	uint64_t used = ahead < old->burst ? ahead : old->burst;
	unsigned __int128 debt = (unsigned __int128)(ahead - used) * new->unit / old->unit;

	return (used < new->burst ? used : new->burst) + (debt < DEBT_MAX ? (uint64_t)debt : DEBT_MAX);
}

static void change_terms(struct qos_bucket *bucket, const struct terms *old, const struct terms *new, uint64_t now)
{
	uint64_t clock = get(&bucket->clock), then;

	do {
		if (clock <= now)
			return;
		then = now + ahead_under(clock - now, old, new);
	} while (!atomic_compare_exchange_weak_explicit(&bucket->clock, &clock, then, memory_order_relaxed,
							memory_order_relaxed));
}

void qos_bucket_set(struct qos_bucket *bucket, uint64_t rate, uint64_t burst_ns, uint64_t now_ns)
{
	unsigned __int128 second = (unsigned __int128)(CLOCK_NS_PER_S << QOS_FRACTION_BITS) << UNIT_BITS;
	struct terms old = { get(&bucket->unit), get(&bucket->burst) };
	struct terms new = { rate ? (uint64_t)((second + rate - 1) / rate) : 0, burst_ns << QOS_FRACTION_BITS };

	atomic_store_explicit(&bucket->burst, new.burst, memory_order_relaxed);
	atomic_store_explicit(&bucket->unit, new.unit, memory_order_relaxed);
	if (old.unit && new.unit)
		change_terms(bucket, &old, &new, now_ns << QOS_FRACTION_BITS);
}

static uint64_t cost(const struct qos_bucket *bucket, uint64_t amount)
{
	unsigned __int128 exact = (unsigned __int128)get(&bucket->unit) * amount;

	return (uint64_t)((exact + (1 << UNIT_BITS) - 1) >> UNIT_BITS);
}

/* How far the clock may be ahead, and how much more than it needs a lease may take. */
static uint64_t effective_burst(const struct qos_lease *lease, uint64_t *ret_more)
{
	uint64_t burst = get(&lease->bucket->burst);
	uint32_t leases = atomic_load_explicit(&lease->bucket->leases, memory_order_relaxed);

	*ret_more = 0;
	if (!lease->shared || leases == 0)
		return burst;
	uint64_t more = burst / (2 * leases);
	*ret_more = more < LEASE ? more : LEASE;
	return burst - leases * *ret_more;
}

uint64_t qos_lease_when(const struct qos_lease *lease, uint64_t amount)
{
	if (!qos_bucket_limits(lease->bucket))
		return 0;
	if (lease->credit && lease->credit >= cost(lease->bucket, amount))
		return 0;
	uint64_t more, clock = get(&lease->bucket->clock), burst = effective_burst(lease, &more);
	return clock > burst ? (clock - burst + (1 << QOS_FRACTION_BITS) - 1) >> QOS_FRACTION_BITS : 0;
}

/* The clock after so much, and up to `more` as far as it is there, was taken; 0: nothing may be. */
static uint64_t after(uint64_t clock, uint64_t now, uint64_t limit, uint64_t need, uint64_t more)
{
	if (clock > limit)
		return 0;
	clock = (clock > now ? clock : now) + need;
	if (clock >= limit)
		return clock;
	return clock + (more < limit - clock ? more : limit - clock);
}

/* Of the bucket, `need` and perhaps some more as credit. */
static bool take(struct qos_lease *lease, uint64_t need, uint64_t now)
{
	struct qos_bucket *bucket = lease->bucket;
	uint64_t more, limit = now + effective_burst(lease, &more), clock = get(&bucket->clock), then;

	if (!lease->shared) {
		then = after(clock, now, limit, need, 0);
		if (then)
			atomic_store_explicit(&bucket->clock, then, memory_order_relaxed);
		return then != 0;
	}
	do {
		then = after(clock, now, limit, need, more);
		if (!then)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&bucket->clock, &clock, then, memory_order_relaxed,
							memory_order_relaxed));
	lease->credit = then - (clock > now ? clock : now) - need;
	return true;
}

/* The clock may be behind the time meanwhile: then what goes back is lost, as it would have been without us. */
static void give_back(struct qos_lease *lease)
{
	atomic_fetch_sub_explicit(&lease->bucket->clock, lease->credit, memory_order_relaxed);
	lease->credit = 0;
}

bool qos_lease_take(struct qos_lease *lease, uint64_t amount, uint64_t now_ns)
{
	if (!qos_bucket_limits(lease->bucket))
		return true;
	uint64_t need = cost(lease->bucket, amount), now = now_ns << QOS_FRACTION_BITS;
	if (lease->credit >= need) {
		lease->credit -= need;
		return true;
	}
	if (lease->credit)
		give_back(lease);
	lease->taken_ns = now_ns;
	return take(lease, need, now);
}

void qos_lease_owe(struct qos_lease *lease, uint64_t amount, uint64_t now_ns)
{
	struct qos_bucket *bucket = lease->bucket;
	uint64_t need = cost(bucket, amount), now = now_ns << QOS_FRACTION_BITS, clock, then;

	if (!qos_bucket_limits(bucket))
		return;
	if (lease->credit)
		give_back(lease);
	clock = get(&bucket->clock);
	do {
		then = (clock > now ? clock : now) + need;
	} while (!atomic_compare_exchange_weak_explicit(&bucket->clock, &clock, then, memory_order_relaxed,
							memory_order_relaxed));
}

void qos_lease_give(struct qos_lease *lease, uint64_t amount)
{
	if (!qos_bucket_limits(lease->bucket))
		return;
	lease->credit += cost(lease->bucket, amount);
	if (!lease->shared)
		give_back(lease);
}

void qos_lease_expire(struct qos_lease *lease, uint64_t now_ns)
{
	if (lease->credit && now_ns - lease->taken_ns >= LEASE_AGE_NS)
		give_back(lease);
}
