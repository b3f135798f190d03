// SPDX-License-Identifier: BSD-3-Clause
/* Tenants with volumes on several workers, buckets under threads, heaps, random worlds, and who is not between whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/sanitized.h"
#include "service/block/qos/bucket.h"
#include "service/block/qos/heap.h"
#include "service/block/qos/qos_sim.h"

static const uint64_t US = CLOCK_NS_PER_US, MS = CLOCK_NS_PER_MS, S = CLOCK_NS_PER_S;

static uint64_t below(uint64_t *seed, uint64_t limit)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (*seed >> 33) % limit;
}

static void test_heap(void **state)
{
	enum { NODES = 200 };
	static struct heap_node nodes[NODES];
	struct heap heap = { 0 };
	uint64_t seed = 7;

	assert_int_equal(heap_reserve(&heap, NODES), 0);
	for (unsigned round = 0; round < 20000; round++) {
		struct heap_node *node = &nodes[below(&seed, NODES)];
		if (below(&seed, 3))
			heap_set(&heap, node, UINT64_MAX - 500 + below(&seed, 1000)); /* over the end of numbers */
		else
			heap_remove(&heap, node);
		struct heap_node *first = heap_first(&heap);
		unsigned count = 0;
		for (unsigned i = 0; i < NODES; i++) {
			count += nodes[i].place > 0;
			assert_true(!nodes[i].place || !heap_before(nodes[i].key, first->key));
		}
		assert_int_equal(count, heap.count);
	}
	heap_fini(&heap);
}

/* Two workers, of which now one, now the other, now both are busy: never more than the cap, and hardly less. */
static void test_two_workers(void **state)
{
	static const uint64_t caps[] = { 1, 50, 10000, 300000 };

	for (unsigned i = 0; i < 4; i++) {
		struct sim *sim = sim_new(SIM_SERVERS, 20 * US, 0);
		struct qos_policy policy = { .cap = caps[i], .burst_ns = 20 * MS };
		struct qos_tenant *tenant = sim_tenant(&policy);
		struct sim_limit limit;
		struct sim_volume *volume[2] = { sim_volume(&sim->scheduler[0], tenant, NULL),
						 sim_volume(sim_scheduler(sim), tenant, NULL) };
		uint64_t time = caps[i] < 100 ? 100 * S : S;
		sim_limit(&limit, (double)caps[i], &policy);
		volume[0]->tenant_ios = volume[1]->tenant_ios = &limit;
		for (unsigned busy = 1; busy <= 3; busy++) {
			for (unsigned j = 0; j < 2; j++)
				sim_load(volume[j], busy & (1U << j) ? 64 : 0, 4096, 0);
			sim_run(sim, S);
			sim_reset(sim);
			sim_run(sim, time);
			double rate = (double)(volume[0]->arrived + volume[1]->arrived) * 1e9 / (double)time;
			assert_true(rate > 0.98 * (double)caps[i] - 0.01);
			assert_true(rate < 1.001 * (double)caps[i] + 0.02);
		}
		sim_free(sim);
		qos_tenant_unref(tenant);
	}
}

/* ---- threads ---- */

enum { TAKES = 200000, THREADS = 4 };

struct taker {
	struct qos_bucket *bucket;
	_Atomic uint64_t *now;
	uint64_t taken;
};

static void *take(void *arg)
{
	struct taker *taker = arg;
	struct qos_lease lease = { .bucket = taker->bucket, .shared = true };
	uint64_t seed = (uint64_t)(uintptr_t)arg;

	for (unsigned i = 0; i < TAKES; i++) {
		uint64_t now = atomic_fetch_add(taker->now, 100);
		if (qos_lease_take(&lease, 1, now))
			taker->taken++;
		if (below(&seed, 1000) == 0)
			qos_lease_expire(&lease, now + S);
	}
	qos_lease_expire(&lease, UINT64_MAX);
	return NULL;
}

