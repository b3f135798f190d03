/* SPDX-License-Identifier: BSD-3-Clause */
/* Session quotas of vNICs and tenants, and the token buckets behind every rate limit of the switch. */
#include "service/vswitch/datapath_priv.h"

#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"

enum {
	BATCH_MAX = 64,
	RATE_BATCH_MAX = 64,
	HOLDER_BITS = 5, /* of an incarnation, in policy_flags: initiator's vNIC, responder's vNIC, tenant */
	HOLDER_MASK = (1 << HOLDER_BITS) - 1,
};

/* One who may hold so many sessions. */
struct holder {
	_Atomic int64_t *shared;
	struct quota_credit *credit;
	uint32_t limit; /* 0 = none */
	uint8_t incarnation;
};

int quota_init(struct quota *quota, struct dp *dp)
{
	/* Untouched pages of these cost nothing. */
	*quota = (struct quota){
		.dp = dp,
		.vnics = calloc(PATH_MAX_IFACES, sizeof(*quota->vnics)),
		.tenants = calloc(DP_MAX_TENANTS, sizeof(*quota->tenants)),
	};
	if (quota->vnics && quota->tenants)
		return 0;
	quota_fini(quota);
	return -ENOMEM;
}

void quota_fini(struct quota *quota)
{
	free(quota->vnics);
	free(quota->tenants);
	quota->vnics = quota->tenants = NULL;
}

unsigned bucket_take(struct dp_bucket *bucket, uint32_t rate_per_second, uint32_t burst, uint64_t now_ns, unsigned want)
{
	uint64_t then = atomic_load_explicit(&bucket->time_ns, memory_order_relaxed);
	uint64_t elapsed = now_ns > then ? now_ns - then : 0;
	if (elapsed > 2 * CLOCK_NS_PER_S)
		elapsed = 2 * CLOCK_NS_PER_S;
	uint64_t earned = then ? elapsed * rate_per_second / CLOCK_NS_PER_S : burst;
	if (earned) {
		/* Time that earned a fraction of a token stays on the account, unless the bucket is full anyway. */
		bool full = !then || earned >= burst;
		uint64_t until = full ? now_ns : then + earned * CLOCK_NS_PER_S / rate_per_second;
		if (atomic_compare_exchange_strong_explicit(&bucket->time_ns, &then, until, memory_order_relaxed,
							    memory_order_relaxed)) {
			int64_t had = atomic_load_explicit(&bucket->tokens, memory_order_relaxed), next;
			do {
				next = had + (int64_t)earned;
				next = next > burst ? burst : next;
			} while (!atomic_compare_exchange_weak_explicit(&bucket->tokens, &had, next,
									memory_order_relaxed, memory_order_relaxed));
		}
	}
	int64_t had = atomic_load_explicit(&bucket->tokens, memory_order_relaxed);
	unsigned taken;
	do {
		if (had <= 0)
			return 0;
		taken = had < want ? (unsigned)had : want;
	} while (!atomic_compare_exchange_weak_explicit(&bucket->tokens, &had, had - taken, memory_order_relaxed,
							memory_order_relaxed));
	return taken;
}

static int32_t batch_of(const struct quota *quota, uint32_t limit)
{
	if (!limit)
		return BATCH_MAX;
	unsigned workers = quota->dp->worker_count ? quota->dp->worker_count : 1;
	uint32_t batch = limit / (16 * workers);
	return batch < 1 ? 1 : batch > BATCH_MAX ? BATCH_MAX : (int32_t)batch;
}

static int32_t credit_of(struct holder *holder)
{
	/* What is left from a former holder of this number is not this one's. */
	if (holder->credit->incarnation != holder->incarnation) {
		holder->credit->incarnation = holder->incarnation;
		holder->credit->rate = 0;
		atomic_store_explicit(&holder->credit->sessions, 0, memory_order_relaxed);
	}
	return atomic_load_explicit(&holder->credit->sessions, memory_order_relaxed);
}

static void credit_set(struct holder *holder, int32_t sessions)
{
	atomic_store_explicit(&holder->credit->sessions, sessions, memory_order_relaxed);
}

/* Takes up to `batch` from the shared count. */
static int32_t shared_draw(struct holder *holder, int32_t batch)
{
	int64_t held = atomic_load_explicit(holder->shared, memory_order_relaxed);
	int32_t drawn;
	do {
		int64_t room = holder->limit ? (int64_t)holder->limit - held : batch;
		if (room <= 0)
			return 0;
		drawn = room < batch ? (int32_t)room : batch;
	} while (!atomic_compare_exchange_weak_explicit(holder->shared, &held, held + drawn, memory_order_relaxed,
							memory_order_relaxed));
	return drawn;
}

/* What of a credit is worth keeping, all but half of a batch if it is large; the rest goes back. A batch of one keeps
 * nothing. The limit may have become lower since the credit was drawn. */
