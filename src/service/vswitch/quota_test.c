/* SPDX-License-Identifier: BSD-3-Clause */
/* Quotas: limits of vNICs and tenants, exact however sessions end; rates; shared use by several workers. */
#include "service/vswitch/testworld.h"

#include <netinet/in.h>
#include <stdlib.h>
#include "base/clock.h"

#define T0 (1000 * CLOCK_NS_PER_S)

static void bucket_refills_with_time(void **unused)
{
	struct dp_bucket bucket = { 0 };
	assert_int_equal(bucket_take(&bucket, 100, 10, T0, 8), 8); /* full at first use */
	assert_int_equal(bucket_take(&bucket, 100, 10, T0, 8), 2);
	assert_int_equal(bucket_take(&bucket, 100, 10, T0, 8), 0);
	/* 100 a second: one every 10 ms; fractions are not lost. */
	uint64_t now = T0;
	unsigned got = 0;
	for (unsigned i = 0; i < 1000; i++)
		got += bucket_take(&bucket, 100, 10, now += 3 * CLOCK_NS_PER_MS, 1);
	assert_int_equal(got, 300);
	/* Never more than the burst, however long nobody asks, and no time runs backwards. */
	assert_int_equal(bucket_take(&bucket, 100, 10, now + 3600 * CLOCK_NS_PER_S, 100), 10);
	assert_int_equal(bucket_take(&bucket, 100, 10, now, 100), 0);
	/* The largest of rates. */
	struct dp_bucket fast = { 0 };
	assert_int_equal(bucket_take(&fast, UINT32_MAX, 1000000, T0, UINT32_MAX), 1000000);
	assert_int_equal(bucket_take(&fast, UINT32_MAX, 1000000, T0 + CLOCK_NS_PER_S, UINT32_MAX), 1000000);
}

static bool send_udp(unsigned vnic, const char *src, const char *dst, uint16_t port)
{
	static struct frame got;
	world_send(vnic, &(struct frame_spec){ .src = src, .dst = dst, .src_port = port });
	for (unsigned to = 1; to <= 5; to++)
		if (bed_sent(&world.bed, bed_iface(to), &got))
			return true;
	return false;
}

static void vnic_limit(void **unused)
{
	world.vnic[1]->max_sessions = 5;
	for (uint16_t port = 1; port <= 5; port++)
		assert_true(send_udp(1, "10.0.0.11", "10.0.0.12", port));
	assert_false(send_udp(1, "10.0.0.11", "10.0.0.12", 6));
	world_dropped(DROP_SESSION_QUOTA_VNIC);
	assert_true(send_udp(1, "10.0.0.11", "10.0.0.12", 5)); /* what there is goes on */
	/* Being called counts as well. */
	assert_false(send_udp(2, "10.0.0.12", "10.0.0.11", 7));
	world_dropped(DROP_SESSION_QUOTA_VNIC);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[1]), 5);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[2]), 5);
	assert_int_equal(dp_tenant_sessions(&world.bed.dp, world.vnic[1]->tenant), 5);
	/* Others are not concerned. */
	assert_true(send_udp(2, "10.0.0.12", "10.0.1.13", 7));
	assert_true(send_udp(4, "10.0.0.11", "10.0.0.12", 7));
	/* Ageing gives back. */
	bed_tick(&world.bed, clock_ns() + 400 * CLOCK_NS_PER_S);
	assert_int_equal(bed_sessions(&world.bed), 0);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[1]), 0);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[2]), 0);
	assert_int_equal(dp_tenant_sessions(&world.bed.dp, world.vnic[1]->tenant), 0);
	assert_int_equal(dp_tenant_sessions(&world.bed.dp, world.vnic[4]->tenant), 0);
	for (uint16_t port = 1; port <= 5; port++)
		assert_true(send_udp(1, "10.0.0.11", "10.0.0.12", port));
	world_quiet();
}

static void tenant_limit(void **unused)
{
	atomic_store(&world.vnic[1]->tenant->max_sessions, 300); /* batches of 18 */
	for (uint16_t port = 1; port <= 300; port++)
		assert_true(send_udp(1, "10.0.0.11", "10.0.0.12", port));
	assert_false(send_udp(3, "10.0.1.13", "10.0.0.12", 1));
	world_dropped(DROP_SESSION_QUOTA_TENANT);
	assert_true(send_udp(4, "10.0.0.11", "10.0.0.12", 7));
	assert_int_equal(dp_tenant_sessions(&world.bed.dp, world.vnic[1]->tenant), 300);
	/* A refused session has not charged its vNICs. */
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[3]), 0);
	/* The limit may change while sessions exist. */
	atomic_store(&world.vnic[1]->tenant->max_sessions, 100);
	assert_false(send_udp(3, "10.0.1.13", "10.0.0.12", 1));
	world_dropped(DROP_SESSION_QUOTA_TENANT);
	atomic_store(&world.vnic[1]->tenant->max_sessions, 0);
	assert_true(send_udp(3, "10.0.1.13", "10.0.0.12", 1));
	assert_int_equal(dp_tenant_sessions(&world.bed.dp, world.vnic[1]->tenant), 301);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[3]), 1);
	assert_true(send_udp(3, "10.0.1.13", "10.0.0.12", 2));
}

