/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of workers: life, closures, sources, sleep and wake-up, stages. None needs DPDK's environment. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "operating/test_rig.h"
#include "operating/worker_stages.h"

/* A source that counts, with what it is asked to answer. */
struct probe {
	struct worker_source source;
	atomic_uint todo, polls, ticks, arms, disarms, worked;
	atomic_int arm_status;
	uint64_t tick_again_ns;
};

static unsigned probe_poll(struct worker_source *source, struct worker *worker)
{
	struct probe *probe = (struct probe *)source;
	unsigned found = atomic_exchange(&probe->todo, 0);
	eventfd_t value;

	atomic_fetch_add(&probe->polls, 1);
	atomic_fetch_add(&probe->worked, found);
	if (source->fd >= 0 && found)
		eventfd_read(source->fd, &value);
	return found;
}

static int probe_arm(struct worker_source *source)
{
	struct probe *probe = (struct probe *)source;

	atomic_fetch_add(&probe->arms, 1);
	int status = atomic_load(&probe->arm_status);
	return status ? status : atomic_load(&probe->todo) > 0;
}

static void probe_disarm(struct worker_source *source)
{
	atomic_fetch_add(&((struct probe *)source)->disarms, 1);
}

static uint64_t probe_tick(struct worker_source *source, struct worker *worker, uint64_t now_ns)
{
	struct probe *probe = (struct probe *)source;

	atomic_fetch_add(&probe->ticks, 1);
	return probe->tick_again_ns;
}

static void probe_init(struct probe *probe, int fd)
{
	memset(probe, 0, sizeof(*probe));
	probe->source = (struct worker_source){
		.poll = probe_poll, .arm = probe_arm, .disarm = probe_disarm, .fd = fd, .name = "probe"
	};
}

/* ---- life ---- */

static void wrong_options(void **state)
{
	static const struct {
		struct workers_options options;
		const char *path;
	} cases[] = {
		{ { .count = 0 }, "count" },
		{ { .count = WORKERS_MAX + 1 }, "count" },
		{ { .count = 1, .cpus = "" }, "cpus" },
		{ { .count = 1, .cpus = "0-" }, "cpus" },
		{ { .count = 1, .cpus = "1000" }, "cpus" },
		{ { .count = 2, .cpus = "0" }, "cpus" },
	};
	struct loop *loop;

	assert_int_equal(loop_new(&loop), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct workers_options options = cases[i].options;
		struct workers *workers = NULL;
		struct dpu_error err = { 0 };
		options.loop = loop;
		assert_true(workers_new(&options, &workers, &err) < 0);
		assert_null(workers);
		assert_int_equal(err.code, DPU_E_INVALID);
		assert_string_equal(err.path, cases[i].path);
	}
	loop_free(loop);
}

static void note_cpu(void *arg, struct worker *worker)
{
	cpu_set_t set;

	sched_getaffinity(0, sizeof(set), &set);
	*(int *)arg = CPU_COUNT(&set) == 1 ? sched_getcpu() : -1;
}

static void pinned(void **state)
{
	struct workers_options options = { .count = 1, .policy = WORKER_BALANCED };
	struct rig rig;
	cpu_set_t set;
	char list[16];
	int last = -1, cpu = -2;
	atomic_bool removed = false;
	struct dpu_error err;

	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set))
			last = i;
	snprintf(list, sizeof(list), "%d", last);
	options.cpus = list;
	assert_int_equal(loop_new(&rig.loop), 0);
	options.loop = rig.loop;
	assert_int_equal(workers_new(&options, &rig.workers, &err), 0);
	assert_int_equal(worker_call(workers_get(rig.workers, 0), note_cpu, &cpu, NULL), 0);
	workers_barrier(rig.workers, set_flag, &removed);
	/* The closure has run before the worker's next quiescent state, at the latest when the workers end. */
	WAIT_FOR(&rig, atomic_load(&removed));
	rig_down(&rig);
	assert_int_equal(cpu, last);
}

/* ---- closures ---- */

struct step {
	unsigned number, *ran;
	unsigned *done;
	unsigned worker;
	bool in_order;
};

static void step_run(void *arg, struct worker *worker)
{
	struct step *step = arg;

	step->in_order = *step->ran == step->number;
	(*step->ran)++;
	step->worker = worker_index(worker);
}

