/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of DPDK's start: what it costs, what it leaves behind, what workers get of it. */
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include "operating/port.h"
#include "operating/test_rig.h"

static const struct eal_options options = { .memory_mb = 160 };

/* Each try of a start that fails has a process to itself. */
static void expect_failure(const struct eal_options *wrong, const char *path, const char *says)
{
	int status, pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct dpu_error err = { 0 };
		if (eal_start(wrong, &err) >= 0 || eal_started())
			_exit(1);
		if (strcmp(err.path, path) != 0 || !strstr(err.message, says)) {
			fprintf(stderr, "%s: %s\n", err.path, err.message);
			_exit(2);
		}
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void wrong_options(void **state)
{
	expect_failure(&(struct eal_options){ .extra = "--nonsense" }, "extra", "DPDK does not start");
	expect_failure(&(struct eal_options){ .extra = "--huge-dir" }, "extra", "128 MiB of normal pages");
	expect_failure(&(struct eal_options){ .file_prefix = "a b" }, "file_prefix", "other characters");
	expect_failure(&(struct eal_options){ .file_prefix = "../x" }, "file_prefix", "other characters");
	char many[1000] = "";
	for (int i = 0; i < 100; i++)
		strcat(many, "-v ");
	expect_failure(&(struct eal_options){ .extra = many }, "extra", "More than");
}

static unsigned threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned count = 0;

	for (struct dirent *entry; (entry = readdir(tasks));)
		count += entry->d_name[0] != '.';
	closedir(tasks);
	return count;
}

static uint64_t cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * CLOCK_NS_PER_S + (uint64_t)used.tv_nsec;
}

static void starts_quietly(void **state)
{
	cpu_set_t before, after;
	struct dpu_error err;
	struct stat status;
	char folder[64];

	assert_false(eal_started());
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	assert_int_equal(eal_start(&options, &err), 0);
	assert_true(eal_started());
	assert_false(eal_huge_pages());
	assert_int_equal(sched_getaffinity(0, sizeof(after), &after), 0);
	assert_true(CPU_EQUAL(&before, &after));
	assert_in_range(threads(), 1, 3);
	uint64_t used = cpu_ns();
	usleep(200000);
	assert_true(cpu_ns() - used < 20 * CLOCK_NS_PER_MS); /* nothing spins */
	snprintf(folder, sizeof(folder), "/run/dpdk/softdpu-%d", (int)getpid());
	assert_int_equal(stat(folder, &status), -1); /* nothing is left behind */

	assert_int_equal(eal_start(&options, &err), 0);
	struct eal_options other = options;
	other.memory_mb = 161;
	assert_true(eal_start(&other, &err) < 0);
	assert_int_equal(err.code, DPU_E_EXISTS);
}

/* ---- pools ---- */

static unsigned long resident_kib(void)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	if (fscanf(file, "%*u %lu", &pages) != 1)
		pages = 0;
	fclose(file);
	return pages * 4;
}

static void pools(void **state)
{
	struct dpu_error err;

	assert_null(packet_pool_new("few", 10, 0, &err));
	assert_string_equal(err.path, "count");
	assert_null(packet_pool_new("small", 1024, 100, &err));
	assert_string_equal(err.path, "data_room");
	assert_null(packet_pool_new("large", 1024, 70000, &err));
	assert_string_equal(err.path, "data_room");
	unsigned long before = resident_kib();
	struct rte_mempool *pool = packet_pool_new("pool", 32768, 0, &err);
	assert_non_null(pool);
	print_message("32,768 buffers: %lu MiB, process %lu MiB\n", (resident_kib() - before) / 1024,
		      resident_kib() / 1024);
	struct rte_mempool *same = packet_pool_new("pool", 1024, 0, &err);
	assert_null(same);
	assert_int_equal(err.code, DPU_E_EXISTS);
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	assert_int_equal(rte_pktmbuf_tailroom(m), 2048);
	rte_pktmbuf_free(m);
	rte_mempool_free(pool);
	assert_null(packet_pool_new("many", 1u << 20, 0, &err));
	assert_int_equal(err.code, DPU_E_LIMIT);
	assert_non_null(strstr(err.message, "MiB"));
}

/* ---- workers ---- */

struct seen {
	atomic_uint lcore;
};

static void note_lcore(void *arg, struct worker *worker)
{
	atomic_store(&((struct seen *)arg)->lcore, rte_lcore_id());
}

/* Each worker has an lcore id of its own, also beside other sets of workers, and gives it back. */
static void workers_have_lcores(void **state)
{
	for (int round = 0; round < 50; round++) {
		struct rig rigs[2];
		struct seen seen[2][2] = { 0 };
		uint64_t all = 0;
		for (unsigned r = 0; r < 2; r++) {
			rig_up(&rigs[r], 2, WORKER_BALANCED);
			for (unsigned w = 0; w < 2; w++)
				assert_int_equal(
					worker_call(workers_get(rigs[r].workers, w), note_lcore, &seen[r][w], NULL), 0);
		}
		for (unsigned r = 0; r < 2; r++) {
			rig_down(&rigs[r]);
			for (unsigned w = 0; w < 2; w++) {
				unsigned lcore = atomic_load(&seen[r][w].lcore);
				assert_in_range(lcore, 1, 8);
				all |= UINT64_C(1) << lcore;
			}
		}
		assert_int_equal(__builtin_popcountll(all), 4);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_options),
		cmocka_unit_test(starts_quietly),
		cmocka_unit_test(pools),
		cmocka_unit_test(workers_have_lcores),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
