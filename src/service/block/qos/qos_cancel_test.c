// SPDX-License-Identifier: BSD-3-Clause
/* Tests of requests that nobody waits for any more: they leave the queue, and nothing else changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include "base/clock.h"
#include "service/block/qos/qos_sim.h"

static const uint64_t US = CLOCK_NS_PER_US, MS = CLOCK_NS_PER_MS;

enum { COUNT = 64, NOT_DONE = 0xee };

static struct world {
	struct sim *sim;
	struct qos_tenant *tenant;
	struct sim_volume *volume;
	struct dpu_block_request request[COUNT];
	unsigned done, gone;
	uint32_t tag; /* of the last that is to reach the medium: it fails the test for any but the next */
	bool close;   /* in the next done */
} world;

static void request_done(struct dpu_block_request *request)
{
	world.done++;
	world.gone += request->status == DPU_BLOCK_GONE;
	if (world.close) {
		world.close = false;
		world.volume->device->ops->close(world.volume->device, NULL, NULL);
		world.sim->volumes = 0;
	}
}

static void submit(unsigned i, bool stays)
{
	world.request[i] = (struct dpu_block_request){
		.op = DPU_BLOCK_FLUSH,
		.tag = stays ? ++world.tag : 0,
		.done = request_done,
		.status = NOT_DONE,
	};
	world.volume->device->ops->submit(world.volume->device, &world.request[i]);
}

static void cancel(unsigned i)
{
	world.volume->device->ops->cancel(world.volume->device, &world.request[i]);
}

/* COUNT requests on a volume with a cap of 10 a second: the first is served at once, and of the others one in `every`
 * stays; 0: none. */
static void begin(unsigned every)
{
	const struct qos_policy policy = { .cap = 10, .burst_ns = 1 };

	world = (struct world){ .sim = sim_new(1, 10 * US, 0), .tenant = sim_tenant(NULL) };
	world.volume = sim_volume(&world.sim->scheduler[0], world.tenant, &policy);
	for (unsigned i = 0; i < COUNT; i++)
		submit(i, i == 0 || (every && i % every == 3 % every));
	sim_run(world.sim, MS);
	assert_int_equal(world.done, 1);
}

static void end(void)
{
	sim_free(world.sim);
	qos_tenant_unref(world.tenant);
}

static unsigned waiting(void)
{
	struct qos_stats stats;

	qos_stats(world.volume->device, &stats);
	return (unsigned)stats.waiting;
}

/* Without having been asked for they are ended within 25 ms, from wherever they stand; the others keep their order and
 * their times, and those that come later stand behind them. */
static void test_leave(void **state)
{
	begin(8);
	for (unsigned i = 1; i < COUNT; i++)
		if (i % 8 != 3)
			cancel(i);
	assert_int_equal(world.done, 1); /* not from within */
	sim_run(world.sim, 25 * MS);
	assert_int_equal(world.gone, COUNT - 1 - COUNT / 8);
	assert_int_equal(waiting(), COUNT / 8);
	submit(0, true);
	for (unsigned i = 3; i < COUNT; i += 8) {
		assert_int_equal(world.request[i].status, NOT_DONE);
		sim_run(world.sim, i == 3 ? 75 * MS : 100 * MS);
		assert_int_equal(world.request[i].status, DPU_BLOCK_OK);
	}
	sim_run(world.sim, 100 * MS);
	assert_int_equal(world.request[0].status, DPU_BLOCK_OK);
	assert_int_equal(world.done, COUNT + 1);
	assert_int_equal(world.gone, COUNT - 1 - COUNT / 8);
	end();
}

/* Twice, too late, in a hurry, and all of them: each is done once. What was never carried out is not owed. */
static void test_odd(void **state)
{
	begin(0);
	for (unsigned i = 1; i < COUNT; i++) {
		cancel(i);
		cancel(i);
	}
	sim_run(world.sim, 25 * MS);
	assert_int_equal(world.gone, COUNT - 1);
	submit(0, true);
	submit(1, true);
	sim_run(world.sim, 80 * MS);
	assert_int_equal(world.request[0].status, DPU_BLOCK_OK); /* its time had come */
	world.volume->ios.rate = 0;
	qos_hurry(world.volume->device, NULL, true);
	assert_int_equal(world.volume->cancels, 0);
	cancel(1); /* at the medium by now, which is told */
	assert_int_equal(world.volume->cancels, 1);
	assert_ptr_equal(world.volume->cancelled, world.sim->medium.working[0]);
	assert_int_equal(world.volume->cancelled->tag, world.request[1].tag);
	qos_hurry(world.volume->device, NULL, false);
	sim_run(world.sim, 50 * MS);
	assert_int_equal(world.request[1].status, DPU_BLOCK_OK);
	assert_int_equal(world.done, COUNT + 2);
	end();
}

/* Its turn comes before it is looked for: what is below is told, where it may come to wait again. */
static void test_sent_meanwhile(void **state)
{
	begin(1);
	world.volume->ios.rate = 0;
	for (unsigned i = 1; i < COUNT; i++)
		cancel(i);
	assert_int_equal(world.volume->cancels, 0);
	qos_hurry(world.volume->device, NULL, true);
	assert_int_equal(world.volume->cancels, COUNT - 1);
	qos_hurry(world.volume->device, NULL, false);
	sim_run(world.sim, 50 * MS);
	assert_int_equal(world.done, COUNT);
	assert_int_equal(world.gone, 0);
	end();
}

/* Who is told so may close the volume. */
static void test_close(void **state)
{
	begin(0);
	for (unsigned i = 1; i < COUNT; i += 2)
		cancel(i);
	world.close = true;
	sim_run(world.sim, 25 * MS);
	assert_int_equal(world.done, COUNT);
	assert_int_equal(world.gone, COUNT - 1);
	free(world.volume);
	end();
	/* With cancelled ones that were not looked for yet. */
	begin(0);
	cancel(5);
	world.close = true;
	request_done(&world.request[0]);
	assert_int_equal(world.gone, COUNT - 1);
	sim_run(world.sim, 25 * MS);
	assert_int_equal(world.done, COUNT + 1);
	free(world.volume);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leave),
		cmocka_unit_test(test_odd),
		cmocka_unit_test(test_sent_meanwhile),
		cmocka_unit_test(test_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