static int32_t credit_trim(const struct quota *quota, struct holder *holder, int32_t credit)
{
	int32_t batch = batch_of(quota, holder->limit), keep = batch / 2;
	if (credit < 2 * batch - 1)
		return credit;
	atomic_fetch_sub_explicit(holder->shared, credit - keep, memory_order_relaxed);
	return keep;
}

static bool holder_take(const struct quota *quota, struct holder *holder)
{
	int32_t credit = credit_of(holder);
	if (credit)
		credit = credit_trim(quota, holder, credit);
	if (!credit)
		credit = shared_draw(holder, batch_of(quota, holder->limit));
	credit_set(holder, credit ? credit - 1 : 0);
	return credit > 0;
}

static void holder_give(const struct quota *quota, struct holder *holder)
{
	credit_set(holder, credit_trim(quota, holder, credit_of(holder) + 1));
}

static bool vnic_holder(const struct quota *quota, uint16_t iface, struct holder *ret)
{
	struct dp_vnic *vnic = iface ? dp_vnic_of(quota->dp, iface) : NULL;
	if (!vnic || !vnic->runtime)
		return false;
	*ret = (struct holder){
		.shared = &vnic->runtime->sessions,
		.credit = &quota->vnics[iface],
		.limit = vnic->max_sessions,
		.incarnation = vnic->runtime->incarnation,
	};
	return true;
}

static struct dp_tenant *tenant_of(const struct dp *dp, uint16_t slot)
{
	return dp->tenants ? atomic_load_explicit(&dp->tenants[slot], memory_order_acquire) : NULL;
}

static bool tenant_holder(const struct quota *quota, uint16_t slot, struct holder *ret)
{
	struct dp_tenant *tenant = tenant_of(quota->dp, slot);
	if (!tenant)
		return false;
	*ret = (struct holder){
		.shared = &tenant->sessions,
		.credit = &quota->tenants[slot],
		.limit = atomic_load_explicit(&tenant->max_sessions, memory_order_relaxed),
		.incarnation = tenant->incarnation,
	};
	return true;
}

/* One token of the shared bucket, by way of the worker's own credit. */
static bool rate_take(const struct quota *quota, struct quota_credit *credit, struct dp_bucket *bucket, uint32_t rate,
		      uint32_t burst, uint64_t now_ns)
{
	if (!credit->rate) {
		unsigned workers = quota->dp->worker_count ? quota->dp->worker_count : 1;
		uint32_t batch = rate / (100 * workers);
		batch = batch < 1 ? 1 : batch > RATE_BATCH_MAX ? RATE_BATCH_MAX : batch;
		credit->rate = (uint16_t)bucket_take(bucket, rate, burst, now_ns, batch);
	}
	if (!credit->rate)
		return false;
	credit->rate--;
	return true;
}

static bool tenant_rate_take(const struct quota *quota, uint16_t slot, uint64_t now_ns)
{
	struct dp_tenant *tenant = tenant_of(quota->dp, slot);
	uint32_t rate = tenant ? atomic_load_explicit(&tenant->max_session_rate, memory_order_relaxed) : 0;
	uint32_t burst = rate / 8 < 16 ? 16 : rate / 8;
	return !rate || rate_take(quota, &quota->tenants[slot], &tenant->rate, rate, burst, now_ns);
}

bool quota_may_miss(struct quota *quota, uint16_t iface, uint64_t now_ns)
{
	struct holder holder;
	const struct dp_vnic *vnic = dp_vnic_of(quota->dp, iface);
	uint32_t rate = vnic ? vnic->max_session_rate : 0;
	if (!rate || !vnic_holder(quota, iface, &holder))
		return true;
	credit_of(&holder); /* forgets what a former vNIC of this number has left */
	/* A second's worth at once: a guest that starts has many flows to open. */
	return rate_take(quota, holder.credit, &vnic->runtime->flows, rate, rate, now_ns);
}

enum { SOURCE, DESTINATION, TENANT, HOLDERS };

static const enum drop_reason reason_of[HOLDERS] = { DROP_SESSION_QUOTA_VNIC, DROP_SESSION_QUOTA_VNIC,
						     DROP_SESSION_QUOTA_TENANT };

static unsigned holders_of(const struct quota *quota, uint16_t src_vnic, uint16_t dst_vnic, uint16_t tenant,
			   struct holder *holders)
{
	unsigned present = 0;
	if (vnic_holder(quota, src_vnic, &holders[SOURCE]))
		present |= 1 << SOURCE;
	if (dst_vnic != src_vnic && vnic_holder(quota, dst_vnic, &holders[DESTINATION]))
		present |= 1 << DESTINATION;
	if (tenant_holder(quota, tenant, &holders[TENANT]))
		present |= 1 << TENANT;
	return present;
}

/* 0 stands for a holder that was not there. */
static unsigned mark_of(const struct holder *holder)
{
	return 1 + holder->incarnation % HOLDER_MASK;
}

