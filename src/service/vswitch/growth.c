/* SPDX-License-Identifier: BSD-3-Clause */
/* Growth of the session tables: a helper thread makes memory ready ahead of need, so that no insert in a worker waits
 * for the kernel. Looks often while sessions are being added, and now and then otherwise. */
#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "service/vswitch/vswitch_priv.h"

static const uint64_t BUSY_NS = 20 * CLOCK_NS_PER_MS;
static const uint64_t IDLE_NS = 500 * CLOCK_NS_PER_MS;

struct growth {
	struct helpers *helpers;
	struct loop_timer *timer;
	struct session_table *tables[2 * PATH_SLOTS];
	unsigned table_count;
	uint64_t sessions; /* when last looked */
	int rc;            /* of the last round */
	bool told;         /* that there is no room */
};

/* In the helper thread. */
static void grow(void *arg)
{
	struct growth *growth = arg;

	growth->rc = 0;
	for (unsigned i = 0; i < growth->table_count; i++) {
		int rc = session_table_grow_ahead(growth->tables[i]);
		if (rc != 0)
			growth->rc = rc;
	}
}

static void grown(void *arg)
{
	struct growth *growth = arg;
	uint64_t sessions = 0;

	for (unsigned i = 0; i < growth->table_count; i++)
		sessions += session_table_count(growth->tables[i]);
	if (growth->rc != 0 && !growth->told)
		log_warn("vswitch", "session tables cannot grow: no room in the state directory's file system",
			 "error=%d", growth->rc);
	growth->told = growth->rc != 0;
	if (growth->timer)
		loop_timer_rearm(growth->timer, sessions > growth->sessions ? BUSY_NS : IDLE_NS);
	growth->sessions = sessions;
}

static void round_begin(void *arg)
{
	struct growth *growth = arg;

	if (helpers_run(growth->helpers, grow, grown, growth) != 0)
		loop_timer_rearm(growth->timer, IDLE_NS);
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

	collect_tables(vswitch, growth);
	vswitch->growth = growth;
	if (helpers_new(vswitch->dpu->loop, 1, &growth->helpers) != 0 ||
	    loop_timer_add(vswitch->dpu->loop, 0, 0, round_begin, growth, &growth->timer) != 0)
		return error_set(err, DPU_E_LIMIT, NULL, "no helper thread for the session tables");
	return 0;
}

void growth_stop(struct vswitch *vswitch)
{
	struct growth *growth = vswitch->growth;

	if (!growth)
		return;
	loop_timer_remove(growth->timer);
	growth->timer = NULL;
	if (growth->helpers)
		helpers_free(growth->helpers);
	free(growth);
	vswitch->growth = NULL;
}
