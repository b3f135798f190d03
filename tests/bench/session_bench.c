/* SPDX-License-Identifier: BSD-3-Clause */
/* What session tables cost, in TSC cycles: lookups of random bursts, creation and ageing at a steady number of
 * sessions, the slowest burst while a table grows.
 *
 * usage: session_bench [lookup|churn|grow|adopt]… KEY=VALUE…   (default: lookup churn)
 *   sessions=N   of churn, adopt (1000000) and grow (33554432)      v6=0|1
 *   huge=0|1     huge pages (1)                                 path=FILE   records in this file, else anonymous
 *   helper=0|1   a second thread makes memory ready (1)
 * grow creates two million sessions per second in a table that grows (grow-…) and before, as the measure of the
 * machine's own noise, in one that does not (still-…): ours is the worst burst of 32 in which the kernel did not run
 * another thread on this core, stalls are gaps of over 100 µs seen while it did nothing but wait.
 *
 * One JSON object per line. lookup: hash, three lookup stages and the counters of a hit; churn: a failed lookup,
 * creation, and expiry of another session. Bursts in which the kernel took the core away are counted apart. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <rte_cycles.h>
#include "device/packet/session_table_inline.h"

enum { BURST = SESSION_LOOKUP_BURST, TIMEOUT = 30 * SESSION_TICKS_PER_SECOND };

struct plan {
	uint32_t sessions;
	bool v6, huge, helper;
	const char *path;
};

struct helper {
	pthread_t thread;
	struct session_table *table;
	_Atomic bool stop;
};

static uint64_t random_state = 88172645463325252;

static uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static struct flow_key flow(uint64_t n, bool v6)
{
	struct flow_key key = { 0 };

	if (v6) {
		key.v6.src[0] = key.v6.dst[0] = 0xfd;
		key.v6.dst[15] = 1;
		memcpy(&key.v6.src[8], &n, sizeof(n));
	} else {
		key.v4.src = rte_cpu_to_be_32(0x0a000000 + (n & 0xffff));
		key.v4.dst = rte_cpu_to_be_32(0x0a800000 + (n >> 32));
	}
	key.src_port = rte_cpu_to_be_16(n >> 16);
	key.dst_port = rte_cpu_to_be_16(443);
	key.vpc = 3;
	key.flags = v6 ? FLOW_KEY_F_V6 : 0;
	key.proto = 17;
	return key;
}

static struct session_table *open_table(const struct plan *plan, uint32_t max)
{
	struct session_table_options options = {
		.path = plan->path,
		.huge_pages = plan->huge,
		.v6 = plan->v6,
		.max_sessions = max,
		.seed = UINT64_C(0x9e3779b97f4a7c15),
		.now = 1000,
	};
	struct session_table *table;
	struct dpu_error err;

	if (plan->path)
		unlink(plan->path);
	if (session_table_open(&options, &table, NULL, &err)) {
		fprintf(stderr, "session_bench: %s: %s\n", err.path, err.message);
		exit(1);
	}
	return table;
}

static void close_table(const struct plan *plan, struct session_table *table)
{
	session_table_close(table);
	if (plan->path)
		unlink(plan->path);
}

static bool insert(struct session_table *table, const struct flow_key *key, uint32_t hash, session_tick_t now)
{
	struct session *session = session_new(table, key, hash, now);

	if (!session)
		return false;
	session->dir[0].epoch = session->dir[1].epoch = 1;
	session_publish(table, session, TIMEOUT);
	return true;
}

static void fill(struct session_table *table, uint64_t first, uint32_t count, bool v6, session_tick_t now)
{
	for (uint64_t n = first; n < first + count; n++) {
		struct flow_key key = flow(n, v6);

		if (n % 4096 == 0)
			session_table_grow_ahead(table);
		if (!insert(table, &key, flow_key_hash(&key, session_table_seed(table)), now)) {
			fprintf(stderr, "session_bench: the table is full after %" PRIu64 "\n", n - first);
			exit(1);
		}
	}
}

static int compare64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* ---- lookup ---- */

