/* SPDX-License-Identifier: BSD-3-Clause */
/* The slowest bursts while a session table grows, and whose they are.
 *
 * usage: growth_bench KEY=VALUE…
 *   sessions=N   to grow to (33554432)      v6=0|1      huge=0|1   huge pages (1)      path=FILE   records in this file
 *   helper=0|1   another thread makes memory ready (1)
 *
 * Creates two million sessions per second, in bursts of 32, in a table that grows (grow-…) and before, as the measure
 * of what the machine does to such bursts, in one that keeps its size (still-…), while a process of its own on the
 * other cores gets as much memory from the kernel, at the same pace, as growth needs.
 *
 * A burst over 100 µs is looked into: whether its thread had a page fault, got memory itself because none was ready,
 * was switched away from, and whether its CPU time alone was over 100 µs (CLOCK_THREAD_CPUTIME_ID: neither other
 * threads' time nor time that the hypervisor reports as stolen). ours_over_100us are those of that CPU time with a page
 * fault or memory got. What is long without any of these ran the same instructions as a short one; gaps in a loop
 * that only reads the clock, between the bursts, tell how often the machine stands still. */
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bench_sessions.h"

enum { LONG_NS = 100000, RATE = 2000000 /* sessions per second */ };

struct helper {
	pthread_t thread;
	struct session_table *table;
	_Atomic bool stop;
};

/* The worker has a core, the last one, and everybody else the others: as dpud --cpus does it. */
static void choose_core(bool worker)
{
	static cpu_set_t allowed;
	static int last;
	cpu_set_t set;

	if (!last) {
		sched_getaffinity(0, sizeof(allowed), &allowed);
		for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
			last = CPU_ISSET(cpu, &allowed) ? cpu : last;
	}
	set = allowed;
	CPU_CLR(last, &set);
	if (worker || CPU_COUNT(&set) == 0) {
		CPU_ZERO(&set);
		CPU_SET(last, &set);
	}
	sched_setaffinity(0, sizeof(set), &set);
}

static void *help(void *arg)
{
	struct helper *helper = arg;

	choose_core(false);
	while (!helper->stop) {
		session_table_grow_ahead(helper->table);
		usleep(500);
	}
	return NULL;
}

/* What this thread has used and suffered so far. */
struct mark {
	uint64_t cpu_ns, taken;
	long faults, switches;
};

static struct mark mark(const struct session_table *table)
{
	struct rusage usage;
	struct timespec cpu;

	getrusage(RUSAGE_THREAD, &usage);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
	return (struct mark){
		.cpu_ns = cpu.tv_sec * UINT64_C(1000000000) + cpu.tv_nsec,
		.taken = session_table_taken(table),
		.faults = usage.ru_minflt + usage.ru_majflt,
		.switches = usage.ru_nivcsw + usage.ru_nvcsw,
	};
}

/* Bursts of one phase. */
struct phase {
	uint64_t hz, limit; /* cycles of a long burst */
	uint64_t *took;     /* cycles, by burst */
	uint64_t bursts, faults, taken, taking_bursts;
	struct {
		uint64_t all, ours, by_cpu, faulted, took_memory, switched, none;
	} over;
	uint64_t worst_cpu_ns, waits, stalls, longest_stall, steal_ticks, start;
};

/* Ticks that the hypervisor ran somebody else, of all cores. */
static uint64_t steal_ticks(void)
{
	uint64_t user, nice, system, idle, wait, irq, soft, steal = 0;
	FILE *file = fopen("/proc/stat", "r");

	if (!file)
		return 0;
	if (fscanf(file,
		   "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
		   &user, &nice, &system, &idle, &wait, &irq, &soft, &steal) != 8)
		steal = 0;
	fclose(file);
	return steal;
}

static struct phase phase_new(uint64_t bursts, uint64_t hz)
{
	struct phase phase = { .hz = hz,
			       .limit = hz / (1000000000 / LONG_NS),
			       .took = malloc(bursts * sizeof(*phase.took)) };

	if (!phase.took)
		exit(1);
	memset(phase.took, 0, bursts * sizeof(*phase.took));
	phase.steal_ticks = steal_ticks();
	phase.start = rte_rdtsc();
	return phase;
}