static void step_done(void *arg)
{
	struct step *step = arg;

	step->in_order = step->in_order && *step->done == step->number;
	(*step->done)++;
}

static void closures_in_order(void **state)
{
	enum { STEPS = 1000 };
	static struct step steps[2][STEPS];
	unsigned ran[2] = { 0 }, done[2] = { 0 };
	struct rig rig;

	rig_up(&rig, 2, WORKER_POWER_SAVE);
	for (unsigned i = 0; i < STEPS; i++)
		for (unsigned w = 0; w < 2; w++) {
			steps[w][i] = (struct step){ .number = i, .ran = &ran[w], .done = &done[w] };
			assert_int_equal(worker_call(workers_get(rig.workers, w), step_run, &steps[w][i], step_done),
					 0);
		}
	WAIT_FOR(&rig, done[0] == STEPS && done[1] == STEPS);
	for (unsigned i = 0; i < STEPS; i++)
		for (unsigned w = 0; w < 2; w++) {
			assert_true(steps[w][i].in_order);
			assert_int_equal(steps[w][i].worker, w);
		}
	rig_down(&rig);
}

/* What is still under way when workers are freed is run and answered. */
static void free_with_closures_pending(void **state)
{
	enum { STEPS = 100 };
	struct step steps[STEPS];
	unsigned ran = 0, done = 0;
	struct rig rig;
	atomic_bool barrier = false;

	rig_up(&rig, 1, WORKER_BALANCED);
	for (unsigned i = 0; i < STEPS; i++) {
		steps[i] = (struct step){ .number = i, .ran = &ran, .done = &done };
		assert_int_equal(worker_call(workers_get(rig.workers, 0), step_run, &steps[i], step_done), 0);
	}
	workers_barrier(rig.workers, set_flag, &barrier);
	rig_down(&rig);
	assert_int_equal(ran, STEPS);
	assert_int_equal(done, STEPS);
	assert_true(atomic_load(&barrier));
}

static void nothing(void *arg, struct worker *worker)
{
}

static void free_workers(void *arg)
{
	struct rig *rig = arg;

	workers_free(rig->workers);
	rig->workers = NULL;
}

static void free_from_callbacks(void **state)
{
	struct rig rig;

	rig_up(&rig, 2, WORKER_BALANCED);
	for (int i = 0; i < 3; i++)
		assert_int_equal(worker_call(workers_get(rig.workers, 1), nothing, NULL, NULL), 0);
	assert_int_equal(worker_call(workers_get(rig.workers, 1), nothing, &rig, free_workers), 0);
	WAIT_FOR(&rig, !rig.workers);
	loop_free(rig.loop);

	rig_up(&rig, 2, WORKER_BALANCED);
	workers_barrier(rig.workers, free_workers, &rig);
	WAIT_FOR(&rig, !rig.workers);
	loop_free(rig.loop);
}

/* ---- sources ---- */

static void polled_and_removed(void **state)
{
	struct rig rig;
	struct probe probes[40];

	rig_up(&rig, 1, WORKER_LATENCY);
	for (unsigned i = 0; i < 40; i++) {
		probe_init(&probes[i], -1);
		assert_int_equal(worker_add_source(workers_get(rig.workers, 0), &probes[i].source), 0);
	}
	for (unsigned i = 0; i < 40; i++) {
		atomic_store(&probes[i].todo, 3);
		WAIT_FOR(&rig, atomic_load(&probes[i].worked) == 3);
	}
	assert_int_equal(atomic_load(&probes[0].arms), 0); /* this policy never sleeps */
	assert_int_equal(stats_of(&rig, 0).sleeps, 0);
	assert_int_equal(stats_of(&rig, 0).work, 120);
	assert_true(stats_of(&rig, 0).busy_cycles > 0);
	for (unsigned i = 0; i < 40; i += 2)
		remove_and_wait(&rig, 0, &probes[i].source);
	unsigned polls = atomic_load(&probes[0].polls), still = atomic_load(&probes[1].polls);
	run_for(&rig, 5 * CLOCK_NS_PER_MS);
	assert_int_equal(atomic_load(&probes[0].polls), polls);
	assert_true(atomic_load(&probes[1].polls) > still);
	for (unsigned i = 1; i < 40; i += 2)
		remove_and_wait(&rig, 0, &probes[i].source);
	rig_down(&rig);
}