/* What a worker holds in hand of a higher limit is not let through under a lower one. */
static void lower_limits(void **unused)
{
	for (uint16_t port = 1; port <= 100; port++)
		assert_true(send_udp(1, "10.0.0.11", "10.0.0.12", port));
	bed_tick(&world.bed, clock_ns() + 400 * CLOCK_NS_PER_S);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[1]), 0);
	assert_true(atomic_load(&world.vnic[1]->runtime->sessions) > 10);
	world.vnic[1]->max_sessions = 10;
	for (uint16_t port = 1; port <= 10; port++)
		assert_true(send_udp(1, "10.0.0.11", "10.0.0.12", port));
	assert_false(send_udp(1, "10.0.0.11", "10.0.0.12", 11));
	world_dropped(DROP_SESSION_QUOTA_VNIC);
	/* A worker that has nothing to do gives back when it is told. */
	bed_tick(&world.bed, clock_ns() + 800 * CLOCK_NS_PER_S);
	world.vnic[1]->max_sessions = 0;
	assert_true(send_udp(1, "10.0.0.11", "10.0.0.12", 12));
	assert_true(atomic_load(&world.vnic[1]->runtime->sessions) > 1);
	quota_return(&world.bed.dp.worker_states[0]->quota, world.vnic[1]->iface.id, world.vnic[1]->tenant->slot);
	assert_int_equal(atomic_load(&world.vnic[1]->runtime->sessions), 1);
	assert_int_equal(atomic_load(&world.vnic[1]->tenant->sessions), 1);
}

static void tenant_rate(void **unused)
{
	struct dp_tenant *tenant = world.vnic[1]->tenant;
	unsigned passed = 0, refused = 0;
	atomic_store(&tenant->max_session_rate, 80); /* a burst of 16 */
	for (uint16_t port = 1; port <= 200; port++)
		send_udp(1, "10.0.0.11", "10.0.0.12", port) ? passed++ : refused++;
	/* However slow the machine is, it cannot have been long enough for all. */
	assert_true(passed >= 16);
	assert_true(refused > 0);
	world_dropped_many(DROP_SESSION_RATE, refused);
	assert_int_equal(dp_tenant_sessions(&world.bed.dp, tenant), passed);
	assert_true(send_udp(4, "10.0.0.11", "10.0.0.12", 7));
	assert_true(send_udp(1, "10.0.0.11", "10.0.0.12", 1)); /* an existing flow */
}

/* Whether it is let through or not: what one guest may cost a worker is limited, and others do not notice. */
static void vnic_rate(void **unused)
{
	static const char *const nothing[] = { NULL };
	unsigned passed = 0, refused = 0;
	world.vnic[1]->max_session_rate = 50;
	for (uint16_t port = 1; port <= 200; port++)
		passed += send_udp(1, "10.0.0.11", "10.0.0.12", port);
	assert_in_range(passed, 50, 100);
	world_dropped_many(DROP_SESSION_RATE, 200 - passed);
	assert_int_equal(bed_sessions(&world.bed), passed);
	/* Flows that are known are not concerned, nor when policy is asked about them again. */
	bed_changed(&world.bed, world.blue);
	for (uint16_t port = 1; port <= 10; port++)
		assert_true(send_udp(1, "10.0.0.11", "10.0.0.12", port));
	for (uint16_t port = 1; port <= 200; port++)
		assert_true(send_udp(2, "10.0.0.12", "10.0.1.13", port));
	/* Refused packets count. */
	bed_rules(&world.bed, world.vnic[3], true, 1, nothing);
	world.vnic[3]->max_session_rate = 50;
	for (uint16_t port = 1; port <= 200; port++)
		assert_false(send_udp(3, "10.0.1.13", "10.0.0.12", 1000 + port));
	refused = (unsigned)bed_drops(&world.bed, DROP_EGRESS_DENIED);
	assert_in_range(refused, 50, 100);
	assert_int_equal(bed_drops(&world.bed, DROP_SESSION_RATE), 200 - passed + 200 - refused);
}

static void denied_costs_nothing(void **unused)
{
	static const char *const nothing[] = { NULL };
	world.vnic[1]->max_sessions = 1;
	bed_rules(&world.bed, world.vnic[2], false, 1, nothing);
	for (uint16_t port = 1; port <= 100; port++)
		assert_false(send_udp(1, "10.0.0.11", "10.0.0.12", port));
	world_dropped_many(DROP_INGRESS_DENIED, 100);
	assert_true(send_udp(1, "10.0.0.11", "10.0.1.13", 1));
}

