// SPDX-License-Identifier: BSD-3-Clause
/* Caps, guarantees and shares on a simulated medium. Every simulated volume also fails the test when more than its caps
 * allow arrives at the medium, or out of order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include "base/clock.h"
#include "service/block/crc_keeper.h"
#include "service/block/qos/qos_sim.h"

static const uint64_t US = CLOCK_NS_PER_US, MS = CLOCK_NS_PER_MS, S = CLOCK_NS_PER_S;

static void assert_near(double value, double wanted, double part)
{
	if (value < wanted * (1 - part) || value > wanted * (1 + part))
		fail_msg("%g is not within %g %% of %g", value, part * 100, wanted);
}

static uint64_t p99(const struct sim_volume *volume)
{
	return histogram_quantile(&volume->load.latency, 990000);
}

/* Of what it read, by its own histograms. */
static double median(const struct sim_volume *volume, enum qos_stage stage)
{
	struct histogram histogram;

	qos_latency(volume->device, QOS_READS, stage, &histogram);
	return (double)histogram_quantile(&histogram, 500000);
}

/* Nobody has a policy: everything passes at once, with its times taken. */
static void test_nothing_set(void **state)
{
	struct sim *sim = sim_new(4, 100 * US, 0);
	struct qos_tenant *tenant = sim_tenant(NULL);
	struct sim_volume *volume = sim_volume(&sim->scheduler[0], tenant, NULL);
	struct qos_stats stats;

	sim_load(volume, 16, 4096, 0);
	sim_run(sim, S);
	qos_stats(volume->device, &stats);
	assert_near(sim_rate(volume, S), 40000, 0.01);
	assert_int_equal(stats.requests, stats.passed);
	assert_int_equal(stats.waiting, 0);
	assert_near(median(volume, QOS_STAGE_MEDIUM), 100 * US, 0.13);
	assert_near(median(volume, QOS_STAGE_WHOLE), 400 * US, 0.13);
	/* What stands in line at the medium is neither a wait for a turn nor work of the medium. */
	assert_near(median(volume, QOS_STAGE_MAP), 300 * US, 0.13);
	assert_true(median(volume, QOS_STAGE_WAIT) < 1000);
	struct histogram writes;
	qos_latency(volume->device, QOS_WRITES, QOS_STAGE_WHOLE, &writes);
	assert_int_equal(histogram_count(&writes), 0);
	sim_free(sim);
	qos_tenant_unref(tenant);
}

static void test_cap(void **state)
{
	static const struct {
		struct qos_policy policy;
		uint32_t length;
		double ios;
	} cases[] = {
		{ { .cap = 1 }, 4096, 1 },
		{ { .cap = 1, .burst_ns = 1 }, 1 << 20, 1 },
		{ { .cap = 7 }, 4096, 7 },
		{ { .cap = 5000 }, 4096, 5000 },
		{ { .cap = 250000, .burst_ns = MS }, 512, 250000 },
		{ { .cap_bytes = 1 << 20 }, 4096, 256 },
		{ { .cap_bytes = 100 << 20 }, 1 << 20, 100 },
		{ { .cap_bytes = QOS_BANDWIDTH_MIN }, 4096, 0.25 },
		{ { .cap = 1000, .cap_bytes = 1 << 20 }, 4096, 256 },
		{ { .cap = 100, .cap_bytes = 1 << 20 }, 4096, 100 },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sim *sim = sim_new(SIM_SERVERS, 20 * US, 100);
		struct qos_tenant *tenant = sim_tenant(NULL);
		struct sim_volume *volume = sim_volume(&sim->scheduler[0], tenant, &cases[i].policy);
		uint64_t time = cases[i].ios < 100 ? 100 * S : 2 * S;
		sim_load(volume, 32, cases[i].length, 0);
		sim_run(sim, time / 5); /* the burst, and the first that may be in debt for long */
		sim_reset(sim);
		sim_run(sim, time);
		assert_near(sim_rate(volume, time), cases[i].ios, 0.03);
		sim_free(sim);
		qos_tenant_unref(tenant);
	}
}