static void refuses_bad_descriptor(void **state)
{
	struct rig rig;
	struct probe probe;

	rig_up(&rig, 1, WORKER_BALANCED);
	probe_init(&probe, 999);
	assert_int_equal(worker_add_source(workers_get(rig.workers, 0), &probe.source), -EBADF);
	rig_down(&rig);
}

/* Asleep within milliseconds, and then neither polled nor awake. */
static void sleeps_when_idle(void **state)
{
	static const enum worker_policy sleeping[] = { WORKER_BALANCED, WORKER_POWER_SAVE };

	for (unsigned p = 0; p < 2; p++) {
		struct rig rig;
		struct probe probes[2];
		int fd = eventfd(0, EFD_NONBLOCK);

		rig_up(&rig, 1, sleeping[p]);
		probe_init(&probes[0], -1);
		probe_init(&probes[1], fd);
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(worker_add_source(workers_get(rig.workers, 0), &probes[i].source), 0);
		WAIT_FOR(&rig, atomic_load(&probes[0].arms) > 0 && atomic_load(&probes[1].arms) > 0);
		run_for(&rig, 20 * CLOCK_NS_PER_MS);
		uint64_t rounds = stats_of(&rig, 0).rounds;
		run_for(&rig, 100 * CLOCK_NS_PER_MS);
		assert_true(stats_of(&rig, 0).rounds - rounds <= 2);

		atomic_store(&probes[0].todo, 1);
		worker_wake(workers_get(rig.workers, 0));
		WAIT_FOR(&rig, atomic_load(&probes[0].worked) == 1);
		atomic_store(&probes[1].todo, 1);
		assert_int_equal(eventfd_write(fd, 1), 0);
		WAIT_FOR(&rig, atomic_load(&probes[1].worked) == 1);
		assert_true(atomic_load(&probes[1].disarms) > 0);
		for (unsigned i = 0; i < 2; i++)
			remove_and_wait(&rig, 0, &probes[i].source);
		for (unsigned i = 0; i < 2; i++) /* every arming that succeeded was undone */
			assert_true(atomic_load(&probes[i].disarms) <= atomic_load(&probes[i].arms));
		rig_down(&rig);
		close(fd);
	}
}

/* A source that cannot be armed is polled by timer: some hundred to a thousand times a second, not more. */
static void polls_by_timer(void **state)
{
	struct rig rig;
	struct probe probe;

	rig_up(&rig, 1, WORKER_BALANCED);
	probe_init(&probe, -1);
	atomic_store(&probe.arm_status, -ENOTSUP);
	assert_int_equal(worker_add_source(workers_get(rig.workers, 0), &probe.source), 0);
	WAIT_FOR(&rig, stats_of(&rig, 0).sleeps > 20);
	unsigned polls = atomic_load(&probe.polls);
	uint64_t start = clock_ns();
	run_for(&rig, 200 * CLOCK_NS_PER_MS);
	double rate = (double)(atomic_load(&probe.polls) - polls) / ((double)(clock_ns() - start) / 1e9);
	assert_true(rate < 2500);
	WAIT_FOR(&rig, atomic_load(&probe.polls) > polls + 10);
	atomic_store(&probe.todo, 1); /* found without anyone waking the worker */
	WAIT_FOR(&rig, atomic_load(&probe.worked) == 1);
	remove_and_wait(&rig, 0, &probe.source);
	rig_down(&rig);
}

static unsigned always_busy(struct worker_source *source, struct worker *worker)
{
	return 1;
}