/* One burst as the packet path does it; returns the cycles. */
static __attribute__((noinline)) uint64_t lookup_burst(struct session_table *table, const struct flow_key *keys,
						       uint64_t seed)
{
	struct session *sessions[BURST];
	uint32_t hashes[BURST];
	unsigned directions[BURST];
	uint64_t start = rte_rdtsc_precise();

	for (unsigned i = 0; i < BURST; i++) {
		hashes[i] = flow_key_hash_direction(&keys[i], seed, &directions[i]);
		session_lookup_prefetch(table, hashes[i]);
	}
	for (unsigned i = 0; i < BURST; i++)
		sessions[i] = session_lookup_candidate(table, hashes[i], &directions[i]);
	for (unsigned i = 0; i < BURST; i++) {
		struct session *session =
			session_lookup_finish(table, sessions[i], &keys[i], hashes[i], &directions[i]);
		struct session_dir *dir = &session->dir[directions[i]];

		dir->last_seen = 1001;
		dir->packets++;
		dir->bytes += 64;
	}
	return rte_rdtsc_precise() - start;
}

static void bench_lookup(const struct plan *plan)
{
	enum { WARM = 20000, ROUNDS = 60000 };
	static const uint32_t sizes[] = { 1, 10000, 1000000, 10000000 };
	uint64_t *cycles = malloc(ROUNDS * sizeof(*cycles));

	for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct session_table *table = open_table(plan, sizes[s]);
		uint64_t seed = session_table_seed(table), sum = 0;

		fill(table, 0, sizes[s], plan->v6, 1000);
		unsigned warm = sizes[s] / BURST > WARM ? sizes[s] / BURST : WARM;
		for (unsigned round = 0; round < warm + ROUNDS; round++) {
			struct flow_key keys[BURST];

			for (unsigned i = 0; i < BURST; i++) {
				uint64_t dice = random64();
				keys[i] = flow((dice & UINT32_MAX) % sizes[s], plan->v6);
				if (dice >> 63)
					flow_key_reverse(&keys[i], &keys[i]);
			}
			uint64_t took = lookup_burst(table, keys, seed);
			if (round >= warm)
				sum += cycles[round - warm] = took;
		}
		qsort(cycles, ROUNDS, sizeof(*cycles), compare64);
		printf("{\"bench\":\"session-lookup\",\"sessions\":%u,\"v6\":%d,\"huge\":%d,\"cycles\":%.1f,"
		       "\"cycles_mean\":%.1f,\"bytes_per_session\":%.1f}\n",
		       sizes[s], plan->v6, plan->huge, cycles[ROUNDS / 2] / (double)BURST, sum / (double)ROUNDS / BURST,
		       session_table_bytes(table) / (double)sizes[s]);
		fflush(stdout);
		close_table(plan, table);
	}
	free(cycles);
}

/* ---- creation and ageing ---- */