/* What was saved up may go at once, and no more. */
static void test_burst(void **state)
{
	struct sim *sim = sim_new(SIM_SERVERS, 10 * US, 0);
	struct qos_tenant *tenant = sim_tenant(NULL);
	struct qos_policy policy = { .cap = 1000, .burst_ns = 50 * MS };
	struct sim_volume *volume = sim_volume(&sim->scheduler[0], tenant, &policy);

	sim_load(volume, 200, 4096, 0);
	sim_run(sim, MS);
	assert_int_equal(volume->arrived, 51); /* 50 that were saved and one */
	sim_run(sim, 100 * MS);
	assert_near((double)volume->arrived, 151, 0.01);
	volume->load.depth = 0;
	sim_run(sim, S);
	sim_reset(sim);
	volume->load.depth = 200;
	sim_run(sim, MS);
	assert_int_equal(volume->arrived, 51);
	sim_free(sim);
	qos_tenant_unref(tenant);
}

/* The tenant's cap is one for all of its volumes, shared by weight. */
static void test_tenant_cap(void **state)
{
	struct sim *sim = sim_new(SIM_SERVERS, 10 * US, 0);
	struct qos_policy policy = { .cap = 9000 }, heavy = { .weight = 200 }, small = { .cap = 1000 };
	struct qos_tenant *tenant = sim_tenant(&policy);
	struct sim_volume *volume[3];
	struct sim_limit limit;

	sim_limit(&limit, 9000, &policy);
	volume[0] = sim_volume(&sim->scheduler[0], tenant, &heavy);
	volume[1] = sim_volume(&sim->scheduler[0], tenant, NULL);
	volume[2] = sim_volume(&sim->scheduler[0], tenant, &small);
	for (unsigned i = 0; i < 3; i++) {
		volume[i]->tenant_ios = &limit;
		sim_load(volume[i], 32, 4096, 0);
	}
	sim_run(sim, S);
	sim_reset(sim);
	sim_run(sim, 2 * S);
	double rate[3];
	for (unsigned i = 0; i < 3; i++)
		rate[i] = sim_rate(volume[i], 2 * S);
	assert_near(rate[0] + rate[1] + rate[2], 9000, 0.01);
	assert_near(rate[2], 1000, 0.02);
	assert_near(rate[0], 2 * rate[1], 0.05);
	sim_free(sim);
	qos_tenant_unref(tenant);
}

/* By bytes, so that large requests get no more than small ones, and not less. */
static void test_weights(void **state)
{
	struct sim *sim = sim_new(8, 50 * US, 1000);
	struct qos_policy one = { .weight = 100 }, three = { .weight = 300 };
	struct qos_tenant *a = sim_tenant(&one), *b = sim_tenant(&three);
	struct sim_volume *small = sim_volume(&sim->scheduler[0], a, NULL);
	struct sim_volume *large = sim_volume(&sim->scheduler[0], b, NULL);

	sim_load(small, 64, 16 << 10, 0);
	sim_load(large, 64, 256 << 10, 0);
	sim_run(sim, 2 * S);
	sim_reset(sim);
	sim_run(sim, 4 * S);
	assert_near((double)large->load.bytes / (double)small->load.bytes, 3 * 256.0 / 260 * 20 / 16, 0.1);
	assert_true((double)sim->medium.busy_ns > 0.9 * 8 * 4 * (double)S);
	/* Alone, each may have everything. */
	small->load.depth = 0;
	sim_run(sim, 2 * S);
	sim_reset(sim);
	sim_run(sim, S);
	assert_true((double)sim->medium.busy_ns > 0.98 * 8 * (double)S);
	sim_free(sim);
	qos_tenant_unref(a);
	qos_tenant_unref(b);
}

/* A medium of `servers`; a tenant that is guaranteed a third of what it can do and asks for nearly that much, at even
 * times; first alone, then beside one with 256 requests of the given kind. */