static uint16_t flags_of(const struct holder *holders, unsigned present)
{
	uint16_t flags = 0;
	for (unsigned i = 0; i < HOLDERS; i++)
		if (present & 1 << i)
			flags |= (uint16_t)(mark_of(&holders[i]) << (i * HOLDER_BITS));
	return flags;
}

enum drop_reason quota_take(struct quota *quota, const struct dp_verdict *verdict, uint64_t now_ns, uint16_t *ret_flags)
{
	struct holder holders[HOLDERS];
	if (!tenant_rate_take(quota, verdict->tenant, now_ns))
		return DROP_SESSION_RATE;
	unsigned present = holders_of(quota, verdict->src_vnic, verdict->dst_vnic, verdict->tenant, holders);
	for (unsigned i = 0; i < HOLDERS; i++) {
		if (!(present & 1 << i) || holder_take(quota, &holders[i]))
			continue;
		for (unsigned taken = 0; taken < i; taken++)
			if (present & 1 << taken)
				holder_give(quota, &holders[taken]);
		return reason_of[i];
	}
	*ret_flags = flags_of(holders, present);
	return DROP_NONE;
}

void quota_charge(struct quota *quota, struct session *session)
{
	struct holder holders[HOLDERS];
	unsigned present = holders_of(quota, session->vnic[0], session->vnic[1], session->tenant, holders);
	for (unsigned i = 0; i < HOLDERS; i++) {
		if (!(present & 1 << i))
			continue;
		struct holder *holder = &holders[i];
		int32_t credit = credit_of(holder);
		if (credit)
			credit_set(holder, credit - 1);
		else
			atomic_fetch_add_explicit(holder->shared, 1, memory_order_relaxed);
	}
	session->policy_flags = flags_of(holders, present);
}

void quota_give(struct quota *quota, const struct session *session)
{
	struct holder holders[HOLDERS];
	unsigned present = holders_of(quota, session->vnic[0], session->vnic[1], session->tenant, holders);
	for (unsigned i = 0; i < HOLDERS; i++) {
		unsigned charged = session->policy_flags >> (i * HOLDER_BITS) & HOLDER_MASK;
		if (present & 1 << i && charged == mark_of(&holders[i]))
			holder_give(quota, &holders[i]);
	}
}

/* ---- limits that change ---- */

static void credit_return(struct holder *holder)
{
	atomic_fetch_sub_explicit(holder->shared, credit_of(holder), memory_order_relaxed);
	credit_set(holder, 0);
}

void quota_return(struct quota *quota, uint16_t vnic, uint16_t tenant)
{
	struct holder holder;
	if (vnic_holder(quota, vnic, &holder))
		credit_return(&holder);
	if (tenant && tenant_holder(quota, tenant, &holder))
		credit_return(&holder);
}

/* What a worker is to give back. */
struct limit_change {
	struct quota *quota;
	uint16_t vnic, tenant;
};

static void in_worker(void *arg, struct worker *worker)
{
	const struct limit_change *change = arg;
	quota_return(change->quota, change->vnic, change->tenant);
}

void dp_limit_changed(struct dp *dp, uint16_t vnic, uint16_t tenant)
{
	for (unsigned i = 0; i < dp->worker_count; i++) {
		struct limit_change *change = dp->worker_states[i] ? malloc(sizeof(*change)) : NULL;
		if (!change)
			continue;
		*change = (struct limit_change){ &dp->worker_states[i]->quota, vnic, tenant };
		if (worker_call(workers_get(dp->workers, i), in_worker, change, free) != 0)
			free(change);
	}
}

static int64_t unused_credit(const struct dp *dp, bool tenant, uint32_t index, uint8_t incarnation)
{
	int64_t unused = 0;
	for (unsigned i = 0; i < DP_MAX_WORKERS; i++) {
		if (!dp->worker_states[i])
			continue;
		const struct quota *quota = &dp->worker_states[i]->quota;
		const struct quota_credit *credit = tenant ? &quota->tenants[index] : &quota->vnics[index];
		if (credit->incarnation == incarnation)
			unused += atomic_load_explicit(&credit->sessions, memory_order_relaxed);
	}
	return unused;
}

static int64_t held(const _Atomic int64_t *shared, int64_t unused)
{
	int64_t sessions = atomic_load_explicit(shared, memory_order_relaxed) - unused;
	return sessions < 0 ? 0 : sessions;
}

int64_t dp_vnic_sessions(const struct dp *dp, const struct dp_vnic *vnic)
{
	const struct dp_vnic_runtime *runtime = vnic->runtime;
	return held(&runtime->sessions, unused_credit(dp, false, vnic->iface.id, runtime->incarnation));
}

int64_t dp_tenant_sessions(const struct dp *dp, const struct dp_tenant *tenant)
{
	return held(&tenant->sessions, unused_credit(dp, true, tenant->slot, tenant->incarnation));
}
