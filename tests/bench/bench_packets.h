/* SPDX-License-Identifier: BSD-3-Clause */
/* What the micro-benchmarks of packets share: options, DPDK on one core, and medians.
 *
 *	--huge-dir DIR   huge pages from there; without, small ones
 *	--suffix TEXT    behind each id
 *	--only TEXT      what has that in its id
 *	--seconds N      for each measurement, 0.5 by default
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <rte_mempool.h>

enum { BENCH_MAX_ROUNDS = 4096 };

struct bench_options {
	const char *huge_dir, *suffix, *only;
	double seconds;
};
extern struct bench_options bench_options;

/* Reads the options, starts the EAL and returns a pool of that many packet buffers. Ends the program if anything is
 * wrong. */
struct rte_mempool *bench_begin(int argc, char **argv, unsigned buffers);
/* False if the options leave it out. */
bool bench_wants(const char *id);
/* Runs rounds for as long as the options say, at least min_rounds and at most BENCH_MAX_ROUNDS; their cycles, sorted.
 * Returns their number. */
unsigned bench_rounds(double (*round)(void *arg), void *arg, unsigned min_rounds, double ret_cycles[BENCH_MAX_ROUNDS]);
void bench_fail(const char *what) __attribute__((noreturn));