/* At once from all sides: no more than there is. */
static void test_threads(void **state)
{
	struct qos_bucket bucket = { 0 };
	_Atomic uint64_t now = S;
	struct taker taker[THREADS];
	pthread_t thread[THREADS];
	uint64_t taken = 0;

	qos_bucket_set(&bucket, 1000000, 5 * MS, 0);
	bucket.leases = THREADS;
	for (unsigned i = 0; i < THREADS; i++) {
		taker[i] = (struct taker){ .bucket = &bucket, .now = &now };
		assert_int_equal(pthread_create(&thread[i], NULL, take, &taker[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		taken += taker[i].taken;
	}
	uint64_t time = now - S, allowed = (time + 5 * MS) / 1000 + 1;
	assert_true(taken <= allowed);
	assert_true(taken > allowed - allowed / 10);
}

/* ---- random worlds ---- */

static struct qos_policy random_policy(uint64_t *seed)
{
	struct qos_policy policy = { 0 };

	if (below(seed, 3) == 0)
		policy.guarantee = 1 + below(seed, 3000);
	if (below(seed, 5) == 0)
		policy.guarantee_bytes = QOS_BANDWIDTH_MIN + below(seed, 8 << 20);
	if (below(seed, 3) == 0)
		policy.cap = 1 + below(seed, 20000);
	if (below(seed, 3) == 0)
		policy.cap_bytes = QOS_BANDWIDTH_MIN + below(seed, 200 << 20);
	if (below(seed, 2))
		policy.burst_ns = 1 + below(seed, 200 * MS);
	if (below(seed, 3) == 0)
		policy.weight = 1 + (uint32_t)below(seed, QOS_WEIGHT_MAX);
	return policy;
}

static double least(double a, double b)
{
	return a < b ? a : b;
}

/* What the volume must get at least: its guarantee as far as its caps, and the tenant's, let it. */
static double owed(const struct sim_volume *volume, const struct qos_policy *own, const struct qos_policy *tenant)
{
	double length = volume->load.length, units = volume->load.length <= 64 << 10 ? 1 : length / (64 << 10);
	double ios = own->guarantee ? (double)own->guarantee / units : own->guarantee_bytes ? 1e12 : 0;

	if (own->guarantee_bytes)
		ios = least(ios, (double)own->guarantee_bytes / length);
	if (own->cap)
		ios = least(ios, (double)own->cap);
	if (own->cap_bytes)
		ios = least(ios, (double)own->cap_bytes / length);
	return tenant->cap || tenant->cap_bytes ? 0 : ios;
}

/* A medium that can do all that is promised, and loads that never rest: caps hold (the volumes' limits see to it), the
 * medium is never idle while somebody may have it, and everybody gets what is owed to him. */
static void world(uint64_t seed)
{
	enum { TENANTS = 4, VOLUMES = 12 };
	struct sim *sim = sim_new(32, 100 * US, 100);
	struct qos_tenant *tenant[TENANTS];
	struct qos_policy of_tenant[TENANTS], of_volume[VOLUMES];
	struct sim_limit limit[TENANTS][2];
	bool unlimited = false;

	for (unsigned i = 0; i < TENANTS; i++) {
		of_tenant[i] = random_policy(&seed);
		tenant[i] = sim_tenant(&of_tenant[i]);
		sim_limit(&limit[i][0], (double)of_tenant[i].cap, &of_tenant[i]);
		sim_limit(&limit[i][1], (double)of_tenant[i].cap_bytes, &of_tenant[i]);
	}
	for (unsigned i = 0; i < VOLUMES; i++) {
		unsigned owner = (unsigned)below(&seed, TENANTS);
		of_volume[i] = random_policy(&seed);
		struct sim_volume *volume = sim_volume(&sim->scheduler[0], tenant[owner], &of_volume[i]);
		volume->tenant_ios = &limit[owner][0];
		volume->tenant_bytes = &limit[owner][1];
		volume->load.write_percent = (unsigned)below(&seed, 100);
		sim_load(volume, 32 + (unsigned)below(&seed, 100), 4096U << below(&seed, 6), 0);
		unlimited |= !of_volume[i].cap && !of_volume[i].cap_bytes && !of_tenant[owner].cap &&
			     !of_tenant[owner].cap_bytes;
		volume->last_tag |= (uint64_t)owner << 32;
	}
	sim_run(sim, 3 * S);
	sim_reset(sim);
	sim_run(sim, 4 * S);
	for (unsigned i = 0; i < VOLUMES; i++) {
		struct sim_volume *volume = sim->volume[i];
		double due = owed(volume, &of_volume[i], &of_tenant[volume->last_tag >> 32]);
		double rate = (double)volume->arrived / 4;
		if (rate < 0.95 * due - 1)
			fail_msg("seed: volume %u gets %g of %g", i, rate, due);
	}
	if (unlimited && (double)sim->medium.busy_ns < 0.8 * 32 * 4 * (double)S)
		fail_msg("busy %.0f %%", (double)sim->medium.busy_ns / (0.32 * 4 * (double)S));
	for (unsigned i = 0; i < TENANTS; i++)
		qos_tenant_set(tenant[i], &(struct qos_policy){ 0 }, 0);
	sim_free(sim);
	for (unsigned i = 0; i < TENANTS; i++)
		qos_tenant_unref(tenant[i]);
}

static void test_worlds(void **state)
{
	for (uint64_t seed = 1; seed <= (SANITIZED ? 3 : 12); seed++)
		world(seed);
}

/* A guaranteed one that comes with several at once, when the window has room for others, who wait: none of them is
 * between his, and as far as his fill the window, none comes after them either. */
static void test_guaranteed_together(void **state)
{
	struct sim *sim = sim_new(4, 100 * US, 0);
	struct qos_policy promise = { .guarantee = 100000 };
	struct qos_tenant *quiet = sim_tenant(&promise), *noisy = sim_tenant(NULL);
	struct sim_volume *victim = sim_volume(&sim->scheduler[0], quiet, NULL);
	struct sim_volume *other = sim_volume(&sim->scheduler[0], noisy, NULL);

	sim_load(other, 64, 4096, 0);
	sim_load(victim, 8, 4096, 0);
	victim->load.start_ns = sim->now_ns + 100 * US; /* the first four have just ended */
	sim_run(sim, 50 * US);
	assert_int_equal(other->arrived, qos_window(sim->scheduler[0].qos));
	sim_reset(sim);
	sim_run(sim, 60 * US);
	assert_int_equal(victim->arrived, 8);
	assert_int_equal(other->arrived, 0);
	sim_free(sim);
	qos_tenant_unref(quiet);
	qos_tenant_unref(noisy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heap),
		cmocka_unit_test(test_two_workers),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_worlds),
		cmocka_unit_test(test_guaranteed_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
