/* SPDX-License-Identifier: BSD-3-Clause */
/* Growth of the session tables: a helper thread makes memory ready ahead of need, so that no insert in a worker waits
 * for the kernel. Looks often while sessions are being added, and now and then otherwise; control has no part in it, so
 * that a large transaction does not stand in the way. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include "base/clock.h"
#include "base/log.h"
#include "service/vswitch/vswitch_priv.h"

static const uint64_t BUSY_NS = 1 * CLOCK_NS_PER_MS;
static const uint64_t IDLE_NS = 100 * CLOCK_NS_PER_MS;

struct growth {
	struct helpers *helpers; /* one thread, with one job as long as the vswitch runs */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop; /* under lock */
	struct session_table *tables[2 * PATH_SLOTS];
	unsigned table_count;
};

static int grow_all(struct growth *growth, uint64_t *ret_sessions)
{
	int result = 0;

	*ret_sessions = 0;
	for (unsigned i = 0; i < growth->table_count; i++) {
		int rc = session_table_grow_ahead(growth->tables[i]);

		if (rc != 0)
			result = rc;
		*ret_sessions += session_table_count(growth->tables[i]);
	}
	return result;
}

/* Returns whether to go on. */
static bool pause_for(struct growth *growth, uint64_t ns)
{
	uint64_t until = clock_ns() + ns;
	struct timespec time = { .tv_sec = until / CLOCK_NS_PER_S, .tv_nsec = until % CLOCK_NS_PER_S };

	pthread_mutex_lock(&growth->lock);
	while (!growth->stop && pthread_cond_timedwait(&growth->wake, &growth->lock, &time) == 0)
		;
	bool go_on = !growth->stop;
	pthread_mutex_unlock(&growth->lock);
	return go_on;
}

/* In the helper thread. */
static void grow(void *arg)
{
	struct growth *growth = arg;
	uint64_t sessions = 0, before;
	bool full = false;

	do {
		before = sessions;
		int rc = grow_all(growth, &sessions);
		if (rc != 0 && !full)
			log_warn("vswitch", "session tables cannot grow: no room in the state directory's file system",
				 "error=%d", rc);
		full = rc != 0;
	} while (pause_for(growth, sessions > before ? BUSY_NS : IDLE_NS));
}

static void collect_tables(struct vswitch *vswitch, struct growth *growth)
{
	for (unsigned i = 0; i < vswitch->dp.worker_count; i++) {
		for (unsigned j = 0; j < 2 * PATH_SLOTS; j++) {
			struct session_table *table = path_table_at(vswitch->dp.paths[i], j);
			if (table && growth->table_count < RTE_DIM(growth->tables))
				growth->tables[growth->table_count++] = table;
		}
	}
}

int growth_start(struct vswitch *vswitch, struct dpu_error *err)
{
	struct growth *growth = control_alloc(sizeof(*growth));
	pthread_condattr_t clock;

	collect_tables(vswitch, growth);
	pthread_mutex_init(&growth->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&growth->wake, &clock);
	pthread_condattr_destroy(&clock);
	vswitch->growth = growth;
	if (helpers_new(vswitch->dpu->loop, 1, &growth->helpers) != 0 ||
	    helpers_run(growth->helpers, grow, NULL, growth) != 0)
		return error_set(err, DPU_E_LIMIT, NULL, "no helper thread for the session tables");
	return 0;
}

void growth_stop(struct vswitch *vswitch)
{
	struct growth *growth = vswitch->growth;

	if (!growth)
		return;
	pthread_mutex_lock(&growth->lock);
	growth->stop = true;
	pthread_cond_signal(&growth->wake);
	pthread_mutex_unlock(&growth->lock);
	helpers_free(growth->helpers);
	pthread_cond_destroy(&growth->wake);
	pthread_mutex_destroy(&growth->lock);
	free(growth);
	vswitch->growth = NULL;
}