/* Beside a busy source, an idle one with a descriptor is not polled, and still served. */
static void parks_idle_sources(void **state)
{
	struct rig rig;
	struct probe probe;
	struct worker_source busy = { .poll = always_busy, .fd = -1, .name = "busy" };
	int fd = eventfd(0, EFD_NONBLOCK);

	rig_up(&rig, 1, WORKER_BALANCED);
	probe_init(&probe, fd);
	assert_int_equal(worker_add_source(workers_get(rig.workers, 0), &busy), 0);
	assert_int_equal(worker_add_source(workers_get(rig.workers, 0), &probe.source), 0);
	WAIT_FOR(&rig, atomic_load(&probe.arms) > 0);
	run_for(&rig, 2 * CLOCK_NS_PER_MS);
	for (unsigned i = 1; i <= 3; i++) {
		WAIT_FOR(&rig, atomic_load(&probe.arms) > atomic_load(&probe.disarms));
		unsigned polls = atomic_load(&probe.polls);
		run_for(&rig, 5 * CLOCK_NS_PER_MS);
		assert_int_equal(atomic_load(&probe.polls), polls);
		atomic_store(&probe.todo, 1);
		assert_int_equal(eventfd_write(fd, 1), 0);
		WAIT_FOR(&rig, atomic_load(&probe.worked) == i);
	}
	remove_and_wait(&rig, 0, &probe.source);
	close(fd);
	run_for(&rig, CLOCK_NS_PER_MS);
	remove_and_wait(&rig, 0, &busy);
	rig_down(&rig);
}

/* A descriptor that is always readable and never yields work does not keep the worker awake. */
static void survives_false_alarms(void **state)
{
	struct rig rig;
	struct probe probe;
	int fd = eventfd(1, EFD_NONBLOCK);

	rig_up(&rig, 1, WORKER_BALANCED);
	probe_init(&probe, fd);
	assert_int_equal(worker_add_source(workers_get(rig.workers, 0), &probe.source), 0);
	WAIT_FOR(&rig, atomic_load(&probe.arms) > 10);
	run_for(&rig, 50 * CLOCK_NS_PER_MS);
	uint64_t rounds = stats_of(&rig, 0).rounds, start = clock_ns();
	run_for(&rig, 200 * CLOCK_NS_PER_MS);
	double rate = (double)(stats_of(&rig, 0).rounds - rounds) / ((double)(clock_ns() - start) / 1e9);
	assert_true(rate < 3000);
	atomic_store(&probe.todo, 1);
	WAIT_FOR(&rig, atomic_load(&probe.worked) == 1);
	remove_and_wait(&rig, 0, &probe.source);
	rig_down(&rig);
	close(fd);
}

static void ticks(void **state)
{
	struct rig rig;
	struct probe probe;
	struct worker_source busy = { .poll = always_busy, .fd = -1, .name = "busy" };

	rig_up(&rig, 1, WORKER_BALANCED);
	probe_init(&probe, -1);
	probe.source.poll = NULL;
	probe.source.tick = probe_tick;
	probe.tick_again_ns = 5 * CLOCK_NS_PER_MS;
	assert_int_equal(worker_add_source(workers_get(rig.workers, 0), &probe.source), 0);
	WAIT_FOR(&rig, atomic_load(&probe.ticks) > 0);
	unsigned before = atomic_load(&probe.ticks);
	uint64_t start = clock_ns();
	run_for(&rig, 100 * CLOCK_NS_PER_MS);
	unsigned idle = atomic_load(&probe.ticks) - before;
	/* Every 5 ms, as asked. */
	assert_in_range(idle, 2, (clock_ns() - start) / (5 * CLOCK_NS_PER_MS) + 2);
	assert_int_equal(worker_add_source(workers_get(rig.workers, 0), &busy), 0);
	before = atomic_load(&probe.ticks);
	start = clock_ns();
	run_for(&rig, 100 * CLOCK_NS_PER_MS);
	unsigned most = (unsigned)((clock_ns() - start) / CLOCK_NS_PER_MS) + 2;
	assert_in_range(atomic_load(&probe.ticks) - before, idle + 1, most); /* every 1 ms under load */
	remove_and_wait(&rig, 0, &busy);
	remove_and_wait(&rig, 0, &probe.source);
	rig_down(&rig);
}

/* Gives another source something to do, once, when the worker has long been idle. */
struct giver {
	struct worker_source source;
	struct probe *to;
	unsigned ticks;
};

static uint64_t give_in_tick(struct worker_source *source, struct worker *worker, uint64_t now_ns)
{
	struct giver *giver = (struct giver *)source;
	unsigned tick = giver->ticks++;

	if (tick == 1)
		atomic_store(&giver->to->todo, 1);
	return tick == 0 ? 20 * CLOCK_NS_PER_MS : UINT64_MAX;
}