static void neighbour(unsigned servers, uint64_t service_ns, unsigned jitter, uint32_t length, unsigned writes)
{
	struct sim *sim = sim_new(servers, service_ns, 100);
	uint64_t capacity = servers * S / (service_ns + 409);
	struct qos_policy promise = { .guarantee = capacity / 3 };
	struct qos_tenant *quiet = sim_tenant(&promise), *noisy = sim_tenant(NULL);
	struct sim_volume *victim = sim_volume(&sim->scheduler[0], quiet, NULL);
	struct sim_volume *other = sim_volume(&sim->scheduler[0], noisy, NULL);

	sim->medium.jitter = jitter;
	sim_load(victim, 64, 4096, 3 * S / capacity * 21 / 20);
	sim_run(sim, 2 * S);
	sim_reset(sim);
	sim_run(sim, 4 * S);
	double rate = sim_rate(victim, 4 * S);
	uint64_t tail = p99(victim);
	other->load.write_percent = writes;
	sim_load(other, 256, length, 0);
	sim_run(sim, 4 * S);
	sim_reset(sim);
	sim_run(sim, 8 * S);
	assert_near(sim_rate(victim, 8 * S), rate, 0.05);
	if (p99(victim) >= 2 * tail)
		fail_msg("%u servers: p99 %lu us, alone %lu us, window %u", servers, p99(victim) / US, tail / US,
			 qos_window(sim->scheduler[0].qos));
	/* The rest is not thrown away. */
	if ((double)sim->medium.busy_ns < 0.85 * servers * 8 * (double)S)
		fail_msg("%u servers: busy %.0f %%, window %u", servers,
			 100 * (double)sim->medium.busy_ns / (8.0 * servers * (double)S),
			 qos_window(sim->scheduler[0].qos));
	sim_free(sim);
	qos_tenant_unref(quiet);
	qos_tenant_unref(noisy);
}

static void test_neighbour(void **state)
{
	neighbour(4, 100 * US, 30, 4096, 0);
	neighbour(8, 80 * US, 50, 4096, 50);
	neighbour(32, 200 * US, 50, 4096, 100);
	neighbour(64, 500 * US, 20, 4096, 0);
	neighbour(16, 100 * US, 50, 64 << 10, 50);
}

/* Without what it is promised, the same tenant is drowned: that is what the guarantee is for. */
static void test_no_guarantee(void **state)
{
	struct sim *sim = sim_new(4, 100 * US, 0);
	struct qos_tenant *quiet = sim_tenant(NULL), *noisy = sim_tenant(NULL);
	struct sim_volume *victim = sim_volume(&sim->scheduler[0], quiet, NULL);
	struct sim_volume *other = sim_volume(&sim->scheduler[0], noisy, NULL);

	sim_load(victim, 4, 4096, 75 * US);
	sim_run(sim, S);
	uint64_t tail = p99(victim);
	sim_load(other, 256, 4096, 0);
	sim_reset(sim);
	sim_run(sim, S);
	assert_true(p99(victim) > 10 * tail);
	sim_free(sim);
	qos_tenant_unref(quiet);
	qos_tenant_unref(noisy);
}

/* Guarantees of both levels at once, of I/Os and of bytes, all of them asked for without pause on a medium that can
 * just do it. */
