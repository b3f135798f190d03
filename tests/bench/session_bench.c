/* SPDX-License-Identifier: BSD-3-Clause */
/* What session tables cost, in TSC cycles: lookups of random bursts, creation and ageing at a steady number of
 * sessions, adoption of a file.
 *
 * usage: session_bench [lookup|churn|adopt]… KEY=VALUE…   (default: lookup churn)
 *   sessions=N   of churn and adopt (1000000)                v6=0|1
 *   huge=0|1     huge pages (1)                              path=FILE   records in this file, else anonymous
 *
 * One JSON object per line. lookup: hash, three lookup stages and the counters of a hit; churn: a failed lookup,
 * creation, and expiry of another session. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "bench_sessions.h"

static uint64_t random_state = 88172645463325252;

static uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
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
	struct plan plan = { .huge = true };
	static const struct {
		const char *name;
		void (*run)(const struct plan *plan);
	} benches[] = { { "lookup", bench_lookup }, { "churn", bench_churn }, { "adopt", bench_adopt } };
	unsigned chosen = 0;

	for (int i = 1; i < argc; i++) {
		for (unsigned b = 0; b < RTE_DIM(benches); b++)
			if (strcmp(argv[i], benches[b].name) == 0)
				chosen |= 1 << b;
		plan_option(&plan, argv[i]);
	}
	for (unsigned b = 0; b < RTE_DIM(benches); b++)
		if ((chosen ? chosen : 3) & 1 << b)
			benches[b].run(&plan);
	return 0;
}
