/* SPDX-License-Identifier: BSD-3-Clause */
/* Taking memory and cores. */
#include "daemon/machine.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <rte_mempool.h>
#include "operating/cpu_list.h"
#include "operating/port.h"
#include "operating/worker.h"

enum {
	BUFFER_BYTES = 2560,          /* one packet buffer with what the pool adds to it */
	BUFFER_BYTES_IN_PAGES = 4096, /* the same in normal pages, which a buffer may not straddle */
	POOL_SHARE_PERCENT = 75,      /* of the memory; the rest is for rings and devices */
	POOL_MAX_BUFFERS = 262143,    /* half a gigabyte: more is held in queues than helps */
};

int machine_limits(const struct options *options, struct dpu_error *err)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (getrlimit(RLIMIT_CORE, &limit))
		return error_set(err, DPU_E_IO, "--core-dumps", "%s", strerror(errno));
	if (options->core_dumps && limit.rlim_max == 0)
		return error_set(err, DPU_E_DENIED, "--core-dumps",
				 "the hard limit of core files is zero (ulimit -Hc)");
	limit.rlim_cur = options->core_dumps ? limit.rlim_max : 0;
	setrlimit(RLIMIT_CORE, &limit);
	/* A pattern with a pipe ignores the limit; this does not. */
	prctl(PR_SET_DUMPABLE, options->core_dumps ? 1 : 0);
	return 0;
}

static int start_memory(const struct options *options, const struct instance *instance, struct dpu *dpu,
			struct dpu_error *err)
{
	const struct eal_options eal = { .huge_pages = options->huge_pages != HUGE_PAGES_OFF,
					 .memory_mb = options->memory_mb,
					 .file_prefix = instance->file_prefix,
					 .extra = options->eal };
	int rc = eal_start(&eal, err);
	if (rc)
		return rc;
	dpu->huge_pages = eal_huge_pages();
	if (options->huge_pages == HUGE_PAGES_ON && !dpu->huge_pages)
		return error_set(err, DPU_E_UNSUPPORTED, "--huge-pages",
				 "no huge page is free; reserve some (sysctl vm.nr_hugepages=N) or use auto");
	uint64_t bytes = dpu->huge_pages ? BUFFER_BYTES : BUFFER_BYTES_IN_PAGES;
	uint64_t buffers = (uint64_t)options->memory_mb * (1 << 20) * POOL_SHARE_PERCENT / 100 / bytes;
	if (buffers > POOL_MAX_BUFFERS)
		buffers = POOL_MAX_BUFFERS;
	dpu->pool = packet_pool_new("packets", (unsigned)buffers, 0, err);
	return dpu->pool ? 0 : error_errno(err->code);
}

/* Control and the helpers that it makes from now on. A worker that shares its CPU loses milliseconds at a time. */
static void leave_workers_alone(const char *cpus)
{
	int list[WORKERS_MAX];
	int count = cpu_list_parse(cpus, list, WORKERS_MAX, NULL);

	if (count > 0)
		cpu_list_leave(list, (unsigned)count);
}

int machine_start(const struct options *options, const struct instance *instance, struct dpu *dpu,
		  struct dpu_error *err)
{
	const struct workers_options workers = { .loop = dpu->loop,
						 .count = options->workers,
						 .cpus = options->cpus,
						 .policy = (enum worker_policy)options->policy };
	dpu->max_sessions = options->max_sessions;
	dpu->zero_copy_bytes = options->zero_copy_kib << 10;
	int rc = start_memory(options, instance, dpu, err);
	if (rc == 0)
		rc = workers_new(&workers, &dpu->workers, err);
	if (rc == 0 && options->cpus)
		leave_workers_alone(options->cpus);
	return rc;
}

void machine_stop(struct dpu *dpu)
{
	if (dpu->workers)
		workers_free(dpu->workers);
	if (dpu->pool)
		rte_mempool_free(dpu->pool);
	dpu->workers = NULL;
	dpu->pool = NULL;
}