static void test_guarantees(void **state)
{
	struct sim *sim = sim_new(10, 90 * US, 2441); /* 4 KiB: 100 us; 64 KiB: 250 us */
	struct qos_policy of_tenant = { .guarantee = 30000 }, of_volume = { .guarantee = 20000 },
			  of_bytes = { .guarantee_bytes = 1000 << 20 };
	struct qos_tenant *a = sim_tenant(&of_tenant), *b = sim_tenant(NULL), *c = sim_tenant(NULL);
	struct sim_volume *first = sim_volume(&sim->scheduler[0], a, &of_volume);
	struct sim_volume *second = sim_volume(&sim->scheduler[0], a, NULL);
	struct sim_volume *bytes = sim_volume(&sim->scheduler[0], b, &of_bytes);
	struct sim_volume *greedy = sim_volume(&sim->scheduler[0], c, NULL);

	sim_load(first, 64, 4096, 0);
	sim_load(second, 64, 4096, 0);
	sim_load(bytes, 64, 64 << 10, 0);
	sim_load(greedy, 256, 4096, 0);
	sim_run(sim, 2 * S);
	sim_reset(sim);
	sim_run(sim, 4 * S);
	assert_true(sim_rate(first, 4 * S) >= 20000 * 0.98);
	assert_true(sim_rate(first, 4 * S) + sim_rate(second, 4 * S) >= 30000 * 0.98);
	assert_true((double)bytes->load.bytes / 4 >= 0.98 * (1000 << 20));
	assert_true(sim_rate(greedy, 4 * S) > 0);
	assert_true((double)sim->medium.busy_ns > 0.9 * 10 * 4 * (double)S);
	sim_free(sim);
	qos_tenant_unref(a);
	qos_tenant_unref(b);
	qos_tenant_unref(c);
}

/* More is promised than there is: nobody loses all of it. */
static void test_overcommitted(void **state)
{
	struct sim *sim = sim_new(1, 100 * US, 0);
	struct qos_policy one = { .guarantee = 10000 }, three = { .guarantee = 30000 };
	struct qos_tenant *a = sim_tenant(&one), *b = sim_tenant(&three);
	struct sim_volume *little = sim_volume(&sim->scheduler[0], a, NULL);
	struct sim_volume *much = sim_volume(&sim->scheduler[0], b, NULL);

	sim_load(much, 64, 4096, 0);
	sim_run(sim, S);
	sim_load(little, 64, 4096, 0);
	sim_run(sim, S);
	sim_reset(sim);
	sim_run(sim, S);
	assert_near(sim_rate(little, S) + sim_rate(much, S), 10000, 0.02);
	assert_true(sim_rate(little, S) > 2400 && sim_rate(much, S) > 4900);
	sim_free(sim);
	qos_tenant_unref(a);
	qos_tenant_unref(b);
}

/* Policies come, change and go under load. */
static void test_change(void **state)
{
	struct sim *sim = sim_new(8, 100 * US, 0);
	struct qos_tenant *tenant = sim_tenant(NULL);
	struct sim_volume *volume = sim_volume(&sim->scheduler[0], tenant, NULL);
	static const uint64_t caps[] = { 0, 1000, 10, 20000, 0 };
	static const double rates[] = { 80000, 1000, 10, 20000, 80000 };

	sim_load(volume, 32, 4096, 0);
	for (unsigned level = 0; level < 2; level++) {
		for (unsigned i = 0; i < 5; i++) {
			struct qos_policy policy = { .cap = caps[i], .burst_ns = 10 * MS };
			if (level == 0)
				qos_set(volume->device, &policy);
			else
				qos_tenant_set(tenant, &policy, sim->now_ns);
			sim_run(sim, S);
			sim_reset(sim);
			sim_run(sim, 2 * S);
			assert_near(sim_rate(volume, 2 * S), rates[i], 0.06);
		}
	}
	sim_free(sim);
	qos_tenant_unref(tenant);
}

struct single {
	struct dpu_block_request request; /* first */
	unsigned order, *count;
	uint8_t status;
};

static void single_done(struct dpu_block_request *request)
{
	struct single *single = (struct single *)request;

	single->order = ++*single->count;
	single->status = request->status;
}