static void phase_add(struct phase *phase, uint64_t took, const struct mark *before, const struct mark *after)
{
	uint64_t cpu_ns = after->cpu_ns - before->cpu_ns, taken = after->taken - before->taken;
	long faults = after->faults - before->faults;
	bool switched = after->switches != before->switches;

	phase->faults += faults;
	phase->taken += taken;
	phase->taking_bursts += taken > 0;
	phase->took[phase->bursts++] = took;
	phase->worst_cpu_ns = cpu_ns > phase->worst_cpu_ns ? cpu_ns : phase->worst_cpu_ns;
	if (took <= phase->limit)
		return;
	phase->over.all++;
	phase->over.ours += cpu_ns > LONG_NS && (faults || taken);
	phase->over.by_cpu += cpu_ns > LONG_NS;
	phase->over.faulted += faults > 0;
	phase->over.took_memory += taken > 0;
	phase->over.switched += switched;
	phase->over.none += !faults && !taken && !switched;
}

/* Until `due`, looking all the time: gaps are the machine's. */
static void phase_wait(struct phase *phase, uint64_t due)
{
	uint64_t start = rte_rdtsc();

	for (uint64_t last = start, tsc; last < due; last = tsc) {
		tsc = rte_rdtsc();
		phase->stalls += tsc - last > phase->limit;
		phase->longest_stall = tsc - last > phase->longest_stall ? tsc - last : phase->longest_stall;
	}
	phase->waits += rte_rdtsc() - start;
}

static void phase_print(struct phase *phase, const char *id, const char *more)
{
	uint64_t sum = 0, rank = phase->bursts - 1 - phase->bursts / 100000;
	double us = 1e6 / phase->hz, seconds = (rte_rdtsc() - phase->start) / (double)phase->hz;

	for (uint64_t i = 0; i < phase->bursts; i++)
		sum += phase->took[i];
	qsort(phase->took, phase->bursts, sizeof(*phase->took), compare64);
	printf("{\"id\":\"%s\",\"unit\":\"us\",\"ours\":%.1f,\"p99999_us\":%.1f,\"median_us\":%.2f,\"cycles\":%.1f,"
	       "\"bursts\":%" PRIu64 ",\"seconds\":%.1f,\"page_faults\":%" PRIu64 ",\"pages_taken\":%" PRIu64
	       ",\"bursts_taking\":%" PRIu64 ",\"over_100us\":%" PRIu64 ",\"ours_over_100us\":%" PRIu64
	       ",\"over_by_cpu_time\":%" PRIu64 ",\"over_faulted\":%" PRIu64 ",\"over_took_memory\":%" PRIu64
	       ",\"over_switched\":%" PRIu64 ",\"over_none\":%" PRIu64
	       ",\"worst_cpu_us\":%.1f,\"burst_seconds\":%.3f,\"wait_seconds\":%.3f,"
	       "\"stalls_while_waiting\":%" PRIu64 ",\"longest_stall_us\":%.1f,\"steal_ms\":%" PRIu64 "%s}\n",
	       id, phase->took[phase->bursts - 1] * us, phase->took[rank] * us, phase->took[phase->bursts / 2] * us,
	       sum / (double)phase->bursts / BURST, phase->bursts, seconds, phase->faults, phase->taken,
	       phase->taking_bursts, phase->over.all, phase->over.ours, phase->over.by_cpu, phase->over.faulted,
	       phase->over.took_memory, phase->over.switched, phase->over.none, phase->worst_cpu_ns / 1e3,
	       sum / (double)phase->hz, phase->waits / (double)phase->hz, phase->stalls, phase->longest_stall * us,
	       (steal_ticks() - phase->steal_ticks) * 1000 / sysconf(_SC_CLK_TCK), more);
	fflush(stdout);
	free(phase->took);
}

/* A burst of new sessions, n the first flow: prefetched as the packet path does. */
static void insert_burst(struct phase *phase, struct session_table *table, uint64_t n, bool v6, struct session **ret)
{
	struct flow_key keys[BURST];
	uint32_t hashes[BURST];
	uint64_t seed = session_table_seed(table);

	for (unsigned i = 0; i < BURST; i++)
		keys[i] = flow(n + i, v6);
	struct mark before = mark(table);
	uint64_t start = rte_rdtsc_precise();
	for (unsigned i = 0; i < BURST; i++) {
		hashes[i] = flow_key_hash(&keys[i], seed);
		session_lookup_prefetch(table, hashes[i]);
	}
	for (unsigned i = 0; i < BURST; i++) {
		ret[i] = session_new(table, &keys[i], hashes[i], 1000);
		if (!ret[i]) {
			fprintf(stderr, "growth_bench: the table is full after %" PRIu64 "\n", n + i);
			exit(1);
		}
		session_publish(table, ret[i], TIMEOUT);
	}
	uint64_t took = rte_rdtsc_precise() - start;
	struct mark after = mark(table);
	phase_add(phase, took, &before, &after);
}