/* What a tick makes is done before the worker sleeps again, which nothing would end. */
static void works_after_ticks(void **state)
{
	struct rig rig;
	struct probe probe;
	struct giver giver = { .source = { .tick = give_in_tick, .fd = -1, .name = "giver" }, .to = &probe };

	rig_up(&rig, 1, WORKER_BALANCED);
	probe_init(&probe, -1);
	probe.source.arm = NULL;
	probe.source.disarm = NULL;
	assert_int_equal(worker_add_source(workers_get(rig.workers, 0), &probe.source), 0);
	assert_int_equal(worker_add_source(workers_get(rig.workers, 0), &giver.source), 0);
	WAIT_FOR(&rig, atomic_load(&probe.worked) == 1);
	remove_and_wait(&rig, 0, &giver.source);
	remove_and_wait(&rig, 0, &probe.source);
	rig_down(&rig);
}

/* ---- sleep and wake-up raced against each other ---- */

static void no_wakeup_lost(void **state)
{
	struct rig rig;
	struct probe probe;
	uint64_t deadline = clock_ns() + PATIENCE_NS;

	rig_up(&rig, 1, WORKER_POWER_SAVE); /* falls asleep after every item */
	probe_init(&probe, -1);
	assert_int_equal(worker_add_source(workers_get(rig.workers, 0), &probe.source), 0);
	uint64_t end = clock_ns() + 500 * CLOCK_NS_PER_MS;
	unsigned sent = 0;
	while (clock_ns() < end || sent < 100) {
		atomic_fetch_add_explicit(&probe.todo, 1, memory_order_release);
		worker_wake(workers_get(rig.workers, 0));
		sent++;
		while (atomic_load(&probe.worked) != sent) {
			if (clock_ns() > deadline)
				fail_msg("item %u is never seen", sent);
			sched_yield();
		}
	}
	remove_and_wait(&rig, 0, &probe.source);
	assert_true(stats_of(&rig, 0).wakeups > 0);
	rig_down(&rig);
}

/* ---- stages ---- */

static unsigned sum_up(struct worker_source *source, struct worker *worker)
{
	struct probe *probe = (struct probe *)source;
	enum cycle_stage before = stage_enter(STAGE_CRC);
	uint64_t start = cycles_now();

	while (cycles_now() - start < 2000)
		;
	stage_enter(before);
	return atomic_load(&probe->todo); /* none: the round is idle, whatever it costs */
}

static void stages(void **state)
{
	struct rig rig;
	struct probe probe;
	uint64_t cycles[STAGES];
	struct worker_stats stats;
	atomic_bool removed = false;

	rig_up(&rig, 1, WORKER_LATENCY);
	struct worker *worker = workers_get(rig.workers, 0);
	probe_init(&probe, -1);
	probe.source.poll = sum_up;
	assert_int_equal(worker_add_source(worker, &probe.source), 0);
	do
		worker_stats(worker, &stats);
	while (stats.rounds < 10 * WORKER_STAGE_ROUNDS);
	worker_stages(worker, cycles);
	assert_int_equal(cycles[STAGE_CRC], 0);
	atomic_store(&probe.todo, 1);
	do
		worker_stages(worker, cycles);
	while (cycles[STAGE_CRC] < 10 * 2000);
	assert_int_equal(cycles[STAGE_DEVICE], 0);
	worker_stats(worker, &stats);
	assert_true(stats.busy_cycles > cycles[STAGE_CRC] + cycles[STAGE_OTHER]); /* not every round is measured */
	assert_int_equal(worker_remove_source(worker, &probe.source, set_flag, (void *)&removed), 0);
	WAIT_FOR(&rig, atomic_load(&removed));
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_options),
		cmocka_unit_test(pinned),
		cmocka_unit_test(closures_in_order),
		cmocka_unit_test(free_with_closures_pending),
		cmocka_unit_test(free_from_callbacks),
		cmocka_unit_test(polled_and_removed),
		cmocka_unit_test(refuses_bad_descriptor),
		cmocka_unit_test(sleeps_when_idle),
		cmocka_unit_test(polls_by_timer),
		cmocka_unit_test(parks_idle_sources),
		cmocka_unit_test(survives_false_alarms),
		cmocka_unit_test(ticks),
		cmocka_unit_test(no_wakeup_lost),

		cmocka_unit_test(stages),
		cmocka_unit_test(works_after_ticks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