static void bench_churn(const struct plan *plan)
{
	enum { ROUNDS = 60000 };
	uint32_t steady = plan->sessions ? plan->sessions : 1000000;
	uint32_t per_tick = steady / TIMEOUT + 1;
	uint64_t *cycles = malloc(ROUNDS * sizeof(*cycles)), next = 0, sum = 0, expired = 0;
	struct session_table *table = open_table(plan, steady + steady / 8);
	uint64_t seed = session_table_seed(table);
	session_tick_t now = 1000;

	for (; next < (uint64_t)per_tick * TIMEOUT; next += per_tick)
		fill(table, next, per_tick, plan->v6, now++);
	for (unsigned round = 0; round < ROUNDS * 2; round++) { /* the first half warms up */
		struct flow_key keys[BURST];

		for (unsigned i = 0; i < BURST; i++)
			keys[i] = flow(next + i, plan->v6);
		uint64_t start = rte_rdtsc_precise();
		uint32_t hashes[BURST];
		unsigned directions[BURST];
		for (unsigned i = 0; i < BURST; i++) {
			hashes[i] = flow_key_hash_direction(&keys[i], seed, &directions[i]);
			session_lookup_prefetch(table, hashes[i]);
		}
		for (unsigned i = 0; i < BURST; i++) {
			struct session *found = session_lookup_candidate(table, hashes[i], &directions[i]);
			found = session_lookup_finish(table, found, &keys[i], hashes[i], &directions[i]);
			if (found || !insert(table, &keys[i], hashes[i], now)) {
				fprintf(stderr, "session_bench: insertion failed\n");
				exit(1);
			}
		}
		if (session_table_due(table, now))
			expired += session_table_expire(table, now, 2 * BURST);
		uint64_t took = rte_rdtsc_precise() - start;
		next += BURST;
		now = 1000 + next / per_tick;
		if (round >= ROUNDS)
			sum += cycles[round - ROUNDS] = took;
	}
	qsort(cycles, ROUNDS, sizeof(*cycles), compare64);
	printf("{\"bench\":\"session-churn\",\"sessions\":%u,\"v6\":%d,\"huge\":%d,\"cycles\":%.1f,\"cycles_p99\":%.1f,"
	       "\"expired_per_created\":%.3f,\"bytes_per_session\":%.1f}\n",
	       session_table_count(table), plan->v6, plan->huge, sum / (double)ROUNDS / BURST,
	       cycles[ROUNDS * 99 / 100] / (double)BURST, expired / (ROUNDS * 2.0 * BURST),
	       session_table_bytes(table) / (double)session_table_count(table));
	close_table(plan, table);
	free(cycles);
}

/* ---- growth ---- */

static void *help(void *arg)
{
	struct helper *helper = arg;

	while (!helper->stop) {
		session_table_grow_ahead(helper->table);
		usleep(500);
	}
	return NULL;
}

static uint64_t tsc_hz(void)
{
	struct timespec from, to;
	uint64_t start = rte_rdtsc();

	clock_gettime(CLOCK_MONOTONIC, &from);
	usleep(50000);
	clock_gettime(CLOCK_MONOTONIC, &to);
	uint64_t ns = (to.tv_sec - from.tv_sec) * UINT64_C(1000000000) + to.tv_nsec - from.tv_nsec;
	return (rte_rdtsc() - start) * UINT64_C(1000000000) / ns;
}

/* What the kernel did to this thread. */
struct interference {
	long switches, faults;
};

static struct interference interference(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return (struct interference){ usage.ru_nivcsw + usage.ru_nvcsw, usage.ru_minflt };
}

/* A virtual machine gets memory from its host page by page, which costs more than all that is measured here. */
static void warm_memory(size_t bytes, bool huge)
{
	void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (start == MAP_FAILED)
		return;
	if (huge)
		madvise(start, bytes, MADV_HUGEPAGE);
	madvise(start, bytes, MADV_POPULATE_WRITE);
	munmap(start, bytes);
}

/* Bursts of one phase: how long each took, and what the kernel did meanwhile. */
struct phase {
	uint64_t *took; /* cycles, by burst */
	uint64_t bursts, worst_preempted, preempted, faults, stalls, longest_stall;
};

static struct phase phase_new(uint64_t bursts)
{
	struct phase phase = { .took = malloc(bursts * sizeof(*phase.took)) };

	if (!phase.took)
		exit(1);
	memset(phase.took, 0, bursts * sizeof(*phase.took));
	return phase;
}

/* Bursts that the kernel interrupted for another thread are told apart: that is its own doing. */
static void phase_add(struct phase *phase, uint64_t took, const struct interference *before)
{
	struct interference after = interference();

	phase->faults += after.faults - before->faults;
	if (after.switches == before->switches) {
		phase->took[phase->bursts++] = took;
		return;
	}
	phase->preempted++;
	phase->worst_preempted = took > phase->worst_preempted ? took : phase->worst_preempted;
}

