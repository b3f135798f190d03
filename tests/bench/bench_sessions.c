/* SPDX-License-Identifier: BSD-3-Clause */
/* Flows and session tables for benchmarks. */
#include "bench_sessions.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool plan_option(struct plan *plan, char *text)
{
	char *value = strchr(text, '=');

	if (!value)
		return false;
	*value++ = 0;
	if (strcmp(text, "sessions") == 0)
		plan->sessions = strtoul(value, NULL, 0);
	else if (strcmp(text, "v6") == 0)
		plan->v6 = atoi(value);
	else if (strcmp(text, "huge") == 0)
		plan->huge = atoi(value);
	else if (strcmp(text, "helper") == 0)
		plan->helper = atoi(value);
	else if (strcmp(text, "path") == 0)
		plan->path = value;
	else
		return false;
	return true;
}

struct flow_key flow(uint64_t n, bool v6)
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

struct session_table *open_table(const struct plan *plan, uint32_t max)
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
		fprintf(stderr, "session table: %s: %s\n", err.path, err.message);
		exit(1);
	}
	return table;
}

void close_table(const struct plan *plan, struct session_table *table)
{
	session_table_close(table);
	if (plan->path)
		unlink(plan->path);
}

bool insert(struct session_table *table, const struct flow_key *key, uint32_t hash, session_tick_t now)
{
	struct session *session = session_new(table, key, hash, now);

	if (!session)
		return false;
	session->dir[0].epoch = session->dir[1].epoch = 1;
	session_publish(table, session, TIMEOUT);
	return true;
}

void fill(struct session_table *table, uint64_t first, uint32_t count, bool v6, session_tick_t now)
{
	for (uint64_t n = first; n < first + count; n++) {
		struct flow_key key = flow(n, v6);

		if (n % 4096 == 0)
			session_table_grow_ahead(table);
		if (!insert(table, &key, flow_key_hash(&key, session_table_seed(table)), now)) {
			fprintf(stderr, "session table: full after %" PRIu64 "\n", n - first);
			exit(1);
		}
	}
}

uint64_t tsc_hz(void)
{
	struct timespec from, to;
	uint64_t start = rte_rdtsc();

	clock_gettime(CLOCK_MONOTONIC, &from);
	usleep(50000);
	clock_gettime(CLOCK_MONOTONIC, &to);
	uint64_t ns = (to.tv_sec - from.tv_sec) * UINT64_C(1000000000) + to.tv_nsec - from.tv_nsec;
	return (rte_rdtsc() - start) * UINT64_C(1000000000) / ns;
}

int compare64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}
