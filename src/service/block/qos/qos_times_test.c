// SPDX-License-Identifier: BSD-3-Clause
/* How often the clock is looked at for the times of requests, and that they are right all the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/cycles.h"
#include "device/block/block_queue.h"
#include "service/block/qos/qos.h"

enum { BLOCK = 4096, MANY = 16 };
static const uint64_t US = CLOCK_NS_PER_US;

/* A device that keeps what it is given, a filter on it, and a clock that a test moves on. */
struct rig {
	struct dpu_block_device below; /* first */
	struct block_queue kept;
	struct qos_scheduler *scheduler;
	struct qos_tenant *tenant;
	struct dpu_block_device *device;
	struct dpu_block_request requests[MANY];
	uint64_t now_ns, medium_ns; /* medium_ns: of this the medium has worked */
	uint32_t turn;
	unsigned looks, done;
};

static struct rig rig;
static uint8_t memory[BLOCK];
static const struct iovec iov = { memory, BLOCK };

static uint64_t now_ns(void *ctx)
{
	return ((struct rig *)ctx)->now_ns;
}

static uint64_t cycles(uint64_t ns)
{
	return (uint64_t)(((unsigned __int128)ns << 32) / cycles_scale());
}

static uint64_t look(void *ctx)
{
	struct rig *here = ctx;

	here->looks++;
	return cycles(here->now_ns);
}

static void keep(struct dpu_block_device *device, struct dpu_block_request *request)
{
	block_queue_add(&((struct rig *)device)->kept, request);
}

static const struct dpu_block_ops keeping = { .submit = keep };

static int set_up(void **state)
{
	struct qos_scheduler_options options = { .now_ns = now_ns, .cycles = look, .ctx = &rig, .turn = &rig.turn };

	rig = (struct rig){ .now_ns = CLOCK_NS_PER_S };
	rig.below = (struct dpu_block_device){ .ops = &keeping, .bytes = 1 << 20, .sector = 512, .max_bytes = 1 << 20 };
	block_queue_init(&rig.kept);
	assert_int_equal(qos_scheduler_new(&options, &rig.scheduler), 0);
	assert_int_equal(qos_tenant_new(&rig.tenant), 0);
	assert_int_equal(qos_open(rig.scheduler, rig.tenant, &rig.below, &rig.device), 0);
	return 0;
}

static int tear_down(void **state)
{
	rig.device->ops->close(rig.device, NULL, NULL);
	qos_scheduler_free(rig.scheduler);
	qos_tenant_unref(rig.tenant);
	return 0;
}

static void ended(struct dpu_block_request *request)
{
	rig.done++;
}

static void submit(struct dpu_block_request *request)
{
	*request = (struct dpu_block_request){
		.op = DPU_BLOCK_READ, .segments = 1, .length = BLOCK, .iov = &iov, .done = ended
	};
	rig.device->ops->submit(rig.device, request);
}

/* The oldest that the device has. */
static void finish(void)
{
	struct dpu_block_request *request = block_queue_take(&rig.kept);

	assert_non_null(request);
	if (rig.medium_ns) {
		request->trace->end = cycles(rig.now_ns);
		request->trace->begin = cycles(rig.now_ns - rig.medium_ns);
	}
	dpu_block_complete(request, DPU_BLOCK_OK);
}

static struct histogram times(enum qos_stage stage)
{
	struct histogram histogram;

	qos_latency(rig.device, QOS_READS, stage, &histogram);
	return histogram;
}

static void assert_about(uint64_t ns, uint64_t wanted)
{
	assert_in_range(ns, wanted - wanted / 8, wanted + wanted / 7);
}

static void assert_quantile(enum qos_stage stage, uint32_t millionths, uint64_t ns)
{
	struct histogram histogram = times(stage);

	assert_about(histogram_quantile(&histogram, millionths), ns);
}

/* Some of one turn share a look; those of two turns never do. */
static void test_turns(void **state)
{
	for (unsigned i = 0; i < 8; i++)
		submit(&rig.requests[i]);
	assert_int_equal(rig.looks, 2);
	rig.turn++;
	rig.now_ns += 100 * US;
	for (unsigned i = 0; i < 8; i++)
		finish();
	assert_int_equal(rig.looks, 4);
	assert_quantile(QOS_STAGE_WHOLE, 1, 100 * US);
	assert_quantile(QOS_STAGE_WHOLE, 1000000, 100 * US);
	for (unsigned i = 0; i < 4; i++) {
		submit(&rig.requests[i]);
		rig.turn++;
	}
	assert_int_equal(rig.looks, 8);
	while (rig.kept.first)
		finish();
}

/* A queue that does all at once, one after the other: each request has its own time, and none ends before it begins. */
static void test_both_ways(void **state)
{
	for (unsigned i = 0; i < MANY; i++) {
		submit(&rig.requests[i]);
		rig.now_ns += 10 * US;
		finish();
		rig.now_ns += 1000 * US; /* of the same turn */
	}
	assert_int_equal(rig.looks, 2 * MANY);
	assert_quantile(QOS_STAGE_WHOLE, 1, 10 * US);
	assert_quantile(QOS_STAGE_WHOLE, 1000000, 10 * US);
}

/* Each stage has every request, wherever its times are kept. */
static void test_stages(void **state)
{
	struct qos_policy cap = { .cap = 1000, .burst_ns = 1 };

	submit(&rig.requests[0]); /* no medium */
	rig.now_ns += 50 * US;
	finish();
	rig.medium_ns = 80 * US;
	submit(&rig.requests[0]); /* nothing but */
	rig.now_ns += 80 * US;
	finish();
	submit(&rig.requests[0]); /* both */
	rig.now_ns += 200 * US;
	finish();
	qos_set(rig.device, &cap);
	submit(&rig.requests[0]);
	submit(&rig.requests[1]); /* waits */
	rig.now_ns += 80 * US;
	finish();
	assert_null(rig.kept.first);
	rig.now_ns += 1000 * US;
	rig.turn++;
	qos_scheduler_poll(rig.scheduler);
	rig.now_ns += 80 * US;
	finish();
	assert_int_equal(rig.done, 5);
	for (unsigned i = 0; i < QOS_STAGES; i++) {
		struct histogram histogram = times(i);
		assert_int_equal(histogram_count(&histogram), 5);
	}
	struct histogram whole = times(QOS_STAGE_WHOLE), wait = times(QOS_STAGE_WAIT), map = times(QOS_STAGE_MAP);
	struct histogram medium = times(QOS_STAGE_MEDIUM);
	assert_in_range(whole.sum_ns, 1569 * US, 1571 * US);
	assert_in_range(wait.sum_ns, 1079 * US, 1081 * US);
	assert_in_range(map.sum_ns, 169 * US, 171 * US);
	assert_in_range(medium.sum_ns, 319 * US, 321 * US);
	assert_quantile(QOS_STAGE_WAIT, 1000000, 1080 * US);
	assert_true(histogram_quantile(&wait, 800000) < US);
	assert_quantile(QOS_STAGE_MEDIUM, 500000, 80 * US);
	assert_quantile(QOS_STAGE_MAP, 1000000, 120 * US);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_turns, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_both_ways, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stages, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