/* Flushes and discards count, and keep their place. */
static void test_other_requests(void **state)
{
	struct sim *sim = sim_new(1, 10 * US, 0);
	struct qos_tenant *tenant = sim_tenant(NULL);
	struct qos_policy policy = { .cap = 10, .cap_bytes = 8192, .burst_ns = 1 };
	struct sim_volume *volume = sim_volume(&sim->scheduler[0], tenant, &policy);
	static const struct {
		uint8_t op;
		uint64_t length;
	} cases[] = {
		{ DPU_BLOCK_FLUSH, 0 }, { DPU_BLOCK_DISCARD, UINT64_C(3) << 20 }, /* 12 KiB: a second and a half */
		{ DPU_BLOCK_FLUSH, 0 }, { DPU_BLOCK_WRITE_ZEROES, 4096 },         { DPU_BLOCK_FLUSH, 0 },
	};
	static const unsigned done_after_ms[] = { 1, 110, 1610, 1710, 2210 };
	struct single single[5];
	unsigned count = 0;

	for (unsigned i = 0; i < 5; i++) {
		single[i] = (struct single){ .count = &count };
		single[i].request = (struct dpu_block_request){
			.op = cases[i].op, .length = cases[i].length, .tag = i + 1, .done = single_done
		};
		volume->device->ops->submit(volume->device, &single[i].request);
	}
	for (unsigned i = 0, now = 0; i < 5; now = done_after_ms[i++]) {
		if (done_after_ms[i] > now + 20)
			sim_run(sim, (done_after_ms[i] - now - 15) * MS);
		assert_int_equal(count, i);
		sim_run(sim, done_after_ms[i] > now + 20 ? 15 * MS : (done_after_ms[i] - now) * MS);
		assert_int_equal(count, i + 1);
		assert_int_equal(single[i].order, i + 1);
		assert_int_equal(single[i].status, DPU_BLOCK_OK);
	}
	sim_free(sim);
	qos_tenant_unref(tenant);
}

static void count_done(void *arg)
{
	++*(unsigned *)arg;
}

/* What waits is answered, what is under way waited for. */
static void test_close(void **state)
{
	struct sim *sim = sim_new(1, MS, 0);
	struct qos_tenant *tenant = sim_tenant(NULL);
	struct qos_policy policy = { .cap = 1, .burst_ns = 1 };
	struct sim_volume *volume = sim_volume(&sim->scheduler[0], tenant, &policy);
	struct single single[3];
	unsigned count = 0, closed = 0;

	for (unsigned i = 0; i < 3; i++) {
		single[i] = (struct single){ .count = &count };
		single[i].request =
			(struct dpu_block_request){ .op = DPU_BLOCK_FLUSH, .tag = i + 1, .done = single_done };
		volume->device->ops->submit(volume->device, &single[i].request);
	}
	volume->device->ops->close(volume->device, count_done, &closed);
	assert_int_equal(count, 2);
	assert_int_equal(single[1].status, DPU_BLOCK_GONE);
	assert_int_equal(single[2].status, DPU_BLOCK_GONE);
	assert_int_equal(closed, 0);
	sim->volumes = 0;
	sim_run(sim, 2 * MS);
	assert_int_equal(count, 3);
	assert_int_equal(single[0].status, DPU_BLOCK_OK);
	assert_int_equal(closed, 1);
	free(volume);
	sim_free(sim);
	qos_tenant_unref(tenant);
}

/* The volume is to go: nobody waits for caps. */
static void test_drain(void **state)
{
	struct sim *sim = sim_new(1, MS, 0);
	struct qos_policy policy = { .cap = 1, .burst_ns = 1 };
	struct qos_tenant *tenant = sim_tenant(&policy);
	struct sim_volume *volume = sim_volume(&sim->scheduler[0], tenant, &policy);

	volume->ios.rate = 0;
	sim_load(volume, 100, 4096, 0);
	sim_run(sim, 10 * MS);
	assert_int_equal(volume->arrived, 1);
	qos_drain(volume->device);
	assert_int_equal(volume->arrived, 101);
	sim_run(sim, S);
	assert_true(volume->arrived > 900);
	sim_free(sim);
	qos_tenant_unref(tenant);
}

