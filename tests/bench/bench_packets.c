/* SPDX-License-Identifier: BSD-3-Clause */
/* What the micro-benchmarks of packets share. */
#include "bench_packets.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <rte_eal.h>
#include <rte_mbuf.h>
#include "base/clock.h"

struct bench_options bench_options = { .suffix = "", .seconds = 0.5 };

void bench_fail(const char *what)
{
	fprintf(stderr, "bench: %s\n", what);
	exit(1);
}

static void read_options(int argc, char **argv)
{
	static const struct option longs[] = { { "huge-dir", required_argument, NULL, 'h' },
					       { "suffix", required_argument, NULL, 's' },
					       { "only", required_argument, NULL, 'o' },
					       { "seconds", required_argument, NULL, 't' },
					       { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'h')
			bench_options.huge_dir = optarg;
		else if (c == 's')
			bench_options.suffix = optarg;
		else if (c == 'o')
			bench_options.only = optarg;
		else if (c == 't')
			bench_options.seconds = atof(optarg);
		else
			exit(2);
	}
}

static void start_eal(void)
{
	char text[512], *words[32], *rest = text;
	int count = 0;

	if (bench_options.huge_dir)
		snprintf(text, sizeof(text),
			 "bench --huge-dir %s --in-memory --single-file-segments --no-pci --no-telemetry --lcores 0@0 "
			 "--log-level=lib.eal:error",
			 bench_options.huge_dir);
	else
		snprintf(text, sizeof(text),
			 "bench --no-huge -m 128 --no-pci --no-shconf --no-telemetry --lcores 0@0 "
			 "--log-level=lib.eal:error --file-prefix=bench-%d",
			 (int)getpid());
	while ((words[count] = strsep(&rest, " ")))
		count++;
	if (rte_eal_init(count, words) < 0)
		exit(1);
}

struct rte_mempool *bench_begin(int argc, char **argv, unsigned buffers)
{
	read_options(argc, argv);
	start_eal();
	struct rte_mempool *pool =
		rte_pktmbuf_pool_create("bench", buffers, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (!pool)
		bench_fail("no mbuf pool");
	return pool;
}

bool bench_wants(const char *id)
{
	return !bench_options.only || strstr(id, bench_options.only);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

unsigned bench_rounds(double (*round)(void *arg), void *arg, unsigned min_rounds, double ret_cycles[BENCH_MAX_ROUNDS])
{
	uint64_t end = clock_ns() + (uint64_t)(bench_options.seconds * 1e9);
	unsigned rounds = 0;

	while (rounds < BENCH_MAX_ROUNDS && (rounds < min_rounds || clock_ns() < end))
		ret_cycles[rounds++] = round(arg);
	qsort(ret_cycles, rounds, sizeof(ret_cycles[0]), compare);
	return rounds;
}