/* ---- the neighbour ----
 * A process of its own, on the cores of the helper, that holds as much memory as growth will need.
 *
 * While the worker fills the table that keeps its size, it gives memory back and gets as much again, at the pace of
 * growth: it shares the machine with the worker, and nothing else. While the other table grows, it gives its memory
 * back just ahead: a virtual machine may get every page from its host anew that has been free for a second or two,
 * which takes longer than all that is to be measured here. */
enum { NEIGHBOUR_AHEAD_BYTES = 128 << 20, NEIGHBOUR_STEP_BYTES = 2 << 20 };
enum neighbour_task { NEIGHBOUR_CHURNS = 'c', NEIGHBOUR_GIVES = 'g' };

struct neighbour {
	pid_t pid;
	int told, tells; /* pipes' ends */
};

/* Until told something else. */
static void neighbour_work(uint8_t *start, size_t bytes, size_t bytes_per_ms, enum neighbour_task task, int told)
{
	size_t done = 0, ahead = task == NEIGHBOUR_GIVES ? NEIGHBOUR_AHEAD_BYTES : 0;
	uint64_t began = rte_rdtsc(), per_ms = tsc_hz() / 1000;
	struct pollfd waits = { .fd = told, .events = POLLIN };
	const struct timespec half_ms = { .tv_nsec = 500000 };

	do {
		size_t due = (rte_rdtsc() - began) / per_ms * bytes_per_ms + ahead;

		for (; done < due && done + NEIGHBOUR_STEP_BYTES <= bytes; done += NEIGHBOUR_STEP_BYTES) {
			madvise(start + done, NEIGHBOUR_STEP_BYTES, MADV_DONTNEED);
			if (task == NEIGHBOUR_CHURNS)
				madvise(start + done, NEIGHBOUR_STEP_BYTES, MADV_POPULATE_WRITE);
		}
	} while (ppoll(&waits, 1, &half_ms, NULL) == 0);
}

static void neighbour_run(bool huge, size_t bytes, size_t bytes_per_ms, int told, int tells)
{
	char task = 0;
	uint8_t *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (start == MAP_FAILED)
		_exit(1);
	if (huge)
		madvise(start, bytes, MADV_HUGEPAGE);
	if (madvise(start, bytes, MADV_POPULATE_WRITE) || write(tells, &task, 1) != 1)
		_exit(1);
	while (read(told, &task, 1) == 1)
		neighbour_work(start, bytes, bytes_per_ms, task, told);
	_exit(0);
}

/* Made before there is a table, which would be copied on write. */
static struct neighbour neighbour_new(const struct plan *plan)
{
	size_t bytes_per_session = plan->v6 ? 280 : 216;
	int down[2], up[2];
	char ready;

	if (pipe(down) || pipe(up))
		exit(1);
	pid_t pid = fork();
	if (pid < 0)
		exit(1);
	if (pid == 0) {
		choose_core(false);
		close(down[1]);
		neighbour_run(plan->huge, plan->sessions * bytes_per_session, RATE / 1000 * bytes_per_session, down[0],
			      up[1]);
	}
	close(down[0]);
	close(up[1]);
	if (read(up[0], &ready, 1) != 1) {
		fprintf(stderr, "growth_bench: there is not enough memory\n");
		exit(1);
	}
	return (struct neighbour){ .pid = pid, .told = up[0], .tells = down[1] };
}

static void neighbour_tell(const struct neighbour *neighbour, enum neighbour_task task)
{
	char text = task;

	if (write(neighbour->tells, &text, 1) != 1)
		exit(1);
}

static void neighbour_free(struct neighbour *neighbour)
{
	close(neighbour->tells);
	close(neighbour->told);
	waitpid(neighbour->pid, NULL, 0);
}

/* ---- the phases ---- */