/* Sessions of a vNIC that has gone are not credited to the next one with its number. */
static void numbers_are_used_again(void **unused)
{
	for (uint16_t port = 1; port <= 3; port++)
		assert_true(send_udp(2, "10.0.0.12", "10.0.0.11", port));
	struct dp_vnic_runtime *next = &(struct dp_vnic_runtime){ .incarnation = 2 };
	world.vnic[2]->runtime = next;
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[2]), 0);
	assert_true(send_udp(2, "10.0.0.12", "10.0.0.11", 9));
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[2]), 1);
	bed_tick(&world.bed, clock_ns() + 400 * CLOCK_NS_PER_S);
	assert_int_equal(bed_sessions(&world.bed), 0);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[2]), 0);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[1]), 0);
	assert_true(atomic_load(&next->sessions) >= 0);
}

static void fragments_are_charged(void **unused)
{
	world.vnic[1]->max_sessions = 1;
	world_send(1, &(struct frame_spec){ .src = "10.0.0.11",
					    .dst = "10.0.0.12",
					    .fragment = 0x2000,
					    .payload = 64,
					    .no_udp_checksum = true,
					    .id = 5 });
	world_dropped(DROP_SESSION_QUOTA_VNIC);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[1]), 1);
}

/* Two workers draw on one limit: never more in all, and nearly all can be used by either. */
static void workers_share_a_limit(void **unused)
{
	static struct quota quotas[2];
	struct dp *dp = &world.bed.dp;
	struct dp_verdict verdict = { .src_vnic = bed_iface(1), .dst_vnic = bed_iface(2), .tenant = 1 };
	struct session sessions[2] = { 0 };
	unsigned taken[2] = { 0 };
	dp->worker_count = 2;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(quota_init(&quotas[i], dp), 0);
	atomic_store(&world.vnic[1]->tenant->max_sessions, 1000);
	uint16_t flags;
	for (unsigned i = 0; i < 2000; i++)
		taken[i % 2] += quota_take(&quotas[i % 2], &verdict, T0, &flags) == DROP_NONE;
	assert_int_equal(taken[0] + taken[1], 1000);
	for (unsigned i = 0; i < 2; i++)
		sessions[i] =
			(struct session){ .vnic = { bed_iface(1), bed_iface(2) }, .tenant = 1, .policy_flags = flags };
	for (unsigned i = 0; i < taken[0]; i++)
		quota_give(&quotas[0], &sessions[0]);
	for (unsigned i = 0; i < taken[1]; i++)
		quota_give(&quotas[1], &sessions[1]);
	/* One holds back at most two batches while the other takes everything. */
	taken[0] = 0;
	for (unsigned i = 0; i < 2000; i++)
		taken[0] += quota_take(&quotas[0], &verdict, T0, &flags) == DROP_NONE;
	assert_in_range(taken[0], 1000 - 2 * 31, 1000);
	for (unsigned i = 0; i < 2; i++)
		quota_fini(&quotas[i]);
	dp->worker_count = 1;
}

/* Whatever happens, in whatever order: the counts are those of the sessions that exist. */
static void counts_stay_true(void **unused)
{
	static const char *const nothing[] = { NULL };
	static const char *const addresses[] = { NULL, "10.0.0.11", "10.0.0.12", "10.0.1.13" };
	uint64_t now = clock_ns();
	srand(1);
	atomic_store(&world.vnic[1]->tenant->max_sessions, 200);
	world.vnic[2]->max_sessions = 90;
	for (unsigned i = 0; i < 5000; i++) {
		unsigned from = 1 + (unsigned)rand() % 3, to = 1 + (unsigned)rand() % 3;
		if (from != to)
			send_udp(from, addresses[from], addresses[to], (uint16_t)(1 + rand() % 200));
		if (rand() % 500 == 0) {
			bed_rules(&world.bed, world.vnic[3], false, 1, nothing);
			world.vnic[3]->security_groups_on = rand() % 2;
			bed_changed(&world.bed, world.blue);
		}
		if (rand() % 700 == 0)
			bed_tick(&world.bed, now += 20 * CLOCK_NS_PER_S);
		if (i % 100)
			continue;
		assert_int_equal(dp_tenant_sessions(&world.bed.dp, world.vnic[1]->tenant), bed_sessions(&world.bed));
		int64_t ends = 0;
		for (unsigned vnic = 1; vnic <= 3; vnic++)
			ends += dp_vnic_sessions(&world.bed.dp, world.vnic[vnic]);
		assert_int_equal(ends, 2 * bed_sessions(&world.bed));
	}
	assert_true(bed_drops(&world.bed, DROP_SESSION_QUOTA_TENANT) > 0);
	assert_true(bed_drops(&world.bed, DROP_SESSION_QUOTA_VNIC) > 0);
	assert_true(bed_drops(&world.bed, DROP_INGRESS_DENIED) > 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bucket_refills_with_time),
		CASE(vnic_limit),
		CASE(tenant_limit),
		CASE(lower_limits),
		CASE(vnic_rate),
		CASE(tenant_rate),
		CASE(denied_costs_nothing),
		CASE(numbers_are_used_again),
		CASE(fragments_are_charged),
		CASE(workers_share_a_limit),
		CASE(counts_stay_true),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