/* The slowest ones are found, with where their time went, and forgotten after a minute. */
static void test_slowest(void **state)
{
	struct sim *sim = sim_new(1, 100 * US, 0);
	struct qos_tenant *tenant = sim_tenant(NULL);
	struct qos_policy policy = { .cap = 1000, .burst_ns = 1 };
	struct sim_volume *volume = sim_volume(&sim->scheduler[0], tenant, &policy);
	struct qos_slow slow[QOS_SLOWEST];

	assert_int_equal(qos_slowest(volume->device, slow), 0);
	sim_load(volume, 1, 4096, 5 * MS);
	sim_run(sim, S);
	sim->medium.service_ns = 20 * MS;
	sim_run(sim, 30 * MS);
	sim->medium.service_ns = 100 * US;
	sim_run(sim, S);
	assert_int_equal(qos_slowest(volume->device, slow), QOS_SLOWEST);
	assert_near((double)slow[0].ns[QOS_STAGE_MEDIUM], 20e6, 0.01);
	assert_near((double)slow[0].ns[QOS_STAGE_WHOLE], 20e6, 0.1);
	assert_true(slow[3].ns[QOS_STAGE_WHOLE] < 2 * MS);
	sim_run(sim, 70 * S);
	assert_true(qos_slowest(volume->device, slow) > 0);
	assert_true(slow[0].ns[QOS_STAGE_WHOLE] < 2 * MS);
	sim_free(sim);
	qos_tenant_unref(tenant);
}

/* A cap that goes down under load holds from then on, and is no stop. */
static void test_lower(void **state)
{
	static const struct {
		struct qos_policy before, after;
		double rate;
	} cases[] = {
		{ { .cap = 10000, .burst_ns = 100 * MS }, { .cap = 10, .burst_ns = 100 * MS }, 10 },
		{ { .cap_bytes = 1 << 30, .burst_ns = 100 * MS }, { .cap_bytes = 409600, .burst_ns = MS }, 100 },
		{ { .cap = 100, .burst_ns = 100 * S }, { .cap = 100, .burst_ns = MS }, 100 },
		{ { .cap = 10, .burst_ns = 100 * MS }, { .cap = 10000, .burst_ns = 100 * MS }, 10000 },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sim *sim = sim_new(16, 10 * US, 0);
		struct qos_tenant *tenant = sim_tenant(&(struct qos_policy){ 0 });
		struct sim_volume *volume = sim_volume(&sim->scheduler[0], tenant, &cases[i].before);
		volume->ios.rate = volume->bytes.rate = 0; /* they are of one policy */
		sim_load(volume, 64, 4096, 0);
		sim_run(sim, 2 * S);
		qos_set(volume->device, &cases[i].after);
		sim_run(sim, 100 * MS);
		sim_reset(sim);
		sim_run(sim, 10 * S);
		assert_near((double)volume->arrived, cases[i].rate * 10, 0.15);
		sim_free(sim);
		qos_tenant_unref(tenant);
	}
}