/* Until `due`, looking all the time: gaps are the machine's. */
static void phase_wait(struct phase *phase, uint64_t due, uint64_t limit)
{
	for (uint64_t last = rte_rdtsc(), tsc; last < due; last = tsc) {
		tsc = rte_rdtsc();
		phase->stalls += tsc - last > limit;
		phase->longest_stall = tsc - last > phase->longest_stall ? tsc - last : phase->longest_stall;
	}
}

static void phase_print(struct phase *phase, const char *id, const char *more, uint64_t hz)
{
	uint64_t over = 0, sum = 0, rank = phase->bursts - 1 - phase->bursts / 100000;
	double us = 1e6 / hz;

	for (uint64_t i = 0; i < phase->bursts; i++) {
		over += phase->took[i] > hz / 10000;
		sum += phase->took[i];
	}
	qsort(phase->took, phase->bursts, sizeof(*phase->took), compare64);
	printf("{\"id\":\"%s\",\"unit\":\"us\",\"ours\":%.1f,\"p99999_us\":%.1f,\"median_us\":%.2f,\"cycles\":%.1f,"
	       "\"bursts\":%" PRIu64 ",\"over_100us\":%" PRIu64 ",\"page_faults\":%" PRIu64 ",\"preempted\":%" PRIu64
	       ",\"worst_preempted_us\":%.1f,\"stalls_while_waiting\":%" PRIu64 ",\"longest_stall_us\":%.1f%s}\n",
	       id, phase->took[phase->bursts - 1] * us, phase->took[rank] * us, phase->took[phase->bursts / 2] * us,
	       sum / (double)phase->bursts / BURST, phase->bursts, over, phase->faults, phase->preempted,
	       phase->worst_preempted * us, phase->stalls, phase->longest_stall * us, more);
	fflush(stdout);
	free(phase->took);
}

static uint64_t insert_burst(struct session_table *table, uint64_t n, bool v6, struct session **ret)
{
	struct flow_key keys[BURST];
	uint32_t hashes[BURST];
	uint64_t seed = session_table_seed(table);

	for (unsigned i = 0; i < BURST; i++)
		keys[i] = flow(n + i, v6);
	uint64_t start = rte_rdtsc_precise();
	for (unsigned i = 0; i < BURST; i++) {
		hashes[i] = flow_key_hash(&keys[i], seed);
		session_lookup_prefetch(table, hashes[i]);
	}
	for (unsigned i = 0; i < BURST; i++) {
		ret[i] = session_new(table, &keys[i], hashes[i], 1000);
		if (!ret[i]) {
			fprintf(stderr, "session_bench: the table is full after %" PRIu64 "\n", n + i);
			exit(1);
		}
		session_publish(table, ret[i], TIMEOUT);
	}
	return rte_rdtsc_precise() - start;
}

/* The same bursts at the same pace in a table that does not grow: what they make is removed again. */
static void bench_still(const struct plan *plan, uint64_t bursts, uint64_t gap, uint64_t hz, const char *id)
{
	struct session_table *table = open_table(plan, 1 << 20);
	struct phase phase = phase_new(bursts);
	struct session *made[BURST];

	fill(table, UINT64_C(1) << 40, 1 << 19, plan->v6, 1000);
	uint64_t due = rte_rdtsc();
	for (uint64_t n = 0; n < bursts; n++) {
		struct interference before = interference();
		phase_wait(&phase, due, hz / 10000);
		due = rte_rdtsc() + gap;
		uint64_t took = insert_burst(table, n * BURST, plan->v6, made);
		phase_add(&phase, took, &before);
		for (unsigned i = 0; i < BURST; i++)
			session_remove(table, made[i]);
	}
	phase_print(&phase, id, "", hz);
	close_table(plan, table);
}