/* The same bursts at the same pace in a table that does not grow: what they make is removed again. */
static void bench_still(const struct plan *plan, uint64_t hz, const char *id)
{
	struct session *made[BURST];
	uint64_t bursts = plan->sessions / BURST, gap = hz / RATE * BURST;
	struct session_table *table = open_table(plan, 1 << 20);

	fill(table, UINT64_C(1) << 40, 1 << 19, plan->v6, 1000);
	struct phase phase = phase_new(bursts, hz);
	uint64_t due = rte_rdtsc();
	for (uint64_t n = 0; n < bursts; n++) {
		phase_wait(&phase, due);
		due = rte_rdtsc() + gap;
		insert_burst(&phase, table, n * BURST, plan->v6, made);
		for (unsigned i = 0; i < BURST; i++)
			session_remove(table, made[i]);
	}
	phase_print(&phase, id, "");
	close_table(plan, table);
}

/* Then the table keeps its new size: for each burst as many of the oldest sessions go before, and their memory is used
 * again. The same steps over the same memory as growth, but that nothing is new to the kernel. */
static void bench_full(const struct plan *plan, struct session_table *table, uint64_t hz, const char *id)
{
	uint64_t bursts = plan->sessions / BURST / 2, gap = hz / RATE * BURST, seed = session_table_seed(table);
	struct phase phase = phase_new(bursts, hz);
	struct session *made[BURST];
	uint64_t due = rte_rdtsc();

	for (uint64_t n = 0; n < bursts; n++) {
		for (unsigned i = 0; i < BURST; i++) {
			struct flow_key key = flow(n * BURST + i, plan->v6);
			unsigned direction;

			session_remove(table, session_find(table, &key, flow_key_hash(&key, seed), &direction));
		}
		phase_wait(&phase, due);
		due = rte_rdtsc() + gap;
		insert_burst(&phase, table, plan->sessions + n * BURST, plan->v6, made);
	}
	phase_print(&phase, id, "");
}

static struct session_table *bench_grow(const struct plan *plan, uint64_t hz, const char *id)
{
	uint64_t bursts = plan->sessions / BURST, gap = hz / RATE * BURST;
	struct session_table *table = open_table(plan, plan->sessions);
	struct helper helper = { .table = table };
	struct phase phase = phase_new(bursts, hz);
	struct session *made[BURST];
	char more[64];

	if (plan->helper && pthread_create(&helper.thread, NULL, help, &helper))
		exit(1);
	uint64_t due = rte_rdtsc();
	for (uint64_t n = 0; n < bursts; n++) {
		phase_wait(&phase, due);
		due = rte_rdtsc() + gap;
		insert_burst(&phase, table, n * BURST, plan->v6, made);
	}
	helper.stop = true;
	if (plan->helper)
		pthread_join(helper.thread, NULL);
	snprintf(more, sizeof(more), ",\"sessions\":%u,\"bytes_per_session\":%.1f", session_table_count(table),
		 session_table_bytes(table) / (double)plan->sessions);
	phase_print(&phase, id, more);
	return table;
}

int main(int argc, char **argv)
{
	struct plan plan = { .sessions = 1 << 25, .huge = true, .helper = true };
	uint64_t hz = tsc_hz();
	char id[64], suffix[32];

	for (int i = 1; i < argc; i++) {
		if (!plan_option(&plan, argv[i])) {
			fprintf(stderr, "growth_bench: unknown option: %s\n", argv[i]);
			return 1;
		}
	}
	struct neighbour neighbour = neighbour_new(&plan);
	choose_core(true);
	snprintf(suffix, sizeof(suffix), "%s%s%s", plan.v6 ? "v6" : "v4", plan.path ? "-file" : "",
		 plan.huge ? "" : "-nohuge");
	snprintf(id, sizeof(id), "still-%s", suffix);
	neighbour_tell(&neighbour, NEIGHBOUR_CHURNS);
	bench_still(&plan, hz, id);
	snprintf(id, sizeof(id), "grow-%um-%s", plan.sessions >> 20, suffix);
	neighbour_tell(&neighbour, NEIGHBOUR_GIVES);
	struct session_table *table = bench_grow(&plan, hz, id);
	neighbour_free(&neighbour);
	snprintf(id, sizeof(id), "full-%um-%s", plan.sessions >> 20, suffix);
	bench_full(&plan, table, hz, id);
	close_table(&plan, table);
	return 0;
}
