/* SPDX-License-Identifier: BSD-3-Clause */
/* Growth of the session tables: memory is made ready ahead of need, so that no insert in a worker waits for the kernel.
 */
#include "operating/growth.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "service/vswitch/vswitch_priv.h"

struct table_growth {
	struct growth *growth;
	struct session_table *tables[2 * PATH_SLOTS];
	unsigned table_count;
	/* The thread's. */
	uint64_t sessions;
	bool full;
};

/* In the thread. */
static bool grow(void *ctx)
{
	struct table_growth *tables = ctx;
	uint64_t before = tables->sessions;
	int result = 0;

	tables->sessions = 0;
	for (unsigned i = 0; i < tables->table_count; i++) {
		int rc = session_table_grow_ahead(tables->tables[i]);

		if (rc != 0)
			result = rc;
		tables->sessions += session_table_count(tables->tables[i]);
	}
	if (result != 0 && !tables->full)
		log_warn("vswitch", "session tables cannot grow: no room in the state directory's file system",
			 "error=%d", result);
	tables->full = result != 0;
	return tables->sessions > before;
}

static void collect_tables(struct vswitch *vswitch, struct table_growth *tables)
{
	for (unsigned i = 0; i < vswitch->dp.worker_count; i++) {
		for (unsigned j = 0; j < 2 * PATH_SLOTS; j++) {
			struct session_table *table = path_table_at(vswitch->dp.paths[i], j);
			if (table && tables->table_count < RTE_DIM(tables->tables))
				tables->tables[tables->table_count++] = table;
		}
	}
}

int tables_growth_start(struct vswitch *vswitch, struct dpu_error *err)
{
	struct table_growth *tables = control_alloc(sizeof(*tables));

	collect_tables(vswitch, tables);
	vswitch->growth = tables;
	int rc = growth_start(vswitch->dpu->loop, grow, tables, &tables->growth);
	if (rc != 0)
		return error_set(err, DPU_E_LIMIT, NULL, "no helper thread for the session tables: %s", strerror(-rc));
	return 0;
}

void tables_growth_stop(struct vswitch *vswitch)
{
	struct table_growth *tables = vswitch->growth;

	if (!tables)
		return;
	growth_stop(tables->growth);
	free(tables);
	vswitch->growth = NULL;
}