/* Creation at about two million sessions per second, so that the helper can do its part. */
static void bench_grow(const struct plan *plan)
{
	uint32_t target = plan->sessions ? plan->sessions : 1 << 25;
	uint64_t hz = tsc_hz(), gap = hz / 2000000 * BURST, bursts = target / BURST;
	char id[64], more[64];

	snprintf(id, sizeof(id), "still-%s%s", plan->v6 ? "v6" : "v4", plan->huge ? "" : "-nohuge");
	bench_still(plan, bursts, gap, hz, id);
	warm_memory((size_t)target * 320, plan->huge);

	struct session_table *table = open_table(plan, target);
	struct helper helper = { .table = table };
	struct phase phase = phase_new(bursts);
	struct session *made[BURST];

	if (plan->helper && pthread_create(&helper.thread, NULL, help, &helper))
		exit(1);
	uint64_t due = rte_rdtsc();
	for (uint64_t n = 0; n < bursts; n++) {
		struct interference before = interference();
		phase_wait(&phase, due, hz / 10000);
		due = rte_rdtsc() + gap;
		phase_add(&phase, insert_burst(table, n * BURST, plan->v6, made), &before);
	}
	helper.stop = true;
	if (plan->helper)
		pthread_join(helper.thread, NULL);
	snprintf(id, sizeof(id), "grow-%um-%s%s", target >> 20, plan->v6 ? "v6" : "v4", plan->huge ? "" : "-nohuge");
	snprintf(more, sizeof(more), ",\"sessions\":%u,\"bytes_per_session\":%.1f", session_table_count(table),
		 session_table_bytes(table) / (double)target);
	phase_print(&phase, id, more, hz);
	close_table(plan, table);
}

/* ---- adoption ---- */

static void bench_adopt(const struct plan *plan)
{
	uint32_t count = plan->sessions ? plan->sessions : 1000000, adopted;
	struct plan with_file = *plan;
	char path[64];

	if (!plan->path) {
		snprintf(path, sizeof(path), "/dev/shm/session_bench.%d", (int)getpid());
		with_file.path = path;
	}
	struct session_table *table = open_table(&with_file, count);
	fill(table, 0, count, plan->v6, 1000);
	session_table_close(table);
	struct session_table_options options = {
		.path = with_file.path, .huge_pages = plan->huge, .v6 = plan->v6, .max_sessions = count, .now = 1001
	};
	struct dpu_error err;
	uint64_t hz = tsc_hz(), start = rte_rdtsc();
	if (session_table_open(&options, &table, &adopted, &err) || adopted != count) {
		fprintf(stderr, "session_bench: adoption failed\n");
		exit(1);
	}
	printf("{\"bench\":\"session-adopt\",\"sessions\":%u,\"v6\":%d,\"huge\":%d,\"milliseconds\":%.1f}\n", adopted,
	       plan->v6, plan->huge, (rte_rdtsc() - start) * 1e3 / hz);
	close_table(&with_file, table);
}

int main(int argc, char **argv)
{
	struct plan plan = { .huge = true, .helper = true };
	static const struct {
		const char *name;
		void (*run)(const struct plan *plan);
	} benches[] = {
		{ "lookup", bench_lookup }, { "churn", bench_churn }, { "grow", bench_grow }, { "adopt", bench_adopt }
	};
	unsigned chosen = 0;

	for (int i = 1; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		for (unsigned b = 0; b < 4; b++)
			if (strcmp(argv[i], benches[b].name) == 0)
				chosen |= 1 << b;
		if (!value)
			continue;
		*value++ = 0;
		if (strcmp(argv[i], "sessions") == 0)
			plan.sessions = strtoul(value, NULL, 0);
		else if (strcmp(argv[i], "v6") == 0)
			plan.v6 = atoi(value);
		else if (strcmp(argv[i], "huge") == 0)
			plan.huge = atoi(value);
		else if (strcmp(argv[i], "helper") == 0)
			plan.helper = atoi(value);
		else if (strcmp(argv[i], "path") == 0)
			plan.path = value;
	}
	for (unsigned b = 0; b < 4; b++)
		if ((chosen ? chosen : 3) & 1 << b)
			benches[b].run(&plan);
	return 0;
}