/* Who is in a hurry goes past his cap, and is the slower for it afterwards; a debt is of requests, not of time. */
static void test_hurry(void **state)
{
	struct qos_policy policy = { .cap = 10, .burst_ns = MS };
	struct sim *sim = sim_new(4, 100 * US, 0);
	struct qos_tenant *tenant = sim_tenant(&(struct qos_policy){ .cap = 20, .burst_ns = MS });
	struct sim_volume *volume = sim_volume(&sim->scheduler[0], tenant, &policy);
	struct sim_volume *other = sim_volume(&sim->scheduler[0], tenant, NULL);
	struct qos_stats stats;

	sim_load(volume, 100, 4096, 0);
	sim_run(sim, S);
	assert_in_range(volume->arrived, 10, 12);
	volume->ios.rate = 0; /* it is not watched any more */
	volume->load.depth = 0;
	qos_hurry(volume->device, NULL, true);
	qos_hurry(volume->device, NULL, false);
	qos_stats(volume->device, &stats);
	assert_int_equal(stats.waiting, 0);
	sim_run(sim, 10 * MS);
	assert_int_equal(volume->load.under_way, 0);
	/* About 100 at 10 a second; the tenant's others wait for half as long. */
	sim_reset(sim);
	sim_load(volume, 1, 4096, 0);
	sim_load(other, 1, 4096, 0);
	sim_run(sim, 4 * S);
	assert_int_equal(volume->arrived + other->arrived, 0);
	sim_run(sim, 5 * S);
	assert_int_equal(volume->arrived, 0);
	assert_in_range(other->arrived, 60, 110);
	sim_run(sim, 3 * S);
	assert_in_range(volume->arrived, 10, 25);
	sim_load(volume, 100, 4096, 0);
	sim_run(sim, MS);
	volume->load.depth = 0;
	qos_hurry(volume->device, NULL, true);
	qos_hurry(volume->device, NULL, false);
	sim_run(sim, 10 * MS);
	policy.cap = 1000;
	qos_set(volume->device, &policy);
	qos_tenant_set(tenant, &(struct qos_policy){ .cap = 100000 }, sim->now_ns);
	sim_run(sim, 200 * MS);
	sim_reset(sim);
	sim_load(volume, 8, 4096, 0);
	sim_run(sim, S);
	assert_near(sim_rate(volume, S), 1000, 0.05);
	sim_free(sim);
	qos_tenant_unref(tenant);
}

/* ---- integrity ---- */

struct crc_path {
	struct crc_keeper keeper; /* first */
	struct dpu_block_device *device;
	struct qos_scheduler *scheduler;
	uint64_t now_ns;
	bool finished;
};

static uint64_t path_now(void *ctx)
{
	return ((struct crc_path *)ctx)->now_ns;
}

static struct crc_path *path;

static void path_done(struct dpu_block_request *request)
{
	(void)request;
	path->finished = true;
}

static void path_go(void *ctx, struct dpu_block_request *request)
{
	path = ctx;
	path->finished = false;
	request->done = path_done;
	path->device->ops->submit(path->device, request);
	for (unsigned round = 0; round < 10000 && !path->finished; round++) {
		path->now_ns += MS;
		qos_scheduler_poll(path->scheduler);
		path->keeper.device.ops->poll(&path->keeper.device);
	}
	assert_true(path->finished);
}

/* At once, and after a turn in the queue. */
static void test_crcs(void **state)
{
	static const struct qos_policy policies[] = { { 0 }, { .cap = 1, .burst_ns = 1 } };

	for (unsigned i = 0; i < 2; i++) {
		struct crc_path here = { .now_ns = S };
		struct qos_scheduler_options options = { .now_ns = path_now, .cycles = path_now, .ctx = &here };
		struct qos_tenant *tenant = sim_tenant(NULL);
		struct qos_stats stats;

		crc_keeper_init(&here.keeper);
		assert_int_equal(qos_scheduler_new(&options, &here.scheduler), 0);
		assert_int_equal(qos_open(here.scheduler, tenant, &here.keeper.device, &here.device), 0);
		qos_set(here.device, &policies[i]);
		crc_keeper_check(&here.keeper, here.device, path_go, &here);
		qos_stats(here.device, &stats);
		assert_int_equal(stats.passed, i == 0 ? stats.requests : 1);
		here.device->ops->close(here.device, NULL, NULL);
		qos_scheduler_free(here.scheduler);
		qos_tenant_unref(tenant);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_set),    cmocka_unit_test(test_cap),
		cmocka_unit_test(test_burst),          cmocka_unit_test(test_tenant_cap),
		cmocka_unit_test(test_weights),        cmocka_unit_test(test_neighbour),
		cmocka_unit_test(test_no_guarantee),   cmocka_unit_test(test_guarantees),
		cmocka_unit_test(test_overcommitted),  cmocka_unit_test(test_change),
		cmocka_unit_test(test_other_requests), cmocka_unit_test(test_close),
		cmocka_unit_test(test_lower),          cmocka_unit_test(test_drain),
		cmocka_unit_test(test_slowest),        cmocka_unit_test(test_hurry),
		cmocka_unit_test(test_crcs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
